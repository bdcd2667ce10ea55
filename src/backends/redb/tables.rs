//! The layout of redb's part of the file (before it there is what `front` says): five trees, keyed by big-endian bytes, so that byte order is the order of the numbers.
//!
//! ```text
//! magnetar/1/contents       [job 8][chunk 8]                             -> content record
//! magnetar/1/records        [job 8][chunk 8]                             -> record; none while it is fresh
//! magnetar/1/edges      [1] [job 8][chunk 8]                             -> number: unmet dependencies; none while 0
//!                       [2] [job 8][on 8][chunk 8]                       -> number: 1 where met, else 0
//!                       [3] [job 8][chunk 8]                             -> list record: what it depends on; none while empty
//! magnetar/1/index      [1] [job 8]                                      -> job record, without its counts
//!                       [2] [job 8][chunk 8]                             -> cursor record
//!                       [3] [job 8]                                      -> counters record
//!                       [4]                                              -> store record
//!                       [5] [due at, ms 8][job 8][set at, ms 8][first 8] -> number: last chunk
//!                       [6] [class 1][job 8][rank 4][first 8]            -> number: last chunk
//!                       [7]                                              -> number: the journal's last frame in the trees
//! magnetar/1/log            [first revision 8]                           -> log record: the runs of one commit
//! ```
//!
//! A dependency is written twice: one by one under what it is on, because each is met by itself, and in the list of who
//! has it, because the list changes as a whole. Five dependencies of one chunk are then six entries and not ten.
//!
//! How the values look is in [`crate::codec`].
//!
//! Each tree that a commit touches costs it a page at least, and a commit of one claim is little more than its pages:
//! what nearly every commit touches is therefore together in `index`, and stands there side by side. A claim takes a
//! deadline in at the end of `[5]` and takes a chunk off the front of `[6]`, and the counters and the store record
//! are before them.
//!
//! `[5]` and `[6]` hold lanes: sets of chunks that differ only in the chunk, as runs of neighbours. Every chunk is in
//! exactly one run of `[6]`, and in one of `[5]` while it has a deadline. Importing a million chunks writes one run;
//! claiming 256 of them at one moment, one of each kind.

use redb::TableDefinition;

use crate::backends::contract::{Class, Key, Rank};
use crate::codec::{Seat, Table};

/// The version of the file as a whole: what stands in front of the trees, and where.
pub(super) const FILE_FORMAT: u32 = 2;

/// Every table's name begins with it.
pub(super) const NAMESPACE: &str = "magnetar/";

pub(super) type Row = &'static [u8; 16];
pub(super) type Tag = &'static [u8];
pub(super) type Revision = &'static [u8; 8];

pub(super) type Definition<K> = TableDefinition<'static, K, &'static [u8]>;

pub(super) const CONTENTS: Definition<Row> = TableDefinition::new("magnetar/1/contents");
pub(super) const RECORDS: Definition<Row> = TableDefinition::new("magnetar/1/records");
pub(super) const EDGES: Definition<Tag> = TableDefinition::new("magnetar/1/edges");
pub(super) const INDEX: Definition<Tag> = TableDefinition::new("magnetar/1/index");
pub(super) const LOG: Definition<Revision> = TableDefinition::new("magnetar/1/log");

/// Which tree an entry is of.
pub(super) mod tree_number {
    pub(in super::super) const COUNT: usize = 5;
    pub(in super::super) const CONTENTS: u8 = 1;
    pub(in super::super) const RECORDS: u8 = 2;
    pub(in super::super) const EDGES: u8 = 3;
    pub(in super::super) const INDEX: u8 = 4;
    pub(in super::super) const LOG: u8 = 5;
}

/// The first byte of a key in `edges`.
pub(super) mod edge_tag {
    pub(in super::super) const UNMET: u8 = 1;
    pub(in super::super) const DEPENDENT: u8 = 2;
    pub(in super::super) const DEPENDENCIES: u8 = 3;
}

/// The first byte of a key in `index`.
pub(super) mod index_tag {
    pub(in super::super) const JOB: u8 = 1;
    pub(in super::super) const CURSOR: u8 = 2;
    pub(in super::super) const COUNTS: u8 = 3;
    pub(in super::super) const META: u8 = 4;
    pub(in super::super) const DUE: u8 = 5;
    pub(in super::super) const RUN: u8 = 6;
    pub(in super::super) const JOURNAL: u8 = 7;
}

pub(super) const META: [u8; 1] = [index_tag::META];

/// Up to which frame of the journal the trees have it all durably.
pub(super) const JOURNAL: [u8; 1] = [index_tag::JOURNAL];

pub(super) fn journal_seat() -> Seat {
    Seat::of_job(Table::Journal, 0)
}

/// `[job][chunk]`, of `contents` and `records`.
pub(super) fn row(key: Key) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&job_bytes(key.job));
    bytes[8..].copy_from_slice(&key.chunk.to_be_bytes());
    bytes
}

pub(super) fn read_row(bytes: &[u8]) -> Key {
    Key { job: u64_at(bytes, 0).cast_signed(), chunk: u64_at(bytes, 8) }
}

/// `[tag][job]`
pub(super) fn of_job(tag: u8, job: i64) -> [u8; 9] {
    let mut bytes = [tag; 9];
    bytes[1..].copy_from_slice(&job_bytes(job));
    bytes
}

/// `[tag][job][chunk]`
pub(super) fn of_chunk(tag: u8, key: Key) -> [u8; 17] {
    let mut bytes = [tag; 17];
    bytes[1..].copy_from_slice(&row(key));
    bytes
}

/// `[tag][job][chunk][other chunk]`
pub(super) fn of_pair(tag: u8, key: Key, other: u64) -> [u8; 25] {
    let mut bytes = [tag; 25];
    bytes[1..17].copy_from_slice(&row(key));
    bytes[17..].copy_from_slice(&other.to_be_bytes());
    bytes
}

/// A set of chunks that is kept as runs, under keys that end with a run's first chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    Dues(Dues),
    Line(Line),
}

/// What stands before a run's first chunk, and that chunk.
pub(super) struct LaneKey {
    bytes: [u8; 33],
    length: usize,
}

impl AsRef<[u8]> for LaneKey {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Lane {
    pub(super) fn key(self, first: u64) -> LaneKey {
        match self {
            Lane::Dues(dues) => LaneKey { bytes: dues.key(first), length: 33 },
            Lane::Line(line) => {
                let (key, mut bytes) = (line.key(first), [0; 33]);
                bytes[..key.len()].copy_from_slice(&key);
                LaneKey { bytes, length: key.len() }
            }
        }
    }

    pub(super) fn seat(self, first: u64) -> Seat {
        match self {
            Lane::Dues(dues) => dues.seat(first),
            Lane::Line(line) => line.seat(first),
        }
    }
}

/// The chunks of one job with one deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Dues {
    pub(super) at_ms: u64,
    pub(super) job: i64,
    pub(super) set_at_ms: u64,
}

impl Dues {
    pub(super) fn key(self, first: u64) -> [u8; 33] {
        let mut bytes = [index_tag::DUE; 33];
        bytes[1..9].copy_from_slice(&self.at_ms.to_be_bytes());
        bytes[9..17].copy_from_slice(&job_bytes(self.job));
        bytes[17..25].copy_from_slice(&self.set_at_ms.to_be_bytes());
        bytes[25..].copy_from_slice(&first.to_be_bytes());
        bytes
    }

    pub(super) fn seat(self, first: u64) -> Seat {
        let more = self.at_ms.rotate_left(32) ^ self.set_at_ms;
        Seat::of(Table::Due, Key { job: self.job, chunk: first }).with(more)
    }
}

/// The lane and the first chunk of a run of deadlines; `None` where the key is none.
pub(super) fn read_dues(bytes: &[u8]) -> Option<(Dues, u64)> {
    let bytes: &[u8; 33] = bytes.try_into().ok()?;
    let (at_ms, set_at_ms) = (u64_at(bytes, 1), u64_at(bytes, 17));
    Some((Dues { at_ms, job: u64_at(bytes, 9).cast_signed(), set_at_ms }, u64_at(bytes, 25)))
}

/// The first key of what is due later than this.
pub(super) fn dues_after(at_ms: u64) -> [u8; 9] {
    // Past the last moment there is the next tag.
    let (tag, next) = at_ms.checked_add(1).map_or((index_tag::DUE + 1, 0), |next| (index_tag::DUE, next));
    let mut bytes = [tag; 9];
    bytes[1..].copy_from_slice(&next.to_be_bytes());
    bytes
}

/// The chunks of one job that are listed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    pub(super) class: Class,
    pub(super) job: i64,
    pub(super) rank: Rank,
}

impl Line {
    pub(super) fn key(self, first: u64) -> [u8; 22] {
        let mut bytes = [index_tag::RUN; 22];
        bytes[1] = self.class as u8;
        bytes[2..10].copy_from_slice(&job_bytes(self.job));
        bytes[10..14].copy_from_slice(&self.rank.0.to_be_bytes());
        bytes[14..].copy_from_slice(&first.to_be_bytes());
        bytes
    }

    pub(super) fn seat(self, first: u64) -> Seat {
        let more = u64::from(self.rank.0) | (self.class as u64) << 32;
        Seat::of(Table::Runs, Key { job: self.job, chunk: first }).with(more)
    }
}

/// The line and the first chunk of a run's key; `None` where the key is none.
pub(super) fn read_line(bytes: &[u8]) -> Option<(Line, u64)> {
    let bytes: &[u8; 22] = bytes.try_into().ok()?;
    let class = *Class::ALL.iter().find(|&&class| class as u8 == bytes[1])?;
    let rank = Rank(u32::from_be_bytes([bytes[10], bytes[11], bytes[12], bytes[13]]));
    Some((Line { class, job: u64_at(bytes, 2).cast_signed(), rank }, u64_at(bytes, 14)))
}

/// The big-endian number at an offset of a key whose length is known.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let (number, _) = bytes[at..].split_first_chunk().expect("the key is as long as it is known to be");
    u64::from_be_bytes(*number)
}

/// Job ids are not negative, so their bytes are in the order of the ids.
fn job_bytes(job: i64) -> [u8; 8] {
    job.cast_unsigned().to_be_bytes()
}

pub(super) fn unmet_seat(key: Key) -> Seat {
    Seat::of(Table::Unmet, key)
}

/// `key` waits for `on`.
pub(super) fn dependent_seat(key: Key, on: u64) -> Seat {
    Seat::of(Table::Dependents, key).with(on)
}
