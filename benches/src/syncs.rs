//! How many syncs a program asks its kernel for while it is measured: counted by strace, from outside.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Fault;
use crate::clock::Measured;

/// What a sync takes on the disk that is imitated, and what of that strace itself takes for one.
const IMITATED_US: u64 = 145;
const TRACING_US: u64 = 35;

/// The system calls that make something durable.
const CALLS: [&str; 4] = ["fsync", "fdatasync", "msync", "sync_file_range"];

/// Counts the syncs of one program at a time.
pub(crate) struct Tracer {
    log: PathBuf,
}

impl Tracer {
    /// `None` where strace is not installed or may not trace.
    pub(crate) fn find(log: PathBuf) -> Option<Self> {
        let tried = Command::new("strace").args(["-qq", "-o"]).arg(&log).arg("true").status();
        tried.is_ok_and(|status| status.success()).then_some(Tracer { log })
    }

    /// The same command under the tracer; where a disk is imitated, each sync takes as long as it would there.
    pub(crate) fn around(&self, program: &Path, arguments: &[String], imitate: bool) -> Command {
        let mut command = Command::new("strace");
        command.args(["-f", "--seccomp-bpf", "-qq", "-ttt", "-e"]);
        command.arg(format!("trace={}", CALLS.join(","))).arg("-o").arg(&self.log);
        if imitate {
            let delay = IMITATED_US - TRACING_US;
            command.arg("-e").arg(format!("inject={}:delay_enter={delay}", CALLS.join(",")));
        }
        command.arg(program).args(arguments);
        command
    }

    /// How many there were while the program measured.
    pub(crate) fn count(&self, measured: &Measured) -> Result<u64, Fault> {
        Ok(count(&std::fs::read_to_string(&self.log)?, measured))
    }
}

fn count(log: &str, measured: &Measured) -> u64 {
    let began = log.lines().filter(|line| {
        let mut words = line.split_whitespace();
        let (Some(_), Some(at), Some(call)) = (words.next(), words.next(), words.next()) else {
            return false;
        };
        let Ok(at) = at.replace('.', "").parse::<u64>() else { return false };
        // A call that others interrupt has a second line, which says that it was resumed.
        (measured.began_us..=measured.ended_us).contains(&at)
            && call.split_once('(').is_some_and(|(name, _)| CALLS.contains(&name))
    });
    began.count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_beginnings_of_syncs_within_the_slice_are_counted() {
        let log = "\
7 1000.000001 fdatasync(3) = 0
7 1000.000100 fdatasync(3 <unfinished ...>
8 1000.000150 fsync(4) = 0
7 1000.000200 <... fdatasync resumed>) = 0
7 1000.000300 fdatasync(3) = 0
";
        let measured = Measured { cycles: 1, seconds: 0.0, began_us: 1_000_000_100, ended_us: 1_000_000_299 };
        assert_eq!(count(log, &measured), 2);
    }
}
