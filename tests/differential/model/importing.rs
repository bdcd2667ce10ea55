//! What an import makes of the model: the manifest's chunks one by one, then their dependencies, then what is missing.

use std::collections::{BTreeMap, BTreeSet};

use magnetar::{
    DependencyFailure, ErrorKind, ImportOptions, JobSpec, JobStatus, NewChunk, OnConflict, OnMissing,
    Selection,
};

use super::{Answer, Chunk, Model, Told, Wait, has_cycle};

use JobStatus::{Cancelled, Done, Pending, Processing};

impl Model {
    /// added, updated, unchanged, kept, reset, cancelled, deleted
    pub(crate) fn import(
        &mut self,
        job: i64,
        spec: &JobSpec,
        new: &[NewChunk],
        options: ImportOptions,
    ) -> Answer<[u64; 7]> {
        let mut by_id = BTreeMap::new();
        for chunk in new {
            if chunk.depends_on.contains(&chunk.id) {
                return Err(ErrorKind::DependencyCycle);
            }
            if chunk.depends_on.iter().collect::<BTreeSet<_>>().len() < chunk.depends_on.len() {
                return Err(ErrorKind::InvalidManifest);
            }
            if by_id.insert(chunk.id, chunk.clone()).is_some() {
                return Err(ErrorKind::DuplicateChunk);
            }
        }
        self.call(|model| model.upsert(job, spec, &by_id, options))
    }

    #[allow(clippy::too_many_lines, reason = "one rule after the other, as the design tells them")]
    fn upsert(
        &mut self,
        job: i64,
        spec: &JobSpec,
        new: &BTreeMap<u64, NewChunk>,
        options: ImportOptions,
    ) -> Answer<[u64; 7]> {
        let empty = BTreeMap::new();
        let old = self.jobs.get(&job).map_or(&empty, |of| &of.chunks).clone();
        let mut report = [0; 7];
        let (mut added, mut revised, mut conflict) = (Vec::new(), Vec::new(), false);
        let mut moved = BTreeSet::new();
        for (&id, chunk) in new {
            let Some(was) = old.get(&id) else {
                report[0] += 1;
                added.push(id);
                continue;
            };
            let content = was.new.checksum != chunk.checksum || was.new.payload != chunk.payload;
            let mut as_stored = chunk.clone();
            as_stored.depends_on.sort_unstable();
            let mut was_stored = was.new.clone();
            was_stored.depends_on = was.on.keys().copied().collect();
            // Of these the store has only what is to come.
            was_stored.not_before_ms = None;
            as_stored.not_before_ms = None;
            let is_moved = self.is_moved(was, chunk.not_before_ms);
            let same = was_stored == as_stored && !is_moved;
            let busy = matches!(was.status, Processing | Done);
            match (same, busy, content, options.on_conflict) {
                (true, ..) => report[2] += 1,
                (_, false, ..) => {
                    report[1] += 1;
                    revised.push((id, content));
                    moved.extend((content || is_moved).then_some(id));
                }
                (_, true, false, _) | (_, true, true, OnConflict::Keep) => report[3] += 1,
                (_, true, true, OnConflict::Reset) => {
                    report[4] += 1;
                    revised.push((id, content));
                    moved.insert(id);
                }
                (_, true, true, OnConflict::Refuse) => conflict = true,
                (_, true, true, other) => panic!("the model has no {other:?}"),
            }
        }
        if conflict {
            return Err(ErrorKind::ContentConflict);
        }
        let gone: Vec<u64> = match options.on_missing {
            OnMissing::Keep => Vec::new(),
            OnMissing::Cancel | OnMissing::Delete => old
                .iter()
                .filter(|(id, _)| !new.contains_key(id))
                .filter(|(_, chunk)| {
                    options.on_missing == OnMissing::Delete || !matches!(chunk.status, Done | Cancelled)
                })
                .map(|(id, _)| *id)
                .collect(),
            other => panic!("the model has no {other:?}"),
        };
        let deleted: BTreeSet<u64> = if options.on_missing == OnMissing::Delete {
            gone.iter().copied().collect()
        } else {
            BTreeSet::new()
        };
        let written: BTreeSet<u64> = added.iter().copied().chain(revised.iter().map(|(id, _)| *id)).collect();
        let mut edges = Vec::new();
        for id in &written {
            for &on in &new[id].depends_on {
                let known = new.contains_key(&on) || (old.contains_key(&on) && !deleted.contains(&on));
                if !known {
                    return Err(ErrorKind::UnknownDependency);
                }
                edges.push((*id, on));
            }
        }
        for (id, chunk) in old.iter().filter(|(id, _)| !written.contains(id) && !deleted.contains(id)) {
            edges.extend(chunk.on.keys().map(|on| (*id, *on)));
        }
        if has_cycle(&edges) {
            return Err(ErrorKind::DependencyCycle);
        }
        if edges.iter().any(|(_, on)| deleted.contains(on)) {
            return Err(ErrorKind::Refused);
        }

        let of_job_before = self.jobs.get(&job).and_then(|of| of.spec.on_dependency_failure);
        let before = self.jobs.get(&job).map(|of| of.spec.clone());
        let merged = merge(before.clone().unwrap_or_default(), spec);
        if before.as_ref() != Some(&merged) {
            self.put_job(job, merged.clone());
        }
        let mut rewired = Vec::new();
        for &(id, content) in &revised {
            let of = |new: &NewChunk, job: Option<DependencyFailure>| {
                new.on_dependency_failure.or(job).unwrap_or_default()
            };
            let policy = of(&old[&id].new, of_job_before) != of(&new[&id], merged.on_dependency_failure);
            let ids: BTreeSet<u64> = new[&id].depends_on.iter().copied().collect();
            if policy || !old[&id].on.keys().eq(ids.iter()) {
                rewired.push(id);
            }
            self.change(job, id, |chunk| chunk.new = new[&id].clone());
            let state = &self.jobs[&job].chunks[&id];
            let mut fresh = state.clone();
            fresh.start_over();
            if content && format!("{fresh:?}") != format!("{state:?}") {
                self.happen(job, id, false, Chunk::start_over);
            }
            if let Some(not_before_ms) = new[&id].not_before_ms.filter(|_| moved.contains(&id)) {
                let wait = self.wait_until(not_before_ms);
                if self.jobs[&job].chunks[&id].wait != wait {
                    self.happen(job, id, false, |chunk| chunk.wait = wait);
                }
            }
        }
        for (&id, chunk) in new {
            if added.contains(&id) {
                let revision = self.next_revision(Told::Chunk(job, id));
                let mut fresh = fresh(chunk.clone(), self.now_ms, revision);
                fresh.wait = chunk.not_before_ms.and_then(|not_before_ms| self.wait_until(not_before_ms));
                self.jobs.get_mut(&job).expect("it exists by now").chunks.insert(id, fresh);
                rewired.push(id);
            }
        }
        rewired.sort_unstable();
        for &id in &rewired {
            self.edit(job, id).on.clear();
        }
        for id in rewired {
            let on: BTreeSet<u64> = new[&id].depends_on.iter().copied().collect();
            self.wire(job, id, &on);
            let state = &self.jobs[&job].chunks[&id];
            if state.unmet() > 0 && state.open {
                self.happen(job, id, false, Chunk::give_back);
            }
            if self.jobs[&job].chunks[&id].cause.is_some_and(|cause| !on.contains(&cause)) {
                self.happen(job, id, false, Chunk::try_again);
            }
            self.unblocked(job, id);
            // In the manifest's own order: the first that is broken is the cause.
            self.cancel_if_broken(job, id, new[&id].depends_on.iter().copied());
        }
        if of_job_before.unwrap_or_default() != merged.on_dependency_failure.unwrap_or_default() {
            self.tell_failures(job);
        }
        for id in gone {
            if options.on_missing == OnMissing::Delete {
                self.next_revision(Told::ChunkGone(job, id));
                self.jobs.get_mut(&job).expect("it exists").chunks.remove(&id);
                report[6] += 1;
            } else {
                self.cancel(job, &Selection::Chunks(vec![id])).expect("it is not done");
                report[5] += 1;
            }
        }
        Ok(report)
    }
}

impl Model {
    /// A wait for a moment of the calendar, which no other clock brings forward.
    fn wait_until(&self, not_before_ms: u64) -> Option<Wait> {
        (not_before_ms > self.now_ms).then_some(Wait {
            set_at_ms: 0,
            full_ms: not_before_ms,
            told_ms: Some(not_before_ms),
        })
    }

    /// Whether a manifest's moment is another one for a chunk that nobody has had.
    fn is_moved(&self, chunk: &Chunk, not_before_ms: Option<u64>) -> bool {
        let Some(not_before_ms) = not_before_ms else { return false };
        let waits = chunk.wait.filter(|wait| wait.full_ms > self.now_ms);
        let is_busy = matches!(chunk.status, Processing | Done);
        !is_busy && chunk.fence == 0 && waits != self.wait_until(not_before_ms)
    }
}

fn fresh(new: NewChunk, now_ms: u64, revision: u64) -> Chunk {
    Chunk {
        new,
        on: BTreeMap::new(),
        status: Pending,
        observed: None,
        error: None,
        output: None,
        attempts: 0,
        losses: 0,
        fence: 0,
        open: false,
        owner: None,
        lease: None,
        wait: None,
        cause: None,
        created_ms: now_ms,
        changed_ms: now_ms,
        revision,
    }
}

/// What a manifest leaves open stays as it was.
fn merge(old: JobSpec, new: &JobSpec) -> JobSpec {
    let mut merged = old;
    let new = new.clone();
    merged.name = new.name.or(merged.name);
    merged.attempts_max = new.attempts_max.or(merged.attempts_max);
    merged.losses_max = new.losses_max.or(merged.losses_max);
    merged.lease_ms = new.lease_ms.or(merged.lease_ms);
    merged.backoff = new.backoff.or(merged.backoff);
    merged.on_dependency_failure = new.on_dependency_failure.or(merged.on_dependency_failure);
    merged
}
