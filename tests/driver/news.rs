//! Good news of peers: what it speeds up, and what it may not.

use std::time::Duration;

use peer_health::{Failure, Status, SyncError};

use crate::peers::{Answer, Peers, answer, coordinator, ms, ours, pass, registry, request, touchy};
use crate::support::network;

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_reachable_is_called_as_a_probe_whatever_its_wait_was() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    registry.acquire(&7).unwrap().failure(network());
    pass(Duration::from_secs(1)).await;
    driver.note_reachable(&7);
    pass(ms(10)).await;
    assert_eq!((peers.times(7), registry.status(&7)), (vec![1000], Status::Closed));

    peers.tell(7, [Answer::Takes(ms(100))]);
    driver.request(&7);
    pass(ms(10)).await;
    driver.note_reachable(&7);
    pass(ms(500)).await;
    assert_eq!(peers.times(7), [1000, 1010], "it was being called: that is enough");

    // The wait of a retry ends, and its attempts are counted anew.
    peers.tell(8, [Answer::Fails(Failure::from(network()).with_retry_after(ms(5000)))]);
    driver.request(&8);
    pass(ms(500)).await;
    driver.note_reachable(&8);
    pass(ms(10)).await;
    assert_eq!(peers.times(8).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn good_news_outlives_the_failure_of_the_call_that_began_before_it() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    let coordinator = coordinator(&registry).attempt_deadline(ms(200)).build().unwrap();
    let driver = peers.drive(&coordinator);
    // A dial to where the peer was; meanwhile it calls us from where it is.
    peers.tell(7, [Answer::Hangs]);
    driver.request(&7);
    pass(ms(50)).await;
    driver.note_reachable(&7);
    pass(ms(160)).await;
    assert!(
        registry.is_circuit_open(&7),
        "the dial has failed, and opened the circuit for a minute"
    );
    pass(ms(200)).await;
    let times = peers.times(7);
    assert!(times.len() == 2 && (300..=305).contains(&times[1]), "{times:?}");
    assert_eq!(registry.status(&7), Status::Closed);
}

#[tokio::test(start_paused = true)]
async fn peers_that_call_each_other_back_and_fail_do_so_at_the_pace_of_their_circuits() {
    let config = touchy().with_open_multiplier(2.0);
    let (registry, peers) = (registry(config), Peers::new());
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    // Worth another attempt or not.
    for (peer, error) in [(7, network()), (8, SyncError::Protocol("another version".into()))] {
        peers.tell_all(Answer::Fails(error.into()));
        let began = peers.calls().last().map_or(0, |(_, at)| *at);
        for _ in 0..3600 {
            driver.note_reachable(&peer);
            pass(Duration::from_secs(1)).await;
        }
        let times = peers.times(peer);
        // At once, and as soon again as the policy says; then after 120, 240 and ever 300 seconds.
        assert!((12..=16).contains(&times.len()), "{times:?}");
        assert!(times[1] - times[0] <= 1000 && times[2] - times[1] >= 120_000, "{times:?} {began}");
    }
}

#[tokio::test(start_paused = true)]
async fn good_news_passes_nobody_who_was_due_before() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).max_concurrent(1).build().unwrap());
    peers.tell_all(Answer::Takes(ms(10)));
    pass(ms(1)).await;
    request(&driver, [1, 2]);
    pass(ms(5)).await;
    for knocks in 0..3 {
        driver.note_reachable(&(10 + knocks));
    }
    request(&driver, [3]);
    pass(ms(100)).await;
    let order: Vec<_> = peers.calls().into_iter().map(|(peer, _)| peer).collect();
    assert_eq!(order, [1, 2, 10, 11, 12, 3]);
}

#[tokio::test(start_paused = true)]
async fn strangers_who_call_fill_no_more_than_the_table_would_hold() {
    let (registry, peers) = (registry(touchy().with_max_peers(4)), Peers::new());
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    driver.pause();
    (0..100).for_each(|stranger| driver.note_reachable(&stranger));
    assert_eq!(driver.stats().waiting, 4);
    for stranger in 200..204 {
        assert!(driver.request(&stranger), "who is asked for goes before who only called");
        assert_eq!(driver.stats().waiting, 4);
    }
    assert!(!driver.request(&204), "there is no room for one more");
    assert_eq!((driver.stats().waiting, driver.stats().strangers_refused), (4, 1));
    answer(&registry, [300]);
    assert!(driver.request(&300), "it is no stranger");
}

#[tokio::test(start_paused = true)]
async fn a_kick_is_for_those_who_wait() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    registry.acquire(&7).unwrap().failure(network());
    assert!(!driver.kick(&7) && registry.is_circuit_open(&7), "nobody has asked for it");
    driver.request(&7);
    pass(ms(10)).await;
    assert!(driver.kick(&7));
    pass(ms(10)).await;
    assert_eq!(registry.status(&7), Status::Closed);
    driver.pause();
    driver.request(&7);
    let shutdown = driver.shutdown();
    assert!(!driver.kick(&7), "it will not be called any more");
    shutdown.await;
}

/// D8: those who wait are called one after the other, and within five seconds however many they are.
#[tokio::test(start_paused = true)]
async fn when_all_are_kicked_their_calls_are_spread_over_five_seconds_at_most() {
    for all in [10, 250, 1000] {
        let (registry, peers) = (registry(touchy()), Peers::new());
        let driver = peers.drive(&coordinator(&registry).build().unwrap());
        (0..all).for_each(|peer| _ = registry.acquire(&peer).unwrap().failure(network()));
        request(&driver, 0..all);
        pass(ms(500)).await;
        assert!(driver.waiting().iter().all(|waiting| waiting.until > ms(50_000)));
        driver.kick_all();
        let mut due: Vec<_> = driver.waiting().iter().map(|waiting| waiting.until).collect();
        due.sort_unstable();
        assert!(due.windows(2).all(|two| two[0] < two[1]), "{all}: two at one time");
        assert!(due.len() == all as usize && *due.last().unwrap() < ms(5000), "{all}");
    }
}

/// D2: a peer that fails locally each time is known for it, also if there was good news of it while it
/// was called: its failures start no trouble while others can be called.
#[tokio::test(start_paused = true)]
async fn good_news_of_a_peer_that_always_fails_locally_makes_its_failures_no_trouble_of_ours() {
    let registry = registry(touchy());
    answer(&registry, [7, 8]);
    let op = async |peer| {
        pass(ms(50)).await;
        if peer == 7 { Err(ours()) } else { Ok(()) }
    };
    let driver = coordinator(&registry).build().unwrap().drive(op).unwrap();
    let mut trouble = 0;
    for _ in 0..500 {
        driver.note_reachable(&7);
        driver.request(&8);
        pass(ms(10)).await;
        trouble += usize::from(driver.stats().local_trouble);
    }
    assert!(driver.stats().failed > 10 && trouble < 50, "{trouble} of 500: {:?}", driver.stats());
}
