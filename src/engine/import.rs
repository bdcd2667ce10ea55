//! Upserting chunks: what a manifest says becomes what the store holds.
//!
//! [`Import`] is one atomic step. A large first import goes in [`ImportSlice`]s under a phase in which the job is
//! invisible, and becomes visible in one small commit.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ids::Ids;
use super::numbers::{Numbered, Numbers};
use super::settle;
use super::work::{NewRow, Work};
use super::{Applied, Reply, Result, bulk, edges, finish};
use foldhash::{HashSet, HashSetExt};

use crate::backends::contract::{
    Class, Content, Edge, JobPhase, JobRow, Key, PAYLOAD_BYTES_HELD, PageNeed, Row,
};
use crate::error::{Error, ErrorKind};
use crate::limits;
use crate::machine::{self, Event};
use crate::model::{
    Deadline, DependencyFailure, ImportOptions, ImportReport, JobSpec, JobStatus, NewChunk, OnConflict,
    OnMissing, OwnerId,
};
use crate::owners::Probe;

/// Conflicts that an error lists at most.
const CONFLICTS_LISTED: usize = 1_000;

/// An import in one step.
#[derive(Debug)]
pub(crate) struct Import {
    pub(crate) job: i64,
    pub(crate) spec: JobSpec,
    /// In ascending order of their ids, each once, each checked by itself.
    pub(crate) chunks: Vec<NewChunk>,
    pub(crate) options: ImportOptions,
    /// Chunks that the manifest has beside these, known to be unchanged.
    pub(crate) also: Ids,
    /// The job that they were compared with, where they were compared before.
    pub(crate) compared: Option<Compared>,
}

/// What a job was when a large import was compared with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Compared {
    pub(crate) created_at_ms: u64,
    /// Chunks that were found unchanged.
    pub(crate) unchanged: u64,
}

impl Compared {
    /// Whether the job can still be the same: the same one, and nothing that was found is gone.
    fn still_holds(&self, job: Option<&JobRow>) -> bool {
        job.is_some_and(|job| {
            job.created_at_ms == self.created_at_ms
                && job.counts.by_class.iter().sum::<u64>() >= self.unchanged
        })
    }
}

/// How an existing chunk differs from what the manifest says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Difference {
    None,
    Scheduling,
    Content,
}

/// What is to be done with one chunk of the import.
enum Plan {
    Add,
    Keep,
    Unchanged,
    /// New content or scheduling over the old; with new content the chunk starts over.
    Revise {
        content: bool,
        /// Whether it waits for its manifest's moment, where there is one.
        moment: bool,
    },
}

impl Import {
    pub(super) fn apply(&self, work: &mut Work<'_>) -> Result<Applied> {
        if let Some(wait) = clear_the_way(work, self.job)? {
            return match wait {
                Way::Purging => Ok(Applied::Same),
                Way::Busy(error) => Err(error),
            };
        }
        let existing = work.job_in_any_phase(self.job)?.cloned();
        if self.compared.is_some_and(|compared| !compared.still_holds(existing.as_ref())) {
            let text = "the job was deleted or cut short while the import was compared with it; import again";
            return Err(Error::new(ErrorKind::Busy, text).in_job(self.job));
        }
        let mut report = ImportReport::default();
        let (plans, dependencies) = self.plan(work, existing.as_ref(), &mut report)?;
        let missing = self.missing(work, existing.as_ref())?;
        self.check(work, existing.as_ref(), &plans, &missing)?;

        // Nothing below can be refused.
        let of_job_before = existing.as_ref().and_then(|job| job.spec.on_dependency_failure);
        let is_new = existing.is_none() && !work.has_rows_of(self.job);
        let spec = put_spec(work, self.job, existing, self.spec.clone(), JobPhase::Open, None);
        if is_new && self.chunks.iter().all(|chunk| chunk.depends_on.is_empty()) {
            add_new(work, self.job, &self.chunks);
            return Ok(Applied::Reply(Reply::Import(report)));
        }
        let of_job = spec.on_dependency_failure;
        let mut other_policy = HashSet::new();
        for (chunk, plan) in self.chunks.iter().zip(&plans) {
            if let Plan::Revise { content, moment } = plan {
                let key = Key { job: self.job, chunk: chunk.id };
                let old = &work.row(key)?.content;
                let created_at_ms = old.created_at_ms;
                let policy = old.on_dependency_failure.or(of_job_before).unwrap_or_default();
                if policy != chunk.on_dependency_failure.or(of_job).unwrap_or_default() {
                    other_policy.insert(chunk.id);
                }
                work.revise(key, content_of(chunk, created_at_ms, work.now_ms));
                if *content {
                    finish::happen(work, key, Event::Revise)?;
                }
                if let Some(not_before_ms) = chunk.not_before_ms.filter(|_| *moment) {
                    finish::happen(work, key, Event::Schedule { not_before_ms })?;
                }
            }
        }
        let mut rewired: Vec<&NewChunk> = Vec::new();
        for ((chunk, plan), old) in self.chunks.iter().zip(&plans).zip(&dependencies) {
            let key = Key { job: self.job, chunk: chunk.id };
            match plan {
                Plan::Add => {
                    work.add_row(new_row(chunk, 0, work.now_ms), self.job);
                    if !chunk.depends_on.is_empty() {
                        rewired.push(chunk);
                    }
                }
                Plan::Revise { .. } => {
                    // Another policy may take an edge for met that was not, or the other way round.
                    if !same_set(old, &chunk.depends_on) || other_policy.contains(&chunk.id) {
                        for &on in old {
                            work.remove_edge(Edge { job: self.job, chunk: chunk.id, on });
                        }
                        work.set_unmet(key, 0);
                        rewired.push(chunk);
                    }
                }
                Plan::Keep | Plan::Unchanged => {}
            }
        }
        for chunk in rewired {
            wire(work, self.job, chunk, of_job)?;
        }
        if of_job_before.unwrap_or_default() != of_job.unwrap_or_default() {
            settle::tell_failures(work, self.job)?;
        }
        for key in missing {
            match self.options.on_missing {
                OnMissing::Keep => {}
                OnMissing::Cancel => {
                    finish::happen(work, key, Event::Cancel { cause: None })?;
                    report.cancelled += 1;
                }
                OnMissing::Delete => {
                    for on in work.dependencies(&[key])?.pop().unwrap_or_default() {
                        work.remove_edge(Edge { job: key.job, chunk: key.chunk, on });
                    }
                    work.delete_cursor(key)?;
                    work.delete_row(key, true);
                    report.deleted += 1;
                }
            }
        }
        Ok(Applied::Reply(Reply::Import(report)))
    }

    /// Decides on each chunk, and counts what was decided. Beside each, the dependencies that it has so far.
    fn plan(
        &self,
        work: &mut Work<'_>,
        existing: Option<&JobRow>,
        report: &mut ImportReport,
    ) -> Result<(Vec<Plan>, Vec<Vec<u64>>)> {
        let keys: Vec<Key> = self.chunks.iter().map(|chunk| Key { job: self.job, chunk: chunk.id }).collect();
        let mut dependencies = vec![Vec::new(); keys.len()];
        if let Some(job) = existing {
            let long = self.chunks.iter().filter(|chunk| has_long_payload(chunk));
            work.fetch_whole(long.map(|chunk| Key { job: self.job, chunk: chunk.id }))?;
            work.fetch(keys.iter().copied())?;
            if job.edges > 0 {
                dependencies = work.dependencies(&keys)?;
            }
        }
        let now_ms = work.now_ms;
        let mut plans = Vec::with_capacity(keys.len());
        let mut conflicts = Vec::new();
        for ((chunk, key), old) in self.chunks.iter().zip(keys).zip(&dependencies) {
            let row = match existing {
                Some(_) => work.row_if_any(key)?,
                None => None,
            };
            let is_begun = |row: &Row| matches!(row.record.status, JobStatus::Processing | JobStatus::Done);
            let busy = row.is_some_and(is_begun);
            let anew = Plan::Revise { content: true, moment: true };
            let plan = match row.map(|row| (row, difference(row, old, chunk, now_ms))) {
                None => Plan::Add,
                Some((_, Difference::None)) => Plan::Unchanged,
                Some((_, Difference::Scheduling)) if busy => Plan::Keep,
                Some((row, Difference::Scheduling)) => {
                    let moment = machine::is_rescheduled(&row.record, chunk.not_before_ms, now_ms);
                    Plan::Revise { content: false, moment }
                }
                Some((_, Difference::Content)) if busy => match self.options.on_conflict {
                    OnConflict::Refuse => {
                        conflicts.push(chunk.id);
                        Plan::Keep
                    }
                    OnConflict::Keep => Plan::Keep,
                    OnConflict::Reset => anew,
                },
                Some((_, Difference::Content)) => anew,
            };
            match plan {
                Plan::Add => report.added += 1,
                Plan::Keep => report.kept += 1,
                Plan::Unchanged => report.unchanged += 1,
                Plan::Revise { content: true, .. } if busy => report.reset += 1,
                Plan::Revise { .. } => report.updated += 1,
            }
            plans.push(plan);
        }
        if conflicts.is_empty() {
            return Ok((plans, dependencies));
        }
        let shown: Vec<String> = conflicts.iter().take(20).map(u64::to_string).collect();
        let text = format!(
            "the content of {} chunks that are processing or done would change (chunk {}{}); choose what becomes of such conflicts: keep the chunks as they are, or reset them",
            conflicts.len(),
            shown.join(", "),
            if conflicts.len() > shown.len() { ", ..." } else { "" }
        );
        conflicts.truncate(CONFLICTS_LISTED);
        Err(Error::new(ErrorKind::ContentConflict, text).in_job(self.job).with_conflicts(conflicts))
    }

    /// Chunks that the store has and the manifest has not, as far as something is to be done with them.
    fn missing(&self, work: &mut Work<'_>, existing: Option<&JobRow>) -> Result<Vec<Key>> {
        let mut missing = Vec::new();
        let classes: &[Class] = match self.options.on_missing {
            OnMissing::Keep => return Ok(missing),
            OnMissing::Cancel => {
                &[Class::Ready, Class::Blocked, Class::Delayed, Class::Processing, Class::Failed]
            }
            OnMissing::Delete => &[],
        };
        if existing.is_none() {
            return Ok(missing);
        }
        let mut after = None;
        loop {
            let need = PageNeed { job: self.job, classes, after, limit: limits::PAGE_ROWS_MAX };
            let (page, next) = work.page_where(need, |chunk| !self.has(chunk))?;
            missing.extend(page);
            if missing.len() > limits::IMPORT_ROWS_PER_COMMIT_MAX {
                return Err(too_many_missing().in_job(self.job));
            }
            if next.is_none() {
                break;
            }
            after = next;
        }
        Ok(missing)
    }

    fn has(&self, id: u64) -> bool {
        self.also.contains(id) || self.chunks.binary_search_by_key(&id, |chunk| chunk.id).is_ok()
    }

    /// Everything about dependencies that could be refused.
    fn check(
        &self,
        work: &mut Work<'_>,
        existing: Option<&JobRow>,
        plans: &[Plan],
        missing: &[Key],
    ) -> Result<()> {
        let written = || {
            let pairs = self.chunks.iter().zip(plans);
            pairs.filter(|(_, plan)| matches!(plan, Plan::Add | Plan::Revise { .. })).map(|(chunk, _)| chunk)
        };
        let deleted: HashSet<u64> = match self.options.on_missing {
            OnMissing::Delete => missing.iter().map(|key| key.chunk).collect(),
            _ => HashSet::new(),
        };
        let outside: Vec<Key> = written()
            .flat_map(|chunk| chunk.depends_on.iter())
            .filter(|&&on| self.chunks.binary_search_by_key(&on, |chunk| chunk.id).is_err())
            .map(|&on| Key { job: self.job, chunk: on })
            .collect();
        if existing.is_some() {
            work.fetch(outside.iter().copied())?;
        }
        let mut added = Vec::new();
        for chunk in written() {
            let key = Key { job: self.job, chunk: chunk.id };
            for &on in &chunk.depends_on {
                let known = self.chunks.binary_search_by_key(&on, |chunk| chunk.id).is_ok()
                    || (existing.is_some() && work.row_if_any(Key { job: self.job, chunk: on })?.is_some());
                if !known || deleted.contains(&on) {
                    return Err(edges::unknown(key, on));
                }
                added.push((chunk.id, on));
            }
        }
        let replaced: HashSet<u64> = written().map(|chunk| chunk.id).chain(deleted.iter().copied()).collect();
        edges::check_graph(work, self.job, &replaced, &added)?;
        for key in missing.iter().filter(|_| self.options.on_missing == OnMissing::Delete) {
            let stays = |dependent: &u64| !replaced.contains(dependent);
            // With more dependents than are deleted or rewired, one stays.
            let dependents = work.dependents(*key, None, replaced.len() + 1)?;
            if let Some((dependent, _)) = dependents.iter().find(|(dependent, _)| stays(dependent)) {
                let text = format!(
                    "it is no longer in the manifest and was to be deleted, but chunk {dependent} depends on it; keep or cancel it instead"
                );
                return Err(Error::new(ErrorKind::Refused, text).at(key.job, key.chunk));
            }
        }
        Ok(())
    }
}

/// What stands in the way of an import.
pub(super) enum Way {
    /// What is left of an older job of this id is being removed.
    Purging,
    /// Somebody else is importing.
    Busy(Error),
}

/// What may be taken back of an import that is under way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TakeBack {
    /// One whose importer is known to be gone.
    OfTheDead,
    /// One of which it is not known, too: somebody says so who must know.
    OfTheUnknown,
}

/// What is known of the importer of a job.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Goes,
    Unknown,
    Over,
}

/// Whether an importer lives that began at a time. Where nobody can say, time does, in the end.
pub(super) fn life_of(work: &mut Work<'_>, importer: OwnerId, begun_ms: u64) -> Life {
    let lease = Deadline { set_at_ms: begun_ms, duration_ms: limits::IMPORT_LEASE_MS };
    match work.host.liveness.probe(importer) {
        Probe::Dead(guard) => {
            work.guards.push(guard);
            Life::Over
        }
        Probe::Alive => Life::Goes,
        Probe::Unknown if lease.is_due(work.now_ms) => Life::Over,
        Probe::Unknown => Life::Unknown,
    }
}

/// Removes what is left of an older job of this id, one slice a commit; refuses where somebody imports into it.
pub(super) fn clear_the_way(work: &mut Work<'_>, id: i64) -> Result<Option<Way>> {
    clear(work, id, TakeBack::OfTheDead)
}

pub(super) fn clear(work: &mut Work<'_>, id: i64, reach: TakeBack) -> Result<Option<Way>> {
    let Some(job) = work.job_in_any_phase(id)? else { return Ok(None) };
    let (phase, importer, token, begun) = (job.phase, job.owner, job.revision, job.created_at_ms);
    match phase {
        JobPhase::Open => return Ok(None),
        JobPhase::Deleting => {}
        JobPhase::Importing => {
            let living = match importer {
                Some(owner) if owner == work.host.owner => work.host.imports.is_running(token),
                Some(owner) => match life_of(work, owner, begun) {
                    Life::Over => false,
                    Life::Unknown => reach == TakeBack::OfTheDead,
                    Life::Goes => true,
                },
                None => false,
            };
            if living {
                let text = "somebody is importing this job just now; try again when it is done (where the importer is known to be gone, delete the job first)";
                return Ok(Some(Way::Busy(Error::new(ErrorKind::Busy, text).in_job(id))));
            }
            work.set_phase(id, JobPhase::Deleting);
        }
    }
    bulk::purge(work, id)?;
    Ok(Some(Way::Purging))
}

/// One slice of a large first import. The token is the revision under which the job was begun: a job that was taken
/// back and begun anew has another.
#[derive(Debug)]
pub(crate) enum ImportSlice {
    /// Creates the job, invisible.
    Begin { job: i64, spec: JobSpec },
    /// Adds chunks, each new, each checked by itself.
    Rows { job: i64, token: u64, chunks: Vec<NewChunk> },
    /// Makes the job visible, whole.
    Publish { job: i64, token: u64 },
    /// Takes it all back.
    Discard { job: i64, token: u64 },
}

impl ImportSlice {
    pub(super) fn job(&self) -> i64 {
        match self {
            ImportSlice::Begin { job, .. }
            | ImportSlice::Rows { job, .. }
            | ImportSlice::Publish { job, .. }
            | ImportSlice::Discard { job, .. } => *job,
        }
    }

    pub(super) fn apply(&self, work: &mut Work<'_>) -> Result<Applied> {
        let job = self.job();
        match self {
            ImportSlice::Begin { spec, .. } => {
                match clear_the_way(work, job)? {
                    None => {}
                    Some(Way::Purging) => return Ok(Applied::Same),
                    Some(Way::Busy(error)) => return Err(error),
                }
                if work.job_in_any_phase(job)?.is_some() {
                    let text = "the job was created by somebody else meanwhile; import again";
                    return Err(Error::new(ErrorKind::Busy, text).in_job(job));
                }
                let owner = work.host.owner;
                put_spec(work, job, None, spec.clone(), JobPhase::Importing, Some(owner));
                let token = work.meta.revision;
                work.host.imports.start(token);
                Ok(Applied::Reply(Reply::Importing { job, token }))
            }
            ImportSlice::Rows { token, chunks, .. } => {
                must_be_importing(work, job, *token)?;
                let added = chunks.len() as u64;
                add_new(work, job, chunks);
                for chunk in chunks {
                    for &on in &chunk.depends_on {
                        work.add_edge(Edge { job, chunk: chunk.id, on }, false);
                    }
                }
                Ok(Applied::Reply(Reply::Count(added)))
            }
            ImportSlice::Publish { token, .. } => {
                let mut row = must_be_importing(work, job, *token)?;
                (row.phase, row.owner) = (JobPhase::Open, None);
                work.put_job(row);
                Ok(Applied::Reply(Reply::Count(0)))
            }
            ImportSlice::Discard { token, .. } => {
                // One whose caller was not there to be told that it had begun is under way no more either.
                work.host.imports.end(*token);
                let phase =
                    work.job_in_any_phase(job)?.filter(|row| row.revision == *token).map(|row| row.phase);
                if !matches!(phase, Some(JobPhase::Importing | JobPhase::Deleting)) {
                    return Ok(Applied::Reply(Reply::Count(0)));
                }
                work.set_phase(job, JobPhase::Deleting);
                Ok(if bulk::purge(work, job)? { Applied::Reply(Reply::Count(0)) } else { Applied::Same })
            }
        }
    }
}

/// Adds chunks of a job that has none of them, none of their dependencies met.
fn add_new(work: &mut Work<'_>, job: i64, chunks: &[NewChunk]) {
    let now_ms = work.now_ms;
    let rows = chunks.iter().map(|chunk| {
        let unmet = u32::try_from(chunk.depends_on.len()).unwrap_or(u32::MAX);
        new_row(chunk, unmet, now_ms)
    });
    work.add_rows(job, rows);
}

fn new_row(chunk: &NewChunk, unmet: u32, now_ms: u64) -> NewRow {
    NewRow {
        chunk: chunk.id,
        content: content_of(chunk, now_ms, now_ms),
        not_before: chunk.not_before_ms.and_then(|not_before_ms| machine::scheduled(not_before_ms, now_ms)),
        unmet,
    }
}

pub(super) fn must_be_importing(work: &mut Work<'_>, job: i64, token: u64) -> Result<JobRow> {
    match work.job_in_any_phase(job)? {
        Some(row) if row.phase == JobPhase::Importing && row.revision == token => Ok(row.clone()),
        _ => Err(Error::new(ErrorKind::Busy, "the import was taken back by somebody else; import again")
            .in_job(job)),
    }
}

/// The imports of this client that are under way, by their tokens.
#[derive(Debug, Clone, Default)]
pub(crate) struct Imports(Arc<Mutex<BTreeSet<u64>>>);

impl Imports {
    fn tokens(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn start(&self, token: u64) {
        self.tokens().insert(token);
    }

    pub(super) fn is_running(&self, token: u64) -> bool {
        self.tokens().contains(&token)
    }

    /// An import is over, however it ended.
    pub(crate) fn end(&self, token: u64) {
        self.tokens().remove(&token);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tokens().is_empty()
    }
}

/// Creates a job under a new id. Sent again under the same number, it finds what it created.
pub(super) fn new_job(
    work: &mut Work<'_>,
    numbers: &mut Numbers,
    (owner, seq): (OwnerId, u64),
    spec: JobSpec,
) -> Result<i64> {
    if seq != 0 {
        if !numbers.is_new(Numbered::NewJob, owner, seq)
            && let Some(id) = already_made(work, numbers, owner, seq)?
        {
            return Ok(id);
        }
        numbers.note(Numbered::NewJob, owner, seq);
    }
    let mut id = work.meta.last_job + 1;
    // A restore that is under way has jobs there that nobody sees; it gives way to this one.
    while work.job_in_any_phase(id)?.is_some() {
        id += 1;
    }
    crate::model::check_job_id(id)?;
    work.put_job(JobRow { owner: (seq != 0).then_some(owner), seq, ..JobRow::empty(id, spec, work.now_ms) });
    Ok(id)
}

/// A call that is sent again follows at once: others have not made more jobs meanwhile.
const JOBS_OF_OTHERS_MAX: usize = 1_000;

/// The job that a client made under a number. Its jobs have ascending ids, as they have numbers.
fn already_made(work: &mut Work<'_>, numbers: &mut Numbers, owner: OwnerId, seq: u64) -> Result<Option<i64>> {
    let is_it = |job: &JobRow| job.owner == Some(owner) && job.seq == seq;
    let mut found = numbers.job(owner, seq).or_else(|| work.known_job(is_it));
    if found.is_none() {
        look_for_jobs(work, numbers, owner, seq)?;
        found = numbers.job(owner, seq);
    }
    let Some(id) = found else { return Ok(None) };
    Ok(work.job_in_any_phase(id)?.filter(|job| is_it(job)).map(|job| job.id))
}

/// Notes the jobs that a client made under a number or later ones.
fn look_for_jobs(work: &mut Work<'_>, numbers: &mut Numbers, owner: OwnerId, seq: u64) -> Result<()> {
    let (mut made, mut others) = (Vec::new(), 0);
    let (mut before, mut limit) = (work.meta.last_job + 1, 8);
    'walk: loop {
        let jobs = work.jobs_before(before, limit)?;
        let Some(last) = jobs.last() else { break };
        before = last.id;
        for job in &jobs {
            if job.owner != Some(owner) || job.seq == 0 {
                others += 1;
            } else if job.seq < seq {
                break 'walk;
            } else {
                made.push((job.seq, job.id));
            }
        }
        if others >= JOBS_OF_OTHERS_MAX {
            break;
        }
        limit = (limit * 2).min(limits::PAGE_ROWS_MAX);
    }
    numbers.note(Numbered::NewJob, owner, made.first().map_or(0, |(newest, _)| *newest));
    numbers.note_jobs(owner, made);
    Ok(())
}

/// Writes the job itself, where it is new or says something new of itself.
fn put_spec(
    work: &mut Work<'_>,
    id: i64,
    existing: Option<JobRow>,
    spec: JobSpec,
    phase: JobPhase,
    owner: Option<OwnerId>,
) -> JobSpec {
    if let Some(job) = existing {
        let merged = merge(&job.spec, spec);
        if merged != job.spec {
            work.put_job(JobRow { spec: merged.clone(), ..job });
        }
        return merged;
    }
    work.put_job(JobRow { phase, owner, ..JobRow::empty(id, spec.clone(), work.now_ms) });
    spec
}

/// What a manifest leaves open stays as it was.
fn merge(old: &JobSpec, new: JobSpec) -> JobSpec {
    JobSpec {
        name: new.name.or_else(|| old.name.clone()),
        attempts_max: new.attempts_max.or(old.attempts_max),
        losses_max: new.losses_max.or(old.losses_max),
        lease_ms: new.lease_ms.or(old.lease_ms),
        backoff: new.backoff.or(old.backoff),
        on_dependency_failure: new.on_dependency_failure.or(old.on_dependency_failure),
    }
}

/// Gives a chunk that has none yet its dependencies.
fn wire(work: &mut Work<'_>, job: i64, chunk: &NewChunk, of_job: Option<DependencyFailure>) -> Result<()> {
    let key = Key { job, chunk: chunk.id };
    let policy = chunk.on_dependency_failure.or(of_job).unwrap_or_default();
    let mut statuses = Vec::with_capacity(chunk.depends_on.len());
    let mut unmet = 0;
    for &on in &chunk.depends_on {
        let status = work.row(Key { job, chunk: on })?.record.status;
        let met = settle::is_met(status, policy);
        work.add_edge(Edge { job, chunk: chunk.id, on }, met);
        unmet += u32::from(!met);
        statuses.push((on, status));
    }
    work.set_unmet(key, unmet);
    if unmet > 0 {
        // A claim that lapsed may not be finished late, now that it would come too early.
        finish::happen(work, key, Event::Block)?;
    }
    let cause = work.row(key)?.record.cause;
    if cause.is_some_and(|cause| !chunk.depends_on.contains(&cause)) {
        // What had cancelled it, and would bring it back, is none of its dependencies any more.
        finish::happen(work, key, Event::Retry)?;
    }
    settle::unblocked(work, key)?;
    if let Some(on) = settle::cause_of_cancel(statuses, policy)
        && work.row(key)?.record.status == JobStatus::Pending
    {
        finish::happen(work, key, Event::Cancel { cause: Some(on) })?;
    }
    Ok(())
}

/// How a stored chunk differs from what a manifest says of it. `old` are its dependencies, in ascending order.
pub(crate) fn is_unchanged(row: &Row, old: &[u64], chunk: &NewChunk, now_ms: u64) -> bool {
    difference(row, old, chunk, now_ms) == Difference::None
}

/// Whether it is compared with the payload that storage has; one that is left there is longer than any other.
pub(super) fn has_long_payload(chunk: &NewChunk) -> bool {
    chunk.payload.as_ref().is_some_and(|payload| payload.as_str().len() > PAYLOAD_BYTES_HELD)
}

fn difference(row: &Row, old: &[u64], chunk: &NewChunk, now_ms: u64) -> Difference {
    let content = &row.content;
    if content.checksum != chunk.checksum || content.payload != chunk.payload || !row.is_whole() {
        Difference::Content
    } else if content.priority != chunk.priority
        || content.attempts_max != chunk.attempts_max
        || content.losses_max != chunk.losses_max
        || content.on_dependency_failure != chunk.on_dependency_failure
        || !same_set(old, &chunk.depends_on)
        || machine::is_rescheduled(&row.record, chunk.not_before_ms, now_ms)
    {
        Difference::Scheduling
    } else {
        Difference::None
    }
}

fn same_set(ascending: &[u64], any_order: &[u64]) -> bool {
    if any_order.is_sorted() {
        return ascending == any_order;
    }
    let sorted: BTreeSet<u64> = any_order.iter().copied().collect();
    ascending.iter().copied().eq(sorted)
}

fn content_of(chunk: &NewChunk, created_at_ms: u64, now_ms: u64) -> Content {
    Content {
        checksum: chunk.checksum.clone(),
        payload: chunk.payload.clone(),
        left_bytes: 0,
        priority: chunk.priority,
        attempts_max: chunk.attempts_max,
        losses_max: chunk.losses_max,
        on_dependency_failure: chunk.on_dependency_failure,
        created_at_ms,
        updated_at_ms: now_ms,
        revision: 0,
    }
}

/// They go in one step, slices or not: one that went may be what another one that stays depends on.
fn too_many_missing() -> Error {
    let text = format!(
        "the manifest no longer has more than {} of the job's chunks, which is more than can go in one step; have missing ones kept, or delete the job and import it anew",
        limits::IMPORT_ROWS_PER_COMMIT_MAX
    );
    Error::new(ErrorKind::TooLarge, text)
}
