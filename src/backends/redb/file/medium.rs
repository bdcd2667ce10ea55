//! The file, its name, and who has it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::super::backend::Access;
use super::super::backend::{Options, RedbBackend};
use super::super::errors;
use super::super::medium::Medium;
use super::system;
use crate::backends::place::Place;
use crate::error::{Error, ErrorKind, Result};

impl RedbBackend {
    /// A store in a file, which is created where it does not exist; an empty one is taken for a new one.
    /// A symbolic link is followed.
    pub(crate) fn open_file(path: &Path, options: Options) -> Result<Self> {
        let medium = FileMedium::new(path, true);
        RedbBackend::open(Box::new(medium), options, Access::Write)
    }

    /// A store in a file, for reading beside a writer that was opened with [`Options::shared_readers`], or alone.
    pub(crate) fn open_read_only(path: &Path, options: Options) -> Result<Self> {
        let medium = FileMedium::new(path, false);
        RedbBackend::open(Box::new(medium), options, Access::Read)
    }
}

struct FileMedium {
    path: PathBuf,
    /// It was created by us.
    is_created: AtomicBool,
    is_writable: bool,
    /// The file that was opened.
    place: Mutex<Option<Place>>,
    /// Our lock on the file that a program in Node locks, while the store is open.
    against_node: Mutex<Option<FileBackend>>,
}

/// What SQLite locks of a database that it has to itself: Node can take no other lock of the operating system.
const SQLITE_LOCK: (Bound<u64>, Bound<u64>) = (Bound::Included(0x4000_0000), Bound::Excluded(0x4000_0200));

impl FileMedium {
    fn new(path: &Path, is_writable: bool) -> Self {
        FileMedium {
            path: path.to_owned(),
            is_created: AtomicBool::new(false),
            is_writable,
            place: Mutex::default(),
            against_node: Mutex::default(),
        }
    }

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

    /// `<file>.lock`, which programs in Node make and lock: beside the file itself, whichever link it was named by.
    fn node_lock(&self) -> PathBuf {
        let path = self.path.canonicalize();
        let mut name = OsString::from(path.as_ref().unwrap_or(&self.path));
        name.push(".lock");
        name.into()
    }

    /// Refuses a file that a program in Node has open, and keeps others from opening it. Nothing is made: where there is
    /// no such file yet, whoever makes it looks for our lock afterwards.
    fn keep_node_out(&self) -> Result<()> {
        let mut held = self.against_node.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() || !self.is_writable {
            return Ok(());
        }
        let Ok(file) = OpenOptions::new().read(true).write(true).open(self.node_lock()) else {
            return Ok(());
        };
        let Ok(lock) = FileBackend::new(file) else { return Ok(()) };
        match lock.try_lock_range(SQLITE_LOCK.0, SQLITE_LOCK.1) {
            Ok(true) => *held = Some(lock),
            Ok(false) => {
                let text = "the file is held by a program in Node; a redb file has one process at a time: close it there";
                return Err(Error::new(ErrorKind::Locked, text));
            }
            // No such locks here.
            Err(_) => {}
        }
        Ok(())
    }

    fn note(&self) -> PathBuf {
        self.owners().join("holder")
    }
}

impl Medium for FileMedium {
    fn open(&self, is_first: bool) -> Result<Box<dyn StorageBackend>> {
        if is_first && self.path.is_dir() {
            return Err(Error::invalid("this is a folder; name a file in it"));
        }
        self.keep_node_out()?;
        let file = self.open_or_create(is_first).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if self.is_writable && is_first => {
                let missing = "its folder, or what a link names, is missing; create that first";
                errors::io(&format!("the file cannot be made ({missing})"), error)
            }
            io::ErrorKind::NotFound if !is_first => {
                errors::io("the file cannot be opened (it was moved or deleted; put it back)", error)
            }
            _ => errors::io("the file cannot be opened", error),
        })?;
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Place::new(self.path.clone(), file.metadata()));
        let backend = FileBackend::new(file)
            .map_err(|e| Error::new(ErrorKind::Io, format!("the file cannot be opened: {e}")))?;
        Ok(Box::new(backend))
    }

    fn locked(&self) -> Result<()> {
        self.keep_node_out()
    }

    /// Also of an empty file that was there: whoever created it may have been killed before it could do this.
    fn making(&self) -> Result<()> {
        let path = self.path.canonicalize();
        let parent = path.as_ref().unwrap_or(&self.path).parent().filter(|path| !path.as_os_str().is_empty());
        match system::sync_directory(parent.unwrap_or(Path::new("."))) {
            // Somebody else's, who has seen to it.
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied
                    && !self.is_created.load(Ordering::Relaxed) =>
            {
                Ok(())
            }
            result => result.map_err(|e| errors::io("the directory of the new file cannot be synced", e)),
        }
    }

    fn opened(&self) -> Result<()> {
        // Only for the text of an error: a directory that cannot be written to is no reason not to work.
        let _ = system::create_private_directory(&self.owners());
        let _ = fs::write(self.note(), this_process());
        Ok(())
    }

    fn name(&self, error: Error) -> Error {
        Error::new(error.kind(), format!("{}: {error}", self.path.display())).caused_by(error)
    }

    fn in_place(&self) -> Result<()> {
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        place.as_ref().map_or(Ok(()), Place::check)
    }

    /// Before the lock is given up, so that it is never another holder's note that goes.
    fn closing(&self) {
        *self.against_node.lock().unwrap_or_else(PoisonError::into_inner) = None;
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
    let host = fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")))
        .map_or_else(|_| "this network".to_owned(), |name| name.trim().to_owned());
    format!("process {} on {host}\n", std::process::id())
}
