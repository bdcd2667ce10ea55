//! The working set of one commit: what its operations have read and changed so far.
//!
//! Every operation of a group sees what the ones before it did, though nothing is written yet. At the end the whole
//! set becomes one [`Delta`]. The working set keeps the books (index positions, counts, revisions, the log) and
//! decides nothing: that is [`crate::machine`]'s part.

mod adopt;
mod cursors;
mod delta;
mod dependencies;
mod edges;
mod lists;

use std::any::Any;
use std::collections::BTreeSet;
use std::collections::hash_map::Entry;
use std::mem::take;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};

use crate::backends::contract::{
    Class, Content, Counts, Front, JobPhase, JobRow, Key, Loaded, LogRun, Meta, Needs, PAYLOAD_BYTES_HELD,
    Place, Record, Row, RowChange, Subject, WriteTx,
};
use crate::engine::Host;
use crate::error::{Error, ErrorKind, Result};
use crate::machine::{self, Event, Moment, Rules, Step};
use crate::model::{Deadline, JobState, JobStatus};
use cursors::Cursors;
use dependencies::Waiting;
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

struct JobSlot {
    job: Option<JobRow>,
    existed: bool,
    /// More than the counts changed.
    dirty: bool,
    counts_dirty: bool,
}

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
    /// Jobs in which this group made something ready, and did not take all of it since.
    readied: BTreeSet<i64>,
    /// Below this job storage has nothing ready that this group has not taken.
    taken_below: i64,
    /// The lowest job from there on in which storage has something ready, once it was asked; above every id where there is
    /// none.
    stored_ready: Option<i64>,
    /// Rows of each job that this group moved from one class to another, new ones among them, each time.
    moved: HashMap<i64, Vec<u64>>,
    /// New rows to which nothing else happens in this group; see [`Work::add_rows`].
    added: Vec<RowChange>,
    edges: ChangedEdges,
    cursors: Cursors,
    /// How many dependents the commit may tell still.
    pub(super) told_left: usize,
    /// Who waits for the chunks that this group is known to be about, as storage has it.
    waiting: HashMap<Key, Waiting>,
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
            taken_below: 0,
            stored_ready: None,
            moved: HashMap::new(),
            added: Vec::new(),
            edges: ChangedEdges::new(),
            cursors: Cursors::default(),
            told_left: host.bounds.of_all,
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
        for (need, list) in needs.dependents.iter().zip(take(&mut loaded.dependents)) {
            work.waiting.insert(need.on, Waiting::of(need, list));
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
        match self.rows.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(RowSlot {
                    before: row.as_ref().map(machine::place),
                    row,
                    content_dirty: false,
                    record_dirty: false,
                    unmet_dirty: false,
                });
            }
            // What was left in storage before is wanted now.
            Entry::Occupied(mut entry) => {
                if let (Some(old), Some(row)) = (&mut entry.get_mut().row, row)
                    && !old.is_whole()
                {
                    old.content = row.content;
                }
            }
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

    /// A job that the group has come across, or made.
    pub(super) fn known_job(&self, is_wanted: impl Fn(&JobRow) -> bool) -> Option<i64> {
        self.jobs.values().filter_map(|slot| slot.job.as_ref()).find(|job| is_wanted(job)).map(|job| job.id)
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
        self.readied.insert(job.id);
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

    /// The same, with payloads.
    pub(super) fn fetch_whole(&mut self, keys: impl IntoIterator<Item = Key>) -> Result<()> {
        let is_whole = |slot: &RowSlot| slot.row.as_ref().is_none_or(Row::is_whole);
        let rows: Vec<Key> =
            keys.into_iter().filter(|key| !self.rows.get(key).is_some_and(is_whole)).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let mut loaded = self.load(&Needs { rows, payloads: true, ..Needs::default() })?;
        self.absorb(&mut loaded);
        Ok(())
    }

    /// Lets go of rows with long outputs to which nothing has happened: they are read again where they are needed.
    pub(super) fn let_go(&mut self, keys: &[Key]) {
        for key in keys {
            let is_long = |row: &Row| row.record.output_bytes() > PAYLOAD_BYTES_HELD;
            let is_clean = |slot: &RowSlot| !(slot.content_dirty || slot.record_dirty || slot.unmet_dirty);
            if self.rows.get(key).is_some_and(|slot| is_clean(slot) && slot.row.as_ref().is_some_and(is_long))
            {
                self.rows.remove(key);
            }
        }
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

    /// The row as a caller sees it.
    pub(super) fn state(&mut self, key: Key) -> Result<JobState> {
        self.job_in_any_phase(key.job)?;
        self.fetch_whole([key])?;
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
            let text = "the job of this chunk is missing; restore the file from a copy";
            return Err(Error::new(ErrorKind::Corrupt, text).at(key.job, key.chunk));
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
    pub(super) fn add_row(&mut self, NewRow { chunk, content, not_before, unmet }: NewRow, job: i64) {
        let key = Key { job, chunk };
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
                (true, replaced || not_before.is_some(), unmet > 0 || replaced);
            slot.row = Some(new_row(key, Content { revision, ..content }, not_before, unmet));
        });
    }

    /// Adds many rows to a job that has none of them, in ascending order of their keys. They stay out of the books of
    /// this group, which an import fills with more than everything else together, until [`Work::book_added`].
    pub(super) fn add_rows(&mut self, job: i64, rows: impl ExactSizeIterator<Item = NewRow>) {
        self.added.reserve(rows.len());
        let mut counts = Counts::default();
        for NewRow { chunk, content, not_before, unmet } in rows {
            let key = Key { job, chunk };
            let revision = self.next_revision();
            self.log_one(Subject::Chunk, revision, key);
            let row = new_row(key, Content { revision, ..content }, not_before, unmet);
            let place = machine::place(&row);
            *counts.of_mut(place.class) += 1;
            self.added.push(RowChange {
                key,
                before: None,
                after: Some(place),
                content: Some(row.content),
                record: not_before.is_some().then_some(row.record),
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
            let record_dirty = change.record.is_some();
            let record = change.record.unwrap_or_else(Record::shared_fresh);
            let slot = RowSlot {
                row: change.content.map(|content| Row { key, content, record, unmet }),
                before: None,
                content_dirty: true,
                record_dirty,
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
                    let count = job.counts.of_mut(class);
                    match count.checked_sub(1) {
                        Some(fewer) => *count = fewer,
                        None => self.failure = Some(miscounted(key)),
                    }
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
}

/// There are more chunks of a class than the job says: rows were changed from outside.
#[cold]
fn miscounted(key: Key) -> Error {
    let text = "the counts of its job do not agree with this chunk; restore the file from a copy";
    Error::new(ErrorKind::Corrupt, text).at(key.job, key.chunk)
}

/// A chunk that a job gets.
pub(super) struct NewRow {
    pub(super) chunk: u64,
    /// Its revision is still to come.
    pub(super) content: Content,
    /// Until when it waits, where its manifest says so.
    pub(super) not_before: Option<Deadline>,
    pub(super) unmet: u32,
}

/// A row to which nothing has happened yet but that it may have to wait.
fn new_row(key: Key, content: Content, not_before: Option<Deadline>, unmet: u32) -> Row {
    let record = match not_before {
        None => Record::shared_fresh(),
        Some(_) => Arc::new(Record {
            not_before,
            updated_at_ms: content.updated_at_ms,
            revision: content.revision,
            ..Record::fresh()
        }),
    };
    Row { key, content: Arc::new(content), record, unmet }
}

/// What an event came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happened {
    /// It held already.
    Nothing,
    /// The record changed, its status perhaps not.
    Changed { before: JobStatus, after: JobStatus },
}
