//! The records of CSV with their lines, in bounded memory. The `csv` crate parses; it is fed piece by piece.
//!
//! The position that the crate gives a record is where the record before it ended: short of blank lines, and of the
//! line feed of CRLF. And it would read a quote that is never closed into memory up to the end of the input, and take
//! that for a cell. So its input goes through [`Source`], where all of this shows without a second look at the syntax:
//! no piece goes beyond the end of a line, and outside of quotes a record ends where a line does.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use ::csv::ByteRecord;

use super::json_lines::{too_long, unreadable};
use super::problem::{Part, Position, Problem};
use crate::error::{Error, Result};
use crate::limits;

/// What some programs begin a file with.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

#[derive(Debug)]
pub(super) struct Records<R> {
    reader: ::csv::Reader<Source<R>>,
    record: ByteRecord,
}

impl<R: Read> Records<R> {
    pub(super) fn new(reader: R) -> Result<Self> {
        let source = Source::new(reader).map_err(|error| unreadable(error, 0))?;
        // Widths are checked where the names of the columns are known.
        let reader = ::csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(source);
        Ok(Records { reader, record: ByteRecord::new() })
    }

    /// Goes on to the next record, if there is one. Blank lines are none.
    pub(super) fn advance(&mut self) -> Result<bool> {
        self.reader.get_mut().record = None;
        let read = self.reader.read_byte_record(&mut self.record);
        read.map_err(|error| self.reader.get_ref().explained(error))
    }

    pub(super) fn record(&self) -> &ByteRecord {
        &self.record
    }

    /// The line that the record starts in.
    pub(super) fn line(&self) -> u64 {
        let source = self.reader.get_ref();
        source.record.as_ref().map_or(source.line, |record| record.line)
    }
}

/// Gives its input in pieces that end where a line ends, at the latest.
#[derive(Debug)]
struct Source<R> {
    input: Chain<Cursor<Vec<u8>>, BufReader<R>>,
    /// The line of the next byte, from 1. Lines end with a line feed, a carriage return, or both.
    line: u64,
    /// The byte that was given last.
    last: u8,
    /// The record that is being read, from its first byte on.
    record: Option<Started>,
    fault: Option<Fault>,
}

#[derive(Debug)]
struct Started {
    line: u64,
    /// The bytes given of it. The end of its last line is not counted until more follows.
    bytes: usize,
}

/// Why the source does not go on; an `io::Error` carries no more than a text.
#[derive(Debug, Clone, Copy)]
enum Fault {
    TooLong,
    OpenQuote,
}

impl<R: Read> Source<R> {
    fn new(reader: R) -> io::Result<Self> {
        let mut input = BufReader::with_capacity(1 << 16, reader);
        // The `csv` crate knows the mark only where it comes in one piece.
        let mut head = Vec::new();
        (&mut input).take(BYTE_ORDER_MARK.len() as u64).read_to_end(&mut head)?;
        if head == BYTE_ORDER_MARK {
            head.clear();
        }
        Ok(Source { input: Cursor::new(head).chain(input), line: 1, last: b'\n', record: None, fault: None })
    }

    fn explained(&self, error: ::csv::Error) -> Error {
        let line = self.record.as_ref().map_or(self.line, |record| record.line);
        match (self.fault, error.into_kind()) {
            (Some(Fault::TooLong), _) => too_long(line),
            (Some(Fault::OpenQuote), _) => {
                let text = "a quote is never closed; close it, or double a quote that is part of a cell";
                Problem::new(Part::Whole, text).into_error(Some(Position::line(line)), None)
            }
            (None, ::csv::ErrorKind::Io(error)) => unreadable(error, self.line - 1),
            (None, other) => unreadable(io::Error::other(format!("{other:?}")), self.line - 1),
        }
    }

    /// How many bytes of input are at hand; none at its end. A signal is no reason to give up.
    fn available(&mut self) -> io::Result<usize> {
        loop {
            match self.input.fill_buf() {
                Ok(input) => return Ok(input.len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A record that goes on although the input and its last line are over stands in an open quote.
    fn at_end(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.record.is_none() {
            return Ok(0);
        }
        if is_line_end(self.last) {
            return Err(self.fail(Fault::OpenQuote));
        }
        // The last line has no end of its own; with one, the record ends too, unless a quote is open.
        (out[0], self.last) = (b'\n', b'\n');
        Ok(1)
    }

    fn fail(&mut self, fault: Fault) -> io::Error {
        self.fault = Some(fault);
        io::Error::other("refused")
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.available()? == 0 {
            return self.at_end(out);
        }
        let input = self.input.fill_buf()?;
        let input = &input[..input.len().min(out.len())];
        let end = input.iter().position(|b| is_line_end(*b));
        let content = end.unwrap_or(input.len());
        let given = content + usize::from(end.is_some());
        if content > 0 || self.record.is_some() {
            let line = self.line;
            let record = self.record.get_or_insert(Started { line, bytes: 0 });
            if record.bytes + content > limits::MANIFEST_LINE_BYTES_MAX {
                return Err(self.fail(Fault::TooLong));
            }
            record.bytes += given;
        }
        out[..given].copy_from_slice(&input[..given]);
        // Of CRLF, the first byte counts.
        let is_second = self.last == b'\r' && input[0] == b'\n';
        self.line += u64::from(end.is_some() && !is_second);
        self.last = input[given - 1];
        self.input.consume(given);
        Ok(given)
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}
