//! Who executes operations: finding out, changing it, ending the pair.
//!
//! The order of the durable steps is what keeps it right: the one that executes retires first, the other one assumes
//! last, and in between nobody executes anything. Which of two that have retired was the last authority is told by
//! their epochs. Other processes are kept away by the pair's lock meanwhile, and what they did before is read after it
//! was taken; where there is no lock, an assumption that does not follow what the other store holds is refused by the
//! steps themselves ([`crate::standing`]).

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::side::{Side, leads};
use super::status::{Comparison, MoveSide};
use super::{Inner, Roles, check, copy};
use crate::engine::Invisible;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::limits;
use crate::standing::{Role, Standing, Step, next_epoch, undoes};

/// What two stores are to each other.
enum Found {
    /// A pair, with one authority; or the pair was taken apart.
    Settled(Roles),
    /// A pair that is being taken apart by this authority.
    Parting(MoveSide),
    /// Neither executes operations; this one did last.
    Between(MoveSide),
    /// Both say that they do.
    Both,
    /// No pair yet, or only half made one.
    New,
    /// No pair any more: this one has left it (`leave_pair`), and the other one can never execute operations.
    Left(MoveSide),
    /// Parts of other pairs.
    Strangers,
}

impl Inner {
    fn was_joined(&self) -> bool {
        self.was_joined.load(Ordering::SeqCst)
    }

    /// Finds out who executes operations, and finishes what was begun. Where the stores are no pair yet they become one.
    pub(super) async fn settle(&self) -> Result<()> {
        let _shut = self.gate.shut_beside_long().await;
        if self.roles() != Roles::Unsettled {
            return Ok(());
        }
        let roles = if let Found::Settled(roles) = self.look().await? {
            roles
        } else {
            // It may be another process that is about to change it.
            let _held = self.lock.take().await?;
            self.find_roles().await?
        };
        self.set_roles(roles);
        let (from, to) = match roles {
            Roles::Settled { authority, .. } => (self.side(authority), self.side(authority.other())),
            Roles::Unsettled => return Ok(()),
        };
        let (revision, standing) = (from.meta().await?.revision, to.standing().await?);
        self.board.post(|status| {
            status.revision = revision;
            status.copied = standing.as_ref().map_or(0, |standing| standing.copied);
            if standing.is_some_and(|standing| standing.backfill.is_some()) {
                status.phase = super::MovePhase::Copying;
            }
        });
        Ok(())
    }

    /// What the stores are to each other. They are read one after the other: only with the lock does what is seen of
    /// both belong together.
    async fn look(&self) -> Result<Found> {
        let [first, second] = &self.sides;
        let standings = [first.standing().await?, second.standing().await?];
        let settled = |authority, detached| Found::Settled(Roles::Settled { authority, detached });
        for (side, other) in [(MoveSide::First, MoveSide::Second), (MoveSide::Second, MoveSide::First)] {
            let (mine, others) = (&standings[side.index()], &standings[other.index()]);
            let has_left = |one: &Standing| one.peer == self.side(other).id && one.detached;
            match others {
                _ if !mine.as_ref().is_some_and(has_left) => {}
                None => return Ok(settled(other, true)),
                Some(others) if others.role == Role::Authority => return Ok(Found::Parting(other)),
                Some(_) => {}
            }
        }
        Ok(match &standings {
            [None, Some(other)] if self.was_joined() && other.peer == first.id => {
                Found::Left(MoveSide::First)
            }
            [Some(one), None] if self.was_joined() && one.peer == second.id => Found::Left(MoveSide::Second),
            _ if self.was_joined() && standings.contains(&None) => Found::Strangers,
            [None, _] => Found::New,
            [Some(one), None] if one.role == Role::Authority => Found::New,
            [Some(one), Some(other)] if one.peer == second.id && other.peer == first.id => {
                match (one.role, other.role) {
                    (Role::Authority, Role::Authority) => Found::Both,
                    (Role::Authority, _) => settled(MoveSide::First, false),
                    (_, Role::Authority) => settled(MoveSide::Second, false),
                    _ if one.epoch >= other.epoch => Found::Between(MoveSide::First),
                    _ => Found::Between(MoveSide::Second),
                }
            }
            _ => Found::Strangers,
        })
    }

    /// Finds out who executes operations, finishes what was begun, and makes a pair of stores that are none, but only of
    /// those that were not one when this process joined them. The lock is held.
    async fn find_roles(&self) -> Result<Roles> {
        let [first, second] = &self.sides;
        match self.look().await? {
            Found::Settled(roles) => Ok(roles),
            Found::Parting(authority) => {
                let (mine, others) = (self.side(authority), self.side(authority.other()));
                mine.step(Step::Detach { peer: others.id.clone() }).await?;
                Ok(Roles::Settled { authority, detached: true })
            }
            Found::Left(authority) => Ok(Roles::Settled { authority, detached: true }),
            Found::Between(from) => self.finish(from).await.map(|(roles, _)| roles),
            Found::Both => Err(Error::new(
                ErrorKind::Corrupt,
                "both stores say that they execute operations: one of them was copied or restored from outside",
            )),
            Found::New => self.pair_up().await,
            Found::Strangers => Err(Error::new(
                ErrorKind::Refused,
                format!(
                    "{} and {} are no pair: one of them is part of a move with another store",
                    first.place, second.place
                ),
            )),
        }
    }

    /// Makes the stores a pair, the first one its authority.
    async fn pair_up(&self) -> Result<Roles> {
        let [first, second] = &self.sides;
        // Asked first, so that a store that cannot be filled is no authority's shadow.
        let standing = second.standing().await?;
        let revision = second.meta().await?.revision;
        crate::standing::step(standing.as_ref(), revision, &self.shadow(0))?;
        let base = first.step(Step::Lead { peer: second.id.clone(), place: second.place.clone() }).await?;
        second.step(self.shadow(base)).await?;
        Ok(Roles::Settled { authority: MoveSide::First, detached: false })
    }

    fn shadow(&self, base: u64) -> Step {
        Step::Shadow { peer: self.sides[0].id.clone(), place: self.sides[0].place.clone(), base }
    }

    /// Changes the authority.
    pub(super) async fn switch(&self, to: MoveSide) -> Result<Comparison> {
        self.ensure_settled().await?;
        let (from, target) = (self.side(to.other()), self.side(to));
        let is_there = self.roles() == (Roles::Settled { authority: to, detached: false });
        if is_there && leads(target.standing().await?.as_ref()) {
            return Ok(Comparison::at(target.meta().await?.revision));
        }
        if matches!(self.roles(), Roles::Settled { authority, detached: false } if authority != to) {
            // Nobody waits yet.
            match copy::nearly_all(from, target, &self.progress()).await {
                // Another process was quicker; what it did shows below.
                Err(error) if copy::is_refused(&error) => {}
                copied => copied?,
            }
        }
        let _shut = self.gate.shut().await?;
        let _held = self.lock.take().await?;
        self.set_roles(Roles::Unsettled);
        let roles = self.find_roles().await?;
        self.set_roles(roles);
        if roles == (Roles::Settled { authority: to, detached: false }) {
            return Ok(Comparison::at(target.meta().await?.revision));
        }
        self.direction()?;
        // And while the last calls went out. Those who are at it without this pair go on until it retires.
        copy::nearly_all(from, target, &self.progress()).await?;
        self.set_roles(Roles::Unsettled);
        let (roles, result) = self.finish(to.other()).await?;
        self.set_roles(roles);
        result
    }

    /// Carries the authority over from one side to the other; where that cannot be, it stays, and the error says why.
    /// An error of the whole says that neither could be brought about.
    async fn finish(&self, from: MoveSide) -> Result<(Roles, Result<Comparison>)> {
        let to = from.other();
        let result = self.carry_over(from).await;
        let settled = |authority| Roles::Settled { authority, detached: false };
        let Err(error) = result else { return Ok((settled(to), result)) };
        tracing::warn!(%error, "the authority could not be changed");
        let (here, there) = (self.side(from), self.side(to));
        if error.retry() == Retry::AfterReopen {
            there.reopen().await?;
            here.reopen().await?;
        }
        match (here.standing().await?, there.standing().await?) {
            (_, others) if leads(others.as_ref()) => {
                Ok((settled(to), Ok(Comparison::at(there.meta().await?.revision))))
            }
            (mine, _) if leads(mine.as_ref()) => Ok((settled(from), Err(error))),
            (Some(mine), Some(others)) if undoes(&mine, &others) => {
                let epoch = next_epoch([Some(&mine), Some(&others)]);
                let since = others.epoch;
                there.step(Step::Concede { peer: here.id.clone(), epoch, since }).await?;
                assume(here, there, epoch).await?;
                Ok((settled(from), Err(error)))
            }
            // Somebody is at it whom no lock keeps away.
            _ => Err(error),
        }
    }

    async fn carry_over(&self, from: MoveSide) -> Result<Comparison> {
        let (here, there) = (self.side(from), self.side(from.other()));
        let (mine, others) = (here.standing().await?, there.standing().await?);
        let epoch = next_epoch([mine.as_ref(), others.as_ref()]);
        here.step(Step::Retire { peer: there.id.clone(), epoch }).await?;
        // Nothing changes here any more, whoever tries.
        copy::all(here, there, &self.progress(), Invisible::LeaveBehind).await?;
        copy::rest(here, there).await?;
        let since = *self.compared_up_to.lock().unwrap_or_else(PoisonError::into_inner);
        let log_start = here.meta().await?.log_start;
        // Behind where the log begins nothing tells what changed since.
        let compared = match since.filter(|since| *since >= log_start) {
            Some(since) => check::changed_since(here, there, &self.progress(), since).await?,
            None => check::everything(here, there, &self.progress(), true).await?,
        };
        self.board.post(|status| status.compared = Some(compared.clone()));
        if !compared.is_equal() {
            *self.compared_up_to.lock().unwrap_or_else(PoisonError::into_inner) = None;
            return Err(differing(&compared));
        }
        *self.compared_up_to.lock().unwrap_or_else(PoisonError::into_inner) = Some(compared.revision);
        assume(there, here, epoch).await?;
        Ok(compared)
    }

    /// Ends the pair.
    pub(super) async fn detach(&self) -> Result<()> {
        self.ensure_settled().await?;
        let _shut = self.gate.shut().await?;
        if matches!(self.roles(), Roles::Settled { detached: true, .. }) {
            return Ok(());
        }
        let _held = self.lock.take().await?;
        self.set_roles(Roles::Unsettled);
        let roles = self.find_roles().await?;
        let Roles::Settled { authority, detached: false } = roles else {
            self.set_roles(roles);
            return Ok(());
        };
        let (mine, others) = (self.side(authority), self.side(authority.other()));
        // The one that does not execute goes first: from then on it never will.
        let done = match others.step(Step::Dismiss { peer: mine.id.clone() }).await {
            Ok(_) => mine.step(Step::Detach { peer: others.id.clone() }).await.map(|_| true),
            Err(error) => Err(error),
        };
        let roles = match done {
            Ok(detached) => Roles::Settled { authority, detached },
            Err(_) => self.find_roles().await.unwrap_or(Roles::Unsettled),
        };
        self.set_roles(roles);
        done.map(drop)
    }

    /// Finishes what was left half-way, if anything was.
    pub(super) async fn ensure_settled(&self) -> Result<()> {
        match self.roles() {
            Roles::Settled { .. } => Ok(()),
            Roles::Unsettled => self.settle().await,
        }
    }
}

/// Has a store execute operations, as an authority that the other one has made room for.
async fn assume(mine: &Side, others: &Side, epoch: u64) -> Result<()> {
    let above = others.meta().await?.revision;
    mine.step(Step::Assume { peer: others.id.clone(), epoch, above }).await?;
    Ok(())
}

fn differing(compared: &Comparison) -> Error {
    let named: Vec<String> = compared.mismatches.iter().take(3).map(ToString::to_string).collect();
    let more = compared.mismatch_count.saturating_sub(named.len() as u64);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Error::new(
        ErrorKind::Corrupt,
        format!(
            "the copy is not equal ({}{more}); work goes on where it was, begin a new copy; compare() lists up to {}",
            named.join("; "),
            limits::MISMATCHES_LISTED_MAX
        ),
    )
}
