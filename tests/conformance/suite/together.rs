//! Callers that wait at the same moment share a commit; here the test decides which ones do.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use magnetar::{
    ChunkUpdate, Completion, DependencyFailure, ErrorKind, ImportOptions, JobSpec, JobStats, JobStatus,
    OnMissing, Outcome, ResetReach, Result, Selection, limits,
};

use super::{JOB, c, claim, get, ids, import, status, statuses, try_import};
use crate::fixture::{Fixture, START_MS};

/// A claim of a job that no case has: its heartbeat is refused, and changes nothing.
const NOBODY: magnetar::Claim = magnetar::Claim { job_id: 99, chunk: 1, fence: 1 };

/// A call, its answer as text.
type Call<'a> = Pin<Box<dyn Future<Output = Result<String>> + Send + 'a>>;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn call<'a, T: std::fmt::Debug>(future: impl Future<Output = Result<T>> + Send + 'a) -> Call<'a> {
    Box::pin(async move { future.await.map(|answer| format!("{answer:?}")) })
}

/// Has the store run all of these as one group, in this order: its driver is held at the clock by a call before them
/// until all of them wait.
fn together(fx: &Fixture, mut calls: Vec<Call<'_>>) -> Vec<Result<String>> {
    let (store, clock) = (fx.handle(), &fx.clock);
    thread::scope(|scope| {
        // On a thread of its own, because one that waits in `block_on` drives the commits itself.
        let caller = scope.spawn(|| {
            let waker = Waker::from(Arc::new(Unpark(thread::current())));
            let mut context = Context::from_waker(&waker);
            clock.hold();
            let mut before = call(store.heartbeat(&NOBODY));
            assert!(before.as_mut().poll(&mut context).is_pending(), "the driver is held");
            clock.wait_until_asked();
            let mut answers: Vec<_> =
                calls.iter_mut().map(|call| answer(call.as_mut().poll(&mut context))).collect();
            assert!(answers.iter().all(Option::is_none), "the driver is held");
            clock.release();
            while answers.iter().any(Option::is_none) {
                for (call, slot) in calls.iter_mut().zip(&mut answers) {
                    if slot.is_none() {
                        *slot = answer(call.as_mut().poll(&mut context));
                    }
                }
                thread::park_timeout(std::time::Duration::from_millis(5));
            }
            answers.into_iter().flatten().collect()
        });
        caller.join().expect("the calls do not panic")
    })
}

fn answer(poll: Poll<Result<String>>) -> Option<Result<String>> {
    match poll {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

fn kinds(answers: &[Result<String>]) -> Vec<Option<ErrorKind>> {
    answers.iter().map(|answer| answer.as_ref().err().map(magnetar::Error::kind)).collect()
}

pub(crate) async fn a_refused_companion_leaves_the_others_whole(fx: Fixture) {
    import(&*fx, [c(1).checksum("a"), c(2), c(3)]).await;
    let held = fx.claim_pending_batch(JOB, 3).await.expect("they are ready");
    let claims: Vec<_> = held.iter().map(magnetar::JobState::claim).collect();
    let stale = magnetar::Claim { fence: 1, ..claims[2] };
    let answers = together(
        &fx,
        vec![
            call(fx.complete(&claims[0], Completion::new().checksum("wrong"))),
            call(fx.complete(&claims[1], Completion::new())),
            call(fx.complete(&stale, Completion::new())),
            call(fx.cancel(JOB, Selection::Chunks(vec![3, 99]))),
        ],
    );
    assert_eq!(
        kinds(&answers),
        [
            Some(ErrorKind::ChecksumMismatch),
            None,
            Some(ErrorKind::Superseded),
            Some(ErrorKind::ChunkNotFound)
        ]
    );
    assert_eq!(statuses(&*fx).await, [JobStatus::Processing, JobStatus::Done, JobStatus::Processing]);
    assert_eq!(get(&*fx, 3).await, held[2]);
}

pub(crate) async fn a_claim_has_the_long_payload_of_a_chunk_that_was_given_back_in_its_group(fx: Fixture) {
    let payload = magnetar::Json::new(&"a".repeat(5_000)).expect("a text has a JSON form");
    import(&*fx, [c(1).payload(payload.clone()), c(2).payload(payload.clone())]).await;
    let held = claim(&*fx).await.claim();
    let text = format!("{payload:?}");
    let answers = together(&fx, vec![call(fx.release(&held)), call(fx.claim_pending_batch(JOB, 2))]);
    assert_eq!(kinds(&answers), [None, None]);
    let claimed = answers[1].as_ref().expect("both are ready");
    assert_eq!(claimed.matches(&text).count(), 2);
    for chunk in [1, 2] {
        assert_eq!(get(&*fx, chunk).await.payload.as_ref(), Some(&payload));
    }
}

pub(crate) async fn callers_of_one_moment_share_one_commit(fx: Fixture) {
    import(&*fx, (1..=8).map(c)).await;
    let held = fx.claim_pending_batch(JOB, 8).await.expect("they are ready");
    let claims: Vec<_> = held.iter().map(magnetar::JobState::claim).collect();
    let mut watch = fx.watch();
    let answers =
        together(&fx, claims.iter().map(|claim| call(fx.complete(claim, Completion::new()))).collect());
    assert!(answers.iter().all(Result::is_ok));
    let newest = watch.changed().await.expect("there was a commit");
    assert_eq!(newest, held[7].revision + 8, "all of them came in the first commit told of");
}

pub(crate) async fn no_two_callers_of_one_moment_get_the_same_chunk(fx: Fixture) {
    import(&*fx, (1..=10).map(|id| c(id).priority(i32::from(id == 9)))).await;
    let answers = together(
        &fx,
        (0..12).map(|_| call(async { Ok(fx.claim_pending(JOB).await?.map(|s| s.chunk)) })).collect(),
    );
    let taken: Vec<_> = answers.into_iter().map(|answer| answer.expect("the job exists")).collect();
    let expected: Vec<_> = [9, 1, 2, 3, 4, 5, 6, 7, 8, 10]
        .iter()
        .map(|id| format!("Some({id})"))
        .chain(["None".into(), "None".into()])
        .collect();
    assert_eq!(taken, expected);
}

pub(crate) async fn a_claim_sees_what_a_completion_before_it_in_the_group_freed(fx: Fixture) {
    import(&*fx, [c(1), c(2).depends_on([1])]).await;
    let one = claim(&*fx).await.claim();
    let answers = together(
        &fx,
        vec![
            call(async { Ok(fx.claim_pending(JOB).await?.map(|s| s.chunk)) }),
            call(fx.complete(&one, Completion::new())),
            call(async { Ok(fx.claim_pending(JOB).await?.map(|s| s.chunk)) }),
        ],
    );
    let texts: Vec<_> = answers.into_iter().map(|answer| answer.expect("nothing is refused")).collect();
    assert_eq!(texts, ["None", "Changed", "Some(2)"]);
}

pub(crate) async fn a_claim_of_any_job_sees_an_import_before_it_in_the_group(fx: Fixture) {
    let (spec, options) = (JobSpec::new(), ImportOptions::new());
    let any = magnetar::ClaimRequest::new();
    let answers = together(
        &fx,
        vec![
            call(fx.import(5, &spec, magnetar::chunks([Ok(c(1))]), &options)),
            call(async { Ok(ids(&fx.claim(&any).await?)) }),
        ],
    );
    assert_eq!(answers[1].as_ref().expect("nothing is refused"), "[1]");
}

pub(crate) async fn a_job_imported_and_deleted_in_one_group_leaves_nothing(mut fx: Fixture) {
    let (spec, options) = (JobSpec::new(), ImportOptions::new());
    let new = [c(1), c(2).depends_on([1]), c(3)];
    let answers = together(
        &fx,
        vec![
            call(fx.import(JOB, &spec, magnetar::chunks(new.into_iter().map(Ok)), &options)),
            call(fx.delete_job(JOB)),
        ],
    );
    assert_eq!(kinds(&answers), [None, None]);
    assert_eq!(answers[1].as_ref().expect("it existed"), &format!("{:?}", Outcome::Changed));
    fx.verify().await.expect("nothing is damaged");
    fx.reopen().await;
    assert_eq!(import(&*fx, [c(9)]).await.added, 1);
    assert_eq!(ids(&crate::support::chunks_of(&*fx, JOB).await), [9]);
    fx.verify().await.expect("nothing is damaged");
}

pub(crate) async fn a_job_deleted_and_imported_in_one_group_has_what_the_import_brought(fx: Fixture) {
    import(&*fx, [c(1).checksum("old"), c(2).depends_on([1]), c(4)]).await;
    let answers = together(
        &fx,
        vec![
            call(fx.delete_job(JOB)),
            call(try_import(&*fx, JOB, JobSpec::new(), [c(1), c(2), c(3)], ImportOptions::new())),
            call(fx.claim_pending_batch(JOB, 2)),
            call(fx.cancel(JOB, Selection::Chunks(vec![3]))),
        ],
    );
    assert_eq!(kinds(&answers), [None; 4]);
    assert_eq!(
        statuses(&*fx).await,
        [JobStatus::Processing, JobStatus::Processing, JobStatus::Cancelled],
        "the old job's fourth chunk is gone"
    );
    assert_eq!(get(&*fx, 1).await.checksum, None);
    assert!(fx.get_dependencies(JOB, 2).await.expect("the job exists").is_empty());
    assert_eq!(fx.get_stats(JOB).await.expect("the job exists").total_chunks, 3);
    fx.verify().await.expect("nothing is damaged");
}

/// What goes in slices is of the job that it was begun with, and not of one that has its id by then.
pub(crate) async fn a_job_imported_while_an_older_one_is_being_deleted_stays(fx: Fixture) {
    let many = limits::SLICE_ROWS_MAX as u64 + 1;
    import(&*fx, (0..many).map(c)).await;
    fx.clock.advance(1);
    let answers = together(
        &fx,
        vec![
            call(fx.cancel(JOB, Selection::All)),
            call(fx.delete_job(JOB)),
            call(fx.delete_job(JOB)),
            call(try_import(&*fx, JOB, JobSpec::new(), [c(1), c(many)], ImportOptions::new())),
        ],
    );
    assert_eq!(ids(&crate::support::chunks_of(&*fx, JOB).await), [1, many]);
    assert_eq!(statuses(&*fx).await, [JobStatus::Pending; 2]);
    assert_eq!(kinds(&answers), [Some(ErrorKind::JobNotFound), None, None, None]);
    let deleted = format!("{:?}", Outcome::Changed);
    assert_eq!(answers[1..3].iter().flatten().collect::<Vec<_>>(), [&deleted; 2], "both had a part in it");
    fx.verify().await.expect("nothing is damaged");
}

pub(crate) async fn two_imports_of_one_group_close_no_circle(fx: Fixture) {
    import(&*fx, [c(1), c(2), c(3)]).await;
    let (spec, options) = (JobSpec::new(), ImportOptions::new());
    let upsert = |chunk| call(fx.import(JOB, &spec, magnetar::chunks([Ok(chunk)]), &options));
    let answers = together(
        &fx,
        vec![upsert(c(1).depends_on([2])), upsert(c(2).depends_on([3])), upsert(c(3).depends_on([1]))],
    );
    assert_eq!(kinds(&answers), [None, None, Some(ErrorKind::DependencyCycle)]);
    assert_eq!(fx.topo_order(JOB).await.expect("there is no circle"), [3, 2, 1]);
}

pub(crate) async fn a_dependency_taken_away_in_the_group_closes_no_circle(fx: Fixture) {
    import(&*fx, [c(1).depends_on([2]), c(2)]).await;
    let (spec, options) = (JobSpec::new(), ImportOptions::new());
    let upsert = |chunk| call(fx.import(JOB, &spec, magnetar::chunks([Ok(chunk)]), &options));
    let answers = together(&fx, vec![upsert(c(1)), upsert(c(2).depends_on([1]))]);
    assert_eq!(kinds(&answers), [None, None]);
    assert_eq!(fx.topo_order(JOB).await.expect("there is no circle"), [1, 2]);
}

pub(crate) async fn dependencies_added_in_one_group_close_no_circle(fx: Fixture) {
    import(&*fx, [c(1), c(2)]).await;
    let answers = together(
        &fx,
        vec![call(fx.add_dependency(JOB, 1, vec![2])), call(fx.add_dependency(JOB, 2, vec![1]))],
    );
    assert_eq!(kinds(&answers), [None, Some(ErrorKind::DependencyCycle)]);
}

pub(crate) async fn a_chunk_added_before_in_the_group_is_missing_from_the_next_manifest(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let (spec, keep) = (JobSpec::new(), ImportOptions::new());
    let delete = ImportOptions::new().on_missing(OnMissing::Delete);
    together(
        &fx,
        vec![
            call(fx.import(JOB, &spec, magnetar::chunks([Ok(c(2))]), &keep)),
            call(fx.import(JOB, &spec, magnetar::chunks([Ok(c(1))]), &delete)),
        ],
    );
    assert_eq!(ids(&crate::support::chunks_of(&*fx, JOB).await), [1]);
}

pub(crate) async fn a_chunk_deleted_and_added_in_one_group_begins_anew(fx: Fixture) {
    import(&*fx, [c(1), c(2), c(3).depends_on([1])]).await;
    fx.mark_status(JOB, 2, JobStatus::Done, None).await.expect("it is ready");
    let (spec, keep) = (JobSpec::new(), ImportOptions::new());
    let delete = ImportOptions::new().on_missing(OnMissing::Delete);
    let answers = together(
        &fx,
        vec![
            call(fx.import(JOB, &spec, magnetar::chunks([Ok(c(1))]), &delete)),
            call(fx.import(JOB, &spec, magnetar::chunks([Ok(c(2)), Ok(c(3))]), &keep)),
        ],
    );
    assert_eq!(kinds(&answers), [None; 2]);
    fx.verify().await.expect("nothing is damaged");
    assert_eq!(statuses(&*fx).await, [JobStatus::Pending; 3]);
    assert_eq!(get(&*fx, 3).await.unmet_dependencies, 0);
    assert_eq!(fx.claim_pending_batch(JOB, 9).await.expect("the job exists").len(), 3);
}

pub(crate) async fn a_retry_of_all_sees_what_failed_before_it_in_the_group(fx: Fixture) {
    import(&*fx, [c(1), c(2)]).await;
    let answers = together(
        &fx,
        vec![call(fx.mark_failed(JOB, 1, "broken".into())), call(fx.retry_failed(JOB, Selection::All))],
    );
    assert_eq!(answers[1].as_ref().expect("nothing is refused"), "1");
    assert_eq!(status(&*fx, 1).await, JobStatus::Pending);
}

pub(crate) async fn one_claim_is_ended_once_whoever_comes_first(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let held = claim(&*fx).await.claim();
    let answers = together(
        &fx,
        vec![
            call(fx.fail(&held, "oops")),
            call(fx.complete(&held, Completion::new())),
            call(fx.fail(&held, "oops")),
            call(fx.heartbeat(&held)),
        ],
    );
    let superseded = Some(ErrorKind::Superseded);
    assert_eq!(kinds(&answers), [None, superseded, None, superseded]);
    assert_eq!(get(&*fx, 1).await.attempts, 1);
}

pub(crate) async fn a_claim_given_up_while_its_commit_runs_is_released(fx: Fixture) {
    import(&*fx, [c(1)]).await;
    let store = fx.handle();
    given_up(&fx, store.claim_pending(JOB));
    fx.verify().await.expect("nothing is damaged");
    fx.new_job(&JobSpec::new()).await.expect("the store is open");
    let state = get(&*fx, 1).await;
    assert_eq!((state.status, state.losses), (JobStatus::Pending, 0));
    assert!(state.fence > 0, "it was claimed, and given back");
}

/// Hands in a call, and drops it while its first commit is under way.
fn given_up<T: std::fmt::Debug>(fx: &Fixture, future: impl Future<Output = Result<T>> + Send) {
    thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let mut context = Context::from_waker(Waker::noop());
            fx.clock.hold();
            let mut calling = call(future);
            assert!(calling.as_mut().poll(&mut context).is_pending(), "the driver is held");
            fx.clock.wait_until_asked();
            drop(calling);
            fx.clock.release();
        });
        caller.join().expect("the caller does not panic");
    });
}

pub(crate) async fn what_goes_in_slices_is_done_whole_though_its_caller_has_gone(fx: Fixture) {
    let many = 2 * limits::SLICE_ROWS_MAX as u64 + 1;
    import(&*fx, (0..many).map(c)).await;
    // Each call is in a commit of its own, and the next slice is in it too.
    let slices_pass = async || {
        for _ in 0..4 {
            fx.new_job(&JobSpec::new()).await.expect("the store is open");
        }
    };
    let store = fx.handle();
    given_up(&fx, store.cancel(JOB, Selection::All));
    slices_pass().await;
    assert_eq!(fx.get_stats(JOB).await.expect("the job exists").cancelled, many);
    given_up(&fx, store.delete_job(JOB));
    slices_pass().await;
    assert_eq!(fx.delete_job(JOB).await.expect("it is gone"), Outcome::Unchanged);
}

pub(crate) async fn an_import_that_fails_is_taken_back_though_its_caller_goes_meanwhile(fx: Fixture) {
    let many = limits::IMPORT_ROWS_PER_COMMIT_MAX as u64 + 1;
    let (clock, store) = (&fx.clock, fx.handle());
    let has_ended = std::sync::atomic::AtomicBool::new(false);
    let ending = std::iter::once_with(|| {
        // Whatever is asked for from now on waits.
        clock.hold();
        has_ended.store(true, std::sync::atomic::Ordering::SeqCst);
        Ok(c(0))
    });
    let new = magnetar::chunks((0..many).map(|id| Ok(c(id))).chain(ending));
    let (spec, options) = (JobSpec::new(), ImportOptions::new());
    let mut importing = Box::pin(store.import(JOB, &spec, new, &options));
    std::future::poll_fn(|context| {
        let polled = importing.as_mut().poll(context).map(drop);
        if has_ended.load(std::sync::atomic::Ordering::SeqCst) { Poll::Ready(()) } else { polled }
    })
    .await;
    assert!(has_ended.load(std::sync::atomic::Ordering::SeqCst), "an id came for the second time");
    drop(importing);
    clock.release();
    // Each call is in a commit of its own, and the next slice is in it too.
    for _ in 0..20 {
        fx.release_all().await.expect("the store is open");
    }
    let info = fx.info().await.expect("the store is open");
    assert_eq!(info.visible_revision, info.revision, "the feed waits for nothing");
    fx.verify().await.expect("nothing is damaged");
}

pub(crate) async fn many_threads_work_a_job_off_and_no_chunk_is_done_twice(fx: Fixture) {
    let many = 600_u64;
    import(&*fx, (0..many).map(|id| c(id).depends_on((id >= 100).then(|| id - 100)))).await;
    try_import(&*fx, 8, JobSpec::new(), [c(1)], ImportOptions::new()).await.expect("it is fine");
    let done = std::sync::Mutex::new(Vec::new());
    thread::scope(|scope| {
        for worker in 0..8 {
            let (store, done) = (fx.handle(), &done);
            scope.spawn(move || {
                magnetar::block_on(async {
                    while !store.get_stats(JOB).await.expect("the job exists").is_complete() {
                        for state in store.claim_pending_batch(JOB, 5).await.expect("the job exists") {
                            let updates = vec![
                                ChunkUpdate::Complete(
                                    state.claim(),
                                    Completion::new().checksum(format!("{worker}")),
                                ),
                                ChunkUpdate::Mark { chunk: many + 1, status: JobStatus::Done, detail: None },
                            ];
                            let answers =
                                store.apply_batch_updates(JOB, updates).await.expect("the call is fine");
                            assert_eq!(answers[0].as_ref().expect("it is open"), &Outcome::Changed);
                            assert!(answers[1].is_err());
                            done.lock().expect("nobody panicked").push(state.chunk);
                        }
                    }
                });
            });
        }
    });
    let mut done = done.into_inner().expect("nobody panicked");
    done.sort_unstable();
    assert_eq!(done, (0..many).collect::<Vec<_>>());
    assert_eq!(get(&*fx, 0).await.updated_at_ms, START_MS);
    fx.verify().await.expect("nothing is damaged");
}

/// Waits until all are told, and gives how the job stands.
async fn settled(fx: &Fixture) -> JobStats {
    super::slices::nothing_is_left(&**fx).await
}

fn hub(chunk: u64) -> Selection {
    Selection::Chunks(vec![chunk])
}

/// Told of it by one that waits and by one that is cancelled, a chunk has two things to tell its own dependents, and more
/// of them than one commit tells.
pub(crate) async fn what_a_chunk_passes_on_twice_in_one_round_is_told_both_times(fx: Fixture) {
    let (most, cancel) = (limits::DEPENDENTS_PER_COMMIT_MAX as u64, DependencyFailure::Cancel);
    let [waits, gives_up, on_both] = [most + 1, most + 2, most + 3];
    let behind = on_both + 1..on_both + 1 + most + most / 2;
    let first = (1..=most + 1).map(|id| c(id).depends_on([0]));
    let middle = [
        c(gives_up).depends_on([0]).on_dependency_failure(cancel),
        c(on_both).depends_on([waits, gives_up]).on_dependency_failure(cancel),
    ];
    let last = behind.clone().map(|id| c(id).depends_on([on_both]));
    import(&*fx, [c(0)].into_iter().chain(first).chain(middle).chain(last)).await;
    super::mark_done(&*fx, [0]).await;
    settled(&fx).await;
    while !settled(&fx).await.is_complete() {
        let held = fx.claim_pending_batch(JOB, 10_000).await.expect("the job exists");
        let done = held.iter().map(|held| ChunkUpdate::Complete(held.claim(), Completion::new()));
        fx.apply_batch_updates(JOB, done.collect()).await.expect("they are open");
    }
    let answers = together(
        &fx,
        vec![call(fx.reset(JOB, hub(0), ResetReach::Through)), call(fx.mark_failed(JOB, 0, "broken".into()))],
    );
    assert_eq!(kinds(&answers), [None; 2]);
    let stats = settled(&fx).await;
    assert_eq!((stats.failed, stats.cancelled, stats.done), (1, 2, 0));
    assert_eq!((stats.blocked, stats.ready()), (waits + behind.count() as u64, 0));
    fx.verify().await.expect("nothing is damaged");
}

/// What is left to be told of a chunk changes while a commit tells of those before it, of which it depends on one.
pub(crate) async fn what_is_left_to_tell_is_what_it_came_to_be_by_the_others_of_its_commit(fx: Fixture) {
    // As many as use up what one commit may tell; what the two do then is left.
    let (hubs, each) = (10, limits::TOLD_PER_COMMIT_MAX as u64 / 10);
    let (lower, higher, behind) = (hubs, hubs + 1, hubs + 2..hubs + 100);
    let fan = (1_000..1_000 + hubs * each).map(|id| c(id).depends_on([id % hubs]));
    let waits = behind.clone().map(|id| c(id).depends_on([lower]));
    let pair = [c(lower).depends_on([higher]), c(higher)];
    import(&*fx, (0..hubs).map(c).chain(pair).chain(waits).chain(fan)).await;
    super::mark_done(&*fx, [higher]).await;
    let done = (0..=hubs).map(|chunk| ChunkUpdate::Mark { chunk, status: JobStatus::Done, detail: None });
    let answers = together(
        &fx,
        vec![
            call(fx.apply_batch_updates(JOB, done.collect())),
            call(fx.reset(JOB, hub(higher), ResetReach::Through)),
        ],
    );
    assert_eq!(kinds(&answers), [None; 2]);
    let stats = settled(&fx).await;
    assert_eq!((stats.done, stats.blocked), (hubs, 1 + behind.count() as u64), "of the last of them");
    assert_eq!(stats.ready(), 1 + hubs * each);
    fx.verify().await.expect("nothing is damaged");
}

/// Another policy of the job is told with each failure that there is; one of them ends while that of another one is told.
pub(crate) async fn a_failure_that_another_policy_ended_is_told_no_more(fx: Fixture) {
    let (most, cancel) = (limits::DEPENDENTS_PER_COMMIT_MAX as u64, DependencyFailure::Cancel);
    let of_job = JobSpec::new().on_dependency_failure(cancel);
    let behind = most + 500;
    let chunks = (1..behind).map(|id| c(id).depends_on([0]));
    let last = c(behind).depends_on([1]).on_dependency_failure(cancel);
    super::import_as(&*fx, of_job, [c(0)].into_iter().chain(chunks).chain([last])).await;
    fx.mark_failed(JOB, 0, "broken".into()).await.expect("it is not done");
    assert_eq!(settled(&fx).await.cancelled, behind);
    let spec = JobSpec::new().on_dependency_failure(DependencyFailure::Wait);
    let answers = together(
        &fx,
        vec![
            call(fx.retry_failed(JOB, hub(0))),
            call(fx.mark_failed(JOB, 0, "again".into())),
            call(try_import(&*fx, JOB, spec, [], ImportOptions::new())),
        ],
    );
    assert_eq!(kinds(&answers), [None; 3]);
    let stats = settled(&fx).await;
    assert_eq!((stats.failed, stats.cancelled, stats.blocked), (1, 0, behind), "all wait");
    fx.verify().await.expect("nothing is damaged");
}
