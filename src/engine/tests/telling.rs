//! Random operations on a graph whose dependents are told a few at a time, and on one that tells all at once: in the end
//! they stand alike.

use std::fmt::Write;

use super::*;
use crate::ErrorKind;
use crate::engine::settle::Bounds;

const CHUNKS: u64 = 12;
const STEPS: usize = 60;

/// What is played: the same on two stores, of which the second tells few in one commit.
struct Player {
    rng: fastrand::Rng,
    engines: [Engine; 2],
    readers: [Arc<dyn Reader>; 2],
    chunks: Vec<NewChunk>,
    played: String,
}

/// What is not ignored: a failure that is over before all were told of it is ignored by those alone who were.
fn policy(rng: &mut fastrand::Rng) -> Option<DependencyFailure> {
    use DependencyFailure::{Cancel, Wait};
    *rng.choice(&[None, Some(Wait), Some(Cancel)]).unwrap()
}

fn import(spec: JobSpec, chunks: Vec<NewChunk>) -> Op {
    let options = ImportOptions::new().on_conflict(OnConflict::Reset);
    Op::Import(Import { job: 1, spec, chunks, options, also: Ids::default(), compared: None })
}

fn has_cursors(reader: &dyn Reader) -> bool {
    reader.snapshot().unwrap().load(&Needs::default()).unwrap().meta.cursors > 0
}

/// Carries an operation out, in as many commits as it takes.
fn to_its_end(engine: &mut Engine, op: &Op) -> Result<(), ErrorKind> {
    loop {
        match engine.run(&[op]).applied.remove(0) {
            Ok(Applied::Same) => {}
            ended => return ended.map(drop).map_err(|error| error.kind()),
        }
    }
}

/// A chunk's status, whether what is cancelled can come back by itself, and its dependencies as they count.
type Stands = (JobStatus, bool, Vec<(u64, bool)>);

/// How each chunk stands.
fn rows(reader: &dyn Reader) -> Vec<Stands> {
    let mut load = reader.snapshot().unwrap();
    let need = PageNeed { job: 1, classes: &[], after: None, limit: 100 };
    let rows = page_of(&mut *load, &need).unwrap();
    let edges_of = rows.iter().map(|row| row.key).collect();
    let lists = load.load(&Needs { edges_of, ..Needs::default() }).unwrap().edges_of;
    rows.iter().zip(lists).map(|(row, on)| (row.record.status, row.record.cause.is_some(), on)).collect()
}

/// The same where it makes no difference whether a chunk waits for a failed one or is cancelled because of it: which of
/// the two goes by what came first, a failure or the reset of whoever waits for it.
fn alike(reader: &dyn Reader) -> Vec<String> {
    let row = |(chunk, (status, comes_back, on)): (usize, Stands)| {
        let waits = comes_back || (status == JobStatus::Pending && on.iter().any(|(_, met)| !met));
        let status = if waits { "waits" } else { status.as_str() };
        format!("{chunk} {status} {on:?}")
    };
    rows(reader).into_iter().enumerate().map(row).collect()
}

impl Player {
    fn new(make: &impl Fn() -> Box<dyn Backend>, seed: u64) -> Self {
        let clock = Arc::new(Fixed(AtomicU64::new(1_000_000)));
        let mut rng = fastrand::Rng::with_seed(seed);
        let of_one = rng.usize(1..7);
        let few = Host { bounds: Bounds { of_one, of_all: 2 * of_one + 1 }, ..host(&clock) };
        let (whole, small) = (make(), make());
        let readers = [whole.reader(), small.reader()];
        let engines = [Engine::new(whole, host(&clock)), Engine::new(small, few)];
        // Dependencies lead downward and upward.
        let mut order: Vec<u64> = (0..CHUNKS).collect();
        rng.shuffle(&mut order);
        let mut chunks = Vec::new();
        for (at, &id) in order.iter().enumerate() {
            let one_in = rng.u8(2..5);
            let mut on: Vec<u64> = order[..at].iter().copied().filter(|_| rng.u8(..one_in) == 0).collect();
            on.sort_unstable();
            chunks.push(NewChunk {
                on_dependency_failure: policy(&mut rng),
                ..NewChunk::new(id).depends_on(on)
            });
        }
        chunks.sort_unstable_by_key(|chunk| chunk.id);
        Player { rng, engines, readers, chunks, played: format!("{of_one} in one commit\n") }
    }

    /// An operation, and which chunks it is about.
    fn draw(&mut self) -> (Op, Vec<u64>) {
        let rows = rows(&*self.readers[0]);
        let Player { rng, chunks, .. } = self;
        let chunk = rng.u64(..CHUNKS);
        let all = || (0..CHUNKS).collect();
        let few: Vec<u64> = (0..rng.usize(1..3)).map(|_| rng.u64(..CHUNKS)).collect();
        let bulk = |kind, few: Vec<u64>| (Op::Bulk(Bulk::new(1, kind, Selection::Chunks(few.clone()))), few);
        let mark = |status, detail| (Op::Mark { job: 1, chunk, status, detail }, vec![chunk]);
        match rng.u8(..24) {
            0..=4 => mark(JobStatus::Done, None),
            // Many that are ready, which share what one commit tells.
            5..=7 => {
                let is_ready = |chunk: &u64| {
                    let (status, _, on) = &rows[usize::try_from(*chunk).unwrap()];
                    *status == JobStatus::Pending && on.iter().all(|(_, met)| *met)
                };
                let ready: Vec<u64> = (0..CHUNKS).filter(is_ready).filter(|_| rng.u8(..4) > 0).collect();
                let done = |&chunk| ChunkUpdate::Mark { chunk, status: JobStatus::Done, detail: None };
                (Op::Updates { job: 1, updates: ready.iter().map(done).collect() }, ready)
            }
            8..=9 => mark(JobStatus::Failed, Some("no".into())),
            10 => mark(JobStatus::Pending, None),
            11..=13 => bulk(Kind::Retry, few),
            14..=15 => bulk(Kind::Reset(ResetReach::Direct), few),
            16..=19 => bulk(Kind::Reset(ResetReach::Through), few),
            20 => bulk(Kind::Cancel, vec![chunk]),
            21 => {
                let spec = JobSpec { on_dependency_failure: policy(rng), ..JobSpec::new() };
                (import(spec, Vec::new()), Vec::new())
            }
            22 => (Op::AddDependencies { job: 1, chunk, on: few }, all()),
            _ => {
                let mut new = chunks[usize::try_from(chunk).unwrap()].clone();
                (new.checksum, new.on_dependency_failure) = (Some(rng.u8(..).to_string()), policy(rng));
                (import(JobSpec::new(), vec![new]), all())
            }
        }
    }

    /// Whether these chunks stand alike in both.
    fn are_alike(&self, chunks: &[u64]) -> bool {
        let [whole, small] = self.readers.each_ref().map(|reader| rows(&**reader));
        chunks.iter().map(|&chunk| usize::try_from(chunk).unwrap()).all(|chunk| whole[chunk] == small[chunk])
    }

    fn slice(&mut self) {
        assert!(self.engines[1].run(&[&Op::Settle]).applied.remove(0).is_ok());
        self.played.push_str("a slice\n");
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            if !has_cursors(&*self.readers[1]) {
                return;
            }
            self.slice();
        }
        panic!("it comes to no end after\n{}", self.played);
    }

    fn play(mut self, seed: u64) {
        let spec = JobSpec { on_dependency_failure: policy(&mut self.rng), ..JobSpec::new() };
        let first = import(spec, self.chunks.clone());
        writeln!(self.played, "{first:?}").unwrap();
        for engine in &mut self.engines {
            assert!(engine.run(&[&first]).applied.remove(0).is_ok());
        }
        for _ in 0..STEPS {
            if self.rng.bool() && has_cursors(&*self.readers[1]) {
                self.slice();
            }
            let (op, about) = self.draw();
            if !self.are_alike(&about) {
                self.settle();
                if !self.are_alike(&about) {
                    continue;
                }
            }
            writeln!(self.played, "{op:?}").unwrap();
            let [whole, small] = &mut self.engines;
            let [whole, small] = [whole, small].map(|engine| to_its_end(engine, &op));
            let Player { readers, played, .. } = &self;
            assert_eq!(whole, small, "MAGNETAR_SEED={seed} after\n{played}");
            for reader in readers {
                reader.verify().unwrap();
            }
            if self.rng.u8(..3) == 0 {
                self.settle();
                let [whole, small] = self.readers.each_ref().map(|reader| alike(&**reader));
                must_be_equal("how they stand", &whole, &small, seed, &self.played);
            }
        }
    }
}

/// What is marked done behind a reset through of what it depends on stays done, as if the reset had been told to all.
pub(crate) fn what_is_marked_done_behind_a_reset_stays_done(make: impl Fn() -> Box<dyn Backend>) {
    let clock = Arc::new(Fixed(AtomicU64::new(1_000_000)));
    let mark = |chunk| Op::Mark { job: 1, chunk, status: JobStatus::Done, detail: None };
    let marks = |chunk| {
        let update = ChunkUpdate::Mark { chunk, status: JobStatus::Done, detail: None };
        Op::Updates { job: 1, updates: vec![update] }
    };
    let ends = |op: &Op, of_one: usize| {
        let backend = make();
        let reader = backend.reader();
        let bounds = Bounds { of_one, of_all: of_one };
        let mut engine = Engine::new(backend, Host { bounds, ..host(&clock) });
        // 1 to 3 depend on 0, 4 on 3.
        let on = |id: u64| [None, Some(0), Some(0), Some(0), Some(3)][usize::try_from(id).unwrap()];
        let first = import(JobSpec::new(), (0..5).map(|id| NewChunk::new(id).depends_on(on(id))).collect());
        let reset = Bulk::new(1, Kind::Reset(ResetReach::Through), Selection::Chunks(vec![0]));
        let before = [first].into_iter().chain((0..5).map(mark)).chain([Op::Bulk(reset), mark(0)]);
        before.for_each(|op| to_its_end(&mut engine, &op).unwrap());
        let ended = to_its_end(&mut engine, op);
        to_its_end(&mut engine, &Op::Settle).unwrap();
        reader.verify().unwrap();
        (ended, rows(&*reader).into_iter().map(|(status, _, _)| status).collect::<Vec<_>>())
    };
    for op in [mark(3), marks(3)] {
        use JobStatus::{Done, Pending};
        let few = ends(&op, 1);
        assert_eq!(few, ends(&op, 1_000), "{op:?}");
        assert_eq!(few, (Ok(()), vec![Done, Pending, Pending, Done, Pending]), "{op:?}");
    }
}

/// Plays sequences on new stores of a kind. Set `MAGNETAR_SEED` to what a failed test printed to have that one again.
pub(crate) fn who_is_told_in_small_slices_stands_as_who_is_told_at_once(make: impl Fn() -> Box<dyn Backend>) {
    let given = std::env::var("MAGNETAR_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let first = given.unwrap_or_else(|| fastrand::u64(..1 << 40));
    for seed in first..first + if given.is_some() { 1 } else { 10 } {
        Player::new(&make, seed).play(seed);
    }
}
