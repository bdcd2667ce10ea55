//! Waiting for changes.

use std::future::poll_fn;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;

use super::{Place, Waiters, wake};

/// The newest revision, and who waits for a newer one.
#[derive(Debug, Default)]
pub(crate) struct Latest {
    state: Mutex<State>,
    /// For the thread that looks for other processes' changes.
    pub(super) moved: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) revision: u64,
    pub(super) closed: bool,
    waiting: Waiters,
    /// Others that are told of the same revisions.
    beside: Vec<Weak<Latest>>,
    pub(super) watchers: usize,
    /// Somebody looks for other processes' changes.
    #[allow(dead_code, reason = "where there are no threads there are no other processes either")]
    pub(super) looking: bool,
}

impl Latest {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn advance(&self, revision: u64) {
        let (woken, beside) = {
            let mut state = self.state();
            state.revision = state.revision.max(revision);
            (state.waiting.take(), state.beside.clone())
        };
        self.moved.notify_all();
        wake(woken);
        beside.iter().filter_map(Weak::upgrade).for_each(|other| other.advance(revision));
    }

    pub(crate) fn close(&self) {
        let woken = {
            let mut state = self.state();
            state.closed = true;
            state.waiting.take()
        };
        self.moved.notify_all();
        wake(woken);
    }

    /// The newest revision that was heard of.
    pub(crate) fn revision(&self) -> u64 {
        self.state().revision
    }

    /// Tells another one of everything from now on.
    pub(crate) fn tell(&self, other: &Arc<Latest>) {
        let revision = {
            let mut state = self.state();
            state.beside.retain(|other| other.strong_count() > 0);
            state.beside.push(Arc::downgrade(other));
            state.revision
        };
        other.advance(revision);
    }
}

/// Tells when a store has changed: see [`crate::JobStore::watch`].
///
/// ```
/// # magnetar::block_on(async {
/// use magnetar::JobStore;
///
/// let store = magnetar::open(":memory:").await?;
/// let mut watch = store.watch();
/// assert_eq!(watch.revision(), 0);
/// store.new_job(&magnetar::JobSpec::new()).await?;
/// assert_eq!(watch.changed().await, Some(watch.revision()));
/// # Ok::<(), magnetar::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Watch {
    latest: Arc<Latest>,
    seen: u64,
    place: Place,
}

impl Watch {
    /// The newest revision that it has told of; at first the one that the store had when the watch began.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.seen
    }

    pub(crate) fn new(latest: &Arc<Latest>) -> Self {
        let mut state = latest.state();
        state.watchers += 1;
        Watch { seen: state.revision, latest: Arc::clone(latest), place: Place::default() }
    }

    /// Waits until the store has committed a change that this watch has not told of yet; many at once are told as one.
    /// Gives the newest revision, or `None` once the store is closed. What changed is in [`crate::JobStore::changes`].
    ///
    /// What was committed through this open store is told at once. Where other processes may write to the file too, a
    /// thread looks at its newest revision for as long as anybody watches: every 2 milliseconds while there is
    /// something new, less and less often down to every 100 milliseconds while there is nothing. A look costs some
    /// tens of microseconds and disturbs no writer.
    ///
    /// A future that is dropped misses nothing: what it did not tell is told by the next.
    pub async fn changed(&mut self) -> Option<u64> {
        poll_fn(|context| {
            let mut state = self.latest.state();
            if state.revision > self.seen {
                self.seen = state.revision;
                Poll::Ready(Some(state.revision))
            } else if state.closed {
                Poll::Ready(None)
            } else {
                let replaced = state.waiting.wait(&mut self.place, context.waker());
                drop(state);
                drop(replaced);
                Poll::Pending
            }
        })
        .await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let left = {
            let mut state = self.latest.state();
            state.watchers -= 1;
            state.waiting.leave(&mut self.place)
        };
        drop(left);
        self.latest.moved.notify_all();
    }
}
