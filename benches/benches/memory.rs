//! What a store does beside its disk, part by part and with criterion's statistics: `cargo bench --package magnetar-benches`.
//!
//! Everything here is in memory; rates of stores on a disk, and peers, are `cargo xtask bench`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use magnetar::export::Export;
use magnetar::graph::{Edge, Graph};
use magnetar::{
    ChunkUpdate, Completion, JobState, JobStore, Manifest, NewChunk, RedbStore, SqliteStore, block_on,
};

const JOB: i64 = 1;
const CHUNKS: u64 = 10_000;
const BATCH: usize = 256;

fn checksum(id: u64) -> String {
    format!("{id:064x}")
}

fn manifest() -> Manifest {
    Manifest::new().chunks((0..CHUNKS).map(|id| NewChunk::new(id).checksum(checksum(id))))
}

/// A store in memory with chunks that are all ready.
fn filled(engine: &str) -> Arc<dyn JobStore> {
    let store: Arc<dyn JobStore> = match engine {
        "redb" => Arc::new(RedbStore::in_memory().expect("a store in memory")),
        _ => Arc::new(block_on(SqliteStore::in_memory()).expect("a store in memory")),
    };
    block_on(store.init_from_manifest(JOB, &manifest())).expect("an import");
    store
}

const ENGINES: [&str; 2] = ["redb", "SQLite"];

fn manifests(c: &mut Criterion) {
    let toml: String = (0..CHUNKS)
        .flat_map(|id| {
            [
                "[[chunks]]\nid = ".into(),
                id.to_string(),
                "\nchecksum = \"".into(),
                checksum(id),
                "\"\n".into(),
            ]
        })
        .collect();
    let chunks: Vec<_> =
        (0..CHUNKS).map(|id| serde_json::json!({"id": id, "checksum": checksum(id)})).collect();
    let json = serde_json::json!({"chunks": chunks}).to_string();
    let mut group = c.benchmark_group("manifest, 10,000 chunks");
    group.throughput(Throughput::Elements(CHUNKS));
    group.bench_function("TOML", |b| b.iter(|| Manifest::from_toml(black_box(&toml)).expect("a manifest")));
    group.bench_function("JSON", |b| b.iter(|| Manifest::from_json(black_box(&json)).expect("a manifest")));
    group.finish();
}

/// Each chunk depends on five before it; the ids do not give the order away.
fn graphs(c: &mut Criterion) {
    const NODES: u64 = 100_000;
    const EDGES_EACH: u64 = 5;
    let id = |place: u64| place.wrapping_mul(0x9E37_79B1) % (1 << 20);
    let edges = || {
        (1..NODES).flat_map(move |place| {
            (1..=EDGES_EACH.min(place))
                .map(move |back| Edge { chunk: id(place), depends_on: id(place - back) })
        })
    };
    let built = || Graph::from_edges((0..NODES).map(id), edges()).expect("a graph");
    let mut group = c.benchmark_group("graph, 100,000 nodes, 500,000 edges");
    group.throughput(Throughput::Elements(NODES));
    group.bench_function("built", |b| b.iter(built));
    let graph = built();
    group.bench_function("topo_order", |b| b.iter(|| graph.topo_order().expect("no cycle")));
    group.finish();
}

fn cycle(store: &dyn JobStore) {
    let held = block_on(store.claim_pending(JOB)).expect("a claim").expect("a chunk that is left");
    block_on(store.complete(&held.claim(), Completion::new())).expect("a completion");
}

/// So many times the same on one store after another, each until its chunks are few: how long, without the filling.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn on_stores(engine: &str, times: u64, chunks_each: u64, work: impl Fn(&dyn JobStore)) -> Duration {
    let mut spent = Duration::ZERO;
    let mut left = 0;
    let mut store = None;
    for _ in 0..times {
        if left < chunks_each {
            let fresh = store.insert(filled(engine));
            // The first in a store prepares statements.
            work(&**fresh);
            left = CHUNKS - chunks_each;
        }
        let store = store.as_deref().expect("it was filled");
        let begun = Instant::now();
        work(store);
        spent += begun.elapsed();
        left -= chunks_each;
    }
    spent
}

fn batch(store: &dyn JobStore) {
    let held = block_on(store.claim_pending_batch(JOB, BATCH)).expect("claims");
    assert_eq!(held.len(), BATCH, "chunks that are left");
    let done = |chunk: &JobState| ChunkUpdate::Complete(chunk.claim(), Completion::new());
    let updates = held.iter().map(done).collect();
    for outcome in block_on(store.apply_batch_updates(JOB, updates)).expect("completions") {
        outcome.expect("a completion");
    }
}

fn stores(c: &mut Criterion) {
    let mut group = c.benchmark_group("in memory");
    for engine in ENGINES {
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("claim and complete", engine), |b| {
            b.iter_custom(|times| on_stores(engine, times, 1, cycle));
        });
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function(BenchmarkId::new("claim and complete 256", engine), |b| {
            b.iter_custom(|times| on_stores(engine, times, BATCH as u64, batch));
        });
        let store = filled(engine);
        group.throughput(Throughput::Elements(CHUNKS));
        group.bench_function(BenchmarkId::new("list 10,000 pending", engine), |b| {
            b.iter(|| block_on(store.resume_pending(JOB)).expect("a list"));
        });
        group.bench_function(BenchmarkId::new("export 10,000 as CSV", engine), |b| {
            let export = || Export::new(Arc::clone(&store)).job(JOB).csv();
            b.iter(|| block_on(export().write_to(&mut std::io::sink())).expect("an export"));
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("get_stats", engine), |b| {
            b.iter(|| block_on(store.get_stats(JOB)).expect("counts"));
        });
    }
    group.finish();
}

criterion_group!(memory, manifests, graphs, stores);
criterion_main!(memory);
