//! This library: by a handle on the peer, and by the peer's id.

use iroh_base::EndpointId;
use peer_health::{HealthConfig, HealthRegistry, PeerHandle};

use super::{Caller, Contender, Outcome, Setup};

/// The default configuration, with room for the peers that the others hold too.
fn registry(setup: &Setup<'_>) -> HealthRegistry<EndpointId> {
    let base = HealthConfig::default();
    let room = base.max_peers.max(2 * setup.peers.len());
    let config = base.with_max_peers(room).with_open_timeout(setup.trips.open_for);
    let config = config.with_failure_threshold(setup.trips.threshold);
    // A registry is made in any case: the configuration is sound.
    let registry = HealthRegistry::builder().config(config).build().unwrap_or_default();
    for peer in setup.peers {
        drop(registry.peer(peer));
    }
    registry
}

/// What a user writes.
macro_rules! guard {
    ($acquired:expr, $outcome:expr) => {{
        let Ok(permit) = $acquired else { return false };
        match $outcome {
            Ok(()) => permit.success(),
            Err(error) => permit.failure(error),
        };
        true
    }};
}

/// `registry.peer(&id)`, once; then `handle.acquire()`.
#[derive(Clone)]
pub(crate) struct ByHandle(HealthRegistry<EndpointId>);

impl Contender for ByHandle {
    type Caller = PeerHandle<EndpointId>;

    fn new(setup: &Setup<'_>) -> Self {
        Self(registry(setup))
    }

    fn caller(&self, peer: &EndpointId) -> Self::Caller {
        self.0.peer(peer)
    }
}

impl Caller for PeerHandle<EndpointId> {
    #[inline(always)]
    fn guard(&mut self, _: &EndpointId, outcome: Outcome) -> bool {
        guard!(self.acquire(), outcome)
    }

    #[inline]
    fn is_open(&mut self, _: &EndpointId) -> bool {
        self.is_circuit_open()
    }

    fn look(&mut self, _: &EndpointId) -> bool {
        std::hint::black_box(self.snapshot()).is_some()
    }
}

/// `registry.acquire(&id)`, each time.
#[derive(Clone)]
pub(crate) struct ById(HealthRegistry<EndpointId>);

impl ById {
    pub(crate) fn registry(&self) -> &HealthRegistry<EndpointId> {
        &self.0
    }
}

impl Contender for ById {
    type Caller = Self;

    fn new(setup: &Setup<'_>) -> Self {
        Self(registry(setup))
    }

    fn caller(&self, _: &EndpointId) -> Self {
        self.clone()
    }
}

impl Caller for ById {
    #[inline(always)]
    fn guard(&mut self, peer: &EndpointId, outcome: Outcome) -> bool {
        guard!(self.0.acquire(peer), outcome)
    }

    #[inline]
    fn is_open(&mut self, peer: &EndpointId) -> bool {
        self.0.is_circuit_open(peer)
    }

    fn look(&mut self, peer: &EndpointId) -> bool {
        std::hint::black_box(self.0.snapshot(peer)).is_some()
    }
}
