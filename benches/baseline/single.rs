//! Breakers that know one peer only: alone, and one for each peer behind a map.

use std::hash::BuildHasher;
use std::sync::Arc;

use dashmap::DashMap;
use iroh_base::EndpointId;

use super::{Caller, Contender, Key, Outcome, Setup};

/// A breaker for one peer; see [`Caller`].
pub(crate) trait Single: Send + Sync + 'static {
    fn new(setup: &Setup<'_>) -> Self;
    fn guard(&self, outcome: Outcome) -> bool;
    fn is_open(&self) -> bool;

    fn look(&self) -> bool {
        false
    }
}

/// One breaker, whoever the peer is.
pub(crate) struct Bare<B>(Arc<B>);

impl<B> Clone for Bare<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B: Single> Contender for Bare<B> {
    type Caller = Self;

    fn new(setup: &Setup<'_>) -> Self {
        Self(Arc::new(B::new(setup)))
    }

    fn caller(&self, _: &EndpointId) -> Self {
        self.clone()
    }
}

impl<B: Single> Caller for Bare<B> {
    #[inline(always)]
    fn guard(&mut self, _: &EndpointId, outcome: Outcome) -> bool {
        self.0.guard(outcome)
    }

    #[inline]
    fn is_open(&mut self, _: &EndpointId) -> bool {
        self.0.is_open()
    }

    fn look(&mut self, _: &EndpointId) -> bool {
        self.0.look()
    }
}

/// A map from each peer to its breaker. One lookup per guarded outcome: the shard stays locked,
/// shared, while the breaker is asked and told. That is the fastest way to write it, and possible
/// here because the call itself takes no time.
pub(crate) struct PerPeer<K, B, S>(Arc<DashMap<K, B, S>>);

impl<K, B, S> Clone for PerPeer<K, B, S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Key, B, S> Contender for PerPeer<K, B, S>
where
    B: Single,
    S: BuildHasher + Clone + Default + Send + Sync + 'static,
{
    type Caller = Self;

    fn new(setup: &Setup<'_>) -> Self {
        let peers = DashMap::with_hasher(S::default());
        for peer in setup.peers {
            peers.insert(K::of(peer).clone(), B::new(setup));
        }
        Self(Arc::new(peers))
    }

    fn caller(&self, _: &EndpointId) -> Self {
        self.clone()
    }
}

impl<K: Key, B, S> Caller for PerPeer<K, B, S>
where
    B: Single,
    S: BuildHasher + Clone + Send + Sync + 'static,
{
    #[inline(always)]
    fn guard(&mut self, peer: &EndpointId, outcome: Outcome) -> bool {
        self.0.get(K::of(peer)).is_some_and(|breaker| breaker.guard(outcome))
    }

    #[inline]
    fn is_open(&mut self, peer: &EndpointId) -> bool {
        self.0.get(K::of(peer)).is_some_and(|breaker| breaker.is_open())
    }

    fn look(&mut self, peer: &EndpointId) -> bool {
        self.0.get(K::of(peer)).is_some_and(|breaker| breaker.look())
    }
}
