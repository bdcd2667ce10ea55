//! Stores that nobody works with: moved in one call, in all directions, also in many tries.

use std::future::Future as _;
use std::sync::Arc;
use std::task::Poll;

use magnetar::dual::{DualOptions, DualStore, MovePhase, migrate};
use magnetar::export::Export;
use magnetar::{
    Backing, ClaimRequest, Completion, ErrorKind, ImportOptions, JobSpec, JobStatus, JobStore, NewChunk,
    OpenOptions, OwnerId, RedbStore, Selection, SqliteStore, Storage, Store, block_on, chunks,
};

use crate::dag::{self, JOB};
use crate::support::{self, SharedBytes};

const OWNER: OwnerId = OwnerId::from_bytes([5; 16]);

fn options() -> OpenOptions {
    OpenOptions::new().owner(OWNER)
}

/// A store with something of everything.
fn fill(store: &dyn JobStore, count: u64) {
    dag::import(store, count);
    block_on(store.new_job(&JobSpec::new().name("empty").attempts_max(7))).expect("a job");
    for round in 0..6 {
        let claimed = block_on(store.claim(&ClaimRequest::new().job(JOB).count(5))).expect("claims");
        for (at, state) in claimed.iter().enumerate() {
            let claim = state.claim();
            match (at + round) % 5 {
                0 => drop(block_on(store.fail(&claim, "no luck")).expect("it fails")),
                // Some stay open.
                1 => {}
                _ => {
                    let result = Completion::new().output(dag::output(state.fence));
                    block_on(store.complete(&claim, result)).expect("it is done");
                }
            }
        }
    }
    // Refused where the last one is done, in a store that is small.
    let _ = block_on(store.cancel(JOB, Selection::Chunks(vec![count - 1])));
}

/// A job of three chunks, of which the last waits for these.
fn import_waiting(store: &dyn JobStore, on: &[u64]) {
    let new = [NewChunk::new(0), NewChunk::new(1), NewChunk::new(2).depends_on(on.iter().copied())];
    let new = chunks(new.into_iter().map(Ok));
    block_on(store.import(JOB, &JobSpec::new(), new, &ImportOptions::new())).expect("an import");
}

fn fewer_dependencies<A: Backing, B: Backing>(first: &Store<A>, second: &Store<B>) {
    let dual = block_on(DualStore::new(first, second, &DualOptions::new())).expect("a new pair");
    import_waiting(&dual, &[0, 1]);
    block_on(dual.catch_up()).expect("the copy gets on");
    import_waiting(&dual, &[1]);
    block_on(dual.catch_up()).expect("the copy gets on");
    assert!(block_on(dual.compare()).expect("they can be compared").is_equal());
    block_on(dual.cut_over()).expect("nothing stands in the way");
    assert_eq!(block_on(dual.get_dependents(JOB, 0)).expect("the chunk is there"), Vec::<u64>::new());
    block_on(dual.mark_status(JOB, 1, JobStatus::Done, None)).expect("it is pending");
    assert_eq!(block_on(dual.topo_sort_ready(JOB)).expect("the job is there"), [0, 2]);
    block_on(dual.verify()).expect("both are whole");
    block_on(dual.close()).expect("it closes");
}

#[test]
fn a_dependency_that_an_import_takes_away_goes_in_the_copy_too() {
    let sqlite = || block_on(SqliteStore::in_memory_with(&options())).expect("it opens");
    let redb = || RedbStore::in_memory_with(&options()).expect("it opens");
    fewer_dependencies(&sqlite(), &redb());
    fewer_dependencies(&redb(), &sqlite());
}

async fn moves<A: Backing, B: Backing>(from: Store<A>, to: Store<B>) {
    fill(&from, 300);
    let before = from.digest().await.expect("a digest");
    let last = from.new_job(&JobSpec::new()).await.expect("a job");
    from.delete_job(last).await.expect("it goes");
    let mut told = 0;
    let compared = migrate(&from, &to, |_| told += 1).await.expect("it moves");
    assert!(compared.is_equal() && told > 0, "{compared:#?}");
    assert_eq!((compared.jobs, compared.chunks), (2, 300));
    let after = to.digest().await.expect("a digest");
    assert_eq!(before, after);
    assert_eq!(from.claim_pending(JOB).await.expect_err("it was moved").kind(), ErrorKind::Moved);
    // What is held is held there, so that nothing can be given back here.
    assert_eq!(from.release_all().await.expect_err("it was moved").kind(), ErrorKind::Moved);
    // Ids are never used again, and what was held still is.
    assert!(to.new_job(&JobSpec::new()).await.expect("a job") > last);
    let held = to.get_by_status(JOB, JobStatus::Processing).await.expect("a list");
    assert!(!held.is_empty());
    for state in held {
        assert_eq!(state.owner, Some(OWNER));
        to.complete(&state.claim(), Completion::new()).await.expect("the fence is the same");
    }
    to.verify().await.expect("nothing is damaged");
    // Again: it is over.
    let again = migrate(&from, &to, |_| {}).await.expect("nothing is left to do");
    assert_eq!(again.chunks, 300);
}

fn redb() -> RedbStore {
    RedbStore::in_memory_with(&options()).expect("memory is there")
}

fn sqlite() -> SqliteStore {
    block_on(SqliteStore::in_memory_with(&options())).expect("memory is there")
}

#[test]
fn a_store_at_rest_moves_from_sqlite_to_redb() {
    block_on(moves(sqlite(), redb()));
}

#[test]
fn a_store_at_rest_moves_from_redb_to_sqlite() {
    block_on(moves(redb(), sqlite()));
}

#[test]
fn a_store_at_rest_moves_from_memory_into_files() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(moves(redb(), RedbStore::open_with(folder.path().join("a.redb"), &options()).expect("a file")));
    let to = block_on(SqliteStore::open_with(folder.path().join("b.db"), &options())).expect("a file");
    block_on(moves(sqlite(), to));
}

#[test]
fn a_store_at_rest_moves_from_files_into_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    block_on(moves(RedbStore::open_with(folder.path().join("a.redb"), &options()).expect("a file"), redb()));
    let from = block_on(SqliteStore::open_with(folder.path().join("b.db"), &options())).expect("a file");
    block_on(moves(from, sqlite()));
}

/// A host's storage that breaks after so many syncs, for good.
#[derive(Debug, Clone)]
struct Breaking {
    bytes: SharedBytes,
    left: Arc<std::sync::atomic::AtomicI64>,
}

impl Storage for Breaking {
    fn len(&self) -> std::io::Result<u64> {
        self.bytes.len()
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> std::io::Result<()> {
        self.bytes.read(offset, bytes)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.bytes.set_len(len)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.bytes.write(offset, bytes)
    }

    fn sync(&self) -> std::io::Result<()> {
        if self.left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) <= 0 {
            return Err(std::io::Error::other("the disk is gone"));
        }
        self.bytes.sync()
    }
}

#[test]
fn a_move_goes_on_where_it_was_broken_off() {
    let from = sqlite();
    fill(&from, 9_000);
    let before = block_on(from.digest()).expect("a digest");
    let bytes = SharedBytes::default();
    let mut tries = 0;
    let mut copied = Vec::new();
    loop {
        tries += 1;
        assert!(tries < 60, "it never gets there");
        let left = Arc::new(std::sync::atomic::AtomicI64::new(8));
        let disk = Breaking { bytes: bytes.clone(), left };
        let Ok(to) = RedbStore::on_storage(move || Ok(disk.clone()), &options()) else { continue };
        let mut here = 0;
        let moved = block_on(migrate(&from, &to, |status| here = status.chunks_copied));
        copied.push(here);
        if moved.is_ok() {
            assert_eq!(block_on(to.digest()).expect("a digest"), before);
            break;
        }
    }
    assert!(tries > 2, "it was to be broken off: {copied:?}");
    // Each try goes on: what was copied is not copied again, but for the page that was lost.
    assert!(copied.iter().all(|&part| part < 9_000), "{copied:?}");
}

#[test]
fn a_store_with_jobs_of_its_own_is_never_filled() {
    let (from, to) = (sqlite(), redb());
    fill(&from, 10);
    block_on(to.new_job(&JobSpec::new())).expect("a job");
    let error = block_on(migrate(&from, &to, |_| {})).expect_err("it has a job");
    assert_eq!(error.kind(), ErrorKind::Refused);
    // Both go on as they were.
    assert!(block_on(from.claim_pending(JOB)).is_ok());
    assert!(block_on(to.new_job(&JobSpec::new())).is_ok());
}

#[test]
fn a_shadow_is_read_and_not_worked_with() {
    let (from, to) = (sqlite(), redb());
    fill(&from, 10);
    let dual = block_on(DualStore::new(&from, &to, &DualOptions::new())).expect("a pair");
    block_on(dual.catch_up()).expect("the copy gets on");
    assert_eq!(block_on(to.get_stats(JOB)).expect("it can be read").total_chunks, 10);
    let error = block_on(to.claim_pending(JOB)).expect_err("it is a copy");
    assert_eq!(error.kind(), ErrorKind::Shadow);
    assert!(error.to_string().contains("until it is moved"), "{error}");
    // Where the copy is lost, the authority is let go.
    block_on(dual.close()).expect("it closes");
}

#[test]
fn an_authority_whose_copy_is_lost_is_let_go_and_can_be_moved_elsewhere() {
    let from = sqlite();
    fill(&from, 10);
    drop(block_on(DualStore::new(&from, &redb(), &DualOptions::new())).expect("a pair"));
    let other = redb();
    let error = block_on(DualStore::new(&from, &other, &DualOptions::new())).expect_err("it has a pair");
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(block_on(from.leave_pair()).expect("it is let go"), magnetar::Outcome::Changed);
    let compared = block_on(migrate(&from, &other, |_| {})).expect("it moves");
    assert!(compared.is_equal());
    // One that was moved does not come back by this.
    assert_eq!(block_on(from.leave_pair()).expect_err("it was moved").kind(), ErrorKind::Moved);
}

#[test]
fn a_pair_that_its_authority_has_left_is_not_made_again_by_who_has_it_open() {
    let (from, to) = (sqlite(), redb());
    fill(&from, 10);
    let dual = block_on(DualStore::new(&from, &to, &DualOptions::new())).expect("a pair");
    block_on(dual.catch_up()).expect("the copy gets on");
    assert_eq!(block_on(from.leave_pair()).expect("it is let go"), magnetar::Outcome::Changed);
    let mut told = dual.watch_status();
    block_on(dual.new_job(&JobSpec::new())).expect("the store works by itself");
    while block_on(told.next()).expect("it is open").phase != MovePhase::Detached {}
    for _ in 0..2 {
        assert_eq!(block_on(dual.cut_over()).expect_err("it is no pair").kind(), ErrorKind::Refused);
        assert_eq!(block_on(from.consumers()).expect("a list"), [], "somebody follows it again");
        block_on(dual.claim_pending(JOB)).expect("the store works by itself");
    }
    assert_eq!(dual.status().phase, MovePhase::Detached);
    assert_eq!(block_on(to.claim_pending(JOB)).expect_err("it never works").kind(), ErrorKind::Shadow);
    assert_eq!(block_on(from.leave_pair()).expect("nothing is left"), magnetar::Outcome::Unchanged);
}

#[test]
fn a_pair_that_its_authority_has_left_is_made_again_by_who_opens_it_anew() {
    let (from, to) = (sqlite(), redb());
    fill(&from, 10);
    let pair = || block_on(DualStore::new(&from, &to, &DualOptions::new()));
    let dual = pair().expect("a pair");
    block_on(dual.catch_up()).expect("the copy gets on");
    drop(dual);
    block_on(from.leave_pair()).expect("it is let go");
    // What is done meanwhile comes too.
    block_on(from.new_job(&JobSpec::new())).expect("a job");
    block_on(from.delete_job(JOB)).expect("it goes");
    let dual = pair().expect("a pair again");
    block_on(dual.catch_up()).expect("the copy gets on");
    let compared = block_on(dual.compare()).expect("they can be compared");
    assert!(compared.is_equal() && compared.jobs == 2, "{compared:#?}");
    assert!(block_on(dual.cut_over()).expect("it moves").is_equal());
    drop(dual);
    // The one that works now leaves: the other one was moved for good.
    block_on(to.leave_pair()).expect("it is let go");
    assert_eq!(pair().expect_err("it was moved").kind(), ErrorKind::Refused);
    assert_eq!(block_on(from.new_job(&JobSpec::new())).expect_err("it was moved").kind(), ErrorKind::Moved);
    block_on(to.new_job(&JobSpec::new())).expect("it works by itself");
}

/// What was done since is in the copy, and the authority gives the same revisions to something else.
#[test]
fn an_authority_that_was_put_back_from_a_copy_of_its_own_is_said_to_be_behind() {
    for (old, new) in [("jobs.db", "jobs.redb"), ("jobs.redb", "jobs.db")] {
        let folder = tempfile::tempdir().expect("a folder");
        let (old, new) = (folder.path().join(old), folder.path().join(new));
        let (kept, paired) = (folder.path().join("kept"), folder.path().join("paired"));
        let alone = block_on(magnetar::open(&old)).expect("a new file");
        dag::import(&*alone, 20);
        block_on(alone.close()).expect("it closes");
        let open = || block_on(DualStore::open(&old, &new, &OpenOptions::new(), &DualOptions::new()));
        // From before there was a pair, and from when there was one.
        std::fs::copy(&old, &kept).expect("a copy");
        block_on(open().expect("a pair").close()).expect("it closes");
        std::fs::copy(&old, &paired).expect("a copy");
        let dual = open().expect("a pair");
        for _ in 0..9 {
            block_on(dual.claim_pending(JOB)).expect("it works").expect("some are ready");
        }
        block_on(dual.close()).expect("it closes");
        for back in [kept, paired] {
            std::fs::copy(back, &old).expect("it is put back");
            let dual = open().expect("work goes on");
            let is_behind = |error: magnetar::Error| {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                assert!(error.to_string().contains("an older copy of itself"), "{error}");
            };
            is_behind(block_on(dual.catch_up()).expect_err("the copy is ahead"));
            is_behind(block_on(dual.compare()).map(drop).expect_err("the copy is ahead"));
            is_behind(block_on(dual.cut_over()).map(drop).expect_err("the copy is ahead"));
            block_on(dual.claim_pending(JOB)).expect("it works").expect("some are ready");
            block_on(dual.close()).expect("it closes");
        }
    }
}

#[test]
fn stores_under_different_owners_are_no_pair() {
    let other = RedbStore::in_memory_with(&OpenOptions::new().owner(OwnerId::from_bytes([6; 16])));
    let error = block_on(DualStore::new(&sqlite(), &other.expect("memory"), &DualOptions::new()));
    assert_eq!(error.expect_err("claims could not carry over").kind(), ErrorKind::InvalidInput);
}

#[test]
fn jobs_of_a_hundred_thousand_chunks_move_page_by_page() {
    let count = support::rounds(30_000, 300_000);
    let (from, to) = (redb(), sqlite());
    dag::import(&from, count);
    let compared = block_on(migrate(&from, &to, |_| {})).expect("it moves");
    assert_eq!((compared.chunks, compared.mismatch_count), (count, 0));
}

/// Given up after each number of polls, until it is not given up any more.
#[test]
fn a_pair_that_is_closed_after_a_move_was_given_up_half_way_has_given_everything_back() {
    for polls in 1.. {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || {
            let (first, second) = (folder.path().join("a.db"), folder.path().join("b.db"));
            block_on(DualStore::open(first, second, &OpenOptions::new(), &DualOptions::new()))
                .expect("a pair")
        };
        let dual = open();
        dag::import(&dual, 5);
        let held = block_on(dual.claim_pending(JOB)).expect("it works").expect("some are ready");
        let mut moving = Box::pin(dual.cut_over());
        let mut left = polls;
        let is_over = block_on(std::future::poll_fn(|context| {
            left -= 1;
            match moving.as_mut().poll(context) {
                Poll::Ready(moved) => Poll::Ready(moved.is_ok()),
                Poll::Pending if left == 0 => Poll::Ready(false),
                Poll::Pending => Poll::Pending,
            }
        }));
        drop(moving);
        block_on(dual.close()).expect("it closes");
        let state =
            block_on(open().get_chunk(JOB, held.chunk)).expect("it can be read").expect("it is there");
        assert_eq!((state.status, state.losses), (JobStatus::Pending, 0), "after {polls} polls");
        if is_over {
            assert!(polls > 3, "it was to be given up half-way: {polls}");
            return;
        }
    }
}

/// What is restored has no history that a copy could follow, whoever asks for it.
#[test]
fn a_store_that_another_one_follows_is_not_restored_into() {
    let redb = || RedbStore::in_memory_with(&options()).expect("memory is there");
    let from = redb();
    fill(&from, 30);
    let mut lines = Vec::new();
    block_on(Export::new(&from).json_lines().write_to(&mut lines)).expect("an export");
    let (first, second) = (redb(), redb());
    let dual = block_on(DualStore::new(&first, &second, &DualOptions::new())).expect("a new pair");
    for store in [&first as &dyn JobStore, &dual] {
        let error = block_on(store.restore(&mut lines.as_slice())).expect_err("it is followed");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
    block_on(dual.catch_up()).expect("the copy gets on");
    block_on(dual.cut_over()).expect("nothing stands in the way");
    block_on(dual.detach()).expect("it is alone");
    block_on(dual.restore(&mut lines.as_slice())).expect("nobody follows it");
    assert_eq!(block_on(second.digest()).expect("a digest"), block_on(from.digest()).expect("a digest"));
}
