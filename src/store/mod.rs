//! The public face: [`JobStore`], what implements it, and how to open one.

mod handle;
mod importing;
mod open;
mod restoring;
mod stream;

use std::fmt::Debug;
use std::io::BufRead;

use async_trait::async_trait;

pub use handle::{Backing, Redb, Sqlite, Store};
pub(crate) use handle::{Handle, Shared};
#[cfg(all(feature = "sqlite", not(target_family = "wasm")))]
pub use open::SqliteStore;
pub(crate) use open::open_handle;
pub use open::{OpenOptions, open, open_with};
#[cfg(any(feature = "redb", target_family = "wasm"))]
pub use open::{RedbStore, Storage};
pub use stream::{ChunkStream, chunks};

use crate::commit::Watch;
use crate::error::Result;
use crate::manifest::Manifest;
use crate::model::{
    Changes, ChunkRecords, ChunkUpdate, Claim, ClaimRequest, Completion, FeedConsumer, GraphFormat,
    ImportOptions, ImportReport, JobInfo, JobSpec, JobState, JobStats, JobStatus, Outcome, OwnerId,
    ResetReach, Restored, Selection, StoreInfo,
};

/// A durable store of jobs.
///
/// Every call that changes something resolves once its outcome is committed and synced. Calls take `&self` and may run
/// at the same time from any number of tasks and threads: those that wait at the same moment share one commit.
///
/// # Futures that are dropped
///
/// They strand nothing, at whatever moment: what was not begun is not done; a claim that nobody is there to take is given
/// back; a large import into a new job and a restore are taken back. What was begun may be committed all the same: a
/// completion, a failure or a release can be asked for again, and is [`Outcome::Unchanged`] then. [`JobStore::delete_job`]
/// and what [`JobStore::retry_failed`], [`JobStore::reset`] and [`JobStore::cancel`] do to all chunks go on to their end;
/// of a large import with [`ImportOptions::in_slices`] the slices stay that were committed. Calls that only look leave no trace.
///
/// Ids are 0 to 2^53 - 1; others are refused with [`crate::ErrorKind::InvalidInput`]. A job or chunk that does not
/// exist is an error, [`crate::ErrorKind::JobNotFound`] or [`crate::ErrorKind::ChunkNotFound`], not an empty answer.
///
/// It is there to be called: [`Store`] and [`DualStore`](crate::dual::DualStore) implement it, and any version of Magnetar may
/// add methods to it. An implementation of your own, which passes calls on or plays a store in a test, has to keep up.
///
/// ```
/// # magnetar::block_on(async {
/// use magnetar::{Completion, ErrorKind, JobStore, NewChunk};
///
/// let store = magnetar::open(":memory:").await?;
/// let chunks = (0..3).map(|id| Ok(NewChunk::new(id).checksum("abc")));
/// store.import(7, &Default::default(), magnetar::chunks(chunks), &Default::default()).await?;
///
/// let chunk = store.claim_pending(7).await?.expect("three are ready");
/// let wrong = store.complete(&chunk.claim(), Completion::new().checksum("xyz")).await;
/// assert_eq!(wrong.unwrap_err().kind(), ErrorKind::ChecksumMismatch);
/// store.complete(&chunk.claim(), Completion::new().checksum("abc")).await?;
/// assert_eq!(store.get_stats(7).await?.done, 1);
/// # Ok::<(), magnetar::Error>(())
/// # }).unwrap();
/// ```
#[async_trait]
pub trait JobStore: Debug + Send + Sync {
    // Importing

    /// Upserts a manifest into a job, which is created where it does not exist. Running it again changes nothing.
    ///
    /// Refused as a whole, with nothing changed, where the content of chunks that are processing or done would change;
    /// [`JobStore::import`] has other choices.
    async fn init_from_manifest(&self, job_id: i64, manifest: &Manifest) -> Result<ImportReport>;

    /// Upserts a stream of chunks into a job, in memory bounded by a slice. See [`ImportOptions`].
    ///
    /// Up to [`crate::limits::IMPORT_ROWS_PER_COMMIT_MAX`] changed rows, with payloads of up to
    /// [`crate::limits::IMPORT_BYTES_PER_COMMIT_MAX`] and up to [`crate::limits::DEPENDENCIES_PER_COMMIT_MAX`] dependencies,
    /// are one transaction. More, into a new job, go in slices and become visible in one step at the end. More, into an existing job, are refused unless
    /// [`ImportOptions::in_slices`] is asked for; then a dependency must already exist or come in the same slice.
    async fn import(
        &self,
        job_id: i64,
        spec: &JobSpec,
        chunks: ChunkStream<'_>,
        options: &ImportOptions,
    ) -> Result<ImportReport>;

    /// Makes a store of an export in JSON Lines again: [`crate::export::Export::json_lines`] of whole jobs, read here in
    /// memory bounded by a slice. The reader is read on the task that calls.
    ///
    /// The store must have no jobs, and be nobody else's meanwhile. While somebody imports into it or restores, this is
    /// [`crate::ErrorKind::Busy`]; where somebody else writes to it before the restore is over, an import or a new job, that
    /// is done and the restore ends as `Busy`, all of it taken back.
    ///
    /// Afterwards it has the jobs of the export **exactly**: their settings; of each chunk the checksum, payload, status,
    /// output, error, counts, dependencies and which of them count as met, delays, claims with their fences, owners and
    /// leases, times and revisions; and the store's revision and the highest job id, so that no revision, fence or new
    /// job's id is given twice. An export of the restored store has the same lines. What
    /// is not restored: the history in the change feed, which begins anew; and what was going on in slices (a deletion,
    /// an import, a completion with very many dependents), of which there is the outcome or nothing.
    ///
    /// It becomes visible in one step. A file that is cut short, damaged or contradicts itself is refused, with the
    /// number of the line, and nothing of it stays; the store's revision is a little higher, by one for each slice. A claim
    /// of a worker that works on the original can be ended on both: stop it there first, or let the leases run out.
    ///
    /// Whoever followed the change feed of the store that is restored into, registered or not, is told
    /// [`crate::ErrorKind::FeedTruncated`] and begins anew.
    ///
    /// ```
    /// # magnetar::block_on(async {
    /// use magnetar::{Completion, JobStore, Manifest, export::Export};
    ///
    /// let store = magnetar::open(":memory:").await?;
    /// store.init_from_manifest(1, &Manifest::from_toml("[[chunks]]\nid = 1\n[[chunks]]\nid = 2")?).await?;
    /// let claim = store.claim_pending(1).await?.expect("one is ready").claim();
    /// store.complete(&claim, Completion::new()).await?;
    /// let mut lines = Vec::new();
    /// Export::new(store.clone()).json_lines().write_to(&mut lines).await?;
    ///
    /// let other = magnetar::open(":memory:").await?;
    /// let restored = other.restore(&mut lines.as_slice()).await?;
    /// assert_eq!((restored.jobs, restored.chunks), (1, 2));
    /// assert_eq!(other.get_chunk(1, 1).await?, store.get_chunk(1, 1).await?);
    /// # other.close().await?;
    /// # store.close().await
    /// # }).unwrap();
    /// ```
    async fn restore(&self, export: &mut (dyn BufRead + Send)) -> Result<Restored>;

    /// Creates an empty job under an id that was never used before.
    ///
    /// From then on it exists: an import of more than fits into one transaction is one into an existing job, see [`ImportOptions::in_slices`]; deleted first, its id is one that has no job, and goes to nobody else.
    async fn new_job(&self, spec: &JobSpec) -> Result<i64>;

    /// Deletes a job with everything in it. A job that does not exist is [`Outcome::Unchanged`].
    ///
    /// Nobody sees it any more from the first commit on. Where it is large its rows go in slices, though the future is dropped;
    /// after a crash they go when the store is opened.
    async fn delete_job(&self, job_id: i64) -> Result<Outcome>;

    /// Makes a chunk wait for others of its job. Refused, with nothing changed, where one does not exist, where it
    /// would close a circle (the error names it), or where the chunk is processing or done already.
    async fn add_dependency(&self, job_id: i64, chunk: u64, depends_on: Vec<u64>) -> Result<Outcome>;

    // Working

    /// Claims the next ready chunk of a job: the highest priority first, then the lowest id. `None` where none is ready
    /// now, which is not the end: others may be held, blocked or delayed; [`JobStats::is_finished`] tells.
    async fn claim_pending(&self, job_id: i64) -> Result<Option<JobState>>;

    /// Claims up to `count` ready chunks of a job in one commit, in claim order; fewer where their payloads come to
    /// [`crate::limits::CLAIM_BYTES_MAX`].
    async fn claim_pending_batch(&self, job_id: i64, count: usize) -> Result<Vec<JobState>>;

    /// Claims chunks of any job or of one, with a lease of your choice.
    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<JobState>>;

    /// Ends a claim with its result. The same completion twice is [`Outcome::Unchanged`].
    ///
    /// Refused with [`crate::ErrorKind::Superseded`] where the chunk was claimed by another meanwhile, and with
    /// [`crate::ErrorKind::ChecksumMismatch`] where the observed checksum is not the expected one; the claim then stays.
    async fn complete(&self, claim: &Claim, result: Completion) -> Result<Outcome>;

    /// Completes a claim and claims what comes next, in one commit. Where the completion is refused nothing is claimed.
    async fn complete_and_claim(
        &self,
        claim: &Claim,
        result: Completion,
        next: &ClaimRequest,
    ) -> Result<Vec<JobState>>;

    /// Ends a claim with an error. The chunk comes back after its backoff, or is failed when its attempts are used up.
    /// The same failure told twice is [`Outcome::Unchanged`].
    async fn fail(&self, claim: &Claim, error: &str) -> Result<Outcome>;

    /// Ends a claim with an error, as [`JobStore::fail`] does, and says when the next attempt may begin, in the place of the
    /// job's backoff: what a server said that is asked too often, say. `delay_ms` is in milliseconds, up to
    /// [`crate::limits::BACKOFF_MS_MAX`]; 0 is at once.
    ///
    /// ```
    /// # magnetar::block_on(async {
    /// use magnetar::{JobStore, NewChunk};
    ///
    /// let store = magnetar::open(":memory:").await?;
    /// store.import(7, &Default::default(), magnetar::chunks([Ok(NewChunk::new(1))]), &Default::default()).await?;
    /// let chunk = store.claim_pending(7).await?.expect("one is ready");
    /// store.fail_with_delay(&chunk.claim(), "429: too many requests", 30_000).await?;
    /// assert!(store.claim_pending(7).await?.is_none());
    /// assert_eq!(store.get_stats(7).await?.delayed, 1);
    /// # Ok::<(), magnetar::Error>(())
    /// # }).unwrap();
    /// ```
    async fn fail_with_delay(&self, claim: &Claim, error: &str, delay_ms: u64) -> Result<Outcome>;

    /// Ends a claim with an error that no further attempt would mend: the chunk is failed, whatever attempts it has left.
    /// [`JobStore::retry_failed`] takes it up again.
    ///
    /// ```
    /// # magnetar::block_on(async {
    /// use magnetar::{JobStatus, JobStore, NewChunk};
    ///
    /// let store = magnetar::open(":memory:").await?;
    /// store.import(7, &Default::default(), magnetar::chunks([Ok(NewChunk::new(1))]), &Default::default()).await?;
    /// let chunk = store.claim_pending(7).await?.expect("one is ready");
    /// store.fail_permanently(&chunk.claim(), "the source has no such row").await?;
    /// assert_eq!(store.get_by_status(7, JobStatus::Failed).await?.len(), 1);
    /// # Ok::<(), magnetar::Error>(())
    /// # }).unwrap();
    /// ```
    async fn fail_permanently(&self, claim: &Claim, error: &str) -> Result<Outcome>;

    /// Gives a claim back; it costs the chunk nothing.
    async fn release(&self, claim: &Claim) -> Result<Outcome>;

    /// Gives a claim back for later: nobody gets the chunk for so many milliseconds, up to
    /// [`crate::limits::BACKOFF_MS_MAX`], and no attempt is counted. For work that cannot begin yet.
    ///
    /// ```
    /// # magnetar::block_on(async {
    /// use magnetar::{JobStore, NewChunk};
    ///
    /// let store = magnetar::open(":memory:").await?;
    /// store.import(7, &Default::default(), magnetar::chunks([Ok(NewChunk::new(1))]), &Default::default()).await?;
    /// let chunk = store.claim_pending(7).await?.expect("one is ready");
    /// store.release_with_delay(&chunk.claim(), 60_000).await?;
    /// let later = store.get_chunk(7, 1).await?.expect("it is there");
    /// assert_eq!((later.attempts, later.not_before.expect("it waits").duration_ms), (0, 60_000));
    /// # Ok::<(), magnetar::Error>(())
    /// # }).unwrap();
    /// ```
    async fn release_with_delay(&self, claim: &Claim, delay_ms: u64) -> Result<Outcome>;

    /// Extends a claim's lease by its length. A claim that lapsed, and that nobody took, is taken up again.
    async fn heartbeat(&self, claim: &Claim) -> Result<Outcome>;

    /// Many updates of one job in one commit, each answered by itself, in order: one that the rules refuse leaves the others
    /// whole. An argument that is out of its range or too large refuses all of them, and the error names its chunk.
    async fn apply_batch_updates(
        &self,
        job_id: i64,
        updates: Vec<ChunkUpdate>,
    ) -> Result<Vec<Result<Outcome>>>;

    // Steering, for the owner of the whole job

    /// Sets a chunk's status without a claim; whoever holds the chunk is superseded. `detail` is the observed checksum
    /// with done and the error text with failed. Marking as processing is refused: claim the chunk.
    async fn mark_status(
        &self,
        job_id: i64,
        chunk: u64,
        status: JobStatus,
        detail: Option<String>,
    ) -> Result<Outcome>;

    /// Fails a chunk for good, until it is retried.
    async fn mark_failed(&self, job_id: i64, chunk: u64, error: String) -> Result<Outcome>;

    /// Brings failed chunks back to pending with their counts reset, and with them what their failure had cancelled.
    ///
    /// Of all chunks it goes in slices where they are more than [`crate::limits::SLICE_ROWS_MAX`]: others may see and change
    /// the job between two of them. A call that was begun is done whole though its future is dropped; after a crash or a
    /// `close()` in the middle it is called again.
    ///
    /// Named chunks may also be cancelled ones. Gives how many came back, all of them: what is told to dependents in later
    /// commits ([`crate::limits::DEPENDENTS_PER_COMMIT_MAX`]) is not counted.
    async fn retry_failed(&self, job_id: i64, chunks: Selection) -> Result<u64>;

    /// Takes the results of done chunks back: they are pending again, and what depends on them is blocked again.
    /// `through` resets the done ones among those too. Gives how many were reset, as [`JobStore::retry_failed`] counts; it
    /// goes in slices as that does.
    async fn reset(&self, job_id: i64, chunks: Selection, through: ResetReach) -> Result<u64>;

    /// Cancels chunks that are not done, and by [`DependencyFailure::Cancel`](crate::DependencyFailure::Cancel) what depends
    /// on them. Gives how many were cancelled, as [`JobStore::retry_failed`] counts; it goes in slices as that
    /// does.
    async fn cancel(&self, job_id: i64, chunks: Selection) -> Result<u64>;

    // Recovering

    /// Puts back every claim whose lease is over or whose owner is proven dead, then lists what is pending by chunk id.
    ///
    /// More than [`crate::limits::LIST_ROWS_MAX`] rows are an error that names [`JobStore::page_by_status`].
    async fn resume_pending(&self, job_id: i64) -> Result<Vec<JobState>>;

    /// Gives back everything that this client holds.
    async fn release_all(&self) -> Result<u64>;

    /// Opens the file anew under this handle after [`crate::ErrorKind::Poisoned`]. Operations that were waiting go on; where
    /// it fails they were not begun, and are told.
    async fn reopen(&self) -> Result<()>;

    /// Checks everything that is stored. An error of kind [`crate::ErrorKind::Corrupt`] names the first thing found.
    ///
    /// What is checked is of one moment, and others go on meanwhile: the file grows by what they change, since nothing of
    /// that moment is written over before the end. They wait only while redb looks at its pages, which comes first and
    /// needs that nobody reads: where somebody does the error is [`crate::ErrorKind::Busy`]; and for all of it where the
    /// store is SQLite's and in memory, which has one connection.
    async fn verify(&self) -> Result<()>;

    /// Gives back what this client holds and releases the file. Later calls are refused.
    ///
    /// A store that is dropped without it releases the file as well, but gives nothing back: to others its claims are
    /// those of a client that died, and each counts as a loss. The file is free once the last handle is gone, those that
    /// threads of a [`Worker`](crate::worker::Worker) still have included: until then an opening of a redb file is
    /// [`crate::ErrorKind::Locked`].
    async fn close(&self) -> Result<()>;

    // Looking

    /// One chunk; `None` where the job has no such chunk.
    async fn get_chunk(&self, job_id: i64, chunk: u64) -> Result<Option<JobState>>;

    /// Every chunk of a status, by id.
    ///
    /// More than [`crate::limits::LIST_ROWS_MAX`] rows are an error that names [`JobStore::page_by_status`].
    async fn get_by_status(&self, job_id: i64, status: JobStatus) -> Result<Vec<JobState>>;

    /// Up to `limit` chunks above an id, by id; of one status, or of all.
    async fn page_by_status(
        &self,
        job_id: i64,
        status: Option<JobStatus>,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<JobState>>;

    /// Up to `limit` chunks above an id, by id, of one status or of all, each with everything that the store keeps of
    /// it: what [`crate::export`] reads. A page may be shorter, to bound its memory; [`ChunkRecords::more`] tells.
    async fn page_records(
        &self,
        job_id: i64,
        status: Option<JobStatus>,
        after: Option<u64>,
        limit: usize,
    ) -> Result<ChunkRecords>;

    /// The store's newest revision, and what else it says of itself as a whole.
    async fn info(&self) -> Result<StoreInfo>;

    /// How many chunks stand where. The cost does not depend on the job's size.
    async fn get_stats(&self, job_id: i64) -> Result<JobStats>;

    /// One job.
    async fn get_job(&self, job_id: i64) -> Result<JobInfo>;

    /// Up to `limit` jobs above an id, by id.
    async fn list_jobs(&self, after: Option<i64>, limit: usize) -> Result<Vec<JobInfo>>;

    /// The chunks that a chunk depends on, by id.
    async fn get_dependencies(&self, job_id: i64, chunk: u64) -> Result<Vec<u64>>;

    /// The chunks that depend on a chunk, by id.
    async fn get_dependents(&self, job_id: i64, chunk: u64) -> Result<Vec<u64>>;

    /// The ids of chunks that could be claimed now, in claim order.
    async fn topo_sort_ready(&self, job_id: i64) -> Result<Vec<u64>>;

    /// All chunk ids of a job, each after everything that it depends on; among equals the lower id first.
    async fn topo_order(&self, job_id: i64) -> Result<Vec<u64>>;

    /// The job's dependency graph with each chunk's status, as text for Graphviz or Mermaid.
    async fn graph(&self, job_id: i64, format: GraphFormat) -> Result<String>;

    /// The newest state of everything that changed after a revision, in revision order, at most about `limit` entries.
    ///
    /// Start at 0; hand [`Changes::next`] back. Asking for what was pruned is [`crate::ErrorKind::FeedTruncated`]; from a
    /// revision that the store has not come to, [`crate::ErrorKind::InvalidInput`].
    ///
    /// What changes again behind a page may be left out of it, and comes with a later one: a picture that is made of the
    /// pages is the store as it was at [`Changes::next`] once that is [`Changes::newest`]. Not told are heartbeats, and
    /// what a chunk has from its job ([`JobState::attempts_max`], [`JobState::losses_max`]) where only the job changed.
    async fn changes(&self, since: u64, limit: usize) -> Result<Changes>;

    /// Has the feed keep whatever a consumer has not got yet, the deletions too, until it says that it has. Durable, and
    /// without a bound: a consumer that never advances makes the file grow, and is to be unregistered. Gives the
    /// revision to ask [`JobStore::changes`] from; registering again gives where the consumer stands.
    ///
    /// The first time that is the beginning of the log: where it is not 0, list everything first.
    /// Consumers, and the log from where they stand, move along to the other store of a pair ([`crate::dual`]); one that is
    /// registered meanwhile begins with what both stores have of the log. A [`JobStore::restore`] into this store ends what
    /// was kept: consumers stay registered, and are told [`crate::ErrorKind::FeedTruncated`].
    ///
    /// ```
    /// # magnetar::block_on(async {
    /// let store = magnetar::open(":memory:").await?;
    /// let mut at = store.register_consumer("reports").await?;
    /// loop {
    ///     let page = store.changes(at, 1_000).await?;
    ///     // ... take it in, durably; then nothing up to here needs to be kept.
    ///     at = store.advance_consumer("reports", page.next).await?;
    ///     if !page.more {
    ///         break;
    ///     }
    /// }
    /// # Ok::<(), magnetar::Error>(())
    /// # }).unwrap();
    /// ```
    async fn register_consumer(&self, name: &str) -> Result<u64>;

    /// A registered consumer has everything up to a revision. It never goes back. Gives where it stands.
    async fn advance_consumer(&self, name: &str, revision: u64) -> Result<u64>;

    /// Nothing is kept for a consumer any more. Gives where it stood; the newest revision, where none is registered by that
    /// name.
    async fn unregister_consumer(&self, name: &str) -> Result<u64>;

    /// Every registered consumer of the feed, by name.
    async fn consumers(&self) -> Result<Vec<FeedConsumer>>;

    /// Tells when the store changes, whichever process changes it: see [`Watch`].
    fn watch(&self) -> Watch;

    /// Who claims through this open store.
    fn owner(&self) -> OwnerId;

    /// Where the store keeps its data.
    fn persistence(&self) -> Persistence;

    /// Whether claims of a process that dies come back at once, as on every store but a file on a file system without
    /// locks; there they come back when their leases are over.
    fn recovers_at_once(&self) -> bool;
}

/// Where a store keeps its data, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Persistence {
    /// In a file.
    File(std::path::PathBuf),
    /// In memory: gone with the store.
    Memory,
    /// In storage that the host brought.
    Host,
}
