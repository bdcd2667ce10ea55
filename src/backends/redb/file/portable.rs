//! Files where there are no Unix modes: access is what the directory's is, and names need no sync of their own.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::path::Path;

/// Creates a file. An error where it exists.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).open(path)
}

/// Creates a directory.
pub(super) fn create_private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().create(path)
}

/// A directory cannot be synced here, and need not be.
#[allow(clippy::unnecessary_wraps)]
pub(super) fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}
