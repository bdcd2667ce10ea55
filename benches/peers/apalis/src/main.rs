//! apalis-sqlite, used as its documentation says: a pool, its own set-up, a worker.
//!
//! `bench-apalis WORKERS SECONDS CHUNKS FOLDER` prints what it came to as a line of JSON.

use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use apalis::prelude::*;
use apalis_sqlite::{Config, SqliteConnectOptions, SqlitePool, SqliteStorage};
use futures_util::stream;

type Fault = Box<dyn std::error::Error + Send + Sync>;

async fn work(workers: usize, seconds: f64, chunks: u64, folder: &Path) -> Result<(), Fault> {
    let options = SqliteConnectOptions::new().filename(folder.join("apalis.db")).create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await?;
    SqliteStorage::setup(&pool).await?;
    // It fetches in batches, of 10 unless it is told; a batch smaller than the workers would let some of them wait.
    let config = Config::default().batch_size(workers.max(10));
    let mut backend = SqliteStorage::<u64>::new(&pool).with_config(config);
    let mut items = stream::iter(0..chunks);
    backend.push_stream(&mut items).await?;

    let began_us = now_us();
    let began = Instant::now();
    let chunk = move |chunk: u64, worker: WorkerContext| async move {
        if began.elapsed().as_secs_f64() >= seconds || chunk + 1 == chunks {
            worker.stop()?;
        }
        Ok::<(), BoxDynError>(())
    };
    WorkerBuilder::new("bench").backend(backend).concurrency(workers).build(chunk).run().await?;
    let seconds = began.elapsed().as_secs_f64();
    let ended_us = now_us();
    // Counted once its completion was committed.
    let cycles: i64 =
        sqlx::query_scalar("SELECT count(*) FROM Jobs WHERE status = 'Done'").fetch_one(&pool).await?;
    println!(
        "{}",
        serde_json::json!({"cycles": cycles, "seconds": seconds, "began_us": began_us, "ended_us": ended_us})
    );
    Ok(())
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn main() -> Result<(), Fault> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [workers, seconds, chunks, folder] = &arguments[..] else {
        return Err("bench-apalis WORKERS SECONDS CHUNKS FOLDER".into());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(work(workers.parse()?, seconds.parse()?, chunks.parse()?, Path::new(folder)))
}
