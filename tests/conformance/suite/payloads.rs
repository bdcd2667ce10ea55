//! Payloads and outputs that are long: storage keeps them out of memory where nobody asks for them.

use magnetar::{
    Change, Completion, ImportOptions, JobSpec, JobStatus, JobStore, Json, NewChunk, Outcome, ResetReach,
    Selection, limits,
};

use super::{JOB, c, changes_nothing, claim, get, import, try_import};
use crate::fixture::Fixture;
use crate::support::changes_since;

/// A JSON text of so many bytes.
fn text(letter: char, bytes: usize) -> Json {
    Json::new(&letter.to_string().repeat(bytes - 2)).expect("a text has a JSON form")
}

/// Longer than what is kept in memory of a chunk that nobody claims.
fn long(letter: char) -> Json {
    text(letter, 5_000)
}

fn with_payload(id: u64) -> NewChunk {
    c(id).payload(long('a'))
}

async fn has_payload(store: &dyn JobStore, id: u64, payload: &Json) {
    assert_eq!(get(store, id).await.payload.as_ref(), Some(payload), "chunk {id}");
}

pub(crate) async fn a_long_payload_outlives_all_that_happens_to_its_chunk(fx: Fixture) {
    import(&*fx, (1..=4).map(with_payload)).await;
    let payload = long('a');
    for round in 0_u64..3 {
        let claimed = claim(&*fx).await;
        assert_eq!((claimed.chunk, claimed.payload.as_ref()), (1, Some(&payload)), "round {round}");
        fx.heartbeat(&claimed.claim()).await.expect("it is held");
        match round {
            0 => fx.release_with_delay(&claimed.claim(), 1_000).await.expect("it is held"),
            1 => fx.fail_with_delay(&claimed.claim(), "no", 1_000).await.expect("it is held"),
            _ => fx.complete(&claimed.claim(), Completion::new()).await.expect("it is held"),
        };
        // It falls due in the moment of the next claim.
        fx.clock.advance(1_000);
        has_payload(&*fx, 1, &payload).await;
    }
    let of = |ids: &[u64]| Selection::Chunks(ids.to_vec());
    assert_eq!(fx.cancel(JOB, of(&[2, 3])).await.expect("they are pending"), 2);
    assert_eq!(fx.retry_failed(JOB, of(&[2, 3])).await.expect("they are cancelled"), 2);
    assert_eq!(fx.reset(JOB, of(&[1]), ResetReach::Direct).await.expect("it is done"), 1);
    fx.mark_status(JOB, 2, JobStatus::Done, None).await.expect("it is pending");
    // That is written to what the manifest said.
    assert_eq!(fx.add_dependency(JOB, 3, vec![1]).await.expect("there is no circle"), Outcome::Changed);
    for id in 1..=4 {
        has_payload(&*fx, id, &payload).await;
    }
    let claimed = fx.claim_pending_batch(JOB, 9).await.expect("the job exists");
    assert!(claimed.iter().all(|chunk| chunk.payload.as_ref() == Some(&payload)));
    for chunk in &claimed {
        fx.complete(&chunk.claim(), Completion::new()).await.expect("it is held");
    }
    let freed = claim(&*fx).await;
    assert_eq!((freed.chunk, freed.payload.as_ref()), (3, Some(&payload)));
    fx.verify().await.expect("nothing is damaged");
}

pub(crate) async fn an_import_tells_a_long_payload_from_another(fx: Fixture) {
    import(&*fx, (1..=4).map(with_payload)).await;
    let report = import(&*fx, (1..=4).map(with_payload)).await;
    assert_eq!((report.unchanged, report.updated), (4, 0));
    // As long, shorter, none at all; and another priority alone.
    let new = [c(1).payload(long('b')), c(2).payload(text('b', 10)), c(3), with_payload(4).priority(1)];
    let report = import(&*fx, new.clone()).await;
    assert_eq!((report.unchanged, report.updated), (0, 4));
    for (id, new) in (1..).zip(&new) {
        assert_eq!(get(&*fx, id).await.payload, new.payload);
    }
    let report = import(&*fx, new).await;
    assert_eq!((report.unchanged, report.updated), (4, 0));
}

pub(crate) async fn the_feed_tells_of_a_long_payload_where_it_is_the_newest(fx: Fixture) {
    import(&*fx, (1..=300).map(with_payload)).await;
    let first = fx.info().await.expect("the store is open").revision;
    for chunk in 1..=299 {
        fx.cancel(JOB, Selection::Chunks(vec![chunk])).await.expect("it is pending");
    }
    let second = fx.info().await.expect("the store is open").revision;
    for chunk in 1..=299 {
        fx.retry_failed(JOB, Selection::Chunks(vec![chunk])).await.expect("it is cancelled");
    }
    let page = fx.changes(first, 299).await.expect("nothing was pruned");
    assert_eq!(
        (page.changes, page.next, page.more),
        (vec![], second, true),
        "all of them have changed since"
    );
    let mut told = Vec::new();
    for change in changes_since(&*fx, 0).await {
        if let Change::Chunk { state, .. } = change {
            assert_eq!(state.payload, Some(long('a')));
            told.push(state.chunk);
        }
    }
    told.sort_unstable();
    assert_eq!(told, (1..=300).collect::<Vec<_>>());
}

pub(crate) async fn named_chunks_with_long_outputs_are_reset_together_or_not_at_all(fx: Fixture) {
    import(&*fx, (1..=200).map(c)).await;
    let completion = Completion::new().output(long('o'));
    for _ in 1..=199 {
        fx.complete(&claim(&*fx).await.claim(), completion.clone()).await.expect("it is held");
    }
    fx.cancel(JOB, Selection::Chunks(vec![200])).await.expect("it is pending");
    let reset = |ids| fx.reset(JOB, Selection::Chunks(ids), ResetReach::Direct);
    changes_nothing!(fx, magnetar::ErrorKind::Refused, reset((1..=200).collect()));
    assert_eq!(reset((1..=199).collect()).await.expect("they are done"), 199);
    assert_eq!(get(&*fx, 1).await.output, None);
    fx.verify().await.expect("nothing is damaged");
}

/// More than a claim takes, of the largest.
pub(crate) async fn the_largest_payloads_are_claimed_as_far_as_one_claim_may_take_them(fx: Fixture) {
    let payload = text('a', limits::PAYLOAD_BYTES_MAX);
    let new = (1..=20).map(|id| c(id).payload(payload.clone()));
    try_import(&*fx, JOB, JobSpec::new(), new, ImportOptions::new()).await.expect("it is fine");
    let most = limits::CLAIM_BYTES_MAX / limits::PAYLOAD_BYTES_MAX;
    for count in [most, 20 - most] {
        let claimed = fx.claim_pending_batch(JOB, 20).await.expect("the job exists");
        assert_eq!(claimed.len(), count);
        assert!(claimed.iter().all(|chunk| chunk.payload.as_ref() == Some(&payload)));
    }
}
