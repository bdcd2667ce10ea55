//! The demo page: `www/` with the package unpacked beside it, served, and tested in a real browser.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use crate::pkg;
use crate::process::{command, root, run};
use crate::serve::Server;
use crate::step::Outcome;

/// Where Debian has its browser; `CHROMIUM` names another.
const CHROMIUM: &str = "/usr/bin/chromium";

/// The folder that is served.
fn folder() -> PathBuf {
    root().join("target/www")
}

/// Where the test of the page leaves what it saved from it.
const SAVED: &str = "target/page";

pub(crate) fn chromium() -> String {
    std::env::var("CHROMIUM").unwrap_or_else(|_| CHROMIUM.into())
}

/// Serves the page until the program is ended.
pub(crate) fn serve(port: u16) -> Result<(), String> {
    crate::setup::Tool::Wasm.provide()?;
    crate::setup::Tool::Bindgen.provide()?;
    crate::setup::Tool::Node.provide()?;
    let server = server(port)?;
    println!("\nthe page is at {}", address(&server)?);
    server.run();
    Ok(())
}

/// Has the page used from end to end, and what was saved from it looked at by the native build.
pub(crate) fn test() -> Outcome {
    tested().into()
}

fn tested() -> Result<(), String> {
    let server = server(0)?;
    let address = address(&server)?;
    thread::spawn(|| server.run());
    let mut browser = command(&pkg::node(24));
    browser.arg("--test").args(pkg::ALONE).arg("tests/www/*.test.mjs");
    browser
        .env("MAGNETAR_PAGE", address)
        .env("MAGNETAR_SAVED", root().join(SAVED))
        .env("CHROMIUM", chromium());
    run(&mut browser)?;
    let mut native = command("cargo test --no-default-features --features redb --test exported -- --ignored");
    run(native.env("MAGNETAR_SAVED", root().join(SAVED)))
}

fn server(port: u16) -> Result<Server, String> {
    let package = pkg::build()?;
    let failed = |error: io::Error| format!("{}: {error}", folder().display());
    if folder().exists() {
        fs::remove_dir_all(folder()).map_err(failed)?;
    }
    copy(&root().join("www"), &folder()).map_err(failed)?;
    let beside = folder().join("magnetar");
    fs::create_dir(&beside).map_err(failed)?;
    let mut unpack = command("tar --extract --gzip --strip-components=1");
    run(unpack.arg("--file").arg(&package.tarball).arg("--directory").arg(&beside))?;
    Server::bind(folder(), port).map_err(|error| format!("port {port}: {error}"))
}

fn address(server: &Server) -> Result<String, String> {
    server.address().map(|address| format!("http://{address}/")).map_err(|error| error.to_string())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
