//! The guard against an outage of our own (R30): when more than a part of the peers in use would
//! be open, it is probably this node that is cut off, and further trips are held back.
//!
//! How many circuits are open is not kept, it is counted: a pass over the table, when somebody is
//! about to open one and the last count is a second old, or peers have come or gone since. So whatever
//! way a circuit left Open, it gives its place back, at the next count; nothing can leak, and a
//! guard that is off costs nothing.
//!
//! Between two counts places are only taken. A count knows how many trips were made before it
//! began: those it has seen. Whoever is about to trip adds to what it saw all places that were
//! taken and are not among them, also those of trips that are still being made. So there are never
//! more than the limit while nobody leaves or falls idle; a trip that is made while the count goes
//! by may count twice, and hold another back until the next.

use std::fmt;

use crate::rules::{Limit, Rules};
use crate::sync::{Arc, AtomicU64, Loaded, Ordering, Swap};
use crate::time::Tick;

/// How long a count is good, and how long after the end of an outage another may begin.
const AGAIN: u64 = 1_000_000_000;
/// `Guard::outage`: zero, none so far; one goes on, or the last has ended at the time that lies
/// beyond.
const GOES_ON: u64 = 1;
const ENDED: u64 = 2;

/// The peers in use, and the open circuits and the trips held back among them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count {
    /// What [`Crowd::arrivals`] was, and how many peers there were, in use or not.
    pub(crate) arrivals: u64,
    pub(crate) peers: u64,
    pub(crate) used: u64,
    pub(crate) open: u64,
    pub(crate) held: u64,
}

/// Counts the peers of a registry.
pub(crate) trait Crowd: Send + Sync {
    /// A number that rises by one at least with each newcomer.
    fn arrivals(&self) -> u64;
    /// How many peers there are.
    fn peers(&self) -> u64;
    /// `None` if the registry is gone.
    fn count(&self, rules: &Rules, now: Tick) -> Option<Count>;
}

/// A count, and what it includes.
#[derive(Debug)]
struct Census {
    at: Tick,
    /// So many trips were made before it began: it has seen them all.
    seen: u64,
    /// `None` before the first.
    count: Option<Count>,
}

impl Census {
    fn none() -> Arc<Self> {
        Arc::new(Self { at: Tick::default(), seen: 0, count: None })
    }
}

/// What a trip is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nobody asks.
    Free,
    /// It has a place of its own; and whether all trips that were held back would have one too.
    Taken { calm: bool },
    /// There is no place: hold the trip back.
    None,
}

pub(crate) struct Guard {
    /// `None` where there is no registry.
    crowd: Option<Box<dyn Crowd>>,
    last: Swap<Census>,
    /// Trips that were made or are being made.
    taken: AtomicU64,
    /// Trips that were made.
    made: AtomicU64,
    outage: AtomicU64,
}

impl Guard {
    pub(crate) fn new(crowd: Option<Box<dyn Crowd>>) -> Self {
        let [taken, made, outage] = [0; 3].map(AtomicU64::new);
        Self { crowd, last: Swap::new(Census::none()), taken, made, outage }
    }

    /// The guard was perhaps off: nobody has taken places for what opened since the last count.
    pub(crate) fn begin_anew(&self) {
        self.last.replace(Census::none());
    }

    /// Takes a place for a circuit that is about to open; whether it was held back already.
    pub(crate) fn take(&self, rules: &Rules, now: Tick, held: bool) -> Place {
        let Some((limit, seen, count)) = self.counted(rules, now) else { return Place::Free };
        let open = |taken: u64| count.open.saturating_add(taken.saturating_sub(seen));
        // Relaxed, twice: pairs with `give_back`; a read-modify-write sees the latest, and with it
        // all places that were taken before this one.
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
            limit.allows(count.used, open(taken + 1)).then_some(taken + 1)
        });
        taken.map_or(Place::None, |taken| {
            let others = count.held.saturating_sub(held.into());
            let wanted = open(taken + 1).saturating_add(others);
            Place::Taken { calm: limit.allows(count.used, wanted) }
        })
    }

    /// The trip was made.
    pub(crate) fn trip_made(&self) {
        // Release: pairs with the Acquire in `census`: a count that includes this trip by number
        // finds the circuit open.
        self.made.fetch_add(1, Ordering::Release);
    }

    /// The trip was not made.
    pub(crate) fn give_back(&self, place: Place) {
        if matches!(place, Place::Taken { .. }) {
            // Relaxed: pairs with `take`; the number alone matters.
            self.taken.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The limit, the trips that the count includes, and the count; `None` if nobody is to ask.
    fn counted(&self, rules: &Rules, now: Tick) -> Option<(Limit, u64, Count)> {
        let (limit, crowd) = (rules.guard?, self.crowd.as_deref()?);
        let census = self.last.load();
        let (seen, count) = match census.count {
            Some(count) if is_fresh(&census, count, crowd, now) => (census.seen, count),
            _ => self.census(&census, crowd, rules, now)?,
        };
        Some((limit, seen, count))
    }

    /// Counts anew. Several threads may do so at once; each looks into one shard after the other.
    fn census(
        &self,
        last: &Loaded<Census>,
        crowd: &dyn Crowd,
        rules: &Rules,
        now: Tick,
    ) -> Option<(u64, Count)> {
        // Acquire: pairs with the Release in `trip_made`; see there. The fence in the count would do
        // the same for seats that are looked at after it: the models fail without both.
        let seen = self.made.load(Ordering::Acquire);
        let count = crowd.count(rules, now)?;
        let next = Census { at: now, seen, count: Some(count) };
        // If somebody was faster, that count stays, and this one serves for this trip.
        let _ = self.last.compare_and_swap(last, Arc::new(next));
        Some((seen, count))
    }

    /// Whether an outage goes on, as far as was told.
    #[inline]
    pub(crate) fn holds(&self) -> bool {
        // Relaxed: pairs with `begin` and `end`; nothing else is read by it.
        self.outage.load(Ordering::Relaxed) == GOES_ON
    }

    /// Whether an outage goes on: a trip was held back, and there is still no place for all.
    pub(crate) fn lasts(&self, rules: &Rules, now: impl FnOnce() -> Tick) -> bool {
        let (Some(limit), Some(crowd), true) = (rules.guard, &self.crowd, self.holds()) else {
            return false;
        };
        // Counted anew: the last count knows nothing of what was held back since.
        let counted = self.census(&self.last.load(), &**crowd, rules, now());
        counted.is_some_and(|(_, count)| {
            !limit.allows(count.used, count.open.saturating_add(count.held))
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
/// new or gone. So all passes together cost each newcomer a few looks, and each second one.
fn is_fresh(census: &Census, count: Count, crowd: &dyn Crowd, now: Tick) -> bool {
    let many = (count.peers / 8).max(1);
    now.since(census.at) < AGAIN
        && crowd.arrivals().saturating_sub(count.arrivals) < many
        && count.peers.saturating_sub(crowd.peers()) < many
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("last", &self.last).finish_non_exhaustive()
    }
}
