//! The README says what is so: every command in it exists. (Its code is a doctest of the crate.)
#![allow(missing_docs, reason = "a test crate documents itself by its names")]

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn every_test_and_example_that_the_readme_names_exists() {
    let readme = read("README.md");
    let words: Vec<&str> = readme.split([' ', '`', '\n', '|']).collect();
    let mut named = 0;
    for pair in words.windows(2) {
        let folder = match pair[0] {
            "--test" => "tests",
            "--example" => "examples",
            _ => continue,
        };
        named += 1;
        let found = [format!("{folder}/{}.rs", pair[1]), format!("{folder}/{}/main.rs", pair[1])]
            .iter()
            .any(|path| Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists());
        assert!(found, "the README names {} {}, which does not exist", pair[0], pair[1]);
    }
    assert!(named >= 6, "only {named} commands were found in the README");
}

#[test]
fn every_version_is_the_same() {
    let manifest = read("Cargo.toml");
    let version = manifest.lines().find_map(|line| line.strip_prefix("version = ")).expect("a version");
    let short = version.trim_matches('"').rsplit_once('.').expect("a.b.c").0;
    assert!(read("README.md").contains(&format!("Version {short}")), "the README states version {short}");
    assert_eq!(version.trim_matches('"'), env!("CARGO_PKG_VERSION"));
}
