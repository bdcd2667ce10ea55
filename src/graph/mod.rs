//! Dependency graphs over chunk ids: order, cycles, drawings. Pure: no store, no clock.
//!
//! ```
//! use magnetar::graph::{Edge, Graph};
//!
//! let graph = Graph::from_edges([1, 2, 3], [Edge { chunk: 1, depends_on: 3 }])?;
//! assert_eq!(graph.topo_order()?, [2, 3, 1]);
//!
//! let circle = [Edge { chunk: 1, depends_on: 2 }, Edge { chunk: 2, depends_on: 1 }];
//! let cycle = Graph::from_edges([1, 2], circle)?.topo_order().unwrap_err();
//! assert_eq!(cycle.to_string(), "1 -> 2 -> 1");
//! # Ok::<(), magnetar::Error>(())
//! ```

mod draw;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;

use crate::error::{Error, ErrorKind, Result};

pub use draw::{Node, write_dot, write_mermaid};

/// One dependency: `chunk` cannot start before `depends_on` is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Edge {
    /// The chunk that waits.
    pub chunk: u64,
    /// The chunk that it waits for.
    pub depends_on: u64,
}

impl Edge {
    /// Whether the edge points from a higher id to a lower one.
    ///
    /// Where every edge of a graph does, there is no cycle, and the ids in ascending order are the topological
    /// order: a stream of edges can be checked so without being kept.
    ///
    /// ```
    /// use magnetar::graph::Edge;
    ///
    /// let edges = [Edge { chunk: 2, depends_on: 1 }, Edge { chunk: 9, depends_on: 2 }];
    /// assert!(edges.iter().all(Edge::descends));
    /// ```
    pub const fn descends(&self) -> bool {
        self.depends_on < self.chunk
    }
}

/// Chunks that wait for each other in a circle, in the order "depends on", from the lowest id.
///
/// Its text is "3 -> 7 -> 9 -> 3", shortened in the middle where there are more than
/// [`Cycle::SHOWN_MAX`] chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle(Vec<u64>);

impl Cycle {
    /// As many chunks stand in the text at most.
    pub const SHOWN_MAX: usize = 20;

    /// The chunks: each depends on the next, and the last on the first.
    pub fn chunks(&self) -> &[u64] {
        &self.0
    }

    pub(crate) fn of_one(chunk: u64) -> Self {
        Cycle(vec![chunk])
    }

    /// A cycle from chunks of which each depends on the next; it is turned so that the lowest comes first.
    pub(crate) fn new(mut chunks: Vec<u64>) -> Self {
        let lowest = chunks.iter().enumerate().min_by_key(|(_, id)| **id).map_or(0, |(at, _)| at);
        chunks.rotate_left(lowest);
        Cycle(chunks)
    }
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (head, tail) = if self.0.len() > Cycle::SHOWN_MAX {
            let half = Cycle::SHOWN_MAX / 2;
            (&self.0[..half], &self.0[self.0.len() - half..])
        } else {
            (&self.0[..], &[][..])
        };
        head.iter().try_for_each(|id| write!(f, "{id} -> "))?;
        if !tail.is_empty() {
            write!(f, "({} more) -> ", self.0.len() - head.len() - tail.len())?;
        }
        tail.iter().try_for_each(|id| write!(f, "{id} -> "))?;
        self.0.first().map_or(Ok(()), |id| write!(f, "{id}"))
    }
}

impl std::error::Error for Cycle {}

impl From<Cycle> for Error {
    fn from(cycle: Cycle) -> Self {
        Error::new(
            ErrorKind::DependencyCycle,
            format!("the dependencies go round in a circle: {cycle}; remove one of them"),
        )
        .caused_by(cycle)
    }
}

/// A dependency graph over chunk ids.
///
/// Compact: 12 bytes per chunk, up to 20 where ids have gaps, and 4 bytes per edge, 12 while it is built.
#[derive(Debug, Clone)]
pub struct Graph {
    ids: Ids,
    /// The dependents of node `i` are `dependents[starts[i]..starts[i + 1]]`.
    starts: Vec<u32>,
    dependents: Vec<u32>,
    /// Every edge goes from a higher id to a lower one.
    is_descending: bool,
}

impl Graph {
    /// A graph from its chunks and its edges, both in any order; what stands twice counts once.
    ///
    /// An edge to or from a chunk that is not among `chunks` is an error
    /// ([`ErrorKind::UnknownDependency`]); so are more than 2^32 - 2 chunks or edges ([`ErrorKind::TooLarge`]).
    pub fn from_edges(
        chunks: impl IntoIterator<Item = u64>,
        edges: impl IntoIterator<Item = Edge>,
    ) -> Result<Self> {
        Graph::build(chunks, edges, |edge| {
            Err(Error::new(
                ErrorKind::UnknownDependency,
                format!(
                    "the dependency {} -> {} names a chunk that does not exist; add the chunk or remove the dependency",
                    edge.chunk, edge.depends_on
                ),
            )
            .in_chunk(edge.chunk))
        })
    }

    /// The same, leaving out the edges that lead outside: they cannot be part of a cycle.
    pub(crate) fn from_edges_within(
        chunks: impl IntoIterator<Item = u64>,
        edges: impl IntoIterator<Item = Edge>,
    ) -> Result<Self> {
        Graph::build(chunks, edges, |_| Ok(()))
    }

    fn build(
        chunks: impl IntoIterator<Item = u64>,
        edges: impl IntoIterator<Item = Edge>,
        mut outside: impl FnMut(Edge) -> Result<()>,
    ) -> Result<Self> {
        let ids = Ids::new(chunks.into_iter().collect())?;
        let mut starts = vec![0u32; ids.len() + 1];
        let edges = edges.into_iter();
        let mut pairs: Vec<(u32, u32)> = Vec::with_capacity(edges.size_hint().0.min(1 << 24));
        let mut is_descending = true;
        for edge in edges {
            let (Some(chunk), Some(on)) = (ids.index(edge.chunk), ids.index(edge.depends_on)) else {
                outside(edge)?;
                continue;
            };
            is_descending &= edge.descends();
            pairs.push((on, chunk));
            starts[on as usize] += 1;
        }
        check_count("dependencies", pairs.len())?;
        // Turned into the end of each node's range; filling from behind then leaves its start.
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut dependents = vec![0; pairs.len()];
        for &(on, chunk) in &pairs {
            let end = &mut starts[on as usize];
            *end -= 1;
            dependents[*end as usize] = chunk;
        }
        Ok(Graph { ids, starts, dependents, is_descending })
    }

    /// How many chunks there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no chunk.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many edges there are, repeated ones included.
    pub fn edge_count(&self) -> usize {
        self.dependents.len()
    }

    /// An order in which every chunk stands after all it depends on: of the chunks that could come next, always
    /// the lowest id.
    ///
    /// Where there is a cycle, one short cycle is named instead.
    pub fn topo_order(&self) -> Result<Vec<u64>, Cycle> {
        if self.is_descending {
            return Ok(self.ids.sorted.clone());
        }
        let mut unmet = self.unmet_counts();
        let mut ready = LowestFirst::new(self.len());
        nodes_where(&unmet, |unmet| unmet == 0).for_each(|node| ready.insert(node));
        let mut order = Vec::with_capacity(self.len());
        while let Some(node) = ready.pop() {
            order.push(self.ids.sorted[node as usize]);
            for &dependent in self.dependents_of(node) {
                let unmet = &mut unmet[dependent as usize];
                *unmet -= 1;
                if *unmet == 0 {
                    ready.insert(dependent);
                }
            }
        }
        if order.len() == self.len() { Ok(order) } else { Err(self.cycle_among(&unmet)) }
    }

    /// That there is no cycle; where there is one, one short cycle is named.
    ///
    /// Cheaper than [`Graph::topo_order`]: the order is not made.
    pub fn check_acyclic(&self) -> Result<(), Cycle> {
        if self.is_descending {
            return Ok(());
        }
        let mut unmet = self.unmet_counts();
        let mut ready: Vec<u32> = nodes_where(&unmet, |unmet| unmet == 0).collect();
        let mut seen = 0;
        while let Some(node) = ready.pop() {
            seen += 1;
            for &dependent in self.dependents_of(node) {
                let unmet = &mut unmet[dependent as usize];
                *unmet -= 1;
                if *unmet == 0 {
                    ready.push(dependent);
                }
            }
        }
        if seen == self.len() { Ok(()) } else { Err(self.cycle_among(&unmet)) }
    }

    fn dependents_of(&self, node: u32) -> &[u32] {
        let node = node as usize;
        &self.dependents[self.starts[node] as usize..self.starts[node + 1] as usize]
    }

    fn unmet_counts(&self) -> Vec<u32> {
        let mut unmet = vec![0; self.len()];
        for &dependent in &self.dependents {
            unmet[dependent as usize] += 1;
        }
        unmet
    }

    /// A short cycle among the nodes whose count never came to 0: each of them depends on another of them.
    fn cycle_among(&self, unmet: &[u32]) -> Cycle {
        // The dependencies of the nodes that are left, lowest id first.
        let mut dependencies: Vec<Vec<u32>> = vec![Vec::new(); self.len()];
        for node in nodes_where(unmet, |unmet| unmet > 0) {
            for &dependent in self.dependents_of(node) {
                dependencies[dependent as usize].push(node);
            }
        }
        // Going from dependency to dependency must come back to where it was; that node is on a cycle.
        let mut visited = vec![false; self.len()];
        let mut node = nodes_where(unmet, |unmet| unmet > 0).next().unwrap_or(0);
        while !std::mem::replace(&mut visited[node as usize], true) {
            node = dependencies[node as usize].first().copied().unwrap_or(node);
        }
        // The shortest way from it back to it.
        let start = node;
        let mut came_from = vec![u32::MAX; self.len()];
        let mut queue = VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            for &next in &dependencies[node as usize] {
                if next == start {
                    let mut chunks = vec![self.ids.sorted[node as usize]];
                    let mut node = node;
                    while node != start {
                        node = came_from[node as usize];
                        chunks.push(self.ids.sorted[node as usize]);
                    }
                    chunks.reverse();
                    return Cycle::new(chunks);
                }
                if came_from[next as usize] == u32::MAX {
                    came_from[next as usize] = node;
                    queue.push_back(next);
                }
            }
        }
        Cycle::new(vec![self.ids.sorted[start as usize]])
    }
}

fn nodes_where(unmet: &[u32], wanted: impl Fn(u32) -> bool) -> impl Iterator<Item = u32> {
    (0u32..).zip(unmet).filter(move |(_, unmet)| wanted(**unmet)).map(|(node, _)| node)
}

fn check_count(what: &str, count: usize) -> Result<()> {
    if count < u32::MAX as usize {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::TooLarge,
        format!("{count} {what} are too many for one graph, the limit is {}; split the job", u32::MAX - 1),
    ))
}

/// Chunk ids in ascending order, and where to look for one: none is needed for ids without gaps, about one for ids
/// that are spread evenly, a binary search at worst.
#[derive(Debug, Clone)]
struct Ids {
    sorted: Vec<u64>,
    /// Ids whose distance from the lowest, shifted, is `b` are `sorted[buckets[b]..buckets[b + 1]]`. Empty where the
    /// ids have no gaps.
    buckets: Vec<u32>,
    shift: u32,
}

impl Ids {
    fn new(mut sorted: Vec<u64>) -> Result<Self> {
        if !sorted.is_sorted_by(|a, b| a < b) {
            sorted.sort_unstable();
            sorted.dedup();
        }
        check_count("chunks", sorted.len())?;
        let (Some(&lowest), Some(&highest)) = (sorted.first(), sorted.last()) else {
            return Ok(Ids { sorted, buckets: Vec::new(), shift: 0 });
        };
        if highest - lowest == sorted.len() as u64 - 1 {
            return Ok(Ids { sorted, buckets: Vec::new(), shift: 0 });
        }
        // As few bits are dropped as leave no more buckets than twice the ids.
        let span = highest - lowest;
        let mut shift = 0;
        while span >> shift >= 2 * sorted.len() as u64 {
            shift += 1;
        }
        let mut buckets = Vec::new();
        let mut at = 0u32;
        for &id in &sorted {
            while (buckets.len() as u64) <= (id - lowest) >> shift {
                buckets.push(at);
            }
            at += 1;
        }
        buckets.push(at);
        Ok(Ids { sorted, buckets, shift })
    }

    fn len(&self) -> usize {
        self.sorted.len()
    }

    fn index(&self, id: u64) -> Option<u32> {
        let bucket = usize::try_from(id.checked_sub(*self.sorted.first()?)? >> self.shift).ok()?;
        if self.buckets.is_empty() {
            return if bucket < self.sorted.len() { u32::try_from(bucket).ok() } else { None };
        }
        let (from, to) = (*self.buckets.get(bucket)?, *self.buckets.get(bucket + 1)?);
        let within = self.sorted[from as usize..to as usize].binary_search(&id).ok()?;
        Some(from + u32::try_from(within).ok()?)
    }
}

/// A set of nodes that gives its lowest first: a tree of bits, 64 to a word.
struct LowestFirst {
    /// A bit of a level says that a word of the level before has a bit. The last level is one word.
    levels: Vec<Vec<u64>>,
}

impl LowestFirst {
    fn new(len: usize) -> Self {
        let mut levels = vec![vec![0; len.div_ceil(64).max(1)]];
        while let Some(level) = levels.last()
            && level.len() > 1
        {
            levels.push(vec![0; level.len().div_ceil(64)]);
        }
        LowestFirst { levels }
    }

    fn insert(&mut self, node: u32) {
        let mut at = node as usize;
        for level in &mut self.levels {
            level[at / 64] |= 1 << (at % 64);
            at /= 64;
        }
    }

    fn pop(&mut self) -> Option<u32> {
        let mut at = 0;
        for level in self.levels.iter().rev() {
            if level[at] == 0 {
                return None;
            }
            at = at * 64 + level[at].trailing_zeros() as usize;
        }
        let node = u32::try_from(at).ok();
        for level in &mut self.levels {
            let word = &mut level[at / 64];
            *word &= !(1 << (at % 64));
            if *word != 0 {
                break;
            }
            at /= 64;
        }
        node
    }
}
