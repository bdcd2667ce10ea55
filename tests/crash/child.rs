//! Child processes: this test binary again, at one of its tests, told what to do by the environment.
#![allow(dead_code, reason = "several suites share it, and each uses a part")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};

/// What the environment tells a child; absent in the tests of the parent.
const TOLD: &str = "MAGNETAR_CHILD";

/// In a child: what it was told. `None` in a run of the tests by hand.
pub(crate) fn told() -> Option<Vec<String>> {
    std::env::var(TOLD).ok().map(|text| text.split('\n').map(str::to_owned).collect())
}

/// In a child: tells the parent, at once and whole.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A parent that has gone needs no answer.
    let _ = out.write_all(format!("{MARK}{line}\n").as_bytes()).and_then(|()| out.flush());
}

/// In a child: waits until the parent says go, or is gone.
pub(crate) fn wait_for_go() {
    let mut nothing = Vec::new();
    std::io::stdin().read_to_end(&mut nothing).expect("standard input is a pipe");
}

/// Stands in front of every line of ours, among those of the test harness.
const MARK: &str = "child: ";

/// A child under way. Killed and waited for when it is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    go: Option<ChildStdin>,
    out: BufReader<ChildStdout>,
    err: ChildStderr,
}

impl Running {
    /// Starts the child that is the test of this name, which is `#[ignore]`d otherwise.
    pub(crate) fn start(test: &str, told: &[&str]) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this binary has a path"))
            .args(["--exact", test, "--ignored", "--nocapture", "--quiet", "--test-threads=1"])
            .env(TOLD, told.join("\n"))
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("this binary starts");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        let err = child.stderr.take().expect("it is piped");
        let go = child.stdin.take();
        Running { child, go, out, err }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that the child says; `None` at its end.
    pub(crate) fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        loop {
            line.clear();
            let bytes = self.out.read_line(&mut line).expect("the child speaks text");
            // A line without its end was cut short by the kill: the child never got to have said it.
            if bytes == 0 || !line.ends_with('\n') {
                return None;
            }
            // The harness says things in the same line before the test starts.
            if let Some((_, said)) = line.trim_end().split_once(MARK) {
                return Some(said.to_owned());
            }
        }
    }

    /// Lets a child go on that waits for it.
    pub(crate) fn go(&mut self) {
        drop(self.go.take());
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the child can be killed");
    }

    /// Waits for the end; says whether it was a good one, and what the child had to say about it.
    pub(crate) fn wait(&mut self) -> (bool, String) {
        let mut said = String::new();
        self.err.read_to_string(&mut said).expect("the child complains in text");
        let status = self.child.wait().expect("the child can be waited for");
        (status.success(), format!("{status}: {said}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
