//! The working set of one commit: what its operations have read and changed so far.
//!
//! Every operation of a group sees what the ones before it did, though nothing is written yet. At the end the whole
//! set becomes one [`Delta`]. The working set keeps the books (index positions, counts, revisions, the log) and
//! decides nothing: that is [`crate::machine`]'s part.

mod adopt;
mod edges;

use std::any::Any;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use crate::backends::contract::{
    Class, Content, Counts, Cursor, Delta, DependentsNeed, DueNeed, Edge, EdgesNeed, Front, JobChange,
    JobPhase, JobRow, Key, Loaded, LogRun, Meta, Needs, PageNeed, Place, Rank, ReadyNeed, Record, Row,
    RowChange, Subject, WriteTx, page_of,
};
use crate::engine::{HAS_FEED, Host};
use crate::error::{Error, Result};
use crate::limits;
use crate::machine::{self, Event, Moment, Rules, Step};
use crate::model::{Durability, JobState, JobStatus, OwnerId};
use edges::ChangedEdges;

/// A row and how far it is from what storage holds.
struct RowSlot {
    /// As it is now; `None` where it does not exist (any more).
    row: Option<Row>,
    /// Where storage has it.
    before: Option<Place>,
    content_dirty: bool,
    record_dirty: bool,
    unmet_dirty: bool,
}

impl RowSlot {
    /// What storage is to do about it, if anything.
    fn into_change(self, key: Key) -> Option<RowChange> {
        let after = self.row.as_ref().map(machine::place);
        let gone = self.before.is_some() && after.is_none();
        let touched = self.content_dirty || self.record_dirty || self.unmet_dirty;
        if !gone && (!touched || after.is_none()) {
            return None;
        }
        let (content, record, unmet) = match self.row {
            None => (None, None, None),
            Some(row) => (
                self.content_dirty.then_some(row.content),
                self.record_dirty.then_some(row.record),
                self.unmet_dirty.then_some(row.unmet),
            ),
        };
        Some(RowChange { key, before: self.before, after, content, record, unmet })
    }
}

struct JobSlot {
    job: Option<JobRow>,
    existed: bool,
    /// More than the counts changed.
    dirty: bool,
    counts_dirty: bool,
}

#[derive(Default)]
struct CursorSlot {
    cursor: Option<Cursor>,
    stored: bool,
    dirty: bool,
}

/// A place in a list of dependencies.
pub(super) type ChunkAndOn = (u64, u64);

/// The working set.
pub(super) struct Work<'t> {
    tx: &'t mut dyn WriteTx,
    pub(super) host: &'t Host,
    pub(super) now_ms: u64,
    /// What storage holds of the store itself, moved on by each change.
    pub(super) meta: Meta,
    jobs: HashMap<i64, JobSlot>,
    rows: HashMap<Key, RowSlot>,
    windows: HashMap<i64, Front>,
    /// Jobs in which this group made something ready.
    readied: BTreeSet<i64>,
    /// Rows of each job that this group moved from one class to another, new ones among them, each time.
    moved: HashMap<i64, Vec<u64>>,
    /// New rows to which nothing else happens in this group; see [`Work::add_rows`].
    added: Vec<RowChange>,
    edges: ChangedEdges,
    cursors: Option<BTreeMap<Key, CursorSlot>>,
    /// Who waits for the chunks that this group is known to be about, as storage has it.
    waiting: HashMap<Key, Vec<(u64, bool)>>,
    log: Vec<LogRun>,
    /// The store's own record changed.
    meta_dirty: bool,
    /// The clock went back, and every deadline that was set after its present time has been dealt with.
    pub(super) clock_reset: bool,
    /// Locks of owners that were found dead: held until the commit is over.
    pub(super) guards: Vec<Box<dyn Any + Send>>,
    /// A failure of the storage itself: the whole group is off.
    pub(super) failure: Option<Error>,
}

impl<'t> Work<'t> {
    /// Opens the working set with what the group is known to need.
    pub(super) fn open(
        tx: &'t mut dyn WriteTx,
        host: &'t Host,
        now_ms: u64,
        needs: &Needs,
    ) -> Result<(Self, Loaded)> {
        let mut loaded = tx.load(needs)?;
        let mut work = Work {
            tx,
            host,
            now_ms,
            meta: loaded.meta.clone(),
            jobs: HashMap::new(),
            rows: HashMap::new(),
            windows: HashMap::new(),
            readied: BTreeSet::new(),
            moved: HashMap::new(),
            added: Vec::new(),
            edges: ChangedEdges::new(),
            cursors: None,
            waiting: HashMap::new(),
            log: Vec::new(),
            meta_dirty: false,
            clock_reset: false,
            guards: Vec::new(),
            failure: None,
        };
        work.absorb(&mut loaded);
        for (need, rows) in needs.ready.iter().zip(take(&mut loaded.ready)) {
            work.widen(*need, rows);
        }
        for (DependentsNeed { on, .. }, list) in needs.dependents.iter().zip(take(&mut loaded.dependents)) {
            work.waiting.insert(*on, list);
        }
        Ok((work, loaded))
    }

    /// Asks storage. What fails here fails the whole group: nothing of it is written.
    fn load(&mut self, needs: &Needs) -> Result<Loaded> {
        self.tx.load(needs).inspect_err(|e| self.failure = Some(e.clone()))
    }

    /// Takes in jobs and rows, unless the working set has them already (and newer).
    fn absorb(&mut self, loaded: &mut Loaded) {
        for (id, job) in take(&mut loaded.jobs) {
            self.jobs.entry(id).or_insert_with(|| JobSlot {
                existed: job.is_some(),
                job,
                dirty: false,
                counts_dirty: false,
            });
        }
        for (key, row) in take(&mut loaded.rows) {
            self.absorb_row(key, row);
        }
    }

    fn absorb_row(&mut self, key: Key, row: Option<Row>) {
        if let Entry::Vacant(entry) = self.rows.entry(key) {
            entry.insert(RowSlot {
                before: row.as_ref().map(machine::place),
                row,
                content_dirty: false,
                record_dirty: false,
                unmet_dirty: false,
            });
        }
    }

    /// Takes in rows that storage listed.
    pub(super) fn take_in(&mut self, rows: Vec<Row>) -> Vec<Key> {
        let keys = rows.iter().map(|row| row.key).collect();
        for row in rows {
            self.absorb_row(row.key, Some(row));
        }
        keys
    }

    // Jobs

    /// The job as storage and this group have it, in any phase.
    pub(super) fn job_in_any_phase(&mut self, id: i64) -> Result<Option<&JobRow>> {
        if !self.jobs.contains_key(&id) {
            let mut loaded = self.load(&Needs { jobs: [id].into(), ..Needs::default() })?;
            self.absorb(&mut loaded);
        }
        Ok(self.jobs.get(&id).and_then(|slot| slot.job.as_ref()))
    }

    /// A job that is open for work.
    pub(super) fn job(&mut self, id: i64) -> Result<&JobRow> {
        match self.job_in_any_phase(id)? {
            Some(job) if job.phase == JobPhase::Open => Ok(job),
            _ => Err(Error::job_not_found(id)),
        }
    }

    /// Creates or changes a job itself (its counts are kept by the working set).
    pub(super) fn put_job(&mut self, job: JobRow) {
        let revision = self.next_revision();
        self.log_one(Subject::Job, revision, Key { job: job.id, chunk: 0 });
        self.meta.last_job = self.meta.last_job.max(job.id);
        let slot = self.jobs.entry(job.id).or_insert(JobSlot {
            job: None,
            existed: false,
            dirty: true,
            counts_dirty: true,
        });
        slot.dirty = true;
        slot.job = Some(JobRow { revision, ..job });
    }

    /// Moves a job to another phase. Who follows the changes is not told.
    pub(super) fn set_phase(&mut self, id: i64, phase: JobPhase) {
        if let Some(slot) = self.jobs.get_mut(&id)
            && let Some(job) = &mut slot.job
        {
            job.phase = phase;
            slot.dirty = true;
        }
    }

    /// Removes a job whose rows and dependencies are gone already.
    pub(super) fn delete_job(&mut self, id: i64) {
        if let Some(slot) = self.jobs.get_mut(&id) {
            slot.job = None;
            slot.dirty = true;
        }
    }

    /// Notes in the log that a job is gone for everybody who follows the changes.
    pub(super) fn log_job_gone(&mut self, id: i64) {
        let revision = self.next_revision();
        self.log_one(Subject::JobGone, revision, Key { job: id, chunk: 0 });
    }

    fn count_edge(&mut self, edge: Edge, by: i64) {
        if let Some(slot) = self.jobs.get_mut(&edge.job)
            && let Some(job) = &mut slot.job
        {
            slot.counts_dirty = true;
            job.edges = job.edges.saturating_add_signed(by);
            if edge.on > edge.chunk {
                job.edges_upward = job.edges_upward.saturating_add_signed(by);
            }
        }
    }

    // Rows

    /// Makes sure that these rows are known, with one question for all that are not.
    pub(super) fn fetch(&mut self, keys: impl IntoIterator<Item = Key>) -> Result<()> {
        let rows: Vec<Key> = keys.into_iter().filter(|key| !self.rows.contains_key(key)).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let mut loaded = self.load(&Needs { rows, ..Needs::default() })?;
        self.absorb(&mut loaded);
        Ok(())
    }

    pub(super) fn row_if_any(&mut self, key: Key) -> Result<Option<&Row>> {
        if !self.rows.contains_key(&key) {
            self.fetch([key])?;
        }
        Ok(self.rows.get(&key).and_then(|slot| slot.row.as_ref()))
    }

    pub(super) fn row(&mut self, key: Key) -> Result<&Row> {
        self.row_if_any(key)?.ok_or_else(|| Error::chunk_not_found(key.job, key.chunk))
    }

    /// The row as a caller sees it. Its job and the row itself are known.
    pub(super) fn state(&mut self, key: Key) -> Result<JobState> {
        self.row(key)?;
        let spec = self.jobs.get(&key.job).and_then(|slot| slot.job.as_ref()).map(|job| &job.spec);
        let row = self.rows.get(&key).and_then(|slot| slot.row.as_ref());
        match (row, spec) {
            (Some(row), Some(spec)) => Ok(machine::state(row.clone(), spec)),
            _ => Err(Error::chunk_not_found(key.job, key.chunk)),
        }
    }

    /// What the machine would make of an event; nothing changes.
    fn decide(&mut self, key: Key, event: Event<'_>) -> Result<(JobStatus, Step)> {
        self.job_in_any_phase(key.job)?;
        self.row(key)?;
        let moment = Moment { now_ms: self.now_ms, revision: self.meta.revision + 1 };
        let spec = self.jobs.get(&key.job).and_then(|slot| slot.job.as_ref()).map(|job| &job.spec);
        let row = self.rows.get(&key).and_then(|slot| slot.row.as_ref());
        let (Some(row), Some(spec)) = (row, spec) else {
            return Err(Error::chunk_not_found(key.job, key.chunk));
        };
        let subject = machine::Subject {
            key,
            expected: row.content.checksum.as_deref(),
            record: &row.record,
            unmet: row.unmet,
            rules: Rules::of(spec, &row.content),
        };
        Ok((row.record.status, machine::step(subject, event, moment)?))
    }

    /// Whether the machine would take an event.
    pub(super) fn check(&mut self, key: Key, event: Event<'_>) -> Result<()> {
        self.decide(key, event).map(|_| ())
    }

    /// Tells the machine of an event and keeps what it decided.
    pub(super) fn happen(&mut self, key: Key, event: Event<'_>) -> Result<Happened> {
        let (before, step) = self.decide(key, event)?;
        let record = match step {
            Step::Unchanged => return Ok(Happened::Nothing),
            Step::Changed(record) => {
                let revision = self.next_revision();
                self.log_one(Subject::Chunk, revision, key);
                record
            }
            Step::Touched(record) => record,
        };
        let after = record.status;
        self.edit(key, |slot| {
            slot.record_dirty = true;
            if let Some(row) = &mut slot.row {
                row.record = Arc::new(record);
            }
        });
        Ok(Happened::Changed { before, after })
    }

    /// Adds a row that does not exist yet.
    pub(super) fn add_row(&mut self, key: Key, content: Content, unmet: u32) {
        let revision = self.next_revision();
        self.log_one(Subject::Chunk, revision, key);
        self.rows.entry(key).or_insert(RowSlot {
            row: None,
            before: None,
            content_dirty: false,
            record_dirty: false,
            unmet_dirty: false,
        });
        self.edit(key, |slot| {
            let replaced = slot.before.is_some();
            (slot.content_dirty, slot.record_dirty, slot.unmet_dirty) =
                (true, replaced, unmet > 0 || replaced);
            slot.row = Some(fresh_row(key, Arc::new(Content { revision, ..content }), unmet));
        });
    }

    /// Adds many rows to a job that has none of them, in ascending order of their keys. They stay out of the books of
    /// this group, which an import fills with more than everything else together, until [`Work::book_added`].
    pub(super) fn add_rows(&mut self, job: i64, rows: impl ExactSizeIterator<Item = (u64, Content, u32)>) {
        self.added.reserve(rows.len());
        let mut counts = Counts::default();
        for (chunk, content, unmet) in rows {
            let key = Key { job, chunk };
            let revision = self.next_revision();
            self.log_one(Subject::Chunk, revision, key);
            let row = fresh_row(key, Arc::new(Content { revision, ..content }), unmet);
            let place = machine::place(&row);
            *counts.of_mut(place.class) += 1;
            self.added.push(RowChange {
                key,
                before: None,
                after: Some(place),
                content: Some(row.content),
                record: None,
                unmet: (unmet > 0).then_some(unmet),
            });
        }
        if let Some(slot) = self.jobs.get_mut(&job)
            && let Some(job) = &mut slot.job
        {
            slot.counts_dirty = true;
            for class in Class::ALL {
                *job.counts.of_mut(class) += counts.of(class);
            }
        }
    }

    /// Whether this group has come across rows of a job, be it to delete them.
    pub(super) fn has_rows_of(&self, job: i64) -> bool {
        self.rows.keys().any(|key| key.job == job)
    }

    /// Takes the rows of [`Work::add_rows`] into the books, for operations that may come across them.
    pub(super) fn book_added(&mut self) {
        for change in take(&mut self.added) {
            let key = change.key;
            self.note_moved(key);
            if change.after.is_some_and(|place| place.class == Class::Ready) {
                self.readied.insert(key.job);
            }
            self.move_in_window(key, None, change.after);
            let unmet = change.unmet.unwrap_or_default();
            let slot = RowSlot {
                row: change.content.map(|content| fresh_row(key, content, unmet)),
                before: None,
                content_dirty: true,
                record_dirty: false,
                unmet_dirty: unmet > 0,
            };
            self.rows.insert(key, slot);
        }
    }

    /// Writes another content or scheduling into a row.
    pub(super) fn revise(&mut self, key: Key, content: Content) {
        let revision = self.next_revision();
        self.log_one(Subject::Chunk, revision, key);
        self.edit(key, |slot| {
            slot.content_dirty = true;
            if let Some(row) = &mut slot.row {
                row.content = Arc::new(Content { revision, ..content });
            }
        });
    }

    /// Removes a row.
    pub(super) fn delete_row(&mut self, key: Key, logged: bool) {
        if logged {
            let revision = self.next_revision();
            self.log_one(Subject::ChunkGone, revision, key);
        }
        self.edit(key, |slot| slot.row = None);
    }

    fn note_moved(&mut self, key: Key) {
        self.moved.entry(key.job).or_default().push(key.chunk);
    }

    /// Changes one row, and moves it in the counts and in the window of ready rows.
    fn edit(&mut self, key: Key, change: impl FnOnce(&mut RowSlot)) {
        let Some(slot) = self.rows.get_mut(&key) else { return };
        let before = slot.row.as_ref().map(machine::place);
        change(slot);
        let after = slot.row.as_ref().map(machine::place);
        let (class_before, class_after) = (before.map(|p| p.class), after.map(|p| p.class));
        if class_before != class_after {
            self.note_moved(key);
            if class_after == Some(Class::Ready) {
                self.readied.insert(key.job);
            }
        }
        if class_before != class_after
            && let Some(job) = self.jobs.get_mut(&key.job)
        {
            job.counts_dirty = true;
            if let Some(job) = &mut job.job {
                if let Some(class) = class_before {
                    *job.counts.of_mut(class) -= 1;
                }
                if let Some(class) = class_after {
                    *job.counts.of_mut(class) += 1;
                }
            }
        }
        self.move_in_window(key, before, after);
    }

    fn move_in_window(&mut self, key: Key, before: Option<Place>, after: Option<Place>) {
        let Some(window) = self.windows.get_mut(&key.job) else { return };
        let ready = |place: Option<Place>| place.filter(|place| place.class == Class::Ready);
        if let Some(place) = ready(before) {
            window.ready.remove(&(place.rank, key.chunk));
        }
        if let Some(place) = ready(after)
            && window.covers((place.rank, key.chunk))
        {
            window.ready.insert((place.rank, key.chunk));
        }
    }

    // Ready rows

    /// Loads the front of a job's ready rows as far as needed and hands out the first in claim order.
    pub(super) fn next_ready(&mut self, job: i64, wanted: usize) -> Result<Option<Key>> {
        loop {
            let window = self.windows.get(&job);
            if let Some(first) = window.and_then(|w| w.ready.first()) {
                return Ok(Some(Key { job, chunk: first.1 }));
            }
            let after = match window {
                Some(Front { horizon: None, .. }) => return Ok(None),
                Some(Front { horizon, .. }) => *horizon,
                None => None,
            };
            let need = ReadyNeed { job, after, limit: wanted.max(1) };
            let mut loaded = self.load(&Needs { ready: vec![need], ..Needs::default() })?;
            self.widen(need, loaded.ready.pop().unwrap_or_default());
        }
    }

    /// Widens a window by what storage answered, corrected by what this group has changed meanwhile.
    fn widen(&mut self, need: ReadyNeed, rows: Vec<Row>) {
        let full = rows.len() >= need.limit;
        let horizon =
            rows.last().filter(|_| full).map(|row| (machine::rank(row.content.priority), row.key.chunk));
        let mut ready: BTreeSet<(Rank, u64)> =
            rows.iter().map(|row| (machine::rank(row.content.priority), row.key.chunk)).collect();
        self.take_in(rows);
        let changed = self.rows.iter().filter(|(key, slot)| {
            key.job == need.job
                && (slot.record_dirty || slot.unmet_dirty || slot.content_dirty || slot.row.is_none())
        });
        for (key, slot) in changed {
            if let Some(before) = slot.before {
                ready.remove(&(before.rank, key.chunk));
            }
            if let Some(now) = slot.row.as_ref().map(machine::place) {
                let position = (now.rank, key.chunk);
                let inside = need.after.is_none_or(|after| position > after)
                    && horizon.is_none_or(|horizon| position <= horizon);
                if now.class == Class::Ready && inside {
                    ready.insert(position);
                }
            }
        }
        let window = self.windows.entry(need.job).or_default();
        window.ready.append(&mut ready);
        window.horizon = horizon;
    }

    /// The lowest job at or above an id that has something ready, or had before this group took it.
    pub(super) fn ready_job_from(&mut self, from: i64) -> Result<Option<i64>> {
        let stored = self.load(&Needs { ready_job_from: Some(from), ..Needs::default() })?.ready_job;
        let here = self.readied.range(from..).next().copied();
        Ok(stored.into_iter().chain(here).min())
    }

    // Dependencies

    /// Chunks that wait for this one, above an id, in ascending order, and whether it counts as met for each.
    pub(super) fn dependents(
        &mut self,
        on: Key,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(Key, bool)>> {
        let known = if after.is_none() { self.waiting.get(&on) } else { None };
        let stored = match known {
            // It was loaded up to the limit of one commit, or whole.
            Some(list) if list.len() >= limit || list.len() <= limits::DEPENDENTS_PER_COMMIT_MAX => {
                list.clone()
            }
            _ => {
                let dependents = vec![DependentsNeed { on, after, limit }];
                let mut loaded =
                    self.load(&Needs { dependents, dependent_rows: true, ..Needs::default() })?;
                self.absorb(&mut loaded);
                loaded.dependents.pop().unwrap_or_default()
            }
        };
        let last = stored.last().filter(|_| stored.len() >= limit).map(|(chunk, _)| *chunk);
        let edge_of = |chunk| Edge { job: on.job, chunk, on: on.chunk };
        let mut found = stored;
        let mut changed = self.edges.on(on).peekable();
        if changed.peek().is_some() {
            found.retain(|&(chunk, _)| self.edges.get(&edge_of(chunk)).is_none());
            let inside =
                |chunk| after.is_none_or(|after| chunk > after) && last.is_none_or(|last| chunk <= last);
            let changed = changed.filter(|(chunk, _)| inside(*chunk));
            found.extend(changed.filter_map(|(chunk, state)| Some((chunk, state?))));
            found.sort_unstable();
        }
        Ok(found.into_iter().take(limit).map(|(chunk, met)| (Key { job: on.job, chunk }, met)).collect())
    }

    /// The chunks that each of these depends on, in ascending order.
    pub(super) fn dependencies(&mut self, keys: &[Key]) -> Result<Vec<Vec<u64>>> {
        let mut lists = self.load(&Needs { dependencies: keys.to_vec(), ..Needs::default() })?.dependencies;
        for (key, list) in keys.iter().zip(&mut lists) {
            for (on, state) in self.edges.of(*key) {
                match (list.binary_search(&on), state) {
                    (Err(at), Some(_)) => list.insert(at, on),
                    (Ok(at), None) => {
                        list.remove(at);
                    }
                    _ => {}
                }
            }
        }
        Ok(lists)
    }

    /// A page of a job's dependencies by (chunk, on), as storage and this group have them, and behind which one it
    /// goes on where it does.
    pub(super) fn edges_page(
        &mut self,
        job: i64,
        after: Option<ChunkAndOn>,
        limit: usize,
    ) -> Result<(Vec<Edge>, Option<ChunkAndOn>)> {
        let need = EdgesNeed { job, after, limit };
        let mut found = self.load(&Needs { edges: Some(need), ..Needs::default() })?.edges;
        let next = found.last().filter(|_| found.len() >= limit).map(|edge| (edge.chunk, edge.on));
        found.retain(|edge| self.edges.get(edge).is_none());
        for (edge, state) in self.edges.from(job, after.unwrap_or((0, 0))) {
            let at = (edge.chunk, edge.on);
            if next.is_some_and(|next| at > next) {
                break;
            }
            if state.is_some() && after != Some(at) {
                found.push(edge);
            }
        }
        found.sort_unstable();
        Ok((found, next))
    }

    /// Adds a dependency, met or not; the dependent's count follows.
    pub(super) fn add_edge(&mut self, edge: Edge, met: bool) {
        self.edges.set(edge, Some(met));
        self.count_edge(edge, 1);
    }

    /// Removes a dependency. The dependent's count is for the caller to set.
    pub(super) fn remove_edge(&mut self, edge: Edge) {
        if self.edges.get(&edge) != Some(&None) {
            self.edges.set(edge, None);
            self.count_edge(edge, -1);
        }
    }

    /// Notes that a dependency was met, or is not any more; the dependent's count and place follow.
    pub(super) fn set_met(&mut self, edge: Edge, met: bool) {
        let revision = self.next_revision();
        self.log_one(Subject::Met, revision, Key { job: edge.job, chunk: edge.chunk });
        self.correct_met(edge, met);
    }

    /// The same without a revision: for what is being put down as it always was.
    pub(super) fn correct_met(&mut self, edge: Edge, met: bool) {
        self.edges.set_met(edge, met);
        let key = Key { job: edge.job, chunk: edge.chunk };
        let unmet = self.rows.get(&key).and_then(|s| s.row.as_ref()).map_or(0, |row| row.unmet);
        self.set_unmet(key, if met { unmet.saturating_sub(1) } else { unmet + 1 });
    }

    /// Sets how many dependencies of a row are not met.
    pub(super) fn set_unmet(&mut self, key: Key, unmet: u32) {
        self.edit(key, |slot| {
            slot.unmet_dirty = true;
            if let Some(row) = &mut slot.row {
                row.unmet = unmet;
            }
        });
    }

    /// Notes a change of a row that its record does not show: of its dependencies.
    pub(super) fn note_change(&mut self, key: Key) {
        if let Some(row) = self.rows.get(&key).and_then(|slot| slot.row.as_ref()) {
            let content = Content { updated_at_ms: self.now_ms, ..(*row.content).clone() };
            self.revise(key, content);
        }
    }

    // Lists

    /// A page of a job's rows, as storage and this group have them, and behind which id it goes on where it does.
    pub(super) fn page(&mut self, need: PageNeed) -> Result<(Vec<Key>, Option<u64>)> {
        let rows = page_of(self.tx, &need).inspect_err(|e| self.failure = Some(e.clone()))?;
        let next = rows.last().filter(|_| rows.len() >= need.limit).map(|row| row.key.chunk);
        let mut keys = self.take_in(rows);
        let first = need.after.map_or(0, |after| after.saturating_add(1));
        let last = next.unwrap_or(u64::MAX);
        if first <= last {
            let moved = self.moved.get(&need.job).into_iter().flatten();
            let moved = moved.filter(|chunk| (first..=last).contains(*chunk));
            keys.extend(moved.map(|&chunk| Key { job: need.job, chunk }));
        }
        in_order(&mut keys);
        keys.retain(|key| {
            let row = self.rows.get(key).and_then(|slot| slot.row.as_ref());
            row.is_some_and(|row| {
                need.classes.is_empty() || need.classes.contains(&machine::place(row).class)
            })
        });
        Ok((keys, next))
    }

    pub(super) fn due(&mut self, need: DueNeed) -> Result<Vec<Key>> {
        let rows = self.load(&Needs { due: Some(need), ..Needs::default() })?.due;
        Ok(self.take_in(rows))
    }

    /// A page of what an owner holds, as storage and this group have it, and behind which row it goes on where it
    /// does.
    pub(super) fn held(
        &mut self,
        owner: OwnerId,
        after: Option<Key>,
        limit: usize,
    ) -> Result<(Vec<Key>, Option<Key>)> {
        let rows = self.load(&Needs { held: Some((owner, after, limit)), ..Needs::default() })?.held;
        let next = rows.last().filter(|_| rows.len() >= limit).map(|row| row.key);
        let mut keys = self.take_in(rows);
        // What this group claimed stands in the first page: storage has nothing of it.
        if after.is_none() {
            for (&job, chunks) in &self.moved {
                keys.extend(chunks.iter().map(|&chunk| Key { job, chunk }));
            }
        }
        in_order(&mut keys);
        keys.retain(|key| {
            let row = self.rows.get(key).and_then(|slot| slot.row.as_ref());
            row.is_some_and(|row| machine::place(row).holder == Some(owner))
        });
        Ok((keys, next))
    }

    pub(super) fn owners(&mut self) -> Result<Vec<OwnerId>> {
        Ok(self.load(&Needs { owners: true, ..Needs::default() })?.owners)
    }

    pub(super) fn jobs_after(&mut self, after: Option<i64>, limit: usize) -> Result<Vec<JobRow>> {
        Ok(self.load(&Needs { jobs_after: Some((after, limit)), ..Needs::default() })?.jobs_after)
    }

    // Cursors

    /// The cursors that storage holds, and those of this group.
    fn cursors(&mut self) -> Result<&mut BTreeMap<Key, CursorSlot>> {
        if self.cursors.is_none() {
            let stored = match self.meta.cursors {
                0 => Vec::new(),
                _ => self.load(&Needs { cursors: usize::MAX, ..Needs::default() })?.cursors,
            };
            let slots = stored
                .into_iter()
                .map(|c| (c.key, CursorSlot { cursor: Some(c), stored: true, dirty: false }));
            self.cursors = Some(slots.collect());
        }
        Ok(self.cursors.get_or_insert_default())
    }

    /// Leaves a list of dependents to a later commit.
    pub(super) fn put_cursor(&mut self, cursor: Cursor) -> Result<()> {
        let slot = self.cursors()?.entry(cursor.key).or_default();
        (slot.cursor, slot.dirty) = (Some(cursor), true);
        Ok(())
    }

    /// Nothing is left to be told to the dependents of a chunk.
    pub(super) fn delete_cursor(&mut self, key: Key) -> Result<()> {
        if let Some(slot) = self.cursors()?.get_mut(&key) {
            (slot.cursor, slot.dirty) = (None, true);
        }
        Ok(())
    }

    /// What is left to be told to the dependents of a chunk.
    pub(super) fn cursor(&mut self, key: Key) -> Result<Option<Cursor>> {
        Ok(self.cursors()?.get(&key).and_then(|slot| slot.cursor))
    }

    /// The first cursor that is left to work on.
    pub(super) fn first_cursor(&mut self) -> Result<Option<Cursor>> {
        Ok(self.cursors()?.values().find_map(|slot| slot.cursor))
    }

    /// Whether dependents are left to a later commit.
    pub(super) fn has_cursors(&self) -> bool {
        match &self.cursors {
            None => self.meta.cursors > 0,
            Some(cursors) => cursors.values().any(|slot| slot.cursor.is_some()),
        }
    }

    // The end

    fn next_revision(&mut self) -> u64 {
        self.meta.revision += 1;
        self.meta.revision
    }

    fn log_one(&mut self, subject: Subject, revision: u64, key: Key) {
        if let Some(run) = self.log.last_mut() {
            let next = Key { job: run.key.job, chunk: run.key.chunk.wrapping_add(run.count) };
            let joins = matches!(subject, Subject::Chunk | Subject::Met) && run.subject == subject;
            if joins && next == key && run.revision + run.count == revision {
                run.count += 1;
                return;
            }
        }
        self.log.push(LogRun { subject, revision, key, count: 1 });
    }

    /// Whether anything is to be written.
    pub(super) fn is_dirty(&self) -> bool {
        !self.log.is_empty()
            || !self.edges.is_empty()
            || self.clock_reset
            || self.meta_dirty
            || self.cursors.iter().flatten().any(|(_, slot)| slot.dirty)
            || self.jobs.values().any(|slot| slot.dirty || slot.counts_dirty)
            || self.rows.values().any(|slot| slot.record_dirty)
    }

    /// Everything that changed, as one step for storage.
    pub(super) fn into_delta(self) -> Delta {
        let mut meta = self.meta;
        meta.clock_ms = if self.clock_reset { self.now_ms } else { meta.clock_ms.max(self.now_ms) };
        let affairs = meta.affairs.as_deref();
        let followed_from = affairs.and_then(|affairs| affairs.consumers.values().min().copied());
        let kept_from = meta.revision.saturating_sub(limits::FEED_REVISIONS_KEPT);
        meta.log_start = meta.log_start.max(kept_from.min(followed_from.unwrap_or(u64::MAX)));
        if let Some(affairs) = &meta.affairs {
            meta.log_start = affairs.behind_lost(meta.log_start);
        }
        // What an import adds is long, and in order already.
        let mut rows = self.added;
        rows.reserve(self.rows.len());
        rows.extend(self.rows.into_iter().filter_map(|(key, slot)| slot.into_change(key)));
        if !rows.is_sorted_by_key(|row| row.key) {
            // They are long: each is moved once this way.
            rows.sort_by_cached_key(|row| row.key);
        }
        let mut jobs: Vec<(i64, JobChange)> = self
            .jobs
            .into_iter()
            .filter_map(|(id, slot)| match slot.job {
                Some(job) if slot.dirty => Some((id, JobChange::Put(job))),
                Some(job) if slot.counts_dirty => Some((id, JobChange::Counts(job))),
                None if slot.existed && slot.dirty => Some((id, JobChange::Delete(id))),
                _ => None,
            })
            .collect();
        jobs.sort_unstable_by_key(|(id, _)| *id);
        let cursors = self.cursors.unwrap_or_default();
        if !cursors.is_empty() {
            meta.cursors = cursors.values().filter(|slot| slot.cursor.is_some()).count() as u64;
        }
        let changed = || cursors.iter().filter(|(_, slot)| slot.dirty);
        Delta {
            log_prune_to: meta.log_start,
            durability: Durability::Full,
            meta,
            rows,
            jobs: jobs.into_iter().map(|(_, change)| change).collect(),
            edges: self.edges.into_changes(),
            cursors_put: changed().filter_map(|(_, slot)| slot.cursor).collect(),
            cursors_deleted: changed()
                .filter(|(_, slot)| slot.stored && slot.cursor.is_none())
                .map(|(key, _)| *key)
                .collect(),
            log: if HAS_FEED { self.log } else { Vec::new() },
        }
    }
}

/// A row to which nothing has happened yet.
fn fresh_row(key: Key, content: Arc<Content>, unmet: u32) -> Row {
    Row { key, content, record: Record::shared_fresh(), unmet }
}

/// What an event came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happened {
    /// It held already.
    Nothing,
    /// The record changed, its status perhaps not.
    Changed { before: JobStatus, after: JobStatus },
}

/// Each key once, in ascending order.
fn in_order(keys: &mut Vec<Key>) {
    keys.sort_unstable();
    keys.dedup();
}
