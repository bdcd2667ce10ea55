//! What is changed from outside is found out, and not obeyed.

use std::sync::Arc;

use crate::backends::contract::{
    Backend, Class, Counts, Cursor, CursorsNeed, Delta, Edge, EdgeChange, Hold, JobChange, Key, LogRun,
    Needs, PageNeed, Record, RowChange, Subject, page_of,
};
use crate::backends::sqlite::tests::{Folder, READY, content, import, job, outside};
use crate::backends::sqlite::{FileOptions, SqliteBackend, open_file};
use crate::error::{ErrorKind, Result};
use crate::machine::{News, Told};
use crate::model::{JobStatus, Json};

/// So many ready chunks.
fn ready(folder: &Folder, chunks: u64) -> SqliteBackend {
    let mut backend = open_file(&folder.file(), FileOptions::default()).unwrap();
    let mut tx = backend.begin().unwrap();
    let meta = tx.load(&Needs::default()).unwrap().meta;
    tx.commit(import(&meta, 1, 0, chunks)).unwrap();
    backend
}

/// Ten ready chunks, one of them done, one that depends on another.
fn filled(folder: &Folder) -> SqliteBackend {
    let mut backend = ready(folder, 10);
    let mut meta = backend.begin().unwrap().load(&Needs::default()).unwrap().meta;
    meta.revision = 11;
    meta.last_job = 1;
    meta.cursors = 1;
    let mut counts = Counts::default();
    (*counts.of_mut(Class::Ready), *counts.of_mut(Class::Done), *counts.of_mut(Class::Blocked)) = (8, 1, 1);
    let mut jobs = job(1, counts);
    (jobs.edges, jobs.edges_upward) = (1, 0);
    let change = |chunk, record, after, unmet| RowChange {
        key: Key { job: 1, chunk },
        before: Some(READY),
        after: Some(after),
        content: None,
        record: Option::map(record, Arc::new),
        unmet,
    };
    let done = Record {
        status: JobStatus::Done,
        output: Some(Json::trusted("1")),
        fence: 5,
        hold: Hold::Settled,
        updated_at_ms: 9,
        revision: 11,
        ..Record::fresh()
    };
    let mut place = READY;
    (place.class, place.rank) = (Class::Done, crate::backends::contract::Rank(0));
    let mut blocked = place;
    blocked.class = Class::Blocked;
    let mut delta = Delta::of(meta);
    delta.rows = vec![change(3, Some(done), place, None), change(9, None, blocked, Some(1))];
    delta.jobs = vec![JobChange::Counts(jobs)];
    delta.edges = vec![EdgeChange::Put { edge: Edge { job: 1, chunk: 9, on: 4 }, met: false }];
    delta.cursors_put =
        vec![Cursor { key: Key { job: 1, chunk: 4 }, after: None, told: Told::of(News::Met) }];
    delta.log =
        vec![LogRun { subject: Subject::Chunk, revision: 11, key: Key { job: 1, chunk: 3 }, count: 1 }];
    backend.begin().unwrap().commit(delta).unwrap();
    backend
}

fn everything() -> Needs {
    Needs {
        jobs: [1].into(),
        rows: (0..10).map(|chunk| Key { job: 1, chunk }).collect(),
        dependencies: vec![Key { job: 1, chunk: 9 }],
        cursors: Some(CursorsNeed::ALL),
        log: Some((0, 99)),
        ..Needs::default()
    }
}

fn read(backend: &mut SqliteBackend) -> Result<()> {
    backend.begin()?.load(&everything()).map(|_| ())
}

#[test]
fn every_kind_of_row_that_is_changed_from_outside_is_reported_when_it_is_read() {
    let cases: [(&'static str, Option<i64>, Option<u64>); 28] = [
        ("UPDATE contents SET payload='{}' WHERE chunk=2", Some(1), Some(2)),
        ("UPDATE contents SET priority=7 WHERE chunk=2", Some(1), Some(2)),
        ("UPDATE contents SET attempts_max=-1 WHERE chunk=2", Some(1), Some(2)),
        ("DELETE FROM contents WHERE chunk=2", Some(1), Some(2)),
        ("UPDATE states SET class=4 WHERE chunk=2", Some(1), Some(2)),
        ("UPDATE states SET class=6 WHERE chunk=3", Some(1), Some(3)),
        ("UPDATE states SET class=1,rank=2147483647 WHERE chunk=3", Some(1), Some(3)),
        ("UPDATE states SET settled=0 WHERE chunk=3", Some(1), Some(3)),
        ("UPDATE states SET owner=zeroblob(16) WHERE chunk=3", Some(1), Some(3)),
        ("UPDATE states SET lease_ms=5 WHERE chunk=3", Some(1), Some(3)),
        ("UPDATE states SET lease_set_at_ms=5 WHERE chunk=3", Some(1), Some(3)),
        ("UPDATE states SET not_before_set_at_ms=5 WHERE chunk=3", Some(1), Some(3)),
        ("UPDATE states SET claim_seq=5 WHERE chunk=3", Some(1), Some(3)),
        ("UPDATE states SET revision=0,record_sum=0 WHERE chunk=3", Some(1), Some(3)),
        ("UPDATE states SET fence=6 WHERE chunk=3", Some(1), Some(3)),
        ("UPDATE states SET class=5 WHERE chunk=2", Some(1), Some(2)),
        ("UPDATE states SET rank=5 WHERE chunk=2", Some(1), Some(2)),
        ("UPDATE states SET unmet=0 WHERE chunk=9", Some(1), Some(9)),
        ("UPDATE states SET unmet=1 WHERE chunk=2", Some(1), Some(2)),
        ("UPDATE jobs SET done=9", Some(1), None),
        ("UPDATE jobs SET lease_ms=5", Some(1), None),
        ("UPDATE jobs SET backoff_max_ms=5", Some(1), None),
        ("UPDATE dependencies SET met=1", Some(1), Some(9)),
        ("UPDATE cursors SET after_chunk=3", Some(1), Some(4)),
        ("UPDATE log SET runs=x'0102' WHERE revision=11", None, None),
        ("UPDATE log SET changes=9 WHERE revision=10", None, None),
        ("UPDATE log SET changes=2 WHERE revision=11", None, None),
        ("UPDATE meta SET revision=99", None, None),
    ];
    for (sql, job, chunk) in cases {
        let folder = Folder::new();
        let mut backend = filled(&folder);
        read(&mut backend).unwrap();
        backend.verify().unwrap();
        outside(&folder.file(), sql);
        let error = read(&mut backend).expect_err(sql);
        assert_eq!(
            (error.kind(), error.job(), error.chunk()),
            (ErrorKind::Corrupt, job, chunk),
            "{sql}: {error}"
        );
        assert_eq!(backend.verify().expect_err(sql).kind(), ErrorKind::Corrupt, "{sql}");
        let reader = backend.reader();
        let mut snapshot = reader.snapshot().unwrap();
        assert_eq!(snapshot.load(&everything()).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

/// Its states and its contents are read side by side.
#[test]
fn a_long_list_names_the_chunk_that_was_changed_from_outside() {
    for sql in [
        "DELETE FROM contents WHERE chunk=400",
        "DELETE FROM contents WHERE chunk>=400",
        "UPDATE contents SET chunk=1400 WHERE chunk=400",
        "UPDATE contents SET checksum='x' WHERE chunk=400",
        "UPDATE contents SET attempts_max=-1 WHERE chunk=400",
        "UPDATE contents SET revision=-1 WHERE chunk=400",
        "UPDATE states SET attempts=1 WHERE chunk=400",
    ] {
        let folder = Folder::new();
        let backend = ready(&folder, 600);
        outside(&folder.file(), sql);
        for classes in [&[][..], &[Class::Ready]] {
            let need = PageNeed { job: 1, classes, after: None, limit: 1_000 };
            let reader = backend.reader();
            let error = page_of(&mut *reader.snapshot().unwrap(), &need).expect_err(sql);
            assert_eq!((error.kind(), error.job(), error.chunk()), (ErrorKind::Corrupt, Some(1), Some(400)));
            let fewer = PageNeed { limit: 399, ..need };
            assert_eq!(page_of(&mut *reader.snapshot().unwrap(), &fewer).expect("they are whole").len(), 399);
        }
    }
}

#[test]
fn what_was_changed_in_chunks_that_are_not_wanted_is_in_no_list_s_way() {
    let folder = Folder::new();
    let backend = ready(&folder, 600);
    outside(
        &folder.file(),
        "UPDATE states SET class=5 WHERE chunk=400; UPDATE contents SET revision=-1 WHERE chunk=400;",
    );
    let need = PageNeed { job: 1, classes: &[Class::Ready], after: None, limit: 1_000 };
    let reader = backend.reader();
    assert_eq!(page_of(&mut *reader.snapshot().unwrap(), &need).unwrap().len(), 599);
}

#[test]
fn a_class_that_is_none_is_no_way_out_of_a_list_of_all() {
    let folder = Folder::new();
    let backend = ready(&folder, 600);
    outside(
        &folder.file(),
        "PRAGMA ignore_check_constraints=ON; UPDATE states SET class=99 WHERE chunk=400;",
    );
    for classes in [&[][..], &Class::ALL] {
        let need = PageNeed { job: 1, classes, after: None, limit: 1_000 };
        let reader = backend.reader();
        let error = page_of(&mut *reader.snapshot().unwrap(), &need).unwrap_err();
        assert_eq!((error.kind(), error.chunk()), (ErrorKind::Corrupt, Some(400)));
    }
}

#[test]
fn what_no_single_row_shows_is_found_by_a_check() {
    for sql in [
        "DELETE FROM states WHERE chunk=2; DELETE FROM contents WHERE chunk=2;",
        "DELETE FROM states WHERE chunk=2;",
        "DELETE FROM dependencies;",
        "DELETE FROM jobs;",
        "DELETE FROM cursors;",
        "UPDATE jobs SET claimable=0;",
        "INSERT INTO contents SELECT 1,77,checksum,payload,priority,attempts_max,losses_max,on_dependency_failure,\
         created_at_ms,updated_at_ms,revision,content_sum FROM contents WHERE chunk=1;",
    ] {
        let folder = Folder::new();
        let mut backend = filled(&folder);
        outside(&folder.file(), sql);
        assert_eq!(backend.verify().expect_err(sql).kind(), ErrorKind::Corrupt, "{sql}");
    }
}

#[test]
fn the_checks_of_the_schema_are_looked_at_though_our_own_writes_leave_them_out() {
    let folder = Folder::new();
    let mut backend = filled(&folder);
    backend.verify().unwrap();
    outside(
        &folder.file(),
        "PRAGMA ignore_check_constraints = ON; UPDATE states SET class=99 WHERE chunk=4;",
    );
    let error = backend.verify().unwrap_err();
    assert!(error.to_string().contains("CHECK constraint failed"), "{error}");
    backend.close().unwrap();
    let error = open_file(&folder.file(), FileOptions::default()).err().unwrap();
    assert!(error.to_string().contains("CHECK constraint failed"), "{error}");
}

#[test]
fn a_row_that_was_deleted_under_us_is_not_written_in_silence() {
    let folder = Folder::new();
    let mut backend = filled(&folder);
    outside(&folder.file(), "DELETE FROM states WHERE chunk=2;");
    let mut tx = backend.begin().unwrap();
    let meta = tx.load(&Needs::default()).unwrap().meta;
    let mut delta = Delta::of(meta);
    delta.rows = vec![RowChange {
        key: Key { job: 1, chunk: 2 },
        before: Some(READY),
        after: Some(READY),
        content: None,
        record: Some(Arc::new(Record { revision: 12, ..Record::fresh() })),
        unmet: None,
    }];
    assert_eq!(tx.commit(delta).unwrap_err().kind(), ErrorKind::Poisoned);
    assert!(backend.begin().is_err());
    backend.reopen().unwrap();
    assert!(backend.begin().is_ok());
}

#[test]
fn a_damaged_chunk_further_on_is_not_in_the_way() {
    use crate::{Completion, ImportOptions, JobSpec, JobStore as _, NewChunk, block_on, chunks};
    let folder = Folder::new();
    block_on(async {
        let store = crate::SqliteStore::open(folder.file()).await.unwrap();
        let all = chunks((0..200).map(|chunk| Ok(NewChunk::new(chunk))));
        store.import(1, &JobSpec::new(), all, &ImportOptions::new()).await.unwrap();
        outside(&folder.file(), "UPDATE states SET attempts=7 WHERE chunk=150;");
        for chunk in 0..150 {
            let claimed = store.claim_pending(1).await.unwrap().unwrap();
            assert_eq!(claimed.chunk, chunk);
            store.complete(&claimed.claim(), Completion::new()).await.unwrap();
        }
        let error = store.claim_pending(1).await.unwrap_err();
        assert_eq!((error.kind(), error.chunk()), (ErrorKind::Corrupt, Some(150)));
        store.close().await.unwrap();
    });
}

/// Long after everything else here.
#[derive(Debug)]
struct Later;

impl crate::Clock for Later {
    fn now_ms(&self) -> u64 {
        4_000_000_000_000
    }
}

/// It falls due, which is dealt with before anything else.
#[test]
fn a_chunk_whose_job_was_deleted_from_outside_is_named() {
    use crate::{
        ImportOptions, JobSpec, JobStore as _, NewChunk, OpenOptions, SqliteStore, block_on, chunks,
    };
    let folder = Folder::new();
    let store = block_on(SqliteStore::open(folder.file())).unwrap();
    let new = chunks([Ok(NewChunk::new(5))]);
    block_on(store.import(1, &JobSpec::new(), new, &ImportOptions::new())).unwrap();
    let held = block_on(store.claim_pending(1)).unwrap().unwrap();
    block_on(store.fail(&held.claim(), "later")).unwrap();
    block_on(store.close()).unwrap();
    outside(&folder.file(), "DELETE FROM jobs;");
    let options = OpenOptions::new().clock(Arc::new(Later));
    let error = block_on(SqliteStore::open_with(folder.file(), &options)).unwrap_err();
    assert_eq!((error.kind(), error.job(), error.chunk()), (ErrorKind::Corrupt, Some(1), Some(5)), "{error}");
}

/// As of a file that was put together from two copies: each of its rows is as it was written.
#[test]
fn a_chunk_that_its_jobs_counts_know_nothing_of_is_damage_to_whoever_changes_it() {
    use crate::{Completion, ImportOptions, JobSpec, JobStore as _, NewChunk, SqliteStore, block_on, chunks};
    let folder = Folder::new();
    let store = block_on(SqliteStore::open(folder.file())).unwrap();
    let new = chunks([Ok(NewChunk::new(5))]);
    block_on(store.import(1, &JobSpec::new(), new, &ImportOptions::new())).unwrap();
    outside(&folder.file(), "CREATE TABLE before AS SELECT * FROM states;");
    let held = block_on(store.claim_pending(1)).unwrap().unwrap();
    block_on(store.complete(&held.claim(), Completion::new())).unwrap();
    block_on(store.close()).unwrap();
    outside(
        &folder.file(),
        "DELETE FROM states; INSERT INTO states SELECT * FROM before; DROP TABLE before;",
    );
    let store = block_on(SqliteStore::open(folder.file())).unwrap();
    for _ in 0..2 {
        let error = block_on(store.claim_pending(1)).unwrap_err();
        assert_eq!(
            (error.kind(), error.job(), error.chunk()),
            (ErrorKind::Corrupt, Some(1), Some(5)),
            "{error}"
        );
    }
    assert_eq!(block_on(store.get_stats(1)).unwrap().done, 1);
}

#[test]
fn a_store_whose_own_record_went_is_not_written_to() {
    let folder = Folder::new();
    let mut backend = filled(&folder);
    let mut tx = backend.resume().unwrap();
    let meta = tx.load(&Needs::default()).unwrap().meta;
    tx.commit(Delta::of(meta.clone())).unwrap();
    outside(&folder.file(), "DELETE FROM meta;");
    let mut tx = backend.resume().unwrap();
    assert_eq!(tx.load(&Needs::default()).unwrap().meta, meta, "from memory");
    let mut delta = Delta::of(meta);
    delta.cursors_put =
        vec![Cursor { key: Key { job: 1, chunk: 5 }, after: None, told: Told::of(News::Met) }];
    tx.commit(delta).unwrap_err();
    assert!(backend.overtaken());
    assert_eq!(outside(&folder.file(), "SELECT count(*) FROM cursors WHERE chunk=5;"), ["0"]);
    let error = backend.resume().unwrap().load(&Needs::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[test]
fn any_text_survives_as_it_is() {
    let texts = [
        "",
        "\0",
        "a\0b",
        "\"quoted\"",
        "back\\slash",
        "\u{1f980} ä \u{7f}\u{2028}",
        "'); --",
        "\u{1}\u{1f}\n\t\r",
    ];
    let folder = Folder::new();
    let mut backend = open_file(&folder.file(), FileOptions::default()).unwrap();
    let meta = backend.begin().unwrap().load(&Needs::default()).unwrap().meta;
    let mut delta = import(&meta, 1, 0, texts.len() as u64);
    for (row, text) in delta.rows.iter_mut().zip(texts) {
        let mut content = content(1);
        content.checksum = Some(text.to_owned());
        content.payload = Some(Json::new(text).unwrap());
        row.content = Some(Arc::new(content));
        row.record = Some(Arc::new(Record {
            error: Some(text.to_owned()),
            observed: Some(text.to_owned()),
            output: Some(Json::new(&[text, text]).unwrap()),
            revision: 1,
            ..Record::fresh()
        }));
    }
    backend.begin().unwrap().commit(delta).unwrap();
    backend.reopen().unwrap();
    let rows = (0..texts.len() as u64).map(|chunk| Key { job: 1, chunk }).collect();
    let loaded = backend.begin().unwrap().load(&Needs { rows, ..Needs::default() }).unwrap();
    for ((_, row), text) in loaded.rows.iter().zip(texts) {
        let row = row.as_ref().unwrap();
        assert_eq!(row.content.checksum.as_deref(), Some(text));
        assert_eq!(row.content.payload.as_ref().unwrap().parse::<String>().unwrap(), text);
        assert_eq!(row.record.error.as_deref(), Some(text));
        assert_eq!(row.record.output.as_ref().unwrap().parse::<[String; 2]>().unwrap(), [text, text]);
    }
}
