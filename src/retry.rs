//! Whether a chunk is tried again after a failure, and how long it waits: exponential, capped, spread.

use crate::model::Backoff;

/// Whether so many failures, or losses, are all that a chunk may have; 0 is no limit.
pub(crate) const fn is_spent(count: u32, max: u32) -> bool {
    max != 0 && count >= max
}

/// The wait after the `failures`-th failure in a row, in milliseconds.
///
/// The spread takes up to a quarter off and comes from the chunk's own name and the count, so the same failure waits
/// the same time on every backend and in every replay.
pub(crate) fn delay_ms(backoff: Backoff, job: i64, chunk: u64, failures: u32) -> u64 {
    let doublings = failures.saturating_sub(1).min(63);
    let full = backoff.initial_ms.saturating_mul(1 << doublings).min(backoff.max_ms);
    let mut name = [0; 20];
    name[..8].copy_from_slice(&job.to_le_bytes());
    name[8..16].copy_from_slice(&chunk.to_le_bytes());
    name[16..].copy_from_slice(&failures.to_le_bytes());
    full - xxhash_rust::xxh3::xxh3_64(&name) % (full / 4 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { initial_ms: 1_000, max_ms: 300_000 };

    #[test]
    fn each_failure_doubles_the_wait_up_to_the_cap() {
        for failures in 1..=200 {
            let full = (1_000_u64 << (failures - 1).min(20)).min(300_000);
            for chunk in 0..50 {
                let wait = delay_ms(BACKOFF, 7, chunk, failures);
                assert!(wait <= full && wait >= full - full / 4, "failure {failures}: {wait} of {full}");
            }
        }
    }

    #[test]
    fn the_spread_differs_between_chunks_and_repeats_for_one() {
        let waits: std::collections::BTreeSet<u64> = (0..100).map(|c| delay_ms(BACKOFF, 7, c, 3)).collect();
        assert!(waits.len() > 80);
        assert_eq!(delay_ms(BACKOFF, 7, 5, 3), delay_ms(BACKOFF, 7, 5, 3));
    }

    #[test]
    fn the_spread_differs_between_jobs_and_between_failures() {
        let of_jobs = (0..100).map(|job| delay_ms(BACKOFF, job, 5, 3));
        assert!(of_jobs.collect::<std::collections::BTreeSet<u64>>().len() > 80);
        // All of them at the cap.
        let of_failures = (20..120).map(|failures| delay_ms(BACKOFF, 7, 5, failures));
        assert!(of_failures.collect::<std::collections::BTreeSet<u64>>().len() > 80);
    }

    #[test]
    fn no_backoff_is_no_wait() {
        assert_eq!(delay_ms(Backoff { initial_ms: 0, max_ms: 0 }, 1, 1, u32::MAX), 0);
    }
}
