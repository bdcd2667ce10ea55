//! A process that is stopped for longer than its lease, and then goes on as if nothing had happened.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use magnetar::{
    Clock, Completion, ErrorKind, ImportOptions, JobSpec, JobStatus, JobStore, NewChunk, OpenOptions,
    SystemClock, block_on, chunks,
};

use crate::child::{Running, say, told, wait_for_go};

const JOB: i64 = 1;

/// The system's clock, ahead by more than the lease: nobody has to wait for it to be over.
#[derive(Debug)]
struct Ahead;

impl Clock for Ahead {
    fn now_ms(&self) -> u64 {
        SystemClock.now_ms() + 20_000
    }
}

#[test]
#[ignore = "a child process of the tests here, which stop it while it holds a chunk"]
fn sleeper() {
    let Some(told) = told() else { return };
    let store = block_on(magnetar::open(&told[0])).expect("the file opens");
    let chunk = block_on(store.claim_pending(JOB)).expect("a claim").expect("one is ready");
    say("held");
    wait_for_go();
    let heartbeat = block_on(store.heartbeat(&chunk.claim())).map_err(|e| e.kind());
    let complete =
        block_on(store.complete(&chunk.claim(), Completion::new().checksum("late"))).map_err(|e| e.kind());
    say(&format!("{heartbeat:?} {complete:?}"));
}

fn signal(name: &str, child: &Running) {
    let status =
        Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill is a command");
    assert!(status.success(), "kill {name}: {status}");
}

/// Stops a child that holds the only chunk, lets `meanwhile` have the store, and gives what the child says after.
fn stop_and_go(folder: &Path, meanwhile: impl Fn(&dyn JobStore)) -> (String, Arc<dyn JobStore>) {
    let path = folder.join("jobs.db");
    let options = OpenOptions::new().clock(Arc::new(Ahead));
    let store = block_on(magnetar::open_with(&path, &options)).expect("a new file");
    let spec = JobSpec::new().lease_ms(1_000);
    block_on(store.import(JOB, &spec, chunks([Ok(NewChunk::new(0))]), &ImportOptions::new()))
        .expect("an import");
    let mut child = Running::start("stopped::sleeper", &[path.to_str().expect("a path in text")]);
    assert_eq!(child.next().as_deref(), Some("held"));
    signal("-STOP", &child);
    meanwhile(&*store);
    signal("-CONT", &child);
    child.go();
    let said = child.next();
    let (ended_well, text) = child.wait();
    assert!(ended_well, "{text}");
    (said.unwrap_or_else(|| panic!("it said nothing: {text}")), store)
}

#[test]
fn a_stopped_process_whose_chunk_was_taken_is_superseded() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (said, store) = stop_and_go(folder.path(), |store| {
        let chunk = block_on(store.claim_pending(JOB)).expect("a claim").expect("the lease is over");
        assert_eq!(chunk.losses, 1);
        block_on(store.heartbeat(&chunk.claim())).expect("it is ours");
    });
    assert_eq!(said, format!("Err({0:?}) Err({0:?})", ErrorKind::Superseded));
    let chunk = block_on(store.get_chunk(JOB, 0)).expect("a whole store").expect("it was imported");
    assert_eq!((chunk.status, chunk.owner), (JobStatus::Processing, Some(store.owner())));
    block_on(store.complete(&chunk.claim(), Completion::new().checksum("ours"))).expect("it is still ours");
}

#[test]
fn a_stopped_process_whose_chunk_was_done_by_another_changes_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (said, store) = stop_and_go(folder.path(), |store| {
        let chunk = block_on(store.claim_pending(JOB)).expect("a claim").expect("the lease is over");
        block_on(store.complete(&chunk.claim(), Completion::new().checksum("ours"))).expect("it is ours");
    });
    assert!(!said.contains("Ok"), "a late worker was let in: {said}");
    let chunk = block_on(store.get_chunk(JOB, 0)).expect("a whole store").expect("it was imported");
    assert_eq!((chunk.status, chunk.observed_checksum.as_deref()), (JobStatus::Done, Some("ours")));
}

#[test]
fn a_stopped_process_whose_chunk_nobody_took_goes_on() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (said, store) = stop_and_go(folder.path(), |store| {
        let pending = block_on(store.resume_pending(JOB)).expect("a look");
        // The lease is over, but its owner lives: either way the claim is still the newest.
        assert_eq!(pending.iter().map(|chunk| chunk.losses).sum::<u32>(), 1);
    });
    assert_eq!(said, "Ok(Changed) Ok(Changed)");
    assert!(block_on(store.get_stats(JOB)).expect("a whole store").is_complete());
}
