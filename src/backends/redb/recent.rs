//! What the last commits wrote: it is in the journal, and not yet in the trees.
//!
//! To write a single claim to the trees costs ten times what working it out does. So it is kept here, in order, where
//! the next commits and whoever reads find what they need of it, and goes to the trees together with what comes after it:
//! when there is much of it, or the journal is full. Reading never writes: it works where there is no space left.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::edits::Entry;
use super::snapshot::Snapshot;
use super::tables::tree_number;
use super::view::View;
use crate::backends::contract::{Load, Loaded, Needs, PageNeed, Row};
use crate::error::Result;

/// What is to stand under keys of a tree.
pub(super) type Values = BTreeMap<KeyBytes, Laid>;

/// As long as the numbers that we keep of dependencies, places and deadlines are, in bytes.
const SHORT_MAX: usize = 22;

/// What is to stand under a key. Most of it is short, and there is much of it: it has no memory of its own.
#[derive(Clone)]
pub(super) enum Laid {
    /// Nothing: the key goes.
    Gone,
    Short {
        length: u8,
        bytes: [u8; SHORT_MAX],
    },
    Long(Box<[u8]>),
}

impl Laid {
    fn of(value: Option<&[u8]>) -> Self {
        let Some(value) = value else { return Laid::Gone };
        let mut bytes = [0; SHORT_MAX];
        match (bytes.get_mut(..value.len()), u8::try_from(value.len())) {
            (Some(short), Ok(length)) => {
                short.copy_from_slice(value);
                Laid::Short { length, bytes }
            }
            _ => Laid::Long(value.into()),
        }
    }

    pub(super) fn value(&self) -> Option<&[u8]> {
        match self {
            Laid::Gone => None,
            Laid::Short { length, bytes } => Some(&bytes[..usize::from(*length)]),
            Laid::Long(value) => Some(value),
        }
    }
}

const WORDS: usize = 5;

/// A key of a tree in the order of its bytes, which are compared a word at a time. What follows them is zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyBytes {
    bytes: [[u8; 8]; WORDS],
    length: u8,
}

impl KeyBytes {
    /// Of a key of ours.
    pub(super) fn new(key: &[u8]) -> Self {
        KeyBytes::of(key).expect("no key is longer than 33 bytes")
    }

    /// Of a key that a file has; `None` where it is longer than any of ours.
    pub(super) fn of(key: &[u8]) -> Option<Self> {
        let mut bytes = [[0; 8]; WORDS];
        bytes.as_flattened_mut().get_mut(..key.len())?.copy_from_slice(key);
        Some(KeyBytes { bytes, length: u8::try_from(key.len()).ok()? })
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes.as_flattened()[..usize::from(self.length)]
    }
}

impl Ord for KeyBytes {
    fn cmp(&self, other: &Self) -> Ordering {
        for (word, other) in self.bytes.iter().zip(&other.bytes) {
            if word != other {
                return u64::from_be_bytes(*word).cmp(&u64::from_be_bytes(*other));
            }
        }
        self.length.cmp(&other.length)
    }
}

impl PartialOrd for KeyBytes {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// More entries than this are not read over. More of them are fewer settlings, of graphs above all; but who commits while
/// somebody reads copies them.
const ENTRIES_MAX: usize = 1_024;

/// Entries that the trees lack, by tree and key.
#[derive(Clone, Default)]
pub(super) struct Recent {
    trees: [Values; tree_number::COUNT],
}

fn at(tree: u8) -> usize {
    usize::from(tree) - 1
}

impl Recent {
    pub(super) const fn new() -> Self {
        Recent { trees: [const { Values::new() }; tree_number::COUNT] }
    }

    /// What one tree lacks.
    pub(super) fn of(&self, tree: u8) -> &Values {
        &self.trees[at(tree)]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.trees.iter().all(BTreeMap::is_empty)
    }

    /// Whether it is better off in the trees: who reads walks over keys that went.
    pub(super) fn is_long(&self) -> bool {
        self.trees.iter().map(BTreeMap::len).sum::<usize>() > ENTRIES_MAX
    }

    /// Takes entries over those that it has.
    pub(super) fn merge(&mut self, entries: &[Entry<'_>]) {
        for &Entry { tree, key, value } in entries {
            self.trees[at(tree)].insert(KeyBytes::new(key), Laid::of(value));
        }
    }

    /// All entries, in the order of trees and keys.
    pub(super) fn entries(&self) -> Vec<Entry<'_>> {
        (1_u8..)
            .zip(&self.trees)
            .flat_map(|(tree, values)| {
                values.iter().map(move |(key, laid)| Entry { tree, key: key.as_slice(), value: laid.value() })
            })
            .collect()
    }
}

/// What there is now, for whoever asks next.
#[derive(Default)]
pub(super) struct Newest {
    recent: Arc<Recent>,
    /// The trees as they are, from the first question until they change.
    base: Option<Arc<Snapshot>>,
}

impl Newest {
    pub(super) fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Takes entries over those that it has. Who reads goes on with what there was.
    pub(super) fn merge(&mut self, entries: &[Entry<'_>]) {
        Arc::make_mut(&mut self.recent).merge(entries);
    }

    /// Begins with trees and what they lack.
    pub(super) fn begin(&mut self, recent: Recent) {
        *self = Newest { recent: Arc::new(recent), base: None };
    }

    /// Lets go of the trees: pages that a snapshot can see are not used again.
    pub(super) fn release(&mut self) {
        self.base = None;
    }

    /// All that was committed; `open` takes a snapshot of the trees.
    pub(super) fn committed(&mut self, open: impl FnOnce() -> Result<Snapshot>) -> Result<Committed> {
        let base = match &self.base {
            Some(base) => Arc::clone(base),
            None => Arc::clone(self.base.insert(Arc::new(open()?))),
        };
        Ok(Committed { base, recent: Arc::clone(&self.recent) })
    }
}

/// What was committed at one moment.
pub(super) struct Committed {
    base: Arc<Snapshot>,
    recent: Arc<Recent>,
}

impl Committed {
    pub(super) fn view(&self) -> View<'_> {
        View::new(&self.base, &self.recent)
    }
}

impl Load for Committed {
    fn load(&mut self, needs: &Needs) -> Result<Loaded> {
        self.view().answer(needs, 0, &|_| None)
    }

    fn page(&mut self, need: &PageNeed, each: &mut dyn FnMut(Row)) -> Result<()> {
        self.view().page(need, each)
    }
}
