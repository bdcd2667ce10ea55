//! Instructions per operation, as callgrind counts them: the difference of two sizes, so that what both begin with goes
//! away. It does not depend on what else the machine does.

use std::path::Path;
use std::process::{Command, Stdio};

use magnetar::block_on;
use serde::{Deserialize, Serialize};

use crate::Fault;
use crate::disk;
use crate::hand::redb::Redb;
use crate::hand::sqlite::{Sqlite, Synchronous};
use crate::hand::{self, Ask, batch, cycle};
use crate::ours::{BATCH, Engine, MAGNETAR_JOB, drain, drain_by_one, import};
use crate::parts::layered;

/// Chunks of the store, in both sizes.
const CHUNKS: u64 = 2_000;
/// The same of a store whose chunks depend on others.
const LAYERS: u64 = 10;
const WIDTH: u64 = 1_000;
/// Cycles of the two sizes, one at a time and in batches.
const SIZES: [u64; 2] = [64, 320];
const SIZES_OF_BATCHES: [u64; 2] = [256, 1_280];
/// More, because importing dependencies takes more instructions than draining them, and not the same each time.
const SIZES_OF_LAYERS: [u64; 2] = [256, 2_816];
/// Chunks that are listed, the whole store at a time.
const SIZES_OF_LISTS: [u64; 2] = [CHUNKS, 5 * CHUNKS];

/// What is counted.
pub(crate) const KINDS: [(&str, &str); 15] = [
    ("redb-one", "Magnetar redb, claim + complete, block_on"),
    ("redb-one-hand", "raw redb, one operation per commit"),
    ("redb-layers-one", "Magnetar redb, claim + complete, block_on, two dependencies each"),
    ("redb-batch", "Magnetar redb, batches of 256"),
    ("redb-layers", "Magnetar redb, batches of 256, two dependencies each"),
    ("redb-batch-64", "Magnetar redb, batches of 64"),
    ("redb-layers-64", "Magnetar redb, batches of 64, two dependencies each"),
    ("redb-batch-hand", "raw redb, 256 operations per commit"),
    ("redb-list", "Magnetar redb, a chunk in a list of pending ones"),
    ("sqlite-one", "Magnetar SQLite, claim + complete, block_on"),
    ("sqlite-one-hand", "SQLite FULL by hand, one operation per commit"),
    ("sqlite-batch", "Magnetar SQLite, batches of 256"),
    ("sqlite-layers", "Magnetar SQLite, batches of 256, two dependencies each"),
    ("sqlite-list", "Magnetar SQLite, a chunk in a list of pending ones"),
    ("sqlite-batch-hand", "SQLite FULL by hand, 256 operations per commit"),
];

/// Instructions of a claim and its completion.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) what: String,
    pub(crate) instructions_per_cycle: u64,
}

/// The work that is counted: so many cycles on a new store.
pub(crate) fn work(kind: &str, cycles: u64, folder: &Path) -> Result<(), Fault> {
    let batches = !kind.contains("one");
    match kind.strip_suffix("-hand") {
        None => {
            let engine = if kind.starts_with("redb") { Engine::Redb } else { Engine::Sqlite };
            let store = if kind.contains("layers") {
                let store = engine.open(folder, "work")?;
                import(&*store, layered(LAYERS, WIDTH))?;
                store
            } else {
                engine.filled(folder, "work", CHUNKS)?
            };
            if kind.contains("list") {
                for _ in 0..cycles / CHUNKS {
                    let listed = block_on(store.resume_pending(MAGNETAR_JOB))?;
                    if listed.len() as u64 != CHUNKS {
                        return Err(format!("{} of {CHUNKS} were listed", listed.len()).into());
                    }
                }
            } else if batches {
                let size = if kind.ends_with("-64") { 64 } else { BATCH };
                drain(&*store, usize::try_from(cycles)? / size, size)?;
            } else {
                drain_by_one(&*store, cycles)?;
            }
            // What closing costs is the same in both sizes, or part of what the cycles left to do.
            Ok(block_on(store.close())?)
        }
        Some(engine) if engine.starts_with("redb") => by_hand(Redb::filled(folder, CHUNKS)?, cycles, batches),
        Some(_) => by_hand(Sqlite::filled(folder, CHUNKS, Synchronous::Full)?, cycles, batches),
    }
}

fn by_hand(mut engine: impl hand::Engine, cycles: u64, batches: bool) -> Result<(), Fault> {
    let mut answers = Vec::new();
    if batches {
        for _ in 0..cycles / BATCH as u64 {
            batch(&mut engine, &mut Vec::new(), &mut answers, BATCH)?;
        }
        return Ok(());
    }
    for _ in 0..cycles {
        cycle(|ask: Ask| {
            answers.clear();
            engine.commit(&[ask], &mut answers)?;
            Ok(answers[0])
        })?;
    }
    Ok(())
}

/// Counts everything; `Err` says why nothing could be counted.
pub(crate) fn count(folder: &Path) -> Result<Vec<Counted>, String> {
    let there = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        return Err("valgrind is not installed".into());
    }
    KINDS
        .iter()
        .map(|(kind, what)| {
            let [few, many] = match kind {
                kind if kind.contains("layers") => SIZES_OF_LAYERS,
                kind if kind.contains("one") => SIZES,
                kind if kind.contains("list") => SIZES_OF_LISTS,
                _ => SIZES_OF_BATCHES,
            };
            let more = collected(kind, many, folder)? - collected(kind, few, folder)?;
            let instructions_per_cycle = more / (many - few);
            Ok(Counted { what: (*what).into(), instructions_per_cycle })
        })
        .collect::<Result<_, Fault>>()
        .map_err(|fault| fault.to_string())
}

fn collected(kind: &str, cycles: u64, folder: &Path) -> Result<u64, Fault> {
    let folder = disk::empty(folder)?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["work", kind, &cycles.to_string()])
        .arg(folder)
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().find_map(|line| line.split_once("Collected :"));
    match line {
        Some((_, number)) if output.status.success() => Ok(number.trim().parse()?),
        _ => Err(format!("callgrind counted nothing: {text}").into()),
    }
}
