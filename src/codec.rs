//! Bytes and rows: how every record looks in a key-value store. Pure.
//!
//! ```text
//! record:  [format version u8] [fields, wincode] [xxh3-64 of all that stands before it, u64 LE]
//! number:  [value u64 LE] [the low half of its xxh3-64, u32 LE]
//! ```
//!
//! The hash is seeded with the record's [`Seat`], the table and the key it is stored under, so that a record that was
//! swapped with another one is found out like one whose bytes were flipped. It stands at the same place in every
//! format version: what is damaged can be told from what is merely newer.
//!
//! Fields are `wincode` with variable-length integers. Options are flag bits in front and cost nothing where absent.
//! A number is small, is written often and is read in long ranges: it has no version byte, its layout is its table's.

use std::sync::Arc;

use wincode::config::{Configuration, serialize_into};
use wincode::io::Reader as _;
use wincode::len::BincodeLen;
use wincode::{SchemaRead, SchemaWrite};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::backends::contract::{
    Content, Counts, Cursor, Hold, JobPhase, JobRow, Key, LogRun, Meta, Record, Subject,
};
use crate::error::{Error, ErrorKind, Result};
use crate::machine::Told;
use crate::model::{Backoff, Deadline, DependencyFailure, JobSpec, JobStatus, Json, OwnerId};
use crate::standing::Affairs;

/// The version of every record that this build writes.
pub(crate) const FORMAT: u8 = 1;

/// The version of a store record that has affairs: an older build must not go on as if it had none.
const FORMAT_WITH_AFFAIRS: u8 = 2;

/// The version of a chunk's record that says of its newest claim that it is settled. Before, that was an owner and no open
/// fence.
const FORMAT_WITH_SETTLED: u8 = 2;

const HASH_BYTES: usize = 8;

/// The length of an encoded number.
pub(crate) const NUMBER_BYTES: usize = 12;

type Config = Configuration<
    true,
    { 4 << 20 },
    BincodeLen,
    wincode::int_encoding::LittleEndian,
    wincode::int_encoding::VarInt,
    u8,
>;

const CONFIG: Config = Configuration::default().with_varint_encoding().with_tag_encoding::<u8>();

/// What a row is a row of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Table {
    Contents = 1,
    Records,
    Jobs,
    Counts,
    Meta,
    Cursors,
    Log,
    Runs,
    Due,
    Unmet,
    Dependents,
    Dependencies,
    Journal,
}

impl Table {
    const fn name(self) -> &'static str {
        match self {
            Table::Contents => "content",
            Table::Records => "record",
            Table::Jobs => "job",
            Table::Counts => "counters",
            Table::Meta => "store record",
            Table::Cursors => "cursor",
            Table::Log => "change log entry",
            Table::Runs => "index run",
            Table::Due => "deadline",
            Table::Unmet => "count of unmet dependencies",
            Table::Dependents => "dependency",
            Table::Dependencies => "list of dependencies",
            Table::Journal => "position in the journal",
        }
    }
}

/// Where a row is stored: its table and its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seat {
    table: Table,
    job: i64,
    chunk: u64,
    /// What else the key holds.
    more: u64,
}

impl Seat {
    pub(crate) const fn of(table: Table, key: Key) -> Self {
        Seat { table, job: key.job, chunk: key.chunk, more: 0 }
    }

    pub(crate) const fn of_job(table: Table, job: i64) -> Self {
        Seat { table, job, chunk: 0, more: 0 }
    }

    pub(crate) const fn with(self, more: u64) -> Self {
        Seat { more, ..self }
    }

    /// Odd factors, so that no two seats that differ in one part share a seed.
    fn seed(self) -> u64 {
        (self.table as u64)
            .wrapping_add(self.job.cast_unsigned().wrapping_mul(0x9E37_79B1_85EB_CA87))
            .wrapping_add(self.chunk.rotate_left(21).wrapping_mul(0xC2B2_AE3D_27D4_EB4F))
            .wrapping_add(self.more.rotate_left(42).wrapping_mul(0x1656_67B1_9E37_79F9))
    }

    /// The error for what is stored here and cannot be right.
    #[cold]
    pub(crate) fn corrupt(self, why: impl std::fmt::Display) -> Error {
        let text = format!(
            "the stored {} is damaged ({why}); restore the file from a copy, and run verify() to see what else is",
            self.table.name()
        );
        let error = Error::new(ErrorKind::Corrupt, text);
        match self.table {
            Table::Meta | Table::Log | Table::Journal => error,
            Table::Jobs | Table::Counts => error.in_job(self.job),
            _ => error.at(self.job, self.chunk),
        }
    }
}

/// Encodes rows into one buffer that is used again and again.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    bytes: Vec<u8>,
}

#[derive(SchemaWrite, SchemaRead)]
struct ContentHead {
    flags: u8,
    created_at_ms: u64,
    /// Less the time of creation, wrapping: 0 in most rows.
    updated_after_ms: u64,
    revision: u64,
}

mod content_flag {
    pub(super) const CHECKSUM: u8 = 1;
    pub(super) const PAYLOAD: u8 = 2;
    pub(super) const PRIORITY: u8 = 4;
    pub(super) const ATTEMPTS_MAX: u8 = 8;
    pub(super) const LOSSES_MAX: u8 = 16;
    pub(super) const ON_DEPENDENCY_FAILURE: u8 = 32;
    pub(super) const ALL: u8 = 63;
}

#[derive(SchemaWrite, SchemaRead)]
struct RecordHead {
    status: u8,
    flags: u8,
    attempts: u32,
    losses: u32,
    fence: u64,
    open_fence: u64,
    claim_seq: u64,
    updated_at_ms: u64,
    revision: u64,
}

mod record_flag {
    pub(super) const OBSERVED: u8 = 1;
    pub(super) const ERROR: u8 = 2;
    pub(super) const OUTPUT: u8 = 4;
    pub(super) const OWNER: u8 = 8;
    pub(super) const LEASE: u8 = 16;
    pub(super) const NOT_BEFORE: u8 = 32;
    pub(super) const CAUSE: u8 = 64;
    pub(super) const SETTLED: u8 = 128;
}

#[derive(SchemaWrite, SchemaRead)]
struct DeadlineWire {
    /// Less the record's time of change, wrapping: 0 in most rows.
    set_after_ms: u64,
    duration_ms: u64,
}

#[derive(SchemaWrite, SchemaRead)]
struct JobHead {
    phase: u8,
    flags: u8,
    seq: u64,
    created_at_ms: u64,
    revision: u64,
}

mod job_flag {
    pub(super) const NAME: u8 = 1;
    pub(super) const ATTEMPTS_MAX: u8 = 2;
    pub(super) const LOSSES_MAX: u8 = 4;
    pub(super) const LEASE: u8 = 8;
    pub(super) const BACKOFF: u8 = 16;
    pub(super) const ON_DEPENDENCY_FAILURE: u8 = 32;
    pub(super) const OWNER: u8 = 64;
    pub(super) const ALL: u8 = 127;
}

#[derive(SchemaWrite, SchemaRead)]
struct CountsWire {
    by_class: [u64; 7],
    edges: u64,
    edges_upward: u64,
}

#[derive(SchemaWrite, SchemaRead)]
struct MetaWire {
    store_id: [u8; 16],
    revision: u64,
    last_job: u64,
    clock_ms: u64,
    cursors: u64,
    log_start: u64,
}

#[derive(SchemaWrite, SchemaRead)]
struct CursorWire {
    after: Option<u64>,
    news: u8,
}

/// The head of a run in a log entry: its subject in the low bits, and what is the same as was to be expected.
mod log_flag {
    pub(super) const SUBJECT: u8 = 7;
    /// The run is one change long.
    pub(super) const ONE: u8 = 8;
    /// It is of the job of the run before it.
    pub(super) const SAME_JOB: u8 = 16;
    /// Its revisions follow those of the run before it; the first run's follow the entry's key.
    pub(super) const NEXT_REVISION: u8 = 32;
    pub(super) const ALL: u8 = 63;
}

impl Encoder {
    pub(crate) fn content(&mut self, key: Key, row: &Content) -> &[u8] {
        use content_flag as flag;
        let mut flags = 0;
        flags |= set(row.checksum.is_some(), flag::CHECKSUM);
        flags |= set(row.payload.is_some(), flag::PAYLOAD);
        flags |= set(row.priority != 0, flag::PRIORITY);
        flags |= set(row.attempts_max.is_some(), flag::ATTEMPTS_MAX);
        flags |= set(row.losses_max.is_some(), flag::LOSSES_MAX);
        flags |= set(row.on_dependency_failure.is_some(), flag::ON_DEPENDENCY_FAILURE);
        self.start();
        self.put(&ContentHead {
            flags,
            created_at_ms: row.created_at_ms,
            updated_after_ms: row.updated_at_ms.wrapping_sub(row.created_at_ms),
            revision: row.revision,
        });
        self.put_text(row.checksum.as_deref());
        self.put_text(row.payload.as_ref().map(Json::as_str));
        if row.priority != 0 {
            self.put(&row.priority);
        }
        self.put_some(row.attempts_max.as_ref());
        self.put_some(row.losses_max.as_ref());
        self.put_some(row.on_dependency_failure.map(policy_code).as_ref());
        self.finish(Seat::of(Table::Contents, key))
    }

    pub(crate) fn record(&mut self, key: Key, row: &Record) -> &[u8] {
        use record_flag as flag;
        let mut flags = 0;
        flags |= set(row.observed.is_some(), flag::OBSERVED);
        flags |= set(row.error.is_some(), flag::ERROR);
        flags |= set(row.output.is_some(), flag::OUTPUT);
        flags |= set(row.owner().is_some(), flag::OWNER);
        flags |= set(row.lease.is_some(), flag::LEASE);
        flags |= set(row.not_before.is_some(), flag::NOT_BEFORE);
        flags |= set(row.cause.is_some(), flag::CAUSE);
        let is_settled = row.hold == Hold::Settled;
        flags |= set(is_settled, flag::SETTLED);
        self.start_as(if is_settled { FORMAT_WITH_SETTLED } else { FORMAT });
        self.put(&RecordHead {
            status: status_code(row.status),
            flags,
            attempts: row.attempts,
            losses: row.losses,
            fence: row.fence,
            open_fence: row.open_fence(),
            claim_seq: row.claim_seq(),
            updated_at_ms: row.updated_at_ms,
            revision: row.revision,
        });
        self.put_text(row.observed.as_deref());
        self.put_text(row.error.as_deref());
        self.put_text(row.output.as_ref().map(Json::as_str));
        self.put_owner(row.owner());
        for deadline in [row.lease, row.not_before].into_iter().flatten() {
            self.put(&DeadlineWire {
                set_after_ms: deadline.set_at_ms.wrapping_sub(row.updated_at_ms),
                duration_ms: deadline.duration_ms,
            });
        }
        self.put_some(row.cause.as_ref());
        self.finish(Seat::of(Table::Records, key))
    }

    /// A job without its counts.
    pub(crate) fn job(&mut self, row: &JobRow) -> &[u8] {
        use job_flag as flag;
        let spec = &row.spec;
        let mut flags = 0;
        flags |= set(spec.name.is_some(), flag::NAME);
        flags |= set(spec.attempts_max.is_some(), flag::ATTEMPTS_MAX);
        flags |= set(spec.losses_max.is_some(), flag::LOSSES_MAX);
        flags |= set(spec.lease_ms.is_some(), flag::LEASE);
        flags |= set(spec.backoff.is_some(), flag::BACKOFF);
        flags |= set(spec.on_dependency_failure.is_some(), flag::ON_DEPENDENCY_FAILURE);
        flags |= set(row.owner.is_some(), flag::OWNER);
        self.start();
        self.put(&JobHead {
            phase: row.phase as u8,
            flags,
            seq: row.seq,
            created_at_ms: row.created_at_ms,
            revision: row.revision,
        });
        self.put_text(spec.name.as_deref());
        self.put_some(spec.attempts_max.as_ref());
        self.put_some(spec.losses_max.as_ref());
        self.put_some(spec.lease_ms.as_ref());
        if let Some(Backoff { initial_ms, max_ms }) = spec.backoff {
            self.put(&initial_ms);
            self.put(&max_ms);
        }
        self.put_some(spec.on_dependency_failure.map(policy_code).as_ref());
        self.put_owner(row.owner);
        self.finish(Seat::of_job(Table::Jobs, row.id))
    }

    /// A job's counts, which change far more often than the job.
    pub(crate) fn counts(&mut self, row: &JobRow) -> &[u8] {
        self.start();
        self.put(&CountsWire {
            by_class: row.counts.by_class,
            edges: row.edges,
            edges_upward: row.edges_upward,
        });
        self.finish(Seat::of_job(Table::Counts, row.id))
    }

    pub(crate) fn meta(&mut self, meta: &Meta) -> &[u8] {
        self.start_as(if meta.affairs.is_some() { FORMAT_WITH_AFFAIRS } else { FORMAT });
        self.put(&MetaWire {
            store_id: meta.store_id,
            revision: meta.revision,
            last_job: meta.last_job.cast_unsigned(),
            clock_ms: meta.clock_ms,
            cursors: meta.cursors,
            log_start: meta.log_start,
        });
        let affairs = meta.affairs.as_ref().map(|affairs| affairs.to_text());
        self.put_text(affairs.as_deref());
        self.finish(META_SEAT)
    }

    pub(crate) fn cursor(&mut self, cursor: &Cursor) -> &[u8] {
        self.start();
        self.put(&CursorWire { after: cursor.after, news: cursor.told.code() });
        self.finish(Seat::of(Table::Cursors, cursor.key))
    }

    /// The runs of one commit, stored under the first one's revision.
    pub(crate) fn log(&mut self, runs: &[LogRun]) -> &[u8] {
        use log_flag as flag;
        self.start();
        let first = runs.first().map_or(0, |run| run.revision);
        let (mut job, mut chunk, mut revision) = (0, 0_u64, first);
        for run in runs {
            let mut head = run.subject as u8;
            head |= set(run.count == 1, flag::ONE);
            head |= set(run.key.job == job, flag::SAME_JOB);
            head |= set(run.revision == revision, flag::NEXT_REVISION);
            self.bytes.push(head);
            if run.key.job != job {
                self.put(&run.key.job.cast_unsigned());
                job = run.key.job;
            }
            self.put(&run.key.chunk.wrapping_sub(chunk).cast_signed());
            if run.count != 1 {
                self.put(&run.count);
            }
            if run.revision != revision {
                self.put(&run.revision.wrapping_sub(revision));
            }
            chunk = run.key.chunk.wrapping_add(run.count);
            revision = run.revision.wrapping_add(run.count);
        }
        self.finish(log_seat(first))
    }

    /// What a chunk depends on, in ascending order: the first id, then each one's distance from the one before it.
    pub(crate) fn dependencies(&mut self, key: Key, on: &[u64]) -> &[u8] {
        self.start();
        let mut before = 0;
        for &on in on {
            self.put(&on.wrapping_sub(before));
            before = on;
        }
        self.finish(Seat::of(Table::Dependencies, key))
    }

    pub(crate) fn number(&mut self, seat: Seat, value: u64) -> &[u8] {
        self.bytes.clear();
        self.bytes.extend_from_slice(&number(seat, value));
        &self.bytes
    }

    fn start(&mut self) {
        self.start_as(FORMAT);
    }

    fn start_as(&mut self, version: u8) {
        self.bytes.clear();
        self.bytes.push(version);
    }

    fn put<T: SchemaWrite<Config, Src = T> + ?Sized>(&mut self, value: &T) {
        serialize_into(&mut self.bytes, value, CONFIG).expect("a growing buffer takes every value");
    }

    fn put_some<T: SchemaWrite<Config, Src = T>>(&mut self, value: Option<&T>) {
        if let Some(value) = value {
            self.put(value);
        }
    }

    /// Length and bytes. By hand, because a text may be longer than what `wincode` is ready to allocate at once.
    fn put_text(&mut self, text: Option<&str>) {
        if let Some(text) = text {
            self.put(&(text.len() as u64));
            self.bytes.extend_from_slice(text.as_bytes());
        }
    }

    fn put_owner(&mut self, owner: Option<OwnerId>) {
        if let Some(owner) = owner {
            self.bytes.extend_from_slice(owner.as_bytes());
        }
    }

    fn finish(&mut self, seat: Seat) -> &[u8] {
        let hash = xxh3_64_with_seed(&self.bytes, seat.seed());
        self.bytes.extend_from_slice(&hash.to_le_bytes());
        &self.bytes
    }
}

pub(crate) fn content(key: Key, bytes: &[u8]) -> Result<Content> {
    use content_flag as flag;
    let mut reader = Decoder::open(Seat::of(Table::Contents, key), bytes)?;
    let head: ContentHead = reader.take()?;
    reader.check_flags(head.flags, flag::ALL)?;
    let has = |bit| head.flags & bit != 0;
    let row = Content {
        checksum: reader.text(has(flag::CHECKSUM))?.map(String::from),
        payload: reader.text(has(flag::PAYLOAD))?.map(Json::trusted),
        left_bytes: 0,
        priority: reader.some(has(flag::PRIORITY))?.unwrap_or(0),
        attempts_max: reader.some(has(flag::ATTEMPTS_MAX))?,
        losses_max: reader.some(has(flag::LOSSES_MAX))?,
        on_dependency_failure: reader.policy(has(flag::ON_DEPENDENCY_FAILURE))?,
        created_at_ms: head.created_at_ms,
        updated_at_ms: head.created_at_ms.wrapping_add(head.updated_after_ms),
        revision: head.revision,
    };
    reader.close()?;
    Ok(row)
}

pub(crate) fn record(key: Key, bytes: &[u8]) -> Result<Record> {
    use record_flag as flag;
    let (mut reader, version) =
        Decoder::open_up_to(Seat::of(Table::Records, key), bytes, FORMAT_WITH_SETTLED)?;
    let head: RecordHead = reader.take()?;
    let has = |bit| head.flags & bit != 0;
    if has(flag::SETTLED) != (version == FORMAT_WITH_SETTLED) {
        return Err(reader.seat.corrupt("it has flags of another version"));
    }
    let row = Record {
        status: reader.status(head.status)?,
        observed: reader.text(has(flag::OBSERVED))?.map(String::from),
        error: reader.text(has(flag::ERROR))?.map(String::from),
        output: reader.text(has(flag::OUTPUT))?.map(Json::trusted),
        attempts: head.attempts,
        losses: head.losses,
        fence: head.fence,
        hold: reader.hold(has(flag::OWNER), has(flag::SETTLED), &head)?,
        lease: reader.deadline(has(flag::LEASE), head.updated_at_ms)?,
        not_before: reader.deadline(has(flag::NOT_BEFORE), head.updated_at_ms)?,
        cause: reader.some(has(flag::CAUSE))?,
        updated_at_ms: head.updated_at_ms,
        revision: head.revision,
    };
    reader.close()?;
    Ok(row)
}

/// A job from its two rows.
pub(crate) fn job(id: i64, job: &[u8], counts: &[u8]) -> Result<JobRow> {
    use job_flag as flag;
    let mut reader = Decoder::open(Seat::of_job(Table::Counts, id), counts)?;
    let CountsWire { by_class, edges, edges_upward } = reader.take()?;
    reader.close()?;
    let mut reader = Decoder::open(Seat::of_job(Table::Jobs, id), job)?;
    let head: JobHead = reader.take()?;
    reader.check_flags(head.flags, flag::ALL)?;
    let has = |bit| head.flags & bit != 0;
    let spec = JobSpec {
        name: reader.text(has(flag::NAME))?.map(String::from),
        attempts_max: reader.some(has(flag::ATTEMPTS_MAX))?,
        losses_max: reader.some(has(flag::LOSSES_MAX))?,
        lease_ms: reader.some(has(flag::LEASE))?,
        backoff: if has(flag::BACKOFF) {
            Some(Backoff { initial_ms: reader.take()?, max_ms: reader.take()? })
        } else {
            None
        },
        on_dependency_failure: reader.policy(has(flag::ON_DEPENDENCY_FAILURE))?,
    };
    let phase = match head.phase {
        1 => JobPhase::Open,
        2 => JobPhase::Importing,
        3 => JobPhase::Deleting,
        other => return Err(reader.seat.corrupt(format_args!("phase {other} is unknown"))),
    };
    let row = JobRow {
        id,
        spec,
        phase,
        owner: reader.owner(has(flag::OWNER))?,
        seq: head.seq,
        edges,
        edges_upward,
        counts: Counts { by_class },
        created_at_ms: head.created_at_ms,
        revision: head.revision,
    };
    reader.close()?;
    Ok(row)
}

const META_SEAT: Seat = Seat::of_job(Table::Meta, 0);

pub(crate) fn meta(bytes: &[u8]) -> Result<Meta> {
    let (mut reader, version) = Decoder::open_up_to(META_SEAT, bytes, FORMAT_WITH_AFFAIRS)?;
    let wire: MetaWire = reader.take()?;
    let affairs = match reader.text(version == FORMAT_WITH_AFFAIRS)? {
        None => None,
        Some(text) => {
            let affairs = Affairs::from_text(text).map_err(|e| META_SEAT.corrupt(e))?;
            Some(Arc::new(affairs))
        }
    };
    reader.close()?;
    Ok(Meta {
        store_id: wire.store_id,
        revision: wire.revision,
        last_job: wire.last_job.cast_signed(),
        clock_ms: wire.clock_ms,
        cursors: wire.cursors,
        log_start: wire.log_start,
        affairs,
    })
}

pub(crate) fn cursor(key: Key, bytes: &[u8]) -> Result<Cursor> {
    let mut reader = Decoder::open(Seat::of(Table::Cursors, key), bytes)?;
    let CursorWire { after, news } = reader.take()?;
    let told = Told::from_code(news)
        .ok_or_else(|| reader.seat.corrupt(format_args!("what it tells, {news}, is unknown")))?;
    reader.close()?;
    Ok(Cursor { key, after, told })
}

/// The runs of the log entry that is stored under `first`.
pub(crate) fn log(first: u64, bytes: &[u8]) -> Result<Vec<LogRun>> {
    use log_flag as flag;
    let mut reader = Decoder::open(log_seat(first), bytes)?;
    let mut runs = Vec::new();
    let (mut job, mut chunk, mut revision) = (0, 0_u64, first);
    while !reader.rest.is_empty() {
        let head: u8 = reader.take()?;
        reader.check_flags(head, flag::ALL)?;
        let has = |bit| head & bit != 0;
        let subject = match head & flag::SUBJECT {
            1 => Subject::Chunk,
            2 => Subject::ChunkGone,
            3 => Subject::Job,
            4 => Subject::JobGone,
            5 => Subject::Met,
            other => return Err(reader.seat.corrupt(format_args!("subject {other} is unknown"))),
        };
        if !has(flag::SAME_JOB) {
            job = reader.take::<u64>()?.cast_signed();
        }
        chunk = chunk.wrapping_add(reader.take::<i64>()?.cast_unsigned());
        let count = reader.some(!has(flag::ONE))?.unwrap_or(1);
        if let Some(gap) = reader.some::<u64>(!has(flag::NEXT_REVISION))? {
            revision = revision.wrapping_add(gap);
        }
        runs.push(LogRun { subject, revision, key: Key { job, chunk }, count });
        chunk = chunk.wrapping_add(count);
        revision = revision.wrapping_add(count);
    }
    Ok(runs)
}

/// What a chunk depends on, in ascending order.
pub(crate) fn dependencies(key: Key, bytes: &[u8]) -> Result<Vec<u64>> {
    let mut reader = Decoder::open(Seat::of(Table::Dependencies, key), bytes)?;
    let mut list = Vec::new();
    while !reader.rest.is_empty() {
        let distance: u64 = reader.take()?;
        let before = list.last().copied();
        let on = before.unwrap_or(0_u64).checked_add(distance).filter(|_| before.is_none() || distance > 0);
        list.push(on.ok_or_else(|| reader.seat.corrupt("it is not in order"))?);
    }
    if list.is_empty() {
        return Err(reader.seat.corrupt("it names none: a chunk without dependencies has no list"));
    }
    Ok(list)
}

const fn log_seat(first: u64) -> Seat {
    Seat::of_job(Table::Log, 0).with(first)
}

pub(crate) fn number(seat: Seat, value: u64) -> [u8; NUMBER_BYTES] {
    let value = value.to_le_bytes();
    let mut bytes = [0; NUMBER_BYTES];
    bytes[..8].copy_from_slice(&value);
    bytes[8..].copy_from_slice(&number_hash(seat, value));
    bytes
}

pub(crate) fn read_number(seat: Seat, bytes: &[u8]) -> Result<u64> {
    let Some((&value, hash)) = bytes.split_first_chunk::<8>() else {
        return Err(seat.corrupt("it is too short"));
    };
    if hash != number_hash(seat, value) {
        return Err(seat.corrupt("its checksum is wrong"));
    }
    Ok(u64::from_le_bytes(value))
}

fn number_hash(seat: Seat, value: [u8; 8]) -> [u8; 4] {
    let hash = xxh3_64_with_seed(&value, seat.seed()).to_le_bytes();
    [hash[0], hash[1], hash[2], hash[3]]
}

struct Decoder<'a> {
    seat: Seat,
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Checks hash and version, and stands before the first field.
    fn open(seat: Seat, bytes: &'a [u8]) -> Result<Self> {
        Decoder::open_up_to(seat, bytes, FORMAT).map(|(decoder, _)| decoder)
    }

    /// The same where this build knows more than one version of the record; says which it is.
    fn open_up_to(seat: Seat, bytes: &'a [u8], newest: u8) -> Result<(Self, u8)> {
        let Some((fields, hash)) = bytes.split_last_chunk::<HASH_BYTES>() else {
            return Err(seat.corrupt("it is too short"));
        };
        if u64::from_le_bytes(*hash) != xxh3_64_with_seed(fields, seat.seed()) {
            return Err(seat.corrupt("its checksum is wrong"));
        }
        match fields.split_first() {
            Some((&version, _)) if version > newest => Err(newer_format(version)),
            Some((&version, rest)) if version >= FORMAT => Ok((Decoder { seat, rest }, version)),
            _ => Err(seat.corrupt("its format version is unknown")),
        }
    }

    fn take<T: SchemaRead<'a, Config, Dst = T>>(&mut self) -> Result<T> {
        T::get(self.rest.by_ref()).map_err(|e| self.seat.corrupt(e))
    }

    fn some<T: SchemaRead<'a, Config, Dst = T>>(&mut self, is_there: bool) -> Result<Option<T>> {
        if is_there { self.take().map(Some) } else { Ok(None) }
    }

    fn text(&mut self, is_there: bool) -> Result<Option<&'a str>> {
        let Some(length) = self.some::<u64>(is_there)? else { return Ok(None) };
        let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let Some((text, rest)) = split else {
            return Err(self.seat.corrupt("a text is longer than its record"));
        };
        self.rest = rest;
        std::str::from_utf8(text).map(Some).map_err(|e| self.seat.corrupt(e))
    }

    fn owner(&mut self, is_there: bool) -> Result<Option<OwnerId>> {
        Ok(self.some(is_there)?.map(OwnerId::from_bytes))
    }

    fn hold(&mut self, has_owner: bool, is_settled: bool, head: &RecordHead) -> Result<Hold> {
        let owner = self.owner(has_owner)?;
        let is_own = head.open_fence == 0 || head.open_fence == head.fence;
        Hold::of(owner, head.claim_seq, head.open_fence != 0, is_settled)
            .filter(|_| is_own)
            .ok_or_else(|| self.seat.corrupt("it contradicts itself about its newest claim"))
    }

    fn deadline(&mut self, is_there: bool, updated_at_ms: u64) -> Result<Option<Deadline>> {
        Ok(self.some(is_there)?.map(|wire: DeadlineWire| Deadline {
            set_at_ms: updated_at_ms.wrapping_add(wire.set_after_ms),
            duration_ms: wire.duration_ms,
        }))
    }

    fn policy(&mut self, is_there: bool) -> Result<Option<DependencyFailure>> {
        match self.some::<u8>(is_there)? {
            None => Ok(None),
            Some(code) => match DependencyFailure::ALL.get(usize::from(code)) {
                Some(policy) => Ok(Some(*policy)),
                None => Err(self.seat.corrupt(format_args!("policy {code} is unknown"))),
            },
        }
    }

    fn status(&self, code: u8) -> Result<JobStatus> {
        JobStatus::ALL
            .get(usize::from(code))
            .copied()
            .ok_or_else(|| self.seat.corrupt(format_args!("status {code} is unknown")))
    }

    fn check_flags(&self, flags: u8, known: u8) -> Result<()> {
        if flags & !known == 0 { Ok(()) } else { Err(self.seat.corrupt("it has flags that are unknown")) }
    }

    fn close(self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.seat.corrupt("it is too long")) }
    }
}

/// The error for a version that is higher than this build's.
#[cold]
pub(crate) fn newer_format(version: impl std::fmt::Display) -> Error {
    Error::new(
        ErrorKind::NewerFormat,
        format!(
            "the file was written in format {version}, this build knows up to {FORMAT}; use a newer Magnetar"
        ),
    )
}

const fn set(condition: bool, bit: u8) -> u8 {
    if condition { bit } else { 0 }
}

/// The index in [`JobStatus::ALL`].
const fn status_code(status: JobStatus) -> u8 {
    match status {
        JobStatus::Pending => 0,
        JobStatus::Processing => 1,
        JobStatus::Done => 2,
        JobStatus::Failed => 3,
        JobStatus::Cancelled => 4,
    }
}

/// The index in [`DependencyFailure::ALL`].
const fn policy_code(policy: DependencyFailure) -> u8 {
    match policy {
        DependencyFailure::Wait => 0,
        DependencyFailure::Cancel => 1,
        DependencyFailure::Ignore => 2,
    }
}

#[cfg(test)]
mod tests;
