//! Whether values are within their limits.

use std::ops::RangeInclusive;

use crate::error::{Error, Result};
use crate::{limits, moment};

/// A job id within its limits.
pub(crate) fn check_job_id(job_id: i64) -> Result<i64> {
    match u64::try_from(job_id) {
        Ok(id) if id <= limits::ID_MAX => Ok(job_id),
        _ => Err(Error::invalid(format!("job id {job_id} is out of range: use 0 to {}", limits::ID_MAX))),
    }
}

/// A chunk id within its limits.
pub(crate) fn check_chunk_id(chunk: u64) -> Result<u64> {
    if chunk <= limits::ID_MAX {
        Ok(chunk)
    } else {
        Err(Error::invalid(format!("chunk id {chunk} is out of range: use 0 to {}", limits::ID_MAX)))
    }
}

/// A lease within its limits.
pub(crate) fn check_lease_ms(lease_ms: u64) -> Result<u64> {
    check_ms("a lease", lease_ms, &limits::LEASE_MS)
}

/// A delay within its limits.
pub(crate) fn check_delay_ms(delay_ms: u64) -> Result<u64> {
    check_ms("a delay", delay_ms, &(0..=limits::BACKOFF_MS_MAX))
}

/// A moment, in milliseconds since the Unix epoch, that RFC 3339 has a form for.
pub(crate) fn check_moment_ms(moment_ms: u64) -> Result<u64> {
    check_ms("a moment since 1970", moment_ms, &(0..=moment::MAX_MS))
}

fn check_ms(what: &str, ms: u64, range: &RangeInclusive<u64>) -> Result<u64> {
    if range.contains(&ms) {
        Ok(ms)
    } else {
        let (start, end) = (range.start(), range.end());
        Err(Error::invalid(format!("{what} of {ms} ms is out of range: use {start} to {end} ms")))
    }
}

/// Text within a limit of bytes.
pub(crate) fn check_size(what: &str, bytes: usize, limit: usize) -> Result<()> {
    if bytes <= limit {
        Ok(())
    } else {
        Err(Error::new(
            crate::ErrorKind::TooLarge,
            format!(
                "the {what} has {bytes} bytes, the limit is {limit}; keep it outside and store where it is"
            ),
        ))
    }
}
