//! Several processes have one pair open, and all of them change who executes operations.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use magnetar::dual::{DualOptions, DualStore, MoveSide};
use magnetar::worker::Worker;
use magnetar::{
    Completion, ErrorKind, ImportOptions, JobSpec, JobStore, NewChunk, OpenOptions, block_on, limits,
};

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
                    let claimed = block_on(dual.claim_pending(JOB)).unwrap_or_else(|e| panic!("{at}: {e}"));
                    let Some(claim) = claimed.map(|state| state.claim()) else { continue };
                    assert!(fences.lock().expect("no panic").insert(claim.fence), "{at}: {claim:?}");
                    let result = Completion::new().checksum(format!("sum {}", claim.chunk));
                    block_on(dual.complete(&claim, result)).unwrap_or_else(|e| panic!("{at}: {e}"));
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

/// Each way to ask by itself: whichever comes first is the one that has to notice.
#[test]
fn a_process_goes_on_where_another_one_has_moved_the_pair_to() {
    type Ask = fn(&DualStore, &magnetar::Claim);
    let ways: [(&str, Ask); 6] = [
        ("claim", |dual, _| {
            block_on(dual.claim_pending(JOB)).expect("it works").expect("some are ready");
        }),
        ("complete", |dual, held| {
            let result = Completion::new().checksum(format!("sum {}", held.chunk));
            block_on(dual.complete(held, result)).expect("the fence is the same");
        }),
        ("import", |dual, _| dag::import(dual, 25)),
        ("catch_up", |dual, _| block_on(dual.catch_up()).expect("the copy gets on")),
        ("compare", |dual, _| assert!(block_on(dual.compare()).expect("they can be compared").is_equal())),
        ("cut_over", |dual, _| drop(block_on(dual.cut_over()).expect("it is done already"))),
    ];
    for (way, ask) in ways {
        println!("{way}");
        let folder = tempfile::tempdir().expect("a folder");
        let (one, other) = (open(folder.path()), open(folder.path()));
        dag::import(&one, 20);
        let held = block_on(one.claim_pending(JOB)).expect("it works").expect("some are ready").claim();
        block_on(other.cut_over()).expect("nothing stands in the way");
        ask(&one, &held);
        block_on(one.get_stats(JOB)).expect("it can be read");
        assert_eq!(one.status().authority, Some(MoveSide::Second), "{way}");
    }
}

/// It asks nothing, and so the thread that copies has to notice.
#[test]
fn a_process_that_only_reads_goes_on_where_another_one_has_moved_the_pair_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, other) = (open(folder.path()), open(folder.path()));
    dag::import(&one, 20);
    let mut told = one.watch_status();
    block_on(other.cut_over()).expect("nothing stands in the way");
    while block_on(told.next()).expect("it is open").authority != Some(MoveSide::Second) {}
    let claim = block_on(other.claim_pending(JOB)).expect("it works").expect("some are ready").claim();
    let result = Completion::new().checksum(format!("sum {}", claim.chunk));
    block_on(other.complete(&claim, result)).expect("it is done");
    assert_eq!(block_on(one.get_stats(JOB)).expect("it can be read").done, 1);
}

#[test]
fn a_worker_goes_on_while_other_processes_move_the_pair_there_and_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let (one, other) = (open(folder.path()), open(folder.path()));
    dag::import(&one, 60);
    let (store, mover): (Arc<dyn JobStore>, _) = (Arc::new(one), other.clone());
    let worker = Worker::new(store).job(JOB).run_blocking(move |chunk| {
        if chunk.chunk() % 10 == 5 {
            block_on(mover.cut_over()).expect("nothing stands in the way");
        } else if chunk.chunk() % 10 == 8 {
            block_on(mover.roll_back()).expect("nothing stands in the way");
        }
        Ok::<_, String>(Completion::new().checksum(format!("sum {}", chunk.chunk())))
    });
    block_on(worker).expect("it works to the end");
    let stats = block_on(other.get_stats(JOB)).expect("the job is there");
    assert_eq!((stats.done, stats.total_chunks), (60, 60));
}

#[test]
fn an_import_that_another_process_moved_the_pair_under_leaves_nothing_in_the_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let (dual, other) = (open(folder.path()), open(folder.path()));
    let alone = block_on(magnetar::open(folder.path().join("a.db"))).expect("it opens");
    dag::import(&dual, 20);
    let total = 2 * limits::IMPORT_ROWS_PER_COMMIT_MAX as u64 + 10;
    let new = (0..total).map(|id| {
        if id == total - 1 {
            block_on(other.cut_over()).expect("nothing stands in the way");
        }
        Ok(NewChunk::new(id))
    });
    let (spec, options) = (JobSpec::new(), ImportOptions::new());
    let imported = block_on(alone.import(9, &spec, magnetar::chunks(new), &options));
    assert_eq!(imported.expect_err("it was moved").kind(), ErrorKind::Moved);
    block_on(other.roll_back()).expect("nothing stands in the way");
    let few = (0..3).map(|id| Ok(NewChunk::new(id)));
    block_on(dual.import(9, &JobSpec::new(), magnetar::chunks(few), &ImportOptions::new()))
        .expect("it is free");
    block_on(dual.catch_up()).expect("nothing is in the way");
    let compared = block_on(dual.compare()).expect("they can be compared");
    assert!(compared.is_equal() && compared.chunks == 23, "{compared:#?}");
    block_on(dual.verify()).expect("nothing is damaged");
}

/// As long as a source gives nothing, nobody else is to wait for it.
#[test]
fn who_finds_the_pair_moved_does_not_wait_for_an_import_that_waits_for_its_source() {
    let folder = tempfile::tempdir().expect("a folder");
    let (dual, other) = (open(folder.path()), open(folder.path()));
    dag::import(&dual, 20);
    let total = limits::IMPORT_ROWS_PER_COMMIT_MAX as u64 + 10;
    let new = (0..total).map(|id| {
        if id == total - 1 {
            block_on(other.cut_over()).expect("nothing stands in the way");
            block_on(dual.claim_pending(JOB)).expect("it works").expect("some are ready");
            block_on(dual.reopen()).expect("all is well");
        }
        Ok(NewChunk::new(id))
    });
    let (spec, options) = (JobSpec::new(), ImportOptions::new());
    let imported = block_on(dual.import(9, &spec, magnetar::chunks(new), &options));
    assert_eq!(imported.expect_err("it was moved").kind(), ErrorKind::Moved);
    block_on(dual.catch_up()).expect("nothing is in the way");
    assert!(block_on(dual.compare()).expect("they can be compared").is_equal());
}
