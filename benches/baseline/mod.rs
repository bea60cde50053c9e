//! What is compared: this library, the design that it replaces, other designs, other crates, and
//! floors that no design can be faster than.
//!
//! All of them guard calls to peers: ask whether the call may be made, and take its outcome. A
//! [`Contender`] is one of them; its [`Caller`] is what one thread or task holds of it.

mod crates;
mod floor;
mod ours;
mod single;
mod sync_errors;
mod tracked;

use std::hash::Hash;
use std::time::Duration;

use iroh_base::EndpointId;
use peer_health::SyncError;

pub(crate) use crates::{CircuitBreakerRs, Failsafe, Recloser, TowerResilience};
pub(crate) use ours::{ByHandle, ById};
pub(crate) use single::{Bare, Single};
pub(crate) use sync_errors::{Locked, SyncErrors};

/// What became of a call. The error is made for the occasion, as a caller's is, and handed over.
pub(crate) type Outcome = Result<(), SyncError>;

/// A map from each peer to a breaker of its own, with the usual hasher.
pub(crate) type PerPeer<B> = single::PerPeer<EndpointId, B, std::hash::RandomState>;
/// `DashMap` of a byte key to a counter, with this library's hasher: one lookup and one addition.
pub(crate) type MapFloor =
    single::PerPeer<[u8; 32], floor::Counter, foldhash::quality::RandomState>;
/// One addition.
pub(crate) type AddFloor = Bare<floor::Counter>;
/// A tracker behind the mutex of the standard library.
pub(crate) type StdMutex = std::sync::Mutex<tracked::Tracked>;
/// A tracker behind the mutex of `parking_lot`.
pub(crate) type ParkingMutex = parking_lot::Mutex<tracked::Tracked>;

/// What a contender is made for.
pub(crate) struct Setup<'a> {
    /// The peers, known before anything is measured.
    pub(crate) peers: &'a [EndpointId],
    pub(crate) trips: Trips,
}

/// When a circuit opens, and for how long.
#[derive(Clone, Copy)]
pub(crate) struct Trips {
    /// After how many failures in a row.
    pub(crate) threshold: u32,
    pub(crate) open_for: Duration,
}

impl Trips {
    /// The default of this library and of `sync_errors`.
    pub(crate) const USUAL: Self = Self { threshold: 5, open_for: Duration::from_secs(5) };
    /// Circuits open and close all the time.
    pub(crate) const SHORT: Self = Self { open_for: Duration::from_micros(100), ..Self::USUAL };
    /// None opens.
    pub(crate) const NEVER: Self = Self { threshold: u32::MAX, ..Self::USUAL };
}

impl<'a> Setup<'a> {
    pub(crate) fn of(peers: &'a [EndpointId]) -> Self {
        Self { peers, trips: Trips::USUAL }
    }
}

/// A design, set up. A clone is another name for the same.
pub(crate) trait Contender: Clone + Send + Sync + 'static {
    type Caller: Caller;

    fn new(setup: &Setup<'_>) -> Self;
    /// What a thread or task holds that is going to call, above all, this peer.
    fn caller(&self, peer: &EndpointId) -> Self::Caller;
}

/// One caller of peers. What is done for one call is inlined: it is what a user writes around the
/// call, whose outcome is known there.
pub(crate) trait Caller: Send + 'static {
    /// One guarded outcome: asks, and if the call is admitted, reports what became of it. Whether
    /// it was admitted.
    fn guard(&mut self, peer: &EndpointId, outcome: Outcome) -> bool;
    /// Whether the peer's circuit is open.
    fn is_open(&mut self, peer: &EndpointId) -> bool;
    /// Takes a snapshot of the peer; false where there is no such thing.
    fn look(&mut self, peer: &EndpointId) -> bool;
}

/// What a map of peers is keyed by.
pub(crate) trait Key: Hash + Eq + Clone + Send + Sync + 'static {
    fn of(peer: &EndpointId) -> &Self;
}

/// As a user would: compared in constant time.
impl Key for EndpointId {
    fn of(peer: &EndpointId) -> &Self {
        peer
    }
}

/// The bytes of the id, compared as bytes.
impl Key for [u8; 32] {
    fn of(peer: &EndpointId) -> &Self {
        peer.as_bytes()
    }
}
