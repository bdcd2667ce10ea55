//! Reading: each question is answered from one snapshot.

use super::edges::cycle;
use super::import::{has_long_payload, is_unchanged};
use super::records::entries;
use super::whole;
use foldhash::HashMap;

use crate::backends::contract::{
    Class, Counts, DependentsNeed, EdgesNeed, JobPhase, JobRow, Key, Load, Loaded, Needs, PageNeed,
    ReadyNeed, Row, Subject,
};
use crate::error::{Error, ErrorKind, Result};
use crate::graph::{Edge, Graph, Node, write_dot, write_mermaid};
use crate::limits;
use crate::machine;
use crate::model::{Change, Changes, GraphFormat, JobInfo, JobState, JobStats, JobStatus, NewChunk};

/// Dependencies of a job that are read in one question.
const EDGES_PER_PAGE: usize = 100_000;

pub(super) fn open(loaded: &mut Loaded, job: i64) -> Result<JobRow> {
    match loaded.jobs.remove(&job) {
        Some(Some(row)) if row.phase == JobPhase::Open => Ok(row),
        _ => Err(Error::job_not_found(job)),
    }
}

pub(crate) fn chunk(load: &mut dyn Load, key: Key) -> Result<Option<JobState>> {
    let needs = Needs { jobs: [key.job].into(), rows: vec![key], payloads: true, ..Needs::default() };
    let mut loaded = load.load(&needs)?;
    let job = open(&mut loaded, key.job)?;
    Ok(loaded.rows.pop().and_then(|(_, row)| row).map(|row| machine::state(row, &job.spec)))
}

/// How many rows of some classes there are; of all where none is named.
fn rows_in(counts: &Counts, classes: &[Class]) -> usize {
    let classes = if classes.is_empty() { &Class::ALL } else { classes };
    let rows = classes.iter().map(|class| counts.of(*class)).sum::<u64>();
    usize::try_from(rows).unwrap_or(usize::MAX)
}

/// A page of a job's chunks in chunk order.
pub(crate) fn page(load: &mut dyn Load, need: PageNeed) -> Result<Vec<JobState>> {
    let mut loaded = load.load(&Needs { jobs: [need.job].into(), ..Needs::default() })?;
    let job = open(&mut loaded, need.job)?;
    let mut states = Vec::with_capacity(need.limit.min(rows_in(&job.counts, need.classes)));
    load.page(&need, &mut |row| states.push(machine::state(row, &job.spec)))?;
    Ok(states)
}

/// Rows of a page's first question; each further one asks for twice as many, so that few are read that are not wanted.
const ROWS_AT_FIRST: usize = 32;

/// The same, each handed over as it is found, for as long as more are wanted. Whether there are more behind them.
pub(crate) fn each_of_page(
    load: &mut dyn Load,
    need: PageNeed,
    each: &mut dyn FnMut(JobState) -> bool,
) -> Result<bool> {
    let mut loaded = load.load(&Needs { jobs: [need.job].into(), ..Needs::default() })?;
    let job = open(&mut loaded, need.job)?;
    let PageNeed { mut after, limit: mut left, .. } = need;
    let (mut asked, mut is_wanted) = (ROWS_AT_FIRST, true);
    while is_wanted && left > 0 {
        let question = PageNeed { after, limit: asked.min(left), ..need };
        let mut found = 0;
        load.page(&question, &mut |row| {
            if is_wanted {
                found += 1;
                after = Some(row.key.chunk);
                is_wanted = each(machine::state(row, &job.spec));
            }
        })?;
        if is_wanted && found < question.limit {
            return Ok(false);
        }
        left -= found;
        asked *= 2;
    }
    let mut has_more = false;
    load.page(&PageNeed { after, limit: 1, ..need }, &mut |_| has_more = true)?;
    Ok(has_more)
}

/// Of chunks in ascending order, those that storage does not have just as they are.
pub(crate) fn without_unchanged(
    load: &mut dyn Load,
    job: i64,
    chunks: Vec<NewChunk>,
) -> Result<Vec<NewChunk>> {
    let keys: Vec<Key> = chunks.iter().map(|chunk| Key { job, chunk: chunk.id }).collect();
    let (long, short) = chunks.iter().partition::<Vec<_>, _>(|chunk| has_long_payload(chunk));
    let key = |chunk: &NewChunk| Key { job, chunk: chunk.id };
    let rows = long.into_iter().map(key).collect();
    let whole = load.load(&Needs { rows, payloads: true, ..Needs::default() })?.rows;
    let rows = short.into_iter().map(key).collect();
    let mut loaded = load.load(&Needs { rows, dependencies: keys, ..Needs::default() })?;
    loaded.add_rows(whole);
    let lists = std::mem::take(&mut loaded.dependencies);
    // The commit that follows looks at the clock itself.
    let now_ms = loaded.meta.clock_ms;
    let differs = |chunk: &NewChunk, list: &[u64]| {
        let row = loaded.row(&Key { job, chunk: chunk.id });
        !row.is_some_and(|row| is_unchanged(row, list, chunk, now_ms))
    };
    Ok(chunks
        .into_iter()
        .zip(lists)
        .filter(|(chunk, list)| differs(chunk, list))
        .map(|(chunk, _)| chunk)
        .collect())
}

/// The ids of ready chunks, in claim order.
pub(crate) fn ready(load: &mut dyn Load, job: i64, limit: usize) -> Result<Vec<u64>> {
    let need = ReadyNeed { job, after: None, limit };
    let mut loaded = load.load(&Needs { jobs: [job].into(), ready: vec![need], ..Needs::default() })?;
    open(&mut loaded, job)?;
    Ok(loaded.ready.pop().unwrap_or_default().iter().map(|row| row.key.chunk).collect())
}

pub(crate) fn job_info(load: &mut dyn Load, job: i64) -> Result<JobInfo> {
    let mut loaded = load.load(&Needs { jobs: [job].into(), ..Needs::default() })?;
    let is_telling = loaded.meta.cursors > 0;
    Ok(info(open(&mut loaded, job)?, is_telling))
}

pub(crate) fn stats(load: &mut dyn Load, job: i64) -> Result<JobStats> {
    Ok(job_info(load, job)?.stats)
}

/// The job in any phase, as storage has it.
pub(crate) fn job_row(load: &mut dyn Load, job: i64) -> Result<Option<JobRow>> {
    Ok(load.load(&Needs { jobs: [job].into(), ..Needs::default() })?.jobs.remove(&job).flatten())
}

/// Jobs above an id, in ascending order, and whether there may be more.
pub(crate) fn jobs_page(load: &mut dyn Load, after: Option<i64>, limit: usize) -> Result<Vec<JobInfo>> {
    let mut after = after;
    let mut found = Vec::new();
    loop {
        let loaded = load.load(&Needs { jobs_after: Some((after, limit)), ..Needs::default() })?;
        let (jobs, is_telling) = (loaded.jobs_after, loaded.meta.cursors > 0);
        let more = jobs.len() == limit;
        after = jobs.last().map(|job| job.id);
        let open = jobs.into_iter().filter(|job| job.phase == JobPhase::Open);
        found.extend(open.map(|job| info(job, is_telling)));
        if found.len() >= limit || !more {
            found.truncate(limit);
            return Ok(found);
        }
    }
}

/// What callers see of a job. `is_telling`: dependents of some job are still being told of something.
fn info(job: JobRow, is_telling: bool) -> JobInfo {
    let of = |class| job.counts.of(class);
    let pending = of(Class::Ready) + of(Class::Blocked) + of(Class::Delayed);
    let stats = JobStats {
        total_chunks: job.counts.by_class.iter().sum(),
        pending,
        processing: of(Class::Processing),
        done: of(Class::Done),
        failed: of(Class::Failed),
        cancelled: of(Class::Cancelled),
        blocked: of(Class::Blocked),
        delayed: of(Class::Delayed),
        settling: is_telling && job.edges > 0,
    };
    JobInfo {
        job_id: job.id,
        spec: job.spec,
        stats,
        created_at_ms: job.created_at_ms,
        revision: job.revision,
    }
}

fn must_exist(loaded: &mut Loaded, key: Key) -> Result<()> {
    open(loaded, key.job)?;
    loaded.row(&key).map(|_| ()).ok_or_else(|| Error::chunk_not_found(key.job, key.chunk))
}

pub(crate) fn dependencies(load: &mut dyn Load, key: Key) -> Result<Vec<u64>> {
    let needs =
        Needs { jobs: [key.job].into(), rows: vec![key], dependencies: vec![key], ..Needs::default() };
    let mut loaded = load.load(&needs)?;
    must_exist(&mut loaded, key)?;
    Ok(loaded.dependencies.pop().unwrap_or_default())
}

/// Chunks that wait for a chunk, at most so many.
pub(crate) fn dependents(load: &mut dyn Load, key: Key, limit: usize) -> Result<Vec<u64>> {
    let needs = Needs {
        jobs: [key.job].into(),
        rows: vec![key],
        dependents: vec![DependentsNeed { on: key, after: None, limit }],
        ..Needs::default()
    };
    let mut loaded = load.load(&needs)?;
    must_exist(&mut loaded, key)?;
    Ok(loaded.dependents.pop().unwrap_or_default().into_iter().map(|(chunk, _)| chunk).collect())
}

/// Every dependency of a job, as (chunk, on), read a page at a time.
pub(crate) fn all_edges(load: &mut dyn Load, job: i64) -> Result<Vec<(u64, u64)>> {
    let mut edges = Vec::new();
    let mut after = None;
    loop {
        let page = load
            .load(&Needs {
                edges: Some(EdgesNeed { job, after, limit: EDGES_PER_PAGE }),
                ..Needs::default()
            })?
            .edges;
        after = page.last().map(|edge| (edge.chunk, edge.on));
        let more = page.len() == EDGES_PER_PAGE;
        edges.extend(page.iter().map(|edge| (edge.chunk, edge.on)));
        if !more {
            return Ok(edges);
        }
    }
}

/// Every row of a job, read a page at a time.
fn each_row(load: &mut dyn Load, job: i64, mut each: impl FnMut(&Row)) -> Result<()> {
    let mut after = None;
    loop {
        let need = PageNeed { job, classes: &[], after, limit: limits::PAGE_ROWS_MAX };
        let mut rows = 0;
        load.page(&need, &mut |row| {
            rows += 1;
            after = Some(row.key.chunk);
            each(&row);
        })?;
        if rows < limits::PAGE_ROWS_MAX {
            return Ok(());
        }
    }
}

/// All chunks of a job, each behind what it depends on.
pub(crate) fn topo_order(load: &mut dyn Load, job: i64) -> Result<Vec<u64>> {
    job_info(load, job)?;
    let mut ids = Vec::new();
    each_row(load, job, |row| ids.push(row.key.chunk))?;
    let edges = all_edges(load, job)?;
    let edges = edges.into_iter().map(|(chunk, depends_on)| Edge { chunk, depends_on });
    Graph::from_edges(ids, edges)?.topo_order().map_err(|found| cycle(job, found))
}

/// A job's dependency graph as text, each chunk with its status.
pub(crate) fn graph(load: &mut dyn Load, job: i64, format: GraphFormat) -> Result<String> {
    job_info(load, job)?;
    let mut nodes = Vec::new();
    each_row(load, job, |row| {
        nodes.push(Node {
            chunk: row.key.chunk,
            status: row.record.status,
            is_blocked: row.record.status == JobStatus::Pending && row.unmet > 0,
            label: None,
        });
    })?;
    let edges = all_edges(load, job)?.into_iter().map(|(chunk, depends_on)| Edge { chunk, depends_on });
    let mut text = String::new();
    let written = match format {
        GraphFormat::Dot => write_dot(&mut text, nodes, edges),
        GraphFormat::Mermaid => write_mermaid(&mut text, nodes, edges),
    };
    written
        .map_err(|e| Error::new(ErrorKind::Internal, "text could not be written to memory").caused_by(e))?;
    Ok(text)
}

/// What changed after a revision: the newest state of each thing, in revision order.
pub(crate) fn changes(load: &mut dyn Load, since: u64, limit: usize) -> Result<Changes> {
    let mut loaded = load.load(&Needs { log: Some((since, limit)), ..Needs::default() })?;
    let (newest, settling) = (loaded.meta.revision, loaded.meta.cursors > 0);
    let mut truncated = |why: String| {
        let from = whole::store_info(load)?.visible_revision;
        let text = format!(
            "changes after revision {since} were asked for, {why}; list everything anew and go on from revision {from}"
        );
        Err(Error::new(ErrorKind::FeedTruncated, text))
    };
    if since < loaded.meta.log_start {
        return truncated(format!("the feed starts after {}", loaded.meta.log_start));
    }
    if loaded.meta.affairs.as_ref().is_some_and(|affairs| affairs.has_lost(since, newest)) {
        return truncated("which a power cut may have taken back".into());
    }
    if since > newest {
        let text = format!(
            "changes after revision {since} were asked for, the store is at {newest}; it is not the store that gave that revision"
        );
        return Err(Error::invalid(text));
    }
    let (entries, covered) = entries(std::mem::take(&mut loaded.log), since, limit, newest);
    let is_row = |subject| matches!(subject, Subject::Chunk | Subject::Met);
    let rows = entries.iter().filter(|(_, subject, _)| is_row(*subject));
    // A chunk is told where the page names it last; not at all where its row says that it has changed behind that.
    let last: HashMap<Key, u64> = rows.map(|(revision, _, key)| (*key, *revision)).collect();
    let (changes, more) = (Vec::new(), covered < newest);
    let mut page = Changes { changes, next: covered, more, newest, settling };
    let mut bytes = 0;
    let mut rest = entries.as_slice();
    while !rest.is_empty() {
        let rows = whole::rows_next(entries.len() - rest.len(), bytes, limits::RECORD_PAGE_BYTES);
        let (slice, behind) = rest.split_at(rows.min(rest.len()));
        rest = behind;
        let named = slice.iter().filter(|(revision, subject, key)| {
            is_row(*subject) && last.get(key).is_some_and(|last| last == revision)
        });
        let keys: Vec<Key> = named.map(|(_, _, key)| *key).collect();
        let jobs = slice.iter().map(|(_, _, key)| key.job).collect();
        let needs = Needs { jobs, rows: keys.clone(), dependencies: keys.clone(), ..Needs::default() };
        let mut state = load.load(&needs)?;
        let is_newest = |row: &Row| {
            let revision = row.record.revision.max(row.content.revision);
            last.get(&row.key).is_some_and(|last| revision <= *last)
        };
        // Those that are told of come whole.
        let left = state
            .rows
            .iter()
            .filter_map(|(_, row)| row.as_ref())
            .filter(|row| !row.is_whole() && is_newest(row));
        let rows: Vec<Key> = left.map(|row| row.key).collect();
        if !rows.is_empty() {
            let needs = Needs { rows, payloads: true, ..Needs::default() };
            load.load(&needs)?.rows.into_iter().for_each(|(key, row)| state.set_row(&key, row));
        }
        let listed = keys.iter().zip(&state.dependencies);
        let rows = listed.filter_map(|(key, list)| Some((state.row(key)?, list.as_slice())));
        let mut unmet = whole::unmet(load, rows)?;
        let lists = std::mem::take(&mut state.dependencies);
        let mut lists: HashMap<Key, Vec<u64>> = keys.into_iter().zip(lists).collect();
        for &(revision, subject, key) in slice {
            let job = state.jobs.get(&key.job).and_then(Option::as_ref);
            if job.is_some_and(|job| job.phase == JobPhase::Importing) {
                // Invisible until it is published whole: the feed waits for it.
                (page.next, page.more) = (revision - 1, false);
                return Ok(page);
            }
            match (subject, job.filter(|job| job.phase == JobPhase::Open)) {
                (Subject::Chunk | Subject::Met, Some(job)) if last.get(&key) == Some(&revision) => {
                    let depends_on = lists.remove(&key).unwrap_or_default();
                    let row = state.row(&key);
                    // Those that are passed over were read, too.
                    bytes += row.map_or(0, Row::text_bytes) + 8 * depends_on.len();
                    if let Some(row) = row.filter(|row| is_newest(row)) {
                        page.changes.push(Change::Chunk {
                            state: Box::new(machine::state(row.clone(), &job.spec)),
                            depends_on,
                            kept: Box::new(whole::kept(row, unmet.remove(&key).unwrap_or_default())),
                            revision,
                        });
                    }
                }
                // Told each time, so that none of its chunks is told of before it.
                (Subject::Job, Some(job)) => {
                    page.changes.push(Change::Job {
                        job: Box::new(info(job.clone(), state.meta.cursors > 0)),
                        revision,
                    });
                }
                (Subject::ChunkGone, Some(_)) => {
                    page.changes.push(Change::ChunkDeleted { job_id: key.job, chunk: key.chunk, revision });
                }
                (Subject::JobGone, _) => page.changes.push(Change::JobDeleted { job_id: key.job, revision }),
                _ => {}
            }
        }
        if bytes >= limits::RECORD_PAGE_BYTES
            && let Some((revision, _, _)) = slice.last()
        {
            (page.next, page.more) = (*revision, *revision < newest);
            break;
        }
    }
    Ok(page)
}
