//! A thread replaces the configuration while calls are made: P13 (R18).

use std::time::Duration;

use crate::config::{HealthConfig, Window};
use crate::outcome::{Recorded, Status};
use crate::stage::{OPEN, Peer, both, config, opened, two, two_bounded};
use crate::sync::settings_change;
use crate::time::Tick;

/// P13: one step uses one configuration: a failure opens by the old one, for the old time, or the new one
/// counts it.
#[test]
fn p13_one_step_uses_one_configuration() {
    two([23, 5], || {
        settings_change(true);
        let lenient = config(5, 1).with_open_timeout(Duration::from_secs(1));
        opens_by_its_own_or_not_at_all(config(1, 1), &lenient);
    });
}

/// A failure opens a circuit for as long as its configuration says, or the one that comes meanwhile counts
/// it and lasts longer.
fn opens_by_its_own_or_not_at_all(strict: HealthConfig, lenient: &HealthConfig) {
    let peer = Peer::new(strict);
    let a = peer.hand();
    let b = a.twin();
    let x = a.admitted();
    let (recorded, ()) = both(move || a.fail(x), || b.configure(lenient));
    match recorded {
        Recorded::Opened { retry_after } => assert_eq!(retry_after, Duration::from_nanos(OPEN)),
        other => assert_eq!(other, Recorded::Counted),
    }
    peer.finish();
}

/// P13: a lowered threshold is honoured by the next failure, also by one that was on its way: its step
/// follows a failure that came after the change. The word counts failures, or, with a window for streaks,
/// each is a step.
#[test]
fn p13_a_lowered_threshold_is_honoured_by_the_next_failure() {
    for (gap, floors) in [(None, [69, 558]), (Some(1000), [4661, 4365])] {
        two_bounded(floors, move || {
            settings_change(true);
            let at = |n| config(n, 1).with_streak_gap(gap.map(Duration::from_nanos));
            let peer = Peer::new(at(5));
            let a = peer.hand();
            let b = a.twin();
            let (x, y) = (a.admitted(), b.admitted());
            let (x, y) = both(
                move || a.fail(x),
                || {
                    b.configure(&at(2));
                    b.fail(y)
                },
            );
            assert!(opened(&x) != opened(&y), "{x:?}, {y:?}");
            assert_eq!(
                (peer.circuit().status(), peer.circuit().health.run.streak),
                (Status::Open, 2)
            );
            peer.finish();
        });
    }
}

/// P13: a streak that is longer than a lowered threshold opens with the next failure.
#[test]
fn p13_a_streak_beyond_a_lowered_threshold_opens() {
    two([12, 4], || {
        settings_change(true);
        let peer = Peer::new(config(5, 1));
        let a = peer.hand();
        let (b, c) = (a.twin(), a.twin());
        a.fail(a.admitted());
        a.fail(a.admitted());
        let x = a.admitted();
        let (x, ()) = both(move || a.fail(x), || b.configure(&config(2, 1)));
        assert!(opened(&x) || opened(&c.fail(c.admitted())), "{x:?}");
        peer.finish();
    });
}

/// P13: a half-open phase keeps the number of probes that it began with, and decides by it.
#[test]
fn p13_half_open_keeps_its_configuration() {
    two([23, 5], || {
        settings_change(true);
        let peer = Peer::open(config(1, 1));
        let a = peer.hand_at(OPEN);
        let b = a.twin();
        let late = a.twin();
        let (tickets, ()) = both(move || [a.ticket(), a.ticket()], || b.configure(&config(1, 2)));
        late.succeed(tickets[0].unwrap());
        let status = if tickets[1].is_some() { Status::HalfOpen } else { Status::Closed };
        assert_eq!(
            peer.circuit().status(),
            status,
            "two slots, two verdicts; one slot, one verdict"
        );
        peer.finish();
    });
}

/// P13: a failure that reaches a rate opens by the configuration that has the rate, for the time that it
/// says; or the other one has no rate and the circuit stays closed.
#[test]
fn p13_a_rate_opens_by_one_configuration() {
    two([39, 6], || {
        settings_change(true);
        let window = Window::count(2);
        let strict = config(9, 1).with_window(window).with_min_calls(1).with_failure_rate(1.0);
        let lenient = config(9, 1)
            .with_window(window)
            .with_min_calls(1)
            .with_open_timeout(Duration::from_secs(1));
        opens_by_its_own_or_not_at_all(strict, &lenient);
    });
}

/// P13, R18: a window of another shape begins anew, once: it holds a call that comes after the change, and
/// holds none twice.
#[test]
fn p13_a_window_of_another_shape_begins_once() {
    two([12, 4], || {
        settings_change(true);
        let sized = |n| config(9, 1).with_window(Window::count(n));
        let peer = Peer::new(sized(2));
        let a = peer.hand();
        let b = a.twin();
        a.succeed(a.admitted());
        let (x, y) = (a.admitted(), b.admitted());
        both(move || a.succeed(x), || b.configure(&sized(3)));
        b.succeed(y);
        let counts = peer.circuit().window_counts(Tick(0));
        assert!((1..=2).contains(&counts.total), "{counts:?}");
        peer.finish();
    });
}
