//! Watching a registry from asynchronous code (feature `tokio`): a stream of events, one peer at a
//! time, the moment a peer may be called, the state of all, and which of several peers to call.
//!
//! Invariants:
//!
//! 1. Nothing is decided by an event but to look: what a monitor knows of a peer is what it read of
//!    the registry *after* the event, so two threads that deliver side by side leave no stale state.
//! 2. Listen first, then look: no transition falls between the two.
//! 3. The monitor's mutexes are held for a few steps of a map, by whoever makes a transition or asks
//!    the monitor. A call to a healthy peer makes no transition and meets none of them. Under them
//!    the registry is asked, which compares keys; they are neither cloned nor dropped, and wakers are not
//!    touched (R25). Peers are kept by name, so that no key leaves a map halfway.
//! 4. Whoever waits is woken by what it waits for, whatever becomes of others: a waker that panics is the
//!    loss of its own task, and where a key panics, what is known of the peers is found out anew.

use std::fmt;
use std::sync::OnceLock;

use crate::event::{Event, EventKind};
use crate::foreign::guarded;
use crate::registry::hook::{HookNotice, Hooked};
use crate::registry::{HealthRegistry, Listening, Names, PeerKey};
use crate::sync::{Arc, AtomicU64, Weak};

mod builder;
mod candidate;
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

/// WatchTable the peers of a registry: see [`subscribe`](Self::subscribe) for all events,
/// [`watch`](Self::watch) for one peer, [`ready`](Self::ready) to wait until a peer may be called,
/// [`summary`](Self::summary) for the state of all, [`rank`](Self::rank) and
/// [`pick`](Self::pick) to choose whom to call.
///
/// A clone is another name for the same monitor. It listens to its registry until the last of
/// them is dropped, with the streams and watches that it gave.
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
/// A monitor is told of transitions only. For each it takes two mutexes for less than a microsecond
/// or so, and remembers each known peer that is not closed or was ever open. A call to a healthy
/// peer costs what it costs without a monitor.
pub struct HealthMonitor<K> {
    shared: Arc<MonitorShared<K>>,
}

struct MonitorShared<K> {
    registry: HealthRegistry<K>,
    summary: SummaryCache<K>,
    watches: WatchTable<K>,
    /// What peers are called in these two.
    names: Names<K>,
    /// How many events a stream keeps for a reader that lags.
    capacity: usize,
    /// How many offenders a summary names.
    worst: usize,
    seed: u64,
    /// How often was chosen: each choice has numbers of its own.
    choices: AtomicU64,
    /// Until the last who has the monitor lets it go.
    listening: OnceLock<(Listening, Hooked)>,
}

impl<K: PeerKey> HealthMonitor<K> {
    /// A monitor with the defaults: see [`builder`](Self::builder). Looks at every known peer once.
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

    /// Chooses how a monitor works. Defaults: a stream keeps 1024 events, a summary names 10
    /// offenders, the seed is random.
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

    /// The registry that is watched.
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
                shared.hear(event);
            }
        });
        let hears: Weak<Self> = Arc::downgrade(&shared);
        let hooked = shared.registry.hook(move |told| {
            if let (HookNotice::Unheard(peer), Some(shared)) = (told, hears.upgrade()) {
                shared.look(peer);
            }
        });
        shared.listening.get_or_init(|| (listening, hooked));
        // What was so before, found now that it listens.
        shared.summary.look_at_all(&shared.registry, &shared.names);
        shared
    }

    fn hear(&self, event: &Event<K>) {
        if matches!(event.kind, EventKind::LocalOutage | EventKind::LocalRecovered) {
            return; // no transition
        }
        self.look(&event.peer);
    }

    /// Looks at a peer that has made a step, and wakes who follows it. If its key panics, the summary
    /// looks at all anew, and whoever follows any peer looks at it: nobody is left behind.
    fn look(&self, peer: &K) {
        let _ = guarded(|| self.summary.look(&self.registry, &self.names, peer));
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
