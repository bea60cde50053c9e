//! The key of a peer: up to 64 bytes, kept in place.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codes::PH_MAX_PEER;

/// The key of a peer. It needs no allocation, whatever its length.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    length: u8,
    bytes: [u8; PH_MAX_PEER],
}

impl Key {
    /// Makes a key of the first bytes. A length that is too large acts as the largest.
    pub(crate) fn new(bytes: [u8; PH_MAX_PEER], length: usize) -> Self {
        let length = u8::try_from(length.min(PH_MAX_PEER)).unwrap_or_default();
        Self { length, bytes }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// Returns the bytes with zeros behind them.
    pub(crate) fn padded(&self) -> [u8; PH_MAX_PEER] {
        self.bytes
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.as_bytes());
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(self.as_bytes())
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "1 to {PH_MAX_PEER} bytes")
            }

            fn visit_bytes<E: Error>(self, read: &[u8]) -> Result<Key, E> {
                let mut bytes = [0; PH_MAX_PEER];
                match bytes.get_mut(..read.len()) {
                    Some(place) if !read.is_empty() => place.copy_from_slice(read),
                    _ => return Err(E::invalid_length(read.len(), &self)),
                }
                Ok(Key::new(bytes, read.len()))
            }
        }

        from.deserialize_bytes(Bytes)
    }
}
