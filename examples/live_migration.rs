//! A store moves from SQLite to redb while workers work in it, back to SQLite, and to redb for good; every chunk is
//! done once, and whoever still has the old file open is told where it went.
//!
//! `cargo run --example live_migration --features all`

use std::sync::Arc;
use std::thread;

use magnetar::dual::{DualOptions, DualStore, MovePhase, MoveSide, MoveStatus};
use magnetar::worker::{Context, Worker};
use magnetar::{Clock, Completion, JobStore, Json, NewChunk, OpenOptions, SystemClock, block_on};

const JOB: i64 = 1;
const CHUNKS: u64 = 3_000;
const WORKERS: usize = 8;

/// Says what happens, and when.
#[derive(Clone, Copy)]
struct Timeline {
    started_ms: u64,
}

impl Timeline {
    fn say(self, what: &str) {
        println!("{:>6} ms  {what}", SystemClock.now_ms() - self.started_ms);
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let (old, new) = (folder.path().join("jobs.db"), folder.path().join("jobs.redb"));
    let timeline = Timeline { started_ms: SystemClock.now_ms() };

    // A store that has been in use for a while.
    let store = block_on(magnetar::open(&old))?;
    block_on(import(&*store))?;
    block_on(store.close())?;
    timeline.say(&format!("{CHUNKS} chunks are in {}", old.display()));

    let dual = block_on(DualStore::open(&old, &new, &OpenOptions::new(), &DualOptions::new()))?;
    let stranger = block_on(magnetar::open(&old))?;
    thread::scope(|scope| {
        let working = scope.spawn(|| block_on(work(Arc::new(dual.clone()))));
        let mut phases = dual.watch_status();
        scope.spawn(move || {
            let mut last: Option<MoveStatus> = None;
            while let Some(status) = block_on(phases.next()) {
                let is_news = |last: MoveStatus| {
                    (last.phase, last.authority) != (status.phase, status.authority)
                        || last.error.is_some() != status.error.is_some()
                };
                if last.replace(status.clone()).is_none_or(is_news) {
                    timeline.say(&describe(&status));
                }
            }
        });
        move_about(&dual, timeline)?;
        timeline.say(&working.join().map_err(|_| "a worker panicked")??);
        finish(&dual, &*stranger, timeline)?;
        block_on(dual.close())?;
        Ok(())
    })
}

/// Each chunk waits for one or two before it.
async fn import(store: &dyn JobStore) -> magnetar::Result<()> {
    let chunks = (0..CHUNKS).map(|id| {
        let on = [id.checked_sub(40), id.checked_sub(7)];
        Ok(NewChunk::new(id).depends_on(on.into_iter().flatten()))
    });
    store.import(JOB, &Default::default(), magnetar::chunks(chunks), &Default::default()).await?;
    Ok(())
}

/// The workers know nothing of the move.
async fn work(store: Arc<dyn JobStore>) -> magnetar::Result<String> {
    let worker = Worker::new(store).job(JOB).concurrency(WORKERS);
    let summary = worker
        .run_blocking(|context: &Context| {
            let digits =
                (0..2_000).fold(context.chunk(), |hash, n| (hash ^ n).wrapping_mul(0x0100_0000_01b3));
            Ok::<_, magnetar::Error>(Completion::new().output(Json::new(&format!("{digits:x}"))?))
        })
        .await?;
    Ok(summary.to_string())
}

/// The operator: to redb, back again, and to redb for good.
fn move_about(dual: &DualStore, timeline: Timeline) -> magnetar::Result<()> {
    for (part, to) in [(4, MoveSide::Second), (2, MoveSide::First), (1, MoveSide::Second)] {
        let mut watch = dual.watch();
        let enough = if part == 1 { CHUNKS * 3 / 4 } else { CHUNKS / part };
        while block_on(dual.get_stats(JOB))?.done < enough {
            block_on(watch.changed());
        }
        timeline.say(&format!("{} chunks are done; comparing", block_on(dual.get_stats(JOB))?.done));
        let compared = block_on(dual.compare())?;
        timeline.say(&format!(
            "compared {} chunks and {} dependencies up to revision {}: {} differ",
            compared.chunks, compared.dependencies, compared.revision, compared.mismatch_count
        ));
        match to {
            MoveSide::Second => block_on(dual.cut_over())?,
            MoveSide::First => block_on(dual.roll_back())?,
        };
    }
    Ok(())
}

/// The pair ends; the old file says where its content went.
fn finish(
    dual: &DualStore,
    stranger: &dyn JobStore,
    timeline: Timeline,
) -> Result<(), Box<dyn std::error::Error>> {
    let stats = block_on(dual.get_stats(JOB))?;
    block_on(dual.catch_up())?;
    assert!(block_on(dual.compare())?.is_equal());
    assert_eq!((stats.done, stats.total_chunks), (CHUNKS, CHUNKS));
    timeline.say(&format!("{} of {} chunks are done, each once", stats.done, stats.total_chunks));
    block_on(dual.detach())?;
    match block_on(stranger.claim_pending(JOB)) {
        Err(error) => timeline.say(&format!("another handle on the old file: {error}")),
        Ok(_) => return Err("the old file was worked with".into()),
    }
    block_on(stranger.close())?;
    Ok(())
}

fn describe(status: &MoveStatus) -> String {
    let place = |side| if side == MoveSide::First { "SQLite" } else { "redb" };
    let phase = match (status.phase, status.authority) {
        (MovePhase::Copying, Some(side)) => format!("{} works, the first copy is being made", place(side)),
        (MovePhase::Following, Some(side)) => {
            format!("{} works, {} follows", place(side), place(side.other()))
        }
        (MovePhase::Detached, Some(side)) => format!("{} is on its own", place(side)),
        _ => "calls wait: the authority changes".into(),
    };
    let error = status.error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
    format!("{phase}; {} revisions behind{error}", status.lag)
}
