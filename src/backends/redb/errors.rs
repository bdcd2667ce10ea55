//! redb's errors in our words.

use redb::{CommitError, DatabaseError, StorageError, TableError, TransactionError};

use super::tables::FILE_FORMAT;
use crate::codec::newer_format;
use crate::error::{Error, ErrorKind};

/// An error while reading: nothing was changed.
#[cold]
pub(super) fn reading(error: StorageError) -> Error {
    let (kind, text) = match &error {
        StorageError::Corrupted(why) => (
            ErrorKind::Corrupt,
            format!("a page of the file is damaged ({why}); restore the file from a copy, and run verify()"),
        ),
        StorageError::PreviousIo | StorageError::LockPoisoned(_) => {
            (ErrorKind::Poisoned, format!("an earlier error left the file in doubt ({error}); call reopen"))
        }
        // The snapshot outlived the file that it was taken of, which was closed to be opened anew.
        StorageError::DatabaseClosed => {
            (ErrorKind::Busy, "the store was reopened while it was read; read again".to_owned())
        }
        StorageError::Io(io) if is_cut_short(io) => (ErrorKind::Corrupt, cut_short(io)),
        _ => (ErrorKind::Io, format!("the file cannot be read: {error}")),
    };
    Error::new(kind, text).caused_by(error)
}

#[cold]
pub(super) fn beginning(error: TransactionError) -> Error {
    match error {
        TransactionError::Storage(error) => reading(error),
        other => Error::new(ErrorKind::Busy, format!("no snapshot can be taken: {other}")),
    }
}

#[cold]
pub(super) fn opening_table(error: TableError) -> Error {
    match error {
        TableError::Storage(error) => reading(error),
        other => Error::new(
            ErrorKind::Corrupt,
            format!("the file lacks a table of ours ({other}); restore the file from a copy"),
        )
        .caused_by(other),
    }
}

/// An error while writing: the transaction's outcome is unknown to us, and redb refuses to go on with the handle.
#[cold]
pub(super) fn writing(error: impl Into<redb::Error>) -> Error {
    let error = error.into();
    Error::new(
        ErrorKind::Poisoned,
        format!(
            "the write failed and its outcome is unknown ({error}); call reopen, which recovers the file"
        ),
    )
    .caused_by(error)
}

/// An error while writing to the journal.
#[cold]
pub(super) fn writing_journal(error: std::io::Error) -> Error {
    writing(redb::Error::Io(error))
}

#[cold]
pub(super) fn committing(error: CommitError) -> Error {
    writing(error)
}

/// An error while opening. `holder` tells who has the file, where that is known.
#[cold]
pub(super) fn opening(error: DatabaseError, holder: impl FnOnce() -> Option<String>) -> Error {
    let (kind, text) = match &error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            let holder = holder().unwrap_or_else(|| "somebody unknown".to_owned());
            let text = format!(
                "the file is held by {holder}; a redb file has one process at a time: close it there, or use SQLite"
            );
            (ErrorKind::Locked, text)
        }
        DatabaseError::UpgradeRequired(version) => {
            return newer_format(format_args!("redb {version}")).caused_by(error);
        }
        DatabaseError::RepairAborted => return needs_recovery().caused_by(error),
        DatabaseError::TransactionInProgress => {
            (ErrorKind::Busy, "somebody is reading; try again when they have finished".to_owned())
        }
        DatabaseError::Storage(StorageError::Io(io)) if io.kind() == std::io::ErrorKind::InvalidData => (
            ErrorKind::Corrupt,
            format!(
                "this is not a Magnetar store ({io}); it was left as it is; check the path, or restore a copy"
            ),
        ),
        DatabaseError::Storage(StorageError::Corrupted(why)) => {
            (ErrorKind::Corrupt, format!("the file is damaged ({why}); restore it from a copy"))
        }
        DatabaseError::Storage(StorageError::Io(io)) if is_cut_short(io) => {
            (ErrorKind::Corrupt, cut_short(io))
        }
        DatabaseError::Storage(StorageError::Io(io)) if is_full(io) => (
            ErrorKind::Full,
            format!("the file cannot be opened, which needs some space ({io}); free some and try again"),
        ),
        _ => (ErrorKind::Io, format!("the file cannot be opened: {error}")),
    };
    Error::new(kind, text).caused_by(error)
}

#[cold]
pub(super) fn io(what: &str, error: std::io::Error) -> Error {
    let kind = if is_full(&error) { ErrorKind::Full } else { ErrorKind::Io };
    Error::new(kind, format!("{what}: {error}")).caused_by(error)
}

/// Whether the file ends before what it says is in it.
fn is_cut_short(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::UnexpectedEof
}

fn cut_short(error: &std::io::Error) -> String {
    format!("the file is shorter than it says ({error}); restore it from a copy")
}

/// Whether there is no space for more: on the disk, in the quota, or in a file of this process.
fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

#[cold]
pub(super) fn not_ours(why: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!(
            "this is not a Magnetar store ({why}); its content was left as it is; check the path, or restore a copy"
        ),
    )
}

#[cold]
pub(super) fn newer_file(version: u32) -> Error {
    Error::new(
        ErrorKind::NewerFormat,
        format!(
            "the file was written in format {version}, this build knows up to {FILE_FORMAT}; use a newer Magnetar"
        ),
    )
}

#[cold]
pub(super) fn damaged_mark() -> Error {
    Error::new(ErrorKind::Corrupt, "the file's first page is damaged; restore the file from a copy")
}

/// It ends before redb's part, which was there when the mark was written.
#[cold]
pub(super) fn cut_short_in_front() -> Error {
    Error::new(ErrorKind::Corrupt, "the file is shorter than it says; restore it from a copy")
}

#[cold]
pub(super) fn damaged_journal() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "the file's journal is damaged, and what it has was acknowledged; restore the file from a copy",
    )
}

/// redb panicked where it was to write what the journal has.
#[cold]
pub(super) fn unwritable() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "pages of the file are damaged, what the journal has cannot be written to them; restore the file from a copy",
    )
}

/// What verifying found, and redb mended.
#[cold]
pub(super) fn set_right() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "pages of the file were damaged and the file was set right from what is whole; run verify() again, and compare \
         with a copy",
    )
}

/// A change is in the journal, and the trees did not take it.
#[cold]
pub(super) fn behind_journal(error: Error) -> Error {
    let text = format!("the change is durable, but could not be written to the trees ({error}); call reopen");
    Error::new(ErrorKind::Poisoned, text).caused_by(error)
}

/// What the journal has cannot be written to the trees while the file is opened.
#[cold]
pub(super) fn recovering(error: Error) -> Error {
    let text = format!("what was acknowledged before a crash cannot be written to the trees: {error}");
    Error::new(kind_behind(&error), text).caused_by(error)
}

/// What the journal has cannot be written to the trees while the file is closed, or the trees cannot be closed in order.
#[cold]
pub(super) fn closing(error: Error) -> Error {
    let text = format!("the file is closed as a crash leaves it, and the next opening recovers it: {error}");
    Error::new(kind_behind(&error), text).caused_by(error)
}

/// What kind of error it is to whoever does not go on with what failed.
fn kind_behind(error: &Error) -> ErrorKind {
    let redb = error.get_ref().and_then(|cause| cause.downcast_ref::<redb::Error>());
    match redb {
        Some(redb::Error::Io(io)) if is_full(io) => ErrorKind::Full,
        _ if error.kind() == ErrorKind::Poisoned => ErrorKind::Io,
        _ => error.kind(),
    }
}

/// A store whose journal has what there is no space for.
#[cold]
pub(super) fn full() -> Error {
    Error::new(
        ErrorKind::Full,
        "there is no space to write to the trees what the journal has, so nothing more is taken; free some and try again",
    )
}

/// A file that is opened for reading.
#[cold]
pub(super) fn needs_recovery() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "the file was not closed in order and needs recovery; open it for writing once",
    )
}

#[cold]
pub(super) fn poisoned() -> Error {
    Error::new(ErrorKind::Poisoned, "an earlier write failed and left its outcome unknown; call reopen")
}

#[cold]
pub(super) fn reopening() -> Error {
    Error::new(ErrorKind::Busy, "the file is just being opened anew; read again")
}

#[cold]
pub(super) fn not_reopened() -> Error {
    Error::new(ErrorKind::Poisoned, "the file could not be opened anew; call reopen")
}

#[cold]
pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the store is closed; open it anew")
}

#[cold]
pub(super) fn damaged_index(why: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("an index of the file is damaged ({why}); restore the file from a copy, and run verify()"),
    )
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::super::{Options, RedbBackend, Storage};
    use crate::error::{ErrorKind, Retry};

    #[derive(Debug)]
    struct NoSpace(io::ErrorKind);

    impl Storage for NoSpace {
        fn len(&self) -> io::Result<u64> {
            Ok(0)
        }

        fn read(&self, _offset: u64, _bytes: &mut [u8]) -> io::Result<()> {
            Err(io::ErrorKind::UnexpectedEof.into())
        }

        fn set_len(&self, _len: u64) -> io::Result<()> {
            Err(self.0.into())
        }

        fn write(&self, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
            Err(self.0.into())
        }

        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_opening_that_lacks_space_is_full_and_may_be_tried_again() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge] {
            let refused = RedbBackend::on_storage(move || Ok(NoSpace(kind)), Options::new([7; 16])).err();
            let refused = refused.map(|error| (error.kind(), error.retry()));
            assert_eq!(refused, Some((ErrorKind::Full, Retry::Later)));
        }
    }
}
