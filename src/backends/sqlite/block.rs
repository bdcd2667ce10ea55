//! Waits for sqlx's own connection thread, with nothing but the standard library.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long a short wait spins before it parks: a wake-up out of a park costs about as much.
const SPIN: Duration = Duration::from_micros(30);

/// How a caller waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// The answer takes microseconds: look for it a moment before parking.
    Spin,
    /// The answer takes longer, and the other thread needs the processor.
    Park,
}

struct Flag {
    woken: AtomicBool,
    thread: Thread,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.woken.swap(true, Ordering::Release) {
            self.thread.unpark();
        }
    }
}

thread_local! {
    static FLAG: Arc<Flag> = Arc::new(Flag { woken: AtomicBool::new(false), thread: thread::current() });
}

/// Runs a future to its end on this thread.
pub(super) fn block_on<F: Future>(future: F, wait: Wait) -> F::Output {
    let flag = FLAG.with(Arc::clone);
    let waker = Waker::from(Arc::clone(&flag));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        flag.woken.store(false, Ordering::Release);
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        if wait == Wait::Spin {
            #[expect(
                clippy::disallowed_methods,
                reason = "how long to spin is no business of the store's clock"
            )]
            let start = Instant::now();
            while !flag.woken.load(Ordering::Acquire) && start.elapsed() < SPIN {
                std::hint::spin_loop();
            }
        }
        while !flag.woken.load(Ordering::Acquire) {
            thread::park();
        }
    }
}
