//! Opening stores. This module is the gate: each engine has a file of its own here, and a stand-in that says which
//! feature is missing where it is not compiled in.

#[cfg(any(feature = "redb", target_family = "wasm"))]
mod redb;
#[cfg(not(any(feature = "redb", target_family = "wasm")))]
#[path = "redb_missing.rs"]
mod redb;
#[cfg(all(feature = "sqlite", not(target_family = "wasm")))]
mod sqlite;
#[cfg(not(all(feature = "sqlite", not(target_family = "wasm"))))]
#[path = "sqlite_missing.rs"]
mod sqlite;

#[cfg(not(target_family = "wasm"))]
#[path = "host_native.rs"]
mod host;
#[cfg(target_family = "wasm")]
#[path = "host_given.rs"]
mod host;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Handle, JobStore};
use crate::clock::Clock;
use crate::commit::offload;
use crate::error::{Error, Result};
use crate::model::{Durability, OwnerId};
use crate::owners::Liveness;

#[cfg(any(feature = "redb", target_family = "wasm"))]
pub use redb::{RedbStore, Storage};
#[cfg(all(feature = "sqlite", not(target_family = "wasm")))]
pub use sqlite::SqliteStore;

/// How to open a store. Everything has a default that is durable and safe.
///
/// ```
/// # magnetar::block_on(async {
/// use magnetar::{JobStore, OpenOptions};
///
/// let options = OpenOptions::new().cache_bytes(16 << 20);
/// let store = magnetar::open_with(":memory:", &options).await?;
/// # store.close().await
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct OpenOptions {
    clock: Option<Arc<dyn Clock>>,
    owner: Option<OwnerId>,
    liveness: Option<Arc<dyn Liveness>>,
    cache_bytes: Option<usize>,
    check_always: bool,
    shared_readers: bool,
    durability: Durability,
}

impl OpenOptions {
    /// Every default.
    pub fn new() -> Self {
        OpenOptions::default()
    }

    /// The same with another clock. Default: the operating system's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The same under a given owner id. Default: random. Two clients must never have the same at the same time.
    #[must_use]
    pub fn owner(mut self, owner: OwnerId) -> Self {
        self.owner = Some(owner);
        self
    }

    /// The same with another way to tell the living from the dead. Default: OS locks beside a SQLite file; on what only
    /// one client can open, everybody else is dead.
    #[must_use]
    pub fn liveness(mut self, liveness: Arc<dyn Liveness>) -> Self {
        self.liveness = Some(liveness);
        self
    }

    /// The same with so much memory for redb's pages, in bytes. Default: 64 MiB natively, 8 MiB on wasm32.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = Some(bytes);
        self
    }

    /// The same with a whole check of files above [`crate::limits::REDB_CHECK_ON_OPEN_BYTES_MAX`] and
    /// [`crate::limits::SQLITE_CHECK_ON_OPEN_BYTES_MAX`] too.
    #[must_use]
    pub fn check_always(mut self) -> Self {
        self.check_always = true;
        self
    }

    /// The same, letting other processes read a redb file beside its one writer, with `RedbStore::open_read_only`.
    /// Each commit then costs two syncs instead of one. SQLite files can always be shared.
    #[must_use]
    pub fn shared_readers(mut self) -> Self {
        self.shared_readers = true;
        self
    }

    /// The same with answers that mean less. Default: [`Durability::Full`].
    ///
    /// [`Durability::Relaxed`] spares the sync of nearly every commit. A process that is killed loses nothing by it; a power
    /// cut or a crash of the operating system takes back the last commits: on redb what its journal of 252 KiB held, on
    /// SQLite what no checkpoint had moved into the file yet (some 4 MiB, more while somebody reads for long). The store is
    /// then as it was after an earlier commit, chunks that were done since are pending or held again, and are done again.
    ///
    /// No fence is given twice even so: what was not closed skips [`crate::limits::UNSYNCED_REVISIONS_MAX`] revisions when it
    /// is written to next. Whoever asks [`JobStore::changes`] from a revision that may be lost gets
    /// [`crate::ErrorKind::FeedTruncated`]. Registered consumers and the other store of a pair lose nothing: while there are
    /// any, every commit is synced. So are those of a redb file with [`OpenOptions::shared_readers`] or of format 1. Another
    /// process may open the same SQLite file and sync: what it answers is on the disk, whoever did it.
    ///
    /// ```
    /// # magnetar::block_on(async {
    /// use magnetar::{Durability, JobStore, OpenOptions};
    ///
    /// let options = OpenOptions::new().durability(Durability::Relaxed);
    /// let store = magnetar::open_with(":memory:", &options).await?;
    /// # store.close().await
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }
}

/// Opens a store, creating it where it does not exist. See [`open_with`].
pub async fn open(path: impl AsRef<Path>) -> Result<Arc<dyn JobStore>> {
    open_with(path, &OpenOptions::new()).await
}

/// Opens a store by the ending of its path, creating it where it does not exist.
///
/// `.redb` and `.magnetar` are redb; `.db`, `.sqlite`, `.sqlite3`, anything else and no ending are SQLite. `":memory:"`
/// is a store in memory. Where the engine is not compiled in, the error ([`crate::ErrorKind::BackendMissing`]) names
/// its feature.
///
/// The file stays where it is while it is open. On Unix one that is removed, moved or replaced is noticed before anything
/// more is acknowledged ([`crate::ErrorKind::OutcomeUnknown`], then [`crate::ErrorKind::Poisoned`]); with
/// [`Durability::Relaxed`] at the next commit that is synced.
///
/// A store works on threads of its own, which a process that is forked does not have: open it after a `fork`, not before,
/// unless the child only executes another program.
///
/// ```
/// # magnetar::block_on(async {
/// use magnetar::JobStore;
///
/// let store = magnetar::open(":memory:").await?;
/// let job = store.new_job(&magnetar::JobSpec::new().name("nightly")).await?;
/// assert_eq!(store.get_job(job).await?.spec.name.as_deref(), Some("nightly"));
/// # store.close().await
/// # }).unwrap();
/// ```
pub async fn open_with(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Arc<dyn JobStore>> {
    Ok(open_handle(path.as_ref(), options).await?.store)
}

/// Where a file is, whichever symbolic link it was named by and wherever this process goes later: what lies beside it
/// is the same for all then.
fn place(path: &Path) -> Result<PathBuf> {
    if path.as_os_str().is_empty() {
        return Err(Error::invalid("the path is empty; name a file, or :memory:"));
    }
    let place = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let linked =
        if place.is_symlink() { place.canonicalize().ok().or_else(|| to_be_made(&place)) } else { None };
    Ok(linked.unwrap_or(place))
}

/// Symbolic links from one to the next at most; systems follow fewer.
const LINKS_MAX: usize = 64;

/// The file that a symbolic link leads to, which is not there yet.
fn to_be_made(link: &Path) -> Option<PathBuf> {
    let mut path = link.to_owned();
    for _ in 0..LINKS_MAX {
        let folder = path.parent()?.canonicalize().ok()?;
        path = folder.join(path.file_name()?);
        match path.read_link() {
            Ok(to) => path = folder.join(to),
            Err(_) => return Some(path),
        }
    }
    None
}

/// The same for those who need the inside of it.
pub(crate) async fn open_handle(path: &Path, options: &OpenOptions) -> Result<Handle> {
    let path = path.to_owned();
    let options = options.clone();
    offload(move || {
        let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
        match ending.as_deref() {
            _ if path.as_os_str() == ":memory:" && redb::IS_COMPILED_IN => redb::memory(&options),
            _ if path.as_os_str() == ":memory:" => sqlite::memory(&options),
            Some("redb" | "magnetar") => redb::file(&path, &options),
            _ => sqlite::file(&path, &options),
        }
    })
    .await
}
