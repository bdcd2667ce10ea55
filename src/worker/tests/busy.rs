//! A store that is too busy for what a worker's thread sends it, and takes it later.

use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;

use super::{busy, one_claim, pulse_on};
use crate::commit::{Watch, block_on};
use crate::error::Result;
use crate::limits;
use crate::manifest::Manifest;
use crate::model::{
    Changes, ChunkRecords, ChunkUpdate, Claim, ClaimRequest, Completion, FeedConsumer, GraphFormat,
    ImportOptions, ImportReport, JobInfo, JobSpec, JobState, JobStats, JobStatus, Outcome, OwnerId,
    ResetReach, Restored, Selection, StoreInfo,
};
use crate::store::{ChunkStream, JobStore, Persistence};
use crate::worker::context::{Cancellation, Context};

/// Refuses so many batches of updates, and passes on everything else.
#[derive(Debug)]
struct Busy {
    store: Arc<dyn JobStore>,
    refusals: AtomicU32,
}

impl Busy {
    fn over(store: &Arc<dyn JobStore>, refusals: u32) -> (Arc<Busy>, Arc<dyn JobStore>) {
        let busy = Arc::new(Busy { store: Arc::clone(store), refusals: refusals.into() });
        (Arc::clone(&busy), busy)
    }
}

macro_rules! passes_on {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl JobStore for Busy {
            $(
                async fn $name(&self, $($argument: $kind),*) -> Result<$answer> {
                    self.store.$name($($argument),*).await
                }
            )*

            async fn apply_batch_updates(
                &self,
                job_id: i64,
                updates: Vec<ChunkUpdate>,
            ) -> Result<Vec<Result<Outcome>>> {
                let less = |left: u32| left.checked_sub(1);
                if self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
                    return Err(busy());
                }
                self.store.apply_batch_updates(job_id, updates).await
            }

            fn watch(&self) -> Watch {
                self.store.watch()
            }

            fn owner(&self) -> OwnerId {
                self.store.owner()
            }

            fn persistence(&self) -> Persistence {
                self.store.persistence()
            }

            fn recovers_at_once(&self) -> bool {
                self.store.recovers_at_once()
            }
        }
    };
}

passes_on! {
    init_from_manifest(job_id: i64, manifest: &Manifest) -> ImportReport;
    import(job_id: i64, spec: &JobSpec, chunks: ChunkStream<'_>, options: &ImportOptions) -> ImportReport;
    restore(export: &mut (dyn BufRead + Send)) -> Restored;
    new_job(spec: &JobSpec) -> i64;
    delete_job(job_id: i64) -> Outcome;
    add_dependency(job_id: i64, chunk: u64, depends_on: Vec<u64>) -> Outcome;
    claim_pending(job_id: i64) -> Option<JobState>;
    claim_pending_batch(job_id: i64, count: usize) -> Vec<JobState>;
    claim(request: &ClaimRequest) -> Vec<JobState>;
    complete(claim: &Claim, result: Completion) -> Outcome;
    complete_and_claim(claim: &Claim, result: Completion, next: &ClaimRequest) -> Vec<JobState>;
    fail(claim: &Claim, error: &str) -> Outcome;
    fail_with_delay(claim: &Claim, error: &str, delay_ms: u64) -> Outcome;
    fail_permanently(claim: &Claim, error: &str) -> Outcome;
    release(claim: &Claim) -> Outcome;
    release_with_delay(claim: &Claim, delay_ms: u64) -> Outcome;
    heartbeat(claim: &Claim) -> Outcome;
    mark_status(job_id: i64, chunk: u64, status: JobStatus, detail: Option<String>) -> Outcome;
    mark_failed(job_id: i64, chunk: u64, error: String) -> Outcome;
    retry_failed(job_id: i64, chunks: Selection) -> u64;
    reset(job_id: i64, chunks: Selection, through: ResetReach) -> u64;
    cancel(job_id: i64, chunks: Selection) -> u64;
    resume_pending(job_id: i64) -> Vec<JobState>;
    release_all() -> u64;
    reopen() -> ();
    verify() -> ();
    close() -> ();
    get_chunk(job_id: i64, chunk: u64) -> Option<JobState>;
    get_by_status(job_id: i64, status: JobStatus) -> Vec<JobState>;
    page_by_status(job_id: i64, status: Option<JobStatus>, after: Option<u64>, limit: usize) -> Vec<JobState>;
    page_records(job_id: i64, status: Option<JobStatus>, after: Option<u64>, limit: usize) -> ChunkRecords;
    info() -> StoreInfo;
    get_stats(job_id: i64) -> JobStats;
    get_job(job_id: i64) -> JobInfo;
    list_jobs(after: Option<i64>, limit: usize) -> Vec<JobInfo>;
    get_dependencies(job_id: i64, chunk: u64) -> Vec<u64>;
    get_dependents(job_id: i64, chunk: u64) -> Vec<u64>;
    topo_sort_ready(job_id: i64) -> Vec<u64>;
    topo_order(job_id: i64) -> Vec<u64>;
    graph(job_id: i64, format: GraphFormat) -> String;
    changes(since: u64, limit: usize) -> Changes;
    register_consumer(name: &str) -> u64;
    advance_consumer(name: &str, revision: u64) -> u64;
    unregister_consumer(name: &str) -> u64;
    consumers() -> Vec<FeedConsumer>;
}

#[test]
fn a_release_that_the_store_was_too_busy_for_is_sent_again() {
    let (store, state) = one_claim();
    let (busy, refusing) = Busy::over(&store, 2);
    let pulse = pulse_on(&refusing);
    drop(pulse.keeper().hold(&state));
    assert_eq!(block_on(pulse.finish()), 1);
    assert_eq!(busy.refusals.load(Ordering::SeqCst), 0);
    assert_eq!(block_on(store.get_stats(1)).unwrap().pending, 1);
}

#[test]
fn a_store_that_stays_too_busy_for_a_release_ends_the_run_all_the_same() {
    let (store, state) = one_claim();
    let (_, refusing) = Busy::over(&store, u32::MAX);
    let pulse = pulse_on(&refusing);
    drop(pulse.keeper().hold(&state));
    assert_eq!(block_on(pulse.finish()), 0);
    assert_eq!(block_on(store.get_stats(1)).unwrap().processing, 1, "its lease decides");
}

#[test]
fn a_heartbeat_that_the_store_was_too_busy_for_is_sent_again_and_long_before_the_next_one() {
    let (store, mut state) = one_claim();
    // The next one would come in some days.
    state.lease.as_mut().unwrap().duration_ms = *limits::LEASE_MS.end();
    let (busy, refusing) = Busy::over(&store, 2);
    let pulse = pulse_on(&refusing);
    let hold = pulse.keeper().hold(&state);
    let context = Context::new(state, Arc::clone(hold.cancel()));
    block_on(store.cancel(1, Selection::All)).unwrap();
    assert_eq!(block_on(context.cancelled()), Cancellation::Superseded);
    assert_eq!(busy.refusals.load(Ordering::SeqCst), 0);
    hold.settle();
    assert_eq!(block_on(pulse.finish()), 0);
}
