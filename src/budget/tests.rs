//! The answers of a budget, call by call and as time goes by.

use std::time::Duration;

use super::*;
use crate::time::ManualClock;

#[test]
fn retries_stop_at_half_and_tokens_stay_within_their_bounds() {
    let budget = RetryBudget::new(10, 0.1).unwrap();
    budget.succeeded();
    assert_eq!(budget.milli_tokens(), 10_000, "never above what it began with");
    (0..4).for_each(|_| budget.failed());
    assert!(budget.allows_retry());
    budget.failed();
    assert_eq!((budget.milli_tokens(), budget.allows_retry()), (5000, false));
    budget.succeeded();
    assert_eq!((budget.milli_tokens(), budget.allows_retry()), (5100, true));
    (0..20).for_each(|_| budget.failed());
    assert_eq!(budget.milli_tokens(), 0, "never below zero");
    budget.succeeded();
    assert_eq!(budget.milli_tokens(), 100, "what was not there is not owed");
}

#[test]
fn the_largest_and_the_smallest_budget_can_be_made() {
    let largest = RetryBudget::new(u32::MAX, 1.0).unwrap();
    largest.succeeded();
    assert_eq!(largest.milli_tokens(), u64::from(u32::MAX) * 1000);
    let smallest = RetryBudget::new(1, 0.001).unwrap();
    smallest.failed();
    smallest.succeeded();
    assert_eq!((smallest.milli_tokens(), smallest.is_full()), (1, false));
    for ratio in [0.0, 1.1, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(RetryBudget::new(1, ratio).unwrap_err().field(), "token_ratio");
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// Returns a budget to which time gives back `per_second` tokens and successes next to none.
fn refilled(tokens: u32, per_second: f64) -> (RetryBudget, ManualClock) {
    let (clock, hand) = Clock::manual();
    hand.advance(7 * SECOND);
    let budget = RetryBudget::new(tokens, 0.001).unwrap().with_refill(per_second).unwrap();
    (budget.with_clock(clock), hand)
}

#[test]
fn tokens_come_back_with_time_to_the_thousandth_and_up_to_the_most() {
    let (budget, hand) = refilled(4, 0.5);
    (0..3).for_each(|_| budget.failed());
    assert_eq!((budget.milli_tokens(), budget.allows_retry()), (1000, false));
    hand.advance(SECOND / 500);
    assert_eq!(budget.milli_tokens(), 1001);
    hand.advance(SECOND * 2 - SECOND / 500);
    assert_eq!((budget.milli_tokens(), budget.allows_retry()), (2000, false));
    hand.advance(SECOND / 500);
    assert!(budget.allows_retry(), "the time alone has brought it above the half");
    hand.advance(SECOND * 4 - SECOND / 250);
    assert_eq!((budget.milli_tokens(), budget.is_full()), (3999, false));
    hand.advance(SECOND * 3600);
    assert_eq!((budget.milli_tokens(), budget.is_full()), (4000, true));
    budget.failed();
    assert_eq!(budget.milli_tokens(), 3000, "an hour of being full is no credit");
}

#[test]
fn each_method_adds_first_what_has_come_back() {
    let (budget, hand) = refilled(2, 1.0);
    (0..9).for_each(|_| budget.failed());
    assert_eq!(budget.milli_tokens(), 0);
    hand.advance(SECOND);
    budget.failed();
    assert_eq!(budget.milli_tokens(), 0, "the one that had come back");
    hand.advance(SECOND * 2);
    budget.succeeded();
    budget.failed();
    assert_eq!(budget.milli_tokens(), 1000, "it was full when the success came");
}

#[test]
fn nothing_comes_back_with_time_without_a_clock_or_without_a_refill() {
    let budget = RetryBudget::new(2, 0.1).unwrap().with_refill(1e6).unwrap();
    budget.failed();
    assert_eq!((budget.milli_tokens(), budget.now()), (1000, Tick(0)));
    let (budget, hand) = refilled(2, 0.0);
    budget.failed();
    hand.advance(SECOND * 3600);
    assert_eq!((budget.milli_tokens(), budget.now()), (1000, Tick(0)), "no clock is read");
}

#[test]
fn a_clock_counts_from_when_it_was_given() {
    let budget = RetryBudget::default();
    budget.failed();
    let (clock, hand) = Clock::manual();
    hand.advance(SECOND * 9);
    let budget = budget.with_clock(clock);
    assert_eq!(budget.milli_tokens(), 999_000);
    hand.advance(SECOND / 2);
    assert_eq!(budget.milli_tokens(), 999_500);
    let (clock, hand) = Clock::manual();
    let budget = budget.with_clock(clock);
    assert_eq!(budget.milli_tokens(), 999_500, "and what the other has brought is kept");
    hand.advance(SECOND / 4);
    assert_eq!(budget.milli_tokens(), 999_750);
}

#[test]
fn a_fresh_one_is_full_and_has_the_refill_and_the_clock() {
    let (budget, hand) = refilled(10, 2.0);
    hand.advance(SECOND);
    budget.failed();
    let fresh = budget.fresh();
    assert!(fresh.is_full());
    (0..3).for_each(|_| fresh.failed());
    hand.advance(SECOND / 2);
    assert_eq!((budget.milli_tokens(), fresh.milli_tokens()), (10_000, 8000));
    assert!(budget.is_full_at(fresh.now()) && !fresh.is_full_at(budget.now()));
}

#[test]
fn a_clock_that_steps_back_takes_nothing_and_gives_nothing_twice() {
    let (budget, hand) = refilled(4, 1.0);
    (0..4).for_each(|_| budget.failed());
    hand.advance(SECOND * 2);
    assert_eq!(budget.milli_tokens(), 2000);
    hand.set(Duration::ZERO);
    assert_eq!(budget.milli_tokens(), 2000);
    budget.failed();
    assert_eq!(budget.milli_tokens(), 1000);
    hand.advance(SECOND);
    assert_eq!(budget.milli_tokens(), 2000, "time goes on from where it was");
}

#[test]
fn a_thread_with_an_earlier_time_does_not_undo_what_another_took() {
    let (budget, hand) = refilled(1, 1.0);
    budget.failed();
    let earlier = budget.now();
    hand.advance(SECOND / 2);
    budget.failed();
    budget.failed_at(earlier);
    assert_eq!(budget.milli_tokens(), 0);
    budget.succeeded_at(earlier);
    assert_eq!(budget.milli_tokens(), 1);
    assert!(!budget.allows_retry_at(budget.now()));
}

#[test]
fn nothing_overflows_at_the_end_of_time() {
    for per_second in [1e-9, 1.0, 1e6] {
        let (clock, hand) = Clock::manual();
        let budget = RetryBudget::new(u32::MAX, 1.0).unwrap().with_refill(per_second).unwrap();
        let budget = budget.with_clock(clock);
        budget.failed();
        hand.set(Duration::MAX);
        assert!(budget.is_full());
        budget.failed();
        budget.succeeded();
        assert!(budget.is_full());
    }
    let (budget, hand) = refilled(2, 1.0);
    hand.set(Duration::MAX);
    (0..2).for_each(|_| budget.failed());
    assert_eq!(budget.milli_tokens(), 0, "time has ended, and nothing comes back");
}

#[test]
fn a_refill_that_makes_no_sense_is_refused() {
    for per_second in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1_000_000.5] {
        let refused = RetryBudget::default().with_refill(per_second).unwrap_err();
        assert_eq!(refused.field(), "per_second");
    }
    let error = RetryBudget::default().with_refill(-1.0).unwrap_err();
    assert_eq!(error.to_string(), "per_second is -1: must be from 0 to 1000000");
    assert!(RetryBudget::default().with_refill(-0.0).is_ok());
}
