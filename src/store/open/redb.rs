//! Opening redb stores.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::Xxh3;

use super::{OpenOptions, host, place};
use crate::backends::contract::Backend as _;
pub use crate::backends::redb::Storage;
use crate::backends::redb::{Options, RedbBackend};
use crate::engine::{Engine, Host};
use crate::error::Result;
use crate::owners::Alone;
use crate::store::handle::{Redb, Store, file as in_file};
use crate::store::{Handle, Persistence};

pub(super) const IS_COMPILED_IN: bool = true;

/// A store on redb: pure Rust; in a file that one process writes, in memory, or on storage of your own.
pub type RedbStore = Store<Redb>;

impl RedbStore {
    /// Opens a file, creating it where it does not exist; an empty file is taken for a new one.
    ///
    /// One process at a time: another gets [`crate::ErrorKind::Locked`], and who holds the file. Claims that a process
    /// held when it died are pending again at once.
    ///
    /// It blocks the calling thread for as long as the file takes to check, up to some tenths of a second:
    /// [`crate::open_with`] does the same beside an async task, as `SqliteStore::open` does. This one waits for no other
    /// process and needs no thread, so that hosts without an executor have it too.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        RedbStore::open_with(path, &OpenOptions::new())
    }

    /// The same with options.
    pub fn open_with(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self> {
        let path = place(path.as_ref())?;
        RedbStore::start_on(options, in_file(&path), |options| RedbBackend::open_file(&path, options))
    }

    /// Opens a file for reading, beside a process that has it open with [`OpenOptions::shared_readers`], or alone after
    /// it was closed in good order. Calls that change something are refused with [`crate::ErrorKind::Unsupported`].
    pub fn open_read_only(path: impl AsRef<Path>) -> Result<Self> {
        let (path, options) = (place(path.as_ref())?, OpenOptions::new());
        let host = host::host(&options, || Arc::new(Alone))?;
        let backend = RedbBackend::open_read_only(&path, backend_options(&options, &host))?;
        let reader = backend.reader();
        let mut engine = Engine::new(Box::new(backend), host.clone());
        engine.only_reads()?;
        Store::assemble(reader, engine, host, in_file(path))
    }

    /// A store in memory. It ends with its last handle.
    pub fn in_memory() -> Result<Self> {
        RedbStore::in_memory_with(&OpenOptions::new())
    }

    /// The same with options.
    pub fn in_memory_with(options: &OpenOptions) -> Result<Self> {
        RedbStore::start_on(options, Persistence::Memory, RedbBackend::in_memory)
    }

    /// A store on storage of your own. `make` opens it, and opens it again at each
    /// [`JobStore::reopen`](crate::JobStore::reopen).
    pub fn on_storage<S: Storage>(
        make: impl Fn() -> std::io::Result<S> + Send + Sync + 'static,
        options: &OpenOptions,
    ) -> Result<Self> {
        RedbStore::start_on(options, Persistence::Host, |options| RedbBackend::on_storage(make, options))
    }

    /// Writes what an opening would have to recover to where it belongs, in a synced commit. A copy of the storage's
    /// bytes that is made before the next change is then opened as this store, or refused with
    /// [`crate::ErrorKind::Corrupt`] where it is damaged; one that is made without this may lose the last commits to
    /// damage in silence, as what a killed process left.
    ///
    /// It is for whoever copies a store on [storage of their own](Self::on_storage) that stays open. One that is closed
    /// needs none.
    ///
    /// # Errors
    ///
    /// As of any change: [`crate::ErrorKind::Full`] and [`crate::ErrorKind::Poisoned`] above all.
    ///
    /// ```
    /// # magnetar::block_on(async {
    /// use magnetar::{JobStore, RedbStore};
    ///
    /// let store = RedbStore::in_memory()?;
    /// store.checkpoint().await?;
    /// store.close().await
    /// # }).unwrap();
    /// ```
    pub async fn checkpoint(&self) -> Result<()> {
        self.shared().core.checkpoint().await
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

/// Stores that this process has opened, so that no two that it creates have one id.
static OPENED: AtomicU64 = AtomicU64::new(0);

/// The id of a new store: as random as the owner who creates it, and another one for each.
fn new_id(host: &Host) -> [u8; 16] {
    let mut hash = Xxh3::new();
    hash.update(host.owner.as_bytes());
    hash.update(&host.clock.now_ms().to_le_bytes());
    hash.update(&OPENED.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    hash.digest128().to_le_bytes()
}

fn backend_options(options: &OpenOptions, host: &Host) -> Options {
    let mut given = Options::new(new_id(host));
    given.cache_bytes = options.cache_bytes.unwrap_or(given.cache_bytes);
    given.check_always = options.check_always;
    given.shared_readers = options.shared_readers;
    given
}

pub(super) fn file(path: &Path, options: &OpenOptions) -> Result<Handle> {
    Ok(Handle::from(RedbStore::open_with(path, options)?))
}

pub(super) fn memory(options: &OpenOptions) -> Result<Handle> {
    Ok(Handle::from(RedbStore::in_memory_with(options)?))
}
