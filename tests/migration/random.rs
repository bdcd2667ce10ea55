//! Random operations on the pair: whatever they are, the copy comes to be the same as the authority, in every
//! direction, and back.

use std::sync::Arc;

use magnetar::dual::{DualOptions, DualStore, MoveSide};
use magnetar::{
    Claim, ClaimRequest, Completion, DependencyFailure, ImportOptions, JobSpec, JobStatus, JobStore, Json,
    NewChunk, OnConflict, OnMissing, OpenOptions, OwnerId, RedbStore, ResetReach, Selection, SqliteStore,
    Store, block_on, chunks,
};

use crate::support::{self, Living, ManualClock, export};

const OWNER: OwnerId = OwnerId::from_bytes([7; 16]);
/// The time at which each round begins.
const START_MS: u64 = 1_700_000_000_000;

/// One random call after the other. What is refused is refused: the copy has nothing to do with it.
struct Hand {
    random: fastrand::Rng,
    claims: Vec<Claim>,
    /// A lease was made longer, which the copy is told of only when the authority changes.
    has_beaten: bool,
}

impl Hand {
    fn job(&mut self) -> i64 {
        self.random.i64(1..4)
    }

    fn chunk(&mut self) -> u64 {
        self.random.u64(0..12)
    }

    fn selection(&mut self) -> Selection {
        if self.random.bool() {
            return Selection::All;
        }
        let chunks = (0..self.random.usize(1..4)).map(|_| self.chunk()).collect();
        Selection::Chunks(chunks)
    }

    fn new_chunk(&mut self, id: u64) -> NewChunk {
        let mut chunk = NewChunk::new(id);
        if self.random.bool() {
            chunk = chunk.checksum(format!("sum{}", self.random.u8(0..3)));
        }
        if self.random.u8(0..4) == 0 {
            chunk = chunk.priority(self.random.i32(-1..2));
        }
        if self.random.u8(0..6) == 0 {
            chunk = chunk.not_before_ms(START_MS + self.random.u64(0..400_000));
        }
        let on: Vec<u64> = (0..id).filter(|_| self.random.u8(0..5) == 0).collect();
        chunk.depends_on(on)
    }

    async fn import(&mut self, store: &dyn JobStore) {
        let job = self.job();
        let policy = self.random.choice([
            None,
            Some(DependencyFailure::Wait),
            Some(DependencyFailure::Cancel),
            Some(DependencyFailure::Ignore),
        ]);
        let mut spec = JobSpec::new().attempts_max(2).losses_max(3);
        if let Some(Some(policy)) = policy {
            spec = spec.on_dependency_failure(policy);
        }
        let ids: Vec<u64> = (0..12).filter(|_| self.random.u8(0..3) > 0).collect();
        let new: Vec<NewChunk> = ids
            .iter()
            .map(|&id| {
                let mut chunk = self.new_chunk(id);
                chunk.depends_on.retain(|on| ids.contains(on));
                chunk
            })
            .collect();
        let conflict = self.random.choice([OnConflict::Refuse, OnConflict::Keep, OnConflict::Reset]);
        let missing = self.random.choice([OnMissing::Keep, OnMissing::Cancel, OnMissing::Delete]);
        let options = ImportOptions::new()
            .on_conflict(conflict.expect("there are three"))
            .on_missing(missing.expect("there are three"));
        let _ = store.import(job, &spec, chunks(new.into_iter().map(Ok)), &options).await;
    }

    async fn call(&mut self, store: &dyn JobStore, clock: &ManualClock) {
        let (job, chunk) = (self.job(), self.chunk());
        let claim = (!self.claims.is_empty()).then(|| self.random.usize(0..self.claims.len()));
        match (self.random.u8(0..24), claim) {
            (0..=3, _) => self.import(store).await,
            (4..=8, _) => {
                let request = ClaimRequest::new().job(job).count(self.random.usize(1..4));
                let claimed = store.claim(&request).await.unwrap_or_default();
                self.claims.extend(claimed.iter().map(magnetar::JobState::claim));
            }
            (9..=12, Some(at)) => {
                let claim = self.claims.swap_remove(at);
                let mut result = Completion::new();
                if self.random.bool() {
                    let text = format!("{{\"n\":{}}}", self.random.u8(..));
                    result = result.output(Json::from_text(&text).expect("it is JSON"));
                }
                let _ = store.complete(&claim, result).await;
            }
            (13, Some(at)) => {
                let claim = self.claims.swap_remove(at);
                let _ = store.fail(&claim, "it did not work").await;
            }
            (14, Some(at)) => {
                let claim = self.claims.swap_remove(at);
                let _ = store.release(&claim).await;
            }
            (15, Some(at)) => {
                self.has_beaten = true;
                let _ = store.heartbeat(&self.claims[at]).await;
            }
            (16, _) => clock.advance(self.random.u64(1..90_000)),
            (17, _) => drop(store.retry_failed(job, self.selection()).await),
            (18, _) => {
                let reach = if self.random.bool() { ResetReach::Through } else { ResetReach::Direct };
                let _ = store.reset(job, self.selection(), reach).await;
            }
            (19, _) => drop(store.cancel(job, self.selection()).await),
            (20, _) => {
                let status = self.random.choice(JobStatus::ALL).expect("there are some");
                let _ = store.mark_status(job, chunk, status, None).await;
            }
            (21, _) => {
                let on = vec![self.chunk()];
                let _ = store.add_dependency(job, chunk, on).await;
            }
            (22, _) if self.random.u8(0..3) == 0 => drop(store.delete_job(job).await),
            (23, _) => drop(store.new_job(&JobSpec::new().name("another")).await),
            _ => drop(store.resume_pending(job).await),
        }
    }
}

/// A pair of stores of which the first is to be moved to the second.
struct Pair {
    dual: DualStore,
    sides: [Arc<dyn JobStore>; 2],
}

async fn pair<A: magnetar::Backing, B: magnetar::Backing>(first: Store<A>, second: Store<B>) -> Pair {
    let dual = DualStore::new(&first, &second, &DualOptions::new()).await.expect("they become a pair");
    Pair { dual, sides: [Arc::new(first), Arc::new(second)] }
}

async fn must_be_equal(pair: &Pair, has_beaten: bool, at: &str) {
    pair.dual.catch_up().await.expect("the copy gets on");
    let compared = pair.dual.compare().await.expect("they can be compared");
    assert!(compared.is_equal() && compared.moving == 0, "{at}: {compared:#?}");
    if has_beaten {
        return;
    }
    let [first, second] = [export(&*pair.sides[0]).await, export(&*pair.sides[1]).await];
    assert_eq!(first, second, "{at}");
    pair.dual.verify().await.unwrap_or_else(|e| panic!("{at}: {e}"));
}

async fn play(seed: u64, calls: usize, make: impl AsyncFn(&OpenOptions) -> Pair) {
    let clock = Arc::new(ManualClock::at(START_MS));
    let living: Arc<Living> = Arc::default();
    let options = OpenOptions::new().clock(clock.clone()).liveness(living).owner(OWNER);
    let pair = make(&options).await;
    let mut hand = Hand { random: fastrand::Rng::with_seed(seed), claims: Vec::new(), has_beaten: false };
    for at in 0..calls {
        let at_text = format!("MAGNETAR_SEED={seed} at {at}");
        hand.call(&pair.dual, &clock).await;
        if at % 10 == 9 {
            must_be_equal(&pair, hand.has_beaten, &at_text).await;
        }
        if at % 40 == 39 {
            let to = pair.dual.status().authority.expect("it is settled").other();
            let switched = match to {
                MoveSide::Second => pair.dual.cut_over().await,
                MoveSide::First => pair.dual.roll_back().await,
            };
            switched.unwrap_or_else(|e| panic!("{at_text}: {e}"));
            assert_eq!(pair.dual.status().authority, Some(to), "{at_text}");
            hand.has_beaten = false;
            must_be_equal(&pair, false, &at_text).await;
        }
    }
}

fn redb(options: &OpenOptions) -> RedbStore {
    RedbStore::in_memory_with(options).expect("memory is there")
}

async fn sqlite(options: &OpenOptions) -> SqliteStore {
    SqliteStore::in_memory_with(options).await.expect("memory is there")
}

fn seeds(name: &str) -> std::ops::Range<u64> {
    let one = std::env::var_os("MAGNETAR_SEED").is_some();
    let first = support::seed(name, 1);
    first..first + if one { 1 } else { support::rounds(6, 300) }
}

#[test]
fn random_calls_leave_both_stores_equal_from_sqlite_to_redb() {
    for seed in seeds("sqlite to redb") {
        block_on(play(seed, 200, async |options| pair(sqlite(options).await, redb(options)).await));
    }
}

#[test]
fn random_calls_leave_both_stores_equal_from_redb_to_sqlite() {
    for seed in seeds("redb to sqlite") {
        block_on(play(seed, 200, async |options| pair(redb(options), sqlite(options).await).await));
    }
}

#[test]
fn random_calls_leave_both_stores_equal_from_redb_to_redb() {
    for seed in seeds("redb to redb") {
        block_on(play(seed, 200, async |options| pair(redb(options), redb(options)).await));
    }
}

#[test]
fn random_calls_leave_both_stores_equal_from_sqlite_to_sqlite() {
    for seed in seeds("sqlite to sqlite") {
        block_on(play(seed, 200, async |options| pair(sqlite(options).await, sqlite(options).await).await));
    }
}
