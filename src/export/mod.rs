//! Exports: what a store holds, for people, for spreadsheets, for analytics, and for a store of its own.
//!
//! | form | what for | targets |
//! |---|---|---|
//! | CSV, [`Export::csv`] | spreadsheets, every tool there is | all |
//! | JSON Lines, [`Export::json_lines`] | scripts; [`JobStore::restore`] makes a store of it again | all |
//! | Parquet, `Export::parquet` | Polars, DuckDB, pandas, Spark | native, feature `analytics` |
//! | Arrow record batches, `Export::record_batches` | a query engine in this process | native, feature `analytics` |
//!
//! Everything is read a page at a time and handed over as it is made, so memory is bounded whatever the store's size.
//! Nothing is locked meanwhile: workers go on.
//!
//! ```
//! # magnetar::block_on(async {
//! use magnetar::export::Export;
//! use magnetar::{JobStatus, JobStore, Manifest};
//!
//! let store = magnetar::open(":memory:").await?;
//! store.init_from_manifest(42, &Manifest::from_toml("[[chunks]]\nid = 1\nchecksum = '=1+1'")?).await?;
//!
//! let mut file = Vec::new(); // a std::fs::File, a socket: anything that takes bytes
//! let done = Export::new(store.clone()).job(42).status(JobStatus::Pending).csv().write_to(&mut file).await?;
//! assert_eq!(done.chunks, 1);
//! let text = String::from_utf8(file).unwrap();
//! assert!(text.starts_with("job_id,chunk,status,"));
//! assert!(text.contains("\"'=1+1\""), "a spreadsheet would have run it");
//! # store.close().await
//! # }).unwrap();
//! ```
//!
//! # Columns
//!
//! CSV, Parquet and Arrow have the same columns, one row per chunk; the view `chunks_v` of a SQLite file names them so
//! as well.
//!
//! | column | Arrow and Parquet type | |
//! |---|---|---|
//! | `job_id`, `chunk` | int64 | |
//! | `status` | dictionary of utf8 | `pending`, `processing`, `done`, `failed`, `cancelled` |
//! | `checksum`, `observed_checksum` | utf8, nullable | expected by the manifest; reported by the completion |
//! | `payload`, `output` | utf8, nullable | JSON |
//! | `error` | utf8, nullable | why it failed last |
//! | `priority` | int32 | |
//! | `attempts`, `losses`, `attempts_max`, `losses_max` | int64 | a limit of 0 is none; the job's where the chunk has no own |
//! | `on_dependency_failure` | dictionary of utf8, nullable | `wait`, `cancel`, `ignore`; null where the chunk has no own, and the job's holds |
//! | `depends_on` | list of int64 | in CSV the ids with spaces between |
//! | `unmet_dependencies` | int64 | with `pending`: above 0 is blocked |
//! | `cancelled_by` | int64, nullable | the dependency whose failure cancelled it |
//! | `fence` | int64 | 0 before the first claim |
//! | `owner` | utf8, nullable | who holds it, while processing |
//! | `lease_until`, `not_before` | timestamp (ms, UTC), nullable | while processing; while delayed |
//! | `created_at`, `updated_at` | timestamp (ms, UTC) | |
//! | `revision` | int64 | of the chunk's own newest change; `unmet_dependencies` changes without it |
//!
//! # A store that is at work
//!
//! Each row is a chunk as it stood when its page was read. CSV, Parquet and Arrow leave it at that: what changes
//! during an export may show or not, and is in the next export [`since`](Export::since) the revision of this one.
//! JSON Lines of whole jobs go on until they have caught up with the store: what changed meanwhile follows once more,
//! and the later line counts. What stands in them is the store as it was at one moment, [`Exported::revision`]; but for
//! heartbeats, which are no changes. Between the slices of a large import there is no such moment, nor while more than
//! a thousand dependents of a chunk are told what became of it: the export ends with [`crate::ErrorKind::Busy`] then. So
//! it does where whoever takes it is slower than the store changes, for then it never catches up: export into a local
//! file, and send that.

mod bytes;
mod csv;
mod form;
mod json_lines;
mod lines;
mod reader;

#[cfg(all(feature = "analytics", not(target_family = "wasm")))]
mod arrow;
#[cfg(all(feature = "analytics", not(target_family = "wasm")))]
mod parquet;

use std::collections::BTreeSet;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::model::JobStatus;
use crate::store::JobStore;

#[cfg(all(feature = "analytics", not(target_family = "wasm")))]
pub use self::arrow::{Blocking, RecordBatches, schema};
#[cfg(all(feature = "analytics", not(target_family = "wasm")))]
pub use {arrow_array, arrow_schema};

pub use self::bytes::Bytes;
pub use self::csv::{COLUMNS, csv_text, disarmed};
use form::Form;
pub(crate) use lines::{Line, Lines};
use reader::Reader;

/// What to export, and from where.
///
/// `S` is any pointer to a store: `store.clone()` of what [`crate::open`] gave, `&store` of a [`crate::Store`].
#[derive(Debug, Clone)]
pub struct Export<S> {
    store: S,
    filter: Filter,
}

/// What an export leaves out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Filter {
    /// Of these jobs only, where any are named.
    jobs: BTreeSet<i64>,
    /// Of these statuses only, where any are named.
    statuses: BTreeSet<JobStatus>,
    /// Only what changed after this revision.
    since: Option<u64>,
}

/// What an export came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Exported {
    /// Jobs that were read. Of an export since a revision: jobs that were created or whose settings changed, each as
    /// often as that happened; of JSON Lines also what was read once more because it changed meanwhile.
    pub jobs: u64,
    /// Rows, or lines, of chunks.
    pub chunks: u64,
    /// Bytes that were handed over.
    pub bytes: u64,
    /// Everything up to this revision of the store is in it. Hand it to [`Export::since`] the next time.
    pub revision: u64,
}

impl<S> Export<S>
where
    S: Deref<Target: JobStore>,
{
    /// Everything that a store holds.
    pub fn new(store: S) -> Self {
        Export { store, filter: Filter::default() }
    }

    /// Only this job, or this one too. A job that does not exist is an error.
    #[must_use]
    pub fn job(mut self, job_id: i64) -> Self {
        self.filter.jobs.insert(job_id);
        self
    }

    /// Only chunks of this status, or of this one too.
    #[must_use]
    pub fn status(mut self, status: JobStatus) -> Self {
        self.filter.statuses.insert(status);
        self
    }

    /// Only what changed after a revision: [`Exported::revision`] of the export before. JSON Lines also tell what was
    /// deleted since.
    ///
    /// Chunks stand in the order of their changes. A revision from before the store's change feed begins is
    /// [`crate::ErrorKind::FeedTruncated`]: export everything. A job that is named need not exist any more.
    #[must_use]
    pub fn since(mut self, revision: u64) -> Self {
        self.filter.since = Some(revision);
        self
    }

    /// As CSV: RFC 4180, UTF-8, a first record that names the [`COLUMNS`], lines that end with CR LF.
    ///
    /// Text stands in quotes, so that no separator of any country splits it. A null is an empty cell, an empty text is
    /// `""`. Times are RFC 3339 in UTC with milliseconds.
    ///
    /// **Formulas are disarmed.** A cell that a spreadsheet would run, one whose first visible character is one of
    /// `= + - @` or of their full-width forms, gets a `'` in front; so that this can be undone, one that starts with a
    /// `'` gets another. Undo it with [`csv_text`], or with `SELECT regexp_replace(error, '^''', '')` and its like.
    pub fn csv(self) -> Bytes<S> {
        Bytes::new(Reader::new(self.store, self.filter), Form::Csv)
    }

    /// As JSON Lines: a line for each job, in front of one for each of its chunks; see [`JobStore::restore`] for what they hold.
    ///
    /// The first line is `{"kind":"export",...}`, the last `{"kind":"end",...}`: a file without it is cut short.
    pub fn json_lines(self) -> Bytes<S> {
        Bytes::new(Reader::new(self.store, self.filter).following(), Form::json_lines())
    }
}
