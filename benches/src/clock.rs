//! The one place that reads clocks: how long work took, and when to stop.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures time; nothing durable is decided by it")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// What a cell came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// Acknowledged claims whose completion was acknowledged too.
    pub(crate) cycles: u64,
    pub(crate) seconds: f64,
    /// When the cycles began and ended, in microseconds since the Unix epoch: what a tracer's lines are matched with.
    pub(crate) began_us: u64,
    pub(crate) ended_us: u64,
}

impl Measured {
    pub(crate) fn per_second(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let cycles = self.cycles as f64;
        cycles / self.seconds
    }
}

/// A span of time that workers share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slice {
    began: Instant,
    began_us: u64,
    end: Instant,
}

impl Slice {
    pub(crate) fn begin(seconds: f64) -> Self {
        let began = Instant::now();
        Slice { began, began_us: now_us(), end: began + Duration::from_secs_f64(seconds) }
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Called once every worker has stopped: what was under way at the end of the slice counts, and so does its time.
    pub(crate) fn measured(self, cycles: u64) -> Measured {
        Measured {
            cycles,
            seconds: self.began.elapsed().as_secs_f64(),
            began_us: self.began_us,
            ended_us: now_us(),
        }
    }
}

/// What fallible work came to, and the seconds it took.
pub(crate) fn timed<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<(T, f64), E> {
    let began = Instant::now();
    let done = work()?;
    Ok((done, began.elapsed().as_secs_f64()))
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
