//! What is kept of errors is bounded, however long they are (R26).

use std::time::Duration;

use peer_health::{
    CallError, ErrorHandler, Failure, Fault, HealthConfig, HealthRegistry, SyncError,
};

const KIB: usize = 1024;

type Kind = fn(String) -> SyncError;

const KINDS: [Kind; 7] = [
    SyncError::Network,
    SyncError::Document,
    SyncError::PeerNotFound,
    SyncError::Protocol,
    SyncError::State,
    SyncError::ResourceExhaustion,
    SyncError::BandwidthExhausted,
];

fn text(error: &SyncError) -> &String {
    match error {
        SyncError::Network(text)
        | SyncError::Document(text)
        | SyncError::PeerNotFound(text)
        | SyncError::Protocol(text)
        | SyncError::State(text)
        | SyncError::ResourceExhaustion(text)
        | SyncError::BandwidthExhausted(text) => text,
        SyncError::CircuitBreakerOpen => panic!("it has no text"),
    }
}

/// The bytes that the last errors of all peers take.
fn kept(registry: &HealthRegistry<u32>) -> usize {
    let mut bytes = 0;
    registry.for_each(|_, seen| bytes += text(seen.last_error.unwrap().error()).capacity());
    bytes
}

#[test]
fn r26_a_thousand_strangers_with_long_errors_take_a_mebibyte() {
    let long = || "x".repeat(256 * KIB);
    for kind in KINDS {
        let registry = HealthRegistry::<u32>::new();
        let handler = ErrorHandler::with_registry(registry.clone());
        for stranger in 0..1000 {
            match stranger % 4 {
                0 => drop(handler.handle_error(&stranger, kind(long()))),
                1 => drop(registry.call(&stranger, || Err::<(), _>(kind(long())))),
                2 => _ = registry.acquire(&stranger).unwrap().failure(kind(long())),
                _ => _ = registry.peer(&stranger).acquire().unwrap().failure(kind(long())),
            }
        }
        assert_eq!(kept(&registry), 1000 * KIB);
    }
}

/// Long is what memory it takes, not what it says.
#[test]
fn r26_a_short_text_in_much_memory_is_kept_in_little() {
    let registry = HealthRegistry::<u32>::new();
    let mut roomy = String::with_capacity(256 * KIB);
    roomy.push_str("reset");
    registry.acquire(&7).unwrap().failure(SyncError::Network(roomy));
    let seen = registry.snapshot(&7).unwrap();
    assert_eq!(seen.last_error.unwrap().error(), &SyncError::Network("reset".into()));
    assert!(kept(&registry) <= KIB);
}

#[test]
fn the_beginning_is_kept_up_to_a_whole_character_and_all_else_that_was_stated() {
    let registry = HealthRegistry::<u32>::new();
    let euros = "€".repeat(1000);
    let failure = Failure::from(SyncError::State(euros.clone()))
        .with_fault(Fault::Peer)
        .with_retry_after(Duration::from_secs(9));
    registry.acquire(&7).unwrap().failure(&failure);
    assert_eq!(failure.error(), &SyncError::State(euros), "the caller's own is as it was");
    let seen = registry.snapshot(&7).unwrap().last_error.unwrap();
    assert_eq!(seen.error(), &SyncError::State("€".repeat(KIB / 3)));
    assert_eq!((seen.fault(), seen.retry_after()), (Fault::Peer, failure.retry_after()));

    let whole = SyncError::Protocol("y".repeat(KIB));
    registry.acquire(&7).unwrap().failure(&whole);
    assert_eq!(registry.snapshot(&7).unwrap().last_error.unwrap().error(), &whole);
    let error = SyncError::Protocol("z".repeat(2 * KIB));
    let answer = registry.call(&7, || Err::<(), _>(error.clone()));
    assert_eq!(answer, Err(CallError::Failed(error)));
}

/// R23, R26: who is not tracked is not told to come again, a thousand times of a thousand: nobody
/// counts its attempts.
#[test]
fn r23_an_error_of_a_peer_that_is_not_tracked_is_not_tried_again() {
    let config = HealthConfig::default().with_max_peers(1);
    let registry = HealthRegistry::<u32>::builder().config(config).build().unwrap();
    registry.force_open(&1).unwrap();
    let handler = ErrorHandler::with_registry(registry);
    for _ in 0..1000 {
        let reply = handler.handle_error(&2, SyncError::Network("reset".into()));
        assert_eq!(reply, Ok(None));
    }
    assert_eq!(handler.registry().totals().all.reported_errors, 1000);
}
