//! The file, its name, and who has it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::super::backend::Access;
use super::super::backend::{Options, RedbBackend};
use super::super::errors;
use super::super::medium::Medium;
use super::system;
use crate::clock::{Clock as _, SystemClock};
use crate::error::{Error, ErrorKind, Result};

impl RedbBackend {
    /// A store in a file, which is created where it does not exist; an empty one is taken for a new one.
    /// A symbolic link is followed.
    pub(crate) fn open_file(path: &Path, options: Options) -> Result<Self> {
        let is_created = AtomicBool::new(false);
        let medium = FileMedium { path: path.to_owned(), is_created, is_writable: true };
        RedbBackend::open(Box::new(medium), options, Access::Write)
    }

    /// A store in a file, for reading beside a writer that was opened with [`Options::shared_readers`], or alone.
    pub(crate) fn open_read_only(path: &Path, options: Options) -> Result<Self> {
        let is_created = AtomicBool::new(false);
        let medium = FileMedium { path: path.to_owned(), is_created, is_writable: false };
        RedbBackend::open(Box::new(medium), options, Access::Read)
    }
}

struct FileMedium {
    path: PathBuf,
    /// It was created by us and its name is not yet durable.
    is_created: AtomicBool,
    is_writable: bool,
}

impl FileMedium {
    fn open_or_create(&self, is_first: bool) -> io::Result<File> {
        if self.is_writable && is_first {
            match system::create_private(&self.path) {
                Ok(file) => {
                    self.is_created.store(true, Ordering::Relaxed);
                    return Ok(file);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        OpenOptions::new().read(true).write(self.is_writable).open(&self.path)
    }

    /// `<file>.owners`, where the locks of those who claim are as well.
    fn owners(&self) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(".owners");
        name.into()
    }

    fn note(&self) -> PathBuf {
        self.owners().join("holder")
    }
}

impl Medium for FileMedium {
    fn open(&self, is_first: bool) -> Result<Box<dyn StorageBackend>> {
        let fail = |error| errors::io(&format!("{} cannot be opened", self.path.display()), error);
        let file = self.open_or_create(is_first).map_err(fail)?;
        let backend = FileBackend::new(file).map_err(|e| {
            Error::new(ErrorKind::Io, format!("{} cannot be opened: {e}", self.path.display()))
        })?;
        Ok(Box::new(backend))
    }

    fn opened(&self) -> Result<()> {
        if self.is_created.load(Ordering::Relaxed) {
            let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
            system::sync_directory(parent.unwrap_or(Path::new(".")))
                .map_err(|e| errors::io("the directory of the new file cannot be synced", e))?;
            self.is_created.store(false, Ordering::Relaxed);
        }
        // Only for the text of an error: a directory that cannot be written to is no reason not to work.
        let _ = system::create_private_directory(&self.owners());
        let _ = fs::write(self.note(), this_process());
        Ok(())
    }

    /// Before the lock is given up, so that it is never another holder's note that goes.
    fn closing(&self) {
        let _ = fs::remove_file(self.note());
    }

    fn holder(&self) -> Option<String> {
        let note = fs::read_to_string(self.note()).ok()?;
        let line = note.lines().next()?;
        // What somebody else wrote goes into an error text.
        Some(line.chars().filter(|c| !c.is_control()).take(200).collect())
    }
}

fn this_process() -> String {
    let since_ms = SystemClock.now_ms();
    let host = fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")))
        .map_or_else(|_| "this network".to_owned(), |name| name.trim().to_owned());
    format!("process {} on {host} (opened at {since_ms} ms since 1970)\n", std::process::id())
}
