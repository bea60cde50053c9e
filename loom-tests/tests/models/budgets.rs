//! The budget for retries: tokens that several threads take and give back are neither lost nor
//! doubled, and never fewer than none or more than there can be.

use crate::budget::RetryBudget;
use crate::stage::{both, two};
use crate::sync::Arc;

fn spent(tokens: u32, failures: usize) -> Arc<RetryBudget> {
    let budget = RetryBudget::new(tokens, 0.1).unwrap();
    (0..failures).for_each(|_| budget.failed());
    Arc::new(budget)
}

/// What each thread takes and gives back is in the sum, in whatever order they did it.
#[test]
fn a_budget_loses_and_doubles_no_token() {
    two([235, 315], || {
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

/// At the bounds a change is cut off once, by the order in which it came; whoever looks meanwhile
/// sees a sum that there was.
#[test]
fn a_budget_stays_within_its_bounds() {
    two([85, 100], || {
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
