//! A store larger than memory streams out, in every form. One test in a binary of its own: it measures the whole
//! process, so the store is filled by another one.
#![allow(missing_docs, reason = "a test crate documents itself by its names")]
#![cfg(all(feature = "sqlite", feature = "redb", feature = "analytics", target_os = "linux"))]

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use magnetar::export::Export;
use magnetar::{ImportOptions, JobSpec, JobStore, Json, NewChunk, OpenOptions, block_on};

/// Asks this binary to fill a file instead.
const FILL: &str = "MAGNETAR_FILL";

/// Chunks of one job; a store has ten such jobs.
fn chunks_per_job() -> u64 {
    if std::env::var("MAGNETAR_PROOF").is_ok_and(|proof| proof == "full") { 100_000 } else { 15_000 }
}

const JOBS: i64 = 10;

fn open(path: &Path) -> Arc<dyn JobStore> {
    let options = OpenOptions::new().cache_bytes(32 << 20);
    block_on(magnetar::open_with(path, &options)).expect("it opens")
}

fn fill(path: &Path) {
    let store = open(path);
    for job in 1..=JOBS {
        let chunks = (0..chunks_per_job()).map(|id| {
            let payload = Json::new(&serde_json::json!({ "path": format!("a/b/{id}"), "offset": id << 20 }))?;
            let chunk = NewChunk::new(id).checksum(format!("{id:032x}")).payload(payload);
            Ok(if id % 10 == 9 { chunk.depends_on([id - 1]) } else { chunk })
        });
        let (spec, options) = (JobSpec::new(), ImportOptions::new());
        let imported = block_on(store.import(job, &spec, magnetar::chunks(chunks), &options));
        assert_eq!(imported.expect("it is imported").added, chunks_per_job());
    }
    block_on(store.close()).expect("it closes");
}

/// The most memory that this process ever had, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the peak");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("in KiB") / 1024
}

/// Counts what is written, and forgets it.
#[derive(Default)]
struct Counting {
    lines: u64,
}

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.lines += bytes.split(|byte| *byte == b'\n').count() as u64 - 1;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_million_chunks_stream_out_with_bounded_memory() {
    if let Some(path) = std::env::var_os(FILL) {
        return fill(Path::new(&path));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let chunks = JOBS.cast_unsigned() * chunks_per_job();
    for name in ["jobs.redb", "jobs.db"] {
        let path = folder.path().join(name);
        let me = std::env::current_exe().expect("a test has a binary");
        let filled = Command::new(me).env(FILL, &path).status().expect("it starts");
        assert!(filled.success(), "{filled}");

        let store = open(&path);
        let mut sink = Counting::default();
        let csv = block_on(Export::new(Arc::clone(&store)).csv().write_to(&mut sink)).expect("exported");
        assert_eq!((csv.chunks, sink.lines), (chunks, chunks + 1));
        println!("{name}: CSV {} bytes, peak {} MiB", csv.bytes, peak_mib());

        let mut sink = Counting::default();
        let lines =
            block_on(Export::new(Arc::clone(&store)).json_lines().write_to(&mut sink)).expect("exported");
        assert_eq!((lines.chunks, sink.lines), (chunks, chunks + JOBS.cast_unsigned() + 2));
        println!("{name}: JSON Lines {} bytes, peak {} MiB", lines.bytes, peak_mib());

        let parquet = block_on(Export::new(Arc::clone(&store)).parquet(std::io::sink())).expect("exported");
        assert_eq!(parquet.chunks, chunks);
        println!("{name}: Parquet {} bytes, peak {} MiB", parquet.bytes, peak_mib());
        block_on(store.close()).expect("it closes");
    }
    assert!(peak_mib() < 200, "{} MiB at the peak", peak_mib());
}
