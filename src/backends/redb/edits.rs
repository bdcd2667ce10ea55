//! What a commit does to the trees: keys that get a value, or go.

use super::tables::{self as t, edge_tag, index_tag, tree_number};
use crate::codec;

/// A key of a tree, and what is to stand there: nothing where the key goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry<'e> {
    /// One of [`tree_number`].
    pub(super) tree: u8,
    pub(super) key: &'e [u8],
    pub(super) value: Option<&'e [u8]>,
}

/// Entries one behind the other, as the journal keeps them, with room for a head.
///
/// ```text
/// [tree 1][length of the key 1][length of the value 4, or 2^32 - 1: it goes] then the key, and the value
/// ```
#[derive(Debug, Default)]
pub(super) struct Edits(Vec<u8>);

const HEAD_BYTES: usize = 6;
/// About what one takes where there are many.
const ENTRY_BYTES: usize = 48;
/// More than this is not kept from one commit to the next.
const KEPT_BYTES_MAX: usize = 1 << 20;
/// The length of a value that goes.
const GONE: u32 = u32::MAX;

impl Edits {
    /// Begins anew, behind so many bytes.
    pub(super) fn begin(&mut self, room: usize) {
        self.0.clear();
        self.0.shrink_to(KEPT_BYTES_MAX);
        self.0.resize(room, 0);
    }

    pub(super) fn put(&mut self, tree: u8, key: &[u8], value: &[u8]) {
        // A value is a record of at most a few megabytes.
        let length = u32::try_from(value.len()).expect("no record has 4 GB");
        self.push(tree, key, length);
        self.0.extend_from_slice(value);
    }

    pub(super) fn remove(&mut self, tree: u8, key: &[u8]) {
        self.push(tree, key, GONE);
    }

    pub(super) fn set(&mut self, tree: u8, key: &[u8], value: Option<&[u8]>) {
        match value {
            Some(value) => self.put(tree, key, value),
            None => self.remove(tree, key),
        }
    }

    /// Up to which number of the journal the trees have it all.
    pub(super) fn put_journal(&mut self, number: u64) {
        self.put(tree_number::INDEX, &t::JOURNAL, &codec::number(t::journal_seat(), number));
    }

    fn push(&mut self, tree: u8, key: &[u8], length: u32) {
        let key_bytes = u8::try_from(key.len()).expect("no key is longer than 33 bytes");
        self.0.extend_from_slice(&[tree, key_bytes]);
        self.0.extend_from_slice(&length.to_le_bytes());
        self.0.extend_from_slice(key);
    }

    /// With the room in front.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// How many bytes there are, with the room in front.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The entries behind so much room, in the order in which they were made.
    pub(super) fn entries(&self, room: usize) -> Vec<Entry<'_>> {
        entries(&self.0[room..]).expect("they were put in whole")
    }
}

/// The entries that bytes hold; `None` where they hold anything else.
pub(super) fn entries(bytes: &[u8]) -> Option<Vec<Entry<'_>>> {
    let mut entries = Vec::with_capacity(bytes.len() / ENTRY_BYTES);
    let mut rest = bytes;
    while !rest.is_empty() {
        let (&[tree, key_bytes, ref length @ ..], after) = rest.split_first_chunk::<HEAD_BYTES>()?;
        let length = u32::from_le_bytes(*length);
        let (key, after) = after.split_at_checked(usize::from(key_bytes))?;
        let value_bytes = if length == GONE { 0 } else { usize::try_from(length).ok()? };
        let (value, after) = after.split_at_checked(value_bytes)?;
        if !is_key(tree, key) {
            return None;
        }
        entries.push(Entry { tree, key, value: (length != GONE).then_some(value) });
        rest = after;
    }
    Some(entries)
}

fn is_key(tree: u8, key: &[u8]) -> bool {
    let tag = key.first().copied().unwrap_or(0);
    let length = match tree {
        tree_number::CONTENTS | tree_number::RECORDS => 16,
        tree_number::EDGES => edge_key_bytes(tag),
        tree_number::INDEX => index_key_bytes(tag),
        tree_number::LOG => 8,
        _ => 0,
    };
    length > 0 && key.len() == length
}

/// How long a key of `edges` is; 0 where there is none of such a tag.
fn edge_key_bytes(tag: u8) -> usize {
    match tag {
        edge_tag::UNMET | edge_tag::DEPENDENCIES => 17,
        edge_tag::DEPENDENT => 25,
        _ => 0,
    }
}

/// The same of `index`.
fn index_key_bytes(tag: u8) -> usize {
    match tag {
        index_tag::JOB | index_tag::COUNTS => 9,
        index_tag::CURSOR => 17,
        index_tag::META | index_tag::JOURNAL => 1,
        index_tag::DUE => 33,
        index_tag::RUN => 22,
        _ => 0,
    }
}
