//! Writes a set of changes as one transaction.

use std::collections::BTreeMap;
use std::ops::Bound;

use redb::{Durability, Key as TreeKey, ReadableTable as _, WriteTransaction};

use super::edges;
use super::errors;
use super::journal::{Entries, Frame, Journal};
use super::noted::Noted;
use super::ordered::{self, Entry, Gap};
use super::snapshot::read_run;
use super::spans::{self, Change, Edit, Mismatch, Span};
use super::tables::{self as t, Dues, Lane, Line, index_tag, tree_number};
use crate::backends::contract::{
    Content, Delta, JobChange, JobRow, Key, LogRun, Meta, Place, Record, RowChange,
};
use crate::codec::{self, Encoder};
use crate::error::Result;

/// Entries of the log that one commit removes at most: a few more than it adds, so that pruning catches up.
const LOG_ENTRIES_PRUNED: usize = 4;

type Tags<'t> = Noted<'t, t::Tag>;

/// Writes the changes and syncs: the journal where there is one and they fit into it, else the trees. An error of
/// another kind than `Poisoned` has changed nothing.
pub(super) fn commit(
    transaction: WriteTransaction,
    journal: Option<&mut Journal>,
    encoder: &mut Encoder,
    delta: &Delta,
) -> Result<()> {
    let Some(journal) = journal else {
        changes(&transaction, &Frame::default(), encoder, delta)?;
        return sync(transaction);
    };
    changes(&transaction, journal.frame(), encoder, delta)?;
    if !journal.has_room() {
        return hold(transaction, journal);
    }
    journal.write().map_err(errors::writing_journal)?;
    set_durability(transaction, Durability::None)?.commit().map_err(errors::committing)
}

/// Makes all that the journal has durable in the trees, with what else the transaction holds, and begins it anew.
pub(super) fn hold(transaction: WriteTransaction, journal: &mut Journal) -> Result<()> {
    if let Some(last) = journal.last() {
        put_journal(&transaction, last)?;
    }
    sync(transaction)?;
    journal.clear();
    Ok(())
}

/// Writes what the journal has and the trees lack.
pub(super) fn replay(transaction: WriteTransaction, journal: &mut Journal, entries: &Entries) -> Result<()> {
    replay_tree(&transaction, t::CONTENTS, tree_number::CONTENTS, Some(16), entries)?;
    replay_tree(&transaction, t::RECORDS, tree_number::RECORDS, Some(16), entries)?;
    replay_tree(&transaction, t::EDGES, tree_number::EDGES, None, entries)?;
    replay_tree(&transaction, t::INDEX, tree_number::INDEX, None, entries)?;
    replay_tree(&transaction, t::LOG, tree_number::LOG, Some(8), entries)?;
    hold(transaction, journal)
}

fn replay_tree<K: TreeKey + 'static>(
    transaction: &WriteTransaction,
    definition: t::Definition<K>,
    number: u8,
    key_bytes: Option<usize>,
    entries: &Entries,
) -> Result<()> {
    let frame = Frame::default();
    let mut tree = Noted::open(transaction, definition, number, &frame)?;
    for ((_, key), value) in entries.range((number, Vec::new())..(number + 1, Vec::new())) {
        if key_bytes.is_some_and(|bytes| key.len() != bytes) {
            return Err(errors::damaged_journal());
        }
        tree.write(key, value.as_deref())?;
    }
    Ok(())
}

fn put_journal(transaction: &WriteTransaction, last: u64) -> Result<()> {
    let frame = Frame::default();
    let mut index = Noted::open(transaction, t::INDEX, tree_number::INDEX, &frame)?;
    index.insert(&t::JOURNAL, &codec::number(t::journal_seat(), last))
}

fn set_durability(mut transaction: WriteTransaction, durability: Durability) -> Result<WriteTransaction> {
    transaction.set_durability(durability).map_err(errors::writing)?;
    Ok(transaction)
}

fn sync(transaction: WriteTransaction) -> Result<()> {
    set_durability(transaction, Durability::Immediate)?.commit().map_err(errors::committing)
}

fn changes(
    transaction: &WriteTransaction,
    frame: &Frame,
    encoder: &mut Encoder,
    delta: &Delta,
) -> Result<()> {
    let mut writer = Writer { transaction, frame, encoder };
    writer.rows(&delta.rows)?;
    edges::write(transaction, frame, delta, writer.encoder)?;
    writer.index(delta)?;
    writer.log(&delta.log, delta.log_prune_to)
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
    frame: &'a Frame,
    encoder: &'a mut Encoder,
}

impl<'a> Writer<'a> {
    fn open<K: TreeKey + 'static>(&self, definition: t::Definition<K>, number: u8) -> Result<Noted<'a, K>> {
        Noted::open(self.transaction, definition, number, self.frame)
    }

    fn rows(&mut self, rows: &[RowChange]) -> Result<()> {
        let contents: Vec<_> = rows.iter().filter_map(content_of).collect();
        if !contents.is_empty() {
            ordered::write(&mut self.open(t::CONTENTS, tree_number::CONTENTS)?, &contents, self.encoder)?;
        }
        let records: Vec<_> = rows.iter().filter_map(record_of).collect();
        if !records.is_empty() {
            ordered::write(&mut self.open(t::RECORDS, tree_number::RECORDS)?, &records, self.encoder)?;
        }
        Ok(())
    }

    fn index(&mut self, delta: &Delta) -> Result<()> {
        let mut index = self.open(t::INDEX, tree_number::INDEX)?;
        for change in &delta.jobs {
            self.job(&mut index, change)?;
        }
        for cursor in &delta.cursors_put {
            let key = t::of_chunk(index_tag::CURSOR, cursor.key);
            index.insert(&key, self.encoder.cursor(cursor))?;
        }
        for &key in &delta.cursors_deleted {
            index.remove(&t::of_chunk(index_tag::CURSOR, key))?;
        }
        index.insert(&t::META, self.encoder.meta(&delta.meta))?;
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
                index.insert(&key(index_tag::JOB, row), self.encoder.job(row))?;
                index.insert(&key(index_tag::COUNTS, row), self.encoder.counts(row))?;
            }
            JobChange::Counts(row) => {
                index.insert(&key(index_tag::COUNTS, row), self.encoder.counts(row))?;
            }
            JobChange::Delete(id) => {
                index.remove(&t::of_job(index_tag::JOB, *id))?;
                index.remove(&t::of_job(index_tag::COUNTS, *id))?;
            }
        }
        Ok(())
    }

    fn log(&mut self, runs: &[LogRun], prune_to: u64) -> Result<()> {
        if runs.is_empty() && prune_to == 0 {
            return Ok(());
        }
        let mut log = self.open(t::LOG, tree_number::LOG)?;
        if let Some(first) = runs.first() {
            log.insert(&first.revision.to_be_bytes(), self.encoder.log(runs))?;
        }
        let mut old = Vec::new();
        for entry in log.tree.range::<&[u8; 8]>(..=&prune_to.to_be_bytes()).map_err(errors::reading)? {
            let (key, value) = entry.map_err(errors::reading)?;
            let first = u64::from_be_bytes(*key.value());
            let is_past = |run: &LogRun| run.revision + run.count <= prune_to + 1;
            if old.len() == LOG_ENTRIES_PRUNED || !codec::log(first, value.value())?.iter().all(is_past) {
                break;
            }
            old.push(first);
        }
        for first in old {
            log.remove(&first.to_be_bytes())?;
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
                .tree
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
                    index.insert(lane.key(first).as_ref(), &number)?;
                }
                Edit::Delete { first } => index.remove(lane.key(first).as_ref())?,
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
            ahead = Some(index.tree.range::<&[u8]>(behind).map_err(errors::reading)?);
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
