//! Calls to a Closed peer: P1, P2, P3, and R8.

use std::time::Duration;

use crate::circuit::Outcome;
use crate::event::EventKind;
use crate::outcome::{Recorded, Status};
use crate::stage::{Peer, both, config, opened, three, two, two_bounded, two_narrowly};

/// P1: of the failures that reach the threshold exactly one opens the circuit; one generation more.
#[test]
fn p01_of_two_failures_one_opens() {
    two([14, 44], || {
        let peer = Peer::new(config(2, 1));
        let (a, b) = (peer.hand(), peer.hand());
        let (x, y) = (a.admitted(), b.admitted());
        let (x, y) = both(move || a.fail(x), || b.fail(y));
        assert_eq!([x, y].iter().filter(|r| opened(r)).count(), 1);
        assert_eq!([x, y].iter().filter(|r| **r == Recorded::Counted).count(), 1);
        let circuit = peer.circuit();
        assert_eq!(
            (circuit.status(), circuit.generation, circuit.health.run.streak),
            (Status::Open, 1, 2)
        );
        assert_eq!(peer.totals().opened, 1);
        peer.finish();
    });
}

/// P1, P2: with more failures than the threshold one opens, and those after it are late.
#[test]
fn p01_of_three_failures_one_opens_and_one_is_late() {
    three([3623, 1560], || {
        let peer = Peer::new(config(2, 1));
        let hands = [peer.hand(), peer.hand(), peer.hand()];
        let tickets = hands.each_ref().map(|hand| hand.admitted());
        let [a, b, c] = hands;
        let [x, y, z] = tickets;
        let (x, (y, z)) = both(move || a.fail(x), || both(move || b.fail(y), || c.fail(z)));
        let results = [x, y, z];
        assert_eq!(results.iter().filter(|r| opened(r)).count(), 1);
        assert_eq!(results.iter().filter(|r| **r == Recorded::Counted).count(), 1);
        assert_eq!(results.iter().filter(|r| **r == Recorded::Late).count(), 1);
        assert_eq!(peer.count(|turn| matches!(turn, EventKind::Opened { .. })), 1);
        assert_eq!((peer.circuit().generation, peer.totals().late), (1, 1));
        peer.finish();
    });
}

/// P2: whatever opens when, every failure is counted, has opened, or is late, and is in the totals.
#[test]
fn p02_no_failure_is_lost() {
    two_bounded([298, 471], || {
        let peer = Peer::new(config(2, 1));
        let (a, b) = (peer.hand(), peer.hand());
        let (x, y, z) = (a.admitted(), a.admitted(), b.admitted());
        let ((x, y), z) = both(move || (a.fail(x), a.fail(y)), || b.fail(z));
        let results = [x, y, z];
        assert_eq!(results.iter().filter(|r| **r == Recorded::Counted).count(), 1);
        assert_eq!(results.iter().filter(|r| opened(r)).count(), 1);
        assert_eq!(results.iter().filter(|r| **r == Recorded::Late).count(), 1);
        let totals = peer.totals();
        assert_eq!((totals.failed, totals.late, totals.opened), (2, 1, 1));
        peer.finish();
    });
}

/// P2, with three threads and room for all.
#[test]
fn p02_no_failure_of_three_threads_is_lost() {
    three([777, 692], || {
        let peer = Peer::new(config(4, 1));
        let [a, b, c] = [peer.hand(), peer.hand(), peer.hand()];
        let (x, y, z) = (a.admitted(), b.admitted(), c.admitted());
        both(move || a.fail(x), || both(move || b.fail(y), || c.fail(z)));
        assert_eq!((peer.circuit().health.run.streak, peer.totals().failed), (3, 3));
        assert_eq!(peer.errors(), 3);
        peer.finish();
    });
}

/// P2 for reports, which have no permit.
#[test]
fn p02_no_reported_failure_is_lost() {
    two_bounded([46, 111], || {
        let peer = Peer::new(config(3, 1));
        let (a, b) = (peer.hand(), peer.hand());
        let y = b.admitted();
        both(move || (a.report(Outcome::Failure), a.report(Outcome::Failure)), || b.fail(y));
        let totals = peer.totals();
        assert_eq!(totals.opened, 1, "the third opens, whoever brings it");
        assert_eq!((totals.failed + totals.late, totals.reported_errors), (1, 2));
        peer.finish();
    });
}

/// P3: a success clears the streak; if a failure races with it, one is left or none.
#[test]
fn p03_a_success_clears_the_streak() {
    two([14, 14], || {
        let peer = Peer::new(config(3, 1));
        let (a, b) = (peer.hand(), peer.hand());
        a.fail(a.admitted());
        let (x, y) = (a.admitted(), b.admitted());
        both(move || a.fail(x), || b.succeed(y));
        assert!(
            peer.circuit().health.run.streak <= 1,
            "two failures in a row are not what happened"
        );
        assert_eq!(peer.totals().succeeded, 1);
        peer.finish();
    });
}

/// P3: a thread that sees that a streak is over sees what came before the success that ended it: by a look
/// at the circuit, and by a failure that finds it so.
#[test]
fn p03_what_came_before_a_success_is_seen_with_it() {
    two([142, 502], || {
        let peer = Peer::new(config(3, 1));
        let (a, b) = (peer.hand(), peer.hand());
        a.fail(a.admitted());
        let (x, y) = (a.admitted(), b.admitted());
        let before = crate::sync::Arc::new(crate::sync::AtomicU64::new(0));
        let written = crate::sync::Arc::clone(&before);
        both(
            move || {
                written.store(1, crate::sync::Ordering::Relaxed);
                a.succeed(x)
            },
            || {
                let over = b.circuit().health.run.streak == 0;
                let seen = before.load(crate::sync::Ordering::Relaxed);
                assert!(!over || seen == 1, "the streak is over");
                b.fail(y);
                let begun = b.circuit().health.run.streak == 1;
                let seen = before.load(crate::sync::Ordering::Relaxed);
                assert!(!begun || seen == 1, "another has begun");
            },
        );
        peer.finish();
    });
}

/// P3, the word: a success that clears, a failure that replaces what was cleared, and a call that
/// finds the word silent in between: see `word`.
#[test]
fn p03_who_finds_the_word_silent_says_nothing_wrong() {
    three([178, 130], || {
        let peer = Peer::new(config(3, 1));
        let [a, b, c] = [peer.hand(), peer.hand(), peer.hand()];
        a.fail(a.admitted());
        let (x, y) = (a.admitted(), b.admitted());
        both(move || a.succeed(x), || both(move || b.fail(y), || c.admitted()));
        assert!(peer.circuit().health.run.streak <= 1);
        peer.finish();
    });
}

/// P3, with a failure on either side of the success: it never opens at a streak of three.
#[test]
fn p03_a_success_between_failures_is_seen() {
    two_bounded([58, 55], || {
        let peer = Peer::new(config(3, 1));
        let (a, b) = (peer.hand(), peer.hand());
        a.fail(a.admitted());
        let (w, x, y) = (a.admitted(), b.admitted(), b.admitted());
        // The failure of `a` and that of `b`, which has a success before it.
        both(move || a.fail(w), || (b.succeed(x), b.fail(y)));
        let streak = peer.circuit().health.run.streak;
        assert!(streak == 1 || streak == 2, "a streak of {streak}");
        assert_eq!(peer.circuit().status(), Status::Closed);
        peer.finish();
    });
}

/// P2, P3: the announcement of `is_circuit_open` (R14) loses no failure that comes at the same time.
#[test]
fn p02_an_announcement_loses_no_failure() {
    two([91, 180], || {
        let peer = Peer::new(config(3, 1).with_streak_gap(Duration::from_nanos(5)));
        let (a, b) = (peer.hand(), peer.hand_at(1));
        a.fail(a.admitted());
        let x = a.admitted();
        let (_, open) = both(move || a.fail(x), || b.is_open());
        assert!(!open);
        assert_eq!(peer.circuit().health.run.streak, 2);
        peer.finish();
    });
}

/// R14: a streak lasts from the latest of its failures, also where a thread that brought an earlier time was
/// counted after it.
#[test]
fn r14_a_streak_lasts_from_the_latest_of_its_failures() {
    two_narrowly([22035, 1479], || {
        let peer = Peer::new(config(9, 1).with_streak_gap(Duration::from_nanos(5)));
        let (a, b) = (peer.hand_at(10), peer.hand_at(6));
        let (x, y) = (a.admitted(), b.admitted());
        both(
            move || a.fail(x),
            || {
                b.fail(y);
                b.at(14);
                b.fail(b.admitted())
            },
        );
        // Where the failure at 10 comes last, that of the call that began at 14 has broken the streak.
        let streak = peer.circuit().health.run.streak;
        assert!(streak == 2 || streak == 3, "a streak of {streak}");
        peer.finish();
    });
}

/// R8: of two stated latencies at once none vanishes: the average has the one and then the other.
#[test]
fn r08_of_two_latencies_none_vanishes() {
    two([14, 134], || {
        let peer = Peer::new(config(3, 1));
        let (a, b) = (peer.hand(), peer.hand());
        a.succeed_within(a.admitted(), 8000);
        let (x, y) = (a.admitted(), b.admitted());
        both(move || a.succeed_within(x, 800), || b.succeed_within(y, 16_000));
        // 8000 -> 7100 -> 8212, or 8000 -> 9000 -> 7975.
        let average = peer.latency();
        assert!(matches!(average, Some(8212 | 7975)), "{average:?}");
        peer.finish();
    });
}
