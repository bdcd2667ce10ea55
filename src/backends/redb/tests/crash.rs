//! A disk that fails, and files that are not what they should be.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use redb::{Database, StorageBackend, TableDefinition};

use super::{Model, options, ready_rows};
use crate::backends::contract::*;
use crate::backends::redb::RedbBackend;
use crate::backends::redb::front::{Front, PAGES_AT, Pages};
use crate::codec::FORMAT;
use crate::error::{ErrorKind, Retry};

/// Memory whose writes and syncs fail once the countdown is over, and whose bytes outlive every handle.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    pub(super) bytes: Arc<Mutex<Vec<u8>>>,
    pub(super) until_failure: Arc<AtomicI64>,
}

impl Disk {
    pub(super) fn new() -> Self {
        Disk { bytes: Arc::default(), until_failure: Arc::new(AtomicI64::new(i64::MAX)) }
    }

    pub(super) fn holding(bytes: Vec<u8>) -> Self {
        Disk { bytes: Arc::new(Mutex::new(bytes)), ..Disk::new() }
    }

    fn step(&self) -> std::io::Result<()> {
        if self.until_failure.fetch_sub(1, Ordering::Relaxed) > 0 {
            Ok(())
        } else {
            Err(std::io::Error::other("the disk is gone"))
        }
    }

    /// A file of which only redb's part was begun.
    fn beginning(pages: &[u8]) -> Self {
        let mut bytes = vec![0; usize::try_from(PAGES_AT).unwrap()];
        bytes.extend_from_slice(pages);
        Disk::holding(bytes)
    }

    /// redb's part.
    pub(super) fn pages(&self) -> Pages {
        Pages::of(&Front::new(Box::new(self.clone())).unwrap())
    }

    pub(super) fn open(&self) -> crate::Result<RedbBackend> {
        let disk = self.clone();
        RedbBackend::with_backend(move || Ok(disk.clone()), options())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> std::io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        let bytes = self.bytes.lock().unwrap();
        let offset = usize::try_from(offset).unwrap();
        let part = bytes.get(offset..offset + out.len()).ok_or(std::io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(part);
        Ok(())
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.step()?;
        self.bytes.lock().unwrap().resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.step()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.step()?;
        let offset = usize::try_from(offset).unwrap();
        self.bytes.lock().unwrap()[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }
}

#[test]
fn a_failed_write_poisons_until_reopen_and_leaves_all_or_nothing() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    for countdown in 0..14 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let disk = Disk::new();
        let mut store = disk.open().unwrap();
        let (mut model, delta) = ready_rows(1);
        store.begin().unwrap().commit(delta).unwrap();
        let before = model.clone();
        let delta = model.change(&mut rng);
        disk.until_failure.store(countdown, Ordering::Relaxed);
        let result = store.begin().unwrap().commit(delta);
        if let Err(error) = &result {
            assert_eq!(
                (error.kind(), error.retry()),
                (ErrorKind::Poisoned, Retry::AfterReopen),
                "{countdown}"
            );
            assert_eq!(store.begin().err().unwrap().kind(), ErrorKind::Poisoned);
        }
        disk.until_failure.store(i64::MAX, Ordering::Relaxed);
        store.reopen().unwrap();
        store.verify().unwrap();
        let meta = store.begin().unwrap().load(&Needs::default()).unwrap().meta;
        let expected = if meta == model.meta { &model } else { &before };
        assert!(result.is_err() || meta == model.meta, "an acknowledged change is gone");
        expected.compare(&mut *store.begin().unwrap(), &mut rng);
    }
}

#[test]
fn a_creation_that_was_cut_short_anywhere_is_made_good() {
    for countdown in 0..60 {
        let disk = Disk::new();
        disk.until_failure.store(countdown, Ordering::Relaxed);
        let result = disk.open();
        drop(result);
        disk.until_failure.store(i64::MAX, Ordering::Relaxed);
        let mut store = disk.open().unwrap_or_else(|e| panic!("cut at {countdown}: {e:?}"));
        store.verify().unwrap();
    }
}

#[test]
fn a_creation_whose_header_came_before_the_files_length_is_made_good() {
    let mut header = [0; 320];
    header[9..16].copy_from_slice(&[2, 0, 0, 0, 16, 0, 0]);
    for length in 1..header.len() {
        let mut store = Disk::beginning(&header[..length]).open().unwrap();
        store.verify().unwrap();
    }
}

#[test]
fn a_creation_that_was_cut_short_within_the_magic_number_is_made_good() {
    let magic = b"redb\x1A\x0A\xA9\x0D\x0A";
    for part in 0..magic.len() {
        let mut bytes = vec![0; 72 << 10];
        bytes[..part].copy_from_slice(&magic[..part]);
        bytes[9..16].copy_from_slice(&[2, 0, 0, 0, 16, 0, 0]);
        let mut store = Disk::beginning(&bytes).open().unwrap();
        store.verify().unwrap();
    }
}

#[test]
fn a_strangers_file_is_refused_and_left_as_it_was() {
    for bytes in
        [b"hello".to_vec(), b"redb".to_vec(), vec![b'x'; 10_000], b"SQLite format 3\0".to_vec(), vec![0; 100]]
    {
        let disk = Disk::holding(bytes.clone());
        assert_eq!(disk.open().err().unwrap().kind(), ErrorKind::Corrupt);
        assert_eq!(*disk.bytes.lock().unwrap(), bytes);
    }
}

#[test]
fn a_store_of_which_only_the_front_is_left_is_cut_short_and_no_strangers() {
    let disk = Disk::new();
    disk.open().unwrap().close().unwrap();
    let whole = disk.bytes.lock().unwrap().clone();
    let front = usize::try_from(PAGES_AT).unwrap();
    for length in [32, 33, 4_096, 4_097, front - 1, front] {
        let disk = Disk::holding(whole[..length].to_vec());
        let error = disk.open().err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{length}: {error}");
        assert!(error.to_string().contains("shorter than it says"), "{length}: {error}");
        assert_eq!(*disk.bytes.lock().unwrap(), whole[..length]);
    }
}

#[test]
fn a_strangers_redb_file_and_one_without_its_record_are_refused() {
    let stranger: TableDefinition<u64, u64> = TableDefinition::new("theirs");
    let make = |name: TableDefinition<'_, u64, u64>| {
        let disk = Disk::new();
        let database = Database::builder().create_with_backend(disk.clone()).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(name).unwrap().insert(1, 2).unwrap();
        transaction.commit().unwrap();
        drop(database);
        disk
    };
    assert_eq!(make(stranger).open().err().unwrap().kind(), ErrorKind::Corrupt);
    let newer = format!("magnetar/{}/index", FORMAT + 1);
    assert_eq!(make(TableDefinition::new(&newer)).open().err().unwrap().kind(), ErrorKind::NewerFormat);

    let disk = Disk::new();
    drop(disk.open().unwrap());
    let database = Database::builder().create_with_backend(disk.pages()).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction
        .open_table(super::super::tables::INDEX)
        .unwrap()
        .remove(&super::super::tables::META[..])
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    assert_eq!(disk.open().err().unwrap().kind(), ErrorKind::Corrupt);
}

#[test]
fn no_flip_of_a_stored_byte_passes_for_something_else() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let disk = Disk::new();
    let mut store = disk.open().unwrap();
    let (model, delta) = ready_rows(20);
    store.begin().unwrap().commit(delta).unwrap();
    store.close().unwrap();
    let whole = disk.bytes.lock().unwrap().clone();
    let mut found = 0;
    for _ in 0..1_500 {
        let mut bytes = whole.clone();
        let at = rng.usize(..bytes.len());
        bytes[at] ^= 1 << rng.u8(..8);
        match Disk::holding(bytes).open() {
            Err(error) => {
                assert!(
                    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NewerFormat),
                    "byte {at}: {error:?}"
                );
                found += 1;
            }
            // A byte that nothing uses, or an older header that is as whole.
            Ok(mut store) => {
                let meta = store.begin().unwrap().load(&Needs::default()).unwrap().meta;
                let expected = if meta == model.meta { &model } else { &Model::new() };
                expected.compare(&mut *store.begin().unwrap(), &mut rng);
            }
        }
    }
    println!("{found} of 1500 found");
}

#[test]
fn a_key_longer_than_any_of_ours_is_damage() {
    use super::super::tables::{INDEX, index_tag};
    for tag in [index_tag::JOB, index_tag::DUE, index_tag::RUN] {
        let disk = Disk::new();
        let mut store = disk.open().unwrap();
        store.begin().unwrap().commit(ready_rows(20).1).unwrap();
        store.close().unwrap();
        let database = Database::builder().create_with_backend(disk.pages()).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(INDEX).unwrap().insert(&[tag; 300][..], &[1][..]).unwrap();
        transaction.commit().unwrap();
        drop(database);
        let mut store = disk.open().unwrap();
        assert_eq!(store.verify().unwrap_err().kind(), ErrorKind::Corrupt);
        let needs = Needs {
            jobs_after: Some((None, 100)),
            ready_job_from: Some(0),
            due: Some(DueNeed::SetAfter { at_ms: 0, limit: 100 }),
            owners: true,
            ..Needs::default()
        };
        // Of runs nobody asks for a class that there is not.
        match store.reader().snapshot().unwrap().load(&needs) {
            Ok(_) => assert_eq!(tag, index_tag::RUN),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt),
        }
    }
}

#[test]
fn verify_names_what_does_not_fit() {
    let disk = Disk::new();
    let mut store = disk.open().unwrap();
    let (_, delta) = ready_rows(20);
    let key = delta.rows[3].key;
    store.begin().unwrap().commit(delta).unwrap();
    store.close().unwrap();
    let whole = disk.bytes.lock().unwrap().clone();
    let tables = super::super::tables::CONTENTS;
    let disk = Disk::holding(whole);
    let database = Database::builder().create_with_backend(disk.pages()).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(tables).unwrap().remove(&super::super::tables::row(key)).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = disk.open().unwrap().verify().unwrap_err();
    assert_eq!(
        (error.kind(), error.job(), error.chunk()),
        (ErrorKind::Corrupt, Some(key.job), Some(key.chunk))
    );
}

/// A disk that counts how often it is closed.
#[derive(Debug, Clone)]
struct Counted {
    disk: Disk,
    closed: Arc<AtomicI64>,
}

impl StorageBackend for Counted {
    fn len(&self) -> std::io::Result<u64> {
        self.disk.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.disk.read(offset, out)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.disk.set_len(len)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.disk.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.disk.write(offset, data)
    }

    fn close(&self) -> std::io::Result<()> {
        self.closed.fetch_add(1, Ordering::Relaxed);
        self.disk.close()
    }
}

#[test]
fn what_a_store_was_opened_on_is_closed_once_by_a_reopening_and_once_by_the_closing() {
    let counted = Counted { disk: Disk::new(), closed: Arc::default() };
    let made = counted.clone();
    let mut store = RedbBackend::with_backend(move || Ok(made.clone()), options()).unwrap();
    let closed = || counted.closed.load(Ordering::Relaxed);
    assert_eq!(closed(), 0);
    store.reopen().unwrap();
    assert_eq!(closed(), 1);
    store.close().unwrap();
    drop(store);
    assert_eq!(closed(), 2);
}
