//! How calls and drivers end: panics, removals, pauses, shutdowns, drops.

use std::pin::pin;
use std::time::Duration;

use peer_health::{HealthRegistry, Status, SyncCoordinator, SyncError};
use tokio::task::yield_now;

use crate::peers::{
    Answer, Peers, answer, coordinator, ms, ours, pass, poll_once, registry, request, touchy,
};
use crate::support::network;

fn world() -> (HealthRegistry<u32>, SyncCoordinator<u32>, Peers) {
    let registry = registry(touchy());
    let coordinator = coordinator(&registry).max_concurrent(2).build().unwrap();
    (registry, coordinator, Peers::new())
}

/// Both slots can be had at once.
async fn slots_are_free(coordinator: &SyncCoordinator<u32>) {
    answer(coordinator.registry(), [100, 101]);
    let both = std::sync::Arc::new(tokio::sync::Barrier::new(2));
    let op = |_| {
        let both = std::sync::Arc::clone(&both);
        async move { Ok::<_, SyncError>(both.wait().await) }
    };
    let syncs = async { tokio::join!(coordinator.sync(&100, op), coordinator.sync(&101, op)) };
    let (a, b) = tokio::time::timeout(ms(1000), syncs).await.unwrap();
    assert!(a.is_ok() && b.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_panics_has_failed_and_is_held_against_nobody() {
    let (registry, coordinator, peers) = world();
    let driver = peers.drive(&coordinator);
    peers.tell(7, [Answer::Panics, Answer::Panics]);
    driver.request(&7);
    driver.request(&8);
    pass(Duration::from_secs(1)).await;
    let stats = driver.stats();
    assert_eq!((stats.started, stats.failed, stats.succeeded), (4, 2, 2));
    let totals = registry.totals().all;
    assert_eq!((totals.abandoned, totals.failed, totals.opened), (2, 0, 0));
    slots_are_free(&coordinator).await;
}

#[tokio::test(start_paused = true)]
async fn an_operation_that_always_panics_is_given_up() {
    let (_, coordinator, peers) = world();
    let driver = peers.drive(&coordinator);
    peers.tell_all(Answer::Panics);
    driver.request(&7);
    pass(Duration::from_secs(60)).await;
    assert_eq!((driver.stats().failed, driver.stats().given_up), (5, 1));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_removed_while_it_is_called_is_called_no_more() {
    let (registry, coordinator, peers) = world();
    let driver = peers.drive(&coordinator);
    peers.tell(7, [Answer::Hangs]);
    driver.request(&7);
    pass(ms(10)).await;
    driver.request(&7);
    assert!(driver.forget(&7) && !driver.forget(&7));
    assert_eq!((driver.stats().running, driver.stats().waiting), (0, 0));
    pass(Duration::from_secs(60)).await;
    assert_eq!((peers.calls().len(), peers.running().0), (1, 0));
    assert_eq!(registry.totals().all.abandoned, 1);
    slots_are_free(&coordinator).await;

    // Asked for again while the old call is being taken back, it is called again.
    peers.tell(7, [Answer::Hangs]);
    driver.request(&7);
    pass(ms(10)).await;
    driver.forget(&7);
    assert!(driver.request(&7));
    pass(ms(100)).await;
    assert_eq!((peers.calls().len(), driver.stats().succeeded), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_was_removed_while_it_found_out_leaves_that_to_another() {
    let (_, coordinator, peers) = world();
    let driver = peers.drive(&coordinator);
    peers.tell(1, [Answer::Fails(ours()), Answer::Hangs]);
    driver.request(&1);
    pass(ms(150)).await;
    assert!(driver.stats().local_trouble && driver.stats().running == 1);
    driver.request(&2);
    pass(ms(10)).await;
    assert_eq!(peers.times(2).len(), 0, "one call finds out");
    driver.forget(&1);
    pass(ms(10)).await;
    assert_eq!((peers.times(2).len(), driver.stats().local_trouble), (1, false));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_begun_while_it_is_paused() {
    let (_, coordinator, peers) = world();
    let driver = peers.drive(&coordinator);
    peers.tell(1, [Answer::Takes(ms(100))]);
    driver.request(&1);
    pass(ms(10)).await;
    driver.pause();
    driver.request(&2);
    pass(Duration::from_secs(60)).await;
    let stats = driver.stats();
    assert_eq!((stats.succeeded, stats.waiting, stats.paused), (1, 1, true));
    driver.resume();
    pass(ms(10)).await;
    assert_eq!(driver.stats().succeeded, 2);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_calls_and_for_nothing_else() {
    let (_, coordinator, peers) = world();
    let driver = peers.drive(&coordinator);
    peers.tell(1, [Answer::Takes(ms(100))]);
    peers.tell(2, [Answer::Hangs]);
    peers.tell(3, [Answer::Fails(network().into())]);
    driver.request(&3);
    pass(ms(10)).await;
    driver.request(&1);
    driver.request(&2);
    driver.request(&4);
    pass(ms(10)).await;
    assert!(!driver.is_finished());
    let began = tokio::time::Instant::now();
    driver.shutdown().await;
    assert_eq!(began.elapsed().as_secs(), 9, "the deadline of what hangs");
    assert!(driver.is_finished());
    let stats = driver.stats();
    assert_eq!((stats.succeeded, stats.failed, stats.waiting, stats.running), (1, 2, 0, 0));
    assert!(!driver.request(&5) && !driver.kick(&3));
    driver.note_reachable(&5);
    pass(Duration::from_secs(60)).await;
    assert!(peers.times(4).is_empty() && peers.times(5).is_empty());
    driver.shutdown().await;
    slots_are_free(&coordinator).await;
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_a_driver_that_is_paused_or_in_trouble() {
    let (_, coordinator, peers) = world();
    let paused = peers.drive(&coordinator);
    paused.pause();
    paused.request(&1);
    paused.shutdown().await;
    assert_eq!((paused.stats().waiting, peers.calls().len()), (0, 0));

    peers.tell_all(Answer::Fails(ours()));
    let troubled = peers.drive(&coordinator);
    troubled.request(&1);
    pass(ms(10)).await;
    assert!(troubled.stats().local_trouble && troubled.stats().waiting == 1);
    troubled.shutdown().await;
    assert_eq!((troubled.stats().waiting, peers.calls().len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_is_dropped_takes_its_calls_back() {
    let (registry, coordinator, peers) = world();
    let driver = peers.drive(&coordinator);
    let other = driver.clone();
    peers.tell_all(Answer::Hangs);
    request(&driver, 0..5);
    pass(ms(10)).await;
    drop(driver);
    pass(ms(10)).await;
    assert_eq!(peers.running().0, 2, "there is another handle");
    let over = other.shutdown();
    drop(other);
    over.await;
    pass(ms(10)).await;
    assert_eq!((peers.running().0, peers.calls().len()), (0, 2));
    assert_eq!(registry.totals().all.abandoned, 2);
    slots_are_free(&coordinator).await;
}

#[tokio::test(start_paused = true)]
async fn a_driver_can_be_dropped_after_any_of_its_steps() {
    for n in 0..60 {
        let (registry, coordinator, peers) = world();
        let driver = peers.drive(&coordinator);
        peers.tell(1, [Answer::Fails(network().into()), Answer::Takes(ms(3))]);
        peers.tell(2, [Answer::Takes(ms(3)), Answer::Fails(ours()), Answer::Hangs]);
        request(&driver, 0..4);
        for step in 0..n {
            yield_now().await;
            if step % 8 == 7 {
                driver.kick(&1);
                driver.request(&2);
                tokio::time::advance(ms(3)).await;
            }
        }
        drop(driver);
        pass(ms(10)).await;
        assert_eq!(peers.running().0, 0, "after {n} steps");
        slots_are_free(&coordinator).await;
        pass(Duration::from_secs(600)).await;
        for peer in 0..4 {
            let synced = coordinator.sync(&peer, async |_| Ok::<_, SyncError>(())).await;
            assert!(synced.is_ok() && registry.status(&peer) == Status::Closed, "after {n} steps");
        }
        registry.sweep();
        pass(Duration::from_secs(3600)).await;
        registry.sweep();
        assert!(registry.is_empty(), "a permit is out after {n} steps");
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_that_is_dropped_at_any_await_goes_on() {
    for n in 0..8 {
        let (_, coordinator, peers) = world();
        let driver = peers.drive(&coordinator);
        peers.tell(1, [Answer::Takes(ms(30))]);
        driver.request(&1);
        driver.request(&2);
        pass(ms(10)).await;
        {
            let mut over = pin!(driver.shutdown());
            for _ in 0..n {
                let ended = poll_once(over.as_mut()).await.is_some();
                if ended {
                    break;
                }
                tokio::time::advance(ms(10)).await;
            }
        }
        assert!(!driver.request(&3));
        driver.shutdown().await;
        assert_eq!((driver.stats().succeeded, peers.times(3).len()), (2, 0), "after {n} polls");
    }
}

#[test]
fn the_end_of_the_runtime_is_the_end_of_the_driver() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (coordinator, peers) = runtime.block_on(async {
        let (_, coordinator, peers) = world();
        (coordinator, peers)
    });
    let driver = runtime.block_on(async {
        peers.tell_all(Answer::Hangs);
        let driver = peers.drive(&coordinator);
        driver.request(&1);
        while peers.running().0 == 0 {
            yield_now().await;
        }
        driver
    });
    drop(runtime);
    assert!(!driver.request(&2) && driver.is_finished());
    let stats = driver.stats();
    assert_eq!((stats.waiting, stats.running, peers.running().0), (0, 0, 0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(driver.shutdown());
    runtime.block_on(slots_are_free(&coordinator));
}
