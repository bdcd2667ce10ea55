//! The dependents that are left to be told of something.

use std::collections::BTreeMap;

use super::Work;
use crate::backends::contract::{Cursor, Key, Needs};
use crate::error::Result;

#[derive(Default)]
pub(super) struct CursorSlot {
    pub(super) cursor: Option<Cursor>,
    pub(super) stored: bool,
    pub(super) dirty: bool,
}

impl Work<'_> {
    /// The cursors that storage holds, and those of this group.
    pub(super) fn cursors(&mut self) -> Result<&mut BTreeMap<Key, CursorSlot>> {
        if self.cursors.is_none() {
            let stored = match self.meta.cursors {
                0 => Vec::new(),
                _ => self.load(&Needs { cursors: usize::MAX, ..Needs::default() })?.cursors,
            };
            let slots = stored
                .into_iter()
                .map(|c| (c.key, CursorSlot { cursor: Some(c), stored: true, dirty: false }));
            self.cursors = Some(slots.collect());
        }
        Ok(self.cursors.get_or_insert_default())
    }

    /// Leaves a list of dependents to a later commit.
    pub(in crate::engine) fn put_cursor(&mut self, cursor: Cursor) -> Result<()> {
        let slot = self.cursors()?.entry(cursor.key).or_default();
        (slot.cursor, slot.dirty) = (Some(cursor), true);
        Ok(())
    }

    /// Nothing is left to be told to the dependents of a chunk.
    pub(in crate::engine) fn delete_cursor(&mut self, key: Key) -> Result<()> {
        if let Some(slot) = self.cursors()?.get_mut(&key) {
            (slot.cursor, slot.dirty) = (None, true);
        }
        Ok(())
    }

    /// What is left to be told to the dependents of a chunk.
    pub(in crate::engine) fn cursor(&mut self, key: Key) -> Result<Option<Cursor>> {
        Ok(self.cursors()?.get(&key).and_then(|slot| slot.cursor))
    }

    /// The first cursor that is left to work on.
    pub(in crate::engine) fn first_cursor(&mut self) -> Result<Option<Cursor>> {
        Ok(self.cursors()?.values().find_map(|slot| slot.cursor))
    }

    /// Whether dependents are left to a later commit.
    pub(in crate::engine) fn has_cursors(&self) -> bool {
        match &self.cursors {
            None => self.meta.cursors > 0,
            Some(cursors) => cursors.values().any(|slot| slot.cursor.is_some()),
        }
    }
}
