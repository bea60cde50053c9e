//! What a schedule does with requests, news, removals and strangers.

use super::super::limits::Limits;
use super::super::slots::PeerClass;
use super::forget::Forgotten;
use super::*;
use crate::sync::Arc;

type Calls = Schedule<u8, &'static str>;

/// Takes who is due first, of whichever kind.
fn looked_at(schedule: &mut Calls, now: u64) -> Option<(u8, Attempt)> {
    let due = (0..KINDS).filter_map(|kind| Some((schedule.next(kind)?, kind))).min();
    let (_, kind) = due.filter(|((at, _), _)| at.0 <= now)?;
    schedule.take(kind)
}

/// When the first who answered, and whose last call did not fail for a reason of our own, is due.
fn first(schedule: &Calls) -> Option<Tick> {
    schedule.next(0).map(|(at, _)| at)
}

/// Takes who is due, and gives it a slot at once.
fn taken(schedule: &mut Calls, now: u64) -> Option<(u8, Attempt)> {
    let (peer, attempt) = looked_at(schedule, now)?;
    let begun = schedule.begin(&peer, attempt.number, false)?;
    assert_eq!(begun.number, attempt.number);
    Some((peer, attempt))
}

fn next(schedule: &mut Calls, now: u64) -> Option<u8> {
    taken(schedule, now).map(|(peer, _)| peer)
}

fn request(schedule: &mut Calls, peer: u8, now: u64) -> Requested {
    schedule.request(&peer, Tick(now), false)
}

fn stranger(schedule: &mut Calls, peer: u8) -> Requested {
    schedule.request(&peer, Tick(0), true)
}

fn retry(schedule: &mut Calls, peer: u8, attempt: Attempt, at: u64) {
    assert!(schedule.wait(&peer, attempt, Tick(at), WaitReason::Retry));
}

/// A request for slots.
fn slot_request() -> SlotRequest {
    let limits = Arc::new(Limits::<u8>::new(1, 1, None));
    limits.request(&0, PeerClass::Healthy, Tick(0), drop)
}

#[test]
fn requests_of_one_peer_become_one_call_and_one_more_while_it_runs() {
    let mut schedule = Calls::new();
    assert_eq!(request(&mut schedule, 7, 1), Requested::New);
    assert_eq!(request(&mut schedule, 7, 1), Requested::Known);
    assert_eq!(next(&mut schedule, 0), None);
    let (_, attempt) = taken(&mut schedule, 1).unwrap();
    assert_eq!(next(&mut schedule, 1), None, "it runs");
    assert_eq!(request(&mut schedule, 7, 2), Requested::New);
    assert_eq!(request(&mut schedule, 7, 2), Requested::Known);
    schedule.done(&7, attempt.after_failure(), Tick(3));
    let (peer, attempt) = taken(&mut schedule, 3).unwrap();
    assert_eq!(attempt.operation.attempts, 0, "it is another operation");
    schedule.done(&peer, attempt, Tick(4));
    assert_eq!((first(&schedule), schedule.count()), (None, (0, 0)));
    assert!(schedule.peers.is_empty(), "idle peers cost nothing");
}

#[test]
fn who_was_kicked_begins_anew_and_goes_first() {
    let mut schedule = Calls::new();
    for peer in [1, 2, 3] {
        request(&mut schedule, peer, 5);
    }
    let (one, attempt) = taken(&mut schedule, 5).unwrap();
    assert!(one == 1 && !schedule.kick(&1) && !schedule.kick(&4), "it runs; it is unknown");
    retry(&mut schedule, 1, attempt.after_failure().after_failure(), 1000);
    assert!(schedule.kick(&1));
    let (peer, attempt) = taken(&mut schedule, 5).unwrap();
    assert_eq!((peer, attempt.operation.attempts, attempt.operation.push), (1, 0, Push::Kick));
    let rest =
        [attempt.after_failure(), attempt.failed_locally(0), attempt.probed(), attempt.refused()];
    assert!(rest.iter().all(|attempt| attempt.operation.push == Push::None));
    assert_eq!((next(&mut schedule, 5), next(&mut schedule, 5)), (Some(2), Some(3)));
    assert_eq!(schedule.count(), (0, 3));
}

#[test]
fn good_news_passes_nobody_and_makes_nobody_later() {
    let mut schedule = Calls::new();
    for peer in [1, 2, 3] {
        request(&mut schedule, peer, 5);
    }
    schedule.note_reachable(&1, Tick(2000), false);
    schedule.note_reachable(&9, Tick(5), false);
    let order = [(); 4].map(|()| next(&mut schedule, 5));
    assert_eq!(order, [Some(2), Some(3), Some(1), Some(9)], "as if asked for now; no later");
}

#[test]
fn good_news_outlives_every_way_out_of_a_call_but_a_success() {
    let fails: [fn(&mut Calls, Attempt); 4] = [
        |schedule, attempt| {
            schedule.wait_after_push(&1, attempt.after_failure(), Push::News, Tick(9));
        },
        |schedule, attempt| {
            schedule.wait_after_push(&1, attempt.failed_locally(3), Push::News, Tick(9));
        },
        // Refused by the circuit, by the driver, or put back after a panic.
        |schedule, attempt| {
            schedule.wait(&1, attempt, Tick(1000), WaitReason::Circuit);
        },
        |schedule, attempt| {
            schedule.wait(&1, attempt.refused(), Tick(1000), WaitReason::Probes);
        },
    ];
    for fail in fails {
        let mut schedule = Calls::new();
        request(&mut schedule, 1, 0);
        let (_, attempt) = taken(&mut schedule, 0).unwrap();
        assert_eq!(schedule.push_since(&1, attempt), Some(Push::None));
        schedule.note_reachable(&1, Tick(5), false);
        assert_eq!(schedule.push_since(&1, attempt), Some(Push::News));
        fail(&mut schedule, attempt);
        let (_, again) = taken(&mut schedule, 9).unwrap();
        assert_eq!((again.operation.attempts, again.operation.push), (0, Push::News));
        assert_eq!(schedule.push_since(&1, attempt), None, "of an earlier call");
        schedule.note_reachable(&1, Tick(9), false);
        schedule.done(&1, again, Tick(9));
        assert_eq!(schedule.count(), (0, 0), "a success is news enough");
    }
}

#[test]
fn a_step_of_the_circuit_is_heeded_while_the_peer_waits_for_it_is_looked_at_or_asks() {
    let mut schedule = Calls::new();
    request(&mut schedule, 1, 0);
    // While it is looked at.
    let (_, attempt) = looked_at(&mut schedule, 0).unwrap();
    schedule.recheck(&1, Tick(1));
    schedule.wait(&1, attempt, Tick(1000), WaitReason::Circuit);
    assert_eq!(first(&schedule), Some(Tick(0)), "its turn is as it was");
    // While it waits for its circuit, and for nothing else.
    for (reason, at) in [
        (WaitReason::Circuit, 5),
        (WaitReason::Probes, 5),
        (WaitReason::Retry, 1000),
        (WaitReason::Session, 1000),
    ] {
        let (_, attempt) = looked_at(&mut schedule, 5000).unwrap();
        schedule.wait(&1, attempt, Tick(1000), reason);
        schedule.recheck(&1, Tick(5));
        assert_eq!(first(&schedule), Some(Tick(at)), "{reason:?}");
    }
}

/// D1, D4: who waits for a circuit is looked at in the order in which the circuits moved.
#[test]
fn peers_whose_circuits_move_at_one_time_keep_their_order_and_none_is_lost() {
    let mut schedule = Calls::new();
    (1..=3).for_each(|peer| _ = request(&mut schedule, peer, 0));
    let all_wait = |schedule: &mut Calls| {
        let looked_at = [(); 3].map(|()| looked_at(schedule, 5).unwrap());
        for (peer, attempt) in looked_at {
            schedule.wait(&peer, attempt, Tick(1000), WaitReason::Circuit);
        }
        assert_eq!(first(schedule), Some(Tick(1000)));
        looked_at.map(|(peer, _)| peer)
    };
    all_wait(&mut schedule);
    [3, 1, 2].iter().for_each(|peer| schedule.recheck(peer, Tick(5)));
    assert_eq!(all_wait(&mut schedule), [3, 1, 2]);
    // Nobody knows whose circuit has moved.
    schedule.recheck_all(Tick(5));
    let mut all = all_wait(&mut schedule);
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3]);
}

/// D2: which call was begun after the trouble began is told by its number.
#[test]
fn attempts_are_numbered_in_the_order_in_which_they_are_taken() {
    let mut schedule = Calls::new();
    (1..=2).for_each(|peer| _ = request(&mut schedule, peer, 0));
    let before = schedule.latest();
    let [first, second] = [(); 2].map(|()| looked_at(&mut schedule, 0).unwrap().1.number);
    assert!(before < first && first < second && second <= schedule.latest());
}

#[test]
fn what_is_told_of_an_earlier_attempt_is_not_taken_for_the_latest() {
    let mut schedule = Calls::new();
    request(&mut schedule, 1, 0);
    let (_, old) = looked_at(&mut schedule, 0).unwrap();
    schedule.wait(&1, old, Tick(0), WaitReason::Slot);
    let (_, new) = looked_at(&mut schedule, 0).unwrap();
    let what = slot_request();
    schedule.requested_slots(&1, old, what, false);
    assert_eq!(schedule.take_gone().1, [(1, what)]);
    schedule.done(&1, old, Tick(0));
    retry(&mut schedule, 1, old, 9);
    assert_eq!(schedule.begin(&1, new.number, false), Some(Attempt { number: new.number, ..old }));
    assert_eq!(schedule.attach(&1, old, "old"), Some("old"));
    assert_eq!(schedule.attach(&1, new, "new"), None);
    assert_eq!(schedule.forget(&1).unwrap().call, Some("new"));
    // It was forgotten, and is requested again: only the end of its call makes way for the next.
    assert_eq!(request(&mut schedule, 1, 1), Requested::New);
    retry(&mut schedule, 1, old, 5);
    assert_eq!(next(&mut schedule, 5), None);
    retry(&mut schedule, 1, new.after_failure(), 9);
    assert_eq!((next(&mut schedule, 8), next(&mut schedule, 9)), (None, Some(1)));
}

/// D3, D4: what is learnt of a peer in one place is not forgotten on the way to the next.
#[test]
fn what_is_learnt_of_a_peer_that_is_looked_at_or_called_holds_when_it_waits_again() {
    let mut schedule = Calls { room: 1, ..Calls::new() };
    schedule.note_reachable(&1, Tick(0), true);
    let (_, attempt) = looked_at(&mut schedule, 0).unwrap();
    assert_eq!(stranger(&mut schedule, 1), Requested::Known);
    schedule.wait(&1, attempt, Tick(9), WaitReason::Circuit);
    assert_eq!(stranger(&mut schedule, 2), Requested::NoRoom, "it was asked for");
    let (_, attempt) = looked_at(&mut schedule, 9).unwrap();
    schedule.requested_slots(&1, attempt, slot_request(), false);
    schedule.wait(&1, attempt, Tick(20), WaitReason::Circuit);
    assert_eq!(stranger(&mut schedule, 2), Requested::New, "the other has answered");

    let mut schedule = Calls { room: 1, ..Calls::new() };
    schedule.note_reachable(&1, Tick(0), true);
    let (_, attempt) = taken(&mut schedule, 0).unwrap();
    assert_eq!(stranger(&mut schedule, 1), Requested::New, "it is to be called once more");
    schedule.done(&1, attempt.ended(), Tick(1));
    assert_eq!(stranger(&mut schedule, 2), Requested::NoRoom, "it was asked for");
}

/// D8: a peer that the driver looks at in the midst of a wake-up may be probed, once.
#[test]
fn who_is_kicked_while_it_is_looked_at_is_looked_at_once_more_as_one_that_was_kicked() {
    let mut schedule = Calls::new();
    request(&mut schedule, 1, 0);
    for push in [Push::None, Push::Kick, Push::None] {
        let (_, attempt) = looked_at(&mut schedule, 5).unwrap();
        assert_eq!(attempt.operation.push, push);
        if attempt.due == Tick(0) && push == Push::None {
            schedule.kick_all(Tick(3), |_| 0);
        }
        schedule.wait(&1, attempt.refused(), Tick(4), WaitReason::Circuit);
    }
}

#[test]
fn who_asks_in_vain_is_told_where_to_take_it_back() {
    let mut schedule = Calls::new();
    let what = slot_request();
    let asks = |schedule: &mut Calls| {
        request(schedule, 1, 0);
        let (peer, attempt) = looked_at(schedule, 0).unwrap();
        schedule.requested_slots(&peer, attempt, what, false);
        attempt
    };
    let attempt = asks(&mut schedule);
    assert!(schedule.kick(&1));
    assert_eq!(schedule.take_gone().1, [(1, what)]);
    assert_eq!(schedule.begin(&1, attempt.number, false), None, "it has another attempt by now");
    schedule.forget(&1);
    asks(&mut schedule);
    schedule.forget(&1);
    assert_eq!(schedule.take_gone().1, [(1, what)]);
    schedule.requested_slots(&1, attempt, what, false);
    assert_eq!(schedule.take_gone().1, [(1, what)], "it was removed while it was looked at");
    asks(&mut schedule);
    schedule.clear();
    assert_eq!(schedule.take_gone().1, [(1, what)]);
    assert_eq!((schedule.count(), schedule.strangers), ((0, 0), 0));
}

#[test]
fn what_is_removed_is_gone_and_called_again_only_when_its_call_has_ended() {
    let mut schedule = Calls::new();
    request(&mut schedule, 1, 0);
    request(&mut schedule, 2, 0);
    let (_, old) = taken(&mut schedule, 0).unwrap();
    assert_eq!(schedule.attach(&1, old, "first"), None);
    let removed = schedule.forget(&1);
    assert_eq!(removed, Some(Forgotten { attempt: Some(old.number), call: Some("first") }));
    assert_eq!(schedule.forget(&1), None, "it is gone");
    assert_eq!(schedule.forget(&2), Some(Forgotten { attempt: None, call: None }));
    assert_eq!((schedule.forget(&3), schedule.count()), (None, (0, 0)));
    assert_eq!(schedule.attach(&1, old, "late"), Some("late"), "nobody can stop it by now");

    assert_eq!(request(&mut schedule, 1, 1), Requested::New);
    assert_eq!(next(&mut schedule, 9), None, "the old call still runs");
    assert!(schedule.forget(&1).is_some() && schedule.forget(&1).is_none());
    schedule.note_reachable(&1, Tick(2), false);
    schedule.done(&1, old, Tick(3));
    let (_, new) = taken(&mut schedule, 3).unwrap();
    schedule.done(&1, old, Tick(4));
    retry(&mut schedule, 1, old, 4);
    assert_eq!(schedule.count(), (0, 1), "the end of the old call ends nothing else");
    retry(&mut schedule, 1, new.after_failure(), 9);
    assert_eq!((next(&mut schedule, 8), next(&mut schedule, 9)), (None, Some(1)));
}

#[test]
fn local_failures_are_counted_apart_and_only_in_a_row() {
    let mut schedule = Calls::new();
    request(&mut schedule, 1, 0);
    let (_, attempt) = taken(&mut schedule, 0).unwrap();
    retry(&mut schedule, 1, attempt.after_failure().failed_locally(5).failed_locally(6), 1);
    assert!(schedule.next(0).is_none() && schedule.next(2).is_some(), "apart");
    let (_, attempt) = taken(&mut schedule, 1).unwrap();
    assert!((0..KINDS).all(|kind| schedule.next(kind).is_none()));
    let Operation { attempts, local, other_ends, .. } = attempt.operation;
    assert_eq!((attempts, local, other_ends), (1, 2, 6));
    assert_eq!(
        (attempt.after_failure().operation.attempts, attempt.after_failure().operation.local),
        (2, 0)
    );
    assert_eq!(attempt.ended().operation.local, 0);
}

#[test]
fn so_many_strangers_wait_and_requested_ones_displace_those_that_only_called() {
    let mut schedule = Calls { room: 3, ..Calls::new() };
    schedule.note_reachable(&1, Tick(0), true);
    schedule.note_reachable(&2, Tick(0), true);
    assert_eq!(stranger(&mut schedule, 3), Requested::New);
    schedule.note_reachable(&4, Tick(0), true);
    assert_eq!(schedule.count().0, 3, "no room for more of those");
    assert_eq!(stranger(&mut schedule, 1), Requested::Known, "it is asked for by now");
    assert_eq!(stranger(&mut schedule, 5), Requested::New, "in the place of 2");
    assert_eq!(stranger(&mut schedule, 6), Requested::NoRoom);
    assert_eq!(request(&mut schedule, 7, 0), Requested::New, "it is no stranger");
    let mut waiting: Vec<u8> = schedule.waiting().map(|(peer, ..)| *peer).collect();
    waiting.sort_unstable();
    assert_eq!((waiting, schedule.strangers), (vec![1, 3, 5, 7], 3));

    // A peer that turns out to be no stranger, or is called, leaves room.
    let (peer, attempt) = looked_at(&mut schedule, 0).unwrap();
    schedule.requested_slots(&peer, attempt, slot_request(), false);
    assert_eq!((peer, schedule.strangers), (1, 2));
    schedule.begin(&peer, attempt.number, false).unwrap();
    let (peer, attempt) = taken(&mut schedule, 0).unwrap();
    assert_eq!((peer, schedule.strangers), (3, 1));
    for other in [8, 9] {
        assert_eq!(stranger(&mut schedule, other), Requested::New);
    }
    let back = schedule.wait(&peer, attempt.after_failure(), Tick(9), WaitReason::Retry);
    assert!(!back && schedule.strangers == 3, "there is no room to come back to");
}

#[test]
fn all_who_wait_for_a_time_are_called_one_after_the_other_those_that_answered_first() {
    let mut schedule = Calls::new();
    assert_eq!(stranger(&mut schedule, 1), Requested::New);
    for peer in [2, 3, 4] {
        request(&mut schedule, peer, 0);
    }
    for _ in 0..3 {
        let (peer, attempt) = taken(&mut schedule, 0).unwrap();
        retry(&mut schedule, peer, attempt.after_failure(), 1000 - u64::from(peer));
    }
    let (four, attempt) = taken(&mut schedule, 0).unwrap();
    // It answered before, and failed for a reason of our own.
    request(&mut schedule, 6, 0);
    let (six, local) = taken(&mut schedule, 0).unwrap();
    retry(&mut schedule, six, local.failed_locally(0), 1000);
    request(&mut schedule, 5, 10);
    schedule.kick_all(Tick(10), |peers| 40 / peers as u64);
    let due = schedule.order.iter().flatten();
    let mut times: Vec<_> = due.map(|((at, number), peer)| (at.0, *number, *peer)).collect();
    times.sort_unstable();
    let times: Vec<_> = times.into_iter().map(|(at, _, peer)| (at, peer)).collect();
    assert_eq!(times, [(10, 5), (10, 3), (20, 2), (30, 6), (40, 1)]);
    assert_eq!(schedule.push_since(&four, attempt), Some(Push::Kick), "if it fails, again");
    schedule.note_reachable(&four, Tick(50), false);
    assert_eq!(schedule.push_since(&four, attempt), Some(Push::Kick));
    next(&mut schedule, 10);
    let (_, three) = taken(&mut schedule, 10).unwrap();
    assert_eq!((three.operation.push, three.operation.attempts), (Push::Kick, 0));
}

#[test]
fn all_can_be_forgotten_together() {
    let mut schedule = Calls::new();
    for peer in 0..4 {
        assert_eq!(stranger(&mut schedule, peer), Requested::New);
    }
    let (_, attempt) = taken(&mut schedule, 0).unwrap();
    schedule.clear();
    assert_eq!((schedule.count(), schedule.strangers), ((0, 0), 0));
    schedule.done(&0, attempt, Tick(0));
    assert!(schedule.peers.is_empty() && schedule.order.iter().all(BTreeMap::is_empty));
}
