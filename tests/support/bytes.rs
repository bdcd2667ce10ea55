//! Storage that outlives the store on it, without a file: a row of bytes in memory.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that every clone shares. One that reads past its end is told so.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedBytes(Arc<Mutex<Vec<u8>>>);

impl SharedBytes {
    /// The same as they stand now, apart from these: what a crash at this moment leaves.
    pub(crate) fn copy(&self) -> Self {
        SharedBytes(Arc::new(Mutex::new(self.bytes().clone())))
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(offset: u64, len: usize, end: usize) -> io::Result<std::ops::Range<usize>> {
    let start = usize::try_from(offset).map_err(io::Error::other)?;
    match start.checked_add(len) {
        Some(past) if past <= end => Ok(start..past),
        _ => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "past the end")),
    }
}

#[cfg(any(feature = "redb", target_family = "wasm"))]
impl magnetar::Storage for SharedBytes {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes();
        out.copy_from_slice(&bytes[place(offset, out.len(), bytes.len())?]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes().resize(usize::try_from(len).map_err(io::Error::other)?, 0);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.bytes();
        let place = place(offset, data.len(), bytes.len())?;
        bytes[place].copy_from_slice(data);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
