//! What only Unix has: files for their owner alone.

use std::os::unix::fs::PermissionsExt;

use crate::backends::contract::{Backend, Needs};
use crate::backends::sqlite::tests::{Folder, import};
use crate::backends::sqlite::{FileOptions, open_file};

#[test]
fn a_new_file_is_its_owner_s_alone() {
    let folder = Folder::new();
    let mut backend = open_file(&folder.file(), FileOptions::default()).unwrap();
    let mut tx = backend.begin().unwrap();
    let meta = tx.load(&Needs::default()).unwrap().meta;
    tx.commit(import(&meta, 1, 0, 10)).unwrap();
    for end in ["", "-wal", "-shm", ".lock"] {
        let path = format!("{}{end}", folder.file().display());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{path}");
    }
}
