//! The two forms of bytes.

use super::json_lines::JsonLines;
use super::reader::Item;
use super::{Exported, Filter, csv};
use crate::error::Result;

/// How items become bytes.
pub(super) enum Form {
    Csv,
    JsonLines(Box<JsonLines>),
}

impl Form {
    pub(super) fn json_lines() -> Self {
        Form::JsonLines(Box::default())
    }

    pub(super) fn begin(&mut self, filter: &Filter, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Form::Csv => csv::write_header(out),
            Form::JsonLines(lines) => lines.begin(filter, out)?,
        }
        Ok(())
    }

    pub(super) fn items(&mut self, items: &[Item], exported: &mut Exported, out: &mut Vec<u8>) -> Result<()> {
        for item in items {
            exported.count(item);
            match self {
                Form::Csv => {
                    if let Item::Chunk(record) = item {
                        csv::write_row(record, out);
                    }
                }
                Form::JsonLines(lines) => lines.item(item, out)?,
            }
        }
        Ok(())
    }

    pub(super) fn end(&mut self, exported: &Exported, job_id_max: i64, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Form::Csv => Ok(()),
            Form::JsonLines(lines) => lines.end(exported, job_id_max, out),
        }
    }
}

impl Exported {
    pub(super) fn count(&mut self, item: &Item) {
        match item {
            Item::Job(_) => self.jobs += 1,
            Item::Chunk(_) => self.chunks += 1,
            Item::ChunkDeleted { .. } | Item::JobDeleted { .. } => {}
        }
    }
}
