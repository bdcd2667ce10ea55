//! CSV: one row per chunk.
//!
//! Written here and not by the `csv` crate, which decides on quotes for a whole file: here a text is always quoted, a
//! null is not, and so the two stay apart.

use std::borrow::Cow;
use std::io::Write;

use crate::model::{ChunkRecord, Deadline, Json};
use crate::moment::write_utc;

/// The columns of a CSV export, in order. Parquet files and record batches have the same.
pub const COLUMNS: [&str; 24] = [
    "job_id",
    "chunk",
    "status",
    "checksum",
    "observed_checksum",
    "payload",
    "output",
    "error",
    "priority",
    "attempts",
    "losses",
    "attempts_max",
    "losses_max",
    "on_dependency_failure",
    "depends_on",
    "unmet_dependencies",
    "cancelled_by",
    "fence",
    "owner",
    "lease_until",
    "not_before",
    "created_at",
    "updated_at",
    "revision",
];

pub(super) fn write_header(out: &mut Vec<u8>) {
    out.extend_from_slice(COLUMNS.join(",").as_bytes());
    out.extend_from_slice(b"\r\n");
}

pub(super) fn write_row(record: &ChunkRecord, out: &mut Vec<u8>) {
    let ChunkRecord { state, depends_on, kept } = record;
    let mut row = Row { out, first: true };
    row.number(state.job_id);
    row.number(state.chunk);
    row.bare(state.status.as_str());
    row.text(state.checksum.as_deref());
    row.text(state.observed_checksum.as_deref());
    row.text(state.payload.as_ref().map(Json::as_str));
    row.text(state.output.as_ref().map(Json::as_str));
    row.text(state.error.as_deref());
    row.number(state.priority);
    row.number(state.attempts);
    row.number(state.losses);
    row.number(state.attempts_max);
    row.number(state.losses_max);
    row.bare(kept.on_dependency_failure.map_or("", |policy| policy.as_str()));
    row.ids(depends_on);
    row.number(state.unmet_dependencies);
    row.cell(|out| {
        if let Some(cause) = kept.cancelled_by {
            display(out, cause);
        }
    });
    row.number(state.fence);
    row.cell(|out| {
        if let Some(owner) = state.owner {
            display(out, owner);
        }
    });
    row.moment(state.lease.map(Deadline::at_ms));
    row.moment(state.not_before.map(Deadline::at_ms));
    row.moment(Some(state.created_at_ms));
    row.moment(Some(state.updated_at_ms));
    row.number(state.revision);
    row.out.extend_from_slice(b"\r\n");
}

struct Row<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl Row<'_> {
    fn cell(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        write(self.out);
    }

    fn number(&mut self, number: impl std::fmt::Display) {
        self.cell(|out| display(out, number));
    }

    /// A word of our own, which needs no quotes.
    fn bare(&mut self, word: &str) {
        self.cell(|out| out.extend_from_slice(word.as_bytes()));
    }

    fn text(&mut self, text: Option<&str>) {
        self.cell(|out| {
            let Some(text) = text else { return };
            out.push(b'"');
            for (i, part) in disarmed(text).split('"').enumerate() {
                if i > 0 {
                    out.extend_from_slice(b"\"\"");
                }
                out.extend_from_slice(part.as_bytes());
            }
            out.push(b'"');
        });
    }

    /// A single id would be a number to who guesses types, and a list of them a text.
    fn ids(&mut self, ids: &[u64]) {
        self.cell(|out| {
            if ids.is_empty() {
                return;
            }
            out.push(b'"');
            for (i, id) in ids.iter().enumerate() {
                if i > 0 {
                    out.push(b' ');
                }
                display(out, id);
            }
            out.push(b'"');
        });
    }

    fn moment(&mut self, ms: Option<u64>) {
        self.cell(|out| {
            if let Some(ms) = ms {
                write_utc(out, ms);
            }
        });
    }
}

fn display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("memory takes every text");
}

/// A text as a cell in which no spreadsheet sees a formula: with a `'` in front where it would, see
/// [`super::Export::csv`].
///
/// ```
/// use magnetar::export::{csv_text, disarmed};
///
/// assert_eq!(disarmed("=1+1"), "'=1+1");
/// assert_eq!(disarmed("1+1"), "1+1");
/// for text in ["=1+1", "'=1+1", "plain", ""] {
///     assert_eq!(csv_text(&disarmed(text)), text);
/// }
/// ```
pub fn disarmed(text: &str) -> Cow<'_, str> {
    // Spreadsheets differ in what they skip in front of a formula; so look behind anything that cannot be seen.
    let seen = text.trim_start_matches(|c: char| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
    });
    let formula = seen.starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}']);
    if formula || text.starts_with('\'') { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) }
}

/// The text of a cell of a text column, as the store has it: what [`disarmed`] put in front is gone.
pub fn csv_text(cell: &str) -> &str {
    cell.strip_prefix('\'').unwrap_or(cell)
}
