//! The dependencies that a group changed.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;

use foldhash::{HashMap, HashMapExt};

use crate::backends::contract::{Edge, EdgeChange, Key};

/// Those that were added or removed, found by who has them and by what they are on; of the others, which most groups
/// change and nobody lists, whether they count as met.
pub(super) struct ChangedEdges {
    /// Whether one that was added counts as met; `None` where it was removed.
    listed: BTreeMap<Edge, Option<bool>>,
    /// Of what those are on, the chunks that have them.
    by_on: HashMap<Key, Vec<u64>>,
    /// Of those that storage has and keeps, as they were told.
    met: Vec<(Edge, bool)>,
    /// Where each stands there.
    met_at: HashMap<Edge, usize>,
}

impl ChangedEdges {
    pub(super) fn new() -> Self {
        ChangedEdges {
            listed: BTreeMap::new(),
            by_on: HashMap::new(),
            met: Vec::new(),
            met_at: HashMap::new(),
        }
    }

    /// Adds it, met or not, or removes it.
    pub(super) fn set(&mut self, edge: Edge, state: Option<bool>) {
        self.met_at.remove(&edge);
        if self.listed.insert(edge, state).is_none() {
            self.by_on.entry(Key { job: edge.job, chunk: edge.on }).or_default().push(edge.chunk);
        }
    }

    /// Says of one that there is whether it counts as met.
    pub(super) fn set_met(&mut self, edge: Edge, met: bool) {
        if let Some(state) = self.listed.get_mut(&edge) {
            *state = Some(met);
            return;
        }
        match self.met_at.entry(edge) {
            Entry::Occupied(at) => self.met[*at.get()].1 = met,
            Entry::Vacant(at) => {
                at.insert(self.met.len());
                self.met.push((edge, met));
            }
        }
    }

    /// Whether it was removed.
    pub(super) fn is_removed(&self, edge: &Edge) -> bool {
        self.listed.get(edge) == Some(&None)
    }

    /// Whether it was added or removed.
    pub(super) fn is_listed(&self, edge: &Edge) -> bool {
        self.listed.contains_key(edge)
    }

    /// Whether it counts as met from now on, where that was said.
    pub(super) fn met(&self, edge: &Edge) -> Option<bool> {
        self.met_at.get(edge).map(|&at| self.met[at].1).or_else(|| self.listed.get(edge).copied().flatten())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.listed.is_empty() && self.met_at.is_empty()
    }

    /// What was added to the dependencies of one chunk, or removed, in the order of what they are on.
    pub(super) fn of(&self, key: Key) -> impl Iterator<Item = (u64, Option<bool>)> {
        let edge = |on| Edge { job: key.job, chunk: key.chunk, on };
        self.listed.range(edge(0)..=edge(u64::MAX)).map(|(edge, state)| (edge.on, *state))
    }

    /// What was added to the dependencies on one chunk, in any order.
    pub(super) fn on(&self, on: Key) -> impl Iterator<Item = (u64, bool)> {
        let chunks = self.by_on.get(&on).map_or(&[][..], Vec::as_slice);
        let state =
            move |chunk| self.listed.get(&Edge { job: on.job, chunk, on: on.chunk }).copied().flatten();
        chunks.iter().filter_map(move |&chunk| Some((chunk, state(chunk)?)))
    }

    /// What was added to a job's dependencies, or removed, from a (chunk, on) upwards.
    pub(super) fn from(
        &self,
        job: i64,
        (chunk, on): (u64, u64),
    ) -> impl Iterator<Item = (Edge, Option<bool>)> {
        let range = Edge { job, chunk, on }..=Edge { job, chunk: u64::MAX, on: u64::MAX };
        self.listed.range(range).map(|(edge, state)| (*edge, *state))
    }

    /// All of it, for storage: what comes and goes, and of what stays whether it is met.
    pub(super) fn into_changes(self) -> (Vec<EdgeChange>, Vec<(Edge, bool)>) {
        let listed = self.listed.into_iter().map(|(edge, state)| match state {
            Some(met) => EdgeChange::Put { edge, met },
            None => EdgeChange::Delete { edge },
        });
        let (mut met, met_at) = (self.met, self.met_at);
        if met.len() > met_at.len() {
            // Some of them came or went afterwards.
            met.retain(|(edge, _)| met_at.contains_key(edge));
        }
        // Chunks that end in order tell who waits for them in order.
        if !met.is_sorted_by_key(|(edge, _)| by_on(edge)) {
            met.sort_unstable_by_key(|(edge, _)| by_on(edge));
        }
        (listed.collect(), met)
    }
}

fn by_on(edge: &Edge) -> (i64, u64, u64) {
    (edge.job, edge.on, edge.chunk)
}
