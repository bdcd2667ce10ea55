//! Group commit: callers that wait at the same time share one transaction and one sync.
//!
//! [`Core`] is a queue in front of an [`Engine`], with no thread and no I/O of its own: operations are submitted, and
//! whoever *drives* takes everything that waits, runs it as one commit and answers. Who drives is a matter of the host:
//! a thread per store natively ([`thread`]), a caller that may block anyway ([`Ticket`]), or the first future that is
//! polled again in the same tick, where there are no threads.

mod blocking;
#[cfg(not(target_family = "wasm"))]
mod look;
#[cfg(not(target_family = "wasm"))]
mod offload;
#[cfg(not(target_family = "wasm"))]
mod readers;
#[cfg(not(target_family = "wasm"))]
mod thread;
mod ticket;
mod turns;
#[cfg(target_family = "wasm")]
mod unthreaded;
mod waiters;
mod watch;

use std::collections::VecDeque;
use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_channel::oneshot;

use crate::engine::{Applied, Engine, ImportSlice, Op, Reply};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::limits;
use crate::model::{Claim, JobState, OwnerId};

pub use blocking::block_on;
pub(crate) use blocking::may_block;
pub(crate) use ticket::Ticket;
pub(crate) use turns::{Turn, Turns};
#[cfg(target_family = "wasm")]
pub(crate) use unthreaded::{DRIVER, Driving, Readers, look, offload};
pub(crate) use waiters::{Place, Waiters, guarded, wake};
pub(crate) use watch::Latest;
pub use watch::Watch;
#[cfg(not(target_family = "wasm"))]
pub(crate) use {
    look::look,
    offload::offload,
    readers::Readers,
    thread::{DRIVER, Driving},
};

/// An operation on its way.
struct Entry {
    op: Op,
    /// Where the answer goes; `None` for work of the store itself.
    reply: Option<oneshot::Sender<Result<Reply>>>,
    /// A slice of it is committed, and the others follow whether its caller is there or not.
    goes_on: bool,
}

impl Entry {
    fn new(op: Op, reply: Option<oneshot::Sender<Result<Reply>>>) -> Self {
        Entry { op, reply, goes_on: false }
    }

    /// Whether somebody waits for its answer.
    fn is_awaited(&self) -> bool {
        self.reply.as_ref().is_some_and(|reply| !reply.is_canceled())
    }
}

/// Something that concerns the store as a whole; done between commits.
enum Control {
    Reopen(oneshot::Sender<Result<()>>),
    /// The same, but nothing where all is well when its turn comes.
    Mend(oneshot::Sender<Result<()>>),
    CheckFile(oneshot::Sender<Result<()>>),
    Checkpoint(oneshot::Sender<Result<()>>),
    Close {
        owner: OwnerId,
        reply: oneshot::Sender<Result<()>>,
    },
}

#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own; no two make a state")]
struct Queue {
    waiting: VecDeque<Entry>,
    /// Work of the store's own that failed and may succeed yet: it goes before what is asked for next.
    owed: Vec<Entry>,
    controls: VecDeque<Control>,
    /// Why new operations are refused.
    refusal: Option<Error>,
    /// The outcome of a commit is unknown: what waits is kept until the store is reopened.
    on_hold: bool,
    /// Dependents are being settled already.
    settling: bool,
    /// Somebody drives, and will look here again before they leave.
    driving: bool,
    /// The store's own driver waits for so many operations, and is not to be woken before they are here.
    gathering: Option<usize>,
    /// The store is shut; its thread ends.
    shut: bool,
}

impl Queue {
    fn has_work(&self) -> bool {
        !self.controls.is_empty() || (!self.on_hold && !self.waiting.is_empty())
    }

    /// Whether the store's own driver has what it waits for.
    fn is_gathered(&self) -> bool {
        self.gathering.is_none_or(|count| {
            self.waiting.len() >= count || !self.controls.is_empty() || self.on_hold || self.shut
        })
    }
}

/// Who drives by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    /// A thread of the store's own.
    Thread,
    /// The first future that is polled a second time.
    Tick,
}

/// Takes a claim that nobody was there to take, and that this store cannot take back because it executes nothing any
/// more. Says whether it is still there to do so.
pub(crate) type Heir = Box<dyn Fn(Claim) -> bool + Send + Sync>;

/// The queue and the engine behind it.
pub(crate) struct Core {
    queue: Mutex<Queue>,
    /// `None` once the store is closed.
    engine: Mutex<Option<Engine>>,
    driver: Driver,
    wake: std::sync::Condvar,
    /// Who gives back what this store would have to, once it was moved.
    heirs: Mutex<Vec<Heir>>,
    pub(crate) latest: Arc<Latest>,
}

impl Core {
    pub(crate) fn new(engine: Engine, driver: Driver) -> Arc<Self> {
        Arc::new(Core {
            queue: Mutex::default(),
            engine: Mutex::new(Some(engine)),
            driver,
            wake: std::sync::Condvar::new(),
            heirs: Mutex::default(),
            latest: Arc::new(Latest::default()),
        })
    }

    /// A panic elsewhere leaves the queue as it was between two steps, each of which is whole.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands in an operation. The ticket resolves once its outcome is durable.
    pub(crate) fn submit(self: &Arc<Self>, op: Op) -> Ticket {
        let (sender, receiver) = oneshot::channel();
        {
            let mut queue = self.queue();
            if let Some(refusal) = &queue.refusal {
                // The receiver is right here, so it hears.
                let _ = sender.send(Err(refusal.clone()));
                return Ticket::new(self, receiver);
            }
            queue.waiting.push_back(Entry::new(op, Some(sender)));
            if !queue.is_gathered() {
                return Ticket::new(self, receiver);
            }
        }
        self.call_driver();
        Ticket::new(self, receiver)
    }

    /// Hands in an operation whose caller has something else to do before it waits for the answer: where the store has
    /// a driver of its own, that begins at once.
    pub(crate) fn submit_ahead(self: &Arc<Self>, op: Op) -> Ticket {
        let ticket = self.submit(op);
        if self.driver == Driver::Thread {
            self.nudge();
        }
        ticket
    }

    /// Hands in an operation whose answer nobody waits for. A store that is to be reopened does it then.
    pub(crate) fn submit_unheard(self: &Arc<Self>, op: Op) {
        {
            let mut queue = self.queue();
            if queue.shut {
                return;
            }
            queue.waiting.push_back(Entry::new(op, None));
        }
        match self.driver {
            Driver::Thread => self.wake.notify_one(),
            Driver::Tick => self.drive(),
        }
    }

    fn control(
        self: &Arc<Self>,
        make: impl FnOnce(oneshot::Sender<Result<()>>) -> Control,
    ) -> oneshot::Receiver<Result<()>> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut queue = self.queue();
            if queue.shut {
                // The receiver is right here, so it hears.
                let _ = sender.send(Err(closed()));
                return receiver;
            }
            queue.controls.push_back(make(sender));
        }
        self.call_driver();
        receiver
    }

    fn call_driver(self: &Arc<Self>) {
        if self.driver != Driver::Thread {
            return;
        }
        if may_block() {
            // This thread is about to drive by itself; where it does not, it says so before it sleeps.
            blocking::owe(self);
        } else {
            self.wake.notify_one();
        }
    }

    /// Has the store's own driver look, because whoever was to drive does not.
    pub(super) fn nudge(&self) {
        self.wake.notify_one();
    }

    /// Opens the storage anew after a write error; operations that were not started go on.
    pub(crate) async fn reopen(self: &Arc<Self>) -> Result<()> {
        self.wait_for(Control::Reopen).await
    }

    /// Opens the storage anew unless somebody else has by now: of many that come across one error each would else close
    /// what the one before it had just opened, over which all come across an error again.
    pub(crate) async fn mend(self: &Arc<Self>) -> Result<()> {
        self.wait_for(Control::Mend).await
    }

    pub(crate) async fn check_file(self: &Arc<Self>) -> Result<()> {
        self.wait_for(Control::CheckFile).await
    }

    #[allow(dead_code, reason = "asked of engines whose file has one process")]
    pub(crate) async fn checkpoint(self: &Arc<Self>) -> Result<()> {
        self.wait_for(Control::Checkpoint).await
    }

    /// Releases the storage, and first what an owner holds still.
    pub(crate) async fn close(self: &Arc<Self>, owner: OwnerId) -> Result<()> {
        self.wait_for(|reply| Control::Close { owner, reply }).await
    }

    async fn wait_for(
        self: &Arc<Self>,
        make: impl FnOnce(oneshot::Sender<Result<()>>) -> Control,
    ) -> Result<()> {
        let receiver = self.control(make);
        if self.driver == Driver::Tick || may_block() {
            self.drive();
        }
        receiver.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Drives until nothing waits. Returns at once where somebody else drives: they will see to it.
    pub(crate) fn drive(self: &Arc<Self>) {
        self.drive_until(|_| false);
    }

    /// The same, but leaves off between two commits once `enough`, and has the store's own driver go on. `enough` is
    /// told how many callers the last commit answered.
    fn drive_until(self: &Arc<Self>, mut enough: impl FnMut(usize) -> bool) {
        {
            let mut queue = self.queue();
            if queue.driving || !queue.has_work() {
                return;
            }
            queue.driving = true;
        }
        let _leave = Leave(self);
        loop {
            let (control, group) = self.take_group();
            let mut answered = 0;
            if let Some(control) = control {
                self.do_control(control);
            } else if group.is_empty() {
                return;
            } else {
                answered = self.run_group(group);
            }
            if enough(answered) {
                return;
            }
        }
    }

    fn engine(&self) -> MutexGuard<'_, Option<Engine>> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes one thing that concerns the store as a whole, or else everything that may share the next commit.
    fn take_group(&self) -> (Option<Control>, Vec<Entry>) {
        let mut queue = self.queue();
        let control = queue.controls.pop_front();
        let mut group = Vec::new();
        if control.is_none() && !queue.on_hold && !queue.waiting.is_empty() {
            for entry in take(&mut queue.owed).into_iter().rev() {
                queue.waiting.push_front(entry);
            }
            while group.len() < limits::GROUP_OPERATIONS_MAX
                && let Some(entry) = queue.waiting.pop_front()
            {
                // Its caller is gone, and it was not started.
                if entry.goes_on || entry.reply.is_none() || entry.is_awaited() {
                    group.push(entry);
                }
            }
        }
        (control, group)
    }

    /// One commit; says how many callers it answered. Answers go out when the engine is free again: whoever is woken by
    /// one may do anything.
    fn run_group(self: &Arc<Self>, group: Vec<Entry>) -> usize {
        let ran = {
            let mut slot = self.engine();
            let Some(engine) = slot.as_mut() else {
                drop(slot);
                for entry in group {
                    self.answer(entry.reply, Err(closed()));
                }
                return 0;
            };
            let ops: Vec<&Op> = group.iter().map(|entry| &entry.op).collect();
            let ran = engine.run(&ops);
            if let Some(poison) = engine.poison() {
                self.hold_back("an earlier write failed and its outcome is unknown", poison);
            }
            ran
        };
        // First, so that whoever begins to watch after an answer is not told of what it answered.
        if let Some(revision) = ran.revision {
            self.latest.advance(revision);
        }
        let (mut answered, mut told) = (0, false);
        for (entry, applied) in group.into_iter().zip(ran.applied) {
            answered += usize::from(entry.reply.is_some());
            match applied {
                Ok(Applied::Reply(reply)) => {
                    self.finished(&entry.op);
                    self.answer(entry.reply, Ok(reply));
                }
                Ok(Applied::Again(op)) => self.go_on(Entry { op, ..entry }),
                Ok(Applied::Same) => self.go_on(entry),
                Err(error) => {
                    self.finished(&entry.op);
                    if entry.reply.is_some() {
                        // One that is refused for its own sake knows nothing of the store's failure.
                        let tells = error.retry() == Retry::AfterReopen;
                        told |= self.answer(entry.reply, Err(error)) && tells;
                    } else if !self.is_inherited(&entry.op, &error) {
                        self.owe(entry, &error);
                    }
                }
            }
        }
        if !told {
            self.tell_of_poison();
        }
        if ran.unsettled {
            let mut queue = self.queue();
            if !queue.settling {
                queue.settling = true;
                queue.waiting.push_back(Entry::new(Op::Settle, None));
            }
        }
        answered
    }

    /// Has the engine do something by itself. Where that leaves it poisoned nothing goes on.
    fn with_engine<T>(&self, why: &str, work: impl FnOnce(&mut Engine) -> Result<T>) -> Result<T> {
        let mut slot = self.engine();
        let engine = slot.as_mut().ok_or_else(closed)?;
        let done = work(engine);
        if done.is_err()
            && let Some(poison) = engine.poison()
        {
            self.hold_back(why, poison);
        }
        done
    }

    /// Nothing goes on before the store is reopened.
    fn hold_back(&self, why: &str, poison: &Error) {
        let mut queue = self.queue();
        queue.on_hold = true;
        queue.refusal = Some(Error::new(ErrorKind::Poisoned, format!("{why}; call reopen: {poison}")));
    }

    /// Has an operation wait for its next commit.
    fn go_on(&self, entry: Entry) {
        let goes_on = matches!(entry.op, Op::Bulk(_));
        self.queue().waiting.push_back(Entry { goes_on, ..entry });
    }

    /// Keeps work of the store's own that failed, where it may succeed yet. Not by itself: a disk that is full stays so
    /// for a while.
    fn owe(&self, entry: Entry, error: &Error) {
        tracing::warn!(%error, op = ?entry.op, "work of the store itself failed; it is tried again later where it can be");
        // What is still to be settled shows with each commit.
        if error.retry() != Retry::Never && !matches!(entry.op, Op::Settle) {
            self.queue().owed.push(entry);
        }
    }

    /// Whoever is told that the store is to be reopened does so, and what waits goes on then. Where nobody was told,
    /// because it was work of the store's own that failed, or the reopening failed in its turn, those who wait are.
    fn tell_of_poison(self: &Arc<Self>) {
        let (refusal, untold) = {
            let mut queue = self.queue();
            let Some(refusal) = queue.refusal.clone().filter(|_| queue.on_hold) else { return };
            let (untold, own): (VecDeque<_>, _) =
                take(&mut queue.waiting).into_iter().partition(Entry::is_awaited);
            queue.waiting = own;
            (refusal, untold)
        };
        for entry in untold {
            self.answer(entry.reply, Err(refusal.clone()));
        }
    }

    fn finished(&self, op: &Op) {
        if matches!(op, Op::Settle) {
            self.queue().settling = false;
        }
    }

    /// Answers a caller; says whether it is there. Claims that it is not there to take are given back.
    fn answer(
        self: &Arc<Self>,
        reply: Option<oneshot::Sender<Result<Reply>>>,
        answer: Result<Reply>,
    ) -> bool {
        let Some(reply) = reply else { return false };
        match guarded(|| reply.send(answer)) {
            Some(Ok(())) => true,
            Some(Err(unheard)) => {
                if let Ok(unheard) = unheard {
                    self.give_back(unheard);
                }
                false
            }
            // The answer is there; whether anybody looks is not known.
            None => false,
        }
    }

    fn give_back(self: &Arc<Self>, unheard: Reply) {
        match unheard {
            Reply::Claims(claims) => {
                for claim in claims.iter().map(JobState::claim) {
                    self.submit_unheard(Op::Release { claim, delay_ms: 0 });
                }
            }
            Reply::Importing { job, token } => {
                self.submit_unheard(Op::ImportSlice(ImportSlice::Discard { job, token }));
            }
            _ => {}
        }
    }

    /// From now on somebody else gives back the claims that this store cannot once it was moved.
    pub(crate) fn bequeath(&self, heir: Heir) {
        self.heirs.lock().unwrap_or_else(PoisonError::into_inner).push(heir);
    }

    /// Whether it was to give a claim back, and somebody else sees to that.
    fn is_inherited(&self, op: &Op, error: &Error) -> bool {
        let Op::Release { claim, .. } = op else { return false };
        if error.kind() != ErrorKind::Moved {
            return false;
        }
        let mut heirs = self.heirs.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(heir) = heirs.last() {
            if heir(*claim) {
                return true;
            }
            heirs.pop();
        }
        false
    }

    fn do_control(self: &Arc<Self>, control: Control) {
        match control {
            Control::Reopen(reply) => {
                let result = self.with_engine("the store could not be opened anew", Engine::reopen);
                if result.is_ok() {
                    let mut queue = self.queue();
                    queue.on_hold = false;
                    queue.refusal = None;
                }
                if let Ok(revision) = &result {
                    self.latest.advance(*revision);
                }
                let has_failed = result.is_err();
                self.reply(reply, result.map(drop));
                // Whoever hears of it may do no more than that.
                if has_failed {
                    self.tell_of_poison();
                }
            }
            Control::Mend(reply) => {
                if !self.is_on_hold() && self.engine().as_ref().is_some_and(Engine::is_well) {
                    self.reply(reply, Ok(()));
                } else {
                    self.do_control(Control::Reopen(reply));
                }
            }
            Control::CheckFile(reply) => {
                let result = self.with_engine("the file could not be checked", Engine::check_file);
                self.reply(reply, result);
            }
            Control::Checkpoint(reply) => {
                let result = self.with_engine("the file could not be written to", Engine::checkpoint);
                self.reply(reply, result);
            }
            Control::Close { owner, reply } => {
                let result = self.shut(Some(owner));
                self.reply(reply, result);
            }
        }
    }

    /// Whoever asked may have gone: it is done all the same, and where the store is to be reopened those who wait hear
    /// of that.
    fn reply(self: &Arc<Self>, reply: oneshot::Sender<Result<()>>, result: Result<()>) {
        if guarded(|| reply.send(result)).is_none_or(|sent| sent.is_err()) {
            self.tell_of_poison();
        }
    }

    /// Releases the file, and before that what an owner holds. What still waits is told.
    fn shut(&self, owner: Option<OwnerId>) -> Result<()> {
        let (owed, waiting) = {
            let mut queue = self.queue();
            queue.refusal = Some(closed());
            queue.on_hold = false;
            queue.shut = true;
            (take(&mut queue.owed), take(&mut queue.waiting))
        };
        let mut own = Vec::new();
        for entry in owed.into_iter().chain(waiting) {
            match entry.reply {
                // Its caller has gone as well where it does not hear.
                Some(reply) => drop(guarded(|| reply.send(Err(closed())))),
                None => own.push(entry.op),
            }
        }
        self.latest.close();
        let Some(mut engine) = self.engine().take() else { return Ok(()) };
        // What the store itself still wanted to do: give back claims that nobody was there to take.
        if !own.is_empty() {
            engine.run(&own.iter().collect::<Vec<_>>());
        }
        let released = owner.map_or(Ok(()), |owner| release_all(&mut engine, owner));
        engine.close().and(released)
    }

    /// Whether nothing goes on before the store is reopened.
    pub(crate) fn is_on_hold(&self) -> bool {
        self.queue().on_hold
    }

    /// What is told to whoever hands in an operation before the store is reopened; nothing where all is well.
    pub(crate) fn hold(&self) -> Option<Error> {
        let queue = self.queue();
        queue.refusal.clone().filter(|_| queue.on_hold)
    }

    /// How many operations wait for the commit under way.
    #[cfg(test)]
    #[allow(dead_code, reason = "the tests of pairs ask, which need both engines")]
    pub(crate) fn waiting(&self) -> usize {
        self.queue().waiting.len()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.queue().shut
    }

    /// The last handle is gone: releases the file, waiting for a commit under way.
    pub(crate) fn shut_down(&self) {
        if let Err(error) = self.shut(None) {
            tracing::warn!(%error, "closing the store failed");
        }
        self.wake.notify_all();
    }
}

/// Stops driving, whatever happened; what still waits is for the store's own driver.
struct Leave<'a>(&'a Core);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.driving = false;
        if queue.has_work() {
            self.0.wake.notify_one();
        }
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("driver", &self.driver).finish_non_exhaustive()
    }
}

/// Gives back what an owner holds, now that nobody claims any more.
fn release_all(engine: &mut Engine, owner: OwnerId) -> Result<()> {
    let mut op = Op::ReleaseAll { owner, released: 0 };
    loop {
        match engine.run(&[&op]).applied.pop() {
            Some(Ok(Applied::Again(next))) => op = next,
            Some(Ok(Applied::Same)) => {}
            Some(Ok(Applied::Reply(_))) | None => return Ok(()),
            Some(Err(error)) if is_left_at_closing(&error) => return Ok(()),
            Some(Err(error)) => return Err(error),
        }
    }
}

/// Why a store that closes gives nothing back, where that is no error of the closing: it cannot be now, and is found when
/// the file is opened again; nothing is held, in a store that is opened for reading; it is held elsewhere.
pub(crate) fn is_left_at_closing(error: &Error) -> bool {
    use ErrorKind::{Moved, Poisoned, Shadow, Unsupported};
    matches!(error.kind(), Poisoned | Unsupported | Moved | Shadow)
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the store was closed; open it again")
}
