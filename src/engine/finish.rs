//! Ending claims, and setting chunks from outside.

use super::settle;
use super::work::{Happened, Work};
use super::{Applied, Reply, Result};
use crate::backends::contract::Key;
use crate::error::Error;
use crate::machine::{Event, Told};
use crate::model::{ChunkUpdate, Claim, Completion, Failure, JobStatus, Outcome, ResetReach};

/// Tells one chunk of one event, and its dependents of what that came to.
pub(super) fn happen(work: &mut Work<'_>, key: Key, event: Event<'_>) -> Result<Outcome> {
    match work.happen(key, event)? {
        Happened::Nothing => Ok(Outcome::Unchanged),
        Happened::Changed { before, after } => {
            settle::changed(work, key, before, after, ResetReach::Direct)?;
            Ok(Outcome::Changed)
        }
    }
}

fn fenced(work: &mut Work<'_>, claim: Claim, event: Event<'_>) -> Result<Outcome> {
    work.job(claim.job_id)?;
    happen(work, Key { job: claim.job_id, chunk: claim.chunk }, event)
}

pub(super) fn complete(work: &mut Work<'_>, claim: Claim, result: &Completion) -> Result<Outcome> {
    work.job(claim.job_id)?;
    let key = Key { job: claim.job_id, chunk: claim.chunk };
    settle::hear(work, key, Told::blocks)?;
    happen(work, key, Event::Complete { fence: claim.fence, result })
}

pub(super) fn fail(work: &mut Work<'_>, claim: Claim, error: &str, failure: Failure) -> Result<Outcome> {
    fenced(work, claim, Event::Fail { fence: claim.fence, error, failure })
}

/// Gives a claim back; nobody gets the chunk for so long.
pub(super) fn release(work: &mut Work<'_>, claim: Claim, delay_ms: u64) -> Result<Outcome> {
    fenced(work, claim, Event::Release { fence: claim.fence, delay_ms })
}

pub(super) fn heartbeat(work: &mut Work<'_>, claim: Claim) -> Result<Outcome> {
    fenced(work, claim, Event::Heartbeat { fence: claim.fence })
}

pub(super) fn mark(
    work: &mut Work<'_>,
    key: Key,
    status: JobStatus,
    detail: Option<&str>,
) -> Result<Outcome> {
    let event = match status {
        JobStatus::Done => Event::MarkDone { checksum: detail },
        JobStatus::Failed => Event::MarkFailed { error: detail },
        JobStatus::Cancelled => Event::Cancel { cause: None },
        JobStatus::Pending => Event::MarkPending,
        JobStatus::Processing => {
            return Err(Error::new(
                crate::ErrorKind::Refused,
                "a chunk cannot be marked processing: claim it, so that it has an owner and a fence",
            )
            .at(key.job, key.chunk));
        }
    };
    if status == JobStatus::Done {
        // One that nobody claimed may not know yet that all it waits for is done.
        settle::hear(work, key, Told::changes_met)?;
    }
    happen(work, key, event)
}

pub(super) fn chunk_of(update: &ChunkUpdate) -> u64 {
    match update {
        ChunkUpdate::Complete(claim, _)
        | ChunkUpdate::Fail(claim, _)
        | ChunkUpdate::FailWithDelay(claim, ..)
        | ChunkUpdate::FailPermanently(claim, _)
        | ChunkUpdate::Release(claim)
        | ChunkUpdate::ReleaseWithDelay(claim, _)
        | ChunkUpdate::Heartbeat(claim) => claim.chunk,
        ChunkUpdate::Mark { chunk, .. } => *chunk,
    }
}

fn marked_done(update: &ChunkUpdate) -> Option<u64> {
    match update {
        ChunkUpdate::Mark { chunk, status: JobStatus::Done, .. } => Some(*chunk),
        _ => None,
    }
}

/// Many updates in one commit, each answered by itself.
pub(super) fn updates(work: &mut Work<'_>, job: i64, updates: &[ChunkUpdate]) -> Result<Applied> {
    work.job(job)?;
    if settle::comes_first(work, job, updates.iter().filter_map(marked_done))? {
        return Ok(Applied::Same);
    }
    let answers = updates
        .iter()
        .map(|update| match update {
            ChunkUpdate::Complete(claim, result) => complete(work, *claim, result),
            ChunkUpdate::Fail(claim, error) => fail(work, *claim, error, Failure::Retryable),
            ChunkUpdate::FailWithDelay(claim, error, delay_ms) => {
                fail(work, *claim, error, Failure::RetryableIn(*delay_ms))
            }
            ChunkUpdate::FailPermanently(claim, error) => fail(work, *claim, error, Failure::Permanent),
            ChunkUpdate::Release(claim) => release(work, *claim, 0),
            ChunkUpdate::ReleaseWithDelay(claim, delay_ms) => release(work, *claim, *delay_ms),
            ChunkUpdate::Heartbeat(claim) => heartbeat(work, *claim),
            ChunkUpdate::Mark { chunk, status, detail } => {
                mark(work, Key { job, chunk: *chunk }, *status, detail.as_deref())
            }
        })
        .collect();
    Ok(Applied::Reply(Reply::Updates(answers)))
}
