//! JSON Lines: one chunk per line, in bounded memory.

use std::io::{self, BufRead, Read};

use serde::de::DeserializeSeed;

use super::problem::{At, Part, Position, Problem, Sink};
use super::read::{ChunkSeed, JobSeed};
use super::records::BYTE_ORDER_MARK;
use super::text::Members;
use super::{check, json_message, locate};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::model::{JobSpec, NewChunk};

/// The chunks of a JSON Lines manifest, each checked by itself; see [`json_lines()`].
///
/// It ends after its first error.
#[derive(Debug)]
pub struct JsonLines<R> {
    lines: Lines<R>,
    /// The first line was no job, and is a chunk still to be read.
    has_first: bool,
    has_ended: bool,
}

/// Reads a manifest that may be too large for memory, as one JSON object per line.
///
/// The first line may be `{"job": {...}}`; every other line is a chunk. Blank lines are skipped; a byte order mark
/// and CRLF are fine. A line has at most [`limits::MANIFEST_LINE_BYTES_MAX`] bytes, and no more is held in memory.
/// That ids are unique and dependencies make no cycle is for the import to check.
///
/// ```
/// let text = "{\"job\": {\"name\": \"nightly\"}}\n{\"id\": 1}\n{\"id\": 2, \"path\": \"b.bin\"}\n";
/// let (job, chunks) = magnetar::manifest::json_lines(text.as_bytes())?;
/// assert_eq!(job.name.as_deref(), Some("nightly"));
/// assert_eq!(chunks.collect::<magnetar::Result<Vec<_>>>()?.len(), 2);
/// # Ok::<(), magnetar::Error>(())
/// ```
pub fn json_lines<R: BufRead>(reader: R) -> Result<(JobSpec, JsonLines<R>)> {
    let mut lines = Lines { reader, number: 0, buffer: Vec::new() };
    if !lines.advance()? {
        return Ok((JobSpec::new(), JsonLines { lines, has_first: false, has_ended: true }));
    }
    let job = job_of_line(lines.line(), lines.number)?;
    let has_first = job.is_none();
    Ok((job.unwrap_or_default(), JsonLines { lines, has_first, has_ended: false }))
}

impl<R: BufRead> Iterator for JsonLines<R> {
    type Item = Result<NewChunk>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let has_line = if std::mem::take(&mut self.has_first) { Ok(true) } else { self.lines.advance() };
        let chunk = match has_line {
            Ok(true) => Some(chunk_of_line(self.lines.line(), self.lines.number)),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        };
        self.has_ended = !matches!(chunk, Some(Ok(_)));
        chunk
    }
}

/// Lines that are not blank, each with at most so many bytes as a line may have.
#[derive(Debug)]
struct Lines<R> {
    reader: R,
    /// The number of the line in the buffer, from 1.
    number: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// Goes on to the next line that is not blank, if there is one.
    fn advance(&mut self) -> Result<bool> {
        // A byte order mark and CRLF.
        const AROUND_BYTES: u64 = 5;
        loop {
            self.buffer.clear();
            let mut limited = (&mut self.reader).take(limits::MANIFEST_LINE_BYTES_MAX as u64 + AROUND_BYTES);
            let read = limited.read_until(b'\n', &mut self.buffer);
            if read.map_err(|error| unreadable(error, self.number))? == 0 {
                return Ok(false);
            }
            self.number += 1;
            if self.number == 1 && self.buffer.starts_with(BYTE_ORDER_MARK) {
                self.buffer.drain(..BYTE_ORDER_MARK.len());
            }
            if self.line().len() > limits::MANIFEST_LINE_BYTES_MAX {
                return Err(too_long(self.number));
            }
            if !self.line().trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }

    /// The line without its end.
    fn line(&self) -> &[u8] {
        let line = self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer);
        line.strip_suffix(b"\r").unwrap_or(line)
    }
}

pub(super) fn unreadable(error: io::Error, line: u64) -> Error {
    Error::new(ErrorKind::Io, format!("reading the manifest failed after line {line}: {error}"))
        .caused_by(error)
}

pub(super) fn too_long(line: u64) -> Error {
    let limit = limits::MANIFEST_LINE_BYTES_MAX;
    let text =
        format!("it has more bytes than {limit}, the limit; keep large data outside and store where it is");
    Problem::new(Part::Whole, text).kind(ErrorKind::TooLarge).into_error(Some(Position::line(line)), None)
}

fn utf8(line: &[u8], number: u64) -> Result<&str> {
    std::str::from_utf8(line).map_err(|error| {
        let text = "not UTF-8; save the manifest as UTF-8";
        let valid = String::from_utf8_lossy(&line[..error.valid_up_to()]);
        let position = Position { line: number, ..Position::of(&valid, valid.len()) };
        Problem::new(Part::Whole, text).into_error(Some(position), None).caused_by(error)
    })
}

/// One chunk from one line without its end, checked by itself; lines may be read in any order, and at once.
pub(super) fn chunk_of_line(line: &[u8], number: u64) -> Result<NewChunk> {
    let line = utf8(line, number)?;
    let part = Part::Chunk { index: None, id: None };
    let sink = Sink::default();
    let mut json = serde_json::Deserializer::from_str(line);
    let read = ChunkSeed(At::of_json(&sink, part)).deserialize(&mut json);
    let error = match read.and_then(|chunk| json.end().map(|()| chunk)) {
        Ok(chunk) => match check::chunk(&chunk, None) {
            None => return Ok(chunk),
            Some(problem) => return Err(located(problem, line, number, None)),
        },
        Err(error) => error,
    };
    let problem = sink.take().map_or_else(
        || {
            let hint = "each line is one chunk, one JSON object";
            let key = locate::key_in_line(line, &error);
            let problem =
                Problem::new(part, format!("not a chunk in JSON: {}; {hint}", json_message(&error)));
            Problem { key: key.map(Into::into), ..problem }
        },
        |problem| *problem,
    );
    let problem = match Members::of(line) {
        Some(members) if members.get("id").is_none() && members.get("job").is_some() => {
            Problem::new(Part::Job, "the job stands in the first line or nowhere; move it there")
        }
        _ => problem,
    };
    Err(located(problem, line, number, Some(error)))
}

/// The job, where the line is one: it has the key `job` and no `id`.
fn job_of_line(line: &[u8], number: u64) -> Result<Option<JobSpec>> {
    let line = utf8(line, number)?;
    let Some(members) = Members::of(line) else { return Ok(None) };
    let Some(job) = members.get("job").filter(|_| members.get("id").is_none()) else { return Ok(None) };
    if let Some((key, _)) = members.0.iter().find(|(key, _)| key != "job") {
        let problem = Problem::new(Part::Whole, "unknown key; the job's line has the key job only");
        return Err(located(problem.key(key.clone().into_owned()), line, number, None));
    }
    let sink = Sink::default();
    let mut json = serde_json::Deserializer::from_str(job);
    match JobSeed(At::of_json(&sink, Part::Job)).deserialize(&mut json) {
        Ok(spec) => match check::job(&spec) {
            None => Ok(Some(spec)),
            Some(problem) => Err(located(problem, line, number, None)),
        },
        Err(error) => {
            let other = || Problem::new(Part::Job, format!("not a job in JSON: {}", json_message(&error)));
            let problem = sink.take().map_or_else(other, |problem| *problem);
            Err(located(problem, line, number, Some(error)))
        }
    }
}

fn located(mut problem: Problem, line: &str, number: u64, cause: Option<serde_json::Error>) -> Error {
    if let (Part::Chunk { id, .. }, Some(members)) = (&mut problem.part, Members::of(line)) {
        *id = id.or_else(|| members.get("id")?.parse().ok().filter(|id| *id <= limits::ID_MAX));
    }
    // Columns count from 1; of what is wrong as a whole the parser says 0.
    let at =
        cause.as_ref().map(|error| error.column() as u64).filter(|&at| at > 0 && problem.part != Part::Job);
    let column = locate::column_in_line(line, &problem).or(at);
    super::with_cause(problem.into_error(Some(Position { line: number, column }), None), cause)
}
