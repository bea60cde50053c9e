//! The table of peers: one seat per peer, never more than `max_peers` (R26, R27).
//!
//! No guard of the map leaves a method, and nothing runs under a shard's lock but `Eq` of the key and
//! steps of a circuit, which wait for nobody. Seats are dropped outside. A key that panics leaves the
//! table as it was, and gives its place back.
//!
//! A seat is evicted only by proof that nobody else holds it, given under its shard's lock, where
//! nobody can come to hold it: there is no outcome that could be lost with it.

use std::collections::BinaryHeap;
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use super::key::{AsKey, KeyRef, Keyed, PeerKey, SeatRef, Taken};
use super::sweep::{Rank, Sweeps, Victim};
use crate::circuit::Core;
use crate::event::EventKind;
use crate::seat::{Said, Seat, Shared};
use crate::sync::{Arc, AtomicU64, AtomicUsize, KeyHasher, Ordering, Swap, fence};
use crate::time::Tick;
use crate::tracker::Tracker;

type Map<K> = DashMap<Keyed<K>, (), Taken>;

pub(crate) struct Table<K> {
    map: Map<K>,
    hasher: KeyHasher,
    /// Places taken or promised: never less than the seats in the map.
    taken: AtomicUsize,
    /// How a tracker begins: shared by those that were never in trouble.
    fresh: Swap<Core>,
    /// The highest generation that a tracker which is gone has reached: its peer's next tracker
    /// continues there.
    generations: AtomicU64,
    seed: u64,
    /// How many hold all seats to look at them: see [`Held`].
    looking: AtomicUsize,
    victims: Mutex<Vec<Victim>>,
    pub(super) sweeps: Mutex<Sweeps>,
}

/// All seats, held by who looks at them and uses none: no peer is in use for that (R30), and none
/// that is free afterwards is overlooked (R26). Meanwhile a peer that is held by others too may go by
/// its last use.
pub(super) struct Held<'a, K> {
    pub(super) seats: Vec<Arc<Seat<K>>>,
    table: &'a Table<K>,
    shared: &'a Shared<K>,
}

impl<K> Drop for Held<'_, K> {
    fn drop(&mut self) {
        self.seats.clear();
        // Relaxed: pairs with `Table::looking`; see `Table::seats`.
        self.table.looking.fetch_sub(1, Ordering::Relaxed);
        self.shared.freed();
    }
}

/// So many seats are looked at together.
pub(super) const GROUP: usize = 32;

/// Looks at seats that are about to be used: their memory comes into the cache side by side, and
/// not one after the other.
pub(super) fn ahead<'a, K: 'a>(seats: impl Iterator<Item = &'a Seat<K>>) {
    for seat in seats {
        let _ = (seat.tracker.successes(), seat.tracker.rests());
    }
}

/// A lock that a panic elsewhere does not close: what it holds is valid at every moment.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place that is given back, unless it is forgotten since a seat has it.
struct PlaceTaken<'a, K: PeerKey>(&'a Table<K>);

impl<K: PeerKey> Drop for PlaceTaken<'_, K> {
    fn drop(&mut self) {
        self.0.give_place_back();
    }
}

impl<K: PeerKey> Table<K> {
    pub(crate) fn new(max_peers: usize, seed: u64) -> Self {
        // Enough shards that a snapshot of all peers holds up an insertion for microseconds.
        let shards = (max_peers / 64).next_power_of_two().clamp(16, 1024);
        Self {
            map: DashMap::with_hasher_and_shard_amount(Taken::default(), shards),
            hasher: KeyHasher::default(),
            taken: AtomicUsize::new(0),
            fresh: Swap::new(Arc::new(Core::new(0))),
            generations: AtomicU64::new(0),
            seed,
            looking: AtomicUsize::new(0),
            victims: Mutex::default(),
            sweeps: Mutex::default(),
        }
    }

    /// How many peers are tracked; one that is being added may count already.
    pub(crate) fn len(&self) -> usize {
        // Relaxed: pairs with `take_place`.
        self.taken.load(Ordering::Relaxed)
    }

    /// The peer's seat, if it has one.
    pub(crate) fn get(&self, key: &K) -> Option<Arc<Seat<K>>> {
        self.find(&KeyRef(key, self.hasher.hash_one(key)))
    }

    #[inline]
    fn find(&self, key: &KeyRef<'_, K>) -> Option<Arc<Seat<K>>> {
        self.map.get(key as &dyn AsKey<K>).map(|found| Arc::clone(&found.key().0))
    }

    /// The peer's seat, made if there is room for it; counted as a use.
    #[inline(never)]
    pub(crate) fn seat(&self, shared: &Arc<Shared<K>>, key: &K) -> Option<Arc<Seat<K>>> {
        let key = KeyRef(key, self.hasher.hash_one(key));
        match self.find(&key) {
            Some(seat) => {
                seat.tracker.mark(shared.now_used());
                Some(seat)
            }
            None => self.insert(shared, &key),
        }
    }

    fn insert(
        &self,
        shared: &Arc<Shared<K>>,
        &KeyRef(key, hash): &KeyRef<'_, K>,
    ) -> Option<Arc<Seat<K>>> {
        let now = shared.env.clock.now();
        self.sweep_if_due(shared, now);
        if !self.take_place(shared, now) {
            // Relaxed: pairs with nothing; a total.
            shared.ledger.untracked.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let place_taken = PlaceTaken(self);
        let core = self.fresh_core();
        let tracker = Tracker::new(Arc::clone(&core), self.salt(key), shared.next_use());
        let seat = Seat::new(tracker, Arc::clone(shared), key.clone()).hashed(hash);
        let seat = Arc::new(seat);
        match self.map.entry(Keyed(Arc::clone(&seat))) {
            Entry::Occupied(found) => {
                let seat = Arc::clone(&found.key().0);
                drop(found);
                drop(place_taken);
                Some(seat)
            }
            Entry::Vacant(place) => {
                // Asked again under the lock of the shard, where the peer's earlier tracker ended.
                let fresh = self.fresh_core();
                if !Arc::ptr_eq(&core, &fresh) {
                    seat.tracker.begin(fresh);
                }
                drop(place.insert(()));
                std::mem::forget(place_taken);
                Some(seat)
            }
        }
    }

    /// How a new tracker begins: asked under the lock of the peer's shard, with a generation that
    /// no earlier tracker of the peer has reached.
    fn fresh_core(&self) -> Arc<Core> {
        // Relaxed: pairs with `retire`, which the same lock orders before this. Asked without the
        // lock, it may be too early.
        let generation = self.generations.load(Ordering::Relaxed);
        let fresh = self.fresh.load();
        if fresh.generation >= generation {
            return Arc::clone(&fresh);
        }
        let fresh = Arc::new(Core::new(generation));
        self.fresh.replace(Arc::clone(&fresh));
        fresh
    }

    /// A tracker goes whose last phase is `generation`. To be told under the lock of its shard.
    fn retire(&self, generation: u64) {
        // Relaxed: pairs with `fresh_core`, under the same lock.
        self.generations.fetch_max(generation, Ordering::Relaxed);
    }

    /// Depends on the registry's seed and the key alone, so that jitter can be repeated.
    fn salt(&self, key: &K) -> u64 {
        foldhash::quality::FixedState::with_seed(self.seed).hash_one(key)
    }

    /// Takes a place for a newcomer, making room if need be.
    fn take_place(&self, shared: &Shared<K>, now: Tick) -> bool {
        loop {
            let max = shared.env.rules().max_peers;
            // Relaxed, twice: pairs with `give_place_back`; the number alone matters, and a
            // read-modify-write sees the latest.
            let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < max).then_some(taken + 1)
            });
            if taken.is_ok() {
                return true;
            }
            if !self.evict_one(shared, now) {
                return false;
            }
        }
    }

    fn give_place_back(&self) {
        // Relaxed: pairs with `take_place`.
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }

    /// Makes room by forgetting one peer: the least recently used clean one, or else the one that
    /// has been in trouble and out of use for longest. A pass over the table finds the next few
    /// victims in order; each is looked at again before it goes.
    fn evict_one(&self, shared: &Shared<K>, now: Tick) -> bool {
        loop {
            let next = locked(&self.victims).pop();
            if let Some(victim) = next {
                if self.evict(shared, &victim, now) {
                    return true;
                }
                continue;
            }
            if !shared.begin_search(now) {
                return false;
            }
            let mut found = self.search(now, shared.env.rules().forget);
            let Some(first) = found.pop() else {
                shared.search_failed(now);
                return false;
            };
            shared.freed();
            *locked(&self.victims) = found;
            if self.evict(shared, &first, now) {
                return true;
            }
        }
    }

    /// The next few peers to be forgotten, the first to go last.
    fn search(&self, now: Tick, forget: u64) -> Vec<Victim> {
        let batch = (self.len() / 16).clamp(1, 4096);
        let mut found = BinaryHeap::with_capacity(batch + 1);
        for entry in &self.map {
            let Keyed(seat) = entry.key();
            let Some(rank) = Victim::of(seat, now, forget) else { continue };
            if found.len() < batch || found.peek().is_some_and(|v: &Victim| rank < v.rank) {
                found.push(Victim { rank, seat: SeatRef::of(seat) });
            }
            if found.len() > batch {
                found.pop();
            }
        }
        let mut found = found.into_sorted_vec();
        found.reverse();
        found
    }

    /// Forgets the victim if it still may go.
    pub(super) fn evict(&self, shared: &Shared<K>, victim: &Victim, now: Tick) -> bool {
        let forget = shared.env.rules().forget;
        let mut last = 0;
        let gone = self.map.remove_if(&victim.seat as &dyn AsKey<K>, |Keyed(seat), ()| {
            // The proof: nobody else holds the seat, and under this lock nobody comes to. It comes
            // first: it acquires what the last holder did, and the rank is judged by that.
            let alone = Arc::strong_count(seat) == 1;
            // Acquire: pairs with the Release by which `Arc` gives up a reference.
            fence(Ordering::Acquire);
            let goes = alone && Victim::of(seat, now, forget) == Some(victim.rank);
            if goes {
                last = seat.tracker.core().generation.saturating_add(1);
                self.retire(last);
            }
            goes
        });
        let Some((Keyed(seat), ())) = gone else { return false };
        self.give_place_back();
        // Relaxed: pairs with nothing; a total.
        shared.ledger.evicted.fetch_add(1, Ordering::Relaxed);
        (shared.sink)(&seat, Said::Event(last, EventKind::Evicted));
        (shared.sink)(&seat, Said::Gone { answered: seat.tracker.successes() > 0 });
        true
    }

    /// Removes the peer (R27): its tracker's last phase begins under the lock of the shard, so
    /// that nobody can find the old tracker afterwards, nor a new one before.
    pub(crate) fn remove(&self, shared: &Shared<K>, key: &K) -> bool {
        let mut ended = (None, [None; 2]);
        let key = KeyRef(key, self.hasher.hash_one(key));
        let removed = self.map.remove_if(&key as &dyn AsKey<K>, |Keyed(seat), ()| {
            ended = seat.remove();
            self.retire(seat.tracker.core().generation);
            true
        });
        let Some((Keyed(seat), ())) = removed else { return false };
        self.give_place_back();
        let (totals, turns) = ended;
        let totals = totals.unwrap_or_default();
        shared.ledger.add(totals);
        // Relaxed: pairs with nothing; a total.
        shared.ledger.removed.fetch_add(1, Ordering::Relaxed);
        seat.tell(&turns);
        let answered = totals.succeeded > 0 || totals.reported_successes > 0;
        (shared.sink)(&seat, Said::Gone { answered });
        shared.freed();
        true
    }

    /// All seats. A shard is held only while its seats are counted up (R28).
    pub(super) fn seats<'a>(&'a self, shared: &'a Shared<K>) -> Held<'a, K> {
        // Relaxed: pairs with `looking`; a count that comes in between errs for a second.
        self.looking.fetch_add(1, Ordering::Relaxed);
        let mut held = Held { seats: Vec::with_capacity(self.len()), table: self, shared };
        let mut entries = self.map.iter();
        loop {
            let group: Vec<_> = entries.by_ref().take(GROUP).collect();
            if group.is_empty() {
                return held;
            }
            ahead(group.iter().map(|entry| &*entry.key().0));
            held.seats.extend(group.iter().map(|entry| Arc::clone(&entry.key().0)));
        }
    }

    /// How many hold all seats at the moment, each of them once.
    pub(super) fn looking(&self) -> usize {
        // Relaxed: pairs with `seats`; see there.
        self.looking.load(Ordering::Relaxed)
    }

    /// Shows all seats, each under the lock of its shard.
    pub(super) fn each(&self, mut show: impl FnMut(&Arc<Seat<K>>)) {
        for entry in &self.map {
            show(&entry.key().0);
        }
    }

    /// The peers that may go and whose rank is `wanted`.
    pub(super) fn select(
        &self,
        now: Tick,
        forget: u64,
        wanted: impl Fn(Rank) -> bool,
    ) -> Vec<Victim> {
        let candidate =
            |seat: &Arc<Seat<K>>| Victim::of(seat, now, forget).filter(|rank| wanted(*rank));
        self.map
            .iter()
            .filter_map(|entry| {
                let Keyed(seat) = entry.key();
                Some(Victim { rank: candidate(seat)?, seat: SeatRef::of(seat) })
            })
            .collect()
    }
}
