//! Whether a file that is open is still the one that its path names. This module is the gate to how a system tells.
//!
//! A file that is removed, moved or replaced can be written to and synced as before by whoever has it open, and nobody
//! finds what it has under its name. So that is asked before anybody is answered.

#[cfg(not(unix))]
mod other;
#[cfg(unix)]
mod unix;

#[cfg(not(unix))]
use other::{Id, id};
#[cfg(unix)]
use unix::{Id, id};

use std::fs::Metadata;
use std::io;
use std::path::PathBuf;

use crate::error::{Error, ErrorKind, Result};

/// A path, and the file that it named.
pub(super) struct Place {
    path: PathBuf,
    /// `None` where it named none, or the system does not tell.
    named: Option<Id>,
}

impl Place {
    /// A path, and the file that it names.
    pub(super) fn new(path: PathBuf, file: io::Result<Metadata>) -> Self {
        Place { path, named: file.ok().and_then(|file| id(&file)) }
    }

    /// Fails where the path names another file by now, or none. What cannot be looked at is taken to be there.
    pub(super) fn check(&self) -> Result<()> {
        let Some(named) = &self.named else { return Ok(()) };
        match self.path.metadata() {
            Ok(file) if id(&file).is_some_and(|names| names != *named) => Err(self.gone("was replaced")),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Err(self.gone("was removed, or moved away,"))
            }
            _ => Ok(()),
        }
    }

    fn gone(&self, what: &str) -> Error {
        let path = self.path.display();
        let text = format!(
            "{path} {what} while the store was open, so what is written to it is lost to whoever opens the store; put the file back, and reopen"
        );
        Error::new(ErrorKind::Poisoned, text)
    }
}
