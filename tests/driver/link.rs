//! R33: what a driver does while this node's own link is down, and when it is back.

use std::time::Duration;

use peer_health::{HealthConfig, RetryBudget, Status, WaitReason};

use crate::peers::{Answer, Peers, answer, coordinator, ms, pass, registry, request, touchy};
use crate::support::{SECOND, network};

const HEALTHY: std::ops::Range<u32> = 0..15;
const DEAD: std::ops::Range<u32> = 15..20;

/// Twenty peers, of whom five are dead and open; the link is down for so long.
async fn outage(cut: Answer, lasts: Duration) {
    let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    DEAD.for_each(|peer| peers.tell(peer, vec![Answer::Fails(network().into()); 100_000]));
    request(&driver, HEALTHY.chain(DEAD));
    pass(20 * SECOND).await;
    DEAD.for_each(|peer| assert_eq!(registry.status(&peer), Status::Open));
    assert_eq!(driver.stats().succeeded, 15);

    registry.set_link_up(false);
    peers.tell_all(cut);
    let (before, given_up) = (peers.calls().len(), driver.stats().given_up);
    request(&driver, HEALTHY.chain(DEAD));
    pass(lasts).await;
    HEALTHY.for_each(|peer| assert_eq!(registry.status(&peer), Status::Closed));
    DEAD.for_each(|peer| assert_ne!(registry.status(&peer), Status::Closed));
    let stats = driver.stats();
    assert!(!stats.local_trouble, "no trouble of the driver's own: {stats:?}");
    assert_eq!(stats.given_up, given_up, "{stats:?}");
    let calls = peers.calls().len() - before;
    assert!(calls <= 20 * 12, "each ever more seldom: {calls}");

    peers.tell_all(Answer::Takes(ms(100)));
    registry.set_link_up(true);
    pass(5 * SECOND).await;
    assert_eq!(driver.stats().succeeded, 30, "all are served within 5 s");
    pass(60 * SECOND).await;
    DEAD.for_each(|peer| assert_eq!(registry.status(&peer), Status::Open, "dead as before"));
}

#[tokio::test(start_paused = true)]
async fn an_outage_in_which_calls_fail_at_once_opens_no_circuit_and_all_are_served_after_it() {
    outage(Answer::Fails(network().into()), 60 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn so_does_one_in_which_calls_hang_until_their_deadline() {
    // Wherever the calls are when the link is back: their deadline is 10 s.
    for lasts in [54, 57, 60] {
        outage(Answer::Hangs, lasts * SECOND).await;
    }
}

/// D7: retries while the link is down cost nothing, and each peer waits for a reason of this node.
#[tokio::test(start_paused = true)]
async fn failures_of_an_outage_take_no_tokens() {
    let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
    let budget = RetryBudget::new(10, 0.1).unwrap();
    let coordinator = coordinator(&registry).budget(budget).build().unwrap();
    let driver = peers.drive(&coordinator);
    answer(&registry, 0..10);
    registry.set_link_up(false);
    peers.tell_all(Answer::Fails(network().into()));
    request(&driver, 0..10);
    pass(60 * SECOND).await;
    assert_eq!(coordinator.budget().milli_tokens(), 10_000);
    let waiting = driver.waiting();
    assert_eq!(waiting.len(), 10);
    assert!(waiting.iter().all(|waiting| waiting.reason == WaitReason::Local), "{waiting:?}");
}

/// A call that began before the return and fails after it counts against nobody either, however late.
#[tokio::test(start_paused = true)]
async fn a_call_that_began_in_the_outage_does_not_count_after_it() {
    let (registry, peers) = (registry(touchy()), Peers::new());
    let deadline = Duration::from_secs(50);
    let driver = peers.drive(&coordinator(&registry).attempt_deadline(deadline).build().unwrap());
    peers.tell(7, [Answer::Hangs]);
    request(&driver, [7]);
    pass(SECOND).await;
    registry.set_link_up(false);
    registry.set_link_up(true);
    pass(48 * SECOND).await;
    assert_eq!(driver.stats().running, 1, "it was begun before the outage");
    pass(2 * SECOND).await;
    assert_eq!(registry.status(&7), Status::Closed);
    assert_eq!(driver.stats().succeeded, 1, "it is called again at once");
}

/// A first call that was begun in the outage is aborted at the return, and made again; one since is left alone,
/// whatever the calls before it.
#[tokio::test(start_paused = true)]
async fn what_was_begun_in_the_outage_is_begun_again_and_nothing_else() {
    let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
    let deadline = Duration::from_secs(50);
    let driver = peers.drive(&coordinator(&registry).attempt_deadline(deadline).build().unwrap());
    registry.set_link_up(false);
    peers.tell(7, [Answer::Hangs]);
    request(&driver, [7]);
    pass(SECOND).await;
    peers.tell_all(Answer::Takes(40 * SECOND));
    registry.set_link_up(true);
    pass(SECOND).await;
    assert_eq!(peers.calls().len(), 2, "it is made again at once");
    registry.set_link_up(false);
    registry.set_link_up(true);
    pass(40 * SECOND).await;
    assert_eq!((peers.calls().len(), driver.stats().succeeded), (2, 1));
}

/// The pauses of an outage are its own: a peer that needs a while to find the way again is served soon after it.
#[tokio::test(start_paused = true)]
async fn a_peer_that_comes_back_after_our_link_is_served_soon() {
    let (registry, peers) = (registry(HealthConfig::default()), Peers::new());
    let driver = peers.drive(&coordinator(&registry).build().unwrap());
    registry.set_link_up(false);
    peers.tell_all(Answer::Fails(network().into()));
    request(&driver, HEALTHY);
    pass(120 * SECOND).await;
    registry.set_link_up(true);
    pass(2 * SECOND).await;
    assert_eq!(driver.stats().succeeded, 0);
    peers.tell_all(Answer::Takes(ms(100)));
    pass(3 * SECOND).await;
    assert_eq!(driver.stats().succeeded, 15);
}
