//! Which numbered calls are certainly made for the first time, so that nobody need look for what they did before.
//!
//! Looking goes through everything that the client holds. Whoever holds a thousand chunks and claims one more would pay
//! for the thousand each time.

use foldhash::HashMap;

use crate::model::OwnerId;

/// The calls of which that is asked. They are kept apart, as each is looked for elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Numbered {
    Claim,
    NewJob,
}

/// Per client, a number that none of its calls so far is above.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The store's revision that this was true at.
    revision: u64,
    newest: HashMap<(Numbered, OwnerId), u64>,
    /// Jobs that were found when one was looked for: whoever sends one again sends those after it again, too.
    jobs: HashMap<OwnerId, HashMap<u64, i64>>,
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
        self.newest.get(&(call, owner)).is_some_and(|newest| seq > *newest)
    }

    /// Calls up to this number may have been carried out, and those after it were not. A group that is taken back later
    /// does no harm: its calls are looked for and not found.
    pub(super) fn note(&mut self, call: Numbered, owner: OwnerId, newest: u64) {
        let known = self.newest.entry((call, owner)).or_default();
        *known = newest.max(*known);
    }

    /// The job that a client made under a number, where it was come across.
    pub(super) fn job(&self, owner: OwnerId, seq: u64) -> Option<i64> {
        self.jobs.get(&owner)?.get(&seq).copied()
    }

    /// Jobs that a client made, by number.
    pub(super) fn note_jobs(&mut self, owner: OwnerId, jobs: impl IntoIterator<Item = (u64, i64)>) {
        self.jobs.insert(owner, jobs.into_iter().collect());
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
