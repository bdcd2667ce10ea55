//! The operating system's clocks: the only place that reads them.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::Clock;

/// The operating system's time of day.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is given")]
        let now = SystemTime::now();
        // A clock before 1970 is wrong; deadlines cope with that as with any other wrong time.
        now.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The clock that never jumps, for how long to wait before looking again. Nothing of it is stored.
pub(crate) fn monotonic() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "it decides when to look again, never what is true")]
    Instant::now()
}
