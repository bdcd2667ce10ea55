//! Elsewhere the standard library does not tell.

use std::fs::Metadata;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Id {}

/// Which file it is.
pub(super) fn id(_file: &Metadata) -> Option<Id> {
    None
}
