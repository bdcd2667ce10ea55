//! Imports of more rows than one transaction takes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use magnetar::{
    Change, ErrorKind, ImportOptions, JobSpec, JobStore, NewChunk, OnMissing, Result, chunks, limits,
};

use super::{JOB, c, claim, get, import, refused};
use crate::fixture::{Fixture, ME};
use crate::support::{changes_since, chunks_of};

const ROWS: u64 = limits::IMPORT_ROWS_PER_COMMIT_MAX as u64;

/// A fifth more than one transaction takes.
const MANY: u64 = ROWS + ROWS / 5;

async fn stream(
    store: &dyn JobStore,
    new: impl Iterator<Item = Result<NewChunk>> + Send,
    options: ImportOptions,
) -> Result<magnetar::ImportReport> {
    store.import(JOB, &JobSpec::new(), chunks(new), &options).await
}

/// Every thousandth waits for the one before it.
fn chained(id: u64) -> NewChunk {
    if id.is_multiple_of(1_000) && id > 0 { c(id).depends_on([id - 1]) } else { c(id) }
}

pub(crate) async fn a_large_new_job_is_invisible_until_it_is_whole(mut fx: Fixture) {
    import(&*fx, [c(1)]).await;
    fx.delete_job(JOB).await.expect("it exists");
    fx.new_job(&JobSpec::new()).await.expect("the store is open");
    let jobs_before = fx.list_jobs(None, 10).await.expect("the store is open");
    let feed = fx.changes(0, 100).await.expect("nothing was pruned").next;
    let store = fx.handle();
    let looked = AtomicBool::new(false);
    let new = (0..MANY).map(|id| {
        if id == MANY - 1 {
            // The first slice is committed by now.
            magnetar::block_on(async {
                refused(store.get_stats(JOB).await, ErrorKind::JobNotFound);
                refused(store.claim_pending(JOB).await, ErrorKind::JobNotFound);
                refused(store.get_chunk(JOB, 0).await, ErrorKind::JobNotFound);
                assert_eq!(store.claim(&magnetar::ClaimRequest::new()).await.expect("nothing is ready"), []);
                assert_eq!(store.list_jobs(None, 10).await.expect("the store is open"), jobs_before);
                assert_eq!(changes_since(&*store, feed).await, [], "the feed waits for the whole");
            });
            looked.store(true, Ordering::SeqCst);
        }
        Ok(chained(id))
    });
    let report = stream(&*fx, new, ImportOptions::new()).await.expect("the import is fine");
    assert!(looked.load(Ordering::SeqCst));
    assert_eq!((report.added, report.unchanged), (MANY, 0));
    let stats = fx.get_stats(JOB).await.expect("the job is published");
    assert_eq!(
        (stats.total_chunks, stats.blocked, stats.ready()),
        (MANY, MANY / 1_000 - 1, MANY - MANY / 1_000 + 1)
    );
    let told = changes_since(&*fx, feed).await;
    assert_eq!(told.iter().filter(|change| matches!(change, Change::Chunk { .. })).count() as u64, MANY);
    assert!(matches!(told.first(), Some(Change::Job { .. })), "the job before its chunks");
    drop(store);
    fx.reopen().await;
    assert_eq!(fx.get_stats(JOB).await.expect("the job is published"), stats);
    assert_eq!(claim(&*fx).await.chunk, 0);
}

pub(crate) async fn a_large_import_has_chunks_for_later_too(fx: Fixture) {
    let at_ms = fx.clock.get() + 1_000;
    let is_later = |id| id < 2 || id == MANY - 1;
    let new = || (0..MANY).map(move |id| Ok(if is_later(id) { c(id).not_before_ms(at_ms) } else { c(id) }));
    stream(&*fx, new(), ImportOptions::new()).await.expect("the import is fine");
    let stats = fx.get_stats(JOB).await.expect("the job is published");
    assert_eq!((stats.delayed, stats.ready()), (3, MANY - 3));
    assert_eq!(claim(&*fx).await.chunk, 2);
    let again = stream(&*fx, new(), ImportOptions::new()).await.expect("the import is fine");
    assert_eq!(again.unchanged, MANY);
    fx.clock.set(at_ms);
    assert_eq!(claim(&*fx).await.chunk, 0);
    let again = stream(&*fx, new(), ImportOptions::new()).await.expect("the import is fine");
    assert_eq!(again.unchanged, MANY);
}

pub(crate) async fn a_large_import_that_fails_leaves_nothing_behind(fx: Fixture) {
    let bad = "x".parse::<magnetar::JobStatus>().expect_err("that is no status");
    let endings: [(&str, Result<NewChunk>, ErrorKind); 3] = [
        ("an error of the stream", Err(bad), ErrorKind::InvalidInput),
        ("an id for the second time", Ok(c(5)), ErrorKind::DuplicateChunk),
        ("a dependency on nobody", Ok(c(MANY).depends_on([MANY + 1])), ErrorKind::UnknownDependency),
    ];
    for (what, ending, kind) in endings {
        let new = (0..MANY).map(|id| Ok(c(id))).chain([ending]);
        let error = refused(stream(&*fx, new, ImportOptions::new()).await, kind);
        assert_eq!(error.job(), Some(JOB), "{what}");
        refused(fx.get_stats(JOB).await, ErrorKind::JobNotFound);
        let info = fx.info().await.expect("the store is open");
        assert_eq!(info.visible_revision, info.revision, "{what}: the feed waits for nothing");
    }
    assert_eq!(import(&*fx, [c(1)]).await.added, 1, "the id is free");
    let told = changes_since(&*fx, 0).await;
    assert!(
        told.iter().all(|change| !matches!(change, Change::Chunk { state, .. } if state.chunk != 1)),
        "{told:?}"
    );
    assert_eq!(told.iter().filter(|change| matches!(change, Change::Chunk { .. })).count(), 1);
    fx.verify().await.expect("nothing is damaged");
}

pub(crate) async fn whoever_has_imported_is_needed_no_more_once_it_closes(fx: Fixture) {
    let bad = Ok(c(MANY).depends_on([MANY + 1]));
    let new = (0..MANY).map(|id| Ok(c(id))).chain([bad]);
    refused(stream(&*fx, new, ImportOptions::new()).await, ErrorKind::UnknownDependency);
    stream(&*fx, (0..MANY).map(|id| Ok(c(id))), ImportOptions::new()).await.expect("the import is fine");
    assert!(!fx.living.has_retired(ME));
    fx.close().await.expect("it closes");
    assert!(fx.living.has_retired(ME));
}

pub(crate) async fn a_circle_across_slices_is_found_before_anything_shows(fx: Fixture) {
    let new = (0..MANY).map(|id| Ok(if id == 0 { c(0).depends_on([MANY - 1]) } else { c(id) }));
    let new = new.chain([Ok(c(MANY).depends_on([0]))]);
    stream(&*fx, new, ImportOptions::new()).await.expect("a dependency on a later slice is fine");
    fx.delete_job(JOB).await.expect("it exists");
    let round = (0..=MANY).map(|id| match id {
        0 => Ok(c(0).depends_on([MANY])),
        MANY => Ok(c(MANY).depends_on([0])),
        _ => Ok(c(id)),
    });
    refused(stream(&*fx, round, ImportOptions::new()).await, ErrorKind::DependencyCycle);
    refused(fx.get_stats(JOB).await, ErrorKind::JobNotFound);
}

pub(crate) async fn what_is_unchanged_of_a_large_import_is_free(fx: Fixture) {
    stream(&*fx, (0..MANY).map(|id| Ok(chained(id))), ImportOptions::new())
        .await
        .expect("the import is fine");
    let revision = fx.changes(0, 1).await.expect("nothing was pruned");
    assert!(revision.more);
    let feed = changes_since(&*fx, 0).await.last().map(Change::revision).expect("there are changes");
    let report = stream(&*fx, (0..MANY).map(|id| Ok(chained(id))), ImportOptions::new())
        .await
        .expect("nothing is new");
    assert_eq!((report.added, report.updated, report.unchanged), (0, 0, MANY));
    assert_eq!(changes_since(&*fx, feed).await, []);
    let some = (0..MANY).map(|id| Ok(if id % 10_000 == 7 { c(id).priority(1) } else { chained(id) }));
    let report = stream(&*fx, some, ImportOptions::new()).await.expect("few are changed");
    assert_eq!((report.updated, report.unchanged), (MANY / 10_000, MANY - MANY / 10_000));
    assert_eq!(get(&*fx, 7).await.priority, 1);
    let fewer = (0..MANY - 5).map(|id| Ok(if id % 10_000 == 7 { c(id).priority(1) } else { chained(id) }));
    let delete = ImportOptions::new().on_missing(OnMissing::Delete);
    let report = stream(&*fx, fewer, delete).await.expect("few are gone");
    assert_eq!((report.deleted, report.unchanged), (5, MANY - 5));
    assert_eq!(fx.get_stats(JOB).await.expect("the job exists").total_chunks, MANY - 5);
}

pub(crate) async fn too_many_changes_of_an_existing_job_are_refused_unless_slices_are_asked_for(fx: Fixture) {
    import(&*fx, [c(0)]).await;
    let new = || (0..=ROWS + 1).map(|id| Ok(c(id)));
    let error = refused(stream(&*fx, new(), ImportOptions::new()).await, ErrorKind::TooLarge);
    assert!(error.to_string().contains("slices"), "{error}");
    assert_eq!(chunks_of(&*fx, JOB).await.len(), 1);
    let report = stream(&*fx, new(), ImportOptions::new().in_slices()).await.expect("it was asked for");
    assert_eq!((report.added, report.unchanged), (ROWS + 1, 1));
    assert_eq!(fx.get_stats(JOB).await.expect("the job exists").ready(), ROWS + 2);
    // What stands in a later slice is not missing from an earlier one.
    let urgent = (0..=ROWS + 1).map(|id| Ok(c(id).priority(1)));
    let delete = ImportOptions::new().in_slices().on_missing(OnMissing::Delete);
    let report = stream(&*fx, urgent, delete).await.expect("it was asked for");
    assert_eq!((report.updated, report.deleted), (ROWS + 2, 0));
}

pub(crate) async fn one_step_takes_as_many_bytes_as_the_limit_says_and_slices_take_more(fx: Fixture) {
    let text = "x".repeat(limits::PAYLOAD_BYTES_MAX - 2);
    let payload = magnetar::Json::new(&text).expect("it is JSON");
    let most = (limits::IMPORT_BYTES_PER_COMMIT_MAX / limits::PAYLOAD_BYTES_MAX) as u64;
    let first = |count| (0..count).map(|id| Ok(c(id).payload(payload.clone())));
    import(&*fx, []).await;
    let error = refused(stream(&*fx, first(most + 1), ImportOptions::new()).await, ErrorKind::TooLarge);
    assert!(error.to_string().contains("slices"), "{error}");
    assert_eq!(chunks_of(&*fx, JOB).await, []);
    stream(&*fx, first(most), ImportOptions::new()).await.expect("that many are one step");
    let report = stream(&*fx, first(most + 1), ImportOptions::new()).await.expect("one of them is new");
    assert_eq!((report.added, report.unchanged), (1, most));
}

pub(crate) async fn one_step_takes_as_many_dependencies_as_the_limit_says_and_slices_take_more(fx: Fixture) {
    let each = limits::DEPENDENCIES_PER_CHUNK_MAX as u64;
    let most = limits::DEPENDENCIES_PER_COMMIT_MAX as u64 / each;
    import(&*fx, (0..each).map(c)).await;
    let waiting = |count| (each..each + count).map(|id| Ok(c(id).depends_on(0..each)));
    let error = refused(stream(&*fx, waiting(most + 1), ImportOptions::new()).await, ErrorKind::TooLarge);
    assert!(error.to_string().contains("dependencies"), "{error}");
    assert_eq!(fx.get_stats(JOB).await.expect("the job exists").total_chunks, each);
    let report = stream(&*fx, waiting(most), ImportOptions::new()).await.expect("that many are one step");
    assert_eq!(report.added, most);
    let report = stream(&*fx, waiting(most + 1), ImportOptions::new()).await.expect("one of them is new");
    assert_eq!((report.added, report.unchanged), (1, most));
    fx.delete_job(JOB).await.expect("it exists");
    let new = (0..each).map(|id| Ok(c(id))).chain(waiting(most + 1));
    let report = stream(&*fx, new, ImportOptions::new()).await.expect("a new job takes any number");
    assert_eq!(report.added, each + most + 1);
    let last = fx.get_dependencies(JOB, each + most).await.expect("the job exists");
    assert_eq!(last.len() as u64, each);
}

pub(crate) async fn one_transaction_takes_as_many_rows_as_the_limit_says(fx: Fixture) {
    import(&*fx, []).await;
    let new = || (0..ROWS).map(|id| Ok(c(id)));
    let report = stream(&*fx, new(), ImportOptions::new()).await.expect("that many are one step");
    assert_eq!(report.added, ROWS);
}

pub(crate) async fn other_operations_run_between_the_slices(fx: Fixture) {
    super::try_import(&*fx, 8, JobSpec::new(), [c(1)], ImportOptions::new()).await.expect("it is fine");
    let claimed = Arc::new(Mutex::new(None));
    let (store, taken) = (fx.handle(), Arc::clone(&claimed));
    let new = (0..MANY).map(move |id| {
        if id == ROWS + 1 {
            *taken.lock().expect("nobody panicked") =
                magnetar::block_on(store.claim_pending(8)).expect("the job exists");
        }
        Ok(c(id))
    });
    stream(&*fx, new, ImportOptions::new()).await.expect("the import is fine");
    let state = claimed.lock().expect("nobody panicked").take().expect("it was ready");
    fx.complete(&state.claim(), Default::default()).await.expect("it is open");
}

pub(crate) async fn a_large_job_is_listed_page_by_page_and_deleted_whole(fx: Fixture) {
    let many = limits::LIST_ROWS_MAX as u64 + 1;
    stream(&*fx, (0..many).map(|id| Ok(c(id))), ImportOptions::new()).await.expect("the import is fine");
    let pending = magnetar::JobStatus::Pending;
    let error = refused(fx.get_by_status(JOB, pending).await, ErrorKind::TooLarge);
    assert!(error.to_string().contains("page_by_status"), "{error}");
    refused(fx.resume_pending(JOB).await, ErrorKind::TooLarge);
    refused(fx.topo_sort_ready(JOB).await, ErrorKind::TooLarge);
    claim(&*fx).await;
    assert_eq!(fx.get_by_status(JOB, pending).await.expect("one fewer").len() as u64, many - 1);
    let page = fx
        .page_by_status(JOB, Some(pending), Some(50_000), limits::PAGE_ROWS_MAX)
        .await
        .expect("it is a page");
    assert_eq!((page.len(), page[0].chunk), (limits::PAGE_ROWS_MAX, 50_001));
    fx.delete_job(JOB).await.expect("it exists");
    refused(fx.get_stats(JOB).await, ErrorKind::JobNotFound);
    assert_eq!(changes_since(&*fx, 0).await.len(), 1, "one tombstone");
    fx.verify().await.expect("nothing is damaged");
}
