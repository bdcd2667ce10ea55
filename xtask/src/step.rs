//! One step of a matrix: what it needs, what it runs, how it ended. A failed step never hides the ones after it.

use std::fmt;
use std::process::ExitCode;
use std::time::Instant;

use crate::process;
use crate::setup::Tool;

/// A named entry of a matrix. Built by `const` functions, so that a matrix reads as a table.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    needs: &'static [Tool],
    variables: &'static [(&'static str, &'static str)],
    action: Action,
}

#[derive(Clone, Copy)]
enum Action {
    /// Command lines, split at spaces; the first that fails ends the step.
    Lines(&'static [&'static str]),
    /// What a command line cannot say.
    Call(fn() -> Outcome),
}

impl Step {
    pub(crate) const fn lines(name: &'static str, lines: &'static [&'static str]) -> Self {
        Self { name, needs: &[], variables: &[], action: Action::Lines(lines) }
    }

    pub(crate) const fn call(name: &'static str, call: fn() -> Outcome) -> Self {
        Self { name, needs: &[], variables: &[], action: Action::Call(call) }
    }

    /// The tools that are set up before the step starts.
    pub(crate) const fn needs(mut self, tools: &'static [Tool]) -> Self {
        self.needs = tools;
        self
    }

    /// Environment variables of the step's command lines.
    pub(crate) const fn with(mut self, variables: &'static [(&'static str, &'static str)]) -> Self {
        self.variables = variables;
        self
    }

    fn execute(&self) -> Outcome {
        match self.action {
            Action::Call(call) => call(),
            Action::Lines(lines) => lines
                .iter()
                .try_for_each(|line| {
                    process::run(process::command(line).envs(self.variables.iter().copied()))
                })
                .into(),
        }
    }
}

/// How a step ended.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    Passed,
    /// The first line says what failed; the lines after it are what was printed last.
    Failed(String),
    /// Something outside the repository is absent, and going without it is allowed. Counted and shown, never green.
    NotRun(String),
}

impl From<Result<(), String>> for Outcome {
    fn from(result: Result<(), String>) -> Self {
        result.map_or_else(Self::Failed, |()| Self::Passed)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => write!(f, "passed"),
            Self::Failed(why) => write!(f, "FAILED: {}", why.lines().next().unwrap_or_default()),
            Self::NotRun(why) => write!(f, "not run: {why}"),
        }
    }
}

/// One line of the summary.
struct Row {
    name: String,
    seconds: f64,
    outcome: Outcome,
}

/// The steps called `names`, in the matrix's order; all of them if there are no names.
pub(crate) fn select(matrix: &[Step], names: &[String]) -> Result<Vec<Step>, String> {
    if let Some(unknown) = names.iter().find(|name| !matrix.iter().any(|step| step.name == **name)) {
        return Err(format!("there is no step {unknown:?}: cargo xtask help lists them"));
    }
    Ok(matrix
        .iter()
        .filter(|step| names.is_empty() || names.iter().any(|name| name == step.name))
        .copied()
        .collect())
}

/// Runs every step, prints the summary, and fails if any step did.
pub(crate) fn run(steps: &[Step]) -> ExitCode {
    let mut provided: Vec<(Tool, Result<(), String>)> = Vec::new();
    let mut rows = Vec::new();
    for step in steps {
        let (seconds, outcome) = timed(|| {
            for tool in step.needs {
                let known = provided.iter().position(|(known, _)| known == tool).unwrap_or_else(|| {
                    provided.push((*tool, tool.provide()));
                    provided.len() - 1
                });
                if let Err(why) = &provided[known].1 {
                    return Outcome::Failed(format!("needs {}: {why}", tool.name()));
                }
            }
            step.execute()
        });
        println!("{}: {outcome}", step.name);
        rows.push(Row { name: step.name.into(), seconds, outcome });
    }
    print!("{}", summary(&rows));
    if rows.iter().any(|row| matches!(row.outcome, Outcome::Failed(_))) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the seconds of the summary are for people; nothing is decided by them"
)]
fn timed(work: impl FnOnce() -> Outcome) -> (f64, Outcome) {
    let start = Instant::now();
    let outcome = work();
    (start.elapsed().as_secs_f64(), outcome)
}

/// What failed steps printed last, a table, and under it the count alone on its line, which is what a test runner's
/// reader looks for. Whoever sees only the end of a long output sees why it failed.
fn summary(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max("step".len());
    let row = |name: &str, seconds: &str, result: &str| format!("{name:width$}  {seconds:>7}  {result}\n");
    let mut text = String::new();
    for Row { name, outcome, .. } in rows {
        if let Outcome::Failed(why) = outcome
            && let Some((_, last)) = why.split_once('\n')
        {
            text.extend(["\nwhat ", name, " printed last:\n", last, "\n"]);
        }
    }
    text += "\n";
    text += &row("step", "seconds", "result");
    for Row { name, seconds, outcome } in rows {
        text += &row(name, &format!("{seconds:.1}"), &outcome.to_string());
    }
    let count = |wanted: fn(&Outcome) -> bool| rows.iter().filter(|row| wanted(&row.outcome)).count();
    let passed = count(|outcome| matches!(outcome, Outcome::Passed));
    let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
    let skipped = match rows.len() - passed - failed {
        0 => String::new(),
        skipped => format!(", {skipped} skipped"),
    };
    format!("{text}\n{passed} passed, {failed} failed{skipped}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: &[Step] = &[
        Step::lines("red", &["false", "touch target/must-not-appear"]),
        Step::lines("green", &["true"]).with(&[("A", "1")]),
        Step::call("absent", || Outcome::NotRun("no network".into())),
    ];

    #[test]
    fn a_failed_line_ends_its_step_and_a_variable_reaches_the_next() {
        assert!(matches!(STEPS[0].execute(), Outcome::Failed(why) if why.starts_with("false")));
        assert!(!process::root().join("target/must-not-appear").exists());
        assert_eq!(STEPS[1].execute(), Outcome::Passed);
    }

    #[test]
    fn steps_are_picked_by_name_in_the_order_of_the_matrix() {
        let picked = select(STEPS, &["absent".into(), "red".into()]).unwrap();
        assert_eq!(picked.iter().map(|step| step.name).collect::<Vec<_>>(), ["red", "absent"]);
        assert_eq!(select(STEPS, &[]).unwrap().len(), STEPS.len());
        assert!(select(STEPS, &["blue".into()]).is_err());
    }

    #[test]
    fn the_summary_closes_with_the_count_alone_on_its_line() {
        let rows = [
            Row {
                name: "red".into(),
                seconds: 0.25,
                outcome: Outcome::Failed("false: exit status: 1\nassertion failed\nin a.rs".into()),
            },
            Row { name: "absent".into(), seconds: 61.0, outcome: Outcome::NotRun("no network".into()) },
        ];
        let text = summary(&rows);
        assert!(text.starts_with("\nwhat red printed last:\nassertion failed\nin a.rs\n\nstep "), "{text}");
        assert!(text.contains("red         0.2  FAILED: false: exit status: 1\n"), "{text}");
        assert!(text.ends_with("\n0 passed, 1 failed, 1 skipped\n"), "{text}");
        assert!(summary(&rows[..1]).ends_with("\n0 passed, 1 failed\n"));
    }
}
