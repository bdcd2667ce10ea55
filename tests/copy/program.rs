//! Starts the example as a process of its own, reads what it says, kills it.
//!
//! The example's sources are compiled into this test, which starts itself again as the program: so it is always the
//! program of these sources, with these features, whichever tests are picked.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Lines};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Resource, Rlimit, setrlimit};

#[path = "../../examples/resumable_copy/main.rs"]
#[allow(dead_code, reason = "its `main` is this test's")]
mod resumable_copy;

const ARGUMENTS: &str = "MAGNETAR_COPY_ARGUMENTS";
const FILES_OPEN: &str = "MAGNETAR_COPY_FILES_OPEN";

/// What [`Program::start`] starts.
#[test]
#[ignore = "it is the program that the other tests start"]
fn child() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let arguments: Vec<String> = serde_json::from_str(&arguments).expect("a list of arguments");
    if let Ok(most) = std::env::var(FILES_OPEN) {
        let most = most.parse().ok();
        setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).expect("less is always allowed");
    }
    #[cfg(target_os = "linux")]
    give_up_the_rights_of_root();
    let code = resumable_copy::run(arguments.into_iter().map(Into::into));
    let failed = format!("{code:?}") != format!("{:?}", std::process::ExitCode::SUCCESS);
    let usage = format!("{code:?}") == format!("{:?}", std::process::ExitCode::from(2));
    std::process::exit(if usage { 2 } else { i32::from(failed) });
}

/// Root may read and write everything, whatever a file's own rights are, and would see no difference. The threads that this
/// one starts have no more rights than it has.
#[cfg(target_os = "linux")]
fn give_up_the_rights_of_root() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let mut sets = capabilities(None).expect("they can be asked for");
    sets.effective.remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
    set_capabilities(None, sets).expect("less is always allowed");
}

/// A folder with a source in it and room for a destination; the program's paths.
#[derive(Debug)]
pub(crate) struct Place {
    folder: tempfile::TempDir,
    engine: &'static str,
    /// Files that the program may have open at a time; `None` where the system says.
    files_open: Option<u64>,
}

impl Place {
    pub(crate) fn new(engine: &'static str) -> Self {
        let place =
            Place { folder: tempfile::tempdir().expect("a temporary folder"), engine, files_open: None };
        fs::create_dir(place.source()).unwrap();
        fs::create_dir(place.beside()).unwrap();
        place
    }

    /// The same, where the program may have so many files open at a time.
    pub(crate) fn with_files_open(mut self, most: u64) -> Self {
        self.files_open = Some(most);
        self
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    /// What holds the destination, and beside it the store.
    pub(crate) fn beside(&self) -> PathBuf {
        self.folder.path().join("beside")
    }

    pub(crate) fn target(&self) -> PathBuf {
        self.beside().join("target")
    }

    /// Runs to the end.
    pub(crate) fn run(&self, options: &[&str]) -> Ended {
        self.start(options).end()
    }

    /// Runs to the end, which must be good.
    pub(crate) fn copy(&self, options: &[&str]) -> Ended {
        let ended = self.run(options);
        assert_eq!(ended.code, Some(0), "{ended:#?}");
        ended
    }

    pub(crate) fn start(&self, options: &[&str]) -> Program {
        self.start_between(&self.source(), &self.target(), options)
    }

    pub(crate) fn start_between(&self, source: &Path, target: &Path, options: &[&str]) -> Program {
        let mut arguments: Vec<&str> = vec!["--store", self.engine, "--log-worked", "/dev/stdout"];
        arguments.extend(options);
        arguments.extend(["--", source.to_str().unwrap(), target.to_str().unwrap()]);
        let errors = self.folder.path().join("errors");
        let files_open = self.files_open.map(|most| (FILES_OPEN, most.to_string()));
        let mut child = Command::new(std::env::current_exe().unwrap())
            // Two, or else the harness writes the test's name into the program's first line.
            .args(["--exact", "program::child", "--ignored", "--nocapture", "--test-threads=2"])
            .env(ARGUMENTS, serde_json::to_string(&arguments).unwrap())
            .envs(files_open)
            .stdout(Stdio::piped())
            .stderr(File::create(&errors).unwrap())
            .spawn()
            .expect("this test starts itself");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Program { child, lines, errors, worked: Vec::new(), said: Vec::new() }
    }
}

/// What was copied without the right to write in it could not be removed otherwise.
impl Drop for Place {
    fn drop(&mut self) {
        let mut left = vec![self.folder.path().to_owned()];
        while let Some(path) = left.pop() {
            // Where it fails, a folder stays in the system's place for temporary ones.
            let _ = fs::set_permissions(&path, fs::Permissions::from_mode(0o700));
            let Ok(children) = fs::read_dir(&path) else { continue };
            left.extend(
                children
                    .flatten()
                    .filter(|child| child.file_type().is_ok_and(|kind| kind.is_dir()))
                    .map(|child| child.path()),
            );
        }
    }
}

/// A running program.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    errors: PathBuf,
    worked: Vec<u64>,
    said: Vec<String>,
}

/// What it came to.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None`: it was killed.
    pub(crate) code: Option<i32>,
    /// The pieces that were worked on, in order.
    pub(crate) worked: Vec<u64>,
    /// The other lines of its output.
    pub(crate) said: Vec<String>,
    pub(crate) errors: String,
}

impl Program {
    /// Reads one line. `false` at the end.
    fn read(&mut self) -> bool {
        let Some(line) = self.lines.next() else { return false };
        let line = line.expect("its output is text");
        match line.parse() {
            Ok(piece) => self.worked.push(piece),
            Err(_) => self.said.push(line),
        }
        true
    }

    /// Reads until so many pieces were worked on, or the end.
    pub(crate) fn until_worked(&mut self, pieces: usize) {
        while self.worked.len() < pieces && self.read() {}
    }

    /// Reads until it said something that starts so, or the end.
    pub(crate) fn until_said(&mut self, start: &str) {
        while !self.said.last().is_some_and(|line| line.starts_with(start)) && self.read() {}
    }

    /// Whether it has said something on its standard error so far.
    pub(crate) fn complained(&self, text: &str) -> bool {
        fs::read_to_string(&self.errors).unwrap().contains(text)
    }

    /// Kills it as `kill -9` does, and reads what it had said.
    pub(crate) fn kill(mut self) -> Ended {
        self.child.kill().expect("it is our child");
        self.end()
    }

    pub(crate) fn end(mut self) -> Ended {
        while self.read() {}
        let status = self.child.wait().expect("it is our child");
        let errors = fs::read_to_string(&self.errors).unwrap();
        Ended { code: status.code(), worked: self.worked, said: self.said, errors }
    }
}

impl Ended {
    /// The number before a word in a line that starts so.
    pub(crate) fn count(&self, start: &str, before: &str) -> u64 {
        let line = self
            .said
            .iter()
            .rfind(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("{start}: {self:#?}"));
        let words: Vec<&str> = line.split([' ', ',', ';']).collect();
        let at = words.iter().position(|word| *word == before).unwrap_or_else(|| panic!("{before}: {line}"));
        words[at - 1].parse().unwrap_or_else(|_| panic!("a number before {before}: {line}"))
    }

    pub(crate) fn complained(&self, text: &str) -> bool {
        self.errors.contains(text)
    }
}
