//! Stands in for redb where it is not compiled in.

use std::path::Path;

use super::OpenOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Handle;

pub(super) const IS_COMPILED_IN: bool = false;

pub(super) fn file(path: &Path, _options: &OpenOptions) -> Result<Handle> {
    let text = format!(
        "{} is a redb store, and redb is not compiled in: enable the feature \"redb\" of magnetar",
        path.display()
    );
    Err(Error::new(ErrorKind::BackendMissing, text))
}

/// Never asked for: a store in memory is SQLite's where redb is missing.
pub(super) fn memory(options: &OpenOptions) -> Result<Handle> {
    file(Path::new(":memory:"), options)
}
