//! The calls as they cross, and what each is in the store's own words.

use std::borrow::Cow;
use std::collections::BTreeMap;

use magnetar::{
    Change, ChunkUpdate, Claim, ClaimRequest, Completion, GraphFormat, ImportOptions, ImportReport, JobInfo,
    JobSpec, JobStatus, JobStore as _, Json, Manifest, OnConflict, OnMissing, OwnerId, RedbStore, ResetReach,
    Result, Selection,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use crate::answer::{Answer, Failure};
use crate::row::{self, Row};

/// A call. Names and meanings are those of `magnetar::JobStore`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub(crate) enum Call<'a> {
    Import {
        job: i64,
        format: Format,
        #[serde(borrow)]
        text: Cow<'a, str>,
        #[serde(default)]
        options: Options,
    },
    /// Gives the number under which the pieces come.
    ImportBegin {
        job: i64,
        #[serde(default)]
        spec: JobSpec,
        #[serde(default)]
        options: Options,
    },
    /// Gives the report with the last piece, else null.
    ImportPiece {
        import: u32,
        #[serde(borrow)]
        text: Cow<'a, str>,
        last: bool,
    },
    ImportAbort {
        import: u32,
    },
    NewJob {
        #[serde(default)]
        spec: JobSpec,
    },
    DeleteJob {
        job: i64,
    },
    AddDependency {
        job: i64,
        chunk: u64,
        depends_on: Vec<u64>,
    },
    Claim(Request),
    Complete {
        claim: Fenced,
        checksum: Option<String>,
        #[serde(borrow)]
        output: Option<&'a RawValue>,
    },
    CompleteAndClaim {
        claim: Fenced,
        checksum: Option<String>,
        #[serde(borrow)]
        output: Option<&'a RawValue>,
        next: Request,
    },
    Fail {
        claim: Fenced,
        #[serde(borrow)]
        error: Cow<'a, str>,
    },
    Release {
        claim: Fenced,
    },
    Heartbeat {
        claim: Fenced,
    },
    Updates {
        job: i64,
        #[serde(borrow)]
        updates: Vec<Update<'a>>,
    },
    MarkStatus {
        job: i64,
        chunk: u64,
        status: JobStatus,
        detail: Option<String>,
    },
    RetryFailed {
        job: i64,
        chunks: Option<Vec<u64>>,
    },
    Reset {
        job: i64,
        chunks: Option<Vec<u64>>,
        through: bool,
    },
    Cancel {
        job: i64,
        chunks: Option<Vec<u64>>,
    },
    ResumePending {
        job: i64,
    },
    ReleaseAll {},
    Verify {},
    GetChunk {
        job: i64,
        chunk: u64,
    },
    GetByStatus {
        job: i64,
        status: JobStatus,
    },
    Page {
        job: i64,
        status: Option<JobStatus>,
        after: Option<u64>,
        limit: usize,
    },
    GetStats {
        job: i64,
    },
    GetJob {
        job: i64,
    },
    ListJobs {
        after: Option<i64>,
        limit: usize,
    },
    GetDependencies {
        job: i64,
        chunk: u64,
    },
    GetDependents {
        job: i64,
        chunk: u64,
    },
    TopoSortReady {
        job: i64,
    },
    TopoOrder {
        job: i64,
    },
    Graph {
        job: i64,
        format: Drawing,
    },
    Changes {
        since: u64,
        limit: usize,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Toml,
    Json,
    /// One chunk a line.
    JsonLines,
    Csv,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Drawing {
    Dot,
    Mermaid,
}

/// Job, chunk, fence.
#[derive(Deserialize, Clone, Copy)]
pub(crate) struct Fenced(i64, u64, u64);

impl From<Fenced> for Claim {
    fn from(Fenced(job_id, chunk, fence): Fenced) -> Self {
        Claim { job_id, chunk, fence }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Request {
    job: Option<i64>,
    count: Option<usize>,
    lease_ms: Option<u64>,
}

impl Request {
    fn request(&self) -> ClaimRequest {
        let mut request = ClaimRequest::new();
        request.job_id = self.job;
        request.count = self.count.unwrap_or(request.count);
        request.lease_ms = self.lease_ms;
        request
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Options {
    on_conflict: Conflict,
    on_missing: Missing,
    in_slices: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum Conflict {
    #[default]
    Refuse,
    Keep,
    Reset,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum Missing {
    #[default]
    Keep,
    Cancel,
    Delete,
}

impl Options {
    pub(crate) fn options(&self) -> ImportOptions {
        let mut options = ImportOptions::new()
            .on_conflict(match self.on_conflict {
                Conflict::Refuse => OnConflict::Refuse,
                Conflict::Keep => OnConflict::Keep,
                Conflict::Reset => OnConflict::Reset,
            })
            .on_missing(match self.on_missing {
                Missing::Keep => OnMissing::Keep,
                Missing::Cancel => OnMissing::Cancel,
                Missing::Delete => OnMissing::Delete,
            });
        options.in_slices = self.in_slices;
        options
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub(crate) enum Update<'a> {
    Complete {
        claim: Fenced,
        checksum: Option<String>,
        #[serde(borrow)]
        output: Option<&'a RawValue>,
    },
    Fail {
        claim: Fenced,
        #[serde(borrow)]
        error: Cow<'a, str>,
    },
    Release {
        claim: Fenced,
    },
    Heartbeat {
        claim: Fenced,
    },
    MarkStatus {
        chunk: u64,
        status: JobStatus,
        detail: Option<String>,
    },
}

impl Update<'_> {
    fn update(self) -> Result<ChunkUpdate> {
        Ok(match self {
            Update::Complete { claim, checksum, output } => {
                ChunkUpdate::Complete(claim.into(), completion(checksum, output)?)
            }
            Update::Fail { claim, error } => ChunkUpdate::Fail(claim.into(), error.into_owned()),
            Update::Release { claim } => ChunkUpdate::Release(claim.into()),
            Update::Heartbeat { claim } => ChunkUpdate::Heartbeat(claim.into()),
            Update::MarkStatus { chunk, status, detail } => ChunkUpdate::Mark { chunk, status, detail },
        })
    }
}

fn completion(checksum: Option<String>, output: Option<&RawValue>) -> Result<Completion> {
    let mut completion = Completion::new();
    completion.checksum = checksum;
    completion.output = output.map(|output| Json::from_text(output.get())).transpose()?;
    Ok(completion)
}

fn selection(chunks: Option<Vec<u64>>) -> Selection {
    chunks.map_or(Selection::All, Selection::Chunks)
}

fn raw(value: &impl Serialize) -> Answer {
    // Every key of ours is text, so that there is always a JSON form.
    Answer::Raw(serde_json::to_string(value).unwrap_or_else(|_| "null".into()))
}

pub(crate) fn report(report: &ImportReport) -> Answer {
    raw(report)
}

fn info(info: &JobInfo) -> serde_json::Value {
    json!({
        "jobId": info.job_id,
        "spec": info.spec,
        "stats": row::stats(&info.stats),
        "createdAtMs": info.created_at_ms,
        "revision": info.revision,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "kind")]
enum Told<'a> {
    Chunk { chunk: Row<'a>, depends_on: &'a [u64] },
    ChunkDeleted { job_id: i64, chunk: u64, revision: u64 },
    Job { job: serde_json::Value, revision: u64 },
    JobDeleted { job_id: i64, revision: u64 },
    Other,
}

impl<'a> From<&'a Change> for Told<'a> {
    fn from(change: &'a Change) -> Self {
        match change {
            Change::Chunk { state, depends_on } => Told::Chunk { chunk: Row(state), depends_on },
            Change::ChunkDeleted { job_id, chunk, revision } => {
                Told::ChunkDeleted { job_id: *job_id, chunk: *chunk, revision: *revision }
            }
            Change::Job { job, revision } => Told::Job { job: info(job), revision: *revision },
            Change::JobDeleted { job_id, revision } => {
                Told::JobDeleted { job_id: *job_id, revision: *revision }
            }
            _ => Told::Other,
        }
    }
}

impl Call<'_> {
    /// Carries the call out for a client; `seq` is its number there.
    pub(crate) async fn run(self, store: RedbStore, client: OwnerId, seq: u64) -> Result<Answer, Failure> {
        let store = store.on_behalf_of(client, seq);
        Ok(match self {
            Call::Import { job, format, text, options } => import(&store, job, &format, &text, &options).await?,
            // Of the store's own, which knows what is under way.
            Call::ImportBegin { .. } | Call::ImportPiece { .. } | Call::ImportAbort { .. } => Answer::of(()),
            Call::NewJob { spec } => Answer::of(store.new_job(&spec).await?),
            Call::DeleteJob { job } => raw(&store.delete_job(job).await?),
            Call::AddDependency { job, chunk, depends_on } => {
                raw(&store.add_dependency(job, chunk, depends_on).await?)
            }
            Call::Claim(request) => Answer::Rows(store.claim(&request.request()).await?),
            Call::Complete { claim, checksum, output } => {
                raw(&store.complete(&claim.into(), completion(checksum, output)?).await?)
            }
            Call::CompleteAndClaim { claim, checksum, output, next } => {
                let result = completion(checksum, output)?;
                Answer::Rows(store.complete_and_claim(&claim.into(), result, &next.request()).await?)
            }
            Call::Fail { claim, error } => raw(&store.fail(&claim.into(), &error).await?),
            Call::Release { claim } => raw(&store.release(&claim.into()).await?),
            Call::Heartbeat { claim } => raw(&store.heartbeat(&claim.into()).await?),
            Call::Updates { job, updates } => {
                let updates = updates.into_iter().map(Update::update).collect::<Result<_>>()?;
                let answers = store.apply_batch_updates(job, updates).await?;
                Answer::of(
                    answers
                        .into_iter()
                        .map(|answer| match answer {
                            Ok(outcome) => json!(outcome),
                            Err(error) => json!(Failure::from(error)),
                        })
                        .collect::<Vec<_>>(),
                )
            }
            Call::MarkStatus { job, chunk, status, detail } => {
                raw(&store.mark_status(job, chunk, status, detail).await?)
            }
            Call::RetryFailed { job, chunks } => Answer::of(store.retry_failed(job, selection(chunks)).await?),
            Call::Reset { job, chunks, through } => {
                let reach = if through { ResetReach::Through } else { ResetReach::Direct };
                Answer::of(store.reset(job, selection(chunks), reach).await?)
            }
            Call::Cancel { job, chunks } => Answer::of(store.cancel(job, selection(chunks)).await?),
            Call::ResumePending { job } => Answer::Rows(store.resume_pending(job).await?),
            Call::ReleaseAll {} => Answer::of(store.release_all().await?),
            Call::Verify {} => {
                store.verify().await?;
                Answer::of(())
            }
            Call::GetChunk { job, chunk } => {
                Answer::Rows(store.get_chunk(job, chunk).await?.into_iter().collect())
            }
            Call::GetByStatus { job, status } => Answer::Rows(store.get_by_status(job, status).await?),
            Call::Page { job, status, after, limit } => {
                Answer::Rows(store.page_by_status(job, status, after, limit).await?)
            }
            Call::GetStats { job } => raw(&row::stats(&store.get_stats(job).await?)),
            Call::GetJob { job } => Answer::of(info(&store.get_job(job).await?)),
            Call::ListJobs { after, limit } => {
                Answer::of(store.list_jobs(after, limit).await?.iter().map(info).collect::<Vec<_>>())
            }
            Call::GetDependencies { job, chunk } => raw(&store.get_dependencies(job, chunk).await?),
            Call::GetDependents { job, chunk } => raw(&store.get_dependents(job, chunk).await?),
            Call::TopoSortReady { job } => raw(&store.topo_sort_ready(job).await?),
            Call::TopoOrder { job } => raw(&store.topo_order(job).await?),
            Call::Graph { job, format } => {
                let format = match format {
                    Drawing::Dot => GraphFormat::Dot,
                    Drawing::Mermaid => GraphFormat::Mermaid,
                };
                raw(&store.graph(job, format).await?)
            }
            Call::Changes { since, limit } => {
                let page = store.changes(since, limit).await?;
                let changes: Vec<Told<'_>> = page.changes.iter().map(Told::from).collect();
                let parts: BTreeMap<&str, Box<RawValue>> = [
                    ("changes", serde_json::value::to_raw_value(&changes)),
                    ("next", serde_json::value::to_raw_value(&page.next)),
                    ("more", serde_json::value::to_raw_value(&page.more)),
                ]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value.ok()?)))
                .collect();
                raw(&parts)
            }
        })
    }
}

async fn import(
    store: &RedbStore,
    job: i64,
    format: &Format,
    text: &str,
    options: &Options,
) -> Result<Answer> {
    let options = options.options();
    let imported = match format {
        Format::Toml | Format::Json => {
            let manifest = match format {
                Format::Toml => Manifest::from_toml(text)?,
                _ => Manifest::from_json(text)?,
            };
            let chunks = magnetar::chunks(manifest.chunks.into_iter().map(Ok));
            store.import(job, &manifest.job, chunks, &options).await?
        }
        Format::JsonLines => {
            let (spec, chunks) = magnetar::manifest::json_lines(text.as_bytes())?;
            store.import(job, &spec, magnetar::chunks(chunks), &options).await?
        }
        Format::Csv => {
            let chunks = magnetar::manifest::csv(text.as_bytes())?;
            store.import(job, &JobSpec::new(), magnetar::chunks(chunks), &options).await?
        }
    };
    Ok(report(&imported))
}
