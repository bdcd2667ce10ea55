//! Every limit of Magnetar, in one place. What a caller can reach has a test at it and one past it.
//!
//! Sizes are in bytes of UTF-8, times in milliseconds.

use std::ops::RangeInclusive;

/// The largest job id, chunk id, revision and fence: `2^53 - 1`, the largest integer that is exact in JavaScript.
pub const ID_MAX: u64 = (1 << 53) - 1;

/// An export is restored where no revision in it is above this: half of [`ID_MAX`], so that the store can go on for good.
pub const RESTORED_REVISION_MAX: u64 = ID_MAX / 2;

/// A manifest read as one text (TOML or JSON) is at most this long. Longer ones come as JSON Lines or CSV.
pub const MANIFEST_BYTES_MAX: usize = 64 << 20;

/// One line of a JSON Lines manifest, or one record of a CSV manifest, is at most this long.
pub const MANIFEST_LINE_BYTES_MAX: usize = 4 << 20;

/// A chunk's payload is at most this long.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// A payload or an output is nested at most this deep: readers of JSON refuse, or fail at, much deeper ones.
pub const JSON_DEPTH_MAX: usize = 100;

/// A completion's output is at most this long.
pub const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// A checksum, expected or observed, is at most this long.
pub const CHECKSUM_BYTES_MAX: usize = 1024;

/// An error text is cut to this length before it is kept.
pub const ERROR_BYTES_MAX: usize = 4096;

/// A job's name is at most this long.
pub const NAME_BYTES_MAX: usize = 256;

/// A chunk depends on at most this many others.
pub const DEPENDENCIES_PER_CHUNK_MAX: usize = 10_000;

/// A lease lasts at least one second and at most seven days.
pub const LEASE_MS: RangeInclusive<u64> = 1_000..=7 * 24 * 3_600_000;

/// After so long a large import of which nobody can say whether its process lives is taken back: a day, in milliseconds.
/// One that went on all the same is told so with its next slice.
pub const IMPORT_LEASE_MS: u64 = 24 * 3_600_000;

/// The lease of a job that names none: one minute.
pub const LEASE_MS_DEFAULT: u64 = 60_000;

/// A delay before a retry, of a job's backoff or of a caller's own, is at most seven days, in milliseconds.
pub const BACKOFF_MS_MAX: u64 = 7 * 24 * 3_600_000;

/// Claims that may end in an error before a chunk is failed, where the job names no other number. 0 would be no limit.
pub const ATTEMPTS_MAX_DEFAULT: u32 = 3;

/// Claims whose owner may vanish before a chunk is failed, where the job names no other number. 0 is no limit.
pub const LOSSES_MAX_DEFAULT: u32 = 10;

/// One claim takes at most this many chunks.
pub const CLAIM_COUNT_MAX: usize = 10_000;

/// A claim takes no further chunk once the payloads of those that it has come to this: whoever asked has to hold them all.
pub const CLAIM_BYTES_MAX: usize = 16 << 20;

/// One call of `apply_batch_updates` takes at most this many updates.
pub const BATCH_UPDATES_MAX: usize = 10_000;

/// A call that lists into a `Vec` lists at most this many rows; past it, the error names the paged twin.
pub const LIST_ROWS_MAX: usize = 100_000;

/// A page has at most this many rows.
pub const PAGE_ROWS_MAX: usize = 10_000;

/// A page of whole records ends early once its texts (payloads, outputs, errors, checksums) come to this much.
pub const RECORD_PAGE_BYTES: usize = 4 << 20;

/// One line of an export that is restored is at most this long.
pub const EXPORT_LINE_BYTES_MAX: usize = 8 << 20;

/// Chunks whose dependencies one commit of a restore looks at.
pub const RESTORE_SETTLED_ROWS: usize = 500;

/// Rows that one transaction of an import changes at most; a larger import goes in slices.
pub const IMPORT_ROWS_PER_COMMIT_MAX: usize = 50_000;

/// Payload bytes that one transaction of an import changes at most, give or take one chunk's, so that its memory is
/// bounded; a larger import goes in slices.
pub const IMPORT_BYTES_PER_COMMIT_MAX: usize = 32 << 20;

/// Dependencies that one transaction of an import, or one slice of a deletion, changes at most, give or take some chunks':
/// each is a row as well. A larger import goes in slices.
pub const DEPENDENCIES_PER_COMMIT_MAX: usize = 200_000;

/// Dependents that one completion frees in its own commit; the rest follow in slices under a durable cursor.
pub const DEPENDENTS_PER_COMMIT_MAX: usize = 1_000;

/// Dependents that all operations of one commit tell, so that no commit holds up the others for long; the rest follow in
/// the same way.
pub const TOLD_PER_COMMIT_MAX: usize = 5_000;

/// Rows that one slice of a bulk operation (retry, reset, cancel, delete, release) changes at most.
pub const SLICE_ROWS_MAX: usize = 10_000;

/// A slice of a bulk operation ends early once the texts (payloads, outputs, errors, checksums) of its rows come to this
/// much, so that its memory is bounded.
pub const SLICE_BYTES_MAX: usize = 32 << 20;

/// Operations that share one commit at most.
pub const GROUP_OPERATIONS_MAX: usize = 1_024;

/// Revisions that the change feed keeps at least, where no registered consumer needs more.
pub const FEED_REVISIONS_KEPT: u64 = 1_000_000;

/// One page of records that a copy takes over holds at most this many; its rows' bytes end it sooner.
pub const RECORDS_PER_PAGE_MAX: usize = 2_000;

/// A comparison of two stores lists at most this many differences; it counts all of them.
pub const MISMATCHES_LISTED_MAX: usize = 100;

/// The name of a consumer of the change feed is at most this long.
pub const CONSUMER_NAME_BYTES_MAX: usize = 64;

/// A store has at most this many registered consumers of its change feed.
pub const CONSUMERS_MAX: usize = 32;

/// Revisions that commits of [`crate::Durability::Relaxed`] may give before one of them is synced. So many are skipped
/// where such a store is written to first after it was not closed; to [`FEED_REVISIONS_KEPT`] they count.
pub const UNSYNCED_REVISIONS_MAX: u64 = 1 << 14;

/// So many stretches of revisions that may have been lost to power cuts are told apart; the feed begins behind older ones.
pub const LOST_STRETCHES_MAX: usize = 16;

/// A clock that has gone back by more than this is taken to be wrong, and deadlines set after it are due.
pub const CLOCK_SLACK_MS: u64 = 60_000;

/// Between two looks at which owners are dead, at least this long.
pub const PROBE_INTERVAL_MS: u64 = 1_000;

/// A redb file up to this size is checked whole when it is opened; a larger one where the caller asks for it.
pub const REDB_CHECK_ON_OPEN_BYTES_MAX: u64 = 256 << 20;

/// The same for `SQLite`, whose check takes ten times as long and matters less: each row is checked when it is read.
pub const SQLITE_CHECK_ON_OPEN_BYTES_MAX: u64 = 32 << 20;
