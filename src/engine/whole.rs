//! Reading chunks with everything that the store keeps of them.

use super::query::open;
use foldhash::{HashMap, HashMapExt};

use crate::backends::contract::{
    DependentsNeed, Hold, JobPhase, JobRow, Key, Load, Meta, Needs, PageNeed, Row, page_of,
};
use crate::error::Result;
use crate::limits;
use crate::machine;
use crate::model::{ChunkRecord, ChunkRecords, JobStatus, Kept, StoreInfo};

/// Rows of one question at most.
const ROWS_PER_QUESTION: usize = 128;

/// Rows of a page's first question: how far one of very large rows may overshoot its bytes.
const ROWS_FIRST: usize = 8;

/// How many rows to ask for next: where so many have come to so many bytes, about as many as come to `most` with them.
pub(super) fn rows_next(rows: usize, bytes: usize, most: usize) -> usize {
    let Some(each) = bytes.checked_div(rows) else { return ROWS_FIRST };
    (most.saturating_sub(bytes) / each.max(1)).clamp(1, ROWS_PER_QUESTION)
}

pub(crate) fn store_info(load: &mut dyn Load) -> Result<StoreInfo> {
    let Meta { revision, last_job, .. } = load.load(&Needs::default())?.meta;
    let visible_revision = visible_revision(revision, |after| {
        Ok(load
            .load(&Needs { jobs_after: Some((after, limits::PAGE_ROWS_MAX)), ..Needs::default() })?
            .jobs_after)
    })?;
    Ok(StoreInfo { revision, visible_revision, job_id_max: last_job })
}

/// Before which revision no job that is still invisible was begun. Jobs come in pages of [`limits::PAGE_ROWS_MAX`].
pub(super) fn visible_revision(
    newest: u64,
    mut jobs_after: impl FnMut(Option<i64>) -> Result<Vec<JobRow>>,
) -> Result<u64> {
    let mut visible = newest;
    let mut after = None;
    loop {
        let jobs = jobs_after(after)?;
        after = jobs.last().map(|job| job.id);
        let more = jobs.len() == limits::PAGE_ROWS_MAX;
        let importing = jobs.iter().filter(|job| job.phase == JobPhase::Importing);
        visible = importing.map(|job| job.revision.saturating_sub(1)).fold(visible, u64::min);
        if !more {
            return Ok(visible);
        }
    }
}

/// A page of a job's chunks in chunk order, bounded in rows and in bytes.
pub(crate) fn records(load: &mut dyn Load, need: PageNeed) -> Result<ChunkRecords> {
    let mut loaded = load.load(&Needs { jobs: [need.job].into(), ..Needs::default() })?;
    let job = open(&mut loaded, need.job)?;
    let mut page = ChunkRecords { records: Vec::new(), more: true };
    let mut bytes = 0;
    while page.more && page.records.len() < need.limit && bytes < limits::RECORD_PAGE_BYTES {
        let after = page.records.last().map(|record| record.state.chunk).or(need.after);
        let limit = rows_next(page.records.len(), bytes, limits::RECORD_PAGE_BYTES)
            .min(need.limit - page.records.len());
        let question = PageNeed { after, limit, ..need };
        let rows = page_of(load, &question)?;
        page.more = rows.len() == limit;
        let lists = if job.edges > 0 {
            let keys = rows.iter().map(|row| row.key).collect();
            load.load(&Needs { dependencies: keys, ..Needs::default() })?.dependencies
        } else {
            vec![Vec::new(); rows.len()]
        };
        let mut unmet = unmet(load, rows.iter().zip(&lists).map(|(row, list)| (row, list.as_slice())))?;
        bytes += rows.iter().zip(&lists).map(|(row, list)| row.text_bytes() + 8 * list.len()).sum::<usize>();
        page.records.extend(rows.into_iter().zip(lists).map(|(row, depends_on)| {
            let kept = kept(&row, unmet.remove(&row.key).unwrap_or_default());
            ChunkRecord::new(machine::state(row, &job.spec), depends_on, kept)
        }));
    }
    Ok(page)
}

/// Of each row's dependencies, those that do not count as met.
pub(super) fn unmet<'a>(
    load: &mut dyn Load,
    rows: impl Iterator<Item = (&'a Row, &'a [u64])>,
) -> Result<HashMap<Key, Vec<u64>>> {
    let mut unmet: HashMap<Key, Vec<u64>> = HashMap::new();
    let mut asked: Vec<(Key, u64)> = Vec::new();
    for (row, depends_on) in rows.filter(|(row, _)| row.unmet > 0) {
        if row.unmet as usize == depends_on.len() {
            unmet.insert(row.key, depends_on.to_vec());
        } else {
            asked.extend(depends_on.iter().map(|&on| (row.key, on)));
        }
    }
    if asked.is_empty() {
        return Ok(unmet);
    }
    // Whether a dependency counts as met stands with the dependents: of each, the one that is asked for.
    let question = |&(key, on): &(Key, u64)| DependentsNeed::about(key, on);
    let dependents = asked.iter().map(question).collect();
    let lists = load.load(&Needs { dependents, ..Needs::default() })?.dependents;
    for ((key, on), list) in asked.into_iter().zip(lists) {
        if list.contains(&(key.chunk, false)) {
            unmet.entry(key).or_default().push(on);
        }
    }
    Ok(unmet)
}

/// What is kept of a row beside what a caller sees of it.
pub(super) fn kept(row: &Row, unmet: Vec<u64>) -> Kept {
    let Row { content, record, .. } = row;
    Kept {
        attempts_max: content.attempts_max,
        losses_max: content.losses_max,
        on_dependency_failure: content.on_dependency_failure,
        cancelled_by: record.cause,
        unmet,
        open_fence: record.open_fence(),
        claimed_by: record.owner(),
        claim_seq: record.claim_seq(),
        settled: record.hold == Hold::Settled,
        lapsed_lease: record.lease.filter(|_| record.status != JobStatus::Processing),
        content_updated_at_ms: content.updated_at_ms,
        content_revision: content.revision,
        record_updated_at_ms: record.updated_at_ms,
        record_revision: record.revision,
    }
}
