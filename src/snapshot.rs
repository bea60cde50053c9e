//! Views of a peer, and of all peers together.

use std::time::{Duration, SystemTime};

use crate::error::Failure;
use crate::outcome::{NextAdmission, Status, WindowCounts};
use crate::sync::Arc;

/// A view of a peer at one moment.
///
/// # Consistency
///
/// `status`, `generation`, `consecutive_failures`, `retry_attempt`, `next_admission`, `open_for`, `opened_at` and
/// `probes_in_flight` belong to one state of the circuit. The tracker keeps the other fields outside the
/// circuit (R24): they may lag behind calls that are ending at this moment, and lose none. `last_error` may
/// be missing while another thread reads it at this very moment.
///
/// ```
/// use peer_health::{HealthRegistry, Status, SyncError};
///
/// let registry = HealthRegistry::<u32>::new();
/// registry.acquire(&7).unwrap().failure(SyncError::Network("reset".into()));
/// let snapshot = registry.snapshot(&7).unwrap();
/// assert_eq!((snapshot.status, snapshot.consecutive_failures), (Status::Closed, 1));
/// assert_eq!(snapshot.totals.failed, 1);
/// assert_eq!(snapshot.last_error.unwrap().error().to_string(), "network failure: reset");
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// The status of the circuit.
    pub status: Status,
    /// The generation of the phase: a later phase has a higher one.
    pub generation: u64,
    /// The consecutive failures; while open and half-open, those of the trip.
    pub consecutive_failures: u32,
    /// The counts of this phase's window; in a half-open phase, those of its outcomes. Zero without a
    /// window.
    pub window: WindowCounts,
    /// The earliest time at which a call may be admitted.
    pub next_admission: NextAdmission,
    /// The time since the circuit opened; `None` when it is closed or overridden.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serde::some_seconds"))]
    pub open_for: Option<Duration>,
    /// The number of probes that are out; one whose lease is over counts until another takes its slot.
    pub probes_in_flight: usize,
    /// The last error handled, counted or not, with the first kibibyte of its text.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serde::some_pointee"))]
    pub last_error: Option<Arc<Failure>>,
    /// The time of that error by the system's clock, for display.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serde::some_time"))]
    pub last_error_at: Option<SystemTime>,
    /// The time at which the circuit opened by the system's clock, for display.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serde::some_time"))]
    pub opened_at: Option<SystemTime>,
    /// The errors since the last reset, neutral ones too.
    pub errors: u64,
    /// The errors since the last success, since half-open began, or since the last reset.
    pub retry_attempt: u32,
    /// The successes since the last error or reset.
    pub consecutive_successes: u64,
    /// The average latency of successful calls, each later sample with a weight of 1/8 (RFC 6298). A sample
    /// is what [`with_latency`] stated; what [`call`](crate::HealthRegistry::call) and `call_async` take
    /// while there is a `HealthMonitor`, or with [`with_timing`](crate::HealthConfig::with_timing); or what
    /// the circuit measures for its own use: the latency of probes, and of all calls where `slow_call` is
    /// set. `None` before the first sample. A reset leaves the average as it is.
    ///
    /// The average ages (D13): beside the next sample it counts half as much for every five minutes without
    /// one, and after fifteen it is `None`. Its precision is 24 binary digits, and a tenth of a second of
    /// age.
    ///
    /// [`with_latency`]: crate::Permit::with_latency
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serde::some_seconds"))]
    pub latency: Option<Duration>,
    /// The all-time counts.
    pub totals: PeerTotals,
}

/// The all-time counts of a peer. Every permit ends in exactly one of `succeeded`, `failed`, `neutral`,
/// `abandoned` and `late`; the registry counts reports apart.
///
/// ```
/// use peer_health::HealthRegistry;
///
/// let registry = HealthRegistry::<u32>::new();
/// registry.acquire(&7).unwrap().success();
/// drop(registry.acquire(&7));
/// let totals = registry.snapshot(&7).unwrap().totals;
/// assert_eq!((totals.succeeded, totals.abandoned, totals.settled()), (1, 1, 2));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PeerTotals {
    /// The permits that ended in success.
    pub succeeded: u64,
    /// The permits that ended in a failure that counts.
    pub failed: u64,
    /// The permits that ended in no outcome: neutral, or a failure that is not the peer's.
    pub neutral: u64,
    /// The permits that were dropped, by a cancelled future or a panic.
    pub abandoned: u64,
    /// The permits whose phase was over when they ended, in whatever way.
    pub late: u64,
    /// The transitions into open.
    pub opened: u64,
    /// The successes reported without a permit.
    pub reported_successes: u64,
    /// The errors reported without a permit, neutral ones too.
    pub reported_errors: u64,
    /// The refused calls.
    pub refused: Refusals,
}

/// Counts of refused calls, by [`Reason`](crate::Reason). Only a call that asks for a permit counts.
///
/// ```
/// use peer_health::{HealthRegistry, Refusals};
///
/// let registry = HealthRegistry::<u32>::new();
/// registry.force_open(&7)?;
/// registry.acquire(&7).unwrap_err();
/// let Refusals { open, forced_open, .. } = registry.totals().all.refused;
/// assert_eq!((open, forced_open), (0, 1));
/// # Ok::<(), peer_health::TableFull>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Refusals {
    /// The refusals by an open circuit.
    pub open: u64,
    /// The refusals by a half-open circuit whose probes were out.
    pub probes_in_flight: u64,
    /// The refusals by a circuit that was forced open.
    pub forced_open: u64,
}

/// The number of counts in [`PeerTotals`].
pub(crate) const PARTS: usize = 11;

impl PeerTotals {
    /// Returns the number of permits that have ended, in whatever way.
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// registry.acquire(&7).unwrap().neutral();
    /// assert_eq!(registry.totals().all.settled(), 1);
    /// ```
    pub fn settled(&self) -> u64 {
        self.parts()[..5].iter().fold(0, |sum, part| sum.saturating_add(*part))
    }

    /// Returns all counts, the ways in which a permit ends first.
    pub(crate) fn parts(&self) -> [u64; PARTS] {
        [
            self.succeeded,
            self.failed,
            self.neutral,
            self.abandoned,
            self.late,
            self.opened,
            self.reported_successes,
            self.reported_errors,
            self.refused.open,
            self.refused.probes_in_flight,
            self.refused.forced_open,
        ]
    }

    pub(crate) fn from_parts(parts: [u64; PARTS]) -> Self {
        let [succeeded, failed, neutral, abandoned, late, opened, reports @ .., a, b, c] = parts;
        let [reported_successes, reported_errors] = reports;
        let refused = Refusals { open: a, probes_in_flight: b, forced_open: c };
        Self {
            succeeded,
            failed,
            neutral,
            abandoned,
            late,
            opened,
            reported_successes,
            reported_errors,
            refused,
        }
    }

    pub(crate) fn add(&mut self, more: Self) {
        let mut sums = self.parts();
        sums.iter_mut().zip(more.parts()).for_each(|(sum, part)| *sum = sum.saturating_add(part));
        *self = Self::from_parts(sums);
    }
}

/// The all-time counts of all peers, forgotten ones included.
///
/// ```
/// let registry = peer_health::HealthRegistry::<u32>::new();
/// registry.acquire(&7).unwrap().success();
/// registry.remove(&7);
/// let totals = registry.totals();
/// assert_eq!((totals.all.succeeded, totals.removed, totals.untracked), (1, 1, 0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Totals {
    /// The sum over all peers.
    pub all: PeerTotals,
    /// The number of times the table had no room for a new peer: for a call or a report, which the registry
    /// then served untracked, for a handle, which tries again, or for a control, which failed.
    pub untracked: u64,
    /// The peers that the registry forgot, to make room or because they were idle.
    pub evicted: u64,
    /// The peers removed by a call.
    pub removed: u64,
    /// The attempts after the first of an operation, which coordinators and their drivers made (feature
    /// `tokio`).
    pub retries: u64,
    /// The attempts that these would have made if a budget had allowed another.
    pub retries_refused: u64,
}
