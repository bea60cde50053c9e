//! The outage limiter (R30): never more circuits are open than it allows, and it loses no grant, whatever
//! happens at the same time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::circuit::Control;
use crate::config::rules::Rules;
use crate::config::{HealthConfig, Window};
use crate::error::{Failure, Fault, SyncError};
use crate::event::EventKind;
use crate::outage::{Count, Looked, OutageLimiter, PeerSource};
use crate::outcome::{Recorded, Status};
use crate::permit::OwnedPermit;
use crate::registry::{HealthRegistry, Listening};
use crate::stage::{OPEN, Peer, both, config, opened, two, two_bounded, two_narrowly};
use crate::sync::{Arc, settings_change};
use crate::time::{Clock, ManualClock, Tick};

/// Returns peers 1 to `peers`, all of which have answered and of which `percent` may be open, and calls to
/// all.
struct Town {
    registry: HealthRegistry<u8>,
    clock: ManualClock,
}

type Permit = OwnedPermit<u8>;

fn guarded(percent: u32) -> HealthConfig {
    guarded_at(1, percent)
}

/// Returns the same, where `failures` open, in a small table whose entries stand in one segment.
fn guarded_at(failures: u32, percent: u32) -> HealthConfig {
    config(failures, 1)
        .with_outage_guard(true)
        .with_outage_max_open_percent(percent)
        .with_outage_min_peers(1)
        .with_max_peers(300)
}

fn answer(registry: &HealthRegistry<u8>, peer: u8) {
    registry.acquire(&peer).unwrap().success();
}

impl Town {
    fn new<const PEERS: usize>(config: HealthConfig) -> (Self, [Permit; PEERS]) {
        let (clock, hand) = Clock::manual();
        let registry = HealthRegistry::builder().clock(clock).config(config).build().unwrap();
        let mut peer = 0;
        let permits = [(); PEERS].map(|()| {
            peer += 1;
            answer(&registry, peer);
            registry.acquire(&peer).unwrap()
        });
        (Self { registry, clock: hand }, permits)
    }

    /// Returns a count of the ends of outages, and what counts them.
    fn recoveries(&self) -> (std::sync::Arc<AtomicUsize>, Listening) {
        let ended = std::sync::Arc::new(AtomicUsize::new(0));
        let log = ended.clone();
        let listening = self.registry.listen(move |event| {
            let over = event.kind == EventKind::LocalRecovered;
            log.fetch_add(over.into(), Ordering::Relaxed);
        });
        (ended, listening)
    }

    fn open(&self) -> usize {
        let mut open = 0;
        self.registry.for_each(|_, seen| {
            open += usize::from(matches!(seen.status, Status::Open | Status::HalfOpen));
        });
        open
    }

    /// Checks the end: a second later all free grants can be taken, and no more.
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
    two_narrowly([54690, 20345], || {
        let (town, [x, y]) = Town::new(guarded(50));
        let (x, y) = both(move || fail(x), || fail(y));
        assert!(!(opened(&x) && opened(&y)), "{x:?}, {y:?}");
        town.finish(1, 1..=2);
    });
}

/// R30: the same, when the peers have been counted before.
#[test]
fn r30_the_last_place_is_taken_once() {
    two_bounded([23023, 37778], || {
        let (town, [x, y, z]) = Town::new(guarded(67));
        assert!(opened(&fail(z)));
        let (x, y) = both(move || fail(x), || fail(y));
        assert!(opened(&x) != opened(&y), "{x:?}, {y:?}");
        town.finish(2, 1..=3);
    });
}

/// R30: the count is a second old: a thread that counts anew overlooks no trip that is being made.
#[test]
fn r30_a_count_overlooks_no_trip() {
    two_narrowly([121806, 22177], || {
        let (town, [x, y, z]) = Town::new(guarded(67));
        assert!(opened(&fail(z)));
        town.clock.advance(Duration::from_secs(1));
        let (x, y) = both(move || fail(x), || fail(y));
        assert!(!(opened(&x) && opened(&y)), "{x:?}, {y:?}");
        town.finish(2, 1..=3);
    });
}

/// R30: two failures of one peer, one of which opens it: the other's grant is free again.
#[test]
fn r30_a_trip_that_is_not_made_gives_its_place_back() {
    two_bounded([1202, 21550], || {
        let (town, [x, y, z]) = Town::new(guarded(100));
        assert!(opened(&fail(z)));
        let again = town.registry.acquire(&1).unwrap();
        let (a, b) = both(move || fail(x), || fail(again));
        assert!(opened(&a) != opened(&b), "{a:?}, {b:?}");
        assert!(opened(&fail(y)), "there is a place for each");
        town.finish(3, 1..=3);
    });
}

/// R30: a peer is removed while it opens: its grant is free again.
#[test]
fn r30_a_removed_peer_gives_its_place_back() {
    two_bounded([509, 2589], || {
        let (town, [x, y]) = Town::new(guarded(50));
        let registry = town.registry.clone();
        both(move || registry.remove(&1), || fail(x));
        answer(&town.registry, 3);
        drop(y);
        town.finish(1, 2..=3);
    });
}

/// R30: a circuit closes while another is about to open.
#[test]
fn r30_a_circuit_that_closes_gives_its_place_back() {
    two_bounded([2175, 69768], || {
        let (town, [x, y]) = Town::new(guarded(50));
        assert!(opened(&fail(x)));
        town.clock.advance(Duration::from_nanos(OPEN));
        let probe = town.registry.acquire(&1).unwrap();
        both(move || probe.success(), || fail(y));
        assert_eq!(town.registry.status(&1), Status::Closed);
        town.finish(1, 1..=2);
    });
}

/// R30, R18: the limiter is switched on while a peer opens, by the old configuration or by the new.
#[test]
fn r30_what_opened_before_the_guard_was_on_is_counted() {
    two_bounded([147, 90], || {
        settings_change(true);
        let (town, [x, y]) = Town::new(config(1, 1).with_max_peers(300));
        let registry = town.registry.clone();
        let (_, x) = both(move || registry.set_config(guarded(50)).unwrap(), || fail(x));
        assert!(opened(&x), "off, or the first");
        assert!(!opened(&fail(y)));
        town.finish(1, 1..=2);
    });
}

/// R30: a success clears the streak while its last failure is about to open the circuit: that trip's grant
/// is free again.
#[test]
fn r30_a_trip_before_which_the_streak_is_cleared_gives_its_place_back() {
    two_bounded([653, 4013], || {
        let (town, [x, y]) = Town::new(guarded_at(2, 50));
        let [again, success] = [(); 2].map(|()| town.registry.acquire(&1).unwrap());
        fail(x);
        let (recorded, _) = both(move || fail(again), move || success.success());
        if !opened(&recorded) {
            fail(y);
            assert!(opened(&fail(town.registry.acquire(&2).unwrap())), "the place is free");
        }
        assert!(town.open() <= 1);
    });
}

/// R30: a handle is dropped beside a count that would be too low without its peer: the count sees the use
/// that ends with the handle.
#[test]
fn r30_a_count_finds_the_use_that_ends_beside_it() {
    two_bounded([38, 107], || {
        let idle = Duration::from_nanos(10);
        let config = guarded(50).with_idle_timeout(idle);
        let (town, [x, y]) = Town::new(config);
        let handle = town.registry.peer(&2);
        drop(y);
        town.registry.sweep();
        town.clock.advance(idle);
        let (_, x) = both(move || drop(handle), || fail(x));
        assert!(opened(&x), "one of two in use: {x:?}");
        town.registry.remove(&1);
    });
}

/// R30: a peer that answers, though its trip was held back, ends the outage: its success is no mere count,
/// whatever grant another trip takes, and with a window too.
#[test]
fn r30_a_success_after_a_trip_that_was_held_back_ends_the_outage() {
    for window in [None, Some(Window::count(8))] {
        two_bounded([6, 1831], move || {
            let (town, [x, y]) = Town::new(guarded(50).with_window(window));
            let [success, other] = [(); 2].map(|()| town.registry.acquire(&2).unwrap());
            let (ended, listening) = town.recoveries();
            assert!(opened(&fail(x)) && !opened(&fail(y)));
            both(move || success.success(), move || other.neutral());
            assert_eq!(ended.load(Ordering::Relaxed), 1);
            drop(listening);
        });
    }
}

/// R30: so it does where the word has counted an error since the trip was held back, so that a success finds
/// the note beside the word.
#[test]
fn r30_a_success_in_a_streak_whose_trip_was_held_back_ends_the_outage() {
    two_bounded([6, 1831], || {
        let (town, [x, y, z]) = Town::new(guarded(50));
        let [success, other] = [(); 2].map(|()| town.registry.acquire(&2).unwrap());
        let (ended, listening) = town.recoveries();
        assert!(opened(&fail(x)) && !opened(&fail(y)));
        // The first success after a trip is asked for its time, and goes the long way.
        z.success();
        let ours = || Failure::from(SyncError::State(String::new())).with_fault(Fault::Local);
        town.registry.acquire(&2).unwrap().failure(ours());
        both(move || success.success(), move || other.neutral());
        assert_eq!(ended.load(Ordering::Relaxed), 1);
        drop(listening);
    });
}

/// R30, R29: of two who are about to tell that an outage began one does; and of two who are about to
/// tell that it is over, also beside the one that begins it.
#[test]
fn r30_an_outage_is_told_once_and_is_over_once() {
    type Telling = fn(&OutageLimiter) -> [bool; 2];
    fn told(begun: bool, each: Telling, wanted: [usize; 2], floors: [usize; 2]) {
        two(floors, move || {
            let guard = Arc::new(OutageLimiter::new(None));
            assert!(!begun || guard.begin(Tick::default));
            let other = Arc::clone(&guard);
            let told = both(move || each(&other), || each(&guard));
            let count = |n: usize| [told.0[n], told.1[n]].into_iter().filter(|told| *told).count();
            assert_eq!([count(0), count(1)], wanted);
        });
    }
    told(false, |guard| [guard.begin(Tick::default), false], [1, 0], [20, 50]);
    told(true, |guard| [false, guard.end(Tick::default)], [0, 1], [14, 14]);
    let both_of_each: Telling = |guard| [guard.begin(Tick::default), guard.end(Tick::default)];
    told(false, both_of_each, [1, 1], [175, 526]);
}

/// Three peers in use, of which one is held back and none is open.
struct OneIsHeldBack;

impl PeerSource for OneIsHeldBack {
    fn arrivals(&self) -> u64 {
        3
    }

    fn peers(&self) -> u64 {
        3
    }

    fn is_small(&self) -> bool {
        true
    }

    fn count_on(&self, _: &Rules, seen: &dyn Fn() -> u64) -> Option<Looked> {
        let count = Count { arrivals: 3, peers: 3, used: 3, held: 1, ..Count::default() };
        Some(Looked { at: Tick(1), seen: seen(), count, whole: true })
    }
}

/// R30: a trip for which there is a place, though not for all that were held back: if it is not made
/// its place is free again, and once it was made the next count knows of it.
#[test]
fn r30_a_trip_beside_another_that_is_held_back_takes_one_place() {
    two_bounded([12638, 10440], || {
        let peer = Peer::new(guarded(34));
        let a = peer.guarded_hand(Box::new(OneIsHeldBack));
        let (b, c) = (a.twin(), a.twin());
        a.at(1);
        a.succeed(a.admitted());
        let (x, y) = (a.admitted(), b.admitted());
        let (x, y) = both(move || a.fail(x), || b.fail(y));
        assert!(opened(&x) != opened(&y), "{x:?}, {y:?}");
        c.control(Control::Reset);
        c.at(2_000_000_000);
        assert!(opened(&c.fail(c.admitted())), "the place is free");
    });
}

/// R30, R18: the guard is switched off and on while somebody counts: what opened meanwhile is known to
/// the next count, and the one that began before it is no news.
#[test]
fn r30_a_count_from_before_the_guard_was_switched_on_again_is_dropped() {
    two_narrowly([3532, 1306], || {
        settings_change(true);
        let (town, [x, y, z]) = Town::new(guarded(67));
        let registry = town.registry.clone();
        both(
            move || fail(y),
            || {
                registry.set_config(config(1, 1).with_max_peers(300)).unwrap();
                fail(x);
                registry.set_config(guarded(67)).unwrap();
            },
        );
        assert_eq!((opened(&fail(z)), town.open()), (false, 2));
    });
}

/// R30: a peer answers beside its trip, which the limiter holds back: in every order, an outage that listeners
/// heard of lasts only while a trip is held back.
#[test]
fn r30_a_peer_that_answers_beside_its_trip_ends_the_outage() {
    two_narrowly([33232, 369], || {
        let (town, [x]) = Town::new(guarded(1));
        let success = town.registry.acquire(&1).unwrap();
        let told = [(); 2].map(|()| std::sync::Arc::new(AtomicUsize::new(0)));
        let [began, over] = told.clone();
        let listening = town.registry.listen(move |event| match event.kind {
            EventKind::LocalOutage => _ = began.fetch_add(1, Ordering::Relaxed),
            EventKind::LocalRecovered => _ = over.fetch_add(1, Ordering::Relaxed),
            _ => {}
        });
        both(move || fail(x), || success.success());
        let streak = town.registry.snapshot(&1).unwrap().consecutive_failures as usize;
        let told = told.map(|count| count.load(Ordering::Relaxed));
        assert_eq!(told, [1, 1 - streak], "a streak of {streak}");
        drop(listening);
    });
}

/// R30, R18: so it is where the limiter is switched on meanwhile.
#[test]
fn r30_a_peer_that_answers_once_the_guard_is_on_ends_the_outage() {
    two_narrowly([165, 73], || {
        settings_change(true);
        let (town, [x]) = Town::new(config(1, 1).with_max_peers(300));
        let (success, over) = (town.registry.acquire(&1).unwrap(), town.recoveries());
        let registry = town.registry.clone();
        let (_, recorded) = both(
            move || registry.set_config(guarded(1)).unwrap(),
            || {
                let recorded = fail(x);
                success.success();
                recorded
            },
        );
        let held = usize::from(!opened(&recorded));
        assert_eq!(over.0.load(Ordering::Relaxed), held);
    });
}
