//! Crashes of every kind, and what must hold after each: power cuts at every change of the medium, errors of every
//! call to it, processes killed at any moment.
//!
//! `MAGNETAR_PROOF=full` makes it long, `MAGNETAR_SEED` repeats a run.

#![cfg(not(target_family = "wasm"))]

mod child;
#[cfg(feature = "redb")]
mod disk;
mod found;
#[cfg(feature = "redb")]
mod full_disk;
#[cfg(feature = "redb")]
mod io_errors;
mod kills;
mod medium;
#[cfg(feature = "redb")]
mod power_loss;
#[cfg(feature = "sqlite")]
mod power_loss_sqlite;
mod script;
mod seed;
mod state;
