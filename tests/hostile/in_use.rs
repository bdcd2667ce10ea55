//! A file that is damaged while it is in use: it is said to be, and nobody waits for an answer that never comes.

use std::time::Duration;

use magnetar::{
    ErrorKind, ImportOptions, JobSpec, JobStore, NewChunk, OpenOptions, RedbStore, Storage, chunks,
};

use crate::bytes::SharedBytes;

const JOB: i64 = 1;
/// Where redb's own pages begin, behind its header.
const TREES_AT: usize = (256 << 10) + 4096;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verifying_a_file_that_was_damaged_in_use_says_so_and_every_later_call_is_answered() {
    let bytes = SharedBytes::default();
    let made = bytes.clone();
    let options = OpenOptions::new().cache_bytes(0);
    let store = RedbStore::on_storage(move || Ok(made.clone()), &options).expect("it opens");
    let stream = chunks((0..3_000).map(|id| Ok(NewChunk::new(id).checksum(format!("{id}")))));
    store.import(JOB, &JobSpec::new(), stream, &ImportOptions::new()).await.expect("it is imported");
    store.verify().await.expect("it is whole");
    for _ in 0..2 {
        store.claim_pending(JOB).await.expect("it is claimed").expect("one is ready");
    }
    let trees_bytes = usize::try_from(bytes.len().expect("it has a length")).expect("it fits") - TREES_AT;
    bytes.write(TREES_AT as u64, &vec![7; trees_bytes]).expect("it is damaged");
    let verified = tokio::time::timeout(PATIENCE, store.verify()).await.expect("it is answered");
    assert_eq!(verified.expect_err("it is damaged").kind(), ErrorKind::Corrupt);
    let claimed = tokio::time::timeout(PATIENCE, store.claim_pending(JOB)).await.expect("it is answered");
    claimed.expect_err("it is damaged");
    let reopened = tokio::time::timeout(PATIENCE, store.reopen()).await.expect("it is answered");
    assert_eq!(reopened.expect_err("it is damaged").kind(), ErrorKind::Corrupt);
    tokio::time::timeout(PATIENCE, store.close()).await.expect("it is answered").expect("nothing is open");
}
