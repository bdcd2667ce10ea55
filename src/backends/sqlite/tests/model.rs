//! Random changes, random questions: the answers are those of a map.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::backends::contract::EdgesNeed;
use crate::backends::contract::{
    Backend, Class, Content, Counts, Cursor, CursorsNeed, Delta, DependentsNeed, DueNeed, Edge, EdgeChange,
    HeldByAnyNeed, Hold, JobChange, JobPhase, JobRow, Key, Load, Loaded, LogRun, Meta, Needs, PageNeed,
    Place, ReadyNeed, Record, Row, RowChange, Subject, page_of,
};
use crate::backends::sqlite::tests::{Folder, job};
use crate::backends::sqlite::{FileOptions, SqliteBackend, in_memory, open_file};
use crate::error::ErrorKind;
use crate::machine::{self, News, Told};
use crate::model::{Backoff, Deadline, DependencyFailure, JobStatus, Json, OwnerId};

/// splitmix64: a seed in, the same numbers out.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.one_in(2) { Some(make(self)) } else { None }
    }

    fn text(&mut self) -> String {
        const PIECES: [&str; 10] =
            ["a", "\0", "\"", "\\", "\u{1f980}", "ä", "\n", "\u{1}", "'; DROP TABLE jobs; --", "\u{2028}"];
        (0..self.below(6)).map(|_| PIECES[usize::try_from(self.below(10)).unwrap()]).collect()
    }

    fn json(&mut self) -> Json {
        Json::new(&self.text()).unwrap()
    }

    fn owner(&mut self) -> OwnerId {
        let mut bytes = [0xa5; 16];
        bytes[0] = u8::try_from(self.below(4)).unwrap();
        OwnerId::from_bytes(bytes)
    }

    fn deadline(&mut self) -> Deadline {
        Deadline { set_at_ms: self.below(2_000), duration_ms: self.below(500) }
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    fn key(&mut self) -> Key {
        Key { job: self.below(3).cast_signed(), chunk: self.below(60) }
    }

    fn priority(&mut self) -> i32 {
        self.pick(&[0, 0, 0, 5, -3, i32::MIN, i32::MAX])
    }

    fn content(&mut self, revision: u64) -> Content {
        Content {
            checksum: self.maybe(Self::text),
            payload: self.maybe(Self::json),
            left_bytes: 0,
            priority: self.priority(),
            attempts_max: self.maybe(|r| u32::try_from(r.below(1 << 32)).unwrap()),
            losses_max: self.maybe(|r| u32::try_from(r.below(9)).unwrap()),
            on_dependency_failure: self.maybe(|r| {
                r.pick(&[DependencyFailure::Wait, DependencyFailure::Cancel, DependencyFailure::Ignore])
            }),
            created_at_ms: self.below(1 << 53),
            updated_at_ms: self.below(1 << 53),
            revision,
        }
    }

    fn record(&mut self, revision: u64) -> Record {
        if self.one_in(8) {
            return Record::fresh();
        }
        Record {
            status: self.pick(&JobStatus::ALL),
            observed: self.maybe(Self::text),
            error: self.maybe(Self::text),
            output: self.maybe(Self::json),
            attempts: u32::try_from(self.below(1 << 32)).unwrap(),
            losses: u32::try_from(self.below(9)).unwrap(),
            fence: 1 + self.below((1 << 53) - 1),
            hold: match self.below(3) {
                0 => Hold::Free,
                1 => Hold::Settled,
                _ => Hold::Open { owner: self.owner(), seq: self.below(1 << 53) },
            },
            lease: self.maybe(Self::deadline),
            not_before: self.maybe(Self::deadline),
            cause: self.maybe(|r| r.below(1 << 53)),
            updated_at_ms: self.below(1 << 53),
            revision,
        }
    }
}

/// Sets of classes that pages are asked of.
const SETS: [&[Class]; 5] =
    [&[], &[Class::Ready], &[Class::Ready, Class::Blocked, Class::Delayed], &[Class::Failed], &Class::ALL];

/// What the store is to hold.
#[derive(Default)]
struct Model {
    /// How many dependencies a change is about.
    edges_at_once: [usize; 4],
    meta: Option<Meta>,
    rows: BTreeMap<Key, (Row, Place)>,
    jobs: BTreeMap<i64, JobRow>,
    edges: BTreeMap<Edge, bool>,
    cursors: BTreeMap<Key, Cursor>,
    log: Vec<LogRun>,
}

impl Model {
    fn counts(&self, id: i64) -> Counts {
        let mut counts = Counts::default();
        self.rows
            .iter()
            .filter(|(key, _)| key.job == id)
            .for_each(|(_, (_, p))| *counts.of_mut(p.class) += 1);
        counts
    }

    /// A random change, and the model after it.
    fn change(&mut self, random: &mut Random) -> Delta {
        let mut meta = self.meta.clone().unwrap();
        let mut delta = Delta::of(meta.clone());
        let size = random.pick(&[1, 1, 3, 20, 90]);
        let keys: std::collections::BTreeSet<Key> = (0..size).map(|_| random.key()).collect();
        for key in keys {
            meta.revision += 1;
            let run = LogRun { subject: Subject::Chunk, revision: meta.revision, key, count: 1 };
            delta.log.push(run);
            let stored = self.rows.get(&key).cloned();
            let change = match stored {
                None => self.add(key, random, meta.revision),
                Some((_, before)) if random.one_in(8) => {
                    self.rows.remove(&key);
                    RowChange {
                        key,
                        before: Some(before),
                        after: None,
                        content: None,
                        record: None,
                        unmet: None,
                    }
                }
                Some((mut row, before)) => {
                    let content = random.maybe(|r| Arc::new(r.content(meta.revision)));
                    let record = random.maybe(|r| Arc::new(r.record(meta.revision)));
                    let unmet = random.maybe(|r| u32::try_from(r.below(4)).unwrap());
                    row.content = content.clone().unwrap_or(row.content);
                    row.record = record.clone().unwrap_or(row.record);
                    row.unmet = unmet.unwrap_or(row.unmet);
                    let after = machine::place(&row);
                    self.rows.insert(key, (row, after));
                    RowChange { key, before: Some(before), after: Some(after), content, record, unmet }
                }
            };
            delta.rows.push(change);
        }
        let (mut edges, mut met) = (BTreeMap::new(), BTreeMap::new());
        for _ in 0..random.pick(&self.edges_at_once) {
            let key = random.key();
            let edge = Edge { job: key.job, chunk: key.chunk, on: random.below(60) };
            let by_on = (edge.job, edge.on, edge.chunk);
            if edges.contains_key(&edge) || met.contains_key(&by_on) {
                continue;
            }
            let is_known = self.edges.contains_key(&edge);
            if is_known && random.one_in(2) {
                self.edges.remove(&edge);
                edges.insert(edge, EdgeChange::Delete { edge });
                continue;
            }
            let is_met = random.one_in(2);
            self.edges.insert(edge, is_met);
            if is_known {
                met.insert(by_on, (edge, is_met));
            } else {
                edges.insert(edge, EdgeChange::Put { edge, met: is_met });
            }
        }
        delta.edges = edges.into_values().collect();
        delta.met = met.into_values().collect();
        for id in 0..3 {
            let mut row = self.jobs.get(&id).cloned().unwrap_or_else(|| job(id, Counts::default()));
            row.counts = self.counts(id);
            row.edges = self.edges.keys().filter(|edge| edge.job == id).count() as u64;
            if !self.jobs.contains_key(&id) || random.one_in(4) {
                row.spec.name = random.maybe(Random::text);
                row.spec.lease_ms = random.maybe(|r| r.below(1 << 40));
                row.spec.backoff =
                    random.maybe(|r| Backoff { initial_ms: r.below(99), max_ms: r.below(1 << 40) });
                row.spec.on_dependency_failure = random.maybe(|_| DependencyFailure::Cancel);
                row.phase = random.pick(&[JobPhase::Open, JobPhase::Importing, JobPhase::Deleting]);
                row.owner = random.maybe(Random::owner);
                row.seq = random.below(1 << 53);
                delta.jobs.push(JobChange::Put(row.clone()));
            } else {
                delta.jobs.push(JobChange::Counts(row.clone()));
            }
            self.jobs.insert(id, row);
        }
        if random.one_in(3) {
            self.change_cursor(random, &mut delta);
        }
        self.log.extend(&delta.log);
        meta.cursors = self.cursors.len() as u64;
        meta.clock_ms += random.below(99);
        meta.last_job = 2;
        if random.one_in(5) {
            meta.log_start = meta.revision.saturating_sub(150);
            delta.log_prune_to = meta.log_start;
        }
        self.meta = Some(meta.clone());
        delta.meta = meta;
        delta
    }

    fn change_cursor(&mut self, random: &mut Random, delta: &mut Delta) {
        let key = random.key();
        if self.cursors.remove(&key).is_some() {
            delta.cursors_deleted.push(key);
            return;
        }
        let told = Told::of(News::Revived);
        let cursor = Cursor { key, after: random.maybe(|r| r.below(99)), told };
        self.cursors.insert(key, cursor);
        delta.cursors_put.push(cursor);
    }

    fn add(&mut self, key: Key, random: &mut Random, revision: u64) -> RowChange {
        let content = Arc::new(random.content(revision));
        let record = if random.one_in(3) { Some(Arc::new(random.record(revision))) } else { None };
        let unmet = random.maybe(|r| u32::try_from(r.below(4)).unwrap());
        let row = Row {
            key,
            content: content.clone(),
            record: record.clone().unwrap_or_else(Record::shared_fresh),
            unmet: unmet.unwrap_or_default(),
        };
        let after = machine::place(&row);
        self.rows.insert(key, (row, after));
        RowChange { key, before: None, after: Some(after), content: Some(content), record, unmet }
    }

    fn listed(&self, take: impl Fn(&Key, &Place) -> bool) -> Vec<(Row, Place)> {
        self.rows
            .iter()
            .filter(|(key, (_, place))| take(key, place))
            .map(|(_, found)| found.clone())
            .collect()
    }

    /// Asks everything there is to ask and compares.
    fn compare(&self, tx: &mut dyn Load, random: &mut Random) {
        let needs = self.questions(random);
        self.check(&needs, &tx.load(&needs).unwrap());
        for _ in 0..random.below(3) {
            self.compare_page(tx, random);
        }
    }

    fn compare_page(&self, tx: &mut dyn Load, random: &mut Random) {
        let need = PageNeed {
            job: random.below(3).cast_signed(),
            classes: random.pick(&SETS),
            after: random.maybe(|r| r.below(60)),
            limit: random.pick(&[1, 3, 500]),
        };
        let found = self.listed(|key, place| {
            key.job == need.job
                && need.after.is_none_or(|after| key.chunk > after)
                && (need.classes.is_empty() || need.classes.contains(&place.class))
        });
        let expected: Vec<Row> = found.into_iter().take(need.limit).map(|(row, _)| row).collect();
        assert_eq!(page_of(tx, &need).unwrap(), expected, "{need:?}");
    }

    /// Some of what a claim or a completion asks.
    fn few_questions(&self, random: &mut Random) -> Needs {
        let held = self.listed(|_, place| place.class == Class::Processing);
        let key = |random: &mut Random| match usize::try_from(random.below(64)).unwrap() {
            any if any < held.len() => held[any].0.key,
            _ => random.key(),
        };
        let keys: Vec<Key> = (0..random.pick(&[0, 0, 1, 2])).map(|_| key(random)).collect();
        let at_ms = random.pick(&[0, 1, 20, 2_500]);
        Needs {
            jobs: [0, 1, 2].into(),
            ready: (0..random.below(3))
                .map(|job| ReadyNeed { job: job.cast_signed(), after: None, limit: random.pick(&[1, 2, 9]) })
                .collect(),
            ready_job_from: random.maybe(|r| r.below(3).cast_signed()),
            due: random.maybe(|_| DueNeed::By { at_ms, limit: 1_000 }).filter(|_| random.one_in(2)),
            dependents: match keys.first() {
                Some(key) if random.one_in(2) && !self.edges.keys().any(|edge| edge.job == key.job) => {
                    vec![DependentsNeed { on: *key, after: None, limit: 10 }]
                }
                _ => Vec::new(),
            },
            edges_of: random.maybe(Random::key).filter(|_| random.one_in(2)).into_iter().collect(),
            rows: keys,
            ..Needs::default()
        }
    }

    /// Something of every kind.
    #[allow(clippy::too_many_lines)] // One line per kind of question, in one order.
    fn questions(&self, random: &mut Random) -> Needs {
        let limit = random.pick(&[0, 1, 2, 7, 1000]);
        let bound = usize::try_from(limit).unwrap();
        let rows: Vec<Key> = match random.below(3) {
            0 => (0..40).map(|chunk| Key { job: 1, chunk }).collect(),
            1 => (0..9).map(|_| random.key()).collect(),
            _ => Vec::new(),
        };
        let ready: Vec<ReadyNeed> = (0..random.below(4))
            .map(|_| ReadyNeed {
                job: random.below(3).cast_signed(),
                after: random.maybe(|r| (machine::rank(r.priority()), r.below(60))),
                limit: usize::try_from(random.pick(&[0_u64, 1, 5, 99])).unwrap(),
            })
            .collect();
        let dependents: Vec<DependentsNeed> = (0..random.below(6))
            .map(|_| DependentsNeed {
                on: random.key(),
                after: random.maybe(|r| r.below(60)),
                limit: random.pick(&[1, 2, 100]),
            })
            .filter(|need| {
                self.edges
                    .keys()
                    .filter(|e| e.on == need.on.chunk)
                    .all(|e| self.rows.contains_key(&Key { job: e.job, chunk: e.chunk }))
            })
            .collect();
        let at_ms = random.below(2_500);
        let by = random.one_in(2);
        let owner = random.owner();
        let key = random.key();
        let after_edge = random.maybe(|r| (r.below(60), r.below(60)));
        let since =
            random.below(self.meta.as_ref().unwrap().revision + 2).max(self.meta.as_ref().unwrap().log_start);
        Needs {
            payloads: true,
            jobs: [0, 2, 77].into(),
            rows,
            ready,
            ready_job_from: Some(random.below(4).cast_signed()),
            due: Some(if by {
                DueNeed::By { at_ms, limit: bound }
            } else {
                DueNeed::SetAfter { at_ms, limit: bound }
            }),
            dependents,
            dependent_rows: random.one_in(2),
            dependencies: (0..random.below(4)).map(|_| random.key()).collect(),
            edges_of: (0..random.below(4)).map(|_| random.key()).collect(),
            held: Some((owner, random.maybe(|_| key), bound)),
            held_by_any: Some(HeldByAnyNeed { owners: [owner, random.owner()].into(), limit: bound }),
            owners: random.one_in(2),
            jobs_after: random.one_in(2).then(|| (random.maybe(|r| r.below(3).cast_signed()), bound)),
            jobs_before: Some((random.below(5).cast_signed(), bound)),
            edges: Some(EdgesNeed { job: key.job, after: after_edge, limit: bound }),
            cursors: Some(CursorsNeed { first_job: key.job, last_job: 3, limit: bound }),
            log: Some((since, bound)),
        }
    }

    /// Compares answers.
    #[allow(clippy::too_many_lines)] // One comparison per kind of question, in one order.
    fn check(&self, needs: &Needs, loaded: &Loaded) {
        assert_eq!(Some(&loaded.meta), self.meta.as_ref());
        let jobs = needs.jobs.iter().map(|id| (*id, self.jobs.get(id).cloned())).collect::<BTreeMap<_, _>>();
        assert_eq!(loaded.jobs, jobs);
        let asked = needs.rows.iter().copied().chain(loaded.dependents_of(needs));
        let expected: BTreeMap<Key, Option<Row>> =
            asked.map(|key| (key, self.rows.get(&key).map(|(row, _)| row.clone()))).collect();
        assert_eq!(loaded.rows, expected.into_iter().collect::<Vec<_>>());
        for (need, answer) in needs.ready.iter().zip(&loaded.ready) {
            let mut found = self.listed(|key, place| key.job == need.job && place.class == Class::Ready);
            found.sort_by_key(|(row, place)| (place.rank, row.key.chunk));
            found.retain(|(row, place)| need.after.is_none_or(|after| (place.rank, row.key.chunk) > after));
            found.truncate(need.limit);
            assert_eq!(answer, &found.into_iter().map(|(row, _)| row).collect::<Vec<_>>(), "{need:?}");
        }
        assert_eq!(loaded.ready.len(), needs.ready.len());
        let ready_job = needs.ready_job_from.and_then(|from| {
            self.jobs.iter().find(|(id, job)| **id >= from && job.counts.of(Class::Ready) > 0)
        });
        assert_eq!(loaded.ready_job, ready_job.map(|(id, _)| *id));
        let by = matches!(needs.due, Some(DueNeed::By { .. }));
        let due = |place: &Place| {
            place.due.is_some_and(|due| match needs.due {
                None => false,
                Some(DueNeed::By { at_ms, .. }) => due.at_ms() <= at_ms,
                Some(DueNeed::SetAfter { at_ms, .. }) => due.set_at_ms > at_ms,
            })
        };
        let bound = match needs.due {
            Some(DueNeed::By { limit, .. } | DueNeed::SetAfter { limit, .. }) => limit,
            None => 0,
        };
        let mut found = self.listed(|_, place| due(place));
        assert_eq!(loaded.due.len(), found.len().min(bound));
        found.sort_by_key(|(_, place)| place.due.map(Deadline::at_ms));
        let time = |row: &Row| self.rows[&row.key].1.due.map(Deadline::at_ms);
        for (row, (_, place)) in loaded.due.iter().zip(&found) {
            assert_eq!(&self.rows[&row.key].0, row);
            assert!(due(&self.rows[&row.key].1));
            assert!(!by || time(row) == place.due.map(Deadline::at_ms), "in the order of time");
        }
        for (DependentsNeed { on, after, limit }, answer) in needs.dependents.iter().zip(&loaded.dependents) {
            let found = self.edges.iter().filter(|(edge, _)| {
                edge.job == on.job && edge.on == on.chunk && after.is_none_or(|after| edge.chunk > after)
            });
            let expected: Vec<(u64, bool)> = found.take(*limit).map(|(e, met)| (e.chunk, *met)).collect();
            assert_eq!(answer, &expected);
        }
        for (key, answer) in needs.dependencies.iter().zip(&loaded.dependencies) {
            let found = self.edges.keys().filter(|e| e.job == key.job && e.chunk == key.chunk).map(|e| e.on);
            assert_eq!(answer, &found.collect::<Vec<_>>());
        }
        for (key, answer) in needs.edges_of.iter().zip(&loaded.edges_of) {
            let found = self.edges.iter().filter(|(e, _)| e.job == key.job && e.chunk == key.chunk);
            assert_eq!(answer, &found.map(|(e, met)| (e.on, *met)).collect::<Vec<_>>());
        }
        let held = match needs.held {
            None => Vec::new(),
            Some((owner, after, bound)) => {
                let mine = |key: &Key, place: &Place| {
                    place.holder == Some(owner) && after.is_none_or(|after| *key > after)
                };
                self.listed(mine).into_iter().take(bound).map(|(row, _)| row).collect()
            }
        };
        assert_eq!(loaded.held, held);
        if let Some(HeldByAnyNeed { owners, limit }) = &needs.held_by_any {
            let theirs = |_: &Key, place: &Place| place.holder.is_some_and(|owner| owners.contains(&owner));
            let theirs: Vec<Row> = self.listed(theirs).into_iter().map(|(row, _)| row).collect();
            assert_eq!(loaded.held_by_any.len(), theirs.len().min(*limit));
            assert!(loaded.held_by_any.iter().all(|row| theirs.contains(row)));
        }
        if needs.owners {
            let owners = self.rows.values().filter_map(|(_, place)| place.holder);
            assert_eq!(
                loaded.owners,
                owners.collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>()
            );
        }
        let (after, bound) = needs.jobs_after.unwrap_or_default();
        let jobs = self.jobs.values().filter(|job| after.is_none_or(|after| job.id > after)).take(bound);
        assert_eq!(loaded.jobs_after, jobs.cloned().collect::<Vec<_>>());
        let (before, bound) = needs.jobs_before.filter(|_| needs.jobs_after.is_none()).unwrap_or_default();
        let jobs = self.jobs.values().rev().filter(|job| job.id < before).take(bound);
        assert_eq!(loaded.jobs_before, jobs.cloned().collect::<Vec<_>>());
        let EdgesNeed { job, after, limit } =
            needs.edges.unwrap_or(EdgesNeed { job: 0, after: None, limit: 0 });
        let edges = self.edges.keys().filter(|e| e.job == job && after.is_none_or(|a| (e.chunk, e.on) > a));
        assert_eq!(loaded.edges, edges.take(limit).copied().collect::<Vec<_>>());
        let CursorsNeed { first_job, last_job, limit } =
            needs.cursors.unwrap_or(CursorsNeed { limit: 0, ..CursorsNeed::ALL });
        let cursors = self.cursors.values().filter(|c| (first_job..=last_job).contains(&c.key.job));
        assert_eq!(loaded.cursors, cursors.take(limit).copied().collect::<Vec<_>>());
        let (since, bound) = needs.log.unwrap_or((u64::MAX, 0));
        let log: Vec<LogRun> = self.log.iter().filter(|run| run.revision > since).copied().collect();
        assert_eq!(loaded.log, log[..loaded.log.len()], "a prefix");
        assert!(!loaded.log.is_empty() || log.is_empty() || bound == 0, "it goes on");
    }
}

fn run(mut backend: SqliteBackend, seed: u64, steps: usize, reopen: impl Fn(&mut SqliteBackend)) {
    println!("seed {seed}");
    let mut random = Random(seed);
    let mut model = Model { edges_at_once: [0, 0, 2, 30], ..Model::default() };
    for step in 0..steps {
        let mut tx = backend.begin().unwrap();
        if model.meta.is_none() {
            model.meta = Some(tx.load(&Needs::default()).unwrap().meta);
        } else {
            model.compare(&mut *tx, &mut random);
        }
        tx.commit(model.change(&mut random)).unwrap();
        if random.one_in(4) {
            // Written and taken back: nothing of it is left.
            let mut tx = backend.begin().unwrap();
            tx.load(&Needs::default()).unwrap();
            drop(tx);
        }
        if random.one_in(10) {
            reopen(&mut backend);
        }
        let reader = backend.reader();
        let mut snapshot = reader.snapshot().unwrap();
        model.compare(&mut *snapshot, &mut random);
        drop(snapshot);
        assert!(step < steps);
    }
    backend.close().unwrap();
}

#[test]
fn a_file_answers_what_a_map_would() {
    for seed in 1..=4 {
        let folder = Folder::new();
        let backend = open_file(&folder.file(), FileOptions::default()).unwrap();
        run(backend, seed, 120, |backend| backend.reopen().unwrap());
    }
}

#[test]
fn memory_answers_what_a_map_would() {
    for seed in 11..=14 {
        run(in_memory().unwrap(), seed, 120, |backend| backend.reopen().unwrap());
    }
}

/// One who remembers, and now and then somebody else who writes.
fn run_remembering(
    backend: &mut SqliteBackend,
    other: &mut SqliteBackend,
    seed: u64,
    edges_at_once: [usize; 4],
) {
    println!("seed {seed}");
    let mut random = Random(seed);
    let mut model = Model { edges_at_once, ..Model::default() };
    model.meta = Some(backend.begin().unwrap().load(&Needs::default()).unwrap().meta);
    backend.begin().unwrap().commit(model.change(&mut random)).unwrap();
    let (mut answered, mut overtaken) = (0, 0_u64);
    for _ in 0..900 {
        let stale = model.meta.clone().unwrap();
        let needs = model.few_questions(&mut random);
        let is_known = backend.remembered.answer(&needs).is_some();
        answered += usize::from(is_known);
        let is_other = random.one_in(if is_known { 12 } else { 60 });
        if is_other {
            other.begin().unwrap().commit(model.change(&mut random)).unwrap();
        }
        let mut tx = backend.resume().unwrap();
        let loaded = match tx.load(&needs) {
            Ok(loaded) => loaded,
            // A part of the answer was known, and the rest came with the news that it is not so any more.
            Err(error) => {
                assert_eq!((error.kind(), is_other, is_known), (ErrorKind::Busy, true, false));
                drop(tx);
                assert!(backend.overtaken());
                continue;
            }
        };
        if is_other && is_known {
            // Whichever way the transaction ends, it ends in nothing.
            let ended = match (seed + overtaken) % 3 {
                0 => tx.confirm(),
                1 => tx.commit(Delta::of(stale)),
                _ => {
                    let ended = tx.load(&Needs { owners: true, ..Needs::default() }).map(|_| ());
                    drop(tx);
                    ended
                }
            };
            assert_eq!(ended.unwrap_err().kind(), ErrorKind::Busy);
            assert!(backend.overtaken(), "it says so");
            assert!(!backend.overtaken(), "once");
            overtaken += 1;
            let mut tx = backend.resume().unwrap();
            model.check(&needs, &tx.load(&needs).unwrap());
            tx.confirm().unwrap();
            continue;
        }
        model.check(&needs, &loaded);
        if random.one_in(8) {
            model.compare(&mut *tx, &mut random);
        }
        match random.below(8) {
            0 => drop(tx),
            1 => tx.confirm().unwrap(),
            _ => tx.commit(model.change(&mut random)).unwrap(),
        }
        assert!(!backend.overtaken());
    }
    println!("{answered} answered from memory, {overtaken} times overtaken");
    assert!(answered > 20 && overtaken > 2, "{answered} and {overtaken}");
}

#[test]
fn what_is_remembered_is_what_the_file_says() {
    for (seed, edges_at_once) in [(21, [0; 4]), (22, [0; 4]), (23, [0, 0, 0, 1])] {
        let folder = Folder::new();
        let open = || open_file(&folder.file(), FileOptions::default()).unwrap();
        run_remembering(&mut open(), &mut open(), seed, edges_at_once);
    }
}

#[test]
fn runs_of_the_log_survive_being_packed() {
    let mut random = Random(5);
    for _ in 0..200 {
        let mut revision = 0;
        let runs: Vec<LogRun> = (0..random.below(20))
            .map(|_| {
                revision += 1 + random.below(1 << 40);
                let subject =
                    random.pick(&[Subject::Chunk, Subject::ChunkGone, Subject::Job, Subject::JobGone]);
                let key = Key { job: random.below(1 << 53).cast_signed(), chunk: random.below(1 << 53) };
                LogRun { subject, revision, key, count: 1 + random.below(1 << 30) }
            })
            .collect();
        let bytes = crate::backends::sqlite::runs::pack(&runs);
        assert_eq!(crate::backends::sqlite::runs::unpack(&bytes), Some(runs));
    }
}
