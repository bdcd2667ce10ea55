//! Building the benchmark and the peers that cannot be part of it, and starting it.

use std::process::ExitCode;

use crate::process::{command, run};
use crate::setup::Tool;

/// Programs of their own, with lock files of their own: each pins a dependency that the workspace has in another form.
const PEERS: [&str; 2] = ["effectum", "apalis"];

/// Sets up what it can, builds, and hands the options over.
pub(crate) fn bench(options: &[String]) -> Result<ExitCode, String> {
    Tool::CCompiler.provide()?;
    // The benchmark says itself what it could not count without them.
    for tool in [Tool::Strace, Tool::Valgrind] {
        tool.provide()?;
    }
    run(&mut command("cargo build --release --package magnetar-benches"))?;
    for peer in PEERS {
        let manifest = format!("benches/peers/{peer}/Cargo.toml");
        let mut build = command("cargo build --release --locked --target-dir target/peers --manifest-path");
        if let Err(why) = run(build.arg(manifest)) {
            println!("{peer} will be missing from the table: {why}");
        }
    }
    let mut bench = command("target/release/magnetar-benches run");
    bench.args(options);
    run(&mut bench).map(|()| ExitCode::SUCCESS)
}
