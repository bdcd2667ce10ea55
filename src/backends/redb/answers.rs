//! Answers questions about jobs and their chunks.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use super::read::{self, chunk_at, job_at, read_dues, read_line, read_run, revision_at};
use super::spans::Span;
use super::tables::{self as t, Lane, Line, Tag, edge_tag, index_tag};
use super::view::{Bounds, Entries, View};
use super::walk::Walk;
use crate::backends::contract::{
    Class, Cursor, CursorsNeed, DueNeed, EdgesNeed, HeldByAnyNeed, JobRow, Key, Loaded, LogRun, Meta, Needs,
    Rank, ReadyBytes, ReadyNeed, Record, Row,
};
use crate::codec::{self, Seat, Table};
use crate::error::Result;
use crate::model::OwnerId;

/// From here on a scan of neighbours is quicker than asking for each.
const SCAN_MIN: u64 = 4;

/// What of a row is kept in memory.
type Hold<'h> = &'h mut dyn FnMut(Row) -> Row;

/// What is known already.
pub(super) type Known<'k> = &'k dyn Fn(&Key) -> Option<Row>;

impl<'v> View<'v> {
    /// The answers, and `ahead` ready rows more than each job is asked for.
    pub(super) fn answer(self, needs: &Needs, ahead: usize, known: Known<'_>) -> Result<Loaded> {
        let mut loaded = Loaded::new(self.meta()?);
        for &id in &needs.jobs {
            loaded.jobs.insert(id, self.job(id)?);
        }
        loaded.dependents = self.dependents(&needs.dependents)?;
        let keys = needs.rows.iter().copied().chain(loaded.dependents_of(needs)).collect();
        let hold = if needs.payloads { |row| row } else { Row::without_payload };
        loaded.add_rows(self.rows(keys, known, hold)?);
        if let Some(key) = loaded.missing_dependent(needs) {
            return Err(Seat::of(Table::Contents, key).corrupt("it is missing, a dependency has it"));
        }
        let mut bytes = ReadyBytes::default();
        for need in &needs.ready {
            loaded.ready.push(self.ready(need, ahead, &mut |row| bytes.hold(row))?);
        }
        if let Some(from) = needs.ready_job_from {
            loaded.ready_job = self.ready_job_from(from)?;
        }
        if let Some(need) = &needs.due {
            loaded.due = self.due(need)?;
        }
        for &key in &needs.dependencies {
            loaded.dependencies.push(self.dependencies(key)?);
        }
        for &key in &needs.edges_of {
            loaded.edges_of.push(self.edges_of(key)?);
        }
        if let Some((owner, after, limit)) = needs.held {
            loaded.held = self.held_by(after, limit, |holder| holder == owner)?;
        }
        if let Some(HeldByAnyNeed { owners, limit }) = &needs.held_by_any {
            loaded.held_by_any = self.held_by(None, *limit, |owner| owners.contains(&owner))?;
        }
        if needs.owners {
            loaded.owners = self.owners()?;
        }
        if let Some((after, limit)) = needs.jobs_after {
            loaded.jobs_after = self.jobs_after(after, limit)?;
        }
        if let Some((before, limit)) = needs.jobs_before {
            loaded.jobs_before = self.jobs_before(before, limit)?;
        }
        if let Some(EdgesNeed { job, after, limit }) = needs.edges {
            loaded.edges = self.edges_page(job, after, limit)?;
        }
        if let Some(need) = needs.cursors {
            loaded.cursors = self.cursors(need)?;
        }
        if let Some((after, limit)) = needs.log {
            loaded.log = self.log_runs(after, limit)?;
        }
        Ok(loaded)
    }

    pub(super) fn meta(self) -> Result<Meta> {
        let seat = Seat::of_job(Table::Meta, 0);
        let bytes = self.index().get(&t::META)?.ok_or_else(|| seat.corrupt("it is missing"))?;
        let meta = codec::meta(&bytes)?;
        let numbers = [meta.revision, meta.last_job.cast_unsigned(), meta.cursors, meta.log_start];
        read::possible(seat, &numbers)?;
        Ok(meta)
    }

    /// The journal's last frame that the trees have.
    pub(super) fn journal_held(self) -> Result<u64> {
        match self.index().get(&t::JOURNAL)? {
            Some(bytes) => codec::read_number(t::journal_seat(), &bytes),
            None => Ok(0),
        }
    }

    pub(super) fn job(self, id: i64) -> Result<Option<JobRow>> {
        match self.index().get(&t::of_job(index_tag::JOB, id))? {
            Some(bytes) => self.with_counts(id, &bytes).map(Some),
            None => Ok(None),
        }
    }

    fn with_counts(self, id: i64, job: &[u8]) -> Result<JobRow> {
        let seat = Seat::of_job(Table::Counts, id);
        let counts = self.index().get(&t::of_job(index_tag::COUNTS, id))?;
        let row = codec::job(id, job, &counts.ok_or_else(|| seat.corrupt("they are missing"))?)?;
        read::possible(seat, &row.counts.by_class)?;
        Ok(row)
    }

    fn jobs_after(self, after: Option<i64>, limit: usize) -> Result<Vec<JobRow>> {
        let from = t::of_job(index_tag::JOB, after.map_or(0, |id| id + 1));
        self.index_between(&from, &[index_tag::JOB + 1])?
            .take(limit)
            .map(|found| {
                let found = found?;
                self.with_counts(job_at(found.key())?, found.value())
            })
            .collect()
    }

    fn jobs_before(self, mut before: i64, limit: usize) -> Result<Vec<JobRow>> {
        let mut jobs = Vec::new();
        while jobs.len() < limit {
            let (first, end) = (t::of_job(index_tag::JOB, 0), t::of_job(index_tag::JOB, before));
            let found = self.index().last((Bound::Included(&first), Bound::Excluded(&end)))?;
            let Some(found) = found else { break };
            before = job_at(found.key())?;
            jobs.push(self.with_counts(before, found.value())?);
        }
        Ok(jobs)
    }

    pub(super) fn index_between(self, from: &[u8], to: &[u8]) -> Result<Entries<'v, Tag>> {
        self.index().between(from, to)
    }

    // Rows

    fn record(self, key: Key) -> Result<Arc<Record>> {
        match self.records().get(&t::row(key))? {
            Some(bytes) => codec::record(key, &bytes).map(Arc::new),
            None => Ok(Record::shared_fresh()),
        }
    }

    pub(super) fn unmet(self, key: Key) -> Result<u32> {
        match self.edges().get(&t::of_chunk(edge_tag::UNMET, key))? {
            Some(bytes) => read::unmet(key, &bytes),
            None => Ok(0),
        }
    }

    fn row(self, key: Key) -> Result<Option<Row>> {
        let Some(bytes) = self.contents().get(&t::row(key))? else { return Ok(None) };
        let content = Arc::new(codec::content(key, &bytes)?);
        Ok(Some(Row { key, content, record: self.record(key)?, unmet: self.unmet(key)? }))
    }

    /// The row of a chunk that an index has.
    fn indexed_row(self, key: Key) -> Result<Row> {
        self.row(key)?.ok_or_else(|| Seat::of(Table::Contents, key).corrupt("it is missing, an index has it"))
    }

    /// Hands over the rows of a run: of each of its chunks, that is.
    pub(super) fn each_of(self, job: i64, span: Span, each: &mut dyn FnMut(Row)) -> Result<()> {
        if span.len() < SCAN_MIN {
            for chunk in span.first..=span.last {
                each(self.indexed_row(Key { job, chunk })?);
            }
            return Ok(());
        }
        let mut expected = span.first;
        for row in Walk::new(self, job, span)? {
            let row = row?;
            if row.key.chunk != expected {
                break;
            }
            expected += 1;
            each(row);
        }
        if expected <= span.last {
            let key = Key { job, chunk: expected };
            return Err(Seat::of(Table::Contents, key).corrupt("it is missing, an index has it"));
        }
        Ok(())
    }

    /// Those that are known, and the others, each in ascending order.
    fn rows(
        self,
        mut keys: Vec<Key>,
        known: Known<'_>,
        hold: fn(Row) -> Row,
    ) -> Result<Vec<(Key, Option<Row>)>> {
        keys.sort_unstable();
        keys.dedup();
        let mut rows = Vec::with_capacity(keys.len());
        keys.retain(|&key| match known(&key) {
            Some(row) => {
                rows.push((key, Some(row)));
                false
            }
            None => true,
        });
        for neighbours in keys.chunk_by(|a, b| a.job == b.job && a.chunk.checked_add(1) == Some(b.chunk)) {
            if (neighbours.len() as u64) < SCAN_MIN {
                for &key in neighbours {
                    rows.push((key, self.row(key)?.map(hold)));
                }
                continue;
            }
            let (first, last) = (neighbours[0], neighbours[neighbours.len() - 1]);
            let mut missing = neighbours.iter().peekable();
            for row in Walk::new(self, first.job, Span { first: first.chunk, last: last.chunk })? {
                let row = row?;
                while let Some(&key) = missing.next_if(|&&key| key < row.key) {
                    rows.push((key, None));
                }
                missing.next();
                rows.push((row.key, Some(hold(row))));
            }
            rows.extend(missing.map(|&key| (key, None)));
        }
        Ok(rows)
    }

    // Runs

    /// The last run of a lane that begins at a chunk or before it.
    pub(super) fn run_before(self, lane: Lane, chunk: u64) -> Result<Option<Span>> {
        let (from, to) = (lane.key(0), lane.key(chunk));
        let found = self.index().last((Bound::Included(from.as_ref()), Bound::Included(to.as_ref())))?;
        found.map(|found| read_run(lane, found.key(), found.value())).transpose()
    }

    /// The runs of a lane that begin behind a chunk.
    pub(super) fn runs_after(
        self,
        lane: Lane,
        chunk: u64,
    ) -> Result<impl Iterator<Item = Result<Span>> + use<'v>> {
        let (from, to) = (lane.key(chunk), lane.key(u64::MAX));
        let bounds: Bounds<'_> = (Bound::Excluded(from.as_ref()), Bound::Included(to.as_ref()));
        Ok(self.index().range(bounds)?.map(move |found| {
            let found = found?;
            read_run(lane, found.key(), found.value())
        }))
    }

    /// The runs of a line, clipped to what is above a chunk.
    pub(super) fn runs_of(
        self,
        line: Line,
        after: Option<u64>,
    ) -> Result<impl Iterator<Item = Result<Span>> + use<'v>> {
        let from = after.map_or(0, |after| after.saturating_add(1));
        let (start, end) = (line.key(from), line.key(u64::MAX));
        // The run that `after` lies in, or the last one before it.
        let before = self.index().last((Bound::Included(&line.key(0)), Bound::Excluded(&start)))?;
        let before = before.map(|found| read_line(found.key(), found.value())).transpose()?;
        let before = before.and_then(|(_, span)| span.above(after));
        let rest = self.index().through(&start, &end)?.map(|found| {
            let found = found?;
            Ok(read_line(found.key(), found.value())?.1)
        });
        Ok(before.into_iter().map(Ok).chain(rest))
    }

    /// Every run of a class from a job on, in key order.
    fn class_runs(
        self,
        class: Class,
        from_job: i64,
    ) -> Result<impl Iterator<Item = Result<(Line, Span)>> + use<'v>> {
        let from = Line { class, job: from_job, rank: Rank(0) }.key(0);
        let to = [index_tag::RUN, class as u8 + 1];
        Ok(self.index_between(&from, &to)?.map(|found| {
            let found = found?;
            read_line(found.key(), found.value())
        }))
    }

    // Ready, due, held

    /// `ahead` rows more than are needed.
    fn ready(self, need: &ReadyNeed, ahead: usize, hold: Hold<'_>) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        let mut rank = Rank(0);
        let ReadyNeed { job, limit, .. } = *need;
        let limit = limit.saturating_add(ahead);
        if let Some((after_rank, after)) = need.after {
            for span in self.runs_of(Line { class: Class::Ready, job, rank: after_rank }, Some(after))? {
                if !self.take_rows(job, span?, limit, &mut rows, hold)? {
                    return Ok(rows);
                }
            }
            let Some(behind) = after_rank.0.checked_add(1) else { return Ok(rows) };
            rank = Rank(behind);
        }
        let from = Line { class: Class::Ready, job, rank }.key(0);
        let to = Line { class: Class::Ready, job: job + 1, rank: Rank(0) }.key(0);
        for found in self.index_between(&from, &to)? {
            let found = found?;
            let (_, span) = read_line(found.key(), found.value())?;
            if !self.take_rows(job, span, limit, &mut rows, hold)? {
                break;
            }
        }
        Ok(rows)
    }

    /// Appends rows of a run while there is room. Says whether there still is.
    fn take_rows(
        self,
        job: i64,
        span: Span,
        limit: usize,
        rows: &mut Vec<Row>,
        hold: Hold<'_>,
    ) -> Result<bool> {
        let room = limit.saturating_sub(rows.len());
        if room > 0 {
            self.each_of(job, span.capped(room), &mut |row| rows.push(hold(row)))?;
        }
        Ok(rows.len() < limit)
    }

    fn ready_job_from(self, from: i64) -> Result<Option<i64>> {
        Ok(self.class_runs(Class::Ready, from)?.next().transpose()?.map(|(line, _)| line.job))
    }

    /// When the first row falls due.
    pub(super) fn due_first_ms(self) -> Result<Option<u64>> {
        let mut dues = self.index_between(&[index_tag::DUE], &t::dues_after(u64::MAX))?;
        let Some(found) = dues.next().transpose()? else { return Ok(None) };
        Ok(Some(read_dues(found.key(), found.value())?.0.at_ms))
    }

    fn due(self, need: &DueNeed) -> Result<Vec<Row>> {
        let (to, set_after, limit) = match *need {
            DueNeed::By { at_ms, limit } => (t::dues_after(at_ms), None, limit),
            DueNeed::SetAfter { at_ms, limit } => (t::dues_after(u64::MAX), Some(at_ms), limit),
        };
        let mut rows = Vec::new();
        for found in self.index_between(&[index_tag::DUE], &to)? {
            let found = found?;
            let (dues, span) = read_dues(found.key(), found.value())?;
            if set_after.is_none_or(|after| dues.set_at_ms > after)
                && !self.take_rows(dues.job, span, limit, &mut rows, &mut Row::without_payload)?
            {
                break;
            }
        }
        Ok(rows)
    }

    /// Rows of some holders, in key order above a key. Whoever holds a chunk has claimed it, so that its record names them.
    fn held_by(
        self,
        after: Option<Key>,
        limit: usize,
        is_wanted: impl Fn(OwnerId) -> bool,
    ) -> Result<Vec<Row>> {
        let mut held = Vec::new();
        for run in self.class_runs(Class::Processing, after.map_or(0, |key| key.job))? {
            let (line, span) = run?;
            let after = after.filter(|key| key.job == line.job).map(|key| key.chunk);
            let Some(span) = span.above(after) else { continue };
            // First the records alone: most rows may be somebody else's.
            for found in self.records_of(line.job, span)? {
                if held.len() >= limit {
                    return Ok(held);
                }
                let (key, record) = found?;
                if record.owner().is_some_and(&is_wanted) {
                    held.push(self.indexed_row(key)?.without_payload());
                }
            }
        }
        Ok(held)
    }

    fn owners(self) -> Result<Vec<OwnerId>> {
        let mut owners = BTreeSet::new();
        for run in self.class_runs(Class::Processing, 0)? {
            let (line, span) = run?;
            for found in self.records_of(line.job, span)? {
                owners.extend(found?.1.owner());
            }
        }
        Ok(owners.into_iter().collect())
    }

    fn records_of(self, job: i64, span: Span) -> Result<impl Iterator<Item = Result<(Key, Record)>>> {
        let (first, last) = (t::row(Key { job, chunk: span.first }), t::row(Key { job, chunk: span.last }));
        Ok(self.records().through(&first, &last)?.map(|found| {
            let found = found?;
            let key = t::read_row(found.key());
            Ok((key, codec::record(key, found.value())?))
        }))
    }

    // Lists

    fn cursors(self, need: CursorsNeed) -> Result<Vec<Cursor>> {
        let first = t::of_chunk(index_tag::CURSOR, Key { job: need.first_job, chunk: 0 });
        let last = t::of_chunk(index_tag::CURSOR, Key { job: need.last_job, chunk: u64::MAX });
        self.index()
            .through(&first, &last)?
            .take(need.limit)
            .map(|found| {
                let found = found?;
                codec::cursor(chunk_at(found.key())?, found.value())
            })
            .collect()
    }

    fn log_runs(self, after: u64, limit: usize) -> Result<Vec<LogRun>> {
        let Some(next) = after.checked_add(1) else { return Ok(Vec::new()) };
        let log = self.log();
        // The entry that the next revision lies in began at it or before it.
        let before = log.last((Bound::Unbounded, Bound::Included(&next.to_be_bytes())))?;
        let from = before.map_or(Ok(0), |found| revision_at(found.key()))?;
        let mut runs = Vec::new();
        let mut changes = 0_u64;
        for found in log.range((Bound::Included(&from.to_be_bytes()), Bound::Unbounded))? {
            let found = found?;
            for run in read::log(found.key(), found.value())?.1 {
                if run.revision + run.count > next {
                    changes += run.count.min(run.revision + run.count - next);
                    runs.push(run);
                }
            }
            if changes >= limit as u64 {
                break;
            }
        }
        Ok(runs)
    }

    /// The entries of the log up to a revision, with the revision of each.
    pub(super) fn log_to(self, revision: u64) -> Result<impl Iterator<Item = Result<(u64, Vec<LogRun>)>>> {
        let bounds = (Bound::Unbounded, Bound::Included(&revision.to_be_bytes()[..]));
        Ok(self.log().range(bounds)?.map(|found| {
            let found = found?;
            read::log(found.key(), found.value())
        }))
    }
}
