//! A node without this library: calls whoever is requested, in the order of the requests, with so
//! many places and a deadline for each call; before a call it asks a gate, if it has one.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use peer_health::{Failure, SyncError};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::cell::Cell;
use super::network::Network;
use super::node::Node;

/// Says whether a peer may be called, and is told what became of it.
pub(crate) trait Gate: Send + Sync + 'static {
    fn is_open(&self, peer: u32) -> bool;
    fn succeeded(&self, peer: u32);
    fn failed(&self, peer: u32, error: SyncError);
}

/// No gate.
pub(crate) struct Open;

impl Gate for Open {
    fn is_open(&self, _: u32) -> bool {
        false
    }

    fn succeeded(&self, _: u32) {}

    fn failed(&self, _: u32, _: SyncError) {}
}

pub(crate) struct Plain<G> {
    network: Arc<Network>,
    gate: Arc<G>,
    places: Arc<Semaphore>,
    deadline: Duration,
    /// Peers that wait or are called: a request of one changes nothing, if that is looked at.
    asked: Arc<Mutex<HashSet<u32>>>,
    once: bool,
}

impl<G: Gate> Plain<G> {
    pub(crate) fn new(cell: &Cell, network: &Arc<Network>, gate: G) -> Self {
        let gate = Arc::new(gate);
        let asked = Arc::clone(&gate);
        network.ask(move |peer| !asked.is_open(peer));
        Self {
            network: Arc::clone(network),
            gate,
            places: Arc::new(Semaphore::new(cell.settings.places())),
            deadline: Duration::from_millis(cell.settings.deadline()),
            asked: Arc::default(),
            once: true,
        }
    }

    /// Takes each request for another call.
    pub(crate) fn each_request(self) -> Self {
        Self { once: false, ..self }
    }
}

impl<G: Gate> Node for Plain<G> {
    fn request(&self, peer: u32) {
        let news = self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(peer);
        if self.once && !news {
            return;
        }
        let (network, gate) = (Arc::clone(&self.network), Arc::clone(&self.gate));
        let (places, asked) = (Arc::clone(&self.places), Arc::clone(&self.asked));
        let deadline = self.deadline;
        tokio::spawn(async move {
            let place = places.acquire_owned().await;
            if !gate.is_open(peer) {
                match timeout(deadline, network.call(peer)).await {
                    Ok(Ok(())) => gate.succeeded(peer),
                    Ok(Err(failure)) => gate.failed(peer, failure.error().clone()),
                    Err(elapsed) => gate.failed(peer, Failure::from(elapsed).error().clone()),
                }
            }
            drop(place);
            asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&peer);
        });
    }

    fn is_open(&self, peer: u32) -> bool {
        self.gate.is_open(peer)
    }

    fn note_reachable(&self, peer: u32) {
        self.request(peer);
    }

    fn held(&self) -> (usize, usize) {
        (0, self.asked.lock().unwrap_or_else(PoisonError::into_inner).len())
    }
}
