//! The tools that steps need. Each is looked for first, so that providing it twice changes nothing.

use crate::process::{ask, command, run};
use crate::{apt, deny, pkg, wasm};

/// Something that has to be on the machine before a step can run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Tool {
    /// rustfmt and clippy.
    Components,
    /// The bundled SQLite is C. Whatever linked this program may not be what CC names.
    CCompiler,
    /// Lets the tests count the syncs of a commit. They say so where it is absent.
    Strace,
    /// Lets the benchmark count instructions. It says so where it is absent.
    Valgrind,
    /// For a peer of the npm package's benchmark. It says so where it is absent.
    Redis,
    /// cargo-deny.
    Deny,
    /// A standard library for wasm32-unknown-unknown.
    Wasm,
    /// wasm-bindgen's command line tool.
    Bindgen,
    /// npm, and the tools that it installs.
    Node,
    /// A browser that the package is run in.
    Chromium,
    /// Another one.
    Firefox,
    /// What steers both of them for the runner of the suite.
    Drivers,
}

impl Tool {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Components => "rust-components",
            Self::CCompiler => "c-compiler",
            Self::Strace => "strace",
            Self::Valgrind => "valgrind",
            Self::Redis => "redis-server",
            Self::Deny => "cargo-deny",
            Self::Wasm => "wasm32-target",
            Self::Bindgen => "wasm-bindgen",
            Self::Node => "node",
            Self::Chromium => "chromium",
            Self::Firefox => "firefox-esr",
            Self::Drivers => "browser-drivers",
        }
    }

    /// Finds the tool or installs it, and prints which of the two it was.
    pub(crate) fn provide(self) -> Result<(), String> {
        let provided = match self {
            Self::Components => components(),
            Self::CCompiler => c_compiler(),
            Self::Strace => Ok(optional("strace", "those who count syncs will say that they did not run")),
            Self::Valgrind => Ok(optional("valgrind", "the benchmark will not count instructions")),
            Self::Redis => Ok(optional("redis-server", "BullMQ will be missing from the table")),
            Self::Deny => deny::provide(),
            Self::Wasm => wasm::provide(),
            Self::Bindgen => pkg::provide_bindgen(),
            Self::Node => pkg::provide_node(),
            Self::Chromium | Self::Firefox => browser(self.name()),
            Self::Drivers => pkg::provide_drivers(),
        };
        match &provided {
            Ok(what) => println!("setup {}: {what}", self.name()),
            Err(why) => println!("setup {}: MISSING: {why}", self.name()),
        }
        provided.map(|_| ())
    }
}

fn components() -> Result<String, String> {
    let found = || Some(format!("{}, {}", ask("cargo fmt --version")?, ask("cargo clippy --version")?));
    if let Some(found) = found() {
        return Ok(format!("found {found}"));
    }
    run(&mut command("rustup component add rustfmt clippy"))?;
    found().map(|found| format!("installed {found}")).ok_or_else(|| "rustfmt or clippy does not start".into())
}

fn c_compiler() -> Result<String, String> {
    // The build scripts that compile C obey CC, so the question is about the same program.
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let found =
        || ask(&format!("{compiler} --version")).and_then(|text| text.lines().next().map(String::from));
    if let Some(found) = found() {
        return Ok(format!("found {found}"));
    }
    apt::install(&["build-essential"])?;
    found().map(|found| format!("installed {found}")).ok_or_else(|| format!("{compiler} does not start"))
}

/// A browser from Debian's packages: the drivers expect it where those put it.
fn browser(package: &str) -> Result<String, String> {
    let found = || ask(&format!("/usr/bin/{package} --version"));
    if let Some(found) = found() {
        return Ok(format!("found {found}"));
    }
    apt::install(&[package])?;
    found().map(|found| format!("installed {found}")).ok_or_else(|| format!("{package} does not start"))
}

/// What is installed where that is possible, and done without where it is not.
fn optional(program: &str, without: &str) -> String {
    let found =
        || ask(&format!("{program} --version")).and_then(|text| text.lines().next().map(String::from));
    if let Some(found) = found() {
        return format!("found {found}");
    }
    let installed = apt::install(&[program]);
    match (found(), installed) {
        (Some(found), _) => format!("installed {found}"),
        (None, why) => format!("absent, which is allowed: {without} ({})", why.err().unwrap_or_default()),
    }
}
