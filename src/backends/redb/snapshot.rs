//! Answers questions from one snapshot.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::ops::Bound;
use std::sync::Arc;

use redb::{Range, ReadOnlyTable, ReadTransaction, ReadableTableMetadata as _};

use super::spans::{self, Span};
use super::tables::{self, Dues, Lane, Line, edge_tag, index_tag, u64_at};
use super::{errors, tables as t};
use crate::backends::contract::{
    Class, Cursor, DependentsNeed, DueNeed, Edge, EdgesNeed, JobRow, Key, Load, Loaded, LogRun, Meta, Needs,
    PageNeed, Rank, ReadyNeed, Record, Row,
};
use crate::codec::{self, Seat, Table};
use crate::error::Result;
use crate::model::OwnerId;

/// Dependencies that room is made for before a page of them is read.
const EDGES_EXPECTED: usize = 4_096;

/// From here on a scan of neighbours is quicker than asking for each.
const SCAN_MIN: u64 = 4;

type TagRange = Range<'static, &'static [u8], &'static [u8]>;
type RowRange = Range<'static, &'static [u8; 16], &'static [u8]>;
type LogRange = Range<'static, &'static [u8; 8], &'static [u8]>;

/// The trees as they were at one moment.
pub(super) struct Snapshot {
    transaction: ReadTransaction,
    contents: ReadOnlyTable<&'static [u8; 16], &'static [u8]>,
    records: ReadOnlyTable<&'static [u8; 16], &'static [u8]>,
    index: ReadOnlyTable<&'static [u8], &'static [u8]>,
    /// `None` where no chunk of the store depends on another.
    edges: Option<ReadOnlyTable<&'static [u8], &'static [u8]>>,
}

impl Snapshot {
    pub(super) fn new(transaction: ReadTransaction) -> Result<Self> {
        let edges = transaction.open_table(t::EDGES).map_err(errors::opening_table)?;
        Ok(Snapshot {
            contents: transaction.open_table(t::CONTENTS).map_err(errors::opening_table)?,
            records: transaction.open_table(t::RECORDS).map_err(errors::opening_table)?,
            index: transaction.open_table(t::INDEX).map_err(errors::opening_table)?,
            edges: if edges.is_empty().map_err(errors::reading)? { None } else { Some(edges) },
            transaction,
        })
    }

    pub(super) fn meta(&self) -> Result<Meta> {
        match self.index.get(&t::META[..]).map_err(errors::reading)? {
            Some(bytes) => codec::meta(bytes.value()),
            None => Err(Seat::of_job(Table::Meta, 0).corrupt("it is missing")),
        }
    }

    /// The journal's last frame that the trees have.
    pub(super) fn journal_held(&self) -> Result<u64> {
        match self.index.get(&t::JOURNAL[..]).map_err(errors::reading)? {
            Some(bytes) => codec::read_number(t::journal_seat(), bytes.value()),
            None => Ok(0),
        }
    }

    pub(super) fn job(&self, id: i64) -> Result<Option<JobRow>> {
        match self.index.get(&t::of_job(index_tag::JOB, id)[..]).map_err(errors::reading)? {
            Some(bytes) => self.with_counts(id, bytes.value()).map(Some),
            None => Ok(None),
        }
    }

    fn with_counts(&self, id: i64, job: &[u8]) -> Result<JobRow> {
        match self.index.get(&t::of_job(index_tag::COUNTS, id)[..]).map_err(errors::reading)? {
            Some(counts) => codec::job(id, job, counts.value()),
            None => Err(Seat::of_job(Table::Counts, id).corrupt("they are missing")),
        }
    }

    fn jobs_after(&self, after: Option<i64>, limit: usize) -> Result<Vec<JobRow>> {
        let from = t::of_job(index_tag::JOB, after.map_or(0, |id| id + 1));
        self.index_range(&from, &[index_tag::JOB + 1])?
            .take(limit)
            .map(|entry| {
                let (key, value) = entry.map_err(errors::reading)?;
                self.with_counts(job_at(key.value())?, value.value())
            })
            .collect()
    }

    fn record(&self, key: Key) -> Result<Record> {
        match self.records.get(&t::row(key)).map_err(errors::reading)? {
            Some(bytes) => codec::record(key, bytes.value()),
            None => Ok(Record::fresh()),
        }
    }

    fn unmet(&self, key: Key) -> Result<u32> {
        let Some(edges) = &self.edges else { return Ok(0) };
        match edges.get(&t::of_chunk(edge_tag::UNMET, key)[..]).map_err(errors::reading)? {
            Some(bytes) => read_unmet(key, bytes.value()),
            None => Ok(0),
        }
    }

    fn row(&self, key: Key) -> Result<Option<Row>> {
        let Some(bytes) = self.contents.get(&t::row(key)).map_err(errors::reading)? else { return Ok(None) };
        let content = Arc::new(codec::content(key, bytes.value())?);
        Ok(Some(Row { key, content, record: self.record(key)?, unmet: self.unmet(key)? }))
    }

    /// The row of a chunk that an index has.
    pub(super) fn indexed_row(&self, key: Key) -> Result<Row> {
        self.row(key)?.ok_or_else(|| Seat::of(Table::Contents, key).corrupt("it is missing, an index has it"))
    }

    /// The rows of a job in chunk order, all three trees walked side by side.
    pub(super) fn walk(&self, job: i64, span: Span) -> Result<Walk> {
        let key = |chunk| Key { job, chunk };
        let (first, last) = (t::row(key(span.first)), t::row(key(span.last)));
        let unmet = match &self.edges {
            None => None,
            Some(edges) => {
                let first = t::of_chunk(edge_tag::UNMET, key(span.first));
                let last = t::of_chunk(edge_tag::UNMET, key(span.last));
                Some(edges.range::<&[u8]>(&first[..]..=&last[..]).map_err(errors::reading)?)
            }
        };
        Ok(Walk {
            contents: self.contents.range::<&[u8; 16]>(&first..=&last).map_err(errors::reading)?,
            records: Ahead::new(self.records.range::<&[u8; 16]>(&first..=&last).map_err(errors::reading)?)?,
            unmet: unmet.map(Unmet::new).transpose()?,
        })
    }

    /// Appends the rows of a run: of each of its chunks, that is.
    fn rows_of(&self, job: i64, span: Span, rows: &mut Vec<Row>) -> Result<()> {
        if span.len() < SCAN_MIN {
            for chunk in span.first..=span.last {
                rows.push(self.indexed_row(Key { job, chunk })?);
            }
            return Ok(());
        }
        let mut expected = span.first;
        for row in self.walk(job, span)? {
            let row = row?;
            if row.key.chunk != expected {
                break;
            }
            expected += 1;
            rows.push(row);
        }
        if expected <= span.last {
            let key = Key { job, chunk: expected };
            return Err(Seat::of(Table::Contents, key).corrupt("it is missing, an index has it"));
        }
        Ok(())
    }

    fn rows(&self, keys: impl Iterator<Item = Key>) -> Result<BTreeMap<Key, Option<Row>>> {
        let mut rows = BTreeMap::new();
        let mut keys: Vec<Key> = keys.collect();
        keys.sort_unstable();
        keys.dedup();
        for neighbours in keys.chunk_by(|a, b| a.job == b.job && a.chunk.checked_add(1) == Some(b.chunk)) {
            if (neighbours.len() as u64) < SCAN_MIN {
                for &key in neighbours {
                    rows.insert(key, self.row(key)?);
                }
                continue;
            }
            let span = Span { first: neighbours[0].chunk, last: neighbours[neighbours.len() - 1].chunk };
            rows.extend(neighbours.iter().map(|&key| (key, None)));
            for row in self.walk(neighbours[0].job, span)? {
                let row = row?;
                rows.insert(row.key, Some(row));
            }
        }
        Ok(rows)
    }

    fn index_range(&self, from: &[u8], to: &[u8]) -> Result<TagRange> {
        self.index.range::<&[u8]>(from..to).map_err(errors::reading)
    }

    /// The runs of a line, clipped to what is above a chunk.
    fn runs_of(&self, line: Line, after: Option<u64>) -> Result<LineRuns> {
        let from = after.map_or(0, |after| after.saturating_add(1));
        let start = line.key(from);
        // The run that `after` lies in, or the last one before it.
        let before = match self.index_range(&line.key(0), &start)?.next_back() {
            None => None,
            Some(entry) => {
                let (key, value) = entry.map_err(errors::reading)?;
                read_line(key.value(), value.value())?.1.above(after)
            }
        };
        let end = line.key(u64::MAX);
        let rest = self.index.range::<&[u8]>(&start[..]..=&end[..]).map_err(errors::reading)?;
        Ok(LineRuns { before, rest })
    }

    /// Every run of a class from a job on, in key order.
    fn class_runs(&self, class: Class, from_job: i64) -> Result<impl Iterator<Item = Result<(Line, Span)>>> {
        let from = Line { class, job: from_job, rank: Rank(0) }.key(0);
        let to = [index_tag::RUN, class as u8 + 1];
        Ok(self.index_range(&from, &to)?.map(|entry| {
            let (key, value) = entry.map_err(errors::reading)?;
            read_line(key.value(), value.value())
        }))
    }

    /// `ahead` rows more than are needed.
    fn ready(&self, need: &ReadyNeed, ahead: usize) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        let mut rank = Rank(0);
        let ReadyNeed { job, limit, .. } = *need;
        let limit = limit.saturating_add(ahead);
        if let Some((after_rank, after)) = need.after {
            for span in self.runs_of(Line { class: Class::Ready, job, rank: after_rank }, Some(after))? {
                if !self.take_rows(job, span?, limit, &mut rows)? {
                    return Ok(rows);
                }
            }
            let Some(behind) = after_rank.0.checked_add(1) else { return Ok(rows) };
            rank = Rank(behind);
        }
        let from = Line { class: Class::Ready, job, rank }.key(0);
        let to = Line { class: Class::Ready, job: job + 1, rank: Rank(0) }.key(0);
        for entry in self.index_range(&from, &to)? {
            let (key, value) = entry.map_err(errors::reading)?;
            let (_, span) = read_line(key.value(), value.value())?;
            if !self.take_rows(job, span, limit, &mut rows)? {
                break;
            }
        }
        Ok(rows)
    }

    /// Appends rows of a run while there is room. Says whether there still is.
    fn take_rows(&self, job: i64, span: Span, limit: usize, rows: &mut Vec<Row>) -> Result<bool> {
        let room = limit.saturating_sub(rows.len());
        if room > 0 {
            self.rows_of(job, span.capped(room), rows)?;
        }
        Ok(rows.len() < limit)
    }

    fn ready_job_from(&self, from: i64) -> Result<Option<i64>> {
        Ok(self.class_runs(Class::Ready, from)?.next().transpose()?.map(|(line, _)| line.job))
    }

    /// When the first row falls due.
    pub(super) fn due_first_ms(&self) -> Result<Option<u64>> {
        let Some(entry) = self.index_range(&[index_tag::DUE], &t::dues_after(u64::MAX))?.next() else {
            return Ok(None);
        };
        let (key, value) = entry.map_err(errors::reading)?;
        Ok(Some(read_dues(key.value(), value.value())?.0.at_ms))
    }

    fn due(&self, need: &DueNeed) -> Result<Vec<Row>> {
        let (to, set_after, limit) = match *need {
            DueNeed::By { at_ms, limit } => (t::dues_after(at_ms), None, limit),
            DueNeed::SetAfter { at_ms, limit } => (t::dues_after(u64::MAX), Some(at_ms), limit),
        };
        let mut rows = Vec::new();
        for entry in self.index_range(&[index_tag::DUE], &to)? {
            let (key, value) = entry.map_err(errors::reading)?;
            let (dues, span) = read_dues(key.value(), value.value())?;
            if set_after.is_none_or(|after| dues.set_at_ms > after)
                && !self.take_rows(dues.job, span, limit, &mut rows)?
            {
                break;
            }
        }
        Ok(rows)
    }

    /// Who waits for each of these; one walk for neighbours.
    fn dependents(&self, needs: &[DependentsNeed]) -> Result<Vec<Vec<(u64, bool)>>> {
        let mut lists = vec![Vec::new(); needs.len()];
        let Some(edges) = &self.edges else { return Ok(lists) };
        let mut done = 0;
        for run in needs.chunk_by(|a, b| {
            b.after.is_none() && a.on.job == b.on.job && a.on.chunk.checked_add(1) == Some(b.on.chunk)
        }) {
            let lists = &mut lists[done..done + run.len()];
            done += run.len();
            let mut at = 0;
            // Behind a list that is longer than wanted it begins anew.
            'walk: while let Some(first) = run.get(at) {
                let Some(from) = first.after.map_or(Some(0), |after| after.checked_add(1)) else {
                    at += 1;
                    continue;
                };
                let first = t::of_pair(edge_tag::DEPENDENT, first.on, from);
                let last = t::of_pair(edge_tag::DEPENDENT, run[run.len() - 1].on, u64::MAX);
                for entry in edges.range::<&[u8]>(&first[..]..=&last[..]).map_err(errors::reading)? {
                    let (key, value) = entry.map_err(errors::reading)?;
                    let (on, chunk) = pair_at(key.value())?;
                    while run[at].on != on {
                        at += 1;
                    }
                    if lists[at].len() == run[at].limit {
                        at += 1;
                        continue 'walk;
                    }
                    let seat = t::dependent_seat(Key { chunk, ..on }, on.chunk);
                    lists[at].push((chunk, codec::read_number(seat, value.value())? != 0));
                }
                break;
            }
        }
        Ok(lists)
    }

    pub(super) fn dependencies(&self, key: Key) -> Result<Vec<u64>> {
        let Some(edges) = &self.edges else { return Ok(Vec::new()) };
        let list = edges.get(&t::of_chunk(edge_tag::DEPENDENCIES, key)[..]).map_err(errors::reading)?;
        list.map_or(Ok(Vec::new()), |list| codec::dependencies(key, list.value()))
    }

    fn edges_of(&self, key: Key) -> Result<Vec<(u64, bool)>> {
        let Some(edges) = &self.edges else { return Ok(Vec::new()) };
        let with_state = |on: u64| {
            let seat = t::dependent_seat(key, on);
            let dependent = t::of_pair(edge_tag::DEPENDENT, Key { chunk: on, ..key }, key.chunk);
            let number = edges.get(&dependent[..]).map_err(errors::reading)?;
            let number =
                number.ok_or_else(|| seat.corrupt(format_args!("that on chunk {on} is half there")))?;
            Ok((on, codec::read_number(seat, number.value())? != 0))
        };
        self.dependencies(key)?.into_iter().map(with_state).collect()
    }

    fn edges(&self, job: i64, after: Option<(u64, u64)>, limit: usize) -> Result<Vec<Edge>> {
        let Some(tree) = &self.edges else { return Ok(Vec::new()) };
        let list_of = |chunk| t::of_chunk(edge_tag::DEPENDENCIES, Key { job, chunk });
        let (from, to) = (list_of(after.map_or(0, |(chunk, _)| chunk)), list_of(u64::MAX));
        let mut edges = Vec::with_capacity(limit.min(EDGES_EXPECTED));
        for entry in tree.range::<&[u8]>(&from[..]..=&to[..]).map_err(errors::reading)? {
            let (key, list) = entry.map_err(errors::reading)?;
            let key = chunk_at(key.value())?;
            let list = codec::dependencies(key, list.value())?;
            let ahead = list.into_iter().filter(|&on| after.is_none_or(|after| (key.chunk, on) > after));
            edges.extend(ahead.take(limit - edges.len()).map(|on| Edge { job, chunk: key.chunk, on }));
            if edges.len() == limit {
                break;
            }
        }
        Ok(edges)
    }

    /// Whoever holds a chunk has claimed it, so that its record names them.
    fn held(&self, owner: OwnerId, after: Option<Key>, limit: usize) -> Result<Vec<Row>> {
        let mut held = Vec::new();
        for run in self.class_runs(Class::Processing, after.map_or(0, |key| key.job))? {
            let (line, span) = run?;
            let after = after.filter(|key| key.job == line.job).map(|key| key.chunk);
            let Some(span) = span.above(after) else { continue };
            // First the records alone: most rows may be somebody else's.
            for (key, record) in self.records_of(line.job, span)? {
                if held.len() >= limit {
                    return Ok(held);
                }
                if record.owner == Some(owner) {
                    held.push(self.indexed_row(key)?);
                }
            }
        }
        Ok(held)
    }

    fn owners(&self) -> Result<Vec<OwnerId>> {
        let mut owners = BTreeSet::new();
        for run in self.class_runs(Class::Processing, 0)? {
            let (line, span) = run?;
            owners
                .extend(self.records_of(line.job, span)?.into_iter().filter_map(|(_, record)| record.owner));
        }
        Ok(owners.into_iter().collect())
    }

    fn records_of(&self, job: i64, span: Span) -> Result<Vec<(Key, Record)>> {
        let (first, last) = (t::row(Key { job, chunk: span.first }), t::row(Key { job, chunk: span.last }));
        let range = self.records.range::<&[u8; 16]>(&first..=&last).map_err(errors::reading)?;
        range
            .map(|entry| {
                let (key, value) = entry.map_err(errors::reading)?;
                let key = t::read_row(*key.value());
                Ok((key, codec::record(key, value.value())?))
            })
            .collect()
    }

    fn page(&self, need: &PageNeed) -> Result<Vec<Row>> {
        let Some(first) = need.after.map_or(Some(0), |after| after.checked_add(1)) else {
            return Ok(Vec::new());
        };
        if need.classes.is_empty() {
            return self.walk(need.job, Span { first, last: u64::MAX })?.take(need.limit).collect();
        }
        // Each line is sorted by chunk and no two overlap: the lowest first chunk of all lines comes next, its run whole.
        let mut lines = Vec::new();
        for &class in need.classes {
            for line in self.lines_of(class, need.job)? {
                lines.push(self.runs_of(line, need.after)?);
            }
        }
        let mut heads = BinaryHeap::new();
        for (at, line) in lines.iter_mut().enumerate() {
            if let Some(span) = line.next().transpose()? {
                heads.push(Reverse((span, at)));
            }
        }
        // Neighbours of different classes are read in one walk.
        let mut spans = Vec::new();
        let mut room = need.limit;
        while room > 0
            && let Some(Reverse((span, at))) = heads.pop()
        {
            let span = span.capped(room);
            room -= usize::try_from(span.len()).unwrap_or(room);
            spans::push(&mut spans, span);
            if let Some(span) = lines[at].next().transpose()? {
                heads.push(Reverse((span, at)));
            }
        }
        let mut rows = Vec::new();
        spans.into_iter().try_for_each(|span| self.rows_of(need.job, span, &mut rows))?;
        Ok(rows)
    }

    /// The lines of a class and job, found by leaping from rank to rank.
    fn lines_of(&self, class: Class, job: i64) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        let to = Line { class, job: job + 1, rank: Rank(0) }.key(0);
        let mut rank = Some(0);
        while let Some(from) = rank {
            let from = Line { class, job, rank: Rank(from) }.key(0);
            let Some(entry) = self.index_range(&from, &to)?.next() else { break };
            let (key, value) = entry.map_err(errors::reading)?;
            let (line, _) = read_line(key.value(), value.value())?;
            rank = line.rank.0.checked_add(1);
            lines.push(line);
        }
        Ok(lines)
    }

    fn cursors(&self, limit: usize) -> Result<Vec<Cursor>> {
        self.index_range(&[index_tag::CURSOR], &[index_tag::CURSOR + 1])?
            .take(limit)
            .map(|entry| {
                let (key, value) = entry.map_err(errors::reading)?;
                codec::cursor(chunk_at(key.value())?, value.value())
            })
            .collect()
    }

    fn log(&self, after: u64, limit: usize) -> Result<Vec<LogRun>> {
        let log = self.transaction.open_table(t::LOG).map_err(errors::opening_table)?;
        let Some(next) = after.checked_add(1) else { return Ok(Vec::new()) };
        // The entry that the next revision lies in began at it or before it.
        let from = match log.range::<&[u8; 8]>(..=&next.to_be_bytes()).map_err(errors::reading)?.next_back() {
            None => [0; 8],
            Some(entry) => *entry.map_err(errors::reading)?.0.value(),
        };
        let mut runs = Vec::new();
        let mut changes = 0_u64;
        for entry in log.range::<&[u8; 8]>(&from..).map_err(errors::reading)? {
            let (key, value) = entry.map_err(errors::reading)?;
            for run in codec::log(u64::from_be_bytes(*key.value()), value.value())? {
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

    /// What stands in `edges` under a key.
    pub(super) fn edge(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let Some(edges) = &self.edges else { return Ok(None) };
        Ok(edges.get(key).map_err(errors::reading)?.map(|bytes| bytes.value().to_vec()))
    }

    pub(super) fn index_between(&self, bounds: (Bound<&[u8]>, Bound<&[u8]>)) -> Result<TagRange> {
        self.index.range::<&[u8]>(bounds).map_err(errors::reading)
    }

    /// The entries of the log up to a revision.
    pub(super) fn log_to(&self, revision: u64) -> Result<LogRange> {
        let log = self.transaction.open_table(t::LOG).map_err(errors::opening_table)?;
        log.range::<&[u8; 8]>(..=&revision.to_be_bytes()).map_err(errors::reading)
    }

    /// Every entry of a tree, for [`super::verify`].
    pub(super) fn all_index(&self) -> Result<TagRange> {
        self.index.range::<&[u8]>(..).map_err(errors::reading)
    }

    pub(super) fn all_edges(&self) -> Result<Option<TagRange>> {
        self.edges.as_ref().map(|edges| edges.range::<&[u8]>(..).map_err(errors::reading)).transpose()
    }

    pub(super) fn has_edge(&self, key: &[u8]) -> Result<bool> {
        let Some(edges) = &self.edges else { return Ok(false) };
        Ok(edges.get(key).map_err(errors::reading)?.is_some())
    }

    pub(super) fn has_row(&self, key: Key) -> Result<bool> {
        Ok(self.contents.get(&t::row(key)).map_err(errors::reading)?.is_some())
    }

    pub(super) fn all_contents(&self) -> Result<RowRange> {
        self.contents.range::<&[u8; 16]>(..).map_err(errors::reading)
    }

    pub(super) fn all_records(&self) -> Result<RowRange> {
        self.records.range::<&[u8; 16]>(..).map_err(errors::reading)
    }

    pub(super) fn all_log(&self) -> Result<LogRange> {
        let log = self.transaction.open_table(t::LOG).map_err(errors::opening_table)?;
        log.range::<&[u8; 8]>(..).map_err(errors::reading)
    }
}

impl Load for Snapshot {
    fn load(&mut self, needs: &Needs) -> Result<Loaded> {
        self.load_ahead(needs, 0)
    }
}

impl Snapshot {
    /// The answers, and `ahead` ready rows more than each job is asked for.
    pub(super) fn load_ahead(&self, needs: &Needs, ahead: usize) -> Result<Loaded> {
        let mut loaded = Loaded::new(self.meta()?);
        for &id in &needs.jobs {
            loaded.jobs.insert(id, self.job(id)?);
        }
        loaded.dependents = self.dependents(&needs.dependents)?;
        loaded.rows = self.rows(needs.rows.iter().copied().chain(loaded.dependents_of(needs)))?;
        if let Some(key) = loaded.missing_dependent(needs) {
            return Err(Seat::of(Table::Contents, key).corrupt("it is missing, a dependency has it"));
        }
        for need in &needs.ready {
            loaded.ready.push(self.ready(need, ahead)?);
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
            loaded.held = self.held(owner, after, limit)?;
        }
        if needs.owners {
            loaded.owners = self.owners()?;
        }
        for need in &needs.pages {
            loaded.pages.push(self.page(need)?);
        }
        if let Some((after, limit)) = needs.jobs_after {
            loaded.jobs_after = self.jobs_after(after, limit)?;
        }
        if let Some(EdgesNeed { job, after, limit }) = needs.edges {
            loaded.edges = self.edges(job, after, limit)?;
        }
        if needs.cursors > 0 {
            loaded.cursors = self.cursors(needs.cursors)?;
        }
        if let Some((after, limit)) = needs.log {
            loaded.log = self.log(after, limit)?;
        }
        Ok(loaded)
    }
}

type RowEntry = (redb::AccessGuard<'static, &'static [u8; 16]>, redb::AccessGuard<'static, &'static [u8]>);

/// Rows in key order: every content with the record and the count that stand under its key.
pub(super) struct Walk {
    contents: RowRange,
    records: Ahead,
    unmet: Option<Unmet>,
}

impl Iterator for Walk {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        let entry = self.contents.next()?;
        Some(entry.map_err(errors::reading).and_then(|(key, value)| {
            let key = t::read_row(*key.value());
            let content = Arc::new(codec::content(key, value.value())?);
            let record = self.records.at(key)?;
            let unmet = match &mut self.unmet {
                Some(unmet) => unmet.at(key)?,
                None => 0,
            };
            Ok(Row { key, content, record, unmet })
        }))
    }
}

/// Records in key order, of which one is looked at ahead.
struct Ahead {
    range: RowRange,
    next: Option<RowEntry>,
}

impl Ahead {
    fn new(mut range: RowRange) -> Result<Self> {
        let next = range.next().transpose().map_err(errors::reading)?;
        Ok(Ahead { range, next })
    }

    fn at(&mut self, key: Key) -> Result<Record> {
        let Some((next, value)) = &self.next else { return Ok(Record::fresh()) };
        let next = t::read_row(*next.value());
        if next < key {
            return Err(Seat::of(Table::Records, next).corrupt("its content is missing"));
        }
        if next > key {
            return Ok(Record::fresh());
        }
        let record = codec::record(key, value.value())?;
        self.next = self.range.next().transpose().map_err(errors::reading)?;
        Ok(record)
    }
}

/// Counts of unmet dependencies in key order, of which one is looked at ahead.
struct Unmet {
    range: TagRange,
    next: Option<(Key, u32)>,
}

impl Unmet {
    fn new(range: TagRange) -> Result<Self> {
        let mut unmet = Unmet { range, next: None };
        unmet.advance()?;
        Ok(unmet)
    }

    fn advance(&mut self) -> Result<()> {
        self.next = match self.range.next() {
            None => None,
            Some(entry) => {
                let (key, value) = entry.map_err(errors::reading)?;
                let key = chunk_at(key.value())?;
                Some((key, read_unmet(key, value.value())?))
            }
        };
        Ok(())
    }

    fn at(&mut self, key: Key) -> Result<u32> {
        match self.next {
            Some((next, _)) if next < key => Err(t::unmet_seat(next).corrupt("its chunk is missing")),
            Some((next, count)) if next == key => {
                self.advance()?;
                Ok(count)
            }
            _ => Ok(0),
        }
    }
}

/// The runs of a line above a chunk, in chunk order.
struct LineRuns {
    before: Option<Span>,
    rest: TagRange,
}

impl Iterator for LineRuns {
    type Item = Result<Span>;

    fn next(&mut self) -> Option<Result<Span>> {
        if let Some(span) = self.before.take() {
            return Some(Ok(span));
        }
        let entry = self.rest.next()?;
        Some(
            entry
                .map_err(errors::reading)
                .and_then(|(key, value)| Ok(read_line(key.value(), value.value())?.1)),
        )
    }
}

/// A run of a lane from its key and value.
pub(super) fn read_run(lane: Lane, key: &[u8], value: &[u8]) -> Result<Span> {
    let Some(at) = key.len().checked_sub(8) else { return Err(errors::damaged_index("a key is too short")) };
    let first = u64_at(key, at);
    let last = codec::read_number(lane.seat(first), value)?;
    if last < first {
        return Err(lane.seat(first).corrupt("it ends before it begins"));
    }
    Ok(Span { first, last })
}

/// A run of whatever line its key says.
pub(super) fn read_line(key: &[u8], value: &[u8]) -> Result<(Line, Span)> {
    match tables::read_line(key) {
        Some((line, _)) => Ok((line, read_run(Lane::Line(line), key, value)?)),
        None => Err(errors::damaged_index("the key of a run is none")),
    }
}

/// A run of whatever deadline its key says.
pub(super) fn read_dues(key: &[u8], value: &[u8]) -> Result<(Dues, Span)> {
    match tables::read_dues(key) {
        Some((dues, _)) => Ok((dues, read_run(Lane::Dues(dues), key, value)?)),
        None => Err(errors::damaged_index("the key of a deadline is none")),
    }
}

pub(super) fn read_unmet(key: Key, value: &[u8]) -> Result<u32> {
    let seat = t::unmet_seat(key);
    u32::try_from(codec::read_number(seat, value)?).map_err(|e| seat.corrupt(e))
}

/// The job of a key `[tag][job]`.
pub(super) fn job_at(key: &[u8]) -> Result<i64> {
    sized(key, 9)?;
    Ok(u64_at(key, 1).cast_signed())
}

/// The chunk of a key `[tag][job][chunk]`.
pub(super) fn chunk_at(key: &[u8]) -> Result<Key> {
    sized(key, 17)?;
    Ok(Key { job: u64_at(key, 1).cast_signed(), chunk: u64_at(key, 9) })
}

/// The chunk and the other one of a key `[tag][job][chunk][other chunk]`.
pub(super) fn pair_at(key: &[u8]) -> Result<(Key, u64)> {
    sized(key, 25)?;
    Ok((Key { job: u64_at(key, 1).cast_signed(), chunk: u64_at(key, 9) }, u64_at(key, 17)))
}

fn sized(key: &[u8], length: usize) -> Result<()> {
    if key.len() == length {
        Ok(())
    } else {
        Err(errors::damaged_index(format_args!("a key has {} bytes instead of {length}", key.len())))
    }
}
