//! From a set of changes to statements.
//!
//! Rows of one kind are one statement over a list of values; the lengths of lists are powers of two, padded with
//! NULLs, so that the texts are few and stay prepared. A full list needs no look at what is padding. The usual change is one call with its COMMIT; a larger one goes
//! in calls of [`VALUES_PER_CALL`] values, inside the same transaction.

use crate::backends::contract::{
    Class, Content, Delta, Edge, EdgeChange, Hold, JobChange, JobRow, Key, LogRun, Place, Record, RowChange,
};
use crate::backends::sqlite::block::Wait;
use crate::backends::sqlite::connection::{Args, Connection, Failure};
use crate::backends::sqlite::row_writes::Write;
use crate::backends::sqlite::{columns, errors, row_writes, runs, statements, sums};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Json;

/// The longest list of one statement, in rows.
const ROWS_PER_STATEMENT: usize = 256;

/// A call is sent once it has so many values.
const VALUES_PER_CALL: usize = 8_192;

/// Changes of up to so many rows are waited for with a spin.
const ROWS_SPUN_FOR: usize = 1;

/// The statements that write many rows, in the order in which a commit runs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Many {
    ContentsInsert,
    ContentsUpdate,
    ContentsDelete,
    StatesInsert,
    StatesUpdate,
    StatesUpdateUnmet,
    StatesMove,
    StatesMoveUnmet,
    StatesDelete,
    EdgesPut,
    EdgesDelete,
    JobsPut,
    JobsCount,
    JobsClaimable,
    JobsDelete,
    CursorsPut,
    CursorsDelete,
}

impl Many {
    const ALL: [Many; 17] = [
        Many::ContentsInsert,
        Many::ContentsUpdate,
        Many::ContentsDelete,
        Many::StatesInsert,
        Many::StatesUpdate,
        Many::StatesUpdateUnmet,
        Many::StatesMove,
        Many::StatesMoveUnmet,
        Many::StatesDelete,
        Many::EdgesPut,
        Many::EdgesDelete,
        Many::JobsPut,
        Many::JobsCount,
        Many::JobsClaimable,
        Many::JobsDelete,
        Many::CursorsPut,
        Many::CursorsDelete,
    ];

    fn sql(self) -> &'static Write {
        match self {
            Many::ContentsInsert => &row_writes::CONTENTS_INSERT,
            Many::ContentsUpdate => &row_writes::CONTENTS_UPDATE,
            Many::ContentsDelete => &row_writes::CONTENTS_DELETE,
            Many::StatesInsert => &row_writes::STATES_INSERT,
            Many::StatesUpdate => &row_writes::STATES_UPDATE,
            Many::StatesUpdateUnmet => &row_writes::STATES_UPDATE_UNMET,
            Many::StatesMove => &row_writes::STATES_MOVE,
            Many::StatesMoveUnmet => &row_writes::STATES_MOVE_UNMET,
            Many::StatesDelete => &row_writes::STATES_DELETE,
            Many::EdgesPut => &row_writes::EDGES_PUT,
            Many::EdgesDelete => &row_writes::EDGES_DELETE,
            Many::JobsPut => &row_writes::JOBS_PUT,
            Many::JobsCount => &row_writes::JOBS_COUNT,
            Many::JobsClaimable => &row_writes::JOBS_CLAIMABLE,
            Many::JobsDelete => &row_writes::JOBS_DELETE,
            Many::CursorsPut => &row_writes::CURSORS_PUT,
            Many::CursorsDelete => &row_writes::CURSORS_DELETE,
        }
    }
}

/// What a statement of the running call is to be checked for.
enum Check {
    Nothing,
    /// So many rows must have changed.
    Changed(u64),
}

/// A call under construction.
#[derive(Default)]
struct Call {
    /// Names the text: the statements and the lengths of their lists, a byte each.
    shape: Vec<u8>,
    args: Args,
    values: usize,
    checks: Vec<Check>,
}

/// One step of the shape that is not a list.
const SHAPE_BEGIN: u8 = 0xf0;
const SHAPE_META: u8 = 0xf1;
const SHAPE_LOG: u8 = 0xf2;
const SHAPE_PRUNE: u8 = 0xf3;
const SHAPE_COMMIT: u8 = 0xf4;
const SHAPE_GUARD: u8 = 0xf5;

/// In the length of a list: some of its rows are padding.
const PADDED: u8 = 0x80;

impl Call {
    fn single(&mut self, shape: u8) {
        self.shape.push(shape);
        self.checks.push(Check::Nothing);
    }

    fn compose(shape: &[u8]) -> String {
        let mut sql = String::new();
        let mut bytes = shape.iter();
        while let Some(byte) = bytes.next() {
            match *byte {
                SHAPE_BEGIN => sql.push_str(statements::BEGIN_WRITE),
                SHAPE_META => sql.push_str(statements::META_PUT),
                SHAPE_LOG => sql.push_str(statements::LOG_APPEND),
                SHAPE_PRUNE => sql.push_str(statements::LOG_PRUNE),
                SHAPE_COMMIT => sql.push_str(statements::COMMIT),
                SHAPE_GUARD => sql.push_str(statements::GUARD),
                many => {
                    let length = bytes.next().copied().unwrap_or_default();
                    let rows = 1_usize << (length & !PADDED);
                    sql.push_str(&Many::ALL[usize::from(many)].sql().text(rows, length & PADDED != 0));
                }
            }
        }
        sql
    }
}

/// How the transaction stands that a commit ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    /// Nothing has been asked in it.
    New,
    /// It has been answered from what was read at this data version, and is to be begun where that holds.
    Remembered { version: i64 },
    /// It is open.
    Open,
}

/// Writes changes into the transaction of a connection.
pub(super) struct Writer<'c> {
    connection: &'c mut Connection,
    call: Call,
    wait: Wait,
    /// The next call begins the transaction, if the data version has not moved.
    is_guarded: bool,
    is_overtaken: bool,
}

/// How a commit went wrong.
pub(super) enum CommitError {
    /// Somebody else has written, or is about to, and nothing has been changed.
    Overtaken,
    /// Before COMMIT was run: what was written so far can be taken back.
    Before(Error),
    /// COMMIT itself failed.
    At(sqlx::Error),
    /// It is committed, and turned out not to have changed what it was to change.
    After(Error),
}

impl<'c> Writer<'c> {
    pub(super) fn new(connection: &'c mut Connection) -> Self {
        Writer { connection, call: Call::default(), wait: Wait::Park, is_guarded: false, is_overtaken: false }
    }

    /// Writes the changes and commits.
    pub(super) fn commit(mut self, delta: &Delta, stand: Stand) -> Result<(), CommitError> {
        if delta.rows.len() + delta.edges.len() + delta.met.len() <= ROWS_SPUN_FOR {
            self.wait = Wait::Spin;
        }
        if stand != Stand::Open {
            self.call.single(SHAPE_BEGIN);
        }
        if let Stand::Remembered { version } = stand {
            self.call.args.push(version);
            self.call.single(SHAPE_GUARD);
            self.is_guarded = true;
        }
        let written = self.write(delta).and_then(|()| self.finish(delta)).map_err(CommitError::Before);
        match written.and_then(|()| self.send_last()) {
            Err(_) if self.is_overtaken => Err(CommitError::Overtaken),
            result => result,
        }
    }

    fn write(&mut self, delta: &Delta) -> Result<()> {
        let rows = &delta.rows;
        self.contents(rows)?;
        self.many(Many::StatesInsert, rows.iter().filter(|row| row.before.is_none()), put_new_state)?;
        // A new row that something has happened to already is a new row that something happens to.
        let with_record = |row: &&RowChange| match (&row.before, &row.record) {
            (Some(_), Some(_)) => true,
            (None, Some(record)) => !record.is_fresh(),
            _ => false,
        };
        let moved = |row: &&RowChange| {
            row.before.is_some() && row.record.is_none() && (row.before != row.after || row.unmet.is_some())
        };
        let there = || rows.iter().filter(|row| row.after.is_some());
        for (many, has_unmet) in [(Many::StatesUpdate, false), (Many::StatesUpdateUnmet, true)] {
            let of_kind = there().filter(with_record).filter(|row| row.unmet.is_some() == has_unmet);
            self.many(many, of_kind, put_state)?;
        }
        for (many, has_unmet) in [(Many::StatesMove, false), (Many::StatesMoveUnmet, true)] {
            let of_kind = there().filter(moved).filter(|row| row.unmet.is_some() == has_unmet);
            self.many(many, of_kind, put_move)?;
        }
        self.many(Many::StatesDelete, rows.iter().filter(|row| row.after.is_none()), |args, row| {
            put_key(args, row.key)
        })?;
        self.edges(&delta.edges, &delta.met)?;
        self.jobs(&delta.jobs, rows)?;
        self.many(Many::CursorsPut, delta.cursors_put.iter(), |args, cursor| {
            args.push(cursor.after.map(columns::int).transpose()?);
            args.push(i64::from(cursor.told.code()));
            args.push(sums::cursor(cursor));
            put_key(args, cursor.key)
        })?;
        self.many(Many::CursorsDelete, delta.cursors_deleted.iter(), |args, key| put_key(args, *key))
    }

    fn contents(&mut self, rows: &[RowChange]) -> Result<()> {
        let with_content =
            || rows.iter().filter_map(|row| row.content.as_ref().map(|content| (row, content)));
        let put = |args: &mut Args, (row, content): (&RowChange, &std::sync::Arc<Content>)| {
            put_content(args, row.key, content)
        };
        self.many(Many::ContentsInsert, with_content().filter(|(row, _)| row.before.is_none()), put)?;
        let changed = with_content().filter(|(row, _)| row.before.is_some() && row.after.is_some());
        self.many(Many::ContentsUpdate, changed, put)?;
        self.many(Many::ContentsDelete, rows.iter().filter(|row| row.after.is_none()), |args, row| {
            put_key(args, row.key)
        })
    }

    fn edges(&mut self, edges: &[EdgeChange], met: &[(Edge, bool)]) -> Result<()> {
        let put = edges.iter().filter_map(|change| match change {
            EdgeChange::Put { edge, met } => Some((*edge, *met)),
            EdgeChange::Delete { .. } => None,
        });
        let put = put.chain(met.iter().copied());
        self.many(Many::EdgesPut, put, |args, (edge, met)| {
            args.push(met);
            args.push(sums::edge(edge, met));
            put_edge(args, edge)
        })?;
        let gone = edges.iter().filter_map(|change| match change {
            EdgeChange::Put { .. } => None,
            EdgeChange::Delete { edge } => Some(*edge),
        });
        self.many(Many::EdgesDelete, gone, put_edge)
    }

    fn jobs(&mut self, jobs: &[JobChange], rows: &[RowChange]) -> Result<()> {
        let put = jobs.iter().filter_map(|change| match change {
            JobChange::Put(job) => Some(job),
            _ => None,
        });
        self.many(Many::JobsPut, put, put_job)?;
        let counted = jobs.iter().filter_map(|change| match change {
            JobChange::Counts(job) => Some(job),
            _ => None,
        });
        self.many(Many::JobsCount, counted, |args, job| {
            put_counts(args, job)?;
            args.push(job.id);
            Ok(())
        })?;
        let turned = jobs.iter().filter_map(|change| match change {
            JobChange::Put(job) => Some(job.id),
            JobChange::Counts(job) => has_turned(job, rows).then_some(job.id),
            JobChange::Delete(_) => None,
        });
        self.many(Many::JobsClaimable, turned, |args, job| {
            args.push(job);
            Ok(())
        })?;
        let gone = jobs.iter().filter_map(|change| match change {
            JobChange::Delete(job) => Some(*job),
            _ => None,
        });
        self.many(Many::JobsDelete, gone, |args, job| {
            args.push(job);
            Ok(())
        })
    }

    /// The last statements of every commit.
    fn finish(&mut self, delta: &Delta) -> Result<()> {
        if let Some(last) = delta.log.last() {
            let revision = last.revision + last.count - 1;
            let bytes = runs::pack(&delta.log);
            let args = &mut self.call.args;
            args.push(columns::int(revision)?);
            args.push(columns::int(delta.log.iter().map(|run: &LogRun| run.count).sum())?);
            let sum = sums::log(revision, &bytes);
            args.push(bytes);
            args.push(sum);
            self.call.single(SHAPE_LOG);
        }
        if delta.log_prune_to > 0 {
            self.call.args.push(columns::int(delta.log_prune_to)?);
            self.call.single(SHAPE_PRUNE);
        }
        let meta = &delta.meta;
        let args = &mut self.call.args;
        args.push(columns::int(meta.revision)?);
        args.push(meta.last_job);
        args.push(columns::int(meta.clock_ms)?);
        args.push(columns::int(meta.cursors)?);
        args.push(columns::int(meta.log_start)?);
        args.push(meta.affairs.as_ref().map(|affairs| affairs.to_text()));
        args.push(sums::meta(meta));
        self.call.checks.push(Check::Changed(1));
        self.call.shape.push(SHAPE_META);
        self.call.single(SHAPE_COMMIT);
        Ok(())
    }

    /// Adds statements over a list of rows, and sends what is too long to wait for the COMMIT.
    fn many<T>(
        &mut self,
        many: Many,
        rows: impl Iterator<Item = T>,
        mut put: impl FnMut(&mut Args, T) -> Result<()>,
    ) -> Result<()> {
        let mut in_statement = 0;
        for row in rows {
            put(&mut self.call.args, row)?;
            in_statement += 1;
            if in_statement == ROWS_PER_STATEMENT {
                self.end_list(many, in_statement)?;
                in_statement = 0;
            }
        }
        if in_statement > 0 { self.end_list(many, in_statement) } else { Ok(()) }
    }

    fn end_list(&mut self, many: Many, rows: usize) -> Result<()> {
        let padded = rows.next_power_of_two();
        let columns = many.sql().columns();
        for _ in 0..(padded - rows) * columns {
            self.call.args.push(None::<i64>);
        }
        // At most 8: a list has at most 256 rows.
        let mut length = u8::try_from(padded.trailing_zeros()).unwrap_or_default();
        if padded > rows && many.sql().minds_padding() {
            length |= PADDED;
        }
        self.call.shape.extend([many as u8, length]);
        self.call.checks.push(if many.sql().must_hit() {
            Check::Changed(rows as u64)
        } else {
            Check::Nothing
        });
        self.call.values += padded * columns;
        if self.call.values >= VALUES_PER_CALL { self.send().map_err(Failure::into_error) } else { Ok(()) }
    }

    fn send(&mut self) -> Result<(), Failure> {
        let call = std::mem::take(&mut self.call);
        let sql = self.connection.script(&call.shape, || Call::compose(&call.shape));
        let is_guarded = std::mem::take(&mut self.is_guarded);
        let changed =
            self.connection.call(sql, call.args, self.wait, |_, _| Ok(())).inspect_err(|failure| {
                self.is_overtaken = is_guarded && is_refused(failure);
            })?;
        check(&call.checks, &changed).map_err(Failure::Row)
    }

    /// Sends the call that ends with the COMMIT.
    fn send_last(&mut self) -> Result<(), CommitError> {
        let statements = self.call.checks.len();
        match self.send() {
            Ok(()) => Ok(()),
            Err(Failure::Sql { ran, error }) if ran + 1 == statements => Err(CommitError::At(error)),
            Err(failure @ Failure::Sql { .. }) => Err(CommitError::Before(failure.into_error())),
            // Under the lock nobody can have deleted a row since it was read.
            Err(Failure::Row(error)) => Err(CommitError::After(error)),
        }
    }
}

/// Whether a job's first ready chunk came with these changes, or its last one went.
fn has_turned(job: &JobRow, rows: &[RowChange]) -> bool {
    let is_ready = |place: Option<Place>| i64::from(place.is_some_and(|place| place.class == Class::Ready));
    let first = rows.partition_point(|row| row.key.job < job.id);
    let of_job = rows[first..].iter().take_while(|row| row.key.job == job.id);
    let more: i64 = of_job.map(|row| is_ready(row.after) - is_ready(row.before)).sum();
    let now = job.counts.of(Class::Ready).cast_signed();
    (now > 0) != (now - more > 0)
}

/// Whether a guarded call failed at its beginning, by a lock of somebody else's, or at its guard.
fn is_refused(failure: &Failure) -> bool {
    match failure {
        Failure::Sql { ran: 0, error } => errors::is_busy(error),
        Failure::Sql { ran: 1, error } => errors::is_constraint(error),
        _ => false,
    }
}

fn check(checks: &[Check], changed: &[u64]) -> Result<()> {
    for (check, changed) in checks.iter().zip(changed) {
        if let Check::Changed(expected) = check
            && expected != changed
        {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "{expected} rows were to be written and {changed} were there: some were deleted from outside; \
                     restore the file from a copy"
                ),
            ));
        }
    }
    Ok(())
}

fn put_key(args: &mut Args, key: Key) -> Result<()> {
    args.push(key.job);
    args.push(columns::int(key.chunk)?);
    Ok(())
}

fn put_edge(args: &mut Args, edge: Edge) -> Result<()> {
    args.push(edge.job);
    args.push(columns::int(edge.on)?);
    args.push(columns::int(edge.chunk)?);
    Ok(())
}

fn put_content(args: &mut Args, key: Key, content: &Content) -> Result<()> {
    args.push(content.checksum.as_deref());
    args.push(content.payload.as_ref().map(Json::as_str));
    args.push(content.priority);
    args.push(content.attempts_max);
    args.push(content.losses_max);
    args.push(content.on_dependency_failure.map(columns::policy_code));
    args.push(columns::int(content.created_at_ms)?);
    args.push(columns::updated_at(content.created_at_ms, content.updated_at_ms)?);
    args.push(columns::int(content.revision)?);
    args.push(sums::content(key, content));
    put_key(args, key)
}

/// Where the row stands in the indexes.
fn put_place(args: &mut Args, place: Place) {
    args.push(columns::class_code(place.class));
    args.push(place.rank.0);
}

fn place_after(row: &RowChange) -> Result<Place> {
    row.after.ok_or_else(|| Error::new(ErrorKind::Internal, "a row without a place was to be written"))
}

fn put_unmet(args: &mut Args, key: Key, unmet: u32) {
    args.push(unmet);
    args.push(sums::unmet(key, unmet));
}

fn put_new_state(args: &mut Args, row: &RowChange) -> Result<()> {
    let place = place_after(row)?;
    put_place(args, place);
    put_unmet(args, row.key, row.unmet.unwrap_or_default());
    put_key(args, row.key)
}

fn put_move(args: &mut Args, row: &RowChange) -> Result<()> {
    let place = place_after(row)?;
    put_place(args, place);
    if let Some(unmet) = row.unmet {
        put_unmet(args, row.key, unmet);
    }
    put_key(args, row.key)
}

fn put_state(args: &mut Args, row: &RowChange) -> Result<()> {
    let Some(record) = &row.record else {
        return Err(Error::new(ErrorKind::Internal, "a record that is not there was to be written"));
    };
    let place = place_after(row)?;
    put_place(args, place);
    if let Some(unmet) = row.unmet {
        put_unmet(args, row.key, unmet);
    }
    put_record(args, row.key, record)?;
    put_key(args, row.key)
}

fn put_record(args: &mut Args, key: Key, record: &Record) -> Result<()> {
    args.push(record.attempts);
    args.push(record.losses);
    args.push(columns::int(record.fence)?);
    args.push(record.hold == Hold::Settled);
    args.push(record.owner().map(|owner| owner.as_bytes().to_vec()));
    args.push(columns::int(record.claim_seq())?);
    for deadline in [record.lease, record.not_before] {
        let set_at_ms = deadline.map(|d| d.set_at_ms).filter(|set_at_ms| *set_at_ms != record.updated_at_ms);
        args.push(set_at_ms.map(columns::int).transpose()?);
        args.push(deadline.map(|d| columns::int(d.duration_ms)).transpose()?);
    }
    args.push(record.cause.map(columns::int).transpose()?);
    args.push(columns::int(record.updated_at_ms)?);
    args.push(columns::int(record.revision)?);
    args.push(record.observed.as_deref());
    args.push(record.error.as_deref());
    args.push(record.output.as_ref().map(Json::as_str));
    args.push(sums::record(key, record));
    Ok(())
}

fn put_job(args: &mut Args, job: &JobRow) -> Result<()> {
    let spec = &job.spec;
    args.push(spec.name.as_deref());
    args.push(spec.attempts_max);
    args.push(spec.losses_max);
    args.push(spec.lease_ms.map(columns::int).transpose()?);
    args.push(spec.backoff.map(|b| columns::int(b.initial_ms)).transpose()?);
    args.push(spec.backoff.map(|b| columns::int(b.max_ms)).transpose()?);
    args.push(spec.on_dependency_failure.map(columns::policy_code));
    args.push(columns::phase_code(job.phase));
    args.push(job.owner.map(columns::owner_text));
    args.push(columns::int(job.seq)?);
    args.push(columns::int(job.created_at_ms)?);
    args.push(columns::int(job.revision)?);
    args.push(sums::job_spec(job));
    put_counts(args, job)?;
    args.push(job.id);
    Ok(())
}

fn put_counts(args: &mut Args, job: &JobRow) -> Result<()> {
    args.push(columns::int(job.edges)?);
    args.push(columns::int(job.edges_upward)?);
    for count in job.counts.by_class {
        args.push(columns::int(count)?);
    }
    args.push(sums::job_counts(job));
    Ok(())
}
