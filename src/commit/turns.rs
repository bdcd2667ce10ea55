//! One after the other.

use std::sync::{Mutex, PoisonError};

use futures_channel::oneshot;

/// Work that is done by one at a time, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Where the end of the last one shows.
    last: Mutex<Option<oneshot::Receiver<()>>>,
}

/// Whose turn it is; over when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "it is dropped, which is heard")] oneshot::Sender<()>);

impl Turns {
    /// Returns once those who came before are done. Whoever is behind one that leaves while it waits does not wait for
    /// those before that one.
    pub(crate) async fn next(&self) -> Turn {
        let (turn, over) = oneshot::channel();
        let before = self.last.lock().unwrap_or_else(PoisonError::into_inner).replace(over);
        if let Some(before) = before {
            // It says nothing but that it is over.
            let _ = before.await;
        }
        Turn(turn)
    }
}
