//! Who claims.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The client that claims: a native process's open store, a tab, a Node process. Random per start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnerId([u8; 16]);

impl OwnerId {
    /// An owner id from 16 random bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        OwnerId(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for OwnerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for OwnerId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // A number may have a sign, an id may not.
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| digits);
        let number = number
            .ok_or_else(|| Error::invalid(format!("{text:?} is not an owner id: 32 hexadecimal digits")))?;
        Ok(OwnerId(number.to_be_bytes()))
    }
}

impl Serialize for OwnerId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for OwnerId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_its_32_digits_and_nothing_else_is_one() {
        let id =
            OwnerId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 0x80, 0x9a, 0xab, 0xbc, 0xcd, 0xde, 0xef, 0xff]);
        assert_eq!(id.to_string(), "0001020304050607809aabbccddeefff");
        assert_eq!(id.to_string().parse::<OwnerId>().unwrap(), id);
        assert_eq!(id.to_string().to_uppercase().parse::<OwnerId>().unwrap(), id);
        for bad in ["", "0", "+001020304050607809aabbccddeefff", "0001020304050607809aabbccddeefff0"] {
            assert!(bad.parse::<OwnerId>().is_err(), "{bad:?}");
        }
    }
}
