//! Several processes have one pair open, and all of them change who executes operations.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;

use magnetar::dual::{DualOptions, DualStore};
use magnetar::{Completion, ErrorKind, JobStore, OpenOptions, block_on};

use crate::dag::{self, JOB};
use crate::support;

/// A process's handle, as far as the files can tell: an owner of its own, and locks of its own.
fn open(folder: &Path) -> DualStore {
    let (first, second) = (folder.join("a.db"), folder.join("b.db"));
    block_on(DualStore::open(first, second, &OpenOptions::new(), &DualOptions::new())).expect("a pair")
}

#[test]
fn processes_that_all_change_the_authority_never_make_two_and_no_claim_is_given_twice() {
    let seed = support::seed("two", fastrand::u64(..));
    let folder = tempfile::tempdir().expect("a folder");
    let turns = support::rounds(60, 600);
    dag::import(&open(folder.path()), 4 * turns);
    let (fences, done) = (Mutex::new(BTreeSet::new()), Mutex::new(BTreeSet::new()));
    std::thread::scope(|scope| {
        for one in 0..3 {
            let (folder, fences, done) = (folder.path(), &fences, &done);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed.wrapping_add(one));
                let dual = open(folder);
                for turn in 0..turns {
                    let at = format!("process {one}, turn {turn}");
                    match random.u8(..8) {
                        0 => drop(block_on(dual.cut_over()).unwrap_or_else(|e| panic!("{at}: {e}"))),
                        1 => drop(block_on(dual.roll_back()).unwrap_or_else(|e| panic!("{at}: {e}"))),
                        _ => {}
                    }
                    let claim = match block_on(dual.claim_pending(JOB)) {
                        Ok(Some(state)) => state.claim(),
                        Ok(None) => continue,
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Moved, "{at}: {error}");
                            continue;
                        }
                    };
                    assert!(fences.lock().expect("no panic").insert(claim.fence), "{at}: {claim:?}");
                    let result = Completion::new().checksum(format!("sum {}", claim.chunk));
                    if let Err(error) = block_on(dual.complete(&claim, result)) {
                        assert_eq!(error.kind(), ErrorKind::Moved, "{at}: {error}");
                        continue;
                    }
                    assert!(done.lock().expect("no panic").insert(claim.chunk), "{at}: {claim:?}");
                }
                block_on(dual.close()).expect("it closes");
            });
        }
    });
    let dual = open(folder.path());
    assert!(block_on(dual.compare()).expect("they can be compared").is_equal());
    let stats = block_on(dual.get_stats(JOB)).expect("the job is there");
    assert_eq!(stats.done, done.lock().expect("no panic").len() as u64);
    block_on(dual.close()).expect("it closes");
}

#[test]
fn of_two_processes_that_both_cut_over_the_second_finds_it_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, other) = (open(folder.path()), open(folder.path()));
    dag::import(&one, 20);
    block_on(other.catch_up()).expect("the copy gets on");
    block_on(one.cut_over()).expect("nothing stands in the way");
    block_on(other.cut_over()).expect("it is done already");
    block_on(one.claim_pending(JOB)).expect("it works").expect("some are ready");
    block_on(other.claim_pending(JOB)).expect("it works").expect("some are ready");
}
