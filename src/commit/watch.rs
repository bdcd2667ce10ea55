//! Waiting for changes.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// The newest revision, and who waits for a newer one.
#[derive(Debug, Default)]
pub(crate) struct Latest(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    revision: u64,
    closed: bool,
    waiting: Vec<Waker>,
}

impl Latest {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn advance(&self, revision: u64) {
        let woken = {
            let mut state = self.state();
            state.revision = state.revision.max(revision);
            std::mem::take(&mut state.waiting)
        };
        woken.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn close(&self) {
        let woken = {
            let mut state = self.state();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        woken.into_iter().for_each(Waker::wake);
    }
}

/// Tells when this store has changed: see [`crate::JobStore::watch`].
///
/// ```
/// # magnetar::block_on(async {
/// use magnetar::JobStore;
///
/// let store = magnetar::open(":memory:").await?;
/// let mut watch = store.watch();
/// store.new_job(&magnetar::JobSpec::new()).await?;
/// assert!(watch.changed().await.is_some());
/// # Ok::<(), magnetar::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Watch {
    latest: Arc<Latest>,
    seen: u64,
}

impl Watch {
    pub(crate) fn new(latest: &Arc<Latest>) -> Self {
        let seen = latest.state().revision;
        Watch { latest: Arc::clone(latest), seen }
    }

    /// Waits until this store has committed a change that this watch has not told of yet; many at once are told as one.
    /// Gives the newest revision, or `None` once the store is closed.
    ///
    /// Told is what was committed through this open store. Another process's changes show in `changes`.
    pub async fn changed(&mut self) -> Option<u64> {
        poll_fn(|context| {
            let mut state = self.latest.state();
            if state.revision > self.seen {
                self.seen = state.revision;
                Poll::Ready(Some(state.revision))
            } else if state.closed {
                Poll::Ready(None)
            } else {
                if !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                    state.waiting.push(context.waker().clone());
                }
                Poll::Pending
            }
        })
        .await
    }
}
