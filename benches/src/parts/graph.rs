//! Dependencies: what is ready, a graph of 100,000 chunks imported and drained, the order of a million.

use std::path::Path;
use std::sync::Arc;

use magnetar::graph::{Edge, Graph};
use magnetar::{JobStore, NewChunk, block_on};

use super::{Fact, Goal, number, rounds};
use crate::Fault;
use crate::clock::timed;
use crate::ours::{BATCH, Engine, MAGNETAR_JOB, chunk, drain, drain_by_one, drain_by_tasks, import};

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
    let batches = in_turns([&graph, &plain], LAYERS * WIDTH, |store| drain(&**store, 20, BATCH))?;
    if !block_on(graph.get_stats(MAGNETAR_JOB))?.is_complete() {
        return Err("the graph is drained and not complete".into());
    }
    block_on(graph.close())?;
    block_on(plain.close())?;
    let name = engine.name();
    let drained = |how: &str, [rate, beside]: [f64; 2]| {
        Fact::new(
            format!("{name}: drained in dependency order, {how}; beside: without dependencies"),
            rate,
            "cycles/s",
        )
        .beside(beside)
        .goal(Goal::RatioAtLeast(0.7))
    };
    let [one, many] = by_callers(engine, folder)?;
    Ok(vec![
        Fact::new(format!("{name}: import of 100,000 chunks in layers, 2 dependencies each; beside: without dependencies"), imported, "s")
            .beside(imported_plain)
            .goal(Goal::AtMost(1.0)),
        drained("one caller in block_on", one),
        drained("64 tokio tasks", many),
        drained("batches of 256", batches),
    ])
}

/// The same by one caller and by 64.
fn by_callers(engine: Engine, folder: &Path) -> Result<[[f64; 2]; 2], Fault> {
    const LAYERS: u64 = 60;
    const WIDTH: u64 = 1_000;
    /// Cycles by one caller in all, and in one turn.
    const ONE: [u64; 2] = [4_000, 500];
    /// Cycles of each task in one turn, and in all by all of them.
    const EACH: u64 = 40;
    const TASKS: usize = 64;
    const MANY: u64 = 20 * EACH * TASKS as u64;
    let graph = engine.open(folder, "callers-layers")?;
    import(&*graph, layered(LAYERS, WIDTH))?;
    let plain = engine.filled(folder, "callers-plain", LAYERS * WIDTH)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    let one = in_turns([&graph, &plain], ONE[0], |store| Ok((ONE[1], drain_by_one(&**store, ONE[1])?)))?;
    let many = in_turns([&graph, &plain], MANY, |store| {
        Ok((EACH * TASKS as u64, drain_by_tasks(&runtime, store, TASKS, EACH)?))
    })?;
    block_on(graph.close())?;
    block_on(plain.close())?;
    Ok([one, many])
}

/// The rates at which two stores do so many cycles, a piece of each in turns: a piece says how many, and the seconds.
fn in_turns(
    stores: [&Arc<dyn JobStore>; 2],
    cycles: u64,
    piece: impl Fn(&Arc<dyn JobStore>) -> Result<(u64, f64), Fault>,
) -> Result<[f64; 2], Fault> {
    let mut spent = [0.0, 0.0];
    let mut done = [0, 0];
    while done != [cycles; 2] {
        for (at, store) in stores.into_iter().enumerate() {
            let (more, seconds) = piece(store)?;
            done[at] += more;
            spent[at] += seconds;
        }
    }
    Ok(spent.map(|seconds| number(cycles) / seconds))
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
