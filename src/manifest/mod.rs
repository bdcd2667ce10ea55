//! Manifests: what a job consists of. TOML and JSON whole; JSON Lines and CSV as streams.
//!
//! # Form
//!
//! ```toml
//! [job]                              # optional, and so is each key of it
//! name = "nightly"
//! max_attempts = 5                   # 0 is no limit
//! max_losses = 10                    # 0 is no limit
//! lease = 60000                      # milliseconds
//! backoff = { initial_ms = 1000, max_ms = 300000 }
//! on_dependency_failure = "wait"     # or "cancel" or "ignore"
//!
//! [[chunks]]
//! id = 1                             # the one key that a chunk must have
//! checksum = "abc123"
//!
//! [[chunks]]
//! id = 2
//! depends_on = [1]
//! priority = 7                       # higher first
//! max_attempts = 1                   # and max_losses, on_dependency_failure: where they differ from the job's
//! not_before = 2026-12-01T08:00:00Z  # nobody gets it before; in JSON the same in quotes
//! path = "b.bin"                     # any further key is kept in the payload: {"path":"b.bin"}
//! payload = { offset = 4096 }        # what the worker gets, any value: {"offset":4096,"path":"b.bin"}
//! ```
//!
//! The same as JSON: `{"job": {...}, "chunks": [{"id": 1, "checksum": "abc123"}, ...]}`, where `null` is as good as
//! absent. As JSON Lines: see [`json_lines()`]. As CSV: see [`csv()`].
//!
//! A payload is kept as it is written, but for the space between tokens; TOML's dates and times become text.
//! A key of `[job]` or of the top that is none of these is an error that names it. So is one of a chunk that is nearly one
//! of these (`dependsOn`, `priorty`): within `payload` a key may have any name.

mod check;
mod csv;
mod json_lines;
mod locate;
mod problem;
mod read;
mod records;
mod spelling;
mod text;
mod toml_text;

#[cfg(test)]
mod tests;

use serde::de::DeserializeSeed;
use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};
use toml::de::DeTable;

use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::model::{JobSpec, NewChunk};
use crate::moment;
use problem::{At, Part, Position, Problem, Shown, Sink};
use read::ManifestSeed;
use toml_text::NoForm;

pub use self::csv::{CsvRows, csv};
pub use json_lines::{JsonLines, json_lines};

/// A job's settings and all its chunks.
///
/// Any serde format that describes itself can be read; TOML and JSON with better errors through
/// [`Manifest::from_toml`] and [`Manifest::from_json`]. See [the module](self) for the form.
///
/// ```
/// use magnetar::{JobSpec, Manifest, NewChunk};
///
/// let manifest: Manifest = toml::from_str("[[chunks]]\nid = 1\nchecksum = \"abc123\"").unwrap();
/// assert_eq!(manifest, Manifest::new().chunk(NewChunk::new(1).checksum("abc123")));
///
/// let manifest = Manifest::new().job(JobSpec::new().name("nightly")).chunks((1..=3).map(NewChunk::new));
/// manifest.check()?;
/// # Ok::<(), magnetar::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Manifest {
    /// What holds for all chunks.
    pub job: JobSpec,
    /// The chunks, in any order.
    pub chunks: Vec<NewChunk>,
}

impl Manifest {
    /// No chunks yet, every setting at its default.
    pub fn new() -> Self {
        Manifest::default()
    }

    /// The same with settings for all chunks.
    #[must_use]
    pub fn job(mut self, job: JobSpec) -> Self {
        self.job = job;
        self
    }

    /// The same with one chunk more.
    #[must_use]
    pub fn chunk(mut self, chunk: NewChunk) -> Self {
        self.chunks.push(chunk);
        self
    }

    /// The same with more chunks.
    #[must_use]
    pub fn chunks(mut self, chunks: impl IntoIterator<Item = NewChunk>) -> Self {
        self.chunks.extend(chunks);
        self
    }

    /// A checked manifest from TOML; at most [`limits::MANIFEST_BYTES_MAX`] bytes.
    ///
    /// An error names line, column, chunk and key.
    ///
    /// ```
    /// use magnetar::{ErrorKind, Manifest};
    ///
    /// let error = Manifest::from_toml("[[chunks]]\nid = 1\n\n[[chunks]]\nid = 1\n").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::DuplicateChunk);
    /// assert_eq!(error.chunk(), Some(1));
    /// assert!(error.to_string().contains("line 5"));
    /// ```
    pub fn from_toml(text: &str) -> Result<Self> {
        check_text_size(text)?;
        let text = without_bom(text);
        let mut json = String::with_capacity(text.len());
        let in_part = |offset: usize, message: String| {
            let (part, key) = locate::part_of_toml(text, offset);
            Box::new(Problem { key: key.map(Into::into), ..Problem::new(part, message) })
        };
        let read = match DeTable::parse(text) {
            Ok(table) => toml_text::push_table(&mut json, table.get_ref())
                .map_err(|NoForm { offset, found }| {
                    let message = format!("{} has no JSON form; write it in quotes", Shown(&found));
                    (in_part(offset, message), Some(Position::of(text, offset)), None)
                })
                .and_then(|()| read_json(&json, "TOML").map_err(|(problem, _)| (problem, None, None))),
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                let message = error.message().replace('\n', " ");
                let problem = in_part(at, format!("not a manifest in TOML: {message}; correct it there"));
                Err((problem, Some(Position::of(text, at)), Some(error)))
            }
        };
        let (mut problem, at, cause) = match read {
            Ok(manifest) => match check::manifest(&manifest) {
                None => return Ok(manifest),
                Some(problem) => (Box::new(problem), None, None),
            },
            Err(failure) => failure,
        };
        let (found, first) = locate::in_toml(text, &mut problem);
        // Where there is one of a value, it says more than that of its key.
        Err(with_cause(problem.into_error(at.or(found), first), cause))
    }

    /// A checked manifest from JSON; at most [`limits::MANIFEST_BYTES_MAX`] bytes.
    ///
    /// An error names line, column, chunk and key.
    ///
    /// ```
    /// let manifest = magnetar::Manifest::from_json(r#"{"chunks": [{"id": 1, "path": "a.bin"}]}"#)?;
    /// assert_eq!(manifest.chunks[0].payload.as_ref().unwrap().as_str(), r#"{"path":"a.bin"}"#);
    /// # Ok::<(), magnetar::Error>(())
    /// ```
    pub fn from_json(text: &str) -> Result<Self> {
        check_text_size(text)?;
        let text = without_bom(text);
        let (mut problem, at, cause) = match read_json(text, "JSON") {
            Ok(manifest) => match check::manifest(&manifest) {
                None => return Ok(manifest),
                Some(problem) => (Box::new(problem), None, None),
            },
            Err((problem, error)) => {
                let offset = locate::json_offset(text, &error);
                (problem, Some(Position::of(text, offset)), Some(error))
            }
        };
        let (found, first) = locate::in_json(text, &mut problem);
        let position = if problem.part == Part::Whole { at.or(found) } else { found.or(at) };
        Err(with_cause(problem.into_error(position, first), cause))
    }

    /// Whether the manifest says what a manifest must say, as far as no store is needed: ids and sizes within their
    /// limits, no chunk twice, no dependency twice, no cycle.
    ///
    /// A dependency on a chunk that is not in the manifest passes: the job may have it already.
    ///
    /// ```
    /// use magnetar::{ErrorKind, Manifest, NewChunk};
    ///
    /// let manifest = Manifest::new()
    ///     .chunk(NewChunk::new(1).depends_on([2]))
    ///     .chunk(NewChunk::new(2).depends_on([1]));
    /// let error = manifest.check().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::DependencyCycle);
    /// assert!(error.to_string().contains("1 -> 2 -> 1"));
    /// ```
    pub fn check(&self) -> Result<()> {
        check::manifest(self).map_or(Ok(()), |problem| Err(problem.into_error(None, None)))
    }
}

/// A manifest from JSON text, not checked yet; `form` is what it was written in.
fn read_json(text: &str, form: &str) -> Result<Manifest, (Box<Problem>, serde_json::Error)> {
    let sink = Sink::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let read = ManifestSeed(At::of_json(&sink, Part::Whole)).deserialize(&mut json);
    read.and_then(|manifest| json.end().map(|()| manifest)).map_err(|error| {
        let other = || {
            let (part, key) = locate::part_of_json(text, locate::json_offset(text, &error));
            let message = json_message(&error);
            let problem =
                Problem::new(part, format!("not a manifest in {form}: {message}; correct it there"));
            Box::new(Problem { key: key.map(Into::into), ..problem })
        };
        (sink.take().unwrap_or_else(other), error)
    })
}

/// One chunk by itself: what [`Manifest::check`] says of it, for chunks that come one by one.
pub(crate) fn check_chunk(chunk: &NewChunk) -> Result<()> {
    check::chunk(chunk, None).map_or(Ok(()), |problem| Err(problem.into_error(None, None)))
}

fn check_text_size(text: &str) -> Result<()> {
    if text.len() <= limits::MANIFEST_BYTES_MAX {
        return Ok(());
    }
    let (bytes, limit) = (text.len(), limits::MANIFEST_BYTES_MAX);
    let text =
        format!("the manifest has {bytes} bytes, the limit is {limit}; import it as JSON Lines or CSV");
    Err(Error::new(ErrorKind::TooLarge, text))
}

fn without_bom(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn with_cause(error: Error, cause: Option<impl std::error::Error + Send + Sync + 'static>) -> Error {
    match cause {
        Some(cause) => error.caused_by(cause),
        None => error,
    }
}

/// What `serde_json` says, without the position, which stands elsewhere in our errors.
pub(crate) fn json_message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&position).map(ToOwned::to_owned).unwrap_or(text)
}

impl Serialize for Manifest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let with_job = self.job != JobSpec::new();
        let mut out = serializer.serialize_struct("Manifest", 1 + usize::from(with_job))?;
        if with_job {
            out.serialize_field("job", &self.job)?;
        }
        out.serialize_field("chunks", &self.chunks)?;
        out.end()
    }
}

impl Serialize for NewChunk {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(None)?;
        out.serialize_entry("id", &self.id)?;
        if let Some(checksum) = &self.checksum {
            out.serialize_entry("checksum", checksum)?;
        }
        if !self.depends_on.is_empty() {
            out.serialize_entry("depends_on", &self.depends_on)?;
        }
        if self.priority != 0 {
            out.serialize_entry("priority", &self.priority)?;
        }
        if let Some(attempts_max) = self.attempts_max {
            out.serialize_entry("max_attempts", &attempts_max)?;
        }
        if let Some(losses_max) = self.losses_max {
            out.serialize_entry("max_losses", &losses_max)?;
        }
        if let Some(policy) = self.on_dependency_failure {
            out.serialize_entry("on_dependency_failure", &policy)?;
        }
        if let Some(not_before_ms) = self.not_before_ms {
            out.serialize_entry("not_before", &moment::utc(not_before_ms))?;
        }
        if let Some(payload) = &self.payload {
            out.serialize_entry("payload", &text::Exact::new(payload.as_str()))?;
        }
        out.end()
    }
}
