//! The limiter of an outage of our own (R30): when more than a part of the peers in use would be open, this
//! node itself is probably cut off, and the limiter holds further trips back.
//!
//! The limiter keeps no number of open circuits: it counts them when a circuit is about to open and the last
//! count is a second old, or when peers have come or gone since. So whatever way a circuit left Open, its
//! grant is free again at the next count; no grant leaks, and a limiter that is off costs nothing. Calls
//! that fail count a table of more than 1,024 peers, 256 entries at a time; until the first count is whole,
//! the peers seen so far decide.
//!
//! Between two counts the limiter only grants. A count knows how many trips were made before it began: it
//! has seen all those. A circuit that is about to trip adds to the count all grants that are not among them,
//! also those of trips that are still being made. So there are never more open circuits than the limit while
//! no peer leaves or falls idle; a trip that is made during a count may count twice, and hold another back
//! until the next.
//!
//! A peer that answers proves that this node is online. The first trip that is held back begins an
//! observation: if between two counts after it, a second apart, a peer that is not open has had a success,
//! the limiter holds nothing back until the next count.

use std::fmt;

use crate::config::rules::{Limit, Rules};
use crate::sync::{Arc, AtomicU64, Loaded, Ordering, Swap};
use crate::time::Tick;

/// The time for which a count is fresh, and the least time from the end of an outage to the next.
const AGAIN: u64 = 1_000_000_000;
/// The values of `OutageLimiter::outage`: zero, `GOES_ON`, or `ENDED` plus the time of the last one's end.
const GOES_ON: u64 = 1;
const ENDED: u64 = 2;

/// The numbers of peers in use, of open circuits and of held-back trips.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count {
    /// The value of [`PeerSource::arrivals`], and the number of peers, in use or not.
    pub(crate) arrivals: u64,
    pub(crate) peers: u64,
    pub(crate) used: u64,
    pub(crate) open: u64,
    pub(crate) held: u64,
    /// Whether a peer that is not open has had a success since the last count.
    pub(crate) answered: bool,
}

/// A count, or its part so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Looked {
    pub(crate) at: Tick,
    /// The number of trips that were made before it began: it sees them all.
    pub(crate) seen: u64,
    pub(crate) count: Count,
    /// Whether it has counted all peers.
    pub(crate) whole: bool,
}

/// A registry whose peers the limiter counts.
pub(crate) trait PeerSource: Send + Sync {
    /// Returns a number that rises by one at least with each newcomer.
    fn arrivals(&self) -> u64;
    /// Returns the number of peers.
    fn peers(&self) -> u64;
    /// Returns whether one call counts all peers.
    fn is_small(&self) -> bool;
    /// Counts some more peers, or begins with what `seen` returns. `None` if the registry is gone.
    fn count_on(&self, rules: &Rules, seen: &dyn Fn() -> u64) -> Option<Looked>;
}

/// The last count, and the observation (R30).
#[derive(Debug, Default)]
struct PeerCounts {
    /// `None` before the first count.
    last: Option<Looked>,
    /// The beginning of the observation, and the count with which its current second began.
    observed: Option<Tick>,
    base: Option<Tick>,
    /// Whether a peer has answered in the current second, and whether one had in the second before.
    answered: bool,
    online: bool,
}

impl PeerCounts {
    /// Returns the state after `looked`, which is whole.
    fn after(&self, looked: Looked, observed: Option<Tick>) -> Self {
        let next = Self { last: Some(looked), observed, ..Self::default() };
        let base = self.base.filter(|_| self.observed == observed);
        let answered = self.answered || looked.count.answered;
        match (observed, base) {
            (None, _) => next,
            // This is the first count after the trip that was held back.
            (Some(since), None) => Self { base: Some(looked.at).filter(|at| *at > since), ..next },
            (_, Some(base)) if looked.at.since(base) < AGAIN => {
                Self { base: Some(base), answered, online: self.online, ..next }
            }
            _ => Self { base: Some(looked.at), online: answered, ..next },
        }
    }
}

/// The inputs of the decision about a trip.
#[derive(Debug, Clone, Copy)]
struct Counted {
    limit: Limit,
    seen: u64,
    count: Count,
    /// Whether the count is of this moment, and so includes all trips that were held back.
    anew: bool,
    /// Whether other peers answer.
    online: bool,
}

/// The limiter's answer to a trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    /// The trip needs no grant.
    Free,
    /// The trip is granted; `calm` if the limit would allow all held-back trips too.
    Taken { calm: bool },
    /// The trip is held back.
    None,
}

pub(crate) struct OutageLimiter {
    /// `None` without a registry.
    source: Option<Box<dyn PeerSource>>,
    last: Swap<PeerCounts>,
    /// The number of trips that were made or are being made.
    taken: AtomicU64,
    /// The number of trips that were made.
    made: AtomicU64,
    outage: AtomicU64,
    /// Zero, or one more than the time at which the current observation began.
    observed: AtomicU64,
}

impl OutageLimiter {
    pub(crate) fn new(source: Option<Box<dyn PeerSource>>) -> Self {
        let [taken, made, outage, observed] = [0; 4].map(AtomicU64::new);
        let last = Swap::new(Arc::new(PeerCounts::default()));
        Self { source, last, taken, made, outage, observed }
    }

    /// Discards the last count: while the limiter was off, circuits opened without a grant.
    pub(crate) fn begin_anew(&self) {
        self.last.replace(Arc::new(PeerCounts::default()));
    }

    /// Grants a circuit's trip or holds it back; `held` if it was held back before.
    pub(crate) fn take(&self, rules: &Rules, now: Tick, held: bool) -> Grant {
        let Some(counted) = self.counted(rules, now) else { return Grant::Free };
        let Counted { limit, seen, count, online, .. } = counted;
        let open = |taken: u64| count.open.saturating_add(taken.saturating_sub(seen));
        // Relaxed, twice: pairs with `give_back`; a read-modify-write sees the latest value, and with it all
        // grants before this one.
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            (online || limit.allows(count.used, open(taken + 1))).then_some(taken + 1)
        });
        let Ok(taken) = taken else {
            // Relaxed, twice: pairs with `count`; no thread reads anything else by it.
            let (relaxed, since) = (Ordering::Relaxed, now.0.saturating_add(1));
            let _ = self.observed.compare_exchange(0, since, relaxed, relaxed);
            return Grant::None;
        };
        let others = count.held.saturating_sub(held.into());
        let wanted = open(taken + 1).saturating_add(others);
        let calm = limit.allows(count.used, wanted);
        if calm {
            // Relaxed: as above.
            self.observed.store(0, Ordering::Relaxed);
        }
        Grant::Taken { calm: calm || online }
    }

    /// Notes that a granted trip was made.
    pub(crate) fn trip_made(&self) {
        // Release: pairs with the Acquire in `count`: a count that includes this trip by number
        // finds the circuit open.
        self.made.fetch_add(1, Ordering::Release);
    }

    /// Takes a grant back whose trip was not made.
    pub(crate) fn give_back(&self, grant: Grant) {
        if matches!(grant, Grant::Taken { .. }) {
            // Relaxed: pairs with `take`; the number alone matters.
            self.taken.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Counts some more peers of a large table, where the last count is not fresh.
    pub(crate) fn count_on(&self, rules: &Rules, now: Tick) {
        if self.source.as_deref().is_some_and(|source| !source.is_small()) {
            let _ = self.counted(rules, now);
        }
    }

    /// Returns the inputs of a decision; `None` if the limiter is off.
    fn counted(&self, rules: &Rules, now: Tick) -> Option<Counted> {
        let (limit, source) = (rules.outage_limit?, self.source.as_deref()?);
        let last = self.last.load();
        match last.last {
            Some(Looked { at, seen, count, .. }) if is_fresh(at, count, limit, source, now) => {
                Some(Counted { limit, seen, count, anew: false, online: last.online })
            }
            _ => self.count(&last, limit, source, rules, now),
        }
    }

    /// Counts anew, or goes on with a count. Several threads may do so at once.
    fn count(
        &self,
        last: &Loaded<PeerCounts>,
        limit: Limit,
        source: &dyn PeerSource,
        rules: &Rules,
        now: Tick,
    ) -> Option<Counted> {
        // Acquire: pairs with the Release in `trip_made`; see there.
        let looked = source.count_on(rules, &|| self.made.load(Ordering::Acquire))?;
        let Looked { seen, count, whole, .. } = looked;
        if whole {
            // Relaxed: pairs with `take`.
            let observed = self.observed.load(Ordering::Relaxed).checked_sub(1).map(Tick);
            let next = last.after(looked, observed);
            let online = next.online;
            // If another thread was faster, its count stays, and this one serves for this trip only.
            let _ = self.last.compare_and_swap(last, Arc::new(next));
            return Some(Counted { limit, seen, count, anew: true, online });
        }
        // The last whole count is better than a part, unless peers have fallen idle since.
        match last.last.filter(|whole| now.since(whole.at) < rules.idle) {
            Some(Looked { seen, count, .. }) => {
                Some(Counted { limit, seen, count, anew: false, online: last.online })
            }
            None => {
                let used = count.used.max(limit.least());
                let count = Count { used, ..count };
                Some(Counted { limit, seen, count, anew: false, online: false })
            }
        }
    }

    /// Returns whether an outage goes on, as far as the limiter told.
    #[inline]
    pub(crate) fn holds(&self) -> bool {
        // Relaxed: pairs with `begin` and `end`; no thread reads anything else by it.
        self.outage.load(Ordering::Relaxed) == GOES_ON
    }

    /// Returns whether an outage goes on, for a peer that has answered after its trip was held back.
    pub(crate) fn goes_on(&self) -> bool {
        // Release: pairs with the Acquire in `begin`. Of two read-modify-writes one comes first: if it is this,
        // the thread that begins the outage finds the answer when it counts again; if it is that, this finds
        // the outage.
        self.outage.fetch_add(0, Ordering::Release) == GOES_ON
    }

    /// Returns whether an outage goes on: a trip was held back, and the limit still does not allow all.
    pub(crate) fn lasts(&self, rules: &Rules, now: impl FnOnce() -> Tick) -> bool {
        let (Some(limit), Some(source), true) = (rules.outage_limit, &self.source, self.holds())
        else {
            return false;
        };
        // A new count is needed: the last one knows nothing of what was held back since.
        let counted = self.count(&self.last.load(), limit, &**source, rules, now());
        counted.is_some_and(|Counted { limit, seen, count, anew, online }| {
            // Relaxed: pairs with `take`; the number alone matters.
            let since = self.taken.load(Ordering::Relaxed).saturating_sub(seen);
            // One call counts a part of a large table: held-back trips count until the count is whole.
            let (since, held) = if anew { (0, count.held) } else { (since, count.held.max(1)) };
            !online && !limit.allows(count.used, count.open.saturating_add(since + held))
        })
    }

    /// Notes that a trip was held back. Returns whether listeners hear of it: not during an outage, nor
    /// within a second of the last one's end.
    pub(crate) fn begin(&self, now: impl FnOnce() -> Tick) -> bool {
        if self.holds() {
            return false;
        }
        let now = now();
        // Acquire: pairs with the Release in `goes_on`, as explained there. Relaxed: pairs with `end`; the
        // thread that changes the word tells of it.
        let begun = self.outage.fetch_update(Ordering::Acquire, Ordering::Relaxed, |outage| {
            let ended = outage.checked_sub(ENDED).map(Tick);
            let begins = outage != GOES_ON && ended.is_none_or(|at| now.since(at) >= AGAIN);
            begins.then_some(GOES_ON)
        });
        begun.is_ok()
    }

    /// Notes that a peer in trouble has answered, or that all trips are allowed. Returns whether an outage
    /// ends.
    pub(crate) fn end(&self, now: impl FnOnce() -> Tick) -> bool {
        if !self.holds() {
            return false;
        }
        // Relaxed: pairs with `begin`, as explained there.
        let (ended, relaxed) = (now().0.saturating_add(ENDED), Ordering::Relaxed);
        self.outage.compare_exchange(GOES_ON, ended, relaxed, relaxed).is_ok()
    }
}

/// Returns whether the count is fresh: younger than a second, with fewer than an eighth of the peers new or
/// gone, and enough in use for a limit. So counts cost each newcomer a few looks, and each second one count.
fn is_fresh(at: Tick, count: Count, limit: Limit, source: &dyn PeerSource, now: Tick) -> bool {
    let many = (count.peers / 8).max(1);
    now.since(at) < AGAIN
        && count.used >= limit.least()
        && source.arrivals().saturating_sub(count.arrivals) < many
        && count.peers.saturating_sub(source.peers()) < many
}

impl fmt::Debug for OutageLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutageLimiter").field("last", &self.last).finish_non_exhaustive()
    }
}
