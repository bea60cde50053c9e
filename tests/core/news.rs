//! Good news of a peer (D6): it ends a wait early, and a bad peer gains little by it.

use std::time::Duration;

use peer_health::{
    Clock, HealthConfig, HealthRegistry, ManualClock, OwnedPermit, Recorded, Status,
};

use crate::support::{SECOND, network};

/// Opens by one failure, for 10 s, 20 s, .. up to a minute and a half.
fn config() -> HealthConfig {
    HealthConfig::default()
        .with_failure_threshold(1)
        .with_success_threshold(1)
        .with_open_timeout(10 * SECOND)
        .with_open_max(90 * SECOND)
        .with_open_jitter(0.0)
}

fn registry(config: HealthConfig, seed: u64) -> (HealthRegistry<u32>, ManualClock) {
    let (clock, hand) = Clock::manual();
    let builder = HealthRegistry::builder().config(config).clock(clock).seed(seed);
    (builder.build().unwrap(), hand)
}

fn fail(registry: &HealthRegistry<u32>) -> Recorded {
    registry.acquire(&7).unwrap().failure(network())
}

fn rest(registry: &HealthRegistry<u32>) -> Option<Duration> {
    registry.acquire(&7).map(OwnedPermit::neutral).err().and_then(|refused| refused.retry_after)
}

#[test]
fn the_first_news_is_heeded_at_once() {
    let (registry, hand) = registry(config(), 0);
    assert!(!registry.note_reachable(&7) && registry.is_empty(), "nobody becomes known by it");
    fail(&registry);
    hand.advance(3 * SECOND);
    assert!(registry.note_reachable(&7));
    assert!(registry.acquire(&7).unwrap().is_probe());
}

#[test]
fn after_n_probes_that_news_caused_the_next_waits_as_long_as_they_have_earned() {
    let (registry, hand) = registry(config(), 0);
    fail(&registry);
    hand.advance(SECOND);
    for deferred in [20, 40, 80, 90, 90].map(|n| n * SECOND) {
        registry.note_reachable(&7);
        assert_eq!(rest(&registry), None, "the probe that news caused");
        fail(&registry);
        assert!(!registry.note_reachable(&7));
        assert_eq!(rest(&registry), Some(deferred));
        hand.advance(deferred - Duration::from_nanos(1));
        assert!(!registry.note_reachable(&7));
        hand.advance(Duration::from_nanos(1));
        assert!(registry.note_reachable(&7), "deferred, not dropped");
    }
}

#[test]
fn news_shortens_a_wait_that_grew_without_it() {
    let (registry, hand) = registry(config(), 0);
    fail(&registry);
    for wait in [10, 20, 40] {
        hand.advance(wait * SECOND);
        fail(&registry);
    }
    assert_eq!(rest(&registry), Some(80 * SECOND));
    assert!(registry.note_reachable(&7), "the first");
    fail(&registry);
    assert_eq!(rest(&registry), Some(90 * SECOND));
    registry.note_reachable(&7);
    assert_eq!(rest(&registry), Some(20 * SECOND), "one probe has failed that news caused");
}

#[test]
fn news_makes_no_wait_longer() {
    let (registry, hand) = registry(config(), 0);
    fail(&registry);
    assert!(registry.note_reachable(&7));
    fail(&registry);
    registry.set_config(config().with_open_timeout(80 * SECOND)).unwrap();
    assert!(!registry.note_reachable(&7));
    assert_eq!(rest(&registry), Some(20 * SECOND));
    hand.advance(20 * SECOND);
    assert!(registry.note_reachable(&7));
}

#[test]
fn news_during_half_open_is_heeded_when_the_probe_has_failed() {
    let (registry, hand) = registry(config(), 0);
    fail(&registry);
    hand.advance(10 * SECOND);
    let probe = registry.acquire(&7).unwrap();
    assert!(!registry.note_reachable(&7));
    let reopened = probe.failure(network());
    assert_eq!(reopened, Recorded::Opened { retry_after: Duration::ZERO }, "its first news");
    let probe = registry.acquire(&7).unwrap();
    hand.advance(5 * SECOND);
    registry.note_reachable(&7);
    let reopened = probe.failure(network());
    assert_eq!(reopened, Recorded::Opened { retry_after: 15 * SECOND }, "20 s after its beginning");
    hand.advance(15 * SECOND);
    assert!(registry.acquire(&7).unwrap().is_probe());
}

#[test]
fn a_circuit_that_closes_or_is_reset_begins_anew() {
    let (registry, hand) = registry(config(), 0);
    let spoil = || {
        fail(&registry);
        assert!(registry.note_reachable(&7));
        fail(&registry);
        assert!(!registry.note_reachable(&7));
    };
    spoil();
    hand.advance(20 * SECOND);
    registry.acquire(&7).unwrap().success();
    assert_eq!(registry.status(&7), Status::Closed);
    spoil();
    registry.reset(&7);
    spoil();
    registry.force_open(&7).unwrap();
    assert!(!registry.note_reachable(&7), "no news lifts a ban");
    registry.reset(&7);
    spoil();
}

#[test]
fn an_operator_is_bound_by_nothing() {
    let (registry, hand) = registry(config(), 0);
    fail(&registry);
    for _ in 0..20 {
        assert!(registry.end_wait(&7));
        fail(&registry);
    }
    assert!(registry.note_reachable(&7), "what an operator did was no news");
    fail(&registry);
    registry.note_reachable(&7);
    assert!(registry.end_wait(&7));
    fail(&registry);
    hand.advance(20 * SECOND);
    assert!(registry.note_reachable(&7), "nor is it where news was deferred");
}

/// How often a peer is probed in an hour that fails each time, with news each second.
fn probes_in_an_hour(config: HealthConfig, seed: u64) -> u32 {
    let (registry, hand) = registry(config.with_failure_threshold(1), seed);
    fail(&registry);
    let mut probes = 0;
    for _ in 0..3600 {
        hand.advance(SECOND);
        registry.note_reachable(&7);
        while let Ok(permit) = registry.acquire(&7) {
            permit.failure(network());
            probes += 1;
        }
    }
    probes
}

#[test]
fn a_peer_that_fails_each_time_and_calls_us_each_second_is_probed_thirty_times_an_hour_at_most() {
    let exact = HealthConfig::default().with_open_jitter(0.0);
    assert!(probes_in_an_hour(exact, 0) <= 30);
    for seed in 0..20 {
        let probes = probes_in_an_hour(HealthConfig::default(), seed);
        assert!(probes <= 30, "{probes} with seed {seed}");
    }
}

#[test]
fn times_at_the_end_of_all_numbers_neither_wrap_nor_panic() {
    let longest = config().with_open_timeout(Duration::MAX).with_open_max(Duration::MAX);
    let (registry, hand) = registry(longest.with_open_multiplier(f64::MAX), 0);
    hand.set(Duration::from_nanos(u64::MAX - 1));
    fail(&registry);
    assert!(registry.note_reachable(&7));
    fail(&registry);
    assert!(!registry.note_reachable(&7));
    assert_eq!(registry.status(&7), Status::Open);
}
