//! Retry delays with randomness: for an attempt, and for an operation.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::error::{ErrorSeverity, Failure};
use crate::outcome::Recorded;
use crate::retry_policy::{Jitter, RetryPolicy};

impl RetryPolicy {
    /// The delay before an attempt, jitter included: zero for attempt 0, never above `max_delay`.
    /// Never panics, whatever the fields hold.
    ///
    /// ```
    /// use peer_health::RetryPolicy;
    /// use std::time::Duration;
    /// let delay = RetryPolicy::default().delay_for_attempt(2);
    /// assert!(delay >= Duration::from_millis(200) && delay <= Duration::from_millis(220));
    /// ```
    pub fn delay_for_attempt(&self, attempt: u32) -> Duration {
        self.delay(attempt, Jitter::Factor, Duration::ZERO, rand::random())
    }

    /// The delays of one operation.
    ///
    /// ```
    /// let mut backoff = peer_health::RetryPolicy::default().backoff();
    /// assert!(backoff.next_delay().is_some());
    /// ```
    pub fn backoff(&self) -> Backoff {
        Backoff {
            policy: self.clone(),
            jitter: Jitter::default(),
            retry_severe: false,
            attempt: 0,
            previous: self.initial_delay,
            random: SmallRng::seed_from_u64(rand::random()),
        }
    }
}

/// The delays of one operation: counts its attempts, so that ten operations with one peer do not
/// use up each other's.
///
/// ```
/// use peer_health::{Failure, HealthRegistry, Recorded, RetryPolicy, SyncError};
///
/// let registry = HealthRegistry::<u32>::new();
/// let mut backoff = RetryPolicy::default().backoff();
/// let failure = Failure::from(SyncError::Network("reset".into()));
/// let recorded = registry.acquire(&7).unwrap().failure(&failure);
/// let delay = backoff.next(&failure, recorded).unwrap();
/// assert!(delay.as_millis() >= 100);
/// ```
#[derive(Debug, Clone)]
pub struct Backoff {
    policy: RetryPolicy,
    jitter: Jitter,
    retry_severe: bool,
    attempt: u32,
    previous: Duration,
    random: SmallRng,
}

impl Backoff {
    /// Spreads the delays in another way. Default [`Jitter::Factor`].
    ///
    /// ```
    /// use peer_health::{Jitter, RetryPolicy};
    /// let mut backoff = RetryPolicy::default().backoff().with_jitter(Jitter::Equal);
    /// assert!(backoff.next_delay().unwrap().as_millis() >= 50);
    /// ```
    #[must_use]
    pub fn with_jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// Makes the delays repeatable: the same seed, the same delays.
    ///
    /// ```
    /// let policy = peer_health::RetryPolicy::default();
    /// let first = |seed| policy.backoff().with_seed(seed).next_delay();
    /// assert_eq!(first(1), first(1));
    /// ```
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.random = SmallRng::seed_from_u64(seed);
        self
    }

    /// Retries [`Severe`](ErrorSeverity::Severe) errors too, which are otherwise given up at once.
    ///
    /// ```
    /// use peer_health::{Failure, Recorded, RetryPolicy};
    /// let garbage = Failure::remote("garbage");
    /// let mut backoff = RetryPolicy::severe().backoff();
    /// assert_eq!(backoff.clone().next(&garbage, Recorded::Counted), None);
    /// assert!(backoff.retry_severe(true).next(&garbage, Recorded::Counted).is_some());
    /// ```
    #[must_use]
    pub fn retry_severe(mut self, retry: bool) -> Self {
        self.retry_severe = retry;
        self
    }

    /// The delay before the next attempt after a failure; `None` if there is to be none: the
    /// error is not worth a retry, or the attempts are used up.
    ///
    /// Not shorter than the peer asked for, nor than the circuit stays open if this failure opened
    /// it, even where that exceeds `max_delay`: an earlier attempt would be refused.
    ///
    /// ```
    /// use peer_health::{Failure, Recorded, RetryPolicy, SyncError};
    /// use std::time::Duration;
    /// let busy = Failure::from(SyncError::Network("busy".into()))
    ///     .with_retry_after(Duration::from_secs(9));
    /// let delay = RetryPolicy::default().backoff().next(&busy, Recorded::Counted);
    /// assert_eq!(delay, Some(Duration::from_secs(9)));
    /// ```
    pub fn next(&mut self, failure: &Failure, recorded: Recorded) -> Option<Duration> {
        let severe = failure.error().severity() == ErrorSeverity::Severe && self.retry_severe;
        if !failure.error().is_retryable() && !severe {
            return None;
        }
        let opened = match recorded {
            Recorded::Opened { retry_after } => retry_after,
            _ => Duration::ZERO,
        };
        let asked = failure.retry_after().unwrap_or_default();
        Some(self.next_delay()?.max(asked).max(opened))
    }

    /// The delay before the next attempt, whatever the failure was; `None` if the attempts are
    /// used up.
    ///
    /// ```
    /// let mut backoff = peer_health::RetryPolicy::severe().backoff();
    /// assert!(backoff.next_delay().is_some());
    /// assert!(backoff.next_delay().is_some());
    /// assert_eq!(backoff.next_delay(), None);
    /// ```
    pub fn next_delay(&mut self) -> Option<Duration> {
        let attempt = self.attempt.saturating_add(1);
        if !self.policy.should_retry(attempt) {
            return None;
        }
        self.attempt = attempt;
        let u = self.random.random();
        self.previous = self.policy.delay(attempt, self.jitter, self.previous, u);
        Some(self.previous)
    }

    /// Retries so far.
    ///
    /// ```
    /// let mut backoff = peer_health::RetryPolicy::default().backoff();
    /// backoff.next_delay();
    /// assert_eq!(backoff.attempts(), 1);
    /// ```
    pub fn attempts(&self) -> u32 {
        self.attempt
    }
}
