//! Raw insertion of what an import left: the same keys and values into the same engine, without whoever made them.

use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableHandle};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use crate::Fault;
use crate::clock::timed;
use crate::ours::Engine;

/// Rows of one commit: as many as a slice of an import.
const SLICE: usize = magnetar::limits::IMPORT_ROWS_PER_COMMIT_MAX;

/// Inserts a closed store's trees into a new file: the seconds, without those for reading.
pub(super) fn insert_again(engine: Engine, folder: &Path, name: &str) -> Result<f64, Fault> {
    let (from, to) = (engine.path(folder, name), engine.path(folder, "again"));
    let seconds = match engine {
        Engine::Redb => redb_trees(&from, &to)?,
        Engine::Sqlite => sqlite_tables(&from, &to)?,
    };
    std::fs::remove_file(to)?;
    Ok(seconds)
}

/// The rest of a tree whose keys have this type, in slices; `None` where they have another.
macro_rules! tree {
    ($key:ty, $own:expr, $name:expr, $from:expr, $to:expr) => {{
        let definition: TableDefinition<'_, $key, &[u8]> = TableDefinition::new($name);
        match $from.begin_read()?.open_table(definition) {
            Err(redb::TableError::TableTypeMismatch { .. }) => None,
            Err(other) => return Err(other.into()),
            Ok(table) => {
                let mut seconds = 0.0;
                let mut rows = table.iter()?;
                loop {
                    let slice = rows
                        .by_ref()
                        .take(SLICE)
                        .map(|row| row.map(|(key, value)| ($own(key.value()), value.value().to_vec())))
                        .collect::<Result<Vec<_>, _>>()?;
                    if slice.is_empty() {
                        break Some(seconds);
                    }
                    seconds += timed(|| {
                        let transaction = $to.begin_write()?;
                        {
                            let mut table = transaction.open_table(definition)?;
                            for (key, value) in &slice {
                                let key: $key = key;
                                table.insert(key, &value[..])?;
                            }
                        }
                        transaction.commit()?;
                        Ok::<_, Fault>(())
                    })?
                    .1;
                }
            }
        }
    }};
}

/// Where redb's own file begins in one of ours; its mark and its journal are in front.
const PAGES_AT: u64 = 256 << 10;

fn redb_trees(from: &Path, to: &Path) -> Result<f64, Fault> {
    let alone = from.with_extension("pages");
    let mut ours = File::open(from)?;
    ours.seek(SeekFrom::Start(PAGES_AT))?;
    std::io::copy(&mut ours, &mut File::create(&alone)?)?;
    let (from, to) = (Database::open(&alone)?, Database::create(to)?);
    std::fs::remove_file(alone)?;
    let transaction = from.begin_read()?;
    let names: Vec<String> = transaction.list_tables()?.map(|table| table.name().to_owned()).collect();
    let mut sum = 0.0;
    for name in &names {
        let wide = tree!(&[u8; 16], |key: &[u8; 16]| *key, name, from, to);
        let any = |wide: Option<f64>| -> Result<Option<f64>, Fault> {
            Ok(match wide {
                None => tree!(&[u8], |key: &[u8]| key.to_vec(), name, from, to),
                done => done,
            })
        };
        let seconds = match any(wide)? {
            None => tree!(&[u8; 8], |key: &[u8; 8]| *key, name, from, to),
            done => done,
        };
        sum += seconds.ok_or_else(|| format!("the tree {name} has keys of a type unknown here"))?;
    }
    Ok(sum)
}

fn sqlite_tables(from: &Path, to: &Path) -> Result<f64, Fault> {
    let (from, mut to) = (Connection::open(from)?, Connection::open(to)?);
    to.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    to.pragma_update(None, "synchronous", "FULL")?;
    let mut schema = from.prepare(
        "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND type IN ('table', 'index')",
    )?;
    let schema = schema
        .query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    for (_, _, sql) in &schema {
        to.execute_batch(sql)?;
    }
    let mut sum = 0.0;
    for (_, table, _) in schema.iter().filter(|(kind, ..)| kind == "table") {
        let mut select = from.prepare(&format!("SELECT * FROM {table}"))?;
        let columns = select.column_count();
        let marks = vec!["?"; columns].join(", ");
        let insert = format!("INSERT INTO {table} VALUES ({marks})");
        let mut rows = select.query([])?;
        loop {
            let mut slice: Vec<Vec<Value>> = Vec::new();
            while slice.len() < SLICE
                && let Some(row) = rows.next()?
            {
                slice.push((0..columns).map(|at| row.get(at)).collect::<Result<_, _>>()?);
            }
            if slice.is_empty() {
                break;
            }
            sum += timed(|| {
                let transaction = to.transaction()?;
                {
                    let mut insert = transaction.prepare_cached(&insert)?;
                    for row in &slice {
                        insert.execute(params_from_iter(row))?;
                    }
                }
                transaction.commit()
            })?
            .1;
        }
    }
    Ok(sum)
}
