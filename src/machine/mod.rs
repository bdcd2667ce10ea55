//! The state machine: what an event makes of a chunk. The only place where a status changes.
//!
//! No clock, no store, no randomness: the time and the revision come in as values. Everything around it, the storage
//! backends above all, carries out what [`step`] decided.

mod news;
#[cfg(test)]
mod table;
mod view;

use crate::backends::contract::{Content, Hold, Key, Record};
use crate::error::{Error, ErrorKind};
use crate::limits;
use crate::model::{Backoff, Completion, Deadline, DependencyFailure, Failure, JobSpec, JobStatus, OwnerId};
use crate::retry;

pub(crate) use news::{News, Told};
pub(crate) use view::{BROKEN_CLASSES, listed_classes, place, rank, state};

/// What a job's spec means for one chunk, with every default filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) attempts_max: u32,
    pub(crate) losses_max: u32,
    pub(crate) lease_ms: u64,
    pub(crate) backoff: Backoff,
    pub(crate) on_dependency_failure: DependencyFailure,
}

impl Rules {
    pub(crate) fn of(job: &JobSpec, content: &Content) -> Self {
        Rules {
            attempts_max: content.attempts_max.or(job.attempts_max).unwrap_or(limits::ATTEMPTS_MAX_DEFAULT),
            losses_max: content.losses_max.or(job.losses_max).unwrap_or(limits::LOSSES_MAX_DEFAULT),
            lease_ms: job.lease_ms.unwrap_or(limits::LEASE_MS_DEFAULT),
            backoff: job.backoff.unwrap_or_default(),
            on_dependency_failure: content
                .on_dependency_failure
                .or(job.on_dependency_failure)
                .unwrap_or_default(),
        }
    }
}

/// What the machine sees of a chunk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) key: Key,
    pub(crate) expected: Option<&'a str>,
    pub(crate) record: &'a Record,
    pub(crate) unmet: u32,
    pub(crate) rules: Rules,
}

/// Why a claim lapses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Its lease may be over; the machine looks.
    Lease,
    /// Its owner is proven dead.
    Owner,
}

/// What happens to a chunk.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event<'a> {
    /// A worker takes it.
    Claim { owner: OwnerId, seq: u64, lease_ms: Option<u64> },
    /// Its worker is done.
    Complete { fence: u64, result: &'a Completion },
    /// Its worker reports an error.
    Fail { fence: u64, error: &'a str, failure: Failure },
    /// Its worker gives it back, for so long to nobody.
    Release { fence: u64, delay_ms: u64 },
    /// Its worker is alive.
    Heartbeat { fence: u64 },
    /// Its worker may have vanished.
    Lapse(Loss),
    /// Its delay may be over.
    Promote,
    /// Another chance, from outside.
    Retry,
    /// Its result does not count any more.
    Reset,
    /// Not wanted any more; `cause` is the dependency whose failure says so, `None` a caller.
    Cancel { cause: Option<u64> },
    /// Set from outside, unfenced.
    MarkDone { checksum: Option<&'a str> },
    /// Set from outside, unfenced.
    MarkFailed { error: Option<&'a str> },
    /// Set from outside, unfenced.
    MarkPending,
    /// A dependency that was met is not met any more.
    Block,
    /// Its content is another: whatever happened to the old one is void.
    Revise,
    /// Nobody is to have it before a moment, as its manifest says.
    Schedule { not_before_ms: u64 },
}

/// When it happens, and under which revision a change goes down.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) now_ms: u64,
    pub(crate) revision: u64,
}

/// What becomes of the chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// It holds already.
    Unchanged,
    /// The record becomes this, under the moment's revision.
    Changed(Record),
    /// The record becomes this, and nobody who follows the changes is told: a heartbeat.
    Touched(Record),
}

/// Decides what an event makes of a chunk, or refuses it.
#[allow(clippy::too_many_lines, reason = "one table, one arm per event: it is read as a whole")]
pub(crate) fn step(subject: Subject<'_>, event: Event<'_>, moment: Moment) -> Result<Step, Error> {
    let Subject { record, unmet, rules, .. } = subject;
    let changed = |next: Record| {
        Ok(Step::Changed(Record { revision: moment.revision, updated_at_ms: moment.now_ms, ..next }))
    };
    match event {
        Event::Claim { owner, seq, lease_ms } => match record.status {
            JobStatus::Pending if unmet > 0 => Err(subject.blocked()),
            JobStatus::Pending if record.not_before.is_some() => {
                Err(subject.refused("claim", "it is delayed"))
            }
            JobStatus::Pending => changed(Record {
                status: JobStatus::Processing,
                fence: moment.revision,
                hold: Hold::Open { owner, seq },
                lease: Some(Deadline {
                    set_at_ms: moment.now_ms,
                    duration_ms: lease_ms.unwrap_or(rules.lease_ms),
                }),
                ..record.clone()
            }),
            _ => Err(subject.refused("claim", "only a pending chunk can be claimed")),
        },

        Event::Complete { fence, result } => {
            if record.status == JobStatus::Done && record.fence == fence && record.hold == Hold::Settled {
                return if record.observed == result.checksum && record.output == result.output {
                    Ok(Step::Unchanged)
                } else {
                    Err(subject.other_result())
                };
            }
            subject.must_be_open(fence)?;
            subject.must_match(result.checksum.as_deref())?;
            changed(Record {
                status: JobStatus::Done,
                observed: result.checksum.clone(),
                output: result.output.clone(),
                hold: Hold::Settled,
                ..ended(record)
            })
        }

        Event::Fail { fence, error, failure } => {
            let repeated = record.hold == Hold::Settled
                && record.fence == fence
                && match failure {
                    Failure::Retryable | Failure::RetryableIn(_) => {
                        matches!(record.status, JobStatus::Pending | JobStatus::Failed)
                    }
                    Failure::Permanent => record.status == JobStatus::Failed,
                }
                && record.error.as_deref() == Some(error);
            if repeated {
                return Ok(Step::Unchanged);
            }
            subject.must_be_open(fence)?;
            let attempts = record.attempts.saturating_add(1);
            let spent = failure == Failure::Permanent || retry::is_spent(attempts, rules.attempts_max);
            let not_before = match failure {
                _ if spent => None,
                Failure::RetryableIn(delay_ms) => moment.delay(delay_ms),
                _ => subject.backoff(attempts, moment),
            };
            changed(Record {
                status: if spent { JobStatus::Failed } else { JobStatus::Pending },
                attempts,
                error: Some(error.to_owned()),
                not_before,
                hold: Hold::Settled,
                ..ended(record)
            })
        }

        Event::Release { fence, delay_ms } => {
            let is_so = match record.hold {
                Hold::Free => true,
                // It lapsed.
                Hold::Open { .. } => delay_ms == 0,
                Hold::Settled => false,
            };
            if record.status == JobStatus::Pending && fence != 0 && record.fence == fence && is_so {
                return Ok(Step::Unchanged);
            }
            subject.must_be_open(fence)?;
            changed(Record { not_before: moment.delay(delay_ms), ..given_back(record) })
        }

        Event::Heartbeat { fence } => {
            subject.must_be_open(fence)?;
            let duration_ms = record.lease.map_or(rules.lease_ms, |lease| lease.duration_ms);
            let lease = Some(Deadline { set_at_ms: moment.now_ms, duration_ms });
            if record.status == JobStatus::Processing {
                return Ok(Step::Touched(Record { lease, ..record.clone() }));
            }
            // It lapsed and nobody took it: the owner did not vanish after all, and has the lease that it asked for.
            changed(Record {
                status: JobStatus::Processing,
                losses: record.losses.saturating_sub(1),
                lease,
                not_before: None,
                ..record.clone()
            })
        }

        Event::Lapse(loss) => {
            let over = match loss {
                Loss::Owner => true,
                Loss::Lease => record.lease.is_none_or(|lease| lease.is_due(moment.now_ms)),
            };
            if record.status != JobStatus::Processing || !over {
                return Ok(Step::Unchanged);
            }
            let losses = record.losses.saturating_add(1);
            if retry::is_spent(losses, rules.losses_max) {
                return changed(Record {
                    status: JobStatus::Failed,
                    losses,
                    error: Some(format!("lost {losses} times")),
                    ..ended(record)
                });
            }
            changed(Record {
                status: JobStatus::Pending,
                losses,
                // The first loss may be the machine's; from the second on the chunk itself is suspect.
                not_before: if losses > 1 { subject.backoff(losses - 1, moment) } else { None },
                ..record.clone()
            })
        }

        Event::Promote => match record.not_before {
            Some(not_before) if not_before.is_due(moment.now_ms) => {
                changed(Record { not_before: None, ..record.clone() })
            }
            _ => Ok(Step::Unchanged),
        },

        Event::Retry => match record.status {
            JobStatus::Failed | JobStatus::Cancelled => {
                changed(Record { not_before: awaited(record), ..restarted(record) })
            }
            JobStatus::Pending => Ok(Step::Unchanged),
            JobStatus::Processing => {
                Err(subject
                    .refused("retry", "a worker holds it; cancel it first, or wait until its claim ends"))
            }
            JobStatus::Done => Err(subject.refused("retry", "it is done; reset it to have it done again")),
        },

        Event::Reset => {
            match record.status {
                JobStatus::Done => changed(restarted(record)),
                JobStatus::Pending => Ok(Step::Unchanged),
                JobStatus::Processing => Err(subject
                    .refused("reset", "a worker holds it; cancel it first, or wait until its claim ends")),
                JobStatus::Failed | JobStatus::Cancelled => {
                    Err(subject.refused("reset", "it is not done; retry it instead"))
                }
            }
        }

        Event::Cancel { cause } => match record.status {
            JobStatus::Pending | JobStatus::Processing | JobStatus::Failed => changed(Record {
                status: JobStatus::Cancelled,
                not_before: awaited(record),
                cause,
                error: match cause {
                    Some(on) => Some(format!("chunk {on}, which it depends on, failed or was cancelled")),
                    None => record.error.clone(),
                },
                ..ended(record)
            }),
            JobStatus::Cancelled => Ok(Step::Unchanged),
            JobStatus::Done => {
                Err(subject.refused("cancel", "it is done; reset it first, to have it undone"))
            }
        },

        Event::MarkDone { checksum } => {
            if record.status == JobStatus::Done {
                return if checksum.is_none() || record.observed.as_deref() == checksum {
                    Ok(Step::Unchanged)
                } else {
                    Err(subject.other_result())
                };
            }
            if record.status == JobStatus::Pending && unmet > 0 {
                return Err(subject.blocked());
            }
            subject.must_match(checksum)?;
            changed(Record {
                status: JobStatus::Done,
                observed: checksum.map(str::to_owned),
                output: None,
                ..ended(record)
            })
        }

        Event::MarkFailed { error } => match record.status {
            JobStatus::Done => {
                Err(subject.refused("mark failed", "it is done; reset it to have it done again"))
            }
            JobStatus::Failed if record.error.as_deref() == error => Ok(Step::Unchanged),
            _ => changed(Record {
                status: JobStatus::Failed,
                not_before: awaited(record),
                error: error.map(str::to_owned),
                ..ended(record)
            }),
        },

        Event::MarkPending => match record.status {
            JobStatus::Done => {
                Err(subject.refused("mark pending", "it is done; reset it to have it done again"))
            }
            JobStatus::Pending if record.not_before.is_none() && record.open_fence() == 0 => {
                Ok(Step::Unchanged)
            }
            JobStatus::Pending | JobStatus::Processing => changed(given_back(record)),
            JobStatus::Failed | JobStatus::Cancelled => changed(restarted(record)),
        },

        Event::Block => {
            if record.open_fence() == 0 {
                Ok(Step::Unchanged)
            } else {
                changed(given_back(record))
            }
        }

        Event::Revise => {
            let next = restarted(record);
            let same = next == Record { updated_at_ms: 0, revision: 0, ..record.clone() };
            if same { Ok(Step::Unchanged) } else { changed(next) }
        }

        Event::Schedule { not_before_ms } => {
            let not_before = scheduled(not_before_ms, moment.now_ms);
            let may_wait = match record.status {
                JobStatus::Pending => record.open_fence() == 0,
                JobStatus::Failed | JobStatus::Cancelled => record.fence == 0,
                JobStatus::Processing | JobStatus::Done => false,
            };
            if !may_wait {
                Err(subject.refused("put off", "only what nobody has, and is not over, can wait"))
            } else if record.not_before == not_before {
                Ok(Step::Unchanged)
            } else {
                changed(Record { not_before, ..record.clone() })
            }
        }
    }
}

/// Until when a chunk waits whose manifest names a moment. It is set at 0, since a clock that is put back does not bring it
/// forward.
pub(crate) fn scheduled(not_before_ms: u64, now_ms: u64) -> Option<Deadline> {
    (not_before_ms > now_ms).then_some(Deadline { set_at_ms: 0, duration_ms: not_before_ms })
}

/// Until when a chunk waits that nobody has had yet: for its manifest's moment, whatever else becomes of it meanwhile.
fn awaited(record: &Record) -> Option<Deadline> {
    record.not_before.filter(|_| record.fence == 0)
}

/// Whether a manifest's moment would move a chunk: one that nobody has had yet.
pub(crate) fn is_rescheduled(record: &Record, not_before_ms: Option<u64>, now_ms: u64) -> bool {
    not_before_ms.is_some_and(|not_before_ms| {
        let waits = record.not_before.filter(|not_before| !not_before.is_due(now_ms));
        let is_over = matches!(record.status, JobStatus::Processing | JobStatus::Done);
        !is_over && record.fence == 0 && waits != scheduled(not_before_ms, now_ms)
    })
}

/// The record with no claim open, no delay and no cascade behind it; a result or a status is for the caller to set. What
/// its newest claim did is forgotten, but where the caller says otherwise.
fn ended(record: &Record) -> Record {
    Record { hold: Hold::Free, lease: None, not_before: None, cause: None, error: None, ..record.clone() }
}

/// The record of a chunk that its claim did nothing to: what its last failure said is still the last word.
fn given_back(record: &Record) -> Record {
    Record { status: JobStatus::Pending, error: record.error.clone(), ..ended(record) }
}

/// The record of a chunk that starts over. The fence stays: fences are never used twice.
fn restarted(record: &Record) -> Record {
    Record { fence: record.fence, ..Record::fresh() }
}

impl Moment {
    /// Until when a chunk waits from now on; not at all where it is 0.
    fn delay(self, duration_ms: u64) -> Option<Deadline> {
        (duration_ms > 0).then_some(Deadline { set_at_ms: self.now_ms, duration_ms })
    }
}

impl Subject<'_> {
    fn backoff(&self, failures: u32, moment: Moment) -> Option<Deadline> {
        moment.delay(retry::delay_ms(self.rules.backoff, self.key.job, self.key.chunk, failures))
    }

    fn must_be_open(&self, fence: u64) -> Result<(), Error> {
        if fence != 0 && self.record.open_fence() == fence {
            return Ok(());
        }
        let newest = match self.record.fence {
            0 => "it was never claimed".to_owned(),
            newest if newest == fence => format!("that claim was ended, it is {} now", self.record.status),
            newest => format!("its newest claim has fence {newest}"),
        };
        Err(self.error(
            ErrorKind::Superseded,
            format!("the claim with fence {fence} is not open: {newest}; stop working on it and claim again"),
        ))
    }

    fn must_match(&self, observed: Option<&str>) -> Result<(), Error> {
        match (self.expected, observed) {
            (Some(expected), Some(observed)) if expected != observed => Err(self.error(
                ErrorKind::ChecksumMismatch,
                format!(
                    "observed checksum {observed:?}, expected {expected:?}; do the work again, or fail the claim"
                ),
            )),
            _ => Ok(()),
        }
    }

    fn other_result(&self) -> Error {
        self.error(
            ErrorKind::ResultConflict,
            "it is done already with another result, which was kept; reset it to have it done again"
                .to_owned(),
        )
    }

    fn blocked(&self) -> Error {
        self.error(
            ErrorKind::Blocked,
            format!("it waits for {} of the chunks that it depends on; have them done first", self.unmet),
        )
    }

    fn refused(&self, what: &str, why: &str) -> Error {
        self.error(ErrorKind::Refused, format!("cannot {what} a {} chunk: {why}", self.record.status))
    }

    fn error(&self, kind: ErrorKind, text: String) -> Error {
        Error::new(kind, text).at(self.key.job, self.key.chunk)
    }
}
