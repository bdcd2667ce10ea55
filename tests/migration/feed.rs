//! The change feed's consumers, and watching what other processes do.

use std::sync::Arc;

use magnetar::{
    Change, ErrorKind, ImportOptions, JobSpec, JobStore, NewChunk, OnMissing, RedbStore, SqliteStore,
    block_on, chunks, limits,
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
