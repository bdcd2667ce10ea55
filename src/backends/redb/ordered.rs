//! Writes entries of one tree in the order of their keys: neighbours together, through a cursor, which makes each leaf
//! once; others one by one.

use std::ops::Bound;

use redb::{CursorError, Key as TreeKey, ReadableTable as _, Table as Tree, Value};

use super::errors;
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
    type Tree: TreeKey + 'static;
    type Bytes: AsRef<[u8]>;

    fn key(&self) -> Self::Bytes;

    /// The key's bytes as the tree has them.
    fn as_key(bytes: &Self::Bytes) -> <Self::Tree as Value>::SelfType<'_>;

    /// `None` where there is to be none.
    fn value<'e>(&self, encoder: &'e mut Encoder) -> Option<&'e [u8]>;

    fn gap(&self, next: &Self) -> Gap;
}

type TreeOf<'t, E> = Tree<'t, <E as Entry>::Tree, &'static [u8]>;

/// Writes entries, in ascending order, each key once.
pub(super) fn write<E: Entry>(tree: &mut TreeOf<'_, E>, entries: &[E], encoder: &mut Encoder) -> Result<()> {
    for run in entries.chunk_by(|a, b| a.gap(b) != Gap::Wide) {
        if run.len() >= RUN_MIN && clear(tree, run)? {
            insert_run(tree, run, encoder)?;
        } else {
            one_by_one(tree, run, encoder)?;
        }
    }
    Ok(())
}

fn one_by_one<E: Entry>(tree: &mut TreeOf<'_, E>, entries: &[E], encoder: &mut Encoder) -> Result<()> {
    for entry in entries {
        let bytes = entry.key();
        let key = E::as_key(&bytes);
        match entry.value(encoder) {
            Some(value) => drop(tree.insert(key, value).map_err(errors::writing)?),
            None => drop(tree.remove(key).map_err(errors::writing)?),
        }
    }
    Ok(())
}

/// Removes the entries of a run, whatever they are to be. Says whether it did: not where too many strangers are
/// between them, each of which would have to be walked over.
fn clear<E: Entry>(tree: &mut TreeOf<'_, E>, run: &[E]) -> Result<bool> {
    let keys: Vec<E::Bytes> = run.iter().map(Entry::key).collect();
    let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return Ok(true) };
    if run.windows(2).any(|pair| pair[0].gap(&pair[1]) != Gap::Nothing) {
        let stored = tree.range(E::as_key(first)..=E::as_key(last)).map_err(errors::reading)?;
        let mut ahead = Ahead(&keys);
        let mut strangers = 0;
        for entry in stored {
            let (key, _) = entry.map_err(errors::reading)?;
            if !ahead.has::<E>(&key.value()) {
                strangers += 1;
            }
            if strangers > run.len() / STRANGERS_SHARE {
                return Ok(false);
            }
        }
    }
    let mut ahead = Ahead(&keys);
    tree.retain_in(E::as_key(first)..=E::as_key(last), |key, _| !ahead.has::<E>(&key))
        .map_err(errors::writing)?;
    Ok(true)
}

/// Keys in ascending order that are compared with others in ascending order.
struct Ahead<'k, B>(&'k [B]);

impl<B> Ahead<'_, B> {
    fn has<E: Entry<Bytes = B>>(&mut self, key: &<E::Tree as Value>::SelfType<'_>) -> bool {
        let key = E::Tree::as_bytes(key);
        while let Some((first, rest)) = self.0.split_first() {
            match E::Tree::compare(E::Tree::as_bytes(&E::as_key(first)).as_ref(), key.as_ref()) {
                std::cmp::Ordering::Less => self.0 = rest,
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Greater => return false,
            }
        }
        false
    }
}

/// Writes a run of which the tree has nothing.
fn insert_run<E: Entry>(tree: &mut TreeOf<'_, E>, run: &[E], encoder: &mut Encoder) -> Result<()> {
    let mut rest = run;
    // From stranger to stranger: behind each a cursor begins anew.
    while let Some(first) = rest.first() {
        let bytes = first.key();
        let mut cursor = tree.lower_bound_mut(Bound::Included(E::as_key(&bytes))).map_err(errors::reading)?;
        let mut passed = 0;
        for entry in rest {
            if let Some(value) = entry.value(encoder) {
                let bytes = entry.key();
                match cursor.insert_before(E::as_key(&bytes), value) {
                    Err(CursorError::UnorderedKey) if passed > 0 => break,
                    result => result.map_err(errors::writing)?,
                }
            }
            passed += 1;
        }
        cursor.close().map_err(errors::writing)?;
        rest = &rest[passed..];
    }
    Ok(())
}
