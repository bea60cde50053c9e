//! The guard against an outage of our own (R30): a node that is cut off does not blame its peers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use peer_health::{
    Clock, ErrorHandler, Event, EventKind, HealthConfig, HealthRegistry, ManualClock, Recorded,
    Status, SyncError, Window,
};

use crate::support::{SECOND, network, touchy};

mod counted;
mod online;
mod random;

/// One failure opens, one success closes, a wait lasts ten seconds, half of the peers may be open.
fn config() -> HealthConfig {
    touchy(10 * SECOND).with_outage_guard(true)
}

struct Node {
    registry: HealthRegistry<u32>,
    hand: ManualClock,
    told: Arc<Mutex<Vec<Event<u32>>>>,
}

impl Node {
    fn new(config: HealthConfig) -> Self {
        let told = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&told);
        let (clock, hand) = Clock::manual();
        let registry = HealthRegistry::builder()
            .config(config)
            .clock(clock)
            .listener(move |event: &Event<u32>| log.lock().unwrap().push(event.clone()))
            .build()
            .unwrap();
        Self { registry, hand, told }
    }

    /// So many peers that are healthy and in use.
    fn of(peers: u32, config: HealthConfig) -> Self {
        let node = Self::new(config);
        (1..=peers).for_each(|peer| node.succeed(peer));
        node
    }

    fn succeed(&self, peer: u32) {
        assert_eq!(self.registry.acquire(&peer).unwrap().success(), Recorded::Counted);
    }

    fn fail(&self, peer: u32) -> Recorded {
        self.registry.acquire(&peer).unwrap().failure(network())
    }

    fn opens(&self, peer: u32) -> bool {
        matches!(self.fail(peer), Recorded::Opened { .. })
    }

    fn open(&self) -> usize {
        let mut open = 0;
        self.registry.for_each(|_, seen| {
            open += usize::from(matches!(seen.status, Status::Open | Status::HalfOpen));
        });
        open
    }

    /// What was told of outages: whose, and how.
    fn outages(&self) -> Vec<(u32, EventKind)> {
        let told = self.told.lock().unwrap();
        let of_outage =
            |e: &&Event<u32>| matches!(e.kind, EventKind::LocalOutage | EventKind::LocalRecovered);
        told.iter().filter(of_outage).map(|e| (e.peer, e.kind)).collect()
    }
}

#[test]
fn when_all_peers_are_dead_at_once_half_of_them_stay_closed() {
    let node = Node::of(10, config());
    let calls: Vec<_> = (1..=10).map(|peer| node.registry.acquire(&peer).unwrap()).collect();
    let recorded: Vec<_> = calls.into_iter().map(|call| call.failure(network())).collect();
    assert!(recorded[..5].iter().all(|r| matches!(r, Recorded::Opened { .. })), "{recorded:?}");
    assert!(recorded[5..].iter().all(|r| *r == Recorded::Counted), "{recorded:?}");
    assert_eq!((node.open(), node.registry.local_outage()), (5, true));
    assert_eq!(node.outages(), [(6, EventKind::LocalOutage)]);
    // It stays so, and is told once.
    for round in 2..=4 {
        node.hand.advance(SECOND);
        for peer in 6..=10 {
            assert_eq!(node.fail(peer), Recorded::Counted);
            assert_eq!(node.registry.snapshot(&peer).unwrap().consecutive_failures, round);
        }
    }
    assert_eq!((node.open(), node.outages().len()), (5, 1));
}

#[test]
fn everything_recovers_without_a_reset() {
    let node = Node::of(10, config());
    (1..=10).for_each(|peer| {
        node.fail(peer);
    });
    assert!(node.registry.local_outage());
    node.hand.advance(10 * SECOND);
    // Still cut off: a probe fails, and its circuit opens again as ever.
    assert!(node.opens(1));
    // Back again.
    for peer in (2..=10).rev() {
        node.succeed(peer);
        assert!(!node.registry.local_outage(), "the first answer ends it");
    }
    node.hand.advance(10 * SECOND);
    node.succeed(1);
    assert_eq!(node.open(), 0);
    assert_eq!(node.outages(), [(6, EventKind::LocalOutage), (10, EventKind::LocalRecovered)]);
    // And the guard is as it was.
    assert_eq!((1..=10).filter(|peer| node.opens(*peer)).count(), 5);
    assert_eq!(node.outages().len(), 3);
}

#[test]
fn an_outage_is_over_when_an_open_circuit_closes() {
    let node = Node::of(4, config());
    (1..=3).for_each(|peer| {
        node.fail(peer);
    });
    node.hand.advance(10 * SECOND);
    node.succeed(1);
    assert_eq!(node.outages(), [(3, EventKind::LocalOutage), (1, EventKind::LocalRecovered)]);
    let told = node.told.lock().unwrap();
    let of_one: Vec<_> = told.iter().filter(|e| e.peer == 1).map(|e| e.generation).collect();
    assert_eq!(of_one, [1, 2, 3, 3], "what is no transition has the generation that lasts");
}

#[test]
fn an_outage_begins_no_sooner_than_a_second_after_the_last_one() {
    let node = Node::of(4, config());
    (1..=3).for_each(|peer| {
        node.fail(peer);
    });
    for _ in 0..5 {
        node.succeed(3);
        assert_eq!(node.fail(3), Recorded::Counted, "held back all the same");
    }
    assert_eq!(node.outages().len(), 2, "begun and over");
    node.hand.advance(SECOND);
    assert_eq!(node.fail(3), Recorded::Counted);
    assert_eq!(node.outages()[2..], [(3, EventKind::LocalOutage)]);
}

#[test]
fn one_bad_peer_among_healthy_ones_opens() {
    let node = Node::of(10, config());
    assert!(node.opens(7));
    assert!(!node.registry.local_outage() && node.outages().is_empty());
}

#[test]
fn few_peers_are_never_held_back() {
    let node = Node::of(2, config());
    assert!(node.opens(1) && node.opens(2));
    assert!(!node.registry.local_outage());
    let node = Node::of(9, config().with_outage_min_peers(10));
    assert_eq!((1..=9).filter(|peer| node.opens(*peer)).count(), 9);
}

#[test]
fn exactly_the_percentage_may_be_open_and_not_one_more() {
    let table = [
        (4, 50, 2),
        (5, 50, 2),
        (3, 50, 1),
        (3, 33, 0),
        (3, 34, 1),
        (100, 29, 29),
        (10, 1, 0),
        (7, 100, 7),
    ];
    for (peers, percent, most) in table {
        let node = Node::of(peers, config().with_outage_max_open_percent(percent));
        let opened = (1..=peers).filter(|peer| node.opens(*peer)).count();
        assert_eq!(opened, most, "{percent} % of {peers}");
        assert_eq!(node.registry.local_outage(), most < peers as usize);
    }
}

#[test]
fn peers_that_come_one_by_one_are_counted_as_they_come() {
    let node = Node::new(config());
    // The first two are few; then half of those there are.
    let opens = |peer: &u32| {
        node.succeed(*peer);
        node.opens(*peer)
    };
    let opened: Vec<_> = (1..=8).filter(opens).collect();
    assert_eq!(opened, [1, 2, 6, 8]);
}

#[test]
fn a_circuit_that_no_longer_is_open_gives_its_place_back_within_a_second() {
    type End = fn(&Node);
    let ends: [(&str, End); 5] = [
        ("reset", |node| assert!(node.registry.reset(&1))),
        ("removed", |node| {
            assert!(node.registry.remove(&1));
            node.succeed(1);
        }),
        ("forced open", |node| node.registry.force_open(&1).unwrap()),
        ("disabled", |node| node.registry.disable(&1).unwrap()),
        ("measured only", |node| node.registry.metrics_only(&1).unwrap()),
    ];
    for (how, end) in ends {
        let node = Node::of(4, config());
        assert!(node.opens(1) && node.opens(2) && !node.opens(3), "{how}");
        end(&node);
        node.hand.advance(SECOND);
        assert!(node.opens(3), "{how}: there is a place");
        assert!(!node.opens(4), "{how}: there is one, not two");
    }
}

#[test]
fn a_peer_that_was_forgotten_gives_its_place_back() {
    let node = Node::of(4, config().with_idle_timeout(SECOND).with_forget_after(SECOND));
    let held: Vec<_> = (2..=4).map(|peer| node.registry.peer(&peer)).collect();
    assert!(node.opens(1) && node.opens(2) && !node.opens(3));
    node.registry.sweep();
    node.hand.advance(12 * SECOND);
    assert_eq!(node.registry.sweep(), 1, "nobody has asked for the first peer");
    (3..=4).for_each(|peer| assert!(!node.opens(peer), "one of three"));
    node.registry.acquire(&5).unwrap().success();
    node.hand.advance(SECOND);
    assert!(node.opens(3), "two of four");
    drop(held);
}

/// Of twenty peers, so many of which are open, only the last four are still in use.
fn mostly_idle(open: u32) -> (Node, Vec<peer_health::PeerHandle<u32>>) {
    let node = Node::of(20, config());
    (1..=open).for_each(|peer| assert!(node.opens(peer)));
    node.registry.sweep();
    node.hand.advance(Duration::from_secs(600));
    let in_use = (17..=20).map(|peer| node.registry.peer(&peer)).collect();
    (node, in_use)
}

#[test]
fn open_peers_that_nobody_uses_are_no_evidence() {
    let (node, _in_use) = mostly_idle(10);
    assert!(node.opens(17) && node.opens(18) && !node.opens(19), "two of four");
}

#[test]
fn healthy_peers_that_nobody_uses_are_no_evidence() {
    let (node, _in_use) = mostly_idle(0);
    assert!(node.opens(17) && node.opens(18) && !node.opens(19), "two of four");
}

#[test]
fn a_peer_held_by_a_handle_is_in_use_however_long_it_is_silent() {
    let node = Node::of(4, config());
    let handles: Vec<_> = (1..=4).map(|peer| node.registry.peer(&peer)).collect();
    for _ in 0..3 {
        node.registry.sweep();
        node.hand.advance(Duration::from_secs(600));
    }
    assert!(node.opens(1) && node.opens(2) && !node.opens(3));
    drop(handles);
}

#[test]
fn a_ban_is_never_held_back_and_does_not_count() {
    let node = Node::of(4, config());
    (1..=4).for_each(|peer| node.registry.force_open(&peer).unwrap());
    assert_eq!(node.registry.status(&4), Status::ForcedOpen);
    node.registry.reset(&3);
    node.registry.reset(&4);
    assert!(node.opens(3) && node.opens(4), "two of four");
}

#[test]
fn the_guard_is_switched_and_set_while_running() {
    let node = Node::of(10, config().with_outage_guard(false));
    (1..=6).for_each(|peer| assert!(node.opens(peer), "off"));
    node.registry.set_config(config()).unwrap();
    assert!(!node.opens(7), "six are open already");
    assert!(node.registry.local_outage());
    node.registry.set_config(config().with_outage_max_open_percent(70)).unwrap();
    assert!(!node.registry.local_outage());
    assert!(node.opens(7), "the streak was kept");
    assert!(!node.opens(8));
    node.registry.set_config(config().with_outage_guard(false)).unwrap();
    assert!(!node.registry.local_outage() && node.opens(8));
}

#[test]
fn what_opened_while_the_guard_was_off_is_counted_when_it_is_on_again() {
    let node = Node::of(10, config());
    assert!(node.opens(1));
    node.registry.set_config(config().with_outage_guard(false)).unwrap();
    (2..=7).for_each(|peer| assert!(node.opens(peer)));
    node.registry.set_config(config()).unwrap();
    assert!(!node.opens(8), "at the same moment");
}

#[test]
fn a_failed_probe_opens_its_circuit_again_though_there_are_too_many() {
    let node = Node::of(4, config());
    assert!(node.opens(1) && node.opens(2));
    node.registry.set_config(config().with_outage_max_open_percent(10)).unwrap();
    node.hand.advance(10 * SECOND);
    assert!(node.opens(1));
    assert!(!node.opens(3));
}

#[test]
fn an_outage_whose_peers_are_removed_is_over() {
    let node = Node::of(4, config());
    (1..=3).for_each(|peer| {
        node.fail(peer);
    });
    assert!(node.registry.local_outage());
    (1..=3).for_each(|peer| assert!(node.registry.remove(&peer)));
    node.hand.advance(SECOND);
    assert!(!node.registry.local_outage(), "nobody is in trouble");
    (11..=16).for_each(|peer| node.succeed(peer));
    assert!(node.opens(11), "there is room");
    assert_eq!(node.outages(), [(3, EventKind::LocalOutage), (11, EventKind::LocalRecovered)]);
}

#[test]
fn a_rate_is_held_back_like_a_streak() {
    let rate = config()
        .with_failure_threshold(None)
        .with_window(Window::count(4))
        .with_min_calls(2)
        .with_failure_rate(0.5);
    let node = Node::of(3, rate);
    assert!(node.opens(1));
    assert_eq!((node.fail(2), node.registry.status(&2)), (Recorded::Counted, Status::Closed));
    assert_eq!(node.outages(), [(2, EventKind::LocalOutage)]);
    // An answer that leaves the rate where it was shows nothing yet.
    node.fail(2);
    (0..2).for_each(|_| node.succeed(2));
    assert!(node.registry.local_outage() && node.outages().len() == 1);
    node.succeed(2);
    assert_eq!(node.outages()[1..], [(2, EventKind::LocalRecovered)]);
}

#[test]
fn a_report_that_is_held_back_is_answered_like_one_that_opens_nothing() {
    let node = Node::of(4, config());
    let handler = ErrorHandler::with_registry(node.registry.clone());
    for peer in 1..=2 {
        assert_eq!(handler.handle_error(&peer, network()), Err(SyncError::CircuitBreakerOpen));
    }
    assert!(handler.handle_error(&3, network()).unwrap().is_some());
    assert!(node.registry.local_outage() && !handler.is_circuit_open(&3));
    handler.record_success(&3);
    assert_eq!(node.outages(), [(3, EventKind::LocalOutage), (3, EventKind::LocalRecovered)]);
}

#[test]
fn a_permit_that_outlives_its_registry_still_ends() {
    let node = Node::of(4, config());
    let calls: Vec<_> = (1..=4).map(|peer| node.registry.acquire(&peer).unwrap()).collect();
    drop(node.registry);
    for call in calls {
        assert!(matches!(call.failure(network()), Recorded::Opened { .. }));
    }
}
