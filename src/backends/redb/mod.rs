//! The redb backend: one file in pure Rust, natively and in the browser. This module is the gate: what needs an
//! operating system is in [`file`].

mod answers;
mod apply;
mod backend;
mod dependencies;
mod edges;
mod edits;
mod errors;
mod front;
mod held;
mod journal;
mod medium;
mod pages;
mod read;
mod recent;
mod snapshot;
mod spans;
mod storage;
mod tables;
mod verify;
mod view;
mod walk;
mod write;

#[cfg(not(target_family = "wasm"))]
mod file;
#[cfg(target_family = "wasm")]
mod no_file;

pub(crate) use backend::{Options, RedbBackend};
pub use storage::Storage;

/// The pages that redb keeps in memory. Hot are only the last ones of each tree; redb's own default is 1 GiB.
#[cfg(not(target_family = "wasm"))]
const CACHE_BYTES_DEFAULT: usize = 64 << 20;

/// In a browser memory is dear, and reading a page again is cheap.
#[cfg(target_family = "wasm")]
const CACHE_BYTES_DEFAULT: usize = 8 << 20;

#[cfg(test)]
mod tests;
