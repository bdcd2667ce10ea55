//! Waiting for a future on a plain thread.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use super::Core;

thread_local! {
    /// Whether this thread waits in [`block_on`], so that it may as well do the work itself.
    static MAY_BLOCK: Cell<bool> = const { Cell::new(false) };
    /// Queues whose drivers were not woken, because this thread drives.
    static OWED: RefCell<Vec<Weak<Core>>> = const { RefCell::new(Vec::new()) };
}

/// Remembers a queue that this thread put something into and is about to drive by itself.
pub(super) fn owe(core: &Arc<Core>) {
    OWED.with_borrow_mut(|owed| {
        if !owed.iter().any(|other| other.as_ptr() == Arc::as_ptr(core)) {
            owed.push(Arc::downgrade(core));
        }
    });
}

/// Leaves what this thread did not drive to the stores' own drivers.
fn settle_debts() {
    for core in OWED.take() {
        if let Some(core) = core.upgrade() {
            core.nudge();
        }
    }
}

pub(crate) fn may_block() -> bool {
    MAY_BLOCK.get()
}

/// Remembers a wake-up by itself: whatever parks this thread in the middle of a poll (a lock, a channel, a driver that
/// blocks) takes the thread's own token away.
struct Unpark {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Waits for a future on this thread: Magnetar without an async runtime.
///
/// A thread that waits here and finds nobody else at work commits by itself, which saves handing over to the store's
/// own thread and back. Do not call it from inside an async task: it blocks the thread.
///
/// ```
/// # fn main() -> magnetar::Result<()> {
/// use magnetar::JobStore;
///
/// let store = magnetar::block_on(magnetar::open(":memory:"))?;
/// let job = magnetar::block_on(store.new_job(&magnetar::JobSpec::new()))?;
/// # let _ = job;
/// # Ok(())
/// # }
/// ```
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            MAY_BLOCK.set(self.0);
            settle_debts();
        }
    }
    let _restore = Restore(MAY_BLOCK.replace(true));
    let unpark = Arc::new(Unpark { thread: thread::current(), woken: AtomicBool::new(false) });
    let waker = Waker::from(Arc::clone(&unpark));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        while !unpark.woken.swap(false, Ordering::Acquire) {
            settle_debts();
            thread::park();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[test]
    fn a_wake_up_is_not_lost_where_a_poll_parks_the_thread_itself() {
        let mut polls = 0;
        block_on(poll_fn(|context| {
            polls += 1;
            if polls == 2 {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            // Takes the token that the wake-up left.
            thread::park();
            Poll::Pending
        }));
        assert_eq!(polls, 2);
    }
}
