//! Commits that are not synced, where the caller asked for such: see [`crate::OpenOptions::durability`].
//!
//! A power cut may take the last of them back, and three promises must hold even so. No fence is given twice: a synced
//! commit says up to which revision unsynced ones may go, and whoever opens the store later goes on above that, with the
//! first thing that he writes. Nobody who follows the changes misses any: those revisions are noted as lost, and while
//! somebody is registered to follow, every commit is synced. And whoever syncs vouches for nothing that is not.

use super::Host;
use super::work::Work;
use crate::backends::contract::{Delta, Meta};
use crate::limits;
use crate::model::{Durability, OwnerId};
use crate::owners::Probe;
use crate::standing::{Affairs, Lost, Unsynced};

/// Says of a change whether it is to be synced, and what that means for its revisions.
pub(super) fn decide(delta: &mut Delta, host: &Host) {
    delta.durability = durability(&mut delta.meta, host.durability, host.owner);
}

fn durability(meta: &mut Meta, asked: Durability, owner: OwnerId) -> Durability {
    let affairs = meta.affairs.as_deref();
    let unsynced = affairs.and_then(|affairs| affairs.unsynced.as_ref());
    if affairs.is_some_and(Affairs::is_followed) {
        if unsynced.is_some() {
            meta.change_affairs(|affairs| affairs.unsynced = None);
        }
        return Durability::Full;
    }
    let up_to = meta.revision + limits::UNSYNCED_REVISIONS_MAX;
    if asked == Durability::Full || unsynced.is_some_and(|unsynced| meta.revision <= unsynced.up_to) {
        return asked;
    }
    // Where there are no more revisions to skip, none can be lost.
    if up_to < limits::ID_MAX {
        meta.change_affairs(|affairs| affairs.unsynced = Some(Unsynced { up_to, by: owner.to_string() }));
    }
    Durability::Full
}

/// Whether commits may have been made, or may yet be, that are not on the disk.
pub(super) fn is_open(meta: &Meta) -> bool {
    meta.affairs.as_deref().is_some_and(|affairs| affairs.unsynced.is_some())
}

/// The newest revision that the store may have given: what was lost of it is below.
pub(super) fn reach(meta: &Meta) -> u64 {
    let unsynced = meta.affairs.as_deref().and_then(|affairs| affairs.unsynced.as_ref());
    unsynced.map_or(meta.revision, |unsynced| meta.revision.max(unsynced.up_to))
}

/// Whether some of those may be gone. Not while whoever made them lives: then the power has not.
pub(super) fn may_have_lost(meta: &Meta, host: &Host) -> bool {
    let unsynced = meta.affairs.as_deref().and_then(|affairs| affairs.unsynced.as_ref());
    unsynced.is_some_and(|unsynced| {
        let by = unsynced.by.parse().ok().filter(|by| *by != host.owner);
        !by.is_some_and(|by| matches!(host.liveness.probe(by), Probe::Alive))
    })
}

/// Goes on above all revisions that may have been given and lost. That is nothing to be written by itself.
pub(super) fn give_up(meta: &mut Meta) {
    let found = meta.revision;
    let Some(up_to) = meta.affairs.as_deref().and_then(|affairs| Some(affairs.unsynced.as_ref()?.up_to))
    else {
        return;
    };
    meta.revision = found.max(up_to) + 1;
    let mut log_start = meta.log_start;
    meta.change_affairs(|affairs| {
        affairs.unsynced = None;
        // Whoever asks from before the log is told to begin anew without this.
        affairs.lost.retain(|lost| lost.up_to >= log_start);
        if found < up_to {
            affairs.lost.push(Lost { above: found, up_to });
        }
        if affairs.lost.len() > limits::LOST_STRETCHES_MAX {
            log_start = affairs.lost.remove(0).up_to + 1;
        }
    });
    meta.log_start = log_start;
}

/// Says, in a commit that is synced, that none are lost any more.
pub(super) fn conclude(work: &mut Work<'_>) {
    if is_open(&work.meta) {
        work.change_affairs(|affairs| affairs.unsynced = None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(revision: u64, affairs: Affairs) -> Meta {
        let affairs = (!affairs.is_empty()).then(|| affairs.into());
        Meta { store_id: [1; 16], revision, last_job: 0, clock_ms: 0, cursors: 0, log_start: 0, affairs }
    }

    const OWNER: OwnerId = OwnerId::from_bytes([7; 16]);

    fn up_to(meta: &Meta) -> Option<u64> {
        meta.affairs.as_ref().and_then(|affairs| affairs.unsynced.as_ref()).map(|unsynced| unsynced.up_to)
    }

    fn unsynced(up_to: u64) -> Unsynced {
        Unsynced { up_to, by: OWNER.to_string() }
    }

    #[test]
    fn now_and_then_a_commit_is_synced() {
        let mut meta = meta(7, Affairs::default());
        assert_eq!(durability(&mut meta, Durability::Relaxed, OWNER), Durability::Full);
        let last = 7 + limits::UNSYNCED_REVISIONS_MAX;
        assert_eq!(up_to(&meta), Some(last));
        meta.revision = last;
        assert_eq!(durability(&mut meta, Durability::Relaxed, OWNER), Durability::Relaxed);
        meta.revision = last + 1;
        assert_eq!(durability(&mut meta, Durability::Relaxed, OWNER), Durability::Full);
        assert_eq!(up_to(&meta), Some(last + 1 + limits::UNSYNCED_REVISIONS_MAX));
    }

    #[test]
    fn a_synced_commit_of_another_process_leaves_what_is_open_open() {
        let mut meta = meta(7, Affairs { unsynced: Some(unsynced(9)), ..Affairs::default() });
        assert_eq!(durability(&mut meta, Durability::Full, OWNER), Durability::Full);
        assert_eq!(up_to(&meta), Some(9));
    }

    #[test]
    fn every_commit_is_synced_while_somebody_follows() {
        let affairs = Affairs {
            unsynced: Some(unsynced(9)),
            consumers: [("reports".into(), 3)].into(),
            ..Affairs::default()
        };
        for asked in [Durability::Relaxed, Durability::Full] {
            let mut meta = meta(7, affairs.clone());
            assert_eq!(durability(&mut meta, asked, OWNER), Durability::Full);
            assert_eq!(up_to(&meta), None);
        }
    }

    #[test]
    fn where_revisions_end_every_commit_is_synced() {
        let mut meta = meta(limits::ID_MAX - 9, Affairs::default());
        assert_eq!(durability(&mut meta, Durability::Relaxed, OWNER), Durability::Full);
        assert_eq!(up_to(&meta), None);
    }

    #[test]
    fn the_oldest_of_too_many_stretches_is_where_the_feed_begins() {
        let mut meta = meta(0, Affairs::default());
        for round in 0..=limits::LOST_STRETCHES_MAX as u64 {
            meta.revision += 10;
            let found = meta.revision;
            meta.change_affairs(|affairs| affairs.unsynced = Some(unsynced(found + 5)));
            let is_lost = |meta: &Meta, at| meta.affairs.as_ref().unwrap().has_lost(at, meta.revision);
            assert!(is_lost(&meta, found + 1) && !is_lost(&meta, found), "round {round}");
            give_up(&mut meta);
            assert_eq!(meta.revision, found + 6);
            assert!(is_lost(&meta, found + 1) && is_lost(&meta, found + 5), "round {round}");
            assert!(!is_lost(&meta, found) && !is_lost(&meta, found + 6), "round {round}");
        }
        let affairs = meta.affairs.as_ref().unwrap();
        assert_eq!((affairs.lost.len(), meta.log_start), (limits::LOST_STRETCHES_MAX, 16));
        // Where the feed begins is never a revision that it refuses.
        assert_eq!([25, 26, 27, 31, 32].map(|at| affairs.behind_lost(at)), [25, 26, 32, 32, 32]);
    }
}
