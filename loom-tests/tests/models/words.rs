//! The word of a closed circuit, and the steps that race with it: see `word`. P2, P3, P11, P15, P16, P18.
//!
//! The word counts a failure, unless the configuration has a window for streaks: then the failure is a step,
//! and the word counts errors that are no failures beside it.

use std::time::Duration;

use crate::circuit::{Control, Outcome};
use crate::config::{HealthConfig, Window};
use crate::event::EventKind;
use crate::outcome::{Recorded, Status};
use crate::stage::{Peer, both, config, opened, three, two, two_bounded};
use crate::sync::{Arc, AtomicU64, Ordering};
use crate::time::Tick;
use crate::word::FailureRun;

/// Every failure is a step, and none comes too late for the streak.
fn by_steps() -> HealthConfig {
    config(9, 1).with_streak_gap(Duration::from_secs(1))
}

fn run(streak: u32, errors: u32) -> FailureRun {
    FailureRun { streak, errors }
}

/// P11: a thread that looks while another replaces a value shows that value, with the streak that was
/// counted for it, or a later one; a word of a later value says nothing of the one before.
#[test]
fn p11_a_look_beside_a_step_shows_no_value_with_the_streak_of_another() {
    two([725, 390], || {
        let peer = Peer::new(config(9, 1));
        let (a, b) = (peer.hand(), peer.hand());
        a.fail(a.admitted());
        let (_, seen) =
            both(move || (a.control(Control::Reset), a.control(Control::Reset)), || b.circuit());
        let shown = (seen.generation, seen.health.run);
        assert!([(0, run(1, 1)), (1, run(0, 0)), (2, run(0, 0))].contains(&shown), "{shown:?}");
        peer.finish();
    });
}

/// P16: of two threads that replace a value, one after the other, the last has published its own, though the
/// first stands before that: the calls after both find the circuit at rest.
#[test]
fn p16_of_two_who_replace_a_value_one_publishes() {
    two([910, 1119], || {
        let peer = Peer::new(config(9, 1));
        let (a, b) = (peer.hand(), peer.hand());
        both(move || a.control(Control::Reset), || b.control(Control::Reset));
        assert_eq!((peer.rests(), peer.circuit().generation), (Some(2), 2));
        peer.finish();
    });
}

/// P16, with three threads, one of which only looks: it finds a circuit that another has put in place, with
/// that circuit's own streak.
#[test]
fn p16_of_two_who_replace_a_value_none_holds_up_a_third() {
    three([10982, 986], || {
        let peer = Peer::new(config(9, 1));
        let [a, b, c] = [peer.hand(), peer.hand(), peer.hand()];
        let reset = Control::Reset;
        a.fail(a.admitted());
        let (_, (_, seen)) =
            both(move || a.control(reset), || both(move || b.control(reset), || c.circuit()));
        assert_eq!(seen.health.run.streak, u32::from(seen.generation == 0));
        assert_eq!(peer.rests(), Some(2));
        peer.finish();
    });
}

/// P16, P2: a thread that stands between freezing the word and replacing the value holds up no other: a
/// thread that finds the word frozen goes on from the frozen run, and loses nothing of it.
#[test]
fn p16_who_stands_between_freeze_and_swap_holds_nobody_up() {
    two_bounded([1142, 758], || {
        let peer = Peer::new(by_steps());
        let (a, b) = (peer.hand(), peer.hand());
        a.report(Outcome::Neutral);
        let (x, y) = (a.admitted(), b.admitted());
        let (x, y) = both(move || a.fail(x), || b.fail(y));
        assert_eq!([x, y], [Recorded::Counted; 2]);
        assert_eq!(peer.circuit().health.run, run(2, 3));
        assert_eq!(peer.errors(), 3);
        peer.finish();
    });
}

/// P2: a call that the word counts beside a step is in the step, or comes after it.
#[test]
fn p02_what_is_counted_beside_a_step_is_in_it_or_after_it() {
    two([597, 1429], || {
        let peer = Peer::new(by_steps());
        let (a, b) = (peer.hand(), peer.hand());
        let x = a.admitted();
        let (x, (_, number)) = both(move || a.fail(x), || b.numbered(Outcome::Neutral));
        assert_eq!((x, peer.circuit().health.run), (Recorded::Counted, run(1, 2)));
        assert!((1..=2).contains(&number), "{number}");
        peer.finish();
    });
}

/// P2: a thread that replaces a value sees what came before each call that was counted for it: also where
/// the frozen run equals the one it read, and yet consists of other calls.
#[test]
fn p02_who_replaces_a_value_sees_what_came_before_its_calls() {
    two_bounded([12600, 447], || {
        let peer = Peer::new(config(9, 1));
        let (a, b) = (peer.hand(), peer.hand());
        a.fail(a.admitted());
        let (x, y) = (a.admitted(), a.admitted());
        let before = Arc::new(AtomicU64::new(0));
        let written = Arc::clone(&before);
        let (taken, seen) = both(
            move || {
                written.store(1, Ordering::Relaxed);
                [a.succeed(x), a.fail(y)]
            },
            || {
                b.control(Control::Reset);
                before.load(Ordering::Relaxed)
            },
        );
        assert!(taken != [Recorded::Counted; 2] || seen == 1, "the reset came after both");
        peer.finish();
    });
}

/// P3: a success beside a failure that is a step leaves a streak of one, or none, and as many errors; also
/// where the success finds the word frozen, and is a step itself.
#[test]
fn p03_a_success_beside_a_step_clears_all_or_what_came_before() {
    two([1687, 610], || {
        let peer = Peer::new(by_steps());
        let (a, b) = (peer.hand(), peer.hand());
        a.fail(a.admitted());
        b.report(Outcome::Neutral);
        let (x, y) = (a.admitted(), b.admitted());
        both(move || a.fail(x), || b.succeed(y));
        let left = peer.circuit().health.run;
        assert!([run(0, 0), run(1, 1)].contains(&left), "{left:?}");
        peer.finish();
    });
}

/// P15, R23: an error that is no failure, beside one that is: both count, and each has a number of its own.
#[test]
fn p15_of_two_errors_each_has_a_number_of_its_own() {
    two([14, 44], || {
        let peer = Peer::new(config(9, 1));
        let (a, b) = (peer.hand(), peer.hand());
        let ((_, x), (_, y)) =
            both(move || a.numbered(Outcome::Neutral), || b.numbered(Outcome::Failure));
        assert!([(1, 2), (2, 1)].contains(&(x, y)), "{x}, {y}");
        assert_eq!(peer.circuit().health.run, run(1, 2));
        peer.finish();
    });
}

/// P15, P3: a report beside the success of a permit: it comes before, and nothing is left of it, or after,
/// and is the first of a new streak; its number says which.
#[test]
fn p15_a_report_beside_a_success_comes_before_it_or_after_it() {
    two([14, 14], || {
        let peer = Peer::new(config(9, 1));
        let (a, b) = (peer.hand(), peer.hand());
        a.fail(a.admitted());
        let y = b.admitted();
        let ((_, number), recorded) = both(move || a.numbered(Outcome::Failure), || b.succeed(y));
        let left = peer.circuit().health.run;
        let orders = [(2, run(0, 0)), (1, run(1, 1))];
        assert!(orders.contains(&(number, left)), "{number}, {left:?}");
        assert_eq!((recorded, peer.totals().succeeded), (Recorded::Counted, 1));
        peer.finish();
    });
}

/// P18: a window by count is fed once by each call that the word counts.
#[test]
fn p18_what_the_word_counts_is_fed_once() {
    two_bounded([294, 676], || {
        let peer = Peer::new(config(9, 1).with_window(Window::count(8)));
        let (a, b) = (peer.hand(), peer.hand());
        a.fail(a.admitted());
        let (x, y) = (a.admitted(), b.admitted());
        both(move || a.fail(x), || b.fail(y));
        let counts = peer.circuit().window_counts(Tick(0));
        assert_eq!((counts.total, counts.failures), (3, 3));
        assert_eq!(peer.circuit().health.run, run(3, 3));
        peer.finish();
    });
}

/// P3, P18: a success of a circuit with a window ends the streak and the errors, as it does without.
#[test]
fn p03_a_success_that_a_window_counts_clears_all_or_what_came_before() {
    two_bounded([308, 901], || {
        let peer = Peer::new(config(9, 1).with_window(Window::count(8)));
        let (a, b) = (peer.hand(), peer.hand());
        a.fail(a.admitted());
        let (x, y) = (a.admitted(), b.admitted());
        both(move || a.fail(x), || b.succeed(y));
        let left = peer.circuit().health.run;
        assert!([run(0, 0), run(1, 1)].contains(&left), "{left:?}");
        let counts = peer.circuit().window_counts(Tick(0));
        assert_eq!((counts.total, counts.failures), (3, 2));
        peer.finish();
    });
}

/// R14: a failure of a call that began after the streak was over begins another, whatever else is counted.
#[test]
fn r14_a_streak_that_is_over_begins_anew_beside_an_error() {
    two([1260, 2360], || {
        let peer = Peer::new(config(9, 1).with_streak_gap(Duration::from_nanos(5)));
        let (a, b) = (peer.hand(), peer.hand_at(6));
        a.fail(a.admitted());
        let x = b.admitted();
        both(move || a.report(Outcome::Neutral), || b.fail(x));
        assert_eq!(
            (peer.circuit().status(), peer.circuit().health.run),
            (Status::Closed, run(1, 3))
        );
        peer.finish();
    });
}

/// R24: an error that a reset has overtaken is not shown, and hides none that came after the reset.
#[test]
fn r24_an_error_of_an_earlier_era_hides_none() {
    two_bounded([13242, 2101], || {
        let peer = Peer::new(by_steps());
        let (a, b) = (peer.hand(), peer.hand());
        let x = a.admitted();
        both(
            move || a.fail(x),
            || {
                b.control(Control::Reset);
                b.fail(b.admitted());
            },
        );
        assert_eq!((peer.errors(), peer.circuit().health.run), (1, run(1, 1)));
        assert_eq!(peer.count(|turn| turn == EventKind::Reset), 1);
        peer.finish();
    });
}

/// P2: a run that does not fit into the word goes on in the value: the threshold beyond it is reached
/// by the failure that reaches it, and each error has its number. One thread, no model.
#[test]
fn p02_a_run_that_does_not_fit_into_the_word_goes_on() {
    let most = u32::from(u16::MAX);
    let peer = Peer::new(config(most + 3, 1));
    let hand = peer.hand();
    let numbers: Vec<u32> = (0..most + 2).map(|_| hand.numbered(Outcome::Failure).1).collect();
    assert!(numbers.iter().copied().eq(1..=most + 2));
    assert_eq!(peer.circuit().health.run, run(most + 2, most + 2));
    assert!(opened(&hand.fail(hand.admitted())));
    let other = Peer::new(config(most + 3, 1));
    let hand = other.hand();
    (0..=most).for_each(|_| _ = hand.report(Outcome::Failure));
    assert_eq!(hand.succeed(hand.admitted()), Recorded::Counted);
    assert_eq!((other.circuit().health.run, other.rests()), (run(0, 0), Some(0)));
}

/// P8: nor is a generation cut that does not fit into the word: its calls are of that phase, and not
/// of one that is long over. One thread, no model.
#[test]
fn p08_a_generation_that_does_not_fit_into_the_word_is_no_earlier_one() {
    let generation = u64::from(u32::MAX) + 1;
    for generation in [generation - 1, generation] {
        let peer = Peer::after(generation, config(3, 1));
        let hand = peer.hand();
        assert!(peer.rests().is_none_or(|rests| rests == generation));
        let (x, y, z) = (hand.admitted(), hand.admitted(), hand.admitted());
        assert_eq!((x.generation, hand.fail(x)), (generation, Recorded::Counted));
        assert_eq!(hand.succeed(y), Recorded::Counted);
        assert_eq!(peer.circuit().health.run, run(0, 0));
        hand.control(Control::Reset);
        assert_eq!((hand.fail(z), peer.circuit().generation), (Recorded::Late, generation + 1));
        assert_eq!(hand.fail(hand.admitted()), Recorded::Counted);
    }
}
