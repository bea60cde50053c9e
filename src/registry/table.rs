//! The table of peers: one entry per peer, never more than `max_peers` (R26, R27).
//!
//! No guard of the map leaves a method, and under a shard's lock nothing runs but `Eq` of the key and steps
//! of a circuit, which wait for no thread. The table drops entries outside. A key that panics leaves the
//! table as it was, and its reservation is released.
//!
//! Every entry also stands in an [`EntryRing`], so that a thread that looks for room looks at a few entries
//! and not at the table: see [`evict`](super::evict).

use std::hash::BuildHasher;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::evict::{Looks, Uses};
use super::key::{AsKey, KeyRef, Keyed, PeerKey, StoredHash};
use super::outage::Rounds;
use super::ring::EntryRing;
use crate::circuit::{Circuit, Emitted};
use crate::foreign::Own;
use crate::peer::{Announcement, PeerEntry, RegistryShared};
use crate::sync::{
    Arc, AtomicU64, AtomicUsize, KeyHasher, Mutex, Ordering, Swap, Weak, prefetch_counts,
};
use crate::tracker::Tracker;

pub(super) type Map<K> = DashMap<Keyed<K>, (), StoredHash>;

pub(crate) struct Table<K> {
    pub(super) map: Map<K>,
    hasher: KeyHasher,
    pub(super) ring: EntryRing<K>,
    /// The capacity that is taken or reserved: never less than the entries in the map.
    taken: AtomicUsize,
    /// The first circuit of a tracker, which all trackers share that were never in trouble.
    fresh: Swap<Circuit>,
    /// The highest generation that a tracker which is gone has reached: its peer's next tracker continues
    /// there.
    generations: AtomicU64,
    seed: u64,
    pub(super) looks: Mutex<Looks>,
    pub(super) uses: Mutex<Uses>,
    pub(super) rounds: Mutex<Rounds>,
}

/// Capacity that is reserved for a newcomer, and released if no entry takes it.
pub(super) struct Reservation<'a, K>(pub(super) &'a Table<K>);

impl<K> Reservation<'_, K> {
    fn keep(self) {
        std::mem::forget(self);
    }
}

impl<K> Drop for Reservation<'_, K> {
    fn drop(&mut self) {
        self.0.release(1);
    }
}

/// The number of entries whose memory is brought into the cache side by side, and not one after the other.
pub(super) const GROUP: usize = 128;

impl<K> Table<K> {
    /// Returns the number of tracked peers; one that is being added may count already.
    pub(crate) fn len(&self) -> usize {
        // Relaxed: pairs with `reserve`.
        self.taken.load(Ordering::Relaxed)
    }

    /// Reserves capacity for one peer if less than `max` is taken.
    pub(super) fn reserve(&self, max: usize) -> Option<Reservation<'_, K>> {
        // Relaxed, twice: pairs with `release`; the number alone matters, and a read-modify-write sees the
        // latest.
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            (taken < max).then_some(taken + 1)
        });
        taken.is_ok().then(|| Reservation(self))
    }

    pub(super) fn release(&self, count: usize) {
        // Relaxed: pairs with `reserve`.
        self.taken.fetch_sub(count, Ordering::Relaxed);
    }
}

impl<K: PeerKey> Table<K> {
    pub(crate) fn new(max_peers: usize, seed: u64) -> Self {
        // There are enough shards that a listing of one holds up an insertion for microseconds, and so few
        // that an empty table takes some kilobytes.
        let shards = (max_peers / 1024).next_power_of_two().clamp(16, 1024);
        Self {
            map: DashMap::with_hasher_and_shard_amount(StoredHash::default(), shards),
            hasher: KeyHasher::default(),
            ring: EntryRing::new(max_peers),
            taken: AtomicUsize::new(0),
            fresh: Swap::new(Arc::new(Circuit::new(0))),
            generations: AtomicU64::new(0),
            seed,
            looks: Mutex::default(),
            uses: Mutex::default(),
            rounds: Mutex::default(),
        }
    }

    /// Returns the peer's entry, if it has one.
    pub(crate) fn get(&self, key: &K) -> Option<Arc<PeerEntry<K>>> {
        self.find(&KeyRef(key, self.hasher.hash_one(key)))
    }

    /// Reads the shard through the map's raw interface: there the comparison of keys is a part of the search,
    /// while `DashMap::get` would make several calls through a table of functions.
    #[inline(always)]
    fn find(&self, &KeyRef(key, hash): &KeyRef<'_, K>) -> Option<Arc<PeerEntry<K>>> {
        #[allow(clippy::cast_possible_truncation, reason = "so does the map")]
        let shard = &self.map.shards()[self.map.determine_shard(hash as usize)];
        let shard = shard.read();
        let (found, _) = shard.get(hash, |(found, _)| found.is_of(key, hash))?;
        Some(Arc::clone(&found.0))
    }

    /// Returns the peer's entry, made if there is room for it, and counts a use. A `patient` caller waits
    /// until the search for room has looked at all entries.
    #[inline(never)]
    pub(crate) fn entry(
        &self,
        shared: &Arc<RegistryShared<K>>,
        key: &K,
        patient: bool,
    ) -> Option<Arc<PeerEntry<K>>> {
        let key = KeyRef(key, self.hasher.hash_one(key));
        match self.find(&key) {
            Some(entry) => {
                entry.tracker.record_use(shared.current_use());
                Some(entry)
            }
            None => self.insert(shared, &key, patient),
        }
    }

    /// Apart from the lookup, whose frame is small.
    #[cold]
    #[inline(never)]
    fn insert(
        &self,
        shared: &Arc<RegistryShared<K>>,
        &KeyRef(key, hash): &KeyRef<'_, K>,
        patient: bool,
    ) -> Option<Arc<PeerEntry<K>>> {
        // Code that may panic runs before anything changes (R25), and before there is a key to drop.
        let (salt, own) = (self.salt(key), key.clone());
        let last_use = shared.next_use();
        // The clock is read after the number in the order of uses was taken: see `Uses`.
        let now = shared.context.clock.now();
        self.forget_a_few(shared, last_use, now);
        let Some(promise) = self.make_place(shared, now, patient) else {
            // Relaxed: pairs with nothing; a total.
            shared.ledger.untracked.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        let circuit = self.fresh_circuit();
        let tracker = Tracker::new(Arc::clone(&circuit), salt, last_use);
        let entry = Arc::new(PeerEntry::new(tracker, Arc::clone(shared), own).hashed(hash));
        match self.map.entry(Keyed(Arc::clone(&entry))) {
            Entry::Occupied(found) => return Some(Arc::clone(&found.key().0)),
            Entry::Vacant(place) => {
                // The circuit is taken again under the shard's lock, where the earlier tracker ended.
                let fresh = self.fresh_circuit();
                if !Arc::ptr_eq(&circuit, &fresh) {
                    entry.tracker.begin(fresh);
                }
                drop(place.insert(()));
            }
        }
        promise.keep();
        self.ring.add(&entry);
        Some(entry)
    }

    /// Adds a peer that was saved, if less than `max` capacity is taken. Returns its entry, and `None` if there
    /// is no room. For a registry that nobody else has yet, and that does not know the peer.
    pub(super) fn restore(
        &self,
        shared: &Arc<RegistryShared<K>>,
        key: Own<K>,
        max: usize,
        circuit: impl FnOnce(&Circuit, u64) -> Arc<Circuit>,
    ) -> Option<Arc<PeerEntry<K>>> {
        let (hash, salt) = (self.hasher.hash_one(&*key), self.salt(&key));
        let reserved = self.reserve(max)?;
        let tracker = Tracker::new(circuit(&self.fresh_circuit(), salt), salt, shared.next_use());
        let entry = PeerEntry::new(tracker, Arc::clone(shared), key.take()?).hashed(hash);
        let entry = Arc::new(entry);
        match self.map.entry(Keyed(Arc::clone(&entry))) {
            Entry::Occupied(_) => return None,
            Entry::Vacant(place) => drop(place.insert(())),
        }
        reserved.keep();
        self.ring.add(&entry);
        Some(entry)
    }

    /// Returns the first circuit of a new tracker, with a generation that no earlier tracker of the peer has
    /// reached if the caller holds the lock of the peer's shard.
    fn fresh_circuit(&self) -> Arc<Circuit> {
        // Relaxed: pairs with `retire`, which the same lock orders before this. Without the lock the value
        // may be too old.
        let generation = self.generations.load(Ordering::Relaxed);
        let fresh = self.fresh.load();
        if fresh.generation >= generation {
            return Arc::clone(&fresh);
        }
        let fresh = Arc::new(Circuit::new(generation));
        self.fresh.replace(Arc::clone(&fresh));
        fresh
    }

    /// Notes that a tracker ends with `generation`. The caller holds the lock of its shard.
    pub(super) fn retire(&self, generation: u64) {
        // Relaxed: pairs with `fresh_circuit`, under the same lock.
        self.generations.fetch_max(generation, Ordering::Relaxed);
    }

    /// Hashes the registry's seed and the key alone, so that jitter can be repeated.
    fn salt(&self, key: &K) -> u64 {
        foldhash::quality::FixedState::with_seed(self.seed).hash_one(key)
    }

    /// Removes the peer (R27): its tracker's last phase begins under the lock of the shard, so that no
    /// thread can find the old tracker afterwards, nor a new one before.
    pub(crate) fn remove(&self, shared: &RegistryShared<K>, key: &K) -> bool {
        let (mut ended, mut answered) = ((None, Emitted::default()), false);
        let key = KeyRef(key, self.hasher.hash_one(key));
        let removed = self.map.remove_if(&key as &dyn AsKey<K>, |Keyed(entry), ()| {
            answered = entry.tracker.has_answered();
            ended = entry.remove();
            self.retire(entry.tracker.circuit().generation);
            true
        });
        let Some((Keyed(entry), ())) = removed else { return false };
        self.ring.remove(&entry);
        self.release(1);
        let (totals, emitted) = ended;
        let totals = totals.unwrap_or_default();
        shared.ledger.add(totals);
        // Relaxed: pairs with nothing; a total.
        shared.ledger.removed.fetch_add(1, Ordering::Relaxed);
        entry.tell(&emitted);
        let answered = answered || totals.succeeded > 0 || totals.reported_successes > 0;
        (shared.sink)(&entry, Announcement::Gone { answered });
        true
    }

    /// Returns weak references to all entries, which keep no peer: one may go before the caller looks at it.
    /// A shard is locked only while its entries are collected (R28).
    pub(super) fn entries(&self) -> Vec<Weak<PeerEntry<K>>> {
        let mut entries = Vec::with_capacity(self.len());
        let mut keys = self.map.iter();
        // The group has its memory before a shard is locked.
        let mut group = Vec::with_capacity(GROUP);
        loop {
            group.extend(keys.by_ref().take(GROUP));
            if group.is_empty() {
                return entries;
            }
            group.iter().for_each(|found| prefetch_counts(&found.key().0));
            entries.extend(group.drain(..).map(|found| Arc::downgrade(&found.key().0)));
        }
    }
}
