//! The dependencies that a group changed, found by who has them and by what they are on.

use std::collections::{BTreeMap, BTreeSet};

use crate::backends::contract::{Edge, EdgeChange, Key};

/// Each with whether it counts as met; `None` where it is removed.
#[derive(Default)]
pub(super) struct ChangedEdges {
    states: BTreeMap<Edge, Option<bool>>,
    /// (job, on, chunk)
    by_on: BTreeSet<(i64, u64, u64)>,
}

impl ChangedEdges {
    pub(super) fn set(&mut self, edge: Edge, state: Option<bool>) {
        if self.states.insert(edge, state).is_none() {
            self.by_on.insert((edge.job, edge.on, edge.chunk));
        }
    }

    /// What was set, if anything was.
    pub(super) fn get(&self, edge: &Edge) -> Option<&Option<bool>> {
        self.states.get(edge)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.states.is_empty()
    }

    /// What was set of the dependencies of one chunk, in the order of what they are on.
    pub(super) fn of(&self, key: Key) -> impl Iterator<Item = (u64, Option<bool>)> {
        let edge = |on| Edge { job: key.job, chunk: key.chunk, on };
        self.states.range(edge(0)..=edge(u64::MAX)).map(|(edge, state)| (edge.on, *state))
    }

    /// What was set of the dependencies on one chunk, in the order of who has them.
    pub(super) fn on(&self, on: Key) -> impl Iterator<Item = (u64, Option<bool>)> {
        let range = (on.job, on.chunk, 0)..=(on.job, on.chunk, u64::MAX);
        self.by_on.range(range).map(move |&(job, on, chunk)| {
            let state = self.states.get(&Edge { job, chunk, on });
            (chunk, state.copied().flatten())
        })
    }

    /// What was set of a job's dependencies from a (chunk, on) upwards.
    pub(super) fn from(
        &self,
        job: i64,
        (chunk, on): (u64, u64),
    ) -> impl Iterator<Item = (Edge, Option<bool>)> {
        let range = Edge { job, chunk, on }..=Edge { job, chunk: u64::MAX, on: u64::MAX };
        self.states.range(range).map(|(edge, state)| (*edge, *state))
    }

    /// All of it, for storage.
    pub(super) fn into_changes(self) -> Vec<EdgeChange> {
        let change = |(edge, state)| match state {
            Some(met) => EdgeChange::Put { edge, met },
            None => EdgeChange::Delete { edge },
        };
        self.states.into_iter().map(change).collect()
    }
}
