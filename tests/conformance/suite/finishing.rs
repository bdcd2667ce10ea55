//! How claims end: results, checksums, errors, attempts, backoff.

use magnetar::{
    Backoff, ChunkUpdate, ClaimRequest, Completion, Deadline, ErrorKind, JobSpec, JobStatus, Json, Outcome,
    Selection, limits,
};

use super::{
    JOB, c, changes_nothing, claim, claim_ids, get, ids, import, import_as, refused, status, try_import,
};
use crate::fixture::Fixture;

pub(crate) async fn a_result_is_kept_and_outlives_the_handle(mut fx: Fixture) {
    import(&*fx, [c(1).checksum("abc")]).await;
    let held = claim(&*fx).await;
    let output = Json::new(&serde_json::json!({"bytes": 12, "text": "\u{1f600}\u{0}"})).expect("it is JSON");
    fx.clock.advance(10);
    let result = Completion::new().checksum("abc").output(output.clone());
    assert_eq!(fx.complete(&held.claim(), result).await.expect("it is open"), Outcome::Changed);
    fx.reopen().await;
    let state = get(&*fx, 1).await;
    assert_eq!(state.status, JobStatus::Done);
    assert_eq!((state.checksum.as_deref(), state.observed_checksum.as_deref()), (Some("abc"), Some("abc")));
    assert_eq!((state.output, state.owner, state.lease, state.error), (Some(output), None, None, None));
    assert_eq!(state.updated_at_ms, held.updated_at_ms + 10);
    assert!(state.revision > held.revision);
}

pub(crate) async fn another_checksum_is_refused_and_the_claim_stays(fx: Fixture) {
    import(&*fx, [c(1).checksum("abc")]).await;
    let held = claim(&*fx).await;
    let wrong = Completion::new().checksum("xyz");
    let error = changes_nothing!(fx, ErrorKind::ChecksumMismatch, fx.complete(&held.claim(), wrong.clone()));
    assert!(error.to_string().contains("abc") && error.to_string().contains("xyz"), "{error}");
    assert_eq!(get(&*fx, 1).await, held);
    fx.complete(&held.claim(), Completion::new().checksum("abc")).await.expect("the claim stayed open");
}

pub(crate) async fn the_expected_checksum_is_never_overwritten(fx: Fixture) {
    import(&*fx, [c(1).checksum("abc"), c(2), c(3).checksum("abc")]).await;
    for _ in 0..2 {
        let held = claim(&*fx).await;
        let result = Completion::new().checksum("abc");
        fx.complete(&held.claim(), result).await.expect("it is the expected one, or none is expected");
    }
    fx.mark_status(JOB, 3, JobStatus::Done, Some("abc".into())).await.expect("it matches");
    let expected: Vec<_> =
        crate::support::chunks_of(&*fx, JOB).await.into_iter().map(|s| s.checksum).collect();
    assert_eq!(expected, [Some("abc".to_owned()), None, Some("abc".to_owned())]);
    assert_eq!(get(&*fx, 2).await.observed_checksum.as_deref(), Some("abc"), "recorded beside it");
}

pub(crate) async fn no_observed_checksum_is_as_good_as_the_expected_one(fx: Fixture) {
    import(&*fx, [c(1).checksum("abc")]).await;
    let held = claim(&*fx).await;
    fx.complete(&held.claim(), Completion::new()).await.expect("nothing contradicts");
    assert_eq!(get(&*fx, 1).await.observed_checksum, None);
}

pub(crate) async fn an_error_that_is_permanent_fails_the_chunk_whatever_attempts_it_has_left(fx: Fixture) {
    import_as(&*fx, JobSpec::new().attempts_max(0), [c(1), c(2)]).await;
    let (one, two) = (claim(&*fx).await.claim(), claim(&*fx).await.claim());
    assert_eq!(fx.fail_permanently(&one, "no such row").await.expect("it is open"), Outcome::Changed);
    let failed = get(&*fx, 1).await;
    assert_eq!((failed.status, failed.attempts), (JobStatus::Failed, 1));
    assert_eq!(failed.error.as_deref(), Some("no such row"));
    assert_eq!(fx.fail_permanently(&one, "no such row").await.expect("it holds"), Outcome::Unchanged);
    refused(fx.complete(&one, Completion::new()).await, ErrorKind::Superseded);
    // One that may be tried again is not the same as one that may not.
    fx.fail(&two, "not today").await.expect("it is open");
    refused(fx.fail_permanently(&two, "not today").await, ErrorKind::Superseded);
    let updates = vec![ChunkUpdate::FailPermanently(one, "no such row".into())];
    let outcomes = fx.apply_batch_updates(JOB, updates).await.expect("the job exists");
    assert_eq!(outcomes.into_iter().next().expect("one").expect("it holds"), Outcome::Unchanged);
    assert_eq!(fx.retry_failed(JOB, Selection::All).await.expect("the job exists"), 1);
}

pub(crate) async fn an_error_may_say_when_the_next_attempt_begins(fx: Fixture) {
    let backoff = Backoff::new().initial_ms(1_000).max_ms(1_000);
    import_as(&*fx, JobSpec::new().attempts_max(3).backoff(backoff), [c(1)]).await;
    let first = claim(&*fx).await.claim();
    changes_nothing!(
        fx,
        ErrorKind::InvalidInput,
        fx.fail_with_delay(&first, "429", limits::BACKOFF_MS_MAX + 1)
    );
    assert_eq!(fx.fail_with_delay(&first, "429", 30_000).await.expect("it is open"), Outcome::Changed);
    let waits = get(&*fx, 1).await;
    let delay = Deadline { set_at_ms: fx.clock.get(), duration_ms: 30_000 };
    assert_eq!((waits.status, waits.attempts, waits.not_before), (JobStatus::Pending, 1, Some(delay)));
    assert_eq!(waits.error.as_deref(), Some("429"));
    // Said again, in whatever words, it is the same failure.
    assert_eq!(fx.fail_with_delay(&first, "429", 1).await.expect("it holds"), Outcome::Unchanged);
    assert_eq!(fx.fail(&first, "429").await.expect("it holds"), Outcome::Unchanged);
    assert_eq!(get(&*fx, 1).await, waits);
    fx.clock.set(delay.at_ms() - 1);
    assert_eq!(fx.claim_pending(JOB).await.expect("the job exists"), None);
    fx.clock.set(delay.at_ms());
    // At once.
    fx.fail_with_delay(&claim(&*fx).await.claim(), "again", 0).await.expect("it is open");
    let last = claim(&*fx).await.claim();
    let updates = vec![ChunkUpdate::FailWithDelay(last, "enough".into(), 30_000)];
    let outcomes = fx.apply_batch_updates(JOB, updates).await.expect("the job exists");
    assert_eq!(outcomes.into_iter().next().expect("one").expect("it is open"), Outcome::Changed);
    let failed = get(&*fx, 1).await;
    assert_eq!((failed.status, failed.attempts, failed.not_before), (JobStatus::Failed, 3, None));
}

pub(crate) async fn a_claim_is_given_back_for_later_at_no_cost(fx: Fixture) {
    import_as(&*fx, JobSpec::new().attempts_max(1), [c(1), c(2).depends_on([1])]).await;
    let first = claim(&*fx).await.claim();
    changes_nothing!(fx, ErrorKind::InvalidInput, fx.release_with_delay(&first, limits::BACKOFF_MS_MAX + 1));
    for round in 0..3 {
        let held = if round == 0 { first } else { claim(&*fx).await.claim() };
        let released = fx.release_with_delay(&held, 60_000).await.expect("it is open");
        assert_eq!(released, Outcome::Changed);
        let waits = get(&*fx, 1).await;
        let delay = Deadline { set_at_ms: fx.clock.get(), duration_ms: 60_000 };
        assert_eq!((waits.status, waits.attempts, waits.losses), (JobStatus::Pending, 0, 0));
        assert_eq!((waits.not_before, waits.error, waits.owner), (Some(delay), None, None));
        for again in [fx.release_with_delay(&held, 5).await, fx.release(&held).await] {
            assert_eq!(again.expect("it holds"), Outcome::Unchanged);
        }
        refused(fx.complete(&held, Completion::new()).await, ErrorKind::Superseded);
        let stats = fx.get_stats(JOB).await.expect("the job exists");
        assert_eq!((stats.delayed, stats.is_stalled()), (1, false), "it comes back by itself");
        assert_eq!(fx.claim_pending(JOB).await.expect("the job exists"), None);
        fx.clock.set(delay.at_ms());
    }
    // One that lapsed meanwhile, and that nobody took.
    let late = claim(&*fx).await;
    fx.clock.set(late.lease.expect("it is held").at_ms());
    fx.resume_pending(JOB).await.expect("the job exists");
    assert_eq!(status(&*fx, 1).await, JobStatus::Pending, "it lapsed");
    assert_eq!(fx.release_with_delay(&late.claim(), 7_000).await.expect("it is open"), Outcome::Changed);
    assert_eq!(get(&*fx, 1).await.not_before.map(|delay| delay.duration_ms), Some(7_000));
    fx.clock.advance(7_000);
    let last = claim(&*fx).await.claim();
    let updates = vec![ChunkUpdate::ReleaseWithDelay(last, 0)];
    let outcomes = fx.apply_batch_updates(JOB, updates).await.expect("the job exists");
    assert_eq!(outcomes.into_iter().next().expect("one").expect("it is open"), Outcome::Changed);
    assert_eq!(claim(&*fx).await.chunk, 1, "at once");
}

pub(crate) async fn a_failure_waits_out_its_backoff_which_doubles_up_to_its_cap(fx: Fixture) {
    let backoff = Backoff::new().initial_ms(1_000).max_ms(10_000);
    import_as(&*fx, JobSpec::new().attempts_max(0).backoff(backoff), [c(1)]).await;
    for attempts in 1..=8_u32 {
        let held = claim(&*fx).await;
        assert_eq!(fx.fail(&held.claim(), &format!("try {attempts}")).await.expect("open"), Outcome::Changed);
        let state = get(&*fx, 1).await;
        assert_eq!((state.status, state.attempts), (JobStatus::Pending, attempts));
        assert_eq!(state.error, Some(format!("try {attempts}")));
        let wait = state.not_before.expect("it waits");
        let full = (1_000 << (attempts - 1)).min(10_000);
        assert!(wait.duration_ms <= full && wait.duration_ms >= full - full / 4, "{wait:?} of {full}");
        assert_eq!(wait.set_at_ms, fx.clock.get());
        fx.clock.set(wait.at_ms());
    }
}

pub(crate) async fn failures_of_one_moment_do_not_come_back_in_one_moment(fx: Fixture) {
    import_as(
        &*fx,
        JobSpec::new().backoff(Backoff::new().initial_ms(100_000).max_ms(100_000)),
        (0..50).map(c),
    )
    .await;
    for state in fx.claim_pending_batch(JOB, 50).await.expect("all are ready") {
        fx.fail(&state.claim(), "oops").await.expect("it is open");
    }
    let mut waits: Vec<u64> = fx
        .get_by_status(JOB, JobStatus::Pending)
        .await
        .expect("the job exists")
        .iter()
        .map(|state| state.not_before.expect("it waits").duration_ms)
        .collect();
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() > 40, "{} different waits of 50", waits.len());
}

pub(crate) async fn the_last_attempt_fails_the_chunk(fx: Fixture) {
    import_as(&*fx, JobSpec::new().attempts_max(2), [c(1), c(2).attempts_max(1)]).await;
    let held = fx.claim_pending_batch(JOB, 2).await.expect("both are ready");
    for state in &held {
        fx.fail(&state.claim(), "oops").await.expect("it is open");
    }
    assert_eq!((status(&*fx, 1).await, status(&*fx, 2).await), (JobStatus::Pending, JobStatus::Failed));
    fx.clock.advance(limits::BACKOFF_MS_MAX);
    let again = claim(&*fx).await;
    fx.fail(&again.claim(), "and again").await.expect("it is open");
    let state = get(&*fx, 1).await;
    assert_eq!((state.status, state.attempts, state.not_before), (JobStatus::Failed, 2, None));
    assert_eq!(state.error.as_deref(), Some("and again"));
    assert!(fx.get_stats(JOB).await.expect("the job exists").has_failures());
}

pub(crate) async fn no_limit_of_attempts_means_none(fx: Fixture) {
    import_as(&*fx, JobSpec::new().attempts_max(0).backoff(Backoff::NONE), [c(1)]).await;
    for attempts in 0..30 {
        let held = claim(&*fx).await;
        assert_eq!(held.attempts, attempts);
        fx.fail(&held.claim(), "oops").await.expect("it is open");
    }
}

pub(crate) async fn what_a_failure_said_stays_until_the_chunk_is_done(fx: Fixture) {
    import_as(&*fx, JobSpec::new().backoff(Backoff::NONE), [c(1)]).await;
    let held = claim(&*fx).await;
    fx.fail(&held.claim(), "oops").await.expect("it is open");
    let held = claim(&*fx).await;
    assert_eq!(held.error.as_deref(), Some("oops"));
    fx.release(&held.claim()).await.expect("it is open");
    assert_eq!(get(&*fx, 1).await.error.as_deref(), Some("oops"));
    let held = claim(&*fx).await;
    fx.complete(&held.claim(), Completion::new()).await.expect("it is open");
    assert_eq!((get(&*fx, 1).await.error, get(&*fx, 1).await.attempts), (None, 1));
}

pub(crate) async fn complete_and_claim_does_both_or_nothing(fx: Fixture) {
    import(&*fx, [c(1).checksum("a"), c(2).depends_on([1]), c(3).priority(-1)]).await;
    let next = ClaimRequest::new().job(JOB).count(1);
    let one = claim(&*fx).await;
    let wrong = Completion::new().checksum("b");
    changes_nothing!(
        fx,
        ErrorKind::ChecksumMismatch,
        fx.complete_and_claim(&one.claim(), wrong.clone(), &next)
    );
    let two = fx.complete_and_claim(&one.claim(), Completion::new(), &next).await.expect("it is open");
    assert_eq!(ids(&two), [2], "the completion freed it");
    let elsewhere = ClaimRequest::new().job(99);
    changes_nothing!(
        fx,
        ErrorKind::JobNotFound,
        fx.complete_and_claim(&two[0].claim(), Completion::new(), &elsewhere)
    );
    let stale = magnetar::Claim { fence: 1, ..two[0].claim() };
    changes_nothing!(fx, ErrorKind::Superseded, fx.complete_and_claim(&stale, Completion::new(), &next));
    let three = fx.complete_and_claim(&two[0].claim(), Completion::new(), &next).await.expect("it is open");
    assert_eq!(ids(&three), [3]);
    let none = fx.complete_and_claim(&three[0].claim(), Completion::new(), &next).await.expect("it is open");
    assert_eq!(none, []);
    assert!(fx.get_stats(JOB).await.expect("the job exists").is_complete());
}

pub(crate) async fn a_batch_answers_each_update_by_itself_in_order(fx: Fixture) {
    import(&*fx, (1..=6).map(c)).await;
    let held = fx.claim_pending_batch(JOB, 4).await.expect("they are ready");
    let claim = |i: usize| held[i].claim();
    let mark = |chunk, status| ChunkUpdate::Mark { chunk, status, detail: None };
    let answers = fx
        .apply_batch_updates(
            JOB,
            vec![
                ChunkUpdate::Complete(claim(0), Completion::new()),
                ChunkUpdate::Fail(claim(1), "oops".into()),
                ChunkUpdate::Release(claim(2)),
                ChunkUpdate::Heartbeat(claim(3)),
                ChunkUpdate::Complete(claim(0), Completion::new()),
                mark(5, JobStatus::Done),
                mark(6, JobStatus::Processing),
                mark(9, JobStatus::Done),
                mark(5, JobStatus::Failed),
            ],
        )
        .await
        .expect("the call itself is fine");
    let kinds: Vec<_> = answers.iter().map(|a| a.as_ref().copied().map_err(magnetar::Error::kind)).collect();
    let changed = Ok(Outcome::Changed);
    assert_eq!(kinds[..4], [changed; 4]);
    assert_eq!(kinds[4..6], [Ok(Outcome::Unchanged), changed]);
    let refusals = [ErrorKind::Refused, ErrorKind::ChunkNotFound, ErrorKind::Refused].map(Err);
    assert_eq!(kinds[6..], refusals);
    let stats = fx.get_stats(JOB).await.expect("the job exists");
    assert_eq!((stats.done, stats.delayed, stats.processing, stats.ready()), (2, 1, 1, 2));
}

pub(crate) async fn a_batch_of_another_jobs_claims_is_refused_as_a_whole(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    try_import(&*fx, 8, JobSpec::new(), [c(1)], Default::default()).await.expect("it is fine");
    let held = claim(&*fx).await;
    let updates = vec![ChunkUpdate::Complete(held.claim(), Completion::new())];
    changes_nothing!(fx, ErrorKind::InvalidInput, fx.apply_batch_updates(8, updates.clone()));
    changes_nothing!(fx, ErrorKind::JobNotFound, fx.apply_batch_updates(9, vec![]));
    assert_eq!(fx.apply_batch_updates(JOB, vec![]).await.expect("there is nothing to do").len(), 0);
}

pub(crate) async fn a_completion_frees_its_dependents_in_the_same_commit(mut fx: Fixture) {
    import(&*fx, [c(1), c(2), c(3).depends_on([1, 2])]).await;
    let held = fx.claim_pending_batch(JOB, 2).await.expect("both are ready");
    fx.complete(&held[0].claim(), Completion::new()).await.expect("it is open");
    assert_eq!(get(&*fx, 3).await.unmet_dependencies, 1);
    fx.complete(&held[1].claim(), Completion::new()).await.expect("it is open");
    fx.reopen().await;
    assert_eq!(get(&*fx, 3).await.unmet_dependencies, 0);
    assert_eq!(claim_ids(&*fx).await, [3]);
}

pub(crate) async fn a_retried_chunk_starts_with_all_its_attempts(fx: Fixture) {
    import_as(&*fx, JobSpec::new().attempts_max(1), [c(1)]).await;
    let held = claim(&*fx).await;
    fx.fail(&held.claim(), "oops").await.expect("it is open");
    assert_eq!(fx.retry_failed(JOB, Selection::All).await.expect("the job exists"), 1);
    let state = get(&*fx, 1).await;
    assert_eq!((state.status, state.attempts, state.losses, state.error), (JobStatus::Pending, 0, 0, None));
    assert_eq!(state.fence, held.fence, "fences are never used twice");
    refused(fx.fail(&held.claim(), "oops").await, ErrorKind::Superseded);
}
