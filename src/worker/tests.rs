//! What a store in memory cannot be brought to do from outside: being busy.

use std::cmp::Reverse;
use std::future::Future as _;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::context::{Cancel, Cancellation, Context};
use super::exchange::{Became, End, Exchanged, Finished, exchange};
use super::progress::Publisher;
use super::pulse::{Hold, Pulse};
use super::session::{LATER_TIMES, Plan, Returned, Session};
use super::{Ending, Shutdown};
use crate::clock::monotonic;
use crate::commit::block_on;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{ClaimRequest, Completion, JobSpec, JobState, NewChunk, Selection};
use crate::store::JobStore;

mod busy;

fn busy() -> Error {
    Error::new(ErrorKind::Busy, "somebody else writes")
}

/// A store with one chunk, which is claimed.
fn one_claim() -> (Arc<dyn JobStore>, JobState) {
    block_on(async {
        let store = crate::open(":memory:").await.unwrap();
        let chunks = crate::chunks([Ok(NewChunk::new(0))]);
        store.import(1, &JobSpec::new(), chunks, &crate::ImportOptions::new()).await.unwrap();
        let state = store.claim_pending(1).await.unwrap().unwrap();
        (store, state)
    })
}

fn pulse_on(store: &Arc<dyn JobStore>) -> Pulse {
    Pulse::start(Arc::clone(store), Some(1), Shutdown::new(), Publisher::default(), Duration::from_secs(1))
        .unwrap()
}

fn plan() -> Plan {
    let request = ClaimRequest::new().job(1);
    Plan {
        request,
        concurrency: 1,
        keep_running: false,
        release_immediately: false,
        shutdown: Shutdown::new(),
    }
}

async fn nothing_more(_: Context, _: Hold) -> (Hold, Returned) {
    unreachable!("the only chunk has been worked on")
}

fn refused(finished: Finished) -> Exchanged {
    Exchanged { settled: vec![(finished, Err(busy()))], claimed: Some(Ok(Vec::new())) }
}

#[test]
fn a_result_that_the_store_was_too_busy_for_is_sent_again() {
    let (store, state) = one_claim();
    let pulse = pulse_on(&store);
    let hold = pulse.keeper().hold(&state);
    let mut session = Session::new(store, plan(), pulse, nothing_more);
    session.take_in(refused(Finished { hold, end: End::Complete(Completion::new()) }), 1).unwrap();
    let summary = block_on(session.run()).unwrap();
    assert_eq!((summary.ending, summary.completed), (Ending::Finished, 1), "{summary}");
}

/// It would be looked for at the next moment at which it is looked for work at all, up to a second later.
#[test]
fn a_chunk_that_was_given_a_delay_is_looked_for_when_that_is_over() {
    const DELAY_MS: u64 = 60_000;
    let ends = [
        (End::FailWithDelay("not yet".into(), DELAY_MS), Became::Retried),
        (End::ReleaseWithDelay(DELAY_MS), Became::Released),
    ];
    for (end, became) in ends {
        let (store, state) = one_claim();
        let pulse = pulse_on(&store);
        let hold = pulse.keeper().hold(&state);
        let mut session = Session::new(store, plan(), pulse, nothing_more);
        let settled = vec![(Finished { hold, end }, Ok(became))];
        let before = monotonic();
        session.take_in(Exchanged { settled, claimed: Some(Ok(Vec::new())) }, 1).unwrap();
        let after = monotonic();
        let delay = Duration::from_millis(DELAY_MS + 1);
        let Reverse(comeback) = *session.comebacks.peek().expect("it is known when it comes back");
        assert!((before + delay..=after + delay).contains(&comeback), "{became:?}");
    }
}

#[test]
fn a_store_that_stays_busy_ends_the_run_with_the_error() {
    let (store, state) = one_claim();
    let pulse = pulse_on(&store);
    let hold = pulse.keeper().hold(&state);
    let mut session = Session::new(Arc::clone(&store), plan(), pulse, nothing_more);
    session.finished.push(Finished { hold, end: End::Complete(Completion::new()) });
    let outcomes: Vec<Result<()>> = (0..=LATER_TIMES)
        .map(|_| {
            let finished = session.finished.pop().expect("what was refused is kept for the next time");
            session.take_in(refused(finished), 1)
        })
        .collect();
    let (last, before) = outcomes.split_last().unwrap();
    assert!(before.iter().all(Result::is_ok));
    assert_eq!(last.as_ref().unwrap_err().kind(), ErrorKind::Busy);
}

#[test]
fn a_completion_that_was_refused_says_nothing_of_what_there_is_to_claim() {
    let (store, state) = one_claim();
    let pulse = pulse_on(&store);
    block_on(store.cancel(1, Selection::All)).unwrap();
    let finished =
        vec![Finished { hold: pulse.keeper().hold(&state), end: End::Complete(Completion::new()) }];
    let exchanged =
        block_on(exchange(Arc::clone(&store), pulse.keeper(), finished, Some(ClaimRequest::new().job(1))));
    let (one, answer) = exchanged.settled.into_iter().next().unwrap();
    assert_eq!(answer.unwrap_err().kind(), ErrorKind::Superseded);
    assert!(exchanged.claimed.is_none(), "so that the run does not take the store for empty");
    one.hold.settle();
}

#[test]
fn a_store_that_is_busy_now_and_then_ends_no_run() {
    let (store, state) = one_claim();
    let pulse = pulse_on(&store);
    let hold = pulse.keeper().hold(&state);
    let mut session = Session::new(Arc::clone(&store), plan(), pulse, nothing_more);
    session.finished.push(Finished { hold, end: End::Complete(Completion::new()) });
    for _ in 0..3 {
        for _ in 0..LATER_TIMES {
            let finished = session.finished.pop().expect("what was refused is kept for the next time");
            session.take_in(refused(finished), 1).unwrap();
        }
        session.take_in(Exchanged { settled: Vec::new(), claimed: Some(Ok(Vec::new())) }, 1).unwrap();
    }
}

#[test]
fn a_look_that_a_busy_store_does_not_answer_ends_no_run_and_is_not_repeated_at_once() {
    let (store, _) = one_claim();
    let mut session = Session::new(Arc::clone(&store), plan(), pulse_on(&store), nothing_more);
    session.take_in(Exchanged { settled: Vec::new(), claimed: Some(Ok(Vec::new())) }, 1).unwrap();
    assert_eq!(session.ending(Err(busy())).unwrap(), None);
    assert!(!session.go_on(), "it waits until it is time to look");
    let gone = Error::new(ErrorKind::JobNotFound, "there is no such job");
    assert_eq!(session.ending(Err(gone)).unwrap_err().kind(), ErrorKind::JobNotFound);
}

#[test]
fn what_is_claimed_in_the_moment_of_a_shutdown_is_given_back_and_not_begun() {
    let (store, state) = one_claim();
    let pulse = pulse_on(&store);
    let hold = pulse.keeper().hold(&state);
    let plan = plan();
    let stop = plan.shutdown.clone();
    let mut session = Session::new(Arc::clone(&store), plan, pulse, nothing_more);
    stop.request();
    session.take_in(Exchanged { settled: Vec::new(), claimed: Some(Ok(vec![(state, hold)])) }, 1).unwrap();
    let summary = block_on(session.run()).unwrap();
    assert_eq!((summary.ending, summary.released), (Ending::Stopped, 1), "{summary}");
}

#[test]
fn a_result_that_is_still_to_be_told_is_not_given_back_with_what_runs() {
    let (store, state) = one_claim();
    let pulse = pulse_on(&store);
    let hold = pulse.keeper().hold(&state);
    hold.returned();
    pulse.let_running_go();
    hold.settle();
    assert_eq!(block_on(pulse.finish()), 0);
    assert_eq!(block_on(store.get_stats(1)).unwrap().processing, 1);
}

#[test]
fn being_superseded_outweighs_a_shutdown_whichever_comes_first() {
    use Cancellation::{Shutdown, Superseded};
    for reasons in [[Superseded, Shutdown], [Shutdown, Superseded]] {
        let cancel = Cancel::default();
        reasons.into_iter().for_each(|reason| cancel.set(reason));
        assert_eq!(cancel.reason(), Some(Superseded));
    }
}

/// They are told by the thread that keeps the claims.
#[test]
fn a_reader_of_progress_who_cannot_be_woken_takes_nobody_along() {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("nobody runs the task any more");
        }
    }
    let mut publisher = Publisher::default();
    let mut progress = publisher.progress();
    let unwakeable = Waker::from(Arc::new(Panics));
    let mut next = std::pin::pin!(progress.next());
    assert!(next.as_mut().poll(&mut std::task::Context::from_waker(&unwakeable)).is_pending());
    publisher.publish(monotonic(), Some(1), crate::JobStats { total_chunks: 2, ..Default::default() });
    assert_eq!(block_on(next).unwrap().stats.total_chunks, 2);
}

#[test]
fn a_report_that_says_the_same_again_is_none() {
    let mut publisher = Publisher::default();
    let mut progress = publisher.progress();
    let stats = |done| crate::JobStats { total_chunks: 2, done, ..Default::default() };
    for done in [0, 1] {
        publisher.publish(monotonic(), Some(1), stats(done));
        assert_eq!(block_on(progress.next()).unwrap().stats.done, done);
        publisher.publish(monotonic(), Some(1), stats(done));
        let mut next = std::pin::pin!(progress.next());
        assert!(next.as_mut().poll(&mut std::task::Context::from_waker(Waker::noop())).is_pending());
    }
}
