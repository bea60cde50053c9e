//! What can be seen of a peer, and of all peers together.

use std::time::{Duration, SystemTime};

use crate::error::Failure;
use crate::outcome::{NextAdmission, Status, WindowCounts};
use crate::sync::Arc;

/// A peer as it was at one moment.
///
/// # Consistency
///
/// `status`, `generation`, `streak`, `retry_attempt`, `next_admission`, `open_for`, `opened_at` and
/// `probes_in_flight` are of one state of the circuit. The rest is noted beside it (R24): it may lag
/// behind calls that are ending at this moment, and loses none. `last_error` may be missing while another
/// thread reads it at this very moment.
///
/// ```
/// use peer_health::{HealthRegistry, Status, SyncError};
///
/// let registry = HealthRegistry::<u32>::new();
/// registry.acquire(&7).unwrap().failure(SyncError::Network("reset".into()));
/// let snapshot = registry.snapshot(&7).unwrap();
/// assert_eq!((snapshot.status, snapshot.streak), (Status::Closed, 1));
/// assert_eq!(snapshot.totals.failed, 1);
/// assert_eq!(snapshot.last_error.unwrap().error().to_string(), "network failure: reset");
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Snapshot {
    /// Where the circuit stands.
    pub status: Status,
    /// The number of the phase: higher is later.
    pub generation: u64,
    /// Consecutive failures; while open and half-open, those of the trip.
    pub streak: u32,
    /// The window of this phase; of a half-open phase, its outcomes. Zero without a window.
    pub window: WindowCounts,
    /// When a call may be admitted.
    pub next_admission: NextAdmission,
    /// How long ago the circuit opened; `None` when it is closed or overridden.
    pub open_for: Option<Duration>,
    /// Probes that are out; one whose lease is over counts until its slot is given again.
    pub probes_in_flight: usize,
    /// The last error handled, counted or not; of its text the first kibibyte.
    pub last_error: Option<Arc<Failure>>,
    /// When that was, by the system's clock: for display.
    pub last_error_at: Option<SystemTime>,
    /// When the circuit opened, by the system's clock: for display.
    pub opened_at: Option<SystemTime>,
    /// Errors since the last reset, neutral ones too.
    pub errors: u64,
    /// Errors since the last success, since half-open began, or since the last reset.
    pub retry_attempt: u32,
    /// Successes since the last error or reset.
    pub consecutive_successes: u64,
    /// How long successful calls take: the average of those whose latency is known, each later one
    /// with a weight of 1/8 (RFC 6298). Known is what [`with_latency`] stated, and what the circuit
    /// measures for its own use: probes, and all calls where `slow_call` is set. `None` before the
    /// first. A reset leaves it as it is.
    ///
    /// It ages (D13): what it says counts half as much, beside the next sample, for every five
    /// minutes without one, and after fifteen it is `None` again. With 24 binary digits, and to a
    /// tenth of a second of age.
    ///
    /// [`with_latency`]: crate::Permit::with_latency
    pub latency: Option<Duration>,
    /// All-time counts.
    pub totals: PeerTotals,
}

/// What was ever counted for a peer. Every permit ends in exactly one of `succeeded`, `failed`,
/// `neutral`, `abandoned` and `late`; reports are counted apart.
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
#[non_exhaustive]
pub struct PeerTotals {
    /// Permits that ended in success.
    pub succeeded: u64,
    /// Permits that ended in a failure that counts.
    pub failed: u64,
    /// Permits that ended in no outcome: neutral, or a failure that is not the peer's.
    pub neutral: u64,
    /// Permits that were dropped: a cancelled future, a panic.
    pub abandoned: u64,
    /// Permits whose phase was over when they ended, however they did.
    pub late: u64,
    /// Transitions into open.
    pub opened: u64,
    /// Successes reported without a permit.
    pub reported_successes: u64,
    /// Errors reported without a permit, neutral ones too.
    pub reported_errors: u64,
    /// Calls that were refused.
    pub refused: Refusals,
}

/// How often a call was refused, by [`Reason`](crate::Reason). Only who asks to be admitted is
/// counted.
///
/// ```
/// use peer_health::{HealthRegistry, Refusals};
///
/// let registry = HealthRegistry::<u32>::new();
/// registry.force_open(&7)?;
/// registry.acquire(&7).unwrap_err();
/// let Refusals { open, forced_open, .. } = registry.totals().permits.refused;
/// assert_eq!((open, forced_open), (0, 1));
/// # Ok::<(), peer_health::Untracked>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Refusals {
    /// Since the circuit was open.
    pub open: u64,
    /// Since its probes were out.
    pub probes_in_flight: u64,
    /// Since it was forced open.
    pub forced_open: u64,
}

/// The number of counts in [`PeerTotals`].
pub(crate) const PARTS: usize = 11;

impl PeerTotals {
    /// The permits that have ended, in whatever way.
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// registry.acquire(&7).unwrap().neutral();
    /// assert_eq!(registry.totals().permits.settled(), 1);
    /// ```
    pub fn settled(&self) -> u64 {
        self.parts()[..5].iter().fold(0, |sum, part| sum.saturating_add(*part))
    }

    /// All counts, the ways in which a permit ends first.
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

/// What was ever counted for all peers, those that were forgotten included.
///
/// ```
/// let registry = peer_health::HealthRegistry::<u32>::new();
/// registry.acquire(&7).unwrap().success();
/// registry.remove(&7);
/// let totals = registry.totals();
/// assert_eq!((totals.permits.succeeded, totals.removed, totals.untracked), (1, 1, 0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Totals {
    /// The sum over all peers.
    pub permits: PeerTotals,
    /// How often there was no room for a new peer: for a call or a report, which was served
    /// untracked, for a handle, which tries again, or for a control, which failed.
    pub untracked: u64,
    /// Peers forgotten to make room or because they were idle.
    pub evicted: u64,
    /// Peers removed by a call.
    pub removed: u64,
}
