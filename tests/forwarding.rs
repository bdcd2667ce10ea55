//! One store that passes on the calls of several clients: claims are each client's own, and a call whose answer was
//! lost is answered again with what it did.

#![cfg(feature = "redb")]
#![allow(missing_docs, reason = "a test binary has no readers of its documentation")]

mod support;

use std::sync::Arc;

use magnetar::{
    Completion, ErrorKind, JobSpec, JobStore, NewChunk, OpenOptions, OwnerId, RedbStore, block_on, chunks,
};
use support::{Living, ManualClock, SharedBytes};

const JOB: i64 = 7;
const HOST: OwnerId = OwnerId::from_bytes([0; 16]);
const A: OwnerId = OwnerId::from_bytes([1; 16]);
const B: OwnerId = OwnerId::from_bytes([2; 16]);

struct Host {
    bytes: SharedBytes,
    living: Arc<Living>,
    store: RedbStore,
}

impl Host {
    fn with_chunks(count: u64) -> Self {
        let (bytes, living) = (SharedBytes::default(), Arc::<Living>::default());
        let store = open(&bytes, &living);
        let import = (0..count).map(|id| Ok(NewChunk::new(id)));
        block_on(store.import(JOB, &JobSpec::new(), chunks(import), &Default::default())).unwrap();
        Host { bytes, living, store }
    }

    /// As after the host's own death: another one opens the same bytes.
    fn succeeded(self) -> Self {
        let Host { bytes, living, store } = self;
        drop(store);
        let store = open(&bytes, &living);
        Host { bytes, living, store }
    }
}

fn open(bytes: &SharedBytes, living: &Arc<Living>) -> RedbStore {
    let clock = Arc::new(ManualClock::at(1_700_000_000_000));
    let options = OpenOptions::new().clock(clock).liveness(living.clone()).owner(HOST);
    let bytes = bytes.clone();
    RedbStore::on_storage(move || Ok(bytes.clone()), &options).unwrap()
}

#[test]
fn a_claim_sent_again_to_the_next_host_finds_what_it_claimed() {
    block_on(async {
        let host = Host::with_chunks(3);
        let claimed = host.store.on_behalf_of(A, 5).claim_pending_batch(JOB, 2).await.unwrap();
        assert_eq!(claimed[0].owner, Some(A));
        let host = host.succeeded();
        assert_eq!(host.store.on_behalf_of(A, 5).claim_pending_batch(JOB, 2).await.unwrap(), claimed);
        assert_eq!(host.store.on_behalf_of(A, 6).claim_pending_batch(JOB, 2).await.unwrap().len(), 1);
    });
}

#[test]
fn a_claim_of_any_job_sent_again_finds_what_it_claimed() {
    block_on(async {
        let host = Host::with_chunks(3);
        let payload = magnetar::Json::new(&"a".repeat(5_000)).unwrap();
        let long = chunks([Ok(NewChunk::new(9).payload(payload).priority(1))]);
        host.store.import(JOB, &JobSpec::new(), long, &Default::default()).await.unwrap();
        let any = magnetar::ClaimRequest::new().count(2);
        let claimed = host.store.on_behalf_of(A, 5).claim(&any).await.unwrap();
        assert_eq!(claimed.len(), 2);
        assert_eq!(host.store.on_behalf_of(A, 5).claim(&any).await.unwrap(), claimed);
        let host = host.succeeded();
        assert_eq!(host.store.on_behalf_of(A, 5).claim(&any).await.unwrap(), claimed);
    });
}

#[test]
fn the_next_host_finds_claims_of_higher_numbers_than_it_was_told_of() {
    block_on(async {
        let host = Host::with_chunks(9);
        let claimed = host.store.on_behalf_of(A, 5).claim_pending_batch(JOB, 2).await.unwrap();
        let later = host.store.on_behalf_of(A, 8).claim_pending_batch(JOB, 2).await.unwrap();
        let host = host.succeeded();
        // What was answered is not asked for again; what was not is, in whatever order it comes.
        let new = host.store.on_behalf_of(A, 6).claim_pending_batch(JOB, 2).await.unwrap();
        assert!(new.iter().all(|chunk| !claimed.contains(chunk) && !later.contains(chunk)));
        assert_eq!(host.store.on_behalf_of(A, 8).claim_pending_batch(JOB, 2).await.unwrap(), later);
        assert_eq!(host.store.on_behalf_of(A, 5).claim_pending_batch(JOB, 2).await.unwrap(), claimed);
        let newest = host.store.on_behalf_of(A, 9).claim_pending_batch(JOB, 2).await.unwrap();
        assert_eq!(host.store.on_behalf_of(A, 9).claim_pending_batch(JOB, 2).await.unwrap(), newest);
        assert_eq!(host.store.on_behalf_of(A, 10).claim_pending_batch(JOB, 2).await.unwrap().len(), 1);
    });
}

#[test]
fn the_same_number_of_another_client_is_another_call() {
    block_on(async {
        let host = Host::with_chunks(2);
        let a = host.store.on_behalf_of(A, 1).claim_pending(JOB).await.unwrap().unwrap();
        let b = host.store.on_behalf_of(B, 1).claim_pending(JOB).await.unwrap().unwrap();
        assert_ne!(a.chunk, b.chunk);
        assert_eq!(host.store.on_behalf_of(B, 0).release_all().await.unwrap(), 1);
        assert_eq!(host.store.get_stats(JOB).await.unwrap().processing, 1);
    });
}

#[test]
fn complete_and_claim_sent_again_does_neither_twice() {
    block_on(async {
        let host = Host::with_chunks(3);
        let first = host.store.on_behalf_of(A, 1).claim_pending(JOB).await.unwrap().unwrap();
        let next = magnetar::ClaimRequest::new().job(JOB);
        let done = |host: &Host| host.store.on_behalf_of(A, 2);
        let claimed = done(&host).complete_and_claim(&first.claim(), Completion::new(), &next).await.unwrap();
        let host = host.succeeded();
        let again = done(&host).complete_and_claim(&first.claim(), Completion::new(), &next).await.unwrap();
        assert_eq!(again, claimed);
        let stats = host.store.get_stats(JOB).await.unwrap();
        assert_eq!((stats.done, stats.processing, stats.pending), (1, 1, 1));
    });
}

#[test]
fn a_new_job_sent_again_is_the_same_job() {
    block_on(async {
        let host = Host::with_chunks(0);
        let id = host.store.on_behalf_of(A, 9).new_job(&JobSpec::new()).await.unwrap();
        let host = host.succeeded();
        assert_eq!(host.store.on_behalf_of(A, 9).new_job(&JobSpec::new()).await.unwrap(), id);
        assert_ne!(host.store.on_behalf_of(A, 10).new_job(&JobSpec::new()).await.unwrap(), id);
    });
}

#[test]
fn new_jobs_sent_again_are_the_same_however_many_and_whatever_ids_came_after() {
    block_on(async {
        let host = Host::with_chunks(1);
        let mut ids = Vec::new();
        for seq in 1..=1_100 {
            ids.push(host.store.on_behalf_of(A, seq).new_job(&JobSpec::new()).await.unwrap());
        }
        let far = chunks([Ok(NewChunk::new(1))]);
        host.store.import(1_000_000, &JobSpec::new(), far, &Default::default()).await.unwrap();
        let others = host.store.on_behalf_of(B, 1).new_job(&JobSpec::new()).await.unwrap();
        let host = host.succeeded();
        for (seq, id) in (1..).zip(&ids) {
            assert_eq!(host.store.on_behalf_of(A, seq).new_job(&JobSpec::new()).await.unwrap(), *id);
        }
        assert_eq!(host.store.on_behalf_of(B, 1).new_job(&JobSpec::new()).await.unwrap(), others);
        let next = host.store.on_behalf_of(A, 1_101).new_job(&JobSpec::new()).await.unwrap();
        assert_eq!(next, others + 1);
        // One that was deleted meanwhile is made anew.
        host.store.delete_job(next).await.unwrap();
        assert_eq!(host.store.on_behalf_of(A, 1_101).new_job(&JobSpec::new()).await.unwrap(), next + 1);
    });
}

#[test]
fn the_claims_of_a_client_that_died_come_back_as_soon_as_the_host_is_told() {
    block_on(async {
        let host = Host::with_chunks(1);
        let held = host.store.on_behalf_of(A, 1).claim_pending(JOB).await.unwrap().unwrap();
        // The look for the dead of this second has been taken, and found everybody alive.
        assert_eq!(host.store.on_behalf_of(B, 1).claim_pending(JOB).await.unwrap(), None);
        host.living.kill(A);
        assert_eq!(host.store.on_behalf_of(B, 2).claim_pending(JOB).await.unwrap(), None);
        host.store.reap().await.unwrap();
        assert!(host.store.on_behalf_of(B, 3).claim_pending(JOB).await.unwrap().is_some());
        let late = host.store.on_behalf_of(A, 2).complete(&held.claim(), Completion::new()).await;
        assert_eq!(late.unwrap_err().kind(), ErrorKind::Superseded);
    });
}

#[test]
fn the_living_keep_their_claims_when_the_host_dies_and_the_dead_do_not() {
    block_on(async {
        let host = Host::with_chunks(2);
        let a = host.store.on_behalf_of(A, 1).claim_pending(JOB).await.unwrap().unwrap();
        host.store.on_behalf_of(B, 1).claim_pending(JOB).await.unwrap().unwrap();
        host.living.kill(B);
        let host = host.succeeded();
        let stats = host.store.get_stats(JOB).await.unwrap();
        assert_eq!((stats.processing, stats.pending), (1, 1));
        host.store.on_behalf_of(A, 2).complete(&a.claim(), Completion::new()).await.unwrap();
    });
}
