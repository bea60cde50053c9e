//! When to try one operation again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use peer_health::{Backoff as Core, Jitter as CoreJitter, RetryPolicy as CorePolicy};

use crate::error::HealthError;
use crate::failure::{ErrorKind, failure};
use crate::permit::Recorded;
use crate::time::wait;

/// How often an operation is tried, and with what delays.
#[derive(Debug, Clone, PartialEq, uniffi::Record)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// The first delay.
    pub initial_delay: Duration,
    /// The longest delay.
    pub max_delay: Duration,
    /// How many attempts there are, the first included.
    pub max_attempts: u32,
    /// By how much each delay is longer than the one before; at least 1.
    pub backoff_multiplier: f64,
    /// The share of a delay that is random, for the jitter `Factor`.
    pub jitter_factor: f64,
}

/// How much of a delay is random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
#[non_exhaustive]
pub enum Jitter {
    /// The policy's share.
    Factor,
    /// All of it.
    Full,
    /// Half of it.
    Equal,
    /// Between the first delay and thrice the last.
    Decorrelated,
}

/// Returns five attempts with delays from 100 ms to 30 s that double.
///
/// ```
/// assert_eq!(peer_health_ffi::default_retry_policy().max_attempts, 5);
/// ```
#[uniffi::export]
pub fn default_retry_policy() -> RetryPolicy {
    let core = CorePolicy::default();
    RetryPolicy {
        initial_delay: core.initial_delay,
        max_delay: core.max_delay,
        max_attempts: core.max_attempts,
        backoff_multiplier: core.backoff_multiplier,
        jitter_factor: core.jitter_factor,
    }
}

/// The delays of one operation.
#[derive(Debug, uniffi::Object)]
pub struct Backoff {
    core: Mutex<Core>,
}

impl Backoff {
    fn with<T>(&self, ask: impl FnOnce(&mut Core) -> T) -> T {
        ask(&mut self.core.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[uniffi::export]
impl Backoff {
    /// Begins the delays of a policy, or of `default_retry_policy`. A seed makes them the same each time.
    ///
    /// # Errors
    ///
    /// `Invalid` names the field of the policy that breaks a rule.
    #[uniffi::constructor(default(policy = None, jitter = None, seed = None))]
    pub fn new(
        policy: Option<RetryPolicy>,
        jitter: Option<Jitter>,
        seed: Option<u64>,
    ) -> Result<Arc<Self>, HealthError> {
        let policy = policy.unwrap_or_else(default_retry_policy);
        let policy = CorePolicy::try_new(
            policy.initial_delay,
            policy.max_delay,
            policy.max_attempts,
            policy.backoff_multiplier,
            policy.jitter_factor,
        )?;
        let mut core = policy.backoff().with_jitter(match jitter {
            None | Some(Jitter::Factor) => CoreJitter::Factor,
            Some(Jitter::Full) => CoreJitter::Full,
            Some(Jitter::Equal) => CoreJitter::Equal,
            Some(Jitter::Decorrelated) => CoreJitter::Decorrelated,
        });
        if let Some(seed) = seed {
            core = core.with_seed(seed);
        }
        Ok(Arc::new(Self { core: Mutex::new(core) }))
    }

    /// Returns the next delay; nothing when the attempts are used up.
    pub fn next_delay(&self) -> Option<Duration> {
        self.with(Core::next_delay).map(wait)
    }

    /// Returns the delay after this error, as its permit recorded it: not before the circuit's wait is over, nor
    /// before what the peer asked for; nothing if another attempt makes no sense.
    #[uniffi::method(default(retry_after = None))]
    pub fn next_after(
        &self,
        kind: ErrorKind,
        recorded: Recorded,
        retry_after: Option<Duration>,
    ) -> Option<Duration> {
        let failure = failure(kind, String::new(), None, retry_after);
        self.with(|core| core.next(&failure, recorded.into())).map(wait)
    }

    /// Returns how many delays were given.
    pub fn attempts(&self) -> u32 {
        self.with(|core| core.attempts())
    }
}
