//! A suspend: the registry's clock has counted it, and tokio's has not (D9).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use peer_health::{Clock, HealthConfig, HealthRegistry, Status, SyncCoordinator, WaitReason};

use crate::peers::{Answer, Peers, coordinator, fails, ms, pass, request, touchy};
use crate::support::{SECOND, network};

const MINUTE: Duration = Duration::from_secs(60);
const NIGHT: Duration = Duration::from_secs(8 * 3600);

/// A node whose system sleeps: its registry goes by a clock that counts that, as `Clock::boottime` does.
struct Node {
    registry: HealthRegistry<u32>,
    coordinator: SyncCoordinator<u32>,
    peers: Peers,
    slept: Arc<AtomicU64>,
}

impl Node {
    fn new(config: HealthConfig) -> Self {
        let slept = Arc::new(AtomicU64::new(0));
        let (start, told) = (tokio::time::Instant::now(), Arc::clone(&slept));
        let clock = Clock::from_fn(move || {
            start.elapsed() + Duration::from_millis(told.load(Ordering::Relaxed))
        });
        let registry = HealthRegistry::builder().config(config).clock(clock).build().unwrap();
        let coordinator = coordinator(&registry).build().unwrap();
        Self { registry, coordinator, peers: Peers::new(), slept }
    }

    fn sleeps(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap();
        self.slept.fetch_add(millis, Ordering::Relaxed);
    }

    /// How often this peer was called.
    fn calls(&self, peer: u32) -> usize {
        self.peers.times(peer).len()
    }
}

#[tokio::test(start_paused = true)]
async fn d09_waits_that_a_suspend_ended_are_over_within_a_minute_of_waking() {
    let node = Node::new(touchy().with_open_timeout(5 * MINUTE));
    let driver = node.peers.drive(&node.coordinator);
    (0..30).for_each(|peer| node.peers.tell(peer, fails(1)));
    request(&driver, 0..30);
    pass(MINUTE + SECOND).await;
    assert!(driver.waiting().iter().all(|waits| waits.reason == WaitReason::Circuit));
    assert_eq!(node.peers.calls().len(), 30);

    node.sleeps(NIGHT);
    pass(MINUTE).await;
    assert_eq!(node.peers.calls().len(), 60, "each was called once more");
    assert!((0..30).all(|peer| node.registry.status(&peer) == Status::Closed));
    assert_eq!(driver.stats().waiting, 0);
}

/// A `kick_all` need not wait for the look.
#[tokio::test(start_paused = true)]
async fn d09_a_node_that_is_told_of_its_waking_calls_at_once() {
    let node = Node::new(touchy().with_open_timeout(5 * MINUTE));
    let driver = node.peers.drive(&node.coordinator);
    node.peers.tell(7, fails(1));
    request(&driver, [7]);
    pass(SECOND).await;
    node.sleeps(NIGHT);
    driver.kick_all();
    pass(ms(10)).await;
    assert_eq!(node.calls(7), 2);
}

#[tokio::test(start_paused = true)]
async fn d09_a_suspend_that_ends_no_wait_makes_no_call() {
    let node = Node::new(touchy().with_open_timeout(20 * NIGHT).with_open_max(20 * NIGHT));
    let driver = node.peers.drive(&node.coordinator);
    node.peers.tell(7, fails(1));
    request(&driver, [7]);
    pass(SECOND).await;
    for night in 1..=3 {
        node.sleeps(NIGHT);
        pass(2 * MINUTE).await;
        assert_eq!(node.calls(7), 1, "after night {night}");
    }
}

/// A call that began before the suspend and ends after it took the time that this node was awake.
#[tokio::test(start_paused = true)]
async fn d09_a_latency_has_no_suspend_in_it() {
    let node = Node::new(HealthConfig::default());
    let driver = node.peers.drive(&node.coordinator);
    node.peers.tell(7, [Answer::Takes(3 * SECOND)]);
    request(&driver, [7]);
    pass(SECOND).await;
    node.sleeps(NIGHT);
    pass(3 * SECOND).await;
    let seen = node.registry.snapshot(&7).unwrap();
    assert_eq!(seen.totals.succeeded, 1);
    assert_eq!(seen.latency, Some(3 * SECOND));
}

/// The lease goes by the registry's clock: after a night the probe's outcome counts no more, its slot is
/// free, and the driver brings the circuit to its end by another (R5, D10).
#[tokio::test(start_paused = true)]
async fn d09_a_probe_that_a_suspend_outlasted_is_late_and_the_next_one_decides() {
    let node = Node::new(touchy());
    let driver = node.peers.drive(&node.coordinator);
    node.peers.tell(7, fails(1).chain([Answer::Takes(3 * SECOND)]));
    request(&driver, [7]);
    while node.calls(7) < 2 {
        pass(ms(100)).await;
    }
    assert_eq!(node.registry.status(&7), Status::HalfOpen, "its probe is out");
    node.sleeps(NIGHT);
    pass(4 * SECOND).await;
    assert_eq!(node.registry.snapshot(&7).unwrap().totals.late, 1);
    pass(MINUTE).await;
    assert_eq!((node.calls(7), node.registry.status(&7)), (3, Status::Closed));
}

/// A night is longer than `forget_after`: the first sweep after it forgets healthy peers that were idle, and
/// trouble whose wait has been over for that long. A ban stays, and so does a wait that goes on.
#[tokio::test(start_paused = true)]
async fn a_night_is_a_clean_slate_but_for_bans_and_waits_that_go_on() {
    let node = Node::new(HealthConfig::default().with_failure_threshold(2));
    for peer in 0..30 {
        let permit = || node.registry.acquire(&peer).unwrap();
        permit().success();
        // Ten healthy peers, ten with a streak, ten with an open circuit.
        for _ in 0..peer / 10 {
            permit().failure(network());
        }
    }
    assert_eq!(node.registry.status(&20), Status::Open);
    node.registry.force_open(&30).unwrap();
    node.registry.force_open_for(&31, 2 * NIGHT).unwrap();
    assert_eq!(node.registry.sweep(), 0, "before the night");
    node.sleeps(NIGHT);
    assert_eq!(node.registry.sweep(), 30);
    assert!(node.registry.contains(&30) && node.registry.contains(&31));
}

/// Tokens come back with the registry's time: a night fills the budget (D7).
#[tokio::test(start_paused = true)]
async fn d09_a_night_fills_the_budget() {
    let node = Node::new(HealthConfig::default().with_failure_threshold(100));
    let budget = node.coordinator.budget();
    let full = budget.milli_tokens();
    node.registry.acquire(&7).unwrap().success();
    node.peers.tell(7, fails(50));
    let peers = &node.peers;
    let _ = node.coordinator.sync(&7, |peer| peers.call(peer)).await;
    let spent = budget.milli_tokens();
    assert!(spent < full, "{spent}");
    node.sleeps(NIGHT);
    assert_eq!(budget.milli_tokens(), full);
}

#[cfg(feature = "tracing")]
mod warned {
    use super::*;
    use crate::support::log::{Lines, logged_to};

    /// Runs a driver that has something to wait for, with these steps of the registry's clock ahead of
    /// tokio's, two minutes after each other; returns what was logged of the clocks.
    fn logged(steps: &[Duration]) -> Vec<(&'static str, String)> {
        let lines = Lines::default();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        logged_to(lines.clone(), || {
            runtime.block_on(async {
                let node =
                    Node::new(touchy().with_open_timeout(20 * NIGHT).with_open_max(20 * NIGHT));
                let driver = node.peers.drive(&node.coordinator);
                node.peers.tell(7, fails(1));
                request(&driver, [7]);
                pass(SECOND).await;
                for step in steps {
                    node.sleeps(*step);
                    pass(2 * MINUTE).await;
                }
            });
        });
        lines.take().into_iter().filter(|(_, line)| line.contains("run apart")).collect()
    }

    #[test]
    fn d09_clocks_more_than_a_minute_apart_are_warned_of_once() {
        let levels = |steps: &[Duration]| -> Vec<_> {
            logged(steps).into_iter().map(|(level, _)| level).collect()
        };
        assert_eq!(levels(&[Duration::ZERO, MINUTE]), [""; 0], "a minute is not more than one");
        assert_eq!(levels(&[MINUTE, ms(1)]), ["WARN"]);
        assert_eq!(levels(&[NIGHT, NIGHT, NIGHT]), ["WARN"]);
    }
}
