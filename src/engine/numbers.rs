//! Which numbered calls are certainly made for the first time, so that nobody need look for what they did before.
//!
//! Looking goes through everything that the client holds. Whoever holds a thousand chunks and claims one more would pay
//! for the thousand each time.

use foldhash::HashMap;

use crate::model::OwnerId;

/// The calls of which that is asked. They are kept apart, as each is looked for elsewhere.
#[derive(Debug, Clone, Copy)]
pub(super) enum Numbered {
    Claim,
    NewJob,
}

/// Per client, a number that none of its calls so far is above.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The store's revision that this was true at.
    revision: u64,
    newest: [HashMap<OwnerId, u64>; 2],
    /// Jobs of clients that were found when one was looked for, by number, the newest first: whoever sends one again sends
    /// those after it again, too.
    jobs: Vec<(OwnerId, Vec<(u64, i64)>)>,
}

impl Numbers {
    /// A group begins. What somebody else committed meanwhile is not known here.
    pub(super) fn begin(&mut self, revision: u64) {
        if self.revision != revision {
            *self = Numbers { revision, ..Numbers::default() };
        }
    }

    /// The group was committed.
    pub(super) fn committed(&mut self, revision: u64) {
        self.revision = revision;
    }

    /// Whether no call of this number can have been carried out.
    pub(super) fn is_new(&self, call: Numbered, owner: OwnerId, seq: u64) -> bool {
        self.newest[call as usize].get(&owner).is_some_and(|newest| seq > *newest)
    }

    /// Calls up to this number may have been carried out, and those after it were not. A group that is taken back later
    /// does no harm: its calls are looked for and not found.
    pub(super) fn note(&mut self, call: Numbered, owner: OwnerId, newest: u64) {
        let known = self.newest[call as usize].entry(owner).or_default();
        *known = newest.max(*known);
    }

    /// The job that a client made under a number, where it was come across.
    pub(super) fn job(&self, owner: OwnerId, seq: u64) -> Option<i64> {
        let (_, jobs) = self.jobs.iter().find(|(of, _)| *of == owner)?;
        let at = jobs.partition_point(|(other, _)| *other > seq);
        jobs.get(at).filter(|(other, _)| *other == seq).map(|(_, id)| *id)
    }

    /// Jobs that a client made, by number, the newest first.
    pub(super) fn note_jobs(&mut self, owner: OwnerId, jobs: Vec<(u64, i64)>) {
        self.jobs.retain(|(of, _)| *of != owner);
        self.jobs.push((owner, jobs));
    }
}

#[cfg(test)]
mod tests {
    use super::Numbered::{Claim, NewJob};
    use super::*;

    const A: OwnerId = OwnerId::from_bytes([1; 16]);
    const B: OwnerId = OwnerId::from_bytes([2; 16]);

    #[test]
    fn a_number_is_new_only_above_all_that_are_known_of_the_same_client() {
        let mut numbers = Numbers::default();
        numbers.begin(10);
        assert!(!numbers.is_new(Claim, A, 1), "of a client that was never looked at nothing is known");
        numbers.note(Claim, A, 5);
        assert!(numbers.is_new(Claim, A, 6) && !numbers.is_new(Claim, A, 5) && !numbers.is_new(Claim, A, 4));
        assert!(!numbers.is_new(Claim, B, 6));
        assert!(!numbers.is_new(NewJob, A, 6), "another kind of call is looked for elsewhere");
        numbers.note(Claim, A, 3);
        assert!(!numbers.is_new(Claim, A, 5), "what is known is not forgotten for a lower one");
    }

    #[test]
    fn jobs_that_were_come_across_are_known_by_number() {
        let mut numbers = Numbers::default();
        assert_eq!(numbers.job(A, 3), None);
        numbers.note_jobs(A, vec![(9, 12), (5, 11), (3, 7)]);
        numbers.note_jobs(B, vec![(3, 8)]);
        let of = |owner| [9, 8, 5, 3, 1].map(|seq| numbers.job(owner, seq));
        assert_eq!(of(A), [Some(12), None, Some(11), Some(7), None]);
        assert_eq!(of(B), [None, None, None, Some(8), None]);
        numbers.note_jobs(A, vec![(9, 12)]);
        assert_eq!((numbers.job(A, 9), numbers.job(A, 5)), (Some(12), None));
    }

    #[test]
    fn a_commit_of_somebody_else_ends_what_is_known() {
        let mut numbers = Numbers::default();
        numbers.begin(10);
        numbers.note(Claim, A, 5);
        numbers.committed(11);
        numbers.begin(11);
        assert!(numbers.is_new(Claim, A, 6));
        numbers.begin(12);
        assert!(!numbers.is_new(Claim, A, 6));
    }
}
