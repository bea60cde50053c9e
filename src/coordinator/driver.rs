//! Syncs with peers for as long as the program runs: on request, one call at a time for each peer,
//! again when it is due, and nothing in between.

use std::fmt;
use std::time::Duration;

use tokio::task::AbortHandle;

use super::SyncCoordinator;
use super::error::{DriveError, runtime_with_timers};
use super::shared::CoordinatorShared;
use super::state::DriverState;
use super::stats::{DriverStats, Waiting};
use super::task::drive;
use crate::circuit::Outcome;
use crate::error::Failure;
use crate::registry::PeerKey;
use crate::sync::Arc;
use crate::time::nanos;
use crate::wakers::shielded;

/// Syncs with peers on request, for as long as it lives.
///
/// A peer that is requested is called as soon as there is a place that it may have, and its circuit
/// admits it; however often it is requested before that, once. If it is requested while it is being
/// called, it is called once more afterwards. A call that fails is tried again as the policy, the peer
/// and its circuit say, if there is budget for it; then it is given up, until the next request or
/// [good news](Self::note_reachable). When a circuit is half-open after a good probe, the next follows
/// by itself until it is decided.
///
/// The schedule follows the circuits: whatever makes one admit earlier, by whomever, is seen at once.
/// Waits go by the registry's clock, which is looked at once a minute whatever tokio's timers say.
///
/// There is one task for the driver and one for each call that is being made, none for a peer that
/// waits: nobody is looked at before it is due. A peer that waits takes its key and some three
/// hundred bytes. At most `max_peers` peers wait that never answered.
///
/// # What ends a call
///
/// - Its deadline: a failure.
/// - A panic of the operation: counted as failed here and as abandoned in the registry, which holds
///   it against nobody; it is tried again like a failure.
/// - [`forget`](Self::forget), and the end of the driver: abandoned.
/// - Its own end; a failure that is [ours](crate::Fault::Local), such as an endpoint that is closed
///   or descriptors that are used up, is no attempt and counts against no peer. After one no call
///   is begun for a tenth of a second, then a single one is tried; if it fails for such a reason too,
///   none for twice as long, up to half a minute. The first call begun since that ends otherwise ends
///   this. One peer that alone fails so, again and again, holds nobody up. An operation that was
///   refused by a circuit ([`CircuitBreakerOpen`](crate::SyncError::CircuitBreakerOpen)) is no such
///   trouble.
///
/// A peer that an operator has [forced open](crate::HealthRegistry::force_open) is given up: request
/// it again after the reset. The end of a ban that [has one](crate::HealthRegistry::force_open_for) is
/// waited for.
///
/// # What ends a driver
///
/// Clones drive the same. When the last one is dropped, the calls that are being made are taken
/// back, and the driver ends; [`shutdown`](Self::shutdown) lets them end first. So does the end of
/// the runtime. From then on requests are refused. An operation that keeps a handle on its own
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

/// Ends the driver when the last handle goes.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<K: PeerKey> SyncCoordinator<K> {
    /// Starts a driver that makes `op` with the peers that are requested of it.
    ///
    /// # Errors
    ///
    /// [`DriveError`] where there is no tokio runtime to run it, or one without timers.
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
        Failure: for<'e> From<&'e E>,
    {
        let runtime = runtime_with_timers()?;
        let (driver, guard) = DriverState::new(Arc::clone(&self.shared));
        self.shared.add_driver(&driver);
        let task = runtime.spawn(drive(Arc::clone(&driver), Arc::new(op), guard));
        Ok(SyncDriver { driver, _task: Arc::new(Task(task.abort_handle())) })
    }
}

impl<K: PeerKey> SyncDriver<K> {
    /// Asks for the peer to be called: as soon as there is a place, and the registry lets it.
    /// `true` if that is news; `false` if the peer waits already, the driver was shut down, or the
    /// peer never answered and `max_peers` such peers wait (counted as
    /// [`strangers_refused`](DriverStats::strangers_refused)).
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

    /// Calls a peer that waits next, without the rest of its wait: of a retry, of sessions that end
    /// too soon, and of its circuit, which admits a probe as it would have later. No more probes go
    /// out than otherwise. `false` if the peer does not wait.
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

    /// Lets everything that waits be called now, one after the other within 5 s, within places and
    /// probe limits: for a wake-up, or a change of network. Waits of retries, of sessions that end too
    /// soon and of circuits that opened before are over; calls that are being made are made again at
    /// once if they fail; trouble of our own is taken for over. Peers that answered before come
    /// first.
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

    /// Good news: the peer is there, for it has called us or its address is known anew. It is called,
    /// whether or not it was requested, through the same limits, and as a probe if its circuit is
    /// open: the registry [ends the wait](crate::HealthRegistry::note_reachable), or makes it shorter
    /// if probes after such news have failed before. If it is being called at the moment, that is
    /// enough, unless that call fails: it began before the news, and the operation begins anew.
    ///
    /// A peer in trouble that answered before goes first, and may use any place. For any other it is
    /// a request: after those who were due before; while `max_peers` peers that never answered wait,
    /// news of one more is for the registry alone.
    ///
    /// Not sooner after the peer's last failure than the policy's `initial_delay`, or two nodes that
    /// fail each other would call each other back as fast as the network lets them. The delay of
    /// [sessions that end too soon](crate::CoordinatorBuilder::stable_after) is not shortened.
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

    /// Bad news: the peer is gone, though nobody called it, as when an idle connection is lost; a
    /// call that is being made on one reports the same by itself. Reported to the registry like any
    /// failure without a permit: one that is not the peer's fault counts against nobody. An old
    /// connection that times out after the peer has come back on another is no such news. What it
    /// means for calls is for the circuit to say: one that is being made goes on. A disconnect that
    /// was planned is no failure: [`forget`](Self::forget) the peer. A peer whose sessions are lost
    /// as soon as they begin is called ever more seldom: see
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
    pub fn note_lost(&self, peer: &K, failure: impl Into<Failure>) {
        let failure = Arc::new(failure.into());
        let verdict = if failure.counts() { Outcome::Failure } else { Outcome::Neutral };
        if verdict == Outcome::Failure {
            let shared = &self.driver.shared;
            // Who has no name, has no session.
            shared.names.known(peer).iter().for_each(|peer| shared.session_lost(peer));
        }
        self.driver.shared.registry.report(peer, verdict, Some(&failure));
    }

    /// Calls the peer no more, until it is requested again: it has said goodbye, or is of no
    /// interest. A call that is being made is taken back, which is held against nobody. What the
    /// registry knows of the peer stays. `true` if there was anything to do for it.
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

    /// Begins no call until [`resume`](Self::resume). Those that are being made go on, requests are
    /// taken, and times go by.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator, SyncError};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// let driver = coordinator.drive(async |_| Ok::<_, SyncError>(()))?;
    /// driver.pause();
    /// assert!(driver.stats().paused);
    /// driver.resume();
    /// assert!(!driver.stats().paused);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn pause(&self) {
        self.driver.pause();
    }

    /// Ends a [`pause`](Self::pause), as [`kick_all`](Self::kick_all) does: whoever waits is called.
    /// Without a pause, it takes trouble of our own for over.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator, SyncError};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// let driver = coordinator.drive(async |_| Ok::<_, SyncError>(()))?;
    /// driver.resume();
    /// assert!(!driver.stats().local_outage);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn resume(&self) {
        self.driver.resume();
    }

    /// What was done, and what there is to do.
    ///
    /// ```
    /// use peer_health::{DriverStats, HealthRegistry, SyncCoordinator, SyncError};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// let driver = coordinator.drive(async |_| Ok::<_, SyncError>(()))?;
    /// assert_eq!(driver.stats(), DriverStats::default());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn stats(&self) -> DriverStats {
        self.driver.stats()
    }

    /// Whom it waits for, until when and why, in no order. Its work is proportional to their number.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator, SyncError, WaitReason};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// let driver = coordinator.drive(async |_| Ok::<_, SyncError>(()))?;
    /// driver.request(&7);
    /// assert_eq!(driver.waiting()[0].reason, WaitReason::Slot);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn waiting(&self) -> Vec<Waiting<K>> {
        self.driver.waiting()
    }

    /// Whether the driver has ended: it was shut down and its calls have ended, or its runtime is
    /// gone. It calls nobody any more.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator, SyncError};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// let driver = coordinator.drive(async |_| Ok::<_, SyncError>(()))?;
    /// assert!(!driver.is_finished());
    /// driver.shutdown().await;
    /// assert!(driver.is_finished());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn is_finished(&self) -> bool {
        self.driver.stats().finished
    }

    /// Begins no further call, and waits until those that are being made have ended, each at its
    /// deadline at the latest. Peers that wait are not called, and are forgotten; it makes no
    /// difference whether the driver is paused or in trouble. For a shorter end, drop the last
    /// handle. Do not wait for it inside an operation of this driver, which it waits for.
    ///
    /// # Cancel safety
    ///
    /// The driver shuts down from this call on, whether or not the future is polled, or dropped
    /// halfway; asking again waits for the same.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, SyncCoordinator, SyncError};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
    /// let coordinator = SyncCoordinator::new(HealthRegistry::<u32>::new());
    /// let driver = coordinator.drive(async |_| Ok::<_, SyncError>(()))?;
    /// driver.shutdown().await;
    /// assert!(!driver.request(&7), "it has ended");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn shutdown(&self) -> impl Future<Output = ()> + Send + use<K> {
        self.driver.close();
        let mut end = self.driver.end();
        // Nothing is ever sent: it ends when the driver does.
        shielded(async move { while end.changed().await.is_ok() {} })
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
