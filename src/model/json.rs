//! JSON values that travel as their text.

use std::fmt;
use std::sync::Arc;

use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::limits;

/// What `serde_json` hands a value over unparsed for. Where it should ever be called otherwise, values are read part by
/// part, as from any other format; tests then say so.
pub(crate) const RAW_JSON: &str = "$serde_json::private::RawValue";

/// A JSON value, kept as its text: payloads and outputs travel without being parsed.
///
/// ```
/// let payload = magnetar::Json::new(&serde_json::json!({"path": "a.bin", "offset": 4096}))?;
/// assert_eq!(payload.get::<u64>("offset")?, Some(4096));
/// # Ok::<(), magnetar::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Json(Arc<str>);

impl Json {
    /// The JSON of a value, nested at most [`limits::JSON_DEPTH_MAX`] deep.
    pub fn new(value: &(impl Serialize + ?Sized)) -> Result<Self> {
        let text = serde_json::to_string(value)
            .map_err(|e| Error::invalid(format!("the value has no JSON form: {e}")).caused_by(e))?;
        Json::fit(&text)
    }

    /// JSON from its text, checked to be one JSON value that every reader of JSON takes: of whole characters, nested at
    /// most [`limits::JSON_DEPTH_MAX`] deep.
    pub fn from_text(text: &str) -> Result<Self> {
        let raw: &serde_json::value::RawValue = serde_json::from_str(text)
            .map_err(|e| Error::invalid(format!("the text is not one JSON value: {e}")).caused_by(e))?;
        Json::fit(raw.get())
    }

    fn fit(text: &str) -> Result<Self> {
        fault(text).map_or_else(|| Ok(Json(text.into())), |fault| Err(Error::invalid(fault)))
    }

    /// Text that was checked when it was written.
    pub(crate) fn trusted(text: &str) -> Self {
        Json(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value as a type of yours.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.0).map_err(|e| {
            Error::invalid(format!("the JSON does not fit the type asked for: {e}")).caused_by(e)
        })
    }

    /// One member of a JSON object as a type of yours; `None` where there is no such member.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let mut members: serde_json::Map<String, serde_json::Value> = self.parse()?;
        members
            .remove(key)
            .map(|value| {
                serde_json::from_value(value).map_err(|e| {
                    Error::invalid(format!("member {key:?} does not fit the type asked for: {e}"))
                        .caused_by(e)
                })
            })
            .transpose()
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Json {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &serde_json::value::RawValue =
            serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

/// As `serde_json` reads it, it is the text that was written. Other formats give a value, of which a text is made: members
/// in the order of their names, numbers as far as 64 bits hold them.
impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsWritten;
        impl<'de> Visitor<'de> for AsWritten {
            type Value = Json;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                match map.next_key::<String>()? {
                    Some(key) if key == RAW_JSON => Json::from_text(&map.next_value::<String>()?),
                    first => {
                        let mut members = serde_json::Map::new();
                        let mut next = first;
                        while let Some(key) = next {
                            members.insert(key, map.next_value()?);
                            next = map.next_key()?;
                        }
                        Json::new(&members)
                    }
                }
                .map_err(de::Error::custom)
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
                let value = serde_json::Value::deserialize(deserializer)?;
                Json::new(&value).map_err(de::Error::custom)
            }
        }
        deserializer.deserialize_newtype_struct(RAW_JSON, AsWritten)
    }
}

/// What makes valid JSON unfit to be kept: nesting that readers refuse, or a character that is none.
pub(crate) fn fault(text: &str) -> Option<String> {
    // Text this short cannot be nested so deeply.
    let may_be_deep = text.len() > 2 * limits::JSON_DEPTH_MAX;
    // One byte is looked for first: to look for two, a searcher is made.
    let has_escape = || text.contains('\\') && text.contains("\\u");
    if !may_be_deep && !has_escape() {
        return None;
    }
    let bytes = text.as_bytes();
    let (mut depth, mut is_in_string, mut at) = (0, false, 0);
    while let Some(&b) = bytes.get(at) {
        at += 1;
        match b {
            b'"' => is_in_string = !is_in_string,
            b'\\' => {
                if bytes.get(at) == Some(&b'u') {
                    let high = hex4(bytes, at + 1);
                    match high {
                        Some(0xD800..=0xDBFF)
                            if bytes.get(at + 5..at + 7) == Some(b"\\u")
                                && matches!(hex4(bytes, at + 7), Some(0xDC00..=0xDFFF)) =>
                        {
                            at += 6;
                        }
                        Some(0xD800..=0xDFFF) => {
                            return Some(format!(
                                "\\u{} is half a character; write both halves or leave it out",
                                &text[at + 1..at + 5]
                            ));
                        }
                        _ => {}
                    }
                    at += 4;
                }
                at += 1;
            }
            b'[' | b'{' if !is_in_string => {
                depth += 1;
                if depth > limits::JSON_DEPTH_MAX {
                    return Some(format!(
                        "it is nested more than {} levels deep; make it flatter, or keep it as text",
                        limits::JSON_DEPTH_MAX
                    ));
                }
            }
            b']' | b'}' if !is_in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

fn hex4(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = std::str::from_utf8(bytes.get(at..at + 4)?).ok()?;
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_as_json_is_to_the_letter_what_was_written() {
        let text = r#"{"b":[1.10, 1E5,12345678901234567890123],"a":-0,"a":"\u00e9"}"#;
        let json = Json::from_text(text).unwrap();
        let read: Json = serde_json::from_str(&serde_json::to_string(&json).unwrap()).unwrap();
        assert_eq!(read.as_str(), text);
        for (value, text) in
            [("null", "null"), ("true", "true"), ("7", "7"), (r#""a""#, r#""a""#), ("[]", "[]")]
        {
            assert_eq!(serde_json::from_str::<Json>(value).unwrap().as_str(), text);
        }
        let value = serde_json::json!({"b": 1.5, "a": null});
        assert_eq!(serde_json::from_value::<Json>(value).unwrap().as_str(), r#"{"a":null,"b":1.5}"#);
        let read: std::collections::BTreeMap<String, Json> =
            toml::from_str("b = 2\na = { c = [1] }").unwrap();
        assert_eq!((read["a"].as_str(), read["b"].as_str()), (r#"{"c":[1]}"#, "2"));
        assert!(serde_json::from_str::<Json>(r#""\ud83d""#).is_err(), "half a character");
    }

    #[test]
    fn what_a_reader_of_json_may_refuse_is_refused() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Json::from_text(&nested(limits::JSON_DEPTH_MAX)).is_ok());
        for depth in [limits::JSON_DEPTH_MAX + 1, 1_000_000] {
            let error = Json::from_text(&nested(depth)).unwrap_err();
            assert!(error.to_string().contains("100 levels"), "{error}");
        }
        let deep =
            (0..=limits::JSON_DEPTH_MAX).fold(serde_json::json!(1), |value, _| serde_json::json!([value]));
        assert!(Json::new(&deep).unwrap_err().to_string().contains("100 levels"));
        assert!(Json::from_text(r#"["\ud83d\ude00", "\\ud83d"]"#).is_ok());
        for half in [r#""\ud83d""#, r#"{"a": "\ud83d\ud83d"}"#, r#""\ude00""#] {
            let error = Json::from_text(half).unwrap_err();
            assert!(error.to_string().contains("half a character"), "{error}");
        }
    }
}
