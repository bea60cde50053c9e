//! The budget for retries: threads lose and double no token that they take and give back, or that comes back
//! with time, and there are never fewer than none nor more than the most.

use std::time::Duration;

use crate::budget::RetryBudget;
use crate::stage::{both, two};
use crate::sync::Arc;
use crate::time::{Clock, ManualClock};

fn spent(tokens: u32, failures: usize) -> Arc<RetryBudget> {
    let budget = RetryBudget::new(tokens, 0.1).unwrap();
    (0..failures).for_each(|_| budget.failed());
    Arc::new(budget)
}

/// The sum has all that the threads take and give back, in whatever order.
#[test]
fn a_budget_loses_and_doubles_no_token() {
    two([243, 324], || {
        let budget = spent(4, 1);
        let other = Arc::clone(&budget);
        both(
            move || {
                other.failed();
                other.succeeded();
            },
            || {
                budget.failed();
                budget.succeeded();
            },
        );
        assert_eq!(budget.milli_tokens(), 3000 - 2 * 1000 + 2 * 100);
        assert!(!budget.allows_retry());
    });
}

/// At a bound a change is cut off once, by the order in which it came; a thread that looks meanwhile sees a
/// sum that there was.
#[test]
fn a_budget_stays_within_its_bounds() {
    two([90, 106], || {
        let budget = spent(1, 0);
        let other = Arc::clone(&budget);
        both(
            move || {
                other.failed();
                other.failed();
            },
            || {
                budget.succeeded();
                let seen = budget.milli_tokens();
                assert!([0, 100, 1000].contains(&seen), "{seen}");
            },
        );
        // The success came before both failures, between them, or after them.
        let left = budget.milli_tokens();
        assert!([0, 100].contains(&left), "{left}");
    });
}

/// Returns an empty budget with one token a second, and the hand of its clock.
fn emptied(tokens: u32) -> (Arc<RetryBudget>, ManualClock) {
    let (clock, hand) = Clock::manual();
    let budget = RetryBudget::new(tokens, 0.1).unwrap().with_refill(1.0).unwrap();
    let budget = budget.with_clock(clock);
    (0..tokens).for_each(|_| budget.failed());
    (Arc::new(budget), hand)
}

/// Each second gives its token once, whichever threads ask, and in whatever order: a change at the same time
/// loses none.
#[test]
fn what_comes_back_with_time_comes_once() {
    two([3154, 71418], || {
        let (budget, hand) = emptied(4);
        let (other, other_hand) = (Arc::clone(&budget), hand.clone());
        both(
            move || {
                other_hand.advance(Duration::from_secs(1));
                other.failed();
            },
            || {
                hand.advance(Duration::from_secs(2));
                budget.succeeded();
            },
        );
        assert_eq!(budget.milli_tokens(), 3000 - 1000 + 100);
    });
}

/// A thread that asked for the time before another, and comes after it, does not undo what the other took:
/// there was half a token, and one of them has it.
#[test]
fn a_failure_that_was_overtaken_gives_nothing_back() {
    two([557, 14588], || {
        let (budget, hand) = emptied(1);
        let other = Arc::clone(&budget);
        both(
            move || other.failed(),
            || {
                hand.advance(Duration::from_millis(500));
                budget.failed();
            },
        );
        assert_eq!(budget.milli_tokens(), 0);
    });
}

/// Tokens beyond the most are gone: they are no credit for later failures.
#[test]
fn no_more_comes_back_than_there_can_be() {
    two([4086, 156818], || {
        let (budget, hand) = emptied(1);
        let other = Arc::clone(&budget);
        both(
            move || {
                other.failed();
                other.failed();
            },
            || {
                hand.advance(Duration::from_secs(60));
                let seen = budget.milli_tokens();
                assert!([0, 1000].contains(&seen), "{seen}");
            },
        );
        // Both failures came before the minute, or one at least after it.
        let left = budget.milli_tokens();
        assert!([0, 1000].contains(&left), "{left}");
        budget.failed();
        assert_eq!(budget.milli_tokens(), 0);
    });
}
