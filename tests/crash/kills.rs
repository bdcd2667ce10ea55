//! kill -9 at any moment: what the process was told is in the file, and what it held is free again at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use magnetar::{
    ClaimRequest, Completion, Durability, ImportOptions, JobSpec, JobState, JobStatus, JobStore, Json,
    NewChunk, OnMissing, OpenOptions, block_on, chunks, limits,
};

use crate::child::{Running, say, told};
use crate::seed::{rounds, seed};

const JOB: i64 = 5;
const CHUNKS: u64 = 400;

/// What a child has said of a chunk.
#[derive(Debug, Default)]
struct Said {
    /// Fences of claims that it was told of.
    claims: BTreeSet<u64>,
    /// The fence that it completed it with.
    done: Option<u64>,
}

fn open(path: &str, durability: Durability) -> magnetar::Result<Arc<dyn JobStore>> {
    block_on(magnetar::open_with(path, &OpenOptions::new().durability(durability)))
}

/// What the system was given survives a kill, synced or not.
fn any_durability(rng: &mut fastrand::Rng) -> Durability {
    if rng.bool() { Durability::Full } else { Durability::Relaxed }
}

#[test]
#[ignore = "a child process of the tests here, which kill it"]
fn worker() {
    let Some(told) = told() else { return };
    let [path, seed] = &told[..] else { panic!("told {told:?}") };
    let mut rng = fastrand::Rng::with_seed(seed.parse().expect("a seed"));
    let store = open(path, any_durability(&mut rng)).expect("the file opens");
    say("open");
    block_on(async {
        loop {
            let request = ClaimRequest::new().job(JOB).count(rng.usize(1..5));
            let claimed = store.claim(&request).await?;
            if claimed.is_empty() {
                return Ok::<_, magnetar::Error>(());
            }
            for chunk in &claimed {
                say(&format!("claim {} {}", chunk.chunk, chunk.fence));
            }
            for chunk in &claimed {
                let output = Json::new(&chunk.fence)?;
                store.complete(&chunk.claim(), Completion::new().output(output)).await?;
                say(&format!("done {} {}", chunk.chunk, chunk.fence));
            }
        }
    })
    .expect("work goes on until the kill");
}

/// The job anew: all chunks pending, with content that no round before had.
fn import(store: &dyn JobStore, round: usize) {
    let spec = JobSpec::new().losses_max(0).lease_ms(3_600_000);
    let new = (0..CHUNKS).map(|id| Ok(NewChunk::new(id).checksum(format!("{round}"))));
    let options = ImportOptions::new().on_conflict(magnetar::OnConflict::Reset).on_missing(OnMissing::Delete);
    block_on(store.import(JOB, &spec, chunks(new), &options)).expect("the import");
}

/// What a child said until it was killed, after so many lines and a moment.
fn run_and_kill(path: &str, rng: &mut fastrand::Rng) -> (Vec<String>, bool) {
    let mut child = Running::start("kills::worker", &[path, &rng.u64(..).to_string()]);
    let mut said = Vec::new();
    let lines = rng.usize(0..40);
    while said.len() < lines
        && let Some(line) = child.next()
    {
        said.push(line);
    }
    // Up to about a millisecond, so that the kill falls anywhere within a commit.
    for _ in 0..rng.u32(..200_000) {
        std::hint::spin_loop();
    }
    child.kill();
    while let Some(line) = child.next() {
        said.push(line);
    }
    let (ended_well, text) = child.wait();
    assert!(ended_well || text.contains("signal: 9"), "a child failed by itself: {text}");
    let opened = said.first().is_some_and(|line| line == "open");
    (said, opened)
}

fn listen(said: &[String], heard: &mut BTreeMap<u64, Said>, at: &str) {
    for line in said {
        let words: Vec<&str> = line.split(' ').collect();
        let [what, chunk, fence] = words[..] else { continue };
        let (chunk, fence): (u64, u64) = (chunk.parse().expect("a chunk"), fence.parse().expect("a fence"));
        let said = heard.entry(chunk).or_default();
        match what {
            "claim" => {
                assert_eq!(said.done, None, "{at}: chunk {chunk} was done and is claimed again");
                assert!(
                    said.claims.last() < Some(&fence),
                    "{at}: fence {fence} of chunk {chunk} is not a new one"
                );
                said.claims.insert(fence);
            }
            "done" => {
                assert_eq!(
                    said.claims.last(),
                    Some(&fence),
                    "{at}: chunk {chunk} was done under an old claim"
                );
                said.done = Some(fence);
            }
            other => panic!("{at}: the child said {other:?}"),
        }
    }
}

fn all(store: &dyn JobStore) -> Vec<JobState> {
    block_on(store.page_by_status(JOB, None, None, limits::PAGE_ROWS_MAX)).expect("the chunks")
}

/// The rounds of one engine; `recover` puts back what the dead held, where opening alone does not.
fn kill_rounds(who: &str, file: &str, recover: impl Fn(&dyn JobStore)) {
    let mut rng = fastrand::Rng::with_seed(seed(who));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(file);
    let path = path.to_str().expect("a path in text");
    let (mut acked, mut unacked, mut put_back, mut early) = (0, 0, 0, 0);
    let rounds = rounds(20, 1_000);
    let mut heard = BTreeMap::new();
    let mut generation = 0;
    import(&*open(path, Durability::Full).expect("a new file"), generation);
    for round in 0..rounds {
        let at = format!("{who}, round {round}");
        let (said, opened) = run_and_kill(path, &mut rng);
        early += usize::from(!opened);
        listen(&said, &mut heard, &at);
        acked += said.iter().filter(|line| line.starts_with("done")).count();
        let store = open(path, any_durability(&mut rng)).unwrap_or_else(|e| panic!("{at}: {e:?}"));
        block_on(store.verify()).unwrap_or_else(|e| panic!("{at}: {e:?}"));
        recover(&*store);
        let mut left = 0;
        for chunk in all(&*store) {
            let said = heard.entry(chunk.chunk).or_default();
            match chunk.status {
                JobStatus::Done => {
                    // Done under its newest claim, even where the kill was quicker than the answer.
                    assert!(
                        said.claims.iter().all(|&fence| fence <= chunk.fence),
                        "{at}: an old claim won: {chunk:?}"
                    );
                    assert!(
                        said.done.is_none_or(|fence| fence == chunk.fence),
                        "{at}: done twice: {chunk:?}"
                    );
                    assert_eq!(
                        chunk.output,
                        Some(Json::new(&chunk.fence).expect("a number")),
                        "{at}: {chunk:?}"
                    );
                    unacked += usize::from(said.done.is_none());
                    said.done = Some(chunk.fence);
                }
                JobStatus::Pending => {
                    assert_eq!(said.done, None, "{at}: an acknowledged completion is lost: {chunk:?}");
                    assert!(
                        said.claims.len() as u64 <= u64::from(chunk.losses),
                        "{at}: a loss is not counted: {chunk:?}"
                    );
                    left += 1;
                    put_back += usize::from(chunk.losses > 0);
                }
                other => panic!("{at}: a dead worker's chunk is {other}: {chunk:?}"),
            }
        }
        if left < CHUNKS / 4 {
            generation += 1;
            heard.clear();
            import(&*store, generation);
        }
        block_on(store.close()).unwrap_or_else(|e| panic!("{at}: {e:?}"));
    }
    println!(
        "{who}: {rounds} kills ({early} before the file was open), {acked} acknowledged completions, {unacked} durable \
         that the kill kept from being acknowledged, {put_back} chunks seen pending after a loss; lost 0, held twice 0"
    );
    assert!(acked > 0, "a child must get some work done before it is killed");
}

#[cfg(feature = "redb")]
#[test]
fn a_killed_process_loses_nothing_and_holds_nothing_on_redb() {
    kill_rounds("kills on redb", "jobs.redb", |store| {
        let stats = block_on(store.get_stats(JOB)).expect("the job");
        assert_eq!(stats.processing, 0, "opening puts back what the dead held: {stats:?}");
    });
}

#[cfg(feature = "sqlite")]
#[test]
fn a_killed_process_loses_nothing_and_holds_nothing_on_sqlite() {
    kill_rounds("kills on SQLite", "jobs.db", |store| {
        // The lease is an hour: only the proof of death brings them back.
        let count = usize::try_from(CHUNKS).expect("a small number");
        let claimed = block_on(store.claim(&ClaimRequest::new().job(JOB).count(count + 1))).expect("a claim");
        let ours = store.owner();
        assert!(claimed.iter().all(|chunk| chunk.owner == Some(ours)), "claimed for another");
        let others: Vec<JobState> = all(store)
            .into_iter()
            .filter(|chunk| chunk.status == JobStatus::Processing && chunk.owner != Some(ours))
            .collect();
        assert!(others.is_empty(), "the dead still hold {others:?}");
        block_on(store.release_all()).expect("given back");
    });
}
