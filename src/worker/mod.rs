//! The worker runtime: claims chunks, has your code work on them, keeps the claims alive and reports the results.
//!
//! A [`Worker`] runs on any async runtime or on none: its handlers are futures in the caller's own task, and what has
//! to happen on time (heartbeats, looking for work, reports) comes from one thread of its own.
//!
//! ```
//! # magnetar::block_on(async {
//! use magnetar::worker::{Context, Ending, Worker};
//! use magnetar::{Completion, JobStore, NewChunk};
//!
//! let store = magnetar::open(":memory:").await?;
//! let chunks = (0..20).map(|id| Ok(NewChunk::new(id)));
//! store.import(42, &Default::default(), magnetar::chunks(chunks), &Default::default()).await?;
//!
//! let handler = async |context: Context| {
//!     let square = context.chunk() * context.chunk();
//!     Ok::<_, magnetar::Error>(Completion::new().output(magnetar::Json::new(&square)?))
//! };
//! let summary = Worker::new(store.clone()).job(42).concurrency(8).run(handler).await?;
//! assert_eq!((summary.ending, summary.completed), (Ending::Finished, 20));
//! # Ok::<(), magnetar::Error>(())
//! # }).unwrap();
//! ```

mod context;
mod crew;
mod exchange;
mod progress;
mod pulse;
mod session;
mod shutdown;
mod summary;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

pub use context::{Cancellation, Context};
pub use progress::{Progress, Report};
pub use shutdown::Shutdown;
pub use summary::{Ending, Summary};

use crate::error::{Error, Result};
use crate::limits;
use crate::model::{ClaimRequest, Completion, check_job_id, check_lease_ms};
use crate::store::JobStore;
use crew::Crew;
use progress::Publisher;
use pulse::{Hold, Pulse};
use session::{Plan, Returned, Session};

/// Works on the chunks of a job, or of any job, until there is nothing left to do.
///
/// - What a handler returns completes its chunk. An error fails the attempt, and so does a panic; the chunk comes back
///   after its backoff until its attempts are used up.
/// - Claims are kept alive by heartbeats, however long a handler takes and even while it blocks.
/// - Finishing a chunk and claiming the next is one commit; chunks that finish at about the same time share it.
/// - The run ends when every chunk is done, failed or cancelled, or when what is left cannot start
///   ([`Ending::Stalled`]). While others still work on chunks, or some wait out a delay, it waits.
/// - A run that is dropped gives back what it holds. That is done in the background: it is over when the store tells
///   of the change.
#[derive(Debug)]
pub struct Worker {
    store: Arc<dyn JobStore>,
    plan: Plan,
    publisher: Publisher,
    report_every_ms: u64,
}

impl Worker {
    /// A worker on a store: any job, one chunk at a time.
    pub fn new(store: Arc<dyn JobStore>) -> Self {
        let plan = Plan {
            request: ClaimRequest::new(),
            concurrency: 1,
            keep_running: false,
            release_immediately: false,
            shutdown: Shutdown::new(),
        };
        Worker { store, plan, publisher: Publisher::default(), report_every_ms: 1_000 }
    }

    /// The same for one job only.
    #[must_use]
    pub fn job(mut self, job_id: i64) -> Self {
        self.plan.request.job_id = Some(job_id);
        self
    }

    /// The same with up to so many chunks at a time, 1 to [`limits::CLAIM_COUNT_MAX`].
    #[must_use]
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.plan.concurrency = concurrency;
        self
    }

    /// The same with a lease of its own, in milliseconds, instead of each job's. It is how long a chunk stays away when
    /// the whole process hangs or its machine is gone, not how long a handler may take.
    #[must_use]
    pub fn lease_ms(mut self, lease_ms: u64) -> Self {
        self.plan.request.lease_ms = Some(lease_ms);
        self
    }

    /// The same, waiting for new work when there is none, until it is asked to stop. The job may be one that is still to
    /// come.
    #[must_use]
    pub fn keep_running(mut self) -> Self {
        self.plan.keep_running = true;
        self
    }

    /// The same, stopping when this handle asks: no chunk is begun any more, handlers are told through
    /// [`Context::cancelled`], and the run ends once they have returned. What they complete counts; where one returns an
    /// error, its chunk is given back at no cost.
    ///
    /// ```
    /// # magnetar::block_on(async {
    /// use magnetar::worker::{Context, Ending, Shutdown, Worker};
    /// use magnetar::{Completion, JobStore, NewChunk};
    /// # let store = magnetar::open(":memory:").await?;
    /// # store.import(1, &Default::default(), magnetar::chunks([Ok(NewChunk::new(0))]), &Default::default()).await?;
    ///
    /// let stop = Shutdown::new();
    /// let handler = async |context: Context| {
    ///     stop.request(); // a signal handler's part
    ///     context.cancelled().await;
    ///     Err::<Completion, _>("interrupted")
    /// };
    /// let summary = Worker::new(store).job(1).shutdown(&stop).run(handler).await?;
    /// assert_eq!((summary.ending, summary.released), (Ending::Stopped, 1));
    /// # Ok::<(), magnetar::Error>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn shutdown(mut self, shutdown: &Shutdown) -> Self {
        self.plan.shutdown = shutdown.clone();
        self
    }

    /// The same, not waiting for handlers at a shutdown: they are dropped, and their chunks given back, at once.
    /// Handlers on threads of their own ([`Worker::run_blocking`]) cannot be dropped and go on, but count no more.
    #[must_use]
    pub fn release_immediately(mut self) -> Self {
        self.plan.release_immediately = true;
        self
    }

    /// The same with progress reports at most so often, in milliseconds. Default: 1,000.
    #[must_use]
    pub fn report_every_ms(mut self, report_every_ms: u64) -> Self {
        self.report_every_ms = report_every_ms;
        self
    }

    /// Reports of the run to come: one when it begins, then at most one per interval and only where something changed,
    /// and one at its end.
    ///
    /// ```
    /// # magnetar::block_on(async {
    /// use magnetar::worker::{Context, Worker};
    /// use magnetar::{Completion, JobStore, NewChunk};
    /// # let store = magnetar::open(":memory:").await?;
    /// # store.import(1, &Default::default(), magnetar::chunks([Ok(NewChunk::new(0))]), &Default::default()).await?;
    ///
    /// let worker = Worker::new(store).job(1);
    /// let mut progress = worker.progress();
    /// let watching = async {
    ///     while let Some(report) = progress.next().await {
    ///         println!("{report}");
    ///     }
    /// };
    /// let running = worker.run(async |_: Context| Ok::<_, String>(Completion::new()));
    /// let (summary, ()) = futures_util::future::join(running, watching).await;
    /// assert_eq!(summary?.completed, 1);
    /// # Ok::<(), magnetar::Error>(())
    /// # }).unwrap();
    /// ```
    pub fn progress(&self) -> Progress {
        self.publisher.progress()
    }

    /// Runs handlers as futures, all of them in the task that polls this one. It may go to another thread (`tokio::spawn`)
    /// where the handler is `Send` and `Sync` and its futures are `Send`.
    ///
    /// The errors are the store's: whatever it held by then was given back where the store still could. What handlers
    /// return is the store's business (retries), never an error of the run; its text is kept as `{:#}` writes it, which of some
    /// types of errors is the whole chain. A job that is not there, or is deleted
    /// meanwhile, is [`crate::ErrorKind::JobNotFound`], unless it is to [keep running](Self::keep_running).
    pub async fn run<H, R, E>(self, handler: H) -> Result<Summary>
    where
        H: Fn(Context) -> R,
        R: Future<Output = Result<Completion, E>>,
        E: Display,
    {
        let handler = &handler;
        let start = |context: Context, hold: Hold| async move {
            // A handler that panicked is not called on again for this chunk; what it shares with others is its own care.
            // Its error's own words are its business too.
            let work = async { handler(context).await.map_err(|error| format!("{error:#}")) };
            let returned = match AssertUnwindSafe(work).catch_unwind().await {
                Ok(result) => Returned::Result(result),
                Err(panic) => Returned::Panicked(crew::text_of(&*panic)),
            };
            (hold, returned)
        };
        self.session(start)?.run().await
    }

    /// Runs handlers that block, each on a thread of its own; the future itself does not block.
    ///
    /// ```
    /// use magnetar::worker::{Context, Worker};
    /// use magnetar::{Completion, JobStore, NewChunk, block_on};
    ///
    /// # fn main() -> magnetar::Result<()> {
    /// let store = block_on(magnetar::open(":memory:"))?;
    /// let chunks = (0..4).map(|id| Ok(NewChunk::new(id)));
    /// block_on(store.import(1, &Default::default(), magnetar::chunks(chunks), &Default::default()))?;
    ///
    /// let worker = Worker::new(store).job(1).concurrency(4);
    /// let summary = block_on(worker.run_blocking(|context: &Context| {
    ///     if context.is_cancelled() { Err("stopped") } else { Ok(Completion::new()) }
    /// }))?;
    /// assert_eq!(summary.completed, 4);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn run_blocking<H, E>(self, handler: H) -> Result<Summary>
    where
        H: Fn(&Context) -> Result<Completion, E> + Send + Sync + 'static,
        E: Display,
    {
        self.check()?;
        let handler = move |context: &Context| handler(context).map_err(|error| format!("{error:#}"));
        let crew = &Crew::start(self.plan.concurrency, handler)?;
        let start = |context: Context, hold: Hold| {
            let returned = crew.hand(context, hold);
            async move { returned.await.expect("a thread of the crew answers, whatever its handler does") }
        };
        self.session(start)?.run().await
    }

    fn check(&self) -> Result<()> {
        if let Some(job) = self.plan.request.job_id {
            check_job_id(job)?;
        }
        if let Some(lease_ms) = self.plan.request.lease_ms {
            check_lease_ms(lease_ms)?;
        }
        if (1..=limits::CLAIM_COUNT_MAX).contains(&self.plan.concurrency) {
            return Ok(());
        }
        let text = format!(
            "a concurrency of {} is out of range: use 1 to {}",
            self.plan.concurrency,
            limits::CLAIM_COUNT_MAX
        );
        Err(Error::invalid(text))
    }

    fn session<S, F>(self, start: S) -> Result<Session<S, F>>
    where
        S: Fn(Context, Hold) -> F,
        F: Future<Output = (Hold, Returned)>,
    {
        self.check()?;
        let Worker { store, plan, publisher, report_every_ms } = self;
        let every = Duration::from_millis(report_every_ms.max(1));
        let pulse =
            Pulse::start(Arc::clone(&store), plan.request.job_id, plan.shutdown.clone(), publisher, every)?;
        Ok(Session::new(store, plan, pulse, start))
    }
}
