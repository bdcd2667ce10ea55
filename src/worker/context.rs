//! What a handler is given: its chunk, and word when to stop.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use crate::commit::{Place, Waiters, wake};
use crate::limits;
use crate::model::{Claim, JobState, Json};

/// Why a handler should stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cancellation {
    /// The claim is no longer the chunk's newest, so that its result would be refused. Told within a second or so of a change
    /// of the store, by the next heartbeat at the latest.
    Superseded,
    /// The worker stops. What the handler still completes counts; an error gives the chunk back at no cost.
    Shutdown,
}

/// One claimed chunk in a handler's hands.
#[derive(Debug, Clone)]
pub struct Context {
    state: Arc<JobState>,
    cancel: Arc<Cancel>,
}

impl Context {
    pub(super) fn new(state: JobState, cancel: Arc<Cancel>) -> Self {
        Context { state: Arc::new(state), cancel }
    }

    /// The chunk's number within its job.
    pub fn chunk(&self) -> u64 {
        self.state.chunk
    }

    /// The job.
    pub fn job_id(&self) -> i64 {
        self.state.job_id
    }

    /// Everything known of the chunk, as it was when it was claimed.
    pub fn state(&self) -> &JobState {
        &self.state
    }

    /// What the manifest gave the worker.
    pub fn payload(&self) -> Option<&Json> {
        self.state.payload.as_ref()
    }

    /// The claim's fence. Hand it to whatever you write to, so that a late worker's effects can be told from a newer one's.
    pub fn fence(&self) -> u64 {
        self.state.fence
    }

    /// The claim.
    pub fn claim(&self) -> Claim {
        self.state.claim()
    }

    /// Says that no further attempt would go well: the error that the handler returns next fails the chunk, whatever
    /// attempts it has left. A handler that returns a result all the same, or panics, has said nothing; of several such
    /// words the last counts.
    ///
    /// ```
    /// use magnetar::worker::{Context, Worker};
    /// use magnetar::{Completion, JobStore, NewChunk, block_on};
    ///
    /// # fn main() -> magnetar::Result<()> {
    /// block_on(async {
    ///     let store = magnetar::open(":memory:").await?;
    ///     store.import(1, &Default::default(), magnetar::chunks([Ok(NewChunk::new(1))]), &Default::default()).await?;
    ///     let summary = Worker::new(store)
    ///         .job(1)
    ///         .run(async |context: Context| {
    ///             context.fail_permanently();
    ///             Err::<Completion, _>("the source has no such row")
    ///         })
    ///         .await?;
    ///     assert_eq!((summary.failed, summary.retried), (1, 0));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn fail_permanently(&self) {
        self.say(Said::FailPermanently);
    }

    /// Says when the next attempt may begin: the error that the handler returns next counts as one, as ever, and in the
    /// place of the job's backoff the chunk waits for so many milliseconds, at most [`crate::limits::BACKOFF_MS_MAX`].
    ///
    /// ```
    /// use magnetar::worker::{Context, Worker};
    /// use magnetar::{Completion, JobStore, NewChunk, block_on};
    ///
    /// # fn main() -> magnetar::Result<()> {
    /// block_on(async {
    ///     let store = magnetar::open(":memory:").await?;
    ///     store.import(1, &Default::default(), magnetar::chunks([Ok(NewChunk::new(1))]), &Default::default()).await?;
    ///     let summary = Worker::new(store)
    ///         .job(1)
    ///         .run(async |context: Context| {
    ///             if context.state().attempts == 0 {
    ///                 // What the server asked for.
    ///                 context.fail_with_delay(20);
    ///                 return Err("429: too many requests");
    ///             }
    ///             Ok(Completion::new())
    ///         })
    ///         .await?;
    ///     assert_eq!((summary.retried, summary.completed), (1, 1));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn fail_with_delay(&self, delay_ms: u64) {
        self.say(Said::FailWithDelay(delay_ms.min(limits::BACKOFF_MS_MAX)));
    }

    /// Says that the work cannot begin yet: the error that the handler returns next gives the chunk back, no attempt is
    /// counted, and nobody gets the chunk for so many milliseconds, at most [`crate::limits::BACKOFF_MS_MAX`].
    ///
    /// ```
    /// use magnetar::worker::{Context, Worker};
    /// use magnetar::{Completion, JobStore, NewChunk, block_on};
    /// use std::sync::atomic::{AtomicBool, Ordering};
    ///
    /// # fn main() -> magnetar::Result<()> {
    /// block_on(async {
    ///     let store = magnetar::open(":memory:").await?;
    ///     store.import(1, &Default::default(), magnetar::chunks([Ok(NewChunk::new(1))]), &Default::default()).await?;
    ///     let is_mounted = AtomicBool::new(false);
    ///     let summary = Worker::new(store)
    ///         .job(1)
    ///         .run(async |context: Context| {
    ///             if !is_mounted.swap(true, Ordering::Relaxed) {
    ///                 context.release_with_delay(20);
    ///                 return Err("the disk is not there yet");
    ///             }
    ///             assert_eq!(context.state().attempts, 0);
    ///             Ok(Completion::new())
    ///         })
    ///         .await?;
    ///     assert_eq!((summary.released, summary.completed), (1, 1));
    ///     Ok(())
    /// })
    /// # }
    /// ```
    pub fn release_with_delay(&self, delay_ms: u64) {
        self.say(Said::ReleaseWithDelay(delay_ms.min(limits::BACKOFF_MS_MAX)));
    }

    fn say(&self, said: Said) {
        self.cancel.state().said = Some(said);
    }

    /// Whether the handler should stop.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.reason().is_some()
    }

    /// Why the handler should stop, once it should.
    pub fn cancellation(&self) -> Option<Cancellation> {
        self.cancel.reason()
    }

    /// Resolves when the handler should stop. A future that is dropped misses nothing.
    pub async fn cancelled(&self) -> Cancellation {
        let mut waiting = Waiting { cancel: &self.cancel, place: Place::default() };
        poll_fn(|task| waiting.poll(task.waker())).await
    }
}

/// What a handler has said of the error that it will return.
#[derive(Debug, Clone, Copy)]
pub(super) enum Said {
    FailWithDelay(u64),
    FailPermanently,
    ReleaseWithDelay(u64),
}

/// Set once a handler should stop.
#[derive(Debug, Default)]
pub(super) struct Cancel(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    reason: Option<Cancellation>,
    said: Option<Said>,
    waiting: Waiters,
}

impl Cancel {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Being superseded outweighs a shutdown: nothing that the handler still does can count.
    pub(super) fn set(&self, reason: Cancellation) {
        let woken = {
            let mut state = self.state();
            if state.reason != Some(Cancellation::Superseded) {
                state.reason = Some(reason);
            }
            state.waiting.take()
        };
        wake(woken);
    }

    pub(super) fn reason(&self) -> Option<Cancellation> {
        self.state().reason
    }

    pub(super) fn said(&self) -> Option<Said> {
        self.state().said
    }
}

/// Somebody who waits for it.
struct Waiting<'a> {
    cancel: &'a Cancel,
    place: Place,
}

impl Waiting<'_> {
    fn poll(&mut self, waker: &Waker) -> Poll<Cancellation> {
        let mut state = self.cancel.state();
        if let Some(reason) = state.reason {
            return Poll::Ready(reason);
        }
        let replaced = state.waiting.wait(&mut self.place, waker);
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let left = self.cancel.state().waiting.leave(&mut self.place);
        drop(left);
    }
}
