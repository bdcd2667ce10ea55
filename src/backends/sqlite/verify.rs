//! Checks all that is stored: the file's structure, every row against its checksums, every count and index position
//! against what it was derived from. Names the first thing found.

use std::collections::BTreeMap;

use crate::backends::contract::{Counts, CursorsNeed, Edge, EdgesNeed, JobRow, LogRun, Needs, PageNeed};
use crate::backends::sqlite::block::Wait;
use crate::backends::sqlite::connection::{Args, Connection, Failure};
use crate::backends::sqlite::load::{self, Opening};
use crate::backends::sqlite::{columns, pages, pragmas, rows, statements};
use crate::error::{Error, ErrorKind, Result};
use crate::machine;

/// Dependencies and log entries that are looked at in one go.
const ROWS_PER_STEP: usize = 10_000;

/// Rows and dependencies of jobs that do not exist, and halves of rows.
const STRAYS: &str = "\
SELECT 'a chunk of a job that does not exist', job, chunk FROM states \
  WHERE job NOT IN (SELECT job FROM jobs) \
UNION ALL SELECT 'a chunk with content and without a state', c.job, c.chunk FROM contents c \
  LEFT JOIN states s ON s.job=c.job AND s.chunk=c.chunk WHERE s.job IS NULL \
UNION ALL SELECT 'a dependency of a chunk that does not exist', d.job, d.chunk FROM dependencies d \
  LEFT JOIN states s ON s.job=d.job AND s.chunk=d.chunk WHERE s.job IS NULL \
UNION ALL SELECT 'a chunk to which nothing has happened, and whose state says otherwise', job, chunk FROM states \
  WHERE revision=0 AND (attempts,losses,fence,settled,claim_seq,updated_at_ms,record_sum)<>(0,0,0,0,0,0,0) \
  OR revision=0 AND coalesce(owner,lease_set_at_ms,lease_ms,not_before_set_at_ms,not_before_ms,cause,observed,error,\
  output) IS NOT NULL \
UNION ALL SELECT 'a job that is not listed as it should be', job, 0 FROM jobs WHERE claimable<>(ready>0) \
LIMIT 1";

/// Dependencies on nothing, in jobs that are open: of one that comes or goes in several commits what they are on may come
/// later, or be gone.
const ON_NOTHING: &str = "\
SELECT 'a dependency on a chunk that does not exist', d.job, d.chunk FROM dependencies d \
  LEFT JOIN states s ON s.job=d.job AND s.chunk=d.depends_on WHERE s.job IS NULL \
  AND d.job IN (SELECT job FROM jobs WHERE phase=1) LIMIT 1";

/// The unmet dependencies of each chunk of a job, in a range of chunks.
pub(super) const UNMET: &str = "SELECT chunk, count(*) FROM dependencies INDEXED BY dependencies_of \
  WHERE job=$1 AND chunk>$2 AND chunk<=$3 AND met=0 GROUP BY chunk";

/// In a transaction, or where nobody else has the connection: all of it is of one moment.
pub(super) fn verify(connection: &mut Connection) -> Result<()> {
    match pragmas::checked(connection, "PRAGMA integrity_check(1)")?.as_str() {
        "ok" => {}
        found => return Err(bad(&format!("the file is damaged: {found}"))),
    }
    check_strays(connection, STRAYS)?;
    let meta = load::load(connection, &Needs::default(), Opening::None)?.meta;
    if !meta.affairs.is_some_and(|affairs| affairs.follows()) {
        check_strays(connection, ON_NOTHING)?;
    }
    let mut after = None;
    loop {
        let needs = Needs { jobs_after: Some((after, 100)), ..Needs::default() };
        let jobs = load::load(connection, &needs, Opening::None)?.jobs_after;
        let Some(last) = jobs.last() else { break };
        after = Some(last.id);
        for job in jobs {
            check_job(connection, &job)?;
        }
    }
    check_store(connection)
}

fn bad(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{what}; restore the file from a copy"))
}

fn check_strays(connection: &mut Connection, strays: &'static str) -> Result<()> {
    let mut stray = None;
    connection
        .call(strays, Args::default(), Wait::Park, |_, row| {
            let what: &str = rows::get(row, 0)?;
            let chunk = u64::try_from(rows::get::<i64>(row, 2)?).unwrap_or_default();
            stray = Some(bad(&format!("there is {what}")).at(rows::get(row, 1)?, chunk));
            Ok(())
        })
        .map_err(Failure::into_error)?;
    stray.map_or(Ok(()), Err)
}

fn check_job(connection: &mut Connection, job: &JobRow) -> Result<()> {
    let mut counts = Counts::default();
    let mut after = None;
    loop {
        let mut found = Vec::with_capacity(statements::ROWS_PER_PACK);
        let need = PageNeed { job: job.id, classes: &[], after, limit: statements::ROWS_PER_PACK };
        pages::page(connection, &need, &mut |row| found.push(row))?;
        let Some(last) = found.last().map(|row| row.key.chunk) else { break };
        let unmet = unmet(
            connection,
            job.id,
            after.map(columns::int).transpose()?.unwrap_or(-1),
            columns::int(last)?,
        )?;
        after = Some(last);
        for row in found {
            if u64::from(row.unmet) != unmet.get(&row.key.chunk).copied().unwrap_or_default() {
                return Err(
                    bad("the count of this chunk's unmet dependencies is wrong").at(job.id, row.key.chunk)
                );
            }
            *counts.of_mut(machine::place(&row).class) += 1;
        }
    }
    if counts != job.counts {
        return Err(bad(&format!("the counts of this job are {:?}, and should be {counts:?}", job.counts))
            .in_job(job.id));
    }
    check_edges(connection, job)
}

fn unmet(connection: &mut Connection, job: i64, after: i64, to: i64) -> Result<BTreeMap<u64, u64>> {
    let mut unmet = BTreeMap::new();
    let negative = |_| bad("a stored number is negative").in_job(job);
    connection
        .call(UNMET, Args::default().with(job).with(after).with(to), Wait::Park, |_, row| {
            let chunk = u64::try_from(rows::get::<i64>(row, 0)?).map_err(negative)?;
            unmet.insert(chunk, u64::try_from(rows::get::<i64>(row, 1)?).map_err(negative)?);
            Ok(())
        })
        .map_err(Failure::into_error)?;
    Ok(unmet)
}

/// Each dependency is checked against its checksum by being read.
fn check_edges(connection: &mut Connection, job: &JobRow) -> Result<()> {
    let (mut edges, mut upward, mut after) = (0, 0, None);
    loop {
        let needs =
            Needs { edges: Some(EdgesNeed { job: job.id, after, limit: ROWS_PER_STEP }), ..Needs::default() };
        let found = load::load(connection, &needs, Opening::None)?.edges;
        let Some(last) = found.last() else { break };
        after = Some((last.chunk, last.on));
        edges += found.len() as u64;
        upward += found.iter().filter(|Edge { chunk, on, .. }| on > chunk).count() as u64;
    }
    if (edges, upward) == (job.edges, job.edges_upward) {
        Ok(())
    } else {
        Err(bad(&format!(
            "the job's counts of dependencies are {} and {}, and should be {edges} and {upward}",
            job.edges, job.edges_upward
        ))
        .in_job(job.id))
    }
}

/// The store's own record, its cursors and its log.
fn check_store(connection: &mut Connection) -> Result<()> {
    let needs = Needs { cursors: Some(CursorsNeed::ALL), ..Needs::default() };
    let loaded = load::load(connection, &needs, Opening::None)?;
    if loaded.cursors.len() as u64 != loaded.meta.cursors {
        return Err(bad("the count of chunks whose dependents are still to be told is wrong"));
    }
    let (mut since, mut next) = (0, 0);
    loop {
        let needs = Needs { log: Some((since, ROWS_PER_STEP)), ..Needs::default() };
        let runs = load::load(connection, &needs, Opening::None)?.log;
        for LogRun { revision, count, .. } in &runs {
            if *revision < next {
                return Err(bad(&format!("the log is not in order at revision {revision}")));
            }
            next = revision + count;
        }
        if runs.is_empty() {
            break;
        }
        since = next - 1;
    }
    if next > loaded.meta.revision + 1 {
        return Err(bad("the log goes on behind the store's revision"));
    }
    Ok(())
}
