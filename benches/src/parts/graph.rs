//! Dependencies: what is ready, a graph of 100,000 chunks imported and drained, the order of a million.

use std::path::Path;

use magnetar::graph::{Edge, Graph};
use magnetar::{NewChunk, block_on};

use super::{Fact, Goal, number, rounds};
use crate::Fault;
use crate::clock::timed;
use crate::ours::{BATCH, Engine, MAGNETAR_JOB, chunk, drain, import};

/// Chunks in layers: each depends on two of the layer above.
pub(crate) fn layered(layers: u64, width: u64) -> impl Iterator<Item = NewChunk> + Send {
    (0..layers * width).map(move |id| {
        let (layer, at) = (id / width, id % width);
        let above = |at: u64| (layer - 1) * width + at % width;
        if layer == 0 { chunk(id) } else { chunk(id).depends_on([above(at), above(at + 1)]) }
    })
}

pub(super) fn ready(engine: Engine, folder: &Path) -> Result<Vec<Fact>, Fault> {
    let store = engine.open(folder, "ready")?;
    import(&*store, layered(5, 20))?;
    let ms = rounds(31, |_| {
        let (ready, seconds) = timed(|| block_on(store.topo_sort_ready(MAGNETAR_JOB)))?;
        if ready.len() != 20 {
            return Err(format!("{} of 20 are ready", ready.len()).into());
        }
        Ok(seconds * 1e3)
    })?;
    block_on(store.close())?;
    let fact = Fact::new(format!("{}: ready set of a graph of 100 chunks", engine.name()), ms, "ms");
    Ok(vec![if engine == Engine::Redb { fact.goal(Goal::AtMost(0.1)) } else { fact }])
}

/// Imported, and drained in batches in turns with as many chunks that depend on nothing.
pub(super) fn layers(engine: Engine, folder: &Path) -> Result<Vec<Fact>, Fault> {
    const LAYERS: u64 = 100;
    const WIDTH: u64 = 1_000;
    let graph = engine.open(folder, "layers")?;
    let (_, imported) = timed(|| import(&*graph, layered(LAYERS, WIDTH)))?;
    let plain = engine.open(folder, "plain")?;
    let (_, imported_plain) = timed(|| import(&*plain, (0..LAYERS * WIDTH).map(chunk)))?;
    let mut spent = [0.0, 0.0];
    let mut drained = [0, 0];
    while drained != [LAYERS * WIDTH; 2] {
        for (at, store) in [&graph, &plain].into_iter().enumerate() {
            let (cycles, seconds) = drain(&**store, 20, BATCH)?;
            drained[at] += cycles;
            spent[at] += seconds;
        }
    }
    if !block_on(graph.get_stats(MAGNETAR_JOB))?.is_complete() {
        return Err("the graph is drained and not complete".into());
    }
    block_on(graph.close())?;
    block_on(plain.close())?;
    let name = engine.name();
    let rate = |at: usize| number(LAYERS * WIDTH) / spent[at];
    Ok(vec![
        Fact::new(format!("{name}: import of 100,000 chunks in layers, 2 dependencies each; beside: without dependencies"), imported, "s")
            .beside(imported_plain)
            .goal(Goal::AtMost(1.0)),
        Fact::new(format!("{name}: drained in dependency order, batches of 256; beside: without dependencies"), rate(0), "cycles/s")
            .beside(rate(1))
            .goal(Goal::RatioAtLeast(0.7)),
    ])
}

/// No store: the pure part, on ids that do not give the order away.
pub(super) fn order() -> Result<Vec<Fact>, Fault> {
    const NODES: u64 = 1_000_000;
    const EDGES_EACH: u64 = 5;
    // Every edge leads from a later place to an earlier one, so there is no circle; odd, so it permutes the ids.
    let id = |place: u64| place.wrapping_mul(0x9E37_79B1) % (1 << 20);
    let places: Vec<u64> = (0..1 << 20).filter(|place| id(*place) < NODES).collect();
    let mut random = 7_u64;
    let mut edges = Vec::new();
    for (at, place) in places.iter().enumerate().skip(1) {
        for _ in 0..EDGES_EACH {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let on = usize::try_from((random >> 33) % at as u64)?;
            edges.push(Edge { chunk: id(*place), depends_on: id(places[on]) });
        }
    }
    let (order, seconds) = timed(|| {
        let graph = Graph::from_edges((0..NODES).collect::<Vec<_>>(), edges.iter().copied())?;
        Ok::<_, Fault>(graph.topo_order()?)
    })?;
    if order.len() as u64 != NODES {
        return Err(format!("{} of {NODES} are in the order", order.len()).into());
    }
    Ok(vec![
        Fact::new(
            "topo_order of 1,000,000 chunks and 5,000,000 dependencies, built and ordered, without a store",
            seconds,
            "s",
        )
        .goal(Goal::AtMost(1.5)),
    ])
}
