//! The API of peat-mesh's `sync_errors`, by name and signature, on top of the registry (R22 to
//! R24).

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use crate::circuit::Outcome;
use crate::circuit::Reported;
use crate::error::{ErrorSeverity, Failure, SyncError};
use crate::outcome::Recorded;
use crate::registry::{HealthRegistry, PeerKey};
use crate::retry_policy::RetryPolicy;
use crate::sync::Arc;
use crate::sync_errors::PeerHealthTracker;
use crate::sync_errors::config::{CircuitBreakerConfig, warn};

/// Handles the errors of syncs with many peers: [`ErrorHandler`] for iroh's `EndpointId`.
///
/// ```
/// use peer_health::{SyncError, SyncErrorHandler};
///
/// let handler = SyncErrorHandler::new();
/// let peer = iroh_base::SecretKey::from_bytes(&[7; 32]).public();
/// let delay = handler.handle_error(&peer, SyncError::Network("reset".into())).unwrap();
/// assert!(delay.is_some());
/// ```
#[cfg(feature = "endpoint-id")]
pub type SyncErrorHandler = ErrorHandler<iroh_base::EndpointId>;

/// Takes reports of errors and successes, and says whether and when to try again.
///
/// The drop-in for `sync_errors`: a program that asks [`is_circuit_open`](Self::is_circuit_open)
/// before each call and reports each outcome keeps working, and its circuits now recover. That
/// question bounds no probes, though; [`registry`](Self::registry) gives the API that does:
///
/// ```
/// use peer_health::{ErrorHandler, SyncError};
///
/// let handler = ErrorHandler::<u32>::new();
/// // As before: ask, call, report.
/// if !handler.is_circuit_open(&7) {
///     handler.record_success(&7);
/// }
/// // Better: at most a few calls probe a peer that was down, and none is forgotten.
/// if let Ok(permit) = handler.registry().acquire(&7) {
///     permit.success();
/// }
/// assert_eq!(handler.peer_health(&7).unwrap().consecutive_successes, 2);
/// ```
#[derive(Clone)]
pub struct ErrorHandler<K> {
    registry: HealthRegistry<K>,
    retry: RetryPolicy,
    transient: RetryPolicy,
    severe: RetryPolicy,
    retry_severe: bool,
}

impl<K: PeerKey> ErrorHandler<K> {
    /// A handler with the default retry policy and the circuit that the environment describes.
    ///
    /// ```
    /// assert!(peer_health::ErrorHandler::<u32>::new().all_peer_health().is_empty());
    /// ```
    pub fn new() -> Self {
        Self::with_policies(RetryPolicy::default(), CircuitBreakerConfig::default())
    }

    /// A handler with policies of your own. What makes no sense is clamped, with a warning:
    /// thresholds of zero act as one, a `success_threshold` above 64 as 64.
    ///
    /// ```
    /// use peer_health::{CircuitBreakerConfig, ErrorHandler, RetryPolicy, SyncError};
    ///
    /// let circuit = CircuitBreakerConfig { failure_threshold: 1, ..Default::default() };
    /// let handler = ErrorHandler::<u32>::with_policies(RetryPolicy::default(), circuit);
    /// let reply = handler.handle_error(&7, SyncError::Network("reset".into()));
    /// assert_eq!(reply, Err(SyncError::CircuitBreakerOpen));
    /// ```
    pub fn with_policies(retry_policy: RetryPolicy, circuit_config: CircuitBreakerConfig) -> Self {
        let (config, problems) = circuit_config.clamped();
        problems.iter().chain(retry_policy.check().err().iter()).for_each(warn);
        let registry = HealthRegistry::builder().config(config).build().unwrap_or_default();
        Self { retry: retry_policy, ..Self::with_registry(registry) }
    }

    /// A handler on a registry that others use too.
    ///
    /// ```
    /// use peer_health::{ErrorHandler, HealthRegistry};
    /// let registry = HealthRegistry::<u32>::new();
    /// let handler = ErrorHandler::with_registry(registry.clone());
    /// handler.record_success(&7);
    /// assert!(registry.contains(&7));
    /// ```
    pub fn with_registry(registry: HealthRegistry<K>) -> Self {
        Self {
            registry,
            retry: RetryPolicy::default(),
            transient: RetryPolicy::transient(),
            severe: RetryPolicy::severe(),
            retry_severe: false,
        }
    }

    /// Replaces the policy for [`Recoverable`](ErrorSeverity::Recoverable) errors.
    ///
    /// ```
    /// use peer_health::{ErrorHandler, RetryPolicy, SyncError};
    /// let never = RetryPolicy { max_attempts: 0, ..RetryPolicy::default() };
    /// let handler = ErrorHandler::<u32>::new().with_retry_policy(never);
    /// assert_eq!(handler.handle_error(&7, SyncError::Network("reset".into())), Ok(None));
    /// ```
    #[must_use]
    pub fn with_retry_policy(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// Replaces the policy for [`Transient`](ErrorSeverity::Transient) errors.
    ///
    /// ```
    /// use peer_health::{ErrorHandler, RetryPolicy, SyncError};
    /// let never = RetryPolicy { max_attempts: 0, ..RetryPolicy::default() };
    /// let handler = ErrorHandler::<u32>::new().with_transient_policy(never);
    /// assert_eq!(handler.handle_error(&7, SyncError::PeerNotFound("?".into())), Ok(None));
    /// ```
    #[must_use]
    pub fn with_transient_policy(mut self, policy: RetryPolicy) -> Self {
        self.transient = policy;
        self
    }

    /// Replaces the policy for [`Severe`](ErrorSeverity::Severe) errors, and retries them; by
    /// default they are given up at once.
    ///
    /// ```
    /// use peer_health::{ErrorHandler, RetryPolicy, SyncError};
    /// let garbage = || SyncError::Protocol("garbage".into());
    /// let handler = ErrorHandler::<u32>::new();
    /// assert_eq!(handler.handle_error(&7, garbage()), Ok(None));
    /// let handler = handler.with_severe_policy(RetryPolicy::severe());
    /// assert!(handler.handle_error(&8, garbage()).unwrap().is_some());
    /// ```
    #[must_use]
    pub fn with_severe_policy(mut self, policy: RetryPolicy) -> Self {
        self.severe = policy;
        self.retry_severe = true;
        self
    }

    /// The registry: permits, snapshots, controls.
    ///
    /// ```
    /// let handler = peer_health::ErrorHandler::<u32>::new();
    /// handler.registry().force_open(&7)?;
    /// assert!(handler.is_circuit_open(&7));
    /// # Ok::<(), peer_health::TableFull>(())
    /// ```
    pub fn registry(&self) -> &HealthRegistry<K> {
        &self.registry
    }

    /// Reports an error. `Ok(Some(delay))`: try again after that; `Ok(None)`: do not.
    ///
    /// A peer for which the table has no room is not tried again: nobody would count its attempts.
    ///
    /// Errors that are not the peer's fault ([`SyncError::Document`],
    /// [`SyncError::CircuitBreakerOpen`], [`SyncError::BandwidthExhausted`]) move no circuit.
    ///
    /// # Errors
    ///
    /// [`SyncError::CircuitBreakerOpen`] if the circuit is open now: by this error, or still.
    ///
    /// ```
    /// use peer_health::{ErrorHandler, SyncError};
    /// let handler = ErrorHandler::<u32>::new();
    /// let delay = handler.handle_error(&7, SyncError::Network("reset".into()))?;
    /// assert!(delay.unwrap().as_millis() >= 100);
    /// assert_eq!(handler.handle_error(&7, SyncError::Document("corrupt".into()))?, None);
    /// # Ok::<(), SyncError>(())
    /// ```
    pub fn handle_error(
        &self,
        peer_id: &K,
        error: SyncError,
    ) -> Result<Option<Duration>, SyncError> {
        let (outcome, failure) = self.registry.judged(Failure::from(error));
        let failure = Arc::new(failure);
        let (reply, attempt) = self.registry.report(peer_id, outcome, Some(&failure));
        match reply {
            Reported::Recorded(Recorded::Opened { .. }) | Reported::Refused => {
                Err(SyncError::CircuitBreakerOpen)
            }
            Reported::Now => Ok(Some(Duration::ZERO)),
            // Nobody counts the attempts of a peer that is not tracked.
            Reported::Gone => Ok(None),
            Reported::Recorded(_) => Ok(self.delay(failure.error(), attempt)),
        }
    }

    /// Reports a success.
    ///
    /// ```
    /// let handler = peer_health::ErrorHandler::<u32>::new();
    /// handler.record_success(&7);
    /// assert_eq!(handler.peer_health(&7).unwrap().consecutive_successes, 1);
    /// ```
    pub fn record_success(&self, peer_id: &K) {
        self.registry.report(peer_id, Outcome::Success, None);
    }

    /// What is known of a peer; `None` if nothing was ever recorded for it.
    ///
    /// ```
    /// assert!(peer_health::ErrorHandler::<u32>::new().peer_health(&7).is_none());
    /// ```
    pub fn peer_health(&self, peer_id: &K) -> Option<PeerHealthTracker> {
        self.registry.snapshot(peer_id).map(PeerHealthTracker::from)
    }

    /// What is known of all peers: see [`HealthRegistry::for_each`] for how consistent that is.
    ///
    /// ```
    /// let handler = peer_health::ErrorHandler::<u32>::new();
    /// handler.record_success(&7);
    /// assert!(handler.all_peer_health().contains_key(&7));
    /// ```
    pub fn all_peer_health(&self) -> HashMap<K, PeerHealthTracker> {
        let mut all = HashMap::with_capacity(self.registry.len());
        self.registry.for_each(|peer, seen| {
            all.insert(peer.clone(), seen.into());
        });
        all
    }

    /// Forgets what is held against a peer: it then reads as new. An unknown peer stays unknown.
    ///
    /// ```
    /// let handler = peer_health::ErrorHandler::<u32>::new();
    /// handler.record_success(&7);
    /// handler.reset_peer(&7);
    /// assert_eq!(handler.peer_health(&7).unwrap().consecutive_successes, 0);
    /// ```
    pub fn reset_peer(&self, peer_id: &K) {
        self.registry.reset(peer_id);
    }

    /// Whether calls to the peer are to be refused: its circuit is open and the wait not over, or
    /// it is forced open. Moves no circuit, and bounds no probes: when the wait is over, every
    /// caller that asks is told to call. [`HealthRegistry::acquire`] lets a few through.
    ///
    /// ```
    /// assert!(!peer_health::ErrorHandler::<u32>::new().is_circuit_open(&7));
    /// ```
    pub fn is_circuit_open(&self, peer_id: &K) -> bool {
        self.registry.is_circuit_open(peer_id)
    }

    /// When to try again after so many errors in a row (R20).
    fn delay(&self, error: &SyncError, attempt: u32) -> Option<Duration> {
        let policy = match error.severity() {
            ErrorSeverity::Transient => &self.transient,
            ErrorSeverity::Recoverable => &self.retry,
            ErrorSeverity::Severe if self.retry_severe => &self.severe,
            ErrorSeverity::Severe | ErrorSeverity::Fatal => return None,
        };
        policy.should_retry(attempt).then(|| policy.delay_for_attempt(attempt))
    }
}

impl<K: PeerKey> Default for ErrorHandler<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: PeerKey> fmt::Debug for ErrorHandler<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorHandler").field("registry", &self.registry).finish_non_exhaustive()
    }
}
