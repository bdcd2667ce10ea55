//! TOML as JSON text, so that there is one reader of manifests: it differs from JSON in its syntax only.

use toml::Spanned;
use toml::de::{DeFloat, DeInteger, DeTable, DeValue};

use super::problem::push;
use super::text::push_quoted;

/// A value that JSON has no form for: the byte of the text that it starts at, and what it is.
pub(super) struct NoForm {
    pub(super) offset: usize,
    pub(super) found: String,
}

/// Numbers are kept as they are written, dates and times become text. The parser bounds the depth.
pub(super) fn push_table(out: &mut String, table: &DeTable<'_>) -> Result<(), NoForm> {
    out.push('{');
    for (i, (key, value)) in table.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        push_quoted(out, key.get_ref());
        out.push(':');
        push_value(out, value)?;
    }
    out.push('}');
    Ok(())
}

fn push_value(out: &mut String, value: &Spanned<DeValue<'_>>) -> Result<(), NoForm> {
    let no_form = |found: &str| NoForm { offset: value.span().start, found: found.to_owned() };
    match value.get_ref() {
        DeValue::String(text) => push_quoted(out, text),
        DeValue::Integer(number) => {
            push_whole(out, number).ok_or_else(|| no_form(&number.to_string()))?;
        }
        DeValue::Float(number) => {
            out.push_str(finite(number).ok_or_else(|| no_form(number.as_str()))?);
        }
        DeValue::Boolean(value) => out.push_str(if *value { "true" } else { "false" }),
        DeValue::Datetime(moment) => push_quoted(out, &moment.to_string()),
        DeValue::Array(values) => {
            out.push('[');
            for (i, value) in values.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                push_value(out, value)?;
            }
            out.push(']');
        }
        DeValue::Table(table) => push_table(out, table)?,
    }
    Ok(())
}

/// `None` for more than 128 bits.
fn push_whole(out: &mut String, number: &DeInteger<'_>) -> Option<()> {
    let (text, radix) = (number.as_str(), number.radix());
    if radix == 10 && text.len() <= 18 && text.starts_with(|c: char| c.is_ascii_digit()) {
        // As JSON has it already; TOML takes no leading zero either.
        out.push_str(text);
    } else if let Ok(number) = i128::from_str_radix(text, radix) {
        push(out, format_args!("{number}"));
    } else {
        push(out, format_args!("{}", u128::from_str_radix(text, radix).ok()?));
    }
    Some(())
}

/// `None` for what is no number, or without an end.
fn finite<'n>(number: &'n DeFloat<'_>) -> Option<&'n str> {
    let text = number.as_str();
    let text = text.strip_prefix('+').unwrap_or(text);
    if text.ends_with(|c: char| c.is_ascii_digit()) { Some(text) } else { None }
}
