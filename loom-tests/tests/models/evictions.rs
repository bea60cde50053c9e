//! The bound of the table of peers (R26): evictions, sweeps and newcomers, racing with calls.

use std::time::Duration;

use crate::stage::{both, config, three, two, two_bounded};
use crate::town::{Town, acquire, fail};

/// R26: the table is full of a peer whose last call ends in failure while a newcomer comes: the failure is
/// not forgotten.
#[test]
fn r26_an_eviction_loses_no_failure() {
    two([140, 1358], || {
        let town = Town::small(1);
        let permit = acquire(&town.registry, 1);
        let registry = town.registry.clone();
        let (_, newcomer) = both(move || fail(permit), || acquire(&registry, 2));
        assert!(!newcomer.is_tracked(), "there was no moment at which the first peer might go");
        assert_eq!((town.streak(1), town.streak(2)), (Some(1), None));
        newcomer.success();
        town.finish(2);
    });
}

/// R26: the table is full of a clean peer that is called while a newcomer comes: the newcomer gets its
/// capacity and the call goes untracked, or the other way round.
#[test]
fn r26_an_eviction_takes_no_peer_that_is_called() {
    two([409, 1115], || {
        let town = Town::small(1);
        acquire(&town.registry, 1).success();
        let registry = town.registry.clone();
        let (one, two) = both(move || acquire(&registry, 1), || acquire(&town.registry, 2));
        assert_eq!(town.registry.len(), 1);
        for (peer, permit) in [(1, one), (2, two)] {
            let tracked = permit.is_tracked();
            fail(permit);
            assert!(!tracked || town.streak(peer) == Some(1), "a tracked failure is forgotten");
        }
        town.finish(3);
    });
}

/// R26: two newcomers ask for the capacity of one.
#[test]
fn r26_one_place_is_taken_once() {
    two([2137, 51069], || {
        let town = Town::small(1);
        let registry = town.registry.clone();
        let (x, y) = both(move || registry.entry(&1), || town.registry.entry(&2));
        assert!(x.is_some() != y.is_some(), "one has the place, the other has not");
        assert_eq!((town.registry.len(), town.registry.totals().untracked), (1, 1));
        drop((x, y));
        town.finish(0);
    });
}

/// R26, R29: generations go on after an eviction too.
#[test]
fn r26_generations_go_on_after_an_eviction() {
    two([311, 570], || {
        let town = Town::small(1);
        town.registry.force_open(&1).unwrap();
        assert!(town.registry.reset(&1));
        let registry = town.registry.clone();
        let (two, one) = both(move || acquire(&registry, 2), || acquire(&town.registry, 1));
        two.success();
        one.success();
        // Whichever peer has the capacity now: the first is known again, and opens.
        let first = acquire(&town.registry, 1);
        for _ in 1..=3 {
            fail(acquire(&town.registry, 1));
        }
        drop(first);
        town.finish(6);
    });
}

/// R26: a sweep forgets an idle peer, or sees that it is used.
#[test]
fn r26_a_sweep_loses_no_failure() {
    two([618, 762], || {
        let idle = Duration::from_nanos(10);
        let town = Town::new(config(3, 1).with_idle_timeout(idle));
        acquire(&town.registry, 1).success();
        town.registry.sweep();
        town.clock.advance(idle);
        let registry = town.registry.clone();
        let (gone, permit) = both(move || registry.sweep(), || acquire(&town.registry, 1));
        fail(permit);
        assert!(gone <= 1);
        assert_eq!(town.streak(1), Some(1));
        town.finish(2);
    });
}

/// R26: a use that has begun before a sweep and ends after it hides no use since that sweep: no sweep sees
/// idleness early.
#[test]
fn r26_a_use_since_a_sweep_is_not_undone_by_an_earlier_one() {
    two([57, 58], || {
        let idle = Duration::from_nanos(10);
        let town = Town::new(config(3, 1).with_idle_timeout(idle));
        let entry = town.registry.entry(&1).unwrap();
        assert!(town.registry.entry(&2).is_some(), "a later use than that of the first");
        let registry = town.registry.clone();
        both(
            move || {
                registry.sweep();
                drop(registry.entry(&1));
            },
            || entry.record_use_now(),
        );
        drop(entry);
        town.clock.advance(idle);
        assert_eq!(town.registry.sweep(), 1, "the other one");
        assert!(town.registry.contains(&1), "was used since the sweep before");
        town.finish(0);
    });
}

/// R26, R27: a peer is removed while it is evicted: its capacity is free once.
#[test]
fn r26_a_peer_that_is_removed_while_it_is_evicted_gives_one_place() {
    two_bounded([1320, 884], || {
        let town = Town::small(1);
        acquire(&town.registry, 1).success();
        let registry = town.registry.clone();
        both(move || registry.remove(&1), || drop(town.registry.entry(&3)));
        let totals = town.registry.totals();
        let gone = totals.removed + totals.evicted + totals.untracked;
        assert_eq!(gone + town.registry.len() as u64, 2);
        town.finish(1);
    });
}

/// R26 with three threads: three newcomers ask for the capacity of one.
#[test]
fn r26_three_newcomers_take_one_place() {
    three([15318, 20355], || {
        let town = Town::small(1);
        let [a, b] = [town.registry.clone(), town.registry.clone()];
        let (x, (y, z)) =
            both(move || a.entry(&1), || both(move || b.entry(&2), || town.registry.entry(&3)));
        assert_eq!([&x, &y, &z].into_iter().flatten().count(), 1);
        assert_eq!(town.registry.len(), 1);
        drop((x, y, z));
        town.finish(0);
    });
}
