//! Ids that nobody had before, from the operating system.

use crate::error::{Error, ErrorKind, Result};
use crate::model::OwnerId;

/// An owner id that nobody had before.
pub(crate) fn random_owner() -> Result<OwnerId> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| {
        Error::new(ErrorKind::Io, format!("the operating system gives no random numbers: {e}"))
    })?;
    Ok(OwnerId::from_bytes(bytes))
}
