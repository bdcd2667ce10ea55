//! What `test` and `prove` run, as tables: one entry per step, cheap ones first.
//!
//! A new check is a new line here. A step never looks whether its subject exists: what is missing fails.

use crate::setup::Tool::{Bindgen, CCompiler, Chromium, Components, Deny, Drivers, Firefox, Node, Wasm};
use crate::step::Step;
use crate::{deny, pkg, python, wasm, www};

/// The matrix of `cargo xtask test`. All of it uses the dev profile, so that dependencies are built once per set of
/// features and not once per step.
pub(crate) const TEST: &[Step] = &[
    Step::lines("fmt", &["cargo fmt --all --check"]).needs(&[Components]),
    Step::lines("clippy", &["cargo clippy --workspace --all-targets --all-features -- -D warnings"])
        .needs(&[Components, CCompiler]),
    // Each set of features must build, and without a warning: code that only another set uses shows up here.
    Step::lines("only-default", &["cargo clippy --lib --tests -- -D warnings"])
        .needs(&[Components, CCompiler]),
    Step::lines(
        "only-redb",
        &["cargo clippy --no-default-features --features redb --lib --tests -- -D warnings"],
    )
    .needs(&[Components, CCompiler]),
    Step::lines("only-sqlite", &["cargo clippy --no-default-features --features sqlite -- -D warnings"])
        .needs(&[Components, CCompiler]),
    Step::lines(
        "only-analytics",
        &["cargo clippy --no-default-features --features redb,analytics -- -D warnings"],
    )
    .needs(&[Components, CCompiler]),
    // One by one, so that what is built for the first is what the examples below and the README's commands need.
    Step::lines(
        "test-all",
        &[
            "cargo test --no-fail-fast --all-features",
            "cargo test --no-fail-fast --package magnetar-wasm --package xtask",
        ],
    )
    .needs(&[CCompiler]),
    // The rows of the benchmark do what they say; `cargo xtask bench` measures them.
    Step::lines("benches", &["cargo test --no-fail-fast --package magnetar-benches --bins --benches"]).needs(&[CCompiler]),
    // A user of one engine, without Parquet. What knows of features are gate files (`tests/tidy.rs`): what opens a
    // store, and who is alive. These are their suites, and what users read; the rest, exports too, is the same code.
    Step::lines(
        "test-default",
        &[
            "cargo test --no-fail-fast --lib --test hostile --test processes --test worker",
            "cargo test --no-fail-fast --doc",
        ],
    )
    .needs(&[CCompiler]),
    Step::lines(
        "test-redb",
        &["cargo test --no-fail-fast --no-default-features --features redb --lib --test hostile --test processes --test worker"],
    )
    .needs(&[CCompiler]),
    // The examples as a user runs them.
    Step::lines("basic-usage", &["cargo run --example basic_usage --features sqlite"]).needs(&[CCompiler]),
    Step::lines(
        "examples",
        &[
            "cargo run --all-features --example dag_dependencies",
            "cargo run --all-features --example crash_recovery",
            "cargo run --all-features --example worker",
            "cargo run --all-features --example live_migration",
            "cargo run --all-features --example analytics",
        ],
    )
    .needs(&[CCompiler]),
    // The README's own command, and what it must come to. A copy that is there already is copied again.
    Step::lines(
        "copy",
        &[
            "rm -rf target/copy",
            "cargo run --release --example resumable_copy -- src target/copy",
            "diff -r src target/copy",
            "cargo run --release --example resumable_copy -- src target/copy",
            "diff -r src target/copy",
        ],
    )
    .needs(&[CCompiler]),
    Step::lines("doc", &["cargo doc --no-deps --all-features"])
        .with(&[("RUSTDOCFLAGS", "-Dwarnings")])
        .needs(&[CCompiler]),
    Step::lines("deny", &["cargo deny check bans licenses sources"]).needs(&[Deny]),
    Step::call("advisories", deny::advisories).needs(&[Deny]),
    Step::call("other-software", python::exports).needs(&[CCompiler]),
    Step::call("wasm", wasm::check).needs(&[Wasm]),
    Step::call("wasm-node", wasm::suite_in_node).needs(&[Wasm, Bindgen, Node]),
    Step::call("wasm-chromium", wasm::suite_in_chromium).needs(&[Wasm, Bindgen, Node, Chromium, Drivers]),
    Step::call("wasm-firefox", wasm::suite_in_firefox).needs(&[Wasm, Bindgen, Node, Firefox, Drivers]),
    // The package as it would be published.
    Step::call("pkg", pkg::step).needs(&[Wasm, Bindgen, Node]),
    Step::call("js-node", pkg::test_in_node).needs(&[Wasm, Bindgen, Node, CCompiler]),
    Step::call("js-browsers", pkg::test_in_browsers)
        .needs(&[Wasm, Bindgen, Node, Chromium, Firefox, CCompiler]),
    // The same, as users install it.
    Step::call("packaging", pkg::packaging).needs(&[Wasm, Bindgen, Node, Chromium]),
    // The demo page in a real browser, on the package as it would be published.
    Step::call("page", www::test).needs(&[Wasm, Bindgen, Node, Chromium, CCompiler]),
];

/// The matrix of `cargo xtask prove`. The tests read the variable and play more rounds.
pub(crate) const PROVE: &[Step] = &[
    Step::lines("suite", &["cargo test --release --all-features"])
        .with(&[("MAGNETAR_PROOF", "full")])
        .needs(&[CCompiler]),
    Step::call("js", pkg::prove).needs(&[Wasm, Bindgen, Node, Chromium, Firefox]),
];
