//! Files: ours, somebody else's, new ones, and several processes at one.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::backends::contract::{Backend, Class, Delta, Needs, PageNeed, page_of};
use crate::backends::sqlite::connection::Connection;
use crate::backends::sqlite::pragmas::{self, Role};
use crate::backends::sqlite::tests::{Folder, import, outside};
use crate::backends::sqlite::{FileOptions, SqliteBackend, open_file};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Completion, OwnerId};
use crate::owners::{Liveness, Probe};
use crate::{JobSpec, JobStatus, JobStore as _, block_on};

fn open(path: &Path) -> Result<SqliteBackend> {
    open_file(path, FileOptions::default())
}

fn refusal(path: &Path) -> Error {
    let before = std::fs::read(path).unwrap();
    let error = open(path).err().expect("it was opened");
    assert_eq!(std::fs::read(path).unwrap(), before, "it was changed");
    error
}

fn add_ten(backend: &mut SqliteBackend, job: i64) -> Result<()> {
    let mut tx = backend.begin()?;
    let meta = tx.load(&Needs::default())?.meta;
    tx.commit(import(&meta, job, 0, 10))
}

fn ready(backend: &mut SqliteBackend, job: i64) -> u64 {
    let mut tx = backend.begin().unwrap();
    let loaded = tx.load(&Needs { jobs: [job].into(), ..Needs::default() }).unwrap();
    loaded.jobs[&job].as_ref().map_or(0, |job| job.counts.of(Class::Ready))
}

#[test]
fn what_cannot_be_a_file_is_refused_by_name_and_nothing_is_made_beside_it() {
    let folder = Folder::new();
    let path = folder.file();
    std::fs::create_dir(&path).unwrap();
    let refused = |path: &Path, says: &str| {
        let error = block_on(crate::SqliteStore::open(path)).expect_err("it was opened");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(says), "{error}");
    };
    refused(&path, "is a folder");
    refused(Path::new(""), "the path is empty");
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn what_is_not_ours_is_refused_and_left_as_it_is() {
    let folder = Folder::new();
    let text = folder.file();
    std::fs::write(&text, "notes, and no database").unwrap();
    assert_eq!(refusal(&text).kind(), ErrorKind::Corrupt);
    std::fs::write(&text, "x").unwrap();
    assert_eq!(refusal(&text).kind(), ErrorKind::Corrupt);
    std::fs::write(&text, vec![0; 4096]).unwrap();
    assert_eq!(refusal(&text).kind(), ErrorKind::Corrupt);
    std::fs::write(&text, "").unwrap();
    outside(&text, "PRAGMA journal_mode=WAL; CREATE TABLE somebodys(own INTEGER);");
    let error = refusal(&text);
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("not a Magnetar store"), "{error}");
}

#[test]
fn an_empty_file_is_a_new_store() {
    let folder = Folder::new();
    std::fs::write(folder.file(), "").unwrap();
    let mut backend = open(&folder.file()).unwrap();
    add_ten(&mut backend, 1).unwrap();
    backend.close().unwrap();
    let mut backend = open(&folder.file()).unwrap();
    assert_eq!(ready(&mut backend, 1), 10);
    backend.verify().unwrap();
}

#[test]
fn a_wal_that_has_lost_its_file_is_no_new_store_and_stays() {
    let folder = Folder::new();
    let path = folder.file();
    let wal = path.with_file_name(format!("{}-wal", path.file_name().unwrap().to_str().unwrap()));
    let mut backend = open(&path).unwrap();
    add_ten(&mut backend, 1).unwrap();
    let away = path.with_extension("away");
    std::fs::rename(&path, &away).unwrap();
    let left = std::fs::read(&wal).unwrap();
    for empty in [false, true] {
        if empty {
            std::fs::write(&path, "").unwrap();
        }
        let error = open(&path).err().expect("it was opened");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("-wal has the last changes"), "{error}");
        assert_eq!((path.exists(), std::fs::read(&wal).unwrap() == left), (empty, true));
    }
    std::fs::rename(&away, &path).unwrap();
    assert_eq!(ready(&mut open(&path).unwrap(), 1), 10);
}

#[test]
fn whoever_verifies_waits_for_nobody_and_nobody_waits_for_them() {
    let folder = Folder::new();
    let mut backend = open(&folder.file()).unwrap();
    add_ten(&mut backend, 1).unwrap();
    let reader = backend.reader();
    let mut tx = backend.begin().unwrap();
    // From here on it holds the writer's lock.
    let meta = tx.load(&Needs::default()).unwrap().meta;
    reader.verify().unwrap();
    let snapshot = reader.snapshot().unwrap();
    tx.commit(import(&meta, 2, 0, 10)).unwrap();
    drop(snapshot);
    reader.verify().unwrap();
}

#[test]
fn a_creation_that_was_cut_short_is_finished() {
    let folder = Folder::new();
    outside_create(&folder.file(), "PRAGMA application_id = 1298624116; PRAGMA journal_mode=WAL;");
    let mut backend = open(&folder.file()).unwrap();
    add_ten(&mut backend, 1).unwrap();
    backend.close().unwrap();
}

fn outside_create(path: &Path, sql: &'static str) {
    std::fs::write(path, "").unwrap();
    outside(path, sql);
}

#[test]
fn a_newer_format_is_named_so() {
    let folder = Folder::new();
    open(&folder.file()).unwrap().close().unwrap();
    outside(&folder.file(), "PRAGMA user_version = 5;");
    assert_eq!(open(&folder.file()).err().unwrap().kind(), ErrorKind::NewerFormat);
}

/// A newer build brings the file to its own format while it is open here, and its tables may be other ones.
#[test]
fn a_file_that_becomes_one_of_a_newer_format_while_it_is_open_is_named_so_and_left_as_it_is() {
    for sql in [
        "PRAGMA user_version = 5;",
        "ALTER TABLE meta RENAME COLUMN revision TO newest; ALTER TABLE states RENAME COLUMN fence TO claim; \
         PRAGMA user_version = 5;",
    ] {
        let folder = Folder::new();
        let store = block_on(crate::SqliteStore::open(folder.file())).unwrap();
        let job = block_on(store.new_job(&JobSpec::new())).unwrap();
        // From memory too.
        block_on(store.delete_job(job)).unwrap();
        outside(&folder.file(), sql);
        let jobs = outside(&folder.file(), "SELECT count(*) || '' FROM jobs");
        for _ in 0..2 {
            assert_eq!(block_on(store.new_job(&JobSpec::new())).unwrap_err().kind(), ErrorKind::NewerFormat);
            assert_eq!(block_on(store.get_stats(job)).unwrap_err().kind(), ErrorKind::NewerFormat);
        }
        assert_eq!(outside(&folder.file(), "SELECT count(*) || '' FROM jobs"), jobs);
        assert_eq!(block_on(store.reopen()).unwrap_err().kind(), ErrorKind::NewerFormat);
    }
}

/// Somebody alters our tables beside an open store, and puts them back.
#[test]
fn a_store_whose_tables_were_altered_says_so_and_goes_on_once_they_are_put_back() {
    for (there, back) in [
        (
            "ALTER TABLE states RENAME COLUMN fence TO claim",
            "ALTER TABLE states RENAME COLUMN claim TO fence",
        ),
        ("ALTER TABLE meta RENAME TO gone", "ALTER TABLE gone RENAME TO meta"),
    ] {
        let folder = Folder::new();
        let store = block_on(crate::SqliteStore::open(folder.file())).unwrap();
        let chunks = crate::chunks([Ok(crate::NewChunk::new(0))]);
        block_on(store.import(7, &JobSpec::new(), chunks, &crate::ImportOptions::new())).unwrap();
        outside(&folder.file(), there);
        for _ in 0..3 {
            assert_eq!(block_on(store.claim_pending(7)).unwrap_err().kind(), ErrorKind::Corrupt);
            let error = block_on(store.get_by_status(7, JobStatus::Pending)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
        outside(&folder.file(), back);
        let chunk = block_on(store.claim_pending(7)).unwrap().unwrap();
        block_on(store.complete(&chunk.claim(), Completion::new())).unwrap();
        block_on(store.verify()).unwrap();
    }
}

/// The file is replaced while there is no connection to it.
#[test]
fn a_store_that_was_altered_and_replaced_by_another_is_not_taken_for_it() {
    let (folder, other) = (Folder::new(), Folder::new());
    let store = block_on(crate::SqliteStore::open(folder.file())).unwrap();
    let job = block_on(store.new_job(&JobSpec::new())).unwrap();
    open(&other.file()).unwrap().close().unwrap();
    outside(&folder.file(), "ALTER TABLE meta RENAME TO gone");
    for _ in 0..2 {
        block_on(store.delete_job(job)).unwrap_err();
    }
    std::fs::remove_file(folder.file()).unwrap();
    for name in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{name}", folder.file().display()));
    }
    std::fs::copy(other.file(), folder.file()).unwrap();
    let error = block_on(store.new_job(&JobSpec::new())).unwrap_err();
    assert!(error.to_string().contains("another store stands where this one was opened"), "{error}");
    assert_eq!(outside(&folder.file(), "SELECT count(*) || '' FROM jobs"), ["0"]);
}

/// A store as the build before this format wrote it, and what that said of its chunks.
const FORMAT_3: &str = include_str!("format_3.sql");
const FORMAT_3_CHUNKS: &str = include_str!("format_3.jsonl");

/// Takes a file of format 3 back to format 2; and views that somebody made.
const BACK_TO_2: &str = "\
PRAGMA legacy_alter_table = ON; DROP INDEX dependencies_of; ALTER TABLE dependencies RENAME TO newer;
CREATE TABLE dependencies (
    job INTEGER NOT NULL,
    chunk INTEGER NOT NULL CHECK (chunk BETWEEN 0 AND 9007199254740991),
    depends_on INTEGER NOT NULL CHECK (depends_on BETWEEN 0 AND 9007199254740991),
    met INTEGER NOT NULL CHECK (met IN (0, 1)),
    edge_sum INTEGER NOT NULL,
    PRIMARY KEY (job, chunk, depends_on)
) STRICT, WITHOUT ROWID;
INSERT INTO dependencies SELECT job, chunk, depends_on, met, edge_sum FROM newer; DROP TABLE newer;
CREATE INDEX dependencies_dependents ON dependencies (job, depends_on, chunk);
DELETE FROM _sqlx_migrations WHERE version = 3; PRAGMA user_version = 2;";

/// Views that somebody made.
const VIEWS: &str = "\
CREATE VIEW of_dependencies AS SELECT CAST(count(*) AS TEXT) FROM dependencies;
CREATE VIEW of_dependencies_v AS SELECT CAST(count(*) AS TEXT) FROM dependencies_v WHERE state = 'unmet';
CREATE VIEW of_states AS SELECT CAST(sum(unmet) AS TEXT) FROM states;
CREATE VIEW of_chunks_v AS SELECT group_concat(chunk || '=' || status, ' ') FROM chunks_v WHERE job_id = 1 AND chunk < 6;
CREATE VIEW of_nothing AS SELECT * FROM what_somebody_dropped;";

fn chunks(store: &crate::SqliteStore) -> String {
    let mut text = String::new();
    for (job, status) in [1, 2].into_iter().flat_map(|job| JobStatus::ALL.map(|status| (job, status))) {
        for chunk in block_on(store.get_by_status(job, status)).unwrap() {
            text += &(serde_json::to_string(&chunk).unwrap() + "\n");
        }
    }
    text
}

#[test]
fn a_file_of_a_format_before_is_brought_up_to_date_and_loses_nothing() {
    for back in [None, Some(BACK_TO_2)] {
        let folder = Folder::new();
        let path = folder.file();
        outside_create(&path, FORMAT_3);
        if let Some(sql) = back {
            outside(&path, sql);
        }
        outside(&path, VIEWS);
        check_updated(&path);
    }
}

/// The time at which the file was written: nothing in it is due.
#[derive(Debug)]
struct Then;

impl crate::Clock for Then {
    fn now_ms(&self) -> u64 {
        1_795_797_701_160
    }
}

fn check_updated(path: &Path) {
    use crate::{Claim, JobStore as _, Json, OpenOptions, block_on};
    let options = OpenOptions::new().clock(Arc::new(Then));
    let store = block_on(crate::SqliteStore::open_with(path, &options)).unwrap();
    block_on(store.verify()).unwrap();
    assert_eq!(chunks(&store), FORMAT_3_CHUNKS);
    let dependencies = |chunk| block_on(store.get_dependencies(2, chunk)).unwrap();
    assert_eq!((dependencies(3), dependencies(11)), (vec![0], vec![1, 4, 7, 10]));
    // The views of whoever made some.
    let edges: usize = 1 + (0..12).map(|chunk| dependencies(chunk).len()).sum::<usize>();
    assert_eq!(outside(path, "SELECT * FROM of_dependencies"), [edges.to_string()]);
    assert_eq!(outside(path, "SELECT * FROM of_dependencies_v"), outside(path, "SELECT * FROM of_states"));
    assert_eq!(
        outside(path, "SELECT * FROM of_chunks_v"),
        ["0=done 1=pending 2=processing 3=processing 4=failed 5=pending"]
    );
    // Whose claim was settled is known to have settled it, and is answered as before.
    let claim = |chunk, fence| Claim { job_id: 1, chunk, fence };
    let result = |number: i32| Completion::new().checksum("c").output(Json::new(&number).unwrap());
    block_on(store.complete(&claim(0, 11), result(7))).unwrap();
    assert_eq!(
        block_on(store.complete(&claim(0, 11), result(8))).unwrap_err().kind(),
        ErrorKind::ResultConflict
    );
    block_on(store.fail(&claim(1, 12), "not today")).unwrap();
    assert_eq!(
        block_on(store.release(&claim(1, 12))).unwrap_err().kind(),
        ErrorKind::Superseded,
        "it failed, and was not given back"
    );
    block_on(store.release(&claim(5, 16))).unwrap();
    assert_eq!(
        block_on(store.fail(&claim(4, 15), "marked")).unwrap_err().kind(),
        ErrorKind::Superseded,
        "somebody else failed it"
    );
    assert_eq!(chunks(&store), FORMAT_3_CHUNKS, "none of these changed anything");
    // Whose claim is open goes on with it.
    block_on(store.complete(&claim(2, 13), result(1))).unwrap();
    block_on(store.heartbeat(&claim(3, 14))).unwrap();
    block_on(store.complete(&claim(3, 14), result(1))).unwrap();
    let mut done = 1;
    while let Some(chunk) = block_on(store.claim_pending(2)).unwrap() {
        block_on(store.complete(&chunk.claim(), Completion::new())).unwrap();
        done += 1;
    }
    assert_eq!(done, 12);
    block_on(store.verify()).unwrap();
    block_on(store.close()).unwrap();
}

#[test]
fn a_trigger_is_refused_by_name_and_a_view_is_not() {
    let folder = Folder::new();
    open(&folder.file()).unwrap().close().unwrap();
    outside(&folder.file(), "CREATE VIEW mine AS SELECT * FROM chunks_v;");
    open(&folder.file()).unwrap().close().unwrap();
    outside(&folder.file(), "CREATE TRIGGER sly AFTER UPDATE ON states BEGIN DELETE FROM jobs; END;");
    let error = open(&folder.file()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("sly"), "{error}");
}

/// Notes on our rows, by somebody who has a rule that each is on one that is there.
#[test]
fn a_table_that_somebody_added_holds_up_neither_a_deletion_nor_a_migration() {
    const NOTES: &str = "CREATE TABLE notes(job INTEGER REFERENCES jobs(job) DEFERRABLE INITIALLY DEFERRED, \
         chunk INTEGER, text TEXT, \
         FOREIGN KEY (job, chunk) REFERENCES states(job, chunk)); INSERT INTO notes VALUES (1, 0, 'look at this');";
    let folder = Folder::new();
    outside_create(&folder.file(), FORMAT_3);
    outside(&folder.file(), NOTES);
    let store = block_on(crate::SqliteStore::open(folder.file())).unwrap();
    block_on(store.verify()).unwrap();
    outside(&folder.file(), "INSERT INTO notes VALUES (1, 1, 'and at this');");
    block_on(store.delete_job(1)).unwrap();
    assert_eq!(outside(&folder.file(), "SELECT count(*) || '' FROM notes"), ["2"]);
}

#[test]
fn an_index_of_somebody_s_that_refuses_a_change_is_named_so() {
    let folder = Folder::new();
    let store = block_on(crate::SqliteStore::open(folder.file())).unwrap();
    outside(&folder.file(), "CREATE UNIQUE INDEX mine ON contents (checksum);");
    let import = |chunks: std::ops::Range<u64>| {
        let new = chunks.map(|chunk| Ok(crate::NewChunk::new(chunk).checksum("one for all")));
        block_on(store.import(1, &JobSpec::new(), crate::chunks(new), &crate::ImportOptions::new()))
    };
    let error = import(0..2).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    let text = error.to_string();
    assert!(text.contains("somebody added") && text.contains("contents.checksum"), "{text}");
    import(0..1).unwrap();
    outside(&folder.file(), "DROP INDEX mine;");
    import(0..2).unwrap();
}

/// It has all that a list needs, and has it backwards.
#[test]
fn an_index_of_somebody_s_puts_no_list_out_of_order() {
    const CONTENTS: &str = "CREATE INDEX mine ON contents (job, chunk DESC, checksum, payload, priority, attempts_max, \
         losses_max, on_dependency_failure, created_at_ms, updated_at_ms, revision, content_sum);";
    const STATES: &str = "CREATE INDEX mine ON states (job, chunk DESC, class, rank, unmet, unmet_sum, attempts, \
         losses, fence, settled, owner, claim_seq, lease_set_at_ms, lease_ms, not_before_set_at_ms, not_before_ms, cause, \
         updated_at_ms, revision, observed, error, output, record_sum);";
    for sql in [CONTENTS, STATES] {
        let folder = Folder::new();
        let mut backend = open(&folder.file()).unwrap();
        let meta = backend.begin().unwrap().load(&Needs::default()).unwrap().meta;
        backend.begin().unwrap().commit(import(&meta, 1, 0, 1_000)).unwrap();
        outside(&folder.file(), sql);
        for classes in [&[][..], &[Class::Ready]] {
            let need = PageNeed { job: 1, classes, after: None, limit: 1_000 };
            let reader = backend.reader();
            let page = page_of(&mut *reader.snapshot().unwrap(), &need).unwrap();
            assert!(page.iter().map(|row| row.key.chunk).eq(0..1_000), "{sql}");
        }
    }
}

#[test]
fn damage_is_found_when_the_file_is_opened() {
    let folder = Folder::new();
    let mut backend = open(&folder.file()).unwrap();
    let mut tx = backend.begin().unwrap();
    let meta = tx.load(&Needs::default()).unwrap().meta;
    tx.commit(import(&meta, 1, 0, 5_000)).unwrap();
    backend.close().unwrap();
    let mut bytes = std::fs::read(folder.file()).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 64].fill(0xff);
    std::fs::write(folder.file(), bytes).unwrap();
    assert_eq!(open(&folder.file()).err().unwrap().kind(), ErrorKind::Corrupt);
}

#[test]
fn every_setting_is_read_back() {
    let folder = Folder::new();
    open(&folder.file()).unwrap().close().unwrap();
    let mut connection = Connection::open_file(&folder.file()).unwrap();
    pragmas::apply(&mut connection, Role::Writer).unwrap();
    for (sql, expected) in [
        ("PRAGMA journal_mode", "wal"),
        ("PRAGMA synchronous", "2"),
        ("PRAGMA foreign_keys", "0"),
        ("PRAGMA temp_store", "2"),
        ("PRAGMA trusted_schema", "0"),
        ("PRAGMA cell_size_check", "1"),
        ("PRAGMA mmap_size", "0"),
        ("PRAGMA journal_size_limit", "-1"),
        ("PRAGMA ignore_check_constraints", "1"),
        ("PRAGMA fullfsync", "1"),
    ] {
        assert_eq!(pragmas::single(&mut connection, sql).unwrap(), expected, "{sql}");
    }
    // A setting that does not take: another mode of the file, for a reader.
    connection.close().unwrap();
    outside(&folder.file(), "PRAGMA journal_mode=DELETE;");
    let mut connection = Connection::open_file(&folder.file()).unwrap();
    let error = pragmas::apply(&mut connection, Role::Reader).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("journal_mode"), "{error}");
}

#[test]
fn eight_threads_create_one_file_at_once() {
    let folder = Folder::new();
    let path = folder.file();
    thread::scope(|scope| {
        for job in 0..8 {
            let path = &path;
            scope.spawn(move || {
                let mut backend = open(path).unwrap();
                for _ in 0..5 {
                    add_one_chunk(&mut backend, job);
                }
                backend.close().unwrap();
            });
        }
    });
    finish_eight(&path);
}

/// Adds the next chunk to a job.
fn add_one_chunk(backend: &mut SqliteBackend, job: i64) {
    let mut tx = backend.begin().unwrap();
    let loaded = tx.load(&Needs { jobs: [job].into(), ..Needs::default() }).unwrap();
    let from = loaded.jobs[&job].as_ref().map_or(0, |job| job.counts.of(Class::Ready));
    let mut delta = import(&loaded.meta, job, from, from + 1);
    delta.meta.last_job = delta.meta.last_job.max(7);
    tx.commit(delta).unwrap();
}

fn finish_eight(path: &Path) {
    let mut backend = open(path).unwrap();
    for job in 0..8 {
        assert_eq!(ready(&mut backend, job), 5);
    }
    backend.verify().unwrap();
    backend.close().unwrap();
}

const CREATE_HERE: &str = "MAGNETAR_TEST_CREATE_HERE";
const CREATE_JOB: &str = "MAGNETAR_TEST_CREATE_JOB";

#[test]
#[ignore = "run by eight_processes_create_one_file_at_once, in a process of its own"]
fn one_of_eight_processes() {
    let path = std::env::var(CREATE_HERE).expect("set by the test that starts this one");
    let job = std::env::var(CREATE_JOB).unwrap().parse().unwrap();
    let mut backend = open(Path::new(&path)).unwrap();
    for _ in 0..5 {
        add_one_chunk(&mut backend, job);
    }
    backend.close().unwrap();
}

#[test]
fn eight_processes_create_one_file_at_once() {
    let folder = Folder::new();
    let this = std::env::current_exe().unwrap();
    let children: Vec<_> = (0..8)
        .map(|job: i64| {
            let test = "backends::sqlite::tests::files::one_of_eight_processes";
            Command::new(&this)
                .args([test, "--exact", "--ignored"])
                .env(CREATE_HERE, folder.file())
                .env(CREATE_JOB, job.to_string())
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    finish_eight(&folder.file());
}

#[test]
fn a_reader_survives_a_reopening_and_ends_with_the_store() {
    let folder = Folder::new();
    let mut backend = open(&folder.file()).unwrap();
    add_ten(&mut backend, 1).unwrap();
    let reader = backend.reader();
    let needs = Needs { jobs: [1, 2].into(), ..Needs::default() };
    let mut old = reader.snapshot().unwrap();
    let before = old.load(&needs).unwrap();
    backend.reopen().unwrap();
    add_ten(&mut backend, 2).unwrap();
    assert_eq!(old.load(&needs).unwrap().jobs, before.jobs, "one snapshot");
    drop(old);
    // More at once than there are connections at first.
    let mut several: Vec<_> = (0..4).map(|_| reader.snapshot().unwrap()).collect();
    for snapshot in &mut several {
        assert!(snapshot.load(&needs).unwrap().jobs[&2].is_some());
    }
    drop(several);
    backend.close().unwrap();
    assert_eq!(reader.snapshot().err().unwrap().kind(), ErrorKind::Closed);
    assert_eq!(backend.begin().err().unwrap().kind(), ErrorKind::Closed);
}

#[test]
fn a_transaction_that_is_dropped_leaves_nothing_behind() {
    let folder = Folder::new();
    let mut backend = open(&folder.file()).unwrap();
    let mut tx = backend.begin().unwrap();
    let meta = tx.load(&Needs::default()).unwrap().meta;
    drop(tx);
    // The lock is free again: another connection writes.
    outside(&folder.file(), "BEGIN IMMEDIATE; COMMIT;");
    let mut tx = backend.begin().unwrap();
    let mut broken = import(&meta, 1, 0, 300);
    // Breaks a rule of the schema in the last row of many.
    broken.rows[299].key = broken.rows[0].key;
    assert_eq!(tx.load(&Needs::default()).unwrap().meta, meta);
    assert_eq!(tx.commit(broken).unwrap_err().kind(), ErrorKind::Internal);
    let mut tx = backend.begin().unwrap();
    assert_eq!(tx.load(&Needs::default()).unwrap().meta, meta);
    tx.commit(Delta::of(meta)).unwrap();
    backend.verify().unwrap();
}

#[test]
fn a_full_disk_is_told_and_changes_nothing() {
    let folder = Folder::new();
    let mut backend = open(&folder.file()).unwrap();
    add_ten(&mut backend, 1).unwrap();
    let meta = backend.begin().unwrap().load(&Needs::default()).unwrap().meta;
    let limit = |backend: &mut SqliteBackend, sql| {
        let mut held = backend.hold().unwrap();
        held.connection().unwrap().run(sql).unwrap();
    };
    limit(&mut backend, "PRAGMA max_page_count=40");
    let error = backend.begin().unwrap().commit(import(&meta, 2, 0, 5_000)).unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Full, crate::error::Retry::Later));
    assert_eq!(ready(&mut backend, 2), 0);
    limit(&mut backend, "PRAGMA max_page_count=100000");
    backend.begin().unwrap().commit(import(&meta, 2, 0, 5_000)).unwrap();
    assert_eq!(ready(&mut backend, 2), 5_000);
    backend.verify().unwrap();
}

#[test]
fn a_lock_that_somebody_else_holds_is_waited_for() {
    let folder = Folder::new();
    let mut backend = open(&folder.file()).unwrap();
    let mut other = Connection::open_file(&folder.file()).unwrap();
    other.run("BEGIN IMMEDIATE").unwrap();
    thread::scope(|scope| {
        let added = scope.spawn(|| add_ten(&mut backend, 1));
        // Whether the other is waiting already or comes later is the same to it.
        thread::yield_now();
        other.run("COMMIT").unwrap();
        added.join().unwrap().unwrap();
    });
    assert_eq!(ready(&mut backend, 1), 10);
}

#[test]
fn the_views_are_readable() {
    let folder = Folder::new();
    let mut backend = open(&folder.file()).unwrap();
    add_ten(&mut backend, 1).unwrap();
    let first = outside(
        &folder.file(),
        "SELECT job_id || ' ' || chunk || ' ' || status || ' ' || class || ' ' || created_at || ' ' || payload \
         FROM chunks_v ORDER BY chunk LIMIT 1;",
    );
    assert_eq!(first, [r#"1 0 pending ready 2023-11-14T22:13:20.000Z {"path":"a.bin","offset":4096}"#]);
    assert_eq!(outside(&folder.file(), "SELECT phase || total_chunks || pending FROM jobs_v;"), ["open1010"]);
    assert!(outside(&folder.file(), "SELECT state FROM dependencies_v;").is_empty());
}

/// Says whether anybody could have claimed anything at the moment when the dead are forgotten.
#[derive(Debug)]
struct Forgetting {
    path: std::path::PathBuf,
    others_wait: AtomicBool,
}

impl Liveness for Forgetting {
    fn announce(&self, _owner: OwnerId) -> Result<()> {
        Ok(())
    }

    fn probe(&self, _owner: OwnerId) -> Probe {
        Probe::Unknown
    }

    fn forget_dead(&self, _still_holding: &[OwnerId]) {
        let mut other = Connection::open_file(&self.path).unwrap();
        let is_busy = other.run("BEGIN IMMEDIATE").is_err_and(|error| error.is_busy());
        self.others_wait.store(is_busy, Ordering::SeqCst);
    }
}

/// Or an owner who claims and dies in between would be forgotten, and his claim wait for its lease.
#[test]
fn nobody_claims_while_the_dead_are_forgotten() {
    let folder = Folder::new();
    let liveness = Arc::new(Forgetting { path: folder.file(), others_wait: AtomicBool::new(false) });
    let options = crate::OpenOptions::new().liveness(Arc::clone(&liveness) as _);
    let store = block_on(crate::open_with(folder.file(), &options)).unwrap();
    assert!(liveness.others_wait.load(Ordering::SeqCst));
    block_on(store.close()).unwrap();
}
