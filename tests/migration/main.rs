//! Moving stores: with work going on, with the move broken off at every point, and at rest.

#![allow(missing_docs, reason = "a test binary has no readers of its documentation")]
#![cfg(all(feature = "redb", feature = "sqlite", not(target_family = "wasm")))]

#[path = "../crash/child.rs"]
mod child;
mod dag;
mod feed;
mod kills;
mod lag;
mod live;
mod random;
mod rest;
#[path = "../support/mod.rs"]
mod support;
mod two;
