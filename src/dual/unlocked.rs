//! Targets without processes beside this one: nothing is to be locked.

use super::side::Side;
use crate::error::Result;

/// Nobody else has the stores open.
#[derive(Debug)]
pub(super) struct Lock;

/// Nothing.
#[derive(Debug)]
pub(super) struct Held;

impl Lock {
    pub(super) fn of(_sides: &[Side; 2]) -> Self {
        Lock
    }

    #[allow(clippy::unused_async, clippy::unnecessary_wraps, reason = "the same face as the twin with files")]
    pub(super) async fn take(&self) -> Result<Held> {
        Ok(Held)
    }
}
