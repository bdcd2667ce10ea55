//! JSON values that travel as their text.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

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
    /// The JSON of a value.
    pub fn new(value: &(impl Serialize + ?Sized)) -> Result<Self> {
        let text = serde_json::to_string(value)
            .map_err(|e| Error::invalid(format!("the value has no JSON form: {e}")).caused_by(e))?;
        Ok(Json(text.into()))
    }

    /// JSON from its text, checked to be one JSON value.
    pub fn from_text(text: &str) -> Result<Self> {
        let raw: &serde_json::value::RawValue = serde_json::from_str(text)
            .map_err(|e| Error::invalid(format!("the text is not one JSON value: {e}")).caused_by(e))?;
        Ok(Json(raw.get().into()))
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

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        Json::new(&value).map_err(serde::de::Error::custom)
    }
}
