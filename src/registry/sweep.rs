//! Who may be forgotten, and when the idle are (R26).

use std::cmp::Ordering as Order;
use std::collections::VecDeque;

use super::key::{PeerKey, SeatRef};
use super::table::{Table, locked};
use crate::rules::Rules;
use crate::seat::{Seat, Shared};
use crate::sync::Arc;
use crate::time::Tick;

/// A peer that may be forgotten, named by its seat: no key is cloned, nor compared, to find it.
pub(crate) struct Victim {
    pub(super) rank: Rank,
    pub(super) seat: SeatRef,
}

/// Clean peers go first, the least recently used of them first; then those in trouble that were
/// out of use for too long, the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    Clean { stamp: u64 },
    Forgotten { since: Tick, stamp: u64 },
}

impl Rank {
    /// The place of the peer's last use in the order of uses.
    fn stamp(self) -> u64 {
        match self {
            Self::Clean { stamp } | Self::Forgotten { stamp, .. } => stamp,
        }
    }
}

impl Victim {
    /// The rank of a seat that may go: held by nobody, and clean or forgotten.
    pub(super) fn of<K>(seat: &Arc<Seat<K>>, now: Tick, forget: u64) -> Option<Rank> {
        if Arc::strong_count(seat) > 1 {
            return None;
        }
        let (core, stamp) = (seat.tracker.core(), seat.tracker.stamp());
        if core.is_clean(now) {
            return Some(Rank::Clean { stamp });
        }
        let since = seat.tracker.unused_since(&core)?;
        (now >= since.plus(forget)).then_some(Rank::Forgotten { since, stamp })
    }
}

impl PartialEq for Victim {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl Eq for Victim {}

impl PartialOrd for Victim {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl Ord for Victim {
    fn cmp(&self, other: &Self) -> Order {
        self.rank.cmp(&other.rank)
    }
}

/// The sweeps so far: when each was, and where it stands in the order of uses. A peer whose last
/// use comes before a sweep in that order was not used since.
#[derive(Debug, Default)]
pub(crate) struct Sweeps {
    past: VecDeque<(Tick, u64)>,
    swept_at: Tick,
    inserted: usize,
}

impl Sweeps {
    const KEPT: usize = 64;

    /// Notes a sweep; the place in the order of uses before which a peer is idle.
    fn begin(&mut self, now: Tick, place: u64, idle: u64) -> Option<u64> {
        self.swept_at = self.swept_at.max(now);
        self.inserted = 0;
        self.note(now, place, idle, 0)
    }

    /// The place before which a peer is idle; noted where now stands, if that was not done for so
    /// long.
    fn note(&mut self, now: Tick, place: u64, idle: u64, since: u64) -> Option<u64> {
        let old = self.past.iter().take_while(|(t, _)| t.plus(idle) <= now).count();
        let idle_before = old.checked_sub(1).map(|last| self.past[last].1);
        // What is older than that is not asked again.
        self.past.drain(..old.saturating_sub(1));
        if self.past.back().is_some_and(|(t, _)| now.since(*t) < since) {
            return idle_before;
        }
        if self.past.len() >= Self::KEPT {
            // Idleness is seen later, never earlier, with every other sweep forgotten.
            let mut nth = 0;
            self.past.retain(|_| {
                nth += 1;
                nth % 2 == 1
            });
        }
        self.past.push_back((now, place));
        idle_before
    }

    /// One more insertion; whether it is time to sweep: not before a part of the table is new,
    /// so that a sweep costs each insertion a few looks, nor twice in half the idle time.
    fn is_due(&mut self, now: Tick, peers: usize, idle: u64) -> bool {
        self.inserted += 1;
        self.inserted > peers / 8 && now.since(self.swept_at) > idle / 2
    }
}

impl<K: PeerKey> Table<K> {
    /// The place in the order of uses before which a peer is idle now, whose place is `place`: for a
    /// count of the others.
    pub(super) fn idle_before(&self, place: u64, rules: &Rules, now: Tick) -> Option<u64> {
        locked(&self.sweeps).note(now, place, rules.idle, rules.idle / 16)
    }

    pub(super) fn sweep_if_due(&self, shared: &Shared<K>, now: Tick) {
        let idle = shared.env.rules().idle;
        // Whoever holds the lock counts an insertion of its own.
        let due = self.sweeps.try_lock().is_ok_and(|mut s| s.is_due(now, self.len(), idle));
        if due {
            self.sweep(shared, now);
        }
    }

    /// Forgets the peers that may go and were not used since a sweep at least `idle_timeout` ago.
    /// How many.
    pub(crate) fn sweep(&self, shared: &Shared<K>, now: Tick) -> usize {
        let rules = shared.env.rules();
        let place = shared.next_use();
        // Read after the place was taken: what was used before it has a lower one, and is never
        // taken for idle early.
        let at = now.max(shared.env.clock.now());
        let idle_before = locked(&self.sweeps).begin(at, place, rules.idle);
        let Some(idle_before) = idle_before else { return 0 };
        let idle = self.select(now, rules.forget, |rank| rank.stamp() < idle_before);
        let gone = idle.iter().filter(|victim| self.evict(shared, victim, now)).count();
        if gone > 0 {
            shared.freed();
        }
        gone
    }
}
