//! Power loss on redb, at every change of the medium under the real engine.

use std::sync::atomic::{AtomicUsize, Ordering};

use magnetar::{Durability, JobStatus, OwnerId, RedbStore, Result};

use crate::disk::Disk;
use crate::found::{Allowed, Tally, look, write};
use crate::medium::{Damage, Io, Medium};
use crate::script::{Hand, OWNER, Plan, START_MS, Script, options, play};
use crate::seed::{rounds, seed};

/// How the medium and the store keep what they promise; all but the first are controls that must be found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Promise {
    Kept,
    /// The medium says that a sync is done and keeps nothing.
    LyingSync,
    /// The store answers before it commits.
    AckBeforeCommit,
}

/// A script that was run, and what its disk was told.
struct Run {
    script: Script,
    log: Vec<Io>,
}

const STEPS: usize = 40;

fn open(disk: &Disk, owner: OwnerId, now_ms: u64, durability: Durability) -> Result<RedbStore> {
    let disk = disk.clone();
    let options = options(owner, &Hand::at(now_ms)).durability(durability);
    RedbStore::on_storage(move || Ok(disk.clone()), &options)
}

fn run(seed: u64, durability: Durability) -> Run {
    let disk = Disk::default();
    let clock = Hand::at(START_MS);
    let store = {
        let disk = disk.clone();
        let options = options(OWNER, &clock).durability(durability);
        RedbStore::on_storage(move || Ok(disk.clone()), &options).expect("a new store")
    };
    let script = play(&store, &clock, Plan { seed, steps: STEPS, durability }, || disk.clock());
    Run { script, log: disk.log() }
}

/// What may be found after a cut at a change of the log.
fn allowed(run: &Run, at: usize, promise: Promise) -> Allowed<'_> {
    let Run { script, log } = run;
    let acked = script.steps.partition_point(|step| {
        at >= if promise == Promise::AckBeforeCommit { step.from } else { step.until }
    });
    let safe = match script.durability {
        Durability::Relaxed => {
            let synced = log[..at].iter().rposition(|io| matches!(io, Io::Sync));
            let synced = synced.map_or(0, |sync| sync + 1);
            script.steps.partition_point(|step| step.until <= synced)
        }
        _ => acked,
    };
    Allowed { script, acked, safe }
}

/// One cut, the recovery from it, now and then a cut within that recovery, and now and then another client's opening.
fn cut(image: Vec<u8>, allowed: &Allowed<'_>, at: &str, rng: &mut fastrand::Rng, tally: &mut Tally) {
    tally.images += 1;
    let (script, now_ms) = (allowed.script, allowed.before().at_ms);
    let look = |disk: &Disk, owner| look(|| open(disk, owner, now_ms, script.durability), script);
    let disk = Disk::holding(image.clone());
    match look(&disk, OWNER).and_then(|found| allowed.place(&found, |a, b| a == b)) {
        Ok(place) => tally.count(place),
        Err(fault) => return tally.note(fault, at),
    }
    if rng.u8(..3) == 0 {
        tally.in_recovery += 1;
        let log = disk.log();
        let mut medium = Medium::holding(image.clone());
        log[..rng.usize(..=log.len())].iter().for_each(|io| medium.take(io));
        let damage = *rng.choice(&Damage::ALL).expect("there are some");
        let image = medium.cut(damage, rng);
        let found = look(&Disk::holding(image), OWNER);
        if let Err(fault) = found.and_then(|found| allowed.place(&found, |a, b| a == b)) {
            tally.note(fault, &format!("{at}, then {damage:?} within the recovery"));
        }
    }
    if rng.u8(..3) == 0
        && let Err(fault) =
            write(|| open(&Disk::holding(image.clone()), OWNER, now_ms, script.durability), allowed)
    {
        tally.note(fault, &format!("{at}, written to"));
    }
    if rng.u8(..3) == 0 {
        tally.other_owner += 1;
        let found = look(&Disk::holding(image), OwnerId::from_bytes([8; 16]));
        let found = found.and_then(|found| {
            let held = found.state.chunks().any(|chunk| chunk.status == JobStatus::Processing);
            assert!(!held, "{at}: a claim of the dead is still held");
            allowed.place(&found, |now, then| now.after_a_death(then).is_none())
        });
        if let Err(fault) = found {
            tally.note(fault, &format!("{at}, opened by another client"));
        }
    }
}

/// Cuts the power at changes of a script's log, `per_change` times each, on two threads.
fn cuts(run: &Run, promise: Promise, per_change: usize, every: usize, seed: u64) -> Tally {
    let log = &run.log;
    let next = AtomicUsize::new(0);
    let parts = 2;
    let work = || {
        let mut tally = Tally::default();
        let part = next.fetch_add(1, Ordering::Relaxed);
        let mut medium = Medium::default();
        for at in 0..=log.len() {
            if at > 0 {
                let take = if promise == Promise::LyingSync { Medium::take_lying } else { Medium::take };
                take(&mut medium, &log[at - 1]);
            }
            if at % parts != part || !(at / parts).is_multiple_of(every) {
                continue;
            }
            let mut rng = fastrand::Rng::with_seed(seed ^ at as u64);
            let allowed = allowed(run, at, promise);
            for turn in 0..per_change {
                // One kind after the other, so that each meets each place in the long run.
                let damage = Damage::ALL[(at + turn) % Damage::ALL.len()];
                let image = medium.cut(damage, &mut rng);
                let place = format!("{damage:?} at change {at} of {}", log.len());
                cut(image, &allowed, &place, &mut rng, &mut tally);
            }
        }
        tally
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..parts).map(|_| scope.spawn(work)).collect();
        let mut tally = Tally::default();
        for thread in threads {
            tally += thread.join().expect("a part's tally");
        }
        tally
    })
}

/// Cuts at every change of as many scripts as it takes, so many times each, and in the long run three times as often.
fn all_cuts(who: &str, durability: Durability, per_change: usize) -> Tally {
    let mut rng = fastrand::Rng::with_seed(seed(who));
    let wanted = rounds(1_000, 150_000);
    let per_change = if wanted > 10_000 { 3 * per_change } else { per_change };
    let mut tally = Tally::default();
    while tally.images < wanted {
        let script_seed = rng.u64(..);
        tally += cuts(&run(script_seed, durability), Promise::Kept, per_change, 1, script_seed);
        assert_eq!(tally.bad(), 0, "script {script_seed}: {tally:#?}");
    }
    tally.print(who);
    tally
}

#[test]
fn nothing_acknowledged_is_lost_to_a_power_cut_at_any_change() {
    let tally = all_cuts("power cuts", Durability::Full, 2);
    assert!(tally.before > 0 && tally.after > 0, "cuts must fall on both sides of commits: {tally:#?}");
}

#[test]
fn where_commits_are_not_synced_a_power_cut_leaves_the_store_as_it_was_after_one_of_them() {
    let tally = all_cuts("power cuts without syncs", Durability::Relaxed, 8);
    assert!(
        tally.before > 0 && tally.older > 0,
        "some cuts must take something back, and some nothing: {tally:#?}"
    );
}

#[test]
fn a_sync_that_lies_is_found_out() {
    let seed = seed("lying sync");
    let tally = cuts(&run(seed, Durability::Full), Promise::LyingSync, 1, 8, seed);
    tally.print("lying sync");
    assert!(tally.lost + tally.unopenable > 0, "a medium that keeps nothing must be noticed: {tally:#?}");
}

#[test]
fn an_answer_before_its_commit_is_found_out() {
    let seed = seed("answers before the commit");
    let tally = cuts(&run(seed, Durability::Full), Promise::AckBeforeCommit, 1, 4, seed);
    tally.print("answers before the commit");
    assert!(tally.lost > 0, "answers that nothing stands behind must be noticed: {tally:#?}");
}
