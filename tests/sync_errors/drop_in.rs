//! What users of peat-mesh's `sync_errors` rely on, on the names at the crate root (R19 to R24).

use std::collections::HashMap;
use std::time::Duration;

use iroh_base::{EndpointId, SecretKey};
use peer_health::{
    CircuitBreakerConfig, CircuitState, ErrorHandler, ErrorSeverity, HealthConfig, ManualClock,
    PeerHealthTracker, RetryPolicy, SyncError, SyncErrorHandler,
};

use crate::support::{self, network};

fn peer(n: u8) -> EndpointId {
    SecretKey::from_bytes(&[n; 32]).public()
}

fn config(failures: u32, wait: Duration, successes: u32) -> HealthConfig {
    HealthConfig::default()
        .with_failure_threshold(failures)
        .with_open_timeout(wait)
        .with_success_threshold(successes)
}

fn timed(config: HealthConfig) -> (SyncErrorHandler, ManualClock) {
    let (registry, hand) = support::registry(config);
    (ErrorHandler::with_registry(registry), hand)
}

#[test]
fn delays_grow_from_zero_by_the_multiplier_up_to_the_cap() {
    let policy = RetryPolicy {
        initial_delay: Duration::from_millis(100),
        max_delay: Duration::from_secs(10),
        max_attempts: 5,
        backoff_multiplier: 2.0,
        jitter_factor: 0.0,
    };
    let millis = |attempt| policy.delay_for_attempt(attempt).as_millis();
    assert_eq!([millis(0), millis(1), millis(2), millis(3)], [0, 100, 200, 400]);
    let steep = RetryPolicy {
        initial_delay: Duration::from_secs(1),
        max_delay: Duration::from_secs(5),
        backoff_multiplier: 10.0,
        ..policy
    };
    assert_eq!(steep.delay_for_attempt(5), Duration::from_secs(5));
}

#[test]
fn attempts_below_the_maximum_are_retried() {
    let policy = RetryPolicy { max_attempts: 3, ..Default::default() };
    let retried: Vec<_> = (0..5).map(|attempt| policy.should_retry(attempt)).collect();
    assert_eq!(retried, [true, true, true, false, false]);
}

#[test]
fn the_constructors_have_the_values_that_users_tuned_against() {
    let fields = |p: RetryPolicy| {
        let (first, most) = (p.initial_delay.as_millis(), p.max_delay.as_millis());
        (first, most, p.max_attempts, p.backoff_multiplier, p.jitter_factor)
    };
    assert_eq!(fields(RetryPolicy::default()), (100, 30_000, 5, 2.0, 0.1));
    assert_eq!(fields(RetryPolicy::transient()), (50, 5_000, 10, 1.5, 0.1));
    assert_eq!(fields(RetryPolicy::severe()), (1_000, 60_000, 3, 3.0, 0.2));
    let (first, most) = (Duration::from_secs(1), Duration::from_secs(9));
    assert_eq!(fields(RetryPolicy::new(first, most, 4, 1.5)), (1_000, 9_000, 4, 1.5, 0.1));
}

#[test]
fn every_error_has_its_severity_and_only_the_mild_are_retryable() {
    let text = String::from;
    let table = [
        (SyncError::Network(text("")), ErrorSeverity::Recoverable, true),
        (SyncError::Document(text("")), ErrorSeverity::Fatal, false),
        (SyncError::PeerNotFound(text("")), ErrorSeverity::Transient, true),
        (SyncError::Protocol(text("")), ErrorSeverity::Severe, false),
        (SyncError::State(text("")), ErrorSeverity::Severe, false),
        (SyncError::ResourceExhaustion(text("")), ErrorSeverity::Severe, false),
        (SyncError::CircuitBreakerOpen, ErrorSeverity::Transient, true),
        (SyncError::BandwidthExhausted(text("")), ErrorSeverity::Transient, true),
    ];
    for (error, severity, retryable) in table {
        assert_eq!((error.severity(), error.is_retryable()), (severity, retryable), "{error:?}");
    }
    let numbers = [ErrorSeverity::Transient, ErrorSeverity::Recoverable]
        .into_iter()
        .chain([ErrorSeverity::Severe, ErrorSeverity::Fatal])
        .map(|severity| severity as i32);
    assert!(numbers.eq(1..=4));
    assert_eq!([CircuitState::Closed as i32, CircuitState::HalfOpen as i32], [0, 2]);
}

#[test]
fn a_tracker_counts_successes_and_failures_in_a_row() {
    let mut tracker = PeerHealthTracker::default();
    tracker.record_success();
    assert_eq!((tracker.consecutive_successes, tracker.consecutive_failures), (1, 0));
    for n in 1..=2 {
        tracker.record_failure(SyncError::Network("timeout".into()));
        assert_eq!((tracker.consecutive_successes, tracker.consecutive_failures), (0, n));
        assert_eq!((tracker.retry_attempt, tracker.total_failures), (n, n.into()));
    }
    assert!(tracker.last_failure_time.is_some() && tracker.last_error.is_some());
    tracker.reset();
    assert_eq!((tracker.consecutive_failures, tracker.total_failures), (0, 0));
    tracker.consecutive_failures = u32::MAX;
    tracker.total_failures = u64::MAX;
    tracker.record_failure(network());
    assert_eq!(tracker.consecutive_failures, u32::MAX, "saturates");
}

#[test]
fn the_circuit_opens_at_the_threshold() {
    let handler = SyncErrorHandler::with_policies(
        RetryPolicy::default(),
        CircuitBreakerConfig { failure_threshold: 3, ..Default::default() },
    );
    let peer = peer(1);
    assert!(matches!(handler.handle_error(&peer, network()), Ok(Some(_))));
    assert!(matches!(handler.handle_error(&peer, network()), Ok(Some(_))));
    assert_eq!(handler.handle_error(&peer, network()), Err(SyncError::CircuitBreakerOpen));
    assert!(handler.is_circuit_open(&peer));
}

#[test]
fn an_error_after_the_wait_starts_half_open_and_successes_close() {
    let (handler, hand) = timed(config(2, Duration::from_millis(100), 2));
    let peer = peer(1);
    for _ in 0..3 {
        handler.handle_error(&peer, network()).ok();
    }
    assert!(handler.is_circuit_open(&peer));
    hand.advance(Duration::from_millis(150));
    assert_eq!(handler.handle_error(&peer, network()), Ok(Some(Duration::ZERO)));
    let health = handler.peer_health(&peer).unwrap();
    assert_eq!(health.circuit_state, CircuitState::HalfOpen);
    assert_eq!(health.retry_attempt, 0);
    assert!(health.circuit_opened_at.is_some(), "known until it is closed");
    handler.record_success(&peer);
    handler.record_success(&peer);
    let health = handler.peer_health(&peer).unwrap();
    assert_eq!(health.circuit_state, CircuitState::Closed);
    assert_eq!(health.circuit_opened_at, None);
}

#[test]
fn a_failure_while_half_open_reopens() {
    let (handler, hand) = timed(config(1, Duration::from_secs(1), 2));
    let peer = peer(1);
    handler.handle_error(&peer, network()).unwrap_err();
    hand.advance(Duration::from_secs(1));
    handler.record_success(&peer);
    assert_eq!(handler.peer_health(&peer).unwrap().circuit_state, CircuitState::HalfOpen);
    assert_eq!(handler.handle_error(&peer, network()), Err(SyncError::CircuitBreakerOpen));
    assert!(handler.is_circuit_open(&peer));
}

#[test]
fn errors_that_are_not_the_peers_fault_move_no_circuit_and_are_remembered() {
    let (handler, _) = timed(config(1, Duration::from_secs(1), 1));
    let peer = peer(1);
    for _ in 0..9 {
        assert_eq!(handler.handle_error(&peer, SyncError::Document("bad".into())), Ok(None));
        let quota = handler.handle_error(&peer, SyncError::BandwidthExhausted("bulk".into()));
        assert!(quota.is_ok());
    }
    let health = handler.peer_health(&peer).unwrap();
    assert_eq!(health.circuit_state, CircuitState::Closed);
    assert_eq!((health.consecutive_failures, health.total_failures), (0, 18));
    assert_eq!(health.retry_attempt, 18);
    assert_eq!(health.last_error, Some(SyncError::BandwidthExhausted("bulk".into())));
    handler.handle_error(&peer, network()).unwrap_err();
    let refused = handler.handle_error(&peer, SyncError::Document("bad".into()));
    assert_eq!(refused, Err(SyncError::CircuitBreakerOpen), "open, wait not over");
}

#[test]
fn retries_end_when_the_attempts_are_used_up_and_begin_again_after_a_success() {
    let (handler, _) = timed(config(100, Duration::from_secs(1), 1));
    let peer = peer(1);
    for _ in 1..5 {
        assert!(matches!(handler.handle_error(&peer, network()), Ok(Some(_))));
    }
    assert_eq!(handler.handle_error(&peer, network()), Ok(None));
    handler.record_success(&peer);
    let health = handler.peer_health(&peer).unwrap();
    assert_eq!((health.retry_attempt, health.consecutive_failures), (0, 0));
    assert!(matches!(handler.handle_error(&peer, network()), Ok(Some(_))));
}

#[test]
fn reset_makes_a_known_peer_read_as_new_and_no_unknown_one_known() {
    let (handler, _) = timed(config(1, Duration::from_secs(60), 1));
    let (known, unknown) = (peer(1), peer(2));
    handler.record_success(&known);
    handler.handle_error(&known, network()).unwrap_err();
    handler.reset_peer(&known);
    let health = handler.peer_health(&known).unwrap();
    assert_eq!(format!("{health:?}"), format!("{:?}", PeerHealthTracker::default()));
    assert!(!handler.is_circuit_open(&known));
    handler.reset_peer(&unknown);
    assert!(handler.peer_health(&unknown).is_none());
    assert!(!handler.is_circuit_open(&unknown), "reading makes no peer known");
    let all: HashMap<EndpointId, PeerHealthTracker> = handler.all_peer_health();
    assert_eq!(all.keys().collect::<Vec<_>>(), [&known]);
}

#[test]
fn overrides_show_as_the_nearest_of_the_three_states() {
    let (handler, _) = timed(config(1, Duration::from_secs(60), 1));
    let peer = peer(1);
    let state = || handler.peer_health(&peer).unwrap().circuit_state;
    handler.registry().force_open(&peer).unwrap();
    assert_eq!(state(), CircuitState::Open);
    assert_eq!(handler.handle_error(&peer, network()), Err(SyncError::CircuitBreakerOpen));
    handler.registry().disable(&peer).unwrap();
    assert_eq!(state(), CircuitState::Closed);
    assert!(handler.handle_error(&peer, network()).is_ok());
    handler.registry().metrics_only(&peer).unwrap();
    for _ in 0..9 {
        assert!(handler.handle_error(&peer, network()).is_ok());
    }
    assert_eq!(state(), CircuitState::Closed);
}

/// R1: the system's time as it is now, less the age by the registry's clock.
#[test]
fn times_are_the_systems_less_the_age() {
    let (handler, hand) = timed(config(1, Duration::from_secs(60), 1));
    let peer = peer(1);
    hand.advance(Duration::from_secs(3));
    handler.handle_error(&peer, network()).unwrap_err();
    let age = |_| handler.peer_health(&peer).unwrap().circuit_opened_at.unwrap().elapsed().unwrap();
    assert!(age(()) < Duration::from_secs(3));
    hand.advance(Duration::from_secs(3));
    assert!(age(()) >= Duration::from_secs(3) && age(()) < Duration::from_secs(60));
}

#[test]
fn an_open_timeout_beyond_the_default_cap_is_kept() {
    let config = CircuitBreakerConfig {
        failure_threshold: 0,
        open_timeout: Duration::from_secs(3600),
        success_threshold: 1_000,
        ..Default::default()
    };
    let handler = SyncErrorHandler::with_policies(RetryPolicy::default(), config);
    let peer = peer(1);
    handler.handle_error(&peer, network()).unwrap_err();
    match handler.registry().next_admission(&peer) {
        peer_health::NextAdmission::After(wait) => assert!(wait > Duration::from_secs(3500)),
        other => panic!("{other:?}"),
    }
}
