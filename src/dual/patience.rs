//! Callers that wait for the other store to have what they changed.

use std::future::poll_fn;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use super::Acknowledge;
use super::copy::Copied;
use crate::commit::wake;

/// A caller's patience is told off in so many parts.
const PARTS: u32 = 8;

/// So many pages in a row that have all there is show that the other store keeps up. One that is so slow that callers lose
/// their patience with each page has them wait for one of so many.
const PAGES_KEPT_UP: u32 = 8;

#[derive(Debug)]
pub(super) struct Patience {
    acknowledge: Acknowledge,
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct State {
    copied: u64,
    /// Nobody waits until the other store has caught up.
    is_degraded: bool,
    /// So many pages, one after the other, had all that there was when they were read.
    kept_up: u32,
    closed: bool,
    waiting: Vec<Waiting>,
    /// How many have waited so far.
    numbered: u64,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    waker: Waker,
    revision: u64,
    #[allow(dead_code, reason = "told off by a thread, where there are any")]
    parts_left: u32,
}

impl Patience {
    pub(super) fn new(acknowledge: Acknowledge) -> Self {
        Patience { acknowledge, state: Mutex::default(), moved: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long callers wait, where they do.
    pub(super) fn bound(&self) -> Option<Duration> {
        match self.acknowledge {
            Acknowledge::Authority => None,
            Acknowledge::Both { patience } => Some(patience),
        }
    }

    /// How far the other store is by now. Says whether callers wait for it: again, where it has caught up, or has kept up
    /// for a while, since where somebody works all the time there is always something that it lacks.
    pub(super) fn reached(&self, copied: &Copied) -> bool {
        let (waits, woken) = {
            let mut state = self.state();
            state.copied = state.copied.max(copied.up_to.unwrap_or(0));
            state.kept_up = match copied.up_to {
                None => state.kept_up,
                Some(up_to) if up_to == copied.newest => state.kept_up.saturating_add(1),
                Some(_) => 0,
            };
            if copied.is_caught_up || state.kept_up >= PAGES_KEPT_UP {
                state.is_degraded = false;
            }
            let copied = state.copied;
            let reached = state.waiting.extract_if(.., |waiting| waiting.revision <= copied);
            let woken: Vec<_> = reached.map(|waiting| waiting.waker).collect();
            (!state.is_degraded, woken)
        };
        wake(woken);
        waits
    }

    /// Nobody waits until the other store has caught up.
    pub(super) fn give_up(&self) {
        let woken: Vec<_> = {
            let mut state = self.state();
            (state.is_degraded, state.kept_up) = (true, 0);
            state.waiting.drain(..).map(|waiting| waiting.waker).collect()
        };
        wake(woken);
    }

    pub(super) fn close(&self) {
        self.state().closed = true;
        self.give_up();
        self.moved.notify_all();
    }

    /// Whether waiting for a revision is over.
    pub(super) fn is_over(&self, revision: u64) -> bool {
        let state = self.state();
        state.copied >= revision || state.is_degraded
    }

    /// Waits until the other store has a revision, or is given up.
    pub(super) async fn wait(&self, revision: u64) {
        let caller = self.caller();
        poll_fn(|context| {
            let mut state = self.state();
            if state.copied >= revision || state.is_degraded {
                return Poll::Ready(());
            }
            let waker = context.waker().clone();
            let known = state.waiting.iter_mut().find(|waiting| waiting.number == caller.number);
            let replaced = if let Some(waiting) = known {
                Some(std::mem::replace(&mut waiting.waker, waker))
            } else {
                state.waiting.push(Waiting { number: caller.number, waker, revision, parts_left: PARTS });
                self.moved.notify_all();
                None
            };
            drop(state);
            drop(replaced);
            Poll::Pending
        })
        .await;
    }

    fn caller(&self) -> Caller<'_> {
        let mut state = self.state();
        state.numbered += 1;
        Caller { patience: self, number: state.numbered }
    }

    /// Tells callers' patience off, on a thread of its own, until it is closed. `overdue` is told when somebody's is
    /// at its end.
    #[allow(dead_code, reason = "run by a thread, where there are any")]
    pub(super) fn tick(&self, bound: Duration, overdue: impl Fn()) {
        let part = (bound / PARTS).max(Duration::from_millis(1));
        loop {
            let mut state = self.state();
            while state.waiting.is_empty() && !state.closed {
                state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.closed {
                return;
            }
            // Whoever begins to wait meanwhile is in nobody's way.
            let waited = self.moved.wait_timeout_while(state, part, |state| !state.closed);
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if state.closed {
                return;
            }
            let mut is_overdue = false;
            for waiting in &mut state.waiting {
                waiting.parts_left -= 1;
                is_overdue |= waiting.parts_left == 0;
            }
            drop(state);
            if is_overdue {
                self.give_up();
                overdue();
            }
        }
    }
}

/// Somebody who waits. Whoever goes away has no patience that could come to its end.
struct Caller<'p> {
    patience: &'p Patience,
    number: u64,
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        let left: Vec<Waiting> = {
            let mut state = self.patience.state();
            state.waiting.extract_if(.., |waiting| waiting.number == self.number).collect()
        };
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::Context;

    use super::*;

    #[test]
    fn callers_wait_again_for_a_store_that_keeps_up_though_there_is_always_something_new() {
        let patience = Patience::new(Acknowledge::Both { patience: Duration::from_secs(1) });
        let page = |up_to: u64, newest| {
            let copied = Copied { up_to: Some(up_to), is_idle: false, is_caught_up: false, newest };
            patience.reached(&copied)
        };
        assert!(page(1, 9), "nobody has lost his patience");
        patience.give_up();
        let mut at = 10;
        for _ in 0..3 {
            for _ in 1..PAGES_KEPT_UP {
                assert!(!page(at, at) && patience.is_over(u64::MAX));
                at += 1;
            }
            assert!(!page(at, at + 1), "it is behind");
            at += 1;
        }
        for _ in 1..PAGES_KEPT_UP {
            assert!(!page(at, at));
            at += 1;
        }
        assert!(page(at, at) && !patience.is_over(u64::MAX));
    }

    #[test]
    fn patience_ends_however_often_others_begin_to_wait() {
        const BOUND: Duration = Duration::from_millis(800);
        let patience = Patience::new(Acknowledge::Both { patience: BOUND });
        let mut task = Context::from_waker(Waker::noop());
        std::thread::scope(|threads| {
            threads.spawn(|| patience.tick(BOUND, || {}));
            let mut first = pin!(patience.wait(1));
            // Where each of the others put it off this would never end.
            while first.as_mut().poll(&mut task).is_pending() {
                assert!(pin!(patience.wait(2)).poll(&mut task).is_pending() || patience.is_over(2));
            }
            patience.close();
        });
    }

    #[test]
    fn each_caller_has_its_own_patience_for_as_long_as_it_waits() {
        let patience = Patience::new(Acknowledge::Both { patience: Duration::from_secs(1) });
        let mut task = Context::from_waker(Waker::noop());
        {
            let mut first = pin!(patience.wait(1));
            assert!(first.as_mut().poll(&mut task).is_pending());
            assert!(first.as_mut().poll(&mut task).is_pending());
            assert!(pin!(patience.wait(2)).poll(&mut task).is_pending());
            let revisions: Vec<u64> =
                patience.state().waiting.iter().map(|waiting| waiting.revision).collect();
            assert_eq!(revisions, [1], "the second one has gone");
            patience.state().waiting[0].parts_left = 1;
            let mut third = pin!(patience.wait(3));
            assert!(third.as_mut().poll(&mut task).is_pending());
            assert_eq!(patience.state().waiting[1].parts_left, PARTS);
            let caught_up = Copied { up_to: Some(3), is_idle: true, is_caught_up: true, newest: 3 };
            assert!(patience.reached(&caught_up));
            assert!(first.as_mut().poll(&mut task).is_ready());
            assert!(third.as_mut().poll(&mut task).is_ready());
        }
        assert!(pin!(patience.wait(4)).poll(&mut task).is_pending());
        assert!(patience.state().waiting.is_empty());
    }
}
