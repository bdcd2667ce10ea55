//! The `SQLite` backend: typed tables that anybody can read, one connection for writing, a few for reading.
//!
//! SQL texts are in `statements`, the tables in `migrations`. A group of operations costs two calls to the connection's
//! thread as a rule, whatever its size: [`load`] asks everything in one, [`write`] writes everything and commits in the
//! other. The first is not made where
//! [`super::remembered`] has the answers.

mod block;
mod columns;
mod connection;
mod errors;
mod files;
mod load;
mod open;
mod pages;
mod patience;
mod pragmas;
mod reader;
mod row_writes;
mod rows;
mod runs;
mod statements;
mod sums;
#[cfg(test)]
mod tests;
mod verify;
mod wal;
mod write;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::backends::contract::{Backend, Delta, Key, Load, Loaded, Needs, PageNeed, Reader, Row, WriteTx};
use crate::backends::place::Place;
use crate::backends::remembered::{Remembered, Seen};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Durability;
use connection::Connection;
use load::Opening;
use reader::{FileReader, MemoryReader, Readers};
use wal::Wal;
use write::{CommitError, Stand, Writer};

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileOptions {
    /// A file up to this size is checked whole when it is opened, in bytes.
    pub(crate) check_bytes_max: u64,
    /// A WAL that is longer is started over, in bytes.
    wal_bytes_max: u64,
}

impl Default for FileOptions {
    fn default() -> Self {
        FileOptions { check_bytes_max: open::CHECK_BYTES_MAX, wal_bytes_max: wal::BYTES_MAX }
    }
}

/// Opens the store in a file, or creates it.
pub(crate) fn open_file(path: &Path, options: FileOptions) -> Result<SqliteBackend> {
    let (connection, places) = open::file(path, options.check_bytes_max)?;
    let readers = Arc::new(Readers::new(path.to_owned()));
    let wal = Wal::new(path, options.wal_bytes_max);
    let home = Home::File { path: path.to_owned(), options, writer: Some(connection), wal, places, readers };
    Ok(SqliteBackend::new(home))
}

/// A new store that lives as long as it is open.
pub(crate) fn in_memory() -> Result<SqliteBackend> {
    let connection = open::memory()?;
    Ok(SqliteBackend::new(Home::Memory(Arc::new(Mutex::new(Some(connection))))))
}

/// Where the data is.
enum Home {
    File {
        path: PathBuf,
        options: FileOptions,
        writer: Option<Connection>,
        wal: Wal,
        /// The files that the writer has open.
        places: Vec<Place>,
        readers: Arc<Readers>,
    },
    /// One connection, for whoever holds it.
    Memory(Arc<Mutex<Option<Connection>>>),
}

/// A store in `SQLite`.
pub(crate) struct SqliteBackend {
    home: Home,
    /// Why nothing can be written before the store is reopened.
    broken: Option<Error>,
    remembered: Remembered,
    /// The last transaction had answered from memory what was not so any more, or was begun as one that is not synced.
    overtaken: bool,
    durability: Level,
}

/// How the connection that writes commits. That cannot be changed within a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Level {
    is: Durability,
    /// What the last commit was to be; the next one mostly is the same.
    wanted: Durability,
}

const FULL: Level = Level { is: Durability::Full, wanted: Durability::Full };

impl Level {
    /// Has the connection, which is in no transaction, commit as it is wanted.
    fn set(&mut self, connection: &mut Connection) -> Result<()> {
        if self.is != self.wanted {
            // Until it is known: whoever wants more sets it again.
            self.is = Durability::Relaxed;
            pragmas::synchronous(connection, self.wanted)?;
            self.is = self.wanted;
        }
        Ok(())
    }
}

/// The connection for writing, for as long as it is in use.
enum Held<'b> {
    Own { writer: &'b mut Connection, wal: &'b mut Wal, places: &'b [Place] },
    Shared(MutexGuard<'b, Option<Connection>>),
}

impl Held<'_> {
    fn connection(&mut self) -> Result<&mut Connection> {
        match self {
            Held::Own { writer, .. } => Ok(writer),
            Held::Shared(guard) => guard.as_mut().ok_or_else(reader::closed),
        }
    }

    /// So many rows were committed.
    fn written(&mut self, rows: usize) {
        if let Held::Own { writer, wal, .. } = self {
            wal.written(writer, rows);
        }
    }

    /// Whether what is open is what an opening would find.
    fn in_place(&self) -> Result<()> {
        match self {
            Held::Own { places, .. } => places.iter().try_for_each(Place::check),
            Held::Shared(_) => Ok(()),
        }
    }
}

impl SqliteBackend {
    fn new(home: Home) -> Self {
        SqliteBackend {
            home,
            broken: None,
            remembered: Remembered::default(),
            overtaken: false,
            durability: FULL,
        }
    }

    fn hold(&mut self) -> Result<Held<'_>> {
        self.replace_lost()?;
        hold(&mut self.home, self.broken.as_ref())
    }

    /// Connects anew where the connection was given up. Nothing that was committed hangs on it.
    fn replace_lost(&mut self) -> Result<()> {
        match &self.home {
            Home::File { writer: Some(writer), .. } if self.broken.is_none() && writer.is_lost() => {
                self.connect()
            }
            _ => Ok(()),
        }
    }

    /// Connects to the file that is there, which is opened as for the first time.
    fn connect(&mut self) -> Result<()> {
        // What it is true of is counted by each connection for itself.
        self.remembered.forget();
        self.durability = FULL;
        if let Home::File { path, options, writer, places, .. } = &mut self.home {
            open::must_be_there(path)?;
            let (opened, found) = open::file(path, options.check_bytes_max)?;
            (*writer, *places) = (Some(opened), found);
        }
        Ok(())
    }

    fn transaction(&mut self, remembers: bool) -> Result<Transaction<'_>> {
        self.replace_lost()?;
        let mut held = hold(&mut self.home, self.broken.as_ref())?;
        self.durability.set(held.connection()?)?;
        let (broken, remembered) = (&mut self.broken, &mut self.remembered);
        let (overtaken, durability) = (&mut self.overtaken, &mut self.durability);
        Ok(Transaction { held, broken, remembered, overtaken, durability, remembers, stand: Stand::New })
    }
}

fn hold<'b>(home: &'b mut Home, broken: Option<&Error>) -> Result<Held<'b>> {
    if let Some(error) = broken {
        return Err(error.clone());
    }
    Ok(match home {
        Home::File { writer, wal, places, .. } => {
            Held::Own { writer: writer.as_mut().ok_or_else(reader::closed)?, wal, places }
        }
        Home::Memory(connection) => Held::Shared(reader::lock(connection)),
    })
}

impl Backend for SqliteBackend {
    fn begin(&mut self) -> Result<Box<dyn WriteTx + '_>> {
        Ok(Box::new(self.transaction(false)?))
    }

    fn resume(&mut self) -> Result<Box<dyn WriteTx + '_>> {
        Ok(Box::new(self.transaction(true)?))
    }

    fn overtaken(&mut self) -> bool {
        std::mem::take(&mut self.overtaken)
    }

    fn reader(&self) -> Arc<dyn Reader> {
        match &self.home {
            Home::File { readers, .. } => Arc::new(FileReader(Arc::clone(readers))),
            Home::Memory(connection) => Arc::new(MemoryReader(Arc::clone(connection))),
        }
    }

    fn reopen(&mut self) -> Result<()> {
        match &mut self.home {
            Home::File { writer, readers, .. } => {
                if let Some(old) = writer.take() {
                    // What it had not committed is gone with it, and that is meant.
                    let _ = old.close();
                }
                readers.renew(false);
                self.connect()?;
            }
            // The data is the connection: all there is to take back is an open transaction.
            Home::Memory(connection) => {
                reader::lock(connection).as_mut().ok_or_else(reader::closed)?.roll_back()?;
                self.remembered.forget();
            }
        }
        self.broken = None;
        Ok(())
    }

    /// Whoever reads can check all of it.
    fn check_file(&mut self) -> Result<()> {
        self.hold().map(drop)
    }

    fn close(&mut self) -> Result<()> {
        match &mut self.home {
            Home::File { writer, readers, .. } => {
                readers.renew(true);
                writer.take().map_or(Ok(()), Connection::close)
            }
            Home::Memory(connection) => reader::lock(connection).take().map_or(Ok(()), Connection::close),
        }
    }
}

/// A write transaction. It begins with the first question that is not answered from memory, in the same call.
struct Transaction<'b> {
    held: Held<'b>,
    broken: &'b mut Option<Error>,
    remembered: &'b mut Remembered,
    overtaken: &'b mut bool,
    durability: &'b mut Level,
    /// Whether it may answer from memory before it is begun.
    remembers: bool,
    stand: Stand,
}

impl Transaction<'_> {
    /// Takes back what was written; where even that fails nothing goes on before the store is reopened.
    fn roll_back(&mut self) -> Result<()> {
        self.stand = Stand::New;
        self.held.connection()?.roll_back().inspect_err(|error| *self.broken = Some(error.clone()))
    }

    /// Asks the file, for some ready rows ahead of those that are needed where that can be. Says how many it were.
    fn ask(&mut self, needs: &Needs, opening: Opening, ahead: usize) -> Result<(Loaded, Seen, usize)> {
        let connection = self.held.connection()?;
        match load::load_ahead(connection, needs, opening, ahead) {
            // A damaged chunk that nobody needs yet is in nobody's way.
            Err(error) if ahead > 0 && error.kind() == ErrorKind::Corrupt && !connection.is_lost() => {
                self.remembered.narrow();
                if opening == Opening::Write {
                    connection.roll_back()?;
                }
                load::load_ahead(connection, needs, opening, 0).map(|(loaded, seen)| (loaded, seen, 0))
            }
            result => result.map(|(loaded, seen)| (loaded, seen, ahead)),
        }
    }

    /// Asks the file for what is not known, within the transaction, which begins with it if it has not.
    fn load_from_file(&mut self, needs: &Needs) -> Result<Loaded> {
        let opening = if self.stand == Stand::Open { Opening::None } else { Opening::Write };
        // Even a failed call may have begun it.
        let stand = std::mem::replace(&mut self.stand, Stand::Open);
        let ahead = if self.remembers { self.remembered.ahead(needs) } else { 0 };
        let known = self.remembered.known().filter(|_| self.remembers);
        let known: Vec<Row> =
            known.map_or_else(Vec::new, |known| needs.rows.iter().filter_map(|key| known.row(key)).collect());
        let (mut loaded, seen, ahead) = if known.is_empty() {
            self.ask(needs, opening, ahead)?
        } else {
            self.ask(&without(needs, &known), opening, ahead)?
        };
        let leans = !known.is_empty() || matches!(stand, Stand::Remembered { .. });
        if leans && opening == Opening::Write && seen.version != self.remembered.version() {
            return Err(self.overtaken());
        }
        loaded.add_rows(known.into_iter().map(|row| (row.key, Some(row))));
        if self.remembers {
            self.remembered.learn(needs, &mut loaded, seen, ahead);
        }
        Ok(loaded)
    }

    /// Fails where the file, or one that belongs to it, is not what is open any more.
    fn look(&mut self) -> Result<()> {
        self.held.in_place().inspect_err(|error| {
            self.remembered.forget();
            *self.broken = Some(error.clone());
        })
    }

    /// What was answered from memory is not so any more.
    fn overtaken(&mut self) -> Error {
        self.remembered.overtaken();
        *self.overtaken = true;
        Error::new(ErrorKind::Busy, "somebody else has written to the store meanwhile; try again")
    }
}

/// The same questions but for rows that are known, which are in the order in which they are asked for.
fn without(needs: &Needs, known: &[Row]) -> Needs {
    let mut known = known.iter().peekable();
    let is_unknown = |key: &&Key| known.next_if(|row| row.key == **key).is_none();
    let rows = needs.rows.iter().filter(is_unknown).copied().collect();
    Needs { rows, ..needs.clone() }
}

impl Load for Transaction<'_> {
    fn load(&mut self, needs: &Needs) -> Result<Loaded> {
        if self.remembers
            && let Some(version) = self.remembered.version()
            && let Some(loaded) = self.remembered.answer(needs)
        {
            if self.stand == Stand::New {
                self.stand = Stand::Remembered { version };
            }
            return Ok(loaded);
        }
        self.load_from_file(needs)
    }

    fn page(&mut self, need: &PageNeed, each: &mut dyn FnMut(Row)) -> Result<()> {
        if self.stand != Stand::Open {
            self.load_from_file(&Needs::default())?;
        }
        pages::page(self.held.connection()?, need, each)
    }
}

impl WriteTx for Transaction<'_> {
    fn confirm(mut self: Box<Self>) -> Result<()> {
        match self.stand {
            Stand::Remembered { version } if !load::is_at(self.held.connection()?, version)? => {
                Err(self.overtaken())
            }
            _ => self.look(),
        }
    }

    fn commit(mut self: Box<Self>, delta: Delta) -> Result<()> {
        self.durability.wanted = delta.durability;
        if delta.durability == Durability::Full && self.durability.is == Durability::Relaxed {
            if self.stand == Stand::Open {
                self.roll_back()?;
                *self.overtaken = true;
                return Err(Error::new(
                    ErrorKind::Busy,
                    "the commit has to be synced, which it was not begun for",
                ));
            }
            self.durability.set(self.held.connection()?)?;
        }
        // Who waits for no sync waits for no look at the files' names either.
        let is_synced = delta.durability == Durability::Full;
        let stand = std::mem::replace(&mut self.stand, Stand::Open);
        let result = Writer::new(self.held.connection()?).commit(&delta, stand);
        if result.is_err() {
            self.remembered.forget();
        }
        match result {
            Ok(()) => {
                self.stand = Stand::New;
                let rows = delta.rows.len();
                self.remembered.committed(delta);
                if is_synced {
                    self.look()?;
                }
                self.held.written(rows);
                Ok(())
            }
            Err(CommitError::Overtaken) => {
                self.roll_back()?;
                Err(self.overtaken())
            }
            Err(CommitError::Before(error)) => {
                self.roll_back()?;
                Err(error)
            }
            Err(CommitError::At(error)) => {
                // Whether it went through before it failed shows only once the file is opened anew. A full or busy
                // one has not written its last frame.
                self.roll_back()?;
                if errors::is_full(&error) || errors::is_busy(&error) {
                    return Err(errors::unchanged(error));
                }
                let error = errors::unknown(error);
                *self.broken = Some(error.clone());
                Err(error)
            }
            Err(CommitError::After(error)) => {
                self.stand = Stand::New;
                *self.broken = Some(error.clone());
                Err(Error::new(ErrorKind::Poisoned, error.to_string()).caused_by(error))
            }
        }
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.stand == Stand::Open {
            // A failure is kept for the next transaction.
            let _ = self.roll_back();
        }
    }
}
