//! The same random calls on every store that is compiled in, and on a model that is nothing but plain maps: every
//! answer and every state must be the same.
//!
//! A sequence is made from its seed as it is played, because what can be called next depends on what was claimed before.
//! A mismatch prints the seed and the calls up to it; `MAGNETAR_SEED` plays that one alone.

#![allow(missing_docs, reason = "a test binary has no readers of its documentation")]

mod calls;
mod model;
mod player;
#[path = "../support/mod.rs"]
mod support;

use player::Player;
use support::{Place, places};

/// Every kind of store that outlives its handle, a new one of each.
fn stores() -> Vec<(&'static str, Box<dyn Place>)> {
    vec![
        #[cfg(any(feature = "redb", target_family = "wasm"))]
        ("redb", Box::new(places::redb::Host::default())),
        #[cfg(all(feature = "sqlite", not(target_family = "wasm")))]
        ("sqlite", Box::new(places::native::File::named("jobs.db"))),
    ]
}

/// Plays sequences of so many calls, each on new stores.
fn play(first_seed: u64, sequences: u64, calls: usize) {
    for seed in first_seed..first_seed + sequences {
        magnetar::block_on(Player::new(seed, stores()).play(calls));
    }
}

fn seeds(name: &str, first: u64, sequences: u64) -> (u64, u64) {
    let one = std::env::var_os("MAGNETAR_SEED").is_some();
    (support::seed(name, first), if one { 1 } else { sequences })
}

#[test]
fn short_sequences_of_random_calls_are_answered_alike() {
    let (first, sequences) = seeds("short", 1, support::rounds(100, 10_000));
    play(first, sequences, 60);
}

#[test]
fn long_sequences_of_random_calls_are_answered_alike() {
    let (first, sequences) = seeds("long", 1_000_000, support::rounds(10, 500));
    play(first, sequences, 600);
}
