//! Walks everything that is stored and names the first thing that does not fit.

use std::collections::BTreeMap;

use super::errors;
use super::read::{self, chunk_at, job_at, pair_at, read_dues, read_line};
use super::spans::Span;
use super::tables::{self as t, Dues, Lane, Line, edge_tag, index_tag};
use super::view::View;
use super::walk::Walk;
use crate::backends::contract::{Counts, JobPhase, JobRow, Key, Row};
use crate::codec::{self, Seat, Table};
use crate::error::Result;
use crate::machine;

/// redb has checked the pages by now; this checks what they say.
pub(super) fn all(view: View<'_>) -> Result<()> {
    let meta = view.meta()?;
    let mut jobs = index(view)?;
    for Expected { runs, job, dues, .. } in jobs.values_mut() {
        runs.sort_unstable_by_key(|&(span, _)| span);
        let found = rows(view, job, runs, meta.revision)?;
        if found != *dues {
            let why = format_args!("{found} chunks have one, {dues} are in the index");
            return Err(Seat::of_job(Table::Due, job.id).corrupt(why));
        }
    }
    strays(view, &jobs)?;
    edges(view, &mut jobs, meta.affairs.is_some_and(|affairs| affairs.follows()))?;
    log(view, meta.revision)
}

/// What the index says of a job.
struct Expected {
    job: JobRow,
    runs: Vec<(Span, Line)>,
    /// How many chunks have a deadline.
    dues: u64,
    /// How many dependencies stand under what they are on, and how many in the lists of who has them.
    edges: (u64, u64),
}

type Jobs = BTreeMap<i64, Expected>;

fn index(view: View<'_>) -> Result<Jobs> {
    let mut jobs = Jobs::new();
    let (mut last_run, mut last_dues) = (None, None);
    for entry in view.index().all()? {
        let found = entry?;
        let (key, value) = (found.key(), found.value());
        match key.first() {
            Some(&index_tag::JOB) => {
                let id = job_at(key)?;
                let seat = Seat::of_job(Table::Jobs, id);
                let job = view.job(id)?.ok_or_else(|| seat.corrupt("it is missing"))?;
                jobs.insert(id, Expected { job, runs: Vec::new(), dues: 0, edges: (0, 0) });
            }
            Some(&index_tag::COUNTS) => {
                let id = job_at(key)?;
                if !jobs.contains_key(&id) {
                    return Err(Seat::of_job(Table::Counts, id).corrupt("their job is missing"));
                }
            }
            Some(&index_tag::CURSOR) => {
                let key = chunk_at(key)?;
                codec::cursor(key, value)?;
                if !jobs.contains_key(&key.job) {
                    return Err(Seat::of(Table::Cursors, key).corrupt("its job is missing"));
                }
            }
            Some(&index_tag::META) => {}
            Some(&index_tag::JOURNAL) => drop(view.journal_held()?),
            Some(&index_tag::DUE) => {
                let (lane, span) = read_dues(key, value)?;
                apart(&mut last_dues, Lane::Dues(lane), span)?;
                dues(view, lane, span)?;
                let seat = lane.seat(span.first);
                jobs.get_mut(&lane.job).ok_or_else(|| seat.corrupt("its job is missing"))?.dues += span.len();
            }
            Some(&index_tag::RUN) => {
                let (line, span) = read_line(key, value)?;
                apart(&mut last_run, Lane::Line(line), span)?;
                let seat = line.seat(span.first);
                let job = jobs.get_mut(&line.job).ok_or_else(|| seat.corrupt("its job is missing"))?;
                job.runs.push((span, line));
            }
            tag => return Err(errors::damaged_index(format_args!("a key begins with {tag:?}"))),
        }
    }
    for (&id, Expected { job, runs, .. }) in &jobs {
        let mut counts = Counts::default();
        for &(span, line) in runs {
            let count = counts.of_mut(line.class);
            *count = count.saturating_add(span.len());
        }
        if counts != job.counts {
            return Err(Seat::of_job(Table::Counts, id).corrupt(format_args!(
                "they are {:?} and should be {:?}",
                job.counts.by_class, counts.by_class
            )));
        }
    }
    Ok(jobs)
}

/// Whether a run stands clear of the one before it in its lane.
fn apart(before: &mut Option<(Lane, Span)>, lane: Lane, span: Span) -> Result<()> {
    if let Some((last_lane, last)) = before.replace((lane, span))
        && last_lane == lane
        && last.last.saturating_add(1) >= span.first
    {
        return Err(lane.seat(span.first).corrupt("it touches the run before it"));
    }
    Ok(())
}

/// Whether a deadline of the index is the one that its chunks have.
fn dues(view: View<'_>, lane: Dues, span: Span) -> Result<()> {
    let mut expected = span.first;
    for row in Walk::new(view, lane.job, span)? {
        let row = row?;
        if row.key.chunk != expected || dues_of(&row) != Some(lane) {
            break;
        }
        expected += 1;
    }
    if expected <= span.last {
        return Err(lane.seat(expected).corrupt("the chunk has another one, or there is no such chunk"));
    }
    Ok(())
}

fn dues_of(row: &Row) -> Option<Dues> {
    let due = machine::place(row).due?;
    Some(Dues { at_ms: due.at_ms(), job: row.key.job, set_at_ms: due.set_at_ms })
}

/// Whether each chunk of a job is in one run, and in the one where it belongs. Returns how many have a deadline.
fn rows(view: View<'_>, job: &JobRow, runs: &[(Span, Line)], newest: u64) -> Result<u64> {
    let mut expected =
        runs.iter().flat_map(|&(span, line)| (span.first..=span.last).map(move |chunk| (chunk, line)));
    let mut last = None;
    let mut dues = 0;
    for row in Walk::new(view, job.id, Span { first: 0, last: u64::MAX })? {
        let row = row?;
        let chunk = row.key.chunk;
        let place = machine::place(&row);
        let line = Line { class: place.class, job: job.id, rank: place.rank };
        match expected.next() {
            Some((id, found)) if id == chunk => {
                if found != line {
                    let why =
                        format_args!("the chunk is among {:?} and belongs to {:?}", found.class, line.class);
                    return Err(line.seat(chunk).corrupt(why));
                }
            }
            Some((id, found)) if id < chunk => return Err(too_many(found, id, last)),
            _ => return Err(line.seat(chunk).corrupt("the chunk is in none")),
        }
        // A job that is being restored is ahead of the store until it is to be seen.
        let is_seen = job.phase == JobPhase::Open;
        if is_seen && row.record.revision.max(row.content.revision) > newest {
            return Err(Seat::of(Table::Records, row.key).corrupt("its revision is above the store's"));
        }
        dues += u64::from(place.due.is_some());
        last = Some(chunk);
    }
    match expected.next() {
        Some((id, found)) => Err(too_many(found, id, last)),
        None => Ok(dues),
    }
}

fn too_many(line: Line, chunk: u64, last: Option<u64>) -> crate::Error {
    line.seat(chunk).corrupt(if last == Some(chunk) { "the chunk is in two" } else { "the chunk is missing" })
}

/// Rows of jobs that there are not, and records whose content there is not behind a job's last chunk.
fn strays(view: View<'_>, jobs: &Jobs) -> Result<()> {
    for (table, entries) in
        [(Table::Contents, view.contents().all()?), (Table::Records, view.records().all()?)]
    {
        for entry in entries {
            let key = t::read_row(entry?.key());
            if !jobs.contains_key(&key.job) {
                return Err(Seat::of(table, key).corrupt("its job is missing"));
            }
            if table == Table::Records && !view.contents().has(&t::row(key))? {
                return Err(Seat::of(table, key).corrupt("its content is missing"));
            }
        }
    }
    Ok(())
}

/// Whether each dependency stands both ways round, between chunks that there are, and is counted.
///
/// Each one of a list is looked for under what it is on; where there are as many of both, each of these is in a list.
fn edges(view: View<'_>, jobs: &mut Jobs, follows: bool) -> Result<()> {
    for entry in view.edges().all()? {
        let found = entry?;
        let (key, value) = (found.key(), found.value());
        match key.first() {
            Some(&edge_tag::UNMET) => {
                let key = chunk_at(key)?;
                read::unmet(key, value)?;
                if !view.contents().has(&t::row(key))? {
                    return Err(t::unmet_seat(key).corrupt("its chunk is missing"));
                }
                if !view.edges().has(&t::of_chunk(edge_tag::DEPENDENCIES, key))? {
                    return Err(t::unmet_seat(key).corrupt("its chunk depends on nothing"));
                }
            }
            Some(&edge_tag::DEPENDENT) => {
                let (on, chunk) = pair_at(key)?;
                let key = Key { chunk, ..on };
                let seat = t::dependent_seat(key, on.chunk);
                codec::read_number(seat, value)?;
                let mut job = jobs.get_mut(&key.job);
                // Of a job that comes, goes or is copied in several commits what it is on may come later, or be gone.
                let is_whole = !follows && job.as_ref().is_none_or(|found| found.job.phase == JobPhase::Open);
                let has = |key| view.contents().has(&t::row(key));
                if !has(key)? || (is_whole && !has(on)?) {
                    return Err(seat.corrupt(format_args!("that on chunk {} is half there", on.chunk)));
                }
                if let Some(job) = &mut job {
                    job.edges.0 += 1;
                }
            }
            Some(&edge_tag::DEPENDENCIES) => {
                let key = chunk_at(key)?;
                let count = listed(view, key, &codec::dependencies(key, value)?)?;
                if let Some(job) = jobs.get_mut(&key.job) {
                    job.edges.1 += count;
                }
            }
            tag => return Err(errors::damaged_index(format_args!("a key begins with {tag:?}"))),
        }
    }
    for (&id, Expected { job, edges: (found, listed), .. }) in jobs {
        if (*found, *listed) != (job.edges, job.edges) {
            return Err(Seat::of_job(Table::Counts, id).corrupt(format_args!(
                "{found} dependencies are there and {listed} are listed, {} are counted",
                job.edges
            )));
        }
    }
    Ok(())
}

/// Whether each dependency of a chunk's list stands under what it is on, and those that are not met are counted. Returns
/// how many there are.
fn listed(view: View<'_>, key: Key, list: &[u64]) -> Result<u64> {
    let mut unmet = 0;
    for &on in list {
        let seat = t::dependent_seat(key, on);
        let other_way = t::of_pair(edge_tag::DEPENDENT, Key { chunk: on, ..key }, key.chunk);
        let Some(met) = view.edges().get(&other_way)? else {
            return Err(seat.corrupt(format_args!("that on chunk {on} is half there")));
        };
        unmet += u32::from(codec::read_number(seat, &met)? == 0);
    }
    let counted = view.unmet(key)?;
    if counted != unmet {
        return Err(t::unmet_seat(key).corrupt(format_args!("it is {counted} and should be {unmet}")));
    }
    Ok(list.len() as u64)
}

fn log(view: View<'_>, newest: u64) -> Result<()> {
    let mut next = 0;
    for entry in view.log().all()? {
        let found = entry?;
        let (first, runs) = read::log(found.key(), found.value())?;
        for run in runs {
            if run.revision < next || run.revision + run.count > newest + 1 {
                let seat = Seat::of_job(Table::Log, 0).with(first);
                return Err(seat.corrupt(format_args!("revision {} is out of order", run.revision)));
            }
            next = run.revision + run.count;
        }
    }
    Ok(())
}
