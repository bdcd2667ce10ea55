//! Workers work while their store moves from SQLite to redb and back, with errors on the way; other processes on the
//! SQLite file are told where it went.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use magnetar::dual::{Acknowledge, DualOptions, DualStore, MovePhase, MoveSide};
use magnetar::{Clock, ErrorKind, JobStore, OpenOptions, OwnerId, RedbStore, SqliteStore, Storage, block_on};

use crate::child::{Running, say, told, wait_for_go};
use crate::dag::{self, JOB, Tally};
use crate::support::{self, SharedBytes};

const OWNER: OwnerId = OwnerId::from_bytes([9; 16]);
const WORKERS: usize = 8;

fn count() -> u64 {
    support::rounds(1_500, 20_000)
}

/// The host's clock, but for a panic now and then: to a store an error before its write, of unknown outcome.
#[derive(Debug, Default)]
struct Shaky {
    asked: AtomicUsize,
    /// One in so many; 0 for none.
    every: AtomicUsize,
}

impl Clock for Shaky {
    fn now_ms(&self) -> u64 {
        let every = self.every.load(Ordering::SeqCst);
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        if every > 0 && asked % every == every - 1 {
            // No hook is told: it is meant.
            std::panic::resume_unwind(Box::new("an error of the test's own"));
        }
        magnetar::SystemClock.now_ms()
    }
}

/// A disk on which a sync is done and reported as failed now and then: an error after the write.
#[derive(Debug, Clone, Default)]
struct Late {
    bytes: SharedBytes,
    synced: Arc<AtomicUsize>,
    every: Arc<AtomicUsize>,
}

impl Storage for Late {
    fn len(&self) -> io::Result<u64> {
        self.bytes.len()
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.bytes.read(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.set_len(len)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.bytes.write(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        let every = self.every.load(Ordering::SeqCst);
        let synced = self.synced.fetch_add(1, Ordering::SeqCst);
        self.bytes.sync()?;
        if every > 0 && synced % every == every - 1 {
            return Err(io::Error::other("the disk is gone"));
        }
        Ok(())
    }
}

/// What the operator does, again and again until it succeeds.
fn until<T>(dual: &DualStore, what: &str, mut step: impl FnMut() -> magnetar::Result<T>) -> T {
    for _ in 0..200 {
        match step() {
            Ok(answer) => return answer,
            Err(error) => {
                println!("{what}: {error}");
                // Workers do the same.
                let _ = block_on(dual.reopen());
            }
        }
    }
    panic!("{what} never succeeds")
}

fn switch(dual: &DualStore, to: MoveSide) {
    until(dual, "the change of the authority", || {
        let compared = block_on(dual.compare())?;
        assert!(compared.is_equal(), "{compared:#?}");
        match to {
            MoveSide::First => block_on(dual.roll_back()),
            MoveSide::Second => block_on(dual.cut_over()),
        }
    });
    // A worker that opens the stores anew has them be looked at anew.
    assert_ne!(dual.status().authority, Some(to.other()));
}

fn must_be_equal(dual: &DualStore, first: &SqliteStore, second: &RedbStore) {
    until(dual, "catching up", || block_on(dual.catch_up()));
    let [one, other] =
        [block_on(first.digest()).expect("a digest"), block_on(second.digest()).expect("a digest")];
    assert_eq!(one, other);
    assert_eq!(one.chunks, count());
}

/// The whole tour, with an error every so many commits and syncs.
fn tour(acknowledge: Acknowledge, faults_every: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(Shaky::default());
    let options = OpenOptions::new().owner(OWNER).clock(clock.clone());
    let first =
        block_on(SqliteStore::open_with(folder.path().join("jobs.db"), &options)).expect("a new file");
    let disk = Late::default();
    let second = {
        let disk = disk.clone();
        RedbStore::on_storage(move || Ok(disk.clone()), &options).expect("new storage")
    };
    dag::import(&first, count());
    let dual = block_on(DualStore::new(&first, &second, &DualOptions::new().acknowledge(acknowledge)))
        .expect("a new pair");
    clock.every.store(faults_every, Ordering::SeqCst);
    disk.every.store(faults_every, Ordering::SeqCst);
    let tally = Arc::new(Tally::default());
    let store: Arc<dyn JobStore> = Arc::new(dual.clone());
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (store, tally) = (Arc::clone(&store), Arc::clone(&tally));
            scope.spawn(move || dag::work(&store, &tally, 1 + worker % 3));
        }
        tally.wait_for(count() / 5);
        switch(&dual, MoveSide::Second);
        println!("in redb after {} chunks", tally.count());
        tally.wait_for(count() * 2 / 5);
        switch(&dual, MoveSide::First);
        println!("in SQLite after {} chunks", tally.count());
        tally.wait_for(count() * 3 / 5);
        switch(&dual, MoveSide::Second);
        println!("in redb after {} chunks", tally.count());
    });
    clock.every.store(0, Ordering::SeqCst);
    disk.every.store(0, Ordering::SeqCst);
    until(&dual, "the end", || block_on(store.get_stats(JOB)));
    must_be_equal(&dual, &first, &second);
    block_on(tally.must_agree(&*store, count()));
    until(&dual, "taking the pair apart", || block_on(dual.detach()));
    assert_eq!(dual.status().phase, MovePhase::Detached);
    for side in [&first as &dyn JobStore, &second] {
        block_on(side.verify()).expect("nothing is damaged");
    }
    assert_eq!(block_on(first.claim_pending(JOB)).expect_err("it was moved").kind(), ErrorKind::Moved);
    assert_eq!(block_on(second.claim_pending(JOB)).expect("it works").map(|state| state.chunk), None);
}

#[test]
fn workers_go_on_while_their_store_moves_there_and_back() {
    tour(Acknowledge::Authority, 0);
}

#[test]
fn workers_go_on_while_their_store_moves_with_errors_before_and_after_writes() {
    tour(Acknowledge::Authority, 60);
}

#[test]
fn workers_go_on_where_both_stores_are_to_answer() {
    tour(Acknowledge::Both { patience: Duration::from_secs(5) }, 0);
}

#[test]
fn workers_go_on_where_both_stores_are_to_answer_and_errors_come() {
    tour(Acknowledge::Both { patience: Duration::from_secs(5) }, 60);
}

#[test]
#[ignore = "a child process of the test here: a stranger on the SQLite file"]
fn stranger() {
    let Some(told) = told() else { return };
    let store = block_on(magnetar::open(&told[0])).expect("the file opens");
    let claim = block_on(store.claim_pending(JOB)).expect("it works").expect("something is ready");
    say(&claim.chunk.to_string());
    wait_for_go();
    // Every way to change something says the same.
    let complete = block_on(store.complete(&claim.claim(), magnetar::Completion::new()));
    let answers = [
        complete.map(drop),
        block_on(store.claim_pending(JOB)).map(drop),
        block_on(store.heartbeat(&claim.claim())).map(drop),
        block_on(store.release(&claim.claim())).map(drop),
        block_on(store.new_job(&magnetar::JobSpec::new())).map(drop),
        block_on(store.delete_job(JOB)).map(drop),
        block_on(store.cancel(JOB, magnetar::Selection::All)).map(drop),
        block_on(store.resume_pending(JOB)).map(drop),
        block_on(store.init_from_manifest(JOB, &magnetar::Manifest::default())).map(drop),
        block_on(store.register_consumer("me")).map(drop),
    ];
    for answer in answers {
        let error = answer.expect_err("it was moved");
        assert_eq!(error.kind(), ErrorKind::Moved, "{error:?}");
        assert!(error.to_string().contains("jobs.redb"), "{error}");
    }
    let revision = block_on(store.changes(0, 1)).map_or(0, |changes| changes.next);
    block_on(store.close()).expect("it closes");
    say(&format!("moved {revision}"));
}

#[test]
fn other_processes_on_the_file_are_told_that_it_moved_and_change_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (folder.path().join("jobs.db"), folder.path().join("jobs.redb"));
    let dual =
        block_on(DualStore::open(&old, &new, &OpenOptions::new(), &DualOptions::new())).expect("a pair");
    dag::import(&dual, 40);
    let mut stranger = Running::start("live::stranger", &[old.to_str().expect("a path in text")]);
    let chunk: u64 = stranger.next().expect("it claims").parse().expect("a chunk");
    // What another process did is copied too.
    block_on(dual.catch_up()).expect("the copy gets on");
    block_on(dual.cut_over()).expect("nothing stands in the way");
    let held = block_on(dual.get_chunk(JOB, chunk)).expect("it can be read").expect("it is there");
    assert_eq!(held.status, magnetar::JobStatus::Processing);
    let before = Mutex::new(block_on(dual.digest()).expect("a digest"));
    stranger.go();
    assert!(stranger.next().is_some_and(|said| said.starts_with("moved")), "{:?}", stranger.wait());
    let (well, said) = stranger.wait();
    assert!(well, "{said}");
    // Whoever knows the claim can end it in the new store, under the fence that it has.
    let claim = held.claim();
    let before = before.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(block_on(dual.digest()).expect("a digest"), before);
    let result = magnetar::Completion::new().checksum(format!("sum {chunk}"));
    block_on(dual.complete(&claim, result)).expect("the fence is the same");
    block_on(dual.detach()).expect("the pair ends");
    block_on(dual.close()).expect("it closes");
    // For good: also for those who open it later.
    let later = block_on(magnetar::open(&old)).expect("it can be read");
    assert_eq!(block_on(later.claim_pending(JOB)).expect_err("it was moved").kind(), ErrorKind::Moved);
    assert_eq!(block_on(later.get_stats(JOB)).expect("it can be read").total_chunks, 40);
}
