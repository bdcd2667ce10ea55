//! Adding dependencies: checked against cycles before anything is written.

use std::collections::BTreeSet;

use super::settle;
use super::work::Work;
use super::{Result, finish};
use foldhash::{HashMap, HashSet};

use crate::backends::contract::{Edge, Key};
use crate::error::{Error, ErrorKind};
use crate::graph::{self, Cycle, Graph};
use crate::limits;
use crate::machine::Event;
use crate::model::{JobStatus, Outcome};

/// Dependencies of a job that are read in one question.
const EDGES_PER_PAGE: usize = 100_000;

/// Makes a chunk wait for others.
pub(super) fn add(work: &mut Work<'_>, key: Key, on: &[u64]) -> Result<Outcome> {
    let of_job = work.job(key.job)?.spec.on_dependency_failure;
    work.fetch(on.iter().chain([&key.chunk]).map(|&chunk| Key { job: key.job, chunk }))?;
    let row = work.row(key)?;
    let policy = row.content.on_dependency_failure.or(of_job).unwrap_or_default();
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
    check_cycle(work, key, &new)?;

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

/// Follows the new dependencies' own ones back, looking for the chunk itself.
fn check_cycle(work: &mut Work<'_>, key: Key, new: &BTreeSet<u64>) -> Result<()> {
    let upward = work.job(key.job)?.edges_upward > 0 || new.iter().any(|&on| on > key.chunk);
    if !upward {
        // Every dependency is on a lower id: there is no way back up.
        return Ok(());
    }
    let mut came_from: HashMap<u64, u64> = new.iter().map(|&on| (on, key.chunk)).collect();
    let mut front: Vec<u64> = new.iter().copied().collect();
    let mut seen: HashSet<u64> = new.iter().copied().collect();
    while !front.is_empty() {
        let keys: Vec<Key> = front.iter().map(|&chunk| Key { job: key.job, chunk }).collect();
        let lists = work.dependencies(&keys)?;
        let mut next = Vec::new();
        for (&from, list) in front.iter().zip(lists) {
            for on in list {
                if on == key.chunk {
                    let mut path = vec![from];
                    while let Some(&before) = came_from.get(path.last().unwrap_or(&from))
                        && before != key.chunk
                    {
                        path.push(before);
                    }
                    path.push(key.chunk);
                    path.reverse();
                    return Err(cycle(key.job, Cycle::new(path)));
                }
                if seen.insert(on) {
                    came_from.insert(on, from);
                    next.push(on);
                }
            }
        }
        front = next;
    }
    Ok(())
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
    let upward = work.job_in_any_phase(job)?.map_or(0, |job| job.edges_upward);
    if upward == 0 && added.iter().all(|&(chunk, on)| on < chunk) {
        return Ok(());
    }
    let mut edges = added.to_vec();
    if work.job_in_any_phase(job)?.is_some_and(|job| job.edges > 0) {
        let mut after = None;
        loop {
            let (page, next) = work.edges_page(job, after, EDGES_PER_PAGE)?;
            edges.extend(page.iter().filter(|e| !replaced.contains(&e.chunk)).map(|e| (e.chunk, e.on)));
            if next.is_none() {
                break;
            }
            after = next;
        }
    }
    find_cycle(&edges)?.map_or(Ok(()), |found| Err(cycle(job, found)))
}
