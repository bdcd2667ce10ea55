//! The job file that the page saved, opened by the native build: every chunk done once, with the right checksum.
//!
//! `cargo xtask test page` saves the file, then runs this.

use std::path::PathBuf;

use magnetar::{JobStatus, JobStore as _, RedbStore, block_on};

#[test]
#[ignore = "needs the file that the page saves: cargo xtask test page"]
fn a_job_file_saved_by_the_page_says_natively_what_it_said_in_the_browser() {
    let saved = PathBuf::from(std::env::var("MAGNETAR_SAVED").expect("MAGNETAR_SAVED names the folder"));
    let expected = std::fs::read_to_string(saved.join("expected.txt")).unwrap();
    let expected: Vec<&str> = expected.lines().collect();
    assert_eq!(expected.len(), 225);

    let store = RedbStore::open(saved.join("copies.redb")).unwrap();
    block_on(async {
        store.verify().await.unwrap();
        let jobs = store.list_jobs(None, 10).await.unwrap();
        assert_eq!(jobs.len(), 1);
        let stats = store.get_stats(jobs[0].job_id).await.unwrap();
        assert_eq!((stats.total_chunks, stats.done), (225, 225));
        let chunks = store.get_by_status(jobs[0].job_id, JobStatus::Done).await.unwrap();
        for (chunk, digest) in chunks.iter().zip(expected) {
            assert_eq!(chunk.observed_checksum.as_deref(), Some(digest), "chunk {}", chunk.chunk);
            assert_eq!(chunk.attempts, 0, "chunk {} failed on the way: {:?}", chunk.chunk, chunk.error);
        }
        store.close().await.unwrap();
    });
}
