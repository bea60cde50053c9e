//! The answers that need no step, where a streak is running: P2, P3, P8, P9, P13, R14, R15, R24, R26.

use std::time::Duration;

use crate::circuit::{Control, Outcome, Start};
use crate::config::{HealthConfig, Window};
use crate::outcome::{Recorded, Status};
use crate::snapshot::PeerTotals;
use crate::stage::{Hand, Peer, both, config, two, two_bounded};
use crate::sync::{settings_change, totals_count};
use crate::time::Tick;
use crate::word::FailureRun;

fn run(streak: u32, errors: u32) -> FailureRun {
    FailureRun { streak, errors }
}

/// P8, P9: a success of an earlier phase ends no streak of the present one, though the word counts again, and
/// the note beside it is still of the value before.
#[test]
fn p09_a_late_success_ends_no_streak_of_a_later_phase() {
    two([5671, 14214], || {
        let (recorded, totals) = settled_beside_a_later_streak(Outcome::Success);
        let counted = u64::from(recorded == Recorded::Counted);
        assert_eq!((totals.succeeded, totals.late), (counted, 1 - counted));
    });
}

/// P8, P9: nor does a failure of an earlier phase extend it.
#[test]
fn p09_a_late_failure_extends_no_streak_of_a_later_phase() {
    two([2857, 23541], || {
        let (recorded, totals) = settled_beside_a_later_streak(Outcome::Failure);
        let counted = u64::from(recorded == Recorded::Counted);
        assert_eq!((totals.failed, totals.late), (2 + counted, 1 - counted));
    });
}

/// Settles a permit beside a reset and the first failure after that, which leaves a streak of one.
fn settled_beside_a_later_streak(outcome: Outcome) -> (Recorded, PeerTotals) {
    let peer = Peer::new(config(9, 1));
    let (a, b) = (peer.hand(), peer.hand());
    a.fail(a.admitted());
    let late = b.admitted();
    let (_, recorded) = both(
        move || {
            a.control(Control::Reset);
            a.fail(a.admitted());
        },
        || b.settle(late, outcome),
    );
    assert_eq!((peer.circuit().health.run, peer.circuit().generation), (run(1, 1), 1));
    assert_eq!(peer.rests(), None);
    let totals = peer.totals();
    peer.finish();
    (recorded, totals)
}

/// P2: of two failures in a streak neither is lost.
#[test]
fn p02_two_failures_extend_a_streak_by_two() {
    two([14, 14], || {
        let peer = Peer::new(config(9, 1));
        let (a, b) = (peer.hand(), peer.hand());
        a.fail(a.admitted());
        let (x, y) = (a.admitted(), b.admitted());
        both(move || a.fail(x), || b.fail(y));
        assert_eq!((peer.circuit().health.run, peer.totals().failed), (run(3, 3), 3));
        peer.finish();
    });
}

/// P13: a lowered threshold is honoured by the failure that extends a streak to it, also by one that was on its
/// way when the threshold came.
#[test]
fn p13_a_lowered_threshold_is_honoured_in_a_streak() {
    two_bounded([174, 1235], || {
        settings_change(true);
        let peer = Peer::new(config(9, 1));
        let a = peer.hand();
        let b = a.twin();
        a.fail(a.admitted());
        let (x, y) = (a.admitted(), b.admitted());
        both(
            move || {
                a.configure(&config(3, 1));
                a.fail(x)
            },
            || b.fail(y),
        );
        assert_eq!((peer.circuit().status(), peer.totals().opened), (Status::Open, 1));
        peer.finish();
    });
}

/// P13: a call whose start a new configuration asks for extends no streak by the threshold of the first one; and of
/// two new ones that come at once either stays, whole.
#[test]
fn p13_a_streak_goes_by_the_configuration_that_stays() {
    two_bounded([210, 53], || {
        settings_change(true);
        let peer = Peer::new(config(9, 1));
        let gap = config(9, 1).with_streak_gap(Duration::from_nanos(5));
        let a = peer.hand();
        let b = a.twin();
        a.fail(a.admitted());
        a.at(6);
        // Returns the streak that the failure of a call leaves.
        let fails = |hand: &Hand, streak: u32| {
            let ticket = hand.admitted();
            hand.fail(ticket);
            let left = if ticket.start.asked().is_some() { 1 } else { streak + 1 };
            assert_eq!(hand.circuit().health.run.streak, left);
            left
        };
        let c = a.twin();
        let (_, left) = both(
            move || a.configure(&gap),
            || {
                let left = fails(&b, 1);
                b.configure(&config(9, 1));
                left
            },
        );
        c.at(12);
        fails(&c, left);
        peer.finish();
    });
}

/// P13: whoever is admitted in a streak of a phase that began under a configuration which asks for starts, has one.
#[test]
fn p13_who_is_admitted_in_a_later_streak_is_admitted_by_its_configuration() {
    two_bounded([1063, 5271], || {
        settings_change(true);
        let peer = Peer::new(config(9, 1));
        let a = peer.hand();
        let b = a.twin();
        a.fail(a.admitted());
        let (_, ticket) = both(
            move || {
                a.configure(&config(9, 1).with_slow_call(Duration::from_secs(1)));
                a.control(Control::Reset);
                a.fail(a.admitted());
            },
            || b.admitted(),
        );
        assert!(ticket.generation == 0 || ticket.start.asked().is_some(), "{ticket:?}");
        peer.finish();
    });
}

/// R14: a call for whose start no rule asked when it was admitted breaks no streak. One thread, no model.
#[test]
fn r14_a_start_that_no_rule_asked_for_breaks_no_streak() {
    settings_change(true);
    let windowed = config(9, 1).with_window(Window::count(8));
    let peer = Peer::new(windowed.clone());
    let hand = peer.hand();
    hand.fail(hand.admitted());
    hand.at(6);
    let unasked = hand.admitted();
    hand.configure(&windowed.with_streak_gap(Duration::from_nanos(5)));
    hand.fail(unasked);
    assert_eq!((unasked.start, peer.circuit().health.run.streak), (Start::Read(Tick(6)), 2));
    settings_change(false);
}

/// R14, R15, R30: a failure goes by its streak alone only where no other rule looks at it. One thread, no model.
#[test]
fn r14_a_streak_decides_alone_where_no_other_rule_looks() {
    let plain = || config(9, 1);
    let second = Duration::from_secs(1);
    let alone = |config: HealthConfig| config.check().unwrap().streak_alone();
    assert_eq!((alone(plain()), alone(plain().with_failure_threshold(None))), (9, u32::MAX));
    assert_eq!(alone(plain().with_window(Window::count(8))), 0);
    assert_eq!(alone(plain().with_slow_call(second)), 0);
    assert_eq!(alone(plain().with_streak_gap(second)), 0);
    assert_eq!(alone(plain().with_outage_guard(true)), 0);
}

/// P8: the word at rest of a value stands in the place of no other, though both are of one phase. One thread, no
/// model.
#[test]
fn p08_a_success_at_rest_leaves_the_word_of_its_value() {
    let peer = Peer::new(config(9, 1).with_streak_gap(Duration::from_nanos(5)));
    let hand = peer.hand();
    hand.fail(hand.admitted());
    // An error that is no failure notes this value; the failure replaces it.
    hand.report(Outcome::Neutral);
    hand.fail(hand.admitted());
    hand.succeed(hand.admitted());
    hand.succeed(hand.admitted());
    let totals = peer.totals();
    assert_eq!((peer.rests(), totals.succeeded, totals.failed), (Some(0), 2, 2));
    peer.finish();
}

/// R24: an error that extends a streak belongs to the era of the value that counted it: a reset that comes before
/// it is noted leaves nothing of it, nor counts it among those that follow.
#[test]
fn r24_an_error_of_a_streak_that_a_reset_ends_is_not_shown_after_it() {
    two_bounded([2662, 4935], || {
        totals_count(true);
        let peer = Peer::new(config(9, 1));
        let (a, b) = (peer.hand(), peer.hand());
        a.fail(a.admitted());
        let y = b.admitted();
        both(
            move || {
                a.control(Control::Reset);
                a.fail(a.admitted());
            },
            || b.fail(y),
        );
        assert_eq!((peer.errors(), peer.circuit().health.run), (1, run(1, 1)));
        peer.finish();
    });
}

/// R24: whoever extends a streak by the note that another thread has just made counts its error in the era of
/// that note.
#[test]
fn r24_of_two_errors_at_once_after_a_reset_each_counts() {
    two_bounded([5803, 3818], || {
        totals_count(true);
        let peer = Peer::new(config(9, 1));
        let (a, b) = (peer.hand(), peer.hand());
        a.control(Control::Reset);
        let (x, y) = (a.admitted(), b.admitted());
        both(move || a.fail(x), || b.fail(y));
        assert_eq!((peer.errors(), peer.circuit().health.run), (2, run(2, 2)));
        peer.finish();
    });
}

/// P8: an admission in a streak is one of the phase that admits it: not of an earlier one than the thread has
/// seen already.
#[test]
fn p08_an_admission_in_a_streak_is_of_no_earlier_phase() {
    two([982, 17604], || {
        let peer = Peer::new(config(9, 1));
        let (a, b) = (peer.hand(), peer.hand());
        a.fail(a.admitted());
        let (_, (seen, ticket)) = both(
            move || {
                a.control(Control::Reset);
                a.fail(a.admitted());
            },
            || (b.circuit().generation, b.admitted()),
        );
        assert!(ticket.generation >= seen, "{ticket:?} after {seen}");
        peer.finish();
    });
}

/// P8: the note beside the word is of the value for which the word counts, though a failure of the phase before
/// notes its own meanwhile: who is admitted by it counts.
#[test]
fn p08_an_admission_after_a_failure_of_an_earlier_phase_counts() {
    two([2125, 23104], || {
        let peer = Peer::new(config(9, 1));
        let (a, b) = (peer.hand(), peer.hand());
        let early = b.admitted();
        both(
            move || {
                a.control(Control::Reset);
                a.fail(a.admitted());
            },
            || b.fail(early),
        );
        let hand = peer.hand();
        let next = hand.admitted();
        assert_eq!((next.generation, hand.fail(next)), (1, Recorded::Counted));
        assert_eq!(peer.circuit().health.run.streak, 2);
        peer.finish();
    });
}

/// P3: of a success and a failure in a streak one comes first; neither is lost, and the total has both.
#[test]
fn p03_a_success_that_ends_a_streak_clears_what_came_before_it() {
    two([14, 14], || {
        let peer = Peer::new(config(9, 1));
        let (a, b) = (peer.hand(), peer.hand());
        a.fail(a.admitted());
        let (x, y) = (a.admitted(), b.admitted());
        let recorded = both(move || a.fail(x), || b.succeed(y));
        assert_eq!(recorded, (Recorded::Counted, Recorded::Counted));
        let left = peer.circuit().health.run;
        assert!([run(0, 0), run(1, 1)].contains(&left), "{left:?}");
        assert_eq!((peer.totals().succeeded, peer.totals().failed), (1, 2));
        peer.finish();
    });
}

/// R15, R18: a success that ends a streak after a window was configured is in the window.
#[test]
fn r15_a_success_that_ends_a_streak_is_in_a_window_that_came_meanwhile() {
    two_bounded([19439, 14487], || {
        settings_change(true);
        let peer = Peer::new(config(9, 1));
        let a = peer.hand();
        let b = a.twin();
        a.fail(a.admitted());
        let (x, y) = (a.admitted(), b.admitted());
        both(
            move || {
                a.configure(&config(9, 1).with_window(Window::count(8)));
                a.succeed(x)
            },
            || b.fail(y),
        );
        let counts = peer.circuit().window_counts(Tick(0));
        assert_eq!(counts.total - counts.failures, 1, "{counts:?}");
        peer.finish();
    });
}

/// R15, R18: so is one that ends a streak with an error in it which came after the configuration, whoever looked
/// for a window before that.
#[test]
fn r15_a_success_after_an_error_is_in_a_window_that_came_before_the_error() {
    two_bounded([415, 1333], || {
        settings_change(true);
        let peer = Peer::new(config(9, 1));
        let a = peer.hand();
        let b = a.twin();
        a.fail(a.admitted());
        let success = b.admitted();
        both(
            move || {
                a.configure(&config(9, 1).with_window(Window::count(8)));
                a.report(Outcome::Neutral);
            },
            || b.succeed(success),
        );
        let (circuit, counts) = (peer.circuit(), peer.circuit().window_counts(Tick(0)));
        assert!(circuit.health.run.errors == 1 || counts.total == 1, "{circuit:?}");
        peer.finish();
    });
}

/// R14: where the streak has a window, an admission in it knows when it began. One thread, no model.
#[test]
fn r14_an_admission_in_a_streak_knows_when_it_began() {
    let gap = |config: HealthConfig| config.with_streak_gap(Duration::from_nanos(5));
    let peer = Peer::new(gap(config(9, 1)));
    let hand = peer.hand();
    // Only an error that is no failure is counted in the word, and noted beside it.
    hand.fail(hand.admitted());
    hand.report(Outcome::Neutral);
    hand.at(6);
    let late = hand.admitted();
    assert_eq!(late.start, Start::Asked(Tick(6)));
    hand.fail(late);
    assert_eq!(peer.circuit().health.run.streak, 1);
}

/// R26: a failure that counts is a use, and so is an outcome that does not. One thread, no model.
#[test]
fn r26_each_end_of_a_call_in_a_streak_is_a_use() {
    let peer = Peer::new(config(9, 1));
    let hand = peer.hand();
    hand.fail(hand.admitted());
    for (now, outcome) in [(1, Outcome::Failure), (2, Outcome::Neutral), (3, Outcome::Dropped)] {
        hand.at(now);
        hand.settle(hand.admitted(), outcome);
        assert_eq!(hand.unused_since(), Some(Tick(now)));
    }
}
