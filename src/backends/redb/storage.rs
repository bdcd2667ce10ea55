//! Storage that a host brings, as redb sees it.

use std::fmt::Debug;
use std::io;

use redb::StorageBackend;

use super::{Options, RedbBackend};
use crate::error::Result;

/// Storage that a host brings: a growable row of bytes. For [`crate::RedbStore::on_storage`].
///
/// One store has it to itself. What [`Storage::sync`] has returned for must survive a power cut; between two syncs
/// writes may reach the medium in any order.
pub trait Storage: Debug + Send + Sync + 'static {
    /// How many bytes there are.
    fn len(&self) -> io::Result<u64>;

    /// Whether there are none.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `bytes` from an offset. Reading past the end is an error.
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Makes it longer, with zeros, or shorter.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Writes all of `bytes` at an offset.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Returns once everything that was written is durable.
    fn sync(&self) -> io::Result<()>;

    /// Releases whatever is held. Called once, last.
    fn close(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A host's storage under redb's own trait.
#[derive(Debug)]
struct Hosted<S>(S);

impl<S: Storage> StorageBackend for Hosted<S> {
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
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }
}

impl RedbBackend {
    /// A store on a host's storage; `make` opens it, and again at each reopening.
    pub(crate) fn on_storage<S: Storage>(
        make: impl Fn() -> io::Result<S> + Send + Sync + 'static,
        options: Options,
    ) -> Result<Self> {
        RedbBackend::with_backend(move || make().map(Hosted), options)
    }
}
