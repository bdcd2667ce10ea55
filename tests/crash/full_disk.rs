//! A disk on which files cannot grow any more: what was acknowledged can be read, and work goes on once there is space.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use magnetar::{
    Completion, Durability, ErrorKind, ImportOptions, JobSpec, JobStatus, JobStore, NewChunk, OwnerId,
    RedbStore, Retry, Storage, block_on, chunks,
};

use crate::disk::Disk;
use crate::script::{Hand, OWNER, options};

const JOB: i64 = 1;
/// More than are claimed before the file would have to grow.
const CHUNKS: u64 = 20_000;

/// A disk whose files have a greatest length.
#[derive(Debug, Clone)]
struct Small {
    disk: Disk,
    length_max: Arc<AtomicU64>,
    durability: Durability,
}

impl Small {
    fn open(&self) -> magnetar::Result<RedbStore> {
        self.open_as(OWNER)
    }

    fn open_as(&self, owner: OwnerId) -> magnetar::Result<RedbStore> {
        let disk = self.clone();
        let options = options(owner, &Hand::at(1_700_000_000_000)).durability(self.durability);
        RedbStore::on_storage(move || Ok(disk.clone()), &options)
    }
}

impl Storage for Small {
    fn len(&self) -> io::Result<u64> {
        self.disk.len()
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.disk.read(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len > self.length_max.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.disk.set_len(len)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.write(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync()
    }
}

/// How many are done, as the store has it, counted and one by one.
fn done(store: &RedbStore) -> u64 {
    let stats = block_on(store.get_stats(JOB)).expect("it can be read");
    let listed = block_on(store.get_by_status(JOB, JobStatus::Done)).expect("it can be read");
    assert_eq!(listed.len() as u64, stats.done);
    stats.done
}

/// Claims one and completes it.
fn work(store: &RedbStore) -> magnetar::Result<()> {
    let chunk = block_on(store.claim_pending(JOB))?.expect("one is ready");
    block_on(store.complete(&chunk.claim(), Completion::new())).map(drop)
}

#[test]
fn where_a_file_cannot_grow_what_was_acknowledged_is_read_and_work_goes_on_once_it_can() {
    fill_up(Durability::Full);
}

#[test]
fn the_same_where_commits_are_not_synced() {
    fill_up(Durability::Relaxed);
}

fn fill_up(durability: Durability) {
    let small = Small { disk: Disk::default(), length_max: Arc::new(AtomicU64::new(u64::MAX)), durability };
    let store = small.open().expect("it opens");
    let stream = chunks((0..CHUNKS).map(|id| Ok(NewChunk::new(id))));
    block_on(store.import(JOB, &JobSpec::new(), stream, &ImportOptions::new())).expect("it is imported");
    let held = block_on(store.claim_pending(JOB)).expect("it opens").expect("one is ready").chunk;
    small.length_max.store(small.len().expect("it has one"), Ordering::SeqCst);
    let mut acknowledged = 0;
    let mut reopened = 0;
    loop {
        match work(&store) {
            Ok(()) => acknowledged += 1,
            Err(error) if error.kind() == ErrorKind::OutcomeUnknown => {
                block_on(store.reopen()).expect("opening takes no space");
                reopened += 1;
                let found = done(&store);
                assert!((acknowledged..=acknowledged + 1).contains(&found), "{found} of {acknowledged}");
                acknowledged = found;
            }
            Err(error) => {
                assert_eq!((error.kind(), error.retry()), (ErrorKind::Full, Retry::Later), "{error}");
                break;
            }
        }
        // A reader takes no space.
        assert_eq!(block_on(store.get_stats(JOB)).expect("it can be read").done, acknowledged);
        assert!(acknowledged < CHUNKS, "it never had to grow");
    }
    assert!(reopened > 0, "nothing was in doubt");
    assert_eq!(done(&store), acknowledged);
    for _ in 0..3 {
        let refused = work(&store).expect_err("there is no space");
        assert_eq!((refused.kind(), refused.retry()), (ErrorKind::Full, Retry::Later), "{refused}");
        assert_eq!(done(&store), acknowledged);
    }
    assert_eq!(block_on(store.verify()).expect_err("nothing can be set right").kind(), ErrorKind::Full);
    assert_eq!(done(&store), acknowledged);

    // As a process that is killed there leaves it, for one that comes while the disk is as full.
    drop(store);
    let store = small.open().expect("opening takes no space");
    assert_eq!(done(&store), acknowledged);
    drop(store);
    // What the dead one held waits.
    let other = OwnerId::from_bytes([0xcd; 16]);
    let store = small.open_as(other).expect("opening takes no space, whoever died");
    assert_eq!(done(&store), acknowledged);
    let status = || block_on(store.get_chunk(JOB, held)).expect("it can be read").map(|chunk| chunk.status);
    assert_eq!(status(), Some(JobStatus::Processing));

    small.length_max.store(u64::MAX, Ordering::SeqCst);
    work(&store).expect("there is space");
    assert_eq!(done(&store), acknowledged + 1);
    block_on(store.verify()).expect("it is whole");
    block_on(store.close()).expect("it closes");
    let store = small.open().expect("it opens");
    assert_eq!(done(&store), acknowledged + 1);
}
