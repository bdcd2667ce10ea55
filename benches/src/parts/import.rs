//! Importing: 10,000 chunks from TOML text, a million from JSON Lines.

use std::fmt::Write;
use std::fs;
use std::io::BufReader;
use std::path::Path;

use magnetar::{ImportOptions, Manifest, block_on, chunks, manifest};

use super::{Fact, Goal, MILLION, copy, rounds};
use crate::Fault;
use crate::cell::checksum;
use crate::clock::timed;
use crate::hand::redb::Redb;
use crate::hand::sqlite::{Sqlite, Synchronous};
use crate::ours::{Engine, MAGNETAR_JOB};

const TOML_CHUNKS: u64 = 10_000;
const ROUNDS: usize = 5;

/// Inserts rows by hand into a new store: the seconds.
fn by_hand(engine: Engine, folder: &Path, count: u64) -> Result<f64, Fault> {
    fs::create_dir_all(folder)?;
    let seconds = match engine {
        Engine::Redb => {
            let mut store = Redb::open(folder)?;
            timed(|| store.fill(count))?.1
        }
        Engine::Sqlite => {
            let mut store = Sqlite::open(folder, Synchronous::Full)?;
            timed(|| store.fill(count))?.1
        }
    };
    fs::remove_dir_all(folder)?;
    Ok(seconds)
}

pub(super) fn from_toml(engine: Engine, folder: &Path) -> Result<Vec<Fact>, Fault> {
    let mut text = String::new();
    for id in 0..TOML_CHUNKS {
        writeln!(text, "[[chunks]]\nid = {id}\nchecksum = \"{}\"\n", checksum(id))?;
    }
    let mut beside = Vec::new();
    let ours = rounds(ROUNDS, |round| {
        beside.push(by_hand(engine, &folder.join("hand"), TOML_CHUNKS)? * 1e3);
        let store = engine.open(folder, &format!("toml{round}"))?;
        let (report, seconds) = timed(|| {
            let manifest = Manifest::from_toml(&text)?;
            block_on(store.init_from_manifest(MAGNETAR_JOB, &manifest))
        })?;
        block_on(store.close())?;
        if report.added != TOML_CHUNKS {
            return Err(format!("{report:?}").into());
        }
        Ok(seconds * 1e3)
    })?;
    let parsed = rounds(ROUNDS, |_| Ok(timed(|| Manifest::from_toml(&text))?.1 * 1e3))?;
    let most = if engine == Engine::Redb { 30.0 } else { 45.0 };
    let name = engine.name();
    Ok(vec![
        Fact::new(
            format!("{name}: 10,000 chunks from TOML text, parsed and durable; beside: raw rows by hand"),
            ours,
            "ms",
        )
        .beside(crate::disk::median(beside))
        .goal(Goal::AtMost(most)),
        Fact::new(format!("{name}: of this, parsing and checking the text"), parsed, "ms"),
    ])
}

/// A million chunks as JSON Lines.
fn lines() -> Result<String, Fault> {
    let mut text = String::with_capacity(70 << 20);
    for id in 0..MILLION {
        writeln!(text, "{{\"id\":{id},\"checksum\":\"{}\"}}", checksum(id))?;
    }
    Ok(text)
}

/// Leaves the store as `million`, closed.
pub(super) fn from_lines(engine: Engine, folder: &Path) -> Result<Vec<Fact>, Fault> {
    let text = lines()?;
    let store = engine.open(folder, "million")?;
    let (report, seconds) = timed(|| {
        let (spec, rows) = manifest::json_lines(BufReader::new(text.as_bytes()))?;
        block_on(store.import(MAGNETAR_JOB, &spec, chunks(rows), &ImportOptions::new()))
    })?;
    if report.added != MILLION {
        return Err(format!("{report:?}").into());
    }
    drop(text);
    block_on(store.close())?;
    drop(store);
    let raw = copy::insert_again(engine, folder, "million")?;
    let hand = by_hand(engine, &folder.join("hand"), MILLION)?;
    let name = engine.name();
    Ok(vec![
        Fact::new(
            format!("{name}: 1,000,000 chunks from JSON Lines; beside: raw insertion of the same trees, in commits as large"),
            seconds,
            "s",
        )
        .beside(raw)
        .goal(Goal::RatioAtMost(1.5)),
        Fact::new(format!("{name}: 1,000,000 raw rows by hand in one commit"), hand, "s"),
    ])
}
