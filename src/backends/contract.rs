//! What the engine asks of a storage backend: to keep, order and count rows. Nothing here decides anything.
//!
//! A backend knows two verbs. [`Load::load`] answers a whole set of questions at once (on SQL: one statement per kind
//! of question, whatever their number); [`WriteTx::commit`] writes a whole set of changes as one durable step.
//! The index position of a row ([`Place`]) is computed by the pure side and handed over: to a backend a [`Class`]
//! is a number to sort by.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use crate::error::Result;
use crate::limits;
use crate::machine::Told;
use crate::model::{Deadline, DependencyFailure, Durability, JobSpec, JobStatus, Json, OwnerId};
use crate::standing::Affairs;

/// A chunk's full name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) job: i64,
    pub(crate) chunk: u64,
}

/// What the manifest said of a chunk, and when. Transitions never rewrite it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) checksum: Option<String>,
    pub(crate) payload: Option<Json>,
    /// How long the payload is that was left in storage, where it was: such a content is never written.
    pub(crate) left_bytes: usize,
    pub(crate) priority: i32,
    pub(crate) attempts_max: Option<u32>,
    pub(crate) losses_max: Option<u32>,
    pub(crate) on_dependency_failure: Option<DependencyFailure>,
    pub(crate) created_at_ms: u64,
    /// When the content or the scheduling was last written.
    pub(crate) updated_at_ms: u64,
    /// The revision that last wrote the content or the scheduling.
    pub(crate) revision: u64,
}

/// How a chunk's newest claim stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// No claim is open, and what ended the newest, if there was one, was no result of its holder's.
    Free,
    /// Its holder ended it with a result, or with an error: the same call again is answered with what it did.
    Settled,
    /// It is open: its holder's result is taken, even after a lapse. A resent claim is found by owner and number.
    Open {
        owner: OwnerId,
        /// The client's own number of the call.
        seq: u64,
    },
}

impl Hold {
    /// From what is kept of it; nothing where that contradicts itself. Older records name the owner of a settled claim.
    pub(crate) const fn of(
        owner: Option<OwnerId>,
        seq: u64,
        is_open: bool,
        is_settled: bool,
    ) -> Option<Self> {
        match owner {
            Some(owner) if is_open && !is_settled => Some(Hold::Open { owner, seq }),
            Some(_) if !is_open => Some(Hold::Settled),
            None if !is_open && is_settled => Some(Hold::Settled),
            None if !is_open => Some(Hold::Free),
            _ => None,
        }
    }
}

/// What has happened to a chunk. [`Record::fresh`] is the record of one to which nothing has happened:
/// a backend may keep that by keeping nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) status: JobStatus,
    pub(crate) observed: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) output: Option<Json>,
    pub(crate) attempts: u32,
    pub(crate) losses: u32,
    /// The newest claim's fence; 0 before the first.
    pub(crate) fence: u64,
    /// How the newest claim stands.
    pub(crate) hold: Hold,
    /// While the newest claim is open: after a lapse too, for a heartbeat that takes it up again.
    pub(crate) lease: Option<Deadline>,
    /// While pending and delayed.
    pub(crate) not_before: Option<Deadline>,
    /// While cancelled by a cascade: the dependency whose failure did it.
    pub(crate) cause: Option<u64>,
    pub(crate) updated_at_ms: u64,
    /// The revision of the last change; 0 for a fresh record.
    pub(crate) revision: u64,
}

impl Record {
    pub(crate) const fn fresh() -> Self {
        Record {
            status: JobStatus::Pending,
            observed: None,
            error: None,
            output: None,
            attempts: 0,
            losses: 0,
            fence: 0,
            hold: Hold::Free,
            lease: None,
            not_before: None,
            cause: None,
            updated_at_ms: 0,
            revision: 0,
        }
    }

    /// A fresh one for a row. Most rows of a new job have it, so they share it.
    pub(crate) fn shared_fresh() -> Arc<Self> {
        static FRESH: LazyLock<Arc<Record>> = LazyLock::new(|| Arc::new(Record::fresh()));
        Arc::clone(&FRESH)
    }

    pub(crate) const fn is_fresh(&self) -> bool {
        self.revision == 0
    }

    /// The fence that fenced calls are checked against; 0 when no claim is open.
    pub(crate) const fn open_fence(&self) -> u64 {
        match self.hold {
            Hold::Open { .. } => self.fence,
            Hold::Free | Hold::Settled => 0,
        }
    }

    /// Whose claim is open.
    pub(crate) const fn owner(&self) -> Option<OwnerId> {
        match self.hold {
            Hold::Open { owner, .. } => Some(owner),
            Hold::Free | Hold::Settled => None,
        }
    }

    /// The client's own number of the call that opened it; 0 when no claim is open.
    pub(crate) const fn claim_seq(&self) -> u64 {
        match self.hold {
            Hold::Open { seq, .. } => seq,
            Hold::Free | Hold::Settled => 0,
        }
    }
}

/// A chunk as storage holds it. The count of unmet dependencies lives beside the record, not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) key: Key,
    pub(crate) content: Arc<Content>,
    pub(crate) record: Arc<Record>,
    pub(crate) unmet: u32,
}

/// A longer payload is left in storage where nobody asks for it, in bytes: no transition looks at it.
pub(crate) const PAYLOAD_BYTES_HELD: usize = 2_048;

fn json_bytes(json: Option<&Json>) -> usize {
    json.map_or(0, |json| json.as_str().len())
}

impl Content {
    /// How long its payload is, wherever that is.
    pub(crate) fn payload_bytes(&self) -> usize {
        json_bytes(self.payload.as_ref()) + self.left_bytes
    }
}

impl Record {
    pub(crate) fn output_bytes(&self) -> usize {
        json_bytes(self.output.as_ref())
    }
}

impl Row {
    /// How long its texts are, what was left in storage among them.
    pub(crate) fn text_bytes(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let (content, record) = (&self.content, &self.record);
        text(&content.checksum)
            + content.payload_bytes()
            + text(&record.observed)
            + text(&record.error)
            + record.output_bytes()
    }

    /// The row, just read, without its payload where that is long.
    pub(crate) fn without_payload(mut self) -> Self {
        let bytes = self.content.payload_bytes();
        if bytes > PAYLOAD_BYTES_HELD {
            let content = Arc::make_mut(&mut self.content);
            (content.payload, content.left_bytes) = (None, bytes);
        }
        self
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.content.left_bytes == 0
    }
}

/// Ready rows as they are answered with: whole until their payloads come to what a claim takes, so that a claim asks
/// once.
#[derive(Default)]
pub(crate) struct ReadyBytes(usize);

impl ReadyBytes {
    pub(crate) fn hold(&mut self, row: Row) -> Row {
        if self.0 >= limits::CLAIM_BYTES_MAX {
            return row.without_payload();
        }
        self.0 += row.content.payload_bytes();
        row
    }
}

/// A set of rows that is listed and counted by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Class {
    Ready = 1,
    Blocked = 2,
    Delayed = 3,
    Processing = 4,
    Done = 5,
    Failed = 6,
    Cancelled = 7,
}

impl Class {
    pub(crate) const ALL: [Class; 7] = [
        Class::Ready,
        Class::Blocked,
        Class::Delayed,
        Class::Processing,
        Class::Done,
        Class::Failed,
        Class::Cancelled,
    ];
}

/// The order of claims within a job: a lower rank first, then the lower chunk id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Rank(pub(crate) u32);

/// Where a row stands in the indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) class: Class,
    /// The claim order; the same for every row that is not ready.
    pub(crate) rank: Rank,
    /// When the row falls due, if it does: listed by [`Needs::due`].
    pub(crate) due: Option<Deadline>,
    /// Who holds it, if anybody does: listed by [`Needs::held`].
    pub(crate) holder: Option<OwnerId>,
}

/// How many rows of a job are in each class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Indexed by `Class as usize - 1`.
    pub(crate) by_class: [u64; 7],
}

impl Counts {
    pub(crate) fn of(&self, class: Class) -> u64 {
        self.by_class[class as usize - 1]
    }

    pub(crate) fn of_mut(&mut self, class: Class) -> &mut u64 {
        &mut self.by_class[class as usize - 1]
    }
}

/// What a job is going through as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum JobPhase {
    /// Open for work.
    Open = 1,
    /// A large first import is under way: invisible until it is published, discarded if it never is.
    Importing = 2,
    /// Deleted: invisible, its rows are being removed.
    Deleting = 3,
}

/// A job as storage holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobRow {
    pub(crate) id: i64,
    pub(crate) spec: JobSpec,
    pub(crate) phase: JobPhase,
    /// Who is importing it, while importing; who created it and under which number, for a resent `new_job`.
    pub(crate) owner: Option<OwnerId>,
    pub(crate) seq: u64,
    /// How many dependencies its chunks have together; where it is 0 nobody needs to look for any.
    pub(crate) edges: u64,
    /// How many of them are on a higher chunk id; where it is 0 there can be no cycle.
    pub(crate) edges_upward: u64,
    pub(crate) counts: Counts,
    pub(crate) created_at_ms: u64,
    /// The revision that last changed the job itself.
    pub(crate) revision: u64,
}

impl JobRow {
    /// An open job without chunks, as yet to be written.
    pub(crate) fn empty(id: i64, spec: JobSpec, created_at_ms: u64) -> Self {
        JobRow {
            id,
            spec,
            phase: JobPhase::Open,
            owner: None,
            seq: 0,
            edges: 0,
            edges_upward: 0,
            counts: Counts::default(),
            created_at_ms,
            revision: 0,
        }
    }
}

/// What the store keeps about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Random per store, to tell one store from another.
    pub(crate) store_id: [u8; 16],
    /// The revision of the newest change.
    pub(crate) revision: u64,
    /// The highest job id ever used.
    pub(crate) last_job: i64,
    /// The latest time any commit saw: a clock that shows clearly less has gone back.
    pub(crate) clock_ms: u64,
    /// How many cursors are stored.
    pub(crate) cursors: u64,
    /// Everything after this revision is in the change log.
    pub(crate) log_start: u64,
    /// What the store is to others, where it is anything; kept as the text that [`Affairs`] makes of itself.
    pub(crate) affairs: Option<Arc<Affairs>>,
}

impl Meta {
    pub(crate) fn change_affairs(&mut self, change: impl FnOnce(&mut Affairs)) {
        let mut affairs = self.affairs.as_deref().cloned().unwrap_or_default();
        change(&mut affairs);
        self.affairs = (!affairs.is_empty()).then(|| affairs.into());
    }
}

/// What a change of the log is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Subject {
    Chunk = 1,
    ChunkGone = 2,
    /// `chunk` is 0.
    Job = 3,
    /// `chunk` is 0.
    JobGone = 4,
    /// A chunk's dependency began or ceased to count as met; its record is as it was.
    Met = 5,
}

/// A run of the change log: `count` neighbouring chunks, changed at neighbouring revisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogRun {
    pub(crate) subject: Subject,
    /// The first revision of the run.
    pub(crate) revision: u64,
    /// The first chunk of the run.
    pub(crate) key: Key,
    pub(crate) count: u64,
}

/// A dependency: `chunk` waits for `on`, both of one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Edge {
    pub(crate) job: i64,
    pub(crate) chunk: u64,
    pub(crate) on: u64,
}

/// Work on the dependents of a chunk that did not fit into its own commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The chunk whose dependents are to be settled.
    pub(crate) key: Key,
    /// Dependents above this id are still to be settled; `None` for all of them.
    pub(crate) after: Option<u64>,
    /// What is to be told to them.
    pub(crate) told: Told,
}

/// The first ready chunks of a job, as far as they are known.
#[derive(Debug, Default)]
pub(crate) struct Front {
    pub(crate) ready: BTreeSet<(Rank, u64)>,
    /// Everything up to here is known; `None`: everything is.
    pub(crate) horizon: Option<(Rank, u64)>,
}

impl Front {
    pub(crate) fn covers(&self, position: (Rank, u64)) -> bool {
        self.horizon.is_none_or(|horizon| position <= horizon)
    }
}

/// The first ready rows, in claim order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadyNeed {
    pub(crate) job: i64,
    /// Strictly behind this position, where one is given.
    pub(crate) after: Option<(Rank, u64)>,
    pub(crate) limit: usize,
}

/// A page of a job's rows in chunk order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageNeed {
    pub(crate) job: i64,
    /// Rows of these classes; of all where it is empty.
    pub(crate) classes: &'static [Class],
    /// Strictly above this id, where one is given.
    pub(crate) after: Option<u64>,
    pub(crate) limit: usize,
}

/// A page of a job's dependencies, in the order of (chunk, on).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EdgesNeed {
    pub(crate) job: i64,
    /// Strictly above this (chunk, on), where one is given.
    pub(crate) after: Option<(u64, u64)>,
    pub(crate) limit: usize,
}

/// A set of questions, answered from one snapshot. Answers stand in [`Loaded`] under the same names, in the same order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Needs {
    pub(crate) jobs: BTreeSet<i64>,
    pub(crate) rows: Vec<Key>,
    /// Whether [`Needs::rows`] are to come whole. Other rows may come without a long payload in any case, but for the first
    /// ready ones.
    pub(crate) payloads: bool,
    pub(crate) ready: Vec<ReadyNeed>,
    /// The lowest job above or at this id that has a row in class `Ready`.
    pub(crate) ready_job_from: Option<i64>,
    /// Rows that fall due, by [`Place::due`].
    pub(crate) due: Option<DueNeed>,
    pub(crate) dependents: Vec<DependentsNeed>,
    /// Whether the rows of these dependents are to be in [`Loaded::rows`] too.
    pub(crate) dependent_rows: bool,
    /// The chunks that a chunk depends on, in ascending order.
    pub(crate) dependencies: Vec<Key>,
    /// The same, and whether each counts as met.
    pub(crate) edges_of: Vec<Key>,
    /// Rows held by an owner, in key order strictly above a key, at most so many.
    pub(crate) held: Option<(OwnerId, Option<Key>, usize)>,
    /// Rows held by any of some owners, in any order.
    pub(crate) held_by_any: Option<HeldByAnyNeed>,
    /// The distinct owners that hold anything.
    pub(crate) owners: bool,
    /// Jobs above an id, in ascending order, at most so many.
    pub(crate) jobs_after: Option<(Option<i64>, usize)>,
    /// Jobs below an id, the highest first, at most so many. Not asked together with those above one.
    pub(crate) jobs_before: Option<(i64, usize)>,
    /// Dependencies of a job.
    pub(crate) edges: Option<EdgesNeed>,
    /// Unfinished cursors.
    pub(crate) cursors: Option<CursorsNeed>,
    /// Runs of the log whose last revision is above this, at most about so many changes.
    pub(crate) log: Option<(u64, usize)>,
}

/// Rows held by any of these, at most so many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeldByAnyNeed {
    pub(crate) owners: BTreeSet<OwnerId>,
    pub(crate) limit: usize,
}

/// Who waits for a chunk: above an id, in ascending order, at most so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DependentsNeed {
    pub(crate) on: Key,
    pub(crate) after: Option<u64>,
    pub(crate) limit: usize,
}

impl DependentsNeed {
    /// Whether `key` waits for `on`: with whoever waits stands whether that is met.
    pub(crate) fn about(key: Key, on: u64) -> Self {
        DependentsNeed { on: Key { chunk: on, ..key }, after: key.chunk.checked_sub(1), limit: 1 }
    }
}

/// Cursors of some jobs, in the order of the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CursorsNeed {
    pub(crate) first_job: i64,
    pub(crate) last_job: i64,
    pub(crate) limit: usize,
}

impl CursorsNeed {
    /// All there are.
    pub(crate) const ALL: Self = CursorsNeed { first_job: 0, last_job: i64::MAX, limit: usize::MAX };

    /// All of a job.
    pub(crate) fn of_job(job: i64) -> Self {
        CursorsNeed { first_job: job, last_job: job, ..Self::ALL }
    }

    /// The first one of a job at or above an id.
    pub(crate) fn first_from(job: i64) -> Self {
        CursorsNeed { first_job: job, limit: 1, ..Self::ALL }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DueNeed {
    /// Rows whose deadline is at or before this time, earliest first.
    By { at_ms: u64, limit: usize },
    /// Rows whose deadline was set after this time, in any order: for a clock that has gone back. May walk the index.
    SetAfter { at_ms: u64, limit: usize },
}

/// The answers to [`Needs`].
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) meta: Meta,
    pub(crate) jobs: BTreeMap<i64, Option<JobRow>>,
    /// In ascending order of their keys, each once; [`Loaded::row`] finds one.
    pub(crate) rows: Vec<(Key, Option<Row>)>,
    /// One list per [`Needs::ready`]; shorter than its limit only where there is no more.
    pub(crate) ready: Vec<Vec<Row>>,
    pub(crate) ready_job: Option<i64>,
    pub(crate) due: Vec<Row>,
    /// With each, whether the dependency counts as met.
    pub(crate) dependents: Vec<Vec<(u64, bool)>>,
    pub(crate) dependencies: Vec<Vec<u64>>,
    pub(crate) edges_of: Vec<Vec<(u64, bool)>>,
    pub(crate) held: Vec<Row>,
    pub(crate) held_by_any: Vec<Row>,
    pub(crate) owners: Vec<OwnerId>,
    pub(crate) jobs_after: Vec<JobRow>,
    pub(crate) jobs_before: Vec<JobRow>,
    pub(crate) edges: Vec<Edge>,
    pub(crate) cursors: Vec<Cursor>,
    pub(crate) log: Vec<LogRun>,
}

impl Loaded {
    pub(crate) fn new(meta: Meta) -> Self {
        Loaded {
            meta,
            jobs: BTreeMap::new(),
            rows: Vec::new(),
            ready: Vec::new(),
            ready_job: None,
            due: Vec::new(),
            dependents: Vec::new(),
            dependencies: Vec::new(),
            edges_of: Vec::new(),
            held: Vec::new(),
            held_by_any: Vec::new(),
            owners: Vec::new(),
            jobs_after: Vec::new(),
            jobs_before: Vec::new(),
            edges: Vec::new(),
            cursors: Vec::new(),
            log: Vec::new(),
        }
    }

    /// The row of one of [`Needs::rows`], where there is one.
    pub(crate) fn row(&self, key: &Key) -> Option<&Row> {
        self.place_of(key).and_then(|at| self.rows[at].1.as_ref())
    }

    fn place_of(&self, key: &Key) -> Option<usize> {
        self.rows.binary_search_by_key(key, |(key, _)| *key).ok()
    }

    /// Puts another answer in the place of the one that there is.
    pub(crate) fn set_row(&mut self, key: &Key, row: Option<Row>) {
        if let Some(at) = self.place_of(key) {
            self.rows[at].1 = row;
        }
    }

    /// Puts rows to those that there are; of one that is given twice what is there counts.
    pub(crate) fn add_rows(&mut self, rows: impl IntoIterator<Item = (Key, Option<Row>)>) {
        self.rows.extend(rows);
        // Each part is in order already as a rule.
        self.rows.sort_by_key(|(key, _)| *key);
        self.rows.dedup_by(|(key, row), (before, kept)| {
            let is_same = key == before;
            if is_same && kept.is_none() {
                *kept = row.take();
            }
            is_same
        });
    }

    /// The dependents in the answers whose rows are wanted too.
    pub(crate) fn dependents_of(&self, needs: &Needs) -> impl Iterator<Item = Key> {
        let lists = needs.dependents.iter().zip(&self.dependents).filter(|_| needs.dependent_rows);
        lists.flat_map(|(need, list)| list.iter().map(|&(chunk, _)| Key { chunk, ..need.on }))
    }

    /// A dependent that has no row, as no whole file's has.
    pub(crate) fn missing_dependent(&self, needs: &Needs) -> Option<Key> {
        self.dependents_of(needs).find(|key| self.row(key).is_none())
    }
}

/// How one row changes. `before` and `after` are its index positions: `None` where it does not exist.
#[derive(Debug)]
pub(crate) struct RowChange {
    pub(crate) key: Key,
    pub(crate) before: Option<Place>,
    pub(crate) after: Option<Place>,
    /// The content, where it is new or changed.
    pub(crate) content: Option<Arc<Content>>,
    /// The record, where it changed. A fresh one may be kept by keeping nothing.
    pub(crate) record: Option<Arc<Record>>,
    /// The count of unmet dependencies, where it changed.
    pub(crate) unmet: Option<u32>,
}

/// How one job changes.
#[derive(Debug)]
pub(crate) enum JobChange {
    /// It is new, or more than its counts changed.
    Put(JobRow),
    /// Only its counts changed (`edges` and `edges_upward` among them).
    Counts(JobRow),
    /// It is gone, as its rows and dependencies are already.
    Delete(i64),
}

/// How one dependency comes or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EdgeChange {
    /// It is to be there, met or not.
    Put { edge: Edge, met: bool },
    /// It goes.
    Delete { edge: Edge },
}

/// A set of changes: one durable step.
#[derive(Debug)]
pub(crate) struct Delta {
    /// As it is after the step.
    pub(crate) meta: Meta,
    /// In ascending key order, each key once.
    pub(crate) rows: Vec<RowChange>,
    pub(crate) jobs: Vec<JobChange>,
    /// By chunk and what it depends on, each once.
    pub(crate) edges: Vec<EdgeChange>,
    /// Dependencies that stay, each once and none of those before, by what they are on and chunk: whether they are met.
    pub(crate) met: Vec<(Edge, bool)>,
    /// Cursors to write, or to move on.
    pub(crate) cursors_put: Vec<Cursor>,
    pub(crate) cursors_deleted: Vec<Key>,
    /// In revision order; appended to the log as one entry.
    pub(crate) log: Vec<LogRun>,
    /// Entries of the log that lie wholly at or below this revision may go, a few at a time.
    pub(crate) log_prune_to: u64,
    /// Whether the step is to be on the disk when it is answered.
    pub(crate) durability: Durability,
}

#[cfg(test)]
impl JobRow {
    /// An open job that says nothing of its chunks.
    pub(crate) fn plain(id: i64, counts: Counts, created_at_ms: u64) -> Self {
        JobRow { counts, revision: 1, ..JobRow::empty(id, JobSpec::new(), created_at_ms) }
    }
}

#[cfg(test)]
impl Content {
    /// A chunk of which nothing is said.
    pub(crate) fn plain(created_at_ms: u64) -> Self {
        Content {
            checksum: None,
            payload: None,
            left_bytes: 0,
            priority: 0,
            attempts_max: None,
            losses_max: None,
            on_dependency_failure: None,
            created_at_ms,
            updated_at_ms: created_at_ms,
            revision: 1,
        }
    }
}

#[cfg(test)]
impl Delta {
    /// A change of the store's own record alone.
    pub(crate) fn of(meta: Meta) -> Self {
        Delta {
            meta,
            rows: Vec::new(),
            jobs: Vec::new(),
            edges: Vec::new(),
            met: Vec::new(),
            cursors_put: Vec::new(),
            cursors_deleted: Vec::new(),
            log: Vec::new(),
            log_prune_to: 0,
            durability: Durability::Full,
        }
    }
}

/// Answers questions from one snapshot.
pub(crate) trait Load {
    fn load(&mut self, needs: &Needs) -> Result<Loaded>;

    /// Hands over rows of a job in chunk order, each as it is found: a page may be long.
    fn page(&mut self, need: &PageNeed, each: &mut dyn FnMut(Row)) -> Result<()>;
}

/// A page as a list, for whoever needs more than one look at it.
pub(crate) fn page_of(load: &mut dyn Load, need: &PageNeed) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    load.page(need, &mut |row| rows.push(row))?;
    Ok(rows)
}

/// A write transaction. Dropped without a commit it leaves nothing behind and costs no sync.
pub(crate) trait WriteTx: Load {
    /// Writes the changes and returns once they are as durable as they are to be.
    ///
    /// An error of kind `Poisoned` says that the outcome is unknown and the backend must be reopened;
    /// any other that nothing was changed.
    fn commit(self: Box<Self>, delta: Delta) -> Result<()>;

    /// Ends a transaction that has nothing to write; fails where what it answered was not so.
    fn confirm(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

/// Opens snapshots beside the writer, from any thread.
pub(crate) trait Reader: Send + Sync {
    /// Whether a snapshot is quick enough to be read on the caller's own thread.
    fn is_inline(&self) -> bool;

    /// Whether somebody else may write to what it reads.
    fn is_shared(&self) -> bool;

    fn snapshot(&self) -> Result<Box<dyn Load + '_>>;

    /// Checks all that is stored at one moment, beside the writer; an error of kind `Corrupt` names the first thing found.
    fn verify(&self) -> Result<()>;
}

/// A storage backend: one writer, many readers.
pub(crate) trait Backend: Send {
    fn begin(&mut self) -> Result<Box<dyn WriteTx + '_>>;

    /// Begins a transaction that may answer from what the last one left, as if nobody else had written since. It must
    /// be ended by a commit or a confirmation: where somebody had, that fails, or a load before it does, nothing is
    /// changed, and [`Backend::overtaken`] says so.
    fn resume(&mut self) -> Result<Box<dyn WriteTx + '_>> {
        self.begin()
    }

    /// Whether the last transaction failed because of how it was begun: from memory, and somebody else had written; or as
    /// one that is not synced, and it has to be. Asked once; the next one is begun as it has to be.
    fn overtaken(&mut self) -> bool {
        false
    }

    fn reader(&self) -> Arc<dyn Reader>;

    /// Drops everything that is open and opens it anew, recovering what the file holds.
    fn reopen(&mut self) -> Result<()>;

    /// Checks of the file what can be checked only while nobody reads or writes; [`Reader::verify`] checks the rest.
    fn check_file(&mut self) -> Result<()>;

    /// Both.
    #[cfg(test)]
    fn verify(&mut self) -> Result<()> {
        self.check_file()?;
        self.reader().verify()
    }

    /// Brings a file that one process has, and that stays open, to where damage to a copy of it is found. A file of
    /// several is not copied while it is open.
    fn checkpoint(&mut self) -> Result<()> {
        Ok(())
    }

    /// Releases the file. Called once, last.
    fn close(&mut self) -> Result<()>;
}
