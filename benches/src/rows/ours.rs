//! Magnetar's rows: one store, used as its users do.

use std::sync::Arc;

use futures_util::future::try_join_all;
use magnetar::worker::{Context, Shutdown, Worker};
use magnetar::{ClaimRequest, Completion, Durability, JobStore, block_on};

use crate::Fault;
use crate::cell::Cell;
use crate::clock::{Measured, Slice};
use crate::ours::{Engine, MAGNETAR_JOB, completions};

/// A store of one engine, and what its answers mean.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    engine: Engine,
    durability: Durability,
}

pub(crate) const REDB: Kind = Kind { engine: Engine::Redb, durability: Durability::Full };
pub(crate) const SQLITE: Kind = Kind { engine: Engine::Sqlite, durability: Durability::Full };

impl Kind {
    /// The same without syncs.
    pub(crate) const fn relaxed(self) -> Self {
        Kind { durability: Durability::Relaxed, ..self }
    }

    fn filled(self, cell: &Cell) -> Result<Arc<dyn JobStore>, Fault> {
        self.engine.filled_as(self.durability, &cell.folder, "magnetar", cell.chunks)
    }
}

/// Claims one, completes it, again.
async fn cycles(store: Arc<dyn JobStore>, slice: Slice) -> Result<u64, Fault> {
    let mut cycles = 0;
    while !slice.is_over() {
        let Some(chunk) = store.claim_pending(MAGNETAR_JOB).await? else { break };
        store.complete(&chunk.claim(), Completion::new()).await?;
        cycles += 1;
    }
    Ok(cycles)
}

/// Completes one and claims the next in one call. The claim that is left at the end is no cycle.
async fn cycles_of_next(store: Arc<dyn JobStore>, slice: Slice) -> Result<u64, Fault> {
    let request = ClaimRequest::new().job(MAGNETAR_JOB);
    let mut held = store.claim(&request).await?;
    let mut cycles = 0;
    while let Some(chunk) = held.pop() {
        held = store.complete_and_claim(&chunk.claim(), Completion::new(), &request).await?;
        cycles += 1;
        if slice.is_over() {
            break;
        }
    }
    Ok(cycles)
}

fn on_tokio<F: Future<Output = Result<u64, Fault>> + Send + 'static>(
    kind: Kind,
    cell: &Cell,
    worker: fn(Arc<dyn JobStore>, Slice) -> F,
) -> Result<Measured, Fault> {
    let store = kind.filled(cell)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    let slice = Slice::begin(cell.seconds);
    let workers: Vec<_> =
        (0..cell.workers).map(|_| runtime.spawn(worker(Arc::clone(&store), slice))).collect();
    let mut cycles = 0;
    for worker in workers {
        cycles += runtime.block_on(worker)??;
    }
    Ok(slice.measured(cycles))
}

/// Workers are tasks of a multi-threaded runtime.
pub(crate) fn tasks(kind: Kind, cell: &Cell) -> Result<Measured, Fault> {
    on_tokio(kind, cell, cycles)
}

/// The same with `complete_and_claim`.
pub(crate) fn next_tasks(kind: Kind, cell: &Cell) -> Result<Measured, Fault> {
    on_tokio(kind, cell, cycles_of_next)
}

fn in_block_on<F: Future<Output = Result<u64, Fault>>>(
    kind: Kind,
    cell: &Cell,
    worker: fn(Arc<dyn JobStore>, Slice) -> F,
) -> Result<Measured, Fault> {
    let store = kind.filled(cell)?;
    let slice = Slice::begin(cell.seconds);
    let mut workers: Vec<_> = (0..cell.workers).map(|_| worker(Arc::clone(&store), slice)).collect();
    let cycles = match workers.pop() {
        Some(alone) if workers.is_empty() => block_on(alone)?,
        last => block_on(try_join_all(workers.into_iter().chain(last)))?.into_iter().sum(),
    };
    Ok(slice.measured(cycles))
}

/// Workers are futures that one thread waits for, without a runtime.
pub(crate) fn blocking(kind: Kind, cell: &Cell) -> Result<Measured, Fault> {
    in_block_on(kind, cell, cycles)
}

/// The same with `complete_and_claim`.
pub(crate) fn next_blocking(kind: Kind, cell: &Cell) -> Result<Measured, Fault> {
    in_block_on(kind, cell, cycles_of_next)
}

/// One task that claims and completes many at a time.
pub(crate) fn batches(kind: Kind, cell: &Cell, size: usize) -> Result<Measured, Fault> {
    let store = kind.filled(cell)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    let slice = Slice::begin(cell.seconds);
    let worker = runtime.spawn(async move {
        let mut cycles = 0;
        while !slice.is_over() {
            let held = store.claim_pending_batch(MAGNETAR_JOB, size).await?;
            if held.is_empty() {
                break;
            }
            for outcome in store.apply_batch_updates(MAGNETAR_JOB, completions(&held)).await? {
                outcome?;
                cycles += 1;
            }
        }
        Ok::<u64, Fault>(cycles)
    });
    let cycles = runtime.block_on(worker)??;
    Ok(slice.measured(cycles))
}

/// The worker runtime, with handlers that do nothing.
pub(crate) fn worker(kind: Kind, cell: &Cell) -> Result<Measured, Fault> {
    let store = kind.filled(cell)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().build()?;
    let stop = Shutdown::new();
    let worker = Worker::new(store).job(MAGNETAR_JOB).concurrency(cell.workers).shutdown(&stop);
    let slice = Slice::begin(cell.seconds);
    let summary = runtime.block_on(worker.run(async |_: Context| {
        if slice.is_over() {
            stop.request();
        }
        Ok::<_, Fault>(Completion::new())
    }))?;
    Ok(slice.measured(summary.completed))
}
