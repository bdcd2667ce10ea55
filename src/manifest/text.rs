//! JSON as text: payloads are kept as they were written, but for the space between their tokens.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{self, Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::value::RawValue;

use crate::limits;

/// Valid JSON without the space between its tokens, so that a manifest that was only formatted anew is the same.
pub(super) fn compact(text: &str) -> Cow<'_, str> {
    let is_space = |b: u8| matches!(b, b' ' | b'\n' | b'\r' | b'\t');
    if !text.bytes().any(is_space) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let (mut is_in_string, mut is_escaped, mut from) = (false, false, 0);
    for (at, b) in text.bytes().enumerate() {
        if is_in_string {
            if is_escaped {
                is_escaped = false;
            } else if b == b'\\' {
                is_escaped = true;
            } else if b == b'"' {
                is_in_string = false;
            }
        } else if b == b'"' {
            is_in_string = true;
        } else if is_space(b) {
            out.push_str(&text[from..at]);
            from = at + 1;
        }
    }
    out.push_str(&text[from..]);
    Cow::Owned(out)
}

/// A string as JSON text.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_quoted(&mut out, text);
    out
}

/// Appends a string as JSON text.
pub(super) fn push_quoted(out: &mut String, text: &str) {
    if text.bytes().any(|b| b < b' ' || b == b'"' || b == b'\\') {
        // Any text has a JSON form.
        out.push_str(&serde_json::to_string(text).unwrap_or_default());
    } else {
        out.push('"');
        out.push_str(text);
        out.push('"');
    }
}

/// The members of a JSON object in their order, values unparsed.
pub(super) struct Members<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Members<'a> {
    /// `None` where the text is not an object, or a key holds half a character.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The value of a key; of the last one, where it stands twice.
    pub(super) fn get(&self, key: &str) -> Option<&'a str> {
        self.0.iter().rev().find(|(k, _)| k == key).map(|(_, value)| value.get())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(Name(key)) = map.next_key()? {
                    members.push((key, map.next_value()?));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Walk).map(Members)
    }
}

/// A key, borrowed where its format can.
pub(super) struct Name<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Take;
        impl<'de> Visitor<'de> for Take {
            type Value = Cow<'de, str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text))
            }
        }
        deserializer.deserialize_str(Take).map(Name)
    }
}

/// JSON text, serialized as the value that it is into any format: order and numbers are kept, or it is an error.
pub(super) struct Exact<'a> {
    text: &'a str,
    depth: usize,
}

impl<'a> Exact<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Exact { text, depth: 0 }
    }
}

impl Serialize for Exact<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.text.trim_ascii();
        let parsed = |e: serde_json::Error| ser::Error::custom(format!("a payload is not JSON: {e}"));
        let depth = self.depth + 1;
        match text.as_bytes().first() {
            Some(b'{' | b'[') if depth > limits::JSON_DEPTH_MAX => {
                Err(ser::Error::custom("a payload is nested too deeply"))
            }
            Some(b'{') => {
                let Members(members) = serde_json::from_str(text).map_err(parsed)?;
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (key, value) in members {
                    map.serialize_entry(&key, &Exact { text: value.get(), depth })?;
                }
                map.end()
            }
            Some(b'[') => {
                let values: Vec<&RawValue> = serde_json::from_str(text).map_err(parsed)?;
                let mut seq = serializer.serialize_seq(Some(values.len()))?;
                for value in values {
                    seq.serialize_element(&Exact { text: value.get(), depth })?;
                }
                seq.end()
            }
            Some(b'"') => serializer.serialize_str(&serde_json::from_str::<String>(text).map_err(parsed)?),
            Some(b't') => serializer.serialize_bool(true),
            Some(b'f') => serializer.serialize_bool(false),
            Some(b'n') => serializer.serialize_unit(),
            _ => serialize_number(text, serializer),
        }
    }
}

fn serialize_number<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let inexact = || ser::Error::custom(format!("{text} in a payload has no exact form here; make it text"));
    if !text.contains(['.', 'e', 'E']) {
        return if text == "-0" {
            serializer.serialize_f64(-0.0)
        } else if let Ok(number) = text.parse::<i64>() {
            serializer.serialize_i64(number)
        } else if let Ok(number) = text.parse::<u64>() {
            serializer.serialize_u64(number)
        } else {
            serializer.serialize_i128(text.parse().map_err(|_| inexact())?)
        };
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => serializer.serialize_f64(number),
        _ => Err(inexact()),
    }
}
