//! Who is in use, and who is counted, when others look, leave or answer meanwhile.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[test]
fn to_look_at_all_peers_makes_none_of_them_used() {
    let node = Node::of(100, config().with_idle_timeout(60 * SECOND));
    assert_eq!(node.registry.sweep(), 0);
    node.hand.advance(60 * SECOND);
    (1..=4).for_each(|peer| node.succeed(peer));
    let mut failed = false;
    node.registry.for_each(|_, _| {
        if !std::mem::replace(&mut failed, true) {
            (1..=4).for_each(|peer| {
                node.fail(peer);
            });
        }
    });
    assert_eq!(node.open(), 2, "of the four in use");
}

#[test]
fn peers_that_are_removed_while_a_count_is_good_are_missed() {
    let node = Node::of(10, config());
    assert!(node.opens(1));
    (6..=10).for_each(|peer| assert!(node.registry.remove(&peer)));
    (2..=5).for_each(|peer| {
        node.fail(peer);
    });
    assert_eq!(node.open(), 2, "half of the five that are left");
}

#[test]
fn an_answer_before_the_outage_is_told_ends_it() {
    static REGISTRY: OnceLock<HealthRegistry<u32>> = OnceLock::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let answered = AtomicBool::new(false);
    // Whoever asks for the time when a trip was held back is late: the peer has answered meanwhile.
    let clock = Clock::from_fn(move || {
        let Some(registry) = REGISTRY.get() else { return SECOND };
        let held = |peer| {
            registry.status(peer) == Status::Closed
                && registry.snapshot(peer).is_some_and(|seen| seen.consecutive_failures > 0)
        };
        if let Some(peer) = [2, 3].iter().find(|peer| held(*peer))
            && !answered.swap(true, Ordering::Relaxed)
        {
            registry.acquire(peer).unwrap().success();
        }
        SECOND
    });
    let registry = HealthRegistry::builder()
        .config(config().with_outage_max_open_percent(34))
        .clock(clock)
        .listener(move |event: &Event<u32>| log.lock().unwrap().push(event.kind))
        .build()
        .unwrap();
    (1..=3).for_each(|peer| _ = registry.acquire(&peer).unwrap().success());
    let calls = [1, 2, 3].map(|peer| registry.acquire(&peer).unwrap());
    REGISTRY.set(registry.clone()).unwrap();
    let [first, second, _third] = calls;
    assert!(matches!(first.failure(network()), Recorded::Opened { .. }));
    assert_eq!(second.failure(network()), Recorded::Counted);
    assert_eq!(registry.snapshot(&2).unwrap().consecutive_failures, 0, "it has answered");
    assert!(!registry.local_outage());
    let told = told.lock().unwrap();
    assert_eq!(told[1..], [EventKind::LocalOutage, EventKind::LocalRecovered]);
}
