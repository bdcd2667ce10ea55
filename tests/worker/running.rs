//! Work gets done: each chunk once, side by side, with results, retries and reports.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::future::{join, join_all};
use magnetar::worker::{Context, Ending, Summary, Worker};
use magnetar::{Backoff, Completion, JobSpec, JobStatus, Json, NewChunk, block_on, limits};

use crate::{JOB, give_way, store_of, store_with};

/// Counts how often each chunk was worked on, and how many at the same time.
#[derive(Default)]
struct Tally {
    times: Mutex<BTreeMap<u64, u32>>,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Tally {
    fn enter(&self, chunk: u64) {
        *self.times.lock().unwrap().entry(chunk).or_default() += 1;
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
    }

    fn leave(&self) {
        self.now.fetch_sub(1, Ordering::SeqCst);
    }

    fn assert_once_each(&self, chunks: u64) {
        let times = self.times.lock().unwrap();
        assert_eq!(*times, (0..chunks).map(|chunk| (chunk, 1)).collect::<BTreeMap<_, _>>());
    }
}

fn assert_finished(summary: &Summary, completed: u64) {
    assert_eq!(summary.ending, Ending::Finished, "{summary}");
    let Summary { completed: done, retried, failed, released, superseded, .. } = *summary;
    assert_eq!((done, retried, failed, released, superseded), (completed, 0, 0, 0, 0), "{summary}");
}

#[test]
fn each_chunk_is_done_exactly_once_by_eight_at_a_time_without_a_runtime() {
    let store = store_of(200, &JobSpec::new());
    let tally = Tally::default();
    let handler = async |context: Context| {
        tally.enter(context.chunk());
        give_way().await;
        tally.leave();
        Ok::<_, String>(Completion::new().output(Json::new(&context.chunk()).unwrap()))
    };
    let summary = block_on(Worker::new(Arc::clone(&store)).job(JOB).concurrency(8).run(handler)).unwrap();
    assert_finished(&summary, 200);
    tally.assert_once_each(200);
    assert_eq!(tally.most.load(Ordering::SeqCst), 8);
    for state in block_on(store.get_by_status(JOB, JobStatus::Done)).unwrap() {
        assert_eq!(state.output.unwrap().parse::<u64>().unwrap(), state.chunk);
    }
}

#[test]
fn two_workers_share_a_job_on_tokio_and_do_each_chunk_exactly_once() {
    let store = store_of(300, &JobSpec::new());
    let tally = Arc::new(Tally::default());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let summaries = runtime.block_on(async {
        let workers = (0..2).map(|_| {
            let (store, tally) = (Arc::clone(&store), Arc::clone(&tally));
            tokio::spawn(Worker::new(store).job(JOB).concurrency(8).run(move |context: Context| {
                let tally = Arc::clone(&tally);
                async move {
                    tally.enter(context.chunk());
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                    tally.leave();
                    Ok::<_, String>(Completion::new())
                }
            }))
        });
        join_all(workers).await
    });
    let summaries: Vec<Summary> = summaries.into_iter().map(|joined| joined.unwrap().unwrap()).collect();
    assert_eq!(summaries.iter().map(|summary| summary.completed).sum::<u64>(), 300);
    assert!(summaries.iter().all(|summary| summary.ending == Ending::Finished));
    tally.assert_once_each(300);
}

#[test]
fn blocking_handlers_run_side_by_side_on_threads_of_their_own() {
    let store = store_of(4, &JobSpec::new());
    let meeting = std::sync::Barrier::new(4);
    // Each waits for the other three: only four at a time get through.
    let summary = block_on(Worker::new(store).job(JOB).concurrency(4).run_blocking(move |_: &Context| {
        meeting.wait();
        Ok::<_, String>(Completion::new())
    }));
    assert_finished(&summary.unwrap(), 4);
}

#[test]
fn dependents_follow_as_soon_as_they_are_freed() {
    let chain = (0..30).map(|id| NewChunk::new(id).depends_on(id.checked_sub(1)));
    let store = store_with(chain, &JobSpec::new());
    let order = Mutex::new(Vec::new());
    let handler = async |context: Context| {
        order.lock().unwrap().push(context.chunk());
        Ok::<_, String>(Completion::new())
    };
    let summary = block_on(Worker::new(store).job(JOB).concurrency(4).run(handler)).unwrap();
    assert_finished(&summary, 30);
    assert_eq!(order.into_inner().unwrap(), (0..30).collect::<Vec<u64>>());
}

/// An error that cannot even say what it is.
struct Speechless;

impl std::fmt::Display for Speechless {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("no words")
    }
}

#[test]
fn an_error_whose_text_panics_fails_the_attempt_as_any_panic() {
    for blocking in [false, true] {
        let store = store_of(1, &JobSpec::new().attempts_max(1));
        let worker = Worker::new(Arc::clone(&store)).job(JOB);
        let summary = if blocking {
            block_on(worker.run_blocking(|_: &Context| Err::<Completion, _>(Speechless)))
        } else {
            block_on(worker.run(async |_: Context| Err::<Completion, _>(Speechless)))
        };
        assert_eq!(summary.expect("the run goes on").failed, 1);
        let chunk = block_on(store.get_chunk(JOB, 0)).unwrap().unwrap();
        assert_eq!(chunk.error.as_deref(), Some("the handler panicked: no words"));
    }
}

#[test]
fn a_panic_fails_the_attempt_with_its_text_and_the_worker_goes_on() {
    for blocking in [false, true] {
        let store = store_of(3, &JobSpec::new().backoff(Backoff::new().initial_ms(20).max_ms(20)));
        let handle = |context: &Context| {
            let lucky = context.chunk() != 1 || context.state().attempts > 0;
            assert!(lucky, "no luck with chunk {}", context.chunk());
            if context.chunk() == 1 {
                let error = context.state().error.clone().unwrap();
                assert_eq!(error, "the handler panicked: no luck with chunk 1");
            }
            Ok::<_, String>(Completion::new())
        };
        let worker = Worker::new(store).job(JOB).concurrency(2);
        let summary = if blocking {
            block_on(worker.run_blocking(handle))
        } else {
            block_on(worker.run(async |context: Context| handle(&context)))
        };
        let summary = summary.unwrap();
        assert_eq!(
            (summary.ending, summary.completed, summary.retried),
            (Ending::Finished, 3, 1),
            "{summary}"
        );
    }
}

#[test]
fn errors_are_retried_until_the_attempts_are_used_up() {
    let spec = JobSpec::new().attempts_max(3).backoff(Backoff::new().initial_ms(5).max_ms(5));
    let store = store_of(2, &spec);
    let handler = async |context: Context| match context.chunk() {
        0 => Ok(Completion::new()),
        _ => Err(format!("attempt {} failed", context.state().attempts + 1)),
    };
    let summary = block_on(Worker::new(Arc::clone(&store)).job(JOB).run(handler)).unwrap();
    assert_eq!((summary.completed, summary.retried, summary.failed), (1, 2, 1), "{summary}");
    assert_eq!(summary.ending, Ending::Finished);
    let failed = block_on(store.get_chunk(JOB, 1)).unwrap().unwrap();
    assert_eq!((failed.status, failed.error.as_deref()), (JobStatus::Failed, Some("attempt 3 failed")));
}

#[test]
fn a_result_that_the_store_refuses_is_a_failed_attempt_of_that_chunk_alone() {
    let chunks = (0..4).map(|id| NewChunk::new(id).checksum("right"));
    let store = store_with(chunks, &JobSpec::new().attempts_max(1));
    let handler = async |context: Context| {
        let completion = Completion::new().checksum(if context.chunk() == 1 { "wrong" } else { "right" });
        let size = limits::OUTPUT_BYTES_MAX - 2 + usize::from(context.chunk() == 2);
        Ok::<_, String>(completion.output(Json::new(&"x".repeat(size)).unwrap()))
    };
    let summary = block_on(Worker::new(Arc::clone(&store)).job(JOB).concurrency(4).run(handler)).unwrap();
    assert_eq!((summary.completed, summary.failed), (2, 2), "{summary}");
    let error = |chunk| block_on(store.get_chunk(JOB, chunk)).unwrap().unwrap().error.unwrap();
    assert!(error(1).contains("checksum"), "{}", error(1));
    assert!(error(2).contains("the output has"), "{}", error(2));
}

#[test]
fn a_worker_without_a_job_works_on_all_of_them() {
    let store = store_of(5, &JobSpec::new());
    let other = block_on(store.new_job(&JobSpec::new())).unwrap();
    let chunks = magnetar::chunks((0..5).map(|id| Ok(NewChunk::new(id))));
    block_on(store.import(other, &JobSpec::new(), chunks, &magnetar::ImportOptions::new())).unwrap();
    let handler = async |_: Context| Ok::<_, String>(Completion::new());
    let worker = Worker::new(Arc::clone(&store)).concurrency(4);
    let mut progress = worker.progress();
    let watching = async {
        let mut last = None;
        while let Some(report) = progress.next().await {
            last = Some(report);
        }
        last.unwrap()
    };
    let (summary, last) = block_on(join(worker.run(handler), watching));
    assert_finished(&summary.unwrap(), 10);
    assert_eq!((last.job_id, last.stats.done), (None, 10));
    for job in [JOB, other] {
        assert!(block_on(store.get_stats(job)).unwrap().is_complete());
    }
}

#[test]
fn progress_is_told_from_the_first_report_to_the_last_and_then_ends() {
    let store = store_of(50, &JobSpec::new());
    let worker = Worker::new(store).job(JOB).report_every_ms(1);
    let mut progress = worker.progress();
    let watching = async {
        let mut reports = Vec::new();
        while let Some(report) = progress.next().await {
            reports.push(report);
        }
        reports
    };
    let handler = async |_: Context| Ok::<_, String>(Completion::new());
    let (summary, reports) = block_on(join(worker.run(handler), watching));
    assert_finished(&summary.unwrap(), 50);
    let done: Vec<u64> = reports.iter().map(|report| report.stats.done).collect();
    assert!(done.is_sorted() && *done.last().unwrap() == 50, "{done:?}");
    let last = reports.last().unwrap();
    assert!(last.to_string().starts_with("50 of 50 done (100 %)"), "{last}");
}

#[test]
fn a_worker_that_cannot_work_says_why() {
    let handler = async |_: Context| Ok::<_, String>(Completion::new());
    let store = store_of(1, &JobSpec::new());
    let kind = |worker: Worker| block_on(worker.run(handler)).unwrap_err().kind();
    let on = || Worker::new(Arc::clone(&store));
    assert_eq!(kind(on().job(7)), magnetar::ErrorKind::JobNotFound);
    assert_eq!(kind(on().job(-1)), magnetar::ErrorKind::InvalidInput);
    assert_eq!(kind(on().concurrency(0)), magnetar::ErrorKind::InvalidInput);
    assert_eq!(kind(on().concurrency(limits::CLAIM_COUNT_MAX + 1)), magnetar::ErrorKind::InvalidInput);
    assert_eq!(kind(on().lease_ms(limits::LEASE_MS.start() - 1)), magnetar::ErrorKind::InvalidInput);
    let summary = block_on(on().job(JOB).concurrency(limits::CLAIM_COUNT_MAX).run(handler)).unwrap();
    assert_finished(&summary, 1);
}
