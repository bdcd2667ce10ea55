//! What an operation costs the disk, counted and not timed: syncs and pages do not depend on the machine.
#![allow(missing_docs, reason = "a test crate documents itself by its names")]
#![cfg(all(feature = "redb", not(target_family = "wasm")))]

mod support;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

use futures_util::future::try_join_all;
use magnetar::{
    ChunkUpdate, ClaimRequest, Completion, Durability, ImportOptions, JobSpec, JobStatus, JobStore, NewChunk,
    OpenOptions, RedbStore, Storage, block_on, chunks,
};

use support::SharedBytes;

const JOB: i64 = 1;
/// Chunks of the store: deep enough that trees have branches.
const CHUNKS: u64 = 20_000;
/// redb's page.
const PAGE: usize = 4_096;
/// What pages may come to above what was measured, which is what stands in the tests.
const MARGIN: f64 = 1.25;

/// A disk in memory that counts, and that can be as slow as its users are.
#[derive(Debug, Clone, Default)]
struct Disk {
    bytes: SharedBytes,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    syncs: AtomicU64,
    pages: AtomicU64,
    pages_read: AtomicU64,
    crowd: Crowd,
}

/// Who is at work, and who of them waits for an answer.
#[derive(Debug, Default)]
struct Crowd {
    people: Mutex<People>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct People {
    at_work: u64,
    waiting: u64,
}

impl Crowd {
    fn change(&self, change: impl FnOnce(&mut People)) {
        change(&mut self.people.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// Returns once everybody at work waits for an answer: a disk that is slower than any of them.
    fn gather(&self) {
        let mut people = self.people.lock().unwrap_or_else(PoisonError::into_inner);
        while people.waiting < people.at_work {
            people = self.changed.wait(people).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Waits for an answer, and is counted as waiting from when the question was asked, which the first poll does, to when the
/// answer is there, which wakes whoever waits.
async fn wait<T>(counts: &Arc<Counts>, answer: impl Future<Output = T>) -> T {
    let mut answer = pin!(answer);
    let mut last: Option<Arc<Waiting>> = None;
    poll_fn(|context| {
        let is_counted = last.take().is_some_and(|last| last.is_counted.swap(false, Ordering::SeqCst));
        let waiting = Waiting {
            counts: Arc::clone(counts),
            is_counted: AtomicBool::new(is_counted),
            waker: context.waker().clone(),
        };
        let waiting = Arc::new(waiting);
        let polled = answer.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&waiting))));
        waiting.count(polled.is_pending());
        last = Some(waiting);
        polled
    })
    .await
}

/// Wakes whoever waits for an answer.
struct Waiting {
    counts: Arc<Counts>,
    is_counted: AtomicBool,
    waker: Waker,
}

impl Waiting {
    fn count(&self, waits: bool) {
        if self.is_counted.swap(waits, Ordering::SeqCst) != waits {
            self.counts.crowd.change(|people| if waits { people.waiting += 1 } else { people.waiting -= 1 });
        }
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.count(false);
        self.waker.wake_by_ref();
    }
}

/// One of those at work, until it ends; by a panic too, or the others would wait for it.
struct AtWork<'a>(&'a Crowd);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.change(|people| people.at_work -= 1);
    }
}

impl Storage for Disk {
    fn len(&self) -> io::Result<u64> {
        self.bytes.len()
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.counts.pages_read.fetch_add(bytes.len().div_ceil(PAGE) as u64, Ordering::Relaxed);
        self.bytes.read(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.set_len(len)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.counts.pages.fetch_add(bytes.len().div_ceil(PAGE) as u64, Ordering::Relaxed);
        self.bytes.write(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        self.counts.crowd.gather();
        self.bytes.sync()
    }
}

fn chunk(id: u64) -> NewChunk {
    NewChunk::new(id).checksum(format!("{id:032x}"))
}

fn filled() -> (RedbStore, Arc<Counts>) {
    filled_with((0..CHUNKS).map(chunk))
}

fn filled_with(new: impl Iterator<Item = NewChunk> + Send) -> (RedbStore, Arc<Counts>) {
    filled_as(&OpenOptions::new(), new)
}

fn filled_as(options: &OpenOptions, new: impl Iterator<Item = NewChunk> + Send) -> (RedbStore, Arc<Counts>) {
    let disk = Disk::default();
    let counts = Arc::clone(&disk.counts);
    let store = RedbStore::on_storage(move || Ok(disk.clone()), options).expect("it opens");
    let stream = chunks(new.map(Ok));
    block_on(store.import(JOB, &JobSpec::new(), stream, &ImportOptions::new())).expect("it is imported");
    (store, counts)
}

/// Counts of one operation.
#[derive(Debug)]
struct PerOperation {
    syncs: f64,
    pages: f64,
}

/// What `work` costs; it answers how many operations were acknowledged.
fn count(name: &str, counts: &Counts, work: impl FnOnce() -> u64) -> PerOperation {
    let now = || [counts.syncs.load(Ordering::Relaxed), counts.pages.load(Ordering::Relaxed)];
    let before = now();
    let operations = work();
    let after = now();
    let per = |at: usize| {
        let count = u32::try_from(after[at] - before[at]).expect("few");
        f64::from(count) / f64::from(u32::try_from(operations).expect("few"))
    };
    let per_operation = PerOperation { syncs: per(0), pages: per(1) };
    println!("{name}: {operations} operations, {per_operation:?}");
    per_operation
}

/// How often a caller claims and completes.
const ROUNDS: u64 = 20;

/// Claims and completes: the operations.
async fn cycles(store: &RedbStore) -> magnetar::Result<u64> {
    for _ in 0..ROUNDS {
        let chunk = store.claim_pending(JOB).await?.expect("one is ready");
        store.complete(&chunk.claim(), Completion::new()).await?;
    }
    Ok(2 * ROUNDS)
}

/// Callers that one thread waits for at the same time: they ask in the same tick, always.
#[test]
fn callers_of_one_tick_share_a_sync() {
    for (callers, pages) in [(1, 1.0), (8, 0.125), (64, 0.032), (256, 0.03)] {
        let (store, counts) = filled();
        let name = format!("{callers} callers in one tick");
        let per_operation = count(&name, &counts, || {
            let all = try_join_all((0..callers).map(|_| cycles(&store)));
            block_on(all).expect("all are done").into_iter().sum()
        });
        assert!(per_operation.syncs <= 1.05 / f64::from(callers), "{name}: {per_operation:?}");
        assert!(per_operation.pages <= pages * MARGIN, "{name}: {per_operation:?}");
    }
}

/// Callers on a disk that is slower than they are.
const SLOW: [u64; 4] = [1, 8, 64, 256];

/// Syncs at most. Whoever is not part of one commit has asked before its sync is over, and so is part of the next: two
/// that follow each other answer at least as many as there are callers. Where they end there are fewer; and one that is
/// answered between two polls counts as waiting until the scheduler runs it, so half as many more are allowed.
fn syncs_max(callers: u64) -> f64 {
    let operations = 2 * ROUNDS * callers;
    let syncs = if callers == 1 { operations } else { 3 * operations / callers + 2 };
    f64::from(u32::try_from(syncs).expect("few")) / f64::from(u32::try_from(operations).expect("few"))
}

/// Callers on threads of their own, on a disk that is slower than they are.
#[test]
fn callers_on_threads_share_a_sync_while_the_disk_is_slow() {
    for callers in SLOW {
        let (store, counts) = filled();
        let name = format!("{callers} threads");
        let crowd = &counts.crowd;
        let one = || {
            let _at_work = AtWork(crowd);
            for _ in 0..ROUNDS {
                let chunk = block_on(wait(&counts, store.claim_pending(JOB)));
                let chunk = chunk.expect("it is claimed").expect("one is ready");
                let done = block_on(wait(&counts, store.complete(&chunk.claim(), Completion::new())));
                done.expect("it is done");
            }
            2 * ROUNDS
        };
        crowd.change(|people| people.at_work = callers);
        let per_operation = count(&name, &counts, || {
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..callers).map(|_| scope.spawn(one)).collect();
                threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
            })
        });
        assert!(per_operation.syncs <= syncs_max(callers), "{name}: {per_operation:?}");
    }
}

/// The same for tasks of a multi-threaded runtime.
#[test]
fn tasks_share_a_sync_while_the_disk_is_slow() {
    let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
    for callers in SLOW {
        let (store, counts) = filled();
        let name = format!("{callers} tasks");
        counts.crowd.change(|people| people.at_work = callers);
        let per_operation = count(&name, &counts, || {
            let tasks: Vec<_> = (0..callers)
                .map(|_| {
                    let (store, counts) = (store.clone(), Arc::clone(&counts));
                    runtime.spawn(async move {
                        let crowd = &counts.crowd;
                        let _at_work = AtWork(crowd);
                        for _ in 0..ROUNDS {
                            let chunk = wait(&counts, store.claim_pending(JOB)).await;
                            let chunk = chunk.expect("it is claimed").expect("one is ready");
                            let done = wait(&counts, store.complete(&chunk.claim(), Completion::new())).await;
                            done.expect("it is done");
                        }
                        2 * ROUNDS
                    })
                })
                .collect();
            tasks.into_iter().map(|task| runtime.block_on(task).expect("no panic")).sum()
        });
        assert!(per_operation.syncs <= syncs_max(callers), "{name}: {per_operation:?}");
    }
}

/// Two wait for each, and the next layer is claimed as soon as the last of the one above is done.
#[test]
fn a_chunk_that_others_wait_for_costs_as_much() {
    let width = 10;
    let (store, counts) = filled_with((0..CHUNKS).map(|id| match id.checked_sub(width) {
        None => chunk(id),
        Some(above) => chunk(id).depends_on([above, above - above % width + (above + 1) % width]),
    }));
    let per_operation =
        count("two wait for each", &counts, || block_on(cycles(&store)).expect("all are done"));
    assert!(per_operation.syncs <= 1.0, "{per_operation:?}");
    assert!(per_operation.pages <= 1.0 * MARGIN, "{per_operation:?}");
}

#[test]
fn completing_and_claiming_the_next_is_one_sync() {
    let (store, counts) = filled();
    let request = ClaimRequest::new().job(JOB);
    let mut held = block_on(store.claim(&request)).expect("it is claimed");
    let per_operation = count("complete_and_claim", &counts, || {
        for _ in 0..200 {
            let chunk = held.pop().expect("one is ready");
            held = block_on(store.complete_and_claim(&chunk.claim(), Completion::new(), &request))
                .expect("it is done");
        }
        200
    });
    assert!(per_operation.syncs <= 1.0, "{per_operation:?}");
    assert!(per_operation.pages <= 1.0 * MARGIN, "{per_operation:?}");
}

#[test]
fn a_batch_is_one_sync_and_few_pages() {
    let (store, counts) = filled();
    let per_operation = count("batches of 256", &counts, || {
        let mut operations = 0;
        for _ in 0..20 {
            let held = block_on(store.claim_pending_batch(JOB, 256)).expect("they are claimed");
            operations += 2 * held.len() as u64;
            let updates =
                held.iter().map(|chunk| ChunkUpdate::Complete(chunk.claim(), Completion::new())).collect();
            let outcomes = block_on(store.apply_batch_updates(JOB, updates)).expect("they are taken");
            assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        }
        operations
    });
    assert!(per_operation.syncs <= 1.0 / 256.0, "{per_operation:?}");
    assert!(per_operation.pages <= 0.03 * MARGIN, "{per_operation:?}");
}

/// A job in which one dependency is on a higher id, so that others may close a circle: what is asked is near them.
#[test]
fn a_dependency_is_checked_against_what_is_near_it() {
    let chain = (0..CHUNKS).map(|id| match id {
        0 => chunk(0),
        1 => chunk(1).depends_on([CHUNKS - 1]),
        2 => chunk(2),
        _ => chunk(id).depends_on([id - 1]),
    });
    let (store, counts) = filled_as(&OpenOptions::new().cache_bytes(0), chain);
    let import = |id| {
        let new = chunks([Ok(chunk(id))]);
        block_on(store.import(JOB, &JobSpec::new(), new, &ImportOptions::new())).expect("it is imported");
    };
    import(CHUNKS);
    let read = |what: &str, work: &dyn Fn()| {
        let before = counts.pages_read.load(Ordering::Relaxed);
        work();
        let pages = counts.pages_read.load(Ordering::Relaxed) - before;
        println!("{what}: {pages} pages are read");
        assert!(pages < 100, "{what}: {pages} pages");
    };
    read("a chunk without dependencies", &|| import(CHUNKS + 1));
    read("one behind all others", &|| {
        block_on(store.add_dependency(JOB, CHUNKS, vec![CHUNKS - 1])).expect("there is no circle");
    });
    read("one before all others", &|| {
        block_on(store.add_dependency(JOB, 2, vec![CHUNKS + 1])).expect("there is no circle");
    });
    let error = block_on(store.add_dependency(JOB, 2, vec![CHUNKS])).expect_err("it is a circle of all");
    assert_eq!(error.kind(), magnetar::ErrorKind::DependencyCycle);
}

/// Each chunk has a priority of its own: the index of the ready ones has as many lists as there are chunks.
#[test]
fn a_page_of_many_priorities_is_found_near_its_rows() {
    let ranked = (0..CHUNKS).map(|id| chunk(id).priority(-i32::try_from(id).expect("small")));
    let (store, counts) = filled_as(&OpenOptions::new().cache_bytes(0), ranked);
    let read = |what: &str, after: Option<u64>, first: u64| {
        let before = counts.pages_read.load(Ordering::Relaxed);
        let page = block_on(store.page_by_status(JOB, Some(JobStatus::Pending), after, 100));
        let page: Vec<u64> = page.expect("the job is there").iter().map(|chunk| chunk.chunk).collect();
        assert!(page.iter().copied().eq(first..first + 100), "{what}: {page:?}");
        let pages = counts.pages_read.load(Ordering::Relaxed) - before;
        println!("{what}: {pages} pages are read");
        assert!(pages < 1_000, "{what}: {pages} pages");
    };
    read("the first page", None, 0);
    read("one in the middle", Some(CHUNKS / 2), CHUNKS / 2 + 1);
    let done = CHUNKS / 4;
    let claims = block_on(store.claim_pending_batch(JOB, usize::try_from(done).expect("small")));
    let ends = claims.expect("they are ready");
    let ends = ends.iter().map(|chunk| ChunkUpdate::Complete(chunk.claim(), Completion::new())).collect();
    block_on(store.apply_batch_updates(JOB, ends)).expect("they are held");
    read("one behind many that are done", None, done);
}

/// All that a relaxed commit costs is its write; one in [`limits::UNSYNCED_REVISIONS_MAX`] revisions is synced, and whatever
/// is redb's own.
#[test]
fn a_relaxed_commit_is_not_synced() {
    let (store, counts) =
        filled_as(&OpenOptions::new().durability(Durability::Relaxed), (0..CHUNKS).map(chunk));
    // The import used up what may be given without a sync.
    let first = count("the first relaxed ones", &counts, || block_on(cycles(&store)).expect("all are done"));
    let per_operation =
        count("relaxed", &counts, || (0..20).map(|_| block_on(cycles(&store)).expect("all are done")).sum());
    assert!(first.syncs <= 1.0 / 20.0, "{first:?}");
    assert!(per_operation.syncs <= 1.0 / 400.0, "{per_operation:?}");
    assert!(per_operation.pages <= 1.0 * MARGIN, "{per_operation:?}");
    block_on(store.register_consumer("reports")).expect("it is registered");
    let per_operation = count("followed", &counts, || block_on(cycles(&store)).expect("all are done"));
    assert!(per_operation.syncs >= 1.0, "{per_operation:?}");
    block_on(store.unregister_consumer("reports")).expect("it is forgotten");
    let before = counts.syncs.load(Ordering::Relaxed);
    block_on(store.close()).expect("it closes");
    assert!(counts.syncs.load(Ordering::Relaxed) > before, "what is closed is on the disk");
}
