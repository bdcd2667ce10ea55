//! What the last commits wrote: it is in the journal, and not yet in the trees.
//!
//! To write a single claim to the trees costs ten times what working it out does. So it is kept here, in order, where
//! the next commits find what they need of it, and goes to the trees together with what comes after it: when somebody
//! reads them, or the journal is full.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use super::edits::Entry;
use super::errors;
use super::snapshot::{Snapshot, read_run};
use super::spans::Span;
use super::tables::{Lane, tree_number};
use crate::error::Result;

type Values = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Entries that the trees lack, by tree and key, and the trees that they are to be laid over.
#[derive(Default)]
pub(super) struct Recent {
    trees: [Values; tree_number::COUNT],
    /// As they are, from the first commit that asked for them until they change.
    base: Option<Arc<Snapshot>>,
}

fn at(tree: u8) -> usize {
    usize::from(tree) - 1
}

impl Recent {
    pub(super) fn is_empty(&self) -> bool {
        self.trees.iter().all(BTreeMap::is_empty)
    }

    /// Takes entries over those that it has.
    pub(super) fn merge(&mut self, entries: &[Entry<'_>]) {
        for &Entry { tree, key, value } in entries {
            let values = &mut self.trees[at(tree)];
            let value = value.map(<[u8]>::to_vec);
            // Most keys are there: the same few are written with each commit.
            match values.get_mut(key) {
                Some(there) => *there = value,
                None => drop(values.insert(key.to_vec(), value)),
            }
        }
    }

    /// All entries, in the order of trees and keys.
    pub(super) fn entries(&self) -> Vec<Entry<'_>> {
        (1_u8..)
            .zip(&self.trees)
            .flat_map(|(tree, values)| {
                values.iter().map(move |(key, value)| Entry { tree, key, value: value.as_deref() })
            })
            .collect()
    }

    /// The trees have it all now, or nobody wants it any more.
    pub(super) fn clear(&mut self) {
        *self = Recent::default();
    }

    /// Lets go of the trees: pages that a snapshot can see are not used again.
    pub(super) fn release(&mut self) {
        self.base = None;
    }

    /// The trees below; `open` takes a snapshot of them.
    pub(super) fn base(&mut self, open: impl FnOnce() -> Result<Snapshot>) -> Result<Arc<Snapshot>> {
        if let Some(base) = &self.base {
            return Ok(Arc::clone(base));
        }
        Ok(Arc::clone(self.base.insert(Arc::new(open()?))))
    }
}

/// The trees with what they lack laid over them.
pub(super) struct View<'v> {
    pub(super) base: &'v Snapshot,
    pub(super) recent: &'v Recent,
}

impl View<'_> {
    fn values(&self, tree: u8) -> &Values {
        &self.recent.trees[at(tree)]
    }

    /// What stands in `edges` under a key.
    pub(super) fn edge(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.values(tree_number::EDGES).get(key) {
            Some(value) => Ok(value.clone()),
            None => self.base.edge(key),
        }
    }

    /// The last run of a lane that begins at a chunk or before it.
    pub(super) fn run_before(&self, lane: Lane, chunk: u64) -> Result<Option<Span>> {
        let (from, to) = (lane.key(0), lane.key(chunk));
        let (from, to) = (from.as_ref(), to.as_ref());
        let values = self.values(tree_number::INDEX);
        let bounds = (Bound::Included(from), Bound::Included(to));
        let recent =
            values.range::<[u8], _>(bounds).rev().find_map(|(key, value)| Some((key, value.as_ref()?)));
        for entry in self.base.index_between(bounds)?.rev() {
            let (key, value) = entry.map_err(errors::reading)?;
            if recent.is_some_and(|(recent, _)| recent.as_slice() > key.value()) {
                break;
            }
            if !values.contains_key(key.value()) {
                return read_run(lane, key.value(), value.value()).map(Some);
            }
        }
        recent.map(|(key, value)| read_run(lane, key, value)).transpose()
    }

    /// The runs of a lane that begin behind a chunk.
    pub(super) fn runs_after(&self, lane: Lane, chunk: u64) -> Result<impl Iterator<Item = Result<Span>>> {
        let (from, to) = (lane.key(chunk), lane.key(u64::MAX));
        let bounds = (Bound::Excluded(from.as_ref()), Bound::Included(to.as_ref()));
        let base = self.base.index_between(bounds)?.map(|entry| {
            let (key, value) = entry.map_err(errors::reading)?;
            Ok((key.value().to_vec(), value.value().to_vec()))
        });
        let recent = self.values(tree_number::INDEX).range::<[u8], _>(bounds);
        let merged = Merged { base: base.peekable(), recent: recent.peekable() };
        Ok(merged.map(move |entry| {
            let (key, value) = entry?;
            read_run(lane, &key, &value)
        }))
    }

    /// The entries of the log up to a revision, with the revision of each.
    pub(super) fn log_to(&self, revision: u64) -> Result<impl Iterator<Item = Result<(u64, Vec<u8>)>>> {
        let base = self.base.log_to(revision)?.map(|entry| {
            let (key, value) = entry.map_err(errors::reading)?;
            Ok((key.value().to_vec(), value.value().to_vec()))
        });
        let to = revision.to_be_bytes();
        let bounds = (Bound::Unbounded, Bound::Included(&to[..]));
        let recent = self.values(tree_number::LOG).range::<[u8], _>(bounds);
        let merged = Merged { base: base.peekable(), recent: recent.peekable() };
        Ok(merged.map(|entry| {
            let (key, value) = entry?;
            let first = key.first_chunk().ok_or_else(|| errors::damaged_index("a key is too short"))?;
            Ok((u64::from_be_bytes(*first), value))
        }))
    }
}

type Owned = (Vec<u8>, Vec<u8>);

/// Entries of a tree with those that it lacks laid over them, in the order of the keys.
struct Merged<'v, B: Iterator<Item = Result<Owned>>> {
    base: Peekable<B>,
    recent: Peekable<btree_map::Range<'v, Vec<u8>, Option<Vec<u8>>>>,
}

impl<B: Iterator<Item = Result<Owned>>> Iterator for Merged<'_, B> {
    type Item = Result<Owned>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(&(key, value)) = self.recent.peek() else { return self.base.next() };
            match self.base.peek() {
                Some(Ok((below, _))) if below == key => drop(self.base.next()),
                Some(Ok((below, _))) if below > key => {}
                Some(_) => return self.base.next(),
                None => {}
            }
            self.recent.next();
            if let Some(value) = value {
                return Some(Ok((key.clone(), value.clone())));
            }
        }
    }
}
