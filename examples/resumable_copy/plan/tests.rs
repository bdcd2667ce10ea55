//! A file that cannot be read though it could be opened, as on a disk that fails: a folder in its place does for one.

use std::fs;

use super::super::args::CHUNK_BYTES_DEFAULT;
use super::super::scan;
use super::*;

#[test]
fn of_a_tree_with_a_file_that_fails_to_be_read_all_others_are_planned() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&source).unwrap();
    for name in ["a", "b", "c"] {
        fs::write(source.join(name), name).unwrap();
    }
    let ledger = Ledger::open(&target, None, false).unwrap();
    let settings =
        Settings { version: 1, source: Name::of(&source).unwrap(), chunk_bytes: CHUNK_BYTES_DEFAULT };
    let plan = || {
        let tree = scan::scan(&source, &|_| false).unwrap();
        compare(tree, ledger.known().unwrap(), settings.clone(), &HashSet::new(), false, &target).unwrap()
    };
    let files = |plan: &Plan| plan.files().0;

    let mut new = plan();
    fs::remove_file(source.join("b")).unwrap();
    fs::create_dir(source.join("b")).unwrap();
    let imported = new.import_pieces(&ledger, &source, 2).unwrap();
    let [(path, error)] = &imported.unread[..] else { panic!("{imported:?}") };
    assert_eq!((path.as_path(), has_moved(error)), (Path::new("b"), false), "{error}");
    assert_eq!((files(&new), imported.added), (2, 2), "nothing is known of it");
    new.import_entries(&ledger).unwrap();

    // Of one that is known, what is known stays.
    fs::write(source.join("a"), "other").unwrap();
    let mut known = plan();
    fs::remove_file(source.join("a")).unwrap();
    fs::create_dir(source.join("a")).unwrap();
    let imported = known.import_pieces(&ledger, &source, 2).unwrap();
    assert_eq!((files(&known), imported.unread.len(), imported.dropped), (2, 1, 0), "{imported:?}");
    assert_eq!(known.entries[1].entry, *known.entries[1].earlier.as_ref().unwrap());
    known.import_entries(&ledger).unwrap();
    ledger.close(false).unwrap();
}
