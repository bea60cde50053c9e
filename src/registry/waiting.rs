//! Waiting until a peer admits a call (feature `tokio`).
//!
//! Invariants:
//!
//! 1. Who waits listens before it looks: a step by which the peer may be admitted was made before the
//!    look, or rings. So no wake-up is lost.
//! 2. A ring decides nothing: who is woken looks again, and asks to be admitted. Of many who wait, each
//!    that a step admits gets its permit, and the others wait on; nothing is handed to one that may be
//!    gone.
//! 3. The room, and its hook on the registry, are there while somebody waits: who leaves last drops them.
//! 4. Peers are kept by name: under the mutex no code of a key runs (R25).

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc as Shared, OnceLock, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::coop;
use tokio::time::{Sleep, sleep};

use super::hook::{HookNotice, Hooked, Standing};
use super::{HealthRegistry, Name, Names, PeerKey};
use crate::foreign::guarded;
use crate::outcome::Refused;
use crate::permit::OwnedPermit;
use crate::sync::Mutex;
use crate::wakers::shielded;

/// The longest time without a look: the registry's clock and tokio's may run apart (as in D9).
const LONGEST: Duration = Duration::from_secs(60);

/// Where a registry keeps its room: empty while nobody waits.
pub(super) type Slot<K> = Mutex<Weak<WaitingRoom<K>>>;

/// All who wait for a peer of one registry.
pub(super) struct WaitingRoom<K> {
    bells: Mutex<HashMap<Name<K>, Bell>>,
    names: Names<K>,
    hooked: OnceLock<Hooked>,
}

/// Rings for those who wait for one peer, and counts them.
struct Bell {
    waiting: usize,
    notify: Shared<Notify>,
}

impl<K: PeerKey> WaitingRoom<K> {
    fn new() -> Self {
        Self { bells: Mutex::default(), names: Names::default(), hooked: OnceLock::new() }
    }

    fn hear(&self, told: HookNotice<'_, K>) {
        let (HookNotice::Peer(peer) | HookNotice::Gone { peer, .. } | HookNotice::Unheard(peer)) =
            told
        else {
            return self.ring_all();
        };
        match guarded(|| self.names.known(peer)) {
            Some(Some(name)) => self.ring(&name),
            Some(None) => {}
            // Its key cannot be told from others: everybody looks.
            None => self.ring_all(),
        }
    }

    fn ring(&self, name: &Name<K>) {
        let notify = self.bells.lock().get(name).map(|bell| Shared::clone(&bell.notify));
        notify.iter().for_each(|notify| notify.notify_waiters());
    }

    fn ring_all(&self) {
        let bells = self.bells.lock();
        let all: Vec<_> = bells.values().map(|bell| Shared::clone(&bell.notify)).collect();
        drop(bells);
        all.iter().for_each(|notify| notify.notify_waiters());
    }
}

/// One who waits for a peer, until this is dropped.
struct Waiter<K: PeerKey> {
    room: Shared<WaitingRoom<K>>,
    name: Name<K>,
    notify: Shared<Notify>,
}

impl<K: PeerKey> Waiter<K> {
    fn new(room: Shared<WaitingRoom<K>>, peer: &K) -> Self {
        let name = room.names.name(peer);
        let mut bells = room.bells.lock();
        let fresh = || Bell { waiting: 0, notify: Shared::default() };
        let bell = bells.entry(name.clone()).or_insert_with(fresh);
        bell.waiting += 1;
        let notify = Shared::clone(&bell.notify);
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
    /// Waits until the peer may be called, and takes a permit: at once where it may be called now.
    ///
    /// Whatever lets the peer be called sooner than it seemed wakes it: a reset, the end of a ban, good
    /// news, a probe that ends or is dropped, a new configuration. A half-open circuit admits its few
    /// probes, and the others who wait for the peer wait for what these decide. A permanent ban is
    /// waited for until it is lifted: put a deadline around this where that is too long.
    ///
    /// Time is the registry's; tokio's timer wakes it, and at least once a minute, in case the two run
    /// apart. One who waits counts one refusal, the first.
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
            // A half-open phase that is as old as it may get ends when somebody asks.
            let Some(refused) = refused.filter(|_| look_again != Some(Duration::ZERO)) else {
                match self.acquire(peer) {
                    Ok(permit) => return Ok(permit),
                    // Others were faster, or that phase has failed.
                    Err(_) => coop::consume_budget().await,
                }
                continue;
            };
            match refused.retry_after.or(look_again) {
                Some(rest) => {
                    let Some(nap) = nap(rest) else { return Err(refused) };
                    tokio::select! {
                        () = rung => {}
                        () = nap => {}
                    }
                }
                None => rung.await,
            }
        }
    }

    /// The room of this registry; a new one if nobody waits.
    fn waiting_room(&self) -> Shared<WaitingRoom<K>> {
        let mut slot = self.inner.waiting.lock();
        slot.upgrade().unwrap_or_else(|| {
            let room = Shared::new(WaitingRoom::new());
            let hears = Shared::downgrade(&room);
            room.hooked.get_or_init(|| {
                self.hook(move |told| {
                    if let Some(room) = hears.upgrade() {
                        room.hear(told);
                    }
                })
            });
            *slot = Shared::downgrade(&room);
            room
        })
    }
}

/// A timer; `None` where there is none to be had: tokio has no other answer than to panic.
fn nap(rest: Duration) -> Option<Sleep> {
    guarded(|| sleep(rest.min(LONGEST)))
}
