//! Files of an engine that is not compiled in: the error names the feature, and no file is made or touched.

use std::fs;

use magnetar::{ErrorKind, block_on};

#[cfg(not(feature = "redb"))]
const MISSING: (&str, [&str; 2]) = ("redb", ["jobs.redb", "jobs.magnetar"]);
#[cfg(not(feature = "sqlite"))]
const MISSING: (&str, [&str; 2]) = ("sqlite", ["jobs.db", "jobs"]);

#[test]
fn a_path_of_an_engine_that_is_not_compiled_in_names_the_feature() {
    let (feature, names) = MISSING;
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in names {
        let path = folder.path().join(name);
        for before in [None, Some("what another build wrote")] {
            if let Some(bytes) = before {
                fs::write(&path, bytes).expect("a file");
            }
            let Err(error) = block_on(magnetar::open(&path)) else { panic!("{name} was opened") };
            assert_eq!(error.kind(), ErrorKind::BackendMissing, "{error:?}");
            let text = error.to_string();
            assert!(text.contains(&format!("feature \"{feature}\"")) && text.contains(name), "{text}");
            assert_eq!(fs::read(&path).ok().as_deref(), before.map(str::as_bytes), "{name} was touched");
        }
    }
}

#[test]
fn a_store_in_memory_is_the_one_that_is_compiled_in() {
    let store = block_on(magnetar::open(":memory:")).expect("some engine is there");
    block_on(store.close()).expect("it closes");
}
