//! One run: the loop between handlers and store, driven by whoever polls it.
//!
//! At most one exchange with the store is under way; what finishes meanwhile goes with the next one, so that a busy
//! worker ends and begins many chunks in one commit.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::{Future, poll_fn};
use std::mem::take;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as Task, Poll};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::context::{Cancellation, Context};
use super::exchange::{Became, Claimed, End, Exchanged, Finished, UnderWay, exchange, is_wrong_result};
use super::progress::standing;
use super::pulse::{Hold, Pulse, is_about_claim};
use super::shutdown::Shutdown;
use super::summary::{Ending, Summary};
use crate::clock::monotonic;
use crate::commit::Watch;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::model::{Claim, ClaimRequest, Completion, JobStats};
use crate::retry;
use crate::store::JobStore;

/// Between two looks for work that nothing here tells of (another process's changes, over leases): at first, and at most.
const LOOK_AFTER: Duration = Duration::from_millis(200);
const LOOK_AFTER_MAX: Duration = Duration::from_secs(1);

/// The wait after the store said "later" for the first time; it doubles up to the second, and so often it is tried.
const LATER_AFTER: Duration = Duration::from_millis(50);
const LATER_AFTER_MAX: Duration = Duration::from_secs(5);
pub(super) const LATER_TIMES: u32 = 12;

type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What a handler came to.
pub(super) enum Returned {
    Result(Result<Completion, String>),
    Panicked(String),
}

/// A chunk that failed here and comes back.
struct Retried {
    job: i64,
    chunk: u64,
    failures: u32,
    /// Its failure was answered by then.
    at: Instant,
}

/// When a chunk comes back that is delayed. One millisecond more, for the part of one that the store's clock does not show.
fn comeback(answered: Instant, delay_ms: u64) -> Instant {
    answered + Duration::from_millis(delay_ms + 1)
}

/// When chunks come back, by what their jobs say of the wait. A job is asked about once, however many of its chunks failed.
async fn comebacks(store: Arc<dyn JobStore>, mut retried: Vec<Retried>) -> Vec<Instant> {
    retried.sort_unstable_by_key(|one| one.job);
    let mut comebacks = Vec::with_capacity(retried.len());
    for of_job in retried.chunk_by(|a, b| a.job == b.job) {
        // Where it cannot be told, it is looked for work soon all the same.
        let Ok(job) = store.get_job(of_job[0].job).await else { continue };
        let backoff = job.spec.backoff.unwrap_or_default();
        comebacks.extend(
            of_job
                .iter()
                .map(|one| comeback(one.at, retry::delay_ms(backoff, one.job, one.chunk, one.failures))),
        );
    }
    comebacks
}

/// How a run is to go.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) request: ClaimRequest,
    pub(super) concurrency: usize,
    pub(super) keep_running: bool,
    pub(super) release_immediately: bool,
    pub(super) shutdown: Shutdown,
}

/// What the run waits for before it talks to the store again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Nothing.
    Awake,
    /// There was nothing to claim: until something changes, or it is time to look.
    Dry,
    /// The store is busy: until the time has come.
    Later,
}

pub(super) struct Session<S, F: Future> {
    // Handlers end first; what they held is given back then.
    running: FuturesUnordered<F>,
    start: S,
    pub(super) finished: Vec<Finished>,
    exchange: Option<(Arc<UnderWay>, usize)>,
    look: Option<Pending<Result<JobStats>>>,
    /// A look since the run went dry found nothing that ends it.
    looked: bool,
    rest: Rest,
    /// The store has changed since the last claim was begun.
    changed: bool,
    look_after: Duration,
    laters: u32,
    /// When it is looked for work in any case.
    look_at: Instant,
    /// Chunks that failed here and come back.
    retried: Vec<Retried>,
    /// When some of them do.
    asking: Option<Pending<Vec<Instant>>>,
    /// When those come back of which that is known.
    pub(super) comebacks: BinaryHeap<Reverse<Instant>>,
    /// What was running was dropped, for a shutdown that does not wait.
    given_up: bool,
    summary: Summary,
    plan: Plan,
    watch: Watch,
    store: Arc<dyn JobStore>,
    pulse: Pulse,
}

impl<S, F> Session<S, F>
where
    S: Fn(Context, Hold) -> F,
    F: Future<Output = (Hold, Returned)>,
{
    pub(super) fn new(store: Arc<dyn JobStore>, plan: Plan, pulse: Pulse, start: S) -> Self {
        Session {
            running: FuturesUnordered::new(),
            start,
            finished: Vec::new(),
            exchange: None,
            look: None,
            looked: false,
            rest: Rest::Awake,
            changed: false,
            look_after: LOOK_AFTER,
            laters: 0,
            look_at: monotonic(),
            retried: Vec::new(),
            asking: None,
            comebacks: BinaryHeap::new(),
            given_up: false,
            summary: Summary::new(),
            plan,
            watch: store.watch(),
            store,
            pulse,
        }
    }

    /// Works until there is nothing left to do, or until it is asked to stop.
    pub(super) async fn run(mut self) -> Result<Summary> {
        let ended = poll_fn(|task| self.poll(task)).await;
        let Session { running, finished, exchange, pulse, mut summary, .. } = self;
        drop((running, finished, exchange));
        summary.released += pulse.finish().await;
        summary.ending = ended?;
        Ok(summary)
    }

    fn poll(&mut self, task: &mut Task<'_>) -> Poll<Result<Ending>> {
        let news = self.pulse.news(task.waker());
        if let Some(failure) = news.failure {
            return Poll::Ready(Err(failure));
        }
        if news.ticked {
            self.rest = Rest::Awake;
        }
        self.changed |= pin!(self.watch.changed()).poll(task).is_ready();
        loop {
            if self.changed && self.rest == Rest::Dry {
                self.rest = Rest::Awake;
            }
            while let Poll::Ready(Some((hold, returned))) = self.running.poll_next_unpin(task) {
                self.take_back(hold, returned);
            }
            if self.is_stopping() && self.plan.release_immediately && !self.given_up {
                self.given_up = true;
                self.running.clear();
                self.pulse.let_running_go();
            }
            let mut exchanged = false;
            if let Some((exchange, wanted)) = &self.exchange
                && let Poll::Ready(answers) = exchange.poll(task)
            {
                let wanted = *wanted;
                self.exchange = None;
                self.take_in(answers, wanted)?;
                exchanged = true;
            }
            self.ask_for_comebacks();
            if let Some(asking) = &mut self.asking
                && let Poll::Ready(comebacks) = asking.as_mut().poll(task)
            {
                self.asking = None;
                self.take_in_comebacks(comebacks);
            }
            if let Some(look) = &mut self.look
                && let Poll::Ready(stats) = look.as_mut().poll(task)
            {
                self.look = None;
                if let Some(ending) = self.ending(stats)? {
                    return Poll::Ready(Ok(ending));
                }
            }
            if self.is_stopping() && self.is_idle() {
                return Poll::Ready(Ok(Ending::Stopped));
            }
            if exchanged {
                // Others in this task get their turn, however fast the handlers are.
                task.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !self.go_on() {
                return Poll::Pending;
            }
        }
    }

    fn is_stopping(&self) -> bool {
        self.plan.shutdown.is_requested()
    }

    fn is_idle(&self) -> bool {
        self.running.is_empty() && self.finished.is_empty() && self.exchange.is_none()
    }

    /// Begins the next exchange or look, where there is reason to. `false` where there is only to wait.
    pub(super) fn go_on(&mut self) -> bool {
        if self.exchange.is_some() || self.look.is_some() || self.rest == Rest::Later {
            return false;
        }
        // What has been finished may have freed others.
        let free = self.plan.concurrency - self.running.len();
        let wanted = match self.rest {
            _ if self.is_stopping() => 0,
            Rest::Dry if self.finished.is_empty() => 0,
            _ => free,
        };
        if wanted > 0 || !self.finished.is_empty() {
            let request = (wanted > 0).then(|| ClaimRequest { count: wanted, ..self.plan.request.clone() });
            let finished = take(&mut self.finished);
            if wanted > 0 {
                self.changed = false;
            }
            let exchanging = exchange(Arc::clone(&self.store), self.pulse.keeper(), finished, request);
            let under_way = UnderWay::new(exchanging);
            self.pulse.watch_over(&under_way);
            self.exchange = Some((under_way, wanted));
            return true;
        }
        if self.rest == Rest::Dry
            && self.is_idle()
            && !self.looked
            && !self.plan.keep_running
            && !self.is_stopping()
        {
            let (store, job) = (Arc::clone(&self.store), self.plan.request.job_id);
            self.look = Some(Box::pin(async move { standing(&*store, job).await }));
            return true;
        }
        false
    }

    /// A handler has returned.
    fn take_back(&mut self, hold: Hold, returned: Returned) {
        let end = match (hold.cancel().reason(), returned) {
            // The store would refuse it.
            (Some(Cancellation::Superseded), _) => {
                self.summary.superseded += 1;
                return hold.settle();
            }
            (reason, Returned::Result(Err(text))) => match (hold.cancel().said(), reason) {
                (Some(said), _) => End::as_said(said, text),
                (None, Some(_)) => End::Release,
                (None, None) => End::Fail(text),
            },
            (_, Returned::Result(Ok(completion))) => End::of(completion),
            (_, Returned::Panicked(text)) => End::Fail(format!("the handler panicked: {text}")),
        };
        hold.returned();
        self.finished.push(Finished { hold, end });
    }

    /// The store has answered.
    pub(super) fn take_in(&mut self, answers: Exchanged, wanted: usize) -> Result<()> {
        let mut later = None;
        let mut fatal = None;
        for (one, answer) in answers.settled {
            match answer {
                Ok(became) => {
                    self.count(became, &one);
                    one.hold.settle();
                }
                Err(error) if error.retry() == Retry::Later => {
                    later = Some(error);
                    self.finished.push(one);
                }
                Err(error) if is_about_claim(&error) => {
                    self.summary.superseded += 1;
                    one.hold.settle();
                }
                Err(error) if is_wrong_result(&error) && matches!(one.end, End::Complete(_)) => {
                    self.finished.push(Finished { hold: one.hold, end: End::Fail(error.to_string()) });
                }
                Err(error) => fatal = Some(error),
            }
        }
        let claimed = match answers.claimed {
            None => None,
            Some(Ok(claims)) => Some(claims),
            Some(Err(error)) if error.retry() == Retry::Later => {
                later = Some(error);
                None
            }
            // It may be still to come, or come again.
            Some(Err(error)) if self.plan.keep_running && error.kind() == ErrorKind::JobNotFound => {
                Some(Vec::new())
            }
            Some(Err(error)) => {
                fatal = Some(error);
                None
            }
        };
        let any = claimed.as_ref().is_some_and(|claims| !claims.is_empty());
        let short = claimed.as_ref().is_some_and(|claims| claims.len() < wanted);
        for claimed in claimed.into_iter().flatten() {
            self.begin(claimed);
        }
        if let Some(error) = fatal {
            return Err(error);
        }
        self.rest(later, any, short)
    }

    /// Works on a chunk, or gives it back at once where it was claimed just before a shutdown.
    fn begin(&mut self, (state, hold): Claimed) {
        if self.is_stopping() {
            return;
        }
        let context = Context::new(state, Arc::clone(hold.cancel()));
        self.running.push((self.start)(context, hold));
    }

    fn count(&mut self, became: Became, one: &Finished) {
        match became {
            Became::Completed => self.summary.completed += 1,
            Became::Failed => self.summary.failed += 1,
            Became::Released => self.summary.released += 1,
            Became::Retried => self.summary.retried += 1,
        }
        if matches!(became, Became::Failed) {
            return;
        }
        match one.end {
            End::FailWithDelay(_, delay_ms) | End::ReleaseWithDelay(delay_ms) => {
                let now = monotonic();
                self.next_comeback(now);
                self.comebacks.push(Reverse(comeback(now, delay_ms)));
            }
            End::Fail(_) => {
                let Claim { job_id, chunk, .. } = one.hold.claim();
                let failures = one.hold.failures();
                self.retried.push(Retried { job: job_id, chunk, failures, at: monotonic() });
            }
            End::Complete(_) | End::Release | End::FailPermanently(_) => {}
        }
    }

    /// Asks when the chunks come back that have failed since it was asked last.
    fn ask_for_comebacks(&mut self) {
        if self.asking.is_none() && !self.retried.is_empty() {
            self.asking = Some(Box::pin(comebacks(Arc::clone(&self.store), take(&mut self.retried))));
        }
    }

    /// Forgets the moments that have passed, and gives the next one.
    fn next_comeback(&mut self, now: Instant) -> Option<Instant> {
        while self.comebacks.peek().is_some_and(|Reverse(at)| *at <= now) {
            self.comebacks.pop();
        }
        self.comebacks.peek().map(|Reverse(at)| *at)
    }

    /// Has the run woken when it is time to look for work: what is ready then may be told by nobody.
    fn tick(&mut self, now: Instant) {
        let comeback = self.next_comeback(now);
        self.pulse.tick_at(comeback.map_or(self.look_at, |comeback| self.look_at.min(comeback)));
    }

    fn take_in_comebacks(&mut self, comebacks: Vec<Instant>) {
        let now = monotonic();
        self.next_comeback(now);
        self.comebacks.extend(comebacks.into_iter().map(Reverse));
        if self.rest == Rest::Dry {
            self.tick(now);
        }
    }

    /// Settles what to wait for after an exchange.
    fn rest(&mut self, later: Option<Error>, claimed_any: bool, short: bool) -> Result<()> {
        let now = monotonic();
        if let Some(error) = later {
            if self.laters == LATER_TIMES {
                return Err(error);
            }
            tracing::debug!(%error, "the store cannot do it now; trying again");
            let wait = LATER_AFTER.saturating_mul(1 << self.laters).min(LATER_AFTER_MAX);
            self.laters += 1;
            self.rest = Rest::Later;
            self.pulse.tick_at(now + wait);
            return Ok(());
        }
        self.laters = 0;
        if claimed_any {
            self.look_after = LOOK_AFTER;
        }
        self.rest = Rest::Awake;
        if short {
            self.rest = Rest::Dry;
            self.looked = false;
            self.look_at = now + self.look_after;
            self.look_after = (self.look_after * 3 / 2).min(LOOK_AFTER_MAX);
            self.tick(now);
        }
        Ok(())
    }

    /// Whether there is nothing left to do.
    pub(super) fn ending(&mut self, stats: Result<JobStats>) -> Result<Option<Ending>> {
        self.looked = true;
        let stats = match stats {
            Ok(stats) => stats,
            // It is time to look again soon enough.
            Err(error) if error.retry() == Retry::Later => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(if stats.is_finished() {
            Some(Ending::Finished)
        } else if stats.is_stalled() {
            Some(Ending::Stalled)
        } else {
            None
        })
    }
}
