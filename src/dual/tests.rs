//! Errors and crashes before and after each write of either side, in every step of a move.
//!
//! The stores are in memory and wrapped: a plan says which commit fails, and whether before it was done or after. A
//! crash is an error after which the store takes nothing any more; then everything is dropped and opened again on what
//! was committed.

mod busy;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::side::{Side, is_authority};
use super::{Acknowledge, DualOptions, DualStore, Inner, MovePhase, MoveSide, Roles};
use crate::backends::contract::{
    Backend, Delta, JobChange, Load, Loaded, Needs, PageNeed, Reader, Row, WriteTx,
};
use crate::backends::redb::{Options, RedbBackend};
use crate::backends::sqlite;
use crate::clock::Clock;
use crate::commit::block_on;
use crate::engine::{self, Bounds, Consumer, Host, Imports, Invisible, Op};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::model::{Claim, Completion, Durability, JobSpec, JobState, Json, NewChunk, Outcome, OwnerId};
use crate::owners::Alone;
use crate::store::{Handle, JobStore, Persistence, Redb, Store, chunks};

const JOB: i64 = 1;
const CHUNKS: u64 = 10;

#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000
    }
}

/// How a commit fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nothing was written, and the store knows it.
    Full,
    /// Nothing was written, and the store does not know it.
    Before,
    /// It was written, and the store does not know it.
    After,
    /// The process ended before it was written.
    CrashBefore,
    /// The process ended after it was written.
    CrashAfter,
}

impl Fault {
    const ALL: [Fault; 5] = [Fault::Full, Fault::Before, Fault::After, Fault::CrashBefore, Fault::CrashAfter];

    fn is_crash(self) -> bool {
        matches!(self, Fault::CrashBefore | Fault::CrashAfter)
    }

    fn is_done(self) -> bool {
        matches!(self, Fault::After | Fault::CrashAfter)
    }

    fn error(self) -> Error {
        match self {
            Fault::Full => Error::new(ErrorKind::Full, "the disk is full"),
            _ => Error::new(ErrorKind::Poisoned, "the disk is gone"),
        }
    }
}

/// What happens to the commits of one store.
#[derive(Default)]
struct Plan {
    /// From now on outputs and names of jobs are written otherwise than they were handed over.
    is_lying: AtomicBool,
    commits: AtomicUsize,
    fault: Mutex<Option<(usize, Fault)>>,
    is_dead: AtomicBool,
    /// A commit, or a reopening, goes on once it has this; a commit says before that it has come so far.
    door: Mutex<()>,
    at_the_door: AtomicUsize,
    /// How often the store was opened anew.
    reopened: AtomicUsize,
    /// What others do with each commit, just before it.
    beside: Mutex<Option<Box<dyn Fn() + Send>>>,
}

impl Plan {
    fn next(&self) -> Option<Fault> {
        self.at_the_door.fetch_add(1, Ordering::SeqCst);
        drop(self.door.lock().unwrap());
        if let Some(beside) = &*self.beside.lock().unwrap() {
            beside();
        }
        let at = self.commits.fetch_add(1, Ordering::SeqCst);
        let (when, fault) = (*self.fault.lock().unwrap())?;
        (at == when).then(|| {
            self.is_dead.store(fault.is_crash(), Ordering::SeqCst);
            fault
        })
    }

    fn check(&self) -> Result<()> {
        if self.is_dead.load(Ordering::SeqCst) { Err(Fault::Before.error()) } else { Ok(()) }
    }
}

/// Where a backend waits for the next process.
type Slot = Arc<Mutex<Option<Box<dyn Backend>>>>;

struct Faulty {
    backend: Option<Box<dyn Backend>>,
    slot: Slot,
    plan: Arc<Plan>,
}

impl Drop for Faulty {
    fn drop(&mut self) {
        *self.slot.lock().unwrap() = self.backend.take();
    }
}

struct FaultyTx<'a>(Box<dyn WriteTx + 'a>, Arc<Plan>);

impl Load for FaultyTx<'_> {
    fn load(&mut self, needs: &Needs) -> Result<Loaded> {
        self.0.load(needs)
    }

    fn page(&mut self, need: &PageNeed, each: &mut dyn FnMut(Row)) -> Result<()> {
        self.0.page(need, each)
    }
}

impl WriteTx for FaultyTx<'_> {
    fn commit(self: Box<Self>, mut delta: Delta) -> Result<()> {
        let FaultyTx(tx, plan) = *self;
        if plan.is_lying.load(Ordering::SeqCst) {
            for record in delta.rows.iter_mut().filter_map(|row| row.record.as_mut()).map(Arc::make_mut) {
                record.output = record.output.as_ref().map(|_| Json::new("a lie").expect("a text is JSON"));
            }
            for job in &mut delta.jobs {
                if let JobChange::Put(job) = job {
                    job.spec.name = job.spec.name.as_ref().map(|_| "a lie".to_owned());
                }
            }
        }
        match plan.next() {
            None => tx.commit(delta),
            Some(fault) => {
                if fault.is_done() {
                    tx.commit(delta)?;
                }
                Err(fault.error())
            }
        }
    }
}

impl Faulty {
    fn inner(&mut self) -> &mut Box<dyn Backend> {
        self.backend.as_mut().expect("it is there until the drop")
    }
}

impl Backend for Faulty {
    fn begin(&mut self) -> Result<Box<dyn WriteTx + '_>> {
        self.plan.check()?;
        let plan = Arc::clone(&self.plan);
        Ok(Box::new(FaultyTx(self.inner().begin()?, plan)))
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.backend.as_ref().expect("it is there until the drop").reader()
    }

    fn reopen(&mut self) -> Result<()> {
        self.plan.check()?;
        drop(self.plan.door.lock().unwrap());
        self.plan.reopened.fetch_add(1, Ordering::SeqCst);
        self.inner().reopen()
    }

    fn check_file(&mut self) -> Result<()> {
        self.inner().check_file()
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What outlives a process.
struct World {
    slots: [Slot; 2],
    plans: [Arc<Plan>; 2],
}

/// One process's handles.
struct Process {
    dual: DualStore,
    handles: [Handle; 2],
}

impl World {
    fn new(backends: [Box<dyn Backend>; 2]) -> Self {
        World {
            slots: backends.map(|backend| Arc::new(Mutex::new(Some(backend)))),
            plans: Default::default(),
        }
    }

    fn open(&self, side: usize, owner: OwnerId) -> Handle {
        let slot = Arc::clone(&self.slots[side]);
        let backend = slot.lock().unwrap().take().expect("the process before has ended");
        let faulty = Faulty { backend: Some(backend), slot, plan: Arc::clone(&self.plans[side]) };
        let host = Host {
            clock: Arc::new(Still),
            liveness: Arc::new(Alone),
            owner,
            imports: Imports::default(),
            durability: Durability::Full,
            bounds: Bounds::default(),
        };
        // How the type names the engine is of no consequence.
        Handle::from(Store::<Redb>::start(Box::new(faulty), host, Persistence::Memory).expect("it opens"))
    }

    /// Opens both, without a thread that copies: what is written when is the same each time.
    async fn start(&self, owner: OwnerId) -> (Result<DualStore>, [Handle; 2]) {
        let handles = [self.open(0, owner), self.open(1, owner)];
        let options = DualOptions::new().acknowledge(Acknowledge::Authority);
        let inner = Inner::join(handles[0].clone(), handles[1].clone(), &options).await;
        (inner.map(|inner| DualStore { inner, _driving: None }), handles)
    }
}

/// A new pair with the job in it.
fn imported(world: &World) -> (DualStore, [Handle; 2]) {
    let (dual, handles) = block_on(world.start(OwnerId::from_bytes([1; 16])));
    let dual = dual.expect("a new pair");
    let new = (0..CHUNKS).map(|id| Ok(NewChunk::new(id)));
    block_on(dual.import(JOB, &JobSpec::new(), chunks(new), &Default::default())).expect("an import");
    (dual, handles)
}

/// A worker, and the operator who moves the store.
struct Player<'w> {
    world: &'w World,
    process: Option<Process>,
    held: Vec<Claim>,
    /// How often each chunk was handed out to be worked on.
    worked: BTreeMap<u64, u32>,
    /// Whose completion was acknowledged.
    finished: BTreeSet<u64>,
    /// How many processes there were.
    processes: u8,
    at: String,
}

impl Player<'_> {
    /// Opens everything, again where something fails on the way.
    async fn begin(&mut self) {
        // What a process held ends with it.
        self.held.clear();
        for _ in 0..8 {
            self.process = None;
            self.processes += 1;
            for plan in &self.world.plans {
                plan.is_dead.store(false, Ordering::SeqCst);
            }
            let (dual, handles) = self.world.start(OwnerId::from_bytes([self.processes; 16])).await;
            if let Ok(dual) = dual {
                self.process = Some(Process { dual, handles });
                return;
            }
        }
        panic!("{}: the pair cannot be opened any more", self.at);
    }

    fn dual(&self) -> &DualStore {
        &self.process.as_ref().expect("it has begun").dual
    }

    /// After a failure: what a crash ended begins again, everything else is opened anew.
    async fn recover(&mut self) {
        self.at_most_one().await;
        if self.world.plans.iter().any(|plan| plan.is_dead.load(Ordering::SeqCst)) {
            self.begin().await;
        } else {
            let mut tries = 0;
            while let Err(error) = self.dual().reopen().await {
                tries += 1;
                assert!(tries < 8, "{}: {error}", self.at);
            }
        }
        self.exactly_one().await;
    }

    async fn authorities(&self) -> Vec<usize> {
        let handles = &self.process.as_ref().expect("it has begun").handles;
        let mut found = Vec::new();
        for (side, handle) in handles.iter().enumerate() {
            let standing = handle.shared.read(engine::meta).await.expect("it can be read").affairs;
            if is_authority(standing.as_deref().and_then(|affairs| affairs.standing.as_ref())) {
                found.push(side);
            }
        }
        found
    }

    async fn at_most_one(&self) {
        // A second store that was never joined is nobody's authority yet: it is empty.
        let handles = &self.process.as_ref().expect("it has begun").handles;
        let both = self.authorities().await.len() == 2;
        let is_new = handles[1].shared.read(engine::meta).await.expect("it can be read").revision == 0;
        assert!(!both || is_new, "{}: two authorities", self.at);
    }

    async fn exactly_one(&self) {
        assert_eq!(self.authorities().await.len(), 1, "{}", self.at);
    }

    /// Does something until it succeeds.
    async fn until<T>(&mut self, mut step: impl AsyncFnMut(&DualStore) -> Result<T>) -> T {
        for _ in 0..8 {
            match step(&self.process.as_ref().expect("it has begun").dual).await {
                Ok(answer) => return answer,
                Err(_) => self.recover().await,
            }
        }
        panic!("{}: it never succeeds", self.at);
    }

    fn take(&mut self, claimed: Vec<JobState>) {
        for state in claimed {
            *self.worked.entry(state.chunk).or_default() += 1;
            assert!(!self.finished.contains(&state.chunk), "{}: {} comes again", self.at, state.chunk);
            self.held.push(state.claim());
        }
    }

    async fn claim(&mut self, count: usize) {
        let claimed = self.until(async |dual| dual.claim_pending_batch(JOB, count).await).await;
        self.take(claimed);
    }

    async fn complete(&mut self, count: usize) {
        for _ in 0..count {
            let Some(claim) = self.held.pop() else { return };
            let output = Json::new(&claim.chunk).expect("a number is JSON");
            let process = self.processes;
            loop {
                let result = Completion::new().output(output.clone());
                match self.dual().complete(&claim, result).await {
                    Ok(_) => {
                        self.finished.insert(claim.chunk);
                        break;
                    }
                    Err(_) => self.recover().await,
                }
                if self.processes > process {
                    // The worker ended with its process; another one takes the chunk, if that was not written.
                    return;
                }
            }
        }
    }

    async fn catch_up(&mut self) {
        self.until(async |dual| dual.catch_up().await).await;
    }

    /// Work, and the store moves there and back and there meanwhile.
    async fn play(&mut self) {
        self.begin().await;
        let new = || (0..CHUNKS).map(|id| Ok(NewChunk::new(id).depends_on(id.checked_sub(4))));
        self.until(async |dual| dual.import(JOB, &JobSpec::new(), chunks(new()), &Default::default()).await)
            .await;
        self.claim(3).await;
        self.complete(1).await;
        self.catch_up().await;
        self.claim(2).await;
        self.until(async |dual| dual.compare().await).await;
        self.complete(1).await;
        self.until(async |dual| dual.cut_over().await).await;
        self.complete(2).await;
        self.claim(2).await;
        self.until(async |dual| dual.roll_back().await).await;
        self.complete(1).await;
        self.claim(1).await;
        self.until(async |dual| dual.cut_over().await).await;
        while !self.dual().get_stats(JOB).await.expect("the job is there").is_complete() {
            self.claim(2).await;
            self.complete(4).await;
        }
        self.catch_up().await;
        let compared = self.until(async |dual| dual.compare().await).await;
        assert!(compared.is_equal(), "{}: {compared:#?}", self.at);
        self.must_be_equal().await;
        self.until(async |dual| dual.detach().await).await;
        self.must_be_whole().await;
    }

    async fn must_be_equal(&self) {
        let mut digests = Vec::new();
        for handle in &self.process.as_ref().expect("it has begun").handles {
            handle.store.verify().await.unwrap_or_else(|e| panic!("{}: {e}", self.at));
            digests.push(handle.shared.read(super::check::digest).await.expect("it can be read"));
        }
        assert_eq!(digests[0], digests[1], "{}", self.at);
    }

    /// Every chunk was worked on once and is done, and whoever asks the old store is told where to go.
    async fn must_be_whole(&self) {
        let counted = self.dual().get_stats(JOB).await.expect("the job is there");
        assert_eq!((counted.done, counted.total_chunks), (CHUNKS, CHUNKS), "{}", self.at);
        for chunk in 0..CHUNKS {
            let times = self.worked.get(&chunk).copied().unwrap_or_default();
            // Whoever ends with the process has worked for nothing, and another one begins anew.
            assert!(times == 1 || times == 2 && self.processes > 1, "{}: chunk {chunk}, {times}", self.at);
            let state =
                self.dual().get_chunk(JOB, chunk).await.expect("it can be read").expect("it is there");
            assert_eq!(state.output.map(|output| output.as_str().to_owned()), Some(chunk.to_string()));
            assert_eq!(state.attempts, 0, "{}: chunk {chunk}", self.at);
            assert!(state.losses < u32::from(self.processes), "{}: chunk {chunk}", self.at);
        }
        let Roles::Settled { authority: MoveSide::Second, detached: true } = self.dual().inner.roles() else {
            panic!("{}: {:?}", self.at, self.dual().inner.roles());
        };
        let old = &self.process.as_ref().expect("it has begun").handles[0].store;
        let error = old.claim_pending(JOB).await.expect_err("it was moved");
        assert_eq!(error.kind(), ErrorKind::Moved, "{}: {error}", self.at);
        self.exactly_one().await;
    }
}

/// How many commits a move without any fault takes on each side.
async fn count(make: &dyn Fn() -> [Box<dyn Backend>; 2]) -> [usize; 2] {
    let world = World::new(make());
    run(&world, "no fault").await;
    [0, 1].map(|side| world.plans[side].commits.load(Ordering::SeqCst))
}

async fn run(world: &World, at: &str) {
    let mut player = Player {
        world,
        process: None,
        held: Vec::new(),
        worked: BTreeMap::new(),
        finished: BTreeSet::new(),
        processes: 0,
        at: at.to_owned(),
    };
    player.play().await;
}

/// A fault at every commit of either side.
fn every_fault(what: &str, make: &dyn Fn() -> [Box<dyn Backend>; 2]) {
    block_on(async {
        let commits = count(make).await;
        let mut rounds = 0;
        for (side, &count) in commits.iter().enumerate() {
            for when in 0..count {
                for fault in Fault::ALL {
                    let at = format!("{what}: {fault:?} at commit {when} of side {side}");
                    let world = World::new(make());
                    *world.plans[side].fault.lock().unwrap() = Some((when, fault));
                    run(&world, &at).await;
                    rounds += 1;
                }
            }
        }
        println!("{what}: {rounds} faults, commits {commits:?}");
        assert!(rounds > 100, "{rounds}");
    });
}

fn redb() -> Box<dyn Backend> {
    static MADE: AtomicUsize = AtomicUsize::new(1);
    let mut id = [0; 16];
    id[..8].copy_from_slice(&MADE.fetch_add(1, Ordering::SeqCst).to_le_bytes());
    Box::new(RedbBackend::in_memory(Options::new(id)).expect("memory is there"))
}

fn sqlite() -> Box<dyn Backend> {
    Box::new(sqlite::in_memory().expect("memory is there"))
}

#[test]
fn no_error_and_no_crash_at_any_write_breaks_a_move_from_sqlite_to_redb() {
    every_fault("sqlite to redb", &|| [sqlite(), redb()]);
}

#[test]
fn no_error_and_no_crash_at_any_write_breaks_a_move_from_redb_to_sqlite() {
    every_fault("redb to sqlite", &|| [redb(), sqlite()]);
}

#[test]
fn a_copy_that_differs_is_named_and_never_worked_with() {
    block_on(async {
        let world = World::new([sqlite(), redb()]);
        let (dual, handles) = world.start(OwnerId::from_bytes([1; 16])).await;
        let dual = dual.expect("a new pair");
        let new = (0..CHUNKS).map(|id| Ok(NewChunk::new(id)));
        dual.import(JOB, &JobSpec::new(), chunks(new), &Default::default()).await.expect("an import");
        dual.catch_up().await.expect("the copy gets on");
        world.plans[1].is_lying.store(true, Ordering::SeqCst);
        let claim = dual.claim_pending(JOB).await.expect("it works").expect("all are ready").claim();
        let output = Json::new(&claim.chunk).expect("a number is JSON");
        dual.complete(&claim, Completion::new().output(output)).await.expect("it is done");

        let compared = dual.compare().await.expect("they can be compared");
        let [only] = &compared.mismatches[..] else { panic!("{compared:#?}") };
        assert_eq!((only.job_id, only.chunk, &only.what[..]), (JOB, Some(claim.chunk), &["output"][..]));
        assert_eq!((compared.mismatch_count, compared.chunks), (1, CHUNKS));
        let error = dual.cut_over().await.expect_err("they differ");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(&format!("chunk {}: output", claim.chunk)), "{error}");
        // Work goes on where it was, and only there.
        assert_eq!(dual.status().authority, Some(MoveSide::First));
        assert!(dual.claim_pending(JOB).await.expect("it works").is_some());
        let error = handles[1].store.claim_pending(JOB).await.expect_err("it is a copy");
        assert_eq!(error.kind(), ErrorKind::Shadow);
    });
}

#[test]
fn a_job_that_differs_in_the_copy_is_named_and_never_worked_with() {
    block_on(async {
        let world = World::new([redb(), sqlite()]);
        let (dual, _handles) = world.start(OwnerId::from_bytes([1; 16])).await;
        let dual = dual.expect("a new pair");
        world.plans[1].is_lying.store(true, Ordering::SeqCst);
        let job = dual.new_job(&JobSpec::new().name("nightly")).await.expect("a job");

        let compared = dual.compare().await.expect("they can be compared");
        let [only] = &compared.mismatches[..] else { panic!("{compared:#?}") };
        assert_eq!((only.job_id, only.chunk, &only.what[..]), (job, None, &["settings"][..]));
        assert_eq!((compared.mismatch_count, compared.moving), (1, 0));
        let error = dual.cut_over().await.expect_err("they differ");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(dual.status().authority, Some(MoveSide::First));
    });
}

/// As where a change of the authority was given up half-way, or another process has made one.
#[test]
fn whatever_a_pair_is_asked_it_finds_out_first_who_executes() {
    let world = World::new([redb(), redb()]);
    let (dual, handles) = imported(&world);
    dual.inner.forget_roles();
    block_on(dual.catch_up()).expect("the copy gets on");
    dual.inner.forget_roles();
    assert!(block_on(dual.compare()).expect("they can be compared").is_equal());
    dual.inner.forget_roles();
    let of_first = block_on(handles[0].shared.read(super::check::digest)).expect("it can be read");
    assert_eq!(block_on(dual.digest()).expect("it can be read"), of_first);
}

/// Two who copy read the same page, in which a job went and came back, and hand it over for one commit.
#[test]
fn a_page_that_is_taken_over_twice_in_one_commit_leaves_what_it_says() {
    for backends in [[redb(), redb()], [redb(), sqlite()]] {
        block_on(async {
            let world = World::new(backends);
            let (dual, _handles) = world.start(OwnerId::from_bytes([1; 16])).await;
            let dual = dual.expect("a new pair");
            let import = async || {
                let new = (0..CHUNKS).map(|id| Ok(NewChunk::new(id).depends_on(0..id)));
                dual.import(JOB, &JobSpec::new(), chunks(new), &Default::default()).await.expect("an import");
            };
            import().await;
            // The first chunk has a history, and the one that comes back has none.
            let claim = dual.claim_pending(JOB).await.expect("it works").expect("one is ready").claim();
            dual.complete(&claim, Completion::new()).await.expect("it is done");
            dual.catch_up().await.expect("the copy gets on");
            dual.delete_job(JOB).await.expect("it goes");
            import().await;

            let [from, to] = &dual.inner.sides;
            let copied = to.standing().await.expect("it can be read").expect("it is a copy").copied;
            let page = from.read(move |load| engine::changes_page(load, copied, Invisible::Wait)).await;
            let page = page.expect("it can be read");
            let before = world.plans[1].commits.load(Ordering::SeqCst);
            let taken = futures_util::future::join(to.take(page.clone()), to.take(page)).await;
            let outcomes = [taken.0.expect("it follows"), taken.1.expect("it follows")];
            assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Changed).count(), 1);
            // What the first one removed and what the second one put down went as one.
            assert!(world.plans[1].commits.load(Ordering::SeqCst) - before <= 2);

            let compared = dual.compare().await.expect("they can be compared");
            assert!(compared.is_equal(), "{compared:#?}");
            dual.verify().await.expect("nothing is damaged");
        });
    }
}

#[test]
fn records_of_a_store_that_is_not_followed_are_refused() {
    let (world, other) = (World::new([redb(), redb()]), World::new([redb(), redb()]));
    let (dual, _handles) = imported(&world);
    let (stranger, _strangers) = imported(&other);
    block_on(dual.catch_up()).expect("the copy gets on");
    let [from, to] = &dual.inner.sides;
    let copied = block_on(to.standing()).expect("it can be read").expect("it is a copy").copied;
    block_on(stranger.claim_pending(JOB)).expect("it works").expect("all are ready");
    block_on(dual.claim_pending(JOB)).expect("it works").expect("all are ready");
    let page = |of: &Side| {
        block_on(of.read(move |load| engine::changes_page(load, copied, Invisible::Wait)))
            .expect("it can be read")
    };
    let error = block_on(to.take(page(&stranger.inner.sides[0]))).expect_err("it is another store's");
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(block_on(to.take(page(from))).expect("it follows"), Outcome::Changed);
}

/// The one that executes goes last, so that there is somebody to finish what was begun.
#[test]
fn a_pair_whose_taking_apart_failed_half_way_is_taken_apart_all_the_same() {
    for fault in [Fault::Full, Fault::CrashBefore] {
        let world = World::new([redb(), redb()]);
        let (dual, handles) = imported(&world);
        block_on(dual.catch_up()).expect("the copy gets on");
        let plan = &world.plans[0];
        *plan.fault.lock().unwrap() = Some((plan.commits.load(Ordering::SeqCst), fault));
        block_on(dual.detach()).expect_err("the disk is full, or gone");
        let (dual, _handles) = if fault.is_crash() {
            drop((dual, handles));
            plan.is_dead.store(false, Ordering::SeqCst);
            let (dual, handles) = block_on(world.start(OwnerId::from_bytes([2; 16])));
            (dual.expect("one of them works by itself"), handles)
        } else {
            (dual, handles)
        };
        assert_eq!(dual.status().phase, MovePhase::Detached, "{fault:?}");
        block_on(dual.detach()).expect("nothing is left to do");
        block_on(dual.claim_pending(JOB)).expect("it works by itself").expect("one is ready");
        assert_eq!(block_on(dual.consumers()).expect("a list"), [], "nobody follows it");
        assert_eq!(block_on(dual.cut_over()).expect_err("it is no pair").kind(), ErrorKind::Refused);
    }
}

/// The copying thread tells the authority how far it is, and that fails: calls that wait there are in the gate.
#[test]
fn a_failure_of_the_copying_thread_at_the_authority_leaves_nobody_waiting() {
    let world = World::new([redb(), redb()]);
    let (dual, handles) = imported(&world);

    let plan = &world.plans[0];
    *plan.fault.lock().unwrap() = Some((plan.commits.load(Ordering::SeqCst), Fault::Before));
    let arrived = plan.at_the_door.load(Ordering::SeqCst);
    let door = plan.door.lock().unwrap();
    let (name, what) = (engine::follower_name(&dual.inner.sides[1].id), Consumer::Advance(1));
    let told = handles[0].shared.core.submit(Op::Consumer { name, what });
    while plan.at_the_door.load(Ordering::SeqCst) == arrived {
        std::hint::spin_loop();
    }
    let mut claiming = dual.claim_pending(JOB);
    let mut context = Context::from_waker(Waker::noop());
    assert!(claiming.as_mut().poll(&mut context).is_pending(), "the commit before it is under way");
    drop(door);
    let Err(error) = block_on(told) else { panic!("the disk failed") };
    super::thread::report(&dual.inner, &error);
    let claimed = block_on(claiming).expect("it was kept, and goes on");
    assert_eq!(claimed.expect("all are ready").chunk, 0);
}

/// The first store by itself, with a job of which one chunk is held.
fn one_held(world: &World) -> (Handle, Claim) {
    let handle = world.open(0, OwnerId::from_bytes([1; 16]));
    let new = (0..CHUNKS).map(|id| Ok(NewChunk::new(id)));
    block_on(handle.store.import(JOB, &JobSpec::new(), chunks(new), &Default::default())).expect("an import");
    let held = block_on(handle.store.claim_pending(JOB)).expect("it works").expect("all are ready");
    (handle, held.claim())
}

/// A store's own work fails while callers wait for their turn: there is nobody else to tell.
#[test]
fn callers_that_wait_are_told_of_a_failure_that_nobody_else_is_told_of() {
    let world = World::new([redb(), redb()]);
    let (handle, held) = one_held(&world);
    let store = Arc::clone(&handle.store);
    let plan = &world.plans[0];
    *plan.fault.lock().unwrap() = Some((plan.commits.load(Ordering::SeqCst), Fault::Before));
    let core = &handle.shared.core;
    let arrived = plan.at_the_door.load(Ordering::SeqCst);
    let door = plan.door.lock().unwrap();
    core.submit_unheard(Op::Release { claim: held, delay_ms: 0 });
    while plan.at_the_door.load(Ordering::SeqCst) == arrived {
        std::hint::spin_loop();
    }
    let waiting = core.submit(Op::Release { claim: held, delay_ms: 0 });
    drop(door);
    let Err(error) = block_on(waiting) else { panic!("it was not refused") };
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Poisoned, Retry::AfterReopen));

    block_on(store.reopen()).expect("the disk is well again");
    block_on(store.release(&held)).expect("it goes on");
    assert_eq!(block_on(store.claim_pending_batch(JOB, 100)).expect("it works").len() as u64, CHUNKS);
}

/// To give it back fails at first, and there is nobody who would try it again.
#[test]
fn a_claim_that_nobody_was_there_to_take_is_given_back_though_that_fails_at_first() {
    for (fault, is_on_hold) in [(Fault::Full, false), (Fault::Before, false), (Fault::Before, true)] {
        let world = World::new([redb(), redb()]);
        let (handle, held) = one_held(&world);
        let store = Arc::clone(&handle.store);
        let plan = &world.plans[0];
        *plan.fault.lock().unwrap() = Some((plan.commits.load(Ordering::SeqCst), fault));
        if is_on_hold {
            block_on(store.new_job(&JobSpec::new())).expect_err("the disk failed");
        }
        let core = &handle.shared.core;
        core.submit_unheard(Op::Release { claim: held, delay_ms: 0 });
        // Whatever was handed in before has been answered after this, and may have failed with it.
        drop(block_on(core.submit(Op::Settle)));
        if fault != Fault::Full {
            block_on(store.reopen()).expect("the disk is well again");
        }
        let ready = block_on(store.claim_pending_batch(JOB, 100)).expect("it works");
        assert_eq!(ready.len() as u64, CHUNKS, "{fault:?} {is_on_hold}");
    }
}

/// Each would else close what the one before it had just opened.
#[test]
fn a_store_over_whose_error_many_come_is_opened_anew_once() {
    let world = World::new([redb(), redb()]);
    let side = block_on(Side::of(world.open(0, OwnerId::from_bytes([1; 16])))).expect("it can be read");
    let plan = &world.plans[0];
    block_on(side.reopen()).expect("all is well");
    assert_eq!(plan.reopened.load(Ordering::SeqCst), 0, "what is well was opened anew");

    *plan.fault.lock().unwrap() = Some((plan.commits.load(Ordering::SeqCst), Fault::Before));
    let lost = block_on(side.store.new_job(&JobSpec::new())).expect_err("the disk failed");
    assert_eq!(lost.retry(), Retry::AfterReopen);
    let door = plan.door.lock().unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut all: Vec<_> = (0..8).map(|_| Box::pin(side.reopen())).collect();
    for one in &mut all {
        assert!(one.as_mut().poll(&mut context).is_pending(), "it waits at the door, or for whoever does");
    }
    drop(door);
    for one in all {
        block_on(one).expect("the disk is well again");
    }
    assert_eq!(plan.reopened.load(Ordering::SeqCst), 1);
    block_on(side.store.new_job(&JobSpec::new())).expect("it goes on");
}

/// The claim is committed and its caller gone; to give it back is behind the retirement in the store's queue.
#[test]
fn a_claim_whose_caller_went_while_the_authority_changed_is_given_back_in_the_other_store() {
    let world = World::new([redb(), redb()]);
    let (dual, handles) = imported(&world);

    let plan = &world.plans[0];
    let arrived = plan.at_the_door.load(Ordering::SeqCst);
    let door = plan.door.lock().unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut claiming = dual.claim_pending(JOB);
    assert!(claiming.as_mut().poll(&mut context).is_pending());
    while plan.at_the_door.load(Ordering::SeqCst) == arrived {
        std::hint::spin_loop();
    }
    drop(claiming);
    let core = &handles[0].shared.core;
    let mut moving = Box::pin(dual.cut_over());
    while core.waiting() == 0 {
        assert!(moving.as_mut().poll(&mut context).is_pending());
    }
    drop(door);
    block_on(moving).expect("nothing stands in the way");
    // Whatever was in the old store's queue has been answered after this.
    block_on(core.submit(Op::Settle)).expect("there is nothing to do");
    assert_eq!(block_on(dual.claim_pending_batch(JOB, 100)).expect("it works").len() as u64, CHUNKS);
}

/// One is inside and waits for a reopening, and one waits for it to come out; the one who was told of the failure has
/// to be told again, or nobody is left to reopen anything.
#[test]
fn a_caller_whose_reopening_failed_is_told_again_and_does_not_wait_for_those_who_wait_for_it() {
    let world = World::new([redb(), redb()]);
    let (dual, _handles) = imported(&world);

    let plan = &world.plans[0];
    *plan.fault.lock().unwrap() = Some((plan.commits.load(Ordering::SeqCst), Fault::Before));
    let arrived = plan.at_the_door.load(Ordering::SeqCst);
    let door = plan.door.lock().unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut told = dual.claim_pending(JOB);
    assert!(told.as_mut().poll(&mut context).is_pending());
    while plan.at_the_door.load(Ordering::SeqCst) == arrived {
        std::hint::spin_loop();
    }
    let mut inside = dual.claim_pending(JOB);
    assert!(inside.as_mut().poll(&mut context).is_pending(), "the commit before it is under way");
    drop(door);
    assert_eq!(block_on(told).expect_err("the disk failed").retry(), Retry::AfterReopen);
    let mut shutting = Box::pin(dual.inner.gate.shut());
    assert!(shutting.as_mut().poll(&mut context).is_pending(), "one is inside");

    let mut again = dual.claim_pending(JOB);
    let Poll::Ready(refused) = again.as_mut().poll(&mut context) else { panic!("it waits in vain") };
    assert_eq!(refused.expect_err("nothing was reopened").kind(), ErrorKind::Poisoned);
    drop(again);
    let mut reopening = dual.reopen();
    while reopening.as_mut().poll(&mut context).is_pending() && dual.inner.sides[0].shared.core.is_on_hold() {
    }
    assert!(block_on(inside).expect("it was kept, and goes on").is_some());
    drop(block_on(shutting).expect("nobody closes the pair"));
    block_on(reopening).expect("the disk is well");
}
