//! The key of a peer: up to 64 bytes, kept in place.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codes::PH_MAX_PEER;

/// The key of a peer. It needs no allocation, whatever its length.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Key {
    bytes: [u8; PH_MAX_PEER],
    length: u8,
}

impl Key {
    /// Makes a key that is filled in place: it is copied nowhere on its way to the registry.
    #[inline]
    pub(crate) fn empty() -> Self {
        Self { bytes: [0; PH_MAX_PEER], length: 0 }
    }

    /// Returns the place of so many bytes; `None` if there are none, or too many.
    #[inline]
    pub(crate) fn place(&mut self, length: usize) -> Option<&mut [u8]> {
        self.length = u8::try_from(length).ok()?;
        self.bytes.get_mut(..length).filter(|place| !place.is_empty())
    }

    #[inline]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    #[inline]
    fn words(&self) -> &[[u8; 8]] {
        self.bytes.as_chunks().0
    }

    /// Returns the bytes with zeros behind them.
    pub(crate) fn padded(&self) -> [u8; PH_MAX_PEER] {
        self.bytes
    }
}

impl PartialEq for Key {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        // Zeros lie behind the bytes, so all words are compared, without a call.
        let differ = self
            .words()
            .iter()
            .zip(other.words())
            .fold(0, |all, (a, b)| all | (u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b)));
        differ == 0 && self.length == other.length
    }
}

impl Eq for Key {}

impl Hash for Key {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let words = self.words().iter().take(usize::from(self.length).div_ceil(8));
        words.for_each(|word| state.write_u64(u64::from_ne_bytes(*word)));
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{self:?}"))
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Hex;

        impl Visitor<'_> for Hex {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "1 to {PH_MAX_PEER} bytes in hexadecimal digits")
            }

            fn visit_str<E: Error>(self, read: &str) -> Result<Key, E> {
                let wrong = || E::invalid_value(Unexpected::Str(read), &self);
                let (pairs, []) = read.as_bytes().as_chunks::<2>() else { return Err(wrong()) };
                let mut key = Key::empty();
                let place = key.place(pairs.len()).ok_or_else(wrong)?;
                for (byte, pair) in place.iter_mut().zip(pairs) {
                    let digit = |digit: u8| char::from(digit).to_digit(16);
                    let both = digit(pair[0]).zip(digit(pair[1]));
                    let value = both.and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
                    *byte = value.ok_or_else(wrong)?;
                }
                Ok(key)
            }
        }

        from.deserialize_str(Hex)
    }
}
