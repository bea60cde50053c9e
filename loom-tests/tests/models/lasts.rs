//! The last error, which lies outside the circuit and is read without a lock: R24.

use std::time::Duration;

use crate::circuit::{Control, Outcome};
use crate::stage::{Peer, both, config, three, three_twice, two, two_bounded};
use crate::sync::{cells_count, totals_count};
use crate::time::Tick;
use crate::word::FailureRun;

/// Returns a peer that has failed once, and whose last error is a step of the model.
fn failed() -> Peer {
    cells_count(true);
    let peer = Peer::new(config(9, 1));
    let hand = peer.hand();
    hand.fail(hand.admitted());
    peer
}

/// R24: of two errors at once the one that was counted last is shown.
#[test]
fn r24_of_two_errors_the_later_one_is_shown() {
    two([44, 44], || {
        let peer = failed();
        let (a, b) = (peer.hand(), peer.hand());
        let (x, y) = (a.admitted(), b.admitted());
        both(move || a.fail(x), || b.fail(y));
        assert_eq!((peer.errors(), peer.last_error()), (3, Some(3)));
        peer.finish();
    });
}

/// R24: a thread that reads the last error puts back none that is older than another's.
#[test]
fn r24_who_reads_the_last_error_hides_no_later_one() {
    two([32, 34], || {
        let peer = failed();
        let (a, b) = (peer.hand(), peer.hand());
        let x = a.admitted();
        let (_, seen) = both(move || a.fail(x), || b.last_error());
        assert!(matches!(seen, Some(1 | 2)), "one of the two: {seen:?}");
        assert_eq!(peer.last_error(), Some(2));
        peer.finish();
    });
}

/// R24: nor do two threads that read it at once, beside an error that comes.
#[test]
fn r24_of_two_readers_none_keeps_the_last_error() {
    three([3940, 2898], || {
        let peer = failed();
        let [a, b, c] = [peer.hand(), peer.hand(), peer.hand()];
        let x = a.admitted();
        both(move || a.fail(x), || both(move || b.last_error(), || c.last_error()));
        assert_eq!((peer.errors(), peer.last_error()), (2, Some(2)));
        peer.finish();
    });
}

/// R24: nor does who reads it put it over the later of two that come, whatever it finds there.
#[test]
fn r24_of_two_errors_beside_a_reader_the_later_one_is_shown() {
    three_twice([1182, 582], || {
        let peer = failed();
        let [a, b, c] = [peer.hand(), peer.hand(), peer.hand()];
        let (x, y) = (a.admitted(), b.admitted());
        both(move || a.fail(x), || both(move || b.fail(y), || c.last_error()));
        assert_eq!((peer.errors(), peer.last_error()), (3, Some(3)));
        peer.finish();
    });
}

/// R24: an error from before a reset is not shown in the place of one that came after it, wherever
/// its thread stands between counting and showing it.
#[test]
fn r24_an_error_of_an_earlier_era_is_not_shown_as_a_later_one() {
    two_bounded([4812, 2699], || {
        cells_count(true);
        totals_count(true);
        let peer = Peer::new(config(9, 1));
        let (a, b) = (peer.hand(), peer.hand_at(5));
        let x = a.admitted();
        both(
            move || a.fail(x),
            || {
                b.control(Control::Reset);
                b.fail(b.admitted());
            },
        );
        assert_eq!((peer.errors(), peer.last_error_at()), (1, Some(Tick(5))));
        peer.finish();
    });
}

/// R24: an error that the word has counted belongs to the era in which it was counted: a reset that
/// comes before it is noted leaves nothing of it.
#[test]
fn r24_an_error_that_was_counted_before_a_reset_is_not_shown_after_it() {
    two([1048, 655], || {
        let peer = Peer::new(config(9, 1));
        let (a, b) = (peer.hand(), peer.hand());
        let x = a.admitted();
        both(move || a.fail(x), || b.control(Control::Reset));
        assert_eq!((peer.errors(), peer.circuit().health.run), (0, FailureRun::default()));
        peer.finish();
    });
}

/// R14: of two announcements the later one counts, whoever notes it first: a report that follows is of
/// a call that began after the streak was over.
#[test]
fn r14_of_two_announcements_the_later_one_counts() {
    two([46, 1392], || {
        totals_count(true);
        let peer = Peer::new(config(9, 1).with_streak_gap(Duration::from_nanos(5)));
        let (a, b, c) = (peer.hand_at(3), peer.hand_at(7), peer.hand_at(9));
        let first = peer.hand();
        first.fail(first.admitted());
        both(move || a.is_open(), || b.is_open());
        c.report(Outcome::Failure);
        assert_eq!(peer.circuit().health.run, FailureRun { streak: 1, errors: 2 });
        peer.finish();
    });
}

/// R14: a failure that is noted beside a later announcement leaves it: the report that follows began then.
#[test]
fn r14_an_announcement_outlasts_a_failure_of_an_earlier_time() {
    two_bounded([241, 349], || {
        totals_count(true);
        let peer = Peer::new(config(9, 1).with_streak_gap(Duration::from_nanos(5)));
        let (a, b) = (peer.hand_at(2), peer.hand());
        b.fail(b.admitted());
        b.is_open();
        b.at(4);
        let x = a.admitted();
        both(move || a.fail(x), || b.is_open());
        b.at(9);
        b.report(Outcome::Failure);
        assert_eq!(peer.circuit().health.run.streak, 3);
        peer.finish();
    });
}

/// R24: of refusals at once each counts, also where a thread that has lost to others makes the stripes.
#[test]
fn r24_each_of_three_refusals_at_once_counts() {
    three([1122, 292], || {
        totals_count(true);
        let peer = Peer::new(config(9, 1));
        let [a, b, c] = [peer.hand(), peer.hand(), peer.hand()];
        both(move || a.refuse(), || both(move || b.refuse(), || c.refuse()));
        assert_eq!(peer.totals().refused.open, 3);
        peer.finish();
    });
}

/// R24: nor does one get lost that meets the stripes while they are made.
#[test]
fn r24_each_refusal_counts_while_the_stripes_are_made() {
    two([237, 341], || {
        totals_count(true);
        let peer = Peer::new(config(9, 1));
        let (a, b) = (peer.hand(), peer.hand());
        both(
            move || a.refuse(),
            || {
                b.refuse();
                b.refuse();
                b.refuse();
            },
        );
        assert_eq!(peer.totals().refused.open, 4);
        peer.finish();
    });
}
