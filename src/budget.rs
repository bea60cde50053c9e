//! A budget for retries, so that they never multiply an outage.
//!
//! Backoff alone does not bound them: when everything fails, every operation is made as often as
//! its policy allows, and a network that is down sees several times its usual load when it comes
//! back. A budget lets retries be a fraction of what succeeds: each failure takes a token, each
//! success gives a part of one back, and retries are made while more than half of them are there.
//! The arithmetic is that of gRPC's retry throttling (gRFC A6), in whole thousandths.

use std::fmt;

use crate::config::ConfigError;
use crate::sync::{AtomicU64, Ordering};

const MILLI: u64 = 1000;

/// How many retries may be made: a token bucket that failures empty and successes fill.
///
/// ```
/// use peer_health::RetryBudget;
///
/// let budget = RetryBudget::new(10, 0.1)?;
/// (0..5).for_each(|_| budget.failed());
/// assert!(!budget.allows_retry(), "half of the tokens are gone");
/// budget.succeeded();
/// assert!(budget.allows_retry());
/// assert_eq!(budget.milli_tokens(), 5100);
/// # Ok::<(), peer_health::ConfigError>(())
/// ```
pub struct RetryBudget {
    /// In thousandths of a token, like the rest.
    max: u64,
    gain: u64,
    tokens: AtomicU64,
}

impl RetryBudget {
    /// A full budget of so many tokens, of which each success gives back this part of one.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if there is no token, or if the ratio is not between 0.001 and 1.
    ///
    /// ```
    /// use peer_health::RetryBudget;
    /// assert_eq!(RetryBudget::new(0, 0.1).unwrap_err().field(), "max_tokens");
    /// assert_eq!(RetryBudget::new(10, f64::NAN).unwrap_err().field(), "token_ratio");
    /// ```
    pub fn new(max_tokens: u32, token_ratio: f64) -> Result<Self, ConfigError> {
        if max_tokens == 0 {
            return Err(ConfigError::number("max_tokens", 0u32, "must be at least 1"));
        }
        if !(0.001..=1.0).contains(&token_ratio) {
            let rule = "must be from 0.001 to 1";
            return Err(ConfigError::fraction("token_ratio", token_ratio, rule));
        }
        let max = u64::from(max_tokens) * MILLI;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 1000")]
        let gain = (token_ratio * MILLI as f64).round() as u64;
        Ok(Self { max, gain, tokens: AtomicU64::new(max) })
    }

    /// The same, full again.
    pub(crate) fn fresh(&self) -> Self {
        Self { max: self.max, gain: self.gain, tokens: AtomicU64::new(self.max) }
    }

    /// A call failed: takes a token, if there is one.
    ///
    /// ```
    /// let budget = peer_health::RetryBudget::new(1, 0.1)?;
    /// budget.failed();
    /// budget.failed();
    /// assert_eq!(budget.milli_tokens(), 0);
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn failed(&self) {
        self.change(|tokens| tokens.saturating_sub(MILLI));
    }

    /// A call succeeded: gives a part of a token back, up to the most there can be.
    ///
    /// ```
    /// let budget = peer_health::RetryBudget::new(1, 0.1)?;
    /// budget.succeeded();
    /// assert_eq!(budget.milli_tokens(), 1000);
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn succeeded(&self) {
        self.change(|tokens| (tokens + self.gain).min(self.max));
    }

    fn change(&self, change: impl Fn(u64) -> u64) {
        // Relaxed, twice: pairs with itself in other threads and with `milli_tokens`. One word,
        // and nothing else is read by it; a read-modify-write loses none of several changes.
        let relaxed = Ordering::Relaxed;
        // It fails only where a change is declined: none is.
        let _ = self.tokens.fetch_update(relaxed, relaxed, |tokens| Some(change(tokens)));
    }

    /// Whether a retry may be made: more than half of the tokens are there.
    ///
    /// ```
    /// assert!(peer_health::RetryBudget::new(1, 0.1)?.allows_retry());
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn allows_retry(&self) -> bool {
        2 * self.milli_tokens() > self.max
    }

    /// What is left, in thousandths of a token.
    ///
    /// ```
    /// assert_eq!(peer_health::RetryBudget::new(10, 0.1)?.milli_tokens(), 10_000);
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn milli_tokens(&self) -> u64 {
        // Relaxed: pairs with `change`.
        self.tokens.load(Ordering::Relaxed)
    }

    /// Whether nothing is to be remembered of it: a new one would be the same.
    pub(crate) fn is_full(&self) -> bool {
        self.milli_tokens() == self.max
    }
}

/// A thousand tokens, a tenth of one back for each success: five hundred failures more than a tenth
/// of the successes stop the retries.
impl Default for RetryBudget {
    fn default() -> Self {
        let max = 1000 * MILLI;
        Self { max, gain: MILLI / 10, tokens: AtomicU64::new(max) }
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RetryBudget({} of {} milli-tokens)", self.milli_tokens(), self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
