//! One suite of cases for every store: each case is listed once, and stamped for each backend as a test of its own.
//!
//! A new backend is one line of stamps more. What needs a store that outlives its handle, or threads, stands in a list
//! of its own, so that nothing is skipped in silence.

#![allow(missing_docs, reason = "a test binary has no readers of its documentation")]

#[macro_use]
mod cases;
mod fixture;
mod suite;
#[path = "../support/mod.rs"]
mod support;

#[cfg(target_family = "wasm")]
stamp! { redb_memory (crate::support::places::redb::Memory): always bulky }
#[cfg(target_family = "wasm")]
stamp! { redb_host (crate::support::places::redb::Host::default()): always kept }

#[cfg(all(feature = "redb", not(target_family = "wasm")))]
stamp! { redb_memory (crate::support::places::redb::Memory): always threaded }
#[cfg(all(feature = "redb", not(target_family = "wasm")))]
stamp! { redb_host (crate::support::places::redb::Host::default()): always kept threaded }
#[cfg(all(feature = "redb", not(target_family = "wasm")))]
stamp! { redb_file (crate::support::places::native::File::named("jobs.redb")): always kept threaded bulky }
#[cfg(all(feature = "redb", not(target_family = "wasm")))]
stamp! { redb_relaxed (crate::support::places::native::File::named("jobs.redb").relaxed()): kept }

#[cfg(all(feature = "sqlite", not(target_family = "wasm")))]
stamp! { sqlite_memory (crate::support::places::native::SqliteMemory): always threaded }
#[cfg(all(feature = "sqlite", not(target_family = "wasm")))]
stamp! { sqlite_file (crate::support::places::native::File::named("jobs.db")): always kept threaded bulky }
#[cfg(all(feature = "sqlite", not(target_family = "wasm")))]
stamp! { sqlite_relaxed (crate::support::places::native::File::named("jobs.db").relaxed()): kept threaded }

#[cfg(all(feature = "redb", feature = "sqlite", not(target_family = "wasm")))]
stamp! { dual (crate::support::places::native::Dual::Following): always bulky }
#[cfg(all(feature = "redb", feature = "sqlite", not(target_family = "wasm")))]
stamp! { dual_moved (crate::support::places::native::Dual::Moved): always }
