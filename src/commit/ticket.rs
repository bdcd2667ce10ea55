//! A caller's place in the queue.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_channel::oneshot;

use super::{Core, Driver, closed, may_block};
use crate::engine::Reply;
use crate::error::{Result, Retry};

/// Resolves once an operation's outcome is durable.
///
/// Dropped before that, it strands nothing: an operation that was not started is dropped too, and claims that were
/// committed meanwhile are given back. Where its answer was that the store is to be reopened, those who wait are told.
pub(crate) struct Ticket {
    core: Arc<Core>,
    receiver: oneshot::Receiver<Result<Reply>>,
    polled: bool,
    done: bool,
}

impl Ticket {
    pub(super) fn new(core: &Arc<Core>, receiver: oneshot::Receiver<Result<Reply>>) -> Self {
        Ticket { core: Arc::clone(core), receiver, polled: false, done: false }
    }

    fn finish(
        &mut self,
        answer: std::result::Result<Result<Reply>, oneshot::Canceled>,
    ) -> Poll<Result<Reply>> {
        self.done = true;
        Poll::Ready(answer.unwrap_or_else(|_| Err(closed())))
    }
}

impl Future for Ticket {
    type Output = Result<Reply>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let may_drive = may_block() || this.core.driver == Driver::Tick;
        if may_drive && !this.polled {
            // Whatever else is submitted before this task is polled again shares the commit.
            this.polled = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if may_drive {
            let core = Arc::clone(&this.core);
            let mut answered = this.receiver.try_recv().transpose();
            // Answered already: whoever was answered with it may be about to ask again, and joins the next commit.
            if answered.is_none() {
                core.drive_until(|_| {
                    // Own answer first, where the others have the store's own driver. Where they have not, the driving
                    // goes on, and an answer that was taken must not be asked for again.
                    if answered.is_none() {
                        answered = this.receiver.try_recv().transpose();
                    }
                    answered.is_some() && this.core.driver == Driver::Thread
                });
            }
            if let Some(answer) = answered {
                return this.finish(answer);
            }
        }
        match Pin::new(&mut this.receiver).poll(context) {
            Poll::Ready(answer) => this.finish(answer),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.done {
            self.receiver.close();
            match self.receiver.try_recv() {
                Ok(Some(Ok(unheard))) => self.core.give_back(unheard),
                // It was to reopen the store, if anybody.
                Ok(Some(Err(error))) if error.retry() == Retry::AfterReopen => self.core.tell_of_poison(),
                _ => {}
            }
        }
    }
}
