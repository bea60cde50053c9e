//! What a call may throw, in any language.

use std::time::Duration;

use peer_health::{ConfigError, Reason, Refused, TableFull};

use crate::time::wait;

/// The error of every function that has one. Nothing has changed when it is thrown.
#[derive(Debug, Clone, PartialEq, thiserror::Error, uniffi::Error)]
#[non_exhaustive]
pub enum HealthError {
    /// An argument breaks a rule. The program is to be mended, or its file of settings.
    #[error("{field} is {value}: {rule}")]
    Invalid {
        /// The argument or the field of a record, such as `open_jitter`.
        field: String,
        /// The value that was found there, as text.
        value: String,
        /// What the value must be.
        rule: String,
    },
    /// The peer is not to be called now. The caller leaves the peer alone, or asks again later.
    #[error("refused: {reason:?}")]
    Refused {
        /// Why the registry refuses.
        reason: RefusalReason,
        /// How long the circuit stays open. Nothing where no time is known.
        retry_after: Option<Duration>,
        /// After how long asking again makes sense: `retry_after`, or up to a second where it is not known.
        ask_again_after: Duration,
    },
    /// All places are taken by peers in trouble, so that nothing can be kept about this one.
    #[error("the registry is full: nothing can be kept about this peer")]
    TableFull,
}

/// Why a call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
#[non_exhaustive]
pub enum RefusalReason {
    /// The circuit is open.
    Open,
    /// The circuit is half-open, and as many probes as may be are in flight.
    ProbesInFlight,
    /// An operator has forced the circuit open.
    ForcedOpen,
    /// A reason that this version of the bindings does not know.
    Other,
}

impl HealthError {
    pub(crate) fn invalid(field: &str, value: String, rule: impl ToString) -> Self {
        Self::Invalid { field: field.into(), value, rule: rule.to_string() }
    }
}

impl From<ConfigError> for HealthError {
    fn from(error: ConfigError) -> Self {
        Self::invalid(error.field(), error.value(), error.rule())
    }
}

impl From<TableFull> for HealthError {
    fn from(_: TableFull) -> Self {
        Self::TableFull
    }
}

impl From<Refused> for HealthError {
    fn from(refused: Refused) -> Self {
        let reason = match refused.reason {
            Reason::Open => RefusalReason::Open,
            Reason::ProbesInFlight => RefusalReason::ProbesInFlight,
            Reason::ForcedOpen => RefusalReason::ForcedOpen,
            _ => RefusalReason::Other,
        };
        Self::Refused {
            reason,
            retry_after: refused.retry_after.map(wait),
            ask_again_after: wait(refused.ask_again_after()),
        }
    }
}
