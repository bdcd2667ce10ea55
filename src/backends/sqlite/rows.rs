//! From what `SQLite` answers to rows; each is checked against its checksums on the way.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, Deserializer, SeqAccess, Unexpected, Visitor};
use serde_json::value::RawValue;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::backends::contract::{
    Content, Counts, Cursor, Edge, Hold, JobRow, Key, LogRun, Meta, Record, Row,
};
use crate::backends::sqlite::{columns, errors, runs, sums};
use crate::error::{Error, ErrorKind, Result};
use crate::machine::{self, Told};
use crate::model::{Backoff, Deadline, JobSpec, JobStatus, Json, OwnerId};
use crate::standing::Affairs;

/// What to do about a row that is not as it was written.
const ADVICE: &str = "it was changed from outside or damaged, and is not used; restore the file from a copy, or delete \
                      the job and import it again";

pub(super) fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{what}: {ADVICE}"))
}

/// Text that is borrowed from the answer where it holds no escapes.
enum Text<'a> {
    Borrowed(&'a str),
    Owned(String),
}

impl Text<'_> {
    fn as_str(&self) -> &str {
        match self {
            Text::Borrowed(text) => text,
            Text::Owned(text) => text,
        }
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text::Borrowed(text))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text::Owned(text.to_owned()))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

/// A group of columns that a statement leaves out where all of them are at their defaults: 0, or an array.
struct Unless<T>(Option<T>);

struct UnlessVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for UnlessVisitor<T> {
    type Value = Unless<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0 or an array")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
        if value == 0 { Ok(Unless(None)) } else { Err(E::invalid_value(Unexpected::Unsigned(value), &self)) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        T::deserialize(SeqAccessDeserializer::new(seq)).map(|group| Unless(Some(group)))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Unless<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnlessVisitor(PhantomData))
    }
}

/// The columns of a row that say how it stands, in the order in which the statements list them.
#[derive(Deserialize)]
struct StateColumns<'a> {
    job: i64,
    chunk: u64,
    class: i64,
    rank: u32,
    unmet: Unless<(u32, i64)>,
    /// Left out where nothing has happened to the chunk.
    #[serde(borrow)]
    record: Unless<RecordColumns<'a>>,
}

/// The columns of its content. All are `None` where it has none.
#[derive(Deserialize)]
struct ContentColumns<'a> {
    job: Option<i64>,
    chunk: Option<u64>,
    #[serde(borrow)]
    checksum: Option<Text<'a>>,
    payload: Option<Text<'a>>,
    scheduling: Unless<SchedulingColumns>,
    created_at_ms: Option<u64>,
    updated_at_ms: Option<i64>,
    revision: Option<u64>,
    content_sum: Option<i64>,
}

#[derive(Deserialize)]
struct SchedulingColumns {
    priority: Option<i32>,
    attempts_max: Option<u32>,
    losses_max: Option<u32>,
    on_dependency_failure: Option<i64>,
}

#[derive(Deserialize)]
struct RecordColumns<'a> {
    attempts: u32,
    losses: u32,
    fence: u64,
    settled: u8,
    #[serde(borrow)]
    owner: Option<Text<'a>>,
    claim_seq: u64,
    lease_set_at_ms: Option<u64>,
    lease_ms: Option<u64>,
    not_before_set_at_ms: Option<u64>,
    not_before_ms: Option<u64>,
    cause: Option<u64>,
    updated_at_ms: u64,
    revision: u64,
    observed: Option<Text<'a>>,
    error: Option<Text<'a>>,
    output: Option<Text<'a>>,
    record_sum: i64,
}

/// JSON arrays that stand one after the other.
struct Arrays<'a>(&'a str);

impl<'a> Arrays<'a> {
    fn next<T: Deserialize<'a>>(&mut self) -> Result<Option<T>> {
        let mut one = serde_json::Deserializer::from_str(self.0).into_iter::<T>();
        match one.next() {
            None => Ok(None),
            Some(Ok(columns)) => {
                self.0 = &self.0[one.byte_offset()..];
                Ok(Some(columns))
            }
            Some(Err(error)) => Err(named_by_prefix(self.0.trim_start(), &error)),
        }
    }
}

/// The one row of an answer.
pub(super) fn row(text: &str) -> Result<Row> {
    let mut found = None;
    pack(Some(text), |row| found = Some(row))?;
    found.ok_or_else(|| corrupt("a stored row cannot be read"))
}

/// The rows of a pack: of each its state and its content; or nothing for none.
pub(super) fn pack(text: Option<&str>, mut each: impl FnMut(Row)) -> Result<()> {
    let mut arrays = Arrays(text.unwrap_or_default());
    while let Some(state) = arrays.next()? {
        let content = arrays.next()?.ok_or_else(|| missing(&state))?;
        each(whole(&state, &content)?);
    }
    Ok(())
}

/// The rows of a pack of states and one of contents, both in the order of chunks, while there is room for them. There may
/// be contents whose states are not wanted.
pub(super) fn packs(
    states: Option<&str>,
    contents: Option<&str>,
    room: &mut usize,
    mut each: impl FnMut(Row),
) -> Result<()> {
    let mut contents = Arrays(contents.unwrap_or_default());
    let mut states = Arrays(states.unwrap_or_default());
    while *room > 0
        && let Some(state) = states.next::<StateColumns<'_>>()?
    {
        // Those of chunks that are not wanted are passed over, whatever is in them.
        let content = loop {
            match contents.next::<ContentColumns<'_>>() {
                Ok(Some(content)) if content.chunk < Some(state.chunk) => {}
                Ok(content) => break content.ok_or_else(|| missing(&state))?,
                Err(error) if error.chunk() >= Some(state.chunk) => return Err(error),
                Err(_) => drop(contents.next::<&RawValue>()?),
            }
        };
        each(whole(&state, &content)?);
        *room -= 1;
    }
    Ok(())
}

fn missing(state: &StateColumns<'_>) -> Error {
    corrupt("the content of this chunk is missing").at(state.job, state.chunk)
}

/// The row of these columns, if they are as they were written and the indexes have it where it belongs.
fn whole(columns: &StateColumns<'_>, content: &ContentColumns<'_>) -> Result<Row> {
    let key = Key { job: columns.job, chunk: columns.chunk };
    if (content.job, content.chunk) != (Some(key.job), Some(key.chunk)) {
        return Err(missing(columns));
    }
    let bad = |what: &str| corrupt(what).at(key.job, key.chunk);
    let content = self::content(key, content)?;
    let (class, status) =
        columns::class(columns.class).ok_or_else(|| bad("the class of this chunk is unknown"))?;
    let record = match &columns.record.0 {
        None => Record::shared_fresh(),
        Some(columns) => Arc::new(record(key, status, columns)?),
    };
    let unmet = match columns.unmet.0 {
        None => 0,
        Some((unmet, sum)) if sum == sums::unmet(key, unmet) => unmet,
        Some(_) => return Err(bad("the count of this chunk's unmet dependencies is not as it was written")),
    };
    let row = Row { key, content: Arc::new(content), record, unmet };
    let place = machine::place(&row);
    if (class, columns.rank) == (place.class, place.rank.0) {
        Ok(row)
    } else {
        Err(bad("where this chunk stands in the indexes does not fit its state"))
    }
}

fn content(key: Key, columns: &ContentColumns<'_>) -> Result<Content> {
    let bad = |what: &str| corrupt(what).at(key.job, key.chunk);
    let scheduling = match &columns.scheduling.0 {
        None => &SchedulingColumns {
            priority: Some(0),
            attempts_max: None,
            losses_max: None,
            on_dependency_failure: None,
        },
        Some(scheduling) => scheduling,
    };
    let (Some(priority), Some(created_at_ms), Some(updated_at_ms)) =
        (scheduling.priority, columns.created_at_ms, columns.updated_at_ms)
    else {
        return Err(bad("a part of the content is missing"));
    };
    let (Some(revision), Some(content_sum)) = (columns.revision, columns.content_sum) else {
        return Err(bad("a part of the content is missing"));
    };
    let policy = match scheduling.on_dependency_failure {
        None => None,
        Some(code) => Some(columns::policy(code).ok_or_else(|| bad("a code in the content is unknown"))?),
    };
    let content = Content {
        checksum: owned(columns.checksum.as_ref()),
        payload: json(columns.payload.as_ref()),
        left_bytes: 0,
        priority,
        attempts_max: scheduling.attempts_max,
        losses_max: scheduling.losses_max,
        on_dependency_failure: policy,
        created_at_ms,
        updated_at_ms: columns::read_updated_at(created_at_ms, updated_at_ms)
            .ok_or_else(|| bad("a time in the content is negative"))?,
        revision,
    };
    if content_sum == sums::content(key, &content) {
        Ok(content)
    } else {
        Err(bad("the content of this chunk is not as it was written"))
    }
}

fn record(key: Key, status: JobStatus, columns: &RecordColumns<'_>) -> Result<Record> {
    let bad = |what: &str| corrupt(what).at(key.job, key.chunk);
    let owner = owner(columns.owner.as_ref().map(Text::as_str))
        .map_err(|_| bad("the owner of this chunk is no owner id"))?;
    let is_settled = columns.settled != 0;
    let deadline = |set_at_ms: Option<u64>, duration_ms: Option<u64>| {
        let set_at_ms = set_at_ms.unwrap_or(columns.updated_at_ms);
        duration_ms.map(|duration_ms| Deadline { set_at_ms, duration_ms })
    };
    // What is of nothing no checksum covers.
    let is_of_nothing = owner.is_none() && columns.claim_seq != 0
        || columns.lease_ms.is_none() && columns.lease_set_at_ms.is_some()
        || columns.not_before_ms.is_none() && columns.not_before_set_at_ms.is_some();
    let record = Record {
        status,
        observed: owned(columns.observed.as_ref()),
        error: owned(columns.error.as_ref()),
        output: json(columns.output.as_ref()),
        attempts: columns.attempts,
        losses: columns.losses,
        fence: columns.fence,
        hold: Hold::of(owner, columns.claim_seq, owner.is_some() && !is_settled, is_settled)
            .ok_or_else(|| bad("the claim of this chunk contradicts itself"))?,
        lease: deadline(columns.lease_set_at_ms, columns.lease_ms),
        not_before: deadline(columns.not_before_set_at_ms, columns.not_before_ms),
        cause: columns.cause,
        updated_at_ms: columns.updated_at_ms,
        revision: columns.revision,
    };
    let sum = match owner {
        Some(owner) if is_settled => sums::record_with_owner(key, &record, owner, columns.claim_seq),
        _ => sums::record(key, &record),
    };
    if columns.record_sum == sum && !record.is_fresh() && !is_of_nothing {
        Ok(record)
    } else {
        Err(bad("the state of this chunk is not as it was written"))
    }
}

fn owned(text: Option<&Text<'_>>) -> Option<String> {
    text.map(|text| text.as_str().to_owned())
}

fn json(text: Option<&Text<'_>>) -> Option<Json> {
    text.map(|text| Json::trusted(text.as_str()))
}

/// The owner in a column that may be empty.
fn owner(text: Option<&str>) -> Result<Option<OwnerId>> {
    text.map(str::parse).transpose()
}

/// The first two numbers of an array, if it has them: the job and the chunk that it is about.
fn named_in(text: &str) -> (Option<i64>, Option<u64>) {
    let mut numbers = text.trim_start_matches('[').split([',', ']']);
    let job = numbers.next().and_then(|number| number.parse().ok());
    (job, numbers.next().and_then(|number| number.parse().ok()))
}

/// An array that does not even have the right types, by its name.
fn named_by_prefix(text: &str, error: &serde_json::Error) -> Error {
    let found = corrupt(&format!("a stored row cannot be read ({error})"));
    match named_in(text) {
        (Some(job), Some(chunk)) => found.at(job, chunk),
        (Some(job), None) => found.in_job(job),
        _ => found,
    }
}

#[derive(Deserialize)]
struct JobColumns<'a> {
    job: i64,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    attempts_max: Option<u32>,
    losses_max: Option<u32>,
    lease_ms: Option<u64>,
    backoff_initial_ms: Option<u64>,
    backoff_max_ms: Option<u64>,
    on_dependency_failure: Option<i64>,
    phase: i64,
    owner: Option<Text<'a>>,
    seq: u64,
    created_at_ms: u64,
    revision: u64,
    spec_sum: i64,
    edges: u64,
    edges_upward: u64,
    counts: [u64; 7],
    counts_sum: i64,
}

/// A job from its JSON array.
pub(super) fn job(text: &str) -> Result<JobRow> {
    let columns: JobColumns<'_> = serde_json::from_str(text).map_err(|e| named_by_prefix(text, &e))?;
    let bad = |what: &str| corrupt(what).in_job(columns.job);
    let mut spec = JobSpec::new();
    spec.name = owned(columns.name.as_ref());
    spec.attempts_max = columns.attempts_max;
    spec.losses_max = columns.losses_max;
    spec.lease_ms = columns.lease_ms;
    spec.backoff = match (columns.backoff_initial_ms, columns.backoff_max_ms) {
        (Some(initial_ms), Some(max_ms)) => Some(Backoff { initial_ms, max_ms }),
        (None, None) => None,
        _ => return Err(bad("one half of this job's backoff is missing")),
    };
    spec.on_dependency_failure = match columns.on_dependency_failure {
        None => None,
        Some(code) => Some(columns::policy(code).ok_or_else(|| bad("a code of this job is unknown"))?),
    };
    let job = JobRow {
        id: columns.job,
        spec,
        phase: columns::phase(columns.phase).ok_or_else(|| bad("the phase of this job is unknown"))?,
        owner: owner(columns.owner.as_ref().map(Text::as_str))
            .map_err(|_| bad("the owner of this job is no owner id"))?,
        seq: columns.seq,
        edges: columns.edges,
        edges_upward: columns.edges_upward,
        counts: Counts { by_class: columns.counts },
        created_at_ms: columns.created_at_ms,
        revision: columns.revision,
    };
    if columns.spec_sum != sums::job_spec(&job) {
        return Err(bad("this job's settings are not as they were written"));
    }
    if columns.counts_sum != sums::job_counts(&job) {
        return Err(bad("this job's counts are not as they were written"));
    }
    Ok(job)
}

#[derive(Deserialize)]
struct MetaColumns<'a>(&'a str, u64, i64, u64, u64, u64, Option<String>, Option<i64>);

/// What the store keeps about itself, from its JSON array.
pub(super) fn meta(text: &str) -> Result<Meta> {
    let bad = || corrupt("the store's own record is not as it was written");
    let MetaColumns(store_id, revision, last_job, clock_ms, cursors, log_start, affairs, sum) =
        serde_json::from_str(text).map_err(|_| bad())?;
    let store_id = *store_id.parse::<OwnerId>().map_err(|_| bad())?.as_bytes();
    let affairs = match affairs {
        None => None,
        Some(text) => Some(Arc::new(Affairs::from_text(&text).map_err(|_| bad())?)),
    };
    let meta = Meta { store_id, revision, last_job, clock_ms, cursors, log_start, affairs };
    let untouched =
        Meta { store_id, revision: 0, last_job: 0, clock_ms: 0, cursors: 0, log_start: 0, affairs: None };
    let intact = match sum {
        Some(sum) => sum == sums::meta(&meta),
        None => meta == untouched,
    };
    if intact { Ok(meta) } else { Err(bad()) }
}

/// A value of a row.
pub(super) fn get<'r, T>(row: &'r SqliteRow, at: usize) -> Result<T>
where
    T: sqlx::Decode<'r, sqlx::Sqlite>,
{
    row.try_get_unchecked(at).map_err(errors::unchanged)
}

pub(super) fn get_u64(row: &SqliteRow, at: usize) -> Result<u64> {
    u64::try_from(get::<i64>(row, at)?).map_err(|_| corrupt("a stored number is negative"))
}

#[derive(Deserialize)]
struct EdgeColumns {
    job: i64,
    chunk: u64,
    depends_on: u64,
    met: u8,
    edge_sum: i64,
}

/// The dependencies of a pack, each with whether it counts as met.
pub(super) fn edges(text: Option<&str>, mut each: impl FnMut(Edge, bool)) -> Result<()> {
    let mut arrays = Arrays(text.unwrap_or_default());
    while let Some(EdgeColumns { job, chunk, depends_on: on, met, edge_sum }) = arrays.next()? {
        let (edge, met) = (Edge { job, chunk, on }, met != 0);
        if edge_sum != sums::edge(edge, met) {
            let what = format!("this chunk's dependency on chunk {on} is not as it was written");
            return Err(corrupt(&what).at(job, chunk));
        }
        each(edge, met);
    }
    Ok(())
}

pub(super) fn cursor(row: &SqliteRow) -> Result<Cursor> {
    let key = Key { job: get(row, 0)?, chunk: get_u64(row, 1)? };
    let bad = || {
        corrupt("the work left on this chunk's dependents is not as it was written").at(key.job, key.chunk)
    };
    let after: Option<i64> = get(row, 2)?;
    let after = after.map(u64::try_from).transpose().map_err(|_| bad())?;
    let told = u8::try_from(get::<i64>(row, 3)?).ok().and_then(Told::from_code).ok_or_else(bad)?;
    let cursor = Cursor { key, after, told };
    if get::<i64>(row, 4)? == sums::cursor(&cursor) { Ok(cursor) } else { Err(bad()) }
}

/// The runs of a log entry.
pub(super) fn log(row: &SqliteRow) -> Result<Vec<LogRun>> {
    let revision = get_u64(row, 0)?;
    let bytes: &[u8] = get(row, 1)?;
    let bad = || corrupt(&format!("the log entry of revision {revision} is not as it was written"));
    if get::<i64>(row, 2)? != sums::log(revision, bytes) {
        return Err(bad());
    }
    let runs = runs::unpack(bytes).ok_or_else(bad)?;
    // By their number it is decided how many entries are an answer.
    let changes = runs.iter().try_fold(0_u64, |sum, run| sum.checked_add(run.count));
    if changes == Some(get_u64(row, 3)?) { Ok(runs) } else { Err(bad()) }
}
