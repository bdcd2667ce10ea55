//! Magnetar.
#![forbid(unsafe_code)]

mod backends;
mod error;
pub mod graph;
pub mod limits;
pub mod manifest;
mod model;

pub use error::{Error, ErrorKind, Result, Retry};
pub use manifest::Manifest;
pub use model::*;
