//! One peer, followed.
//!
//! Those who follow a peer share one entry of a map: a count of its transitions and a list of who
//! waits. The entry is there as long as somebody follows the peer.

use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc as Shared, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::task::coop;

use super::HealthMonitor;
use crate::answer::Status;
use crate::registry::PeerKey;
use crate::sync::{AtomicU64, Ordering};

pub(super) struct Watches<K>(Mutex<HashMap<K, Watched>>);

struct Watched {
    /// Those who follow the peer.
    watchers: usize,
    changes: Shared<Changes>,
}

#[derive(Default)]
struct Changes {
    count: AtomicU64,
    waiting: Notify,
}

impl Changes {
    fn count(&self) -> u64 {
        // Acquire: pairs with the Release in `wake`; whoever sees the count sees the transition.
        self.count.load(Ordering::Acquire)
    }

    fn wake(&self) {
        // Release: pairs with the Acquire in `count`.
        self.count.fetch_add(1, Ordering::Release);
        self.waiting.notify_waiters();
    }
}

impl<K> Default for Watches<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: PeerKey> Watches<K> {
    fn locked(&self) -> MutexGuard<'_, HashMap<K, Watched>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, peer: &K) -> Shared<Changes> {
        // Keys are made, and dropped, when nothing is locked (R25).
        let mut key = Some(peer.clone());
        let mut watches = self.locked();
        if let Some(watched) = watches.get_mut(peer) {
            watched.watchers += 1;
            return Shared::clone(&watched.changes);
        }
        let changes = Shared::<Changes>::default();
        if let Some(key) = key.take() {
            watches.insert(key, Watched { watchers: 1, changes: Shared::clone(&changes) });
        }
        changes
    }

    fn leave(&self, peer: &K) {
        let mut watches = self.locked();
        let last = watches.get_mut(peer).is_some_and(|watched| {
            watched.watchers = watched.watchers.saturating_sub(1);
            watched.watchers == 0
        });
        let gone = if last { watches.remove_entry(peer) } else { None };
        drop(watches);
        drop(gone);
    }

    /// Wakes those who follow the peer.
    pub(super) fn wake(&self, peer: &K) {
        let changes = self.locked().get(peer).map(|watched| Shared::clone(&watched.changes));
        if let Some(changes) = changes {
            changes.wake();
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.locked().len()
    }
}

/// One peer, followed: see [`HealthMonitor::watch`].
///
/// ```
/// use peer_health::{HealthMonitor, HealthRegistry, PeerWatch, Status};
///
/// let registry = HealthRegistry::<u32>::new();
/// let watch: PeerWatch<u32> = HealthMonitor::new(registry.clone()).watch(&7);
/// registry.force_open(&7)?;
/// assert_eq!((watch.peer(), watch.status()), (&7, Status::ForcedOpen));
/// # Ok::<(), peer_health::Untracked>(())
/// ```
pub struct PeerWatch<K: PeerKey> {
    monitor: HealthMonitor<K>,
    peer: K,
    changes: Shared<Changes>,
    /// The transitions that `changed` has told of.
    seen: u64,
}

impl<K: PeerKey> HealthMonitor<K> {
    /// Follows one peer, known or not, until the returned value is dropped. Those who follow the
    /// same peer share what that takes: a key, a counter and a list of who waits.
    ///
    /// To follow a peer is no use of it: it may be evicted, which is a change.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry, Status};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let registry = HealthRegistry::<u32>::new();
    /// let mut watch = HealthMonitor::new(registry.clone()).watch(&7);
    /// assert_eq!(watch.status(), Status::Closed);
    /// registry.force_open(&7).unwrap();
    /// assert_eq!(watch.changed().await, Status::ForcedOpen);
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn watch(&self, peer: &K) -> PeerWatch<K> {
        let changes = self.inner.watches.join(peer);
        let seen = changes.count();
        PeerWatch { monitor: self.clone(), peer: peer.clone(), changes, seen }
    }
}

impl<K: PeerKey> PeerWatch<K> {
    /// Whom this follows.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry};
    /// assert_eq!(HealthMonitor::new(HealthRegistry::<u32>::new()).watch(&7).peer(), &7);
    /// ```
    pub fn peer(&self) -> &K {
        &self.peer
    }

    /// Where its circuit stands now.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry, Status};
    /// let watch = HealthMonitor::new(HealthRegistry::<u32>::new()).watch(&7);
    /// assert_eq!(watch.status(), Status::Closed);
    /// ```
    pub fn status(&self) -> Status {
        self.monitor.registry().status(&self.peer)
    }

    /// Waits for a transition of the peer that this has not told of yet, and tells where the
    /// circuit stands then. Several transitions may be told as one, and lead back to the same
    /// status: who needs each of them [subscribes](HealthMonitor::subscribe).
    ///
    /// A transition between [`status`](Self::status) and this is not lost: it is told at once.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the next call tells at once what this would have told.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry, Status};
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let registry = HealthRegistry::<u32>::new();
    /// let mut watch = HealthMonitor::new(registry.clone()).watch(&7);
    /// registry.force_open(&7).unwrap();
    /// registry.reset(&7);
    /// assert_eq!(watch.changed().await, Status::Closed);
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub async fn changed(&mut self) -> Status {
        // Who always finds a change lets other tasks have their turn.
        coop::consume_budget().await;
        loop {
            // Made before the look: it hears of whatever is noted after that.
            let woken = pin!(self.changes.waiting.notified());
            let count = self.changes.count();
            if count != self.seen {
                self.seen = count;
                return self.status();
            }
            woken.await;
        }
    }
}

impl<K: PeerKey> Drop for PeerWatch<K> {
    fn drop(&mut self) {
        self.monitor.inner.watches.leave(&self.peer);
    }
}

impl<K: PeerKey> fmt::Debug for PeerWatch<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerWatch").field("peer", &self.peer).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::monitor::HealthMonitor;
    use crate::registry::HealthRegistry;

    #[test]
    fn a_peer_that_nobody_follows_any_more_is_forgotten() {
        let monitor = HealthMonitor::new(HealthRegistry::<u32>::new());
        let (first, second) = (monitor.watch(&7), monitor.watch(&7));
        assert_eq!(monitor.inner.watches.len(), 1);
        drop(first);
        assert_eq!(monitor.inner.watches.len(), 1);
        drop(second);
        assert_eq!(monitor.inner.watches.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_waiting_until_a_peer_is_ready_leaves_nothing_behind() {
        let monitor = HealthMonitor::new(HealthRegistry::<u32>::new());
        monitor.registry().force_open(&7).unwrap();
        let hour = std::time::Duration::from_secs(3600);
        assert!(tokio::time::timeout(hour, monitor.ready(&7)).await.is_err());
        assert_eq!(monitor.inner.watches.len(), 0);
    }
}
