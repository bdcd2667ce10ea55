//! Reads what an export is about, a page at a time.

use std::collections::VecDeque;
use std::ops::Deref;

use super::Filter;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::model::{Change, ChunkRecord, JobInfo, JobStatus};
use crate::store::JobStore;

/// Rows of one page.
const PAGE_ROWS: usize = 2_000;

/// Jobs of one page.
const PAGE_JOBS: usize = 500;

/// So many times an export reads up to where the store was when it began to, and finds that it has gone on by more
/// than a page; then it does not come nearer.
const ROUNDS_MAX: u32 = 32;

/// One thing that an export is about.
#[derive(Debug)]
pub(super) enum Item {
    Job(Box<JobInfo>),
    Chunk(Box<ChunkRecord>),
    ChunkDeleted { job_id: i64, chunk: u64, revision: u64 },
    JobDeleted { job_id: i64, revision: u64 },
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Start,
    /// Through the jobs by id, and through the chunks of each.
    Walk,
    /// In the change feed, at least up to a revision.
    Changes {
        until: u64,
    },
    Over,
    /// A page was on its way; where nothing came of it, its future was dropped.
    Cut,
}

/// What the walk has read.
#[derive(Debug, Clone, Copy)]
enum Walked {
    /// The jobs up to one, whole.
    Jobs(Option<i64>),
    /// Those before a job, and of that one the chunks up to one.
    Chunks {
        job: i64,
        last: Option<u64>,
    },
    All,
}

impl Walked {
    /// Whether it has come past a job, or past one of its chunks: a change of it is news then.
    fn has(self, job: i64, chunk: Option<u64>) -> bool {
        match self {
            Walked::Jobs(last) => last.is_some_and(|last| job <= last),
            Walked::Chunks { job: at, last } => job < at || (job == at && (chunk.is_none() || chunk <= last)),
            Walked::All => true,
        }
    }
}

/// Reads a store through its paged calls.
#[derive(Debug)]
pub(super) struct Reader<S> {
    store: S,
    filter: Filter,
    /// Whether what changes meanwhile is read once more, so that all of it stood so at one moment.
    follows: bool,
    stage: Stage,
    walked: Walked,
    /// Jobs that were listed and whose turn is still to come.
    jobs: VecDeque<JobInfo>,
    /// Of what was walked, everything up to here is read.
    revision: u64,
    /// What was read since it was last looked how far the store is.
    unlooked: usize,
    rounds: u32,
    job_id_max: i64,
}

impl<S> Reader<S>
where
    S: Deref<Target: JobStore>,
{
    pub(super) fn new(store: S, filter: Filter) -> Self {
        Reader {
            store,
            filter,
            follows: false,
            stage: Stage::Start,
            walked: Walked::Jobs(None),
            jobs: VecDeque::new(),
            revision: 0,
            unlooked: 0,
            rounds: 0,
            job_id_max: 0,
        }
    }

    /// The same; what changes meanwhile is read once more, so that all of it stood so at one moment.
    ///
    /// Only of whole jobs: a chunk that no longer has the status that is asked for would stay, and what changed since a
    /// revision is no whole.
    pub(super) fn following(mut self) -> Self {
        self.follows = self.filter.statuses.is_empty() && self.filter.since.is_none();
        self
    }

    pub(super) fn filter(&self) -> &Filter {
        &self.filter
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    pub(super) fn job_id_max(&self) -> i64 {
        self.job_id_max
    }

    /// The next page; one may be empty. `None` is the end, and so is an error.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Item>>> {
        let mut items = Vec::new();
        let next = match std::mem::replace(&mut self.stage, Stage::Cut) {
            Stage::Over => {
                self.stage = Stage::Over;
                return Ok(None);
            }
            Stage::Start => self.start().await,
            Stage::Walk => self.walk(&mut items).await,
            Stage::Changes { until } => self.changes(until, &mut items).await,
            Stage::Cut => Err(cut()),
        };
        // What fails does not go on with a gap.
        self.stage = *next.as_ref().unwrap_or(&Stage::Over);
        next.map(|_| Some(items))
    }

    async fn start(&mut self) -> Result<Stage> {
        let info = self.store.info().await?;
        (self.revision, self.job_id_max) = (info.visible_revision, info.job_id_max);
        let Some(since) = self.filter.since else { return Ok(Stage::Walk) };
        (self.revision, self.walked) = (since, Walked::All);
        Ok(Stage::Changes { until: info.visible_revision })
    }

    async fn walk(&mut self, items: &mut Vec<Item>) -> Result<Stage> {
        if self.follows && self.unlooked >= PAGE_ROWS {
            self.unlooked = 0;
            let newest = self.store.changes(self.revision, 1).await?.newest;
            // The feed is kept for so long only: what was walked is brought up to date before it is cut off.
            if newest - self.revision > limits::FEED_REVISIONS_KEPT / 2 {
                return Ok(Stage::Changes { until: newest });
            }
        }
        let stage = match self.walked {
            Walked::Jobs(after) => self.next_job(after, items).await?,
            Walked::Chunks { job, last } => self.chunks(job, last, items).await?,
            Walked::All if self.follows => Stage::Changes { until: self.revision },
            Walked::All => Stage::Over,
        };
        self.unlooked += items.len();
        Ok(stage)
    }

    async fn next_job(&mut self, after: Option<i64>, items: &mut Vec<Item>) -> Result<Stage> {
        if self.jobs.is_empty() {
            self.jobs = if self.filter.jobs.is_empty() {
                self.store.list_jobs(after, PAGE_JOBS).await?.into()
            } else {
                let mut named = self.filter.jobs.iter().filter(|&&job| after.is_none_or(|after| job > after));
                match named.next() {
                    Some(&job) => VecDeque::from([self.store.get_job(job).await?]),
                    None => VecDeque::new(),
                }
            };
        }
        self.walked = match self.jobs.pop_front() {
            Some(info) => {
                let job = info.job_id;
                items.push(Item::Job(Box::new(info)));
                Walked::Chunks { job, last: None }
            }
            None => Walked::All,
        };
        Ok(Stage::Walk)
    }

    async fn chunks(&mut self, job: i64, last: Option<u64>, items: &mut Vec<Item>) -> Result<Stage> {
        let mut statuses = self.filter.statuses.iter().copied();
        let only = match (statuses.next(), statuses.next()) {
            (Some(status), None) => Some(status),
            _ => None,
        };
        self.walked = Walked::Jobs(Some(job));
        let page = match self.store.page_records(job, only, last, PAGE_ROWS).await {
            Ok(page) => page,
            // It was deleted meanwhile.
            Err(error) if error.kind() == ErrorKind::JobNotFound => return Ok(Stage::Walk),
            Err(error) => return Err(error),
        };
        if let Some(record) = page.records.last().filter(|_| page.more) {
            self.walked = Walked::Chunks { job, last: Some(record.state.chunk) };
        }
        let wanted = page.records.into_iter().filter(|record| self.wants(job, Some(record.state.status)));
        items.extend(wanted.map(|record| Item::Chunk(Box::new(record))));
        Ok(Stage::Walk)
    }

    async fn changes(&mut self, until: u64, items: &mut Vec<Item>) -> Result<Stage> {
        let page = self.store.changes(self.revision, limits::PAGE_ROWS_MAX).await?;
        self.revision = page.next;
        let walked = self.walked;
        for change in page.changes {
            match change {
                Change::Chunk { state, depends_on, kept, .. } => {
                    if self.wants(state.job_id, Some(state.status))
                        && walked.has(state.job_id, Some(state.chunk))
                    {
                        items.push(Item::Chunk(Box::new(ChunkRecord::new(*state, depends_on, *kept))));
                    }
                }
                Change::ChunkDeleted { job_id, chunk, revision } => {
                    if self.wants(job_id, None) && walked.has(job_id, Some(chunk)) {
                        items.push(Item::ChunkDeleted { job_id, chunk, revision });
                    }
                }
                Change::Job { job, .. } => {
                    if self.wants(job.job_id, None) && walked.has(job.job_id, None) {
                        items.push(Item::Job(job));
                    }
                }
                Change::JobDeleted { job_id, revision } => {
                    if self.wants(job_id, None) && walked.has(job_id, None) {
                        items.push(Item::JobDeleted { job_id, revision });
                    }
                }
            }
        }
        if page.more && page.next < until {
            return Ok(Stage::Changes { until });
        }
        if !matches!(walked, Walked::All) {
            // What was listed before may be gone by now.
            self.jobs.clear();
            return Ok(Stage::Walk);
        }
        // What dependents are still to be told stands in no line: a restored store would never tell them.
        if (page.more || page.settling) && self.follows {
            self.rounds += 1;
            if self.rounds >= ROUNDS_MAX {
                let text = if page.more {
                    "the store changes faster than the export is taken; export into a local file, or while less is done"
                } else {
                    "dependents of a chunk are still being told what became of it; export again in a moment"
                };
                return Err(Error::new(ErrorKind::Busy, text));
            }
            return Ok(Stage::Changes { until: page.newest });
        }
        self.job_id_max = self.store.info().await?.job_id_max;
        // A thing that changed again behind the page was left out: of one moment is only what ends with the store.
        if page.next < if self.follows { page.newest } else { until } {
            let text = "a large import is under way, so that the store is between two moments; export again when it is done";
            return Err(Error::new(ErrorKind::Busy, text));
        }
        Ok(Stage::Over)
    }

    /// Whether the filter lets something through: a chunk by its job and status, anything else by its job.
    fn wants(&self, job: i64, status: Option<JobStatus>) -> bool {
        let Filter { jobs, statuses, .. } = &self.filter;
        (jobs.is_empty() || jobs.contains(&job))
            && status.is_none_or(|status| statuses.is_empty() || statuses.contains(&status))
    }
}

#[cold]
fn cut() -> Error {
    let text =
        "a part of the export was asked for and not waited for, so that it is missing; begin the export anew";
    Error::new(ErrorKind::Refused, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_news_once_the_walk_has_come_past_what_it_is_of() {
        let has = |walked: Walked, jobs_and_chunks: &[(i64, Option<u64>)]| -> Vec<bool> {
            jobs_and_chunks.iter().map(|&(job, chunk)| walked.has(job, chunk)).collect()
        };
        let all = [(4, Some(9)), (5, None), (5, Some(6)), (5, Some(7)), (5, Some(8)), (6, None)];
        assert_eq!(has(Walked::Jobs(None), &all), [false; 6]);
        assert_eq!(has(Walked::Jobs(Some(5)), &all), [true, true, true, true, true, false]);
        // The job's own line is written, and none of its chunks.
        assert_eq!(
            has(Walked::Chunks { job: 5, last: None }, &all),
            [true, true, false, false, false, false]
        );
        let up_to = Walked::Chunks { job: 5, last: Some(7) };
        assert_eq!(has(up_to, &all), [true, true, true, true, false, false]);
        assert_eq!(has(Walked::All, &all), [true; 6]);
    }
}
