//! What a store is to others: an authority that is followed, a shadow, or a store that was moved. And who follows its
//! changes. Pure: the text of it, and which step leads where.
//!
//! | step | from | to |
//! |---|---|---|
//! | lead | on its own | authority, with a shadow |
//! | shadow | on its own, empty | shadow |
//! | retire | authority, retired | retired: says [`ErrorKind::Moved`], keeps following |
//! | concede | shadow, retired | the same |
//! | assume | shadow, retired | authority |
//! | detach | authority | on its own |
//! | dismiss | retired, shadow | the same, but nobody follows or leads it any more |
//!
//! Two stores of a pair can never both be authorities, however many change that at the same time and however old what
//! they have read is. Whoever wants one to assume counts on from the highest epoch that either store has heard of, and
//! has the *other* one commit first (`retire`, or `concede` where it executes nothing) that it assumes no epoch up to
//! that one. A store takes such a promise only above all that it has promised or been, and assumes only above it: of two
//! who mean different stores the later promise stops the earlier one, and one that has been an authority in between has
//! heard of a higher epoch by then. Whoever undoes a change names the authority that the other store was when it was
//! looked at: one that has been another since has work that the first one lacks, and concedes nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::limits;

/// What a store keeps of its dealings with others, and of what it promised them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Affairs {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) standing: Option<Standing>,
    /// Who follows the changes, and up to which revision they have them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) consumers: BTreeMap<String, u64>,
    /// Revisions that may be given by commits that are not synced, and so be lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unsynced: Option<Unsynced>,
    /// Revisions that may have been given and lost, in ascending order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) lost: Vec<Lost>,
}

/// Up to which revision commits that are not synced may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unsynced {
    pub(crate) up_to: u64,
    /// The owner who wanted it so: while it lives the power has not gone.
    pub(crate) by: String,
}

/// Revisions above one and up to another that may have been given, and that no change has any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lost {
    pub(crate) above: u64,
    pub(crate) up_to: u64,
}

impl Lost {
    fn has(self, revision: u64) -> bool {
        self.above < revision && revision <= self.up_to
    }
}

impl Affairs {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Affairs::default()
    }

    /// Whether somebody relies on it that no revision that he was told of goes back.
    pub(crate) fn is_followed(&self) -> bool {
        self.standing.is_some() || !self.consumers.is_empty()
    }

    /// Whether the records of another store come here, page by page.
    pub(crate) fn follows(&self) -> bool {
        self.standing.as_ref().is_some_and(|standing| standing.role != Role::Authority)
    }

    /// Whether a revision may be one that was given and lost, where the newest is this one.
    pub(crate) fn has_lost(&self, revision: u64, newest: u64) -> bool {
        let not_yet_noted =
            self.unsynced.as_ref().map(|unsynced| Lost { above: newest, up_to: unsynced.up_to });
        self.lost.iter().chain(&not_yet_noted).any(|lost| lost.has(revision))
    }

    /// The same revision, or the first one behind those that may be lost where it is one of them.
    pub(crate) fn behind_lost(&self, revision: u64) -> u64 {
        self.lost.iter().find(|lost| lost.has(revision)).map_or(revision, |lost| lost.up_to + 1)
    }

    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string(self).expect("maps of texts and numbers are JSON")
    }

    pub(crate) fn from_text(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

/// Which part a store plays in a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// It executes operations.
    Authority,
    /// It takes over the records of the authority, and executes nothing.
    Shadow,
    /// It was an authority, and was moved. It takes over records as well, so that there is a way back.
    Retired,
}

/// A store's part in a pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Standing {
    pub(crate) role: Role,
    /// Which authority of the pair it is or was last, counted from 1; 0 before it was one.
    #[serde(default)]
    pub(crate) epoch: u64,
    /// It assumes no epoch up to this one: it was promised, or it was that one.
    #[serde(default)]
    pub(crate) barred: u64,
    /// The other store's id.
    pub(crate) peer: String,
    /// Where the other store is, for people.
    pub(crate) place: String,
    /// Up to this revision of the authority everything is here; single things may be newer already.
    #[serde(default)]
    pub(crate) copied: u64,
    /// The pair was taken apart.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) detached: bool,
    /// How far the first copy has come, while it is not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) backfill: Option<Backfill>,
}

/// A first copy that is under way: jobs in ascending order, of each its chunks in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Backfill {
    /// Whatever changed after this revision comes again, through the feed.
    pub(crate) base: u64,
    /// The job that is being copied, or was last.
    pub(crate) job: Option<i64>,
    /// Its chunks up to this one are copied; `None` with a job: all of them.
    pub(crate) chunk: Option<u64>,
}

/// A step of a store's standing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Be followed by a shadow.
    Lead { peer: String, place: String },
    /// Follow an authority, whose changes after `base` come through its feed.
    Shadow { peer: String, place: String, base: u64 },
    /// Stop executing operations: the other store may become this authority.
    Retire { peer: String, epoch: u64 },
    /// The same of a store that executes none, and has not since it was that authority last.
    Concede { peer: String, epoch: u64, since: u64 },
    /// Execute operations, as this authority of the pair, under revisions above this.
    Assume { peer: String, epoch: u64, above: u64 },
    /// End the pair, as its authority.
    Detach { peer: String },
    /// End the pair as the other one: execute nothing for good.
    Dismiss { peer: String },
}

impl Step {
    pub(crate) fn peer(&self) -> &str {
        match self {
            Step::Lead { peer, .. }
            | Step::Shadow { peer, .. }
            | Step::Retire { peer, .. }
            | Step::Concede { peer, .. }
            | Step::Assume { peer, .. }
            | Step::Detach { peer }
            | Step::Dismiss { peer } => peer,
        }
    }
}

/// A store's id as text.
pub(crate) fn id_text(id: [u8; 16]) -> String {
    crate::model::OwnerId::from_bytes(id).to_string()
}

/// Where a step leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// It holds already.
    Unchanged,
    /// The store plays a part in no pair.
    Alone,
    /// It plays this part.
    Part(Standing),
}

/// Where a step leads a store that is at this revision.
pub(crate) fn step(now: Option<&Standing>, revision: u64, step: &Step) -> Result<Next> {
    let new = |role, peer: &str, place: &str, backfill| Standing {
        role,
        epoch: u64::from(role == Role::Authority),
        barred: u64::from(role == Role::Authority),
        peer: peer.into(),
        place: place.into(),
        copied: 0,
        detached: false,
        backfill,
    };
    let Some(now) = now else {
        return match step {
            Step::Lead { peer, place } => Ok(Next::Part(new(Role::Authority, peer, place, None))),
            Step::Shadow { peer, place, base } if revision == 0 => {
                let backfill = Some(Backfill { base: *base, job: None, chunk: None });
                Ok(Next::Part(new(Role::Shadow, peer, place, backfill)))
            }
            Step::Shadow { .. } => {
                Err(refused("the store has jobs or a history of its own; copy into a new and empty one"))
            }
            Step::Detach { .. } | Step::Dismiss { .. } => Ok(Next::Unchanged),
            Step::Retire { .. } | Step::Concede { .. } | Step::Assume { .. } => {
                Err(refused("the store is not part of a move"))
            }
        };
    };
    if now.peer != step.peer() {
        return Err(refused(&format!(
            "the store is part of a move with another store, {}; end that one first, or where that store is lost leave it \
             (`leave_pair`)",
            now.place
        )));
    }
    if now.detached {
        return match step {
            // It assumes nothing any more.
            Step::Dismiss { .. } | Step::Concede { .. } => Ok(Next::Unchanged),
            _ => Err(refused("this move is over; begin another with a new store")),
        };
    }
    match (step, now.role) {
        (Step::Lead { .. } | Step::Assume { .. }, Role::Authority) | (Step::Shadow { .. }, Role::Shadow) => {
            Ok(Next::Unchanged)
        }
        (Step::Lead { .. } | Step::Shadow { .. }, _) => {
            Err(refused("the store already plays another part in this move"))
        }
        (Step::Retire { .. }, Role::Shadow) => {
            Err(refused("the store is a shadow; the other one can retire"))
        }
        (Step::Assume { .. }, _) if now.backfill.is_some() => {
            Err(refused("the store is not wholly copied yet; let it catch up first"))
        }
        (Step::Retire { epoch, .. } | Step::Concede { epoch, .. } | Step::Assume { epoch, .. }, _)
            if *epoch <= now.barred =>
        {
            Err(overtaken())
        }
        // It has been an authority since, so that whoever asks has not all of the work.
        (Step::Concede { since, .. }, _) if *since != now.epoch => Err(overtaken()),
        (Step::Retire { epoch, .. }, Role::Authority) => {
            let (role, barred, copied) = (Role::Retired, *epoch, revision);
            Ok(Next::Part(Standing { role, barred, copied, ..now.clone() }))
        }
        (Step::Retire { epoch, .. }, Role::Retired)
        | (Step::Concede { epoch, .. }, Role::Shadow | Role::Retired) => {
            Ok(Next::Part(Standing { barred: *epoch, ..now.clone() }))
        }
        (Step::Assume { epoch, .. }, _) => {
            let (epoch, barred) = (*epoch, *epoch);
            Ok(Next::Part(Standing { role: Role::Authority, epoch, barred, ..now.clone() }))
        }
        (Step::Detach { .. }, Role::Authority) => Ok(Next::Alone),
        (Step::Dismiss { .. }, Role::Shadow | Role::Retired) => {
            Ok(Next::Part(Standing { detached: true, backfill: None, ..now.clone() }))
        }
        (Step::Concede { .. } | Step::Dismiss { .. }, Role::Authority) | (Step::Detach { .. }, _) => {
            Err(overtaken())
        }
    }
}

/// The epoch that comes after all that both stores of a pair have heard of.
pub(crate) fn next_epoch(both: [Option<&Standing>; 2]) -> u64 {
    let heard = both.into_iter().flatten().map(|standing| standing.epoch.max(standing.barred));
    heard.max().unwrap_or_default() + 1
}

/// Whether a store can be made the authority again that it was: neither executes, and the other one has not been an
/// authority since.
pub(crate) fn undoes(here: &Standing, there: &Standing) -> bool {
    here.role != Role::Authority && there.role != Role::Authority && there.epoch <= here.epoch
}

/// Why a store in this standing executes no operations; nothing where it does.
pub(crate) fn refusal(now: Option<&Standing>) -> Option<Error> {
    let now = now?;
    match now.role {
        Role::Authority => None,
        Role::Shadow => Some(Error::new(
            ErrorKind::Shadow,
            format!(
                "the store is a copy that follows {}; work with that one until it is moved here",
                now.place
            ),
        )),
        Role::Retired => {
            Some(Error::new(ErrorKind::Moved, format!("the store was moved to {}; open that one", now.place)))
        }
    }
}

/// A consumer's name within its limits.
pub(crate) fn check_consumer(name: &str) -> Result<()> {
    if (1..=limits::CONSUMER_NAME_BYTES_MAX).contains(&name.len()) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "a consumer's name has {} bytes; use 1 to {}",
        name.len(),
        limits::CONSUMER_NAME_BYTES_MAX
    )))
}

fn refused(why: &str) -> Error {
    Error::new(ErrorKind::Refused, why)
}

fn overtaken() -> Error {
    let text =
        "another process changed at the same time which store of the pair executes operations; try again";
    Error::new(ErrorKind::Busy, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> String {
        String::from("ab")
    }

    fn lead() -> Step {
        Step::Lead { peer: peer(), place: "there".into() }
    }

    fn shadow() -> Step {
        Step::Shadow { peer: peer(), place: "here".into(), base: 3 }
    }

    /// The part that a new store comes to play.
    fn begin(with: &Step) -> Standing {
        match step(None, 0, with) {
            Ok(Next::Part(part)) => part,
            other => panic!("{other:?}"),
        }
    }

    /// A pair, and of each store how much of the work that was ever done is in it.
    #[derive(Debug)]
    struct Pair {
        standings: [Option<Standing>; 2],
        has: [u64; 2],
        done: u64,
    }

    impl Pair {
        fn take(&mut self, side: usize, next: &Step) -> bool {
            match step(self.standings[side].as_ref(), 5, next) {
                Ok(Next::Alone) => self.standings[side] = None,
                Ok(Next::Part(part)) => self.standings[side] = Some(part),
                Ok(Next::Unchanged) => {}
                Err(_) => return false,
            }
            true
        }

        fn works(&self, side: usize) -> bool {
            refusal(self.standings[side].as_ref()).is_none()
        }
    }

    /// Somebody who changes the authority, and where they are; each of the numbers is a side. They do as
    /// `dual::switch` does, without a lock, and may wait for ever between any two steps.
    #[derive(Debug, Clone)]
    enum Actor {
        Looks,
        LooksAgain(Option<Standing>),
        Retires {
            from: usize,
            epoch: u64,
        },
        Reads {
            from: usize,
            epoch: u64,
        },
        Copies {
            from: usize,
            epoch: u64,
            has: u64,
        },
        Assumes {
            to: usize,
            epoch: u64,
        },
        /// Undoes it: the one it was is to be it again.
        Undoes {
            from: usize,
        },
        UndoesOn {
            from: usize,
            here: Option<Standing>,
        },
        Concedes {
            from: usize,
            epoch: u64,
            since: u64,
        },
    }

    impl Actor {
        fn act(self, pair: &mut Pair, random: &mut fastrand::Rng) -> Actor {
            match self {
                Actor::Looks => Actor::LooksAgain(pair.standings[0].clone()),
                Actor::LooksAgain(first) => {
                    let both = [first, pair.standings[1].clone()];
                    let roles = both.each_ref().map(|one| one.as_ref().map(|one| (one.role, one.epoch)));
                    let from = match roles {
                        [Some((Role::Authority, _)), Some((Role::Authority, _))] => return Actor::Looks,
                        [Some((Role::Authority, _)), _] => 0,
                        [_, Some((Role::Authority, _))] => 1,
                        [Some((_, one)), Some((_, other))] => usize::from(one < other),
                        _ => return Actor::Looks,
                    };
                    Actor::Retires { from, epoch: next_epoch(both.each_ref().map(Option::as_ref)) }
                }
                Actor::Retires { from, epoch } => {
                    if pair.take(from, &Step::Retire { peer: peer(), epoch }) {
                        Actor::Reads { from, epoch }
                    } else {
                        Actor::Looks
                    }
                }
                Actor::Reads { from, epoch } => Actor::Copies { from, epoch, has: pair.has[from] },
                Actor::Copies { from, epoch, has } => {
                    if !pair.works(1 - from) {
                        pair.has[1 - from] = pair.has[1 - from].max(has);
                    }
                    if random.bool() {
                        Actor::Assumes { to: 1 - from, epoch }
                    } else {
                        Actor::Undoes { from }
                    }
                }
                Actor::Assumes { to, epoch } => {
                    if pair.take(to, &Step::Assume { peer: peer(), epoch, above: 9 }) {
                        Actor::Looks
                    } else {
                        Actor::Undoes { from: 1 - to }
                    }
                }
                Actor::Undoes { from } => Actor::UndoesOn { from, here: pair.standings[from].clone() },
                Actor::UndoesOn { from, here } => {
                    let there = pair.standings[1 - from].clone();
                    match (here, there) {
                        (Some(here), Some(there)) if undoes(&here, &there) => {
                            let epoch = next_epoch([Some(&here), Some(&there)]);
                            Actor::Concedes { from, epoch, since: there.epoch }
                        }
                        _ => Actor::Looks,
                    }
                }
                Actor::Concedes { from, epoch, since } => {
                    if pair.take(1 - from, &Step::Concede { peer: peer(), epoch, since }) {
                        Actor::Assumes { to: from, epoch }
                    } else {
                        Actor::Looks
                    }
                }
            }
        }
    }

    /// Many change the authority at the same time, and nothing keeps them apart.
    #[test]
    fn no_order_of_steps_by_any_number_of_processes_makes_two_authorities_or_loses_work() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut changed = 0;
        for round in 0..2_000 {
            let second = Standing { backfill: None, ..begin(&shadow()) };
            let mut pair = Pair { standings: [Some(begin(&lead())), Some(second)], has: [0, 0], done: 0 };
            let mut actors = vec![Actor::Looks; random.usize(1..5)];
            for at in 0..200 {
                let one = random.usize(..actors.len());
                actors[one] = actors[one].clone().act(&mut pair, &mut random);
                assert!(!(pair.works(0) && pair.works(1)), "seed {seed}, round {round}.{at}: {pair:?}");
                if let Some(side) = [0, 1].into_iter().find(|&side| pair.works(side)) {
                    assert_eq!(pair.has[side], pair.done, "seed {seed}, round {round}.{at}: {pair:?}");
                    pair.done += 1;
                    pair.has[side] += 1;
                }
                if random.u8(..) == 0 {
                    // One ends in the midst of it, and another one begins.
                    actors[one] = Actor::Looks;
                }
            }
            changed += pair.standings.iter().flatten().map(|part| part.epoch).max().unwrap_or_default();
        }
        assert!(changed > 10_000, "seed {seed}: {changed}");
    }

    #[test]
    fn a_pair_is_taken_apart_only_by_whoever_knows_which_store_executes() {
        let (first, second) = (begin(&lead()), Standing { backfill: None, ..begin(&shadow()) });
        assert!(step(Some(&first), 5, &Step::Dismiss { peer: peer() }).is_err());
        assert!(step(Some(&second), 5, &Step::Detach { peer: peer() }).is_err());
        assert_eq!(step(Some(&first), 5, &Step::Detach { peer: peer() }).unwrap(), Next::Alone);
        let Ok(Next::Part(gone)) = step(Some(&second), 5, &Step::Dismiss { peer: peer() }) else { panic!() };
        // It never comes back, and so stands in nobody's way.
        assert!(step(Some(&gone), 5, &Step::Assume { peer: peer(), epoch: 9, above: 9 }).is_err());
        assert_eq!(
            step(Some(&gone), 5, &Step::Concede { peer: peer(), epoch: 9, since: 0 }).unwrap(),
            Next::Unchanged
        );
    }

    /// Each of these alone stops who acts on what was read before, whatever else would.
    #[test]
    fn a_change_is_undone_only_where_no_other_store_was_the_authority_since() {
        let part = |now: &Standing, next: &Step| match step(Some(now), 5, next) {
            Ok(Next::Part(part)) => part,
            other => panic!("{other:?}"),
        };
        let (first, second) = (begin(&lead()), Standing { backfill: None, ..begin(&shadow()) });
        assert_eq!([(first.epoch, first.barred), (second.epoch, second.barred)], [(1, 1), (0, 0)]);
        let away = part(&first, &Step::Retire { peer: peer(), epoch: 2 });
        assert!(undoes(&away, &second));
        assert!(!undoes(&first, &second), "it executes");
        let moved = part(&second, &Step::Assume { peer: peer(), epoch: 2, above: 9 });
        assert!(!undoes(&away, &moved), "the other one executes");
        let back = part(&moved, &Step::Retire { peer: peer(), epoch: 3 });
        assert!(!undoes(&away, &back), "the other one was the last to execute");
        assert!(undoes(&back, &away));
        assert!(!undoes(&back, &first), "the other one executes still");

        let concede = |since| step(Some(&back), 5, &Step::Concede { peer: peer(), epoch: 9, since });
        assert_eq!(concede(0).expect_err("it was an authority since").kind(), ErrorKind::Busy);
        assert!(concede(2).is_ok());
    }

    #[test]
    fn a_store_with_a_history_never_becomes_a_shadow() {
        let error = step(None, 5, &shadow()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
    }

    #[test]
    fn a_copy_that_is_not_whole_is_never_worked_with() {
        let part = begin(&shadow());
        assert!(step(Some(&part), 5, &Step::Assume { peer: peer(), epoch: 2, above: 9 }).is_err());
    }

    #[test]
    fn what_is_kept_is_read_again_and_what_is_unknown_is_refused() {
        let affairs = Affairs {
            standing: Some(begin(&shadow())),
            consumers: BTreeMap::from([("reports".into(), 7)]),
            unsynced: Some(Unsynced { up_to: 9, by: "ab".into() }),
            lost: vec![Lost { above: 3, up_to: 5 }],
        };
        assert_eq!(Affairs::from_text(&affairs.to_text()).unwrap(), affairs);
        assert!(Affairs::from_text(r#"{"other":1}"#).is_err());
        assert_eq!(Affairs::default().to_text(), "{}");
    }
}
