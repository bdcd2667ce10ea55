//! Putting back what nobody works on any more, and what has waited long enough.

use std::collections::BTreeSet;

use super::finish;
use super::slice::Slice;
use super::work::Work;
use super::{Applied, Op, Probing, Reply, Result, Undelivered};
use crate::backends::contract::{DueNeed, JobPhase, Key, Row};
use crate::limits;
use crate::machine::{self, Event, Loss};
use crate::model::{Deadline, JobStatus, Outcome, OwnerId};
use crate::owners::Probe;

/// Rows that fall due, or that the dead hold, which one commit deals with at most.
pub(super) const ROWS_PER_COMMIT: usize = 1_000;

/// Owners that one commit finds dead at most: of each a lock is held until it is over.
const DEAD_OWNERS_PER_COMMIT: usize = 100;

/// Deals with rows that are due: over leases lapse, over delays end. Says whether the clock went back over more of them
/// than one commit deals with.
pub(super) fn due(work: &mut Work<'_>, rows: Vec<Row>) -> Result<bool> {
    let keys = work.take_in(rows);
    fall_due(work, keys)?;
    if work.now_ms.saturating_add(limits::CLOCK_SLACK_MS) < work.meta.clock_ms {
        // The clock went back: deadlines that were set under the old time would be years away.
        let at_ms = work.now_ms.saturating_add(limits::CLOCK_SLACK_MS);
        let keys = work.due(DueNeed::SetAfter { at_ms, limit: ROWS_PER_COMMIT })?;
        work.clock_reset = keys.len() < ROWS_PER_COMMIT;
        return Ok(fall_due(work, keys)? && !work.clock_reset);
    }
    Ok(false)
}

/// Leaves out what is in jobs that nobody sees yet: nothing happens to it, and no revision is given for it, before all
/// of it is there.
fn visible(work: &mut Work<'_>, mut keys: Vec<Key>) -> Result<Vec<Key>> {
    let mut invisible = BTreeSet::new();
    for key in &keys {
        if work.job_in_any_phase(key.job)?.is_some_and(|job| job.phase == JobPhase::Importing) {
            invisible.insert(key.job);
        }
    }
    keys.retain(|key| !invisible.contains(&key.job));
    Ok(keys)
}

/// Says whether there was any that is to be seen.
fn fall_due(work: &mut Work<'_>, keys: Vec<Key>) -> Result<bool> {
    let keys = visible(work, keys)?;
    let mut in_order = Vec::with_capacity(keys.len());
    for key in keys {
        let Some(row) = work.row_if_any(key)? else { continue };
        in_order.push((machine::place(row).due.map(Deadline::at_ms), key));
    }
    let any = !in_order.is_empty();
    // What falls due in one moment each storage has in an order of its own.
    in_order.sort_unstable();
    for (_, key) in in_order {
        let row = work.row(key)?;
        let event = match row.record.status {
            JobStatus::Processing => Event::Lapse(Loss::Lease),
            _ => Event::Promote,
        };
        finish::happen(work, key, event)?;
    }
    Ok(any)
}

/// Looks for owners that died and puts back what they held, as much as one commit deals with. Says whether it put
/// anything back.
pub(super) fn dead_owners(work: &mut Work<'_>, probe: &mut Probing) -> Result<bool> {
    let mut dead = BTreeSet::new();
    for owner in work.owners()? {
        if owner == work.host.owner {
            continue;
        }
        if dead.len() == DEAD_OWNERS_PER_COMMIT {
            probe.is_cut_short = true;
            break;
        }
        if let Probe::Dead(guard) = work.host.liveness.probe(owner) {
            work.guards.push(guard);
            dead.insert(owner);
        }
    }
    if dead.is_empty() {
        return Ok(false);
    }
    let (keys, is_cut_short) = work.held_by_any(dead, ROWS_PER_COMMIT)?;
    probe.is_cut_short |= is_cut_short;
    let mut any = false;
    for key in visible(work, keys)? {
        any |= finish::happen(work, key, Event::Lapse(Loss::Owner))? == Outcome::Changed;
    }
    Ok(any)
}

/// Puts back everything that is due, and, where asked, what dead owners hold; one slice a commit.
pub(super) fn reap(work: &mut Work<'_>, probe: Option<&mut Probing>) -> Result<Applied> {
    let keys = work.due(DueNeed::By { at_ms: work.now_ms, limit: ROWS_PER_COMMIT })?;
    let full = keys.len() == ROWS_PER_COMMIT;
    let goes_on = due(work, Vec::new())?;
    let any = fall_due(work, keys)?;
    if goes_on || full && any {
        return Ok(Applied::Again(Op::Reap { probe: probe.is_some() }));
    }
    if let Some(probe) = probe {
        probe.note();
        if dead_owners(work, probe)? {
            return Ok(Applied::Again(Op::Reap { probe: true }));
        }
    }
    Ok(Applied::Reply(Reply::Count(0)))
}

/// Gives back everything that an owner holds; it costs the chunks nothing.
pub(super) fn release_all(work: &mut Work<'_>, owner: OwnerId, released: u64) -> Result<Applied> {
    let (mut slice, mut after, mut released) = (Slice::default(), None, released);
    while let Some(limit) = slice.asks_for() {
        let (keys, next) = work.held(owner, after, limit)?;
        slice.add(keys.len(), work.text_bytes(&keys), 0);
        released += release(work, keys)?;
        if next.is_none() {
            return Ok(Applied::Reply(Reply::Count(released)));
        }
        after = next;
    }
    Ok(Applied::Again(Op::ReleaseAll { owner, released }))
}

/// Gives back the claims of this client that were committed but that nobody was told of.
pub(super) fn release_above(work: &mut Work<'_>, undelivered: &Undelivered) -> Result<()> {
    let mut after = None;
    loop {
        let (keys, next) = work.held(undelivered.owner, after, limits::SLICE_ROWS_MAX)?;
        let mut unheard = Vec::new();
        for key in keys {
            if work.row(key)?.record.fence > undelivered.above_fence {
                unheard.push(key);
            }
        }
        release(work, unheard)?;
        after = match next {
            None => return Ok(()),
            next => next,
        };
    }
}

/// Gives back claims. Says how many were held still.
fn release(work: &mut Work<'_>, keys: Vec<Key>) -> Result<u64> {
    let mut released = 0;
    for key in visible(work, keys)? {
        let fence = work.row(key)?.record.fence;
        let event = Event::Release { fence, delay_ms: 0 };
        released += u64::from(finish::happen(work, key, event)? == Outcome::Changed);
    }
    Ok(released)
}
