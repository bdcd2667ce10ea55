//! The rows of the table: who does the work, and what an acknowledgement means there.

mod ours;

use crate::Fault;
use crate::cell::Cell;
use crate::clock::Measured;
use crate::hand::redb::Redb;
use crate::hand::sqlite::{Sqlite, Synchronous};
use crate::hand::sqlx::Sqlx;
use crate::hand::{batched, direct, grouped_tasks, grouped_threads};
use crate::ours::BATCH;
use ours::{REDB, SQLITE};

/// Workers of a row that goes on for more than one.
pub(crate) const MANY: &[usize] = &[1, 8, 64, 256];
const ONE: &[usize] = &[1];
/// Where the feed's cost is measured.
const FEED: &[usize] = &[64];

const DISK: &str = "full";
const RELAXED: &str = "relaxed: a power cut takes the last commits back";

/// One row.
pub(crate) struct Row {
    pub(crate) id: &'static str,
    pub(crate) system: &'static str,
    pub(crate) durability: &'static str,
    pub(crate) workers: &'static [usize],
    pub(crate) run: Run,
}

/// Who runs a row.
#[derive(Clone, Copy)]
pub(crate) enum Run {
    /// This program.
    Here(fn(&Cell) -> Result<Measured, Fault>),
    /// A program of its own, because its dependencies and ours exclude each other.
    Peer(&'static str),
    /// This program, built with stores that have no change feed: what the row of this id costs without.
    WithoutFeed(&'static str),
    /// A server of its own, asked by its own client.
    Postgres,
}

const fn row(
    id: &'static str,
    system: &'static str,
    durability: &'static str,
    workers: &'static [usize],
    run: fn(&Cell) -> Result<Measured, Fault>,
) -> Row {
    Row { id, system, durability, workers, run: Run::Here(run) }
}

const fn without_feed(id: &'static str, system: &'static str, of: &'static str) -> Row {
    Row { id, system, durability: DISK, workers: FEED, run: Run::WithoutFeed(of) }
}

fn redb(cell: &Cell) -> Result<Redb, Fault> {
    Redb::filled(&cell.folder, cell.chunks)
}

fn full(cell: &Cell) -> Result<Sqlite, Fault> {
    Sqlite::filled(&cell.folder, cell.chunks, Synchronous::Full)
}

fn normal(cell: &Cell) -> Result<Sqlite, Fault> {
    Sqlite::filled(&cell.folder, cell.chunks, Synchronous::Normal)
}

/// Every row, those that are compared with each other side by side: neighbours are measured within seconds.
pub(crate) const ROWS: &[Row] = &[
    row("redb-direct", "raw redb, one operation per commit", DISK, MANY, |c| direct(redb(c)?, c)),
    row("magnetar-redb", "Magnetar redb, claim + complete, tokio tasks", DISK, MANY, |c| {
        ours::tasks(REDB, c)
    }),
    without_feed("magnetar-redb-without-feed", "the same, built without the change feed", "magnetar-redb"),
    row("magnetar-redb-block", "Magnetar redb, claim + complete, one thread in block_on", DISK, MANY, |c| {
        ours::blocking(REDB, c)
    }),
    row("redb-group-threads", "raw redb, group commit by hand, threads", DISK, MANY, |c| {
        grouped_threads(redb(c)?, c)
    }),
    row("redb-group-tasks", "raw redb, group commit by hand, tokio tasks", DISK, MANY, |c| {
        grouped_tasks(redb(c)?, c)
    }),
    row("magnetar-redb-next", "Magnetar redb, complete_and_claim, tokio tasks", DISK, MANY, |c| {
        ours::next_tasks(REDB, c)
    }),
    row("magnetar-redb-next-block", "Magnetar redb, complete_and_claim, in block_on", DISK, ONE, |c| {
        ours::next_blocking(REDB, c)
    }),
    row("magnetar-redb-worker", "Magnetar redb, Worker, tokio", DISK, MANY, |c| ours::worker(REDB, c)),
    row("sqlite-full-direct", "SQLite FULL by hand, one operation per commit", DISK, MANY, |c| {
        direct(full(c)?, c)
    }),
    row("sqlite-full-sqlx", "the same through sqlx, one caller", DISK, ONE, |c| {
        direct(Sqlx::filled(&c.folder, c.chunks)?, c)
    }),
    row("magnetar-sqlite", "Magnetar SQLite, claim + complete, tokio tasks", DISK, MANY, |c| {
        ours::tasks(SQLITE, c)
    }),
    without_feed(
        "magnetar-sqlite-without-feed",
        "the same, built without the change feed",
        "magnetar-sqlite",
    ),
    row(
        "magnetar-sqlite-block",
        "Magnetar SQLite, claim + complete, one thread in block_on",
        DISK,
        MANY,
        |c| ours::blocking(SQLITE, c),
    ),
    row("sqlite-full-group-threads", "SQLite FULL by hand, group commit, threads", DISK, MANY, |c| {
        grouped_threads(full(c)?, c)
    }),
    row("sqlite-full-group-tasks", "SQLite FULL by hand, group commit, tokio tasks", DISK, MANY, |c| {
        grouped_tasks(full(c)?, c)
    }),
    row("magnetar-sqlite-next", "Magnetar SQLite, complete_and_claim, tokio tasks", DISK, MANY, |c| {
        ours::next_tasks(SQLITE, c)
    }),
    row("magnetar-sqlite-next-block", "Magnetar SQLite, complete_and_claim, in block_on", DISK, ONE, |c| {
        ours::next_blocking(SQLITE, c)
    }),
    row("magnetar-sqlite-worker", "Magnetar SQLite, Worker, tokio", DISK, MANY, |c| ours::worker(SQLITE, c)),
    row("sqlite-normal-direct", "SQLite NORMAL by hand, one operation per commit", RELAXED, MANY, |c| {
        direct(normal(c)?, c)
    }),
    row("sqlite-normal-group-threads", "SQLite NORMAL by hand, group commit, threads", RELAXED, MANY, |c| {
        grouped_threads(normal(c)?, c)
    }),
    row(
        "sqlite-normal-group-tasks",
        "SQLite NORMAL by hand, group commit, tokio tasks",
        RELAXED,
        MANY,
        |c| grouped_tasks(normal(c)?, c),
    ),
    row("magnetar-sqlite-relaxed", "Magnetar SQLite, claim + complete, tokio tasks", RELAXED, MANY, |c| {
        ours::tasks(SQLITE.relaxed(), c)
    }),
    row(
        "magnetar-sqlite-relaxed-block",
        "Magnetar SQLite, claim + complete, one thread in block_on",
        RELAXED,
        MANY,
        |c| ours::blocking(SQLITE.relaxed(), c),
    ),
    row("magnetar-redb-relaxed", "Magnetar redb, claim + complete, tokio tasks", RELAXED, MANY, |c| {
        ours::tasks(REDB.relaxed(), c)
    }),
    row(
        "magnetar-redb-relaxed-block",
        "Magnetar redb, claim + complete, one thread in block_on",
        RELAXED,
        MANY,
        |c| ours::blocking(REDB.relaxed(), c),
    ),
    row("redb-batch", "raw redb, 256 operations per commit, one thread: the ceiling", DISK, ONE, |c| {
        batched(redb(c)?, c, BATCH)
    }),
    row("magnetar-redb-batch", "Magnetar redb, batches of 256", DISK, ONE, |c| ours::batches(REDB, c, BATCH)),
    row("sqlite-full-batch", "SQLite FULL by hand, 256 operations per commit, one thread", DISK, ONE, |c| {
        batched(full(c)?, c, BATCH)
    }),
    row("magnetar-sqlite-batch", "Magnetar SQLite, batches of 256", DISK, ONE, |c| {
        ours::batches(SQLITE, c, BATCH)
    }),
    Row {
        id: "postgres",
        system: "PostgreSQL, FOR UPDATE SKIP LOCKED, pgbench",
        durability: DISK,
        workers: MANY,
        run: Run::Postgres,
    },
    Row {
        id: "effectum",
        system: "effectum 0.7",
        durability: "relaxed: rollback journal, synchronous=NORMAL",
        workers: MANY,
        run: Run::Peer("effectum"),
    },
    Row {
        id: "apalis-sqlite",
        system: "apalis-sqlite 1.0",
        durability: "relaxed: WAL, synchronous=OFF on the connection that was set up",
        workers: MANY,
        run: Run::Peer("apalis"),
    },
];

pub(crate) fn find(id: &str) -> Result<&'static Row, Fault> {
    ROWS.iter().find(|row| row.id == id).ok_or_else(|| format!("there is no row {id:?}").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::empty;

    #[test]
    fn every_row_of_this_program_does_whole_cycles_and_stops_when_nothing_is_left() {
        const CHUNKS: u64 = 300;
        let folder = std::env::temp_dir().join(format!("magnetar-rows-{}", std::process::id()));
        for row in ROWS {
            let Run::Here(run) = row.run else { continue };
            for workers in row.workers.iter().copied().filter(|workers| *workers <= 8) {
                let folder = empty(&folder).expect("a folder");
                let cell = Cell { workers, seconds: 60.0, chunks: CHUNKS, folder };
                let measured = run(&cell).expect("the row works");
                assert_eq!(measured.cycles, CHUNKS, "{} at {workers}", row.id);
            }
        }
        std::fs::remove_dir_all(folder).expect("the folder goes");
    }
}
