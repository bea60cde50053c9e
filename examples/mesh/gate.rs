//! Who may be called: this library, or the design that it replaces.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime};

use iroh::EndpointId;
use peer_health::{ConfigError, Failure, HealthConfig, HealthRegistry, Status};
use tokio::time::Instant;

use crate::options::Design;

const FAILURES_TO_OPEN: u32 = 3;
const SUCCESSES_TO_CLOSE: u32 = 2;
const OPEN_FOR: Duration = Duration::from_secs(1);

/// The right to make one call; takes its outcome.
pub(crate) type Pass = Box<dyn FnOnce(Result<(), Failure>) + Send>;

/// A node's opinion of its neighbours.
pub(crate) trait Gate: Send + Sync {
    /// Asks to call a peer. If it may not be called: when to ask again, if that is known.
    fn enter(&self, peer: &EndpointId) -> Result<Pass, Option<Duration>>;
    fn view(&self, peer: &EndpointId) -> View;
}

/// What there is to see of a peer's circuit.
pub(crate) struct View {
    pub(crate) status: Status,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) trips: u64,
    pub(crate) last_error: Option<(SystemTime, String)>,
}

impl Default for View {
    fn default() -> Self {
        Self { status: Status::Closed, succeeded: 0, failed: 0, trips: 0, last_error: None }
    }
}

pub(crate) fn gate(design: Design, seed: u64) -> Result<Box<dyn Gate>, ConfigError> {
    Ok(match design {
        Design::Ours => Box::new(Ours::new(seed)?),
        Design::SyncErrors => Box::new(SyncErrors::default()),
    })
}

/// This library.
struct Ours(HealthRegistry<EndpointId>);

impl Ours {
    fn new(seed: u64) -> Result<Self, ConfigError> {
        let config = HealthConfig::default()
            .with_failure_threshold(FAILURES_TO_OPEN)
            .with_success_threshold(SUCCESSES_TO_CLOSE)
            .with_open_timeout(OPEN_FOR)
            .with_open_multiplier(1.5)
            .with_open_max(Duration::from_secs(4))
            .with_open_jitter(0.2)
            .with_probe_lease(Duration::from_secs(5));
        Ok(Self(HealthRegistry::builder().config(config).seed(seed).build()?))
    }
}

impl Gate for Ours {
    fn enter(&self, peer: &EndpointId) -> Result<Pass, Option<Duration>> {
        let permit = self.0.acquire(peer).map_err(|refused| refused.retry_after)?;
        Ok(Box::new(move |outcome| {
            match outcome {
                Ok(()) => permit.success(),
                Err(failure) => permit.failure(failure),
            };
        }))
    }

    fn view(&self, peer: &EndpointId) -> View {
        let Some(snapshot) = self.0.snapshot(peer) else { return View::default() };
        let last_error = snapshot.last_error.map(|failure| {
            // An error that does not count is shown, and says so.
            let mark = if failure.counts() { "" } else { "not counted: " };
            format!("{mark}{failure}")
        });
        View {
            status: snapshot.status,
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
struct SyncErrors(Arc<Peers>);

#[derive(Default)]
struct Peers(RwLock<HashMap<EndpointId, Peer>>);

#[derive(Default)]
struct Peer {
    view: View,
    failures_in_a_row: u32,
    successes_in_a_row: u32,
    opened: Option<Instant>,
}

impl Gate for SyncErrors {
    fn enter(&self, peer: &EndpointId) -> Result<Pass, Option<Duration>> {
        if self.0.read().get(peer).is_some_and(|peer| peer.view.status == Status::Open) {
            return Err(None);
        }
        let (peers, id) = (Arc::clone(&self.0), *peer);
        Ok(Box::new(move |outcome| {
            let mut peers = peers.write();
            let peer = peers.entry(id).or_default();
            match outcome {
                Ok(()) => peer.succeeded(),
                Err(failure) => peer.failed(&failure),
            }
        }))
    }

    fn view(&self, peer: &EndpointId) -> View {
        let peers = self.0.read();
        let Some(Peer { view, .. }) = peers.get(peer) else { return View::default() };
        View { last_error: view.last_error.clone(), ..*view }
    }
}

impl Peers {
    fn read(&self) -> RwLockReadGuard<'_, HashMap<EndpointId, Peer>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<EndpointId, Peer>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    fn succeeded(&mut self) {
        self.view.succeeded += 1;
        self.failures_in_a_row = 0;
        self.successes_in_a_row += 1;
        let enough = self.successes_in_a_row >= SUCCESSES_TO_CLOSE;
        if self.view.status == Status::HalfOpen && enough {
            self.view.status = Status::Closed;
        }
    }

    #[allow(clippy::disallowed_methods, reason = "for display")]
    fn failed(&mut self, failure: &Failure) {
        self.view.failed += 1;
        self.view.last_error = Some((SystemTime::now(), failure.to_string()));
        self.successes_in_a_row = 0;
        self.failures_in_a_row += 1;
        match self.view.status {
            Status::Open if self.opened.is_some_and(|at| at.elapsed() >= OPEN_FOR) => {
                self.view.status = Status::HalfOpen;
            }
            Status::HalfOpen => self.open(),
            Status::Closed if self.failures_in_a_row >= FAILURES_TO_OPEN => self.open(),
            _ => {}
        }
    }

    fn open(&mut self) {
        self.view.status = Status::Open;
        self.view.trips += 1;
        self.opened = Some(Instant::now());
    }
}
