//! The calls as they cross, and what each is in the store's own words.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;

use magnetar::{
    Change, ChunkUpdate, Claim, ClaimRequest, Completion, ErrorKind, GraphFormat, ImportOptions, JobInfo,
    JobSpec, JobState, JobStatus, JobStore as _, Json, Manifest, OnConflict, OnMissing, RedbStore,
    ResetReach, Selection, limits,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::answer::{Answer, Failure, Rows, json};
use crate::row;

/// What a call may say. One form for all of them, because the code that reads a form is large; what a call needs and
/// does not get is an error that names it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a field of some call")]
pub(crate) struct Fields<'a> {
    job: Option<i64>,
    chunk: Option<u64>,
    /// Job, chunk, fence.
    claim: Option<(i64, u64, u64)>,
    checksum: Option<String>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    error: Option<String>,
    count: Option<usize>,
    lease_ms: Option<u64>,
    status: Option<JobStatus>,
    detail: Option<String>,
    permanent: bool,
    delay_ms: Option<u64>,
    chunks: Option<Vec<u64>>,
    through: bool,
    after: Option<u64>,
    since: Option<u64>,
    limit: Option<usize>,
    format: Option<String>,
    #[serde(borrow)]
    pub(crate) text: Option<Cow<'a, str>>,
    /// A manifest that is part of the call: nothing of it is copied.
    #[serde(borrow)]
    manifest: Option<&'a RawValue>,
    pub(crate) spec: Option<JobSpec>,
    on_conflict: Option<String>,
    on_missing: Option<String>,
    in_slices: bool,
    pub(crate) import: Option<u64>,
    pub(crate) last: bool,
    /// The updates of a batch, each a call by itself.
    #[serde(borrow)]
    updates: Vec<(String, Fields<'a>)>,
}

/// What a call needs.
fn need<T>(value: Option<T>, name: &str) -> Result<T, Failure> {
    value.ok_or_else(|| Failure::input(&format!("{name} is missing")))
}

fn one_of<T: Copy>(given: Option<&str>, name: &str, choices: &[(&str, T)]) -> Result<T, Failure> {
    let chosen = given.map_or(choices.first(), |given| choices.iter().find(|(choice, _)| *choice == given));
    chosen.map(|&(_, chosen)| chosen).ok_or_else(|| {
        let choices: Vec<&str> = choices.iter().map(|&(choice, _)| choice).collect();
        let given = given.unwrap_or_default();
        Failure::input(&format!("{name} is {given:?}: use one of {}", choices.join(", ")))
    })
}

impl Fields<'_> {
    pub(crate) fn job(&self) -> Result<i64, Failure> {
        need(self.job, "job")
    }

    fn chunk(&self) -> Result<u64, Failure> {
        need(self.chunk, "chunk")
    }

    fn claim(&self) -> Result<Claim, Failure> {
        need(self.claim, "claim").map(|(job_id, chunk, fence)| Claim { job_id, chunk, fence })
    }

    fn status(&self) -> Result<JobStatus, Failure> {
        need(self.status, "status")
    }

    fn limit(&self) -> usize {
        self.limit.unwrap_or(limits::PAGE_ROWS_MAX)
    }

    fn request(&self) -> ClaimRequest {
        let mut request = ClaimRequest::new();
        request.job_id = self.job;
        request.count = self.count.unwrap_or(request.count);
        request.lease_ms = self.lease_ms;
        request
    }

    fn completion(&mut self) -> Result<Completion, Failure> {
        let mut completion = Completion::new();
        completion.checksum = self.checksum.take();
        completion.output = self.output.map(|output| Json::from_text(output.get())).transpose()?;
        Ok(completion)
    }

    fn selection(&mut self) -> Selection {
        self.chunks.take().map_or(Selection::All, Selection::Chunks)
    }

    pub(crate) fn import_options(&self) -> Result<ImportOptions, Failure> {
        let mut options = ImportOptions::new();
        let conflict =
            [("refuse", OnConflict::Refuse), ("keep", OnConflict::Keep), ("reset", OnConflict::Reset)];
        let missing =
            [("keep", OnMissing::Keep), ("cancel", OnMissing::Cancel), ("delete", OnMissing::Delete)];
        options.on_conflict = one_of(self.on_conflict.as_deref(), "onConflict", &conflict)?;
        options.on_missing = one_of(self.on_missing.as_deref(), "onMissing", &missing)?;
        options.in_slices = self.in_slices;
        Ok(options)
    }

    fn update(mut self, name: &str) -> Result<ChunkUpdate, Failure> {
        Ok(match name {
            "complete" => ChunkUpdate::Complete(self.claim()?, self.completion()?),
            "fail" => {
                let (claim, error) = (self.claim()?, self.error.take().unwrap_or_default());
                match self.delay_ms {
                    _ if self.permanent => ChunkUpdate::FailPermanently(claim, error),
                    Some(delay_ms) => ChunkUpdate::FailWithDelay(claim, error, delay_ms),
                    None => ChunkUpdate::Fail(claim, error),
                }
            }
            "release" => match self.delay_ms {
                Some(delay_ms) => ChunkUpdate::ReleaseWithDelay(self.claim()?, delay_ms),
                None => ChunkUpdate::Release(self.claim()?),
            },
            "heartbeat" => ChunkUpdate::Heartbeat(self.claim()?),
            "markStatus" => {
                ChunkUpdate::Mark { chunk: self.chunk()?, status: self.status()?, detail: self.detail.take() }
            }
            _ => return Err(Failure::input(&format!("{name} is no update"))),
        })
    }
}

/// A job as it crosses.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Info<'a> {
    job_id: i64,
    spec: &'a JobSpec,
    stats: [u64; 9],
    created_at_ms: u64,
    revision: u64,
}

impl<'a> From<&'a JobInfo> for Info<'a> {
    fn from(info: &'a JobInfo) -> Self {
        Info {
            job_id: info.job_id,
            spec: &info.spec,
            stats: row::stats(&info.stats),
            created_at_ms: info.created_at_ms,
            revision: info.revision,
        }
    }
}

/// An entry of the change feed: its kind, and what `feed.ts` makes an object of.
fn told(change: &Change) -> Box<RawValue> {
    match change {
        Change::Chunk { state, depends_on, revision, .. } => {
            let mut text = Vec::new();
            row::write(state, &mut text);
            json(&("chunk", serde_json::from_slice::<&RawValue>(&text).ok(), depends_on, revision))
        }
        Change::ChunkDeleted { job_id, chunk, revision, .. } => {
            json(&("chunkDeleted", job_id, chunk, revision))
        }
        Change::Job { job, revision, .. } => json(&("job", Info::from(&**job), revision)),
        Change::JobDeleted { job_id, revision, .. } => json(&("jobDeleted", job_id, revision)),
        _ => json(&("other",)),
    }
}

/// A call that was begun.
pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Result<Answer, Failure>> + 'a>>;

/// Begins a call on behalf of a client. The names are those of the class `JobStore` in TypeScript.
///
/// What a worker's loop calls is by itself, and small: the future of all others has room for the largest of them.
pub(crate) fn begin<'a>(
    store: RedbStore,
    name: &'a str,
    mut fields: Fields<'a>,
) -> Result<Running<'a>, Failure> {
    Ok(match name {
        "claim" => {
            let request = fields.request();
            Box::pin(async move { Ok(Answer::Claims(store.claim(&request).await?)) })
        }
        "complete" => {
            let (claim, result) = (fields.claim()?, fields.completion()?);
            Box::pin(async move { Ok(Answer::Outcome(store.complete(&claim, result).await?)) })
        }
        "completeAndClaim" => {
            let (claim, result, request) = (fields.claim()?, fields.completion()?, fields.request());
            Box::pin(
                async move { Ok(Answer::Claims(store.complete_and_claim(&claim, result, &request).await?)) },
            )
        }
        name => Box::pin(run(store, name, fields)),
    })
}

async fn run(store: RedbStore, name: &str, mut fields: Fields<'_>) -> Result<Answer, Failure> {
    Ok(match name {
        "import" => import(&store, fields).await?,
        "newJob" => Answer::of(&store.new_job(&fields.spec.take().unwrap_or_default()).await?),
        "deleteJob" => Answer::Outcome(store.delete_job(fields.job()?).await?),
        "addDependency" => {
            let on = need(fields.chunks.take(), "chunks")?;
            Answer::Outcome(store.add_dependency(fields.job()?, fields.chunk()?, on).await?)
        }
        "fail" => {
            let (claim, error) = (fields.claim()?, fields.error.as_deref().unwrap_or_default());
            Answer::Outcome(match fields.delay_ms {
                _ if fields.permanent => store.fail_permanently(&claim, error).await?,
                Some(delay_ms) => store.fail_with_delay(&claim, error, delay_ms).await?,
                None => store.fail(&claim, error).await?,
            })
        }
        "release" => {
            let claim = fields.claim()?;
            Answer::Outcome(match fields.delay_ms {
                Some(delay_ms) => store.release_with_delay(&claim, delay_ms).await?,
                None => store.release(&claim).await?,
            })
        }
        "heartbeat" => Answer::Outcome(store.heartbeat(&fields.claim()?).await?),
        "applyBatchUpdates" => {
            let job = fields.job()?;
            let updates = fields.updates.into_iter().map(|(name, fields)| fields.update(&name));
            let answers = store.apply_batch_updates(job, updates.collect::<Result<_, _>>()?).await?;
            let told = answers.into_iter().map(|answer| match answer {
                Ok(outcome) => json(&outcome),
                Err(error) => json(&Failure::from(error)),
            });
            Answer::of(&told.collect::<Vec<_>>())
        }
        "markStatus" => {
            let detail = fields.detail.take();
            Answer::Outcome(
                store.mark_status(fields.job()?, fields.chunk()?, fields.status()?, detail).await?,
            )
        }
        "retryFailed" => Answer::of(&store.retry_failed(fields.job()?, fields.selection()).await?),
        "reset" => {
            let reach = if fields.through { ResetReach::Through } else { ResetReach::Direct };
            Answer::of(&store.reset(fields.job()?, fields.selection(), reach).await?)
        }
        "cancel" => Answer::of(&store.cancel(fields.job()?, fields.selection()).await?),
        "resumePending" => {
            // Bounded as every list is.
            store.reap().await?;
            fields.status = Some(JobStatus::Pending);
            look(&store, "getByStatus", &fields).await?
        }
        "releaseAll" => Answer::of(&store.release_all().await?),
        "verify" => {
            store.verify().await?;
            Answer::of(&())
        }
        name => look(&store, name, &fields).await?,
    })
}

/// The calls that change nothing.
async fn look(store: &RedbStore, name: &str, fields: &Fields<'_>) -> Result<Answer, Failure> {
    Ok(match name {
        "getChunk" => Answer::Claims(Vec::from_iter(store.get_chunk(fields.job()?, fields.chunk()?).await?)),
        "getByStatus" => {
            fields.status()?;
            let rows = list(store, fields, limits::LIST_ROWS_MAX, LIST_BYTES_MAX).await?;
            if rows.has_more {
                let (count, mib) = (limits::LIST_ROWS_MAX, LIST_BYTES_MAX >> 20);
                let why =
                    format!("the list has more than {count} chunks or {mib} MiB: use chunks or pageByStatus");
                return Err(Failure::new(ErrorKind::TooLarge, "never", why));
            }
            Answer::Rows(rows)
        }
        "page" => Answer::Rows(list(store, fields, fields.limit(), PAGE_BYTES).await?),
        "getStats" => Answer::of(&row::stats(&store.get_stats(fields.job()?).await?)),
        "getJob" => Answer::of(&Info::from(&store.get_job(fields.job()?).await?)),
        "listJobs" => {
            let after = fields.after.map(i64::try_from).transpose().map_err(|e| Failure::input(&e))?;
            Answer::of(
                &store.list_jobs(after, fields.limit()).await?.iter().map(Info::from).collect::<Vec<_>>(),
            )
        }
        "getDependencies" => Answer::of(&store.get_dependencies(fields.job()?, fields.chunk()?).await?),
        "getDependents" => Answer::of(&store.get_dependents(fields.job()?, fields.chunk()?).await?),
        "topoSortReady" => Answer::of(&store.topo_sort_ready(fields.job()?).await?),
        "topoOrder" => Answer::of(&store.topo_order(fields.job()?).await?),
        "graph" => {
            let formats = [("mermaid", GraphFormat::Mermaid), ("dot", GraphFormat::Dot)];
            let format = one_of(fields.format.as_deref(), "format", &formats)?;
            Answer::of(&store.graph(fields.job()?, format).await?)
        }
        "changes" => {
            let page = store.changes(fields.since.unwrap_or_default(), fields.limit()).await?;
            let changes = page.changes.iter().map(told).collect::<Vec<_>>();
            Answer::of(&(changes, page.next, page.more))
        }
        name => return Err(Failure::input(&format!("there is no call {name:?}"))),
    })
}

/// A page ends early once it has so many bytes.
const PAGE_BYTES: usize = 16 << 20;
/// A list that is to be whole has at most so many.
const LIST_BYTES_MAX: usize = 128 << 20;

async fn list(store: &RedbStore, fields: &Fields<'_>, limit: usize, bytes: usize) -> Result<Rows, Failure> {
    let add = |rows: &mut Rows, chunk: JobState| rows.add(&chunk);
    let (job, start) = (fields.job()?, Rows::of_at_most(bytes));
    let (mut rows, has_more) =
        store.fold_by_status(job, fields.status, fields.after, limit, start, add).await?;
    rows.has_more = has_more;
    Ok(rows)
}

async fn import(store: &RedbStore, mut fields: Fields<'_>) -> Result<Answer, Failure> {
    let (job, options) = (fields.job()?, fields.import_options()?);
    let text = match fields.manifest {
        Some(manifest) => manifest.get().into(),
        None => need(fields.text.take(), "text")?,
    };
    let manifest = match fields.format.as_deref() {
        Some("json") => Manifest::from_json(&text)?,
        Some("toml") => Manifest::from_toml(&text)?,
        Some("csv") => {
            let chunks = magnetar::manifest::csv(text.as_bytes())?;
            let spec = fields.spec.take().unwrap_or_default();
            return Ok(Answer::of(&store.import(job, &spec, magnetar::chunks(chunks), &options).await?));
        }
        other => {
            let given = other.unwrap_or_default();
            return Err(Failure::input(&format!("format is {given:?}: use one of toml, json, jsonl, csv")));
        }
    };
    let chunks = magnetar::chunks(manifest.chunks.into_iter().map(Ok));
    Ok(Answer::of(&store.import(job, &manifest.job, chunks, &options).await?))
}
