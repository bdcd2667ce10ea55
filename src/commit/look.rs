//! Looking for what other processes committed: one thread per watched store, while somebody watches.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::Latest;
use crate::error::Result;

/// Between two looks while there is something new.
const SHORTEST: Duration = Duration::from_millis(2);

/// Between two looks when there has been nothing for a while.
const LONGEST: Duration = Duration::from_millis(100);

/// Starts to look, unless somebody does. Ends by itself when nobody watches any more.
pub(crate) fn look(latest: &Arc<Latest>, revision: impl Fn() -> Result<u64> + Send + 'static) {
    {
        let mut state = latest.state();
        if std::mem::replace(&mut state.looking, true) {
            return;
        }
    }
    let watched = Arc::clone(latest);
    let started =
        std::thread::Builder::new().name("magnetar-watch".into()).spawn(move || run(&watched, &revision));
    if let Err(error) = started {
        latest.state().looking = false;
        tracing::warn!(%error, "other processes' changes are not looked for: a thread could not be started");
    }
}

fn run(latest: &Latest, revision: &dyn Fn() -> Result<u64>) {
    let mut pause = SHORTEST;
    loop {
        // A look that fails is a look that saw nothing: the store itself says what is wrong to whoever calls it.
        let found = revision().unwrap_or(0);
        if found > latest.revision() {
            pause = SHORTEST;
            latest.advance(found);
        } else {
            pause = (pause * 3 / 2).min(LONGEST);
        }
        let state = latest.state();
        let waited = latest.moved.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner);
        let (mut state, _) = waited;
        if state.closed || state.watchers == 0 {
            state.looking = false;
            return;
        }
    }
}

impl Latest {
    /// Waits until a revision above this was told, or the time is over; `true` once it is closed.
    pub(crate) fn wait_past(&self, revision: u64, bound: Duration) -> bool {
        let state = self.state();
        if state.closed || state.revision > revision {
            return state.closed;
        }
        let (state, _) = self.moved.wait_timeout(state, bound).unwrap_or_else(PoisonError::into_inner);
        state.closed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::super::Watch;
    use super::*;

    #[test]
    fn whoever_looks_ends_with_the_last_watch_and_is_begun_anew_with_the_next() {
        let latest = Arc::<Latest>::default();
        for _ in 0..2 {
            let watches = [Watch::new(&latest), Watch::new(&latest)];
            let (looking, ended) = mpsc::channel::<()>();
            look(&latest, move || {
                // A thread that has ended has let go of it.
                let _ = &looking;
                Ok(0)
            });
            assert_eq!(latest.state().watchers, 2);
            drop(watches);
            assert_eq!(latest.state().watchers, 0);
            assert!(ended.recv().is_err());
            assert!(!latest.state().looking);
        }
    }
}
