//! The registry where `std` has no clock, no randomness and no threads.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use peer_health::{Clock, HealthConfig, HealthRegistry, RetryPolicy, Status, SyncError};
use wasm_bindgen_test::wasm_bindgen_test as test;

const MINUTE: Duration = Duration::from_secs(60);

fn network() -> SyncError {
    SyncError::Network("reset".into())
}

/// One failure opens, one success closes.
fn touchy() -> HealthConfig {
    HealthConfig::default()
        .with_failure_threshold(1)
        .with_success_threshold(1)
        .with_open_timeout(MINUTE)
        .with_open_jitter(0.0)
}

fn date() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs_f64(js_sys::Date::now() / 1000.0)
}

#[test]
fn a_circuit_opens_waits_is_probed_and_closes() {
    let (clock, hand) = Clock::manual();
    let registry = HealthRegistry::<u32>::builder().config(touchy()).clock(clock).build().unwrap();
    registry.acquire(&7).unwrap().failure(network());
    let refused = registry.acquire(&7).unwrap_err();
    assert_eq!(refused.retry_after, Some(MINUTE));
    hand.advance(MINUTE - Duration::from_nanos(1));
    assert!(registry.acquire(&7).is_err());
    hand.advance(Duration::from_nanos(1));
    let probe = registry.acquire(&7).unwrap();
    assert!(probe.is_probe() && registry.acquire(&7).is_err());
    probe.success();
    assert_eq!(registry.status(&7), Status::Closed);
}

/// `Instant::now` and `SystemTime::now` panic here.
#[test]
fn by_default_the_registry_goes_by_the_clock_of_the_page_and_shows_its_date() {
    let registry = HealthRegistry::<u32>::builder().config(touchy()).build().unwrap();
    let before = date();
    registry.acquire(&7).unwrap().failure(network());
    let first = registry.acquire(&7).unwrap_err().retry_after.unwrap();
    while registry.acquire(&7).unwrap_err().retry_after == Some(first) {}
    let second = registry.acquire(&7).unwrap_err().retry_after.unwrap();
    assert!(second < first, "time goes on");
    let seen = registry.snapshot(&7).unwrap();
    let failed = seen.last_error_at.unwrap();
    // The page's two clocks may be some milliseconds apart.
    let slack = Duration::from_secs(1);
    assert!(before - slack <= failed && failed <= date() + slack, "{failed:?}");
}

#[test]
fn what_is_known_outlives_the_page() {
    let (clock, hand) = Clock::manual();
    let registry = HealthRegistry::<u32>::builder().config(touchy()).clock(clock).build().unwrap();
    registry.acquire(&7).unwrap().failure(network());
    registry.force_open(&8).unwrap();
    hand.advance(MINUTE / 4);
    let saved = registry.export();
    let restored = HealthRegistry::<u32>::builder().config(touchy()).clock(Clock::manual().0);
    let restored = restored.restore(saved, Some(MINUTE / 4)).build().unwrap();
    assert_eq!(restored.acquire(&7).unwrap_err().retry_after, Some(MINUTE / 2));
    assert_eq!(restored.status(&8), Status::ForcedOpen);
}

#[test]
fn the_table_is_bounded() {
    let config = touchy().with_max_peers(100);
    let registry = HealthRegistry::<u32>::builder().config(config).build().unwrap();
    for peer in 0..1000 {
        registry.acquire(&peer).unwrap().success();
    }
    assert!(registry.len() <= 100, "{}", registry.len());
    assert_eq!(registry.totals().all.succeeded, 1000);
}

#[test]
fn delays_are_random() {
    let policy = RetryPolicy::default();
    let delays: BTreeSet<_> = (0..20).filter_map(|_| policy.delays().next()).collect();
    assert!(delays.len() > 10, "{delays:?}");
}
