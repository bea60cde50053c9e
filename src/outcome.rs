//! The registry's answers: a refusal, the effect of an outcome, the next admission, a status, the counts of
//! a window.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

/// A refusal: the caller makes no call now, and learns the reason and when to ask again, if that is known.
///
/// It prints both: `refused: circuit open, again in 2.5 s`.
///
/// ```
/// use peer_health::{HealthConfig, HealthRegistry, Reason, SyncError};
/// use std::time::Duration;
///
/// let config = HealthConfig::default()
///     .with_failure_threshold(1)
///     .with_open_timeout(Duration::from_secs(5));
/// let registry = HealthRegistry::<u32>::builder().config(config).build()?;
/// registry.acquire(&7).unwrap().failure(SyncError::Network("reset".into()));
///
/// let refused = registry.acquire(&7).unwrap_err();
/// assert_eq!(refused.reason, Reason::Open);
/// assert!(refused.retry_after.unwrap() <= Duration::from_secs(5));
/// # Ok::<(), peer_health::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[error("refused: {reason}{}", again(*retry_after))]
#[non_exhaustive]
pub struct Refused {
    /// The reason of the refusal.
    pub reason: Reason,
    /// The time until a call may be admitted; `None` if no clock alone decides that.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serde::some_seconds"))]
    pub retry_after: Option<Duration>,
    /// In how many milliseconds to ask again where `retry_after` says nothing.
    #[cfg_attr(feature = "serde", serde(skip))]
    hint: u16,
}

/// Where nobody knows when to ask again: a second, in milliseconds.
const HINT: u16 = 1000;

impl Refused {
    pub(crate) fn new(reason: Reason, retry_after: Option<Duration>) -> Self {
        Self { reason, retry_after, hint: HINT }
    }

    /// By a half-open circuit whose probes are out; how long until time alone frees a slot, if it does.
    pub(crate) fn by_probes(frees: Option<Duration>) -> Self {
        let millis = frees.map_or(u128::MAX, |rest| rest.as_nanos().div_ceil(1_000_000));
        let hint = u16::try_from(millis).map_or(HINT, |millis| millis.clamp(1, HINT));
        Self { hint, ..Self::new(Reason::ProbesInFlight, None) }
    }

    /// Returns how long to wait before asking again: `retry_after` where that is known. Where it is not,
    /// a hint: until the lease of the oldest probe ends, or the phase is as old as it may get, and a
    /// second at most.
    ///
    /// For a loop that asks again and again, which needs no wait of its own invention. In asynchronous
    /// code `acquire_when_ready` (feature `tokio`) waits for the cause, and not by the clock alone.
    ///
    /// ```
    /// use peer_health::{Clock, HealthConfig, HealthRegistry, SyncError};
    /// use std::time::Duration;
    ///
    /// let config = HealthConfig::default()
    ///     .with_failure_threshold(1)
    ///     .with_success_threshold(1)
    ///     .with_open_timeout(Duration::from_secs(5))
    ///     .with_open_jitter(0.0);
    /// let (clock, hand) = Clock::manual();
    /// let registry = HealthRegistry::<u32>::builder().config(config).clock(clock).build()?;
    /// registry.acquire(&7).unwrap().failure(SyncError::Network("reset".into()));
    /// assert_eq!(registry.acquire(&7).unwrap_err().ask_again_after(), Duration::from_secs(5));
    /// hand.advance(Duration::from_secs(5));
    /// let _probe = registry.acquire(&7).unwrap();
    /// assert_eq!(registry.acquire(&7).unwrap_err().ask_again_after(), Duration::from_secs(1));
    /// hand.advance(Duration::from_millis(59_700)); // of the minute that its lease lasts
    /// assert_eq!(registry.acquire(&7).unwrap_err().ask_again_after(), Duration::from_millis(300));
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn ask_again_after(&self) -> Duration {
        self.retry_after.unwrap_or(Duration::from_millis(self.hint.into()))
    }
}

/// Returns how a message names the wait, if it is known.
fn again(retry_after: Option<Duration>) -> String {
    retry_after.map(|wait| format!(", again in {}", Seconds(wait))).unwrap_or_default()
}

/// Prints a time in seconds and tenths, rounded up.
pub(crate) struct Seconds(pub(crate) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = self.0.as_nanos().div_ceil(100_000_000);
        match (tenths / 10, tenths % 10) {
            (whole, 0) => write!(f, "{whole} s"),
            (whole, tenth) => write!(f, "{whole}.{tenth} s"),
        }
    }
}

/// A reason for which a call was [`Refused`], and what the caller does about it.
///
/// ```
/// assert_eq!(peer_health::Reason::ForcedOpen.to_string(), "forced open");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Reason {
    /// The circuit is open: the caller comes back after `retry_after`.
    #[error("circuit open")]
    Open,
    /// The circuit is half-open and its probes are out: the caller comes back when one of them has decided.
    #[error("probes in flight")]
    ProbesInFlight,
    /// An operator forced the circuit open: until a reset, or for as long as `retry_after` says.
    #[error("forced open")]
    ForcedOpen,
}

/// The effect of an outcome on the circuit.
///
/// ```
/// use peer_health::{HealthRegistry, Recorded, SyncError};
///
/// let registry = HealthRegistry::<u32>::new();
/// let permit = registry.acquire(&7).unwrap();
/// assert_eq!(permit.failure(SyncError::Network("reset".into())), Recorded::Counted);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recorded {
    /// The outcome counts.
    Counted,
    /// The outcome says nothing of the peer: the fault is ours or a document's, or the circuit is disabled.
    Neutral,
    /// The outcome counts, and it opened the circuit.
    Opened {
        /// The time for which the circuit stays open.
        retry_after: Duration,
    },
    /// The outcome's phase was over, so it changed nothing.
    Late,
}

/// The next admission of a call, as far as the registry knows it without admitting one.
///
/// ```
/// use peer_health::{HealthRegistry, NextAdmission};
/// let registry = HealthRegistry::<u32>::new();
/// assert_eq!(registry.next_admission(&7), NextAdmission::Now);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum NextAdmission {
    /// A call may be admitted now.
    Now,
    /// No call is admitted before this much time has passed.
    After(#[cfg_attr(feature = "serde", serde(serialize_with = "crate::serde::seconds"))] Duration),
    /// The time depends on the probes in flight, or on an operator.
    Unknown,
}

/// The status of a peer's circuit.
///
/// ```
/// use peer_health::{HealthRegistry, Status};
/// let registry = HealthRegistry::<u32>::new();
/// assert_eq!(registry.status(&7), Status::Closed);
/// registry.force_open(&7)?;
/// assert_eq!(registry.status(&7), Status::ForcedOpen);
/// assert_eq!(registry.status(&7).to_string(), "forced open");
/// # Ok::<(), peer_health::TableFull>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Status {
    /// The circuit admits all calls.
    Closed,
    /// The circuit refuses calls until its wait is over. It then stays open until a call asks for a permit,
    /// or a report comes.
    Open,
    /// A few probes decide whether the circuit closes.
    HalfOpen,
    /// An operator forced the circuit open: it refuses calls until a reset, or until the given time is over,
    /// when this status becomes [`Closed`](Self::Closed).
    ForcedOpen,
    /// An operator switched the circuit off: it admits all calls and records nothing.
    Disabled,
    /// An operator lets the circuit admit all calls; it records outcomes and never opens.
    MetricsOnly,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
            Self::ForcedOpen => "forced open",
            Self::Disabled => "disabled",
            Self::MetricsOnly => "metrics only",
        })
    }
}

/// An error: the table is full of peers that the registry may not forget, so it can keep nothing about this
/// one and the control had no effect. Raise `max_peers`, or remove a peer.
///
/// ```
/// use peer_health::{HealthConfig, HealthRegistry, TableFull};
///
/// let config = HealthConfig::default().with_max_peers(1);
/// let registry = HealthRegistry::<u32>::builder().config(config).build()?;
/// registry.force_open(&1).unwrap();
/// assert_eq!(registry.force_open(&2), Err(TableFull));
/// # Ok::<(), peer_health::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the registry is full: nothing can be kept about this peer")]
pub struct TableFull;

/// Counts of the calls in a window, and of those that failed or were slow.
///
/// ```
/// use peer_health::{HealthConfig, HealthRegistry, SyncError, Window};
///
/// let config = HealthConfig::default().with_window(Window::count(10)).with_failure_rate(0.5);
/// let registry = HealthRegistry::<u32>::builder().config(config).build()?;
/// registry.acquire(&7).unwrap().failure(SyncError::Network("reset".into()));
/// let window = registry.snapshot(&7).unwrap().window;
/// assert_eq!((window.total, window.failures, window.slow), (1, 1, 0));
/// # Ok::<(), peer_health::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct WindowCounts {
    /// The calls in the window.
    pub total: u64,
    /// The calls that failed.
    pub failures: u64,
    /// The slow calls, failed or not.
    pub slow: u64,
}
