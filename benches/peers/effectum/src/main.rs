//! effectum, used as its documentation says: jobs are added, a worker runs them.
//!
//! `bench-effectum WORKERS SECONDS CHUNKS FOLDER` prints what it came to as a line of JSON.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use effectum::{Job, JobRunner, Queue, RunningJob, Worker};

type Fault = Box<dyn std::error::Error>;

async fn chunk(_job: RunningJob, _context: ()) -> Result<(), String> {
    Ok(())
}

async fn work(workers: u16, seconds: f64, chunks: usize, folder: &Path) -> Result<(), Fault> {
    let queue = Queue::new(&folder.join("effectum.db")).await?;
    let mut left = chunks;
    while left > 0 {
        let many = left.min(5_000);
        queue.add_jobs((0..many).map(|_| Job::builder("chunk").build()).collect()).await?;
        left -= many;
    }
    let began_us = now_us();
    let began = Instant::now();
    let runner = JobRunner::builder("chunk", chunk).build();
    let worker = Worker::builder(&queue, ()).max_concurrency(workers).jobs([runner]).build().await?;
    while began.elapsed().as_secs_f64() < seconds && worker.counts().finished < chunks as u64 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Counted once its completion was acknowledged.
    let cycles = worker.counts().finished;
    let seconds = began.elapsed().as_secs_f64();
    let ended_us = now_us();
    println!(
        "{}",
        serde_json::json!({"cycles": cycles, "seconds": seconds, "began_us": began_us, "ended_us": ended_us})
    );
    worker.unregister(None).await?;
    queue.close(Duration::from_secs(5)).await?;
    Ok(())
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn main() -> Result<(), Fault> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [workers, seconds, chunks, folder] = &arguments[..] else {
        return Err("bench-effectum WORKERS SECONDS CHUNKS FOLDER".into());
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(work(workers.parse()?, seconds.parse()?, chunks.parse()?, Path::new(folder)))
}
