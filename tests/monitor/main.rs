//! A registry as asynchronous code watches it: nothing is missed, nothing is left behind, and what
//! is known of all peers is what a scan would find.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use peer_health::{
    Clock, Event, EventKind, Events, HealthConfig, HealthMonitor, HealthRegistry, ManualClock,
    Notice, Status,
};
use tokio::time::timeout;

mod choosing;
mod counting;
mod foreign;
#[cfg(feature = "tracing")]
mod summaries;
#[path = "../support/mod.rs"]
mod support;
mod waiting;
mod waking;

use support::{SECOND, network, touchy};

/// Longer than anything takes; what is not done by then is not coming.
const NEVER: Duration = Duration::from_secs(20);

fn config() -> HealthConfig {
    touchy(5 * SECOND).with_probe_lease(30 * SECOND)
}

fn manual() -> (HealthMonitor<u32>, ManualClock) {
    let (registry, hand) = support::registry(config());
    (HealthMonitor::builder(registry).capacity(4).seed(1).build().unwrap(), hand)
}

fn fail(monitor: &HealthMonitor<u32>, peer: u32) {
    monitor.registry().acquire(&peer).unwrap().failure(network());
}

async fn event(events: &mut Events<u32>) -> Event<u32> {
    match timeout(NEVER, events.recv()).await.unwrap() {
        Notice::Event(event) => event,
        missed => panic!("{missed:?}"),
    }
}

#[test]
fn what_watches_can_be_sent_and_kept() {
    fn is_static<T: Send + Sync + 'static>() {}
    is_static::<HealthMonitor<String>>();
    is_static::<Events<String>>();
    is_static::<peer_health::PeerWatch<String>>();
}

#[test]
fn no_room_for_a_single_event_is_refused() {
    let registry = HealthRegistry::<u32>::new();
    let error = HealthMonitor::builder(registry).capacity(0).build().unwrap_err();
    assert_eq!(error.to_string(), "capacity is 0: must be at least 1");
}

#[tokio::test]
async fn a_stream_tells_a_peers_life_in_order() {
    let (monitor, hand) = manual();
    let mut events = monitor.subscribe();
    fail(&monitor, 7);
    hand.advance(Duration::from_secs(5));
    monitor.registry().acquire(&7).unwrap().success();
    let opened = event(&mut events).await;
    assert_eq!((opened.peer, opened.generation), (7, 1));
    let wait = Duration::from_secs(5);
    assert!(matches!(opened.kind, EventKind::Opened { retry_after, .. } if retry_after == wait));
    for (generation, kind) in [(2, EventKind::HalfOpened), (3, EventKind::Closed)] {
        let event = event(&mut events).await;
        assert_eq!((event.peer, event.generation, event.kind), (7, generation, kind));
    }
}

#[tokio::test]
async fn a_reader_that_lags_is_told_how_many_it_missed_before_it_gets_the_rest() {
    let (monitor, _) = manual();
    let (mut slow, mut quick) = (monitor.subscribe(), monitor.subscribe());
    for peer in 0..6 {
        monitor.registry().force_open(&peer).unwrap();
        assert_eq!(event(&mut quick).await.peer, peer);
    }
    assert_eq!(slow.recv().await, Notice::Lagged(2));
    for peer in 2..6 {
        assert_eq!(event(&mut slow).await.peer, peer);
    }
    monitor.registry().reset(&0);
    assert_eq!(event(&mut slow).await.kind, EventKind::Reset);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_waiting_loses_nothing() {
    let (monitor, _) = manual();
    let mut events = monitor.subscribe();
    assert!(timeout(Duration::from_secs(1), events.recv()).await.is_err());
    monitor.registry().force_open(&7).unwrap();
    assert!(timeout(Duration::ZERO, std::future::pending::<()>()).await.is_err());
    assert_eq!(event(&mut events).await.peer, 7);
}

#[tokio::test]
async fn a_stream_is_a_stream() {
    let (monitor, _) = manual();
    let mut events = std::pin::pin!(monitor.subscribe());
    monitor.registry().force_open(&7).unwrap();
    let next = std::future::poll_fn(|cx| futures_core::Stream::poll_next(events.as_mut(), cx));
    assert!(matches!(next.await, Some(Notice::Event(event)) if event.peer == 7));
}

/// A reader with room for four events, while four threads make thousands: it looks up each peer it
/// is told of, and all of them when it has missed some. In the end it knows what a scan finds.
#[tokio::test]
async fn a_reader_that_missed_events_catches_up_by_looking() {
    let (monitor, _) = manual();
    let mut events = monitor.subscribe();
    let threads: Vec<_> = (0..4u32)
        .map(|thread| {
            let registry = monitor.registry().clone();
            std::thread::spawn(move || {
                for n in 0..5000 {
                    let peer = (n * 7 + thread) % 50;
                    match n % 3 {
                        0 => registry.force_open(&peer).unwrap(),
                        1 => drop(registry.reset(&peer)),
                        _ => drop(registry.remove(&peer)),
                    }
                }
            })
        })
        .collect();
    let ending = monitor.registry().clone();
    let end = std::thread::spawn(move || {
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        ending.disable(&99).unwrap();
    });
    let registry = monitor.registry();
    let scan = || {
        let mut banned = std::collections::BTreeSet::new();
        registry.for_each(|peer, seen| {
            if seen.status == Status::ForcedOpen {
                banned.insert(*peer);
            }
        });
        banned
    };
    let (mut banned, mut missed) = (scan(), 0);
    loop {
        match timeout(NEVER, events.recv()).await.unwrap() {
            Notice::Event(event) if event.peer == 99 => break,
            Notice::Event(event) if registry.status(&event.peer) == Status::ForcedOpen => {
                banned.insert(event.peer);
            }
            Notice::Event(event) => drop(banned.remove(&event.peer)),
            Notice::Lagged(n) => {
                missed += n;
                banned = scan();
            }
            other => panic!("{other:?}"),
        }
    }
    end.join().unwrap();
    assert!(missed > 0, "it was never too slow, and this has shown nothing");
    assert_eq!(banned, scan());
}

#[tokio::test]
async fn a_monitor_that_is_gone_listens_no_more() {
    let held = std::sync::Arc::<str>::from("alice");
    let registry = HealthRegistry::<std::sync::Arc<str>>::new();
    let monitor = HealthMonitor::new(registry.clone());
    let (mut events, watch) = (monitor.subscribe(), monitor.watch(&held));
    drop(monitor);
    registry.force_open(&held).unwrap();
    assert!(matches!(events.recv().await, Notice::Event(_)));
    registry.remove(&held);
    assert!(std::sync::Arc::strong_count(&held) > 1, "in the queue, and in the watch");
    drop((events, watch));
    assert_eq!(std::sync::Arc::strong_count(&held), 1);
    registry.force_open(&held).unwrap();
    registry.remove(&held);
    assert_eq!(std::sync::Arc::strong_count(&held), 1);
}
