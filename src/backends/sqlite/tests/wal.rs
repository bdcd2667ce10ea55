//! How long the WAL becomes.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{Folder, import};
use crate::backends::contract::*;
use crate::backends::sqlite::{FileOptions, open, open_file};

/// Ends the reading however the test ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whoever reads here lets go of what was read only once there is something newer.
#[test]
fn the_wal_starts_over_though_somebody_reads_at_every_moment() {
    const BYTES_MAX: u64 = 4 << 20;
    let folder = Folder::new();
    let options = FileOptions { wal_bytes_max: BYTES_MAX, ..FileOptions::default() };
    let mut backend = open_file(&folder.file(), options).unwrap();
    let reader = backend.reader();
    let is_over = AtomicBool::new(false);
    let mut longest = 0;
    let read = || {
        let mut snapshot = reader.snapshot().unwrap();
        snapshot.load(&Needs::default()).unwrap();
        snapshot
    };
    std::thread::scope(|scope| {
        let _over = Over(&is_over);
        for _ in 0..2 {
            scope.spawn(|| {
                let mut held = read();
                while !is_over.load(Ordering::Relaxed) {
                    held = read();
                }
                drop(held);
            });
        }
        let wal = open::wal(&folder.file());
        for commit in 0..200 {
            let mut transaction = backend.begin().unwrap();
            let meta = transaction.load(&Needs::default()).unwrap().meta;
            transaction.commit(import(&meta, 1, commit * 1_000, (commit + 1) * 1_000)).unwrap();
            longest = longest.max(wal.metadata().unwrap().len());
        }
    });
    println!("{} KiB", longest >> 10);
    assert!(longest < 5 * BYTES_MAX, "{} KiB", longest >> 10);
    backend.verify().unwrap();
}
