//! `cargo xtask`: sets a machine up, tests the whole workspace, runs the long proofs and the benchmark.
//!
//! Standard library only, so that the first command on a fresh clone starts in a second.

mod apt;
mod bench;
mod deny;
mod matrix;
mod pkg;
mod process;
mod python;
mod serve;
mod setup;
mod step;
mod wasm;
mod www;

use std::process::ExitCode;

use crate::setup::Tool;

const HELP: &str = "\
cargo xtask COMMAND

  setup [--wasm]   install what the tests need, or say what is missing; --wasm adds what the npm package needs
  test [STEP...]   run the test matrix, or the named steps of it; sets up what each step needs
  pkg              make the npm package, and say what it weighs
  www [PORT]       serve the demo page, on the package, at a port of this machine (default 8000)
  prove [STEP...]  run the long proofs, in release, with MAGNETAR_PROOF=full
  bench [OPTION...]  measure against peers and hand-written code; bench --help lists the options
  bench --js [OPTION...]  the npm package in Node, Chromium and Firefox; the options are in benches/js/run.mjs
  help             this text, and the names of the steps
";

/// What the command line asks for.
#[derive(Debug, PartialEq)]
enum Command {
    Setup { wasm: bool },
    Test(Vec<String>),
    Prove(Vec<String>),
    Bench(Vec<String>),
    Pkg,
    Www { port: u16 },
    Help,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = parse(&arguments).and_then(|command| match command {
        Command::Setup { wasm } => Ok(setup(wasm)),
        Command::Test(names) => Ok(step::run(&step::select(matrix::TEST, &names)?)),
        Command::Prove(names) => Ok(step::run(&step::select(matrix::PROVE, &names)?)),
        Command::Bench(options) => bench::bench(&options),
        Command::Pkg => Ok(step::run(&step::select(matrix::TEST, &["pkg".to_owned()])?)),
        Command::Www { port } => www::serve(port).map(|()| ExitCode::SUCCESS),
        Command::Help => {
            print!("{HELP}\ntest steps:  {}\nproofs:      {}\n", names(matrix::TEST), names(matrix::PROVE));
            Ok(ExitCode::SUCCESS)
        }
    });
    done.unwrap_or_else(|problem| {
        eprintln!("{problem}\n\n{HELP}");
        ExitCode::FAILURE
    })
}

fn parse(arguments: &[String]) -> Result<Command, String> {
    let Some((command, rest)) = arguments.split_first() else { return Ok(Command::Help) };
    let asks = |argument: &String| argument == "--help" || argument == "-h";
    match (command.as_str(), rest) {
        // The benchmark has options of its own, and a text about them.
        (command, rest) if command != "bench" && rest.iter().any(asks) => Ok(Command::Help),
        ("setup", []) => Ok(Command::Setup { wasm: false }),
        ("setup", [flag]) if flag == "--wasm" => Ok(Command::Setup { wasm: true }),
        ("test", names) => Ok(Command::Test(names.to_vec())),
        ("pkg", []) => Ok(Command::Pkg),
        ("www", []) => Ok(Command::Www { port: 8000 }),
        ("www", [port]) => match port.parse() {
            Ok(port) => Ok(Command::Www { port }),
            Err(_) => Err(format!("{port:?} is no port: a number up to 65535; 0 takes a free one")),
        },
        ("prove", names) => Ok(Command::Prove(names.to_vec())),
        ("bench", options) => Ok(Command::Bench(options.to_vec())),
        ("help" | "--help" | "-h", _) => Ok(Command::Help),
        _ => Err(format!("cargo xtask cannot do {:?}", arguments.join(" "))),
    }
}

/// Goes through every tool even after one could not be had, so that one run names all that is missing.
fn setup(wasm: bool) -> ExitCode {
    let mut tools = vec![Tool::Components, Tool::CCompiler, Tool::Strace, Tool::Valgrind, Tool::Deny];
    if wasm {
        tools.extend([Tool::Wasm, Tool::Bindgen, Tool::Node, Tool::Chromium, Tool::Firefox, Tool::Drivers]);
    }
    let mut code = ExitCode::SUCCESS;
    for tool in tools {
        if tool.provide().is_err() {
            code = ExitCode::FAILURE;
        }
    }
    code
}

fn names(steps: &[step::Step]) -> String {
    steps.iter().map(|step| step.name).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn every_command_is_understood_and_anything_else_is_refused_by_name() {
        assert_eq!(parsed(""), Ok(Command::Help));
        assert_eq!(parsed("setup --wasm"), Ok(Command::Setup { wasm: true }));
        assert_eq!(parsed("test fmt doc"), Ok(Command::Test(vec!["fmt".into(), "doc".into()])));
        assert_eq!(parsed("bench --seconds 1"), Ok(Command::Bench(vec!["--seconds".into(), "1".into()])));
        assert_eq!(parsed("prove"), Ok(Command::Prove(vec![])));
        assert_eq!(parsed("www"), Ok(Command::Www { port: 8000 }));
        assert_eq!(parsed("www 0"), Ok(Command::Www { port: 0 }));
        assert_eq!(parsed("test --help"), Ok(Command::Help));
        assert_eq!(parsed("bench --help"), Ok(Command::Bench(vec!["--help".into()])));
        assert!(parsed("www 70000").unwrap_err().contains("70000"));
        assert!(parsed("setup --everything").unwrap_err().contains("setup --everything"));
    }

    #[test]
    fn the_names_of_steps_are_one_word_and_unique() {
        for steps in [matrix::TEST, matrix::PROVE] {
            for (at, step) in steps.iter().enumerate() {
                assert!(!step.name.contains(char::is_whitespace), "{:?}", step.name);
                assert!(!steps[..at].iter().any(|other| other.name == step.name), "{:?} twice", step.name);
            }
        }
    }
}
