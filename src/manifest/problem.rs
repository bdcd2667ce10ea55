//! What is wrong with a manifest and where, before it becomes an error.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt::{self, Write};

use serde::de;

use crate::error::{Error, ErrorKind};

/// The part of a manifest that a problem is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Part {
    #[default]
    Whole,
    Job,
    Chunk {
        /// Its place in the list; a stream has none.
        index: Option<usize>,
        id: Option<u64>,
    },
}

/// A line, counted from 1, and where it is known the column, in characters from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) line: u64,
    pub(super) column: Option<u64>,
}

impl Position {
    pub(super) fn line(line: u64) -> Self {
        Position { line, column: None }
    }

    /// The position of a byte of a text.
    pub(super) fn of(text: &str, offset: usize) -> Self {
        let before = &text.as_bytes()[..offset.min(text.len())];
        let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        // Bytes that continue a character are not counted.
        let column = before[line_start..].iter().filter(|b| **b & 0xC0 != 0x80).count();
        let line = newlines(before);
        Position { line: line + 1, column: Some(column as u64 + 1) }
    }
}

/// How many lines end in these bytes.
pub(super) fn newlines(bytes: &[u8]) -> u64 {
    bytes.iter().map(|b| u64::from(*b == b'\n')).sum()
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        self.column.map_or(Ok(()), |column| write!(f, ", column {column}"))
    }
}

/// What is wrong, and where.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) kind: ErrorKind,
    pub(super) part: Part,
    pub(super) key: Option<Cow<'static, str>>,
    pub(super) text: String,
    /// The other chunk that it is about: a place in the list.
    pub(super) first: Option<usize>,
}

impl Problem {
    pub(super) fn new(part: Part, text: impl Into<String>) -> Self {
        Problem { kind: ErrorKind::InvalidManifest, part, key: None, text: text.into(), first: None }
    }

    pub(super) fn kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    pub(super) fn key(mut self, key: impl Into<Cow<'static, str>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The problem as the caller gets it.
    pub(super) fn into_error(self, position: Option<Position>, first: Option<Position>) -> Error {
        let mut text = String::new();
        if let Some(position) = position {
            text = format!("{position}: ");
        }
        self.write(&mut text, false);
        if let Some(index) = self.first {
            push(&mut text, format_args!("; the first is chunks[{index}]"));
            if let Some(position) = first {
                push(&mut text, format_args!(" at {position}"));
            }
        }
        let error = Error::new(self.kind, text);
        match self.part {
            Part::Chunk { id: Some(id), .. } => error.in_chunk(id),
            _ => error,
        }
    }

    fn write(&self, out: &mut String, with_id: bool) {
        match self.part {
            Part::Whole => {}
            Part::Job => out.push_str("job: "),
            Part::Chunk { index, id } => {
                if let Some(index) = index {
                    push(out, format_args!("chunks[{index}]: "));
                }
                if let (true, Some(id)) = (with_id, id) {
                    push(out, format_args!("chunk {id}: "));
                }
            }
        }
        if let Some(key) = &self.key {
            push(out, format_args!("{}: ", Shown(key)));
        }
        out.push_str(&self.text);
    }
}

/// Writing to a `String` cannot fail.
pub(super) fn push(out: &mut String, text: fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

/// A key or a value as it is shown in an error: without control characters and at most 60 characters long.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        for c in chars.by_ref().take(60) {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { f.write_char(c)? }
        }
        if chars.next().is_some() { f.write_str("...") } else { Ok(()) }
    }
}

/// Where a deserializer leaves its problem: the error types of serde's formats carry text only.
pub(super) type Sink = Cell<Option<Box<Problem>>>;

/// Where a deserializer is.
#[derive(Clone, Copy)]
pub(super) struct At<'s> {
    pub(super) sink: &'s Sink,
    pub(super) part: Part,
    /// Whether JSON's own reader reads, which checks a text that is kept as it is.
    pub(super) is_json: bool,
}

impl<'s> At<'s> {
    /// In any format.
    pub(super) fn new(sink: &'s Sink, part: Part) -> Self {
        At { sink, part, is_json: false }
    }

    /// In what `serde_json` reads.
    pub(super) fn of_json(sink: &'s Sink, part: Part) -> Self {
        At { sink, part, is_json: true }
    }

    pub(super) fn part(self, part: Part) -> Self {
        At { part, ..self }
    }

    /// Keeps the problem, and gives the format's error with the same text.
    pub(super) fn fail<E: de::Error>(self, key: &str, text: impl Into<String>) -> E {
        let mut problem = Problem::new(self.part, text);
        if !key.is_empty() {
            problem = problem.key(key.to_owned());
        }
        let mut text = String::new();
        problem.write(&mut text, true);
        self.sink.set(Some(Box::new(problem)));
        E::custom(text)
    }
}
