//! Restoring: records of an export become a store again, with the revisions, fences and counts that they had.
//!
//! Like a large first import it goes in slices under a phase in which the jobs are invisible, and all of them become
//! visible in one commit.
//!
//! Its rows have the revisions of another history, so nothing else may give any meanwhile: each slice finds the store's
//! revision where the one before it left it, or the restore is over. The slices themselves take one revision each, and
//! the store comes to those of the rows with the commit that makes them visible: what is taken back leaves none of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::edges;
use super::import::{ImportSlice, Imports, Way, clear_the_way, must_be_importing};
use super::settle;
use super::work::Work;
use super::{Applied, Op, Reply, Result};
use crate::backends::contract::{Content, Edge, Hold, JobPhase, JobRow, Key, PageNeed, Record, Row};
use crate::error::{Error, ErrorKind};
use crate::limits;
use crate::machine;
use crate::manifest::check_chunk;
use crate::model::{
    ChunkRecord, Deadline, DependencyFailure, JobSpec, JobState, JobStatus, NewChunk, check_size, fault,
};

/// A row with its dependencies and whether each counts as met, in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RestoredRow {
    row: Row,
    on: Vec<(u64, bool)>,
}

impl RestoredRow {
    pub(crate) fn key(&self) -> Key {
        self.row.key
    }
}

/// A job of an export.
#[derive(Debug, Clone)]
pub(crate) struct RestoredJob {
    pub(crate) id: i64,
    pub(crate) spec: JobSpec,
    pub(crate) created_at_ms: u64,
    pub(crate) revision: u64,
}

/// What the slices of one restore have in common. Whoever drives it has it too, so that it can be taken back where
/// nobody heard what became of its first slice.
#[derive(Debug, Default)]
pub(crate) struct Course {
    /// The revision under which its jobs are begun, each time that the first slice is tried; 0 before.
    token: AtomicU64,
    /// The latest moment at which any of its deadlines was set.
    set_at_ms: AtomicU64,
}

impl Course {
    fn token(&self) -> u64 {
        self.token.load(Ordering::Acquire)
    }

    /// It is over, however it ended.
    pub(crate) fn end(&self, imports: &Imports) {
        imports.end(self.token());
    }
}

/// One slice of a restore.
#[derive(Debug)]
pub(crate) enum Restore {
    /// Creates jobs, invisible, and puts rows into them and into others that were created so. The answer is the
    /// revision that the next slice is to find.
    Put {
        course: Arc<Course>,
        /// Where the slice before left the store; nothing for the first one.
        at: Option<u64>,
        /// In ascending order of their ids.
        jobs: Vec<RestoredJob>,
        rows: Vec<RestoredRow>,
        gone: Vec<Key>,
    },
    /// Looks at the dependencies of a job again, now that all its chunks are there.
    Settle { course: Arc<Course>, job: i64, policy: Option<DependencyFailure>, after: Option<u64> },
    /// Makes everything visible, whole.
    Publish { course: Arc<Course>, at: Option<u64>, jobs: Vec<RestoredJob>, revision: u64, job_id_max: i64 },
    /// Takes one of its jobs back, because it was deleted in the original or because the restore is over.
    Discard { course: Arc<Course>, job: i64, is_over: bool },
}

impl Restore {
    pub(super) fn apply(&self, work: &mut Work<'_>) -> Result<Applied> {
        match self {
            Restore::Put { course, at, jobs, rows, gone } => put(work, course, *at, jobs, rows, gone),
            Restore::Settle { course, job, policy, after } => settle(work, course, *job, *policy, *after),
            Restore::Discard { course, job, is_over } => {
                if *is_over {
                    // A first slice whose caller went away while it was carried out has begun it after all.
                    course.end(&work.host.imports);
                }
                ImportSlice::Discard { job: *job, token: course.token() }.apply(work)
            }
            Restore::Publish { course, at, jobs, revision, job_id_max } => {
                if must_wait(work, *at)? {
                    return Ok(Applied::Same);
                }
                let mut published = Vec::with_capacity(jobs.len());
                for job in jobs {
                    let row = must_be_importing(work, job.id, course.token())?;
                    published.push(JobRow {
                        spec: job.spec.clone(),
                        phase: JobPhase::Open,
                        owner: None,
                        created_at_ms: job.created_at_ms,
                        revision: job.revision,
                        ..row
                    });
                }
                published.into_iter().for_each(|job| work.adopt_job(job));
                work.begin_behind(*revision, *job_id_max);
                // Where the original's clock was ahead of this one, its deadlines are due.
                work.meta.clock_ms = work.meta.clock_ms.max(course.set_at_ms.load(Ordering::Acquire));
                Ok(Applied::Reply(Reply::Count(jobs.len() as u64)))
            }
        }
    }
}

fn put(
    work: &mut Work<'_>,
    course: &Course,
    at: Option<u64>,
    jobs: &[RestoredJob],
    rows: &[RestoredRow],
    gone: &[Key],
) -> Result<Applied> {
    if must_wait(work, at)? {
        return Ok(Applied::Same);
    }
    for job in jobs {
        match clear_the_way(work, job.id)? {
            None => {}
            Some(Way::Purging) => return Ok(Applied::Same),
            Some(Way::Busy(error)) => return Err(error),
        }
        if work.job_in_any_phase(job.id)?.is_some() {
            let text = "the job was created by somebody else meanwhile; restore into a store of its own";
            return Err(Error::new(ErrorKind::Busy, text).in_job(job.id));
        }
    }
    let is_new = |job: i64| jobs.binary_search_by_key(&job, |new| new.id).is_ok();
    let keys: Vec<Key> = rows.iter().map(RestoredRow::key).chain(gone.iter().copied()).collect();
    let mut named: Vec<i64> = keys.iter().map(|key| key.job).collect();
    named.dedup();
    for job in named.iter().filter(|job| !is_new(**job)) {
        must_be_importing(work, *job, course.token())?;
    }
    work.fetch(keys.iter().copied())?;
    let mut there = Vec::new();
    for key in keys {
        if work.row_if_any(key)?.is_some() {
            there.push(key);
        }
    }
    there.sort_unstable();
    // Only what came before in another slice and comes once more.
    let lists = work.dependencies(&there)?;
    let old = |key: Key| there.binary_search(&key).map_or(&[][..], |at| lists[at].as_slice());

    // A job that is still invisible keeps readers of the feed in front of it.
    let Some(begins) = jobs.first().map(|job| job.id).or(named.first().copied()) else {
        return Ok(Applied::Reply(Reply::Count(work.meta.revision)));
    };
    let revision = work.log_invisible_job(begins);
    if at.is_none() {
        // Of an attempt that is made anew.
        course.end(&work.host.imports);
        course.token.store(revision, Ordering::Release);
        work.host.imports.start(revision);
    }
    for job in jobs {
        work.adopt_job(JobRow {
            phase: JobPhase::Importing,
            owner: Some(work.host.owner),
            revision: course.token(),
            ..JobRow::empty(job.id, job.spec.clone(), job.created_at_ms)
        });
    }
    for RestoredRow { row, on } in rows {
        let deadlines = row.record.lease.into_iter().chain(row.record.not_before);
        let set_at_ms = deadlines.map(|deadline| deadline.set_at_ms).max().unwrap_or(0);
        course.set_at_ms.fetch_max(set_at_ms, Ordering::AcqRel);
        // Whether the old ones counted as met is not known here; so each is written again.
        let met = |id: u64| on.binary_search_by_key(&id, |(on, _)| *on).is_ok_and(|at| on[at].1);
        let old: Vec<(u64, bool)> = old(row.key).iter().map(|&id| (id, !met(id))).collect();
        work.adopt_row(row.clone(), &old, on);
    }
    for &key in gone {
        for &on in old(key) {
            work.remove_edge(Edge { job: key.job, chunk: key.chunk, on });
        }
        work.delete_row(key, false);
    }
    Ok(Applied::Reply(Reply::Count(revision)))
}

/// Checks that nobody else has a part in the revisions that are restored. Says whether something is removed first.
fn must_wait(work: &mut Work<'_>, at: Option<u64>) -> Result<bool> {
    if work.standing().is_some() {
        let text =
            "a store that another one follows cannot be restored into; restore first, and join them then";
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    match at {
        None => must_be_empty(work),
        Some(at) if at == work.meta.revision => Ok(false),
        Some(_) => {
            let text = "somebody else has written to the store while it was being restored, so all of the restore is taken back; restore into a store that nobody else uses yet";
            Err(Error::new(ErrorKind::Busy, text))
        }
    }
}

/// A store that has jobs of its own has revisions of its own too, and they would get mixed up; so has one that
/// somebody imports into or restores. Says whether it removes what is left of older jobs.
fn must_be_empty(work: &mut Work<'_>) -> Result<bool> {
    let mut after = None;
    loop {
        let jobs = work.jobs_after(after, limits::PAGE_ROWS_MAX)?;
        if let Some(job) = jobs.iter().find(|job| job.phase == JobPhase::Open) {
            return Err(not_empty().in_job(job.id));
        }
        after = jobs.last().map(|job| job.id);
        let more = jobs.len() == limits::PAGE_ROWS_MAX;
        let importing = jobs.iter().filter(|job| job.phase == JobPhase::Importing);
        let mut importing: Vec<i64> = importing.map(|job| job.id).collect();
        if !more {
            // What this very group has begun is not in storage yet.
            importing.extend(work.known_job(|job| job.phase == JobPhase::Importing));
        }
        for job in importing {
            match clear_the_way(work, job)? {
                None => {}
                Some(Way::Purging) => return Ok(true),
                Some(Way::Busy(error)) => return Err(error),
            }
        }
        if !more {
            let made = work.known_job(|job| job.phase == JobPhase::Open);
            return made.map_or(Ok(false), |job| Err(not_empty().in_job(job)));
        }
    }
}

pub(crate) fn not_empty() -> Error {
    Error::new(ErrorKind::Refused, "the store has jobs already; restore into a new store")
}

/// Whether a dependency counts as met follows from what became of it. The lines say it too, but older builds wrote them
/// one after the other while it changed, and a chunk with very many dependents may not have told all of them yet.
fn settle(
    work: &mut Work<'_>,
    course: &Arc<Course>,
    job: i64,
    policy: Option<DependencyFailure>,
    after: Option<u64>,
) -> Result<Applied> {
    if must_be_importing(work, job, course.token())?.edges == 0 {
        return Ok(Applied::Reply(Reply::Count(0)));
    }
    let (keys, next) =
        work.page(PageNeed { job, classes: &[], after, limit: limits::RESTORE_SETTLED_ROWS })?;
    let lists = work.dependencies(&keys)?;
    work.fetch(lists.iter().flatten().map(|&chunk| Key { job, chunk }))?;
    let edges = keys.iter().zip(&lists);
    let edges = edges.flat_map(|(key, list)| list.iter().map(|&on| Edge { job, chunk: key.chunk, on }));
    let edges: Vec<Edge> = edges.collect();
    let met = work.as_met(&edges)?;
    let mut changed = Vec::new();
    for (edge, was_met) in edges.into_iter().zip(met) {
        let key = Key { job, chunk: edge.chunk };
        let policy = work.row(key)?.content.on_dependency_failure.or(policy).unwrap_or_default();
        let Some(depended) = work.row_if_any(Key { job, chunk: edge.on })? else {
            return Err(edges::unknown(key, edge.on));
        };
        let is_met = settle::is_met(depended.record.status, policy);
        // A failure that was ignored once stays ignored, whatever became of it since.
        let stays = was_met && policy == DependencyFailure::Ignore;
        if is_met != was_met && !stays {
            changed.push((edge, is_met));
        }
    }
    for (edge, is_met) in changed {
        work.correct_met(edge, is_met);
    }
    Ok(match next {
        None => Applied::Reply(Reply::Count(0)),
        after => {
            Applied::Again(Op::Restore(Restore::Settle { course: Arc::clone(course), job, policy, after }))
        }
    })
}

/// A record of an export as storage keeps it, checked to be one that a store could have written.
pub(crate) fn restored_row(record: ChunkRecord) -> Result<RestoredRow> {
    let ChunkRecord { state, depends_on, kept } = record;
    let key = Key { job: state.job_id, chunk: state.chunk };
    check(&state, &depends_on, &kept).map_err(|error| error.at(key.job, key.chunk))?;
    let unmet = |on: &u64| kept.unmet.binary_search(on).is_ok();
    let on: Vec<(u64, bool)> = depends_on.iter().map(|id| (*id, !unmet(id))).collect();
    let row = Row {
        key,
        content: Arc::new(Content {
            checksum: state.checksum.clone(),
            payload: state.payload.clone(),
            left_bytes: 0,
            priority: state.priority,
            attempts_max: kept.attempts_max,
            losses_max: kept.losses_max,
            on_dependency_failure: kept.on_dependency_failure,
            created_at_ms: state.created_at_ms,
            updated_at_ms: kept.content_updated_at_ms,
            revision: kept.content_revision,
        }),
        record: if kept.record_revision == 0 {
            Record::shared_fresh()
        } else {
            Arc::new(Record {
                status: state.status,
                observed: state.observed_checksum.clone(),
                error: state.error.clone(),
                output: state.output.clone(),
                attempts: state.attempts,
                losses: state.losses,
                fence: state.fence,
                hold: hold(&kept).ok_or_else(|| Error::invalid(NOBODY_S).at(key.job, key.chunk))?,
                lease: state.lease.or(kept.lapsed_lease),
                not_before: state.not_before,
                cause: kept.cancelled_by,
                updated_at_ms: kept.record_updated_at_ms,
                revision: kept.record_revision,
            })
        },
        unmet: u32::try_from(kept.unmet.len()).unwrap_or(u32::MAX),
    };
    // What a caller would see of it is what the line says; but for the limits that come from the job.
    let seen = machine::state(row.clone(), &JobSpec::default());
    let said = JobState { attempts_max: seen.attempts_max, losses_max: seen.losses_max, ..state };
    if seen != said {
        let text = "the line contradicts itself: what is kept of the chunk does not come to the state that is stated";
        return Err(Error::invalid(text).at(key.job, key.chunk));
    }
    Ok(RestoredRow { row, on })
}

const NOBODY_S: &str = "its claim is open, and nobody's";

fn hold(kept: &crate::model::Kept) -> Option<Hold> {
    Hold::of(kept.claimed_by, kept.claim_seq, kept.open_fence != 0, kept.settled)
}

fn check(state: &JobState, depends_on: &[u64], kept: &crate::model::Kept) -> Result<()> {
    let mut chunk = NewChunk::new(state.chunk).depends_on(depends_on.iter().copied());
    (chunk.checksum, chunk.payload) = (state.checksum.clone(), state.payload.clone());
    check_chunk(&chunk)?;
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    check_size("observed checksum", length(&state.observed_checksum), limits::CHECKSUM_BYTES_MAX)?;
    check_size("error", length(&state.error), limits::ERROR_BYTES_MAX)?;
    let output = state.output.as_ref().map_or(0, |output| output.as_str().len());
    check_size("output", output, limits::OUTPUT_BYTES_MAX)?;
    if let Some(fault) = state.output.as_ref().and_then(|output| fault(output.as_str())) {
        return Err(Error::invalid(format!("output: {fault}")));
    }
    let deadline = |deadline: Option<Deadline>| deadline.map_or([0; 2], |d| [d.set_at_ms, d.duration_ms]);
    let numbers = [
        state.fence,
        kept.open_fence,
        kept.content_revision,
        kept.record_revision,
        state.created_at_ms,
        kept.content_updated_at_ms,
        kept.record_updated_at_ms,
        kept.claim_seq,
        kept.cancelled_by.unwrap_or(0),
    ];
    let deadlines = [state.lease, state.not_before, kept.lapsed_lease].map(deadline);
    let numbers = numbers.into_iter().chain(deadlines.into_iter().flatten());
    let (status, held) = (state.status, state.status == JobStatus::Processing);
    let open = matches!(status, JobStatus::Pending | JobStatus::Processing);
    let holds = [
        (numbers.max() <= Some(limits::ID_MAX), "a number is above 2^53 - 1"),
        (depends_on.is_sorted_by(|a, b| a < b), "depends_on is not in ascending order"),
        (kept.unmet.is_sorted_by(|a, b| a < b), "unmet is not in ascending order"),
        (
            kept.unmet.iter().all(|on| depends_on.binary_search(on).is_ok()),
            "an unmet dependency is none of depends_on",
        ),
        (kept.content_revision > 0, "content_revision is 0"),
        (state.fence <= kept.record_revision, "its fence is above its revision"),
        (held == state.lease.is_some(), "a lease belongs to a chunk that is processing, and only to one"),
        (
            kept.lapsed_lease.is_none() || (!held && kept.open_fence != 0),
            "a lapsed lease belongs to a claim that lapsed",
        ),
        (!held || (kept.claimed_by.is_some() && state.fence > 0), "it is processing, and nobody holds it"),
        (!held || kept.open_fence == state.fence, "it is processing under another fence than its own"),
        (kept.open_fence == 0 || (open && kept.open_fence == state.fence), "its open fence is not its own"),
        (hold(kept).is_some(), NOBODY_S),
        (
            state.not_before.is_none()
                || status == JobStatus::Pending
                || (state.fence == 0 && matches!(status, JobStatus::Failed | JobStatus::Cancelled)),
            "not_before belongs to a chunk that is pending, or that nobody has had yet",
        ),
        (
            kept.cancelled_by.is_none() || status == JobStatus::Cancelled,
            "cancelled_by belongs to a chunk that is cancelled",
        ),
    ];
    match holds.into_iter().find(|(holds, _)| !holds) {
        None => Ok(()),
        Some((_, fault)) => Err(Error::invalid(format!("{fault}; use the export as it was written"))),
    }
}
