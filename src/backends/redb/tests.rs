//! Random changes, and every question asked of the store and of a model of plain maps.

#![allow(clippy::too_many_lines, reason = "one list of changes and one of questions, each read as a whole")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};

use super::{Options, RedbBackend};
use crate::backends::contract::*;
use crate::error::ErrorKind;
use crate::machine::{self, Told};
use crate::model::{Deadline, JobSpec, JobStatus, Json, OwnerId};

mod apply;
mod crash;
mod journal;
mod verify;

/// Set `MAGNETAR_SEED` to what a failed test printed to have it again.
fn seed() -> u64 {
    let given = std::env::var("MAGNETAR_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("MAGNETAR_SEED={seed}");
    seed
}

const CLASSES: [&[Class]; 5] = [
    &[],
    &Class::ALL,
    &[Class::Ready, Class::Blocked, Class::Delayed],
    &[Class::Done],
    &[Class::Processing, Class::Ready],
];

const PRIORITIES: [i32; 4] = [i32::MIN, 0, 3, i32::MAX];

fn status_of(class: Class) -> JobStatus {
    JobStatus::ALL.into_iter().find(|&status| machine::listed_classes(status).contains(&class)).unwrap()
}

#[derive(Clone, PartialEq, Debug)]
struct Stored {
    row: Row,
    place: Place,
}

/// What the store should hold.
#[derive(Clone)]
pub(super) struct Model {
    meta: Meta,
    rows: BTreeMap<Key, Stored>,
    jobs: BTreeMap<i64, JobRow>,
    edges: BTreeMap<Edge, bool>,
    cursors: BTreeMap<Key, Cursor>,
    log: BTreeMap<u64, (Subject, Key)>,
    pruned_to: u64,
}

fn options() -> Options {
    Options::new([7; 16])
}

impl Model {
    fn new() -> Self {
        let meta = Meta {
            store_id: [7; 16],
            revision: 0,
            last_job: 0,
            clock_ms: 0,
            cursors: 0,
            log_start: 0,
            affairs: None,
        };
        Model {
            meta,
            rows: BTreeMap::new(),
            jobs: BTreeMap::new(),
            edges: BTreeMap::new(),
            cursors: BTreeMap::new(),
            log: BTreeMap::new(),
            pruned_to: 0,
        }
    }

    fn some_key(&self, rng: &mut fastrand::Rng) -> Option<Key> {
        if self.rows.is_empty() { None } else { self.rows.keys().nth(rng.usize(..self.rows.len())).copied() }
    }

    /// A random set of changes, made to the model at once.
    fn change(&mut self, rng: &mut fastrand::Rng) -> Delta {
        let mut rows = BTreeMap::new();
        let mut jobs = BTreeSet::new();
        let mut new_jobs = BTreeSet::new();
        let (mut edges, mut met) = (BTreeMap::new(), BTreeMap::new());
        let mut log = Vec::new();
        for _ in 0..=rng.usize(..3) {
            let job = rng.i64(1..4);
            let first = rng.u64(..400);
            let keys: Vec<Key> = match rng.u8(..3) {
                0 => (first..first + 1 + rng.u64(..70)).map(|chunk| Key { job, chunk }).collect(),
                1 => (0..rng.u64(..20)).map(|_| Key { job, chunk: rng.u64(..400) }).collect(),
                _ => vec![Key { job, chunk: first }],
            };
            if !self.jobs.contains_key(&job) {
                new_jobs.insert(job);
                self.jobs.insert(
                    job,
                    JobRow {
                        revision: self.meta.revision,
                        ..JobRow::empty(job, JobSpec::new().name(format!("job {job}")), 5)
                    },
                );
            }
            jobs.insert(job);
            let class = *rng.choice(&Class::ALL).unwrap();
            let is_deletion = rng.u8(..8) == 0;
            for key in keys {
                if rows.contains_key(&key) {
                    continue;
                }
                let has_edges =
                    self.edges.keys().any(|e| e.job == job && (e.chunk == key.chunk || e.on == key.chunk));
                if is_deletion && (has_edges || !self.rows.contains_key(&key)) {
                    continue;
                }
                self.meta.revision += 1;
                let change = if is_deletion {
                    log.push((Subject::ChunkGone, key));
                    self.delete(key)
                } else {
                    log.push((Subject::Chunk, key));
                    self.put(key, class, rng)
                };
                rows.insert(key, change);
            }
        }
        // Dependencies between chunks that there are.
        let keys: Vec<Key> = self.rows.keys().copied().collect();
        for _ in 0..rng.usize(..4) {
            // One, or those of a stretch of chunks on the one before each.
            let first = rng.usize(..=keys.len());
            let distance = 1 + rng.usize(..3);
            for at in first..first + [1, 80][rng.usize(..2)] {
                let (Some(on), Some(key)) = (keys.get(at), keys.get(at + distance)) else { break };
                if key.job != on.job {
                    break;
                }
                let edge = Edge { job: key.job, chunk: key.chunk, on: on.chunk };
                let is_stored = self.edges.contains_key(&edge);
                let by_on = (edge.job, edge.on, edge.chunk);
                if edges.contains_key(&edge) || met.contains_key(&by_on) {
                    continue;
                }
                jobs.insert(key.job);
                if is_stored && rng.u8(..4) == 0 {
                    self.edges.remove(&edge);
                    edges.insert(edge, EdgeChange::Delete { edge });
                    continue;
                }
                let is_met = rng.bool();
                self.edges.insert(edge, is_met);
                if is_stored {
                    met.insert(by_on, (edge, is_met));
                } else {
                    edges.insert(edge, EdgeChange::Put { edge, met: is_met });
                }
            }
        }
        let mut cursors_put = Vec::new();
        let mut cursors_deleted = Vec::new();
        if let Some(key) = self.some_key(rng) {
            if self.cursors.remove(&key).is_some() {
                cursors_deleted.push(key);
            } else if rng.bool() {
                let cursor =
                    Cursor { key, after: Some(rng.u64(..9)), told: Told::from_code(rng.u8(1..=5)).unwrap() };
                self.cursors.insert(key, cursor);
                cursors_put.push(cursor);
            }
        }
        self.recount(&mut rows, edges.keys().chain(met.values().map(|(edge, _)| edge)));
        let jobs = jobs.into_iter().map(|id| self.count(id, new_jobs.contains(&id))).collect();
        self.meta.clock_ms += 1;
        if rng.u8(..10) == 0 {
            self.pruned_to = self.pruned_to.max(self.meta.revision.saturating_sub(rng.u64(..3_000)));
        }
        let first = self.meta.revision + 1 - log.len() as u64;
        let mut runs: Vec<LogRun> = Vec::new();
        for (revision, (subject, key)) in (first..).zip(log) {
            self.log.insert(revision, (subject, key));
            match runs.last_mut() {
                Some(run)
                    if run.subject == subject
                        && run.key.job == key.job
                        && run.key.chunk + run.count == key.chunk =>
                {
                    run.count += 1;
                }
                _ => runs.push(LogRun { subject, revision, key, count: 1 }),
            }
        }
        Delta {
            meta: self.meta.clone(),
            rows: rows.into_values().collect(),
            jobs,
            edges: edges.into_values().collect(),
            met: met.into_values().collect(),
            cursors_put,
            cursors_deleted,
            log: runs,
            log_prune_to: self.pruned_to,
            durability: crate::model::Durability::Full,
        }
    }

    fn unmet(&self, Key { job, chunk }: Key) -> u32 {
        let own = self.edges.iter().filter(|(edge, met)| (edge.job, edge.chunk) == (job, chunk) && !**met);
        u32::try_from(own.count()).unwrap()
    }

    /// Brings the rows of chunks whose dependencies have changed up to date.
    fn recount<'e>(&mut self, rows: &mut BTreeMap<Key, RowChange>, edges: impl Iterator<Item = &'e Edge>) {
        for edge in edges {
            let key = Key { job: edge.job, chunk: edge.chunk };
            let unmet = self.unmet(key);
            let Stored { row, place } = self.rows.get_mut(&key).unwrap();
            if row.unmet == unmet {
                continue;
            }
            let before = Some(*place);
            row.unmet = unmet;
            *place = machine::place(row);
            let nothing = RowChange { key, before, after: None, content: None, record: None, unmet: None };
            let change = rows.entry(key).or_insert(nothing);
            (change.after, change.unmet) = (Some(*place), Some(unmet));
        }
    }

    fn delete(&mut self, key: Key) -> RowChange {
        let before = self.rows.remove(&key).map(|stored| stored.place);
        RowChange { key, before, after: None, content: None, record: None, unmet: None }
    }

    fn put(&mut self, key: Key, class: Class, rng: &mut fastrand::Rng) -> RowChange {
        let old = self.rows.get(&key).cloned();
        let revision = self.meta.revision;
        let mut record = Record {
            updated_at_ms: rng.u64(..1_000),
            fence: rng.u64(1..=revision),
            observed: rng.bool().then(|| "abc".to_owned()),
            revision,
            ..Record::fresh()
        };
        let deadline = Deadline { set_at_ms: rng.u64(..1_000), duration_ms: rng.u64(..1_000) };
        let owner = OwnerId::from_bytes([rng.u8(..3); 16]);
        record.status = status_of(class);
        let unmet = self.unmet(key);
        match class {
            Class::Ready if rng.bool() => record = Record::fresh(),
            Class::Delayed => record.not_before = Some(deadline),
            Class::Processing => (record.lease, record.hold) = (Some(deadline), Hold::Open { owner, seq: 1 }),
            _ => {}
        }
        let content = match &old {
            Some(old) if rng.u8(..4) > 0 => Arc::clone(&old.row.content),
            _ => Arc::new(Content {
                checksum: rng.bool().then(|| "sum".to_owned()),
                payload: rng.bool().then(|| Json::trusted("[1,2]")),
                left_bytes: 0,
                priority: *rng.choice(&PRIORITIES).unwrap(),
                attempts_max: None,
                losses_max: None,
                on_dependency_failure: None,
                created_at_ms: 3,
                updated_at_ms: 4,
                revision,
            }),
        };
        let record = Arc::new(record);
        let row = Row { key, content: Arc::clone(&content), record: Arc::clone(&record), unmet };
        let place = machine::place(&row);
        self.rows.insert(key, Stored { row, place });
        RowChange {
            key,
            before: old.as_ref().map(|old| old.place),
            after: Some(place),
            content: old.as_ref().is_none_or(|old| old.row.content != content).then_some(content),
            record: old.as_ref().is_none_or(|old| old.row.record != record).then_some(record),
            unmet: old.as_ref().is_none_or(|old| old.row.unmet != unmet).then_some(unmet),
        }
    }

    fn count(&mut self, id: i64, is_new: bool) -> JobChange {
        let job = self.jobs.get_mut(&id).unwrap();
        job.counts = Counts::default();
        for stored in self.rows.values().filter(|stored| stored.row.key.job == id) {
            *job.counts.of_mut(stored.place.class) += 1;
        }
        job.edges = self.edges.keys().filter(|edge| edge.job == id).count() as u64;
        if is_new { JobChange::Put(job.clone()) } else { JobChange::Counts(job.clone()) }
    }

    fn list(&self, keep: impl Fn(&Stored) -> bool) -> Vec<Stored> {
        self.rows.values().filter(|stored| keep(stored)).cloned().collect()
    }

    /// Asks everything and compares the answers.
    fn compare(&self, load: &mut dyn Load, rng: &mut fastrand::Rng) {
        let job = rng.i64(0..5);
        let chunk = rng.u64(..450);
        let after = rng.bool().then_some(chunk);
        let limit = 1 + rng.usize(..150);
        let owner = OwnerId::from_bytes([rng.u8(..4); 16]);
        let key = self.some_key(rng).unwrap_or(Key { job, chunk });
        let held_after = rng.bool().then_some(key);
        let position = rng.bool().then(|| (machine::rank(*rng.choice(&PRIORITIES).unwrap()), chunk));
        let now_ms = if rng.u8(..8) == 0 { u64::MAX } else { rng.u64(..2_000) };
        let log_after = self.pruned_to + rng.u64(..self.meta.revision - self.pruned_to + 2);
        let edge_after = self.edges.keys().filter(|edge| edge.job == job).nth(rng.usize(..9));
        let edge_after = edge_after.map(|edge| (edge.chunk, edge.on));
        let mut keys = vec![key, Key { job, chunk }, key];
        keys.extend((chunk..chunk + 12).map(|chunk| Key { job, chunk }));
        let any: BTreeSet<OwnerId> = [owner, OwnerId::from_bytes([1; 16])].into();
        let needs = Needs {
            payloads: true,
            jobs: [1, job, 9].into(),
            rows: keys.clone(),
            ready: vec![
                ReadyNeed { job, after: position, limit },
                ReadyNeed { job: 1, after: None, limit: 5 },
            ],
            ready_job_from: Some(job),
            due: Some(DueNeed::By { at_ms: now_ms, limit }),
            dependents: vec![DependentsNeed { on: key, after, limit }],
            dependent_rows: true,
            dependencies: vec![key],
            edges_of: vec![key],
            held: Some((owner, held_after, limit)),
            held_by_any: Some(HeldByAnyNeed { owners: any.clone(), limit }),
            owners: true,
            jobs_after: Some((rng.bool().then_some(job), 2)),
            jobs_before: Some((job, 2)),
            edges: Some(EdgesNeed { job, after: edge_after, limit }),
            cursors: Some(CursorsNeed { first_job: job, last_job: job + 1, limit: 3 }),
            log: Some((log_after, limit)),
        };
        let loaded = load.load(&needs).unwrap();
        assert_eq!(loaded.meta, self.meta);
        for id in [1, job, 9] {
            assert_eq!(loaded.jobs[&id].as_ref(), self.jobs.get(&id));
        }
        for key in keys.into_iter().chain(loaded.dependents_of(&needs)) {
            assert!(loaded.rows.iter().any(|(asked, _)| *asked == key), "{key:?}");
            assert_eq!(loaded.row(&key), self.rows.get(&key).map(|stored| &stored.row), "{key:?}");
        }
        let rows = |list: Vec<Stored>, limit: usize| -> Vec<Row> {
            list.into_iter().take(limit).map(|stored| stored.row).collect()
        };
        for (need, answer) in needs.ready.iter().zip(&loaded.ready) {
            let mut ready = self.list(|s| {
                let position = (s.place.rank, s.row.key.chunk);
                s.row.key.job == need.job
                    && s.place.class == Class::Ready
                    && need.after.is_none_or(|after| position > after)
            });
            ready.sort_by_key(|s| (s.place.rank, s.row.key));
            assert_eq!(*answer, rows(ready, need.limit), "{need:?}");
        }
        let ready_job = self.list(|s| s.place.class == Class::Ready && s.row.key.job >= job);
        assert_eq!(loaded.ready_job, ready_job.iter().map(|s| s.row.key.job).min());
        let at_ms = |s: &Stored| {
            let due = s.place.due.unwrap();
            (due.at_ms(), s.row.key.job, due.set_at_ms, s.row.key.chunk)
        };
        let mut due = self.list(|s| s.place.due.is_some_and(|due| due.at_ms() <= now_ms));
        due.sort_by_key(at_ms);
        assert_eq!(loaded.due, rows(due, limit));
        let dependents: Vec<(u64, bool)> = self
            .edges
            .iter()
            .filter(|(e, _)| {
                e.job == key.job && e.on == key.chunk && after.is_none_or(|after| e.chunk > after)
            })
            .map(|(e, &met)| (e.chunk, met))
            .take(limit)
            .collect();
        assert_eq!(loaded.dependents, [dependents]);
        let dependencies: Vec<u64> =
            self.edges.keys().filter(|e| e.job == key.job && e.chunk == key.chunk).map(|e| e.on).collect();
        assert_eq!(loaded.dependencies, [dependencies]);
        let of_key = self.edges.iter().filter(|(e, _)| e.job == key.job && e.chunk == key.chunk);
        assert_eq!(loaded.edges_of, [of_key.map(|(e, met)| (e.on, *met)).collect::<Vec<_>>()]);
        let held =
            self.list(|s| s.place.holder == Some(owner) && held_after.is_none_or(|after| s.row.key > after));
        assert_eq!(loaded.held, rows(held, limit));
        let held_by_any = self.list(|s| s.place.holder.is_some_and(|owner| any.contains(&owner)));
        assert_eq!(loaded.held_by_any, rows(held_by_any, limit));
        let owners: BTreeSet<OwnerId> = self.rows.values().filter_map(|s| s.place.holder).collect();
        assert_eq!(loaded.owners, owners.into_iter().collect::<Vec<_>>());
        for need in CLASSES.map(|classes| PageNeed { job, classes, after, limit }) {
            let answer = page_of(load, &need).unwrap();
            let page = self.list(|s| {
                s.row.key.job == job
                    && (need.classes.is_empty() || need.classes.contains(&s.place.class))
                    && after.is_none_or(|after| s.row.key.chunk > after)
            });
            assert_eq!(answer, rows(page, limit), "{need:?}");
        }
        let (jobs_after, count) = needs.jobs_after.unwrap();
        let jobs: Vec<JobRow> = self
            .jobs
            .values()
            .filter(|j| jobs_after.is_none_or(|after| j.id > after))
            .take(count)
            .cloned()
            .collect();
        assert_eq!(loaded.jobs_after, jobs);
        let (before, count) = needs.jobs_before.unwrap();
        let jobs = self.jobs.values().rev().filter(|j| j.id < before).take(count).cloned();
        assert_eq!(loaded.jobs_before, jobs.collect::<Vec<_>>());
        let edges: Vec<Edge> = self
            .edges
            .keys()
            .filter(|e| e.job == job && edge_after.is_none_or(|after| (e.chunk, e.on) > after))
            .take(limit)
            .copied()
            .collect();
        assert_eq!(loaded.edges, edges);
        assert_eq!(
            loaded.cursors,
            self.cursors
                .values()
                .filter(|c| (job..=job + 1).contains(&c.key.job))
                .take(3)
                .copied()
                .collect::<Vec<_>>()
        );
        let log: Vec<(u64, (Subject, Key))> = loaded
            .log
            .iter()
            .flat_map(|run| {
                (0..run.count).map(|i| {
                    let key = Key { chunk: run.key.chunk + i, ..run.key };
                    (run.revision + i, (run.subject, key))
                })
            })
            .filter(|(revision, _)| *revision > log_after)
            .collect();
        let expected: Vec<_> = self.log.range(log_after + 1..).map(|(&r, &change)| (r, change)).collect();
        assert!(log.len() >= limit.min(expected.len()), "{} changes of {}", log.len(), expected.len());
        assert_eq!(log, expected[..log.len()]);
        let needs = Needs { due: Some(DueNeed::SetAfter { at_ms: now_ms, limit }), ..Needs::default() };
        let mut all = self.list(|s| s.place.due.is_some_and(|due| due.set_at_ms > now_ms));
        all.sort_by_key(at_ms);
        assert_eq!(load.load(&needs).unwrap().due, rows(all, limit));
    }
}

#[test]
fn the_store_answers_as_a_model_of_plain_maps_does() {
    let mut rng = fastrand::Rng::with_seed(seed());
    let mut store = RedbBackend::in_memory(options()).unwrap();
    let mut model = Model::new();
    for step in 0..400 {
        let before = model.clone();
        let delta = model.change(&mut rng);
        let mut transaction = store.begin().unwrap();
        // Whoever looks has the trees brought up to date: several commits are to come one upon the other.
        if rng.u8(..4) == 0 {
            before.compare(&mut *transaction, &mut rng);
        }
        if rng.u8(..10) == 0 {
            drop(transaction);
            model = before;
        } else {
            transaction.commit(delta).unwrap();
        }
        if rng.u8(..4) == 0 {
            model.compare(&mut *store.reader().snapshot().unwrap(), &mut rng);
        }
        if step % 40 == 0 {
            store.verify().unwrap();
            store.reopen().unwrap();
        }
    }
    store.verify().unwrap();
    let needs = Needs { log: Some((0, usize::MAX)), ..Needs::default() };
    let log = store.begin().unwrap().load(&needs).unwrap().log;
    assert!(log[0].revision > 1, "nothing of the log was pruned up to {}", model.pruned_to);
}

#[test]
fn what_is_in_no_tree_yet_is_answered_as_well() {
    let mut rng = fastrand::Rng::with_seed(seed());
    for _ in 0..60 {
        let mut store = RedbBackend::in_memory(options()).unwrap();
        let mut model = Model::new();
        for _ in 0..4 {
            let delta = model.change(&mut rng);
            store.begin().unwrap().commit(delta).unwrap();
            model.compare(&mut *store.reader().snapshot().unwrap(), &mut rng);
            store.reader().verify().unwrap();
        }
    }
}

#[test]
fn what_is_done_in_groups_is_what_is_done_one_by_one() {
    let make = || -> Box<dyn Backend> { Box::new(RedbBackend::in_memory(options()).unwrap()) };
    crate::engine::tests::groups_do_what_single_operations_do(make);
}

#[test]
fn a_copy_is_whole_between_its_pages() {
    let make = || -> Box<dyn Backend> { Box::new(RedbBackend::in_memory(options()).unwrap()) };
    crate::engine::tests::a_copy_is_whole_between_its_pages(make);
}

#[test]
fn pages_of_very_large_chunks_have_few_of_them() {
    let make = || -> Box<dyn Backend> { Box::new(RedbBackend::in_memory(options()).unwrap()) };
    crate::engine::tests::pages_of_very_large_chunks_have_few_of_them(make);
}

#[test]
fn who_is_told_in_small_slices_stands_as_who_is_told_at_once() {
    let make = || -> Box<dyn Backend> { Box::new(RedbBackend::in_memory(options()).unwrap()) };
    crate::engine::tests::telling::who_is_told_in_small_slices_stands_as_who_is_told_at_once(make);
}

#[test]
fn what_is_marked_done_behind_a_reset_stays_done() {
    let make = || -> Box<dyn Backend> { Box::new(RedbBackend::in_memory(options()).unwrap()) };
    crate::engine::tests::telling::what_is_marked_done_behind_a_reset_stays_done(make);
}

#[test]
fn an_import_that_is_taken_back_is_under_way_no_more() {
    let store = Box::new(RedbBackend::in_memory(options()).unwrap());
    crate::engine::tests::an_import_that_is_taken_back_is_under_way_no_more(store);
}

#[test]
fn a_store_is_whole_between_the_slices_of_an_import_and_of_a_deletion() {
    let store = Box::new(RedbBackend::in_memory(options()).unwrap());
    crate::engine::tests::a_store_is_whole_between_the_slices_of_an_import_and_of_a_deletion(store);
}

/// It asks again in a moment, and there is nothing to reopen.
#[test]
fn whoever_reads_while_the_file_is_opened_anew_is_told_that_it_is_busy() {
    let reader: Arc<OnceLock<Arc<dyn Reader>>> = Arc::default();
    let found: Arc<Mutex<Vec<ErrorKind>>> = Arc::default();
    let bytes = crash::Disk::new();
    let make = {
        let (reader, found, bytes) = (Arc::clone(&reader), Arc::clone(&found), bytes.clone());
        move || {
            let refused = reader.get().and_then(|reader| reader.snapshot().err());
            found.lock().unwrap().extend(refused.map(|error| error.kind()));
            if found.lock().unwrap().len() == 2 {
                Err(std::io::Error::other("gone"))
            } else {
                Ok(bytes.clone())
            }
        }
    };
    let mut store = RedbBackend::with_backend(make, options()).unwrap();
    assert!(reader.set(store.reader()).is_ok());
    store.reopen().unwrap();
    assert_eq!(*found.lock().unwrap(), [ErrorKind::Busy]);
    assert!(store.reader().snapshot().is_ok());
    // Nothing is being opened any more where that failed.
    store.reopen().unwrap_err();
    assert_eq!(*found.lock().unwrap(), [ErrorKind::Busy; 2]);
    assert_eq!(store.reader().snapshot().err().map(|error| error.kind()), Some(ErrorKind::Poisoned));
    store.reopen().unwrap();
    assert!(store.reader().snapshot().is_ok());
}

#[test]
fn what_is_remembered_is_what_the_file_says() {
    let seed = seed();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut store = RedbBackend::in_memory(options()).unwrap();
    let mut model = Model::new();
    let mut answered = 0;
    for step in 0..1_500 {
        let job = rng.i64(1..4);
        let keys: Vec<Key> = (0..rng.usize(..3)).filter_map(|_| model.some_key(&mut rng)).collect();
        let ready = ReadyNeed { job, after: None, limit: rng.usize(..9) };
        let needs = Needs {
            jobs: [rng.i64(1..5), job].into(),
            rows: keys,
            ready: if rng.bool() { vec![ready] } else { Vec::new() },
            ready_job_from: (rng.u8(..4) == 0).then(|| rng.i64(0..4)),
            due: (rng.u8(..4) == 0).then(|| DueNeed::By { at_ms: rng.u64(..400), limit: 9 }),
            ..Needs::default()
        };
        let file = store.begin().unwrap().load(&needs).unwrap();
        let mut transaction = store.transaction(true).unwrap();
        let loaded = transaction.load(&needs).unwrap();
        answered += usize::from(!transaction.has_asked);
        assert_eq!(format!("{loaded:?}"), format!("{file:?}"), "step {step}");
        if rng.u8(..3) > 0 {
            let before = model.clone();
            // A change that touches few rows, as those do that are followed; now and then a failure.
            let mut delta = model.change(&mut rng);
            let is_wrong = rng.u8(..20) == 0 && !delta.rows.is_empty();
            if is_wrong {
                let place = Place { class: Class::Failed, rank: Rank(u32::MAX), due: None, holder: None };
                delta.rows[0].before = Some(place);
            }
            let ended = Box::new(transaction).commit(delta);
            assert_eq!(ended.is_err(), is_wrong, "{ended:?} step {step}");
            if is_wrong {
                model = before;
            }
        }
        if step % 300 == 299 {
            store.verify().unwrap();
        }
    }
    println!("{answered} answered from memory");
    assert!(answered > 50, "{answered}");
}

/// A change that touches the store's record alone.
pub(super) fn tick(meta: &Meta) -> Delta {
    Delta::of(Meta { clock_ms: meta.clock_ms + 1, ..meta.clone() })
}

pub(super) fn ready_rows(count: u64) -> (Model, Delta) {
    let mut rng = fastrand::Rng::with_seed(1);
    let mut model = Model::new();
    let delta = loop {
        let delta = model.change(&mut rng);
        if delta.rows.len() as u64 >= count {
            break delta;
        }
        model = Model::new();
    };
    (model, delta)
}

#[test]
fn a_snapshot_stays_as_it_was_while_the_writer_goes_on() {
    let mut store = RedbBackend::in_memory(options()).unwrap();
    let reader = store.reader();
    let mut old = reader.snapshot().unwrap();
    let (model, delta) = ready_rows(1);
    store.begin().unwrap().commit(delta).unwrap();
    let mut rng = fastrand::Rng::with_seed(2);
    Model::new().compare(&mut *old, &mut rng);
    model.compare(&mut *reader.snapshot().unwrap(), &mut rng);
    assert_eq!(store.verify().unwrap_err().kind(), ErrorKind::Busy);
    drop(old);
    store.verify().unwrap();
}

#[test]
fn a_reader_goes_on_after_reopen_and_says_so_after_close() {
    let mut store = RedbBackend::in_memory(options()).unwrap();
    let reader = store.reader();
    let (model, delta) = ready_rows(1);
    store.begin().unwrap().commit(delta).unwrap();
    store.reopen().unwrap();
    model.compare(&mut *reader.snapshot().unwrap(), &mut fastrand::Rng::with_seed(2));
    store.close().unwrap();
    assert_eq!(reader.snapshot().err().unwrap().kind(), ErrorKind::Closed);
    assert_eq!(store.begin().err().unwrap().kind(), ErrorKind::Closed);
}

#[test]
fn a_change_that_disagrees_with_the_index_is_refused_whole() {
    let mut store = RedbBackend::in_memory(options()).unwrap();
    let (model, delta) = ready_rows(1);
    store.begin().unwrap().commit(delta).unwrap();
    let mut wrong = model.clone();
    let mut delta = wrong.change(&mut fastrand::Rng::with_seed(3));
    let place = Place { class: Class::Failed, rank: Rank(9), due: None, holder: None };
    delta.rows[0].before = Some(place);
    assert_eq!(store.begin().unwrap().commit(delta).unwrap_err().kind(), ErrorKind::Corrupt);
    model.compare(&mut *store.begin().unwrap(), &mut fastrand::Rng::with_seed(2));
    store.verify().unwrap();
}
