//! Commits that are not synced, where the caller asked for such: see [`crate::OpenOptions::durability`].
//!
//! A power cut may take the last of them back, and two promises must hold even so. No fence is given twice: a synced
//! commit says up to which revision unsynced ones may go, and whoever opens the store later goes on above that. And nobody
//! who follows the changes misses any: those revisions are noted as lost, and while somebody is registered to follow, every
//! commit is synced.

use super::work::Work;
use crate::backends::contract::Meta;
use crate::limits;
use crate::model::Durability;
use crate::standing::{Affairs, Lost};

/// How a commit is to be made that leaves the store's record like this, where so much is asked for. The record says
/// afterwards what that means for its revisions.
pub(super) fn durability(meta: &mut Meta, asked: Durability) -> Durability {
    let affairs = meta.affairs.as_deref();
    let unsynced_up_to = affairs.and_then(|affairs| affairs.unsynced_up_to);
    if affairs.is_some_and(Affairs::is_followed) {
        if unsynced_up_to.is_some() {
            meta.change_affairs(|affairs| affairs.unsynced_up_to = None);
        }
        return Durability::Full;
    }
    if asked == Durability::Relaxed && unsynced_up_to.is_none_or(|up_to| meta.revision > up_to) {
        let up_to = (meta.revision + limits::UNSYNCED_REVISIONS_MAX).min(limits::ID_MAX);
        meta.change_affairs(|affairs| affairs.unsynced_up_to = Some(up_to));
        return Durability::Full;
    }
    asked
}

/// Whether revisions may have been lost, or may yet be.
pub(super) fn is_open(meta: &Meta) -> bool {
    meta.affairs.as_deref().is_some_and(|affairs| affairs.unsynced_up_to.is_some())
}

/// Goes on above all revisions that may have been given and lost.
pub(super) fn give_up(work: &mut Work<'_>) {
    let found = work.meta.revision;
    let Some(up_to) = work.meta.affairs.as_deref().and_then(|affairs| affairs.unsynced_up_to) else { return };
    let log_start = work.meta.log_start;
    work.meta.revision = found.max(up_to) + 1;
    work.change_affairs(|affairs| {
        affairs.unsynced_up_to = None;
        // Whoever asks from before the log is told to begin anew without this.
        affairs.lost.retain(|lost| lost.up_to >= log_start);
        if found < up_to {
            affairs.lost.push(Lost { above: found, up_to });
        }
        if affairs.lost.len() > limits::LOST_STRETCHES_MAX {
            let first = affairs.lost.remove(0);
            affairs.lost[0].above = first.above;
        }
    });
}

/// Says, in a commit that is synced, that none are lost any more.
pub(super) fn conclude(work: &mut Work<'_>) {
    if is_open(&work.meta) {
        work.change_affairs(|affairs| affairs.unsynced_up_to = None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(revision: u64, affairs: Affairs) -> Meta {
        let affairs = (!affairs.is_empty()).then(|| affairs.into());
        Meta { store_id: [1; 16], revision, last_job: 0, clock_ms: 0, cursors: 0, log_start: 0, affairs }
    }

    fn up_to(meta: &Meta) -> Option<u64> {
        meta.affairs.as_ref().and_then(|affairs| affairs.unsynced_up_to)
    }

    #[test]
    fn now_and_then_a_commit_is_synced() {
        let mut meta = meta(7, Affairs::default());
        assert_eq!(durability(&mut meta, Durability::Relaxed), Durability::Full);
        let last = 7 + limits::UNSYNCED_REVISIONS_MAX;
        assert_eq!(up_to(&meta), Some(last));
        meta.revision = last;
        assert_eq!(durability(&mut meta, Durability::Relaxed), Durability::Relaxed);
        meta.revision = last + 1;
        assert_eq!(durability(&mut meta, Durability::Relaxed), Durability::Full);
        assert_eq!(up_to(&meta), Some(last + 1 + limits::UNSYNCED_REVISIONS_MAX));
    }

    #[test]
    fn a_synced_commit_of_another_process_leaves_what_is_open_open() {
        let mut meta = meta(7, Affairs { unsynced_up_to: Some(9), ..Affairs::default() });
        assert_eq!(durability(&mut meta, Durability::Full), Durability::Full);
        assert_eq!(up_to(&meta), Some(9));
    }

    #[test]
    fn every_commit_is_synced_while_somebody_follows() {
        let affairs = Affairs {
            unsynced_up_to: Some(9),
            consumers: [("reports".into(), 3)].into(),
            ..Affairs::default()
        };
        for asked in [Durability::Relaxed, Durability::Full] {
            let mut meta = meta(7, affairs.clone());
            assert_eq!(durability(&mut meta, asked), Durability::Full);
            assert_eq!(up_to(&meta), None);
        }
    }
}
