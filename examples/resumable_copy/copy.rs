//! The workers: claim pieces, copy them, sync them, and only then complete them.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use magnetar::{ChunkUpdate, ClaimRequest, Completion, JobState, JobStatus, block_on};

use super::args::Options;
use super::failure::Failure;
use super::ledger::Ledger;
use super::plan::{Reader, read_piece};
use super::record::{PIECES, Piece, checksum, entry_of};
use super::report::Progress;

/// Files that all workers together write to at a time, though each to one: a batch may have more, and a process may open a
/// few hundred.
const FILES_OPEN: usize = 64;

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) source: &'a Path,
    pub(crate) target: &'a Path,
    pub(crate) options: &'a Options,
    pub(crate) progress: &'a Progress,
    /// Pieces that a worker has in hand.
    pub(crate) batch: usize,
    /// Entries whose file was there before the copy began: what it holds may be right already.
    pub(crate) found: &'a HashSet<u64>,
    pub(crate) log: Option<&'a File>,
    pub(crate) tally: &'a Tally,
    pub(crate) stop: AtomicBool,
}

/// What this run did, in pieces.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) worked: AtomicU64,
    /// Of those: the destination held the right bytes already.
    pub(crate) in_place: AtomicU64,
    pub(crate) completed: AtomicU64,
}

/// How a piece failed.
enum Trouble {
    /// The piece is put aside; the others go on.
    Piece(String),
    /// Nothing can go on.
    Run(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Trouble::Run(failure)
    }
}

impl Work<'_> {
    /// Copies everything that is pending.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        thread::scope(|scope| {
            let start = |_| {
                scope.spawn(|| {
                    let outcome = self.worker();
                    self.stop.fetch_or(outcome.is_err(), Ordering::Relaxed);
                    outcome
                })
            };
            let workers: Vec<_> = (0..self.options.workers).map(start).collect();
            let outcomes = workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            // All are waited for, whichever fails.
            outcomes.fold(Ok(()), Result::and)
        })
    }

    /// Files that one worker writes to at a time.
    fn files_open(&self) -> usize {
        (FILES_OPEN / self.options.workers).max(1)
    }

    fn request(&self) -> ClaimRequest {
        ClaimRequest::new().job(PIECES).count(self.batch)
    }

    fn worker(&self) -> Result<(), Failure> {
        let mut hands = Hands::default();
        let mut claimed = block_on(self.ledger.store.claim(&self.request()))?;
        while !self.stop.load(Ordering::Relaxed) {
            if claimed.is_empty() {
                if self.ledger.stats(PIECES)?.pending == 0 {
                    return Ok(());
                }
                // Not claimable this moment: somebody else was quicker, or the store makes it wait.
                thread::sleep(Duration::from_millis(10));
                claimed = block_on(self.ledger.store.claim(&self.request()))?;
                continue;
            }
            claimed = self.batch(&mut hands, &claimed)?;
        }
        // Closing the store gives back what is claimed.
        Ok(())
    }

    /// Copies a batch, makes it durable, completes it and claims the next.
    fn batch(&self, hands: &mut Hands, claimed: &[JobState]) -> Result<Vec<JobState>, Failure> {
        let mut done: Vec<(&JobState, String)> = Vec::with_capacity(claimed.len());
        for chunk in claimed {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(Vec::new());
            }
            match self.piece(hands, chunk) {
                Ok(observed) => done.push((chunk, observed)),
                Err(Trouble::Piece(why)) => drop(block_on(self.ledger.store.fail(&chunk.claim(), &why))?),
                Err(Trouble::Run(failure)) => return Err(failure),
            }
        }
        // What is acknowledged must never be lost: the files first, the store after.
        hands.written.sync()?;
        let Some((last, observed)) = done.pop() else {
            return Ok(block_on(self.ledger.store.claim(&self.request()))?);
        };
        let count = done.len() as u64 + 1;
        if !done.is_empty() {
            let complete = |(chunk, observed): (&JobState, String)| {
                ChunkUpdate::Complete(chunk.claim(), Completion::new().checksum(observed))
            };
            let updates = done.into_iter().map(complete).collect();
            for answer in block_on(self.ledger.store.apply_batch_updates(PIECES, updates))? {
                answer?;
            }
        }
        let result = Completion::new().checksum(observed);
        let next = block_on(self.ledger.store.complete_and_claim(&last.claim(), result, &self.request()))?;
        let completed = self.tally.completed.fetch_add(count, Ordering::Relaxed) + count;
        if self.options.crash_after.is_some_and(|after| completed >= after) {
            crash();
        }
        Ok(next)
    }

    /// Copies one piece and gives the checksum of what the destination then holds.
    fn piece(&self, hands: &mut Hands, chunk: &JobState) -> Result<String, Trouble> {
        let piece = Piece::read(chunk)?;
        let expected = chunk.checksum.as_deref().unwrap_or_default();
        let (from, to) = (piece.path.below(self.source)?, piece.path.below(self.target)?);
        let content = hands.reader.read(&from, piece.offset, piece.length).map_err(|error| {
            Trouble::Piece(format!("cannot read {} at {}: {error}", from.display(), piece.offset))
        })?;
        let mut observed = checksum(content);
        if observed != expected {
            return Err(Trouble::Piece(format!(
                "{} changed at {} since it was hashed",
                from.display(),
                piece.offset
            )));
        }
        let file = hands.written.file(&to, self.files_open())?;
        let holds = |file: &mut File, buffer: &mut Vec<u8>| {
            read_piece(file, piece.offset, piece.length, buffer).map_err(Failure::file("read back", &to))?;
            Ok::<_, Failure>(checksum(buffer))
        };
        let in_place =
            self.found.contains(&entry_of(chunk.chunk)) && holds(file, &mut hands.back)? == observed;
        if in_place {
            self.tally.in_place.fetch_add(1, Ordering::Relaxed);
        } else {
            let written = file.seek(SeekFrom::Start(piece.offset)).and_then(|_| file.write_all(content));
            written.map_err(Failure::file("write", &to))?;
            if self.options.read_back {
                observed = holds(file, &mut hands.back)?;
                if observed != expected {
                    let text =
                        format!("{} holds other bytes at {} than were written", to.display(), piece.offset);
                    return Err(Trouble::Piece(text));
                }
            }
        }
        self.tally.worked.fetch_add(1, Ordering::Relaxed);
        if let Some(mut log) = self.log {
            let line = format!("{}\n", chunk.chunk);
            let path = self.options.log_worked.as_deref().unwrap_or(Path::new(""));
            log.write_all(line.as_bytes()).map_err(Failure::file("append to", path))?;
        }
        self.progress.add(piece.length);
        Ok(observed)
    }

    /// Reads what the destination holds of every done piece; those that differ are pending again. Gives how many.
    pub(crate) fn verify(&self) -> Result<u64, Failure> {
        let (mut reader, mut differing) = (Reader::default(), Vec::new());
        for chunk in self.ledger.chunks(PIECES, Some(JobStatus::Done)) {
            let chunk = chunk?;
            let piece = Piece::read(&chunk)?;
            let path = piece.path.below(self.target)?;
            let holds = reader.read(&path, piece.offset, piece.length).map(checksum);
            if holds.ok() != chunk.checksum {
                differing.push(chunk.chunk);
            }
            self.progress.add(piece.length);
        }
        self.ledger.reset(PIECES, &differing)?;
        Ok(differing.len() as u64)
    }
}

/// What a worker keeps from piece to piece.
#[derive(Debug, Default)]
struct Hands {
    reader: Reader,
    back: Vec<u8>,
    written: Written,
}

/// Files that are written to and not synced yet.
#[derive(Debug, Default)]
struct Written(HashMap<PathBuf, File>);

impl Written {
    /// A file to write to. Where so many are open already, they are synced and closed first.
    fn file(&mut self, path: &Path, most: usize) -> Result<&mut File, Failure> {
        if !self.0.contains_key(path) && self.0.len() >= most {
            self.sync()?;
        }
        Ok(match self.0.entry(path.to_owned()) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(free) => {
                let file = File::options().read(true).write(true).open(path);
                free.insert(file.map_err(Failure::file("open", path))?)
            }
        })
    }

    fn sync(&mut self) -> Result<(), Failure> {
        self.0.drain().try_for_each(|(path, file)| file.sync_data().map_err(Failure::file("sync", &path)))
    }
}

/// Ends this process as a power cut would: nothing is flushed, nothing is told.
#[cfg(unix)]
fn crash() -> ! {
    // Where it is refused, the abort below does.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort()
}

#[cfg(not(unix))]
fn crash() -> ! {
    std::process::abort()
}
