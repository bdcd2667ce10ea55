//! Crashes of every kind, and what must hold after each: power cuts at every change of the medium, errors of every
//! call to it, processes killed at any moment.
//!
//! `MAGNETAR_PROOF=full` makes it long, `MAGNETAR_SEED` repeats a run.

#![cfg(not(target_family = "wasm"))]

mod child;
#[cfg(feature = "redb")]
mod disk;
#[cfg(feature = "redb")]
mod full_disk;
#[cfg(feature = "redb")]
mod io_errors;
mod kills;
#[cfg(feature = "redb")]
mod power_loss;
#[cfg(feature = "redb")]
mod script;
mod seed;
#[cfg(feature = "redb")]
mod state;
