//! The npm package: the engine's module by cargo and wasm-bindgen, the rest by `bindings/js/build.mjs`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::process::{ask, command, root, run};
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

/// The browsers, and what steers them.
pub(crate) fn provide_browsers() -> Result<String, String> {
    let missing: Vec<&str> =
        [("chromium", "chromium"), ("chromedriver", "chromium-driver"), ("firefox-esr", "firefox-esr")]
            .into_iter()
            .filter(|(program, _)| !std::path::Path::new("/usr/bin").join(program).exists())
            .map(|(_, package)| package)
            .collect();
    if !missing.is_empty() {
        apt::install(&missing)?;
    }
    let gecko = tool("geckodriver").display().to_string();
    let found = || ask(&format!("{gecko} --version")).filter(|text| text.contains(GECKODRIVER));
    if found().is_none() {
        println!("geckodriver is built from source; this takes a few minutes, once per clone");
        run(&mut command(&format!(
            "cargo install geckodriver --version ={GECKODRIVER} --root {TOOLS} --quiet"
        )))?;
    }
    found().ok_or("geckodriver does not start")?;
    let chromium = ask("/usr/bin/chromium --version").ok_or("chromium does not start")?;
    let firefox = ask("/usr/bin/firefox-esr --version").ok_or("firefox does not start")?;
    Ok(format!("found {chromium}, {firefox}"))
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
    // npm writes it last, so that a half-finished installation has none.
    let (wanted, done) = (root().join("bindings/js/package-lock.json"), installed_lock());
    let is_current =
        || matches!((modified(&wanted), modified(&done)), (Some(wanted), Some(done)) if wanted <= done);
    if !is_current() {
        run(command("npm ci --no-audit --no-fund --loglevel=error").current_dir(root().join("bindings/js")))?;
    }
    let version = ask(&format!("{} --version", node(24))).ok_or("the node of npm does not start")?;
    Ok(format!("found node {version} in {MODULES}"))
}

fn installed_lock() -> PathBuf {
    root().join(MODULES).join(".package-lock.json")
}

fn modified(path: &std::path::Path) -> Option<std::time::SystemTime> {
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
    build().and_then(|weighed| weighed).into()
}

/// The face in both Nodes, and what becomes of a store when its process is killed.
pub(crate) fn test_in_node() -> Outcome {
    test(&["face", "crash", "native"], &[22, 24], &[]).into()
}

/// The package on pages of real browsers.
pub(crate) fn test_in_browsers() -> Outcome {
    test(&["browser", "browser-crash"], &[24], &[]).into()
}

/// The same with many more rounds.
pub(crate) fn prove() -> Outcome {
    test(&["crash", "browser", "browser-crash"], &[24], &[("MAGNETAR_PROOF", "full")]).into()
}

/// Tests what was packed, heavy or not.
fn test(files: &[&str], nodes: &[u32], variables: &[(&str, &str)]) -> Result<(), String> {
    build().map(|_| ())?;
    let unpack = "import('./tests/js/package.mjs').then((made) => made.unpack())";
    run(Command::new(root().join(node(24))).current_dir(root()).args(["-e", unpack]))?;
    for &major in nodes {
        for file in files {
            let mut test = Command::new(root().join(node(major)));
            test.current_dir(root()).args(["--test", "--test-reporter=spec"]).envs(variables.iter().copied());
            run(test.arg(format!("tests/js/{file}.test.mjs")))?;
        }
    }
    Ok(())
}

/// Makes the package; the inner result says whether it is within its budget.
fn build() -> Result<Result<(), String>, String> {
    let toolchain = wasm::toolchain().ok_or("no toolchain compiles for the web: cargo xtask setup --wasm")?;
    let target = wasm::TARGET;
    run(&mut command(&format!(
        "cargo {toolchain} build --package magnetar-wasm --profile wasm --target {target}"
    )))?;
    let glue = folder().join("glue");
    let mut bindgen = Command::new(tool("wasm-bindgen"));
    bindgen.args(["--target", "web", "--out-name", "magnetar", "--omit-default-module-path"]);
    // A trap ends the instance; the next store in the same thread gets a fresh one.
    bindgen.arg("--experimental-reset-state-function");
    bindgen.args(["--remove-name-section", "--remove-producers-section", "--out-dir"]).arg(&glue);
    bindgen.arg(root().join("target").join(target).join("wasm/magnetar_wasm.wasm"));
    run(&mut bindgen)?;
    let package = folder().join("package");
    let mut face = Command::new(root().join(node(24)));
    face.current_dir(root()).arg("bindings/js/build.mjs");
    face.args([glue.join("magnetar_bg.wasm"), glue.join("magnetar.js"), package.clone()]).arg(version()?);
    let weighed = run(&mut face);
    let mut pack = command("npm pack --loglevel=error --pack-destination");
    // One that is too heavy is packed, and can be tested, all the same.
    run(pack.arg(folder()).arg(&package))?;
    Ok(weighed)
}

/// The one version of the workspace.
fn version() -> Result<String, String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).map_err(|e| format!("Cargo.toml: {e}"))?;
    let line = manifest.lines().find_map(|line| line.strip_prefix("version = \""));
    line.and_then(|line| line.split('"').next()).map(str::to_owned).ok_or("Cargo.toml has no version".into())
}
