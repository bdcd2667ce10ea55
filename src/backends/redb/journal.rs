//! The journal: what the last commits wrote to the trees, in front of them.
//!
//! A commit of redb's own makes whole pages durable that lie apart: some eight for a single claim, of which it changes
//! a few hundred bytes. So a small commit is written down here, behind the one before it, and synced; redb takes it in
//! without a sync of its own. Where the journal is full, and at a close, redb makes durable what it has, and the
//! journal begins anew. After a crash the trees are as they were then, and the journal is played into them.
//!
//! ```text
//! frame   [checksum 8][number 8][length 4] then so many bytes: entries
//! entry   [tree 1][length of the key 1][length of the value 4, or 2^32 - 1: it goes] then the key, and the value
//! ```
//!
//! Frames are numbered without a gap, and the trees know up to which one they have everything. A frame is synced before
//! the next one is begun, so a crash can spoil none but the last, of which nobody was told. What follows a spoilt frame
//! proves that it was damaged later. Entries are final values, so playing a frame twice does no harm.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::errors;
use super::front::{Front, JOURNAL_BYTES};
use crate::error::Result;

const HASH_BYTES: usize = 8;
const HEAD_BYTES: usize = HASH_BYTES + 8 + 4;
const ENTRY_HEAD_BYTES: usize = 6;
/// The length of a value that goes.
const GONE: u32 = u32::MAX;

/// What a commit does to the trees, gathered to become a frame.
#[derive(Debug, Default)]
pub(super) struct Frame {
    bytes: RefCell<Vec<u8>>,
    /// How long it may become; 0 where nothing is gathered, or it became too long.
    room: Cell<usize>,
}

impl Frame {
    fn begin(&self, room: usize) {
        self.room.set(room);
        let mut bytes = self.bytes.borrow_mut();
        bytes.clear();
        bytes.resize(HEAD_BYTES, 0);
    }

    /// Notes that a key of a tree gets a value, or goes.
    pub(super) fn note(&self, tree: u8, key: &[u8], value: Option<&[u8]>) {
        if self.room.get() == 0 {
            return;
        }
        let mut bytes = self.bytes.borrow_mut();
        let length = value.map_or(0, <[u8]>::len);
        if bytes.len() + ENTRY_HEAD_BYTES + key.len() + length > self.room.get() {
            self.room.set(0);
            return;
        }
        // What has room is shorter than a journal, and no key is longer than 33 bytes.
        #[allow(clippy::cast_possible_truncation)]
        let (key_bytes, length) = (key.len() as u8, value.map_or(GONE, |value| value.len() as u32));
        bytes.extend_from_slice(&[tree, key_bytes]);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value.unwrap_or_default());
    }
}

/// Entries of trees as they are to be: values, or nothing.
pub(super) type Entries = BTreeMap<(u8, Vec<u8>), Option<Vec<u8>>>;

/// The journal of an open file.
pub(super) struct Journal {
    front: Arc<Front>,
    /// Frames of another store are none of ours.
    seed: u64,
    frame: Frame,
    /// Where the next frame is written.
    at: usize,
    /// The number of the last frame.
    last: u64,
    /// Up to this frame the trees have everything durably.
    held: u64,
}

impl Journal {
    /// The journal of a store of which the trees have everything up to a frame, and what they lack: the entries of the
    /// frames behind it. Where there are any, they are to be written with [`Journal::last`], and the journal to begin
    /// anew.
    pub(super) fn read(front: &Arc<Front>, store_id: [u8; 16], held: u64) -> Result<(Self, Entries)> {
        let bytes = front.journal().map_err(|e| errors::io("the journal cannot be read", e))?;
        let seed = xxh3_64(&store_id);
        let mut journal =
            Journal { front: Arc::clone(front), seed, frame: Frame::default(), at: 0, last: held, held };
        let mut entries = Entries::new();
        while let Some(frame) = journal.frame_at(&bytes, journal.at, |number| number == journal.last + 1) {
            read_entries(frame, &mut entries).ok_or_else(errors::damaged_journal)?;
            journal.at += HEAD_BYTES + frame.len();
            journal.last += 1;
        }
        let is_later = |number| number > journal.last && number - journal.last <= JOURNAL_BYTES as u64;
        if (journal.at..bytes.len()).any(|at| journal.frame_at(&bytes, at, is_later).is_some()) {
            return Err(errors::damaged_journal());
        }
        Ok((journal, entries))
    }

    /// The frame that begins at an offset, where one does whose number is wanted.
    fn frame_at<'b>(&self, bytes: &'b [u8], at: usize, is_wanted: impl Fn(u64) -> bool) -> Option<&'b [u8]> {
        let (hash, bytes) = bytes.get(at..)?.split_first_chunk::<HASH_BYTES>()?;
        let (number, rest) = bytes.split_first_chunk()?;
        if !is_wanted(u64::from_le_bytes(*number)) {
            return None;
        }
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let frame = rest.get(..length)?;
        let hashed = &bytes[..HEAD_BYTES - HASH_BYTES + length];
        (xxh3_64_with_seed(hashed, self.seed) == u64::from_le_bytes(*hash)).then_some(frame)
    }

    /// An empty frame, to be gathered for [`Journal::write`].
    pub(super) fn frame(&self) -> &Frame {
        self.frame.begin(JOURNAL_BYTES - self.at);
        &self.frame
    }

    /// Whether the frame has room in what is left of the journal. Where it has none, redb is to make all durable.
    pub(super) fn has_room(&self) -> bool {
        self.frame.room.get() > 0
    }

    /// Writes the frame and syncs.
    pub(super) fn write(&mut self) -> io::Result<()> {
        let frame = self.frame.bytes.get_mut();
        let number = self.last + 1;
        let length = u32::try_from(frame.len() - HEAD_BYTES).map_err(io::Error::other)?;
        frame[HASH_BYTES..HASH_BYTES + 8].copy_from_slice(&number.to_le_bytes());
        frame[HASH_BYTES + 8..HEAD_BYTES].copy_from_slice(&length.to_le_bytes());
        let hash = xxh3_64_with_seed(&frame[HASH_BYTES..], self.seed);
        frame[..HASH_BYTES].copy_from_slice(&hash.to_le_bytes());
        self.front.write_journal(self.at, frame)?;
        self.at += frame.len();
        self.last = number;
        Ok(())
    }

    /// The number of the last frame, where the trees do not have everything up to it durably.
    pub(super) fn last(&self) -> Option<u64> {
        (self.last > self.held).then_some(self.last)
    }

    /// Begins anew: the trees have everything.
    pub(super) fn clear(&mut self) {
        self.at = 0;
        self.held = self.last;
    }
}

fn read_entries(frame: &[u8], entries: &mut Entries) -> Option<()> {
    let mut rest = frame;
    while !rest.is_empty() {
        let (head, after) = rest.split_first_chunk::<ENTRY_HEAD_BYTES>()?;
        let length = u32::from_le_bytes([head[2], head[3], head[4], head[5]]);
        let (key, after) = after.split_at_checked(usize::from(head[1]))?;
        let value_bytes = if length == GONE { 0 } else { usize::try_from(length).ok()? };
        let (value, after) = after.split_at_checked(value_bytes)?;
        entries.insert((head[0], key.to_vec()), (length != GONE).then(|| value.to_vec()));
        rest = after;
    }
    Some(())
}
