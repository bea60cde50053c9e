//! Trouble of our own (D2), sessions that end too soon (D5), retry budgets (D7), wake-ups (D8), and
//! clocks that run apart (D9).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use peer_health::{
    Clock, CoordinatorBuilder, Failure, Fault, HealthConfig, HealthRegistry, RetryBudget,
    SyncCoordinator, WaitReason,
};

use crate::peers::{Answer, Peers, coordinator, ms, ours, pass, registry, request, touchy};
use crate::support::{SECOND, network};

#[tokio::test(start_paused = true)]
async fn trouble_is_over_with_the_first_call_begun_since_that_ends_well_however_long_it_takes() {
    for takes in [ms(900), ms(1100), Duration::from_secs(3)] {
        let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
        let driver = peers.drive(&coordinator(&registry).build().unwrap());
        peers.tell(0, [Answer::Fails(ours())]);
        peers.tell_all(Answer::Takes(takes));
        request(&driver, 0..200);
        pass(ms(150) + 2 * takes).await;
        assert!(!driver.stats().local_trouble, "{takes:?}");
        pass(16 * takes).await;
        let stats = driver.stats();
        assert_eq!((stats.succeeded, stats.waiting), (200, 0), "{takes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_peer_that_always_fails_locally_slows_nobody_down() {
    let mut calls = [0, 0];
    for (with, calls) in calls.iter_mut().enumerate() {
        let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
        let driver = peers.drive(&coordinator(&registry).build().unwrap());
        peers.tell(0, vec![Answer::Fails(ours()); 10_000]);
        peers.tell_all(Answer::Takes(Duration::from_secs(3)));
        for _ in 0..300 {
            if with == 1 {
                driver.request(&0);
            }
            request(&driver, 1..51);
            pass(Duration::from_secs(2)).await;
        }
        *calls = peers.calls().len() - peers.times(0).len();
    }
    assert!(calls[1] * 100 >= calls[0] * 98, "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn while_all_fail_locally_pauses_grow_and_calls_are_few() {
    for all in [30, 300] {
        let (registry, peers) = (registry(touchy()), Peers::new());
        let driver = peers.drive(&coordinator(&registry).build().unwrap());
        peers.tell_all(Answer::Fails(ours()));
        request(&driver, 0..all);
        pass(Duration::from_secs(300)).await;
        let calls = peers.calls();
        assert!(calls.len() <= 64 + 30, "{}", calls.len());
        let last = calls[calls.len() - 1].1 - calls[calls.len() - 2].1;
        assert!(last >= 27_000, "the last two are {last} ms apart");
        peers.tell_all(Answer::Well);
        pass(Duration::from_secs(90)).await;
        assert_eq!(driver.stats().succeeded, u64::from(all));
    }
}

#[tokio::test(start_paused = true)]
async fn peers_that_are_open_cost_the_others_nothing_in_trouble_of_our_own() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    for peer in 0..50 {
        registry.acquire(&peer).unwrap().failure(network());
    }
    peers.tell(99, [Answer::Fails(ours())]);
    driver.request(&99);
    pass(ms(10)).await;
    request(&driver, 0..50);
    request(&driver, [100, 101]);
    pass(ms(200)).await;
    assert_eq!((driver.stats().succeeded, driver.stats().local_trouble), (3, false));
}

#[tokio::test(start_paused = true)]
async fn no_call_begins_that_queued_when_the_driver_was_paused_closed_or_got_into_trouble() {
    for (case, calls) in [("paused", 3), ("closed", 3), ("in trouble", 4)] {
        let (registry, peers) = (registry(touchy()), Peers::new());
        let driver = peers.drive(&coordinator(&registry).max_concurrent(3).build().unwrap());
        peers.tell(0, [Answer::Takes(ms(100))]);
        peers.tell(1, [Answer::Takes(ms(200))]);
        peers.tell(2, [Answer::Takes(ms(300))]);
        if case == "in trouble" {
            peers.tell(2, []);
            driver.request(&50);
            peers.tell(50, [Answer::Fails(ours())]);
        }
        request(&driver, 0..3);
        request(&driver, 10..20);
        tokio::task::yield_now().await;
        pass(ms(50)).await;
        let shutdown = match case {
            "paused" => {
                driver.pause();
                None
            }
            "closed" => Some(driver.shutdown()),
            _ => None,
        };
        pass(ms(40)).await;
        let begun = peers.calls().len();
        assert!(begun <= calls, "{case}: {:?}", peers.calls());
        if case == "paused" {
            pass(Duration::from_secs(60)).await;
            assert_eq!(peers.calls().len(), 3);
            assert_eq!(driver.stats().waiting, 10, "they keep their turn");
            driver.resume();
            pass(SECOND).await;
            assert_eq!(driver.stats().succeeded, 13);
        }
        if let Some(shutdown) = shutdown {
            shutdown.await;
            assert_eq!(peers.calls().len(), 3);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_accepts_and_drops_is_called_ever_more_seldom() {
    let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    let mut seen = 0;
    for _ in 0..36_000 {
        driver.request(&7);
        pass(ms(100)).await;
        if peers.times(7).len() > seen {
            seen = peers.times(7).len();
            driver.note_lost(&7, network());
            driver.note_reachable(&7); // which shortens nothing
        }
    }
    let times = peers.times(7);
    let gaps: Vec<u64> = times.windows(2).map(|two| (two[1] - two[0]) / 1000).collect();
    assert_eq!(gaps[..7], [5, 10, 20, 40, 80, 160, 300]);
    assert!(gaps[7..].iter().all(|gap| *gap == 300) && gaps.len() < 20, "{gaps:?}");
    assert_eq!(driver.waiting()[0].reason, WaitReason::Session);
    assert!(driver.kick(&7));
    pass(ms(10)).await;
    assert_eq!(peers.times(7).len(), seen + 1, "a kick ends the delay");
    driver.note_lost(&7, network());
    driver.request(&7);
    pass(Duration::from_secs(299)).await;
    assert_eq!(peers.times(7).len(), seen + 1, "and not the count");
    driver.kick_all();
    pass(ms(10)).await;
    assert_eq!(peers.times(7).len(), seen + 2);
    // A session that lasts ends it.
    pass(Duration::from_secs(11)).await;
    driver.note_lost(&7, network());
    driver.request(&7);
    pass(ms(10)).await;
    assert_eq!(peers.times(7).len(), seen + 3);
}

#[tokio::test(start_paused = true)]
async fn a_planned_goodbye_is_no_session_that_ended_too_soon() {
    let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    for round in 1..=5 {
        driver.request(&7);
        pass(ms(100)).await;
        driver.note_lost(&7, Failure::from(network()).with_fault(Fault::Nobody));
        assert_eq!(peers.times(7).len(), round);
    }
}

#[tokio::test(start_paused = true)]
async fn strangers_and_probes_take_no_token() {
    let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
    let coordinator = coordinator(&registry).build().unwrap();
    let driver = peers.drive(&coordinator);
    (100..300).for_each(|dead| peers.tell(dead, vec![Answer::Fails(network().into()); 1000]));
    request(&driver, 100..300);
    pass(Duration::from_secs(3600)).await;
    assert_eq!(coordinator.budget().milli_tokens(), 1_000_000);
    (0..20).for_each(|peer| peers.tell(peer, [Answer::Fails(network().into())]));
    request(&driver, 0..20);
    pass(SECOND).await;
    assert!((0..20).all(|peer| peers.times(peer).len() == 2), "each succeeds at its second try");
}

#[tokio::test(start_paused = true)]
async fn tokens_come_back_with_time() {
    let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
    let coordinator = coordinator(&registry).build().unwrap();
    let driver = peers.drive(&coordinator);
    (0..2000).for_each(|_| coordinator.budget().failed());
    assert!(!coordinator.budget().allows_retry());
    for minute in 1..20 {
        request(&driver, 0..10);
        pass(Duration::from_secs(60)).await;
        assert_eq!(coordinator.budget().allows_retry(), minute >= 9, "after {minute} minutes");
    }
    let fixed = RetryBudget::new(10, 0.1).unwrap();
    let coordinator = crate::peers::coordinator(&registry).budget(fixed).build().unwrap();
    (0..5).for_each(|_| coordinator.budget().failed());
    pass(Duration::from_secs(3600)).await;
    assert_eq!(coordinator.budget().milli_tokens(), 5000, "it was given no refill");
}

/// Twenty peers that answered and wait for long.
async fn asleep() -> (HealthRegistry<u32>, Peers, peer_health::SyncDriver<u32>) {
    let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    request(&driver, 0..20);
    pass(SECOND).await;
    peers.tell_all(Answer::Fails(network().into()));
    for _ in 0..60 {
        request(&driver, 0..20);
        pass(Duration::from_secs(30)).await;
    }
    peers.tell_all(Answer::Well);
    let shortest = driver.waiting().iter().map(|waiting| waiting.until).max().unwrap();
    assert!(driver.stats().waiting == 20 && shortest > Duration::from_secs(60), "{shortest:?}");
    (registry, peers, driver)
}

#[tokio::test(start_paused = true)]
async fn all_who_wait_are_called_within_seconds_when_the_lid_is_opened() {
    for resumes in [false, true] {
        let (registry, peers, driver) = asleep().await;
        let before = driver.stats().succeeded;
        if resumes {
            driver.pause();
            pass(SECOND).await;
            driver.resume();
        } else {
            driver.kick_all();
        }
        pass(Duration::from_secs(5)).await;
        let stats = driver.stats();
        assert!(stats.succeeded >= before + 20 && stats.waiting == 0, "{stats:?}");
        let open = (0..20).filter(|peer| registry.is_circuit_open(peer)).count();
        assert_eq!((open, peers.running().0), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_wake_up_is_for_those_too_that_are_called_or_asked_for_later() {
    let (_registry, peers, driver) = asleep().await;
    let first = driver.waiting().iter().map(|waiting| waiting.until).min().unwrap();
    peers.tell_all(Answer::Hangs);
    pass(first + SECOND).await;
    let hangs = driver.stats().running;
    assert!(hangs > 0);
    // Those that hang were dialled by the old network.
    driver.forget(&19);
    driver.kick_all();
    peers.tell_all(Answer::Well);
    driver.request(&19);
    pass(Duration::from_secs(12)).await;
    let stats = driver.stats();
    assert_eq!((stats.waiting, stats.running), (0, 0), "{stats:?}");
    assert!((0..20).all(|peer| !peers.times(peer).is_empty()));
}

#[tokio::test(start_paused = true)]
async fn the_driver_goes_by_the_registrys_clock_and_looks_each_minute() {
    // A clock of which tokio's timers know nothing: it has slept.
    let slept = Arc::new(AtomicU64::new(0));
    let ahead = Arc::clone(&slept);
    let start = tokio::time::Instant::now();
    let clock = Clock::from_fn(move || {
        start.elapsed() + Duration::from_secs(ahead.load(Ordering::Relaxed))
    });
    let config = touchy().with_open_timeout(Duration::from_secs(300));
    let registry = HealthRegistry::builder().config(config).clock(clock).build().unwrap();
    let peers = Peers::new();
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    peers.tell(7, [Answer::Fails(network().into())]);
    driver.request(&7);
    pass(SECOND).await;
    slept.store(3600, Ordering::Relaxed);
    pass(Duration::from_secs(61)).await;
    assert_eq!(peers.times(7).len(), 2, "its wait is over by the clock that counts");
}

#[test]
fn without_a_runtime_or_without_timers_there_is_an_error_and_no_panic() {
    use peer_health::{DriveError, OperationError, SyncError};
    let op = async |_| Ok::<_, SyncError>(());
    let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    assert_eq!(coordinator.drive(op).unwrap_err(), DriveError::NoRuntime);
    let synced = futures_util::FutureExt::now_or_never(coordinator.sync(&7, op)).unwrap();
    assert!(matches!(synced, Err(OperationError::NoRuntime)));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        assert_eq!(coordinator.drive(op).unwrap_err(), DriveError::NoTimers);
        assert!(matches!(coordinator.sync(&7, op).await, Err(OperationError::NoTimers)));
    });
    assert_eq!(coordinator.registry().totals().all.settled(), 0);
}

#[tokio::test(start_paused = true)]
async fn many_peers_that_always_fail_locally_slow_nobody_down_either() {
    let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    (100..400).for_each(|peer| peers.tell(peer, vec![Answer::Fails(ours()); 10_000]));
    for round in 1..=60 {
        request(&driver, 0..30);
        request(&driver, 100..400);
        pass(Duration::from_secs(30)).await;
        let served = (0..30).filter(|peer| peers.times(*peer).len() == round).count();
        assert_eq!(served, 30, "round {round}");
    }
    assert!((100..400).all(|peer| peers.times(peer).len() < 120), "they are left alone");
}

#[tokio::test(start_paused = true)]
async fn new_peers_that_fail_locally_hold_up_no_other_new_peer_once_somebody_has_answered() {
    let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    (100..400).for_each(|peer| peers.tell(peer, vec![Answer::Fails(ours()); 10_000]));
    // Nobody is known; one in eleven can be called.
    for peer in 0..30 {
        request(&driver, 100 + 10 * peer..110 + 10 * peer);
        request(&driver, peer..peer + 1);
    }
    pass(Duration::from_secs(60)).await;
    assert!((0..30).all(|peer| peers.times(peer).len() == 1));
    assert!((100..400).all(|peer| peers.times(peer).len() < 40), "they are left alone");
    // Then it is we who cannot call, and that is seen: nobody has answered for long.
    pass(Duration::from_secs(300)).await;
    peers.tell_all(Answer::Fails(ours()));
    let before = peers.calls().len();
    request(&driver, 1000..2000);
    pass(Duration::from_secs(300)).await;
    assert!(peers.calls().len() - before <= 300 + 94, "{}", peers.calls().len() - before);
}

/// D2: while calls of others end otherwise, a new peer's failure is its own, and starts no trouble.
#[tokio::test(start_paused = true)]
async fn a_new_peer_that_fails_locally_just_after_trouble_that_others_ended_starts_none() {
    let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    for (peer, wait, trouble) in [(1, SECOND, true), (2, 400 * SECOND, false), (3, SECOND, true)] {
        peers.tell(peer, [Answer::Fails(ours())]);
        driver.request(&peer);
        pass(ms(10)).await;
        assert_eq!(driver.stats().local_trouble, trouble, "{peer}");
        driver.request(&100);
        pass(wait).await;
        assert!(!driver.stats().local_trouble, "{peer}");
    }
}

/// D2: where others have answered amid trouble, new peers that fail one after the other make no pause
/// longer for those who are as new.
#[tokio::test(start_paused = true)]
async fn new_peers_that_fail_locally_do_not_lengthen_a_trouble_amid_which_others_have_answered() {
    let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    peers.tell(0, [Answer::Fails(ours())]);
    peers.tell(1, [Answer::Well]);
    (1..20).for_each(|peer| peers.tell(peer, vec![Answer::Fails(ours()); 1000]));
    for peer in [0, 1, 1] {
        driver.request(&peer);
        pass(SECOND).await;
    }
    assert!(driver.stats().local_trouble, "one that answered before fails now");
    request(&driver, 2..21);
    pass(Duration::from_secs(10)).await;
    assert_eq!(peers.times(20).len(), 1, "the only one of them that can be called");
}

#[tokio::test(start_paused = true)]
async fn retries_of_peers_that_fail_together_come_apart() {
    for seed in [None, Some(0), Some(u64::MAX)] {
        let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
        let builder = SyncCoordinator::builder(registry);
        let builder = seed.into_iter().fold(builder, CoordinatorBuilder::seed);
        let driver = peers.drive(&builder.build().unwrap());
        (0..20).for_each(|peer| peers.tell(peer, [Answer::Fails(network().into())]));
        request(&driver, 0..20);
        pass(Duration::from_secs(5)).await;
        let waits: std::collections::BTreeSet<_> =
            (0..20).map(|peer| peers.times(peer)[1] - peers.times(peer)[0]).collect();
        assert!(waits.len() > 5, "{seed:?}: {waits:?}");
    }
}
