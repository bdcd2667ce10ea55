//! Exports, read by software that is not ours: Polars and DuckDB, from Python's package index into a folder of their
//! own.

use std::fs;
use std::path::Path;

use crate::process::{command, run};
use crate::step::Outcome;

/// The versions that `check.py` was written for.
const PACKAGES: [&str; 2] = ["polars==2.1.0", "duckdb==2.0.0"];

/// What Debian needs for a `venv`.
const ADVICE: &str = "install Python 3 with its venv module";

pub(crate) fn exports() -> Outcome {
    let folder = crate::process::root().join("target").join("other-software");
    let python = match python(&folder.join("venv")) {
        Ok(python) => python,
        Err(why) => return Outcome::NotRun(why),
    };
    let exports = folder.join("exports");
    // What an earlier version wrote must not pass for what this one writes.
    if exports.exists()
        && let Err(error) = fs::remove_dir_all(&exports)
    {
        return Outcome::Failed(format!("{}: {error}", exports.display()));
    }
    let mut write = command(
        "cargo test --all-features --test export -- --exact outside::files_are_written_for_other_software_to_read",
    );
    if let Err(why) = run(write.env("MAGNETAR_EXPORTS", &exports)) {
        return Outcome::Failed(why);
    }
    let mut check = command(&python);
    run(check.arg("tests/export/check.py").arg(&exports)).into()
}

/// A Python that has the packages, or why there is none.
fn python(venv: &Path) -> Result<String, String> {
    let python = venv.join("bin").join("python3").display().to_string();
    let versions =
        "import importlib.metadata as m;print(*(f'{p}=={m.version(p)}' for p in ('polars','duckdb')))";
    let has_packages = || {
        let asked = command(&python).args(["-c", versions]).output().ok()?;
        let found = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
        (asked.status.success() && found == PACKAGES.join(" ")).then_some(())
    };
    if has_packages().is_some() {
        return Ok(python);
    }
    let mut create = command("python3 -m venv --clear");
    run(create.arg(venv)).map_err(|why| format!("no Python: {why}; {ADVICE}"))?;
    let mut install = command(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]);
    run(install.args(PACKAGES)).map_err(|why| format!("Python's packages cannot be had: {why}"))?;
    has_packages().map(|()| python).ok_or_else(|| "the packages were installed and are not there".into())
}
