//! Moving live jobs from one store to another, with workers running.
//!
//! Only one store of the pair executes operations, the *authority*. The other one takes over its *records*, with their
//! revisions and fences, through the change feed; it never executes an operation for a second time, so the two cannot
//! come apart. [`DualStore`] is a [`JobStore`](crate::JobStore) over both:
//!
//! 1. **Copying**, then **following**: the second store is filled and kept up to date while work goes on in the first.
//! 2. [`DualStore::compare`]: every job, chunk and dependency is compared. A difference is named.
//! 3. [`DualStore::cut_over`]: the first store commits that it has *retired*; the rest is copied and compared; the
//!    second commits that it is the authority. Calls wait for that moment. Open claims carry over under their fences.
//!    Other processes on the first store are told [`crate::ErrorKind::Moved`], and where to.
//! 4. [`DualStore::roll_back`] goes the same way back, as often as you like: the first store follows the second.
//! 5. [`DualStore::detach`] ends the pair. The authority is a store like any other again, the other one stays retired.
//!
//! A program that works in the first store already need not stop for that: a SQLite file may be open any number of times,
//! in one process too. It opens the pair beside its store, does everything from then on through the pair, stops the workers
//! of the old handle and closes it. A handle that is left over is told [`crate::ErrorKind::Moved`] from step 3 on, its
//! [`Worker`](crate::worker::Worker) ends with that error, and what it held is pending again. A redb file is open once: its
//! handle is closed first, or is a [`Store`] that [`DualStore::new`] takes.
//!
//! What a store is in the pair is part of the store, and each of its write transactions checks it. A crash in any step
//! leaves one authority, or none and all that is needed to go on: opening the same pair again does.
//!
//! Any number of processes may have two SQLite files open as a pair, and any of them may change the authority: one at a
//! time, under the system's lock on the file `<store>.pair` beside one of the two. The others wait for it, up to half a
//! minute, after which they are told [`crate::ErrorKind::Busy`] and can try again.
//!
//! [`migrate`] does all of it in one call, for stores that nobody works with.

mod check;
mod copy;
mod gate;
#[cfg(not(target_family = "wasm"))]
mod lock;
#[cfg(target_family = "wasm")]
#[path = "unlocked.rs"]
mod lock;
mod migrate;
mod patience;
mod side;
mod status;
mod store;
mod switch;
#[cfg(all(test, feature = "redb", feature = "sqlite", not(target_family = "wasm")))]
mod tests;
#[cfg(not(target_family = "wasm"))]
mod thread;
#[cfg(target_family = "wasm")]
#[path = "unthreaded.rs"]
mod thread;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use check::Digest;
pub use migrate::migrate;
pub use status::{Comparison, Mismatch, MovePhase, MoveSide, MoveStatus, StatusWatch};

use crate::commit::{Latest, Watch};
use crate::engine::{Invisible, Op};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Claim;
use crate::store::{Backing, Handle, OpenOptions, Store, open_handle};
use copy::Progress;
use gate::{Gate, Length};
use lock::Lock;
use patience::Patience;
use side::Side;
use status::Board;
use thread::Driving;

/// When a call that changes something is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Acknowledge {
    /// Once the authority has committed it. What the other store lacks is reported as its lag.
    #[default]
    Authority,
    /// Once both have. A store that follows too slowly or fails blocks nobody: past this time, and from then on until
    /// it has caught up, or has kept up for a while, the authority alone answers ([`MoveStatus::is_degraded`]). Where there are no threads (wasm32)
    /// there is no such bound: the call does the copying itself.
    Both {
        /// How long a call waits for the other store.
        patience: Duration,
    },
}

/// How two stores are joined.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DualOptions {
    acknowledge: Acknowledge,
}

impl DualOptions {
    /// Every default.
    pub fn new() -> Self {
        DualOptions::default()
    }

    /// The same with another answer to when a call is answered.
    #[must_use]
    pub fn acknowledge(mut self, acknowledge: Acknowledge) -> Self {
        self.acknowledge = acknowledge;
        self
    }
}

/// Two stores that are one: see the [module](self). Cheap to clone: clones share it.
///
/// ```
/// # #[cfg(all(feature = "sqlite", feature = "redb", not(target_family = "wasm")))]
/// # magnetar::block_on(async {
/// use magnetar::dual::{DualOptions, DualStore};
/// use magnetar::{Completion, JobStore, NewChunk, OpenOptions};
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let (old, new) = (folder.path().join("jobs.db"), folder.path().join("jobs.redb"));
/// let dual = DualStore::open(&old, &new, &OpenOptions::new(), &DualOptions::new()).await?;
/// let chunks = (0..3).map(|id| Ok(NewChunk::new(id)));
/// dual.import(7, &Default::default(), magnetar::chunks(chunks), &Default::default()).await?;
/// let chunk = dual.claim_pending(7).await?.expect("three are ready");
///
/// assert!(dual.compare().await?.is_equal());
/// dual.cut_over().await?;
/// dual.complete(&chunk.claim(), Completion::new()).await?; // in the new store, under the same fence
/// dual.detach().await?;
/// dual.close().await?;
///
/// let error = magnetar::open(&old).await?.claim_pending(7).await.unwrap_err();
/// assert_eq!(error.kind(), magnetar::ErrorKind::Moved);
/// # Ok::<(), magnetar::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct DualStore {
    inner: Arc<Inner>,
    /// Ends the copying when the last handle is gone. Tests go without it, and copy by hand.
    _driving: Option<Arc<Driving>>,
}

/// Who executes operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Roles {
    /// This one, and the other follows; or it is on its own, where the pair is detached.
    Settled { authority: MoveSide, detached: bool },
    /// It is to be found out, or to be finished what was begun.
    Unsettled,
}

#[derive(Debug)]
struct Inner {
    sides: [Side; 2],
    gate: Gate,
    /// Against other processes, as the gate is against other calls.
    lock: Lock,
    roles: Mutex<Roles>,
    /// They were a pair once: stores that are none any more do not become one again under this handle.
    was_joined: AtomicBool,
    board: Arc<Board>,
    patience: Patience,
    /// Claims that nobody was there to take, and that a store could not take back because it was moved.
    owed: Mutex<Vec<Claim>>,
    /// Up to which revision the copy was found equal.
    compared_up_to: Mutex<Option<u64>>,
    /// Told of what both stores tell.
    latest: Arc<Latest>,
    /// Have other processes' changes be looked for.
    _watches: [Watch; 2],
}

impl DualStore {
    /// Opens two stores by their paths, as [`crate::open_with`] does, and joins them: the first is to be moved to the
    /// second. What an earlier process left half-way is finished first. Two that were detached are no pair any more: the
    /// authority of then does all the work.
    pub async fn open(
        first: impl AsRef<Path>,
        second: impl AsRef<Path>,
        options: &OpenOptions,
        dual: &DualOptions,
    ) -> Result<Self> {
        let first = open_handle(first.as_ref(), options).await?;
        let options = options.clone().owner(first.store.owner());
        let second = open_handle(second.as_ref(), &options).await?;
        DualStore::join(first, second, dual).await
    }

    /// Joins two open stores: the first is to be moved to the second, which is new and empty, or was joined to it
    /// before. What an earlier process left half-way is finished first.
    ///
    /// Both must have been opened under one owner id ([`OpenOptions::owner`]), so that claims can carry over.
    pub async fn new<A: Backing, B: Backing>(
        first: &Store<A>,
        second: &Store<B>,
        options: &DualOptions,
    ) -> Result<Self> {
        DualStore::join(Handle::from(first.clone()), Handle::from(second.clone()), options).await
    }

    async fn join(first: Handle, second: Handle, options: &DualOptions) -> Result<Self> {
        let inner = Inner::join(first, second, options).await?;
        let driving = Some(Arc::new(Driving::start(&inner)?));
        Ok(DualStore { inner, _driving: driving })
    }

    /// How the move stands.
    pub fn status(&self) -> MoveStatus {
        let mut status = self.inner.board.status();
        if let Ok((from, _)) = self.inner.direction() {
            status.revision = status.revision.max(from.shared.core.latest.revision());
            status.lag = status.revision.saturating_sub(status.copied);
        }
        status
    }

    /// A stream of how the move stands.
    pub fn watch_status(&self) -> StatusWatch {
        StatusWatch::new(&self.inner.board)
    }

    /// Copies until the other store has everything that the authority has by now. Natively a thread copies anyway; on
    /// wasm32 this is what copies, so call it now and then.
    ///
    /// While a large first import is under way nothing behind its beginning is copied: [`ErrorKind::Busy`] says so.
    pub async fn catch_up(&self) -> Result<()> {
        let caught_up = self.inner.catch_up().await;
        if !self.inner.is_overtaken_copying(&caught_up) {
            return caught_up;
        }
        self.inner.ensure_settled().await?;
        self.inner.catch_up().await
    }

    /// Compares every job, chunk and dependency of both stores while work goes on, in memory bounded by a page. Leases
    /// and owners are left out. A difference is no error: see [`Comparison::mismatches`]. What cannot be compared yet, behind
    /// the beginning of an import that is under way, counts as [`Comparison::moving`].
    pub async fn compare(&self) -> Result<Comparison> {
        let compared = self.inner.compare().await;
        if !self.inner.is_overtaken_copying(&compared) {
            return compared;
        }
        self.inner.ensure_settled().await?;
        self.inner.compare().await
    }

    /// Makes the second store the authority. Imports and operations in slices that are under way are waited for; then
    /// calls wait for as long as the last changes take to copy and compare. Where a [`DualStore::compare`] found
    /// everything equal before, at most [`crate::limits::FEED_REVISIONS_KEPT`] revisions ago, only what changed since is
    /// compared, otherwise all.
    ///
    /// Registered consumers of the feed go on where they stand. Of the log before that, and before the pair began, the
    /// second store has nothing: asking for it is [`ErrorKind::FeedTruncated`].
    ///
    /// Dropped half-way, it is finished or undone by whoever calls the pair next, or opens it.
    ///
    /// Refused, with the first store the authority as before, where the two are not equal: [`ErrorKind::Corrupt`]
    /// names what differs. Unchanged where the second store is the authority already.
    pub async fn cut_over(&self) -> Result<Comparison> {
        self.inner.switch(MoveSide::Second).await
    }

    /// Makes the first store the authority again, in the same way. Possible until [`DualStore::detach`].
    pub async fn roll_back(&self) -> Result<Comparison> {
        self.inner.switch(MoveSide::First).await
    }

    /// Ends the pair. The authority is on its own; the other store keeps what it has and refuses work for good. This
    /// handle goes on with the authority.
    pub async fn detach(&self) -> Result<()> {
        self.inner.detach().await
    }

    /// A number for all that the authority holds, leases and owners left out.
    pub async fn digest(&self) -> Result<Digest> {
        let (_pass, side) = self.inner.enter(Length::Short).await?;
        side.read(check::digest).await
    }
}

impl<B: Backing> Store<B> {
    /// A number for all that the store holds: every job, chunk and dependency, leases and owners left out. Two stores
    /// hold the same where theirs are equal.
    pub async fn digest(&self) -> Result<Digest> {
        self.shared().read(check::digest).await
    }

    /// Ends the part that this store plays as the authority of a pair whose other store is lost. Only where this store
    /// executes operations; then the other one never can. Says whether it played one. Whoever has the pair open goes on
    /// with this store, as after [`DualStore::detach`], once it is to copy or to change something about the pair.
    pub async fn leave_pair(&self) -> Result<crate::Outcome> {
        self.shared().outcome(Op::LeavePair).await
    }
}

impl Inner {
    async fn join(first: Handle, second: Handle, options: &DualOptions) -> Result<Arc<Self>> {
        if first.store.owner() != second.store.owner() {
            let text = "the two stores were opened under different owner ids; open both with the same OpenOptions::owner";
            return Err(Error::invalid(text));
        }
        let latest = Arc::new(Latest::default());
        let watches = [first.shared.watch(), second.shared.watch()];
        for handle in [&first, &second] {
            handle.shared.core.latest.tell(&latest);
        }
        let sides = [Side::of(first).await?, Side::of(second).await?];
        if sides[0].id == sides[1].id {
            return Err(Error::invalid("both are the same store; give two"));
        }
        let board = Board::new();
        let inner = Inner {
            lock: Lock::of(&sides),
            sides,
            gate: Gate::default(),
            roles: Mutex::new(Roles::Unsettled),
            was_joined: AtomicBool::new(false),
            patience: Patience::new(options.acknowledge),
            board,
            owed: Mutex::default(),
            compared_up_to: Mutex::new(None),
            latest,
            _watches: watches,
        };
        inner.settle().await?;
        inner.was_joined.store(true, Ordering::SeqCst);
        let inner = Arc::new(inner);
        for side in [MoveSide::First, MoveSide::Second] {
            let heir = Arc::downgrade(&inner);
            let take = move |claim| heir.upgrade().map(|inner| inner.inherit(side, claim)).is_some();
            inner.side(side).shared.core.bequeath(Box::new(take));
        }
        Ok(inner)
    }

    /// Gives a claim back that a side could not: at once where the other one executes by now, or as soon as it is known
    /// who does.
    fn inherit(&self, from: MoveSide, claim: Claim) {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        match self.roles() {
            Roles::Settled { authority, .. } if authority != from => {
                drop(owed);
                self.side(authority).shared.core.submit_unheard(Op::Release { claim, delay_ms: 0 });
            }
            _ => owed.push(claim),
        }
    }

    fn give_back_owed(&self) {
        let Ok(side) = self.active() else { return };
        let owed = std::mem::take(&mut *self.owed.lock().unwrap_or_else(PoisonError::into_inner));
        for claim in owed {
            side.shared.core.submit_unheard(Op::Release { claim, delay_ms: 0 });
        }
    }

    fn side(&self, side: MoveSide) -> &Side {
        &self.sides[side.index()]
    }

    fn progress(&self) -> Progress<'_> {
        Progress { board: &self.board }
    }

    fn roles(&self) -> Roles {
        *self.roles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_roles(&self, roles: Roles) {
        *self.roles.lock().unwrap_or_else(PoisonError::into_inner) = roles;
        self.board.post(|status| match roles {
            Roles::Unsettled => (status.phase, status.authority) = (MovePhase::Switching, None),
            Roles::Settled { authority, detached } => {
                status.authority = Some(authority);
                status.phase = if detached { MovePhase::Detached } else { MovePhase::Following };
            }
        });
        self.give_back_owed();
    }

    /// The store that executes operations.
    fn active(&self) -> Result<&Side> {
        match self.roles() {
            Roles::Settled { authority, .. } => Ok(self.side(authority)),
            Roles::Unsettled => Err(unsettled()),
        }
    }

    /// From where to where records go.
    fn direction(&self) -> Result<(&Side, &Side)> {
        match self.roles() {
            Roles::Settled { authority, detached: false } => {
                Ok((self.side(authority), self.side(authority.other())))
            }
            Roles::Settled { detached: true, .. } => {
                Err(Error::new(ErrorKind::Refused, "the pair was detached; there is nothing to copy to"))
            }
            Roles::Unsettled => Err(unsettled()),
        }
    }

    async fn catch_up(&self) -> Result<()> {
        let _pass = self.enter(Length::Long).await?;
        let (from, to) = self.direction()?;
        let revision = from.meta().await?.revision;
        match copy::up_to(from, to, &self.progress(), revision).await? {
            None => Ok(()),
            Some(at) => Err(copy::waits_for_import(at)),
        }
    }

    async fn compare(&self) -> Result<Comparison> {
        let _pass = self.enter(Length::Long).await?;
        let (from, to) = self.direction()?;
        let compared = check::everything(from, to, &self.progress(), false).await?;
        let mut up_to = self.compared_up_to.lock().unwrap_or_else(PoisonError::into_inner);
        *up_to = compared.is_equal().then_some(compared.revision);
        drop(up_to);
        self.board.post(|status| status.compared = Some(compared.clone()));
        Ok(compared)
    }

    /// Copies a page, for whoever drives the copying. Where nothing is left, the authority's newest revision by then.
    async fn follow(&self) -> Result<Option<u64>> {
        let before = self.roles();
        self.give_back_owed();
        let copied = self.follow_as_it_is().await;
        if self.is_overtaken_copying(&copied) {
            self.ensure_settled().await?;
            if self.roles() != before {
                // From here on it goes the other way, or not at all.
                return Ok(None);
            }
        }
        copied
    }

    async fn follow_as_it_is(&self) -> Result<Option<u64>> {
        let _pass = self.gate.enter(Length::Short).await;
        let (from, to) = self.direction()?;
        let copied = copy::page(from, to, &self.progress(), Invisible::Wait).await?;
        if self.patience.reached(&copied) {
            self.board.post_if(|status| std::mem::take(&mut status.is_degraded));
        }
        Ok(copied.is_idle.then_some(copied.newest))
    }

    /// Says why the copy does not get on. Nobody waits for it until it has caught up.
    fn falls_behind(&self, error: &Error) {
        self.patience.give_up();
        let newest = self.direction().map_or(0, |(from, _)| from.shared.core.latest.revision());
        self.board.post(|status| {
            status.revision = status.revision.max(newest);
            status.is_degraded = self.patience.bound().is_some();
            status.error = Some(error.clone());
        });
    }

    /// Looks at what came of copying: where the copy does not follow any more, another process has changed the
    /// authority, which is to be found out.
    fn is_overtaken_copying<T>(&self, copied: &Result<T>) -> bool {
        let overtaken = copied.as_ref().is_err_and(copy::is_refused);
        if overtaken {
            self.forget_roles();
        }
        overtaken
    }
}

fn unsettled() -> Error {
    Error::new(
        ErrorKind::Busy,
        "the authority could not be changed wholly, and neither of the stores executes operations; try again, or reopen",
    )
}
