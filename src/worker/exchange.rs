//! One exchange with the store: what has been finished goes in, new claims come out, in as few commits as that takes.

use std::future::Future;
use std::mem::replace;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::task::{Context as Task, Poll};
use std::time::Instant;

use futures_util::future::{join, join_all};

use super::context::Said;
use super::pulse::{Hold, Keeper};
use crate::clock::monotonic;
use crate::error::{Error, Result};
use crate::limits;
use crate::model::{ChunkUpdate, ClaimRequest, Completion, JobState};
use crate::store::JobStore;

/// How a claim is to end.
#[derive(Debug, Clone)]
pub(super) enum End {
    Complete(Completion),
    Fail(String),
    FailWithDelay(String, u64),
    FailPermanently(String),
    Release,
    ReleaseWithDelay(u64),
}

impl End {
    /// An error of a handler that has said what is to come of it.
    pub(super) fn as_said(said: Said, error: String) -> Self {
        match said {
            Said::FailWithDelay(delay_ms) => End::FailWithDelay(error, delay_ms),
            Said::FailPermanently => End::FailPermanently(error),
            Said::ReleaseWithDelay(delay_ms) => End::ReleaseWithDelay(delay_ms),
        }
    }

    /// A result. One that the store would refuse for its size is an error of the handler's.
    pub(super) fn of(completion: Completion) -> Self {
        match completion.check() {
            Ok(()) => End::Complete(completion),
            Err(error) => End::Fail(error.to_string()),
        }
    }
}

/// A claim whose handler has returned.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) hold: Hold,
    pub(super) end: End,
}

/// What became of it in the store.
#[derive(Debug, Clone, Copy)]
pub(super) enum Became {
    Completed,
    Retried,
    Failed,
    Released,
}

/// The store's answers.
#[derive(Debug)]
pub(super) struct Exchanged {
    pub(super) settled: Vec<(Finished, Result<Became>)>,
    /// `None` where nothing was asked for, or nothing came to be asked.
    pub(super) claimed: Option<Result<Vec<Claimed>>>,
}

/// A claim that the store answered with, held from there on: whoever drops the run before it is begun gives it back.
pub(super) type Claimed = (JobState, Hold);

/// An exchange on its way. The run's task brings it on, and takes the answers. Where a handler blocks that task, the
/// worker's thread brings it on meanwhile, so that what the store answers with is held before its lease is over.
pub(super) struct UnderWay {
    pub(super) began: Instant,
    stage: Mutex<Stage>,
}

enum Stage {
    Asked(Pin<Box<dyn Future<Output = Exchanged> + Send>>),
    Answered(Box<Exchanged>),
    Over,
}

impl UnderWay {
    pub(super) fn new(exchanging: impl Future<Output = Exchanged> + Send + 'static) -> Arc<Self> {
        Arc::new(UnderWay { began: monotonic(), stage: Mutex::new(Stage::Asked(Box::pin(exchanging))) })
    }

    /// The answers, once. Nobody but the run's task takes them.
    pub(super) fn poll(&self, task: &mut Task<'_>) -> Poll<Exchanged> {
        let mut stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        if let Stage::Asked(exchanging) = &mut *stage {
            let answers = exchanging.as_mut().poll(task);
            if answers.is_ready() {
                *stage = Stage::Over;
            }
            return answers;
        }
        match replace(&mut *stage, Stage::Over) {
            Stage::Answered(answers) => Poll::Ready(*answers),
            Stage::Asked(_) | Stage::Over => Poll::Pending,
        }
    }

    /// Has the answers ready for who takes them. Says whether they have just come. It waits for nobody: where the run's task
    /// is at it, there is nothing to do.
    pub(super) fn bring_on(&self, task: &mut Task<'_>) -> bool {
        let mut stage = match self.stage.try_lock() {
            Ok(stage) => stage,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        let Stage::Asked(exchanging) = &mut *stage else { return false };
        let Poll::Ready(answers) = exchanging.as_mut().poll(task) else { return false };
        *stage = Stage::Answered(Box::new(answers));
        true
    }
}

pub(super) async fn exchange(
    store: Arc<dyn JobStore>,
    keeper: Keeper,
    mut finished: Vec<Finished>,
    request: Option<ClaimRequest>,
) -> Exchanged {
    let hold = |claims: Vec<JobState>| -> Vec<Claimed> {
        let held = claims.into_iter().map(|state| {
            let hold = keeper.hold(&state);
            (state, hold)
        });
        held.collect()
    };
    if let ([one], Some(request)) = (&finished[..], &request)
        && let End::Complete(completion) = &one.end
    {
        let answer = store.complete_and_claim(&one.hold.claim(), completion.clone(), request).await;
        let (became, claimed) = match answer {
            Ok(claims) => (Ok(Became::Completed), Some(Ok(hold(claims)))),
            // Whether there is anything to claim, the next exchange finds out.
            Err(error) => (Err(error), None),
        };
        return Exchanged {
            settled: finished.into_iter().map(|one| (one, became.clone())).collect(),
            claimed,
        };
    }
    finished.sort_by_key(|one| one.hold.claim().job_id);
    let same_job = |a: &Finished, b: &Finished| a.hold.claim().job_id == b.hold.claim().job_id;
    let parts = finished.chunk_by(same_job).flat_map(|of_job| of_job.chunks(limits::BATCH_UPDATES_MAX));
    let ends = join_all(parts.map(|part| end(&*store, part)));
    let claims = async {
        match &request {
            Some(request) => Some(store.claim(request).await.map(hold)),
            None => None,
        }
    };
    // Handed in at the same moment, so that they can share a commit.
    let (answers, claimed) = join(ends, claims).await;
    Exchanged { settled: finished.into_iter().zip(answers.into_iter().flatten()).collect(), claimed }
}

/// Ends claims of one job in one commit.
async fn end(store: &dyn JobStore, part: &[Finished]) -> Vec<Result<Became>> {
    let updates = part.iter().map(|one| {
        let claim = one.hold.claim();
        match &one.end {
            End::Complete(completion) => ChunkUpdate::Complete(claim, completion.clone()),
            End::Fail(error) => ChunkUpdate::Fail(claim, error.clone()),
            End::FailWithDelay(error, delay_ms) => {
                ChunkUpdate::FailWithDelay(claim, error.clone(), *delay_ms)
            }
            End::FailPermanently(error) => ChunkUpdate::FailPermanently(claim, error.clone()),
            End::Release => ChunkUpdate::Release(claim),
            End::ReleaseWithDelay(delay_ms) => ChunkUpdate::ReleaseWithDelay(claim, *delay_ms),
        }
    });
    let answers = match store.apply_batch_updates(part[0].hold.claim().job_id, updates.collect()).await {
        Ok(answers) => answers,
        Err(error) => vec![Err(error); part.len()],
    };
    part.iter().zip(answers).map(|(one, answer)| answer.map(|_| became(one))).collect()
}

/// What the store makes of an end that it took: known without asking, so that a wave of failures costs no reads.
fn became(one: &Finished) -> Became {
    match one.end {
        End::Complete(_) => Became::Completed,
        End::Release | End::ReleaseWithDelay(_) => Became::Released,
        End::Fail(_) | End::FailWithDelay(..) if !one.hold.is_last() => Became::Retried,
        End::Fail(_) | End::FailWithDelay(..) | End::FailPermanently(_) => Became::Failed,
    }
}

/// Whether a result was refused for what it says: the claim is still open, and the handler's work was wrong.
pub(super) fn is_wrong_result(error: &Error) -> bool {
    use crate::error::ErrorKind::{ChecksumMismatch, InvalidInput, TooLarge};
    matches!(error.kind(), ChecksumMismatch | InvalidInput | TooLarge)
}
