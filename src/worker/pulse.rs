//! The worker's own thread: it keeps claims alive, gives back what was let go, and tells the time.
//!
//! It shares nothing with the caller's runtime, so that a handler that blocks cannot starve it, and a run that is
//! dropped in the middle still gives back what it held.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use futures_channel::oneshot;

use super::context::{Cancel, Cancellation};
use super::exchange::UnderWay;
use super::progress::{Publisher, standing};
use super::shutdown::Shutdown;
use foldhash::HashMap;

use crate::clock::monotonic;
use crate::commit::{Watch, block_on, wake};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::limits;
use crate::model::{ChunkUpdate, Claim, JobState, JobStatus, Outcome};
use crate::retry;
use crate::store::JobStore;

/// Heartbeats within one lease: two may be missed.
const BEATS_PER_LEASE: u32 = 3;

/// Where the store changes, claims are looked at, at most so often and so many at once: a cancelled chunk's handler need not
/// work on until its next heartbeat.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const LOOKS_MAX: usize = 64;

/// An exchange whose answers nobody has taken after this is brought on by the thread: well within the shortest lease.
const BRING_ON_AFTER: Duration = Duration::from_millis(200);

/// A heartbeat or release that the store was too busy for is sent again after this.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Releases are sent at most so often; after that the leases decide.
const RELEASES_MAX: u32 = 20;

/// What happened since the run looked last.
#[derive(Debug, Default)]
pub(super) struct News {
    /// The moment that the run asked to be woken at has come.
    pub(super) ticked: bool,
    /// The store cannot go on.
    pub(super) failure: Option<Error>,
}

#[derive(Default)]
struct State {
    held: HashMap<Claim, Held>,
    /// What the run's task has asked the store last.
    exchange: Weak<UnderWay>,
    /// When it is looked whether that task still is at it.
    exchange_at: Option<Instant>,
    let_go: Vec<Claim>,
    released: u64,
    beat_at: Option<Instant>,
    tick_at: Option<Instant>,
    news: News,
    waker: Option<Waker>,
    stopping: bool,
    /// The run is over: the thread ends with the last claim.
    over: bool,
}

#[derive(Debug)]
struct Held {
    cancel: Arc<Cancel>,
    period: Duration,
    /// Its handler has returned: what is left is telling the store.
    returned: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    thread: OnceLock<Thread>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("thread", &self.thread).finish_non_exhaustive()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// A run's hold on its thread. Dropped, it cancels what is running; the thread gives back what nobody works on any more.
#[derive(Debug)]
pub(super) struct Pulse {
    shared: Arc<Shared>,
    ended: Option<oneshot::Receiver<()>>,
}

impl Pulse {
    pub(super) fn start(
        store: Arc<dyn JobStore>,
        job: Option<i64>,
        shutdown: Shutdown,
        publisher: Publisher,
        report_every: Duration,
    ) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let (end, ended) = oneshot::channel();
        let beating = Beating {
            watch: store.watch(),
            look_at: None,
            looked_at: None,
            looked: None,
            late: Weak::new(),
            store,
            job,
            shared: Arc::clone(&shared),
            shutdown,
            publisher,
            report_every,
            report_at: None,
        };
        let thread = std::thread::Builder::new().name("magnetar-worker".into()).spawn(move || {
            beating.run();
            // Nobody waits for it where the run was dropped.
            let _ = end.send(());
        });
        let thread = thread.map_err(|e| {
            Error::new(ErrorKind::Io, format!("the worker's thread could not be started: {e}")).caused_by(e)
        })?;
        shared.thread.get_or_init(|| thread.thread().clone());
        Ok(Pulse { shared, ended: Some(ended) })
    }

    /// What keeps claims alive from the moment at which the store answers with them.
    pub(super) fn keeper(&self) -> Keeper {
        Keeper(Arc::clone(&self.shared))
    }

    /// What happened since the last look; the task is woken for more.
    pub(super) fn news(&self, waker: &Waker) -> News {
        let mut state = self.shared.state();
        if !state.waker.as_ref().is_some_and(|other| other.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
        std::mem::take(&mut state.news)
    }

    /// Wakes the run's task then, instead of at the moment asked for before.
    pub(super) fn tick_at(&self, at: Instant) {
        {
            let mut state = self.shared.state();
            state.tick_at = Some(at);
            state.news.ticked = false;
        }
        self.shared.unpark();
    }

    /// Looks after an exchange where the run's task does not.
    pub(super) fn watch_over(&self, under_way: &Arc<UnderWay>) {
        let sooner = {
            let mut state = self.shared.state();
            state.exchange = Arc::downgrade(under_way);
            let sooner = state.exchange_at.is_none();
            state.exchange_at.get_or_insert(under_way.began + BRING_ON_AFTER);
            sooner
        };
        if sooner {
            self.shared.unpark();
        }
    }

    /// Gives back what handlers are still at: they are cancelled.
    pub(super) fn let_running_go(&self) {
        let cancelled: Vec<(Claim, Held)> = {
            let mut state = self.shared.state();
            let running: Vec<_> = state.held.extract_if(|_, held| !held.returned).collect();
            state.let_go.extend(running.iter().map(|(claim, _)| claim));
            running
        };
        for (_, held) in &cancelled {
            held.cancel.set(Cancellation::Shutdown);
        }
        self.shared.unpark();
    }

    /// Ends the thread, once what was let go is given back. Says how much that was.
    pub(super) async fn finish(mut self) -> u64 {
        self.let_running_go();
        self.end();
        if let Some(ended) = self.ended.take() {
            // An error is a thread that panicked: it is gone all the same.
            let _ = ended.await;
        }
        self.shared.state().released
    }

    fn end(&self) {
        let cancels: Vec<_> = {
            let mut state = self.shared.state();
            state.over = true;
            state.waker = None;
            state.held.values().map(|held| Arc::clone(&held.cancel)).collect()
        };
        for cancel in &cancels {
            cancel.set(Cancellation::Shutdown);
        }
        self.shared.unpark();
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.end();
    }
}

/// Keeps claims alive.
#[derive(Debug)]
pub(super) struct Keeper(Arc<Shared>);

impl Keeper {
    /// Keeps a claim alive for as long as what is returned lives.
    pub(super) fn hold(&self, state: &JobState) -> Hold {
        let claim = state.claim();
        let lease_ms = state.lease.map_or(limits::LEASE_MS_DEFAULT, |lease| lease.duration_ms);
        let period = Duration::from_millis(lease_ms) / BEATS_PER_LEASE;
        let cancel = Arc::new(Cancel::default());
        let at = monotonic() + period;
        let sooner = {
            let mut state = self.0.state();
            state.held.insert(claim, Held { cancel: Arc::clone(&cancel), period, returned: false });
            let sooner = state.beat_at.is_none_or(|beat| at < beat);
            if sooner {
                state.beat_at = Some(at);
            }
            sooner
        };
        if sooner {
            self.0.unpark();
        }
        let failures = state.attempts.saturating_add(1);
        let is_last = retry::is_spent(failures, state.attempts_max);
        Hold { claim, failures, is_last, cancel, shared: Arc::clone(&self.0) }
    }
}

/// Somebody works on a claim. Dropped before it is settled, the claim is given back.
#[derive(Debug)]
pub(super) struct Hold {
    claim: Claim,
    failures: u32,
    is_last: bool,
    cancel: Arc<Cancel>,
    shared: Arc<Shared>,
}

impl Hold {
    pub(super) fn claim(&self) -> Claim {
        self.claim
    }

    /// The chunk's failed attempts, once this one fails too.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether this is the last attempt that the chunk has, by what was the limit when it was claimed.
    pub(super) fn is_last(&self) -> bool {
        self.is_last
    }

    pub(super) fn cancel(&self) -> &Arc<Cancel> {
        &self.cancel
    }

    /// The handler has returned.
    pub(super) fn returned(&self) {
        if let Some(held) = self.shared.state().held.get_mut(&self.claim) {
            held.returned = true;
        }
    }

    /// The claim has ended in the store: there is nothing to give back.
    pub(super) fn settle(self) {
        self.shared.state().held.remove(&self.claim);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state();
            if state.held.remove(&self.claim).is_none() {
                return;
            }
            state.let_go.push(self.claim);
        }
        self.shared.unpark();
    }
}

/// Wakes the thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The thread's side.
struct Beating {
    store: Arc<dyn JobStore>,
    watch: Watch,
    /// When claims are looked at next: the store has changed.
    look_at: Option<Instant>,
    looked_at: Option<Instant>,
    /// The last one that was looked at: the next look goes on behind it.
    looked: Option<(i64, u64)>,
    /// An exchange that the run's task does not look after.
    late: Weak<UnderWay>,
    job: Option<i64>,
    shared: Arc<Shared>,
    shutdown: Shutdown,
    publisher: Publisher,
    report_every: Duration,
    report_at: Option<Instant>,
}

/// What there is to do now.
enum Next {
    Release(Vec<Claim>),
    Beat(Vec<Claim>),
    Look(Vec<Claim>),
    Report,
    Sleep(Option<Instant>),
    End,
}

impl Beating {
    fn run(mut self) {
        let thread = std::thread::current();
        self.shutdown.listen(thread.clone());
        let waker = Waker::from(Arc::new(Unpark(thread.clone())));
        loop {
            self.pass_on_shutdown();
            self.hear_of_changes(&waker);
            self.bring_on(&waker);
            match self.next(monotonic()) {
                Next::Release(claims) => self.release(claims),
                Next::Beat(claims) => self.beat(&claims),
                Next::Look(claims) => self.look(&claims),
                Next::Report => {
                    self.report();
                    self.report_at = Some(monotonic() + self.report_every);
                }
                // An unpark that came before the sleep ends it at once.
                Next::Sleep(None) => std::thread::park(),
                Next::Sleep(Some(until)) => {
                    std::thread::park_timeout(until.saturating_duration_since(monotonic()));
                }
                Next::End => break,
            }
        }
        self.shutdown.forget(&thread);
        if self.publisher.is_wanted() {
            self.report();
        }
    }

    fn pass_on_shutdown(&self) {
        if !self.shutdown.is_requested() {
            return;
        }
        let (waker, cancels) = {
            let mut state = self.shared.state();
            if state.stopping {
                return;
            }
            state.stopping = true;
            let cancels: Vec<_> = state.held.values().map(|held| Arc::clone(&held.cancel)).collect();
            (state.waker.take(), cancels)
        };
        for cancel in &cancels {
            cancel.set(Cancellation::Shutdown);
        }
        wake(waker);
    }

    /// A change is looked at soon, but not each by itself.
    fn hear_of_changes(&mut self, waker: &Waker) {
        let mut task = Context::from_waker(waker);
        while let Poll::Ready(Some(_)) = pin!(self.watch.changed()).poll(&mut task) {
            if self.look_at.is_none() {
                let now = monotonic();
                self.look_at = Some(self.looked_at.map_or(now, |at| now.max(at + LOOK_EVERY)));
            }
        }
    }

    /// Has the store's answers held though the run's task cannot take them just now.
    fn bring_on(&mut self, waker: &Waker) {
        let now = monotonic();
        // Whoever drops an exchange last drops claims with it, which takes the lock.
        let exchange = {
            let mut state = self.shared.state();
            let is_due = state.exchange_at.is_some_and(|at| at <= now);
            is_due.then(|| state.exchange_at = None).and_then(|()| state.exchange.upgrade())
        };
        if let Some(exchange) = exchange {
            let mut at = exchange.began + BRING_ON_AFTER;
            if at <= now {
                self.late = Arc::downgrade(&exchange);
                // Whoever polls it after this has its waker in the place of ours.
                at = now + BRING_ON_AFTER;
            }
            self.shared.state().exchange_at.get_or_insert(at);
        }
        let Some(late) = self.late.upgrade() else { return };
        if late.bring_on(&mut Context::from_waker(waker)) {
            let waker = self.shared.state().waker.take();
            wake(waker);
        }
    }

    fn next(&mut self, now: Instant) -> Next {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        if !state.let_go.is_empty() {
            return Next::Release(std::mem::take(&mut state.let_go));
        }
        if state.held.is_empty() {
            state.beat_at = None;
            if state.over {
                return Next::End;
            }
        }
        if due(state.beat_at) {
            state.beat_at = state.held.values().map(|held| now + held.period).min();
            return Next::Beat(state.held.keys().copied().collect());
        }
        if due(self.look_at) {
            self.looked_at = Some(now);
            let running = state
                .held
                .iter()
                .filter(|(_, held)| !held.returned && held.cancel.reason() != Some(Cancellation::Superseded));
            let place = |claim: &Claim| (claim.job_id, claim.chunk);
            let mut claims: Vec<Claim> = running.map(|(claim, _)| *claim).collect();
            claims.retain(|claim| self.looked.is_none_or(|looked| place(claim) > looked));
            claims.sort_unstable_by_key(place);
            let are_all = claims.len() <= LOOKS_MAX;
            claims.truncate(LOOKS_MAX);
            // From the first again with the next change, or on behind these soon.
            self.looked = claims.last().filter(|_| !are_all).map(place);
            self.look_at = self.looked.map(|_| now + LOOK_EVERY);
            return Next::Look(claims);
        }
        if due(state.tick_at) {
            state.tick_at = None;
            state.news.ticked = true;
            let waker = state.waker.take();
            drop(state);
            wake(waker);
            return self.next(now);
        }
        let reporting = self.publisher.is_wanted() && !state.over;
        if reporting && self.report_at.is_none_or(|at| at <= now) {
            return Next::Report;
        }
        let report_at = self.report_at.filter(|_| reporting);
        let look_at = self.look_at.filter(|_| !state.held.is_empty());
        let times = [state.beat_at, state.tick_at, state.exchange_at, look_at, report_at];
        Next::Sleep(times.into_iter().flatten().min())
    }

    /// Looks whether chunks are as they were claimed. Of those that are not a heartbeat at once tells what that means for the
    /// claim.
    fn look(&self, claims: &[Claim]) {
        let is_other = |claim: &&Claim| {
            let found = block_on(self.store.get_chunk(claim.job_id, claim.chunk));
            !matches!(found, Ok(Some(chunk)) if chunk.fence == claim.fence && chunk.status == JobStatus::Processing)
        };
        let others: Vec<Claim> = claims.iter().filter(is_other).copied().collect();
        self.beat(&others);
    }

    /// Extends all claims, those of one job in one commit.
    fn beat(&self, claims: &[Claim]) {
        for (claim, answer) in self.update(claims, ChunkUpdate::Heartbeat) {
            let Err(error) = answer else { continue };
            match error.retry() {
                Retry::Later => {
                    let mut state = self.shared.state();
                    let again = monotonic() + AGAIN_AFTER;
                    state.beat_at = Some(state.beat_at.map_or(again, |at| at.min(again)));
                }
                Retry::Never if is_about_claim(&error) => {
                    let cancel = self.shared.state().held.get(&claim).map(|held| Arc::clone(&held.cancel));
                    if let Some(cancel) = cancel {
                        cancel.set(Cancellation::Superseded);
                    }
                }
                _ => {
                    let waker = {
                        let mut state = self.shared.state();
                        state.news.failure = Some(error);
                        state.waker.take()
                    };
                    wake(waker);
                    return;
                }
            }
        }
    }

    fn release(&self, mut claims: Vec<Claim>) {
        for _ in 0..RELEASES_MAX {
            let mut left = Vec::new();
            for (claim, answer) in self.update(&claims, ChunkUpdate::Release) {
                match answer {
                    Ok(Outcome::Changed) => self.shared.state().released += 1,
                    Ok(Outcome::Unchanged) => {}
                    Err(error) if error.retry() == Retry::Later => left.push(claim),
                    Err(error) if is_about_claim(&error) => {}
                    Err(error) => tracing::warn!(?claim, %error, "a claim was not given back; it lapses"),
                }
            }
            if left.is_empty() {
                return;
            }
            claims = left;
            rest(AGAIN_AFTER);
        }
        tracing::warn!(claims = claims.len(), "the store is too busy to take claims back; they lapse");
    }

    fn update(&self, claims: &[Claim], update: fn(Claim) -> ChunkUpdate) -> Vec<(Claim, Result<Outcome>)> {
        let mut claims = claims.to_vec();
        claims.sort_unstable_by_key(|claim| (claim.job_id, claim.chunk));
        let mut answered = Vec::with_capacity(claims.len());
        for of_job in claims.chunk_by(|a, b| a.job_id == b.job_id) {
            for part in of_job.chunks(limits::BATCH_UPDATES_MAX) {
                let updates = part.iter().map(|&claim| update(claim)).collect();
                match block_on(self.store.apply_batch_updates(part[0].job_id, updates)) {
                    Ok(answers) => answered.extend(part.iter().copied().zip(answers)),
                    Err(error) => answered.extend(part.iter().map(|&claim| (claim, Err(error.clone())))),
                }
            }
        }
        answered
    }

    fn report(&mut self) {
        match block_on(standing(&*self.store, self.job)) {
            Ok(stats) => self.publisher.publish(monotonic(), self.job, stats),
            Err(error) => tracing::debug!(%error, "no progress report"),
        }
    }
}

/// Sleeps for so long. Whoever unparks the thread meanwhile ends no more than a part of it.
fn rest(time: Duration) {
    let until = monotonic() + time;
    while let Some(left) = until.checked_duration_since(monotonic()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

/// Whether an error says that this claim has no future, and nothing of the store as a whole.
pub(super) fn is_about_claim(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Superseded
            | ErrorKind::ChunkNotFound
            | ErrorKind::JobNotFound
            | ErrorKind::ResultConflict
            | ErrorKind::Refused
    )
}
