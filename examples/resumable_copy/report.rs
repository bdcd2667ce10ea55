//! What people see: a bar with rate and time left on a terminal, a line a second elsewhere.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// How far something has come, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    total: u64,
    /// Done before this run began: it counts for the bar, not for the rate.
    before: u64,
    now: AtomicU64,
}

impl Progress {
    pub(crate) fn new(total: u64, before: u64) -> Self {
        Progress { total, before, now: AtomicU64::new(0) }
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.now.fetch_add(bytes, Ordering::Relaxed);
    }

    fn line(&self, what: &str, elapsed: Duration) -> String {
        let now = self.now.load(Ordering::Relaxed);
        let (done, total) = ((self.before + now).min(self.total), self.total);
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = now.saturating_mul(1_000) / elapsed_ms;
        let left = match (total - done).checked_div(rate) {
            Some(seconds) if now > 0 => format!("{} left", duration(seconds)),
            _ => "time left unknown".into(),
        };
        format!("{what} {percent:>3} %  {} of {}  {}/s  {left}", bytes(done), bytes(total), bytes(rate))
    }

    fn bar(&self) -> String {
        const WIDTH: u64 = 24;
        let done = (self.before + self.now.load(Ordering::Relaxed)).min(self.total);
        let full = (done.saturating_mul(WIDTH)).checked_div(self.total).unwrap_or(WIDTH);
        (0..WIDTH).map(|at| if at < full { '#' } else { '.' }).collect()
    }
}

/// Does some work while another thread shows how far it has come.
pub(crate) fn show<T>(what: &str, progress: &Progress, work: impl FnOnce() -> T) -> T {
    let on_terminal = io::stderr().is_terminal();
    let every = Duration::from_millis(if on_terminal { 100 } else { 1_000 });
    let (over, woken) = (Mutex::new(false), Condvar::new());
    let started = instant();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut guard = over.lock().unwrap_or_else(PoisonError::into_inner);
            while !*guard {
                let (next, waited) = woken.wait_timeout(guard, every).unwrap_or_else(PoisonError::into_inner);
                guard = next;
                if waited.timed_out() && !*guard {
                    let line = progress.line(what, started.elapsed());
                    if on_terminal {
                        eprint!("\r\x1b[2K[{}] {line}", progress.bar());
                        // A bar that does not appear harms nobody.
                        let _ = io::stderr().flush();
                    } else {
                        eprintln!("{line}");
                    }
                }
            }
            if on_terminal {
                eprint!("\r\x1b[2K");
            }
        });
        // Ends the other thread however the work ends: a panic must not wait for it for ever.
        let _end = End { over: &over, woken: &woken };
        work()
    })
}

struct End<'a> {
    over: &'a Mutex<bool>,
    woken: &'a Condvar,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        *self.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.woken.notify_all();
    }
}

/// Bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut unit, mut scale) = (0, 1_u64);
    while unit + 1 < UNITS.len() && count / scale >= 1024 {
        unit += 1;
        scale <<= 10;
    }
    if unit == 0 {
        return format!("{count} B");
    }
    let tenths = u128::from(count) * 10 / u128::from(scale);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

#[expect(clippy::disallowed_methods, reason = "a rate for people; nothing is decided by it")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}

/// The time that file times are compared with.
#[expect(clippy::disallowed_methods, reason = "file times come from the same clock")]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}
