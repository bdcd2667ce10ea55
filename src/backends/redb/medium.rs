//! Where the bytes are: opens them, and opens them again.

use std::ops::Bound;
use std::sync::Arc;

use redb::backends::InMemoryBackend;
use redb::{BackendError, StorageBackend};

use super::errors;
use crate::error::{Error, Result};

/// Where a store's bytes are.
pub(crate) trait Medium: Send + Sync {
    /// Opens them. Only the first time may there be nothing yet: what has vanished since is not replaced by a new store.
    fn open(&self, is_first: bool) -> Result<Box<dyn StorageBackend>>;

    /// Called once the bytes are ours, before anything is written: the last moment to refuse.
    fn locked(&self) -> Result<()> {
        Ok(())
    }

    /// Called before a store is made of them: whoever finds one may take for granted that what they are called outlasts
    /// a power cut too.
    fn making(&self) -> Result<()> {
        Ok(())
    }

    /// Called once the store is open: what is to be told to others.
    fn opened(&self) -> Result<()> {
        Ok(())
    }

    /// The same error of opening them, with what they are called.
    fn name(&self, error: Error) -> Error {
        error
    }

    /// Whether what is open is what an opening would find; asked before a commit is answered.
    fn in_place(&self) -> Result<()> {
        Ok(())
    }

    /// Called before the store is closed.
    fn closing(&self) {}

    /// Who has the bytes locked, where that is known.
    fn holder(&self) -> Option<String> {
        None
    }
}

/// Anything that opens a redb storage backend: the browser's files, a test's disk that crashes.
pub(super) struct Made<F>(pub(super) F);

impl<B: StorageBackend, F: Fn() -> std::io::Result<B> + Send + Sync> Medium for Made<F> {
    fn open(&self, _is_first: bool) -> Result<Box<dyn StorageBackend>> {
        match (self.0)() {
            Ok(backend) => Ok(Box::new(backend)),
            Err(error) => Err(errors::io("the storage cannot be opened", error)),
        }
    }
}

/// Memory that outlives the database in it, so that reopening finds what was written.
pub(super) fn memory() -> impl Medium {
    let bytes = Arc::new(InMemoryBackend::new());
    Made(move || Ok(Shared(Arc::clone(&bytes))))
}

#[derive(Debug)]
struct Shared(Arc<InMemoryBackend>);

impl StorageBackend for Shared {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }
}

/// redb lengthens a new file, writes its header and puts the magic number in front last. A crash before that leaves
/// a file that redb takes for a stranger's, though nothing was ever kept in it. Empties such a file; says whether it did.
pub(super) fn empty_if_half_created(backend: &dyn StorageBackend) -> std::io::Result<bool> {
    /// Before all of it is written there is nothing but a part of it, the rest of the header, and zeros.
    const MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";
    const MAGIC_BYTES: usize = MAGIC.len();
    const HEADER_BYTES: usize = 4096;
    /// What follows the magic number and a byte of flags.
    const PADDED_PAGE_SIZE: [u8; 6] = [0, 0, 0, 16, 0, 0];
    /// A new file of redb 4.6 has 72 KiB; one of 4.0 had 1 MiB and some.
    const NEW_FILE_BYTES_MAX: u64 = 2 << 20;

    match backend.try_lock_range(Bound::Unbounded, Bound::Unbounded) {
        Ok(true) | Err(BackendError::Unsupported) => {}
        // Somebody is creating it at this moment.
        Ok(false) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    let length = backend.len()?;
    if length > NEW_FILE_BYTES_MAX {
        return Ok(false);
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    backend.read(0, &mut bytes)?;
    let is_zero = |bytes: &[u8]| bytes.iter().all(|&byte| byte == 0);
    let is_part_of_magic = |bytes: &[u8]| {
        let part = bytes.iter().zip(MAGIC).take_while(|(byte, magic)| byte == magic).count();
        part < MAGIC_BYTES && is_zero(&bytes[part..])
    };
    let is_half_created = if let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES) {
        is_part_of_magic(&header[..MAGIC_BYTES]) && is_zero(rest)
    } else {
        // The header, or a part of it, got there before the lengthening did. So short a file may as well be somebody
        // else's, or what is left of a store, so it must begin as the header did then: nothing of the magic number,
        // flags, two zeros, the size of a page.
        let (flags, page_size) = (bytes.get(MAGIC_BYTES), bytes.get(MAGIC_BYTES + 1..).unwrap_or(&[]));
        is_zero(&bytes[..bytes.len().min(MAGIC_BYTES)])
            && flags.is_none_or(|&flags| flags < 16)
            && page_size.iter().zip(PADDED_PAGE_SIZE).all(|(&byte, expected)| byte == expected)
    };
    if !is_half_created {
        return Ok(false);
    }
    backend.set_len(0)?;
    backend.sync_data()?;
    Ok(true)
}
