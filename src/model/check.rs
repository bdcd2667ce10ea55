//! Whether values are within their limits.

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
    if limits::LEASE_MS.contains(&lease_ms) {
        Ok(lease_ms)
    } else {
        Err(Error::invalid(format!(
            "a lease of {lease_ms} ms is out of range: use {} to {} ms",
            limits::LEASE_MS.start(),
            limits::LEASE_MS.end()
        )))
    }
}

/// A delay within its limits.
pub(crate) fn check_delay_ms(delay_ms: u64) -> Result<u64> {
    if delay_ms <= limits::BACKOFF_MS_MAX {
        Ok(delay_ms)
    } else {
        Err(Error::invalid(format!(
            "a delay of {delay_ms} ms is out of range: use 0 to {} ms",
            limits::BACKOFF_MS_MAX
        )))
    }
}

/// A moment, in milliseconds since the Unix epoch, that RFC 3339 has a form for.
pub(crate) fn check_moment_ms(moment_ms: u64) -> Result<u64> {
    if moment_ms <= moment::MAX_MS {
        Ok(moment_ms)
    } else {
        Err(Error::invalid(format!(
            "the moment {moment_ms} is out of range: use 0 to {} ms since 1970, the end of the year 9999",
            moment::MAX_MS
        )))
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
