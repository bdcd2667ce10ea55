//! Waiting for a future on a plain thread.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

thread_local! {
    /// Whether this thread waits in [`block_on`], so that it may as well do the work itself.
    static MAY_BLOCK: Cell<bool> = const { Cell::new(false) };
}

pub(crate) fn may_block() -> bool {
    MAY_BLOCK.get()
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
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
        }
    }
    let _restore = Restore(MAY_BLOCK.replace(true));
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        thread::park();
    }
}
