//! Reading an export in JSON Lines, in memory bounded by a line.

use std::io::{BufRead, Read};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use xxhash_rust::xxh3::Xxh3;

use super::json_lines::{FORMAT, digest_text};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::manifest::json_message;
use crate::model::{ChunkRecord, Deadline, JobSpec, JobState, JobStatus, Json, Kept, OwnerId};

/// What a line says.
#[derive(Debug)]
pub(crate) enum Line {
    Job(JobLine),
    Chunk(Box<ChunkRecord>),
    ChunkDeleted(ChunkDeletedLine),
    JobDeleted(JobDeletedLine),
    End(EndLine),
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    kind: std::borrow::Cow<'a, str>,
}

/// Of the first line what every form has: a newer one may have other keys.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadLine {
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    #[serde(rename = "format")]
    _format: u32,
    whole_jobs: bool,
    #[serde(default, rename = "since")]
    _since: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobLine {
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    pub(crate) job_id: i64,
    pub(crate) spec: JobSpec,
    pub(crate) created_at_ms: u64,
    pub(crate) revision: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChunkLine {
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    job_id: i64,
    chunk: u64,
    checksum: Option<String>,
    payload: Option<Box<RawValue>>,
    priority: i32,
    status: JobStatus,
    observed_checksum: Option<String>,
    error: Option<String>,
    attempts: u32,
    losses: u32,
    attempts_max: u32,
    losses_max: u32,
    fence: u64,
    owner: Option<OwnerId>,
    lease: Option<Deadline>,
    not_before: Option<Deadline>,
    unmet_dependencies: u32,
    output: Option<Box<RawValue>>,
    created_at_ms: u64,
    updated_at_ms: u64,
    revision: u64,
    depends_on: Vec<u64>,
    kept: Kept,
    #[serde(default)]
    payload_text: Option<String>,
    #[serde(default)]
    output_text: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChunkDeletedLine {
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    pub(crate) job_id: i64,
    pub(crate) chunk: u64,
    #[serde(rename = "revision")]
    _revision: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JobDeletedLine {
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    pub(crate) job_id: i64,
    #[serde(rename = "revision")]
    _revision: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EndLine {
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    pub(crate) revision: u64,
    pub(crate) job_id_max: i64,
    lines: u64,
    xxh3: String,
}

/// The lines of an export, the first one checked.
pub(crate) struct Lines<'r> {
    reader: &'r mut (dyn BufRead + Send),
    line: Vec<u8>,
    number: u64,
    /// Of all lines in front of the present one.
    digest: Xxh3,
    is_over: bool,
}

impl<'r> Lines<'r> {
    pub(crate) fn new(reader: &'r mut (dyn BufRead + Send)) -> Result<Self> {
        let mut lines = Lines { reader, line: Vec::new(), number: 0, digest: Xxh3::new(), is_over: false };
        let is_export = lines.advance()? && lines.kind().is_ok_and(|kind| kind == "export");
        if !is_export {
            return Err(lines.wrong("this is no export: the first line is {\"kind\":\"export\",...}"));
        }
        let Format { format } = lines.parse()?;
        if format > FORMAT {
            let text = format!(
                "the export is of form {format}, this build knows up to {FORMAT}; use a newer Magnetar"
            );
            return Err(Error::new(ErrorKind::NewerFormat, text));
        }
        let head: HeadLine = lines.parse()?;
        if !head.whole_jobs {
            let text =
                "this is an export of a part, by status or since a revision; restore one of whole jobs";
            return Err(lines.wrong(text));
        }
        Ok(lines)
    }

    /// The next line. There is one until the last, [`Line::End`], was given.
    pub(crate) fn next(&mut self) -> Result<Option<Line>> {
        let before = self.number;
        if !self.advance()? {
            if self.is_over {
                return Ok(None);
            }
            return Err(self.wrong("the export is cut short: the last line is {\"kind\":\"end\",...}"));
        }
        if self.is_over {
            return Err(self.wrong("there is more behind the end of the export; restore one export"));
        }
        Ok(Some(match self.kind()?.as_str() {
            "job" => Line::Job(self.parse()?),
            "chunk" => Line::Chunk(Box::new(self.chunk()?)),
            "chunk_deleted" => Line::ChunkDeleted(self.parse()?),
            "job_deleted" => Line::JobDeleted(self.parse()?),
            "end" => {
                let end: EndLine = self.parse()?;
                if end.lines != before {
                    let text = format!("{} lines were written in front of it, {before} are there", end.lines);
                    return Err(self.wrong(&text));
                }
                if end.xxh3 != digest_text(&self.digest) {
                    return Err(self.wrong("the lines in front of it are not as they were written"));
                }
                self.is_over = true;
                Line::End(end)
            }
            other => return Err(self.wrong(&format!("kind {other:?} is unknown"))),
        }))
    }

    /// The same error, with the line that it is about.
    pub(crate) fn located(&self, error: &Error) -> Error {
        let text = format!("line {} of the export: {error}", self.number);
        Error::new(error.kind(), text).caused_by(error.clone())
    }

    fn wrong(&self, text: &str) -> Error {
        if self.number == 0 {
            return Error::invalid(format!("the export: {text}"));
        }
        Error::invalid(format!("line {} of the export: {text}", self.number))
    }

    fn kind(&self) -> Result<String> {
        self.parse::<Kind<'_>>().map(|kind| kind.kind.into_owned())
    }

    fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T> {
        serde_json::from_slice(&self.line).map_err(|e| {
            let (said, column) = (json_message(&e), e.column());
            self.wrong(&format!("it is not as an export writes it: {said}, at column {column}")).caused_by(e)
        })
    }

    fn chunk(&self) -> Result<ChunkRecord> {
        let line: ChunkLine = self.parse()?;
        let json = |raw: Option<Box<RawValue>>, text: Option<String>| match (raw, text) {
            (_, Some(text)) => Json::from_text(&text).map(Some).map_err(|e| self.located(&e)),
            (raw, None) => Ok(raw.map(|raw| Json::trusted(raw.get()))),
        };
        let state = JobState {
            job_id: line.job_id,
            chunk: line.chunk,
            checksum: line.checksum,
            payload: json(line.payload, line.payload_text)?,
            priority: line.priority,
            status: line.status,
            observed_checksum: line.observed_checksum,
            error: line.error,
            attempts: line.attempts,
            losses: line.losses,
            attempts_max: line.attempts_max,
            losses_max: line.losses_max,
            fence: line.fence,
            owner: line.owner,
            lease: line.lease,
            not_before: line.not_before,
            unmet_dependencies: line.unmet_dependencies,
            output: json(line.output, line.output_text)?,
            created_at_ms: line.created_at_ms,
            updated_at_ms: line.updated_at_ms,
            revision: line.revision,
        };
        Ok(ChunkRecord::new(state, line.depends_on, line.kept))
    }

    /// Goes on to the next line, if there is one.
    fn advance(&mut self) -> Result<bool> {
        self.digest.update(&self.line);
        self.line.clear();
        let limit = limits::EXPORT_LINE_BYTES_MAX as u64 + 1;
        let mut limited = (&mut *self.reader).take(limit);
        let read = limited.read_until(b'\n', &mut self.line).map_err(Error::from_source)?;
        if read == 0 {
            return Ok(false);
        }
        self.number += 1;
        if self.line.len() as u64 == limit && self.line.last() != Some(&b'\n') {
            let text = format!("it has more than {} bytes", limits::EXPORT_LINE_BYTES_MAX);
            return Err(self.wrong(&text));
        }
        Ok(true)
    }
}
