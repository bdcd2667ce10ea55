//! Starting other programs: every one whose output matters is printed first, so that it can be repeated by hand.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, PipeReader, Write};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// How many of a failed command's last lines its error repeats.
const LAST_LINES: usize = 60;

/// How long what a command left running may keep its output open after its own end.
const OUTPUT_WAIT: Duration = Duration::from_secs(10);

/// The top of the repository. Every command runs there unless it says otherwise.
pub(crate) fn root() -> PathBuf {
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("the xtask package sits inside the workspace").to_owned()
}

/// Where cargo puts what it builds of the workspace: users may have a folder of their own for all that they build.
pub(crate) fn target() -> PathBuf {
    root().join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// Installs a tool that is quick enough as it is: not optimized, and with nothing for a debugger, it is built soonest.
pub(crate) fn quick_install(tool: &str) -> Command {
    let mut install = command(&format!("cargo install {tool} --debug --quiet"));
    install.env("CARGO_PROFILE_DEV_DEBUG", "false");
    install
}

/// A command from one line, split at spaces, to run at the top of the repository.
pub(crate) fn command(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().expect("a command line names a program"));
    command.args(words).current_dir(root());
    command
}

/// Prints the command, runs it and passes its output on. If it did not end well, the first line of the error says
/// which command and how, and the lines after it are the last that it printed: a summary at the end of a long output
/// can show them again.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let shown = show(command);
    println!("\n$ {shown}");
    match passed_on(command) {
        Ok((status, _)) if status.success() => Ok(()),
        Ok((status, last)) => Err(format!("{shown}: {status}{last}")),
        Err(error) => Err(format!("{shown}: {error}")),
    }
}

/// Runs a command whose two outputs are one pipe, so that their lines stay in order.
fn passed_on(command: &mut Command) -> io::Result<(ExitStatus, String)> {
    let (output, input) = io::pipe()?;
    let child = command.stdin(Stdio::null()).stdout(input.try_clone()?).stderr(input).spawn();
    // The command keeps the pipe's other end, and as long as anybody does the pipe has no end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (tell, lines) = mpsc::channel();
    thread::spawn(move || pass_on(output, &tell));
    let mut child = child?;
    let mut last = VecDeque::new();
    let mut keep = |line: String| {
        last.push_back(line);
        if last.len() > LAST_LINES {
            last.pop_front();
        }
    };
    let status = child.wait()?;
    while let Ok(line) = lines.recv_timeout(OUTPUT_WAIT) {
        keep(line);
    }
    Ok((status, last.iter().flat_map(|line| ["\n", line]).collect()))
}

/// Prints every line as it comes, and tells of it, until nobody holds the pipe's other end.
fn pass_on(output: PipeReader, tell: &mpsc::Sender<String>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        // Whoever closed our own output does not want it; the command goes on.
        _ = io::stdout().write_all(&line);
        _ = tell.send(String::from_utf8_lossy(&line).trim_end().to_owned());
        line.clear();
    }
}

/// What a command prints, or nothing if it cannot be started or fails. Quiet: for questions, not for work.
pub(crate) fn ask(line: &str) -> Option<String> {
    let output = command(line).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn show(command: &Command) -> String {
    let mut words = Vec::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!("{}={}", name.display(), quoted(&value.to_string_lossy())));
        }
    }
    words.push(command.get_program().to_string_lossy().into_owned());
    words.extend(command.get_args().map(|argument| quoted(&argument.to_string_lossy())));
    words.join(" ")
}

fn quoted(word: &str) -> String {
    if word.is_empty() || word.contains(|c: char| c.is_whitespace() || "'\"$;&|<>()*?".contains(c)) {
        format!("'{}'", word.replace('\'', r"'\''"))
    } else {
        word.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_a_shell_would_take_it() {
        let mut shown = command("cargo test --all-features");
        shown.env("A", "two words").arg("it's");
        assert_eq!(show(&shown), r"A='two words' cargo test --all-features 'it'\''s'");
    }

    #[test]
    fn a_command_that_fails_says_how_and_what_it_printed_last() {
        let mut failing = Command::new("sh");
        failing.args(["-c", "seq 100; echo here >&2; exit 3"]);
        let error = run(&mut failing).unwrap_err();
        let lines: Vec<_> = error.lines().collect();
        assert!(lines[0].ends_with("exit status: 3"), "{error}");
        assert_eq!(lines.len(), 1 + LAST_LINES);
        assert_eq!(lines[LAST_LINES - 1..], ["100", "here"]);
        assert_eq!(run(&mut command("true")), Ok(()));
    }

    #[test]
    fn a_program_that_does_not_exist_is_an_error_that_names_it() {
        assert!(
            run(&mut command("no-such-program-here --flag")).unwrap_err().contains("no-such-program-here")
        );
        assert_eq!(ask("no-such-program-here"), None);
    }
}
