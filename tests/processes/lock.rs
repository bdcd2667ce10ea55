//! A redb file has one process at a time; another is told at once who that is.

use magnetar::{ErrorKind, JobStore, RedbStore, Retry, block_on};

use crate::child::{Running, say, told, wait_for_go};

#[test]
#[ignore = "a child process of the test here, which holds the file until it is killed"]
fn holder() {
    let Some(told) = told() else { return };
    let _store = RedbStore::open(&told[0]).expect("the file opens");
    say("open");
    wait_for_go();
}

#[test]
fn a_second_process_is_told_who_holds_the_file_and_gets_it_after_a_kill() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("jobs.redb");
    let told = path.to_str().expect("a path in text");
    for _ in 0..3 {
        let mut child = Running::start("lock::holder", &[told]);
        assert_eq!(child.next().as_deref(), Some("open"));
        // Were this to wait for the file, it would wait for ever: the child gives it up only when it is killed.
        let error = RedbStore::open(&path).expect_err("another process holds it");
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Locked, Retry::Later), "{error:?}");
        let who = format!("process {} ", child.id());
        assert!(error.to_string().contains(&who), "{error} does not name {who:?}");
        child.kill();
        child.wait();
        let store = RedbStore::open(&path).expect("free after the kill");
        block_on(store.verify()).expect("a whole store");
    }
}

#[test]
fn a_second_handle_of_the_same_process_is_refused_too() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("jobs.redb");
    let first = RedbStore::open(&path).expect("a new file");
    let error = RedbStore::open(&path).expect_err("it is open already");
    assert_eq!(error.kind(), ErrorKind::Locked, "{error:?}");
    drop(first);
    RedbStore::open(&path).expect("free again");
}
