//! Power loss on SQLite: the file and its WAL as they were after each step, and what a cut leaves of what was not synced.
//!
//! What SQLite itself does between two syncs is its own matter; that the store's rules hold on what it comes to is ours.

use std::fs;
use std::path::{Path, PathBuf};

use magnetar::{Durability, OwnerId, SqliteStore, block_on};

use crate::found::{Allowed, Tally, look, write};
use crate::medium::{Damage, Io, Medium};
use crate::script::{Hand, OWNER, Plan, START_MS, Script, options, play};
use crate::seed::{rounds, seed};

const PAGE: usize = 4_096;
/// What stands in front of the WAL's frames, and of the page in each.
const WAL_HEAD: usize = 32;
const FRAME: usize = 24 + PAGE;
const FILES: [&str; 2] = ["jobs.db-wal", "jobs.db"];
const WAL: usize = 0;
const STEPS: usize = 40;

/// Looks at the files after each step, and says what must have been written to them.
struct Recorder {
    paths: [PathBuf; 2],
    seen: [Vec<u8>; 2],
    durability: Durability,
    /// What was written to which file; syncs are of both.
    log: Vec<(usize, Io)>,
    /// How many steps have written something.
    steps: usize,
}

impl Recorder {
    fn look(&mut self) -> usize {
        let begun = self.log.len();
        // The store's first commit says up to where those that are not synced may go.
        let is_synced = self.durability == Durability::Full || self.steps < 2;
        for file in [WAL, 1] {
            let Ok(bytes) = fs::read(&self.paths[file]) else { continue };
            let pieces = if file == WAL { (WAL_HEAD, FRAME) } else { (PAGE, PAGE) };
            let before = self.log.len();
            if bytes.len() != self.seen[file].len() {
                self.log.push((file, Io::SetLen(bytes.len())));
            }
            let mut at = 0;
            while at < bytes.len() {
                let end = bytes.len().min(at + if at == 0 { pieces.0 } else { pieces.1 });
                if self.seen[file].get(at..end) != Some(&bytes[at..end]) {
                    self.log.push((file, Io::Write { at, bytes: bytes[at..end].to_vec() }));
                }
                at = end;
            }
            self.seen[file] = bytes;
            let is_written = self.log.len() > before;
            // Where a commit is not, the WAL is synced before the file is written to, and then the file.
            if is_written && (is_synced || file != WAL) {
                self.log.push((file, Io::Sync));
            }
        }
        self.steps += usize::from(self.log.len() > begun);
        self.log.len()
    }
}

fn open(path: &Path, owner: OwnerId, now_ms: u64, durability: Durability) -> magnetar::Result<SqliteStore> {
    let options = options(owner, &Hand::at(now_ms)).durability(durability);
    block_on(SqliteStore::open_with(path, &options))
}

fn run(seed: u64, durability: Durability) -> (Script, Vec<(usize, Io)>) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let paths = FILES.map(|name| folder.path().join(name));
    let clock = Hand::at(START_MS);
    let options = options(OWNER, &clock).durability(durability);
    let store = block_on(SqliteStore::open_with(&paths[1], &options)).expect("a new store");
    let mut recorder = Recorder { paths, seen: Default::default(), durability, log: Vec::new(), steps: 0 };
    let script = play(&store, &clock, Plan { seed, steps: STEPS, durability }, || recorder.look());
    (script, recorder.log)
}

/// Cuts the power at changes of a script's log.
fn cuts(seed: u64, durability: Durability, per_change: usize, tally: &mut Tally) {
    let (script, log) = run(seed, durability);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut media: [Medium<'_>; 2] = Default::default();
    let created = script.steps[0].until;
    let mut synced = 0;
    for at in 1..=log.len() {
        let (file, io) = &log[at - 1];
        if matches!(io, Io::Sync) {
            media.iter_mut().for_each(|medium| medium.take(io));
            synced = at;
        } else {
            media[*file].take(io);
        }
        if at < created {
            continue;
        }
        let until = |at: usize| script.steps.partition_point(|step| step.until <= at);
        let allowed = Allowed { script: &script, acked: until(at), safe: until(synced) };
        for turn in 0..per_change {
            let damage = Damage::ALL[(at + turn) % Damage::ALL.len()];
            let folder = tempfile::tempdir().expect("a temporary folder");
            for (name, medium) in FILES.iter().zip(&media) {
                fs::write(folder.path().join(name), medium.cut(damage, &mut rng)).expect("a copy");
            }
            tally.images += 1;
            let now_ms = allowed.before().at_ms;
            let path = folder.path().join(FILES[1]);
            let found = look(|| open(&path, OWNER, now_ms, durability), &script);
            match found.and_then(|found| allowed.place(&found, |a, b| a == b)) {
                Ok(place) => tally.count(place),
                Err(fault) => tally.note(fault, &format!("{damage:?} at change {at} of {}", log.len())),
            }
            if let Err(fault) = write(|| open(&path, OWNER, now_ms, durability), &allowed) {
                tally.note(fault, &format!("{damage:?} at change {at} of {}, written to", log.len()));
            }
        }
    }
}

fn all_cuts(who: &str, durability: Durability) -> Tally {
    let seed = seed(who);
    let mut rng = fastrand::Rng::with_seed(seed);
    let wanted = rounds(100, 5_000);
    let mut tally = Tally::default();
    while tally.images < wanted {
        let script_seed = rng.u64(..);
        cuts(script_seed, durability, 1, &mut tally);
        assert_eq!(tally.bad(), 0, "script {script_seed}: {tally:#?}");
    }
    tally.print(who);
    tally
}

#[test]
fn nothing_acknowledged_is_lost_to_a_power_cut_on_sqlite() {
    let tally = all_cuts("power cuts on SQLite", Durability::Full);
    assert!(tally.before > 0 && tally.after > 0, "cuts must fall on both sides of commits: {tally:#?}");
}

#[test]
fn where_commits_are_not_synced_a_power_cut_on_sqlite_leaves_the_store_as_it_was_after_one_of_them() {
    let tally = all_cuts("power cuts on SQLite without syncs", Durability::Relaxed);
    assert!(
        tally.before > 0 && tally.older > 0,
        "some cuts must take something back, and some nothing: {tally:#?}"
    );
}
