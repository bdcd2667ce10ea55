//! Writes that wait for the sync: gathered, merged where they touch, written in ascending order with the headers last.
//!
//! Each crossing into the host costs more than the bytes that it carries, in Firefox a hundred times more. Nothing is
//! promised before a sync returns, so nothing need reach the file before one begins; and a page that is killed between
//! two syncs leaves the file as the last one left it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use magnetar::Storage;

/// Bytes that a host keeps. Reads and writes may be short.
pub(crate) trait Bytes {
    fn len(&self) -> io::Result<u64>;
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize>;
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<usize>;
    fn set_len(&self, len: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
    fn close(&self) -> io::Result<()>;
}

/// More than this is not held back: it is written, and synced with the rest.
const HELD_BYTES_MAX: usize = 8 << 20;

/// So much is read at once until something is written.
const AHEAD_BYTES: u64 = 128 << 10;

/// And so many pieces of it are kept.
const AHEAD_MAX: usize = 32;

/// redb's header, and before it what says that the file is one of ours. Before the journal there was redb's at the front.
const HEADERS_AT: [u64; 2] = [256 << 10, 0];

/// What a store is opened on: a host's bytes with the writes to them gathered, from one opening to its close.
#[derive(Debug)]
pub(crate) struct Shared<B>(Mutex<Behind<B>>);

impl<B: Bytes> Shared<B> {
    pub(crate) fn new(bytes: B) -> io::Result<Self> {
        Ok(Shared(Mutex::new(Behind::new(bytes)?)))
    }

    fn bytes(&self) -> MutexGuard<'_, Behind<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Bytes + Debug + Send + 'static> Storage for Shared<B> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len())
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.bytes().read(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes().set_len(len)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.bytes().write(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.bytes().sync()
    }

    fn close(&self) -> io::Result<()> {
        self.bytes().close()
    }
}

/// A host's bytes, with what was written since the last sync.
#[derive(Debug)]
struct Behind<B> {
    bytes: B,
    /// With everything that is held back.
    len: u64,
    /// Runs that do not overlap, by where they begin.
    runs: BTreeMap<u64, Vec<u8>>,
    held_bytes: usize,
    /// Pieces of the file, by their number, until something is written. An opening after a kill walks all pages, one
    /// by one; nothing else does.
    ahead: Option<BTreeMap<u64, Vec<u8>>>,
}

impl<B: Bytes> Behind<B> {
    fn new(bytes: B) -> io::Result<Self> {
        let len = bytes.len()?;
        Ok(Behind { bytes, len, runs: BTreeMap::new(), held_bytes: 0, ahead: Some(BTreeMap::new()) })
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn read(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = past(offset, out.len())?;
        if end > self.len {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "past the end of the file"));
        }
        if let Some(ahead) = &mut self.ahead {
            return read_ahead(&self.bytes, ahead, self.len, offset, out);
        }
        // The last run that begins at or before the first byte may hold all that is asked for.
        let first = self.runs.range(..=offset).next_back();
        if let Some((&at, run)) = first
            && end <= at + run.len() as u64
        {
            out.copy_from_slice(&run[index(offset - at)?..index(end - at)?]);
            return Ok(());
        }
        read_all(&self.bytes, offset, out)?;
        let from = first.map_or(offset, |(&at, _)| at);
        for (&at, run) in self.runs.range(from..end) {
            let (first, last) = (offset.max(at), end.min(at + run.len() as u64));
            if first < last {
                out[index(first - offset)?..index(last - offset)?]
                    .copy_from_slice(&run[index(first - at)?..index(last - at)?]);
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.ahead = None;
        let end = past(offset, bytes.len())?;
        if end > self.len {
            // A gap is to read as zeros, which is what the host makes of a longer file.
            self.set_len(end)?;
        }
        if let Some(run) = self.runs.get_mut(&offset)
            && run.len() == bytes.len()
        {
            run.copy_from_slice(bytes);
            return Ok(());
        }
        self.cut(offset, end)?;
        self.runs.insert(offset, bytes.to_vec());
        self.held_bytes += bytes.len();
        if self.held_bytes > HELD_BYTES_MAX { self.write_out() } else { Ok(()) }
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.ahead = None;
        if len < self.len {
            self.cut(len, self.len)?;
        }
        self.bytes.set_len(len)?;
        self.len = len;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.write_out()?;
        self.bytes.sync()
    }

    /// Everything that was written is durable before the host's handle goes: none of the hosts does that by itself.
    fn close(&mut self) -> io::Result<()> {
        let synced = if self.runs.is_empty() { Ok(()) } else { self.sync() };
        let closed = self.bytes.close();
        synced.and(closed)
    }

    /// Takes a range out of what is held back.
    fn cut(&mut self, start: u64, end: u64) -> io::Result<()> {
        let from = self.runs.range(..start).next_back().map_or(start, |(&at, _)| at);
        let touched: Vec<u64> = self.runs.range(from..end).map(|(&at, _)| at).collect();
        for at in touched {
            let Some(mut run) = self.runs.remove(&at) else { continue };
            let run_end = at + run.len() as u64;
            if run_end <= start {
                self.runs.insert(at, run);
                continue;
            }
            self.held_bytes -= run.len();
            if run_end > end {
                let tail = run.split_off(index(end - at)?);
                self.held_bytes += tail.len();
                self.runs.insert(end, tail);
            }
            if at < start {
                run.truncate(index(start - at)?);
                self.held_bytes += run.len();
                self.runs.insert(at, run);
            }
        }
        Ok(())
    }

    /// Writes what is held back, without a sync. On an error it is kept: the caller gives the file up.
    fn write_out(&mut self) -> io::Result<()> {
        let mut runs = self.runs.iter().filter(|(at, _)| !HEADERS_AT.contains(at)).peekable();
        let mut merged: Vec<u8> = Vec::new();
        while let Some((&at, run)) = runs.next() {
            let mut end = at + run.len() as u64;
            if runs.peek().is_none_or(|(next, _)| **next != end) {
                write_all(&self.bytes, at, run)?;
                continue;
            }
            merged.clear();
            merged.extend_from_slice(run);
            while let Some((_, run)) = runs.next_if(|(next, _)| **next == end) {
                merged.extend_from_slice(run);
                end += run.len() as u64;
            }
            write_all(&self.bytes, at, &merged)?;
        }
        for at in HEADERS_AT {
            if let Some(run) = self.runs.get(&at) {
                write_all(&self.bytes, at, run)?;
            }
        }
        self.runs.clear();
        self.held_bytes = 0;
        Ok(())
    }
}

fn past(offset: u64, len: usize) -> io::Result<u64> {
    offset
        .checked_add(len as u64)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the offset is beyond every file's end"))
}

fn index(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

/// Reads whole pieces, and from those that are there.
fn read_ahead(
    bytes: &impl Bytes,
    ahead: &mut BTreeMap<u64, Vec<u8>>,
    len: u64,
    offset: u64,
    out: &mut [u8],
) -> io::Result<()> {
    let mut done = 0;
    while done < out.len() {
        let at = offset + done as u64;
        let (number, within) = (at / AHEAD_BYTES, index(at % AHEAD_BYTES)?);
        if !ahead.contains_key(&number) {
            if ahead.len() == AHEAD_MAX {
                ahead.clear();
            }
            let start = number * AHEAD_BYTES;
            let mut piece = vec![0; index(AHEAD_BYTES.min(len - start))?];
            read_all(bytes, start, &mut piece)?;
            ahead.insert(number, piece);
        }
        let piece = &ahead[&number][within..];
        let part = piece.len().min(out.len() - done);
        out[done..done + part].copy_from_slice(&piece[..part]);
        done += part;
    }
    Ok(())
}

fn read_all(bytes: &impl Bytes, offset: u64, out: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < out.len() {
        match bytes.read(offset + done as u64, &mut out[done..])? {
            0 => {
                let text = "the file ended before its length, so something else has cut it";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
            }
            read => done += read.min(out.len() - done),
        }
    }
    Ok(())
}

fn write_all(bytes: &impl Bytes, offset: u64, run: &[u8]) -> io::Result<()> {
    let mut done = 0;
    while done < run.len() {
        match bytes.write(offset + done as u64, &run[done..])? {
            0 => return Err(io::Error::new(io::ErrorKind::WriteZero, "the host took none of the bytes")),
            written => done += written.min(run.len() - done),
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "behind_tests.rs"]
mod tests;
