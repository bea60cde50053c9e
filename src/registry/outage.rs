//! Counts the peers for the outage limiter (R30), a few at a time.

use super::key::PeerKey;
use super::ring::{EntryRing, Hand, RingSlot};
use super::table::Table;
use super::{HealthRegistry, RegistryInner};
use crate::config::rules::Rules;
use crate::outage::{Count, Looked, PeerSource};
use crate::peer::RegistryShared;
use crate::sync::Weak;
use crate::time::Tick;

/// Up to `SMALL` peers are counted in one call; in a larger table each call looks at `STEP` entries.
const SMALL: usize = 1024;
const STEP: usize = 256;

/// The peers of a registry, as the outage limiter sees them; the registry itself holds this.
pub(super) struct Peers<K>(pub(super) Weak<RegistryInner<K>>);

impl<K: PeerKey> PeerSource for Peers<K> {
    fn arrivals(&self) -> u64 {
        self.0.upgrade().map_or(0, |inner| inner.shared.uses())
    }

    fn peers(&self) -> u64 {
        self.0.upgrade().map_or(0, |inner| inner.table.len() as u64)
    }

    fn is_small(&self) -> bool {
        self.peers() <= SMALL as u64
    }

    fn count_on(&self, rules: &Rules, seen: &dyn Fn() -> u64) -> Option<Looked> {
        let inner = self.0.upgrade()?;
        let RegistryInner { table, shared, .. } = &*inner;
        if self.is_small() {
            let mut round = Round::begin(table, shared, rules, seen());
            // Peers may come while this thread counts the others.
            round.step(&table.ring, 2 * SMALL, rules, Marks::Told);
            return Some(round.looked);
        }
        let Some(mut rounds) = table.rounds.try_lock() else {
            // Another thread counts: a part must do.
            let mut round = Round::begin(table, shared, rules, seen());
            round.step(&table.ring, STEP, rules, Marks::None);
            return Some(Looked { whole: false, ..round.looked });
        };
        let Rounds { number, round } = &mut *rounds;
        let current = round.get_or_insert_with(|| {
            *number = number.wrapping_add(1).max(1);
            Round::begin(table, shared, rules, seen())
        });
        current.step(&table.ring, STEP, rules, Marks::Numbered(*number));
        let looked = current.looked;
        if looked.whole {
            *round = None;
        }
        Some(looked)
    }
}

/// The count of a large table, which goes on from call to call, and its number.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    number: u32,
    round: Option<Round>,
}

#[derive(Debug)]
struct Round {
    hand: Hand,
    /// Peers whose last use comes before this number are idle.
    idle_before: Option<u64>,
    looked: Looked,
}

/// The notes that a count leaves with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marks {
    None,
    /// The count notes the successes.
    Told,
    /// The count notes the successes and its number, so that an entry which moves counts once.
    Numbered(u32),
}

impl Round {
    fn begin<K: PeerKey>(
        table: &Table<K>,
        shared: &RegistryShared<K>,
        rules: &Rules,
        seen: u64,
    ) -> Self {
        let arrivals = shared.next_use();
        // The clock is read after the number in the order of uses was taken: see `Uses`.
        let at = shared.context.clock.now();
        let idle_before = table.idle_before(arrivals, rules, at);
        let count = Count { arrivals, ..Count::default() };
        let looked = Looked { at, seen, count, whole: false };
        Self { hand: Hand::default(), idle_before, looked }
    }

    fn step<K>(&mut self, ring: &EntryRing<K>, entries: usize, rules: &Rules, marks: Marks) {
        let Self { hand, idle_before, looked } = self;
        let (_, over) = ring.step(hand, entries, |slot| {
            if let Marks::Numbered(number) = marks {
                if slot.counted_in == number {
                    return;
                }
                slot.counted_in = number;
            }
            looked.count.add(slot, *idle_before, rules, looked.at, marks != Marks::None);
        });
        looked.whole = over;
    }
}

impl Count {
    /// Adds a peer: it counts if it ever answered, and a handle holds it, or it was used since a sweep or a
    /// count that was at least `idle_timeout` ago.
    fn add<K>(
        &mut self,
        slot: &mut RingSlot<K>,
        idle_before: Option<u64>,
        rules: &Rules,
        now: Tick,
        record_use: bool,
    ) {
        self.peers += 1;
        let entry = &slot.entry;
        let successes = entry.tracker.successes();
        if record_use {
            #[allow(clippy::cast_possible_truncation, reason = "whether it changed is all")]
            let successes = successes as u32;
            // This includes peers out of use: a success while they were is no news later.
            let changed = successes != std::mem::replace(&mut slot.successes, successes);
            self.answered |= changed && !entry.tracker.circuit().is_tripped();
        }
        // Handles are read before the use: see `PeerEntry::has_handles`.
        let used =
            entry.has_handles() || idle_before.is_none_or(|idle| entry.tracker.last_use() >= idle);
        if !used {
            return;
        }
        let circuit = entry.tracker.circuit();
        if successes == 0 && !circuit.health.answered {
            return;
        }
        self.used += 1;
        self.open += u64::from(circuit.is_tripped());
        self.held += u64::from(circuit.is_held_back(rules, now));
    }
}

impl<K: PeerKey> HealthRegistry<K> {
    /// Returns whether this node itself is probably cut off (R30): the outage guard is on, it kept a circuit
    /// from opening, and still more than `outage_max_open_percent` of the peers in use are open or would be.
    ///
    /// The guard holds trips back, so that a node which was offline does not find most of its peers open
    /// when it is back. The outage ends by itself: a peer that answers clears its streak, and open circuits
    /// are probed as ever. Listeners hear of [`LocalOutage`](crate::EventKind::LocalOutage) and
    /// [`LocalRecovered`](crate::EventKind::LocalRecovered).
    ///
    /// A peer is in use if it ever answered, and a handle holds it or it was used within `idle_timeout`, as
    /// far as insertions, sweeps and counts can tell: longer ago where there were none. The guard never
    /// holds back a peer that never answered. Open and half-open circuits count as open; those that were
    /// forced open do not. The guard counts when a circuit is about to open and the last count is a second
    /// old, or an eighth of the peers is new or gone: up to 1,024 peers at once, more of them 256 at a time,
    /// by each call that fails or asks this, until it has seen all. Until then the peers seen so far decide.
    /// So a circuit that has closed, or a peer that was removed, may count for a while; while no peer is
    /// removed or falls idle, never are more open than the limit allows.
    ///
    /// A peer that answers proves that this node is online: when a trip is held back, and between two counts
    /// after that, a second apart, a peer that is not open has had a success, the guard holds no trip back
    /// until the next count. For a second after the end of an outage, no other begins.
    ///
    /// ```
    /// use peer_health::{HealthConfig, HealthRegistry, Recorded, SyncError};
    ///
    /// let config = HealthConfig::default().with_failure_threshold(1).with_outage_guard(true);
    /// let registry = HealthRegistry::<u32>::builder().config(config).build()?;
    /// (1..=4).for_each(|peer| _ = registry.acquire(&peer).unwrap().success()); // they are known
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
        let context = &self.inner.shared.context;
        context.outage.lasts(&context.rules(), || context.clock.now())
    }
}
