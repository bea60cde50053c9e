//! Room for newcomers: who may be forgotten, and when (R26).
//!
//! A newcomer pays for a constant number of looks, whatever the table holds: [`FOR_IDLE`] entries are looked at
//! for peers that are idle and, if the table is full, [`FOR_ROOM`] for the one that is to go. One
//! thread looks at a time; beside it a newcomer to a full table is served untracked.
//!
//! An entry is evicted only by proof that nobody holds it but the map, the ring and who evicts it,
//! given under its shard's lock: from the map nobody can come to hold it there, from the ring only
//! who looks. So there is no outcome that could be lost with it.

use std::collections::VecDeque;

use super::key::{AsKey, EntryRef, Keyed, PeerKey};
use super::ring::{HOLDERS, Hand};
use super::table::{Reservation, Table};
use crate::config::rules::Rules;
use crate::event::EventKind;
use crate::peer::{Announcement, PeerEntry, RegistryShared};
use crate::sync::{Arc, Ordering, fence};
use crate::time::Tick;

/// So many entries are looked at for room, and for idle peers.
const FOR_ROOM: usize = 64;
const FOR_IDLE: usize = 32;
/// Idle peers are noted and forgotten in groups of this size. A list of twice as many takes a kibibyte: an
/// allocation of that size makes glibc merge all small chunks that were ever freed, for milliseconds.
const IDLE_AT_ONCE: usize = 16;
/// So many peers go at most for one newcomer, after `max_peers` was lowered.
const AT_ONCE: usize = 32;
/// Where less than half of the entries that are looked at may go, a peer that is called again and again is
/// spared: or strangers who fail would take the place of all who do not.
const FEW: usize = FOR_ROOM / 2;

/// Where the looks of newcomers go on.
#[derive(Debug, Default)]
pub(super) struct Looks {
    room: Hand,
    /// Where the order of uses stood when the hand began its round: a peer that was used since has a
    /// second chance, as in page replacement.
    began: u64,
    idle: Hand,
}

/// Clean peers go first, the least recently used of them first; then those in trouble that were
/// out of use for too long, the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Clean { last_use: u64 },
    Forgotten { since: Tick, last_use: u64 },
}

impl Rank {
    /// Of an entry that may go, if nobody holds it.
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

    /// Whether the peer has answered more than once, and was used since `began`.
    fn is_busy<K>(self, entry: &PeerEntry<K>, began: u64) -> bool {
        matches!(self, Self::Clean { last_use } if last_use >= began)
            && entry.tracker.successes() > 1
    }
}

/// An entry that may go.
type Candidate<K> = (Rank, Arc<PeerEntry<K>>);

/// An entry that was evicted, the generation that its tracker ended with, and its place. Listeners are
/// told, and the key is dropped, when nothing is locked (R25).
struct Evicted<'a, K> {
    entry: Arc<PeerEntry<K>>,
    generation: u64,
    place: Reservation<'a, K>,
}

/// Whether only the table holds it, as far as can be seen.
fn is_free<K>(entry: &Arc<PeerEntry<K>>) -> bool {
    Arc::strong_count(entry) == HOLDERS
}

/// The order of uses, and when it stood where. A peer whose last use comes before a place in that order
/// was not used since the time that was noted with it.
#[derive(Debug, Default)]
pub(super) struct Uses {
    past: VecDeque<(Tick, u64)>,
}

impl Uses {
    /// The place before which a peer is idle. Where the order stands now is noted, if that was not
    /// done for so long, nor since `from`: `now` was read after `place` was taken, so that what was
    /// used before has a lower place, and is never taken for idle early.
    fn note(
        &mut self,
        now: Tick,
        place: u64,
        idle: u64,
        again: u64,
        from: Option<Tick>,
    ) -> Option<u64> {
        let old = self.past.iter().take_while(|(t, _)| t.plus(idle) <= now).count();
        let idle_before = old.checked_sub(1).map(|last| self.past[last].1);
        // What is older than that is not asked again.
        self.past.drain(..old.saturating_sub(1));
        let last = self.past.back().map(|(t, _)| *t).or(from);
        if last.is_some_and(|t| now.since(t) < again) {
            return idle_before;
        }
        // Of notes that follow closely the latest stays: idleness is seen later, never earlier.
        if self.past.iter().nth_back(1).is_some_and(|(t, _)| now.since(*t) < idle / 32) {
            self.past.pop_back();
        }
        self.past.push_back((now, place));
        idle_before
    }
}

impl<K: PeerKey> Table<K> {
    /// A place for a newcomer: one that is free, or that of a peer which may go.
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
            // More of them than there may be: `max_peers` was lowered.
            let surplus = self.len().saturating_sub(max);
            let gone = self.look_for_room(shared, now, (surplus + 1).min(AT_ONCE), patient);
            // The newcomer has the place of one that went, unless that would leave as many.
            let enough = gone.len() > usize::from(surplus > 0);
            let promise = tell(shared, gone).filter(|_| enough);
            if promise.is_some() {
                return promise;
            }
        }
    }

    /// Looks at the next entries, and evicts up to `wanted` of those that may go, the first by rank.
    /// Their places are still taken.
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
        // Some more than are wanted: one may be used by the time that it is to go.
        let spare = 2 * wanted;
        let mut candidates: Vec<Candidate<K>> = Vec::with_capacity(spare + 1);
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
            let busy = |(rank, entry): &mut Candidate<K>| rank.is_busy(entry, *began);
            outdone.extend(candidates.extract_if(.., busy).map(Some));
        }
        if round {
            *began = shared.uses();
        }
        let gone = self.evict(shared, &candidates, wanted, now, forget);
        // The last references to entries that were removed meanwhile go when nothing is locked.
        drop(looks);
        gone
    }

    /// The place in the order of uses before which a peer is idle, for a count.
    pub(super) fn idle_before(&self, place: u64, rules: &Rules, now: Tick) -> Option<u64> {
        self.uses.lock().note(now, place, rules.idle, rules.idle / 16, None)
    }

    /// Looks at a few entries for peers that are idle, and forgets those. Notes where the order of uses
    /// stands at `now`.
    pub(super) fn forget_a_few(&self, shared: &RegistryShared<K>, place: u64, now: Tick) {
        let (idle, forget) = {
            let rules = shared.context.rules();
            (rules.idle, rules.forget)
        };
        let Some(mut uses) = self.uses.try_lock() else { return };
        let idle_before = uses.note(now, place, idle, idle / 2 + 1, Some(Tick::default()));
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

    /// Forgets the peers that may go and were not used since a sweep at least `idle_timeout` ago, and
    /// so many more as there are too many. How many.
    pub(crate) fn sweep(&self, shared: &RegistryShared<K>) -> usize {
        let before = shared.context.clock.now();
        let place = shared.next_use();
        let now = before.max(shared.context.clock.now());
        let (idle, forget, max) = {
            let rules = shared.context.rules();
            (rules.idle, rules.forget, rules.max_peers)
        };
        let idle_before = self.uses.lock().note(now, place, idle, 0, None);
        let (mut hand, mut over, mut swept) = (Hand::default(), idle_before.is_none(), 0);
        while !over {
            let looks = self.looks.lock();
            let mut idle = Vec::new();
            (_, over) = self.ring.step(&mut hand, IDLE_AT_ONCE, |place| {
                idle.extend(idle_one(&place.entry, idle_before.unwrap_or_default(), now, forget));
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

    /// Forgets those that still may go, in their order and `wanted` at most. Only while `looks` is
    /// locked: nobody else comes to hold an entry from the ring.
    fn evict(
        &self,
        shared: &RegistryShared<K>,
        candidates: &[Candidate<K>],
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
        (rank, entry): &Candidate<K>,
        now: Tick,
        forget: u64,
    ) -> Option<Evicted<'_, K>> {
        let mut last = 0;
        let gone = self.map.remove_if(&EntryRef::of(entry) as &dyn AsKey<K>, |Keyed(found), ()| {
            // The proof: nobody else holds the entry, and under this lock nobody comes to. It comes
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
        let place = gone.map(|_| Reservation(self))?;
        self.ring.remove(entry);
        // Relaxed: pairs with nothing; a total.
        shared.ledger.evicted.fetch_add(1, Ordering::Relaxed);
        Some(Evicted { entry: Arc::clone(entry), generation: last, place })
    }
}

/// Tells of peers that were evicted, when nothing is locked. Gives their places back, but one.
fn tell<'a, K>(
    shared: &RegistryShared<K>,
    gone: Vec<Evicted<'a, K>>,
) -> Option<Reservation<'a, K>> {
    let mut kept = None;
    let told = gone.into_iter().map(|gone| {
        kept = Some(gone.place);
        (gone.entry, gone.generation)
    });
    for (entry, generation) in told.collect::<Vec<_>>() {
        (shared.sink)(&entry, Announcement::Event(generation, EventKind::Evicted));
        (shared.sink)(&entry, Announcement::Gone { answered: entry.tracker.successes() > 0 });
    }
    kept
}

/// The entry, if its peer may go and its last use comes before `idle_before`.
fn idle_one<K>(
    entry: &Arc<PeerEntry<K>>,
    idle_before: u64,
    now: Tick,
    forget: u64,
) -> Option<Candidate<K>> {
    let idle = entry.tracker.last_use() < idle_before && is_free(entry);
    let rank = idle.then(|| Rank::of(entry, now, forget)).flatten()?;
    Some((rank, Arc::clone(entry)))
}

#[cfg(all(test, feature = "tracing"))]
pub(super) mod tests;
