//! Claims are kept while their handlers work, and handlers hear when a claim is lost. Here real time passes: leases
//! are at their shortest, one second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join;
use magnetar::worker::{Cancellation, Context, Ending, Shutdown, Worker};
use magnetar::{Completion, JobSpec, JobStatus, JobStore, Selection, block_on, limits};

use crate::{JOB, give_way, store_of};

const LEASE: Duration = Duration::from_millis(*limits::LEASE_MS.start());

/// Outlasts the lease without a turn for anybody else in this task, then looks whether the claim is still held.
fn outlast(store: &dyn JobStore, context: &Context) -> Result<Completion, String> {
    std::thread::sleep(LEASE * 8 / 5);
    let back = block_on(store.resume_pending(JOB)).unwrap();
    match block_on(store.get_chunk(JOB, context.chunk())).unwrap().unwrap().status {
        JobStatus::Processing if back.is_empty() => Ok(Completion::new()),
        status => Err(format!("the chunk is {status}")),
    }
}

#[test]
fn a_handler_on_its_own_thread_that_outlasts_the_lease_keeps_its_claim() {
    let store = store_of(2, &JobSpec::new().lease_ms(*limits::LEASE_MS.start()));
    let own = Arc::clone(&store);
    let worker = Worker::new(store).job(JOB).concurrency(2);
    let summary = block_on(worker.run_blocking(move |context: &Context| outlast(&*own, context))).unwrap();
    assert_eq!((summary.ending, summary.completed, summary.retried), (Ending::Finished, 2, 0), "{summary}");
}

#[test]
fn a_future_that_blocks_its_whole_task_beyond_the_lease_keeps_its_claim() {
    let store = store_of(1, &JobSpec::new());
    let worker = Worker::new(Arc::clone(&store)).job(JOB).lease_ms(*limits::LEASE_MS.start());
    let summary = block_on(worker.run(async |context: Context| outlast(&*store, &context))).unwrap();
    assert_eq!((summary.ending, summary.completed, summary.retried), (Ending::Finished, 1, 0), "{summary}");
}

/// On tokio, where the store's own thread commits: a claim's answer waits for the task then, and nobody works on it yet.
#[test]
fn a_claim_whose_answer_a_blocked_task_cannot_take_is_kept_as_well() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = store_of(3, &JobSpec::new().lease_ms(*limits::LEASE_MS.start()));
    let has_returned = AtomicBool::new(false);
    let handler = async |context: Context| {
        if context.chunk() != 1 {
            has_returned.store(true, Ordering::Relaxed);
            return Ok(Completion::new());
        }
        while !has_returned.load(Ordering::Relaxed) {
            give_way().await;
        }
        // The run has its turn to ask for the next chunk, and is to have none to take the answer.
        for _ in 0..2 {
            give_way().await;
        }
        let next = || block_on(store.get_chunk(JOB, 2)).unwrap().unwrap();
        while next().status == JobStatus::Pending {
            std::thread::yield_now();
        }
        // The answer was quicker where it is through already.
        let is_on_its_way = next().status == JobStatus::Processing;
        let outcome = outlast(&*store, &context);
        assert!(
            !is_on_its_way || (next().status, next().losses) == (JobStatus::Processing, 0),
            "{:?}",
            next()
        );
        outcome
    };
    let worker = Worker::new(Arc::clone(&store)).job(JOB).concurrency(2);
    let summary = runtime.block_on(worker.run(handler)).unwrap();
    assert_eq!((summary.ending, summary.completed, summary.retried), (Ending::Finished, 3, 0), "{summary}");
}

#[test]
fn a_handler_whose_chunk_is_ended_from_outside_is_told_and_its_result_counts_no_more() {
    // By a heartbeat, or long before one.
    for (blocking, lease_ms) in [(false, limits::LEASE_MS.start()), (true, limits::LEASE_MS.end())] {
        let store = store_of(2, &JobSpec::new().lease_ms(*lease_ms));
        let own = Arc::clone(&store);
        let end_from_outside = move |context: &Context| {
            assert_eq!(context.cancellation(), None);
            let chunks = Selection::Chunks(vec![context.chunk()]);
            assert_eq!(block_on(own.cancel(JOB, chunks)).unwrap(), 1);
        };
        let worker = Worker::new(Arc::clone(&store)).job(JOB).concurrency(2);
        let summary = if blocking {
            block_on(worker.run_blocking(move |context: &Context| {
                end_from_outside(context);
                let reason = block_on(context.cancelled());
                assert!(context.is_cancelled() && reason == Cancellation::Superseded);
                Ok::<_, String>(Completion::new())
            }))
        } else {
            block_on(worker.run(async |context: Context| {
                end_from_outside(&context);
                match context.cancelled().await {
                    Cancellation::Superseded => Ok(Completion::new()),
                    other => Err(format!("{other:?}")),
                }
            }))
        };
        let summary = summary.unwrap();
        assert_eq!(
            (summary.ending, summary.completed, summary.superseded),
            (Ending::Finished, 0, 2),
            "{summary}"
        );
        assert_eq!(block_on(store.get_stats(JOB)).unwrap().cancelled, 2);
    }
}

#[test]
fn a_handler_is_told_long_before_a_heartbeat_whatever_ended_its_claim() {
    // The first heartbeat would come in days.
    for end in ["put back", "done", "deleted", "taken"] {
        let store = store_of(1, &JobSpec::new().lease_ms(*limits::LEASE_MS.end()));
        let was_told = AtomicBool::new(false);
        let handler = async |context: Context| {
            if was_told.load(Ordering::Relaxed) {
                return Ok(Completion::new());
            }
            let mut taken = None;
            match end {
                "taken" => {
                    store.mark_status(JOB, 0, JobStatus::Pending, None).await.unwrap();
                    taken = store.claim_pending(JOB).await.unwrap();
                }
                "put back" => drop(store.mark_status(JOB, 0, JobStatus::Pending, None).await.unwrap()),
                "done" => drop(store.mark_status(JOB, 0, JobStatus::Done, None).await.unwrap()),
                _ => drop(store.delete_job(JOB).await.unwrap()),
            }
            let reason = context.cancelled().await;
            was_told.store(true, Ordering::Relaxed);
            if let Some(taken) = taken {
                store.release(&taken.claim()).await.unwrap();
            }
            Err(format!("{reason:?}"))
        };
        let summary = block_on(Worker::new(Arc::clone(&store)).run(handler)).unwrap();
        assert_eq!(summary.superseded, 1, "{end}: {summary}");
        assert_eq!(summary.completed, u64::from(["put back", "taken"].contains(&end)), "{end}: {summary}");
    }
}

#[test]
fn of_very_many_handlers_the_last_one_is_told_as_well() {
    const MANY: u64 = 150;
    let store = store_of(MANY, &JobSpec::new().lease_ms(*limits::LEASE_MS.end()));
    let (stop, here) = (Shutdown::new(), std::sync::atomic::AtomicU64::new(0));
    let handler = async |context: Context| {
        if here.fetch_add(1, Ordering::Relaxed) == MANY - 1 {
            // The only change that is told of: what is looked at then goes on by itself.
            store.cancel(JOB, Selection::Chunks(vec![MANY - 1])).await.unwrap();
        }
        if context.cancelled().await == Cancellation::Superseded {
            assert_eq!(context.chunk(), MANY - 1);
            stop.request();
        }
        Err::<Completion, _>("interrupted")
    };
    let worker = Worker::new(Arc::clone(&store)).job(JOB).concurrency(150).shutdown(&stop);
    let summary = block_on(worker.run(handler)).unwrap();
    assert_eq!((summary.superseded, summary.released), (1, MANY - 1), "{summary}");
}

#[test]
fn a_heartbeat_that_a_closed_store_refuses_ends_the_run_though_its_handlers_do_not() {
    let store = store_of(1, &JobSpec::new().lease_ms(*limits::LEASE_MS.start()));
    let handler = async |_: Context| {
        store.close().await.unwrap();
        std::future::pending::<Result<Completion, String>>().await
    };
    let ended = block_on(Worker::new(Arc::clone(&store)).job(JOB).run(handler));
    assert_eq!(ended.unwrap_err().kind(), magnetar::ErrorKind::Closed);
}

#[test]
fn a_result_that_comes_after_somebody_else_ended_the_chunk_is_counted_and_is_no_error() {
    let store = store_of(1, &JobSpec::new());
    let handler = async |_: Context| {
        // Marked done by the owner of the whole job, before the first heartbeat could tell.
        store.mark_status(JOB, 0, JobStatus::Done, None).await.unwrap();
        Ok::<_, String>(Completion::new().output(magnetar::Json::new("late").unwrap()))
    };
    let summary = block_on(Worker::new(Arc::clone(&store)).job(JOB).run(handler)).unwrap();
    assert_eq!(
        (summary.ending, summary.completed, summary.superseded),
        (Ending::Finished, 0, 1),
        "{summary}"
    );
    assert_eq!(block_on(store.get_chunk(JOB, 0)).unwrap().unwrap().output, None);
}

#[test]
fn a_result_for_a_job_that_was_deleted_meanwhile_is_counted_and_is_no_error() {
    let store = store_of(2, &JobSpec::new());
    let handler = async |_: Context| {
        store.delete_job(JOB).await.unwrap();
        Ok::<_, String>(Completion::new())
    };
    let worker = Worker::new(Arc::clone(&store)).concurrency(2);
    let summary = block_on(worker.run(handler)).unwrap();
    assert_eq!(
        (summary.ending, summary.completed, summary.superseded),
        (Ending::Finished, 0, 2),
        "{summary}"
    );
}

#[test]
fn a_worker_waits_for_chunks_that_others_hold_and_takes_them_when_they_come_back() {
    let store = store_of(2, &JobSpec::new());
    let held = block_on(store.claim_pending(JOB)).unwrap().unwrap();
    let (sender, receiver) = futures_channel::oneshot::channel();
    let sender = std::sync::Mutex::new(Some(sender));
    let handler = async |_: Context| {
        if let Some(sender) = sender.lock().unwrap().take() {
            sender.send(()).unwrap();
        }
        Ok::<_, String>(Completion::new())
    };
    let other = async {
        // By then the worker has all that it can get.
        receiver.await.unwrap();
        store.release(&held.claim()).await.unwrap();
    };
    let (summary, ()) = block_on(join(Worker::new(Arc::clone(&store)).job(JOB).run(handler), other));
    let summary = summary.unwrap();
    assert_eq!((summary.ending, summary.completed), (Ending::Finished, 2), "{summary}");
}
