//! The native driver: a thread that copies, and one that tells off the patience of callers that wait for both stores.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Inner, Roles};
use crate::commit::block_on;
use crate::error::{Error, ErrorKind, Result, Retry};

/// Between two tries after an error, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Changes are told of; this is for what nobody tells.
const IDLE: Duration = Duration::from_secs(1);

/// The running threads of a pair. Dropped, it ends them.
#[derive(Debug)]
pub(super) struct Driving {
    inner: Arc<Inner>,
    threads: Vec<JoinHandle<()>>,
}

impl Driving {
    pub(super) fn start(inner: &Arc<Inner>) -> Result<Self> {
        let mut driving = Driving { inner: Arc::clone(inner), threads: Vec::new() };
        let copying = Arc::clone(inner);
        driving.spawn("magnetar-copy", move || run(&copying))?;
        if let Some(bound) = inner.patience.bound() {
            let waiting = Arc::clone(inner);
            driving.spawn("magnetar-patience", move || {
                let overdue = || waiting.board.post(|status| status.is_degraded = true);
                waiting.patience.tick(bound, overdue);
            })?;
        }
        Ok(driving)
    }

    fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
        let thread = std::thread::Builder::new().name(name.into()).spawn(work);
        self.threads.push(thread.map_err(|e| {
            Error::new(ErrorKind::Io, format!("a thread for the copy could not be started: {e}")).caused_by(e)
        })?);
        Ok(())
    }
}

impl Drop for Driving {
    fn drop(&mut self) {
        self.inner.stop();
        for thread in self.threads.drain(..) {
            if thread.thread().id() != std::thread::current().id() {
                // What a panic of it had to say is in the status already, or was of no consequence.
                let _ = thread.join();
            }
        }
    }
}

/// Whether a call has to do the copying itself.
pub(super) const CALLERS_COPY: bool = false;

fn run(inner: &Inner) {
    let mut pause = PAUSE.0;
    loop {
        let wait = match inner.roles() {
            Roles::Settled { detached: true, .. } => return,
            Roles::Unsettled => IDLE.min(PAUSE.0),
            Roles::Settled { .. } => match block_on(inner.follow()) {
                Ok(None) => {
                    pause = PAUSE.0;
                    continue;
                }
                Ok(Some(newest)) => {
                    pause = PAUSE.0;
                    if inner.latest.wait_past(newest, IDLE) {
                        return;
                    }
                    continue;
                }
                Err(error) => {
                    report(inner, &error);
                    let paused = pause;
                    pause = (pause * 2).min(PAUSE.1);
                    paused
                }
            },
        };
        if inner.latest.wait_past(u64::MAX, wait) {
            return;
        }
    }
}

/// Says that the copying failed, and opens anew what needs it.
pub(super) fn report(inner: &Inner, error: &Error) {
    inner.falls_behind(error);
    if error.retry() != Retry::AfterReopen {
        return;
    }
    // The authority too, where it was this thread's own call that failed there: of that nobody else was told, and calls
    // that wait for the reopening are in the gate, which those who shut it wait for.
    for side in &inner.sides {
        if let Err(error) = block_on(side.reopen()) {
            inner.board.post(|status| status.error = Some(error));
        }
    }
}
