//! What counts as a use of a peer, and who goes in which order (R26).

use std::time::Duration;

use peer_health::{
    Clock, ErrorHandler, HealthConfig, HealthRegistry, Reason, Recorded, Status, SyncError,
};

use crate::support::{HOUR, network, registry};

/// A peer has failed once, and is used two hours later: it is forgotten an hour after that use,
/// and not before. What has begun at the failure is handed on.
fn counts_as_a_use<T>(
    begin: impl FnOnce(&HealthRegistry<u64>) -> T,
    use_it: impl FnOnce(&HealthRegistry<u64>, T),
) {
    let (registry, hand) =
        registry(HealthConfig::default().with_max_peers(1).with_forget_after(HOUR));
    registry.acquire(&1).unwrap().failure(network());
    let begun = begin(&registry);
    hand.advance(HOUR * 2);
    use_it(&registry, begun);
    hand.advance(HOUR - Duration::from_secs(1));
    assert!(!registry.acquire(&2).unwrap().is_tracked(), "forgotten too early");
    assert_eq!(registry.snapshot(&1).unwrap().consecutive_failures, 1);
    hand.advance(Duration::from_secs(1));
    assert!(registry.acquire(&2).unwrap().is_tracked(), "remembered too long");
    assert!(!registry.contains(&1));
}

#[test]
fn a_call_that_ends_is_a_use_however_it_ends() {
    counts_as_a_use(|registry| registry.acquire(&1).unwrap(), |_, permit| drop(permit));
    counts_as_a_use(
        |registry| registry.acquire(&1).unwrap(),
        |_, permit| assert_eq!(permit.neutral(), Recorded::Neutral),
    );
}

#[test]
fn an_answer_that_the_circuit_is_not_open_is_a_use() {
    counts_as_a_use(|_| (), |registry, ()| assert!(!registry.is_circuit_open(&1)));
}

#[test]
fn a_reported_error_is_a_use_even_if_it_is_not_the_peers_fault() {
    counts_as_a_use(
        |_| (),
        |registry, ()| {
            let handler = ErrorHandler::with_registry(registry.clone());
            handler.handle_error(&1, SyncError::Document("corrupt".into())).unwrap();
        },
    );
}

#[test]
fn a_handle_that_goes_is_a_use() {
    counts_as_a_use(|registry| registry.peer(&1), |_, handle| drop(handle));
}

#[test]
fn a_refusal_is_a_use() {
    let config = HealthConfig::default()
        .with_max_peers(1)
        .with_failure_threshold(1)
        .with_success_threshold(1)
        .with_probe_lease(None)
        .with_forget_after(HOUR);
    let (registry, hand) = registry(config);
    registry.acquire(&1).unwrap().failure(network());
    hand.advance(HOUR * 2);
    // A probe that is lost, so that nobody holds the peer and all others are refused.
    let mut handle = registry.peer(&1);
    std::mem::forget(handle.acquire().unwrap());
    drop(handle);
    hand.advance(HOUR - Duration::from_secs(1));
    assert_eq!(registry.acquire(&1).unwrap_err().reason, Reason::ProbesInFlight);
    hand.advance(HOUR - Duration::from_secs(1));
    assert!(!registry.acquire(&2).unwrap().is_tracked(), "forgotten too early");
    hand.advance(Duration::from_secs(1));
    assert!(registry.acquire(&2).unwrap().is_tracked(), "remembered too long");
}

#[test]
fn of_peers_in_trouble_the_one_goes_first_that_was_of_no_use_for_longest() {
    let config = HealthConfig::default()
        .with_max_peers(2)
        .with_failure_threshold(1)
        .with_open_timeout(HOUR)
        .with_open_multiplier(1.0)
        .with_open_jitter(0.0)
        .with_open_max(HOUR)
        .with_forget_after(HOUR);
    let (registry, hand) = registry(config.clone());
    registry.acquire(&1).unwrap().failure(network());
    registry.set_config(config.with_open_timeout(Duration::from_secs(1))).unwrap();
    hand.advance(Duration::from_secs(60));
    registry.acquire(&2).unwrap().failure(network());
    hand.advance(HOUR * 3);
    registry.acquire(&3).unwrap().success();
    assert!(registry.contains(&1), "used earlier, but its wait ended last");
    assert!(!registry.contains(&2));
}

#[test]
fn a_wait_that_is_asked_to_end_is_a_use_though_it_was_over() {
    let config =
        HealthConfig::default().with_max_peers(1).with_failure_threshold(1).with_forget_after(HOUR);
    let (registry, hand) = registry(config);
    registry.acquire(&1).unwrap().failure(network());
    hand.advance(HOUR * 2);
    assert!(registry.end_wait(&1), "over by itself");
    hand.advance(HOUR - Duration::from_secs(1));
    assert!(!registry.acquire(&2).unwrap().is_tracked());
    assert_eq!(registry.status(&1), Status::Open);
}

#[test]
fn in_a_table_of_64_the_least_recently_used_goes() {
    let (registry, _) = registry(HealthConfig::default().with_max_peers(64));
    let order: Vec<u64> = (0..64).map(|n| n * 37 % 64).collect();
    for peer in (0..64).chain(order.iter().copied()) {
        registry.acquire(&peer).unwrap().success();
    }
    for (newcomer, gone) in order.iter().take(40).enumerate() {
        assert!(registry.contains(gone));
        registry.acquire(&(1000 + newcomer as u64)).unwrap().success();
        assert!(!registry.contains(gone), "{gone} was used before all others");
    }
}

#[test]
fn in_a_larger_one_the_least_recently_used_of_64_goes() {
    // The seed decides the order of the looks. With a few seeds in a hundred the last of them finds none of
    // the older half.
    let config = HealthConfig::default().with_max_peers(1024);
    let registry = HealthRegistry::builder().config(config).seed(1).build().unwrap();
    (0..1024).for_each(|peer| _ = registry.acquire(&peer).unwrap().success());
    // The newer half is used again and again: of most 64 some are of the older half.
    for newcomer in 0..256 {
        (512..1024).for_each(|peer| _ = registry.acquire(&peer).unwrap().success());
        assert!(registry.acquire(&(2000 + newcomer)).unwrap().is_tracked());
    }
    let left = (512..1024).filter(|peer| registry.contains(peer)).count();
    assert_eq!((left, registry.len()), (512, 1024));
}

#[test]
fn generations_go_on_whoever_else_goes() {
    let (registry, _) = registry(HealthConfig::default());
    for _ in 0..3 {
        registry.force_open(&1).unwrap();
    }
    let before = registry.snapshot(&1).unwrap().generation;
    registry.acquire(&2).unwrap().success();
    registry.remove(&1);
    registry.remove(&2);
    registry.acquire(&1).unwrap().success();
    assert!(registry.snapshot(&1).unwrap().generation > before);
}

#[test]
fn a_call_that_nobody_remembers_is_counted_by_how_it_ended() {
    let (registry, _) = registry(HealthConfig::default().with_max_peers(1));
    registry.acquire(&1).unwrap().failure(network());
    let untracked = || {
        let permit = registry.acquire(&2).unwrap();
        assert!(!permit.is_tracked());
        permit
    };
    let seen = || {
        let totals = registry.totals().all;
        (totals.succeeded, totals.failed, totals.neutral, totals.abandoned, totals.late)
    };
    assert_eq!(untracked().success(), Recorded::Counted);
    assert_eq!(seen(), (1, 1, 0, 0, 0));
    assert_eq!(untracked().failure(network()), Recorded::Counted);
    assert_eq!(seen(), (1, 2, 0, 0, 0));
    assert_eq!(untracked().neutral(), Recorded::Neutral);
    assert_eq!(seen(), (1, 2, 1, 0, 0));
    drop(untracked());
    assert_eq!(seen(), (1, 2, 1, 1, 0));
}

#[test]
fn a_reset_peer_makes_room_at_once() {
    let (registry, _) = registry(HealthConfig::default().with_max_peers(1));
    registry.acquire(&1).unwrap().failure(network());
    assert!(!registry.acquire(&2).unwrap().is_tracked());
    assert!(registry.reset(&1));
    assert!(registry.acquire(&2).unwrap().is_tracked(), "a search that failed holds it up");
}

#[test]
fn in_a_large_table_a_use_right_after_a_sweep_comes_after_it() {
    let config =
        HealthConfig::default().with_max_peers(2048).with_idle_timeout(Duration::from_secs(10));
    let (registry, hand) = registry(config);
    registry.acquire(&1).unwrap().success();
    registry.acquire(&2).unwrap().success();
    assert_eq!(registry.sweep(), 0);
    registry.acquire(&1).unwrap().success();
    hand.advance(Duration::from_secs(10));
    assert_eq!(registry.sweep(), 1, "the one that was not used since");
    assert!(registry.contains(&1) && !registry.contains(&2));
}

#[test]
fn sweeps_that_follow_closely_see_idleness_too_and_never_early() {
    let config = HealthConfig::default().with_idle_timeout(Duration::from_secs(1000));
    let (registry, hand) = registry(config);
    registry.acquire(&1).unwrap().success();
    let mut seconds = 0;
    while registry.contains(&1) {
        assert!(seconds < 3000, "idleness is never seen");
        registry.sweep();
        hand.advance(Duration::from_secs(1));
        seconds += 1;
    }
    assert!(seconds > 1000, "after {seconds} seconds");
}

#[test]
fn what_a_handle_tells_a_peer_that_was_removed_is_counted_at_once() {
    let (registry, _) = registry(HealthConfig::default());
    let mut handle = registry.peer(&1);
    let permit = handle.acquire().unwrap();
    registry.remove(&1);
    assert_eq!(permit.success(), Recorded::Late);
    assert_eq!(registry.totals().all.late, 1);
    drop(handle);
    assert_eq!(registry.totals().all.late, 1, "and once");
}

#[test]
fn a_sweep_that_is_held_up_takes_nobody_early() {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    static REGISTRY: OnceLock<HealthRegistry<u64>> = OnceLock::new();
    static SECONDS: AtomicU64 = AtomicU64::new(0);
    static HELD_UP: AtomicBool = AtomicBool::new(false);
    let clock = Clock::from_fn(|| {
        let now = SECONDS.load(Ordering::Relaxed);
        if HELD_UP.swap(false, Ordering::Relaxed) {
            // Nine seconds go by, and the peer is used, before the sweep goes on.
            SECONDS.store(9, Ordering::Relaxed);
            REGISTRY.get().unwrap().acquire(&1).unwrap().success();
        }
        Duration::from_secs(now)
    });
    let config = HealthConfig::default().with_idle_timeout(Duration::from_secs(10));
    let registry = HealthRegistry::builder().config(config).clock(clock).build().unwrap();
    REGISTRY.set(registry.clone()).unwrap();
    registry.acquire(&1).unwrap().success();
    HELD_UP.store(true, Ordering::Relaxed);
    assert_eq!(registry.sweep(), 0);
    SECONDS.store(10, Ordering::Relaxed);
    assert_eq!(registry.sweep(), 0, "it was used a second ago");
    SECONDS.store(19, Ordering::Relaxed);
    assert_eq!(registry.sweep(), 1, "and ten seconds ago");
}

#[test]
fn who_looks_at_all_peers_leaves_room_for_newcomers() {
    let room_while_shown = |peers: u32| {
        let (registry, _) = registry(HealthConfig::default().with_max_peers(peers as usize));
        for peer in 0..peers {
            registry.acquire(&peer).unwrap().success();
        }
        let mut tracked = Vec::new();
        registry.for_each(|_, _| tracked.push(registry.acquire(&1000).unwrap().is_tracked()));
        assert!(registry.acquire(&1001).unwrap().is_tracked(), "at once, not a second later");
        tracked[0]
    };
    assert!(!room_while_shown(1), "the one peer is held while it is shown");
    for peers in [2, 4, 50, 500] {
        assert!(room_while_shown(peers), "of {peers} peers not all are held at a time");
    }
}
