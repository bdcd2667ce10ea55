//! Our own bounded waiting for a lock that another process holds.

use std::thread;
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_64;

/// How long a busy store is tried before the caller is told.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest sleep between two tries, in milliseconds.
const SLEEP_MS_MAX: u64 = 50;

/// Tries until it works, fails otherwise than by being busy, or the patience is over.
pub(super) fn wait<T, E>(
    mut attempt: impl FnMut() -> Result<T, E>,
    is_busy: impl Fn(&E) -> bool,
) -> Result<T, E> {
    #[expect(
        clippy::disallowed_methods,
        reason = "how long to wait for a lock is no business of the store's clock"
    )]
    let start = Instant::now();
    let mut tries = 0_u32;
    loop {
        match attempt() {
            Err(error) if is_busy(&error) && start.elapsed() < PATIENCE => {
                thread::sleep(Duration::from_millis(pause_ms(tries)));
                tries += 1;
            }
            result => return result,
        }
    }
}

/// 1 ms at first, up to a bound that doubles to 50 ms; no two processes in step.
fn pause_ms(tries: u32) -> u64 {
    let bound = (1_u64 << tries.min(6)).min(SLEEP_MS_MAX);
    let noise = format!("{tries} {:?} {}", thread::current().id(), std::process::id());
    1 + xxh3_64(noise.as_bytes()) % bound
}
