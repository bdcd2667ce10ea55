//! Writes a set of changes as one transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use redb::{Durability, ReadableTable as _, Table as Tree, WriteTransaction};

use super::errors;
use super::snapshot::read_run;
use super::spans::{self, Change, Edit, Mismatch, Span};
use super::tables::{self as t, Dues, Lane, Line, edge_tag, index_tag};
use crate::backends::contract::{
    Delta, Edge, EdgeChange, JobChange, JobRow, Key, LogRun, Meta, Place, RowChange,
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
    if !delta.edges.is_empty() || delta.rows.iter().any(has_unmet_change) {
        writer.edges(delta)?;
    }
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

fn has_unmet_change(row: &RowChange) -> bool {
    row.unmet.is_some_and(|unmet| unmet > 0 || row.before.is_some()) || is_gone(row)
}

fn is_gone(row: &RowChange) -> bool {
    row.after.is_none() && row.before.is_some()
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
        if rows.iter().any(|row| row.content.is_some() || is_gone(row)) {
            let mut contents = self.open_rows(t::CONTENTS)?;
            for row in rows {
                if is_gone(row) {
                    contents.remove(&t::row(row.key)).map_err(errors::writing)?;
                } else if let Some(content) = &row.content {
                    let bytes = self.encoder.content(row.key, content);
                    contents.insert(&t::row(row.key), bytes).map_err(errors::writing)?;
                }
            }
        }
        let is_kept = |row: &RowChange| row.record.as_ref().is_some_and(|record| !record.is_fresh());
        let is_dropped = |row: &RowChange| is_gone(row) || row.before.is_some() && row.record.is_some();
        if rows.iter().any(|row| is_kept(row) || is_dropped(row)) {
            let mut records = self.open_rows(t::RECORDS)?;
            for row in rows {
                match &row.record {
                    Some(record) if !is_gone(row) && !record.is_fresh() => {
                        let bytes = self.encoder.record(row.key, record);
                        records.insert(&t::row(row.key), bytes).map_err(errors::writing)?;
                    }
                    _ if is_dropped(row) => {
                        records.remove(&t::row(row.key)).map_err(errors::writing)?;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn edges(&mut self, delta: &Delta) -> Result<()> {
        let mut edges: Tags = self.transaction.open_table(t::EDGES).map_err(errors::opening_table)?;
        for row in &delta.rows {
            let key = t::of_chunk(edge_tag::UNMET, row.key);
            match row.unmet {
                Some(unmet) if unmet > 0 && row.after.is_some() => {
                    let number = codec::number(t::unmet_seat(row.key), u64::from(unmet));
                    edges.insert(&key[..], &number[..]).map_err(errors::writing)?;
                }
                Some(_) if row.before.is_some() => {
                    edges.remove(&key[..]).map_err(errors::writing)?;
                }
                _ if is_gone(row) => {
                    edges.remove(&key[..]).map_err(errors::writing)?;
                }
                _ => {}
            }
        }
        let edge_of = |change: &EdgeChange| match *change {
            EdgeChange::Put { edge, .. } | EdgeChange::Delete { edge } => edge,
        };
        // In the order of the keys: neighbours go to the same page.
        let mut by_target: Vec<&EdgeChange> = delta.edges.iter().collect();
        by_target.sort_unstable_by_key(|change| {
            let edge = edge_of(change);
            (edge.job, edge.on, edge.chunk)
        });
        for change in by_target {
            let Edge { job, chunk, on } = edge_of(change);
            let key = t::of_pair(edge_tag::DEPENDENT, Key { job, chunk: on }, chunk);
            if let EdgeChange::Put { met, .. } = *change {
                let number = codec::number(t::dependent_seat(Key { job, chunk }, on), u64::from(met));
                edges.insert(&key[..], &number[..]).map_err(errors::writing)?;
            } else {
                edges.remove(&key[..]).map_err(errors::writing)?;
            }
        }
        for changes in delta.edges.chunk_by(|a, b| {
            let (a, b) = (edge_of(a), edge_of(b));
            (a.job, a.chunk) == (b.job, b.chunk)
        }) {
            let Edge { job, chunk, .. } = edge_of(&changes[0]);
            self.dependencies(&mut edges, delta, Key { job, chunk }, changes)?;
        }
        Ok(())
    }

    /// Brings the list of a chunk's dependencies up to date; that one of them is met or not does not show in it.
    fn dependencies(
        &mut self,
        edges: &mut Tags<'_>,
        delta: &Delta,
        owner: Key,
        changes: &[EdgeChange],
    ) -> Result<()> {
        let key = t::of_chunk(edge_tag::DEPENDENCIES, owner);
        let row = delta.rows.binary_search_by_key(&owner, |row| row.key).ok().map(|at| &delta.rows[at]);
        let is_new = row.is_some_and(|row| row.before.is_none());
        let stored = if is_new { None } else { edges.get(&key[..]).map_err(errors::reading)? };
        let old = stored.map_or(Ok(Vec::new()), |bytes| codec::dependencies(owner, bytes.value()))?;
        let mut new: BTreeSet<u64> = old.iter().copied().collect();
        for change in changes {
            match change {
                EdgeChange::Put { edge, .. } => new.insert(edge.on),
                EdgeChange::Delete { edge } => new.remove(&edge.on),
            };
        }
        if new.is_empty() {
            edges.remove(&key[..]).map_err(errors::writing)?;
        } else if new.len() != old.len() || !new.iter().eq(&old) {
            let list: Vec<u64> = new.into_iter().collect();
            let list = self.encoder.dependencies(owner, &list);
            edges.insert(&key[..], list).map_err(errors::writing)?;
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
