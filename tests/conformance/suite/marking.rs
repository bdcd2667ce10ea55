//! `mark_status` and `mark_failed`, from every status to every status.

use magnetar::{Completion, ErrorKind, JobStatus, JobStore, Outcome, Selection};

use super::{JOB, c, changes_nothing, claim, claim_ids, get, import, mark_done, refused, status};
use crate::fixture::Fixture;
use crate::support::export;

/// Brings chunk 1 into a status.
async fn bring(store: &dyn JobStore, to: JobStatus) {
    import(store, [c(1)]).await;
    match to {
        JobStatus::Pending => {}
        JobStatus::Processing => drop(claim(store).await),
        JobStatus::Done => mark_done(store, [1]).await,
        JobStatus::Failed => {
            store.mark_failed(JOB, 1, "broken".into()).await.expect("it is not done");
        }
        JobStatus::Cancelled => {
            store.cancel(JOB, Selection::All).await.expect("it is not done");
        }
    }
    assert_eq!(status(store, 1).await, to);
}

pub(crate) async fn every_status_is_marked_as_the_table_says(fx: Fixture) {
    use JobStatus::{Cancelled, Done, Failed, Pending, Processing};
    let changed = Ok(Outcome::Changed);
    let held = Ok(Outcome::Unchanged);
    let no = Err(ErrorKind::Refused);
    let table = [
        (Pending, [held, no, changed, changed, changed]),
        (Processing, [changed, no, changed, changed, changed]),
        (Done, [no, no, held, no, no]),
        (Failed, [changed, no, changed, changed, changed]),
        (Cancelled, [changed, no, changed, changed, held]),
    ];
    for (from, answers) in table {
        for (to, expected) in JobStatus::ALL.into_iter().zip(answers) {
            bring(&*fx, from).await;
            let before = export(&*fx).await;
            let answer = fx.mark_status(JOB, 1, to, None).await;
            assert_eq!(answer.as_ref().copied().map_err(magnetar::Error::kind), expected, "{from} to {to}");
            match expected {
                Ok(Outcome::Changed) => assert_eq!(status(&*fx, 1).await, to, "{from} to {to}"),
                _ => assert_eq!(export(&*fx).await, before, "{from} to {to}"),
            }
            fx.delete_job(JOB).await.expect("the job exists");
        }
    }
}

pub(crate) async fn marking_done_ends_the_claim_of_whoever_holds_the_chunk(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let held = claim(&*fx).await;
    fx.mark_status(JOB, 1, JobStatus::Done, Some("seen".into())).await.expect("it may");
    assert_eq!(get(&*fx, 1).await.observed_checksum.as_deref(), Some("seen"));
    changes_nothing!(
        fx,
        ErrorKind::Superseded,
        fx.complete(&held.claim(), Completion::new().checksum("seen"))
    );
    changes_nothing!(fx, ErrorKind::Superseded, fx.heartbeat(&held.claim()));
}

pub(crate) async fn marking_done_keeps_to_the_expected_checksum(fx: Fixture) {
    import(&*fx, [c(1).checksum("abc"), c(2)]).await;
    changes_nothing!(
        fx,
        ErrorKind::ChecksumMismatch,
        fx.mark_status(JOB, 1, JobStatus::Done, Some("xyz".into()))
    );
    let mark = |chunk, checksum: Option<&str>| {
        fx.mark_status(JOB, chunk, JobStatus::Done, checksum.map(str::to_owned))
    };
    assert_eq!(mark(1, Some("abc")).await.expect("it matches"), Outcome::Changed);
    assert_eq!(mark(1, Some("abc")).await.expect("it is the same"), Outcome::Unchanged);
    assert_eq!(mark(1, None).await.expect("nothing contradicts"), Outcome::Unchanged);
    assert_eq!(mark(2, Some("one")).await.expect("none is expected"), Outcome::Changed);
    changes_nothing!(fx, ErrorKind::ResultConflict, mark(2, Some("two")));
}

pub(crate) async fn marking_done_frees_the_dependents(fx: Fixture) {
    import(&*fx, [c(1), c(2).depends_on([1])]).await;
    mark_done(&*fx, [1]).await;
    assert_eq!(claim_ids(&*fx).await, [2]);
}

pub(crate) async fn a_chunk_marked_failed_stays_so_until_it_is_retried(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let held = claim(&*fx).await;
    assert_eq!(fx.mark_failed(JOB, 1, "broken".into()).await.expect("it may"), Outcome::Changed);
    assert_eq!(fx.mark_failed(JOB, 1, "broken".into()).await.expect("it is the same"), Outcome::Unchanged);
    let state = get(&*fx, 1).await;
    assert_eq!(
        (state.status, state.attempts, state.error.as_deref()),
        (JobStatus::Failed, 0, Some("broken"))
    );
    changes_nothing!(fx, ErrorKind::Superseded, fx.complete(&held.claim(), Completion::new()));
    assert_eq!(claim_ids(&*fx).await, [0; 0]);
    fx.retry_failed(JOB, Selection::All).await.expect("the job exists");
    assert_eq!(claim_ids(&*fx).await, [1]);
}

pub(crate) async fn marking_pending_ends_a_claim_and_a_delay(fx: Fixture) {
    import(&*fx, [c(1), c(2)]).await;
    let one = claim(&*fx).await;
    let two = claim(&*fx).await;
    fx.fail(&two.claim(), "oops").await.expect("it is open");
    for chunk in [1, 2] {
        let outcome = fx.mark_status(JOB, chunk, JobStatus::Pending, None).await.expect("it may");
        assert_eq!(outcome, Outcome::Changed);
    }
    assert_eq!(get(&*fx, 2).await.attempts, 1, "the attempt was made");
    assert_eq!(claim_ids(&*fx).await, [1, 2]);
    refused(fx.complete(&one.claim(), Completion::new()).await, ErrorKind::Superseded);
}

pub(crate) async fn marking_what_does_not_exist_is_an_error(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    for status in JobStatus::ALL {
        let kind =
            if status == JobStatus::Processing { ErrorKind::Refused } else { ErrorKind::ChunkNotFound };
        changes_nothing!(fx, kind, fx.mark_status(JOB, 2, status, None));
        changes_nothing!(fx, ErrorKind::JobNotFound, fx.mark_status(8, 1, status, None));
    }
}
