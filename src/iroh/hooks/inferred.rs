//! Failed dials, inferred: iroh has no hook for them, so a dial that no handshake follows counts as one.
//!
//! 1. A peer has one dial that is waited for at a time. It holds a permit, and it ends once: by a handshake,
//!    by its timer, or with the hooks.
//! 2. A peer is remembered while a dial of it is waited for, while a connection to it is open, and after it
//!    has banned us. The first and the last are bounded by `max_peers`, the second by the endpoint.
//! 3. Permits end outside of the lock: a listener of the registry may dial.
//! 4. Tasks hold the hooks weakly, so hooks end with their endpoint, and their permits with them.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use ::iroh::EndpointId;
use ::iroh::endpoint::{Connection, ConnectionError, Side};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::circuit::Outcome;
use crate::error::{Failure, Fault, SyncError};
use crate::foreign::guarded;
use crate::iroh::closes::is_ban;
use crate::outcome::Status;
use crate::permit::OwnedPermit;
use crate::registry::HealthRegistry;
use crate::sync::{Arc, Mutex, Weak};

/// The dials of an endpoint that no handshake has followed yet.
pub(super) struct Dials {
    registry: HealthRegistry<EndpointId>,
    within: Duration,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    peers: HashMap<EndpointId, Peer>,
    /// The number of dials that were waited for: what tells a dial from a later one of the same peer.
    dials: u64,
}

/// What is remembered of a peer.
#[derive(Default)]
struct Peer {
    dial: Option<Dial>,
    /// The number of connections that are open, begun by either side and on any ALPN.
    open: usize,
    /// Whether the last connection that we began ended by a ban.
    bans_us: bool,
}

/// The dial of a peer that is waited for.
struct Dial {
    number: u64,
    permit: OwnedPermit<EndpointId>,
    timer: Option<Timer>,
}

/// A task that ends with this.
struct Timer(AbortHandle);

impl Drop for Timer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Known {
    /// Forgets the peer if there is nothing to remember.
    fn tidy(&mut self, peer: &EndpointId) {
        let empty = |p: &Peer| p.dial.is_none() && p.open == 0 && !p.bans_us;
        if self.peers.get(peer).is_some_and(empty) {
            self.peers.remove(peer);
        }
    }
}

impl Dials {
    pub(super) fn new(registry: HealthRegistry<EndpointId>, within: Duration) -> Self {
        Self { registry, within, known: Mutex::default() }
    }

    pub(super) fn within(&self) -> Duration {
        self.within
    }

    fn max_peers(&self) -> usize {
        self.registry.rules().given.max_peers
    }

    /// Returns whether a dial may go out, and waits for its handshake.
    pub(super) fn admit(self: &Arc<Self>, peer: EndpointId) -> bool {
        // A runtime may be without timers.
        let runtime = Handle::try_current().ok();
        let runtime = runtime.filter(|_| guarded(|| drop(sleep(Duration::ZERO))).is_some());
        let Some(runtime) = runtime else { return !self.registry.refuses_now(&peer) };
        if self.is_awaited(&peer) {
            return self.lets_all_pass(&peer);
        }
        if self.known.lock().peers.len() >= self.max_peers() {
            return !self.registry.refuses_now(&peer);
        }
        let Ok(permit) = self.registry.acquire(&peer) else { return false };
        let probe = permit.is_probe();
        match self.await_dial(peer, permit) {
            Ok(number) => {
                self.start_timer(&runtime, peer, number, probe);
                true
            }
            // Another dial of the peer came first.
            Err(permit) => {
                permit.neutral();
                !probe && self.lets_all_pass(&peer)
            }
        }
    }

    fn is_awaited(&self, peer: &EndpointId) -> bool {
        self.known.lock().peers.get(peer).is_some_and(|p| p.dial.is_some())
    }

    /// Returns whether the circuit bounds no calls: a dial may go out beside the one that is waited for.
    fn lets_all_pass(&self, peer: &EndpointId) -> bool {
        let status = self.registry.status(peer);
        matches!(status, Status::Closed | Status::Disabled | Status::MetricsOnly)
    }

    fn await_dial(
        &self,
        peer: EndpointId,
        permit: OwnedPermit<EndpointId>,
    ) -> Result<u64, OwnedPermit<EndpointId>> {
        let mut known = self.known.lock();
        known.dials = known.dials.wrapping_add(1);
        let number = known.dials;
        let entry = known.peers.entry(peer).or_default();
        if entry.dial.is_some() {
            return Err(permit);
        }
        entry.dial = Some(Dial { number, permit, timer: None });
        Ok(number)
    }

    /// Gives the dial up when its time is over. A probe has the half of its lease at most: past the lease its
    /// failure would be late.
    fn start_timer(self: &Arc<Self>, runtime: &Handle, peer: EndpointId, number: u64, probe: bool) {
        let lease = self.registry.rules().given.probe_lease.filter(|_| probe);
        let wait = lease.map_or(self.within, |lease| self.within.min(lease / 2));
        let dials = Arc::downgrade(self);
        let task = runtime.spawn(async move {
            sleep(wait).await;
            with(&dials, |dials| dials.give_up(&peer, number, wait));
        });
        let timer = Timer(task.abort_handle());
        let mut known = self.known.lock();
        let dial = known.peers.get_mut(&peer).and_then(|p| p.dial.as_mut());
        if let Some(dial) = dial.filter(|dial| dial.number == number) {
            dial.timer = Some(timer);
        }
    }

    /// Ends a dial whose time is over: as a failure, unless a connection to the peer is open.
    fn give_up(&self, peer: &EndpointId, number: u64, wait: Duration) {
        let (permit, connected) = {
            let mut known = self.known.lock();
            let Some(entry) = known.peers.get_mut(peer) else { return };
            let Some(dial) = entry.dial.take_if(|dial| dial.number == number) else { return };
            let connected = entry.open > 0;
            known.tidy(peer);
            (dial.permit, connected)
        };
        if connected {
            permit.neutral();
        } else {
            let late = SyncError::Network(format!("no handshake within {wait:?} of a dial"));
            permit.failure(Failure::from(late).with_fault(Fault::Link));
        }
    }

    /// Takes note of a handshake. It ends the dial that is waited for: as a success if this node began the
    /// connection on a watched ALPN, since the circuit is about such calls, and else as no call.
    pub(super) fn connected(self: &Arc<Self>, connection: &Connection, watched: bool) {
        let Ok(runtime) = Handle::try_current() else { return };
        let peer = connection.remote_id();
        let ours = watched && connection.side() == Side::Client;
        let (permit, bans_us) = {
            let mut known = self.known.lock();
            let entry = known.peers.entry(peer).or_default();
            entry.open += 1;
            (entry.dial.take().map(|dial| dial.permit), entry.bans_us)
        };
        match permit {
            Some(permit) if ours && !bans_us => drop(permit.success()),
            Some(permit) => drop(permit.neutral()),
            None if ours && !bans_us => self.succeeded(&peer),
            None => {}
        }
        // The future is made while the connection is sure to be alive, and does not keep it alive.
        let closed = connection.weak_handle().closed();
        let (dials, within) = (Arc::downgrade(self), self.within);
        runtime.spawn(async move {
            let mut closed = pin!(closed);
            // A connection that lasts goes on telling of the peer, until its circuit is decided.
            while ours && upgraded(&dials, |dials| dials.is_undecided(&peer)) {
                if let Ok(end) = timeout(within, &mut closed).await {
                    return with(&dials, |dials| dials.ended(&peer, ours, end.map(|e| e.reason)));
                }
                with(&dials, |dials| dials.lasted(&peer));
            }
            let end = closed.await;
            with(&dials, |dials| dials.ended(&peer, ours, end.map(|end| end.reason)));
        });
    }

    fn is_undecided(&self, peer: &EndpointId) -> bool {
        let bans_us = self.known.lock().peers.get(peer).is_some_and(|p| p.bans_us);
        bans_us || self.registry.status(peer) == Status::HalfOpen
    }

    fn lasted(&self, peer: &EndpointId) {
        self.set_bans_us(peer, false);
        self.succeeded(peer);
    }

    /// Takes note of a connection's end.
    fn ended(&self, peer: &EndpointId, ours: bool, reason: Option<ConnectionError>) {
        let bans_us = {
            let mut known = self.known.lock();
            let Some(entry) = known.peers.get_mut(peer) else { return };
            entry.open = entry.open.saturating_sub(1);
            let bans_us = entry.bans_us;
            known.tidy(peer);
            bans_us
        };
        match reason {
            Some(reason) if ours && banned(&reason) => {
                self.set_bans_us(peer, true);
                self.failed(peer, &reason.into());
            }
            Some(_) if ours && bans_us => {
                self.set_bans_us(peer, false);
            }
            _ => {}
        }
    }

    fn set_bans_us(&self, peer: &EndpointId, bans_us: bool) {
        let max_peers = self.max_peers();
        let mut known = self.known.lock();
        if bans_us && (known.peers.len() < max_peers || known.peers.contains_key(peer)) {
            known.peers.entry(*peer).or_default().bans_us = true;
        } else if let Some(entry) = known.peers.get_mut(peer) {
            entry.bans_us = false;
            known.tidy(peer);
        }
    }

    fn succeeded(&self, peer: &EndpointId) {
        self.registry.report(peer, Outcome::Success, None);
    }

    fn failed(&self, peer: &EndpointId, failure: &Failure) {
        self.registry.report(peer, Outcome::Failure, Some(failure));
    }
}

fn banned(reason: &ConnectionError) -> bool {
    matches!(reason, ConnectionError::ApplicationClosed(close) if is_ban(close))
}

fn upgraded(dials: &Weak<Dials>, is: impl FnOnce(&Dials) -> bool) -> bool {
    dials.upgrade().is_some_and(|dials| is(&dials))
}

fn with(dials: &Weak<Dials>, then: impl FnOnce(&Dials)) {
    if let Some(dials) = dials.upgrade() {
        then(&dials);
    }
}
