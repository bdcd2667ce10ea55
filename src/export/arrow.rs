//! Arrow record batches: one row per chunk, typed columns.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use arrow_array::builder::{
    Int32Builder, Int64Builder, ListBuilder, StringBuilder, TimestampMillisecondBuilder,
};
use arrow_array::types::Int8Type;
use arrow_array::{ArrayRef, DictionaryArray, Int8Array, RecordBatch, StringArray};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};

use super::csv::COLUMNS;
use super::reader::{Item, Reader};
use super::{Export, Exported};
use crate::commit::block_on;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{ChunkRecord, Deadline, DependencyFailure, JobStatus, Json};
use crate::store::JobStore;

const UTC: &str = "UTC";

/// The schema of every batch and of every Parquet file; [the module](super) lists the columns.
pub fn schema() -> SchemaRef {
    static SCHEMA: OnceLock<SchemaRef> = OnceLock::new();
    let make = || {
        let field = |name: &str| {
            let (data_type, nullable) = column_type(name);
            Field::new(name, data_type, nullable)
        };
        Arc::new(Schema::new(COLUMNS.map(field).to_vec()))
    };
    Arc::clone(SCHEMA.get_or_init(make))
}

/// A column's type, and whether it may be null.
fn column_type(name: &str) -> (DataType, bool) {
    let word = || DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    let moment = || DataType::Timestamp(TimeUnit::Millisecond, Some(UTC.into()));
    match name {
        "status" => (word(), false),
        "on_dependency_failure" => (word(), true),
        "checksum" | "observed_checksum" | "payload" | "output" | "error" | "owner" => (DataType::Utf8, true),
        "priority" => (DataType::Int32, false),
        "depends_on" => (DataType::List(Arc::new(Field::new("item", DataType::Int64, false))), false),
        "lease_until" | "not_before" => (moment(), true),
        "created_at" | "updated_at" => (moment(), false),
        "cancelled_by" => (DataType::Int64, true),
        _ => (DataType::Int64, false),
    }
}

/// The rows of an export as Arrow record batches, pulled a page at a time.
///
/// [`RecordBatches::next`] gives the next; as an iterator it waits on the calling thread.
///
/// ```
/// # magnetar::block_on(async {
/// use magnetar::export::{Export, arrow_array::cast::AsArray, arrow_array::types::Int64Type};
/// use magnetar::{JobStore, Manifest};
///
/// let store = magnetar::open(":memory:").await?;
/// store.init_from_manifest(42, &Manifest::from_toml("[[chunks]]\nid = 1\n[[chunks]]\nid = 2")?).await?;
/// let mut batches = Export::new(store.clone()).record_batches();
/// let batch = batches.next().await?.expect("there are chunks");
/// let chunk = batch.column_by_name("chunk").expect("see the list of columns");
/// assert_eq!(chunk.as_primitive::<Int64Type>().values(), &[1, 2]);
/// assert!(batches.next().await?.is_none());
/// # store.close().await
/// # }).unwrap();
/// ```
#[must_use = "nothing is read before it is asked for"]
pub struct RecordBatches<S> {
    reader: Reader<S>,
    exported: Exported,
}

impl<S> fmt::Debug for RecordBatches<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordBatches").field("exported", &self.exported).finish_non_exhaustive()
    }
}

impl<S> Export<S>
where
    S: Deref<Target: JobStore>,
{
    /// As Arrow record batches of up to some thousand rows. Native, with the feature `analytics`.
    pub fn record_batches(self) -> RecordBatches<S> {
        RecordBatches { reader: Reader::new(self.store, self.filter), exported: Exported::default() }
    }
}

impl<S> RecordBatches<S>
where
    S: Deref<Target: JobStore>,
{
    /// The next batch, which has rows; `None` at the end. After an error there is nothing more.
    ///
    /// A future that is dropped half-way cuts the export short, and the next call says so
    /// ([`ErrorKind::Refused`](crate::ErrorKind::Refused)): begin anew.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(items) = self.reader.next().await? {
            self.exported.revision = self.reader.revision();
            items.iter().for_each(|item| self.exported.count(item));
            let records: Vec<&ChunkRecord> = items
                .iter()
                .filter_map(|item| if let Item::Chunk(record) = item { Some(&**record) } else { None })
                .collect();
            if !records.is_empty() {
                let batch = batch(&records)?;
                self.exported.bytes += batch.get_array_memory_size() as u64;
                return Ok(Some(batch));
            }
        }
        self.exported.revision = self.reader.revision();
        Ok(None)
    }

    /// What was handed over so far; at the end, the whole. Bytes are of memory.
    pub fn exported(&self) -> Exported {
        self.exported
    }
}

/// The batches, each waited for on the calling thread.
#[derive(Debug)]
pub struct Blocking<S>(RecordBatches<S>);

impl<S> Iterator for Blocking<S>
where
    S: Deref<Target: JobStore>,
{
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        block_on(self.0.next()).transpose()
    }
}

impl<S> IntoIterator for RecordBatches<S>
where
    S: Deref<Target: JobStore>,
{
    type Item = Result<RecordBatch>;
    type IntoIter = Blocking<S>;

    fn into_iter(self) -> Blocking<S> {
        Blocking(self)
    }
}

fn batch(records: &[&ChunkRecord]) -> Result<RecordBatch> {
    let columns = COLUMNS.map(|name| column(name, records));
    let columns = columns.into_iter().collect::<Result<Vec<_>, _>>();
    columns.and_then(|columns| RecordBatch::try_new(schema(), columns)).map_err(|e| {
        Error::new(ErrorKind::Internal, format!("a record batch could not be made: {e}")).caused_by(e)
    })
}

fn column(name: &str, records: &[&ChunkRecord]) -> Result<ArrayRef, ArrowError> {
    let number = |of: fn(&ChunkRecord) -> i64| -> ArrayRef {
        let mut column = Int64Builder::with_capacity(records.len());
        records.iter().for_each(|record| column.append_value(of(record)));
        Arc::new(column.finish())
    };
    let text = |of: fn(&ChunkRecord) -> Option<&str>| -> ArrayRef {
        let bytes = records.iter().map(|record| of(record).map_or(0, str::len)).sum();
        let mut column = StringBuilder::with_capacity(records.len(), bytes);
        records.iter().for_each(|record| column.append_option(of(record)));
        Arc::new(column.finish())
    };
    let moment = |of: fn(&ChunkRecord) -> Option<u64>| -> ArrayRef {
        let mut column = TimestampMillisecondBuilder::with_capacity(records.len()).with_timezone(UTC);
        records.iter().for_each(|record| column.append_option(of(record).map(signed)));
        Arc::new(column.finish())
    };
    Ok(match name {
        "job_id" => number(|r| r.state.job_id),
        "chunk" => number(|r| signed(r.state.chunk)),
        "status" => {
            let keys = records.iter().map(|r| key(&JobStatus::ALL, &r.state.status));
            dictionary(keys.collect(), JobStatus::ALL.iter().map(|status| status.as_str()))?
        }
        "checksum" => text(|r| r.state.checksum.as_deref()),
        "observed_checksum" => text(|r| r.state.observed_checksum.as_deref()),
        "payload" => text(|r| r.state.payload.as_ref().map(Json::as_str)),
        "output" => text(|r| r.state.output.as_ref().map(Json::as_str)),
        "error" => text(|r| r.state.error.as_deref()),
        "priority" => {
            let mut column = Int32Builder::with_capacity(records.len());
            records.iter().for_each(|r| column.append_value(r.state.priority));
            Arc::new(column.finish())
        }
        "attempts" => number(|r| r.state.attempts.into()),
        "losses" => number(|r| r.state.losses.into()),
        "attempts_max" => number(|r| r.state.attempts_max.into()),
        "losses_max" => number(|r| r.state.losses_max.into()),
        "on_dependency_failure" => {
            let policy = |r: &ChunkRecord| r.kept.on_dependency_failure;
            let keys = records.iter().map(|r| policy(r).and_then(|p| key(DependencyFailure::ALL, &p)));
            dictionary(keys.collect(), DependencyFailure::ALL.iter().map(|policy| policy.as_str()))?
        }
        "depends_on" => {
            let item = Field::new("item", DataType::Int64, false);
            let mut column = ListBuilder::new(Int64Builder::new()).with_field(item);
            for record in records {
                record.depends_on.iter().for_each(|&on| column.values().append_value(signed(on)));
                column.append(true);
            }
            Arc::new(column.finish())
        }
        "unmet_dependencies" => number(|r| r.state.unmet_dependencies.into()),
        "cancelled_by" => {
            let mut column = Int64Builder::with_capacity(records.len());
            records.iter().for_each(|r| column.append_option(r.kept.cancelled_by.map(signed)));
            Arc::new(column.finish())
        }
        "fence" => number(|r| signed(r.state.fence)),
        "owner" => {
            let mut column = StringBuilder::new();
            records.iter().for_each(|r| column.append_option(r.state.owner.map(|owner| owner.to_string())));
            Arc::new(column.finish())
        }
        "lease_until" => moment(|r| r.state.lease.map(Deadline::at_ms)),
        "not_before" => moment(|r| r.state.not_before.map(Deadline::at_ms)),
        "created_at" => moment(|r| Some(r.state.created_at_ms)),
        "updated_at" => moment(|r| Some(r.state.updated_at_ms)),
        "revision" => number(|r| signed(r.state.revision)),
        other => return Err(ArrowError::SchemaError(format!("there is no column {other:?}"))),
    })
}

/// The place in the dictionary.
fn key<T: PartialEq>(all: &[T], one: &T) -> Option<i8> {
    all.iter().position(|each| each == one).and_then(|at| i8::try_from(at).ok())
}

/// The same words in every batch, so that batches can be put together as they are.
fn dictionary(keys: Int8Array, words: impl Iterator<Item = &'static str>) -> Result<ArrayRef, ArrowError> {
    let words = Arc::new(StringArray::from_iter_values(words));
    Ok(Arc::new(DictionaryArray::<Int8Type>::try_new(keys, words)?))
}

/// Ids, revisions and moments are within 2^53, so the last resort is never taken.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
