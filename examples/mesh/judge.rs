//! What a node thinks of its neighbours: this library, or the design that it replaces.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use iroh::EndpointId;
use peer_health::{
    CircuitState, ConfigError, Event, Failure, HealthConfig, HealthMonitor, HealthRegistry,
    NextAdmission, PeerHealthTracker, Status, SyncError,
};

use crate::options::Design;

const FAILURES_TO_OPEN: u32 = 3;
const SUCCESSES_TO_CLOSE: u32 = 2;
const OPEN_FOR: Duration = Duration::from_secs(1);

pub(crate) enum Judge {
    Ours(HealthMonitor<EndpointId>),
    SyncErrors(Arc<SyncErrors>),
}

/// What there is to see of a peer's circuit.
pub(crate) struct View {
    pub(crate) status: Status,
    /// For how long nobody may call it, where that is known.
    pub(crate) wait: Option<Duration>,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) trips: u64,
    pub(crate) last_error: Option<(SystemTime, String)>,
}

impl Default for View {
    fn default() -> Self {
        let (succeeded, failed, trips) = (0, 0, 0);
        Self { status: Status::Closed, wait: None, succeeded, failed, trips, last_error: None }
    }
}

impl Judge {
    pub(crate) fn new(
        design: Design,
        seed: u64,
        listener: impl Fn(&Event<EndpointId>) + Send + Sync + 'static,
    ) -> Result<Self, ConfigError> {
        if design == Design::SyncErrors {
            return Ok(Self::SyncErrors(Arc::default()));
        }
        let config = HealthConfig::default()
            .with_failure_threshold(FAILURES_TO_OPEN)
            .with_success_threshold(SUCCESSES_TO_CLOSE)
            .with_open_timeout(OPEN_FOR)
            .with_open_multiplier(1.5)
            .with_open_max(Duration::from_secs(4))
            .with_open_jitter(0.2)
            .with_probe_lease(Duration::from_secs(5));
        let builder = HealthRegistry::builder().config(config).seed(seed).listener(listener);
        Ok(Self::Ours(HealthMonitor::new(builder.build()?)))
    }

    /// The place of a peer among all those that could be asked, the best first.
    pub(crate) fn rank(&self, peer: &EndpointId, all: &[EndpointId]) -> Option<usize> {
        match self {
            Self::Ours(monitor) => monitor.rank(all).into_iter().position(|other| other == peer),
            Self::SyncErrors(_) => None,
        }
    }

    pub(crate) fn view(&self, peer: &EndpointId) -> View {
        let registry = match self {
            Self::Ours(monitor) => monitor.registry(),
            Self::SyncErrors(design) => {
                return design.lock().get(peer).map(Peer::view).unwrap_or_default();
            }
        };
        let Some(snapshot) = registry.snapshot(peer) else { return View::default() };
        let last_error = snapshot.last_error.map(|failure| {
            // An error that does not count is shown, and says so.
            let mark = if failure.counts() { "" } else { "not counted: " };
            format!("{mark}{failure}")
        });
        View {
            status: snapshot.status,
            wait: match snapshot.next_admission {
                NextAdmission::After(wait) => Some(wait),
                _ => None,
            },
            succeeded: snapshot.totals.succeeded,
            failed: snapshot.totals.failed,
            trips: snapshot.totals.opened,
            last_error: snapshot.last_error_at.zip(last_error),
        }
    }
}

/// The replaced design: all peers behind one lock; every error counts, whoever is to blame; and
/// only another error, reported after the wait, takes a circuit from open to half-open. Its caller
/// makes no call while the circuit is open, so there is no other error.
#[derive(Default)]
pub(crate) struct SyncErrors(Mutex<HashMap<EndpointId, Peer>>);

#[derive(Default)]
struct Peer {
    health: PeerHealthTracker,
    succeeded: u64,
    trips: u64,
}

impl SyncErrors {
    fn lock(&self) -> MutexGuard<'_, HashMap<EndpointId, Peer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_open(&self, peer: &EndpointId) -> bool {
        self.lock().get(peer).is_some_and(|peer| peer.health.circuit_state == CircuitState::Open)
    }

    pub(crate) fn report(&self, id: EndpointId, outcome: Result<(), Failure>) {
        let mut peers = self.lock();
        let peer = peers.entry(id).or_default();
        match outcome {
            Ok(()) => peer.succeeded(),
            Err(failure) => peer.failed(failure.error().clone()),
        }
    }
}

impl Peer {
    fn view(&self) -> View {
        let health = &self.health;
        View {
            status: match health.circuit_state {
                CircuitState::Closed => Status::Closed,
                CircuitState::Open => Status::Open,
                CircuitState::HalfOpen => Status::HalfOpen,
            },
            wait: None,
            succeeded: self.succeeded,
            failed: health.total_failures,
            trips: self.trips,
            last_error: health
                .last_failure_time
                .zip(health.last_error.as_ref().map(|e| e.to_string())),
        }
    }

    fn succeeded(&mut self) {
        let health = &mut self.health;
        health.record_success();
        self.succeeded += 1;
        let enough = health.consecutive_successes >= SUCCESSES_TO_CLOSE;
        if health.circuit_state == CircuitState::HalfOpen && enough {
            health.circuit_state = CircuitState::Closed;
        }
    }

    fn failed(&mut self, error: SyncError) {
        let health = &mut self.health;
        health.record_failure(error);
        let waited = health.circuit_opened_at.and_then(|at| at.elapsed().ok());
        match health.circuit_state {
            CircuitState::Open if waited < Some(OPEN_FOR) => {}
            CircuitState::Open => health.circuit_state = CircuitState::HalfOpen,
            CircuitState::Closed if health.consecutive_failures < FAILURES_TO_OPEN => {}
            CircuitState::Closed | CircuitState::HalfOpen => {
                health.circuit_state = CircuitState::Open;
                health.circuit_opened_at = health.last_failure_time;
                self.trips += 1;
            }
        }
    }
}
