//! Reading: the list that a restart begins with, and the counts that a progress bar asks for.

use std::fs;
use std::path::Path;

use magnetar::{JobStore, block_on};

use super::{Fact, Goal, MILLION, number, rounds};
use crate::Fault;
use crate::clock::timed;
use crate::hand::redb::Redb;
use crate::hand::sqlite::{Sqlite, Synchronous};
use crate::ours::{Engine, MAGNETAR_JOB};

const LISTED: u64 = 10_000;
const ROUNDS: usize = 9;
/// Calls that are timed together: one alone is shorter than what a clock can be trusted with.
const CALLS: u32 = 200;

pub(super) fn list(engine: Engine, folder: &Path) -> Result<Vec<Fact>, Fault> {
    let hand = folder.join("hand");
    fs::create_dir_all(&hand)?;
    let by_hand: Box<dyn Fn() -> Result<(u64, u64), Fault>> = match engine {
        Engine::Redb => {
            let store = Redb::filled(&hand, LISTED)?;
            Box::new(move || store.list())
        }
        Engine::Sqlite => {
            let store = Sqlite::filled(&hand, LISTED, Synchronous::Full)?;
            Box::new(move || store.list())
        }
    };
    let store = engine.filled(folder, "list", LISTED)?;
    let mut beside = Vec::new();
    let ours = rounds(ROUNDS, |_| {
        let ((rows, _), seconds) = timed(&by_hand)?;
        beside.push(seconds * 1e3);
        let (listed, seconds) = timed(|| block_on(store.resume_pending(MAGNETAR_JOB)))?;
        if rows != LISTED || listed.len() as u64 != LISTED {
            return Err(format!("{rows} and {} of {LISTED} were listed", listed.len()).into());
        }
        Ok(seconds * 1e3)
    })?;
    block_on(store.close())?;
    drop(by_hand);
    fs::remove_dir_all(hand)?;
    let most = if engine == Engine::Redb { 3.0 } else { 8.0 };
    let what =
        format!("{}: resume list of 10,000 pending chunks, whole records; beside: by hand", engine.name());
    Ok(vec![Fact::new(what, ours, "ms").beside(crate::disk::median(beside)).goal(Goal::AtMost(most))])
}

/// On the store with a million chunks, and on one with ten.
pub(super) fn stats(engine: Engine, folder: &Path) -> Result<Vec<Fact>, Fault> {
    let (large, small) = (engine.open(folder, "million")?, engine.filled(folder, "ten", 10)?);
    let calls = |store: &dyn JobStore, total: u64| -> Result<f64, Fault> {
        let (total_chunks, seconds) = timed(|| {
            block_on(async {
                let mut total_chunks = 0;
                for _ in 0..CALLS {
                    total_chunks = store.get_stats(MAGNETAR_JOB).await?.total_chunks;
                }
                Ok::<_, magnetar::Error>(total_chunks)
            })
        })?;
        if total_chunks != total {
            return Err(format!("{total_chunks} chunks, not {total}").into());
        }
        Ok(seconds * 1e6 / f64::from(CALLS))
    };
    let mut beside = Vec::new();
    let ours = rounds(ROUNDS, |_| {
        beside.push(calls(&*small, 10)?);
        calls(&*large, MILLION)
    })?;
    block_on(large.close())?;
    block_on(small.close())?;
    let most = if engine == Engine::Redb { 50.0 } else { 200.0 };
    let what = format!("{}: get_stats on {} chunks; beside: on 10", engine.name(), number(MILLION));
    Ok(vec![Fact::new(what, ours, "us").beside(crate::disk::median(beside)).goal(Goal::AtMost(most))])
}
