//! Who may touch a new file.

use std::ops::Bound;
use std::os::unix::fs::PermissionsExt as _;

use redb::StorageBackend as _;

use super::super::{Options, RedbBackend};
use crate::error::ErrorKind;

#[test]
fn a_new_file_is_its_owners_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.redb");
    let _store = RedbBackend::open_file(&path, Options::new([5; 16])).unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&directory.path().join("jobs.redb.owners")), 0o700);
}

#[test]
fn a_file_that_a_program_in_node_has_open_is_locked_and_free_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jobs.redb");
    // As SQLite locks a database that it has to itself.
    let sqlite = || {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(folder.path().join("jobs.redb.lock"))
            .unwrap();
        let lock = redb::backends::FileBackend::new(file).unwrap();
        let range = (Bound::Included(0x4000_0000), Bound::Excluded(0x4000_0001));
        let is_taken = lock.try_lock_range(range.0, range.1).unwrap();
        is_taken.then_some(lock)
    };
    let node = sqlite().expect("nobody has it");
    let refused = RedbBackend::open_file(&path, Options::new([1; 16])).err().expect("Node has it");
    assert_eq!(refused.kind(), ErrorKind::Locked);
    drop(node);
    let store = RedbBackend::open_file(&path, Options::new([1; 16])).unwrap();
    assert!(sqlite().is_none());
    drop(store);
    // By another name too.
    let link = folder.path().join("link.redb");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let node = sqlite().expect("nobody has it");
    let refused = RedbBackend::open_file(&link, Options::new([1; 16])).err().expect("Node has it");
    assert_eq!(refused.kind(), ErrorKind::Locked);
    drop(node);
    assert!(sqlite().is_some());
}
