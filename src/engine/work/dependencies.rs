//! Dependencies as storage has them and as this group changed them, and the books that follow from that.

use super::Work;
use crate::backends::contract::{Content, DependentsNeed, Edge, EdgesNeed, Key, Needs, Subject};
use crate::error::Result;

/// A place in a list of dependencies.
type ChunkAndOn = (u64, u64);

/// So many are asked for at once.
const ENDS_PER_QUESTION: usize = 1_000;
/// Lists as long as this are not whole.
const ENDS_EXPECTED: usize = 8;

/// Who waits for a chunk, as storage has it.
pub(super) struct Waiting {
    list: Vec<(u64, bool)>,
    /// There are no more.
    is_whole: bool,
}

impl Waiting {
    pub(super) fn of(need: &DependentsNeed, list: Vec<(u64, bool)>) -> Self {
        Waiting { is_whole: list.len() < need.limit, list }
    }
}

impl Work<'_> {
    /// Chunks that wait for this one, above an id, in ascending order, and whether it counts as met for each. Fewer than
    /// asked for are all there are.
    pub(in crate::engine) fn dependents(
        &mut self,
        on: Key,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<(u64, bool)>> {
        let (mut found, mut from) = (Vec::new(), after);
        loop {
            let part = self.stored_dependents(DependentsNeed { on, after: from, limit })?;
            let last = part.last().filter(|_| part.len() >= limit).map(|(chunk, _)| *chunk);
            self.correct_dependents(on, (from, last), part, &mut found);
            match last {
                // Some of them wait no longer.
                Some(_) if found.len() < limit => from = last,
                _ => break,
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// The same as storage has it.
    fn stored_dependents(&mut self, need: DependentsNeed) -> Result<Vec<(u64, bool)>> {
        // Who asks again, which is rare, asks storage.
        let known = if need.after.is_none() { self.waiting.remove(&need.on) } else { None };
        match known {
            Some(Waiting { list, is_whole }) if is_whole || list.len() >= need.limit => Ok(list),
            _ => {
                let dependents = vec![need];
                let mut loaded =
                    self.load(&Needs { dependents, dependent_rows: true, ..Needs::default() })?;
                self.absorb(&mut loaded);
                Ok(loaded.dependents.pop().unwrap_or_default())
            }
        }
    }

    /// Puts a part of what storage has behind what was found, corrected by what this group changed of that part: above an
    /// id, and up to one where there is more.
    fn correct_dependents(
        &self,
        on: Key,
        (after, last): (Option<u64>, Option<u64>),
        mut part: Vec<(u64, bool)>,
        found: &mut Vec<(u64, bool)>,
    ) {
        if !self.edges.is_empty() {
            part.retain_mut(|(chunk, met)| {
                let edge = Edge { job: on.job, chunk: *chunk, on: on.chunk };
                *met = self.edges.met(&edge).unwrap_or(*met);
                !self.edges.is_listed(&edge)
            });
            let inside =
                |chunk| after.is_none_or(|after| chunk > after) && last.is_none_or(|last| chunk <= last);
            let kept = part.len();
            part.extend(self.edges.on(on).filter(|(chunk, _)| inside(*chunk)));
            if part.len() > kept {
                part.sort_unstable();
            }
        }
        if found.is_empty() {
            *found = part;
        } else {
            found.append(&mut part);
        }
    }

    /// Asks for who waits for each of these, which are about to change, with few questions for all. For whom many wait is
    /// asked for again, by itself.
    pub(in crate::engine) fn expect_ends(&mut self, keys: &[Key]) -> Result<()> {
        let Some(first) = keys.first() else { return Ok(()) };
        if keys.iter().all(|key| key.job == first.job)
            && self.job_in_any_phase(first.job)?.is_none_or(|job| job.edges == 0)
        {
            return Ok(());
        }
        for keys in keys.chunks(ENDS_PER_QUESTION) {
            let need = |&on| DependentsNeed { on, after: None, limit: ENDS_EXPECTED };
            let dependents = keys.iter().map(need).collect();
            let needs = Needs { dependents, dependent_rows: true, ..Needs::default() };
            let mut loaded = self.load(&needs)?;
            self.absorb(&mut loaded);
            for (need, list) in needs.dependents.iter().zip(loaded.dependents) {
                self.waiting.insert(need.on, Waiting::of(need, list));
            }
        }
        Ok(())
    }

    /// Whether it is known of a chunk that nobody waits for it.
    pub(in crate::engine) fn is_waited_for_by_none(&self, on: Key) -> bool {
        self.waiting.get(&on).is_some_and(|waiting| waiting.list.is_empty())
            && self.edges.on(on).next().is_none()
    }

    /// Chunks that wait for each of these, in any order. A list is as long as the limit, or longer, where there may be
    /// more.
    pub(in crate::engine) fn waiting_for(&mut self, keys: &[Key], limit: usize) -> Result<Vec<Vec<u64>>> {
        let dependents = keys.iter().map(|&on| DependentsNeed { on, after: None, limit }).collect();
        let lists = self.load(&Needs { dependents, ..Needs::default() })?.dependents;
        let with_changes = |(&on, list): (&Key, Vec<(u64, bool)>)| {
            let is_full = list.len() >= limit;
            let is_stored = |chunk: &u64| {
                is_full || !self.edges.is_listed(&Edge { job: on.job, chunk: *chunk, on: on.chunk })
            };
            let stored = list.into_iter().map(|(chunk, _)| chunk).filter(is_stored);
            stored.chain(self.edges.on(on).map(|(chunk, _)| chunk)).collect()
        };
        Ok(keys.iter().zip(lists).map(with_changes).collect())
    }

    /// The chunks that each of these depends on, in ascending order.
    pub(in crate::engine) fn dependencies(&mut self, keys: &[Key]) -> Result<Vec<Vec<u64>>> {
        let mut lists = self.load(&Needs { dependencies: keys.to_vec(), ..Needs::default() })?.dependencies;
        for (key, list) in keys.iter().zip(&mut lists) {
            for (on, state) in self.edges.of(*key) {
                match (list.binary_search(&on), state) {
                    (Err(at), Some(_)) => list.insert(at, on),
                    (Ok(at), None) => {
                        list.remove(at);
                    }
                    _ => {}
                }
            }
        }
        Ok(lists)
    }

    /// A page of a job's dependencies by (chunk, on), as storage and this group have them, and behind which one it
    /// goes on where it does.
    pub(in crate::engine) fn edges_page(
        &mut self,
        job: i64,
        after: Option<ChunkAndOn>,
        limit: usize,
    ) -> Result<(Vec<Edge>, Option<ChunkAndOn>)> {
        let need = EdgesNeed { job, after, limit };
        let mut found = self.load(&Needs { edges: Some(need), ..Needs::default() })?.edges;
        let next = found.last().filter(|_| found.len() >= limit).map(|edge| (edge.chunk, edge.on));
        found.retain(|edge| !self.edges.is_listed(edge));
        for (edge, state) in self.edges.from(job, after.unwrap_or((0, 0))) {
            let at = (edge.chunk, edge.on);
            if next.is_some_and(|next| at > next) {
                break;
            }
            if state.is_some() && after != Some(at) {
                found.push(edge);
            }
        }
        found.sort_unstable();
        Ok((found, next))
    }

    /// Adds a dependency, met or not; the dependent's count follows.
    pub(in crate::engine) fn add_edge(&mut self, edge: Edge, met: bool) {
        self.edges.set(edge, Some(met));
        self.count_edge(edge, 1);
    }

    /// Removes a dependency. The dependent's count is for the caller to set.
    pub(in crate::engine) fn remove_edge(&mut self, edge: Edge) {
        if !self.edges.is_removed(&edge) {
            self.edges.set(edge, None);
            self.count_edge(edge, -1);
        }
    }

    /// Notes that a dependency was met, or is not any more; the dependent's count and place follow.
    pub(in crate::engine) fn set_met(&mut self, edge: Edge, met: bool) {
        let revision = self.next_revision();
        self.log_one(Subject::Met, revision, Key { job: edge.job, chunk: edge.chunk });
        self.correct_met(edge, met);
    }

    /// The same without a revision: for what is being put down as it always was.
    pub(in crate::engine) fn correct_met(&mut self, edge: Edge, met: bool) {
        self.edges.set_met(edge, met);
        let key = Key { job: edge.job, chunk: edge.chunk };
        let unmet = self.rows.get(&key).and_then(|s| s.row.as_ref()).map_or(0, |row| row.unmet);
        self.set_unmet(key, if met { unmet.saturating_sub(1) } else { unmet + 1 });
    }

    /// Sets how many dependencies of a row are not met.
    pub(in crate::engine) fn set_unmet(&mut self, key: Key, unmet: u32) {
        self.edit(key, |slot| {
            slot.unmet_dirty = true;
            if let Some(row) = &mut slot.row {
                row.unmet = unmet;
            }
        });
    }

    /// Notes a change of a row that its record does not show: of its dependencies.
    pub(in crate::engine) fn note_change(&mut self, key: Key) {
        if self.fetch_whole([key]).is_err() {
            // It is noted, and takes the whole group back.
            return;
        }
        if let Some(row) = self.rows.get(&key).and_then(|slot| slot.row.as_ref()) {
            let content = Content { updated_at_ms: self.now_ms, ..(*row.content).clone() };
            self.revise(key, content);
        }
    }

    fn count_edge(&mut self, edge: Edge, by: i64) {
        if let Some(slot) = self.jobs.get_mut(&edge.job)
            && let Some(job) = &mut slot.job
        {
            slot.counts_dirty = true;
            job.edges = job.edges.saturating_add_signed(by);
            if edge.on > edge.chunk {
                job.edges_upward = job.edges_upward.saturating_add_signed(by);
            }
        }
    }
}
