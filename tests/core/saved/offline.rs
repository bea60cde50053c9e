//! Whether this node was online at the time of the export: only then its peers' waits are theirs.

use super::*;

/// A registry in which most are dead and one answers: how long its peers still wait after an export that
/// follows this.
fn rests(run: impl FnOnce(&HealthRegistry<u32>, &ManualClock)) -> [Duration; 2] {
    let (registry, hand) = support::registry(config().with_open_timeout(HOUR).with_open_max(HOUR));
    run(&registry, &hand);
    [7, 8].map(|peer| match state(&registry, peer) {
        Some(SavedState::Open { rest, .. }) => rest,
        other => panic!("{other:?}"),
    })
}

fn fail_both(registry: &HealthRegistry<u32>) {
    fail(registry, 7);
    fail(registry, 8);
}

#[test]
fn a_node_whose_peers_all_fail_for_over_a_minute_was_offline() {
    let due = [Duration::ZERO; 2];
    assert_eq!(
        due,
        rests(|registry, hand| {
            answer(registry, 1);
            hand.advance(61 * SECOND);
            fail_both(registry);
        })
    );
    assert_eq!(
        due,
        rests(|registry, hand| {
            fail_both(registry);
            answer(registry, 1);
            hand.advance(61 * SECOND);
        })
    );
    assert_eq!(
        due,
        rests(|registry, hand| {
            fail_both(registry);
            hand.advance(HOUR / 2);
        })
    );
}

#[test]
fn a_success_within_the_last_minute_proves_that_a_node_with_dead_peers_is_online() {
    let rest = [HOUR - 60 * SECOND; 2];
    // Dated since circuits had opened.
    assert_eq!(
        rest,
        rests(|registry, hand| {
            answer(registry, 1);
            hand.advance(HOUR);
            fail_both(registry);
            hand.advance(SECOND);
            answer(registry, 1);
            hand.advance(59 * SECOND);
        })
    );
    assert_eq!(
        rest,
        rests(|registry, hand| {
            fail_both(registry);
            hand.advance(SECOND);
            assert!(registry.acquire(&9).is_ok());
            peer_health::HealthRegistry::clone(registry).peer(&1).acquire().unwrap().success();
            hand.advance(59 * SECOND);
        })
    );
    // Known by its latency.
    assert_eq!(
        rest,
        rests(|registry, hand| {
            hand.advance(HOUR);
            fail_both(registry);
            answer(registry, 1);
            hand.advance(30 * SECOND);
            registry.acquire(&1).unwrap().with_latency(SECOND).success();
            hand.advance(30 * SECOND);
        })
    );
    // Known by the export before it.
    assert_eq!(
        [HOUR - 300 * SECOND; 2],
        rests(|registry, hand| {
            fail_both(registry);
            for _ in 0..10 {
                hand.advance(30 * SECOND);
                answer(registry, 1);
                registry.export();
            }
        })
    );
}

#[test]
fn what_reports_say_counts_as_well() {
    let (registry, hand) = support::registry(config().with_open_timeout(HOUR).with_open_max(HOUR));
    let handler = peer_health::ErrorHandler::with_registry(registry.clone());
    hand.advance(HOUR);
    fail_both(&registry);
    hand.advance(61 * SECOND);
    let rest = || match state(&registry, 7) {
        Some(SavedState::Open { rest, .. }) => rest,
        other => panic!("{other:?}"),
    };
    assert_eq!(rest(), Duration::ZERO);
    handler.record_success(&1);
    assert_eq!(rest(), HOUR - 61 * SECOND);
}

#[test]
fn ninety_percent_dead_and_online_keeps_every_wait_and_offline_keeps_none() {
    let (registry, hand) = support::registry(config());
    for round in 0..60 {
        (0..100).for_each(|peer| answer(&registry, peer));
        (100..1000)
            .for_each(|peer| _ = registry.acquire(&peer).map(|call| call.failure(network())));
        hand.advance(if round < 59 { 10 * SECOND } else { SECOND });
    }
    let open = |saved: &[Saved<u32>], is: fn(Duration) -> bool| {
        let is_open =
            |saved: &&Saved<u32>| matches!(saved.state, SavedState::Open { rest, .. } if is(rest));
        saved.iter().filter(is_open).count()
    };
    let online = registry.export();
    assert_eq!(open(&online, |rest| !rest.is_zero()), 900);
    let (next, _) = restored(online, Some(SECOND));
    assert_eq!((0..1000).filter(|peer| next.acquire(peer).is_ok()).count(), 100);

    for _ in 0..61 {
        (0..1000).for_each(|peer| _ = registry.acquire(&peer).map(|call| call.failure(network())));
        hand.advance(SECOND);
    }
    let offline = registry.export();
    assert_eq!(open(&offline, |rest| rest.is_zero()), 1000);
    let (next, hand) = restored(offline, Some(SECOND));
    let at_once = (0..1000).filter(|peer| next.acquire(peer).is_ok()).count();
    assert!(at_once < 50, "{at_once}");
    hand.advance(5 * SECOND);
    assert!((0..1000).all(|peer| next.acquire(&peer).is_ok()));
}

#[test]
fn after_each_opening_one_success_of_a_healthy_peer_reads_the_clock_and_no_other_does() {
    let reads = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = std::sync::Arc::clone(&reads);
    let clock = peer_health::Clock::from_fn(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Duration::from_secs(9)
    });
    let registry = HealthRegistry::builder().config(config()).clock(clock).build().unwrap();
    (1..=7).for_each(|peer| answer(&registry, peer));
    let so_far = || reads.load(std::sync::atomic::Ordering::Relaxed);
    let mut expected = so_far();
    for peer in 5..=7 {
        (0..9).for_each(|_| answer(&registry, 1));
        assert_eq!(so_far(), expected, "no circuit has opened since");
        fail(&registry, peer);
        let before = so_far();
        (0..9).for_each(|_| answer(&registry, 1));
        assert!((1..=2).contains(&(so_far() - before)), "{}", so_far() - before);
        expected = so_far();
    }
}
