//! Windows hold the right calls, at their limits too (R15).

use std::time::Duration;

use peer_health::{HealthConfig, HealthRegistry, ManualClock, SyncError, Window};

use crate::support;

/// A registry that never opens a circuit and keeps a window.
fn watching(window: Window) -> (HealthRegistry<u32>, ManualClock) {
    let config = HealthConfig::default()
        .with_failure_threshold(None)
        .with_window(window)
        .with_slow_call(Duration::from_secs(1));
    support::registry(config)
}

fn call(registry: &HealthRegistry<u32>, failed: bool, slow: bool) {
    let latency = Duration::from_secs(slow.into());
    let permit = registry.acquire(&7).unwrap().with_latency(latency);
    if failed {
        permit.failure(SyncError::Network(String::new()));
    } else {
        permit.success();
    }
}

fn counts(registry: &HealthRegistry<u32>) -> (u64, u64, u64) {
    let window = registry.snapshot(&7).unwrap().window;
    (window.total, window.failures, window.slow)
}

#[test]
fn a_window_by_count_forgets_the_oldest_call_first() {
    let (registry, _) = watching(Window::count(2));
    let mut seen = Vec::new();
    for (failed, slow) in [(true, false), (false, true), (false, true), (true, false)] {
        call(&registry, failed, slow);
        seen.push(counts(&registry));
    }
    assert_eq!(seen, [(1, 1, 0), (2, 1, 1), (2, 0, 2), (2, 1, 1)]);
}

#[test]
fn the_sums_of_the_largest_window_do_not_run_into_each_other() {
    let size = 1 << 20;
    let (registry, _) = watching(Window::count(size));
    for _ in 0..size + 5 {
        call(&registry, true, true);
    }
    let full = u64::from(size);
    assert_eq!(counts(&registry), (full, full, full));
}

#[test]
fn a_window_by_time_drops_whole_buckets() {
    let (registry, hand) = watching(Window::time(Duration::from_nanos(30), 3));
    let at = |time, failed| {
        hand.set(Duration::from_nanos(time));
        call(&registry, failed, false);
        counts(&registry)
    };
    assert_eq!(at(9, true), (1, 1, 0));
    assert_eq!(at(15, true), (2, 2, 0));
    assert_eq!(at(25, false), (3, 2, 0));
    assert_eq!(at(29, true), (4, 3, 0));
    assert_eq!(at(30, false), (4, 2, 0), "the first bucket is over");
    assert_eq!(at(59, false), (2, 0, 0), "so is all but the last");
    assert_eq!(at(15, true), (3, 1, 0), "a clock that went back: the latest moment counts (R1)");
}

/// R15: the most buckets that there may be, each with a call, and one that turns all of them out.
#[test]
fn a_window_by_time_has_sixty_four_buckets_at_most() {
    let (registry, hand) = watching(Window::time(Duration::from_nanos(64), 64));
    for n in 1..=200 {
        call(&registry, n % 2 == 0, false);
        assert_eq!(counts(&registry).0, n.min(64));
        hand.advance(Duration::from_nanos(1));
    }
    assert_eq!(counts(&registry), (63, 32, 0));
    hand.advance(Duration::from_nanos(63));
    assert_eq!(counts(&registry), (0, 0, 0));
    assert!(
        registry
            .set_config(
                HealthConfig::default().with_window(Window::time(Duration::from_nanos(65), 65))
            )
            .is_err()
    );
}

#[test]
fn a_window_of_another_shape_begins_anew_and_the_streak_goes_on() {
    let (registry, _) = watching(Window::count(8));
    call(&registry, true, false);
    call(&registry, true, false);
    let config = HealthConfig::default().with_failure_threshold(9).with_window(Window::count(4));
    registry.set_config(config.clone()).unwrap();
    call(&registry, true, false);
    assert_eq!(counts(&registry), (1, 1, 0));
    assert_eq!(registry.snapshot(&7).unwrap().consecutive_failures, 3);
    registry.set_config(config.with_window(None)).unwrap();
    call(&registry, true, false);
    assert_eq!(counts(&registry), (0, 0, 0));
    assert_eq!(registry.snapshot(&7).unwrap().consecutive_failures, 4);
}
