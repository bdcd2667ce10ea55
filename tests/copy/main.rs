//! The example `resumable_copy` on real trees: killed and started again, with a source that moves, with a destination
//! that was tampered with, and refused where it must be.
#![cfg(unix)]

mod program;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use program::Place;
use tree::{differences, grow, noise, random, rest, write};

const CHUNK: u64 = 64 << 10;
const WORKERS: usize = 2;
const BATCH: usize = 4;
const OPTIONS: [&str; 6] = ["--chunk-size", "64KiB", "--workers", "2", "--batch", "4"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&OPTIONS, more].concat()
}

fn assert_copied(place: &Place) {
    assert_eq!(differences(&place.source(), &place.target()), Vec::<String>::new());
}

/// Nothing but the destination is left beside it.
fn assert_tidy(place: &Place) {
    let left: Vec<_> =
        fs::read_dir(place.beside()).unwrap().map(|child| child.unwrap().file_name()).collect();
    assert_eq!(left, ["target"]);
}

fn change_byte(path: &Path, at: u64) {
    let mut byte = [0];
    let mut file = File::options().read(true).write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    std::io::Read::read_exact(&mut file, &mut byte).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[!byte[0]]).unwrap();
}

fn a_copy_killed_again_and_again_ends_identical_and_does_no_piece_twice_but_those_in_flight(
    engine: &'static str,
) {
    let full = std::env::var("MAGNETAR_PROOF").is_ok_and(|proof| proof == "full");
    let (kills, bytes) = if full { (20, 1 << 30) } else { (3, 100 << 20) };
    let mut random = random("killed");
    let place = Place::new(engine);
    grow(&place.source(), CHUNK, bytes, &mut random);

    let mut times: BTreeMap<u64, u64> = BTreeMap::new();
    let mut count = |worked: &[u64]| worked.iter().for_each(|piece| *times.entry(*piece).or_default() += 1);
    // Before anything is known, and between hashing and work.
    for said in ["running", "source:"] {
        let mut program = place.start(&with(&[]));
        program.until_said(said);
        let ended = program.kill();
        assert_eq!(ended.code, None, "{ended:#?}");
        count(&ended.worked);
    }
    let pieces_about = usize::try_from(bytes / CHUNK).unwrap();
    for _ in 0..kills {
        let mut program = place.start(&with(&[]));
        program.until_worked(random.usize(1..pieces_about / (kills + 1)));
        let ended = program.kill();
        assert_eq!(ended.code, None, "it ended before it could be killed: {:?}", ended.said);
        count(&ended.worked);
    }
    let ended = place.copy(&with(&[]));
    count(&ended.worked);
    assert_copied(&place);
    assert_tidy(&place);

    let total = ended.count("complete:", "pieces");
    assert_eq!(times.len() as u64, total, "each piece is worked on");
    let worked: u64 = times.values().sum();
    let in_flight = ((kills + 2) * WORKERS * BATCH) as u64;
    println!(
        "{engine}: {kills} + 2 kills, {total} pieces, {} worked twice, at most {in_flight} may",
        worked - total
    );
    assert!(worked <= total + in_flight, "{worked} pieces worked of {total}, {in_flight} in flight at kills");
    let resumed = ended.count("done already:", "of");
    assert_eq!(resumed + ended.worked.len() as u64, total);
}

fn what_it_completed_before_it_killed_itself_is_not_done_again(engine: &'static str) {
    let mut random = random("crash after");
    let place = Place::new(engine);
    grow(&place.source(), CHUNK, 4 << 20, &mut random);
    let options = ["--chunk-size", "64KiB", "--workers", "1", "--batch", "1"];
    let crashed = place.run(&[&options[..], &["--crash-after", "20"]].concat());
    assert_eq!((crashed.code, crashed.worked.len()), (None, 20));
    let ended = place.copy(&options);
    assert_eq!(ended.count("done already:", "of"), 20);
    let (before, after): (BTreeSet<_>, BTreeSet<_>) =
        (crashed.worked.into_iter().collect(), ended.worked.into_iter().collect());
    assert!(before.is_disjoint(&after));
    assert_copied(&place);
    // The store is gone now; what the destination holds is found right, piece by piece.
    let again = place.copy(&options);
    assert_eq!(again.count("complete:", "of"), again.count("complete:", "pieces"));
    assert_copied(&place);
    assert_tidy(&place);
}

fn only_the_piece_that_changed_is_copied_again(engine: &'static str) {
    let mut random = random("changed");
    let place = Place::new(engine);
    grow(&place.source(), CHUNK, 4 << 20, &mut random);
    let keep = with(&["--keep-store"]);
    let first = place.copy(&keep);
    let large = place.source().join("large 2");

    change_byte(&large, 5 * CHUNK + 3);
    rest(&large, &mut random);
    let changed = place.copy(&keep);
    assert_eq!((changed.worked.len(), changed.count("source:", "changed")), (1, 1), "{changed:#?}");
    assert_copied(&place);

    // Whoever sets the time back is found out by the change time.
    let modified = large.metadata().unwrap().modified().unwrap();
    change_byte(&large, 7 * CHUNK);
    File::open(&large).unwrap().set_modified(modified).unwrap();
    let sneaked = place.copy(&keep);
    assert_eq!(sneaked.worked, [changed.worked[0] + 2]);
    assert_copied(&place);

    // Untouched, nothing is hashed; a file that has only just been written is hashed again, for its time may hide more.
    let idle = place.copy(&keep);
    assert_eq!(
        (idle.worked.len(), idle.said.iter().any(|line| line.contains("hashed 0;"))),
        (0, true),
        "{idle:#?}"
    );
    let all = place.copy(&with(&["--keep-store", "--rehash"]));
    assert!(all.worked.is_empty() && !all.said.iter().any(|line| line.contains("hashed 0;")), "{all:#?}");
    fs::write(&large, noise(4 << 20 >> 2, &mut random)).unwrap();
    place.copy(&keep);
    let unsettled = place.copy(&keep);
    assert!(unsettled.said.iter().any(|line| line.contains("hashed 1;")), "{unsettled:#?}");
    assert_copied(&place);
    assert_eq!(first.count("complete:", "pieces"), unsettled.count("complete:", "pieces"));
}

fn files_that_grow_shrink_vanish_appear_and_turn_into_folders_are_followed(engine: &'static str) {
    let mut random = random("followed");
    let place = Place::new(engine);
    grow(&place.source(), CHUNK, 4 << 20, &mut random);
    let (source, target) = (place.source(), place.target());
    fs::create_dir(&target).unwrap();
    fs::write(target.join("large 3"), b"was there before").unwrap();
    fs::write(target.join("theirs"), b"not of this copy").unwrap();
    let keep = with(&["--keep-store"]);
    let crashed = place.run(&with(&["--crash-after", "40"]));
    assert_eq!(crashed.code, None);

    let sizes = |path: &Path, size| File::options().write(true).open(path).unwrap().set_len(size).unwrap();
    sizes(&source.join("large 0"), CHUNK * 2 + 1);
    sizes(&source.join("large 1"), CHUNK * 30);
    fs::remove_file(source.join("large 2")).unwrap();
    fs::remove_file(source.join("large 3")).unwrap();
    fs::remove_file(source.join("dangling link")).unwrap();
    fs::remove_dir(source.join("nothing in it")).unwrap();
    fs::remove_file(source.join("folder/of 1")).unwrap();
    fs::create_dir(source.join("folder/of 1")).unwrap();
    write(&source.join("folder/of 1/new"), &noise(3 * CHUNK, &mut random), &mut random);
    write(&source.join("a first one"), &noise(2 * CHUNK, &mut random), &mut random);
    let before = target.join("large 3");
    let ended = place.copy(&keep);
    assert!(ended.complained("it was there before the copy"), "{ended:#?}");
    assert!(ended.count("source:", "dropped") > 0);
    // What was not the copy's to remove is still there.
    assert_eq!(before.metadata().unwrap().len(), 1 << 20);
    assert_eq!(fs::read(target.join("theirs")).unwrap(), b"not of this copy");
    fs::remove_file(before).unwrap();
    fs::remove_file(target.join("theirs")).unwrap();
    let modified = source.metadata().unwrap().modified().unwrap();
    File::open(&target).unwrap().set_modified(modified).unwrap();
    assert_copied(&place);

    // All of it again, now that everything is done: the same ids, nothing of the others.
    sizes(&source.join("large 1"), CHUNK * 29);
    fs::remove_file(source.join("a first one")).unwrap();
    rest(&source, &mut random);
    let ended = place.copy(&keep);
    assert_eq!((ended.worked.len(), ended.count("source:", "dropped")), (0, 3), "{ended:#?}");
    assert_copied(&place);
    place.copy(&OPTIONS);
    assert_tidy(&place);
}

fn a_source_that_changes_under_the_copy_is_noticed_and_looked_at_again(engine: &'static str) {
    let mut random = random("under the copy");
    let place = Place::new(engine);
    // More lines than a pipe holds: the program waits for this test before it comes to the last file.
    write(&place.source().join("first"), &noise(16 << 20, &mut random), &mut random);
    let last = place.source().join("last");
    write(&last, &noise(10 << 10, &mut random), &mut random);
    let mut program =
        place.start(&["--chunk-size", "1KiB", "--workers", "2", "--batch", "500", "--no-read-back"]);
    program.until_said("done already:");
    change_byte(&last, 3 << 10);
    let ended = program.end();
    assert_eq!(ended.code, Some(0), "{}", ended.errors);
    assert!(ended.complained("1 pieces could not be copied as they were hashed"), "{}", ended.errors);
    assert_eq!(ended.worked.len(), (16 << 10) + 10);
    assert_copied(&place);
}

fn a_destination_that_was_tampered_with_is_mended(engine: &'static str) {
    let mut random = random("tampered");
    let place = Place::new(engine);
    grow(&place.source(), CHUNK, 4 << 20, &mut random);
    let keep = with(&["--keep-store"]);
    place.copy(&keep);
    change_byte(&place.target().join("large 1"), 2 * CHUNK);
    fs::remove_file(place.target().join("large 2")).unwrap();
    File::options().write(true).open(place.target().join("large 3")).unwrap().set_len(7).unwrap();

    let mended = place.copy(&keep);
    assert!(mended.complained("32 pieces are copied again"), "{mended:#?}");
    assert_eq!(mended.worked.len(), 32);
    assert_eq!(differences(&place.source(), &place.target()), ["large 1: other content"]);
    let verified = place.copy(&with(&["--keep-store", "--verify"]));
    assert_eq!(verified.worked.len(), 1, "{verified:#?}");
    assert_copied(&place);
}

fn a_destination_inside_the_source_is_left_out_of_itself(engine: &'static str) {
    let mut random = random("inside");
    let place = Place::new(engine);
    write(&place.source().join("file"), &noise(3 * CHUNK, &mut random), &mut random);
    let inside = place.source().join("copy");
    for _ in 0..2 {
        let ended = place.start_between(&place.source(), &inside, &OPTIONS).end();
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        let names: Vec<_> = fs::read_dir(&inside).unwrap().map(|child| child.unwrap().file_name()).collect();
        assert_eq!(names, ["file"]);
    }
    let one = place.start_between(&place.source().join("file"), &place.target(), &OPTIONS).end();
    assert_eq!(one.code, Some(0), "{one:#?}");
    assert_eq!(fs::read(place.source().join("file")).unwrap(), fs::read(place.target()).unwrap());
    assert_tidy(&place);
}

fn what_cannot_be_done_is_refused_with_what_to_do(engine: &'static str) {
    let mut random = random("refused");
    let place = Place::new(engine);
    let (source, target) = (place.source(), place.target());
    write(&source.join("file"), &noise(9 * CHUNK, &mut random), &mut random);
    let refused = |from: &Path, to: &Path, options: &[&str], code: i32, text: &str| {
        let ended = place.start_between(from, to, options).end();
        assert_eq!((ended.code, ended.complained(text)), (Some(code), true), "{text}: {ended:#?}");
    };
    refused(&source.join("no"), &target, &[], 1, "there is no source");
    refused(&source, &source, &[], 1, "is source and destination");
    refused(&source.join("file"), &source, &[], 1, "lies inside the destination");
    refused(&source.join("file"), &place.beside(), &[], 1, "name the file:");
    refused(&source, &target, &["--chunk-size", "3 apples"], 2, "from 1KiB to 1GiB");
    refused(&source, &target, &["--workers=0"], 2, "from 1 to 256");
    refused(&source, &target, &["--quickly"], 2, "there is no option --quickly");

    fs::create_dir_all(target.join("file")).unwrap();
    refused(&source, &target, &OPTIONS, 1, "is a folder where the source has a file");
    fs::remove_dir(target.join("file")).unwrap();
    let lock = File::create(place.beside().join("target.magnetar.lock")).unwrap();
    lock.lock().unwrap();
    refused(&source, &target, &OPTIONS, 1, "another copy to this destination is running");
    drop(lock);

    assert_eq!(place.run(&with(&["--crash-after", "1"])).code, None);
    let other = place.beside().join("other source");
    fs::create_dir(&other).unwrap();
    refused(&other, &target, &OPTIONS, 1, "belongs to an unfinished copy of");
    let other_engine = if engine == "redb" { "sqlite" } else { "redb" };
    refused(&source, &target, &["--store", other_engine], 1, "go on with --store");
    assert!(!place.beside().join("target.magnetar.lock").exists(), "what was refused holds nothing");
    let ended = place.copy(&["--chunk-size", "4KiB"]);
    assert!(ended.complained("going on with pieces of 64.0 KiB"), "{ended:#?}");
    assert_eq!(ended.count("complete:", "pieces"), 9);
    assert_copied(&place);
}

/// By itself a worker takes hundreds of them into one batch.
fn many_small_files_need_few_of_them_open_at_a_time(engine: &'static str) {
    let mut random = random("small files");
    let place = Place::new(engine).with_files_open(120);
    for file in 0..400 {
        write(
            &place.source().join(format!("of {file}")),
            &noise(random.u64(1..100), &mut random),
            &mut random,
        );
    }
    let ended = place.copy(&["--workers", "2"]);
    assert_eq!((ended.worked.len(), ended.complained("notice")), (400, false), "{}", ended.errors);
    assert_copied(&place);
}

/// Nobody else is at work where the destination is locked, so there is nobody whom a lease would have to be over for.
fn a_machine_that_sleeps_for_days_takes_no_piece_from_its_worker(engine: &'static str) {
    const DAYS_MS: u64 = 6 * 24 * 3_600_000;
    let mut random = random("asleep");
    let place = Place::new(engine);
    write(&place.source().join("file"), &noise(2 * CHUNK, &mut random), &mut random);
    place.copy(&with(&["--keep-store"]));
    let ending = if engine == "sqlite" { ".magnetar.db" } else { ".magnetar.redb" };
    let mut path = place.target().into_os_string();
    path.push(ending);
    let jobs = magnetar::block_on(async {
        let store = magnetar::open(Path::new(&path)).await?;
        store.list_jobs(None, 10).await
    });
    let leases: Vec<_> = jobs.unwrap().into_iter().map(|job| job.spec.lease_ms).collect();
    assert!(leases.len() == 2 && leases.iter().all(|lease| *lease >= Some(DAYS_MS)), "{leases:?}");
}

/// As they are where a package manager keeps what it has downloaded.
fn what_goes_from_a_folder_without_the_right_to_write_goes_from_its_copy(engine: &'static str) {
    let mut random = random("sealed");
    let place = Place::new(engine);
    let sealed = place.source().join("sealed");
    let below = sealed.join("below");
    fs::create_dir_all(&below).unwrap();
    for path in [sealed.join("goes"), sealed.join("stays"), below.join("goes")] {
        write(&path, &noise(CHUNK, &mut random), &mut random);
    }
    let seal = |mode| {
        for folder in [&sealed, &below].into_iter().filter(|folder| folder.exists()) {
            fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    seal(0o555);
    let keep = with(&["--keep-store"]);
    place.copy(&keep);
    assert_copied(&place);
    seal(0o755);
    fs::remove_file(sealed.join("goes")).unwrap();
    fs::remove_dir_all(&below).unwrap();
    seal(0o555);
    place.copy(&keep);
    assert_copied(&place);
}

fn a_file_that_may_not_be_read_is_named_and_the_others_are_copied(engine: &'static str) {
    let mut random = random("unreadable");
    let place = Place::new(engine);
    let secret = place.source().join("secret");
    write(&place.source().join("file"), &noise(3 * CHUNK, &mut random), &mut random);
    write(&secret, &noise(2 * CHUNK, &mut random), &mut random);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    // On Linux the program gives up what root may.
    let may_read = !cfg!(target_os = "linux") && File::open(&secret).is_ok();
    let ended = place.run(&OPTIONS);
    assert_eq!(
        (ended.code, ended.complained("cannot read")),
        (Some(i32::from(!may_read)), !may_read),
        "{ended:#?}"
    );
    assert_eq!(ended.worked.len(), if may_read { 5 } else { 3 });
    assert_eq!(
        fs::read(place.target().join("file")).unwrap(),
        fs::read(place.source().join("file")).unwrap()
    );
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let ended = place.copy(&OPTIONS);
    assert_eq!(ended.count("complete:", "files"), 2);
    assert_copied(&place);
    assert_tidy(&place);
}

#[cfg(not(all(feature = "sqlite", feature = "redb")))]
#[test]
fn a_store_that_is_not_compiled_in_is_named_with_its_feature() {
    let missing = if cfg!(feature = "redb") { "sqlite" } else { "redb" };
    let ended = Place::new(missing).run(&[]);
    assert_eq!(
        (ended.code, ended.complained(&format!("the feature \"{missing}\""))),
        (Some(1), true),
        "{ended:#?}"
    );
}

/// Each test with each storage engine that is compiled in.
/// As one that was killed a moment ago, and is at its last write.
fn a_copy_that_is_about_to_end_is_waited_for(engine: &'static str) {
    let mut random = random("waited for");
    let place = Place::new(engine);
    write(&place.source().join("file"), &noise(2 * CHUNK, &mut random), &mut random);
    let lock = File::create(place.beside().join("target.magnetar.lock")).unwrap();
    lock.lock().unwrap();
    let program = place.start(&OPTIONS);
    while !program.complained("waiting for another copy") {
        std::thread::yield_now();
    }
    drop(lock);
    let ended = program.end();
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    assert_copied(&place);
    assert_tidy(&place);
}

macro_rules! with_each_engine {
    ($($test:ident)*) => {
        #[cfg(feature = "redb")]
        mod redb {
            $(#[test] fn $test() { super::$test("redb"); })*
        }
        #[cfg(feature = "sqlite")]
        mod sqlite {
            $(#[test] fn $test() { super::$test("sqlite"); })*
        }
    };
}

with_each_engine! {
    a_copy_killed_again_and_again_ends_identical_and_does_no_piece_twice_but_those_in_flight
    what_it_completed_before_it_killed_itself_is_not_done_again
    only_the_piece_that_changed_is_copied_again
    files_that_grow_shrink_vanish_appear_and_turn_into_folders_are_followed
    a_source_that_changes_under_the_copy_is_noticed_and_looked_at_again
    a_destination_that_was_tampered_with_is_mended
    a_destination_inside_the_source_is_left_out_of_itself
    a_file_that_may_not_be_read_is_named_and_the_others_are_copied
    many_small_files_need_few_of_them_open_at_a_time
    a_machine_that_sleeps_for_days_takes_no_piece_from_its_worker
    what_goes_from_a_folder_without_the_right_to_write_goes_from_its_copy
    what_cannot_be_done_is_refused_with_what_to_do
    a_copy_that_is_about_to_end_is_waited_for
}
