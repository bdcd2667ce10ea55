//! Threads for handlers that block.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use futures_channel::oneshot;

use super::context::Context;
use super::pulse::Hold;
use super::session::Returned;
use crate::error::{Error, ErrorKind, Result};
use crate::model::Completion;

struct Task {
    context: Context,
    hold: Hold,
    reply: oneshot::Sender<(Hold, Returned)>,
}

/// So many threads, each with one chunk at a time. They end when the crew is dropped and their chunk is over.
pub(super) struct Crew(Sender<Task>);

impl Crew {
    pub(super) fn start<H>(threads: usize, handler: H) -> Result<Self>
    where
        H: Fn(&Context) -> Result<Completion, String> + Send + Sync + 'static,
    {
        let (tasks, receiver) = channel::<Task>();
        let shared = Arc::new((Mutex::new(receiver), handler));
        for _ in 0..threads {
            let shared = Arc::clone(&shared);
            let run = move || work(&shared.0, &shared.1);
            std::thread::Builder::new().name("magnetar-handler".into()).spawn(run).map_err(|e| {
                Error::new(ErrorKind::Io, format!("a thread for handlers could not be started: {e}"))
                    .caused_by(e)
            })?;
        }
        Ok(Crew(tasks))
    }

    /// Has a thread work on a chunk. There are as many threads as chunks at a time, so none waits.
    pub(super) fn hand(&self, context: Context, hold: Hold) -> oneshot::Receiver<(Hold, Returned)> {
        let (reply, receiver) = oneshot::channel();
        if self.0.send(Task { context, hold, reply }).is_err() {
            tracing::error!("the threads for handlers are gone; please report this");
        }
        receiver
    }
}

fn work(tasks: &Mutex<Receiver<Task>>, handler: &impl Fn(&Context) -> Result<Completion, String>) {
    loop {
        let task = tasks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Task { context, hold, reply }) = task else { return };
        let returned = match catch_unwind(AssertUnwindSafe(|| handler(&context))) {
            Ok(result) => Returned::Result(result),
            Err(panic) => Returned::Panicked(text_of(&*panic)),
        };
        // Where nobody waits any more, the hold gives the claim back.
        drop(reply.send((hold, returned)));
    }
}

/// What a panic said.
pub(super) fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "it said nothing".to_owned()
    }
}
