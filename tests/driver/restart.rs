//! A driver of a node that was started again: who answered an earlier process is no stranger (D4).

use std::time::Duration;

use peer_health::{Clock, HealthMonitor, HealthRegistry, WaitReason};

use crate::peers::{Answer, Peers, answer, coordinator, ms, pass, registry, request, touchy};
use crate::support::{SECOND, network};

/// The registry of the next process, on tokio's clock.
fn restarted(registry: &HealthRegistry<u32>) -> HealthRegistry<u32> {
    let builder = HealthRegistry::builder().config(touchy()).clock(Clock::tokio()).seed(7);
    builder.restore(registry.export(), Some(Duration::ZERO)).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_answered_an_earlier_process_is_called_at_once_beside_strangers_that_hang() {
    for restart in [false, true] {
        let (first, peers) = (registry(touchy()), Peers::new());
        answer(&first, 0..30);
        let registry = if restart { restarted(&first) } else { registry(touchy()) };
        let driver = peers.drive(&coordinator(&registry).max_concurrent(16).build().unwrap());
        (100..140).for_each(|peer| peers.tell(peer, [Answer::Hangs]));
        request(&driver, 100..140);
        pass(ms(10)).await;
        assert_eq!(driver.stats().running, if restart { 4 } else { 16 });
        request(&driver, 0..30);
        pass(ms(10)).await;
        let called = (0..30).filter(|peer| !peers.times(*peer).is_empty()).count();
        assert_eq!(called, if restart { 30 } else { 0 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_removed_peer_that_answered_an_earlier_process_is_no_stranger_either() {
    let (first, peers) = (registry(touchy()), Peers::new());
    answer(&first, 0..2);
    let registry = restarted(&first);
    let driver = peers.drive(&coordinator(&registry).max_concurrent(4).build().unwrap());
    (100..110).for_each(|peer| peers.tell(peer, [Answer::Hangs]));
    request(&driver, 100..110);
    assert!(registry.remove(&0));
    request(&driver, [0]);
    pass(ms(10)).await;
    assert_eq!((peers.times(0).len(), driver.stats().running), (1, 1), "beside one stranger");
}

#[tokio::test(start_paused = true)]
async fn the_driver_waits_for_the_rest_of_a_wait_and_good_news_ends_it() {
    let (first, peers) = (registry(touchy()), Peers::new());
    answer(&first, 7..10);
    for peer in 7..10 {
        first.acquire(&peer).unwrap().failure(network());
    }
    pass(20 * SECOND).await;
    let registry = restarted(&first);
    let monitor = HealthMonitor::new(registry.clone());
    let summary = monitor.summary();
    assert_eq!(
        (summary.open, summary.closed, summary.worst.len()),
        (3, 0, 0),
        "no opening is made up"
    );
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    request(&driver, 7..10);
    pass(ms(10)).await;
    let waiting = driver.waiting();
    assert_eq!(waiting.len(), 3);
    assert!(waiting.iter().all(|peer| peer.reason == WaitReason::Circuit));
    assert!(waiting.iter().all(|peer| peer.until <= 40 * SECOND && peer.until > 39 * SECOND));
    driver.note_reachable(&8);
    registry.end_wait(&9);
    pass(ms(10)).await;
    assert_eq!([7, 8, 9].map(|peer| peers.times(peer).len()), [0, 1, 1]);
    monitor.ready(&7).await;
    pass(SECOND).await;
    assert_eq!(peers.times(7).len(), 1);
    assert_eq!(monitor.summary().open, 0);
}

#[tokio::test(start_paused = true)]
async fn dead_peers_that_are_due_after_a_restart_are_called_one_after_the_other() {
    let (first, peers) = (registry(touchy()), Peers::new());
    for peer in 0..500 {
        first.acquire(&peer).unwrap().failure(network());
    }
    pass(60 * SECOND).await;
    let (registry, began) = (restarted(&first), 60_000);
    peers.tell_all(Answer::Fails(network().into()));
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    request(&driver, 0..500);
    pass(6 * SECOND).await;
    let within = |second: u64| {
        let second = began + second * 1000..began + (second + 1) * 1000;
        peers.calls().iter().filter(|(_, at)| second.contains(at)).count()
    };
    let calls = [0, 1, 2, 3, 4, 5].map(within);
    assert_eq!(calls.iter().sum::<usize>(), 500, "{calls:?}");
    assert!(calls[..5].iter().all(|calls| (60..=140).contains(calls)), "{calls:?}");
}
