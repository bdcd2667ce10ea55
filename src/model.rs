//! The vocabulary: data and its checks, no storage and no clock.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::limits;

/// Where a chunk stands.
///
/// *Ready*, *blocked* and *delayed* are no statuses: they are derived from a pending chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// Waits to be claimed.
    Pending,
    /// Claimed by a worker.
    Processing,
    /// Finished, with its result kept.
    Done,
    /// Given up; the error says why. Stays so until it is retried.
    Failed,
    /// Not wanted any more, by a caller or because a dependency failed. Stays so until it is retried.
    Cancelled,
}

impl JobStatus {
    /// Every status, in the order in which statistics list them.
    pub const ALL: [JobStatus; 5] =
        [JobStatus::Pending, JobStatus::Processing, JobStatus::Done, JobStatus::Failed, JobStatus::Cancelled];

    /// The status as text, as it stands in manifests, exports and SQL views.
    pub const fn as_str(self) -> &'static str {
        match self {
            JobStatus::Pending => "pending",
            JobStatus::Processing => "processing",
            JobStatus::Done => "done",
            JobStatus::Failed => "failed",
            JobStatus::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for JobStatus {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        JobStatus::ALL.into_iter().find(|s| text.eq_ignore_ascii_case(s.as_str())).ok_or_else(|| {
            Error::invalid(format!(
                "{text:?} is not a status; use one of pending, processing, done, failed, cancelled"
            ))
        })
    }
}

/// A JSON value, kept as its text: payloads and outputs travel without being parsed.
///
/// ```
/// let payload = magnetar::Json::new(&serde_json::json!({"path": "a.bin", "offset": 4096}))?;
/// assert_eq!(payload.get::<u64>("offset")?, Some(4096));
/// # Ok::<(), magnetar::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Json(Arc<str>);

impl Json {
    /// The JSON of a value.
    pub fn new(value: &(impl Serialize + ?Sized)) -> Result<Self> {
        let text = serde_json::to_string(value)
            .map_err(|e| Error::invalid(format!("the value has no JSON form: {e}")).caused_by(e))?;
        Ok(Json(text.into()))
    }

    /// JSON from its text, checked to be one JSON value.
    pub fn from_text(text: &str) -> Result<Self> {
        let raw: &serde_json::value::RawValue = serde_json::from_str(text)
            .map_err(|e| Error::invalid(format!("the text is not one JSON value: {e}")).caused_by(e))?;
        Ok(Json(raw.get().into()))
    }

    /// Text that was checked when it was written.
    pub(crate) fn trusted(text: &str) -> Self {
        Json(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value as a type of yours.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.0).map_err(|e| {
            Error::invalid(format!("the JSON does not fit the type asked for: {e}")).caused_by(e)
        })
    }

    /// One member of a JSON object as a type of yours; `None` where there is no such member.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let mut members: serde_json::Map<String, serde_json::Value> = self.parse()?;
        members
            .remove(key)
            .map(|value| {
                serde_json::from_value(value).map_err(|e| {
                    Error::invalid(format!("member {key:?} does not fit the type asked for: {e}"))
                        .caused_by(e)
                })
            })
            .transpose()
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Json {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &serde_json::value::RawValue =
            serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        Json::new(&value).map_err(serde::de::Error::custom)
    }
}

/// The client that claims: a native process's open store, a tab, a Node process. Random per start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnerId([u8; 16]);

impl OwnerId {
    /// An owner id from 16 random bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        OwnerId(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for OwnerId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::invalid(format!("{text:?} is not an owner id: 32 hexadecimal digits"));
        if text.len() != 32 || !text.is_ascii() {
            return Err(bad());
        }
        let mut bytes = [0; 16];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| bad())?;
        }
        Ok(OwnerId(bytes))
    }
}

impl Serialize for OwnerId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for OwnerId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A moment kept as when it was set and how long from then, in milliseconds.
///
/// A clock that jumps cannot put it off for years: see [`Deadline::is_due`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Deadline {
    /// When it was set, in milliseconds since the Unix epoch.
    pub set_at_ms: u64,
    /// How long from then, in milliseconds.
    pub duration_ms: u64,
}

impl Deadline {
    /// The moment itself, in milliseconds since the Unix epoch.
    pub const fn at_ms(self) -> u64 {
        self.set_at_ms.saturating_add(self.duration_ms)
    }

    /// Whether it has come: the time is over, or the clock now shows a time clearly before it was even set.
    pub const fn is_due(self, now_ms: u64) -> bool {
        now_ms >= self.at_ms() || now_ms.saturating_add(limits::CLOCK_SLACK_MS) < self.set_at_ms
    }
}

/// What becomes of a chunk when one it depends on fails or is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DependencyFailure {
    /// It waits, blocked, until the dependency is retried and done. The job shows as stalled.
    #[default]
    Wait,
    /// It is cancelled too; the cause is kept, and a retry of the cause brings it back.
    Cancel,
    /// The dependency counts as met, until a reset.
    Ignore,
}

impl DependencyFailure {
    /// The policy as text, as it stands in manifests, exports and SQL views.
    pub const fn as_str(self) -> &'static str {
        match self {
            DependencyFailure::Wait => "wait",
            DependencyFailure::Cancel => "cancel",
            DependencyFailure::Ignore => "ignore",
        }
    }
}

/// How long a chunk waits after a failed attempt: `initial_ms`, doubled at each further failure up to `max_ms`,
/// and spread by up to a quarter so that failures of one moment do not come back in one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    /// The wait after the first failure, in milliseconds.
    pub initial_ms: u64,
    /// The longest wait, in milliseconds.
    pub max_ms: u64,
}

impl Default for Backoff {
    /// One second at first, five minutes at most.
    fn default() -> Self {
        Backoff { initial_ms: 1_000, max_ms: 300_000 }
    }
}

/// What a job says of all its chunks: the `[job]` table of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct JobSpec {
    /// A name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Claims that may end in an error before a chunk is failed; 0 is no limit. Default: [`limits::ATTEMPTS_MAX_DEFAULT`].
    #[serde(rename = "max_attempts", skip_serializing_if = "Option::is_none")]
    pub attempts_max: Option<u32>,
    /// Claims whose owner may vanish before a chunk is failed; 0 is no limit. Default: [`limits::LOSSES_MAX_DEFAULT`].
    #[serde(rename = "max_losses", skip_serializing_if = "Option::is_none")]
    pub losses_max: Option<u32>,
    /// How long a claim is held without a heartbeat, in milliseconds. Default: [`limits::LEASE_MS_DEFAULT`].
    #[serde(rename = "lease", skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<u64>,
    /// The wait after a failed attempt. Default: [`Backoff::default`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// What becomes of a chunk whose dependency fails, where the chunk does not say. Default: wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_dependency_failure: Option<DependencyFailure>,
}

impl JobSpec {
    /// A spec that leaves everything at its default.
    pub fn new() -> Self {
        JobSpec::default()
    }

    /// The same with a name for people.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The same with a limit of failed attempts; 0 is no limit.
    #[must_use]
    pub fn attempts_max(mut self, attempts_max: u32) -> Self {
        self.attempts_max = Some(attempts_max);
        self
    }

    /// The same with a limit of losses; 0 is no limit.
    #[must_use]
    pub fn losses_max(mut self, losses_max: u32) -> Self {
        self.losses_max = Some(losses_max);
        self
    }

    /// The same with a lease, in milliseconds.
    #[must_use]
    pub fn lease_ms(mut self, lease_ms: u64) -> Self {
        self.lease_ms = Some(lease_ms);
        self
    }

    /// The same with a wait after failed attempts.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = Some(backoff);
        self
    }

    /// The same with a policy for failed dependencies.
    #[must_use]
    pub fn on_dependency_failure(mut self, policy: DependencyFailure) -> Self {
        self.on_dependency_failure = Some(policy);
        self
    }

    /// Whether every value is within its limits.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some(name) = &self.name
            && name.len() > limits::NAME_BYTES_MAX
        {
            return Err(Error::new(
                crate::ErrorKind::TooLarge,
                format!("the job's name has {} bytes, the limit is {}", name.len(), limits::NAME_BYTES_MAX),
            ));
        }
        if let Some(lease_ms) = self.lease_ms {
            check_lease_ms(lease_ms)?;
        }
        if let Some(Backoff { initial_ms, max_ms }) = self.backoff
            && (initial_ms > max_ms || max_ms > limits::BACKOFF_MS_MAX)
        {
            return Err(Error::invalid(format!(
                "backoff: initial_ms {initial_ms} must not be above max_ms {max_ms}, nor that above {}",
                limits::BACKOFF_MS_MAX
            )));
        }
        Ok(())
    }
}

/// One chunk as a manifest states it, or as a caller streams it into [`crate::JobStore::import`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct NewChunk {
    /// The chunk's number within its job, 0 to [`limits::ID_MAX`].
    pub id: u64,
    /// The checksum that a completion's is compared with.
    pub checksum: Option<String>,
    /// Anything the worker needs, as JSON.
    pub payload: Option<Json>,
    /// Chunks of the same job that must be done first.
    pub depends_on: Vec<u64>,
    /// Higher is claimed first. Default: 0.
    pub priority: i32,
    /// Claims that may end in an error, where it differs from the job's; 0 is no limit.
    pub attempts_max: Option<u32>,
    /// Claims whose owner may vanish, where it differs from the job's; 0 is no limit.
    pub losses_max: Option<u32>,
    /// What becomes of this chunk when a dependency fails, where it differs from the job's.
    pub on_dependency_failure: Option<DependencyFailure>,
}

impl NewChunk {
    /// A chunk with everything but its id left out.
    pub fn new(id: u64) -> Self {
        NewChunk { id, ..NewChunk::default() }
    }

    /// The same with an expected checksum.
    #[must_use]
    pub fn checksum(mut self, checksum: impl Into<String>) -> Self {
        self.checksum = Some(checksum.into());
        self
    }

    /// The same with a payload.
    #[must_use]
    pub fn payload(mut self, payload: Json) -> Self {
        self.payload = Some(payload);
        self
    }

    /// The same with dependencies.
    #[must_use]
    pub fn depends_on(mut self, chunks: impl IntoIterator<Item = u64>) -> Self {
        self.depends_on = chunks.into_iter().collect();
        self
    }

    /// The same with a priority.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }

    /// The same with a policy for failed dependencies.
    #[must_use]
    pub fn on_dependency_failure(mut self, policy: DependencyFailure) -> Self {
        self.on_dependency_failure = Some(policy);
        self
    }

    /// The same with a limit of failed attempts; 0 is no limit.
    #[must_use]
    pub fn attempts_max(mut self, attempts_max: u32) -> Self {
        self.attempts_max = Some(attempts_max);
        self
    }

    /// The same with a limit of losses; 0 is no limit.
    #[must_use]
    pub fn losses_max(mut self, losses_max: u32) -> Self {
        self.losses_max = Some(losses_max);
        self
    }
}

/// One chunk as it stands: what its manifest said and what has happened since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobState {
    /// The job.
    pub job_id: i64,
    /// The chunk's number within the job.
    pub chunk: u64,
    /// The expected checksum. A worker never changes it.
    pub checksum: Option<String>,
    /// What the manifest gave the worker, as JSON.
    pub payload: Option<Json>,
    /// Higher is claimed first.
    pub priority: i32,
    /// Where the chunk stands.
    pub status: JobStatus,
    /// The checksum that the completion reported.
    pub observed_checksum: Option<String>,
    /// Why it failed last, was given up or was cancelled.
    pub error: Option<String>,
    /// Claims that ended in an error.
    pub attempts: u32,
    /// Claims whose owner vanished.
    pub losses: u32,
    /// The limit of attempts; 0 is none.
    pub attempts_max: u32,
    /// The limit of losses; 0 is none.
    pub losses_max: u32,
    /// The newest claim's fence: the revision that claimed it, never reused; 0 before the first claim.
    /// Hand it to whatever you write to, so that a late worker's effects can be told from a newer one's.
    pub fence: u64,
    /// Who holds it, while it is processing.
    pub owner: Option<OwnerId>,
    /// Until when it is held without a heartbeat, while it is processing.
    pub lease: Option<Deadline>,
    /// Until when it waits after a failure, while it is pending.
    pub not_before: Option<Deadline>,
    /// Dependencies that are not met yet.
    pub unmet_dependencies: u32,
    /// What the completion reported, as JSON.
    pub output: Option<Json>,
    /// When it was imported, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// When it last changed, in milliseconds since the Unix epoch.
    pub updated_at_ms: u64,
    /// The store's revision at its last change. Orders all changes of a store.
    pub revision: u64,
}

impl JobState {
    /// The claim to hand back to `complete`, `fail`, `release` and `heartbeat`.
    pub fn claim(&self) -> Claim {
        Claim { job_id: self.job_id, chunk: self.chunk, fence: self.fence }
    }

    /// Whether a claim could take it now: pending, no dependency unmet, no delay left.
    pub fn is_ready(&self) -> bool {
        self.status == JobStatus::Pending && self.unmet_dependencies == 0 && self.not_before.is_none()
    }
}

/// Names one claim of one chunk: what a fenced call is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Claim {
    /// The job.
    pub job_id: i64,
    /// The chunk.
    pub chunk: u64,
    /// The fence of [`JobState::fence`].
    pub fence: u64,
}

/// What to claim.
///
/// ```
/// let any_four = magnetar::ClaimRequest::new().count(4).lease_ms(30_000);
/// let of_one_job = magnetar::ClaimRequest::new().job(42);
/// # let _ = (any_four, of_one_job);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClaimRequest {
    /// The job, or `None` for any: then the lowest job id with something ready comes first.
    pub job_id: Option<i64>,
    /// At most so many chunks, 1 to [`limits::CLAIM_COUNT_MAX`].
    pub count: usize,
    /// How long the claim is held without a heartbeat, in milliseconds; `None` for the job's lease.
    pub lease_ms: Option<u64>,
}

impl Default for ClaimRequest {
    fn default() -> Self {
        ClaimRequest { job_id: None, count: 1, lease_ms: None }
    }
}

impl ClaimRequest {
    /// One chunk of any job.
    pub fn new() -> Self {
        ClaimRequest::default()
    }

    /// The same of one job only.
    #[must_use]
    pub fn job(mut self, job_id: i64) -> Self {
        self.job_id = Some(job_id);
        self
    }

    /// The same for up to so many chunks.
    #[must_use]
    pub fn count(mut self, count: usize) -> Self {
        self.count = count;
        self
    }

    /// The same with a lease, in milliseconds.
    #[must_use]
    pub fn lease_ms(mut self, lease_ms: u64) -> Self {
        self.lease_ms = Some(lease_ms);
        self
    }
}

/// What a worker reports when a chunk is done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Completion {
    /// The checksum that was observed; compared with the expected one where there is one.
    pub checksum: Option<String>,
    /// Anything to keep as the result, as JSON.
    pub output: Option<Json>,
}

impl Completion {
    /// Done, nothing to report.
    pub fn new() -> Self {
        Completion::default()
    }

    /// The same with an observed checksum.
    #[must_use]
    pub fn checksum(mut self, checksum: impl Into<String>) -> Self {
        self.checksum = Some(checksum.into());
        self
    }

    /// The same with an output.
    #[must_use]
    pub fn output(mut self, output: Json) -> Self {
        self.output = Some(output);
        self
    }
}

/// Whether a call changed anything. Both mean that what was asked for holds now, durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was written.
    Changed,
    /// It held already; nothing was written.
    Unchanged,
}

/// One update of [`crate::JobStore::apply_batch_updates`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChunkUpdate {
    /// Complete a claim.
    Complete(Claim, Completion),
    /// End a claim with an error.
    Fail(Claim, String),
    /// Give a claim back.
    Release(Claim),
    /// Extend a claim's lease.
    Heartbeat(Claim),
    /// Set a chunk's status without a claim: for the owner of the whole job.
    Mark {
        /// The chunk.
        chunk: u64,
        /// The status it gets.
        status: JobStatus,
        /// With done: the observed checksum. With failed: the error text.
        detail: Option<String>,
    },
}

/// Which chunks of a job a bulk operation is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All of them that the operation applies to.
    All,
    /// These; one that does not exist, or that the operation does not apply to, is an error.
    Chunks(Vec<u64>),
}

/// How far [`crate::JobStore::reset`] goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResetReach {
    /// Dependents are blocked again; done ones stay done.
    #[default]
    Direct,
    /// Done dependents are reset too, and theirs.
    Through,
}

/// The text of [`crate::JobStore::graph`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GraphFormat {
    /// Graphviz DOT.
    Dot,
    /// A Mermaid flowchart.
    Mermaid,
}

/// What an import does where a chunk's content changed while it is processing or done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConflict {
    /// Refuse the whole import and list the chunks.
    #[default]
    Refuse,
    /// Keep what the store has for these chunks.
    Keep,
    /// Take the new content; the chunk goes back to pending, and a worker that holds it is superseded.
    Reset,
}

/// What an import does with chunks that the store has and the manifest no longer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnMissing {
    /// Keep them.
    #[default]
    Keep,
    /// Cancel those that are not done.
    Cancel,
    /// Delete them. Refused where a chunk that stays depends on one.
    Delete,
}

/// How an import is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ImportOptions {
    /// Changed content of chunks that are processing or done.
    pub on_conflict: OnConflict,
    /// Chunks that the manifest no longer has.
    pub on_missing: OnMissing,
    /// Allow a large import into an existing job to go in slices: restartable, but not one atomic step.
    pub in_slices: bool,
}

impl ImportOptions {
    /// Refuse conflicts, keep missing chunks, one atomic step.
    pub fn new() -> Self {
        ImportOptions::default()
    }

    /// The same with another choice for changed content.
    #[must_use]
    pub fn on_conflict(mut self, choice: OnConflict) -> Self {
        self.on_conflict = choice;
        self
    }

    /// The same with another choice for missing chunks.
    #[must_use]
    pub fn on_missing(mut self, choice: OnMissing) -> Self {
        self.on_missing = choice;
        self
    }

    /// The same, in slices where it is large.
    #[must_use]
    pub fn in_slices(mut self) -> Self {
        self.in_slices = true;
        self
    }
}

/// What an import did. Running it again reports everything as unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ImportReport {
    /// Chunks that are new.
    pub added: u64,
    /// Chunks whose content or scheduling changed.
    pub updated: u64,
    /// Chunks that were the same already.
    pub unchanged: u64,
    /// Chunks whose content changed while done or processing, and that were kept as they were.
    pub kept: u64,
    /// Chunks that went back to pending because their content changed while done or processing.
    pub reset: u64,
    /// Chunks no longer in the manifest that were cancelled.
    pub cancelled: u64,
    /// Chunks no longer in the manifest that were deleted.
    pub deleted: u64,
}

/// How many chunks of a job stand where: counters that are kept, never counted anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobStats {
    /// The job.
    pub job_id: i64,
    /// All chunks.
    pub total_chunks: u64,
    /// Waiting, whatever for.
    pub pending: u64,
    /// Claimed.
    pub processing: u64,
    /// Finished.
    pub done: u64,
    /// Given up.
    pub failed: u64,
    /// Not wanted any more.
    pub cancelled: u64,
    /// Of the pending ones: those that wait for a dependency.
    pub blocked: u64,
    /// Of the pending ones: those that wait out a delay.
    pub delayed: u64,
}

impl JobStats {
    /// Done chunks in percent of all, 0 to 100. A job without chunks is at 0.
    #[allow(clippy::cast_precision_loss)]
    pub fn completion_percent(&self) -> f64 {
        if self.total_chunks == 0 { 0.0 } else { self.done as f64 / self.total_chunks as f64 * 100.0 }
    }

    /// Whether every chunk is done.
    pub fn is_complete(&self) -> bool {
        self.done == self.total_chunks
    }

    /// Whether a chunk was given up.
    pub fn has_failures(&self) -> bool {
        self.failed > 0
    }

    /// Pending chunks that a claim could take now.
    pub fn ready(&self) -> u64 {
        self.pending - self.blocked - self.delayed
    }

    /// Whether work is left and none of it will ever start by itself: nothing is ready, processing or delayed.
    pub fn is_stalled(&self) -> bool {
        !self.is_finished() && self.ready() == 0 && self.processing == 0 && self.delayed == 0
    }

    /// Whether every chunk is done, failed or cancelled.
    pub fn is_finished(&self) -> bool {
        self.pending == 0 && self.processing == 0
    }
}

/// A job as `list_jobs` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobInfo {
    /// The job.
    pub job_id: i64,
    /// What its manifest says of all chunks.
    pub spec: JobSpec,
    /// How many chunks stand where.
    pub stats: JobStats,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// The store's revision when the job itself was last changed (not its chunks).
    pub revision: u64,
}

/// One entry of the change feed: the newest state of something that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum Change {
    /// A chunk was created or changed; with the chunks it depends on.
    Chunk {
        /// The chunk's state.
        state: Box<JobState>,
        /// Chunks that it depends on, in ascending order.
        depends_on: Vec<u64>,
    },
    /// A chunk was deleted.
    ChunkDeleted {
        /// The job.
        job_id: i64,
        /// The chunk.
        chunk: u64,
        /// The store's revision of the deletion.
        revision: u64,
    },
    /// A job was created or its settings changed.
    Job {
        /// The job as it stands.
        job: Box<JobInfo>,
        /// The store's revision of the change.
        revision: u64,
    },
    /// A job was deleted, with all its chunks.
    JobDeleted {
        /// The job.
        job_id: i64,
        /// The store's revision of the deletion.
        revision: u64,
    },
}

impl Change {
    /// The store's revision of the change.
    pub fn revision(&self) -> u64 {
        match self {
            Change::Chunk { state, .. } => state.revision,
            Change::ChunkDeleted { revision, .. }
            | Change::Job { revision, .. }
            | Change::JobDeleted { revision, .. } => *revision,
        }
    }
}

/// A page of the change feed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Changes {
    /// The newest state of each thing that changed, in revision order.
    pub changes: Vec<Change>,
    /// Hand this to the next call of `changes`.
    pub next: u64,
    /// Whether there is more already.
    pub more: bool,
}

/// A job id within its limits.
pub(crate) fn check_job_id(job_id: i64) -> Result<i64> {
    match u64::try_from(job_id) {
        Ok(id) if id <= limits::ID_MAX => Ok(job_id),
        _ => Err(Error::invalid(format!("job id {job_id} is out of range: use 0 to {}", limits::ID_MAX))),
    }
}

/// A chunk id within its limits.
pub(crate) fn check_chunk_id(chunk: u64) -> Result<u64> {
    if chunk <= limits::ID_MAX {
        Ok(chunk)
    } else {
        Err(Error::invalid(format!("chunk id {chunk} is out of range: use 0 to {}", limits::ID_MAX)))
    }
}

/// A lease within its limits.
pub(crate) fn check_lease_ms(lease_ms: u64) -> Result<u64> {
    if limits::LEASE_MS.contains(&lease_ms) {
        Ok(lease_ms)
    } else {
        Err(Error::invalid(format!(
            "a lease of {lease_ms} ms is out of range: use {} to {} ms",
            limits::LEASE_MS.start(),
            limits::LEASE_MS.end()
        )))
    }
}

/// Text within a limit of bytes.
pub(crate) fn check_size(what: &str, bytes: usize, limit: usize) -> Result<()> {
    if bytes <= limit {
        Ok(())
    } else {
        Err(Error::new(
            crate::ErrorKind::TooLarge,
            format!(
                "the {what} has {bytes} bytes, the limit is {limit}; keep it outside and store where it is"
            ),
        ))
    }
}
