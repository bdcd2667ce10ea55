//! Magnetar.
#![forbid(unsafe_code)]

mod backends;
mod error;
pub mod graph;
pub mod limits;
mod model;

pub use error::{Error, ErrorKind, Result, Retry};
pub use model::*;
