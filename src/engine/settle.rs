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
use crate::machine::{self, Event};
use crate::model::{DependencyFailure, JobStatus, ResetReach};

/// Lists of a job that one commit goes on with at most.
const CURSORS_PER_COMMIT: usize = 1_000;

/// What there is to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// It is done.
    Met = 1,
    /// It failed or was cancelled.
    Broken = 2,
    /// It is back from having failed or been cancelled.
    Revived = 3,
    /// It is not done any more.
    Unmet = 4,
    /// It is not done any more, and what was done on top of it is not either.
    UnmetThrough = 5,
}

/// What dependents are told: the newest news, which say how the chunk stands now, and what outlasts them of older ones
/// that were not told to all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    /// It was not done in between: what was met is not, claims on it are void, and what was done on top is to be reset
    /// where it was a reset through.
    taken_back: Option<ResetReach>,
    /// It was not broken in between: what it had cancelled comes back.
    revived: bool,
    news: News,
}

impl Told {
    const NEWS: u8 = 0x0f;
    /// A reset through is told first.
    const RESET_FIRST: u8 = 0x10;
    /// A direct reset is told first. Builds that carried only the other one have no name for this, nor for the next.
    const UNMET_FIRST: u8 = 0x20;
    const REVIVED_FIRST: u8 = 0x40;

    fn of(news: News) -> Self {
        Told { taken_back: None, revived: false, news }
    }

    /// What is owed to those who were told neither this nor the news that come now. Telling them that comes to the same
    /// as telling them one after the other, but for a failure that is over: who would have ignored it waits instead.
    fn then(self, news: News) -> Self {
        let taken_back = match (self.taken_back, self.news) {
            (Some(ResetReach::Through), _) | (_, News::UnmetThrough) => Some(ResetReach::Through),
            (Some(ResetReach::Direct), _) | (_, News::Unmet) => Some(ResetReach::Direct),
            _ => None,
        };
        let revived = self.revived || matches!(self.news, News::Met | News::Revived);
        match news {
            // They bring back themselves what was cancelled.
            News::Met | News::Revived => Told { taken_back, revived: false, news },
            News::Broken => Told { taken_back, revived, news },
            // They take back themselves; never less than is owed.
            News::Unmet if taken_back == Some(ResetReach::Through) => {
                Told { taken_back: None, revived, news: News::UnmetThrough }
            }
            News::Unmet | News::UnmetThrough => Told { taken_back: None, revived, news },
        }
    }

    /// What is told, one after the other.
    fn steps(self) -> impl Iterator<Item = News> {
        let taken_back = self.taken_back.map(|reach| match reach {
            ResetReach::Direct => News::Unmet,
            ResetReach::Through => News::UnmetThrough,
        });
        let revived = self.revived.then_some(News::Revived);
        taken_back.into_iter().chain(revived).chain([self.news])
    }

    fn code(self) -> u8 {
        let taken_back = match self.taken_back {
            None => 0,
            Some(ResetReach::Direct) => Told::UNMET_FIRST,
            Some(ResetReach::Through) => Told::RESET_FIRST,
        };
        self.news as u8 | taken_back | if self.revived { Told::REVIVED_FIRST } else { 0 }
    }

    fn from_code(code: u8) -> Option<Self> {
        let news = [News::Met, News::Broken, News::Revived, News::Unmet, News::UnmetThrough]
            .into_iter()
            .find(|news| *news as u8 == code & Told::NEWS)?;
        let taken_back = match code & !(Told::NEWS | Told::REVIVED_FIRST) {
            0 => None,
            Told::UNMET_FIRST => Some(ResetReach::Direct),
            Told::RESET_FIRST => Some(ResetReach::Through),
            _ => return None,
        };
        Some(Told { taken_back, revived: code & Told::REVIVED_FIRST != 0, news })
    }

    /// Whether a dependency that counted as met does not any more, or did not in between.
    fn blocks(self) -> bool {
        self.taken_back.is_some() || matches!(self.news, News::Unmet | News::UnmetThrough)
    }
}

/// Whether chunks of a job may still seem ready though what they depend on is not done any more: their turn to be told of
/// it has not come. Nothing of the job is handed out until then.
pub(super) fn is_blocking(work: &mut Work<'_>, job: i64) -> Result<bool> {
    if !work.has_cursors() {
        return Ok(false);
    }
    let mut cursors = work.cursors_of(job)?;
    Ok(cursors.any(|cursor| Told::from_code(cursor.news).is_some_and(Told::blocks)))
}

/// Tells a chunk that is about to be done what it is still owed of its dependencies, out of turn.
pub(super) fn hear(work: &mut Work<'_>, key: Key) -> Result<()> {
    if !is_blocking(work, key.job)? {
        return Ok(());
    }
    for on in work.dependencies(&[key])?.pop().unwrap_or_default() {
        let Some(cursor) = work.cursor(Key { chunk: on, ..key })? else { continue };
        let Some(told) = Told::from_code(cursor.news) else { continue };
        if told.blocks() && cursor.after.is_none_or(|after| after < key.chunk) {
            let edge = Edge { job: key.job, chunk: key.chunk, on };
            let met = work.as_met(&[edge])?.pop().unwrap_or_default();
            if let Some(told) = tell_all(work, edge, met, told)? {
                let first = round_for(work, key, told)?;
                round(work, first)?;
            }
        }
    }
    Ok(())
}

/// A new round for the dependents of a chunk, with what an unfinished one still owes them.
fn round_for(work: &mut Work<'_>, key: Key, told: Told) -> Result<Cursor> {
    let owed = work.cursor(key)?.and_then(|cursor| Told::from_code(cursor.news));
    let told = owed.map_or(told, |owed| told.steps().fold(owed, Told::then));
    Ok(Cursor { key, after: None, news: told.code() })
}

/// Tells the dependents of a chunk whose status changed.
pub(super) fn changed(
    work: &mut Work<'_>,
    key: Key,
    before: JobStatus,
    after: JobStatus,
    reach: ResetReach,
) -> Result<()> {
    match news(before, after, reach) {
        Some(news) => {
            let first = round_for(work, key, Told::of(news))?;
            round(work, first)
        }
        None => Ok(()),
    }
}

fn news(before: JobStatus, after: JobStatus, reach: ResetReach) -> Option<News> {
    use JobStatus::{Cancelled, Done, Failed, Pending, Processing};
    match (before, after) {
        (Done, Done) => None,
        (_, Done) => Some(News::Met),
        (Pending | Processing, Failed | Cancelled) => Some(News::Broken),
        (Failed | Cancelled, Pending) => Some(News::Revived),
        (Done, _) if reach == ResetReach::Through => Some(News::UnmetThrough),
        (Done, _) => Some(News::Unmet),
        _ => None,
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
            let first = round_for(work, key, Told::of(News::Broken))?;
            round(work, first)?;
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
    work.told_left = work.told_left.max(limits::DEPENDENTS_PER_COMMIT_MAX);
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
    let until = work.told_left.saturating_sub(limits::DEPENDENTS_PER_COMMIT_MAX);
    for cursor in turns {
        if work.told_left <= until {
            break;
        }
        round(work, cursor)?;
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
    let mut lists = VecDeque::from([first]);
    let mut left = limits::DEPENDENTS_PER_COMMIT_MAX.min(work.told_left);
    work.told_left -= left;
    while let Some(cursor) = lists.pop_front() {
        let Some(told) = Told::from_code(cursor.news) else { continue };
        if left == 0 && !work.is_waited_for_by_none(cursor.key) {
            work.put_cursor(cursor)?;
            continue;
        }
        let dependents = work.dependents(cursor.key, cursor.after, left + 1)?;
        let more = dependents.len() > left;
        let mut last = cursor.after;
        for (chunk, met) in dependents.into_iter().take(left) {
            left -= 1;
            last = Some(chunk);
            let edge = Edge { job: cursor.key.job, chunk, on: cursor.key.chunk };
            if let Some(told) = tell_all(work, edge, met, told)? {
                lists.push_back(round_for(work, Key { job: edge.job, chunk }, told)?);
            }
        }
        if more {
            work.put_cursor(Cursor { after: last, ..cursor })?;
        } else {
            work.delete_cursor(cursor.key)?;
        }
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
        Happened::Changed { before, after } => self::news(before, after, reach),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A dependent as [`tell`] sees it, of one policy.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Dependent {
        met: bool,
        status: JobStatus,
        /// A worker has it, or had when its claim lapsed.
        is_claimed: bool,
    }

    fn told(mut it: Dependent, news: News, policy: DependencyFailure) -> Dependent {
        match news {
            News::Met | News::Revived => {
                it.met |= news == News::Met;
                if it.status == JobStatus::Cancelled {
                    it.status = JobStatus::Pending;
                }
            }
            News::Broken => match policy {
                DependencyFailure::Ignore => it.met = true,
                DependencyFailure::Cancel if !it.met && it.status == JobStatus::Pending => {
                    (it.status, it.is_claimed) = (JobStatus::Cancelled, false);
                }
                _ => {}
            },
            News::Unmet | News::UnmetThrough => {
                (it.met, it.is_claimed) = (false, false);
                if it.status == JobStatus::Done && news == News::UnmetThrough {
                    it.status = JobStatus::Pending;
                }
            }
        }
        it
    }

    /// What may become of a chunk that is done, open or broken, and what it tells of that.
    fn news_from(status: JobStatus) -> &'static [(News, JobStatus)] {
        match status {
            JobStatus::Done => &[(News::Unmet, JobStatus::Pending), (News::UnmetThrough, JobStatus::Pending)],
            JobStatus::Failed => &[
                (News::Revived, JobStatus::Pending),
                (News::Met, JobStatus::Done),
                // Another policy.
                (News::Broken, JobStatus::Failed),
            ],
            _ => &[(News::Met, JobStatus::Done), (News::Broken, JobStatus::Failed)],
        }
    }

    /// All that a chunk may tell from a status on, in so many steps at most.
    fn histories(status: JobStatus, steps: usize) -> Vec<Vec<News>> {
        let mut all = vec![Vec::new()];
        for &(news, next) in news_from(status).iter().filter(|_| steps > 0) {
            all.extend(histories(next, steps - 1).into_iter().map(|rest| [vec![news], rest].concat()));
        }
        all
    }

    fn dependents(of: JobStatus) -> impl Iterator<Item = Dependent> {
        let statuses = [JobStatus::Pending, JobStatus::Done, JobStatus::Cancelled];
        let each = statuses.into_iter().flat_map(|status| {
            [(false, false), (true, false), (true, true)].map(|(met, is_claimed)| Dependent {
                met,
                status,
                is_claimed,
            })
        });
        each.filter(move |it| {
            // Only what is broken has cancelled anything, and only what is open is anybody's.
            let is_cancelled = it.status == JobStatus::Cancelled;
            (!is_cancelled || (of == JobStatus::Failed && !it.met))
                && (!it.is_claimed || it.status == JobStatus::Pending)
                && (of != JobStatus::Done || it.met)
        })
    }

    fn in_one_round(mut news: impl Iterator<Item = News>) -> Option<Told> {
        let first = Told::of(news.next()?);
        Some(news.fold(first, Told::then))
    }

    #[test]
    fn what_is_told_in_one_round_comes_to_the_same_as_round_after_round() {
        let mut compared = 0;
        for begun in [JobStatus::Done, JobStatus::Pending, JobStatus::Failed] {
            for history in histories(begun, 7) {
                let Some(all) = in_one_round(history.iter().copied()) else { continue };
                assert_eq!(Told::from_code(all.code()), Some(all));
                let again = in_one_round(all.steps());
                assert_eq!(again, Some(all), "what is owed is the same when it is owed anew");
                for policy in DependencyFailure::ALL {
                    for it in dependents(begun) {
                        let expected = history.iter().fold(it, |it, &news| told(it, news, policy));
                        let found = all.steps().fold(it, |it, news| told(it, news, policy));
                        let is_ignored_no_more =
                            policy == DependencyFailure::Ignore && all.news == News::Revived && !found.met;
                        let expected =
                            if is_ignored_no_more { Dependent { met: false, ..expected } } else { expected };
                        assert_eq!(found, expected, "{history:?} as {all:?}, told to {it:?} of {policy:?}");
                        compared += 1;
                    }
                }
            }
        }
        assert!(compared > 1_000, "{compared}");
    }

    #[test]
    fn what_an_older_build_left_is_read_as_what_it_was() {
        let through_first = |news| Told { taken_back: Some(ResetReach::Through), revived: false, news };
        for (code, expected) in [
            (1, Told::of(News::Met)),
            (5, Told::of(News::UnmetThrough)),
            (0x12, through_first(News::Broken)),
            (0x14, through_first(News::Unmet)),
        ] {
            assert_eq!(Told::from_code(code), Some(expected));
            assert_eq!(expected.code(), code);
        }
        assert_eq!([0, 6, 0x31, 0x81].map(Told::from_code), [None; 4]);
    }
}
