//! What is counted beside a peer's circuit, and when the peer was last used.

use super::Tracker;
use crate::circuit::{Core, Health, Phase};
use crate::snapshot::{PeerTotals, Refusals};
use crate::sync::{AtomicU64, Ordering, prefetch};
use crate::time::Tick;

impl Tracker {
    pub(crate) fn successes(&self) -> u64 {
        // Relaxed, twice: pairs with nothing; totals, for display.
        self.succeeded.load(Ordering::Relaxed) + self.reported_successes.load(Ordering::Relaxed)
    }

    /// Brings what calls write, and whether the circuit is at rest, into the cache: before it is asked.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch(&self.succeeded);
        self.rest.prefetch();
    }

    /// Successes since the last error or reset.
    pub(crate) fn successes_since(&self, health: &Health) -> u64 {
        self.successes().saturating_sub(health.successes_before)
    }

    pub(crate) fn totals(&self, health: &Health) -> PeerTotals {
        self.sum(health, |counter| {
            // Relaxed: pairs with nothing; totals, in no order with the circuit.
            counter.load(Ordering::Relaxed)
        })
    }

    /// The totals, and zero in their place: what is counted later is counted elsewhere.
    pub(super) fn take_totals(&self, health: &Health) -> PeerTotals {
        self.sum(health, |counter| {
            // Relaxed: pairs with nothing; whatever is added after this is taken by the next one.
            counter.swap(0, Ordering::Relaxed)
        })
    }

    /// What was counted and not yet taken, of a tracker that is removed or about to go.
    pub(crate) fn last_totals(&self) -> PeerTotals {
        self.take_totals(&self.core.load().health)
    }

    fn sum(&self, health: &Health, read: impl Fn(&AtomicU64) -> u64) -> PeerTotals {
        PeerTotals {
            succeeded: read(&self.succeeded),
            failed: health.failed,
            neutral: read(&self.neutral),
            abandoned: read(&self.abandoned),
            late: read(&self.late),
            opened: health.opened,
            reported_successes: read(&self.reported_successes),
            reported_errors: health.reported,
            // Counted with the seat.
            refused: Refusals::default(),
        }
    }

    /// The average latency of successes in nanoseconds, if any is known. Asks for the time only if
    /// one was: a peer whose calls nobody times needs no clock (R1).
    pub(crate) fn latency(&self, now: impl FnOnce() -> Tick) -> Option<u64> {
        self.latency.known(now)
    }

    /// Notes the use of a peer in trouble.
    pub(crate) fn touch(&self, now: Tick) {
        // Relaxed, twice: pairs with `unused_since` under the lock of the tracker's shard, which
        // orders them: a tracker is judged there only when nobody else holds it.
        if self.used_at.load(Ordering::Relaxed) < now.0 {
            self.used_at.fetch_max(now.0, Ordering::Relaxed);
        }
    }

    /// Notes the use of a peer, in the registry's order of uses.
    #[inline]
    pub(crate) fn mark(&self, stamp: u64) {
        // Relaxed, twice: as in `touch`; the pair is `stamp`.
        if self.stamp.load(Ordering::Relaxed) < stamp {
            self.stamp.fetch_max(stamp, Ordering::Relaxed);
        }
    }

    /// A hash of the registry's seed and the peer.
    pub(crate) fn salt(&self) -> u64 {
        self.salt
    }

    pub(crate) fn stamp(&self) -> u64 {
        // Relaxed: pairs with `mark`; see `touch`.
        self.stamp.load(Ordering::Relaxed)
    }

    /// Since when a tracker in trouble is of no use to anybody: its last use or the end of its
    /// wait, whichever is later (R26). `None` for an override, which is never forgotten.
    pub(crate) fn unused_since(&self, core: &Core) -> Option<Tick> {
        // Relaxed: pairs with `touch`; see there.
        let used = Tick(self.used_at.load(Ordering::Relaxed)).max(core.health.failed_at);
        match &core.phase {
            Phase::Closed(_) => Some(used),
            Phase::Open(spell) => Some(used.max(spell.ends())),
            Phase::HalfOpen(trial) => Some(used.max(trial.since)),
            _ => None,
        }
    }
}
