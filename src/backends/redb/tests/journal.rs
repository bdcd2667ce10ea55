//! The journal in front of the trees: what a crash leaves of it, and what damage does to it.

use std::sync::atomic::Ordering;

use redb::Database;

use super::crash::Disk;
use super::{Model, ready_rows};
use crate::backends::contract::*;
use crate::backends::redb::edits::Edits;
use crate::backends::redb::front::PAGES_AT;
use crate::backends::redb::{RedbBackend, apply, write};
use crate::codec::Encoder;
use crate::error::ErrorKind;

/// Where the journal begins.
const JOURNAL_AT: usize = 4096;

fn bytes_of(disk: &Disk) -> Vec<u8> {
    disk.bytes.lock().unwrap().clone()
}

fn meta_of(store: &mut RedbBackend) -> Meta {
    store.begin().unwrap().load(&Needs::default()).unwrap().meta
}

/// A change of the model, written.
fn change(store: &mut RedbBackend, model: &mut Model, rng: &mut fastrand::Rng) {
    let delta = model.change(rng);
    store.begin().unwrap().commit(delta).unwrap();
}

/// The length of the frame at an offset of a file, rounded up to where the next one begins.
fn frame_bytes(file: &[u8], at: usize) -> usize {
    let length = u32::from_le_bytes(file[at + 16..at + 20].try_into().unwrap());
    (20 + usize::try_from(length).unwrap()).next_multiple_of(8)
}

#[test]
fn a_copy_of_the_bytes_at_any_time_has_all_that_was_committed() {
    let mut rng = fastrand::Rng::with_seed(super::seed());
    let disk = Disk::new();
    let mut store = disk.open().unwrap();
    let mut model = Model::new();
    let mut begun_anew = 0;
    let mut last_frame = Vec::new();
    for step in 0..300 {
        change(&mut store, &mut model, &mut rng);
        if rng.u8(..5) == 0 {
            model.compare(&mut *store.reader().snapshot().unwrap(), &mut rng);
        }
        let bytes = bytes_of(&disk);
        let first = bytes[JOURNAL_AT..JOURNAL_AT + 20].to_vec();
        begun_anew += usize::from(first != last_frame);
        last_frame = first;
        // As a killed process leaves it, and then as a second one does, which read it and wrote more.
        let killed = Disk::holding(bytes);
        let mut copy = killed.open().unwrap();
        model.compare(&mut *copy.begin().unwrap(), &mut rng);
        if step % 10 == 0 {
            let mut model = model.clone();
            for _ in 0..3 {
                change(&mut copy, &mut model, &mut rng);
            }
            let mut copy = Disk::holding(bytes_of(&killed)).open().unwrap();
            model.compare(&mut *copy.begin().unwrap(), &mut rng);
            copy.verify().unwrap();
        }
    }
    assert!(begun_anew > 2, "the journal was never full: {begun_anew}");
    store.close().unwrap();
    let mut store = disk.open().unwrap();
    model.compare(&mut *store.begin().unwrap(), &mut rng);
    store.verify().unwrap();
}

#[test]
fn a_spoilt_last_frame_was_never_told_of_and_one_before_it_is_damage() {
    let mut rng = fastrand::Rng::with_seed(super::seed());
    let disk = Disk::new();
    let mut store = disk.open().unwrap();
    let (mut model, delta) = ready_rows(5);
    store.begin().unwrap().commit(delta).unwrap();
    let before = model.clone();
    let second = JOURNAL_AT + frame_bytes(&bytes_of(&disk), JOURNAL_AT);
    change(&mut store, &mut model, &mut rng);
    let whole = bytes_of(&disk);
    let end = second + frame_bytes(&whole, second);
    for _ in 0..200 {
        let mut bytes = whole.clone();
        let at = rng.usize(JOURNAL_AT..end);
        // What the length of a frame is rounded up by is nothing.
        bytes[at] ^= 1 << rng.u8(..8);
        match (at < second, Disk::holding(bytes).open()) {
            (true, Err(error)) => assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}"),
            (_, Ok(mut copy)) => {
                let meta = meta_of(&mut copy);
                let is_padding = meta == model.meta;
                assert!(is_padding || at >= second, "byte {at} of a frame was not missed");
                let expected = if is_padding { &model } else { &before };
                expected.compare(&mut *copy.begin().unwrap(), &mut rng);
            }
            (false, Err(error)) => panic!("byte {at} of the last frame: {error:?}"),
        }
    }
}

#[test]
fn frames_of_another_store_are_nothing() {
    let of = |id| {
        let disk = Disk::new();
        let made = disk.clone();
        let options = super::Options::new([id; 16]);
        let mut store = RedbBackend::with_backend(move || Ok(made.clone()), options).unwrap();
        let empty = bytes_of(&disk);
        let (_, delta) = ready_rows(5);
        store.begin().unwrap().commit(delta).unwrap();
        (empty, bytes_of(&disk))
    };
    let (mut one, _) = of(1);
    let (_, other) = of(2);
    let pages = usize::try_from(PAGES_AT).unwrap();
    one[..pages].copy_from_slice(&other[..pages]);
    assert_eq!(meta_of(&mut Disk::holding(one).open().unwrap()).revision, 0);
}

#[test]
fn after_an_error_of_the_journal_nothing_is_written_until_the_store_is_reopened() {
    // The write fails, or its sync.
    for countdown in 0..2 {
        let disk = Disk::new();
        let mut store = disk.open().unwrap();
        let (mut model, delta) = ready_rows(5);
        store.begin().unwrap().commit(delta).unwrap();
        let before = model.clone();
        let mut rng = fastrand::Rng::with_seed(7);
        disk.until_failure.store(countdown, Ordering::Relaxed);
        let delta = model.change(&mut rng);
        assert_eq!(store.begin().unwrap().commit(delta).unwrap_err().kind(), ErrorKind::Poisoned);
        disk.until_failure.store(i64::MAX, Ordering::Relaxed);
        let failed = bytes_of(&disk);
        // What was acknowledged can be read, though the trees cannot take it any more.
        before.compare(&mut *store.reader().snapshot().unwrap(), &mut rng);
        let _ = store.close();
        assert!(bytes_of(&disk) == failed, "something was written behind an error");
        let mut store = disk.open().unwrap();
        let expected = if meta_of(&mut store) == model.meta { &model } else { &before };
        expected.compare(&mut *store.begin().unwrap(), &mut rng);
        store.verify().unwrap();
    }
}

#[test]
fn the_mark_is_mended_where_it_is_lost_and_refused_where_it_says_something_else() {
    let disk = Disk::new();
    let mut store = disk.open().unwrap();
    let (model, delta) = ready_rows(5);
    store.begin().unwrap().commit(delta).unwrap();
    let whole = bytes_of(&disk);
    drop(store);
    let opened = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        let disk = Disk::holding(bytes);
        (disk.open(), disk)
    };
    let (store, disk) = opened(&|bytes| bytes[..JOURNAL_AT].fill(0));
    assert_eq!(meta_of(&mut store.unwrap()), model.meta);
    assert_eq!(bytes_of(&disk)[..JOURNAL_AT], whole[..JOURNAL_AT]);
    let kind = |(store, _): (crate::Result<RedbBackend>, Disk)| store.err().unwrap().kind();
    assert_eq!(kind(opened(&|bytes| bytes[12] = 3)), ErrorKind::NewerFormat);
    assert_eq!(kind(opened(&|bytes| bytes[12] = 1)), ErrorKind::Corrupt);
    assert_eq!(kind(opened(&|bytes| bytes[20] = 9)), ErrorKind::Corrupt);
    assert_eq!(kind(opened(&|bytes| bytes[3] = 9)), ErrorKind::Corrupt);
    // With the mark there is no new store, whatever redb's part looks like.
    let pages = usize::try_from(PAGES_AT).unwrap();
    assert_eq!(kind(opened(&|bytes| bytes[pages..].fill(0))), ErrorKind::Corrupt);
    assert_eq!(kind(opened(&|bytes| bytes.truncate(pages))), ErrorKind::Corrupt);
}

#[test]
fn a_file_of_format_1_works_without_a_journal() {
    let mut rng = fastrand::Rng::with_seed(super::seed());
    let disk = Disk::new();
    let database = Database::builder().create_with_backend(disk.clone()).unwrap();
    let mut edits = Edits::default();
    write::meta(&mut edits, &mut Encoder::default(), &Model::new().meta);
    for _ in 0..2 {
        let transaction = database.begin_write().unwrap();
        apply::create(&transaction).unwrap();
        apply::apply(&transaction, &edits.entries(0)).unwrap();
        transaction.commit().unwrap();
    }
    drop(database);
    let mut store = disk.open().unwrap();
    let mut model = Model::new();
    for _ in 0..30 {
        change(&mut store, &mut model, &mut rng);
    }
    let mut copy = Disk::holding(bytes_of(&disk)).open().unwrap();
    model.compare(&mut *copy.begin().unwrap(), &mut rng);
    store.verify().unwrap();
    store.close().unwrap();
    assert!(bytes_of(&disk).starts_with(b"redb"), "it became another file");
}
