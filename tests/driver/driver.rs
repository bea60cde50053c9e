//! `SyncDriver`: who is called and when; news from outside; trouble of our own; and how calls and
//! drivers end.

use std::time::Duration;

use peer_health::{Failure, Fault, HealthConfig, RetryBudget, Status, SyncError};

use crate::peers::{
    Answer, Peers, answer, coordinator, fails, ms, ours, pass, registry, request, touchy,
};
use crate::support::network;

#[tokio::test(start_paused = true)]
async fn requests_become_one_call_and_one_more_while_it_is_made() {
    let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    peers.tell(7, [Answer::Takes(ms(100))]);
    assert!(driver.request(&7) && !driver.request(&7) && !driver.request(&7));
    pass(ms(50)).await;
    assert_eq!((driver.stats().running, driver.stats().waiting), (1, 0));
    assert!(driver.request(&7), "news: it runs already");
    assert!(!driver.request(&7), "it is about to run again");
    pass(ms(200)).await;
    assert_eq!(peers.times(7), [0, 100]);
    assert!(driver.request(&7), "it was idle");
    pass(ms(200)).await;
    assert_eq!((peers.times(7).len(), driver.stats().succeeded), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_is_tried_again_and_given_up_in_time() {
    let config = HealthConfig::default().with_failure_threshold(100);
    let (registry, peers) = (registry(config), Peers::new());
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    peers.tell(7, fails(5));
    peers.tell(8, [Answer::Fails(SyncError::Protocol("garbage".into()).into())]);
    driver.request(&7);
    driver.request(&8);
    pass(Duration::from_secs(600)).await;
    let delays = peers.times(7).windows(2).map(|two| two[1] - two[0]).collect::<Vec<_>>();
    assert_eq!(delays.len(), 4, "five attempts");
    let expected = [100, 200, 400, 800];
    assert!(delays.iter().zip(expected).all(|(is, d)| (d..=d + 2).contains(is)), "{delays:?}");
    assert_eq!(peers.times(8).len(), 1, "not worth another");
    let stats = driver.stats();
    assert_eq!((stats.given_up, stats.failed, stats.waiting, stats.running), (2, 6, 0, 0));
    assert!(driver.request(&7));
    pass(ms(10)).await;
    assert_eq!(driver.stats().succeeded, 1);
}

#[tokio::test(start_paused = true)]
async fn a_peer_is_called_again_when_its_circuit_lets_it() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    peers.tell(7, fails(1));
    driver.request(&7);
    pass(Duration::from_secs(59)).await;
    assert_eq!((peers.times(7).len(), driver.stats().waiting), (1, 1));
    pass(Duration::from_secs(2)).await;
    assert_eq!((peers.times(7).len(), registry.status(&7)), (2, Status::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_kick_skips_the_wait_and_not_the_limit_of_probes() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    peers.tell(7, fails(2));
    driver.request(&7);
    pass(ms(10)).await;
    assert!(driver.kick(&7));
    pass(ms(10)).await;
    assert_eq!(peers.times(7), [0, 10], "a probe, at once");
    // Somebody else has the probe.
    registry.end_wait(&7);
    let probe = registry.acquire(&7).unwrap();
    assert!(driver.kick(&7));
    pass(ms(10)).await;
    assert_eq!(peers.times(7).len(), 2);
    probe.success();
    assert!(driver.kick(&7) && !driver.kick(&8));
    pass(ms(10)).await;
    assert_eq!(peers.times(7).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_counts_unless_it_is_our_fault_or_was_planned() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    driver.note_lost(&1, network());
    driver.note_lost(&2, ours());
    peers.tell(3, [Answer::Hangs]);
    driver.request(&3);
    pass(ms(10)).await;
    assert!(driver.forget(&3), "it said goodbye");
    pass(ms(10)).await;
    let open = [1, 2, 3].map(|peer| registry.status(&peer) == Status::Open);
    assert_eq!(open, [true, false, false]);
    assert_eq!(registry.totals().all.abandoned, 1);
}

#[tokio::test(start_paused = true)]
async fn trouble_of_our_own_pauses_the_driver_and_trips_nobody() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).max_concurrent(8).build().unwrap());
    peers.tell_all(Answer::Fails(ours()));
    request(&driver, 0..100);
    pass(Duration::from_secs(10)).await;
    assert!(driver.stats().local_trouble);
    // Eight at first; then 0.1, 0.2, 0.4, 0.8, 1.6, 3.2 seconds apart, and a tenth.
    let calls = peers.calls();
    assert!((8 + 5..=8 + 6).contains(&calls.len()), "{calls:?}");
    let gaps = calls[8..].windows(2).map(|two| two[1].1 - two[0].1).collect::<Vec<_>>();
    assert!(gaps.is_sorted() && gaps[0] >= 200, "{gaps:?}");
    assert!(!registry.is_circuit_open(&0) && registry.totals().all.opened == 0);
    assert_eq!(registry.totals().all.failed, 0);

    peers.tell_all(Answer::Well);
    pass(Duration::from_secs(40)).await;
    let stats = driver.stats();
    assert_eq!((stats.succeeded, stats.waiting, stats.given_up), (100, 0, 0));
    assert!(!stats.local_trouble);
}

#[tokio::test(start_paused = true)]
async fn one_peer_that_always_fails_locally_holds_the_others_up_a_little_only() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).max_concurrent(2).build().unwrap());
    peers.tell(0, std::iter::repeat_n(Answer::Fails(ours()), 100));
    for round in 0..60 {
        request(&driver, 0..10);
        pass(Duration::from_secs(1)).await;
        assert!((1..10).all(|peer| peers.times(peer).len() == round + 1), "{round}");
    }
    assert!(peers.times(0).len() < 12, "{:?}", peers.times(0));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_by_a_circuit_is_no_trouble_of_our_own() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    let hook = Failure::from(SyncError::CircuitBreakerOpen);
    assert_eq!(hook.fault(), Fault::Local);
    peers.tell(7, [Answer::Fails(hook)]);
    driver.request(&7);
    pass(ms(50)).await;
    assert!(!driver.stats().local_trouble && driver.stats().failed == 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_peer_may_cause_is_no_trouble_of_our_own() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    // It said goodbye; it has had its share of our uplink.
    let planned = Failure::from(network()).with_fault(Fault::Nobody);
    let quota = Failure::from(SyncError::BandwidthExhausted("its share".into()));
    for (peer, failure) in [(7, planned), (8, quota)] {
        peers.tell(peer, [Answer::Fails(failure)]);
        driver.request(&peer);
        pass(ms(50)).await;
        assert!(!driver.stats().local_trouble && peers.times(peer).len() == 1);
        pass(ms(500)).await;
        assert_eq!(peers.times(peer).len(), 2, "it is called again");
    }
    assert_eq!((registry.totals().all.failed, driver.stats().succeeded), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_does_not_keep_others_from_finding_out() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    peers.tell(1, [Answer::Fails(ours())]);
    peers.tell(2, [Answer::Hangs]);
    driver.request(&1);
    pass(ms(10)).await;
    request(&driver, [2, 3, 4]);
    pass(Duration::from_secs(2)).await;
    let times = [2, 3, 4].map(|peer| peers.times(peer)[0]);
    assert!((1000..=1005).contains(&(times[1] - times[0])), "{times:?}");
    assert!(
        !driver.stats().local_trouble && times[2] - times[1] < 5,
        "the third found out: {times:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_over_its_limit_is_called_when_it_says() {
    let config = touchy().with_failure_threshold(5).with_open_max(Duration::from_secs(120));
    let (registry, peers) = (registry(config), Peers::new());
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    let busy = |wait| {
        let error = SyncError::ResourceExhaustion("too many streams".into());
        Answer::Fails(Failure::from(error).with_retry_after(wait))
    };
    peers.tell(7, [busy(Duration::from_secs(30))]);
    peers.tell(8, [busy(Duration::MAX)]);
    for _ in 0..130 {
        request(&driver, [7, 8]);
        pass(Duration::from_secs(1)).await;
    }
    let second = [7, 8].map(|peer| peers.times(peer)[1] / 100);
    assert_eq!(second, [300, 1200], "when it said; no later than its circuit would let it");
}

#[tokio::test(start_paused = true)]
async fn good_news_lets_one_call_find_out_and_resume_all() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    peers.tell_all(Answer::Fails(ours()));
    driver.request(&7);
    pass(Duration::from_secs(20)).await;
    request(&driver, 20..30);
    let calls = peers.calls().len();
    driver.note_reachable(&8);
    pass(ms(10)).await;
    assert_eq!(peers.calls().len(), calls + 1, "one of them");
    assert!(driver.stats().local_trouble, "it found out that it is not over");
    peers.tell_all(Answer::Well);
    driver.resume();
    assert!(!driver.stats().local_trouble);
    driver.kick(&7);
    pass(ms(10)).await;
    assert_eq!(driver.stats().succeeded, 11, "the one that found out waits for its time");
}

#[tokio::test(start_paused = true)]
async fn retries_are_refused_without_budget_and_said_to_be() {
    let config = HealthConfig::default().with_failure_threshold(100);
    let (registry, peers) = (registry(config), Peers::new());
    let budget = RetryBudget::new(10, 0.1).unwrap();
    let driver = peers.drive(&coordinator(&registry).budget(budget).build().unwrap());
    peers.tell_all(Answer::Fails(network().into()));
    answer(&registry, 0..10);
    request(&driver, 0..10);
    request(&driver, 20..30);
    pass(Duration::from_secs(600)).await;
    let stats = driver.stats();
    // First attempts take no token, and all may be tried again; of the ten second attempts that
    // fail, five take half of the tokens. Strangers take none, and need none: five attempts each.
    assert_eq!((stats.started, stats.failed), (10 + 10 + 4 + 50, 10 + 10 + 4 + 50));
    assert_eq!((stats.given_up, stats.retries_refused), (20, 10));
    // What is not worth another attempt is refused none.
    peers.tell(0, [Answer::Fails(SyncError::Protocol("garbage".into()).into())]);
    driver.request(&0);
    pass(ms(10)).await;
    assert_eq!((driver.stats().given_up, driver.stats().retries_refused), (21, 10));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_forced_open_is_given_up() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    registry.force_open(&7).unwrap();
    driver.request(&7);
    pass(Duration::from_secs(600)).await;
    assert_eq!((driver.stats().given_up, driver.stats().waiting, peers.calls().len()), (1, 0, 0));
    registry.reset(&7);
    driver.request(&7);
    pass(ms(10)).await;
    assert_eq!(driver.stats().succeeded, 1);
}

#[tokio::test(start_paused = true)]
async fn a_driver_shares_the_limits_and_a_busy_peer_holds_up_no_other() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    let coordinator = coordinator(&registry).max_concurrent(3).build().unwrap();
    let driver = peers.drive(&coordinator);
    peers.tell_all(Answer::Takes(ms(100)));
    let sync = coordinator.sync(&0, |peer| peers.call(peer));
    let requests = async {
        request(&driver, 0..10);
        pass(ms(1000)).await;
    };
    assert!(tokio::join!(sync, requests).0.is_ok());
    assert_eq!(driver.stats().succeeded, 10);
    let times = peers.times(0);
    assert!(times.len() == 2 && times[1] >= 100, "one at a time with each peer: {times:?}");
    assert_eq!(peers.running(), (0, 3));
}

/// An error type of a program: what it needs is one impl.
#[derive(Debug, PartialEq, Eq)]
struct Trouble(u32);

impl From<&Trouble> for Failure {
    fn from(trouble: &Trouble) -> Self {
        SyncError::Network(format!("trouble {}", trouble.0)).into()
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_program_is_taken_both_ways_and_comes_back() {
    let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
    let coordinator = coordinator(&registry).build().unwrap();
    let driver = peers.drive(&coordinator);
    driver.note_lost(&7, Trouble(1));
    driver.note_lost(&7, &Trouble(2));
    let known = registry.snapshot(&7).unwrap();
    assert_eq!(known.consecutive_failures, 2);
    assert_eq!(known.last_error.unwrap().error().to_string(), "network failure: trouble 2");
    let failed = coordinator.sync(&8, async |_| Err::<(), _>(Trouble(3))).await.unwrap_err();
    assert_eq!(failed.error(), Some(&Trouble(3)));
    assert_eq!(failed.into_error(), Some(Trouble(3)));
}
