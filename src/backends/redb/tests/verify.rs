//! What verifying finds of entries that fit nothing, each whole by itself.

use redb::Database;

use super::crash::Disk;
use super::{Model, Stored};
use crate::backends::contract::*;
use crate::backends::redb::edits::Edits;
use crate::backends::redb::tables::{self as t, Dues, Lane, Line, edge_tag, index_tag, tree_number};
use crate::backends::redb::{RedbBackend, apply};
use crate::codec::{self, Encoder};
use crate::engine;
use crate::error::ErrorKind;
use crate::limits;
use crate::machine::{News, Told};
use crate::model::{JobSpec, JobStatus};

/// A closed store with something of everything, and what it holds.
fn original() -> (Vec<u8>, Model) {
    let mut rng = fastrand::Rng::with_seed(11);
    let disk = Disk::new();
    let mut store = disk.open().unwrap();
    let mut model = Model::new();
    let has_all = |model: &Model| {
        let has = |class| model.rows.values().any(|stored| stored.place.class == class);
        let has_dues = model.rows.values().any(|stored| stored.place.due.is_some());
        let has_met = dependency(model, |stored| stored.row.unmet == 0).is_some();
        let has_ahead = dependency(model, |stored| stored.row.unmet > 0 && !is_waiting(stored)).is_some();
        has(Class::Ready) && has(Class::Blocked) && has_dues && has_met && has_ahead
    };
    while !has_all(&model) {
        let delta = model.change(&mut rng);
        store.begin().unwrap().commit(delta).unwrap();
    }
    store.verify().unwrap();
    store.close().unwrap();
    let bytes = disk.bytes.lock().unwrap().clone();
    (bytes, model)
}

fn is_waiting(stored: &Stored) -> bool {
    stored.row.record.status == JobStatus::Pending
}

/// Such a chunk that has dependencies, and one of these.
fn dependency(model: &Model, is_wanted: impl Fn(&Stored) -> bool) -> Option<(Key, Key)> {
    let of = |&Edge { job, chunk, on }: &Edge| (Key { job, chunk }, Key { job, chunk: on });
    model.edges.keys().map(of).find(|(key, _)| is_wanted(&model.rows[key]))
}

/// What verifying says once these entries were written to the trees.
fn found(bytes: &[u8], write: impl FnOnce(&mut Edits, &mut Encoder)) -> String {
    let error = with(bytes, write).unwrap().verify().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    error.to_string()
}

#[track_caller]
fn says(found: &str, why: &str) {
    assert!(found.contains(why), "{found:?} does not say {why:?}");
}

const NO_JOB: Key = Key { job: 99, chunk: 5 };

#[test]
fn what_belongs_to_no_job_is_named() {
    let (bytes, model) = original();
    let (row, job) = (model.rows.values().next().unwrap(), model.jobs.values().next().unwrap());
    let counts = |edits: &mut Edits, encoder: &mut Encoder| {
        let job = JobRow { id: NO_JOB.job, ..job.clone() };
        edits.put(tree_number::INDEX, &t::of_job(index_tag::COUNTS, job.id), encoder.counts(&job));
    };
    says(&found(&bytes, counts), "their job is missing");
    let cursor = Cursor { key: NO_JOB, after: None, told: Told::of(News::Met) };
    let key = t::of_chunk(index_tag::CURSOR, NO_JOB);
    let put = |edits: &mut Edits, encoder: &mut Encoder| {
        edits.put(tree_number::INDEX, &key, encoder.cursor(&cursor));
    };
    says(&found(&bytes, put), "its job is missing");
    let line = Lane::Line(Line { class: Class::Ready, job: NO_JOB.job, rank: Rank(1) });
    let dues = Lane::Dues(Dues { at_ms: 9, job: NO_JOB.job, set_at_ms: 1 });
    for (lane, why) in [(line, "its job is missing"), (dues, "there is no such chunk")] {
        let run = codec::number(lane.seat(5), 5);
        let put = |edits: &mut Edits, _: &mut Encoder| {
            edits.put(tree_number::INDEX, lane.key(5).as_ref(), &run);
        };
        says(&found(&bytes, put), why);
    }
    let content = |edits: &mut Edits, encoder: &mut Encoder| {
        let content = encoder.content(NO_JOB, &row.row.content);
        edits.put(tree_number::CONTENTS, &t::row(NO_JOB), content);
    };
    says(&found(&bytes, content), "its job is missing");
}

#[test]
fn what_belongs_to_no_chunk_is_named() {
    let (bytes, model) = original();
    let row = &model.rows.values().next().unwrap().row;
    let key = Key { chunk: 5_000, ..row.key };
    let record = Record { updated_at_ms: 1, revision: 1, ..Record::fresh() };
    let put = |edits: &mut Edits, encoder: &mut Encoder| {
        edits.put(tree_number::RECORDS, &t::row(key), encoder.record(key, &record));
    };
    says(&found(&bytes, put), "its content is missing");
    let unmet = codec::number(t::unmet_seat(key), 1);
    let put = |edits: &mut Edits, _: &mut Encoder| {
        edits.put(tree_number::EDGES, &t::of_chunk(edge_tag::UNMET, key), &unmet);
    };
    says(&found(&bytes, put), "its chunk is missing");
    for (one, on) in [(key, row.key), (row.key, key)] {
        let met = codec::number(t::dependent_seat(one, on.chunk), 1);
        let put = |edits: &mut Edits, _: &mut Encoder| {
            edits.put(tree_number::EDGES, &t::of_pair(edge_tag::DEPENDENT, on, one.chunk), &met);
        };
        says(&found(&bytes, put), "is half there");
    }
}

#[test]
fn books_that_do_not_agree_with_the_chunks_are_named() {
    let (bytes, model) = original();
    let job = model.jobs.values().find(|job| job.edges > 0).unwrap();
    for change in [|job: &mut JobRow| job.counts.by_class[0] += 1, |job: &mut JobRow| job.edges += 1] {
        let mut job = job.clone();
        change(&mut job);
        let put = |edits: &mut Edits, encoder: &mut Encoder| {
            edits.put(tree_number::INDEX, &t::of_job(index_tag::COUNTS, job.id), encoder.counts(&job));
        };
        let why = if job.edges > model.jobs[&job.id].edges { "are counted" } else { "and should be" };
        says(&found(&bytes, put), why);
    }
    let (key, on) = dependency(&model, |stored| stored.row.unmet == 0).unwrap();
    let half = [
        (t::of_pair(edge_tag::DEPENDENT, on, key.chunk).to_vec(), "is half there"),
        (t::of_chunk(edge_tag::DEPENDENCIES, key).to_vec(), "are listed"),
    ];
    for (gone, why) in half {
        says(&found(&bytes, |edits, _| edits.remove(tree_number::EDGES, &gone)), why);
    }
    // Where it is done already its place does not say whether it waits.
    let (key, _) = dependency(&model, |stored| stored.row.unmet > 0 && !is_waiting(stored)).unwrap();
    for (count, why) in [(0, "it is 0 and should be"), (1_000, "it is 1000 and should be")] {
        let unmet = codec::number(t::unmet_seat(key), count);
        let put = |edits: &mut Edits, _: &mut Encoder| {
            let unmet = (count > 0).then_some(&unmet[..]);
            edits.set(tree_number::EDGES, &t::of_chunk(edge_tag::UNMET, key), unmet);
        };
        says(&found(&bytes, put), why);
    }
    let alone =
        model.rows.keys().find(|key| !model.edges.keys().any(|edge| edge.chunk == key.chunk)).unwrap();
    let unmet = codec::number(t::unmet_seat(*alone), 1);
    let put = |edits: &mut Edits, _: &mut Encoder| {
        edits.put(tree_number::EDGES, &t::of_chunk(edge_tag::UNMET, *alone), &unmet);
    };
    says(&found(&bytes, put), "depends on nothing");
    let stored = model.rows.values().find(|stored| !stored.row.record.is_fresh()).unwrap();
    let key = stored.row.key;
    let record = Record { revision: model.meta.revision + 1, ..Record::clone(&stored.row.record) };
    let put = |edits: &mut Edits, encoder: &mut Encoder| {
        edits.put(tree_number::RECORDS, &t::row(key), encoder.record(key, &record));
    };
    says(&found(&bytes, put), "its revision is above the store's");
    let run = LogRun { subject: Subject::Chunk, revision: model.meta.revision + 1, key, count: 1 };
    let put = |edits: &mut Edits, encoder: &mut Encoder| {
        edits.put(tree_number::LOG, &run.revision.to_be_bytes(), encoder.log(&[run]));
    };
    says(&found(&bytes, put), "is out of order");
}

#[test]
fn places_that_are_none_of_a_chunks_are_named() {
    let (bytes, model) = original();
    let stored = model.rows.values().find(|stored| stored.place.due.is_some()).unwrap();
    let (due, key) = (stored.place.due.unwrap(), stored.row.key);
    let lane = Lane::Dues(Dues { at_ms: due.at_ms(), job: key.job, set_at_ms: due.set_at_ms });
    let gone = |edits: &mut Edits, _: &mut Encoder| {
        edits.remove(tree_number::INDEX, lane.key(key.chunk).as_ref());
    };
    says(&found(&bytes, gone), "are in the index");
    let last = model.rows.values().rfind(|stored| stored.row.key.job == key.job).unwrap();
    let lane = Lane::Line(Line { class: last.place.class, job: key.job, rank: last.place.rank });
    let next = last.row.key.chunk + 1;
    let run = codec::number(lane.seat(next), next);
    let touching = |edits: &mut Edits, _: &mut Encoder| {
        edits.put(tree_number::INDEX, lane.key(next).as_ref(), &run);
    };
    says(&found(&bytes, touching), "it touches the run before it");
    let whole = codec::number(lane.seat(next + 1), u64::MAX);
    let endless = |edits: &mut Edits, _: &mut Encoder| {
        edits.put(tree_number::INDEX, lane.key(next + 1).as_ref(), &whole);
    };
    says(&found(&bytes, endless), "which none can be");
}

/// The store that has these entries besides, as it is read.
fn with(bytes: &[u8], write: impl FnOnce(&mut Edits, &mut Encoder)) -> crate::Result<RedbBackend> {
    let disk = Disk::holding(bytes.to_vec());
    let database = Database::builder().create_with_backend(disk.pages()).unwrap();
    let mut edits = Edits::default();
    edits.begin(0);
    write(&mut edits, &mut Encoder::default());
    let transaction = database.begin_write().unwrap();
    apply::apply(&transaction, &edits.entries(0)).unwrap();
    transaction.commit().unwrap();
    drop(database);
    disk.open()
}

/// That whoever asks is told of damage, and so is whoever verifies.
fn is_damage(mut store: RedbBackend, ask: impl FnOnce(&mut dyn Load) -> crate::Result<()>) {
    let found = ask(&mut *store.reader().snapshot().unwrap()).unwrap_err();
    assert_eq!(found.kind(), ErrorKind::Corrupt, "{found}");
    let found = store.verify().unwrap_err();
    assert_eq!(found.kind(), ErrorKind::Corrupt, "{found}");
}

#[test]
fn runs_that_come_to_more_than_there_is_a_number_for_are_named() {
    let (bytes, model) = original();
    let job = *model.jobs.keys().next().unwrap();
    let overlapping = |edits: &mut Edits, _: &mut Encoder| {
        for rank in 1_000..4_000 {
            let line = Line { class: Class::Failed, job, rank: Rank(rank) };
            let run = codec::number(line.seat(0), limits::ID_MAX);
            edits.put(tree_number::INDEX, &line.key(0), &run);
        }
    };
    says(&found(&bytes, overlapping), "and should be");
}

#[test]
fn a_job_whose_id_none_can_be_is_damage_and_ends_every_list() {
    let (bytes, model) = original();
    let last = *model.jobs.keys().next_back().unwrap();
    for id in [-1, i64::MIN, i64::MAX, limits::ID_MAX.cast_signed() + 1] {
        let store = with(&bytes, |edits, encoder| {
            let job = JobRow { phase: JobPhase::Importing, ..JobRow::empty(id, JobSpec::new(), 5) };
            edits.put(tree_number::INDEX, &t::of_job(index_tag::JOB, id), encoder.job(&job));
            edits.put(tree_number::INDEX, &t::of_job(index_tag::COUNTS, id), encoder.counts(&job));
        });
        is_damage(store.unwrap(), |load| engine::jobs_page(load, Some(last), 1).map(drop));
    }
}

#[test]
fn counts_of_more_chunks_than_there_can_be_are_damage() {
    let (bytes, model) = original();
    let job = model.jobs.values().next().unwrap();
    for by_class in [[u64::MAX; 7], [limits::ID_MAX + 1, 0, 0, 0, 0, 0, 0]] {
        let store = with(&bytes, |edits, encoder| {
            let job = JobRow { counts: Counts { by_class }, ..job.clone() };
            edits.put(tree_number::INDEX, &t::of_job(index_tag::COUNTS, job.id), encoder.counts(&job));
        });
        is_damage(store.unwrap(), |load| engine::jobs_page(load, None, 9).map(drop));
    }
}

#[test]
fn a_log_entry_of_revisions_or_chunks_that_none_can_be_is_damage() {
    let (bytes, model) = original();
    let key = *model.rows.keys().next().unwrap();
    let revision = model.meta.revision;
    let past = Key { chunk: limits::ID_MAX + 1, ..key };
    for (key, count) in [(key, u64::MAX), (key, limits::ID_MAX + 1), (past, 1)] {
        let run = LogRun { subject: Subject::Chunk, revision, key, count };
        let store = with(&bytes, |edits, encoder| {
            edits.put(tree_number::LOG, &revision.to_be_bytes(), encoder.log(&[run]));
        });
        is_damage(store.unwrap(), |load| engine::changes(load, revision - 1, 5).map(drop));
    }
}

#[test]
fn a_store_whose_numbers_none_can_be_is_not_opened() {
    let (bytes, model) = original();
    let above = limits::ID_MAX + 1;
    for meta in [
        Meta { revision: above, ..model.meta.clone() },
        Meta { revision: u64::MAX, ..model.meta.clone() },
        Meta { last_job: above.cast_signed(), ..model.meta.clone() },
        Meta { last_job: -1, ..model.meta.clone() },
    ] {
        let store = with(&bytes, |edits, encoder| {
            edits.put(tree_number::INDEX, &t::META, encoder.meta(&meta));
        });
        assert_eq!(store.err().unwrap().kind(), ErrorKind::Corrupt);
    }
}
