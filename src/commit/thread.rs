//! The native driver: a thread per store, so that no caller's runtime is ever blocked and any runtime will do.

use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;

use super::{Core, Driver};
use crate::error::{Error, ErrorKind, Result};

/// Looks at an empty queue that the thread takes before it sleeps. A caller that waits for one answer before it asks
/// again comes back within some microseconds; waking a sleeping thread costs several times that.
const LOOKS_BEFORE_SLEEP: u32 = 200;

/// Who drives by default.
pub(crate) const DRIVER: Driver = Driver::Thread;

/// The running thread of a store. Dropped, it shuts the store down and waits for a commit under way.
#[derive(Debug)]
pub(crate) struct Driving {
    core: Arc<Core>,
    thread: Option<JoinHandle<()>>,
}

impl Driving {
    pub(crate) fn start(core: &Arc<Core>) -> Result<Self> {
        let driven = Arc::clone(core);
        let thread = std::thread::Builder::new().name("magnetar-commit".into()).spawn(move || run(&driven));
        let thread = thread.map_err(|e| {
            Error::new(ErrorKind::Io, format!("the store's thread could not be started: {e}")).caused_by(e)
        })?;
        Ok(Driving { core: Arc::clone(core), thread: Some(thread) })
    }
}

impl Drop for Driving {
    fn drop(&mut self) {
        self.core.shut_down();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // What a panic of that thread had to say was said to those who waited for it.
            let _ = thread.join();
        }
    }
}

fn run(core: &Arc<Core>) {
    loop {
        core.drive();
        for _ in 0..LOOKS_BEFORE_SLEEP {
            if core.queue().has_work() {
                break;
            }
            for _ in 0..20 {
                std::hint::spin_loop();
            }
        }
        let mut queue = core.queue();
        while !queue.has_work() || queue.driving {
            if queue.shut {
                return;
            }
            queue = core.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
