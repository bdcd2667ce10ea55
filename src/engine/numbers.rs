//! Which numbered calls are certainly made for the first time, so that nobody need look for what they did before.
//!
//! Looking goes through everything that the client holds. Whoever holds a thousand chunks and claims one more would pay
//! for the thousand each time.

use foldhash::{HashMap, HashMapExt};

use crate::model::OwnerId;

/// Per client, a number that none of its calls so far is above.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// The store's revision that this was true at.
    revision: u64,
    newest: HashMap<OwnerId, u64>,
}

impl Numbers {
    /// A group begins. What somebody else committed meanwhile is not known here.
    pub(super) fn begin(&mut self, revision: u64) {
        if self.revision != revision {
            *self = Numbers { revision, newest: HashMap::new() };
        }
    }

    /// The group was committed.
    pub(super) fn committed(&mut self, revision: u64) {
        self.revision = revision;
    }

    /// Whether no call of this number can have been carried out.
    pub(super) fn is_new(&self, owner: OwnerId, seq: u64) -> bool {
        self.newest.get(&owner).is_some_and(|newest| seq > *newest)
    }

    /// Calls up to this number may have been carried out, and those after it were not. A group that is taken back later
    /// does no harm: its calls are looked for and not found.
    pub(super) fn note(&mut self, owner: OwnerId, newest: u64) {
        let known = self.newest.entry(owner).or_default();
        *known = newest.max(*known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: OwnerId = OwnerId::from_bytes([1; 16]);
    const B: OwnerId = OwnerId::from_bytes([2; 16]);

    #[test]
    fn a_number_is_new_only_above_all_that_are_known_of_the_same_client() {
        let mut numbers = Numbers::default();
        numbers.begin(10);
        assert!(!numbers.is_new(A, 1), "of a client that was never looked at nothing is known");
        numbers.note(A, 5);
        assert!(numbers.is_new(A, 6) && !numbers.is_new(A, 5) && !numbers.is_new(A, 4));
        assert!(!numbers.is_new(B, 6));
        numbers.note(A, 3);
        assert!(!numbers.is_new(A, 5), "what is known is not forgotten for a lower one");
    }

    #[test]
    fn a_commit_of_somebody_else_ends_what_is_known() {
        let mut numbers = Numbers::default();
        numbers.begin(10);
        numbers.note(A, 5);
        numbers.committed(11);
        numbers.begin(11);
        assert!(numbers.is_new(A, 6));
        numbers.begin(12);
        assert!(!numbers.is_new(A, 6));
    }
}
