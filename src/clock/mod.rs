//! The time, as the one injected clock tells it. It decides liveness only, never safety.

use std::fmt::Debug;

/// Tells the time of day. Injected, so that tests and hosts without an operating system bring their own.
pub trait Clock: Debug + Send + Sync {
    /// Milliseconds since the Unix epoch. May jump either way; Magnetar copes.
    fn now_ms(&self) -> u64;
}

#[cfg(not(target_family = "wasm"))]
mod system;
#[cfg(not(target_family = "wasm"))]
pub use system::SystemClock;
#[cfg(not(target_family = "wasm"))]
pub(crate) use system::monotonic;
