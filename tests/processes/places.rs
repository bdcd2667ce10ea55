//! A store is the same whatever it was called when it was opened, and wherever its process has gone since.

use std::path::Path;

use magnetar::{ImportOptions, JobSpec, JobStore, NewChunk, block_on, chunks};

use crate::child::{Running, say, told, wait_for_go};

const JOB: i64 = 3;

fn import(store: &dyn JobStore) {
    let new = chunks([Ok(NewChunk::new(0))]);
    block_on(store.import(JOB, &JobSpec::new(), new, &ImportOptions::new())).expect("an import");
}

/// How many chunks are pending, processing.
fn counts(store: &dyn JobStore) -> (u64, u64) {
    let stats = block_on(store.get_stats(JOB)).expect("the counters");
    (stats.pending, stats.processing)
}

#[test]
#[ignore = "a child process of the tests here: it claims, and is killed"]
fn wanderer() {
    let Some(told) = told() else { return };
    std::env::set_current_dir(&told[0]).expect("the folder is there");
    let store = block_on(magnetar::open(&told[1])).expect("the file opens");
    std::env::set_current_dir(&told[2]).expect("the folder is there");
    import(&*store);
    block_on(store.claim_pending(JOB)).expect("a claim").expect("one is ready");
    assert_eq!(counts(&*store), (0, 1));
    block_on(store.reopen()).expect("the file is where it was");
    assert_eq!(counts(&*store), (0, 1));
    say("held");
    wait_for_go();
}

/// Has a child claim what there is, in a store that it calls `name` from one folder, and go to another folder. It is
/// killed then, and what it held is there at once for whoever calls the store by its path.
fn wander_and_die(path: &Path, from: &Path, name: &str, to: &Path) {
    let told = [from, Path::new(name), to].map(|path| path.to_str().expect("a path in text"));
    let mut child = Running::start("places::wanderer", &told);
    let said = child.next();
    child.kill();
    let (_, text) = child.wait();
    assert_eq!(said.as_deref(), Some("held"), "{text}");
    assert_eq!(std::fs::read_dir(to).expect("a folder").count(), 0, "something was left in the wrong folder");
    let store = block_on(magnetar::open(path)).expect("the file opens");
    block_on(store.resume_pending(JOB)).expect("the job is there");
    assert_eq!(counts(&*store), (1, 0));
}

#[test]
fn a_process_that_goes_to_another_folder_goes_on_with_its_store_and_is_known_to_be_dead() {
    let names = [("jobs.db", cfg!(feature = "sqlite")), ("jobs.redb", cfg!(feature = "redb"))];
    for (name, _) in names.into_iter().filter(|(_, is_compiled_in)| *is_compiled_in) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let elsewhere = tempfile::tempdir().expect("a temporary folder");
        wander_and_die(&folder.path().join(name), folder.path(), name, elsewhere.path());
    }
}

#[cfg(all(feature = "sqlite", unix))]
#[test]
fn a_process_that_opened_a_symbolic_link_is_known_to_be_dead_by_the_name_of_the_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let links = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("jobs.db");
    block_on(async { magnetar::open(&path).await?.close().await }).expect("a new file");
    std::os::unix::fs::symlink(&path, links.path().join("link.db")).expect("a link");
    wander_and_die(&path, links.path(), "link.db", elsewhere.path());
    assert_eq!(
        std::fs::read_dir(links.path()).expect("a folder").count(),
        1,
        "the locks are beside the link"
    );
}
