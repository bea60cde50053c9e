//! The driver that honours the registry: asks before it calls, ends what hangs, waits as long as it
//! is told, and gives up in time (feature `tokio`).
//!
//! An operation is made in attempts. Each attempt takes a slot with its peer and a place first and
//! the permit last, runs under a deadline inside the permit, and reports what became of it. Between
//! attempts it holds nothing. Attempts are the operation's own: ten tasks that fail with one peer do
//! not use up each other's.
//!
//! ConcurrencySlots are few, and what is dead takes them for the whole deadline: so peers that never answered,
//! and peers in trouble, hold no more than half of them (D4). For as long as it lives the coordinator
//! remembers who has answered.
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
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use tokio::time::sleep;

use crate::budget::RetryBudget;
use crate::error::Failure;
use crate::foreign::Own;
use crate::outcome::{Reason, Recorded};
use crate::registry::hook::Hooked;
use crate::registry::{HealthRegistry, Name, Names, PeerKey};
use crate::retry_policy::RetryPolicy;
use crate::sync::{Arc, Weak};
use crate::wakers::shielded;

mod all;
mod answered;
mod attempt;
mod builder;
mod driver;
mod error;
mod limits;
mod local_outage;
mod schedule;
mod slots;
mod state;
mod stats;
mod task;

pub use builder::CoordinatorBuilder;
pub use driver::SyncDriver;
pub use error::{DriveError, OperationError};
use limits::Limits;
use state::DriverState;
pub use stats::{DriverStats, WaitReason, Waiting};

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
/// assert_eq!(registry.totals().all.succeeded, 1);
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct SyncCoordinator<K: PeerKey> {
    shared: Arc<CoordinatorShared<K>>,
}

struct CoordinatorShared<K: PeerKey> {
    registry: HealthRegistry<K>,
    retry: RetryPolicy,
    deadline: Duration,
    /// Whether it was said that probes get a shorter one.
    shortened: OnceLock<()>,
    stable_after: Duration,
    budget: RetryBudget,
    limits: Arc<Limits<Name<K>>>,
    /// What peers are called in the limits and by the drivers.
    names: Names<K>,
    seed: Option<u64>,
    /// HookNotice of what the registry tells.
    drivers: Mutex<Arc<Vec<Weak<DriverState<K>>>>>,
    /// Until the last who has the coordinator lets it go.
    hooked: OnceLock<Hooked>,
}

/// An attempt that failed.
struct FailedAttempt<E> {
    /// What the operation returned; `None` if the deadline passed.
    error: Option<Own<E>>,
    failure: Arc<Failure>,
    recorded: Recorded,
    /// Whether the budgets allow another attempt.
    allowed: bool,
}

/// How soon a circuit is asked again that somebody else probes, at the soonest and at the latest.
const PROBED: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

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

    /// Chooses how operations are made. Defaults: [`RetryPolicy::default`], 10 s for an attempt or
    /// half of the `probe_lease` if that is shorter, 64 operations at a time and one with each peer, a
    /// budget of 1000 tokens of which each success gives back a tenth of one and each second one,
    /// none for each peer.
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
    /// # Ok::<(), peer_health::TableFull>(())
    /// ```
    pub fn registry(&self) -> &HealthRegistry<K> {
        &self.shared.registry
    }

    /// The budget for retries, over all peers.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator};
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// assert_eq!(coordinator.budget().milli_tokens(), 1_000_000);
    /// ```
    pub fn budget(&self) -> &RetryBudget {
        &self.shared.budget
    }

    /// Makes one operation: attempts until one succeeds, is not worth another, or none is allowed.
    ///
    /// If the peer may not be called at first, that is the answer: the caller learns when to come
    /// back. Another attempt is worth it after an error that may pass by itself, and after a severe
    /// one if the peer has said when to come back. Between attempts it waits as long as the policy
    /// says, the peer asks, and the circuit stays open or is probed by others, which takes none of
    /// its attempts; and it holds nothing meanwhile. It gives up if the circuit refuses it as often in
    /// a row as attempts may be made.
    ///
    /// A place is had in the order of asking. Peers that never answered and peers in trouble hold no
    /// more than half of the places: see [`max_concurrent`](CoordinatorBuilder::max_concurrent).
    ///
    /// What a success is, is for `op` to say. An Automerge document that has a history takes
    /// messages whose changes are broken without an error: an `op` that makes no progress should
    /// fail.
    ///
    /// # Errors
    ///
    /// [`OperationError`] says why and after how many attempts; without a tokio runtime that has timers,
    /// that there is none.
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
    pub async fn sync<Call, T, E>(
        &self,
        peer: &K,
        op: impl Fn(K) -> Call,
    ) -> Result<T, OperationError<E>>
    where
        Call: Future<Output = Result<T, E>>,
        Failure: for<'e> From<&'e E>,
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
        Failure: for<'e> From<&'e E>,
    {
        error::runtime_with_timers()?;
        let shared = &self.shared;
        let mut backoff = shared.retry.backoff();
        if let Some(seed) = shared.seed {
            backoff = backoff.with_seed(seed);
        }
        let name = &shared.names.name(peer);
        let mut last: Option<(Option<Own<E>>, Arc<Failure>)> = None;
        let (mut attempts, mut refusals) = (0, 0);
        loop {
            let refused = match shared.slot(name).await {
                Ok(mut slot) => match shared.registry.acquire(peer) {
                    Ok(permit) => {
                        let made = shared.attempt(&mut slot, permit, attempts > 0, &op).await;
                        drop(slot);
                        let failed = match made {
                            Ok((value, _)) => return Ok(value),
                            Err(failed) => failed,
                        };
                        (attempts, refusals) = (attempts + 1, 0);
                        backoff = backoff.retry_severe(failed.is_worth_another());
                        let FailedAttempt { error, failure, recorded, allowed } = failed;
                        let Some(delay) = backoff.next(&failure, recorded) else {
                            return Err(OperationError::gave_up(attempts, error, failure));
                        };
                        if !allowed {
                            return Err(OperationError::budget_spent(attempts, error, failure));
                        }
                        sleep(delay.min(shared.longest_wait())).await;
                        last = Some((error, failure));
                        continue;
                    }
                    Err(refused) => refused,
                },
                Err(refused) => refused,
            };
            let Some((error, failure)) = last.take() else { return Err(refused.into()) };
            refusals += 1;
            let banned = refused.reason == Reason::ForcedOpen && refused.retry_after.is_none();
            if banned || !shared.retry.should_retry(refusals) {
                return Err(OperationError::gave_up(attempts, error, failure));
            }
            last = Some((error, failure));
            // Others have opened the circuit, or probe it.
            let (soon, late) = PROBED;
            let probed = || shared.retry.initial_delay.clamp(soon, late);
            sleep(refused.retry_after.unwrap_or_else(probed)).await;
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
