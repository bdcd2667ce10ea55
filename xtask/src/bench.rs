//! Building the benchmarks and the peers that cannot be part of them, and starting them.

use std::process::{Command, ExitCode};

use crate::pkg;
use crate::process::{command, root, run, target};
use crate::setup::Tool;

/// Programs of their own, with lock files of their own: each pins a dependency that the workspace has in another form.
const PEERS: [&str; 2] = ["effectum", "apalis"];

/// Where the figures of the npm package are kept.
const JS_FIGURES: &str = "target/bench-js.json";

/// Sets up what it can, builds, and hands the options over; behind `--js` those of the npm package's benchmark.
pub(crate) fn bench(options: &[String]) -> Result<ExitCode, String> {
    if let Some(("--js", options)) = options.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return js(options);
    }
    Tool::CCompiler.provide()?;
    // The benchmark says itself what it could not count without them.
    for tool in [Tool::Strace, Tool::Valgrind] {
        tool.provide()?;
    }
    run(&mut command("cargo build --release --package magnetar-benches"))?;
    let mut without_feed = command("cargo build --release --package magnetar-benches");
    without_feed
        .args(["--target-dir", "target/without-feed"])
        .env("RUSTFLAGS", "--cfg magnetar_without_feed");
    run(&mut without_feed)?;
    for peer in PEERS {
        let manifest = format!("benches/peers/{peer}/Cargo.toml");
        let mut build = command("cargo build --release --locked --target-dir target/peers --manifest-path");
        if let Err(why) = run(build.arg(manifest)) {
            println!("{peer} will be missing from the table: {why}");
        }
    }
    let mut bench = Command::new(target().join("release/magnetar-benches"));
    bench.current_dir(root()).arg("run").args(options);
    run(&mut bench).map(|()| ExitCode::SUCCESS)
}

/// The package as it is packed, in Node and in browsers.
fn js(options: &[String]) -> Result<ExitCode, String> {
    for tool in [Tool::Wasm, Tool::Bindgen, Tool::Node, Tool::Chromium, Tool::Firefox, Tool::Redis] {
        tool.provide()?;
    }
    // One that is over its weight is measured all the same; its table says what it weighs.
    if let Err(why) = pkg::build()?.weighed {
        println!("{why}");
    }
    pkg::npm_ci("benches/js")?;
    let mut bench = command(&pkg::node(24));
    bench.args(["benches/js/run.mjs"]).arg(pkg::folder().join("package")).arg(root().join(JS_FIGURES));
    run(bench.args(options)).map(|()| ExitCode::SUCCESS)
}
