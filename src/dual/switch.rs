//! Who executes operations: finding out, changing it, ending the pair.
//!
//! The order of the durable steps is what keeps it right: the one that executes retires first, the other one assumes
//! last, and in between nobody executes anything. Which of two that have retired was the last authority is told by
//! their epochs.

use std::sync::PoisonError;

use super::side::is_authority;
use super::status::{Comparison, MoveSide};
use super::{Inner, Roles, check, copy};
use crate::engine::Invisible;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::limits;
use crate::standing::{Role, Standing, Step};

impl Inner {
    /// Finds out who executes operations, and finishes what was begun. Where the stores are no pair yet they become one.
    pub(super) async fn settle(&self) -> Result<()> {
        let _shut = self.gate.shut().await;
        if self.roles() != Roles::Unsettled {
            return Ok(());
        }
        let roles = self.find_roles().await?;
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

    async fn find_roles(&self) -> Result<Roles> {
        let [first, second] = &self.sides;
        let standings = [first.standing().await?, second.standing().await?];
        let settled = |authority, detached| Ok(Roles::Settled { authority, detached });
        let detached =
            |standing: &Option<Standing>| standing.as_ref().is_some_and(|standing| standing.detached);
        for (side, other) in [(MoveSide::First, MoveSide::Second), (MoveSide::Second, MoveSide::First)] {
            let (mine, others) = (&standings[side.index()], &standings[other.index()]);
            let is_ours = mine.as_ref().is_some_and(|standing| standing.peer == self.side(other).id);
            if is_ours && detached(mine) && is_authority(others.as_ref()) {
                // The pair was being taken apart, or has been.
                self.side(other).step(Step::Detach { peer: self.side(side).id.clone() }).await?;
                return settled(other, true);
            }
        }
        match &standings {
            [None, _] => self.pair_up().await,
            [Some(one), None] if one.role == Role::Authority => self.pair_up().await,
            [Some(one), Some(other)] if one.peer == second.id && other.peer == first.id => {
                match (one.role, other.role) {
                    (Role::Authority, Role::Authority) => Err(Error::new(
                        ErrorKind::Corrupt,
                        "both stores say that they execute operations: one of them was copied or restored from outside",
                    )),
                    (Role::Authority, _) => settled(MoveSide::First, false),
                    (_, Role::Authority) => settled(MoveSide::Second, false),
                    _ => {
                        let from = if one.epoch >= other.epoch { MoveSide::First } else { MoveSide::Second };
                        self.finish(from).await.map(|(roles, _)| roles)
                    }
                }
            }
            _ => Err(Error::new(
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
        let (from, target) = self.direction()?;
        if self.roles() == (Roles::Settled { authority: to, detached: false }) {
            return Ok(Comparison::at(from.meta().await?.revision));
        }
        // Nobody waits yet.
        copy::all(from, target, &self.progress(), Invisible::Wait).await?;
        let _shut = self.gate.shut().await;
        let before = Roles::Settled { authority: to.other(), detached: false };
        if self.roles() != before {
            return Err(Error::new(
                ErrorKind::Busy,
                "the pair was changed at the same time; look, and try again",
            ));
        }
        // And while the last calls went out.
        copy::all(from, target, &self.progress(), Invisible::Wait).await?;
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
        let others = there.standing().await?;
        if others.as_ref().is_some_and(|standing| standing.role == Role::Authority) {
            return Ok((settled(to), Ok(Comparison::at(there.meta().await?.revision))));
        }
        self.assume(from).await?;
        Ok((settled(from), Err(error)))
    }

    async fn carry_over(&self, from: MoveSide) -> Result<Comparison> {
        let (here, there) = (self.side(from), self.side(from.other()));
        here.step(Step::Retire { peer: there.id.clone() }).await?;
        // Nothing changes here any more, whoever tries.
        copy::all(here, there, &self.progress(), Invisible::LeaveBehind).await?;
        copy::rest(here, there).await?;
        let since = *self.compared_up_to.lock().unwrap_or_else(PoisonError::into_inner);
        let compared = match since {
            Some(since) => check::changed_since(here, there, &self.progress(), since).await?,
            None => check::everything(here, there, &self.progress(), true).await?,
        };
        self.board.post(|status| status.compared = Some(compared.clone()));
        if !compared.is_equal() {
            *self.compared_up_to.lock().unwrap_or_else(PoisonError::into_inner) = None;
            return Err(differing(&compared));
        }
        *self.compared_up_to.lock().unwrap_or_else(PoisonError::into_inner) = Some(compared.revision);
        self.assume(from.other()).await?;
        Ok(compared)
    }

    /// Has a side execute operations. The other one does not.
    async fn assume(&self, side: MoveSide) -> Result<()> {
        let (mine, others) = (self.side(side), self.side(side.other()));
        let (meta, standing) = (others.meta().await?, others.standing().await?);
        let own = mine.standing().await?;
        if is_authority(standing.as_ref()) {
            return Err(Error::new(
                ErrorKind::Internal,
                "the other store still executes operations; please report this",
            ));
        }
        let epoch = [&standing, &own].into_iter().flatten().map(|standing| standing.epoch).max();
        let epoch = epoch.unwrap_or_default() + 1;
        mine.step(Step::Assume { peer: others.id.clone(), epoch, above: meta.revision }).await?;
        Ok(())
    }

    /// Ends the pair.
    pub(super) async fn detach(&self) -> Result<()> {
        self.ensure_settled().await?;
        let _shut = self.gate.shut().await;
        let Roles::Settled { authority, detached } = self.roles() else { return Err(super::unsettled()) };
        if detached {
            return Ok(());
        }
        let (mine, others) = (self.side(authority), self.side(authority.other()));
        self.set_roles(Roles::Unsettled);
        // The one that does not execute goes first: from then on it never will.
        let done = match others.step(Step::Detach { peer: mine.id.clone() }).await {
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
