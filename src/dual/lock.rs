//! The lock of a pair that several processes have open: one at a time finds out or changes who executes operations.
//!
//! It is the system's lock on the empty file `<store>.pair` beside one of the two stores, whichever has the lower id, so
//! that all agree on it in whatever order they name the stores. The system releases it when its holder ends, however it
//! ends. That no two stores execute operations does not rest on it (see [`crate::standing`]): it spares whoever comes
//! second the errors of one that is overtaken.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind as IoError;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use futures_channel::oneshot;

use super::side::Side;
use crate::commit::closed;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Persistence;

/// Between two tries, on a thread of its own.
const PAUSE: Duration = Duration::from_millis(20);

/// So often it is tried before the caller is told: half a minute, as for a commit of SQLite's.
const TRIES: u32 = 1_500;

/// Where the lock of a pair is, where it needs one.
#[derive(Debug)]
pub(super) struct Lock(Option<PathBuf>);

/// The lock, until it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    _file: Option<File>,
}

impl Lock {
    /// None where only one process can have one of the stores open.
    pub(super) fn of(sides: &[Side; 2]) -> Self {
        let [first, second] = sides;
        if !sides.iter().all(|side| side.shared.is_shared()) {
            return Lock(None);
        }
        let side = if first.id <= second.id { first } else { second };
        let Persistence::File(path) = side.store.persistence() else { return Lock(None) };
        // One file may have several names.
        let mut path = path.canonicalize().unwrap_or(path).into_os_string();
        path.push(".pair");
        Lock(Some(path.into()))
    }

    /// Waits until nobody else has it, on a thread of its own.
    pub(super) async fn take(&self) -> Result<Held> {
        let Some(path) = &self.0 else { return Ok(Held { _file: None }) };
        if let Some(held) = attempt(path)? {
            return Ok(held);
        }
        let (sender, receiver) = oneshot::channel();
        let waiting = path.clone();
        let wait = move || {
            let held = wait(&waiting, &sender);
            // Where the caller has gone it is free again at once.
            drop(sender.send(held));
        };
        thread::Builder::new().name("magnetar-pair".into()).spawn(wait).map_err(|e| {
            Error::new(ErrorKind::Io, format!("a thread could not be started: {e}")).caused_by(e)
        })?;
        receiver.await.unwrap_or_else(|_| Err(closed()))
    }
}

fn wait(path: &Path, caller: &oneshot::Sender<Result<Held>>) -> Result<Held> {
    for _ in 0..TRIES {
        if caller.is_canceled() {
            break;
        }
        if let Some(held) = attempt(path)? {
            return Ok(held);
        }
        thread::sleep(PAUSE);
    }
    let text = format!(
        "another process is changing which store of the pair executes operations, and has {} locked; try again when it \
         is done",
        path.display()
    );
    Err(Error::new(ErrorKind::Busy, text))
}

/// The lock, where nobody else has it. Where there can be none, the steps themselves have to do.
fn attempt(path: &Path) -> Result<Option<Held>> {
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if is_forbidden(error.kind()) => return Ok(Some(unlocked(path, &error))),
        Err(error) => return Err(failed(path, error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(Held { _file: Some(file) })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) if error.kind() == IoError::Unsupported => {
            Ok(Some(unlocked(path, &error)))
        }
        Err(TryLockError::Error(error)) => Err(failed(path, error)),
    }
}

fn is_forbidden(kind: IoError) -> bool {
    matches!(kind, IoError::PermissionDenied | IoError::ReadOnlyFilesystem | IoError::Unsupported)
}

fn unlocked(path: &Path, error: &std::io::Error) -> Held {
    tracing::warn!(path = %path.display(), %error, "the pair cannot be locked: whoever changes its authority second is told so");
    Held { _file: None }
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    let text = format!(
        "cannot lock {}: {error}; whoever changes which store of a pair executes operations locks that file",
        path.display()
    );
    Error::new(ErrorKind::Io, text).caused_by(error)
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::commit::block_on;

    #[test]
    fn one_at_a_time_has_the_lock_and_whoever_gives_up_waiting_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let lock = || Lock(Some(folder.path().join("jobs.db.pair")));
        let (first, second) = (lock(), lock());
        let held = block_on(first.take()).expect("nobody has it");
        let poll = |future| Future::poll(future, &mut Context::from_waker(Waker::noop()));
        {
            let mut given_up = Box::pin(second.take());
            assert!(poll(given_up.as_mut()).is_pending());
        }
        let mut waiting = pin!(second.take());
        let Poll::Pending = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("two have it");
        };
        drop(held);
        let held = block_on(waiting).expect("it is free");
        drop(held);
        block_on(first.take()).expect("and so it is again");
    }
}
