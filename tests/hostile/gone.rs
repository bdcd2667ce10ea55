//! A file that is removed, moved or replaced while it is open: whoever has it open could go on for ever, and nobody
//! would find what it was told. No answer says then that something was kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use magnetar::{Completion, Error, ErrorKind, JobStore, NewChunk, Retry, block_on};

const JOB: i64 = 1;

#[cfg(all(feature = "redb", feature = "sqlite"))]
const NAMES: [&str; 2] = ["jobs.db", "jobs.redb"];
#[cfg(all(feature = "redb", not(feature = "sqlite")))]
const NAMES: [&str; 1] = ["jobs.redb"];
#[cfg(not(feature = "redb"))]
const NAMES: [&str; 1] = ["jobs.db"];

/// A store with two chunks, one of which is held.
struct Open {
    _folder: tempfile::TempDir,
    path: PathBuf,
    store: Arc<dyn JobStore>,
    claim: magnetar::Claim,
}

impl Open {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = folder.path().join("home");
        fs::create_dir(&home).expect("a folder");
        let path = home.join(name);
        let store = open(&path).expect("it opens");
        let claim = block_on(async {
            let chunks = (0..2).map(|id| Ok(NewChunk::new(id)));
            store.import(JOB, &Default::default(), magnetar::chunks(chunks), &Default::default()).await?;
            store.claim_pending(JOB).await
        });
        let claim = claim.expect("it works").expect("one is ready").claim();
        Open { _folder: folder, path, store, claim }
    }

    fn complete(&self) -> Result<(), Error> {
        block_on(self.store.complete(&self.claim, Completion::new())).map(drop)
    }

    fn done(&self) -> u64 {
        block_on(self.store.get_stats(JOB)).expect("it can be read").done
    }

    /// A completion is not acknowledged, nor is anything after it; both say which file it is.
    fn refuses(&self, what: &str) {
        let refused = self.complete().expect_err(what);
        assert_eq!(
            (refused.kind(), refused.retry()),
            (ErrorKind::OutcomeUnknown, Retry::AfterReopen),
            "{what}"
        );
        let later = block_on(self.store.claim_pending(JOB)).expect_err(what);
        assert_eq!(later.kind(), ErrorKind::Poisoned, "{what}");
        for text in [refused.to_string(), later.to_string()] {
            let path = self.path.to_str().expect("a text");
            assert!(text.contains(path) && text.contains("put the file back"), "{what}: {text}");
        }
    }

    fn reopen(&self) -> Result<(), Error> {
        block_on(self.store.reopen())
    }
}

fn open(path: &Path) -> Result<Arc<dyn JobStore>, Error> {
    block_on(magnetar::open(path))
}

#[test]
fn what_is_written_to_a_file_that_was_removed_is_not_acknowledged() {
    for name in NAMES {
        let open = Open::new(name);
        fs::remove_file(&open.path).expect("it was there");
        open.refuses(name);
        let reopened = open.reopen().expect_err(name);
        assert_eq!(reopened.kind(), ErrorKind::Io, "{name}");
        assert!(reopened.to_string().contains("put it back"), "{reopened}");
        assert!(!open.path.exists(), "{name} was made anew");
    }
}

#[test]
fn a_worker_that_finds_nothing_hears_that_the_file_is_gone() {
    for name in NAMES {
        let open = Open::new(name);
        block_on(open.store.claim_pending(JOB)).expect("it works").expect("one is ready");
        assert!(block_on(open.store.claim_pending(JOB)).expect("it works").is_none());
        fs::remove_file(&open.path).expect("it was there");
        block_on(open.store.claim_pending(JOB)).expect_err(name);
    }
}

#[test]
fn a_file_that_is_put_back_has_what_was_not_acknowledged_or_takes_it_again() {
    for name in NAMES {
        let open = Open::new(name);
        let away = open.path.with_extension("away");
        fs::rename(&open.path, &away).expect("it was there");
        open.refuses(name);
        open.reopen().expect_err(name);
        fs::rename(&away, &open.path).expect("it was there");
        open.reopen().expect(name);
        open.complete().expect(name);
        assert_eq!(open.done(), 1, "{name}");
        block_on(open.store.verify()).expect(name);
    }
}

#[test]
fn a_folder_that_is_moved_takes_its_store_along() {
    for name in NAMES {
        let open = Open::new(name);
        let home = open.path.parent().expect("a folder");
        let away = home.with_extension("away");
        fs::rename(home, &away).expect("it was there");
        open.refuses(name);
        block_on(open.store.close()).expect(name);
        let moved = self::open(&away.join(name)).expect(name);
        let done = block_on(moved.get_stats(JOB)).expect(name).done;
        assert!(done <= 1, "{name}");
        block_on(moved.verify()).expect(name);
    }
}

#[test]
fn a_store_never_goes_on_with_an_older_copy_of_itself() {
    for name in NAMES {
        let open = Open::new(name);
        block_on(open.store.close()).expect("it closes");
        let copy = open.path.with_extension("copy");
        fs::copy(&open.path, &copy).expect("it was there");
        let store = self::open(&open.path).expect("it opens");
        let open = Open { store, ..open };
        let claim = block_on(open.store.claim_pending(JOB)).expect("it works").expect("one is ready").claim();
        let open = Open { claim, ..open };
        open.complete().expect("it is there");
        fs::rename(&copy, &open.path).expect("it was there");
        let gone = block_on(open.store.claim_pending(JOB)).expect_err(name);
        assert_eq!(gone.kind(), ErrorKind::OutcomeUnknown, "{gone}");
        // SQLite puts the WAL, which is still there, before the copy: nothing is lost then.
        match open.reopen() {
            Ok(()) => assert_eq!((open.done(), name), (1, "jobs.db")),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{name}: {error}"),
        }
    }
}

/// SQLite's other files are the store as well: who opens it next has them from their names.
#[cfg(feature = "sqlite")]
#[test]
fn a_log_or_an_index_that_was_removed_is_noticed_and_nothing_is_lost() {
    for ending in ["-wal", "-shm"] {
        let open = Open::new("jobs.db");
        fs::remove_file(open.path.with_file_name(format!("jobs.db{ending}"))).expect("it was there");
        let refused = open.complete().expect_err(ending);
        assert_eq!(refused.kind(), ErrorKind::OutcomeUnknown, "{refused}");
        assert!(refused.to_string().contains(ending), "{refused}");
        open.reopen().expect(ending);
        open.complete().expect(ending);
        let beside = self::open(&open.path).expect(ending);
        assert_eq!(block_on(beside.get_stats(JOB)).expect(ending).done, 1, "{ending}");
        block_on(beside.verify()).expect(ending);
    }
}

/// Whoever reads an error in a log sees which of several stores it is about, at a reopening too.
#[test]
fn an_opening_that_fails_names_the_file() {
    for name in NAMES {
        let open = Open::new(name);
        let path = open.path.to_str().expect("a text").to_owned();
        fs::rename(&open.path, open.path.with_extension("away")).expect("it was there");
        open.refuses(name);
        let refused = open.reopen().expect_err(name).to_string();
        assert!(refused.contains(&path), "{refused}");
        let link = open.path.with_file_name(format!("link-{name}"));
        std::os::unix::fs::symlink(open.path.with_file_name("nowhere").join(name), &link).expect("a link");
        let refused = self::open(&link).expect_err(name).to_string();
        assert!(refused.contains("link") && refused.contains(name), "{refused}");
    }
}
