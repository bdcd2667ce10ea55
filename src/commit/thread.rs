//! The native driver: a thread per store, so that no caller's runtime is ever blocked and any runtime will do.

use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Core, Driver};
use crate::error::{Error, ErrorKind, Result};

/// Looks at an empty queue that the thread takes before it sleeps. A caller that waits for one answer before it asks
/// again comes back within some microseconds; waking a sleeping thread costs several times that.
const LOOKS_BEFORE_SLEEP: u32 = 200;

/// Whoever was just answered is, as a rule, about to ask again. The thread waits for as many as it answered, but no
/// longer than half of what the commit took, and never longer than this: otherwise the first of many that came back
/// would be alone in the next commit, and the others would wait for a sync that they might have shared.
const GATHER_MAX: Duration = Duration::from_millis(1);

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

#[allow(clippy::disallowed_methods, reason = "how long a commit took is no time of the store's")]
fn run(core: &Arc<Core>) {
    loop {
        let mut began = Instant::now();
        let mut last = 0;
        core.drive_until(|answered| {
            last = answered;
            if answered > 1 {
                gather(core, answered, (began.elapsed() / 2).min(GATHER_MAX));
            }
            began = Instant::now();
            false
        });
        if last == 1 {
            look(core);
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

/// Sleeps until so many operations wait, or for as long as given.
fn gather(core: &Core, count: usize, at_most: Duration) {
    let mut queue = core.queue();
    queue.gathering = Some(count);
    let gathered = core.wake.wait_timeout_while(queue, at_most, |queue| !queue.is_gathered());
    gathered.unwrap_or_else(PoisonError::into_inner).0.gathering = None;
}

/// Looks for an operation for a while.
fn look(core: &Core) {
    for _ in 0..LOOKS_BEFORE_SLEEP {
        if core.queue().has_work() {
            return;
        }
        for _ in 0..20 {
            std::hint::spin_loop();
        }
    }
}
