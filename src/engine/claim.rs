//! Taking chunks.

use super::numbers::{Numbered, Numbers};
use super::work::Work;
use super::{Probing, reap, settle};
use crate::backends::contract::Key;
use crate::error::Result;
use crate::limits;
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
        if !numbers.is_new(Numbered::Claim, owner, seq) {
            let (resent, newest) = already_claimed(work, owner, seq)?;
            numbers.note(Numbered::Claim, owner, newest);
            if !resent.is_empty() {
                return Ok(resent);
            }
        }
        numbers.note(Numbered::Claim, owner, seq);
    }
    let mut taken = Taken::default();
    take(work, owner, seq, request, &mut taken)?;
    if taken.wanted(request) > 0 && probe.is_time() && reap::dead_owners(work, probe)? {
        take(work, owner, seq, request, &mut taken)?;
    }
    states(work, taken.keys)
}

/// The chunks of a claim as its caller gets them.
fn states(work: &mut Work<'_>, keys: Vec<Key>) -> Result<Vec<JobState>> {
    work.fetch_whole(keys.iter().copied())?;
    keys.into_iter().map(|key| work.state(key)).collect()
}

/// The answer to a claim that was sent before, found in the records that it created, and the highest number among all
/// that the client holds.
fn already_claimed(work: &mut Work<'_>, owner: OwnerId, seq: u64) -> Result<(Vec<JobState>, u64)> {
    let (mut found, mut newest) = (Vec::new(), seq);
    let mut after = None;
    loop {
        let (page, next) = work.held(owner, after, limits::PAGE_ROWS_MAX)?;
        for key in page {
            let record = &work.row(key)?.record;
            let (claim_seq, fence) = (record.claim_seq(), record.fence);
            newest = newest.max(claim_seq);
            if claim_seq == seq {
                found.push((fence, key));
            }
        }
        match next {
            None => break,
            next => after = next,
        }
    }
    // In the order in which they were claimed.
    found.sort_unstable();
    Ok((states(work, found.into_iter().map(|(_, key)| key).collect())?, newest))
}

/// So many rows are read ahead of a claim at most: they may be large, and more than it can take.
pub(super) const AHEAD_MAX: usize = 256;

/// What a claim has so far.
#[derive(Default)]
struct Taken {
    keys: Vec<Key>,
    bytes: usize,
}

impl Taken {
    /// How many more it may take.
    fn wanted(&self, request: &ClaimRequest) -> usize {
        if self.bytes < limits::CLAIM_BYTES_MAX { request.count - self.keys.len() } else { 0 }
    }
}

fn take(
    work: &mut Work<'_>,
    owner: OwnerId,
    seq: u64,
    request: &ClaimRequest,
    taken: &mut Taken,
) -> Result<()> {
    let event = Event::Claim { owner, seq, lease_ms: request.lease_ms };
    while taken.wanted(request) > 0 {
        let job = match request.job_id {
            Some(job) => job,
            None => match work.ready_job()? {
                Some(job) => job,
                None => return Ok(()),
            },
        };
        if work.job(job).is_ok() && !settle::is_blocking(work, job)? {
            loop {
                let wanted = taken.wanted(request).min(AHEAD_MAX);
                let next = if wanted > 0 { work.next_ready(job, wanted)? } else { None };
                let Some(key) = next else { break };
                taken.bytes += work.row(key)?.content.payload_bytes();
                work.happen(key, event)?;
                taken.keys.push(key);
            }
        }
        if request.job_id.is_some() || taken.wanted(request) == 0 {
            return Ok(());
        }
        work.pass_ready_job(job);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backends::contract::{
        Content, Counts, Delta, JobRow, Load, Loaded, Meta, Needs, PageNeed, Record, Row, WriteTx,
    };
    use crate::clock::SystemClock;
    use crate::engine::Host;
    use crate::model::Durability;
    use crate::owners::Alone;

    /// A storage with so many jobs of one chunk each, that counts what it is asked.
    struct Jobs {
        count: i64,
        asked: i64,
    }

    fn job(id: i64) -> JobRow {
        JobRow::plain(id, Counts { by_class: [1; 7] }, 1)
    }

    fn row(job: i64) -> Row {
        let content = Content::plain(1);
        Row {
            key: Key { job, chunk: 0 },
            content: Arc::new(content),
            record: Record::shared_fresh(),
            unmet: 0,
        }
    }

    impl Load for Jobs {
        fn load(&mut self, needs: &Needs) -> Result<Loaded> {
            self.asked += 1;
            let mut loaded = Loaded::new(Meta {
                store_id: [1; 16],
                revision: 1,
                last_job: self.count,
                clock_ms: 0,
                cursors: 0,
                log_start: 0,
                affairs: None,
            });
            loaded.jobs = needs.jobs.iter().map(|&id| (id, Some(job(id)))).collect();
            let rows = |job, is_first: bool| is_first.then(|| row(job)).into_iter().collect();
            loaded.ready = needs.ready.iter().map(|need| rows(need.job, need.after.is_none())).collect();
            loaded.ready_job = needs.ready_job_from.filter(|from| *from < self.count);
            Ok(loaded)
        }

        fn page(&mut self, _: &PageNeed, _: &mut dyn FnMut(Row)) -> Result<()> {
            unreachable!("nobody lists")
        }
    }

    impl WriteTx for Jobs {
        fn commit(self: Box<Self>, _: Delta) -> Result<()> {
            unreachable!("nobody commits")
        }
    }

    #[test]
    fn claims_of_one_group_pass_each_job_that_they_emptied_once_and_find_what_comes_back() {
        const OWNER: OwnerId = OwnerId::from_bytes([7; 16]);
        let host = Host {
            clock: Arc::new(SystemClock),
            liveness: Arc::new(Alone),
            owner: OWNER,
            imports: Default::default(),
            durability: Durability::Full,
            bounds: settle::Bounds::default(),
        };
        let mut storage = Jobs { count: 100, asked: 0 };
        let (mut work, _) = Work::open(&mut storage, &host, 1, &Needs::default()).unwrap();
        let claim = |work: &mut Work<'_>| {
            let mut taken = Taken::default();
            take(work, OWNER, 0, &ClaimRequest::new(), &mut taken).unwrap();
            taken.keys.pop().map(|key| key.job)
        };
        for job in 0..90 {
            assert_eq!(claim(&mut work), Some(job));
        }
        for job in [40, 20] {
            let fence = work.row(Key { job, chunk: 0 }).unwrap().record.fence;
            work.happen(Key { job, chunk: 0 }, Event::Release { fence, delay_ms: 0 }).unwrap();
        }
        let rest: Vec<i64> = std::iter::from_fn(|| claim(&mut work)).collect();
        assert_eq!(rest, [20, 40].into_iter().chain(90..100).collect::<Vec<_>>());
        drop(work);
        assert!(storage.asked <= 5 * storage.count, "{} questions", storage.asked);
    }
}
