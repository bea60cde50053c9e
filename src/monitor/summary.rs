//! The counts of all peers by state, which the monitor keeps up to date by reading one peer for each
//! transition.
//!
//! The cache holds of a peer what the registry says *while the cache is locked*. Several threads may
//! read one peer; the lock orders them, and the last one sees every transition that led them there. So
//! the cache is right when every thread has been told, in whatever order, and whatever the events say.
//!
//! The cache holds each peer that is not closed or was ever open, until the registry forgets it.
//!
//! If a key's own code panics during a read, the cache may be wrong. The next summary then reads all
//! peers anew.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::HealthMonitor;
use crate::foreign::guarded;
use crate::outcome::Status;
use crate::registry::{HealthRegistry, Name, Names, PeerKey, short};

/// How many peers are in which state, and which opened most often: see [`HealthMonitor::summary`].
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
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Summary<K> {
    /// How many peers the registry knows.
    pub known: usize,
    /// How many of them are closed.
    pub closed: usize,
    /// How many are open, also if the wait is over and no permit was asked for yet.
    pub open: usize,
    /// How many are half-open.
    pub half_open: usize,
    /// How many an operator has forced open, disabled or set to metrics only; also if a ban has ended and
    /// no permit was asked for yet.
    pub overridden: usize,
    /// The known peers whose circuit has opened most often, most often first.
    pub worst: Vec<Offender<K>>,
}

/// One of the [worst](Summary::worst) peers.
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
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Offender<K> {
    /// The peer.
    pub peer: K,
    /// How often its circuit has opened since the peer became known.
    pub openings: u64,
    /// The status of its circuit.
    pub status: Status,
}

/// In one line: the peers by state, and the three that opened most often.
///
/// ```
/// use peer_health::{HealthConfig, HealthMonitor, HealthRegistry, SyncError};
///
/// let config = HealthConfig::default().with_failure_threshold(1);
/// let registry = HealthRegistry::<&str>::builder().config(config).build()?;
/// let monitor = HealthMonitor::new(registry.clone());
/// registry.acquire(&"alice").unwrap().success();
/// registry.acquire(&"bob").unwrap().failure(SyncError::Network("reset".into()));
/// assert_eq!(
///     monitor.summary().to_string(),
///     "2 known: 1 closed, 1 open, 0 half-open, 0 overridden; worst: \"bob\" (open, opened once)"
/// );
/// # Ok::<(), peer_health::ConfigError>(())
/// ```
impl<K: PeerKey> fmt::Display for Summary<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { known, closed, open, half_open, overridden, worst } = self;
        write!(f, "{known} known: {closed} closed, {open} open, {half_open} half-open, ")?;
        write!(f, "{overridden} overridden")?;
        if worst.is_empty() { Ok(()) } else { write!(f, "; worst: {}", Worst(worst)) }
    }
}

/// Prints the first three of these, by their short names.
pub(super) struct Worst<'a, K>(pub(super) &'a [Offender<K>]);

impl<K: PeerKey> fmt::Display for Worst<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Offender { peer, openings, status }) in self.0.iter().take(3).enumerate() {
            let comma = if n > 0 { ", " } else { "" };
            write!(f, "{comma}{} ({status}, opened ", short(peer))?;
            match openings {
                1 => f.write_str("once)")?,
                _ => write!(f, "{openings} times)")?,
            }
        }
        Ok(())
    }
}

/// Whether the cache holds a peer with this status and this number of openings.
fn is_cached(status: Status, openings: u64) -> bool {
    status != Status::Closed || openings > 0
}

pub(super) struct SummaryCache<K>(Mutex<CachedPeers<K>>);

struct CachedPeers<K> {
    peers: HashMap<Name<K>, CachedPeer>,
    /// The peers that have opened, by how often: the worst are last.
    ranks: BTreeMap<(u64, u64), Name<K>>,
    /// The numbers of peers that are open, half-open, and overridden.
    counts: [usize; 3],
    /// The number of the next peer, which tells peers apart that have opened equally often.
    next: u64,
    /// Set if a panic cut a read short.
    behind: bool,
}

#[derive(Clone, Copy)]
struct CachedPeer {
    status: Status,
    openings: u64,
    number: u64,
}

/// Returns the index of a status among the counts.
fn count_index(status: Status) -> Option<usize> {
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

/// Notes that a panic cut a read short, unless it is forgotten at the read's end.
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
    /// Reads the peer from the registry, and caches what is found.
    pub(super) fn refresh(&self, registry: &HealthRegistry<K>, names: &Names<K>, peer: &K) {
        let cut_short = BehindOnPanic(self);
        // The names are made before, and dropped after, anything is locked (R25).
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

    /// Reads all peers that the registry knows. A peer whose key panics is left for the next time.
    pub(super) fn refresh_all(&self, registry: &HealthRegistry<K>, names: &Names<K>) {
        registry.for_each(|peer, snapshot| {
            if is_cached(snapshot.status, snapshot.totals.opened) {
                let _ = guarded(|| self.refresh(registry, names, peer));
            }
        });
    }

    /// Reads all peers anew, if a read was cut short.
    fn catch_up(&self, registry: &HealthRegistry<K>, names: &Names<K>) {
        let mut kept = self.locked();
        if !kept.behind {
            return;
        }
        let old = mem::take(&mut *kept);
        drop(kept);
        let cut_short = BehindOnPanic(self);
        drop(old);
        self.refresh_all(registry, names);
        mem::forget(cut_short);
    }
}

impl<K: PeerKey> CachedPeers<K> {
    /// Caches what was found of a peer, or that there is nothing to cache. Keys that are not needed any
    /// more go to `spare`.
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
        // The map keeps the key that it has.
        self.peers.insert(key.clone(), CachedPeer { status, openings, number });
    }

    fn count(&mut self, status: Status, more: bool) {
        if let Some(index) = count_index(status) {
            let count = &mut self.counts[index];
            *count = if more { count.saturating_add(1) } else { count.saturating_sub(1) };
        }
    }
}

impl<K: PeerKey> HealthMonitor<K> {
    /// Returns how many peers are known, in which state they are, and which circuits opened most often.
    ///
    /// It reads no peer, so it costs as much with a million of them as with one. A dashboard or an
    /// exporter of metrics can ask for it each second.
    ///
    /// # Consistency
    ///
    /// The counts are exact while no transition is being made. Otherwise they may lag behind, and peers
    /// that are being added count as closed.
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
        // Keys are cloned when nothing is locked (R25); a peer whose key cannot be cloned is not named.
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

    /// A node has many peers that are well; the cache holds none of them.
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
