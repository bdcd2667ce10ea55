//! What the source holds: a walk that names what it leaves out.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::failure::Failure;
use super::record::{Entry, FileFacts, Kind, Name};
use super::report;

/// File systems keep times no finer than this; a file that changed more recently may change again unseen.
const TICK: Duration = Duration::from_secs(2);

/// The source at one moment.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// In the order of their paths, so that a folder comes before what is in it.
    pub(crate) entries: Vec<Entry>,
    /// What is there but cannot be read: its path from the source's root.
    pub(crate) unreadable: Vec<PathBuf>,
    /// What was left out on purpose, in words.
    pub(crate) notices: Vec<String>,
}

/// Walks the source. `excluded` says which paths are our own.
pub(crate) fn scan(source: &Path, excluded: &dyn Fn(&Path) -> bool) -> Result<Tree, Failure> {
    let mut walk = Walk { source, excluded, now: report::now(), tree: Tree::default() };
    let metadata = match fs::symlink_metadata(source) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::NoSource(source.to_owned()));
        }
        other => other.map_err(Failure::file("read", source))?,
    };
    walk.visit(PathBuf::new(), source, &metadata)?;
    if walk.tree.entries.is_empty() {
        let error = io::Error::new(io::ErrorKind::PermissionDenied, "it is not a readable file or folder");
        return Err(Failure::File { doing: "copy", path: source.to_owned(), error });
    }
    Ok(walk.tree)
}

struct Walk<'a> {
    source: &'a Path,
    excluded: &'a dyn Fn(&Path) -> bool,
    now: SystemTime,
    tree: Tree,
}

impl Walk<'_> {
    fn visit(&mut self, relative: PathBuf, path: &Path, metadata: &Metadata) -> Result<(), Failure> {
        let Some(name) = Name::of(&relative) else {
            self.notice(path, "its name is not Unicode");
            return Ok(());
        };
        let kind = metadata.file_type();
        if kind.is_symlink() {
            match fs::read_link(path).map(|to| Name::of(&to)) {
                Ok(Some(to)) => self.add(name, Kind::Link(to), metadata),
                Ok(None) => self.notice(path, "the link's target is not Unicode"),
                Err(error) => self.unreadable(relative, path, &error),
            }
            Ok(())
        } else if kind.is_dir() {
            self.folder(relative, name, path, metadata)
        } else if kind.is_file() {
            match File::open(path) {
                Ok(_) => {
                    let facts = FileFacts {
                        size: metadata.len(),
                        change: change(metadata),
                        settled: self.is_settled(metadata),
                        found: false,
                    };
                    self.add(name, Kind::File(facts), metadata);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.unreadable(relative, path, &error),
            }
            Ok(())
        } else {
            self.notice(path, "it is a device, socket or pipe");
            Ok(())
        }
    }

    fn folder(
        &mut self,
        relative: PathBuf,
        name: Name,
        path: &Path,
        metadata: &Metadata,
    ) -> Result<(), Failure> {
        let listed = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut children = match listed {
            Ok(children) => children,
            // Deleted since its parent was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound && path != self.source => return Ok(()),
            Err(error) => {
                self.unreadable(relative, path, &error);
                return Ok(());
            }
        };
        self.add(name, Kind::Folder, metadata);
        children.sort_unstable_by_key(fs::DirEntry::file_name);
        for child in children {
            let path = child.path();
            if (self.excluded)(&path) {
                self.tree.notices.push(format!("left out {}: it is the copy itself", path.display()));
                continue;
            }
            let relative = relative.join(child.file_name());
            match child.metadata() {
                Ok(metadata) => self.visit(relative, &path, &metadata)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.unreadable(relative, &path, &error),
            }
        }
        Ok(())
    }

    fn add(&mut self, path: Name, kind: Kind, metadata: &Metadata) {
        self.tree.entries.push(Entry { path, kind, mode: mode(metadata), mtime_ns: mtime_ns(metadata) });
    }

    fn notice(&mut self, path: &Path, why: &str) {
        self.tree.notices.push(format!("skipped {}: {why}", path.display()));
    }

    fn unreadable(&mut self, relative: PathBuf, path: &Path, error: &io::Error) {
        self.tree.notices.push(format!("cannot read {}: {error}", path.display()));
        self.tree.unreadable.push(relative);
    }

    fn is_settled(&self, metadata: &Metadata) -> bool {
        metadata.modified().is_ok_and(|at| self.now.duration_since(at).is_ok_and(|age| age > TICK))
    }
}

fn mtime_ns(metadata: &Metadata) -> i64 {
    let ns = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    metadata.modified().map_or(0, |at| match at.duration_since(UNIX_EPOCH) {
        Ok(since) => ns(since),
        Err(before) => -ns(before.duration()),
    })
}

/// The moment of [`Entry::mtime_ns`].
pub(crate) fn moment(mtime_ns: i64) -> SystemTime {
    let distance = Duration::from_nanos(mtime_ns.unsigned_abs());
    if mtime_ns < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere there is none")]
fn mode(metadata: &Metadata) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    Some(metadata.mode() & 0o7777)
}

#[cfg(not(unix))]
fn mode(_metadata: &Metadata) -> Option<u32> {
    None
}

#[cfg(unix)]
fn change(metadata: &Metadata) -> (i64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.ctime().saturating_mul(1_000_000_000).saturating_add(metadata.ctime_nsec()), metadata.ino())
}

#[cfg(not(unix))]
fn change(_metadata: &Metadata) -> (i64, u64) {
    (0, 0)
}
