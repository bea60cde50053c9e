//! Retry delays: pure arithmetic on an attempt and a number in [0, 1) that the caller draws (R21).
//!
//! Exponential backoff, and the jitters of Marc Brooker, "Exponential Backoff And Jitter" (AWS
//! Architecture Blog, 2015): full, equal and decorrelated. No delay exceeds `max_delay`, jitter
//! included, and at the cap the jitter is as wide as below it.

use std::time::Duration;

use crate::config::ConfigError;
#[cfg(feature = "serde")]
use crate::serde::plain;

/// A policy that says how long an operation waits before each retry. Names, fields and values are those of
/// peat-mesh's `sync_errors`.
///
/// The policy takes any value of any field: a multiplier that is NaN, infinite or negative means no growth,
/// and a jitter that is NaN, infinite or negative means none. [`try_new`](Self::try_new) rejects such values
/// instead.
///
/// ```
/// use peer_health::RetryPolicy;
/// use std::time::Duration;
///
/// let policy = RetryPolicy { jitter_factor: 0.0, ..RetryPolicy::default() };
/// assert_eq!(policy.delay_for_attempt(1), Duration::from_millis(100));
/// assert_eq!(policy.delay_for_attempt(3), Duration::from_millis(400));
/// assert_eq!(policy.delay_for_attempt(u32::MAX), Duration::from_secs(30));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct RetryPolicy {
    /// The delay before the first retry. Default 100 ms.
    #[cfg_attr(feature = "serde", serde(with = "plain"))]
    pub initial_delay: Duration,
    /// The longest delay. Default 30 s.
    #[cfg_attr(feature = "serde", serde(with = "plain"))]
    pub max_delay: Duration,
    /// The number of attempts of an operation, the first one included. Default 5.
    #[cfg_attr(feature = "serde", serde(with = "plain"))]
    pub max_attempts: u32,
    /// The factor by which the delay grows with each attempt. Default 2.
    #[cfg_attr(feature = "serde", serde(with = "plain"))]
    pub backoff_multiplier: f64,
    /// The part of the delay that the jitter adds at random; at the cap it takes it off instead. Default
    /// 0.1.
    #[cfg_attr(feature = "serde", serde(with = "plain"))]
    pub jitter_factor: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(30), 5, 2.0)
    }
}

impl RetryPolicy {
    /// Returns a policy with a jitter of a tenth.
    ///
    /// ```
    /// use peer_health::RetryPolicy;
    /// use std::time::Duration;
    /// let policy = RetryPolicy::new(Duration::from_secs(1), Duration::from_secs(8), 4, 2.0);
    /// assert_eq!(policy.jitter_factor, 0.1);
    /// ```
    pub fn new(
        initial_delay: Duration,
        max_delay: Duration,
        max_attempts: u32,
        backoff_multiplier: f64,
    ) -> Self {
        Self { initial_delay, max_delay, max_attempts, backoff_multiplier, jitter_factor: 0.1 }
    }

    /// Returns the policy for [`Transient`](crate::ErrorSeverity::Transient) errors, which retries soon and
    /// often: 50 ms growing by half up to 5 s, 10 attempts, a tenth of jitter.
    ///
    /// ```
    /// assert_eq!(peer_health::RetryPolicy::transient().max_attempts, 10);
    /// ```
    pub fn transient() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(5), 10, 1.5)
    }

    /// Returns the policy for [`Severe`](crate::ErrorSeverity::Severe) errors, which retries late and
    /// seldom: 1 s growing threefold up to 60 s, 3 attempts, a fifth of jitter.
    ///
    /// ```
    /// assert_eq!(peer_health::RetryPolicy::severe().jitter_factor, 0.2);
    /// ```
    pub fn severe() -> Self {
        let policy = Self::new(Duration::from_secs(1), Duration::from_secs(60), 3, 3.0);
        Self { jitter_factor: 0.2, ..policy }
    }

    /// Returns a policy with these values if they make sense.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], which names the field and its value, if `initial_delay` exceeds `max_delay`, the
    /// multiplier is not finite or below 1, or the jitter is not finite or negative.
    ///
    /// ```
    /// use peer_health::RetryPolicy;
    /// use std::time::Duration;
    /// let (first, most) = (Duration::from_secs(1), Duration::from_secs(8));
    /// assert!(RetryPolicy::try_new(first, most, 4, 2.0, 0.5).is_ok());
    /// let error = RetryPolicy::try_new(first, most, 4, f64::NAN, 0.5).unwrap_err();
    /// assert_eq!(error.field(), "backoff_multiplier");
    /// ```
    pub fn try_new(
        initial_delay: Duration,
        max_delay: Duration,
        max_attempts: u32,
        backoff_multiplier: f64,
        jitter_factor: f64,
    ) -> Result<Self, ConfigError> {
        let policy = Self::new(initial_delay, max_delay, max_attempts, backoff_multiplier);
        let policy = Self { jitter_factor, ..policy };
        policy.check()?;
        Ok(policy)
    }

    /// Returns an error if a value makes no sense.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let (multiplier, jitter) = (self.backoff_multiplier, self.jitter_factor);
        if self.initial_delay > self.max_delay {
            let rule = "must not exceed max_delay";
            return Err(ConfigError::time("initial_delay", self.initial_delay, rule));
        }
        if !(multiplier.is_finite() && multiplier >= 1.0) {
            let rule = "must be finite and at least 1";
            return Err(ConfigError::fraction("backoff_multiplier", multiplier, rule));
        }
        if !(jitter.is_finite() && jitter >= 0.0) {
            let rule = "must be finite and not negative";
            return Err(ConfigError::fraction("jitter_factor", jitter, rule));
        }
        Ok(())
    }

    /// Returns whether the policy allows another attempt after `attempt` of them.
    ///
    /// ```
    /// let policy = peer_health::RetryPolicy::default();
    /// assert!(policy.should_retry(4) && !policy.should_retry(5));
    /// ```
    pub fn should_retry(&self, attempt: u32) -> bool {
        attempt < self.max_attempts
    }

    /// Returns the delay before jitter: zero for attempt 0, else min(max_delay, initial *
    /// multiplier^(attempt - 1)).
    fn nominal(&self, attempt: u32) -> Duration {
        let multiplier = self.backoff_multiplier;
        let sound = multiplier.is_finite() && multiplier >= 0.0;
        match attempt {
            0 => Duration::ZERO,
            1 => self.initial_delay.min(self.max_delay),
            _ if !sound || multiplier == 1.0 => self.initial_delay.min(self.max_delay),
            _ => {
                let exponent = i32::try_from(attempt - 1).unwrap_or(i32::MAX);
                self.capped(self.initial_delay.as_secs_f64() * multiplier.powi(exponent))
            }
        }
    }

    /// Returns the delay before `attempt`. `u`, from [0, 1), places it within its jitter; `previous` is the
    /// delay before the attempt before.
    pub(crate) fn delay(
        &self,
        attempt: u32,
        jitter: Jitter,
        previous: Duration,
        u: f64,
    ) -> Duration {
        let nominal = self.nominal(attempt);
        let between = |lo: f64, hi: f64| self.capped(lo + (hi - lo) * u);
        let seconds = nominal.as_secs_f64();
        match jitter {
            _ if attempt == 0 => Duration::ZERO,
            Jitter::Factor => {
                let factor = self.jitter_factor;
                if !(factor.is_finite() && factor > 0.0) {
                    return nominal;
                }
                let hi = (seconds * (1.0 + factor)).min(self.max_delay.as_secs_f64());
                between(hi / (1.0 + factor), hi)
            }
            Jitter::Full => between(0.0, seconds),
            Jitter::Equal => between(seconds / 2.0, seconds),
            Jitter::Decorrelated => {
                let base = self.nominal(1).as_secs_f64();
                between(base, (3.0 * previous.as_secs_f64()).max(base))
            }
        }
    }

    fn capped(&self, seconds: f64) -> Duration {
        let delay = Duration::try_from_secs_f64(seconds.max(0.0));
        delay.unwrap_or(self.max_delay).min(self.max_delay)
    }
}

/// A way to spread delays, so that callers that failed together do not return together.
///
/// ```
/// use peer_health::{Jitter, RetryPolicy};
/// let mut backoff = RetryPolicy::default().backoff().with_jitter(Jitter::Full).with_seed(1);
/// assert!(backoff.next_delay().unwrap() <= std::time::Duration::from_millis(100));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Jitter {
    /// Adds up to `jitter_factor` of the delay; at the cap, takes up to as much off.
    #[default]
    Factor,
    /// Draws from zero to the delay, uniformly.
    Full,
    /// Draws from half the delay to the delay, uniformly.
    Equal,
    /// Draws from `initial_delay` to three times the previous delay, uniformly.
    Decorrelated,
}
