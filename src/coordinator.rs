//! The driver that honours the registry: asks before it calls, ends what hangs, waits as long as it
//! is told, and gives up in time (feature `tokio`).
//!
//! An operation is made in attempts. Each attempt takes a slot with its peer and a place first and
//! the permit last, runs under a deadline inside the permit, and reports what became of it. Between
//! attempts it holds nothing. Attempts are the operation's own: ten tasks that fail with one peer do
//! not use up each other's.
//!
//! Places are few, and what is dead takes them for the whole deadline: so peers that never answered,
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
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::answer::{Reason, Recorded, Refused};
use crate::backoff::RetryPolicy;
use crate::budget::RetryBudget;
use crate::error::{ErrorSeverity, Failure, Fault, SyncError};
use crate::permit::OwnedPermit;
use crate::registry::hook::{Hooked, Told};
use crate::registry::{HealthRegistry, PeerKey};
use crate::sync::{Arc, Weak};
use crate::time::Tick;

mod all;
mod answered;
mod builder;
mod driver;
mod error;
mod limits;
mod local_outage;
mod places;
mod runtime;
mod schedule;
mod state;
mod stats;
mod task;

pub use builder::CoordinatorBuilder;
pub use driver::SyncDriver;
pub use error::SyncFailed;
use limits::{Asked, Limits, Slot};
use places::Class;
pub use runtime::DriveError;
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
/// assert_eq!(registry.totals().permits.succeeded, 1);
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct SyncCoordinator<K: PeerKey> {
    inner: Arc<Inner<K>>,
}

struct Inner<K: PeerKey> {
    registry: HealthRegistry<K>,
    retry: RetryPolicy,
    deadline: Duration,
    /// Whether it was said that probes get a shorter one.
    shortened: OnceLock<()>,
    stable_after: Duration,
    budget: RetryBudget,
    limits: Arc<Limits<K>>,
    seed: Option<u64>,
    /// Told of what the registry tells.
    drivers: Mutex<Arc<Vec<Weak<DriverState<K>>>>>,
    /// Until the last who has the coordinator lets it go.
    hooked: OnceLock<Hooked>,
}

/// An attempt that failed.
struct Failed {
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
    /// [`SyncFailed`] says why and after how many attempts; without a tokio runtime that has timers,
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
    pub async fn sync<Call, T, E>(&self, peer: &K, op: impl Fn(K) -> Call) -> Result<T, SyncFailed>
    where
        Call: Future<Output = Result<T, E>>,
        E: Into<Failure>,
    {
        runtime::with_timers()?;
        let inner = &self.inner;
        let mut backoff = inner.retry.backoff();
        if let Some(seed) = inner.seed {
            backoff = backoff.with_seed(seed);
        }
        let mut last: Option<Arc<Failure>> = None;
        let (mut attempts, mut refusals) = (0, 0);
        loop {
            let refused = match inner.slot(peer).await {
                Ok(mut slot) => match inner.registry.acquire(peer) {
                    Ok(permit) => {
                        let made = inner.attempt(&mut slot, permit, attempts > 0, &op).await;
                        drop(slot);
                        let failed = match made {
                            Ok((value, _)) => return Ok(value),
                            Err(failed) => failed,
                        };
                        (attempts, refusals) = (attempts + 1, 0);
                        backoff = backoff.retry_severe(failed.is_worth_another());
                        let Failed { failure, recorded, allowed } = failed;
                        let Some(delay) = backoff.next(&failure, recorded) else {
                            return Err(SyncFailed::GaveUp { attempts, failure });
                        };
                        if !allowed {
                            return Err(SyncFailed::BudgetSpent { attempts, failure });
                        }
                        sleep(delay.min(inner.longest_wait())).await;
                        last = Some(failure);
                        continue;
                    }
                    Err(refused) => refused,
                },
                Err(refused) => refused,
            };
            let Some(failure) = &last else { return Err(SyncFailed::Refused(refused)) };
            refusals += 1;
            if refused.reason == Reason::ForcedOpen || !inner.retry.should_retry(refusals) {
                return Err(SyncFailed::GaveUp { attempts, failure: Arc::clone(failure) });
            }
            // Others have opened the circuit, or probe it.
            let (soon, late) = PROBED;
            let probed = || inner.retry.initial_delay.clamp(soon, late);
            sleep(refused.retry_after.unwrap_or_else(probed)).await;
        }
    }
}

/// Takes back what was asked for, if nobody waits for it any more.
struct Asking<'a, K: PeerKey> {
    limits: &'a Arc<Limits<K>>,
    peer: &'a K,
    asked: Asked,
}

impl<K: PeerKey> Drop for Asking<'_, K> {
    fn drop(&mut self) {
        self.limits.take_back(self.peer, self.asked);
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

    /// Whether a call was made, and not refused by our own circuit or a quota of ours.
    fn was_made(&self) -> bool {
        use SyncError::{BandwidthExhausted, CircuitBreakerOpen};
        !matches!(self.failure.error(), CircuitBreakerOpen | BandwidthExhausted(_))
    }

    /// Whether this node is in trouble: not if no call was made, others may still be called.
    fn is_local(&self) -> bool {
        self.failure.fault() == Fault::Local && self.was_made()
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

    /// A slot with the peer, when there is one: at once the refusal, if the circuit refuses it.
    async fn slot(&self, peer: &K) -> Result<Slot<K>, Refused> {
        if let Some(refused) = self.registry.refusal(peer) {
            return Err(refused);
        }
        let class = self.class(peer);
        loop {
            let (given, slot) = oneshot::channel();
            let give = move |slot| drop(given.send(slot));
            let asked = self.limits.ask(peer, class, self.registry.now(), give);
            let _asking = Asking { limits: &self.limits, peer, asked };
            // What was asked for is given once, unless it was taken back.
            if let Ok(slot) = slot.await {
                return Ok(slot);
            }
        }
    }

    /// One attempt, inside its permit and its slot; whether it was a probe.
    async fn attempt<Call, T, E: Into<Failure>>(
        &self,
        slot: &mut Slot<K>,
        permit: OwnedPermit<K>,
        retry: bool,
        op: impl Fn(K) -> Call,
    ) -> Result<(T, bool), Failed>
    where
        Call: Future<Output = Result<T, E>>,
    {
        let (peer, probe) = (slot.peer().clone(), permit.is_probe());
        let began = Instant::now();
        let ended = timeout(self.deadline(probe), op(peer.clone())).await;
        let permit = permit.with_latency(began.elapsed());
        let failure = match ended {
            Ok(Ok(value)) => {
                permit.success();
                self.served(&peer);
                slot.now = Some(self.class(&peer));
                return Ok((value, probe));
            }
            Ok(Err(error)) => error.into(),
            Err(elapsed) => Failure::from(elapsed),
        };
        let recorded = permit.failure(&failure);
        let standing = self.registry.standing(&peer);
        let class = self.limits.class(&peer, standing.answered, standing.troubled);
        slot.now = Some(class);
        // Probes and strangers take no token, and need none (D7).
        let limited = class != Class::Stranger;
        if limited && retry && !probe && failure.counts() {
            self.budget.failed();
            self.limits.budget(&peer, RetryBudget::failed);
        }
        let closed = standing.opened_at.is_none();
        let allowed = !(limited && closed) || self.allows_retry(&peer);
        Err(Failed { failure: Arc::new(failure), recorded, allowed })
    }

    /// How long an attempt may take: what a probe says after its lease counts no more (D12).
    fn deadline(&self, probe: bool) -> Duration {
        let lease = self.registry.rules().lease.filter(|_| probe).map(Duration::from_nanos);
        let Some(lease) = lease.filter(|lease| *lease <= self.deadline) else {
            return self.deadline;
        };
        if self.shortened.set(()).is_ok() {
            warn(self.deadline, lease);
        }
        lease / 2
    }

    fn served(&self, peer: &K) {
        let most = self.registry.rules().max_peers;
        self.limits.served(peer, self.registry.now(), most);
        self.budget.succeeded();
        self.limits.budget(peer, RetryBudget::succeeded);
    }

    /// What the peer is now.
    fn class(&self, peer: &K) -> Class {
        let standing = self.registry.standing(peer);
        self.limits.class(peer, standing.answered, standing.troubled)
    }

    /// From when on the peer may be called, as far as its sessions go (D5).
    fn not_before(&self, peer: &K) -> Option<Tick> {
        self.limits.answered(|answered| answered.not_before(peer))
    }

    fn session_began(&self, peer: &K) {
        let now = self.registry.now();
        self.limits.answered(|answered| answered.session_began(peer, now));
    }

    fn session_lost(&self, peer: &K) {
        let (now, rules) = (self.registry.now(), self.registry.rules());
        let stable = crate::time::nanos(self.stable_after);
        let wait = |short| rules.grown(short);
        self.limits.answered(|answered| answered.session_lost(peer, now, stable, wait));
    }

    /// Whether another attempt may be made, by both budgets.
    fn allows_retry(&self, peer: &K) -> bool {
        self.budget.allows_retry()
            && self.limits.budget(peer, RetryBudget::allows_retry).unwrap_or(true)
    }

    /// Takes what the registry tells, for the drivers.
    fn hear(&self, told: Told<'_, K>) {
        match told {
            Told::Peer(peer) => {
                let drivers =
                    Arc::clone(&self.drivers.lock().unwrap_or_else(PoisonError::into_inner));
                drivers.iter().filter_map(Weak::upgrade).for_each(|driver| driver.stir(peer));
            }
            // Who answered is no stranger when its tracker is gone.
            Told::Gone { peer, answered } => {
                if answered {
                    let most = self.registry.rules().max_peers;
                    self.limits.served(peer, self.registry.now(), most);
                }
                self.hear(Told::Peer(peer));
            }
            // A circuit that others probe is looked at each second.
            Told::Configured => {}
        }
    }

    /// Adds a driver, and forgets those that are gone.
    fn add(&self, driver: &Arc<DriverState<K>>) {
        let mut drivers = self.drivers.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = drivers.iter().filter(|driver| driver.strong_count() > 0).cloned();
        *drivers = Arc::new(alive.chain([Arc::downgrade(driver)]).collect());
    }
}

#[cfg(feature = "tracing")]
fn warn(deadline: Duration, lease: Duration) {
    tracing::warn!(
        target: "peer_health",
        ?deadline,
        ?lease,
        "attempt_deadline is not below probe_lease: probes get half of the lease"
    );
}

#[cfg(not(feature = "tracing"))]
fn warn(_: Duration, _: Duration) {}

impl<K: PeerKey> Clone for SyncCoordinator<K> {
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
