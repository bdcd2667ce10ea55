//! Records on their way from one store to another: a page of them as the authority has them, and taking it over.
//!
//! A page holds the newest state of whatever it is about, not what it was when the log was written. Taking over the
//! same thing twice does no harm then, and the copy comes to be the same once the last page is in: whatever changed
//! after a page was read stands in the log behind it.

use std::collections::{BTreeMap, BTreeSet};

use super::work::Work;
use super::{Applied, Reply, affairs, bulk, whole};
use crate::backends::contract::{
    Class, Cursor, CursorsNeed, JobPhase, JobRow, Key, Load, Loaded, LogRun, Meta, Needs, PageNeed, Row,
    Subject, page_of,
};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::model::{Json, Outcome};
use crate::standing::{Backfill, Role, id_text};

/// Jobs that are asked for at once to find the next one that is open: nearly all are.
const JOBS_PER_QUESTION: usize = 2;

/// A page ends once its rows have about so many bytes.
const PAGE_BYTES: usize = 4 << 20;

/// A row with its dependencies and whether each counts as met, in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FullRow {
    pub(crate) row: Row,
    pub(crate) on: Vec<(u64, bool)>,
}

impl FullRow {
    fn bytes(&self) -> usize {
        let json = |json: &Option<Json>| json.as_ref().map_or(0, |json| json.as_str().len());
        let record = &self.row.record;
        let error = record.error.as_ref().map_or(0, String::len);
        256 + json(&self.row.content.payload) + json(&record.output) + error + 16 * self.on.len()
    }
}

/// Which part of a store a page is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// Of the first copy: what follows `from`, and where it goes on; `None` at the end.
    First { from: Backfill, next: Option<Backfill> },
    /// What changed after one revision, up to another.
    Changes { since: u64, covered: u64 },
    /// What no revision tells of: leases of what is held, work that is left. Only of a store that has retired.
    Rest { at: u64 },
}

/// Records of a store, to be taken over as one commit.
#[derive(Debug, Clone)]
pub(crate) struct RecordPage {
    /// Whose they are.
    pub(crate) source: String,
    pub(crate) part: Part,
    /// The newest revision of the store.
    pub(crate) newest: u64,
    last_job: i64,
    clock_ms: u64,
    log: Vec<LogRun>,
    jobs_gone: Vec<i64>,
    jobs: Vec<JobRow>,
    pub(crate) rows: Vec<FullRow>,
    gone: Vec<Key>,
    /// For whom the log is kept, in the copy too.
    consumers: BTreeMap<String, u64>,
    rest: Option<Vec<Cursor>>,
}

impl RecordPage {
    fn new(meta: &Meta, part: Part) -> Self {
        RecordPage {
            source: id_text(meta.store_id),
            part,
            newest: meta.revision,
            last_job: meta.last_job,
            clock_ms: meta.clock_ms,
            log: Vec::new(),
            jobs_gone: Vec::new(),
            jobs: Vec::new(),
            rows: Vec::new(),
            gone: Vec::new(),
            consumers: affairs::of_callers(meta.affairs.as_deref()),
            rest: None,
        }
    }

    /// The chunks that it is about.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        self.rows.iter().map(|row| row.row.key).chain(self.gone.iter().copied())
    }

    /// What taking it over is known to need.
    pub(super) fn needs(&self, needs: &mut Needs) {
        needs.jobs.extend(self.jobs.iter().map(|job| job.id).chain(self.jobs_gone.iter().copied()));
        needs.rows.extend(self.keys());
        // What is here already is not written again.
        needs.payloads = true;
    }

    /// Whether there is nothing in it but what the other store has.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.part, Part::Changes { since, covered } if since == covered)
    }
}

/// What the store is, and how far it is.
pub(crate) fn meta(load: &mut dyn Load) -> Result<Meta> {
    Ok(load.load(&Needs::default())?.meta)
}

fn take_rows(loaded: &mut Loaded, keys: &[Key]) -> Vec<(Key, Option<FullRow>)> {
    let lists = std::mem::take(&mut loaded.edges_of);
    let row = |key: &Key| loaded.row(key).cloned();
    keys.iter().zip(lists).map(|(key, on)| (*key, row(key).map(|row| FullRow { row, on }))).collect()
}

/// Rows with their dependencies, and the revision of the store that they were read at.
pub(crate) fn full_rows(load: &mut dyn Load, keys: &[Key]) -> Result<(u64, Vec<Option<FullRow>>)> {
    let needs = Needs { rows: keys.to_vec(), payloads: true, edges_of: keys.to_vec(), ..Needs::default() };
    let mut loaded = load.load(&needs)?;
    let rows = take_rows(&mut loaded, keys);
    Ok((loaded.meta.revision, rows.into_iter().map(|(_, row)| row).collect()))
}

/// What a page has room for still.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    rows: usize,
    bytes: usize,
}

impl Room {
    /// Of a whole page.
    pub(crate) const PAGE: Self = Room { rows: limits::RECORDS_PER_PAGE_MAX, bytes: PAGE_BYTES };

    fn without(self, rows: &[FullRow]) -> Self {
        let bytes = rows.iter().map(FullRow::bytes).sum();
        Room { rows: self.rows.saturating_sub(rows.len()), bytes: self.bytes.saturating_sub(bytes) }
    }

    /// A job takes as much as a row.
    fn without_a_job(self) -> Self {
        Room { rows: self.rows.saturating_sub(1), ..self }
    }

    fn is_full(self) -> bool {
        self.rows == 0 || self.bytes == 0
    }
}

/// A job's rows with their dependencies above an id, as many as there is room for, and the revision that they were read
/// at.
pub(crate) fn full_page(
    load: &mut dyn Load,
    job: i64,
    classes: &'static [Class],
    after: Option<u64>,
    mut room: Room,
) -> Result<(u64, Vec<FullRow>, Option<u64>)> {
    let (mut rows, mut after, mut bytes) = (Vec::new(), after, 0);
    loop {
        let limit = whole::rows_next(rows.len(), bytes, bytes + room.bytes).min(room.rows);
        let need = PageNeed { job, classes, after, limit };
        let page = page_of(load, &need)?;
        let keys: Vec<Key> = page.iter().map(|row| row.key).collect();
        let Loaded { meta, edges_of: lists, .. } =
            load.load(&Needs { edges_of: keys, ..Needs::default() })?;
        let full = page.len() == limit;
        after = page.last().map(|row| row.key.chunk);
        let before = rows.len();
        rows.extend(page.into_iter().zip(lists).map(|(row, on)| FullRow { row, on }));
        let left = room.without(&rows[before..]);
        bytes += room.bytes - left.bytes;
        room = left;
        if !full || room.is_full() {
            return Ok((meta.revision, rows, after.filter(|_| full)));
        }
    }
}

/// The next job at or above an id that is open, as storage has it.
pub(crate) fn open_job_from(load: &mut dyn Load, from: Option<i64>) -> Result<Option<JobRow>> {
    let mut after = from;
    loop {
        let needs = Needs { jobs_after: Some((after, JOBS_PER_QUESTION)), ..Needs::default() };
        let jobs = load.load(&needs)?.jobs_after;
        after = jobs.last().map(|job| job.id);
        let more = jobs.len() == JOBS_PER_QUESTION;
        match jobs.into_iter().find(|job| job.phase == JobPhase::Open) {
            None if more => {}
            found => return Ok(found),
        }
    }
}

/// The next page of a first copy: of as many jobs as there is room for, so that many small ones are few commits, and that
/// jobs which are made meanwhile, and come through the log, do not put its end off.
pub(crate) fn first_page(load: &mut dyn Load, from: Backfill) -> Result<RecordPage> {
    let mut page = RecordPage::new(&meta(load)?, Part::First { from, next: None });
    let (mut after, mut room) = (from.job, Room::PAGE);
    let mut begun = match (from.job, from.chunk) {
        // In the midst of a job, which may have gone meanwhile.
        (Some(job), Some(_)) => super::query::job_row(load, job)?.filter(|row| row.phase == JobPhase::Open),
        _ => None,
    };
    loop {
        let (job, chunk) = match begun.take() {
            Some(job) => (job, from.chunk),
            None => match open_job_from(load, after)? {
                Some(job) => (job, None),
                None => return Ok(page),
            },
        };
        let (_, rows, more) = full_page(load, job.id, &[], chunk, room)?;
        room = room.without(&rows).without_a_job();
        after = Some(job.id);
        page.jobs.push(job);
        page.rows.extend(rows);
        if more.is_some() || room.is_full() {
            page.part = Part::First { from, next: Some(Backfill { job: after, chunk: more, ..from }) };
            return Ok(page);
        }
    }
}

/// What to do about jobs whose first import is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Invisible {
    /// The page ends in front of them: they come whole.
    Wait,
    /// They are left behind: nobody will finish them there.
    LeaveBehind,
}

/// What changed after a revision: the newest state of each thing.
pub(crate) fn changes_page(load: &mut dyn Load, since: u64, invisible: Invisible) -> Result<RecordPage> {
    let needs = Needs { log: Some((since, limits::RECORDS_PER_PAGE_MAX)), ..Needs::default() };
    let mut loaded = load.load(&needs)?;
    let meta = loaded.meta.clone();
    if since < meta.log_start {
        return Err(Error::new(
            ErrorKind::FeedTruncated,
            format!(
                "the copy is at revision {since} and the log begins behind {}; begin a new copy",
                meta.log_start
            ),
        ));
    }
    let mut page = RecordPage::new(&meta, Part::Changes { since, covered: meta.revision });
    let log = std::mem::take(&mut loaded.log);
    let (entries, mut covered) = entries(log, since, limits::RECORDS_PER_PAGE_MAX, meta.revision);
    let mut jobs: BTreeMap<i64, Option<JobRow>> = BTreeMap::new();
    let mut seen: BTreeSet<Key> = BTreeSet::new();
    let (mut named, mut bytes) = (BTreeSet::new(), 0);
    let mut rest = entries.as_slice();
    'slices: while !rest.is_empty() && bytes < PAGE_BYTES {
        let rows = whole::rows_next(entries.len() - rest.len(), bytes, PAGE_BYTES);
        let (slice, behind) = rest.split_at(rows.min(rest.len()));
        rest = behind;
        let is_row = |subject| matches!(subject, Subject::Chunk | Subject::ChunkGone | Subject::Met);
        let unknown = slice.iter().map(|(_, _, key)| key.job).filter(|job| !jobs.contains_key(job));
        let new = slice.iter().filter(|(_, subject, key)| is_row(*subject) && seen.insert(*key));
        let keys: Vec<Key> = new.map(|(_, _, key)| *key).collect();
        let jobs_asked = unknown.collect();
        let edges_of = keys.clone();
        let needs =
            Needs { jobs: jobs_asked, rows: keys.clone(), payloads: true, edges_of, ..Needs::default() };
        let mut state = load.load(&needs)?;
        jobs.append(&mut state.jobs);
        let mut rows: BTreeMap<Key, Option<FullRow>> = take_rows(&mut state, &keys).into_iter().collect();
        for (revision, subject, key) in slice {
            let job = jobs.get(&key.job).and_then(Option::as_ref);
            if invisible == Invisible::Wait && job.is_some_and(|job| job.phase == JobPhase::Importing) {
                covered = revision - 1;
                break 'slices;
            }
            if *subject == Subject::JobGone {
                page.jobs_gone.push(key.job);
            }
            if job.is_none_or(|job| job.phase != JobPhase::Open) {
                continue;
            }
            named.insert(key.job);
            match rows.remove(key) {
                Some(Some(row)) => {
                    bytes += row.bytes();
                    page.rows.push(row);
                }
                Some(None) => page.gone.push(*key),
                None => {}
            }
        }
        if bytes >= PAGE_BYTES
            && let Some((revision, _, _)) = slice.last()
        {
            covered = covered.min(*revision);
        }
    }
    page.jobs = named.into_iter().filter_map(|job| jobs.remove(&job).flatten()).collect();
    page.log = clip(loaded_runs(&entries), covered);
    page.part = Part::Changes { since, covered };
    Ok(page)
}

pub(super) type Entry = (u64, Subject, Key);

/// The single changes of runs of the log, so many at most, and up to which revision they are all.
pub(super) fn entries(runs: Vec<LogRun>, since: u64, limit: usize, newest: u64) -> (Vec<Entry>, u64) {
    let mut entries: Vec<Entry> = Vec::new();
    for run in runs {
        let passed = (since + 1).saturating_sub(run.revision);
        for i in passed..run.count {
            let revision = run.revision + i;
            if entries.len() == limit {
                return (entries, revision - 1);
            }
            let chunk = run.key.chunk + i;
            entries.push((revision, run.subject, Key { chunk, ..run.key }));
        }
    }
    let is_full = entries.len() == limit;
    match entries.last() {
        // There may be more that was not loaded.
        Some((last, _, _)) if is_full => {
            let last = *last;
            (entries, last)
        }
        // Fewer than were asked for are all there are.
        _ => (entries, newest),
    }
}

/// Changes as runs again.
fn loaded_runs(entries: &[Entry]) -> Vec<LogRun> {
    let mut runs: Vec<LogRun> = Vec::new();
    for &(revision, subject, key) in entries {
        if let Some(run) = runs.last_mut()
            && matches!(subject, Subject::Chunk | Subject::Met)
            && run.subject == subject
            && run.revision + run.count == revision
            && run.key.job == key.job
            && run.key.chunk + run.count == key.chunk
        {
            run.count += 1;
        } else {
            runs.push(LogRun { subject, revision, key, count: 1 });
        }
    }
    runs
}

fn clip(mut runs: Vec<LogRun>, covered: u64) -> Vec<LogRun> {
    runs.retain_mut(|run| {
        run.count = run.count.min((covered + 1).saturating_sub(run.revision));
        run.count > 0
    });
    runs
}

/// A job, and one of its chunks; all of them where there is none.
type JobAndChunk = (i64, Option<u64>);

/// What no revision tells of, of a store that has retired: claims with their newest leases, page by page of a job, and
/// at the end what is left to be told and who follows. `from` is where to go on.
pub(crate) fn rest_page(
    load: &mut dyn Load,
    from: Option<JobAndChunk>,
) -> Result<(RecordPage, Option<JobAndChunk>)> {
    let meta = meta(load)?;
    let mut page = RecordPage::new(&meta, Part::Rest { at: meta.revision });
    let (mut after, mut chunk) = from.map_or((None, None), |(job, chunk)| (Some(job), chunk));
    loop {
        let job = match (after, chunk) {
            (Some(job), Some(_)) => super::query::job_row(load, job)?,
            _ => open_job_from(load, after)?,
        };
        let Some(job) = job else { break };
        after = Some(job.id);
        if job.counts.of(Class::Processing) > 0 {
            let (_, rows, more) = full_page(load, job.id, &[Class::Processing], chunk, Room::PAGE)?;
            let id = job.id;
            page.jobs.push(job);
            page.rows = rows;
            return Ok((page, Some((id, more))));
        }
        chunk = None;
    }
    let cursors = load.load(&Needs { cursors: Some(CursorsNeed::ALL), ..Needs::default() })?.cursors;
    page.rest = Some(cursors);
    Ok((page, None))
}

/// Takes over a page. In order: a page that does not follow what is here is refused, one that is here already changes
/// nothing.
pub(super) fn apply(work: &mut Work<'_>, page: &RecordPage) -> Result<Applied> {
    let Some(standing) = work.standing().cloned() else {
        return Err(refused("the store is no copy of another one"));
    };
    if standing.role == Role::Authority || standing.detached || standing.peer != page.source {
        return Err(refused("the records are not of the store that this one follows"));
    }
    let unchanged = || Ok(Applied::Reply(Reply::Outcome(Outcome::Unchanged)));
    match (&page.part, standing.backfill) {
        (Part::First { from, .. }, Some(at)) if *from == at => {}
        (Part::First { .. }, _) => return unchanged(),
        (Part::Changes { .. } | Part::Rest { .. }, Some(_)) => {
            return Err(refused("the store is not wholly copied yet"));
        }
        (Part::Changes { covered, .. }, None) if *covered <= standing.copied => return unchanged(),
        // Somebody else was quicker with a part of it.
        (Part::Changes { since, .. }, None) if *since < standing.copied => return unchanged(),
        (Part::Changes { since, .. }, None) if *since > standing.copied => {
            return Err(refused("records between the newest that are here and these are missing"));
        }
        (Part::Rest { at }, None) if *at != standing.copied => {
            return Err(refused("records are missing that belong before these"));
        }
        (Part::Changes { .. } | Part::Rest { .. }, None) => {}
    }
    // What is gone goes first, a slice a commit: a job of its id may have come back since.
    for &job in &page.jobs_gone {
        if work.job_in_any_phase(job)?.is_some() {
            return purge(work, job);
        }
    }
    for job in &page.jobs {
        let phase = work.job_in_any_phase(job.id)?.map(|job| job.phase);
        if phase.is_some_and(|phase| phase != JobPhase::Open) {
            return purge(work, job.id);
        }
    }
    for job in &page.jobs {
        work.adopt_job(job.clone());
    }
    let keys: Vec<Key> = page.rows.iter().map(|row| row.row.key).collect();
    work.fetch(keys.iter().chain(&page.gone).copied())?;
    let lists = work.edges_of(&keys)?;
    for (FullRow { row, on }, old) in page.rows.iter().zip(lists) {
        work.adopt_row(row.clone(), &old, on);
    }
    let mut gone = Vec::new();
    for &key in &page.gone {
        if work.row_if_any(key)?.is_some() {
            gone.push(key);
        }
    }
    let lists = work.edges_of(&gone)?;
    for (key, old) in gone.into_iter().zip(lists) {
        work.adopt_deletion(key, &old)?;
    }
    work.meta.last_job = work.meta.last_job.max(page.last_job);
    work.meta.clock_ms = work.meta.clock_ms.max(page.clock_ms);
    // Single things may be as new as this.
    work.meta.revision = work.meta.revision.max(page.newest);
    work.adopt_log(&page.log);
    let mut copied = standing.copied;
    match &page.part {
        Part::First { next: None, from } => {
            copied = from.base;
            work.meta.log_start = work.meta.log_start.max(copied);
        }
        Part::First { .. } => {}
        Part::Changes { covered, .. } => copied = *covered,
        Part::Rest { .. } => {
            if let Some(cursors) = &page.rest {
                work.adopt_cursors(cursors)?;
            }
        }
    }
    let backfill = if let Part::First { next, .. } = page.part { next } else { None };
    work.change_affairs(|affairs| {
        affairs.consumers.clone_from(&page.consumers);
        if let Some(standing) = &mut affairs.standing {
            (standing.copied, standing.backfill) = (copied, backfill);
        }
    });
    Ok(Applied::Reply(Reply::Outcome(Outcome::Changed)))
}

/// Removes a slice of a job, in a commit of its own. The page comes again.
fn purge(work: &mut Work<'_>, job: i64) -> Result<Applied> {
    work.set_phase(job, JobPhase::Deleting);
    bulk::purge(work, job)?;
    Ok(Applied::Same)
}

fn refused(why: &str) -> Error {
    Error::new(ErrorKind::Refused, why)
}
