//! The checksums of rows: xxh3-64 over a canonical encoding, keyed by table and key.
//!
//! They tell a row that somebody else's UPDATE changed, or that was copied over another, from one that we wrote.

use xxhash_rust::xxh3::xxh3_64;

use crate::backends::contract::{Content, Cursor, Edge, Hold, JobRow, Key, Meta, Record};
use crate::backends::sqlite::columns;
use crate::model::{Deadline, Json, OwnerId};

/// Collects the canonical encoding. Every value has a length that can be told from what stands before it, so that two
/// different rows have two different encodings.
struct Encoding(Vec<u8>);

impl Encoding {
    fn of(table: u8, job: i64, chunk: u64) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.push(table);
        Encoding(bytes).int(job.cast_unsigned()).int(chunk)
    }

    fn int(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn maybe_int(mut self, value: Option<u64>) -> Self {
        self.0.push(u8::from(value.is_some()));
        match value {
            Some(value) => self.int(value),
            None => self,
        }
    }

    fn bytes(mut self, value: Option<&[u8]>) -> Self {
        self = self.maybe_int(value.map(|v| v.len() as u64));
        self.0.extend_from_slice(value.unwrap_or_default());
        self
    }

    fn text(self, value: Option<&str>) -> Self {
        self.bytes(value.map(str::as_bytes))
    }

    fn owner(self, value: Option<OwnerId>) -> Self {
        self.bytes(value.as_ref().map(|owner| owner.as_bytes().as_slice()))
    }

    fn deadline(self, value: Option<Deadline>) -> Self {
        self.maybe_int(value.map(|d| d.set_at_ms)).maybe_int(value.map(|d| d.duration_ms))
    }

    fn sum(&self) -> i64 {
        xxh3_64(&self.0).cast_signed()
    }
}

pub(super) fn content(key: Key, content: &Content) -> i64 {
    Encoding::of(1, key.job, key.chunk)
        .text(content.checksum.as_deref())
        .text(content.payload.as_ref().map(Json::as_str))
        .int(i64::from(content.priority).cast_unsigned())
        .maybe_int(content.attempts_max.map(u64::from))
        .maybe_int(content.losses_max.map(u64::from))
        .maybe_int(content.on_dependency_failure.map(|p| columns::policy_code(p).cast_unsigned()))
        .int(content.created_at_ms)
        .int(content.updated_at_ms)
        .int(content.revision)
        .sum()
}

/// A fresh record has no checksum of its own (0): every column of it is at its default.
pub(super) fn record(key: Key, record: &Record) -> i64 {
    if record.is_fresh() {
        return 0;
    }
    let encoding = claimed_record(key, record, (record.owner(), record.claim_seq()));
    if record.hold == Hold::Settled { encoding.int(1).sum() } else { encoding.sum() }
}

/// That of a record whose claim is settled and whose owner is still named: rows that have not changed since format 3.
pub(super) fn record_with_owner(key: Key, record: &Record, owner: OwnerId, claim_seq: u64) -> i64 {
    claimed_record(key, record, (Some(owner), claim_seq)).sum()
}

fn claimed_record(key: Key, record: &Record, (owner, claim_seq): (Option<OwnerId>, u64)) -> Encoding {
    Encoding::of(2, key.job, key.chunk)
        .int(columns::status_code(record.status).cast_unsigned())
        .text(record.observed.as_deref())
        .text(record.error.as_deref())
        .text(record.output.as_ref().map(Json::as_str))
        .int(u64::from(record.attempts))
        .int(u64::from(record.losses))
        .int(record.fence)
        .int(record.open_fence())
        .owner(owner)
        .int(claim_seq)
        .deadline(record.lease)
        .deadline(record.not_before)
        .maybe_int(record.cause)
        .int(record.updated_at_ms)
        .int(record.revision)
}

/// 0 for none, so that a chunk without dependencies pays nothing for it.
pub(super) fn unmet(key: Key, unmet: u32) -> i64 {
    if unmet == 0 { 0 } else { Encoding::of(4, key.job, key.chunk).int(u64::from(unmet)).sum() }
}

pub(super) fn job_spec(job: &JobRow) -> i64 {
    let spec = &job.spec;
    Encoding::of(5, job.id, 0)
        .text(spec.name.as_deref())
        .maybe_int(spec.attempts_max.map(u64::from))
        .maybe_int(spec.losses_max.map(u64::from))
        .maybe_int(spec.lease_ms)
        .maybe_int(spec.backoff.map(|b| b.initial_ms))
        .maybe_int(spec.backoff.map(|b| b.max_ms))
        .maybe_int(spec.on_dependency_failure.map(|p| columns::policy_code(p).cast_unsigned()))
        .int(columns::phase_code(job.phase).cast_unsigned())
        .owner(job.owner)
        .int(job.seq)
        .int(job.created_at_ms)
        .int(job.revision)
        .sum()
}

pub(super) fn job_counts(job: &JobRow) -> i64 {
    let encoding = Encoding::of(6, job.id, 0).int(job.edges).int(job.edges_upward);
    job.counts.by_class.iter().fold(encoding, |encoding, count| encoding.int(*count)).sum()
}

pub(super) fn edge(edge: Edge, met: bool) -> i64 {
    Encoding::of(7, edge.job, edge.chunk).int(edge.on).int(u64::from(met)).sum()
}

pub(super) fn cursor(cursor: &Cursor) -> i64 {
    Encoding::of(8, cursor.key.job, cursor.key.chunk)
        .maybe_int(cursor.after)
        .int(u64::from(cursor.told.code()))
        .sum()
}

pub(super) fn log(revision: u64, runs: &[u8]) -> i64 {
    Encoding::of(9, 0, revision).bytes(Some(runs)).sum()
}

pub(super) fn meta(meta: &Meta) -> i64 {
    let numbers = Encoding::of(10, 0, 0)
        .bytes(Some(&meta.store_id))
        .int(meta.revision)
        .int(meta.last_job.cast_unsigned())
        .int(meta.clock_ms)
        .int(meta.cursors)
        .int(meta.log_start);
    match &meta.affairs {
        // As it was before there were any.
        None => numbers.sum(),
        Some(affairs) => numbers.bytes(Some(affairs.to_text().as_bytes())).sum(),
    }
}
