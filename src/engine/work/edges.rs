//! The dependencies that a group changed, found by who has them and by what they are on.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use foldhash::{HashMap, HashMapExt};

use crate::backends::contract::{Edge, EdgeChange, Key};

/// What became of one.
#[derive(Clone, Copy)]
struct Changed {
    /// Whether it counts as met; `None` where it is removed.
    state: Option<bool>,
    /// Whether it was added or removed, and not only met.
    is_listed: bool,
}

pub(super) struct ChangedEdges {
    changed: BTreeMap<Edge, Changed>,
    /// Of what they are on, the chunks that have them.
    by_on: HashMap<Key, Vec<u64>>,
}

impl ChangedEdges {
    pub(super) fn new() -> Self {
        ChangedEdges { changed: BTreeMap::new(), by_on: HashMap::new() }
    }

    fn list(&mut self, edge: Edge) {
        self.by_on.entry(Key { job: edge.job, chunk: edge.on }).or_default().push(edge.chunk);
    }

    /// Adds it, met or not, or removes it.
    pub(super) fn set(&mut self, edge: Edge, state: Option<bool>) {
        if self.changed.insert(edge, Changed { state, is_listed: true }).is_none() {
            self.list(edge);
        }
    }

    /// Says of one that there is whether it counts as met.
    pub(super) fn set_met(&mut self, edge: Edge, met: bool) {
        match self.changed.entry(edge) {
            Entry::Occupied(mut known) => known.get_mut().state = Some(met),
            Entry::Vacant(new) => {
                new.insert(Changed { state: Some(met), is_listed: false });
                self.list(edge);
            }
        }
    }

    /// What was set, if anything was.
    pub(super) fn get(&self, edge: &Edge) -> Option<&Option<bool>> {
        self.changed.get(edge).map(|changed| &changed.state)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    /// What was set of the dependencies of one chunk, in the order of what they are on.
    pub(super) fn of(&self, key: Key) -> impl Iterator<Item = (u64, Option<bool>)> {
        let edge = |on| Edge { job: key.job, chunk: key.chunk, on };
        self.changed.range(edge(0)..=edge(u64::MAX)).map(|(edge, changed)| (edge.on, changed.state))
    }

    /// What was set of the dependencies on one chunk, in any order.
    pub(super) fn on(&self, on: Key) -> impl Iterator<Item = (u64, Option<bool>)> {
        let chunks = self.by_on.get(&on).map_or(&[][..], Vec::as_slice);
        let edge = move |chunk| Edge { job: on.job, chunk, on: on.chunk };
        chunks.iter().map(move |&chunk| (chunk, self.get(&edge(chunk)).copied().flatten()))
    }

    /// What was set of a job's dependencies from a (chunk, on) upwards.
    pub(super) fn from(
        &self,
        job: i64,
        (chunk, on): (u64, u64),
    ) -> impl Iterator<Item = (Edge, Option<bool>)> {
        let range = Edge { job, chunk, on }..=Edge { job, chunk: u64::MAX, on: u64::MAX };
        self.changed.range(range).map(|(edge, changed)| (*edge, changed.state))
    }

    /// All of it, for storage.
    pub(super) fn into_changes(self) -> Vec<EdgeChange> {
        let change = |(edge, changed)| match changed {
            Changed { state: Some(met), is_listed: true } => EdgeChange::Put { edge, met },
            Changed { state: Some(met), is_listed: false } => EdgeChange::Met { edge, met },
            Changed { state: None, .. } => EdgeChange::Delete { edge },
        };
        self.changed.into_iter().map(change).collect()
    }
}
