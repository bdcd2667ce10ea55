//! Opening SQLite stores.

use std::path::Path;
use std::sync::Arc;

use super::{OpenOptions, host, place};
use crate::backends::sqlite::{self, FileOptions};
use crate::commit::offload;
use crate::error::Result;
use crate::owners::Alone;
use crate::owners::files::OwnerFiles;
use crate::store::handle::{Sqlite, Store, file as in_file};
use crate::store::{Handle, Persistence};

/// A store on SQLite: one file that any number of processes share.
pub type SqliteStore = Store<Sqlite>;

impl SqliteStore {
    /// Opens a file, creating it where it does not exist; an empty file is taken for a new one.
    ///
    /// Any number of processes may have it open. Claims of one that dies come back to the others at once, by OS locks
    /// in the folder `<file>.owners` (see
    /// [`JobStore::recovers_at_once`](crate::JobStore::recovers_at_once)).
    pub async fn open(path: impl AsRef<Path>) -> Result<Self> {
        SqliteStore::open_with(path, &OpenOptions::new()).await
    }

    /// The same with options.
    pub async fn open_with(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self> {
        let (path, options) = (path.as_ref().to_owned(), options.clone());
        offload(move || SqliteStore::open_blocking(&path, &options)).await
    }

    /// A store in memory. It ends with its last handle.
    pub async fn in_memory() -> Result<Self> {
        SqliteStore::in_memory_with(&OpenOptions::new()).await
    }

    /// The same with options.
    pub async fn in_memory_with(options: &OpenOptions) -> Result<Self> {
        let options = options.clone();
        offload(move || SqliteStore::memory_blocking(&options)).await
    }

    fn open_blocking(path: &Path, options: &OpenOptions) -> Result<Self> {
        let place = place(path)?;
        let backend = sqlite::open_file(&place, file_options(options))?;
        let host = host::host(options, || Arc::new(OwnerFiles::beside(&place)))?;
        Store::start(Box::new(backend), host, in_file(place))
    }

    fn memory_blocking(options: &OpenOptions) -> Result<Self> {
        let backend = sqlite::in_memory()?;
        Store::start(Box::new(backend), host::host(options, || Arc::new(Alone))?, Persistence::Memory)
    }
}

fn file_options(options: &OpenOptions) -> FileOptions {
    let mut given = FileOptions::default();
    if options.check_always {
        given.check_bytes_max = u64::MAX;
    }
    given
}

pub(super) fn file(path: &Path, options: &OpenOptions) -> Result<Handle> {
    Ok(Handle::from(SqliteStore::open_blocking(path, options)?))
}

pub(super) fn memory(options: &OpenOptions) -> Result<Handle> {
    Ok(Handle::from(SqliteStore::memory_blocking(options)?))
}
