//! The trees, with what they lack laid over them.

use std::cmp::Ordering;
use std::collections::btree_map;
use std::iter::Peekable;
use std::ops::{Bound, Deref};

use redb::{AccessGuard, Range, ReadOnlyTable, StorageError};

use super::errors;
use super::recent::{KeyBytes, Laid, Recent, Values};
use super::snapshot::Snapshot;
use super::tables::{Revision, Row, Tag, tree_number};
use crate::error::Result;

type Bytes = &'static [u8];
type Guards<K> = (AccessGuard<'static, K>, AccessGuard<'static, Bytes>);
type RecentRange<'v> = btree_map::Range<'v, KeyBytes, Laid>;
/// From where to where.
pub(super) type Bounds<'k> = (Bound<&'k [u8]>, Bound<&'k [u8]>);

static NOTHING: Recent = Recent::new();

/// What there is: the trees as they were at one moment, and what was committed since and is not in them yet.
#[derive(Clone, Copy)]
pub(super) struct View<'v> {
    base: &'v Snapshot,
    recent: &'v Recent,
}

impl<'v> View<'v> {
    pub(super) fn new(base: &'v Snapshot, recent: &'v Recent) -> Self {
        View { base, recent }
    }

    /// The trees, which lack nothing.
    pub(super) fn of(base: &'v Snapshot) -> Self {
        View { base, recent: &NOTHING }
    }

    pub(super) fn contents(self) -> Tree<'v, Row> {
        self.tree(Some(&self.base.contents), tree_number::CONTENTS)
    }

    pub(super) fn records(self) -> Tree<'v, Row> {
        self.tree(Some(&self.base.records), tree_number::RECORDS)
    }

    pub(super) fn index(self) -> Tree<'v, Tag> {
        self.tree(Some(&self.base.index), tree_number::INDEX)
    }

    pub(super) fn edges(self) -> Tree<'v, Tag> {
        self.tree(self.base.edges.as_ref(), tree_number::EDGES)
    }

    pub(super) fn log(self) -> Tree<'v, Revision> {
        self.tree(Some(&self.base.log), tree_number::LOG)
    }

    fn tree<K: TreeKey>(self, stored: Option<&'v Stored<K>>, number: u8) -> Tree<'v, K> {
        Tree { stored, recent: self.recent.of(number) }
    }
}

/// A key of one of our trees; redb hands it out as bytes of some kind.
pub(super) trait TreeKey: redb::Key + 'static {
    fn bytes<'g>(guard: &'g AccessGuard<'static, Self>) -> &'g [u8]
    where
        Self: Sized;
}

impl TreeKey for Tag {
    fn bytes<'g>(guard: &'g AccessGuard<'static, Self>) -> &'g [u8] {
        guard.value()
    }
}

impl<const N: usize> TreeKey for &'static [u8; N] {
    fn bytes<'g>(guard: &'g AccessGuard<'static, Self>) -> &'g [u8] {
        guard.value()
    }
}

pub(super) type Stored<K> = ReadOnlyTable<K, Bytes>;

/// One tree of them.
pub(super) struct Tree<'v, K: TreeKey> {
    /// `None` where it is empty.
    stored: Option<&'v Stored<K>>,
    recent: &'v Values,
}

impl<'v, K: TreeKey> Tree<'v, K> {
    /// Whether nothing is in it, for certain.
    pub(super) fn is_empty(&self) -> bool {
        self.stored.is_none() && self.recent.is_empty()
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Value<'v>>> {
        if let Some(recent) = self.recent.get(&KeyBytes::new(key)) {
            return Ok(recent.value().map(Value::Recent));
        }
        let Some(stored) = self.stored else { return Ok(None) };
        Ok(stored.get(K::from_bytes(key)).map_err(errors::reading)?.map(Value::Stored))
    }

    pub(super) fn has(&self, key: &[u8]) -> Result<bool> {
        Ok(self.get(key)?.is_some())
    }

    /// Every entry, in the order of the keys.
    pub(super) fn all(&self) -> Result<Entries<'v, K>> {
        self.range((Bound::Unbounded, Bound::Unbounded))
    }

    /// From a key up to another one, without it.
    pub(super) fn between(&self, from: &[u8], to: &[u8]) -> Result<Entries<'v, K>> {
        self.range((Bound::Included(from), Bound::Excluded(to)))
    }

    /// From a key up to another one, with it.
    pub(super) fn through(&self, first: &[u8], last: &[u8]) -> Result<Entries<'v, K>> {
        self.range((Bound::Included(first), Bound::Included(last)))
    }

    pub(super) fn range(&self, bounds: Bounds<'_>) -> Result<Entries<'v, K>> {
        Ok(Entries {
            stored: self.stored_in(bounds)?,
            ahead: None,
            recent: self.recent_in(bounds).peekable(),
        })
    }

    fn recent_in(&self, (from, to): Bounds<'_>) -> RecentRange<'v> {
        self.recent.range((from.map(KeyBytes::new), to.map(KeyBytes::new)))
    }

    fn stored_in(&self, (from, to): Bounds<'_>) -> Result<Option<Range<'static, K, Bytes>>> {
        let bounds = (from.map(K::from_bytes), to.map(K::from_bytes));
        let range = self.stored.map(|stored| stored.range::<K::SelfType<'_>>(bounds));
        range.transpose().map_err(errors::reading)
    }

    /// The last entry between two keys.
    pub(super) fn last(&self, bounds: Bounds<'_>) -> Result<Option<Found<'v>>> {
        let mut recent = self.recent_in(bounds).rev();
        let recent = recent.find_map(|(key, laid)| Some((key, laid.value()?)));
        for entry in self.stored_in(bounds)?.into_iter().flatten().rev() {
            let stored = Found::stored(entry)?;
            if recent.is_some_and(|(key, _)| *key > stored.key) {
                break;
            }
            if !self.recent.contains_key(&stored.key) {
                return Ok(Some(stored));
            }
        }
        Ok(recent.map(|(key, value)| Found { key: *key, value: Value::Recent(value) }))
    }
}

/// What stands under a key.
pub(super) enum Value<'v> {
    Stored(AccessGuard<'static, Bytes>),
    Recent(&'v [u8]),
}

impl Deref for Value<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Value::Stored(guard) => guard.value(),
            Value::Recent(value) => value,
        }
    }
}

/// A key and what stands under it.
pub(super) struct Found<'v> {
    key: KeyBytes,
    value: Value<'v>,
}

impl Found<'_> {
    fn stored<K: TreeKey>(entry: std::result::Result<Guards<K>, StorageError>) -> Result<Self> {
        let (key, value) = entry.map_err(errors::reading)?;
        let bytes = K::bytes(&key);
        let too_long = || errors::damaged_index(format_args!("a key has {} bytes", bytes.len()));
        Ok(Found { key: KeyBytes::of(bytes).ok_or_else(too_long)?, value: Value::Stored(value) })
    }

    pub(super) fn key(&self) -> &[u8] {
        self.key.as_slice()
    }

    pub(super) fn value(&self) -> &[u8] {
        &self.value
    }
}

/// Entries of a tree in the order of their keys.
pub(super) struct Entries<'v, K: TreeKey> {
    stored: Option<Range<'static, K, Bytes>>,
    /// One of the tree's own that may have something laid over it.
    ahead: Option<Found<'v>>,
    recent: Peekable<RecentRange<'v>>,
}

impl<'v, K: TreeKey> Entries<'v, K> {
    fn next_stored(&mut self) -> Result<Option<Found<'v>>> {
        if let Some(ahead) = self.ahead.take() {
            return Ok(Some(ahead));
        }
        let next = self.stored.as_mut().and_then(Iterator::next);
        if next.is_none() {
            self.stored = None;
        }
        next.map(Found::stored).transpose()
    }
}

impl<'v, K: TreeKey> Iterator for Entries<'v, K> {
    type Item = Result<Found<'v>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let stored = match self.next_stored() {
                Ok(stored) => stored,
                Err(error) => return Some(Err(error)),
            };
            let Some(&(key, laid)) = self.recent.peek() else { return stored.map(Ok) };
            if let Some(stored) = stored {
                match stored.key.cmp(key) {
                    Ordering::Less => return Some(Ok(stored)),
                    Ordering::Equal => {}
                    Ordering::Greater => self.ahead = Some(stored),
                }
            }
            self.recent.next();
            if let Some(value) = laid.value() {
                return Some(Ok(Found { key: *key, value: Value::Recent(value) }));
            }
        }
    }
}
