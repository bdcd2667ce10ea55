//! Damage to a file of ours that was closed in good order.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use magnetar::{ErrorKind, ImportOptions, JobSpec, Json, NewChunk, OpenOptions, block_on, chunks, limits};

use crate::child::{Running, say, told};
use crate::original;
use crate::seed::{rounds, seed};
use crate::state::State;

const PAGE: usize = 4096;
const REDB_HEADER_AT: usize = 256 << 10;
/// Images that one child looks at; where it dies, the others are still looked at by others.
const BATCH: usize = 100;

/// Damages a file in one of the ways that media, copies and people do.
fn damage(bytes: &mut Vec<u8>, rng: &mut fastrand::Rng) -> String {
    let pages = bytes.len() / PAGE;
    let page = |rng: &mut fastrand::Rng| rng.usize(..pages) * PAGE;
    match rng.u8(..10) {
        0..2 => {
            let bits: Vec<usize> = (0..rng.usize(1..4)).map(|_| rng.usize(..bytes.len() * 8)).collect();
            for bit in &bits {
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            format!("bits {bits:?} flipped")
        }
        2 => {
            let at = rng.usize(..bytes.len() - 8);
            bytes[at..at + 8].copy_from_slice(&rng.u64(..).to_le_bytes());
            format!("8 random bytes at {at}")
        }
        3..5 => {
            // A file of redb's engine has one of ours in front and redb's own behind it.
            let header = if bytes.starts_with(b"magnetar") && rng.bool() { REDB_HEADER_AT } else { 0 };
            let at = header + rng.usize(..512);
            bytes[at] = rng.u8(..);
            format!("byte {at} of the header is {}", bytes[at])
        }
        5 => {
            let length = if rng.bool() { rng.usize(1..bytes.len()) } else { page(rng).max(1) };
            bytes.truncate(length);
            format!("cut to {length} bytes")
        }
        6 => {
            let (a, b) = (page(rng), page(rng));
            let held = bytes[a..a + PAGE].to_vec();
            bytes.copy_within(b..b + PAGE, a);
            bytes[b..b + PAGE].copy_from_slice(&held);
            format!("pages at {a} and {b} swapped")
        }
        7 => {
            let at = page(rng);
            bytes[at..at + PAGE].fill(0);
            format!("page at {at} zeroed")
        }
        8 => {
            let (from, to) = (page(rng), page(rng));
            bytes.copy_within(from..from + PAGE, to);
            format!("page at {from} copied over the one at {to}")
        }
        _ => {
            let (at, length) = (rng.usize(..bytes.len()), rng.usize(1..5_000));
            let end = bytes.len().min(at + length);
            bytes[at..end].fill_with(|| rng.u8(..));
            format!("random bytes from {at} to {end}")
        }
    }
}

/// Opens, verifies, reads everything.
fn look(path: &Path) -> magnetar::Result<State> {
    block_on(async {
        let store = magnetar::open(path).await?;
        store.verify().await?;
        let state = State::of(&*store).await?;
        store.close().await?;
        Ok(state)
    })
}

#[test]
#[ignore = "a child process of the tests here, which tell it what to look at"]
fn reader() {
    let Some(told) = told() else { return };
    let [original, seed, first, count] = &told[..] else { panic!("told {told:?}") };
    let seed: u64 = seed.parse().expect("a seed");
    let (first, count): (u64, u64) = (first.parse().expect("a number"), count.parse().expect("a number"));
    let original = Path::new(original);
    let whole = fs::read(original).expect("the original");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let copy = |name: String, bytes: &[u8]| {
        let path = folder.path().join(name).with_extension(original.extension().expect("the engine's"));
        fs::write(&path, bytes).expect("a copy");
        path
    };
    let expected = look(&copy("whole".to_owned(), &whole)).expect("the original is whole");
    for image in first..first + count {
        let mut rng = fastrand::Rng::with_seed(seed.wrapping_add(image));
        let mut bytes = whole.clone();
        let what = damage(&mut bytes, &mut rng);
        say(&format!("image {image}: {what}"));
        let path = copy(image.to_string(), &bytes);
        match catch_unwind(AssertUnwindSafe(|| look(&path))) {
            Ok(Ok(state)) if state == expected => say("intact"),
            Ok(Ok(state)) => say(&format!("wrong {}", state.difference(&expected).replace('\n', " "))),
            Ok(Err(error)) => {
                say(&format!("refused {:?} {}", error.kind(), error.to_string().replace('\n', " ")));
            }
            Err(_) => say("panic"),
        }
        fs::remove_file(path).expect("the copy goes");
    }
    say("end");
}

/// What is an answer to a damaged file.
fn is_typed(kind: &str) -> bool {
    [ErrorKind::Corrupt, ErrorKind::NewerFormat].iter().any(|known| format!("{known:?}") == kind)
}

fn damaged_files(who: &str, file: &str) {
    let seed = seed(who);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let original = folder.path().join(file);
    original::write(&original);
    let path = original.to_str().expect("a path in text");
    let images = rounds(300, 20_000);
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    let mut faults = Vec::new();
    for first in (0..images).step_by(BATCH) {
        let count = BATCH.min(images - first);
        let told = [path, &seed.to_string(), &first.to_string(), &count.to_string()];
        let mut child = Running::start("damage::reader", &told);
        let mut at = String::new();
        let mut ended = false;
        while let Some(line) = child.next() {
            let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match word {
                "image" => at = line,
                "intact" => *answers.entry(line).or_default() += 1,
                "refused" => {
                    let kind = rest.split(' ').next().unwrap_or("").to_owned();
                    if !is_typed(&kind) {
                        faults.push(format!("{at}: {line}"));
                    }
                    *answers.entry(kind).or_default() += 1;
                }
                "end" => ended = true,
                _ => faults.push(format!("{at}: {line}")),
            }
        }
        let (ended_well, text) = child.wait();
        if !ended || !ended_well {
            faults.push(format!("{at}: the process died: {text}"));
        }
    }
    let looked: usize = answers.values().sum();
    println!(
        "{who}: {looked} damaged files of {} bytes: {answers:?}, faults {}",
        fs::metadata(&original).map_or(0, |m| m.len()),
        faults.len()
    );
    assert!(
        faults.is_empty(),
        "{who}, seed {seed}, {} faults, the first: {:#?}",
        faults.len(),
        &faults[..faults.len().min(5)]
    );
    assert_eq!(looked, images, "every image is answered for");
    assert!(answers.len() > 1, "some damage must be found: {answers:?}");
}

#[cfg(feature = "redb")]
#[test]
fn a_damaged_redb_file_is_read_as_it_was_or_refused() {
    damaged_files("damage to redb", "jobs.redb");
}

#[cfg(feature = "sqlite")]
#[test]
fn a_damaged_sqlite_file_is_read_as_it_was_or_refused() {
    damaged_files("damage to SQLite", "jobs.db");
}

/// A file above what every opening checks, of which a page is damaged that no opening has need of.
fn a_large_damaged_file(file: &str, checked_bytes_max: u64) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(file);
    let payload = Json::new(&"x".repeat(1_000_000)).expect("a text is JSON");
    let new = (0..=checked_bytes_max / 1_000_000).map(|id| Ok(NewChunk::new(id).payload(payload.clone())));
    let open = |options: OpenOptions| block_on(magnetar::open_with(&path, &options));
    let store = open(OpenOptions::new()).expect("a new file");
    block_on(store.import(1, &JobSpec::new(), chunks(new), &ImportOptions::new())).expect("there is space");
    block_on(store.close()).expect("it closes");
    let mut file = File::options().read(true).write(true).open(&path).expect("it is there");
    let length = file.metadata().expect("it is there").len();
    assert!(length > checked_bytes_max);
    let mut page = [0; PAGE];
    let mut at = length / 4 / PAGE as u64 * PAGE as u64;
    // SQLite's pages begin with the number of the next one.
    while page[4..].iter().any(|byte| *byte != b'x') {
        at += PAGE as u64;
        file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut page)).expect("payloads follow");
    }
    file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(&[0; PAGE])).expect("it is ours");
    drop(file);
    block_on(open(OpenOptions::new()).expect("it is not looked at whole").close()).expect("it closes");
    let refused = open(OpenOptions::new().check_always()).expect_err("it is looked at whole");
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
}

#[cfg(feature = "redb")]
#[test]
fn a_large_damaged_redb_file_is_refused_where_it_is_always_to_be_checked() {
    a_large_damaged_file("jobs.redb", limits::REDB_CHECK_ON_OPEN_BYTES_MAX);
}

#[cfg(feature = "sqlite")]
#[test]
fn a_large_damaged_sqlite_file_is_refused_where_it_is_always_to_be_checked() {
    a_large_damaged_file("jobs.db", limits::SQLITE_CHECK_ON_OPEN_BYTES_MAX);
}
