//! The journal in front of the trees: what a crash leaves of it, and what damage does to it.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use redb::{Database, StorageBackend};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::crash::Disk;
use super::{Model, options, ready_rows, tick};
use crate::backends::contract::*;
use crate::backends::redb::backend::Access;
use crate::backends::redb::edits::Edits;
use crate::backends::redb::front::{Front, PAGES_AT};
use crate::backends::redb::medium::Medium;
use crate::backends::redb::tables::{edge_tag, tree_number};
use crate::backends::redb::{RedbBackend, apply, write};
use crate::codec::Encoder;
use crate::error::{ErrorKind, Result};
use crate::model::{Durability, Json};

/// Where the journal begins.
const JOURNAL_AT: usize = 4096;

fn bytes_of(disk: &Disk) -> Vec<u8> {
    disk.bytes.lock().unwrap().clone()
}

fn meta_of(store: &mut RedbBackend) -> Meta {
    store.begin().unwrap().load(&Needs::default()).unwrap().meta
}

/// A change with payloads of so many bytes each, in a model of its own.
fn large(model: &Model, payload_bytes: usize, rng: &mut fastrand::Rng) -> (Model, Delta) {
    let payload = format!("\"{}\"", "x".repeat(payload_bytes));
    loop {
        let mut model = model.clone();
        let mut delta = model.change(rng);
        if delta.rows.iter().filter(|row| row.content.is_some()).count() <= 60 {
            continue;
        }
        for content in delta.rows.iter_mut().filter_map(|row| row.content.as_mut()) {
            Arc::make_mut(content).payload = Some(Json::trusted(&payload));
        }
        return (model, delta);
    }
}

/// A change of the model, written.
fn change(store: &mut RedbBackend, model: &mut Model, rng: &mut fastrand::Rng) {
    let delta = model.change(rng);
    store.begin().unwrap().commit(delta).unwrap();
}

/// The length of the frame at an offset of a file, rounded up to where the next one begins.
fn frame_bytes(file: &[u8], at: usize) -> usize {
    let length = u32::from_le_bytes(file[at + 16..at + 20].try_into().unwrap());
    // The highest bit says something else.
    (20 + usize::try_from(length & !(1 << 31)).unwrap()).next_multiple_of(8)
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

/// A store whose journal has frames of one length, each committed as it is told, and where they begin.
fn frames(durabilities: &[Durability]) -> (Vec<u8>, Vec<usize>) {
    let disk = Disk::new();
    let mut store = disk.open().unwrap();
    let mut places = vec![JOURNAL_AT];
    for &durability in durabilities {
        note(&mut store, durability);
        let last = places[places.len() - 1];
        places.push(last + frame_bytes(&bytes_of(&disk), last));
    }
    (bytes_of(&disk), places)
}

/// A commit of the store's own record alone: one revision more.
fn note(store: &mut RedbBackend, durability: Durability) {
    let meta = meta_of(store);
    let delta = Delta::of(Meta { revision: meta.revision + 1, ..meta });
    store.begin().unwrap().commit(Delta { durability, ..delta }).unwrap();
}

/// The revision that is found where these frames did not reach the disk.
fn found_without(file: &[u8], places: &[usize], lost: &[usize]) -> Result<(u64, Disk)> {
    let mut bytes = file.to_vec();
    lost.iter().for_each(|&frame| bytes[places[frame]..places[frame + 1]].fill(0));
    let disk = Disk::holding(bytes);
    let revision = meta_of(&mut disk.open()?).revision;
    Ok((revision, disk))
}

const RELAXED: Durability = Durability::Relaxed;
const FULL: Durability = Durability::Full;

#[test]
fn what_follows_a_frame_that_was_not_synced_and_is_lost_is_lost_too() {
    let (file, places) = frames(&[RELAXED; 5]);
    for (lost, expected) in [(vec![], 5), (vec![4], 4), (vec![3], 3), (vec![1, 3], 1), (vec![0], 0)] {
        assert_eq!(found_without(&file, &places, &lost).unwrap().0, expected, "{lost:?}");
    }
}

#[test]
fn a_frame_that_was_lost_before_a_sync_is_damage() {
    // The third one was under way when the power went, or was synced: it does not tell.
    let (file, places) = frames(&[RELAXED, RELAXED, FULL]);
    assert_eq!(found_without(&file, &places, &[1]).unwrap().0, 1);
    // The fourth one was begun when the third had been synced.
    for next in [FULL, RELAXED] {
        let (file, places) = frames(&[RELAXED, RELAXED, FULL, next]);
        assert_eq!(found_without(&file, &places, &[1]).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn frames_that_were_left_behind_lost_ones_never_follow_newer_ones() {
    let (file, places) = frames(&[RELAXED; 4]);
    for lost in [vec![0], vec![1], vec![0, 2]] {
        let (found, disk) = found_without(&file, &places, &lost).unwrap();
        for durability in [RELAXED, FULL] {
            // As many as fit in front of those that were left, so that one of those comes to stand right behind them.
            for newer in 1..=3_u64 {
                let disk = Disk::holding(bytes_of(&disk));
                let mut store = disk.open().unwrap();
                (0..newer).for_each(|_| note(&mut store, durability));
                let killed = Disk::holding(bytes_of(&disk));
                let revision = meta_of(&mut killed.open().unwrap()).revision;
                assert_eq!(revision, found + newer, "{newer} {durability:?} after {lost:?} were lost");
            }
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
fn a_journal_that_came_to_be_between_looking_and_locking_is_left_alone() {
    let mut rng = fastrand::Rng::with_seed(super::seed());
    let ours = Disk::new();
    let front = Front::new(Box::new(ours.clone())).unwrap();
    assert!(front.may_be_new());
    let theirs = Disk::new();
    let mut store = theirs.open().unwrap();
    let mut model = Model::new();
    for _ in 0..5 {
        change(&mut store, &mut model, &mut rng);
    }
    *ours.bytes.lock().unwrap() = bytes_of(&theirs);
    front.mark().unwrap();
    assert_eq!(bytes_of(&ours), bytes_of(&theirs));
    let mut store = ours.open().unwrap();
    model.compare(&mut *store.begin().unwrap(), &mut rng);
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
    let kind = |(store, _): (Result<RedbBackend>, Disk)| store.err().unwrap().kind();
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

#[test]
fn what_verifying_sets_right_is_gone_on_with_from_where_it_stands() {
    let seed = super::seed();
    let mut set_right = 0;
    for round in 0..60 {
        let mut rng = fastrand::Rng::with_seed(seed ^ round);
        let disk = Disk::new();
        let mut store = disk.open().unwrap();
        let mut model = Model::new();
        (0..3).for_each(|_| change(&mut store, &mut model, &mut rng));
        store.verify().unwrap();
        let before = bytes_of(&disk);
        (0..3).for_each(|_| change(&mut store, &mut model, &mut rng));
        // More than the journal holds: a commit of redb's own, of which a page is damaged.
        let (_, delta) = large(&model, 6_000, &mut rng);
        store.begin().unwrap().commit(delta).unwrap();
        let after = bytes_of(&disk);
        let is_new = |page: &usize| {
            before.get(page * 4096..page * 4096 + 4096) != after.get(page * 4096..page * 4096 + 4096)
        };
        let pages: Vec<usize> = (65..after.len() / 4096).filter(is_new).collect();
        let page = *rng.choice(&pages).unwrap();
        disk.bytes.lock().unwrap()[page * 4096 + rng.usize(200..2_500)] ^= 1;
        if store.verify().is_ok() {
            continue;
        }
        let Ok(meta) = store.begin().and_then(|mut transaction| transaction.load(&Needs::default())) else {
            continue;
        };
        set_right += 1;
        let delta = tick(&meta.meta);
        let written = delta.meta.clone();
        store.begin().unwrap().commit(delta).unwrap();
        let mut copy = Disk::holding(bytes_of(&disk)).open().unwrap();
        assert_eq!(meta_of(&mut copy), written, "round {round}");
    }
    assert!(set_right > 0, "no damage was set right");
}

/// Damages each page that is other than before: the file is what it was, or refused; at times it is refused.
fn without_a_page_it_is_whole_or_refused(before: &[u8], whole: &[u8], meta: &Meta) {
    let mut refused = 0;
    for page in 64..whole.len() / 4096 {
        let page = page * 4096..page * 4096 + 4096;
        if before.get(page.clone()) == whole.get(page.clone()) {
            continue;
        }
        let mut bytes = whole.to_vec();
        bytes[page.clone()].fill(7);
        match Disk::holding(bytes).open() {
            Ok(mut copy) => assert_eq!(meta_of(&mut copy), *meta, "page at {}", page.start),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt);
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "no page was missed");
}

#[test]
fn what_redb_falls_back_to_is_not_gone_on_with_by_frames_that_came_later() {
    let mut rng = fastrand::Rng::with_seed(super::seed());
    let disk = Disk::new();
    let mut store = disk.open().unwrap();
    let before = bytes_of(&disk);
    // The first commit is redb's own, and no frame stands before it.
    let (mut model, delta) = large(&Model::new(), 6_000, &mut rng);
    store.begin().unwrap().commit(delta).unwrap();
    (0..2).for_each(|_| change(&mut store, &mut model, &mut rng));
    let whole = bytes_of(&disk);
    without_a_page_it_is_whole_or_refused(&before, &whole, &model.meta);
}

#[test]
fn a_commit_of_redbs_own_makes_durable_what_was_not_synced_before_it() {
    let mut rng = fastrand::Rng::with_seed(super::seed());
    let disk = Disk::new();
    let mut store = disk.open().unwrap();
    note(&mut store, RELAXED);
    let before = bytes_of(&disk);
    let meta = meta_of(&mut store);
    let (_, mut delta) = large(&Model::new(), 6_000, &mut rng);
    delta.meta.revision += meta.revision;
    store.begin().unwrap().commit(delta).unwrap();
    // One frame behind it, which must not say that it may be missed.
    note(&mut store, FULL);
    let (whole, written) = (bytes_of(&disk), meta_of(&mut store));
    without_a_page_it_is_whole_or_refused(&before, &whole, &written);
}

#[test]
fn a_journal_that_is_full_to_the_last_byte_leaves_redbs_part_alone() {
    let commit = |payload_bytes: usize| {
        let disk = Disk::new();
        let mut store = disk.open().unwrap();
        let (_, mut delta) = ready_rows(1);
        let payload = format!("\"{}\"", "x".repeat(payload_bytes));
        let content = delta.rows.iter_mut().find_map(|row| row.content.as_mut()).unwrap();
        Arc::make_mut(content).payload = Some(Json::trusted(&payload));
        let written = delta.meta.clone();
        store.begin().unwrap().commit(delta).unwrap();
        // As a killed process leaves it.
        let bytes = bytes_of(&disk);
        assert_eq!(meta_of(&mut Disk::holding(bytes.clone()).open().unwrap()), written, "{payload_bytes}");
        let length = u32::from_le_bytes(bytes[JOURNAL_AT + 16..JOURNAL_AT + 20].try_into().unwrap());
        20 + usize::try_from(length).unwrap()
    };
    let room = usize::try_from(PAGES_AT).unwrap() - JOURNAL_AT;
    // All lengths that are told in as many bytes make frames of this much more than their payload.
    let most = room - (commit(200_000) - 200_000);
    assert_eq!(commit(most), room);
    for more in 1..=16 {
        assert_eq!(commit(most + more), 20, "it went to the journal");
    }
}

#[test]
fn who_reads_during_a_commit_of_redbs_own_hides_it_from_nobody() {
    let mut store = RedbBackend::in_memory(options()).unwrap();
    let meta = |reader: &dyn Reader| reader.snapshot().unwrap().load(&Needs::default()).unwrap().meta;
    let (reader, is_over) = (store.reader(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                meta(&*reader);
            }
        });
        let hidden = (0..40).find(|_| {
            let before = meta_of(&mut store);
            // More than the journal holds.
            let run = |i: u64| LogRun {
                subject: Subject::Chunk,
                revision: before.revision + 1 + i,
                key: Key { job: 1, chunk: i.wrapping_mul(0x9E37_79B9) },
                count: 1,
            };
            let mut delta = tick(&before);
            delta.log = (0..50_000).map(run).collect();
            delta.meta.revision += 50_000;
            let written = delta.meta.clone();
            store.begin().unwrap().commit(delta).unwrap();
            meta(&*store.reader()) != written
        });
        is_over.store(true, Ordering::SeqCst);
        assert_eq!(hidden, None, "a commit is not to be seen");
    });
}

#[test]
fn a_frame_whose_sync_failed_is_written_anew_before_anything_stands_behind_it() {
    let disk = Disk::new();
    let mut store = disk.open().unwrap();
    let (model, delta) = ready_rows(5);
    store.begin().unwrap().commit(delta).unwrap();
    let synced = bytes_of(&disk);
    // Longer than a page, and its sync fails: the system takes the pages for written, and they are not.
    let log = |i| LogRun {
        subject: Subject::Chunk,
        revision: model.meta.revision + 1 + i,
        key: Key { job: 1, chunk: i * 7 },
        count: 1,
    };
    let mut delta = tick(&model.meta);
    delta.log = (0..1_500).map(log).collect();
    delta.meta.revision += 1_500;
    let in_doubt = delta.meta.clone();
    disk.until_failure.store(1, Ordering::Relaxed);
    assert_eq!(store.begin().unwrap().commit(delta).unwrap_err().kind(), ErrorKind::Poisoned);
    disk.until_failure.store(i64::MAX, Ordering::Relaxed);
    let cached = bytes_of(&disk);
    store.reopen().unwrap();
    assert_eq!(meta_of(&mut store), in_doubt);
    let delta = tick(&in_doubt);
    let acknowledged = delta.meta.clone();
    store.begin().unwrap().commit(delta).unwrap();
    let mut image = bytes_of(&disk);
    for at in (0..synced.len()).step_by(4096) {
        let page = at..at + 4096;
        if image[page.clone()] == cached[page.clone()] {
            image[page.clone()].copy_from_slice(&synced[page]);
        }
    }
    assert_eq!(meta_of(&mut Disk::holding(image).open().unwrap()), acknowledged);
}

/// A disk that tells when it is closed.
struct Told {
    disk: Disk,
    closing: Closing,
}

type Closing = Arc<Mutex<Option<Box<dyn Fn() + Send>>>>;

impl Medium for Told {
    fn open(&self, _is_first: bool) -> Result<Box<dyn StorageBackend>> {
        Ok(Box::new(self.disk.clone()))
    }

    fn closing(&self) {
        if let Some(closing) = &*self.closing.lock().unwrap() {
            closing();
        }
    }
}

#[test]
fn who_reads_while_the_store_is_reopened_reads_what_was_acknowledged() {
    let closing = Closing::default();
    let medium = Told { disk: Disk::new(), closing: Arc::clone(&closing) };
    let mut store = RedbBackend::open(Box::new(medium), options(), Access::Write).unwrap();
    let (_, delta) = ready_rows(5);
    let acknowledged = delta.meta.clone();
    store.begin().unwrap().commit(delta).unwrap();
    let (reader, seen) = (store.reader(), Arc::new(Mutex::new(None)));
    let told = Arc::clone(&seen);
    *closing.lock().unwrap() = Some(Box::new(move || {
        *told.lock().unwrap() = Some(reader.snapshot().unwrap().load(&Needs::default()).unwrap().meta);
    }));
    store.reopen().unwrap();
    *closing.lock().unwrap() = None;
    assert_eq!(seen.lock().unwrap().take(), Some(acknowledged));
}

/// A disk that is told before a store is made on it, and fails then or does not.
struct Named {
    disk: Disk,
    made: Arc<AtomicI64>,
    fails: bool,
}

impl Medium for Named {
    fn open(&self, _is_first: bool) -> Result<Box<dyn StorageBackend>> {
        Ok(Box::new(self.disk.clone()))
    }

    fn making(&self) -> Result<()> {
        assert!(Front::new(Box::new(self.disk.clone())).unwrap().may_be_new(), "it is a store already");
        self.made.fetch_add(1, Ordering::Relaxed);
        if self.fails { Err(crate::Error::new(ErrorKind::Io, "the folder is gone")) } else { Ok(()) }
    }
}

#[test]
fn what_a_store_is_called_is_durable_before_there_is_one_whoever_created_the_file() {
    let (disk, made) = (Disk::new(), Arc::new(AtomicI64::new(0)));
    let open = |fails| {
        let medium = Named { disk: disk.clone(), made: Arc::clone(&made), fails };
        RedbBackend::open(Box::new(medium), options(), Access::Write)
    };
    assert_eq!(open(true).err().unwrap().kind(), ErrorKind::Io);
    open(false).unwrap().close().unwrap();
    assert_eq!(made.load(Ordering::Relaxed), 2);
    let mut store = open(true).unwrap();
    store.reopen().unwrap();
    store.verify().unwrap();
    assert_eq!(made.load(Ordering::Relaxed), 2);
}

/// A disk of which reads fail behind a sync, once it is told so.
#[derive(Debug, Clone)]
struct Unreadable {
    disk: Disk,
    reads_left: Arc<AtomicI64>,
    is_armed: Arc<AtomicBool>,
    was_synced: Arc<AtomicBool>,
}

impl StorageBackend for Unreadable {
    fn len(&self) -> std::io::Result<u64> {
        self.disk.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        if self.was_synced.load(Ordering::SeqCst) && self.reads_left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            return Err(std::io::Error::other("a bad sector"));
        }
        self.disk.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.disk.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.was_synced.store(self.is_armed.load(Ordering::SeqCst), Ordering::SeqCst);
        self.disk.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.disk.write(offset, data)
    }
}

#[test]
fn a_change_that_is_durable_and_not_in_the_trees_is_in_doubt_and_not_refused() {
    let mut in_doubt = 0;
    for reads_left in 0..40 {
        let mut rng = fastrand::Rng::with_seed(3);
        let disk = Unreadable {
            disk: Disk::new(),
            reads_left: Arc::new(AtomicI64::new(reads_left)),
            is_armed: Arc::default(),
            was_synced: Arc::default(),
        };
        let made = disk.clone();
        let mut options = options();
        options.cache_bytes = 0;
        let mut store = RedbBackend::with_backend(move || Ok(made.clone()), options).unwrap();
        let mut model = Model::new();
        (0..6).for_each(|_| change(&mut store, &mut model, &mut rng));
        // More than is kept in memory, and less than the journal holds.
        let (_, delta) = large(&model, 600, &mut rng);
        disk.is_armed.store(true, Ordering::SeqCst);
        let result = store.begin().unwrap().commit(delta);
        disk.is_armed.store(false, Ordering::SeqCst);
        disk.was_synced.store(false, Ordering::SeqCst);
        if let Err(error) = result {
            in_doubt += 1;
            assert_eq!(error.kind(), ErrorKind::Poisoned, "{reads_left} reads: {error:?}");
            assert_eq!(store.begin().err().unwrap().kind(), ErrorKind::Poisoned);
        }
    }
    assert!(in_doubt > 0, "no read failed");
}

#[test]
fn a_strangers_file_that_begins_with_zeros_is_left_as_it_was() {
    let mut bytes = vec![0; usize::try_from(PAGES_AT).unwrap()];
    bytes[JOURNAL_AT..].iter_mut().enumerate().for_each(|(at, byte)| *byte = u8::try_from(at % 251).unwrap());
    for tail in [0, 44 << 10] {
        let mut bytes = bytes.clone();
        bytes.resize(bytes.len() + tail, 0);
        let disk = Disk::holding(bytes.clone());
        assert_eq!(disk.open().err().unwrap().kind(), ErrorKind::Corrupt);
        assert!(bytes_of(&disk) == bytes, "a stranger's file was changed");
    }
    // Ours, without its mark and its trees, is no new one either.
    let disk = Disk::new();
    let mut store = disk.open().unwrap();
    let (_, delta) = ready_rows(5);
    store.begin().unwrap().commit(delta).unwrap();
    let mut bytes = bytes_of(&disk);
    bytes[..JOURNAL_AT].fill(0);
    bytes.truncate(usize::try_from(PAGES_AT).unwrap());
    assert_eq!(Disk::holding(bytes).open().err().unwrap().kind(), ErrorKind::Corrupt);
}

#[test]
fn a_frame_of_keys_that_are_none_is_damage() {
    let disk = Disk::new();
    drop(disk.open().unwrap());
    let whole = bytes_of(&disk);
    let short = [edge_tag::DEPENDENT, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    for (tree, key) in [
        (tree_number::EDGES, &short[..]),
        (tree_number::EDGES, &short[..2]),
        (tree_number::INDEX, &short[..]),
        (tree_number::CONTENTS, &short[..]),
        (tree_number::LOG, &[]),
        (9, &short[..]),
    ] {
        let mut edits = Edits::default();
        edits.begin(20);
        edits.put(tree, key, &[0]);
        let frame = edits.bytes();
        frame[8..16].copy_from_slice(&1_u64.to_le_bytes());
        let length = u32::try_from(frame.len() - 20).unwrap();
        frame[16..20].copy_from_slice(&length.to_le_bytes());
        let hash = xxh3_64_with_seed(&frame[8..], xxh3_64(&options().store_id));
        frame[..8].copy_from_slice(&hash.to_le_bytes());
        let mut bytes = whole.clone();
        bytes[JOURNAL_AT..JOURNAL_AT + frame.len()].copy_from_slice(frame);
        let refused = Disk::holding(bytes).open().err().map(|error| error.kind());
        assert_eq!(refused, Some(ErrorKind::Corrupt), "{tree} {key:?}");
    }
}
