//! One peer's tracker as `sync_errors` moves it, and the same behind a mutex of its own.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use peer_health::{CircuitBreakerConfig, CircuitState, PeerHealthTracker, SyncError};

use super::single::Single;
use super::{Outcome, Setup};

/// What an error has done.
pub(crate) enum Step {
    Counted,
    /// The circuit is half-open from now on: try at once.
    Trial,
    /// The circuit is open.
    Refused,
}

pub(crate) fn succeed(health: &mut PeerHealthTracker, config: &CircuitBreakerConfig) {
    health.record_success();
    let enough = health.consecutive_successes >= config.success_threshold;
    if health.circuit_state == CircuitState::HalfOpen && enough {
        health.circuit_state = CircuitState::Closed;
        health.circuit_opened_at = None;
    }
}

pub(crate) fn fail(
    health: &mut PeerHealthTracker,
    error: SyncError,
    config: &CircuitBreakerConfig,
) -> Step {
    health.record_failure(error);
    match health.circuit_state {
        CircuitState::Open if open_for(health) >= Some(config.open_timeout) => {
            health.circuit_state = CircuitState::HalfOpen;
            health.retry_attempt = 0;
            Step::Trial
        }
        CircuitState::Open => Step::Refused,
        CircuitState::Closed if health.consecutive_failures < config.failure_threshold => {
            Step::Counted
        }
        CircuitState::Closed | CircuitState::HalfOpen => {
            health.circuit_state = CircuitState::Open;
            health.circuit_opened_at = Some(now());
            Step::Refused
        }
    }
}

fn open_for(health: &PeerHealthTracker) -> Option<Duration> {
    let opened = health.circuit_opened_at?;
    Some(now().duration_since(opened).unwrap_or_default())
}

#[allow(clippy::disallowed_methods, reason = "that design reads the system's clock")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// A tracker with its configuration, to be put behind a mutex.
pub(crate) struct Tracked {
    health: PeerHealthTracker,
    config: CircuitBreakerConfig,
}

impl Tracked {
    fn new(setup: &Setup<'_>) -> Self {
        let config = CircuitBreakerConfig {
            failure_threshold: setup.trips.threshold,
            open_timeout: setup.trips.open_for,
            ..Default::default()
        };
        Self { health: PeerHealthTracker::default(), config }
    }

    fn is_open(&self) -> bool {
        self.health.circuit_state == CircuitState::Open
    }

    /// As `sync_errors` does it: only an error leads out of an open circuit.
    fn report(&mut self, outcome: Outcome) -> bool {
        match outcome {
            Err(error) => !matches!(fail(&mut self.health, error, &self.config), Step::Refused),
            Ok(()) if self.is_open() => false,
            Ok(()) => {
                succeed(&mut self.health, &self.config);
                true
            }
        }
    }
}

/// A way to lock a tracker.
pub(crate) trait Lock: Send + Sync + 'static {
    fn with<R>(&self, act: impl FnOnce(&mut Tracked) -> R) -> R;
    fn of(tracked: Tracked) -> Self;
}

impl Lock for Mutex<Tracked> {
    #[inline]
    fn with<R>(&self, act: impl FnOnce(&mut Tracked) -> R) -> R {
        let mut locked: MutexGuard<'_, _> = self.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut locked)
    }

    fn of(tracked: Tracked) -> Self {
        Self::new(tracked)
    }
}

impl Lock for parking_lot::Mutex<Tracked> {
    #[inline]
    fn with<R>(&self, act: impl FnOnce(&mut Tracked) -> R) -> R {
        act(&mut self.lock())
    }

    fn of(tracked: Tracked) -> Self {
        Self::new(tracked)
    }
}

/// Locked twice, as the call lies between the question and the report.
impl<L: Lock> Single for L {
    fn new(setup: &Setup<'_>) -> Self {
        Self::of(Tracked::new(setup))
    }

    #[inline(always)]
    fn guard(&self, outcome: Outcome) -> bool {
        let open = self.with(|tracked| tracked.is_open());
        (!open || outcome.is_err()) && self.with(|tracked| tracked.report(outcome))
    }

    #[inline]
    fn is_open(&self) -> bool {
        self.with(|tracked| tracked.is_open())
    }

    fn look(&self) -> bool {
        std::hint::black_box(self.with(|tracked| tracked.health.clone()));
        true
    }
}
