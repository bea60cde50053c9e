//! The handle of a driver, which syncs with peers for as long as the program runs: on request, one call
//! at a time for each peer, again when it is due, and nothing in between.

use std::fmt;
use std::time::Duration;

use super::SyncCoordinator;
use super::error::{DriveError, runtime_with_timers};
use super::shared::CoordinatorShared;
use super::state::DriverState;
use super::task::drive;
use crate::circuit::Outcome;
use crate::error::{AsFailure, IntoFailure};
use crate::registry::PeerKey;
use crate::runtime::AbortHandle;
use crate::sync::Arc;
use crate::time::nanos;

mod control;

/// Syncs with peers on request, for as long as it lives.
///
/// A requested peer is called once, however often it is requested before: as soon as there is a
/// concurrency slot for it and its circuit admits it. A peer that is requested while it is being called
/// is called once more afterwards. A call that fails is made again as the policy, the peer and its
/// circuit say, if there is budget for it. Otherwise the peer is given up until the next request or
/// [good news](Self::note_reachable). When a good probe leaves a circuit half-open, the next probe
/// follows by itself until the circuit is decided.
///
/// The schedule follows the circuits: the driver sees at once whatever makes one of them admit earlier.
/// Waits go by the registry's clock, which the driver reads at least once a minute whatever tokio's
/// timers say.
///
/// There is one task for the driver and one for each call that is being made. A peer that waits has no
/// task, and is not checked before it is due; it takes its key and some three hundred bytes. At most
/// `max_peers` peers wait that never answered.
///
/// # What ends a call
///
/// - Its deadline: the call failed.
/// - A panic of the operation: the driver counts it as failed and makes the call again; the registry
///   counts it as abandoned, and against nobody.
/// - [`forget`](Self::forget), and the end of the driver: the call is abandoned.
/// - Its own end.
///
/// # Local outages
///
/// A failure that is [this node's](crate::Fault::Local), such as a closed endpoint or used-up
/// descriptors, is no attempt and counts against no peer. After one the driver begins no call for a
/// tenth of a second, and then a single one. If that fails locally too, it begins none for twice as
/// long, up to half a minute. The first call begun since that ends otherwise ends the outage. A single
/// peer whose calls fail locally again and again holds no other up. An operation that a circuit refused
/// ([`CircuitBreakerOpen`](crate::SyncError::CircuitBreakerOpen)) begins no outage.
///
/// # Bans
///
/// A peer that an operator has [forced open](crate::HealthRegistry::force_open) is given up: request
/// it again after the reset. The driver waits for the end of a ban that
/// [has one](crate::HealthRegistry::force_open_for).
///
/// # What ends a driver
///
/// Clones are handles on the same driver. When the last one is dropped, the driver aborts the calls that
/// are being made, and ends; [`shutdown`](Self::shutdown) lets them end first. The end of the runtime
/// ends the driver too. From then on it refuses requests. An operation that keeps a handle on its own
/// driver keeps it from being dropped: shut it down.
///
/// ```
/// use peer_health::{HealthRegistry, SyncCoordinator, SyncError};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let (synced, mut results) = tokio::sync::mpsc::unbounded_channel();
/// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
/// let driver = coordinator.drive(move |peer| {
///     let synced = synced.clone();
///     async move { synced.send(peer).map_err(|_| SyncError::State("nobody listens".into())) }
/// })?;
/// assert!(driver.request(&7) && !driver.request(&7), "it waits already");
/// assert_eq!(results.recv().await, Some(7));
/// driver.shutdown().await;
/// assert_eq!(driver.stats().succeeded, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct SyncDriver<K: PeerKey> {
    driver: Arc<DriverState<K>>,
    _task: Arc<Task>,
}

/// Ends the driver when its last handle is dropped.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<K: PeerKey> SyncCoordinator<K> {
    /// Starts a driver that makes `op` with the peers that are requested of it. What a call gives is
    /// dropped: let `op` hand on what you need.
    ///
    /// # Errors
    ///
    /// A [`DriveError`] says that the calling thread is in no tokio runtime, or in one without timers.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator, SyncError};
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// assert!(coordinator.drive(async |_| Ok::<_, SyncError>(())).is_err(), "no runtime here");
    /// ```
    pub fn drive<Op, Call, T, E>(&self, op: Op) -> Result<SyncDriver<K>, DriveError>
    where
        Op: Fn(K) -> Call + Send + Sync + 'static,
        Call: Future<Output = Result<T, E>> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
        E: AsFailure,
    {
        let runtime = runtime_with_timers()?;
        let (driver, guard) = DriverState::new(Arc::clone(&self.shared));
        self.shared.add_driver(&driver);
        let task = runtime.spawn(drive(Arc::clone(&driver), Arc::new(op), guard));
        Ok(SyncDriver { driver, _task: Arc::new(Task(task)) })
    }
}

impl<K: PeerKey> SyncDriver<K> {
    /// Requests that the peer is called as soon as there is a concurrency slot for it and its circuit
    /// admits it.
    ///
    /// Returns `false` if the peer waits already, if the driver was shut down, or if the peer never
    /// answered and `max_peers` such peers wait (counted as
    /// [`strangers_refused`](crate::DriverStats::strangers_refused)).
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator, SyncError};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// let driver = coordinator.drive(async |_| Ok::<_, SyncError>(()))?;
    /// assert!(driver.request(&7));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn request(&self, peer: &K) -> bool {
        self.driver.request(peer)
    }

    /// Makes a peer that waits the next to be called, and ends its wait: of a retry, of sessions that end
    /// too soon, and of its circuit, which admits a probe as it would have later. No more probes go
    /// out than otherwise. Returns `false` if the peer does not wait.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator, SyncError};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// let driver = coordinator.drive(async |_| Ok::<_, SyncError>(()))?;
    /// assert!(!driver.kick(&7), "nobody has asked for it");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn kick(&self, peer: &K) -> bool {
        self.driver.kick(peer)
    }

    /// Makes every peer that waits due, one after the other within 5 s: for a wake-up, or a change of
    /// network. It ends the waits of retries, of sessions that end too soon, and of circuits that opened
    /// before, and it ends a local outage. A call that is being made is made again at once if it
    /// fails. Peers that answered before come first. The concurrency slots and the limits on probes
    /// bound the calls as ever.
    ///
    /// Its work is proportional to the number of peers that wait.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator, SyncError};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// let (tell, mut called) = tokio::sync::mpsc::unbounded_channel();
    /// let driver = coordinator.drive(move |peer| {
    ///     let failed = tell.send(peer).is_ok();
    ///     async move { if failed { Err(SyncError::Network("asleep".into())) } else { Ok(()) } }
    /// })?;
    /// driver.request(&7);
    /// assert_eq!(called.recv().await, Some(7));
    /// driver.kick_all(); // the lid was opened
    /// assert_eq!(called.recv().await, Some(7));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn kick_all(&self) {
        self.driver.kick_all();
    }

    /// Takes good news of a peer: it has called this node, or its address is known anew. The driver calls
    /// the peer whether or not it was requested, through the same limits, and as a probe if its circuit
    /// is open: the registry [ends the wait](crate::HealthRegistry::note_reachable), or makes it shorter
    /// if probes after such news have failed before. A call that is being made is enough, unless it
    /// fails: it began before the news, so the operation begins anew.
    ///
    /// A peer in trouble that answered before goes first, and may use any concurrency slot. For any
    /// other peer this is a request. While `max_peers` peers that never answered wait, news of one more
    /// is for the registry alone.
    ///
    /// The call comes no sooner after the peer's last failure than the policy's `initial_delay`, or two
    /// nodes that fail each other would call each other back as fast as the network lets them. The delay
    /// of [sessions that end too soon](crate::CoordinatorBuilder::stable_after) is not shortened.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator, SyncError};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// let driver = coordinator.drive(async |_| Ok::<_, SyncError>(()))?;
    /// driver.note_reachable(&7);
    /// assert_eq!(driver.stats().waiting, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn note_reachable(&self, peer: &K) {
        let CoordinatorShared { registry, retry, names, .. } = &*self.driver.shared;
        let peer = &names.name(peer);
        registry.note_reachable(peer);
        let failed = registry.since_last_error(peer).unwrap_or(Duration::MAX);
        self.driver.note_reachable(peer, nanos(retry.initial_delay.saturating_sub(failed)));
    }

    /// Takes bad news of a peer: it is gone though no call was made, as when an idle connection is lost.
    /// A call that is being made on the connection reports the same by itself.
    ///
    /// The registry takes it like any failure without a permit: one that is not the peer's fault counts
    /// against nobody. The circuit decides what it means for later calls; a call that is being made goes
    /// on. Do not report an old connection that times out after the peer has come back on another. A
    /// planned disconnect is no failure: [`forget`](Self::forget) the peer. A peer whose sessions are
    /// lost as soon as they begin is called ever more seldom: see
    /// [`stable_after`](crate::CoordinatorBuilder::stable_after).
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator, SyncError};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// let registry = HealthRegistry::<u32>::new();
    /// let driver = SyncCoordinator::new(registry.clone()).drive(async |_| Ok::<_, SyncError>(()))?;
    /// driver.note_lost(&7, SyncError::Network("connection lost".into()));
    /// assert_eq!(registry.snapshot(&7).unwrap().consecutive_failures, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn note_lost<const BY_REFERENCE: bool>(
        &self,
        peer: &K,
        failure: impl IntoFailure<BY_REFERENCE>,
    ) {
        let (outcome, failure) = self.driver.shared.registry.judged(failure.into_failure());
        let failure = Arc::new(failure);
        if outcome == Outcome::Failure {
            let shared = &self.driver.shared;
            // A peer without a name has no session.
            shared.names.known(peer).iter().for_each(|peer| shared.session_lost(peer));
        }
        self.driver.shared.registry.report(peer, outcome, Some(&failure));
    }

    /// Forgets the peer, which is called no more until it is requested again: it has said goodbye, or is
    /// of no interest. A call that is being made is aborted, and counts against nobody. What the
    /// registry knows of the peer stays. Returns whether the peer was waiting, or being called.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator, SyncError};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// let driver = coordinator.drive(async |_| Ok::<_, SyncError>(()))?;
    /// driver.request(&7);
    /// assert!(driver.forget(&7) && !driver.forget(&7));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn forget(&self, peer: &K) -> bool {
        self.driver.forget(peer)
    }
}

impl<K: PeerKey> Clone for SyncDriver<K> {
    fn clone(&self) -> Self {
        Self { driver: Arc::clone(&self.driver), _task: Arc::clone(&self._task) }
    }
}

impl<K: PeerKey> fmt::Debug for SyncDriver<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncDriver").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
