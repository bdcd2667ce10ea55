//! Magnetar: an embeddable, idempotent state machine for crash-proof, persistent jobs.
//!
//! A **job** is a numbered set of **chunks**, each with an expected checksum and a payload, imported from a
//! [`Manifest`] or a stream. Workers **claim** chunks, do the work and report the result to a [`JobStore`]. Whatever
//! crashes, and whenever, the job goes on where it stood.
//!
//! ```
//! # magnetar::block_on(async {
//! use magnetar::{Completion, JobStore, Manifest};
//!
//! let store = magnetar::open(":memory:").await?;          // "jobs.db" is SQLite, "jobs.redb" is redb
//! let manifest = Manifest::from_toml(
//!     r#"
//!     [[chunks]]
//!     id = 1
//!     checksum = "abc123"
//!
//!     [[chunks]]
//!     id = 2
//!     depends_on = [1]
//!     "#,
//! )?;
//! store.init_from_manifest(42, &manifest).await?;
//!
//! while let Some(chunk) = store.claim_pending(42).await? {
//!     // The claim is a fence: refused if somebody else holds the chunk by now.
//!     store.complete(&chunk.claim(), Completion::new()).await?;
//! }
//! assert!(store.get_stats(42).await?.is_complete());
//! # store.close().await
//! # }).unwrap();
//! ```
//!
//! # What an answer means
//!
//! Committed and synced. Callers that wait at the same time share one commit. [`Durability::Relaxed`] gives up the sync, for
//! work that may be done again after a power cut.
//!
//! # Statuses
//!
//! | from | to | by |
//! |---|---|---|
//! | pending | processing | `claim*` |
//! | processing | done | `complete`, with the claim's fence |
//! | processing | pending (delayed), or failed at the last attempt | `fail` |
//! | processing | pending | `release`; a lease that is over or an owner that died (delayed from the second loss on) |
//! | failed, cancelled | pending | `retry_failed`; what was cancelled by `cancel` only where it is named |
//! | done | pending | `reset` |
//! | pending, processing, failed | cancelled | `cancel`; a dependency's failure, where the policy says so |
//!
//! A claim that lapsed can still be completed, as long as nobody took the chunk meanwhile.
//!
//! # Where to look
//!
//! | for | see |
//! |---|---|
//! | every call of a store | [`JobStore`] |
//! | opening one, and what can be chosen | [`open`], [`OpenOptions`], `SqliteStore`, `RedbStore` |
//! | the loop around claims: concurrency, heartbeats, retries, shutdown, progress | [`worker`] |
//! | manifests in TOML, JSON, JSON Lines and CSV | [`manifest`] |
//! | CSV, JSON Lines, Parquet and Arrow of what a store holds; backups | [`export`], [`JobStore::restore`] |
//! | moving a store at work to the other engine | [`dual`] |
//! | what went wrong, and whether trying again helps | [`Error::kind`], [`Error::retry`] |
//! | how much of anything there may be | [`limits`] |
//!
//! Calls run on any async runtime; without one, [`block_on`] waits on a plain thread. Nothing of a runtime is used: a
//! store has threads of its own. All futures are `Send`.
//!
//! # Features
//!
//! | feature | adds | default |
//! |---|---|---|
//! | `sqlite` | `SqliteStore`, and [`open`] for `*.db`, `*.sqlite`, `*.sqlite3` and whatever has another ending or none; native only, on wasm32 it adds nothing | yes |
//! | `redb` | `RedbStore`, and [`open`] for `*.redb` and `*.magnetar`; always there on wasm32 | no |
//! | `analytics` | Parquet and Arrow in [`export`], with either engine; native only, on wasm32 it adds nothing | no |
//! | `all` | all three | no |
//!
//! One engine there must be. A path whose engine is not compiled in is [`ErrorKind::BackendMissing`], which names the feature.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

/// The README's examples compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

#[cfg(not(any(feature = "sqlite", feature = "redb", target_family = "wasm")))]
compile_error!("magnetar needs a storage engine: enable its feature \"sqlite\" or \"redb\"");

mod backends;
mod clock;
#[cfg(any(feature = "redb", target_family = "wasm"))]
mod codec;
mod commit;
pub mod dual;
mod engine;
mod error;
pub mod export;
pub mod graph;
pub mod limits;
mod machine;
pub mod manifest;
mod model;
mod moment;
mod owners;
mod retry;
mod standing;
mod store;
#[cfg(not(target_family = "wasm"))]
pub mod worker;

pub use clock::Clock;
#[cfg(not(target_family = "wasm"))]
pub use clock::SystemClock;
pub use commit::{Watch, block_on};
pub use error::{Error, ErrorKind, Result, Retry};
pub use manifest::Manifest;
pub use model::*;
pub use owners::{Liveness, Probe};
#[cfg(all(feature = "sqlite", not(target_family = "wasm")))]
pub use store::SqliteStore;
pub use store::{
    Backing, ChunkStream, JobStore, OpenOptions, Persistence, Redb, Sqlite, Store, chunks, open, open_with,
};
#[cfg(any(feature = "redb", target_family = "wasm"))]
pub use store::{RedbStore, Storage};
