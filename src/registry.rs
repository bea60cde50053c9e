//! The registry: one circuit breaker per peer, looked up by key.

mod builder;
mod handle;
mod key;
mod sweep;
mod table;

use std::fmt;
use std::future::Future;
use std::time::{Duration, SystemTime};

use crate::answer::{NextAdmission, Refused, Status, Untracked};
use crate::circuit::{Admission, Control};
use crate::config::{ConfigError, HealthConfig};
use crate::error::Failure;
use crate::permit::OwnedPermit;
use crate::seat::{Seat, Shared};
use crate::snapshot::{Snapshot, Totals};
use crate::sync::Arc;
use table::Table;

pub use builder::RegistryBuilder;
pub use handle::{CallError, PeerHandle};
pub use key::PeerKey;
#[cfg(feature = "tracing")]
pub(crate) use key::short;

/// What is known of all peers: ask before a call, report after it.
///
/// A clone is another name for the same registry. Peers are independent of each other; what is
/// asked about an unknown peer is answered as for a healthy one, and does not make it known.
///
/// ```
/// use peer_health::{HealthRegistry, SyncError};
///
/// let registry = HealthRegistry::<String>::new();
/// let peer = String::from("alice");
/// match registry.acquire(&peer) {
///     Ok(permit) => match Ok::<_, SyncError>("synced") {
///         Ok(_) => permit.success(),
///         Err(error) => permit.failure(error),
///     },
///     Err(refused) => panic!("come back in {:?}", refused.retry_after),
/// };
/// assert_eq!(registry.snapshot(&peer).unwrap().totals.succeeded, 1);
/// ```
///
/// # Bounds
///
/// At most `max_peers` are tracked. Room for a newcomer is made by forgetting a peer that is clean
/// (closed, no failures held against it) and held by nobody; if there is none, the newcomer is
/// served untracked, and counted. A peer whose circuit is open is not forgotten until it was of no
/// use to anybody for `forget_after`.
///
/// # Memory ordering
///
/// A step of a circuit (admission, outcome, control) acquires what the steps before it released:
/// whoever is admitted, or sees a snapshot, also sees what was done before the step that led
/// there. Totals are counted with relaxed operations, in no order with anything.
///
/// # Cancel safety
///
/// No method waits. A permit that is dropped, wherever its future was cancelled, is counted as
/// abandoned and frees what it held.
pub struct HealthRegistry<K> {
    inner: Arc<Inner<K>>,
}

struct Inner<K> {
    shared: Arc<Shared<K>>,
    table: Table<K>,
    /// What the clock's zero was by the system's clock: for display.
    began: SystemTime,
}

impl<K> Clone for HealthRegistry<K> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K: PeerKey> HealthRegistry<K> {
    /// A registry with the default configuration and the system's clock.
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// assert!(registry.is_empty());
    /// ```
    pub fn new() -> Self {
        RegistryBuilder::default().build_default()
    }

    /// A registry to be configured.
    ///
    /// ```
    /// use peer_health::{HealthConfig, HealthRegistry};
    /// let config = HealthConfig::default().with_max_peers(1024usize);
    /// let registry = HealthRegistry::<u32>::builder().config(config).build()?;
    /// assert!(registry.is_empty());
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn builder() -> RegistryBuilder<K> {
        RegistryBuilder::default()
    }

    /// A handle on one peer: looked up once, and then no map on the path. For a task that calls
    /// the same peer again and again.
    ///
    /// The peer becomes known, and stays so while the handle lives. If the table is full, the
    /// handle tries again at each [`acquire`](PeerHandle::acquire).
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// let mut peer = registry.peer(&7);
    /// peer.acquire().unwrap().success();
    /// assert!(registry.contains(&7));
    /// ```
    pub fn peer(&self, peer: &K) -> PeerHandle<K> {
        PeerHandle::new(self.clone(), peer.clone())
    }

    /// Asks to call a peer now.
    ///
    /// # Errors
    ///
    /// [`Refused`] says why not, and when to ask again: [`Open`](crate::Reason::Open) after its
    /// `retry_after`, [`ProbesInFlight`](crate::Reason::ProbesInFlight) after a while,
    /// [`ForcedOpen`](crate::Reason::ForcedOpen) not before a reset.
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// let permit = registry.acquire(&7)?;
    /// permit.success();
    /// # Ok::<(), peer_health::Refused>(())
    /// ```
    pub fn acquire(&self, peer: &K) -> Result<OwnedPermit<K>, Refused> {
        loop {
            let Some(seat) = self.seat(peer) else {
                return Ok(OwnedPermit::untracked(Arc::clone(&self.inner.shared)));
            };
            match seat.acquire() {
                Admission::Admitted(ticket) => return Ok(OwnedPermit::owned(seat, ticket)),
                Admission::Refused(refused) => return Err(refused),
                // Removed since it was looked up: the table has another by now, or none.
                Admission::Gone => {}
            }
        }
    }

    /// Makes a call if the peer may be called, and reports what became of it: acquire and outcome
    /// in one. A panic of `op` counts as abandoned and goes on.
    ///
    /// # Errors
    ///
    /// [`CallError::Refused`] if the call was not made, [`CallError::Failed`] with the error of
    /// `op`, which is reported by its `From<&E> for Failure`.
    ///
    /// ```
    /// use peer_health::{CallError, HealthRegistry, SyncError};
    ///
    /// let registry = HealthRegistry::<u32>::new();
    /// let answer = registry.call(&7, || Ok::<_, SyncError>(42));
    /// assert_eq!(answer, Ok(42));
    /// let error = SyncError::Network("reset".into());
    /// let answer = registry.call(&7, || Err::<(), _>(error.clone()));
    /// assert_eq!(answer, Err(CallError::Failed(error)));
    /// ```
    pub fn call<T, E>(
        &self,
        peer: &K,
        op: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, CallError<E>>
    where
        Failure: for<'e> From<&'e E>,
    {
        let permit = self.acquire(peer)?;
        handle::settle(permit, op())
    }

    /// [`call`](Self::call) for a future. Needs no particular runtime.
    ///
    /// # Errors
    ///
    /// As for [`call`](Self::call).
    ///
    /// # Cancel safety
    ///
    /// The permit is taken at the first poll. Dropping the returned future drops `future` and
    /// counts the call as abandoned; a probe's slot is free again. A deadline belongs inside: one
    /// around the whole only abandons the call, one inside `future` makes it a failure.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncError};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let registry = HealthRegistry::<u32>::new();
    /// let answer = registry.call_async(&7, async { Ok::<_, SyncError>(42) }).await;
    /// assert_eq!(answer, Ok(42));
    /// # });
    /// ```
    pub async fn call_async<T, E>(
        &self,
        peer: &K,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<T, CallError<E>>
    where
        Failure: for<'e> From<&'e E>,
    {
        let permit = self.acquire(peer)?;
        handle::settle(permit, future.await)
    }

    /// Where the peer's circuit stands; closed if it is unknown.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, Status};
    /// let registry = HealthRegistry::<u32>::new();
    /// assert_eq!(registry.status(&7), Status::Closed);
    /// ```
    pub fn status(&self, peer: &K) -> Status {
        self.known(peer).map_or(Status::Closed, |seat| seat.tracker.core().status())
    }

    /// Whether a call would be refused for a reason that has a meaning to the seed's callers: the
    /// circuit is open and its wait is not over, or it is forced open.
    ///
    /// Moves nothing and bounds no probes: any number of callers may be told "no" while a
    /// half-open circuit would admit one. [`acquire`](Self::acquire) is the better question.
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// assert!(!registry.is_circuit_open(&7));
    /// ```
    pub fn is_circuit_open(&self, peer: &K) -> bool {
        self.known(peer).is_some_and(|seat| seat.tracker.refuses(&self.inner.shared.env))
    }

    /// When a call may be admitted, without asking to be admitted.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, NextAdmission};
    /// let registry = HealthRegistry::<u32>::new();
    /// registry.force_open(&7)?;
    /// assert_eq!(registry.next_admission(&7), NextAdmission::Unknown);
    /// # Ok::<(), peer_health::Untracked>(())
    /// ```
    pub fn next_admission(&self, peer: &K) -> NextAdmission {
        self.known(peer).map_or(NextAdmission::Now, |seat| {
            let env = &self.inner.shared.env;
            seat.tracker.next_admission(&seat.tracker.core(), env, env.clock.now())
        })
    }

    /// Everything that is known of a peer; `None` if it is unknown.
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// assert!(registry.snapshot(&7).is_none());
    /// registry.acquire(&7).unwrap().success();
    /// assert_eq!(registry.snapshot(&7).unwrap().totals.succeeded, 1);
    /// ```
    pub fn snapshot(&self, peer: &K) -> Option<Snapshot> {
        Some(self.inner.snapshot(&*self.known(peer)?))
    }

    /// Shows every known peer to `show`.
    ///
    /// # Consistency
    ///
    /// Each snapshot is one state of its peer; together they are no single moment. A peer that is
    /// added or removed meanwhile may be shown or not; none is shown twice. No lock is held while
    /// `show` runs: it may call any method. Peers are held until they were shown, and not evicted.
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// registry.acquire(&7).unwrap().success();
    /// let mut seen = Vec::new();
    /// registry.for_each(|peer, snapshot| seen.push((*peer, snapshot.status)));
    /// assert_eq!(seen, [(7, peer_health::Status::Closed)]);
    /// ```
    pub fn for_each(&self, mut show: impl FnMut(&K, Snapshot)) {
        for seat in self.inner.table.seats() {
            show(&seat.key, self.inner.snapshot(&seat));
        }
    }

    /// What was ever counted, over all peers.
    ///
    /// # Consistency
    ///
    /// Exact when nothing is going on. Meanwhile it may lag behind calls that are ending and peers
    /// that are being forgotten; nothing is lost.
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// registry.acquire(&7).unwrap().success();
    /// assert_eq!(registry.totals().permits.succeeded, 1);
    /// ```
    pub fn totals(&self) -> Totals {
        let mut totals = self.inner.shared.ledger.totals();
        for seat in self.inner.table.seats() {
            totals.permits.add(seat.tracker.totals(&seat.tracker.core().health));
        }
        totals
    }

    /// How many peers are known; one that is being added at this moment may count already.
    ///
    /// ```
    /// assert_eq!(peer_health::HealthRegistry::<u32>::new().len(), 0);
    /// ```
    pub fn len(&self) -> usize {
        self.inner.table.len()
    }

    /// Whether no peer is known.
    ///
    /// ```
    /// assert!(peer_health::HealthRegistry::<u32>::new().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the peer is known. To ask is no use of it.
    ///
    /// ```
    /// assert!(!peer_health::HealthRegistry::<u32>::new().contains(&7));
    /// ```
    pub fn contains(&self, peer: &K) -> bool {
        self.known(peer).is_some()
    }

    /// Replaces the configuration (R18). Open circuits keep their wait, half-open ones their
    /// probes; closed ones continue under the new one from their next step, their streak kept.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the field; nothing was changed.
    ///
    /// ```
    /// use peer_health::{HealthConfig, HealthRegistry};
    /// let registry = HealthRegistry::<u32>::new();
    /// registry.set_config(HealthConfig::default().with_failure_threshold(2))?;
    /// assert!(registry.set_config(HealthConfig::default().with_open_jitter(7.0)).is_err());
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn set_config(&self, config: HealthConfig) -> Result<(), ConfigError> {
        self.inner.shared.env.rules.replace(Arc::new(config.check()?));
        Ok(())
    }

    /// Refuses all calls to a peer until [`reset`](Self::reset). Calls in flight become late.
    ///
    /// # Errors
    ///
    /// [`Untracked`] if the peer is unknown and the table full: it is *not* refused.
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// registry.force_open(&7)?;
    /// assert!(registry.acquire(&7).is_err());
    /// # Ok::<(), peer_health::Untracked>(())
    /// ```
    pub fn force_open(&self, peer: &K) -> Result<(), Untracked> {
        self.control(peer, Control::ForceOpen)
    }

    /// Admits all calls to a peer and records nothing, until [`reset`](Self::reset).
    ///
    /// # Errors
    ///
    /// [`Untracked`] if the peer is unknown and the table full.
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// registry.disable(&7)?;
    /// assert_eq!(registry.status(&7), peer_health::Status::Disabled);
    /// # Ok::<(), peer_health::Untracked>(())
    /// ```
    pub fn disable(&self, peer: &K) -> Result<(), Untracked> {
        self.control(peer, Control::Disable)
    }

    /// Admits all calls to a peer and records their outcomes without ever opening the circuit,
    /// until [`reset`](Self::reset).
    ///
    /// # Errors
    ///
    /// [`Untracked`] if the peer is unknown and the table full.
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// registry.metrics_only(&7)?;
    /// assert_eq!(registry.status(&7), peer_health::Status::MetricsOnly);
    /// # Ok::<(), peer_health::Untracked>(())
    /// ```
    pub fn metrics_only(&self, peer: &K) -> Result<(), Untracked> {
        self.control(peer, Control::MetricsOnly)
    }

    /// Closes the circuit and clears what is held against the peer. Calls in flight become late;
    /// all-time totals stay. `false` if the peer is unknown; it does not become known.
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// registry.force_open(&7)?;
    /// assert!(registry.reset(&7));
    /// assert!(registry.acquire(&7).is_ok());
    /// # Ok::<(), peer_health::Untracked>(())
    /// ```
    pub fn reset(&self, peer: &K) -> bool {
        while let Some(seat) = self.known(peer) {
            if self.controlled(&seat, Control::Reset) {
                self.inner.shared.freed();
                return true;
            }
        }
        false
    }

    /// Forgets a peer, whatever its circuit is. Permits of it are late from now on; a handle on it
    /// looks it up again. `false` if it was unknown.
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// let permit = registry.acquire(&7).unwrap();
    /// assert!(registry.remove(&7));
    /// assert_eq!(permit.success(), peer_health::Recorded::Late);
    /// assert!(!registry.contains(&7));
    /// ```
    pub fn remove(&self, peer: &K) -> bool {
        self.inner.table.remove(&self.inner.shared, peer)
    }

    /// Forgets the peers that are idle: clean, held by nobody, and not used between two sweeps at
    /// least `idle_timeout` apart; and those in trouble that were out of use for `forget_after`.
    /// How many they were. Insertions sweep by themselves now and then.
    ///
    /// ```
    /// use peer_health::{Clock, HealthRegistry};
    /// use std::time::Duration;
    ///
    /// let (clock, hand) = Clock::manual();
    /// let registry = HealthRegistry::<u32>::builder().clock(clock).build()?;
    /// registry.acquire(&7).unwrap().success();
    /// assert_eq!(registry.sweep(), 0);
    /// hand.advance(Duration::from_secs(600));
    /// assert_eq!(registry.sweep(), 1);
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn sweep(&self) -> usize {
        let shared = &self.inner.shared;
        self.inner.table.sweep(shared, shared.env.clock.now())
    }

    /// The peer's seat, made if need be.
    pub(crate) fn seat(&self, peer: &K) -> Option<Arc<Seat<K>>> {
        self.inner.table.seat(&self.inner.shared, peer)
    }

    /// The peer's seat, if it has one.
    pub(crate) fn known(&self, peer: &K) -> Option<Arc<Seat<K>>> {
        self.inner.table.get(peer)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared<K>> {
        &self.inner.shared
    }

    fn control(&self, peer: &K, control: Control) -> Result<(), Untracked> {
        loop {
            let seat = self.seat(peer).ok_or(Untracked)?;
            if self.controlled(&seat, control) {
                return Ok(());
            }
        }
    }

    /// Imposes the control; `false` if the tracker was removed meanwhile.
    fn controlled(&self, seat: &Seat<K>, control: Control) -> bool {
        let (done, turns) = seat.tracker.control(&self.inner.shared.env, control);
        seat.tell(turns);
        done.is_some()
    }
}

impl<K> Inner<K> {
    fn snapshot(&self, seat: &Seat<K>) -> Snapshot {
        let env = &self.shared.env;
        let core = seat.tracker.core();
        let now = env.clock.now();
        let health = &core.health;
        let wall = |tick: crate::time::Tick| {
            self.began.checked_add(Duration::from_nanos(tick.0)).unwrap_or(self.began)
        };
        Snapshot {
            status: core.status(),
            generation: core.generation,
            streak: health.streak,
            window: core.window_counts(now),
            next_admission: seat.tracker.next_admission(&core, env, now),
            open_for: core.opened_at().map(|at| Duration::from_nanos(now.since(at))),
            probes_in_flight: core.probes_in_flight(),
            last_error: health.last_error.as_ref().map(|(_, failure)| Arc::clone(failure)),
            last_error_at: health.last_error.as_ref().map(|(at, _)| wall(*at)),
            opened_at: core.opened_at().map(wall),
            errors: health.errors,
            retry_attempt: health.retry_attempt,
            consecutive_successes: seat.tracker.successes_since(health),
            totals: seat.tracker.totals(health),
        }
    }
}

impl<K: PeerKey> Default for HealthRegistry<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: PeerKey> fmt::Debug for HealthRegistry<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthRegistry").field("len", &self.len()).finish_non_exhaustive()
    }
}
