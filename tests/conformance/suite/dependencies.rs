//! What becomes of a chunk when another that it depends on is done, fails, is cancelled or comes back.

use magnetar::{
    ChunkUpdate, ClaimRequest, Completion, DependencyFailure, ErrorKind, ImportOptions, JobSpec, JobStatus,
    JobStore, Outcome, ResetReach, Selection, limits,
};

use super::{
    JOB, c, changes_nothing, claim, claim_ids, complete_all, get, import, import_as, mark_done, refused,
    status, statuses, try_import,
};
use crate::fixture::Fixture;

use DependencyFailure::{Cancel, Ignore};
use JobStatus::{Cancelled, Done, Failed, Pending, Processing};

async fn break_one(store: &dyn JobStore, chunk: u64) {
    store.mark_failed(JOB, chunk, "broken".into()).await.expect("it is not done");
}

async fn retry(store: &dyn JobStore, chunk: u64) {
    store.retry_failed(JOB, Selection::Chunks(vec![chunk])).await.expect("it failed or was cancelled");
}

pub(crate) async fn by_default_a_chunk_waits_for_what_failed_and_the_job_shows_as_stalled(fx: Fixture) {
    import(&*fx, [c(1), c(2).depends_on([1])]).await;
    break_one(&*fx, 1).await;
    let stats = fx.get_stats(JOB).await.expect("the job exists");
    assert_eq!((stats.failed, stats.blocked, stats.is_stalled()), (1, 1, true));
    assert_eq!(claim_ids(&*fx).await, [0; 0]);
    retry(&*fx, 1).await;
    assert!(!fx.get_stats(JOB).await.expect("the job exists").is_stalled());
    complete_all(&*fx).await;
    assert_eq!(statuses(&*fx).await, [Done, Done]);
}

pub(crate) async fn a_cancel_policy_cascades_over_all_levels_and_keeps_the_cause(fx: Fixture) {
    let spec = JobSpec::new().on_dependency_failure(Cancel);
    import_as(&*fx, spec, [c(1), c(2).depends_on([1]), c(3).depends_on([2]), c(4).depends_on([3, 1]), c(5)])
        .await;
    break_one(&*fx, 1).await;
    assert_eq!(statuses(&*fx).await, [Failed, Cancelled, Cancelled, Cancelled, Pending]);
    for (chunk, cause) in [(2, "chunk 1"), (3, "chunk 2"), (4, "chunk 1")] {
        let error = get(&*fx, chunk).await.error.expect("the cause is kept");
        assert!(error.contains(cause), "chunk {chunk}: {error}");
    }
    assert_eq!(claim_ids(&*fx).await, [5]);
}

pub(crate) async fn a_retry_brings_back_all_that_the_failure_had_cancelled(fx: Fixture) {
    let spec = JobSpec::new().on_dependency_failure(Cancel);
    import_as(&*fx, spec, [c(1), c(2).depends_on([1]), c(3).depends_on([2]), c(4).depends_on([3]), c(5)])
        .await;
    fx.cancel(JOB, Selection::Chunks(vec![5])).await.expect("it may");
    break_one(&*fx, 1).await;
    assert_eq!(fx.retry_failed(JOB, Selection::All).await.expect("the job exists"), 4);
    assert_eq!(statuses(&*fx).await, [Pending, Pending, Pending, Pending, Cancelled]);
    complete_all(&*fx).await;
    assert_eq!(statuses(&*fx).await, [Done, Done, Done, Done, Cancelled]);
}

pub(crate) async fn what_a_cascade_reaches_counts_in_whatever_order_chunks_are_named(fx: Fixture) {
    let spec = JobSpec::new().on_dependency_failure(Cancel);
    import_as(&*fx, spec, [c(1), c(2).depends_on([1]), c(3).depends_on([2])]).await;
    for named in [vec![1], vec![1, 2], vec![2, 1], vec![3, 2, 1], vec![1, 2, 3]] {
        let selection = Selection::Chunks(named.clone());
        assert_eq!(fx.cancel(JOB, selection.clone()).await.expect("they may"), 3, "{named:?}");
        assert_eq!(fx.retry_failed(JOB, selection).await.expect("they may"), 3, "{named:?}");
    }
    assert_eq!(fx.cancel(JOB, Selection::All).await.expect("the job exists"), 3);
}

pub(crate) async fn what_two_failures_cancel_comes_back_when_both_are_retried(fx: Fixture) {
    let spec = JobSpec::new().on_dependency_failure(Cancel);
    import_as(&*fx, spec, [c(1), c(2), c(3).depends_on([1, 2]), c(4).depends_on([3])]).await;
    break_one(&*fx, 1).await;
    break_one(&*fx, 2).await;
    retry(&*fx, 1).await;
    assert_eq!(statuses(&*fx).await, [Pending, Failed, Cancelled, Cancelled], "chunk 2 still says so");
    assert!(get(&*fx, 3).await.error.expect("the cause is kept").contains("chunk 2"));
    retry(&*fx, 2).await;
    assert_eq!(statuses(&*fx).await, [Pending; 4]);
    complete_all(&*fx).await;
    assert_eq!(statuses(&*fx).await, [Done; 4]);
}

pub(crate) async fn marking_the_cause_done_brings_its_dependents_back_too(fx: Fixture) {
    let spec = JobSpec::new().on_dependency_failure(Cancel);
    import_as(&*fx, spec, [c(1), c(2).depends_on([1]), c(3).depends_on([2])]).await;
    break_one(&*fx, 1).await;
    mark_done(&*fx, [1]).await;
    assert_eq!(statuses(&*fx).await, [Done, Pending, Pending]);
    assert_eq!(claim_ids(&*fx).await, [2]);
}

pub(crate) async fn what_was_cancelled_by_itself_does_not_come_back_with_its_dependency(fx: Fixture) {
    let spec = JobSpec::new().on_dependency_failure(Cancel);
    import_as(&*fx, spec, [c(1), c(2).depends_on([1])]).await;
    fx.cancel(JOB, Selection::Chunks(vec![2])).await.expect("it may");
    break_one(&*fx, 1).await;
    retry(&*fx, 1).await;
    assert_eq!(statuses(&*fx).await, [Pending, Cancelled]);
    mark_done(&*fx, [1]).await;
    assert_eq!(statuses(&*fx).await, [Done, Cancelled]);
}

pub(crate) async fn a_dependency_whose_failure_is_ignored_counts_once_however_often_it_fails(fx: Fixture) {
    import(&*fx, [c(1), c(2), c(3).depends_on([1, 2]).on_dependency_failure(Ignore)]).await;
    for _ in 0..2 {
        break_one(&*fx, 1).await;
        assert_eq!(get(&*fx, 3).await.unmet_dependencies, 1);
        retry(&*fx, 1).await;
    }
    assert_eq!(claim_ids(&*fx).await, [1, 2]);
}

pub(crate) async fn a_cancelled_dependency_counts_like_a_failed_one(fx: Fixture) {
    import(
        &*fx,
        [
            c(1),
            c(2).depends_on([1]),
            c(3).depends_on([1]).on_dependency_failure(Cancel),
            c(4).depends_on([1]).on_dependency_failure(Ignore),
        ],
    )
    .await;
    fx.cancel(JOB, Selection::Chunks(vec![1])).await.expect("it may");
    assert_eq!(statuses(&*fx).await, [Cancelled, Pending, Cancelled, Pending]);
    assert_eq!(claim_ids(&*fx).await, [4]);
}

pub(crate) async fn a_chunks_policy_goes_before_its_jobs(fx: Fixture) {
    let spec = JobSpec::new().on_dependency_failure(Cancel);
    let wait = DependencyFailure::Wait;
    import_as(&*fx, spec, [c(1), c(2).depends_on([1]).on_dependency_failure(wait), c(3).depends_on([1])])
        .await;
    break_one(&*fx, 1).await;
    assert_eq!(statuses(&*fx).await, [Failed, Pending, Cancelled]);
}

pub(crate) async fn an_ignored_failure_stays_ignored_until_a_reset(fx: Fixture) {
    import(&*fx, [c(1), c(2).depends_on([1]).on_dependency_failure(Ignore)]).await;
    break_one(&*fx, 1).await;
    assert_eq!(get(&*fx, 2).await.unmet_dependencies, 0);
    retry(&*fx, 1).await;
    assert_eq!(get(&*fx, 2).await.unmet_dependencies, 0, "latched");
    mark_done(&*fx, [1]).await;
    fx.reset(JOB, Selection::Chunks(vec![1]), ResetReach::Direct).await.expect("it is done");
    assert_eq!(get(&*fx, 2).await.unmet_dependencies, 1, "a reset takes it back");
    assert_eq!(claim_ids(&*fx).await, [1]);
}

pub(crate) async fn attempts_used_up_and_losses_cascade_like_a_mark(fx: Fixture) {
    let spec = JobSpec::new().on_dependency_failure(Cancel).attempts_max(1).losses_max(1);
    import_as(&*fx, spec, [c(1), c(2).depends_on([1]), c(3), c(4).depends_on([3])]).await;
    let one = claim(&*fx).await;
    claim(&*fx).await;
    fx.fail(&one.claim(), "oops").await.expect("it is open");
    fx.clock.advance(limits::LEASE_MS_DEFAULT);
    fx.resume_pending(JOB).await.expect("the job exists");
    assert_eq!(statuses(&*fx).await, [Failed, Cancelled, Failed, Cancelled]);
}

pub(crate) async fn a_cascade_leaves_alone_what_is_done_or_under_way(fx: Fixture) {
    let spec = JobSpec::new().on_dependency_failure(Cancel);
    import_as(&*fx, spec, [c(1), c(2).depends_on([1]), c(3).depends_on([1])]).await;
    mark_done(&*fx, [1, 2]).await;
    let held = claim(&*fx).await;
    fx.reset(JOB, Selection::Chunks(vec![1]), ResetReach::Direct).await.expect("it is done");
    break_one(&*fx, 1).await;
    assert_eq!(statuses(&*fx).await, [Failed, Done, Cancelled], "the reset had ended the claim of 3");
    refused(fx.complete(&held.claim(), Completion::new()).await, ErrorKind::Superseded);
}

pub(crate) async fn a_dependency_can_be_added_while_a_chunk_waits(fx: Fixture) {
    import(&*fx, [c(1), c(2), c(3).depends_on([1])]).await;
    assert_eq!(fx.add_dependency(JOB, 1, vec![2]).await.expect("it may"), Outcome::Changed);
    assert_eq!(fx.add_dependency(JOB, 3, vec![2, 1]).await.expect("it may"), Outcome::Changed);
    assert_eq!(fx.get_dependencies(JOB, 3).await.expect("it exists"), [1, 2]);
    assert_eq!(fx.get_dependents(JOB, 2).await.expect("it exists"), [1, 3]);
    assert_eq!(get(&*fx, 3).await.unmet_dependencies, 2);
    assert_eq!(claim_ids(&*fx).await, [2]);
    fx.release_all().await.expect("the store is open");
    complete_all(&*fx).await;
    assert_eq!(statuses(&*fx).await, [Done; 3]);
}

pub(crate) async fn a_dependency_that_exists_is_unchanged_whatever_the_status(fx: Fixture) {
    import(&*fx, [c(1), c(2).depends_on([1])]).await;
    mark_done(&*fx, [1]).await;
    claim(&*fx).await;
    let before = crate::support::export(&*fx).await;
    assert_eq!(fx.add_dependency(JOB, 2, vec![1]).await.expect("it exists"), Outcome::Unchanged);
    assert_eq!(fx.add_dependency(JOB, 2, vec![1, 1]).await.expect("it exists"), Outcome::Unchanged);
    assert_eq!(fx.add_dependency(JOB, 2, vec![]).await.expect("none is asked for"), Outcome::Unchanged);
    assert_eq!(crate::support::export(&*fx).await, before);
}

pub(crate) async fn a_dependency_added_on_what_is_done_is_met(fx: Fixture) {
    import(&*fx, [c(1), c(2)]).await;
    mark_done(&*fx, [1]).await;
    fx.add_dependency(JOB, 2, vec![1]).await.expect("it may");
    assert_eq!(get(&*fx, 2).await.unmet_dependencies, 0);
    assert_eq!(claim_ids(&*fx).await, [2]);
}

pub(crate) async fn a_dependency_added_on_what_failed_follows_the_policy(fx: Fixture) {
    import(&*fx, [c(1), c(2), c(3).on_dependency_failure(Cancel), c(4).on_dependency_failure(Ignore)]).await;
    break_one(&*fx, 1).await;
    for chunk in [2, 3, 4] {
        fx.add_dependency(JOB, chunk, vec![1]).await.expect("it may");
    }
    assert_eq!(statuses(&*fx).await, [Failed, Pending, Cancelled, Pending]);
    assert_eq!(claim_ids(&*fx).await, [4]);
    retry(&*fx, 1).await;
    assert_eq!(status(&*fx, 3).await, Pending);
}

pub(crate) async fn a_dependency_added_to_a_lapsed_claim_ends_it(fx: Fixture) {
    import(&*fx, [c(1), c(2).priority(-1)]).await;
    let held = claim(&*fx).await;
    fx.clock.advance(limits::LEASE_MS_DEFAULT);
    fx.resume_pending(JOB).await.expect("the job exists");
    fx.add_dependency(JOB, 1, vec![2]).await.expect("it is pending");
    changes_nothing!(fx, ErrorKind::Superseded, fx.complete(&held.claim(), Completion::new()));
}

pub(crate) async fn a_dependency_added_by_an_import_ends_a_lapsed_claim(fx: Fixture) {
    import(&*fx, [c(1), c(2).priority(-1)]).await;
    let held = claim(&*fx).await;
    fx.clock.advance(limits::LEASE_MS_DEFAULT);
    fx.resume_pending(JOB).await.expect("the job exists");
    import(&*fx, [c(1).depends_on([2]), c(2).priority(-1)]).await;
    changes_nothing!(fx, ErrorKind::Superseded, fx.complete(&held.claim(), Completion::new()));
}

pub(crate) async fn a_dependency_on_what_is_under_way_waits(fx: Fixture) {
    import(&*fx, [c(1), c(2)]).await;
    let held = claim(&*fx).await;
    fx.add_dependency(JOB, 2, vec![1]).await.expect("it may");
    assert_eq!(claim_ids(&*fx).await, [0; 0]);
    fx.complete(&held.claim(), Completion::new()).await.expect("it is open");
    assert_eq!(claim_ids(&*fx).await, [2]);
}

pub(crate) async fn a_longer_circle_is_named_and_refused_as_a_whole(fx: Fixture) {
    import(&*fx, (1..=50).map(|id| if id == 1 { c(1) } else { c(id).depends_on([id - 1]) })).await;
    import(&*fx, [c(60)]).await;
    let error = changes_nothing!(fx, ErrorKind::DependencyCycle, fx.add_dependency(JOB, 1, vec![60, 50]));
    assert_eq!(error.job(), Some(JOB));
    for named in ["1 -> 50", "50 -> 49"] {
        assert!(error.to_string().contains(named), "{error}");
    }
    assert!(!error.to_string().contains("1 -> 1 "), "each is named once: {error}");
}

pub(crate) async fn a_circle_among_very_many_is_found(fx: Fixture) {
    let between = 2..5_002;
    let all = between.clone().map(|id| c(id).depends_on([1]));
    import(&*fx, [c(1)].into_iter().chain(all).chain([c(6_000).depends_on(between), c(6_001)])).await;
    fx.add_dependency(JOB, 1, vec![6_001]).await.expect("it closes no circle");
    let error = changes_nothing!(fx, ErrorKind::DependencyCycle, fx.add_dependency(JOB, 1, vec![6_000]));
    assert!(error.to_string().contains("1 -> 6000 -> "), "{error}");
    let twice = [c(6_002).depends_on([6_001]), c(6_001).depends_on([6_000, 6_002])];
    try_import(&*fx, JOB, JobSpec::new(), twice, ImportOptions::new()).await.expect_err("two at once");
    fx.add_dependency(JOB, 6_000, vec![6_001]).await.expect("it closes no circle");
}

pub(crate) async fn a_diamond_is_no_circle(fx: Fixture) {
    import(&*fx, [c(1).depends_on([2, 3]), c(2).depends_on([4]), c(3).depends_on([4]), c(4)]).await;
    fx.add_dependency(JOB, 1, vec![4]).await.expect("it closes no circle");
    complete_all(&*fx).await;
    assert_eq!(statuses(&*fx).await, [Done; 4]);
}

pub(crate) async fn a_blocked_and_delayed_chunk_waits_for_both(fx: Fixture) {
    import(&*fx, [c(1), c(2).priority(1)]).await;
    let held = claim(&*fx).await;
    fx.fail(&held.claim(), "oops").await.expect("it is open");
    fx.add_dependency(JOB, 2, vec![1]).await.expect("it is pending");
    let stats = fx.get_stats(JOB).await.expect("the job exists");
    assert_eq!((stats.blocked, stats.delayed), (1, 0), "blocked comes first");
    mark_done(&*fx, [1]).await;
    let stats = fx.get_stats(JOB).await.expect("the job exists");
    assert_eq!((stats.blocked, stats.delayed), (0, 1));
    assert_eq!(claim_ids(&*fx).await, [0; 0]);
    fx.clock.set(get(&*fx, 2).await.not_before.expect("it waits").at_ms());
    assert_eq!(claim_ids(&*fx).await, [2]);
    assert_eq!(status(&*fx, 2).await, Processing);
}

pub(crate) async fn a_delay_that_ended_while_a_chunk_was_blocked_is_over_with_the_block(fx: Fixture) {
    import(&*fx, [c(1), c(2).priority(1), c(3)]).await;
    let held = claim(&*fx).await;
    fx.fail(&held.claim(), "oops").await.expect("it is open");
    fx.add_dependency(JOB, 2, vec![1]).await.expect("it is pending");
    let first = claim(&*fx).await;
    assert_eq!(first.chunk, 1);
    fx.clock.set(get(&*fx, 2).await.not_before.expect("it waits").at_ms());
    // The commit that unblocks it can hand it out: the higher priority first.
    let next = fx.complete_and_claim(&first.claim(), Completion::new(), &ClaimRequest::new().job(JOB)).await;
    assert_eq!(next.expect("it is open").iter().map(|chunk| chunk.chunk).collect::<Vec<_>>(), [2]);
}

pub(crate) async fn two_that_very_many_wait_for_free_them_in_one_commit(fx: Fixture) {
    let waiting = |on: u64| (0..800).map(move |n| c(1_000 * on + n).depends_on([on]));
    import(&*fx, [c(1), c(2)].into_iter().chain(waiting(1)).chain(waiting(2))).await;
    let held = fx.claim_pending_batch(JOB, 2).await.expect("both are ready");
    let updates = held.iter().map(|chunk| ChunkUpdate::Complete(chunk.claim(), Completion::new())).collect();
    let answers = fx.apply_batch_updates(JOB, updates).await.expect("the job exists");
    assert!(answers.iter().all(|answer| matches!(answer, Ok(Outcome::Changed))), "{answers:?}");
    let stats = fx.get_stats(JOB).await.expect("it exists");
    assert_eq!((stats.done, stats.blocked, stats.pending), (2, 0, 1_600));
    let first = fx.claim_pending_batch(JOB, 1_000).await.expect("they are ready");
    assert_eq!((first.len(), first[0].chunk, first[999].chunk), (1_000, 1_000, 2_199));
    fx.verify().await.expect("nothing is damaged");
}
