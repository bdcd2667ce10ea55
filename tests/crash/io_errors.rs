//! Errors of the medium, at every call to it: the handle is poisoned, `reopen` brings it back, and what was
//! acknowledged is there.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use magnetar::{
    Claim, ClaimRequest, Completion, ErrorKind, ImportOptions, JobSpec, JobState, JobStatus, JobStore,
    NewChunk, RedbStore, Retry, Selection, Storage, block_on, chunks,
};

use crate::disk::Disk;
use crate::script::{Hand, OWNER, options};
use crate::state::State;

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// Nothing of it is done.
    Nothing,
    /// The disk is full; nothing of it is done.
    NoSpace,
    /// The first half of a write is done.
    Short,
    /// All of it is done, and an error is reported all the same.
    Late,
}

impl Failure {
    const ALL: [Failure; 4] = [Failure::Nothing, Failure::NoSpace, Failure::Short, Failure::Late];

    fn error(self) -> io::Error {
        match self {
            Failure::NoSpace => io::ErrorKind::StorageFull.into(),
            _ => io::Error::other("the disk is gone"),
        }
    }
}

#[derive(Debug)]
struct Plan {
    /// Calls until the first failure.
    countdown: usize,
    is_forever: bool,
    failure: Failure,
    /// Whether only syncs count.
    only_syncs: bool,
    /// Told of the failure, and waited for before it is reported.
    gate: Option<(Sender<()>, Receiver<()>)>,
    has_failed: bool,
}

/// A disk that fails by plan. Healed by taking the plan away.
#[derive(Debug, Clone, Default)]
struct Faulty {
    disk: Disk,
    plan: Arc<Mutex<Option<Plan>>>,
}

impl Faulty {
    fn plan(&self, plan: Option<Plan>) -> Option<Plan> {
        std::mem::replace(&mut self.plan.lock().unwrap_or_else(PoisonError::into_inner), plan)
    }

    /// How the call under way fails, if it does.
    fn next(&self, is_sync: bool) -> Option<Failure> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = plan.as_mut()?;
        if plan.only_syncs && !is_sync {
            return None;
        }
        if plan.countdown > 0 {
            plan.countdown -= 1;
            return None;
        }
        if plan.has_failed && !plan.is_forever {
            return None;
        }
        plan.has_failed = true;
        if let Some((reached, go_on)) = plan.gate.take() {
            reached.send(()).expect("the test waits for it");
            go_on.recv().expect("the test lets it go on");
        }
        Some(plan.failure)
    }

    fn open(&self) -> magnetar::Result<RedbStore> {
        let disk = self.clone();
        RedbStore::on_storage(move || Ok(disk.clone()), &options(OWNER, &Hand::at(1_700_000_000_000)))
    }
}

impl Storage for Faulty {
    fn len(&self) -> io::Result<u64> {
        self.disk.len()
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.disk.read(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        match self.next(false) {
            None => self.disk.set_len(len),
            Some(failure) => {
                if failure == Failure::Late {
                    self.disk.set_len(len)?;
                }
                Err(failure.error())
            }
        }
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self.next(false) {
            None => self.disk.write(offset, bytes),
            Some(failure) => {
                match failure {
                    Failure::Short => self.disk.write(offset, &bytes[..bytes.len() / 2])?,
                    Failure::Late => self.disk.write(offset, bytes)?,
                    Failure::Nothing | Failure::NoSpace => {}
                }
                Err(failure.error())
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.next(true).map_or_else(|| self.disk.sync(), |failure| Err(failure.error()))
    }
}

const JOB: i64 = 1;
const CHUNKS: u64 = 12;

/// A short script of a worker's life, and what it was told.
#[derive(Debug, Default)]
struct Worker {
    held: Vec<Claim>,
    /// What was acknowledged of each chunk last.
    told: BTreeMap<u64, JobStatus>,
}

impl Worker {
    fn take(&mut self, claimed: Vec<JobState>) {
        for chunk in claimed {
            self.told.insert(chunk.chunk, JobStatus::Processing);
            self.held.push(chunk.claim());
        }
    }

    fn end(&mut self, claim: Claim, status: JobStatus) {
        self.held.retain(|held| *held != claim);
        self.told.insert(claim.chunk, status);
    }

    /// One call of the script; `false` where it is over.
    async fn step(&mut self, store: &dyn JobStore, turn: usize) -> magnetar::Result<bool> {
        let first = self.held.first().copied();
        match (turn, first) {
            (0, _) => {
                let spec = JobSpec::new().attempts_max(0).losses_max(0).lease_ms(3_600_000);
                let new = (0..CHUNKS).map(|id| Ok(NewChunk::new(id).depends_on((id > 8).then(|| id - 8))));
                store.import(JOB, &spec, chunks(new), &ImportOptions::new()).await?;
            }
            (1 | 5, _) => {
                let claimed = store.claim_pending_batch(JOB, 3).await?;
                self.take(claimed);
            }
            (2 | 6, Some(claim)) => {
                store.complete(&claim, Completion::new().checksum("abc")).await?;
                self.end(claim, JobStatus::Done);
            }
            (3 | 8, Some(claim)) => {
                store.release(&claim).await?;
                self.end(claim, JobStatus::Pending);
            }
            (4 | 7, Some(claim)) => {
                let next = ClaimRequest::new().job(JOB);
                let claimed =
                    store.complete_and_claim(&claim, Completion::new().checksum("abc"), &next).await?;
                self.end(claim, JobStatus::Done);
                self.take(claimed);
            }
            (9, _) => {
                store.cancel(JOB, Selection::Chunks(vec![CHUNKS - 1])).await?;
                self.told.insert(CHUNKS - 1, JobStatus::Cancelled);
            }
            (10, _) => {
                store.retry_failed(JOB, Selection::Chunks(vec![CHUNKS - 1])).await?;
                self.told.insert(CHUNKS - 1, JobStatus::Pending);
            }
            _ => return Ok(turn < 11),
        }
        Ok(true)
    }

    /// What it was told holds; of chunks that the call under way was about, either answer.
    fn compare(&self, state: &State, in_doubt: &[u64], at: &str) {
        for chunk in state.chunks() {
            let held = self.held.iter().any(|claim| claim.chunk == chunk.chunk);
            let is_held = chunk.status == JobStatus::Processing;
            if in_doubt.contains(&chunk.chunk) {
                assert!(!is_held || held, "{at}: a claim that nobody was told of is still held: {chunk:?}");
                continue;
            }
            let told = self.told.get(&chunk.chunk).copied().unwrap_or(JobStatus::Pending);
            // A claim whose answer was never delivered is given back: the chunk is as it was told last.
            assert_eq!(chunk.status, told, "{at}: {chunk:?}");
        }
    }
}

/// Runs the script with one failure; says whether the failure was met.
fn fail_at(plan: Plan, at: &str) -> bool {
    let faulty = Faulty::default();
    faulty.plan(Some(plan));
    let store = match faulty.open() {
        Ok(store) => store,
        Err(error) => {
            assert!(
                matches!(error.kind(), ErrorKind::Io | ErrorKind::Poisoned | ErrorKind::Full),
                "{at}: opening: {error:?}"
            );
            let plan = faulty.plan(None).expect("it failed by plan");
            assert!(plan.has_failed, "{at}: opening failed by itself: {error:?}");
            faulty.open().unwrap_or_else(|e| panic!("{at}: opening again: {e:?}"))
        }
    };
    let mut worker = Worker::default();
    let mut has_failed = false;
    let mut turn = 0;
    loop {
        match block_on(worker.step(&store, turn)) {
            Ok(true) => turn += 1,
            Ok(false) => break,
            Err(error) => {
                assert!(!has_failed, "{at}: turn {turn} failed on a healed disk: {error:?}");
                has_failed = true;
                assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{at}: turn {turn}: {error:?}");
                assert_eq!(error.retry(), Retry::AfterReopen, "{at}: turn {turn}");
                let refused =
                    block_on(store.claim_pending(JOB)).expect_err("a poisoned handle writes nothing");
                assert_eq!(refused.kind(), ErrorKind::Poisoned, "{at}: turn {turn}: {refused:?}");
                assert_eq!(refused.retry(), Retry::AfterReopen, "{at}: turn {turn}");
                faulty.plan(None);
                block_on(store.reopen()).unwrap_or_else(|e| panic!("{at}: turn {turn}: reopen: {e:?}"));
                block_on(store.verify()).unwrap_or_else(|e| panic!("{at}: turn {turn}: verify: {e:?}"));
                let state = block_on(State::of(&store)).expect("a whole store");
                let first = worker.held.first().map(|claim| claim.chunk);
                let in_doubt: Vec<u64> = match turn {
                    9 | 10 => vec![CHUNKS - 1],
                    _ => first.into_iter().collect(),
                };
                worker.compare(&state, &in_doubt, &format!("{at}: turn {turn}"));
                if let Some(claim) = worker.held.first().copied()
                    && state
                        .chunks()
                        .any(|now| now.chunk == claim.chunk && now.status != JobStatus::Processing)
                {
                    // The call under way was done after all.
                    let now = state.chunks().find(|now| now.chunk == claim.chunk).expect("just seen");
                    assert!(
                        matches!(turn, 2 | 3 | 4 | 6 | 7 | 8),
                        "{at}: turn {turn} has taken a claim away: {now:?}"
                    );
                    worker.end(claim, now.status);
                    turn += 1;
                }
            }
        }
    }
    let met = faulty.plan(None).is_none_or(|plan| plan.has_failed);
    finish(&store, at);
    met
}

/// Whatever happened, the job can be worked to its end.
fn finish(store: &RedbStore, at: &str) {
    block_on(async {
        store.release_all().await?;
        while let Some(chunk) = store.claim_pending(JOB).await? {
            store.complete(&chunk.claim(), Completion::new().checksum("abc")).await?;
        }
        let stats = store.get_stats(JOB).await?;
        assert!(stats.is_complete() && stats.total_chunks == CHUNKS, "{at}: {stats:?}");
        store.verify().await?;
        store.close().await
    })
    .unwrap_or_else(|e| panic!("{at}: the rest of the job: {e:?}"));
}

#[test]
fn an_error_at_every_call_poisons_until_reopen_and_loses_nothing() {
    let mut runs = 0;
    for failure in Failure::ALL {
        for is_forever in [false, true] {
            for only_syncs in [false, true] {
                for countdown in 0.. {
                    let at =
                        format!("{failure:?} at {countdown}, forever {is_forever}, syncs only {only_syncs}");
                    let plan =
                        Plan { countdown, is_forever, failure, only_syncs, gate: None, has_failed: false };
                    if !fail_at(plan, &at) {
                        break;
                    }
                    runs += 1;
                }
            }
        }
    }
    println!(
        "I/O errors: {runs} failures, every call of the script in 4 ways, once and forever; 0 lost, 0 left poisoned"
    );
    assert!(runs > 300, "the script must make more calls than {runs}");
}

/// A claim that fails at one call, then a reopening that fails at another; `None` where either no longer does.
fn fail_twice(failure: Failure, first: usize, second: usize) -> Option<()> {
    let plan = |countdown| Plan {
        countdown,
        is_forever: true,
        failure,
        only_syncs: false,
        gate: None,
        has_failed: false,
    };
    let faulty = Faulty::default();
    let store = faulty.open().expect("a healthy disk");
    let mut worker = Worker::default();
    block_on(worker.step(&store, 0)).expect("a healthy disk");
    block_on(worker.step(&store, 1)).expect("a healthy disk");
    faulty.plan(Some(plan(first)));
    let at = format!("{failure:?} at {first}, then at {second}");
    let error = block_on(store.claim_pending_batch(JOB, 2)).err()?;
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{at}: {error:?}");
    faulty.plan(Some(plan(second)));
    let reopened = block_on(store.reopen());
    faulty.plan(None);
    if let Err(error) = &reopened {
        let kind = error.kind();
        assert!(
            matches!(kind, ErrorKind::Io | ErrorKind::Poisoned | ErrorKind::OutcomeUnknown | ErrorKind::Full),
            "{at}: {error:?}"
        );
        let refused = block_on(store.claim_pending(JOB)).expect_err("it is still poisoned");
        assert_eq!(refused.retry(), Retry::AfterReopen, "{at}: {refused:?}");
        block_on(store.reopen()).unwrap_or_else(|e| panic!("{at}: reopening again: {e:?}"));
    }
    block_on(store.verify()).unwrap_or_else(|e| panic!("{at}: verify: {e:?}"));
    worker.compare(&block_on(State::of(&store)).expect("a whole store"), &[], &at);
    finish(&store, &at);
    reopened.err().map(drop)
}

#[test]
fn a_reopening_that_fails_in_its_turn_can_be_done_again() {
    let mut runs = 0;
    for failure in Failure::ALL {
        let mut first = 0;
        loop {
            let mut failed = 0;
            while fail_twice(failure, first, failed).is_some() {
                failed += 1;
            }
            if failed == 0 {
                break;
            }
            runs += failed;
            first += 1;
        }
    }
    println!(
        "failing reopenings: {runs}, at every call of a claim and then at every call of the reopening; 0 claims stranded"
    );
    assert!(runs > 60, "a claim and a reopening must make more calls than {runs}");
}

#[test]
fn claims_of_an_earlier_opening_by_the_same_client_survive_a_reopening() {
    let faulty = Faulty::default();
    let mut worker = Worker::default();
    let store = faulty.open().expect("a healthy disk");
    block_on(worker.step(&store, 0)).expect("a healthy disk");
    block_on(worker.step(&store, 1)).expect("a healthy disk");
    drop(store);
    let store = faulty.open().expect("a healthy disk");
    let failure = Failure::Nothing;
    faulty.plan(Some(Plan {
        countdown: 0,
        is_forever: true,
        failure,
        only_syncs: true,
        gate: None,
        has_failed: false,
    }));
    block_on(store.claim_pending(JOB)).expect_err("the disk fails");
    faulty.plan(None);
    block_on(store.reopen()).expect("a healed disk");
    worker.compare(&block_on(State::of(&store)).expect("a whole store"), &[], "claims of an earlier opening");
    assert_eq!(worker.held.len(), 3);
}

#[test]
fn what_waits_while_the_store_is_poisoned_is_done_after_the_reopening() {
    for only_syncs in [false, true] {
        let faulty = Faulty::default();
        let store = faulty.open().expect("a healthy disk");
        let mut worker = Worker::default();
        block_on(worker.step(&store, 0)).expect("a healthy disk");
        block_on(worker.step(&store, 1)).expect("a healthy disk");
        let [first, second, third] = worker.held[..] else { panic!("three were ready") };
        let (reached, at_the_gate) = channel();
        let (let_go, go_on) = channel();
        let gate = Some((reached, go_on));
        let failure = Failure::Nothing;
        faulty.plan(Some(Plan {
            countdown: 0,
            is_forever: false,
            failure,
            only_syncs,
            gate,
            has_failed: false,
        }));
        std::thread::scope(|scope| {
            let under_way = scope.spawn(|| block_on(store.complete(&first, Completion::new())));
            at_the_gate.recv().expect("the commit reaches the disk");
            // Asked for while the commit is under way: they wait in the queue.
            let mut context = Context::from_waker(Waker::noop());
            let mut complete = pin!(store.complete(&second, Completion::new()));
            let mut release = pin!(store.release(&third));
            let mut dropped = Box::pin(store.cancel(JOB, Selection::All));
            assert!(complete.as_mut().poll(&mut context).is_pending());
            assert!(release.as_mut().poll(&mut context).is_pending());
            assert!(dropped.as_mut().poll(&mut context).is_pending());
            drop(dropped);
            let_go.send(()).expect("the disk waits for it");
            let error = under_way.join().expect("no panic").expect_err("the disk failed");
            assert_eq!(
                (error.kind(), error.retry()),
                (ErrorKind::OutcomeUnknown, Retry::AfterReopen),
                "{error:?}"
            );
            assert!(matches!(complete.as_mut().poll(&mut context), Poll::Pending), "it is kept, not refused");
            assert!(matches!(release.as_mut().poll(&mut context), Poll::Pending), "it is kept, not refused");
            block_on(store.reopen()).expect("a healed disk");
            block_on(complete).expect("it goes on after the reopening");
            block_on(release).expect("it goes on after the reopening");
        });
        let status = |claim: Claim| {
            block_on(store.get_chunk(JOB, claim.chunk))
                .expect("a whole store")
                .expect("it was imported")
                .status
        };
        assert_eq!([status(second), status(third)], [JobStatus::Done, JobStatus::Pending]);
        assert_eq!(
            block_on(store.get_stats(JOB)).expect("a whole store").cancelled,
            0,
            "a dropped call was not started"
        );
        finish(&store, "after the reopening");
    }
}

/// Fails everything from now on.
fn broken() -> Plan {
    let failure = Failure::Nothing;
    Plan { countdown: 0, is_forever: true, failure, only_syncs: false, gate: None, has_failed: false }
}

#[test]
fn a_claim_whose_caller_goes_while_the_store_is_poisoned_is_given_back_after_the_reopening() {
    let faulty = Faulty::default();
    let store = faulty.open().expect("a healthy disk");
    let mut worker = Worker::default();
    block_on(worker.step(&store, 0)).expect("a healthy disk");
    block_on(worker.step(&store, 1)).expect("a healthy disk");
    let mut claiming = Box::pin(store.claim_pending(JOB));
    block_on(poll_fn(|context| {
        assert!(claiming.as_mut().poll(context).is_pending(), "others may share its commit");
        Poll::Ready(())
    }));
    // Comes behind it: it is committed and answered now, and nobody has looked at the answer.
    block_on(store.heartbeat(&worker.held[0])).expect("a healthy disk");
    faulty.plan(Some(broken()));
    block_on(store.complete(&worker.held[0], Completion::new())).expect_err("the disk is gone");
    drop(claiming);
    faulty.plan(None);
    block_on(store.reopen()).expect("a healed disk");
    // Comes behind whatever waited for the reopening.
    block_on(store.heartbeat(&worker.held[1])).expect("a healed disk");
    let held = block_on(store.get_by_status(JOB, JobStatus::Processing)).expect("a whole store");
    let mut held: Vec<u64> = held.iter().map(|chunk| chunk.chunk).collect();
    held.retain(|chunk| !worker.held.iter().any(|claim| claim.chunk == *chunk));
    assert_eq!(held, [0; 0], "nobody has them");
    finish(&store, "after the reopening");
}

/// A completion that waits behind one that fails is told so once a reopening has failed, in whatever way.
fn is_told_where_it_fails(reopen: impl Fn(&RedbStore, &mut Context<'_>)) {
    let faulty = Faulty::default();
    let store = faulty.open().expect("a healthy disk");
    let mut worker = Worker::default();
    block_on(worker.step(&store, 0)).expect("a healthy disk");
    block_on(worker.step(&store, 1)).expect("a healthy disk");
    let (reached, at_the_gate) = channel();
    let (let_go, go_on) = channel();
    faulty.plan(Some(Plan { gate: Some((reached, go_on)), ..broken() }));
    std::thread::scope(|scope| {
        let under_way = scope.spawn(|| block_on(store.complete(&worker.held[0], Completion::new())));
        at_the_gate.recv().expect("the commit reaches the disk");
        let mut context = Context::from_waker(Waker::noop());
        let mut waiting = pin!(store.complete(&worker.held[1], Completion::new()));
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        let_go.send(()).expect("the disk waits for it");
        under_way.join().expect("no panic").expect_err("the disk failed");
        assert!(waiting.as_mut().poll(&mut context).is_pending(), "whoever heard of it reopens the store");
        reopen(&store, &mut context);
        // Comes behind it, and behind what is told of it.
        block_on(store.verify()).expect_err("it is poisoned");
        let Poll::Ready(told) = waiting.as_mut().poll(&mut context) else {
            panic!("nobody knows that it waits for a reopening")
        };
        assert_eq!(told.expect_err("it was not begun").kind(), ErrorKind::Poisoned);
    });
    faulty.plan(None);
    block_on(store.reopen()).expect("a healed disk");
    finish(&store, "after the reopening");
}

#[test]
fn whoever_waits_is_told_where_a_reopening_fails_that_nobody_hears_of() {
    is_told_where_it_fails(|store, context| {
        // It may be answered at once, or later to nobody.
        let _ = Box::pin(store.reopen()).as_mut().poll(context);
    });
}

#[test]
fn whoever_waits_is_told_where_a_reopening_fails_whose_caller_gives_up() {
    is_told_where_it_fails(|store, _| {
        block_on(store.reopen()).expect_err("the disk is still gone");
    });
}

#[test]
fn whoever_waits_is_told_where_whoever_was_told_goes_without_looking() {
    struct Answered(Mutex<Sender<()>>);
    impl Wake for Answered {
        fn wake(self: Arc<Self>) {
            // Nobody may wait for it.
            let _ = self.0.lock().expect("no panic").send(());
        }
    }
    let faulty = Faulty::default();
    let store = faulty.open().expect("a healthy disk");
    let mut worker = Worker::default();
    block_on(worker.step(&store, 0)).expect("a healthy disk");
    block_on(worker.step(&store, 1)).expect("a healthy disk");
    let (reached, at_the_gate) = channel();
    let (let_go, go_on) = channel();
    faulty.plan(Some(Plan { gate: Some((reached, go_on)), ..broken() }));
    let (answered, is_answered) = channel();
    let waker = Waker::from(Arc::new(Answered(Mutex::new(answered))));
    let mut under_way = Box::pin(store.complete(&worker.held[0], Completion::new()));
    assert!(under_way.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    at_the_gate.recv().expect("the commit reaches the disk");
    let mut context = Context::from_waker(Waker::noop());
    let mut waiting = pin!(store.complete(&worker.held[1], Completion::new()));
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    let_go.send(()).expect("the disk waits for it");
    is_answered.recv().expect("it is answered, however the disk is");
    drop(under_way);
    let Poll::Ready(told) = waiting.as_mut().poll(&mut context) else {
        panic!("nobody knows that it waits for a reopening")
    };
    assert_eq!(told.expect_err("it was not begun").kind(), ErrorKind::Poisoned);
    faulty.plan(None);
    block_on(store.reopen()).expect("a healed disk");
    finish(&store, "after the reopening");
}

#[test]
fn verifying_a_poisoned_store_says_that_it_is_to_be_reopened() {
    for countdown in 0..4 {
        let faulty = Faulty::default();
        let store = faulty.open().expect("a healthy disk");
        let mut worker = Worker::default();
        block_on(worker.step(&store, 0)).expect("a healthy disk");
        block_on(worker.step(&store, 1)).expect("a healthy disk");
        faulty.plan(Some(Plan { countdown, ..broken() }));
        if block_on(store.complete(&worker.held[0], Completion::new())).is_ok() {
            assert!(countdown > 0, "the first write of a completion was to fail");
            break;
        }
        let refused = block_on(store.verify()).expect_err("it is poisoned");
        assert_eq!(
            (refused.kind(), refused.retry()),
            (ErrorKind::Poisoned, Retry::AfterReopen),
            "{refused:?}"
        );
        faulty.plan(None);
        block_on(store.reopen()).expect("a healed disk");
        block_on(store.verify()).expect("a whole store");
    }
}

#[test]
fn a_closing_that_fails_says_what_becomes_of_the_file() {
    let faulty = Faulty::default();
    let store = faulty.open().expect("a healthy disk");
    let mut worker = Worker::default();
    block_on(worker.step(&store, 0)).expect("a healthy disk");
    faulty.plan(Some(broken()));
    let failed = block_on(store.close()).expect_err("the disk is gone");
    assert_eq!(failed.kind(), ErrorKind::Io, "{failed:?}");
    assert!(failed.to_string().contains("the next opening recovers it"), "{failed}");
    drop(store);
    faulty.plan(None);
    finish(&faulty.open().expect("a healed disk"), "after the closing");
}
