//! Random operations in groups, and one by one: what becomes of them is the same.

pub(crate) mod telling;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::records::{Invisible, Part, changes_page, first_page};
use super::settle::Bounds;
use super::{Applied, Bulk, Engine, Host, Ids, Import, ImportSlice, Kind, Op, Reply};
use crate::backends::contract::*;
use crate::clock::Clock;
use crate::limits;
use crate::model::*;
use crate::owners::Alone;
use crate::standing::{Backfill, Step, id_text};

#[derive(Debug)]
struct Fixed(AtomicU64);

impl Clock for Fixed {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

const OWNER: OwnerId = OwnerId::from_bytes([7; 16]);
const CHUNKS: u64 = 9;

fn text(rng: &mut fastrand::Rng) -> Option<Json> {
    let (letter, bytes) =
        (*rng.choice(&["a", "b"]).unwrap(), *rng.choice(&[0, 5, 2_048, 2_049, 5_000]).unwrap());
    (bytes > 0).then(|| Json::trusted(&format!("\"{}\"", letter.repeat(bytes - 2))))
}

struct Calls {
    rng: fastrand::Rng,
    claims: Vec<Claim>,
    seq: u64,
}

impl Calls {
    fn job(&mut self) -> i64 {
        self.rng.i64(1..3)
    }

    fn chunk(&mut self) -> u64 {
        self.rng.u64(..CHUNKS)
    }

    fn policy(&mut self) -> Option<DependencyFailure> {
        use DependencyFailure::{Cancel, Ignore, Wait};
        *self.rng.choice(&[None, None, Some(Wait), Some(Cancel), Some(Ignore)]).unwrap()
    }

    fn import(&mut self) -> Op {
        let job = self.job();
        let mut chunks = Vec::new();
        for id in 0..CHUNKS {
            if self.rng.u8(..3) > 0 {
                continue;
            }
            let mut chunk = NewChunk::new(id);
            chunk.payload = text(&mut self.rng);
            chunk.priority = self.rng.i32(..2);
            chunk.on_dependency_failure = self.policy();
            if self.rng.bool() {
                chunk.depends_on = (0..id).filter(|_| self.rng.u8(..4) == 0).collect();
            }
            chunks.push(chunk);
        }
        let mut spec = JobSpec::new();
        spec.backoff = Some(Backoff { initial_ms: 0, max_ms: 0 });
        spec.on_dependency_failure = self.policy();
        let mut options = ImportOptions::new();
        options.on_conflict =
            *self.rng.choice(&[OnConflict::Refuse, OnConflict::Keep, OnConflict::Reset]).unwrap();
        options.on_missing = *self
            .rng
            .choice(&[OnMissing::Keep, OnMissing::Keep, OnMissing::Cancel, OnMissing::Delete])
            .unwrap();
        Op::Import(Import { job, spec, chunks, options, also: Ids::default(), compared: None })
    }

    fn claim(&mut self) -> Claim {
        let newest = self.claims.len().min(6);
        if newest == 0 {
            return Claim { job_id: self.job(), chunk: self.chunk(), fence: 1 };
        }
        self.claims[self.claims.len() - 1 - self.rng.usize(..newest)]
    }

    fn completion(&mut self) -> Completion {
        let mut result = Completion::new();
        result.output = text(&mut self.rng);
        result
    }

    fn request(&mut self) -> (u64, ClaimRequest) {
        let mut request = ClaimRequest::new().count(self.rng.usize(1..4));
        request.job_id = if self.rng.bool() { Some(self.job()) } else { None };
        // At times the same again.
        if self.rng.u8(..4) > 0 {
            self.seq += 1;
        }
        (self.seq, request)
    }

    fn selection(&mut self) -> Selection {
        if self.rng.u8(..3) == 0 {
            return Selection::All;
        }
        Selection::Chunks((0..self.rng.usize(1..4)).map(|_| self.chunk()).collect())
    }

    fn next(&mut self) -> Op {
        match self.rng.u8(..40) {
            0..=5 => self.import(),
            6 => Op::Bulk(Bulk::delete(self.job())),
            7..=10 => Op::AddDependencies {
                job: self.job(),
                chunk: self.chunk(),
                on: vec![self.chunk(), self.chunk()],
            },
            11..=17 => {
                let (seq, request) = self.request();
                Op::Claim { owner: OWNER, seq, request }
            }
            18..=21 => Op::Complete { claim: self.claim(), result: self.completion() },
            22..=23 => {
                let (seq, request) = self.request();
                Op::CompleteAndClaim {
                    claim: self.claim(),
                    result: self.completion(),
                    owner: OWNER,
                    seq,
                    request,
                }
            }
            24 => Op::Fail { claim: self.claim(), error: "no".into(), failure: Failure::Permanent },
            25 => Op::Fail { claim: self.claim(), error: "no".into(), failure: Failure::Retryable },
            26..=27 => Op::Release { claim: self.claim(), delay_ms: self.rng.u64(..2) * 1_000 },
            28 => Op::Heartbeat { claim: self.claim() },
            29..=32 => {
                let status =
                    *self.rng.choice(&[JobStatus::Done, JobStatus::Failed, JobStatus::Pending]).unwrap();
                Op::Mark { job: self.job(), chunk: self.chunk(), status, detail: None }
            }
            33..=34 => Op::Bulk(Bulk::new(self.job(), Kind::Retry, self.selection())),
            35..=37 => {
                let reach = *self.rng.choice(&[ResetReach::Direct, ResetReach::Through]).unwrap();
                Op::Bulk(Bulk::new(self.job(), Kind::Reset(reach), self.selection()))
            }
            _ => Op::Bulk(Bulk::new(self.job(), Kind::Cancel, self.selection())),
        }
    }
}

fn host(clock: &Arc<Fixed>) -> Host {
    Host {
        clock: clock.clone(),
        liveness: Arc::new(Alone),
        owner: OWNER,
        imports: Default::default(),
        durability: Durability::Full,
        bounds: Bounds::default(),
    }
}

/// Runs a group to its end; gives the answers as texts.
fn run(engine: &mut Engine, ops: &[&Op], claims: &mut Vec<Claim>) -> Vec<String> {
    let ran = engine.run(ops);
    let mut answers = Vec::new();
    for (applied, op) in ran.applied.into_iter().zip(ops) {
        answers.push(match applied {
            Ok(Applied::Reply(reply)) => {
                if let Reply::Claims(states) = &reply {
                    claims.extend(states.iter().map(JobState::claim));
                }
                format!("{reply:?}")
            }
            Ok(Applied::Again(op)) => run(engine, &[&op], claims).remove(0),
            Ok(Applied::Same) => run(engine, &[op], claims).remove(0),
            Err(error) => format!("{:?} {error}", error.kind()),
        });
    }
    answers
}

/// Whoever begins an import and is not there to be told of it has no part in it any more once it is taken back.
pub(crate) fn an_import_that_is_taken_back_is_under_way_no_more(backend: Box<dyn Backend>) {
    let host = host(&Arc::new(Fixed(AtomicU64::new(1_000_000))));
    let mut engine = Engine::new(backend, host.clone());
    let mut slice = |slice| {
        let op = Op::ImportSlice(slice);
        engine.run(&[&op]).applied.remove(0).unwrap()
    };
    let begun = slice(ImportSlice::Begin { job: 1, spec: JobSpec::new() });
    let Applied::Reply(Reply::Importing { job, token }) = begun else { panic!("it is begun") };
    assert!(!host.imports.is_empty());
    assert!(matches!(slice(ImportSlice::Discard { job, token }), Applied::Reply(_)));
    assert!(host.imports.is_empty(), "nobody says any more that it goes on");
}

/// A job whose rows come, or go, in several commits has dependencies on chunks that are not there yet, or no more.
pub(crate) fn a_store_is_whole_between_the_slices_of_an_import_and_of_a_deletion(backend: Box<dyn Backend>) {
    let reader = backend.reader();
    let mut engine = Engine::new(backend, host(&Arc::new(Fixed(AtomicU64::new(1_000_000)))));
    let mut run = |op: &Op| {
        let applied = engine.run(&[op]).applied.remove(0).unwrap();
        reader.verify().unwrap();
        applied
    };
    let begun = run(&Op::ImportSlice(ImportSlice::Begin { job: 1, spec: JobSpec::new() }));
    let Applied::Reply(Reply::Importing { job, token }) = begun else { panic!("it is begun") };
    let last = limits::SLICE_ROWS_MAX as u64 + 1;
    for ids in [0..last, last..last + 1] {
        let chunks = ids.map(|id| NewChunk::new(id).depends_on((id == 0).then_some(last))).collect();
        run(&Op::ImportSlice(ImportSlice::Rows { job, token, chunks }));
    }
    run(&Op::ImportSlice(ImportSlice::Publish { job, token }));
    let chunk = NewChunk::new(last + 1).depends_on([1]);
    let (chunks, options) = (vec![chunk], ImportOptions::new());
    let (spec, also, compared) = (JobSpec::new(), Ids::default(), None);
    run(&Op::Import(Import { job, spec, chunks, options, also, compared }));
    let mut applied = run(&Op::Bulk(Bulk::delete(job)));
    let mut slices = 1;
    while let Applied::Again(op) = applied {
        applied = run(&op);
        slices += 1;
    }
    assert!(slices > 1 && matches!(applied, Applied::Reply(_)));
}

/// Pages come in the order of the ids, or of what changed: what a chunk depends on may be in a later one.
pub(crate) fn a_copy_is_whole_between_its_pages(make: impl Fn() -> Box<dyn Backend>) {
    let clock = Arc::new(Fixed(AtomicU64::new(1_000_000)));
    let backends = [make(), make()];
    let [from, to] = backends.each_ref().map(|backend| backend.reader());
    let [first, second] =
        [&from, &to].map(|reader| id_text(super::meta(&mut *reader.snapshot().unwrap()).unwrap().store_id));
    let [mut source, mut copy] = backends.map(|backend| Engine::new(backend, host(&clock)));
    let last = 2 * limits::RECORDS_PER_PAGE_MAX as u64;
    let chunks = (0..=last).map(|id| NewChunk::new(id).depends_on((id == 0).then_some(last))).collect();
    let (spec, options, also) = (JobSpec::new(), ImportOptions::new(), Ids::default());
    run(
        &mut source,
        &[
            &Op::Import(Import { job: 1, spec, chunks, options, also, compared: None }),
            &Op::Pair(Step::Lead { peer: second, place: "there".into() }),
        ],
        &mut Vec::new(),
    );
    let base = super::meta(&mut *from.snapshot().unwrap()).unwrap().revision;
    let shadow = Op::Pair(Step::Shadow { peer: first, place: "here".into(), base });
    assert!(copy.run(&[&shadow]).applied.remove(0).is_ok());
    let (mut next, mut pages) = (Some(Backfill { base, job: None, chunk: None }), 0);
    while let Some(at) = next {
        let page = first_page(&mut *from.snapshot().unwrap(), at).unwrap();
        let Part::First { next: then, .. } = page.part else { panic!("it is of the first copy") };
        assert!(copy.run(&[&Op::Records(Box::new(page))]).applied.remove(0).is_ok());
        to.verify().unwrap();
        (next, pages) = (then, pages + 1);
    }
    assert!(pages > 1);
}

/// A page is read into memory, and taken over as one commit.
pub(crate) fn pages_of_very_large_chunks_have_few_of_them(make: impl Fn() -> Box<dyn Backend>) {
    const LARGE: u64 = 20;
    let backend = make();
    let reader = backend.reader();
    let mut engine = Engine::new(backend, host(&Arc::new(Fixed(AtomicU64::new(1_000_000)))));
    let base = super::meta(&mut *reader.snapshot().unwrap()).unwrap().revision;
    let payload = Json::trusted(&format!("\"{}\"", "a".repeat(600 << 10)));
    let chunks = (0..LARGE).map(|id| NewChunk::new(id).payload(payload.clone())).collect();
    let (spec, options, also) = (JobSpec::new(), ImportOptions::new(), Ids::default());
    let import = Op::Import(Import { job: 1, spec, chunks, options, also, compared: None });
    run(&mut engine, &[&import], &mut Vec::new());
    let mut load = reader.snapshot().unwrap();
    let (mut at, mut rows) = (Some(Backfill { base, job: None, chunk: None }), 0);
    while let Some(from) = at {
        let page = first_page(&mut *load, from).unwrap();
        assert!(page.rows.len() <= 8, "{}", page.rows.len());
        rows += page.rows.len() as u64;
        let Part::First { next, .. } = page.part else { panic!("it is of the first copy") };
        at = next;
    }
    assert_eq!(rows, LARGE);
    let (mut at, mut rows) = (base, 0);
    loop {
        let page = changes_page(&mut *load, at, Invisible::Wait).unwrap();
        assert!(page.rows.len() <= 8, "{}", page.rows.len());
        rows += page.rows.len() as u64;
        let Part::Changes { covered, .. } = page.part else { panic!("it is of changes") };
        if page.is_empty() {
            break;
        }
        at = covered;
    }
    assert_eq!(rows, LARGE);
}

#[test]
fn a_large_batch_asks_for_few_more_dependents_than_one_commit_tells() {
    for count in [1, 7, 256, limits::BATCH_UPDATES_MAX as u64] {
        let mark = |chunk| ChunkUpdate::Mark { chunk, status: JobStatus::Done, detail: None };
        let mut needs = Needs::default();
        Op::Updates { job: 1, updates: (0..count).map(mark).collect() }.needs(&mut needs);
        let asked: usize = needs.dependents.iter().map(|need| need.limit).sum();
        let most = 64 * (1 + limits::DEPENDENTS_PER_COMMIT_MAX) + 65 * needs.dependents.len();
        assert!(needs.dependents.len() as u64 == count && asked <= most, "{asked} for {count} chunks");
    }
}

/// All there is, as texts.
fn all(reader: &dyn Reader) -> Vec<String> {
    let mut load = reader.snapshot().unwrap();
    let loaded = load
        .load(&Needs {
            jobs_after: Some((None, 9)),
            cursors: Some(CursorsNeed::ALL),
            log: Some((0, 1_000_000)),
            ..Needs::default()
        })
        .unwrap();
    let mut texts =
        vec![format!("{:?}", Meta { store_id: [0; 16], ..loaded.meta }), format!("{:?}", loaded.cursors)];
    for job in &loaded.jobs_after {
        texts.push(format!("{job:?}"));
        let need = PageNeed { job: job.id, classes: &[], after: None, limit: 100 };
        for row in page_of(&mut *load, &need).unwrap() {
            let needs = Needs { edges_of: vec![row.key], ..Needs::default() };
            let edges = load.load(&needs).unwrap().edges_of.remove(0);
            let unmet = edges.iter().filter(|(_, met)| !met).count();
            assert_eq!(unmet, row.unmet as usize, "{:?}", row.key);
            assert!(row.is_whole());
            texts.push(format!("{row:?} {edges:?}"));
        }
    }
    for run in loaded.log {
        for i in 0..run.count {
            texts.push(format!(
                "{} {:?} {} {}",
                run.revision + i,
                run.subject,
                run.key.job,
                run.key.chunk + i
            ));
        }
    }
    texts
}

/// Plays sequences on new stores of a kind. Set `MAGNETAR_SEED` to what a failed test printed to have that one again.
pub(crate) fn groups_do_what_single_operations_do(make: impl Fn() -> Box<dyn Backend>) {
    let given = std::env::var("MAGNETAR_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let first = given.unwrap_or_else(|| fastrand::u64(..1 << 40));
    (first..first + if given.is_some() { 1 } else { 5 }).for_each(|seed| play(&make, seed));
}

/// Plays a sequence of groups on two new stores, on the one as groups and on the other one by one.
fn play(make: impl Fn() -> Box<dyn Backend>, seed: u64) {
    let clock = Arc::new(Fixed(AtomicU64::new(1_000_000)));
    let backends = [make(), make()];
    let readers = backends.each_ref().map(|backend| backend.reader());
    let [mut one, mut other] = backends.map(|backend| Engine::new(backend, host(&clock)));
    let mut calls = Calls { rng: fastrand::Rng::with_seed(seed), claims: Vec::new(), seq: 0 };
    let mut played = String::new();
    for _ in 0..40 {
        clock.0.fetch_add(calls.rng.u64(..700), Ordering::SeqCst);
        for engine in [&mut one, &mut other] {
            run(engine, &[&Op::Reap { probe: false }], &mut Vec::new());
        }
        let ops: Vec<Op> = (0..calls.rng.usize(1..9)).map(|_| calls.next()).collect();
        let ops: Vec<&Op> = ops.iter().collect();
        played.push_str(&short(&format!("{ops:#?}\n")));
        let together = run(&mut one, &ops, &mut Vec::new());
        let single: Vec<String> =
            ops.iter().flat_map(|op| run(&mut other, &[op], &mut calls.claims)).collect();
        must_be_equal("the answers", &together, &single, seed, &played);
        let [left, right] = readers.each_ref().map(|reader| all(&**reader));
        must_be_equal("all there is", &left, &right, seed, &played);
        for reader in &readers {
            reader.verify().unwrap();
        }
    }
}

/// A text without what is long in it.
fn short(text: &str) -> String {
    text.replace(&"a".repeat(2_000), "a..").replace(&"b".repeat(2_000), "b..")
}

fn must_be_equal(what: &str, together: &[String], single: &[String], seed: u64, played: &str) {
    if together == single {
        return;
    }
    let only = |here: &[String], there: &[String]| -> Vec<String> {
        here.iter().filter(|text| !there.contains(text)).map(|text| short(text)).collect()
    };
    let (together, single) = (only(together, single), only(single, together));
    panic!(
        "{what} differs\nin groups: {together:#?}\none by one: {single:#?}\nMAGNETAR_SEED={seed} after\n{played}"
    );
}

#[test]
fn changes_within_a_long_run_are_found_at_once() {
    let (key, count) = (Key { job: 1, chunk: 0 }, limits::ID_MAX);
    let run = LogRun { subject: Subject::Chunk, revision: 1, key, count };
    let since = limits::ID_MAX - 3;
    let (found, covered) = super::records::entries(vec![run], since, 2, limits::ID_MAX);
    let expected = [1, 2].map(|i| (since + i, Subject::Chunk, Key { chunk: since + i - 1, ..key }));
    assert_eq!((found, covered), (expected.to_vec(), since + 2));
}
