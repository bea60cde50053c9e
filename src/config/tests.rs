//! What the configuration of `sync_errors` becomes.

use super::*;

#[test]
fn the_default_window_of_sync_errors_is_off_any_other_is_honoured_and_waits_do_not_grow() {
    let (seeds, _) = CircuitBreakerConfig::parse(|_| None);
    let gap = |failure_window| {
        let config = CircuitBreakerConfig { failure_window, ..seeds.clone() };
        config.clamped().0.streak_gap
    };
    let nearly = DEFAULT_FAILURE_WINDOW + Duration::from_nanos(1);
    assert_eq!(seeds.failure_window, Duration::from_secs(5));
    assert_eq!(gap(seeds.failure_window), None);
    assert_eq!((gap(nearly), gap(Duration::ZERO)), (Some(nearly), None));
    let (config, problems) = seeds.clamped();
    assert_eq!((config.open_multiplier, config.open_jitter, problems.len()), (1.0, 0.0, 0));
}
