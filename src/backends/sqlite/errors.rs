//! From SQLite's result codes to our kinds of error.

use crate::error::{Error, ErrorKind};

const ERROR: i32 = 1;
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const NOMEM: i32 = 7;
const READONLY: i32 = 8;
const IOERR: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
const PROTOCOL: i32 = 15;
const SCHEMA: i32 = 17;
const TOOBIG: i32 = 18;
const CONSTRAINT: i32 = 19;
const NOTADB: i32 = 26;
const CONSTRAINT_TRIGGER: i32 = CONSTRAINT | (7 << 8);
const CONSTRAINT_UNIQUE: i32 = CONSTRAINT | (8 << 8);

/// The result code, where SQLite itself reported the error.
fn extended_code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

/// The primary result code.
fn code(error: &sqlx::Error) -> Option<i32> {
    extended_code(error).map(|code| code & 0xff)
}

/// Whether a row broke a rule that is none of our schema: that has primary keys, and neither triggers nor further indexes
/// that are unique.
fn is_of_a_strangers_rule(error: &sqlx::Error) -> bool {
    matches!(extended_code(error), Some(CONSTRAINT_TRIGGER | CONSTRAINT_UNIQUE))
}

/// Whether another connection holds the lock, or was quicker at the WAL however often it was tried.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(code(error), Some(BUSY | LOCKED | PROTOCOL))
}

/// Whether a row broke a rule of the schema.
pub(super) fn is_constraint(error: &sqlx::Error) -> bool {
    code(error) == Some(CONSTRAINT)
}

/// Whether a statement did not fit the tables that are there.
pub(super) fn is_of_schema(error: &sqlx::Error) -> bool {
    matches!(code(error), Some(ERROR | SCHEMA))
}

/// Whether the disk is full.
pub(super) fn is_full(error: &sqlx::Error) -> bool {
    code(error) == Some(FULL)
}

/// Whether an error is of a file that is none of SQLite's.
pub(super) fn is_no_database(error: &Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<sqlx::Error>());
    cause.is_some_and(|cause| code(cause) == Some(NOTADB))
}

/// An error of which it is known that nothing was changed.
pub(super) fn unchanged(error: sqlx::Error) -> Error {
    let (kind, hint) = match code(&error) {
        Some(BUSY | LOCKED | PROTOCOL) => {
            (ErrorKind::Busy, "another process kept the store locked; try again later")
        }
        Some(FULL) => (ErrorKind::Full, "the disk is full; free some space and try again"),
        Some(CORRUPT | NOTADB) => {
            (ErrorKind::Corrupt, "the file is damaged; restore it from a copy, nothing was changed")
        }
        // The statements are fixed and tested: what a whole file's schema has, this one's lacks.
        Some(ERROR | SCHEMA) => (
            ErrorKind::Corrupt,
            "the file's schema does not fit our statements; restore it from a copy, or report this if nothing damaged it",
        ),
        Some(READONLY) => {
            (ErrorKind::Io, "the file or its directory cannot be written to; check the permissions")
        }
        Some(CANTOPEN) => (ErrorKind::Io, "the file cannot be opened; check the path and the permissions"),
        Some(IOERR) => (ErrorKind::Io, "the operating system reported an error"),
        Some(NOMEM) => (ErrorKind::Io, "there is not enough memory"),
        Some(TOOBIG) => (ErrorKind::TooLarge, "a value is larger than SQLite can hold"),
        Some(CONSTRAINT) if is_of_a_strangers_rule(&error) => (
            ErrorKind::Corrupt,
            "a unique index or a trigger that somebody added to the file refuses it; drop that, nothing was changed",
        ),
        Some(CONSTRAINT) => {
            (ErrorKind::Internal, "a row broke a rule of the schema; nothing was changed, please report this")
        }
        _ => match &error {
            sqlx::Error::Io(_) => (ErrorKind::Io, "the operating system reported an error"),
            // A value that is not of its column's type, or text that is none: a file that nobody damaged has neither.
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                (ErrorKind::Corrupt, "the file is damaged; restore it from a copy, nothing was changed")
            }
            sqlx::Error::WorkerCrashed => (ErrorKind::Poisoned, "the connection is gone; reopen the store"),
            _ => (ErrorKind::Internal, "SQLite refused a statement; please report this"),
        },
    };
    Error::new(kind, format!("{hint} ({error})")).caused_by(error)
}

/// An error that leaves it open whether the commit happened.
pub(super) fn unknown(error: sqlx::Error) -> Error {
    Error::new(ErrorKind::Poisoned, format!("the commit failed half-way; reopen the store ({error})"))
        .caused_by(error)
}

#[cfg(test)]
mod tests {
    use std::error::Error as StdError;
    use std::fmt;

    use sqlx::error::{DatabaseError, ErrorKind as SqlKind};

    use super::*;
    use crate::error::Retry;

    /// What SQLite reports, by its number.
    #[derive(Debug)]
    struct Code(i32);

    impl fmt::Display for Code {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "code {}", self.0)
        }
    }

    impl StdError for Code {}

    impl DatabaseError for Code {
        fn message(&self) -> &'static str {
            "of SQLite"
        }

        fn code(&self) -> Option<std::borrow::Cow<'_, str>> {
            Some(self.0.to_string().into())
        }

        fn as_error(&self) -> &(dyn StdError + Send + Sync + 'static) {
            self
        }

        fn as_error_mut(&mut self) -> &mut (dyn StdError + Send + Sync + 'static) {
            self
        }

        fn into_error(self: Box<Self>) -> Box<dyn StdError + Send + Sync + 'static> {
            self
        }

        fn kind(&self) -> SqlKind {
            SqlKind::Other
        }
    }

    /// Busy, in recovery, behind an older snapshot, locked; and a race for the WAL that was lost a hundred times.
    #[test]
    fn whatever_says_that_others_are_in_the_way_is_tried_again() {
        for code in [5, 261, 517, 6, 15] {
            let error = sqlx::Error::Database(Box::new(Code(code)));
            assert!(is_busy(&error), "{code}");
            let error = unchanged(error);
            assert_eq!((error.kind(), error.retry()), (ErrorKind::Busy, Retry::Later), "{code}");
        }
    }
}
