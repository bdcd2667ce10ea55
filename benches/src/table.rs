//! The table: rows times workers, interleaved. All rows at one number of workers are measured one after the other before
//! the next number, and all of it is repeated, so that what is compared was measured within seconds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Fault;
use crate::clock::Measured;
use crate::disk::{self, median};
use crate::plan::Plan;
use crate::postgres::Server;
use crate::rows::{MANY, Row, Run};
use crate::syncs::Tracer;

/// Chunks of a store, enough for the fastest row.
const CHUNKS: u64 = 100_000;
/// The same for programs that take longer to fill than to drain.
const CHUNKS_OF_PEERS: u64 = 30_000;
/// Length of the run in which syncs are counted.
const COUNTED_SECONDS: f64 = 0.25;

/// A row at a number of workers.
pub(crate) type Place = (&'static str, usize);

#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Cycles per second, one for each repetition.
    pub(crate) rates: BTreeMap<Place, Vec<f64>>,
    pub(crate) syncs_per_cycle: BTreeMap<Place, f64>,
    /// Milliseconds of a sync, one for each repetition.
    pub(crate) sync_ms: Vec<f64>,
    /// Whether the disk was imitated.
    pub(crate) steady: bool,
    /// Why something is not in the table.
    pub(crate) notes: Vec<String>,
}

impl Table {
    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Takes in the repetitions of another run.
    pub(crate) fn extend(&mut self, other: Table) {
        for (place, rates) in other.rates {
            self.rates.entry(place).or_default().extend(rates);
        }
        self.sync_ms.extend(other.sync_ms);
    }

    pub(crate) fn rate(&self, place: Place) -> Option<f64> {
        self.rates.get(&place).map(|rates| median(rates.clone()))
    }
}

/// How many times the best repetition of a cell is its worst: the median of all cells.
pub(crate) fn spread(rates: &BTreeMap<Place, Vec<f64>>) -> f64 {
    let of_cell = |rates: &Vec<f64>| {
        let least = rates.iter().copied().fold(f64::MAX, f64::min);
        rates.iter().copied().fold(f64::MIN, f64::max) / least
    };
    median(rates.values().map(of_cell).collect())
}

pub(crate) fn measure(plan: &Plan) -> Result<Table, Fault> {
    let mut table = Table { steady: plan.steady, ..Table::default() };
    let folder = disk::empty(&plan.folder)?;
    let tracer = Tracer::find(folder.join("strace"));
    if tracer.is_none() {
        table.notes.push("syncs were not counted: strace is not installed, or may not trace here".into());
    }
    if plan.steady && tracer.is_none() {
        return Err("--steady needs strace: install it".into());
    }
    let mut peers = Peers { folder: folder.join("cell"), server: None, tracer, steady: plan.steady };
    peers.prepare(plan, &folder, &mut table.notes);
    for repetition in 0..plan.repetitions {
        table.sync_ms.push(disk::sync_ms(&peers.folder)?);
        for workers in MANY {
            for row in plan.rows_at(*workers) {
                let measured = match peers.measure(row, *workers, plan.seconds) {
                    Ok(Some(measured)) => measured,
                    Ok(None) => continue,
                    Err(fault) if matches!(row.run, Run::Here(_)) => return Err(fault),
                    Err(fault) => {
                        table.note(format!("{} at {workers} workers: {fault}", row.system));
                        continue;
                    }
                };
                eprintln!("{repetition} {} at {workers}: {:.0} cycles/s", row.id, measured.per_second());
                table.rates.entry((row.id, *workers)).or_default().push(measured.per_second());
            }
        }
    }
    for workers in MANY {
        for row in plan.rows_at(*workers) {
            match peers.syncs_per_cycle(row, *workers) {
                Ok(Some(count)) => drop(table.syncs_per_cycle.insert((row.id, *workers), count)),
                Ok(None) => {}
                Err(fault) => {
                    table.notes.push(format!("syncs of {} at {workers} workers: {fault}", row.system));
                }
            }
        }
    }
    drop(peers);
    std::fs::remove_dir_all(folder)?;
    Ok(table)
}

struct Peers {
    folder: PathBuf,
    server: Option<Server>,
    tracer: Option<Tracer>,
    steady: bool,
}

impl Peers {
    /// Finds what the rows need, and notes what is missing.
    fn prepare(&mut self, plan: &Plan, folder: &Path, notes: &mut Vec<String>) {
        for row in plan.rows() {
            match row.run {
                Run::Here(_) => {}
                Run::Peer(name) if program(name).exists() => {}
                Run::WithoutFeed(_) if without_feed().exists() => {}
                Run::Peer(_) | Run::WithoutFeed(_) => {
                    notes.push(format!("{} was not measured: it is not built", row.system));
                }
                // Its server syncs for itself, where no tracer of ours delays it.
                Run::Postgres if plan.steady => {}
                Run::Postgres => match Server::start(&folder.join("postgres")) {
                    Ok(server) => self.server = Some(server),
                    Err(why) => notes.push(format!("{} was not measured: {why}", row.system)),
                },
            }
        }
    }

    /// `None` where the row cannot run here.
    fn measure(&self, row: &Row, workers: usize, seconds: f64) -> Result<Option<Measured>, Fault> {
        if let Run::Postgres = row.run {
            let Some(server) = &self.server else { return Ok(None) };
            return Ok(Some(server.measure(workers, CHUNKS_OF_PEERS)?.0));
        }
        let Some((program, arguments)) = self.program(row, workers, seconds)? else { return Ok(None) };
        Ok(Some(match &self.tracer {
            Some(tracer) if self.steady => child(&mut tracer.around(&program, &arguments, true))?,
            _ => child(Command::new(program).args(arguments))?,
        }))
    }

    fn syncs_per_cycle(&self, row: &Row, workers: usize) -> Result<Option<f64>, Fault> {
        let (measured, syncs) = if let Run::Postgres = row.run {
            let Some(server) = &self.server else { return Ok(None) };
            server.measure(workers, CHUNKS_OF_PEERS)?
        } else {
            let Some(tracer) = &self.tracer else { return Ok(None) };
            let Some((program, arguments)) = self.program(row, workers, COUNTED_SECONDS)? else {
                return Ok(None);
            };
            let measured = child(&mut tracer.around(&program, &arguments, self.steady))?;
            let syncs = tracer.count(&measured)?;
            (measured, syncs)
        };
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        Ok(Some(syncs as f64 / measured.cycles as f64))
    }

    /// What to start, with an empty folder to work in.
    fn program(
        &self,
        row: &Row,
        workers: usize,
        seconds: f64,
    ) -> Result<Option<(PathBuf, Vec<String>)>, Fault> {
        let (program, mut arguments, chunks) = match row.run {
            Run::Here(_) => (std::env::current_exe()?, vec!["cell".into(), row.id.into()], CHUNKS),
            Run::WithoutFeed(of) => (without_feed(), vec!["cell".into(), of.into()], CHUNKS),
            Run::Peer(name) => (program(name), Vec::new(), CHUNKS_OF_PEERS),
            Run::Postgres => return Ok(None),
        };
        if !program.exists() {
            return Ok(None);
        }
        let folder = disk::empty(&self.folder)?;
        arguments.extend([workers.to_string(), seconds.to_string(), chunks.to_string()]);
        arguments.push(folder.to_str().ok_or("the folder's name is not UTF-8")?.to_owned());
        Ok(Some((program, arguments)))
    }
}

/// What `cargo xtask bench` builds beside this program.
fn beside(path: &str) -> PathBuf {
    let here = std::env::current_exe().unwrap_or_default();
    here.parent().and_then(Path::parent).unwrap_or(Path::new("target")).join(path)
}

/// The peers that cannot be part of this program.
fn program(peer: &str) -> PathBuf {
    beside("peers/release").join(format!("bench-{peer}"))
}

fn without_feed() -> PathBuf {
    beside("without-feed/release/magnetar-benches")
}

/// Runs a cell; its answer is the last line.
fn child(command: &mut Command) -> Result<Measured, Fault> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        let arguments: Vec<_> = command.get_args().collect();
        return Err(format!("{} {arguments:?}: {}", command.get_program().display(), output.status).into());
    }
    let text = String::from_utf8(output.stdout)?;
    Ok(serde_json::from_str(text.lines().last().ok_or("no answer")?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_that_of_the_cell_in_the_middle() {
        let cells = [(1, [100.0, 110.0]), (8, [50.0, 100.0]), (64, [10.0, 90.0])];
        let rates = cells.map(|(workers, rates)| (("redb-direct", workers), rates.to_vec()));
        assert!((spread(&rates.into_iter().collect()) - 2.0).abs() < 1e-9);
    }
}
