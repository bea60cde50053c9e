//! Who gets the places (D4): the living, peers in trouble, strangers; drivers beside others.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use peer_health::{HealthConfig, HealthRegistry, SyncCoordinator, SyncError, WaitReason};
use tokio::task::JoinSet;

use crate::peers::{
    Answer, Peers, answer, coordinator, ms, ours, pass, poll_once, registry, request, touchy,
};
use crate::support::{SECOND, network};

fn lasting() -> HealthConfig {
    touchy().with_failure_threshold(1000)
}

/// How many of these are being called.
fn called(peers: &Peers, whom: std::ops::Range<u32>) -> usize {
    peers.calls().iter().filter(|(peer, _)| whom.contains(peer)).count()
}

#[tokio::test(start_paused = true)]
async fn from_the_first_answer_on_strangers_hold_a_quarter_of_the_places_though_others_are_free() {
    let (registry, peers) = (registry(lasting()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).max_concurrent(16).build().unwrap());
    peers.tell_all(Answer::Hangs);
    request(&driver, 100..140);
    pass(ms(10)).await;
    assert_eq!(called(&peers, 100..140), 16, "nobody has answered: nobody to be kept free for");
    pass(Duration::from_secs(30)).await;

    peers.tell(1, [Answer::Well]);
    driver.request(&1);
    pass(Duration::from_secs(40)).await;
    assert_eq!(peers.times(1).len(), 1);
    let before = driver.stats().running;
    assert_eq!(before, 4);
}

#[tokio::test(start_paused = true)]
async fn peers_in_trouble_have_the_rest_of_the_half_and_all_of_it_when_no_stranger_waits() {
    let (registry, peers) = (registry(lasting()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).max_concurrent(16).build().unwrap());
    answer(&registry, 0..40);
    for peer in 0..40 {
        registry.acquire(&peer).unwrap().failure(network());
    }
    peers.tell_all(Answer::Hangs);
    request(&driver, 0..40);
    pass(ms(10)).await;
    assert_eq!((called(&peers, 0..40), driver.stats().running), (8, 8), "half of the places");
    request(&driver, 100..140);
    pass(Duration::from_secs(10) + ms(50)).await;
    assert_eq!((called(&peers, 100..140), driver.stats().running), (4, 8), "a half of that");
}

#[tokio::test(start_paused = true)]
async fn the_dead_keep_no_place_from_the_living() {
    let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
    let driver = peers.drive(&SyncCoordinator::new(registry.clone()));
    request(&driver, 0..30);
    pass(SECOND).await;
    (100..300).for_each(|dead| peers.tell(dead, vec![Answer::Hangs; 1000]));
    for _ in 0..120 {
        request(&driver, 100..300);
        request(&driver, 0..30);
        pass(Duration::from_secs(5)).await;
    }
    assert!((0..30).all(|peer| peers.times(peer).len() == 121), "each of 120 rounds");
}

#[tokio::test(start_paused = true)]
async fn good_news_of_a_peer_that_answered_goes_first_and_may_use_any_place() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).max_concurrent(4).build().unwrap());
    answer(&registry, 0..20);
    for peer in 0..20 {
        registry.acquire(&peer).unwrap().failure(network());
        registry.end_wait(&peer);
    }
    peers.tell_all(Answer::Hangs);
    request(&driver, 0..10);
    request(&driver, 30..40);
    pass(SECOND).await;
    assert_eq!(driver.stats().running, 2, "the half");
    peers.tell_all(Answer::Well);
    driver.note_reachable(&15);
    driver.note_reachable(&50);
    pass(ms(200)).await;
    assert_eq!(peers.times(15).len(), 1);
    assert_eq!(peers.times(50).len(), 0, "a stranger's is a request, after those before it");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answered_once_is_no_stranger_though_its_tracker_is_gone() {
    for forget in [
        (|registry: &HealthRegistry<u32>| _ = registry.remove(&1)) as fn(&HealthRegistry<u32>),
        |registry| {
            registry.sweep();
        },
    ] {
        let config = lasting().with_idle_timeout(Duration::ZERO);
        let (registry, peers) = (registry(config), Peers::new());
        let driver = peers.drive(&coordinator(&registry).max_concurrent(16).build().unwrap());
        // By a permit that no coordinator knows of.
        answer(&registry, [1]);
        forget(&registry);
        forget(&registry);
        assert!(!registry.contains(&1));
        peers.tell_all(Answer::Hangs);
        request(&driver, 100..150);
        pass(SECOND).await;
        peers.tell(1, [Answer::Well]);
        driver.request(&1);
        pass(Duration::from_secs(11)).await;
        assert_eq!(peers.times(1).len(), 1, "it does not wait behind fifty silent strangers");
    }
}

#[tokio::test(start_paused = true)]
async fn a_driver_gets_its_turn_beside_callers_with_the_same_peer() {
    let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
    let coordinator = coordinator(&registry).build().unwrap();
    peers.tell_all(Answer::Takes(ms(5)));
    let driver = peers.drive(&coordinator);
    let mut callers = JoinSet::new();
    for _ in 0..3 {
        let (coordinator, peers) = (coordinator.clone(), peers.clone());
        callers.spawn(async move {
            loop {
                coordinator.sync(&7, |peer| peers.call(peer)).await.unwrap();
            }
        });
    }
    pass(SECOND).await;
    for round in 1..10 {
        driver.request(&7);
        pass(ms(25)).await;
        assert_eq!(driver.stats().succeeded, round, "three others were before it");
    }
    drop(callers);
}

#[tokio::test(start_paused = true)]
async fn strangers_that_wait_are_bounded_and_a_request_displaces_one_that_only_called() {
    let (registry, peers) = (registry(touchy().with_max_peers(10)), Peers::new());
    let driver = peers.drive(&coordinator(&registry).max_concurrent(1).build().unwrap());
    peers.tell_all(Answer::Hangs);
    driver.request(&0);
    pass(ms(10)).await;
    (100..110).for_each(|stranger| driver.note_reachable(&stranger));
    request(&driver, 200..205);
    let waiting = |from: u32, to: u32| {
        driver.waiting().iter().filter(|waiting| (from..to).contains(&waiting.peer)).count()
    };
    assert_eq!((waiting(100, 110), waiting(200, 205)), (5, 5));
    assert!(!driver.request(&100), "it waits, and is asked for by now");
    request(&driver, 205..220);
    assert_eq!((waiting(100, 110), waiting(200, 220)), (1, 9));
    assert_eq!((driver.stats().waiting, driver.stats().strangers_refused), (10, 11));
    // Whoever gave way is not called.
    peers.tell_all(Answer::Well);
    pass(Duration::from_secs(60)).await;
    assert_eq!(called(&peers, 100..110), 1);
}

/// D2, D4: a stranger whose call failed for a reason of our own has no better right to wait than those
/// who came meanwhile, and is given up where they are as many as may wait.
#[tokio::test(start_paused = true)]
async fn a_stranger_that_failed_locally_and_finds_no_room_to_wait_is_given_up() {
    let registry = registry(touchy().with_max_peers(2));
    let coordinator = coordinator(&registry).max_concurrent(1).build().unwrap();
    let op = async |_| {
        pass(ms(50)).await;
        Err::<(), _>(ours())
    };
    let driver = coordinator.drive(op).unwrap();
    driver.request(&1);
    pass(ms(10)).await;
    request(&driver, [2, 3]);
    pass(ms(50)).await;
    let stats = driver.stats();
    assert_eq!((stats.failed, stats.given_up, stats.waiting), (1, 1, 2));
    assert!(driver.waiting().iter().all(|waiting| [2, 3].contains(&waiting.peer)));
}

/// D4, R18: where fewer may wait than do, those who are looked at and may not be called are given up.
#[tokio::test(start_paused = true)]
async fn strangers_that_wait_are_given_up_when_no_more_so_many_may_wait() {
    let (registry, peers) = (registry(touchy().with_max_peers(3)), Peers::new());
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    (0..3).for_each(|peer| _ = registry.acquire(&peer).unwrap().failure(network()));
    request(&driver, 0..3);
    pass(SECOND).await;
    registry.set_config(touchy().with_max_peers(1)).unwrap();
    assert_eq!((driver.stats().waiting, driver.stats().given_up), (3, 0));
    // A step of its circuit has each looked at; it may not be called then either.
    (0..3).for_each(|peer| registry.force_open_for(&peer, 600 * SECOND).unwrap());
    pass(SECOND).await;
    assert_eq!((driver.stats().waiting, driver.stats().given_up), (1, 2));
}

/// D5: a session that is lost while its peer asks for a place delays the call like one that was lost
/// before.
#[tokio::test(start_paused = true)]
async fn a_peer_whose_session_is_lost_while_it_asks_for_a_place_leaves_the_place_to_others() {
    let (registry, peers) = (registry(lasting().with_open_timeout(5 * SECOND)), Peers::new());
    let driver = peers.drive(&coordinator(&registry).max_concurrent(1).build().unwrap());
    driver.request(&7);
    pass(ms(10)).await;
    registry.acquire(&7).unwrap().failure(network());
    peers.tell(1, [Answer::Takes(SECOND)]);
    driver.request(&1);
    pass(ms(10)).await;
    request(&driver, [7, 2]);
    pass(ms(10)).await;
    driver.note_lost(&7, network());
    pass(2 * SECOND).await;
    assert_eq!((peers.times(7).len(), peers.times(2).len()), (1, 1));
    pass(4 * SECOND).await;
    assert_eq!(peers.times(7).len(), 2);
}

/// D8: whoever has asked for a place is waited for like those who are not due yet.
#[tokio::test(start_paused = true)]
async fn who_waits_for_a_place_is_shown_and_who_is_called_is_not() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).max_concurrent(1).build().unwrap());
    peers.tell_all(Answer::Hangs);
    request(&driver, [1, 2]);
    pass(SECOND).await;
    let waiting: Vec<_> = driver.waiting().into_iter().map(|who| (who.peer, who.reason)).collect();
    assert_eq!(waiting, [(2, WaitReason::Slot)]);
    assert_eq!((driver.stats().waiting, driver.stats().running), (1, 1));
}

/// W5: an operation that is dropped while it asks for a place keeps nothing, not even its peer's key.
#[tokio::test(start_paused = true)]
async fn who_asks_for_a_place_no_more_leaves_nothing_behind() {
    let registry = HealthRegistry::<Arc<u32>>::new();
    let coordinator = SyncCoordinator::builder(registry).max_concurrent(1).build().unwrap();
    let hangs = |_| std::future::pending::<Result<(), SyncError>>();
    let (busy, peer) = (Arc::new(1), Arc::new(7));
    let mut running = pin!(coordinator.sync(&busy, hangs));
    assert!(poll_once(running.as_mut()).await.is_none());
    {
        let mut asks = pin!(coordinator.sync(&peer, hangs));
        assert!(poll_once(asks.as_mut()).await.is_none() && Arc::strong_count(&peer) > 1);
    }
    assert_eq!(Arc::strong_count(&peer), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_blocks_is_never_made_beside_another_with_its_peer() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    let coordinator = coordinator(&registry).max_per_peer(4).build().unwrap();
    let driver = peers.drive(&coordinator);
    peers.tell_all(Answer::Hangs);
    driver.request(&7);
    pass(ms(10)).await;
    for _ in 0..5 {
        // The call is told to stop, and has not ended when the next is asked for.
        assert!(driver.forget(&7) && driver.request(&7));
        tokio::task::yield_now().await;
    }
    pass(ms(10)).await;
    assert_eq!(peers.running(), (1, 1));
}

#[test]
fn a_call_that_blocks_a_thread_is_never_made_beside_another_with_its_peer() {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::mpsc;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let (begun, begins) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Arc::new(std::sync::Mutex::new(released));
    let at_once = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let most = Arc::clone(&at_once);
    let driver = runtime.block_on(async {
        let registry = HealthRegistry::<u32>::new();
        let coordinator = SyncCoordinator::builder(registry).max_per_peer(4).build().unwrap();
        let op = move |_| {
            let (begun, released) = (begun.clone(), Arc::clone(&released));
            let at_once = Arc::clone(&at_once);
            async move {
                let now = at_once.0.fetch_add(1, SeqCst) + 1;
                at_once.1.fetch_max(now, SeqCst);
                begun.send(()).unwrap();
                let _ = released.lock().unwrap().recv();
                at_once.0.fetch_sub(1, SeqCst);
                Ok::<_, peer_health::SyncError>(())
            }
        };
        coordinator.drive(op).unwrap()
    });
    driver.request(&7);
    let soon = Duration::from_secs(60);
    for round in 0..3 {
        begins.recv_timeout(soon).unwrap();
        assert!(driver.forget(&7) && driver.request(&7), "{round}");
        assert!(begins.recv_timeout(ms(50)).is_err(), "the old call has not ended");
        release.send(()).unwrap();
    }
    begins.recv_timeout(soon).unwrap();
    drop(release);
    assert_eq!(most.1.load(SeqCst), 1);
}
