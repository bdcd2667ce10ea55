//! Why a copy did not succeed, in words that say what to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::report::bytes;

#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line is wrong.
    Usage(String),
    NoSource(PathBuf),
    /// Source and destination must not overlap that way.
    Overlap(String),
    /// The destination holds something that must not be overwritten.
    Conflict(String),
    /// Another copy to the same destination is running.
    Running(PathBuf),
    /// The store is of another copy.
    OtherCopy(String),
    NoSpace {
        at: PathBuf,
        need: u64,
        have: u64,
    },
    File {
        doing: &'static str,
        path: PathBuf,
        error: io::Error,
    },
    Store(magnetar::Error),
    /// The source changed while it was being hashed; looking again helps.
    Moving(PathBuf),
    /// Pieces that could not be copied, and why.
    Left {
        pieces: u64,
        examples: Vec<String>,
    },
    /// What could not even be read.
    Unreadable(u64),
}

impl Failure {
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Failure::Usage(text.into())
    }

    /// For `map_err` on what the file system answers.
    pub(crate) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Failure::File { doing, path, error }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        if matches!(self, Failure::Usage(_)) { 2 } else { 1 }
    }
}

impl From<magnetar::Error> for Failure {
    fn from(error: magnetar::Error) -> Self {
        Failure::Store(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(text) => write!(f, "{text}; see --help"),
            Failure::NoSource(path) => write!(f, "there is no source {}; check the path", path.display()),
            Failure::Overlap(text) | Failure::Conflict(text) | Failure::OtherCopy(text) => f.write_str(text),
            Failure::Running(path) => {
                write!(
                    f,
                    "another copy to this destination is running (it holds {}); wait for it",
                    path.display()
                )
            }
            Failure::NoSpace { at, need, have } => write!(
                f,
                "{} are needed at {}, {} are free; make room and run the same command again",
                bytes(*need),
                at.display(),
                bytes(*have)
            ),
            Failure::File { doing, path, error } => {
                let advice = match error.kind() {
                    io::ErrorKind::PermissionDenied => "; allow it, or run as who may",
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                        "; make room and run the same command again"
                    }
                    _ => "; mend it and run the same command again",
                };
                write!(f, "cannot {doing} {}: {error}{advice}", path.display())
            }
            Failure::Store(error) => write!(f, "store: {error}"),
            Failure::Moving(path) => {
                write!(f, "{} changed while it was read; run the same command again", path.display())
            }
            Failure::Left { pieces, examples } => {
                write!(
                    f,
                    "{pieces} pieces could not be copied; run the same command again when the cause is gone"
                )?;
                examples.iter().try_for_each(|example| write!(f, "\n  {example}"))
            }
            Failure::Unreadable(count) => write!(
                f,
                "everything else is copied, but {count} in the source could not be read (named above); make them readable and run the same command again"
            ),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Failure::File { error, .. } => Some(error),
            Failure::Store(error) => Some(error),
            _ => None,
        }
    }
}
