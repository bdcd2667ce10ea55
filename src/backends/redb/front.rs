//! What stands in a file in front of redb's own: a mark that says what the file is, and the journal.
//!
//! ```text
//! 0         mark: magic number, version, where redb's part begins, checksum; zeros to the end of the page
//! 4 KiB     the journal, see `journal`
//! 256 KiB   redb's part, which begins with redb's header
//! ```
//!
//! The mark is written last, once the store is made: a file that has it is never taken for a new one, however empty it
//! looks. A file that begins as redb's own does is one of format 1. It has no journal, and works without.

use std::fmt;
use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{BackendError, StorageBackend};
use xxhash_rust::xxh3::xxh3_64;

use super::errors;
use super::tables::FILE_FORMAT;
use crate::error::Result;
use crate::model::Durability;

type Locking<T> = std::result::Result<T, BackendError>;

/// What the mark begins with. Its line ends show a copy that was taken for text.
const MAGIC: &[u8; 12] = b"magnetar\r\n\x1A\n";
const MARK_BYTES: usize = 32;
const PAGE_BYTES: usize = 4096;

/// Where the journal is.
const JOURNAL_AT: u64 = PAGE_BYTES as u64;
/// Where redb's part begins.
pub(super) const PAGES_AT: u64 = FRONT_BYTES as u64;
const FRONT_BYTES: usize = 256 << 10;
/// How long the journal is.
pub(super) const JOURNAL_BYTES: usize = FRONT_BYTES - PAGE_BYTES;

/// The bytes of a file, of which redb sees its own part only.
pub(super) struct Front {
    bytes: Box<dyn StorageBackend>,
    layout: Layout,
    /// There is nothing in front: the making of a store was not finished, or not begun.
    is_blank: bool,
    /// A write of the journal failed: whether what was written before it is on the disk is unknown, so that nothing may
    /// be written and synced as if it were.
    has_failed: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// Of format 1: all of it is redb's.
    Bare,
    /// Empty, or its making was cut short, or it lost its mark.
    Unmarked,
    Marked,
}

fn mark() -> [u8; MARK_BYTES] {
    let mut mark = [0; MARK_BYTES];
    mark[..12].copy_from_slice(MAGIC);
    mark[12..16].copy_from_slice(&FILE_FORMAT.to_le_bytes());
    mark[16..24].copy_from_slice(&PAGES_AT.to_le_bytes());
    let hash = xxh3_64(&mark[..24]);
    mark[24..].copy_from_slice(&hash.to_le_bytes());
    mark
}

fn layout_of(first: &[u8], len: u64) -> Result<Layout> {
    let mark = mark();
    if first.starts_with(&mark) {
        return Ok(Layout::Marked);
    }
    let begun = first.iter().zip(mark).take_while(|&(&byte, expected)| byte == expected).count();
    let is_begun_only = first[begun..].iter().all(|&byte| byte == 0);
    if len == 0 || is_begun_only && len >= PAGES_AT {
        return Ok(Layout::Unmarked);
    }
    if let Some(rest) = first.strip_prefix(MAGIC) {
        return Err(match rest.first_chunk().map(|version| u32::from_le_bytes(*version)) {
            Some(version) if version > FILE_FORMAT => errors::newer_file(version),
            _ => errors::damaged_mark(),
        });
    }
    Ok(Layout::Bare)
}

impl Front {
    /// Looks at the first page. Nothing is written.
    pub(super) fn new(bytes: Box<dyn StorageBackend>) -> Result<Arc<Self>> {
        let len = bytes.len().map_err(|e| errors::io("the file has no length", e))?;
        let mut first = [0; PAGE_BYTES];
        let first = &mut first[..usize::try_from(len).unwrap_or(PAGE_BYTES).min(PAGE_BYTES)];
        if !first.is_empty() {
            bytes.read(0, first).map_err(|e| errors::io("the file's first page cannot be read", e))?;
        }
        let layout = layout_of(first, len)?;
        if layout == Layout::Marked && len <= PAGES_AT {
            return Err(errors::cut_short_in_front());
        }
        let mut front = Front { bytes, layout, is_blank: false, has_failed: AtomicBool::new(false) };
        if layout == Layout::Unmarked {
            let journal = front.journal().map_err(|e| errors::io("the journal cannot be read", e))?;
            front.is_blank = journal.iter().all(|&byte| byte == 0);
        }
        Ok(Arc::new(front))
    }

    /// Whether a store may be made of the file.
    pub(super) fn may_be_new(&self) -> bool {
        self.is_blank
    }

    pub(super) fn has_journal(&self) -> bool {
        self.layout != Layout::Bare
    }

    /// Says what the file is, where it does not say so, and takes the space of a journal that has none yet: no commit is
    /// to look for space, or to find none. Durable with the next sync.
    ///
    /// The file was looked at before it was locked: somebody else may have made a store of it meanwhile, and died.
    pub(super) fn mark(&self) -> io::Result<()> {
        if self.is_blank && self.journal()?.iter().all(|&byte| byte == 0) {
            self.bytes.write(JOURNAL_AT, &vec![0; JOURNAL_BYTES])?;
        }
        if self.layout == Layout::Unmarked { self.bytes.write(0, &mark()) } else { Ok(()) }
    }

    /// The same, and durable, of a store that was made before: nothing of it is to wait for a commit.
    pub(super) fn mark_durably(&self) -> io::Result<()> {
        if self.layout == Layout::Unmarked {
            self.mark()?;
            self.bytes.sync_data()?;
        }
        Ok(())
    }

    /// All of the journal's bytes that are there.
    pub(super) fn journal(&self) -> io::Result<Vec<u8>> {
        let there = self.bytes.len()?.saturating_sub(JOURNAL_AT);
        let mut journal = vec![0; JOURNAL_BYTES.min(usize::try_from(there).unwrap_or(JOURNAL_BYTES))];
        if !journal.is_empty() {
            self.bytes.read(JOURNAL_AT, &mut journal)?;
        }
        Ok(journal)
    }

    /// Writes to the journal, and syncs where that is wanted. After an error neither the journal nor redb writes to the
    /// file any more.
    pub(super) fn write_journal(&self, at: usize, bytes: &[u8], durability: Durability) -> io::Result<()> {
        self.check()?;
        let sync = || if durability == Durability::Full { self.bytes.sync_data() } else { Ok(()) };
        let written = self.bytes.write(JOURNAL_AT + at as u64, bytes).and_then(|()| sync());
        if written.is_err() {
            self.has_failed.store(true, Ordering::Release);
        }
        written
    }

    fn check(&self) -> io::Result<()> {
        if self.has_failed.load(Ordering::Acquire) {
            return Err(io::Error::other("an earlier write of the journal failed"));
        }
        Ok(())
    }
}

/// redb's part of a file.
pub(super) struct Pages {
    front: Arc<Front>,
    /// Where it begins.
    at: u64,
}

impl Pages {
    pub(super) fn of(front: &Arc<Front>) -> Self {
        Pages { front: Arc::clone(front), at: if front.has_journal() { PAGES_AT } else { 0 } }
    }

    /// The file, where it may be written to.
    fn writable(&self) -> io::Result<&dyn StorageBackend> {
        self.front.check()?;
        Ok(&*self.front.bytes)
    }

    fn place(&self, offset: u64) -> io::Result<u64> {
        let beyond = || io::Error::new(io::ErrorKind::InvalidInput, "the offset is beyond every file's end");
        offset.checked_add(self.at).ok_or_else(beyond)
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.front.bytes.fmt(f)
    }
}

/// Locks are handed on as they are, or nobody would be kept out: they are of places behind every file's end.
impl StorageBackend for Pages {
    fn len(&self) -> io::Result<u64> {
        Ok(self.front.bytes.len()?.saturating_sub(self.at))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.front.bytes.read(self.place(offset)?, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.writable()?.set_len(self.place(len)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.writable()?.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.writable()?.write(self.place(offset)?, data)
    }

    fn close(&self) -> io::Result<()> {
        self.front.bytes.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locking<bool> {
        self.front.bytes.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locking<bool> {
        self.front.bytes.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locking<()> {
        self.front.bytes.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locking<()> {
        self.front.bytes.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locking<()> {
        self.front.bytes.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Locking<bool> {
        self.front.bytes.query_lock_range(start, end)
    }
}
