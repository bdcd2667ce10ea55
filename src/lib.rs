//! Magnetar: an embeddable, idempotent state machine for crash-proof, persistent jobs.
#![forbid(unsafe_code)]

mod backends;
mod clock;
mod codec;
mod commit;
mod engine;
mod error;
pub mod graph;
pub mod limits;
mod machine;
pub mod manifest;
mod model;
mod owners;
mod retry;
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
