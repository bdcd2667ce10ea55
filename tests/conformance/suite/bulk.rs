//! Retry, reset and cancel: of all chunks, or of some by name.

use magnetar::{Completion, ErrorKind, JobStatus, ResetReach, Selection};

use super::{JOB, c, changes_nothing, claim, claim_ids, get, import, mark_done, refused, status, statuses};
use crate::fixture::Fixture;

fn these(chunks: impl IntoIterator<Item = u64>) -> Selection {
    Selection::Chunks(chunks.into_iter().collect())
}

/// Chunks 1 to 5: pending, processing, done, failed, cancelled.
async fn one_of_each(fx: &Fixture) {
    import(&**fx, [c(1), c(2).priority(1), c(3), c(4), c(5)]).await;
    assert_eq!(claim(&**fx).await.chunk, 2);
    mark_done(&**fx, [3]).await;
    fx.mark_failed(JOB, 4, "broken".into()).await.expect("it may");
    fx.cancel(JOB, these([5])).await.expect("it may");
    assert_eq!(statuses(&**fx).await, JobStatus::ALL);
}

pub(crate) async fn retry_of_all_brings_back_what_failed_and_only_that(fx: Fixture) {
    one_of_each(&fx).await;
    assert_eq!(fx.retry_failed(JOB, Selection::All).await.expect("the job exists"), 1);
    assert_eq!(status(&*fx, 4).await, JobStatus::Pending);
    assert_eq!(status(&*fx, 5).await, JobStatus::Cancelled);
    assert_eq!(fx.retry_failed(JOB, Selection::All).await.expect("the job exists"), 0);
}

pub(crate) async fn retry_of_some_takes_failed_and_cancelled_ones(fx: Fixture) {
    one_of_each(&fx).await;
    assert_eq!(fx.retry_failed(JOB, these([1, 4, 5])).await.expect("they may"), 2);
    assert_eq!(status(&*fx, 5).await, JobStatus::Pending);
}

pub(crate) async fn reset_of_all_takes_back_what_is_done_and_only_that(fx: Fixture) {
    one_of_each(&fx).await;
    assert_eq!(fx.reset(JOB, Selection::All, ResetReach::Direct).await.expect("the job exists"), 1);
    let state = get(&*fx, 3).await;
    assert_eq!((state.status, state.observed_checksum, state.output), (JobStatus::Pending, None, None));
    assert_eq!(fx.reset(JOB, these([3]), ResetReach::Direct).await.expect("it holds already"), 0);
}

pub(crate) async fn cancel_of_all_takes_whatever_is_not_done(fx: Fixture) {
    one_of_each(&fx).await;
    assert_eq!(fx.cancel(JOB, Selection::All).await.expect("the job exists"), 3);
    let stats = fx.get_stats(JOB).await.expect("the job exists");
    assert_eq!((stats.cancelled, stats.done), (4, 1));
    assert!(stats.is_finished() && !stats.is_complete() && !stats.is_stalled());
}

pub(crate) async fn one_chunk_that_is_refused_leaves_all_as_they_are(fx: Fixture) {
    one_of_each(&fx).await;
    for wrong in [2, 3] {
        changes_nothing!(fx, ErrorKind::Refused, fx.retry_failed(JOB, these([4, 5, wrong])));
    }
    for wrong in [2, 4, 5] {
        changes_nothing!(fx, ErrorKind::Refused, fx.reset(JOB, these([3, wrong]), ResetReach::Through));
    }
    changes_nothing!(fx, ErrorKind::Refused, fx.cancel(JOB, these([1, 2, 3])));
    changes_nothing!(fx, ErrorKind::ChunkNotFound, fx.retry_failed(JOB, these([4, 9])));
    changes_nothing!(fx, ErrorKind::ChunkNotFound, fx.reset(JOB, these([3, 9]), ResetReach::Direct));
    changes_nothing!(fx, ErrorKind::ChunkNotFound, fx.cancel(JOB, these([1, 9])));
    changes_nothing!(fx, ErrorKind::JobNotFound, fx.cancel(8, Selection::All));
}

pub(crate) async fn a_chunk_named_twice_counts_once_and_no_chunk_at_all_is_nothing_to_do(fx: Fixture) {
    one_of_each(&fx).await;
    assert_eq!(fx.retry_failed(JOB, these([4, 4])).await.expect("it may"), 1);
    assert_eq!(fx.cancel(JOB, these([1, 1, 4])).await.expect("they may"), 2);
    assert_eq!(fx.reset(JOB, these([]), ResetReach::Direct).await.expect("nothing is wrong"), 0);
}

pub(crate) async fn a_cancelled_holder_is_superseded(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let held = claim(&*fx).await;
    fx.cancel(JOB, Selection::All).await.expect("the job exists");
    refused(fx.complete(&held.claim(), Completion::new()).await, ErrorKind::Superseded);
    assert_eq!(get(&*fx, 1).await.owner, None);
}

pub(crate) async fn a_reset_blocks_what_depends_on_it_again(fx: Fixture) {
    import(&*fx, [c(1), c(2).depends_on([1]), c(3).depends_on([1]), c(4).depends_on([3])]).await;
    mark_done(&*fx, [1, 3]).await;
    assert_eq!(fx.reset(JOB, these([1]), ResetReach::Direct).await.expect("it is done"), 1);
    assert_eq!(claim_ids(&*fx).await, [1, 4], "chunk 3 is still done, so chunk 4 is ready");
    assert_eq!(status(&*fx, 3).await, JobStatus::Done);
    mark_done(&*fx, [1]).await;
    assert_eq!(claim_ids(&*fx).await, [2]);
}

pub(crate) async fn a_reset_through_takes_back_what_was_done_on_top(fx: Fixture) {
    import(&*fx, [c(1), c(2).depends_on([1]), c(3).depends_on([2]), c(4).depends_on([3]), c(5)]).await;
    mark_done(&*fx, [1, 2, 3, 5]).await;
    assert_eq!(fx.reset(JOB, these([1]), ResetReach::Through).await.expect("it is done"), 3);
    let pending = JobStatus::Pending;
    assert_eq!(statuses(&*fx).await, [pending, pending, pending, pending, JobStatus::Done]);
    assert_eq!(claim_ids(&*fx).await, [1]);
}

pub(crate) async fn a_reset_ends_the_claim_of_a_dependent_and_blocks_it(fx: Fixture) {
    import(&*fx, [c(1), c(2).depends_on([1])]).await;
    mark_done(&*fx, [1]).await;
    let held = claim(&*fx).await;
    assert_eq!(held.chunk, 2);
    fx.reset(JOB, these([1]), ResetReach::Direct).await.expect("it is done");
    let state = get(&*fx, 2).await;
    assert_eq!((state.status, state.unmet_dependencies, state.losses), (JobStatus::Pending, 1, 0));
    refused(fx.complete(&held.claim(), Completion::new()).await, ErrorKind::Superseded);
    assert_eq!(claim_ids(&*fx).await, [1]);
}

pub(crate) async fn a_reset_ends_the_lapsed_claim_of_a_dependent(fx: Fixture) {
    import(&*fx, [c(1), c(2).depends_on([1])]).await;
    mark_done(&*fx, [1]).await;
    let held = claim(&*fx).await;
    fx.clock.advance(magnetar::limits::LEASE_MS_DEFAULT);
    fx.resume_pending(JOB).await.expect("the job exists");
    fx.reset(JOB, these([1]), ResetReach::Direct).await.expect("it is done");
    changes_nothing!(fx, ErrorKind::Superseded, fx.complete(&held.claim(), Completion::new()));
}

pub(crate) async fn a_reset_of_a_whole_chain_by_name_counts_each_once(fx: Fixture) {
    import(&*fx, [c(1), c(2).depends_on([1]), c(3).depends_on([2])]).await;
    mark_done(&*fx, [1, 2, 3]).await;
    assert_eq!(fx.reset(JOB, Selection::All, ResetReach::Direct).await.expect("they are done"), 3);
    assert_eq!(claim_ids(&*fx).await, [1]);
}
