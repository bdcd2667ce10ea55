//! Adding dependencies: checked against cycles before anything is written.

use std::collections::BTreeSet;

use super::settle;
use super::work::Work;
use super::{Result, finish};
use foldhash::{HashSet, HashSetExt};

use crate::backends::contract::{Edge, Key};
use crate::error::{Error, ErrorKind};
use crate::graph::{self, Cycle, Graph};
use crate::limits;
use crate::machine::Event;
use crate::model::{JobStatus, Outcome};

/// Dependencies of a job that are read in one question.
const EDGES_PER_PAGE: usize = 100_000;

/// Chunks before or behind new dependencies that are looked at, before all dependencies of the job are.
const SEARCHED_CHUNKS_MAX: usize = 4_096;

/// As many dependencies are read in one question with others in the time of a question by itself.
const EDGES_PER_QUESTION: u64 = 64;

/// Makes a chunk wait for others.
pub(super) fn add(work: &mut Work<'_>, key: Key, on: &[u64]) -> Result<Outcome> {
    work.job(key.job)?;
    work.fetch(on.iter().chain([&key.chunk]).map(|&chunk| Key { job: key.job, chunk }))?;
    let policy = settle::policy_of(work, key)?;
    let row = work.row(key)?;
    let status = row.record.status;
    let unmet_before = row.unmet;
    let old = work.dependencies(&[key])?.pop().unwrap_or_default();
    let new: BTreeSet<u64> = on.iter().copied().filter(|on| old.binary_search(on).is_err()).collect();
    if new.is_empty() {
        return Ok(Outcome::Unchanged);
    }
    if matches!(status, JobStatus::Processing | JobStatus::Done) {
        return Err(Error::new(
            ErrorKind::Refused,
            format!("cannot add a dependency to a {status} chunk; add it before the chunk is claimed, or reset the chunk"),
        )
        .at(key.job, key.chunk));
    }
    check_count(key, old.len() + new.len())?;
    let mut statuses = Vec::with_capacity(new.len());
    for &on in &new {
        check_target(key, on)?;
        let target = work.row_if_any(Key { job: key.job, chunk: on })?;
        statuses.push((on, target.ok_or_else(|| unknown(key, on))?.record.status));
    }
    let added: Vec<(u64, u64)> = new.iter().map(|&on| (key.chunk, on)).collect();
    check_graph(work, key.job, &HashSet::new(), &added)?;

    let mut unmet = unmet_before;
    for &(on, status) in &statuses {
        let met = settle::is_met(status, policy);
        work.add_edge(Edge { job: key.job, chunk: key.chunk, on }, met);
        unmet += u32::from(!met);
    }
    work.set_unmet(key, unmet);
    work.note_change(key);
    if unmet > unmet_before {
        // A claim that lapsed may not be finished late, now that it would come too early.
        finish::happen(work, key, Event::Block)?;
    }
    if let Some(on) = settle::cause_of_cancel(statuses, policy)
        && status == JobStatus::Pending
    {
        finish::happen(work, key, Event::Cancel { cause: Some(on) })?;
    }
    Ok(Outcome::Changed)
}

/// A chunk's dependencies are few enough.
pub(super) fn check_count(key: Key, count: usize) -> Result<()> {
    if count <= limits::DEPENDENCIES_PER_CHUNK_MAX {
        return Ok(());
    }
    let text = format!(
        "it would depend on {count} chunks, the limit is {}; put a chunk in between that gathers some of them",
        limits::DEPENDENCIES_PER_CHUNK_MAX
    );
    Err(Error::new(ErrorKind::TooLarge, text).at(key.job, key.chunk))
}

fn check_target(key: Key, on: u64) -> Result<()> {
    crate::model::check_chunk_id(on).map_err(|e| e.at(key.job, key.chunk))?;
    if on == key.chunk {
        return Err(cycle(key.job, Cycle::of_one(on)));
    }
    Ok(())
}

pub(crate) fn unknown(key: Key, on: u64) -> Error {
    Error::new(
        ErrorKind::UnknownDependency,
        format!("it depends on chunk {on}, which the job does not have; import that chunk first or with it"),
    )
    .at(key.job, key.chunk)
}

/// A circle of dependencies in a job.
pub(crate) fn cycle(job: i64, cycle: Cycle) -> Error {
    Error::from(cycle).in_job(job)
}

/// One circle among dependencies, given as (chunk, on), where there is one.
pub(crate) fn find_cycle(edges: &[(u64, u64)]) -> Result<Option<Cycle>> {
    let ends = edges.iter().flat_map(|&(chunk, on)| [chunk, on]);
    let edges = edges.iter().map(|&(chunk, depends_on)| graph::Edge { chunk, depends_on });
    Ok(Graph::from_edges_within(ends, edges)?.check_acyclic().err())
}

/// Refuses changes to a job's dependencies that would close a circle.
///
/// `replaced` are chunks whose dependencies are all given anew; `added` is what they, and others, shall have.
pub(super) fn check_graph(
    work: &mut Work<'_>,
    job: i64,
    replaced: &HashSet<u64>,
    added: &[(u64, u64)],
) -> Result<()> {
    let (present, upward) = work.job_in_any_phase(job)?.map_or((0, 0), |job| (job.edges, job.edges_upward));
    // Where every dependency is on a lower id there is no way back up.
    if added.is_empty() || (upward == 0 && added.iter().all(|&(chunk, on)| on < chunk)) {
        return Ok(());
    }
    let mut edges = added.to_vec();
    if present > 0 {
        edges.extend(match search(work, job, replaced, added, present)? {
            Some(found) => found,
            None => whole(work, job, replaced)?,
        });
    }
    find_cycle(&edges)?.map_or(Ok(()), |found| Err(cycle(job, found)))
}

/// One side of new dependencies: the chunks on it that are known, those of them whose neighbours are not, and the
/// dependencies between.
struct Side {
    seen: HashSet<u64>,
    front: Vec<u64>,
    edges: Vec<(u64, u64)>,
}

impl Side {
    fn new(ends: impl Iterator<Item = u64>) -> Self {
        let seen: HashSet<u64> = ends.collect();
        Side { front: seen.iter().copied().collect(), seen, edges: Vec::new() }
    }
}

/// A circle that new dependencies close leads through one of them: all of it lies below them, among what they lead to,
/// and all of it above, among who waits for them. Gives the dependencies that are on the side which ends first; nothing
/// where both are large, or where all that are present are read as soon as that.
fn search(
    work: &mut Work<'_>,
    job: i64,
    replaced: &HashSet<u64>,
    added: &[(u64, u64)],
    present: u64,
) -> Result<Option<Vec<(u64, u64)>>> {
    let mut below = Side::new(added.iter().map(|(_, on)| *on));
    let mut above = Side::new(added.iter().map(|(chunk, _)| *chunk));
    let mut is_above_open = true;
    let mut cost = 0;
    loop {
        let upward = is_above_open && above.seen.len() < below.seen.len();
        let side = if upward { &mut above } else { &mut below };
        if side.front.is_empty() {
            return Ok(Some(std::mem::take(&mut side.edges)));
        }
        if side.seen.len() > SEARCHED_CHUNKS_MAX || cost > present {
            return Ok(None);
        }
        cost += EDGES_PER_QUESTION + side.front.len() as u64;
        let keys: Vec<Key> = side.front.iter().map(|&chunk| Key { job, chunk }).collect();
        let lists = if upward {
            let limit = 2 * SEARCHED_CHUNKS_MAX / keys.len() + 1;
            let lists = work.waiting_for(&keys, limit)?;
            is_above_open = lists.iter().all(|list| list.len() < limit);
            lists
        } else {
            work.dependencies(&keys)?
        };
        if upward && !is_above_open {
            continue;
        }
        for (at, list) in std::mem::take(&mut side.front).into_iter().zip(lists) {
            for other in list {
                let edge = if upward { (other, at) } else { (at, other) };
                // What those have is among what is added.
                if replaced.contains(&edge.0) {
                    continue;
                }
                side.edges.push(edge);
                if side.seen.insert(other) {
                    side.front.push(other);
                }
            }
        }
    }
}

/// All dependencies of a job, but for those of some chunks.
fn whole(work: &mut Work<'_>, job: i64, but: &HashSet<u64>) -> Result<Vec<(u64, u64)>> {
    let (mut edges, mut after) = (Vec::new(), None);
    loop {
        let (page, next) = work.edges_page(job, after, EDGES_PER_PAGE)?;
        edges.extend(page.iter().filter(|edge| !but.contains(&edge.chunk)).map(|edge| (edge.chunk, edge.on)));
        after = match next {
            None => return Ok(edges),
            next => next,
        };
    }
}
