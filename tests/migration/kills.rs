//! A process that works and moves its store is killed in every phase, there and back: whoever comes next finds at most
//! one authority, finishes what was begun, and every chunk is done once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use magnetar::dual::{DualOptions, DualStore, MoveSide};
use magnetar::{
    ClaimRequest, Completion, ErrorKind, JobStore, OpenOptions, RedbStore, SqliteStore, block_on,
};

use crate::child::{Running, say, told};
use crate::dag::{self, JOB};
use crate::support;

const WORKERS: usize = 8;

fn count() -> u64 {
    support::rounds(4_000, 20_000)
}

fn open(folder: &Path) -> magnetar::Result<DualStore> {
    let (old, new) = (folder.join("jobs.db"), folder.join("jobs.redb"));
    block_on(DualStore::open(old, new, &OpenOptions::new(), &DualOptions::new()))
}

/// Works in eight threads, and moves the store there and back all the while. Says what it is about to do, and which
/// chunk was acknowledged to be done under which fence.
#[test]
#[ignore = "a child process of the test here: it is killed"]
fn mover() {
    let Some(told) = told() else { return };
    let dual = open(Path::new(&told[0])).expect("whatever was left is finished");
    let authority = dual.status().authority.expect("it is settled");
    say(&format!("opened {authority:?}"));
    let store: Arc<dyn JobStore> = Arc::new(dual.clone());
    let is_over = AtomicBool::new(false);
    let mut told_of = dual.watch_status();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut last = None;
            while let Some(status) = block_on(told_of.next()) {
                if last != Some(status.phase) {
                    say(&format!("phase {:?}", status.phase));
                    last = Some(status.phase);
                }
            }
        });
        let begin = |_| {
            scope.spawn(|| {
                work(&*store);
                is_over.store(true, Ordering::SeqCst);
            })
        };
        let workers: Vec<_> = (0..WORKERS).map(begin).collect();
        while !is_over.load(Ordering::SeqCst) {
            let to = dual.status().authority.expect("it is settled").other();
            say("compare");
            assert!(block_on(dual.compare()).expect("they can be compared").is_equal());
            say("switch");
            match to {
                MoveSide::First => block_on(dual.roll_back()),
                MoveSide::Second => block_on(dual.cut_over()),
            }
            .expect("nothing stands in the way");
            say(&format!("switched {to:?}"));
        }
        // One of them has found everything done; the others have yet to look.
        workers.into_iter().for_each(|worker| worker.join().expect("a worker that works"));
        say("finished");
        block_on(dual.close()).expect("it closes");
    });
}

fn work(store: &dyn JobStore) {
    loop {
        let claimed = block_on(store.claim(&ClaimRequest::new().job(JOB).count(2))).expect("a claim");
        if claimed.is_empty() {
            let stats = block_on(store.get_stats(JOB)).expect("the counters");
            if stats.is_complete() {
                return;
            }
            std::thread::yield_now();
        }
        for state in claimed {
            let result =
                Completion::new().output(dag::output(state.fence)).checksum(format!("sum {}", state.chunk));
            block_on(store.complete(&state.claim(), result)).expect("a completion");
            say(&format!("done {} {}", state.chunk, state.fence));
        }
    }
}

/// How many of the two files say that work is done in them.
fn authorities(folder: &Path) -> Vec<MoveSide> {
    let first = block_on(SqliteStore::open(folder.join("jobs.db"))).expect("it opens");
    let second = RedbStore::open(folder.join("jobs.redb")).expect("it opens");
    let mut found = Vec::new();
    for (side, store) in [(MoveSide::First, &first as &dyn JobStore), (MoveSide::Second, &second)] {
        // Asks for something that there is not: only who works gets so far.
        match block_on(store.delete_job(1_000)) {
            Ok(_) => found.push(side),
            Err(error) => assert!(matches!(error.kind(), ErrorKind::Moved | ErrorKind::Shadow), "{error:?}"),
        }
        block_on(store.close()).expect("it closes");
    }
    found
}

/// What is heard until the child is killed: after so many lines that begin with a word.
struct Heard {
    done: Vec<(u64, u64)>,
    is_finished: bool,
    last: String,
}

fn run(folder: &Path, word: &str, mut after: usize, more: usize, turns: u32) -> Heard {
    let mut child = Running::start("kills::mover", &[folder.to_str().expect("a path in text")]);
    let mut heard = Heard { done: Vec::new(), is_finished: false, last: String::new() };
    let mut left = more;
    let mut is_killed = false;
    while let Some(said) = child.next() {
        let words: Vec<&str> = said.split(' ').collect();
        if let ["done", chunk, fence] = words[..] {
            heard.done.push((chunk.parse().expect("a chunk"), fence.parse().expect("a fence")));
        } else {
            heard.last.clone_from(&said);
        }
        heard.is_finished |= said == "finished";
        if is_killed {
            continue;
        }
        if after > 0 && said.starts_with(word) {
            after -= 1;
        } else if after == 0 {
            left = left.saturating_sub(1);
        }
        if after == 0 && left == 0 {
            // Not always in the moment in which it was said.
            (0..turns).for_each(|_| std::hint::spin_loop());
            child.kill();
            is_killed = true;
        }
    }
    let (well, said) = child.wait();
    assert!(well || is_killed, "{said}");
    heard
}

#[test]
fn a_process_that_is_killed_in_any_phase_leaves_one_authority_and_every_chunk_done_once() {
    let mut random = fastrand::Rng::with_seed(support::seed("kills", fastrand::u64(..)));
    let folder = tempfile::tempdir().expect("a folder");
    {
        let store = block_on(SqliteStore::open(folder.path().join("jobs.db"))).expect("a new file");
        dag::import(&store, count());
        block_on(store.close()).expect("it closes");
    }
    let mut done: BTreeMap<u64, u64> = BTreeMap::new();
    let mut tally: BTreeMap<(String, usize), usize> = BTreeMap::new();
    let kills = support::rounds(16, 200);
    for round in 0..kills {
        let words = [
            "opened",
            "phase Switching",
            "phase Switching",
            "compare",
            "phase Switching",
            "switch",
            "phase Following",
            "switched",
        ];
        let word = words[usize::try_from(round).expect("few") % words.len()];
        let more = if word == "phase Switching" || round == 0 { 0 } else { random.usize(0..6) };
        let heard = run(
            folder.path(),
            word,
            if round == 0 { 1 } else { random.usize(1..3) },
            more,
            random.u32(0..200_000),
        );
        for (chunk, fence) in heard.done {
            let before = done.insert(chunk, fence);
            assert_eq!(
                before, None,
                "round {round}: chunk {chunk} was done before, under {before:?} and {fence}"
            );
        }
        if heard.is_finished {
            break;
        }
        let found = authorities(folder.path());
        assert!(found.len() <= 1, "round {round}: two authorities");
        *tally.entry((heard.last.clone(), found.len())).or_default() += 1;
        let dual = open(folder.path()).expect("whatever was left is finished");
        assert!(dual.status().authority.is_some(), "round {round}");
        let compared = block_on(dual.compare()).expect("they can be compared");
        assert!(compared.is_equal(), "round {round}: {compared:#?}");
        block_on(dual.close()).expect("it closes");
        assert_eq!(authorities(folder.path()).len(), 1, "round {round}");
    }
    for ((phase, found), times) in &tally {
        println!(
            "killed {times} times after \"{phase}\", with {found} authorities until it was opened again"
        );
    }
    // The last one is left alone.
    let heard = run(folder.path(), "never", 1, 0, 0);
    assert!(heard.is_finished);
    done.extend(heard.done);
    let dual = open(folder.path()).expect("it opens");
    let counted = block_on(dual.get_stats(JOB)).expect("the counters");
    assert_eq!((counted.done, counted.total_chunks), (count(), count()));
    block_on(dual.catch_up()).expect("the copy gets on");
    assert!(block_on(dual.compare()).expect("they can be compared").is_equal());
    for (chunk, fence) in done {
        let state = block_on(dual.get_chunk(JOB, chunk)).expect("it can be read").expect("it is there");
        assert_eq!(state.fence, fence, "chunk {chunk} was done by another claim than was acknowledged");
    }
    block_on(dual.close()).expect("it closes");
}
