//! A manifest larger than memory streams in. One test in a binary of its own: it measures the whole process.
#![allow(missing_docs, reason = "a test crate documents itself by its names")]
#![cfg(all(feature = "sqlite", feature = "redb", target_os = "linux"))]

use std::io::{BufReader, Read};

use magnetar::{ImportOptions, JobStore, OpenOptions, RedbStore, SqliteStore, block_on, chunks, manifest};

/// JSON Lines that are made as they are read.
struct Lines {
    next: u64,
    count: u64,
    line: Vec<u8>,
}

impl Read for Lines {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.line.is_empty() && self.next < self.count {
            let id = self.next;
            self.line =
                format!("{{\"id\":{id},\"checksum\":\"{id:032x}\",\"path\":\"a/b/{id}\"}}\n").into_bytes();
            self.next += 1;
        }
        let taken = self.line.len().min(out.len());
        out[..taken].copy_from_slice(&self.line[..taken]);
        self.line.drain(..taken);
        Ok(taken)
    }
}

/// The most memory that this process ever had, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the peak");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("in KiB") / 1024
}

#[test]
fn a_million_chunks_stream_in_with_bounded_memory() {
    let count =
        if std::env::var("MAGNETAR_PROOF").is_ok_and(|proof| proof == "full") { 1_000_000 } else { 150_000 };
    let folder = tempfile::tempdir().expect("a folder");
    let options = OpenOptions::new().cache_bytes(32 << 20);
    let stores: [Box<dyn JobStore>; 2] = [
        Box::new(RedbStore::open_with(folder.path().join("jobs.redb"), &options).expect("it opens")),
        Box::new(block_on(SqliteStore::open(folder.path().join("jobs.db"))).expect("it opens")),
    ];
    for store in stores {
        let lines = BufReader::new(Lines { next: 0, count, line: Vec::new() });
        let (spec, lines) = manifest::json_lines(lines).expect("the first line is a chunk");
        let report =
            block_on(store.import(7, &spec, chunks(lines), &ImportOptions::new())).expect("it is imported");
        assert_eq!(report.added, count);
        let last = block_on(store.page_by_status(7, None, Some(count - 2), 10)).expect("the job exists");
        assert_eq!(last[0].chunk, count - 1);
        assert_eq!(last[0].payload.as_ref().map(|p| p.get::<String>("path").expect("an object")), {
            Some(Some(format!("a/b/{}", count - 1)))
        });
        block_on(store.close()).expect("it closes");
        println!("{count} chunks, peak {} MiB", peak_mib());
    }
    // A slice of 50,000 chunks is held, parsed and as rows, whatever the length of the whole.
    assert!(peak_mib() < 400, "{} MiB at the peak", peak_mib());
}
