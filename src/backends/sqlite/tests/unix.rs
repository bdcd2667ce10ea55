//! What only Unix has: files for their owner alone.

use std::os::unix::fs::PermissionsExt;

use crate::backends::contract::{Backend, Needs};
use crate::backends::sqlite::tests::{Folder, import};
use crate::backends::sqlite::{FileOptions, open_file};
use crate::error::ErrorKind;

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

#[test]
fn a_name_that_is_no_utf_8_is_refused_before_anything_is_made() {
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::new();
    let parent = folder.file().parent().unwrap().to_owned();
    let path = parent.join(std::ffi::OsStr::from_bytes(b"jobs-\xff.db"));
    assert_eq!(open_file(&path, FileOptions::default()).err().unwrap().kind(), ErrorKind::InvalidInput);
    assert_eq!(std::fs::read_dir(parent).unwrap().count(), 0);
}

/// Or who opens the link first, and makes the file, keeps its locks where nobody looks for them who comes later.
#[test]
fn a_link_to_a_file_that_is_still_to_be_made_is_known_by_the_name_of_the_file() {
    use crate::{ImportOptions, JobSpec, JobStore as _, NewChunk, SqliteStore, block_on, chunks};
    let (folder, links) = (Folder::new(), Folder::new());
    let (file, link) = (folder.file(), links.file());
    let further = link.with_extension("further");
    std::os::unix::fs::symlink(&file, &further).unwrap();
    std::os::unix::fs::symlink(further.file_name().unwrap(), &link).unwrap();
    let store = block_on(SqliteStore::open(&link)).unwrap();
    let new = chunks([Ok(NewChunk::new(0))]);
    block_on(store.import(1, &JobSpec::new(), new, &ImportOptions::new())).unwrap();
    block_on(store.claim_pending(1)).unwrap().unwrap();
    assert_eq!(std::fs::read_dir(link.parent().unwrap()).unwrap().count(), 2, "nothing is beside the links");
    for end in ["-wal", ".lock", ".owners"] {
        assert!(std::fs::metadata(format!("{}{end}", file.display())).is_ok(), "{end}");
    }
}

#[test]
fn a_path_is_taken_at_its_limit_and_refused_one_past_it_before_anything_is_made() {
    use crate::{JobStore as _, SqliteStore, block_on};
    let folder = Folder::new();
    let mut deep = folder.file().parent().unwrap().canonicalize().unwrap();
    while deep.as_os_str().len() < 400 {
        deep.push("d".repeat(90));
    }
    std::fs::create_dir_all(&deep).unwrap();
    let of = |bytes: usize| deep.join("n".repeat(bytes - deep.as_os_str().len() - 1));
    let error = block_on(SqliteStore::open(of(505))).expect_err("it was opened");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("has 505 bytes, and SQLite takes 504 at most"), "{error}");
    assert_eq!(std::fs::read_dir(&deep).unwrap().count(), 0);
    let store = block_on(SqliteStore::open(of(504))).unwrap();
    block_on(store.verify()).unwrap();
    block_on(store.close()).unwrap();
}

/// The locks on a file, by inode, as the system lists them.
fn locks_on(path: &std::path::Path) -> Option<usize> {
    use std::os::unix::fs::MetadataExt;
    let inode = format!(":{} ", std::fs::metadata(path).unwrap().ino());
    let own = format!(" {} ", std::process::id());
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let of_file = |line: &&str| line.contains("POSIX") && line.contains(&inode) && line.contains(&own);
    Some(locks.lines().filter(of_file).count())
}

#[test]
fn opening_a_file_again_ends_no_lock_of_a_store_that_has_it_open() {
    let folder = Folder::new();
    let path = folder.file();
    let first = open_file(&path, FileOptions::default()).unwrap();
    let Some(held) = locks_on(&path) else {
        println!("not run: this system does not list its locks");
        return;
    };
    assert!(held > 0, "SQLite locks a file that has a WAL");
    let second = open_file(&path, FileOptions::default()).unwrap();
    assert!(locks_on(&path) >= Some(held));
    drop(second);
    assert_eq!(locks_on(&path), Some(held));
    drop(first);
}

#[test]
fn a_file_with_a_second_name_of_equal_rank_is_refused_under_both() {
    let folder = Folder::new();
    let (path, other) = (folder.file(), folder.file().with_extension("other"));
    open_file(&path, FileOptions::default()).unwrap().close().unwrap();
    std::fs::hard_link(&path, &other).unwrap();
    for name in [&path, &other] {
        let error = open_file(name, FileOptions::default()).err().expect("it was opened");
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("2 names"), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
    open_file(&other, FileOptions::default()).unwrap().verify().unwrap();
}
