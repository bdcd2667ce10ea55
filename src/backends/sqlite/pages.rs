//! Pages of a job's rows.
//!
//! The index has the rows of a class by rank first. Where the wanted classes have few ranks, which is the rule, a page is
//! merged from the fronts of each; where they have many, and many rows, it is sooner found in the table. Where the wanted
//! rows turn out to lie close together, the next ones are read by ranges of ids: no range of [`ROWS_PER_PACK`] ids holds
//! more rows than a pack, so one call can answer with many packs, and each is taken apart here while `SQLite` reads the
//! next.

use std::fmt::Write as _;

use crate::backends::contract::{Class, Needs, PageNeed, Row};
use crate::backends::sqlite::block::Wait;
use crate::backends::sqlite::connection::{Args, Connection, Failure};
use crate::backends::sqlite::load::{self, Opening, list, row_limit, separate};
use crate::backends::sqlite::statements::ROWS_PER_PACK;
use crate::backends::sqlite::{columns, rows, statements};
use crate::error::Result;

/// Up to so many (class, rank) pairs a page is merged from the fronts of all; past it, it depends.
const PAIRS_MERGED: usize = 64;

/// Ranges of ids that one call asks for at most.
const RANGES_PER_CALL: usize = 128;

/// So many times the packs that were had so far are asked for at once: of a range in which a row is wanted the contents of
/// all are read, and where those end that are wanted is not known before.
const RANGES_PER_PACK: usize = 8;

/// Rows whose texts are longer on average are not read that way, in bytes.
const TEXT_BYTES_LIGHT: usize = 8 << 10;

/// Hands over a page, in the open transaction of a connection.
pub(super) fn page(connection: &mut Connection, need: &PageNeed, each: &mut dyn FnMut(Row)) -> Result<()> {
    let wanted = bits(need.classes);
    let merged = if wanted == ALL_CLASSES { None } else { merged_pairs(connection, need)? };
    let mut after = need.after.map(columns::int).transpose()?.unwrap_or(-1);
    let mut left = need.limit;
    while left > 0 {
        let asked = ROWS_PER_PACK.min(left);
        let bounds = |args: Args| args.with(after).with(row_limit(asked));
        let args = Args::default().with(need.job);
        let mut found = match &merged {
            Some(pairs) => pack(connection, statements::PAGE_OF_PAIRS, bounds(args.with(pairs.as_str())))?,
            None => pack(connection, statements::PAGE, bounds(args.with(wanted)))?,
        };
        found.sort_unstable_by_key(|row| row.key.chunk);
        found.truncate(asked);
        let Some(last) = found.last() else { return Ok(()) };
        let (start, had) = (after, Had::of(&found));
        after = columns::int(last.key.chunk)?;
        left -= had.rows;
        found.into_iter().for_each(&mut *each);
        if had.rows < asked {
            return Ok(());
        }
        let mut goes_on = had.is_dense_in(after - start);
        while goes_on && left > 0 {
            let packs = (need.limit - left).div_ceil(ROWS_PER_PACK);
            let ranges = left.div_ceil(ROWS_PER_PACK).min(RANGES_PER_PACK * packs).min(RANGES_PER_CALL);
            let end = after + row_limit(ranges * ROWS_PER_PACK);
            let bounds = (0..ranges).map(|nr| after + row_limit(nr * ROWS_PER_PACK));
            let args = Args::default().with(need.job).with(wanted).with(list(bounds));
            let had = dense(connection, args.with(row_limit(ROWS_PER_PACK)), left, each)?;
            left -= had.rows;
            goes_on = had.is_dense_in(end - after);
            after = end;
        }
    }
    Ok(())
}

/// Of whatever class a row says that it is, none of ours among them: that is for whoever reads it to find out.
const ALL_CLASSES: i64 = -1;

/// A bit for the code of each class.
fn bits(classes: &[Class]) -> i64 {
    if classes.is_empty() || classes.len() == Class::ALL.len() {
        return ALL_CLASSES;
    }
    classes.iter().fold(0, |bits, class| bits | 1 << columns::class_code(*class))
}

/// The rows of the one pack that a statement answers with.
fn pack(connection: &mut Connection, sql: &'static str, args: Args) -> Result<Vec<Row>> {
    let mut found = Vec::with_capacity(ROWS_PER_PACK);
    connection
        .call(sql, args, Wait::Spin, |_, row| rows::pack(rows::get(row, 0)?, |row| found.push(row)))
        .map_err(Failure::into_error)?;
    Ok(found)
}

/// Hands over the rows of [`statements::PAGE_OF_RANGES`], at most so many.
fn dense(connection: &mut Connection, args: Args, limit: usize, each: &mut dyn FnMut(Row)) -> Result<Had> {
    let mut had = Had::default();
    connection
        .call(statements::PAGE_OF_RANGES, args, Wait::Spin, |_, row| {
            let mut room = limit - had.rows;
            rows::packs(rows::get(row, 0)?, rows::get(row, 1)?, &mut room, |row| {
                had.add(&row);
                each(row);
            })
        })
        .map_err(Failure::into_error)?;
    Ok(had)
}

/// How many rows there were, and how long their texts.
#[derive(Default)]
struct Had {
    rows: usize,
    text_bytes: usize,
}

impl Had {
    fn of(rows: &[Row]) -> Self {
        let mut had = Had::default();
        rows.iter().for_each(|row| had.add(row));
        had
    }

    fn add(&mut self, row: &Row) {
        self.rows += 1;
        self.text_bytes += row.text_bytes();
    }

    /// Whether at least every other id of a span was a row that is wanted, and none of them heavy.
    fn is_dense_in(&self, ids: i64) -> bool {
        ids <= row_limit(self.rows.saturating_mul(2)) && self.text_bytes <= self.rows * TEXT_BYTES_LIGHT
    }
}

/// The pairs to merge a page from, where that is the shorter way.
fn merged_pairs(connection: &mut Connection, need: &PageNeed) -> Result<Option<String>> {
    let classes = list(need.classes.iter().map(|class| columns::class_code(*class)));
    let counted = Needs { jobs: [need.job].into(), ..Needs::default() };
    let job = load::load(connection, &counted, Opening::None)?.jobs.remove(&need.job).flatten();
    let count = |class: &Class| job.as_ref().map_or(0, |job| job.counts.of(*class));
    let wanted: u64 = need.classes.iter().map(count).sum();
    let worth = (PAIRS_MERGED * need.limit) as u64;
    let pairs_max = if wanted <= worth { usize::MAX } else { PAIRS_MERGED + 1 };
    let args = Args::default().with(need.job).with(classes).with(row_limit(pairs_max));
    let (mut text, mut pairs) = (String::from("["), 0);
    connection
        .call(statements::PAIRS, args, Wait::Spin, |_, row| {
            separate(&mut text);
            let _ = write!(text, "[{},{}]", rows::get::<i64>(row, 0)?, rows::get::<i64>(row, 1)?);
            pairs += 1;
            Ok(())
        })
        .map_err(Failure::into_error)?;
    text.push(']');
    Ok((pairs < pairs_max).then_some(text))
}
