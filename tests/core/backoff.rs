//! Retry delays: bounds, jitter at the cap, repeatability (R21).

use std::collections::HashSet;
use std::time::Duration;

use peer_health::{Failure, Jitter, Recorded, RetryPolicy, SyncError};

const CAP: Duration = Duration::from_secs(1);

fn policy() -> RetryPolicy {
    RetryPolicy {
        initial_delay: Duration::from_millis(100),
        max_delay: CAP,
        max_attempts: u32::MAX,
        backoff_multiplier: 2.0,
        jitter_factor: 0.0,
    }
}

/// The delays of attempts 1 to 6, drawn many times.
fn samples(jitter: Jitter) -> Vec<Vec<Duration>> {
    (0..2_000)
        .map(|seed| {
            let mut backoff = policy().backoff().with_jitter(jitter).with_seed(seed);
            (0..6).map(|_| backoff.next_delay().unwrap()).collect()
        })
        .collect()
}

const NOMINAL: [u64; 6] = [100, 200, 400, 800, 1000, 1000];

#[test]
fn nominal_delays_double_up_to_the_cap() {
    for (attempt, nominal) in (1..).zip(NOMINAL) {
        assert_eq!(policy().delay_for_attempt(attempt), Duration::from_millis(nominal));
    }
    assert_eq!(policy().delay_for_attempt(u32::MAX), CAP);
}

#[test]
fn full_and_equal_jitter_stay_below_the_nominal_delay() {
    for (jitter, least) in [(Jitter::Full, 0), (Jitter::Equal, 2)] {
        for delays in samples(jitter) {
            for (delay, nominal) in delays.into_iter().zip(NOMINAL.map(Duration::from_millis)) {
                assert!(delay <= nominal);
                assert!(least == 0 || delay >= nominal / least);
            }
        }
    }
}

#[test]
fn decorrelated_jitter_grows_from_the_delay_before() {
    for delays in samples(Jitter::Decorrelated) {
        let mut previous = Duration::from_millis(100);
        for delay in delays {
            assert!(delay >= Duration::from_millis(100));
            assert!(delay <= CAP.min(previous * 3) + Duration::from_nanos(1));
            previous = delay;
        }
    }
}

#[test]
fn first_retries_do_not_come_at_the_same_moment() {
    for jitter in [Jitter::Full, Jitter::Equal, Jitter::Decorrelated] {
        let first: HashSet<_> = samples(jitter).into_iter().map(|delays| delays[0]).collect();
        assert!(first.len() > 1900, "{jitter:?}: {} moments of 2000", first.len());
    }
}

#[test]
fn jitter_is_alive_at_the_cap_and_never_above_it() {
    for jitter in [Jitter::Full, Jitter::Equal, Jitter::Factor, Jitter::Decorrelated] {
        let policy = RetryPolicy { jitter_factor: 0.1, ..policy() };
        let mut backoff = policy.backoff().with_jitter(jitter).with_seed(7);
        let at_cap: Vec<_> = (0..10_005).map(|_| backoff.next_delay().unwrap()).skip(5).collect();
        assert!(at_cap.iter().all(|delay| *delay <= CAP), "{jitter:?}");
        let equal = at_cap.iter().filter(|delay| **delay == CAP).count();
        // Three times the delay before is mostly beyond the cap, where decorrelated jitter stops.
        assert!(jitter == Jitter::Decorrelated || equal < 100, "{jitter:?}: {equal}");
        assert!(at_cap.iter().collect::<HashSet<_>>().len() > 1_000, "{jitter:?}");
    }
}

#[test]
fn the_factor_adds_below_the_cap_and_takes_off_at_it() {
    let policy = RetryPolicy { jitter_factor: 0.25, ..policy() };
    for _ in 0..1_000 {
        let below = policy.delay_for_attempt(1).as_micros();
        assert!((100_000..=125_000).contains(&below));
        let at = policy.delay_for_attempt(9).as_micros();
        assert!((800_000..=1_000_000).contains(&at));
    }
}

#[test]
fn the_same_seed_gives_the_same_sequence_and_another_seed_another() {
    let sequence = |seed| {
        let mut backoff = policy().backoff().with_jitter(Jitter::Full).with_seed(seed);
        (0..6).map(|_| backoff.next_delay()).collect::<Vec<_>>()
    };
    assert_eq!(sequence(1), sequence(1));
    assert_ne!(sequence(1), sequence(2));
    let unseeded = || policy().backoff().with_jitter(Jitter::Full).next_delay();
    assert_ne!((unseeded(), unseeded()), (unseeded(), unseeded()), "not the same in every process");
}

#[test]
fn attempts_belong_to_the_operation_and_the_peers_wish_is_honoured() {
    let policy = RetryPolicy { max_attempts: 3, ..policy() };
    let (mut one, mut other) = (policy.backoff(), policy.backoff());
    let failure = Failure::from(SyncError::Network("test".into()));
    assert!(one.next(&failure, Recorded::Counted).is_some());
    assert!(one.next(&failure, Recorded::Counted).is_some());
    assert_eq!(one.next(&failure, Recorded::Counted), None);
    let opened = Recorded::Opened { retry_after: Duration::from_secs(5) };
    assert_eq!(other.next(&failure, opened), Some(Duration::from_secs(5)));
    let busy = failure.with_retry_after(Duration::from_secs(9));
    assert_eq!(other.next(&busy, opened), Some(Duration::from_secs(9)));
    assert_eq!((one.attempts(), other.attempts()), (2, 2));
    let bad = Failure::document("bad checksum");
    assert_eq!(policy.backoff().next(&bad, Recorded::Neutral), None);
}
