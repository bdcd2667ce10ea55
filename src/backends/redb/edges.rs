//! What changes of dependencies: how many of a chunk's are not met, who waits for whom, and what a chunk
//! depends on.

use std::collections::BTreeSet;

use super::edits::Edits;
use super::tables::{self as t, edge_tag, tree_number};
use super::view::View;
use crate::backends::contract::{Delta, Edge, EdgeChange, Key, RowChange};
use crate::codec::Encoder;
use crate::error::Result;

/// Works them out, if there are any.
pub(super) fn changes(view: View<'_>, edits: &mut Edits, encoder: &mut Encoder, delta: &Delta) -> Result<()> {
    for row in &delta.rows {
        if let Some(count) = unmet_of(row) {
            let number = (count > 0).then(|| encoder.number(t::unmet_seat(row.key), u64::from(count)));
            edits.set(tree_number::EDGES, &t::of_chunk(edge_tag::UNMET, row.key), number);
        }
    }
    let mut dependents = Vec::with_capacity(delta.met.len() + delta.edges.len());
    dependents.extend(delta.met.iter().map(|&(edge, met)| (edge, Some(met))));
    dependents.extend(delta.edges.iter().map(dependent_of));
    if !delta.edges.is_empty() {
        dependents.sort_unstable_by_key(|(edge, _)| (edge.job, edge.on, edge.chunk));
    }
    for (Edge { job, chunk, on }, met) in dependents {
        let seat = t::dependent_seat(Key { job, chunk }, on);
        let number = met.map(|met| encoder.number(seat, u64::from(met)));
        edits.set(
            tree_number::EDGES,
            &t::of_pair(edge_tag::DEPENDENT, Key { job, chunk: on }, chunk),
            number,
        );
    }
    for changes in delta.edges.chunk_by(|a, b| owner(a) == owner(b)) {
        if let Some((key, on)) = list_of(view, delta, changes)? {
            let list = (!on.is_empty()).then(|| encoder.dependencies(key, &on));
            edits.set(tree_number::EDGES, &t::of_chunk(edge_tag::DEPENDENCIES, key), list);
        }
    }
    Ok(())
}

fn owner(change: &EdgeChange) -> Key {
    let (EdgeChange::Put { edge, .. } | EdgeChange::Delete { edge }) = *change;
    Key { job: edge.job, chunk: edge.chunk }
}

/// How many dependencies of a chunk are not met, where that changes.
fn unmet_of(row: &RowChange) -> Option<u32> {
    let count = match row.after {
        Some(_) => row.unmet?,
        None => 0,
    };
    // Of a new row there is nothing to take away.
    (count > 0 || row.before.is_some()).then_some(count)
}

/// That a chunk waits for another one, and whether that is met; `None` where it no longer waits.
fn dependent_of(change: &EdgeChange) -> (Edge, Option<bool>) {
    match *change {
        EdgeChange::Put { edge, met } => (edge, Some(met)),
        EdgeChange::Delete { edge } => (edge, None),
    }
}

/// The list of a chunk's dependencies as it is to be, where it changes.
fn list_of(view: View<'_>, delta: &Delta, changes: &[EdgeChange]) -> Result<Option<(Key, Vec<u64>)>> {
    let Some(first) = changes.first() else { return Ok(None) };
    let key = owner(first);
    let row = delta.rows.binary_search_by_key(&key, |row| row.key).ok().map(|at| &delta.rows[at]);
    let is_new = row.is_some_and(|row| row.before.is_none());
    let old = if is_new { Vec::new() } else { view.dependencies(key)? };
    let mut new: BTreeSet<u64> = old.iter().copied().collect();
    for change in changes {
        match change {
            EdgeChange::Put { edge, .. } => drop(new.insert(edge.on)),
            EdgeChange::Delete { edge } => drop(new.remove(&edge.on)),
        }
    }
    let on: Vec<u64> = new.into_iter().collect();
    Ok((on != old).then_some((key, on)))
}
