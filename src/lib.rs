//! Magnetar.
#![forbid(unsafe_code)]

mod backends;
mod error;
pub mod limits;
mod machine;
mod model;
mod retry;

pub use error::{Error, ErrorKind, Result, Retry};
pub use model::*;
