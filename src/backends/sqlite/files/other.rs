//! Elsewhere: a file gets the rights of its directory, and the system syncs names by itself.

use std::fs::{File, Metadata, OpenOptions};
use std::io::Result;
use std::path::Path;

/// Opens a file for writing, and creates it where there is none.
pub(in crate::backends::sqlite) fn create(path: &Path) -> Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

/// Nothing to do.
pub(in crate::backends::sqlite) fn sync_directory(_path: &Path) -> Result<()> {
    Ok(())
}

/// How many names a file has: the standard library does not tell here.
pub(in crate::backends::sqlite) fn names(_file: &Metadata) -> u64 {
    1
}

/// How long a path may be is for the system to say.
pub(in crate::backends::sqlite) fn too_long(_path: &Path) -> Option<(usize, usize)> {
    None
}
