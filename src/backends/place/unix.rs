//! Unix: a file is its number on its device. The number is nobody else's while the file is open.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Id {
    device: u64,
    number: u64,
}

/// Which file it is.
#[allow(clippy::unnecessary_wraps)]
pub(super) fn id(file: &Metadata) -> Option<Id> {
    Some(Id { device: file.dev(), number: file.ino() })
}
