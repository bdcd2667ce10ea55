//! Whether two stores hold the same: every job, chunk and dependency. Leases, owners and what only resends are found
//! by are left out.

use std::collections::BTreeMap;

use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;

use super::copy;
use super::side::Side;
use super::status::{Comparison, Mismatch};
use crate::backends::contract::{Content, Counts, Hold, JobRow, Key, Load, Record};
use crate::engine::{self, FullRow, Room};
use crate::error::Result;
use crate::model::Deadline;

/// So often a chunk that changes while it is compared is looked at again.
const LOOKS_MAX: usize = 8;

/// Keys that are compared in one go where only some are.
const KEYS_PER_QUESTION: usize = 1_000;

/// A number for all that a store holds: two stores hold the same where theirs are equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Digest {
    /// How many jobs went in.
    pub jobs: u64,
    /// How many chunks went in.
    pub chunks: u64,
    /// How many dependencies went in.
    pub dependencies: u64,
    /// XXH3-128 over all of them, as 32 hexadecimal digits. It finds accidents; it is no defence against an attacker.
    pub hash: String,
}

/// Feeds values to a hash so that no two sequences of them are the same bytes.
struct Feed(Xxh3);

impl Feed {
    fn int(&mut self, value: u64) {
        self.0.update(&value.to_le_bytes());
    }

    fn some(&mut self, value: Option<u64>) {
        self.int(u64::from(value.is_some()));
        self.int(value.unwrap_or_default());
    }

    fn text(&mut self, value: Option<&str>) {
        self.some(value.map(|text| text.len() as u64));
        self.0.update(value.unwrap_or_default().as_bytes());
    }

    fn deadline(&mut self, value: Option<Deadline>) {
        self.some(value.map(|deadline| deadline.set_at_ms));
        self.some(value.map(|deadline| deadline.duration_ms));
    }

    fn job(&mut self, job: &JobRow) {
        let JobRow {
            id,
            spec,
            phase,
            owner: _,
            seq: _,
            edges,
            edges_upward,
            counts,
            created_at_ms,
            revision,
        } = job;
        self.int(id.cast_unsigned());
        // Settings are few; their text names each.
        self.text(Some(&format!("{spec:?} {phase:?}")));
        let Counts { by_class } = counts;
        by_class
            .iter()
            .chain([edges, edges_upward, created_at_ms, revision])
            .for_each(|&value| self.int(value));
    }

    fn row(&mut self, FullRow { row, on }: &FullRow) {
        let Content {
            checksum,
            payload,
            left_bytes: _,
            priority,
            attempts_max,
            losses_max,
            on_dependency_failure,
            created_at_ms,
            updated_at_ms,
            revision,
        } = &*row.content;
        self.int(row.key.chunk);
        self.text(checksum.as_deref());
        self.text(payload.as_ref().map(crate::model::Json::as_str));
        self.int(i64::from(*priority).cast_unsigned());
        self.some(attempts_max.map(u64::from));
        self.some(losses_max.map(u64::from));
        self.some(on_dependency_failure.map(|policy| policy as u64));
        [created_at_ms, updated_at_ms, revision].into_iter().for_each(|&value| self.int(value));
        let Record {
            status,
            observed,
            error,
            output,
            attempts,
            losses,
            fence,
            hold,
            lease: _,
            not_before,
            cause,
            updated_at_ms,
            revision,
        } = &*row.record;
        self.text(Some(status.as_str()));
        self.text(observed.as_deref());
        self.text(error.as_deref());
        self.text(output.as_ref().map(crate::model::Json::as_str));
        self.int(u64::from(*attempts));
        self.int(u64::from(*losses));
        self.int(*fence);
        self.int(row.record.open_fence());
        self.int(u64::from(*hold == Hold::Settled));
        self.deadline(*not_before);
        self.some(*cause);
        [updated_at_ms, revision].into_iter().for_each(|&value| self.int(value));
        self.int(u64::from(row.unmet));
        self.int(on.len() as u64);
        for (on, met) in on {
            self.int(on * 2 + u64::from(*met));
        }
    }
}

/// The digest of a store, from one snapshot, in memory bounded by a page.
pub(super) fn digest(load: &mut dyn Load) -> Result<Digest> {
    let mut feed = Feed(Xxh3::new());
    let (mut jobs, mut chunks, mut dependencies) = (0, 0, 0);
    let mut after = None;
    while let Some(job) = engine::open_job_from(load, after)? {
        after = Some(job.id);
        jobs += 1;
        feed.job(&job);
        let mut chunk = None;
        loop {
            let (_, rows, next) = engine::full_page(load, job.id, &[], chunk, Room::PAGE)?;
            for row in &rows {
                chunks += 1;
                dependencies += row.on.len() as u64;
                feed.row(row);
            }
            match next {
                Some(next) => chunk = Some(next),
                None => break,
            }
        }
    }
    Ok(Digest { jobs, chunks, dependencies, hash: format!("{:032x}", feed.0.digest128()) })
}

/// What differs between a chunk and its copy.
fn differences(one: &FullRow, other: &FullRow) -> Vec<&'static str> {
    let mut what = Vec::new();
    let mut differs = |name, differs: bool| {
        if differs {
            what.push(name);
        }
    };
    let (a, b) = (&one.row, &other.row);
    differs("checksum", a.content.checksum != b.content.checksum);
    differs("payload", a.content.payload != b.content.payload);
    let scheduling = |content: &Content| {
        (content.priority, content.attempts_max, content.losses_max, content.on_dependency_failure)
    };
    differs("scheduling", scheduling(&a.content) != scheduling(&b.content));
    let written = |content: &Content| (content.created_at_ms, content.updated_at_ms, content.revision);
    differs("content revision", written(&a.content) != written(&b.content));
    differs("status", a.record.status != b.record.status);
    differs("observed checksum", a.record.observed != b.record.observed);
    differs("output", a.record.output != b.record.output);
    differs("error", (&a.record.error, a.record.cause) != (&b.record.error, b.record.cause));
    let counts = |record: &Record| (record.attempts, record.losses);
    differs("attempts and losses", counts(&a.record) != counts(&b.record));
    let fences = |record: &Record| (record.fence, record.open_fence());
    differs("fence", fences(&a.record) != fences(&b.record));
    differs("not_before", a.record.not_before != b.record.not_before);
    let changed = |record: &Record| (record.updated_at_ms, record.revision);
    differs("revision", changed(&a.record) != changed(&b.record));
    differs("dependencies", one.on != other.on || a.unmet != b.unmet);
    what
}

fn job_differences(one: &JobRow, other: &JobRow) -> Vec<&'static str> {
    let mut what = Vec::new();
    if one.spec != other.spec {
        what.push("settings");
    }
    if (one.revision, one.created_at_ms) != (other.revision, other.created_at_ms) {
        what.push("revision");
    }
    if one.counts != other.counts {
        what.push("counts");
    }
    if (one.edges, one.edges_upward) != (other.edges, other.edges_upward) {
        what.push("count of dependencies");
    }
    what
}

/// What a look at a chunk on both sides came to.
enum Look {
    Same,
    /// It has changed meanwhile.
    Moving,
    Differs(Vec<&'static str>),
}

/// `one` was read before `other`, and `other` had everything by then that `one` shows; or everything up to a revision.
fn look(one: Option<&FullRow>, other: Option<&FullRow>, reached: Option<u64>) -> Look {
    let revision = |row: &FullRow| row.row.record.revision.max(row.row.content.revision);
    let is_ahead = |row: &FullRow| reached.is_some_and(|reached| revision(row) > reached);
    match (one, other) {
        (None, None) => Look::Same,
        (Some(one), Some(other)) if differences(one, other).is_empty() => Look::Same,
        // Nothing tells when a chunk went.
        (None, Some(_)) if reached.is_some() => Look::Moving,
        (Some(one), _) if is_ahead(one) => Look::Moving,
        (Some(_), None) => Look::Differs(vec!["missing"]),
        (None, Some(_)) => Look::Differs(vec!["surplus"]),
        (Some(one), Some(other)) => {
            let what = differences(one, other);
            // Whether a dependency is met changes no row.
            if revision(other) > revision(one) || (reached.is_some() && what == ["dependencies"]) {
                Look::Moving
            } else {
                Look::Differs(what)
            }
        }
    }
}

/// Compares chunks by name. Whatever differs is looked at again, after the copy has caught up: it may have changed.
pub(super) async fn keys(
    from: &Side,
    to: &Side,
    progress: &copy::Progress<'_>,
    keys: &[Key],
    found: &mut Comparison,
) -> Result<()> {
    for slice in keys.chunks(KEYS_PER_QUESTION) {
        let mut left = slice.to_vec();
        for at in 1..=LOOKS_MAX {
            let asked = left.clone();
            let (revision, ones) = from.read(move |load| engine::full_rows(load, &asked)).await?;
            let reached = copy::up_to(from, to, progress, revision).await?;
            found.reached(reached);
            let asked = left.clone();
            let (_, others) = to.read(move |load| engine::full_rows(load, &asked)).await?;
            let mut again = Vec::new();
            for ((key, one), other) in left.iter().zip(&ones).zip(&others) {
                match look(one.as_ref(), other.as_ref(), reached) {
                    Look::Same => {}
                    _ if at < LOOKS_MAX => again.push(*key),
                    Look::Moving => found.moving += 1,
                    Look::Differs(what) => {
                        found.found(Mismatch { job_id: key.job, chunk: Some(key.chunk), what });
                    }
                }
            }
            if at == 1 {
                found.chunks += slice.len() as u64;
                found.dependencies += ones.iter().flatten().map(|row| row.on.len() as u64).sum::<u64>();
            }
            left = again;
            if left.is_empty() {
                break;
            }
        }
    }
    Ok(())
}

/// Compares the jobs themselves, their counts only where nobody works.
async fn jobs(
    from: &Side,
    to: &Side,
    progress: &copy::Progress<'_>,
    job: i64,
    found: &mut Comparison,
    is_at_rest: bool,
) -> Result<()> {
    let (mut what, mut is_ahead) = (Vec::new(), false);
    for _ in 0..LOOKS_MAX {
        let (revision, one) =
            from.read(move |load| Ok((engine::meta(load)?.revision, engine::job_row(load, job)?))).await?;
        let reached = copy::up_to(from, to, progress, revision).await?;
        found.reached(reached);
        let other = to.read(move |load| engine::job_row(load, job)).await?;
        let is_open = |row: &JobRow| row.phase == crate::backends::contract::JobPhase::Open;
        let (one, other) = (one.filter(is_open), other.filter(is_open));
        // Nothing tells when a job went.
        let changed_at = one.as_ref().map_or(u64::MAX, |job| job.revision);
        is_ahead = reached.is_some_and(|reached| changed_at > reached);
        what = match (one, other) {
            (Some(one), Some(other)) => job_differences(&one, &other),
            (None, None) => Vec::new(),
            (Some(_), None) => vec!["missing"],
            (None, Some(_)) => vec!["surplus"],
        };
        if !is_at_rest {
            what.retain(|what| !what.starts_with("count"));
        }
        if what.is_empty() {
            break;
        }
    }
    found.jobs += 1;
    if !what.is_empty() && is_ahead {
        found.moving += 1;
    } else if !what.is_empty() {
        found.found(Mismatch { job_id: job, chunk: None, what });
    }
    Ok(())
}

/// Compares everything, page by page. Work goes on meanwhile.
pub(super) async fn everything(
    from: &Side,
    to: &Side,
    progress: &copy::Progress<'_>,
    is_at_rest: bool,
) -> Result<Comparison> {
    let mut found = Comparison::at(from.meta().await?.revision);
    let mut after = None;
    loop {
        let of_one = from.read(move |load| engine::open_job_from(load, after)).await?;
        let of_other = to.read(move |load| engine::open_job_from(load, after)).await?;
        let Some(job) = of_one.into_iter().chain(of_other).map(|job| job.id).min() else { break };
        after = Some(job);
        jobs(from, to, progress, job, &mut found, is_at_rest).await?;
        let mut chunk = None;
        loop {
            let (revision, ones, next) =
                from.read(move |load| engine::full_page(load, job, &[], chunk, Room::PAGE)).await?;
            found.reached(copy::up_to(from, to, progress, revision).await?);
            let (first, last) = (chunk, next);
            let others = to.read(move |load| span(load, job, first, last)).await?;
            found.chunks += ones.len() as u64;
            found.dependencies += ones.iter().map(|row| row.on.len() as u64).sum::<u64>();
            let mut pairs: BTreeMap<Key, (Option<FullRow>, Option<FullRow>)> = BTreeMap::new();
            for one in ones {
                let key = one.row.key;
                pairs.entry(key).or_default().0 = Some(one);
            }
            for other in others {
                let key = other.row.key;
                pairs.entry(key).or_default().1 = Some(other);
            }
            let differs = |(one, other): &(Option<FullRow>, Option<FullRow>)| {
                !matches!(look(one.as_ref(), other.as_ref(), None), Look::Same)
            };
            let again: Vec<Key> =
                pairs.iter().filter(|(_, pair)| differs(pair)).map(|(key, _)| *key).collect();
            let (chunks, dependencies) = (found.chunks, found.dependencies);
            keys(from, to, progress, &again, &mut found).await?;
            (found.chunks, found.dependencies) = (chunks, dependencies);
            match next {
                Some(next) => chunk = Some(next),
                None => break,
            }
        }
    }
    Ok(found)
}

/// Every row of a job above one id, up to another.
fn span(load: &mut dyn Load, job: i64, after: Option<u64>, last: Option<u64>) -> Result<Vec<FullRow>> {
    let (mut rows, mut after) = (Vec::new(), after);
    loop {
        let (_, page, next) = engine::full_page(load, job, &[], after, Room::PAGE)?;
        rows.extend(page);
        let is_past = |row: &FullRow| last.is_some_and(|last| row.row.key.chunk > last);
        if next.is_none() || rows.last().is_some_and(is_past) {
            rows.retain(|row| !is_past(row));
            return Ok(rows);
        }
        after = next;
    }
}

/// Compares all jobs, and of the chunks those that changed after a revision. Nobody works meanwhile.
pub(super) async fn changed_since(
    from: &Side,
    to: &Side,
    progress: &copy::Progress<'_>,
    since: u64,
) -> Result<Comparison> {
    let mut found = Comparison::at(from.meta().await?.revision);
    let mut at = since;
    loop {
        let page =
            from.read(move |load| engine::changes_page(load, at, engine::Invisible::LeaveBehind)).await?;
        let changed: Vec<Key> = page.keys().collect();
        keys(from, to, progress, &changed, &mut found).await?;
        match page.part {
            engine::Part::Changes { covered, .. } if covered > at => at = covered,
            _ => break,
        }
    }
    let mut after = None;
    loop {
        let of_one = from.read(move |load| engine::open_job_from(load, after)).await?;
        let of_other = to.read(move |load| engine::open_job_from(load, after)).await?;
        let Some(job) = of_one.into_iter().chain(of_other).map(|job| job.id).min() else { break };
        after = Some(job);
        jobs(from, to, progress, job, &mut found, true).await?;
    }
    Ok(found)
}
