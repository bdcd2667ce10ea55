//! Asking workers to stop, from anywhere.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;

/// Asks workers to stop: see [`crate::worker::Worker::shutdown`]. Clones ask the same workers.
///
/// ```
/// let stop = magnetar::worker::Shutdown::new();
/// stop.request();
/// assert!(stop.is_requested());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Shutdown(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    requested: AtomicBool,
    /// The threads that pass the request on to their workers.
    threads: Mutex<Vec<Thread>>,
}

impl Shutdown {
    /// A handle that nothing listens to yet.
    pub fn new() -> Self {
        Shutdown::default()
    }

    /// Asks; asking again changes nothing. It never waits for a lock and never allocates, so that whatever is told of a
    /// signal may call it.
    pub fn request(&self) {
        self.0.requested.store(true, Ordering::SeqCst);
        self.pass_on();
    }

    /// Whether it was asked for.
    pub fn is_requested(&self) -> bool {
        self.0.requested.load(Ordering::SeqCst)
    }

    /// Whoever has the list locked right now looks for a request after unlocking it.
    fn pass_on(&self) {
        if let Ok(threads) = self.0.threads.try_lock() {
            threads.iter().for_each(Thread::unpark);
        }
    }

    pub(super) fn listen(&self, thread: Thread) {
        self.change(|threads| threads.push(thread));
    }

    pub(super) fn forget(&self, thread: &Thread) {
        self.change(|threads| threads.retain(|other| other.id() != thread.id()));
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Thread>)) {
        change(&mut self.0.threads.lock().unwrap_or_else(PoisonError::into_inner));
        if self.is_requested() {
            self.pass_on();
        }
    }
}
