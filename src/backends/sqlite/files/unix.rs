//! Unix: files for their owner only, and directories that are synced.

use std::fs::{File, Metadata, OpenOptions};
use std::io::Result;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Opens a file for writing, and creates it where there is none, readable by its owner only.
pub(in crate::backends::sqlite) fn create(path: &Path) -> Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Makes the names in a file's directory durable.
pub(in crate::backends::sqlite) fn sync_directory(path: &Path) -> Result<()> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

/// How many names a file has.
pub(in crate::backends::sqlite) fn names(file: &Metadata) -> u64 {
    file.nlink()
}

/// SQLite has room for so many bytes of a path with the longest ending that it adds to it (`MAX_PATHNAME` of its
/// `os_unix.c`, less `-journal`).
const PATH_BYTES_MAX: usize = 512 - 8;

/// How many bytes a path has, and how many it may have, where those are more.
pub(in crate::backends::sqlite) fn too_long(path: &Path) -> Option<(usize, usize)> {
    let bytes = path.as_os_str().len();
    (bytes > PATH_BYTES_MAX).then_some((bytes, PATH_BYTES_MAX))
}
