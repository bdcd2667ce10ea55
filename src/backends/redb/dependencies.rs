//! Answers questions about who waits for whom.

use super::read::{chunk_at, pair_at};
use super::tables::{self as t, edge_tag};
use super::view::View;
use crate::backends::contract::{DependentsNeed, Edge, Key};
use crate::codec;
use crate::error::Result;

/// Dependencies that room is made for before a page of them is read.
const EDGES_EXPECTED: usize = 4_096;

impl View<'_> {
    /// Who waits for each of these; one walk for neighbours.
    pub(super) fn dependents(self, needs: &[DependentsNeed]) -> Result<Vec<Vec<(u64, bool)>>> {
        let mut lists = vec![Vec::new(); needs.len()];
        let edges = self.edges();
        if edges.is_empty() {
            return Ok(lists);
        }
        let mut done = 0;
        for run in needs.chunk_by(|a, b| {
            b.after.is_none() && a.on.job == b.on.job && a.on.chunk.checked_add(1) == Some(b.on.chunk)
        }) {
            let lists = &mut lists[done..done + run.len()];
            done += run.len();
            let mut at = 0;
            // Behind a list that is longer than wanted it begins anew.
            'walk: while let Some(first) = run.get(at) {
                let Some(from) = first.after.map_or(Some(0), |after| after.checked_add(1)) else {
                    at += 1;
                    continue;
                };
                let first = t::of_pair(edge_tag::DEPENDENT, first.on, from);
                let last = t::of_pair(edge_tag::DEPENDENT, run[run.len() - 1].on, u64::MAX);
                for found in edges.through(&first, &last)? {
                    let found = found?;
                    let (on, chunk) = pair_at(found.key())?;
                    while run[at].on != on {
                        at += 1;
                    }
                    if lists[at].len() == run[at].limit {
                        at += 1;
                        continue 'walk;
                    }
                    let seat = t::dependent_seat(Key { chunk, ..on }, on.chunk);
                    lists[at].push((chunk, codec::read_number(seat, found.value())? != 0));
                }
                break;
            }
        }
        Ok(lists)
    }

    pub(super) fn dependencies(self, key: Key) -> Result<Vec<u64>> {
        match self.edges().get(&t::of_chunk(edge_tag::DEPENDENCIES, key))? {
            Some(list) => codec::dependencies(key, &list),
            None => Ok(Vec::new()),
        }
    }

    /// The same, and whether each counts as met.
    pub(super) fn edges_of(self, key: Key) -> Result<Vec<(u64, bool)>> {
        let with_state = |on: u64| {
            let seat = t::dependent_seat(key, on);
            let dependent = t::of_pair(edge_tag::DEPENDENT, Key { chunk: on, ..key }, key.chunk);
            let number = self.edges().get(&dependent)?;
            let number =
                number.ok_or_else(|| seat.corrupt(format_args!("that on chunk {on} is half there")))?;
            Ok((on, codec::read_number(seat, &number)? != 0))
        };
        self.dependencies(key)?.into_iter().map(with_state).collect()
    }

    pub(super) fn edges_page(self, job: i64, after: Option<(u64, u64)>, limit: usize) -> Result<Vec<Edge>> {
        let list_of = |chunk| t::of_chunk(edge_tag::DEPENDENCIES, Key { job, chunk });
        let (from, to) = (list_of(after.map_or(0, |(chunk, _)| chunk)), list_of(u64::MAX));
        let tree = self.edges();
        if tree.is_empty() {
            return Ok(Vec::new());
        }
        let mut edges = Vec::with_capacity(limit.min(EDGES_EXPECTED));
        for found in tree.through(&from, &to)? {
            let found = found?;
            let key = chunk_at(found.key())?;
            let list = codec::dependencies(key, found.value())?;
            let ahead = list.into_iter().filter(|&on| after.is_none_or(|after| (key.chunk, on) > after));
            edges.extend(ahead.take(limit - edges.len()).map(|on| Edge { job, chunk: key.chunk, on }));
            if edges.len() == limit {
                break;
            }
        }
        Ok(edges)
    }
}
