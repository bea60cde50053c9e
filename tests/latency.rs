//! How long a peer's successful calls take, as far as that is known.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use peer_health::{
    Clock, HealthConfig, HealthRegistry, ManualClock, Recorded, Status, SyncError, Window,
};

const MS: Duration = Duration::from_millis(1);

fn registry(config: HealthConfig) -> (HealthRegistry<u32>, ManualClock) {
    let (clock, hand) = Clock::manual();
    let config = config.with_failure_threshold(1).with_open_timeout(Duration::from_secs(1));
    (HealthRegistry::builder().config(config).clock(clock).build().unwrap(), hand)
}

fn network() -> SyncError {
    SyncError::Network("test".into())
}

fn latency(registry: &HealthRegistry<u32>) -> Option<Duration> {
    registry.snapshot(&7).unwrap().latency
}

#[test]
fn what_was_stated_is_averaged_whether_the_permit_is_owned_or_borrowed() {
    let (registry, _) = registry(HealthConfig::default());
    let mut handle = registry.peer(&7);
    handle.acquire().unwrap().success();
    assert_eq!(latency(&registry), None, "nobody has said how long it took");
    registry.acquire(&7).unwrap().with_latency(8 * MS).success();
    assert_eq!(latency(&registry), Some(8 * MS));
    handle.acquire().unwrap().with_latency(16 * MS).success();
    assert_eq!(latency(&registry), Some(9 * MS));
    handle.acquire().unwrap().success();
    assert_eq!(latency(&registry), Some(9 * MS));
    assert_eq!(registry.totals().permits.succeeded, 4);
}

#[test]
fn only_successes_that_count_are_averaged() {
    let (registry, hand) = registry(HealthConfig::default());
    let late = registry.acquire(&7).unwrap();
    registry.acquire(&7).unwrap().with_latency(MS).neutral();
    drop(registry.acquire(&7).unwrap().with_latency(MS));
    registry.acquire(&7).unwrap().with_latency(MS).failure(network());
    assert_eq!(late.with_latency(MS).success(), Recorded::Late);
    registry.disable(&7).unwrap();
    assert_eq!(registry.acquire(&7).unwrap().with_latency(MS).success(), Recorded::Neutral);
    hand.advance(Duration::from_secs(1));
    assert_eq!(latency(&registry), None);
    registry.reset(&7);
    registry.acquire(&7).unwrap().with_latency(MS).success();
    assert_eq!(latency(&registry), Some(MS));
}

#[test]
fn a_probe_is_measured() {
    let (registry, hand) = registry(HealthConfig::default().with_success_threshold(1));
    registry.acquire(&7).unwrap().failure(network());
    hand.advance(Duration::from_secs(1));
    let probe = registry.acquire(&7).unwrap();
    hand.advance(3 * MS);
    probe.success();
    assert_eq!((registry.status(&7), latency(&registry)), (Status::Closed, Some(3 * MS)));
}

#[test]
fn every_call_is_measured_where_slow_ones_are_looked_for() {
    let slow = HealthConfig::default().with_window(Window::count(4)).with_slow_call(5 * MS);
    let (registry, hand) = registry(slow);
    for took in [8, 16] {
        let permit = registry.acquire(&7).unwrap();
        hand.advance(took * MS);
        permit.success();
    }
    assert_eq!(latency(&registry), Some(9 * MS));
    assert_eq!(registry.snapshot(&7).unwrap().window.slow, 2);
}

#[test]
fn an_average_outlives_a_reset_and_ends_with_its_peer() {
    let (registry, _) = registry(HealthConfig::default());
    registry.acquire(&7).unwrap().with_latency(MS).success();
    registry.reset(&7);
    assert_eq!(latency(&registry), Some(MS));
    registry.remove(&7);
    registry.acquire(&7).unwrap().success();
    assert_eq!(latency(&registry), None);
}

#[test]
fn no_time_at_all_and_more_than_fits_are_latencies_too() {
    let (registry, _) = registry(HealthConfig::default());
    registry.acquire(&7).unwrap().with_latency(Duration::ZERO).success();
    assert_eq!(latency(&registry), Some(Duration::from_nanos(1)), "zero would mean none");
    registry.remove(&7);
    for _ in 0..3 {
        registry.acquire(&7).unwrap().with_latency(Duration::MAX).success();
    }
    assert_eq!(latency(&registry), Some(Duration::from_nanos(u64::MAX)));
}
