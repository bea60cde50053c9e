//! What is exported as a file: JSON and a binary format, and whatever bytes may stand there instead.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn any_duration() -> impl Strategy<Value = Duration> {
    let seconds = prop_oneof![0_u64..400, Just(u64::MAX), any::<u64>()];
    (seconds, 0_u32..1_000_000_000).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
}

/// Any value that a file may hold: extreme numbers, few peers, which repeat, and all versions.
fn any_saved() -> impl Strategy<Value = Saved<u32>> {
    let state = prop_oneof![
        Just(json!("closed")),
        Just(json!("disabled")),
        Just(json!("metrics_only")),
        Just(json!({ "forced_open": { "rest": null } })),
        any_duration().prop_map(|rest| json!({ "forced_open": { "rest": rest } })),
        (any_duration(), prop_oneof![0_u32..5, any::<u32>()]).prop_map(|(rest, failed)| {
            json!({ "open": { "rest": rest, "failed_half_opens": failed } })
        }),
    ];
    let latency = proptest::option::of(any_duration());
    let version = prop_oneof![9 => Just(1_u32), 1 => any::<u32>()];
    (version, 0_u32..50, state, any::<bool>(), latency).prop_map(
        |(version, peer, state, answered, latency)| {
            let saved = json!({
                "version": version,
                "peer": peer,
                "state": state,
                "answered": answered,
                "latency": latency,
            });
            serde_json::from_value(saved).unwrap()
        },
    )
}

/// What is said of one peer, from the value that counts.
fn of(saved: &[Saved<u32>], peer: u32) -> Option<&Saved<u32>> {
    saved.iter().find(|saved| saved.peer == peer)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 300 } else { 3000 }))]

    #[test]
    fn export_restore_and_export_is_the_same(
        saved in proptest::collection::vec(any_saved(), 0..40),
        downtime in proptest::option::of(any_duration()),
        seed in any::<u64>(),
    ) {
        let restored = |saved, downtime| {
            let (clock, _) = peer_health::Clock::manual();
            let builder = HealthRegistry::builder().config(config()).clock(clock).seed(seed);
            builder.restore(saved, downtime).build().unwrap()
        };
        let first = restored(saved, downtime).export();
        let second = restored(first.clone(), Some(Duration::ZERO)).export();
        prop_assert_eq!(by_peer(first.clone()), by_peer(second));
        // A file changes nothing, whether of text or binary.
        let text = serde_json::to_vec(&first).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Vec<Saved<u32>>>(&text).unwrap(), first.clone());
        let binary = postcard::to_stdvec(&first).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Vec<Saved<u32>>>(&binary).unwrap(), first);
    }

    #[test]
    fn whatever_was_saved_is_restored_without_a_panic_and_within_the_bounds(
        saved in proptest::collection::vec(any_saved(), 0..80),
        downtime in proptest::option::of(any_duration()),
        max_peers in 1_usize..60,
        open_max in any_duration(),
        forget_after in any_duration(),
    ) {
        let config = config()
            .with_max_peers(max_peers)
            .with_open_max(open_max)
            .with_forget_after(forget_after);
        let (registry, hand) = restored_by(config, saved.clone(), downtime);
        prop_assert!(registry.len() <= max_peers);
        let spread = 5 * SECOND;
        for peer in 0..50 {
            if registry.status(&peer) == Status::Open {
                prop_assert!(rest(&registry, peer) <= open_max.max(spread));
                prop_assert!(of(&saved, peer).is_some() && downtime.is_some_and(|d| d <= forget_after));
            }
            if let Ok(permit) = registry.acquire(&peer) {
                permit.failure(network());
            }
        }
        hand.advance(Duration::MAX);
        (0..50).for_each(|peer| _ = registry.acquire(&peer));
        registry.sweep();
        registry.export();
    }

    #[test]
    fn any_bytes_as_a_file_are_an_error_or_values_and_no_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        text in "[\\[\\]{}\",:a-z0-9_ .-]{0,80}",
        cut in any::<prop::sample::Index>(),
        changed in any::<(prop::sample::Index, u8)>(),
    ) {
        let (registry, _) = registry();
        fail(&registry, 7);
        answer(&registry, 8);
        let sound = serde_json::to_vec(&registry.export()).unwrap();
        let torn = &sound[..cut.index(sound.len())];
        prop_assert!(serde_json::from_slice::<Vec<Saved<u32>>>(torn).is_err(), "a torn file");
        let mut other = sound.clone();
        other[changed.0.index(sound.len())] = changed.1;
        for file in [&bytes[..], text.as_bytes(), &other[..]] {
            let json = serde_json::from_slice::<Vec<Saved<u32>>>(file).unwrap_or_default();
            let binary = postcard::from_bytes::<Vec<Saved<u32>>>(file).unwrap_or_default();
            restored(json, Some(SECOND));
            restored(binary, None);
        }
    }
}

#[test]
fn a_file_is_as_plain_as_its_peers() {
    let (registry, _) = registry();
    fail(&registry, 7);
    let expected = json!([{
        "version": 1,
        "peer": 7,
        "state": { "open": { "rest": { "secs": 10, "nanos": 0 }, "failed_half_opens": 0 } },
        "answered": false,
        "latency": null,
    }]);
    assert_eq!(serde_json::to_value(registry.export()).unwrap(), expected);
    let banned: Saved<u32> =
        serde_json::from_value(json!({ "version": 1, "peer": 9, "state": "disabled" })).unwrap();
    let (registry, _) = restored(vec![banned], None);
    assert_eq!(registry.status(&9), Status::Disabled);
}

#[test]
fn what_says_nothing_of_a_peer_takes_no_place() {
    let nothing: Saved<u32> = serde_json::from_value(json!({ "version": 1, "peer": 9 })).unwrap();
    let (registry, _) = restored(vec![nothing], Some(Duration::ZERO));
    assert!(registry.is_empty());
}

/// Peers of a version to come, with a field that is unknown here, beside one of this version.
fn of_other_versions() -> Vec<Saved<u32>> {
    let of = |version: u32, peer: u32| -> Value {
        json!({ "version": version, "peer": peer, "state": "disabled", "mood": "sour" })
    };
    let all = json!([of(2, 1), of(1, 2), of(2, 3), of(u32::MAX, 4), of(0, 5)]);
    serde_json::from_value(all).unwrap()
}

#[test]
fn unknown_versions_are_ignored() {
    let (registry, _) = restored(of_other_versions(), Some(Duration::ZERO));
    assert_eq!((registry.len(), registry.status(&2)), (1, Status::Disabled));
}

#[cfg(feature = "tracing")]
#[test]
fn unknown_versions_are_logged_once_and_so_are_peers_without_room() {
    let lines = crate::support::log::Lines::default();
    crate::support::log::logged_to(lines.clone(), || {
        restored(of_other_versions(), Some(Duration::ZERO));
        let [(level, line)] = &lines.take()[..] else { panic!("one line") };
        assert_eq!(*level, "WARN");
        assert!(line.contains("unknown version") && line.contains("peers=4"), "{line}");

        let (registry, _) = registry();
        registry.disable(&1).unwrap();
        registry.disable(&2).unwrap();
        answer(&registry, 3);
        lines.take();
        restored_by(config().with_max_peers(1), registry.export(), Some(Duration::ZERO));
        let [(level, line)] = &lines.take()[..] else { panic!("one line") };
        assert_eq!(*level, "WARN");
        assert!(line.contains("peers=2") && line.contains("overrides=1"), "{line}");
    });
}
