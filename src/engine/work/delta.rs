//! The end: everything that a group changed, as one step for storage.

use super::{RowSlot, Work};
use crate::backends::contract::{Delta, JobChange, Key, LogRun, RowChange, Subject};
use crate::engine::HAS_FEED;
use crate::limits;
use crate::machine;
use crate::model::Durability;

impl RowSlot {
    /// What storage is to do about it, if anything.
    fn into_change(self, key: Key) -> Option<RowChange> {
        let after = self.row.as_ref().map(machine::place);
        let gone = self.before.is_some() && after.is_none();
        let touched = self.content_dirty || self.record_dirty || self.unmet_dirty;
        if !gone && (!touched || after.is_none()) {
            return None;
        }
        let (content, record, unmet) = match self.row {
            None => (None, None, None),
            Some(row) => (
                self.content_dirty.then_some(row.content),
                self.record_dirty.then_some(row.record),
                self.unmet_dirty.then_some(row.unmet),
            ),
        };
        let is_whole = content.as_ref().is_none_or(|content| content.left_bytes == 0);
        assert!(is_whole, "the payload of a content that is to be written was left in storage");
        Some(RowChange { key, before: self.before, after, content, record, unmet })
    }
}

impl Work<'_> {
    pub(super) fn next_revision(&mut self) -> u64 {
        self.meta.revision += 1;
        self.meta.revision
    }

    pub(super) fn log_one(&mut self, subject: Subject, revision: u64, key: Key) {
        if let Some(run) = self.log.last_mut() {
            let next = Key { job: run.key.job, chunk: run.key.chunk.wrapping_add(run.count) };
            let joins = matches!(subject, Subject::Chunk | Subject::Met) && run.subject == subject;
            if joins && next == key && run.revision + run.count == revision {
                run.count += 1;
                return;
            }
        }
        self.log.push(LogRun { subject, revision, key, count: 1 });
    }

    /// Whether anything is to be written.
    pub(in crate::engine) fn is_dirty(&self) -> bool {
        !self.log.is_empty()
            || !self.edges.is_empty()
            || self.clock_reset
            || self.meta_dirty
            || self.cursors.changed().next().is_some()
            || self.jobs.values().any(|slot| slot.dirty || slot.counts_dirty)
            || self.rows.values().any(|slot| slot.record_dirty)
    }

    /// Everything that changed, as one step for storage.
    pub(in crate::engine) fn into_delta(self) -> Delta {
        let mut meta = self.meta;
        meta.clock_ms = if self.clock_reset { self.now_ms } else { meta.clock_ms.max(self.now_ms) };
        let affairs = meta.affairs.as_deref();
        let followed_from = affairs.and_then(|affairs| affairs.consumers.values().min().copied());
        let kept_from = meta.revision.saturating_sub(limits::FEED_REVISIONS_KEPT);
        meta.log_start = meta.log_start.max(kept_from.min(followed_from.unwrap_or(u64::MAX)));
        if let Some(affairs) = &meta.affairs {
            meta.log_start = affairs.behind_lost(meta.log_start);
        }
        // What an import adds is long, and in order already.
        let mut rows = self.added;
        rows.reserve(self.rows.len());
        rows.extend(self.rows.into_iter().filter_map(|(key, slot)| slot.into_change(key)));
        if !rows.is_sorted_by_key(|row| row.key) {
            // They are long: each is moved once this way.
            rows.sort_by_cached_key(|row| row.key);
        }
        let mut jobs: Vec<(i64, JobChange)> = self
            .jobs
            .into_iter()
            .filter_map(|(id, slot)| match slot.job {
                Some(job) if slot.dirty => Some((id, JobChange::Put(job))),
                Some(job) if slot.counts_dirty => Some((id, JobChange::Counts(job))),
                None if slot.existed && slot.dirty => Some((id, JobChange::Delete(id))),
                _ => None,
            })
            .collect();
        jobs.sort_unstable_by_key(|(id, _)| *id);
        let cursors = self.cursors;
        meta.cursors = cursors.count(meta.cursors);
        let (edges, met) = self.edges.into_changes();
        Delta {
            log_prune_to: meta.log_start,
            durability: Durability::Full,
            meta,
            rows,
            jobs: jobs.into_iter().map(|(_, change)| change).collect(),
            edges,
            met,
            cursors_put: cursors.changed().filter_map(|(_, slot)| slot.cursor).collect(),
            cursors_deleted: cursors
                .changed()
                .filter(|(_, slot)| slot.stored && slot.cursor.is_none())
                .map(|(key, _)| key)
                .collect(),
            log: if HAS_FEED { self.log } else { Vec::new() },
        }
    }
}
