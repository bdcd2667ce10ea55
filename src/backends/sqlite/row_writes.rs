//! The statements that change rows, for one row and for lists of them.
//!
//! - Values are bare `?`, in sequence: naming thousands of them takes `SQLite` longer than writing them.
//! - `OR ROLLBACK`: no statement needs a way back of its own, so `SQLite` keeps no journal of it.

/// A statement over rows of one table. The values of a row are those of `set` and of `key`, in this order; rows whose key
/// is NULL pad a list.
#[derive(Debug)]
pub(super) struct Write {
    verb: Verb,
    table: &'static str,
    /// In groups, which several statements share.
    set: &'static [&'static [&'static str]],
    key: &'static [&'static str],
    /// Whether each row that it names must be there: what is missing then was deleted from outside.
    must_hit: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    /// Rows that are not there yet.
    Insert,
    /// Rows that may be there.
    Put,
    /// Rows that are there.
    Update,
    /// The same, of a table that gives every other column a default. A list of values that an INSERT reads is gone
    /// through as it comes, where an UPDATE keeps it in a table of its own first, and what comes of it in another.
    ///
    /// A row that is not there would be made. None is: what a commit changes it has read, in the same transaction or, by
    /// the data version, since the last foreign write.
    Renew,
    Delete,
    /// See [`JOBS_CLAIMABLE`].
    SetClaimable,
}

impl Write {
    const fn new(
        verb: Verb,
        table: &'static str,
        set: &'static [&'static [&'static str]],
        key: &'static [&'static str],
    ) -> Self {
        Write { verb, table, set, key, must_hit: matches!(verb, Verb::Update | Verb::Renew) }
    }

    const fn delete(table: &'static str, key: &'static [&'static str]) -> Self {
        Write::new(Verb::Delete, table, &[], key)
    }

    /// Deletes rows of which every one must be there.
    const fn delete_all(table: &'static str, key: &'static [&'static str]) -> Self {
        Write { must_hit: true, ..Write::delete(table, key) }
    }

    /// The columns that a row gives a value for.
    fn set(&self) -> impl Iterator<Item = &'static str> {
        self.set.iter().copied().flatten().copied()
    }

    /// Values of a row.
    pub(super) fn columns(&self) -> usize {
        self.set().count() + self.key.len()
    }

    pub(super) fn must_hit(&self) -> bool {
        self.must_hit
    }

    /// Whether a list that is padded has a text of its own.
    pub(super) fn minds_padding(&self) -> bool {
        matches!(self.verb, Verb::Insert | Verb::Put | Verb::Renew)
    }

    /// The text for a list of so many rows. One row needs no list, and what a list needs, a table of its own in memory,
    /// costs more than changing the row.
    pub(super) fn text(&self, rows: usize, is_padded: bool) -> String {
        let table = self.table;
        let key = self.key_matches(rows).join(" AND ");
        match self.verb {
            Verb::Insert => self.insert(rows, is_padded, ""),
            Verb::Renew if rows == 1 => self.update(rows, &key),
            Verb::Update => self.update(rows, &key),
            Verb::Put | Verb::Renew => {
                let set: Vec<_> = self.set().map(|name| format!("{name}=excluded.{name}")).collect();
                let conflict = format!(" ON CONFLICT({}) DO UPDATE SET ", self.key.join(","));
                self.insert(rows, is_padded, &(conflict + &set.join(",")))
            }
            Verb::Delete if rows == 1 => format!("DELETE FROM {table} WHERE {key};"),
            Verb::Delete => {
                format!("DELETE FROM {table} WHERE ({}) IN ({});", self.key.join(","), self.values(rows))
            }
            Verb::SetClaimable => format!(
                "UPDATE OR ROLLBACK {table} SET claimable=(ready>0){} WHERE {key} AND claimable<>(ready>0);",
                self.from(rows)
            ),
        }
    }

    fn update(&self, rows: usize, key: &str) -> String {
        let set = self.set().zip(0..).map(|(name, at)| format!("{name}={}", value(rows, at)));
        let set: Vec<_> = set.collect();
        format!("UPDATE OR ROLLBACK {} SET {}{} WHERE {key};", self.table, set.join(","), self.from(rows))
    }

    fn insert(&self, rows: usize, is_padded: bool, conflict: &str) -> String {
        let names: Vec<&str> = self.set().chain(self.key.iter().copied()).collect();
        let (names, values) = (names.join(","), self.values(rows));
        let rows = if is_padded {
            format!("SELECT * FROM ({values}) WHERE column{} IS NOT NULL", self.columns())
        } else {
            values
        };
        format!("INSERT OR ROLLBACK INTO {}({names}) {rows}{conflict};", self.table)
    }

    fn values(&self, rows: usize) -> String {
        let row = format!("({})", vec!["?"; self.columns()].join(","));
        format!("VALUES{}", vec![row; rows].join(","))
    }

    /// The list that an UPDATE takes its values from.
    fn from(&self, rows: usize) -> String {
        if rows == 1 { String::new() } else { format!(" FROM ({}) v", self.values(rows)) }
    }

    fn key_matches(&self, rows: usize) -> Vec<String> {
        let key = self.key.iter().zip(self.set().count()..);
        key.map(|(name, at)| format!("{}.{name}={}", self.table, value(rows, at))).collect()
    }
}

/// The value of a column, counted from 0, of the row or of the list.
fn value(rows: usize, column: usize) -> String {
    if rows == 1 { "?".into() } else { format!("v.column{}", column + 1) }
}

const KEY: &[&str] = &["job", "chunk"];

const CONTENT: &[&str] = &[
    "checksum",
    "payload",
    "priority",
    "attempts_max",
    "losses_max",
    "on_dependency_failure",
    "created_at_ms",
    "updated_at_ms",
    "revision",
    "content_sum",
];

pub(super) const CONTENTS_INSERT: Write = Write::new(Verb::Insert, "contents", &[CONTENT], KEY);
pub(super) const CONTENTS_UPDATE: Write = Write::new(Verb::Update, "contents", &[CONTENT], KEY);
pub(super) const CONTENTS_DELETE: Write = Write::delete_all("contents", KEY);

/// Where a row stands in the indexes.
const PLACE: &[&str] = &["class", "rank"];
const UNMET: &[&str] = &["unmet", "unmet_sum"];
const RECORD: &[&str] = &[
    "attempts",
    "losses",
    "fence",
    "settled",
    "owner",
    "claim_seq",
    "lease_set_at_ms",
    "lease_ms",
    "not_before_set_at_ms",
    "not_before_ms",
    "cause",
    "updated_at_ms",
    "revision",
    "observed",
    "error",
    "output",
    "record_sum",
];

/// A row to which nothing has happened: its record is the columns' defaults.
pub(super) const STATES_INSERT: Write = Write::new(Verb::Insert, "states", &[PLACE, UNMET], KEY);

/// Another place and another record.
pub(super) const STATES_UPDATE: Write = Write::new(Verb::Renew, "states", &[PLACE, RECORD], KEY);
/// The same, and another count of unmet dependencies.
pub(super) const STATES_UPDATE_UNMET: Write = Write::new(Verb::Renew, "states", &[PLACE, UNMET, RECORD], KEY);

/// Another place only.
pub(super) const STATES_MOVE: Write = Write::new(Verb::Renew, "states", &[PLACE], KEY);
/// The same, and another count of unmet dependencies.
pub(super) const STATES_MOVE_UNMET: Write = Write::new(Verb::Renew, "states", &[PLACE, UNMET], KEY);

pub(super) const STATES_DELETE: Write = Write::delete_all("states", KEY);

const EDGE_KEY: &[&str] = &["job", "depends_on", "chunk"];

pub(super) const EDGES_PUT: Write = Write::new(Verb::Put, "dependencies", &[&["met", "edge_sum"]], EDGE_KEY);
pub(super) const EDGES_DELETE: Write = Write::delete("dependencies", EDGE_KEY);

const SPEC: &[&str] = &[
    "name",
    "attempts_max",
    "losses_max",
    "lease_ms",
    "backoff_initial_ms",
    "backoff_max_ms",
    "on_dependency_failure",
    "phase",
    "owner",
    "seq",
    "created_at_ms",
    "revision",
    "spec_sum",
];
const COUNTS: &[&str] = &[
    "edges",
    "edges_upward",
    "ready",
    "blocked",
    "delayed",
    "processing",
    "done",
    "failed",
    "cancelled",
    "counts_sum",
];

pub(super) const JOBS_PUT: Write = Write::new(Verb::Put, "jobs", &[SPEC, COUNTS], &["job"]);
pub(super) const JOBS_COUNT: Write = Write::new(Verb::Update, "jobs", &[COUNTS], &["job"]);

/// Writes only where a job's last ready row went or its first one came.
pub(super) const JOBS_CLAIMABLE: Write = Write::new(Verb::SetClaimable, "jobs", &[], &["job"]);

pub(super) const JOBS_DELETE: Write = Write::delete("jobs", &["job"]);

pub(super) const CURSORS_PUT: Write =
    Write::new(Verb::Put, "cursors", &[&["after_chunk", "news", "cursor_sum"]], KEY);
pub(super) const CURSORS_DELETE: Write = Write::delete("cursors", KEY);
