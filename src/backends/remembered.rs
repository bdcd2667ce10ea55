//! What the last commit left, remembered: as long as nobody else writes, a group of operations asks the file nothing
//! before its commit.
//!
//! For `SQLite` handing a question to the connection's thread and its answer back costs more than finding it; for redb
//! opening a snapshot does. So a backend keeps what it has read and written of late: the store's own record, jobs, the
//! chunks being worked on and the next ones of a job to be claimed. Whether anybody else has written since shows in
//! `SQLite`'s data version, which the commit (or, where nothing is to be written, a question of its own) compares under
//! the lock. Where it has moved, everything here is forgotten and the group is run once more, from what the file says.
//! A redb file has one writer, and one version with it.

use foldhash::{HashMap, HashMapExt};

use crate::backends::contract::{
    Class, Delta, DueNeed, Front, JobChange, JobRow, Key, Loaded, Meta, Needs, PAYLOAD_BYTES_HELD, Place,
    Rank, ReadyNeed, Record, Row, RowChange,
};
use crate::machine;

/// Chunks that are kept from one group to the next at most; where there are more all are forgotten.
const ROWS_MAX: usize = 4_096;

/// The same of jobs, and of jobs whose next chunks are known.
const JOBS_MAX: usize = 256;

/// A chunk whose texts are longer together is not kept, in bytes; none, that is, whose payload was left in storage.
const ROW_TEXT_BYTES_MAX: usize = PAYLOAD_BYTES_HELD;

/// Ready chunks that are read ahead of the claims, at first and at most: they may turn out to be of a megabyte each.
const AHEAD_MIN: usize = 8;
const AHEAD_MAX: usize = 64;

/// What reads or changes more chunks than this at once is not followed.
const ROWS_FOLLOWED_MAX: usize = 2_048;

/// Groups that ask the file after somebody else wrote to it: where others are at work, running a group twice is common.
const GROUPS_ASKED: u32 = 32;

/// What is remembered of a store.
#[derive(Default)]
pub(super) struct Remembered {
    known: Option<Known>,
    /// So many groups are still to ask.
    asking: u32,
    /// Ready chunks to read ahead of a claim, more each time that they were used up; none after something was in them
    /// that is not kept.
    ahead: usize,
}

/// What holds as long as the data version does.
pub(super) struct Known {
    version: i64,
    meta: Meta,
    jobs: HashMap<i64, JobRow>,
    rows: HashMap<Key, Row>,
    /// What is in them is among the rows.
    fronts: HashMap<i64, Front>,
    /// No row falls due before this.
    due_from_ms: u64,
    /// No job from the first of these up to the second, without it, has a ready chunk; the second has.
    claimable: Option<(i64, i64)>,
}

/// What a load saw beside the answers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// The data version, where the load began the transaction.
    pub(super) version: Option<i64>,
    /// When the first row falls due.
    pub(super) due_first_ms: Option<u64>,
}

impl Remembered {
    /// The answers, where all of them are known.
    pub(super) fn answer(&self, needs: &Needs) -> Option<Loaded> {
        self.known()?.answer(needs)
    }

    /// What answers may be of, where not all are known.
    pub(super) fn known(&self) -> Option<&Known> {
        self.known.as_ref().filter(|_| self.asking == 0)
    }

    /// The data version that the answers are of.
    pub(super) fn version(&self) -> Option<i64> {
        self.known.as_ref().map(|known| known.version)
    }

    /// How many ready chunks a load should ask for beyond those that are needed.
    pub(super) fn ahead(&self, needs: &Needs) -> usize {
        match needs.ready.as_slice() {
            // With the next group memory may answer, and of this job's next chunks it knows too few.
            [need] if self.asking <= 1 && self.misses(need) => self.ahead,
            _ => 0,
        }
    }

    /// What lies ahead cannot be read.
    pub(super) fn narrow(&mut self) {
        self.ahead = 0;
    }

    fn misses(&self, need: &ReadyNeed) -> bool {
        need.after.is_none() && self.known.as_ref().is_none_or(|known| known.front(need).is_none())
    }

    /// Takes in what the file answered, and takes out of it the chunks that were asked for `ahead`.
    pub(super) fn learn(&mut self, needs: &Needs, loaded: &mut Loaded, seen: Seen, ahead: usize) {
        if let Some(version) = seen.version {
            match self.version() {
                Some(known) if known != version => self.overtaken(),
                _ => self.asking = self.asking.saturating_sub(1),
            }
            self.known.get_or_insert_with(|| Known::new(version, &loaded.meta));
        }
        if let Some(known) = &mut self.known {
            known.learn(needs, loaded, seen);
        }
        if let ([need], [rows]) = (needs.ready.as_slice(), loaded.ready.as_mut_slice()) {
            if self.asking == 0 && self.misses(need) {
                self.learn_front(need, rows, ahead);
            }
            rows.truncate(need.limit);
        }
    }

    fn learn_front(&mut self, need: &ReadyNeed, rows: &[Row], ahead: usize) {
        let Some(known) = &mut self.known else { return };
        let (light, heavy) = rows.split_at(rows.iter().take_while(|row| is_light(row)).count());
        self.ahead = if heavy.is_empty() { (ahead * 2).clamp(AHEAD_MIN, AHEAD_MAX) } else { 0 };
        let is_whole = heavy.is_empty() && rows.len() < need.limit + ahead;
        let horizon = light.last().filter(|_| !is_whole).map(claim_position);
        if horizon.is_some() || is_whole {
            let ready = light.iter().map(claim_position).collect();
            known.fronts.insert(need.job, Front { ready, horizon });
            light.iter().for_each(|row| known.keep(row));
            known.trim();
        }
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
            due_from_ms: 0,
            claimable: None,
        }
    }

    fn answer(&self, needs: &Needs) -> Option<Loaded> {
        let Needs {
            jobs,
            rows,
            payloads: _,
            ready,
            ready_job_from,
            due,
            dependents,
            dependent_rows: _,
            dependencies,
            edges_of,
            held,
            held_by_any,
            owners,
            jobs_after,
            jobs_before,
            edges,
            cursors,
            log,
        } = needs;
        let is_asked = held.is_some()
            || held_by_any.is_some()
            || *owners
            || jobs_after.is_some()
            || jobs_before.is_some()
            || edges.is_some()
            || cursors.is_some()
            || log.is_some();
        let falls_due = match *due {
            None => false,
            Some(DueNeed::By { at_ms, .. }) => at_ms >= self.due_from_ms,
            Some(DueNeed::SetAfter { .. }) => true,
        };
        let mut may_wait = dependents.iter().map(|need| &need.on).chain(dependencies).chain(edges_of);
        let waits = may_wait.any(|key| !self.is_plain(key.job));
        if is_asked || falls_due || waits {
            return None;
        }
        let mut loaded = Loaded::new(self.meta.clone());
        for id in jobs {
            loaded.jobs.insert(*id, Some(self.jobs.get(id)?.clone()));
        }
        let rows: Option<Vec<_>> = rows.iter().map(|key| Some((*key, Some(self.row(key)?)))).collect();
        loaded.add_rows(rows?);
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

    pub(super) fn row(&self, key: &Key) -> Option<Row> {
        self.rows.get(key).cloned()
    }

    /// Whether the job has no dependencies: nobody waits for its chunks then, and they wait for nobody.
    fn is_plain(&self, job: i64) -> bool {
        self.jobs.get(&job).is_some_and(|job| job.edges == 0)
    }

    fn front(&self, need: &ReadyNeed) -> Option<Vec<Row>> {
        let front = self.fronts.get(&need.job).filter(|_| need.after.is_none())?;
        if front.ready.len() < need.limit && front.horizon.is_some() {
            return None;
        }
        let first = front.ready.iter().take(need.limit);
        first.map(|&(_, chunk)| self.rows.get(&Key { job: need.job, chunk }).cloned()).collect()
    }

    fn learn(&mut self, needs: &Needs, loaded: &Loaded, seen: Seen) {
        for job in loaded.jobs.values().flatten() {
            self.jobs.insert(job.id, job.clone());
        }
        if loaded.rows.len() <= ROWS_FOLLOWED_MAX {
            loaded.rows.iter().filter_map(|(_, row)| row.as_ref()).for_each(|row| self.keep(row));
        }
        if let Some(DueNeed::By { .. }) = needs.due {
            self.due_from_ms = seen.due_first_ms.unwrap_or(u64::MAX);
        }
        if let Some(from) = needs.ready_job_from {
            self.claimable = loaded.ready_job.map(|job| (from, job));
        }
        self.trim();
    }

    /// Keeps to the bounds.
    fn trim(&mut self) {
        if self.jobs.len() > JOBS_MAX {
            self.jobs.clear();
        }
        if self.rows.len() > ROWS_MAX || self.fronts.len() > JOBS_MAX {
            self.rows.clear();
            self.fronts.clear();
        }
    }

    fn keep(&mut self, row: &Row) {
        if is_light(row) {
            self.rows.entry(row.key).or_insert_with(|| row.clone());
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
        self.trim();
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
            self.due_from_ms = self.due_from_ms.min(due.at_ms());
        }
        let at = (place.rank, key.chunk);
        let in_front = place.class == Class::Ready && front.as_ref().is_some_and(|front| front.covers(at));
        // Who waits is told of each that it waits for.
        if !in_front && !matches!(place.class, Class::Processing | Class::Blocked) {
            return;
        }
        let row = match (content, old) {
            (Some(content), None) if before.is_none() => Some(Row {
                key,
                content,
                record: record.unwrap_or_else(Record::shared_fresh),
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
            JobChange::Put(job) | JobChange::Counts(job) => (job.id, Some(job)),
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

/// Where a row stands in the order of claims.
pub(super) fn claim_position(row: &Row) -> (Rank, u64) {
    (machine::place(row).rank, row.key.chunk)
}

/// Whether a row's texts are short enough to be kept.
fn is_light(row: &Row) -> bool {
    row.text_bytes() <= ROW_TEXT_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::contract::{Content, Counts};

    const META: Meta = Meta {
        store_id: [1; 16],
        revision: 9,
        last_job: 1,
        clock_ms: 0,
        cursors: 0,
        log_start: 0,
        affairs: None,
    };

    fn row(job: i64, chunk: u64) -> Row {
        let content = std::sync::Arc::new(Content::plain(7));
        Row { key: Key { job, chunk }, content, record: Record::shared_fresh(), unmet: 0 }
    }

    fn job(id: i64) -> JobRow {
        JobRow::plain(id, Counts::default(), 7)
    }

    fn job_put(id: i64) -> Delta {
        Delta { jobs: vec![JobChange::Put(job(id))], ..Delta::of(META) }
    }

    fn ready(job: i64, limit: usize) -> Needs {
        Needs { ready: vec![ReadyNeed { job, after: None, limit }], ..Needs::default() }
    }

    /// One transaction that asked the file, of what it read ahead too.
    fn ask(remembered: &mut Remembered, needs: &Needs, version: i64, there: u64) -> usize {
        let ahead = remembered.ahead(needs);
        let mut loaded = Loaded::new(META);
        let id = needs.ready[0].job;
        loaded.jobs.insert(id, Some(job(id)));
        let rows = (needs.ready[0].limit + ahead) as u64;
        loaded.ready = vec![(0..there.min(rows)).map(|chunk| row(needs.ready[0].job, chunk)).collect()];
        remembered.learn(needs, &mut loaded, Seen { version: Some(version), due_first_ms: None }, ahead);
        assert!(loaded.ready[0].len() <= needs.ready[0].limit, "nobody asked for more");
        ahead
    }

    #[test]
    fn more_is_read_ahead_each_time_that_it_was_used_up_and_nothing_where_it_is_known() {
        let mut remembered = Remembered::default();
        let asked: Vec<usize> = (1..=6).map(|job| ask(&mut remembered, &ready(job, 1), 5, 1_000)).collect();
        assert_eq!(asked, [0, 8, 16, 32, 64, 64]);
        assert_eq!(remembered.ahead(&ready(6, 2)), 0, "it is known");
        assert_eq!(remembered.ahead(&ready(6, 70)), 64, "not as far");
        assert_eq!(remembered.answer(&ready(6, 65)).unwrap().ready[0].len(), 65);
        assert!(remembered.answer(&ready(6, 66)).is_none());
        let two = Needs { ready: vec![ready(7, 1).ready[0], ready(8, 1).ready[0]], ..Needs::default() };
        assert_eq!(remembered.ahead(&two), 0);
        remembered.narrow();
        assert_eq!(remembered.ahead(&ready(7, 1)), 0);
    }

    #[test]
    fn where_others_write_nothing_is_read_ahead() {
        let mut remembered = Remembered::default();
        ask(&mut remembered, &ready(1, 1), 5, 1_000);
        for version in 6..200 {
            let ahead = ask(&mut remembered, &ready(1, 1), version, 1_000);
            assert!(ahead == 0 || version == 6, "of the first nobody could know");
            assert!(remembered.answer(&ready(1, 1)).is_none());
        }
        // They stop, and after a while memory answers again.
        let asked = (0..40).take_while(|_| {
            ask(&mut remembered, &ready(1, 1), 199, 1_000);
            remembered.answer(&ready(1, 1)).is_none()
        });
        assert_eq!(asked.count(), GROUPS_ASKED as usize - 1);
    }

    #[test]
    fn a_job_without_more_is_known_to_have_none() {
        let mut remembered = Remembered::default();
        ask(&mut remembered, &ready(1, 3), 5, 2);
        assert_eq!(remembered.answer(&ready(1, 10)).unwrap().ready[0].len(), 2);
        let mut remembered = Remembered::default();
        ask(&mut remembered, &ready(2, 0), 5, 2);
        assert!(remembered.answer(&ready(2, 1)).is_none(), "nothing was asked, so nothing is known");
    }

    #[test]
    fn what_is_kept_has_its_bounds() {
        let mut remembered = Remembered::default();
        let look = |remembered: &mut Remembered, rows: std::ops::Range<u64>| {
            let mut loaded = Loaded::new(META);
            loaded.jobs.insert(1, Some(job(1)));
            let rows = rows.map(|chunk| row(1, chunk));
            loaded.rows = rows.map(|row| (row.key, Some(row))).collect();
            let seen = Seen { version: Some(5), due_first_ms: None };
            remembered.learn(&Needs::default(), &mut loaded, seen, 0);
        };
        look(&mut remembered, 0..50_000);
        assert!(remembered.known.as_ref().unwrap().rows.is_empty(), "too many at once");
        for nr in 0..50 {
            look(&mut remembered, nr * 1_000..nr * 1_000 + 1_000);
            assert!(remembered.known.as_ref().unwrap().rows.len() <= ROWS_MAX);
        }
        for id in 0..1_000 {
            remembered.committed(job_put(id));
            assert!(remembered.known.as_ref().unwrap().jobs.len() <= JOBS_MAX);
        }
        for id in 0..1_000 {
            ask(&mut remembered, &ready(id, 1), 5, 0);
            assert!(remembered.known.as_ref().unwrap().fronts.len() <= JOBS_MAX);
        }
    }
}
