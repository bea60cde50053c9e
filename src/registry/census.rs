//! Counts the peers for the guard against an outage of our own (R30).

use super::key::PeerKey;
use super::table::Table;
use super::{HealthRegistry, Inner};
use crate::guard::{Count, Crowd};
use crate::rules::Rules;
use crate::seat::Shared;
use crate::sync::{Arc, Ordering, Weak, fence};
use crate::time::Tick;

/// The peers of a registry, which holds this itself.
pub(super) struct Peers<K>(pub(super) Weak<Inner<K>>);

impl<K: PeerKey> Crowd for Peers<K> {
    fn arrivals(&self) -> u64 {
        self.0.upgrade().map_or(0, |inner| inner.shared.uses())
    }

    fn peers(&self) -> u64 {
        self.0.upgrade().map_or(0, |inner| inner.table.len() as u64)
    }

    fn count(&self, rules: &Rules, now: Tick) -> Option<Count> {
        let inner = self.0.upgrade()?;
        Some(inner.table.census(&inner.shared, rules, now))
    }
}

impl<K: PeerKey> Table<K> {
    /// The peers in use: held by somebody, or used since a sweep or a count that was at least
    /// `idle_timeout` ago. Those that are open or held back among them.
    fn census(&self, shared: &Shared<K>, rules: &Rules, now: Tick) -> Count {
        let arrivals = shared.next_use();
        let idle_before = self.idle_before(arrivals, rules, now);
        let looking = self.looking();
        let mut count = Count { arrivals, ..Count::default() };
        self.each(|seat| {
            count.peers += 1;
            let in_hand = Arc::strong_count(seat) > 1 + looking;
            // Acquire: pairs with the Release by which `Arc` gives up a reference: the use that
            // ended with it was noted before. No model of a count sees the stamp; the one of an
            // eviction, which is proven in the same way, fails without its fence.
            fence(Ordering::Acquire);
            if in_hand || idle_before.is_none_or(|place| seat.tracker.stamp() >= place) {
                let core = seat.tracker.core();
                count.used += 1;
                count.open += u64::from(core.is_tripped());
                count.held += u64::from(core.is_held_back(rules, now));
            }
        });
        count
    }
}

impl<K: PeerKey> HealthRegistry<K> {
    /// Whether this node itself is probably cut off (R30): the outage guard is on, a circuit was
    /// not opened because of it, and still more than `max_open_percent` of the peers in use are
    /// open or would be.
    ///
    /// The guard holds trips back, so that a node which was offline does not find most of its
    /// peers open when it is back. Nobody has to end this: a peer that answers clears its streak,
    /// and circuits that are open are probed as ever. Listeners are told of
    /// [`LocalOutage`](crate::EventKind::LocalOutage) and
    /// [`LocalRecovered`](crate::EventKind::LocalRecovered).
    ///
    /// In use is a peer that a handle or a permit holds, or that was used within `idle_timeout` as
    /// far as sweeps, and counts for this purpose, can tell: longer ago where there were none. Open
    /// are the open and the half-open ones among them, not those that were forced open. They are
    /// counted when one is about to open, in a pass over the table, when the last count is a second
    /// old or an eighth of the peers is new or gone. So a circuit that has closed, or a peer that
    /// was removed, may hold its place for a second; while no peer is removed or falls idle, never
    /// are there more than the limit. To ask this while an outage goes on counts them too. For a
    /// second after the end of one, no other begins, though trips are held back.
    ///
    /// ```
    /// use peer_health::{HealthConfig, HealthRegistry, Recorded, SyncError};
    ///
    /// let config = HealthConfig::default().with_failure_threshold(1).with_outage_guard(true);
    /// let registry = HealthRegistry::<u32>::builder().config(config).build()?;
    /// let calls: Vec<_> = (1..=4).map(|peer| registry.acquire(&peer).unwrap()).collect();
    /// let opened = calls
    ///     .into_iter()
    ///     .map(|call| call.failure(SyncError::Network("no route to host".into())))
    ///     .filter(|recorded| matches!(recorded, Recorded::Opened { .. }))
    ///     .count();
    /// assert_eq!(opened, 2);
    /// assert!(registry.local_outage());
    /// registry.acquire(&4).unwrap().success();
    /// assert!(!registry.local_outage());
    /// # Ok::<(), peer_health::ConfigError>(())
    /// ```
    pub fn local_outage(&self) -> bool {
        let env = &self.inner.shared.env;
        env.guard.lasts(&env.rules(), || env.clock.now())
    }
}
