//! Work that would block, away from the caller's thread.

use std::future::Future;

use futures_channel::oneshot;

use super::{blocking, closed};
use crate::error::{Error, ErrorKind, Result};

/// Runs something that blocks on a thread of its own; on a thread that waits anyway, right there.
pub(crate) fn offload<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> impl Future<Output = Result<T>> + Send {
    let (sender, receiver) = oneshot::channel();
    let here = blocking::may_block();
    let started = if here {
        // The receiver is held below.
        let _ = sender.send(work());
        Ok(())
    } else {
        std::thread::Builder::new()
            .name("magnetar-aside".into())
            // A caller that has gone does not need the result.
            .spawn(move || drop(sender.send(work())))
            .map(drop)
            .map_err(|e| {
                Error::new(ErrorKind::Io, format!("a thread could not be started: {e}")).caused_by(e)
            })
    };
    async move {
        started?;
        receiver.await.unwrap_or_else(|_| Err(closed()))
    }
}
