//! Exports of whole jobs beside workers: the store as it was at one moment, whatever happened meanwhile. The changes are
//! made between the pieces, so that they always come at the same places.

use std::collections::BTreeMap;
use std::sync::Arc;

use magnetar::export::Export;
use magnetar::{
    ChunkUpdate, ClaimRequest, Completion, ErrorKind, ImportOptions, JobSpec, JobState, JobStatus, JobStore,
    NewChunk, OnMissing, ResetReach, Selection, block_on, limits,
};

use crate::support::seed;
use crate::{places, text_of, zoo};

/// The job that is always at work.
const BUSY: i64 = 5;

/// The newest line of each thing that is left, by job and chunk; of a job without a chunk.
fn folded(text: &str) -> BTreeMap<(i64, Option<u64>), serde_json::Value> {
    let mut newest = BTreeMap::new();
    for line in text.lines() {
        let mut line: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
        let job = line["job_id"].as_i64().unwrap_or(-1);
        let key = (job, line["chunk"].as_u64());
        match line["kind"].as_str().expect("a kind") {
            "job" => drop(newest.insert(key, line)),
            "chunk" => {
                assert!(newest.contains_key(&(job, None)), "chunk {key:?} stands before its job");
                // What it has from its job stands with the job.
                for limit in ["attempts_max", "losses_max"] {
                    line.as_object_mut().expect("an object").remove(limit);
                }
                newest.insert(key, line);
            }
            "chunk_deleted" => drop(newest.remove(&key)),
            "job_deleted" => newest.retain(|(of, _), _| *of != job),
            _ => {}
        }
    }
    newest
}

/// Each chunk waits for the ones 100 and 1,000 before it, but in every seventh hundred.
fn chunk(id: u64) -> NewChunk {
    let before = [1_000, 100].into_iter().filter_map(|by| id.checked_sub(by));
    NewChunk::new(id).depends_on(before.filter(|_| !(id / 100).is_multiple_of(7)))
}

async fn import(store: &dyn JobStore, job: i64, spec: JobSpec, ids: impl Iterator<Item = u64> + Send) {
    let options = ImportOptions::new().on_missing(OnMissing::Delete);
    let new = magnetar::chunks(ids.map(|id| Ok(chunk(id))));
    store.import(job, &spec, new, &options).await.expect("imported");
}

/// Whoever works here holds one chunk at any moment.
async fn work(store: &dyn JobStore, held: &mut JobState, count: usize) {
    let next = ClaimRequest::new().job(BUSY);
    for _ in 0..count {
        let got = store.complete_and_claim(&held.claim(), Completion::new(), &next).await;
        if let Some(got) = got.expect("it is held").pop() {
            *held = got;
        } else {
            reset(store).await;
            *held = store.claim_pending(BUSY).await.expect("the job exists").expect("it was reset");
        }
    }
}

async fn reset(store: &dyn JobStore) {
    store.reset(BUSY, Selection::All, ResetReach::Direct).await.expect("the job exists");
}

/// More changes than a page of the feed has, most of them of things that change again.
async fn churn(store: &dyn JobStore) {
    for _ in 0..2 {
        let held = store.claim_pending_batch(BUSY, 2_000).await.expect("the job exists");
        let done = held.iter().map(|held| ChunkUpdate::Complete(held.claim(), Completion::new())).collect();
        store.apply_batch_updates(BUSY, done).await.expect("they are held");
        let done = store.page_by_status(BUSY, Some(JobStatus::Done), None, 3_000).await.expect("it exists");
        let done = done.iter().map(|state| state.chunk).collect();
        store.reset(BUSY, Selection::Chunks(done), ResetReach::Direct).await.expect("it exists");
    }
}

/// Jobs and chunks come, change and go.
async fn change(store: &dyn JobStore, random: &mut fastrand::Rng) {
    let job = random.i64(1..12);
    if job == BUSY {
        let chunk = random.u64(0..4_500);
        let on = chunk + random.u64(1..50);
        match store.add_dependency(BUSY, chunk, vec![on]).await {
            Err(error) if matches!(error.kind(), ErrorKind::Refused | ErrorKind::UnknownDependency) => {}
            added => drop(added.expect("it is a later one, so there is no circle")),
        }
        return;
    }
    match random.u8(0..4) {
        0 => match store.delete_job(job).await {
            Err(error) if error.kind() == ErrorKind::JobNotFound => {}
            deleted => drop(deleted.expect("it goes")),
        },
        1 => {
            let spec = JobSpec::new().attempts_max(random.u32(1..9));
            let (from, to) = (random.u64(0..10), random.u64(10..30));
            import(store, job, spec, from..to).await;
        }
        2 => import(store, job, JobSpec::new(), 0..random.u64(1..300)).await,
        _ => {
            let held = store.claim(&ClaimRequest::new().job(job).count(random.usize(1..9))).await;
            for (at, held) in held.unwrap_or_default().iter().enumerate() {
                if at % 2 == 0 {
                    store.fail_permanently(&held.claim(), "no").await.expect("it is held");
                } else {
                    store.complete(&held.claim(), Completion::new()).await.expect("it is held");
                }
            }
        }
    }
}

#[test]
fn what_is_exported_while_workers_work_is_the_store_as_it_was_at_one_moment() {
    for (name, place) in places() {
        let zoo::Zoo { store, .. } = zoo::open(&*place);
        let mut random = fastrand::Rng::with_seed(seed("moment", 7));
        block_on(async {
            for job in [1, 2, BUSY, 9] {
                import(&*store, job, JobSpec::new(), 0..if job == BUSY { 4_500 } else { 300 }).await;
            }
            let mut held = store.claim_pending(BUSY).await.expect("it exists").expect("one is ready");
            let mut bytes = Export::new(Arc::clone(&store)).json_lines();
            let (mut moments, mut text, mut pieces) = (BTreeMap::new(), Vec::new(), 0);
            loop {
                let (quiet, exported) = text_of(Export::new(Arc::clone(&store)).json_lines());
                moments.insert(exported.revision, quiet);
                let Some(piece) = bytes.next().await.expect("it is exported") else { break };
                text.extend(piece);
                pieces += 1;
                assert!(pieces < 50, "{name}: it never ends");
                if pieces <= 4 {
                    churn(&*store).await;
                }
                work(&*store, &mut held, 60).await;
                for _ in 0..6 {
                    change(&*store, &mut random).await;
                }
                // It may have been taken along by a reset.
                let now = store.get_chunk(BUSY, held.chunk).await.expect("it exists").expect("it exists");
                assert_eq!(now.status, JobStatus::Processing);
            }
            assert!(pieces > 4, "{name}: {pieces} pieces");
            let text = String::from_utf8(text).expect("UTF-8");
            let moment = moments.get(&bytes.exported().revision).expect("the store stood so once");
            let (lines, stood) = (folded(&text), folded(moment));
            for (key, line) in &stood {
                assert_eq!(lines.get(key), Some(line), "{name}: {key:?}");
            }
            assert_eq!(lines.len(), stood.len(), "{name}");
            let copy = zoo::open(&*places().remove(0).1);
            copy.store.restore(&mut text.as_bytes()).await.expect("it is restored");
            let (again, _) = text_of(Export::new(Arc::clone(&copy.store)).json_lines());
            assert!(again == *moment, "{name}: the restored store has other lines");
            let stats = copy.store.get_stats(BUSY).await.expect("it is there");
            assert_eq!(stats.processing, 1, "{name}");
        });
    }
}

/// An import into a job that nobody sees yet ends in the middle of an export.
#[test]
fn a_job_that_is_published_meanwhile_stands_before_its_chunks() {
    const LARGE: u64 = limits::IMPORT_ROWS_PER_COMMIT_MAX as u64 + 10;
    for (name, place) in places() {
        let zoo::Zoo { store, .. } = zoo::open(&*place);
        block_on(import(&*store, 2, JobSpec::new(), 0..3_000));
        let mut bytes = Export::new(Arc::clone(&store)).json_lines();
        let mut text = Vec::new();
        let new = (0..LARGE).map(|id| {
            if id == LARGE - 1 {
                text = block_on(bytes.next()).expect("it is exported").expect("a piece");
            }
            Ok(NewChunk::new(id))
        });
        // Its id comes before the one that is being read.
        block_on(store.import(1, &JobSpec::new(), magnetar::chunks(new), &ImportOptions::new()))
            .expect("imported");
        block_on(async {
            while let Some(piece) = bytes.next().await.expect("it is exported") {
                text.extend(piece);
            }
            let copy = zoo::open(&*places().remove(0).1);
            copy.store.restore(&mut text.as_slice()).await.expect("it is restored");
            let stats = copy.store.get_stats(1).await.expect("it is there");
            assert_eq!(stats.total_chunks, LARGE, "{name}");
        });
    }
}

#[cfg(feature = "redb")]
fn in_memory() -> Arc<dyn JobStore> {
    Arc::new(magnetar::RedbStore::in_memory().expect("memory is there"))
}

/// So many changes, of a job that goes again.
#[cfg(feature = "redb")]
async fn come_and_go(store: &dyn JobStore, chunks: u64) {
    let new = magnetar::chunks((0..chunks).map(|id| Ok(NewChunk::new(id))));
    store.import(99, &JobSpec::new(), new, &ImportOptions::new()).await.expect("imported");
    store.delete_job(99).await.expect("it goes");
}

#[cfg(feature = "redb")]
#[test]
fn an_export_outlasts_the_feed() {
    let store = in_memory();
    block_on(async {
        import(&*store, BUSY, JobSpec::new(), 0..6_000).await;
        for job in [BUSY + 1, BUSY + 2] {
            import(&*store, job, JobSpec::new(), 0..10).await;
        }
        let mut held = store.claim_pending(BUSY).await.expect("it exists").expect("one is ready");
        let mut bytes = Export::new(Arc::clone(&store)).json_lines();
        let (mut text, mut pieces) = (Vec::new(), 0);
        while let Some(piece) = bytes.next().await.expect("nothing that it needs is cut off") {
            text.extend(piece);
            pieces += 1;
            if pieces <= 2 {
                work(&*store, &mut held, 10).await;
                // It was listed by then, and its turn is still to come.
                store.delete_job(BUSY + 1).await.expect("it goes");
                let rows = limits::IMPORT_ROWS_PER_COMMIT_MAX as u64;
                for _ in 0..=limits::FEED_REVISIONS_KEPT / 2 / rows {
                    come_and_go(&*store, rows).await;
                }
            }
        }
        let error = store.changes(0, 1).await.expect_err("it is cut off");
        assert_eq!(error.kind(), ErrorKind::FeedTruncated);
        let (quiet, _) = text_of(Export::new(Arc::clone(&store)).json_lines());
        let text = String::from_utf8(text).expect("UTF-8");
        assert!(folded(&text) == folded(&quiet), "it is the store");
    });
}

/// What is still owed to dependents when an export ends would be owed for ever in a store that is made of it.
#[test]
fn an_export_beside_a_reset_of_thousands_has_all_of_it_or_says_that_it_goes_on() {
    for (name, place) in places() {
        let zoo::Zoo { store, .. } = zoo::open(&*place);
        let count = 3 * limits::DEPENDENTS_PER_COMMIT_MAX as u64;
        let new = (0..=count).map(|id| Ok(NewChunk::new(id).depends_on((id > 0).then_some(0))));
        block_on(async {
            let (spec, options) = (JobSpec::new(), ImportOptions::new());
            store.import(1, &spec, magnetar::chunks(new), &options).await.expect("imported");
            while store.get_stats(1).await.expect("it is there").done <= count {
                let claimed = store.claim_pending_batch(1, 1_000).await.expect("claimed");
                let done = claimed.iter().map(|one| ChunkUpdate::Complete(one.claim(), Completion::new()));
                store.apply_batch_updates(1, done.collect()).await.expect("they are done");
            }
            store.reset(1, Selection::Chunks(vec![0]), ResetReach::Through).await.expect("it is reset");
        });
        let text = loop {
            let mut text = Vec::new();
            match block_on(Export::new(Arc::clone(&store)).json_lines().write_to(&mut text)) {
                Ok(_) => break text,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Busy, "{name}: {error}");
                    assert!(error.to_string().contains("still being told"), "{name}: {error}");
                }
            }
        };
        let (_, other) = places().remove(0);
        let copy = zoo::open(&*other);
        block_on(copy.store.restore(&mut text.as_slice())).expect("it is restored");
        let stats = block_on(copy.store.get_stats(1)).expect("it is there");
        assert_eq!((stats.done, stats.blocked, stats.settling), (0, count, false), "{name}");
    }
}

#[cfg(feature = "redb")]
#[test]
fn an_export_that_never_catches_up_gives_up() {
    let store = in_memory();
    block_on(async {
        store.new_job(&JobSpec::new()).await.expect("created");
        let mut bytes = Export::new(Arc::clone(&store)).json_lines();
        let mut chunks = 0;
        let error = loop {
            // More than a page of the feed, and enough of it to be handed over.
            chunks += 200;
            import(&*store, 7, JobSpec::new(), 0..chunks).await;
            come_and_go(&*store, limits::PAGE_ROWS_MAX as u64).await;
            match bytes.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it cannot have caught up"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(error.to_string().contains("faster"), "{error}");
    });
}
