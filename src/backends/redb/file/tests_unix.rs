//! Who may touch a new file.

use std::os::unix::fs::PermissionsExt as _;

use super::super::{Options, RedbBackend};

#[test]
fn a_new_file_is_its_owners_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jobs.redb");
    let _store = RedbBackend::open_file(&path, Options::new([5; 16])).unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&directory.path().join("jobs.redb.owners")), 0o700);
}
