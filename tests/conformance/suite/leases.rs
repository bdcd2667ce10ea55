//! Owners that vanish: leases, losses, heartbeats, clocks that jump.

use magnetar::{Backoff, ClaimRequest, Completion, Deadline, ErrorKind, JobSpec, JobStatus, Outcome, limits};

use super::{JOB, c, changes_nothing, claim, claim_ids, get, ids, import, import_as, refused};
use crate::fixture::{Fixture, ME, OTHER, START_MS};

const YEAR_MS: u64 = 365 * 24 * 3_600_000;

pub(crate) async fn a_lease_that_is_over_puts_the_chunk_back_and_counts_a_loss(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let first = claim(&*fx).await;
    fx.clock.advance(limits::LEASE_MS_DEFAULT - 1);
    assert_eq!(claim_ids(&*fx).await, [0; 0], "the lease has a millisecond left");
    fx.clock.advance(1);
    let second = claim(&*fx).await;
    assert_eq!((second.losses, second.attempts), (1, 0));
    assert!(second.fence > first.fence);
    refused(fx.complete(&first.claim(), Completion::new()).await, ErrorKind::Superseded);
    assert_eq!(fx.complete(&second.claim(), Completion::new()).await.expect("it is open"), Outcome::Changed);
}

pub(crate) async fn a_heartbeat_starts_the_lease_anew(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let held = fx.claim(&ClaimRequest::new().job(JOB).lease_ms(10_000)).await.expect("it is ready").remove(0);
    for _ in 0..5 {
        fx.clock.advance(9_999);
        assert_eq!(fx.heartbeat(&held.claim()).await.expect("the claim is open"), Outcome::Changed);
        let lease = get(&*fx, 1).await.lease.expect("it is held");
        assert_eq!(lease, Deadline { set_at_ms: fx.clock.get(), duration_ms: 10_000 });
        assert_eq!(claim_ids(&*fx).await, [0; 0]);
    }
    let now = get(&*fx, 1).await;
    assert_eq!((now.revision, now.losses), (held.revision, 0), "a heartbeat is no change of the record");
}

pub(crate) async fn a_heartbeat_reopens_a_lapsed_claim_that_nobody_took(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let lease_ms = limits::LEASE_MS_DEFAULT * 10;
    let held =
        fx.claim(&ClaimRequest::new().job(JOB).lease_ms(lease_ms)).await.expect("it is ready").remove(0);
    fx.clock.advance(lease_ms);
    assert_eq!(ids(&fx.resume_pending(JOB).await.expect("the job exists")), [1]);
    let lapsed = get(&*fx, 1).await;
    assert_eq!((lapsed.status, lapsed.lease, lapsed.owner), (JobStatus::Pending, None, None));
    assert_eq!(fx.heartbeat(&held.claim()).await.expect("nobody took it"), Outcome::Changed);
    let now = get(&*fx, 1).await;
    assert_eq!((now.status, now.fence, now.owner), (JobStatus::Processing, held.fence, Some(ME)));
    let lease = now.lease.map(|lease| lease.duration_ms);
    assert_eq!(lease, Some(lease_ms), "the lease that was asked for");
    assert_eq!(claim_ids(&*fx).await, [0; 0]);
    fx.complete(&held.claim(), Completion::new()).await.expect("the claim is open again");
}

pub(crate) async fn a_lapsed_claim_that_nobody_took_can_still_be_completed(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let held = claim(&*fx).await;
    fx.clock.advance(limits::LEASE_MS_DEFAULT);
    fx.resume_pending(JOB).await.expect("the job exists");
    assert_eq!(
        fx.complete(&held.claim(), Completion::new()).await.expect("nobody took it"),
        Outcome::Changed
    );
    assert_eq!(get(&*fx, 1).await.losses, 1);
}

pub(crate) async fn a_lapsed_claim_that_nobody_took_can_still_fail(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let held = claim(&*fx).await;
    fx.clock.advance(limits::LEASE_MS_DEFAULT);
    fx.resume_pending(JOB).await.expect("the job exists");
    assert_eq!(fx.fail(&held.claim(), "late").await.expect("nobody took it"), Outcome::Changed);
    let now = get(&*fx, 1).await;
    assert_eq!((now.attempts, now.losses, now.error.as_deref()), (1, 1, Some("late")));
}

pub(crate) async fn the_first_loss_is_free_and_the_second_is_delayed(fx: Fixture) {
    import_as(&*fx, JobSpec::new().backoff(Backoff::new().initial_ms(8_000).max_ms(60_000)), [c(1)]).await;
    claim(&*fx).await;
    fx.clock.advance(limits::LEASE_MS_DEFAULT);
    assert_eq!(claim(&*fx).await.losses, 1, "it came back at once");
    fx.clock.advance(limits::LEASE_MS_DEFAULT);
    assert_eq!(claim_ids(&*fx).await, [0; 0]);
    let state = get(&*fx, 1).await;
    let wait = state.not_before.expect("it waits now");
    assert_eq!((state.losses, wait.set_at_ms), (2, fx.clock.get()));
    assert!((6_000..=8_000).contains(&wait.duration_ms), "{}", wait.duration_ms);
    fx.clock.set(wait.at_ms());
    assert_eq!(claim_ids(&*fx).await, [1]);
}

pub(crate) async fn too_many_losses_fail_the_chunk_and_say_so(fx: Fixture) {
    import_as(&*fx, JobSpec::new().losses_max(3).backoff(Backoff::NONE), [c(1)]).await;
    let mut last = claim(&*fx).await;
    for losses in 1..=2 {
        fx.clock.advance(limits::LEASE_MS_DEFAULT);
        last = claim(&*fx).await;
        assert_eq!(last.losses, losses);
    }
    fx.clock.advance(limits::LEASE_MS_DEFAULT);
    assert_eq!(claim_ids(&*fx).await, [0; 0]);
    let state = get(&*fx, 1).await;
    assert_eq!((state.status, state.losses), (JobStatus::Failed, 3));
    assert_eq!(state.error.as_deref(), Some("lost 3 times"));
    changes_nothing!(fx, ErrorKind::Superseded, fx.complete(&last.claim(), Completion::new()));
    changes_nothing!(fx, ErrorKind::Superseded, fx.heartbeat(&last.claim()));
}

pub(crate) async fn no_limit_of_losses_means_none(fx: Fixture) {
    import_as(&*fx, JobSpec::new().losses_max(0).backoff(Backoff::NONE), [c(1)]).await;
    for losses in 0..25 {
        assert_eq!(claim(&*fx).await.losses, losses);
        fx.clock.advance(limits::LEASE_MS_DEFAULT);
    }
}

pub(crate) async fn a_release_costs_nothing_and_comes_back_at_once(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    for _ in 0..20 {
        let held = claim(&*fx).await;
        assert_eq!((held.attempts, held.losses), (0, 0));
        assert_eq!(fx.release(&held.claim()).await.expect("it is open"), Outcome::Changed);
        assert_eq!(fx.release(&held.claim()).await.expect("it was given back already"), Outcome::Unchanged);
    }
}

pub(crate) async fn resume_pending_puts_back_what_lapsed_and_lists_what_is_pending_by_id(fx: Fixture) {
    import(&*fx, [c(4), c(2), c(3).depends_on([2]), c(1), c(5)]).await;
    fx.claim(&ClaimRequest::new().job(JOB).count(2)).await.expect("they are ready");
    fx.claim(&ClaimRequest::new().job(JOB).lease_ms(3_600_000)).await.expect("one is ready");
    fx.clock.advance(limits::LEASE_MS_DEFAULT);
    let pending = fx.resume_pending(JOB).await.expect("the job exists");
    assert_eq!(ids(&pending), [1, 2, 3, 5], "chunk 4 is still held");
    assert_eq!(pending.iter().map(|state| state.losses).collect::<Vec<_>>(), [1, 1, 0, 0]);
}

pub(crate) async fn what_is_held_is_found_held_after_reopening(mut fx: Fixture) {
    import(&*fx, [c(1), c(2)]).await;
    let held = claim(&*fx).await;
    fx.reopen().await;
    assert_eq!(get(&*fx, 1).await, held);
    assert_eq!(claim_ids(&*fx).await, [2]);
    assert_eq!(fx.complete(&held.claim(), Completion::new()).await.expect("it is open"), Outcome::Changed);
}

pub(crate) async fn what_a_client_held_before_it_opened_again_survives_a_reopen_of_the_handle(
    mut fx: Fixture,
) {
    import(&*fx, [c(1), c(2)]).await;
    let held = claim(&*fx).await;
    fx.reopen_as(ME);
    fx.handle().reopen().await.expect("the store reopens");
    assert_eq!(get(&*fx, 1).await, held, "its claim was acknowledged long before");
}

pub(crate) async fn what_a_living_owner_holds_is_left_alone_by_another(mut fx: Fixture) {
    import(&*fx, [c(1), c(2)]).await;
    let held = claim(&*fx).await;
    fx.reopen_as(OTHER);
    assert_eq!(claim_ids(&*fx).await, [2]);
    assert_eq!(ids(&fx.resume_pending(JOB).await.expect("the job exists")), [0; 0]);
    assert_eq!(get(&*fx, 1).await, held);
}

pub(crate) async fn what_a_dead_owner_held_comes_back_when_a_claim_finds_too_little(mut fx: Fixture) {
    import(&*fx, [c(1), c(2), c(3)]).await;
    fx.claim_pending_batch(JOB, 2).await.expect("they are ready");
    fx.reopen_as(OTHER);
    fx.clock.advance(limits::PROBE_INTERVAL_MS);
    fx.living.kill(ME);
    assert_eq!(claim(&*fx).await.chunk, 3, "there was enough");
    let rescued = fx.claim_pending_batch(JOB, 9).await.expect("the job exists");
    assert_eq!(ids(&rescued), [1, 2]);
    assert!(rescued.iter().all(|state| state.losses == 1 && state.owner == Some(OTHER)));
}

pub(crate) async fn a_claim_of_any_job_finds_what_a_dead_owner_held(mut fx: Fixture) {
    import(&*fx, [c(1)]).await;
    claim(&*fx).await;
    fx.reopen_as(OTHER);
    fx.clock.advance(limits::PROBE_INTERVAL_MS);
    fx.living.kill(ME);
    assert_eq!(ids(&fx.claim(&ClaimRequest::new()).await.expect("the owner is dead")), [1]);
}

pub(crate) async fn of_what_the_dead_held_one_commit_puts_back_a_thousand_and_the_next_goes_on_at_once(
    mut fx: Fixture,
) {
    import(&*fx, (1..=2_500).map(c)).await;
    assert_eq!(fx.claim_pending_batch(JOB, 2_500).await.expect("they are ready").len(), 2_500);
    fx.reopen_as(OTHER);
    fx.clock.advance(limits::PROBE_INTERVAL_MS);
    fx.living.kill(ME);
    for (asked, found) in [(2_500, 1_000), (2_500, 1_000), (2_500, 500), (1, 0)] {
        let rescued = fx.claim_pending_batch(JOB, asked).await.expect("the job exists");
        assert_eq!(rescued.len(), found, "of the {asked} that were asked for");
    }
}

pub(crate) async fn the_dead_are_looked_for_once_a_second_at_most(mut fx: Fixture) {
    import(&*fx, [c(1)]).await;
    claim(&*fx).await;
    fx.reopen_as(OTHER);
    fx.clock.advance(limits::PROBE_INTERVAL_MS);
    assert_eq!(claim_ids(&*fx).await, [0; 0], "the owner lives");
    fx.living.kill(ME);
    fx.clock.advance(limits::PROBE_INTERVAL_MS - 1);
    assert_eq!(claim_ids(&*fx).await, [0; 0], "nobody looked again");
    fx.clock.advance(1);
    assert_eq!(claim_ids(&*fx).await, [1]);
}

pub(crate) async fn resume_pending_puts_back_what_the_dead_held(mut fx: Fixture) {
    import(&*fx, [c(1), c(2)]).await;
    let held = fx.claim_pending_batch(JOB, 2).await.expect("they are ready");
    fx.reopen_as(OTHER);
    fx.living.kill(ME);
    assert_eq!(ids(&fx.resume_pending(JOB).await.expect("the job exists")), [1, 2]);
    fx.complete(&held[0].claim(), Completion::new())
        .await
        .expect("nobody took it, so even the dead may finish");
}

pub(crate) async fn what_the_dead_held_is_back_when_the_store_opens(mut fx: Fixture) {
    import(&*fx, [c(1)]).await;
    claim(&*fx).await;
    fx.living.kill(ME);
    fx.reopen_as(OTHER);
    let state = get(&*fx, 1).await;
    assert_eq!((state.status, state.losses), (JobStatus::Pending, 1));
}

pub(crate) async fn a_client_that_ended_is_known_dead_by_the_store_itself(mut fx: Fixture) {
    import(&*fx, [c(1)]).await;
    fx.reopen_plainly(OTHER);
    claim(&*fx).await;
    let third = magnetar::OwnerId::from_bytes([3; 16]);
    fx.reopen_plainly(third);
    assert!(fx.recovers_at_once());
    assert_eq!(ids(&fx.resume_pending(JOB).await.expect("the job exists")), [1]);
    assert_eq!(get(&*fx, 1).await.losses, 1);
}

pub(crate) async fn release_all_gives_back_what_this_client_holds_and_nothing_else(mut fx: Fixture) {
    import(&*fx, (1..=4).map(c)).await;
    let before = claim(&*fx).await;
    fx.reopen_as(OTHER);
    fx.claim_pending_batch(JOB, 2).await.expect("they are ready");
    assert_eq!(fx.owner(), OTHER);
    assert_eq!(fx.release_all().await.expect("the store is open"), 2);
    assert_eq!(fx.release_all().await.expect("the store is open"), 0);
    assert_eq!(get(&*fx, 1).await, before, "that one is another's");
    assert_eq!(claim_ids(&*fx).await, [2, 3, 4]);
}

pub(crate) async fn a_clock_that_jumped_ahead_and_back_delays_nobody(fx: Fixture) {
    import(&*fx, [c(1), c(2)]).await;
    fx.clock.set(START_MS + 30 * YEAR_MS);
    let one = claim(&*fx).await;
    let two = claim(&*fx).await;
    fx.fail(&two.claim(), "oops").await.expect("the claim is open");
    fx.clock.set(START_MS);
    assert_eq!(claim_ids(&*fx).await, [1, 2], "both deadlines lie 30 years ahead");
    refused(fx.complete(&one.claim(), Completion::new()).await, ErrorKind::Superseded);
}

pub(crate) async fn however_much_a_clock_that_went_back_ends_is_put_back_by_resume_pending(fx: Fixture) {
    let many = 2_500;
    import(&*fx, (0..many).map(c)).await;
    fx.clock.set(START_MS + YEAR_MS);
    fx.claim_pending_batch(JOB, 2_500).await.expect("they are ready");
    fx.clock.set(START_MS);
    assert_eq!(fx.resume_pending(JOB).await.expect("the job exists").len() as u64, many);
    fx.verify().await.expect("nothing is damaged");
}

pub(crate) async fn what_lapses_in_the_commit_of_a_release_is_not_counted_as_released(fx: Fixture) {
    import(&*fx, [c(1), c(2)]).await;
    fx.clock.set(START_MS + YEAR_MS);
    claim(&*fx).await;
    fx.clock.set(START_MS);
    assert_eq!(fx.release_all().await.expect("the store is open"), 0);
    assert_eq!(get(&*fx, 1).await.losses, 1);
}

pub(crate) async fn a_clock_that_went_back_a_little_ends_no_lease(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    fx.clock.advance(limits::CLOCK_SLACK_MS);
    let held = claim(&*fx).await;
    fx.clock.set(START_MS);
    assert_eq!(claim_ids(&*fx).await, [0; 0]);
    assert_eq!(get(&*fx, 1).await, held);
    fx.clock.set(START_MS - 1);
    assert_eq!(claim_ids(&*fx).await, [1]);
}

pub(crate) async fn a_clock_at_either_end_of_time_breaks_nothing(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    for now_ms in [u64::MAX, 0, u64::MAX - 1, 1, START_MS] {
        fx.clock.set(now_ms);
        let held = claim(&*fx).await;
        fx.heartbeat(&held.claim()).await.expect("the claim is open");
        fx.release(&held.claim()).await.expect("the claim is open");
    }
    fx.verify().await.expect("nothing is damaged");
}
