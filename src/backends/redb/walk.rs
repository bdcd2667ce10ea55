//! The rows of a job in chunk order, all three trees walked side by side.

use std::sync::Arc;

use super::read::{self, chunk_at};
use super::spans::Span;
use super::tables::{self as t, Tag, edge_tag};
use super::view::{Entries, Found, View};
use crate::backends::contract::{Key, Record, Row};
use crate::codec::{self, Seat, Table};
use crate::error::Result;

/// Every content with the record and the count that stand under its key.
pub(super) struct Walk<'v> {
    contents: Entries<'v, t::Row>,
    records: Records<'v>,
    unmet: Option<Unmet<'v>>,
}

impl<'v> Walk<'v> {
    pub(super) fn new(view: View<'v>, job: i64, span: Span) -> Result<Self> {
        let key = |chunk| Key { job, chunk };
        let (first, last) = (t::row(key(span.first)), t::row(key(span.last)));
        let edges = view.edges();
        let unmet = if edges.is_empty() {
            None
        } else {
            let first = t::of_chunk(edge_tag::UNMET, key(span.first));
            let last = t::of_chunk(edge_tag::UNMET, key(span.last));
            Some(Unmet::new(edges.through(&first, &last)?)?)
        };
        Ok(Walk {
            contents: view.contents().through(&first, &last)?,
            records: Records::new(view.records().through(&first, &last)?)?,
            unmet,
        })
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        let found = self.contents.next()?;
        Some(found.and_then(|found| {
            let key = t::read_row(found.key());
            let content = Arc::new(codec::content(key, found.value())?);
            let record = self.records.at(key)?;
            let unmet = match &mut self.unmet {
                Some(unmet) => unmet.at(key)?,
                None => 0,
            };
            Ok(Row { key, content, record, unmet })
        }))
    }
}

/// Records in key order, of which one is looked at ahead.
struct Records<'v> {
    entries: Entries<'v, t::Row>,
    next: Option<Found<'v>>,
}

impl<'v> Records<'v> {
    fn new(mut entries: Entries<'v, t::Row>) -> Result<Self> {
        let next = entries.next().transpose()?;
        Ok(Records { entries, next })
    }

    fn at(&mut self, key: Key) -> Result<Arc<Record>> {
        let Some(found) = &self.next else { return Ok(Record::shared_fresh()) };
        let next = t::read_row(found.key());
        if next < key {
            return Err(Seat::of(Table::Records, next).corrupt("its content is missing"));
        }
        if next > key {
            return Ok(Record::shared_fresh());
        }
        let record = codec::record(key, found.value())?;
        self.next = self.entries.next().transpose()?;
        Ok(Arc::new(record))
    }
}

/// Counts of unmet dependencies in key order, of which one is looked at ahead.
struct Unmet<'v> {
    entries: Entries<'v, Tag>,
    next: Option<(Key, u32)>,
}

impl<'v> Unmet<'v> {
    fn new(entries: Entries<'v, Tag>) -> Result<Self> {
        let mut unmet = Unmet { entries, next: None };
        unmet.advance()?;
        Ok(unmet)
    }

    fn advance(&mut self) -> Result<()> {
        self.next = match self.entries.next().transpose()? {
            None => None,
            Some(found) => {
                let key = chunk_at(found.key())?;
                Some((key, read::unmet(key, found.value())?))
            }
        };
        Ok(())
    }

    fn at(&mut self, key: Key) -> Result<u32> {
        match self.next {
            Some((next, _)) if next < key => Err(t::unmet_seat(next).corrupt("its chunk is missing")),
            Some((next, count)) if next == key => {
                self.advance()?;
                Ok(count)
            }
            _ => Ok(0),
        }
    }
}
