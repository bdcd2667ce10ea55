//! Targets without files of an operating system.

use std::path::Path;

use super::{Options, RedbBackend};
use crate::error::{Error, ErrorKind, Result};

impl RedbBackend {
    /// Refused: there are no files here.
    pub(crate) fn open_read_only(path: &Path, options: Options) -> Result<Self> {
        RedbBackend::open_file(path, options)
    }

    /// Refused: there are no files here.
    pub(crate) fn open_file(path: &Path, _options: Options) -> Result<Self> {
        let text = format!(
            "{} cannot be opened: this target has no files; bring storage of your own with RedbStore::on_storage",
            path.display()
        );
        Err(Error::new(ErrorKind::Unsupported, text))
    }
}
