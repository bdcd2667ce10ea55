//! More dependents than one commit tells: the rest follows in slices, also after a crash between two of them.

use magnetar::{
    ChunkUpdate, Completion, DependencyFailure, ErrorKind, ImportOptions, JobSpec, JobState, JobStatus,
    JobStore, OnConflict, OnMissing, ResetReach, Selection, chunks, limits,
};

use super::{JOB, c, claim, import, import_as, mark_done, try_import};
use crate::fixture::{Fixture, OTHER};

/// Three and a half times what one commit tells.
const MANY: u64 = 3_500;

fn fan() -> impl Iterator<Item = magnetar::NewChunk> {
    assert!(MANY > 3 * limits::DEPENDENTS_PER_COMMIT_MAX as u64);
    std::iter::once(c(0)).chain((1..=MANY).map(|id| c(id).depends_on([0])))
}

/// Other operations of the same store come behind the slices that are left, one each.
async fn settled(store: &dyn JobStore) -> magnetar::JobStats {
    for _ in 0..MANY {
        let stats = store.get_stats(JOB).await.expect("the job exists");
        if stats.blocked == 0 || stats.blocked == MANY {
            return stats;
        }
        store.release_all().await.expect("the store is open");
    }
    panic!("the slices come to no end");
}

pub(crate) async fn a_completion_frees_thousands_in_slices(fx: Fixture) {
    import(&*fx, fan()).await;
    assert_eq!(fx.get_stats(JOB).await.expect("the job exists").blocked, MANY);
    let held = claim(&*fx).await;
    fx.complete(&held.claim(), Completion::new()).await.expect("it is open");
    assert_eq!(settled(&*fx).await.ready(), MANY);
    fx.verify().await.expect("nothing is damaged");
}

pub(crate) async fn a_completion_is_told_to_the_end_after_a_crash(mut fx: Fixture) {
    import(&*fx, fan()).await;
    let held = claim(&*fx).await;
    fx.complete(&held.claim(), Completion::new()).await.expect("it is open");
    // The answer came with the first slice; the handle is dropped before the others, or with them under way.
    fx.reopen_as(OTHER);
    assert_eq!(
        fx.get_stats(JOB).await.expect("the job exists").ready(),
        MANY,
        "opening goes on with the slices"
    );
    fx.verify().await.expect("nothing is damaged");
}

pub(crate) async fn a_cascade_cancels_and_revives_thousands(fx: Fixture) {
    let spec = JobSpec::new().on_dependency_failure(DependencyFailure::Cancel);
    import_as(&*fx, spec, fan()).await;
    fx.mark_failed(JOB, 0, "broken".into()).await.expect("it is not done");
    settled(&*fx).await;
    assert_eq!(fx.get_stats(JOB).await.expect("the job exists").cancelled, MANY);
    fx.retry_failed(JOB, Selection::All).await.expect("the job exists");
    settled(&*fx).await;
    let stats = fx.get_stats(JOB).await.expect("the job exists");
    assert_eq!((stats.blocked, stats.cancelled, stats.ready()), (MANY, 0, 1));
}

pub(crate) async fn a_reset_that_comes_before_the_slices_are_done_wins(fx: Fixture) {
    import(&*fx, fan()).await;
    let held = claim(&*fx).await;
    fx.complete(&held.claim(), Completion::new()).await.expect("it is open");
    fx.reset(JOB, Selection::Chunks(vec![0]), ResetReach::Direct).await.expect("it is done");
    settled(&*fx).await;
    let stats = fx.get_stats(JOB).await.expect("the job exists");
    assert_eq!((stats.blocked, stats.ready()), (MANY, 1));
    fx.verify().await.expect("nothing is damaged");
}

pub(crate) async fn a_reset_through_takes_back_thousands(fx: Fixture) {
    import(&*fx, fan()).await;
    let held = claim(&*fx).await;
    fx.complete(&held.claim(), Completion::new()).await.expect("it is open");
    settled(&*fx).await;
    let all = fx.claim_pending_batch(JOB, 10_000).await.expect("all are ready");
    assert_eq!(all.len() as u64, MANY);
    let updates = all.iter().map(|s| ChunkUpdate::Complete(s.claim(), Completion::new())).collect();
    let answers = fx.apply_batch_updates(JOB, updates).await.expect("the call is fine");
    assert!(answers.iter().all(Result::is_ok));
    assert!(fx.get_stats(JOB).await.expect("the job exists").is_complete());
    fx.reset(JOB, Selection::Chunks(vec![0]), ResetReach::Through).await.expect("it is done");
    settled(&*fx).await;
    let stats = fx.get_stats(JOB).await.expect("the job exists");
    assert_eq!((stats.done, stats.blocked, stats.ready()), (0, MANY, 1));
}

pub(crate) async fn what_is_left_of_a_reset_through_is_not_forgotten_when_the_chunk_is_done_again(
    fx: Fixture,
) {
    import(&*fx, fan()).await;
    mark_done(&*fx, [0]).await;
    settled(&*fx).await;
    let all = fx.claim_pending_batch(JOB, 10_000).await.expect("all are ready");
    let updates = all.iter().map(|s| ChunkUpdate::Complete(s.claim(), Completion::new())).collect();
    fx.apply_batch_updates(JOB, updates).await.expect("the call is fine");
    fx.reset(JOB, Selection::Chunks(vec![0]), ResetReach::Through).await.expect("it is done");
    mark_done(&*fx, [0]).await;
    for _ in 0..10 {
        // Behind each slice that is left.
        fx.release_all().await.expect("the store is open");
    }
    let done = fx.get_by_status(JOB, JobStatus::Done).await.expect("the job exists");
    assert_eq!((done.len(), done[0].chunk), (1, 0), "every dependent is to be done again");
    assert_eq!(fx.get_stats(JOB).await.expect("the job exists").ready(), MANY);
}

pub(super) async fn nothing_is_left(store: &dyn JobStore) -> magnetar::JobStats {
    for _ in 0..MANY {
        let stats = store.get_stats(JOB).await.expect("the job exists");
        if !stats.settling {
            return stats;
        }
        store.release_all().await.expect("the store is open");
    }
    panic!("the slices come to no end");
}

/// Waits for the last of the fan.
const BEHIND: u64 = MANY + 1;

/// A fan of which all is done that waits for the first one, but not what is behind it. Gives what was claimed.
async fn done_fan(store: &dyn JobStore, spec: JobSpec) -> Vec<JobState> {
    import_as(store, spec, fan().chain([c(BEHIND).depends_on([MANY])])).await;
    mark_done(store, [0]).await;
    nothing_is_left(store).await;
    let all = store.claim_pending_batch(JOB, 10_000).await.expect("all are ready");
    let updates = all.iter().map(|s| ChunkUpdate::Complete(s.claim(), Completion::new())).collect();
    store.apply_batch_updates(JOB, updates).await.expect("the call is fine");
    all
}

/// It stays owed over newer news, and holds the job: what waits for a chunk that is still to be reset is not handed out.
pub(crate) async fn what_is_left_of_a_reset_through_outlasts_all_that_comes_after_it(fx: Fixture) {
    done_fan(&*fx, JobSpec::new()).await;
    import(&*fx, [c(BEHIND + 1).depends_on([MANY])]).await;
    mark_done(&*fx, [BEHIND + 1]).await;
    fx.reset(JOB, Selection::Chunks(vec![0]), ResetReach::Through).await.expect("it is done");
    mark_done(&*fx, [0]).await;
    let claimed = fx.claim_pending_batch(JOB, 10_000).await.expect("the job exists");
    assert!(claimed.iter().all(|chunk| chunk.chunk != BEHIND), "what it waits for is to be done again");
    fx.reset(JOB, Selection::Chunks(vec![0]), ResetReach::Direct).await.expect("it is done");
    let stats = nothing_is_left(&*fx).await;
    assert_eq!((stats.done, stats.blocked, stats.ready()), (0, BEHIND + 1, 1));
    fx.verify().await.expect("nothing is damaged");
}

/// What was done is taken back first, and cancelled then; what was not done is cancelled with what waits for it.
pub(crate) async fn what_is_left_of_a_reset_through_comes_before_a_failure(fx: Fixture) {
    let spec = JobSpec::new().on_dependency_failure(DependencyFailure::Cancel);
    done_fan(&*fx, spec.clone()).await;
    mark_done(&*fx, [BEHIND]).await;
    let open = [c(BEHIND + 1).depends_on([0]), c(BEHIND + 2).depends_on([BEHIND + 1])];
    import_as(&*fx, spec, open).await;
    fx.reset(JOB, Selection::Chunks(vec![0]), ResetReach::Through).await.expect("it is done");
    fx.mark_failed(JOB, 0, "broken".into()).await.expect("it is not done");
    let stats = nothing_is_left(&*fx).await;
    assert_eq!((stats.failed, stats.cancelled, stats.done), (1, BEHIND + 2, 0));
    fx.verify().await.expect("nothing is damaged");
}

pub(crate) async fn a_chunk_that_hears_of_a_reset_through_out_of_turn_passes_it_on(fx: Fixture) {
    let all = done_fan(&*fx, JobSpec::new()).await;
    mark_done(&*fx, [BEHIND]).await;
    fx.reset(JOB, Selection::Chunks(vec![0]), ResetReach::Through).await.expect("it is done");
    // Sent again.
    let last = all[all.len() - 1].claim();
    let done = fx.complete(&last, Completion::new()).await;
    assert_eq!(done.expect_err("it was taken back").kind(), ErrorKind::Superseded);
    let stats = nothing_is_left(&*fx).await;
    assert_eq!((stats.done, stats.blocked, stats.ready()), (0, BEHIND, 1));
    fx.verify().await.expect("nothing is damaged");
}

fn hub() -> Selection {
    Selection::Chunks(vec![0])
}

/// Whatever comes before all dependents were told of a reset, none of them is ready in the end.
pub(crate) async fn a_reset_is_told_to_all_though_other_news_come_before_it_was(fx: Fixture) {
    import(&*fx, fan()).await;
    for what in ["fail", "cancel", "fail, retry", "cancel, fail, retry, cancel", "other content, cancel"] {
        mark_done(&*fx, [0]).await;
        assert_eq!(nothing_is_left(&*fx).await.ready(), MANY);
        if !what.starts_with("other content") {
            fx.reset(JOB, hub(), ResetReach::Direct).await.expect("it is done");
        }
        for step in what.split(", ") {
            match step {
                "fail" => fx.mark_failed(JOB, 0, "broken".into()).await.map(drop).expect("it is not done"),
                "cancel" => fx.cancel(JOB, hub()).await.map(drop).expect("it is not done"),
                "retry" => fx.retry_failed(JOB, hub()).await.map(drop).expect("it failed"),
                _ => {
                    let options = ImportOptions::new().on_conflict(OnConflict::Reset);
                    let other = try_import(&*fx, JOB, JobSpec::new(), [c(0).checksum("new")], options).await;
                    assert_eq!(other.expect("the import is fine").reset, 1);
                }
            }
        }
        let claimed = fx.claim_pending_batch(JOB, 10).await.expect("the job exists");
        assert!(claimed.iter().all(|chunk| chunk.chunk == 0), "{what}: {claimed:?}");
        fx.release_all().await.expect("the store is open");
        assert_eq!(nothing_is_left(&*fx).await.blocked, MANY, "{what}");
        fx.verify().await.expect("nothing is damaged");
    }
}

pub(crate) async fn what_a_failure_cancels_is_cancelled_though_a_reset_was_not_told_to_all(fx: Fixture) {
    import_as(&*fx, JobSpec::new().on_dependency_failure(DependencyFailure::Cancel), fan()).await;
    mark_done(&*fx, [0]).await;
    nothing_is_left(&*fx).await;
    fx.reset(JOB, hub(), ResetReach::Direct).await.expect("it is done");
    fx.mark_failed(JOB, 0, "broken".into()).await.expect("it is not done");
    let stats = nothing_is_left(&*fx).await;
    assert_eq!((stats.failed, stats.cancelled, stats.ready()), (1, MANY, 0));
    fx.verify().await.expect("nothing is damaged");
}

/// What was worked out from the result that was taken back is not taken any more.
pub(crate) async fn a_claim_from_before_a_reset_is_void_though_the_chunk_is_done_again(fx: Fixture) {
    import(&*fx, fan()).await;
    mark_done(&*fx, [0]).await;
    nothing_is_left(&*fx).await;
    let all = fx.claim_pending_batch(JOB, 10_000).await.expect("all are ready");
    fx.reset(JOB, hub(), ResetReach::Direct).await.expect("it is done");
    mark_done(&*fx, [0]).await;
    let late = fx.complete(&all[all.len() - 1].claim(), Completion::new()).await;
    assert_eq!(late.expect_err("it came too late").kind(), ErrorKind::Superseded);
    let stats = nothing_is_left(&*fx).await;
    assert_eq!((stats.ready(), stats.processing), (MANY, 0));
    fx.verify().await.expect("nothing is damaged");
}

pub(crate) async fn what_was_cancelled_comes_back_though_other_news_come_before_it_was_told(fx: Fixture) {
    let cancel = JobSpec::new().on_dependency_failure(DependencyFailure::Cancel);
    import_as(&*fx, cancel.clone(), fan()).await;
    fx.mark_failed(JOB, 0, "broken".into()).await.expect("it is not done");
    assert_eq!(nothing_is_left(&*fx).await.cancelled, MANY);
    mark_done(&*fx, [0]).await;
    fx.reset(JOB, hub(), ResetReach::Direct).await.expect("it is done");
    let stats = nothing_is_left(&*fx).await;
    assert_eq!((stats.cancelled, stats.blocked, stats.ready()), (0, MANY, 1));

    fx.mark_failed(JOB, 0, "broken".into()).await.expect("it is not done");
    assert_eq!(nothing_is_left(&*fx).await.cancelled, MANY);
    fx.retry_failed(JOB, hub()).await.expect("it failed");
    import_as(&*fx, JobSpec::new().on_dependency_failure(DependencyFailure::Wait), []).await;
    fx.mark_failed(JOB, 0, "broken".into()).await.expect("it is not done");
    let stats = nothing_is_left(&*fx).await;
    assert_eq!((stats.cancelled, stats.blocked), (0, MANY), "it waits now");
    fx.verify().await.expect("nothing is damaged");
}

/// An import that changes what a failure comes to tells of it anew, and of what else is owed.
pub(crate) async fn what_is_left_of_a_reset_through_outlasts_another_policy(fx: Fixture) {
    done_fan(&*fx, JobSpec::new()).await;
    fx.reset(JOB, hub(), ResetReach::Through).await.expect("it is done");
    fx.mark_failed(JOB, 0, "broken".into()).await.expect("it is not done");
    import_as(&*fx, JobSpec::new().on_dependency_failure(DependencyFailure::Cancel), []).await;
    let stats = nothing_is_left(&*fx).await;
    assert_eq!((stats.done, stats.failed, stats.cancelled), (0, 1, MANY + 1));
    fx.verify().await.expect("nothing is damaged");
}

pub(crate) async fn a_reset_is_told_to_all_after_a_crash_though_the_chunk_was_cancelled(mut fx: Fixture) {
    import(&*fx, fan()).await;
    mark_done(&*fx, [0]).await;
    nothing_is_left(&*fx).await;
    fx.reset(JOB, hub(), ResetReach::Direct).await.expect("it is done");
    fx.cancel(JOB, hub()).await.expect("it is not done");
    fx.reopen_as(OTHER);
    assert_eq!(nothing_is_left(&*fx).await.blocked, MANY);
    fx.verify().await.expect("nothing is damaged");
}

pub(crate) async fn a_job_with_slices_left_can_be_deleted(mut fx: Fixture) {
    import(&*fx, fan()).await;
    let held = claim(&*fx).await;
    fx.complete(&held.claim(), Completion::new()).await.expect("it is open");
    fx.delete_job(JOB).await.expect("the job exists");
    fx.reopen().await;
    assert_eq!(fx.list_jobs(None, 10).await.expect("the store is open"), []);
    import(&*fx, fan()).await;
    assert_eq!(
        fx.get_stats(JOB).await.expect("the job exists").blocked,
        MANY,
        "nothing of the old one is left"
    );
    fx.verify().await.expect("nothing is damaged");
}

/// While dependents are still being told, none of them is handed out, and none is done.
pub(crate) async fn a_reset_holds_before_its_slices_are_done(fx: Fixture) {
    import(&*fx, fan()).await;
    let held = claim(&*fx).await;
    fx.complete(&held.claim(), Completion::new()).await.expect("it is open");
    settled(&*fx).await;
    // The last that are told.
    let late = fx.claim_pending_batch(JOB, usize::try_from(MANY).expect("few")).await.expect("all are ready");
    let back = late[..late.len() - 2].iter().map(|chunk| ChunkUpdate::Release(chunk.claim())).collect();
    fx.apply_batch_updates(JOB, back).await.expect("they are open");
    let reset = fx.reset(JOB, Selection::Chunks(vec![0]), ResetReach::Direct);
    reset.await.expect("it is done");
    let done = fx.complete(&late[late.len() - 1].claim(), Completion::new()).await;
    assert_eq!(done.expect_err("it came too late").kind(), ErrorKind::Superseded);
    let claimed = fx.claim_pending_batch(JOB, 10).await.expect("the job exists");
    assert!(claimed.iter().all(|chunk| chunk.chunk == 0), "{claimed:?}");
    settled(&*fx).await;
    let stats = fx.get_stats(JOB).await.expect("the job exists");
    assert_eq!((stats.blocked, stats.done, stats.settling), (MANY, 0, false));
    fx.verify().await.expect("nothing is damaged");
}

/// Of those that a commit tells none may start; the one that is told later may.
pub(crate) async fn a_job_is_not_stalled_while_dependents_are_to_be_told(fx: Fixture) {
    let gate = MANY + 1;
    let waits = (1..MANY).map(|id| c(id).depends_on([0, gate]));
    import(&*fx, [c(0), c(gate)].into_iter().chain(waits).chain([c(MANY).depends_on([0])])).await;
    fx.mark_failed(JOB, gate, "broken".into()).await.expect("it is not done");
    let held = claim(&*fx).await;
    fx.complete(&held.claim(), Completion::new()).await.expect("it is open");
    for _ in 0..MANY {
        let stats = fx.get_stats(JOB).await.expect("the job exists");
        assert!(!stats.is_stalled(), "{stats:?}");
        if stats.ready() == 1 {
            return;
        }
        fx.release_all().await.expect("the store is open");
    }
    panic!("the slices come to no end");
}

/// Cancelled by many, and retried with all of them: the cause is looked for among those that are still to come.
pub(crate) async fn what_many_failures_cancelled_comes_back_with_the_last_of_them(fx: Fixture) {
    let parts = 3_000;
    let spec = JobSpec::new().on_dependency_failure(DependencyFailure::Cancel);
    import_as(&*fx, spec, (0..parts).map(c).chain([c(parts).depends_on(0..parts)])).await;
    for part in (0..parts).step_by(1_000) {
        fx.mark_failed(JOB, part, "broken".into()).await.expect("it is not done");
    }
    let report = fx.get_chunk(JOB, parts).await.expect("it can be read").expect("it is there");
    assert_eq!(report.status, JobStatus::Cancelled);
    fx.retry_failed(JOB, Selection::Chunks(vec![0])).await.expect("it failed");
    let report = fx.get_chunk(JOB, parts).await.expect("it can be read").expect("it is there");
    let last = (parts - 1) / 1_000 * 1_000;
    let why = format!("chunk {last}, which it depends on, failed or was cancelled");
    assert_eq!((report.status, report.error), (JobStatus::Cancelled, Some(why)));
    let changed = fx.retry_failed(JOB, Selection::All).await.expect("the job exists");
    assert_eq!(changed, parts / 1_000);
    let report = fx.get_chunk(JOB, parts).await.expect("it can be read").expect("it is there");
    assert_eq!(report.status, JobStatus::Pending);
}

/// Each tells fewer than one chunk may, all of them more than one commit.
pub(crate) async fn what_many_ends_tell_is_told_to_the_end(fx: Fixture) {
    let (hubs, each) = (20, limits::DEPENDENTS_PER_COMMIT_MAX as u64 / 2);
    assert!(hubs * each > limits::TOLD_PER_COMMIT_MAX as u64);
    let waits = (hubs..hubs * (each + 1)).map(|id| c(id).depends_on([id % hubs]));
    import(&*fx, (0..hubs).map(c).chain(waits)).await;
    let held = fx.claim_pending_batch(JOB, usize::try_from(hubs).expect("few")).await.expect("all are ready");
    let done = held.iter().map(|hub| ChunkUpdate::Complete(hub.claim(), Completion::new())).collect();
    fx.apply_batch_updates(JOB, done).await.expect("they are open");
    let stats = settled(&*fx).await;
    assert_eq!((stats.ready(), stats.blocked, stats.settling), (hubs * each, 0, false));
    fx.verify().await.expect("nothing is damaged");
}

/// The dependencies of a job went while they were to be told of something: that comes to its end.
pub(crate) async fn what_was_to_be_told_ends_with_the_dependencies(fx: Fixture) {
    import(&*fx, fan()).await;
    let other = fx.new_job(&JobSpec::new()).await.expect("a job");
    let waiting = chunks([Ok(c(0)), Ok(c(1).depends_on([0]))]);
    fx.import(other, &JobSpec::new(), waiting, &ImportOptions::new()).await.expect("it is imported");
    let held = claim(&*fx).await;
    fx.complete(&held.claim(), Completion::new()).await.expect("it is open");
    import(&*fx, (0..=MANY).map(c)).await;
    for _ in 0..MANY {
        if !fx.get_stats(other).await.expect("the job exists").settling {
            return;
        }
        fx.release_all().await.expect("the store is open");
    }
    panic!("it comes to no end");
}

/// Some of those that wait are cut loose by the import that cancels what they wait for: all the others hear of it.
pub(crate) async fn all_that_still_wait_are_told_where_others_were_cut_loose_in_the_same_commit(fx: Fixture) {
    let cancel = JobSpec::new().on_dependency_failure(DependencyFailure::Cancel);
    import_as(&*fx, cancel.clone(), fan()).await;
    let loose = 10;
    let left = (1..=loose).map(c).chain((loose + 1..=MANY).map(|id| c(id).depends_on([0])));
    let options = ImportOptions::new().on_missing(OnMissing::Cancel);
    let report = try_import(&*fx, JOB, cancel, left, options).await.expect("the import is fine");
    assert_eq!((report.updated, report.cancelled), (loose, 1));
    let stats = nothing_is_left(&*fx).await;
    assert_eq!((stats.ready(), stats.blocked, stats.cancelled), (loose, 0, MANY - loose + 1));
    fx.verify().await.expect("nothing is damaged");
}
