//! What the operator sees of a move.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use serde::Serialize;

use crate::commit::{Place, Waiters, wake};
use crate::error::Error;

/// One of the two stores of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MoveSide {
    /// The store that work is moved from.
    First,
    /// The store that work is moved to.
    Second,
}

impl MoveSide {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            MoveSide::First => MoveSide::Second,
            MoveSide::Second => MoveSide::First,
        }
    }

    pub(super) fn index(self) -> usize {
        usize::from(self == MoveSide::Second)
    }
}

/// How far a move is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum MovePhase {
    /// The first copy is being made.
    Copying,
    /// The copy follows the authority, change by change.
    Following,
    /// The authority changes: calls wait.
    Switching,
    /// The pair was taken apart; the authority is on its own.
    Detached,
}

/// A move, as it stands.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MoveStatus {
    /// How far it is.
    pub phase: MovePhase,
    /// Who executes operations; nobody while the authority changes.
    pub authority: Option<MoveSide>,
    /// The newest revision of the authority that was heard of.
    pub revision: u64,
    /// Up to this revision the other store has everything.
    pub copied: u64,
    /// How many revisions the other store is behind.
    pub lag: u64,
    /// How many chunks of the first copy this process has made.
    pub chunks_copied: u64,
    /// Callers that asked for both stores are answered by the authority alone, because the other one is too slow or
    /// fails. Ends by itself when it has caught up.
    pub is_degraded: bool,
    /// Why the copy does not get on just now. It is tried again.
    pub error: Option<Error>,
    /// What the newest comparison came to.
    pub compared: Option<Comparison>,
}

/// What a comparison of two stores came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Comparison {
    /// Up to this revision of the authority.
    pub revision: u64,
    /// How many jobs were compared.
    pub jobs: u64,
    /// How many chunks were compared.
    pub chunks: u64,
    /// How many dependencies were compared.
    pub dependencies: u64,
    /// Chunks, and jobs themselves, that changed so often meanwhile that they could not be compared, or that the copy
    /// cannot have before an import that is under way is over. They are compared when the authority changes.
    pub moving: u64,
    /// How many differences there are.
    pub mismatch_count: u64,
    /// The first [`crate::limits::MISMATCHES_LISTED_MAX`] of them.
    pub mismatches: Vec<Mismatch>,
}

impl Comparison {
    pub(super) fn at(revision: u64) -> Self {
        Comparison {
            revision,
            jobs: 0,
            chunks: 0,
            dependencies: 0,
            moving: 0,
            mismatch_count: 0,
            mismatches: Vec::new(),
        }
    }

    /// Whether nothing differs.
    pub fn is_equal(&self) -> bool {
        self.mismatch_count == 0
    }

    /// The copy had everything only up to here.
    pub(super) fn reached(&mut self, at: Option<u64>) {
        self.revision = at.map_or(self.revision, |at| self.revision.min(at));
    }

    pub(super) fn found(&mut self, mismatch: Mismatch) {
        self.mismatch_count += 1;
        if self.mismatches.len() < crate::limits::MISMATCHES_LISTED_MAX {
            self.mismatches.push(mismatch);
        }
    }
}

/// A difference between two stores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Mismatch {
    /// The job.
    pub job_id: i64,
    /// The chunk; `None` where the job itself differs.
    pub chunk: Option<u64>,
    /// What differs: `status`, `payload`, `dependencies` and so on, or `missing` and `surplus` in the copy.
    pub what: Vec<&'static str>,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "job {}", self.job_id)?;
        if let Some(chunk) = self.chunk {
            write!(f, ", chunk {chunk}")?;
        }
        write!(f, ": {}", self.what.join(", "))
    }
}

/// Where the status stands for all to see.
#[derive(Debug)]
pub(super) struct Board(Mutex<Posted>);

#[derive(Debug)]
struct Posted {
    status: MoveStatus,
    version: u64,
    closed: bool,
    waiting: Waiters,
}

impl Board {
    pub(super) fn new() -> Arc<Self> {
        let status = MoveStatus {
            phase: MovePhase::Switching,
            authority: None,
            revision: 0,
            copied: 0,
            lag: 0,
            chunks_copied: 0,
            is_degraded: false,
            error: None,
            compared: None,
        };
        Arc::new(Board(Mutex::new(Posted { status, version: 0, closed: false, waiting: Waiters::default() })))
    }

    fn posted(&self) -> MutexGuard<'_, Posted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> MoveStatus {
        self.posted().status.clone()
    }

    pub(super) fn post(&self, change: impl FnOnce(&mut MoveStatus)) {
        self.post_if(|status| {
            change(status);
            true
        });
    }

    /// The same, where it says that it is news.
    pub(super) fn post_if(&self, change: impl FnOnce(&mut MoveStatus) -> bool) {
        let woken = {
            let mut posted = self.posted();
            if !change(&mut posted.status) {
                return;
            }
            posted.status.lag = posted.status.revision.saturating_sub(posted.status.copied);
            posted.version += 1;
            posted.waiting.take()
        };
        wake(woken);
    }

    pub(super) fn close(&self) {
        let woken = {
            let mut posted = self.posted();
            posted.closed = true;
            posted.waiting.take()
        };
        wake(woken);
    }
}

/// A stream of a move's status: see [`super::DualStore::watch_status`].
#[derive(Debug)]
pub struct StatusWatch {
    board: Arc<Board>,
    seen: u64,
    place: Place,
}

impl StatusWatch {
    pub(super) fn new(board: &Arc<Board>) -> Self {
        StatusWatch { board: Arc::clone(board), seen: 0, place: Place::default() }
    }

    /// The status, as soon as it is another than the one given last; the first time at once. `None` once the move's
    /// stores are closed. Changes that nobody waited for are told as one, and a future that is dropped
    /// misses none.
    pub async fn next(&mut self) -> Option<MoveStatus> {
        poll_fn(|context| {
            let mut posted = self.board.posted();
            if posted.version > self.seen {
                self.seen = posted.version;
                return Poll::Ready(Some(posted.status.clone()));
            }
            if posted.closed {
                return Poll::Ready(None);
            }
            let replaced = posted.waiting.wait(&mut self.place, context.waker());
            drop(posted);
            drop(replaced);
            Poll::Pending
        })
        .await
    }
}

impl Drop for StatusWatch {
    fn drop(&mut self) {
        let left = self.board.posted().waiting.leave(&mut self.place);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Wake, Waker};

    use super::*;

    struct Counted {
        _one: Arc<()>,
    }

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn a_wait_for_the_status_that_was_given_up_is_not_kept() {
        let (board, one) = (Board::new(), Arc::new(()));
        for _ in 0..10 {
            let waker = Waker::from(Arc::new(Counted { _one: Arc::clone(&one) }));
            let mut watch = StatusWatch::new(&board);
            assert!(pin!(watch.next()).poll(&mut Context::from_waker(&waker)).is_pending());
        }
        assert_eq!(Arc::strong_count(&one), 1);
    }
}
