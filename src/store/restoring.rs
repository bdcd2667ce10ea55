//! Driving a restore: reads an export line by line and hands it to the engine a slice at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead;
use std::mem::take;
use std::sync::Arc;

use super::handle::Shared;
use super::importing::{check_no_cycle, unexpected};
use crate::backends::contract::Key;
use crate::engine::{self, Course, Op, Reply, Restore, RestoredJob, RestoredRow};
use crate::error::{Error, Result};
use crate::export::{Line, Lines};
use crate::limits;
use crate::model::{Restored, check_job_id};

pub(super) async fn restore(shared: &Shared, export: &mut (dyn BufRead + Send)) -> Result<Restored> {
    if !shared.read(|load| engine::jobs_page(load, None, 1)).await?.is_empty() {
        return Err(engine::restore_into_jobs());
    }
    let mut lines = Lines::new(export)?;
    let mut under_way =
        UnderWay { shared, course: Arc::new(Course::default()), at: None, jobs: BTreeMap::new() };
    let restored = slices(shared, &mut lines, &mut under_way).await;
    if restored.is_ok() {
        under_way.jobs.clear();
    }
    // What is left where this fails, or its caller goes meanwhile, the drop takes back.
    while let Some(job) = under_way.end() {
        if let Err(error) = shared.core.submit(under_way.discard(job, true)).await {
            // What failed is what the caller is told. It is tried once more, behind a reopening where one is due; after
            // that it is taken back when the store is opened.
            tracing::warn!(%error, job, "a failed restore could not be taken back yet");
            break;
        }
        under_way.jobs.remove(&job);
    }
    restored
}

/// A job that is being restored, as the newest line states it.
#[derive(Debug)]
struct Begun {
    job: RestoredJob,
    /// Whether storage may have it already.
    is_there: bool,
}

/// A restore that is under way. When it is dropped, whatever is there so far is taken back.
struct UnderWay<'a> {
    shared: &'a Shared,
    course: Arc<Course>,
    /// Where the newest slice left the store, once there was one.
    at: Option<u64>,
    jobs: BTreeMap<i64, Begun>,
}

impl UnderWay<'_> {
    /// It is over, however it ended. Gives the first of the jobs that storage may have.
    fn end(&mut self) -> Option<i64> {
        self.course.end(&self.shared.imports);
        self.jobs.iter().find(|(_, begun)| begun.is_there).map(|(job, _)| *job)
    }

    /// Takes back one of its jobs.
    fn discard(&self, job: i64, is_over: bool) -> Op {
        Op::Restore(Restore::Discard { course: Arc::clone(&self.course), job, is_over })
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        while let Some(job) = self.end() {
            self.shared.core.submit_unheard(self.discard(job, true));
            self.jobs.remove(&job);
        }
    }
}

/// What is read and not yet handed over.
#[derive(Default)]
struct Slice {
    rows: BTreeMap<Key, RestoredRow>,
    gone: BTreeSet<Key>,
    bytes: usize,
    dependencies: usize,
}

async fn slices(shared: &Shared, lines: &mut Lines<'_>, under_way: &mut UnderWay<'_>) -> Result<Restored> {
    let mut slice = Slice::default();
    let mut restored = Restored::default();
    // An export beside a large import has rows above the revision that it says for itself.
    let mut newest = 0;
    let end = loop {
        let Some(line) = lines.next()? else { return Err(lines.located(&Error::invalid("there is no end"))) };
        match line {
            Line::Job(line) => {
                check_job_id(line.job_id).and_then(|_| line.spec.check()).map_err(|e| lines.located(&e))?;
                let job = RestoredJob {
                    id: line.job_id,
                    spec: line.spec,
                    created_at_ms: line.created_at_ms,
                    revision: line.revision,
                };
                if job.created_at_ms > limits::ID_MAX {
                    return Err(lines.located(&Error::invalid("a number is above 2^53 - 1")));
                }
                newest = newest.max(possible(job.revision).map_err(|e| lines.located(&e))?);
                let begun = under_way.jobs.entry(job.id);
                begun.and_modify(|begun| begun.job = job.clone()).or_insert(Begun { job, is_there: false });
                // Each job is remembered until the end, so many without chunks are a slice as well.
                slice.bytes += 256;
            }
            Line::Chunk(record) => {
                let text = |json: &Option<crate::Json>| json.as_ref().map_or(0, |json| json.as_str().len());
                slice.bytes += 256 + text(&record.state.payload) + text(&record.state.output);
                slice.dependencies += record.depends_on.len();
                newest = newest.max(possible(record.state.revision).map_err(|e| lines.located(&e))?);
                let row = engine::restored_row(*record).map_err(|e| lines.located(&e))?;
                if !under_way.jobs.contains_key(&row.key().job) {
                    let error =
                        Error::invalid("the chunk comes before its job; use the export as it was written");
                    return Err(lines.located(&error));
                }
                slice.gone.remove(&row.key());
                slice.rows.insert(row.key(), row);
            }
            Line::ChunkDeleted(line) => {
                let key = Key { job: line.job_id, chunk: line.chunk };
                slice.rows.remove(&key);
                if under_way.jobs.contains_key(&key.job) {
                    slice.gone.insert(key);
                }
            }
            Line::JobDeleted(line) => {
                // It may be there, and is taken back with the others where this fails.
                if under_way.jobs.contains_key(&line.job_id) {
                    hand_over(shared, under_way, &mut slice).await?;
                    shared.core.submit(under_way.discard(line.job_id, false)).await?;
                    under_way.jobs.remove(&line.job_id);
                }
            }
            Line::End(end) => break end,
        }
        if slice.rows.len() + slice.gone.len() >= limits::SLICE_ROWS_MAX
            || slice.bytes >= limits::IMPORT_BYTES_PER_COMMIT_MAX
            || slice.dependencies >= limits::DEPENDENCIES_PER_COMMIT_MAX
        {
            hand_over(shared, under_way, &mut slice).await?;
        }
    };
    if lines.next()?.is_some() {
        return Err(lines.located(&Error::invalid("there is more behind the end")));
    }
    if u64::try_from(end.job_id_max).is_ok_and(|id| id <= limits::ID_MAX) {
        newest = newest.max(possible(end.revision).map_err(|e| lines.located(&e))?);
    } else {
        return Err(lines.located(&Error::invalid("job_id_max is not one from 0 to 2^53 - 1")));
    }
    hand_over(shared, under_way, &mut slice).await?;
    for (&job, begun) in &under_way.jobs {
        let policy = begun.job.spec.on_dependency_failure;
        let settle = Restore::Settle { course: Arc::clone(&under_way.course), job, policy, after: None };
        shared.core.submit(Op::Restore(settle)).await?;
        let row = shared.read(move |load| engine::job_row(load, job)).await?;
        if row.as_ref().is_some_and(|row| row.edges_upward > 0) {
            check_no_cycle(shared, job).await?;
        }
        restored.jobs += 1;
        restored.chunks += row.map_or(0, |row| row.counts.by_class.iter().sum());
    }
    let publish = Restore::Publish {
        course: Arc::clone(&under_way.course),
        at: under_way.at,
        jobs: under_way.jobs.values().map(|begun| begun.job.clone()).collect(),
        revision: newest,
        job_id_max: end.job_id_max,
    };
    shared.core.submit(Op::Restore(publish)).await?;
    restored.revision = newest;
    Ok(restored)
}

/// A revision that a line states, where a store can have come to it and go on from there.
fn possible(revision: u64) -> Result<u64> {
    if revision > limits::RESTORED_REVISION_MAX {
        let text = format!("a revision is above {}; no store comes that far", limits::RESTORED_REVISION_MAX);
        return Err(Error::invalid(text));
    }
    Ok(revision)
}

async fn hand_over(shared: &Shared, under_way: &mut UnderWay<'_>, slice: &mut Slice) -> Result<()> {
    let Slice { rows, gone, .. } = take(slice);
    let mut jobs = Vec::new();
    for begun in under_way.jobs.values_mut().filter(|begun| !begun.is_there) {
        // From here on it may be there.
        begun.is_there = true;
        jobs.push(begun.job.clone());
    }
    if jobs.is_empty() && rows.is_empty() && gone.is_empty() {
        return Ok(());
    }
    let (rows, gone) = (rows.into_values().collect(), gone.into_iter().collect());
    let put = Restore::Put { course: Arc::clone(&under_way.course), at: under_way.at, jobs, rows, gone };
    match shared.core.submit(Op::Restore(put)).await? {
        Reply::Count(left_at) => {
            under_way.at = Some(left_at);
            Ok(())
        }
        other => Err(unexpected(&other)),
    }
}
