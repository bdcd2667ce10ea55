//! Plays a sequence on all stores and on the model in lockstep, and compares.

use std::collections::BTreeMap;
use std::sync::Arc;

use magnetar::{
    Change, ErrorKind, JobState, JobStats, JobStatus, JobStore, OpenOptions, Outcome, Result, chunks,
};

use crate::calls::{Call, Calls, OWNERS, START_MS};
use crate::model::{Chunk, Job, Model, Next, Told, must_be_delay};
use crate::support::{Living, ManualClock, Place, changes_since, chunks_of, export};

/// After so many calls the whole state is compared.
const CALLS_PER_LOOK: usize = 5;

/// A store, and how it is opened again.
struct Side {
    name: &'static str,
    place: Box<dyn Place>,
    store: Option<Arc<dyn JobStore>>,
}

impl Side {
    fn store(&self) -> &dyn JobStore {
        &**self.store.as_ref().expect("it is open")
    }
}

/// What a store answered: as text, for the other stores; and the part that the model knows.
struct Answered {
    text: String,
    known: Result<Known, ErrorKind>,
}

/// An answer that the model gives too.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    Outcome(Outcome),
    Count(u64),
    Job(i64),
    Report([u64; 7]),
    Updates(Vec<Result<Outcome, ErrorKind>>),
    Ids(Vec<u64>),
    Jobs(Vec<i64>),
    Chunks(Vec<(i64, u64)>),
    Stats(JobStats),
    Texts(Vec<String>),
    /// The stores are compared with each other alone.
    Open,
}

pub(crate) struct Player {
    seed: u64,
    calls: Calls,
    played: Vec<Call>,
    clock: Arc<ManualClock>,
    living: Arc<Living>,
    sides: Vec<Side>,
    model: Model,
}

impl Player {
    pub(crate) fn new(seed: u64, stores: Vec<(&'static str, Box<dyn Place>)>) -> Self {
        let (clock, living) = (Arc::new(ManualClock::at(START_MS)), Arc::default());
        let sides = stores.into_iter().map(|(name, place)| Side { name, place, store: None }).collect();
        let model = Model::new(OWNERS[0], START_MS);
        let mut player =
            Player { seed, calls: Calls::new(seed), played: Vec::new(), clock, living, sides, model };
        player.open();
        player
    }

    fn open(&mut self) {
        let options = OpenOptions::new()
            .clock(self.clock.clone())
            .liveness(self.living.clone())
            .owner(self.model.owner);
        for side in &mut self.sides {
            side.store = None;
            side.store = Some(side.place.open(&options).expect("the store opens"));
        }
        self.model.open_as(self.model.owner);
    }

    fn must_be_equal<T: PartialEq + std::fmt::Debug>(&self, what: &str, left: (&str, &T), right: (&str, &T)) {
        if left.1 == right.1 {
            return;
        }
        let played: Vec<String> =
            self.played.iter().enumerate().map(|(at, call)| format!("{at:4} {call:?}")).collect();
        panic!(
            "{what} differs\n{}: {:#?}\n{}: {:#?}\nMAGNETAR_SEED={} after\n{}",
            left.0,
            left.1,
            right.0,
            right.1,
            self.seed,
            played.join("\n")
        );
    }

    pub(crate) async fn play(mut self, calls: usize) {
        for at in 0..calls {
            let call = self.calls.next();
            self.played.push(call.clone());
            self.step(&call).await;
            if at % CALLS_PER_LOOK == 0 || at + 1 == calls {
                self.look().await;
            }
        }
        for side in &self.sides {
            let verified = side.store().verify().await;
            self.must_be_equal(
                "what verify says",
                (side.name, &verified.map_err(|error| error.to_string())),
                ("expected", &Ok(())),
            );
        }
    }

    async fn step(&mut self, call: &Call) {
        if self.around(call).await {
            self.be_told().await;
            return;
        }
        let mut answers = Vec::new();
        for side in &self.sides {
            answers.push((side.name, ask(side.store(), call).await));
        }
        let (first, others) = answers.split_first().expect("a store is compiled in");
        for other in others {
            self.must_be_equal("an answer", (first.0, &first.1.text), (other.0, &other.1.text));
        }
        let expected = model(&mut self.model, call);
        self.be_told().await;
        let expected = expected.map(|known| self.finish(call, known));
        self.must_be_equal("an answer", (first.0, &first.1.known), ("model", &expected));
        if let Ok(Known::Chunks(taken)) = &first.1.known
            && matches!(call, Call::Claim(_) | Call::CompleteAndClaim(..))
        {
            for &(job_id, chunk) in taken {
                let fence = self.model.jobs[&job_id].chunks[&chunk].fence;
                self.calls.claims.push(magnetar::Claim { job_id, chunk, fence });
            }
        }
        self.calls.revision = self.model.revision;
    }

    /// What happens around the stores.
    async fn around(&mut self, call: &Call) -> bool {
        match *call {
            Call::Wait(ms) => self.clock.advance(ms),
            Call::Jump(now_ms) => self.clock.set(now_ms),
            Call::Kill(owner) => {
                if owner != self.model.owner {
                    self.living.kill(owner);
                    self.model.dead.insert(owner);
                }
            }
            Call::OpenAs(owner) => {
                // Who opens it lives.
                self.living.revive(owner);
                self.model.dead.remove(&owner);
                self.model.owner = owner;
                self.open();
            }
            Call::Reopen => {
                for side in &self.sides {
                    side.store().reopen().await.expect("nothing is in the way");
                }
            }
            _ => return false,
        }
        self.model.now_ms = self.clock.get();
        true
    }

    /// Waits that began: how long they really are is for the store to say, within its bounds.
    async fn be_told(&mut self) {
        let untold: Vec<(i64, u64)> = self
            .model
            .jobs
            .iter()
            .flat_map(|(job, of)| of.chunks.iter().map(|(id, chunk)| ((*job, *id), chunk)))
            .filter(|(_, chunk)| chunk.wait.is_some_and(|wait| wait.told_ms.is_none()))
            .map(|(key, _)| key)
            .collect();
        for (job, chunk) in untold {
            let state = self.sides[0].store().get_chunk(job, chunk).await.expect("the job exists");
            let told = state.and_then(|state| state.not_before).map_or(0, |wait| wait.duration_ms);
            let of =
                self.model.jobs.get_mut(&job).expect("it exists").chunks.get_mut(&chunk).expect("it exists");
            let wait = of.wait.as_mut().expect("it waits");
            wait.told_ms = Some(told);
            let full = wait.full_ms;
            let within = told <= full && told >= full - full / 4;
            self.must_be_equal("a wait's bounds", ("store", &(within, told)), ("expected", &(true, told)));
        }
    }

    /// Fills in what the model can say only now that it knows how long the waits are.
    fn finish(&self, call: &Call, known: Known) -> Known {
        let job = match call {
            Call::GetByStatus(job, _)
            | Call::Page(job, ..)
            | Call::GetChunk(job, _)
            | Call::ResumePending(job) => *job,
            _ => return known,
        };
        match known {
            Known::Ids(ids) => {
                let of = &self.model.jobs[&job];
                Known::Texts(ids.iter().map(|id| modelled(&self.model, job, *id, &of.chunks[id])).collect())
            }
            other => other,
        }
    }

    async fn look(&mut self) {
        let mut exports = Vec::new();
        for side in &self.sides {
            exports.push((side.name, export(side.store()).await));
        }
        for pair in exports.windows(2) {
            self.must_be_equal("the whole state", (pair[0].0, &pair[0].1), (pair[1].0, &pair[1].1));
        }
        let store = self.sides[0].store();
        let mut seen = Vec::new();
        for info in store.list_jobs(None, 100).await.expect("the store is open") {
            seen.push(format!(
                "job {} {:?} {} {}",
                info.job_id, info.spec, info.created_at_ms, info.revision
            ));
            seen.push(format!("{:?}", info.stats));
            for state in chunks_of(store, info.job_id).await {
                let on = store.get_dependencies(info.job_id, state.chunk).await.expect("it exists");
                seen.push(format!("{} on {on:?}", stored(&state)));
            }
        }
        seen.extend(changes_since(store, 0).await.iter().map(told));
        let mut expected = Vec::new();
        for (&job, of) in &self.model.jobs {
            expected.push(format!("job {job} {:?} {} {}", of.spec, of.created_ms, of.revision));
            expected.push(format!("{:?}", stats(of)));
            for (&id, chunk) in &of.chunks {
                let on: Vec<u64> = chunk.on.keys().copied().collect();
                expected.push(format!("{} on {on:?}", modelled(&self.model, job, id, chunk)));
            }
        }
        expected.extend(feed(&self.model));
        if seen != expected {
            let differing: Vec<_> = seen.iter().filter(|line| !expected.contains(line)).collect();
            let missing: Vec<_> = expected.iter().filter(|line| !seen.contains(line)).collect();
            self.must_be_equal("the state", (self.sides[0].name, &differing), ("model", &missing));
            self.must_be_equal("the state", (self.sides[0].name, &seen), ("model", &expected));
        }
    }
}

/// A chunk as a store shows it.
fn stored(s: &JobState) -> String {
    format!(
        "{}/{} {} {:?} {:?} {} | {:?} {:?} {:?} | {}/{} {}/{} | {} {:?} {:?} {:?} | {} | {} {} {}",
        s.job_id,
        s.chunk,
        s.status,
        s.checksum,
        s.payload,
        s.priority,
        s.observed_checksum,
        s.output,
        s.error,
        s.attempts,
        s.attempts_max,
        s.losses,
        s.losses_max,
        s.fence,
        s.owner,
        s.lease.map(|lease| (lease.set_at_ms, lease.duration_ms)),
        s.not_before.map(|wait| (wait.set_at_ms, wait.duration_ms)),
        s.unmet_dependencies,
        s.created_at_ms,
        s.updated_at_ms,
        s.revision
    )
}

/// The same as the model has it.
fn modelled(model: &Model, job: i64, id: u64, c: &Chunk) -> String {
    format!(
        "{}/{} {} {:?} {:?} {} | {:?} {:?} {:?} | {}/{} {}/{} | {} {:?} {:?} {:?} | {} | {} {} {}",
        job,
        id,
        c.status,
        c.new.checksum,
        c.new.payload,
        c.new.priority,
        c.observed,
        c.output,
        c.error,
        c.attempts,
        model.attempts_max(job, c),
        c.losses,
        model.losses_max(job, c),
        c.fence,
        if c.status == JobStatus::Processing { c.owner } else { None },
        c.lease
            .filter(|_| c.status == JobStatus::Processing)
            .map(|lease| (lease.set_at_ms, lease.duration_ms)),
        c.wait.map(|wait| (wait.set_at_ms, wait.told_ms.unwrap_or(0))),
        c.unmet(),
        c.created_ms,
        c.changed_ms,
        c.revision
    )
}

fn stats(of: &Job) -> JobStats {
    let count = |is: &dyn Fn(&Chunk) -> bool| of.chunks.values().filter(|chunk| is(chunk)).count() as u64;
    let in_status = |status| count(&|chunk| chunk.status == status);
    let waits =
        |chunk: &Chunk| chunk.status == JobStatus::Pending && chunk.unmet() == 0 && chunk.wait.is_some();
    let mut stats = JobStats::default();
    stats.total_chunks = of.chunks.len() as u64;
    stats.pending = in_status(JobStatus::Pending);
    stats.processing = in_status(JobStatus::Processing);
    stats.done = in_status(JobStatus::Done);
    stats.failed = in_status(JobStatus::Failed);
    stats.cancelled = in_status(JobStatus::Cancelled);
    stats.blocked = count(&|chunk| chunk.status == JobStatus::Pending && chunk.unmet() > 0);
    stats.delayed = count(&waits);
    stats
}

fn told(change: &Change) -> String {
    let (revision, what) = (
        change.revision(),
        match change {
            Change::Chunk { state, .. } => Told::Chunk(state.job_id, state.chunk),
            Change::ChunkDeleted { job_id, chunk, .. } => Told::ChunkGone(*job_id, *chunk),
            Change::Job { job, .. } => Told::Job(job.job_id),
            Change::JobDeleted { job_id, .. } => Told::JobGone(*job_id),
            other => panic!("{other:?} is no change known here"),
        },
    );
    format!("{revision} {what:?}")
}

/// The feed from the beginning: each chunk that exists where it is named last, each job that exists, and what is gone.
fn feed(model: &Model) -> Vec<String> {
    let row = |told: &Told| match *told {
        Told::Chunk(job, chunk) | Told::Met(job, chunk) => Some((job, chunk)),
        _ => None,
    };
    let rows = model.log.iter().filter_map(|(revision, told)| Some((row(told)?, *revision)));
    let last: BTreeMap<(i64, u64), u64> = rows.collect();
    let told = |(revision, told): &(u64, Told)| match *told {
        Told::Chunk(job, chunk) | Told::Met(job, chunk) => (last[&(job, chunk)] == *revision
            && model.chunk(job, chunk).is_ok_and(|chunk| chunk.revision <= *revision))
        .then_some(Told::Chunk(job, chunk)),
        Told::ChunkGone(job, _) | Told::Job(job) => model.jobs.contains_key(&job).then_some(*told),
        Told::JobGone(_) => Some(*told),
    };
    let entry = |entry: &(u64, Told)| Some(format!("{} {:?}", entry.0, told(entry)?));
    model.log.iter().filter_map(entry).collect()
}

#[allow(clippy::needless_pass_by_value, reason = "an answer is given once")]
fn answered<T: std::fmt::Debug>(answer: Result<T>, known: impl FnOnce(&T) -> Known) -> Answered {
    let text = format!("{answer:?}");
    Answered { text, known: answer.as_ref().map(known).map_err(magnetar::Error::kind) }
}

#[allow(clippy::ptr_arg, reason = "the shape that `answered` asks for")]
fn claims(states: &Vec<JobState>) -> Known {
    Known::Chunks(states.iter().map(|state| (state.job_id, state.chunk)).collect())
}

#[allow(clippy::ptr_arg, reason = "the shape that `answered` asks for")]
fn texts(states: &Vec<JobState>) -> Known {
    Known::Texts(states.iter().map(stored).collect())
}

/// Asks a store.
async fn ask(store: &dyn JobStore, call: &Call) -> Answered {
    let outcome = |outcome: &Outcome| Known::Outcome(*outcome);
    let count = |count: &u64| Known::Count(*count);
    let ids = |ids: &Vec<u64>| Known::Ids(ids.clone());
    match call.clone() {
        Call::Import(job, spec, new, options) => {
            let new = chunks(new.into_iter().map(Ok));
            answered(store.import(job, &spec, new, &options).await, |r| {
                Known::Report([r.added, r.updated, r.unchanged, r.kept, r.reset, r.cancelled, r.deleted])
            })
        }
        Call::NewJob(spec) => answered(store.new_job(&spec).await, |job| Known::Job(*job)),
        Call::DeleteJob(job) => answered(store.delete_job(job).await, outcome),
        Call::AddDependency(job, chunk, on) => answered(store.add_dependency(job, chunk, on).await, outcome),
        Call::Claim(request) => answered(store.claim(&request).await, claims),
        Call::Complete(claim, result) => answered(store.complete(&claim, result).await, outcome),
        Call::CompleteAndClaim(claim, result, next) => {
            answered(store.complete_and_claim(&claim, result, &next).await, claims)
        }
        Call::Fail(claim, error) => answered(store.fail(&claim, error).await, outcome),
        Call::FailWithDelay(claim, error, delay_ms) => {
            answered(store.fail_with_delay(&claim, error, delay_ms).await, outcome)
        }
        Call::FailPermanently(claim, error) => answered(store.fail_permanently(&claim, error).await, outcome),
        Call::Release(claim) => answered(store.release(&claim).await, outcome),
        Call::ReleaseWithDelay(claim, delay_ms) => {
            answered(store.release_with_delay(&claim, delay_ms).await, outcome)
        }
        Call::Heartbeat(claim) => answered(store.heartbeat(&claim).await, outcome),
        Call::Updates(job, updates) => answered(store.apply_batch_updates(job, updates).await, |answers| {
            let kinds = answers.iter().map(|answer| answer.as_ref().copied().map_err(magnetar::Error::kind));
            Known::Updates(kinds.collect())
        }),
        Call::Mark(job, chunk, to, detail) => {
            answered(store.mark_status(job, chunk, to, detail).await, outcome)
        }
        Call::MarkFailed(job, chunk) => {
            answered(store.mark_failed(job, chunk, "broken".into()).await, outcome)
        }
        Call::Retry(job, chunks) => answered(store.retry_failed(job, chunks).await, count),
        Call::Reset(job, chunks, reach) => answered(store.reset(job, chunks, reach).await, count),
        Call::Cancel(job, chunks) => answered(store.cancel(job, chunks).await, count),
        Call::ResumePending(job) => answered(store.resume_pending(job).await, texts),
        Call::ReleaseAll => answered(store.release_all().await, count),
        Call::GetByStatus(job, status) => answered(store.get_by_status(job, status).await, texts),
        Call::Page(job, status, after, limit) => {
            answered(store.page_by_status(job, status, after, limit).await, texts)
        }
        Call::GetChunk(job, chunk) => answered(store.get_chunk(job, chunk).await, |state| {
            Known::Texts(state.iter().map(stored).collect())
        }),
        Call::GetStats(job) => answered(store.get_stats(job).await, |stats| Known::Stats(*stats)),
        Call::ListJobs(after, limit) => answered(store.list_jobs(after, limit).await, |jobs| {
            Known::Jobs(jobs.iter().map(|info| info.job_id).collect())
        }),
        Call::Dependencies(job, chunk) => answered(store.get_dependencies(job, chunk).await, ids),
        Call::Dependents(job, chunk) => answered(store.get_dependents(job, chunk).await, ids),
        Call::TopoSortReady(job) => answered(store.topo_sort_ready(job).await, ids),
        Call::TopoOrder(job) => answered(store.topo_order(job).await, |_| Known::Open),
        Call::Graph(job, format) => answered(store.graph(job, format).await, |_| Known::Open),
        Call::Changes(since, limit) => answered(store.changes(since, limit).await, |_| Known::Open),
        Call::Wait(_) | Call::Jump(_) | Call::Kill(_) | Call::OpenAs(_) | Call::Reopen => {
            unreachable!("that happens around the stores")
        }
    }
}

/// Asks the model.
fn model(model: &mut Model, call: &Call) -> Result<Known, ErrorKind> {
    Ok(match call {
        Call::Import(job, spec, new, options) => Known::Report(model.import(*job, spec, new, *options)?),
        Call::NewJob(spec) => Known::Job(model.call(|model| model.new_job(spec))),
        Call::DeleteJob(job) => Known::Outcome(model.call(|model| model.delete_job(*job))),
        Call::AddDependency(job, chunk, on) => {
            Known::Outcome(model.call(|model| model.add_dependency(*job, *chunk, on))?)
        }
        Call::Claim(request) => Known::Chunks(model.claim(request)?),
        Call::Complete(claim, result) => Known::Outcome(model.call(|model| model.complete(*claim, result))?),
        Call::CompleteAndClaim(claim, result, next) => {
            Known::Chunks(model.complete_and_claim(*claim, result, next)?)
        }
        Call::Fail(claim, error) => {
            Known::Outcome(model.call(|model| model.fail(*claim, error, Next::AfterBackoff))?)
        }
        Call::FailWithDelay(claim, error, delay_ms) => {
            must_be_delay(*delay_ms)?;
            Known::Outcome(model.call(|model| model.fail(*claim, error, Next::In(*delay_ms)))?)
        }
        Call::FailPermanently(claim, error) => {
            Known::Outcome(model.call(|model| model.fail(*claim, error, Next::Never))?)
        }
        Call::Release(claim) => Known::Outcome(model.call(|model| model.release(*claim, 0))?),
        Call::ReleaseWithDelay(claim, delay_ms) => {
            must_be_delay(*delay_ms)?;
            Known::Outcome(model.call(|model| model.release(*claim, *delay_ms))?)
        }
        Call::Heartbeat(claim) => Known::Outcome(model.call(|model| model.heartbeat(*claim))?),
        Call::Updates(job, updates) => Known::Updates(model.updates(*job, updates)?),
        Call::Mark(job, chunk, to, detail) => {
            Known::Outcome(model.call(|model| model.mark(*job, *chunk, *to, detail.as_deref()))?)
        }
        Call::MarkFailed(job, chunk) => {
            Known::Outcome(model.call(|model| model.mark(*job, *chunk, JobStatus::Failed, Some("broken")))?)
        }
        Call::Retry(job, chunks) => Known::Count(model.call(|model| model.retry(*job, chunks))?),
        Call::Reset(job, chunks, reach) => {
            Known::Count(model.call(|model| model.reset(*job, chunks, *reach))?)
        }
        Call::Cancel(job, chunks) => Known::Count(model.call(|model| model.cancel(*job, chunks))?),
        Call::ResumePending(job) => Known::Ids(model.resume_pending(*job)?),
        Call::ReleaseAll => Known::Count(model.call(Model::release_all)),
        Call::GetByStatus(job, status) => Known::Ids(in_status(model.job(*job)?, Some(*status))),
        Call::Page(job, status, after, limit) => {
            let above = |id: &u64| after.is_none_or(|after| *id > after);
            Known::Ids(in_status(model.job(*job)?, *status).into_iter().filter(above).take(*limit).collect())
        }
        Call::GetChunk(job, chunk) => {
            let known = model.job(*job)?.chunks.contains_key(chunk);
            Known::Ids(if known { vec![*chunk] } else { Vec::new() })
        }
        Call::GetStats(job) => Known::Stats(stats(model.job(*job)?)),
        Call::ListJobs(after, limit) => {
            let above = |job: &i64| after.is_none_or(|after| *job > after);
            Known::Jobs(model.jobs.keys().copied().filter(above).take(*limit).collect())
        }
        Call::Dependencies(job, chunk) => Known::Ids(model.chunk(*job, *chunk)?.on.keys().copied().collect()),
        Call::Dependents(job, chunk) => {
            model.chunk(*job, *chunk)?;
            Known::Ids(model.dependents(*job, *chunk))
        }
        Call::TopoSortReady(job) => {
            model.job(*job)?;
            Known::Ids(model.ready(*job))
        }
        Call::TopoOrder(job) | Call::Graph(job, _) => {
            model.job(*job)?;
            Known::Open
        }
        Call::Changes(..) => Known::Open,
        Call::Wait(_) | Call::Jump(_) | Call::Kill(_) | Call::OpenAs(_) | Call::Reopen => {
            unreachable!("that happens around the stores")
        }
    })
}

fn in_status(job: &Job, status: Option<JobStatus>) -> Vec<u64> {
    let of = |chunk: &Chunk| status.is_none_or(|status| chunk.status == status);
    job.chunks.iter().filter(|(_, chunk)| of(chunk)).map(|(id, _)| *id).collect()
}
