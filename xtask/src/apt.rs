//! Debian's packages, where there are any. Elsewhere, or without the right to install, the answer is what to do by hand.

use std::path::Path;

use crate::process::{ask, command, run};

/// Installs `packages`, or says why it cannot and what to install.
pub(crate) fn install(packages: &[&str]) -> Result<(), String> {
    let list = packages.join(" ");
    if !Path::new("/usr/bin/apt-get").exists() {
        return Err(format!("this is no Debian: install by hand what its packages {list} hold"));
    }
    if ask("id -u").as_deref() != Some("0") {
        return Err(format!("only root may install packages: apt-get install {list}"));
    }
    // A list that is partly out of date often still serves, so a failed update alone does not end it here.
    if let Err(problem) = run(&mut command("apt-get update --quiet")) {
        println!("{problem}");
    }
    // Never at the price of a package that is there: Debian's compiler for the web conflicts with its other ones.
    let mut install = command("apt-get install --quiet --yes --no-install-recommends --no-remove");
    run(install.args(packages).env("DEBIAN_FRONTEND", "noninteractive"))
}
