//! What a table of rates does not show: imports, lists, graphs, growth, opening. Each part is a process of its own.

mod copy;
mod graph;
mod growth;
mod import;
mod opening;
mod reading;

pub(crate) use graph::layered;

use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::Fault;
use crate::disk::median;
use crate::ours::Engine;

pub(crate) use opening::hold;

/// One measured fact.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Fact {
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
    /// The same by hand, or without what is measured.
    pub(crate) beside: Option<f64>,
    pub(crate) goal: Option<Goal>,
}

/// What the value, or its ratio to what stands beside it, should come to.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Goal {
    AtMost(f64),
    RatioAtMost(f64),
    RatioAtLeast(f64),
}

impl Fact {
    fn new(what: impl Into<String>, value: f64, unit: &str) -> Self {
        Fact { what: what.into(), value, unit: unit.into(), beside: None, goal: None }
    }

    fn beside(mut self, beside: f64) -> Self {
        self.beside = Some(beside);
        self
    }

    fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    pub(crate) fn ratio(&self) -> Option<f64> {
        self.beside.map(|beside| self.value / beside)
    }

    pub(crate) fn is_met(&self) -> Option<bool> {
        Some(match self.goal? {
            Goal::AtMost(most) => self.value <= most,
            Goal::RatioAtMost(most) => self.ratio()? <= most,
            Goal::RatioAtLeast(least) => self.ratio()? >= least,
        })
    }
}

/// The parts of an ordinary run; `--full` adds the last.
pub(crate) const PARTS: [&str; 3] = ["redb", "SQLite", "order"];
pub(crate) const FULL: &str = "ten-million";

/// Chunks of the large stores.
const MILLION: u64 = 1_000_000;

/// Runs a part in an empty folder.
pub(crate) fn run(part: &str, folder: &Path) -> Result<Vec<Fact>, Fault> {
    match part {
        "order" => graph::order(),
        FULL => growth::ten_million(folder),
        engine => {
            let engine = Engine::find(engine)?;
            let mut facts = import::from_toml(engine, folder)?;
            facts.extend(reading::list(engine, folder)?);
            facts.extend(graph::ready(engine, folder)?);
            facts.extend(graph::layers(engine, folder)?);
            // From here on, on the store that this leaves.
            facts.extend(import::from_lines(engine, folder)?);
            facts.extend(reading::stats(engine, folder)?);
            facts.extend(growth::sizes(engine, folder)?);
            facts.extend(opening::after_a_kill(engine, folder)?);
            facts.extend(growth::rates(engine, folder)?);
            Ok(facts)
        }
    }
}

/// All parts that a run has, each in a process of its own; a note for each that failed.
pub(crate) fn measure(full: bool, folder: &Path) -> Result<(Vec<Fact>, Vec<String>), Fault> {
    let (mut facts, mut notes) = (Vec::new(), Vec::new());
    for part in PARTS.into_iter().chain(full.then_some(FULL)) {
        eprintln!("part {part}");
        let folder = crate::disk::empty(folder)?;
        let output = Command::new(std::env::current_exe()?)
            .args(["part", part])
            .arg(folder)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()?;
        if output.status.success() {
            facts.extend(serde_json::from_slice::<Vec<Fact>>(&output.stdout)?);
        } else {
            notes.push(format!("the part {part} failed: {}", output.status));
        }
    }
    std::fs::remove_dir_all(folder)?;
    Ok((facts, notes))
}

/// The median of several measurements.
fn rounds(count: usize, mut measure: impl FnMut(usize) -> Result<f64, Fault>) -> Result<f64, Fault> {
    Ok(median((0..count).map(&mut measure).collect::<Result<_, _>>()?))
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn number(count: u64) -> f64 {
    count as f64
}
