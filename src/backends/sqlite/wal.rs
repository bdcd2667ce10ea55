//! Keeps the WAL from growing without end.
//!
//! `SQLite` starts it over once all of it is in the file and nobody reads in it any more. Where reads follow so close upon
//! each other that somebody always does, that moment never comes, and the WAL grows for as long as they go on. So where it
//! has become long, whoever has just committed waits for those who read, a little: they end, and who comes after them
//! reads the file alone.

use std::path::{Path, PathBuf};

use crate::backends::sqlite::block::Wait;
use crate::backends::sqlite::connection::{Args, Connection, Failure};
use crate::backends::sqlite::{open, rows};

/// A WAL up to this length is left to `SQLite`, in bytes.
pub(super) const BYTES_MAX: u64 = 64 << 20;

/// It is looked at after about so many changed rows: a look is a call to the system.
const ROWS_UNLOOKED_MAX: usize = 512;

/// What every commit writes besides its rows, in rows.
const ROWS_PER_COMMIT: usize = 8;

/// Those who read are waited for so often, some 20 milliseconds each, as long as a connection waits for a lock; and twice
/// as often for each such length that the WAL has, up to so many doublings.
const TRIES: u32 = 8;
const TRIES_DOUBLED_MAX: u64 = 3;

/// The WAL of a file.
pub(super) struct Wal {
    path: PathBuf,
    bytes_max: u64,
    /// Up to this length nothing is done now: somebody reads for longer than was waited for.
    bytes_left: u64,
    rows_unlooked: usize,
}

impl Wal {
    pub(super) fn new(file: &Path, bytes_max: u64) -> Self {
        Wal { path: open::wal(file), bytes_max, bytes_left: bytes_max, rows_unlooked: 0 }
    }

    /// Behind a commit of so many rows. Nothing that was committed hangs on it.
    pub(super) fn written(&mut self, connection: &mut Connection, rows: usize) {
        self.rows_unlooked += rows + ROWS_PER_COMMIT;
        if self.rows_unlooked < ROWS_UNLOOKED_MAX {
            return;
        }
        self.rows_unlooked = 0;
        let bytes = self.path.metadata().map_or(0, |file| file.len());
        if bytes <= self.bytes_left {
            return;
        }
        let tries = TRIES << (bytes / self.bytes_max).min(TRIES_DOUBLED_MAX);
        self.bytes_left = match start_over(connection, tries) {
            Ok(true) => self.bytes_max,
            // Whoever reads for long is not waited for at every commit.
            Ok(false) => bytes + bytes / 4,
            Err(failure) => {
                let error = failure.into_error();
                tracing::debug!(%error, wal = %self.path.display(), "the WAL could not be shortened yet");
                bytes + bytes / 4
            }
        };
    }
}

/// Has the WAL begin anew, and says whether it does.
fn start_over(connection: &mut Connection, tries: u32) -> Result<bool, Failure> {
    for _ in 0..tries {
        let mut is_busy = 1_i64;
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        connection.call(checkpoint, Args::default(), Wait::Park, |_, row| {
            is_busy = rows::get(row, 0)?;
            Ok(())
        })?;
        if is_busy == 0 {
            return Ok(true);
        }
    }
    Ok(false)
}
