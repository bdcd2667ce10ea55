//! One after the other.

use std::sync::{Mutex, PoisonError};

use futures_channel::oneshot;

/// Work that is done by one at a time, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    last: Mutex<Option<Over>>,
}

/// Where it shows that a turn is over. Whoever leaves while they wait hands over whom they waited for.
#[derive(Debug)]
struct Over(oneshot::Receiver<Over>);

/// Whose turn it is; over when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    /// For whom it waits still.
    before: Option<Over>,
    over: Option<oneshot::Sender<Over>>,
}

impl Turns {
    /// Returns once those who came before are done.
    pub(crate) async fn next(&self) -> Turn {
        let (sender, over) = oneshot::channel();
        let before = self.last.lock().unwrap_or_else(PoisonError::into_inner).replace(Over(over));
        let mut turn = Turn { before, over: Some(sender) };
        while let Some(Over(before)) = &mut turn.before {
            turn.before = before.await.ok();
        }
        turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let (Some(before), Some(over)) = (self.before.take(), self.over.take()) {
            // Nobody may be behind.
            let _ = over.send(before);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn whoever_leaves_while_they_wait_lets_nobody_past_those_before_them() {
        let turns = Turns::default();
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(first) = pin!(turns.next()).poll(&mut context) else { panic!("nobody is before it") };
        let mut last = {
            let mut leaving = [Box::pin(turns.next()), Box::pin(turns.next())];
            assert!(leaving.iter_mut().all(|turn| turn.as_mut().poll(&mut context).is_pending()));
            let mut last = Box::pin(turns.next());
            assert!(last.as_mut().poll(&mut context).is_pending());
            last
        };
        assert!(last.as_mut().poll(&mut context).is_pending(), "the first one goes on");
        drop(first);
        assert!(last.as_mut().poll(&mut context).is_ready());
    }
}
