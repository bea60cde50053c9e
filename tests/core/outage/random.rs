//! The limit on open circuits, whatever is done to the peers: by threads at once, and in random orders.

use peer_health::Snapshot;
use proptest::prelude::*;

use super::*;

#[test]
fn threads_that_all_fail_at_once_open_no_more_than_allowed() {
    const PEERS: u32 = 64;
    for round in 0..200 {
        let node = Node::of(PEERS, config());
        let barrier = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (node, barrier) = (&node, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    for peer in (1..=PEERS).filter(|peer| peer % 8 == thread) {
                        node.fail(peer);
                        if peer % 16 == round % 16 {
                            node.registry.remove(&peer);
                            node.succeed(peer);
                        }
                        assert!(node.open() <= 32);
                    }
                });
            }
        });
        node.hand.advance(SECOND);
        for peer in (1..=PEERS).filter(|peer| node.registry.status(peer) == Status::Closed) {
            node.fail(peer);
        }
        assert_eq!(node.open(), 32, "what could be spared was spared for a second at most");
    }
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Succeed,
    Fail,
    Report,
    Reset,
    Remove,
    ForceOpen,
    Disable,
    EndWait,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// At each trip the circuits of those who ever answered are counted as anyone can see them. More
    /// are opened only if somebody has answered since one was held back.
    #[test]
    fn a_circuit_opens_if_and_only_if_it_leaves_no_more_open_than_allowed(
        percent in 1u32..=100,
        min_peers in 1u32..6,
        max_peers in prop_oneof![Just(8usize), Just(1000)],
        acts in prop::collection::vec((0u32..8, prop_oneof![
            2 => Just(Act::Succeed), 6 => Just(Act::Fail), 2 => Just(Act::Report),
            1 => Just(Act::Reset), 1 => Just(Act::Remove), 1 => Just(Act::ForceOpen),
            1 => Just(Act::Disable), 2 => Just(Act::EndWait),
        ]), 1..80),
    ) {
        let node = Node::new(config()
            .with_failure_threshold(2)
            .with_streak_gap(None)
            .with_max_peers(max_peers)
            .with_outage_max_open_percent(percent)
            .with_outage_min_peers(min_peers));
        let handler = ErrorHandler::with_registry(node.registry.clone());
        let (mut held, mut online) = (false, false);
        let answered = |seen: &Snapshot| seen.totals.succeeded > 0;
        for (peer, act) in acts {
            node.hand.advance(SECOND);
            match act {
                Act::Succeed => {
                    let success = node.registry.acquire(&peer).map(|call| call.success());
                    online |= held && success.is_ok();
                }
                Act::Reset => {
 let _ = node.registry.reset(&peer); }
                Act::Remove => {
 let _ = node.registry.remove(&peer); }
                Act::ForceOpen => node.registry.force_open(&peer).unwrap(),
                Act::Disable => node.registry.disable(&peer).unwrap(),
                Act::EndWait => {
 let _ = node.registry.end_wait(&peer); }
                Act::Fail | Act::Report => {
                    let before = node.registry.snapshot(&peer);
                    let opened = match act {
                        Act::Report => handler.handle_error(&peer, network()).is_err(),
                        _ => node.registry.acquire(&peer).is_ok_and(|call| {
                            matches!(call.failure(network()), Recorded::Opened { .. })
                        }),
                    };
                    let trips = |s: &Snapshot| s.status == Status::Closed && s.consecutive_failures >= 1;
                    if let Some(before) = before.filter(trips) {
                        let (mut used, mut open) = (0, 0);
                        node.registry.for_each(|_, seen| {
                            let tripped = matches!(seen.status, Status::Open | Status::HalfOpen);
                            used += usize::from(answered(&seen));
                            open += usize::from(answered(&seen) && tripped);
                        });
                        let would = open + usize::from(!opened);
                        let allowed = !answered(&before)
                            || used < min_peers as usize
                            || would * 100 <= used * percent as usize;
                        held |= !opened;
                        prop_assert!(opened || !allowed, "{} of {}", would, used);
                        prop_assert!(!opened || allowed || online, "{} of {}", would, used);
                    }
                }
            }
            prop_assert!(!node.registry.local_outage() || percent < 100);
        }
        for (n, (_, kind)) in node.outages().into_iter().enumerate() {
            let expected = [EventKind::LocalOutage, EventKind::LocalRecovered][n % 2];
            prop_assert_eq!(kind, expected, "they take turns");
        }
    }
}
