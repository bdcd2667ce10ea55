//! What a manifest must be beyond its form, as far as no store is needed.

use super::Manifest;
use super::problem::{Part, Problem};
use foldhash::{HashMap, HashMapExt};

use crate::error::{Error, ErrorKind};
use crate::graph::{Cycle, Edge, Graph};
use crate::limits;
use crate::model::{JobSpec, NewChunk, check_chunk_id, check_moment_ms, check_size, fault};

/// The first thing that is wrong, if any.
pub(super) fn manifest(manifest: &Manifest) -> Option<Problem> {
    job(&manifest.job)
        .or_else(|| manifest.chunks.iter().enumerate().find_map(|(index, new)| chunk(new, Some(index))))
        .or_else(|| duplicate(&manifest.chunks))
        .or_else(|| cycle(&manifest.chunks))
}

/// Each value by itself, so that the problem has its key.
pub(super) fn job(job: &JobSpec) -> Option<Problem> {
    let parts = [
        ("name", JobSpec { name: job.name.clone(), ..JobSpec::new() }),
        ("lease", JobSpec { lease_ms: job.lease_ms, ..JobSpec::new() }),
        ("backoff", JobSpec { backoff: job.backoff, ..JobSpec::new() }),
    ];
    parts.into_iter().find_map(|(key, part)| part.check().err().map(|error| problem(Part::Job, key, &error)))
}

/// A problem from an error of the model's own checks, which do not know that they look at a manifest.
fn problem(part: Part, key: &'static str, error: &Error) -> Problem {
    let kind =
        if error.kind() == ErrorKind::TooLarge { ErrorKind::TooLarge } else { ErrorKind::InvalidManifest };
    Problem::new(part, error.to_string()).key(key).kind(kind)
}

/// One chunk by itself.
pub(super) fn chunk(chunk: &NewChunk, index: Option<usize>) -> Option<Problem> {
    let part = Part::Chunk { index, id: Some(chunk.id) };
    let wrong = |key, error: &Error| Some(problem(part, key, error));
    if let Err(error) = check_chunk_id(chunk.id) {
        return wrong("id", &error);
    }
    if let Some(checksum) = &chunk.checksum
        && let Err(error) = check_size("checksum", checksum.len(), limits::CHECKSUM_BYTES_MAX)
    {
        return wrong("checksum", &error);
    }
    if let Some(payload) = &chunk.payload {
        if let Err(error) = check_size("payload", payload.as_str().len(), limits::PAYLOAD_BYTES_MAX) {
            return wrong("payload", &error);
        }
        if let Some(fault) = fault(payload.as_str()) {
            return Some(Problem::new(part, fault).key("payload"));
        }
    }
    if let Some(error) = chunk.not_before_ms.and_then(|moment_ms| check_moment_ms(moment_ms).err()) {
        return wrong("not_before", &error);
    }
    depends_on(chunk).map(|(kind, text)| Problem::new(part, text).key("depends_on").kind(kind))
}

fn depends_on(chunk: &NewChunk) -> Option<(ErrorKind, String)> {
    let ids = &chunk.depends_on;
    if ids.len() > limits::DEPENDENCIES_PER_CHUNK_MAX {
        let limit = limits::DEPENDENCIES_PER_CHUNK_MAX;
        let text = format!(
            "{} dependencies, the limit is {limit}; put a chunk between that waits for a part of them",
            ids.len()
        );
        return Some((ErrorKind::TooLarge, text));
    }
    if let Some(error) = ids.iter().find_map(|id| check_chunk_id(*id).err()) {
        return Some((ErrorKind::InvalidManifest, error.to_string()));
    }
    if ids.contains(&chunk.id) {
        let text = format!("the chunk depends on itself: {}; remove {}", Cycle::of_one(chunk.id), chunk.id);
        return Some((ErrorKind::DependencyCycle, text));
    }
    if !ids.is_sorted_by(|a, b| a < b) {
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        if let Some([id, ..]) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Some((ErrorKind::InvalidManifest, format!("{id} stands twice; leave one out")));
        }
    }
    None
}

fn duplicate(chunks: &[NewChunk]) -> Option<Problem> {
    if chunks.is_sorted_by(|a, b| a.id < b.id) {
        return None;
    }
    let mut places = HashMap::with_capacity(chunks.len());
    chunks.iter().enumerate().find_map(|(index, chunk)| {
        let first = places.insert(chunk.id, index)?;
        let text = format!("{} is taken; give each chunk an id of its own", chunk.id);
        let part = Part::Chunk { index: Some(index), id: Some(chunk.id) };
        let problem = Problem::new(part, text).key("id").kind(ErrorKind::DuplicateChunk);
        Some(Problem { first: Some(first), ..problem })
    })
}

/// Ids that are not in this manifest may be in the store already; they cannot close a circle here.
fn cycle(chunks: &[NewChunk]) -> Option<Problem> {
    let edges = || {
        chunks
            .iter()
            .flat_map(|chunk| chunk.depends_on.iter().map(|&depends_on| Edge { chunk: chunk.id, depends_on }))
    };
    if edges().all(|edge| edge.descends()) {
        return None;
    }
    let graph = match Graph::from_edges_within(chunks.iter().map(|chunk| chunk.id), edges()) {
        Ok(graph) => graph,
        Err(error) => return Some(Problem::new(Part::Whole, error.to_string()).kind(error.kind())),
    };
    let cycle = graph.check_acyclic().err()?;
    let id = *cycle.chunks().first()?;
    let index = chunks.iter().position(|chunk| chunk.id == id);
    let text = format!("these chunks wait for each other: {cycle}; remove one of these dependencies");
    let part = Part::Chunk { index, id: Some(id) };
    Some(Problem::new(part, text).key("depends_on").kind(ErrorKind::DependencyCycle))
}
