//! Targets without threads: futures drive the commits themselves, reads run where they are asked for.

#![allow(clippy::unnecessary_wraps, clippy::unused_self, reason = "the same face as the twin with threads")]

use std::future::Future;
use std::sync::Arc;

use super::{Core, Driver, Latest};
use crate::error::Result;

/// Who drives by default.
pub(crate) const DRIVER: Driver = Driver::Tick;

/// Nothing runs in the background here.
#[derive(Debug)]
pub(crate) struct Driving(Arc<Core>);

impl Driving {
    pub(crate) fn start(core: &Arc<Core>) -> Result<Self> {
        Ok(Driving(Arc::clone(core)))
    }
}

impl Drop for Driving {
    fn drop(&mut self) {
        self.0.shut_down();
    }
}

/// Reads run where they are asked for.
#[derive(Debug)]
pub(crate) struct Readers;

impl Readers {
    pub(crate) fn start() -> Result<Self> {
        Ok(Readers)
    }

    pub(crate) fn run(&self, task: Box<dyn FnOnce() + Send>) -> Result<()> {
        task();
        Ok(())
    }
}

/// A file that is open here is open nowhere else.
pub(crate) fn look(latest: &Arc<Latest>, revision: impl Fn() -> Result<u64> + Send + 'static) {
    let _ = (latest, revision);
}

/// Runs at once.
pub(crate) fn offload<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> impl Future<Output = Result<T>> + Send {
    std::future::ready(work())
}
