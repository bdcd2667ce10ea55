//! From questions to one script, and from its rows to the answers.
//!
//! The usual set of questions is one call, whatever their number: the script holds a statement for each kind that is
//! asked for. Lists longer than [`KEYS_PER_CALL`] and a second list of its kind with another bound go in calls of their own,
//! inside the same transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use sqlx::SqlSafeStr;
use sqlx::sqlite::SqliteRow;

use crate::backends::contract::{
    CursorsNeed, DependentsNeed, DueNeed, EdgesNeed, HeldByAnyNeed, Key, Loaded, Needs, ReadyBytes,
    ReadyNeed, Row,
};
use crate::backends::remembered::{Seen, claim_position};
use crate::backends::sqlite::block::Wait;
use crate::backends::sqlite::connection::{Args, Connection, Failure};
use crate::backends::sqlite::statements::ROWS_PER_PACK;
use crate::backends::sqlite::{columns, errors, open, patience, rows, statements};
use crate::error::{Error, ErrorKind, Result};

/// Keys in one list of a script: the list is text, and its length is bounded. So is that of the answer, which may be
/// on its way faster than it is read: each row comes with its payload.
const KEYS_PER_CALL: usize = 2 * ROWS_PER_PACK;

/// Rows of dependents that are asked for with them; those of a longer list come in further calls.
const DEPENDENT_ROWS_AT_ONCE: usize = 1_024;

/// Answers of up to so many rows are waited for with a spin.
const ROWS_SPUN_FOR: usize = 4;

/// How the transaction stands that the questions are asked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    /// Open already.
    None,
    /// To be opened for writing by the same call.
    Write,
    /// To be opened for reading by the same call.
    Read,
}

/// One kind of statement of a read script. The order is that of the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Part {
    BeginWrite,
    BeginRead,
    Version,
    Format,
    Meta,
    Job,
    Jobs,
    Row,
    RowsOfOneJob,
    Rows,
    ReadyOne,
    Ready,
    ReadyJob,
    DueBy,
    DueSetAfter,
    DueFirst,
    Dependents,
    DependentRows,
    DependentsInOneJob,
    DependentRowsInOneJob,
    Dependencies,
    Held,
    HeldByAny,
    Owners,
    JobsAfter,
    JobsBefore,
    Edges,
    Cursors,
    Log,
}

const PARTS: [(Part, &str); 29] = [
    (Part::BeginWrite, statements::BEGIN_WRITE),
    (Part::BeginRead, statements::BEGIN_READ),
    (Part::Version, statements::VERSION),
    (Part::Format, statements::FORMAT),
    (Part::Meta, statements::META),
    (Part::Job, statements::JOB),
    (Part::Jobs, statements::JOBS),
    (Part::Row, statements::ROW),
    (Part::RowsOfOneJob, statements::ROWS_OF_ONE_JOB),
    (Part::Rows, statements::ROWS),
    (Part::ReadyOne, statements::READY_ONE),
    (Part::Ready, statements::READY),
    (Part::ReadyJob, statements::READY_JOB),
    (Part::DueBy, statements::DUE_BY),
    (Part::DueSetAfter, statements::DUE_SET_AFTER),
    (Part::DueFirst, statements::DUE_FIRST),
    (Part::Dependents, statements::DEPENDENTS),
    (Part::DependentRows, statements::DEPENDENT_ROWS),
    (Part::DependentsInOneJob, statements::DEPENDENTS_IN_ONE_JOB),
    (Part::DependentRowsInOneJob, statements::DEPENDENT_ROWS_IN_ONE_JOB),
    (Part::Dependencies, statements::DEPENDENCIES),
    (Part::Held, statements::HELD),
    (Part::HeldByAny, statements::HELD_BY_ANY),
    (Part::Owners, statements::OWNERS),
    (Part::JobsAfter, statements::JOBS_AFTER),
    (Part::JobsBefore, statements::JOBS_BEFORE),
    (Part::Edges, statements::EDGES),
    (Part::Cursors, statements::CURSORS),
    (Part::Log, statements::LOG),
];

/// The statements of one call and their values.
struct Script {
    parts: u64,
    values: Vec<Value>,
    /// About so many rows will come back.
    rows: usize,
}

#[derive(Clone)]
enum Value {
    Null,
    Int(i64),
    Text(String),
}

impl Script {
    fn new() -> Self {
        Script { parts: 0, values: vec![Value::Null; statements::READ_VALUES], rows: 0 }
    }

    fn add(&mut self, part: Part) {
        self.parts |= 1 << part as u8;
    }

    /// Sets the value that the statements call by this number.
    fn set(&mut self, number: usize, value: Value) {
        self.values[number - 1] = value;
    }

    fn included(&self) -> impl Iterator<Item = &'static (Part, &'static str)> + use<> {
        let parts = self.parts;
        PARTS.iter().filter(move |(part, _)| parts & (1 << *part as u8) != 0)
    }

    /// Names the text: no write script begins with this byte.
    fn key(&self) -> [u8; 9] {
        let mut key = [0xff; 9];
        key[1..].copy_from_slice(&self.parts.to_le_bytes());
        key
    }

    fn args(&self) -> Args {
        let mut args = Args::default();
        for value in &self.values {
            match value {
                Value::Null => args.push(None::<i64>),
                Value::Int(value) => args.push(*value),
                Value::Text(text) => args.push(text.clone()),
            }
        }
        args
    }

    fn wait(&self) -> Wait {
        if self.rows <= ROWS_SPUN_FOR { Wait::Spin } else { Wait::Park }
    }
}

/// Answers questions from the transaction of a connection.
pub(super) fn load(connection: &mut Connection, needs: &Needs, opening: Opening) -> Result<Loaded> {
    Ok(load_ahead(connection, needs, opening, 0)?.0)
}

/// Whether nobody else has written since a connection saw a data version.
pub(super) fn is_at(connection: &mut Connection, version: i64) -> Result<bool> {
    let mut script = Script::new();
    script.add(Part::Version);
    let mut answers = Answers::new(&Needs::default());
    patience::wait(|| answers.ask(connection, &script), Failure::is_busy).map_err(Failure::into_error)?;
    Ok(answers.seen.version == Some(version))
}

/// The same as [`load`]; with up to so many ready rows more than are needed, where one job's are asked for.
pub(super) fn load_ahead(
    connection: &mut Connection,
    needs: &Needs,
    opening: Opening,
    ahead: usize,
) -> Result<(Loaded, Seen)> {
    let mut script = Script::new();
    match opening {
        Opening::None => {}
        Opening::Write => {
            script.add(Part::BeginWrite);
            script.add(Part::Version);
            script.add(Part::Format);
        }
        Opening::Read => {
            script.add(Part::BeginRead);
            script.add(Part::Format);
        }
    }
    let later = compose(needs, ahead, &mut script)?;
    let mut answers = Answers::new(needs);
    let asked = if opening == Opening::None {
        answers.ask(connection, &script)
    } else {
        // Nothing has happened yet, so that a busy store may be asked again from the start.
        patience::wait(
            || {
                answers = Answers::new(needs);
                answers.ask(connection, &script).inspect_err(|failure| {
                    if failure.is_busy() && matches!(failure, Failure::Sql { ran, .. } if *ran > 0) {
                        // What cannot be taken back shows at the next try.
                        let _ = connection.roll_back();
                    }
                })
            },
            Failure::is_busy,
        )
    };
    // First: what another build has made of the file is not for this one to judge.
    open::must_be_known(answers.format, &"the file")?;
    asked.map_err(Failure::into_error)?;
    if let [need] = needs.ready.as_slice() {
        answers.rest_of_ready(connection, &widened(need, ahead))?;
    }
    for list in later.rows.chunks(KEYS_PER_CALL) {
        let mut script = Script::new();
        add_rows(&mut script, list)?;
        answers.ask(connection, &script).map_err(Failure::into_error)?;
    }
    for indexes in later.dependents {
        let mut script = Script::new();
        add_dependents(&mut script, needs, &indexes)?;
        answers.dependents_asked = indexes;
        answers.ask(connection, &script).map_err(Failure::into_error)?;
    }
    for indexes in later.ready {
        answers.ready_of_many(connection, &needs.ready, &indexes)?;
    }
    let seen = answers.seen;
    let mut loaded = answers.into_loaded(needs)?;
    rest_of_dependents(connection, needs, &mut loaded)?;
    Ok((loaded, seen))
}

/// The rows of dependents that did not come with them, in the place of those behind the end of a list.
fn rest_of_dependents(connection: &mut Connection, needs: &Needs, loaded: &mut Loaded) -> Result<()> {
    let mut lists = needs.dependents.iter().zip(&loaded.dependents);
    if needs.dependent_rows && lists.any(|(need, list)| list.len() == need.limit) {
        let wanted: BTreeSet<Key> = needs.rows.iter().copied().chain(loaded.dependents_of(needs)).collect();
        loaded.rows.retain(|(key, _)| wanted.contains(key));
    }
    let lacking = loaded.dependents_of(needs).filter(|key| loaded.row(key).is_none());
    let lacking: BTreeSet<Key> = lacking.collect();
    let lacking: Vec<Key> = lacking.into_iter().collect();
    // They are put in order once, however many calls they take.
    let mut answers = Answers::new(&Needs::default());
    for list in lacking.chunks(KEYS_PER_CALL) {
        let mut script = Script::new();
        add_rows(&mut script, list)?;
        answers.ask(connection, &script).map_err(Failure::into_error)?;
    }
    if !answers.found.is_empty() {
        loaded.add_rows(answers.found.into_iter().map(|row| (row.key, Some(row))));
    }
    match loaded.missing_dependent(needs) {
        Some(key) => Err(rows::corrupt("this chunk is missing, a dependency has it").at(key.job, key.chunk)),
        None => Ok(()),
    }
}

fn widened(need: &ReadyNeed, ahead: usize) -> ReadyNeed {
    ReadyNeed { limit: need.limit.saturating_add(ahead), ..*need }
}

/// What does not fit into the first call.
struct Later<'n> {
    rows: &'n [Key],
    /// Indexes of the questions for dependents, by equal bound.
    dependents: Vec<Vec<usize>>,
    /// Indexes of the questions for ready rows, by similar bound.
    ready: Vec<Vec<usize>>,
}

fn compose<'n>(needs: &'n Needs, ahead: usize, script: &mut Script) -> Result<Later<'n>> {
    script.add(Part::Meta);
    match (needs.jobs.len(), needs.jobs.first()) {
        (_, None) => {}
        (1, Some(job)) => {
            script.add(Part::Job);
            script.set(1, Value::Int(*job));
        }
        (_, Some(_)) => {
            script.add(Part::Jobs);
            script.set(1, Value::Text(list(needs.jobs.iter())));
        }
    }
    let (first, rest) = needs.rows.split_at(needs.rows.len().min(KEYS_PER_CALL));
    if !first.is_empty() {
        add_rows(script, first)?;
    }
    if let [need] = needs.ready.as_slice() {
        let need = &widened(need, ahead);
        script.add(if need.limit == 1 { Part::ReadyOne } else { Part::Ready });
        let (rank, chunk) = position(need)?;
        script.set(4, Value::Int(need.job));
        script.set(5, Value::Int(rank));
        script.set(6, Value::Int(chunk));
        script.set(7, limit(need.limit.min(ROWS_PER_PACK)));
        script.rows += need.limit;
    }
    if let Some(job) = needs.ready_job_from {
        script.add(Part::ReadyJob);
        script.set(8, Value::Int(job));
    }
    if let Some(due) = needs.due {
        add_due(script, due);
    }
    let mut dependents = by_bound(&needs.dependents, |need| need.limit);
    if !dependents.is_empty() {
        let first = dependents.remove(0);
        add_dependents(script, needs, &first)?;
    }
    if !needs.dependencies.is_empty() || !needs.edges_of.is_empty() {
        script.add(Part::Dependencies);
        script.set(13, Value::Text(pairs(needs.dependencies.iter().chain(&needs.edges_of))));
        script.rows += needs.dependencies.len() + needs.edges_of.len();
    }
    if let Some((owner, after, bound)) = needs.held {
        script.add(Part::Held);
        let (job, chunk) = match after {
            None => (-1, -1),
            Some(key) => (key.job, columns::int(key.chunk)?),
        };
        script.set(14, Value::Text(columns::owner_text(owner)));
        script.set(15, Value::Int(job));
        script.set(16, Value::Int(chunk));
        script.set(17, limit(bound));
        script.rows += bound;
    }
    if let Some(HeldByAnyNeed { owners, limit: bound }) = &needs.held_by_any {
        script.add(Part::HeldByAny);
        let texts = owners.iter().map(|owner| format!("\"{}\"", columns::owner_text(*owner)));
        script.set(31, Value::Text(list(texts)));
        script.set(32, limit(*bound));
        script.rows += bound;
    }
    if needs.owners {
        script.add(Part::Owners);
    }
    add_jobs(needs, script);
    if let Some(EdgesNeed { job, after, limit: bound }) = needs.edges {
        script.add(Part::Edges);
        let (chunk, on) = match after {
            None => (-1, -1),
            Some((chunk, on)) => (columns::int(chunk)?, columns::int(on)?),
        };
        script.set(20, Value::Int(job));
        script.set(21, Value::Int(chunk));
        script.set(22, Value::Int(on));
        script.set(23, limit(bound));
        script.rows += bound;
    }
    if let Some(CursorsNeed { first_job, last_job, limit: bound }) = needs.cursors {
        script.add(Part::Cursors);
        script.set(24, limit(bound));
        script.set(29, Value::Int(first_job));
        script.set(30, Value::Int(last_job));
    }
    if let Some((since, bound)) = needs.log {
        script.add(Part::Log);
        script.set(25, Value::Int(i64::try_from(since).unwrap_or(i64::MAX)));
        script.set(26, limit(bound));
        script.rows += bound;
    }
    let ready = match needs.ready.len() {
        0 | 1 => Vec::new(),
        _ => by_bound(&needs.ready, |need| need.limit.next_power_of_two()),
    };
    Ok(Later { rows: rest, dependents, ready })
}

/// The questions of one kind, by their bound: SQL knows one bound for all that it answers together.
fn by_bound<T>(needs: &[T], bound: impl Fn(&T) -> usize) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (index, need) in needs.iter().enumerate() {
        groups.entry(bound(need)).or_default().push(index);
    }
    groups.into_values().collect()
}

/// Asks for jobs above an id or below one.
fn add_jobs(needs: &Needs, script: &mut Script) {
    let after = needs.jobs_after.map(|(after, bound)| (Part::JobsAfter, after.unwrap_or(-1), bound));
    let before = needs.jobs_before.map(|(before, bound)| (Part::JobsBefore, before, bound));
    if let Some((part, id, bound)) = after.or(before) {
        script.add(part);
        script.set(18, Value::Int(id));
        script.set(19, limit(bound));
        script.rows += bound;
    }
}

fn add_rows(script: &mut Script, keys: &[Key]) -> Result<()> {
    let job = keys[0].job;
    if let [key] = keys {
        script.add(Part::Row);
        script.set(2, Value::Int(columns::int(key.chunk)?));
        script.set(3, Value::Int(job));
    } else if keys.iter().all(|key| key.job == job) {
        script.add(Part::RowsOfOneJob);
        script.set(
            2,
            Value::Text(list(keys.chunks(ROWS_PER_PACK).map(|keys| list(keys.iter().map(|key| key.chunk))))),
        );
        script.set(3, Value::Int(job));
    } else {
        script.add(Part::Rows);
        script.set(2, Value::Text(list(keys.chunks(ROWS_PER_PACK).map(pairs))));
    }
    script.rows += keys.len();
    Ok(())
}

fn add_due(script: &mut Script, due: DueNeed) {
    let (at_ms, bound) = match due {
        DueNeed::By { at_ms, limit } => {
            script.add(Part::DueBy);
            script.add(Part::DueFirst);
            (at_ms, limit)
        }
        DueNeed::SetAfter { at_ms, limit } => {
            script.add(Part::DueSetAfter);
            (at_ms, limit)
        }
    };
    script.set(9, Value::Int(i64::try_from(at_ms).unwrap_or(i64::MAX)));
    script.set(10, limit(bound));
}

fn add_dependents(script: &mut Script, needs: &Needs, indexes: &[usize]) -> Result<()> {
    let asked = || indexes.iter().map(|index| needs.dependents[*index]);
    let DependentsNeed { on: Key { job, .. }, limit: bound, .. } = needs.dependents[indexes[0]];
    let in_one_job = asked().all(|need| need.on.job == job && need.after.is_none());
    let (part, rows, text) = if in_one_job {
        let chunks = list(asked().map(|need| need.on.chunk));
        (Part::DependentsInOneJob, Part::DependentRowsInOneJob, chunks)
    } else {
        let mut text = String::from("[");
        for DependentsNeed { on, after, .. } in asked() {
            let after = after.map(columns::int).transpose()?.unwrap_or(-1);
            separate(&mut text);
            let _ = write!(text, "[{},{},{after}]", on.job, on.chunk);
        }
        text.push(']');
        (Part::Dependents, Part::DependentRows, text)
    };
    script.add(part);
    if needs.dependent_rows {
        script.add(rows);
    }
    script.set(11, Value::Text(text));
    script.set(12, limit(bound));
    script.set(27, limit(DEPENDENT_ROWS_AT_ONCE));
    script.set(28, Value::Int(job));
    script.rows += indexes.len();
    Ok(())
}

fn position(need: &ReadyNeed) -> Result<(i64, i64)> {
    match need.after {
        None => Ok((-1, -1)),
        Some((rank, chunk)) => Ok((i64::from(rank.0), columns::int(chunk)?)),
    }
}

fn limit(rows: usize) -> Value {
    Value::Int(row_limit(rows))
}

pub(super) fn separate(text: &mut String) {
    if text.len() > 1 {
        text.push(',');
    }
}

pub(super) fn list<T: std::fmt::Display>(numbers: impl Iterator<Item = T>) -> String {
    let mut text = String::from("[");
    for number in numbers {
        separate(&mut text);
        let _ = write!(text, "{number}");
    }
    text.push(']');
    text
}

fn pairs<'k>(keys: impl IntoIterator<Item = &'k Key>) -> String {
    let mut text = String::from("[");
    for key in keys {
        separate(&mut text);
        let _ = write!(text, "[{},{}]", key.job, key.chunk);
    }
    text.push(']');
    text
}

/// What has been answered so far.
struct Answers {
    loaded: Option<Loaded>,
    found: Vec<Row>,
    /// Whether they are to be whole.
    payloads: bool,
    ready: Vec<Vec<Row>>,
    ready_bytes: ReadyBytes,
    due: Vec<Row>,
    held: Vec<Row>,
    held_by_any: Vec<Row>,
    dependents: Vec<Vec<(u64, bool)>>,
    dependencies: Vec<Vec<u64>>,
    /// They are asked for behind the dependencies, in the same list.
    edges_of: Vec<Vec<(u64, bool)>>,
    /// Which questions for dependents the running call asks.
    dependents_asked: Vec<usize>,
    seen: Seen,
    /// Of the file, where the call began a transaction.
    format: u32,
}

impl Answers {
    fn new(needs: &Needs) -> Self {
        Answers {
            loaded: None,
            found: Vec::with_capacity(needs.rows.len()),
            payloads: needs.payloads,
            ready_bytes: ReadyBytes::default(),
            ready: needs.ready.iter().map(|_| Vec::new()).collect(),
            due: Vec::new(),
            held: Vec::new(),
            held_by_any: Vec::new(),
            dependents: needs.dependents.iter().map(|_| Vec::new()).collect(),
            dependencies: needs.dependencies.iter().map(|_| Vec::new()).collect(),
            edges_of: needs.edges_of.iter().map(|_| Vec::new()).collect(),
            dependents_asked: by_bound(&needs.dependents, |need| need.limit)
                .into_iter()
                .next()
                .unwrap_or_default(),
            seen: Seen::default(),
            format: 0,
        }
    }

    fn ask(&mut self, connection: &mut Connection, script: &Script) -> Result<(), Failure> {
        let sql = connection.script(&script.key(), || script.included().map(|(_, sql)| *sql).collect());
        let parts: Vec<Part> = script.included().map(|(part, _)| *part).collect();
        connection.call(sql, script.args(), script.wait(), |statement, row| {
            let part = parts.get(statement).copied();
            self.take(part.ok_or_else(|| Error::new(ErrorKind::Internal, "a row of no statement"))?, row)
        })?;
        Ok(())
    }

    fn loaded(&mut self) -> Result<&mut Loaded> {
        self.loaded.as_mut().ok_or_else(no_meta)
    }

    fn take(&mut self, part: Part, row: &SqliteRow) -> Result<()> {
        match part {
            Part::BeginWrite | Part::BeginRead => {}
            Part::Version => self.seen.version = Some(rows::get(row, 0)?),
            Part::Format => self.format = u32::try_from(rows::get::<i64>(row, 0)?).unwrap_or_default(),
            Part::Meta => self.loaded = Some(Loaded::new(rows::meta(rows::get(row, 0)?)?)),
            Part::Job | Part::Jobs => {
                let job = rows::job(rows::get(row, 0)?)?;
                self.loaded()?.jobs.insert(job.id, Some(job));
            }
            Part::Row | Part::DependentRows | Part::DependentRowsInOneJob => self.find(whole(row)?),
            Part::RowsOfOneJob | Part::Rows => {
                rows::pack(rows::get(row, 0)?, |row| self.find(row))?;
            }
            Part::ReadyOne => self.ready[0].push(whole(row)?),
            Part::Ready => self.take_ready(row)?,
            Part::ReadyJob => self.loaded()?.ready_job = Some(rows::get(row, 0)?),
            Part::DueBy | Part::DueSetAfter => self.due.push(whole(row)?.without_payload()),
            Part::DueFirst => self.seen.due_first_ms = Some(rows::get_u64(row, 0)?),
            Part::Dependents | Part::DependentsInOneJob => {
                let at = self.dependents_asked.get(question(row, 0)?).copied();
                if let Some(list) = at.and_then(|at| self.dependents.get_mut(at)) {
                    rows::edges(rows::get(row, 1)?, |edge, met| list.push((edge.chunk, met)))?;
                }
            }
            Part::Dependencies => {
                let index = question(row, 0)?;
                let behind = self.dependencies.len();
                if let Some(list) = self.dependencies.get_mut(index) {
                    rows::edges(rows::get(row, 1)?, |edge, _| list.push(edge.on))?;
                } else if let Some(list) = self.edges_of.get_mut(index.wrapping_sub(behind)) {
                    rows::edges(rows::get(row, 1)?, |edge, met| list.push((edge.on, met)))?;
                }
            }
            Part::Held => self.held.push(whole(row)?.without_payload()),
            Part::HeldByAny => self.held_by_any.push(whole(row)?.without_payload()),
            Part::Owners => {
                let owner: &str = rows::get(row, 0)?;
                let owner = owner.parse().map_err(|_| {
                    Error::new(ErrorKind::Corrupt, format!("{owner:?} holds chunks and is no owner id"))
                })?;
                self.loaded()?.owners.push(owner);
            }
            Part::JobsAfter => {
                let job = rows::job(rows::get(row, 0)?)?;
                self.loaded()?.jobs_after.push(job);
            }
            Part::JobsBefore => {
                let job = rows::job(rows::get(row, 0)?)?;
                self.loaded()?.jobs_before.push(job);
            }
            Part::Edges => {
                let edges = &mut self.loaded()?.edges;
                rows::edges(rows::get(row, 0)?, |edge, _| edges.push(edge))?;
                edges.sort_unstable();
            }
            Part::Cursors => {
                let cursor = rows::cursor(row)?;
                self.loaded()?.cursors.push(cursor);
            }
            Part::Log => {
                let runs = rows::log(row)?;
                self.loaded()?.log.extend(runs);
            }
        }
        Ok(())
    }

    fn find(&mut self, row: Row) {
        self.found.push(if self.payloads { row } else { row.without_payload() });
    }

    fn take_ready(&mut self, row: &SqliteRow) -> Result<()> {
        let (found, bytes) = (&mut self.ready[0], &mut self.ready_bytes);
        rows::pack(rows::get(row, 0)?, |row| found.push(bytes.hold(row)))
    }

    /// The ready rows behind the first pack, a pack at a time.
    fn rest_of_ready(&mut self, connection: &mut Connection, need: &ReadyNeed) -> Result<()> {
        let mut asked = ROWS_PER_PACK;
        while self.ready[0].len() == asked && asked < need.limit {
            let mut script = Script::new();
            script.add(Part::Ready);
            let after = self.ready[0].last().map(claim_position);
            let (rank, chunk) = position(&ReadyNeed { after, ..*need })?;
            let more = ROWS_PER_PACK.min(need.limit - asked);
            script.set(4, Value::Int(need.job));
            script.set(5, Value::Int(rank));
            script.set(6, Value::Int(chunk));
            script.set(7, limit(more));
            script.rows = more;
            self.ask(connection, &script).map_err(Failure::into_error)?;
            asked += more;
        }
        Ok(())
    }

    /// Questions for ready rows of several jobs. Each is answered with as many rows as the largest of them asks for.
    fn ready_of_many(
        &mut self,
        connection: &mut Connection,
        needs: &[ReadyNeed],
        indexes: &[usize],
    ) -> Result<()> {
        let mut text = String::from("[");
        let mut bound = 0;
        for index in indexes {
            let (rank, chunk) = position(&needs[*index])?;
            separate(&mut text);
            let _ = write!(text, "[{},{rank},{chunk}]", needs[*index].job);
            bound = bound.max(needs[*index].limit);
        }
        text.push(']');
        let args = Args::default().with(text).with(row_limit(bound));
        let mut lists: Vec<Vec<Row>> = indexes.iter().map(|_| Vec::new()).collect();
        connection
            .call(statements::READY_OF_MANY.into_sql_str(), args, Wait::Park, |_, row| {
                if let Some(list) = lists.get_mut(question(row, 1)?) {
                    list.push(self.ready_bytes.hold(whole(row)?));
                }
                Ok(())
            })
            .map_err(Failure::into_error)?;
        for (mut list, index) in lists.into_iter().zip(indexes) {
            list.sort_unstable_by_key(claim_position);
            list.truncate(needs[*index].limit);
            self.ready[*index] = list;
        }
        Ok(())
    }

    fn into_loaded(self, needs: &Needs) -> Result<Loaded> {
        let mut loaded = self.loaded.ok_or_else(no_meta)?;
        for job in &needs.jobs {
            loaded.jobs.entry(*job).or_insert(None);
        }
        let asked = needs.rows.iter().map(|key| (*key, None));
        loaded.add_rows(asked.chain(self.found.into_iter().map(|row| (row.key, Some(row)))));
        if let Some((since, _)) = needs.log {
            loaded.log.retain(|run| run.revision + run.count - 1 > since);
        }
        (loaded.ready, loaded.due) = (self.ready, self.due);
        (loaded.held, loaded.held_by_any) = (self.held, self.held_by_any);
        (loaded.dependents, loaded.dependencies) = (self.dependents, self.dependencies);
        loaded.edges_of = self.edges_of;
        loaded.edges_of.iter_mut().for_each(|list| list.sort_unstable());
        loaded.dependents.iter_mut().for_each(|list| list.sort_unstable());
        loaded.dependencies.iter_mut().for_each(|list| list.sort_unstable());
        Ok(loaded)
    }
}

fn no_meta() -> Error {
    Error::new(ErrorKind::Corrupt, "the store's own record is missing; restore the file from a copy")
}

fn whole(row: &SqliteRow) -> Result<Row> {
    rows::row(rows::get(row, 0)?)
}

/// The number of the question that a row answers.
fn question(row: &SqliteRow, at: usize) -> Result<usize> {
    usize::try_from(rows::get::<i64>(row, at)?).map_err(|e| errors::unchanged(sqlx::Error::decode(e)))
}

/// A number of rows as a bound in SQL.
pub(super) fn row_limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
