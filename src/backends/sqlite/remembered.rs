//! What the last commit left, remembered: as long as nobody else writes, a group of operations asks `SQLite` nothing
//! before its commit.
//!
//! Handing a question to the connection's thread and its answer back costs more than finding it. So the backend keeps
//! what it has read and written of late: the store's own record, jobs, the chunks being worked on and the next ones of
//! a job to be claimed. Whether anybody else has written since shows in `SQLite`'s data version, which the commit (or,
//! where nothing is to be written, a question of its own) compares under the lock. Where it has moved, everything here
//! is forgotten and the group is run once more, from what the file says.

use std::collections::BTreeSet;

use foldhash::{HashMap, HashMapExt};

use crate::backends::contract::{
    Class, Delta, DueNeed, JobChange, JobRow, Key, Loaded, Meta, Needs, Place, Rank, ReadyNeed, Record, Row,
    RowChange,
};
use crate::backends::sqlite::columns;
use crate::machine;

/// Chunks that are kept at most; with one more all are forgotten.
const ROWS_MAX: usize = 4_096;

/// Jobs that are kept at most; with one more all are forgotten.
const JOBS_MAX: usize = 256;

/// A chunk whose texts are longer together is not kept, in bytes.
const ROW_TEXT_BYTES_MAX: usize = 2_048;

/// Ready chunks that are read ahead of the claims at most.
const AHEAD_MAX: usize = 128;

/// A commit that changes more chunks than this is not followed.
const ROWS_FOLLOWED_MAX: usize = 2_048;

/// Groups that ask the file after somebody else wrote to it: where others are at work, running a group twice is common.
const GROUPS_ASKED: u32 = 32;

/// What is remembered of a store.
#[derive(Default)]
pub(super) struct Remembered {
    known: Option<Known>,
    /// So many groups are still to ask.
    asking: u32,
    /// Ready chunks to read ahead of a claim: more each time that they were used up.
    ahead: usize,
}

/// What holds as long as the data version does.
struct Known {
    version: i64,
    meta: Meta,
    jobs: HashMap<i64, JobRow>,
    rows: HashMap<Key, Row>,
    fronts: HashMap<i64, Front>,
    /// No row falls due before this.
    due_from_ms: i64,
    /// No job from the first of these up to the second, without it, has a ready chunk; the second has.
    claimable: Option<(i64, i64)>,
}

/// The first ready chunks of a job, all of which are among the rows.
struct Front {
    ready: BTreeSet<(Rank, u64)>,
    /// Ready chunks behind this position are not known; `None`: there are none.
    upto: Option<(Rank, u64)>,
}

impl Front {
    fn reaches(&self, position: (Rank, u64)) -> bool {
        self.upto.is_none_or(|upto| position <= upto)
    }
}

/// What a load saw beside the answers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// `SQLite`'s data version, where the load began the transaction.
    pub(super) version: Option<i64>,
    /// When the first row falls due.
    pub(super) due_first_ms: Option<i64>,
}

impl Remembered {
    /// The answers, where all of them are known.
    pub(super) fn answer(&self, needs: &Needs) -> Option<Loaded> {
        let known = self.known.as_ref().filter(|_| self.asking == 0)?;
        known.answer(needs)
    }

    /// The data version that the answers are of.
    pub(super) fn version(&self) -> Option<i64> {
        self.known.as_ref().map(|known| known.version)
    }

    /// How many ready chunks a load should ask for beyond those that are needed.
    pub(super) fn ahead(&self) -> usize {
        self.ahead
    }

    /// Takes in what the file answered, and takes out of it what was asked for ahead.
    pub(super) fn learn(&mut self, needs: &Needs, loaded: &mut Loaded, seen: Seen) {
        if let Some(version) = seen.version {
            match self.version() {
                Some(known) if known != version => self.overtaken(),
                _ => self.asking = self.asking.saturating_sub(1),
            }
            self.known.get_or_insert_with(|| Known::new(version, &loaded.meta));
        }
        if let ([need], [rows]) = (needs.ready.as_slice(), loaded.ready.as_mut_slice()) {
            self.learn_front(*need, rows);
            rows.truncate(need.limit);
        }
        if let Some(known) = &mut self.known {
            known.learn(needs, loaded, seen);
        }
    }

    fn learn_front(&mut self, need: ReadyNeed, rows: &[Row]) {
        let Some(known) = &mut self.known else { return };
        let light = rows.iter().take_while(|row| is_light(row)).count();
        let is_whole = rows.len() < need.limit + self.ahead;
        self.ahead = if light == rows.len() { (self.ahead * 2).clamp(8, AHEAD_MAX) } else { 0 };
        if need.after.is_some() || light == 0 && !rows.is_empty() {
            return;
        }
        let upto = if light < rows.len() || !is_whole {
            rows[..light].last().map(|row| position(row, machine::place(row).rank))
        } else {
            None
        };
        let ready = rows[..light].iter().map(|row| position(row, machine::place(row).rank)).collect();
        known.fronts.insert(need.job, Front { ready, upto });
        rows[..light].iter().for_each(|row| known.keep(row));
    }

    /// Follows a commit of this connection's own.
    pub(super) fn committed(&mut self, delta: Delta) {
        match &mut self.known {
            Some(known) if delta.rows.len() <= ROWS_FOLLOWED_MAX => known.follow(delta),
            _ => self.forget(),
        }
    }

    /// Somebody else has written.
    pub(super) fn overtaken(&mut self) {
        self.forget();
        self.asking = GROUPS_ASKED;
    }

    pub(super) fn forget(&mut self) {
        self.known = None;
    }
}

impl Known {
    fn new(version: i64, meta: &Meta) -> Self {
        Known {
            version,
            meta: meta.clone(),
            jobs: HashMap::new(),
            rows: HashMap::new(),
            fronts: HashMap::new(),
            due_from_ms: i64::MIN,
            claimable: None,
        }
    }

    fn answer(&self, needs: &Needs) -> Option<Loaded> {
        let Needs {
            jobs,
            rows,
            ready,
            ready_job_from,
            due,
            dependents,
            dependent_rows: _,
            dependencies,
            edges_of,
            held,
            owners,
            pages,
            jobs_after,
            edges,
            cursors,
            log,
        } = needs;
        let is_asked = held.is_some()
            || *owners
            || !pages.is_empty()
            || jobs_after.is_some()
            || edges.is_some()
            || *cursors > 0
            || log.is_some();
        let falls_due = match *due {
            None => false,
            Some(DueNeed::By { at_ms, .. }) => columns::int(at_ms).map_or(true, |at| at >= self.due_from_ms),
            Some(DueNeed::SetAfter { .. }) => true,
        };
        // Without dependencies in a job nobody waits for its chunks, and they wait for nobody.
        let is_plain = |key: &Key| self.jobs.get(&key.job).is_some_and(|job| job.edges == 0);
        let waits = !dependents.iter().map(|(on, _, _)| on).chain(dependencies).chain(edges_of).all(is_plain);
        if is_asked || falls_due || waits {
            return None;
        }
        let mut loaded = Loaded::new(self.meta.clone());
        for id in jobs {
            loaded.jobs.insert(*id, Some(self.jobs.get(id)?.clone()));
        }
        for key in rows {
            loaded.rows.insert(*key, Some(self.rows.get(key)?.clone()));
        }
        for need in ready {
            loaded.ready.push(self.front(need)?);
        }
        if let Some(from) = *ready_job_from {
            let (known_from, job) = self.claimable?;
            if !(known_from..=job).contains(&from) {
                return None;
            }
            loaded.ready_job = Some(job);
        }
        loaded.dependents = dependents.iter().map(|_| Vec::new()).collect();
        loaded.dependencies = dependencies.iter().map(|_| Vec::new()).collect();
        loaded.edges_of = edges_of.iter().map(|_| Vec::new()).collect();
        Some(loaded)
    }

    fn front(&self, need: &ReadyNeed) -> Option<Vec<Row>> {
        let front = self.fronts.get(&need.job).filter(|_| need.after.is_none())?;
        if front.ready.len() < need.limit && front.upto.is_some() {
            return None;
        }
        let first = front.ready.iter().take(need.limit);
        first.map(|&(_, chunk)| self.rows.get(&Key { job: need.job, chunk }).cloned()).collect()
    }

    fn learn(&mut self, needs: &Needs, loaded: &Loaded, seen: Seen) {
        if self.jobs.len() + loaded.jobs.len() > JOBS_MAX {
            self.jobs.clear();
        }
        for (id, job) in &loaded.jobs {
            if let Some(job) = job {
                self.jobs.insert(*id, job.clone());
            }
        }
        loaded.rows.values().flatten().for_each(|row| self.keep(row));
        if let Some(DueNeed::By { .. }) = needs.due {
            self.due_from_ms = seen.due_first_ms.unwrap_or(i64::MAX);
        }
        if let Some(from) = needs.ready_job_from {
            self.claimable = loaded.ready_job.map(|job| (from, job));
        }
    }

    fn keep(&mut self, row: &Row) {
        if is_light(row) {
            self.rows.insert(row.key, row.clone());
        }
    }

    fn follow(&mut self, delta: Delta) {
        self.meta = delta.meta;
        for change in delta.rows {
            self.follow_row(change);
        }
        for change in delta.jobs {
            self.follow_job(change);
        }
        if self.rows.len() > ROWS_MAX {
            self.rows.clear();
            self.fronts.clear();
        }
    }

    fn follow_row(&mut self, change: RowChange) {
        let RowChange { key, before, after, content, record, unmet } = change;
        let old = self.rows.remove(&key);
        let mut front = self.fronts.get_mut(&key.job);
        if let (Some(front), Some(Place { class: Class::Ready, rank, .. })) = (&mut front, before) {
            front.ready.remove(&(rank, key.chunk));
        }
        let Some(place) = after else { return };
        if let Some(due) = place.due {
            self.due_from_ms = self.due_from_ms.min(columns::due_at(due));
        }
        let at = (place.rank, key.chunk);
        let in_front = place.class == Class::Ready && front.as_ref().is_some_and(|front| front.reaches(at));
        if !in_front && place.class != Class::Processing {
            return;
        }
        let row = match (content, old) {
            (Some(content), None) if before.is_none() => Some(Row {
                key,
                content,
                record: record.unwrap_or_else(Record::fresh),
                unmet: unmet.unwrap_or_default(),
            }),
            (content, Some(old)) => Some(Row {
                key,
                content: content.unwrap_or(old.content),
                record: record.unwrap_or(old.record),
                unmet: unmet.unwrap_or(old.unmet),
            }),
            (_, None) => None,
        };
        match row.filter(is_light) {
            Some(row) => {
                self.rows.insert(key, row);
                if let Some(front) = front.filter(|_| in_front) {
                    front.ready.insert(at);
                }
            }
            None if in_front => {
                self.fronts.remove(&key.job);
            }
            None => {}
        }
    }

    fn follow_job(&mut self, change: JobChange) {
        let (id, job) = match change {
            JobChange::Put(job) | JobChange::Counts { job, .. } => (job.id, Some(job)),
            JobChange::Delete(id) => (id, None),
        };
        let has_ready = job.as_ref().is_some_and(|job| job.counts.of(Class::Ready) > 0);
        if self
            .claimable
            .is_some_and(|(from, last)| id >= from && (id < last && has_ready || id == last && !has_ready))
        {
            self.claimable = None;
        }
        if let Some(job) = job {
            self.jobs.insert(id, job);
        } else {
            self.jobs.remove(&id);
            self.fronts.remove(&id);
        }
    }
}

fn position(row: &Row, rank: Rank) -> (Rank, u64) {
    (rank, row.key.chunk)
}

/// Whether a row's texts are short enough to be kept.
fn is_light(row: &Row) -> bool {
    row.text_bytes() <= ROW_TEXT_BYTES_MAX
}
