//! The driver that honours the registry: asks before it calls, ends what hangs, waits as long as it
//! is told, and gives up in time (feature `tokio`).
//!
//! An operation is made in attempts. Each attempt takes a slot first and the permit second, runs
//! under a deadline inside the permit, and reports what became of it. Between attempts it holds
//! nothing. Attempts are the operation's own: ten tasks that fail with one peer do not use up each
//! other's.
//!
//! What is whose fault:
//!
//! - The deadline is inside the permit: to pass it is a failure of the peer or of the way to it.
//! - Whoever drops the future takes the call back: it is counted as abandoned, and held against
//!   nobody.
//! - A [`Fault::Local`](crate::Fault::Local) is this node's: it counts against no peer, and a
//!   [`SyncDriver`] stops calling until it is over.
//!
//! How long a call took is stated by tokio's clock, from the moment at which slot and permit were
//! there: no queue is in it.

use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::answer::{Reason, Recorded};
use crate::backoff::RetryPolicy;
use crate::budget::RetryBudget;
use crate::error::{ErrorSeverity, Failure, Fault, SyncError};
use crate::permit::OwnedPermit;
use crate::registry::{HealthRegistry, PeerKey};
use crate::sync::Arc;

mod agenda;
mod all;
mod builder;
mod driver;
mod error;
mod slots;
mod task;
mod trouble;
mod work;

pub use builder::CoordinatorBuilder;
pub use driver::{DriverStats, SyncDriver};
pub use error::SyncFailed;
use slots::Slots;

/// Makes calls to peers as the registry allows: see [`sync`](Self::sync) for one operation,
/// [`sync_all`](Self::sync_all) for many, [`drive`](Self::drive) for as long as the program runs.
///
/// Cloning it gives another handle on the same coordinator: same limits, same budget.
///
/// ```
/// use peer_health::{HealthRegistry, SyncCoordinator, SyncError};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let registry = HealthRegistry::<u32>::new();
/// let coordinator = SyncCoordinator::new(registry.clone());
/// let changes = coordinator.sync(&7, async |_peer| Ok::<_, SyncError>(3)).await;
/// assert_eq!(changes.unwrap(), 3);
/// assert_eq!(registry.totals().permits.succeeded, 1);
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct SyncCoordinator<K> {
    inner: Arc<Inner<K>>,
}

struct Inner<K> {
    registry: HealthRegistry<K>,
    retry: RetryPolicy,
    deadline: Duration,
    budget: RetryBudget,
    slots: Arc<Slots<K>>,
    seed: Option<u64>,
}

/// An attempt that failed.
struct Failed {
    failure: Arc<Failure>,
    recorded: Recorded,
}

impl<K: PeerKey> SyncCoordinator<K> {
    /// A coordinator with the defaults: see [`builder`](Self::builder).
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator};
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// assert!(coordinator.registry().is_empty());
    /// ```
    pub fn new(registry: HealthRegistry<K>) -> Self {
        Self::builder(registry).with_defaults()
    }

    /// Chooses how operations are made. Defaults: [`RetryPolicy::default`], 10 s for an attempt, 64
    /// operations at a time and one with each peer, a budget of 1000 tokens of which each success
    /// gives back a tenth of one, none for each peer.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator};
    /// use std::time::Duration;
    ///
    /// let coordinator = SyncCoordinator::builder(HealthRegistry::<u32>::new())
    ///     .attempt_deadline(Duration::from_secs(2))
    ///     .max_concurrent(16)
    ///     .build()?;
    /// assert!(coordinator.budget().allows_retry());
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn builder(registry: HealthRegistry<K>) -> CoordinatorBuilder<K> {
        CoordinatorBuilder::new(registry)
    }

    /// The registry that is asked.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator};
    /// let registry = HealthRegistry::<u32>::new();
    /// let coordinator = SyncCoordinator::new(registry.clone());
    /// registry.force_open(&7)?;
    /// assert!(coordinator.registry().contains(&7));
    /// # Ok::<(), peer_health::Untracked>(())
    /// ```
    pub fn registry(&self) -> &HealthRegistry<K> {
        &self.inner.registry
    }

    /// The budget for retries, over all peers.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator};
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// assert_eq!(coordinator.budget().milli_tokens(), 1_000_000);
    /// ```
    pub fn budget(&self) -> &RetryBudget {
        &self.inner.budget
    }

    /// Makes one operation: attempts until one succeeds, is not worth another, or none is allowed.
    ///
    /// If the peer may not be called at first, that is the answer, as soon as the operation has its
    /// place: the caller learns when to come back. Another attempt is worth it after an error that
    /// may pass by itself, and after a severe one if the peer has said when to come back. Between
    /// attempts it waits, also for the circuit to let it through, as long as the policy says, the
    /// peer asks, and the circuit stays open.
    ///
    /// What a success is, is for `op` to say. An Automerge document that has a history takes
    /// messages whose changes are broken without an error: an `op` that makes no progress should
    /// fail.
    ///
    /// # Errors
    ///
    /// [`SyncFailed`] says why and after how many attempts.
    ///
    /// # Cancel safety
    ///
    /// Nothing is done before the first poll. Dropping the future gives back the slot or the place
    /// in the queue, and counts a call that is being made as abandoned; a probe's slot is free
    /// again. Between attempts there is nothing to give back. A panic of `op` does the same, and
    /// goes on.
    ///
    /// A future that is kept and not polled keeps its slot.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator, SyncError};
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?
    /// #     .block_on(async {
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// let calls = AtomicU32::new(0);
    /// let answer = coordinator.sync(&7, async |_| match calls.fetch_add(1, Ordering::Relaxed) {
    ///     0 => Err(SyncError::Network("reset".into())),
    ///     n => Ok(n),
    /// });
    /// assert_eq!(answer.await.unwrap(), 1);
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub async fn sync<Call, T, E>(&self, peer: &K, op: impl Fn(K) -> Call) -> Result<T, SyncFailed>
    where
        Call: Future<Output = Result<T, E>>,
        E: Into<Failure>,
    {
        let inner = &self.inner;
        let mut backoff = inner.retry.backoff();
        if let Some(seed) = inner.seed {
            backoff = backoff.with_seed(seed);
        }
        let mut last: Option<Arc<Failure>> = None;
        let mut attempts = 0;
        loop {
            let slot = inner.slots.take(peer).await;
            let failed = match (inner.registry.acquire(peer), last) {
                (Ok(permit), _) => {
                    let began = Instant::now();
                    let call = op(peer.clone());
                    match inner.attempt(permit, peer, began, call).await {
                        Ok(value) => return Ok(value),
                        Err(failed) => failed,
                    }
                }
                (Err(refused), None) => return Err(SyncFailed::Refused(refused)),
                (Err(refused), Some(failure)) if refused.reason == Reason::ForcedOpen => {
                    return Err(SyncFailed::GaveUp { attempts, failure });
                }
                // Others have opened the circuit, or probe it.
                (Err(refused), Some(failure)) => {
                    drop(slot);
                    let Some(delay) = backoff.next_delay() else {
                        return Err(SyncFailed::GaveUp { attempts, failure });
                    };
                    sleep(delay.max(refused.retry_after.unwrap_or_default())).await;
                    last = Some(failure);
                    continue;
                }
            };
            attempts += 1;
            backoff = backoff.retry_severe(failed.is_worth_another());
            let Failed { failure, recorded } = failed;
            let Some(delay) = backoff.next(&failure, recorded) else {
                return Err(SyncFailed::GaveUp { attempts, failure });
            };
            let delay = delay.min(inner.longest_wait());
            if !inner.allows_retry(peer) {
                return Err(SyncFailed::BudgetSpent { attempts, failure });
            }
            drop(slot);
            sleep(delay).await;
            last = Some(failure);
        }
    }
}

impl Failed {
    /// Whether another attempt makes sense: the error may pass by itself, or the peer has said when
    /// to come back.
    fn is_worth_another(&self) -> bool {
        let error = self.failure.error();
        let asked = self.failure.retry_after().is_some();
        error.is_retryable() || asked && error.severity() == ErrorSeverity::Severe
    }

    /// Whether this node is in trouble. A refusal of our own circuit, or by a quota of ours, is
    /// none: others may still be called.
    fn is_local(&self) -> bool {
        use SyncError::{BandwidthExhausted, CircuitBreakerOpen};
        let refused = matches!(self.failure.error(), CircuitBreakerOpen | BandwidthExhausted(_));
        self.failure.fault() == Fault::Local && !refused
    }
}

impl<K: PeerKey> Inner<K> {
    /// No attempt is made before that: as long as the peer asked for, and as the circuit is open.
    fn least_wait(&self, failed: &Failed) -> Duration {
        let opened = match failed.recorded {
            Recorded::Opened { retry_after } => retry_after,
            _ => Duration::ZERO,
        };
        let asked = failed.failure.retry_after().unwrap_or_default();
        asked.max(opened).min(self.longest_wait())
    }

    /// A peer may ask for no longer a wait than its circuit would keep (R16).
    fn longest_wait(&self) -> Duration {
        Duration::from_nanos(self.registry.rules().open_max).max(self.retry.max_delay)
    }

    /// One attempt, inside its permit, which was begun then.
    async fn attempt<T, E: Into<Failure>>(
        &self,
        permit: OwnedPermit<K>,
        peer: &K,
        began: Instant,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failed> {
        let ended = timeout(self.deadline, call).await;
        let permit = permit.with_latency(began.elapsed());
        let failure = match ended {
            Ok(Ok(value)) => {
                permit.success();
                self.budget.succeeded();
                self.slots.budget(peer, RetryBudget::succeeded);
                return Ok(value);
            }
            Ok(Err(error)) => error.into(),
            Err(elapsed) => Failure::from(elapsed),
        };
        let recorded = permit.failure(&failure);
        if failure.counts() {
            self.budget.failed();
            self.slots.budget(peer, RetryBudget::failed);
        }
        Err(Failed { failure: Arc::new(failure), recorded })
    }

    /// Whether another attempt may be made, by both budgets.
    fn allows_retry(&self, peer: &K) -> bool {
        self.budget.allows_retry()
            && self.slots.budget(peer, RetryBudget::allows_retry).unwrap_or(true)
    }
}

impl<K> Clone for SyncCoordinator<K> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K: PeerKey> fmt::Debug for SyncCoordinator<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncCoordinator")
            .field("registry", &self.inner.registry)
            .field("budget", &self.inner.budget)
            .finish_non_exhaustive()
    }
}
