//! Errors as they are written for who reads a page or a log (feature `serde`): the sentence that
//! `Display` prints, beside words by which a program can sort.

use std::error::Error;
use std::iter::successors;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::{Failure, Fault, SyncError};

/// The fields of a [`SyncError`] as it is written.
#[derive(Serialize)]
struct ShownError {
    error: String,
    kind: &'static str,
}

/// The fields of a [`Failure`] as it is written.
#[derive(Serialize)]
struct ShownFailure<'a> {
    #[serde(flatten)]
    error: &'a SyncError,
    fault: Fault,
    counts: bool,
    #[serde(serialize_with = "crate::serde::some_seconds")]
    retry_after: Option<Duration>,
    sources: Vec<String>,
}

impl Serialize for SyncError {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let kind = match self {
            Self::Network(_) => "network",
            Self::Document(_) => "document",
            Self::PeerNotFound(_) => "peer_not_found",
            Self::Protocol(_) => "protocol",
            Self::State(_) => "state",
            Self::ResourceExhaustion(_) => "resource_exhaustion",
            Self::CircuitBreakerOpen => "circuit_breaker_open",
            Self::BandwidthExhausted(_) => "bandwidth_exhausted",
        };
        ShownError { error: self.to_string(), kind }.serialize(to)
    }
}

impl Serialize for Failure {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let shown = ShownFailure {
            error: self.error(),
            fault: self.fault(),
            counts: self.counts(),
            retry_after: self.retry_after(),
            sources: successors(self.source(), |&error| error.source())
                .map(ToString::to_string)
                .collect(),
        };
        shown.serialize(to)
    }
}
