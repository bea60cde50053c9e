//! Room for newcomers: which peers the registry may forget, and when (R26).
//!
//! A newcomer pays for a constant number of looks, whatever the table holds: its thread looks at
//! [`FOR_IDLE`] entries for idle peers and, if the table is full, at [`FOR_ROOM`] for the one to evict. One
//! thread looks at a time; beside it the registry serves a newcomer to a full table untracked.
//!
//! A thread evicts an entry only by proof that nothing but the map, the ring and the thread itself holds it,
//! given under its shard's lock: from the map no other thread can then take it, and from the ring only the
//! thread that looks can. So no eviction loses an outcome.

use std::collections::VecDeque;

use super::key::{AsKey, EntryRef, Keyed, PeerKey};
use super::ring::{HOLDERS, Hand};
use super::table::{Reservation, Table};
use crate::config::rules::Rules;
use crate::event::EventKind;
use crate::peer::{Announcement, PeerEntry, RegistryShared};
use crate::sync::{Arc, Ordering, fence};
use crate::time::Tick;

/// The number of entries that a newcomer's thread looks at for room, and for idle peers.
const FOR_ROOM: usize = 64;
const FOR_IDLE: usize = 32;
/// Idle peers are noted and forgotten in groups of this size. A list of twice as many takes a kibibyte: an
/// allocation of that size makes glibc merge all small chunks that were ever freed, for milliseconds.
const IDLE_AT_ONCE: usize = 16;
/// So many peers go at most for one newcomer, after `max_peers` was lowered.
const AT_ONCE: usize = 32;
/// While fewer entries than this may go, of those looked at, a peer that is called again and again is
/// spared: otherwise strangers that fail would displace all peers that do not.
const FEW: usize = FOR_ROOM / 2;

/// The positions at which the looks of newcomers go on.
#[derive(Debug, Default)]
pub(super) struct Looks {
    room: Hand,
    /// The order of uses when the hand began its round: a peer that was used since has a second chance, as
    /// in page replacement.
    began: u64,
    idle: Hand,
}

/// The order of eviction: clean peers go first, the least recently used of them first; then those in trouble
/// that were unused for too long, the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Clean { last_use: u64 },
    Forgotten { since: Tick, last_use: u64 },
}

impl Rank {
    /// Returns the rank of an entry; `None` if it may not go even when no permit or handle holds it.
    fn of<K>(entry: &PeerEntry<K>, now: Tick, forget: u64) -> Option<Self> {
        let tracker = &entry.tracker;
        let last_use = tracker.last_use();
        if tracker.rests().is_some() {
            return Some(Self::Clean { last_use });
        }
        let circuit = tracker.circuit();
        if circuit.is_clean(now) {
            return Some(Self::Clean { last_use });
        }
        let since = tracker.unused_since(&circuit)?;
        (now >= since.plus(forget)).then_some(Self::Forgotten { since, last_use })
    }

    /// Returns whether the peer has answered more than once, and was used since `began`.
    fn is_busy<K>(self, entry: &PeerEntry<K>, began: u64) -> bool {
        matches!(self, Self::Clean { last_use } if last_use >= began)
            && entry.tracker.successes() > 1
    }
}

/// An entry that may go.
type EvictionCandidate<K> = (Rank, Arc<PeerEntry<K>>);

/// An evicted entry, the generation that its tracker ended with, and its capacity in the table. The registry
/// tells listeners and drops the key when it holds no lock (R25).
struct Evicted<'a, K> {
    entry: Arc<PeerEntry<K>>,
    generation: u64,
    reserved: Reservation<'a, K>,
}

/// Returns whether only the table holds the entry, as far as this thread can see.
fn is_free<K>(entry: &Arc<PeerEntry<K>>) -> bool {
    Arc::strong_count(entry) == HOLDERS
}

/// The past of the order of uses: a peer whose last use comes before a noted number was not used since the
/// time that was noted with it.
#[derive(Debug, Default)]
pub(super) struct Uses {
    past: VecDeque<(Tick, u64)>,
}

impl Uses {
    /// Returns the number before which a peer is idle. Notes `use_now`, the order's number of now, unless the
    /// last note, or `from`, is younger than `again`: the caller reads `now` after it takes `use_now`, so an
    /// earlier use has a lower number, and no peer is taken for idle early.
    fn note(
        &mut self,
        now: Tick,
        use_now: u64,
        idle: u64,
        again: u64,
        from: Option<Tick>,
    ) -> Option<u64> {
        let old = self.past.iter().take_while(|(t, _)| t.plus(idle) <= now).count();
        let idle_before = old.checked_sub(1).map(|last| self.past[last].1);
        // No later call needs older notes.
        self.past.drain(..old.saturating_sub(1));
        let last = self.past.back().map(|(t, _)| *t).or(from);
        if last.is_some_and(|t| now.since(t) < again) {
            return idle_before;
        }
        // Of notes that follow closely the latest stays: idleness is seen later, never earlier.
        if self.past.iter().nth_back(1).is_some_and(|(t, _)| now.since(*t) < idle / 32) {
            self.past.pop_back();
        }
        self.past.push_back((now, use_now));
        idle_before
    }
}

impl<K: PeerKey> Table<K> {
    /// Reserves capacity for a newcomer: free capacity, or that of a peer which may go.
    pub(super) fn make_place(
        &self,
        shared: &RegistryShared<K>,
        now: Tick,
        patient: bool,
    ) -> Option<Reservation<'_, K>> {
        let max = shared.context.rules().max_peers;
        let mut left = if patient { self.len().div_ceil(FOR_ROOM) + 1 } else { 1 };
        loop {
            if let Some(promise) = self.reserve(max) {
                return Some(promise);
            }
            if left == 0 {
                return None;
            }
            left -= 1;
            // The table holds more peers than allowed: `max_peers` was lowered.
            let surplus = self.len().saturating_sub(max);
            let gone = self.look_for_room(shared, now, (surplus + 1).min(AT_ONCE), patient);
            // The newcomer gets the capacity of one that went, unless that would leave as many.
            let enough = gone.len() > usize::from(surplus > 0);
            let promise = tell(shared, gone).filter(|_| enough);
            if promise.is_some() {
                return promise;
            }
        }
    }

    /// Looks at the next entries, and evicts up to `wanted` of those that may go, the first by rank. Their
    /// capacity stays reserved.
    fn look_for_room(
        &self,
        shared: &RegistryShared<K>,
        now: Tick,
        wanted: usize,
        patient: bool,
    ) -> Vec<Evicted<'_, K>> {
        let looks = if patient { Some(self.looks.lock()) } else { self.looks.try_lock() };
        let Some(mut looks) = looks else { return Vec::new() };
        let forget = shared.context.rules().forget;
        // A few spares are kept, since a candidate may be used before it goes.
        let spare = 2 * wanted;
        let mut candidates: Vec<EvictionCandidate<K>> = Vec::with_capacity(spare + 1);
        let (mut outdone, mut free, all) = (Vec::new(), 0, self.len());
        let Looks { room, began, .. } = &mut *looks;
        let round = self.ring.look(room, FOR_ROOM, all, |entry| {
            let rank = is_free(entry).then(|| Rank::of(entry, now, forget)).flatten();
            let Some(rank) = rank else { return };
            free += 1;
            let at = candidates.partition_point(|(other, _)| *other <= rank);
            if at < spare {
                candidates.insert(at, (rank, Arc::clone(entry)));
                outdone.extend((candidates.len() > spare).then(|| candidates.pop()));
            }
        });
        if !patient && wanted == 1 && all > FOR_ROOM && free < FEW {
            let busy = |(rank, entry): &mut EvictionCandidate<K>| rank.is_busy(entry, *began);
            outdone.extend(candidates.extract_if(.., busy).map(Some));
        }
        if round {
            *began = shared.uses();
        }
        let gone = self.evict(shared, &candidates, wanted, now, forget);
        // The last references to entries that were removed meanwhile go when no lock is held.
        drop(looks);
        gone
    }

    /// Returns the number in the order of uses before which a peer is idle, for a count.
    pub(super) fn idle_before(&self, use_now: u64, rules: &Rules, now: Tick) -> Option<u64> {
        self.uses.lock().note(now, use_now, rules.idle, rules.idle / 16, None)
    }

    /// Looks at a few entries for idle peers and forgets those. Notes where the order of uses stands at
    /// `now`.
    pub(super) fn forget_a_few(&self, shared: &RegistryShared<K>, use_now: u64, now: Tick) {
        let (idle, forget) = {
            let rules = shared.context.rules();
            (rules.idle, rules.forget)
        };
        let Some(mut uses) = self.uses.try_lock() else { return };
        let idle_before = uses.note(now, use_now, idle, idle / 2 + 1, Some(Tick::default()));
        drop(uses);
        let Some(idle_before) = idle_before else { return };
        for _ in 0..FOR_IDLE / IDLE_AT_ONCE {
            let Some(mut looks) = self.looks.try_lock() else { return };
            let (hand, mut idle) = (&mut looks.idle, Vec::new());
            self.ring.look(hand, IDLE_AT_ONCE, self.len(), |entry| {
                idle.extend(idle_one(entry, idle_before, now, forget));
            });
            let gone = self.evict(shared, &idle, IDLE_AT_ONCE, now, forget);
            drop(looks);
            tell(shared, gone);
        }
    }

    /// Forgets the peers that may go and were not used since a sweep at least `idle_timeout` ago, and more
    /// while the table holds too many. Returns how many went.
    pub(crate) fn sweep(&self, shared: &RegistryShared<K>) -> usize {
        let before = shared.context.clock.now();
        let use_now = shared.next_use();
        let now = before.max(shared.context.clock.now());
        let (idle, forget, max) = {
            let rules = shared.context.rules();
            (rules.idle, rules.forget, rules.max_peers)
        };
        let idle_before = self.uses.lock().note(now, use_now, idle, 0, None);
        let (mut hand, mut over, mut swept) = (Hand::default(), idle_before.is_none(), 0);
        while !over {
            let looks = self.looks.lock();
            let mut idle = Vec::new();
            (_, over) = self.ring.step(&mut hand, IDLE_AT_ONCE, |slot| {
                idle.extend(idle_one(&slot.entry, idle_before.unwrap_or_default(), now, forget));
            });
            let gone = self.evict(shared, &idle, IDLE_AT_ONCE, now, forget);
            drop(looks);
            swept += gone.len();
            tell(shared, gone);
        }
        let mut left = self.len().div_ceil(FOR_ROOM) + 1;
        while self.len() > max && left > 0 {
            let wanted = (self.len() - max).min(AT_ONCE);
            let gone = self.look_for_room(shared, now, wanted, true);
            swept += gone.len();
            left = if gone.is_empty() { left - 1 } else { left };
            tell(shared, gone);
        }
        swept
    }

    /// Evicts those that still may go, in their order and `wanted` at most. The caller holds the lock of
    /// `looks`, so that no other thread takes an entry from the ring.
    fn evict(
        &self,
        shared: &RegistryShared<K>,
        candidates: &[EvictionCandidate<K>],
        wanted: usize,
        now: Tick,
        forget: u64,
    ) -> Vec<Evicted<'_, K>> {
        let evict = |candidate| self.evict_one(shared, candidate, now, forget);
        candidates.iter().filter_map(evict).take(wanted).collect()
    }

    fn evict_one(
        &self,
        shared: &RegistryShared<K>,
        (rank, entry): &EvictionCandidate<K>,
        now: Tick,
        forget: u64,
    ) -> Option<Evicted<'_, K>> {
        let mut last = 0;
        let gone = self.map.remove_if(&EntryRef::of(entry) as &dyn AsKey<K>, |Keyed(found), ()| {
            // The proof: nothing else holds the entry, and under this lock no thread can take it. It comes
            // first: it acquires what the last holder did, and the rank is judged by that.
            let alone = Arc::strong_count(found) == HOLDERS + 1;
            // Acquire: pairs with the Release by which `Arc` gives up a reference.
            fence(Ordering::Acquire);
            let goes = alone && Rank::of(found, now, forget) == Some(*rank);
            if goes {
                last = entry.tracker.circuit().generation.saturating_add(1);
                self.retire(last);
            }
            goes
        });
        let reserved = gone.map(|_| Reservation(self))?;
        self.ring.remove(entry);
        // Relaxed: pairs with nothing; a total.
        shared.ledger.evicted.fetch_add(1, Ordering::Relaxed);
        Some(Evicted { entry: Arc::clone(entry), generation: last, reserved })
    }
}

/// Tells of evicted peers, while no lock is held. Releases their capacity but one, which it returns.
fn tell<'a, K>(
    shared: &RegistryShared<K>,
    gone: Vec<Evicted<'a, K>>,
) -> Option<Reservation<'a, K>> {
    let mut kept = None;
    let told = gone.into_iter().map(|gone| {
        kept = Some(gone.reserved);
        (gone.entry, gone.generation)
    });
    for (entry, generation) in told.collect::<Vec<_>>() {
        (shared.sink)(&entry, Announcement::Event(generation, EventKind::Evicted));
        (shared.sink)(&entry, Announcement::Gone { answered: entry.tracker.has_answered() });
    }
    kept
}

/// Returns the entry if its peer may go and its last use comes before `idle_before`.
fn idle_one<K>(
    entry: &Arc<PeerEntry<K>>,
    idle_before: u64,
    now: Tick,
    forget: u64,
) -> Option<EvictionCandidate<K>> {
    let idle = entry.tracker.last_use() < idle_before && is_free(entry);
    let rank = idle.then(|| Rank::of(entry, now, forget)).flatten()?;
    Some((rank, Arc::clone(entry)))
}

#[cfg(all(test, feature = "tracing"))]
pub(super) mod tests;
