//! Writes what changes of dependencies: how many of a chunk's are not met, who waits for whom, and what a chunk
//! depends on.

use std::collections::BTreeSet;

use redb::{ReadableTable as _, WriteTransaction};

use super::errors;
use super::journal::Frame;
use super::noted::Noted;
use super::ordered::{self, Entry, Gap};
use super::tables::{self as t, edge_tag, tree_number};
use crate::backends::contract::{Delta, Edge, EdgeChange, Key, RowChange};
use crate::codec::{self, Encoder};
use crate::error::Result;

type Edges<'t> = Noted<'t, t::Tag>;

/// Writes them, if there are any.
pub(super) fn write(
    transaction: &WriteTransaction,
    frame: &Frame,
    delta: &Delta,
    encoder: &mut Encoder,
) -> Result<()> {
    let unmet: Vec<Unmet> = delta.rows.iter().filter_map(unmet_of).collect();
    if unmet.is_empty() && delta.edges.is_empty() {
        return Ok(());
    }
    let tree = &mut Noted::open(transaction, t::EDGES, tree_number::EDGES, frame)?;
    ordered::write(tree, &unmet, encoder)?;
    let mut dependents: Vec<Dependent> = delta.edges.iter().map(dependent_of).collect();
    dependents
        .sort_unstable_by_key(|dependent| (dependent.edge.job, dependent.edge.on, dependent.edge.chunk));
    ordered::write(tree, &dependents, encoder)?;
    let mut lists = Vec::new();
    for changes in delta.edges.chunk_by(|a, b| owner(a) == owner(b)) {
        lists.extend(list_of(tree, delta, changes)?);
    }
    ordered::write(tree, &lists, encoder)
}

fn edge_of(change: &EdgeChange) -> Edge {
    match *change {
        EdgeChange::Put { edge, .. } | EdgeChange::Met { edge, .. } | EdgeChange::Delete { edge } => edge,
    }
}

fn owner(change: &EdgeChange) -> Key {
    let edge = edge_of(change);
    Key { job: edge.job, chunk: edge.chunk }
}

/// How many dependencies of a chunk are not met.
struct Unmet {
    key: Key,
    count: u32,
}

fn unmet_of(row: &RowChange) -> Option<Unmet> {
    let count = match row.after {
        Some(_) => row.unmet?,
        None => 0,
    };
    // Of a new row there is nothing to take away.
    (count > 0 || row.before.is_some()).then_some(Unmet { key: row.key, count })
}

impl Entry for Unmet {
    type Bytes = [u8; 17];

    fn key(&self) -> [u8; 17] {
        t::of_chunk(edge_tag::UNMET, self.key)
    }

    fn value<'e>(&self, encoder: &'e mut Encoder) -> Option<&'e [u8]> {
        (self.count > 0).then(|| encoder.number(t::unmet_seat(self.key), u64::from(self.count)))
    }

    fn gap(&self, next: &Self) -> Gap {
        Gap::between(self.key, next.key)
    }
}

/// That a chunk waits for another one, and whether that is met.
struct Dependent {
    edge: Edge,
    met: Option<bool>,
}

fn dependent_of(change: &EdgeChange) -> Dependent {
    match *change {
        EdgeChange::Put { edge, met } | EdgeChange::Met { edge, met } => Dependent { edge, met: Some(met) },
        EdgeChange::Delete { edge } => Dependent { edge, met: None },
    }
}

impl Entry for Dependent {
    type Bytes = [u8; 25];

    fn key(&self) -> [u8; 25] {
        let Edge { job, chunk, on } = self.edge;
        t::of_pair(edge_tag::DEPENDENT, Key { job, chunk: on }, chunk)
    }

    fn value<'e>(&self, encoder: &'e mut Encoder) -> Option<&'e [u8]> {
        let Edge { job, chunk, on } = self.edge;
        self.met.map(|met| encoder.number(t::dependent_seat(Key { job, chunk }, on), u64::from(met)))
    }

    fn gap(&self, next: &Self) -> Gap {
        let on = |edge: Edge| Key { job: edge.job, chunk: edge.on };
        match Gap::between(on(self.edge), on(next.edge)) {
            Gap::Wide => Gap::Wide,
            // There may be others that wait.
            Gap::Nothing | Gap::Narrow => Gap::Narrow,
        }
    }
}

/// What a chunk depends on.
struct List {
    key: Key,
    on: Vec<u64>,
}

/// The list of a chunk's dependencies as it is to be, where it changes; that one of them is met or not does not show
/// in it.
fn list_of(tree: &Edges<'_>, delta: &Delta, changes: &[EdgeChange]) -> Result<Option<List>> {
    let Some(first) = changes.iter().find(|change| !matches!(change, EdgeChange::Met { .. })) else {
        return Ok(None);
    };
    let key = owner(first);
    let row = delta.rows.binary_search_by_key(&key, |row| row.key).ok().map(|at| &delta.rows[at]);
    let is_new = row.is_some_and(|row| row.before.is_none());
    let bytes = t::of_chunk(edge_tag::DEPENDENCIES, key);
    let stored = if is_new { None } else { tree.tree.get(&bytes[..]).map_err(errors::reading)? };
    let old = stored.map_or(Ok(Vec::new()), |bytes| codec::dependencies(key, bytes.value()))?;
    let mut new: BTreeSet<u64> = old.iter().copied().collect();
    for change in changes {
        match change {
            EdgeChange::Put { edge, .. } => drop(new.insert(edge.on)),
            EdgeChange::Met { .. } => {}
            EdgeChange::Delete { edge } => drop(new.remove(&edge.on)),
        }
    }
    let on: Vec<u64> = new.into_iter().collect();
    Ok((on != old).then_some(List { key, on }))
}

impl Entry for List {
    type Bytes = [u8; 17];

    fn key(&self) -> [u8; 17] {
        t::of_chunk(edge_tag::DEPENDENCIES, self.key)
    }

    fn value<'e>(&self, encoder: &'e mut Encoder) -> Option<&'e [u8]> {
        (!self.on.is_empty()).then(|| encoder.dependencies(self.key, &self.on))
    }

    fn gap(&self, next: &Self) -> Gap {
        Gap::between(self.key, next.key)
    }
}
