//! A fleet of processes on one SQLite file, some of which are killed: every chunk is done, and done once.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use magnetar::{
    Backoff, ClaimRequest, Completion, ImportOptions, JobSpec, JobStore, Json, NewChunk, block_on, chunks,
    limits,
};

use crate::child::{Running, say, told};
use crate::seed::{rounds, seed};

const JOB: i64 = 9;

#[test]
#[ignore = "a child process of the test here: one of the fleet"]
fn member() {
    let Some(told) = told() else { return };
    let [path, notes, workers, seed] = &told[..] else { panic!("told {told:?}") };
    let workers: u64 = workers.parse().expect("a number");
    let seed: u64 = seed.parse().expect("a seed");
    let store = block_on(magnetar::open(path)).expect("the file opens");
    std::thread::scope(|scope| {
        for worker in 0..workers {
            let store: &dyn JobStore = &*store;
            scope.spawn(move || work(store, notes, &mut fastrand::Rng::with_seed(seed ^ worker)));
        }
    });
}

/// Works until nothing is ready. Any error ends the process: a busy database is nobody's business but the store's.
fn work(store: &dyn JobStore, notes: &str, rng: &mut fastrand::Rng) {
    let mut notes: File = OpenOptions::new().create(true).append(true).open(notes).expect("the notes open");
    let mut claimed = Vec::new();
    loop {
        let request = ClaimRequest::new().job(JOB).count(rng.usize(1..4));
        let Some(chunk) = claimed.pop() else {
            claimed = block_on(store.claim(&request)).expect("a claim");
            if claimed.is_empty() {
                return;
            }
            continue;
        };
        let result = Completion::new().output(Json::new(&chunk.fence).expect("a number"));
        if claimed.is_empty() && rng.bool() {
            claimed =
                block_on(store.complete_and_claim(&chunk.claim(), result, &request)).expect("a completion");
        } else {
            block_on(store.complete(&chunk.claim(), result)).expect("a completion");
        }
        // One write: whole in the file, or not there.
        notes.write_all(format!("{JOB} {} {}\n", chunk.chunk, chunk.fence).as_bytes()).expect("a note");
        say("done");
        if claimed.is_empty() && rng.u8(..4) == 0 {
            // Sometimes looks before it goes on.
            block_on(store.get_stats(JOB)).expect("the counters");
        }
    }
}

/// A member under way: its process, which any thread may kill, and the thread that hears what it says.
struct Member {
    child: Arc<Mutex<Option<u32>>>,
    hearing: std::thread::JoinHandle<(bool, String)>,
}

fn start(folder: &Path, number: usize, workers: usize, seed: u64, said: &Sender<usize>) -> Member {
    let notes = folder.join(format!("notes-{number}"));
    let path = folder.join("jobs.db");
    let told = [
        path.to_str().expect("a path in text").to_owned(),
        notes.to_str().expect("a path in text").to_owned(),
        workers.to_string(),
        seed.to_string(),
    ];
    let mut running = Running::start("fleet::member", &told.each_ref().map(String::as_str));
    let child = Arc::new(Mutex::new(Some(running.id())));
    let (alive, said) = (Arc::clone(&child), said.clone());
    let hearing = std::thread::spawn(move || {
        while running.next().is_some() {
            // The parent may have heard enough.
            let _ = said.send(number);
        }
        // From here on the id may be another process's.
        *alive.lock().expect("no panic under it") = None;
        running.wait()
    });
    Member { child, hearing }
}

impl Member {
    /// kill -9; says whether it was still alive.
    fn kill(&self) -> bool {
        let child = self.child.lock().expect("no panic under it");
        let Some(id) = *child else { return false };
        std::process::Command::new("kill")
            .args(["-9", &id.to_string()])
            .status()
            .is_ok_and(|status| status.success())
    }
}

#[test]
fn a_fleet_with_kills_does_every_chunk_once() {
    let mut rng = fastrand::Rng::with_seed(seed("fleet"));
    let (processes, workers) = (rounds(4, 8), rounds(2, 4));
    let (count, kills) = (rounds(2_000, 20_000), rounds(2, 10));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = block_on(magnetar::open(folder.path().join("jobs.db"))).expect("a new file");
    let backoff = Backoff::NONE;
    let spec = JobSpec::new().losses_max(0).lease_ms(3_600_000).backoff(backoff);
    let new = (0..count as u64).map(|id| Ok(NewChunk::new(id)));
    block_on(store.import(JOB, &spec, chunks(new), &ImportOptions::new())).expect("an import");

    let (said, heard) = channel();
    let mut members: Vec<Member> =
        (0..processes).map(|number| start(folder.path(), number, workers, rng.u64(..), &said)).collect();
    // Spread over the first three quarters of the work.
    let mut at: Vec<usize> = (0..kills).map(|_| rng.usize(count / 20..count * 3 / 4)).collect();
    at.sort_unstable_by(|a, b| b.cmp(a));
    let (mut done, mut killed, mut alive) = (0, 0, (0..processes).collect::<Vec<_>>());
    while let Some(next) = at.last() {
        if done < *next {
            heard.recv().expect("the fleet works");
            done += 1;
            continue;
        }
        at.pop();
        let victim = alive.swap_remove(rng.usize(..alive.len()));
        killed += usize::from(members[victim].kill());
        alive.push(members.len());
        members.push(start(folder.path(), members.len(), workers, rng.u64(..), &said));
    }
    drop(heard);
    let mut died = 0;
    for (number, member) in members.into_iter().enumerate() {
        let (ended_well, text) = member.hearing.join().expect("it hears until the end");
        assert!(ended_well || text.contains("signal: 9"), "member {number}: {text}");
        died += usize::from(!ended_well);
    }
    assert!(killed > 0 && died <= killed, "{killed} were killed, {died} died");

    // What the last ones to be killed held, this process takes over at once: the leases are an hour.
    let mut notes = BTreeMap::new();
    let mut ours = 0;
    while let Some(chunk) = block_on(store.claim_pending(JOB)).expect("a claim") {
        let result = Completion::new().output(Json::new(&chunk.fence).expect("a number"));
        block_on(store.complete(&chunk.claim(), result)).expect("a completion");
        assert_eq!(notes.insert(chunk.chunk, chunk.fence), None);
        ours += 1;
    }
    let stats = block_on(store.get_stats(JOB)).expect("the counters");
    assert!(stats.is_complete(), "{stats:?}");
    for entry in
        std::fs::read_dir(folder.path()).expect("the folder").map(|entry| entry.expect("an entry").path())
    {
        if !entry.to_string_lossy().contains("notes-") {
            continue;
        }
        for line in std::fs::read_to_string(&entry).expect("notes").lines() {
            let words: Vec<u64> = line.split(' ').map(|word| word.parse().expect("a number")).collect();
            assert_eq!(words.len(), 3, "{line}");
            let before = notes.insert(words[1], words[2]);
            assert_eq!(before, None, "chunk {} was done twice, once with fence {}", words[1], words[2]);
        }
    }
    let mut unnoted = 0;
    for after in (0..count as u64).step_by(limits::PAGE_ROWS_MAX) {
        let page = block_on(store.page_by_status(JOB, None, after.checked_sub(1), limits::PAGE_ROWS_MAX))
            .expect("a page");
        for chunk in page {
            assert_eq!(chunk.output, Some(Json::new(&chunk.fence).expect("a number")), "{chunk:?}");
            match notes.remove(&chunk.chunk) {
                Some(fence) => {
                    assert_eq!(fence, chunk.fence, "another claim than the noted one won: {chunk:?}");
                }
                None => unnoted += 1,
            }
        }
    }
    assert!(notes.is_empty(), "noted and not in the store: {notes:?}");
    // Each worker of a killed process may have been between a durable completion and its note.
    assert!(unnoted <= died * workers, "{unnoted} completions that nobody noted, {died} processes died");
    block_on(store.verify()).expect("a whole store");
    println!(
        "fleet: {count} chunks, {processes} processes x {workers} workers, {died} killed, {unnoted} durable completions \
         that the kill kept from being noted, {ours} taken over at the end; lost 0, done twice 0, busy errors 0"
    );
}
