//! The design that this library replaces, `sync_errors`: the trackers of all peers in one map,
//! behind one lock.
//!
//! A guarded call locks it twice: to ask, shared; to report, alone. What is kept of a peer is what
//! [`PeerHealthTracker`] has, in the same layout: the shape of that type is frozen.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use iroh_base::EndpointId;
use peer_health::{
    CircuitBreakerConfig, CircuitState, ErrorSeverity, PeerHealthTracker, RetryPolicy, SyncError,
};

use super::tracked::{self, Step};
use super::{Caller, Contender, Key, Outcome, Setup};

type Peers<K> = HashMap<K, PeerHealthTracker>;

/// The handler, keyed as you like.
pub(crate) struct SyncErrors<K> {
    retry: RetryPolicy,
    config: CircuitBreakerConfig,
    peers: RwLock<Peers<K>>,
}

impl<K: Hash + Eq + Clone> SyncErrors<K> {
    pub(crate) fn new(open_for: Duration) -> Self {
        let config = CircuitBreakerConfig { open_timeout: open_for, ..Default::default() };
        Self { retry: RetryPolicy::default(), config, peers: RwLock::default() }
    }

    pub(crate) fn is_circuit_open(&self, peer: &K) -> bool {
        self.read().get(peer).is_some_and(|health| health.circuit_state == CircuitState::Open)
    }

    pub(crate) fn record_success(&self, peer: &K) {
        let mut peers = self.write();
        tracked::succeed(peers.entry(peer.clone()).or_default(), &self.config);
    }

    /// Takes an error; when to try again, or that the circuit is open.
    pub(crate) fn handle_error(
        &self,
        peer: &K,
        error: SyncError,
    ) -> Result<Option<Duration>, SyncError> {
        let mut peers = self.write();
        let health = peers.entry(peer.clone()).or_default();
        // It keeps a copy of the error.
        match tracked::fail(health, error.clone(), &self.config) {
            Step::Refused => return Err(SyncError::CircuitBreakerOpen),
            Step::Trial => return Ok(Some(Duration::ZERO)),
            Step::Counted => {}
        }
        if !error.is_retryable() {
            return Ok(None);
        }
        let policy = match error.severity() {
            ErrorSeverity::Transient => RetryPolicy::transient(),
            ErrorSeverity::Severe => RetryPolicy::severe(),
            _ => self.retry.clone(),
        };
        let attempt = health.retry_attempt;
        Ok(policy.should_retry(attempt).then(|| policy.delay_for_attempt(attempt)))
    }

    pub(crate) fn peer_health(&self, peer: &K) -> Option<PeerHealthTracker> {
        self.read().get(peer).cloned()
    }

    /// A snapshot of all: the map is cloned, and locked meanwhile.
    pub(crate) fn all_peer_health(&self) -> Peers<K> {
        self.read().clone()
    }

    fn read(&self) -> RwLockReadGuard<'_, Peers<K>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Peers<K>> {
        self.peers.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// [`SyncErrors`], shared.
pub(crate) struct Locked<K>(Arc<SyncErrors<K>>);

impl<K> Clone for Locked<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Key> Contender for Locked<K> {
    type Caller = Self;

    fn new(setup: &Setup<'_>) -> Self {
        let handler = SyncErrors::new(setup.trips.open_for);
        setup.peers.iter().for_each(|peer| handler.record_success(K::of(peer)));
        Self(Arc::new(handler))
    }

    fn caller(&self, _: &EndpointId) -> Self {
        self.clone()
    }
}

impl<K: Key> Caller for Locked<K> {
    #[inline(always)]
    fn guard(&mut self, peer: &EndpointId, outcome: Outcome) -> bool {
        let (peer, open) = (K::of(peer), self.0.is_circuit_open(K::of(peer)));
        match outcome {
            // A circuit that is open becomes half-open by an error that comes late enough, and by
            // nothing else: a caller that made no call would never get out of it again.
            Err(error) => self.0.handle_error(peer, error).is_ok(),
            Ok(()) if open => false,
            Ok(()) => {
                self.0.record_success(peer);
                true
            }
        }
    }

    #[inline]
    fn is_open(&mut self, peer: &EndpointId) -> bool {
        self.0.is_circuit_open(K::of(peer))
    }

    fn look(&mut self, peer: &EndpointId) -> bool {
        std::hint::black_box(self.0.peer_health(K::of(peer))).is_some()
    }
}
