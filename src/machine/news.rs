//! What a chunk's dependents are to be told of it. Pure; who is told, and when, is the engine's part.

use crate::model::{JobStatus, ResetReach};

/// What there is to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
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

impl News {
    /// What a change of a chunk's status is to those who depend on it, if anything.
    pub(crate) fn of(before: JobStatus, after: JobStatus, reach: ResetReach) -> Option<Self> {
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
}

/// What dependents are told: the newest news, which say how the chunk stands now, and what outlasts them of older ones
/// that were not told to all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
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

    pub(crate) fn of(news: News) -> Self {
        Told { taken_back: None, revived: false, news }
    }

    /// What is owed to those who were told neither this nor the news that come now. Telling them that comes to the same
    /// as telling them one after the other, but for a failure that is over: who would have ignored it waits instead.
    pub(crate) fn then(self, news: News) -> Self {
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
    pub(crate) fn steps(self) -> impl Iterator<Item = News> {
        let taken_back = self.taken_back.map(|reach| match reach {
            ResetReach::Direct => News::Unmet,
            ResetReach::Through => News::UnmetThrough,
        });
        let revived = self.revived.then_some(News::Revived);
        taken_back.into_iter().chain(revived).chain([self.news])
    }

    pub(crate) fn code(self) -> u8 {
        let taken_back = match self.taken_back {
            None => 0,
            Some(ResetReach::Direct) => Told::UNMET_FIRST,
            Some(ResetReach::Through) => Told::RESET_FIRST,
        };
        self.news as u8 | taken_back | if self.revived { Told::REVIVED_FIRST } else { 0 }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
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

    /// Whether it changes what a dependency counts as, for those who go by that before they are marked done.
    pub(crate) fn changes_met(self) -> bool {
        self.blocks() || self.news == News::Met
    }

    /// Whether what was done on top of it is to be reset.
    pub(crate) fn takes_through(self) -> bool {
        self.taken_back == Some(ResetReach::Through) || self.news == News::UnmetThrough
    }

    /// Whether a dependency that counted as met does not any more, or did not in between.
    pub(crate) fn blocks(self) -> bool {
        self.taken_back.is_some() || matches!(self.news, News::Unmet | News::UnmetThrough)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DependencyFailure;

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
                for &policy in DependencyFailure::ALL {
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
