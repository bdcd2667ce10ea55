//! Files that are not what they should be: damaged ones, and strangers' ones. Each is either read exactly as it was
//! written or refused with a typed error; never a panic, never other records.
//!
//! `MAGNETAR_PROOF=full` makes it long, `MAGNETAR_SEED` repeats a run.

#![cfg(not(target_family = "wasm"))]

#[cfg(feature = "redb")]
#[path = "../support/bytes.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod bytes;
#[path = "../crash/child.rs"]
mod child;
#[cfg(feature = "redb")]
mod copied;
mod damage;
#[cfg(unix)]
mod gone;
#[cfg(feature = "redb")]
mod in_use;
#[cfg(not(all(feature = "redb", feature = "sqlite")))]
mod missing;
mod original;
#[path = "../crash/seed.rs"]
mod seed;
#[path = "../crash/state.rs"]
mod state;
mod strangers;
