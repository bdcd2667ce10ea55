//! Where in a text a problem is: only asked once there is one, so that reading needs no positions.

use std::ops::Range;

use serde_json::value::RawValue;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Part, Position, Problem};
use super::text::Members;
use crate::limits::ID_MAX;

/// Gives the problem its chunk's id where it lacks one, and finds it and the chunk that it refers to.
pub(super) fn in_json(text: &str, problem: &mut Problem) -> (Option<Position>, Option<Position>) {
    let Some(top) = Members::of(text) else { return (None, None) };
    let chunks = json_chunks(&top);
    let position = |part: &str| Some(Position::of(text, offset_in(text, part)));
    let first = problem.first.and_then(|index| position(chunks.get(index)?.get()));
    let (object, members) = match &mut problem.part {
        Part::Whole => (text, Some(top)),
        Part::Job => (top.get("job").unwrap_or(text), top.get("job").and_then(Members::of)),
        Part::Chunk { index, id } => {
            let Some(chunk) = index.and_then(|index| chunks.get(index)) else { return (None, first) };
            let members = Members::of(chunk.get());
            *id = id.or_else(|| members.as_ref()?.get("id")?.parse().ok()).filter(|id| *id <= ID_MAX);
            (chunk.get(), members)
        }
    };
    let value = problem.key.as_deref().and_then(|key| {
        // A key may be a path of two.
        let (outer, inner) = key.split_once('.').unwrap_or((key, ""));
        let members = members.as_ref()?;
        members.get(key).or_else(|| {
            let outer = members.get(outer)?;
            Some(Members::of(outer).and_then(|members| members.get(inner)).unwrap_or(outer))
        })
    });
    (position(value.unwrap_or(object)), first)
}

/// The part of a manifest that a byte of its text is in, for problems that the parser of JSON found.
pub(super) fn part_of_json(text: &str, offset: usize) -> (Part, Option<String>) {
    let holds = |part: &str| (0..=part.len()).contains(&offset.wrapping_sub(offset_in(text, part)));
    let key_of = |members: Option<Members<'_>>| {
        members?.0.into_iter().find(|(_, value)| holds(value.get())).map(|(key, _)| key.into_owned())
    };
    let Some(top) = Members::of(text) else { return (Part::Whole, None) };
    if let Some(job) = top.get("job").filter(|job| holds(job)) {
        return (Part::Job, key_of(Members::of(job)));
    }
    let chunks = json_chunks(&top);
    let Some((index, chunk)) = chunks.iter().enumerate().find(|(_, chunk)| holds(chunk.get())) else {
        return (Part::Whole, key_of(Some(top)));
    };
    (Part::Chunk { index: Some(index), id: None }, key_of(Members::of(chunk.get())))
}

fn json_chunks<'a>(top: &Members<'a>) -> Vec<&'a RawValue> {
    top.get("chunks").and_then(|chunks| serde_json::from_str(chunks).ok()).unwrap_or_default()
}

/// Where a part that was borrowed from a text stands in it.
fn offset_in(text: &str, part: &str) -> usize {
    part.as_ptr().addr().wrapping_sub(text.as_ptr().addr())
}

/// The same for a chunk that is a line of its own: the column only.
pub(super) fn column_in_line(line: &str, problem: &Problem) -> Option<u64> {
    let value = Members::of(line)?.get(problem.key.as_deref()?)?;
    Position::of(line, offset_in(line, value)).column
}

/// The key whose value a parser of JSON stopped in.
pub(super) fn key_in_line(line: &str, error: &serde_json::Error) -> Option<String> {
    let offset = error.column().saturating_sub(1);
    let holds = |part: &str| (0..=part.len()).contains(&offset.wrapping_sub(offset_in(line, part)));
    Members::of(line)?.0.into_iter().find(|(_, value)| holds(value.get())).map(|(key, _)| key.into_owned())
}

/// The byte that a parser of JSON stopped at.
pub(super) fn json_offset(text: &str, error: &serde_json::Error) -> usize {
    let before: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    before + error.column().saturating_sub(1)
}

/// Gives the problem its chunk's id where it lacks one, and finds it and the chunk that it refers to.
pub(super) fn in_toml(text: &str, problem: &mut Problem) -> (Option<Position>, Option<Position>) {
    let Ok(top) = DeTable::parse(text) else { return (None, None) };
    let position = |span: Range<usize>| Some(Position::of(text, span.start));
    let chunk_at = |index: usize| match top.get_ref().get("chunks")?.get_ref() {
        DeValue::Array(chunks) => chunks.get(index),
        _ => None,
    };
    let first = problem.first.and_then(|index| position(chunk_at(index)?.span()));
    let (span, table) = match &mut problem.part {
        Part::Whole => (None, Some(top.get_ref())),
        Part::Job => {
            let job = top.get_ref().get("job");
            (job.map(Spanned::span), job.and_then(|job| job.get_ref().as_table()))
        }
        Part::Chunk { index, id } => {
            let Some(chunk) = index.and_then(chunk_at) else { return (None, first) };
            let table = chunk.get_ref().as_table();
            *id = id.or_else(|| {
                let number = table?.get("id")?.get_ref().as_integer()?;
                u64::from_str_radix(number.as_str(), number.radix()).ok().filter(|id| *id <= ID_MAX)
            });
            (Some(chunk.span()), table)
        }
    };
    let key_span = problem.key.as_deref().and_then(|key| {
        let (outer, inner) = key.split_once('.').unwrap_or((key, ""));
        if let Some((key, _)) = table?.get_key_value(key) {
            return Some(key.span());
        }
        let (outer, value) = table?.get_key_value(outer)?;
        let within = value.get_ref().as_table().and_then(|table| table.get_key_value(inner));
        Some(within.map_or(outer.span(), |(key, _)| key.span()))
    });
    (key_span.or(span).and_then(position), first)
}

/// The part of a manifest that a byte of its text is in, for problems that the parser of TOML found in a value.
pub(super) fn part_of_toml(text: &str, offset: usize) -> (Part, Option<String>) {
    let Ok(top) = DeTable::parse(text) else { return (Part::Whole, None) };
    let key_of = |table: &DeTable<'_>| {
        let found = table.iter().find(|(_, value)| holds(value, offset));
        found.map(|(key, _)| key.get_ref().to_string())
    };
    if let Some(DeValue::Table(job)) = top.get_ref().get("job").map(Spanned::get_ref)
        && let Some(key) = key_of(job)
    {
        return (Part::Job, Some(key));
    }
    if let Some(DeValue::Array(chunks)) = top.get_ref().get("chunks").map(Spanned::get_ref) {
        for (index, chunk) in chunks.iter().enumerate() {
            if let Some(key) = chunk.get_ref().as_table().and_then(key_of) {
                return (Part::Chunk { index: Some(index), id: None }, Some(key));
            }
        }
    }
    (Part::Whole, key_of(top.get_ref()))
}

/// A table under a header of its own spans that header, and not what stands below it.
fn holds(value: &Spanned<DeValue<'_>>, offset: usize) -> bool {
    value.span().contains(&offset)
        || match value.get_ref() {
            DeValue::Array(values) => values.iter().any(|value| holds(value, offset)),
            DeValue::Table(table) => table.values().any(|value| holds(value, offset)),
            _ => false,
        }
}
