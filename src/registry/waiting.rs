//! Waiting until a peer admits a call (R7, feature `tokio`).
//!
//! Invariants:
//!
//! 1. A waiting task listens before it looks: a step by which the peer may be admitted was made before the
//!    look, or rings. So no wake-up is lost.
//! 2. A ring decides nothing: a task that wakes looks again, and asks for admission. Of many tasks, each
//!    that a step admits gets its permit, and the others wait on; the room hands nothing to a task that may
//!    be gone.
//! 3. The room, and its hook on the registry, exist while a task waits: the last task drops them.
//! 4. The room keeps peers by name: no code of a key runs under the mutex (R25).

use std::collections::HashMap;
use std::pin::pin;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::coop;

use super::hook::{HookNotice, Hooked, Standing};
use super::{HealthRegistry, Name, Names, PeerKey};
use crate::foreign::guarded;
use crate::outcome::Refused;
use crate::permit::OwnedPermit;
use crate::runtime::timer;
use crate::sync::{Arc, Mutex, Weak};
use crate::wakers::shielded;

/// The longest time without a look: the registry's clock and tokio's may run apart (as in D9).
const LONGEST: Duration = Duration::from_secs(60);

/// The room of a registry: empty while no task waits.
pub(super) type Slot<K> = Mutex<Weak<WaitingRoom<K>>>;

/// The tasks that wait for peers of one registry.
pub(super) struct WaitingRoom<K> {
    bells: Mutex<HashMap<Name<K>, Bell>>,
    names: Names<K>,
    hooked: OnceLock<Hooked>,
}

/// Rings for the tasks that wait for one peer, and counts them.
struct Bell {
    waiting: usize,
    notify: Arc<Notify>,
}

impl<K: PeerKey> WaitingRoom<K> {
    fn new() -> Self {
        Self { bells: Mutex::default(), names: Names::default(), hooked: OnceLock::new() }
    }

    fn hear(&self, told: HookNotice<'_, K>) {
        let peer = match told {
            HookNotice::Peer(peer) | HookNotice::Gone { peer, .. } => peer,
            HookNotice::Unheard(peer) => peer,
            HookNotice::Configured => return self.ring_all(),
            // No circuit has made a step.
            HookNotice::LinkIsBack => return,
            #[cfg(feature = "iroh")]
            HookNotice::NewNetwork => return,
            #[cfg(feature = "metrics")]
            HookNotice::Count(_) => return,
        };
        match guarded(|| self.names.known(peer)) {
            Some(Some(name)) => self.ring(&name),
            Some(None) => {}
            // The key panicked, so every task looks.
            None => self.ring_all(),
        }
    }

    fn ring(&self, name: &Name<K>) {
        let notify = self.bells.lock().get(name).map(|bell| Arc::clone(&bell.notify));
        notify.iter().for_each(|notify| notify.notify_waiters());
    }

    fn ring_all(&self) {
        let bells = self.bells.lock();
        let all: Vec<_> = bells.values().map(|bell| Arc::clone(&bell.notify)).collect();
        drop(bells);
        all.iter().for_each(|notify| notify.notify_waiters());
    }
}

/// A task that waits for a peer, until this is dropped.
struct Waiter<K: PeerKey> {
    room: Arc<WaitingRoom<K>>,
    name: Name<K>,
    notify: Arc<Notify>,
}

impl<K: PeerKey> Waiter<K> {
    fn new(room: Arc<WaitingRoom<K>>, peer: &K) -> Self {
        let name = room.names.name(peer);
        let mut bells = room.bells.lock();
        let fresh = || Bell { waiting: 0, notify: Arc::default() };
        let bell = bells.entry(name.clone()).or_insert_with(fresh);
        bell.waiting += 1;
        let notify = Arc::clone(&bell.notify);
        drop(bells);
        Self { room, name, notify }
    }
}

impl<K: PeerKey> Drop for Waiter<K> {
    fn drop(&mut self) {
        let mut bells = self.room.bells.lock();
        let last = bells.get_mut(&self.name).is_some_and(|bell| {
            bell.waiting -= 1;
            bell.waiting == 0
        });
        // The name that goes with it is not the last: this has one.
        let gone = last.then(|| bells.remove(&self.name));
        drop(bells);
        drop(gone);
    }
}

impl<K: PeerKey> HealthRegistry<K> {
    /// Waits until the peer may be called, and returns a permit: at once where it may be called now.
    ///
    /// A step that lets the peer be called sooner wakes the task: a reset, the end of a ban, good news, a
    /// probe that ends or is dropped, a new configuration. A half-open circuit admits its few probes, and
    /// the other tasks wait for their outcomes. A ban without an end lasts until a reset: put a deadline
    /// around this where that is too long.
    ///
    /// The registry's clock decides; tokio's timer wakes the task, at least once a minute, in case the two
    /// run apart. A task that waits counts one refusal, and one more where another task was faster or its
    /// asking ended a half-open phase.
    ///
    /// # Errors
    ///
    /// [`Refused`], at once, if a timer is needed and there is none: outside of a tokio runtime, or in
    /// one that was built without `enable_time`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind, and takes nothing from others who wait: it holds no
    /// permit before it is ready.
    ///
    /// ```
    /// use peer_health::{Clock, HealthConfig, HealthRegistry, SyncError};
    /// use std::time::Duration;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?
    /// #     .block_on(async {
    /// let config = HealthConfig::default()
    ///     .with_failure_threshold(1)
    ///     .with_open_timeout(Duration::from_secs(5))
    ///     .with_open_jitter(0.0);
    /// let registry =
    ///     HealthRegistry::<u32>::builder().config(config).clock(Clock::tokio()).build()?;
    /// registry.acquire(&7)?.failure(SyncError::Network("reset".into()));
    /// let began = tokio::time::Instant::now();
    /// let permit = registry.acquire_when_ready(&7).await?;
    /// assert!(permit.is_probe());
    /// assert_eq!(began.elapsed(), Duration::from_secs(5));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub async fn acquire_when_ready(&self, peer: &K) -> Result<OwnedPermit<K>, Refused> {
        match self.acquire(peer) {
            Ok(permit) => Ok(permit),
            Err(_) => shielded(self.wait_for_permit(peer)).await,
        }
    }

    async fn wait_for_permit(&self, peer: &K) -> Result<OwnedPermit<K>, Refused> {
        let waiter = Waiter::new(self.waiting_room(), peer);
        loop {
            let mut rung = pin!(waiter.notify.notified());
            rung.as_mut().enable();
            let Standing { refused, look_again, .. } = self.standing(peer);
            // A half-open phase that is as old as it may get ends when a caller asks.
            let Some(refused) = refused.filter(|_| look_again != Some(Duration::ZERO)) else {
                match self.acquire(peer) {
                    Ok(permit) => return Ok(permit),
                    // Another task was faster, or that phase has failed.
                    Err(_) => coop::consume_budget().await,
                }
                continue;
            };
            match refused.retry_after.or(look_again) {
                Some(rest) => {
                    let Some(nap) = timer(rest.min(LONGEST)) else { return Err(refused) };
                    tokio::select! {
                        () = rung => {}
                        () = nap => {}
                    }
                }
                None => rung.await,
            }
        }
    }

    /// Returns the room of this registry; a new one if no task waits.
    fn waiting_room(&self) -> Arc<WaitingRoom<K>> {
        let mut slot = self.inner.waiting.lock();
        slot.upgrade().unwrap_or_else(|| {
            let room = Arc::new(WaitingRoom::new());
            let hears = Arc::downgrade(&room);
            room.hooked.get_or_init(|| {
                self.hook(move |told| {
                    if let Some(room) = hears.upgrade() {
                        room.hear(told);
                    }
                })
            });
            *slot = Arc::downgrade(&room);
            room
        })
    }
}
