//! The table of peers (R27): removals and lookups, racing with calls, and what the registry shows and tells
//! meanwhile. The registry is the library's; its shards are those of `map`.

use std::sync::Mutex;

use crate::circuit::{Outcome, Reported};
use crate::error::SyncError;
use crate::event::EventKind;
use crate::outcome::{Recorded, Status};
use crate::stage::{both, config, failure, two, two_bounded};
use crate::sync::Arc;
use crate::town::{Town, acquire, fail};

/// R27: two lookups of a new peer find the same tracker.
#[test]
fn r27_two_lookups_make_one_tracker() {
    two_bounded([770, 3674], || {
        let town = Town::small(4);
        let registry = town.registry.clone();
        let (x, y) = both(move || registry.entry(&1).unwrap(), || town.registry.entry(&1).unwrap());
        assert!(Arc::ptr_eq(&x, &y));
        assert_eq!(town.registry.len(), 1);
        drop((x, y));
        town.finish(0);
    });
}

/// R27: a peer is removed while a call to it fails, and is looked up again: the new tracker is clean, and
/// the failure acts on the old one or not at all.
#[test]
fn r27_nothing_is_recorded_on_a_tracker_that_was_removed() {
    two_bounded([2208, 3638], || {
        let town = Town::new(config(1, 1));
        let permit = acquire(&town.registry, 1);
        let registry = town.registry.clone();
        let (again, recorded) = both(
            move || {
                assert!(registry.remove(&1));
                acquire(&registry, 1)
            },
            || fail(permit),
        );
        assert!(matches!(recorded, Recorded::Opened { .. } | Recorded::Late));
        assert_eq!(again.success(), Recorded::Counted, "the new tracker is clean");
        assert_eq!((town.registry.status(&1), town.registry.len()), (Status::Closed, 1));
        assert_eq!(town.registry.totals().removed, 1);
        town.finish(2);
    });
}

/// R27: no thread finds a peer that comes back while it is removed on its old tracker, and its new one's
/// generations begin where those of the old one ended.
#[test]
fn r27_generations_go_on_after_a_removal() {
    two([82, 3630], || {
        let town = Town::new(config(1, 1));
        town.registry.force_open(&1).unwrap();
        assert!(town.registry.reset(&1));
        let registry = town.registry.clone();
        let (_, permit) = both(move || registry.remove(&1), || acquire(&town.registry, 1));
        // The failure opens the new tracker, or comes too late for the old one.
        fail(permit);
        let again = town.registry.acquire(&1).map(fail).is_ok();
        town.finish(1 + u64::from(again));
    });
}

/// R27, R29: so they do for a thread that has looked for the peer before it was known; and its report counts
/// if it found the tracker that there is now.
#[test]
fn r27_generations_go_on_for_a_newcomer() {
    two_bounded([22550, 23465], || {
        let town = Town::new(config(1, 1));
        let registry = town.registry.clone();
        let (_, permit) = both(
            move || {
                registry.force_open(&1).unwrap();
                registry.remove(&1);
            },
            || town.registry.acquire(&1),
        );
        let recorded = permit.map(fail);
        if let Ok(recorded) = &recorded {
            let opened = matches!(recorded, Recorded::Opened { .. });
            assert_eq!(opened, town.registry.contains(&1));
        }
        town.finish(recorded.is_ok().into());
    });
}

/// R27: a ban is not lost: `force_open` lasts, unless the peer is removed after it.
#[test]
fn r27_a_ban_is_on_the_tracker_that_others_find() {
    two_bounded([2978, 2783], || {
        let town = Town::new(config(1, 1));
        acquire(&town.registry, 1).success();
        let registry = town.registry.clone();
        both(move || registry.remove(&1), || town.registry.force_open(&1).unwrap());
        let forced = town.registry.status(&1) == Status::ForcedOpen;
        assert_eq!(forced, town.registry.len() == 1, "banned, or removed after that");
        let [ban, removal] = [EventKind::Overridden(Status::ForcedOpen), EventKind::Removed]
            .map(|kind| town.told(kind)[..].try_into().map(|[generation]: [u64; 1]| generation));
        assert_eq!(forced, ban.unwrap() > removal.unwrap(), "each was done once, in an order");
        town.finish(1);
    });
}

/// R27: a handle whose peer is removed looks it up again.
#[test]
fn r27_a_handle_finds_the_new_tracker() {
    two_bounded([230, 270], || {
        let town = Town::new(config(9, 1));
        let mut handle = town.registry.peer(&1);
        let registry = town.registry.clone();
        let (_, recorded) = both(
            move || registry.remove(&1),
            || {
                let permit = handle.acquire().unwrap();
                assert!(permit.is_tracked(), "there is room");
                permit.failure(SyncError::State(String::new()))
            },
        );
        match recorded {
            // The outcome acts on the old tracker, before its end, or on the new one.
            Recorded::Counted => assert!(matches!(town.streak(1), None | Some(1))),
            other => {
                assert_eq!(other, Recorded::Late);
                assert_eq!(town.streak(1), None);
            }
        }
        drop(handle);
        town.finish(1);
    });
}

/// R27: a report that meets a tracker which is being removed is not lost with it.
#[test]
fn r27_a_report_beside_a_removal_is_counted_once() {
    two_bounded([565, 626], || {
        let town = Town::new(config(3, 1));
        acquire(&town.registry, 1).success();
        let registry = town.registry.clone();
        let report = || town.registry.report(&1, Outcome::Failure, Some(&failure()));
        let (removed, (reply, attempt)) = both(move || registry.remove(&1), report);
        assert!(removed);
        // The report acts before the removal, or on the peer that is known anew: never on one that is gone.
        assert!(matches!(reply, Reported::Recorded(Recorded::Counted)), "{reply:?}");
        assert_eq!(attempt, 1);
        assert_eq!(town.registry.totals().all.reported_errors, 1);
        town.finish(1);
    });
}

/// P11 for what the registry shows: a snapshot is one state.
#[test]
fn p11_what_the_registry_shows_is_one_state() {
    two([192, 688], || {
        let town = Town::new(config(1, 1));
        let permit = acquire(&town.registry, 1);
        let registry = town.registry.clone();
        let (shown, _) = both(move || registry.snapshot(&1).unwrap(), || fail(permit));
        let open = shown.status == Status::Open;
        assert_eq!(
            (shown.generation, shown.consecutive_failures),
            (u64::from(open), u32::from(open))
        );
        assert_eq!((shown.open_for.is_some(), shown.retry_attempt), (open, u32::from(open)));
        // Counts outside the circuit may come a moment later.
        let shown = town.registry.snapshot(&1).unwrap();
        assert!(shown.last_error.is_some());
        assert_eq!((shown.errors, shown.totals.opened), (1, 1));
        town.finish(1);
    });
}

/// R26, R27: a peer is removed while it becomes known: if it is gone no part of the table holds it, and if
/// it stays the map and the ring do.
#[test]
fn r27_nothing_holds_a_peer_that_was_removed_while_it_came() {
    two([301, 194], || {
        let town = Town::small(4);
        let registry = town.registry.clone();
        let (entry, removed) =
            both(move || registry.entry(&1).unwrap(), || town.registry.remove(&1));
        assert_eq!(removed, !town.registry.contains(&1));
        assert_eq!(Arc::strong_count(&entry), if removed { 1 } else { 3 });
        drop(entry);
        town.finish(0);
    });
}

/// R29: a listener that is added, and then looks, hears of a transition or finds it made.
#[test]
fn r29_who_listens_and_then_looks_misses_nothing() {
    two([3020, 7829], || {
        let town = Town::new(config(3, 1));
        town.registry.acquire(&1).unwrap().success();
        let banning = town.registry.clone();
        let told = std::sync::Arc::new(Mutex::new(0));
        let log = told.clone();
        let ((), (listening, found)) = both(
            move || banning.force_open(&1).unwrap(),
            || {
                let listening = town.registry.listen(move |_| *log.lock().unwrap() += 1);
                (listening, town.registry.status(&1) == Status::ForcedOpen)
            },
        );
        assert!(found || *told.lock().unwrap() == 1, "neither told nor found");
        drop(listening);
        town.finish(1);
    });
}

/// R27: an entry that has taken the place of another in the ring leaves the ring when its peer is
/// removed, and no other does.
#[test]
fn r27_who_took_the_place_of_another_leaves_when_removed() {
    two_bounded([537, 663], || {
        let town = Town::small(4);
        let entries = [1, 2, 3, 4].map(|peer| town.registry.entry(&peer).unwrap());
        let registry = town.registry.clone();
        both(move || registry.remove(&1), || town.registry.remove(&2));
        let holders = || entries.each_ref().map(Arc::strong_count);
        assert_eq!(holders(), [1, 1, 3, 3]);
        town.registry.remove(&4);
        assert_eq!(holders(), [1, 1, 3, 1]);
        drop(entries);
        town.finish(0);
    });
}
