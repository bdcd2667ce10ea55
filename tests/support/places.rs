//! The places that a store can be in, each behind the feature that it needs.

use std::sync::Arc;

use magnetar::{JobStore, OpenOptions, Result};

/// Where a store is, and how it is opened.
pub(crate) trait Place: Send + Sync {
    fn open(&self, options: &OpenOptions) -> Result<Arc<dyn JobStore>>;

    /// Whether what is stored outlives the handle. Where it does not, opening again is a `reopen` of the handle.
    fn keeps(&self) -> bool;
}

#[cfg(any(feature = "redb", target_family = "wasm"))]
pub(crate) mod redb {
    use magnetar::RedbStore;

    use super::super::SharedBytes;
    use super::{Arc, JobStore, OpenOptions, Place, Result};

    /// Memory of the store's own.
    pub(crate) struct Memory;

    impl Place for Memory {
        fn open(&self, options: &OpenOptions) -> Result<Arc<dyn JobStore>> {
            Ok(Arc::new(RedbStore::in_memory_with(options)?))
        }

        fn keeps(&self) -> bool {
            false
        }
    }

    /// Storage that the host brings.
    #[derive(Default)]
    pub(crate) struct Host(SharedBytes);

    impl Place for Host {
        fn open(&self, options: &OpenOptions) -> Result<Arc<dyn JobStore>> {
            let bytes = self.0.clone();
            Ok(Arc::new(RedbStore::on_storage(move || Ok(bytes.clone()), options)?))
        }

        fn keeps(&self) -> bool {
            true
        }
    }
}

#[cfg(not(target_family = "wasm"))]
pub(crate) mod native {
    use tempfile::TempDir;

    #[cfg(feature = "sqlite")]
    use magnetar::SqliteStore;
    use magnetar::{Durability, block_on};

    use super::{Arc, JobStore, OpenOptions, Place, Result};

    /// A file in a folder of its own, opened by its name's ending.
    pub(crate) struct File {
        folder: TempDir,
        name: &'static str,
    }

    impl File {
        pub(crate) fn named(name: &'static str) -> Self {
            File { folder: tempfile::tempdir().expect("a folder for the case"), name }
        }

        /// The same place for a store whose commits are not synced.
        pub(crate) fn relaxed(self) -> Relaxed {
            Relaxed(self)
        }
    }

    impl Place for File {
        fn open(&self, options: &OpenOptions) -> Result<Arc<dyn JobStore>> {
            block_on(magnetar::open_with(self.folder.path().join(self.name), options))
        }

        fn keeps(&self) -> bool {
            true
        }
    }

    /// A file of a store whose commits are not synced.
    pub(crate) struct Relaxed(File);

    impl Place for Relaxed {
        fn open(&self, options: &OpenOptions) -> Result<Arc<dyn JobStore>> {
            self.0.open(&options.clone().durability(Durability::Relaxed))
        }

        fn keeps(&self) -> bool {
            self.0.keeps()
        }
    }

    /// SQLite in memory.
    #[cfg(feature = "sqlite")]
    pub(crate) struct SqliteMemory;

    #[cfg(feature = "sqlite")]
    impl Place for SqliteMemory {
        fn open(&self, options: &OpenOptions) -> Result<Arc<dyn JobStore>> {
            Ok(Arc::new(block_on(SqliteStore::in_memory_with(options))?))
        }

        fn keeps(&self) -> bool {
            false
        }
    }

    /// Two stores in memory that are one: the first is being moved to the second, or was.
    #[cfg(all(feature = "sqlite", feature = "redb"))]
    pub(crate) enum Dual {
        /// From SQLite to redb; SQLite executes.
        Following,
        /// From redb to SQLite; SQLite executes, and redb follows.
        Moved,
    }

    #[cfg(all(feature = "sqlite", feature = "redb"))]
    impl Place for Dual {
        fn open(&self, options: &OpenOptions) -> Result<Arc<dyn JobStore>> {
            use magnetar::RedbStore;
            use magnetar::dual::{DualOptions, DualStore};

            block_on(async {
                let sqlite = SqliteStore::in_memory_with(options).await?;
                let redb = RedbStore::in_memory_with(options)?;
                let dual = match self {
                    Dual::Following => DualStore::new(&sqlite, &redb, &DualOptions::new()).await?,
                    Dual::Moved => {
                        let dual = DualStore::new(&redb, &sqlite, &DualOptions::new()).await?;
                        dual.cut_over().await?;
                        dual
                    }
                };
                Ok(Arc::new(dual) as Arc<dyn JobStore>)
            })
        }

        fn keeps(&self) -> bool {
            false
        }
    }
}
