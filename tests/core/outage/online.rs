//! Who answers proves that we are online; strangers prove nothing, and need no room.

use super::*;

/// Each answers, or fails until its circuit refuses: one round of calls, a second long.
fn round(node: &Node, healthy: std::ops::RangeInclusive<u32>, dead: std::ops::RangeInclusive<u32>) {
    node.hand.advance(SECOND);
    healthy.for_each(|peer| node.succeed(peer));
    for peer in dead {
        let _ = node.registry.acquire(&peer).map(|call| call.failure(network()));
    }
}

#[test]
fn the_dead_are_opened_while_others_answer_however_many_they_are() {
    let node = Node::of(100, config());
    let mut rounds = 0;
    while node.open() < 80 {
        round(&node, 1..=20, 21..=100);
        rounds += 1;
        assert!(rounds <= 4, "{} of 80 are open", node.open());
    }
    assert!(rounds > 1, "the first trips beyond half of all were held back");
    assert!(!node.registry.local_outage());
    let [began, ended] = node.outages()[..] else { panic!("{:?}", node.outages()) };
    assert_eq!((began.1, ended.1), (EventKind::LocalOutage, EventKind::LocalRecovered));
}

#[test]
fn when_those_who_answered_fall_silent_too_the_rest_stays_closed() {
    let node = Node::of(100, config().with_open_timeout(1000 * SECOND));
    (0..4).for_each(|_| round(&node, 1..=20, 21..=100));
    assert_eq!(node.open(), 80);
    // The cable is pulled. What was known holds until the next count, and not longer.
    node.hand.advance(10 * SECOND);
    (1..=2).for_each(|peer| _ = node.fail(peer));
    node.hand.advance(SECOND);
    let held = (3..=20).filter(|peer| !node.opens(*peer)).count();
    assert_eq!(held, 18, "nobody has answered since the last count");
    assert!(node.registry.local_outage());
}

#[test]
fn who_has_answered_within_a_second_proves_it_however_often_peers_are_counted_meanwhile() {
    for answers in [false, true] {
        let node = Node::of(8, config());
        let opened: Vec<_> = (1..=5).filter(|peer| node.opens(*peer)).collect();
        assert_eq!(opened, [1, 2, 3, 4]);
        // The next count begins the second.
        node.hand.advance(SECOND);
        assert!(!node.opens(5));
        if answers {
            node.succeed(8);
        }
        // Newcomers make the next trip count again, before the second is over.
        (1000..1010).for_each(|stranger| drop(node.registry.acquire(&stranger)));
        assert!(!node.opens(6));
        node.hand.advance(2 * SECOND);
        assert_eq!(node.opens(7), answers);
    }
}

#[test]
fn strangers_are_not_held_back_and_take_no_room() {
    let node = Node::of(10, config());
    for stranger in 1000..1200 {
        assert!(node.opens(stranger));
    }
    let opened: Vec<_> = (1..=10).filter(|peer| node.opens(*peer)).collect();
    assert_eq!(opened, [1, 2, 3, 4, 5], "half of those that ever answered");
}

#[test]
fn a_node_that_starts_offline_has_no_guard() {
    let node = Node::new(config());
    assert!((1..=100).all(|peer| node.opens(peer)));
    assert!(node.outages().is_empty() && !node.registry.local_outage());
}

#[test]
fn who_looks_at_all_peers_raises_nothing() {
    for peers in [6, 40] {
        let node = Node::of(peers, config().with_idle_timeout(60 * SECOND));
        let mut handles: Vec<_> = (1..=peers).map(|peer| node.registry.peer(&peer)).collect();
        for line in 1..=peers {
            let node = Node::of(peers, config());
            let calls: Vec<_> = (1..=peers).map(|peer| node.registry.acquire(&peer)).collect();
            let (mut calls, mut shown) = (Some(calls), 0);
            node.registry.for_each(|_, _| {
                shown += 1;
                if shown == line {
                    for call in calls.take().into_iter().flatten() {
                        call.unwrap().failure(network());
                    }
                }
            });
            assert_eq!(node.open(), peers as usize / 2, "at line {line} of {peers}");
        }
        // With handles, and called for so long that only the handles keep the peers in use.
        (0..3).for_each(|_| {
            node.registry.sweep();
            node.hand.advance(600 * SECOND);
        });
        let mut shown = 0;
        node.registry.for_each(|_, _| {
            shown += 1;
            if shown == peers {
                for handle in &mut handles {
                    handle.acquire().unwrap().failure(network());
                }
            }
        });
        assert_eq!(node.open(), peers as usize / 2, "{peers} by handle");
    }
}

#[test]
fn an_outage_is_over_once_and_when_there_is_room_for_all() {
    let node = Node::of(6, config());
    (1..=5).for_each(|peer| _ = node.fail(peer));
    assert_eq!(node.outages(), [(4, EventKind::LocalOutage)]);
    // Two circuits are closed by hand: there is room for the fourth and the fifth.
    assert!(node.registry.reset(&1) && node.registry.reset(&2));
    node.hand.advance(SECOND);
    assert!(node.opens(4));
    assert!(node.opens(5));
    assert_eq!(node.outages()[1..].len(), 1, "{:?}", node.outages());
    let [(peer, EventKind::LocalRecovered)] = node.outages()[1..] else { panic!("never over") };
    assert_eq!(peer, 4, "whose trip leaves room for the fifth");
}

#[test]
fn a_large_table_is_counted_in_steps_and_no_more_are_opened_than_allowed() {
    let node = Node::of(20_000, config().with_failure_threshold(3));
    let opened = (1..=3).map(|_| (1..=20_000).filter(|peer| node.opens(*peer)).count());
    assert_eq!(opened.sum::<usize>(), 10_000);
    assert!(node.registry.local_outage());
}

#[test]
fn what_an_idle_peer_answered_long_ago_is_no_news_when_it_fails() {
    let node =
        Node::of(20, config().with_idle_timeout(60 * SECOND).with_open_timeout(900 * SECOND));
    node.registry.sweep();
    node.hand.advance(60 * SECOND);
    // Ten are in use, and all fail; then the others are called again, and fail too.
    (1..=10).for_each(|peer| drop(node.registry.acquire(&peer)));
    assert_eq!((1..=10).filter(|peer| node.opens(*peer)).count(), 5);
    (0..3).for_each(|_| {
        node.hand.advance(SECOND);
        node.fail(10);
    });
    for peer in 11..=20 {
        node.hand.advance(SECOND);
        node.fail(peer);
    }
    assert_eq!(node.open(), 10, "half of those in use");
}
