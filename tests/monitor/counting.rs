//! What a summary says of all peers.

use super::*;

/// By status as a summary counts, and who opened how often: found by looking at all peers.
fn scan(registry: &HealthRegistry<u32>) -> ([usize; 4], Vec<(u64, u32, Status)>) {
    let (mut counts, mut opened) = ([0; 4], Vec::new());
    registry.for_each(|peer, seen| {
        counts[match seen.status {
            Status::Closed => 0,
            Status::Open => 1,
            Status::HalfOpen => 2,
            _ => 3,
        }] += 1;
        if seen.totals.opened > 0 {
            opened.push((seen.totals.opened, *peer, seen.status));
        }
    });
    opened.sort_by_key(|(openings, peer, _)| (*openings, *peer));
    (counts, opened)
}

fn summed_up(monitor: &HealthMonitor<u32>) -> ([usize; 4], Vec<(u64, u32, Status)>) {
    let seen = monitor.summary();
    let worst_first = seen.worst.windows(2).all(|two| two[0].openings >= two[1].openings);
    assert!(worst_first, "{:?}", seen.worst);
    let mut worst: Vec<_> = seen.worst.iter().map(|w| (w.openings, w.peer, w.status)).collect();
    worst.sort_by_key(|(openings, peer, _)| (*openings, *peer));
    let counts = [seen.closed, seen.open, seen.half_open, seen.overridden];
    assert_eq!(seen.known, counts.iter().sum::<usize>());
    (counts, worst)
}

fn naming_all(registry: &HealthRegistry<u32>) -> HealthMonitor<u32> {
    HealthMonitor::builder(registry.clone()).worst(usize::MAX).build().unwrap()
}

#[test]
fn a_summary_follows_a_peer_through_all_its_states() {
    let (monitor, hand) = manual();
    let registry = monitor.registry();
    let counts = || {
        let seen = monitor.summary();
        [seen.known, seen.closed, seen.open, seen.half_open, seen.overridden]
    };
    assert_eq!(counts(), [0; 5]);
    registry.acquire(&7).unwrap().success();
    assert_eq!(counts(), [1, 1, 0, 0, 0]);
    fail(&monitor, 7);
    assert_eq!(counts(), [1, 0, 1, 0, 0]);
    hand.advance(Duration::from_secs(5));
    let probe = registry.acquire(&7).unwrap();
    assert_eq!(counts(), [1, 0, 0, 1, 0]);
    probe.success();
    assert_eq!(counts(), [1, 1, 0, 0, 0]);
    registry.metrics_only(&7).unwrap();
    assert_eq!(counts(), [1, 0, 0, 0, 1]);
    registry.reset(&7);
    assert_eq!(counts(), [1, 1, 0, 0, 0]);
    assert_eq!(monitor.summary().worst[0].openings, 1);
    registry.remove(&7);
    assert_eq!(counts(), [0; 5]);
    assert!(monitor.summary().worst.is_empty());
}

#[test]
fn the_worst_are_those_that_opened_most_often_and_no_more_than_asked_for() {
    let (registry, hand) = support::registry(config());
    let monitor = HealthMonitor::builder(registry.clone()).worst(2).build().unwrap();
    for round in 0..4 {
        for peer in round..4 {
            registry.acquire(&peer).unwrap().failure(network());
        }
        hand.advance(Duration::from_secs(5));
    }
    let worst: Vec<_> = monitor.summary().worst.iter().map(|w| (w.peer, w.openings)).collect();
    assert_eq!(worst, [(3, 4), (2, 3)]);
}

#[test]
fn a_monitor_finds_what_was_so_before_it() {
    let (earlier, hand) = manual();
    let registry = earlier.registry();
    for peer in 0..3 {
        fail(&earlier, peer);
    }
    hand.advance(Duration::from_secs(5));
    registry.acquire(&0).unwrap().success();
    let _probe = registry.acquire(&1).unwrap();
    registry.disable(&3).unwrap();
    let later = naming_all(registry);
    assert_eq!(summed_up(&later), scan(registry));
    assert_eq!(summed_up(&later).0, [1, 1, 1, 1]);
    assert_eq!(later.summary().worst.len(), 3);
}

/// Peers are banned while a monitor is made: each ban is found by its first look, or told.
#[test]
fn a_monitor_that_begins_while_circuits_turn_misses_none() {
    for round in 0..300 {
        let registry = HealthRegistry::<u32>::new();
        let start = std::sync::Barrier::new(2);
        let monitor = std::thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                (0..20).for_each(|peer| registry.force_open(&peer).unwrap());
            });
            start.wait();
            (0..round % 64).for_each(|_| std::hint::spin_loop());
            naming_all(&registry)
        });
        assert_eq!(monitor.summary().overridden, 20, "round {round}");
    }
}

/// A key that takes its time where the monitor and the registry look it up, so that threads meet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slow(u32);

impl std::hash::Hash for Slow {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        std::thread::yield_now();
        self.0.hash(state);
    }
}

/// Threads that turn the same circuit are told side by side, in any order: who looks last keeps
/// what is so.
#[test]
fn two_who_turn_a_circuit_side_by_side_leave_nothing_stale() {
    let registry = HealthRegistry::<Slow>::new();
    let monitor = HealthMonitor::new(registry.clone());
    for round in 0..600 {
        let start = std::sync::Barrier::new(3);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (registry, start) = (&registry, &start);
                scope.spawn(move || {
                    start.wait();
                    for peer in 0..20 {
                        match (thread + peer + round) % 3 {
                            0 => drop(registry.force_open(&Slow(peer))),
                            1 => drop(registry.reset(&Slow(peer))),
                            _ => drop(registry.remove(&Slow(peer))),
                        }
                    }
                });
            }
        });
        let banned = |peer: &u32| registry.status(&Slow(*peer)) == Status::ForcedOpen;
        let banned = (0..20).filter(banned).count();
        assert_eq!(monitor.summary().overridden, banned, "round {round}");
    }
}

/// Four threads turn circuits, ban, forget and evict; a second monitor begins in the midst of it.
/// When all is quiet each says what a scan finds.
#[test]
fn after_a_storm_a_summary_says_what_a_scan_finds() {
    for round in 0..8 {
        let config = config().with_max_peers(40).with_open_timeout(Duration::from_nanos(500));
        let (registry, hand) = support::registry(config);
        let first = naming_all(&registry);
        let storm = |thread: u64| {
            let mut random = thread.wrapping_mul(0x9E37_79B9) + round * 77 + 1;
            for _ in 0..10_000 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let peer = u32::try_from(random >> 8 & 63).unwrap();
                hand.advance(Duration::from_nanos(10));
                match random % 16 {
                    0 => drop(registry.force_open(&peer)),
                    1 => drop(registry.disable(&peer)),
                    2 => drop(registry.metrics_only(&peer)),
                    3..6 => drop(registry.reset(&peer)),
                    6 => drop(registry.remove(&peer)),
                    7 => drop(registry.sweep()),
                    8..12 => drop(registry.acquire(&peer).map(|permit| permit.success())),
                    _ => drop(registry.acquire(&peer).map(|permit| permit.failure(network()))),
                }
            }
        };
        let second = std::thread::scope(|scope| {
            (0..4).for_each(|thread| drop(scope.spawn(move || storm(thread))));
            naming_all(&registry)
        });
        let found = scan(&registry);
        assert!(registry.totals().evicted > 0 && !found.1.is_empty());
        assert_eq!(summed_up(&first), found, "round {round}");
        assert_eq!(summed_up(&second), found, "round {round}");
    }
}
