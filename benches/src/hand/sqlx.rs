//! The same table and the same statements through sqlx: what its thread for a connection costs, beside `super::sqlite`.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Row as _, SqliteConnection};
use tokio::runtime::Runtime;

use super::sqlite::{CLAIM, COMPLETE, FILE, OWNER, Sqlite, Synchronous};
use super::{Answer, Ask, Engine, Held};
use crate::Fault;
use crate::cell::JOB;

/// One connection, and the runtime of the thread that asks.
pub(crate) struct Sqlx {
    connection: SqliteConnection,
    runtime: Runtime,
    next_fence: i64,
}

impl Sqlx {
    pub(crate) fn filled(folder: &Path, chunks: u64) -> Result<Self, Fault> {
        drop(Sqlite::filled(folder, chunks, Synchronous::Full)?);
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let options =
            SqliteConnectOptions::new().filename(folder.join(FILE)).synchronous(SqliteSynchronous::Full);
        let connection = runtime.block_on(options.connect())?;
        Ok(Sqlx { connection, runtime, next_fence: 1 })
    }

    /// A statement alone is a transaction of its own.
    fn one(&mut self, ask: Ask) -> Result<Answer, Fault> {
        let connection = &mut self.connection;
        Ok(match ask {
            Ask::Claim => {
                let fence = self.next_fence;
                let claim = sqlx::query(CLAIM).bind(JOB).bind(fence).bind(OWNER);
                // All that there is: the end of the statement is the commit.
                let rows = self.runtime.block_on(claim.fetch_all(connection))?;
                self.next_fence += 1;
                let chunk: Option<i64> = rows.first().map(|row| row.try_get(0)).transpose()?;
                Answer::Claimed(
                    chunk.map(|chunk| Held { chunk: chunk.cast_unsigned(), fence: fence.cast_unsigned() }),
                )
            }
            Ask::Complete(held) => {
                let complete = sqlx::query(COMPLETE)
                    .bind(JOB)
                    .bind(held.chunk.cast_signed())
                    .bind(held.fence.cast_signed());
                let done = self.runtime.block_on(complete.execute(connection))?;
                Answer::Completed(done.rows_affected() == 1)
            }
        })
    }
}

impl Engine for Sqlx {
    fn commit(&mut self, asks: &[Ask], answers: &mut Vec<Answer>) -> Result<(), Fault> {
        let [ask] = *asks else { return Err("through sqlx one operation is committed at a time".into()) };
        answers.push(self.one(ask)?);
        Ok(())
    }
}
