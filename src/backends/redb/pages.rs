//! Pages of a job's rows, in chunk order.
//!
//! The index has the rows of a class by rank first. Where the wanted classes have few ranks, which is the rule, a page is
//! merged from the runs of each. Where they have many, and many rows, each page would begin as many runs as there are
//! ranks: it is sooner found in the trees of the rows.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::read::read_line;
use super::spans::{self, Span};
use super::tables::{Lane, Line};
use super::view::View;
use super::walk::Walk;
use crate::backends::contract::{Class, PageNeed, Rank, Row};
use crate::error::Result;
use crate::machine;

/// Up to so many lines a page is merged from the runs of all; past it, it depends.
const LINES_MERGED: usize = 64;

/// Where the wanted rows are no more than so many pages they are merged, however many lines they are in.
const PAGES_MERGED: u64 = 4;

/// After so many rows in a row that nobody wants it is looked where their run ends.
const PASSED_OVER_MAX: usize = 16;

impl<'v> View<'v> {
    pub(super) fn page(self, need: &PageNeed, each: &mut dyn FnMut(Row)) -> Result<()> {
        let Some(first) = need.after.map_or(Some(0), |after| after.checked_add(1)) else {
            return Ok(());
        };
        if need.classes.is_empty() {
            let span = Span { first, last: u64::MAX };
            return Walk::new(self, need.job, span)?.take(need.limit).try_for_each(|row| {
                each(row?);
                Ok(())
            });
        }
        match self.lines_merged(need)? {
            Some(lines) => self.merged(need, &lines, each),
            None => self.sought(need, first, each),
        }
    }

    /// The lines to merge a page from, where that is the shorter way.
    fn lines_merged(self, need: &PageNeed) -> Result<Option<Vec<Line>>> {
        let mut lines = Vec::new();
        let mut lines_max = LINES_MERGED;
        for &class in need.classes {
            for line in self.lines_of(class, need.job) {
                lines.push(line?);
                if lines.len() > lines_max {
                    if self.wanted(need)? > PAGES_MERGED * need.limit as u64 {
                        return Ok(None);
                    }
                    lines_max = usize::MAX;
                }
            }
        }
        Ok(Some(lines))
    }

    /// How many rows of the job are in the wanted classes.
    fn wanted(self, need: &PageNeed) -> Result<u64> {
        let job = self.job(need.job)?;
        Ok(job.map_or(0, |job| need.classes.iter().map(|&class| job.counts.of(class)).sum()))
    }

    /// The lines of a class and job, found by leaping from rank to rank.
    fn lines_of(self, class: Class, job: i64) -> impl Iterator<Item = Result<Line>> + use<'v> {
        let mut rank = Some(0);
        std::iter::from_fn(move || {
            let from = Line { class, job, rank: Rank(rank?) }.key(0);
            let to = Line { class, job: job + 1, rank: Rank(0) }.key(0);
            let found = self.index_between(&from, &to).and_then(|mut runs| runs.next().transpose());
            let line = found.and_then(|found| {
                found.map(|found| Ok(read_line(found.key(), found.value())?.0)).transpose()
            });
            rank = line.as_ref().ok()?.and_then(|line| line.rank.0.checked_add(1));
            line.transpose()
        })
    }

    /// Each line is sorted by chunk and no two overlap: the lowest first chunk of all lines comes next, its run whole.
    fn merged(self, need: &PageNeed, lines: &[Line], each: &mut dyn FnMut(Row)) -> Result<()> {
        let lines = lines.iter().map(|&line| self.runs_of(line, need.after));
        let mut lines = lines.collect::<Result<Vec<_>>>()?;
        let mut heads = BinaryHeap::new();
        for (at, line) in lines.iter_mut().enumerate() {
            if let Some(span) = line.next().transpose()? {
                heads.push(Reverse((span, at)));
            }
        }
        // Neighbours of different classes are read in one walk.
        let mut spans = Vec::new();
        let mut room = need.limit;
        while room > 0
            && let Some(Reverse((span, at))) = heads.pop()
        {
            let span = span.capped(room);
            room -= usize::try_from(span.len()).unwrap_or(room);
            spans::push(&mut spans, span);
            if let Some(span) = lines[at].next().transpose()? {
                heads.push(Reverse((span, at)));
            }
        }
        spans.into_iter().try_for_each(|span| self.each_of(need.job, span, each))
    }

    /// From one row to the next, but for runs of those that nobody wants.
    fn sought(self, need: &PageNeed, first: u64, each: &mut dyn FnMut(Row)) -> Result<()> {
        let walk_from = |first| Walk::new(self, need.job, Span { first, last: u64::MAX });
        let mut walk = walk_from(first)?;
        let (mut room, mut passed_over) = (need.limit, 0);
        while room > 0
            && let Some(row) = walk.next().transpose()?
        {
            let place = machine::place(&row);
            if need.classes.contains(&place.class) {
                each(row);
                room -= 1;
                passed_over = 0;
                continue;
            }
            passed_over += 1;
            if passed_over < PASSED_OVER_MAX {
                continue;
            }
            passed_over = 0;
            let line = Line { class: place.class, job: need.job, rank: place.rank };
            let run = self.run_before(Lane::Line(line), row.key.chunk)?;
            match run.filter(|run| run.last > row.key.chunk).map(|run| run.last.checked_add(1)) {
                Some(Some(behind)) => walk = walk_from(behind)?,
                Some(None) => break,
                None => {}
            }
        }
        Ok(())
    }
}
