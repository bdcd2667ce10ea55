//! Power loss on redb, at every change of the medium under the real engine: the script's state is found as it was after
//! the last acknowledged step, or after the one under way.

use std::ops::AddAssign;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use magnetar::{JobStatus, JobStore, OwnerId, block_on};

use crate::disk::{Damage, Disk, Medium};
use crate::script::{self, Acked, OWNER, Script};
use crate::seed::{rounds, seed};
use crate::state::State;

/// What was looked at, and what was wrong with it.
#[derive(Debug, Default)]
struct Tally {
    images: usize,
    in_recovery: usize,
    other_owner: usize,
    before: usize,
    after: usize,
    /// An opening that failed, or a verification.
    unopenable: usize,
    panics: usize,
    /// An acknowledged step is not there.
    lost: usize,
    /// Neither the state before the step under way nor the one after it.
    torn: usize,
    first: Option<String>,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.images += other.images;
        self.in_recovery += other.in_recovery;
        self.other_owner += other.other_owner;
        self.before += other.before;
        self.after += other.after;
        self.unopenable += other.unopenable;
        self.panics += other.panics;
        self.lost += other.lost;
        self.torn += other.torn;
        self.first = self.first.take().or(other.first);
    }
}

impl Tally {
    fn print(&self, who: &str) {
        println!(
            "{who}: {} power cuts, {} cuts within the recovery from one, {} openings by another client; found as before \
             the step under way {}, as after it {}; lost acknowledged {}, torn {}, not to be opened {}, panics {}",
            self.images,
            self.in_recovery,
            self.other_owner,
            self.before,
            self.after,
            self.lost,
            self.torn,
            self.unopenable,
            self.panics
        );
    }

    fn bad(&self) -> usize {
        self.lost + self.torn + self.unopenable + self.panics
    }

    fn note(&mut self, fault: Fault, at: &str) {
        let text = match fault {
            Fault::Unopenable(text) => {
                self.unopenable += 1;
                text
            }
            Fault::Panic(text) if text.contains("torn: ") => {
                self.torn += 1;
                text
            }
            Fault::Panic(text) => {
                self.panics += 1;
                text
            }
            Fault::Lost(text) => {
                self.lost += 1;
                text
            }
            Fault::Torn(text) => {
                self.torn += 1;
                text
            }
        };
        self.first.get_or_insert_with(|| format!("{at}: {text}"));
    }
}

enum Fault {
    Unopenable(String),
    Panic(String),
    Lost(String),
    Torn(String),
}

/// How the medium and the store keep what they promise; all but the first are controls that must be found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Promise {
    Kept,
    /// The medium says that a sync is done and keeps nothing.
    LyingSync,
    /// The store answers before it commits.
    AckBeforeCommit,
}

/// What may be found after a cut.
struct Allowed<'a> {
    script: &'a Script,
    /// How many steps were acknowledged.
    acked: usize,
}

impl<'a> Allowed<'a> {
    fn at(script: &'a Script, at: usize, promise: Promise) -> Self {
        let acked = script.steps.partition_point(|step| {
            at >= if promise == Promise::AckBeforeCommit { step.from } else { step.until }
        });
        Allowed { script, acked }
    }

    /// Before the store is created there is nothing; opening creates it, and is then found so.
    fn before(&self) -> &'a Acked {
        &self.script.steps[self.acked.saturating_sub(1)]
    }

    fn after(&self) -> Option<&'a Acked> {
        if self.acked == 0 { None } else { self.script.steps.get(self.acked) }
    }

    /// 0 for the state before the step under way, 1 for the one after it.
    fn place(&self, state: &State, same: impl Fn(&State, &State) -> bool) -> Result<usize, Fault> {
        if same(state, &self.before().state) {
            return Ok(0);
        }
        if self.after().is_some_and(|after| same(state, &after.state)) {
            return Ok(1);
        }
        let text = format!(
            "after {} steps, last {}, under way {}\n{}",
            self.acked,
            self.before().what,
            self.after().map_or("none", |step| &step.what),
            state.difference(&self.before().state)
        );
        let steps = &self.script.steps[..self.acked.saturating_sub(1)];
        let older = steps.iter().any(|step| same(state, &step.state));
        Err(if older { Fault::Lost(text) } else { Fault::Torn(text) })
    }
}

/// Opens what is left, verifies it and reads all of it.
fn look(disk: &Disk, owner: OwnerId, now_ms: u64) -> Result<(State, Disk), Fault> {
    let looked = catch_unwind(AssertUnwindSafe(|| {
        block_on(async {
            let store = script::open(disk, owner, now_ms).map_err(|e| format!("{e:?}"))?;
            let opened = disk.clock();
            store.verify().await.map_err(|e| format!("verify: {e:?}"))?;
            let state = State::of(&store).await.map_err(|e| format!("read: {e:?}"))?;
            Ok::<_, String>((state, opened))
        })
    }));
    match looked {
        Ok(Ok((state, _))) => Ok((state, disk.clone())),
        Ok(Err(text)) => Err(Fault::Unopenable(text)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(Fault::Panic(text.unwrap_or_else(|| "a panic without words".to_owned())))
        }
    }
}

/// One cut, the recovery from it, now and then a cut within that recovery, and now and then another client's opening.
fn cut(image: Vec<u8>, allowed: &Allowed<'_>, at: &str, rng: &mut fastrand::Rng, tally: &mut Tally) {
    tally.images += 1;
    let now_ms = allowed.before().at_ms;
    let disk = Disk::holding(image.clone());
    let found = look(&disk, OWNER, now_ms);
    let place = found.and_then(|(state, disk)| Ok((allowed.place(&state, |a, b| a == b)?, disk)));
    let disk = match place {
        Ok((place, disk)) => {
            *[&mut tally.before, &mut tally.after][place] += 1;
            disk
        }
        Err(fault) => return tally.note(fault, at),
    };
    if rng.u8(..3) == 0 {
        tally.in_recovery += 1;
        let log = disk.log();
        let mut medium = Medium::holding(image.clone());
        log[..rng.usize(..=log.len())].iter().for_each(|io| medium.take(io));
        let damage = *rng.choice(&Damage::ALL).expect("there are some");
        let image = medium.cut(damage, rng);
        let found = look(&Disk::holding(image), OWNER, now_ms);
        if let Err(fault) = found.and_then(|(state, _)| allowed.place(&state, |a, b| a == b)) {
            tally.note(fault, &format!("{at}, then {damage:?} within the recovery"));
        }
    }
    if rng.u8(..3) == 0 {
        tally.other_owner += 1;
        let found = look(&Disk::holding(image), OwnerId::from_bytes([8; 16]), now_ms);
        let found = found.and_then(|(state, _)| {
            let held = state.chunks().any(|chunk| chunk.status == JobStatus::Processing);
            assert!(!held, "{at}: a claim of the dead is still held");
            allowed.place(&state, |now, then| now.after_a_death(then).is_none())
        });
        if let Err(fault) = found {
            tally.note(fault, &format!("{at}, opened by another client"));
        }
    }
}

/// Cuts the power at changes of a script's log, `per_change` times each, on two threads.
fn cuts(script: &Script, promise: Promise, per_change: usize, every: usize, seed: u64) -> Tally {
    let next = AtomicUsize::new(0);
    let parts = 2;
    let work = || {
        let mut tally = Tally::default();
        let part = next.fetch_add(1, Ordering::Relaxed);
        let mut medium = Medium::default();
        for at in 0..=script.log.len() {
            if at > 0 {
                let take = if promise == Promise::LyingSync { Medium::take_lying } else { Medium::take };
                take(&mut medium, &script.log[at - 1]);
            }
            if at % parts != part || !(at / parts).is_multiple_of(every) {
                continue;
            }
            let mut rng = fastrand::Rng::with_seed(seed ^ at as u64);
            let allowed = Allowed::at(script, at, promise);
            for turn in 0..per_change {
                // One kind after the other, so that each meets each place in the long run.
                let damage = Damage::ALL[(at + turn) % Damage::ALL.len()];
                let image = medium.cut(damage, &mut rng);
                let place = format!("{damage:?} at change {at} of {}", script.log.len());
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

const STEPS: usize = 40;

#[test]
fn nothing_acknowledged_is_lost_to_a_power_cut_at_any_change() {
    let seed = seed("power cuts");
    let mut rng = fastrand::Rng::with_seed(seed);
    let wanted = rounds(2_000, 150_000);
    let mut tally = Tally::default();
    while tally.images < wanted {
        let script_seed = rng.u64(..);
        let script = script::run(script_seed, STEPS);
        let per_change = if wanted > 10_000 { 6 } else { 2 };
        tally += cuts(&script, Promise::Kept, per_change, 1, script_seed);
        assert_eq!(tally.bad(), 0, "script {script_seed}: {tally:#?}");
    }
    tally.print("power cuts");
    assert!(tally.before > 0 && tally.after > 0, "cuts must fall on both sides of commits: {tally:#?}");
}

#[test]
fn a_sync_that_lies_is_found_out() {
    let seed = seed("lying sync");
    let tally = cuts(&script::run(seed, STEPS), Promise::LyingSync, 1, 8, seed);
    tally.print("lying sync");
    assert!(tally.lost + tally.unopenable > 0, "a medium that keeps nothing must be noticed: {tally:#?}");
}

#[test]
fn an_answer_before_its_commit_is_found_out() {
    let seed = seed("answers before the commit");
    let tally = cuts(&script::run(seed, STEPS), Promise::AckBeforeCommit, 1, 4, seed);
    tally.print("answers before the commit");
    assert!(tally.lost > 0, "answers that nothing stands behind must be noticed: {tally:#?}");
}
