//! One connection: a string of statements in, their rows out, on the caller's own thread.

use std::future::poll_fn;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteRow};
use sqlx::{
    Arguments, AssertSqlSafe, ConnectOptions, Connection as _, Either, Encode, Executor, SqlSafeStr, SqlStr,
    Sqlite, SqliteConnection, Type,
};

use crate::backends::sqlite::block::{Wait, block_on};
use crate::backends::sqlite::{errors, patience, pragmas};
use crate::error::{Error, ErrorKind, Result};

/// `SQLite` itself waits this long for a lock; the long waits are our own, where they can be bounded and jittered.
const BUSY_TIMEOUT: Duration = Duration::from_millis(20);

/// Rows that the connection's thread may be ahead of us.
const ROWS_AHEAD: usize = 256;

/// Texts that are kept, prepared, before all are forgotten.
const SCRIPTS_KEPT: usize = 128;

/// The values of a call, in the order of the placeholders.
#[derive(Default, Clone)]
pub(super) struct Args {
    inner: SqliteArguments,
    failed: bool,
}

impl Args {
    pub(super) fn push<'t>(&mut self, value: impl Encode<'t, Sqlite> + Type<Sqlite>) {
        self.failed |= self.inner.add(value).is_err();
    }

    pub(super) fn with<'t>(mut self, value: impl Encode<'t, Sqlite> + Type<Sqlite>) -> Self {
        self.push(value);
        self
    }
}

/// Why a call did not run to its end.
#[derive(Debug)]
pub(super) enum Failure {
    /// A statement failed; so many before it had run.
    Sql { ran: usize, error: sqlx::Error },
    /// What was read is not what was written.
    Row(Error),
}

impl Failure {
    /// The error for a caller, where the failed call is known to have changed nothing.
    pub(super) fn into_error(self) -> Error {
        match self {
            Failure::Sql { error, .. } => errors::unchanged(error),
            Failure::Row(error) => error,
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Failure::Sql { error, .. } if errors::is_busy(error))
    }
}

/// A connection, with the scripts that were composed for it.
pub(super) struct Connection {
    /// There until it is given up.
    sqlite: Option<SqliteConnection>,
    scripts: HashMap<Vec<u8>, SqlStr>,
    /// Others may alter the tables.
    is_shared: bool,
}

impl Connection {
    /// Connects to an existing file.
    pub(super) fn open_file(path: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(false);
        Self::connect(&options, true).map_err(|error| {
            Error::new(error.kind(), format!("{}: {error}", path.display())).caused_by(error)
        })
    }

    /// Connects to read a file without a lock on it and without its journals: its main file as it is.
    pub(super) fn open_as_it_is(path: &Path) -> Result<Self> {
        Self::connect(&SqliteConnectOptions::new().filename(path).read_only(true).immutable(true), true)
    }

    /// A database that lives as long as this connection.
    pub(super) fn open_memory() -> Result<Self> {
        Self::connect(&SqliteConnectOptions::new().filename(":memory:").in_memory(true), false)
    }

    fn connect(options: &SqliteConnectOptions, is_shared: bool) -> Result<Self> {
        let options = options
            .clone()
            .busy_timeout(BUSY_TIMEOUT)
            .row_buffer_size(ROWS_AHEAD)
            .statement_cache_capacity(SCRIPTS_KEPT)
            .disable_statement_logging();
        let sqlite = patience::wait(
            || block_on(SqliteConnection::connect_with(&options), Wait::Park),
            errors::is_busy,
        )
        .map_err(errors::unchanged)?;
        let mut connection = Connection { sqlite: Some(sqlite), scripts: HashMap::new(), is_shared };
        pragmas::check_version(&mut connection)?;
        Ok(connection)
    }

    /// The text of a script, composed once and kept under the name of its shape.
    pub(super) fn script(&mut self, shape: &[u8], compose: impl FnOnce() -> String) -> SqlStr {
        if let Some(sql) = self.scripts.get(shape) {
            return sql.clone();
        }
        if self.scripts.len() >= SCRIPTS_KEPT {
            self.scripts.clear();
        }
        // Composed of constants and placeholders; no value ever enters it.
        let sql = AssertSqlSafe(Arc::<str>::from(compose())).into_sql_str();
        self.scripts.insert(shape.to_vec(), sql.clone());
        sql
    }

    /// Runs the statements of a text one after the other and hands over each row with the number of its statement.
    /// Answers how many rows each statement changed.
    ///
    /// Where a kept statement cannot be prepared any more, since somebody has altered our tables, sqlx 0.9's thread
    /// panics a moment after it has said so, and whatever is handed to it in that moment is never answered. So a
    /// connection is given up after an error of that kind; its thread ends by itself, and takes back what was open.
    pub(super) fn call(
        &mut self,
        sql: impl SqlSafeStr,
        args: Args,
        wait: Wait,
        each: impl FnMut(usize, &SqliteRow) -> Result<()>,
    ) -> Result<Vec<u64>, Failure> {
        let result = self.call_once(sql, args, wait, each);
        if self.is_shared && matches!(&result, Err(Failure::Sql { error, .. }) if errors::is_of_schema(error))
        {
            self.sqlite = None;
        }
        result
    }

    fn call_once(
        &mut self,
        sql: impl SqlSafeStr,
        args: Args,
        wait: Wait,
        mut each: impl FnMut(usize, &SqliteRow) -> Result<()>,
    ) -> Result<Vec<u64>, Failure> {
        if args.failed {
            return Err(Failure::Row(Error::new(
                ErrorKind::Internal,
                "a value could not be bound to a statement",
            )));
        }
        let mut stream = self.sqlite().map_err(Failure::Row)?.fetch_many(sqlx::query_with(sql, args.inner));
        let mut changed = Vec::new();
        let mut bad_row = None;
        block_on(
            async {
                // To the very end, whatever the rows are like: a stream that is dropped half-way leaves it open
                // which of its statements ran.
                while let Some(step) = poll_fn(|context| stream.as_mut().poll_next(context)).await {
                    match step {
                        Ok(Either::Left(done)) => changed.push(done.rows_affected()),
                        Ok(Either::Right(row)) if bad_row.is_none() => {
                            bad_row = each(changed.len(), &row).err();
                        }
                        Ok(Either::Right(_)) => {}
                        Err(error) => return Err(Failure::Sql { ran: changed.len(), error }),
                    }
                }
                Ok(())
            },
            wait,
        )?;
        match bad_row {
            Some(error) => Err(Failure::Row(error)),
            None => Ok(changed),
        }
    }

    /// Runs statements that answer nothing.
    pub(super) fn run(&mut self, sql: &'static str) -> Result<(), Failure> {
        self.call(sql, Args::default(), Wait::Park, |_, _| Ok(())).map(|_| ())
    }

    /// Whether it was given up.
    pub(super) fn is_lost(&self) -> bool {
        self.sqlite.is_none()
    }

    /// Ends whatever transaction is open and makes sure that none is.
    pub(super) fn roll_back(&mut self) -> Result<()> {
        if self.is_lost() {
            return Ok(());
        }
        // With no transaction open the ROLLBACK is refused, for which no connection is given up; the BEGIN after it
        // tells that apart from a failed one.
        let _ = self.call_once("ROLLBACK", Args::default(), Wait::Park, |_, _| Ok(()));
        self.run("BEGIN; ROLLBACK").map_err(|failure| {
            let error = failure.into_error();
            Error::new(
                ErrorKind::Poisoned,
                format!("a transaction could not be taken back ({error}); reopen the store"),
            )
            .caused_by(error)
        })
    }

    /// The connection itself, which migrations need too.
    pub(super) fn sqlite(&mut self) -> Result<&mut SqliteConnection> {
        self.sqlite.as_mut().ok_or_else(|| {
            Error::new(
                ErrorKind::Poisoned,
                "the connection is given up, since the file's tables are not those of this build; reopen the store",
            )
        })
    }

    /// Closes it, and with the last one of all processes moves everything from the WAL into the file.
    pub(super) fn close(self) -> Result<()> {
        let Some(sqlite) = self.sqlite else { return Ok(()) };
        block_on(sqlite.close(), Wait::Park).map_err(errors::unchanged)
    }
}
