//! The gate: which storage backends this build has. They keep, order and count; they decide nothing.

pub(crate) mod contract;
mod remembered;

#[cfg(all(any(feature = "redb", feature = "sqlite"), not(target_family = "wasm")))]
mod place;

#[cfg(any(feature = "redb", target_family = "wasm"))]
pub(crate) mod redb;
#[cfg(all(feature = "sqlite", not(target_family = "wasm")))]
pub(crate) mod sqlite;
