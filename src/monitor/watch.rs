//! How a task follows one peer.
//!
//! Each watch has a count of its peer's transitions, and a waker. The watches of a peer are in one entry
//! of a map, which is there as long as there is a watch of the peer.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::task::coop;

use super::HealthMonitor;
use crate::outcome::Status;
use crate::registry::{Name, PeerKey};
use crate::sync::{Arc, AtomicU64, Ordering};
use crate::wakers::WakerSlot;

pub(super) struct WatchTable<K>(Mutex<WatchEntries<K>>);

struct WatchEntries<K> {
    peers: HashMap<Name<K>, BTreeMap<u64, Arc<Watcher>>>,
    /// The number of the next watch.
    next: u64,
}

#[derive(Default)]
struct Watcher {
    changes: AtomicU64,
    waker: WakerSlot,
}

impl Watcher {
    /// Returns how often the peer has changed since the watch began.
    fn changes(&self) -> u64 {
        // Acquire: pairs with the Release in `wake`; a task that sees the count sees the transition.
        self.changes.load(Ordering::Acquire)
    }

    fn wake(&self) {
        // Release: pairs with the Acquire in `changes`.
        self.changes.fetch_add(1, Ordering::Release);
        self.waker.wake();
    }

    /// Returns how often the peer has changed, once that is more than was seen.
    fn poll(&self, seen: u64, cx: &Context<'_>) -> Poll<u64> {
        let changes = || Some(self.changes()).filter(|changes| *changes != seen);
        let changed = changes().or_else(|| {
            self.waker.register(cx.waker());
            changes()
        });
        changed.map_or(Poll::Pending, Poll::Ready)
    }
}

impl<K> Default for WatchTable<K> {
    fn default() -> Self {
        Self(Mutex::new(WatchEntries { peers: HashMap::new(), next: 0 }))
    }
}

impl<K: PeerKey> WatchTable<K> {
    fn locked(&self) -> MutexGuard<'_, WatchEntries<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, peer: &Name<K>) -> (u64, Arc<Watcher>) {
        let watcher = Arc::<Watcher>::default();
        let mut watched = self.locked();
        let number = watched.next;
        watched.next = number.saturating_add(1);
        watched.peers.entry(peer.clone()).or_default().insert(number, Arc::clone(&watcher));
        (number, watcher)
    }

    /// Removes a watch. No name that is dropped under the lock is the last: the watch has one.
    fn leave(&self, peer: &Name<K>, number: u64) {
        let mut watched = self.locked();
        let last = watched.peers.get_mut(peer).is_some_and(|watchers| {
            watchers.remove(&number);
            watchers.is_empty()
        });
        if last {
            watched.peers.remove(peer);
        }
    }

    /// Wakes the tasks that follow the peer.
    pub(super) fn wake(&self, peer: &Name<K>) {
        let watchers: Vec<_> = match self.locked().peers.get(peer) {
            Some(watchers) => watchers.values().map(Arc::clone).collect(),
            None => return,
        };
        watchers.iter().for_each(|watcher| watcher.wake());
    }

    /// Wakes the tasks that follow any peer: the key of the one that changed panics.
    pub(super) fn wake_all(&self) {
        let watchers: Vec<_> =
            self.locked().peers.values().flat_map(BTreeMap::values).map(Arc::clone).collect();
        watchers.iter().for_each(|watcher| watcher.wake());
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.locked().peers.len()
    }
}

/// A watch of one peer, which tells of its transitions: see [`HealthMonitor::watch`].
///
/// ```
/// use peer_health::{HealthMonitor, HealthRegistry, PeerWatch, Status};
///
/// let registry = HealthRegistry::<u32>::new();
/// let watch: PeerWatch<u32> = HealthMonitor::new(registry.clone()).watch(&7);
/// registry.force_open(&7)?;
/// assert_eq!((watch.peer(), watch.status()), (&7, Status::ForcedOpen));
/// # Ok::<(), peer_health::TableFull>(())
/// ```
pub struct PeerWatch<K: PeerKey> {
    monitor: HealthMonitor<K>,
    peer: Name<K>,
    number: u64,
    watcher: Arc<Watcher>,
    /// The number of transitions that `changed` has told of.
    seen: u64,
}

impl<K: PeerKey> HealthMonitor<K> {
    /// Follows one peer, known or not, until the returned watch is dropped. A watch takes a counter and a
    /// waker; the watches of one peer share its key.
    ///
    /// A watch does not keep the peer from eviction, which is a change.
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
        let (monitor, peer) = (self.clone(), self.shared.names.name(peer));
        let (number, watcher) = self.shared.watches.join(&peer);
        PeerWatch { monitor, peer, number, watcher, seen: 0 }
    }
}

impl<K: PeerKey> PeerWatch<K> {
    /// Returns the peer that this follows.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry};
    /// assert_eq!(HealthMonitor::new(HealthRegistry::<u32>::new()).watch(&7).peer(), &7);
    /// ```
    pub fn peer(&self) -> &K {
        &self.peer
    }

    /// Returns the status of the peer's circuit now.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry, Status};
    /// let watch = HealthMonitor::new(HealthRegistry::<u32>::new()).watch(&7);
    /// assert_eq!(watch.status(), Status::Closed);
    /// ```
    pub fn status(&self) -> Status {
        self.monitor.registry().status(&self.peer)
    }

    /// Waits for a transition of the peer that this watch has not told of yet, and returns the status
    /// after it. Several transitions may be told as one, and lead back to the same status:
    /// [subscribe](HealthMonitor::subscribe) to get each of them.
    ///
    /// A transition between [`status`](Self::status) and this call is not lost: it is told at once.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no transition: the next call tells at once what this one would have
    /// told.
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
        // A task that always finds a change yields to other tasks now and then.
        coop::consume_budget().await;
        self.seen = poll_fn(|cx| self.watcher.poll(self.seen, cx)).await;
        self.status()
    }
}

impl<K: PeerKey> Drop for PeerWatch<K> {
    fn drop(&mut self) {
        self.monitor.shared.watches.leave(&self.peer, self.number);
    }
}

impl<K: PeerKey> fmt::Debug for PeerWatch<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerWatch").field("peer", self.peer()).finish_non_exhaustive()
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
        assert_eq!(monitor.shared.watches.len(), 1);
        drop(first);
        assert_eq!(monitor.shared.watches.len(), 1);
        drop(second);
        assert_eq!(monitor.shared.watches.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_stops_waiting_until_a_peer_is_ready_leaves_nothing_behind() {
        let monitor = HealthMonitor::new(HealthRegistry::<u32>::new());
        monitor.registry().force_open(&7).unwrap();
        let hour = std::time::Duration::from_secs(3600);
        assert!(tokio::time::timeout(hour, monitor.ready(&7)).await.is_err());
        assert_eq!(monitor.shared.watches.len(), 0);
    }
}
