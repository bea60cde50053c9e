//! The choices of how a coordinator makes its operations.

use std::fmt;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::SyncCoordinator;
use super::config::{CoordinatorConfig, RETRY};
use super::limits::Limits;
use super::shared::CoordinatorShared;
use crate::budget::RetryBudget;
use crate::config::ConfigError;
use crate::registry::{HealthRegistry, Names, PeerKey};
use crate::retry_policy::RetryPolicy;
use crate::sync::Arc;

/// The default deadline of an attempt, and the least if the lease is next to nothing.
const DEADLINE: Duration = Duration::from_secs(10);
const LEAST: Duration = Duration::from_nanos(1);

/// Makes a [`SyncCoordinator`]: see [`SyncCoordinator::builder`] for the defaults.
///
/// ```
/// use peer_health::{HealthRegistry, RetryBudget, RetryPolicy, SyncCoordinator};
/// use std::time::Duration;
///
/// let coordinator = SyncCoordinator::builder(HealthRegistry::<u32>::new())
///     .retry(RetryPolicy::transient())
///     .attempt_deadline(Duration::from_secs(5))
///     .max_concurrent(256)
///     .max_per_peer(2)
///     .budget(RetryBudget::new(500, 0.2)?)
///     .budget_per_peer(RetryBudget::new(10, 0.1)?)
///     .seed(1)
///     .build()?;
/// assert_eq!(coordinator.budget().milli_tokens(), 500_000);
/// # Ok::<(), peer_health::ConfigError>(())
/// ```
#[must_use]
pub struct CoordinatorBuilder<K> {
    registry: HealthRegistry<K>,
    retry: RetryPolicy,
    /// The names of the policy's fields in the configuration that it came with, if it came with one.
    retry_names: &'static [&'static str],
    attempt_deadline: Option<Duration>,
    stable_after: Duration,
    max_concurrent: usize,
    max_per_peer: usize,
    budget: Result<RetryBudget, ConfigError>,
    budget_per_peer: Result<Option<RetryBudget>, ConfigError>,
    seed: Option<u64>,
}

impl<K: PeerKey> CoordinatorBuilder<K> {
    pub(super) fn new(registry: HealthRegistry<K>) -> Self {
        let CoordinatorConfig {
            retry,
            attempt_deadline,
            stable_after,
            max_concurrent,
            max_per_peer,
            ..
        } = CoordinatorConfig::default();
        Self {
            registry,
            retry,
            retry_names: &[],
            attempt_deadline,
            stable_after,
            max_concurrent,
            max_per_peer,
            budget: Ok(RetryBudget::default()),
            budget_per_peer: Ok(None),
            seed: None,
        }
    }

    /// Takes all settings of this configuration in place of those that were set before;
    /// [`build`](Self::build) checks them.
    ///
    /// ```
    /// use peer_health::{CoordinatorConfig, HealthRegistry, SyncCoordinator};
    /// let mut config = CoordinatorConfig::default();
    /// config.retry.jitter_factor = -1.0;
    /// let builder = SyncCoordinator::builder(HealthRegistry::<u32>::new());
    /// assert_eq!(builder.config(config).build().unwrap_err().field(), "retry.jitter_factor");
    /// ```
    pub fn config(self, config: CoordinatorConfig) -> Self {
        let (budget, budget_per_peer) = config.budgets();
        Self {
            retry: config.retry,
            retry_names: RETRY,
            attempt_deadline: config.attempt_deadline,
            stable_after: config.stable_after,
            max_concurrent: config.max_concurrent,
            max_per_peer: config.max_per_peer,
            budget,
            budget_per_peer,
            ..self
        }
    }

    /// Sets when the attempts of an operation are made, and how many. Default: [`RetryPolicy::default`].
    ///
    /// ```
    /// use peer_health::{HealthRegistry, RetryPolicy, SyncCoordinator};
    /// let policy = RetryPolicy { jitter_factor: f64::NAN, ..RetryPolicy::default() };
    /// let builder = SyncCoordinator::builder(HealthRegistry::<u32>::new());
    /// assert_eq!(builder.retry(policy).build().unwrap_err().field(), "jitter_factor");
    /// ```
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        (self.retry, self.retry_names) = (policy, &[]);
        self
    }

    /// Sets how long one attempt may take before it has failed. QUIC by itself is slower: a dial to a
    /// peer that is gone takes 30 s. Default: 10 s, or half of the registry's `probe_lease` if that is
    /// shorter.
    ///
    /// The deadline must be above zero, and below the `probe_lease`: the outcome of a probe counts no
    /// more after its lease. If a later [`set_config`](HealthRegistry::set_config) makes the lease too
    /// short, probes get half of it.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator};
    /// use std::time::Duration;
    /// let builder = SyncCoordinator::builder(HealthRegistry::<u32>::new());
    /// let error = builder.attempt_deadline(Duration::ZERO).build().unwrap_err();
    /// assert_eq!(error.field(), "attempt_deadline");
    /// ```
    pub fn attempt_deadline(mut self, deadline: Duration) -> Self {
        self.attempt_deadline = Some(deadline);
        self
    }

    /// Sets how long a session must last to be good. A session is short if it is lost sooner after the
    /// call that began it, though that call succeeded. After n short ones in a row the driver's next call
    /// waits `open_timeout * open_multiplier^(n - 1)`, at most `open_max`; a session that lasts longer
    /// ends the count. [`note_lost`](crate::SyncDriver::note_lost), with a failure that counts, tells
    /// that a session was lost. Default: 10 s; zero switches this off.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator};
    /// use std::time::Duration;
    /// let builder = SyncCoordinator::builder(HealthRegistry::<u32>::new());
    /// assert!(builder.stable_after(Duration::from_secs(30)).build().is_ok());
    /// ```
    pub fn stable_after(mut self, session: Duration) -> Self {
        self.stable_after = session;
        self
    }

    /// Sets how many attempts may be made at the same time, over all peers: the number of concurrency
    /// slots, at least 1. Default: 64.
    ///
    /// Once any peer has answered, peers that never did and peers in trouble (a streak is running,
    /// or the circuit is not closed) hold at most half of the slots, at least one, whether others
    /// wait or not. In that half, peers that never answered hold at most half, at least one; while
    /// one of them waits, that part is theirs.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator};
    /// let builder = SyncCoordinator::builder(HealthRegistry::<u32>::new());
    /// assert_eq!(builder.max_concurrent(0).build().unwrap_err().field(), "max_concurrent");
    /// ```
    pub fn max_concurrent(mut self, attempts: usize) -> Self {
        self.max_concurrent = attempts;
        self
    }

    /// Sets how many attempts may be made at the same time with one peer: the number of its peer slots,
    /// at least 1. A [`SyncDriver`](crate::SyncDriver) uses one at the most. Default: 1.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator};
    /// let builder = SyncCoordinator::builder(HealthRegistry::<u32>::new());
    /// assert_eq!(builder.max_per_peer(0).build().unwrap_err().field(), "max_per_peer");
    /// ```
    pub fn max_per_peer(mut self, attempts: usize) -> Self {
        self.max_per_peer = attempts;
        self
    }

    /// Sets what retries may cost, over all peers. Retries that fail take tokens, if their peer answered
    /// before and its circuit is closed: the circuit bounds probes, and their share of the concurrency
    /// slots bounds peers that never answered. Default: 1000 tokens; a tenth of one comes back with each
    /// success, and one with each second by the registry's clock.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, RetryBudget, SyncCoordinator};
    /// let builder = SyncCoordinator::builder(HealthRegistry::<u32>::new());
    /// let coordinator = builder.budget(RetryBudget::new(10, 0.1)?).build()?;
    /// assert_eq!(coordinator.budget().milli_tokens(), 10_000);
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.budget = Ok(budget);
        self
    }

    /// Sets what retries with one peer may cost: each peer begins with a full budget like this one. Of
    /// more than 65,536 peers whose budget is not full, some are forgotten, and begin with a full one
    /// again. Default: no budget for each peer.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, RetryBudget, SyncCoordinator};
    /// let builder = SyncCoordinator::builder(HealthRegistry::<u32>::new());
    /// assert!(builder.budget_per_peer(RetryBudget::new(10, 0.1)?).build().is_ok());
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn budget_per_peer(mut self, budget: RetryBudget) -> Self {
        self.budget_per_peer = Ok(Some(budget));
        self
    }

    /// Makes the delays repeatable, for tests: every [`sync`](SyncCoordinator::sync) then waits for as
    /// long as every other. Default: a random seed.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator};
    /// assert!(SyncCoordinator::builder(HealthRegistry::<u32>::new()).seed(1).build().is_ok());
    /// ```
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Makes the coordinator.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] names the field that makes no sense, and its value: `attempt_deadline`,
    /// `max_concurrent`, `max_per_peer`, or a field of the [`RetryPolicy`]. Where these came by
    /// [`config`](Self::config), it names fields of the policy and the budgets with their table:
    /// `retry.jitter_factor`, `budget.max_tokens`.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator};
    /// assert!(SyncCoordinator::builder(HealthRegistry::<u32>::new()).build().is_ok());
    /// ```
    pub fn build(self) -> Result<SyncCoordinator<K>, ConfigError> {
        self.retry.check().map_err(|error| error.within(self.retry_names))?;
        if let Some(error) = self.budget.as_ref().err().or(self.budget_per_peer.as_ref().err()) {
            return Err(error.clone());
        }
        if let Some(deadline) = self.attempt_deadline {
            let lease = self.registry.rules().lease.map(Duration::from_nanos);
            if deadline.is_zero() {
                return Err(ConfigError::time("attempt_deadline", deadline, "must be above zero"));
            }
            if let Some(lease) = lease.filter(|lease| deadline >= *lease) {
                let rule = "must be below probe_lease";
                return Err(ConfigError::time("attempt_deadline", deadline, rule).beside(lease));
            }
        }
        for (field, value) in
            [("max_concurrent", self.max_concurrent), ("max_per_peer", self.max_per_peer)]
        {
            if !(1..=Semaphore::MAX_PERMITS).contains(&value) {
                return Err(ConfigError::number(
                    field,
                    value as u64,
                    "must be at least 1, and no more than a semaphore can count",
                ));
            }
        }
        Ok(self.with_defaults())
    }

    /// Makes the coordinator without a check, which the defaults pass.
    pub(super) fn with_defaults(self) -> SyncCoordinator<K> {
        let clock = self.registry.clock();
        let half_lease = self.registry.rules().lease.map(|lease| Duration::from_nanos(lease / 2));
        let deadline = half_lease.map_or(DEADLINE, |half| half.clamp(LEAST, DEADLINE));
        // `build` has returned the error of a budget that has one.
        let budget_per_peer = self.budget_per_peer.ok().flatten();
        let budget_per_peer = budget_per_peer.map(|budget| budget.with_clock(clock.clone()));
        let limits = Limits::new(self.max_concurrent, self.max_per_peer, budget_per_peer);
        if self.registry.was_answered_before() {
            limits.note_answer();
        }
        let shared = Arc::new(CoordinatorShared {
            registry: self.registry,
            retry: self.retry,
            deadline: self.attempt_deadline.unwrap_or(deadline),
            shortened: OnceLock::new(),
            stable_after: self.stable_after,
            budget: self.budget.unwrap_or_default().with_clock(clock),
            limits: Arc::new(limits),
            names: Names::default(),
            seed: self.seed,
            drivers: Mutex::default(),
            hooked: OnceLock::new(),
        });
        let hears = Arc::downgrade(&shared);
        let hooked = shared.registry.hook(move |notice| {
            if let Some(shared) = hears.upgrade() {
                shared.on_notice(notice);
            }
        });
        shared.hooked.get_or_init(|| hooked);
        SyncCoordinator { shared }
    }
}

impl<K: PeerKey> fmt::Debug for CoordinatorBuilder<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoordinatorBuilder")
            .field("retry", &self.retry)
            .field("attempt_deadline", &self.attempt_deadline)
            .field("max_concurrent", &self.max_concurrent)
            .field("max_per_peer", &self.max_per_peer)
            .finish_non_exhaustive()
    }
}
