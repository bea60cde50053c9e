//! The real caller of `sync_errors`, reduced: refuse while `is_circuit_open`, else call and report.
//! Its circuits recover (R22).

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use peer_health::{CircuitState, ErrorHandler, HealthConfig, ManualClock, SyncError};

use crate::support;

fn handler(successes: u32) -> (ErrorHandler<u32>, ManualClock) {
    let config = HealthConfig::default()
        .with_failure_threshold(5)
        .with_open_timeout(Duration::from_secs(5))
        .with_open_multiplier(1.0)
        .with_open_jitter(0.0)
        .with_success_threshold(successes);
    let (registry, hand) = support::registry(config);
    (ErrorHandler::with_registry(registry), hand)
}

/// One round of the caller; `None` if it did not call.
fn sync(handler: &ErrorHandler<u32>, peer: u32, up: bool) -> Option<bool> {
    if handler.is_circuit_open(&peer) {
        return None;
    }
    if up {
        handler.record_success(&peer);
    } else {
        handler.handle_error(&peer, SyncError::Network("unreachable".into())).ok();
    }
    Some(up)
}

fn state(handler: &ErrorHandler<u32>) -> CircuitState {
    handler.peer_health(&7).unwrap().circuit_state
}

#[test]
fn a_caller_that_only_asks_and_reports_gets_out_of_open() {
    let (handler, hand) = handler(2);
    for _ in 0..5 {
        assert_eq!(sync(&handler, 7, false), Some(false));
    }
    assert_eq!(state(&handler), CircuitState::Open);
    assert_eq!(sync(&handler, 7, true), None, "refused while the wait lasts");
    hand.advance(Duration::from_secs(5));
    assert_eq!(sync(&handler, 7, true), Some(true));
    assert_eq!(state(&handler), CircuitState::HalfOpen);
    assert_eq!(sync(&handler, 7, true), Some(true));
    assert_eq!(state(&handler), CircuitState::Closed);
}

#[test]
fn a_peer_that_is_still_down_costs_one_round_of_calls_per_wait() {
    let (handler, hand) = handler(2);
    let mut calls = 0;
    for _ in 0..600 {
        calls += u32::from(sync(&handler, 7, false).is_some());
        hand.advance(Duration::from_millis(100));
    }
    // One minute: five calls open the circuit, then two per wait of five seconds.
    assert!((5..=5 + 2 * 12).contains(&calls), "{calls} calls");
    assert_ne!(state(&handler), CircuitState::Closed);
    hand.advance(Duration::from_secs(5));
    while state(&handler) != CircuitState::Closed {
        assert_eq!(sync(&handler, 7, true), Some(true));
    }
}

#[test]
fn callers_side_by_side_all_get_out_of_open() {
    for round in 0..200 {
        let (handler, hand) = handler(1 + round % 3);
        let (up, calls) = (AtomicBool::new(false), AtomicU64::new(0));
        let barrier = Barrier::new(9);
        let seen = std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for phase in 0..3 {
                        barrier.wait();
                        // Down; then up again; then the circuit is closed for good.
                        for _ in 0..16 {
                            let made = sync(&handler, 7, up.load(Ordering::SeqCst));
                            calls.fetch_add(u64::from(made.is_some()), Ordering::SeqCst);
                        }
                        barrier.wait();
                        if phase == 2 {
                            assert_eq!(state(&handler), CircuitState::Closed);
                        }
                    }
                });
            }
            barrier.wait();
            barrier.wait();
            let down = state(&handler);
            hand.advance(Duration::from_secs(5));
            up.store(true, Ordering::SeqCst);
            barrier.wait();
            barrier.wait();
            let recovered = state(&handler);
            barrier.wait();
            barrier.wait();
            [down, recovered]
        });
        assert_eq!(seen, [CircuitState::Open, CircuitState::Closed], "round {round}");
        assert!(calls.load(Ordering::SeqCst) >= 5 + 2 * 8 * 16 - 8);
    }
}
