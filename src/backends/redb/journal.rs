//! The journal: what the last commits wrote, in front of the trees.
//!
//! A commit of redb's own makes whole pages durable that lie apart: some eight for a single claim, of which it changes
//! a few hundred bytes. So a small commit is written down here, behind the one before it, and synced. Where the journal
//! is full, and at a close, redb makes durable what it has, and the journal begins anew. After a crash the trees are as
//! they were then, and what the journal has is laid over them.
//!
//! ```text
//! frame   [checksum 8][number 8][length 4] then so many bytes: entries, see `edits`
//!                               its highest bit: there are frames before it that were not synced when it was written
//! ```
//!
//! Frames begin at multiples of eight. They and redb's own commits are numbered without a gap, and the trees know up to
//! which number they have everything. A frame is synced before the next one is begun, so a crash can spoil none but the
//! last, of which nobody was told. What follows a spoilt frame proves that it was damaged later, and so does a frame
//! whose number does not follow what the trees have, where redb fell back from a damaged commit to the one before it.
//! Frames that say that those before them were not synced ([`Durability::Relaxed`]) prove nothing: a power cut may have
//! left them and not those. They are gone then, and no number that such a one has is given again, or they would follow what
//! is written next.
//! Damage that leaves no frame behind it whole cannot be told from a crash; in a file that was closed there is nothing to
//! be damaged here. Entries are final values, so that to write them twice does no harm. A frame shares its first sector
//! with the one before: as redb does, this takes for granted that a disk which writes a sector anew leaves alone what did
//! not change in it.

use std::io;
use std::sync::Arc;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::edits::{self, Edits};
use super::errors;
use super::front::{Front, JOURNAL_BYTES};
use super::recent::Recent;
use crate::error::Result;
use crate::model::Durability;

const HASH_BYTES: usize = 8;
/// What stands in front of a frame's entries.
pub(super) const HEAD_BYTES: usize = HASH_BYTES + 8 + 4;
const ALIGNMENT: usize = 8;
/// In a frame's length: frames before it were not synced when it was written.
const LOOSE: u32 = 1 << 31;
/// More than any store has written.
const FRAMES_MAX: u64 = u64::MAX / 2;

/// The journal of an open file.
pub(super) struct Journal {
    front: Arc<Front>,
    /// Frames of another store are none of ours.
    seed: u64,
    /// Where the next frame is written.
    at: usize,
    /// The number of the last frame.
    last: u64,
    /// Up to this frame the trees have everything durably.
    held: u64,
    /// Frames were written that were not synced.
    is_loose: bool,
}

/// What stands in a frame.
struct Frame<'b> {
    entries: &'b [u8],
    number: u64,
    is_loose: bool,
}

impl Journal {
    /// The journal of a store of which the trees have everything up to a frame, and what they lack.
    pub(super) fn read(front: &Arc<Front>, store_id: [u8; 16], held: u64) -> Result<(Self, Recent)> {
        if held > FRAMES_MAX {
            return Err(errors::damaged_journal());
        }
        let bytes = front.journal().map_err(|e| errors::io("the journal cannot be read", e))?;
        let seed = xxh3_64(&store_id);
        let mut journal =
            Journal { front: Arc::clone(front), seed, at: 0, last: held, held, is_loose: false };
        let mut recent = Recent::default();
        while let Some(frame) = journal.frame_at(&bytes, journal.at, |number| number == journal.last + 1) {
            recent.merge(&edits::entries(frame.entries).ok_or_else(errors::damaged_journal)?);
            journal.advance(HEAD_BYTES + frame.entries.len());
        }
        let is_later = |number| number > journal.last && number - journal.last <= JOURNAL_BYTES as u64;
        let mut last = journal.last;
        for at in (journal.at..bytes.len()).step_by(ALIGNMENT) {
            match journal.frame_at(&bytes, at, is_later) {
                Some(frame) if frame.is_loose => last = last.max(frame.number),
                Some(_) => return Err(errors::damaged_journal()),
                None => {}
            }
        }
        journal.last = last;
        Ok((journal, recent))
    }

    /// The frame that begins at an offset, where one does whose number is wanted.
    fn frame_at<'b>(&self, bytes: &'b [u8], at: usize, is_wanted: impl Fn(u64) -> bool) -> Option<Frame<'b>> {
        let (hash, bytes) = bytes.get(at..)?.split_first_chunk::<HASH_BYTES>()?;
        let (number, rest) = bytes.split_first_chunk()?;
        let number = u64::from_le_bytes(*number);
        if !is_wanted(number) {
            return None;
        }
        let (length, rest) = rest.split_first_chunk()?;
        let length = u32::from_le_bytes(*length);
        let is_loose = length & LOOSE != 0;
        let length = usize::try_from(length & !LOOSE).ok()?;
        let entries = rest.get(..length)?;
        let hashed = &bytes[..HEAD_BYTES - HASH_BYTES + length];
        let is_whole = xxh3_64_with_seed(hashed, self.seed) == u64::from_le_bytes(*hash);
        is_whole.then_some(Frame { entries, number, is_loose })
    }

    /// Whether a frame has room in what is left. Where it has none, redb is to make all durable.
    pub(super) fn has_room(&self, edits: &Edits) -> bool {
        self.at + edits.len() <= JOURNAL_BYTES
    }

    /// Writes entries that stand behind room for a head, and syncs where that is wanted.
    pub(super) fn write(&mut self, edits: &mut Edits, durability: Durability) -> io::Result<()> {
        let frame = edits.bytes();
        let number = self.last + 1;
        let mut length = u32::try_from(frame.len() - HEAD_BYTES).map_err(io::Error::other)?;
        if self.is_loose {
            length |= LOOSE;
        }
        frame[HASH_BYTES..HASH_BYTES + 8].copy_from_slice(&number.to_le_bytes());
        frame[HASH_BYTES + 8..HEAD_BYTES].copy_from_slice(&length.to_le_bytes());
        let hash = xxh3_64_with_seed(&frame[HASH_BYTES..], self.seed);
        frame[..HASH_BYTES].copy_from_slice(&hash.to_le_bytes());
        self.front.write_journal(self.at, frame, durability)?;
        self.is_loose = durability == Durability::Relaxed;
        let length = frame.len();
        self.advance(length);
        Ok(())
    }

    /// Past a frame.
    fn advance(&mut self, length: usize) {
        self.at += length.next_multiple_of(ALIGNMENT);
        self.last += 1;
    }

    /// Whether there is a frame that the trees do not have durably.
    pub(super) fn has_any(&self) -> bool {
        self.last > self.held
    }

    /// The number that a commit of redb's own takes, as a frame does: where redb falls back to the one before it, the
    /// frames behind it are not taken for those that follow that one.
    pub(super) fn next(&self) -> u64 {
        self.last + 1
    }

    /// Begins anew behind a commit of redb's own: the trees have everything.
    pub(super) fn clear(&mut self) {
        self.at = 0;
        self.last += 1;
        self.held = self.last;
        self.is_loose = false;
    }
}
