//! The wasm32-unknown-unknown target: found, added by rustup, or built from Debian's compiler for the web.
//!
//! The last way is for machines where rustup has no server to ask. Debian packages a compiler that knows the target,
//! with the sources of the standard library but not the library itself, so that is built here once and linked to
//! rustup as the toolchain `web`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::{ask, command, run};
use crate::step::Outcome;
use crate::{apt, pkg};

pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// The first that can compile for the target is used; the plain toolchain is what users have.
const TOOLCHAINS: [&str; 2] = ["", "+web"];

/// What is checked and tested is built with it, so that macros are built once for both.
const PROFILE: &str = "wasm-test";

/// The empty crate that the standard library is built for.
const EMPTY: &str = "std_for_the_web";

pub(crate) fn provide() -> Result<String, String> {
    if let Some(toolchain) = toolchain() {
        return Ok(format!("found, {}", named(toolchain)));
    }
    if let Err(problem) = run(&mut command(&format!("rustup target add {TARGET}"))) {
        println!("{problem}\nrustup could not add the target; building it from Debian's packages");
        from_debian()?;
    }
    match toolchain() {
        Some(toolchain) => Ok(format!("installed, {}", named(toolchain))),
        None => Err(format!("no toolchain compiles for {TARGET}")),
    }
}

/// Proof that `src` compiles for the target, with the features that a plain dependency on the crate has.
pub(crate) fn check() -> Outcome {
    let Some(toolchain) = toolchain() else {
        return Outcome::Failed(format!("no toolchain compiles for {TARGET}: cargo xtask setup --wasm"));
    };
    let check =
        format!("cargo {toolchain} check --package magnetar --lib --profile {PROFILE} --target {TARGET}");
    run(&mut command(&check)).into()
}

/// A browser that the suites run in, by the driver that they steer it with.
#[derive(Clone, Copy)]
enum Browser {
    Chromium,
    Firefox,
}

/// The suite of every store, in Node.
pub(crate) fn suite_in_node() -> Outcome {
    suite("conformance", &[]).into()
}

/// The same in Chromium, in memory and in the private files of the page's origin.
pub(crate) fn suite_in_chromium() -> Outcome {
    suite_in(Browser::Chromium).into()
}

/// The same in Firefox.
pub(crate) fn suite_in_firefox() -> Outcome {
    suite_in(Browser::Firefox).into()
}

fn suite_in(browser: Browser) -> Result<(), String> {
    let driver = match browser {
        Browser::Chromium => ("CHROMEDRIVER", "/usr/bin/chromedriver".into()),
        Browser::Firefox => ("GECKODRIVER", pkg::tool("geckodriver").display().to_string()),
    };
    suite("web", &[driver])
}

/// Builds a test binary for the web and has wasm-bindgen's runner run it.
fn suite(name: &str, variables: &[(&str, String)]) -> Result<(), String> {
    let toolchain = toolchain().ok_or("no toolchain compiles for the web: cargo xtask setup --wasm")?;
    let mut test =
        command(&format!("cargo {toolchain} test --package magnetar --profile {PROFILE} --target {TARGET}"));
    test.args(["--test", name]);
    test.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", pkg::tool("wasm-bindgen-test-runner"));
    test.env("PATH", pkg::path_with_node()?);
    test.envs(variables.iter().map(|(name, value)| (*name, value)));
    run(&mut test)
}

fn named(toolchain: &str) -> String {
    if toolchain.is_empty() { "in the default toolchain".into() } else { format!("with cargo {toolchain}") }
}

/// The first toolchain that compiles for the target.
pub(crate) fn toolchain() -> Option<&'static str> {
    TOOLCHAINS.into_iter().find(|toolchain| compiles(toolchain))
}

/// Compiles nothing, which loads the standard library: one that is absent, or that another compiler's upgrade has
/// left behind, shows here.
fn compiles(toolchain: &str) -> bool {
    let Ok(scratch) = Scratch::new("probe") else { return false };
    let mut probe =
        command(&format!("rustc {toolchain} --target {TARGET} --crate-type lib --emit metadata -"));
    probe.arg("-o").arg(scratch.path.join("probe.rmeta"));
    probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

fn from_debian() -> Result<(), String> {
    apt::install(&["rustc-web", "cargo-web", "rust-web-src", "rust-web-llvm"])?;
    let version = ask("/usr/bin/rustc --version --verbose").ok_or("/usr/bin/rustc does not start")?;
    let llvm =
        llvm_major(&version).ok_or_else(|| format!("/usr/bin/rustc names no LLVM version:\n{version}"))?;
    apt::install(&[&format!("lld-{llvm}")])?;

    let scratch = Scratch::new("std").map_err(|error| format!("no temporary folder: {error}"))?;
    let built = build_std(&scratch.path)?;
    install_std(&built)
        .map_err(|error| format!("the standard library was built but not installed: {error}"))?;
    run(&mut command("rustup toolchain link web /usr"))
}

fn llvm_major(version: &str) -> Option<&str> {
    version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?.split('.').next()
}

/// Builds the standard library as a by-product of an empty crate and returns the folder it is in.
fn build_std(folder: &Path) -> Result<PathBuf, String> {
    let manifest =
        format!("[package]\nname = \"{EMPTY}\"\nedition = \"2024\"\n[lib]\npath = \"lib.rs\"\n[workspace]\n");
    fs::write(folder.join("Cargo.toml"), manifest)
        .and_then(|()| fs::write(folder.join("lib.rs"), ""))
        .map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut build = Command::new("/usr/bin/cargo");
    build
        .args(["build", "--release", "--target", TARGET, "--target-dir", "target"])
        .arg("-Zbuild-std=std,panic_abort,panic_unwind,test")
        .current_dir(folder)
        // The flag below is for nightly compilers only, unless this says otherwise.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTC", "/usr/bin/rustc")
        // Link-time optimization of what uses the library needs its bitcode.
        .env("RUSTFLAGS", "-Cembed-bitcode=yes")
        // Started by another toolchain's cargo, whose libraries are not this one's.
        .env_remove("LD_LIBRARY_PATH")
        .env_remove("RUSTUP_TOOLCHAIN");
    run(&mut build)?;
    Ok(folder.join("target").join(TARGET).join("release/deps"))
}

/// Puts the libraries where the compiler looks for them, all at once: a half of them would pass for the whole.
fn install_std(built: &Path) -> io::Result<()> {
    let home = Path::new("/usr/lib/rustlib").join(TARGET);
    let (partial, whole) = (home.join("lib.partial"), home.join("lib"));
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial)?;
    for entry in fs::read_dir(built)? {
        let entry = entry?;
        if is_std(&entry.file_name().to_string_lossy()) {
            fs::copy(entry.path(), partial.join(entry.file_name()))?;
        }
    }
    if whole.exists() {
        fs::remove_dir_all(&whole)?;
    }
    fs::rename(partial, whole)
}

fn is_std(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|end| end == "rlib") && !file.starts_with(&format!("lib{EMPTY}-"))
}

/// A temporary folder that goes away with the value.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new(purpose: &str) -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("magnetar-xtask-{purpose}-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Left behind it costs space in a temporary folder, nothing else.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linker_has_the_version_of_the_compilers_llvm() {
        assert_eq!(llvm_major("rustc 1.2.3\nrelease: 1.2.3\nLLVM version: 22.1.8"), Some("22"));
        assert_eq!(llvm_major("rustc 1.2.3"), None);
    }

    #[test]
    fn only_libraries_are_installed_and_the_empty_crate_is_none() {
        assert!(is_std("libcore-0123.rlib"));
        assert!(!is_std("libcore-0123.rmeta"));
        assert!(!is_std("libstd_for_the_web-0123.rlib"));
    }
}
