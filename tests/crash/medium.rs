//! What reached a medium in which order, and what a power cut would leave of that.
#![allow(dead_code, reason = "the suites of both engines share it, and each uses a part")]

/// What a disk is told.
#[derive(Debug, Clone)]
pub(crate) enum Io {
    Write { at: usize, bytes: Vec<u8> },
    SetLen(usize),
    Sync,
}

impl Io {
    pub(crate) fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Io::Write { at, bytes } => put(to, *at, bytes),
            Io::SetLen(len) => to.resize(*len, 0),
            Io::Sync => {}
        }
    }
}

/// A write past the end makes the file longer, as on a file system that lost the lengthening but not the write.
fn put(to: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if to.len() < at + bytes.len() {
        to.resize(at + bytes.len(), 0);
    }
    to[at..at + bytes.len()].copy_from_slice(bytes);
}

/// What a power cut does to changes that no sync has followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    /// None of them reached the medium.
    DropAll,
    /// All of them did.
    KeepAll,
    /// Some of them did, in whatever order.
    Subset,
    /// Some sectors of 512 bytes of them did.
    TornSectors,
    /// The first of them did; the last of those only up to a byte.
    TornByte,
    /// Those to the first page did, and to the first page of redb's part, and nothing else.
    HeaderOnly,
}

impl Damage {
    pub(crate) const ALL: [Damage; 6] = [
        Damage::DropAll,
        Damage::KeepAll,
        Damage::Subset,
        Damage::TornSectors,
        Damage::TornByte,
        Damage::HeaderOnly,
    ];
}

const SECTOR: usize = 512;
const PAGE: usize = 4096;
/// Our mark, and redb's header.
const HEADERS_AT: [usize; 2] = [0, 256 << 10];

/// A medium as it stands at one moment of a log: what is safe, and what is under way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Medium<'a> {
    synced: Vec<u8>,
    unsynced: Vec<&'a Io>,
}

impl<'a> Medium<'a> {
    pub(crate) fn holding(bytes: Vec<u8>) -> Self {
        Medium { synced: bytes, unsynced: Vec::new() }
    }

    pub(crate) fn take(&mut self, io: &'a Io) {
        match io {
            Io::Sync => self.unsynced.drain(..).for_each(|io| io.apply(&mut self.synced)),
            other => self.unsynced.push(other),
        }
    }

    /// The same medium with a sync that lies: it returns, and nothing is safe.
    pub(crate) fn take_lying(&mut self, io: &'a Io) {
        if !matches!(io, Io::Sync) {
            self.unsynced.push(io);
        }
    }

    /// What is found when the power is back.
    pub(crate) fn cut(&self, damage: Damage, rng: &mut fastrand::Rng) -> Vec<u8> {
        let mut image = self.synced.clone();
        match damage {
            Damage::DropAll => {}
            Damage::KeepAll => self.unsynced.iter().for_each(|io| io.apply(&mut image)),
            Damage::Subset => self.unsynced.iter().filter(|_| rng.bool()).for_each(|io| io.apply(&mut image)),
            Damage::TornSectors => self.unsynced.iter().for_each(|io| tear(io, &mut image, rng)),
            Damage::TornByte => {
                let whole = rng.usize(..=self.unsynced.len());
                self.unsynced[..whole].iter().for_each(|io| io.apply(&mut image));
                if let Some(Io::Write { at, bytes }) = self.unsynced.get(whole) {
                    put(&mut image, *at, &bytes[..rng.usize(..=bytes.len())]);
                }
            }
            Damage::HeaderOnly => {
                let header = |io: &&&Io| matches!(io, Io::Write { at, .. } if HEADERS_AT.contains(&(at / PAGE * PAGE)));
                self.unsynced.iter().filter(header).for_each(|io| io.apply(&mut image));
            }
        }
        image
    }
}

/// Applies some sectors of a change.
fn tear(io: &Io, image: &mut Vec<u8>, rng: &mut fastrand::Rng) {
    let Io::Write { at, bytes } = io else {
        if rng.bool() {
            io.apply(image);
        }
        return;
    };
    let mut done = 0;
    while done < bytes.len() {
        // Sectors are the medium's, not the write's.
        let end = bytes.len().min(done + SECTOR - (at + done) % SECTOR);
        if rng.bool() {
            put(image, at + done, &bytes[done..end]);
        }
        done = end;
    }
}
