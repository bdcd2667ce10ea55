//! Stands in for SQLite where it is not compiled in.

use std::path::Path;

use super::{OpenOptions, place};
use crate::error::{Error, ErrorKind, Result};
use crate::store::Handle;

pub(super) fn file(path: &Path, _options: &OpenOptions) -> Result<Handle> {
    let text = format!(
        "{} is a SQLite store, and SQLite is not compiled in: enable the feature \"sqlite\" of magnetar on a native target, or name the file *.redb",
        place(path)?.display()
    );
    Err(Error::new(ErrorKind::BackendMissing, text))
}

pub(super) fn memory(_options: &OpenOptions) -> Result<Handle> {
    let text = "no storage engine is compiled in: enable the feature \"redb\" or \"sqlite\" of magnetar";
    Err(Error::new(ErrorKind::BackendMissing, text))
}
