//! Entries that are written together are the entries that are written one by one.

use std::collections::BTreeMap;

use redb::backends::InMemoryBackend;
use redb::{Database, ReadableTable as _, TableDefinition};

use crate::backends::contract::Key;
use crate::backends::redb::journal::Frame;
use crate::backends::redb::noted::Noted;
use crate::backends::redb::ordered::{self, Entry, Gap};
use crate::backends::redb::tables as t;
use crate::codec::{Encoder, Seat, Table};

const TREE: TableDefinition<'static, &'static [u8; 16], &'static [u8]> = TableDefinition::new("tree");

/// A chunk and the number that is to stand there.
struct Numbered(u64, Option<u64>, Gap);

fn key_of(chunk: u64) -> Key {
    Key { job: 7, chunk }
}

fn seat_of(chunk: u64) -> Seat {
    Seat::of(Table::Records, key_of(chunk))
}

impl Entry for Numbered {
    type Bytes = [u8; 16];

    fn key(&self) -> [u8; 16] {
        t::row(key_of(self.0))
    }

    fn value<'e>(&self, encoder: &'e mut Encoder) -> Option<&'e [u8]> {
        self.1.map(|number| encoder.number(seat_of(self.0), number))
    }

    fn gap(&self, next: &Self) -> Gap {
        match Gap::between(key_of(self.0), key_of(next.0)) {
            Gap::Nothing => self.2,
            gap => gap,
        }
    }
}

#[test]
fn what_is_written_together_is_what_is_written_one_by_one() {
    let mut rng = fastrand::Rng::with_seed(super::seed());
    let mut database = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
    let mut encoder = Encoder::default();
    let mut expected = BTreeMap::new();
    for _ in 0..300 {
        // Of a stretch every chunk, every third, or some; new ones, others, and some that go.
        let first = rng.u64(..2_000);
        let (step, kept) = ([1, 1, 3, 20][rng.usize(..4)], [100, 90, 30][rng.usize(..3)]);
        let (gone, gap) = ([0, 10, 100][rng.usize(..3)], [Gap::Nothing, Gap::Narrow][rng.usize(..2)]);
        let entries: Vec<Numbered> = (first..first + rng.u64(..400) * step)
            .step_by(usize::try_from(step).unwrap())
            .filter_map(|chunk| {
                let number = (rng.u64(..100) >= gone).then(|| rng.u64(..));
                (rng.u64(..100) < kept).then_some(Numbered(chunk, number, gap))
            })
            .collect();
        let writing = database.begin_write().unwrap();
        let frame = Frame::default();
        let mut tree = Noted::open(&writing, TREE, 1, &frame).unwrap();
        ordered::write(&mut tree, &entries, &mut encoder).unwrap();
        for Numbered(chunk, number, _) in entries {
            match number {
                Some(number) => drop(expected.insert(chunk, number)),
                None => drop(expected.remove(&chunk)),
            }
        }
        let stored: Vec<(u64, u64)> = tree
            .tree
            .range::<&[u8; 16]>(..)
            .unwrap()
            .map(|entry| {
                let (key, value) = entry.unwrap();
                let chunk = t::read_row(*key.value()).chunk;
                (chunk, crate::codec::read_number(seat_of(chunk), value.value()).unwrap())
            })
            .collect();
        assert!(stored.iter().copied().eq(expected.iter().map(|(&chunk, &number)| (chunk, number))));
        drop(tree);
        writing.commit().unwrap();
    }
    assert!(database.check_integrity().unwrap());
}
