//! What one thread of a storm does, and what must be so whatever the others do.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};

use peer_health::{
    ErrorHandler, HealthRegistry, OwnedPermit, PeerHandle, PeerTotals, Reason, Recorded, Status,
    SyncError,
};

use super::Seen;
use super::storm::{MICROSECOND, OPEN_MAX, PROBES, Peer, config};
use crate::support::{network, random};

const OPERATIONS: u64 = 20_000;

/// A peer's generation, streak and totals.
type Look = (u64, u32, PeerTotals);

/// A permit that is kept, and for a peer that nobody removes, how the peer looked meanwhile.
struct Kept {
    peer: Peer,
    permit: OwnedPermit<Peer>,
    looked: Option<Look>,
}

pub(crate) struct Worker<'a> {
    registry: &'a HealthRegistry<Peer>,
    handler: ErrorHandler<Peer>,
    time: &'a AtomicU64,
    max_peers: u64,
    /// A peer that no other thread calls.
    own: Peer,
    draws: u64,
    kept: VecDeque<Kept>,
    handles: [PeerHandle<Peer>; 2],
    seen: Seen,
}

impl<'a> Worker<'a> {
    pub(crate) fn new(
        registry: &'a HealthRegistry<Peer>,
        time: &'a AtomicU64,
        max_peers: u64,
        own: Peer,
        draws: u64,
    ) -> Self {
        let handler = ErrorHandler::with_registry(registry.clone());
        let handles = [0, 1].map(|n| registry.peer(&Peer(n)));
        let (kept, seen) = (VecDeque::new(), Seen::default());
        Self { registry, handler, time, max_peers, own, draws, kept, handles, seen }
    }

    pub(crate) fn run(mut self) -> Seen {
        for _ in 0..OPERATIONS / 64 {
            self.call_own_peer();
            (0..64).for_each(|_| self.step());
        }
        while !self.kept.is_empty() {
            self.settle_kept(0);
        }
        self.seen
    }

    /// Does something to somebody.
    fn step(&mut self) {
        let draw = random(&mut self.draws);
        // Half of the calls go to a few peers.
        let crowd = if draw >> 63 == 0 { 4 } else { 2 * self.max_peers };
        let (registry, peer) = (self.registry, Peer((draw >> 40) % crowd));
        let way = if draw >> 38 & 3 == 0 { 1 } else { draw >> 32 & 0x1F };
        match draw & 0x3FF {
            0..400 => match registry.acquire(&peer) {
                Ok(permit) => drop(self.seen.settle(permit, way)),
                Err(_) => self.seen.refused += 1,
            },
            400..480 => self.keep(peer),
            480..560 => self.settle_kept(way),
            560..720 => self.call_by_handle(way),
            720..740 => self.handles[usize::from(way > 15)] = registry.peer(&peer),
            740..760 => self.handles[0] = self.handles[1].clone(),
            760..800 => {
                self.seen.reported_errors += 1;
                drop(self.handler.handle_error(&peer, network()));
            }
            800..810 => {
                self.seen.reported_errors += 1;
                drop(self.handler.handle_error(&peer, SyncError::Document(String::new())));
            }
            810..850 => {
                self.seen.reported_successes += 1;
                self.handler.record_success(&peer);
            }
            850..860 => drop(self.handler.is_circuit_open(&peer)),
            860..868 => drop(registry.note_reachable(&peer)),
            868..870 => drop(registry.end_wait(&peer)),
            870..873 => drop(registry.force_open(&peer)),
            873..876 => drop(registry.disable(&peer)),
            876..879 => drop(registry.metrics_only(&peer)),
            879..920 => drop(registry.reset(&peer)),
            920..940 if peer.is_removable() => drop(registry.remove(&peer)),
            940..942 => drop(registry.sweep()),
            942..944 => self.look_at_all(),
            944..947 => registry.set_config(config(draw >> 10, self.max_peers)).unwrap(),
            947 => drop(self.time.fetch_add(10_000 * MICROSECOND, Ordering::Relaxed)),
            _ => drop(self.time.fetch_add(way * MICROSECOND, Ordering::Relaxed)),
        }
    }

    fn call_by_handle(&mut self, way: u64) {
        match self.handles[usize::from(way > 15)].acquire() {
            // Never settled: a probe's slot comes back when its lease is over.
            Ok(permit) if way == 31 && permit.is_tracked() => std::mem::forget(permit),
            Ok(permit) => drop(self.seen.settle(permit, way)),
            Err(_) => self.seen.refused += 1,
        }
    }

    fn keep(&mut self, peer: Peer) {
        let Ok(permit) = self.registry.acquire(&peer) else {
            self.seen.refused += 1;
            return;
        };
        let lasts = permit.is_tracked() && !peer.is_removable();
        let looked = lasts.then(|| self.look(&peer));
        self.kept.push_back(Kept { peer, permit, looked });
        if self.kept.len() > 2 {
            self.settle_kept(1);
        }
    }

    /// Settles the permit that was kept longest. Its peer must still have the tracker it had.
    fn settle_kept(&mut self, way: u64) {
        let Some(Kept { peer, permit, looked }) = self.kept.pop_front() else { return };
        let Some(looked) = looked else {
            self.seen.settle(permit, way);
            return;
        };
        let _handle = self.registry.peer(&peer);
        let before = self.look(&peer);
        let failed = self.seen.failed;
        self.seen.settle(permit, way);
        let after = self.look(&peer);
        for (earlier, later) in [(looked, before), (before, after)] {
            assert!(earlier.0 <= later.0 && earlier.2.settled() <= later.2.settled(), "{peer:?}");
        }
        assert!(after.2.settled() > before.2.settled(), "{peer:?}: an outcome is lost");
        assert!(after.2.failed - before.2.failed >= self.seen.failed - failed, "{peer:?}");
    }

    /// A peer that is held, and so must be known.
    fn look(&self, peer: &Peer) -> Look {
        let seen = self.registry.snapshot(peer).expect("a peer that is held was forgotten");
        assert!(seen.probes_in_flight as u64 <= PROBES, "{peer:?}");
        (seen.generation, seen.consecutive_failures, seen.totals)
    }

    /// A peer that is held by two handles and a permit is one circuit, and what is done to it by
    /// one of them the others see at once, by id too.
    fn call_own_peer(&mut self) {
        let (registry, own) = (self.registry, self.own.clone());
        let (mut one, mut other) = (registry.peer(&own), registry.peer(&own));
        if !registry.reset(&own) {
            return; // no room
        }
        let (generation, mut streak, mut totals) = self.look(&own);
        let [early, late] = [(); 2].map(|()| registry.acquire(&own).unwrap());
        loop {
            self.step();
            self.seen.settle(other.acquire().unwrap(), 3);
            totals.abandoned += 1;
            let recorded = self.seen.settle(one.acquire().unwrap(), 1);
            totals.failed += 1;
            streak += 1;
            if recorded != Some(Recorded::Counted) {
                break;
            }
            assert_eq!(self.look(&own), (generation, streak, totals));
        }
        totals.opened += 1;
        assert_eq!(self.look(&own), (generation + 1, streak, totals));
        assert_eq!((one.status(), other.status()), (Status::Open, Status::Open));
        assert_eq!(self.seen.settle(early, 0), Some(Recorded::Late));
        totals.late += 1;
        registry.force_open(&own).unwrap();
        let refusals = [one.acquire().unwrap_err(), other.acquire().unwrap_err()];
        assert!(refusals.iter().all(|refused| refused.reason == Reason::ForcedOpen));
        totals.refused.forced_open += 2;
        self.seen.refused += 2;
        assert_eq!(self.look(&own), (generation + 2, 0, totals));
        registry.reset(&own);
        // A phase like that of the permit, but not the same.
        assert_eq!(self.seen.settle(late, generation % 2), Some(Recorded::Late));
        totals.late += 1;
        assert_eq!(self.look(&own), (generation + 3, 0, totals));
        if random(&mut self.draws).is_multiple_of(2) {
            self.probe(&own);
        } else {
            self.remove(one, other);
        }
    }

    /// Trips the circuit and takes all the probes that there are.
    fn probe(&mut self, own: &Peer) {
        while self.registry.status(own) == Status::Closed {
            self.step(); // the guard may hold the trip back until the others get better
            self.seen.settle(self.registry.acquire(own).unwrap(), 1);
        }
        self.time.fetch_add(OPEN_MAX, Ordering::Relaxed);
        let probes: Vec<_> = (0..9).map_while(|_| self.registry.acquire(own).ok()).collect();
        self.seen.refused += u64::from(probes.len() < 9);
        self.look(own);
        for (n, probe) in (0..).zip(probes) {
            self.seen.settle(probe, n);
        }
    }

    /// The peer begins anew, for all who hold it.
    fn remove(&mut self, mut one: PeerHandle<Peer>, mut other: PeerHandle<Peer>) {
        let own = one.peer().clone();
        assert!(self.registry.remove(&own));
        let permit = one.acquire().unwrap();
        if permit.is_tracked() {
            self.seen.settle(permit, 1);
            assert_eq!(self.look(&own).1, 1);
            self.seen.settle(other.acquire().unwrap(), 0);
            assert_eq!(self.look(&own).1, 0);
            assert_eq!(self.look(&own).2.settled(), 2);
        } else {
            self.seen.settle(permit, 0);
        }
    }

    /// No peer has two trackers, and no circuit too many probes, not even for a moment.
    fn look_at_all(&self) {
        let mut shown = HashSet::new();
        self.registry.for_each(|peer, seen| {
            assert!(shown.insert(peer.0), "two trackers for {peer:?}");
            assert!(seen.probes_in_flight as u64 <= PROBES, "{peer:?}");
        });
        assert!(self.registry.len() as u64 <= self.max_peers);
    }
}
