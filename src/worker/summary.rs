//! What a run came to.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Ending {
    /// Every chunk is done, failed or cancelled.
    Finished,
    /// Chunks are left that will not start by themselves: they wait for others that failed or were cancelled.
    Stalled,
    /// It was asked to stop.
    Stopped,
}

/// What a run came to. It counts this worker's own claims; others may have worked on the same job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Summary {
    /// Why the run ended.
    pub ending: Ending,
    /// Claims that ended with a result.
    pub completed: u64,
    /// Claims that ended with an error, whose chunk comes back after its backoff.
    pub retried: u64,
    /// Claims that ended with an error, whose chunk had no attempts left.
    pub failed: u64,
    /// Claims that were given back unfinished.
    pub released: u64,
    /// Claims whose chunk was taken over, ended or deleted by somebody else meanwhile.
    pub superseded: u64,
}

impl Summary {
    pub(super) const fn new() -> Self {
        Summary { ending: Ending::Stopped, completed: 0, retried: 0, failed: 0, released: 0, superseded: 0 }
    }

    /// Whether chunks are left that will not start by themselves.
    pub fn is_stalled(&self) -> bool {
        self.ending == Ending::Stalled
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = match self.ending {
            Ending::Finished => "finished",
            Ending::Stalled => "stalled",
            Ending::Stopped => "stopped",
        };
        let Summary { completed, retried, failed, released, superseded, .. } = self;
        write!(
            f,
            "{ending}: {completed} completed, {retried} retried, {failed} failed, {released} released, {superseded} superseded"
        )
    }
}
