//! Retry delays with randomness: the delay of one attempt, and the delays of one operation.

use std::iter::FusedIterator;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::error::{ErrorSeverity, Failure};
use crate::outcome::Recorded;
use crate::retry_policy::{Jitter, RetryPolicy};

impl RetryPolicy {
    /// Returns the delay before an attempt, jitter included: zero for attempt 0, at most `max_delay`. Never
    /// panics, whatever the fields hold.
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

    /// Returns the delays between the attempts of one operation: `max_attempts` less one, each with its
    /// jitter. For a loop, or for a crate that retries: backon takes this as its backoff.
    ///
    /// It knows of no failure: what is not worth a retry, and how long the circuit stays open, is for
    /// [`Backoff::next`] to heed.
    ///
    /// ```
    /// use backon::Retryable;
    /// use peer_health::{HealthRegistry, RetryPolicy, SyncError};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?
    /// #     .block_on(async {
    /// let registry = HealthRegistry::<u32>::new();
    /// let fetch = || registry.call_async(&7, async {
    ///     Err::<(), _>(SyncError::Network("reset".into()))
    /// });
    /// fetch.retry(RetryPolicy::severe().delays()).await.unwrap_err();
    /// assert_eq!(registry.totals().all.failed, 3);
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn delays(&self) -> Delays {
        self.backoff().into_iter()
    }

    /// Begins the delays of one operation.
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

/// An iterator over the delays of one operation: see [`RetryPolicy::delays`].
///
/// ```
/// use peer_health::{Delays, Jitter, RetryPolicy};
/// let delays: Delays = RetryPolicy::severe().backoff().with_jitter(Jitter::Full).into_iter();
/// assert_eq!(delays.count(), 2);
/// ```
#[derive(Debug, Clone)]
pub struct Delays(Backoff);

impl Iterator for Delays {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next_delay()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let attempts = self.0.policy.max_attempts.saturating_sub(1);
        let left = usize::try_from(attempts.saturating_sub(self.0.attempt)).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl FusedIterator for Delays {}

/// As [`RetryPolicy::delays`], where a jitter or a seed was chosen.
impl IntoIterator for Backoff {
    type Item = Duration;
    type IntoIter = Delays;

    fn into_iter(self) -> Delays {
        Delays(self)
    }
}

/// The delays of one operation. Each operation counts its own attempts, so that ten operations with one peer do not
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
    /// Sets how the delays are spread. Default [`Jitter::Factor`].
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

    /// Seeds the jitter, so that equal seeds give equal delays.
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

    /// Retries [`Severe`](ErrorSeverity::Severe) errors too, if `retry`. Default false: such an error ends
    /// the operation.
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

    /// Returns the delay before the next attempt after this failure; `None` ends the operation: the error is
    /// not worth a retry, or no attempt is left.
    ///
    /// The delay is at least what the peer asked for, and at least as long as the circuit stays open if this
    /// failure opened it, even above `max_delay`: the registry would refuse an earlier attempt.
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

    /// Returns the delay before the next attempt, whatever the failure was; `None` if no attempt is left.
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

    /// Returns the number of retries so far.
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
