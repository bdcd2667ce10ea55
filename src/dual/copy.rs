//! Taking records from one store to the other, a page a commit.

use super::side::Side;
use super::status::{Board, MovePhase};
use crate::engine::{self, Consumer, Invisible, Op, Part, RecordPage};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::model::Outcome;
use crate::standing::{Role, Standing};

/// The authority is told how far the copy is whenever it is so many revisions further: until then it keeps more of
/// its log than it has to, and it keeps much more than this for everybody.
const REVISIONS_PER_ADVANCE: u64 = 50_000;

/// Where it is said how far the copy is.
#[derive(Debug)]
pub(super) struct Progress<'p> {
    pub(super) board: &'p Board,
}

/// How far the copy is after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Copied {
    /// Up to this revision it is whole; `None` while the first copy is being made.
    pub(super) up_to: Option<u64>,
    /// There is nothing left to copy just now.
    pub(super) is_idle: bool,
    /// Nor is there anything behind it: what is left does not lie behind the beginning of an import under way.
    pub(super) is_caught_up: bool,
    /// The authority's newest revision.
    pub(super) newest: u64,
}

/// Whether it is what a copy says that does not follow any more, as where another process has changed the authority.
pub(super) fn is_refused(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Refused | ErrorKind::Moved | ErrorKind::Shadow)
}

/// How far the copy is. Refused where it is none, or where the other store has left the pair. A copy that is further
/// than its authority tells that this one is an older copy of itself, which does not know what it did before.
async fn standing(from: &Side, to: &Side) -> Result<Standing> {
    // This one first: what it has was in the other one by then.
    let copy = to.standing().await?;
    let meta = from.meta().await?;
    let standing = meta.affairs.as_ref().and_then(|affairs| affairs.standing.as_ref());
    if standing.is_none_or(|standing| standing.peer != to.id) {
        let text = format!("{} has left the pair; {} is no copy of it any more", from.place, to.place);
        return Err(Error::new(ErrorKind::Refused, text));
    }
    let follows = |one: &Standing| one.peer == from.id && !one.detached && one.role != Role::Authority;
    let refused = || Error::new(ErrorKind::Refused, format!("{} does not follow {}", to.place, from.place));
    let copy = copy.filter(follows).ok_or_else(refused)?;
    if copy.copied > meta.revision {
        let text = format!(
            "{} is at revision {} and its copy {} at {}: it was restored from an older copy of itself; begin a new copy",
            from.place, meta.revision, to.place, copy.copied
        );
        return Err(Error::new(ErrorKind::Corrupt, text));
    }
    Ok(copy)
}

/// Copies one page.
pub(super) async fn page(
    from: &Side,
    to: &Side,
    progress: &Progress<'_>,
    invisible: Invisible,
) -> Result<Copied> {
    let standing = standing(from, to).await?;
    let at = standing.copied;
    let page = match standing.backfill {
        Some(backfill) => from.read(move |load| engine::first_page(load, backfill)).await?,
        None => from.read(move |load| engine::changes_page(load, at, invisible)).await?,
    };
    let (newest, rows) = (page.newest, page.rows.len() as u64);
    let (up_to, is_idle) = match page.part {
        Part::First { next: None, from } => (Some(from.base), false),
        Part::First { .. } | Part::Rest { .. } => (None, false),
        Part::Changes { covered, .. } => (Some(covered), page.is_empty()),
    };
    let is_caught_up = is_idle && up_to == Some(newest);
    let copied = Copied { up_to, is_idle, is_caught_up, newest };
    let is_first = matches!(page.part, Part::First { .. });
    if !copied.is_idle && to.take(page).await? == Outcome::Unchanged {
        // Somebody else was quicker: look again.
        return Ok(Copied { up_to: None, ..copied });
    }
    progress.board.post(|status| {
        if status.phase == MovePhase::Copying && copied.up_to.is_some() {
            status.phase = MovePhase::Following;
        }
        status.revision = status.revision.max(newest);
        status.copied = copied.up_to.unwrap_or(0).max(status.copied);
        status.chunks_copied += if is_first { rows } else { 0 };
        status.error = (is_idle && !is_caught_up).then(|| waits_for_import(copied.up_to.unwrap_or(at)));
        if is_caught_up {
            status.is_degraded = false;
        }
    });
    if let Some(up_to) = copied.up_to
        && up_to / REVISIONS_PER_ADVANCE > at / REVISIONS_PER_ADVANCE
        && invisible == Invisible::Wait
    {
        let name = engine::follower_name(&to.id);
        from.shared.count(Op::Consumer { name, what: Consumer::Advance(up_to) }).await?;
    }
    Ok(copied)
}

/// Why a copy that is at this revision does not get on.
pub(super) fn waits_for_import(at: u64) -> Error {
    let text = format!(
        "the copy is at revision {at} and waits for a large import that is under way behind it; it goes on when that is \
         over, try again then"
    );
    Error::new(ErrorKind::Busy, text)
}

/// Copies until the copy has everything up to a revision of the authority's. What lies behind the beginning of a first
/// import that is under way is not waited for: then, up to which revision the copy has everything.
pub(super) async fn up_to(
    from: &Side,
    to: &Side,
    progress: &Progress<'_>,
    revision: u64,
) -> Result<Option<u64>> {
    loop {
        let standing = standing(from, to).await?;
        if standing.backfill.is_none() && standing.copied >= revision {
            return Ok(None);
        }
        let copied = page(from, to, progress, Invisible::Wait).await?;
        if copied.is_idle {
            return Ok(copied.up_to.filter(|&at| at < revision));
        }
    }
}

/// Copies until little is left, or no less than before: there may never be nothing where somebody works meanwhile.
pub(super) async fn nearly_all(from: &Side, to: &Side, progress: &Progress<'_>) -> Result<()> {
    let mut before = u64::MAX;
    loop {
        let copied = standing(from, to).await?.copied;
        let newest = from.meta().await?.revision;
        let left = newest.saturating_sub(copied);
        if left >= before || up_to(from, to, progress, newest).await?.is_some() {
            return Ok(());
        }
        if left <= limits::RECORDS_PER_PAGE_MAX as u64 {
            return Ok(());
        }
        before = left;
    }
}

/// Copies until nothing is left, of a store that nobody works in.
pub(super) async fn all(from: &Side, to: &Side, progress: &Progress<'_>, invisible: Invisible) -> Result<()> {
    while !page(from, to, progress, invisible).await?.is_idle {}
    Ok(())
}

/// Copies what no revision tells of. The authority has retired, and everything else is there.
pub(super) async fn rest(from: &Side, to: &Side) -> Result<()> {
    let mut at = None;
    loop {
        let (page, next): (RecordPage, _) = from.read(move |load| engine::rest_page(load, at)).await?;
        to.take(page).await?;
        if next.is_none() {
            return Ok(());
        }
        at = next;
    }
}
