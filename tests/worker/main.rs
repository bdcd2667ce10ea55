//! The worker runtime from outside: on any runtime and on none, through errors, panics, shutdowns and drops.

#![cfg(not(target_family = "wasm"))]

mod ending;
mod keeping;
mod running;

use std::sync::Arc;

use magnetar::{JobSpec, JobStore, NewChunk, block_on};

const JOB: i64 = 42;

/// A store in memory with one job of so many chunks.
fn store_of(chunks: u64, spec: &JobSpec) -> Arc<dyn JobStore> {
    store_with((0..chunks).map(NewChunk::new), spec)
}

fn store_with(
    chunks: impl IntoIterator<Item = NewChunk, IntoIter: Send>,
    spec: &JobSpec,
) -> Arc<dyn JobStore> {
    block_on(async {
        let store = magnetar::open(":memory:").await.unwrap();
        add(&*store, chunks, spec).await;
        store
    })
}

async fn add(
    store: &dyn JobStore,
    chunks: impl IntoIterator<Item = NewChunk, IntoIter: Send>,
    spec: &JobSpec,
) {
    let chunks = magnetar::chunks(chunks.into_iter().map(Ok));
    store.import(JOB, spec, chunks, &magnetar::ImportOptions::new()).await.unwrap();
}

/// Lets others in the same task have a turn.
async fn give_way() {
    let mut given = false;
    std::future::poll_fn(|task| {
        if given {
            return std::task::Poll::Ready(());
        }
        given = true;
        task.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
