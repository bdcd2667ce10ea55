//! Sets of chunk ids as sorted runs of neighbours, and the fewest edits from one set to another. Pure.

/// The chunks `first..=last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Span {
    pub(super) const fn one(chunk: u64) -> Self {
        Span { first: chunk, last: chunk }
    }

    pub(super) const fn len(self) -> u64 {
        self.last - self.first + 1
    }

    /// The part above `after`, where one is given.
    pub(super) fn above(self, after: Option<u64>) -> Option<Span> {
        let Some(after) = after else { return Some(self) };
        if self.last <= after { None } else { Some(Span { first: self.first.max(after + 1), ..self }) }
    }

    /// The first `count` chunks of it; `count` is not 0.
    pub(super) fn capped(self, count: usize) -> Span {
        Span { first: self.first, last: self.last.min(self.first.saturating_add(count as u64 - 1)) }
    }
}

/// Adds a span behind the others of a list, as part of the last one where they are neighbours.
pub(super) fn push(spans: &mut Vec<Span>, span: Span) {
    match spans.last_mut() {
        Some(last) if last.last + 1 == span.first => last.last = span.last,
        _ => spans.push(span),
    }
}

/// Takes chunks out of a set, or puts them in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) span: Span,
    pub(super) is_added: bool,
}

/// Adds one chunk's change behind the others of a list, as part of the last one where they are neighbours.
pub(super) fn push_change(changes: &mut Vec<Change>, chunk: u64, is_added: bool) {
    match changes.last_mut() {
        Some(Change { span, is_added: kind }) if *kind == is_added && span.last + 1 == chunk => {
            span.last = chunk;
        }
        _ => changes.push(Change { span: Span::one(chunk), is_added }),
    }
}

/// One edit of the tree of runs, which is keyed by a run's first chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edit {
    Put(Span),
    Delete { first: u64 },
}

/// The chunk that a change takes out though it is not in, or puts in though it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mismatch(pub(super) u64);

/// The set after the changes. Both lists are sorted and free of overlaps.
pub(super) fn apply(runs: &[Span], changes: &[Change]) -> Result<Vec<Span>, Mismatch> {
    let mut result = Vec::with_capacity(runs.len() + changes.len());
    let mut runs = runs.iter().copied();
    let mut run = runs.next();
    for &Change { span, is_added } in changes {
        // What lies wholly before the change stays.
        while let Some(current) = run
            && current.last < span.first
        {
            push(&mut result, current);
            run = runs.next();
        }
        if is_added {
            if let Some(current) = run
                && current.first <= span.last
            {
                return Err(Mismatch(current.first.max(span.first)));
            }
            push(&mut result, span);
        } else {
            // Neighbours are one run: what is taken out lies within a single one.
            let Some(current) = run else { return Err(Mismatch(span.first)) };
            if current.first > span.first {
                return Err(Mismatch(span.first));
            }
            if current.last < span.last {
                return Err(Mismatch(current.last + 1));
            }
            if current.first < span.first {
                push(&mut result, Span { first: current.first, last: span.first - 1 });
            }
            run = if span.last < current.last {
                Some(Span { first: span.last + 1, last: current.last })
            } else {
                runs.next()
            };
        }
    }
    run.into_iter().chain(runs).for_each(|span| push(&mut result, span));
    Ok(result)
}

/// The edits that make `old` into `new`, both sorted.
pub(super) fn edits(old: &[Span], new: &[Span]) -> Vec<Edit> {
    let mut result = Vec::new();
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        match (old.peek(), new.peek()) {
            (None, None) => return result,
            (Some(before), after) if after.is_none_or(|after| before.first < after.first) => {
                result.push(Edit::Delete { first: before.first });
                old.next();
            }
            (before, Some(&&after)) => {
                match before {
                    Some(before) if before.first == after.first => {
                        if before.last != after.last {
                            result.push(Edit::Put(after));
                        }
                        old.next();
                    }
                    _ => result.push(Edit::Put(after)),
                }
                new.next();
            }
            (Some(_), None) => unreachable!("the arm above takes what is left of the old set"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn runs_of(set: &BTreeSet<u64>) -> Vec<Span> {
        let mut runs = Vec::new();
        for &chunk in set {
            push(&mut runs, Span::one(chunk));
        }
        runs
    }

    fn changes_between(old: &BTreeSet<u64>, new: &BTreeSet<u64>) -> Vec<Change> {
        let mut changes = Vec::new();
        for &chunk in old.symmetric_difference(new) {
            push_change(&mut changes, chunk, new.contains(&chunk));
        }
        changes
    }

    fn check(old: &BTreeSet<u64>, new: &BTreeSet<u64>) {
        let (before, after) = (runs_of(old), runs_of(new));
        assert_eq!(apply(&before, &changes_between(old, new)), Ok(after.clone()), "{old:?} to {new:?}");
        let mut tree: std::collections::BTreeMap<u64, u64> =
            before.iter().map(|span| (span.first, span.last)).collect();
        let edits = edits(&before, &after);
        for &edit in &edits {
            match edit {
                Edit::Put(span) => assert_ne!(tree.insert(span.first, span.last), Some(span.last)),
                Edit::Delete { first } => assert!(tree.remove(&first).is_some()),
            }
        }
        let tree: Vec<Span> = tree.into_iter().map(|(first, last)| Span { first, last }).collect();
        assert_eq!(tree, after);
        let kept = before.iter().filter(|span| after.contains(span)).count();
        assert!(edits.len() <= before.len() + after.len() - 2 * kept, "more edits than rows that differ");
    }

    #[test]
    fn every_change_of_every_set_of_seven_is_as_a_set_would_have_it() {
        let set = |bits: u32| (0..7).filter(|bit| bits >> bit & 1 == 1).collect::<BTreeSet<u64>>();
        for old in 0..128 {
            for new in 0..128 {
                check(&set(old), &set(new));
            }
        }
    }

    #[test]
    fn random_changes_are_as_a_set_would_have_them() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        for _ in 0..300 {
            let ids = 1 + rng.u64(..400);
            let mut pick = |times: usize| (0..rng.usize(..=times)).map(|_| rng.u64(..ids)).collect();
            let (old, new): (BTreeSet<u64>, BTreeSet<u64>) = (pick(300), pick(300));
            check(&old, &new);
        }
    }

    #[test]
    fn a_change_that_does_not_fit_is_named() {
        let runs = [Span { first: 2, last: 4 }, Span { first: 8, last: 8 }];
        let out = |first, last| Change { span: Span { first, last }, is_added: false };
        let put = |first, last| Change { span: Span { first, last }, is_added: true };
        assert_eq!(apply(&runs, &[out(1, 2)]), Err(Mismatch(1)));
        assert_eq!(apply(&runs, &[out(4, 6)]), Err(Mismatch(5)));
        assert_eq!(apply(&runs, &[out(9, 9)]), Err(Mismatch(9)));
        assert_eq!(apply(&runs, &[put(1, 2)]), Err(Mismatch(2)));
        assert_eq!(apply(&runs, &[put(3, 3)]), Err(Mismatch(3)));
        assert_eq!(apply(&runs, &[put(5, 9)]), Err(Mismatch(8)));
        assert_eq!(apply(&[], &[out(0, 0)]), Err(Mismatch(0)));
    }

    #[test]
    fn neighbouring_claims_cost_two_edits_however_many() {
        let ready = [Span { first: 100, last: 9_999 }];
        let mut changes = Vec::new();
        (100..356).for_each(|chunk| push_change(&mut changes, chunk, false));
        let left = apply(&ready, &changes).unwrap();
        assert_eq!(
            edits(&ready, &left),
            [Edit::Delete { first: 100 }, Edit::Put(Span { first: 356, last: 9_999 })]
        );
        for change in &mut changes {
            change.is_added = true;
        }
        let held = [Span { first: 90, last: 99 }];
        let grown = apply(&held, &changes).unwrap();
        assert_eq!(edits(&held, &grown), [Edit::Put(Span { first: 90, last: 355 })]);
    }
}
