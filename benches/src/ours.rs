//! Opening, filling and draining Magnetar's stores.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use magnetar::{
    ChunkUpdate, Completion, Durability, ImportOptions, ImportReport, JobSpec, JobState, JobStore, NewChunk,
    OpenOptions, block_on, chunks,
};

use crate::Fault;
use crate::cell::{JOB, checksum};
use crate::clock::timed;

pub(crate) const MAGNETAR_JOB: i64 = JOB as i64;

/// Operations of one batch.
pub(crate) const BATCH: usize = 256;

/// Where a store keeps its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Redb,
    Sqlite,
}

impl Engine {
    pub(crate) const BOTH: [Engine; 2] = [Engine::Redb, Engine::Sqlite];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Engine::Redb => "redb",
            Engine::Sqlite => "SQLite",
        }
    }

    pub(crate) fn find(name: &str) -> Result<Self, Fault> {
        let found = Engine::BOTH.into_iter().find(|engine| engine.name() == name);
        found.ok_or_else(|| format!("there is no engine {name:?}").into())
    }

    /// Where a store of this engine is in a folder.
    pub(crate) fn path(self, folder: &Path, name: &str) -> PathBuf {
        folder.join(name).with_extension(match self {
            Engine::Redb => "redb",
            Engine::Sqlite => "db",
        })
    }

    pub(crate) fn open(self, folder: &Path, name: &str) -> Result<Arc<dyn JobStore>, Fault> {
        self.open_as(Durability::Full, folder, name)
    }

    fn open_as(self, durability: Durability, folder: &Path, name: &str) -> Result<Arc<dyn JobStore>, Fault> {
        let options = OpenOptions::new().durability(durability);
        Ok(block_on(magnetar::open_with(self.path(folder, name), &options))?)
    }

    /// A store with chunks from 0 on, all ready.
    pub(crate) fn filled(self, folder: &Path, name: &str, count: u64) -> Result<Arc<dyn JobStore>, Fault> {
        self.filled_as(Durability::Full, folder, name, count)
    }

    /// The same with commits that are worth so much.
    pub(crate) fn filled_as(
        self,
        durability: Durability,
        folder: &Path,
        name: &str,
        count: u64,
    ) -> Result<Arc<dyn JobStore>, Fault> {
        let store = self.open_as(durability, folder, name)?;
        import(&*store, (0..count).map(chunk))?;
        Ok(store)
    }
}

/// A chunk as every store here has them.
pub(crate) fn chunk(id: u64) -> NewChunk {
    NewChunk::new(id).checksum(checksum(id))
}

pub(crate) fn import(
    store: &dyn JobStore,
    new: impl Iterator<Item = NewChunk> + Send,
) -> Result<ImportReport, Fault> {
    let stream = chunks(new.map(Ok));
    Ok(block_on(store.import(MAGNETAR_JOB, &JobSpec::new(), stream, &ImportOptions::new()))?)
}

pub(crate) fn completions(held: &[JobState]) -> Vec<ChunkUpdate> {
    held.iter().map(|chunk| ChunkUpdate::Complete(chunk.claim(), Completion::new())).collect()
}

/// Claims and completes so many batches, or what is left: how many chunks, and the seconds.
pub(crate) fn drain(store: &dyn JobStore, batches: usize, size: usize) -> Result<(u64, f64), Fault> {
    timed(|| {
        block_on(async {
            let mut cycles = 0;
            for _ in 0..batches {
                let held = store.claim_pending_batch(MAGNETAR_JOB, size).await?;
                if held.is_empty() {
                    break;
                }
                for outcome in store.apply_batch_updates(MAGNETAR_JOB, completions(&held)).await? {
                    outcome?;
                    cycles += 1;
                }
            }
            Ok(cycles)
        })
    })
}

/// Claims and completes so many, one at a time: the seconds.
pub(crate) fn drain_by_one(store: &dyn JobStore, cycles: u64) -> Result<f64, Fault> {
    timed(|| block_on(cycle(store, cycles))).map(|((), seconds)| seconds)
}

/// The same by tasks of a multi-threaded runtime, each so many.
pub(crate) fn drain_by_tasks(
    runtime: &tokio::runtime::Runtime,
    store: &Arc<dyn JobStore>,
    tasks: usize,
    cycles: u64,
) -> Result<f64, Fault> {
    let work = || {
        let spawn = |_| {
            let store = Arc::clone(store);
            runtime.spawn(async move { cycle(&*store, cycles).await })
        };
        let tasks: Vec<_> = (0..tasks).map(spawn).collect();
        tasks.into_iter().try_for_each(|task| runtime.block_on(task)?)
    };
    timed(work).map(|((), seconds)| seconds)
}

async fn cycle(store: &dyn JobStore, cycles: u64) -> Result<(), Fault> {
    for _ in 0..cycles {
        let chunk = store.claim_pending(MAGNETAR_JOB).await?.ok_or("nothing is left")?;
        store.complete(&chunk.claim(), Completion::new()).await?;
    }
    Ok(())
}
