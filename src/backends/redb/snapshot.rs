//! The trees as they were at one moment.

use redb::{ReadTransaction, ReadableTableMetadata as _};

use super::errors;
use super::tables::{self as t, Revision, Row, Tag};
use super::view::Stored;
use crate::error::Result;

pub(super) struct Snapshot {
    pub(super) contents: Stored<Row>,
    pub(super) records: Stored<Row>,
    pub(super) index: Stored<Tag>,
    /// `None` where no chunk of the store depends on another.
    pub(super) edges: Option<Stored<Tag>>,
    pub(super) log: Stored<Revision>,
}

impl Snapshot {
    pub(super) fn new(transaction: &ReadTransaction) -> Result<Self> {
        let edges = transaction.open_table(t::EDGES).map_err(errors::opening_table)?;
        Ok(Snapshot {
            contents: transaction.open_table(t::CONTENTS).map_err(errors::opening_table)?,
            records: transaction.open_table(t::RECORDS).map_err(errors::opening_table)?,
            index: transaction.open_table(t::INDEX).map_err(errors::opening_table)?,
            edges: if edges.is_empty().map_err(errors::reading)? { None } else { Some(edges) },
            log: transaction.open_table(t::LOG).map_err(errors::opening_table)?,
        })
    }
}
