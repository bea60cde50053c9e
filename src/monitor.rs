//! A monitor watches a registry for asynchronous code (feature `tokio`): it gives a stream of events,
//! follows one peer, waits until a peer may be called, sums up the state of all peers, and chooses
//! which of several peers to call.
//!
//! Invariants:
//!
//! 1. An event only makes the monitor read the registry. What it knows of a peer is what it read *after*
//!    the event, so two threads that deliver side by side leave no stale state.
//! 2. A monitor listens before it reads, so no transition falls between the two.
//! 3. Threads that make a transition or ask the monitor hold its mutexes for a few steps of a map. A call
//!    to a healthy peer makes no transition and takes no mutex. Under a mutex the registry is read, which
//!    compares keys; no key is cloned or dropped, and no waker is touched (R25). The maps hold names of
//!    peers, so that no key leaves a map halfway.
//! 4. A task is woken by what it waits for, whatever becomes of others: a waker that panics is the loss
//!    of its own task, and where a key panics, the monitor reads all peers anew.

use std::fmt;
use std::sync::OnceLock;

use crate::event::{Event, EventKind};
use crate::foreign::guarded;
use crate::registry::hook::{HookNotice, Hooked};
use crate::registry::{CallTiming, HealthRegistry, Listening, Names, PeerKey};
use crate::sync::{Arc, AtomicU64, Weak};

mod builder;
mod candidate;
#[cfg(feature = "tracing")]
mod log_summary;
mod ready;
mod select;
mod stream;
mod summary;
mod watch;

pub use builder::MonitorBuilder;
pub use stream::{Events, Notice};
pub use summary::{Offender, Summary};
pub use watch::PeerWatch;

use summary::SummaryCache;
use watch::WatchTable;

/// Watches the peers of a registry: [`subscribe`](Self::subscribe) gives all events,
/// [`watch`](Self::watch) follows one peer, [`ready`](Self::ready) waits until a peer may be called,
/// [`summary`](Self::summary) counts all peers by state, and [`rank`](Self::rank) and
/// [`pick`](Self::pick) choose which peer to call.
///
/// A clone is another handle on the same monitor. The monitor listens to its registry until its last
/// handle, stream and watch is dropped.
///
/// ```
/// use peer_health::{HealthMonitor, HealthRegistry};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let registry = HealthRegistry::<u32>::new();
/// let monitor = HealthMonitor::new(registry.clone());
/// registry.force_open(&7).unwrap();
/// assert_eq!(monitor.summary().overridden, 1);
/// assert_eq!(monitor.pick(&[7, 8]), Some(&8));
/// monitor.ready(&8).await;
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Cost
///
/// A monitor hears of transitions only. For each it takes two mutexes for about a microsecond, and it
/// remembers each known peer that is not closed or was ever open. A permit for a healthy peer costs what it
/// costs without a monitor. While there is a monitor, `call` and `call_async` measure the latency of their
/// calls, so that peers can be ranked: two looks at the clock, and a sample of the average.
pub struct HealthMonitor<K> {
    shared: Arc<MonitorShared<K>>,
}

struct MonitorShared<K> {
    registry: HealthRegistry<K>,
    summary: SummaryCache<K>,
    watches: WatchTable<K>,
    /// The names by which these two know peers.
    names: Names<K>,
    /// The number of events that a stream keeps for a reader that lags.
    capacity: usize,
    /// The number of offenders that a summary names.
    worst: usize,
    seed: u64,
    /// The number of choices so far, so that each has random numbers of its own.
    choices: AtomicU64,
    /// The subscriptions to the registry end with the last handle.
    listening: OnceLock<(Listening, Hooked, CallTiming)>,
}

impl<K: PeerKey> HealthMonitor<K> {
    /// Makes a monitor with the defaults: see [`builder`](Self::builder). It reads every known peer once.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry};
    /// let registry = HealthRegistry::<u32>::new();
    /// registry.force_open(&7)?;
    /// assert_eq!(HealthMonitor::new(registry).summary().overridden, 1);
    /// # Ok::<(), peer_health::TableFull>(())
    /// ```
    pub fn new(registry: HealthRegistry<K>) -> Self {
        Self::builder(registry).with_defaults()
    }

    /// Returns a builder that chooses how a monitor works.
    ///
    /// Its defaults: a stream keeps 1024 events, a summary names 10 offenders, and the seed is random.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry};
    /// let monitor = HealthMonitor::builder(HealthRegistry::<u32>::new()).capacity(64).build()?;
    /// assert_eq!(monitor.summary().known, 0);
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn builder(registry: HealthRegistry<K>) -> MonitorBuilder<K> {
        MonitorBuilder::new(registry)
    }

    /// Returns the registry that the monitor watches.
    ///
    /// ```
    /// use peer_health::{HealthMonitor, HealthRegistry};
    /// let monitor = HealthMonitor::new(HealthRegistry::<u32>::new());
    /// assert!(monitor.registry().is_empty());
    /// ```
    pub fn registry(&self) -> &HealthRegistry<K> {
        &self.shared.registry
    }
}

impl<K: PeerKey> MonitorShared<K> {
    fn begin(registry: HealthRegistry<K>, capacity: usize, worst: usize, seed: u64) -> Arc<Self> {
        let shared = Arc::new(Self {
            registry,
            summary: SummaryCache::default(),
            watches: WatchTable::default(),
            names: Names::default(),
            capacity,
            worst,
            seed,
            choices: AtomicU64::new(0),
            listening: OnceLock::new(),
        });
        let hears: Weak<Self> = Arc::downgrade(&shared);
        let listening = shared.registry.listen(move |event| {
            if let Some(shared) = hears.upgrade() {
                shared.on_event(event);
            }
        });
        let hears: Weak<Self> = Arc::downgrade(&shared);
        let hooked = shared.registry.hook(move |notice| {
            if let (HookNotice::Unheard(peer), Some(shared)) = (notice, hears.upgrade()) {
                shared.refresh(peer);
            }
        });
        let timing = shared.registry.time_calls();
        shared.listening.get_or_init(|| (listening, hooked, timing));
        // What was so before is read now that the monitor listens.
        shared.summary.refresh_all(&shared.registry, &shared.names);
        shared
    }

    fn on_event(&self, event: &Event<K>) {
        if matches!(event.kind, EventKind::LocalOutage | EventKind::LocalRecovered) {
            return; // this is no transition
        }
        self.refresh(&event.peer);
    }

    /// Reads a peer that has made a step, and wakes the tasks that follow it. If its key panics, the next
    /// summary reads all peers anew, and every task that follows any peer is woken.
    fn refresh(&self, peer: &K) {
        let _ = guarded(|| self.summary.refresh(&self.registry, &self.names, peer));
        match guarded(|| self.names.known(peer)) {
            Some(name) => name.iter().for_each(|name| self.watches.wake(name)),
            None => self.watches.wake_all(),
        }
    }
}

impl<K> Clone for HealthMonitor<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<K: PeerKey> fmt::Debug for HealthMonitor<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthMonitor")
            .field("registry", &self.shared.registry)
            .finish_non_exhaustive()
    }
}
