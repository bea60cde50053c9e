//! The name of a peer: bytes, as every language has them.

use std::fmt;
use std::sync::Arc;

use data_encoding::HEXLOWER_PERMISSIVE as HEX;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::HealthError;

/// The most bytes of a name. An `EndpointId` of iroh has 32.
const LONGEST: usize = 64;

/// A checked name, of 1 to 64 bytes. A saved registry spells it in hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct PeerId(Arc<[u8]>);

impl PeerId {
    /// Takes the bytes that a caller gave; the error names the field `peer`.
    pub(crate) fn new(bytes: Vec<u8>) -> Result<Self, HealthError> {
        match bytes.len() {
            1..=LONGEST => Ok(Self(bytes.into())),
            length => {
                let value = format!("{length} bytes long");
                Err(HealthError::invalid("peer", value, "must have from 1 to 64 bytes"))
            }
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0.to_vec()
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEX.encode(&self.0))
    }
}

impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&HEX.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let text = String::deserialize(from)?;
        let bytes = HEX.decode(text.as_bytes()).map_err(D::Error::custom)?;
        Self::new(bytes).map_err(D::Error::custom)
    }
}
