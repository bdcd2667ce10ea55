//! What workers ask and report.

use serde::{Deserialize, Serialize};

use super::{JobStatus, Json, check_size};
use crate::error::Result;
use crate::limits;

/// Names one claim of one chunk: what a fenced call is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Claim {
    /// The job.
    pub job_id: i64,
    /// The chunk.
    pub chunk: u64,
    /// The fence of [`crate::JobState::fence`].
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
    /// At most so many chunks, 1 to [`crate::limits::CLAIM_COUNT_MAX`]; fewer where their payloads come to
    /// [`crate::limits::CLAIM_BYTES_MAX`].
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
    /// The checksum that was observed; compared with the expected one where there is one. A completion without one is
    /// taken as it is: the comparison is only made where a worker reports what it saw.
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

    /// Whether both are within their limits.
    pub(crate) fn check(&self) -> Result<()> {
        let checksum = self.checksum.as_ref().map_or(0, String::len);
        let output = self.output.as_ref().map_or(0, |output| output.as_str().len());
        check_size("checksum", checksum, limits::CHECKSUM_BYTES_MAX)?;
        check_size("output", output, limits::OUTPUT_BYTES_MAX)
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

/// What an error says of further attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The next one may go well, after the job's backoff.
    Retryable,
    /// The next one may go well after so long, in milliseconds.
    RetryableIn(u64),
    /// None will.
    Permanent,
}

/// One update of [`crate::JobStore::apply_batch_updates`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChunkUpdate {
    /// Complete a claim.
    Complete(Claim, Completion),
    /// End a claim with an error.
    Fail(Claim, String),
    /// The same, and the next attempt may begin after so many milliseconds.
    FailWithDelay(Claim, String, u64),
    /// The same, and the chunk is failed, whatever attempts it has left.
    FailPermanently(Claim, String),
    /// Give a claim back.
    Release(Claim),
    /// The same, and nobody gets the chunk for so many milliseconds.
    ReleaseWithDelay(Claim, u64),
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
