//! A tree of a write transaction. What is written to it is noted, for the journal.

use redb::{Key as TreeKey, Table as Tree, WriteTransaction};

use super::errors;
use super::journal::Frame;
use super::tables::Definition;
use crate::error::Result;

/// A tree, and where is noted what is written to it.
pub(super) struct Noted<'a, K: TreeKey + 'static> {
    /// Whoever writes to it by other ways than [`Noted::write`] notes it.
    pub(super) tree: Tree<'a, K, &'static [u8]>,
    pub(super) note: Note<'a>,
}

/// Where is noted what is written to a tree.
#[derive(Clone, Copy)]
pub(super) struct Note<'a> {
    /// The tree's number in the journal.
    tree: u8,
    frame: &'a Frame,
}

impl Note<'_> {
    /// A key gets a value, or goes.
    pub(super) fn take(self, key: &[u8], value: Option<&[u8]>) {
        self.frame.note(self.tree, key, value);
    }
}

impl<'a, K: TreeKey + 'static> Noted<'a, K> {
    pub(super) fn open(
        transaction: &'a WriteTransaction,
        definition: Definition<K>,
        number: u8,
        frame: &'a Frame,
    ) -> Result<Self> {
        let tree = transaction.open_table(definition).map_err(errors::opening_table)?;
        Ok(Noted { tree, note: Note { tree: number, frame } })
    }

    /// Puts a value in, or takes it out.
    pub(super) fn write(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        self.note.take(key, value);
        let key = K::from_bytes(key);
        match value {
            Some(value) => drop(self.tree.insert(key, value).map_err(errors::writing)?),
            None => drop(self.tree.remove(key).map_err(errors::writing)?),
        }
        Ok(())
    }

    pub(super) fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.write(key, Some(value))
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> Result<()> {
        self.write(key, None)
    }
}
