//! The engine: each operation once, for every backend. Read, decide, write.
//!
//! It works on groups: all operations that wait at one moment share one transaction. [`Engine::run`] loads what they
//! need, applies one after the other to a [`work::Work`]ing set, writes the outcome as one durable step and hands back
//! the answers. An operation checks everything before it changes anything, so a refused one leaves its companions whole;
//! a failure of storage takes the whole group back.

mod affairs;
mod bulk;
mod claim;
mod edges;
mod finish;
mod ids;
mod import;
mod numbers;
mod query;
mod reap;
mod records;
mod restore;
mod settle;
mod slice;
#[cfg(test)]
pub(crate) mod tests;
mod unsynced;
mod whole;
mod work;

use std::sync::Arc;

use crate::backends::contract::{Backend, DependentsNeed, DueNeed, Key, Loaded, Meta, Needs, ReadyNeed};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::limits;
use crate::model::{
    ChunkUpdate, Claim, ClaimRequest, Completion, Durability, Failure, ImportReport, JobSpec, JobState,
    JobStatus, Outcome, OwnerId, Selection,
};
use crate::owners::Liveness;
use crate::standing::Step;

pub(crate) use affairs::{Consumer, check_name as check_consumer_name, consumers, follower_name};
pub(crate) use bulk::{Bulk, Kind};
pub(crate) use edges::{cycle as dependency_cycle, find_cycle, unknown as unknown_dependency};
pub(crate) use ids::Ids;
pub(crate) use import::{Compared, Import, ImportSlice, Imports};
use numbers::Numbers;
pub(crate) use query::{
    all_edges, changes, chunk, dependencies, dependents, each_of_page, graph, job_info, job_row, jobs_page,
    page, ready, stats, topo_order, without_unchanged,
};
pub(crate) use records::{
    FullRow, Invisible, Part, RecordPage, Room, changes_page, first_page, full_page, full_rows, meta,
    open_job_from, rest_page,
};
pub(crate) use restore::{
    Course, Restore, RestoredJob, RestoredRow, not_empty as restore_into_jobs, restored_row,
};
pub(crate) use settle::Bounds;
pub(crate) use whole::{records, store_info};
use work::Work;

/// Always, but in the benchmark's other build, which shows what the feed costs.
const HAS_FEED: bool = !cfg!(magnetar_without_feed);

/// What the engine needs from around it.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) liveness: Arc<dyn Liveness>,
    /// This client.
    pub(crate) owner: OwnerId,
    /// Its large imports that are under way.
    pub(crate) imports: Imports,
    /// What its answers mean.
    pub(crate) durability: Durability,
    /// How many dependents one commit tells.
    pub(crate) bounds: Bounds,
}

impl Host {
    /// The time. A clock beyond the numbers that are exact everywhere stands still at the last of them.
    fn now_ms(&self) -> u64 {
        self.clock.now_ms().min(limits::ID_MAX)
    }
}

/// One operation that may write.
#[derive(Debug)]
pub(crate) enum Op {
    Claim {
        owner: OwnerId,
        seq: u64,
        request: ClaimRequest,
    },
    Complete {
        claim: Claim,
        result: Completion,
    },
    CompleteAndClaim {
        claim: Claim,
        result: Completion,
        owner: OwnerId,
        seq: u64,
        request: ClaimRequest,
    },
    Fail {
        claim: Claim,
        error: String,
        failure: Failure,
    },
    Release {
        claim: Claim,
        delay_ms: u64,
    },
    Heartbeat {
        claim: Claim,
    },
    Mark {
        job: i64,
        chunk: u64,
        status: JobStatus,
        detail: Option<String>,
    },
    Updates {
        job: i64,
        updates: Vec<ChunkUpdate>,
    },
    NewJob {
        owner: OwnerId,
        seq: u64,
        spec: JobSpec,
    },
    AddDependencies {
        job: i64,
        chunk: u64,
        on: Vec<u64>,
    },
    Import(Import),
    ImportSlice(ImportSlice),
    Bulk(Bulk),
    Restore(Restore),
    /// Put back what dead owners and over leases hold.
    Reap {
        probe: bool,
    },
    /// Put back what an owner holds, because it says so itself.
    ReleaseAll {
        owner: OwnerId,
        released: u64,
    },
    /// Go on with the dependents of chunks that had too many for one commit.
    Settle,
    /// Go on with jobs that were being deleted or imported when somebody crashed.
    Tidy,
    /// Take over records of another store.
    Records(Box<RecordPage>),
    /// Take a step of a pair.
    Pair(Step),
    /// End the part that the store plays as an authority.
    LeavePair,
    /// Keep the feed for a consumer.
    Consumer {
        name: String,
        what: Consumer,
    },
}

/// The answer to an operation.
#[derive(Debug)]
pub(crate) enum Reply {
    Outcome(Outcome),
    Claims(Vec<JobState>),
    Updates(Vec<Result<Outcome>>),
    Job(i64),
    Import(ImportReport),
    /// A large import has begun, under this token.
    Importing {
        job: i64,
        token: u64,
    },
    Count(u64),
}

/// What came of applying an operation to the working set.
pub(crate) enum Applied {
    /// This is its answer, once the commit is durable.
    Reply(Reply),
    /// It goes on in another commit, as this operation.
    Again(Op),
    /// It goes on in another commit as it is.
    Same,
}

/// The engine of one store: lives wherever its commit queue is driven.
pub(crate) struct Engine {
    backend: Box<dyn Backend>,
    pub(crate) host: Host,
    /// When dead owners were last looked for.
    probed_ms: Option<u64>,
    /// Whether this client's life can be seen by others already.
    announced: bool,
    /// The newest revision known to be durable.
    acknowledged: u64,
    numbers: Numbers,
    /// Which store it is, so that a reopening finds no other one in its place.
    store_id: Option<[u8; 16]>,
    /// The store was not closed, and some of its last commits may be lost: the first commit goes on above them.
    gives_up: bool,
    /// The store was opened for reading.
    only_reads: bool,
    poisoned: Option<Error>,
}

/// What a group came to.
pub(crate) struct Ran {
    /// One per operation, in order.
    pub(crate) applied: Vec<Result<Applied>>,
    /// Dependents are left to be told in a commit of their own.
    pub(crate) unsettled: bool,
    /// The newest revision, where the group changed anything.
    pub(crate) revision: Option<u64>,
}

impl Engine {
    pub(crate) fn new(backend: Box<dyn Backend>, host: Host) -> Self {
        Engine {
            backend,
            gives_up: false,
            only_reads: false,
            host,
            probed_ms: None,
            announced: false,
            acknowledged: 0,
            poisoned: None,
            numbers: Numbers::default(),
            store_id: None,
        }
    }

    /// Of a store that is opened for reading, which is left as it is.
    #[allow(dead_code, reason = "only a redb file is opened for reading")]
    pub(crate) fn only_reads(&mut self) -> Result<()> {
        self.only_reads = true;
        let meta = self.meta()?;
        (self.acknowledged, self.store_id) = (meta.revision, Some(meta.store_id));
        Ok(())
    }

    /// What is stored of the store itself.
    fn meta(&mut self) -> Result<Meta> {
        let needs = Needs::default();
        let loaded = if self.only_reads {
            self.backend.reader().snapshot()?.load(&needs)
        } else {
            self.backend.begin()?.load(&needs)
        };
        loaded.map(|loaded| loaded.meta)
    }

    /// Deals with what a crash left: claims of the dead, jobs half deleted or half imported, dependents not told.
    pub(crate) fn recover(&mut self) -> Result<()> {
        let Loaded { meta, owners, .. } =
            self.backend.begin()?.load(&Needs { owners: true, ..Needs::default() })?;
        self.acknowledged = meta.revision;
        self.store_id = Some(meta.store_id);
        self.gives_up = unsynced::may_have_lost(&meta, &self.host);
        if !works(&meta) {
            // What is half-done here goes on where the work is done.
            return Ok(());
        }
        if owners.contains(&self.host.owner) {
            self.announce_again();
        }
        for op in [Op::Reap { probe: true }, Op::Tidy, Op::Settle] {
            let mut op = op;
            loop {
                match self.run(&[&op]).applied.pop() {
                    Some(Ok(Applied::Again(next))) => op = next,
                    Some(Ok(Applied::Same)) => {}
                    Some(Ok(Applied::Reply(_))) | None => break,
                    // It waits until there is space: a store on a full disk can be read.
                    Some(Err(error)) if error.kind() == ErrorKind::Full => break,
                    Some(Err(error)) => return Err(error),
                }
            }
        }
        let mut tx = self.backend.begin()?;
        let loaded = tx.load(&Needs { owners: true, ..Needs::default() })?;
        // Within the transaction: whoever claims behind it and dies at once is not among those who hold something, and
        // without what proves that death the claim would wait for its lease.
        self.host.liveness.forget_dead(&loaded.owners);
        drop(tx);
        // What this client holds from an earlier opening, it was told of then.
        self.acknowledged = loaded.meta.revision;
        Ok(())
    }

    /// This client goes on with what it holds from an earlier life, and others are to see that it lives. Where that cannot
    /// be, on a full disk perhaps, it is tried again with its first claim.
    fn announce_again(&mut self) {
        match self.host.liveness.announce(self.host.owner) {
            Ok(()) => self.announced = true,
            Err(error) => {
                tracing::warn!(%error, "others take this client for dead until it claims something");
            }
        }
    }

    /// Runs a group of operations as one commit.
    pub(crate) fn run(&mut self, ops: &[&Op]) -> Ran {
        if let Some(poison) = &self.poisoned {
            return Ran::failed(ops.len(), poison);
        }
        let run = std::panic::AssertUnwindSafe(|| self.try_run(ops));
        let ran = std::panic::catch_unwind(run).unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Poisoned,
                "the engine panicked; that is a defect of Magnetar, please report it",
            ))
        });
        match ran {
            Ok(ran) => ran,
            Err(error)
                if ops.len() > 1 && error.retry() == Retry::Never && error.kind() != ErrorKind::Closed =>
            {
                // Something that one of them came across, a damaged record perhaps: the others go on without it.
                let mut all =
                    Ran { applied: Vec::with_capacity(ops.len()), unsettled: false, revision: None };
                for op in ops {
                    let one = self.run(&[op]);
                    all.applied.extend(one.applied);
                    all.unsettled |= one.unsettled;
                    all.revision = one.revision.or(all.revision);
                }
                all
            }
            Err(error) => {
                let error = if error.kind() == ErrorKind::Poisoned {
                    self.poisoned = Some(error.clone());
                    Error::new(
                        ErrorKind::OutcomeUnknown,
                        format!("the commit failed half-way, so it is not known whether this was done; reopen the store, look, and try again: {error}"),
                    )
                    .caused_by(error)
                } else {
                    error
                };
                Ran::failed(ops.len(), &error)
            }
        }
    }

    fn try_run(&mut self, ops: &[&Op]) -> Result<Ran> {
        self.again(|engine| engine.attempt(ops))
    }

    /// Does what commits, once more for each reason why it may have to be begun in another way.
    fn again<T>(&mut self, mut run: impl FnMut(&mut Self) -> Result<T>) -> Result<T> {
        let mut left = 2;
        loop {
            match run(self) {
                Err(_) if self.backend.overtaken() && left > 0 => left -= 1,
                ran => return ran,
            }
        }
    }

    fn attempt(&mut self, ops: &[&Op]) -> Result<Ran> {
        let now_ms = self.host.now_ms();
        let must_be_seen = self.host.durability == Durability::Relaxed || ops.iter().any(|op| op.is_owned());
        if !self.announced && must_be_seen {
            self.host.liveness.announce(self.host.owner)?;
            self.announced = true;
        }
        let mut probe = Probing { now_ms, last_ms: self.probed_ms, is_cut_short: false };
        let mut tx = self.backend.resume()?;
        let mut needs = Needs::default();
        for op in ops {
            op.needs(&mut needs);
        }
        if ops.iter().any(|op| op.claims()) {
            needs.due = Some(DueNeed::By { at_ms: now_ms, limit: reap::ROWS_PER_COMMIT });
        }
        let (mut work, mut loaded) = Work::open(&mut *tx, &self.host, now_ms, &needs)?;
        must_be_ours(self.store_id, self.acknowledged, &work.meta)?;
        if self.gives_up {
            unsynced::give_up(&mut work.meta);
        }
        self.numbers.begin(work.meta.revision);
        let due = std::mem::take(&mut loaded.due);
        if work.refusal().is_none() {
            reap::due(&mut work, due)?;
        }
        let mut applied = Vec::with_capacity(ops.len());
        for op in ops {
            if !matches!(op, Op::ImportSlice(ImportSlice::Rows { .. })) {
                work.book_added();
            }
            let result = match work.refusal() {
                None => op.apply(&mut work, &mut probe, &mut self.numbers),
                Some(refusal) => op.apply_elsewhere(&mut work, refusal),
            };
            if let Some(failure) = work.failure.take() {
                return Err(failure);
            }
            applied.push(result);
        }
        let unsettled = work.refusal().is_none() && work.has_cursors();
        // What others have done and not synced is not to be confirmed before it is.
        let vouches = || ops.iter().zip(&applied).any(|(op, applied)| op.vouches(applied));
        let is_synced = self.host.durability == Durability::Relaxed || !unsynced::is_open(&loaded.meta);
        if !work.is_dirty() && (is_synced || !vouches()) {
            drop(work);
            tx.confirm()?;
            self.probed_ms = probe.probed_ms();
            return Ok(Ran { applied, unsettled, revision: None });
        }
        if !work.is_dirty() {
            // A commit that leaves everything as it was would write nothing, and sync nothing.
            work.meta.revision += 1;
        }
        let guards = std::mem::take(&mut work.guards);
        let mut delta = work.into_delta();
        unsynced::decide(&mut delta, &self.host);
        let revision = delta.meta.revision;
        tx.commit(delta)?;
        drop(guards);
        self.probed_ms = probe.probed_ms();
        self.numbers.committed(revision);
        self.acknowledged = revision;
        self.gives_up = false;
        Ok(Ran { applied, unsettled, revision: Some(revision) })
    }

    /// A change of the store's own, in a synced commit that nothing else is part of. Gives the newest revision.
    fn commit_alone(&mut self, change: impl Fn(&mut Work<'_>) -> Result<()>) -> Result<u64> {
        self.again(|engine| {
            let now_ms = engine.host.now_ms();
            let mut tx = engine.backend.begin()?;
            let (mut work, _) = Work::open(&mut *tx, &engine.host, now_ms, &Needs::default())?;
            must_be_ours(engine.store_id, engine.acknowledged, &work.meta)?;
            let before = work.meta.revision;
            if engine.gives_up {
                unsynced::give_up(&mut work.meta);
            }
            change(&mut work)?;
            if !work.is_dirty() {
                return Ok(before);
            }
            let delta = work.into_delta();
            let revision = delta.meta.revision;
            tx.commit(delta)?;
            engine.gives_up = false;
            Ok(revision)
        })
    }

    /// Whether it can be written to and read as it is.
    pub(crate) fn is_well(&self) -> bool {
        let read = || {
            self.backend.reader().snapshot().and_then(|mut snapshot| snapshot.load(&Needs::default())).is_ok()
        };
        self.poisoned.is_none()
            && std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).unwrap_or(false)
    }

    /// Whether the outcome of a commit is unknown, so that nothing goes on before [`Engine::reopen`].
    pub(crate) fn poison(&self) -> Option<&Error> {
        self.poisoned.as_ref()
    }

    /// Opens the storage anew, and gives back the claims of this client that were committed but never acknowledged.
    /// Whatever fails on the way, the host's own parts too, it can be done again. Gives the newest revision: what was
    /// committed and never acknowledged is news to whoever watches.
    pub(crate) fn reopen(&mut self) -> Result<u64> {
        let reopen = std::panic::AssertUnwindSafe(|| {
            self.backend.reopen().inspect_err(|error| {
                // There may be nothing open to go on with.
                let poison = Error::new(ErrorKind::Poisoned, error.to_string());
                self.poisoned = Some(poison.caused_by(error.clone()));
            })?;
            self.poisoned = None;
            self.numbers = Numbers::default();
            let meta = self.meta()?;
            let ours = must_be_ours(self.store_id, self.acknowledged, &meta);
            ours.inspect_err(|error| self.poisoned = Some(error.clone()))?;
            self.gives_up |= unsynced::is_open(&meta) && meta.revision < self.acknowledged;
            if self.only_reads || !works(&meta) {
                return Ok(meta.revision);
            }
            let undelivered = Undelivered { owner: self.host.owner, above_fence: self.acknowledged };
            self.release_undelivered(&undelivered)
        });
        std::panic::catch_unwind(reopen).unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Poisoned, "the reopening panicked, in the clock perhaps; try again"))
        })
    }

    /// Gives back the claims that nobody was told of.
    fn release_undelivered(&mut self, undelivered: &Undelivered) -> Result<u64> {
        let revision = self.commit_alone(|work| {
            if work.refusal().is_some() { Ok(()) } else { reap::release_above(work, undelivered) }
        })?;
        // Not before: where this fails too, the next reopening must find the same claims.
        self.acknowledged = revision;
        Ok(revision)
    }

    /// Checks of the file what can be checked only while nobody reads or writes.
    pub(crate) fn check_file(&mut self) -> Result<()> {
        if let Some(poison) = &self.poisoned {
            return Err(poison.clone());
        }
        self.guarded("the verifying panicked, over a damaged file perhaps", |engine| {
            engine.backend.check_file()
        })
    }

    /// Brings the file to where damage to a copy of it is found.
    pub(crate) fn checkpoint(&mut self) -> Result<()> {
        self.guarded("the checkpoint panicked, over a damaged file perhaps", |engine| {
            engine.backend.checkpoint().inspect_err(|error| {
                if error.kind() == ErrorKind::Poisoned {
                    engine.poisoned = Some(error.clone());
                }
            })
        })
    }

    /// Does what may come across damage that nothing has looked for yet. After a panic nothing goes on before the store
    /// is reopened.
    fn guarded(&mut self, what: &str, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(self)));
        done.unwrap_or_else(|_| {
            let error = Error::new(ErrorKind::Poisoned, format!("{what}; reopen the store"));
            self.poisoned = Some(error.clone());
            Err(error)
        })
    }

    /// Releases the storage. What this client still holds is found by the next one that opens it.
    pub(crate) fn close(&mut self) -> Result<()> {
        self.guarded("the closing panicked, over a damaged file perhaps", |engine| {
            let concluded = engine.conclude();
            if engine.announced && engine.poisoned.is_none() && !engine.holds_anything() {
                engine.host.liveness.retire(engine.host.owner);
            }
            engine.backend.close().and(concluded)
        })
    }

    /// Has the last commits on the disk, where they are not synced.
    fn conclude(&mut self) -> Result<()> {
        if self.host.durability == Durability::Full || self.poisoned.is_some() {
            return Ok(());
        }
        self.commit_alone(|work| {
            unsynced::conclude(work);
            Ok(())
        })
        .map(drop)
    }

    /// Whether this client has claims open, as far as can be seen.
    fn holds_anything(&mut self) -> bool {
        if !self.host.imports.is_empty() {
            return true;
        }
        let needs = Needs { held: Some((self.host.owner, None, 1)), ..Needs::default() };
        let held = self.backend.begin().and_then(|mut tx| tx.load(&needs));
        held.map_or(true, |loaded| !loaded.held.is_empty())
    }
}

/// Refuses what stands where the store was, and is another one, or what the store was before: a file may be replaced
/// between two connections to it.
fn must_be_ours(opened: Option<[u8; 16]>, acknowledged: u64, meta: &Meta) -> Result<()> {
    if opened.is_some_and(|store_id| store_id != meta.store_id) {
        return Err(Error::new(
            ErrorKind::Corrupt,
            "another store stands where this one was opened; put its file back and reopen, or close it and open the other one",
        ));
    }
    if unsynced::reach(meta) < acknowledged {
        let text = format!(
            "an older copy of the store, of revision {}, stands where this one was opened, and {acknowledged} was acknowledged; put the newer file back and reopen, or close it and open the copy",
            meta.revision
        );
        return Err(Error::new(ErrorKind::Corrupt, text));
    }
    Ok(())
}

/// Whether the store executes operations now.
fn works(meta: &Meta) -> bool {
    crate::standing::refusal(meta.affairs.as_ref().and_then(|affairs| affairs.standing.as_ref())).is_none()
}

/// Claims above a fence that this client never heard of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Undelivered {
    pub(crate) owner: OwnerId,
    pub(crate) above_fence: u64,
}

impl Ran {
    fn failed(ops: usize, error: &Error) -> Self {
        Ran { applied: (0..ops).map(|_| Err(error.clone())).collect(), unsettled: false, revision: None }
    }
}

/// When dead owners may be looked for again.
pub(crate) struct Probing {
    now_ms: u64,
    last_ms: Option<u64>,
    /// There were more than one commit deals with.
    is_cut_short: bool,
}

impl Probing {
    /// Whether it is time, and if so that it is being done now.
    fn is_time(&mut self) -> bool {
        let due = self
            .last_ms
            .is_none_or(|last| self.now_ms < last || self.now_ms - last >= limits::PROBE_INTERVAL_MS);
        if due {
            self.note();
        }
        due
    }

    /// It is being done now.
    fn note(&mut self) {
        self.last_ms = Some(self.now_ms);
    }

    /// When it was done last, for the commits to come: what was cut short goes on at once.
    fn probed_ms(&self) -> Option<u64> {
        self.last_ms.filter(|_| !self.is_cut_short)
    }
}

impl Op {
    /// Whether it takes chunks.
    fn claims(&self) -> bool {
        matches!(self, Op::Claim { .. } | Op::CompleteAndClaim { .. })
    }

    /// Whether its answer says that something holds now, so that it has to be on the disk though nothing was changed.
    fn vouches(&self, applied: &Result<Applied>) -> bool {
        match (self, applied) {
            // A restore answers for what it wrote, and a revision that it does not know of would end it.
            (Op::Reap { .. } | Op::Settle | Op::Tidy | Op::Restore(_), _) | (_, Err(_)) => false,
            (Op::Claim { .. }, Ok(Applied::Reply(Reply::Claims(claims)))) => !claims.is_empty(),
            (_, Ok(_)) => true,
        }
    }

    /// Whether what it leaves behind is this client's: then others must be able to see whether the client lives.
    fn is_owned(&self) -> bool {
        self.claims()
            || matches!(
                self,
                Op::ImportSlice(ImportSlice::Begin { .. })
                    | Op::Restore(Restore::Put { .. })
                    | Op::Pair(Step::Assume { .. })
            )
    }

    /// What it is known to need before it is applied, so that one question serves the whole group.
    fn needs(&self, needs: &mut Needs) {
        let about = |job: i64, chunk: u64, needs: &mut Needs| {
            needs.jobs.insert(job);
            needs.rows.push(Key { job, chunk });
        };
        // Whoever waits for the chunk will be told, of one of so many.
        let ends_among = |count: usize, job: i64, chunk: u64, needs: &mut Needs| {
            about(job, chunk, needs);
            let on = Key { job, chunk };
            let expected =
                if count > FEW_ENDS { DEPENDENTS_OF_MANY } else { limits::DEPENDENTS_PER_COMMIT_MAX };
            let limit = expected + 1;
            needs.dependents.push(DependentsNeed { on, after: None, limit });
            needs.dependent_rows = true;
        };
        let ends = |job: i64, chunk: u64, needs: &mut Needs| ends_among(1, job, chunk, needs);
        match self {
            Op::Claim { request, .. } => request_needs(request, needs),
            Op::CompleteAndClaim { claim, request, .. } => {
                ends(claim.job_id, claim.chunk, needs);
                request_needs(request, needs);
            }
            Op::Complete { claim, .. } => ends(claim.job_id, claim.chunk, needs),
            Op::Fail { claim, .. } | Op::Release { claim, .. } | Op::Heartbeat { claim } => {
                about(claim.job_id, claim.chunk, needs);
            }
            Op::Mark { job, chunk, .. } => ends(*job, *chunk, needs),
            Op::Updates { job, updates } => {
                for update in updates {
                    ends_among(updates.len(), *job, finish::chunk_of(update), needs);
                }
            }
            Op::AddDependencies { job, chunk, on } => {
                needs.jobs.insert(*job);
                needs.rows.extend(on.iter().chain([chunk]).map(|&chunk| Key { job: *job, chunk }));
            }
            Op::Import(Import { job, .. }) | Op::Bulk(Bulk { job, .. }) => drop(needs.jobs.insert(*job)),
            Op::ImportSlice(slice) => drop(needs.jobs.insert(slice.job())),
            Op::Records(page) => page.needs(needs),
            Op::Restore(_)
            | Op::NewJob { .. }
            | Op::Reap { .. }
            | Op::ReleaseAll { .. }
            | Op::Settle
            | Op::Tidy
            | Op::Pair(_)
            | Op::LeavePair
            | Op::Consumer { .. } => {}
        }
    }

    fn apply(&self, work: &mut Work<'_>, probe: &mut Probing, numbers: &mut Numbers) -> Result<Applied> {
        match self {
            Op::Claim { owner, seq, request } => {
                let claims = claim::claim(work, probe, numbers, (*owner, *seq), request)?;
                Ok(Applied::Reply(Reply::Claims(claims)))
            }
            Op::Complete { claim, result } => {
                Ok(Applied::Reply(Reply::Outcome(finish::complete(work, *claim, result)?)))
            }
            Op::CompleteAndClaim { claim, result, owner, seq, request } => {
                if let Some(job) = request.job_id {
                    // Before the completion changes anything.
                    work.job(job)?;
                }
                finish::complete(work, *claim, result)?;
                let claims = claim::claim(work, probe, numbers, (*owner, *seq), request)?;
                Ok(Applied::Reply(Reply::Claims(claims)))
            }
            Op::Fail { claim, error, failure } => {
                Ok(Applied::Reply(Reply::Outcome(finish::fail(work, *claim, error, *failure)?)))
            }
            Op::Release { claim, delay_ms } => {
                Ok(Applied::Reply(Reply::Outcome(finish::release(work, *claim, *delay_ms)?)))
            }
            Op::Heartbeat { claim } => Ok(Applied::Reply(Reply::Outcome(finish::heartbeat(work, *claim)?))),
            Op::Mark { job, chunk, status, detail } => {
                work.job(*job)?;
                if *status == JobStatus::Done && settle::comes_first(work, *job, [*chunk])? {
                    return Ok(Applied::Same);
                }
                let outcome =
                    finish::mark(work, Key { job: *job, chunk: *chunk }, *status, detail.as_deref())?;
                Ok(Applied::Reply(Reply::Outcome(outcome)))
            }
            Op::Updates { job, updates } => finish::updates(work, *job, updates),
            Op::NewJob { owner, seq, spec } => {
                Ok(Applied::Reply(Reply::Job(import::new_job(work, numbers, (*owner, *seq), spec.clone())?)))
            }
            Op::AddDependencies { job, chunk, on } => {
                Ok(Applied::Reply(Reply::Outcome(edges::add(work, Key { job: *job, chunk: *chunk }, on)?)))
            }
            Op::Import(import) => import.apply(work),
            Op::ImportSlice(slice) => slice.apply(work),
            Op::Bulk(bulk) => bulk.apply(work),
            Op::Restore(slice) => slice.apply(work),
            Op::Reap { probe: ask } => reap::reap(work, ask.then_some(probe)),
            Op::ReleaseAll { owner, released } => reap::release_all(work, *owner, *released),
            Op::Settle => settle::go_on(work),
            Op::Tidy => bulk::tidy(work),
            Op::Records(page) => records::apply(work, page),
            Op::Pair(step) => affairs::take(work, step),
            Op::LeavePair => affairs::leave(work),
            Op::Consumer { name, what } => affairs::consumer(work, name, *what),
        }
    }

    /// In a store that executes no operations now: what keeps the copy, and nothing else.
    fn apply_elsewhere(&self, work: &mut Work<'_>, refusal: Error) -> Result<Applied> {
        match self {
            Op::Records(page) => records::apply(work, page),
            Op::Pair(step) => affairs::take(work, step),
            // A job that nobody sees, that is in no copy, and that has no revision that others follow.
            Op::ImportSlice(slice @ ImportSlice::Discard { .. }) => slice.apply(work),
            Op::Restore(slice @ Restore::Discard { .. }) => slice.apply(work),
            // Not for anybody to hear of: what is left is done elsewhere.
            Op::Settle | Op::Tidy => Ok(Applied::Reply(Reply::Count(0))),
            _ => Err(refusal),
        }
    }
}

/// Chunks that end in one operation, of each of which all dependents are asked for that one commit tells.
const FEW_ENDS: usize = 64;

/// Of each of more chunks than that, so many: few have more, and no more than some of them are told in the same commit. There
/// is no third number, since SQLite is asked once for each.
const DEPENDENTS_OF_MANY: usize = 64;

fn request_needs(request: &ClaimRequest, needs: &mut Needs) {
    if let Some(job) = request.job_id {
        needs.jobs.insert(job);
        let count = request.count.min(claim::AHEAD_MAX);
        match needs.ready.iter_mut().find(|need| need.job == job) {
            Some(need) => need.limit += count,
            None => needs.ready.push(ReadyNeed { job, after: None, limit: count }),
        }
    }
}

/// The chunks that a bulk operation is about, checked to be few enough to name.
pub(crate) fn check_selection(selection: &Selection) -> Result<()> {
    let Selection::Chunks(chunks) = selection else { return Ok(()) };
    if chunks.len() > limits::BATCH_UPDATES_MAX {
        let text = format!(
            "{} chunks are named, the limit is {}; call again for the rest",
            chunks.len(),
            limits::BATCH_UPDATES_MAX
        );
        return Err(Error::new(ErrorKind::TooLarge, text));
    }
    chunks.iter().try_for_each(|&chunk| crate::model::check_chunk_id(chunk).map(|_| ()))
}
