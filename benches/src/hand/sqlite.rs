//! SQLite by hand: one table, one partial index of the ready chunks, prepared statements, one connection.

use std::path::Path;

use rusqlite::{Connection, params};

use super::{Answer, Ask, Engine, Held};
use crate::Fault;
use crate::cell::{JOB, checksum};

/// What an acknowledgement means.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Synchronous {
    /// On disk.
    Full,
    /// In the operating system's memory: a power cut takes the last commits back.
    Normal,
}

pub(super) const FILE: &str = "hand.db";

pub(super) const OWNER: &str = "0123456789abcdef0123456789abcdef";

const TABLE: &str = "CREATE TABLE chunks (
    job INTEGER NOT NULL, chunk INTEGER NOT NULL, status INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0, fence INTEGER, owner TEXT, lease_ms INTEGER,
    created_at_ms INTEGER NOT NULL, updated_at_ms INTEGER NOT NULL, checksum TEXT,
    PRIMARY KEY (job, chunk)
 ) STRICT, WITHOUT ROWID;
 CREATE INDEX ready ON chunks (job, chunk) WHERE status = 0;";

const INSERT: &str =
    "INSERT INTO chunks (job, chunk, created_at_ms, updated_at_ms, checksum) VALUES (?1, ?2, 1, 1, ?3)";

pub(super) const CLAIM: &str =
    "UPDATE chunks SET status = 1, fence = ?2, owner = ?3, lease_ms = 60000, updated_at_ms = ?2
 WHERE job = ?1 AND chunk = (SELECT chunk FROM chunks WHERE job = ?1 AND status = 0 ORDER BY chunk LIMIT 1)
 RETURNING chunk";

pub(super) const COMPLETE: &str =
    "UPDATE chunks SET status = 2, owner = NULL, lease_ms = NULL, updated_at_ms = ?3
 WHERE job = ?1 AND chunk = ?2 AND fence = ?3 AND status = 1";

const LIST: &str =
    "SELECT chunk, status, attempts, fence, owner, lease_ms, created_at_ms, updated_at_ms, checksum
 FROM chunks INDEXED BY ready WHERE job = ?1 AND status = 0 ORDER BY chunk";

pub(crate) struct Sqlite {
    connection: Connection,
    next_fence: i64,
}

impl Sqlite {
    pub(crate) fn open(folder: &Path, synchronous: Synchronous) -> Result<Self, Fault> {
        let connection = Connection::open(folder.join(FILE))?;
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(format!("the journal is {mode}, not a WAL").into());
        }
        let (synchronous, expected) = match synchronous {
            Synchronous::Full => ("FULL", 2),
            Synchronous::Normal => ("NORMAL", 1),
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        let set: i64 = connection.query_row("PRAGMA synchronous", [], |row| row.get(0))?;
        if set != expected {
            return Err(format!("synchronous is {set}, not {expected}").into());
        }
        connection.execute_batch(TABLE)?;
        Ok(Sqlite { connection, next_fence: 1 })
    }

    /// Chunks from 0 on, all ready, in one transaction.
    pub(crate) fn fill(&mut self, chunks: u64) -> Result<(), Fault> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare(INSERT)?;
            for chunk in 0..chunks {
                insert.execute(params![JOB, i64::try_from(chunk)?, checksum(chunk)])?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    pub(crate) fn filled(folder: &Path, chunks: u64, synchronous: Synchronous) -> Result<Self, Fault> {
        let mut engine = Sqlite::open(folder, synchronous)?;
        engine.fill(chunks)?;
        Ok(engine)
    }

    /// Every ready chunk's row, in the order of ids: how many, and the sum of some of their bytes.
    pub(crate) fn list(&self) -> Result<(u64, u64), Fault> {
        type Row = (i64, i64, i64, Option<i64>, Option<String>, Option<i64>, i64, i64, Option<String>);
        let mut list = self.connection.prepare_cached(LIST)?;
        let rows = list.query_map([JOB], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get(3)?,
                row.get(4)?,
                row.get(5)?,
                row.get(6)?,
                row.get(7)?,
                row.get(8)?,
            ))
        })?;
        let rows = rows.collect::<Result<Vec<Row>, _>>()?;
        Ok((rows.len() as u64, rows.iter().map(|row| row.8.as_ref().map_or(0, String::len) as u64).sum()))
    }

    fn one(&mut self, ask: Ask) -> Result<Answer, Fault> {
        Ok(match ask {
            Ask::Claim => {
                let fence = self.next_fence;
                let mut claim = self.connection.prepare_cached(CLAIM)?;
                let mut rows = claim.query(params![JOB, fence, OWNER])?;
                let chunk: Option<i64> = rows.next()?.map(|row| row.get(0)).transpose()?;
                // The end of the statement is the commit, and only there its error is told.
                if chunk.is_some() && rows.next()?.is_some() {
                    return Err("one claim took two chunks".into());
                }
                self.next_fence += 1;
                Answer::Claimed(
                    chunk.map(|chunk| Held { chunk: chunk.cast_unsigned(), fence: fence.cast_unsigned() }),
                )
            }
            Ask::Complete(held) => {
                let mut complete = self.connection.prepare_cached(COMPLETE)?;
                let changed =
                    complete.execute(params![JOB, held.chunk.cast_signed(), held.fence.cast_signed()])?;
                Answer::Completed(changed == 1)
            }
        })
    }
}

impl Engine for Sqlite {
    fn commit(&mut self, asks: &[Ask], answers: &mut Vec<Answer>) -> Result<(), Fault> {
        if let [ask] = *asks {
            // A statement alone is a transaction of its own.
            answers.push(self.one(ask)?);
            return Ok(());
        }
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        for ask in asks {
            let answer = self.one(*ask)?;
            answers.push(answer);
        }
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }
}
