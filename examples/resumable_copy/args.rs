//! The command line, read by hand: a dozen options need no library.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::failure::Failure;

pub(crate) const HELP: &str = "\
Copies a file or a folder tree in pieces. Killed at any moment and started again, it does only the rest.

usage: resumable_copy [options] SRC DST

DST becomes the copy of SRC, whether or not it exists. What DST holds beside it is left alone.
Kept: contents, permissions and modification times; symbolic links stay links.
Not kept: owners, extended attributes, hard links. Devices, sockets and pipes are skipped with a notice.

While it runs, and after a crash, DST.magnetar.db (or .redb) stands beside DST; it goes when everything is copied.

options:
  --workers N          threads that copy (default: the number of processors, at most 8)
  --chunk-size SIZE    bytes per piece, with KiB, MiB or GiB (default: 1MiB)
  --batch N            pieces that a worker claims, syncs and completes together (default: 16, more where
                       they are small)
  --store sqlite|redb  the storage engine (default: the one an unfinished copy uses, else the first one compiled in)
  --rehash             read every source file again instead of trusting size and time (also: --paranoid)
  --verify             at the end, read the whole destination once more and redo what differs
  --no-read-back       do not read each piece back after it is written
  --restart            forget an unfinished copy; what DST holds already is compared, not copied again
  --keep-store         keep the store after a copy that succeeded
  --log-worked FILE    append one line per piece that was worked on
  --crash-after N      kill this process after N completed pieces: to see that nothing is lost
  --help               this text

exit status: 0 all copied, 1 something is left to do, 2 the command line is wrong
";

/// What is asked for.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Copy(Options),
}

/// A storage engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Sqlite,
    Redb,
}

impl Engine {
    pub(crate) const ALL: [Engine; 2] = [Engine::Sqlite, Engine::Redb];

    /// As it is named on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Engine::Sqlite => "sqlite",
            Engine::Redb => "redb",
        }
    }

    /// The ending by which [`magnetar::open`] knows it.
    pub(crate) fn ending(self) -> &'static str {
        match self {
            Engine::Sqlite => ".magnetar.db",
            Engine::Redb => ".magnetar.redb",
        }
    }
}

/// How to copy.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line by itself")]
pub(crate) struct Options {
    pub(crate) source: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) workers: usize,
    /// `None`: what an unfinished copy uses, else the default.
    pub(crate) chunk_bytes: Option<u64>,
    /// `None`: see [`Options::batch_of`].
    pub(crate) batch: Option<usize>,
    pub(crate) engine: Option<Engine>,
    pub(crate) rehash: bool,
    pub(crate) verify: bool,
    pub(crate) read_back: bool,
    pub(crate) restart: bool,
    pub(crate) keep_store: bool,
    pub(crate) log_worked: Option<PathBuf>,
    pub(crate) crash_after: Option<u64>,
}

impl Options {
    /// Pieces per batch, for pieces of so many bytes on average. A sync and a commit cost the same for small pieces as
    /// for large ones, so more small ones share them.
    pub(crate) fn batch_of(&self, piece_bytes: u64) -> usize {
        let fitting = (16 << 20) / piece_bytes.max(1);
        self.batch.unwrap_or_else(|| usize::try_from(fitting).unwrap_or(usize::MAX).clamp(16, 256))
    }
}

pub(crate) const CHUNK_BYTES_DEFAULT: u64 = 1 << 20;
const CHUNK_BYTES: std::ops::RangeInclusive<u64> = 1 << 10..=1 << 30;
const WORKERS: std::ops::RangeInclusive<u64> = 1..=256;
const BATCH: std::ops::RangeInclusive<u64> = 1..=1_000;

/// Reads the arguments, without the program's own name.
pub(crate) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command, Failure> {
    let mut options = Options {
        source: PathBuf::new(),
        target: PathBuf::new(),
        workers: std::thread::available_parallelism().map_or(2, |n| n.get().min(8)),
        chunk_bytes: None,
        batch: None,
        engine: None,
        rehash: false,
        verify: false,
        read_back: true,
        restart: false,
        keep_store: false,
        log_worked: None,
        crash_after: None,
    };
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut arguments = arguments;
    let mut only_paths = false;
    while let Some(argument) = arguments.next() {
        let text = argument.to_str().unwrap_or_default();
        if text == "-h" && !only_paths {
            return Ok(Command::Help);
        }
        if only_paths || !text.starts_with("--") {
            paths.push(argument.into());
            continue;
        }
        let (name, attached) = match text.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(OsString::from(value))),
            None => (text.to_owned(), None),
        };
        let mut value = |attached: Option<OsString>| {
            attached
                .or_else(|| arguments.next())
                .ok_or_else(|| Failure::usage(format!("{name} needs a value")))
        };
        match name.as_str() {
            "--" => only_paths = true,
            "--help" => return Ok(Command::Help),
            "--workers" => options.workers = whole(&name, &value(attached)?, &WORKERS)?,
            "--chunk-size" => options.chunk_bytes = Some(size(&value(attached)?)?),
            "--batch" => options.batch = Some(whole(&name, &value(attached)?, &BATCH)?),
            "--store" => options.engine = Some(engine(&value(attached)?)?),
            "--rehash" | "--paranoid" => options.rehash = true,
            "--verify" => options.verify = true,
            "--no-read-back" => options.read_back = false,
            "--restart" => options.restart = true,
            "--keep-store" => options.keep_store = true,
            "--log-worked" => options.log_worked = Some(value(attached)?.into()),
            "--crash-after" => {
                options.crash_after =
                    Some(whole(&name, &value(attached)?, &(1..=u64::from(u32::MAX)))? as u64);
            }
            _ => return Err(Failure::usage(format!("there is no option {name}"))),
        }
    }
    let [source, target] = <[PathBuf; 2]>::try_from(paths).map_err(|paths| {
        Failure::usage(format!("SRC and DST are needed, {} paths were given", paths.len()))
    })?;
    (options.source, options.target) = (source, target);
    Ok(Command::Copy(options))
}

fn whole(name: &str, value: &OsStr, range: &std::ops::RangeInclusive<u64>) -> Result<usize, Failure> {
    value
        .to_str()
        .and_then(|text| text.parse().ok())
        .filter(|n| range.contains(n))
        .and_then(|n| usize::try_from(n).ok())
        .ok_or_else(|| {
            Failure::usage(format!(
                "{name} {} must be a number from {} to {}",
                value.display(),
                range.start(),
                range.end()
            ))
        })
}

fn engine(value: &OsStr) -> Result<Engine, Failure> {
    Engine::ALL
        .into_iter()
        .find(|engine| value == engine.name())
        .ok_or_else(|| Failure::usage(format!("--store {} must be sqlite or redb", value.display())))
}

fn size(value: &OsStr) -> Result<u64, Failure> {
    let text = value.to_str().unwrap_or_default();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit: Option<u64> = match text[digits.len()..].trim() {
        "" | "B" => Some(1),
        "KiB" | "K" => Some(1 << 10),
        "MiB" | "M" => Some(1 << 20),
        "GiB" | "G" => Some(1 << 30),
        _ => None,
    };
    unit.and_then(|unit| digits.parse::<u64>().ok()?.checked_mul(unit))
        .filter(|n| CHUNK_BYTES.contains(n))
        .ok_or_else(|| {
            Failure::usage(format!(
                "--chunk-size {} must be from 1KiB to 1GiB, such as 4MiB",
                value.display()
            ))
        })
}
