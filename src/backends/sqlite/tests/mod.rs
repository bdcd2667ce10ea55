//! The backend against a model, against damage, and against other processes.

mod files;
mod model;
mod plans;
mod tamper;
#[cfg(unix)]
mod unix;
mod wal;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::backends::contract::{
    Class, Content, Counts, Delta, JobChange, JobRow, Key, LogRun, Meta, Place, Rank, Record, RowChange,
    Subject,
};
use crate::model::Json;

/// A directory that is gone after the test.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("magnetar-sqlite-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let base = std::env::var_os("MAGNETAR_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
        let path = base.join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub(super) fn file(&self) -> PathBuf {
        self.0.join("jobs.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// SQL from outside, by a connection that knows nothing of us.
pub(super) fn outside(path: &Path, sql: &'static str) -> Vec<String> {
    use super::block::{Wait, block_on};
    use sqlx::{Connection as _, Row as _};
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    block_on(
        async {
            let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
            let rows = sqlx::raw_sql(sql).fetch_all(&mut connection).await.unwrap();
            let texts = rows.iter().map(|row| row.try_get_unchecked(0).unwrap()).collect();
            connection.close().await.unwrap();
            texts
        },
        Wait::Park,
    )
}

pub(super) fn content(revision: u64) -> Content {
    Content {
        checksum: None,
        payload: Some(Json::trusted(r#"{"path":"a.bin","offset":4096}"#)),
        left_bytes: 0,
        priority: 0,
        attempts_max: None,
        losses_max: None,
        on_dependency_failure: None,
        created_at_ms: 1_700_000_000_000,
        updated_at_ms: 1_700_000_000_000,
        revision,
    }
}

pub(super) const READY: Place =
    Place { class: Class::Ready, rank: Rank(0x7fff_ffff), due: None, holder: None };

pub(super) fn job(id: i64, counts: Counts) -> JobRow {
    JobRow::plain(id, counts, 1_700_000_000_000)
}

/// The import of ready chunks `from..to` into a job that has all before them.
pub(super) fn import(meta: &Meta, id: i64, from: u64, to: u64) -> Delta {
    let mut meta = meta.clone();
    let first = meta.revision + 1;
    meta.revision += to - from;
    meta.last_job = meta.last_job.max(id);
    let mut counts = Counts::default();
    *counts.of_mut(Class::Ready) = to;
    let rows = (from..to).map(|chunk| RowChange {
        key: Key { job: id, chunk },
        before: None,
        after: Some(READY),
        content: Some(Arc::new(content(first + chunk - from))),
        record: None,
        unmet: None,
    });
    Delta {
        rows: rows.collect(),
        jobs: vec![JobChange::Put(job(id, counts))],
        log: vec![LogRun {
            subject: Subject::Chunk,
            revision: first,
            key: Key { job: id, chunk: from },
            count: to - from,
        }],
        ..Delta::of(meta)
    }
}

#[test]
fn a_new_row_has_the_columns_of_a_fresh_record() {
    use crate::backends::contract::{Backend, Needs};
    let mut backend = super::in_memory().unwrap();
    let mut tx = backend.begin().unwrap();
    let meta = tx.load(&Needs::default()).unwrap().meta;
    tx.commit(import(&meta, 1, 0, 1)).unwrap();
    let key = Key { job: 1, chunk: 0 };
    let loaded = backend.begin().unwrap().load(&Needs { rows: vec![key], ..Needs::default() }).unwrap();
    assert_eq!(loaded.row(&key).unwrap().record, Record::shared_fresh());
}

#[test]
fn numbers_of_the_vocabulary_are_those_of_the_statements_and_the_views() {
    use super::columns;
    use crate::model::JobStatus;
    let statuses = ["pending", "pending", "pending", "processing", "done", "failed", "cancelled"];
    for ((code, class), status) in (1..).zip(Class::ALL).zip(statuses) {
        assert_eq!(columns::class_code(class), code);
        assert_eq!(
            columns::class(code).map(|(class, status)| (class, status.as_str())),
            Some((class, status))
        );
    }
    for code in [0, 8, -1] {
        assert!(columns::class(code).is_none());
    }
    // What the rows' checksums cover.
    assert_eq!(JobStatus::ALL.map(columns::status_code), [0, 1, 2, 3, 4]);
    for (code, text) in (0..).zip(["wait", "cancel", "ignore"]) {
        assert_eq!(columns::policy(code).map(crate::model::DependencyFailure::as_str), Some(text));
    }
}

#[test]
fn the_time_of_a_change_is_written_beside_that_of_the_creation() {
    use super::columns::{read_updated_at, updated_at};
    for (created, updated, column) in [(5, 5, 0), (0, 0, 0), (5, 0, -1), (0, 5, 5), (5, 7, 7)] {
        assert_eq!(updated_at(created, updated).unwrap(), column);
        assert_eq!(read_updated_at(created, column), Some(updated));
    }
    assert_eq!(read_updated_at(5, -2), None);
}

#[test]
fn what_is_done_in_groups_is_what_is_done_one_by_one() {
    crate::engine::tests::groups_do_what_single_operations_do(|| Box::new(super::in_memory().unwrap()));
}

#[test]
fn an_import_that_is_taken_back_is_under_way_no_more() {
    crate::engine::tests::an_import_that_is_taken_back_is_under_way_no_more(Box::new(
        super::in_memory().unwrap(),
    ));
}

#[test]
fn a_store_is_whole_between_the_slices_of_an_import_and_of_a_deletion() {
    let store = Box::new(super::in_memory().unwrap());
    crate::engine::tests::a_store_is_whole_between_the_slices_of_an_import_and_of_a_deletion(store);
}

#[test]
fn a_copy_is_whole_between_its_pages() {
    crate::engine::tests::a_copy_is_whole_between_its_pages(|| Box::new(super::in_memory().unwrap()));
}

#[test]
fn pages_of_very_large_chunks_have_few_of_them() {
    crate::engine::tests::pages_of_very_large_chunks_have_few_of_them(|| {
        Box::new(super::in_memory().unwrap())
    });
}

#[test]
fn who_is_told_in_small_slices_stands_as_who_is_told_at_once() {
    crate::engine::tests::telling::who_is_told_in_small_slices_stands_as_who_is_told_at_once(|| {
        Box::new(super::in_memory().unwrap())
    });
}

#[test]
fn what_is_marked_done_behind_a_reset_stays_done() {
    crate::engine::tests::telling::what_is_marked_done_behind_a_reset_stays_done(|| {
        Box::new(super::in_memory().unwrap())
    });
}
