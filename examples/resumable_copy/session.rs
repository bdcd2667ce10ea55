//! One run from start to end.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use magnetar::{JobStatus, Selection, block_on};

use super::args::{CHUNK_BYTES_DEFAULT, Options};
use super::copy::{Tally, Work};
use super::failure::Failure;
use super::ledger::{Known, Ledger, is_beside};
use super::plan::{self, Plan, has_moved};
use super::record::{Name, PIECES, Piece, Settings};
use super::report::{self, Progress, bytes};
use super::{scan, target};

/// A source that changes under the copy is looked at again so many times.
const ROUNDS: u32 = 5;
/// Failed pieces that the last error tells of.
const EXAMPLES: usize = 5;

/// Copies as asked, or says why not.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let started = report::instant();
    let (source, target) = places(options)?;
    let log = match &options.log_worked {
        Some(path) => {
            Some(File::options().append(true).create(true).open(path).map_err(Failure::file("open", path))?)
        }
        None => None,
    };
    let ledger = Ledger::open(&target, options.engine, options.restart)?;
    let run = Run {
        options,
        source: &source,
        target: &target,
        ledger: &ledger,
        log: log.as_ref(),
        tally: Tally::default(),
    };
    let outcome = run.rounds();
    let worked = run.tally.worked.load(Ordering::Relaxed);
    let in_place = run.tally.in_place.load(Ordering::Relaxed);
    let elapsed = started.elapsed();
    let store = ledger.path().to_owned();
    match outcome {
        Ok(copied) => {
            ledger.close(options.keep_store)?;
            println!("{}", summary(&copied, worked, in_place, elapsed));
            Ok(())
        }
        Err(failure) => {
            // The first failure is the one to tell.
            if let Err(error) = ledger.close(true) {
                eprintln!("notice: {error}");
            }
            println!(
                "not complete: worked {worked} pieces in this run; {} keeps what is done",
                store.display()
            );
            Err(failure)
        }
    }
}

/// Source and destination as absolute paths that do not overlap in a harmful way.
fn places(options: &Options) -> Result<(PathBuf, PathBuf), Failure> {
    let source = fs::canonicalize(&options.source).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::NoSource(options.source.clone()),
        _ => Failure::file("read", &options.source)(error),
    })?;
    let target = &options.target;
    let absolute = std::path::absolute(target).map_err(Failure::file("find", target))?;
    let canonical = match fs::canonicalize(&absolute) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else {
                return Err(Failure::file("find", target)(error));
            };
            fs::create_dir_all(parent).map_err(Failure::file("create", parent))?;
            fs::canonicalize(parent).map_err(Failure::file("find", parent))?.join(name)
        }
        Err(error) => return Err(Failure::file("read", target)(error)),
    };
    if canonical.file_name().is_none() {
        return Err(Failure::Overlap(format!(
            "{} cannot be a destination; name a folder in it",
            target.display()
        )));
    }
    if canonical == source {
        return Err(Failure::Overlap(format!(
            "{} is source and destination; name another destination",
            target.display()
        )));
    }
    if source.starts_with(&canonical) {
        return Err(Failure::Overlap(format!(
            "the source {} lies inside the destination {}; name a destination beside or below it",
            source.display(),
            canonical.display()
        )));
    }
    if source.is_file() && canonical.is_dir() {
        let file = source.file_name().map_or(Path::new("FILE"), Path::new);
        return Err(Failure::Conflict(format!(
            "{} is a folder and the source is a file; name the file: {}",
            target.display(),
            target.join(file).display()
        )));
    }
    Ok((source, canonical))
}

/// A path below the source; the empty one is the source itself.
fn path_of(source: &Path, path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() { source.to_owned() } else { source.join(path) }
}

/// A finished copy.
struct Copied {
    files: usize,
    bytes: u64,
    pieces: u64,
}

fn summary(copied: &Copied, worked: u64, in_place: u64, elapsed: Duration) -> String {
    let Copied { files, bytes: size, pieces } = *copied;
    let rate = u128::from(size) * 1_000 / elapsed.as_millis().max(1);
    let rate = bytes(u64::try_from(rate).unwrap_or(u64::MAX));
    let in_place =
        if in_place > 0 { format!(", {in_place} of them were in place already") } else { String::new() };
    let rate = if worked == pieces { format!(", {rate}/s") } else { String::new() };
    let (seconds, tenths) = (elapsed.as_secs(), elapsed.subsec_millis() / 100);
    format!(
        "complete: {files} files, {}, {pieces} pieces; worked {worked} pieces in this run{in_place}; {seconds}.{tenths} s{rate}",
        bytes(size)
    )
}

struct Run<'a> {
    options: &'a Options,
    source: &'a Path,
    target: &'a Path,
    ledger: &'a Ledger,
    log: Option<&'a File>,
    tally: Tally,
}

impl Run<'_> {
    fn rounds(&self) -> Result<Copied, Failure> {
        for round in 1..=ROUNDS {
            let is_last = round == ROUNDS;
            let (plan, unreadable) = match self.look(round) {
                Err(Failure::Moving(path)) if !is_last => {
                    eprintln!("notice: {} changed while it was read; looking again", path.display());
                    continue;
                }
                other => other?,
            };
            let before = self.tally.worked.load(Ordering::Relaxed);
            let prepared = target::prepare(&plan, self.ledger, self.target)?;
            if prepared.lost > 0 {
                eprintln!(
                    "notice: the destination lost files that were copied; {} pieces are copied again",
                    prepared.lost
                );
            }
            let found: HashSet<u64> = plan
                .entries
                .iter()
                .filter(|planned| planned.entry.file().is_some_and(|facts| facts.found))
                .map(|planned| planned.id)
                .collect();
            self.work(&plan, &found)?;
            let left = self.ledger.stats(PIECES)?.failed;
            if left > 0 {
                if is_last || (!unreadable.is_empty() && round > 1) {
                    return Err(self.left(left)?);
                }
                eprintln!(
                    "notice: {left} pieces could not be copied as they were hashed; looking at the source again"
                );
                continue;
            }
            if self.options.verify && self.verify(&plan, &found)? && !is_last {
                continue;
            }
            let worked = self.tally.worked.load(Ordering::Relaxed) > before;
            target::finish(&plan, prepared, worked || round > 1, self.ledger, self.target)?;
            let stats = self.ledger.stats(PIECES)?;
            if !stats.is_complete() {
                return Err(self.left(stats.total_chunks - stats.done)?);
            }
            if !unreadable.is_empty() {
                return Err(Failure::Unreadable(unreadable.len() as u64));
            }
            return Ok(Copied { files: plan.files().0, bytes: plan.bytes(), pieces: plan.pieces() });
        }
        Err(Failure::Moving(self.source.to_owned()))
    }

    /// Looks at the source and brings the store up to it.
    fn look(&self, round: u32) -> Result<(Plan, Vec<PathBuf>), Failure> {
        let known = self.ledger.known()?;
        let settings = self.settings(&known, round)?;
        let suspects = self.ledger.suspects()?;
        let excluded = |path: &Path| path == self.target || is_beside(self.target, path);
        let tree = scan::scan(self.source, &excluded)?;
        if round == 1 {
            tree.notices.iter().for_each(|notice| eprintln!("notice: {notice}"));
        }
        let mut unreadable = tree.unreadable.clone();
        let rehash = self.options.rehash && round == 1;
        let mut plan = plan::compare(tree, known, settings, &suspects, rehash, self.target)?;
        target::check_space(&plan, self.target)?;

        let imported = plan.import_pieces(self.ledger, self.source, self.options.workers)?;
        for (path, error) in imported.unread {
            let there = path_of(self.source, &path);
            if has_moved(&error) && round < ROUNDS {
                return Err(Failure::Moving(there));
            }
            if plan.entries.is_empty() {
                return Err(Failure::file("read", &there)(error));
            }
            let why =
                if has_moved(&error) { "it changes while it is read".into() } else { error.to_string() };
            eprintln!("notice: cannot read {}: {why}", there.display());
            unreadable.push(path);
        }
        for notice in target::remove_gone(&plan, self.target)? {
            eprintln!("notice: {notice}");
        }
        plan.import_entries(self.ledger)?;
        if self.ledger.stats(PIECES)?.failed > 0 {
            block_on(self.ledger.store.retry_failed(PIECES, Selection::All))?;
        }
        let (files, hashed) = plan.files();
        println!(
            "source: {files} files, {}; hashed {hashed}; pieces: {} new, {} changed, {} dropped",
            bytes(plan.bytes()),
            imported.added,
            imported.changed,
            imported.dropped
        );
        Ok((plan, unreadable))
    }

    /// What is copied and how: as the store says, where it says it.
    fn settings(&self, known: &Known, round: u32) -> Result<Settings, Failure> {
        let unsayable = || Failure::usage(format!("{} is not Unicode", self.source.display()));
        let source = Name::of(self.source).ok_or_else(unsayable)?;
        let store = self.ledger.path().display();
        let Some(settings) = &known.settings else {
            let chunk_bytes = self.options.chunk_bytes.unwrap_or(CHUNK_BYTES_DEFAULT);
            return Ok(Settings { version: 1, source, chunk_bytes });
        };
        if settings.version != 1 {
            return Err(Failure::OtherCopy(format!(
                "{store} is of a newer version of this program; use that"
            )));
        }
        if settings.source != source {
            return Err(Failure::OtherCopy(format!(
                "{store} belongs to an unfinished copy of {}; finish that one, or forget it with --restart",
                settings.source.path().display()
            )));
        }
        if let Some(asked) = self.options.chunk_bytes
            && asked != settings.chunk_bytes
            && round == 1
        {
            eprintln!(
                "notice: going on with pieces of {} as the copy began, not {}; --restart begins anew",
                bytes(settings.chunk_bytes),
                bytes(asked)
            );
        }
        Ok(settings.clone())
    }

    fn work(&self, plan: &Plan, found: &HashSet<u64>) -> Result<(), Failure> {
        let stats = self.ledger.stats(PIECES)?;
        let pending = self.ledger.chunks(PIECES, Some(JobStatus::Pending));
        let left: u64 = pending.map(|chunk| Ok(Piece::read(&chunk?)?.length)).sum::<Result<_, Failure>>()?;
        let before = plan.bytes().saturating_sub(left);
        println!(
            "done already: {} of {} pieces ({}); to do: {} pieces ({})",
            stats.done,
            stats.total_chunks,
            bytes(before),
            stats.pending,
            bytes(left)
        );
        let progress = Progress::new(plan.bytes(), before);
        let work = self.workers(plan, &progress, found);
        report::show("copying", &progress, || work.run())
    }

    /// Whether something was found that has to be copied again.
    fn verify(&self, plan: &Plan, found: &HashSet<u64>) -> Result<bool, Failure> {
        let progress = Progress::new(plan.bytes(), 0);
        let work = self.workers(plan, &progress, found);
        let differing = report::show("verifying", &progress, || work.verify())?;
        println!("verified: {} read, {differing} pieces differ", bytes(plan.bytes()));
        Ok(differing > 0)
    }

    fn workers<'b>(&'b self, plan: &Plan, progress: &'b Progress, found: &'b HashSet<u64>) -> Work<'b> {
        Work {
            ledger: self.ledger,
            source: self.source,
            target: self.target,
            options: self.options,
            progress,
            batch: self.options.batch_of(plan.bytes() / plan.pieces().max(1)),
            found,
            log: self.log,
            tally: &self.tally,
            stop: AtomicBool::new(false),
        }
    }

    /// The error about pieces that are left.
    fn left(&self, pieces: u64) -> Result<Failure, Failure> {
        let failed = self.ledger.chunks(PIECES, Some(JobStatus::Failed)).take(EXAMPLES);
        let examples =
            failed.map(|chunk| Ok(chunk?.error.unwrap_or_default())).collect::<Result<_, Failure>>()?;
        Ok(Failure::Left { pieces, examples })
    }
}
