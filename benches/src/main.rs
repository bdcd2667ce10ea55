//! The same work on Magnetar, on hand-written code and on peers: one table from one run.
//!
//! `cargo xtask bench` builds this and its peers in release and starts it. Each measurement is a process of its own, so
//! that no row inherits the memory, the threads or the open files of the one before it.

mod cell;
mod clock;
mod disk;
mod hand;
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
use plan::Plan;
use report::Report;
use rows::Run;

/// Whatever went wrong, for people.
type Fault = Box<dyn std::error::Error + Send + Sync>;

const HELP: &str = "\
cargo xtask bench [OPTION...]

  --folder DIR       where the stores are: the disk that is measured (default target/bench)
  --steady           files in memory and syncs of 0.145 ms, made by strace: for a machine whose disk others use too
  --seconds N        length of one cell (default 0.5)
  --repetitions N    how often each cell is measured (default 3)
  --rows A,B...      these rows only
  --workers N,M...   these numbers of workers only
  --json FILE        the results as JSON too
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["cell", row, workers, seconds, chunks, folder] => cell(row, workers, seconds, chunks, folder),
        ["part", part, folder] => parts::run(part, folder.as_ref())
            .and_then(|facts| Ok(println!("{}", serde_json::to_string(&facts)?))),
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
    let report = Report { table: table::measure(&plan)? };
    println!("{}", report.markdown());
    if let Some(path) = &plan.json {
        std::fs::write(path, serde_json::to_string_pretty(&report.json())? + "\n")?;
    }
    Ok(())
}
