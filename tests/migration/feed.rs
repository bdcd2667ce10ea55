//! The change feed's consumers, and watching what other processes do.

use std::sync::Arc;

use magnetar::dual::{DualOptions, DualStore};
use magnetar::{
    Backing, Change, ErrorKind, ImportOptions, JobSpec, JobStore, NewChunk, OnMissing, OpenOptions, OwnerId,
    RedbStore, SqliteStore, Store, block_on, chunks, limits,
};

use crate::child::{Running, told};
use crate::support::changes_since;

fn stores() -> Vec<Arc<dyn JobStore>> {
    let sqlite = block_on(SqliteStore::in_memory()).expect("memory is there");
    vec![Arc::new(RedbStore::in_memory().expect("memory is there")), Arc::new(sqlite)]
}

fn import(store: &dyn JobStore, ids: std::ops::Range<u64>) {
    let new = ids.map(|id| Ok(NewChunk::new(id)));
    let options = ImportOptions::new().on_missing(OnMissing::Delete);
    block_on(store.import(1, &JobSpec::new(), chunks(new), &options)).expect("an import");
}

#[test]
fn a_consumer_is_kept_and_only_goes_forward() {
    for store in stores() {
        let store = &*store;
        assert_eq!(block_on(store.register_consumer("reports")).expect("it is new"), 0);
        import(store, 0..10);
        let newest = block_on(store.changes(0, 100)).expect("a page").next;
        assert_eq!(block_on(store.register_consumer("reports")).expect("it is there"), 0);
        assert_eq!(block_on(store.advance_consumer("reports", 5)).expect("it is there"), 5);
        assert_eq!(block_on(store.advance_consumer("reports", 3)).expect("it stays"), 5);
        let ahead =
            block_on(store.advance_consumer("reports", newest + 1)).expect_err("there is no such revision");
        assert_eq!(ahead.kind(), ErrorKind::InvalidInput);
        let consumers = block_on(store.consumers()).expect("a list");
        let [one] = &consumers[..] else { panic!("{consumers:?}") };
        assert_eq!((one.name.as_str(), one.revision, one.lag), ("reports", 5, newest - 5));
        assert_eq!(block_on(store.unregister_consumer("reports")).expect("it goes"), 5);
        assert_eq!(block_on(store.consumers()).expect("a list"), []);
        let gone = block_on(store.advance_consumer("reports", 6)).expect_err("it has gone");
        assert_eq!(gone.kind(), ErrorKind::InvalidInput);
        block_on(store.verify()).expect("nothing is damaged");
    }
}

#[test]
fn consumers_are_taken_up_to_their_limits() {
    for store in stores() {
        let store = &*store;
        let long = "n".repeat(limits::CONSUMER_NAME_BYTES_MAX);
        block_on(store.register_consumer(&long)).expect("as long as it may be");
        for bad in ["", &format!("{long}n"), "magnetar/other"] {
            let error = block_on(store.register_consumer(bad)).expect_err("it is no name");
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad:?}");
        }
        for at in 1..limits::CONSUMERS_MAX {
            block_on(store.register_consumer(&format!("c{at}"))).expect("there is room");
        }
        let error = block_on(store.register_consumer("one more")).expect_err("there is no room");
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        block_on(store.register_consumer("c1")).expect("it is there already");
    }
}

/// More revisions than are kept for nobody, deletions among them. Says how many jobs came and went.
fn churn(store: &dyn JobStore) -> u64 {
    let jobs = (limits::FEED_REVISIONS_KEPT + 100_000) / limits::IMPORT_ROWS_PER_COMMIT_MAX as u64 + 1;
    for job in (10..).take(usize::try_from(jobs).expect("some")) {
        let new = (0..limits::IMPORT_ROWS_PER_COMMIT_MAX as u64).map(|id| Ok(NewChunk::new(id)));
        block_on(store.import(job, &JobSpec::new(), chunks(new), &ImportOptions::new())).expect("an import");
        block_on(store.delete_job(job)).expect("it goes");
    }
    jobs
}

#[test]
fn a_consumer_loses_nothing_however_long_it_stays_away() {
    let store = RedbStore::in_memory().expect("memory is there");
    import(&store, 0..10);
    import(&store, 0..8);
    block_on(store.register_consumer("slow")).expect("it is new");
    let jobs = churn(&store);
    let changes = block_on(changes_since(&store, 0));
    let deleted = |change: &&Change| matches!(change, Change::ChunkDeleted { .. });
    assert_eq!(changes.iter().filter(deleted).count(), 2);
    let gone = |change: &&Change| matches!(change, Change::JobDeleted { .. });
    assert_eq!(changes.iter().filter(gone).count() as u64, jobs);
    let newest = block_on(store.changes(0, 1)).expect("a page");
    assert!(newest.more);
    // Once it has passed, or has gone, nothing is kept for it.
    block_on(store.unregister_consumer("slow")).expect("it goes");
    import(&store, 0..9);
    let error = block_on(store.changes(0, 1)).expect_err("it is not kept any more");
    assert_eq!(error.kind(), ErrorKind::FeedTruncated);
}

/// Of what changed since then, the log tells no longer.
#[test]
fn a_store_is_moved_however_long_ago_its_copy_was_compared() {
    let options = OpenOptions::new().owner(OwnerId::from_bytes([3; 16]));
    let redb = || RedbStore::in_memory_with(&options).expect("memory is there");
    let dual = block_on(DualStore::new(&redb(), &redb(), &DualOptions::new())).expect("a new pair");
    import(&dual, 0..10);
    assert!(block_on(dual.compare()).expect("they can be compared").is_equal());
    churn(&dual);
    let compared = block_on(dual.cut_over()).expect("nothing stands in the way");
    assert!(compared.is_equal() && compared.chunks == 10, "{compared:?}");
}

#[test]
#[ignore = "a child process of the test here: it changes the file"]
fn other() {
    let Some(told) = told() else { return };
    let store = block_on(magnetar::open(&told[0])).expect("the file opens");
    block_on(store.new_job(&JobSpec::new().name("from elsewhere"))).expect("a job");
    block_on(store.close()).expect("it closes");
}

#[test]
fn a_watch_tells_of_what_another_process_did() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("jobs.db");
    let store = block_on(magnetar::open(&path)).expect("a new file");
    import(&*store, 0..3);
    let mut watch = store.watch();
    let before = block_on(store.changes(0, 100)).expect("a page").next;
    let mut child = Running::start("feed::other", &[path.to_str().expect("a path in text")]);
    // Nothing here changes the store: who wakes this is the other process.
    let revision = block_on(watch.changed()).expect("it is open");
    assert!(revision > before);
    let page = block_on(store.changes(before, 100)).expect("a page");
    let named = |change: &Change| match change {
        Change::Job { job, .. } => job.spec.name.as_deref() == Some("from elsewhere"),
        _ => false,
    };
    assert!(page.changes.iter().any(named), "{page:?}");
    let (well, said) = child.wait();
    assert!(well, "{said}");
    block_on(store.close()).expect("it closes");
    assert_eq!(block_on(watch.changed()), None);
}

#[test]
fn a_watch_is_not_told_of_what_was_there_before_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("jobs.db");
    let first = block_on(magnetar::open(&path)).expect("a new file");
    import(&*first, 0..3);
    let second = block_on(magnetar::open(&path)).expect("it opens again");
    let before = block_on(second.changes(0, 100)).expect("a page").next;
    let mut watch = second.watch();
    import(&*first, 0..4);
    assert!(block_on(watch.changed()).is_some_and(|revision| revision > before));
}

async fn consumers_move_along<A: Backing, B: Backing>(from: Store<A>, to: Store<B>) {
    assert_eq!(from.register_consumer("slow").await.expect("it is new"), 0);
    import(&from, 0..10);
    from.delete_job(1).await.expect("it goes");
    // One that went and came back, with less in it.
    import(&from, 0..300);
    import(&from, 0..200);
    let other = from.new_job(&JobSpec::new()).await.expect("a job");
    from.delete_job(other).await.expect("it goes");
    let before = changes_since(&from, 0).await;

    let dual = DualStore::new(&from, &to, &DualOptions::new()).await.expect("a new pair");
    let late = dual.register_consumer("late").await.expect("it is new");
    import(&dual, 0..201);
    let expected = changes_since(&dual, 0).await;
    assert!(expected.len() > before.len());
    let late_expected = changes_since(&dual, late).await;
    for _ in 0..2 {
        dual.cut_over().await.expect("nothing stands in the way");
        assert_eq!(changes_since(&dual, 0).await, expected);
        assert_eq!(changes_since(&dual, late).await, late_expected);
        let names: Vec<String> =
            dual.consumers().await.expect("a list").into_iter().map(|one| one.name).collect();
        assert_eq!(names.iter().filter(|name| !name.starts_with("magnetar/")).count(), 2, "{names:?}");
        assert!(dual.compare().await.expect("they can be compared").is_equal());
        dual.roll_back().await.expect("nothing stands in the way");
        assert_eq!(changes_since(&dual, 0).await, expected);
    }
    to.verify().await.expect("nothing is damaged");
}

#[test]
fn a_consumer_loses_nothing_when_the_store_moves() {
    let options = OpenOptions::new().owner(OwnerId::from_bytes([3; 16]));
    let redb = || RedbStore::in_memory_with(&options).expect("memory is there");
    let sqlite = || block_on(SqliteStore::in_memory_with(&options)).expect("memory is there");
    block_on(consumers_move_along(sqlite(), redb()));
    block_on(consumers_move_along(redb(), sqlite()));
}
