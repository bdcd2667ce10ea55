//! Liveness by the operating system: each owner holds a lock on a file of its own, which the system releases when the
//! process ends, however it ends.
//!
//! The files stand in `<store>.owners/`, each named by its owner. A lock that can be taken proves its owner dead; a file
//! that is missing proves nothing.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Liveness, Probe};
use foldhash::HashMap;

use crate::error::{Error, ErrorKind, Result};
use crate::model::OwnerId;

/// The ending of a file's name before it is locked.
const UNLOCKED: &str = "new";

/// A file that is older than this and not locked yet never will be: a crash left it.
const UNLOCKED_FOR: Duration = Duration::from_hours(1);

/// The owners of one store file.
#[derive(Debug)]
pub(crate) struct OwnerFiles {
    folder: PathBuf,
    /// Our own, locked until they are dropped.
    held: Mutex<HashMap<OwnerId, Held>>,
    /// The file system there has no locks.
    unlockable: AtomicBool,
}

/// A locked file of our own. When it is dropped its lock goes, which proves the owner dead; the file stays for that.
#[derive(Debug)]
struct Held {
    path: PathBuf,
    _file: File,
}

impl OwnerFiles {
    /// For the owners of the store at a path.
    pub(crate) fn beside(store: &Path) -> Self {
        let mut folder = store.as_os_str().to_owned();
        folder.push(".owners");
        OwnerFiles { folder: folder.into(), held: Mutex::default(), unlockable: AtomicBool::new(false) }
    }

    fn path(&self, owner: OwnerId) -> PathBuf {
        self.folder.join(owner.to_string())
    }

    fn failed(&self, what: &str, error: io::Error) -> Error {
        let text = format!(
            "{what} {}: {error}; the store keeps a locked file per process there, to tell the living from the dead",
            self.folder.display()
        );
        Error::new(ErrorKind::Io, text).caused_by(error)
    }

    fn held(&self) -> MutexGuard<'_, HashMap<OwnerId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks a file under a name that nobody probes, then gives it the owner's: whoever finds it finds it locked.
    fn create(&self, owner: OwnerId) -> io::Result<Option<Held>> {
        fs::create_dir_all(&self.folder)?;
        let path = self.path(owner);
        let unlocked = path.with_extension(UNLOCKED);
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(&unlocked)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::Error::from(io::ErrorKind::WouldBlock)),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                fs::remove_file(&unlocked)?;
                return Ok(None);
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        fs::rename(&unlocked, &path)?;
        Ok(Some(Held { path, _file: file }))
    }
}

/// Removes a file that a crash left before it was locked.
fn remove_old(path: &Path) {
    let modified = path.metadata().and_then(|meta| meta.modified());
    if modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > UNLOCKED_FOR)) {
        // Another process may have been quicker.
        let _ = fs::remove_file(path);
    }
}

impl Liveness for OwnerFiles {
    fn announce(&self, owner: OwnerId) -> Result<()> {
        let mut held = self.held();
        if held.contains_key(&owner) || self.unlockable.load(Ordering::Relaxed) {
            return Ok(());
        }
        if let Some(file) = self.create(owner).map_err(|e| self.failed("cannot write to", e))? {
            held.insert(owner, file);
        } else {
            tracing::warn!(
                folder = %self.folder.display(),
                "this file system has no locks: claims of a process that dies come back when their leases are over"
            );
            self.unlockable.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn probe(&self, owner: OwnerId) -> Probe {
        if self.held().contains_key(&owner) {
            return Probe::Alive;
        }
        let Ok(file) = OpenOptions::new().write(true).open(self.path(owner)) else { return Probe::Unknown };
        match file.try_lock() {
            Ok(()) => Probe::Dead(Box::new(file)),
            Err(TryLockError::WouldBlock) => Probe::Alive,
            Err(TryLockError::Error(_)) => Probe::Unknown,
        }
    }

    fn retire(&self, owner: OwnerId) {
        if let Some(held) = self.held().remove(&owner) {
            // Where it stays, whoever opens the store next removes it.
            let _ = fs::remove_file(&held.path);
        }
    }

    fn forget_dead(&self, still_holding: &[OwnerId]) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == UNLOCKED) {
                remove_old(&path);
                continue;
            }
            let owner = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            let Some(owner) = owner else { continue };
            if still_holding.contains(&owner) {
                continue;
            }
            if let Probe::Dead(_lock) = self.probe(owner) {
                // Another process may have been quicker.
                let _ = fs::remove_file(&path);
            }
        }
    }

    fn is_instant(&self) -> bool {
        !self.unlockable.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(byte: u8) -> OwnerId {
        OwnerId::from_bytes([byte; 16])
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = folder.path().join("jobs.db");
        (folder, store)
    }

    #[test]
    fn an_owner_is_alive_until_its_lock_goes_and_dead_after() {
        let (_folder, store) = folder();
        let (ours, theirs) = (OwnerFiles::beside(&store), OwnerFiles::beside(&store));
        theirs.announce(owner(1)).unwrap();
        assert!(matches!(ours.probe(owner(1)), Probe::Alive));
        assert!(matches!(theirs.probe(owner(1)), Probe::Alive));
        drop(theirs);
        assert!(matches!(ours.probe(owner(1)), Probe::Dead(_)));
    }

    #[test]
    fn an_owner_that_retires_leaves_nothing() {
        let (_folder, store) = folder();
        let files = OwnerFiles::beside(&store);
        files.announce(owner(1)).unwrap();
        files.retire(owner(1));
        assert_eq!(fs::read_dir(&files.folder).unwrap().count(), 0);
    }

    #[test]
    fn two_rescuers_do_not_find_the_same_owner_dead_at_the_same_time() {
        let (_folder, store) = folder();
        let (first, second) = (OwnerFiles::beside(&store), OwnerFiles::beside(&store));
        fs::create_dir_all(&first.folder).unwrap();
        File::create(first.path(owner(2))).unwrap();
        let lock = first.probe(owner(2));
        assert!(matches!(lock, Probe::Dead(_)));
        assert!(matches!(second.probe(owner(2)), Probe::Alive));
        drop(lock);
        assert!(matches!(second.probe(owner(2)), Probe::Dead(_)));
    }

    #[test]
    fn a_missing_file_proves_nothing() {
        let (_folder, store) = folder();
        assert!(matches!(OwnerFiles::beside(&store).probe(owner(3)), Probe::Unknown));
    }

    #[test]
    fn files_of_the_dead_go_unless_they_still_hold_something() {
        let (_folder, store) = folder();
        let files = OwnerFiles::beside(&store);
        files.announce(owner(4)).unwrap();
        for dead in [5, 6] {
            File::create(files.path(owner(dead))).unwrap();
        }
        let others = files.folder.join("holder");
        File::create(&others).unwrap();
        files.forget_dead(&[owner(5)]);
        assert!(others.exists(), "it is no owner's");
        let left = |byte| files.path(owner(byte)).exists();
        assert_eq!([left(4), left(5), left(6)], [true, true, false]);
    }

    #[test]
    fn a_file_that_a_crash_left_before_it_was_locked_goes_and_one_of_this_moment_stays() {
        let (_folder, store) = folder();
        let files = OwnerFiles::beside(&store);
        fs::create_dir_all(&files.folder).unwrap();
        let unlocked = |byte| files.path(owner(byte)).with_extension(UNLOCKED);
        let old = File::create(unlocked(1)).unwrap();
        old.set_modified(old.metadata().unwrap().modified().unwrap() - 2 * UNLOCKED_FOR).unwrap();
        File::create(unlocked(2)).unwrap();
        files.forget_dead(&[]);
        assert_eq!([unlocked(1), unlocked(2)].map(|path| path.exists()), [false, true]);
    }
}
