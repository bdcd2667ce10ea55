//! What a store must answer, as naively as it can be said: plain maps, everything looked at each time, nothing kept
//! twice. Written from the design's table, not from the engine.

mod importing;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use magnetar::limits::{
    ATTEMPTS_MAX_DEFAULT, BACKOFF_MS_MAX, CLOCK_SLACK_MS, LEASE_MS_DEFAULT, LOSSES_MAX_DEFAULT,
    PROBE_INTERVAL_MS,
};
use magnetar::{
    ChunkUpdate, Claim, ClaimRequest, Completion, Deadline, DependencyFailure, ErrorKind, JobSpec, JobStatus,
    Json, NewChunk, Outcome, OwnerId, ResetReach, Selection,
};

use JobStatus::{Cancelled, Done, Failed, Pending, Processing};

type Answer<T> = Result<T, ErrorKind>;

/// When a chunk is tried again after an error.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Next {
    AfterBackoff,
    In(u64),
    Never,
}

/// What is out of range never comes to the store, so nothing lapses over it.
pub(crate) fn must_be_delay(delay_ms: u64) -> Answer<()> {
    if delay_ms <= BACKOFF_MS_MAX { Ok(()) } else { Err(ErrorKind::InvalidInput) }
}

/// A wait: since when, how long at most, and how long it really is, once the store has told.
#[allow(clippy::struct_field_names, reason = "units stand at the end of names")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) set_at_ms: u64,
    pub(crate) full_ms: u64,
    pub(crate) told_ms: Option<u64>,
}

#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    pub(crate) new: NewChunk,
    /// What it depends on, and whether that counts as met.
    pub(crate) on: BTreeMap<u64, bool>,
    pub(crate) status: JobStatus,
    pub(crate) observed: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) output: Option<Json>,
    pub(crate) attempts: u32,
    pub(crate) losses: u32,
    pub(crate) fence: u64,
    /// Whether fenced calls are taken.
    open: bool,
    /// Who claimed last, unless somebody else had the last word.
    pub(crate) owner: Option<OwnerId>,
    pub(crate) lease: Option<Deadline>,
    pub(crate) wait: Option<Wait>,
    cause: Option<u64>,
    pub(crate) created_ms: u64,
    pub(crate) changed_ms: u64,
    pub(crate) revision: u64,
}

impl Chunk {
    pub(crate) fn unmet(&self) -> u32 {
        u32::try_from(self.on.values().filter(|met| !**met).count()).expect("few")
    }

    fn is_ready(&self) -> bool {
        self.status == Pending && self.unmet() == 0 && self.wait.is_none()
    }

    /// No claim, no delay, no cascade, no error: somebody else has the last word.
    fn take_away(&mut self) {
        (self.open, self.owner, self.lease, self.wait, self.cause) = (false, None, None, None, None);
    }

    /// The same of one that is not wanted, or not now: until somebody has had it, it waits for its manifest's moment.
    fn put_aside(&mut self, status: JobStatus) {
        let wait = self.wait.filter(|_| self.fence == 0);
        self.take_away();
        (self.status, self.wait) = (status, wait);
    }

    fn try_again(&mut self) {
        let wait = self.wait.filter(|_| self.fence == 0);
        self.start_over();
        self.wait = wait;
    }

    fn start_over(&mut self) {
        self.take_away();
        self.status = Pending;
        (self.observed, self.error, self.output) = (None, None, None);
        (self.attempts, self.losses) = (0, 0);
    }

    fn give_back(&mut self) {
        self.take_away();
        self.status = Pending;
    }

    fn deadline(&self) -> Option<Deadline> {
        match self.status {
            Processing => self.lease,
            // A wait that began in this very commit is not known yet, and not over.
            Pending if self.unmet() == 0 => self.wait.and_then(|wait| {
                wait.told_ms.map(|duration_ms| Deadline { set_at_ms: wait.set_at_ms, duration_ms })
            }),
            _ => None,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) spec: JobSpec,
    pub(crate) created_ms: u64,
    pub(crate) revision: u64,
    pub(crate) chunks: BTreeMap<u64, Chunk>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Chunk(i64, u64),
    ChunkGone(i64, u64),
    Job(i64),
    JobGone(i64),
    /// A dependency of the chunk began or ceased to count as met.
    Met(i64, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    Met,
    Broken,
    Revived,
    Unmet { through: bool },
}

fn news(before: JobStatus, after: JobStatus, through: bool) -> Option<News> {
    match (before, after) {
        (Done, Done) => None,
        (_, Done) => Some(News::Met),
        (Pending | Processing, Failed | Cancelled) => Some(News::Broken),
        (Failed | Cancelled, Pending) => Some(News::Revived),
        (Done, _) => Some(News::Unmet { through }),
        _ => None,
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) now_ms: u64,
    pub(crate) owner: OwnerId,
    pub(crate) dead: BTreeSet<OwnerId>,
    pub(crate) jobs: BTreeMap<i64, Job>,
    pub(crate) log: Vec<(u64, Told)>,
    pub(crate) revision: u64,
    last_job: i64,
    /// The latest time that a commit saw.
    clock_ms: u64,
    probed_ms: Option<u64>,
    wrote: bool,
}

impl Model {
    pub(crate) fn new(owner: OwnerId, now_ms: u64) -> Self {
        Model {
            now_ms,
            owner,
            dead: BTreeSet::new(),
            jobs: BTreeMap::new(),
            log: Vec::new(),
            revision: 0,
            last_job: 0,
            clock_ms: 0,
            probed_ms: None,
            wrote: false,
        }
    }

    // Looking

    pub(crate) fn job(&self, job: i64) -> Answer<&Job> {
        self.jobs.get(&job).ok_or(ErrorKind::JobNotFound)
    }

    pub(crate) fn chunk(&self, job: i64, chunk: u64) -> Answer<&Chunk> {
        self.job(job)?.chunks.get(&chunk).ok_or(ErrorKind::ChunkNotFound)
    }

    fn status(&self, job: i64, chunk: u64) -> Answer<JobStatus> {
        Ok(self.chunk(job, chunk)?.status)
    }

    pub(crate) fn dependents(&self, job: i64, on: u64) -> Vec<u64> {
        let chunks = &self.jobs[&job].chunks;
        chunks.iter().filter(|(_, chunk)| chunk.on.contains_key(&on)).map(|(id, _)| *id).collect()
    }

    pub(crate) fn ready(&self, job: i64) -> Vec<u64> {
        let chunks = &self.jobs[&job].chunks;
        let mut ready: Vec<u64> =
            chunks.iter().filter(|(_, chunk)| chunk.is_ready()).map(|(id, _)| *id).collect();
        ready.sort_by_key(|id| (std::cmp::Reverse(chunks[id].new.priority), *id));
        ready
    }

    fn all(&self) -> Vec<(i64, u64)> {
        self.jobs.iter().flat_map(|(job, of)| of.chunks.keys().map(|chunk| (*job, *chunk))).collect()
    }

    fn policy(&self, job: i64, chunk: u64) -> DependencyFailure {
        let of_job = self.jobs[&job].spec.on_dependency_failure;
        self.jobs[&job].chunks[&chunk].new.on_dependency_failure.or(of_job).unwrap_or_default()
    }

    pub(crate) fn attempts_max(&self, job: i64, chunk: &Chunk) -> u32 {
        chunk.new.attempts_max.or(self.jobs[&job].spec.attempts_max).unwrap_or(ATTEMPTS_MAX_DEFAULT)
    }

    pub(crate) fn losses_max(&self, job: i64, chunk: &Chunk) -> u32 {
        chunk.new.losses_max.or(self.jobs[&job].spec.losses_max).unwrap_or(LOSSES_MAX_DEFAULT)
    }

    fn lease_ms(&self, job: i64) -> u64 {
        self.jobs[&job].spec.lease_ms.unwrap_or(LEASE_MS_DEFAULT)
    }

    /// The wait after so many failures; its spread is for the store to say.
    fn wait(&self, job: i64, failures: u32) -> Option<Wait> {
        let backoff = self.jobs[&job].spec.backoff.unwrap_or_default();
        let factor = 1_u64.checked_shl(failures - 1).unwrap_or(u64::MAX);
        let full_ms = backoff.initial_ms.saturating_mul(factor).min(backoff.max_ms);
        (full_ms > 0).then_some(Wait { set_at_ms: self.now_ms, full_ms, told_ms: None })
    }

    /// A wait of which it is known how long it is.
    fn exact_wait(&self, delay_ms: u64) -> Option<Wait> {
        (delay_ms > 0).then_some(Wait { set_at_ms: self.now_ms, full_ms: delay_ms, told_ms: Some(delay_ms) })
    }

    // Changing

    fn next_revision(&mut self, told: Told) -> u64 {
        self.revision += 1;
        self.wrote = true;
        self.log.push((self.revision, told));
        self.revision
    }

    fn edit(&mut self, job: i64, chunk: u64) -> &mut Chunk {
        self.wrote = true;
        self.jobs.get_mut(&job).expect("the job exists").chunks.get_mut(&chunk).expect("the chunk exists")
    }

    /// Changes a chunk, under a revision of its own.
    fn change(&mut self, job: i64, chunk: u64, change: impl FnOnce(&mut Chunk)) {
        let revision = self.next_revision(Told::Chunk(job, chunk));
        let now_ms = self.now_ms;
        let chunk = self.edit(job, chunk);
        change(chunk);
        (chunk.revision, chunk.changed_ms) = (revision, now_ms);
    }

    /// Changes a chunk, and tells those that depend on it.
    fn happen(&mut self, job: i64, chunk: u64, through: bool, change: impl FnOnce(&mut Chunk)) {
        let before = self.jobs[&job].chunks[&chunk].status;
        self.change(job, chunk, change);
        let after = self.jobs[&job].chunks[&chunk].status;
        self.tell_all(job, VecDeque::from_iter(news(before, after, through).map(|news| (chunk, news))));
    }

    /// Tells of every failure of a job anew: what its chunks make of one has changed.
    fn tell_failures(&mut self, job: i64) {
        let chunks = &self.jobs[&job].chunks;
        let broken: Vec<u64> = chunks
            .iter()
            .filter(|(_, chunk)| matches!(chunk.status, Failed | Cancelled))
            .map(|(id, _)| *id)
            .collect();
        for id in broken {
            self.tell_all(job, VecDeque::from([(id, News::Broken)]));
        }
    }

    /// Tells of each, and of what comes of that.
    fn tell_all(&mut self, job: i64, mut lists: VecDeque<(u64, News)>) {
        while let Some((on, news)) = lists.pop_front() {
            for dependent in self.dependents(job, on) {
                lists.extend(self.tell(job, dependent, on, news).map(|news| (dependent, news)));
            }
        }
    }

    fn tell(&mut self, job: i64, chunk: u64, on: u64, told: News) -> Option<News> {
        let policy = self.policy(job, chunk);
        let state = &self.jobs[&job].chunks[&chunk];
        let (before, met) = (state.status, state.on[&on]);
        let by_this = before == Cancelled && state.cause == Some(on);
        match told {
            News::Met | News::Revived => {
                if told == News::Met && !met {
                    self.next_revision(Told::Met(job, chunk));
                    self.edit(job, chunk).on.insert(on, true);
                    self.unblocked(job, chunk);
                }
                if by_this {
                    self.change(job, chunk, Chunk::try_again);
                    let other = self.broken(job, chunk).filter(|_| policy == DependencyFailure::Cancel);
                    if let Some(other) = other {
                        self.cancel_by(job, chunk, other);
                    }
                }
            }
            News::Broken if met => {}
            News::Broken => match policy {
                DependencyFailure::Ignore => {
                    self.next_revision(Told::Met(job, chunk));
                    self.edit(job, chunk).on.insert(on, true);
                    self.unblocked(job, chunk);
                }
                DependencyFailure::Cancel if before == Pending => self.cancel_by(job, chunk, on),
                DependencyFailure::Cancel | DependencyFailure::Wait => {}
                other => panic!("the model has no {other}"),
            },
            News::Unmet { through } => {
                if met {
                    self.next_revision(Told::Met(job, chunk));
                }
                self.edit(job, chunk).on.insert(on, false);
                let open = self.jobs[&job].chunks[&chunk].open;
                if before == Done && through {
                    self.change(job, chunk, Chunk::start_over);
                } else if open {
                    self.change(job, chunk, Chunk::give_back);
                }
            }
        }
        let through = matches!(told, News::Unmet { through: true });
        news(before, self.jobs[&job].chunks[&chunk].status, through)
    }

    /// A dependency that failed or was cancelled, the last one.
    fn broken(&self, job: i64, chunk: u64) -> Option<u64> {
        let chunks = &self.jobs[&job].chunks;
        chunks[&chunk].on.keys().rev().copied().find(|on| matches!(chunks[on].status, Failed | Cancelled))
    }

    fn cancel_by(&mut self, job: i64, chunk: u64, on: u64) {
        self.change(job, chunk, |chunk| {
            chunk.put_aside(Cancelled);
            chunk.cause = Some(on);
            chunk.error = Some(format!("chunk {on}, which it depends on, failed or was cancelled"));
        });
    }

    // Commits

    /// A commit: whatever it answers, the time that it saw is kept where anything was written.
    fn commit<T>(&mut self, work: impl FnOnce(&mut Model) -> T) -> T {
        self.wrote = false;
        let was_back = self.now_ms.saturating_add(CLOCK_SLACK_MS) < self.clock_ms;
        let answer = work(self);
        if was_back {
            self.clock_ms = self.now_ms;
        } else if self.wrote {
            self.clock_ms = self.clock_ms.max(self.now_ms);
        }
        answer
    }

    /// A call that writes but takes no chunks.
    pub(crate) fn call<T>(&mut self, work: impl FnOnce(&mut Model) -> T) -> T {
        self.commit(|model| {
            let back = model.set_too_late();
            model.fall_due(&back);
            work(model)
        })
    }

    /// A call that takes chunks: what is due is dealt with first.
    fn claiming<T>(&mut self, work: impl FnOnce(&mut Model, &[(OwnerId, i64, u64)]) -> T) -> T {
        self.commit(|model| {
            let (due, back, held) = (model.due(), model.set_too_late(), model.held());
            model.fall_due(&due);
            model.fall_due(&back);
            work(model, &held)
        })
    }

    fn by_deadline(&self, is: impl Fn(Deadline) -> bool) -> Vec<(i64, u64)> {
        let deadlines = self.all().into_iter().filter_map(|(job, chunk)| {
            let deadline = self.jobs[&job].chunks[&chunk].deadline()?;
            is(deadline).then_some((deadline.set_at_ms.saturating_add(deadline.duration_ms), job, chunk))
        });
        let mut sorted: Vec<_> = deadlines.collect();
        sorted.sort_unstable();
        sorted.into_iter().map(|(_, job, chunk)| (job, chunk)).collect()
    }

    fn due(&self) -> Vec<(i64, u64)> {
        self.by_deadline(|d| d.set_at_ms.saturating_add(d.duration_ms) <= self.now_ms)
    }

    /// What was set under a time that is clearly later than now.
    fn set_too_late(&self) -> Vec<(i64, u64)> {
        let latest = self.now_ms.saturating_add(CLOCK_SLACK_MS);
        if latest < self.clock_ms { self.by_deadline(|d| d.set_at_ms > latest) } else { Vec::new() }
    }

    /// Who holds what, as it was before the commit.
    fn held(&self) -> Vec<(OwnerId, i64, u64)> {
        let held = self.all().into_iter().filter_map(|(job, chunk)| {
            let state = &self.jobs[&job].chunks[&chunk];
            (state.status == Processing).then(|| (state.owner.expect("somebody holds it"), job, chunk))
        });
        let mut sorted: Vec<_> = held.collect();
        sorted.sort_unstable();
        sorted
    }

    fn is_due(&self, deadline: Deadline) -> bool {
        let at = deadline.set_at_ms.saturating_add(deadline.duration_ms);
        self.now_ms >= at || self.now_ms.saturating_add(CLOCK_SLACK_MS) < deadline.set_at_ms
    }

    fn fall_due(&mut self, list: &[(i64, u64)]) {
        for &(job, chunk) in list {
            let state = &self.jobs[&job].chunks[&chunk];
            if state.status == Processing {
                if self.is_due(state.lease.expect("it is held")) {
                    self.lapse(job, chunk);
                }
            } else {
                self.promote(job, chunk);
            }
        }
    }

    fn promote(&mut self, job: i64, chunk: u64) {
        if let Some(Wait { set_at_ms, told_ms: Some(duration_ms), .. }) = self.jobs[&job].chunks[&chunk].wait
            && self.is_due(Deadline { set_at_ms, duration_ms })
        {
            self.happen(job, chunk, false, |chunk| chunk.wait = None);
        }
    }

    /// A wait that ended while the chunk was blocked is over as soon as it is not.
    fn unblocked(&mut self, job: i64, chunk: u64) {
        if self.jobs[&job].chunks[&chunk].unmet() == 0 {
            self.promote(job, chunk);
        }
    }

    fn lapse(&mut self, job: i64, chunk: u64) {
        let state = &self.jobs[&job].chunks[&chunk];
        let (losses, most) = (state.losses + 1, self.losses_max(job, state));
        let wait = if losses > 1 { self.wait(job, losses - 1) } else { None };
        self.happen(job, chunk, false, |chunk| {
            chunk.losses = losses;
            if most != 0 && losses >= most {
                chunk.take_away();
                (chunk.status, chunk.error) = (Failed, Some(format!("lost {losses} times")));
            } else {
                (chunk.status, chunk.wait) = (Pending, wait);
            }
        });
    }

    /// Puts back what the dead held. Says whether there was anything.
    fn reap_dead(&mut self, held: &[(OwnerId, i64, u64)]) -> bool {
        let mut any = false;
        for &(owner, job, chunk) in held {
            let is_dead = owner != self.owner && self.dead.contains(&owner);
            let state = &self.jobs[&job].chunks[&chunk];
            // Another may have taken it since.
            if is_dead && state.status == Processing && state.owner == Some(owner) {
                self.lapse(job, chunk);
                any = true;
            }
        }
        any
    }

    fn reap(&mut self) {
        loop {
            let any = self.commit(|model| {
                let (due, back, held) = (model.due(), model.set_too_late(), model.held());
                model.fall_due(&back);
                model.fall_due(&due);
                model.probed_ms = Some(model.now_ms);
                model.reap_dead(&held)
            });
            if !any {
                return;
            }
        }
    }

    pub(crate) fn open_as(&mut self, owner: OwnerId) {
        (self.owner, self.probed_ms) = (owner, None);
        self.reap();
    }

    pub(crate) fn resume_pending(&mut self, job: i64) -> Answer<Vec<u64>> {
        self.reap();
        let chunks = &self.job(job)?.chunks;
        Ok(chunks.iter().filter(|(_, chunk)| chunk.status == Pending).map(|(id, _)| *id).collect())
    }

    // Claims

    pub(crate) fn claim(&mut self, request: &ClaimRequest) -> Answer<Vec<(i64, u64)>> {
        self.claiming(|model, held| model.take(request, held))
    }

    fn take(&mut self, request: &ClaimRequest, held: &[(OwnerId, i64, u64)]) -> Answer<Vec<(i64, u64)>> {
        if let Some(job) = request.job_id {
            self.job(job)?;
        }
        let mut taken = Vec::new();
        self.take_ready(request, &mut taken);
        let asked =
            self.probed_ms.is_none_or(|last| self.now_ms < last || self.now_ms - last >= PROBE_INTERVAL_MS);
        if taken.len() < request.count && asked {
            self.probed_ms = Some(self.now_ms);
            if self.reap_dead(held) {
                self.take_ready(request, &mut taken);
            }
        }
        Ok(taken)
    }

    fn take_ready(&mut self, request: &ClaimRequest, taken: &mut Vec<(i64, u64)>) {
        let jobs: Vec<i64> =
            self.jobs.keys().copied().filter(|job| request.job_id.is_none_or(|j| j == *job)).collect();
        for job in jobs {
            for chunk in self.ready(job).into_iter().take(request.count - taken.len()) {
                let duration_ms = request.lease_ms.unwrap_or(self.lease_ms(job));
                let (owner, lease) = (self.owner, Deadline { set_at_ms: self.now_ms, duration_ms });
                self.happen(job, chunk, false, |chunk| {
                    (chunk.status, chunk.open) = (Processing, true);
                    (chunk.owner, chunk.lease) = (Some(owner), Some(lease));
                });
                let fence = self.revision;
                self.edit(job, chunk).fence = fence;
                taken.push((job, chunk));
            }
        }
    }

    fn must_be_open(&self, claim: Claim) -> Answer<()> {
        let state = self.chunk(claim.job_id, claim.chunk)?;
        if state.open && state.fence == claim.fence { Ok(()) } else { Err(ErrorKind::Superseded) }
    }

    pub(crate) fn complete(&mut self, claim: Claim, result: &Completion) -> Answer<Outcome> {
        let state = self.chunk(claim.job_id, claim.chunk)?;
        if state.status == Done && state.fence == claim.fence && state.owner.is_some() {
            let same = state.observed == result.checksum && state.output == result.output;
            return if same { Ok(Outcome::Unchanged) } else { Err(ErrorKind::ResultConflict) };
        }
        self.must_be_open(claim)?;
        Self::must_match(state, result.checksum.as_deref())?;
        self.happen(claim.job_id, claim.chunk, false, |chunk| {
            let owner = chunk.owner;
            chunk.take_away();
            (chunk.status, chunk.owner, chunk.error) = (Done, owner, None);
            (chunk.observed, chunk.output) = (result.checksum.clone(), result.output.clone());
        });
        Ok(Outcome::Changed)
    }

    fn must_match(state: &Chunk, observed: Option<&str>) -> Answer<()> {
        match (state.new.checksum.as_deref(), observed) {
            (Some(expected), Some(observed)) if expected != observed => Err(ErrorKind::ChecksumMismatch),
            _ => Ok(()),
        }
    }

    pub(crate) fn complete_and_claim(
        &mut self,
        claim: Claim,
        result: &Completion,
        request: &ClaimRequest,
    ) -> Answer<Vec<(i64, u64)>> {
        self.claiming(|model, held| {
            if let Some(job) = request.job_id {
                model.job(job)?;
            }
            model.complete(claim, result)?;
            model.take(request, held)
        })
    }

    pub(crate) fn fail(&mut self, claim: Claim, error: &str, next: Next) -> Answer<Outcome> {
        let may_retry = !matches!(next, Next::Never);
        let state = self.chunk(claim.job_id, claim.chunk)?;
        let ended = !state.open && state.fence == claim.fence && state.owner.is_some();
        let is_so = state.status == Failed || (may_retry && state.status == Pending);
        if ended && is_so && state.error.as_deref() == Some(error) {
            return Ok(Outcome::Unchanged);
        }
        self.must_be_open(claim)?;
        let (attempts, most) = (state.attempts + 1, self.attempts_max(claim.job_id, state));
        let spent = !may_retry || (most != 0 && attempts >= most);
        let wait = match next {
            _ if spent => None,
            Next::In(delay_ms) => self.exact_wait(delay_ms),
            _ => self.wait(claim.job_id, attempts),
        };
        self.happen(claim.job_id, claim.chunk, false, |chunk| {
            let owner = chunk.owner;
            chunk.take_away();
            (chunk.status, chunk.owner) = (if spent { Failed } else { Pending }, owner);
            (chunk.attempts, chunk.wait, chunk.error) = (attempts, wait, Some(error.to_owned()));
        });
        Ok(Outcome::Changed)
    }

    pub(crate) fn release(&mut self, claim: Claim, delay_ms: u64) -> Answer<Outcome> {
        let state = self.chunk(claim.job_id, claim.chunk)?;
        let given_back = if state.open { delay_ms == 0 } else { state.owner.is_none() };
        if state.status == Pending && state.fence == claim.fence && given_back {
            return Ok(Outcome::Unchanged);
        }
        self.must_be_open(claim)?;
        let wait = self.exact_wait(delay_ms);
        self.happen(claim.job_id, claim.chunk, false, |chunk| {
            chunk.give_back();
            chunk.wait = wait;
        });
        Ok(Outcome::Changed)
    }

    pub(crate) fn heartbeat(&mut self, claim: Claim) -> Answer<Outcome> {
        self.must_be_open(claim)?;
        let (job, chunk) = (claim.job_id, claim.chunk);
        let state = &self.jobs[&job].chunks[&chunk];
        let duration_ms = state.lease.map_or(self.lease_ms(job), |lease| lease.duration_ms);
        let lease = Some(Deadline { set_at_ms: self.now_ms, duration_ms });
        if state.status == Processing {
            self.edit(job, chunk).lease = lease;
        } else {
            self.happen(job, chunk, false, |chunk| {
                (chunk.status, chunk.lease, chunk.wait) = (Processing, lease, None);
                chunk.losses = chunk.losses.saturating_sub(1);
            });
        }
        Ok(Outcome::Changed)
    }

    pub(crate) fn release_all(&mut self) -> u64 {
        let mine: Vec<_> = self.held().into_iter().filter(|(owner, ..)| *owner == self.owner).collect();
        for &(_, job, chunk) in &mine {
            self.happen(job, chunk, false, Chunk::give_back);
        }
        mine.len() as u64
    }

    pub(crate) fn updates(&mut self, job: i64, updates: &[ChunkUpdate]) -> Answer<Vec<Answer<Outcome>>> {
        let of_another = |update: &ChunkUpdate| match update {
            ChunkUpdate::Complete(claim, _)
            | ChunkUpdate::Fail(claim, _)
            | ChunkUpdate::FailWithDelay(claim, ..)
            | ChunkUpdate::FailPermanently(claim, _)
            | ChunkUpdate::Release(claim)
            | ChunkUpdate::ReleaseWithDelay(claim, _)
            | ChunkUpdate::Heartbeat(claim) => claim.job_id != job,
            _ => false,
        };
        if updates.iter().any(of_another) {
            return Err(ErrorKind::InvalidInput);
        }
        for update in updates {
            if let ChunkUpdate::FailWithDelay(_, _, delay_ms) | ChunkUpdate::ReleaseWithDelay(_, delay_ms) =
                update
            {
                must_be_delay(*delay_ms)?;
            }
        }
        self.call(|model| {
            model.job(job)?;
            let each = updates.iter().map(|update| match update {
                ChunkUpdate::Complete(claim, result) => model.complete(*claim, result),
                ChunkUpdate::Fail(claim, error) => model.fail(*claim, error, Next::AfterBackoff),
                ChunkUpdate::FailWithDelay(claim, error, delay_ms) => {
                    model.fail(*claim, error, Next::In(*delay_ms))
                }
                ChunkUpdate::FailPermanently(claim, error) => model.fail(*claim, error, Next::Never),
                ChunkUpdate::Release(claim) => model.release(*claim, 0),
                ChunkUpdate::ReleaseWithDelay(claim, delay_ms) => model.release(*claim, *delay_ms),
                ChunkUpdate::Heartbeat(claim) => model.heartbeat(*claim),
                ChunkUpdate::Mark { chunk, status, detail } => {
                    model.mark(job, *chunk, *status, detail.as_deref())
                }
                other => panic!("{other:?} is no update known here"),
            });
            Ok(each.collect())
        })
    }

    // Steering

    pub(crate) fn mark(
        &mut self,
        job: i64,
        chunk: u64,
        to: JobStatus,
        detail: Option<&str>,
    ) -> Answer<Outcome> {
        self.job(job)?;
        if to == Processing {
            return Err(ErrorKind::Refused);
        }
        let state = self.chunk(job, chunk)?.clone();
        let from = state.status;
        let detail = detail.map(str::to_owned);
        match (from, to) {
            (Done, Done) if detail.is_none() || detail == state.observed => return Ok(Outcome::Unchanged),
            (Done, Done) => return Err(ErrorKind::ResultConflict),
            (Done, _) => return Err(ErrorKind::Refused),
            (Pending, Done) if state.unmet() > 0 => return Err(ErrorKind::Blocked),
            (_, Done) => Self::must_match(&state, detail.as_deref())?,
            (Failed, Failed) if state.error == detail => return Ok(Outcome::Unchanged),
            (Cancelled, Cancelled) => return Ok(Outcome::Unchanged),
            (Pending, Pending) if state.wait.is_none() && !state.open => return Ok(Outcome::Unchanged),
            _ => {}
        }
        self.happen(job, chunk, false, |chunk| match (from, to) {
            (Pending | Processing, Pending) => chunk.give_back(),
            (_, Pending) => chunk.start_over(),
            (_, Done) => {
                chunk.take_away();
                (chunk.status, chunk.observed, chunk.output, chunk.error) = (Done, detail, None, None);
            }
            (_, Failed) => {
                chunk.put_aside(Failed);
                chunk.error = detail;
            }
            _ => chunk.put_aside(Cancelled),
        });
        Ok(Outcome::Changed)
    }

    /// A call on many chunks: from which statuses it changes them, and from which it leaves them as they are. The answer
    /// is how many changed, named or reached.
    fn bulk(
        &mut self,
        job: i64,
        chunks: &Selection,
        [all, taken, left]: [&[JobStatus]; 3],
        through: bool,
        change: fn(&mut Chunk),
    ) -> Answer<u64> {
        self.job(job)?;
        let list = match chunks {
            Selection::All => {
                let of = |chunk: &Chunk| all.contains(&chunk.status);
                self.jobs[&job].chunks.iter().filter(|(_, chunk)| of(chunk)).map(|(id, _)| *id).collect()
            }
            Selection::Chunks(named) => {
                let mut named = named.clone();
                named.sort_unstable();
                named
            }
            other => panic!("the model has no {other:?}"),
        };
        for &chunk in &list {
            let status = self.status(job, chunk)?;
            if !taken.contains(&status) && !left.contains(&status) {
                return Err(ErrorKind::Refused);
            }
        }
        let count = |model: &Self| {
            model.jobs[&job].chunks.values().filter(|chunk| taken.contains(&chunk.status)).count() as u64
        };
        let before = count(self);
        for chunk in list {
            if taken.contains(&self.status(job, chunk)?) {
                self.happen(job, chunk, through, change);
            }
        }
        Ok(before - count(self))
    }

    pub(crate) fn retry(&mut self, job: i64, chunks: &Selection) -> Answer<u64> {
        self.bulk(job, chunks, [&[Failed], &[Failed, Cancelled], &[Pending]], false, Chunk::try_again)
    }

    pub(crate) fn reset(&mut self, job: i64, chunks: &Selection, reach: ResetReach) -> Answer<u64> {
        let through = reach == ResetReach::Through;
        self.bulk(job, chunks, [&[Done], &[Done], &[Pending]], through, Chunk::start_over)
    }

    pub(crate) fn cancel(&mut self, job: i64, chunks: &Selection) -> Answer<u64> {
        let open: &[JobStatus] = &[Pending, Processing, Failed];
        self.bulk(job, chunks, [open, open, &[Cancelled]], false, |chunk| chunk.put_aside(Cancelled))
    }

    pub(crate) fn new_job(&mut self, spec: &JobSpec) -> i64 {
        let job = self.last_job + 1;
        self.put_job(job, spec.clone());
        job
    }

    fn put_job(&mut self, job: i64, spec: JobSpec) {
        let (revision, created_ms) = (self.next_revision(Told::Job(job)), self.now_ms);
        self.last_job = self.last_job.max(job);
        let new = Job { spec: spec.clone(), created_ms, revision, chunks: BTreeMap::new() };
        let of = self.jobs.entry(job).or_insert(new);
        (of.spec, of.revision) = (spec, revision);
    }

    pub(crate) fn delete_job(&mut self, job: i64) -> Outcome {
        if self.jobs.remove(&job).is_none() {
            return Outcome::Unchanged;
        }
        self.next_revision(Told::JobGone(job));
        Outcome::Changed
    }

    pub(crate) fn add_dependency(&mut self, job: i64, chunk: u64, on: &[u64]) -> Answer<Outcome> {
        let state = self.chunk(job, chunk)?;
        let new: BTreeSet<u64> = on.iter().copied().filter(|on| !state.on.contains_key(on)).collect();
        let (status, before) = (state.status, state.unmet());
        if new.is_empty() {
            return Ok(Outcome::Unchanged);
        }
        if matches!(status, Processing | Done) {
            return Err(ErrorKind::Refused);
        }
        for &on in &new {
            if on == chunk {
                return Err(ErrorKind::DependencyCycle);
            }
            self.chunk(job, on).map_err(|_| ErrorKind::UnknownDependency)?;
        }
        let mut edges = self.edges(job);
        edges.extend(new.iter().map(|&on| (chunk, on)));
        if has_cycle(&edges) {
            return Err(ErrorKind::DependencyCycle);
        }
        self.wire(job, chunk, &new);
        self.change(job, chunk, |_| {});
        let state = &self.jobs[&job].chunks[&chunk];
        if state.unmet() > before && state.open {
            self.happen(job, chunk, false, Chunk::give_back);
        }
        self.cancel_if_broken(job, chunk, new);
        Ok(Outcome::Changed)
    }

    fn edges(&self, job: i64) -> Vec<(u64, u64)> {
        let chunks = &self.jobs[&job].chunks;
        chunks.iter().flat_map(|(id, chunk)| chunk.on.keys().map(|on| (*id, *on))).collect()
    }

    fn wire(&mut self, job: i64, chunk: u64, on: &BTreeSet<u64>) {
        let policy = self.policy(job, chunk);
        for &on in on {
            let met = match self.jobs[&job].chunks[&on].status {
                Done => true,
                Failed | Cancelled => policy == DependencyFailure::Ignore,
                Pending | Processing => false,
            };
            self.edit(job, chunk).on.insert(on, met);
        }
    }

    fn cancel_if_broken(&mut self, job: i64, chunk: u64, on: impl IntoIterator<Item = u64>) {
        let chunks = &self.jobs[&job].chunks;
        let mut on = on.into_iter();
        let broken = on.find(|on| matches!(chunks[on].status, Failed | Cancelled));
        let is_cancelled =
            self.policy(job, chunk) == DependencyFailure::Cancel && chunks[&chunk].status == Pending;
        if let Some(on) = broken.filter(|_| is_cancelled) {
            self.happen(job, chunk, false, |chunk| {
                chunk.put_aside(Cancelled);
                chunk.cause = Some(on);
                chunk.error = Some(format!("chunk {on}, which it depends on, failed or was cancelled"));
            });
        }
    }
}

/// Takes away what waits for nothing until nothing is left, or a circle is.
fn has_cycle(edges: &[(u64, u64)]) -> bool {
    let mut left = edges.to_vec();
    loop {
        let waiting: BTreeSet<u64> = left.iter().map(|(chunk, _)| *chunk).collect();
        let before = left.len();
        left.retain(|(_, on)| waiting.contains(on));
        if left.len() == before {
            return !left.is_empty();
        }
    }
}
