//! What a store is to others: an authority that is followed, a shadow, or a store that was moved. And who follows its
//! changes. Pure: the text of it, and which step leads where.
//!
//! | step | from | to |
//! |---|---|---|
//! | lead | on its own | authority, with a shadow |
//! | shadow | on its own, empty | shadow |
//! | retire | authority | retired: says [`ErrorKind::Moved`], keeps following |
//! | assume | shadow, retired | authority |
//! | detach | authority | on its own |
//! | | retired, shadow | the same, but nobody follows or leads it any more |
//!
//! Two stores of a pair can never both be authorities: `assume` is only taken after the other has committed `retire`,
//! and only by whoever has read that.

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
    /// Stop executing operations.
    Retire { peer: String },
    /// Execute operations, as this authority of the pair, under revisions above this.
    Assume { peer: String, epoch: u64, above: u64 },
    /// End the pair.
    Detach { peer: String },
}

impl Step {
    pub(crate) fn peer(&self) -> &str {
        match self {
            Step::Lead { peer, .. }
            | Step::Shadow { peer, .. }
            | Step::Retire { peer }
            | Step::Assume { peer, .. }
            | Step::Detach { peer } => peer,
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
            Step::Detach { .. } => Ok(Next::Unchanged),
            Step::Retire { .. } | Step::Assume { .. } => Err(refused("the store is not part of a move")),
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
            Step::Detach { .. } => Ok(Next::Unchanged),
            _ => Err(refused("this move is over; begin another with a new store")),
        };
    }
    match (step, now.role) {
        (Step::Lead { .. } | Step::Assume { .. }, Role::Authority)
        | (Step::Shadow { .. }, Role::Shadow)
        | (Step::Retire { .. }, Role::Retired) => Ok(Next::Unchanged),
        (Step::Lead { .. } | Step::Shadow { .. }, _) => {
            Err(refused("the store already plays another part in this move"))
        }
        (Step::Retire { .. }, Role::Authority) => {
            Ok(Next::Part(Standing { role: Role::Retired, copied: revision, ..now.clone() }))
        }
        (Step::Retire { .. }, Role::Shadow) => {
            Err(refused("the store is a shadow; the other one can retire"))
        }
        (Step::Assume { .. }, _) if now.backfill.is_some() => {
            Err(refused("the store is not wholly copied yet; let it catch up first"))
        }
        (Step::Assume { epoch, .. }, _) => {
            Ok(Next::Part(Standing { role: Role::Authority, epoch: *epoch, ..now.clone() }))
        }
        (Step::Detach { .. }, Role::Authority) => Ok(Next::Alone),
        (Step::Detach { .. }, _) => {
            Ok(Next::Part(Standing { detached: true, backfill: None, ..now.clone() }))
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn steps() -> Vec<Step> {
        let peer = || String::from("ab");
        vec![
            Step::Lead { peer: peer(), place: "there".into() },
            Step::Shadow { peer: peer(), place: "here".into(), base: 3 },
            Step::Retire { peer: peer() },
            Step::Assume { peer: peer(), epoch: 2, above: 9 },
            Step::Detach { peer: peer() },
        ]
    }

    /// The part that a new store comes to play.
    fn begin(with: &Step) -> Standing {
        match step(None, 0, with) {
            Ok(Next::Part(part)) => part,
            other => panic!("{other:?}"),
        }
    }

    /// Whatever is tried in whatever order on two stores by somebody who only assumes where the other one has retired,
    /// at most one of them is an authority, and exactly one while neither is between the two steps.
    #[test]
    fn no_order_of_steps_makes_two_authorities() {
        let mut seen = Vec::new();
        let lead = |now: &Option<Standing>, step_: &Step| match step(now.as_ref(), 5, step_) {
            Ok(Next::Alone) => None,
            Ok(Next::Part(next)) => Some(next),
            Ok(Next::Unchanged) | Err(_) => now.clone(),
        };
        let shadow = Standing { backfill: None, ..begin(&steps()[1]) };
        let mut open = vec![(Some(begin(&steps()[0])), Some(shadow))];
        let works = |standing: &Option<Standing>| refusal(standing.as_ref()).is_none();
        while let Some(pair) = open.pop() {
            if seen.contains(&pair) {
                continue;
            }
            assert!(!(works(&pair.0) && works(&pair.1)), "{pair:?}");
            for step_ in &steps()[2..] {
                let assumes = matches!(step_, Step::Assume { .. });
                if !assumes || !works(&pair.1) {
                    open.push((lead(&pair.0, step_), pair.1.clone()));
                }
                if !assumes || !works(&pair.0) {
                    open.push((pair.0.clone(), lead(&pair.1, step_)));
                }
            }
            seen.push(pair);
        }
        assert!(seen.len() > 6, "{seen:?}");
    }

    #[test]
    fn a_store_with_a_history_never_becomes_a_shadow() {
        let error = step(None, 5, &steps()[1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
    }

    #[test]
    fn a_copy_that_is_not_whole_is_never_worked_with() {
        let shadow = Some(begin(&steps()[1]));
        assert!(step(shadow.as_ref(), 5, &steps()[3]).is_err());
    }

    #[test]
    fn what_is_kept_is_read_again_and_what_is_unknown_is_refused() {
        let affairs = Affairs {
            standing: Some(begin(&steps()[1])),
            consumers: BTreeMap::from([("reports".into(), 7)]),
            unsynced: Some(Unsynced { up_to: 9, by: "ab".into() }),
            lost: vec![Lost { above: 3, up_to: 5 }],
        };
        assert_eq!(Affairs::from_text(&affairs.to_text()).unwrap(), affairs);
        assert!(Affairs::from_text(r#"{"other":1}"#).is_err());
        assert_eq!(Affairs::default().to_text(), "{}");
    }
}
