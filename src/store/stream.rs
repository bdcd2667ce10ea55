//! Streams of chunks for [`crate::JobStore::import`].

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::error::Result;
use crate::model::NewChunk;

/// Chunks on their way into a store. Any [`Stream`] of chunks will do, boxed and pinned; [`chunks`] makes one of an iterator.
pub type ChunkStream<'a> = Pin<Box<dyn Stream<Item = Result<NewChunk>> + Send + 'a>>;

/// A stream of what an iterator gives, or anything that can be made one, for [`crate::JobStore::import`].
///
/// The iterator runs on the task that imports: a slow one blocks it.
///
/// ```
/// let million = (0..1_000_000).map(|id| Ok(magnetar::NewChunk::new(id)));
/// let stream = magnetar::chunks(million);
/// let two = magnetar::chunks([Ok(magnetar::NewChunk::new(1)), Ok(magnetar::NewChunk::new(2))]);
/// # drop((stream, two));
/// ```
#[must_use]
pub fn chunks<'a>(
    chunks: impl IntoIterator<Item = Result<NewChunk>, IntoIter: Send + 'a>,
) -> ChunkStream<'a> {
    Box::pin(Iterated(chunks.into_iter()))
}

struct Iterated<I>(I);

// The iterator is only ever moved out of, never pinned.
impl<I> Unpin for Iterated<I> {}

impl<I: Iterator> Stream for Iterated<I> {
    type Item = I::Item;

    fn poll_next(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Option<I::Item>> {
        Poll::Ready(self.0.next())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}
