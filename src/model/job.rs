//! A job: what it says of its chunks, and how they stand.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::check_lease_ms;
use crate::error::{Error, Result};
use crate::limits;

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
#[non_exhaustive]
pub enum DependencyFailure {
    /// It waits, blocked, until the dependency is retried and done. The job shows as stalled.
    #[default]
    Wait,
    /// It is cancelled too; the cause is kept, and a retry of the cause brings it back, as does an import after which it no
    /// longer depends on it.
    Cancel,
    /// The dependency counts as met, until a reset.
    Ignore,
}

impl DependencyFailure {
    /// Every policy.
    pub const ALL: &'static [DependencyFailure] =
        &[DependencyFailure::Wait, DependencyFailure::Cancel, DependencyFailure::Ignore];

    /// The policy as text, as it stands in manifests, exports and SQL views.
    pub const fn as_str(self) -> &'static str {
        match self {
            DependencyFailure::Wait => "wait",
            DependencyFailure::Cancel => "cancel",
            DependencyFailure::Ignore => "ignore",
        }
    }
}

impl fmt::Display for DependencyFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for DependencyFailure {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        DependencyFailure::ALL
            .iter()
            .copied()
            .find(|p| text.eq_ignore_ascii_case(p.as_str()))
            .ok_or_else(|| Error::invalid(format!("{text:?} is no policy; use one of wait, cancel, ignore")))
    }
}

/// How long a chunk waits after a failed attempt: `initial_ms`, doubled at each further failure up to `max_ms`,
/// and spread by up to a quarter so that failures of one moment do not come back in one moment.
///
/// ```
/// use magnetar::{Backoff, JobSpec};
///
/// let patient = JobSpec::new().backoff(Backoff::new().initial_ms(60_000).max_ms(3_600_000));
/// let at_once = JobSpec::new().backoff(Backoff::NONE);
/// # let _ = (patient, at_once);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Backoff {
    /// The wait after the first failure, in milliseconds.
    pub initial_ms: u64,
    /// The longest wait, in milliseconds.
    pub max_ms: u64,
}

impl Backoff {
    /// No wait: the next attempt may begin at once.
    pub const NONE: Backoff = Backoff { initial_ms: 0, max_ms: 0 };

    /// One second at first, five minutes at most.
    pub const fn new() -> Self {
        Backoff { initial_ms: 1_000, max_ms: 300_000 }
    }

    /// The same with another wait after the first failure, in milliseconds. It is not to be above the longest one.
    #[must_use]
    pub const fn initial_ms(mut self, initial_ms: u64) -> Self {
        self.initial_ms = initial_ms;
        self
    }

    /// The same with another longest wait, in milliseconds, up to [`limits::BACKOFF_MS_MAX`].
    #[must_use]
    pub const fn max_ms(mut self, max_ms: u64) -> Self {
        self.max_ms = max_ms;
        self
    }
}

impl Default for Backoff {
    /// See [`Backoff::new`].
    fn default() -> Self {
        Backoff::new()
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
    /// Claims that may end in an error before a chunk is failed; 0 is no limit. Default: [`crate::limits::ATTEMPTS_MAX_DEFAULT`].
    /// The key `max_attempts` of a manifest.
    #[serde(rename = "max_attempts", skip_serializing_if = "Option::is_none")]
    pub attempts_max: Option<u32>,
    /// Claims whose owner may vanish before a chunk is failed; 0 is no limit. Default: [`crate::limits::LOSSES_MAX_DEFAULT`].
    /// The key `max_losses` of a manifest.
    #[serde(rename = "max_losses", skip_serializing_if = "Option::is_none")]
    pub losses_max: Option<u32>,
    /// How long a claim is held without a heartbeat, in milliseconds. Default: [`crate::limits::LEASE_MS_DEFAULT`].
    /// The key `lease` of a manifest.
    #[serde(rename = "lease", skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<u64>,
    /// The wait after a failed attempt, and from the second loss on. Default: [`Backoff::new`].
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
                "initial_ms {initial_ms} must not be above max_ms {max_ms}, nor that above {}",
                limits::BACKOFF_MS_MAX
            )));
        }
        Ok(())
    }
}

/// How many chunks of a job, or of several together, stand where: counters that are kept, never counted anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobStats {
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
    /// Whether chunks are still being told what became of those that they depend on, which goes on by itself: then
    /// `blocked` may be out of date.
    pub settling: bool,
}

impl JobStats {
    /// Done chunks in percent of all, 0 to 100. A job without chunks is at 0.
    #[allow(clippy::cast_precision_loss)]
    pub fn completion_percent(&self) -> f64 {
        // Multiplied first: 0.29 has no exact form, and a hundred times that is less than 29.
        if self.total_chunks == 0 { 0.0 } else { self.done as f64 * 100.0 / self.total_chunks as f64 }
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
        // Statistics may come from elsewhere: their fields are public.
        self.pending.saturating_sub(self.blocked).saturating_sub(self.delayed)
    }

    /// Whether work is left and none of it will ever start by itself: nothing is ready, processing, delayed or yet to be
    /// told that it may start.
    pub fn is_stalled(&self) -> bool {
        !self.is_finished()
            && self.ready() == 0
            && self.processing == 0
            && self.delayed == 0
            && !self.settling
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_percent_is_whole() {
        for total_chunks in 1..=400 {
            for done in 0..=total_chunks {
                let percent = JobStats { total_chunks, done, ..JobStats::default() }.completion_percent();
                let whole = (done * 100 / total_chunks).to_string();
                assert_eq!(percent.floor().to_string(), whole, "{done} of {total_chunks}: {percent}");
            }
        }
    }

    #[test]
    fn a_policy_is_read_as_it_is_written() {
        for &policy in DependencyFailure::ALL {
            assert_eq!(policy.to_string().parse::<DependencyFailure>().unwrap(), policy);
            assert_eq!(policy.as_str().to_uppercase().parse::<DependencyFailure>().unwrap(), policy);
        }
        let error = "abort".parse::<DependencyFailure>().unwrap_err();
        assert!(error.to_string().contains("wait, cancel, ignore"), "{error}");
    }
}
