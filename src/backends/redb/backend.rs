//! The store as a whole: opening, transactions, reopening.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use redb::{
    Builder, ConcurrencyMode, Database, DatabaseError, Durability, MultimapTableHandle as _,
    ReadOnlyDatabase, ReadTransaction, ReadableDatabase as _, StorageBackend, StorageError, TableHandle as _,
};

use super::edits::{Edits, Entry};
use super::front::{Front, Pages};
use super::held::{Held, Hold};
use super::journal::{self, Journal};
use super::medium::{self, Made, Medium};
use super::recent::{Committed, Newest, Recent};
use super::snapshot::Snapshot;
use super::view::View;
use super::{CACHE_BYTES_DEFAULT, apply, errors, tables, verify, write};
use crate::backends::contract::{
    Backend, Delta, Key, Load, Loaded, Meta, Needs, PageNeed, Reader, Row, WriteTx,
};
use crate::backends::remembered::{Remembered, Seen};
use crate::codec::{Encoder, newer_format};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::model;

/// The data version of a file that has one writer.
const VERSION: i64 = 0;

/// What a commit writes goes to the trees at once where it is longer than this: there is little that the next one
/// would write over, and working with it in memory costs more than it spares.
const RECENT_BYTES_MAX: usize = 16 << 10;

/// How a store is opened.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// 16 random bytes: the store's own id where it is new.
    pub(crate) store_id: [u8; 16],
    pub(crate) cache_bytes: usize,
    /// Check every page also of a file above [`limits::REDB_CHECK_ON_OPEN_BYTES_MAX`]. redb may panic over a damaged file
    /// that was not checked.
    pub(crate) check_always: bool,
    /// Let other processes read beside us. Costs a second sync per commit, and the file then needs byte-range locks:
    /// Linux, Apple, Windows.
    pub(crate) shared_readers: bool,
}

impl Options {
    pub(crate) fn new(store_id: [u8; 16]) -> Self {
        Options { store_id, cache_bytes: CACHE_BYTES_DEFAULT, check_always: false, shared_readers: false }
    }
}

/// The redb backend.
pub(crate) struct RedbBackend {
    medium: Box<dyn Medium>,
    options: Options,
    access: Access,
    shared: Arc<Shared>,
    /// `None` where each commit is redb's own: in a file of format 1, and where other processes read it.
    journal: Option<Journal>,
    /// There was no space for what the journal has: the store can be read, and is opened anew before it is written to.
    is_behind: bool,
    encoder: Encoder,
    edits: Edits,
    remembered: Remembered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Write,
    Read,
}

/// What readers and the writer have in common. It is empty while the store is closed, also between the closing and the
/// opening of `reopen`, and where that failed.
struct Shared {
    handle: RwLock<Option<Handle>>,
    /// Locked behind the handle, and never while a sync of a commit is waited for.
    newest: Mutex<Newest>,
    /// How the trees take what the journal has: without a sync, where redb can do that.
    settling: Durability,
    /// A write error left the outcome unknown.
    is_poisoned: AtomicBool,
    /// It is empty for a moment.
    is_reopening: AtomicBool,
    /// It is empty for good.
    is_closed: AtomicBool,
}

enum Handle {
    Write(Database),
    Read(ReadOnlyDatabase),
}

impl Handle {
    fn close(self) -> Result<(), DatabaseError> {
        match self {
            Handle::Write(database) => database.close(),
            Handle::Read(database) => database.close(),
        }
    }

    fn begin_read(&self) -> Result<ReadTransaction> {
        match self {
            Handle::Write(database) => database.begin_read(),
            Handle::Read(database) => database.begin_read(),
        }
        .map_err(errors::beginning)
    }
}

impl Shared {
    /// A panic under the lock leaves the handle as it was, so that a poisoned lock says nothing.
    fn read(&self) -> RwLockReadGuard<'_, Option<Handle>> {
        self.handle.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, handle: Option<Handle>) -> Option<Handle> {
        std::mem::replace(&mut *self.handle.write().unwrap_or_else(PoisonError::into_inner), handle)
    }

    /// Why there is no handle.
    fn absent(&self) -> Error {
        if self.is_closed.load(Ordering::SeqCst) {
            errors::closed()
        } else if self.is_reopening.load(Ordering::SeqCst) {
            errors::reopening()
        } else {
            errors::not_reopened()
        }
    }

    fn newest(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was committed, in the trees or not.
    fn committed(&self) -> Result<Committed> {
        let handle = self.read();
        let handle = handle.as_ref().ok_or_else(|| self.absent())?;
        let open = || Snapshot::new(&handle.begin_read()?);
        match handle {
            Handle::Write(_) => self.newest().committed(open),
            // Whoever writes to it does so elsewhere.
            Handle::Read(_) => Newest::default().committed(open),
        }
    }

    /// Writes to the trees what they lack, and more. There is no need of a sync, because all of it is in the journal.
    fn settle(&self, database: &Database, more: &[Entry<'_>]) -> Result<()> {
        let mut newest = self.newest();
        if newest.recent().is_empty() && more.is_empty() {
            return Ok(());
        }
        newest.release();
        self.in_doubt(|| write_to(database, self.settling, &[&newest.recent().entries(), more]))?;
        newest.begin(Recent::default());
        Ok(())
    }

    /// Does what leaves the trees in doubt where it fails, or panics.
    fn in_doubt(&self, write: impl FnOnce() -> Result<()>) -> Result<()> {
        self.is_poisoned.store(true, Ordering::SeqCst);
        write()?;
        self.is_poisoned.store(false, Ordering::SeqCst);
        Ok(())
    }
}

fn snapshot_of(database: &Database) -> Result<Snapshot> {
    Snapshot::new(&database.begin_read().map_err(errors::beginning)?)
}

/// Writes lists of entries to the trees, one after the other, in one transaction.
fn write_to(database: &Database, durability: Durability, lists: &[&[Entry<'_>]]) -> Result<()> {
    let mut transaction = database.begin_write().map_err(errors::writing)?;
    transaction.set_durability(durability).map_err(errors::writing)?;
    for entries in lists {
        apply::apply(&transaction, entries)?;
    }
    transaction.commit().map_err(errors::committing)
}

impl RedbBackend {
    /// A store in memory. It lives as long as this value.
    pub(crate) fn in_memory(options: Options) -> Result<Self> {
        RedbBackend::open(Box::new(medium::memory()), options, Access::Write)
    }

    /// A store on whatever `make` opens; it is called again at each reopen, after the backend before was closed.
    pub(crate) fn with_backend<B: StorageBackend>(
        make: impl Fn() -> std::io::Result<B> + Send + Sync + 'static,
        options: Options,
    ) -> Result<Self> {
        RedbBackend::open(Box::new(Made(make)), options, Access::Write)
    }

    pub(super) fn open(medium: Box<dyn Medium>, options: Options, access: Access) -> Result<Self> {
        let shared = Arc::new(Shared {
            handle: RwLock::new(None),
            newest: Mutex::default(),
            settling: if options.shared_readers { Durability::Immediate } else { Durability::None },
            is_poisoned: AtomicBool::new(false),
            is_reopening: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
        });
        let mut backend = RedbBackend {
            medium,
            options,
            access,
            shared,
            journal: None,
            is_behind: false,
            encoder: Encoder::default(),
            edits: Edits::default(),
            remembered: Remembered::default(),
        };
        backend.open_handle(true)?;
        Ok(backend)
    }

    fn open_handle(&mut self, is_first: bool) -> Result<()> {
        self.try_open_handle(is_first).map_err(|error| self.medium.name(error))
    }

    fn try_open_handle(&mut self, is_first: bool) -> Result<()> {
        self.remembered.forget();
        match self.access {
            Access::Read => {
                let front = Front::new(self.medium.open(is_first)?)?;
                let pages = Pages::of(&front);
                let mut builder = self.builder();
                // The mode of a writer that lets others read.
                builder.set_concurrency_mode(ConcurrencyMode::SingleWriter);
                let opened = builder.open_read_only_with_backend(pages);
                let handle = Handle::Read(opened.map_err(|e| errors::opening(e, || self.medium.holder()))?);
                if let Tables::None = tables_of(&handle.begin_read()?)? {
                    return Err(errors::not_ours("it has no tables"));
                }
                let snapshot = Snapshot::new(&handle.begin_read()?)?;
                let opened = journal_of(&front, &snapshot)?;
                if opened.is_some_and(|(_, recent)| !recent.is_empty()) {
                    return Err(errors::needs_recovery());
                }
                drop(snapshot);
                self.medium.locked()?;
                self.shared.replace(Some(handle));
            }
            Access::Write => {
                self.is_behind = false;
                let opened = self.open_database(is_first)?;
                let database = match self.take(opened, is_first) {
                    Err(_) if self.is_behind => {
                        let opened = self.open_database(false)?;
                        self.take(opened, false)?
                    }
                    taken => taken?,
                };
                self.medium.opened()?;
                self.shared.replace(Some(Handle::Write(database)));
            }
        }
        self.shared.is_poisoned.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Makes a file that was opened one to work with: looks whose it is and whether it is whole, and only then writes.
    fn take(&mut self, opened: Opened, is_first: bool) -> Result<Database> {
        let Opened { database, hold, front } = opened;
        let begin_read = || database.begin_read().map_err(errors::beginning);
        let is_new = match tables_of(&begin_read()?)? {
            Tables::Ours => false,
            Tables::None if is_first && front.may_be_new() => true,
            Tables::None => return Err(errors::not_ours("it has no tables")),
        };
        // Every table is there, and the store record is whole and of our version.
        let mut journal = if is_new { None } else { journal_of(&front, &snapshot_of(&database)?)? };
        self.medium.locked()?;
        let fail = |error| errors::io("the file cannot be written to", error);
        hold.release().map_err(fail)?;
        if is_new {
            self.medium.making()?;
            self.create(&database, &front)?;
            journal = journal_of(&front, &snapshot_of(&database)?)?;
        } else {
            front.mark_durably().map_err(fail)?;
        }
        let (journal, recent) = journal.unzip();
        self.journal = journal;
        self.shared.newest().begin(recent.unwrap_or_default());
        if !self.is_behind {
            // At once: that what the journal has can be read does not mean that it is on the disk, where a sync of it
            // failed before. And whoever reads beside us sees the trees alone.
            self.hold(&database).map_err(errors::recovering).inspect_err(|error| {
                self.is_behind = error.kind() == ErrorKind::Full && !self.options.shared_readers;
            })?;
        }
        if self.options.shared_readers {
            self.journal = None;
        }
        Ok(database)
    }

    fn builder(&self) -> Builder {
        let mut builder = Builder::new();
        builder.set_cache_size(self.options.cache_bytes);
        builder
    }

    fn open_database(&self, is_first: bool) -> Result<Opened> {
        match self.try_open_database(is_first) {
            Err(DatabaseOrOurs::Database(error)) if is_not_a_database(&error) => {
                let front = Front::new(self.medium.open(is_first)?)?;
                let pages = Pages::of(&front);
                let is_emptied =
                    if front.may_be_new() { medium::empty_if_half_created(&pages) } else { Ok(false) };
                let closed = pages.close();
                if is_emptied.and_then(|is_emptied| closed.map(|()| is_emptied)).unwrap_or(false) {
                    return self.try_open_database(is_first).map_err(|e| e.into_ours(&*self.medium));
                }
                Err(DatabaseOrOurs::Database(error))
            }
            result => result,
        }
        .map_err(|e| e.into_ours(&*self.medium))
    }

    fn try_open_database(&self, is_first: bool) -> Result<Opened, DatabaseOrOurs> {
        let front = self.medium.open(is_first).and_then(Front::new).map_err(DatabaseOrOurs::Ours)?;
        let pages = Pages::of(&front);
        let length =
            pages.len().map_err(|e| DatabaseOrOurs::Ours(errors::io("the file has no length", e)))?;
        let mut builder = self.builder();
        builder.set_check_integrity_on_open(
            length > 0 && (self.options.check_always || length <= limits::REDB_CHECK_ON_OPEN_BYTES_MAX),
        );
        if self.options.shared_readers {
            builder.set_concurrency_mode(ConcurrencyMode::SingleWriter);
        }
        let (backend, hold) = Held::new(Box::new(pages));
        let database = builder.create_with_backend(backend).map_err(DatabaseOrOurs::Database)?;
        Ok(Opened { database, hold, front })
    }

    /// Two commits: redb keeps two headers and falls back from a damaged one to the other. After the second commit
    /// neither is one of a file without tables, so that a damaged store can never be taken for a new one. It makes the
    /// mark durable as well.
    fn create(&mut self, database: &Database, front: &Front) -> Result<()> {
        let meta = Meta {
            store_id: self.options.store_id,
            revision: 0,
            last_job: 0,
            clock_ms: 0,
            cursors: 0,
            log_start: 0,
            affairs: None,
        };
        self.edits.begin(0);
        write::meta(&mut self.edits, &mut self.encoder, &meta);
        for is_last in [false, true] {
            let transaction = database.begin_write().map_err(errors::writing)?;
            if is_last {
                front.mark().map_err(|e| errors::io("the new file cannot be written to", e))?;
            }
            apply::create(&transaction)?;
            apply::apply(&transaction, &self.edits.entries(0))?;
            transaction.commit().map_err(errors::committing)?;
        }
        Ok(())
    }

    /// Makes durable in the trees what the journal has, if it has anything that they have not.
    fn hold(&mut self, database: &Database) -> Result<()> {
        self.edits.begin(0);
        if self.journal.as_ref().is_some_and(Journal::has_any) {
            self.write_durably(database, 0)
        } else {
            Ok(())
        }
    }

    /// The same of a store that may not be open.
    fn hold_open(&mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        match &*shared.read() {
            Some(Handle::Write(database))
                if !self.is_behind && !shared.is_poisoned.load(Ordering::SeqCst) =>
            {
                self.hold(database)
            }
            _ => Ok(()),
        }
    }

    /// Where there was no space for what the journal has there may be some by now.
    fn catch_up(&mut self) -> Result<()> {
        if self.is_behind {
            self.reopen()?;
        }
        if self.is_behind { Err(errors::full()) } else { Ok(()) }
    }

    /// Makes durable in the trees what the journal has and the entries that stand behind so much room.
    fn write_durably(&mut self, database: &Database, room: usize) -> Result<()> {
        // By itself: who reads meanwhile does not wait for the sync.
        self.shared.settle(database, &[])?;
        self.shared.newest().release();
        if let Some(journal) = &self.journal {
            self.edits.put_journal(journal.next());
        }
        let entries = self.edits.entries(room);
        self.shared.in_doubt(|| write_to(database, Durability::Immediate, &[&entries]))?;
        // Whoever read meanwhile did so in the trees as they were.
        self.shared.newest().release();
        if let Some(journal) = &mut self.journal {
            journal.clear();
        }
        Ok(())
    }

    /// What is asked often is better asked of the trees alone, where they lack much.
    fn settle_if_long(&self) -> Result<()> {
        match &*self.shared.read() {
            Some(Handle::Write(database)) if !self.is_behind && self.shared.newest().recent().is_long() => {
                self.shared.settle(database, &[])
            }
            _ => Ok(()),
        }
    }

    /// Works out what the changes do and writes it: to the journal, where there is one and they fit into it.
    fn write(&mut self, delta: &Delta) -> Result<()> {
        self.catch_up()?;
        let shared = Arc::clone(&self.shared);
        let handle = shared.read();
        let Some(Handle::Write(database)) = &*handle else { return Err(shared.absent()) };
        self.edits.begin(journal::HEAD_BYTES);
        {
            let committed = shared.newest().committed(|| snapshot_of(database))?;
            write::changes(committed.view(), &mut self.edits, &mut self.encoder, delta)?;
        }
        let Some(journal) = self.journal.as_mut().filter(|journal| journal.has_room(&self.edits)) else {
            return self.write_durably(database, journal::HEAD_BYTES);
        };
        journal.write(&mut self.edits, delta.durability).map_err(errors::writing_journal)?;
        let entries = self.edits.entries(journal::HEAD_BYTES);
        if self.edits.len() > RECENT_BYTES_MAX {
            return shared.settle(database, &entries).map_err(errors::behind_journal);
        }
        shared.newest().merge(&entries);
        Ok(())
    }

    pub(super) fn transaction(&mut self, remembers: bool) -> Result<Transaction<'_>> {
        if self.access == Access::Read {
            return Err(Error::new(ErrorKind::Unsupported, "the store was opened for reading only"));
        }
        if self.shared.is_poisoned.load(Ordering::SeqCst) {
            return Err(errors::poisoned());
        }
        if self.shared.read().is_none() {
            return Err(self.shared.absent());
        }
        Ok(Transaction { backend: self, remembers, has_asked: false })
    }

    /// A transaction ended with an error.
    fn failed(&mut self, error: &Error) {
        self.remembered.forget();
        self.shared.is_poisoned.fetch_or(error.kind() == ErrorKind::Poisoned, Ordering::SeqCst);
    }

    fn close_handle(&mut self) -> Result<(), DatabaseError> {
        if self.access == Access::Write {
            self.medium.closing();
        }
        let handle = self.shared.replace(None);
        // Behind the handle: whoever reads until it goes reads all that was committed.
        self.journal = None;
        self.shared.newest().begin(Recent::default());
        handle.map_or(Ok(()), Handle::close)
    }
}

/// While it lives the store is closed for a moment only. It ends however that ends: redb may panic over a damaged file.
struct Reopening(Arc<Shared>);

impl Reopening {
    fn begin(shared: &Arc<Shared>) -> Self {
        shared.is_reopening.store(true, Ordering::SeqCst);
        Reopening(Arc::clone(shared))
    }
}

impl Drop for Reopening {
    fn drop(&mut self) {
        self.0.is_reopening.store(false, Ordering::SeqCst);
    }
}

/// A file that redb has opened, and of which nothing was changed yet.
struct Opened {
    database: Database,
    hold: Arc<Hold>,
    front: Arc<Front>,
}

/// An error of redb's that may be looked at, or one of ours that may not.
enum DatabaseOrOurs {
    Database(DatabaseError),
    Ours(Error),
}

impl DatabaseOrOurs {
    fn into_ours(self, medium: &dyn Medium) -> Error {
        match self {
            DatabaseOrOurs::Database(error) => errors::opening(error, || medium.holder()),
            DatabaseOrOurs::Ours(error) => error,
        }
    }
}

fn is_not_a_database(error: &DatabaseError) -> bool {
    matches!(error, DatabaseError::Storage(StorageError::Io(io)) if io.kind() == std::io::ErrorKind::InvalidData)
}

/// The journal, and what it has that the trees lack; checks that the trees are whole and of our version.
fn journal_of(front: &Arc<Front>, trees: &Snapshot) -> Result<Option<(Journal, Recent)>> {
    let trees = View::of(trees);
    let store_id = trees.meta()?.store_id;
    let held = trees.journal_held()?;
    front.has_journal().then(|| Journal::read(front, store_id, held)).transpose()
}

enum Tables {
    None,
    Ours,
}

/// Whose file it is, by the names of its tables.
fn tables_of(transaction: &ReadTransaction) -> Result<Tables> {
    let tables = transaction.list_tables().map_err(errors::reading)?;
    let multimaps = transaction.list_multimap_tables().map_err(errors::reading)?;
    let names: Vec<String> = tables
        .map(|table| table.name().to_owned())
        .chain(multimaps.map(|table| table.name().to_owned()))
        .collect();
    if names.is_empty() {
        return Ok(Tables::None);
    }
    if names.iter().any(|name| name == redb::TableHandle::name(&tables::INDEX)) {
        return Ok(Tables::Ours);
    }
    // `magnetar/<version>/<table>`
    match names.iter().find_map(|name| name.strip_prefix(tables::NAMESPACE)?.split('/').next()) {
        Some(version) => Err(newer_format(version)),
        None => Err(errors::not_ours("its tables are a stranger's")),
    }
}

impl Backend for RedbBackend {
    fn begin(&mut self) -> Result<Box<dyn WriteTx + '_>> {
        Ok(Box::new(self.transaction(false)?))
    }

    /// Nobody else writes, so that what is remembered is so.
    fn resume(&mut self) -> Result<Box<dyn WriteTx + '_>> {
        Ok(Box::new(self.transaction(true)?))
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::clone(&self.shared) as Arc<dyn Reader>
    }

    fn reopen(&mut self) -> Result<()> {
        let _reopening = Reopening::begin(&self.shared);
        // An error of this closing belongs to the handle that is given up: recovery is the opening's.
        let _ = self.close_handle();
        self.open_handle(false)
    }

    fn check_file(&mut self) -> Result<()> {
        // What is set right may differ from what was read.
        self.remembered.forget();
        self.catch_up()?;
        // redb may panic where it writes to a page that is damaged: the opening, which checks all, says what it is.
        let held = catch_unwind(AssertUnwindSafe(|| self.hold_open()));
        if !matches!(held, Ok(Ok(()))) {
            let unchecked = std::mem::replace(&mut self.options.check_always, true);
            let reopened = catch_unwind(AssertUnwindSafe(|| self.reopen()));
            self.options.check_always = unchecked;
            reopened.unwrap_or_else(|_| Err(errors::unwritable()))?;
            if self.is_behind {
                return Err(errors::full());
            }
            return held.unwrap_or_else(|_| Err(errors::unwritable()));
        }
        let checked = {
            let mut handle = self.shared.handle.write().unwrap_or_else(PoisonError::into_inner);
            self.shared.newest().release();
            match &mut *handle {
                Some(Handle::Write(database)) => database.check_integrity(),
                _ => Ok(true),
            }
        };
        match checked {
            Ok(true) => Ok(()),
            Err(error @ DatabaseError::TransactionInProgress) => Err(errors::opening(error, || None)),
            found => {
                // The trees may be behind now, or in doubt: the opening lays over them what the journal has. Where it
                // fails the store is as one whose reopening did.
                let _ = self.reopen();
                Err(found.map_or_else(|e| errors::opening(e, || None), |_| errors::set_right()))
            }
        }
    }

    fn checkpoint(&mut self) -> Result<()> {
        self.catch_up()?;
        let shared = Arc::clone(&self.shared);
        let handle = shared.read();
        match &*handle {
            Some(Handle::Write(_)) if shared.is_poisoned.load(Ordering::SeqCst) => Err(errors::poisoned()),
            // Always a commit: where the last one's pages are damaged, a file that was not closed is taken for one that
            // crashed in it, and is what the commit before and the journal behind that made of it. That is to be all.
            Some(Handle::Write(database)) => {
                self.edits.begin(0);
                self.write_durably(database, 0)
            }
            Some(Handle::Read(_)) => Ok(()),
            None => Err(shared.absent()),
        }
    }

    fn close(&mut self) -> Result<()> {
        self.shared.is_closed.store(true, Ordering::SeqCst);
        // Where this fails nothing is lost: the journal has it.
        let held = self.hold_open();
        // The first of two errors says what it was.
        let closed = held.and(self.close_handle().map_err(errors::writing));
        closed.map_err(errors::closing)
    }
}

/// A store that goes out of use without being closed is left as one that was: its file can be opened for reading.
impl Drop for RedbBackend {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // Where it fails nothing is lost: the journal has it.
            let _ = self.hold_open();
        }
    }
}

impl Reader for Shared {
    /// Pages are in memory or a read away.
    fn is_inline(&self) -> bool {
        true
    }

    /// Opened for reading: somebody else has it open for writing, or may.
    fn is_shared(&self) -> bool {
        matches!(&*self.read(), Some(Handle::Read(_)))
    }

    fn snapshot(&self) -> Result<Box<dyn Load + '_>> {
        Ok(Box::new(self.committed()?))
    }

    fn verify(&self) -> Result<()> {
        verify::all(self.committed()?.view())
    }
}

/// Reads are of what was committed last: there is one writer and it writes at the very end, so it sees the same as a
/// write transaction would, and one that changes nothing never takes a write transaction at all.
pub(super) struct Transaction<'a> {
    backend: &'a mut RedbBackend,
    /// Whether it may answer from memory.
    remembers: bool,
    /// Whether memory was not enough.
    pub(super) has_asked: bool,
}

/// What the file answered, and when the first row falls due where that is of interest.
struct Asked {
    answers: Loaded,
    due_first_ms: Option<u64>,
}

impl Transaction<'_> {
    fn answer(&self, needs: &Needs, ahead: usize) -> Result<Asked> {
        let remembered = self.backend.remembered.known().filter(|_| self.remembers);
        let known = |key: &Key| remembered.and_then(|remembered| remembered.row(key));
        let committed = self.backend.shared.committed()?;
        let view = committed.view();
        let answers = view.answer(needs, ahead, &known)?;
        let due_first_ms = if needs.due.is_some() { view.due_first_ms()? } else { None };
        Ok(Asked { answers, due_first_ms })
    }

    /// Asks the file, for some ready rows ahead of those that are needed where that can be. Says how many it were.
    fn ask(&mut self, needs: &Needs, ahead: usize) -> Result<(Asked, usize)> {
        self.has_asked = true;
        self.backend.settle_if_long()?;
        match self.answer(needs, ahead) {
            // A damaged chunk that nobody needs yet is in nobody's way.
            Err(error) if ahead > 0 && error.kind() == ErrorKind::Corrupt => {
                self.backend.remembered.narrow();
                Ok((self.answer(needs, 0)?, 0))
            }
            result => Ok((result?, ahead)),
        }
    }
}

impl Load for Transaction<'_> {
    fn load(&mut self, needs: &Needs) -> Result<Loaded> {
        if !self.remembers {
            return Ok(self.ask(needs, 0)?.0.answers);
        }
        if let Some(loaded) = self.backend.remembered.answer(needs) {
            return Ok(loaded);
        }
        let ahead = self.backend.remembered.ahead(needs);
        let (Asked { answers: mut loaded, due_first_ms }, ahead) = self.ask(needs, ahead)?;
        let seen = Seen { version: Some(VERSION), due_first_ms };
        self.backend.remembered.learn(needs, &mut loaded, seen, ahead);
        Ok(loaded)
    }

    /// Memory knows no lists.
    fn page(&mut self, need: &PageNeed, each: &mut dyn FnMut(Row)) -> Result<()> {
        self.has_asked = true;
        self.backend.settle_if_long()?;
        self.backend.shared.committed()?.view().page(need, each)
    }
}

impl WriteTx for Transaction<'_> {
    fn commit(self: Box<Self>, delta: Delta) -> Result<()> {
        let Transaction { backend, .. } = *self;
        // Who waits for no sync waits for no look at the file's name either.
        let is_synced = delta.durability == model::Durability::Full;
        let written = backend.write(&delta);
        let result = if is_synced { written.and_then(|()| backend.medium.in_place()) } else { written };
        match &result {
            Ok(()) => backend.remembered.committed(delta),
            Err(error) => backend.failed(error),
        }
        result
    }

    fn confirm(self: Box<Self>) -> Result<()> {
        let Transaction { backend, .. } = *self;
        backend.medium.in_place().inspect_err(|error| backend.failed(error))
    }
}
