//! A job, its Parquet file, and a query on it: how many lines have the sources of this crate, and what went wrong?
//!
//! `cargo run --example analytics --features analytics`; it leaves nothing behind. Polars and DuckDB read the same
//! file: `SELECT status, count(*) FROM 'chunks.parquet' GROUP BY status`.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use magnetar::export::Export;
use magnetar::export::arrow_array::cast::AsArray;
use magnetar::export::arrow_array::types::{Int8Type, TimestampMillisecondType};
use magnetar::export::arrow_array::{DictionaryArray, RecordBatch, StringArray};
use magnetar::{Completion, JobSpec, JobStore, Json, Manifest, NewChunk};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

const JOB: i64 = 1;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("chunks.parquet");
    magnetar::block_on(async {
        let store = magnetar::open(":memory:").await?;
        count_lines(&*store).await?;
        let file = File::create(&path)?;
        let done = Export::new(store.clone()).parquet(file).await?;
        println!("{} chunks in {} bytes of Parquet\n", done.chunks, done.bytes);
        store.close().await?;
        Ok::<(), Box<dyn std::error::Error>>(())
    })?;
    query(&path)?;
    Ok(())
}

/// The job: a chunk for each source file, and one for a file that is not there.
async fn count_lines(store: &dyn JobStore) -> Result<(), Box<dyn std::error::Error>> {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files)?;
    files.push(PathBuf::from("no/such/file.rs"));
    let chunks = files.iter().zip(0..).map(|(path, id)| {
        Ok(NewChunk::new(id).attempts_max(1).payload(Json::new(&serde_json::json!({ "path": path }))?))
    });
    let chunks = chunks.collect::<magnetar::Result<Vec<_>>>()?;
    let manifest = Manifest::new().job(JobSpec::new().name("lines")).chunks(chunks);
    store.init_from_manifest(JOB, &manifest).await?;

    while let Some(chunk) = store.claim_pending(JOB).await? {
        let path: Option<PathBuf> =
            chunk.payload.as_ref().map(|payload| payload.get("path")).transpose()?.flatten();
        match std::fs::read_to_string(path.unwrap_or_default()) {
            Ok(text) => {
                let output = Json::new(&serde_json::json!({ "lines": text.lines().count() }))?;
                store.complete(&chunk.claim(), Completion::new().output(output)).await?;
            }
            Err(error) => {
                store.fail(&chunk.claim(), &error.to_string()).await?;
            }
        }
    }
    Ok(())
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut entries = std::fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
    entries.sort_by_key(std::fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, files)?;
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// `SELECT status, count(*), sum(output.lines), min(created_at), max(updated_at) GROUP BY status`, and the errors.
fn query(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
    // Only the columns that are asked about are read from the file.
    let columns = ["status", "output", "error", "created_at", "updated_at"];
    let projection = ProjectionMask::columns(reader.parquet_schema(), columns);
    let mut groups: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut errors: BTreeMap<String, u64> = BTreeMap::new();
    let (mut first_ms, mut last_ms) = (i64::MAX, i64::MIN);
    for batch in reader.with_projection(projection).build()? {
        let batch: RecordBatch = batch?;
        let column =
            |name: &str| batch.column_by_name(name).ok_or("the file has the columns of every export");
        let statuses = column("status")?.as_dictionary_opt::<Int8Type>();
        let statuses = statuses.and_then(DictionaryArray::downcast_dict::<StringArray>);
        let statuses = statuses.ok_or("statuses are words")?;
        let times = |name| Ok::<_, &str>(column(name)?.as_primitive::<TimestampMillisecondType>().values());
        first_ms = times("created_at")?.iter().copied().fold(first_ms, i64::min);
        last_ms = times("updated_at")?.iter().copied().fold(last_ms, i64::max);
        let outputs = column("output")?.as_string::<i32>();
        for (status, output) in statuses.into_iter().zip(outputs) {
            let group = groups.entry(status.unwrap_or_default().to_owned()).or_default();
            group.0 += 1;
            if let Some(output) = output {
                group.1 += Json::from_text(output)?.get::<u64>("lines")?.unwrap_or_default();
            }
        }
        for error in column("error")?.as_string::<i32>().iter().flatten() {
            *errors.entry(error.to_owned()).or_default() += 1;
        }
    }
    println!("{:10} {:>7} {:>9}", "status", "chunks", "lines");
    for (status, (chunks, lines)) in &groups {
        println!("{status:10} {chunks:>7} {lines:>9}");
    }
    println!();
    for (error, count) in &errors {
        println!("{count} failed with: {error}");
    }
    println!("all within {} ms", last_ms - first_ms);
    assert!(groups["done"].0 > 0 && groups["done"].1 > 0, "the sources have lines");
    assert_eq!(groups["failed"], (1, 0), "one file is not there");
    Ok(())
}
