//! Answers as lines of JSON: `[id,0,value]`, `[id,1,error]`, or `[id,2,count,more]` with so many lines after it, a row
//! each, and whether there are more behind them.
//!
//! Rows are on lines of their own so that a long list need not be parsed to be passed on, nor all of it to be used.

use magnetar::{Error, ErrorKind, JobState, Outcome, Retry};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::row;

/// What a call came to.
pub(crate) enum Answer {
    Value(Box<RawValue>),
    Outcome(Outcome),
    /// A few chunks, which become text where it goes.
    Claims(Vec<JobState>),
    Rows(Rows),
}

impl Answer {
    pub(crate) fn of(value: &impl Serialize) -> Self {
        Answer::Value(json(value))
    }
}

/// Chunks, a line each.
pub(crate) struct Rows {
    count: usize,
    /// So many bytes there is room for.
    room: usize,
    /// Whether there are more chunks behind them.
    pub(crate) has_more: bool,
    /// One after the other: a long text that grows is moved over and over, into memory that nobody has touched yet.
    pieces: Vec<Vec<u8>>,
}

impl Rows {
    pub(crate) fn of_at_most(bytes: usize) -> Self {
        Rows { count: 0, room: bytes, has_more: false, pieces: Vec::new() }
    }

    /// Whether there is room for another one.
    pub(crate) fn add(&mut self, chunk: &JobState) -> bool {
        if self.pieces.last().is_none_or(|piece| piece.len() >= PIECE_BYTES) {
            self.pieces.push(Vec::new());
        }
        if let Some(piece) = self.pieces.last_mut() {
            let before = piece.len();
            row::write(chunk, piece);
            piece.push(b'\n');
            self.count += 1;
            self.room = self.room.saturating_sub(piece.len() - before);
        }
        self.room > 0
    }
}

/// From this length on a piece is full.
const PIECE_BYTES: usize = 128 << 10;

/// A value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Box<RawValue> {
    // Every key of ours is text, so that there is always a JSON form.
    to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// All answers of one crossing.
#[derive(Default)]
pub(crate) struct Lines(Vec<u8>);

impl Lines {
    pub(crate) fn push(&mut self, id: u64, answer: Result<Answer, Failure>) {
        let out = &mut self.0;
        out.push(b'[');
        row::number(id, out);
        match answer {
            Ok(Answer::Outcome(outcome)) => {
                out.extend_from_slice(if outcome == Outcome::Changed {
                    b"0,\"changed\""
                } else {
                    b"0,\"unchanged\""
                });
            }
            Ok(Answer::Value(value)) => {
                out.extend_from_slice(b"0,");
                let start = out.len();
                out.extend_from_slice(value.get().as_bytes());
                row::on_one_line(&mut out[start..]);
            }
            Ok(Answer::Claims(chunks)) => {
                rows_follow(chunks.len(), false, out);
                for chunk in &chunks {
                    row::write(chunk, out);
                    out.push(b'\n');
                }
                return;
            }
            Ok(Answer::Rows(Rows { count, has_more, pieces, .. })) => {
                rows_follow(count, has_more, out);
                out.reserve(pieces.iter().map(Vec::len).sum());
                pieces.iter().for_each(|piece| out.extend_from_slice(piece));
                return;
            }
            Err(failure) => {
                out.extend_from_slice(b"1,");
                out.extend_from_slice(failure.json().as_bytes());
            }
        }
        out.extend_from_slice(b"]\n");
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// An error as it crosses.
#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    code: &'static str,
    retry: &'static str,
    message: String,
    #[serde(rename = "jobId", skip_serializing_if = "Option::is_none")]
    job: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conflicts: Vec<u64>,
    /// Nothing goes on before the file is opened anew.
    #[serde(skip)]
    pub(crate) is_poison: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure {
            code: error.kind().as_str(),
            retry: match error.retry() {
                Retry::Never => "never",
                Retry::Later => "later",
                Retry::AfterReopen => AFTER_REOPEN,
            },
            message: error.to_string(),
            job: error.job(),
            chunk: error.chunk(),
            conflicts: error.conflicts().to_vec(),
            is_poison: error.retry() == Retry::AfterReopen,
        }
    }
}

impl Failure {
    /// An argument that cannot be read.
    pub(crate) fn input(why: &impl std::fmt::Display) -> Self {
        let why = why.to_string();
        // Where it stands in a text that the caller never saw.
        let why = why.split(" at line ").next().unwrap_or_default();
        // JavaScript's texts may have such halves, and `JSON.stringify` writes them as escapes; Rust's have none.
        let of_half = if why.contains("hex escape") {
            "; it has a text with half a character in it (a lone surrogate), as a cut leaves it: cut between characters, or call toWellFormed()"
        } else {
            ""
        };
        Failure::new(ErrorKind::InvalidInput, "never", format!("the call cannot be read: {why}{of_half}"))
    }

    /// The engine that had an import has ended. The one that says so has no part in it, and goes on.
    pub(crate) fn import_lost() -> Self {
        let why = "the store was opened anew while an import was under way: look what became of it, then import again";
        Failure::new(ErrorKind::OutcomeUnknown, AFTER_REOPEN, why.to_owned())
    }

    pub(crate) fn new(kind: ErrorKind, retry: &'static str, message: String) -> Self {
        let conflicts = Vec::new();
        Failure { code: kind.as_str(), retry, message, job: None, chunk: None, conflicts, is_poison: false }
    }

    /// The same, said to be of what follows a line of the source.
    pub(crate) fn after_line(mut self, line: u64) -> Self {
        self.message = format!("after line {line}: {}", self.message);
        self
    }

    pub(crate) fn json(&self) -> String {
        // Every key of ours is text, so that there is always a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }
}

const AFTER_REOPEN: &str = "after_reopen";

fn rows_follow(count: usize, has_more: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(b"2,");
    row::number(count as u64, out);
    out.extend_from_slice(if has_more { b"true]\n" } else { b"false]\n" });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_one_line_and_a_list_is_a_line_for_each_row() {
        let mut lines = Lines::default();
        lines.push(1, Ok(Answer::of(&7)));
        lines.push(2, Ok(Answer::of(&"a")));
        lines.push(3, Ok(Answer::Claims(Vec::new())));
        lines.push(4, "nine".parse::<magnetar::JobStatus>().map(|_| Answer::of(&0)).map_err(Failure::from));
        let text = String::from_utf8(lines.into_bytes()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..3], ["[1,0,7]", "[2,0,\"a\"]", "[3,2,0,false]"]);
        assert!(lines[3].starts_with(r#"[4,1,{"code":"invalid_input","retry":"never","message":"#));
    }
}
