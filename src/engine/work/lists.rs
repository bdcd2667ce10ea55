//! Lists of what storage holds, corrected by what this group has changed.

use std::collections::BTreeSet;
use std::mem::take;

use super::Work;
use crate::backends::contract::{
    Class, DueNeed, Front, HeldByAnyNeed, JobRow, Key, Needs, PageNeed, Rank, ReadyNeed, Row,
};
use crate::error::Result;
use crate::machine;
use crate::model::OwnerId;

impl Work<'_> {
    /// Loads the front of a job's ready rows as far as needed and hands out the first in claim order.
    pub(in crate::engine) fn next_ready(&mut self, job: i64, wanted: usize) -> Result<Option<Key>> {
        loop {
            let window = self.windows.get(&job);
            if let Some(first) = window.and_then(|w| w.ready.first()) {
                return Ok(Some(Key { job, chunk: first.1 }));
            }
            let after = match window {
                Some(Front { horizon: None, .. }) => return Ok(None),
                Some(Front { horizon, .. }) => *horizon,
                None => None,
            };
            let need = ReadyNeed { job, after, limit: wanted.max(1) };
            let mut loaded = self.load(&Needs { ready: vec![need], ..Needs::default() })?;
            self.widen(need, loaded.ready.pop().unwrap_or_default());
        }
    }

    /// Widens a window by what storage answered, corrected by what this group has changed meanwhile.
    pub(super) fn widen(&mut self, need: ReadyNeed, rows: Vec<Row>) {
        let full = rows.len() >= need.limit;
        let horizon =
            rows.last().filter(|_| full).map(|row| (machine::rank(row.content.priority), row.key.chunk));
        let mut ready: BTreeSet<(Rank, u64)> =
            rows.iter().map(|row| (machine::rank(row.content.priority), row.key.chunk)).collect();
        self.take_in(rows);
        let changed = self.rows.iter().filter(|(key, slot)| {
            key.job == need.job
                && (slot.record_dirty || slot.unmet_dirty || slot.content_dirty || slot.row.is_none())
        });
        for (key, slot) in changed {
            if let Some(before) = slot.before {
                ready.remove(&(before.rank, key.chunk));
            }
            if let Some(now) = slot.row.as_ref().map(machine::place) {
                let position = (now.rank, key.chunk);
                let inside = need.after.is_none_or(|after| position > after)
                    && horizon.is_none_or(|horizon| position <= horizon);
                if now.class == Class::Ready && inside {
                    ready.insert(position);
                }
            }
        }
        let window = self.windows.entry(need.job).or_default();
        window.ready.append(&mut ready);
        window.horizon = horizon;
    }

    /// The lowest job that may have something ready.
    pub(in crate::engine) fn ready_job(&mut self) -> Result<Option<i64>> {
        let stored = if let Some(stored) = self.stored_ready {
            stored
        } else {
            let needs = Needs { ready_job_from: Some(self.taken_below), ..Needs::default() };
            let stored = self.load(&needs)?.ready_job;
            *self.stored_ready.insert(stored.unwrap_or(i64::MAX))
        };
        let lowest = self.readied.first().map_or(stored, |here| stored.min(*here));
        Ok((lowest != i64::MAX).then_some(lowest))
    }

    /// Nothing is ready in the job that was given last.
    pub(in crate::engine) fn pass_ready_job(&mut self, job: i64) {
        self.readied.remove(&job);
        if self.stored_ready == Some(job) {
            self.taken_below = job + 1;
            self.stored_ready = None;
        }
    }

    /// A page of a job's rows, as storage and this group have them, and behind which id it goes on where it does.
    pub(in crate::engine) fn page(&mut self, need: PageNeed) -> Result<(Vec<Key>, Option<u64>)> {
        self.page_where(need, |_| true)
    }

    /// The same of the chunks that are wanted: the others are in memory for no longer than the page.
    pub(in crate::engine) fn page_where(
        &mut self,
        need: PageNeed,
        is_wanted: impl Fn(u64) -> bool,
    ) -> Result<(Vec<Key>, Option<u64>)> {
        let mut rows = Vec::new();
        self.tx
            .page(&need, &mut |row| rows.push(row.without_payload()))
            .inspect_err(|e| self.failure = Some(e.clone()))?;
        let next = rows.last().filter(|_| rows.len() >= need.limit).map(|row| row.key.chunk);
        rows.retain(|row| is_wanted(row.key.chunk));
        let mut keys = self.take_in(rows);
        let first = need.after.map_or(0, |after| after.saturating_add(1));
        let last = next.unwrap_or(u64::MAX);
        if first <= last {
            let moved = self.moved.get(&need.job).into_iter().flatten();
            let moved = moved.filter(|chunk| (first..=last).contains(*chunk) && is_wanted(**chunk));
            keys.extend(moved.map(|&chunk| Key { job: need.job, chunk }));
        }
        in_order(&mut keys);
        keys.retain(|key| {
            let row = self.rows.get(key).and_then(|slot| slot.row.as_ref());
            row.is_some_and(|row| {
                need.classes.is_empty() || need.classes.contains(&machine::place(row).class)
            })
        });
        Ok((keys, next))
    }

    pub(in crate::engine) fn due(&mut self, need: DueNeed) -> Result<Vec<Key>> {
        let rows = self.load(&Needs { due: Some(need), ..Needs::default() })?.due;
        Ok(self.take_in(rows))
    }

    /// A page of what an owner holds, as storage and this group have it, and behind which row it goes on where it
    /// does.
    pub(in crate::engine) fn held(
        &mut self,
        owner: OwnerId,
        after: Option<Key>,
        limit: usize,
    ) -> Result<(Vec<Key>, Option<Key>)> {
        let rows = self.load(&Needs { held: Some((owner, after, limit)), ..Needs::default() })?.held;
        let next = rows.last().filter(|_| rows.len() >= limit).map(|row| row.key);
        let mut keys = self.take_in(rows);
        // What this group claimed stands in the first page: storage has nothing of it.
        if after.is_none() {
            for (&job, chunks) in &self.moved {
                keys.extend(chunks.iter().map(|&chunk| Key { job, chunk }));
            }
        }
        in_order(&mut keys);
        keys.retain(|key| {
            let row = self.rows.get(key).and_then(|slot| slot.row.as_ref());
            row.is_some_and(|row| machine::place(row).holder == Some(owner))
        });
        Ok((keys, next))
    }

    /// Up to so many of the rows that any of these owners hold, as storage and this group have them, and whether there may
    /// be more.
    pub(in crate::engine) fn held_by_any(
        &mut self,
        owners: BTreeSet<OwnerId>,
        limit: usize,
    ) -> Result<(Vec<Key>, bool)> {
        let need = HeldByAnyNeed { owners, limit };
        let mut loaded = self.load(&Needs { held_by_any: Some(need.clone()), ..Needs::default() })?;
        let is_full = loaded.held_by_any.len() >= limit;
        let mut keys = self.take_in(take(&mut loaded.held_by_any));
        for (&job, chunks) in &self.moved {
            keys.extend(chunks.iter().map(|&chunk| Key { job, chunk }));
        }
        in_order(&mut keys);
        keys.retain(|key| {
            let row = self.rows.get(key).and_then(|slot| slot.row.as_ref());
            row.and_then(|row| machine::place(row).holder).is_some_and(|owner| need.owners.contains(&owner))
        });
        Ok((keys, is_full))
    }

    /// How long the texts of rows are that are known.
    pub(in crate::engine) fn text_bytes(&self, keys: &[Key]) -> usize {
        let rows = keys.iter().filter_map(|key| self.rows.get(key)?.row.as_ref());
        rows.map(Row::text_bytes).sum()
    }

    pub(in crate::engine) fn owners(&mut self) -> Result<Vec<OwnerId>> {
        Ok(self.load(&Needs { owners: true, ..Needs::default() })?.owners)
    }

    pub(in crate::engine) fn jobs_after(&mut self, after: Option<i64>, limit: usize) -> Result<Vec<JobRow>> {
        Ok(self.load(&Needs { jobs_after: Some((after, limit)), ..Needs::default() })?.jobs_after)
    }

    /// As storage has them, the highest first.
    pub(in crate::engine) fn jobs_before(&mut self, before: i64, limit: usize) -> Result<Vec<JobRow>> {
        Ok(self.load(&Needs { jobs_before: Some((before, limit)), ..Needs::default() })?.jobs_before)
    }
}

/// Each key once, in ascending order.
fn in_order(keys: &mut Vec<Key>) {
    keys.sort_unstable();
    keys.dedup();
}
