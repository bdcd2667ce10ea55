//! redb by hand: one tree of rows, one of ready chunks.

use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, Table, TableDefinition};

use super::{Answer, Ask, Engine, Held};
use crate::Fault;
use crate::cell::{JOB, checksum};

type Key = [u8; 16];

const ROWS: TableDefinition<'_, &Key, &[u8]> = TableDefinition::new("chunks");
const READY: TableDefinition<'_, &Key, ()> = TableDefinition::new("ready");

/// Where the parts of a row stand: status 1, attempts 4, fence 8, owner 16, lease 8, created 8, updated 8, checksum.
const FENCE: std::ops::Range<usize> = 5..13;
const OWNER: std::ops::Range<usize> = 13..29;
const LEASE: std::ops::Range<usize> = 29..37;
const UPDATED: std::ops::Range<usize> = 45..53;
const CHECKSUM: usize = 53;
const ROW: usize = CHECKSUM + 32;

const READY_STATUS: u8 = 0;
const HELD: u8 = 1;
const DONE: u8 = 2;

pub(crate) struct Redb {
    database: Database,
    next_fence: u64,
}

fn key(chunk: u64) -> Key {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&u64::from(JOB).to_be_bytes());
    key[8..].copy_from_slice(&chunk.to_be_bytes());
    key
}

fn chunk_of(key: Key) -> u64 {
    u64::from_be_bytes(std::array::from_fn(|at| key[8 + at]))
}

impl Redb {
    pub(crate) fn open(folder: &Path) -> Result<Self, Fault> {
        Ok(Redb { database: Database::create(folder.join("hand.redb"))?, next_fence: 1 })
    }

    /// Chunks from 0 on, all ready, in one transaction.
    pub(crate) fn fill(&mut self, chunks: u64) -> Result<(), Fault> {
        let transaction = self.database.begin_write()?;
        {
            let mut rows = transaction.open_table(ROWS)?;
            let mut ready = transaction.open_table(READY)?;
            for chunk in 0..chunks {
                let key = key(chunk);
                let mut row = [READY_STATUS; ROW];
                row[CHECKSUM..].copy_from_slice(checksum(chunk).as_bytes());
                rows.insert(&key, &row[..])?;
                ready.insert(&key, ())?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    pub(crate) fn filled(folder: &Path, chunks: u64) -> Result<Self, Fault> {
        let mut engine = Redb::open(folder)?;
        engine.fill(chunks)?;
        Ok(engine)
    }

    /// Every ready chunk's row, in the order of ids: how many, and the sum of their bytes.
    pub(crate) fn list(&self) -> Result<(u64, u64), Fault> {
        let transaction = self.database.begin_read()?;
        let (rows, ready) = (transaction.open_table(ROWS)?, transaction.open_table(READY)?);
        let mut found = Vec::with_capacity(usize::try_from(ready.len()?)?);
        for entry in ready.iter()? {
            let key = *entry?.0.value();
            let row = rows.get(&key)?.ok_or("a ready chunk has no row")?;
            found.push((chunk_of(key), row.value().to_vec()));
        }
        Ok((found.len() as u64, found.iter().map(|(_, row)| row.len() as u64).sum()))
    }
}

impl Engine for Redb {
    fn commit(&mut self, asks: &[Ask], answers: &mut Vec<Answer>) -> Result<(), Fault> {
        let transaction = self.database.begin_write()?;
        {
            let mut rows = transaction.open_table(ROWS)?;
            let mut ready = transaction.open_table(READY)?;
            for ask in asks {
                answers.push(match *ask {
                    Ask::Claim => Answer::Claimed(claim(&mut rows, &mut ready, &mut self.next_fence)?),
                    Ask::Complete(held) => Answer::Completed(complete(&mut rows, held)?),
                });
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

fn row_of(rows: &Table<'_, &Key, &[u8]>, key: &Key) -> Result<[u8; ROW], Fault> {
    let row = rows.get(key)?.ok_or("the row has gone")?;
    Ok(row.value().try_into()?)
}

fn claim(
    rows: &mut Table<'_, &Key, &[u8]>,
    ready: &mut Table<'_, &Key, ()>,
    next_fence: &mut u64,
) -> Result<Option<Held>, Fault> {
    let Some(key) = ready.pop_first()?.map(|(key, _)| *key.value()) else { return Ok(None) };
    let mut row = row_of(rows, &key)?;
    let fence = *next_fence;
    *next_fence += 1;
    row[0] = HELD;
    row[FENCE].copy_from_slice(&fence.to_le_bytes());
    row[OWNER].fill(7);
    row[LEASE].copy_from_slice(&60_000_u64.to_le_bytes());
    row[UPDATED].copy_from_slice(&fence.to_le_bytes());
    rows.insert(&key, &row[..])?;
    Ok(Some(Held { chunk: chunk_of(key), fence }))
}

fn complete(rows: &mut Table<'_, &Key, &[u8]>, held: Held) -> Result<bool, Fault> {
    let key = key(held.chunk);
    let mut row = row_of(rows, &key)?;
    if row[0] != HELD || row[FENCE] != held.fence.to_le_bytes() {
        return Ok(false);
    }
    row[0] = DONE;
    row[OWNER].fill(0);
    row[LEASE].fill(0);
    row[UPDATED].copy_from_slice(&held.fence.to_le_bytes());
    rows.insert(&key, &row[..])?;
    Ok(true)
}
