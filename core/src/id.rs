//! Row ids as callers give them, and the dense slots they map to.

use crate::{Error, Result};
use std::fmt;

/// A dense row number. Never reused while a link, view or index entry can still name it.
pub type Slot = u32;

/// Slots are 31 bits: the top bit of a link marks it as a tree edge.
pub(crate) const MAX_SLOTS: u32 = 1 << 31;

/// A row id: any unsigned 64-bit integer, or a string of 1 to 512 bytes of UTF-8.
///
/// ```
/// use asteroid_core::Id;
/// let id: Id = "4f1d".parse()?;
/// assert_eq!(id.to_string(), "4f1d");
/// assert_ne!(Id::from(7), "7".parse()?);
/// # Ok::<(), asteroid_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Id {
    /// A number.
    Num(u64),
    /// A string; build it with `parse`, which checks its length.
    Str(Box<str>),
}

/// Longest string id, in bytes of UTF-8.
pub const MAX_ID_BYTES: usize = 512;

impl Id {
    /// The key bytes of this id: a tag, then a big-endian number or the text.
    pub(crate) fn to_key(&self) -> Vec<u8> {
        match self {
            Id::Num(n) => {
                let mut key = Vec::with_capacity(9);
                key.push(0);
                key.extend_from_slice(&n.to_be_bytes());
                key
            }
            Id::Str(s) => {
                let mut key = Vec::with_capacity(1 + s.len());
                key.push(1);
                key.extend_from_slice(s.as_bytes());
                key
            }
        }
    }

    /// Reads what [`Id::to_key`] wrote.
    pub(crate) fn from_key(key: &[u8]) -> Result<Id> {
        match key {
            [0, number @ ..] if number.len() == 8 => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(number);
                Ok(Id::Num(u64::from_be_bytes(bytes)))
            }
            [1, text @ ..] => std::str::from_utf8(text)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| Error::corrupt("a stored string id is not 1 to 512 bytes of UTF-8")),
            _ => Err(Error::corrupt("a stored id has no known shape")),
        }
    }
}

impl From<u64> for Id {
    fn from(n: u64) -> Self {
        Id::Num(n)
    }
}

impl std::str::FromStr for Id {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text.is_empty() || text.len() > MAX_ID_BYTES {
            return Err(Error::invalid(format!(
                "a string id must be 1 to {MAX_ID_BYTES} bytes of UTF-8, this one is {} bytes",
                text.len()
            )));
        }
        Ok(Id::Str(text.into()))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Id::Num(n) => write!(f, "{n}"),
            Id::Str(s) => f.write_str(s),
        }
    }
}
