//! Entries that are written together are the entries that are written one by one.

use std::collections::BTreeMap;

use redb::backends::InMemoryBackend;
use redb::{Database, ReadableTable as _};

use crate::backends::contract::Key;
use crate::backends::redb::apply;
use crate::backends::redb::edits::Edits;
use crate::backends::redb::tables::{self as t, edge_tag, tree_number};

/// Keys whose chunks are neighbours: of rows, of counts, and of who waits for a chunk, where there are others.
fn key_of(kind: usize, chunk: u64, rng: &mut fastrand::Rng) -> Vec<u8> {
    let key = Key { job: 7, chunk };
    match kind {
        0 => t::row(key).to_vec(),
        1 => t::of_chunk(edge_tag::UNMET, key).to_vec(),
        _ => t::of_pair(edge_tag::DEPENDENT, key, rng.u64(..3)).to_vec(),
    }
}

#[test]
fn what_is_written_together_is_what_is_written_one_by_one() {
    let mut rng = fastrand::Rng::with_seed(super::seed());
    let mut database = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
    let mut edits = Edits::default();
    let mut expected: BTreeMap<(u8, Vec<u8>), Vec<u8>> = BTreeMap::new();
    for _ in 0..400 {
        // Of a stretch every chunk, every third, or some; new ones, others, and some that go.
        let first = rng.u64(..2_000);
        let (step, kept) = ([1, 1, 3, 20][rng.usize(..4)], [100, 90, 30][rng.usize(..3)]);
        let (gone, kind) = ([0, 10, 100][rng.usize(..3)], rng.usize(..3));
        let tree = if kind == 0 { tree_number::CONTENTS } else { tree_number::EDGES };
        edits.begin(0);
        for chunk in (first..first + rng.u64(..400) * step).step_by(usize::try_from(step).unwrap()) {
            if rng.u64(..100) >= kept {
                continue;
            }
            let key = key_of(kind, chunk, &mut rng);
            if rng.u64(..100) >= gone {
                let value = vec![rng.u8(..); rng.usize(..40)];
                edits.put(tree, &key, &value);
                expected.insert((tree, key), value);
            } else {
                edits.remove(tree, &key);
                expected.remove(&(tree, key));
            }
        }
        let writing = database.begin_write().unwrap();
        apply::create(&writing).unwrap();
        apply::apply(&writing, &edits.entries(0)).unwrap();
        let mut stored = BTreeMap::new();
        for entry in writing.open_table(t::CONTENTS).unwrap().range::<&[u8; 16]>(..).unwrap() {
            let (key, value) = entry.unwrap();
            stored.insert((tree_number::CONTENTS, key.value().to_vec()), value.value().to_vec());
        }
        for entry in writing.open_table(t::EDGES).unwrap().range::<&[u8]>(..).unwrap() {
            let (key, value) = entry.unwrap();
            stored.insert((tree_number::EDGES, key.value().to_vec()), value.value().to_vec());
        }
        assert_eq!(stored, expected);
        writing.commit().unwrap();
    }
    assert!(database.check_integrity().unwrap());
}
