//! The runs of a log entry, packed: each number as the difference to the one before, in as few bytes as it takes.

use crate::backends::contract::{Key, LogRun};
use crate::backends::sqlite::columns;

/// The runs of one commit as bytes.
pub(super) fn pack(runs: &[LogRun]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(runs.len() * 6);
    let (mut revision, mut job, mut chunk) = (0_u64, 0_u64, 0_u64);
    for run in runs {
        put(&mut bytes, u64::from(run.subject as u8));
        put(&mut bytes, run.revision.wrapping_sub(revision));
        put_signed(&mut bytes, run.key.job.cast_unsigned().wrapping_sub(job).cast_signed());
        put_signed(&mut bytes, run.key.chunk.wrapping_sub(chunk).cast_signed());
        put(&mut bytes, run.count);
        (revision, job, chunk) = (run.revision, run.key.job.cast_unsigned(), run.key.chunk);
    }
    bytes
}

/// The runs that [`pack`] made these bytes from; `None` where it never made such bytes.
pub(super) fn unpack(mut bytes: &[u8]) -> Option<Vec<LogRun>> {
    let mut runs = Vec::new();
    let (mut revision, mut job, mut chunk) = (0_u64, 0_u64, 0_u64);
    while !bytes.is_empty() {
        let subject = columns::subject(take(&mut bytes)?)?;
        revision = revision.wrapping_add(take(&mut bytes)?);
        job = job.wrapping_add(take_signed(&mut bytes)?.cast_unsigned());
        chunk = chunk.wrapping_add(take_signed(&mut bytes)?.cast_unsigned());
        let count = take(&mut bytes)?;
        runs.push(LogRun { subject, revision, key: Key { job: job.cast_signed(), chunk }, count });
    }
    Some(runs)
}

#[allow(clippy::cast_possible_truncation)] // Seven bits at a time is the point.
fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn put_signed(bytes: &mut Vec<u8>, value: i64) {
    put(bytes, (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned());
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take_signed(bytes: &mut &[u8]) -> Option<i64> {
    let value = take(bytes)?;
    Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
}
