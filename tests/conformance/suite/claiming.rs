//! Who gets which chunk, and in which order.

use magnetar::{Backoff, ClaimRequest, ErrorKind, JobSpec, JobStatus, Json, limits};

use super::{JOB, c, changes_nothing, claim, claim_ids, ids, import, import_as, try_import};
use crate::fixture::{Fixture, ME, START_MS};

pub(crate) async fn the_higher_priority_is_claimed_first_then_the_lower_id(fx: Fixture) {
    let priorities = [(5, 0), (3, 9), (1, -1), (4, 9), (2, i32::MAX), (6, i32::MIN), (7, 0)];
    import(&*fx, priorities.map(|(id, priority)| c(id).priority(priority))).await;
    assert_eq!(fx.topo_sort_ready(JOB).await.expect("the job exists"), [2, 3, 4, 5, 7, 1, 6]);
    assert_eq!(claim_ids(&*fx).await, [2, 3, 4, 5, 7, 1, 6]);
}

pub(crate) async fn one_by_one_gives_the_order_of_a_batch(fx: Fixture) {
    import(&*fx, (1..=6).map(|id| c(id).priority(i32::try_from(id % 3).expect("small")))).await;
    let mut order = Vec::new();
    for _ in 0..6 {
        order.push(claim(&*fx).await.chunk);
    }
    assert_eq!(order, [2, 5, 1, 4, 3, 6]);
    assert_eq!(fx.claim_pending(JOB).await.expect("the job exists"), None);
}

pub(crate) async fn a_claim_shows_all_of_the_chunk(fx: Fixture) {
    let payload = Json::new(&serde_json::json!({"path": "a.bin"})).expect("it is JSON");
    import(&*fx, [c(1).checksum("abc").payload(payload.clone()).priority(4).attempts_max(9).losses_max(8)])
        .await;
    fx.clock.advance(5);
    let state = claim(&*fx).await;
    assert_eq!((state.job_id, state.chunk, state.status), (JOB, 1, JobStatus::Processing));
    assert_eq!((state.checksum.as_deref(), state.payload.clone()), (Some("abc"), Some(payload)));
    assert_eq!((state.priority, state.attempts_max, state.losses_max), (4, 9, 8));
    assert_eq!((state.attempts, state.losses, state.unmet_dependencies), (0, 0, 0));
    assert_eq!(state.owner, Some(ME));
    assert_eq!((state.created_at_ms, state.updated_at_ms), (START_MS, START_MS + 5));
    let lease = state.lease.expect("a claim has a lease");
    assert_eq!((lease.set_at_ms, lease.duration_ms), (START_MS + 5, limits::LEASE_MS_DEFAULT));
    assert_eq!(state.fence, state.revision, "the fence is the revision of the commit that claimed it");
    assert_eq!(fx.get_chunk(JOB, 1).await.expect("the job exists"), Some(state));
}

pub(crate) async fn a_blocked_chunk_is_never_claimed(fx: Fixture) {
    import(&*fx, [c(1).depends_on([2]).priority(100), c(2), c(3).depends_on([1, 2])]).await;
    let two = claim(&*fx).await;
    assert_eq!(two.chunk, 2);
    assert_eq!(claim_ids(&*fx).await, [0; 0]);
    fx.complete(&two.claim(), Default::default()).await.expect("the claim is open");
    assert_eq!(claim_ids(&*fx).await, [1]);
    assert_eq!(fx.get_stats(JOB).await.expect("the job exists").blocked, 1);
}

pub(crate) async fn a_delayed_chunk_is_claimed_when_due_and_not_before(fx: Fixture) {
    import_as(&*fx, JobSpec::new().backoff(Backoff::new().initial_ms(10_000).max_ms(10_000)), [c(1)]).await;
    let one = claim(&*fx).await;
    fx.fail(&one.claim(), "oops").await.expect("the claim is open");
    let until = super::get(&*fx, 1).await.not_before.expect("it waits").at_ms();
    fx.clock.set(until - 1);
    assert_eq!(claim_ids(&*fx).await, [0; 0]);
    assert_eq!(fx.get_stats(JOB).await.expect("the job exists").delayed, 1);
    fx.clock.set(until);
    assert_eq!(claim_ids(&*fx).await, [1]);
    assert_eq!(fx.get_stats(JOB).await.expect("the job exists").delayed, 0);
}

pub(crate) async fn a_delayed_chunk_takes_its_place_among_the_others_when_due(fx: Fixture) {
    import(&*fx, [c(1), c(2).priority(5), c(3).priority(5), c(4).priority(9)]).await;
    for _ in 0..3 {
        let state = claim(&*fx).await;
        fx.fail(&state.claim(), "oops").await.expect("the claim is open");
    }
    fx.clock.advance(3_600_000);
    assert_eq!(claim_ids(&*fx).await, [4, 2, 3, 1]);
}

pub(crate) async fn any_job_means_the_lowest_that_has_something_ready(fx: Fixture) {
    for job in [9, 3, 5] {
        try_import(&*fx, job, JobSpec::new(), [c(1), c(2)], Default::default()).await.expect("it is fine");
    }
    fx.cancel(3, magnetar::Selection::All).await.expect("the job exists");
    let claims = fx.claim(&ClaimRequest::new().count(3)).await.expect("there is enough");
    let names: Vec<_> = claims.iter().map(|state| (state.job_id, state.chunk)).collect();
    assert_eq!(names, [(5, 1), (5, 2), (9, 1)]);
    assert_eq!(fx.claim(&ClaimRequest::new().count(3)).await.expect("one is left").len(), 1);
    assert_eq!(fx.claim(&ClaimRequest::new()).await.expect("nothing is left"), []);
}

pub(crate) async fn a_claim_of_any_job_finds_what_falls_due_in_that_moment(fx: Fixture) {
    for job in [4, 6] {
        try_import(&*fx, job, JobSpec::new(), [c(1)], Default::default()).await.expect("it is fine");
    }
    for state in fx.claim(&ClaimRequest::new().count(2)).await.expect("two are ready") {
        fx.fail(&state.claim(), "oops").await.expect("the claim is open");
    }
    assert_eq!(fx.claim(&ClaimRequest::new()).await.expect("both wait"), []);
    fx.clock.advance(3_600_000);
    let claims = fx.claim(&ClaimRequest::new().count(2)).await.expect("both are due");
    assert_eq!(claims.iter().map(|state| state.job_id).collect::<Vec<_>>(), [4, 6]);
}

pub(crate) async fn a_claim_of_any_job_finds_what_lapses_in_that_moment(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    claim(&*fx).await;
    fx.clock.advance(limits::LEASE_MS_DEFAULT);
    assert_eq!(ids(&fx.claim(&ClaimRequest::new()).await.expect("it lapsed")), [1]);
}

pub(crate) async fn a_batch_takes_what_there_is_and_no_more_than_asked_for(fx: Fixture) {
    import(&*fx, (1..=5).map(c)).await;
    assert_eq!(ids(&fx.claim_pending_batch(JOB, 3).await.expect("there is enough")), [1, 2, 3]);
    assert_eq!(ids(&fx.claim_pending_batch(JOB, 3).await.expect("two are left")), [4, 5]);
    assert_eq!(fx.claim_pending_batch(JOB, 3).await.expect("nothing is left"), []);
}

pub(crate) async fn the_lease_is_the_requests_or_else_the_jobs(fx: Fixture) {
    import_as(&*fx, JobSpec::new().lease_ms(5_000), [c(1), c(2)]).await;
    let of_job = claim(&*fx).await.lease.expect("a claim has a lease");
    assert_eq!(of_job.duration_ms, 5_000);
    let own = fx.claim(&ClaimRequest::new().job(JOB).lease_ms(9_000)).await.expect("one is left");
    assert_eq!(own[0].lease.map(|lease| lease.duration_ms), Some(9_000));
}

pub(crate) async fn every_fence_is_higher_than_all_before_it(fx: Fixture) {
    import(&*fx, (1..=3).map(c)).await;
    let mut highest = 0;
    for _ in 0..4 {
        for state in fx.claim_pending_batch(JOB, 3).await.expect("all are ready") {
            assert!(state.fence > highest, "{} after {highest}", state.fence);
            highest = state.fence;
            fx.release(&state.claim()).await.expect("the claim is open");
        }
    }
}

pub(crate) async fn a_chunk_is_held_by_one_claim_only(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    claim(&*fx).await;
    assert_eq!(fx.claim_pending(JOB).await.expect("the job exists"), None);
    assert_eq!(fx.claim(&ClaimRequest::new()).await.expect("nothing is ready"), []);
    assert_eq!(fx.topo_sort_ready(JOB).await.expect("the job exists"), [0; 0]);
}

pub(crate) async fn a_job_that_does_not_exist_is_an_error_and_not_nothing_to_do(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let error = changes_nothing!(fx, ErrorKind::JobNotFound, fx.claim_pending(8));
    assert_eq!(error.job(), Some(8));
    changes_nothing!(fx, ErrorKind::JobNotFound, fx.claim(&ClaimRequest::new().job(8)));
}
