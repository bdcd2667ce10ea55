//! Taking chunks.

use super::work::Work;
use super::{Probing, reap};
use crate::backends::contract::Key;
use crate::error::Result;
use crate::machine::Event;
use crate::model::{ClaimRequest, JobState, OwnerId};

/// Takes up to `count` ready chunks in claim order. Where there are too few, looks whether owners have died.
pub(super) fn claim(
    work: &mut Work<'_>,
    probe: &mut Probing,
    owner: OwnerId,
    seq: u64,
    request: &ClaimRequest,
) -> Result<Vec<JobState>> {
    if let Some(job) = request.job_id {
        work.job(job)?;
    }
    if seq != 0
        && let Some(resent) = already_claimed(work, owner, seq)?
    {
        return Ok(resent);
    }
    let mut taken = Vec::new();
    take(work, owner, seq, request, &mut taken)?;
    if taken.len() < request.count && probe.is_time() && reap::dead_owners(work)? {
        take(work, owner, seq, request, &mut taken)?;
    }
    taken.into_iter().map(|key| work.state(key)).collect()
}

/// The answer to a claim that was sent before, found in the records that it created.
fn already_claimed(work: &mut Work<'_>, owner: OwnerId, seq: u64) -> Result<Option<Vec<JobState>>> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let (page, next) = work.held(owner, after, crate::limits::PAGE_ROWS_MAX)?;
        for key in page {
            if work.row(key)?.record.claim_seq == seq {
                found.push(work.state(key)?);
            }
        }
        after = match next {
            None => break,
            next => next,
        };
    }
    Ok((!found.is_empty()).then_some(found))
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
        if work.job(job).is_ok() {
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
