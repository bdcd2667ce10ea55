//! A second store that is slow or fails stops nobody: it lags, that is reported, and it catches up.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use magnetar::dual::{Acknowledge, DualOptions, DualStore, MoveStatus};
use magnetar::{
    Backing, Completion, ErrorKind, ImportOptions, JobSpec, JobStore, NewChunk, OpenOptions, OwnerId,
    RedbStore, SqliteStore, Storage, Store, block_on, chunks, limits,
};

use crate::dag::{self, JOB};
use crate::support::SharedBytes;

/// How the disk's syncs go.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Mood {
    #[default]
    Well,
    /// They wait until it is well.
    Stuck,
    /// They fail.
    Broken,
}

#[derive(Debug, Clone, Default)]
struct Moody {
    bytes: SharedBytes,
    mood: Arc<(Mutex<Mood>, Condvar)>,
}

impl Moody {
    fn mood(&self) -> MutexGuard<'_, Mood> {
        self.mood.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, mood: Mood) {
        *self.mood() = mood;
        self.mood.1.notify_all();
    }
}

impl Storage for Moody {
    fn len(&self) -> io::Result<u64> {
        self.bytes.len()
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.bytes.read(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.set_len(len)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.bytes.write(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        let mood = self.mood.1.wait_while(self.mood(), |mood| *mood == Mood::Stuck);
        match *mood.unwrap_or_else(PoisonError::into_inner) {
            Mood::Broken => Err(io::Error::other("the disk is gone")),
            Mood::Well | Mood::Stuck => self.bytes.sync(),
        }
    }
}

/// A pair whose second store is on a disk of moods.
fn pair(acknowledge: Acknowledge) -> (DualStore, Moody) {
    let options = OpenOptions::new().owner(OwnerId::from_bytes([4; 16]));
    let first = block_on(SqliteStore::in_memory_with(&options)).expect("memory is there");
    let disk = Moody::default();
    let second = {
        let disk = disk.clone();
        RedbStore::on_storage(move || Ok(disk.clone()), &options).expect("new storage")
    };
    let options = DualOptions::new().acknowledge(acknowledge);
    let dual = block_on(DualStore::new(&first, &second, &options)).expect("a new pair");
    dag::import(&dual, 100);
    block_on(dual.catch_up()).expect("the copy gets on");
    (dual, disk)
}

fn complete_some(dual: &DualStore, count: usize) {
    for state in block_on(dual.claim_pending_batch(JOB, count)).expect("claims") {
        block_on(dual.complete(&state.claim(), Completion::new())).expect("a completion");
    }
}

fn wait_until(dual: &DualStore, is_so: impl Fn(&MoveStatus) -> bool) -> MoveStatus {
    let mut watch = dual.watch_status();
    loop {
        let status = block_on(watch.next()).expect("it is open");
        if is_so(&status) {
            return status;
        }
    }
}

#[test]
fn callers_that_want_both_wait_for_a_slow_store_once_and_not_for_ever() {
    let (dual, disk) = pair(Acknowledge::Both { patience: Duration::from_millis(200) });
    complete_some(&dual, 2);
    let status = wait_until(&dual, |status| status.lag == 0);
    assert!(!status.is_degraded, "{status:?}");
    disk.set(Mood::Stuck);
    // The first call is patient; after it nobody waits any more.
    complete_some(&dual, 10);
    let status = dual.status();
    assert!(status.is_degraded && status.copied < 121, "{status:?}");
    disk.set(Mood::Well);
    let status = wait_until(&dual, |status| !status.is_degraded && status.lag == 0);
    assert_eq!(status.error.map(|error| error.to_string()), None);
    complete_some(&dual, 1);
    let copied = dual.status().copied;
    assert!(copied >= status.copied, "what is answered is in both");
    assert!(block_on(dual.compare()).expect("they can be compared").is_equal());
}

/// Joins two stores, has nobody copy while the first one changes a lot, and joins them again.
fn fall_behind<A: Backing, B: Backing>(first: &Store<A>, second: &Store<B>) {
    dag::import(first, 100);
    {
        let dual = block_on(DualStore::new(first, second, &DualOptions::new())).expect("a new pair");
        block_on(dual.catch_up()).expect("the copy gets on");
    }
    // A change a commit: pages end just where a commit does.
    for at in 0..limits::RECORDS_PER_PAGE_MAX + 7 {
        block_on(first.new_job(&JobSpec::new().name(format!("{at}")))).expect("a job");
    }
    let dual = block_on(DualStore::new(first, second, &DualOptions::new())).expect("they are a pair");
    block_on(dual.catch_up()).expect("the copy gets on");
    let compared = block_on(dual.compare()).expect("they can be compared");
    assert!(compared.is_equal(), "{:?}", &compared.mismatches[..3]);
    assert_eq!(block_on(first.digest()).expect("a digest"), block_on(second.digest()).expect("a digest"));
}

#[test]
fn a_lag_of_many_pages_is_caught_up_without_a_gap() {
    let options = OpenOptions::new().owner(OwnerId::from_bytes([4; 16]));
    let redb = || RedbStore::in_memory_with(&options).expect("memory is there");
    let sqlite = || block_on(SqliteStore::in_memory_with(&options)).expect("memory is there");
    fall_behind(&sqlite(), &redb());
    fall_behind(&redb(), &sqlite());
}

#[test]
fn a_store_that_fails_lags_says_why_and_catches_up_by_itself() {
    let (dual, disk) = pair(Acknowledge::Authority);
    disk.set(Mood::Broken);
    complete_some(&dual, 10);
    let status = wait_until(&dual, |status| status.error.is_some());
    assert!(status.lag > 0, "{status:?}");
    let told = status.error.expect("it was waited for").to_string();
    assert!(told.contains("the disk is gone") || told.contains("call reopen"), "{told}");
    // Nobody here opens anything anew.
    disk.set(Mood::Well);
    let status = wait_until(&dual, |status| status.lag == 0 && status.error.is_none());
    assert!(status.copied > 0);
    assert!(block_on(dual.compare()).expect("they can be compared").is_equal());
    assert!(block_on(dual.cut_over()).expect("nothing stands in the way").is_equal());
}

/// A large import that stands still in its midst until it is told to go on.
fn import_slowly(dual: &DualStore, meanwhile: impl FnOnce()) {
    let (stopped, is_stopped) = mpsc::channel();
    let (go, goes) = mpsc::channel::<()>();
    let goes = Mutex::new(goes);
    let total = 2 * limits::IMPORT_ROWS_PER_COMMIT_MAX as u64 + 10;
    let new = (0..total).map(move |id| {
        if id == total - 1 {
            stopped.send(()).expect("it is waited for");
            goes.lock().unwrap_or_else(PoisonError::into_inner).recv().expect("it is told");
        }
        Ok(NewChunk::new(id))
    });
    std::thread::scope(move |scope| {
        // Whatever fails here, it goes on.
        let go = go;
        let import = scope
            .spawn(move || block_on(dual.import(9, &JobSpec::new(), chunks(new), &ImportOptions::new())));
        is_stopped.recv().expect("it gets there");
        // What was read by then is written while the rest is read.
        let mut watch = dual.watch();
        while block_on(dual.info()).expect("it can be read").revision < total / 2 {
            block_on(watch.changed()).expect("it is open");
        }
        meanwhile();
        go.send(()).expect("it waits");
        import.join().expect("no panic").expect("an import");
    });
}

#[test]
fn a_copy_that_waits_for_an_import_says_so_and_is_not_said_to_differ() {
    let (dual, _) = pair(Acknowledge::Authority);
    import_slowly(&dual, || {
        complete_some(&dual, 3);
        block_on(dual.new_job(&JobSpec::new())).expect("a job");
        let error = block_on(dual.catch_up()).expect_err("something is in the way");
        assert_eq!(error.kind(), ErrorKind::Busy);
        let compared = block_on(dual.compare()).expect("they can be compared");
        assert!(compared.is_equal() && compared.moving >= 4, "{compared:#?}");
        let told = wait_until(&dual, |status| status.error.is_some()).error.expect("it was waited for");
        assert_eq!(told.kind(), ErrorKind::Busy);
    });
    block_on(dual.catch_up()).expect("nothing is in the way");
    let compared = block_on(dual.cut_over()).expect("nothing stands in the way");
    assert!(compared.is_equal() && compared.moving == 0, "{compared:#?}");
    let compared = block_on(dual.compare()).expect("they can be compared");
    assert!(compared.is_equal() && compared.moving == 0, "{compared:#?}");
}

#[test]
fn callers_that_want_both_wait_for_an_import_once_and_not_each_of_them() {
    let (dual, _) = pair(Acknowledge::Both { patience: Duration::from_millis(200) });
    import_slowly(&dual, || {
        complete_some(&dual, 1);
        wait_until(&dual, |status| status.is_degraded);
        for _ in 0..3 {
            complete_some(&dual, 1);
            let newest = block_on(dual.info()).expect("it can be read").revision;
            // The copying has looked, and got no further.
            let status = wait_until(&dual, |status| status.revision >= newest);
            assert!(status.is_degraded, "{status:?}");
        }
    });
    wait_until(&dual, |status| !status.is_degraded && status.lag == 0);
}
