//! Chunks with long payloads pass through operations on many of them, and nobody holds them all at once. One test in a
//! binary of its own: it measures the whole process, so the store is filled by another one.
#![allow(missing_docs, reason = "a test crate documents itself by its names")]
#![cfg(all(feature = "sqlite", feature = "redb", target_os = "linux"))]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use magnetar::{
    ChunkUpdate, Completion, ImportOptions, JobSpec, JobStatus, JobStore, Json, NewChunk, OpenOptions,
    ResetReach, Selection, block_on,
};

use support::ManualClock;

/// Asks this binary to fill a file instead.
const FILL: &str = "MAGNETAR_FILL";

const DELAYED: i64 = 1;
const FAN: i64 = 2;
/// Chunks of each job.
const CHUNKS: u64 = 1_000;
/// Of one payload. All of a job's are 128 MiB.
const PAYLOAD_BYTES: usize = 128 << 10;
/// When the delayed ones fall due.
const DUE_MS: u64 = 2_000_000_000_000;

fn text() -> Json {
    Json::new(&"x".repeat(PAYLOAD_BYTES)).expect("a text has a JSON form")
}

fn open(path: &Path, clock: &Arc<ManualClock>) -> Arc<dyn JobStore> {
    let options = OpenOptions::new().cache_bytes(8 << 20).clock(clock.clone());
    block_on(magnetar::open_with(path, &options)).expect("it opens")
}

fn fill(path: &Path) {
    let store = open(path, &Arc::new(ManualClock::at(DUE_MS - 1)));
    let payload = text();
    let delayed = (0..CHUNKS).map(|id| NewChunk::new(id).payload(payload.clone()).not_before_ms(DUE_MS));
    // All but the first wait for it.
    let fan = (0..CHUNKS).map(|id| match id {
        0 => NewChunk::new(id),
        _ => NewChunk::new(id).payload(payload.clone()).depends_on([0]),
    });
    let (spec, options) = (JobSpec::new(), ImportOptions::new());
    block_on(store.import(DELAYED, &spec, magnetar::chunks(delayed.map(Ok)), &options)).expect("imported");
    block_on(store.import(FAN, &spec, magnetar::chunks(fan.map(Ok)), &options)).expect("imported");
    block_on(store.close()).expect("it closes");
}

/// The most memory that this process ever had, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the peak");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("in KiB") / 1024
}

async fn work(store: &dyn JobStore) -> magnetar::Result<()> {
    let told = |what: &str| println!("  {what}: peak {} MiB", peak_mib());
    // The claim's commit has all delayed ones fall due, the completion's has all that wait become ready.
    let first = store.claim_pending(FAN).await?.expect("it waits for none");
    told("falling due");
    store.complete(&first.claim(), Completion::new()).await?;
    told("becoming ready");
    let all = || Selection::Chunks((0..CHUNKS).collect());
    assert_eq!(store.cancel(DELAYED, all()).await?, CHUNKS);
    let cancelled = store.info().await?.revision;
    assert_eq!(store.retry_failed(DELAYED, all()).await?, CHUNKS);
    told("named ones cancelled and retried");
    // What is told of the cancelling is out of date; nothing is handed over.
    let page = store.changes(cancelled - CHUNKS, usize::try_from(CHUNKS).expect("few")).await?;
    assert!(page.changes.is_empty());
    told("passed over in the feed");
    let output = text();
    for _ in 0..CHUNKS / 100 {
        let held = store.claim_pending_batch(DELAYED, 100).await?;
        let done = |chunk: &magnetar::JobState| {
            ChunkUpdate::Complete(chunk.claim(), Completion::new().output(output.clone()))
        };
        store.apply_batch_updates(DELAYED, held.iter().map(done).collect()).await?;
    }
    told("completed with outputs as long");
    assert_eq!(store.reset(DELAYED, all(), ResetReach::Direct).await?, CHUNKS);
    told("reset");
    let mark = |chunk| ChunkUpdate::Mark { chunk, status: JobStatus::Done, detail: None };
    store.apply_batch_updates(DELAYED, (0..CHUNKS).map(mark).collect()).await?;
    told("marked");
    store.close().await
}

#[test]
fn operations_on_many_chunks_hold_no_more_than_some_of_their_payloads() {
    if let Some(path) = std::env::var_os(FILL) {
        return fill(Path::new(&path));
    }
    let folder = tempfile::tempdir().expect("a folder");
    // SQLite hands rows over in packs, of which some copies are on their way.
    for (name, most) in [("jobs.redb", 100), ("jobs.db", 240)] {
        println!("{name}");
        let path = folder.path().join(name);
        let me = std::env::current_exe().expect("a test has a binary");
        let filled = Command::new(me).env(FILL, &path).status().expect("it starts");
        assert!(filled.success(), "{filled}");
        block_on(work(&*open(&path, &Arc::new(ManualClock::at(DUE_MS))))).expect("it goes through");
        assert!(peak_mib() < most, "{name}: {} MiB at the peak", peak_mib());
    }
}
