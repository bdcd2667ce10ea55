//! Telling the dependents of a chunk what became of it, in the commit that changed it.
//!
//! Each dependency keeps a bit that says whether it counts as met, so telling twice does no harm. That is what lets a
//! chunk with very many dependents be settled in slices: a durable cursor stands for the rest, and newer news simply
//! start a new round. What of the older ones may not be lost with that is decided in one place, [`Told::then`].

use std::collections::VecDeque;

use super::work::{Happened, Work};
use super::{Applied, Reply, Result};
use crate::backends::contract::{Cursor, Edge, Key, PageNeed};
use crate::limits;
use crate::machine::{self, Event, News, Told};
use crate::model::{DependencyFailure, JobStatus, ResetReach};

/// How many dependents one commit tells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Of one chunk that changed, and of what comes of that.
    pub(crate) of_one: usize,
    pub(crate) of_all: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { of_one: limits::DEPENDENTS_PER_COMMIT_MAX, of_all: limits::TOLD_PER_COMMIT_MAX }
    }
}

/// Lists of a job that one commit goes on with at most.
const CURSORS_PER_COMMIT: usize = 1_000;

/// Whether chunks of a job may still seem ready though what they depend on is not done any more: their turn to be told of
/// it has not come. Nothing of the job is handed out until then.
pub(super) fn is_blocking(work: &mut Work<'_>, job: i64) -> Result<bool> {
    if !work.has_cursors() {
        return Ok(false);
    }
    let mut cursors = work.cursors_of(job)?;
    Ok(cursors.any(|cursor| cursor.told.blocks()))
}

/// The lists of what a chunk depends on that are still to come to it, of those that tell what matters.
fn owing(work: &mut Work<'_>, key: Key, matters: impl Fn(Told) -> bool) -> Result<Vec<Cursor>> {
    let mut owing = Vec::new();
    if !work.has_cursors() || !work.cursors_of(key.job)?.any(|cursor| matters(cursor.told)) {
        return Ok(owing);
    }
    for on in work.dependencies(&[key])?.pop().unwrap_or_default() {
        let cursor = work.cursor(Key { chunk: on, ..key })?;
        owing.extend(
            cursor
                .filter(|cursor| matters(cursor.told) && cursor.after.is_none_or(|after| after < key.chunk)),
        );
    }
    Ok(owing)
}

/// Whether one of these chunks is still to be told of a reset through, which its job goes on with then: it would take back
/// what was marked done behind it.
pub(super) fn comes_first(
    work: &mut Work<'_>,
    job: i64,
    chunks: impl IntoIterator<Item = u64>,
) -> Result<bool> {
    for chunk in chunks {
        if !owing(work, Key { job, chunk }, Told::takes_through)?.is_empty() {
            if work.told_left > 0 {
                go_on_in(work, job)?;
            }
            return Ok(true);
        }
    }
    Ok(false)
}

/// Tells a chunk that is about to be done what it is still owed of its dependencies, out of turn: as much of it as matters.
pub(super) fn hear(work: &mut Work<'_>, key: Key, matters: impl Fn(Told) -> bool) -> Result<()> {
    for cursor in owing(work, key, matters)? {
        let edge = Edge { job: key.job, chunk: key.chunk, on: cursor.key.chunk };
        let met = work.as_met(&[edge])?.pop().unwrap_or_default();
        if let Some(told) = tell_all(work, edge, met, cursor.told)? {
            let first = round_for(work, key, told)?;
            round(work, first)?;
        }
    }
    Ok(())
}

/// A new round for the dependents of a chunk, with what an unfinished one still owes them.
fn round_for(work: &mut Work<'_>, key: Key, told: Told) -> Result<Cursor> {
    let owed = work.cursor(key)?.map(|cursor| cursor.told);
    let told = owed.map_or(told, |owed| told.steps().fold(owed, Told::then));
    Ok(Cursor { key, after: None, told })
}

/// Tells the dependents of a chunk whose status changed.
pub(super) fn changed(
    work: &mut Work<'_>,
    key: Key,
    before: JobStatus,
    after: JobStatus,
    reach: ResetReach,
) -> Result<()> {
    match News::of(before, after, reach) {
        Some(news) => {
            let first = round_for(work, key, Told::of(news))?;
            round(work, first)
        }
        None => Ok(()),
    }
}

/// Tells of every failure of a job anew: what its chunks make of one has changed.
pub(super) fn tell_failures(work: &mut Work<'_>, job: i64) -> Result<()> {
    let mut after = None;
    loop {
        let classes = machine::BROKEN_CLASSES;
        let (keys, next) = work.page(PageNeed { job, classes, after, limit: limits::PAGE_ROWS_MAX })?;
        work.expect_ends(&keys)?;
        for key in keys {
            // One that another one had cancelled may be back: the other one owed that still.
            if classes.contains(&machine::place(work.row(key)?).class) {
                let first = round_for(work, key, Told::of(News::Broken))?;
                round(work, first)?;
            }
        }
        after = match next {
            None => return Ok(()),
            next => next,
        };
    }
}

/// Goes on with the cursors that earlier commits left, those of each job in turn.
pub(super) fn go_on(work: &mut Work<'_>) -> Result<Applied> {
    let (mut from, mut found) = (0, false);
    // However much the others told.
    work.told_left = work.told_left.max(work.host.bounds.of_one);
    while work.told_left > 0
        && let Some(job) = work.job_with_cursors(from)?
    {
        found = true;
        work.job_in_any_phase(job)?;
        go_on_in(work, job)?;
        from = job + 1;
    }
    Ok(if found { Applied::Same } else { Applied::Reply(Reply::Count(0)) })
}

/// The last comes first: who waits for a chunk has the higher id as a rule, and is told all before the next list is begun,
/// so that few are begun.
fn go_on_in(work: &mut Work<'_>, job: i64) -> Result<()> {
    let turns: Vec<Cursor> = work.cursors_of(job)?.rev().take(CURSORS_PER_COMMIT).collect();
    let begun: Vec<Key> = turns.iter().filter(|turn| turn.after.is_none()).map(|turn| turn.key).collect();
    work.expect_ends(&begun)?;
    let until = work.told_left.saturating_sub(work.host.bounds.of_one);
    for turn in turns {
        if work.told_left <= until {
            break;
        }
        // As it is by now: a chunk that waits for one with a higher id may have been told of that, and told it on.
        if let Some(cursor) = work.cursor(turn.key)? {
            round(work, cursor)?;
        }
    }
    Ok(())
}

/// Tells as many dependents as one commit may; a cursor stands for each list that is left.
fn round(work: &mut Work<'_>, first: Cursor) -> Result<()> {
    let edges = work.job_in_any_phase(first.key.job)?.map_or(0, |job| job.edges);
    if edges == 0 {
        // Nobody waits any more, if anybody did.
        return work.delete_cursor(first.key);
    }
    let mut left = work.host.bounds.of_one.min(work.told_left);
    work.told_left -= left;
    let (mut lists, mut next) = (VecDeque::new(), Some(first));
    while let Some(cursor) = next {
        if left == 0 && !work.is_waited_for_by_none(cursor.key) {
            work.put_cursor(cursor)?;
        } else {
            let dependents = work.dependents(cursor.key, cursor.after, left + 1)?;
            let more = dependents.len() > left;
            let mut last = cursor.after;
            for (chunk, met) in dependents.into_iter().take(left) {
                left -= 1;
                last = Some(chunk);
                let edge = Edge { job: cursor.key.job, chunk, on: cursor.key.chunk };
                if let Some(told) = tell_all(work, edge, met, cursor.told)? {
                    lists.push_back((Key { job: edge.job, chunk }, told));
                }
            }
            if more {
                work.put_cursor(Cursor { after: last, ..cursor })?;
            } else {
                work.delete_cursor(cursor.key)?;
            }
        }
        // Not before its turn: what it told in this round before, it may owe by then.
        next = lists.pop_front().map(|(key, told)| round_for(work, key, told)).transpose()?;
    }
    work.told_left += left;
    Ok(())
}

/// Tells one dependent all that it is owed. Gives what its own dependents are to be told of that.
fn tell_all(work: &mut Work<'_>, edge: Edge, mut met: bool, told: Told) -> Result<Option<Told>> {
    let mut passed_on: Option<Told> = None;
    for news in told.steps() {
        if let Some(news) = tell(work, edge, &mut met, news)? {
            passed_on = Some(passed_on.map_or(Told::of(news), |told| told.then(news)));
        }
    }
    Ok(passed_on)
}

/// Tells one dependent. Where that changes its own status, its dependents are to be told in turn.
fn tell(work: &mut Work<'_>, edge: Edge, met: &mut bool, news: News) -> Result<Option<News>> {
    let key = Key { job: edge.job, chunk: edge.chunk };
    let row = work.row(key)?;
    let (status, cause) = (row.record.status, row.record.cause);
    let happened = match news {
        News::Met | News::Revived => {
            if news == News::Met && !*met {
                *met = true;
                work.set_met(edge, true);
                unblocked(work, key)?;
            }
            if status == JobStatus::Cancelled && cause == Some(edge.on) {
                let revived = work.happen(key, Event::Retry)?;
                match broken_by_another(work, edge)? {
                    // Its other dependency says the same: nothing changes but the cause.
                    Some(on) => {
                        work.happen(key, Event::Cancel { cause: Some(on) })?;
                        Happened::Nothing
                    }
                    None => revived,
                }
            } else {
                Happened::Nothing
            }
        }
        News::Broken => match policy_of(work, key)? {
            DependencyFailure::Ignore if !*met => {
                *met = true;
                work.set_met(edge, true);
                unblocked(work, key)?;
                Happened::Nothing
            }
            DependencyFailure::Cancel if !*met && status == JobStatus::Pending => {
                work.happen(key, Event::Cancel { cause: Some(edge.on) })?
            }
            _ => Happened::Nothing,
        },
        News::Unmet | News::UnmetThrough => {
            if *met {
                *met = false;
                work.set_met(edge, false);
            }
            if status == JobStatus::Done && news == News::UnmetThrough {
                work.happen(key, Event::Reset)?
            } else if matches!(status, JobStatus::Pending | JobStatus::Processing) {
                work.happen(key, Event::Block)?
            } else {
                Happened::Nothing
            }
        }
    };
    let reach = if news == News::UnmetThrough { ResetReach::Through } else { ResetReach::Direct };
    Ok(match happened {
        Happened::Changed { before, after } => News::of(before, after, reach),
        Happened::Nothing => None,
    })
}

/// A chunk whose last dependency was met or went away: a delay that ended while it was blocked is over at once, so
/// that the same commit can claim it.
pub(super) fn unblocked(work: &mut Work<'_>, key: Key) -> Result<()> {
    let row = work.row(key)?;
    if row.unmet == 0 && row.record.not_before.is_some() {
        work.happen(key, Event::Promote)?;
    }
    Ok(())
}

/// What a chunk makes of the failure of one that it depends on.
pub(super) fn policy_of(work: &mut Work<'_>, key: Key) -> Result<DependencyFailure> {
    let of_job = work.job_in_any_phase(key.job)?.and_then(|job| job.spec.on_dependency_failure);
    Ok(work.row(key)?.content.on_dependency_failure.or(of_job).unwrap_or_default())
}

/// Another dependency than the edge's, if any, that failed or was cancelled and so cancels the chunk.
fn broken_by_another(work: &mut Work<'_>, edge: Edge) -> Result<Option<u64>> {
    let key = Key { job: edge.job, chunk: edge.chunk };
    let policy = policy_of(work, key)?;
    if policy != DependencyFailure::Cancel {
        return Ok(None);
    }
    let others = work.dependencies(&[key])?.pop().unwrap_or_default();
    work.fetch(others.iter().map(|&chunk| Key { job: edge.job, chunk }))?;
    let mut statuses = Vec::with_capacity(others.len());
    // The last: they are retried in ascending order, so that the cause is looked for twice, and not for each of them.
    for on in others.into_iter().rev().filter(|&on| on != edge.on) {
        if let Some(row) = work.row_if_any(Key { job: edge.job, chunk: on })? {
            statuses.push((on, row.record.status));
        }
    }
    Ok(cause_of_cancel(statuses, policy))
}

/// What an edge to a chunk of this status is to a dependent of this policy, when it is created.
pub(super) fn is_met(status: JobStatus, policy: DependencyFailure) -> bool {
    match status {
        JobStatus::Done => true,
        JobStatus::Failed | JobStatus::Cancelled => policy == DependencyFailure::Ignore,
        JobStatus::Pending | JobStatus::Processing => false,
    }
}

/// The dependency, if any, whose failure cancels a dependent of this policy when the edges are created.
pub(super) fn cause_of_cancel(
    statuses: impl IntoIterator<Item = (u64, JobStatus)>,
    policy: DependencyFailure,
) -> Option<u64> {
    statuses
        .into_iter()
        .find(|(_, status)| {
            policy == DependencyFailure::Cancel && matches!(status, JobStatus::Failed | JobStatus::Cancelled)
        })
        .map(|(on, _)| on)
}
