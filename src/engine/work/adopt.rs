//! Taking over what a store decided before, this one or another: rows with the revisions that they have there. The books are kept here.

use super::{JobSlot, Row, RowSlot, Work};
use crate::backends::contract::{Cursor, DependentsNeed, Edge, JobRow, Key, LogRun, Needs, Subject};
use crate::engine::whole;
use crate::error::{Error, Result};
use crate::limits;
use crate::standing::{self, Affairs, Standing};

impl Work<'_> {
    /// What the store is in a pair, where it is in one.
    pub(in crate::engine) fn standing(&self) -> Option<&Standing> {
        self.meta.affairs.as_ref().and_then(|affairs| affairs.standing.as_ref())
    }

    /// Why the store executes no operations now; nothing where it does.
    pub(in crate::engine) fn refusal(&self) -> Option<Error> {
        standing::refusal(self.standing())
    }

    /// Changes what the store is to others.
    pub(in crate::engine) fn change_affairs(&mut self, change: impl FnOnce(&mut Affairs)) {
        self.meta.change_affairs(change);
        self.meta_dirty = true;
    }

    /// Takes over a job under the revision that it has. Its counts are those of what is here. It has been asked for.
    pub(in crate::engine) fn adopt_job(&mut self, job: JobRow) {
        let slot = self.jobs.entry(job.id).or_insert(JobSlot {
            job: None,
            existed: false,
            dirty: false,
            counts_dirty: false,
        });
        let kept = slot.job.as_ref().map(|job| (job.counts, job.edges, job.edges_upward));
        let (counts, edges, edges_upward) = kept.unwrap_or_default();
        let adopted = JobRow { edges, edges_upward, counts, ..job };
        if slot.job.as_ref() != Some(&adopted) {
            slot.dirty = true;
            self.readied.insert(adopted.id);
            slot.job = Some(adopted);
        }
    }

    /// Takes over a row, and whether each of its dependencies counts as met. The row and its job have been asked for;
    /// `old` is what its dependencies were.
    pub(in crate::engine) fn adopt_row(&mut self, row: Row, old: &[(u64, bool)], new: &[(u64, bool)]) {
        let key = row.key;
        self.rows.entry(key).or_insert(RowSlot {
            row: None,
            before: None,
            content_dirty: false,
            record_dirty: false,
            unmet_dirty: false,
        });
        self.edit(key, |slot| {
            if let Some(old) = &slot.row {
                slot.content_dirty |= old.content != row.content;
                slot.record_dirty |= old.record != row.record;
                slot.unmet_dirty |= old.unmet != row.unmet;
            } else {
                let replaced = slot.before.is_some();
                slot.content_dirty = true;
                slot.record_dirty = replaced || !row.record.is_fresh();
                slot.unmet_dirty = replaced || row.unmet > 0;
            }
            slot.row = Some(row);
        });
        let edge = |on| Edge { job: key.job, chunk: key.chunk, on };
        for (on, _) in old.iter().filter(|(on, _)| new.binary_search_by_key(on, |(on, _)| *on).is_err()) {
            self.remove_edge(edge(*on));
        }
        for (on, met) in new {
            match old.binary_search_by_key(on, |(on, _)| *on) {
                Ok(at) if old[at].1 == *met => {}
                Ok(_) => {
                    self.edges.set_met(edge(*on), *met);
                }
                Err(_) => self.add_edge(edge(*on), *met),
            }
        }
    }

    /// Removes a row with its dependencies, as the other store has done.
    pub(in crate::engine) fn adopt_deletion(&mut self, key: Key, old: &[(u64, bool)]) -> Result<()> {
        for (on, _) in old {
            self.remove_edge(Edge { job: key.job, chunk: key.chunk, on: *on });
        }
        self.delete_cursor(key)?;
        self.delete_row(key, false);
        Ok(())
    }

    /// The dependencies of rows and whether each counts as met, in ascending order, as storage and this group have
    /// them: two that take the same page over may share a commit, in which the first one has begun to remove things.
    pub(in crate::engine) fn edges_of(&mut self, keys: &[Key]) -> Result<Vec<Vec<(u64, bool)>>> {
        let mut lists = self.load(&Needs { edges_of: keys.to_vec(), ..Needs::default() })?.edges_of;
        for (key, list) in keys.iter().zip(&mut lists) {
            for (on, state) in self.edges.of(*key) {
                match (list.binary_search_by_key(&on, |(on, _)| *on), state) {
                    (Ok(at), Some(met)) => list[at].1 = met,
                    (Ok(at), None) => drop(list.remove(at)),
                    (Err(at), Some(met)) => list.insert(at, (on, met)),
                    (Err(_), None) => {}
                }
            }
            for (on, met) in list {
                let edge = Edge { job: key.job, chunk: key.chunk, on: *on };
                *met = self.edges.met(&edge).unwrap_or(*met);
            }
        }
        Ok(lists)
    }

    /// Continues the log with the other store's.
    pub(in crate::engine) fn adopt_log(&mut self, runs: &[LogRun]) {
        self.log.extend_from_slice(runs);
    }

    /// Replaces all that is left to be told to dependents.
    pub(in crate::engine) fn adopt_cursors(&mut self, cursors: &[Cursor]) -> Result<()> {
        for key in self.keys_with_cursors()? {
            self.delete_cursor(key)?;
        }
        cursors.iter().try_for_each(|cursor| self.put_cursor(*cursor))
    }

    /// Before which revision no job that is still invisible was begun.
    pub(in crate::engine) fn all_visible_up_to(&mut self) -> Result<u64> {
        whole::visible_revision(self.meta.revision, |after| self.jobs_after(after, limits::PAGE_ROWS_MAX))
    }

    /// Whether dependencies count as met, as storage and this group have them.
    pub(in crate::engine) fn as_met(&mut self, edges: &[Edge]) -> Result<Vec<bool>> {
        // It stands with the dependents: of each, the one that is asked for.
        let question = |edge: &Edge| DependentsNeed::about(Key { job: edge.job, chunk: edge.chunk }, edge.on);
        let needs = Needs { dependents: edges.iter().map(question).collect(), ..Needs::default() };
        let lists = self.load(&needs)?.dependents;
        let is_met = |(edge, list): (&Edge, Vec<(u64, bool)>)| match self.edges.met(edge) {
            Some(met) => met,
            None => !self.edges.is_removed(edge) && list.contains(&(edge.chunk, true)),
        };
        Ok(edges.iter().zip(lists).map(is_met).collect())
    }

    /// Has whoever follows the changes wait in front of a job that is still invisible. Gives the revision of that.
    pub(in crate::engine) fn log_invisible_job(&mut self, id: i64) -> u64 {
        let revision = self.next_revision();
        self.log_one(Subject::Job, revision, Key { job: id, chunk: 0 });
        revision
    }

    /// The store has given this revision and this job id at least, and its log begins behind the revision.
    pub(in crate::engine) fn begin_behind(&mut self, revision: u64, last_job: i64) {
        self.meta.revision = self.meta.revision.max(revision);
        self.meta.log_start = self.meta.revision;
        self.meta.last_job = self.meta.last_job.max(last_job);
        self.meta_dirty = true;
    }
}
