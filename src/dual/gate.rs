//! A gate that every call goes through, and that is shut for the moment in which the authority changes.

use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::commit::{closed, wake};
use crate::error::Result;

/// How long a call may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// A commit or two.
    Short,
    /// As long as its caller or its size likes: an import, an operation in slices.
    Long,
}

#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    short: usize,
    long: usize,
    /// Long calls have to wait.
    shut_to_long: bool,
    /// Every call has to wait.
    shut: bool,
    /// The stores are being closed, by so many.
    closing: usize,
    waiting: Vec<Waker>,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        let woken = std::mem::take(&mut self.state().waiting);
        wake(woken);
    }

    /// Waits until a change of the state succeeds.
    async fn until(&self, mut change: impl FnMut(&mut State) -> bool) {
        poll_fn(|context| {
            let mut state = self.state();
            if change(&mut state) {
                return Poll::Ready(());
            }
            if !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                state.waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Goes in as soon as the gate is open. Out again when what is given is dropped.
    pub(super) async fn enter(&self, length: Length) -> Pass<'_> {
        self.until(|state| {
            let is_open = !state.shut && (length == Length::Short || !state.shut_to_long);
            if is_open {
                match length {
                    Length::Short => state.short += 1,
                    Length::Long => state.long += 1,
                }
            }
            is_open
        })
        .await;
        Pass { gate: self, length }
    }

    /// Shuts the gate: first to long calls, and once the last of them is out to all. It is shut to others who want to
    /// shut it too. Opens again when what is given is dropped, also where this call is given up half-way. Refused while the
    /// stores are being closed, since that waits for no long call.
    pub(super) async fn shut(&self) -> Result<Shut<'_>> {
        let shut = self.turn().await;
        let mut is_closing = false;
        self.until(|state| {
            is_closing = state.closing > 0;
            is_closing || state.long == 0
        })
        .await;
        if is_closing {
            return Err(closed());
        }
        Ok(self.empty(shut).await)
    }

    /// The stores are being closed until what is given is dropped, or for good.
    pub(super) fn begin_closing(&self) -> Closing<'_> {
        self.state().closing += 1;
        self.wake();
        Closing(self)
    }

    /// The same, but long calls that are inside stay there: they may wait for a source of their own, and nobody who
    /// only wants to know where to go is to wait for that.
    pub(super) async fn shut_beside_long(&self) -> Shut<'_> {
        let shut = self.turn().await;
        self.empty(shut).await
    }

    /// Waits for one's turn to shut the gate, and shuts it to long calls.
    async fn turn(&self) -> Shut<'_> {
        self.until(|state| !std::mem::replace(&mut state.shut_to_long, true)).await;
        Shut(self)
    }

    async fn empty<'g>(&self, shut: Shut<'g>) -> Shut<'g> {
        self.state().shut = true;
        self.until(|state| state.short == 0).await;
        shut
    }
}

/// A call that is under way.
#[derive(Debug)]
pub(super) struct Pass<'g> {
    gate: &'g Gate,
    length: Length,
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let is_awaited = {
            let mut state = self.gate.state();
            match self.length {
                Length::Short => state.short -= 1,
                Length::Long => state.long -= 1,
            }
            state.shut_to_long
        };
        if is_awaited {
            self.gate.wake();
        }
    }
}

/// The stores are being closed while this is there.
#[derive(Debug)]
pub(super) struct Closing<'g>(&'g Gate);

impl Closing<'_> {
    /// There is no way back.
    pub(super) fn stays(self) {
        std::mem::forget(self);
    }
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.state().closing -= 1;
    }
}

/// The gate is shut while this is there.
#[derive(Debug)]
pub(super) struct Shut<'g>(&'g Gate);

impl Drop for Shut<'_> {
    fn drop(&mut self) {
        {
            let mut state = self.0.state();
            (state.shut, state.shut_to_long) = (false, false);
        }
        self.0.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::Context;

    use super::*;

    fn is_ready<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    #[test]
    fn short_calls_go_on_while_a_long_one_is_waited_for() {
        let gate = Gate::default();
        let long = is_ready(pin!(gate.enter(Length::Long))).expect("it is open");
        let mut shut = pin!(gate.shut());
        assert!(is_ready(shut.as_mut()).is_none());
        let short = is_ready(pin!(gate.enter(Length::Short))).expect("only long ones wait");
        assert!(is_ready(pin!(gate.enter(Length::Long))).is_none());
        drop(long);
        assert!(is_ready(shut.as_mut()).is_none(), "a short call is inside");
        assert!(is_ready(pin!(gate.enter(Length::Short))).is_none());
        drop(short);
        let shut = is_ready(shut.as_mut()).expect("everybody is out").expect("nobody closes");
        assert!(is_ready(pin!(gate.enter(Length::Short))).is_none());
        drop(shut);
        assert!(is_ready(pin!(gate.enter(Length::Long))).is_some());
    }

    #[test]
    fn a_long_call_that_is_inside_may_stay_there() {
        let gate = Gate::default();
        let long = is_ready(pin!(gate.enter(Length::Long))).expect("it is open");
        let short = is_ready(pin!(gate.enter(Length::Short))).expect("it is open");
        let mut shutting = pin!(gate.shut_beside_long());
        assert!(is_ready(shutting.as_mut()).is_none(), "a short call is inside");
        drop(short);
        let shut = is_ready(shutting.as_mut()).expect("only a long one is inside");
        assert!(is_ready(pin!(gate.enter(Length::Short))).is_none());
        assert!(is_ready(pin!(gate.enter(Length::Long))).is_none());
        assert!(is_ready(pin!(gate.shut_beside_long())).is_none(), "one at a time");
        drop(shut);
        assert!(is_ready(pin!(gate.enter(Length::Short))).is_some());
        drop(long);
    }

    #[test]
    fn a_shutting_that_is_given_up_leaves_the_gate_open() {
        let gate = Gate::default();
        let long = is_ready(pin!(gate.enter(Length::Long))).expect("it is open");
        {
            let mut shut = Box::pin(gate.shut());
            assert!(is_ready(shut.as_mut()).is_none());
        }
        assert!(is_ready(pin!(gate.enter(Length::Long))).is_some());
        drop(long);
        let shut = is_ready(pin!(gate.shut())).expect("nobody is inside").expect("nobody closes");
        assert!(is_ready(pin!(gate.shut())).is_none(), "one at a time");
        drop(shut);
    }
}
