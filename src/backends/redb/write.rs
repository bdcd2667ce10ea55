//! Writes a set of changes as one transaction.

use std::collections::BTreeMap;
use std::ops::Bound;

use redb::{Durability, ReadableTable as _, Table as Tree, WriteTransaction};

use super::edges;
use super::errors;
use super::ordered::{self, Entry, Gap};
use super::snapshot::read_run;
use super::spans::{self, Change, Edit, Mismatch, Span};
use super::tables::{self as t, Dues, Lane, Line, index_tag};
use crate::backends::contract::{
    Content, Delta, JobChange, JobRow, Key, LogRun, Meta, Place, Record, RowChange,
};
use crate::codec::{self, Encoder};
use crate::error::Result;

/// Entries of the log that one commit removes at most: a few more than it adds, so that pruning catches up.
const LOG_ENTRIES_PRUNED: usize = 4;

type Tags<'t> = Tree<'t, &'static [u8], &'static [u8]>;
type Rows<'t> = Tree<'t, &'static [u8; 16], &'static [u8]>;

/// Writes the changes and syncs. An error of another kind than `Poisoned` has changed nothing.
pub(super) fn commit(mut transaction: WriteTransaction, encoder: &mut Encoder, delta: &Delta) -> Result<()> {
    transaction.set_durability(Durability::Immediate).map_err(errors::writing)?;
    let mut writer = Writer { transaction: &transaction, encoder };
    writer.rows(&delta.rows)?;
    edges::write(writer.transaction, delta, writer.encoder)?;
    writer.index(delta)?;
    writer.log(&delta.log, delta.log_prune_to)?;
    transaction.commit().map_err(errors::committing)
}

/// Makes the tables of a new store.
pub(super) fn create(transaction: WriteTransaction, encoder: &mut Encoder, meta: &Meta) -> Result<()> {
    for rows in [t::CONTENTS, t::RECORDS] {
        transaction.open_table(rows).map_err(errors::opening_table)?;
    }
    transaction.open_table(t::EDGES).map_err(errors::opening_table)?;
    transaction.open_table(t::LOG).map_err(errors::opening_table)?;
    let mut index = transaction.open_table(t::INDEX).map_err(errors::opening_table)?;
    index.insert(&t::META[..], encoder.meta(meta)).map_err(errors::writing)?;
    drop(index);
    transaction.commit().map_err(errors::committing)
}

fn is_gone(row: &RowChange) -> bool {
    row.after.is_none() && row.before.is_some()
}

/// What changes of a row in one of its two trees; `None` where it goes.
struct PartOf<'d, T> {
    key: Key,
    part: Option<&'d T>,
    encode: for<'e> fn(&'e mut Encoder, Key, &T) -> &'e [u8],
}

fn content_of(row: &RowChange) -> Option<PartOf<'_, Content>> {
    let part = row.content.as_deref().filter(|_| !is_gone(row));
    (part.is_some() || is_gone(row)).then_some(PartOf { key: row.key, part, encode: Encoder::content })
}

/// A record to which nothing has happened is kept by keeping nothing.
fn record_of(row: &RowChange) -> Option<PartOf<'_, Record>> {
    let part = row.record.as_ref().filter(|record| !is_gone(row) && !record.is_fresh());
    let is_dropped = is_gone(row) || row.before.is_some() && row.record.is_some();
    (part.is_some() || is_dropped).then_some(PartOf { key: row.key, part, encode: Encoder::record })
}

impl<T> Entry for PartOf<'_, T> {
    type Bytes = [u8; 16];

    fn key(&self) -> [u8; 16] {
        t::row(self.key)
    }

    fn value<'e>(&self, encoder: &'e mut Encoder) -> Option<&'e [u8]> {
        self.part.map(|part| (self.encode)(encoder, self.key, part))
    }

    fn gap(&self, next: &Self) -> Gap {
        Gap::between(self.key, next.key)
    }
}

struct Writer<'a> {
    transaction: &'a WriteTransaction,
    encoder: &'a mut Encoder,
}

impl<'a> Writer<'a> {
    fn open_rows(&self, definition: t::Rows) -> Result<Rows<'a>> {
        self.transaction.open_table(definition).map_err(errors::opening_table)
    }

    fn open_index(&self) -> Result<Tags<'a>> {
        self.transaction.open_table(t::INDEX).map_err(errors::opening_table)
    }

    fn rows(&mut self, rows: &[RowChange]) -> Result<()> {
        let contents: Vec<_> = rows.iter().filter_map(content_of).collect();
        if !contents.is_empty() {
            ordered::write(&mut self.open_rows(t::CONTENTS)?, &contents, self.encoder)?;
        }
        let records: Vec<_> = rows.iter().filter_map(record_of).collect();
        if !records.is_empty() {
            ordered::write(&mut self.open_rows(t::RECORDS)?, &records, self.encoder)?;
        }
        Ok(())
    }

    fn index(&mut self, delta: &Delta) -> Result<()> {
        let mut index = self.open_index()?;
        for change in &delta.jobs {
            self.job(&mut index, change)?;
        }
        for cursor in &delta.cursors_put {
            let key = t::of_chunk(index_tag::CURSOR, cursor.key);
            index.insert(&key[..], self.encoder.cursor(cursor)).map_err(errors::writing)?;
        }
        for &key in &delta.cursors_deleted {
            index.remove(&t::of_chunk(index_tag::CURSOR, key)[..]).map_err(errors::writing)?;
        }
        index.insert(&t::META[..], self.encoder.meta(&delta.meta)).map_err(errors::writing)?;
        let dues = |job, place: Place| {
            let due = place.due?;
            Some(Dues { at_ms: due.at_ms(), job, set_at_ms: due.set_at_ms })
        };
        for (dues, changes) in lanes(&delta.rows, dues) {
            edit_lane(&mut index, dues, &changes)?;
        }
        let line = |job, place: Place| Some(Line { class: place.class, job, rank: place.rank });
        for (line, changes) in lanes(&delta.rows, line) {
            edit_lane(&mut index, line, &changes)?;
        }
        Ok(())
    }

    fn job(&mut self, index: &mut Tags, change: &JobChange) -> Result<()> {
        let key = |tag, row: &JobRow| t::of_job(tag, row.id);
        match change {
            JobChange::Put(row) => {
                let bytes = self.encoder.job(row);
                index.insert(&key(index_tag::JOB, row)[..], bytes).map_err(errors::writing)?;
                let bytes = self.encoder.counts(row);
                index.insert(&key(index_tag::COUNTS, row)[..], bytes).map_err(errors::writing)?;
            }
            JobChange::Counts(row) => {
                let bytes = self.encoder.counts(row);
                index.insert(&key(index_tag::COUNTS, row)[..], bytes).map_err(errors::writing)?;
            }
            JobChange::Delete(id) => {
                index.remove(&t::of_job(index_tag::JOB, *id)[..]).map_err(errors::writing)?;
                index.remove(&t::of_job(index_tag::COUNTS, *id)[..]).map_err(errors::writing)?;
            }
        }
        Ok(())
    }

    fn log(&mut self, runs: &[LogRun], prune_to: u64) -> Result<()> {
        if runs.is_empty() && prune_to == 0 {
            return Ok(());
        }
        let mut log = self.transaction.open_table(t::LOG).map_err(errors::opening_table)?;
        if let Some(first) = runs.first() {
            let bytes = self.encoder.log(runs);
            log.insert(&first.revision.to_be_bytes(), bytes).map_err(errors::writing)?;
        }
        let mut old = Vec::new();
        for entry in log.range::<&[u8; 8]>(..=&prune_to.to_be_bytes()).map_err(errors::reading)? {
            let (key, value) = entry.map_err(errors::reading)?;
            let first = u64::from_be_bytes(*key.value());
            let is_past = |run: &LogRun| run.revision + run.count <= prune_to + 1;
            if old.len() == LOG_ENTRIES_PRUNED || !codec::log(first, value.value())?.iter().all(is_past) {
                break;
            }
            old.push(first);
        }
        for first in old {
            log.remove(&first.to_be_bytes()).map_err(errors::writing)?;
        }
        Ok(())
    }
}

/// What the rows change in each lane, in chunk order.
fn lanes<L: Lane>(rows: &[RowChange], lane: impl Fn(i64, Place) -> Option<L>) -> BTreeMap<L, Vec<Change>> {
    let mut lanes: BTreeMap<L, Vec<Change>> = BTreeMap::new();
    for row in rows {
        let lane = |place| lane(row.key.job, place);
        let (before, after) = (row.before.and_then(lane), row.after.and_then(lane));
        if before == after {
            continue;
        }
        for (lane, is_added) in [(before, false), (after, true)] {
            if let Some(lane) = lane {
                spans::push_change(lanes.entry(lane).or_default(), row.key.chunk, is_added);
            }
        }
    }
    lanes
}

/// Makes the changes of one lane in windows: runs and changes that touch are worked out together in memory, and only
/// the runs that differ in the end are written.
fn edit_lane<L: Lane>(index: &mut Tags, lane: L, changes: &[Change]) -> Result<()> {
    let mut changes = changes;
    while let Some(first) = changes.first() {
        let start = first.span.first;
        let (window, runs) = {
            let mut runs = Vec::new();
            let before = index
                .range::<&[u8]>(lane.key(0).as_ref()..=lane.key(start).as_ref())
                .map_err(errors::reading)?
                .next_back();
            if let Some(entry) = before {
                let (key, value) = entry.map_err(errors::reading)?;
                let run = read_run(lane, key.value(), value.value())?;
                if run.last.saturating_add(1) >= start {
                    runs.push(run);
                }
            }
            let window = grow(index, lane, changes, &mut runs)?;
            (window, runs)
        };
        let (these, rest) = changes.split_at(window);
        let result = spans::apply(&runs, these).map_err(|Mismatch(chunk)| {
            lane.seat(chunk).corrupt("it does not agree with the chunk's record")
        })?;
        for edit in spans::edits(&runs, &result) {
            match edit {
                Edit::Put(Span { first, last }) => {
                    let number = codec::number(lane.seat(first), last);
                    index.insert(lane.key(first).as_ref(), &number[..]).map_err(errors::writing)?;
                }
                Edit::Delete { first } => {
                    index.remove(lane.key(first).as_ref()).map_err(errors::writing)?;
                }
            }
        }
        changes = rest;
    }
    Ok(())
}

/// Takes in every change and every run that touches what the window has; says how many changes that are.
/// `runs` holds the run that touches the window's start, if there is one.
fn grow<L: Lane>(index: &Tags, lane: L, changes: &[Change], runs: &mut Vec<Span>) -> Result<usize> {
    let mut window = 0;
    // Behind which chunk the window ends, and up to where runs are known.
    let mut end = runs.first().map_or(0, |run| run.last);
    let mut known = runs.first().map(|run| run.last);
    let mut ahead = None;
    loop {
        while let Some(change) = changes.get(window)
            && (window == 0 || change.span.first <= end.saturating_add(1))
        {
            end = end.max(change.span.last);
            window += 1;
        }
        // What only leaves a known run does not touch the next one.
        if known.is_some_and(|known| end <= known) {
            return Ok(window);
        }
        if ahead.is_none() {
            let (from, to) = (lane.key(changes[0].span.first), lane.key(u64::MAX));
            let behind = (Bound::Excluded(from.as_ref()), Bound::Included(to.as_ref()));
            ahead = Some(index.range::<&[u8]>(behind).map_err(errors::reading)?);
        }
        let Some(entry) = ahead.as_mut().and_then(Iterator::next) else { return Ok(window) };
        let (key, value) = entry.map_err(errors::reading)?;
        let run = read_run(lane, key.value(), value.value())?;
        if run.first > end.saturating_add(1) {
            return Ok(window);
        }
        runs.push(run);
        known = Some(run.last);
        end = end.max(run.last);
    }
}
