//! Whom to call, of several.

use super::*;

fn took(monitor: &HealthMonitor<u32>, peer: u32, millis: u64) {
    let permit = monitor.registry().acquire(&peer).unwrap();
    permit.with_latency(Duration::from_millis(millis)).success();
}

/// How often each of the first so many peers is picked.
fn picks<const N: usize>(monitor: &HealthMonitor<u32>, peers: &[u32; N]) -> [u32; N] {
    let mut picked = [0; N];
    for _ in 0..10_000 {
        let peer = monitor.pick(peers).unwrap();
        picked[peers.iter().position(|p| p == peer).unwrap()] += 1;
    }
    picked
}

#[test]
fn candidates_are_ranked_by_whether_they_may_be_called_then_by_health_then_by_cost() {
    let (monitor, hand) = manual();
    let registry = monitor.registry();
    let [first_probe, probe, probed] = [3, 4, 5];
    for peer in [first_probe, probe, probed] {
        fail(&monitor, peer);
    }
    hand.advance(Duration::from_secs(5));
    drop(registry.acquire(&probe).unwrap());
    let _probe = registry.acquire(&probed).unwrap();
    let [opened_first, opened_last, banned] = [6, 7, 8];
    fail(&monitor, opened_first);
    hand.advance(Duration::from_secs(1));
    fail(&monitor, opened_last);
    registry.force_open(&banned).unwrap();
    let [fast, slow, new] = [0, 1, 2];
    took(&monitor, fast, 10);
    took(&monitor, slow, 20);
    let candidates =
        [banned, opened_last, opened_first, probed, first_probe, probe, slow, fast, new];
    let ranked = monitor.rank(&candidates);
    let best_first =
        [fast, new, slow, probe, first_probe, probed, opened_first, opened_last, banned];
    assert_eq!(ranked, best_first.each_ref());
    assert!(!registry.contains(&new), "to be ranked makes nobody known");
    assert!(monitor.rank(&[]).is_empty());
}

/// D13: of many candidates that are closed two are looked at, whatever their number is.
#[test]
fn a_pick_among_closed_candidates_looks_at_two_of_them() {
    use std::hash::{Hash, Hasher};
    thread_local! {
        static LOOKS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }
    /// Is hashed once when it is looked at.
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Looked(u32);
    impl Hash for Looked {
        fn hash<H: Hasher>(&self, state: &mut H) {
            LOOKS.set(LOOKS.get() + 1);
            self.0.hash(state);
        }
    }
    let monitor = HealthMonitor::new(HealthRegistry::<Looked>::new());
    let peers: Vec<_> = (0..100).map(Looked).collect();
    for pick in 1..=10 {
        assert!(monitor.pick(&peers).is_some());
        assert_eq!(LOOKS.get(), 2 * pick);
    }
}

/// R17: a ban with an end ranks as what is open for as long, and as new when it is over.
#[test]
fn a_ban_with_an_end_ranks_like_a_wait() {
    let (monitor, hand) = manual();
    let registry = monitor.registry();
    let second = Duration::from_secs(1);
    registry.force_open_for(&1, 4 * second).unwrap();
    fail(&monitor, 2);
    registry.force_open_for(&3, 60 * second).unwrap();
    registry.force_open(&4).unwrap();
    assert_eq!(monitor.rank(&[4, 3, 2, 1]), [&1, &2, &3, &4]);
    hand.advance(4 * second);
    assert_eq!(monitor.rank(&[4, 3, 2, 0, 1]), [&0, &1, &2, &3, &4], "equals keep their order");
    assert_eq!(monitor.pick(&[4, 1]), Some(&1));
}

#[test]
fn a_streak_makes_a_peer_dearer_and_equals_stay_in_their_order() {
    let registry = HealthRegistry::<u32>::new();
    let monitor = HealthMonitor::new(registry.clone());
    assert_eq!(monitor.rank(&[3, 1, 2]), [&3, &1, &2]);
    registry.acquire(&3).unwrap().failure(network());
    assert_eq!(monitor.rank(&[3, 1, 2]), [&1, &2, &3]);
    took(&monitor, 1, 10);
    took(&monitor, 2, 15);
    registry.acquire(&1).unwrap().failure(network());
    assert_eq!(monitor.rank(&[3, 1, 2]), [&2, &1, &3], "15, 2 * 10, 2 * 12.5");
}

#[test]
fn no_peer_of_equal_quality_gets_much_more_than_its_share() {
    let (monitor, _) = manual();
    let peers: [u32; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
    let share = 850..1150;
    assert!(picks(&monitor, &peers).iter().all(|picked| share.contains(picked)));
    for peer in peers {
        took(&monitor, peer, 10);
    }
    assert!(picks(&monitor, &peers).iter().all(|picked| share.contains(picked)));
}

#[test]
fn slow_peers_get_less_and_the_slowest_a_share_of_what_is_left_to_chance() {
    let (monitor, _) = manual();
    let peers: [u32; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
    for peer in peers {
        took(&monitor, peer, 10 + u64::from(peer));
    }
    // Of n the k-th best is the better of two as often as its partner is one of the n - k worse;
    // one choice in 32 is anybody's.
    let picked = picks(&monitor, &peers);
    for (place, picked) in picked.iter().enumerate() {
        let expected = 10_000.0 / 32.0 * (31.0 * 2.0 * (9 - place) as f64 / 90.0 + 0.1);
        assert!((f64::from(*picked) - expected).abs() < 200.0, "{place}: {picked}, {expected}");
    }
    assert!((15..50).contains(&picked[9]), "{}", picked[9]);
}

#[test]
fn an_open_peer_is_never_picked_while_a_closed_one_is_there() {
    let (monitor, hand) = manual();
    let peers: [u32; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
    for peer in 0..8 {
        fail(&monitor, peer);
    }
    took(&monitor, 8, 900);
    for waited in [Duration::ZERO, Duration::from_secs(5)] {
        hand.advance(waited);
        took(&monitor, 9, 900);
        let picked = picks(&monitor, &peers);
        assert_eq!(picked[..8].iter().sum::<u32>(), 0);
        assert!((4500..5500).contains(&picked[8]), "{picked:?}");
        monitor.registry().remove(&9);
    }
    // The one healthy peer is picked, however many may be probed.
    monitor.registry().force_open(&8).unwrap();
    assert_eq!(picks(&monitor, &peers)[9], 10_000);
    // Those that may be probed, if there is no other.
    monitor.registry().force_open(&9).unwrap();
    let picked = picks(&monitor, &peers);
    assert!(picked[..8].iter().all(|picked| (1000..1500).contains(picked)), "{picked:?}");
    assert_eq!(picked[8..], [0, 0]);
}

#[test]
fn nobody_is_picked_where_nobody_may_be_called() {
    let (monitor, hand) = manual();
    assert_eq!(monitor.pick(&[]), None);
    fail(&monitor, 7);
    monitor.registry().force_open(&8).unwrap();
    assert_eq!(monitor.pick(&[7, 8]), None);
    hand.advance(Duration::from_secs(5));
    assert_eq!(monitor.pick(&[7, 8]), Some(&7));
    let _probe = monitor.registry().acquire(&7).unwrap();
    assert_eq!(monitor.pick(&[7, 8]), None);
    assert_eq!(monitor.pick(&[7, 8, 9]), Some(&9));
}

/// Callers that come all at once, and know nothing of each other: by rank they would all call the
/// same peer.
#[test]
fn callers_who_come_at_once_are_spread() {
    let (monitor, _) = manual();
    let peers: Vec<u32> = (0..100).collect();
    for peer in &peers {
        took(&monitor, *peer, 10 + u64::from(*peer) % 7);
    }
    let mut calls = [0u32; 100];
    for _ in 0..1000 {
        calls[*monitor.pick(&peers).unwrap() as usize] += 1;
    }
    assert_eq!(monitor.rank(&peers)[0], &0);
    assert!(calls.iter().all(|calls| *calls < 50), "{calls:?}");
}

#[test]
fn a_peer_that_recovered_is_picked_as_often_as_one_that_never_failed() {
    let (monitor, hand) = manual();
    let registry = monitor.registry();
    // Without a rule for slow calls nobody times a call but a probe.
    registry.acquire(&1).unwrap().success();
    fail(&monitor, 2);
    hand.advance(Duration::from_secs(5));
    while registry.status(&2) != Status::Closed {
        registry.acquire(&2).unwrap().success();
    }
    assert!(registry.snapshot(&2).unwrap().latency.is_some());
    assert!(registry.snapshot(&1).unwrap().latency.is_none());
    let [never, recovered] = picks(&monitor, &[1, 2]);
    assert!(never > 4_000 && recovered > 4_000, "{never}, {recovered}");
    assert_eq!(monitor.rank(&[2, 1, 9]), [&2, &1, &9], "neither is better or worse");
}

#[test]
fn a_circuit_that_is_half_open_for_too_long_is_picked_so_that_it_is_probed_again() {
    let (registry, hand) = support::registry(config().with_half_open_max(Duration::from_secs(60)));
    let monitor = HealthMonitor::new(registry.clone());
    fail(&monitor, 1);
    hand.advance(Duration::from_secs(5));
    let _hung = registry.acquire(&1).unwrap();
    hand.advance(Duration::from_secs(60));
    assert_eq!(monitor.pick(&[1]), Some(&1));
    assert!(registry.acquire(&1).is_err(), "it opens again, and can be probed later");
    assert_eq!(monitor.pick(&[1]), None);
    hand.advance(Duration::from_secs(5));
    assert_eq!(monitor.pick(&[1]), Some(&1));
}

/// How often a peer is picked, and then called, in an hour with a call a second. Each call takes so
/// long as it says; the peer's own first one took a little longer.
fn calls_in_an_hour(seed: u64, renewed: bool) -> (u32, Vec<u32>) {
    let (clock, hand) = Clock::manual();
    let registry = HealthRegistry::builder().clock(clock).build().unwrap();
    let monitor = HealthMonitor::builder(registry).seed(seed << 32).build().unwrap();
    let peers: [u32; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
    peers.iter().for_each(|peer| took(&monitor, *peer, if *peer == 9 { 21 } else { 20 }));
    let mut calls = vec![];
    for second in 0..3600 {
        hand.advance(Duration::from_secs(1));
        if renewed && second % 60 == 0 {
            took(&monitor, 9, 21);
        }
        let peer = *monitor.pick(&peers).unwrap();
        took(&monitor, peer, 20);
        calls.push(peer);
    }
    let nines = calls.iter().filter(|peer| **peer == 9).count();
    (u32::try_from(nines).unwrap(), calls)
}

#[test]
fn a_peer_whose_first_call_was_a_little_slower_is_picked_again_within_the_hour() {
    for seed in 0..20 {
        let (calls, _) = calls_in_an_hour(seed, false);
        assert!(calls > 0, "seed {seed}");
    }
    // Where it is known to be slower all the time, chance alone leads to it: 3600 / 32 / 10.
    let calls: Vec<_> = (0..20).map(|seed| calls_in_an_hour(seed, true).0).collect();
    assert!(calls.iter().all(|calls| (1..30).contains(calls)), "{calls:?}");
    assert!((180..270).contains(&calls.iter().sum::<u32>()), "{calls:?}");
}

#[test]
fn the_same_seed_makes_the_same_choices() {
    assert_eq!(calls_in_an_hour(7, false), calls_in_an_hour(7, false));
    assert_ne!(calls_in_an_hour(7, false), calls_in_an_hour(8, false));
}

#[test]
fn one_choice_in_32_is_left_to_chance() {
    let (monitor, _) = manual();
    took(&monitor, 1, 10);
    took(&monitor, 2, 11);
    // The slower one gets half of what is left to chance.
    let [_, slower] = picks(&monitor, &[1, 2]);
    assert!((110..210).contains(&slower), "{slower}, and 156 are expected");
    // Among the closed, also where most are not.
    (10..40).for_each(|peer| fail(&monitor, peer));
    let peers: Vec<u32> = (1..3).chain(10..40).collect();
    let mut picked = [0; 40];
    (0..10_000).for_each(|_| picked[*monitor.pick(&peers).unwrap() as usize] += 1);
    assert!((110..210).contains(&picked[2]), "{picked:?}");
    assert_eq!(picked[1] + picked[2], 10_000);
}

#[test]
fn what_is_unknown_is_ranked_at_the_median_of_what_is_known() {
    let (monitor, _) = manual();
    took(&monitor, 1, 10);
    took(&monitor, 2, 20);
    took(&monitor, 3, 40);
    let [odd, even] = [8, 9];
    assert_eq!(monitor.rank(&[odd, 3, 2, 1]), [&1, &odd, &2, &3], "at 20, and given before 2");
    assert_eq!(monitor.rank(&[3, 2, odd, 1]), [&1, &2, &odd, &3], "at 20, and given after 2");
    took(&monitor, 4, 24);
    took(&monitor, 5, 21);
    took(&monitor, 6, 23);
    // 10, 20, 21, 23, 24, 40: at 22.
    let candidates = [even, 3, 4, 6, 5, 2, 1];
    assert_eq!(monitor.rank(&candidates), [&1, &2, &5, &even, &6, &4, &3]);
    // The streak counts on top of it: at 44.
    monitor.registry().metrics_only(&even).unwrap();
    monitor.registry().acquire(&even).unwrap().failure(network());
    assert_eq!(monitor.rank(&candidates), [&1, &2, &5, &6, &4, &3, &even]);
}

#[test]
fn what_has_aged_is_ranked_and_picked_as_what_is_unknown() {
    let (monitor, hand) = manual();
    let (minute, latency) = (Duration::from_secs(60), Duration::from_nanos(u64::MAX));
    monitor.registry().acquire(&1).unwrap().with_latency(latency).success();
    hand.advance(7 * minute);
    took(&monitor, 2, 10);
    took(&monitor, 3, 30);
    hand.advance(8 * minute - Duration::from_nanos(1));
    assert_eq!(monitor.rank(&[1, 3, 2]), [&2, &3, &1]);
    assert!(picks(&monitor, &[1, 2])[0] < 210);
    hand.advance(Duration::from_nanos(1));
    assert_eq!(monitor.rank(&[1, 3, 2]), [&2, &1, &3]);
    assert!((4_500..5_500).contains(&picks(&monitor, &[1, 2])[0]));
    hand.advance(Duration::MAX);
    assert_eq!(monitor.rank(&[1, 3, 2]), [&1, &3, &2], "nothing is known of anybody");
}
