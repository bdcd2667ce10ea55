//! The `SQLite` backend: typed tables that anybody can read, one connection for writing, a few for reading.
//!
//! SQL texts are in `statements`, the tables in `migrations`. A group of operations costs two calls to the connection's
//! thread, whatever its size: [`load`] asks everything in one, [`write`] writes everything and commits in the other.

mod block;
mod columns;
mod connection;
mod errors;
mod files;
mod load;
mod open;
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
mod write;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::backends::contract::{Backend, Delta, Load, Loaded, Needs, Reader, WriteTx};
use crate::error::{Error, ErrorKind, Result};
use connection::Connection;
use load::Opening;
use reader::{FileReader, MemoryReader, Readers};
use write::{CommitError, Writer};

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileOptions {
    /// A file up to this size is checked whole when it is opened, in bytes.
    pub(crate) check_bytes_max: u64,
}

impl Default for FileOptions {
    fn default() -> Self {
        FileOptions { check_bytes_max: open::CHECK_BYTES_MAX }
    }
}

/// Opens the store in a file, or creates it.
pub(crate) fn open_file(path: &Path, options: FileOptions) -> Result<SqliteBackend> {
    let connection = open::file(path, options.check_bytes_max)?;
    let readers = Arc::new(Readers::new(path.to_owned()));
    let home = Home::File { path: path.to_owned(), options, writer: Some(connection), readers };
    Ok(SqliteBackend { home, broken: None })
}

/// A new store that lives as long as it is open.
pub(crate) fn in_memory() -> Result<SqliteBackend> {
    let connection = open::memory()?;
    Ok(SqliteBackend { home: Home::Memory(Arc::new(Mutex::new(Some(connection)))), broken: None })
}

/// Where the data is.
enum Home {
    File {
        path: PathBuf,
        options: FileOptions,
        writer: Option<Connection>,
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
}

/// The connection for writing, for as long as it is in use.
enum Held<'b> {
    Own(&'b mut Connection),
    Shared(MutexGuard<'b, Option<Connection>>),
}

impl Held<'_> {
    fn connection(&mut self) -> Result<&mut Connection> {
        match self {
            Held::Own(connection) => Ok(connection),
            Held::Shared(guard) => guard.as_mut().ok_or_else(reader::closed),
        }
    }
}

impl SqliteBackend {
    fn hold(&mut self) -> Result<(Held<'_>, &mut Option<Error>)> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let held = match &mut self.home {
            Home::File { writer, .. } => Held::Own(writer.as_mut().ok_or_else(reader::closed)?),
            Home::Memory(connection) => Held::Shared(reader::lock(connection)),
        };
        Ok((held, &mut self.broken))
    }
}

impl Backend for SqliteBackend {
    fn begin(&mut self) -> Result<Box<dyn WriteTx + '_>> {
        let (held, broken) = self.hold()?;
        Ok(Box::new(Transaction { held, broken, begun: false }))
    }

    fn reader(&self) -> Arc<dyn Reader> {
        match &self.home {
            Home::File { readers, .. } => Arc::new(FileReader(Arc::clone(readers))),
            Home::Memory(connection) => Arc::new(MemoryReader(Arc::clone(connection))),
        }
    }

    fn reopen(&mut self) -> Result<()> {
        match &mut self.home {
            Home::File { path, options, writer, readers } => {
                if let Some(old) = writer.take() {
                    // What it had not committed is gone with it, and that is meant.
                    let _ = old.close();
                }
                readers.renew(false);
                *writer = Some(open::file(path, options.check_bytes_max)?);
            }
            // The data is the connection: all there is to take back is an open transaction.
            Home::Memory(connection) => {
                reader::lock(connection).as_mut().ok_or_else(reader::closed)?.roll_back()?;
            }
        }
        self.broken = None;
        Ok(())
    }

    fn verify(&mut self) -> Result<()> {
        let (mut held, _) = self.hold()?;
        verify::verify(held.connection()?)
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

/// A write transaction. It begins with the first question, in the same call.
struct Transaction<'b> {
    held: Held<'b>,
    broken: &'b mut Option<Error>,
    begun: bool,
}

impl Transaction<'_> {
    /// Takes back what was written; where even that fails nothing goes on before the store is reopened.
    fn roll_back(&mut self) -> Result<()> {
        self.begun = false;
        self.held.connection()?.roll_back().inspect_err(|error| *self.broken = Some(error.clone()))
    }
}

impl Load for Transaction<'_> {
    fn load(&mut self, needs: &Needs) -> Result<Loaded> {
        let opening = if self.begun { Opening::None } else { Opening::Write };
        // Even a failed call may have begun it.
        self.begun = true;
        load::load(self.held.connection()?, needs, opening)
    }
}

impl WriteTx for Transaction<'_> {
    fn commit(mut self: Box<Self>, delta: Delta) -> Result<()> {
        let begun = std::mem::replace(&mut self.begun, true);
        let result = Writer::new(self.held.connection()?).commit(&delta, begun);
        match result {
            Ok(()) => {
                self.begun = false;
                Ok(())
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
                self.begun = false;
                *self.broken = Some(error.clone());
                Err(Error::new(ErrorKind::Poisoned, error.to_string()).caused_by(error))
            }
        }
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.begun {
            // A failure is kept for the next transaction.
            let _ = self.roll_back();
        }
    }
}
