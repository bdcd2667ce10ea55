//! One measurement: a row at one number of workers, for a slice of time, on a store filled anew.

use std::path::PathBuf;

use crate::Fault;
use crate::clock::{Measured, Slice};

/// The only job of every store here.
pub(crate) const JOB: u32 = 1;

#[derive(Debug, Clone)]
pub(crate) struct Cell {
    pub(crate) workers: usize,
    pub(crate) seconds: f64,
    /// How many chunks there are to work on. A row that finishes them before the time is over stops there.
    pub(crate) chunks: u64,
    /// An empty folder.
    pub(crate) folder: PathBuf,
}

/// The expected checksum of a chunk: 32 hexadecimal digits, as long as an MD5's.
pub(crate) fn checksum(chunk: u64) -> String {
    format!("{:032x}", chunk.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Workers as OS threads, each of which counts its cycles until the slice is over.
pub(crate) fn on_threads(
    cell: &Cell,
    worker: impl Fn(usize, Slice) -> Result<u64, Fault> + Sync,
) -> Result<Measured, Fault> {
    let slice = Slice::begin(cell.seconds);
    let cycles = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cell.workers).map(|at| (at, &worker)).collect();
        let threads: Vec<_> =
            threads.into_iter().map(|(at, worker)| scope.spawn(move || worker(at, slice))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a worker does not panic"))
            .sum::<Result<u64, _>>()
    })?;
    Ok(slice.measured(cycles))
}
