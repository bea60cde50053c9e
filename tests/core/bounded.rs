//! The registry does not grow, and forgets nobody that it should remember (R26, R27).

use std::time::Duration;

use peer_health::{HealthConfig, HealthRegistry, Recorded, Status, TableFull};

use crate::support::{HOUR, network, registry};

mod keys;

fn trip(registry: &HealthRegistry<u64>, peer: u64) {
    while registry.status(&peer) == Status::Closed {
        registry.acquire(&peer).unwrap().failure(network());
    }
}

#[test]
fn a_hundred_thousand_one_shot_peers_leave_at_most_max_peers_trackers() {
    let (registry, _) = registry(HealthConfig::default().with_max_peers(1024));
    trip(&registry, u64::MAX);
    for peer in 0..100_000 {
        let permit = registry.acquire(&peer).unwrap();
        assert!(permit.is_tracked());
        permit.success();
        assert!(registry.len() <= 1024);
    }
    assert_eq!(registry.status(&u64::MAX), Status::Open, "nobody buys a clean record");
    let totals = registry.totals();
    assert_eq!(totals.all.succeeded, 100_000, "totals outlive their trackers");
    assert_eq!(totals.evicted, 100_001 - 1024);
}

#[test]
fn side_by_side_too() {
    let registry = HealthRegistry::<u64>::builder()
        .config(HealthConfig::default().with_max_peers(1024))
        .build()
        .unwrap();
    trip(&registry, u64::MAX);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let registry = &registry;
            scope.spawn(move || {
                for n in 0..12_500 {
                    let permit = registry.acquire(&(thread * 12_500 + n)).unwrap();
                    permit.success();
                    assert!(registry.len() <= 1024);
                }
            });
        }
    });
    let totals = registry.totals();
    assert_eq!(totals.all.succeeded, 100_000);
    let mut shown = 0;
    registry.for_each(|_, _| shown += 1);
    assert_eq!((shown, registry.len()), (1024, 1024));
    assert_eq!(totals.evicted + totals.untracked, 100_001 - 1024);
    assert_eq!(registry.status(&u64::MAX), Status::Open);
}

#[test]
fn peers_that_fail_once_and_vanish_shut_newcomers_out_only_until_they_are_forgotten() {
    let config = HealthConfig::default().with_max_peers(1024).with_forget_after(HOUR);
    let (registry, hand) = registry(config);
    for peer in 0..100_000 {
        registry.acquire(&peer).unwrap().failure(network());
    }
    assert_eq!(registry.len(), 1024);
    assert!(!registry.acquire(&u64::MAX).unwrap().is_tracked(), "all are in trouble");
    assert_eq!(registry.totals().all.failed, 100_000, "untracked outcomes are counted");
    hand.advance(HOUR);
    for peer in 200_000..201_024 {
        assert!(registry.acquire(&peer).unwrap().is_tracked());
    }
    assert_eq!(registry.len(), 1024);
}

#[test]
fn an_open_peer_is_remembered_until_it_was_of_no_use_for_long_after_its_wait() {
    let config = HealthConfig::default()
        .with_max_peers(1)
        .with_open_timeout(Duration::from_secs(60))
        .with_open_multiplier(1.0)
        .with_open_jitter(0.0)
        .with_forget_after(HOUR);
    let (registry, hand) = registry(config);
    trip(&registry, 1);
    hand.advance(Duration::from_secs(60) + HOUR - Duration::from_nanos(1));
    assert!(!registry.acquire(&2).unwrap().is_tracked());
    assert_eq!(registry.status(&1), Status::Open);
    // The search that failed is repeated after a second.
    hand.advance(Duration::from_secs(1));
    assert!(registry.acquire(&2).unwrap().is_tracked());
    assert!(!registry.contains(&1));
}

#[test]
fn clean_peers_go_before_forgotten_ones_and_overrides_never() {
    let config = HealthConfig::default().with_max_peers(3).with_forget_after(HOUR);
    let (registry, hand) = registry(config);
    registry.force_open(&1).unwrap();
    trip(&registry, 2);
    hand.advance(HOUR * 2);
    registry.acquire(&3).unwrap().success();
    registry.acquire(&4).unwrap().success();
    assert!(registry.contains(&2) && !registry.contains(&3), "the clean one goes first");
    let held = registry.acquire(&4).unwrap();
    registry.acquire(&5).unwrap().success();
    assert!(!registry.contains(&2), "then the forgotten one");
    let also_held = registry.acquire(&5).unwrap();
    hand.advance(HOUR * 1000);
    assert_eq!(registry.force_open(&6), Err(TableFull), "a ban is never lost silently");
    assert!(!registry.acquire(&6).unwrap().is_tracked());
    assert_eq!(registry.status(&1), Status::ForcedOpen);
    drop((held, also_held));
    assert_eq!(registry.force_open(&6), Ok(()), "a peer became clean: searched again at once");
}

#[test]
fn the_least_recently_used_clean_peer_goes() {
    let (registry, _) = registry(HealthConfig::default().with_max_peers(4));
    for peer in [1, 2, 3, 4, 1, 3] {
        registry.acquire(&peer).unwrap().success();
    }
    registry.acquire(&5).unwrap().success();
    assert!(!registry.contains(&2));
    registry.acquire(&6).unwrap().success();
    assert!(!registry.contains(&4));
    registry.acquire(&7).unwrap().success();
    assert!(!registry.contains(&1) && registry.contains(&3));
}

#[test]
fn in_a_large_table_a_busy_peer_outlives_those_that_are_not_used() {
    let (registry, _) = registry(HealthConfig::default().with_max_peers(2048));
    for newcomer in 1..20_000 {
        registry.acquire(&0).unwrap().success();
        registry.acquire(&newcomer).unwrap().success();
    }
    assert_eq!(registry.snapshot(&0).unwrap().totals.succeeded, 19_999, "never evicted");
    assert!(!registry.contains(&1) && registry.contains(&19_999));
}

#[test]
fn a_peer_is_idle_when_it_was_not_used_between_two_sweeps_far_enough_apart() {
    let config = HealthConfig::default().with_idle_timeout(Duration::from_secs(10));
    let (registry, hand) = registry(config);
    let mut handle = registry.peer(&2);
    handle.acquire().unwrap().success();
    trip(&registry, 3);
    registry.acquire(&1).unwrap().success();
    assert_eq!(registry.sweep(), 0);
    hand.advance(Duration::from_secs(9));
    assert_eq!(registry.sweep(), 0, "too early");
    hand.advance(Duration::from_secs(1));
    assert_eq!(registry.sweep(), 1, "the idle one, not the held one, not the open one");
    assert!(!registry.contains(&1) && registry.contains(&2) && registry.contains(&3));
    drop(handle);
    assert_eq!(registry.sweep(), 0, "was used when its handle went");
    hand.advance(Duration::from_secs(10));
    assert_eq!(registry.sweep(), 1);
    assert_eq!(registry.len(), 1);
}

#[test]
fn insertions_sweep_by_themselves() {
    let config = HealthConfig::default().with_idle_timeout(Duration::from_secs(10));
    let (registry, hand) = registry(config);
    for peer in 0..1000 {
        registry.acquire(&peer).unwrap().success();
        hand.advance(Duration::from_millis(100));
    }
    assert!(registry.len() < 500, "{} peers", registry.len());
}

#[test]
fn remove_ends_permits_and_sends_handles_to_the_new_tracker() {
    let (registry, _) = registry(HealthConfig::default());
    let mut handle = registry.peer(&1);
    handle.acquire().unwrap().failure(network());
    let old = registry.acquire(&1).unwrap();
    assert!(registry.remove(&1) && !registry.remove(&1));
    assert!(!registry.contains(&1) && handle.snapshot().is_none());
    assert_eq!(old.failure(network()), Recorded::Late);
    handle.acquire().unwrap().failure(network());
    assert_eq!(registry.snapshot(&1).unwrap().consecutive_failures, 1, "a clean record");
    assert_eq!(registry.len(), 1);
    drop(handle);
    let totals = registry.totals();
    assert_eq!((totals.all.failed, totals.all.late, totals.removed), (2, 1, 1));
}

#[test]
fn an_untracked_handle_finds_room_as_soon_as_there_is_some() {
    let (registry, _) = registry(HealthConfig::default().with_max_peers(1));
    trip(&registry, 1);
    let mut handle = registry.peer(&2);
    let permit = handle.acquire().unwrap();
    assert!(!permit.is_tracked());
    permit.success();
    registry.remove(&1);
    assert!(handle.acquire().unwrap().is_tracked());
}

#[test]
fn a_lowered_maximum_is_reached_in_steps_by_insertions_or_by_a_sweep_at_once() {
    let full = || {
        let (registry, _) = registry(HealthConfig::default().with_max_peers(10_000));
        (0..10_000).for_each(|peer| _ = registry.acquire(&peer).unwrap().success());
        registry.set_config(HealthConfig::default().with_max_peers(100)).unwrap();
        registry
    };
    let registry = full();
    let mut insertions = 0;
    while registry.len() > 100 {
        let before = registry.len();
        registry.acquire(&(20_000 + insertions)).unwrap().success();
        let went = before - registry.len();
        assert!((1..=32).contains(&went) || registry.len() == 100, "{went} of {before}");
        insertions += 1;
    }
    assert!((300..400).contains(&insertions), "{insertions}");
    assert_eq!(registry.totals().all.succeeded, 10_000 + insertions);

    let registry = full();
    assert_eq!(registry.sweep(), 9_900);
    assert_eq!((registry.len(), registry.totals().all.succeeded), (100, 10_000));
}

#[test]
fn a_newcomer_is_tracked_as_soon_as_somebody_may_go() {
    let (registry, _) = registry(HealthConfig::default().with_max_peers(1));
    registry.acquire(&1).unwrap().failure(network());
    assert!(!registry.acquire(&2).unwrap().is_tracked());
    // Whoever makes room, and however it is told.
    let handler = peer_health::ErrorHandler::with_registry(registry.clone());
    handler.record_success(&1);
    assert!(registry.acquire(&2).unwrap().is_tracked(), "after a success without a permit");
}

#[test]
fn a_listener_of_a_removal_finds_the_place_free() {
    use std::sync::{Arc, Mutex, OnceLock};
    let own: Arc<OnceLock<HealthRegistry<u64>>> = Arc::default();
    let tracked = Arc::new(Mutex::new(Vec::new()));
    let (registry, told) = (Arc::clone(&own), Arc::clone(&tracked));
    let of_removals = move |event: &peer_health::Event<u64>| {
        if event.kind == peer_health::EventKind::Removed {
            let permit = registry.get().unwrap().acquire(&2).unwrap();
            told.lock().unwrap().push(permit.is_tracked());
        }
    };
    let config = HealthConfig::default().with_max_peers(1);
    let registry = HealthRegistry::builder().config(config).listener(of_removals).build().unwrap();
    own.set(registry.clone()).unwrap();
    registry.acquire(&1).unwrap().failure(network());
    assert!(!registry.acquire(&2).unwrap().is_tracked());
    assert!(registry.remove(&1));
    assert_eq!(*tracked.lock().unwrap(), [true]);
}

#[test]
fn a_ban_finds_the_one_place_there_is_however_large_the_table() {
    let (registry, _) = registry(HealthConfig::default().with_max_peers(5000));
    (0..5000).for_each(|peer| _ = registry.acquire(&peer).unwrap().failure(network()));
    assert_eq!(registry.force_open(&9999), Err(TableFull), "all are in trouble");
    registry.acquire(&2345).unwrap().success();
    assert_eq!(registry.force_open(&9999), Ok(()));
    assert!(!registry.contains(&2345));
}

#[test]
fn strangers_that_fail_do_not_take_the_place_of_peers_that_are_called_again_and_again() {
    let (registry, _) = registry(HealthConfig::default().with_max_peers(1024));
    let call_honest = |honest: u64| {
        (0..honest).for_each(|peer| _ = registry.acquire(&peer).unwrap().success());
    };
    (0..2).for_each(|_| call_honest(10));
    for stranger in 1000..10_000 {
        registry.acquire(&stranger).unwrap().failure(network());
        call_honest(10);
    }
    assert!((0..10).all(|peer| registry.contains(&peer)), "called between any two strangers");
    let untracked = registry.totals().untracked;
    assert_eq!(untracked, 9_000 - (1024 - 10), "strangers alone");
    // Five of them are called no more: after two rounds of looks they go.
    for stranger in 10_000..10_100 {
        registry.acquire(&stranger).unwrap().failure(network());
        call_honest(5);
    }
    let left: Vec<_> = (0..10).filter(|peer| registry.contains(peer)).collect();
    assert_eq!(left, [0, 1, 2, 3, 4]);
}

#[test]
fn in_a_table_of_busy_peers_a_newcomer_has_its_place_all_the_same() {
    let (registry, _) = registry(HealthConfig::default().with_max_peers(1024));
    (0..3).for_each(|_| (0..1024).for_each(|peer| _ = registry.acquire(&peer).unwrap().success()));
    for newcomer in 2000..2100 {
        assert!(registry.acquire(&newcomer).unwrap().is_tracked());
        (0..1024).for_each(|peer| _ = registry.acquire(&peer).unwrap().success());
    }
}
