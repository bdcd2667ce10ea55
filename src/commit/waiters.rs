//! Tasks that wait for one thing.
//!
//! What is given back is dropped where no lock is held: the last waker of a task may take the task along, and that one
//! may hold whatever the lock is for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// Does what may wake a task. A waker is its executor's code: one that panics, as where the executor has ended, takes along
/// neither this thread nor those who are still to be woken.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(work));
    if done.is_err() {
        tracing::warn!("a task could not be woken: its executor panicked");
    }
    done.ok()
}

/// Wakes tasks.
pub(crate) fn wake(woken: impl IntoIterator<Item = Waker>) {
    for waker in woken {
        guarded(|| waker.wake());
    }
}

/// The wakers of tasks that wait for one thing, each in the place of its waiter.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    places: Vec<Option<Waker>>,
    free: Vec<usize>,
}

/// A waiter's place among the others: had when it first waits, and given back by [`Waiters::leave`].
#[derive(Debug, Default)]
pub(crate) struct Place(Option<usize>);

impl Waiters {
    /// Has a task woken, in the stead of the one that waited in this place before, whose waker is given back.
    pub(crate) fn wait(&mut self, place: &mut Place, waker: &Waker) -> Option<Waker> {
        let at = *place.0.get_or_insert_with(|| {
            self.free.pop().unwrap_or_else(|| {
                self.places.push(None);
                self.places.len() - 1
            })
        });
        let known = &mut self.places[at];
        if known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            None
        } else {
            known.replace(waker.clone())
        }
    }

    /// Nobody waits in this place any more. Gives back the waker that was there.
    pub(crate) fn leave(&mut self, place: &mut Place) -> Option<Waker> {
        let at = place.0.take()?;
        self.free.push(at);
        self.places[at].take()
    }

    /// Everybody who waits, to be woken once no lock is held.
    pub(crate) fn take(&mut self) -> Vec<Waker> {
        self.places.iter_mut().filter_map(Option::take).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_leaves_makes_room_for_the_next_and_is_not_woken() {
        let mut waiters = Waiters::default();
        for _ in 0..1_000 {
            let mut place = Place::default();
            drop(waiters.wait(&mut place, Waker::noop()));
            drop(waiters.wait(&mut place, Waker::noop()));
            assert!(waiters.leave(&mut place).is_some());
            assert!(waiters.leave(&mut place).is_none());
        }
        assert_eq!((waiters.places.len(), waiters.free.len()), (1, 1));
        assert!(waiters.take().is_empty());
    }

    #[test]
    fn a_place_is_kept_while_its_waiter_is_woken_and_waits_again() {
        let mut waiters = Waiters::default();
        let (mut one, mut other) = (Place::default(), Place::default());
        assert!(waiters.wait(&mut one, Waker::noop()).is_none());
        assert_eq!(waiters.take().len(), 1);
        assert!(waiters.wait(&mut other, Waker::noop()).is_none());
        assert!(waiters.wait(&mut one, Waker::noop()).is_none());
        assert_eq!(waiters.take().len(), 2);
    }
}
