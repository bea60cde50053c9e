//! Failed dials, inferred: iroh has no hook for them, so a dial that no handshake follows counts as one.
//!
//! 1. A peer has one dial that is waited for at a time. It holds a permit, and it ends once: by a handshake,
//!    by its timer, or with the hooks.
//! 2. A peer is remembered while a dial of it is waited for, and after it has banned us: `max_peers` bounds
//!    these. Open connections are counted apart, and the endpoint bounds them.
//! 3. Permits end outside of the lock: a listener of the registry may dial.
//! 4. Tasks hold the hooks weakly, so hooks end with their endpoint, and their permits with them.
//! 5. What a task has to undo it undoes by a `Drop`: a runtime that ends drops its tasks where they stand.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::mem::take;
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
    /// The number of connections that are open to a peer, begun by either side and on any ALPN; never zero.
    open: HashMap<EndpointId, usize>,
    /// The number of dials that were waited for: what tells a dial from a later one of the same peer.
    dials: u64,
}

/// What is remembered of a peer.
#[derive(Default)]
struct Peer {
    dial: Option<Dial>,
    /// Whether the last connection that we began ended by a ban.
    bans_us: bool,
}

/// The dial of a peer that is waited for.
struct Dial {
    number: u64,
    permit: OwnedPermit<EndpointId>,
    timer: Option<Timer>,
}

/// A dial that ends with the task which waits for it, and as no call if nothing has ended it before.
struct Awaited {
    dials: Weak<Dials>,
    peer: EndpointId,
    number: u64,
}

impl Drop for Awaited {
    fn drop(&mut self) {
        with(&self.dials, |dials| drop(dials.take(&self.peer, self.number)));
    }
}

/// A connection that counts as open while this lasts.
struct Opened {
    dials: Weak<Dials>,
    peer: EndpointId,
}

impl Drop for Opened {
    fn drop(&mut self) {
        with(&self.dials, |dials| {
            let mut known = dials.known.lock();
            if let Entry::Occupied(mut open) = known.open.entry(self.peer) {
                *open.get_mut() -= 1;
                if *open.get() == 0 {
                    open.remove();
                }
            }
        });
    }
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
        let empty = |p: &Peer| p.dial.is_none() && !p.bans_us;
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
        let awaited = Awaited { dials: Arc::downgrade(self), peer, number };
        let task = runtime.spawn(async move {
            sleep(wait).await;
            with(&awaited.dials, |dials| dials.give_up(&awaited, wait));
        });
        let timer = Timer(task.abort_handle());
        let mut known = self.known.lock();
        let dial = known.peers.get_mut(&peer).and_then(|p| p.dial.as_mut());
        if let Some(dial) = dial.filter(|dial| dial.number == number) {
            dial.timer = Some(timer);
        }
    }

    /// Ends a dial whose time is over: as a failure, unless a connection to the peer is open.
    fn give_up(&self, of: &Awaited, wait: Duration) {
        let Some((dial, connected)) = self.take(&of.peer, of.number) else { return };
        if connected {
            dial.permit.neutral();
        } else {
            let late = SyncError::Network(format!("no handshake within {wait:?} of a dial"));
            dial.permit.failure(Failure::from(late).with_fault(Fault::Link));
        }
    }

    /// Takes the dial if it is still waited for, and tells whether a connection to the peer is open.
    fn take(&self, peer: &EndpointId, number: u64) -> Option<(Dial, bool)> {
        let mut known = self.known.lock();
        let dial = known.peers.get_mut(peer)?.dial.take_if(|dial| dial.number == number)?;
        known.tidy(peer);
        Some((dial, known.open.contains_key(peer)))
    }

    /// Takes note of a handshake. It ends the dial that is waited for: as a success if this node began the
    /// connection on a watched ALPN, since the circuit is about such calls, and else as no call.
    pub(super) fn connected(self: &Arc<Self>, connection: &Connection, watched: bool) {
        let Ok(runtime) = Handle::try_current() else { return };
        let peer = connection.remote_id();
        let ours = watched && connection.side() == Side::Client;
        let (dial, mut bans_us) = {
            let mut known = self.known.lock();
            *known.open.entry(peer).or_default() += 1;
            let entry = known.peers.get_mut(&peer);
            let taken = entry.map_or((None, false), |entry| (entry.dial.take(), entry.bans_us));
            known.tidy(&peer);
            taken
        };
        let opened = Opened { dials: Arc::downgrade(self), peer };
        match dial {
            Some(dial) if ours && !bans_us => drop(dial.permit.success()),
            Some(dial) => drop(dial.permit.neutral()),
            None if ours && !bans_us => self.succeeded(&peer),
            None => {}
        }
        // The future is made while the connection is sure to be alive, and does not keep it alive.
        let closed = connection.weak_handle().closed();
        let within = self.within;
        runtime.spawn(async move {
            let mut closed = pin!(closed);
            // A connection that lasts goes on telling of the peer: its circuit may open at any time.
            let end = loop {
                match timeout(within, &mut closed).await {
                    Ok(end) => break end,
                    Err(_) if ours => {
                        with(&opened.dials, |dials| dials.lasted(&peer, take(&mut bans_us)));
                    }
                    Err(_) => break closed.await,
                }
            };
            let dials = opened.dials.clone();
            drop(opened);
            with(&dials, |dials| dials.ended(&peer, ours, bans_us, end.map(|end| end.reason)));
        });
    }

    /// Takes note that a connection of ours has lasted another `within`; `lifts` says that the peer had banned
    /// us before it was made. A connection that is older than the ban tells nothing of it.
    fn lasted(&self, peer: &EndpointId, lifts: bool) {
        if lifts {
            self.set_bans_us(peer, false);
        } else if self.bans_us(peer) {
            return;
        }
        let undecided = match self.registry.status(peer) {
            Status::HalfOpen => true,
            Status::Open => !self.registry.refuses_now(peer),
            _ => false,
        };
        if lifts || undecided {
            self.succeeded(peer);
        }
    }

    /// Takes note of a connection's end; `lifts` as in [`Self::lasted`].
    fn ended(&self, peer: &EndpointId, ours: bool, lifts: bool, reason: Option<ConnectionError>) {
        match reason {
            Some(reason) if ours && banned(&reason) => {
                self.set_bans_us(peer, true);
                self.failed(peer, &reason.into());
            }
            Some(_) if ours && lifts => self.set_bans_us(peer, false),
            _ => {}
        }
    }

    fn bans_us(&self, peer: &EndpointId) -> bool {
        self.known.lock().peers.get(peer).is_some_and(|p| p.bans_us)
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

fn with(dials: &Weak<Dials>, then: impl FnOnce(&Dials)) {
    if let Some(dials) = dials.upgrade() {
        then(&dials);
    }
}
