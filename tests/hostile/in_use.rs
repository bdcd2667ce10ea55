//! A file that is damaged while it is in use: it is said to be, and nobody waits for an answer that never comes.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use magnetar::{
    ErrorKind, ImportOptions, JobSpec, JobStore, NewChunk, OpenOptions, RedbStore, Storage, chunks,
};

const JOB: i64 = 1;
const PAGE: usize = 4096;
/// Where redb's own pages begin, behind its header.
const TREES_AT: usize = (256 << 10) + PAGE;

#[derive(Debug, Clone, Default)]
struct Bytes(Arc<Mutex<Vec<u8>>>);

impl Bytes {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Storage for Bytes {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|bytes| bytes.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        self.with(|bytes| {
            let found = bytes.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            out.copy_from_slice(found);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        self.with(|bytes| bytes.resize(len, 0));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        self.with(|bytes| bytes[at..at + data.len()].copy_from_slice(data));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_mins(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verifying_a_file_that_was_damaged_in_use_says_so_and_every_later_call_is_answered() {
    let bytes = Bytes::default();
    let made = bytes.clone();
    let options = OpenOptions::new().cache_bytes(0);
    let store = RedbStore::on_storage(move || Ok(made.clone()), &options).expect("it opens");
    let stream = chunks((0..3_000).map(|id| Ok(NewChunk::new(id).checksum(format!("{id}")))));
    store.import(JOB, &JobSpec::new(), stream, &ImportOptions::new()).await.expect("it is imported");
    store.verify().await.expect("it is whole");
    for _ in 0..2 {
        store.claim_pending(JOB).await.expect("it is claimed").expect("one is ready");
    }
    bytes.with(|bytes| bytes[TREES_AT..].fill(7));
    let verified = tokio::time::timeout(PATIENCE, store.verify()).await.expect("it is answered");
    assert_eq!(verified.expect_err("it is damaged").kind(), ErrorKind::Corrupt);
    let claimed = tokio::time::timeout(PATIENCE, store.claim_pending(JOB)).await.expect("it is answered");
    claimed.expect_err("it is damaged");
    let reopened = tokio::time::timeout(PATIENCE, store.reopen()).await.expect("it is answered");
    assert_eq!(reopened.expect_err("it is damaged").kind(), ErrorKind::Corrupt);
    tokio::time::timeout(PATIENCE, store.close()).await.expect("it is answered").expect("nothing is open");
}
