//! The store behind the trait: checks arguments, hands operations to the commit queue and reads to a snapshot.

use std::io::BufRead;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures_channel::oneshot;
use tracing::instrument;

use super::importing::{self, unexpected};
use super::restoring;
use super::{ChunkStream, JobStore, Persistence};
use crate::backends::contract::{Backend, Key, Load, PageNeed, Reader};
use crate::commit::{
    Core, DRIVER, Driving, Readers, Turn, Turns, Watch, closed, is_left_at_closing, look, may_block, offload,
};
use crate::engine::{self, Bulk, Consumer, Engine, Host, Imports, Kind, Op, Reply};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::machine;
use crate::manifest::Manifest;
use crate::model::{
    Changes, ChunkRecords, ChunkUpdate, Claim, ClaimRequest, Completion, Failure, FeedConsumer, GraphFormat,
    ImportOptions, ImportReport, JobInfo, JobSpec, JobState, JobStats, JobStatus, Outcome, OwnerId,
    ResetReach, Restored, Selection, StoreInfo, check_chunk_id, check_delay_ms, check_job_id, check_lease_ms,
    check_size,
};
use crate::owners::Liveness;
use crate::standing::id_text;

/// Names a storage engine in a [`Store`]'s type: [`Redb`] or [`Sqlite`]. There are no others.
pub trait Backing: sealed::Sealed + std::fmt::Debug + Send + Sync + 'static {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Redb {}
    impl Sealed for super::Sqlite {}
}

/// The redb engine: pure Rust, in memory, in a file, or on storage that the host brings.
#[derive(Debug)]
pub struct Redb;

/// The SQLite engine: a file that any number of processes share.
#[derive(Debug)]
pub struct Sqlite;

impl Backing for Redb {}
impl Backing for Sqlite {}

/// An open store. Cheap to clone: clones share it. The file is released when the last one is dropped.
///
/// See [`JobStore`] for what it does; [`crate::open`] opens one by its path's ending.
#[derive(Debug)]
pub struct Store<B: Backing> {
    shared: Arc<Shared>,
    caller: Caller,
    backing: PhantomData<B>,
}

/// An open store whose engine does not show in its type.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) store: Arc<dyn JobStore>,
}

impl<B: Backing> From<Store<B>> for Handle {
    fn from(store: Store<B>) -> Self {
        Handle { shared: Arc::clone(&store.shared), store: Arc::new(store) }
    }
}

impl<B: Backing> Clone for Store<B> {
    fn clone(&self) -> Self {
        Store { shared: Arc::clone(&self.shared), caller: self.caller, backing: PhantomData }
    }
}

/// Who calls through a handle.
#[derive(Debug, Clone, Copy)]
struct Caller {
    owner: OwnerId,
    /// Tells the caller's calls apart, so that one that is sent again finds what it did the first time; 0 for none.
    seq: u64,
}

/// What all clones of a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) core: Arc<Core>,
    /// Ends the store's thread when the last handle is gone.
    _driving: Driving,
    reader: SharedReader,
    /// For snapshots that take too long for the caller's own thread.
    readers: Option<Readers>,
    /// Who checks all that is stored: redb's own check needs that nobody reads.
    verifying: Turns,
    liveness: Arc<dyn Liveness>,
    pub(super) imports: Imports,
    persistence: Persistence,
}

#[derive(Clone)]
struct SharedReader(Arc<dyn Reader>);

impl std::fmt::Debug for SharedReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

impl Shared {
    /// Answers a question from a snapshot, beside the commits.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn Load) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if self.core.is_closed() {
            return Err(closed());
        }
        let reader = self.reader.clone();
        let answer = move || question(&mut *reader.0.snapshot()?);
        let Some(readers) = self.readers.as_ref().filter(|_| !may_block()) else { return answer() };
        let (sender, receiver) = oneshot::channel();
        // A caller that has gone does not need the answer, and is in nobody's way. One whose question panics is the one
        // to hear of that.
        readers.run(Box::new(move || {
            if !sender.is_canceled() {
                drop(sender.send(catch_unwind(AssertUnwindSafe(answer))));
            }
        }))?;
        match receiver.await {
            Ok(answer) => answer.unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => Err(closed()),
        }
    }

    /// Returns once nobody else verifies.
    pub(crate) async fn turn_to_verify(&self) -> Turn {
        self.verifying.next().await
    }

    /// Checks what a snapshot says, beside the commits. The file itself has been checked.
    pub(crate) async fn verify(&self, turn: Turn) -> Result<()> {
        let reader = self.reader.clone();
        let work = move || {
            let _turn = turn;
            let verified = catch_unwind(AssertUnwindSafe(|| reader.0.verify()));
            verified.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Internal, "the verifying panicked, over a damaged file perhaps"))
            })
        };
        offload(work).await
    }

    /// Whether other processes may write to it too.
    #[allow(dead_code, reason = "asked where there are other processes")]
    pub(crate) fn is_shared(&self) -> bool {
        self.reader.0.is_shared()
    }

    /// Tells of changes, wherever they are made.
    pub(crate) fn watch(&self) -> Watch {
        let watch = Watch::new(&self.core.latest);
        if self.reader.0.is_shared() && !self.core.is_closed() {
            let reader = self.reader.clone();
            look(&self.core.latest, move || Ok(engine::meta(&mut *reader.0.snapshot()?)?.revision));
        }
        watch
    }

    async fn consumer(&self, name: &str, what: Consumer) -> Result<u64> {
        engine::check_consumer_name(name)?;
        self.count(Op::Consumer { name: name.to_owned(), what }).await
    }

    pub(crate) async fn submit(&self, op: Op) -> Result<Reply> {
        self.core.submit(op).await
    }

    async fn fail(&self, claim: &Claim, error: &str, failure: Failure) -> Result<Outcome> {
        check_claim(claim)?;
        if let Failure::RetryableIn(delay_ms) = failure {
            check_delay(claim, delay_ms)?;
        }
        self.outcome(Op::Fail { claim: *claim, error: cut(error).to_owned(), failure }).await
    }

    async fn release(&self, claim: &Claim, delay_ms: u64) -> Result<Outcome> {
        check_claim(claim)?;
        check_delay(claim, delay_ms)?;
        self.outcome(Op::Release { claim: *claim, delay_ms }).await
    }

    pub(crate) async fn outcome(&self, op: Op) -> Result<Outcome> {
        match self.submit(op).await? {
            Reply::Outcome(outcome) => Ok(outcome),
            other => Err(unexpected(&other)),
        }
    }

    pub(crate) async fn count(&self, op: Op) -> Result<u64> {
        match self.submit(op).await? {
            Reply::Count(count) => Ok(count),
            other => Err(unexpected(&other)),
        }
    }

    async fn claims(&self, caller: Caller, request: &ClaimRequest) -> Result<Vec<JobState>> {
        check_request(request)?;
        let Caller { owner, seq } = caller;
        match self.submit(Op::Claim { owner, seq, request: request.clone() }).await? {
            Reply::Claims(claims) => Ok(claims),
            other => Err(unexpected(&other)),
        }
    }

    async fn bulk(&self, job: i64, kind: Kind, chunks: Selection) -> Result<u64> {
        check_job_id(job)?;
        engine::check_selection(&chunks)?;
        self.count(Op::Bulk(Bulk::new(job, kind, chunks))).await
    }
}

impl<B: Backing> Store<B> {
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Starts a store on an open backend. What a crash left half-done is dealt with before the first call.
    pub(crate) fn start(backend: Box<dyn Backend>, host: Host, persistence: Persistence) -> Result<Self> {
        let reader = backend.reader();
        let mut engine = Engine::new(backend, host.clone());
        engine.recover()?;
        Store::assemble(reader, engine, host, persistence)
    }

    /// Puts a store together from an engine that is ready.
    pub(super) fn assemble(
        reader: Arc<dyn Reader>,
        engine: Engine,
        host: Host,
        persistence: Persistence,
    ) -> Result<Self> {
        let core = Core::new(engine, DRIVER);
        // What is there is no news to whoever watches.
        core.latest.advance(engine::meta(&mut *reader.snapshot()?)?.revision);
        let readers = if reader.is_inline() { None } else { Some(Readers::start()?) };
        let shared = Shared {
            _driving: Driving::start(&core)?,
            core,
            reader: SharedReader(reader),
            readers,
            verifying: Turns::default(),
            liveness: host.liveness,
            imports: host.imports,
            persistence,
        };
        let caller = Caller { owner: host.owner, seq: 0 };
        Ok(Store { shared: Arc::new(shared), caller, backing: PhantomData })
    }

    /// A handle for the calls of another client, which this one passes on: what it claims is that client's.
    ///
    /// `seq` tells the client's calls apart: a claim or a new job that is asked for again under the same one, because
    /// its answer was lost, is answered with what the first asking came to. 1 to [`limits::ID_MAX`] and never the same
    /// for two calls; 0 where nothing is ever asked for again.
    ///
    /// Whether the client lives is for [`crate::OpenOptions::liveness`] to know: it is not announced there. The default one
    /// of a redb file takes whoever did not open it for dead, and gives back what a client holds at the next look: a
    /// program that speaks for others says who of them lives.
    /// Closing any handle closes the store for all of them.
    ///
    /// ```
    /// # #[cfg(feature = "redb")]
    /// # magnetar::block_on(async {
    /// use magnetar::{JobStore, NewChunk, OwnerId, RedbStore};
    ///
    /// let store = RedbStore::in_memory()?;
    /// let chunks = (0..3).map(|id| Ok(NewChunk::new(id)));
    /// store.import(7, &Default::default(), magnetar::chunks(chunks), &Default::default()).await?;
    ///
    /// let tab = OwnerId::from_bytes([9; 16]);
    /// let claimed = store.on_behalf_of(tab, 1).claim_pending(7).await?;
    /// assert_eq!(store.on_behalf_of(tab, 1).claim_pending(7).await?, claimed);
    /// # Ok::<(), magnetar::Error>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn on_behalf_of(&self, client: OwnerId, seq: u64) -> Self {
        Store { caller: Caller { owner: client, seq: seq.min(limits::ID_MAX) }, ..self.clone() }
    }

    /// Which store this is: made at random with it, and shared only by copies of the file. Whoever opens a file again
    /// can tell from it whether another one has come in its place.
    ///
    /// ```
    /// # #[cfg(feature = "redb")]
    /// # magnetar::block_on(async {
    /// use magnetar::RedbStore;
    ///
    /// let store = RedbStore::in_memory()?;
    /// assert_eq!(store.id().await?, store.clone().id().await?);
    /// assert_ne!(store.id().await?, RedbStore::in_memory()?.id().await?);
    /// # Ok::<(), magnetar::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn id(&self) -> Result<String> {
        Ok(id_text(self.shared.read(engine::meta).await?.store_id))
    }

    /// Goes through the chunks that [`JobStore::page_by_status`] lists, up to [`limits::LIST_ROWS_MAX`], from one snapshot
    /// and for as long as `fold` says that it wants more. Gives what they were folded into: of a long list only that is in
    /// memory; and whether there are more behind them.
    ///
    /// Errors: those of `page_by_status`, and what was folded is gone then.
    ///
    /// ```
    /// # #[cfg(feature = "redb")]
    /// # magnetar::block_on(async {
    /// use magnetar::{JobStatus, JobStore, NewChunk, RedbStore};
    ///
    /// let store = RedbStore::in_memory()?;
    /// let chunks = (1..=3).map(|id| Ok(NewChunk::new(id)));
    /// store.import(7, &Default::default(), magnetar::chunks(chunks), &Default::default()).await?;
    ///
    /// let add = |sum: &mut u64, chunk: magnetar::JobState| {
    ///     *sum += chunk.chunk;
    ///     *sum < 3
    /// };
    /// assert_eq!(store.fold_by_status(7, Some(JobStatus::Pending), None, 100, 0, add).await?, (1 + 2, true));
    /// assert_eq!(store.fold_by_status(7, None, Some(2), 100, 0, add).await?, (3, false));
    /// # Ok::<(), magnetar::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn fold_by_status<T: Send + 'static>(
        &self,
        job_id: i64,
        status: Option<JobStatus>,
        after: Option<u64>,
        limit: usize,
        start: T,
        mut fold: impl FnMut(&mut T, JobState) -> bool + Send + 'static,
    ) -> Result<(T, bool)> {
        let need = page_need(job_id, status, after, limit, limits::LIST_ROWS_MAX)?;
        self.shared
            .read(move |load| {
                let mut folded = start;
                let has_more = engine::each_of_page(load, need, &mut |state| fold(&mut folded, state))?;
                Ok((folded, has_more))
            })
            .await
    }

    /// Puts back what owners hold that are proven dead by now, and what lapsed. It happens by itself where a claim finds
    /// too little, at most once a second; a host that is told of a death need not wait for that.
    pub async fn reap(&self) -> Result<()> {
        self.shared.count(Op::Reap { probe: true }).await.map(|_| ())
    }
}

fn check_request(request: &ClaimRequest) -> Result<()> {
    if let Some(job) = request.job_id {
        check_job_id(job)?;
    }
    if let Some(lease_ms) = request.lease_ms {
        check_lease_ms(lease_ms)?;
    }
    if (1..=limits::CLAIM_COUNT_MAX).contains(&request.count) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "cannot claim {} chunks at once: use 1 to {}",
        request.count,
        limits::CLAIM_COUNT_MAX
    )))
}

fn check_claim(claim: &Claim) -> Result<()> {
    check_job_id(claim.job_id)?;
    check_chunk_id(claim.chunk)?;
    if (1..=limits::ID_MAX).contains(&claim.fence) {
        return Ok(());
    }
    let text = format!("{} is not a fence: use the one that the claim came with", claim.fence);
    Err(Error::invalid(text).at(claim.job_id, claim.chunk))
}

fn check_delay(claim: &Claim, delay_ms: u64) -> Result<()> {
    check_delay_ms(delay_ms).map(drop).map_err(|e| e.at(claim.job_id, claim.chunk))
}

fn check_completion(claim: &Claim, result: &Completion) -> Result<()> {
    check_claim(claim)?;
    result.check().map_err(|e| e.at(claim.job_id, claim.chunk))
}

/// An error text cut to what is kept of it.
fn cut(error: &str) -> &str {
    &error[..error.floor_char_boundary(limits::ERROR_BYTES_MAX)]
}

fn check_detail(job: i64, chunk: u64, status: JobStatus, detail: Option<String>) -> Result<Option<String>> {
    check_job_id(job)?;
    check_chunk_id(chunk)?;
    match detail {
        Some(checksum) if status == JobStatus::Done => {
            check_size("checksum", checksum.len(), limits::CHECKSUM_BYTES_MAX)
                .map_err(|e| e.at(job, chunk))?;
            Ok(Some(checksum))
        }
        Some(error) => Ok(Some(cut(&error).to_owned())),
        None => Ok(None),
    }
}

fn check_update(job: i64, update: ChunkUpdate) -> Result<ChunkUpdate> {
    let claim = match &update {
        ChunkUpdate::Complete(claim, result) => {
            check_completion(claim, result)?;
            Some(claim)
        }
        ChunkUpdate::FailWithDelay(claim, _, delay_ms) | ChunkUpdate::ReleaseWithDelay(claim, delay_ms) => {
            check_claim(claim)?;
            check_delay(claim, *delay_ms)?;
            Some(claim)
        }
        ChunkUpdate::Fail(claim, _)
        | ChunkUpdate::FailPermanently(claim, _)
        | ChunkUpdate::Release(claim)
        | ChunkUpdate::Heartbeat(claim) => {
            check_claim(claim)?;
            Some(claim)
        }
        ChunkUpdate::Mark { .. } => None,
    };
    if let Some(claim) = claim
        && claim.job_id != job
    {
        let text =
            format!("the claim is of job {}, the updates are of job {job}; send them apart", claim.job_id);
        return Err(Error::invalid(text).at(claim.job_id, claim.chunk));
    }
    Ok(match update {
        ChunkUpdate::Fail(claim, error) => ChunkUpdate::Fail(claim, cut(&error).to_owned()),
        ChunkUpdate::FailWithDelay(claim, error, delay_ms) => {
            ChunkUpdate::FailWithDelay(claim, cut(&error).to_owned(), delay_ms)
        }
        ChunkUpdate::FailPermanently(claim, error) => {
            ChunkUpdate::FailPermanently(claim, cut(&error).to_owned())
        }
        ChunkUpdate::Mark { chunk, status, detail } => {
            ChunkUpdate::Mark { chunk, status, detail: check_detail(job, chunk, status, detail)? }
        }
        other => other,
    })
}

/// A list that must be whole: one more than the limit is an error.
fn whole<T>(list: Vec<T>, job: i64, twin: &str) -> Result<Vec<T>> {
    if list.len() <= limits::LIST_ROWS_MAX {
        return Ok(list);
    }
    let text = format!("the list has more than {} entries; use {twin}", limits::LIST_ROWS_MAX);
    Err(Error::new(ErrorKind::TooLarge, text).in_job(job))
}

fn check_limit(limit: usize) -> Result<usize> {
    check_rows(limit, limits::PAGE_ROWS_MAX)
}

fn check_rows(limit: usize, max: usize) -> Result<usize> {
    if (1..=max).contains(&limit) {
        return Ok(limit);
    }
    Err(Error::invalid(format!("a page of {limit} entries is out of range: use 1 to {max}")))
}

/// A page's question, checked.
fn page_need(
    job_id: i64,
    status: Option<JobStatus>,
    after: Option<u64>,
    limit: usize,
    limit_max: usize,
) -> Result<PageNeed> {
    Ok(PageNeed {
        job: check_job_id(job_id)?,
        classes: status.map_or(&[][..], machine::listed_classes),
        after: after.map(check_chunk_id).transpose()?,
        limit: check_rows(limit, limit_max)?,
    })
}

#[async_trait]
impl<B: Backing> JobStore for Store<B> {
    #[instrument(level = "debug", skip(self, manifest), fields(chunks = manifest.chunks.len()))]
    async fn init_from_manifest(&self, job_id: i64, manifest: &Manifest) -> Result<ImportReport> {
        let chunks = manifest.chunks.iter().cloned().map(Ok);
        importing::import(&self.shared, job_id, &manifest.job, super::chunks(chunks), ImportOptions::new())
            .await
    }

    #[instrument(level = "debug", skip(self, spec, chunks))]
    async fn import(
        &self,
        job_id: i64,
        spec: &JobSpec,
        chunks: ChunkStream<'_>,
        options: &ImportOptions,
    ) -> Result<ImportReport> {
        importing::import(&self.shared, job_id, spec, chunks, *options).await
    }

    #[instrument(level = "debug", skip(self, export))]
    async fn restore(&self, export: &mut (dyn BufRead + Send)) -> Result<Restored> {
        restoring::restore(&self.shared, export).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn new_job(&self, spec: &JobSpec) -> Result<i64> {
        spec.check()?;
        let Caller { owner, seq } = self.caller;
        match self.shared.submit(Op::NewJob { owner, seq, spec: spec.clone() }).await? {
            Reply::Job(id) => Ok(id),
            other => Err(unexpected(&other)),
        }
    }

    #[instrument(level = "debug", skip(self))]
    async fn delete_job(&self, job_id: i64) -> Result<Outcome> {
        check_job_id(job_id)?;
        self.shared.outcome(Op::Bulk(Bulk::delete(job_id))).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn add_dependency(&self, job_id: i64, chunk: u64, depends_on: Vec<u64>) -> Result<Outcome> {
        check_job_id(job_id)?;
        check_chunk_id(chunk)?;
        for &on in &depends_on {
            check_chunk_id(on).map_err(|e| e.at(job_id, chunk))?;
        }
        self.shared.outcome(Op::AddDependencies { job: job_id, chunk, on: depends_on }).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn claim_pending(&self, job_id: i64) -> Result<Option<JobState>> {
        Ok(self.shared.claims(self.caller, &ClaimRequest::new().job(job_id)).await?.pop())
    }

    #[instrument(level = "debug", skip(self))]
    async fn claim_pending_batch(&self, job_id: i64, count: usize) -> Result<Vec<JobState>> {
        self.shared.claims(self.caller, &ClaimRequest::new().job(job_id).count(count)).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<JobState>> {
        self.shared.claims(self.caller, request).await
    }

    #[instrument(level = "debug", skip(self, result))]
    async fn complete(&self, claim: &Claim, result: Completion) -> Result<Outcome> {
        check_completion(claim, &result)?;
        self.shared.outcome(Op::Complete { claim: *claim, result }).await
    }

    #[instrument(level = "debug", skip(self, result))]
    async fn complete_and_claim(
        &self,
        claim: &Claim,
        result: Completion,
        next: &ClaimRequest,
    ) -> Result<Vec<JobState>> {
        check_completion(claim, &result)?;
        check_request(next)?;
        let Caller { owner, seq } = self.caller;
        let op = Op::CompleteAndClaim { claim: *claim, result, owner, seq, request: next.clone() };
        match self.shared.submit(op).await? {
            Reply::Claims(claims) => Ok(claims),
            other => Err(unexpected(&other)),
        }
    }

    #[instrument(level = "debug", skip(self))]
    async fn fail(&self, claim: &Claim, error: &str) -> Result<Outcome> {
        self.shared.fail(claim, error, Failure::Retryable).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn fail_with_delay(&self, claim: &Claim, error: &str, delay_ms: u64) -> Result<Outcome> {
        self.shared.fail(claim, error, Failure::RetryableIn(delay_ms)).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn fail_permanently(&self, claim: &Claim, error: &str) -> Result<Outcome> {
        self.shared.fail(claim, error, Failure::Permanent).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn release(&self, claim: &Claim) -> Result<Outcome> {
        self.shared.release(claim, 0).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn release_with_delay(&self, claim: &Claim, delay_ms: u64) -> Result<Outcome> {
        self.shared.release(claim, delay_ms).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn heartbeat(&self, claim: &Claim) -> Result<Outcome> {
        check_claim(claim)?;
        self.shared.outcome(Op::Heartbeat { claim: *claim }).await
    }

    #[instrument(level = "debug", skip(self, updates), fields(updates = updates.len()))]
    async fn apply_batch_updates(
        &self,
        job_id: i64,
        updates: Vec<ChunkUpdate>,
    ) -> Result<Vec<Result<Outcome>>> {
        check_job_id(job_id)?;
        if updates.len() > limits::BATCH_UPDATES_MAX {
            let text = format!(
                "{} updates at once, the limit is {}; send the rest apart",
                updates.len(),
                limits::BATCH_UPDATES_MAX
            );
            return Err(Error::new(ErrorKind::TooLarge, text).in_job(job_id));
        }
        let updates =
            updates.into_iter().map(|update| check_update(job_id, update)).collect::<Result<_>>()?;
        match self.shared.submit(Op::Updates { job: job_id, updates }).await? {
            Reply::Updates(answers) => Ok(answers),
            other => Err(unexpected(&other)),
        }
    }

    #[instrument(level = "debug", skip(self))]
    async fn mark_status(
        &self,
        job_id: i64,
        chunk: u64,
        status: JobStatus,
        detail: Option<String>,
    ) -> Result<Outcome> {
        let detail = check_detail(job_id, chunk, status, detail)?;
        self.shared.outcome(Op::Mark { job: job_id, chunk, status, detail }).await
    }

    async fn mark_failed(&self, job_id: i64, chunk: u64, error: String) -> Result<Outcome> {
        self.mark_status(job_id, chunk, JobStatus::Failed, Some(error)).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn retry_failed(&self, job_id: i64, chunks: Selection) -> Result<u64> {
        self.shared.bulk(job_id, Kind::Retry, chunks).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn reset(&self, job_id: i64, chunks: Selection, through: ResetReach) -> Result<u64> {
        self.shared.bulk(job_id, Kind::Reset(through), chunks).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn cancel(&self, job_id: i64, chunks: Selection) -> Result<u64> {
        self.shared.bulk(job_id, Kind::Cancel, chunks).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn resume_pending(&self, job_id: i64) -> Result<Vec<JobState>> {
        check_job_id(job_id)?;
        self.reap().await?;
        self.get_by_status(job_id, JobStatus::Pending).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn release_all(&self) -> Result<u64> {
        self.shared.count(Op::ReleaseAll { owner: self.caller.owner, released: 0 }).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn reopen(&self) -> Result<()> {
        self.shared.core.reopen().await
    }

    #[instrument(level = "debug", skip(self))]
    async fn verify(&self) -> Result<()> {
        let turn = self.shared.turn_to_verify().await;
        self.shared.core.check_file().await?;
        self.shared.verify(turn).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn close(&self) -> Result<()> {
        match self.release_all().await {
            Err(error) if !is_left_at_closing(&error) => return Err(error),
            _ => {}
        }
        // Once more when nobody claims any more.
        self.shared.core.close(self.caller.owner).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn get_chunk(&self, job_id: i64, chunk: u64) -> Result<Option<JobState>> {
        let key = Key { job: check_job_id(job_id)?, chunk: check_chunk_id(chunk)? };
        self.shared.read(move |load| engine::chunk(load, key)).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn get_by_status(&self, job_id: i64, status: JobStatus) -> Result<Vec<JobState>> {
        let job = check_job_id(job_id)?;
        let classes = machine::listed_classes(status);
        let need = PageNeed { job, classes, after: None, limit: limits::LIST_ROWS_MAX + 1 };
        let list = self.shared.read(move |load| engine::page(load, need)).await?;
        whole(list, job, "page_by_status, which lists a page at a time")
    }

    #[instrument(level = "debug", skip(self))]
    async fn page_by_status(
        &self,
        job_id: i64,
        status: Option<JobStatus>,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<JobState>> {
        let need = page_need(job_id, status, after, limit, limits::PAGE_ROWS_MAX)?;
        self.shared.read(move |load| engine::page(load, need)).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn page_records(
        &self,
        job_id: i64,
        status: Option<JobStatus>,
        after: Option<u64>,
        limit: usize,
    ) -> Result<ChunkRecords> {
        let need = page_need(job_id, status, after, limit, limits::PAGE_ROWS_MAX)?;
        self.shared.read(move |load| engine::records(load, need)).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn info(&self) -> Result<StoreInfo> {
        self.shared.read(engine::store_info).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn get_stats(&self, job_id: i64) -> Result<JobStats> {
        let job = check_job_id(job_id)?;
        self.shared.read(move |load| engine::stats(load, job)).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn get_job(&self, job_id: i64) -> Result<JobInfo> {
        let job = check_job_id(job_id)?;
        self.shared.read(move |load| engine::job_info(load, job)).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn list_jobs(&self, after: Option<i64>, limit: usize) -> Result<Vec<JobInfo>> {
        let limit = check_limit(limit)?;
        let after = after.map(check_job_id).transpose()?;
        self.shared.read(move |load| engine::jobs_page(load, after, limit)).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn get_dependencies(&self, job_id: i64, chunk: u64) -> Result<Vec<u64>> {
        let key = Key { job: check_job_id(job_id)?, chunk: check_chunk_id(chunk)? };
        self.shared.read(move |load| engine::dependencies(load, key)).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn get_dependents(&self, job_id: i64, chunk: u64) -> Result<Vec<u64>> {
        let key = Key { job: check_job_id(job_id)?, chunk: check_chunk_id(chunk)? };
        let list =
            self.shared.read(move |load| engine::dependents(load, key, limits::LIST_ROWS_MAX + 1)).await?;
        whole(list, key.job, "graph, which has all of them")
    }

    #[instrument(level = "debug", skip(self))]
    async fn topo_sort_ready(&self, job_id: i64) -> Result<Vec<u64>> {
        let job = check_job_id(job_id)?;
        let list = self.shared.read(move |load| engine::ready(load, job, limits::LIST_ROWS_MAX + 1)).await?;
        whole(list, job, "page_by_status with pending, and look at is_ready")
    }

    #[instrument(level = "debug", skip(self))]
    async fn topo_order(&self, job_id: i64) -> Result<Vec<u64>> {
        let job = check_job_id(job_id)?;
        self.shared.read(move |load| engine::topo_order(load, job)).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn graph(&self, job_id: i64, format: GraphFormat) -> Result<String> {
        let job = check_job_id(job_id)?;
        self.shared.read(move |load| engine::graph(load, job, format)).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn changes(&self, since: u64, limit: usize) -> Result<Changes> {
        let limit = check_limit(limit)?;
        if since > limits::ID_MAX {
            let text = format!("revision {since} is out of range: use 0 to {}", limits::ID_MAX);
            return Err(Error::invalid(text));
        }
        self.shared.read(move |load| engine::changes(load, since, limit)).await
    }

    fn watch(&self) -> Watch {
        self.shared.watch()
    }

    #[instrument(level = "debug", skip(self))]
    async fn register_consumer(&self, name: &str) -> Result<u64> {
        self.shared.consumer(name, Consumer::Register).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn advance_consumer(&self, name: &str, revision: u64) -> Result<u64> {
        self.shared.consumer(name, Consumer::Advance(revision)).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn unregister_consumer(&self, name: &str) -> Result<u64> {
        self.shared.consumer(name, Consumer::Unregister).await
    }

    #[instrument(level = "debug", skip(self))]
    async fn consumers(&self) -> Result<Vec<FeedConsumer>> {
        self.shared.read(engine::consumers).await
    }

    fn owner(&self) -> OwnerId {
        self.caller.owner
    }

    fn persistence(&self) -> Persistence {
        self.shared.persistence.clone()
    }

    fn recovers_at_once(&self) -> bool {
        self.shared.liveness.is_instant()
    }
}

/// Where a store on a file keeps its data.
pub(super) fn file(path: impl Into<PathBuf>) -> Persistence {
    Persistence::File(path.into())
}
