//! Jitter (R16), which the reference knows nothing of.

use peer_health::{Clock, HealthConfig, HealthRegistry, Recorded};
use proptest::prelude::*;

use super::answers::error;
use super::operations::MS;
use super::reference::{Reported, nanos};
use super::{PEER, cases};

/// The waits of a peer whose every probe fails.
fn waits(config: &HealthConfig, seed: u64, peer: u32, trips: usize) -> Vec<u64> {
    let (clock, hand) = Clock::manual();
    let builder = HealthRegistry::builder().config(config.clone()).clock(clock).seed(seed);
    let registry = builder.build().unwrap();
    let trip = |_| match registry.acquire(&peer).unwrap().failure(error(Reported::Network)) {
        Recorded::Opened { retry_after } => {
            hand.advance(retry_after);
            nanos(retry_after)
        }
        other => panic!("{other:?}"),
    };
    (0..trips).map(trip).collect()
}

fn jittery(jitter: f64) -> HealthConfig {
    HealthConfig::default()
        .with_failure_threshold(1)
        .with_success_threshold(1)
        .with_open_timeout(MS * 100)
        .with_open_multiplier(2.0)
        .with_open_max(MS * 1000)
        .with_open_jitter(jitter)
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn jitter_shortens_a_wait_by_at_most_its_fraction_and_can_be_repeated(
        jitter in prop_oneof![Just(0.0), Just(1.0), 0.0..=1.0],
        seed in any::<u64>(),
        peer in any::<u32>(),
    ) {
        let config = jittery(jitter);
        let got = waits(&config, seed, peer, 8);
        prop_assert_eq!(&got, &waits(&config, seed, peer, 8), "the same seed, other waits");
        for (wait, whole) in got.into_iter().zip(waits(&jittery(0.0), seed, peer, 8)) {
            let least = whole as f64 * (1.0 - jitter) - 1.0;
            prop_assert!(wait <= whole && wait as f64 >= least, "{wait} of {whole}");
        }
    }
}

#[test]
fn jitter_is_alive_at_the_cap_and_differs_by_seed_peer_and_generation() {
    let capped = jittery(0.5).with_open_timeout(MS * 1000);
    let distinct = |mut waits: Vec<u64>| {
        let half = nanos(MS * 500)..=nanos(MS * 1000);
        assert!(waits.iter().all(|wait| half.contains(wait)));
        waits.sort_unstable();
        waits.dedup();
        waits.len()
    };
    let first = |seed: u64, peer: u32| waits(&capped, seed, peer, 1)[0];
    assert!(distinct((0..100).map(|seed| first(seed, PEER)).collect()) > 95, "by seed");
    assert!(distinct((0..100).map(|peer| first(1, peer)).collect()) > 95, "by peer");
    assert!(distinct(waits(&capped, 1, PEER, 100)) > 95, "by generation");
}
