//! Trees of files: made from a seed, changed, compared.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// Random numbers whose seed is printed, and taken from `MAGNETAR_SEED` where that is set.
pub(crate) fn random(test: &str) -> fastrand::Rng {
    let seed = std::env::var("MAGNETAR_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("{test}: MAGNETAR_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

/// Writes a file that has rested for years: nobody has to doubt its time.
pub(crate) fn write(path: &Path, content: &[u8], random: &mut fastrand::Rng) {
    fs::write(path, content).unwrap();
    rest(path, random);
}

pub(crate) fn rest(path: &Path, random: &mut fastrand::Rng) {
    let at =
        UNIX_EPOCH + Duration::from_nanos(random.u64(1_000_000_000_000_000_000..1_600_000_000_000_000_000));
    File::open(path).unwrap().set_times(FileTimes::new().set_modified(at)).unwrap();
}

pub(crate) fn noise(length: u64, random: &mut fastrand::Rng) -> Vec<u8> {
    let mut content = vec![0; usize::try_from(length).unwrap()];
    random.fill(&mut content);
    content
}

/// A tree with every size at which a piece begins or ends, of about so many bytes in all.
pub(crate) fn grow(root: &Path, chunk: u64, bytes: u64, random: &mut fastrand::Rng) {
    let deep = root.join("folder/in a folder/ünïcode");
    fs::create_dir_all(&deep).unwrap();
    fs::create_dir(root.join("nothing in it")).unwrap();
    for folder in [root, &root.join("folder"), &deep] {
        for size in [0, 1, chunk - 1, chunk, chunk + 1, 3 * chunk + 17] {
            write(&folder.join(format!("of {size}")), &noise(size, random), random);
        }
    }
    for large in 0..4 {
        write(&root.join(format!("large {large}")), &noise(bytes / 4, random), random);
    }
    write(&deep.join(std::ffi::OsStr::new("line\nbreak \"quoted\"")), b"odd name", random);
    symlink("large 0", root.join("link to a file")).unwrap();
    symlink("../folder", root.join("folder/link to a folder")).unwrap();
    symlink("/nowhere at all", root.join("dangling link")).unwrap();
    fs::set_permissions(root.join("of 1"), fs::Permissions::from_mode(0o400)).unwrap();
    fs::set_permissions(root.join("folder/of 1"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&deep, fs::Permissions::from_mode(0o550)).unwrap();
    rest(&deep, random);
    rest(root, random);
}

/// What can be seen of one thing.
#[derive(PartialEq, Eq)]
struct Seen {
    mode: u32,
    modified_ns: u128,
    content: Content,
}

#[derive(PartialEq, Eq)]
enum Content {
    Folder,
    Link(PathBuf),
    File(Vec<u8>),
}

fn look(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let (mut seen, mut left) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(path) = left.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let content = if metadata.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|child| child.unwrap().path()));
            Content::Folder
        } else if metadata.is_symlink() {
            Content::Link(fs::read_link(&path).unwrap())
        } else {
            Content::File(fs::read(&path).unwrap())
        };
        let is_link = matches!(content, Content::Link(_));
        let since = metadata.modified().unwrap().duration_since(UNIX_EPOCH).unwrap();
        let (mode, modified_ns) =
            if is_link { (0, 0) } else { (metadata.permissions().mode(), since.as_nanos()) };
        seen.insert(path.strip_prefix(root).unwrap().to_owned(), Seen { mode, modified_ns, content });
    }
    seen
}

/// How two trees differ, in words; empty where they do not.
pub(crate) fn differences(one: &Path, other: &Path) -> Vec<String> {
    let (one, other) = (look(one), look(other));
    let mut differences: Vec<String> = other
        .keys()
        .filter(|path| !one.contains_key(*path))
        .map(|path| format!("only in the second: {}", path.display()))
        .collect();
    for (path, seen) in &one {
        let path = path.display();
        match other.get(Path::new(&path.to_string())) {
            None => differences.push(format!("only in the first: {path}")),
            Some(there) if there.content != seen.content => {
                differences.push(format!("{path}: other content"));
            }
            Some(there) if there != seen => differences.push(format!("{path}: other mode or time")),
            Some(_) => {}
        }
    }
    differences
}
