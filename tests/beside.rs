//! Calls beside each other that must not get in each other's way: claims beside deaths, endings beside closing, imports
//! beside imports and deletions.
#![allow(missing_docs, reason = "a test crate documents itself by its names")]
#![cfg(all(feature = "sqlite", feature = "redb"))]

#[path = "support/bytes.rs"]
#[allow(dead_code, reason = "each test binary uses a part of it")]
mod bytes;

use std::cell::Cell;
use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use magnetar::{
    Backoff, Change, ChunkStream, Clock, Completion, DependencyFailure, ErrorKind, ImportOptions, JobSpec,
    JobStatus, JobStore, NewChunk, OpenOptions, OwnerId, RedbStore, Retry, SqliteStore, Storage, block_on,
    chunks, worker,
};

use bytes::SharedBytes;

#[derive(Debug)]
struct ManualClock(AtomicU64);

impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// More than one commit of an import takes.
const LARGE: u64 = 50_010;

fn first(count: u64) -> ChunkStream<'static> {
    chunks((0..count).map(|id| Ok(NewChunk::new(id))))
}

/// A large import that does something when it has come to its second slice.
fn with_a_pause<'a>(mut pause: impl FnMut() + Send + 'a) -> ChunkStream<'a> {
    chunks((0..LARGE).map(move |id| {
        if id == LARGE - 1 {
            pause();
        }
        Ok(NewChunk::new(id))
    }))
}

fn import<'a>(store: &'a dyn JobStore, stream: ChunkStream<'a>) -> magnetar::Result<magnetar::ImportReport> {
    block_on(store.import(1, &JobSpec::new(), stream, &ImportOptions::new()))
}

#[test]
fn a_claim_of_a_dead_owners_chunk_whose_lease_is_over_is_not_taken_for_the_dead_owners() {
    for initial_ms in [0, 1_000] {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(ManualClock(AtomicU64::new(1_000_000)));
        let options = OpenOptions::new().clock(Arc::clone(&clock) as Arc<dyn Clock>);
        let open =
            || block_on(SqliteStore::open_with(folder.path().join("jobs.db"), &options)).expect("it opens");
        let (dies, lives) = (open(), open());
        let spec = JobSpec::new().backoff(Backoff::new().initial_ms(initial_ms).max_ms(10_000));
        block_on(dies.import(1, &spec, first(1), &ImportOptions::new())).expect("it is imported");
        block_on(dies.claim_pending(1)).expect("it is ready").expect("one");
        drop(dies);
        clock.0.fetch_add(120_000, Ordering::SeqCst);
        let claimed = block_on(lives.claim_pending_batch(1, 2)).expect("it is back");
        assert_eq!(claimed.len(), 1, "the chunk is handed out once");
        assert_eq!((claimed[0].status, claimed[0].losses), (JobStatus::Processing, 1));
        block_on(lives.complete(&claimed[0].claim(), Completion::new())).expect("the claim is open");
    }
}

/// It goes on with what it held in its earlier life, which is nobody else's for as long as it lives.
#[test]
fn a_client_that_opens_the_store_again_is_not_taken_for_dead_before_it_claims() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("jobs.db");
    let options = OpenOptions::new().owner(OwnerId::from_bytes([7; 16]));
    let open = || block_on(SqliteStore::open_with(&path, &options)).expect("it opens");
    let before = open();
    block_on(before.import(1, &JobSpec::new(), first(1), &ImportOptions::new())).expect("it is imported");
    let held = block_on(before.claim_pending(1)).expect("it works").expect("it is ready");
    drop(before);

    let again = open();
    let other = block_on(SqliteStore::open(&path)).expect("it opens");
    let pending = block_on(other.resume_pending(1)).expect("it works");
    assert_eq!(pending, [], "its holder lives");
    block_on(again.heartbeat(&held.claim())).expect("the claim is open");
    drop(again);
    let pending = block_on(other.resume_pending(1)).expect("it works");
    assert_eq!((pending.len(), pending[0].losses), (1, 1), "its holder is dead");
}

#[test]
fn closing_beside_a_completion_ends_both_well() {
    let store = RedbStore::in_memory().expect("it opens");
    import(&store, first(3)).expect("it is imported");
    let held = block_on(store.claim_pending_batch(1, 3)).expect("they are ready");
    let (done, released) = block_on(async {
        futures_util::future::join(store.complete(&held[0].claim(), Completion::new()), store.release_all())
            .await
    });
    done.expect("it was held");
    assert_eq!(released.expect("the rest is given back"), 2);
    let stats = block_on(store.get_stats(1)).expect("the job exists");
    assert_eq!((stats.done, stats.pending, stats.processing), (1, 2, 0));
}

#[test]
fn a_claim_that_comes_between_is_given_back_by_closing_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = || block_on(SqliteStore::open(folder.path().join("jobs.db"))).expect("it opens");
    let store = open();
    import(&store, first(3)).expect("it is imported");
    let (closed, claimed) =
        block_on(futures_util::future::join(store.close(), store.claim_pending_batch(1, 2)));
    closed.expect("nothing is in the way");
    assert_eq!(claimed.expect("it came before the end").len(), 2);
    // While the handle, and with it the owner, is still there.
    let other = open();
    let stats = block_on(other.get_stats(1)).expect("the job exists");
    assert_eq!((stats.pending, stats.processing), (3, 0));
    drop(store);
}

/// An executor that only waits: it never drives a store by itself.
fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn every_call_after_close_is_answered() {
    let store = RedbStore::in_memory().expect("it opens");
    wait(store.close()).expect("it closes");
    for answer in [wait(store.verify()), wait(store.reopen()), wait(store.close())] {
        assert_eq!(answer.unwrap_err().kind(), ErrorKind::Closed);
    }
}

#[test]
fn a_call_begun_under_block_on_is_finished_by_another_executor() {
    let store = RedbStore::in_memory().expect("it opens");
    let spec = JobSpec::new();
    let mut call = Box::pin(store.new_job(&spec));
    block_on(std::future::poll_fn(|context| {
        assert!(call.as_mut().poll(context).is_pending());
        Poll::Ready(())
    }));
    assert_eq!(wait(call).expect("it is created"), 1);
}

#[test]
fn another_policy_of_the_job_counts_for_failures_that_were_there() {
    let pair = || chunks([Ok(NewChunk::new(1)), Ok(NewChunk::new(2).depends_on([1]))]);
    for (policy, status) in
        [(DependencyFailure::Ignore, JobStatus::Pending), (DependencyFailure::Cancel, JobStatus::Cancelled)]
    {
        let store = RedbStore::in_memory().expect("it opens");
        import(&store, pair()).expect("it is imported");
        block_on(store.mark_failed(1, 1, "no".into())).expect("it is failed");
        let spec = JobSpec::new().on_dependency_failure(policy);
        block_on(store.import(1, &spec, pair(), &ImportOptions::new())).expect("the policy changes");
        let dependent = block_on(store.get_chunk(1, 2)).expect("the job exists").expect("the chunk too");
        assert_eq!((dependent.status, dependent.is_ready()), (status, policy == DependencyFailure::Ignore));
    }
}

#[test]
fn an_import_into_a_job_that_is_being_imported_waits_its_turn() {
    let store = RedbStore::in_memory().expect("it opens");
    let pause = || {
        assert_eq!(import(&store, first(3)).unwrap_err().kind(), ErrorKind::Busy);
        assert_eq!(block_on(store.delete_job(1)).unwrap_err().kind(), ErrorKind::Busy);
    };
    assert_eq!(import(&store, with_a_pause(pause)).expect("the first one goes through").added, LARGE);
    assert_eq!(import(&store, first(3)).expect("now it is its turn").unchanged, 3);
    block_on(store.verify()).expect("nothing is mixed up");
}

#[test]
fn an_import_whose_process_died_is_taken_back_by_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = || block_on(SqliteStore::open(folder.path().join("jobs.db"))).expect("it opens");
    let dies = open();
    let end = catch_unwind(AssertUnwindSafe(|| import(&dies, with_a_pause(|| panic!("the importer dies")))));
    assert!(end.is_err());
    drop(dies);
    let next = open();
    assert_eq!(import(&next, first(3)).expect("nobody stands in the way").added, 3);
    // The feed goes on behind what was taken back.
    let (mut since, mut told) = (0, Vec::new());
    loop {
        let page = block_on(next.changes(since, 10_000)).expect("the feed is there");
        told.extend(page.changes);
        since = page.next;
        if !page.more {
            break;
        }
    }
    assert!(matches!(told.first(), Some(Change::Job { .. })), "the job before its chunks");
    assert_eq!(told.iter().filter(|change| matches!(change, Change::Chunk { .. })).count(), 3);
}

#[test]
fn a_job_deleted_while_a_large_import_is_compared_with_it_is_not_half_there_again() {
    let store = RedbStore::in_memory().expect("it opens");
    import(&store, with_a_pause(|| {})).expect("it is imported");
    let pause = || {
        block_on(store.delete_job(1)).expect("it is deleted");
    };
    assert_eq!(import(&store, with_a_pause(pause)).unwrap_err().kind(), ErrorKind::Busy);
    assert_eq!(block_on(store.get_stats(1)).unwrap_err().kind(), ErrorKind::JobNotFound);
}

#[test]
fn a_job_made_anew_while_a_large_import_is_compared_with_the_old_one_is_not_taken_for_that() {
    // As large as it was and a moment later, or smaller and in the same one.
    for (later_ms, again) in [(1, LARGE), (0, 3)] {
        let clock = Arc::new(ManualClock(AtomicU64::new(1_000_000)));
        let options = OpenOptions::new().clock(Arc::clone(&clock) as Arc<dyn Clock>);
        let store = RedbStore::in_memory_with(&options).expect("it opens");
        import(&store, first(LARGE)).expect("it is imported");
        let pause = || {
            block_on(store.delete_job(1)).expect("it is deleted");
            clock.0.fetch_add(later_ms, Ordering::SeqCst);
            import(&store, first(again)).expect("it is imported");
        };
        assert_eq!(import(&store, with_a_pause(pause)).unwrap_err().kind(), ErrorKind::Busy);
        assert_eq!(block_on(store.get_stats(1)).expect("the job exists").total_chunks, again);
    }
}

#[test]
fn an_import_of_this_clients_own_earlier_life_is_taken_back_when_it_opens_the_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, killed) = (folder.path().join("jobs.redb"), folder.path().join("killed.redb"));
    let options = OpenOptions::new().owner(OwnerId::from_bytes([5; 16]));
    let dies = RedbStore::open_with(&path, &options).expect("it opens");
    // The files as they stand there: a process that is killed leaves such.
    let stream = with_a_pause(|| assert!(std::fs::copy(&path, &killed).is_ok(), "it is copied"));
    import(&dies, stream).expect("it goes on in the original");
    let lives = RedbStore::open_with(&killed, &options).expect("it opens");
    let job = block_on(lives.new_job(&JobSpec::new())).expect("it is created");
    let page = block_on(lives.changes(0, 100)).expect("the feed is there");
    assert!(
        matches!(&page.changes[..], [Change::Job { job: told, .. }] if told.job_id == job),
        "the feed waits for what nobody goes on with: {:?}",
        page.changes
    );
    block_on(lives.verify()).expect("nothing is left of it");
}

#[test]
fn another_opening_reads_a_redb_file_beside_its_writer_and_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("jobs.redb");
    let writer = RedbStore::open_with(&path, &OpenOptions::new().shared_readers()).expect("it opens");
    import(&writer, first(3)).expect("it is imported");
    let reader = RedbStore::open_read_only(&path).expect("it opens beside the writer");
    assert_eq!(block_on(reader.get_stats(1)).expect("the job is there").total_chunks, 3);
    assert_eq!(block_on(reader.claim_pending(1)).unwrap_err().kind(), ErrorKind::Unsupported);
    block_on(writer.claim_pending(1)).expect("the writer writes").expect("one is ready");
    assert_eq!(block_on(reader.get_stats(1)).expect("the job is there").processing, 1);
    assert_eq!(RedbStore::open(&path).unwrap_err().kind(), ErrorKind::Locked);
    block_on(reader.close()).expect("it closes");
    block_on(writer.close()).expect("it closes");
}

#[test]
fn a_store_that_is_opened_for_reading_is_reopened_as_one_and_as_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let shared = OpenOptions::new().shared_readers();
    let writer = RedbStore::open_with(path("jobs.redb"), &shared).expect("it opens");
    import(&writer, first(3)).expect("it is imported");
    let reader = RedbStore::open_read_only(path("jobs.redb")).expect("it opens beside the writer");
    block_on(writer.claim_pending(1)).expect("the writer writes").expect("one is ready");
    block_on(reader.reopen()).expect("it is there");
    assert_eq!(block_on(reader.get_stats(1)).expect("the job is there").processing, 1);
    assert_eq!(block_on(reader.claim_pending(1)).unwrap_err().kind(), ErrorKind::Unsupported);
    block_on(writer.close()).expect("it closes");
    block_on(RedbStore::open(path("other.redb")).expect("it opens").close()).expect("it closes");
    std::fs::rename(path("other.redb"), path("jobs.redb")).expect("it is moved");
    let refused = block_on(reader.reopen()).expect_err("it is another one");
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
}

#[test]
fn a_store_is_not_reopened_as_another_one_or_as_a_new_one() {
    type Open = fn(&std::path::Path) -> Arc<dyn JobStore>;
    let engines: [(&str, Open); 2] = [
        ("jobs.db", |path| Arc::new(block_on(SqliteStore::open(path)).expect("it opens"))),
        ("jobs.redb", |path| Arc::new(RedbStore::open(path).expect("it opens"))),
    ];
    for (name, open) in engines {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, other, away) = (
            folder.path().join(name),
            folder.path().join(format!("other-{name}")),
            folder.path().join("away"),
        );
        let another = open(&other);
        import(&*another, first(1)).expect("it is imported");
        block_on(another.close()).expect("it closes");
        let store = open(&path);
        import(&*store, first(3)).expect("it is imported");
        // SQLite moves everything into the file when the last connection closes.
        block_on(store.close()).expect("it closes");
        let store = open(&path);
        std::fs::rename(&path, &away).expect("it is moved");
        let error = block_on(store.reopen()).expect_err("it is gone");
        assert!(!path.exists(), "{name}: {error}");
        // Nothing was begun, and nothing is over.
        let error = block_on(store.claim_pending(1)).expect_err("there is no file");
        assert_eq!(
            (error.kind(), error.retry()),
            (ErrorKind::Poisoned, Retry::AfterReopen),
            "{name}: {error}"
        );
        std::fs::copy(&other, &path).expect("another stands there");
        let error = block_on(store.reopen()).expect_err("it is another one");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}: {error}");
        block_on(store.claim_pending(1)).expect_err("nothing is done in the other one");
        std::fs::remove_file(&path).expect("the other one goes");
        std::fs::rename(&away, &path).expect("and this one is back");
        block_on(store.reopen()).expect("it is the one that was open");
        assert_eq!(block_on(store.get_stats(1)).expect("the job exists").pending, 3, "{name}");
        block_on(store.close()).expect("it closes");
    }
}

/// All others are dead.
#[derive(Debug)]
struct LastOfAll;

impl magnetar::Liveness for LastOfAll {
    fn announce(&self, _owner: OwnerId) -> magnetar::Result<()> {
        Ok(())
    }

    fn probe(&self, _owner: OwnerId) -> magnetar::Probe {
        magnetar::Probe::Dead(Box::new(()))
    }
}

#[test]
fn an_import_of_the_dead_is_taken_back_by_the_next_who_opens_the_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("jobs.db");
    let one = block_on(SqliteStore::open(&path)).expect("it opens");
    let options = OpenOptions::new().liveness(Arc::new(LastOfAll) as Arc<dyn magnetar::Liveness>);
    let stream = with_a_pause(|| drop(block_on(SqliteStore::open_with(&path, &options)).expect("it opens")));
    let error = import(&one, stream).expect_err("it was taken for dead");
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert_eq!(block_on(one.get_job(1)).expect_err("nothing is left of it").kind(), ErrorKind::JobNotFound);
}

/// Nobody can say who lives: a file that was copied from elsewhere, or a file system without locks.
#[derive(Debug)]
struct NobodyKnows;

impl magnetar::Liveness for NobodyKnows {
    fn announce(&self, _owner: OwnerId) -> magnetar::Result<()> {
        Ok(())
    }

    fn probe(&self, _owner: OwnerId) -> magnetar::Probe {
        magnetar::Probe::Unknown
    }
}

/// Two clients of one store, neither of which can tell whether the other lives, and their clock.
fn two_of_whom_nobody_knows(folder: &std::path::Path) -> (Arc<ManualClock>, SqliteStore, SqliteStore) {
    let clock = Arc::new(ManualClock(AtomicU64::new(1_000_000)));
    let options = OpenOptions::new()
        .clock(Arc::clone(&clock) as Arc<dyn Clock>)
        .liveness(Arc::new(NobodyKnows) as Arc<dyn magnetar::Liveness>);
    let open = || block_on(SqliteStore::open_with(folder.join("jobs.db"), &options)).expect("it opens");
    (clock, open(), open())
}

#[test]
fn an_import_of_which_nobody_knows_whether_it_lives_is_taken_back_in_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let (clock, one, other) = two_of_whom_nobody_knows(folder.path());
    let mut refused = None;
    let stream = with_a_pause(|| {
        clock.0.fetch_add(magnetar::limits::IMPORT_LEASE_MS - 1, Ordering::SeqCst);
        refused = import(&other, first(3)).err();
        clock.0.fetch_add(1, Ordering::SeqCst);
        import(&other, first(3)).expect("its time is over");
    });
    let overtaken = import(&one, stream).expect_err("it is told");
    assert_eq!(refused.expect("it may live").kind(), ErrorKind::Busy);
    assert_eq!(overtaken.job(), Some(1), "{overtaken}");
    assert_eq!(block_on(one.get_stats(1)).expect("the job exists").total_chunks, 3);
    block_on(other.verify()).expect("nothing is left of it");
}

#[test]
fn an_import_that_was_taken_back_for_another_one_adds_nothing_to_that() {
    let folder = tempfile::tempdir().expect("a folder");
    let (clock, one, other) = two_of_whom_nobody_knows(folder.path());
    let (has_begun, goes_on) = (Barrier::new(2), Barrier::new(2));
    std::thread::scope(|scope| {
        let mut theirs = None;
        let stream = with_a_pause(|| {
            clock.0.fetch_add(magnetar::limits::IMPORT_LEASE_MS, Ordering::SeqCst);
            theirs = Some(scope.spawn(|| {
                let stream = with_a_pause(|| {
                    has_begun.wait();
                    goes_on.wait();
                });
                import(&other, stream)
            }));
            has_begun.wait();
        });
        let overtaken = import(&one, stream);
        let theirs = theirs.expect("it came to its second slice");
        goes_on.wait();
        let report = theirs.join().expect("no panic").expect("nobody takes it back");
        assert_eq!(report.added, LARGE);
        assert_eq!(overtaken.expect_err("it is told").kind(), ErrorKind::Busy);
    });
    assert_eq!(block_on(one.get_stats(1)).expect("the job exists").total_chunks, LARGE);
    block_on(other.verify()).expect("both left it sound");
}

fn poll_once<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    // Outside of `block_on`, where reads go to the store's reading threads.
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Keeps the two reading threads of a store busy for as long as what is returned lives.
fn reading(store: &SqliteStore) -> Vec<Sender<()>> {
    let mut kept = Vec::new();
    for _ in 0..2 {
        let (begun, begins) = channel();
        let (hold, wait) = channel::<()>();
        let mut read =
            Box::pin(store.fold_by_status(1, Some(JobStatus::Pending), None, 1_000, wait, move |wait, _| {
                begun.send(()).ok();
                wait.recv().ok();
                true
            }));
        assert!(poll_once(read.as_mut()).is_pending());
        begins.recv().expect("it is read");
        kept.push(hold);
    }
    kept
}

#[test]
fn a_failed_chunk_needs_no_read_before_the_next_one_begins_and_a_drop_gives_that_one_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = block_on(SqliteStore::open(folder.path().join("jobs.db"))).expect("it opens");
    import(&store, first(3)).expect("it is imported");
    let _reading = reading(&store);
    let begun = Cell::new(0);
    let handler = async |context: worker::Context| {
        begun.set(context.chunk());
        if context.chunk() == 0 { Err("not yet") } else { pending::<Result<Completion, _>>().await }
    };
    {
        let mut run = Box::pin(worker::Worker::new(Arc::new(store.clone())).job(1).run(handler));
        while begun.get() != 1 {
            assert!(poll_once(run.as_mut()).is_pending());
            std::thread::yield_now();
        }
    }
    let mut watch = store.watch();
    while block_on(store.get_stats(1)).expect("the job exists").processing > 0 {
        block_on(watch.changed()).expect("the store is open");
    }
}

#[test]
fn a_read_that_panics_does_so_for_its_caller_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = block_on(SqliteStore::open(folder.path().join("jobs.db"))).expect("it opens");
    import(&store, first(1)).expect("it is imported");
    // More often than there are threads that read.
    for _ in 0..3 {
        let read =
            store.fold_by_status(1, Some(JobStatus::Pending), None, 10, (), |(), _| panic!("a defect"));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let mut read = pin!(read);
            while poll_once(read.as_mut()).is_pending() {
                std::thread::yield_now();
            }
        }));
        let panic = panicked.expect_err("it is the caller's");
        assert_eq!(panic.downcast_ref(), Some(&"a defect"));
    }
    let mut stats = pin!(store.get_stats(1));
    let stats = loop {
        if let Poll::Ready(stats) = poll_once(stats.as_mut()) {
            break stats;
        }
        std::thread::yield_now();
    };
    assert_eq!(stats.expect("the others go on").total_chunks, 1);
}

#[test]
fn a_read_that_nobody_waits_for_any_more_is_not_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = block_on(SqliteStore::open(folder.path().join("jobs.db"))).expect("it opens");
    import(&store, first(1)).expect("it is imported");
    let held = reading(&store);
    let looked = Arc::new(AtomicU64::new(0));
    let look = || {
        let looked = Arc::clone(&looked);
        Box::pin(store.fold_by_status(1, Some(JobStatus::Pending), None, 1_000, (), move |(), _| {
            looked.fetch_add(1, Ordering::SeqCst);
            true
        }))
    };
    let (mut given_up, mut awaited) = (look(), look());
    assert!(poll_once(given_up.as_mut()).is_pending());
    drop(given_up);
    assert!(poll_once(awaited.as_mut()).is_pending());
    drop(held);
    while poll_once(awaited.as_mut()).is_pending() {
        std::thread::yield_now();
    }
    assert_eq!(looked.load(Ordering::SeqCst), 1);
}

#[test]
fn waits_that_were_given_up_are_not_kept() {
    struct Counted {
        _one: Arc<()>,
    }
    impl Wake for Counted {
        fn wake(self: Arc<Self>) {}
    }
    let store = block_on(SqliteStore::in_memory()).expect("it opens");
    import(&store, first(1)).expect("it is imported");
    let one = Arc::new(());
    let waker = || Waker::from(Arc::new(Counted { _one: Arc::clone(&one) }));
    for _ in 0..10 {
        let mut watch = store.watch();
        assert!(pin!(watch.changed()).poll(&mut Context::from_waker(&waker())).is_pending());
    }
    assert_eq!(Arc::strong_count(&one), 1, "of a watch");
    let handler = async |context: worker::Context| {
        for _ in 0..10 {
            assert!(pin!(context.cancelled()).poll(&mut Context::from_waker(&waker())).is_pending());
        }
        assert_eq!(Arc::strong_count(&one), 1, "of a handler");
        Ok::<_, String>(Completion::new())
    };
    let summary = block_on(worker::Worker::new(Arc::new(store.clone())).run(handler)).expect("it works");
    assert_eq!(summary.completed, 1, "the handler's own assertion is a failed attempt");
}

#[test]
fn a_watch_tells_of_the_last_change_of_a_store_before_it_tells_of_its_end() {
    let store = RedbStore::in_memory().expect("it opens");
    let mut watch = store.watch();
    block_on(store.new_job(&JobSpec::new())).expect("it is created");
    block_on(store.close()).expect("it closes");
    assert!(block_on(watch.changed()).is_some_and(|revision| revision > 0));
    assert_eq!(block_on(watch.changed()), None);
    assert_eq!(block_on(store.watch().changed()), None, "nor does one that begins later wait for ever");
}

#[test]
fn who_watches_again_later_is_told_of_what_others_commit_as_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = || block_on(SqliteStore::open(folder.path().join("jobs.db"))).expect("it opens");
    let (watched, other) = (open(), open());
    for _ in 0..5 {
        let mut watch = watched.watch();
        block_on(other.new_job(&JobSpec::new())).expect("it is created");
        let revision = block_on(other.info()).expect("it tells").revision;
        while watch.revision() < revision {
            block_on(watch.changed()).expect("the store is open");
        }
        drop(watch);
        // Whoever looked for that watch has time to leave.
        for _ in 0..20 {
            block_on(other.new_job(&JobSpec::new())).expect("it is created");
        }
    }
}

/// A clock that can be held, and with it whoever asks it.
#[derive(Debug, Default)]
struct HeldClock(Mutex<()>);

impl Clock for HeldClock {
    fn now_ms(&self) -> u64 {
        let _held = self.0.lock().expect("no panic");
        1_000_000
    }
}

/// Drops a call when its answer is there, which it has not taken.
fn dropped_when_answered<T>(clock: &HeldClock, call: impl Future<Output = T>) {
    struct Told(Sender<()>);
    impl Wake for Told {
        fn wake(self: Arc<Self>) {
            self.0.send(()).ok();
        }
    }
    let (tell, told) = channel();
    let waker = Waker::from(Arc::new(Told(tell)));
    let mut call = pin!(call);
    let held = clock.0.lock().expect("no panic");
    assert!(call.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(held);
    told.recv().expect("it is answered");
}

#[test]
fn what_was_answered_to_a_call_that_is_dropped_before_it_looks_is_given_back() {
    let clock = Arc::new(HeldClock::default());
    let options = OpenOptions::new().clock(Arc::clone(&clock) as Arc<dyn Clock>);
    let store = RedbStore::in_memory_with(&options).expect("it opens");
    import(&store, first(1)).expect("it is imported");
    dropped_when_answered(&clock, store.claim_pending(1));
    // Behind what the drop has handed in.
    block_on(store.new_job(&JobSpec::new())).expect("it is created");
    let chunk = block_on(store.get_chunk(1, 0)).expect("the job exists").expect("the chunk too");
    assert_eq!((chunk.status, chunk.losses), (JobStatus::Pending, 0));
    assert!(chunk.fence > 0, "it was claimed, and given back");
    let revision = block_on(store.info()).expect("it tells").revision;
    dropped_when_answered(&clock, store.import(7, &JobSpec::new(), first(LARGE), &ImportOptions::new()));
    let job = block_on(store.new_job(&JobSpec::new())).expect("it is created");
    let told = block_on(store.changes(revision, 100)).expect("the feed is there").changes;
    let is_new = |change: &Change| matches!(change, Change::Job { job: told, .. } if told.job_id == job);
    assert!(told.iter().any(is_new), "the feed waits for nobody's import: {told:?}");
}

/// An executor that has ended, perhaps.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("nobody runs the task any more");
    }
}

#[test]
fn a_caller_who_cannot_be_woken_takes_nobody_along() {
    let clock = Arc::new(HeldClock::default());
    let options = OpenOptions::new().clock(Arc::clone(&clock) as Arc<dyn Clock>);
    let store = RedbStore::in_memory_with(&options).expect("it opens");
    import(&store, first(3)).expect("it is imported");
    let unwakeable = Waker::from(Arc::new(Panics));
    let mut gone = Context::from_waker(&unwakeable);
    let mut watch = store.watch();
    let mut watching = pin!(watch.changed());
    assert!(watching.as_mut().poll(&mut gone).is_pending());
    let mut claims = [0; 3].map(|_| store.claim_pending(1));
    let held = clock.0.lock().expect("no panic");
    for call in &mut claims {
        assert!(call.as_mut().poll(&mut gone).is_pending());
    }
    drop(held);
    // Where the thread that commits has ended these are told so, or wait for ever.
    let mut chunks = claims.map(|call| block_on(call).expect("it works").expect("one is ready").chunk);
    chunks.sort_unstable();
    assert_eq!(chunks, [0, 1, 2]);
    assert!(matches!(watching.as_mut().poll(&mut gone), Poll::Ready(Some(_))));
    assert_eq!(block_on(store.get_stats(1)).expect("it works").processing, 3);
}

#[test]
fn two_stores_of_one_client_and_one_moment_are_two() {
    let options = OpenOptions::new()
        .clock(Arc::new(ManualClock(AtomicU64::new(1_000_000))) as Arc<dyn Clock>)
        .owner(OwnerId::from_bytes([5; 16]));
    let id = || block_on(RedbStore::in_memory_with(&options).expect("it opens").id()).expect("it tells");
    assert_ne!(id(), id());
}

#[test]
fn the_ending_of_a_path_says_the_engine_in_capitals_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("JOBS.REDB");
    let store = block_on(magnetar::open(&path)).expect("it opens");
    block_on(store.close()).expect("it closes");
    RedbStore::open(&path).expect("it is one of redb's");
}

#[test]
fn a_fold_has_each_chunk_once_for_as_long_as_it_wants_more() {
    let store = RedbStore::in_memory().expect("it opens");
    import(&store, first(500)).expect("it is imported");
    for (wanted, more) in
        [(1, true), (31, true), (32, true), (33, true), (499, true), (500, false), (900, false)]
    {
        let note = move |ids: &mut Vec<u64>, chunk: magnetar::JobState| {
            ids.push(chunk.chunk);
            ids.len() < wanted
        };
        for limit in [wanted, 1_000] {
            let folded = store.fold_by_status(1, Some(JobStatus::Pending), None, limit, Vec::new(), note);
            let (ids, has_more) = block_on(folded).expect("the job exists");
            let expected: Vec<u64> = (0..wanted.min(500) as u64).collect();
            assert_eq!((ids, has_more), (expected, more), "{wanted} of {limit}");
        }
    }
}

/// Where a thread says that it is here, and is let on.
type Gate = (Sender<&'static str>, Receiver<()>);

/// Storage that has a thread wait which is neither the test's nor the store's own, once it has read so much that it must
/// be in the midst of what it does.
#[derive(Debug, Clone)]
struct Gated {
    bytes: SharedBytes,
    reads: Arc<AtomicU64>,
    gate: Arc<Mutex<Option<Gate>>>,
}

impl Storage for Gated {
    fn len(&self) -> std::io::Result<u64> {
        self.bytes.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        if std::thread::current().name() == Some("magnetar-aside")
            && self.reads.fetch_add(1, Ordering::SeqCst) == 20
            && let Some((here, go_on)) = self.gate.lock().expect("nobody panicked").take()
        {
            here.send("reading").expect("the test waits");
            // It is let on where the test failed, too.
            let _ = go_on.recv();
        }
        self.bytes.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.bytes.set_len(len)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.bytes.write(offset, bytes)
    }

    fn sync(&self) -> std::io::Result<()> {
        self.bytes.sync()
    }
}

#[test]
fn others_work_while_a_store_is_verified() {
    let storage = Gated { bytes: SharedBytes::default(), reads: Arc::default(), gate: Arc::default() };
    let made = storage.clone();
    let options = OpenOptions::new().cache_bytes(0);
    let store = RedbStore::on_storage(move || Ok(made.clone()), &options).expect("it opens");
    import(&store, first(3_000)).expect("it is imported");
    let ((says, heard), (let_on, go_on)) = (channel(), channel());
    *storage.gate.lock().expect("nobody panicked") = Some((says.clone(), go_on));
    std::thread::scope(|scope| {
        let verifying = scope.spawn(|| {
            let verified = wait(store.verify());
            says.send("done").expect("the test waits");
            verified
        });
        let let_on = let_on;
        assert_eq!(heard.recv(), Ok("reading"));
        // More than stays out of the trees.
        for _ in 0..400 {
            let chunk = block_on(store.claim_pending(1)).expect("the job exists").expect("one is ready");
            block_on(store.complete(&chunk.claim(), Completion::new())).expect("it is held");
        }
        block_on(store.delete_job(1)).expect("it exists");
        // The second one takes its turn.
        let again = scope.spawn(|| wait(store.verify()));
        let_on.send(()).expect("somebody waits");
        verifying.join().expect("no panic").expect("what it saw was whole");
        again.join().expect("no panic").expect("nothing is damaged");
    });
}
