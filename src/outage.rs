//! The guard against an outage of our own (R30): when more than a part of the peers in use would
//! be open, it is probably this node that is cut off, and further trips are held back.
//!
//! How many circuits are open is not kept, it is counted, when somebody is about to open one and the
//! last count is a second old, or peers have come or gone since. So whatever way a circuit left Open,
//! it gives its place back, at the next count; nothing can leak, and a guard that is off costs
//! nothing. A table of more than 1,024 peers is counted 256 by 256, by the calls that fail; until the
//! first count is whole, those peers decide that were seen by now.
//!
//! Between two counts places are only taken. A count knows how many trips were made before it
//! began: those it has seen. Whoever is about to trip adds to what it saw all places that were
//! taken and are not among them, also those of trips that are still being made. So there are never
//! more than the limit while nobody leaves or falls idle; a trip that is made while the count goes
//! by may count twice, and hold another back until the next.
//!
//! Who answers proves that we are online. The first trip that is held back begins an observation: if
//! between two counts after it, a second apart, a peer that is not open has had a success, nothing
//! is held back until the next count.

use std::fmt;

use crate::config::rules::{Limit, Rules};
use crate::sync::{Arc, AtomicU64, Loaded, Ordering, Swap};
use crate::time::Tick;

/// How long a count is good, and how long after the end of an outage another may begin.
const AGAIN: u64 = 1_000_000_000;
/// `OutageLimiter::outage`: zero, none so far; one goes on, or the last has ended at the time that lies
/// beyond.
const GOES_ON: u64 = 1;
const ENDED: u64 = 2;

/// The peers in use, and the open circuits and the trips held back among them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count {
    /// What [`PeerSource::arrivals`] was, and how many peers there were, in use or not.
    pub(crate) arrivals: u64,
    pub(crate) peers: u64,
    pub(crate) record_use_now: u64,
    pub(crate) open: u64,
    pub(crate) held: u64,
    /// Whether one of them that is not open has had a success since the last count.
    pub(crate) answered: bool,
}

/// A count, or what there is of it by now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Looked {
    pub(crate) at: Tick,
    /// So many trips were made before it began: it sees them all.
    pub(crate) seen: u64,
    pub(crate) count: Count,
    /// Whether all were counted.
    pub(crate) whole: bool,
}

/// Counts the peers of a registry.
pub(crate) trait PeerSource: Send + Sync {
    /// A number that rises by one at least with each newcomer.
    fn arrivals(&self) -> u64;
    /// How many peers there are.
    fn peers(&self) -> u64;
    /// Whether they are counted at once.
    fn is_small(&self) -> bool;
    /// Counts some more peers, or begins anew with what `seen` says. `None` if the registry is gone.
    fn count_on(&self, rules: &Rules, seen: &dyn Fn() -> u64) -> Option<Looked>;
}

/// The last count, and what is observed (R30).
#[derive(Debug, Default)]
struct PeerCounts {
    /// `None` before the first.
    last: Option<Looked>,
    /// Since when an observation went on, and the count with which the current second of it began.
    observed: Option<Tick>,
    base: Option<Tick>,
    /// Whether somebody has answered since, and whether somebody had between the two counts before.
    answered: bool,
    online: bool,
}

impl PeerCounts {
    /// The count after this count, which is whole.
    fn after(&self, looked: Looked, observed: Option<Tick>) -> Self {
        let next = Self { last: Some(looked), observed, ..Self::default() };
        let base = self.base.filter(|_| self.observed == observed);
        let answered = self.answered || looked.count.answered;
        match (observed, base) {
            (None, _) => next,
            // The first count after the trip that was held back.
            (Some(since), None) => Self { base: Some(looked.at).filter(|at| *at > since), ..next },
            (_, Some(base)) if looked.at.since(base) < AGAIN => {
                Self { base: Some(base), answered, online: self.online, ..next }
            }
            _ => Self { base: Some(looked.at), online: answered, ..next },
        }
    }
}

/// What decides about a trip.
#[derive(Debug, Clone, Copy)]
struct Counted {
    limit: Limit,
    seen: u64,
    count: Count,
    /// Whether it was counted just now, so that it knows of all that were held back.
    anew: bool,
    /// Whether others answer.
    online: bool,
}

/// What a trip is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    /// Nobody asks.
    Free,
    /// It has a place of its own; and whether all trips that were held back would have one too.
    Taken { calm: bool },
    /// There is no place: hold the trip back.
    None,
}

pub(crate) struct OutageLimiter {
    /// `None` where there is no registry.
    source: Option<Box<dyn PeerSource>>,
    last: Swap<PeerCounts>,
    /// Trips that were made or are being made.
    taken: AtomicU64,
    /// Trips that were made.
    made: AtomicU64,
    outage: AtomicU64,
    /// Zero, or one more than when the observation began that goes on.
    observed: AtomicU64,
}

impl OutageLimiter {
    pub(crate) fn new(source: Option<Box<dyn PeerSource>>) -> Self {
        let [taken, made, outage, observed] = [0; 4].map(AtomicU64::new);
        let last = Swap::new(Arc::new(PeerCounts::default()));
        Self { source, last, taken, made, outage, observed }
    }

    /// The guard was perhaps off: nobody has taken places for what opened since the last count.
    pub(crate) fn begin_anew(&self) {
        self.last.replace(Arc::new(PeerCounts::default()));
    }

    /// Takes a place for a circuit that is about to open; whether it was held back already.
    pub(crate) fn take(&self, rules: &Rules, now: Tick, held: bool) -> Grant {
        let Some(counted) = self.counted(rules, now) else { return Grant::Free };
        let Counted { limit, seen, count, online, .. } = counted;
        let open = |taken: u64| count.open.saturating_add(taken.saturating_sub(seen));
        // Relaxed, twice: pairs with `give_back`; a read-modify-write sees the latest, and with it
        // all places that were taken before this one.
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            (online || limit.allows(count.record_use_now, open(taken + 1))).then_some(taken + 1)
        });
        let Ok(taken) = taken else {
            // Relaxed, twice: pairs with `count`; nothing else is read by it.
            let (relaxed, since) = (Ordering::Relaxed, now.0.saturating_add(1));
            let _ = self.observed.compare_exchange(0, since, relaxed, relaxed);
            return Grant::None;
        };
        let others = count.held.saturating_sub(held.into());
        let wanted = open(taken + 1).saturating_add(others);
        let calm = limit.allows(count.record_use_now, wanted);
        if calm {
            // Relaxed: as above.
            self.observed.store(0, Ordering::Relaxed);
        }
        Grant::Taken { calm: calm || online }
    }

    /// The trip was made.
    pub(crate) fn trip_made(&self) {
        // Release: pairs with the Acquire in `count`: a count that includes this trip by number
        // finds the circuit open.
        self.made.fetch_add(1, Ordering::Release);
    }

    /// The trip was not made.
    pub(crate) fn give_back(&self, place: Grant) {
        if matches!(place, Grant::Taken { .. }) {
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

    /// What there is to decide by; `None` if nobody is to ask.
    fn counted(&self, rules: &Rules, now: Tick) -> Option<Counted> {
        let (limit, source) = (rules.guard?, self.source.as_deref()?);
        let census = self.last.load();
        match census.last {
            Some(Looked { at, seen, count, .. }) if is_fresh(at, count, limit, source, now) => {
                Some(Counted { limit, seen, count, anew: false, online: census.online })
            }
            _ => self.census(&census, limit, source, rules, now),
        }
    }

    /// Counts anew, or goes on with it. Several threads may do so at once.
    fn census(
        &self,
        census: &Loaded<PeerCounts>,
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
            let next = census.after(looked, observed);
            let online = next.online;
            // If somebody was faster, that count stays, and this one serves for this trip.
            let _ = self.last.compare_and_swap(census, Arc::new(next));
            return Some(Counted { limit, seen, count, anew: true, online });
        }
        // The last whole count is better than a part, unless peers have fallen idle since.
        match census.last.filter(|last| now.since(last.at) < rules.idle) {
            Some(Looked { seen, count, .. }) => {
                Some(Counted { limit, seen, count, anew: false, online: census.online })
            }
            None => {
                let record_use_now = count.record_use_now.max(limit.least());
                let count = Count { record_use_now, ..count };
                Some(Counted { limit, seen, count, anew: false, online: false })
            }
        }
    }

    /// Whether an outage goes on, as far as was told.
    #[inline]
    pub(crate) fn holds(&self) -> bool {
        // Relaxed: pairs with `begin` and `end`; nothing else is read by it.
        self.outage.load(Ordering::Relaxed) == GOES_ON
    }

    /// Whether an outage goes on: a trip was held back, and there is still no place for all.
    pub(crate) fn lasts(&self, rules: &Rules, now: impl FnOnce() -> Tick) -> bool {
        let (Some(limit), Some(source), true) = (rules.guard, &self.source, self.holds()) else {
            return false;
        };
        // Counted anew: the last count knows nothing of what was held back since.
        let counted = self.census(&self.last.load(), limit, &**source, rules, now());
        counted.is_some_and(|Counted { limit, seen, count, anew, online }| {
            // Relaxed: pairs with `take`; the number alone matters.
            let since = self.taken.load(Ordering::Relaxed).saturating_sub(seen);
            // In a table that is not counted at once: what was held back still is, as far as is known.
            let (since, held) = if anew { (0, count.held) } else { (since, count.held.max(1)) };
            !online && !limit.allows(count.record_use_now, count.open.saturating_add(since + held))
        })
    }

    /// A trip was held back; whether that is to be told: not if an outage goes on already, nor
    /// within a second of the last one's end.
    pub(crate) fn begin(&self, now: impl FnOnce() -> Tick) -> bool {
        if self.holds() {
            return false;
        }
        let now = now();
        // Relaxed, twice: pairs with `end`; whoever changes the word tells of it, and nothing else
        // is read by it.
        let begun = self.outage.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |outage| {
            let ended = outage.checked_sub(ENDED).map(Tick);
            let begins = outage != GOES_ON && ended.is_none_or(|at| now.since(at) >= AGAIN);
            begins.then_some(GOES_ON)
        });
        begun.is_ok()
    }

    /// A peer in trouble has answered, or there is a place for all; whether that ends an outage.
    pub(crate) fn end(&self, now: impl FnOnce() -> Tick) -> bool {
        if !self.holds() {
            return false;
        }
        // Relaxed: pairs with `begin`; see there.
        let (ended, relaxed) = (now().0.saturating_add(ENDED), Ordering::Relaxed);
        self.outage.compare_exchange(GOES_ON, ended, relaxed, relaxed).is_ok()
    }
}

/// Whether the count is good: not for longer than a second, nor when an eighth of the peers is
/// new or gone, nor where so few were in use that there is no limit: more may be by now. So all
/// counts together cost each newcomer a few looks, and each second one.
fn is_fresh(at: Tick, count: Count, limit: Limit, source: &dyn PeerSource, now: Tick) -> bool {
    let many = (count.peers / 8).max(1);
    now.since(at) < AGAIN
        && count.record_use_now >= limit.least()
        && source.arrivals().saturating_sub(count.arrivals) < many
        && count.peers.saturating_sub(source.peers()) < many
}

impl fmt::Debug for OutageLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("last", &self.last).finish_non_exhaustive()
    }
}
