//! Magnetar's rows: one store, used as its users do.

use std::sync::Arc;

use futures_util::future::try_join_all;
use magnetar::worker::{Context, Shutdown, Worker};
use magnetar::{ClaimRequest, Completion, JobStore, block_on};

use crate::Fault;
use crate::cell::Cell;
use crate::clock::{Measured, Slice};
use crate::ours::{Engine, MAGNETAR_JOB, completions};

fn filled(engine: Engine, cell: &Cell) -> Result<Arc<dyn JobStore>, Fault> {
    engine.filled(&cell.folder, "magnetar", cell.chunks)
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
    engine: Engine,
    cell: &Cell,
    worker: fn(Arc<dyn JobStore>, Slice) -> F,
) -> Result<Measured, Fault> {
    let store = filled(engine, cell)?;
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
pub(crate) fn tasks(engine: Engine, cell: &Cell) -> Result<Measured, Fault> {
    on_tokio(engine, cell, cycles)
}

/// The same with `complete_and_claim`.
pub(crate) fn next_tasks(engine: Engine, cell: &Cell) -> Result<Measured, Fault> {
    on_tokio(engine, cell, cycles_of_next)
}

/// Workers are futures that one thread waits for, without a runtime.
pub(crate) fn blocking(engine: Engine, cell: &Cell) -> Result<Measured, Fault> {
    let store = filled(engine, cell)?;
    let slice = Slice::begin(cell.seconds);
    let workers = (0..cell.workers).map(|_| cycles(Arc::clone(&store), slice));
    let cycles = if cell.workers == 1 {
        block_on(cycles(Arc::clone(&store), slice))?
    } else {
        block_on(try_join_all(workers))?.into_iter().sum()
    };
    Ok(slice.measured(cycles))
}

/// One task that claims and completes many at a time.
pub(crate) fn batches(engine: Engine, cell: &Cell, size: usize) -> Result<Measured, Fault> {
    let store = filled(engine, cell)?;
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
pub(crate) fn worker(engine: Engine, cell: &Cell) -> Result<Measured, Fault> {
    let store = filled(engine, cell)?;
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
