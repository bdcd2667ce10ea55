//! Stores in files: who holds them, who may read beside, what is refused.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::{Options, RedbBackend};
use crate::backends::contract::*;
use crate::error::{ErrorKind, Retry};

fn options() -> Options {
    Options::new([5; 16])
}

fn meta(store: &mut RedbBackend) -> Meta {
    store.begin().unwrap().load(&Needs::default()).unwrap().meta
}

/// A store `jobs.redb` whose journal has what its trees lack, and its file as it would be if it were killed.
fn killed_in(directory: &Path) -> (RedbBackend, PathBuf, Meta) {
    let (path, killed) = (directory.join("jobs.redb"), directory.join("killed.redb"));
    let mut store = RedbBackend::open_file(&path, options()).unwrap();
    let (_, delta) = super::super::tests::ready_rows(5);
    let written = delta.meta.clone();
    store.begin().unwrap().commit(delta).unwrap();
    fs::copy(&path, &killed).unwrap();
    (store, killed, written)
}

#[test]
fn a_file_keeps_its_id_and_says_who_holds_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.redb");
    let mut store = RedbBackend::open_file(&path, options()).unwrap();
    let error = RedbBackend::open_file(&path, options()).err().unwrap();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Locked, Retry::Later));
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    store.reopen().unwrap();
    assert_eq!(meta(&mut store).store_id, [5; 16]);
    store.close().unwrap();
    let mut store = RedbBackend::open_file(&path, Options::new([6; 16])).unwrap();
    assert_eq!(meta(&mut store).store_id, [5; 16]);
    fs::remove_file(&path).unwrap();
    assert_eq!(store.reopen().unwrap_err().kind(), ErrorKind::Io);
    assert!(!path.exists(), "a file that has vanished was replaced");
}

#[test]
fn a_file_that_was_killed_can_be_opened_for_readers_beside_the_writer() {
    let directory = tempfile::tempdir().unwrap();
    let (_store, killed, written) = killed_in(directory.path());
    let shared = Options { shared_readers: true, ..options() };
    let mut store = RedbBackend::open_file(&killed, shared.clone()).unwrap();
    assert_eq!(meta(&mut store), written);
    let mut beside = RedbBackend::open_read_only(&killed, shared).unwrap();
    assert_eq!(beside.reader().snapshot().unwrap().load(&Needs::default()).unwrap().meta, written);
    store.verify().unwrap();
    beside.close().unwrap();
}

#[test]
fn an_empty_file_is_a_new_store() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut store = RedbBackend::open_file(file.path(), options()).unwrap();
    assert_eq!(meta(&mut store).revision, 0);
    store.verify().unwrap();
}

#[test]
fn a_folder_is_refused_by_name_and_nothing_is_made_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.redb");
    fs::create_dir(&path).unwrap();
    for error in
        [RedbBackend::open_file(&path, options()).err(), RedbBackend::open_read_only(&path, options()).err()]
    {
        let error = error.expect("it was opened");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("jobs.redb: this is a folder"), "{error}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn an_empty_path_is_refused_as_one() {
    let refused = |error: Option<crate::Error>| {
        let error = error.expect("it was opened");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("the path is empty"), "{error}");
    };
    refused(crate::RedbStore::open("").err());
    refused(crate::RedbStore::open_read_only("").err());
    refused(crate::block_on(crate::open("")).err());
}

#[test]
fn a_strangers_file_is_left_as_it_was() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "dear diary").unwrap();
    assert_eq!(RedbBackend::open_file(file.path(), options()).err().unwrap().kind(), ErrorKind::Corrupt);
    assert_eq!(fs::read_to_string(file.path()).unwrap(), "dear diary");
    let nowhere = file.path().join("below");
    assert_eq!(RedbBackend::open_file(&nowhere, options()).err().unwrap().kind(), ErrorKind::Io);
}

#[test]
fn a_file_whose_journal_has_more_than_its_trees_is_not_opened_for_reading() {
    let directory = tempfile::tempdir().unwrap();
    let (store, killed, written) = killed_in(directory.path());
    let refused = RedbBackend::open_read_only(&killed, options()).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    // One that went out of use without being closed has it all in the trees.
    drop(store);
    let reader = RedbBackend::open_read_only(&directory.path().join("jobs.redb"), options()).unwrap();
    let seen = reader.reader().snapshot().unwrap().load(&Needs::default()).unwrap().meta;
    assert_eq!(seen, written);
}

#[test]
fn readers_share_a_file_whose_writer_lets_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.redb");
    let mut alone = RedbBackend::open_file(&path, options()).unwrap();
    assert_eq!(RedbBackend::open_read_only(&path, options()).err().unwrap().kind(), ErrorKind::Locked);
    alone.close().unwrap();
    let shared = Options { shared_readers: true, ..options() };
    let mut writer = RedbBackend::open_file(&path, shared.clone()).unwrap();
    let mut reader = RedbBackend::open_read_only(&path, shared).unwrap();
    assert_eq!(reader.begin().err().unwrap().kind(), ErrorKind::Unsupported);
    let delta = super::super::tests::tick(&meta(&mut writer));
    let moved = delta.meta.clone();
    writer.begin().unwrap().commit(delta).unwrap();
    let seen = reader.reader().snapshot().unwrap().load(&Needs::default()).unwrap().meta;
    assert_eq!(seen, moved);
    reader.verify().unwrap();
}
