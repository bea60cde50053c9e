//! R33: while this node's own link is down, no peer is blamed for that.

use std::time::Duration;

use peer_health::{Failure, Fault, HealthConfig, Recorded, Status, SyncError, Window};

use crate::support::{SECOND, network, registry, touchy};

const GRACE: Duration = Duration::from_secs(30);

#[test]
fn while_the_link_is_down_no_failure_of_it_counts_and_what_the_peer_did_does() {
    let (registry, _) = registry::<u32>(touchy(5 * SECOND));
    registry.set_link_up(false);
    assert!(!registry.is_link_up());
    for _ in 0..10 {
        assert_eq!(registry.acquire(&7).unwrap().failure(network()), Recorded::Neutral);
    }
    let kept = registry.snapshot(&7).unwrap().last_error.unwrap();
    assert_eq!((kept.error(), kept.fault()), (&network(), Fault::Nobody));
    let totals = registry.snapshot(&7).unwrap().totals;
    assert_eq!((totals.neutral, totals.failed), (10, 0));

    let garbage = registry.acquire(&7).unwrap().failure(Failure::remote("garbage"));
    assert!(matches!(garbage, Recorded::Opened { .. }));
}

#[test]
fn a_call_from_before_the_outage_that_fails_in_it_does_not_count() {
    let (registry, hand) = registry::<u32>(touchy(5 * SECOND));
    let mut handle = registry.peer(&7);
    let (owned, borrowed) = (registry.acquire(&7).unwrap(), handle.acquire().unwrap());
    registry.set_link_up(false);
    hand.advance(SECOND);
    assert_eq!(owned.failure(network()), Recorded::Neutral);
    assert_eq!(borrowed.failure(network()), Recorded::Neutral);
}

#[test]
fn a_dial_that_fails_late_counts_against_nobody_for_thirty_seconds_after_the_return() {
    let (registry, hand) = registry::<u32>(touchy(5 * SECOND));
    registry.set_link_up(false);
    let dials: Vec<_> = (0..3).map(|_| registry.acquire(&7).unwrap()).collect();
    hand.advance(60 * SECOND);
    registry.set_link_up(true);
    let mut dials = dials.into_iter();
    let mut fails = || dials.next().unwrap().failure(network());
    assert_eq!(fails(), Recorded::Neutral);
    hand.advance(GRACE - Duration::from_nanos(1));
    registry.set_link_up(true); // it is up: the time does not begin anew
    assert_eq!(fails(), Recorded::Neutral);
    hand.advance(Duration::from_nanos(1));
    assert!(matches!(fails(), Recorded::Opened { .. }));
}

#[test]
fn so_is_one_whose_start_a_closed_circuit_noted_for_a_window() {
    let config = HealthConfig::default().with_window(Window::count(8)).with_min_calls(8);
    let (registry, hand) = registry::<u32>(config.with_failure_rate(1.0));
    assert_eq!(registry.acquire(&7).unwrap().failure(network()), Recorded::Counted);
    let before = registry.acquire(&7).unwrap();
    hand.advance(SECOND);
    registry.set_link_up(false);
    registry.set_link_up(true);
    hand.advance(40 * SECOND);
    let after = registry.acquire(&7).unwrap();
    assert_eq!(before.failure(network()), Recorded::Neutral);
    assert_eq!(after.failure(network()), Recorded::Counted);
}

#[test]
fn a_call_that_is_known_to_have_begun_before_or_after_the_return_is_judged_by_that() {
    let (registry, hand) = registry::<u32>(touchy(5 * SECOND));
    hand.advance(60 * SECOND);
    registry.set_link_up(false);
    registry.set_link_up(true);
    hand.advance(60 * SECOND);
    let began_before = registry.acquire(&7).unwrap().with_latency(61 * SECOND);
    assert_eq!(began_before.failure(network()), Recorded::Neutral);

    registry.set_link_up(false);
    hand.advance(60 * SECOND);
    registry.set_link_up(true);
    hand.advance(2 * SECOND);
    let began_after = || registry.acquire(&7).unwrap().with_latency(SECOND);
    assert_eq!(began_after().failure(network()), Recorded::Neutral);
    hand.advance(GRACE - 2 * SECOND);
    assert!(matches!(began_after().failure(network()), Recorded::Opened { .. }));
}

/// A peer that lost the same relay may need a while to find it again; one that was dead before is probed.
#[test]
fn soon_after_the_return_only_probes_that_began_since_count() {
    let (registry, hand) = registry::<u32>(touchy(5 * SECOND));
    assert!(matches!(registry.acquire(&7).unwrap().failure(network()), Recorded::Opened { .. }));
    registry.set_link_up(false);
    hand.advance(60 * SECOND);
    registry.set_link_up(true);
    hand.advance(2 * SECOND);
    let from_before = registry.acquire(&7).unwrap().with_latency(3 * SECOND);
    assert!(from_before.is_probe());
    assert_eq!(from_before.failure(network()), Recorded::Neutral);
    let since = registry.acquire(&7).unwrap(); // a probe notes its start
    assert!(matches!(since.failure(network()), Recorded::Opened { .. }));
    let closed = registry.acquire(&8).unwrap().with_latency(SECOND);
    assert_eq!(closed.failure(network()), Recorded::Neutral);
}

/// Neither opens nor closes: a probe gives its slot back.
#[test]
fn a_dead_peer_stays_what_it_was_and_its_probes_give_their_slots_back() {
    let (registry, hand) = registry::<u32>(touchy(5 * SECOND));
    assert!(matches!(registry.acquire(&7).unwrap().failure(network()), Recorded::Opened { .. }));
    registry.set_link_up(false);
    assert_eq!(registry.status(&7), Status::Open);
    hand.advance(5 * SECOND);
    for _ in 0..5 {
        let probe = registry.acquire(&7).unwrap();
        assert!(probe.is_probe());
        assert_eq!(probe.failure(network()), Recorded::Neutral);
        assert_eq!(registry.status(&7), Status::HalfOpen);
    }
    registry.set_link_up(true);
    hand.advance(GRACE);
    let probe = registry.acquire(&7).unwrap();
    assert!(matches!(probe.failure(network()), Recorded::Opened { .. }));
}

#[test]
fn a_streak_from_before_goes_on_after_the_outage() {
    let config = HealthConfig::default().with_failure_threshold(2);
    let (registry, hand) = registry::<u32>(config);
    assert_eq!(registry.acquire(&7).unwrap().failure(network()), Recorded::Counted);
    registry.set_link_up(false);
    assert_eq!(registry.acquire(&7).unwrap().failure(network()), Recorded::Neutral);
    registry.set_link_up(true);
    hand.advance(GRACE);
    assert!(matches!(registry.acquire(&7).unwrap().failure(network()), Recorded::Opened { .. }));
}

#[test]
fn reports_without_a_permit_count_against_nobody_either() {
    let (registry, hand) = registry::<u32>(touchy(5 * SECOND));
    let handler = peer_health::ErrorHandler::with_registry(registry.clone());
    registry.set_link_up(false);
    assert!(handler.handle_error(&7, network()).unwrap().is_some());
    assert_eq!(registry.snapshot(&7).unwrap().last_error.unwrap().fault(), Fault::Nobody);
    registry.set_link_up(true);
    assert!(handler.handle_error(&7, network()).unwrap().is_some());
    assert_eq!(registry.status(&7), Status::Closed);
    hand.advance(GRACE);
    assert_eq!(handler.handle_error(&7, network()), Err(SyncError::CircuitBreakerOpen));
}

#[test]
fn untracked_calls_are_counted_as_neutral() {
    let (registry, _) = registry::<u32>(touchy(5 * SECOND).with_max_peers(1));
    let _held = registry.acquire(&1).unwrap();
    registry.set_link_up(false);
    let untracked = registry.acquire(&2).unwrap();
    assert!(!untracked.is_tracked());
    assert_eq!(untracked.failure(network()), Recorded::Neutral);
    assert_eq!(registry.totals().all.neutral, 1);
}
