//! A budget for retries, so that they never multiply an outage.
//!
//! Backoff alone does not bound them: when everything fails, every operation is made as often as its policy
//! allows, and a network that is down sees several times its usual load when it comes back. A budget lets
//! retries be a fraction of what succeeds: a failure takes a token, a success gives a part of one back, and
//! the driver retries while more than half of them are there. The arithmetic is that of gRPC's retry
//! throttling (gRFC A6), in whole thousandths.
//!
//! While nothing succeeds, successes give nothing back, so tokens come back with time too (D7). No thread
//! adds them up: the one word that changes holds how much must have come back for the budget to be full, as
//! the theoretical arrival time of the generic cell rate algorithm does (ITU-T I.371). So the budget grants
//! no interval of time twice and loses none, and costs nothing while no thread reads it.

use std::fmt;

use crate::config::ConfigError;
use crate::sync::{AtomicU64, Ordering};
use crate::time::{Clock, Tick};

const MILLI: u64 = 1000;
/// The unit of `rate`: a token has this many parts.
const NANO: f64 = 1e9;
/// A thousandth of a token takes this many nanoseconds at a rate of one.
const NANOS_OF_A_MILLI: u128 = 1_000_000_000_000_000;
/// Ten times what a machine could spend; the arithmetic has room for it for 584 years.
const MOST_PER_SECOND: f64 = 1_000_000.0;

/// A token bucket that bounds retries: failures empty it and successes fill it.
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
    /// The capacity in thousandths of a token, as all amounts are.
    max: u64,
    gain: u64,
    /// The refill by time, in billionths of a token a second.
    rate: u64,
    /// The clock, and its time when the budget began to count.
    clock: Option<(Clock, Tick)>,
    /// The latest time that a thread read: a clock that steps back takes no token.
    latest: AtomicU64,
    /// The total refill at which the budget is full; the part that is still to come is missing.
    full_when: AtomicU64,
}

impl RetryBudget {
    /// Returns a full budget of `max_tokens`; each success gives back `token_ratio` of a token.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], which names the field and its value, if `max_tokens` is 0, or if `token_ratio` is
    /// not from 0.001 to 1.
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
        Ok(Self::full(max, gain, 0))
    }

    fn full(max: u64, gain: u64, rate: u64) -> Self {
        let (latest, full_when) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { max, gain, rate, clock: None, latest, full_when }
    }

    /// Adds `per_second` tokens (or that part of one) each second, whatever fails or succeeds, by the clock
    /// of the coordinator's registry. Default none. Outside a coordinator no token comes back with time.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if `per_second` is not from 0 to a million.
    ///
    /// ```
    /// use peer_health::{Clock, HealthRegistry, RetryBudget, SyncCoordinator};
    ///
    /// let budget = RetryBudget::new(10, 0.1)?.with_refill(0.5)?;
    /// let registry = HealthRegistry::<u32>::new();
    /// let coordinator = SyncCoordinator::builder(registry).budget(budget).build()?;
    /// assert!(coordinator.budget().allows_retry());
    ///
    /// let error = RetryBudget::new(10, 0.1)?.with_refill(f64::INFINITY).unwrap_err();
    /// assert_eq!(error.field(), "per_second");
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn with_refill(self, per_second: f64) -> Result<Self, ConfigError> {
        if !(0.0..=MOST_PER_SECOND).contains(&per_second) {
            let rule = "must be from 0 to 1000000";
            return Err(ConfigError::fraction("per_second", per_second, rule));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10^15")]
        let rate = (per_second * NANO).round() as u64;
        Ok(Self { rate, ..self })
    }

    /// Makes the budget count time by this clock, from now on.
    pub(crate) fn with_clock(self, clock: Clock) -> Self {
        let missing = self.missing(self.now());
        let clock = Some((clock.clone(), clock.now()));
        let (latest, full_when) = (AtomicU64::new(0), AtomicU64::new(missing));
        Self { clock, latest, full_when, ..self }
    }

    /// Returns a full budget of the same shape.
    pub(crate) fn fresh(&self) -> Self {
        Self { clock: self.clock.clone(), ..Self::full(self.max, self.gain, self.rate) }
    }

    /// Returns the time since the budget began to count. No caller holds a lock, since the clock is foreign
    /// code (R25).
    pub(crate) fn now(&self) -> Tick {
        let Some((clock, began)) = self.clock.as_ref().filter(|_| self.rate > 0) else {
            return Tick::default();
        };
        let now = clock.now().since(*began);
        // Relaxed: pairs with itself in other threads; no thread reads anything else by it.
        Tick(self.latest.fetch_max(now, Ordering::Relaxed).max(now))
    }

    /// Returns what has come back with time, as if the budget had no bounds.
    fn returned(&self, now: Tick) -> u64 {
        let returned = u128::from(now.0) * u128::from(self.rate) / NANOS_OF_A_MILLI;
        u64::try_from(returned).unwrap_or(u64::MAX)
    }

    /// Takes a token for a failed call, if there is one.
    ///
    /// ```
    /// let budget = peer_health::RetryBudget::new(1, 0.1)?;
    /// budget.failed();
    /// budget.failed();
    /// assert_eq!(budget.milli_tokens(), 0);
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn failed(&self) {
        self.failed_at(self.now());
    }

    /// As `failed`, at a time that [`Self::now`] returned.
    pub(crate) fn failed_at(&self, now: Tick) {
        // A thread that brings an earlier time than another does not undo what that took.
        self.change(now, |missing| missing.saturating_add(MILLI).min(self.max), u64::max);
    }

    /// Gives a part of a token back for a call that succeeded, up to the capacity.
    ///
    /// ```
    /// let budget = peer_health::RetryBudget::new(1, 0.1)?;
    /// budget.succeeded();
    /// assert_eq!(budget.milli_tokens(), 1000);
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn succeeded(&self) {
        self.succeeded_at(self.now());
    }

    /// As `succeeded`, at a time that [`Self::now`] returned.
    pub(crate) fn succeeded_at(&self, now: Tick) {
        self.change(now, |missing| missing.saturating_sub(self.gain), u64::min);
    }

    /// Changes what is missing in one direction only: to more or to less.
    fn change(&self, now: Tick, change: impl Fn(u64) -> u64, way: fn(u64, u64) -> u64) {
        let returned = self.returned(now);
        let next = |full_when: u64| {
            let missing = change(full_when.saturating_sub(returned));
            Some(way(full_when, returned.saturating_add(missing)))
        };
        // Relaxed, twice: pairs with itself in other threads and with `missing`. No thread reads anything
        // else by this word, and a read-modify-write loses none of several changes.
        let relaxed = Ordering::Relaxed;
        // An update fails only where `next` declines it, and it never does.
        let _ = self.full_when.fetch_update(relaxed, relaxed, next);
    }

    fn missing(&self, now: Tick) -> u64 {
        // Relaxed: pairs with `change`.
        self.full_when.load(Ordering::Relaxed).saturating_sub(self.returned(now))
    }

    /// Returns whether a retry may be made: more than half of the tokens are there.
    ///
    /// ```
    /// assert!(peer_health::RetryBudget::new(1, 0.1)?.allows_retry());
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn allows_retry(&self) -> bool {
        self.allows_retry_at(self.now())
    }

    /// As `allows_retry`, at a time that [`Self::now`] returned.
    pub(crate) fn allows_retry_at(&self, now: Tick) -> bool {
        2 * self.milli_tokens_at(now) > self.max
    }

    /// Returns what is left, in thousandths of a token.
    ///
    /// ```
    /// assert_eq!(peer_health::RetryBudget::new(10, 0.1)?.milli_tokens(), 10_000);
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn milli_tokens(&self) -> u64 {
        self.milli_tokens_at(self.now())
    }

    fn milli_tokens_at(&self, now: Tick) -> u64 {
        self.max.saturating_sub(self.missing(now))
    }

    /// Returns whether the budget is as a new one would be, so that the coordinator may forget it.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full_at(self.now())
    }

    /// As `is_full`, at a time that [`Self::now`] returned.
    pub(crate) fn is_full_at(&self, now: Tick) -> bool {
        self.missing(now) == 0
    }
}

/// Returns the budget of a coordinator that was given none: a thousand tokens, a tenth of one back for each
/// success, and one a second. Retries stop when failures have taken five hundred more than came back.
impl Default for RetryBudget {
    fn default() -> Self {
        Self::full(1000 * MILLI, MILLI / 10, 1_000_000_000)
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RetryBudget({} of {} milli-tokens)", self.milli_tokens(), self.max)
    }
}

#[cfg(test)]
mod tests;
