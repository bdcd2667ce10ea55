//! Operations on many chunks of a job. Large ones go in slices; other operations run between the slices.

use super::import::{self, Life, TakeBack, Way};
use super::settle;
use super::slice::Slice;
use super::work::{Happened, Work};
use super::{Applied, Op, Reply, Result};
use crate::backends::contract::{Class, Edge, JobPhase, Key, PageNeed};
use crate::error::Error;
use crate::limits;
use crate::machine::Event;
use crate::model::{Outcome, ResetReach, Selection};

/// What is to be done to each chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Retry,
    Reset(ResetReach),
    Cancel,
    /// To the job itself, with all that is in it.
    Delete,
}

/// A bulk operation, and how far it has come.
#[derive(Debug)]
pub(crate) struct Bulk {
    pub(crate) job: i64,
    kind: Kind,
    selection: Selection,
    /// When the job was created of which a slice is done: one that has its id by now is another.
    begun: Option<u64>,
    after: Option<u64>,
    changed: u64,
}

impl Bulk {
    pub(crate) fn new(job: i64, kind: Kind, selection: Selection) -> Self {
        Bulk { job, kind, selection, begun: None, after: None, changed: 0 }
    }

    /// Deletes a job.
    pub(crate) fn delete(job: i64) -> Self {
        Bulk::new(job, Kind::Delete, Selection::All)
    }

    pub(super) fn apply(&self, work: &mut Work<'_>) -> Result<Applied> {
        if self.kind == Kind::Delete {
            return self.delete_slice(work);
        }
        let created_at_ms = work.job(self.job)?.created_at_ms;
        if self.begun.is_some_and(|begun| begun != created_at_ms) {
            return Err(Error::job_not_found(self.job));
        }
        match &self.selection {
            Selection::Chunks(chunks) => {
                let mut keys: Vec<Key> = chunks.iter().map(|&chunk| Key { job: self.job, chunk }).collect();
                keys.sort_unstable();
                for part in keys.chunks(ROWS_CHECKED) {
                    work.fetch(part.iter().copied())?;
                    for &key in part {
                        work.check(key, self.kind.event())?;
                    }
                    work.let_go(part);
                }
                let (changed, _) = self.kind.to_each(work, self.job, &keys, Pace::AtOnce)?;
                Ok(Applied::Reply(Reply::Count(changed)))
            }
            Selection::All => self.slice(work, created_at_ms),
        }
    }

    /// One slice of all chunks that there are.
    fn slice(&self, work: &mut Work<'_>, created_at_ms: u64) -> Result<Applied> {
        let Bulk { job, kind, mut after, mut changed, .. } = *self;
        let mut slice = Slice::default();
        while let Some(limit) = slice.asks_for() {
            let (keys, next) = work.page(PageNeed { job, classes: kind.classes(), after, limit })?;
            slice.add(keys.len(), work.text_bytes(&keys), 0);
            let (more, done) = kind.to_each(work, job, &keys, Pace::BySlices)?;
            changed += more;
            if done < keys.len() {
                // What the commit may tell is used up.
                after = keys[..done].last().map_or(after, |key| Some(key.chunk));
                break;
            }
            after = next;
            if next.is_none() {
                return Ok(Applied::Reply(Reply::Count(changed)));
            }
        }
        let begun = Some(created_at_ms);
        Ok(Applied::Again(Op::Bulk(Bulk { begun, after, changed, ..Bulk::new(job, kind, Selection::All) })))
    }

    fn delete_slice(&self, work: &mut Work<'_>) -> Result<Applied> {
        let job = work.job_in_any_phase(self.job)?;
        let (phase, created_at_ms) = job.map(|job| (job.phase, job.created_at_ms)).unzip();
        match phase {
            // Others have removed the rest, and one that has its id by now is another.
            None | Some(JobPhase::Open | JobPhase::Importing) if self.begun.is_some() => {
                return Ok(Applied::Reply(Reply::Outcome(Outcome::Changed)));
            }
            None => return Ok(Applied::Reply(Reply::Outcome(Outcome::Unchanged))),
            Some(JobPhase::Importing) => {
                return match import::clear(work, self.job, TakeBack::OfTheUnknown)? {
                    Some(Way::Busy(error)) => Err(error),
                    // The job that nobody saw is gone with its last slice.
                    Some(Way::Purging) | None => Ok(Applied::Same),
                };
            }
            Some(JobPhase::Open) => {
                work.set_phase(self.job, JobPhase::Deleting);
                work.log_job_gone(self.job);
            }
            Some(JobPhase::Deleting) => {}
        }
        Ok(if purge(work, self.job)? {
            Applied::Reply(Reply::Outcome(Outcome::Changed))
        } else {
            Applied::Again(Op::Bulk(Bulk { begun: created_at_ms, ..Bulk::delete(self.job) }))
        })
    }
}

impl Kind {
    fn event(self) -> Event<'static> {
        match self {
            Kind::Retry => Event::Retry,
            Kind::Reset(_) => Event::Reset,
            Kind::Cancel | Kind::Delete => Event::Cancel { cause: None },
        }
    }

    /// The classes whose rows take the event.
    fn classes(self) -> &'static [Class] {
        match self {
            Kind::Retry => &[Class::Failed],
            Kind::Reset(_) => &[Class::Done],
            Kind::Cancel | Kind::Delete => {
                &[Class::Ready, Class::Blocked, Class::Delayed, Class::Processing, Class::Failed]
            }
        }
    }

    /// The classes that chunks leave by it, whether they are named or what became of others reaches them.
    fn classes_left(self) -> &'static [Class] {
        match self {
            Kind::Retry => &[Class::Failed, Class::Cancelled],
            other => other.classes(),
        }
    }

    /// Gives how many chunks it changed, those among them that it did not name, and how many of the keys it went through.
    fn to_each(self, work: &mut Work<'_>, job: i64, keys: &[Key], pace: Pace) -> Result<(u64, usize)> {
        let reach = if let Kind::Reset(reach) = self { reach } else { ResetReach::Direct };
        let left_to_change = |work: &mut Work<'_>| -> Result<u64> {
            let counts = work.job(job)?.counts;
            Ok(self.classes_left().iter().map(|&class| counts.of(class)).sum())
        };
        let before_all = left_to_change(work)?;
        let mut done = 0;
        for keys in keys.chunks(ASKED_AHEAD) {
            work.expect_ends(keys)?;
            for (nr, &key) in keys.iter().enumerate() {
                if pace == Pace::BySlices && work.told_left == 0 {
                    break;
                }
                if nr % ROWS_CHECKED == 0 {
                    // With one question for those of them that were let go.
                    work.fetch(keys[nr..].iter().copied().take(ROWS_CHECKED))?;
                }
                if let Happened::Changed { before, after } = work.happen(key, self.event())? {
                    settle::changed(work, key, before, after, reach)?;
                }
                done += 1;
            }
        }
        Ok((before_all.saturating_sub(left_to_change(work)?), done))
    }
}

/// Whether what follows may go in another commit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    AtOnce,
    BySlices,
}

/// Named chunks that are checked before those among them whose outputs are long are let go.
const ROWS_CHECKED: usize = 64;

/// Of so many chunks it is asked ahead who waits for them.
const ASKED_AHEAD: usize = 500;

/// Removes one slice of a job that is being deleted; `true` when nothing of it is left.
pub(super) fn purge(work: &mut Work<'_>, job: i64) -> Result<bool> {
    let mut slice = Slice::default();
    Ok(purge_part(work, job, &mut slice)? == Purged::Whole)
}

/// Removes of a job that is being deleted what a slice has room for.
fn purge_part(work: &mut Work<'_>, job: i64, slice: &mut Slice) -> Result<Purged> {
    let has_edges = work.job_in_any_phase(job)?.is_some_and(|job| job.edges > 0);
    let mut after = None;
    while let Some(limit) = slice.asks_for() {
        let (keys, next) = work.page(PageNeed { job, classes: &[], after, limit })?;
        let lists = if has_edges { work.dependencies(&keys)? } else { Vec::new() };
        slice.add(keys.len(), work.text_bytes(&keys), lists.iter().map(Vec::len).sum());
        for (key, list) in keys.iter().zip(lists) {
            for on in list {
                work.remove_edge(Edge { job, chunk: key.chunk, on });
            }
        }
        for &key in &keys {
            work.delete_cursor(key)?;
            work.delete_row(key, false);
        }
        if next.is_none() {
            work.delete_job(job);
            return Ok(Purged::Whole);
        }
        after = next;
    }
    Ok(Purged::Partly)
}

#[derive(PartialEq, Eq)]
enum Purged {
    Whole,
    Partly,
}

/// Goes on with deletions, and takes back imports, that a crash cut short; one slice a commit.
pub(super) fn tidy(work: &mut Work<'_>) -> Result<Applied> {
    let mut slice = Slice::default();
    let mut after = None;
    loop {
        let jobs = work.jobs_after(after, limits::PAGE_ROWS_MAX)?;
        after = jobs.last().map(|job| job.id);
        let more = jobs.len() == limits::PAGE_ROWS_MAX;
        for job in jobs {
            let abandoned = match (job.phase, job.owner) {
                (JobPhase::Open, _) => false,
                // Of this client's own earlier life, where it is not one that goes on here.
                (JobPhase::Importing, Some(owner)) if owner == work.host.owner => {
                    !work.host.imports.is_running(job.revision)
                }
                (JobPhase::Importing, Some(owner)) => {
                    import::life_of(work, owner, job.created_at_ms) == Life::Over
                }
                (JobPhase::Deleting, _) | (JobPhase::Importing, None) => true,
            };
            if abandoned {
                work.job_in_any_phase(job.id)?;
                work.set_phase(job.id, JobPhase::Deleting);
                if purge_part(work, job.id, &mut slice)? == Purged::Partly {
                    return Ok(Applied::Same);
                }
            }
        }
        if !more {
            return Ok(Applied::Reply(Reply::Count(0)));
        }
    }
}
