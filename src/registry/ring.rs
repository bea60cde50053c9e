//! A ring of all entries of the table in no particular order. A thread that looks for room or for idle
//! peers, or counts, goes on where the last one ended, and looks at a constant number of entries (R26, R30).
//! As in page replacement, the ring does not move; hands do.
//!
//! The ring has segments, each with a lock of its own, so that threads that add newcomers wait neither for
//! each other nor for a thread that looks. A thread holds a segment for as long as it looks at 64 entries;
//! it hashes, compares and drops no key meanwhile.
//!
//! A hand goes down through a segment. When an entry leaves, the last of its segment moves to its index: one
//! that the hand has passed, or one that has yet to come. So a round misses no entry that was there from its
//! beginning to its end; it may see one twice.

use crate::peer::{NOWHERE, PeerEntry};
use crate::sync::{Arc, Mutex, Ordering};

/// The number of references that the table holds to each entry: the map's and the ring's.
pub(super) const HOLDERS: usize = 2;

pub(super) struct EntryRing<K> {
    segments: Box<[Mutex<Vec<RingSlot<K>>>]>,
}

/// One entry's slot in the ring.
pub(super) struct RingSlot<K> {
    pub(super) entry: Arc<PeerEntry<K>>,
    /// The last count of the outage limiter that included the entry, and its peer's successes then,
    /// wrapping.
    pub(super) counted_in: u32,
    pub(super) successes: u32,
}

/// The position at which a look goes on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hand {
    segment: usize,
    /// The hand has passed the slots at and above this index.
    below: usize,
}

impl Default for Hand {
    fn default() -> Self {
        Self { segment: 0, below: usize::MAX }
    }
}

/// Converts an index; a segment of more entries than fit into 32 bits does not fit into memory.
fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(NOWHERE)
}

impl<K> EntryRing<K> {
    pub(super) fn new(max_peers: usize) -> Self {
        let segments = (max_peers / 256).next_power_of_two().clamp(1, 16);
        Self { segments: (0..segments).map(|_| Mutex::new(Vec::new())).collect() }
    }

    fn segment(&self, entry: &PeerEntry<K>) -> &Mutex<Vec<RingSlot<K>>> {
        let salt = usize::try_from(entry.tracker.salt() >> 32).unwrap_or_default();
        &self.segments[salt % self.segments.len()]
    }

    /// Adds an entry that is in the map, unless another thread removed it from there meanwhile.
    pub(super) fn add(&self, entry: &Arc<PeerEntry<K>>) {
        let mut slots = self.segment(entry).lock();
        // A thread that removes an entry ends its tracker first, and then looks here: under this lock this
        // thread finds the end, or that one finds the slot.
        if entry.tracker.circuit().is_removed() {
            return;
        }
        // Relaxed: pairs with `remove`, under the same lock.
        entry.place.store(index(slots.len()), Ordering::Relaxed);
        slots.push(RingSlot { entry: Arc::clone(entry), counted_in: 0, successes: 0 });
    }

    /// Takes out an entry that is no longer in the map.
    pub(super) fn remove(&self, entry: &PeerEntry<K>) {
        let mut slots = self.segment(entry).lock();
        // Relaxed, twice: pairs with `add`, under the same lock.
        let place = entry.place.load(Ordering::Relaxed);
        let at = usize::try_from(place).unwrap_or(usize::MAX);
        if at >= slots.len() {
            return;
        }
        entry.place.store(NOWHERE, Ordering::Relaxed); // Relaxed: as above
        let gone = slots.swap_remove(at);
        if let Some(moved) = slots.get(at) {
            // Relaxed: as above.
            moved.entry.place.store(place, Ordering::Relaxed);
        }
        drop(slots);
        // If this is the last reference, the key goes with it: under no lock (R25).
        drop(gone);
    }

    /// Shows up to `count` entries from the hand on. Returns how many there were, and whether the hand came
    /// to the end of a round and stands at the beginning of the next.
    pub(super) fn step(
        &self,
        hand: &mut Hand,
        count: usize,
        mut see: impl FnMut(&mut RingSlot<K>),
    ) -> (usize, bool) {
        let mut seen = 0;
        while let Some(segment) = self.segments.get(hand.segment) {
            let mut slots = segment.lock();
            let top = hand.below.min(slots.len());
            let bottom = top.saturating_sub(count - seen);
            slots[bottom..top].iter().rev().for_each(|slot| slot.entry.tracker.prefetch());
            slots[bottom..top].iter_mut().rev().for_each(&mut see);
            #[cfg(all(test, feature = "tracing"))]
            super::evict::tests::note_looks(top - bottom);
            seen += top - bottom;
            hand.below = bottom;
            if bottom > 0 {
                return (seen, false);
            }
            *hand = Hand { segment: hand.segment + 1, ..Hand::default() };
            if seen == count && hand.segment < self.segments.len() {
                return (seen, false);
            }
        }
        *hand = Hand::default();
        (seen, true)
    }

    /// Shows `count` entries, or all if there are no more, from the hand on and round. Returns whether a
    /// round ended with that.
    pub(super) fn look(
        &self,
        hand: &mut Hand,
        count: usize,
        all: usize,
        mut see: impl FnMut(&Arc<PeerEntry<K>>),
    ) -> bool {
        if all <= count {
            *hand = Hand::default();
        }
        let (seen, round) = self.step(hand, count, |slot| see(&slot.entry));
        if round && seen < count && all > count {
            self.step(hand, count - seen, |slot| see(&slot.entry));
        }
        round
    }
}
