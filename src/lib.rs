//! Magnetar.
#![forbid(unsafe_code)]

mod backends;
#[cfg(any(feature = "redb", target_family = "wasm"))]
mod codec;
mod error;
pub mod limits;
mod model;

pub use error::{Error, ErrorKind, Result, Retry};
pub use model::*;
