//! Parquet: one row per chunk, in row groups of bounded memory.

use std::io::Write;
use std::ops::Deref;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::{Compression, Encoding};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::schema::types::ColumnPath;

use super::arrow::schema;
use super::{Export, Exported};
use crate::error::{Error, ErrorKind, Result};
use crate::store::JobStore;

/// Rows of one row group: few enough to skip by, many enough to compress.
const ROW_GROUP_ROWS: usize = 100_000;

/// A row group ends early once what it holds in memory comes to this much.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// Columns whose numbers mostly follow one another: the steps between them are far smaller than a list of them.
const RISING: [&str; 5] = ["chunk", "fence", "revision", "created_at", "updated_at"];

impl<S> Export<S>
where
    S: Deref<Target: JobStore>,
{
    /// Writes a Parquet file. Native, with the feature `analytics`.
    ///
    /// Columns are typed as [the module](super) lists them and compressed with Snappy, which every reader knows. Each
    /// row group has at most 100,000 rows and about 32 MiB, with the least and the greatest value of every column and
    /// of every page, so that a query for one job or one status skips the rest. The key `magnetar.revision` of the
    /// file's metadata is [`Exported::revision`].
    ///
    /// A file is readable once this returns `Ok`; a future that is dropped half-way leaves one that is not. The sink is written to on the task that calls.
    ///
    /// ```
    /// # magnetar::block_on(async {
    /// # let store = magnetar::open(":memory:").await?;
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("jobs.parquet");
    /// let file = std::fs::File::create(path)?;
    /// let done = magnetar::export::Export::new(store.clone()).parquet(file).await?;
    /// assert_eq!(done.chunks, 0);
    /// # store.close().await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub async fn parquet(self, sink: impl Write + Send) -> Result<Exported> {
        let mut batches = self.record_batches();
        let mut writer = ArrowWriter::try_new(sink, schema(), Some(properties())).map_err(failed)?;
        while let Some(batch) = batches.next().await? {
            writer.write(&batch).map_err(failed)?;
        }
        let mut exported = batches.exported();
        writer.append_key_value_metadata(KeyValue::new(
            "magnetar.revision".to_owned(),
            exported.revision.to_string(),
        ));
        writer.finish().map_err(failed)?;
        exported.bytes = writer.bytes_written() as u64;
        Ok(exported)
    }
}

fn properties() -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("magnetar ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES));
    for column in RISING {
        let path = ColumnPath::from(column);
        properties = properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
    }
    properties.build()
}

#[cold]
fn failed(cause: ParquetError) -> Error {
    let text = format!(
        "the Parquet file could not be written: {cause}; free the place that it goes to and begin anew"
    );
    Error::new(ErrorKind::Io, text).caused_by(cause)
}
