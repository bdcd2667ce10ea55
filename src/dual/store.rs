//! The pair as a [`JobStore`]: every call goes to the authority, through the gate.

use std::io::BufRead;

use async_trait::async_trait;

use super::gate::{Length, Pass};
use super::side::Side;
use super::{DualStore, Inner, MoveSide, Roles, thread};
use crate::commit::{Watch, is_left_at_closing};
use crate::engine::Op;
use crate::error::{Error, ErrorKind, Result};
use crate::manifest::Manifest;
use crate::model::{
    Changes, ChunkRecords, ChunkUpdate, Claim, ClaimRequest, Completion, FeedConsumer, GraphFormat,
    ImportOptions, ImportReport, JobInfo, JobSpec, JobState, JobStats, JobStatus, Outcome, OwnerId,
    ResetReach, Restored, Selection, StoreInfo,
};
use crate::standing;
use crate::store::{ChunkStream, JobStore, Persistence};

/// So often a call follows an authority that other processes change under it.
const MOVES_FOLLOWED: u32 = 4;

impl Inner {
    /// Waits until the gate is open and it is settled who executes operations.
    pub(super) async fn enter(&self, length: Length) -> Result<(Pass<'_>, &Side)> {
        loop {
            self.ensure_settled().await?;
            let pass = self.gate.enter(length).await;
            let Ok(side) = self.active() else { continue };
            // What is long cannot be begun anew as a rule: it is not begun where another process has changed that.
            if length == Length::Long
                && self.is_joined()
                && let Ok(standing) = side.standing().await
                && standing::refusal(standing.as_ref()).is_some()
            {
                drop(pass);
                self.forget_roles();
                continue;
            }
            return Ok((pass, side));
        }
    }

    /// Refuses what would be refused inside, where a store is to be reopened. Outside it could be waited for in vain:
    /// whoever shuts the gate waits for those inside, who wait for the reopening, which is up to this caller where his
    /// last one failed.
    fn check_hold(&self) -> Result<()> {
        let held = match self.active() {
            Ok(side) => side.shared.core.hold(),
            Err(_) => self.sides.iter().find_map(|side| side.shared.core.hold()),
        };
        held.map_or(Ok(()), Err)
    }

    fn is_joined(&self) -> bool {
        matches!(self.roles(), Roles::Settled { detached: false, .. })
    }

    /// It is to be found out anew who executes operations.
    pub(super) fn forget_roles(&self) {
        if self.is_joined() {
            self.set_roles(Roles::Unsettled);
        }
    }

    /// Looks at an answer: where the authority is one no more, another process has changed it, which is to be found
    /// out. Whether that is so, and the same call then helps.
    fn is_overtaken<T>(&self, answer: &Result<T>) -> bool {
        let is_moved = |e: &Error| matches!(e.kind(), ErrorKind::Moved | ErrorKind::Shadow);
        let overtaken = answer.as_ref().is_err_and(is_moved)
            && !matches!(self.roles(), Roles::Settled { detached: true, .. });
        if overtaken {
            self.forget_roles();
        }
        overtaken
    }

    /// Waits for the other store to have what was just changed, where callers want that.
    async fn both(&self, side: &Side) {
        if self.patience.bound().is_none() || matches!(self.roles(), Roles::Settled { detached: true, .. }) {
            return;
        }
        let revision = side.shared.core.latest.revision();
        if !thread::CALLERS_COPY {
            return self.patience.wait(revision).await;
        }
        while !self.patience.is_over(revision) {
            if let Err(error) = self.follow().await {
                self.patience.give_up();
                self.board.post(|status| (status.is_degraded, status.error) = (true, Some(error)));
            }
        }
    }

    /// Gives back what is held, before the pair is closed. A change of the authority that was given up half-way is finished
    /// first, since there is nobody else to give back to; one of its steps may still be under way.
    async fn give_back_all(&self) -> Result<()> {
        let mut left = MOVES_FOLLOWED;
        loop {
            let released = match self.enter(Length::Long).await {
                Ok((_pass, side)) => side.store.release_all().await,
                Err(error) => {
                    tracing::warn!(%error, "what is held is not given back when the pair is closed");
                    return Ok(());
                }
            };
            if self.is_overtaken(&released) && left > 0 {
                left -= 1;
                continue;
            }
            return match released {
                Err(error) if is_left_at_closing(&error) => Ok(()),
                released => released.map(drop),
            };
        }
    }

    /// Ends all that waits.
    pub(super) fn stop(&self) {
        self.patience.close();
        self.latest.close();
        self.board.close();
    }
}

/// Claims that are committed while their caller waits for the other store: given back where the caller goes.
struct Undelivered<'s> {
    side: &'s Side,
    claims: Vec<Claim>,
}

impl Drop for Undelivered<'_> {
    fn drop(&mut self) {
        for claim in self.claims.drain(..) {
            self.side.shared.core.submit_unheard(Op::Release { claim, delay_ms: 0 });
        }
    }
}

/// Asks the authority.
macro_rules! ask {
    ($dual:ident, $store:ident => $call:expr) => {{
        let (_pass, side) = $dual.inner.enter(Length::Short).await?;
        let $store = &*side.store;
        $call.await
    }};
}

/// Asks the authority, and the next one where another process has just changed which that is: who answered, and what.
macro_rules! follow {
    ($dual:ident, $length:ident, $store:ident => $call:expr) => {{
        let mut left = MOVES_FOLLOWED;
        loop {
            $dual.inner.check_hold()?;
            let (pass, side) = $dual.inner.enter(Length::$length).await?;
            let $store = &*side.store;
            let answer = $call.await;
            let overtaken = $dual.inner.is_overtaken(&answer);
            drop(pass);
            if overtaken && left > 0 {
                left -= 1;
                continue;
            }
            break (side, answer);
        }
    }};
}

/// Has the authority change something. What was refused because another process has just made the other store the
/// authority did nothing, and is asked there, but for what goes in slices or takes a stream (`once`).
macro_rules! change {
    ($dual:ident, $length:ident, once $store:ident => $call:expr) => {{
        $dual.inner.check_hold()?;
        let (pass, side) = $dual.inner.enter(Length::$length).await?;
        let $store = &*side.store;
        let answer = $call.await;
        $dual.inner.is_overtaken(&answer);
        drop(pass);
        if answer.is_ok() {
            $dual.inner.both(side).await;
        }
        answer
    }};
    ($dual:ident, $length:ident, $store:ident => $call:expr) => {{
        let (side, answer) = follow!($dual, $length, $store => $call);
        if answer.is_ok() {
            $dual.inner.both(side).await;
        }
        answer
    }};
}

/// Has the authority claim something, in the same way.
macro_rules! claim {
    ($dual:ident, $store:ident => $call:expr) => {{
        let (side, answer) = follow!($dual, Short, $store => $call);
        if let Ok(claimed) = &answer {
            let mut held = Undelivered { side, claims: claimed.iter().map(JobState::claim).collect() };
            $dual.inner.both(side).await;
            held.claims.clear();
        }
        answer
    }};
}

#[async_trait]
impl JobStore for DualStore {
    async fn init_from_manifest(&self, job_id: i64, manifest: &Manifest) -> Result<ImportReport> {
        change!(self, Long, once store => store.init_from_manifest(job_id, manifest))
    }

    async fn import(
        &self,
        job_id: i64,
        spec: &JobSpec,
        chunks: ChunkStream<'_>,
        options: &ImportOptions,
    ) -> Result<ImportReport> {
        change!(self, Long, once store => store.import(job_id, spec, chunks, options))
    }

    /// Only once the pair is detached: what is restored has no history that the other store could follow.
    async fn restore(&self, export: &mut (dyn BufRead + Send)) -> Result<Restored> {
        let (_pass, side) = self.inner.enter(Length::Long).await?;
        side.store.restore(export).await
    }

    async fn new_job(&self, spec: &JobSpec) -> Result<i64> {
        change!(self, Short, store => store.new_job(spec))
    }

    async fn delete_job(&self, job_id: i64) -> Result<Outcome> {
        change!(self, Long, once store => store.delete_job(job_id))
    }

    async fn add_dependency(&self, job_id: i64, chunk: u64, depends_on: Vec<u64>) -> Result<Outcome> {
        change!(self, Short, store => store.add_dependency(job_id, chunk, depends_on.clone()))
    }

    async fn claim_pending(&self, job_id: i64) -> Result<Option<JobState>> {
        claim!(self, store => store.claim_pending(job_id))
    }

    async fn claim_pending_batch(&self, job_id: i64, count: usize) -> Result<Vec<JobState>> {
        claim!(self, store => store.claim_pending_batch(job_id, count))
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<JobState>> {
        claim!(self, store => store.claim(request))
    }

    async fn complete(&self, claim: &Claim, result: Completion) -> Result<Outcome> {
        change!(self, Short, store => store.complete(claim, result.clone()))
    }

    async fn complete_and_claim(
        &self,
        claim: &Claim,
        result: Completion,
        next: &ClaimRequest,
    ) -> Result<Vec<JobState>> {
        claim!(self, store => store.complete_and_claim(claim, result.clone(), next))
    }

    async fn fail(&self, claim: &Claim, error: &str) -> Result<Outcome> {
        change!(self, Short, store => store.fail(claim, error))
    }

    async fn fail_with_delay(&self, claim: &Claim, error: &str, delay_ms: u64) -> Result<Outcome> {
        change!(self, Short, store => store.fail_with_delay(claim, error, delay_ms))
    }

    async fn fail_permanently(&self, claim: &Claim, error: &str) -> Result<Outcome> {
        change!(self, Short, store => store.fail_permanently(claim, error))
    }

    async fn release(&self, claim: &Claim) -> Result<Outcome> {
        change!(self, Short, store => store.release(claim))
    }

    async fn release_with_delay(&self, claim: &Claim, delay_ms: u64) -> Result<Outcome> {
        change!(self, Short, store => store.release_with_delay(claim, delay_ms))
    }

    async fn heartbeat(&self, claim: &Claim) -> Result<Outcome> {
        change!(self, Short, store => store.heartbeat(claim))
    }

    async fn apply_batch_updates(
        &self,
        job_id: i64,
        updates: Vec<ChunkUpdate>,
    ) -> Result<Vec<Result<Outcome>>> {
        change!(self, Short, store => store.apply_batch_updates(job_id, updates.clone()))
    }

    async fn mark_status(
        &self,
        job_id: i64,
        chunk: u64,
        status: JobStatus,
        detail: Option<String>,
    ) -> Result<Outcome> {
        change!(self, Short, store => store.mark_status(job_id, chunk, status, detail.clone()))
    }

    async fn mark_failed(&self, job_id: i64, chunk: u64, error: String) -> Result<Outcome> {
        change!(self, Short, store => store.mark_failed(job_id, chunk, error.clone()))
    }

    async fn retry_failed(&self, job_id: i64, chunks: Selection) -> Result<u64> {
        change!(self, Long, once store => store.retry_failed(job_id, chunks))
    }

    async fn reset(&self, job_id: i64, chunks: Selection, through: ResetReach) -> Result<u64> {
        change!(self, Long, once store => store.reset(job_id, chunks, through))
    }

    async fn cancel(&self, job_id: i64, chunks: Selection) -> Result<u64> {
        change!(self, Long, once store => store.cancel(job_id, chunks))
    }

    async fn resume_pending(&self, job_id: i64) -> Result<Vec<JobState>> {
        change!(self, Long, store => store.resume_pending(job_id))
    }

    async fn release_all(&self) -> Result<u64> {
        change!(self, Long, store => store.release_all())
    }

    /// Opens anew what needs it of both stores, and finishes what was left half-way between them. Where that fails of the
    /// one that does not execute operations, which is in nobody's way, [`MoveStatus::error`](super::MoveStatus::error) says why.
    async fn reopen(&self) -> Result<()> {
        // First of all: calls that wait for it are inside.
        let [first, second] = &self.inner.sides;
        let [first, second] = [first.reopen().await, second.reopen().await];
        if let Roles::Settled { authority, detached } = self.inner.roles() {
            let (mine, others) = match authority {
                MoveSide::First => (first, second),
                MoveSide::Second => (second, first),
            };
            mine?;
            if let Err(error) = others {
                // Nothing is left half-way, and the copy is behind as after any other failure of its.
                if !detached {
                    self.inner.falls_behind(&error);
                }
                return Ok(());
            }
        } else {
            first.and(second)?;
        }
        let shut = self.inner.gate.shut_beside_long().await;
        if !matches!(self.inner.roles(), Roles::Settled { detached: true, .. }) {
            self.inner.set_roles(Roles::Unsettled);
        }
        drop(shut);
        self.inner.ensure_settled().await
    }

    /// Checks both stores, each by itself. [`DualStore::compare`] compares them.
    async fn verify(&self) -> Result<()> {
        for side in &self.inner.sides {
            let turn = side.shared.turn_to_verify().await;
            // A redb file is checked while nobody reads it.
            let shut = self.inner.gate.shut().await?;
            side.shared.core.check_file().await?;
            drop(shut);
            side.shared.verify(turn).await?;
        }
        Ok(())
    }

    /// Gives back what this client holds, copies that too where it can be, and releases both stores.
    async fn close(&self) -> Result<()> {
        let closing = self.inner.gate.begin_closing();
        self.inner.give_back_all().await?;
        if self.inner.active().is_ok() {
            // What is not copied now is copied when the pair is opened again.
            if let Err(error) = self.catch_up().await {
                tracing::debug!(%error, "the copy is behind when the pair is closed");
            }
        }
        self.inner.stop();
        closing.stays();
        // A page that is being copied is out by then. What takes long may wait for a source of its own, and is told with its
        // next commit.
        let _shut = self.inner.gate.shut_beside_long().await;
        let [first, second] = &self.inner.sides;
        let closed = [first.store.close().await, second.store.close().await];
        closed.into_iter().collect()
    }

    async fn get_chunk(&self, job_id: i64, chunk: u64) -> Result<Option<JobState>> {
        ask!(self, store => store.get_chunk(job_id, chunk))
    }

    async fn get_by_status(&self, job_id: i64, status: JobStatus) -> Result<Vec<JobState>> {
        ask!(self, store => store.get_by_status(job_id, status))
    }

    async fn page_by_status(
        &self,
        job_id: i64,
        status: Option<JobStatus>,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<JobState>> {
        ask!(self, store => store.page_by_status(job_id, status, after, limit))
    }

    async fn page_records(
        &self,
        job_id: i64,
        status: Option<JobStatus>,
        after: Option<u64>,
        limit: usize,
    ) -> Result<ChunkRecords> {
        ask!(self, store => store.page_records(job_id, status, after, limit))
    }

    async fn info(&self) -> Result<StoreInfo> {
        ask!(self, store => store.info())
    }

    async fn get_stats(&self, job_id: i64) -> Result<JobStats> {
        ask!(self, store => store.get_stats(job_id))
    }

    async fn get_job(&self, job_id: i64) -> Result<JobInfo> {
        ask!(self, store => store.get_job(job_id))
    }

    async fn list_jobs(&self, after: Option<i64>, limit: usize) -> Result<Vec<JobInfo>> {
        ask!(self, store => store.list_jobs(after, limit))
    }

    async fn get_dependencies(&self, job_id: i64, chunk: u64) -> Result<Vec<u64>> {
        ask!(self, store => store.get_dependencies(job_id, chunk))
    }

    async fn get_dependents(&self, job_id: i64, chunk: u64) -> Result<Vec<u64>> {
        ask!(self, store => store.get_dependents(job_id, chunk))
    }

    async fn topo_sort_ready(&self, job_id: i64) -> Result<Vec<u64>> {
        ask!(self, store => store.topo_sort_ready(job_id))
    }

    async fn topo_order(&self, job_id: i64) -> Result<Vec<u64>> {
        ask!(self, store => store.topo_order(job_id))
    }

    async fn graph(&self, job_id: i64, format: GraphFormat) -> Result<String> {
        ask!(self, store => store.graph(job_id, format))
    }

    async fn changes(&self, since: u64, limit: usize) -> Result<Changes> {
        ask!(self, store => store.changes(since, limit))
    }

    async fn register_consumer(&self, name: &str) -> Result<u64> {
        change!(self, Short, store => store.register_consumer(name))
    }

    async fn advance_consumer(&self, name: &str, revision: u64) -> Result<u64> {
        change!(self, Short, store => store.advance_consumer(name, revision))
    }

    async fn unregister_consumer(&self, name: &str) -> Result<u64> {
        change!(self, Short, store => store.unregister_consumer(name))
    }

    async fn consumers(&self) -> Result<Vec<FeedConsumer>> {
        ask!(self, store => store.consumers())
    }

    fn watch(&self) -> Watch {
        Watch::new(&self.inner.latest)
    }

    fn owner(&self) -> OwnerId {
        self.inner.sides[0].store.owner()
    }

    /// Of the authority; while it changes, of the first store.
    fn persistence(&self) -> Persistence {
        self.inner.active().unwrap_or(&self.inner.sides[0]).store.persistence()
    }

    fn recovers_at_once(&self) -> bool {
        self.inner.sides.iter().all(|side| side.store.recovers_at_once())
    }
}
