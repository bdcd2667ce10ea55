//! A large import whose chunks arrive piece by piece: the import waits between the pieces, other calls do not.

use std::collections::VecDeque;
use std::future::Future;
use std::io::Cursor;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use futures_core::Stream;
use magnetar::manifest::json_lines;
use magnetar::{
    ChunkStream, ImportOptions, ImportReport, JobSpec, JobStore as _, NewChunk, RedbStore, Result,
};

use crate::answer::Failure;

/// What has arrived and was not taken yet.
#[derive(Debug, Default)]
struct Arrived {
    chunks: VecDeque<NewChunk>,
    has_ended: bool,
}

#[derive(Debug, Default, Clone)]
struct Pieces(Arc<Mutex<Arrived>>);

impl Pieces {
    fn arrived(&self) -> MutexGuard<'_, Arrived> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream for Pieces {
    type Item = Result<NewChunk>;

    fn poll_next(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut arrived = self.arrived();
        if let Some(chunk) = arrived.chunks.pop_front() {
            return Poll::Ready(Some(Ok(chunk)));
        }
        // Whoever brings the next piece polls again.
        if arrived.has_ended { Poll::Ready(None) } else { Poll::Pending }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let arrived = self.arrived();
        let left = arrived.chunks.len();
        (left, arrived.has_ended.then_some(left))
    }
}

/// An import under way. Dropped, it takes back what it has imported.
pub(crate) struct Feed {
    pieces: Pieces,
    /// Begins with the first piece, which may say what holds for the whole job.
    import: Option<Pin<Box<dyn Future<Output = Result<ImportReport>>>>>,
    begin: Option<(RedbStore, i64, JobSpec, ImportOptions)>,
    lines: u64,
}

impl Feed {
    pub(crate) fn new(store: RedbStore, job: i64, spec: JobSpec, options: ImportOptions) -> Self {
        Feed { pieces: Pieces::default(), import: None, begin: Some((store, job, spec, options)), lines: 0 }
    }

    /// Takes whole lines of JSON. The report comes with the last piece; an error ends the import.
    pub(crate) fn push(&mut self, text: &str, is_last: bool) -> Result<Option<ImportReport>, Failure> {
        let before = self.lines;
        let parsed = json_lines(Cursor::new(text.as_bytes()));
        self.lines += text.bytes().filter(|&byte| byte == b'\n').count() as u64;
        let failure = match parsed {
            Ok((spec, chunks)) => {
                if let Some((store, job, given, options)) = self.begin.take() {
                    let spec = if given == JobSpec::new() { spec } else { given };
                    let stream: ChunkStream<'static> = Box::pin(self.pieces.clone());
                    self.import =
                        Some(Box::pin(async move { store.import(job, &spec, stream, &options).await }));
                }
                let mut arrived = self.pieces.arrived();
                let mut failure = None;
                for chunk in chunks {
                    match chunk {
                        Ok(chunk) => arrived.chunks.push_back(chunk),
                        Err(error) => failure = Some(error),
                    }
                }
                failure
            }
            Err(error) => Some(error),
        };
        if let Some(failure) = failure {
            // What is left of the import is dropped, and with that taken back.
            self.import = None;
            // Its line numbers count from the beginning of the piece.
            let failure = Failure::from(failure);
            return Err(if before == 0 { failure } else { failure.after_line(before) });
        }
        self.pieces.arrived().has_ended = is_last;
        Ok(self.go_on()?)
    }

    fn go_on(&mut self) -> Result<Option<ImportReport>> {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        while let Some(import) = &mut self.import
            && woken.0.swap(false, Ordering::AcqRel)
        {
            if let Poll::Ready(report) = import.as_mut().poll(&mut context) {
                self.import = None;
                return report.map(Some);
            }
        }
        Ok(None)
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}
