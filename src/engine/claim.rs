//! Taking chunks.

use super::numbers::Numbers;
use super::work::Work;
use super::{Probing, reap, settle};
use crate::backends::contract::Key;
use crate::error::Result;
use crate::machine::Event;
use crate::model::{ClaimRequest, JobState, OwnerId};

/// Takes up to `count` ready chunks in claim order. Where there are too few, looks whether owners have died.
pub(super) fn claim(
    work: &mut Work<'_>,
    probe: &mut Probing,
    numbers: &mut Numbers,
    (owner, seq): (OwnerId, u64),
    request: &ClaimRequest,
) -> Result<Vec<JobState>> {
    if let Some(job) = request.job_id {
        work.job(job)?;
    }
    if seq != 0 {
        if !numbers.is_new(owner, seq) {
            let (resent, newest) = already_claimed(work, owner, seq)?;
            numbers.note(owner, newest);
            if !resent.is_empty() {
                return Ok(resent);
            }
        }
        numbers.note(owner, seq);
    }
    let mut taken = Vec::new();
    take(work, owner, seq, request, &mut taken)?;
    if taken.len() < request.count && probe.is_time() && reap::dead_owners(work)? {
        take(work, owner, seq, request, &mut taken)?;
    }
    taken.into_iter().map(|key| work.state(key)).collect()
}

/// The answer to a claim that was sent before, found in the records that it created, and the highest number among all
/// that the client holds.
fn already_claimed(work: &mut Work<'_>, owner: OwnerId, seq: u64) -> Result<(Vec<JobState>, u64)> {
    let (mut found, mut newest) = (Vec::new(), seq);
    let mut after = None;
    loop {
        let (page, next) = work.held(owner, after, crate::limits::PAGE_ROWS_MAX)?;
        for key in page {
            let claim_seq = work.row(key)?.record.claim_seq();
            newest = newest.max(claim_seq);
            if claim_seq == seq {
                found.push(work.state(key)?);
            }
        }
        match next {
            None => return Ok((found, newest)),
            next => after = next,
        }
    }
}

fn take(
    work: &mut Work<'_>,
    owner: OwnerId,
    seq: u64,
    request: &ClaimRequest,
    taken: &mut Vec<Key>,
) -> Result<()> {
    let event = Event::Claim { owner, seq, lease_ms: request.lease_ms };
    let mut from = 0;
    while taken.len() < request.count {
        let job = match request.job_id {
            Some(job) => job,
            None => match work.ready_job_from(from)? {
                Some(job) => job,
                None => return Ok(()),
            },
        };
        if work.job(job).is_ok() && !settle::is_blocking(work, job)? {
            while taken.len() < request.count
                && let Some(key) = work.next_ready(job, request.count - taken.len())?
            {
                work.happen(key, event)?;
                taken.push(key);
            }
        }
        if request.job_id.is_some() {
            return Ok(());
        }
        from = job + 1;
    }
    Ok(())
}
