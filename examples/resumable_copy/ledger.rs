//! The store beside the destination: opened under a lock, filled, pruned, removed.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use magnetar::{
    ChunkUpdate, ErrorKind, ImportOptions, ImportReport, JobState, JobStats, JobStatus, JobStore, NewChunk,
    OnConflict, OnMissing, ResetReach, Selection, block_on,
};

use super::args::Engine;
use super::failure::Failure;
use super::record::{self, ENTRIES, Entry, PIECES, SETTINGS, Settings, entry_of, piece_id};

/// Rows of a page.
const PAGE: usize = 5_000;
/// Chunks that one import deletes at most; it is one transaction.
const DELETED_PER_IMPORT: u64 = 40_000;
/// A process that was killed a moment ago has its locks until the write that it was at is done: so often they are tried
/// again, with so much time between.
const LOCK_TRIES: u32 = 150;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// What is known from earlier runs.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) settings: Option<Settings>,
    pub(crate) entries: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) store: Arc<dyn JobStore>,
    path: PathBuf,
    lock: Lock,
}

impl Ledger {
    /// Opens the store of a destination, or creates it.
    pub(crate) fn open(target: &Path, asked: Option<Engine>, restart: bool) -> Result<Self, Failure> {
        let lock = Lock::take(with_ending(target, ".magnetar.lock"))?;
        match Self::open_store(target, asked, restart) {
            Ok((store, path)) => Ok(Ledger { store, path, lock }),
            Err(failure) => {
                // What the store says is the thing to tell.
                let _ = lock.give_back();
                Err(failure)
            }
        }
    }

    fn open_store(
        target: &Path,
        asked: Option<Engine>,
        restart: bool,
    ) -> Result<(Arc<dyn JobStore>, PathBuf), Failure> {
        let path_of = |engine: Engine| with_ending(target, engine.ending());
        if restart {
            Engine::ALL.into_iter().try_for_each(|engine| remove_all(&path_of(engine)))?;
        }
        let begun = Engine::ALL.into_iter().find(|engine| path_of(*engine).exists());
        let engine = match (asked, begun) {
            (Some(asked), Some(begun)) if asked != begun => {
                return Err(Failure::OtherCopy(format!(
                    "an unfinished copy is recorded in {}; go on with --store {}, or forget it with --restart",
                    path_of(begun).display(),
                    begun.name()
                )));
            }
            (Some(engine), _) | (None, Some(engine)) => engine,
            (None, None) if cfg!(feature = "sqlite") => Engine::Sqlite,
            (None, None) => Engine::Redb,
        };
        let path = path_of(engine);
        let store = block_on(magnetar::open(&path))?;
        Ok((store, path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the table of entries, and puts back what a killed run had claimed: under our lock nobody else is at work.
    pub(crate) fn known(&self) -> Result<Known, Failure> {
        let mut known = Known::default();
        for chunk in self.chunks(ENTRIES, None) {
            let chunk = chunk?;
            if chunk.chunk == SETTINGS {
                known.settings = Some(record::payload(&chunk)?);
            } else {
                known.entries.insert(chunk.chunk, record::payload(&chunk)?);
            }
        }
        for job in [ENTRIES, PIECES] {
            let held: Vec<u64> = self
                .chunks(job, Some(JobStatus::Processing))
                .map(|chunk| Ok(chunk?.chunk))
                .collect::<Result<_, Failure>>()?;
            let put_back =
                |&chunk: &u64| ChunkUpdate::Mark { chunk, status: JobStatus::Pending, detail: None };
            for held in held.chunks(PAGE) {
                let answers =
                    block_on(self.store.apply_batch_updates(job, held.iter().map(put_back).collect()))?;
                answers.into_iter().try_for_each(|answer| answer.map(drop))?;
            }
        }
        Ok(known)
    }

    /// All chunks of a job, or those of a status, by id, a page at a time. A job that does not exist has none.
    pub(crate) fn chunks(&self, job: i64, status: Option<JobStatus>) -> Pages<'_> {
        Pages { ledger: self, job, status, after: None, page: Vec::new().into_iter(), ended: false }
    }

    /// The chunks of one file's pieces that are done.
    pub(crate) fn done_of(&self, entry: u64) -> Result<Vec<u64>, Failure> {
        let mut pages = self.chunks(PIECES, Some(JobStatus::Done));
        pages.after = piece_id(entry, 0).checked_sub(1);
        let of_file =
            pages.take_while(|chunk| chunk.as_ref().map_or(true, |chunk| entry_of(chunk.chunk) == entry));
        of_file.map(|chunk| Ok(chunk?.chunk)).collect()
    }

    pub(crate) fn stats(&self, job: i64) -> Result<JobStats, Failure> {
        match block_on(self.store.get_stats(job)) {
            Err(error) if error.kind() == ErrorKind::JobNotFound => Ok(JobStats::default()),
            other => Ok(other?),
        }
    }

    /// Upserts chunks that are new or changed. What changed starts over, whatever it was; the others are left alone.
    pub(crate) fn import(
        &self,
        job: i64,
        chunks: impl Iterator<Item = magnetar::Result<NewChunk>> + Send,
    ) -> Result<ImportReport, Failure> {
        let options = ImportOptions::new().on_conflict(OnConflict::Reset).in_slices();
        Ok(block_on(self.store.import(job, &spec_of(job), magnetar::chunks(chunks), &options))?)
    }

    /// Deletes the chunks that are not to be kept.
    pub(crate) fn prune(&self, job: i64, keep: &(dyn Fn(u64) -> bool + Sync)) -> Result<u64, Failure> {
        let mut deleted = 0;
        loop {
            let report = self.prune_some(job, keep)?;
            deleted += report.deleted;
            if report.deleted < DELETED_PER_IMPORT {
                return Ok(deleted);
            }
        }
    }

    /// An import of what the job has already, without the first of those that are to go.
    fn prune_some(&self, job: i64, keep: &(dyn Fn(u64) -> bool + Sync)) -> Result<ImportReport, Failure> {
        let (sender, receiver) = sync_channel(PAGE);
        let receiver: Receiver<magnetar::Result<NewChunk>> = receiver;
        let options = ImportOptions::new().on_missing(OnMissing::Delete);
        let report = thread::scope(|scope| {
            // Another thread reads, so that the import, which waits for its stream, is not itself asked to wait.
            scope.spawn(move || {
                let mut dropped = 0;
                for chunk in self.chunks(job, None) {
                    let is_last = chunk.is_err();
                    let stays =
                        chunk.as_ref().map_or(true, |c| keep(c.chunk) || dropped == DELETED_PER_IMPORT);
                    if !stays {
                        dropped += 1;
                    } else if sender.send(chunk.map(as_imported)).is_err() || is_last {
                        return;
                    }
                }
            });
            block_on(self.store.import(job, &spec_of(job), magnetar::chunks(receiver), &options))
        });
        Ok(report?)
    }

    /// Makes done chunks pending again.
    pub(crate) fn reset(&self, job: i64, chunks: &[u64]) -> Result<(), Failure> {
        for some in chunks.chunks(PAGE) {
            block_on(self.store.reset(job, Selection::Chunks(some.to_vec()), ResetReach::Direct))?;
        }
        Ok(())
    }

    /// Entries of which a piece failed.
    pub(crate) fn suspects(&self) -> Result<HashSet<u64>, Failure> {
        self.chunks(PIECES, Some(JobStatus::Failed)).map(|chunk| Ok(entry_of(chunk?.chunk))).collect()
    }

    /// Closes the store and, where asked, removes every trace of it.
    pub(crate) fn close(self, keep: bool) -> Result<(), Failure> {
        block_on(self.store.close())?;
        drop(self.store);
        if !keep {
            remove_all(&self.path)?;
        }
        self.lock.give_back()
    }
}

fn spec_of(job: i64) -> magnetar::JobSpec {
    record::spec(if job == PIECES { "pieces" } else { "entries" })
}

/// A stored chunk as it was imported.
fn as_imported(chunk: JobState) -> NewChunk {
    let mut new = NewChunk::new(chunk.chunk);
    (new.checksum, new.payload, new.priority) = (chunk.checksum, chunk.payload, chunk.priority);
    new
}

/// See [`Ledger::chunks`].
pub(crate) struct Pages<'a> {
    ledger: &'a Ledger,
    job: i64,
    status: Option<JobStatus>,
    after: Option<u64>,
    page: std::vec::IntoIter<JobState>,
    ended: bool,
}

impl Iterator for Pages<'_> {
    type Item = magnetar::Result<JobState>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(chunk) = self.page.next() {
            self.after = Some(chunk.chunk);
            return Some(Ok(chunk));
        }
        if self.ended {
            return None;
        }
        match block_on(self.ledger.store.page_by_status(self.job, self.status, self.after, PAGE)) {
            Ok(page) => {
                self.ended = page.len() < PAGE;
                self.page = page.into_iter();
                self.page.next().map(|chunk| {
                    self.after = Some(chunk.chunk);
                    Ok(chunk)
                })
            }
            Err(error) => {
                self.ended = true;
                (error.kind() != ErrorKind::JobNotFound).then_some(Err(error))
            }
        }
    }
}

/// The destination's path with something after it: beside it, and named after it.
fn with_ending(target: &Path, ending: &str) -> PathBuf {
    let mut path = OsString::from(target);
    path.push(ending);
    path.into()
}

/// Whether a path is one of those that stand beside a destination while it is copied.
pub(crate) fn is_beside(target: &Path, path: &Path) -> bool {
    let name = |path: &Path| path.file_name().map(|name| name.as_encoded_bytes().to_vec());
    path.parent() == target.parent()
        && name(path)
            .zip(name(&with_ending(target, ".magnetar.")))
            .is_some_and(|(name, start)| name.starts_with(&start))
}

/// Removes a store: the file first, which alone makes it one, then what its engine keeps beside it.
fn remove_all(store: &Path) -> Result<(), Failure> {
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    gone(fs::remove_file(store)).map_err(Failure::file("remove", store))?;
    let (Some(folder), Some(start)) = (store.parent(), store.file_name()) else { return Ok(()) };
    for beside in fs::read_dir(folder).map_err(Failure::file("read", folder))? {
        let beside = beside.map_err(Failure::file("read", folder))?;
        if !beside.file_name().as_encoded_bytes().starts_with(start.as_encoded_bytes()) {
            continue;
        }
        let (path, is_dir) = (beside.path(), beside.file_type().is_ok_and(|kind| kind.is_dir()));
        let removed = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        gone(removed).map_err(Failure::file("remove", &path))?;
    }
    Ok(())
}

/// Only one copy to a destination at a time: an OS lock, which ends with its process however that ends.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    fn take(path: PathBuf) -> Result<Self, Failure> {
        let mut tries = 0;
        loop {
            let opened = File::options().create(true).truncate(false).write(true).open(&path);
            let file = opened.map_err(Failure::file("create", &path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if tries == LOCK_TRIES => return Err(Failure::Running(path)),
                Err(TryLockError::WouldBlock) => {
                    if tries == 0 {
                        eprintln!(
                            "notice: waiting for another copy to this destination, in case it is about to end"
                        );
                    }
                    tries += 1;
                    thread::sleep(LOCK_PAUSE);
                    continue;
                }
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    eprintln!(
                        "notice: no locks on this file system; do not start two copies to one destination"
                    );
                }
                Err(TryLockError::Error(error)) => return Err(Failure::file("lock", &path)(error)),
            }
            // Whoever held it may have removed it between our opening and our locking.
            if is_same(&file, &path) {
                return Ok(Lock { path, _file: file });
            }
        }
    }

    fn give_back(self) -> Result<(), Failure> {
        fs::remove_file(&self.path).map_err(Failure::file("remove", &self.path))
    }
}

#[cfg(unix)]
fn is_same(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    matches!((file.metadata().map(id), fs::metadata(path).map(id)), (Ok(a), Ok(b)) if a == b)
}

/// Elsewhere a file that is open cannot be removed.
#[cfg(not(unix))]
fn is_same(_file: &File, _path: &Path) -> bool {
    true
}
