//! The driver that honours the registry: it asks before it calls, ends what hangs, waits for as long
//! as a peer or a circuit says, and gives up in time (feature `tokio`).
//!
//! An operation is made in attempts. Each attempt takes a peer slot and a concurrency slot first and
//! the permit last, calls the peer under a deadline inside the permit, and reports the outcome. An
//! operation holds no slot between its attempts. Each operation counts its own attempts: ten tasks
//! that fail with one peer do not use up each other's.
//!
//! There are few concurrency slots, and a dead peer holds one for the whole deadline. So peers that
//! never answered, and peers in trouble, hold no more than half of them (D4). The coordinator
//! remembers which peers have answered for as long as it lives.
//!
//! Whose fault a failure is:
//!
//! - The deadline is inside the permit, so an attempt that runs past it is a failure of the peer or of
//!   the way to it.
//! - A dropped future takes its call back: the registry counts it as abandoned, and against nobody.
//! - A [`Fault::Local`](crate::Fault::Local) is this node's. It counts against no peer, and a
//!   [`SyncDriver`] stops calling until it is over.
//!
//! An attempt states its latency by tokio's clock, from the moment at which it had its slots and its
//! permit, so that no queue is in it.
//!
//! | file | what it holds |
//! |---|---|
//! | `attempt` | one attempt: slots, permit, deadline, report |
//! | `retry` | whether and when an operation is tried again, for `sync` and the driver |
//! | `limits`, `slots`, `answered` | who may run, which class gets the next slot, who has answered |
//! | `driver`, `task`, `state`, `schedule`, `local_outage` | the driver's handle, its task, what it knows, who is due, when this node itself fails |

use std::fmt;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::budget::RetryBudget;
use crate::error::AsFailure;
use crate::registry::{HealthRegistry, PeerKey};
use crate::runtime::sleep;
use crate::sync::Arc;
use crate::wakers::shielded;

mod all;
mod answered;
mod attempt;
mod builder;
mod config;
mod driver;
mod error;
mod limits;
mod local_outage;
mod retry;
mod schedule;
mod shared;
mod slots;
mod state;
mod stats;
mod task;

use attempt::FailedAttempt;
pub use builder::CoordinatorBuilder;
pub use config::{BudgetConfig, CoordinatorConfig};
pub use driver::SyncDriver;
use error::runtime_with_timers;
pub use error::{DriveError, OperationError};
use retry::{NextAttempt, after_refusal};
use shared::CoordinatorShared;
pub use stats::{DriverStats, WaitReason, Waiting};

/// Makes calls to peers as the registry allows: [`sync`](Self::sync) makes one operation,
/// [`sync_all`](Self::sync_all) one with each of many peers, and [`drive`](Self::drive) starts a driver
/// that makes them for as long as the program runs.
///
/// A clone is another handle on the same coordinator, with the same limits and the same budget.
///
/// ```
/// use peer_health::{HealthRegistry, SyncCoordinator, SyncError};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let registry = HealthRegistry::<u32>::new();
/// let coordinator = SyncCoordinator::new(registry.clone());
/// let changes = coordinator.sync(&7, async |_peer| Ok::<_, SyncError>(3)).await;
/// assert_eq!(changes.unwrap(), 3);
/// assert_eq!(registry.totals().all.succeeded, 1);
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct SyncCoordinator<K: PeerKey> {
    shared: Arc<CoordinatorShared<K>>,
}

/// `sync` hears of no step of a circuit that other calls probe. It asks again after the policy's first
/// delay, but no sooner and no later than this.
const WHILE_PROBED: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

impl<K: PeerKey> SyncCoordinator<K> {
    /// Makes a coordinator with the defaults: see [`builder`](Self::builder).
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator};
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// assert!(coordinator.registry().is_empty());
    /// ```
    pub fn new(registry: HealthRegistry<K>) -> Self {
        Self::builder(registry).with_defaults()
    }

    /// Returns a builder that chooses how operations are made.
    ///
    /// Its defaults: [`RetryPolicy::default`](crate::RetryPolicy::default); 10 s for an attempt, or half
    /// of the `probe_lease` if that is shorter; 64 attempts at a time, and one at a time with each peer;
    /// a budget of 1000 tokens, of which each success gives a tenth of one back and each second one; no
    /// budget for each peer.
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

    /// Returns the registry that admits the calls.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator};
    /// let registry = HealthRegistry::<u32>::new();
    /// let coordinator = SyncCoordinator::new(registry.clone());
    /// registry.force_open(&7)?;
    /// assert!(coordinator.registry().contains(&7));
    /// # Ok::<(), peer_health::TableFull>(())
    /// ```
    pub fn registry(&self) -> &HealthRegistry<K> {
        &self.shared.registry
    }

    /// Returns the budget for retries, over all peers.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator};
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// assert_eq!(coordinator.budget().milli_tokens(), 1_000_000);
    /// ```
    pub fn budget(&self) -> &RetryBudget {
        &self.shared.budget
    }

    /// Makes one operation with a peer: it makes attempts until one succeeds, its error is not worth
    /// another, or no other is allowed.
    ///
    /// A circuit that refuses the first attempt ends the operation, and the error says when to come
    /// back. Another attempt is worth it after an error that may pass by itself, and after a severe one
    /// if the peer has said when to come back. Between attempts the operation waits for as long as the
    /// policy says, the peer asks, and the circuit stays open. While other calls probe the circuit, it
    /// waits too, which uses up no attempt. It holds no slot meanwhile. If the circuit refuses it as
    /// often in a row as attempts may be made, it gives up.
    ///
    /// Attempts get their concurrency slots in the order of asking. Peers that never answered and peers
    /// in trouble hold no more than half of the slots: see
    /// [`max_concurrent`](CoordinatorBuilder::max_concurrent).
    ///
    /// `op` says what a success is. An Automerge document that has a history takes messages whose
    /// changes are broken without an error, so an `op` that makes no progress should fail.
    ///
    /// # Errors
    ///
    /// An [`OperationError`] says why there is no result and how many attempts were made, and gives the
    /// error of the last one back. Implement `From<&YourError> for Failure` for an error of your own. A
    /// missing tokio runtime, or one without timers, is an error too.
    ///
    /// # Cancel safety
    ///
    /// The future does nothing before its first poll. A dropped future gives its slots, or its turn in
    /// the queue, back; the registry counts a call that it was making as abandoned, and the probe slot of
    /// a probe is free again. Between attempts there is nothing to give back. A panic of `op` has the
    /// same effect, and goes on to the caller.
    ///
    /// A future that is kept and not polled keeps its slots.
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
    pub async fn sync<Call, T, E>(
        &self,
        peer: &K,
        op: impl Fn(K) -> Call,
    ) -> Result<T, OperationError<E>>
    where
        Call: Future<Output = Result<T, E>>,
        E: AsFailure,
    {
        shielded(self.operate(peer, op)).await
    }

    async fn operate<Call, T, E>(
        &self,
        peer: &K,
        op: impl Fn(K) -> Call,
    ) -> Result<T, OperationError<E>>
    where
        Call: Future<Output = Result<T, E>>,
        E: AsFailure,
    {
        runtime_with_timers()?;
        let shared = &self.shared;
        let mut random = SmallRng::seed_from_u64(shared.seed.unwrap_or_else(rand::random));
        let name = &shared.names.name(peer);
        let mut last: Option<FailedAttempt<E>> = None;
        let (mut attempts, mut refusals) = (0, 0);
        loop {
            let (failed, next) = match shared.attempt_when_free(name, attempts > 0, &op).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(failed)) => {
                    (attempts, refusals) = (attempts + 1, 0);
                    let terms = failed.terms.with_open_wait();
                    let next = terms.next(&shared.retry, attempts, random.random());
                    (failed, next)
                }
                Err(refused) => {
                    let Some(failed) = last.take() else { return Err(refused.into()) };
                    refusals += 1;
                    let (soonest, latest) = WHILE_PROBED;
                    let while_probed = shared.retry.initial_delay.clamp(soonest, latest);
                    let next = match shared.retry.should_retry(refusals) {
                        true => after_refusal(&refused, while_probed),
                        false => NextAttempt::GiveUp,
                    };
                    (failed, next)
                }
            };
            match next {
                NextAttempt::After(wait, _) => {
                    last = Some(failed);
                    sleep(wait).await;
                }
                NextAttempt::GiveUp => return Err(failed.gave_up(attempts)),
                NextAttempt::BudgetSpent => {
                    shared.registry.count_refused_retry();
                    return Err(failed.budget_spent(attempts));
                }
            }
        }
    }
}

impl<K: PeerKey> Clone for SyncCoordinator<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K: PeerKey> fmt::Debug for SyncCoordinator<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncCoordinator")
            .field("registry", &self.shared.registry)
            .field("budget", &self.shared.budget)
            .finish_non_exhaustive()
    }
}
