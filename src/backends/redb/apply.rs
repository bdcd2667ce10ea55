//! Writes entries to the trees: neighbours together, through a cursor, which makes each leaf once; others one by one.

use std::cmp::Ordering;
use std::ops::{Bound, RangeInclusive};

use redb::{CursorError, Key as TreeKey, ReadableTable as _, Table, WriteTransaction};

use super::edits::Entry;
use super::errors;
use super::tables::{self as t, edge_tag, tree_number, u64_at};
use crate::error::Result;

/// From here on neighbours are quicker written together: a search each costs less for 16, more for 64, as callgrind
/// counts.
const RUN_MIN: usize = 32;

/// How many entries may stand between those of a run, to one of the run in so many.
const STRANGERS_SHARE: usize = 8;

type Tree<'t, K> = Table<'t, K, &'static [u8]>;

/// Makes the trees of a new store.
pub(super) fn create(transaction: &WriteTransaction) -> Result<()> {
    open(transaction, t::CONTENTS)?;
    open(transaction, t::RECORDS)?;
    open(transaction, t::EDGES)?;
    open(transaction, t::INDEX)?;
    open(transaction, t::LOG).map(drop)
}

/// Writes entries, of which those of one tree stand together, each key once.
pub(super) fn apply(transaction: &WriteTransaction, entries: &[Entry<'_>]) -> Result<()> {
    for entries in entries.chunk_by(|a, b| a.tree == b.tree) {
        match entries[0].tree {
            tree_number::CONTENTS => write(&mut open(transaction, t::CONTENTS)?, entries)?,
            tree_number::RECORDS => write(&mut open(transaction, t::RECORDS)?, entries)?,
            tree_number::EDGES => write(&mut open(transaction, t::EDGES)?, entries)?,
            tree_number::INDEX => write(&mut open(transaction, t::INDEX)?, entries)?,
            _ => write(&mut open(transaction, t::LOG)?, entries)?,
        }
    }
    Ok(())
}

fn open<K: TreeKey + 'static>(
    transaction: &WriteTransaction,
    definition: t::Definition<K>,
) -> Result<Tree<'_, K>> {
    transaction.open_table(definition).map_err(errors::opening_table)
}

/// What a tree may hold between an entry and the one that follows it here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    Nothing,
    /// A little, perhaps.
    Narrow,
    Wide,
}

impl Gap {
    /// How far apart two chunks may be for a tree to have little between them.
    const NEAR: u64 = 16;

    fn between(entry: &Entry<'_>, next: &Entry<'_>) -> Self {
        let is_pair = entry.tree == tree_number::EDGES && entry.key[0] == edge_tag::DEPENDENT;
        match entry.tree {
            tree_number::INDEX | tree_number::LOG => Gap::Wide,
            // Of who waits for a chunk there may be others.
            _ if is_pair => match Gap::of(entry.key, next.key, 9) {
                Gap::Nothing => Gap::Narrow,
                gap => gap,
            },
            _ => Gap::of(entry.key, next.key, entry.key.len() - 8),
        }
    }

    /// Of two keys, by the chunk at an offset.
    fn of(key: &[u8], next: &[u8], at: usize) -> Self {
        if key.len() != next.len() || key[..at] != next[..at] {
            return Gap::Wide;
        }
        match u64_at(next, at).checked_sub(u64_at(key, at)) {
            Some(0) if key >= next => Gap::Wide,
            Some(0..=1) => Gap::Nothing,
            Some(2..=Gap::NEAR) => Gap::Narrow,
            _ => Gap::Wide,
        }
    }
}

fn write<K: TreeKey + 'static>(tree: &mut Tree<'_, K>, entries: &[Entry<'_>]) -> Result<()> {
    for run in entries.chunk_by(|a, b| Gap::between(a, b) != Gap::Wide) {
        let is_whole = || run.windows(2).all(|pair| Gap::between(&pair[0], &pair[1]) == Gap::Nothing);
        if run.len() < RUN_MIN || !is_whole() && has_many_strangers(tree, run)? {
            run.iter().try_for_each(|entry| write_one(tree, entry))?;
        } else {
            clear(tree, run)?;
            insert_run(tree, run)?;
        }
    }
    Ok(())
}

fn write_one<K: TreeKey + 'static>(tree: &mut Tree<'_, K>, entry: &Entry<'_>) -> Result<()> {
    let key = K::from_bytes(entry.key);
    match entry.value {
        Some(value) => drop(tree.insert(key, value).map_err(errors::writing)?),
        None => drop(tree.remove(key).map_err(errors::writing)?),
    }
    Ok(())
}

fn range<'k, K: TreeKey + 'static>(run: &[Entry<'k>]) -> RangeInclusive<K::SelfType<'k>> {
    K::from_bytes(run[0].key)..=K::from_bytes(run[run.len() - 1].key)
}

/// Whether so many entries stand between those of a run that to walk over them would take too long.
fn has_many_strangers<K: TreeKey + 'static>(tree: &Tree<'_, K>, run: &[Entry<'_>]) -> Result<bool> {
    let mut ahead = Ahead(run);
    let mut strangers = 0;
    for entry in tree.range(range::<K>(run)).map_err(errors::reading)? {
        let (key, _) = entry.map_err(errors::reading)?;
        if !ahead.has::<K>(&key.value()) {
            strangers += 1;
        }
        if strangers > run.len() / STRANGERS_SHARE {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes the entries of a run, whatever they are to be.
fn clear<K: TreeKey + 'static>(tree: &mut Tree<'_, K>, run: &[Entry<'_>]) -> Result<()> {
    let mut ahead = Ahead(run);
    tree.retain_in(range::<K>(run), |key, _| !ahead.has::<K>(&key)).map_err(errors::writing)
}

/// Entries in ascending order that are compared with keys in ascending order.
struct Ahead<'e>(&'e [Entry<'e>]);

impl Ahead<'_> {
    fn has<K: TreeKey>(&mut self, key: &K::SelfType<'_>) -> bool {
        let key = K::as_bytes(key);
        while let Some((first, rest)) = self.0.split_first() {
            match K::compare(first.key, key.as_ref()) {
                Ordering::Less => self.0 = rest,
                Ordering::Equal => return true,
                Ordering::Greater => return false,
            }
        }
        false
    }
}

/// Writes a run of which the tree has nothing.
fn insert_run<K: TreeKey + 'static>(tree: &mut Tree<'_, K>, run: &[Entry<'_>]) -> Result<()> {
    let mut rest = run;
    // From stranger to stranger: behind each a cursor begins anew.
    while let Some(first) = rest.first() {
        let here = Bound::Included(K::from_bytes(first.key));
        let mut cursor = tree.lower_bound_mut(here).map_err(errors::reading)?;
        let before = rest.len();
        while let Some((entry, others)) = rest.split_first() {
            if let Some(value) = entry.value {
                match cursor.insert_before(K::from_bytes(entry.key), value) {
                    Err(CursorError::UnorderedKey) if rest.len() < before => break,
                    result => result.map_err(errors::writing)?,
                }
            }
            rest = others;
        }
        cursor.close().map_err(errors::writing)?;
    }
    Ok(())
}
