//! Runs end: finished, stalled, stopped, dropped, or with the store's error; what they held is given back.

use std::future::pending;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::{Context as Task, Poll, Waker};

use futures_util::future::join;
use magnetar::limits::BACKOFF_MS_MAX;
use magnetar::worker::{Cancellation, Context, Ending, Shutdown, Worker};
use magnetar::{
    Clock, Completion, ErrorKind, JobSpec, JobStatus, JobStore, NewChunk, Selection, SystemClock, block_on,
};

use crate::{JOB, add, give_way, store_of, store_with};

/// Waits until nothing is held any more.
async fn all_given_back(store: &dyn JobStore) {
    let mut watch = store.watch();
    // A claim that was under way is through once something that was asked for later is.
    assert_eq!(store.retry_failed(JOB, Selection::All).await.unwrap(), 0);
    while store.get_stats(JOB).await.unwrap().processing > 0 {
        watch.changed().await.unwrap();
    }
}

#[test]
fn a_job_whose_rest_cannot_start_ends_as_stalled() {
    let chunks = [NewChunk::new(0), NewChunk::new(1).depends_on([0]), NewChunk::new(2)];
    let store = store_with(chunks, &JobSpec::new().attempts_max(1));
    let handler = async |context: Context| match context.chunk() {
        0 => Err("bad input"),
        _ => Ok(Completion::new()),
    };
    let summary = block_on(Worker::new(Arc::clone(&store)).job(JOB).concurrency(2).run(handler)).unwrap();
    assert!(summary.is_stalled(), "{summary}");
    assert_eq!((summary.completed, summary.failed), (1, 1), "{summary}");
    assert!(block_on(store.get_stats(JOB)).unwrap().is_stalled());
}

#[test]
fn at_a_shutdown_results_count_and_what_is_unfinished_is_given_back_at_no_cost() {
    for blocking in [false, true] {
        let store = store_of(9, &JobSpec::new());
        let stop = Shutdown::new();
        let (asking, arrivals) = (stop.clone(), std::sync::atomic::AtomicU32::new(0));
        let ask_when_all_are_here = move || {
            if arrivals.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 2 {
                asking.request();
            }
        };
        let end = |context: &Context, reason: Cancellation| match context.chunk() {
            0 => Ok(Completion::new()),
            _ => Err(format!("{reason:?}")),
        };
        let worker = Worker::new(Arc::clone(&store)).job(JOB).concurrency(3).shutdown(&stop);
        let summary = if blocking {
            block_on(worker.run_blocking(move |context: &Context| {
                ask_when_all_are_here();
                end(context, block_on(context.cancelled()))
            }))
        } else {
            block_on(worker.run(async |context: Context| {
                ask_when_all_are_here();
                let reason = context.cancelled().await;
                end(&context, reason)
            }))
        };
        let summary = summary.unwrap();
        assert_eq!(
            (summary.ending, summary.completed, summary.released),
            (Ending::Stopped, 1, 2),
            "{summary}"
        );
        let stats = block_on(store.get_stats(JOB)).unwrap();
        assert_eq!((stats.done, stats.ready(), stats.processing), (1, 8, 0));
        assert_eq!(block_on(store.get_chunk(JOB, 1)).unwrap().unwrap().attempts, 0);
    }
}

#[test]
fn what_a_handler_says_of_its_error_holds_at_a_shutdown_too() {
    let store = store_of(4, &JobSpec::new());
    let stop = Shutdown::new();
    let handler = async |context: Context| {
        if context.chunk() == 3 {
            stop.request();
        }
        context.cancelled().await;
        match context.chunk() {
            0 => context.fail_with_delay(60_000),
            1 => context.release_with_delay(u64::MAX),
            2 => context.fail_permanently(),
            _ => {}
        }
        Err::<Completion, _>("oops")
    };
    let worker = Worker::new(Arc::clone(&store)).job(JOB).concurrency(4).shutdown(&stop);
    let summary = block_on(worker.run(handler)).unwrap();
    assert_eq!((summary.retried, summary.failed, summary.released), (1, 1, 2), "{summary}");
    let became = |chunk| {
        let state = block_on(store.get_chunk(JOB, chunk)).unwrap().unwrap();
        (state.status, state.attempts, state.not_before.map(|delay| delay.duration_ms))
    };
    assert_eq!(became(0), (JobStatus::Pending, 1, Some(60_000)));
    assert_eq!(became(1), (JobStatus::Pending, 0, Some(BACKOFF_MS_MAX)), "as long as may be");
    assert_eq!(became(2), (JobStatus::Failed, 1, None));
    assert_eq!(became(3), (JobStatus::Pending, 0, None));
}

#[test]
fn a_shutdown_that_waits_for_nobody_drops_handlers_that_never_end() {
    let store = store_of(4, &JobSpec::new());
    let stop = Shutdown::new();
    let handler = async |context: Context| {
        if context.chunk() == 3 {
            stop.request();
        }
        pending::<Result<Completion, String>>().await
    };
    let worker =
        Worker::new(Arc::clone(&store)).job(JOB).concurrency(4).shutdown(&stop).release_immediately();
    let summary = block_on(worker.run(handler)).unwrap();
    assert_eq!((summary.ending, summary.released), (Ending::Stopped, 4), "{summary}");
    assert_eq!(block_on(store.get_stats(JOB)).unwrap().ready(), 4);
}

#[test]
fn a_shutdown_that_waits_for_nobody_leaves_threads_behind_whose_results_count_no_more() {
    let store = store_of(1, &JobSpec::new());
    let stop = Shutdown::new();
    let (go_on, wait) = channel::<()>();
    let (late, over) = channel();
    let wait = std::sync::Mutex::new(wait);
    let asking = stop.clone();
    let worker = Worker::new(Arc::clone(&store)).job(JOB).shutdown(&stop).release_immediately();
    let summary = block_on(worker.run_blocking(move |context: &Context| {
        asking.request();
        wait.lock().unwrap().recv().unwrap();
        late.send(context.is_cancelled()).unwrap();
        Ok::<_, String>(Completion::new())
    }));
    let summary = summary.unwrap();
    assert_eq!((summary.ending, summary.released), (Ending::Stopped, 1), "{summary}");
    go_on.send(()).unwrap();
    assert!(over.recv().unwrap(), "the handler that was left behind is told to stop");
    let stats = block_on(store.get_stats(JOB)).unwrap();
    assert_eq!((stats.ready(), stats.done), (1, 0));
}

#[test]
fn a_worker_that_keeps_running_takes_new_work_until_it_is_stopped_from_another_thread() {
    let store = store_of(2, &JobSpec::new());
    let stop = Shutdown::new();
    let (done, dones) = channel();
    let outside = {
        let (store, stop) = (Arc::clone(&store), stop.clone());
        std::thread::spawn(move || {
            let mut seen: Vec<u64> = dones.iter().take(2).collect();
            block_on(add(&*store, (0..5).map(NewChunk::new), &JobSpec::new()));
            seen.extend(dones.iter().take(3));
            stop.request();
            seen
        })
    };
    let handler = async |context: Context| {
        done.send(context.chunk()).unwrap();
        Ok::<_, String>(Completion::new())
    };
    let worker = Worker::new(store).job(JOB).keep_running().shutdown(&stop);
    let summary = block_on(worker.run(handler)).unwrap();
    assert_eq!((summary.ending, summary.completed), (Ending::Stopped, 5), "{summary}");
    assert_eq!(outside.join().unwrap(), [0, 1, 2, 3, 4]);
}

#[test]
fn a_worker_that_keeps_running_waits_for_a_job_that_is_still_to_come() {
    let store = block_on(magnetar::open(":memory:")).unwrap();
    let stop = Shutdown::new();
    let handler = async |_: Context| {
        stop.request();
        Ok::<_, String>(Completion::new())
    };
    let run = Worker::new(Arc::clone(&store)).job(JOB).keep_running().shutdown(&stop).run(handler);
    let create = async {
        for _ in 0..20 {
            give_way().await;
        }
        add(&*store, [NewChunk::new(1)], &JobSpec::new()).await;
    };
    let (summary, ()) = block_on(join(run, create));
    assert_eq!(summary.unwrap().completed, 1);
}

#[test]
fn a_worker_that_waits_hears_of_new_work_at_once_instead_of_at_its_next_look() {
    const ROUNDS: u64 = 30;
    let store = store_of(1, &JobSpec::new());
    let stop = Shutdown::new();
    let (done, dones) = channel();
    let (own, stopping) = (Arc::clone(&store), stop.clone());
    let outside = std::thread::spawn(move || {
        let since_ms = SystemClock.now_ms();
        let mut watch = own.watch();
        for id in 0..ROUNDS {
            block_on(add(&*own, (0..=id).map(NewChunk::new), &JobSpec::new()));
            assert_eq!(dones.recv().unwrap(), id);
            // In the commit that ends it there is nothing more to claim.
            while block_on(own.get_stats(JOB)).unwrap().done <= id {
                block_on(watch.changed()).unwrap();
            }
        }
        stopping.request();
        SystemClock.now_ms() - since_ms
    });
    let handler = async |context: Context| {
        done.send(context.chunk()).unwrap();
        Ok::<_, String>(Completion::new())
    };
    let worker = Worker::new(store).job(JOB).keep_running().shutdown(&stop);
    assert_eq!(block_on(worker.run(handler)).unwrap().completed, ROUNDS);
    // It looks by itself a fifth of a second after it ran dry, at the earliest.
    assert!(outside.join().unwrap() < ROUNDS * 100);
}

#[test]
fn a_shutdown_that_was_asked_for_before_the_run_begins_nothing() {
    let store = store_of(3, &JobSpec::new());
    let stop = Shutdown::new();
    stop.request();
    let handler = async |_: Context| -> Result<Completion, String> { unreachable!("nothing is begun") };
    let summary = block_on(Worker::new(store).job(JOB).shutdown(&stop).run(handler)).unwrap();
    assert_eq!((summary.ending, summary.completed, summary.released), (Ending::Stopped, 0, 0), "{summary}");
}

#[test]
fn a_run_that_is_dropped_at_any_moment_strands_nothing() {
    for polls in 1..12 {
        let store = store_of(40, &JobSpec::new());
        let handler = async |context: Context| {
            give_way().await;
            if context.chunk() % 3 == 2 { pending().await } else { Ok::<_, String>(Completion::new()) }
        };
        {
            let mut run = Box::pin(Worker::new(Arc::clone(&store)).job(JOB).concurrency(5).run(handler));
            for _ in 0..polls {
                // As one turn of a task that is dropped before its next.
                let once = block_on(async { run.as_mut().poll(&mut Task::from_waker(Waker::noop())) });
                assert!(matches!(once, Poll::Pending));
            }
        }
        block_on(all_given_back(&*store));
        let stats = block_on(store.get_stats(JOB)).unwrap();
        assert_eq!(stats.ready() + stats.done, 40, "after {polls} polls: {stats:?}");
    }
}

#[test]
fn a_tokio_task_that_is_aborted_strands_nothing() {
    let store = store_of(40, &JobSpec::new());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let (begun, begins) = channel();
    let worker = Worker::new(Arc::clone(&store)).job(JOB).concurrency(4);
    let task = runtime.spawn(worker.run(move |_: Context| {
        begun.send(()).unwrap();
        pending::<Result<Completion, String>>()
    }));
    assert_eq!(begins.iter().take(4).count(), 4);
    task.abort();
    assert!(runtime.block_on(task).unwrap_err().is_cancelled());
    block_on(all_given_back(&*store));
    assert_eq!(block_on(store.get_stats(JOB)).unwrap().ready(), 40);
}

#[test]
fn a_blocking_run_that_is_dropped_gives_each_chunk_back_when_its_thread_is_through() {
    let store = store_of(2, &JobSpec::new());
    let (begun, begins) = channel();
    let (told, tells) = channel();
    {
        let handler = move |context: &Context| {
            begun.send(()).unwrap();
            told.send(block_on(context.cancelled())).unwrap();
            Ok::<_, String>(Completion::new())
        };
        let mut run = Box::pin(Worker::new(Arc::clone(&store)).job(JOB).concurrency(2).run_blocking(handler));
        // That a chunk is claimed says too little: it is the run, when it is asked, that hands it to a thread.
        let mut running = 0;
        while running < 2 && run.as_mut().poll(&mut Task::from_waker(Waker::noop())).is_pending() {
            running += begins.try_iter().count();
            std::thread::yield_now();
        }
        assert_eq!(running, 2);
        assert_eq!(block_on(store.get_stats(JOB)).unwrap().processing, 2);
    }
    assert_eq!(tells.iter().take(2).collect::<Vec<_>>(), [Cancellation::Shutdown; 2]);
    block_on(all_given_back(&*store));
    assert_eq!(block_on(store.get_stats(JOB)).unwrap().ready(), 2);
}

#[test]
fn a_store_that_is_closed_under_a_run_ends_it_with_the_error() {
    let store = store_of(3, &JobSpec::new());
    let closing = Arc::clone(&store);
    let (begun, begins) = futures_channel::oneshot::channel();
    let begun = std::sync::Mutex::new(Some(begun));
    let handler = async |_: Context| {
        if let Some(begun) = begun.lock().unwrap().take() {
            begun.send(()).unwrap();
        }
        give_way().await;
        Ok::<_, String>(Completion::new())
    };
    let close = async {
        begins.await.unwrap();
        closing.close().await.unwrap();
    };
    let (ended, ()) = block_on(join(Worker::new(store).job(JOB).run(handler), close));
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn a_store_is_free_again_as_soon_as_a_run_has_ended() {
    let store = store_of(2, &JobSpec::new());
    let handler = async |_: Context| Ok::<_, String>(Completion::new());
    block_on(Worker::new(Arc::clone(&store)).job(JOB).run(handler)).unwrap();
    assert_eq!(Arc::strong_count(&store), 1, "nothing of the run holds the store any more");
}
