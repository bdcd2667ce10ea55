//! Snapshots beside the writer.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::backends::contract::{Load, Loaded, Needs, PageNeed, Reader, Row};
use crate::backends::sqlite::connection::Connection;
use crate::backends::sqlite::load::{self, Opening};
use crate::backends::sqlite::{open, pages, verify};
use crate::error::{Error, ErrorKind, Result};

/// Connections for reading at most; who comes later waits for one.
const READERS_MAX: usize = 4;

/// Takes a lock whose holder may have panicked: what it guards is replaced as a whole or not at all.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The connections for reading of one file.
pub(super) struct Readers {
    path: PathBuf,
    set: Mutex<Set>,
    freed: Condvar,
}

#[derive(Default)]
struct Set {
    idle: Vec<Connection>,
    /// How many of this generation there are, idle or not.
    count: usize,
    /// Moves on when everything is opened anew; what was handed out before is not taken back.
    generation: u64,
    closed: bool,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Readers { path, set: Mutex::default(), freed: Condvar::new() }
    }

    /// Closes what is idle and forgets what is not. `closed` says whether that is the end.
    pub(super) fn renew(&self, closed: bool) {
        let mut set = lock(&self.set);
        let idle = std::mem::take(&mut set.idle);
        (set.count, set.closed) = (0, closed);
        set.generation += 1;
        drop(set);
        for connection in idle {
            // It only read: nothing is lost, whatever closing it comes to.
            let _ = connection.close();
        }
        self.freed.notify_all();
    }

    fn check_out(&self) -> Result<(Connection, u64)> {
        let mut set = lock(&self.set);
        loop {
            if set.closed {
                return Err(closed());
            }
            if let Some(connection) = set.idle.pop() {
                return Ok((connection, set.generation));
            }
            if set.count < READERS_MAX {
                break;
            }
            set = self.freed.wait(set).unwrap_or_else(PoisonError::into_inner);
        }
        set.count += 1;
        let generation = set.generation;
        drop(set);
        match open::reader(&self.path) {
            Ok(connection) => Ok((connection, generation)),
            Err(error) => {
                self.check_in(None, generation);
                Err(error)
            }
        }
    }

    fn check_in(&self, connection: Option<Connection>, generation: u64) {
        let mut set = lock(&self.set);
        if set.generation == generation {
            match connection {
                Some(connection) => set.idle.push(connection),
                None => set.count -= 1,
            }
            self.freed.notify_one();
        }
    }
}

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the store was closed; open it again")
}

/// Reads from a file.
pub(super) struct FileReader(pub(super) Arc<Readers>);

impl Reader for FileReader {
    fn is_inline(&self) -> bool {
        false
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn snapshot(&self) -> Result<Box<dyn Load + '_>> {
        Ok(Box::new(FileSnapshot::new(&self.0)?))
    }

    fn verify(&self) -> Result<()> {
        let mut snapshot = FileSnapshot::new(&self.0)?;
        snapshot.load(&Needs::default())?;
        verify::verify(snapshot.connection.as_mut().ok_or_else(closed)?)
    }
}

struct FileSnapshot<'r> {
    readers: &'r Readers,
    /// There until the drop.
    connection: Option<Connection>,
    generation: u64,
    begun: bool,
}

impl<'r> FileSnapshot<'r> {
    fn new(readers: &'r Readers) -> Result<Self> {
        let (connection, generation) = readers.check_out()?;
        Ok(FileSnapshot { readers, connection: Some(connection), generation, begun: false })
    }
}

impl Load for FileSnapshot<'_> {
    fn load(&mut self, needs: &Needs) -> Result<Loaded> {
        let connection = self.connection.as_mut().ok_or_else(closed)?;
        let opening = if self.begun { Opening::None } else { Opening::Read };
        self.begun = true;
        load::load(connection, needs, opening)
    }

    fn page(&mut self, need: &PageNeed, each: &mut dyn FnMut(Row)) -> Result<()> {
        if !self.begun {
            self.load(&Needs::default())?;
        }
        pages::page(self.connection.as_mut().ok_or_else(closed)?, need, each)
    }
}

impl Drop for FileSnapshot<'_> {
    fn drop(&mut self) {
        let connection = self.connection.take().and_then(|mut connection| {
            let ended = !self.begun || connection.run("COMMIT").is_ok() || connection.roll_back().is_ok();
            (ended && !connection.is_lost()).then_some(connection)
        });
        self.readers.check_in(connection, self.generation);
    }
}

/// Reads from memory, through the one connection there is.
pub(super) struct MemoryReader(pub(super) Arc<Mutex<Option<Connection>>>);

impl Reader for MemoryReader {
    fn is_inline(&self) -> bool {
        false
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn snapshot(&self) -> Result<Box<dyn Load + '_>> {
        Ok(Box::new(MemorySnapshot(lock(&self.0))))
    }

    fn verify(&self) -> Result<()> {
        verify::verify(lock(&self.0).as_mut().ok_or_else(closed)?)
    }
}

/// Nobody writes while it is held: that makes it a snapshot.
struct MemorySnapshot<'r>(MutexGuard<'r, Option<Connection>>);

impl Load for MemorySnapshot<'_> {
    fn load(&mut self, needs: &Needs) -> Result<Loaded> {
        load::load(self.0.as_mut().ok_or_else(closed)?, needs, Opening::None)
    }

    fn page(&mut self, need: &PageNeed, each: &mut dyn FnMut(Row)) -> Result<()> {
        pages::page(self.0.as_mut().ok_or_else(closed)?, need, each)
    }
}
