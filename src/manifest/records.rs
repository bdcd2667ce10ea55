//! The records of CSV (RFC 4180) with their lines, in bounded memory.
//!
//! Stricter than readers for arbitrary tables are: a quote that is never closed or stands astray is an error with
//! its line and no cell that goes on to the end of the file.

use std::io::{BufRead, BufReader, Read};
use std::ops::Range;

use super::json_lines::{too_long, unreadable};
use super::problem::{Part, Position, Problem, newlines};
use crate::error::{Error, Result};
use crate::limits;

/// What some programs begin a file with.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

#[derive(Debug)]
pub(super) struct Records<R> {
    reader: BufReader<R>,
    /// The line that is being read, from 1.
    line: u64,
    record: Record,
}

/// One record.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// The line it starts in.
    pub(super) line: u64,
    /// All cells, one after the other.
    bytes: Vec<u8>,
    /// Where each cell ends.
    ends: Vec<usize>,
}

impl Record {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn cells(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(from, to)| &self.bytes[Range { start: from, end: *to }])
    }

    fn end_cell(&mut self) {
        self.ends.push(self.bytes.len());
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    CellStart,
    Plain,
    Quoted,
    /// After a quote within a quoted cell: it ends the cell, or is the first of two.
    Quote,
    /// After a carriage return, which only a line end may follow.
    Return,
}

/// What a byte did.
enum Step {
    On(State),
    RecordEnd,
}

impl<R: Read> Records<R> {
    pub(super) fn new(reader: R) -> Self {
        Records { reader: BufReader::with_capacity(1 << 16, reader), line: 1, record: Record::default() }
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// Goes on to the next record, if there is one. Blank lines are none.
    pub(super) fn advance(&mut self) -> Result<bool> {
        let Records { reader, line, record } = self;
        (record.line, record.bytes, record.ends) =
            (*line, std::mem::take(&mut record.bytes), std::mem::take(&mut record.ends));
        record.bytes.clear();
        record.ends.clear();
        let mut state = State::CellStart;
        // Bytes of the record, its line end left out.
        let mut length = 0;
        loop {
            let input = reader.fill_buf().map_err(|error| unreadable(error, *line - 1))?;
            if input.is_empty() {
                return at_end(record, state);
            }
            let mut at = 0;
            while at < input.len() {
                let run = plain_run(&input[at..], state);
                if run > 0 {
                    if length + run > limits::MANIFEST_LINE_BYTES_MAX {
                        return Err(too_long(record.line));
                    }
                    record.bytes.extend_from_slice(&input[at..at + run]);
                    if state == State::Quoted {
                        *line += newlines(&input[at..at + run]);
                    }
                    (at, length) = (at + run, length + run);
                    if state == State::CellStart {
                        state = State::Plain;
                    }
                    continue;
                }
                let byte = input[at];
                at += 1;
                let step = step(record, state, byte, *line)?;
                *line += u64::from(byte == b'\n');
                match step {
                    Step::RecordEnd if length == 0 => {
                        // A blank line.
                        (record.line, state) = (*line, State::CellStart);
                    }
                    Step::RecordEnd => {
                        record.end_cell();
                        reader.consume(at);
                        return Ok(true);
                    }
                    Step::On(next) => {
                        length += usize::from(next != State::Return);
                        if length > limits::MANIFEST_LINE_BYTES_MAX {
                            return Err(too_long(record.line));
                        }
                        state = next;
                    }
                }
            }
            reader.consume(at);
        }
    }
}

/// How many bytes belong to the cell as they are.
fn plain_run(input: &[u8], state: State) -> usize {
    let end = match state {
        State::CellStart | State::Plain => {
            input.iter().position(|b| matches!(b, b',' | b'"' | b'\n' | b'\r'))
        }
        State::Quoted => input.iter().position(|b| *b == b'"'),
        State::Quote | State::Return => Some(0),
    };
    end.unwrap_or(input.len())
}

fn step(record: &mut Record, state: State, byte: u8, line: u64) -> Result<Step> {
    let place = || record.ends.len() + 1;
    match (state, byte) {
        (State::CellStart | State::Plain | State::Quote, b',') => {
            record.end_cell();
            Ok(Step::On(State::CellStart))
        }
        (State::CellStart | State::Plain | State::Quote | State::Return, b'\n') => Ok(Step::RecordEnd),
        (State::CellStart | State::Plain | State::Quote, b'\r') => Ok(Step::On(State::Return)),
        (State::CellStart, b'"') => Ok(Step::On(State::Quoted)),
        (State::Plain, b'"') if line == 1 && record.ends.is_empty() && record.bytes == BYTE_ORDER_MARK => {
            record.bytes.clear();
            Ok(Step::On(State::Quoted))
        }
        (State::Quoted, b'"') => Ok(Step::On(State::Quote)),
        (State::Quote, b'"') => {
            record.bytes.push(byte);
            Ok(Step::On(State::Quoted))
        }
        (State::Plain, _) => Err(wrong(
            line,
            place(),
            "a quote within a cell; put the whole cell in quotes and double the quote",
        )),
        (State::Quote, _) => Err(wrong(
            line,
            place(),
            "a quoted cell goes on after its closing quote; double a quote that is part of a cell",
        )),
        (State::Return, _) => Err(wrong(
            line,
            place(),
            "a carriage return without a line feed; put the cell in quotes, or end lines with \\n",
        )),
        // Every other byte is part of a run.
        (State::CellStart | State::Quoted, _) => Ok(Step::On(state)),
    }
}

/// The end of the input ends the last record, too.
fn at_end(record: &mut Record, state: State) -> Result<bool> {
    match state {
        State::Quoted => {
            let place = record.ends.len() + 1;
            Err(wrong(
                record.line,
                place,
                "the quote is never closed; close it, or double a quote that is part of a cell",
            ))
        }
        State::CellStart | State::Return if record.ends.is_empty() && record.bytes.is_empty() => Ok(false),
        _ => {
            record.end_cell();
            Ok(true)
        }
    }
}

fn wrong(line: u64, column: usize, text: &str) -> Error {
    let problem = Problem::new(Part::Whole, text).key(format!("column {column}"));
    problem.into_error(Some(Position::line(line)), None)
}
