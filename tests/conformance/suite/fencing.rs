//! The sixteen things that a store must reject, so that a worker which comes late, twice or by mistake does no harm.
//! After each the whole store is as it was before.

use magnetar::{
    ChunkUpdate, Claim, ClaimRequest, Completion, ErrorKind, ImportOptions, JobSpec, JobState, JobStatus,
    Json, OnConflict, Outcome, ResetReach, Selection, limits,
};

use super::{
    JOB, c, changes_nothing, claim, claim_ids, get, import, import_as, mark_done, status, try_import,
};
use crate::fixture::{Fixture, OTHER};

fn seen(checksum: &str) -> Completion {
    Completion::new().checksum(checksum)
}

/// One chunk, claimed, lapsed and claimed again: the first claim, and the second.
async fn taken_over(fx: &Fixture) -> (JobState, JobState) {
    import(&**fx, [c(1)]).await;
    let first = claim(&**fx).await;
    fx.clock.advance(limits::LEASE_MS_DEFAULT);
    (first, claim(&**fx).await)
}

pub(crate) async fn r01_a_stale_fence_completes_nothing(fx: Fixture) {
    let (first, second) = taken_over(&fx).await;
    let error = changes_nothing!(fx, ErrorKind::Superseded, fx.complete(&first.claim(), seen("x")));
    assert_eq!((error.job(), error.chunk()), (Some(JOB), Some(1)));
    assert!(error.to_string().contains(&second.fence.to_string()), "{error}");
}

pub(crate) async fn r02_a_completion_after_expiry_counts_only_where_nobody_took_over(fx: Fixture) {
    let (first, second) = taken_over(&fx).await;
    fx.clock.advance(limits::LEASE_MS_DEFAULT);
    changes_nothing!(fx, ErrorKind::Superseded, fx.complete(&first.claim(), seen("x")));
    assert_eq!(fx.complete(&second.claim(), seen("x")).await.expect("it is the newest"), Outcome::Changed);
}

pub(crate) async fn r03_a_second_completion_is_the_same_or_a_conflict(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let held = claim(&*fx).await.claim();
    let result = seen("x").output(Json::new(&[1, 2]).expect("it is JSON"));
    assert_eq!(fx.complete(&held, result.clone()).await.expect("it is open"), Outcome::Changed);
    let before = get(&*fx, 1).await;
    assert_eq!(fx.complete(&held, result).await.expect("it is the same"), Outcome::Unchanged);
    assert_eq!(get(&*fx, 1).await, before);
    for other in [seen("x"), seen("y"), Completion::new()] {
        changes_nothing!(fx, ErrorKind::ResultConflict, fx.complete(&held, other));
    }
}

pub(crate) async fn r04_nothing_fenced_is_taken_after_the_chunk_is_done(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let held = claim(&*fx).await.claim();
    fx.complete(&held, seen("x")).await.expect("it is open");
    let error = changes_nothing!(fx, ErrorKind::Superseded, fx.fail(&held, "late"));
    assert!(error.to_string().contains("that claim was ended, it is done now"), "{error}");
    changes_nothing!(fx, ErrorKind::Superseded, fx.heartbeat(&held));
    changes_nothing!(fx, ErrorKind::Superseded, fx.release(&held));
}

pub(crate) async fn r04_nothing_fenced_is_taken_after_a_cancellation(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let held = claim(&*fx).await.claim();
    fx.cancel(JOB, Selection::Chunks(vec![1])).await.expect("a held chunk can be cancelled");
    changes_nothing!(fx, ErrorKind::Superseded, fx.complete(&held, seen("x")));
    changes_nothing!(fx, ErrorKind::Superseded, fx.fail(&held, "late"));
    changes_nothing!(fx, ErrorKind::Superseded, fx.heartbeat(&held));
    changes_nothing!(fx, ErrorKind::Superseded, fx.release(&held));
}

pub(crate) async fn r04_nothing_fenced_is_taken_after_a_failure_for_good(fx: Fixture) {
    import(&*fx, [c(1).attempts_max(1)]).await;
    let held = claim(&*fx).await.claim();
    fx.fail(&held, "oops").await.expect("it is open");
    changes_nothing!(fx, ErrorKind::Superseded, fx.complete(&held, seen("x")));
    changes_nothing!(fx, ErrorKind::Superseded, fx.fail(&held, "again, and different"));
    changes_nothing!(fx, ErrorKind::Superseded, fx.heartbeat(&held));
    changes_nothing!(fx, ErrorKind::Superseded, fx.release(&held));
}

pub(crate) async fn r04_nothing_fenced_is_taken_once_the_chunk_started_over(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let held = claim(&*fx).await.claim();
    fx.complete(&held, seen("x")).await.expect("it is open");
    fx.reset(JOB, Selection::All, ResetReach::Direct).await.expect("it is done");
    changes_nothing!(fx, ErrorKind::Superseded, fx.complete(&held, seen("x")));
    changes_nothing!(fx, ErrorKind::Superseded, fx.fail(&held, "late"));
    changes_nothing!(fx, ErrorKind::Superseded, fx.heartbeat(&held));
}

pub(crate) async fn r05_a_fence_of_another_chunk_or_job_is_none(fx: Fixture) {
    import(&*fx, [c(1), c(2)]).await;
    try_import(&*fx, 8, JobSpec::new(), [c(1)], ImportOptions::new()).await.expect("it is fine");
    let held = claim(&*fx).await.claim();
    let two = fx.claim_pending(JOB).await.expect("the job exists").expect("it is ready").claim();
    for wrong in [Claim { chunk: 2, ..held }, Claim { job_id: 8, ..held }, Claim { fence: two.fence, ..held }]
    {
        changes_nothing!(fx, ErrorKind::Superseded, fx.complete(&wrong, seen("x")));
        changes_nothing!(fx, ErrorKind::Superseded, fx.fail(&wrong, "x"));
        changes_nothing!(fx, ErrorKind::Superseded, fx.release(&wrong));
        changes_nothing!(fx, ErrorKind::Superseded, fx.heartbeat(&wrong));
    }
    changes_nothing!(fx, ErrorKind::ChunkNotFound, fx.complete(&Claim { chunk: 3, ..held }, seen("x")));
    changes_nothing!(fx, ErrorKind::JobNotFound, fx.complete(&Claim { job_id: 9, ..held }, seen("x")));
}

pub(crate) async fn r05_a_fence_from_the_future_is_none(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let held = claim(&*fx).await.claim();
    let later = Claim { fence: held.fence + 1, ..held };
    changes_nothing!(fx, ErrorKind::Superseded, fx.complete(&later, seen("x")));
    fx.release(&held).await.expect("it is open");
    let second = claim(&*fx).await.claim();
    assert!(second.fence > later.fence, "the release took a revision too");
    import(&*fx, [c(1), c(2)]).await;
    let error = changes_nothing!(fx, ErrorKind::Superseded, fx.heartbeat(&Claim { chunk: 2, ..held }));
    assert!(error.to_string().contains("it was never claimed"), "{error}");
}

pub(crate) async fn r06_a_stale_heartbeat_extends_nothing(fx: Fixture) {
    let (first, second) = taken_over(&fx).await;
    fx.clock.advance(limits::LEASE_MS_DEFAULT - 1);
    changes_nothing!(fx, ErrorKind::Superseded, fx.heartbeat(&first.claim()));
    assert_eq!(get(&*fx, 1).await.lease, second.lease);
    fx.clock.advance(1);
    assert_eq!(get(&*fx, 1).await.owner, second.owner, "nothing was reaped yet");
    fx.resume_pending(JOB).await.expect("the job exists");
    assert_eq!(status(&*fx, 1).await, JobStatus::Pending, "the lease of the second claim is over");
}

pub(crate) async fn r07_a_stale_failure_burns_no_attempt(fx: Fixture) {
    let (first, _) = taken_over(&fx).await;
    changes_nothing!(fx, ErrorKind::Superseded, fx.fail(&first.claim(), "late"));
    assert_eq!(get(&*fx, 1).await.attempts, 0);
}

pub(crate) async fn r07_the_same_failure_twice_burns_one_attempt(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let held = claim(&*fx).await.claim();
    assert_eq!(fx.fail(&held, "oops").await.expect("it is open"), Outcome::Changed);
    let before = get(&*fx, 1).await;
    assert_eq!(fx.fail(&held, "oops").await.expect("it is the same"), Outcome::Unchanged);
    assert_eq!(get(&*fx, 1).await, before);
    assert_eq!(before.attempts, 1);
}

pub(crate) async fn r08_no_claim_gets_a_chunk_whose_dependencies_are_not_met(fx: Fixture) {
    import(&*fx, [c(1).attempts_max(1), c(2).depends_on([1]), c(3).depends_on([2])]).await;
    let held = claim(&*fx).await;
    assert_eq!(claim_ids(&*fx).await, [0; 0], "chunk 1 is under way");
    fx.fail(&held.claim(), "oops").await.expect("it is open");
    assert_eq!(claim_ids(&*fx).await, [0; 0], "chunk 1 failed");
    changes_nothing!(fx, ErrorKind::Blocked, fx.mark_status(JOB, 2, JobStatus::Done, None));
}

pub(crate) async fn r09_no_claim_gets_a_chunk_whose_attempts_are_used_up(fx: Fixture) {
    import_as(&*fx, JobSpec::new().attempts_max(2), [c(1)]).await;
    for _ in 0..2 {
        let held = claim(&*fx).await;
        fx.fail(&held.claim(), "oops").await.expect("it is open");
        fx.clock.advance(limits::BACKOFF_MS_MAX);
    }
    assert_eq!(status(&*fx, 1).await, JobStatus::Failed);
    assert_eq!(claim_ids(&*fx).await, [0; 0]);
    assert_eq!(fx.claim(&ClaimRequest::new()).await.expect("nothing is ready"), []);
}

pub(crate) async fn r10_ids_out_of_range_are_refused(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let held = claim(&*fx).await.claim();
    let past = limits::ID_MAX + 1;
    changes_nothing!(fx, ErrorKind::InvalidInput, fx.complete(&Claim { chunk: past, ..held }, seen("x")));
    changes_nothing!(fx, ErrorKind::InvalidInput, fx.complete(&Claim { job_id: -1, ..held }, seen("x")));
    for fence in [0, past, u64::MAX] {
        changes_nothing!(fx, ErrorKind::InvalidInput, fx.heartbeat(&Claim { fence, ..held }));
    }
}

pub(crate) async fn r11_no_dependency_closes_a_circle_or_names_nobody_or_comes_too_late(fx: Fixture) {
    import(&*fx, [c(1), c(2).depends_on([1]), c(3).depends_on([2]), c(4).priority(1), c(5)]).await;
    let cycle = changes_nothing!(fx, ErrorKind::DependencyCycle, fx.add_dependency(JOB, 1, vec![3]));
    for named in ["1", "2", "3", "->"] {
        assert!(cycle.to_string().contains(named), "{cycle}");
    }
    changes_nothing!(fx, ErrorKind::DependencyCycle, fx.add_dependency(JOB, 1, vec![1]));
    changes_nothing!(fx, ErrorKind::UnknownDependency, fx.add_dependency(JOB, 1, vec![2, 9]));
    assert_eq!(claim(&*fx).await.chunk, 4);
    changes_nothing!(fx, ErrorKind::Refused, fx.add_dependency(JOB, 4, vec![5]));
    mark_done(&*fx, [5]).await;
    changes_nothing!(fx, ErrorKind::Refused, fx.add_dependency(JOB, 5, vec![1]));
}

pub(crate) async fn r12_a_chunk_id_that_comes_twice_refuses_the_whole_import(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let twice = [c(2), c(3), c(2).checksum("x")];
    let error = changes_nothing!(
        fx,
        ErrorKind::DuplicateChunk,
        try_import(&*fx, JOB, JobSpec::new(), twice.clone(), ImportOptions::new())
    );
    assert_eq!((error.job(), error.chunk()), (Some(JOB), Some(2)));
}

pub(crate) async fn r13_a_lease_out_of_range_is_refused(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    for lease_ms in [0, 999, limits::LEASE_MS.end() + 1, u64::MAX] {
        let request = ClaimRequest::new().job(JOB).lease_ms(lease_ms);
        changes_nothing!(fx, ErrorKind::InvalidInput, fx.claim(&request));
        let spec = JobSpec::new().lease_ms(lease_ms);
        changes_nothing!(fx, ErrorKind::InvalidInput, fx.new_job(&spec));
    }
}

pub(crate) async fn r14_a_claim_from_before_the_job_was_deleted_is_none(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let old = claim(&*fx).await;
    fx.delete_job(JOB).await.expect("the job exists");
    changes_nothing!(fx, ErrorKind::JobNotFound, fx.complete(&old.claim(), seen("x")));
    import(&*fx, [c(1)]).await;
    changes_nothing!(fx, ErrorKind::Superseded, fx.complete(&old.claim(), seen("x")));
    let new = claim(&*fx).await;
    assert!(new.fence > old.fence);
    changes_nothing!(fx, ErrorKind::Superseded, fx.complete(&old.claim(), seen("x")));
}

pub(crate) async fn r15_another_client_cannot_end_a_claim_that_it_does_not_know(mut fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let held = claim(&*fx).await;
    fx.reopen_as(OTHER);
    for fence in [1, held.fence - 1, held.fence + 1] {
        changes_nothing!(fx, ErrorKind::Superseded, fx.complete(&Claim { fence, ..held.claim() }, seen("x")));
    }
    assert_eq!(fx.release_all().await.expect("the store is open"), 0);
    assert_eq!(get(&*fx, 1).await, held);
}

pub(crate) async fn r16_the_same_chunk_with_other_content_is_a_conflict_once_it_is_under_way(fx: Fixture) {
    import(&*fx, [c(1).checksum("a"), c(2).checksum("a"), c(3).checksum("a")]).await;
    mark_done(&*fx, [1]).await;
    claim(&*fx).await;
    let new = [1, 2, 3].map(|id| c(id).checksum("b"));
    let error = changes_nothing!(
        fx,
        ErrorKind::ContentConflict,
        try_import(
            &*fx,
            JOB,
            JobSpec::new(),
            new.clone(),
            ImportOptions::new().on_conflict(OnConflict::Refuse)
        )
    );
    assert_eq!(error.conflicts(), [1, 2]);
}

pub(crate) async fn a_stale_update_in_a_batch_changes_nothing_and_its_companions_go_on(fx: Fixture) {
    import(&*fx, [c(1), c(2)]).await;
    let stale = claim(&*fx).await;
    fx.release(&stale.claim()).await.expect("it is open");
    let held = fx.claim_pending_batch(JOB, 2).await.expect("they are ready");
    let answers = fx
        .apply_batch_updates(
            JOB,
            vec![
                ChunkUpdate::Complete(stale.claim(), seen("x")),
                ChunkUpdate::Complete(held[1].claim(), seen("y")),
                ChunkUpdate::Fail(stale.claim(), "x".into()),
                ChunkUpdate::Heartbeat(stale.claim()),
                ChunkUpdate::Release(stale.claim()),
            ],
        )
        .await
        .expect("the call itself is fine");
    let kinds: Vec<_> = answers.iter().map(|answer| answer.as_ref().map_err(magnetar::Error::kind)).collect();
    let stale = Err(ErrorKind::Superseded);
    assert_eq!(kinds, [stale, Ok(&Outcome::Changed), stale, stale, stale]);
    assert_eq!(get(&*fx, 1).await, held[0]);
    assert_eq!(get(&*fx, 2).await.observed_checksum.as_deref(), Some("y"));
}
