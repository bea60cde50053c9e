//! How long a peer's successful calls take, as far as that is known.

use std::time::Duration;

use peer_health::{
    Clock, HealthConfig, HealthRegistry, ManualClock, PeerHandle, Permit, Recorded, Status, Window,
};

use crate::support::{self, SECOND, network};

const MS: Duration = Duration::from_millis(1);

fn registry(config: HealthConfig) -> (HealthRegistry<u32>, ManualClock) {
    support::registry(config.with_failure_threshold(1).with_open_timeout(SECOND))
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
    assert_eq!(registry.totals().all.succeeded, 4);
}

#[test]
fn a_success_that_ends_a_streak_is_averaged_too() {
    let (registry, _) = support::registry(HealthConfig::default().with_failure_threshold(9));
    registry.acquire(&7).unwrap().failure(network());
    registry.acquire(&7).unwrap().with_latency(8 * MS).success();
    assert_eq!(registry.snapshot(&7).unwrap().consecutive_failures, 0);
    assert_eq!(latency(&registry), Some(8 * MS));
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

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_latency_counts_half_as_much_after_five_minutes_and_is_unknown_after_fifteen() {
    let (registry, hand) = registry(HealthConfig::default());
    let call = |millis| registry.acquire(&7).unwrap().with_latency(millis * MS).success();
    call(16);
    hand.advance(5 * MINUTE);
    assert_eq!(latency(&registry), Some(16 * MS), "the best that is known");
    call(0);
    assert_eq!(latency(&registry), Some(7 * MS), "7/16 of it");
    hand.advance(10 * MINUTE);
    call(0);
    assert_eq!(latency(&registry), Some(MS * 49 / 32), "7/32 of that");
    hand.advance(15 * MINUTE - Duration::from_nanos(1));
    assert!(latency(&registry).is_some());
    hand.advance(Duration::from_nanos(1));
    assert_eq!(latency(&registry), None);
    call(5);
    assert_eq!(latency(&registry), Some(5 * MS), "as if it were the first");
}

#[test]
fn a_measured_latency_ages_as_a_stated_one() {
    let (registry, hand) = registry(HealthConfig::default().with_success_threshold(1));
    registry.acquire(&7).unwrap().failure(network());
    hand.advance(Duration::from_secs(1));
    let probe = registry.acquire(&7).unwrap();
    hand.advance(Duration::from_secs(1));
    probe.success();
    hand.advance(15 * MINUTE - Duration::from_nanos(1));
    assert_eq!(latency(&registry), Some(Duration::from_secs(1)));
    hand.advance(Duration::from_nanos(1));
    assert_eq!(latency(&registry), None);
}

#[test]
fn nothing_overflows_at_the_end_of_time() {
    let (registry, hand) = registry(HealthConfig::default());
    let call = || registry.acquire(&7).unwrap().with_latency(Duration::MAX).success();
    call();
    hand.advance(Duration::MAX);
    call();
    call();
    assert_eq!(latency(&registry), Some(Duration::from_nanos(u64::MAX)));
    hand.set(Duration::ZERO);
    call();
    assert_eq!(latency(&registry), Some(Duration::from_nanos(u64::MAX)));
}

/// R1: who says nothing of a call's latency pays for no clock.
#[test]
fn the_clock_is_read_for_a_latency_that_is_stated_and_for_no_other() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    let reads = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&reads);
    let clock = Clock::from_fn(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Duration::from_secs(1)
    });
    let registry = HealthRegistry::<u32>::builder().clock(clock).build().unwrap();
    let mut handle = registry.peer(&7);
    handle.acquire().unwrap().success();
    let mut since = |act: &dyn Fn(&mut PeerHandle<u32>)| {
        let before = reads.load(Ordering::Relaxed);
        act(&mut handle);
        reads.load(Ordering::Relaxed) - before
    };
    let borrowed = |handle: &mut PeerHandle<u32>| assert!(handle.acquire().is_ok_and(succeeds));
    assert_eq!(since(&borrowed), 0);
    assert_eq!(since(&|_| assert!(registry.acquire(&7).is_ok_and(succeeds))), 0);
    assert_eq!(since(&|_| drop(registry.snapshot(&7))), 0, "nothing is known that could age");
    assert_eq!(since(&|_| assert!(succeeds(registry.acquire(&7).unwrap().with_latency(MS)))), 1);
    assert_eq!(since(&borrowed), 0);
    assert_eq!(since(&|_| drop(registry.snapshot(&7))), 1);
}

fn succeeds(permit: Permit<'_, u32>) -> bool {
    permit.success() == Recorded::Counted
}
