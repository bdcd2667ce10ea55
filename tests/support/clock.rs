//! A clock that stands still until the test moves it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use magnetar::Clock;

/// A clock that the test sets. It can also be held: whoever asks for the time then waits, which keeps a store's
/// commit from starting until the test has handed in everything that shall share it.
#[derive(Debug)]
pub(crate) struct ManualClock {
    now_ms: AtomicU64,
    gate: Mutex<Gate>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Gate {
    held: bool,
    waiting: bool,
}

impl ManualClock {
    /// A clock that shows a time, in milliseconds since the Unix epoch.
    pub(crate) fn at(now_ms: u64) -> Self {
        ManualClock { now_ms: AtomicU64::new(now_ms), gate: Mutex::default(), moved: Condvar::new() }
    }

    /// The time that it shows.
    pub(crate) fn get(&self) -> u64 {
        self.now_ms.load(Ordering::SeqCst)
    }

    /// Sets the time, forward or back.
    pub(crate) fn set(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::SeqCst);
    }

    /// Moves it forward.
    pub(crate) fn advance(&self, by_ms: u64) {
        self.now_ms.fetch_add(by_ms, Ordering::SeqCst);
    }

    /// Has whoever asks for the time wait.
    pub(crate) fn hold(&self) {
        self.gate().held = true;
    }

    /// Returns once somebody waits for the time.
    pub(crate) fn wait_until_asked(&self) {
        let mut gate = self.gate();
        while !gate.waiting {
            gate = self.moved.wait(gate).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lets them all go on.
    pub(crate) fn release(&self) {
        *self.gate() = Gate::default();
        self.moved.notify_all();
    }

    fn gate(&self) -> std::sync::MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        let mut gate = self.gate();
        while gate.held {
            gate.waiting = true;
            self.moved.notify_all();
            gate = self.moved.wait(gate).unwrap_or_else(PoisonError::into_inner);
        }
        drop(gate);
        self.get()
    }
}
