//! The door of a clock that steps back (R1), when two threads read one step, and when a reading is late.

use std::time::Duration;

use crate::stage::{both, two};
use crate::time::{Clock, ManualClock, Tick};

const SECOND: u64 = 1_000_000_000;

/// Returns a clock that was read when its hand stood there.
fn read_at(seconds: u64) -> (Clock, ManualClock) {
    let (clock, hand) = Clock::manual();
    hand.set(Duration::from_secs(seconds));
    assert_eq!(clock.now(), Tick(seconds * SECOND));
    (clock, hand)
}

/// Moves on two seconds by the hand, and then by the clock.
fn later(clock: &Clock, hand: &ManualClock, seconds: u64) {
    hand.advance(Duration::from_secs(2));
    assert_eq!(clock.now(), Tick((seconds + 2) * SECOND));
}

/// The hand is set back, and both threads see it: they shift once.
#[test]
fn r01_one_step_back_is_shifted_once() {
    two([14, 138], || {
        let (clock, hand) = read_at(10);
        hand.set(Duration::ZERO);
        let other = clock.clone();
        let (x, y) = both(move || other.now(), || clock.now());
        assert_eq!((x, y), (Tick(10 * SECOND), Tick(10 * SECOND)));
        later(&clock, &hand, 10);
    });
}

/// The hand is set back while another thread reads: whether it reads before the step or after it, no thread
/// shifts a reading from before it.
#[test]
fn r01_a_reading_beside_a_step_back_is_not_shifted_by_it() {
    two([101, 1388], || {
        let (clock, hand) = read_at(10);
        let (other, its) = (clock.clone(), hand.clone());
        let (x, (y, z)) = both(
            move || {
                its.set(Duration::ZERO);
                other.now()
            },
            || (clock.now(), clock.now()),
        );
        assert_eq!((x, y, z), (Tick(10 * SECOND), Tick(10 * SECOND), Tick(10 * SECOND)));
        later(&clock, &hand, 10);
    });
}

/// The hand goes on by five seconds while another thread reads: a late reading is no step back.
#[test]
fn r01_a_reading_that_is_overtaken_is_no_step_back() {
    two([34, 204], || {
        let (clock, hand) = read_at(10);
        let (other, its) = (clock.clone(), hand.clone());
        let (x, y) = both(
            move || {
                its.set(Duration::from_secs(15));
                other.now()
            },
            || clock.now(),
        );
        assert_eq!(x, Tick(15 * SECOND));
        assert!([10, 15].map(|seconds| Tick(seconds * SECOND)).contains(&y));
        later(&clock, &hand, 15);
    });
}
