//! A chunk: as a manifest states it, and as it stands.

use serde::{Deserialize, Serialize};

use super::{Claim, Deadline, DependencyFailure, JobStatus, Json, OwnerId};

/// One chunk as a manifest states it, or as a caller streams it into [`crate::JobStore::import`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct NewChunk {
    /// The chunk's number within its job, 0 to [`crate::limits::ID_MAX`].
    pub id: u64,
    /// The checksum that a completion's is compared with.
    pub checksum: Option<String>,
    /// Anything the worker needs, as JSON.
    pub payload: Option<Json>,
    /// Chunks of the same job that must be done first.
    pub depends_on: Vec<u64>,
    /// Higher is claimed first. Default: 0.
    pub priority: i32,
    /// Claims that may end in an error, where it differs from the job's; 0 is no limit. The key `max_attempts` of a manifest.
    pub attempts_max: Option<u32>,
    /// Claims whose owner may vanish, where it differs from the job's; 0 is no limit. The key `max_losses` of a manifest.
    pub losses_max: Option<u32>,
    /// What becomes of this chunk when a dependency fails, where it differs from the job's.
    pub on_dependency_failure: Option<DependencyFailure>,
    /// Nobody gets it before this moment, in milliseconds since the Unix epoch. An import that comes again moves it, for as
    /// long as nobody has had the chunk; later it is without meaning. The key `not_before` of a manifest, which takes date and
    /// time.
    pub not_before_ms: Option<u64>,
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

    /// The same for later: nobody gets it before this moment, in milliseconds since the Unix epoch.
    ///
    /// ```
    /// use magnetar::{Clock, JobStore, NewChunk, SystemClock, block_on};
    ///
    /// block_on(async {
    ///     let store = magnetar::open(":memory:").await?;
    ///     let chunks = [NewChunk::new(1).not_before_ms(SystemClock.now_ms() + 3_600_000)];
    ///     store.import(7, &Default::default(), magnetar::chunks(chunks.into_iter().map(Ok)), &Default::default()).await?;
    ///     assert!(store.claim_pending(7).await?.is_none());
    ///     assert_eq!(store.get_stats(7).await?.delayed, 1);
    ///     Ok::<(), magnetar::Error>(())
    /// }).unwrap();
    /// ```
    #[must_use]
    pub fn not_before_ms(mut self, moment_ms: u64) -> Self {
        self.not_before_ms = Some(moment_ms);
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
    /// Until when it waits, while it is pending: after a failure, because its holder gave it back for later, or because its
    /// manifest says so. That last moment is one of the calendar, and as such was set at 0; it stays where the chunk is
    /// cancelled or marked as failed before somebody has had it, and holds once it is retried.
    pub not_before: Option<Deadline>,
    /// Dependencies that are not met yet.
    pub unmet_dependencies: u32,
    /// What the completion reported, as JSON.
    pub output: Option<Json>,
    /// When it was imported, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// When it last changed, in milliseconds since the Unix epoch.
    pub updated_at_ms: u64,
    /// The store's revision at its last change; [`JobState::unmet_dependencies`] changes without it.
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
