//! The other side: folders and files made ready before the work, attributes and links after it.

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use magnetar::{ChunkUpdate, Completion, ResetReach, Selection, block_on};

use super::failure::Failure;
use super::ledger::Ledger;
use super::plan::{Plan, Planned};
use super::record::{self, ENTRIES, Entry, Kind, SETTINGS};
use super::scan;

/// Entries that are finished in one commit.
const FINISHED_TOGETHER: usize = 1_000;

/// Removes what the source no longer has, as far as this copy had made it. Gives what was left, in words.
pub(crate) fn remove_gone(plan: &Plan, target: &Path) -> Result<Vec<String>, Failure> {
    let mut notices = Vec::new();
    let mut gone: Vec<(PathBuf, &Entry)> = plan
        .gone
        .iter()
        .map(|entry| Ok((entry.path.below(target)?, entry)))
        .collect::<Result<_, Failure>>()?;
    // What is in a folder goes before it.
    gone.sort_by(|a, b| b.0.cmp(&a.0));
    for (path, entry) in gone {
        let there = match fs::symlink_metadata(&path) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                continue;
            }
            other => other.map_err(Failure::file("read", &path))?,
        };
        let remove: fn(&Path) -> io::Result<()> = match &entry.kind {
            Kind::File(facts) if facts.found => {
                notices.push(format!(
                    "left {}: the source has it no longer, but it was there before the copy",
                    path.display()
                ));
                continue;
            }
            Kind::File(_) if there.is_file() => |path| fs::remove_file(path),
            Kind::Link(_) if there.is_symlink() => |path| fs::remove_file(path),
            Kind::Folder if there.is_dir() => |path| match fs::remove_dir(path) {
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
                other => other,
            },
            // Somebody put something else there.
            _ => continue,
        };
        if let Some(folder) = path.parent().filter(|folder| folder.starts_with(target)) {
            // It may be read-only, as the source's was; where it stays it becomes so again at the end.
            let there = fs::symlink_metadata(folder).map_err(Failure::file("read", folder))?;
            open_up(folder, &there, 0o700)?;
        }
        remove(&path).map_err(Failure::file("remove", &path))?;
    }
    Ok(notices)
}

/// Whether what is not in the destination yet will fit.
pub(crate) fn check_space(plan: &Plan, target: &Path) -> Result<(), Failure> {
    let mut need = 0;
    for planned in &plan.entries {
        if planned.entry.size() > 0 {
            let there =
                fs::symlink_metadata(planned.entry.path.below(target)?).ok().as_ref().map_or(0, stored_bytes);
            need += planned.entry.size().saturating_sub(there);
        }
    }
    let at = target.ancestors().find(|path| path.exists()).unwrap_or(target);
    match free_bytes(at) {
        Some(have) if have < need => Err(Failure::NoSpace { at: at.to_owned(), need, have }),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn free_bytes(at: &Path) -> Option<u64> {
    let file_system = rustix::fs::statvfs(at).ok()?;
    Some(file_system.f_bavail.saturating_mul(file_system.f_frsize))
}

/// Elsewhere the system's own refusal has to do.
#[cfg(not(unix))]
fn free_bytes(_at: &Path) -> Option<u64> {
    None
}

/// A file that was given its length but not yet written takes no room.
#[cfg(unix)]
fn stored_bytes(there: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(there).saturating_mul(512)
}

#[cfg(not(unix))]
fn stored_bytes(there: &Metadata) -> u64 {
    there.len()
}

/// What making ready came to.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// Whether anything was made, or opened up for writing.
    pub(crate) changed: bool,
    /// Done pieces whose file was gone or of another length: they are pending again.
    pub(crate) lost: u64,
    /// Folders in which names came or went.
    folders: BTreeSet<PathBuf>,
}

/// Creates folders, and files at their full length.
pub(crate) fn prepare(plan: &Plan, ledger: &Ledger, target: &Path) -> Result<Prepared, Failure> {
    let mut prepared = Prepared::default();
    for planned in &plan.entries {
        let path = planned.entry.path.below(target)?;
        match &planned.entry.kind {
            Kind::Folder => folder(&path, &mut prepared)?,
            Kind::File(facts) => file(&path, facts.size, planned, ledger, &mut prepared)?,
            Kind::Link(_) => {}
        }
    }
    // A name is durable once its folder is synced; the chunks that rely on it come after.
    prepared.folders.iter().try_for_each(|path| sync_folder(path).map_err(Failure::file("sync", path)))?;
    Ok(prepared)
}

fn conflict(path: &Path, there: &str, here: &str) -> Failure {
    let path = path.display();
    Failure::Conflict(format!(
        "{path} is a {there} where the source has a {here}; move it away and run the same command again"
    ))
}

fn found(path: &Path) -> Result<Option<Metadata>, Failure> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => Ok(Some(other.map_err(Failure::file("read", path))?)),
    }
}

fn folder(path: &Path, prepared: &mut Prepared) -> Result<(), Failure> {
    match found(path)? {
        Some(there) if there.is_dir() => prepared.changed |= open_up(path, &there, 0o700)?,
        Some(there) if there.is_symlink() => return Err(conflict(path, "symbolic link", "folder")),
        Some(_) => return Err(conflict(path, "file", "folder")),
        None => {
            fs::create_dir(path).map_err(Failure::file("create", path))?;
            prepared.changed = true;
            prepared.folders.extend(path.parent().map(Path::to_owned));
        }
    }
    Ok(())
}

fn file(
    path: &Path,
    size: u64,
    planned: &Planned,
    ledger: &Ledger,
    prepared: &mut Prepared,
) -> Result<(), Failure> {
    let there = found(path)?;
    let length = match &there {
        Some(there) if there.is_dir() => return Err(conflict(path, "folder", "file")),
        Some(there) if there.is_symlink() => {
            // Never written through: it may lead anywhere.
            fs::remove_file(path).map_err(Failure::file("remove", path))?;
            None
        }
        Some(there) if there.is_file() => Some(there.len()),
        Some(_) => return Err(conflict(path, "device, socket or pipe", "file")),
        None => None,
    };
    let earlier = planned.earlier.as_ref();
    if length != Some(size) && (length.is_none() || length != earlier.map(Entry::size)) && earlier.is_some() {
        // Before the file gets its length back: after that it would look as if nothing had happened.
        let done = ledger.done_of(planned.id)?;
        ledger.reset(record::PIECES, &done)?;
        prepared.lost += done.len() as u64;
    }
    if let Some(there) = &there
        && there.is_file()
    {
        prepared.changed |= open_up(path, there, 0o600)?;
    }
    if length != Some(size) {
        let file = private(File::options().create(true).truncate(false).write(true)).open(path);
        file.and_then(|file| file.set_len(size)).map_err(Failure::file("create", path))?;
        prepared.changed = true;
        if length.is_none() {
            prepared.folders.extend(path.parent().map(Path::to_owned));
        }
    }
    Ok(())
}

/// Until a file is whole it is nobody else's to read: the source's permissions may be narrow.
#[cfg(unix)]
fn private(options: &mut fs::OpenOptions) -> &mut fs::OpenOptions {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600)
}

#[cfg(not(unix))]
fn private(options: &mut fs::OpenOptions) -> &mut fs::OpenOptions {
    options
}

/// Makes what an earlier copy left read-only writable. Says whether that was needed.
#[cfg(unix)]
fn open_up(path: &Path, there: &Metadata, needed: u32) -> Result<bool, Failure> {
    use std::os::unix::fs::PermissionsExt;
    let mode = there.permissions().mode();
    if mode & needed == needed {
        return Ok(false);
    }
    let permissions = fs::Permissions::from_mode(mode | needed);
    fs::set_permissions(path, permissions).map_err(Failure::file("make writable", path))?;
    Ok(true)
}

#[cfg(not(unix))]
fn open_up(path: &Path, there: &Metadata, _needed: u32) -> Result<bool, Failure> {
    let mut permissions = there.permissions();
    if !permissions.readonly() {
        return Ok(false);
    }
    permissions.set_readonly(false);
    fs::set_permissions(path, permissions).map_err(Failure::file("make writable", path))?;
    Ok(true)
}

/// Gives everything its attributes, makes the links, and syncs what is not content.
pub(crate) fn finish(
    plan: &Plan,
    prepared: Prepared,
    anything_changed: bool,
    ledger: &Ledger,
    target: &Path,
) -> Result<(), Failure> {
    if anything_changed || prepared.changed {
        block_on(ledger.store.reset(ENTRIES, Selection::All, ResetReach::Direct))?;
    }
    let mut folders = prepared.folders;
    loop {
        let claimed = block_on(ledger.store.claim_pending_batch(ENTRIES, FINISHED_TOGETHER))?;
        if claimed.is_empty() {
            break;
        }
        for chunk in claimed.iter().filter(|chunk| chunk.chunk != SETTINGS) {
            let entry: Entry = record::payload(chunk)?;
            let path = entry.path.below(target)?;
            match &entry.kind {
                // Their times change as long as there is work in them.
                Kind::Folder => {}
                Kind::File(_) => {
                    attributes(&path, &entry).map_err(Failure::file("set the attributes of", &path))?;
                }
                Kind::Link(to) => link(&path, &to.path(), &mut folders)?,
            }
        }
        let updates =
            claimed.iter().map(|chunk| ChunkUpdate::Complete(chunk.claim(), Completion::new())).collect();
        for answer in block_on(ledger.store.apply_batch_updates(ENTRIES, updates))? {
            answer?;
        }
    }
    folders.iter().try_for_each(|path| sync_folder(path).map_err(Failure::file("sync", path)))?;
    // The deepest first: nothing changes in a folder after its turn.
    for planned in plan.entries.iter().rev().filter(|planned| planned.entry.kind == Kind::Folder) {
        let path = planned.entry.path.below(target)?;
        attributes(&path, &planned.entry).map_err(Failure::file("set the attributes of", &path))?;
    }
    sync_attributes(target).map_err(Failure::file("sync", target))
}

fn attributes(path: &Path, entry: &Entry) -> io::Result<()> {
    let file = open_for_attributes(path)?;
    file.set_times(FileTimes::new().set_modified(scan::moment(entry.mtime_ns)))?;
    set_mode(&file, entry.mode)
}

#[cfg(unix)]
fn open_for_attributes(path: &Path) -> io::Result<File> {
    File::open(path)
}

#[cfg(windows)]
fn open_for_attributes(path: &Path) -> io::Result<File> {
    use std::os::windows::fs::OpenOptionsExt;
    // FILE_FLAG_BACKUP_SEMANTICS: the one way to open a folder there.
    File::options().write(true).custom_flags(0x0200_0000).open(path)
}

#[cfg(unix)]
fn set_mode(file: &File, mode: Option<u32>) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    mode.map_or(Ok(()), |mode| file.set_permissions(fs::Permissions::from_mode(mode)))
}

#[cfg(not(unix))]
fn set_mode(_file: &File, _mode: Option<u32>) -> io::Result<()> {
    Ok(())
}

fn link(path: &Path, to: &Path, folders: &mut BTreeSet<PathBuf>) -> Result<(), Failure> {
    match found(path)? {
        Some(there) if there.is_dir() => return Err(conflict(path, "folder", "symbolic link")),
        Some(_) if fs::read_link(path).is_ok_and(|now| now == to) => return Ok(()),
        Some(_) => fs::remove_file(path).map_err(Failure::file("remove", path))?,
        None => {}
    }
    make_link(to, path).map_err(Failure::file("create", path))?;
    folders.extend(path.parent().map(Path::to_owned));
    Ok(())
}

#[cfg(unix)]
fn make_link(to: &Path, path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(to, path)
}

#[cfg(windows)]
fn make_link(to: &Path, path: &Path) -> io::Result<()> {
    let is_folder = path.parent().is_some_and(|parent| parent.join(to).is_dir());
    if is_folder {
        std::os::windows::fs::symlink_dir(to, path)
    } else {
        std::os::windows::fs::symlink_file(to, path)
    }
}

#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Elsewhere folders cannot be synced.
#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Permissions and times, once for all; the contents were synced piece by piece.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn sync_attributes(target: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(target)?)?)
}

/// Elsewhere the system writes them in its own time.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn sync_attributes(_target: &Path) -> io::Result<()> {
    Ok(())
}
