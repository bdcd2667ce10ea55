//! What leaves a store: CSV and JSON Lines byte for byte, Parquet read back by its own library, all of it bounded and
//! filtered.
//!
//! The golden files are written anew with `MAGNETAR_BLESS=1`, to be read by people then.

#![cfg(not(target_family = "wasm"))]
#![allow(missing_docs, reason = "a test binary has no readers of its documentation")]

#[cfg(all(feature = "analytics", not(target_family = "wasm")))]
mod columns;
mod hostile;
mod moment;
#[cfg(all(feature = "analytics", not(target_family = "wasm")))]
mod outside;
mod parts;
mod restoring;
#[path = "../support/mod.rs"]
mod support;
mod texts;
mod zoo;

use std::sync::Arc;

use magnetar::export::{Bytes, Exported};
use magnetar::{JobStore, block_on};

use support::{Place, places};

/// Every kind of store that is compiled in, a new one of each.
fn places() -> Vec<(&'static str, Box<dyn Place>)> {
    vec![
        #[cfg(any(feature = "redb", target_family = "wasm"))]
        ("redb in memory", Box::new(places::redb::Memory)),
        #[cfg(any(feature = "redb", target_family = "wasm"))]
        ("redb", Box::new(places::native::File::named("jobs.redb"))),
        #[cfg(all(feature = "sqlite", not(target_family = "wasm")))]
        ("sqlite in memory", Box::new(places::native::SqliteMemory)),
        #[cfg(all(feature = "sqlite", not(target_family = "wasm")))]
        ("sqlite", Box::new(places::native::File::named("jobs.db"))),
    ]
}

/// An export as one text, and what it says that it came to.
fn text_of(bytes: Bytes<Arc<dyn JobStore>>) -> (String, Exported) {
    let mut out = Vec::new();
    let exported = block_on(bytes.write_to(&mut out)).expect("it is exported");
    assert_eq!(exported.bytes, out.len() as u64);
    (String::from_utf8(out).expect("exports are UTF-8"), exported)
}

/// The rows of a CSV export behind its header, read by the `csv` crate.
fn rows_of(text: &str) -> Vec<std::collections::BTreeMap<String, String>> {
    let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
    reader.deserialize().map(|row| row.expect("the csv crate reads it")).collect()
}
