//! Many processes on one file: who gets in, who does what, and what becomes of those that are killed or stopped.
//!
//! `MAGNETAR_PROOF=full` makes it long, `MAGNETAR_SEED` repeats a run.

#![cfg(not(target_family = "wasm"))]

#[path = "../crash/child.rs"]
mod child;
mod creation;
#[cfg(feature = "sqlite")]
mod fleet;
#[cfg(feature = "redb")]
mod lock;
mod places;
#[cfg(feature = "sqlite")]
#[path = "../crash/seed.rs"]
mod seed;
#[cfg(all(feature = "sqlite", unix))]
mod stopped;
