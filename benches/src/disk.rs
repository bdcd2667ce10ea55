//! The folder of a measurement, and how long its disk takes for a sync.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::Fault;
use crate::clock::Slice;

/// A folder that is empty now.
pub(crate) fn empty(folder: &Path) -> Result<PathBuf, Fault> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    Ok(fs::canonicalize(folder)?)
}

/// The median time of a 4 KiB write and its `fdatasync`, in milliseconds.
pub(crate) fn sync_ms(folder: &Path) -> Result<f64, Fault> {
    let path = empty(folder)?.join("sync");
    let mut file = fs::File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..31 {
        let slice = Slice::begin(0.0);
        file.write_all(&[1; 4096])?;
        file.sync_data()?;
        times.push(slice.measured(0).seconds * 1e3);
    }
    fs::remove_file(path)?;
    Ok(median(times))
}

pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => numbers[middle],
        _ => f64::midpoint(numbers[middle - 1], numbers[middle]),
    }
}
