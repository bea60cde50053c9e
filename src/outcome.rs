//! What the registry answers: a refusal, the fate of an outcome, when to come back, a status, the
//! counts of a window.

use std::time::Duration;

use thiserror::Error;

/// The call is not to be made now: why, and when to ask again if that is known.
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
#[error("peer not to be called: {reason}")]
#[non_exhaustive]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// How long until a call may be admitted; `None` if nobody can know.
    pub retry_after: Option<Duration>,
}

impl Refused {
    pub(crate) fn new(reason: Reason, retry_after: Option<Duration>) -> Self {
        Self { reason, retry_after }
    }
}

/// Why a call was [`Refused`], and what to do about it.
///
/// ```
/// assert_eq!(peer_health::Reason::ForcedOpen.to_string(), "forced open");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Reason {
    /// The circuit is open: come back after `retry_after`.
    #[error("circuit open")]
    Open,
    /// The circuit is half-open and its probes are out: come back when one has decided.
    #[error("probes in flight")]
    ProbesInFlight,
    /// An operator closed the way to this peer: until a reset, or for as long as `retry_after` says.
    #[error("forced open")]
    ForcedOpen,
}

/// What became of an outcome.
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
    /// It counts.
    Counted,
    /// It is no outcome on the peer: a fault of ours, of a document, or the circuit is disabled.
    Neutral,
    /// It counts, and it opened the circuit.
    Opened {
        /// How long the circuit stays open.
        retry_after: Duration,
    },
    /// Its phase was over: it changed nothing.
    Late,
}

/// When a call may be admitted, as far as can be told without asking to be admitted.
///
/// ```
/// use peer_health::{HealthRegistry, NextAdmission};
/// let registry = HealthRegistry::<u32>::new();
/// assert_eq!(registry.next_admission(&7), NextAdmission::Now);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NextAdmission {
    /// Now.
    Now,
    /// Not before this much time has passed.
    After(Duration),
    /// That depends on somebody: on the probes in flight, or on an operator.
    Unknown,
}

/// Where a peer's circuit stands.
///
/// ```
/// use peer_health::{HealthRegistry, Status};
/// let registry = HealthRegistry::<u32>::new();
/// assert_eq!(registry.status(&7), Status::Closed);
/// registry.force_open(&7)?;
/// assert_eq!(registry.status(&7), Status::ForcedOpen);
/// # Ok::<(), peer_health::Untracked>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// Calls are made.
    Closed,
    /// No calls until the wait is over. An open circuit whose wait is over stays so until
    /// somebody asks to be admitted.
    Open,
    /// A few probes decide.
    HalfOpen,
    /// An operator said no: no calls until a reset, or until the time that was given is over, from
    /// when on this reads [`Closed`](Self::Closed).
    ForcedOpen,
    /// An operator switched the circuit off: all calls are made and nothing is recorded.
    Disabled,
    /// An operator lets all calls be made; outcomes are recorded, and the circuit never opens.
    MetricsOnly,
}

/// The table is full of peers that may not be forgotten, so that nothing can be kept about this
/// one: the control had no effect. Raise `max_peers`, or remove a peer.
///
/// ```
/// use peer_health::{HealthConfig, HealthRegistry, Untracked};
///
/// let config = HealthConfig::default().with_max_peers(1);
/// let registry = HealthRegistry::<u32>::builder().config(config).build()?;
/// registry.force_open(&1).unwrap();
/// assert_eq!(registry.force_open(&2), Err(Untracked));
/// # Ok::<(), peer_health::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the registry is full: nothing can be kept about this peer")]
pub struct Untracked;

/// How many calls a window holds, and how many of them failed or were slow.
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
#[non_exhaustive]
pub struct WindowCounts {
    /// Calls in the window.
    pub total: u64,
    /// Those that failed.
    pub failures: u64,
    /// Those that were slow, failed or not.
    pub slow: u64,
}
