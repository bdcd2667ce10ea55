//! A seeded script of everything a store is asked to do, one acknowledged step after the other, with the state after
//! each.
#![allow(dead_code, reason = "the suites of both engines share it, and each uses a part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use magnetar::{
    Backoff, ChunkUpdate, Claim, ClaimRequest, Clock, Completion, DependencyFailure, Durability,
    ImportOptions, JobSpec, JobStore, Json, NewChunk, OnConflict, OnMissing, OpenOptions, OwnerId,
    ResetReach, Result, Retry, Selection, block_on, chunks,
};

use crate::state::State;

/// The client that works through a script.
pub(crate) const OWNER: OwnerId = OwnerId::from_bytes([7; 16]);

/// A clock that moves when it is told to.
#[derive(Debug, Clone)]
pub(crate) struct Hand(Arc<AtomicU64>);

impl Hand {
    pub(crate) fn at(now_ms: u64) -> Self {
        Hand(Arc::new(AtomicU64::new(now_ms)))
    }

    fn advance(&self, by_ms: u64) {
        self.0.fetch_add(by_ms, Ordering::Relaxed);
    }
}

impl Clock for Hand {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

pub(crate) fn options(owner: OwnerId, clock: &Hand) -> OpenOptions {
    OpenOptions::new().owner(owner).clock(Arc::new(clock.clone())).cache_bytes(1 << 20)
}

/// A step that was acknowledged.
#[derive(Debug)]
pub(crate) struct Acked {
    pub(crate) what: String,
    /// How many changes the disk had seen when it was asked for.
    pub(crate) from: usize,
    /// How many it had seen when the answer came.
    pub(crate) until: usize,
    pub(crate) at_ms: u64,
    /// The newest revision of the store.
    pub(crate) revision: u64,
    pub(crate) state: State,
}

/// A script that was run.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) steps: Vec<Acked>,
    pub(crate) durability: Durability,
}

/// When every script begins.
pub(crate) const START_MS: u64 = 1_700_000_000_000;
const JOBS: i64 = 3;

/// What is to be run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// So many steps that write something. The first is the creation of the store.
    pub(crate) steps: usize,
    /// Where commits are not synced no time passes: an older state is then found to be as it was.
    pub(crate) durability: Durability,
}

/// Runs a script on a new store. `written` says how many changes the medium has seen so far.
pub(crate) fn play(
    store: &dyn JobStore,
    clock: &Hand,
    plan: Plan,
    mut written: impl FnMut() -> usize,
) -> Script {
    let Plan { seed, durability, .. } = plan;
    let rng = fastrand::Rng::with_seed(seed);
    let has_time = durability == Durability::Full;
    let mut writer = Writer { rng, store, clock, has_time, held: Vec::new() };
    let mut script = Script { steps: Vec::new(), durability };
    let mut from = 0;
    let mut what = "create".to_owned();
    loop {
        let until = written();
        // A step that wrote nothing is no place to crash at.
        if until > from {
            let state = block_on(State::of(store)).expect("the state of a whole store");
            let revision = block_on(store.info()).expect("what the store says of itself").revision;
            script.steps.push(Acked { what, from, until, at_ms: clock.now_ms(), revision, state });
        } else if let Some(last) = script.steps.last_mut() {
            // Time may have passed with nothing falling due: the state is of this time too.
            last.at_ms = clock.now_ms();
        }
        if script.steps.len() == plan.steps {
            return script;
        }
        from = written();
        what = block_on(writer.step());
    }
}

/// Chooses steps by what the store holds.
struct Writer<'a> {
    rng: fastrand::Rng,
    store: &'a dyn JobStore,
    clock: &'a Hand,
    has_time: bool,
    held: Vec<Claim>,
}

impl Writer<'_> {
    /// One call. What the rules refuse is as good as any other step: it must write nothing.
    async fn step(&mut self) -> String {
        let job = self.rng.i64(1..=JOBS);
        let chunk = self.rng.u64(..12);
        let store = self.store;
        let claim = (!self.held.is_empty()).then(|| self.held[self.rng.usize(..self.held.len())]);
        let (what, refusal) = match (self.rng.u8(..40), claim) {
            (0..4, _) => ("import", self.import(job).await.err()),
            (4..12, _) => ("claim", self.claim(job).await.err()),
            (12..19, Some(claim)) => {
                self.held.retain(|held| *held != claim);
                ("complete", store.complete(&claim, self.result()).await.err())
            }
            (19..21, Some(claim)) => {
                self.held.retain(|held| *held != claim);
                ("fail", store.fail(&claim, "the network was down").await.err())
            }
            (21, Some(claim)) => ("release", store.release(&claim).await.err()),
            (22, Some(claim)) => ("heartbeat", store.heartbeat(&claim).await.err()),
            (23..26, Some(claim)) => {
                self.held.retain(|held| *held != claim);
                let next =
                    store.complete_and_claim(&claim, self.result(), &ClaimRequest::new().count(2)).await;
                ("complete and claim", self.hold(next).err())
            }
            (26..28, Some(_)) => ("batch", self.batch().await.err()),
            (28, _) => ("mark failed", store.mark_failed(job, chunk, "given up".to_owned()).await.err()),
            (29, _) => {
                let status = *self.rng.choice(&magnetar::JobStatus::ALL).expect("there are some");
                ("mark", store.mark_status(job, chunk, status, None).await.err())
            }
            (30, _) => ("cancel", store.cancel(job, Selection::Chunks(vec![chunk])).await.err()),
            (31, _) => ("cancel all", store.cancel(job, Selection::All).await.err()),
            (32, _) => ("retry", store.retry_failed(job, Selection::All).await.err()),
            (33, _) => {
                let reach = if self.rng.bool() { ResetReach::Through } else { ResetReach::Direct };
                ("reset", store.reset(job, Selection::Chunks(vec![chunk]), reach).await.err())
            }
            (34..36, _) => {
                ("add dependency", store.add_dependency(job, chunk, vec![self.rng.u64(..12)]).await.err())
            }
            (36, _) => ("new job", store.new_job(&JobSpec::new().name("empty")).await.err()),
            (37, _) => {
                let job = if self.rng.bool() { job } else { JOBS + 1 };
                ("delete", store.delete_job(job).await.err())
            }
            // Only here does time pass, and all that is due is dealt with at once: what a later opening finds due at
            // the same time is then nothing.
            (38, _) => {
                if self.has_time {
                    self.clock.advance(self.rng.u64(1_000..50_000));
                }
                ("wait", store.resume_pending(job).await.err())
            }
            (_, _) => ("release all", store.release_all().await.err()),
        };
        if let Some(refusal) = &refusal {
            assert_eq!(refusal.retry(), Retry::Never, "{what} on a healthy disk: {refusal:?}");
        }
        format!("{what} of job {job}, chunk {chunk}, claim {claim:?}: {refusal:?}")
    }

    async fn import(&mut self, job: i64) -> Result<()> {
        let (rng, now_ms) = (&mut self.rng, self.clock.now_ms());
        let policy = [DependencyFailure::Wait, DependencyFailure::Cancel, DependencyFailure::Ignore];
        let spec = JobSpec::new()
            .attempts_max(2)
            .lease_ms(70_000)
            .backoff(Backoff::new().initial_ms(2_000).max_ms(20_000))
            .on_dependency_failure(*rng.choice(&policy).expect("there are three"));
        let first = rng.u64(..3);
        let new: Vec<NewChunk> = (first..rng.u64(6..12))
            .map(|id| {
                let mut chunk = NewChunk::new(id).priority(rng.i32(-1..=1));
                if rng.bool() {
                    // Now and then as much as fills redb's journal, or more than it holds.
                    let size = match rng.u8(..32) {
                        0 => 300_000,
                        1..4 => 6_000,
                        _ => 40,
                    };
                    chunk = chunk.payload(Json::new(&"x".repeat(rng.usize(..size))).expect("text is JSON"));
                }
                if rng.u8(..6) == 0 {
                    chunk = chunk.not_before_ms(now_ms + rng.u64(..100_000));
                }
                // Always on lower ids: no circle within a manifest.
                chunk.depends_on((first..id).filter(|_| rng.u8(..6) == 0))
            })
            .collect();
        let options = ImportOptions::new()
            .on_conflict(*rng.choice(&[OnConflict::Keep, OnConflict::Reset]).expect("there are two"))
            .on_missing(
                *rng.choice(&[OnMissing::Keep, OnMissing::Cancel, OnMissing::Delete])
                    .expect("there are three"),
            );
        self.store.import(job, &spec, chunks(new.into_iter().map(Ok)), &options).await.map(drop)
    }

    async fn claim(&mut self, job: i64) -> Result<()> {
        let count = self.rng.usize(1..5);
        let request = ClaimRequest::new().count(count);
        let request = if self.rng.bool() { request.job(job) } else { request };
        let claimed = self.store.claim(&request).await;
        self.hold(claimed)
    }

    fn hold(&mut self, claimed: Result<Vec<magnetar::JobState>>) -> Result<()> {
        self.held.extend(claimed?.iter().map(magnetar::JobState::claim));
        Ok(())
    }

    fn result(&mut self) -> Completion {
        let result = Completion::new();
        if self.rng.bool() {
            result.output(Json::new(&self.rng.u64(..)).expect("a number is JSON"))
        } else {
            result
        }
    }

    async fn batch(&mut self) -> Result<()> {
        let job = self.held[0].job_id;
        let (ours, others) = self.held.iter().partition(|claim| claim.job_id == job);
        self.held = others;
        let ours: Vec<Claim> = ours;
        let updates = ours
            .into_iter()
            .map(|claim| match self.rng.u8(..3) {
                0 => ChunkUpdate::Fail(claim, "one of many".to_owned()),
                1 => ChunkUpdate::Release(claim),
                _ => ChunkUpdate::Complete(claim, Completion::new()),
            })
            .collect();
        self.store.apply_batch_updates(job, updates).await.map(drop)
    }
}
