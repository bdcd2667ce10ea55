//! Threads for reads that are too slow for a caller's own: they never queue behind commits.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::guarded;
use crate::error::{Error, ErrorKind, Result};

type Task = Box<dyn FnOnce() + Send>;

/// Reads that run at the same time.
const THREADS: usize = 2;

/// A few threads that run whatever is sent to them.
#[derive(Debug)]
pub(crate) struct Readers {
    tasks: Sender<Task>,
}

impl Readers {
    pub(crate) fn start() -> Result<Self> {
        let (tasks, receiver) = channel::<Task>();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..THREADS {
            let receiver = Arc::clone(&receiver);
            std::thread::Builder::new().name("magnetar-read".into()).spawn(move || run(&receiver)).map_err(
                |e| {
                    Error::new(ErrorKind::Io, format!("a reading thread could not be started: {e}"))
                        .caused_by(e)
                },
            )?;
        }
        Ok(Readers { tasks })
    }

    pub(crate) fn run(&self, task: Task) -> Result<()> {
        self.tasks
            .send(task)
            .map_err(|_| Error::new(ErrorKind::Internal, "the reading threads are gone; please report this"))
    }
}

/// Ends when the sending side is gone.
fn run(receiver: &Mutex<Receiver<Task>>) {
    loop {
        let task = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match task {
            Ok(task) => drop(guarded(task)),
            Err(_) => return,
        }
    }
}
