//! Windows: P18. They are exempt from P15: a thread judges a rate on a window that is moving (R15), but a
//! window loses and doubles nothing, and no reached rate goes unseen.

use std::time::Duration;

use crate::circuit::Outcome;
use crate::config::{HealthConfig, Window};
use crate::outcome::Status;
use crate::outcome::WindowCounts;
use crate::stage::{OPEN, Peer, both, config, opened, three, two, two_bounded};
use crate::sync::Arc;
use crate::time::Tick;
use crate::window::{Sample, Sliding};

const WELL: Sample = Sample { failed: false, slow: false };
const FAILED: Sample = Sample { failed: true, slow: false };
const SLOW: Sample = Sample { failed: true, slow: true };

fn window(shape: Window) -> Sliding {
    let rules = HealthConfig::default().with_window(shape).check().unwrap();
    Sliding::needed(None, &rules, Tick(0)).unwrap().unwrap()
}

fn is_sound(counts: WindowCounts, most: u64) {
    assert!(counts.total <= most, "{counts:?}");
    assert!(counts.failures <= counts.total && counts.slow <= counts.total, "{counts:?}");
}

/// P18: two threads fill a window by count beyond its size: at the end it has as many calls as it holds, and
/// when good calls have pushed them all out, nothing is left of them.
#[test]
fn p18_a_ring_loses_and_doubles_nothing() {
    two([95, 38], || {
        let ring = Arc::new(window(Window::count(2)));
        let other = Arc::clone(&ring);
        let add = |ring: &Sliding, sample| is_sound(ring.add(sample, Tick(0)), 4);
        both(
            move || {
                add(&other, SLOW);
                add(&other, FAILED);
            },
            || add(&ring, SLOW),
        );
        let counts = ring.counts(Tick(0));
        assert_eq!((counts.total, counts.failures), (2, 2));
        assert!((1..=2).contains(&counts.slow));
        add(&ring, WELL);
        let after = ring.add(WELL, Tick(0));
        assert_eq!(after, WindowCounts { total: 2, failures: 0, slow: 0 });
    });
}

/// P18 on the smallest ring, where each call pushes out the one before: no sum borrows from its neighbour,
/// whenever a thread looks.
#[test]
fn p18_the_sums_of_a_ring_never_go_below_zero() {
    three([1086, 192], || {
        let ring = Arc::new(window(Window::count(1)));
        let (a, b) = (Arc::clone(&ring), Arc::clone(&ring));
        both(
            move || is_sound(a.add(SLOW, Tick(0)), 3),
            || {
                both(
                    move || is_sound(b.add(FAILED, Tick(0)), 3),
                    || is_sound(ring.counts(Tick(0)), 3),
                )
            },
        );
        assert_eq!(ring.counts(Tick(0)).total, 1);
        assert_eq!(ring.add(WELL, Tick(0)), WindowCounts { total: 1, failures: 0, slow: 0 });
    });
}

/// P18 for a window by time: no addition to a bucket is lost, and no reader sees more failures than calls.
#[test]
fn p18_a_bucket_loses_nothing() {
    three([21219, 1385], || {
        let series = Arc::new(window(Window::time(Duration::from_nanos(20), 2)));
        let (a, b) = (Arc::clone(&series), Arc::clone(&series));
        both(
            move || is_sound(a.add(SLOW, Tick(1)), 2),
            || {
                both(
                    move || is_sound(b.add(FAILED, Tick(2)), 2),
                    || is_sound(series.counts(Tick(3)), 2),
                )
            },
        );
        assert_eq!(series.counts(Tick(3)), WindowCounts { total: 2, failures: 2, slow: 1 });
    });
}

fn rated(shape: Window) -> HealthConfig {
    config(9, 1).with_window(shape).with_min_calls(2).with_failure_rate(1.0)
}

/// P18, R13: a rate that two failures reach together opens once: at least one of them sees it.
#[test]
fn p18_a_rate_does_not_go_unseen() {
    two_bounded([47208, 4167], || {
        let peer = Peer::new(rated(Window::count(2)));
        let (a, b) = (peer.hand(), peer.hand());
        let (x, y) = (a.admitted(), b.admitted());
        let (x, y) = both(move || a.fail(x), || b.fail(y));
        assert_eq!([x, y].iter().filter(|r| opened(r)).count(), 1, "{x:?}, {y:?}");
        assert_eq!((peer.circuit().status(), peer.circuit().generation), (Status::Open, 1));
        peer.finish();
    });
}

/// P18: of two threads that add at the same time at least one sees both, in either kind of window.
#[test]
fn p18_of_two_that_add_one_sees_both() {
    let shapes = [Window::count(2), Window::time(Duration::from_nanos(20), 2)];
    let pairs = [(FAILED, SLOW), (WELL, FAILED), (WELL, WELL)];
    for (shape, (a, b)) in shapes.into_iter().flat_map(|shape| pairs.map(|pair| (shape, pair))) {
        two([27, 13], move || {
            let window = Arc::new(window(shape));
            let other = Arc::clone(&window);
            let (x, y) = both(move || other.add(a, Tick(1)), || window.add(b, Tick(2)));
            let count =
                |which: fn(Sample) -> bool| [a, b].into_iter().filter(|s| which(*s)).count();
            let all = WindowCounts {
                total: 2,
                failures: count(|s| s.failed) as u64,
                slow: count(|s| s.slow) as u64,
            };
            assert!(x == all || y == all, "{x:?}, {y:?}");
        });
    }
}

/// P18: a window that turns loses nothing: calls in different buckets, each begun by the thread that comes
/// first, in either order.
#[test]
fn p18_a_window_that_turns_loses_nothing() {
    two_bounded([19769, 8485], || {
        let shape = Window::time(Duration::from_nanos(20), 2);
        let peer = Peer::new(config(9, 1).with_window(shape));
        let (a, b) = (peer.hand_at(1), peer.hand_at(11));
        let (w, x, y) = (a.admitted(), a.admitted(), b.admitted());
        a.fail(w);
        both(move || a.fail(x), || b.succeed(y));
        let circuit = peer.circuit();
        assert_eq!(
            circuit.window_counts(Tick(11)),
            WindowCounts { total: 3, failures: 2, slow: 0 }
        );
        assert_eq!(circuit.window_counts(Tick(21)).total, 1, "the first bucket is over");
        peer.finish();
    });
}

/// P18: two threads that need the same new bucket get the same.
#[test]
fn p18_a_bucket_begins_once() {
    two_bounded([40471, 11938], || {
        let shape = Window::time(Duration::from_nanos(20), 2);
        let peer = Peer::new(config(9, 1).with_window(shape));
        let (a, b) = (peer.hand_at(12), peer.hand_at(13));
        let (x, y) = (a.admitted(), b.admitted());
        both(move || a.succeed(x), || b.settle(y, Outcome::Success));
        assert_eq!(peer.circuit().window_counts(Tick(14)).total, 2);
        peer.finish();
    });
}

/// P18, P8: a failure that reaches the rate of a phase that is over opens nothing.
#[test]
fn p18_a_rate_of_an_earlier_phase_opens_nothing() {
    two([23207, 21433], || {
        let peer = Peer::new(rated(Window::count(2)));
        let (a, b) = (peer.hand(), peer.hand());
        let (w, x) = (a.admitted(), a.admitted());
        a.fail(w);
        let (recorded, _) = both(move || a.fail(x), || b.control(crate::circuit::Control::Reset));
        assert_eq!(peer.circuit().status(), Status::Closed);
        assert_eq!(peer.circuit().generation, if opened(&recorded) { 2 } else { 1 });
        assert_eq!(peer.circuit().window_counts(Tick(OPEN)).total, 0);
        peer.finish();
    });
}
