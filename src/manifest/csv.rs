//! CSV: one chunk per record, in bounded memory.

use std::borrow::Cow;
use std::io::Read;

use ::csv::ByteRecord;
use foldhash::{HashMap, HashMapExt};

use super::problem::{Part, Position, Problem, Shown};
use super::read::{CHUNK_KEYS, merged, moment, policy};
use super::records::Records;
use super::{check, spelling, text};
use crate::error::{Error, Result};
use crate::limits;
use crate::model::{Json, NewChunk};

/// The chunks of a CSV manifest, each checked by itself; see [`csv()`].
///
/// It ends after its first error.
#[derive(Debug)]
pub struct CsvRows<R> {
    records: Records<R>,
    columns: Vec<Column>,
    has_ended: bool,
}

#[derive(Debug)]
struct Column {
    name: String,
    /// Its place in [`CHUNK_KEYS`], where it is no further one.
    known: Option<usize>,
}

/// Reads a manifest that may be too large for memory, as CSV (RFC 4180) in UTF-8.
///
/// The first record names the columns: `id`, which must be there, and `checksum`, `depends_on` (ids with spaces or
/// semicolons between), `priority`, `max_attempts`, `max_losses`, `on_dependency_failure`, `not_before` (RFC 3339),
/// `payload` (JSON).
/// Each further column is kept in the payload, always as text: `007` stays `007`; one whose name is nearly that of a
/// column above is an error. An empty cell is as good as absent. A record has at most [`limits::MANIFEST_LINE_BYTES_MAX`] bytes. The settings of the job have no place in
/// CSV; give them to the import.
///
/// Lines end with `\n`, `\r\n` or `\r`; blank ones are skipped, but counted. A byte order mark is fine. The `csv`
/// crate parses, and reads what RFC 4180 leaves open in its way: a quote within a cell that does not start with one
/// is text (`5" pipe`), and what follows a closing quote belongs to the cell as it is (`"a"b` is `ab`). A quote that
/// is never closed is an error.
///
/// ```
/// let text = "id,checksum,depends_on,path\n1,abc,,a.bin\n2,,1,b.bin\n";
/// let chunks = magnetar::manifest::csv(text.as_bytes())?.collect::<magnetar::Result<Vec<_>>>()?;
/// assert_eq!(chunks[1].depends_on, [1]);
/// assert_eq!(chunks[1].payload.as_ref().unwrap().as_str(), r#"{"path":"b.bin"}"#);
/// # Ok::<(), magnetar::Error>(())
/// ```
pub fn csv<R: Read>(reader: R) -> Result<CsvRows<R>> {
    let mut records = Records::new(reader)?;
    if !records.advance()? {
        return Err(wrong(1, "", "the manifest is empty; its first line names the columns: id,checksum"));
    }
    let line = records.line();
    let mut columns: Vec<Column> = Vec::new();
    let mut places = HashMap::new();
    for (at, cell) in records.record().iter().enumerate() {
        let place = format!("column {}", at + 1);
        let name = utf8(cell, line, &place)?.trim();
        if name.is_empty() {
            return Err(wrong(line, &place, "it has no name; give it one"));
        }
        if let Some(first) = places.insert(name, at) {
            let text = format!("stands twice, as columns {} and {}; rename or remove one", first + 1, at + 1);
            return Err(wrong(line, name, text));
        }
        let known = CHUNK_KEYS.iter().position(|key| *key == name);
        if let (None, Some(fault)) = (known, spelling::fault(name)) {
            return Err(wrong(line, name, fault));
        }
        columns.push(Column { name: name.to_owned(), known });
    }
    if !columns.iter().any(|column| column.name == "id") {
        let other = columns.iter().find(|column| column.name.eq_ignore_ascii_case("id"));
        let other = other.map(|other| format!("missing; write {} in small letters", other.name));
        let text = match &columns[..] {
            _ if other.is_some() => other.as_deref().unwrap_or_default(),
            [only] if only.name.contains([';', '\t']) => "missing; put commas between the columns",
            _ => "missing; the first line names the columns, and id must be one of them",
        };
        return Err(wrong(line, "id", text));
    }
    Ok(CsvRows { records, columns, has_ended: false })
}

impl<R: Read> Iterator for CsvRows<R> {
    type Item = Result<NewChunk>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let chunk = match self.records.advance() {
            Ok(true) => Some(chunk(&self.columns, self.records.record(), self.records.line())),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        };
        self.has_ended = !matches!(chunk, Some(Ok(_)));
        chunk
    }
}

fn chunk(names: &[Column], record: &ByteRecord, line: u64) -> Result<NewChunk> {
    let (cells, columns) = (record.len(), names.len());
    if cells < columns {
        let missing = &names[cells].name;
        let text = format!("missing; the row has {cells} cells for {columns} columns; fill in the rest");
        return Err(wrong(line, missing, text));
    }
    if cells > columns {
        let place = format!("column {}", columns + 1);
        let text = format!(
            "it has no name; the row has {cells} cells for {columns} columns; quote a cell that holds a comma"
        );
        return Err(wrong(line, &place, text));
    }
    let mut chunk = NewChunk::default();
    let mut has_id = false;
    let mut payload = None;
    let mut further: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
    for (column, cell) in names.iter().zip(record) {
        let name = column.name.as_str();
        let cell = utf8(cell, line, name)?;
        let fail = |text: String| {
            let id = has_id.then_some(chunk.id);
            failed(Problem::new(Part::Chunk { index: None, id }, text).key(name.to_owned()), line)
        };
        let Some(known) = column.known else {
            if !cell.is_empty() {
                further.push((name.into(), text::quoted(cell).into()));
            }
            continue;
        };
        let trimmed = cell.trim_ascii();
        if trimmed.is_empty() {
            continue;
        }
        match CHUNK_KEYS[known] {
            "id" => {
                chunk.id = whole(trimmed, limits::ID_MAX).map_err(fail)?;
                has_id = true;
            }
            "checksum" => chunk.checksum = Some(trimmed.to_owned()),
            "depends_on" => {
                chunk.depends_on = trimmed
                    .split(|c: char| c == ';' || c.is_ascii_whitespace())
                    .filter(|id| !id.is_empty())
                    .map(|id| whole(id, limits::ID_MAX))
                    .collect::<Result<_, String>>()
                    .map_err(fail)?;
            }
            "priority" => {
                chunk.priority = trimmed.parse().map_err(|_| {
                    let (min, max) = (i32::MIN, i32::MAX);
                    fail(format!("\"{}\" is not a whole number from {min} to {max}", Shown(trimmed)))
                })?;
            }
            "max_attempts" => chunk.attempts_max = count(trimmed).map_err(fail)?,
            "max_losses" => chunk.losses_max = count(trimmed).map_err(fail)?,
            "on_dependency_failure" => {
                chunk.on_dependency_failure = Some(policy(trimmed).map_err(fail)?);
            }
            "not_before" => chunk.not_before_ms = Some(moment(trimmed).map_err(fail)?),
            _ => {
                Json::from_text(trimmed)
                    .map_err(|error| fail(format!("{error}; text goes in quotes, doubled within a cell")))?;
                payload = Some(text::compact(trimmed)).filter(|payload| payload != "null");
            }
        }
    }
    if !has_id {
        return Err(wrong(line, "id", "empty; give each chunk a number of its own"));
    }
    let part = Part::Chunk { index: None, id: Some(chunk.id) };
    chunk.payload =
        merged(payload, &further).map_err(|(key, text)| failed(Problem::new(part, text).key(key), line))?;
    check::chunk(&chunk, None).map_or(Ok(chunk), |problem| Err(failed(problem, line)))
}

fn whole(cell: &str, max: u64) -> Result<u64, String> {
    let number = if cell.bytes().all(|b| b.is_ascii_digit()) { cell.parse().ok() } else { None };
    number
        .filter(|number| *number <= max)
        .ok_or_else(|| format!("\"{}\" is not a whole number from 0 to {max}", Shown(cell)))
}

fn count(cell: &str) -> Result<Option<u32>, String> {
    whole(cell, u32::MAX.into()).map(|number| u32::try_from(number).ok())
}

fn failed(problem: Problem, line: u64) -> Error {
    problem.into_error(Some(Position::line(line)), None)
}

fn wrong(line: u64, key: &str, text: impl Into<String>) -> Error {
    let problem = Problem::new(Part::Whole, text);
    failed(if key.is_empty() { problem } else { problem.key(key.to_owned()) }, line)
}

fn utf8<'a>(cell: &'a [u8], line: u64, column: &str) -> Result<&'a str> {
    std::str::from_utf8(cell)
        .map_err(|error| wrong(line, column, "not UTF-8; save the manifest as UTF-8").caused_by(error))
}
