//! Commits that are not synced, as their callers see them. What a power cut leaves of them is `tests/crash`'s.
#![allow(missing_docs, reason = "a test crate documents itself by its names")]
#![cfg(all(feature = "sqlite", feature = "redb"))]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use magnetar::dual::{DualOptions, DualStore};
use magnetar::{
    ClaimRequest, Completion, Durability, ErrorKind, JobStatus, JobStore, Manifest, OpenOptions, Outcome,
    RedbStore, ResetReach, Result, Selection, SqliteStore, block_on, limits,
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

/// On a file of this name.
fn on(name: &str, test: &impl AsyncFn(&Path) -> Result<()>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    block_on(test(&folder.path().join(name))).unwrap_or_else(|e| panic!("{name}: {e:?}"));
}

/// On a file of each engine.
fn each(test: &impl AsyncFn(&Path) -> Result<()>) {
    on("jobs.db", test);
    on("jobs.redb", test);
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
            assert_eq!(revision(&*store).await?, newest, "round {round}: looking at it changes nothing");
            let before = newest;
            for is_written_to in [false, true] {
                if is_written_to {
                    store.reset(JOB, Selection::All, ResetReach::Direct).await?;
                    let fence = work(&*store).await?;
                    assert!(fence > before + limits::UNSYNCED_REVISIONS_MAX / 2, "round {round}: {fence}");
                }
                // Whoever saw what is there goes on from it; whoever saw more would miss what is new. The feed begins
                // behind stretches that are too many to be told apart.
                for &revision in &seen {
                    match store.changes(revision, 9).await {
                        Ok(_) => {}
                        Err(error) if round >= limits::LOST_STRETCHES_MAX => {
                            assert_eq!(error.kind(), ErrorKind::FeedTruncated, "round {round}");
                            assert!(error.to_string().contains("starts after"), "round {round}: {error}");
                        }
                        Err(error) => return Err(error),
                    }
                }
                for lost in [before + 1, before + limits::UNSYNCED_REVISIONS_MAX / 2] {
                    let error = store.changes(lost, 9).await.expect_err("it may be lost");
                    assert_eq!(error.kind(), ErrorKind::FeedTruncated, "round {round}");
                }
            }
            newest = revision(&*store).await?;
            seen.push(newest);
            store.verify().await?;
            let left = killed(&at.1);
            store.close().await?;
            at = left;
        }
        // Whoever registers is told where to begin, and comes to the end from there.
        store = open(&at.1, &OpenOptions::new()).await?;
        let mut next = store.register_consumer("reports").await?;
        while next < revision(&*store).await? {
            next = store.advance_consumer("reports", store.changes(next, 2).await?.next).await?;
        }
        store.close().await
    });
}

#[test]
fn a_store_that_others_look_at_meanwhile_skips_nothing() {
    on("jobs.db", &async |path| {
        let store = filled(path).await?;
        for _ in 0..5 {
            let last = revision(&*store).await?;
            for options in [OpenOptions::new(), relaxed()] {
                let other = open(path, &options).await?;
                other.get_stats(JOB).await?;
                other.reset(JOB, Selection::All, ResetReach::Direct).await?;
                work(&*other).await?;
                other.close().await?;
            }
            store.reopen().await?;
            store.mark_status(JOB, 2, JobStatus::Failed, None).await?;
            store.retry_failed(JOB, Selection::All).await?;
            assert!(revision(&*store).await? < last + 100, "whoever does not sync lives");
        }
        store.close().await
    });
}

/// Whether the WAL of a file was synced cannot be seen from here; that something was committed can.
#[test]
fn who_syncs_does_not_vouch_for_what_is_not_synced() {
    on("jobs.db", &async |path| {
        let one = filled(path).await?;
        let other = open(path, &OpenOptions::new()).await?;
        one.mark_status(JOB, 1, JobStatus::Done, None).await?;
        let before = revision(&*other).await?;
        let outcome = other.mark_status(JOB, 1, JobStatus::Done, None).await?;
        assert_eq!(outcome, Outcome::Unchanged);
        assert!(revision(&*other).await? > before, "a commit of its own, which is synced");
        let last = one.claim_pending(JOB).await?.expect("one is ready").claim();
        one.complete(&last, Completion::new()).await?;
        let before = revision(&*other).await?;
        let next = other.complete_and_claim(&last, Completion::new(), &ClaimRequest::new().job(JOB)).await?;
        assert_eq!(next, [], "all are done");
        assert!(revision(&*other).await? > before, "a commit of its own, which is synced");
        one.close().await?;
        let before = revision(&*other).await?;
        other.mark_status(JOB, 1, JobStatus::Done, None).await?;
        assert_eq!(revision(&*other).await?, before, "what is closed is on the disk");
        other.close().await
    });
}

#[test]
fn two_processes_of_which_one_syncs_give_no_fence_twice() {
    on("jobs.db", &async |path| {
        let one = filled(path).await?;
        let mut fences = Vec::new();
        for options in [OpenOptions::new(), relaxed(), OpenOptions::new()] {
            let other = open(path, &options).await?;
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
}

#[test]
fn a_pair_of_relaxed_stores_syncs_every_commit() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [from, to] = ["jobs.db", "jobs.redb"].map(|name| folder.path().join(name));
    let tested: Result<()> = block_on(async {
        filled(&from).await?.close().await?;
        let dual = async || DualStore::open(&from, &to, &relaxed(), &DualOptions::new()).await;
        let pair = dual().await?;
        work(&pair).await?;
        let last = revision(&pair).await?;
        let at = killed(&from);
        pair.close().await?;
        let alone = open(&at.1, &relaxed()).await?;
        work(&*alone).await?;
        assert!(
            revision(&*alone).await? < last + 100,
            "nothing may have been lost, so that nothing is skipped"
        );
        alone.close().await?;
        let pair = dual().await?;
        assert!(pair.compare().await?.is_equal());
        pair.cut_over().await?;
        work(&pair).await?;
        pair.detach().await?;
        pair.close().await
    });
    tested.expect("it is moved");
}

#[test]
fn stores_in_memory_take_it_as_well() {
    let tested: Result<()> = block_on(async {
        let stores: [Arc<dyn JobStore>; 2] = [
            Arc::new(SqliteStore::in_memory_with(&relaxed()).await?),
            Arc::new(RedbStore::in_memory_with(&relaxed())?),
        ];
        for store in stores {
            store.init_from_manifest(JOB, &Manifest::from_toml("[[chunks]]\nid = 1")?).await?;
            work(&*store).await?;
            store.reopen().await?;
            assert!(store.get_stats(JOB).await?.is_complete());
            store.close().await?;
        }
        Ok(())
    });
    tested.expect("it is taken");
}
