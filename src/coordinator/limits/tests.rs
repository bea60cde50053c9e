//! Who gets its slots, and what is remembered of peers.

use std::sync::mpsc::{Receiver, channel};

use super::*;
use PeerClass::{Healthy, Stranger};

fn limits(each: usize, budget: bool) -> Arc<Limits<u32>> {
    let budget = budget.then(|| RetryBudget::new(2, 0.5).unwrap());
    Arc::new(Limits { remembered: 8, ..Limits::new(64, each, budget) })
}

fn ask(limits: &Arc<Limits<u32>>, peer: u32, due: u64) -> (SlotRequest, Receiver<HeldSlots<u32>>) {
    let (given, slot) = channel();
    let give = move |slot| given.send(slot).unwrap_or_default();
    (limits.request(&peer, Healthy, Tick(due), give), slot)
}

fn taken(limits: &Arc<Limits<u32>>, peer: u32) -> HeldSlots<u32> {
    ask(limits, peer, 0).1.try_recv().unwrap()
}

fn shares(limits: &Limits<u32>) -> usize {
    limits.with(|state| state.shares.len())
}

#[test]
fn a_peer_has_so_many_slots_and_leaves_nothing_behind() {
    let limits = limits(2, false);
    let (one, two) = (taken(&limits, 7), taken(&limits, 7));
    let (asked, third) = ask(&limits, 7, 0);
    let (_, fourth) = ask(&limits, 7, 0);
    assert!(third.try_recv().is_err() && ask(&limits, 8, 0).1.try_recv().is_ok());
    assert!(limits.withdraw(&7, asked) && !limits.withdraw(&7, asked));
    drop(one);
    assert!(third.try_recv().is_err() && fourth.try_recv().is_ok());
    drop(two);
    assert_eq!(shares(&limits), 0);
}

#[test]
fn who_is_due_first_gets_the_next_place_and_who_gave_up_gets_none() {
    let limits = Arc::new(Limits::new(1, 1, None));
    let first = taken(&limits, 1);
    let (late, early) = (ask(&limits, 2, 9), ask(&limits, 3, 5));
    let (gave_up, nobody) = ask(&limits, 4, 1);
    assert!(limits.withdraw(&4, gave_up) && nobody.try_recv().is_err());
    drop(first);
    let second = early.1.try_recv().unwrap();
    assert!(late.1.try_recv().is_err() && *second.peer() == 3);
    drop(second);
    drop(late.1.try_recv().unwrap());
    assert_eq!(shares(&limits), 0);
}

#[test]
fn who_waits_for_a_peer_is_of_the_class_that_the_peer_is_by_then() {
    let limits = Arc::new(Limits::new(4, 1, None));
    limits.record_answer(&9, Tick(0), 8);
    let (given, slot) = channel();
    let give = |given: &std::sync::mpsc::Sender<HeldSlots<u32>>| {
        let given = given.clone();
        move |slot| given.send(slot).unwrap_or_default()
    };
    limits.request(&7, Stranger, Tick(0), give(&given));
    limits.request(&7, Stranger, Tick(0), give(&given));
    let mut first = slot.try_recv().unwrap();
    first.class_now = Some(Healthy);
    drop(first);
    assert_eq!(slot.try_recv().unwrap().class, Healthy);
    let standing = Standing { troubled: true, ..Standing::default() };
    assert_eq!(limits.class(&9, &standing), PeerClass::Troubled);
    assert_eq!(limits.class(&7, &standing), Stranger);
}

#[test]
fn a_budget_is_remembered_until_it_is_full_again() {
    let limits = limits(1, true);
    let slot = taken(&limits, 7);
    limits.budget(&7, RetryBudget::failed);
    drop(slot);
    assert_eq!(limits.budget(&7, RetryBudget::milli_tokens), Some(1000));
    let slot = taken(&limits, 7);
    limits.budget(&7, RetryBudget::succeeded);
    limits.budget(&7, RetryBudget::succeeded);
    drop(slot);
    assert_eq!(shares(&limits), 0);
    assert_eq!(limits.budget(&7, RetryBudget::is_full), None);
}

#[test]
fn no_more_peers_are_remembered_than_that_and_who_is_called_is_not_forgotten() {
    let limits = limits(1, true);
    let called = taken(&limits, 0);
    for (before, peer) in (1..100).enumerate() {
        for _ in 0..2 {
            let slot = taken(&limits, peer);
            limits.budget(&peer, RetryBudget::failed);
            drop(slot);
        }
        let (idle, all) = limits.with(|state| (state.idle, state.shares.len()));
        assert_eq!(idle, all - 1, "all but the one that is called");
        assert!(idle <= 8 && idle >= before.min(4), "half of them are forgotten");
        assert!(before >= 8 || idle == before + 1, "none before there are too many");
    }
    assert!(limits.with(|state| state.shares.contains_key(&0)));
    drop(called);
}
