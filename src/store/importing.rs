//! Driving an import: gathers chunks from a stream, checks each, and hands them to the engine a slice at a time.

use std::future::poll_fn;
use std::mem::take;

use super::ChunkStream;
use super::handle::Shared;
use crate::backends::contract::{JobPhase, Key};
use crate::commit::Ticket;
use crate::engine::{self, Compared, Ids, Import, ImportSlice, Op, Reply};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::manifest::check_chunk;
use crate::model::{ImportOptions, ImportReport, JobSpec, NewChunk, OnMissing, check_job_id};

pub(super) async fn import(
    shared: &Shared,
    job: i64,
    spec: &JobSpec,
    mut stream: ChunkStream<'_>,
    options: ImportOptions,
) -> Result<ImportReport> {
    check_job_id(job)?;
    spec.check()?;
    let mut gather = Gather::default();
    let first = gather.slice(&mut stream).await.map_err(|e| e.in_job(job))?;
    if gather.ended {
        return one_step(shared, job, spec, first, options, Ids::default(), None).await;
    }
    let existing = shared
        .read(move |load| Ok(engine::job_row(load, job)?.filter(|row| row.phase == JobPhase::Open)))
        .await?;
    match existing {
        Some(row) => {
            let compared = Compared { created_at_ms: row.created_at_ms, unchanged: 0 };
            into_existing(shared, job, spec, first, gather, stream, options, compared).await
        }
        None => into_new(shared, job, spec, first, gather, stream).await,
    }
}

/// One atomic step.
async fn one_step(
    shared: &Shared,
    job: i64,
    spec: &JobSpec,
    chunks: Vec<NewChunk>,
    options: ImportOptions,
    also: Ids,
    compared: Option<Compared>,
) -> Result<ImportReport> {
    let op = Op::Import(Import { job, spec: spec.clone(), chunks, options, also, compared });
    match shared.core.submit(op).await? {
        Reply::Import(report) => Ok(report),
        other => Err(unexpected(&other)),
    }
}

/// What is bounded of one commit of an import.
#[derive(Debug, Default, Clone, Copy)]
struct Size {
    rows: usize,
    bytes: usize,
    dependencies: usize,
}

impl Size {
    /// As much as one commit takes.
    const MOST: Self = Size {
        rows: limits::IMPORT_ROWS_PER_COMMIT_MAX,
        bytes: limits::IMPORT_BYTES_PER_COMMIT_MAX,
        dependencies: limits::DEPENDENCIES_PER_COMMIT_MAX,
    };

    fn add(&mut self, chunk: &NewChunk) {
        self.rows += 1;
        self.bytes += chunk.payload.as_ref().map_or(0, |payload| payload.as_str().len());
        self.dependencies += chunk.depends_on.len();
    }

    fn of(chunks: &[NewChunk]) -> Self {
        let mut size = Size::default();
        chunks.iter().for_each(|chunk| size.add(chunk));
        size
    }

    fn compares(self, is_so: impl Fn(&usize, &usize) -> bool) -> bool {
        let Size { rows, bytes, dependencies } = Self::MOST;
        is_so(&self.rows, &rows) || is_so(&self.bytes, &bytes) || is_so(&self.dependencies, &dependencies)
    }

    /// Whether nothing more goes into the commit.
    fn is_full(self) -> bool {
        self.compares(usize::ge)
    }

    /// Whether it is more than goes into one.
    fn is_too_much(self) -> bool {
        self.compares(usize::gt)
    }

    /// How many of these go into one commit: one at least.
    fn fitting(chunks: &[NewChunk]) -> usize {
        let mut size = Size::default();
        let fits = chunks.iter().take_while(|chunk| {
            let goes_on = !size.is_full();
            size.add(chunk);
            goes_on
        });
        fits.count()
    }
}

/// Collects chunks into slices, and knows every id so far.
#[derive(Default)]
struct Gather {
    seen: Ids,
    ended: bool,
}

impl Gather {
    /// The next chunks, in ascending order of their ids.
    async fn slice(&mut self, stream: &mut ChunkStream<'_>) -> Result<Vec<NewChunk>> {
        let mut slice: Vec<NewChunk> = Vec::new();
        let mut size = Size::default();
        while !size.is_full() {
            let Some(next) = poll_fn(|context| stream.as_mut().poll_next(context)).await else {
                self.ended = true;
                break;
            };
            let chunk = next?;
            check_chunk(&chunk)?;
            if !self.seen.insert(chunk.id) {
                let text = "this chunk id comes twice; give each chunk an id of its own";
                return Err(Error::new(ErrorKind::DuplicateChunk, text).in_chunk(chunk.id));
            }
            size.add(&chunk);
            slice.push(chunk);
        }
        if !self.ended {
            self.ended = poll_fn(|context| peek_end(stream, context)).await;
        }
        if !slice.is_sorted_by_key(|chunk| chunk.id) {
            slice.sort_unstable_by_key(|chunk| chunk.id);
        }
        Ok(slice)
    }
}

/// Whether a stream that knows its length is at its end.
fn peek_end(stream: &mut ChunkStream<'_>, _context: &mut std::task::Context<'_>) -> std::task::Poll<bool> {
    std::task::Poll::Ready(stream.size_hint() == (0, Some(0)))
}

/// A large import into a job that does not exist: invisible until its last, small commit.
async fn into_new(
    shared: &Shared,
    job: i64,
    spec: &JobSpec,
    first: Vec<NewChunk>,
    gather: Gather,
    stream: ChunkStream<'_>,
) -> Result<ImportReport> {
    let begun = shared.core.submit(Op::ImportSlice(ImportSlice::Begin { job, spec: spec.clone() })).await?;
    let Reply::Importing { token, .. } = begun else { return Err(unexpected(&begun)) };
    let mut under_way = UnderWay { shared, job, token, is_over: false };
    let imported = slices(shared, (job, token), first, gather, stream).await;
    if imported.is_err()
        && let Err(error) = shared.core.submit(Op::ImportSlice(ImportSlice::Discard { job, token })).await
    {
        // What failed is what the caller is told. It is tried once more, behind a reopening where one is due; after that
        // the next import takes it back.
        tracing::warn!(%error, job, "a failed import could not be taken back yet");
        return imported;
    }
    under_way.is_over = true;
    imported
}

/// A large import that is under way. When it is dropped before it is over, what is there so far is taken back.
struct UnderWay<'a> {
    shared: &'a Shared,
    job: i64,
    token: u64,
    is_over: bool,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let UnderWay { shared, job, token, is_over } = *self;
        shared.imports.end(token);
        if !is_over {
            shared.core.submit_unheard(Op::ImportSlice(ImportSlice::Discard { job, token }));
        }
    }
}

async fn slices(
    shared: &Shared,
    (job, token): (i64, u64),
    first: Vec<NewChunk>,
    mut gather: Gather,
    mut stream: ChunkStream<'_>,
) -> Result<ImportReport> {
    let mut slice = first;
    let mut report = ImportReport::default();
    let mut ahead: Vec<(u64, u64)> = Vec::new();
    let mut upward = false;
    // Written while the next slice is read: parsing and writing take about as long as each other.
    let mut writing: Option<Ticket> = None;
    loop {
        report.added += slice.len() as u64;
        for chunk in &slice {
            for &on in &chunk.depends_on {
                upward |= on > chunk.id;
                if !gather.seen.contains(on) {
                    ahead.push((chunk.id, on));
                }
            }
        }
        if let Some(writing) = writing.take() {
            writing.await?;
        }
        let rows = ImportSlice::Rows { job, token, chunks: take(&mut slice) };
        let rows = shared.core.submit_ahead(Op::ImportSlice(rows));
        if gather.ended {
            rows.await?;
            break;
        }
        writing = Some(rows);
        slice = gather.slice(&mut stream).await.map_err(|e| e.in_job(job))?;
        ahead.retain(|(_, on)| !gather.seen.contains(*on));
    }
    if let Some((chunk, on)) = ahead.first() {
        return Err(engine::unknown_dependency(Key { job, chunk: *chunk }, *on));
    }
    if upward {
        check_no_cycle(shared, job).await?;
    }
    shared.core.submit(Op::ImportSlice(ImportSlice::Publish { job, token })).await?;
    Ok(report)
}

pub(super) async fn check_no_cycle(shared: &Shared, job: i64) -> Result<()> {
    let found = shared.read(move |load| engine::find_cycle(&engine::all_edges(load, job)?)).await?;
    found.map_or(Ok(()), |cycle| Err(engine::dependency_cycle(job, cycle)))
}

/// A large import into a job that exists: what is the same is left out; what differs goes in one step where it fits.
#[allow(clippy::too_many_arguments, reason = "what one import is about; nobody else calls it")]
async fn into_existing(
    shared: &Shared,
    job: i64,
    spec: &JobSpec,
    first: Vec<NewChunk>,
    mut gather: Gather,
    mut stream: ChunkStream<'_>,
    options: ImportOptions,
    mut compared: Compared,
) -> Result<ImportReport> {
    let mut slice = first;
    let mut changed: Vec<NewChunk> = Vec::new();
    let mut report = ImportReport::default();
    loop {
        let total = slice.len();
        let differing = shared.read(move |load| engine::without_unchanged(load, job, slice)).await?;
        report.unchanged += (total - differing.len()) as u64;
        compared.unchanged = report.unchanged;
        changed.extend(differing);
        let is_long = Size::of(&changed).is_too_much();
        if is_long && !options.in_slices {
            return Err(too_much_changed().in_job(job));
        }
        if is_long {
            let keep = ImportOptions { on_missing: OnMissing::Keep, ..options };
            changed.sort_unstable_by_key(|chunk| chunk.id);
            let rest = changed.split_off(Size::fitting(&changed));
            add(
                &mut report,
                one_step(shared, job, spec, take(&mut changed), keep, Ids::default(), Some(compared)).await?,
            );
            changed = rest;
        }
        if gather.ended {
            break;
        }
        slice = gather.slice(&mut stream).await.map_err(|e| e.in_job(job))?;
    }
    changed.sort_unstable_by_key(|chunk| chunk.id);
    add(
        &mut report,
        one_step(shared, job, spec, changed, options, take(&mut gather.seen), Some(compared)).await?,
    );
    Ok(report)
}

fn too_much_changed() -> Error {
    let text = format!(
        "more than {} chunks, {} MiB of payloads or {} dependencies would change in one step; ask for an import in slices, which are restartable but not one step, or delete the job first: an import into an id that has no job is one step, however large",
        Size::MOST.rows,
        Size::MOST.bytes >> 20,
        Size::MOST.dependencies
    );
    Error::new(ErrorKind::TooLarge, text)
}

fn add(total: &mut ImportReport, part: ImportReport) {
    total.added += part.added;
    total.updated += part.updated;
    total.unchanged += part.unchanged;
    total.kept += part.kept;
    total.reset += part.reset;
    total.cancelled += part.cancelled;
    total.deleted += part.deleted;
}

pub(super) fn unexpected(reply: &Reply) -> Error {
    Error::new(
        ErrorKind::Internal,
        format!("the engine gave another kind of answer than was asked for: {reply:?}"),
    )
}
