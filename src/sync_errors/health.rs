//! What `sync_errors` calls the health of a peer: its state and record, for display.

use std::time::SystemTime;

use crate::error::SyncError;
use crate::outcome::Status;
use crate::snapshot::Snapshot;
use crate::time::ago;

/// The state of a circuit as `sync_errors` knows it: see [`Status`] for what it does not.
///
/// ```
/// use peer_health::{CircuitState, Status};
/// assert_eq!(CircuitState::from(Status::ForcedOpen), CircuitState::Open);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub enum CircuitState {
    /// Calls are made.
    Closed,
    /// Calls are refused.
    Open,
    /// A few calls decide.
    HalfOpen,
}

impl From<Status> for CircuitState {
    fn from(status: Status) -> Self {
        match status {
            Status::Open | Status::ForcedOpen => Self::Open,
            Status::HalfOpen => Self::HalfOpen,
            Status::Closed | Status::Disabled | Status::MetricsOnly => Self::Closed,
        }
    }
}

/// What is known of a peer, at one moment. A value of its own: changing it changes no circuit.
///
/// ```
/// use peer_health::{PeerHealthTracker, SyncError};
///
/// let mut health = PeerHealthTracker::default();
/// health.record_failure(SyncError::Network("reset".into()));
/// assert_eq!((health.consecutive_failures, health.total_failures), (1, 1));
/// ```
#[derive(Debug, Clone)]
pub struct PeerHealthTracker {
    /// Where the circuit stands.
    pub circuit_state: CircuitState,
    /// Consecutive failures; while open and half-open, those that opened it.
    pub consecutive_failures: u32,
    /// Successes since the last error.
    pub consecutive_successes: u32,
    /// When the last error was handled.
    pub last_failure_time: Option<SystemTime>,
    /// When the circuit opened; known until it is closed.
    pub circuit_opened_at: Option<SystemTime>,
    /// Errors since the last reset, those that do not count against the peer too.
    pub total_failures: u64,
    /// The last error; where a registry kept it, the first kibibyte of its text.
    pub last_error: Option<SyncError>,
    /// Errors since the last success, since half-open began, or since the last reset.
    pub retry_attempt: u32,
}

impl Default for PeerHealthTracker {
    fn default() -> Self {
        Self {
            circuit_state: CircuitState::Closed,
            consecutive_failures: 0,
            consecutive_successes: 0,
            last_failure_time: None,
            circuit_opened_at: None,
            total_failures: 0,
            last_error: None,
            retry_attempt: 0,
        }
    }
}

impl PeerHealthTracker {
    /// Notes a success.
    ///
    /// ```
    /// let mut health = peer_health::PeerHealthTracker::default();
    /// health.record_success();
    /// assert_eq!(health.consecutive_successes, 1);
    /// ```
    pub fn record_success(&mut self) {
        self.consecutive_successes = self.consecutive_successes.saturating_add(1);
        self.consecutive_failures = 0;
        self.retry_attempt = 0;
    }

    /// Notes a failure.
    ///
    /// ```
    /// let mut health = peer_health::PeerHealthTracker::default();
    /// health.record_failure(peer_health::SyncError::Network("reset".into()));
    /// assert_eq!(health.retry_attempt, 1);
    /// ```
    pub fn record_failure(&mut self, error: SyncError) {
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        self.retry_attempt = self.retry_attempt.saturating_add(1);
        self.total_failures = self.total_failures.saturating_add(1);
        self.consecutive_successes = 0;
        self.last_failure_time = Some(ago(0));
        self.last_error = Some(error);
    }

    /// Forgets everything.
    ///
    /// ```
    /// let mut health = peer_health::PeerHealthTracker::default();
    /// health.record_success();
    /// health.reset();
    /// assert_eq!(health.consecutive_successes, 0);
    /// ```
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

impl From<Snapshot> for PeerHealthTracker {
    fn from(seen: Snapshot) -> Self {
        Self {
            circuit_state: seen.status.into(),
            consecutive_failures: seen.consecutive_failures,
            consecutive_successes: u32::try_from(seen.consecutive_successes).unwrap_or(u32::MAX),
            last_failure_time: seen.last_error_at,
            circuit_opened_at: seen.opened_at,
            total_failures: seen.errors,
            last_error: seen.last_error.map(|failure| failure.error().clone()),
            retry_attempt: seen.retry_attempt,
        }
    }
}
