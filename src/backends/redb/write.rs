//! Works out what a set of changes does to the trees.

use std::collections::BTreeMap;

use super::edges;
use super::edits::Edits;
use super::spans::{self, Change, Edit, Mismatch, Span};
use super::tables::{self as t, Dues, Lane, Line, index_tag, tree_number};
use super::view::View;
use crate::backends::contract::{Delta, JobChange, JobRow, LogRun, Meta, Place, RowChange};
use crate::codec::{self, Encoder};
use crate::error::Result;

/// Entries of the log that one commit removes at most: a few more than it adds, so that pruning catches up.
const LOG_ENTRIES_PRUNED: usize = 4;

/// What a set of changes does to the trees, one tree after the other: of rows and dependencies in the order of the keys.
/// An error has changed nothing.
pub(super) fn changes(view: View<'_>, edits: &mut Edits, encoder: &mut Encoder, delta: &Delta) -> Result<()> {
    rows(edits, encoder, &delta.rows);
    edges::changes(view, edits, encoder, delta)?;
    index(view, edits, encoder, delta)?;
    log(view, edits, encoder, delta)
}

/// The record of a new store.
pub(super) fn meta(edits: &mut Edits, encoder: &mut Encoder, meta: &Meta) {
    edits.put(tree_number::INDEX, &t::META, encoder.meta(meta));
}

fn is_gone(row: &RowChange) -> bool {
    row.after.is_none() && row.before.is_some()
}

fn rows(edits: &mut Edits, encoder: &mut Encoder, rows: &[RowChange]) {
    for row in rows {
        let content = row.content.as_deref().filter(|_| !is_gone(row));
        if content.is_some() || is_gone(row) {
            let bytes = content.map(|content| encoder.content(row.key, content));
            edits.set(tree_number::CONTENTS, &t::row(row.key), bytes);
        }
    }
    for row in rows {
        // A record to which nothing has happened is kept by keeping nothing.
        let record = row.record.as_ref().filter(|record| !is_gone(row) && !record.is_fresh());
        if record.is_some() || is_gone(row) || row.before.is_some() && row.record.is_some() {
            let bytes = record.map(|record| encoder.record(row.key, record));
            edits.set(tree_number::RECORDS, &t::row(row.key), bytes);
        }
    }
}

fn index(view: View<'_>, edits: &mut Edits, encoder: &mut Encoder, delta: &Delta) -> Result<()> {
    for change in &delta.jobs {
        job(edits, encoder, change);
    }
    for cursor in &delta.cursors_put {
        let key = t::of_chunk(index_tag::CURSOR, cursor.key);
        edits.put(tree_number::INDEX, &key, encoder.cursor(cursor));
    }
    for &key in &delta.cursors_deleted {
        edits.remove(tree_number::INDEX, &t::of_chunk(index_tag::CURSOR, key));
    }
    meta(edits, encoder, &delta.meta);
    for (lane, changes) in lanes(&delta.rows) {
        edit_lane(view, edits, lane, &changes)?;
    }
    Ok(())
}

fn job(edits: &mut Edits, encoder: &mut Encoder, change: &JobChange) {
    let counts = |edits: &mut Edits, encoder: &mut Encoder, row: &JobRow| {
        edits.put(tree_number::INDEX, &t::of_job(index_tag::COUNTS, row.id), encoder.counts(row));
    };
    match change {
        JobChange::Put(row) => {
            edits.put(tree_number::INDEX, &t::of_job(index_tag::JOB, row.id), encoder.job(row));
            counts(edits, encoder, row);
        }
        JobChange::Counts(row) => counts(edits, encoder, row),
        JobChange::Delete(id) => {
            edits.remove(tree_number::INDEX, &t::of_job(index_tag::JOB, *id));
            edits.remove(tree_number::INDEX, &t::of_job(index_tag::COUNTS, *id));
        }
    }
}

fn log(view: View<'_>, edits: &mut Edits, encoder: &mut Encoder, delta: &Delta) -> Result<()> {
    if let Some(first) = delta.log.first() {
        edits.put(tree_number::LOG, &first.revision.to_be_bytes(), encoder.log(&delta.log));
    }
    let prune_to = delta.log_prune_to;
    if prune_to == 0 {
        return Ok(());
    }
    for entry in view.log_to(prune_to)?.take(LOG_ENTRIES_PRUNED) {
        let (first, runs) = entry?;
        let is_past = |run: &LogRun| run.revision + run.count <= prune_to + 1;
        if !runs.iter().all(is_past) {
            break;
        }
        edits.remove(tree_number::LOG, &first.to_be_bytes());
    }
    Ok(())
}

/// What the rows change in each lane, in chunk order.
fn lanes(rows: &[RowChange]) -> BTreeMap<Lane, Vec<Change>> {
    let mut lanes: BTreeMap<Lane, Vec<Change>> = BTreeMap::new();
    for row in rows {
        let job = row.key.job;
        let dues = |place: Place| {
            let due = place.due?;
            Some(Lane::Dues(Dues { at_ms: due.at_ms(), job, set_at_ms: due.set_at_ms }))
        };
        let line = |place: Place| Lane::Line(Line { class: place.class, job, rank: place.rank });
        let pairs = [
            (row.before.and_then(dues), row.after.and_then(dues)),
            (row.before.map(line), row.after.map(line)),
        ];
        for (before, after) in pairs.into_iter().filter(|(before, after)| before != after) {
            for (lane, is_added) in [(before, false), (after, true)] {
                if let Some(lane) = lane {
                    spans::push_change(lanes.entry(lane).or_default(), row.key.chunk, is_added);
                }
            }
        }
    }
    lanes
}

/// Makes the changes of one lane in windows: runs and changes that touch are worked out together, and only the runs
/// that differ in the end are written.
fn edit_lane(view: View<'_>, edits: &mut Edits, lane: Lane, changes: &[Change]) -> Result<()> {
    let mut changes = changes;
    while let Some(first) = changes.first() {
        let start = first.span.first;
        let touches = |run: &Span| run.last.saturating_add(1) >= start;
        let mut runs: Vec<Span> = view.run_before(lane, start)?.into_iter().filter(touches).collect();
        let window = grow(view, lane, changes, &mut runs)?;
        let (these, rest) = changes.split_at(window);
        let result = spans::apply(&runs, these).map_err(|Mismatch(chunk)| {
            lane.seat(chunk).corrupt("it does not agree with the chunk's record")
        })?;
        for edit in spans::edits(&runs, &result) {
            match edit {
                Edit::Put(Span { first, last }) => {
                    let number = codec::number(lane.seat(first), last);
                    edits.put(tree_number::INDEX, lane.key(first).as_ref(), &number);
                }
                Edit::Delete { first } => edits.remove(tree_number::INDEX, lane.key(first).as_ref()),
            }
        }
        changes = rest;
    }
    Ok(())
}

/// Takes in every change and every run that touches what the window has; says how many changes that are.
/// `runs` holds the run that touches the window's start, if there is one.
fn grow(view: View<'_>, lane: Lane, changes: &[Change], runs: &mut Vec<Span>) -> Result<usize> {
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
            ahead = Some(view.runs_after(lane, changes[0].span.first)?);
        }
        let Some(run) = ahead.as_mut().and_then(Iterator::next) else { return Ok(window) };
        let run = run?;
        if run.first > end.saturating_add(1) {
            return Ok(window);
        }
        runs.push(run);
        known = Some(run.last);
        end = end.max(run.last);
    }
}
