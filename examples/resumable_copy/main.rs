//! Copies a file or a folder tree in pieces, so that a copy that was killed goes on where it stood.
//!
//! ```text
//! cargo run --release --example resumable_copy -- src target/copy
//! ```
//!
//! Every piece of every file is a chunk of a Magnetar job: path, offset and length in its payload, its BLAKE3 hash as its
//! checksum. Workers claim pieces, read them, check them against the manifest, write them, read them back, sync the file,
//! and only then complete them. What is recorded as done is on disk; everything else is done again by the next run.
//!
//! - [`args`]: the command line.
//! - [`scan`]: what the source holds.
//! - [`record`]: what the store holds about it, as payloads and ids.
//! - [`plan`]: what differs between the two; hashing.
//! - [`ledger`]: the store itself: opening, importing, forgetting.
//! - [`target`]: folders, files, links and their attributes on the other side.
//! - [`copy`]: the workers.
//! - [`session`]: one run from start to end.
//! - [`report`]: what people see of it.

mod args;
mod copy;
mod failure;
mod ledger;
mod plan;
mod record;
mod report;
mod scan;
mod session;
mod target;

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    run(std::env::args_os().skip(1))
}

/// The whole program, for given arguments.
pub(crate) fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let outcome = match args::parse(arguments) {
        Ok(args::Command::Help) => {
            print!("{}", args::HELP);
            return ExitCode::SUCCESS;
        }
        Ok(args::Command::Copy(options)) => session::run(&options),
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
