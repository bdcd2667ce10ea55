//! A manifest from any serde format that describes itself.
//!
//! Every value goes through a visitor of ours, so that every error names the chunk and the key.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use serde_json::value::RawValue;

use super::Manifest;
use super::problem::{At, Part, Shown, Sink, push};
use super::spelling;
use super::text::{self, Members, Name};
use crate::model::{Backoff, DependencyFailure, JobSpec, Json, NewChunk, RAW_JSON, fault};
use crate::{limits, moment};

/// The only key of what `toml` hands a date over as.
const TOML_DATE: &str = "$__toml_private_datetime";

/// The only key of what `serde_json` hands a number over as, where somebody in the same program has it keep numbers as
/// they are written (its feature `arbitrary_precision`).
const NUMBER: &str = "$serde_json::private::Number";

/// What to do about a number that is not whole. Its text is not read as a float: the tables for that are a fortieth of the
/// module that browsers load.
const FRACTION: &str = "; write it without a point or an exponent";

/// The text of such a number; nothing of any other map.
fn number_in<'de, A: MapAccess<'de>>(mut map: A) -> Result<Option<String>, A::Error> {
    match map.next_key()? {
        Some(Name(key)) if key == NUMBER => map.next_value().map(|Name(text)| Some(text.into_owned())),
        _ => Ok(None),
    }
}

/// Whether a text is a number in JSON.
fn is_number(text: &str) -> bool {
    text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) && Json::from_text(text).is_ok()
}

/// Keys of a chunk that are not kept in its payload.
pub(super) const CHUNK_KEYS: [&str; 9] = [
    "id",
    "checksum",
    "depends_on",
    "priority",
    "max_attempts",
    "max_losses",
    "on_dependency_failure",
    "not_before",
    "payload",
];

macro_rules! expecting {
    ($text:expr) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str($text)
        }
    };
}

/// The whole manifest.
pub(super) struct ManifestSeed<'s>(pub(super) At<'s>);

impl<'de> DeserializeSeed<'de> for ManifestSeed<'_> {
    type Value = Manifest;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Manifest, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ManifestSeed<'_> {
    type Value = Manifest;

    expecting!("a manifest: job and chunks");

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Manifest, A::Error> {
        Err(self.0.fail("", "a list is not a manifest; write {\"chunks\": [...]}"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Manifest, A::Error> {
        let at = self.0;
        let (mut job, mut chunks) = (None, None);
        while let Some(Name(key)) = map.next_key()? {
            let is_twice = match &*key {
                "job" => job.replace(map.next_value_seed(JobSeed(at.part(Part::Job)))?).is_some(),
                "chunks" => chunks.replace(map.next_value_seed(ChunksSeed(at))?).is_some(),
                _ if CHUNK_KEYS.contains(&&*key) => {
                    return Err(at.fail(&key, "a key of a chunk, outside of any; write it below [[chunks]], in JSON within \"chunks\": [...] (a chunk a line are JSON Lines, which are read as such)"));
                }
                _ => {
                    return Err(at.fail(
                        &key,
                        "unknown key; a manifest has job and chunks (further keys of a chunk go into its payload)",
                    ));
                }
            };
            if is_twice {
                return Err(at.fail(&key, "stands twice; leave one out"));
            }
        }
        let Some(chunks) = chunks else {
            return Err(at.fail("chunks", "missing; list them as [[chunks]], in JSON as \"chunks\": [...]; none are an empty list (a chunk a line are JSON Lines, which are read as such)"));
        };
        Ok(Manifest { job: job.unwrap_or_default(), chunks })
    }
}

struct ChunksSeed<'s>(At<'s>);

impl<'de> DeserializeSeed<'de> for ChunksSeed<'_> {
    type Value = Vec<NewChunk>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ChunksSeed<'_> {
    type Value = Vec<NewChunk>;

    expecting!("a list of chunks");

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(self.0.fail("chunks", "one table is not a list; write [[chunks]] with two brackets, or a list"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut chunks: Vec<NewChunk> = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(1 << 16));
        let seed = |index| ChunkSeed(self.0.part(Part::Chunk { index: Some(index), id: None }));
        while let Some(chunk) = seq.next_element_seed(seed(chunks.len()))? {
            chunks.push(chunk);
        }
        Ok(chunks)
    }
}

/// One chunk.
pub(super) struct ChunkSeed<'s>(pub(super) At<'s>);

impl<'de> DeserializeSeed<'de> for ChunkSeed<'_> {
    type Value = NewChunk;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<NewChunk, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ChunkSeed<'_> {
    type Value = NewChunk;

    expecting!("a chunk: an object with an id");

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NewChunk, A::Error> {
        let mut at = self.0;
        let mut chunk = NewChunk::default();
        let mut keys_read = 0u16;
        let mut payload = None;
        let mut further = Vec::new();
        while let Some(Name(key)) = map.next_key()? {
            let Some(known) = CHUNK_KEYS.iter().position(|known| *known == key) else {
                if let Some(fault) = spelling::fault(&key) {
                    return Err(at.fail(&key, fault));
                }
                let value = map.next_value_seed(RawSeed { at, key: &key })?;
                further.push((key, value));
                continue;
            };
            if keys_read & 1 << known != 0 {
                return Err(at.fail(&key, "stands twice; leave one out"));
            }
            keys_read |= 1 << known;
            match CHUNK_KEYS[known] {
                "id" => {
                    let seed = Whole { at, key: "id", min: 0, max: limits::ID_MAX };
                    let Some(id) = map.next_value_seed(seed)?.and_then(|id| u64::try_from(id).ok()) else {
                        return Err(at.fail("id", "null is not a number; give each chunk one of its own"));
                    };
                    chunk.id = id;
                    if let Part::Chunk { index, .. } = at.part {
                        at = at.part(Part::Chunk { index, id: Some(id) });
                    }
                }
                "checksum" => {
                    chunk.checksum = map.next_value_seed(Text { at, key: "checksum" })?.map(Cow::into_owned);
                }
                "depends_on" => chunk.depends_on = map.next_value_seed(DependsOn(at))?,
                "priority" => {
                    let seed = Whole {
                        at,
                        key: "priority",
                        min: i32::MIN.into(),
                        max: i32::MAX.unsigned_abs().into(),
                    };
                    chunk.priority = small(map.next_value_seed(seed)?).unwrap_or_default();
                }
                "max_attempts" => {
                    chunk.attempts_max = small(map.next_value_seed(count(at, "max_attempts"))?);
                }
                "max_losses" => chunk.losses_max = small(map.next_value_seed(count(at, "max_losses"))?),
                "on_dependency_failure" => chunk.on_dependency_failure = map.next_value_seed(Policy(at))?,
                "not_before" => {
                    let value = map.next_value_seed(RawSeed { at, key: "not_before" })?;
                    let text = value.trim_matches('"');
                    if value != "null" {
                        chunk.not_before_ms = Some(moment(text).map_err(|text| at.fail("not_before", text))?);
                    }
                }
                _ => {
                    payload = Some(map.next_value_seed(RawSeed { at, key: "payload" })?)
                        .filter(|payload| payload != "null");
                }
            }
        }
        if keys_read & 1 == 0 {
            return Err(at.fail("id", "missing; give each chunk a number of its own"));
        }
        chunk.payload = merged(payload, &further).map_err(|(key, text)| at.fail(&key, text))?;
        Ok(chunk)
    }
}

/// The payload with the chunk's further keys in it; the texts are valid JSON. The error is a key and what is wrong.
pub(super) fn merged(
    payload: Option<Cow<'_, str>>,
    further: &[(Cow<'_, str>, Cow<'_, str>)],
) -> Result<Option<Json>, (String, String)> {
    if further.is_empty() {
        return Ok(payload.map(|payload| Json::trusted(&payload)));
    }
    let payload = payload.as_deref().unwrap_or("{}");
    let members = if payload == "{}" { Some(Members(Vec::new())) } else { Members::of(payload) };
    let Some(Members(members)) = members else {
        let keys = listed(further.iter().map(|(key, _)| &**key));
        return Err((
            "payload".into(),
            format!(
                "it is no object, so the further keys {keys} cannot be kept in it; move them or make it one"
            ),
        ));
    };
    if members.len() + further.len() > 1 {
        let twice = keys_twice(&members, further);
        if let [first, ..] = twice[..] {
            let keys = listed(twice.iter().copied());
            let text =
                format!("stands twice (keys beside the payload are kept in it): {keys}; leave one out");
            return Err((first.to_owned(), text));
        }
    }
    let size = further.iter().map(|(key, value)| key.len() + value.len() + 6).sum::<usize>();
    let mut out = String::with_capacity(payload.len() + size);
    out.push_str(&payload[..payload.len() - 1]);
    for (key, value) in further {
        if out.len() > 1 {
            out.push(',');
        }
        text::push_quoted(&mut out, key);
        out.push(':');
        out.push_str(value);
    }
    out.push('}');
    Ok(Some(Json::trusted(&out)))
}

/// The further keys that stand twice, or in the payload as well. What the payload itself has twice is its own affair.
fn keys_twice<'a>(
    members: &'a [(Cow<'_, str>, &RawValue)],
    further: &'a [(Cow<'_, str>, Cow<'_, str>)],
) -> Vec<&'a str> {
    let of_payload = members.iter().map(|(key, _)| (&**key, false));
    let mut keys: Vec<(&str, bool)> =
        of_payload.chain(further.iter().map(|(key, _)| (&**key, true))).collect();
    keys.sort_unstable();
    // Of equal keys, a further one stands last.
    let mut twice: Vec<&str> =
        keys.windows(2).filter(|pair| pair[0].0 == pair[1].0 && pair[1].1).map(|pair| pair[1].0).collect();
    twice.dedup();
    twice
}

/// Keys as an error lists them, the first ten.
fn listed<'a>(keys: impl Iterator<Item = &'a str>) -> String {
    let mut out = String::new();
    for (i, key) in keys.enumerate() {
        if i == 10 {
            out.push_str(" ...");
            break;
        }
        push(&mut out, format_args!("{}{}", if i == 0 { "" } else { ", " }, Shown(key)));
    }
    out
}

/// The `[job]` table.
pub(super) struct JobSeed<'s>(pub(super) At<'s>);

impl<'de> DeserializeSeed<'de> for JobSeed<'_> {
    type Value = JobSpec;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<JobSpec, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for JobSeed<'_> {
    type Value = JobSpec;

    expecting!("the job: a table");

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JobSpec, A::Error> {
        const KEYS: [&str; 6] =
            ["name", "max_attempts", "max_losses", "lease", "backoff", "on_dependency_failure"];
        let at = self.0;
        let mut job = JobSpec::new();
        let mut keys_read = 0u8;
        while let Some(Name(key)) = map.next_key()? {
            let Some(known) = KEYS.iter().position(|known| *known == key) else {
                return Err(at.fail(&key, format!("unknown key; use one of {}", KEYS.join(", "))));
            };
            if keys_read & 1 << known != 0 {
                return Err(at.fail(&key, "stands twice; leave one out"));
            }
            keys_read |= 1 << known;
            match KEYS[known] {
                "name" => job.name = map.next_value_seed(Text { at, key: "name" })?.map(Cow::into_owned),
                "max_attempts" => job.attempts_max = small(map.next_value_seed(count(at, "max_attempts"))?),
                "max_losses" => job.losses_max = small(map.next_value_seed(count(at, "max_losses"))?),
                "lease" => job.lease_ms = small(map.next_value_seed(milliseconds(at, "lease"))?),
                "backoff" => job.backoff = Some(map.next_value_seed(BackoffSeed(at))?),
                _ => job.on_dependency_failure = map.next_value_seed(Policy(at))?,
            }
        }
        Ok(job)
    }
}

struct BackoffSeed<'s>(At<'s>);

impl<'de> DeserializeSeed<'de> for BackoffSeed<'_> {
    type Value = Backoff;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Backoff, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for BackoffSeed<'_> {
    type Value = Backoff;

    expecting!("backoff: { initial_ms = 1000, max_ms = 300000 }");

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Backoff, A::Error> {
        let at = self.0;
        let (mut initial_ms, mut max_ms) = (None, None);
        while let Some(Name(key)) = map.next_key()? {
            let (slot, key) = match &*key {
                "initial_ms" => (&mut initial_ms, "backoff.initial_ms"),
                "max_ms" => (&mut max_ms, "backoff.max_ms"),
                _ => {
                    let key = format!("backoff.{key}");
                    return Err(at.fail(&key, "unknown key; use initial_ms and max_ms"));
                }
            };
            if slot.is_some() {
                return Err(at.fail(key, "stands twice; leave one out"));
            }
            *slot = small(map.next_value_seed(milliseconds(at, key))?);
        }
        match (initial_ms, max_ms) {
            (Some(initial_ms), Some(max_ms)) => Ok(Backoff { initial_ms, max_ms }),
            (None, _) => Err(at.fail("backoff.initial_ms", "missing; give both, initial_ms and max_ms")),
            (_, None) => Err(at.fail("backoff.max_ms", "missing; give both, initial_ms and max_ms")),
        }
    }
}

/// A whole number within a range; `None` for null.
#[derive(Clone, Copy)]
struct Whole<'s> {
    at: At<'s>,
    key: &'static str,
    min: i64,
    max: u64,
}

fn count<'s>(at: At<'s>, key: &'static str) -> Whole<'s> {
    Whole { at, key, min: 0, max: u32::MAX.into() }
}

fn milliseconds<'s>(at: At<'s>, key: &'static str) -> Whole<'s> {
    Whole { at, key, min: 0, max: limits::ID_MAX }
}

/// A number that was read within its range already.
fn small<T: TryFrom<i128>>(number: Option<i128>) -> Option<T> {
    number.and_then(|number| T::try_from(number).ok())
}

impl Whole<'_> {
    fn wrong<E: de::Error>(self, found: &str, hint: &str) -> E {
        let Whole { at, key, min, max } = self;
        at.fail(key, format!("{} is not a whole number from {min} to {max}{hint}", Shown(found)))
    }
}

impl<'de> DeserializeSeed<'de> for Whole<'_> {
    type Value = Option<i128>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Whole<'_> {
    type Value = Option<i128>;

    expecting!("a whole number");

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<Self::Value, E> {
        if (self.min.into()..=self.max.into()).contains(&number) {
            Ok(Some(number))
        } else {
            Err(self.wrong(&number.to_string(), ""))
        }
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        self.visit_i128(number.into())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        self.visit_i128(number.into())
    }

    fn visit_u128<E: de::Error>(self, number: u128) -> Result<Self::Value, E> {
        Err(self.wrong(&number.to_string(), ""))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        Err(self.wrong(&format!("{number:?}"), FRACTION))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        let is_time = self.key == "lease" || self.key.starts_with("backoff.");
        let hint = if is_time { "; write milliseconds, without quotes" } else { "; write it without quotes" };
        Err(self.wrong(&format!("{text:?}"), hint))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
        Err(self.wrong(if value { "true" } else { "false" }, ""))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(self.wrong("a list", ""))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        match number_in(map)?.map(|text| (text.parse(), text)) {
            Some((Ok(number), _)) => self.visit_i128(number),
            Some((Err(_), text)) => Err(self.wrong(&text, FRACTION)),
            None => Err(self.wrong("this", "")),
        }
    }
}

/// Text; `None` for null.
#[derive(Clone, Copy)]
struct Text<'s> {
    at: At<'s>,
    key: &'static str,
}

impl Text<'_> {
    fn wrong<E: de::Error>(self, found: &str, hint: &str) -> E {
        self.at.fail(self.key, format!("{found} is not text{hint}"))
    }
}

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Text<'_> {
    type Value = Option<Cow<'de, str>>;

    expecting!("text");

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text)))
    }

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<Self::Value, E> {
        Err(self.wrong(&number.to_string(), "; write it in quotes"))
    }

    fn visit_u128<E: de::Error>(self, number: u128) -> Result<Self::Value, E> {
        Err(self.wrong(&number.to_string(), "; write it in quotes"))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        self.visit_i128(number.into())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        self.visit_i128(number.into())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        Err(self.wrong(&number.to_string(), "; write it in quotes"))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
        Err(self.wrong(if value { "true" } else { "false" }, "; write it in quotes"))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(self.wrong("a list", ""))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let found = number_in(map)?;
        Err(self.wrong(found.as_deref().unwrap_or("this"), "; write it in quotes"))
    }
}

/// What becomes of a chunk whose dependency fails; `None` for null.
struct Policy<'s>(At<'s>);

impl<'de> DeserializeSeed<'de> for Policy<'_> {
    type Value = Option<DependencyFailure>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let key = "on_dependency_failure";
        let text = Text { at: self.0, key }.deserialize(deserializer)?;
        text.map(|text| policy(&text).map_err(|text| self.0.fail(key, text))).transpose()
    }
}

pub(super) fn policy(text: &str) -> Result<DependencyFailure, String> {
    DependencyFailure::ALL
        .iter()
        .copied()
        .find(|policy| policy.as_str() == text)
        .ok_or_else(|| format!("\"{}\" is none; use one of wait, cancel, ignore", Shown(text)))
}

/// A moment in milliseconds since the Unix epoch.
pub(super) fn moment(text: &str) -> Result<u64, String> {
    moment::read(text).ok_or_else(|| {
        format!(
            "\"{}\" is no moment; write date, time and offset: 2026-12-01T08:00:00Z, or ...+01:00",
            Shown(text)
        )
    })
}

/// Chunk ids; none for null.
#[derive(Clone, Copy)]
struct DependsOn<'s>(At<'s>);

impl DependsOn<'_> {
    fn wrong<E: de::Error>(self) -> E {
        self.0.fail("depends_on", "not a list; write the chunk ids in brackets: [1, 2]")
    }
}

impl<'de> DeserializeSeed<'de> for DependsOn<'_> {
    type Value = Vec<u64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for DependsOn<'_> {
    type Value = Vec<u64>;

    expecting!("a list of chunk ids");

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut ids =
            Vec::with_capacity(seq.size_hint().unwrap_or(0).min(limits::DEPENDENCIES_PER_CHUNK_MAX));
        let seed = Whole { at: self.0, key: "depends_on", min: 0, max: limits::ID_MAX };
        while let Some(id) = seq.next_element_seed(seed)? {
            let Some(id) = small(id) else {
                return Err(self.0.fail("depends_on", "null is not a chunk id; leave it out"));
            };
            ids.push(id);
        }
        Ok(ids)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Self::Value, E> {
        Err(self.wrong())
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Self::Value, E> {
        Err(self.wrong())
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Self::Value, E> {
        Err(self.wrong())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Self::Value, E> {
        Err(self.wrong())
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(self.wrong())
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(self.wrong())
    }
}

/// Any value as JSON text: the text itself where the format is JSON, but for the space between tokens.
struct RawSeed<'s, 'k> {
    at: At<'s>,
    key: &'k str,
}

impl<'de> DeserializeSeed<'de> for RawSeed<'_, '_> {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let RawSeed { at, key } = self;
        let text = deserializer
            .deserialize_newtype_struct(RAW_JSON, Raw { at, key, depth: 0, accepts_text: true })?;
        match fault(&text) {
            None => Ok(text),
            Some(fault) => Err(at.fail(key, fault)),
        }
    }
}

struct Raw<'s, 'k> {
    at: At<'s>,
    key: &'k str,
    depth: usize,
    /// Whether the format may hand its own text over.
    accepts_text: bool,
}

impl Raw<'_, '_> {
    /// For a value within this one.
    fn within<E: de::Error>(&self) -> Result<Self, E> {
        let depth = self.depth + 1;
        if depth > limits::JSON_DEPTH_MAX {
            let text =
                format!("it is nested more than {} levels deep; make it flatter", limits::JSON_DEPTH_MAX);
            return Err(self.at.fail(self.key, text));
        }
        Ok(Raw { depth, accepts_text: false, ..*self })
    }

    fn has_no_form<E: de::Error>(&self, found: &str) -> E {
        self.at.fail(self.key, format!("{found} has no JSON form; write it in quotes"))
    }
}

impl<'de> DeserializeSeed<'de> for Raw<'_, '_> {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Raw<'_, '_> {
    type Value = Cow<'de, str>;

    expecting!("a value");

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(Raw { accepts_text: false, ..self })
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed("null"))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed("null"))
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(if value { "true" } else { "false" }))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(number.to_string()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Cow::Owned(number.to_string()))
    }

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<Self::Value, E> {
        Ok(Cow::Owned(number.to_string()))
    }

    fn visit_u128<E: de::Error>(self, number: u128) -> Result<Self::Value, E> {
        Ok(Cow::Owned(number.to_string()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        if number.is_finite() {
            // With a point or an exponent, as JSON has it.
            Ok(Cow::Owned(format!("{number:?}")))
        } else {
            Err(self.has_no_form(&number.to_string()))
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text::quoted(text)))
    }

    fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<Self::Value, E> {
        Err(self.has_no_form("a row of bytes"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut out = String::from("[");
        while let Some(value) = seq.next_element_seed(self.within()?)? {
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(&value);
        }
        out.push(']');
        Ok(Cow::Owned(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut out = String::from("{");
        while let Some(Name(key)) = map.next_key()? {
            if self.accepts_text && key == RAW_JSON {
                let Name(text) = map.next_value()?;
                if !self.at.is_json {
                    Json::from_text(&text).map_err(|error| self.at.fail(self.key, error.to_string()))?;
                }
                return Ok(match text {
                    Cow::Borrowed(text) => text::compact(text),
                    Cow::Owned(text) => Cow::Owned(text::compact(&text).into_owned()),
                });
            }
            let value = map.next_value_seed(self.within()?)?;
            if key == TOML_DATE && out.len() == 1 && value.starts_with('"') {
                return Ok(value);
            }
            if key == NUMBER && out.len() == 1 {
                let text = value.trim_matches('"');
                if is_number(text) {
                    return Ok(Cow::Owned(text.to_owned()));
                }
            }
            let comma = if out.len() > 1 { "," } else { "" };
            out.push_str(comma);
            text::push_quoted(&mut out, &key);
            out.push(':');
            out.push_str(&value);
        }
        out.push('}');
        Ok(Cow::Owned(out))
    }
}

impl<'de> Deserialize<'de> for Manifest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ManifestSeed(At::new(&Sink::default(), Part::Whole)).deserialize(deserializer)
    }
}

impl<'de> Deserialize<'de> for NewChunk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ChunkSeed(At::new(&Sink::default(), Part::Chunk { index: None, id: None })).deserialize(deserializer)
    }
}
