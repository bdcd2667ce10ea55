//! The settings of a connection: each is set, read back and compared.

use sqlx::{Row, SqlSafeStr};

use crate::backends::sqlite::block::Wait;
use crate::backends::sqlite::connection::{Args, Connection, Failure};
use crate::backends::sqlite::{errors, patience};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Durability;

/// The first version without the WAL-reset bug, which can lose a commit where two connections write or checkpoint.
const VERSION_MIN: [u32; 3] = [3, 51, 3];

/// What every connection is set to, and what it answers when asked.
const SETTINGS: [(&str, &str, &str); 10] = [
    ("trusted_schema", "OFF", "0"),
    ("cell_size_check", "ON", "1"),
    ("mmap_size", "0", "0"),
    // None of our tables has any. Those of a table that somebody added would refuse our deletions, and follow a table
    // that a migration renames.
    ("foreign_keys", "OFF", "0"),
    ("synchronous", "FULL", "2"),
    // Where the platform knows of no such thing it changes nothing.
    ("fullfsync", "ON", "1"),
    ("checkpoint_fullfsync", "ON", "1"),
    ("temp_store", "MEMORY", "2"),
    ("busy_timeout", "20", "20"),
    ("journal_size_limit", "-1", "-1"),
];

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Writer,
    Reader,
    /// The one connection of a store in memory, for both.
    Memory,
}

/// Refuses a library that is known to lose data.
pub(super) fn check_version(connection: &mut Connection) -> Result<()> {
    let version = single(connection, "SELECT sqlite_version()")?;
    let numbers: Vec<u32> = version.split('.').map_while(|part| part.parse().ok()).collect();
    if numbers.as_slice() >= VERSION_MIN.as_slice() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("SQLite {version} can lose commits in WAL mode (fixed in 3.51.3); link a newer one"),
    ))
}

/// Sets everything and looks whether it took.
pub(super) fn apply(connection: &mut Connection, role: Role) -> Result<()> {
    // The schema's checks are for strangers and for `verify`, which turns them on ([`checked`]): what we write comes from types
    // that can hold nothing else, and each check is made for each row, twice for one that is renewed.
    let (journal, query_only, ignores_checks) = match role {
        Role::Writer => ("wal", "0", "1"),
        Role::Reader => ("wal", "1", "0"),
        Role::Memory => ("memory", "0", "1"),
    };
    let changing =
        [("journal_mode", journal), ("query_only", query_only), ("ignore_check_constraints", ignores_checks)];
    let mut settings: Vec<(&str, &str, &str)> = SETTINGS.to_vec();
    // Memory is not mapped, and does not answer whether it is.
    settings.retain(|(name, ..)| role != Role::Memory || *name != "mmap_size");
    settings.extend(changing.map(|(name, value)| (name, value, value)));
    // A reader must not be able to change the mode of the file, not even by being the first to open it.
    let set = settings.iter().filter(|(name, ..)| !(role == Role::Reader && *name == "journal_mode"));
    let set: Vec<String> = set.map(|(name, value, _)| format!("PRAGMA {name} = {value};")).collect();
    let get: Vec<String> = settings.iter().map(|(name, ..)| format!("PRAGMA {name};")).collect();
    let (set, get) = (set.concat(), get.concat());
    patience::wait(|| run(connection, &set), Failure::is_busy).map_err(Failure::into_error)?;
    let answers = patience::wait(|| run(connection, &get), Failure::is_busy).map_err(Failure::into_error)?;
    for (at, (name, _, expected)) in settings.iter().enumerate() {
        let answer = answers.iter().find(|(statement, _)| *statement == at).map(|(_, answer)| answer);
        check(name, answer.map(String::as_str), expected)?;
    }
    Ok(())
}

/// Sets whether a commit is synced, and looks whether it took.
pub(super) fn synchronous(connection: &mut Connection, durability: Durability) -> Result<()> {
    let (set, expected) = match durability {
        Durability::Full => ("PRAGMA synchronous = FULL", "2"),
        // The WAL is synced before a checkpoint and the file behind it, and no commit by itself.
        Durability::Relaxed => ("PRAGMA synchronous = NORMAL", "1"),
    };
    patience::wait(|| connection.run(set), Failure::is_busy).map_err(Failure::into_error)?;
    check("synchronous", Some(&single(connection, "PRAGMA synchronous")?), expected)
}

fn check(name: &str, answer: Option<&str>, expected: &str) -> Result<()> {
    if answer == Some(expected) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        format!(
            "PRAGMA {name} is {} though it was set to {expected}; without it a commit is not safe here (is the file \
             on a network drive?)",
            answer.unwrap_or("unknown")
        ),
    ))
}

/// The one value that a statement answers, as text.
pub(super) fn single(connection: &mut Connection, sql: &'static str) -> Result<String> {
    let answers = patience::wait(|| run(connection, sql), Failure::is_busy).map_err(Failure::into_error)?;
    Ok(answers.into_iter().next().map(|(_, answer)| answer).unwrap_or_default())
}

/// The same of a check of the file by a connection that writes, with the checks of the schema.
pub(super) fn checked(connection: &mut Connection, sql: &'static str) -> Result<String> {
    connection.run("PRAGMA ignore_check_constraints = OFF").map_err(Failure::into_error)?;
    let found = single(connection, sql);
    let back = connection.run("PRAGMA ignore_check_constraints = ON").map_err(Failure::into_error);
    // Where the check itself failed, that is what was found.
    found.and_then(|found| back.map(|()| found))
}

fn run(connection: &mut Connection, sql: &str) -> Result<Vec<(usize, String)>, Failure> {
    let mut answers = Vec::new();
    let sql = sqlx::AssertSqlSafe(sql).into_sql_str();
    connection.call(sql, Args::default(), Wait::Park, |statement, row| {
        answers.push((statement, row.try_get_unchecked(0).map_err(errors::unchanged)?));
        Ok(())
    })?;
    Ok(answers)
}
