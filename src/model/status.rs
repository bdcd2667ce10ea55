//! Where a chunk stands.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

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
