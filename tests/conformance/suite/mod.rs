//! The cases: what every store must do, whatever it is kept in.
//!
//! A case gets a [`Fixture`] with an empty store and says in its name what holds. Nothing here names a file, a thread
//! or a backend, so the same cases run on every target; what needs threads is in [`together`].

pub(crate) mod bulk;
pub(crate) mod claiming;
pub(crate) mod dependencies;
pub(crate) mod fencing;
pub(crate) mod finishing;
pub(crate) mod importing;
pub(crate) mod large;
pub(crate) mod leases;
pub(crate) mod lifetime;
pub(crate) mod limits;
pub(crate) mod looking;
pub(crate) mod marking;
pub(crate) mod payloads;
pub(crate) mod rounds;
pub(crate) mod slices;
#[cfg(not(target_family = "wasm"))]
pub(crate) mod together;

use std::fmt::Debug;

use magnetar::{
    ErrorKind, ImportOptions, ImportReport, JobSpec, JobState, JobStatus, JobStore, NewChunk, Result, chunks,
};

/// The job that most cases are about.
pub(crate) const JOB: i64 = 7;

/// A chunk with everything but its id left out.
pub(crate) fn c(id: u64) -> NewChunk {
    NewChunk::new(id)
}

/// Upserts chunks into the job.
pub(crate) async fn import(store: &dyn JobStore, new: impl IntoIterator<Item = NewChunk>) -> ImportReport {
    try_import(store, JOB, JobSpec::new(), new, ImportOptions::new()).await.expect("the import is fine")
}

/// Upserts chunks into the job, which says something of all of them.
pub(crate) async fn import_as(
    store: &dyn JobStore,
    spec: JobSpec,
    new: impl IntoIterator<Item = NewChunk>,
) -> ImportReport {
    try_import(store, JOB, spec, new, ImportOptions::new()).await.expect("the import is fine")
}

/// Upserts chunks into a job.
pub(crate) async fn try_import(
    store: &dyn JobStore,
    job: i64,
    spec: JobSpec,
    new: impl IntoIterator<Item = NewChunk>,
    options: ImportOptions,
) -> Result<ImportReport> {
    let new: Vec<_> = new.into_iter().map(Ok).collect();
    store.import(job, &spec, chunks(new), &options).await
}

/// Claims one chunk of the job, which has one.
pub(crate) async fn claim(store: &dyn JobStore) -> JobState {
    store.claim_pending(JOB).await.expect("the job exists").expect("a chunk is ready")
}

/// Claims all that is ready in the job: the ids in claim order.
pub(crate) async fn claim_ids(store: &dyn JobStore) -> Vec<u64> {
    ids(&store.claim_pending_batch(JOB, 100).await.expect("the job exists"))
}

/// Completes what can be claimed, until nothing is ready.
pub(crate) async fn complete_all(store: &dyn JobStore) {
    while let Some(chunk) = store.claim_pending(JOB).await.expect("the job exists") {
        store.complete(&chunk.claim(), magnetar::Completion::new()).await.expect("the claim is open");
    }
}

/// Marks chunks of the job done, in this order.
pub(crate) async fn mark_done(store: &dyn JobStore, ids: impl IntoIterator<Item = u64>) {
    for chunk in ids {
        store.mark_status(JOB, chunk, JobStatus::Done, None).await.expect("its dependencies are met");
    }
}

pub(crate) async fn get(store: &dyn JobStore, chunk: u64) -> JobState {
    store.get_chunk(JOB, chunk).await.expect("the job exists").expect("the chunk exists")
}

pub(crate) async fn status(store: &dyn JobStore, chunk: u64) -> JobStatus {
    get(store, chunk).await.status
}

/// The statuses of the chunks 1 to n.
pub(crate) async fn statuses(store: &dyn JobStore) -> Vec<JobStatus> {
    crate::support::chunks_of(store, JOB).await.iter().map(|state| state.status).collect()
}

pub(crate) fn ids(states: &[JobState]) -> Vec<u64> {
    states.iter().map(|state| state.chunk).collect()
}

/// The call was refused, for this reason.
#[track_caller]
pub(crate) fn refused<T: Debug>(result: Result<T>, kind: ErrorKind) -> magnetar::Error {
    match result {
        Ok(answer) => panic!("it was to be refused as {kind:?}, and was answered {answer:?}"),
        Err(error) => {
            assert_eq!(error.kind(), kind, "{error}");
            error
        }
    }
}

/// The call is refused, for this reason, and the whole store is as it was before.
macro_rules! changes_nothing {
    ($store:expr, $kind:expr, $call:expr) => {{
        let before = $crate::support::export(&*$store).await;
        let error = $crate::suite::refused($call.await, $kind);
        assert_eq!(
            $crate::support::export(&*$store).await,
            before,
            "a refused call changed something: {error}"
        );
        error
    }};
}
pub(crate) use changes_nothing;
