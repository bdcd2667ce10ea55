//! How a run gets on, for whoever watches.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::commit::{Place, Waiters, wake};
use crate::error::Result;
use crate::limits;
use crate::model::JobStats;
use crate::store::JobStore;

/// Reports that a rate is taken over: it follows changes, and one slow chunk does not shake it.
const REPORTS_PER_RATE: usize = 10;

/// How a job gets on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// The job; `None` where the worker takes any.
    pub job_id: Option<i64>,
    /// How many chunks stand where, whoever works on them; of all jobs together where the worker takes any.
    pub stats: JobStats,
    /// Chunks done per second lately; 0 where nothing was done.
    pub chunks_per_second: f64,
    /// How long the rest takes at this rate, in milliseconds; `None` while the rate is 0.
    pub remaining_ms: Option<u64>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let JobStats { done, total_chunks, failed, cancelled, .. } = self.stats;
        // Whole percents: 100 are all of them.
        write!(f, "{done} of {total_chunks} done ({} %)", self.stats.completion_percent().floor())?;
        for (count, what) in [(failed, "failed"), (cancelled, "cancelled")] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        write!(f, ", {:.1} per second", self.chunks_per_second)?;
        match self.remaining_ms {
            Some(left) if left > 0 => {
                write!(f, ", {:.1} s left", std::time::Duration::from_millis(left).as_secs_f64())
            }
            _ => Ok(()),
        }
    }
}

/// Reports of a run, one at a time: see [`crate::worker::Worker::progress`].
#[derive(Debug)]
pub struct Progress {
    reports: Arc<Reports>,
    seen: u64,
    place: Place,
}

impl Progress {
    /// Waits for a report that is news; `None` once the run is over. A reader that is slow gets the newest one only.
    /// A future that is dropped misses nothing: what it did not give is given by the next.
    pub async fn next(&mut self) -> Option<Report> {
        poll_fn(|task| {
            let mut state = self.reports.state();
            match state.latest {
                Some(report) if state.number > self.seen => {
                    self.seen = state.number;
                    Poll::Ready(Some(report))
                }
                _ if state.closed => Poll::Ready(None),
                _ => {
                    let replaced = state.waiting.wait(&mut self.place, task.waker());
                    drop(state);
                    drop(replaced);
                    Poll::Pending
                }
            }
        })
        .await
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let left = self.reports.state().waiting.leave(&mut self.place);
        drop(left);
    }
}

#[derive(Debug, Default)]
struct Reports {
    state: Mutex<State>,
    /// Somebody reads them.
    wanted: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    latest: Option<Report>,
    number: u64,
    closed: bool,
    waiting: Waiters,
}

impl Reports {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let woken = {
            let mut state = self.state();
            change(&mut state);
            state.waiting.take()
        };
        wake(woken);
    }
}

/// Where a run's reports come from; dropped, it tells the readers that there are no more.
#[derive(Debug, Default)]
pub(super) struct Publisher {
    reports: Arc<Reports>,
    /// When how many chunks were done, oldest first.
    done: VecDeque<(Instant, u64)>,
}

impl Publisher {
    pub(super) fn progress(&self) -> Progress {
        self.reports.wanted.store(true, Ordering::Relaxed);
        Progress { reports: Arc::clone(&self.reports), seen: 0, place: Place::default() }
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.reports.wanted.load(Ordering::Relaxed)
    }

    /// Passes on how things stand, where that is news.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn publish(&mut self, now: Instant, job_id: Option<i64>, stats: JobStats) {
        self.done.push_back((now, stats.done));
        if self.done.len() > REPORTS_PER_RATE {
            self.done.pop_front();
        }
        let Some(&(since, before)) = self.done.front() else { return };
        let seconds = now.duration_since(since).as_secs_f64();
        let rate = if seconds > 0.0 { stats.done.saturating_sub(before) as f64 / seconds } else { 0.0 };
        let left = (stats.pending + stats.processing) as f64;
        let remaining_ms = (rate > 0.0).then(|| (left / rate * 1_000.0) as u64);
        self.reports.change(|state| {
            if state.latest.is_none_or(|latest| latest.stats != stats) {
                state.latest = Some(Report { job_id, stats, chunks_per_second: rate, remaining_ms });
                state.number += 1;
            }
        });
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.reports.change(|state| state.closed = true);
    }
}

/// How the chunks of a job stand, or those of all jobs together.
pub(super) async fn standing(store: &dyn JobStore, job: Option<i64>) -> Result<JobStats> {
    if let Some(job) = job {
        return store.get_stats(job).await;
    }
    let mut total = JobStats::default();
    let mut after = None;
    loop {
        let page = store.list_jobs(after, limits::PAGE_ROWS_MAX).await?;
        for stats in page.iter().map(|job| job.stats) {
            total.total_chunks += stats.total_chunks;
            total.pending += stats.pending;
            total.processing += stats.processing;
            total.done += stats.done;
            total.failed += stats.failed;
            total.cancelled += stats.cancelled;
            total.blocked += stats.blocked;
            total.delayed += stats.delayed;
            total.settling |= stats.settling;
        }
        after = page.last().map(|job| job.job_id);
        if page.len() < limits::PAGE_ROWS_MAX {
            return Ok(total);
        }
    }
}
