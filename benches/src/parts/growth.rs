//! Growth: what claims and completions cost, and how large the file is, as a store grows.

use std::fs;
use std::io::{BufReader, Read};
use std::path::Path;

use magnetar::{ImportOptions, JobStore, block_on, chunks, manifest};

use super::{Fact, Goal, MILLION, number};
use crate::Fault;
use crate::cell::checksum;
use crate::clock::timed;
use crate::hand::redb::Redb;
use crate::hand::sqlite::{Sqlite, Synchronous};
use crate::ours::{BATCH, Engine, MAGNETAR_JOB, drain};

const SMALL: u64 = 10_000;

/// Bytes of the files whose names begin like this.
fn bytes(path: &Path) -> Result<u64, Fault> {
    let stem = path.file_name().ok_or("a file")?.to_string_lossy().into_owned();
    let mut sum = 0;
    for entry in fs::read_dir(path.parent().ok_or("in a folder")?)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&stem) && entry.file_type()?.is_file() {
            sum += entry.metadata()?.len();
        }
    }
    Ok(sum)
}

/// Of the store with a million chunks, and of the drained ones that the graphs left.
pub(super) fn sizes(engine: Engine, folder: &Path) -> Result<Vec<Fact>, Fault> {
    let hand = folder.join("hand");
    fs::create_dir_all(&hand)?;
    let path = match engine {
        Engine::Redb => {
            drop(Redb::filled(&hand, MILLION)?);
            hand.join("hand.redb")
        }
        Engine::Sqlite => {
            drop(Sqlite::filled(&hand, MILLION, Synchronous::Full)?);
            hand.join("hand.db")
        }
    };
    let by_hand = number(bytes(&path)?) / number(MILLION);
    fs::remove_dir_all(hand)?;
    let fresh = number(bytes(&engine.path(folder, "million"))?) / number(MILLION);
    let drained = number(bytes(&engine.path(folder, "plain"))?) / 100_000.0;
    let name = engine.name();
    Ok(vec![
        Fact::new(
            format!("{name}: file of 1,000,000 fresh chunks, per chunk; beside: raw rows"),
            fresh,
            "bytes",
        )
        .beside(by_hand)
        .goal(Goal::RatioAtMost(2.5)),
        Fact::new(
            format!("{name}: file of 100,000 finished chunks, per chunk; beside: raw rows"),
            drained,
            "bytes",
        )
        .beside(by_hand)
        .goal(Goal::RatioAtMost(2.5)),
    ])
}

/// Microseconds of a cycle on a large and on a small store, in turns.
fn beside_each_other(
    large: &dyn JobStore,
    small: &dyn JobStore,
    batches: usize,
    size: usize,
) -> Result<[f64; 2], Fault> {
    const TURNS: usize = 4;
    let (mut cycles, mut spent) = ([0, 0], [0.0, 0.0]);
    for _ in 0..TURNS {
        for (at, store) in [large, small].into_iter().enumerate() {
            let (more, seconds) = drain(store, batches / TURNS, size)?;
            cycles[at] += more;
            spent[at] += seconds;
        }
    }
    if cycles[0] != cycles[1] {
        return Err(format!("{cycles:?} cycles").into());
    }
    Ok([spent[0] * 1e6 / number(cycles[0]), spent[1] * 1e6 / number(cycles[1])])
}

fn both_ways(what: &str, large: &dyn JobStore, small: &dyn JobStore) -> Result<Vec<Fact>, Fault> {
    let batches = beside_each_other(large, small, 32, BATCH)?;
    let singles = beside_each_other(large, small, 400, 1)?;
    Ok([("in batches of 256", batches), ("one at a time", singles)]
        .into_iter()
        .map(|(how, [large, small])| {
            Fact::new(format!("{what}, {how}; beside: at 10,000 chunks"), large, "us")
                .beside(small)
                .goal(Goal::RatioAtMost(1.5))
        })
        .collect())
}

pub(super) fn rates(engine: Engine, folder: &Path) -> Result<Vec<Fact>, Fault> {
    let large = engine.open(folder, "million")?;
    let small = engine.filled(folder, "small", SMALL)?;
    let what = format!("{}: a claim and its completion at 1,000,000 chunks", engine.name());
    let facts = both_ways(&what, &*large, &*small)?;
    block_on(large.close())?;
    block_on(small.close())?;
    Ok(facts)
}

/// JSON Lines that are made as they are read, so that only Magnetar's own memory is measured.
struct Lines {
    next: u64,
    count: u64,
    line: Vec<u8>,
    read: usize,
}

impl Read for Lines {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.read == self.line.len() && self.next < self.count {
            self.line =
                format!("{{\"id\":{},\"checksum\":\"{}\"}}\n", self.next, checksum(self.next)).into_bytes();
            self.read = 0;
            self.next += 1;
        }
        let taken = (self.line.len() - self.read).min(out.len());
        out[..taken].copy_from_slice(&self.line[self.read..self.read + taken]);
        self.read += taken;
        Ok(taken)
    }
}

/// The most memory that this process ever had, in MB; the host must tell, as Linux does.
fn peak_mb() -> Result<f64, Fault> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).ok_or("no peak is told")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("no number")?.parse()?;
    Ok(kib * 1_024.0 / 1e6)
}

/// Seconds per million chunks of an import.
fn streamed(store: &dyn JobStore, count: u64) -> Result<f64, Fault> {
    let (report, seconds) = timed(|| {
        let lines = Lines { next: 0, count, line: Vec::new(), read: 0 };
        let (spec, rows) = manifest::json_lines(BufReader::with_capacity(1 << 16, lines))?;
        block_on(store.import(MAGNETAR_JOB, &spec, chunks(rows), &ImportOptions::new()))
    })?;
    if report.added != count {
        return Err(format!("{report:?}").into());
    }
    Ok(seconds * number(MILLION) / number(count))
}

/// redb only: the largest store that is promised.
pub(super) fn ten_million(folder: &Path) -> Result<Vec<Fact>, Fault> {
    const COUNT: u64 = 10 * MILLION;
    let one = Engine::Redb.open(folder, "one")?;
    let beside = streamed(&*one, MILLION)?;
    block_on(one.close())?;
    drop(one);
    let large = Engine::Redb.open(folder, "large")?;
    let ours = streamed(&*large, COUNT)?;
    let peak = peak_mb()?;
    let small = Engine::Redb.filled(folder, "small", SMALL)?;
    let mut facts = vec![
        Fact::new("redb: import of 10,000,000 chunks, per million; beside: of 1,000,000", ours, "s")
            .beside(beside)
            .goal(Goal::RatioAtMost(1.1)),
        Fact::new("redb: the most memory of the process during that", peak, "MB").goal(Goal::AtMost(300.0)),
    ];
    facts.extend(both_ways("redb: a claim and its completion at 10,000,000 chunks", &*large, &*small)?);
    block_on(large.close())?;
    block_on(small.close())?;
    let size = number(bytes(&Engine::Redb.path(folder, "large"))?) / number(COUNT);
    facts.push(Fact::new("redb: file of 10,000,000 fresh chunks, per chunk", size, "bytes"));
    Ok(facts)
}
