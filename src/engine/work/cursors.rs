//! The dependents that are left to be told of something.

use std::collections::{BTreeMap, BTreeSet};

use super::Work;
use crate::backends::contract::{Cursor, CursorsNeed, Key, Needs};
use crate::error::Result;

#[derive(Default)]
pub(super) struct CursorSlot {
    pub(super) cursor: Option<Cursor>,
    pub(super) stored: bool,
    pub(super) dirty: bool,
}

/// The cursors of the jobs that were asked for, by chunk.
#[derive(Default)]
pub(super) struct Cursors(BTreeMap<i64, BTreeMap<u64, CursorSlot>>);

impl Cursors {
    pub(super) fn changed(&self) -> impl Iterator<Item = (Key, &CursorSlot)> {
        self.0.iter().flat_map(|(&job, slots)| {
            let dirty = slots.iter().filter(|(_, slot)| slot.dirty);
            dirty.map(move |(&chunk, slot)| (Key { job, chunk }, slot))
        })
    }

    /// How many there are where storage has so many.
    pub(super) fn count(&self, stored: u64) -> u64 {
        self.changed().fold(stored, |count, (_, slot)| {
            (count + u64::from(slot.cursor.is_some())).saturating_sub(u64::from(slot.stored))
        })
    }
}

impl Work<'_> {
    /// The cursors of a job that storage holds, and those of this group.
    fn cursors(&mut self, job: i64) -> Result<&mut BTreeMap<u64, CursorSlot>> {
        if !self.cursors.0.contains_key(&job) {
            let cursors = (self.meta.cursors > 0).then(|| CursorsNeed::of_job(job));
            let stored = match cursors {
                None => Vec::new(),
                cursors => self.load(&Needs { cursors, ..Needs::default() })?.cursors,
            };
            let slot = |cursor: Cursor| {
                (cursor.key.chunk, CursorSlot { cursor: Some(cursor), stored: true, dirty: false })
            };
            self.cursors.0.insert(job, stored.into_iter().map(slot).collect());
        }
        Ok(self.cursors.0.entry(job).or_default())
    }

    /// Leaves a list of dependents to a later commit.
    pub(in crate::engine) fn put_cursor(&mut self, cursor: Cursor) -> Result<()> {
        let slot = self.cursors(cursor.key.job)?.entry(cursor.key.chunk).or_default();
        (slot.cursor, slot.dirty) = (Some(cursor), true);
        Ok(())
    }

    /// Nothing is left to be told to the dependents of a chunk.
    pub(in crate::engine) fn delete_cursor(&mut self, key: Key) -> Result<()> {
        if let Some(slot) = self.cursors(key.job)?.get_mut(&key.chunk) {
            (slot.cursor, slot.dirty) = (None, true);
        }
        Ok(())
    }

    /// What is left to be told to the dependents of a chunk.
    pub(in crate::engine) fn cursor(&mut self, key: Key) -> Result<Option<Cursor>> {
        Ok(self.cursors(key.job)?.get(&key.chunk).and_then(|slot| slot.cursor))
    }

    /// What is left to be told in a job, in the order of the chunks.
    pub(in crate::engine) fn cursors_of(
        &mut self,
        job: i64,
    ) -> Result<impl DoubleEndedIterator<Item = Cursor>> {
        Ok(self.cursors(job)?.values().filter_map(|slot| slot.cursor))
    }

    /// The first job at or above an id in which something is left to be told, or was before this group.
    pub(in crate::engine) fn job_with_cursors(&mut self, from: i64) -> Result<Option<i64>> {
        let cursors = Some(CursorsNeed::first_from(from));
        let stored = match self.meta.cursors {
            0 => None,
            _ => self.load(&Needs { cursors, ..Needs::default() })?.cursors.pop(),
        };
        let here = self.cursors.changed().map(|(key, _)| key.job).find(|&job| job >= from);
        Ok(stored.map(|cursor| cursor.key.job).into_iter().chain(here).min())
    }

    /// Every key that has a cursor.
    pub(in crate::engine) fn keys_with_cursors(&mut self) -> Result<BTreeSet<Key>> {
        let (mut keys, mut from) = (BTreeSet::new(), 0);
        while let Some(job) = self.job_with_cursors(from)? {
            keys.extend(self.cursors_of(job)?.map(|cursor| cursor.key));
            from = job + 1;
        }
        Ok(keys)
    }

    /// Whether dependents are left to a later commit.
    pub(in crate::engine) fn has_cursors(&self) -> bool {
        self.cursors.count(self.meta.cursors) > 0
    }
}
