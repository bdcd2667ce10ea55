//! Opens a file: refuses what is not ours and leaves it as it is, creates and migrates what is, one process at a time.

use std::fmt::Display;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sqlx::migrate::{MigrateError, Migrator};

use crate::backends::place::Place;
use crate::backends::sqlite::block::{Wait, block_on};
use crate::backends::sqlite::connection::{Args, Connection, Failure};
use crate::backends::sqlite::pragmas::{self, Role};
use crate::backends::sqlite::{errors, files, patience, rows};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;

static MIGRATOR: Migrator = sqlx::migrate!("src/backends/sqlite/migrations");

/// `PRAGMA application_id` of our files: "Mgnt".
const APPLICATION_ID: u32 = 0x4d67_6e74;
const SET_APPLICATION_ID: &str = "PRAGMA application_id = 1298624116;";

/// `PRAGMA user_version` of a whole file of this version's format.
const FORMAT: u32 = 4;

const HEADER_BYTES: usize = 100;

/// The WAL is written up to here ahead of time: about where a checkpoint starts it over.
const WAL_BYTES_PRIMED: u64 = 1_000 * (4096 + 24) + 32;

/// Opens or creates a store in a file. Gives the files that belong to it while it is open, too: who is without one of
/// them works by itself, whatever others who open the store do.
pub(super) fn file(path: &Path, check_bytes_max: u64) -> Result<(Connection, Vec<Place>)> {
    must_name_a_file(path)?;
    must_have_one_name(path)?;
    let lock = lock(path)?;
    let is_new = look(path)?;
    if is_new {
        must_leave_no_wal(path)?;
        files::create(path)
            .and_then(|file| file.sync_all())
            .map_err(|e| io_error("creating the file", path, e))?;
        files::sync_directory(path).map_err(|e| io_error("creating the file", path, e))?;
    }
    let mut connection = Connection::open_file(path)?;
    if number(&mut connection, "PRAGMA application_id")? != APPLICATION_ID {
        // Empty by SQLite's own account too, once it has taken back what a crash left.
        if number(&mut connection, "SELECT count(*) FROM sqlite_schema")? != 0 {
            return Err(foreign(path));
        }
        connection.run(SET_APPLICATION_ID).map_err(Failure::into_error)?;
    }
    let format = number(&mut connection, "PRAGMA user_version")?;
    must_be_known(format, &path.display())?;
    check_schema(&mut connection)?;
    let bytes = path.metadata().map_or(0, |meta| meta.len());
    if format == FORMAT && bytes <= check_bytes_max {
        quick_check(&mut connection)?;
    }
    pragmas::apply(&mut connection, Role::Writer)?;
    if format < FORMAT {
        migrate(&mut connection)?;
        files::sync_directory(path).map_err(|e| io_error("creating the file", path, e))?;
    }
    prime_wal(&mut connection, path)?;
    drop(lock);
    // All of them are open by now: where layers of files are laid over each other, one that is opened for writing becomes
    // another one.
    let files = [path.to_owned(), wal(path), beside(path, "-shm")];
    Ok((connection, files.map(named).into()))
}

/// The file that a path names now.
fn named(path: PathBuf) -> Place {
    let file = path.metadata();
    Place::new(path, file)
}

/// Refuses a file that a newer version has brought to a format of its own.
pub(super) fn must_be_known(format: u32, file: &dyn Display) -> Result<()> {
    if format <= FORMAT {
        return Ok(());
    }
    let text =
        format!("{file} has format {format}, this version of Magnetar reads up to {FORMAT}; update it");
    Err(Error::new(ErrorKind::NewerFormat, text))
}

fn must_name_a_file(path: &Path) -> Result<()> {
    let fault = if path.is_dir() {
        format!("{} is a folder; name a file in it", path.display())
    } else if path.to_str().is_none() {
        format!(
            "{} is no UTF-8, which SQLite takes alone; name the file, or its folder, another way",
            path.display()
        )
    } else if let Some((bytes, most)) = files::too_long(path) {
        format!(
            "{} has {bytes} bytes, and SQLite takes {most} at most; give it a shorter name",
            path.display()
        )
    } else {
        return Ok(());
    };
    Err(Error::invalid(fault))
}

/// Hard links are names of equal rank, and `SQLite` has a WAL beside each: who opens one knows nothing of what is done
/// under the other, and gives the same chunks away.
fn must_have_one_name(path: &Path) -> Result<()> {
    let names = path.metadata().map_or(1, |meta| files::names(&meta));
    if names < 2 {
        return Ok(());
    }
    let text = format!(
        "{} has {names} names (hard links), and its changes would be kept under one of them; remove the others, or make copies of them",
        path.display()
    );
    Err(Error::new(ErrorKind::Refused, text))
}

/// A WAL without its file has changes of a store that is gone, or that a process which has it open still works on;
/// `SQLite` would remove it. Ours are never that way: a new file is no empty one any more when it gets its WAL.
fn must_leave_no_wal(path: &Path) -> Result<()> {
    let wal = wal(path);
    if wal.metadata().map_or(0, |meta| meta.len()) == 0 {
        return Ok(());
    }
    let text = format!(
        "{} is missing or empty, and {} has the last changes of the store that it was: put the file back, or end who still has it open and remove both",
        path.display(),
        wal.display()
    );
    Err(Error::new(ErrorKind::Corrupt, text))
}

/// Where a file's last changes are.
pub(super) fn wal(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// A store that was there already is not made anew.
pub(super) fn must_be_there(path: &Path) -> Result<()> {
    let is_empty = path
        .metadata()
        .map_err(|e| io_error("reopening the file (it was moved or deleted; put it back)", path, e))?
        .len()
        == 0;
    if is_empty {
        let text = format!("{} is empty, and was a store; restore it from a copy and reopen", path.display());
        return Err(Error::new(ErrorKind::Corrupt, text));
    }
    Ok(())
}

/// Another connection to a file that is open already.
pub(super) fn reader(path: &Path) -> Result<Connection> {
    let mut connection = Connection::open_file(path)?;
    pragmas::apply(&mut connection, Role::Reader)?;
    Ok(connection)
}

/// A new store in memory.
pub(super) fn memory() -> Result<Connection> {
    let mut connection = Connection::open_memory()?;
    pragmas::apply(&mut connection, Role::Memory)?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// The limit up to which a file is checked whole when it is opened.
pub(super) const CHECK_BYTES_MAX: u64 = limits::SQLITE_CHECK_ON_OPEN_BYTES_MAX;

/// A lock over creating, migrating and checking: sqlx itself takes none on `SQLite`.
fn lock(path: &Path) -> Result<Option<File>> {
    let name = beside(path, ".lock");
    let file = files::create(&name).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => {
            io_error("opening the file (its folder is missing; create that first)", path, e)
        }
        _ => io_error("opening the lock of the file", &name, e),
    })?;
    let locked = patience::wait(|| file.try_lock(), |error| matches!(error, TryLockError::WouldBlock));
    match locked {
        Ok(()) => Ok(Some(file)),
        // A file system without locks: SQLite's own will not do much there either, but that is for it to say.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
        Err(TryLockError::Error(error)) => Err(io_error("locking the file", &name, error)),
        Err(TryLockError::WouldBlock) => Err(Error::new(
            ErrorKind::Busy,
            format!("{} is being created or checked by another process; try again later", path.display()),
        )),
    }
}

/// Whether there is nothing yet. What is not ours is refused here and left as it is.
///
/// `SQLite` reads the header, as of a file that nobody changes: without locks, and without its journals. Reading it
/// ourselves would end every lock that this process has on the file, since on POSIX systems closing any descriptor of a
/// file does; a store that is open here already would go on without them.
fn look(path: &Path) -> Result<bool> {
    match path.metadata() {
        Ok(meta) if meta.len() == 0 => return Ok(true),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(io_error("opening the file", path, error)),
    }
    match Connection::open_as_it_is(path).and_then(|mut file| number(&mut file, "PRAGMA application_id")) {
        Ok(APPLICATION_ID) => Ok(false),
        Ok(_) => Err(foreign(path)),
        // A power cut while the very first page was written leaves zeros, and the journal that takes them back.
        Err(error) if errors::is_no_database(&error) && !is_cut_short(path) => Err(foreign(path)),
        Err(error) if error.kind() != ErrorKind::Corrupt => Err(error),
        // Pages whose change is half-way through a checkpoint do not go together: with its journal it is what it says.
        Err(_) => Ok(false),
    }
}

/// Whether a file that is no database is one of which only the journal was written. No store has a lock on such a file.
fn is_cut_short(path: &Path) -> bool {
    let journal = beside(path, "-journal");
    let mut header = Vec::with_capacity(HEADER_BYTES);
    let read = File::open(path).and_then(|file| file.take(HEADER_BYTES as u64).read_to_end(&mut header));
    read.is_ok() && header.iter().all(|byte| *byte == 0) && journal.exists()
}

fn foreign(path: &Path) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!(
            "{} is not a Magnetar store in SQLite and was left as it is; give another path, and a store in redb a name that ends in .redb",
            path.display()
        ),
    )
}

fn number(connection: &mut Connection, sql: &'static str) -> Result<u32> {
    // The application id is a signed number to SQLite; ours is a positive one.
    Ok(pragmas::single(connection, sql)?.parse().unwrap_or_default())
}

/// Triggers would change what we write. Views and further tables and indexes of somebody's own do no harm; a unique index
/// that refuses a row says so when it does.
fn check_schema(connection: &mut Connection) -> Result<()> {
    let mut trigger = None;
    connection
        .call(
            "SELECT name FROM sqlite_schema WHERE type='trigger' ORDER BY name LIMIT 1",
            Args::default(),
            Wait::Park,
            |_, row| {
                trigger = Some(rows::get::<String>(row, 0)?);
                Ok(())
            },
        )
        .map_err(Failure::into_error)?;
    match trigger {
        None => Ok(()),
        Some(name) => Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "somebody added the trigger {name:?} to the file, which would change what is stored; drop it"
            ),
        )),
    }
}

/// A check of the file's structure, its indexes' contents left out.
fn quick_check(connection: &mut Connection) -> Result<()> {
    match pragmas::single(connection, "PRAGMA quick_check(1)")?.as_str() {
        "ok" => Ok(()),
        found => Err(Error::new(
            ErrorKind::Corrupt,
            format!("the file is damaged ({found}); restore it from a copy, nothing was changed"),
        )),
    }
}

fn migrate(connection: &mut Connection) -> Result<()> {
    let is_busy = |error: &MigrateError| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => errors::is_busy(error),
        _ => false,
    };
    let sqlite = connection.sqlite()?;
    let migrated = patience::wait(|| block_on(MIGRATOR.run(&mut *sqlite), Wait::Park), is_busy);
    migrated.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => errors::unchanged(error),
        error => Error::new(
            ErrorKind::Corrupt,
            format!("the file's format cannot be brought up to date ({error}); restore it from a copy"),
        )
        .caused_by(error),
    })
}

/// Gives a new WAL the length that it will have anyway: growing it with every commit makes each sync dearer, by a
/// third. What follows the last frame has no valid checksum and is nothing to `SQLite`.
fn prime_wal(connection: &mut Connection, path: &Path) -> Result<()> {
    let name = wal(path);
    let is_short = |path: &Path| path.metadata().is_ok_and(|meta| meta.len() < WAL_BYTES_PRIMED);
    if !is_short(&name) {
        return Ok(());
    }
    // Nobody writes to the WAL, or shortens it, while we hold the write lock.
    let begun = patience::wait(|| connection.run("BEGIN IMMEDIATE"), Failure::is_busy);
    begun.map_err(Failure::into_error)?;
    if is_short(&name) {
        // It only saves time: where it does not work, on a disk that is nearly full for one, nothing is lost.
        let _ = grow(&name);
    }
    connection.roll_back()
}

fn grow(wal: &Path) -> io::Result<()> {
    let mut file = files::create(wal)?;
    let end = file.seek(SeekFrom::End(0))?;
    let zeros = vec![0; usize::try_from(WAL_BYTES_PRIMED.saturating_sub(end)).unwrap_or_default()];
    file.write_all(&zeros)?;
    file.sync_all()
}

fn io_error(doing: &str, path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
        _ => ErrorKind::Io,
    };
    Error::new(kind, format!("{doing} {} failed: {error}", path.display())).caused_by(error)
}
