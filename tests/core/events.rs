//! Each transition is told once, in order, with no lock held (R25, R29).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use peer_health::{Clock, Event, EventKind, HealthConfig, HealthRegistry, Status};

use crate::support::{SECOND, network, panics, touchy};

fn config() -> HealthConfig {
    touchy(SECOND)
}

#[test]
fn a_peers_life_is_told_with_generations_that_rise_across_removal() {
    let seen = Arc::new(Mutex::new(Vec::<Event<u32>>::new()));
    let log = Arc::clone(&seen);
    let (clock, hand) = Clock::manual();
    let registry = HealthRegistry::builder()
        .config(config().with_max_peers(1))
        .clock(clock)
        .listener(move |event| log.lock().unwrap().push(event.clone()))
        .build()
        .unwrap();
    registry.acquire(&7).unwrap().failure(network());
    hand.advance(Duration::from_secs(1));
    registry.acquire(&7).unwrap().success();
    registry.force_open(&7).unwrap();
    registry.disable(&7).unwrap();
    registry.metrics_only(&7).unwrap();
    registry.reset(&7);
    registry.remove(&7);
    registry.acquire(&7).unwrap().success();
    registry.acquire(&8).unwrap().success();
    registry.acquire(&7).unwrap().failure(network());
    let told: Vec<_> = seen.lock().unwrap().iter().map(|e| (e.peer, e.kind)).collect();
    for opened in [told.first(), told.last()] {
        let Some((7, EventKind::Opened { retry_after, reopened, .. })) = opened else {
            panic!("{opened:?}")
        };
        assert_eq!((*retry_after, *reopened), (Duration::from_secs(1), false));
    }
    assert_eq!(
        told[1..told.len() - 1],
        [
            (7, EventKind::HalfOpened),
            (7, EventKind::Closed),
            (7, EventKind::Overridden(Status::ForcedOpen)),
            (7, EventKind::Overridden(Status::Disabled)),
            (7, EventKind::Overridden(Status::MetricsOnly)),
            (7, EventKind::Reset),
            (7, EventKind::Removed),
            (7, EventKind::Evicted),
            (8, EventKind::Evicted),
        ]
    );
    let generations: Vec<_> =
        seen.lock().unwrap().iter().filter(|e| e.peer == 7).map(|e| e.generation).collect();
    assert!(generations.is_sorted_by(|a, b| a < b), "{generations:?}");
    assert_eq!(generations[..8], [1, 2, 3, 4, 5, 6, 7, 8], "no gap in a tracker's life");
}

#[test]
fn one_report_may_be_two_transitions() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let (clock, hand) = Clock::manual();
    let registry = HealthRegistry::builder()
        .config(config())
        .clock(clock)
        .listener(move |event: &Event<u32>| log.lock().unwrap().push(event.generation))
        .build()
        .unwrap();
    let handler = peer_health::ErrorHandler::with_registry(registry);
    handler.handle_error(&7, network()).unwrap_err();
    hand.advance(Duration::from_secs(1));
    handler.record_success(&7);
    assert_eq!(*told.lock().unwrap(), [1, 2, 3]);
    assert_eq!(handler.registry().status(&7), Status::Closed);
}

#[test]
fn a_listener_may_call_everything_and_panic() {
    static REGISTRY: OnceLock<HealthRegistry<u32>> = OnceLock::new();
    let told = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&told);
    let registry = HealthRegistry::<u32>::builder()
        .config(config().with_max_peers(8))
        .listener(move |event| {
            let registry = REGISTRY.get().unwrap();
            // A listener that answers its own events must know when to stop.
            if count.fetch_add(1, Ordering::SeqCst) < 200 {
                registry.acquire(&event.peer).ok();
                registry.acquire(&(event.peer + 1)).ok().map(|p| p.failure(network()));
                registry.for_each(|_, _| ());
                registry.is_circuit_open(&event.peer);
                registry.force_open(&(event.peer + 2)).ok();
                registry.reset(&event.peer);
                registry.remove(&(event.peer + 3));
                registry.set_config(config().with_max_peers(8)).unwrap();
                registry.sweep();
                registry.totals();
            }
            panics("only this event is lost");
        })
        .build()
        .unwrap();
    REGISTRY.set(registry.clone()).unwrap();
    registry.acquire(&7).unwrap().failure(network());
    registry.reset(&7);
    registry.acquire(&7).unwrap().failure(network());
    assert!(told.load(Ordering::SeqCst) > 200);
    assert_eq!(registry.status(&7), Status::Open);
    assert!(registry.len() <= 8);
}
