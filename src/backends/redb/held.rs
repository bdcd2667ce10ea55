//! Writes that are held back while it is not yet known whose file it is.
//!
//! redb writes to whatever it opens: it marks the file as in use, repairs it, and takes the mark off when it closes.
//! A stranger's file, or a damaged one, is to be left as it is. So everything that an opening writes is kept in memory,
//! and reaches the file, in the same order and with the same syncs, once the file has turned out to be ours and whole.

use std::fmt;
use std::io;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{BackendError, StorageBackend};

/// A backend whose writes are held back until [`Hold::release`].
pub(super) struct Held(Arc<Hold>);

/// What is held back, for whoever decides.
pub(super) struct Hold {
    inner: Box<dyn StorageBackend>,
    is_held: AtomicBool,
    changes: Mutex<Changes>,
}

#[derive(Default)]
struct Changes {
    list: Vec<Change>,
    /// How long the file is with them.
    len: u64,
    /// How long it is without them.
    below: u64,
    /// Letting them through failed half-way; the file is as after a crash.
    has_failed: bool,
}

enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

impl Held {
    /// Holds back what is written from now on.
    pub(super) fn new(inner: Box<dyn StorageBackend>) -> (Self, Arc<Hold>) {
        let hold = Arc::new(Hold { inner, is_held: AtomicBool::new(true), changes: Mutex::default() });
        (Held(Arc::clone(&hold)), hold)
    }
}

impl Hold {
    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The changes while they are held back; `None` once they were let through.
    fn held(&self) -> Option<MutexGuard<'_, Changes>> {
        if !self.is_held.load(Ordering::Acquire) {
            return None;
        }
        let changes = self.changes();
        self.is_held.load(Ordering::Acquire).then_some(changes)
    }

    /// The changes where there are any; `None` where the backend below has it all.
    fn changed(&self) -> Option<MutexGuard<'_, Changes>> {
        self.held().filter(|changes| !changes.list.is_empty())
    }

    /// Holds a change back, or hands it to be done.
    fn push(&self, change: Change) -> io::Result<()> {
        let Some(mut changes) = self.held() else { return self.inner_change(&change) };
        if changes.has_failed {
            return Err(io::Error::other("an earlier write failed"));
        }
        if changes.list.is_empty() {
            // Not before: only who changes it has it locked, and knows that its length stays.
            changes.len = self.inner.len()?;
            changes.below = changes.len;
        }
        changes.push(change);
        Ok(())
    }

    fn inner_change(&self, change: &Change) -> io::Result<()> {
        match change {
            Change::Write(offset, bytes) => self.inner.write(*offset, bytes),
            Change::SetLen(len) => self.inner.set_len(*len),
            Change::Sync => self.inner.sync_data(),
        }
    }

    /// Lets through what was held back, and everything after it.
    pub(super) fn release(&self) -> io::Result<()> {
        let Some(mut changes) = self.held() else { return Ok(()) };
        for change in std::mem::take(&mut changes.list) {
            if let Err(error) = self.inner_change(&change) {
                changes.has_failed = true;
                return Err(error);
            }
        }
        self.is_held.store(false, Ordering::Release);
        Ok(())
    }
}

impl Changes {
    fn push(&mut self, change: Change) {
        match &change {
            Change::Write(offset, bytes) => self.len = self.len.max(offset + bytes.len() as u64),
            Change::SetLen(len) => self.len = *len,
            Change::Sync => {}
        }
        self.list.push(change);
    }

    fn read(&self, below: &dyn StorageBackend, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = offset + out.len() as u64;
        if end > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let from_below = place(self.below.saturating_sub(offset).min(out.len() as u64))?;
        if from_below > 0 {
            below.read(offset, &mut out[..from_below])?;
        }
        out[from_below..].fill(0);
        for change in &self.list {
            match change {
                Change::Write(at, bytes) => {
                    let (first, last) = (offset.max(*at), end.min(at + bytes.len() as u64));
                    if first < last {
                        let part = &bytes[place(first - at)?..place(last - at)?];
                        out[place(first - offset)?..place(last - offset)?].copy_from_slice(part);
                    }
                }
                Change::SetLen(len) => out[place(len.saturating_sub(offset).min(end - offset))?..].fill(0),
                Change::Sync => {}
            }
        }
        Ok(())
    }
}

fn place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.inner.fmt(f)
    }
}

impl StorageBackend for Held {
    fn len(&self) -> io::Result<u64> {
        self.0.changed().map_or_else(|| self.0.inner.len(), |changes| Ok(changes.len))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self.0.changed() {
            Some(changes) => changes.read(&*self.0.inner, offset, out),
            None => self.0.inner.read(offset, out),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.push(Change::SetLen(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.push(Change::Sync)
    }

    /// Nearly all writes come after the release, and are not copied.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.0.is_held.load(Ordering::Acquire) {
            return self.0.push(Change::Write(offset, data.to_vec()));
        }
        self.0.inner.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.inner.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;

    use super::*;

    #[test]
    fn what_is_held_back_is_read_as_written_and_let_through_in_order() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let (below, plain) = (InMemoryBackend::new(), InMemoryBackend::new());
            for backend in [&below, &plain] {
                backend.set_len(300).unwrap();
                backend.write(0, &[1; 300]).unwrap();
            }
            let (held, gate) = Held::new(Box::new(below));
            for turn in 0..12 {
                if turn == 9 {
                    gate.release().unwrap();
                }
                let len = plain.len().unwrap();
                if rng.u8(..3) == 0 {
                    let len = rng.u64(100..400);
                    held.set_len(len).unwrap();
                    plain.set_len(len).unwrap();
                } else {
                    let at = rng.u64(..len - 50);
                    let bytes = [rng.u8(..); 50];
                    held.write(at, &bytes).unwrap();
                    plain.write(at, &bytes).unwrap();
                }
                held.sync_data().unwrap();
                let len = usize::try_from(plain.len().unwrap()).unwrap();
                assert_eq!(held.len().unwrap(), len as u64);
                let from = rng.usize(..len);
                let (mut ours, mut theirs) = (vec![9; len - from], vec![8; len - from]);
                held.read(from as u64, &mut ours).unwrap();
                plain.read(from as u64, &mut theirs).unwrap();
                assert_eq!(ours, theirs);
                assert!(held.read(from as u64, &mut vec![0; len - from + 1]).is_err());
            }
        }
    }

    #[test]
    fn nothing_reaches_a_backend_whose_hold_is_not_released() {
        #[derive(Debug)]
        struct Below(Arc<InMemoryBackend>);
        impl StorageBackend for Below {
            fn len(&self) -> io::Result<u64> {
                self.0.len()
            }
            fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
                self.0.read(offset, out)
            }
            fn set_len(&self, len: u64) -> io::Result<()> {
                self.0.set_len(len)
            }
            fn sync_data(&self) -> io::Result<()> {
                self.0.sync_data()
            }
            fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
                self.0.write(offset, data)
            }
        }
        let below = Arc::new(InMemoryBackend::new());
        let (held, gate) = Held::new(Box::new(Below(Arc::clone(&below))));
        held.set_len(10).unwrap();
        held.write(2, &[1; 4]).unwrap();
        drop((held, gate));
        assert_eq!(below.len().unwrap(), 0);
    }
}
