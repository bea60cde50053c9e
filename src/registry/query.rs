//! What can be seen of the peers without changing anything.

use std::time::Duration;

use super::table::GROUP;
use super::{HealthRegistry, PeerKey, RegistryInner};
use crate::config::HealthConfig;
use crate::config::rules::Rules;
use crate::outcome::{NextAdmission, Status};
use crate::peer::PeerEntry;
use crate::snapshot::{PeerTotals, Snapshot, Totals};
use crate::sync::{Arc, Loaded, Weak, prefetch_weak};
use crate::time::{Tick, ago};

/// Takes some of these entries, and shows those that are still there. No lock is held. Returns whether there
/// were any. It holds one in eight of the entries that are left, and a constant number at most: the registry can
/// evict the others meanwhile.
fn visit<K>(left: &mut Vec<Weak<PeerEntry<K>>>, see: impl FnMut(&PeerEntry<K>)) -> bool {
    let count = left.len().div_ceil(8).min(GROUP);
    // Each weak reference goes while its entry is in the cache.
    let entries = left.drain(left.len() - count..).filter_map(|entry| entry.upgrade());
    let group: Vec<_> = entries.collect();
    group.iter().for_each(|entry| entry.prefetch());
    let next = left.len().saturating_sub(GROUP);
    left[next..].iter().for_each(prefetch_weak);
    group.iter().map(|entry| &**entry).for_each(see);
    count > 0
}

impl<K: PeerKey> HealthRegistry<K> {
    /// Where the peer's circuit stands; closed if it is unknown.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, Status};
    /// let registry = HealthRegistry::<u32>::new();
    /// assert_eq!(registry.status(&7), Status::Closed);
    /// ```
    pub fn status(&self, peer: &K) -> Status {
        let context = &self.inner.shared.context;
        self.known(peer).map_or(Status::Closed, |entry| entry.tracker.status(context))
    }

    /// Whether the circuit is open and its wait not over, or forced open: the question that
    /// callers of `sync_errors` ask before a call.
    ///
    /// Moves nothing and bounds no probes: any number of callers may be told "no" while a
    /// half-open circuit would admit one. [`acquire`](Self::acquire) is the better question.
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// assert!(!registry.is_circuit_open(&7));
    /// ```
    pub fn is_circuit_open(&self, peer: &K) -> bool {
        self.known(peer).is_some_and(|entry| entry.tracker.refuses(&self.inner.shared.context))
    }

    /// When a call may be admitted, without asking to be admitted.
    ///
    /// ```
    /// use peer_health::{HealthRegistry, NextAdmission};
    /// let registry = HealthRegistry::<u32>::new();
    /// registry.force_open(&7)?;
    /// assert_eq!(registry.next_admission(&7), NextAdmission::Unknown);
    /// # Ok::<(), peer_health::TableFull>(())
    /// ```
    pub fn next_admission(&self, peer: &K) -> NextAdmission {
        self.known(peer).map_or(NextAdmission::Now, |entry| {
            let context = &self.inner.shared.context;
            entry.tracker.next_admission(&entry.tracker.circuit(), context, context.clock.now())
        })
    }

    /// Everything that is known of a peer; `None` if it is unknown.
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// assert!(registry.snapshot(&7).is_none());
    /// registry.acquire(&7).unwrap().success();
    /// assert_eq!(registry.snapshot(&7).unwrap().totals.succeeded, 1);
    /// ```
    pub fn snapshot(&self, peer: &K) -> Option<Snapshot> {
        Some(self.inner.snapshot(&*self.known(peer)?))
    }

    /// What [`is_circuit_open`](Self::is_circuit_open) would say, without the note that it leaves
    /// while a streak is running (R14).
    #[cfg(feature = "iroh")]
    pub(crate) fn refuses_now(&self, peer: &K) -> bool {
        let now = self.inner.shared.context.clock.now();
        self.known(peer).is_some_and(|entry| entry.tracker.circuit().refuses(now))
    }

    /// How long ago the peer's last error was; `None` if there was none.
    #[cfg(feature = "tokio")]
    pub(crate) fn since_last_error(&self, peer: &K) -> Option<Duration> {
        let entry = self.known(peer)?;
        let last = entry.tracker.errors(&entry.tracker.circuit()).last?;
        Some(Duration::from_nanos(self.inner.shared.context.clock.now().since(last.at)))
    }

    /// Returns the configuration in force, as it was given: that of
    /// [`build`](super::RegistryBuilder::build), or the latest that [`set_config`](Self::set_config) took.
    ///
    /// For a change of one field. Two threads that do so at once may undo each other's change.
    ///
    /// ```
    /// use peer_health::{HealthConfig, HealthRegistry};
    /// use std::time::Duration;
    ///
    /// let registry = HealthRegistry::<u32>::new();
    /// let config = registry.config().with_open_timeout(Duration::from_secs(9));
    /// registry.set_config(config)?;
    /// let nonsense = registry.config().with_max_peers(0);
    /// assert!(registry.set_config(nonsense).is_err());
    /// assert_eq!(registry.config().open_timeout, Duration::from_secs(9));
    /// assert_eq!(registry.config().max_peers, HealthConfig::default().max_peers);
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn config(&self) -> HealthConfig {
        self.rules().given.clone()
    }

    /// The configuration as it is now.
    pub(crate) fn rules(&self) -> Loaded<Rules> {
        self.inner.shared.context.rules()
    }

    /// Shows every known peer to `show`.
    ///
    /// # Consistency
    ///
    /// Each snapshot is one state of its peer; together they are no single moment. A peer that is
    /// added or removed meanwhile may be shown or not; none is shown twice. No lock is held while
    /// `show` runs: it may call any method. To be shown is no use of a peer; while it runs, a few peers cannot
    /// be evicted, one in eight at most, rounded up. The work is proportional to the table; it holds up others
    /// for as long as a list of one shard's peers takes (R28).
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// registry.acquire(&7).unwrap().success();
    /// let mut seen = Vec::new();
    /// registry.for_each(|peer, snapshot| seen.push((*peer, snapshot.status)));
    /// assert_eq!(seen, [(7, peer_health::Status::Closed)]);
    /// ```
    pub fn for_each(&self, mut show: impl FnMut(&K, Snapshot)) {
        self.inner.each(|entry| show(&entry.key, self.inner.snapshot(entry)));
    }

    /// What was ever counted, over all peers. The work is proportional to the table.
    ///
    /// # Consistency
    ///
    /// Exact when nothing is going on. Meanwhile it may lag behind calls that are ending and peers
    /// that are being forgotten; nothing is lost.
    ///
    /// ```
    /// let registry = peer_health::HealthRegistry::<u32>::new();
    /// registry.acquire(&7).unwrap().success();
    /// assert_eq!(registry.totals().all.succeeded, 1);
    /// ```
    pub fn totals(&self) -> Totals {
        let (mut totals, pieces) = self.totals_in_pieces();
        pieces.for_each(|piece| totals.all.add(piece));
        totals
    }

    /// Returns the totals without those of the peers that are known now, and an iterator that reads these, a
    /// few peers at each step: a task gives others their turn between two steps.
    pub(crate) fn totals_in_pieces(&self) -> (Totals, impl Iterator<Item = PeerTotals> + use<K>) {
        // The ledger is read first: a peer that leaves meanwhile counts once or not at all, and never twice.
        let rest = self.inner.shared.ledger.totals();
        let mut left = self.inner.table.entries();
        let pieces = std::iter::from_fn(move || {
            let mut sum = PeerTotals::default();
            visit(&mut left, |entry| sum.add(entry.tracker.totals())).then_some(sum)
        });
        (rest, pieces)
    }

    /// How many peers are known; one that is being added at this moment may count already.
    ///
    /// ```
    /// assert_eq!(peer_health::HealthRegistry::<u32>::new().len(), 0);
    /// ```
    pub fn len(&self) -> usize {
        self.inner.table.len()
    }

    /// Whether no peer is known.
    ///
    /// ```
    /// assert!(peer_health::HealthRegistry::<u32>::new().is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the peer is known. To ask is no use of it.
    ///
    /// ```
    /// assert!(!peer_health::HealthRegistry::<u32>::new().contains(&7));
    /// ```
    pub fn contains(&self, peer: &K) -> bool {
        self.known(peer).is_some()
    }
}

impl<K: PeerKey> RegistryInner<K> {
    /// Shows all entries to `see`, some at a time, while no lock is held.
    pub(super) fn each(&self, mut see: impl FnMut(&PeerEntry<K>)) {
        let mut left = self.table.entries();
        while visit(&mut left, &mut see) {}
    }
}

impl<K> RegistryInner<K> {
    fn snapshot(&self, entry: &PeerEntry<K>) -> Snapshot {
        let context = &self.shared.context;
        let tracker = &entry.tracker;
        let circuit = tracker.circuit();
        // A healthy peer needs no clock.
        let timeless = circuit.has_no_window() && !tracker.has_errors();
        let now = if timeless { Tick::default() } else { context.clock.now() };
        let circuit = circuit.seen_at(now);
        let errors = tracker.errors(&circuit);
        let last = errors.last.as_ref();
        let shown = |at: Tick| ago(now.since(at));
        Snapshot {
            status: circuit.status(),
            generation: circuit.generation,
            consecutive_failures: circuit.health.run.streak,
            window: circuit.window_counts(now),
            next_admission: tracker.next_admission(&circuit, context, now),
            open_for: circuit.opened_at().map(|at| Duration::from_nanos(now.since(at))),
            probes_in_flight: circuit.probes_in_flight(),
            last_error: last.map(|last| Arc::new(last.failure.clone())),
            last_error_at: last.map(|last| shown(last.at)),
            opened_at: circuit.opened_at().map(shown),
            errors: errors.count,
            retry_attempt: circuit.health.run.errors,
            consecutive_successes: tracker.successes_since(&circuit, &errors),
            latency: tracker.latency(|| context.clock.now()).map(Duration::from_nanos),
            totals: tracker.totals(),
        }
    }
}
