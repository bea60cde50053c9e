//! Bad input: a clear error that names field and value, or a warning; never a panic, and nothing
//! changed.

use std::time::Duration;

use peer_health::{
    CircuitBreakerConfig, Clock, ErrorHandler, Failure, HalfOpenMode, HealthConfig, HealthRegistry,
    Jitter, RetryPolicy, SyncError, Window,
};
use proptest::prelude::*;

fn problem(config: HealthConfig) -> String {
    let registry = HealthRegistry::<u32>::new();
    let error = registry.set_config(config.clone()).unwrap_err();
    let also = HealthRegistry::<u32>::builder().config(config).build().unwrap_err();
    assert_eq!(also.to_string(), error.to_string());
    assert!(error.to_string().starts_with(error.field()));
    error.to_string()
}

#[test]
fn each_senseless_value_is_named() {
    let ok = HealthConfig::default;
    let table = [
        (ok().with_failure_threshold(0), "failure_threshold is 0: must be at least 1"),
        (ok().with_success_threshold(0), "success_threshold is 0: must be from 1 to 64"),
        (ok().with_success_threshold(65), "success_threshold is 65: must be from 1 to 64"),
        (ok().with_max_peers(0), "max_peers is 0: must be at least 1"),
        (
            ok().with_outage_max_open_percent(0),
            "outage_max_open_percent is 0: must be from 1 to 100",
        ),
        (
            ok().with_outage_max_open_percent(101),
            "outage_max_open_percent is 101: must be from 1 to 100",
        ),
        (ok().with_streak_gap(Duration::ZERO), "streak_gap is 0ns: must be above zero"),
        (ok().with_outage_min_peers(0), "outage_min_peers is 0: must be at least 1"),
        (ok().with_window(Window::count(0)), "window.size is 0: must be from 1 to 1048576"),
        (
            ok().with_window(Window::count(u32::MAX)),
            "window.size is 4294967295: must be from 1 to 1048576",
        ),
        (
            ok().with_window(Window::time(Duration::from_secs(1), 0)),
            "window.buckets is 0: must be from 1 to 64",
        ),
        (
            ok().with_window(Window::time(Duration::from_secs(1), 65)),
            "window.buckets is 65: must be from 1 to 64",
        ),
        (
            ok().with_window(Window::time(Duration::ZERO, 10)),
            "window.length is 0ns: must be at least a nanosecond for each bucket",
        ),
        (ok().with_min_calls(0), "min_calls is 0: must be at least 1"),
        (
            ok().with_window(Window::count(5)).with_min_calls(6),
            "min_calls is 6: must not exceed the window's size",
        ),
        (ok().with_failure_rate(0.0), "failure_rate is 0: must be above 0 and up to 1"),
        (ok().with_failure_rate(f64::NAN), "failure_rate is NaN: must be above 0 and up to 1"),
        (ok().with_slow_rate(1.5), "slow_rate is 1.5: must be above 0 and up to 1"),
        (ok().with_slow_rate(0.5), "slow_call is not set: slow_rate needs it"),
        (
            ok().with_failure_rate(0.5),
            "failure_rate is 0.5: needs a window, or half_open_mode Rate",
        ),
        (
            ok().with_slow_call(Duration::from_secs(1)).with_slow_rate(0.25),
            "slow_rate is 0.25: needs a window, or half_open_mode Rate",
        ),
        (ok().with_slow_call(Duration::ZERO), "slow_call is 0ns: must be above zero"),
        (ok().with_probe_lease(Duration::ZERO), "probe_lease is 0ns: must be above zero"),
        (ok().with_half_open_max(Duration::ZERO), "half_open_max is 0ns: must be above zero"),
        (
            ok().with_half_open_mode(HalfOpenMode::Rate),
            "failure_rate is not set: half_open_mode Rate needs a failure_rate or slow_rate",
        ),
        (ok().with_open_multiplier(0.5), "open_multiplier is 0.5: must be finite and at least 1"),
        (ok().with_open_jitter(-0.1), "open_jitter is -0.1: must be from 0 to 1"),
    ];
    for (config, message) in table {
        assert_eq!(problem(config), message);
    }
}

#[test]
fn a_rejected_configuration_changes_nothing() {
    let registry = HealthRegistry::<u32>::new();
    registry.set_config(HealthConfig::default().with_failure_threshold(1)).unwrap();
    registry.set_config(HealthConfig::default().with_open_jitter(2.0)).unwrap_err();
    registry.acquire(&7).unwrap().failure(SyncError::Network("test".into()));
    assert!(registry.acquire(&7).is_err(), "the threshold of one still holds");
}

#[test]
fn thresholds_of_zero_act_as_one_in_the_handler() {
    let circuit = CircuitBreakerConfig {
        failure_threshold: 0,
        failure_window: Duration::ZERO,
        open_timeout: Duration::ZERO,
        success_threshold: 0,
    };
    let nonsense = RetryPolicy { backoff_multiplier: f64::NAN, ..RetryPolicy::default() };
    let handler = ErrorHandler::<u32>::with_policies(nonsense, circuit);
    handler.handle_error(&7, SyncError::Network("test".into())).unwrap_err();
    assert!(!handler.is_circuit_open(&7), "a wait of zero is over at once");
    handler.record_success(&7);
    assert_eq!(handler.registry().status(&7), peer_health::Status::Closed);
}

#[test]
fn a_policy_that_makes_no_sense_is_rejected_by_the_checked_constructor() {
    let second = Duration::from_secs(1);
    let field = |first, most, multiplier, jitter| {
        RetryPolicy::try_new(first, most, 3, multiplier, jitter).map_err(|e| e.to_string())
    };
    assert!(field(second, second, 1.0, 0.0).is_ok());
    assert_eq!(
        field(second * 2, second, 1.0, 0.0).unwrap_err(),
        "initial_delay is 2s: must not exceed max_delay"
    );
    assert_eq!(
        field(second, second, f64::INFINITY, 0.0).unwrap_err(),
        "backoff_multiplier is inf: must be finite and at least 1"
    );
    assert_eq!(
        field(second, second, 2.0, -1.0).unwrap_err(),
        "jitter_factor is -1: must be finite and not negative"
    );
}

/// Floats with the corners in.
fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>(),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(f64::MAX),
        Just(f64::MIN_POSITIVE),
        -2.0..4.0
    ]
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::MAX),
        Just(Duration::from_nanos(1)),
        (0u64..10_000_000_000).prop_map(Duration::from_nanos),
        (any::<u64>(), 0u32..1_000_000_000).prop_map(|(s, n)| Duration::new(s, n)),
    ]
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![0u32..4, Just(64u32), Just(65u32), any::<u32>()]
}

fn window() -> impl Strategy<Value = Option<Window>> {
    prop_oneof![
        Just(None),
        (0u32..20).prop_map(|n| Some(Window::count(n))),
        Just(Some(Window::count(u32::MAX))),
        (duration(), number()).prop_map(|(d, n)| Some(Window::time(d, n))),
    ]
}

fn config() -> impl Strategy<Value = HealthConfig> {
    let trip = (
        proptest::option::of(number()),
        duration(),
        window(),
        proptest::option::of(number()),
        proptest::option::of(float()),
        proptest::option::of(duration()),
        proptest::option::of(float()),
    );
    let open = (duration(), float(), duration(), float());
    let guard = (any::<bool>(), prop_oneof![1u32..=100, number()], number());
    let rest = (
        number(),
        any::<bool>(),
        proptest::option::of(duration()),
        proptest::option::of(duration()),
        0usize..4,
        duration(),
        duration(),
    );
    (trip, open, rest, guard).prop_map(|(trip, open, rest, guard)| {
        let mode = if rest.1 { HalfOpenMode::Rate } else { HalfOpenMode::All };
        HealthConfig::default()
            .with_failure_threshold(trip.0)
            .with_streak_gap(trip.1)
            .with_window(trip.2)
            .with_min_calls(trip.3)
            .with_failure_rate(trip.4)
            .with_slow_call(trip.5)
            .with_slow_rate(trip.6)
            .with_open_timeout(open.0)
            .with_open_multiplier(open.1)
            .with_open_max(open.2)
            .with_open_jitter(open.3)
            .with_success_threshold(rest.0)
            .with_half_open_mode(mode)
            .with_half_open_max(rest.2)
            .with_probe_lease(rest.3)
            .with_max_peers(rest.4)
            .with_idle_timeout(rest.5)
            .with_forget_after(rest.6)
            .with_timing(rest.1)
            .with_outage_guard(guard.0)
            .with_outage_max_open_percent(guard.1)
            .with_outage_min_peers(guard.2)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_configuration_is_refused_or_works(
        config in config(),
        times in prop::collection::vec((duration(), 0u8..7, duration()), 0..30),
    ) {
        let (clock, hand) = Clock::manual();
        let built = HealthRegistry::<u8>::builder().config(config).clock(clock).seed(1).build();
        let Ok(registry) = built else { return Ok(()) };
        let handler = ErrorHandler::with_registry(registry.clone());
        for (step, kind, length) in times {
            hand.advance(step);
            let failure = Failure::remote("test").with_retry_after(length);
            match (kind, registry.acquire(&(kind % 2))) {
                (0 | 1, Ok(permit)) => drop(permit.with_latency(length).success()),
                (2 | 3, Ok(permit)) => drop(permit.with_latency(length).failure(failure)),
                (4, Ok(permit)) => drop(permit.neutral()),
                (5, _) => drop(handler.handle_error(&0, SyncError::Network(String::new()))),
                (6, _) => handler.record_success(&0),
                _ => {}
            }
            registry.snapshot(&0);
            registry.sweep();
        }
        prop_assert!(registry.len() <= 3);
    }

    #[test]
    fn any_policy_gives_delays_up_to_its_maximum(
        first in duration(),
        most in duration(),
        attempts in number(),
        multiplier in float(),
        factor in float(),
        attempt in prop_oneof![0u32..9, Just(u32::MAX), any::<u32>()],
    ) {
        let policy = RetryPolicy {
            initial_delay: first,
            max_delay: most,
            max_attempts: attempts,
            backoff_multiplier: multiplier,
            jitter_factor: factor,
        };
        let delay = policy.delay_for_attempt(attempt);
        prop_assert!(delay <= most);
        prop_assert!(attempt > 0 || delay == Duration::ZERO);
        for jitter in [Jitter::Factor, Jitter::Full, Jitter::Equal, Jitter::Decorrelated] {
            let mut backoff = policy.backoff().with_jitter(jitter);
            for _ in 0..5 {
                prop_assert!(backoff.next_delay().is_none_or(|delay| delay <= most));
            }
        }
    }
}
