//! Starting other programs: every one whose output matters is printed first, so that it can be repeated by hand.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The top of the repository. Every command runs there unless it says otherwise.
pub(crate) fn root() -> PathBuf {
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("the xtask package sits inside the workspace").to_owned()
}

/// A command from one line, split at spaces, to run at the top of the repository.
pub(crate) fn command(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().expect("a command line names a program"));
    command.args(words).current_dir(root());
    command
}

/// Prints the command, runs it with this program's own output, and says how it ended if not well.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let shown = show(command);
    println!("\n$ {shown}");
    match command.stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{shown}: {status}")),
        Err(error) => Err(format!("{shown}: {error}")),
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
    fn a_program_that_does_not_exist_is_an_error_that_names_it() {
        assert!(
            run(&mut command("no-such-program-here --flag")).unwrap_err().contains("no-such-program-here")
        );
        assert_eq!(ask("no-such-program-here"), None);
    }
}
