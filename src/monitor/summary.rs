//! The state of all peers, kept up to date by looking at one peer for each transition.
//!
//! What is kept of a peer is what the registry says of it *while the map is locked*. Of several
//! threads that look at one peer the last one sees what led all of them there, since the lock
//! orders them: when everybody has been told, what is kept is so. The order in which two threads
//! are told makes no difference, nor does what the events say.
//!
//! A peer is kept that is not closed, or was ever open, until it is forgotten by the registry.
//!
//! A look that a key's own code has cut short by a panic leaves it open what is kept. Then the next
//! who asks looks at all of them anew.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::HealthMonitor;
use crate::foreign::guarded;
use crate::outcome::Status;
use crate::registry::{HealthRegistry, Name, Names, PeerKey};

/// The state of all peers: see [`HealthMonitor::summary`].
///
/// ```
/// use peer_health::{HealthMonitor, HealthRegistry, Summary};
///
/// let registry = HealthRegistry::<u32>::new();
/// let monitor = HealthMonitor::new(registry.clone());
/// registry.acquire(&6).unwrap().success();
/// registry.disable(&7)?;
/// let summary: Summary<u32> = monitor.summary();
/// assert_eq!((summary.known, summary.closed, summary.overridden), (2, 1, 1));
/// # Ok::<(), peer_health::TableFull>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary<K> {
    /// Peers that the registry knows.
    pub known: usize,
    /// Those whose circuit is closed.
    pub closed: usize,
    /// Those whose circuit is open; also if the wait is over and nobody has asked yet.
    pub open: usize,
    /// Those that are probed.
    pub half_open: usize,
    /// Those on which an operator imposed a status: forced open, disabled, metrics only; also if a ban
    /// has ended and nobody has asked yet.
    pub overridden: usize,
    /// The known peers whose circuit has opened most often, most often first.
    pub worst: Vec<Offender<K>>,
}

/// One of the [worst](Summary::worst).
///
/// ```
/// use peer_health::{HealthConfig, HealthMonitor, HealthRegistry, Offender, Status, SyncError};
///
/// let config = HealthConfig::default().with_failure_threshold(1);
/// let registry = HealthRegistry::<u32>::builder().config(config).build()?;
/// let monitor = HealthMonitor::new(registry.clone());
/// registry.acquire(&7).unwrap().failure(SyncError::Network("reset".into()));
/// let worst: Vec<Offender<u32>> = monitor.summary().worst;
/// assert_eq!((worst[0].peer, worst[0].openings, worst[0].status), (7, 1, Status::Open));
/// # Ok::<(), peer_health::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offender<K> {
    /// Who.
    pub peer: K,
    /// How often its circuit has opened since the peer became known.
    pub openings: u64,
    /// Where its circuit stands.
    pub status: Status,
}

/// Whether a peer of which this is so is kept.
fn is_cached(status: Status, openings: u64) -> bool {
    status != Status::Closed || openings > 0
}

pub(super) struct SummaryCache<K>(Mutex<CachedPeers<K>>);

struct CachedPeers<K> {
    peers: HashMap<Name<K>, CachedPeer>,
    /// Those that have opened, by how often: the worst are last.
    ranks: BTreeMap<(u64, u64), Name<K>>,
    /// How many peers are open, half-open, overridden.
    counts: [usize; 3],
    /// Tells peers apart that have opened equally often.
    next: u64,
    /// Whether a look was cut short.
    behind: bool,
}

#[derive(Clone, Copy)]
struct CachedPeer {
    status: Status,
    openings: u64,
    number: u64,
}

/// The place of a status among the counts.
fn count_of(status: Status) -> Option<usize> {
    match status {
        Status::Closed => None,
        Status::Open => Some(0),
        Status::HalfOpen => Some(1),
        Status::ForcedOpen | Status::Disabled | Status::MetricsOnly => Some(2),
    }
}

impl<K> Default for CachedPeers<K> {
    fn default() -> Self {
        let (peers, ranks) = (HashMap::new(), BTreeMap::new());
        Self { peers, ranks, counts: [0; 3], next: 0, behind: false }
    }
}

impl<K> Default for SummaryCache<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// Notes that a look was cut short, unless it is forgotten at the look's end.
struct BehindOnPanic<'a, K>(&'a SummaryCache<K>);

impl<K> Drop for BehindOnPanic<'_, K> {
    fn drop(&mut self) {
        self.0.locked().behind = true;
    }
}

impl<K> SummaryCache<K> {
    fn locked(&self) -> MutexGuard<'_, CachedPeers<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: PeerKey> SummaryCache<K> {
    /// Looks at the peer, and keeps what is found.
    pub(super) fn look(&self, registry: &HealthRegistry<K>, names: &Names<K>, peer: &K) {
        let cut_short = BehindOnPanic(self);
        // Made before, and dropped after, anything is locked (R25).
        let (key, now) = (names.name(peer), registry.now());
        let mut spare = Vec::new();
        let entry;
        let mut kept = self.locked();
        entry = registry.known(peer);
        let found = entry.as_ref().map(|entry| {
            let status = entry.tracker.circuit().seen_at(now).status();
            (status, entry.tracker.totals().opened)
        });
        let found = found.filter(|(status, opened)| is_cached(*status, *opened));
        kept.note(&key, found, &mut spare);
        drop(kept);
        drop((key, spare, entry));
        mem::forget(cut_short);
    }

    /// Looks at all peers that the registry knows. One whose key panics is left for the next time.
    pub(super) fn look_at_all(&self, registry: &HealthRegistry<K>, names: &Names<K>) {
        registry.for_each(|peer, snapshot| {
            if is_cached(snapshot.status, snapshot.totals.opened) {
                let _ = guarded(|| self.look(registry, names, peer));
            }
        });
    }

    /// Looks at all peers anew, if a look was cut short.
    fn catch_up(&self, registry: &HealthRegistry<K>, names: &Names<K>) {
        let mut kept = self.locked();
        if !kept.behind {
            return;
        }
        let old = mem::take(&mut *kept);
        drop(kept);
        let cut_short = BehindOnPanic(self);
        drop(old);
        self.look_at_all(registry, names);
        mem::forget(cut_short);
    }
}

impl<K: PeerKey> CachedPeers<K> {
    /// Keeps what is known of a peer, or that there is nothing to keep; adds the keys that are of no
    /// more use to those that are spare.
    fn note(&mut self, key: &Name<K>, found: Option<(Status, u64)>, spare: &mut Vec<Name<K>>) {
        let old = self.peers.get(key).copied();
        if let Some(old) = old {
            self.count(old.status, false);
            spare.extend(self.ranks.remove(&(old.openings, old.number)));
        }
        let Some((status, openings)) = found else {
            spare.extend(self.peers.remove_entry(key).map(|(key, _)| key));
            return;
        };
        let number = old.map_or(self.next, |old| old.number);
        self.next = self.next.max(number.saturating_add(1));
        self.count(status, true);
        if openings > 0 {
            spare.extend(self.ranks.insert((openings, number), key.clone()));
        }
        // The key that is there stays there.
        self.peers.insert(key.clone(), CachedPeer { status, openings, number });
    }

    fn count(&mut self, status: Status, more: bool) {
        if let Some(index) = count_of(status) {
            let count = &mut self.counts[index];
            *count = if more { count.saturating_add(1) } else { count.saturating_sub(1) };
        }
    }
}

impl<K: PeerKey> HealthMonitor<K> {
    /// How many peers are known, in which state they are, and whose circuits opened most often.
    ///
    /// Looks at no peer: it costs as much with a million of them as with one. To be asked each
    /// second, by a dashboard or for metrics.
    ///
    /// # Consistency
    ///
    /// Exact when nothing is going on. Meanwhile it may lag behind transitions that are being made,
    /// and peers that are being added count as closed.
    ///
    /// ```
    /// use peer_health::{HealthConfig, HealthMonitor, HealthRegistry, SyncError};
    ///
    /// let config = HealthConfig::default().with_failure_threshold(1);
    /// let registry = HealthRegistry::<u32>::builder().config(config).build()?;
    /// let monitor = HealthMonitor::new(registry.clone());
    /// registry.acquire(&6).unwrap().success();
    /// registry.acquire(&7).unwrap().failure(SyncError::Network("reset".into()));
    /// let summary = monitor.summary();
    /// assert_eq!((summary.known, summary.closed, summary.open), (2, 1, 1));
    /// assert_eq!(summary.worst[0].peer, 7);
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn summary(&self) -> Summary<K> {
        self.shared.summary.catch_up(&self.shared.registry, &self.shared.names);
        let kept = self.shared.summary.locked();
        let worst = kept.ranks.iter().rev().take(self.shared.worst).filter_map(|(rank, peer)| {
            let status = kept.peers.get(peer)?.status;
            Some((peer.clone(), rank.0, status))
        });
        let (worst, [open, half_open, overridden]) = (worst.collect::<Vec<_>>(), kept.counts);
        drop(kept);
        // Cloned when nothing is locked, as keys always are (R25); who cannot be cloned is not named.
        let offender = |(peer, openings, status): (Name<K>, u64, Status)| {
            guarded(|| Offender { peer: (*peer).clone(), openings, status })
        };
        let worst = worst.into_iter().filter_map(offender).collect();
        let known = self.shared.registry.len();
        let closed = known.saturating_sub(open + half_open + overridden);
        Summary { known, closed, open, half_open, overridden, worst }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node has many peers that are well: they take no room, whether they are found or told of.
    #[test]
    fn a_peer_that_is_closed_and_was_never_open_is_not_kept() {
        let registry = HealthRegistry::<u32>::new();
        registry.acquire(&6).unwrap().success();
        let monitor = HealthMonitor::new(registry.clone());
        let kept = || monitor.shared.summary.locked().peers.len();
        assert_eq!(kept(), 0);
        registry.disable(&7).unwrap();
        assert_eq!(kept(), 1);
        registry.reset(&7);
        assert_eq!((kept(), monitor.summary().closed), (0, 2));
    }
}
