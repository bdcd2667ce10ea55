//! The npm package: the engine's module by cargo and wasm-bindgen, the rest by `bindings/js/build.mjs`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::process::{ask, command, quick_install, root, run, target};
use crate::step::Outcome;
use crate::{apt, wasm};

/// Must be the version that `bindings/Cargo.toml` pins. Building it takes minutes, so it is built once per clone.
const BINDGEN: &str = "0.2.130";

/// Where tools are built that must be of one version.
const TOOLS: &str = "target/tools";

/// Where the development tools of npm are.
const MODULES: &str = "bindings/js/node_modules";

/// The command line tool that writes the glue.
pub(crate) fn provide_bindgen() -> Result<String, String> {
    let tool = tool("wasm-bindgen").display().to_string();
    let found = || ask(&format!("{tool} --version")).filter(|text| text.ends_with(BINDGEN));
    if let Some(found) = found() {
        return Ok(format!("found {found}"));
    }
    println!("wasm-bindgen is built from source; this takes a few minutes, once per clone");
    let install = format!("cargo install wasm-bindgen-cli --version ={BINDGEN} --root {TOOLS} --quiet");
    run(&mut command(&install))?;
    found().map(|found| format!("installed {found}")).ok_or_else(|| "wasm-bindgen does not start".into())
}

/// geckodriver, which steers Firefox for wasm-bindgen's runner; Debian has none. Built once per clone as well.
const GECKODRIVER: &str = "0.37.1";

/// What steers the browsers for the runner of the suite.
pub(crate) fn provide_drivers() -> Result<String, String> {
    let chromium = || ask("/usr/bin/chromedriver --version");
    if chromium().is_none() {
        apt::install(&["chromium-driver"])?;
    }
    let gecko = tool("geckodriver").display().to_string();
    let found = || ask(&format!("{gecko} --version")).filter(|text| text.contains(GECKODRIVER));
    if found().is_none() {
        println!("geckodriver is built from source; this takes a few minutes, once per clone");
        run(&mut quick_install(&format!("geckodriver --version ={GECKODRIVER} --root {TOOLS}")))?;
    }
    found().ok_or("geckodriver does not start")?;
    let chromium = chromium().ok_or("chromedriver does not start")?;
    Ok(format!("found {chromium}, geckodriver {GECKODRIVER}"))
}

/// A tool that was built for this clone.
pub(crate) fn tool(name: &str) -> PathBuf {
    root().join(TOOLS).join("bin").join(name)
}

/// The search path, with the newer Node in front.
pub(crate) fn path_with_node() -> Result<std::ffi::OsString, String> {
    let node = root().join(node(24));
    let first = node.parent().map(PathBuf::from).into_iter();
    let rest = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(first.chain(std::env::split_paths(&rest))).map_err(|error| error.to_string())
}

/// npm, and with it, of fixed versions, the two Nodes that the package is tested with, TypeScript and the rest.
pub(crate) fn provide_node() -> Result<String, String> {
    if ask("npm --version").is_none() {
        apt::install(&["nodejs", "npm"])?;
    }
    npm_ci("bindings/js")?;
    let version = ask(&format!("{} --version", node(24))).ok_or("the node of npm does not start")?;
    Ok(format!("found node {version} in {MODULES}"))
}

/// Installs exactly what the lock file of a folder names, unless that was done.
pub(crate) fn npm_ci(folder: &str) -> Result<(), String> {
    let folder = root().join(folder);
    // npm writes the second one last, so that a half-finished installation has none.
    let (wanted, done) = (folder.join("package-lock.json"), folder.join("node_modules/.package-lock.json"));
    if matches!((modified(&wanted), modified(&done)), (Some(wanted), Some(done)) if wanted <= done) {
        return Ok(());
    }
    run(command("npm ci --no-audit --no-fund --loglevel=error").current_dir(folder))
}

fn modified(path: &Path) -> Option<std::time::SystemTime> {
    fs::metadata(path).and_then(|data| data.modified()).ok()
}

/// The Node of a major version, as npm installed it.
pub(crate) fn node(major: u32) -> String {
    format!("{MODULES}/node{major}/bin/node")
}

/// The folder that the package is made in.
pub(crate) fn folder() -> PathBuf {
    root().join("target/npm")
}

/// Makes the package; one that is over its budget fails.
pub(crate) fn step() -> Outcome {
    build().and_then(|package| package.weighed).into()
}

/// Installs the package into projects of all kinds, and runs them.
pub(crate) fn packaging() -> Outcome {
    let test = || {
        build()?;
        npm_ci("tests/packaging")?;
        let mut tests = command(&node(24));
        tests.arg("--test").args(ALONE).arg("tests/packaging/*.test.mjs");
        run(&mut tests)
    };
    test().into()
}

/// The face in both Nodes, what becomes of a store when its process is killed, and tabs of a browser that is simulated.
pub(crate) fn test_in_node() -> Outcome {
    let files = ["face", "working", "engines", "storage", "crash", "native"];
    // Simulated tabs have no Node but to run in.
    let simulated = [&files[..], &["simulation"]].concat();
    test(&files, 22, TOGETHER, &[]).and_then(|()| test(&simulated, 24, TOGETHER, &[])).into()
}

/// The package on pages of real browsers.
pub(crate) fn test_in_browsers() -> Outcome {
    let files = ["browser", "browser-tabs", "browser-storage", "browser-crash", "native-browser"];
    test(&files, 24, ALONE, &[]).into()
}

/// The same with many more rounds.
pub(crate) fn prove() -> Outcome {
    let files = ["crash", "simulation", "browser", "browser-crash"];
    let patient = ["--test-timeout=3600000", "--test-concurrency=1"];
    test(&files, 24, patient, &[("MAGNETAR_PROOF", "full")]).into()
}

/// A test that waits for what never comes fails within ten minutes, and says which it is.
const TEST_LIMIT: &str = "--test-timeout=600000";

/// Files that mostly wait, for disks and for processes.
const TOGETHER: [&str; 2] = [TEST_LIMIT, "--test-concurrency=2"];

/// Files that have bundlers and browsers work, which beside each other only wait for each other.
pub(crate) const ALONE: [&str; 2] = [TEST_LIMIT, "--test-concurrency=1"];

/// Tests what was packed, heavy or not.
fn test(files: &[&str], major: u32, how: [&str; 2], variables: &[(&str, &str)]) -> Result<(), String> {
    build()?;
    let unpack = "import('./tests/js/package.mjs').then((made) => made.unpack())";
    run(Command::new(root().join(node(24))).current_dir(root()).args(["-e", unpack]))?;
    let mut test = Command::new(root().join(node(major)));
    test.current_dir(root()).args(["--test", "--test-reporter=spec"]).args(how);
    test.args(files.iter().map(|file| format!("tests/js/{file}.test.mjs")));
    run(test.envs(variables.iter().copied()))
}

/// A package that was made.
#[derive(Clone)]
pub(crate) struct Package {
    pub(crate) tarball: PathBuf,
    /// Whether it is within its budget; one that is too heavy can be tried out all the same.
    pub(crate) weighed: Result<(), String>,
}

/// Makes the package, once: what it is made of stays as it is while steps run.
pub(crate) fn build() -> Result<Package, String> {
    static MADE: OnceLock<Result<Package, String>> = OnceLock::new();
    MADE.get_or_init(make).clone()
}

fn make() -> Result<Package, String> {
    let toolchain = wasm::toolchain().ok_or("no toolchain compiles for the web: cargo xtask setup --wasm")?;
    let mut module = command(&format!(
        "cargo {toolchain} build --package magnetar-wasm --profile wasm --target {}",
        wasm::TARGET
    ));
    run(module.env("CARGO_ENCODED_RUSTFLAGS", flags().join("\u{1f}")))?;
    let glue = folder().join("glue");
    let mut bindgen = Command::new(tool("wasm-bindgen"));
    bindgen.args(["--target", "web", "--out-name", "magnetar", "--omit-default-module-path"]);
    // A trap ends the instance; the next store in the same thread gets a fresh one.
    bindgen.arg("--experimental-reset-state-function");
    // The names of the functions stay: `build.mjs` puts these in order by them.
    bindgen.args(["--remove-producers-section", "--out-dir"]).arg(&glue);
    bindgen.arg(target().join(wasm::TARGET).join("wasm/magnetar_wasm.wasm"));
    run(&mut bindgen)?;
    let package = folder().join("package");
    let mut face = Command::new(root().join(node(24)));
    face.current_dir(root()).arg("bindings/js/build.mjs");
    face.args([glue.join("magnetar_bg.wasm"), glue.join("magnetar.js"), package.clone()]).arg(version()?);
    let weighed = run(&mut face);
    // One that is too heavy is packed, and can be tested, all the same.
    remove_tarballs(&folder()).map_err(|error| format!("{}: {error}", folder().display()))?;
    let mut pack = command("npm pack --loglevel=error --pack-destination");
    run(pack.arg(folder()).arg(&package))?;
    Ok(Package { tarball: folder().join(format!("magnetar-jobs-{}.tgz", version()?)), weighed })
}

/// Of an earlier version, which the tests, who take the one that is there, would take for this one.
fn remove_tarballs(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "tgz") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Flags of the compiler.
fn flags() -> Vec<String> {
    let mut flags = without_machine_paths();
    // Whoever has files of an origin has vectors too. They make the module smaller.
    flags.push("-Ctarget-feature=+simd128".into());
    flags
}

/// Where a panic was is told without saying where this machine keeps its sources.
fn without_machine_paths() -> Vec<String> {
    let home = |variable, folder| {
        let named = std::env::var_os(variable).map(PathBuf::from);
        named.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(folder)))
    };
    let cargo = home("CARGO_HOME", ".cargo").map(|home| home.join("registry/src"));
    let rustup = home("RUSTUP_HOME", ".rustup").map(|home| home.join("toolchains"));
    let places = [cargo, rustup, Some(root())].into_iter().flatten();
    places.map(|place| format!("--remap-path-prefix={}=", place.display())).collect()
}

/// The one version of the workspace.
fn version() -> Result<String, String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).map_err(|e| format!("Cargo.toml: {e}"))?;
    let line = manifest.lines().find_map(|line| line.strip_prefix("version = \""));
    line.and_then(|line| line.split('"').next()).map(str::to_owned).ok_or("Cargo.toml has no version".into())
}
