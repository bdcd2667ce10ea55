//! cargo-deny: what may stand in the dependency tree. The rules are in `.deny.toml`.

use crate::process::{ask, command, quick_install, run};
use crate::step::Outcome;

/// The version that `.deny.toml` was written for. Building it takes minutes, so it is built once per machine.
const VERSION: &str = "0.20.2";

pub(crate) fn provide() -> Result<String, String> {
    if let Some(found) = ask("cargo deny --version") {
        return Ok(format!("found {found}"));
    }
    println!("cargo-deny is built from source; this takes a few minutes, once per machine");
    run(&mut quick_install(&format!("cargo-deny --version ={VERSION} --locked")))?;
    ask("cargo deny --version")
        .map(|found| format!("installed {found}"))
        .ok_or_else(|| "it does not start".into())
}

/// The database of advisories is fetched apart from the check, because its absence is no fault of the tree:
/// a machine that cannot reach it reports a step that was not run.
pub(crate) fn advisories() -> Outcome {
    if run(&mut command("cargo deny fetch db")).is_err() {
        return Outcome::NotRun("advisory database unreachable".into());
    }
    run(&mut command("cargo deny --offline check advisories")).into()
}
