//! Targets without threads: callers copy, those that wait for both stores in their own calls.

use std::sync::Arc;

use super::Inner;
use crate::error::Result;

/// Nothing runs in the background here.
#[derive(Debug)]
pub(super) struct Driving(Arc<Inner>);

impl Driving {
    #[allow(clippy::unnecessary_wraps, reason = "the same face as the twin with threads")]
    pub(super) fn start(inner: &Arc<Inner>) -> Result<Self> {
        Ok(Driving(Arc::clone(inner)))
    }
}

impl Drop for Driving {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Whether a call has to do the copying itself.
pub(super) const CALLERS_COPY: bool = true;
