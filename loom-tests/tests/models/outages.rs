//! The guard against an outage of our own (R30): never more open than it allows, and no place is
//! lost, whatever happens at the same time.

use std::time::Duration;

use crate::answer::{Recorded, Status};
use crate::config::HealthConfig;
use crate::error::SyncError;
use crate::permit::OwnedPermit;
use crate::registry::HealthRegistry;
use crate::stage::{OPEN, both, config, opened, two_bounded};
use crate::sync::settings_change;
use crate::time::{Clock, ManualClock};

/// Peers 1 to `peers`, of which so many percent may be open, and calls to all of them.
struct Town {
    registry: HealthRegistry<u8>,
    clock: ManualClock,
}

type Permit = OwnedPermit<u8>;

fn guarded(percent: u32) -> HealthConfig {
    config(1, 1).with_outage_guard(true).with_max_open_percent(percent).with_min_peers(1)
}

impl Town {
    fn new<const PEERS: usize>(config: HealthConfig) -> (Self, [Permit; PEERS]) {
        let (clock, hand) = Clock::manual();
        let registry = HealthRegistry::builder().clock(clock).config(config).build().unwrap();
        let mut peer = 0;
        let permits = [(); PEERS].map(|()| {
            peer += 1;
            registry.acquire(&peer).unwrap()
        });
        (Self { registry, clock: hand }, permits)
    }

    fn open(&self) -> usize {
        let mut open = 0;
        self.registry.for_each(|_, seen| {
            open += usize::from(matches!(seen.status, Status::Open | Status::HalfOpen));
        });
        open
    }

    /// What holds in the end: a second later the places that there are can be taken, and no more.
    fn finish(self, places: usize, peers: std::ops::RangeInclusive<u8>) {
        assert!(self.open() <= places, "{} open", self.open());
        self.clock.advance(Duration::from_secs(1));
        for peer in peers {
            if self.registry.status(&peer) == Status::Closed {
                fail(self.registry.acquire(&peer).unwrap());
            }
        }
        assert_eq!(self.open(), places, "each place can be taken, and none twice");
    }
}

fn fail(permit: Permit) -> Recorded {
    permit.failure(SyncError::State(String::new()))
}

/// R30: two peers fail, one may be open: one opens.
#[test]
fn r30_of_two_trips_one_is_held_back() {
    two_bounded([35789, 26545], || {
        let (town, [x, y]) = Town::new(guarded(50));
        let (x, y) = both(move || fail(x), || fail(y));
        assert!(!(opened(&x) && opened(&y)), "{x:?}, {y:?}");
        town.finish(1, 1..=2);
    });
}

/// R30: the same, when the peers have been counted before.
#[test]
fn r30_the_last_place_is_taken_once() {
    two_bounded([4725, 6972], || {
        let (town, [x, y, z]) = Town::new(guarded(67));
        assert!(opened(&fail(z)));
        let (x, y) = both(move || fail(x), || fail(y));
        assert!(opened(&x) != opened(&y), "{x:?}, {y:?}");
        town.finish(2, 1..=3);
    });
}

/// R30: the count is a second old: whoever counts anew overlooks no trip that is being made.
#[test]
fn r30_a_count_overlooks_no_trip() {
    two_bounded([35789, 30703], || {
        let (town, [x, y, z]) = Town::new(guarded(67));
        assert!(opened(&fail(z)));
        town.clock.advance(Duration::from_secs(1));
        let (x, y) = both(move || fail(x), || fail(y));
        assert!(!(opened(&x) && opened(&y)), "{x:?}, {y:?}");
        town.finish(2, 1..=3);
    });
}

/// R30: two failures of one peer, one of which opens it: the other's place is free again.
#[test]
fn r30_a_trip_that_is_not_made_gives_its_place_back() {
    two_bounded([419, 6275], || {
        let (town, [x, y, z]) = Town::new(guarded(100));
        assert!(opened(&fail(z)));
        let again = town.registry.acquire(&1).unwrap();
        let (a, b) = both(move || fail(x), || fail(again));
        assert!(opened(&a) != opened(&b), "{a:?}, {b:?}");
        assert!(opened(&fail(y)), "there is a place for each");
        town.finish(3, 1..=3);
    });
}

/// R30: a peer is removed while it opens: its place is free again.
#[test]
fn r30_a_removed_peer_gives_its_place_back() {
    two_bounded([1590, 2020], || {
        let (town, [x, y]) = Town::new(guarded(50));
        let registry = town.registry.clone();
        both(move || registry.remove(&1), || fail(x));
        drop(town.registry.acquire(&3));
        drop(y);
        town.finish(1, 2..=3);
    });
}

/// R30: a circuit closes while another is about to open.
#[test]
fn r30_a_circuit_that_closes_gives_its_place_back() {
    two_bounded([786, 5914], || {
        let (town, [x, y]) = Town::new(guarded(50));
        assert!(opened(&fail(x)));
        town.clock.advance(Duration::from_nanos(OPEN));
        let probe = town.registry.acquire(&1).unwrap();
        both(move || probe.success(), || fail(y));
        assert_eq!(town.registry.status(&1), Status::Closed);
        town.finish(1, 1..=2);
    });
}

/// R30, R18: the guard is switched on while a peer opens, by the old configuration or by the new.
#[test]
fn r30_what_opened_before_the_guard_was_on_is_counted() {
    two_bounded([29, 9], || {
        settings_change(true);
        let (town, [x, y]) = Town::new(config(1, 1));
        let registry = town.registry.clone();
        let (_, x) = both(move || registry.set_config(guarded(50)).unwrap(), || fail(x));
        assert!(opened(&x), "off, or the first");
        assert!(!opened(&fail(y)));
        town.finish(1, 1..=2);
    });
}
