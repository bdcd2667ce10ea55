//! Damage to a copy that was made of an open store.

use magnetar::{
    Completion, ErrorKind, ImportOptions, JobSpec, JobStore as _, Json, NewChunk, OpenOptions, RedbStore,
    block_on, chunks,
};

use crate::bytes::SharedBytes;
use crate::state::State;

const JOB: i64 = 7;
const PAGE: usize = 4096;
/// Where the journal stands.
const JOURNAL: std::ops::Range<u64> = 4096..256 << 10;

fn open(bytes: &SharedBytes) -> magnetar::Result<RedbStore> {
    let bytes = bytes.clone();
    RedbStore::on_storage(move || Ok(bytes.clone()), &OpenOptions::new())
}

/// Opens, verifies, reads everything.
fn look(bytes: &SharedBytes) -> magnetar::Result<State> {
    let store = open(bytes)?;
    block_on(async {
        store.verify().await?;
        let state = State::of(&store).await?;
        store.close().await?;
        Ok(state)
    })
}

async fn import(store: &RedbStore, job: i64, payload_bytes: usize) {
    let payload = Json::new(&"x".repeat(payload_bytes)).expect("a text is JSON");
    let new = (0..300).map(|id| Ok(NewChunk::new(id).payload(payload.clone())));
    store.import(job, &JobSpec::new(), chunks(new), &ImportOptions::new()).await.expect("there is space");
}

async fn work(store: &RedbStore) {
    for _ in 0..3 {
        let claimed = store.claim_pending(JOB).await.expect("it is claimed").expect("some are ready");
        store.complete(&claimed.claim(), Completion::new()).await.expect("it is done");
    }
}

fn byte(bytes: &SharedBytes, at: u64) -> u8 {
    let mut byte = [0];
    magnetar::Storage::read(bytes, at, &mut byte).expect("it is there");
    byte[0]
}

/// One byte of each page is another one, and each of some frames of the journal: of a file that was not closed that is
/// like a crash in its last commit, and of a copy that was made on purpose it is damage.
fn every_damage_is_found(store: &RedbStore, bytes: &SharedBytes) {
    block_on(store.checkpoint()).expect("there is space");
    let whole = bytes.copy();
    let expected = look(&whole.copy()).expect("the copy is whole");
    assert_eq!(block_on(State::of(store)).expect("it is open"), expected);
    let length = magnetar::Storage::len(&whole).expect("bytes in memory");
    let frames = JOURNAL.filter(|&at| byte(&whole, at) != 0);
    let places = (0..length).step_by(PAGE).map(|at| at + 97).chain(frames.step_by(53));
    for at in places {
        let copy = whole.copy();
        magnetar::Storage::write(&copy, at, &[!byte(&copy, at)]).expect("it is there");
        match look(&copy) {
            Ok(state) => assert!(state == expected, "byte {at}: {}", state.difference(&expected)),
            Err(error) => {
                let kind = error.kind();
                assert!(matches!(kind, ErrorKind::Corrupt | ErrorKind::NewerFormat), "byte {at}: {error}");
            }
        }
    }
}

#[test]
fn damage_to_a_copy_whose_last_commit_was_a_large_one_is_found() {
    let bytes = SharedBytes::default();
    let store = open(&bytes).expect("a new store");
    block_on(import(&store, JOB, 2_000));
    every_damage_is_found(&store, &bytes);
}

#[test]
fn damage_to_a_copy_whose_last_commits_were_small_is_found() {
    let bytes = SharedBytes::default();
    let store = open(&bytes).expect("a new store");
    block_on(async {
        import(&store, JOB, 20).await;
        work(&store).await;
    });
    every_damage_is_found(&store, &bytes);
    // And again, when the journal has begun anew.
    block_on(work(&store));
    every_damage_is_found(&store, &bytes);
}
