//! JSON Lines: everything that a store keeps, one thing a line.

use std::borrow::Cow;

use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;

use super::reader::Item;
use super::{Exported, Filter};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{ChunkRecord, JobSpec, JobState, Json, Kept};

/// The version of the lines that this build writes, and the newest that it reads.
pub(super) const FORMAT: u32 = 1;

#[derive(Default)]
pub(super) struct JsonLines {
    lines: u64,
    digest: Xxh3,
}

/// The first line.
#[derive(Serialize)]
struct Head {
    kind: &'static str,
    format: u32,
    /// Whether the jobs are whole, so that a store can be made of them.
    whole_jobs: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
}

#[derive(Serialize)]
struct JobLine<'a> {
    kind: &'static str,
    job_id: i64,
    spec: &'a JobSpec,
    created_at_ms: u64,
    revision: u64,
}

#[derive(Serialize)]
struct ChunkLine<'a> {
    kind: &'static str,
    #[serde(flatten)]
    state: &'a JobState,
    depends_on: &'a [u64],
    kept: &'a Kept,
    /// The payload and the output as text, where they cannot stand in a line just as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_text: Option<&'a str>,
}

#[derive(Serialize)]
struct ChunkDeletedLine {
    kind: &'static str,
    job_id: i64,
    chunk: u64,
    revision: u64,
}

#[derive(Serialize)]
struct JobDeletedLine {
    kind: &'static str,
    job_id: i64,
    revision: u64,
}

/// The last line. What it counts are the lines in front of it.
#[derive(Serialize)]
struct EndLine {
    kind: &'static str,
    revision: u64,
    job_id_max: i64,
    lines: u64,
    /// A digest of their bytes.
    xxh3: String,
}

impl JsonLines {
    pub(super) fn begin(&mut self, filter: &Filter, out: &mut Vec<u8>) -> Result<()> {
        let whole_jobs = filter.statuses.is_empty() && filter.since.is_none();
        self.line(&Head { kind: "export", format: FORMAT, whole_jobs, since: filter.since }, out)
    }

    pub(super) fn item(&mut self, item: &Item, out: &mut Vec<u8>) -> Result<()> {
        match item {
            Item::Job(job) => self.line(
                &JobLine {
                    kind: "job",
                    job_id: job.job_id,
                    spec: &job.spec,
                    created_at_ms: job.created_at_ms,
                    revision: job.revision,
                },
                out,
            ),
            Item::Chunk(record) => self.chunk(record, out),
            &Item::ChunkDeleted { job_id, chunk, revision } => {
                self.line(&ChunkDeletedLine { kind: "chunk_deleted", job_id, chunk, revision }, out)
            }
            &Item::JobDeleted { job_id, revision } => {
                self.line(&JobDeletedLine { kind: "job_deleted", job_id, revision }, out)
            }
        }
    }

    fn chunk(&mut self, record: &ChunkRecord, out: &mut Vec<u8>) -> Result<()> {
        let ChunkRecord { state, depends_on, kept } = record;
        let payload_text = unfit(state.payload.as_ref());
        let output_text = unfit(state.output.as_ref());
        let state = if payload_text.is_some() || output_text.is_some() {
            Cow::Owned(JobState {
                payload: on_one_line(state.payload.as_ref())?,
                output: on_one_line(state.output.as_ref())?,
                ..state.clone()
            })
        } else {
            Cow::Borrowed(state)
        };
        self.line(
            &ChunkLine { kind: "chunk", state: &state, depends_on, kept, payload_text, output_text },
            out,
        )
    }

    pub(super) fn end(&mut self, exported: &Exported, job_id_max: i64, out: &mut Vec<u8>) -> Result<()> {
        let (lines, xxh3) = (self.lines, digest_text(&self.digest));
        self.line(&EndLine { kind: "end", revision: exported.revision, job_id_max, lines, xxh3 }, out)
    }

    fn line(&mut self, line: &impl Serialize, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        serde_json::to_writer(&mut *out, line).map_err(|e| {
            Error::new(ErrorKind::Internal, format!("a line could not be written as JSON: {e}")).caused_by(e)
        })?;
        out.push(b'\n');
        self.digest.update(&out[start..]);
        self.lines += 1;
        Ok(())
    }
}

/// The text of a value that a line would not give back just as it is: one that is broken into lines, and the null that
/// looks like none.
fn unfit(json: Option<&Json>) -> Option<&str> {
    json.map(Json::as_str).filter(|text| *text == "null" || text.contains(['\n', '\r']))
}

/// A line break within JSON can only stand between tokens: a space does as well there.
fn on_one_line(json: Option<&Json>) -> Result<Option<Json>> {
    json.map(|json| Json::from_text(&json.as_str().replace(['\n', '\r'], " "))).transpose()
}

pub(super) fn digest_text(digest: &Xxh3) -> String {
    format!("{:016x}", digest.digest())
}
