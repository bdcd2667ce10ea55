//! Nothing is lost when a process dies: a real child process is killed in the middle of its work, and its claims are back at once.
//!
//! `cargo run --example crash_recovery --features redb` shows it on SQLite and on redb; each is skipped where it is not
//! compiled in.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use magnetar::worker::{Context, Worker};
use magnetar::{Completion, ErrorKind, JobSpec, NewChunk, block_on};

const JOB: i64 = 1;
const CHUNKS: u64 = 12;
const DONE_BEFORE_CRASH: u64 = 5;
const CONCURRENCY: usize = 4;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(path) = std::env::args_os().nth(1) {
        return work_and_hang(Path::new(&path));
    }
    for file in ["jobs.db", "jobs.redb"] {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join(file);
        match block_on(prepare(&path)) {
            Err(missing) if missing.kind() == ErrorKind::BackendMissing => {
                println!("{file}: skipped: {missing}");
            }
            prepared => {
                prepared?;
                println!("{file}");
                crash(&path)?;
                block_on(recover(&path))?;
            }
        }
    }
    Ok(())
}

async fn prepare(path: &Path) -> magnetar::Result<()> {
    let store = magnetar::open(path).await?;
    let chunks = magnetar::chunks((0..CHUNKS).map(|id| Ok(NewChunk::new(id))));
    store.import(JOB, &JobSpec::new(), chunks, &magnetar::ImportOptions::new()).await?;
    store.close().await
}

/// The child: finishes some chunks, then holds on to others for ever.
fn work_and_hang(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let store = block_on(magnetar::open(path))?;
    let worker = Worker::new(store).job(JOB).concurrency(CONCURRENCY);
    block_on(worker.run_blocking(|context: &Context| {
        if context.chunk() < DONE_BEFORE_CRASH {
            return Ok::<_, String>(Completion::new());
        }
        println!("{}", context.chunk());
        loop {
            std::thread::park();
        }
    }))?;
    Ok(())
}

/// Starts the child and kills it once it is in the middle of as many chunks as it can hold.
fn crash(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut child = Command::new(std::env::current_exe()?).arg(path).stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(child.stdout.take().expect("the output is piped")).lines();
    let mut held = lines.take(CONCURRENCY).collect::<Result<Vec<_>, _>>()?;
    held.sort_unstable();
    child.kill()?; // SIGKILL: no goodbye, no clean-up
    let status = child.wait()?;
    println!("  process {} was working on chunks {} and ended with {status}", child.id(), held.join(", "));
    assert_eq!(held.len(), CONCURRENCY, "the child stopped before it could be killed");
    Ok(())
}

async fn recover(path: &Path) -> magnetar::Result<()> {
    let store = magnetar::open(path).await?;
    let pending = store.resume_pending(JOB).await?;
    let stats = store.get_stats(JOB).await?;
    println!(
        "  opened again: {} done, {} processing, {} pending",
        stats.done, stats.processing, stats.pending
    );
    // Their leases had most of a minute to run: the dead process's lock told, not the clock.
    let lost: Vec<_> =
        pending.iter().filter(|chunk| chunk.losses > 0).map(|chunk| chunk.chunk.to_string()).collect();
    println!("  back from the dead process: chunks {}", lost.join(", "));
    assert_eq!((stats.done, lost.len()), (DONE_BEFORE_CRASH, CONCURRENCY));

    let handler = async |_: Context| Ok::<_, String>(Completion::new());
    let summary = Worker::new(store.clone()).job(JOB).concurrency(CONCURRENCY).run(handler).await?;
    println!("  {summary}");
    assert_eq!(summary.completed, CHUNKS - DONE_BEFORE_CRASH, "what was done is not done again");
    assert!(store.get_stats(JOB).await?.is_complete());
    store.close().await
}
