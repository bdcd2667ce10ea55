//! Opening redb stores.

use std::path::Path;
use std::sync::Arc;

use super::{OpenOptions, host};
use crate::backends::contract::Backend as _;
pub use crate::backends::redb::Storage;
use crate::backends::redb::{Options, RedbBackend};
use crate::engine::{Engine, Host};
use crate::error::Result;
use crate::owners::Alone;
use crate::store::handle::{Redb, Store, file as in_file};
use crate::store::{JobStore, Persistence};

pub(super) const IS_COMPILED_IN: bool = true;

/// A store on redb: pure Rust; in a file that one process writes, in memory, or on storage of your own.
pub type RedbStore = Store<Redb>;

impl RedbStore {
    /// Opens a file, creating it where it does not exist; an empty file is taken for a new one.
    ///
    /// One process at a time: another gets [`crate::ErrorKind::Locked`], and who holds the file. Claims that a process
    /// held when it died are pending again at once. Blocks for as long as the file takes to check, up to some tenths of
    /// a second.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        RedbStore::open_with(path, &OpenOptions::new())
    }

    /// The same with options.
    pub fn open_with(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self> {
        let path = path.as_ref();
        RedbStore::start_on(options, in_file(path), |options| RedbBackend::open_file(path, options))
    }

    /// Opens a file for reading, beside a process that has it open with [`OpenOptions::shared_readers`], or alone after
    /// it was closed in good order. Calls that change something are refused with [`crate::ErrorKind::Unsupported`].
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self> {
        let (path, options) = (path.as_ref(), OpenOptions::new());
        let host = host::host(&options, || Arc::new(Alone))?;
        let backend = RedbBackend::open_read_only(path, backend_options(&options, &host))?;
        let reader = backend.reader();
        Store::assemble(reader, Engine::new(Box::new(backend), host.clone()), host, in_file(path))
    }

    /// A store in memory. It ends with its last handle.
    pub fn in_memory() -> Result<Self> {
        RedbStore::in_memory_with(&OpenOptions::new())
    }

    /// The same with options.
    pub fn in_memory_with(options: &OpenOptions) -> Result<Self> {
        RedbStore::start_on(options, Persistence::Memory, RedbBackend::in_memory)
    }

    /// A store on storage of your own. `make` opens it, and opens it again at each [`JobStore::reopen`].
    pub fn on_storage<S: Storage>(
        make: impl Fn() -> std::io::Result<S> + Send + Sync + 'static,
        options: &OpenOptions,
    ) -> Result<Self> {
        RedbStore::start_on(options, Persistence::Host, |options| RedbBackend::on_storage(make, options))
    }

    fn start_on(
        options: &OpenOptions,
        persistence: Persistence,
        open: impl FnOnce(Options) -> Result<RedbBackend>,
    ) -> Result<Self> {
        let host = host::host(options, || Arc::new(Alone))?;
        let backend = open(backend_options(options, &host))?;
        Store::start(Box::new(backend), host, persistence)
    }
}

/// A new store's id is that of whoever creates it: as random as an id has to be.
fn backend_options(options: &OpenOptions, host: &Host) -> Options {
    let mut given = Options::new(*host.owner.as_bytes());
    given.cache_bytes = options.cache_bytes.unwrap_or(given.cache_bytes);
    given.check_always = options.check_always;
    given.shared_readers = options.shared_readers;
    given
}

pub(super) fn file(path: &Path, options: &OpenOptions) -> Result<Arc<dyn JobStore>> {
    Ok(Arc::new(RedbStore::open_with(path, options)?))
}

pub(super) fn memory(options: &OpenOptions) -> Result<Arc<dyn JobStore>> {
    Ok(Arc::new(RedbStore::in_memory_with(options)?))
}
