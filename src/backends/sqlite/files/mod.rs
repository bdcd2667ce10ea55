//! The gate: what creating a file takes on each kind of system.

#[cfg(not(unix))]
mod other;
#[cfg(unix)]
mod unix;

#[cfg(not(unix))]
pub(super) use other::{create, names, sync_directory, too_long};
#[cfg(unix)]
pub(super) use unix::{create, names, sync_directory, too_long};
