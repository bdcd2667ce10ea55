//! What the store holds of a copy: the payloads and ids of its two jobs.
//!
//! Job [`ENTRIES`] is the table of everything in the source: one chunk per file, folder and link. Job [`PIECES`] has one
//! chunk per piece of a file. An entry keeps its id for as long as its path exists, and a piece's id is its entry's id and
//! its position in the file: other files may come and go without moving it.

use std::path::{Component, Path, PathBuf};

use magnetar::limits::LEASE_MS;
use magnetar::{Backoff, JobSpec, JobState, Json, NewChunk};
use serde::{Deserialize, Serialize};

use super::failure::Failure;

pub(crate) const ENTRIES: i64 = 1;
pub(crate) const PIECES: i64 = 2;

/// In [`ENTRIES`], the chunk that says what is copied, and how; entries count from 1.
pub(crate) const SETTINGS: u64 = 0;

/// Bits of a piece's id for its position: at 1 MiB a piece, files of 128 TiB.
const POSITION_BITS: u32 = 27;
/// Entries that fit above them into the 53 bits of an id.
pub(crate) const ENTRIES_MAX: u64 = 1 << (53 - POSITION_BITS);

/// The whole of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) version: u32,
    pub(crate) source: Name,
    pub(crate) chunk_bytes: u64,
}

/// A path in JSON: text where it is Unicode, else its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Name {
    Text(String),
    Bytes(Vec<u8>),
}

impl Name {
    /// `None` where this platform cannot say the path in JSON.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        path.to_str().map(|text| Name::Text(text.to_owned())).or_else(|| raw_bytes(path).map(Name::Bytes))
    }

    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Name::Text(text) => text.into(),
            Name::Bytes(bytes) => from_raw_bytes(bytes),
        }
    }

    /// The path below a root; the empty one is the root itself. A store that was tampered with leads nowhere else.
    pub(crate) fn below(&self, root: &Path) -> Result<PathBuf, Failure> {
        let path = self.path();
        if path.as_os_str().is_empty() {
            return Ok(root.to_owned());
        }
        if path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Ok(root.join(path));
        }
        Err(Failure::OtherCopy(format!(
            "the store names {}, outside the copy; drop it with --restart",
            path.display()
        )))
    }
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere there are none")]
fn raw_bytes(path: &Path) -> Option<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    Some(path.as_os_str().as_bytes().to_vec())
}

#[cfg(not(unix))]
fn raw_bytes(_path: &Path) -> Option<Vec<u8>> {
    None
}

#[cfg(unix)]
fn from_raw_bytes(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(bytes).into()
}

#[cfg(not(unix))]
fn from_raw_bytes(bytes: &[u8]) -> PathBuf {
    String::from_utf8_lossy(bytes).into_owned().into()
}

/// One thing in the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// From the source's root; the root itself is the empty path.
    pub(crate) path: Name,
    pub(crate) kind: Kind,
    /// Permission bits, on unix.
    pub(crate) mode: Option<u32>,
    /// Nanoseconds since the Unix epoch.
    pub(crate) mtime_ns: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Folder,
    Link(Name),
    File(FileFacts),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileFacts {
    pub(crate) size: u64,
    /// Change time and inode number, on unix: they move even where somebody sets the modification time back.
    pub(crate) change: (i64, u64),
    /// Whether it had been left alone for a while when it was hashed; else a change could hide within its time's tick.
    pub(crate) settled: bool,
    /// Whether the destination had such a file before this copy began: then it is not ours to remove.
    pub(crate) found: bool,
}

impl Entry {
    pub(crate) fn file(&self) -> Option<&FileFacts> {
        if let Kind::File(facts) = &self.kind { Some(facts) } else { None }
    }

    pub(crate) fn size(&self) -> u64 {
        self.file().map_or(0, |facts| facts.size)
    }

    pub(crate) fn pieces(&self, chunk_bytes: u64) -> u64 {
        self.size().div_ceil(chunk_bytes)
    }

    /// Whether the other one, looked at earlier, surely has the same content.
    pub(crate) fn has_content_of(&self, earlier: &Entry) -> bool {
        match (self.file(), earlier.file()) {
            (Some(now), Some(then)) => {
                then.settled
                    && now.size == then.size
                    && now.change == then.change
                    && self.mtime_ns == earlier.mtime_ns
            }
            _ => false,
        }
    }

    pub(crate) fn chunk(&self, id: u64) -> Result<NewChunk, Failure> {
        Ok(NewChunk::new(id).payload(Json::new(self)?))
    }
}

/// One piece of a file, as its worker gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Piece {
    pub(crate) path: Name,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl Piece {
    pub(crate) fn of(entry: &Entry, position: u64, chunk_bytes: u64) -> Self {
        let offset = position * chunk_bytes;
        Piece { path: entry.path.clone(), offset, length: (entry.size() - offset).min(chunk_bytes) }
    }

    /// The piece of a stored chunk.
    pub(crate) fn read(chunk: &JobState) -> Result<Self, Failure> {
        payload(chunk)
    }
}

pub(crate) fn payload<T: serde::de::DeserializeOwned>(chunk: &JobState) -> Result<T, Failure> {
    match &chunk.payload {
        Some(payload) => Ok(payload.parse()?),
        None => Err(Failure::OtherCopy(format!(
            "chunk {} of the store has no payload: it is not a store of this program; drop it with --restart",
            chunk.chunk
        ))),
    }
}

pub(crate) fn piece_id(entry: u64, position: u64) -> u64 {
    entry << POSITION_BITS | position
}

pub(crate) fn entry_of(piece: u64) -> u64 {
    piece >> POSITION_BITS
}

pub(crate) fn position_of(piece: u64) -> u64 {
    piece & (PIECES_PER_FILE_MAX - 1)
}

pub(crate) const PIECES_PER_FILE_MAX: u64 = 1 << POSITION_BITS;

/// A piece is tried once per round, and no number of crashes is held against it: they are not its fault. Its lease is as long
/// as they come: the lock says that nobody else is at work, and a slow disk or a machine that slept is no death.
pub(crate) fn spec(name: &str) -> JobSpec {
    JobSpec::new().name(name).attempts_max(1).losses_max(0).backoff(Backoff::NONE).lease_ms(*LEASE_MS.end())
}

/// The checksum of a piece.
pub(crate) fn checksum(content: &[u8]) -> String {
    format!("blake3:{}", blake3::hash(content).to_hex())
}
