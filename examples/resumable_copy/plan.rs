//! What is to be done: the source as it is against what the store knows of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::mem::discriminant;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use magnetar::{Json, NewChunk};

use super::failure::Failure;
use super::ledger::{Known, Ledger};
use super::record::{
    ENTRIES, ENTRIES_MAX, Entry, Kind, Name, PIECES, PIECES_PER_FILE_MAX, Piece, SETTINGS, Settings,
    checksum, entry_of, piece_id, position_of,
};
use super::report::{self, Progress};
use super::scan::Tree;

/// One entry of the copy.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) id: u64,
    pub(crate) entry: Entry,
    /// As the store has it, where it has it.
    pub(crate) earlier: Option<Entry>,
    /// Whether its pieces are to be hashed.
    hash: bool,
}

/// Everything that is to be in the destination, and what is to go.
#[derive(Debug)]
pub(crate) struct Plan {
    /// In the order of their paths.
    pub(crate) entries: Vec<Planned>,
    /// In the store, and no longer in the source.
    pub(crate) gone: Vec<Entry>,
    pub(crate) settings: Settings,
}

/// Compares a scan with the store. `suspects` are entries whose pieces did not fit what the store says of them.
pub(crate) fn compare(
    tree: Tree,
    known: Known,
    settings: Settings,
    suspects: &HashSet<u64>,
    rehash: bool,
    target: &Path,
) -> Result<Plan, Failure> {
    let mut next_id = known.entries.last_key_value().map_or(SETTINGS, |(id, _)| *id) + 1;
    let mut by_path: HashMap<Name, (u64, Entry)> =
        known.entries.into_iter().map(|(id, entry)| (entry.path.clone(), (id, entry))).collect();
    let mut entries = Vec::with_capacity(tree.entries.len());
    let mut gone = Vec::new();
    for mut entry in tree.entries {
        if entry.pieces(settings.chunk_bytes) > PIECES_PER_FILE_MAX {
            let path = entry.path.path();
            return Err(Failure::usage(format!(
                "{} has too many pieces; use a larger --chunk-size",
                path.display()
            )));
        }
        let earlier = match by_path.remove(&entry.path) {
            Some((id, earlier)) if discriminant(&earlier.kind) == discriminant(&entry.kind) => {
                Some((id, earlier))
            }
            Some((_, other)) => {
                gone.push(other);
                None
            }
            None => None,
        };
        let path = entry.path.below(target)?;
        if let Kind::File(facts) = &mut entry.kind {
            facts.found = match earlier.as_ref().and_then(|(_, earlier)| earlier.file()) {
                Some(earlier) => earlier.found,
                None => fs::symlink_metadata(path).is_ok_and(|there| there.is_file() && there.len() > 0),
            };
        }
        let (id, earlier) = match earlier {
            Some((id, earlier)) => (id, Some(earlier)),
            None => (next_id, None),
        };
        next_id = next_id.max(id + 1);
        let trusted = earlier.as_ref().is_some_and(|earlier| entry.has_content_of(earlier));
        let hash = entry.file().is_some() && (rehash || suspects.contains(&id) || !trusted);
        entries.push(Planned { id, entry, earlier, hash });
    }
    // What cannot be looked at just now is not gone.
    for (id, entry) in by_path.into_values() {
        let path = entry.path.path();
        if tree.unreadable.iter().any(|unreadable| path.starts_with(unreadable)) {
            entries.push(Planned { id, earlier: Some(entry.clone()), entry, hash: false });
        } else {
            gone.push(entry);
        }
    }
    if next_id > ENTRIES_MAX {
        return Err(Failure::usage(format!("more than {ENTRIES_MAX} files and folders; copy them in parts")));
    }
    entries.sort_by_cached_key(|planned| planned.entry.path.path());
    Ok(Plan { entries, gone, settings })
}

impl Plan {
    pub(crate) fn bytes(&self) -> u64 {
        self.entries.iter().map(|planned| planned.entry.size()).sum()
    }

    pub(crate) fn pieces(&self) -> u64 {
        self.entries.iter().map(|planned| planned.entry.pieces(self.settings.chunk_bytes)).sum()
    }

    /// Files, and how many of them are hashed.
    pub(crate) fn files(&self) -> (usize, usize) {
        let files = self.entries.iter().filter(|planned| planned.entry.file().is_some());
        files.fold((0, 0), |(files, hashed), planned| (files + 1, hashed + usize::from(planned.hash)))
    }

    /// Hashes what is new or may have changed, and imports its pieces; those of no file any more are deleted. A file that
    /// cannot be read stays in the plan as it was known, where it was.
    pub(crate) fn import_pieces(
        &mut self,
        ledger: &Ledger,
        source: &Path,
        workers: usize,
    ) -> Result<Imported, Failure> {
        let chunk_bytes = self.settings.chunk_bytes;
        let bytes =
            self.entries.iter().filter(|planned| planned.hash).map(|planned| planned.entry.size()).sum();
        let progress = Progress::new(bytes, 0);
        let queue = Queue {
            plan: self,
            source,
            progress: &progress,
            next: Mutex::default(),
            unread: Mutex::default(),
            failed: Mutex::default(),
        };
        let imported = report::show("hashing", &progress, || {
            thread::scope(|scope| {
                let (sender, receiver) = sync_channel(1_024);
                for _ in 0..workers {
                    let (queue, sender) = (&queue, sender.clone());
                    scope.spawn(move || queue.hash(&sender));
                }
                drop(sender);
                ledger.import(PIECES, receiver.into_iter().map(Ok))
            })
        });
        // What was imported before it failed does no harm: without its entry nobody trusts it.
        if let Some(failure) = queue.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(failure);
        }
        let unread = queue.unread.into_inner().unwrap_or_else(PoisonError::into_inner);
        let imported = imported?;
        let unread = self.put_aside(unread);
        let pieces: HashMap<u64, u64> =
            self.entries.iter().map(|planned| (planned.id, planned.entry.pieces(chunk_bytes))).collect();
        let mut dropped = 0;
        if ledger.stats(PIECES)?.total_chunks != pieces.values().sum::<u64>() {
            let belongs = |id: u64| pieces.get(&entry_of(id)).is_some_and(|count| position_of(id) < *count);
            dropped = ledger.prune(PIECES, &belongs)?;
        }
        Ok(Imported { added: imported.added, changed: imported.updated + imported.reset, dropped, unread })
    }

    /// Goes on without files that could not be read, by their places. Gives their paths.
    fn put_aside(&mut self, unread: BTreeMap<usize, io::Error>) -> Vec<(PathBuf, io::Error)> {
        let (mut place, is_there) = (0, |place: usize| unread.contains_key(&place));
        let mut paths = Vec::with_capacity(unread.len());
        self.entries.retain_mut(|planned| {
            place += 1;
            if !is_there(place - 1) {
                return true;
            }
            paths.push(planned.entry.path.path());
            planned.earlier.clone().map(|earlier| planned.entry = earlier).is_some()
        });
        paths.into_iter().zip(unread.into_values()).collect()
    }

    /// Imports the table of entries: after the pieces, so that what it says of a file is never newer than its pieces,
    /// and after what is gone was removed, so that nobody forgets to.
    pub(crate) fn import_entries(&self, ledger: &Ledger) -> Result<(), Failure> {
        let changed = self.entries.iter().filter(|planned| planned.earlier.as_ref() != Some(&planned.entry));
        let mut chunks = vec![NewChunk::new(SETTINGS).payload(Json::new(&self.settings)?)];
        for planned in changed {
            chunks.push(planned.entry.chunk(planned.id)?);
        }
        ledger.import(ENTRIES, chunks.into_iter().map(Ok))?;
        let ids: HashSet<u64> = self.entries.iter().map(|planned| planned.id).chain([SETTINGS]).collect();
        if ledger.stats(ENTRIES)?.total_chunks != ids.len() as u64 {
            ledger.prune(ENTRIES, &|id| ids.contains(&id))?;
        }
        Ok(())
    }
}

/// What an import came to, in pieces.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) added: u64,
    pub(crate) changed: u64,
    pub(crate) dropped: u64,
    /// Files that could not be read, from the source's root.
    pub(crate) unread: Vec<(PathBuf, io::Error)>,
}

/// Whether a file was cut or removed since it was looked at.
pub(crate) fn has_moved(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
}

/// Hands out pieces to the threads that hash.
struct Queue<'a> {
    plan: &'a Plan,
    source: &'a Path,
    progress: &'a Progress,
    /// The next entry and the next piece of it.
    next: Mutex<(usize, u64)>,
    /// Files that could not be read, by their places: nothing more of them is hashed.
    unread: Mutex<BTreeMap<usize, io::Error>>,
    failed: Mutex<Option<Failure>>,
}

impl Queue<'_> {
    /// A place in the plan and a piece of the entry there.
    fn take(&self) -> Option<(usize, u64)> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (place, position) = *next;
            let planned = self.plan.entries.get(place)?;
            let is_left = planned.hash && position < planned.entry.pieces(self.plan.settings.chunk_bytes);
            if is_left && !self.unread().contains_key(&place) {
                next.1 += 1;
                return Some((place, position));
            }
            *next = (place + 1, 0);
        }
    }

    fn unread(&self) -> MutexGuard<'_, BTreeMap<usize, io::Error>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hashes until nothing is left, somebody failed, or nobody listens.
    fn hash(&self, sender: &SyncSender<NewChunk>) {
        let mut reader = Reader::default();
        while let Some((place, position)) = self.take() {
            if self.failed.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                return;
            }
            match self.piece(&mut reader, &self.plan.entries[place], position) {
                Ok(Ok(chunk)) => {
                    if sender.send(chunk).is_err() {
                        return;
                    }
                }
                Ok(Err(error)) => drop(self.unread().entry(place).or_insert(error)),
                Err(failure) => {
                    self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(failure);
                    return;
                }
            }
        }
    }

    /// A piece with its hash, or why the file cannot be read.
    fn piece(
        &self,
        reader: &mut Reader,
        planned: &Planned,
        position: u64,
    ) -> Result<io::Result<NewChunk>, Failure> {
        let piece = Piece::of(&planned.entry, position, self.plan.settings.chunk_bytes);
        let path = piece.path.below(self.source)?;
        let content = match reader.read(&path, piece.offset, piece.length) {
            Ok(content) => content,
            Err(error) => return Ok(Err(error)),
        };
        let chunk = NewChunk::new(piece_id(planned.id, position))
            .checksum(checksum(content))
            .payload(Json::new(&piece)?);
        self.progress.add(piece.length);
        Ok(Ok(chunk))
    }
}

/// Reads pieces, keeping the last file open and one buffer.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    open: Option<(PathBuf, File)>,
    buffer: Vec<u8>,
}

impl Reader {
    pub(crate) fn read(&mut self, path: &Path, offset: u64, length: u64) -> io::Result<&[u8]> {
        if self.open.as_ref().is_none_or(|(open, _)| open != path) {
            self.open = Some((path.to_owned(), File::open(path)?));
        }
        if let Some((_, file)) = &mut self.open {
            read_piece(file, offset, length, &mut self.buffer)?;
        }
        Ok(&self.buffer)
    }
}

/// Reads exactly one piece into a buffer.
pub(crate) fn read_piece(file: &mut File, offset: u64, length: u64, buffer: &mut Vec<u8>) -> io::Result<()> {
    let length = usize::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    buffer.resize(length, 0);
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(buffer)
}

#[cfg(test)]
mod tests;
