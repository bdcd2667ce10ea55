//! A disk that remembers what reached it in which order.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use magnetar::Storage;

use crate::medium::Io;

/// Memory under a store, with a log of every change. Clones share it; it outlives the store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    bytes: Vec<u8>,
    log: Vec<Io>,
}

impl Disk {
    pub(crate) fn holding(bytes: Vec<u8>) -> Self {
        Disk(Arc::new(Mutex::new(Inner { bytes, log: Vec::new() })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many changes there were so far.
    pub(crate) fn clock(&self) -> usize {
        self.inner().log.len()
    }

    pub(crate) fn log(&self) -> Vec<Io> {
        self.inner().log.clone()
    }
}

fn place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

impl Storage for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.inner().bytes.len() as u64)
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let at = place(offset)?;
        let inner = self.inner();
        let part = inner.bytes.get(at..at + bytes.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(part);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut inner = self.inner();
        let io = Io::SetLen(place(len)?);
        io.apply(&mut inner.bytes);
        inner.log.push(io);
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.inner();
        let io = Io::Write { at: place(offset)?, bytes: bytes.to_vec() };
        io.apply(&mut inner.bytes);
        inner.log.push(io);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.inner().log.push(Io::Sync);
        Ok(())
    }
}
