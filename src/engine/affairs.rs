//! What a store is to others: steps of a pair, and the consumers of the change feed.

use std::collections::BTreeMap;

use super::work::Work;
use super::{Applied, Reply, Result};
use crate::backends::contract::{Load, Needs};
use crate::error::{Error, ErrorKind};
use crate::limits;
use crate::model::{FeedConsumer, Outcome};
use crate::standing::{self, Affairs, Next, Role, Standing, Step};

/// What is asked of a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consumer {
    /// Keep from here on what it has not got.
    Register,
    /// It has everything up to this revision.
    Advance(u64),
    /// Nothing is kept for it any more.
    Unregister,
}

/// Under which name the other store of a pair follows the feed. No consumer of a caller's begins like this.
pub(crate) fn follower_name(peer: &str) -> String {
    format!("{RESERVED}{peer}")
}

const RESERVED: &str = "magnetar/";

/// A consumer's name that a caller may use.
pub(crate) fn check_name(name: &str) -> Result<()> {
    standing::check_consumer(name)?;
    if name.starts_with(RESERVED) {
        return Err(Error::invalid(format!(
            "names that begin with {RESERVED:?} are Magnetar's own; use another"
        )));
    }
    Ok(())
}

/// Takes a step of the pair. The answer is a revision: where the other store may begin to follow.
pub(super) fn take(work: &mut Work<'_>, step: &Step) -> Result<Applied> {
    let next = standing::step(work.standing(), work.meta.revision, step)?;
    let next = match next {
        Next::Unchanged => return Ok(Applied::Reply(Reply::Count(followed_from(work, step)))),
        Next::Alone => None,
        Next::Part(standing) => Some(standing),
    };
    if let Step::Assume { above, .. } = step {
        work.meta.revision = work.meta.revision.max(*above) + 1;
    }
    let name = follower_name(step.peer());
    let from = match step {
        Step::Lead { .. } => Some(work.all_visible_up_to()?),
        Step::Assume { .. } => Some(work.meta.revision),
        Step::Shadow { .. }
        | Step::Retire { .. }
        | Step::Concede { .. }
        | Step::Detach { .. }
        | Step::Dismiss { .. } => None,
    };
    if let Some(from) = from
        && from < work.meta.log_start
    {
        let text = "an import has been under way for too long to be followed; begin when it is over";
        return Err(Error::new(ErrorKind::Busy, text));
    }
    // What a consumer has not got yet is copied with the log that tells of it.
    let from = match step {
        Step::Lead { .. } => from.map(|from| from.min(slowest(work)).max(work.meta.log_start)),
        _ => from,
    };
    work.change_affairs(|affairs| {
        affairs.standing = next;
        match from {
            Some(from) => {
                affairs.consumers.insert(name, from);
            }
            None => {
                affairs.consumers.remove(&name);
            }
        }
    });
    Ok(Applied::Reply(Reply::Count(from.unwrap_or(work.meta.revision))))
}

/// Where the slowest consumer is.
fn slowest(work: &Work<'_>) -> u64 {
    let consumers = work.meta.affairs.iter().flat_map(|affairs| affairs.consumers.values());
    consumers.min().copied().unwrap_or(u64::MAX)
}

/// The consumers that a copy keeps the log for as well: all but other stores.
pub(super) fn of_callers(affairs: Option<&Affairs>) -> BTreeMap<String, u64> {
    let consumers = affairs.into_iter().flat_map(|affairs| affairs.consumers.clone());
    consumers.filter(|(name, _)| !name.starts_with(RESERVED)).collect()
}

/// From where on both stores of a pair have the log: the copy has it from where it began to follow, and neither
/// promises to keep more than is kept for nobody.
fn in_both(work: &Work<'_>) -> u64 {
    let Some(Standing { peer, .. }) = work.standing() else { return 0 };
    let consumers = work.meta.affairs.as_ref().map(|affairs| &affairs.consumers);
    let followed = consumers.and_then(|consumers| consumers.get(&follower_name(peer)).copied());
    followed.unwrap_or_default().max(work.meta.revision.saturating_sub(limits::FEED_REVISIONS_KEPT))
}

/// Where the other store goes on to follow, after a step that held already.
fn followed_from(work: &Work<'_>, step: &Step) -> u64 {
    let consumers = work.meta.affairs.as_ref().map(|affairs| &affairs.consumers);
    let from = consumers.and_then(|consumers| consumers.get(&follower_name(step.peer())).copied());
    from.unwrap_or(work.meta.revision)
}

/// Ends the part that a store plays as an authority, whatever the other store is.
pub(super) fn leave(work: &mut Work<'_>) -> Result<Applied> {
    let Some(Standing { role: Role::Authority, peer, .. }) = work.standing().cloned() else {
        return Ok(Applied::Reply(Reply::Outcome(Outcome::Unchanged)));
    };
    take(work, &Step::Detach { peer })?;
    Ok(Applied::Reply(Reply::Outcome(Outcome::Changed)))
}

/// Who follows the feed.
pub(crate) fn consumers(load: &mut dyn Load) -> Result<Vec<FeedConsumer>> {
    let meta = load.load(&Needs::default())?.meta;
    let consumers = meta.affairs.iter().flat_map(|affairs| &affairs.consumers);
    let consumer = |(name, &revision): (&String, &u64)| FeedConsumer {
        name: name.clone(),
        revision,
        lag: meta.revision.saturating_sub(revision),
    };
    Ok(consumers.map(consumer).collect())
}

/// Registers a consumer, moves it on, or lets it go. The answer is how far it is.
pub(super) fn consumer(work: &mut Work<'_>, name: &str, what: Consumer) -> Result<Applied> {
    let consumers = work.meta.affairs.as_ref().map(|affairs| &affairs.consumers);
    let at = consumers.and_then(|consumers| consumers.get(name).copied());
    let count = consumers.map_or(0, BTreeMap::len);
    let newest = work.meta.revision;
    let put = |work: &mut Work<'_>, at: Option<u64>| {
        work.change_affairs(|affairs: &mut Affairs| match at {
            Some(at) => {
                affairs.consumers.insert(name.to_owned(), at);
            }
            None => {
                affairs.consumers.remove(name);
            }
        });
    };
    let answer = match (what, at) {
        (Consumer::Register, Some(at)) => at,
        (Consumer::Register, None) if count >= limits::CONSUMERS_MAX => {
            let text = format!(
                "{count} consumers are registered, the limit is {}; unregister one",
                limits::CONSUMERS_MAX
            );
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        (Consumer::Register, None) => {
            // What is in the log now is kept for it: it can begin with a list of everything or with the log.
            let from = work.meta.log_start.max(in_both(work));
            put(work, Some(from));
            from
        }
        (Consumer::Advance(_), None) => {
            return Err(Error::invalid(format!("no consumer is registered as {name:?}; register it first")));
        }
        (Consumer::Advance(to), Some(_)) if to > newest => {
            let text = format!(
                "revision {to} is ahead of the store, which is at {newest}; is the consumer of another store?"
            );
            return Err(Error::invalid(text));
        }
        (Consumer::Advance(to), Some(at)) => {
            if to > at {
                put(work, Some(to));
            }
            at.max(to)
        }
        (Consumer::Unregister, None) => newest,
        (Consumer::Unregister, Some(at)) => {
            put(work, None);
            at
        }
    };
    Ok(Applied::Reply(Reply::Count(answer)))
}
