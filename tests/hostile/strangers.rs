//! Files of other programs: refused, and left as they are.

use std::fs;
use std::path::Path;

use magnetar::{ErrorKind, block_on};

/// Opens a stranger's file twice; the second time shows that the first has not prepared anything.
fn is_refused(path: &Path, what: &str) {
    let before = fs::read(path).expect("the file");
    for _ in 0..2 {
        let error =
            block_on(magnetar::open(path)).err().unwrap_or_else(|| panic!("{what} was taken for a store"));
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error:?}");
        assert!(fs::read(path).expect("the file") == before, "{what} was changed");
    }
}

/// What is no database at all.
fn texts() -> Vec<(&'static str, Vec<u8>)> {
    let mut rng = fastrand::Rng::with_seed(1);
    let random = std::iter::repeat_with(|| rng.u8(..)).take(100_000).collect();
    vec![
        ("a text", b"Dear diary, today I was opened by a job store.\n".to_vec()),
        ("a long text", b"All work and no play. ".repeat(10_000)),
        ("one byte", vec![b'x']),
        ("zeros that end in text", [vec![0; 8_000], b"the end".to_vec()].concat()),
        ("random bytes", random),
    ]
}

fn texts_are_refused(ending: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("jobs").with_extension(ending);
    for (what, bytes) in texts() {
        fs::write(&path, bytes).expect("a file");
        is_refused(&path, what);
    }
}

#[cfg(feature = "redb")]
#[test]
fn what_is_no_database_is_refused_as_redb() {
    texts_are_refused("redb");
}

#[cfg(feature = "sqlite")]
#[test]
fn what_is_no_database_is_refused_as_sqlite() {
    texts_are_refused("db");
}

#[cfg(feature = "redb")]
#[test]
fn another_programs_redb_file_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("theirs.redb");
    let theirs: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("visitors");
    let database = redb::Database::create(&path).expect("a new file");
    let transaction = database.begin_write().expect("a transaction");
    transaction.open_table(theirs).expect("a table").insert("monday", 7).expect("a row");
    transaction.commit().expect("a commit");
    drop(database);
    is_refused(&path, "another program's redb file");
    #[cfg(feature = "sqlite")]
    {
        let renamed = folder.path().join("theirs.db");
        fs::rename(&path, &renamed).expect("a new name");
        is_refused(&renamed, "a redb file under the name of a SQLite file");
    }
}

#[cfg(feature = "sqlite")]
#[test]
fn another_programs_sqlite_file_is_refused() {
    use sqlx::{Connection as _, Executor as _};

    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("theirs.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    block_on(async {
        let mut theirs = sqlx::SqliteConnection::connect_with(&options).await?;
        theirs.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, name TEXT)").await?;
        theirs.execute("INSERT INTO jobs (name) VALUES ('write a diary')").await?;
        theirs.close().await
    })
    .expect("a database of another program");
    is_refused(&path, "another program's SQLite file");
    #[cfg(feature = "redb")]
    {
        let renamed = folder.path().join("theirs.redb");
        fs::rename(&path, &renamed).expect("a new name");
        is_refused(&renamed, "a SQLite file under the name of a redb file");
    }
}
