//! Retry delays: pure arithmetic on an attempt and a number in [0, 1) that is drawn higher up
//! (R21).
//!
//! Exponential backoff, and the jitters of Marc Brooker, "Exponential Backoff And Jitter" (AWS
//! Architecture Blog, 2015): full, equal and decorrelated. No delay exceeds `max_delay`, jitter
//! included, and at the cap the jitter is as wide as below it.

use std::time::Duration;

use crate::config::ConfigError;

/// How long to wait before an operation is tried again. Names, fields and values are those of
/// peat-mesh's `sync_errors`.
///
/// Any value of any field is survived: a multiplier that is NaN, infinite or negative means no
/// growth, a jitter that is NaN, infinite or negative none. [`try_new`](Self::try_new) rejects
/// such values instead.
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
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// The delay before the first retry. Default 100 ms.
    pub initial_delay: Duration,
    /// No delay is longer than this. Default 30 s.
    pub max_delay: Duration,
    /// Attempts, the first one included, before an operation is given up. Default 5.
    pub max_attempts: u32,
    /// By how much the delay grows with each attempt. Default 2.
    pub backoff_multiplier: f64,
    /// The part of the delay that is added at random; at the cap it is taken off instead.
    /// Default 0.1.
    pub jitter_factor: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(30), 5, 2.0)
    }
}

impl RetryPolicy {
    /// A policy with a jitter of a tenth.
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

    /// For [`Transient`](crate::ErrorSeverity::Transient) errors: soon and often. 50 ms growing by
    /// half up to 5 s, 10 attempts, a tenth of jitter.
    ///
    /// ```
    /// assert_eq!(peer_health::RetryPolicy::transient().max_attempts, 10);
    /// ```
    pub fn transient() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(5), 10, 1.5)
    }

    /// For [`Severe`](crate::ErrorSeverity::Severe) errors: late and seldom. 1 s growing threefold
    /// up to 60 s, 3 attempts, a fifth of jitter.
    ///
    /// ```
    /// assert_eq!(peer_health::RetryPolicy::severe().jitter_factor, 0.2);
    /// ```
    pub fn severe() -> Self {
        let policy = Self::new(Duration::from_secs(1), Duration::from_secs(60), 3, 3.0);
        Self { jitter_factor: 0.2, ..policy }
    }

    /// A policy whose values make sense.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if `initial_delay` exceeds `max_delay`, the multiplier is not finite or
    /// below 1, or the jitter is not finite or negative.
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

    /// Whether the values make sense.
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

    /// Whether there is another attempt after this many.
    ///
    /// ```
    /// let policy = peer_health::RetryPolicy::default();
    /// assert!(policy.should_retry(4) && !policy.should_retry(5));
    /// ```
    pub fn should_retry(&self, attempt: u32) -> bool {
        attempt < self.max_attempts
    }

    /// The delay before jitter: zero for attempt 0, else
    /// min(max_delay, initial * multiplier^(attempt - 1)).
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

    /// The delay before the given attempt, with `u` from [0, 1) for the jitter and the delay
    /// before the attempt before.
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

/// How a delay is spread, so that those who failed together do not return together.
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
    /// Uniform from zero to the delay.
    Full,
    /// Uniform from half the delay to the delay.
    Equal,
    /// Uniform from `initial_delay` to three times the delay before.
    Decorrelated,
}
