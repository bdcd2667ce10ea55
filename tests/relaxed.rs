//! Commits that are not synced, as their callers see them. What a power cut leaves of them is `tests/crash`'s.
#![allow(missing_docs, reason = "a test crate documents itself by its names")]
#![cfg(all(feature = "sqlite", feature = "redb"))]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use magnetar::dual::{DualOptions, DualStore};
use magnetar::{
    Completion, Durability, ErrorKind, JobStore, Manifest, OpenOptions, ResetReach, Result, Selection,
    block_on, limits,
};

const JOB: i64 = 1;

fn relaxed() -> OpenOptions {
    OpenOptions::new().durability(Durability::Relaxed)
}

async fn open(path: &Path, options: &OpenOptions) -> Result<Arc<dyn JobStore>> {
    magnetar::open_with(path, options).await
}

async fn filled(path: &Path) -> Result<Arc<dyn JobStore>> {
    let store = open(path, &relaxed()).await?;
    store.init_from_manifest(JOB, &Manifest::from_toml("[[chunks]]\nid = 1\n[[chunks]]\nid = 2")?).await?;
    Ok(store)
}

async fn revision(store: &dyn JobStore) -> Result<u64> {
    Ok(store.info().await?.revision)
}

/// Works one chunk off.
async fn work(store: &dyn JobStore) -> Result<u64> {
    let chunk = store.claim_pending(JOB).await?.expect("one is ready");
    store.complete(&chunk.claim(), Completion::new()).await?;
    Ok(chunk.fence)
}

/// A copy of a store's files as a kill leaves them.
fn killed(path: &Path) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name in text");
    for ending in ["", "-wal"] {
        let file = format!("{name}{ending}");
        let from = path.with_file_name(&file);
        if from.exists() {
            fs::copy(from, folder.path().join(file)).expect("a copy");
        }
    }
    let path = folder.path().join(name);
    (folder, path)
}

/// On a file of each engine.
fn each(test: &impl AsyncFn(&Path) -> Result<()>) {
    for name in ["jobs.db", "jobs.redb"] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        block_on(test(&folder.path().join(name))).unwrap_or_else(|e| panic!("{name}: {e:?}"));
    }
}

#[test]
fn a_store_that_was_closed_goes_on_where_it_stood() {
    each(&async |path| {
        let store = filled(path).await?;
        work(&*store).await?;
        let last = revision(&*store).await?;
        store.close().await?;
        for options in [OpenOptions::new(), relaxed()] {
            let store = open(path, &options).await?;
            assert_eq!(revision(&*store).await?, last);
            assert_eq!(store.changes(last, 9).await?.changes, []);
            store.close().await?;
        }
        Ok(())
    });
}

#[test]
fn a_store_that_was_not_closed_gives_no_fence_that_may_have_been_given() {
    each(&async |path| {
        let mut store = filled(path).await?;
        work(&*store).await?;
        let mut newest = revision(&*store).await?;
        let mut seen = vec![newest];
        let mut at = killed(path);
        store.close().await?;
        for round in 0..limits::LOST_STRETCHES_MAX + 3 {
            store = open(&at.1, &relaxed()).await?;
            let skipped = revision(&*store).await?;
            assert!(skipped > newest + limits::UNSYNCED_REVISIONS_MAX / 2, "round {round}: after {newest}");
            // Whoever saw what is there goes on from it, but for what lies between stretches that are too many to be told
            // apart; whoever saw more would miss what is new.
            if round < limits::LOST_STRETCHES_MAX {
                for &revision in &seen {
                    store.changes(revision, 9).await?;
                }
            }
            for lost in [newest + 1, skipped - 1] {
                let error = store.changes(lost, 9).await.expect_err("it may be lost");
                assert_eq!(error.kind(), ErrorKind::FeedTruncated, "round {round}");
            }
            store.reset(JOB, Selection::All, ResetReach::Direct).await?;
            let fence = work(&*store).await?;
            assert!(fence > skipped, "round {round}");
            newest = revision(&*store).await?;
            seen.extend([skipped, newest]);
            store.verify().await?;
            at = killed(&at.1);
            store.close().await?;
        }
        Ok(())
    });
}

#[test]
fn two_processes_of_which_one_syncs_give_no_fence_twice() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("jobs.db");
    let tested: Result<()> = block_on(async {
        let one = filled(&path).await?;
        let mut fences = Vec::new();
        for options in [OpenOptions::new(), relaxed(), OpenOptions::new()] {
            let other = open(&path, &options).await?;
            for store in [&one, &other, &one, &other] {
                store.reset(JOB, Selection::All, ResetReach::Direct).await?;
                fences.push(work(&**store).await?);
            }
            other.close().await?;
            one.verify().await?;
        }
        assert!(fences.is_sorted_by(|one, next| one < next), "{fences:?}");
        one.close().await
    });
    tested.expect("both work");
}

#[test]
fn a_pair_of_relaxed_stores_syncs_every_commit() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [from, to] = ["jobs.db", "jobs.redb"].map(|name| folder.path().join(name));
    let tested: Result<()> = block_on(async {
        filled(&from).await?.close().await?;
        let dual = async || DualStore::open(&from, &to, &relaxed(), &DualOptions::new()).await;
        let last = {
            let pair = dual().await?;
            work(&pair).await?;
            revision(&pair).await?
        };
        let pair = dual().await?;
        assert_eq!(revision(&pair).await?, last, "nothing may have been lost, so that nothing is skipped");
        assert!(pair.compare().await?.is_equal());
        pair.cut_over().await?;
        work(&pair).await?;
        pair.detach().await?;
        pair.close().await
    });
    tested.expect("it is moved");
}
