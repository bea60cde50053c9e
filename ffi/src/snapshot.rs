//! What can be seen of a peer, and of all peers, as records.

use std::time::{Duration, SystemTime};

use peer_health::{
    NextAdmission as CoreNext, PeerTotals as CorePeerTotals, Snapshot as CoreSnapshot,
};
use peer_health::{Status as CoreStatus, Totals as CoreTotals};

use crate::failure::Fault;
use crate::time::wait;

/// The state of a peer's circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
#[non_exhaustive]
pub enum Status {
    /// Calls are admitted.
    Closed,
    /// Calls are refused until the wait is over.
    Open,
    /// Probes are admitted.
    HalfOpen,
    /// An operator refuses all calls.
    ForcedOpen,
    /// An operator admits all calls, and nothing counts.
    Disabled,
    /// An operator admits all calls; outcomes count, and change nothing.
    MetricsOnly,
    /// A state that this version of the bindings does not know.
    Other,
}

impl From<CoreStatus> for Status {
    fn from(status: CoreStatus) -> Self {
        match status {
            CoreStatus::Closed => Self::Closed,
            CoreStatus::Open => Self::Open,
            CoreStatus::HalfOpen => Self::HalfOpen,
            CoreStatus::ForcedOpen => Self::ForcedOpen,
            CoreStatus::Disabled => Self::Disabled,
            CoreStatus::MetricsOnly => Self::MetricsOnly,
            _ => Self::Other,
        }
    }
}

/// When a peer may be called next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
#[non_exhaustive]
pub enum NextAdmission {
    /// Now.
    Now,
    /// After a wait.
    After {
        /// How long it still is.
        wait: Duration,
    },
    /// That depends on probes in flight, or on an operator.
    Unknown,
}

impl From<CoreNext> for NextAdmission {
    fn from(next: CoreNext) -> Self {
        match next {
            CoreNext::Now => Self::Now,
            CoreNext::After(time) => Self::After { wait: wait(time) },
            _ => Self::Unknown,
        }
    }
}

/// The last error of a peer.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
#[non_exhaustive]
pub struct LastError {
    /// What it said.
    pub text: String,
    /// Whose fault it was.
    pub fault: Fault,
    /// When it was, by the wall clock, for display.
    pub at: Option<SystemTime>,
}

/// A view of one peer.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
#[non_exhaustive]
pub struct Snapshot {
    /// The state of its circuit.
    pub status: Status,
    /// The number of the circuit's phase.
    pub generation: u64,
    /// Failures in a row that count.
    pub consecutive_failures: u32,
    /// Calls in the window, where there is one.
    pub window_calls: u64,
    /// Failures among them.
    pub window_failures: u64,
    /// Slow calls among them.
    pub window_slow: u64,
    /// When the peer may be called next.
    pub next_admission: NextAdmission,
    /// How long the circuit has been open, if it is.
    pub open_for: Option<Duration>,
    /// Probes in flight.
    pub probes_in_flight: u32,
    /// The last error.
    pub last_error: Option<LastError>,
    /// Errors of all time, also those that did not count.
    pub errors: u64,
    /// Successes since the last error.
    pub consecutive_successes: u64,
    /// The usual latency, where calls were timed.
    pub latency: Option<Duration>,
    /// Counts of all time.
    pub totals: PeerTotals,
}

impl From<CoreSnapshot> for Snapshot {
    fn from(seen: CoreSnapshot) -> Self {
        Self {
            status: seen.status.into(),
            generation: seen.generation,
            consecutive_failures: seen.consecutive_failures,
            window_calls: seen.window.total,
            window_failures: seen.window.failures,
            window_slow: seen.window.slow,
            next_admission: seen.next_admission.into(),
            open_for: seen.open_for.map(wait),
            probes_in_flight: u32::try_from(seen.probes_in_flight).unwrap_or(u32::MAX),
            last_error: seen.last_error.map(|failure| LastError {
                text: failure.to_string(),
                fault: failure.fault().into(),
                at: seen.last_error_at,
            }),
            errors: seen.errors,
            consecutive_successes: seen.consecutive_successes,
            latency: seen.latency.map(wait),
            totals: seen.totals.into(),
        }
    }
}

/// A peer beside its view.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
#[non_exhaustive]
pub struct PeerView {
    /// Its name.
    pub peer: Vec<u8>,
    /// What is to be seen of it.
    pub snapshot: Snapshot,
}

/// Counts of all time, of one peer or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Record)]
#[non_exhaustive]
pub struct PeerTotals {
    /// Calls that succeeded.
    pub succeeded: u64,
    /// Calls that failed, and counted.
    pub failed: u64,
    /// Calls that counted neither way.
    pub neutral: u64,
    /// Permits that were abandoned.
    pub abandoned: u64,
    /// Outcomes that came too late.
    pub late: u64,
    /// How often a circuit opened.
    pub opened: u64,
    /// Calls refused while open.
    pub refused_open: u64,
    /// Calls refused for probes in flight.
    pub refused_probes: u64,
    /// Calls refused by an operator.
    pub refused_forced: u64,
}

impl From<CorePeerTotals> for PeerTotals {
    fn from(totals: CorePeerTotals) -> Self {
        Self {
            succeeded: totals.succeeded,
            failed: totals.failed,
            neutral: totals.neutral,
            abandoned: totals.abandoned,
            late: totals.late,
            opened: totals.opened,
            refused_open: totals.refused.open,
            refused_probes: totals.refused.probes_in_flight,
            refused_forced: totals.refused.forced_open,
        }
    }
}

/// Counts of all peers, also of those that are forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Record)]
#[non_exhaustive]
pub struct Totals {
    /// The sums.
    pub all: PeerTotals,
    /// Calls of peers that the registry had no room for.
    pub untracked: u64,
    /// Peers that were forgotten.
    pub evicted: u64,
    /// Peers that the program removed.
    pub removed: u64,
}

impl From<CoreTotals> for Totals {
    fn from(totals: CoreTotals) -> Self {
        Self {
            all: totals.all.into(),
            untracked: totals.untracked,
            evicted: totals.evicted,
            removed: totals.removed,
        }
    }
}
