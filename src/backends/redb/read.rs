//! What keys and values say.

use super::errors;
use super::spans::Span;
use super::tables::{self as t, Dues, Lane, Line, u64_at};
use crate::backends::contract::{Key, LogRun};
use crate::codec::{self, Seat, Table};
use crate::error::Result;
use crate::limits;

/// A run of a lane from its key and value.
pub(super) fn read_run(lane: Lane, key: &[u8], value: &[u8]) -> Result<Span> {
    let Some(at) = key.len().checked_sub(8) else { return Err(errors::damaged_index("a key is too short")) };
    let first = u64_at(key, at);
    let last = codec::read_number(lane.seat(first), value)?;
    if last < first {
        return Err(lane.seat(first).corrupt("it ends before it begins"));
    }
    if last > limits::ID_MAX {
        return Err(lane.seat(first).corrupt(format_args!("it ends with chunk {last}, which none can be")));
    }
    Ok(Span { first, last })
}

/// A run of whatever line its key says.
pub(super) fn read_line(key: &[u8], value: &[u8]) -> Result<(Line, Span)> {
    match t::read_line(key) {
        Some((line, _)) => Ok((line, read_run(Lane::Line(line), key, value)?)),
        None => Err(errors::damaged_index("the key of a run is none")),
    }
}

/// A run of whatever deadline its key says.
pub(super) fn read_dues(key: &[u8], value: &[u8]) -> Result<(Dues, Span)> {
    match t::read_dues(key) {
        Some((dues, _)) => Ok((dues, read_run(Lane::Dues(dues), key, value)?)),
        None => Err(errors::damaged_index("the key of a deadline is none")),
    }
}

pub(super) fn unmet(key: Key, value: &[u8]) -> Result<u32> {
    let seat = t::unmet_seat(key);
    u32::try_from(codec::read_number(seat, value)?).map_err(|e| seat.corrupt(e))
}

/// The job of a key `[tag][job]`.
pub(super) fn job_at(key: &[u8]) -> Result<i64> {
    sized(key, 9)?;
    let id = u64_at(key, 1);
    possible(Seat::of_job(Table::Jobs, id.cast_signed()), &[id])?;
    Ok(id.cast_signed())
}

/// Refuses numbers that no store comes to, before anything is counted up with them.
pub(super) fn possible(seat: Seat, numbers: &[u64]) -> Result<()> {
    if numbers.iter().all(|number| *number <= limits::ID_MAX) {
        return Ok(());
    }
    Err(seat.corrupt("a number is above 2^53 - 1"))
}

/// The chunk of a key `[tag][job][chunk]`.
pub(super) fn chunk_at(key: &[u8]) -> Result<Key> {
    sized(key, 17)?;
    Ok(Key { job: u64_at(key, 1).cast_signed(), chunk: u64_at(key, 9) })
}

/// The chunk and the other one of a key `[tag][job][chunk][other chunk]`.
pub(super) fn pair_at(key: &[u8]) -> Result<(Key, u64)> {
    sized(key, 25)?;
    Ok((Key { job: u64_at(key, 1).cast_signed(), chunk: u64_at(key, 9) }, u64_at(key, 17)))
}

/// The revision that a key of the log is.
pub(super) fn revision_at(key: &[u8]) -> Result<u64> {
    sized(key, 8)?;
    Ok(u64_at(key, 0))
}

/// The revision that a key of the log is, and the runs that stand under it.
pub(super) fn log(key: &[u8], value: &[u8]) -> Result<(u64, Vec<LogRun>)> {
    let first = revision_at(key)?;
    let runs = codec::log(first, value)?;
    let seat = Seat::of_job(Table::Log, 0).with(first);
    runs.iter().try_for_each(|run| possible(seat, &[run.revision, run.key.chunk, run.count]))?;
    Ok((first, runs))
}

fn sized(key: &[u8], length: usize) -> Result<()> {
    if key.len() == length {
        Ok(())
    } else {
        Err(errors::damaged_index(format_args!("a key has {} bytes instead of {length}", key.len())))
    }
}
