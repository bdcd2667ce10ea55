//! The same work on Magnetar, on hand-written code and on peers: one table from one run.
//!
//! `cargo xtask bench` builds this and its peers in release and starts it. Each measurement is a process of its own, so
//! that no row inherits the memory, the threads or the open files of the one before it.

mod cell;
mod check;
mod clock;
mod disk;
mod hand;
mod instructions;
mod ours;
mod parts;
mod plan;
mod postgres;
mod ratios;
mod report;
mod rows;
mod syncs;
mod table;

use std::process::ExitCode;

use cell::Cell;
use plan::{Plan, Purpose};
use report::Report;
use rows::Run;

/// Whatever went wrong, for people.
type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Relative to the top of the repository, where `cargo xtask bench` runs this.
const README: &str = "README.md";

const HELP: &str = "\
cargo xtask bench [OPTION...]

  --folder DIR       where the stores are: the disk that is measured (default target/bench)
  --steady           files in memory and syncs of 0.145 ms, made by strace: for a machine whose disk others use too
  --sections A,B...  of the report: table, parts, instructions (default all)
  --seconds N        length of one cell of the table (default 0.5)
  --repetitions N    how often each cell is measured (default 3)
  --rows A,B...      these rows of the table only
  --workers N,M...   these numbers of workers only
  --full             ten million chunks too
  --json FILE        the results as JSON too
  --markdown FILE    the results into this file too
  --publish          writes what is committed: benches/results.md, benches/results.json and the table in the README
  --check            only the ratios: fails where one fell by more than a quarter since it was committed
  --write-ratios     measures the ratios and writes the file that is committed
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["cell", row, workers, seconds, chunks, folder] => cell(row, workers, seconds, chunks, folder),
        ["part", part, folder] => part_of(part, folder),
        ["work", kind, cycles, folder] => cycles
            .parse()
            .map_err(Fault::from)
            .and_then(|cycles| instructions::work(kind, cycles, folder.as_ref())),
        ["hold", engine, folder] => parts::hold(engine, folder.as_ref()),
        ["run", "--help" | "help"] => {
            print!("{HELP}");
            Ok(())
        }
        ["run", ref options @ ..] => run(options),
        _ => Err(format!("cannot do {words:?}\n\n{HELP}").into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("{fault}");
            ExitCode::FAILURE
        }
    }
}

/// A part, in an empty folder; the answer is one line of JSON.
fn part_of(part: &str, folder: &str) -> Result<(), Fault> {
    println!("{}", serde_json::to_string(&parts::run(part, folder.as_ref())?)?);
    Ok(())
}

/// One row at one number of workers, in an empty folder; the answer is one line of JSON.
fn cell(row: &str, workers: &str, seconds: &str, chunks: &str, folder: &str) -> Result<(), Fault> {
    let Run::Here(run) = rows::find(row)?.run else { return Err(format!("{row} is another program").into()) };
    let cell = Cell {
        workers: workers.parse()?,
        seconds: seconds.parse()?,
        chunks: chunks.parse()?,
        folder: folder.into(),
    };
    println!("{}", serde_json::to_string(&run(&cell)?)?);
    Ok(())
}

fn run(options: &[&str]) -> Result<(), Fault> {
    let plan = Plan::parse(options)?;
    match plan.purpose {
        Purpose::Check => return check::check(),
        Purpose::Write => return check::write(),
        Purpose::Show => {}
    }
    let mut report = Report::default();
    if plan.has("table") {
        report.table = table::measure(&plan)?;
    }
    if plan.has("parts") {
        let (facts, notes) = parts::measure(plan.full, &plan.folder)?;
        report.facts = facts;
        report.notes.extend(notes);
    }
    if plan.has("instructions") {
        eprintln!("instructions");
        match instructions::count(&plan.folder) {
            Ok(counted) => report.counted = counted,
            Err(why) => report.notes.push(format!("instructions were not counted: {why}")),
        }
        let _ = std::fs::remove_dir_all(&plan.folder);
    }
    let text = report.markdown();
    println!("{text}");
    if let Some(path) = &plan.markdown {
        std::fs::write(path, format!("# What `cargo xtask bench` measured\n\n{text}"))?;
    }
    if plan.readme {
        let readme = std::fs::read_to_string(README)?;
        std::fs::write(README, report::between_marks(&readme, &report.table_of_rates())?)?;
    }
    if let Some(path) = &plan.json {
        std::fs::write(path, serde_json::to_string_pretty(&report.json())? + "\n")?;
    }
    Ok(())
}
