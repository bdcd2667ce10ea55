//! The job that moves: a graph of many chunks, and workers that keep a tally of what they did.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use magnetar::{
    Backoff, ClaimRequest, Completion, ErrorKind, ImportOptions, JobSpec, JobStore, Json, NewChunk, block_on,
    chunks,
};

pub(crate) const JOB: i64 = 42;

/// Chunks that each depend on up to three before them.
pub(crate) fn chunk(id: u64) -> NewChunk {
    let on = [id.checked_sub(16), id.checked_sub(33), id.is_multiple_of(5).then_some(id / 2)];
    let on: Vec<u64> = on.into_iter().flatten().filter(|&on| on < id).collect();
    let mut on = on;
    on.dedup();
    // Some are longer than what is kept in memory of a chunk that nobody asks for.
    let text = format!("part {id}").repeat(if id.is_multiple_of(3) { 500 } else { 1 });
    let payload = Json::new(&text).expect("a text is JSON");
    NewChunk::new(id).checksum(format!("sum {id}")).payload(payload).depends_on(on)
}

/// The output that tells which claim did the chunk.
pub(crate) fn output(fence: u64) -> Json {
    Json::new(&fence).expect("a number is JSON")
}

pub(crate) fn spec() -> JobSpec {
    let backoff = Backoff::NONE;
    JobSpec::new().name("moving").losses_max(0).lease_ms(3_600_000).backoff(backoff)
}

pub(crate) fn import(store: &dyn JobStore, count: u64) {
    let new = (0..count).map(|id| Ok(chunk(id)));
    block_on(store.import(JOB, &spec(), chunks(new), &ImportOptions::new())).expect("an import");
}

/// Which claims did each chunk, as the workers saw it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    done: Mutex<BTreeMap<u64, Vec<u64>>>,
    noted: Condvar,
}

impl Tally {
    pub(crate) fn count(&self) -> usize {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Waits until so many chunks are done.
    pub(crate) fn wait_for(&self, count: u64) {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = self.noted.wait_while(done, |done| (done.len() as u64) < count);
        drop(enough.unwrap_or_else(PoisonError::into_inner));
    }

    fn note(&self, chunk: u64, fence: u64) {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).entry(chunk).or_default().push(fence);
        self.noted.notify_all();
    }

    /// Every chunk was done, each by one claim, and the store says by which.
    pub(crate) async fn must_agree(&self, store: &dyn JobStore, count: u64) {
        let stats = store.get_stats(JOB).await.expect("the job is there");
        assert_eq!((stats.done, stats.total_chunks), (count, count), "{stats:?}");
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut seen = 0;
        for state in crate::support::chunks_of(store, JOB).await {
            let fences = done.get(&state.chunk).map(Vec::as_slice).unwrap_or_default();
            assert_eq!(fences, [state.fence], "chunk {}", state.chunk);
            assert_eq!(state.output.as_ref().map(Json::as_str), Some(output(state.fence).as_str()));
            assert_eq!((state.attempts, state.losses), (0, 0), "chunk {}", state.chunk);
            seen += 1;
        }
        assert_eq!(seen, count);
    }
}

/// Works until the job is finished. An error is the test's end, but for those that say that the
/// call is to be repeated.
pub(crate) fn work(store: &Arc<dyn JobStore>, tally: &Tally, batch: usize) {
    let mut watch = store.watch();
    loop {
        let request = ClaimRequest::new().job(JOB).count(batch);
        let claimed = retried(&**store, || block_on(store.claim(&request)));
        if claimed.is_empty() {
            if retried(&**store, || block_on(store.get_stats(JOB))).is_finished() {
                return;
            }
            // What others finish frees more.
            block_on(watch.changed());
            continue;
        }
        for state in claimed {
            let result =
                || Completion::new().checksum(format!("sum {}", state.chunk)).output(output(state.fence));
            retried(&**store, || block_on(store.complete(&state.claim(), result())));
            tally.note(state.chunk, state.fence);
        }
    }
}

/// Repeats a call for as long as its error says that this helps.
pub(crate) fn retried<T>(store: &dyn JobStore, mut call: impl FnMut() -> magnetar::Result<T>) -> T {
    for _ in 0..100 {
        match call() {
            Ok(answer) => return answer,
            Err(error) if matches!(error.kind(), ErrorKind::Poisoned | ErrorKind::OutcomeUnknown) => {
                // Another worker may be quicker, and its reopening may fail in its turn.
                let _ = block_on(store.reopen());
            }
            Err(error) if error.retry() == magnetar::Retry::Later => std::thread::yield_now(),
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("it never succeeds")
}
