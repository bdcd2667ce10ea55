//! Reads what an export is about, a page at a time.

use std::collections::VecDeque;
use std::ops::Deref;

use super::Filter;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Change, ChunkRecord, JobInfo, JobStatus};
use crate::store::JobStore;

/// Rows of one page.
const PAGE_ROWS: usize = 2_000;

/// Entries of one page of the change feed, which is not bounded in bytes.
const PAGE_CHANGES: usize = 500;

/// Jobs of one page.
const PAGE_JOBS: usize = 500;

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
    /// Between two jobs.
    Jobs,
    /// Within a job, behind a chunk.
    Chunks {
        job: i64,
        after: Option<u64>,
    },
    /// In the change feed, behind a revision: at least up to another.
    Changes {
        since: u64,
        until: u64,
    },
    Over,
}

/// Reads a store through its paged calls.
#[derive(Debug)]
pub(super) struct Reader<S> {
    store: S,
    filter: Filter,
    /// Whether what changes meanwhile is read once more, at the end.
    follows: bool,
    stage: Stage,
    /// Jobs that were listed and whose turn is still to come, and behind which job the list goes on.
    jobs: VecDeque<JobInfo>,
    jobs_after: Option<i64>,
    /// Everything up to here is read, once it is over.
    revision: u64,
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
            jobs: VecDeque::new(),
            jobs_after: None,
            revision: 0,
            job_id_max: 0,
        }
    }

    /// The same; what changes meanwhile is read once more at the end, so that all of it stood so at one moment.
    ///
    /// Only of whole jobs: a chunk that no longer has the status that is asked for would stay.
    pub(super) fn following(mut self) -> Self {
        self.follows = self.filter.statuses.is_empty();
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
        // What fails, or is dropped half-way, does not go on with a gap.
        let stage = std::mem::replace(&mut self.stage, Stage::Over);
        self.stage = match stage {
            Stage::Over => return Ok(None),
            Stage::Start => self.start().await?,
            Stage::Jobs => self.next_job(&mut items).await?,
            Stage::Chunks { job, after } => self.chunks(job, after, &mut items).await?,
            Stage::Changes { since, until } => self.changes(since, until, &mut items).await?,
        };
        Ok(Some(items))
    }

    async fn start(&mut self) -> Result<Stage> {
        let info = self.store.info().await?;
        (self.revision, self.job_id_max) = (info.visible_revision, info.job_id_max);
        let Some(since) = self.filter.since else { return Ok(Stage::Jobs) };
        if since > info.revision {
            let text = format!(
                "changes since revision {since} were asked for, the store is at {}; it is not the store of the export before",
                info.revision
            );
            return Err(Error::new(ErrorKind::InvalidInput, text));
        }
        Ok(Stage::Changes { since, until: info.visible_revision })
    }

    async fn next_job(&mut self, items: &mut Vec<Item>) -> Result<Stage> {
        if self.jobs.is_empty() {
            let after = self.jobs_after;
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
        let Some(info) = self.jobs.pop_front() else {
            if !self.follows {
                return Ok(Stage::Over);
            }
            // Whatever was seen so far is no newer than this: there the lines are of one moment.
            let until = self.store.info().await?.revision;
            return Ok(Stage::Changes { since: self.revision, until });
        };
        let job = info.job_id;
        self.jobs_after = Some(job);
        items.push(Item::Job(Box::new(info)));
        Ok(Stage::Chunks { job, after: None })
    }

    async fn chunks(&mut self, job: i64, after: Option<u64>, items: &mut Vec<Item>) -> Result<Stage> {
        let mut statuses = self.filter.statuses.iter().copied();
        let only = match (statuses.next(), statuses.next()) {
            (Some(status), None) => Some(status),
            _ => None,
        };
        let page = match self.store.page_records(job, only, after, PAGE_ROWS).await {
            Ok(page) => page,
            // It was deleted meanwhile.
            Err(error) if error.kind() == ErrorKind::JobNotFound => return Ok(Stage::Jobs),
            Err(error) => return Err(error),
        };
        let next = match page.records.last() {
            Some(last) if page.more => Stage::Chunks { job, after: Some(last.state.chunk) },
            _ => Stage::Jobs,
        };
        let wanted = page.records.into_iter().filter(|record| self.wants(job, Some(record.state.status)));
        items.extend(wanted.map(|record| Item::Chunk(Box::new(record))));
        Ok(next)
    }

    async fn changes(&mut self, since: u64, until: u64, items: &mut Vec<Item>) -> Result<Stage> {
        let page = self.store.changes(since, PAGE_CHANGES).await?;
        self.revision = page.next;
        for change in page.changes {
            match change {
                Change::Chunk { state, depends_on, kept, .. } => {
                    if self.wants(state.job_id, Some(state.status)) {
                        items.push(Item::Chunk(Box::new(ChunkRecord::new(*state, depends_on, *kept))));
                    }
                }
                Change::ChunkDeleted { job_id, chunk, revision } => {
                    if self.wants(job_id, None) {
                        items.push(Item::ChunkDeleted { job_id, chunk, revision });
                    }
                }
                Change::Job { job, .. } => {
                    if self.wants(job.job_id, None) {
                        items.push(Item::Job(job));
                    }
                }
                Change::JobDeleted { job_id, revision } => {
                    if self.wants(job_id, None) {
                        items.push(Item::JobDeleted { job_id, revision });
                    }
                }
            }
        }
        if page.more && page.next < until {
            return Ok(Stage::Changes { since: page.next, until });
        }
        self.job_id_max = self.store.info().await?.job_id_max;
        if page.next < until {
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
