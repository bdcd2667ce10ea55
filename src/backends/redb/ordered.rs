//! Writes entries of one tree in the order of their keys: neighbours together, through a cursor, which makes each leaf
//! once; others one by one.

use std::cmp::Ordering;
use std::ops::{Bound, RangeInclusive};

use redb::{CursorError, Key as TreeKey, ReadableTable as _};

use super::errors;
use super::noted::Noted;
use crate::backends::contract::Key;
use crate::codec::Encoder;
use crate::error::Result;

/// From here on neighbours are quicker written together: a search each costs less for 16, more for 64, as callgrind
/// counts.
const RUN_MIN: usize = 32;

/// How many entries may stand between those of a run, to one of the run in so many.
const STRANGERS_SHARE: usize = 8;

/// What a tree may hold between an entry and the one that follows it here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gap {
    Nothing,
    /// A little, perhaps.
    Narrow,
    Wide,
}

impl Gap {
    /// How far apart two chunks may be for a tree to have little between them.
    const NEAR: u64 = 16;

    /// Between the entries of two chunks.
    pub(super) fn between(key: Key, next: Key) -> Self {
        match next.chunk.saturating_sub(key.chunk) {
            _ if key.job != next.job => Gap::Wide,
            0..=1 => Gap::Nothing,
            2..=Gap::NEAR => Gap::Narrow,
            _ => Gap::Wide,
        }
    }
}

/// An entry as it is to be.
pub(super) trait Entry {
    type Bytes: AsRef<[u8]>;

    /// Its key as the tree has it.
    fn key(&self) -> Self::Bytes;

    /// `None` where there is to be none.
    fn value<'e>(&self, encoder: &'e mut Encoder) -> Option<&'e [u8]>;

    fn gap(&self, next: &Self) -> Gap;
}

/// What a function that is compiled once per type of key asks of an entry: the value of the one at an index.
type Values<'v> = dyn for<'e> Fn(usize, &'e mut Encoder) -> Option<&'e [u8]> + 'v;

/// Writes entries, in ascending order, each key once.
pub(super) fn write<K: TreeKey + 'static, E: Entry>(
    tree: &mut Noted<'_, K>,
    entries: &[E],
    encoder: &mut Encoder,
) -> Result<()> {
    for run in entries.chunk_by(|a, b| a.gap(b) != Gap::Wide) {
        if run.len() < RUN_MIN {
            for entry in run {
                tree.write(entry.key().as_ref(), entry.value(encoder))?;
            }
            continue;
        }
        let is_whole = run.windows(2).all(|pair| pair[0].gap(&pair[1]) == Gap::Nothing);
        let keys: Vec<E::Bytes> = run.iter().map(Entry::key).collect();
        let keys: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        write_run(tree, &keys, is_whole, &|at, encoder| run[at].value(encoder), encoder)?;
    }
    Ok(())
}

fn write_run<K: TreeKey + 'static>(
    tree: &mut Noted<'_, K>,
    keys: &[&[u8]],
    is_whole: bool,
    value: &Values<'_>,
    encoder: &mut Encoder,
) -> Result<()> {
    if !is_whole && has_many_strangers(tree, keys)? {
        return (0..keys.len()).try_for_each(|at| tree.write(keys[at], value(at, encoder)));
    }
    clear(tree, keys)?;
    insert_run(tree, keys, value, encoder)
}

fn range<'k, K: TreeKey + 'static>(keys: &[&'k [u8]]) -> RangeInclusive<K::SelfType<'k>> {
    K::from_bytes(keys[0])..=K::from_bytes(keys[keys.len() - 1])
}

/// Whether so many entries stand between those of a run that to walk over them would take too long.
fn has_many_strangers<K: TreeKey + 'static>(tree: &Noted<'_, K>, keys: &[&[u8]]) -> Result<bool> {
    let mut ahead = Ahead(keys);
    let mut strangers = 0;
    for entry in tree.tree.range(range::<K>(keys)).map_err(errors::reading)? {
        let (key, _) = entry.map_err(errors::reading)?;
        if !ahead.has::<K>(&key.value()) {
            strangers += 1;
        }
        if strangers > keys.len() / STRANGERS_SHARE {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes the entries of a run, whatever they are to be. Noted is what they are to be.
fn clear<K: TreeKey + 'static>(tree: &mut Noted<'_, K>, keys: &[&[u8]]) -> Result<()> {
    let mut ahead = Ahead(keys);
    tree.tree.retain_in(range::<K>(keys), |key, _| !ahead.has::<K>(&key)).map_err(errors::writing)
}

/// Keys in ascending order that are compared with others in ascending order.
struct Ahead<'k>(&'k [&'k [u8]]);

impl Ahead<'_> {
    fn has<K: TreeKey>(&mut self, key: &K::SelfType<'_>) -> bool {
        let key = K::as_bytes(key);
        while let Some((first, rest)) = self.0.split_first() {
            match K::compare(first, key.as_ref()) {
                Ordering::Less => self.0 = rest,
                Ordering::Equal => return true,
                Ordering::Greater => return false,
            }
        }
        false
    }
}

/// Writes a run of which the tree has nothing.
fn insert_run<K: TreeKey + 'static>(
    tree: &mut Noted<'_, K>,
    keys: &[&[u8]],
    value: &Values<'_>,
    encoder: &mut Encoder,
) -> Result<()> {
    let (tree, note) = (&mut tree.tree, tree.note);
    let mut at = 0;
    // From stranger to stranger: behind each a cursor begins anew.
    while at < keys.len() {
        let first = at;
        let here = Bound::Included(K::from_bytes(keys[first]));
        let mut cursor = tree.lower_bound_mut(here).map_err(errors::reading)?;
        while at < keys.len() {
            let value = value(at, encoder);
            if let Some(value) = value {
                match cursor.insert_before(K::from_bytes(keys[at]), value) {
                    Err(CursorError::UnorderedKey) if at > first => break,
                    result => result.map_err(errors::writing)?,
                }
            }
            note.take(keys[at], value);
            at += 1;
        }
        cursor.close().map_err(errors::writing)?;
    }
    Ok(())
}
