//! A set of chunk ids, kept as ranges: ten million neighbours cost as much as one.

use std::collections::BTreeMap;

/// A set of ids.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ids {
    /// First id of a range to its last.
    ranges: BTreeMap<u64, u64>,
}

impl Ids {
    pub(crate) fn contains(&self, id: u64) -> bool {
        self.ranges.range(..=id).next_back().is_some_and(|(_, &last)| id <= last)
    }

    /// Adds an id; `false` where it was in already.
    pub(crate) fn insert(&mut self, id: u64) -> bool {
        let below = self.ranges.range_mut(..=id).next_back();
        let first = match below {
            Some((_, last)) if id <= *last => return false,
            Some((first, last)) if *last + 1 == id => {
                *last = id;
                *first
            }
            _ => {
                self.ranges.insert(id, id);
                id
            }
        };
        if let Some(last) = self.ranges.remove(&(id + 1)) {
            self.ranges.insert(first, last);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_agrees_with_a_plain_set_in_any_order_of_insertion() {
        let mut state = 42_u64;
        let (mut ids, mut model) = (Ids::default(), BTreeSet::new());
        for _ in 0..5_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let id = (state >> 33) % 1_000;
            assert_eq!(ids.insert(id), model.insert(id));
        }
        for id in 0..1_100 {
            assert_eq!(ids.contains(id), model.contains(&id), "{id}");
        }
    }

    #[test]
    fn neighbours_join_into_one_range() {
        let mut ids = Ids::default();
        (0..1_000).rev().chain(1_001..2_000).for_each(|id| assert!(ids.insert(id)));
        assert_eq!(ids.ranges.len(), 2);
        assert!(ids.insert(1_000));
        assert_eq!(ids.ranges.len(), 1);
    }
}
