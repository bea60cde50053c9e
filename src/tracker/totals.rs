//! What is counted and shown of a peer beside its circuit, and decides nothing (R24): totals, errors,
//! and when they came. A peer has a record from its first error on, or its first call that ended
//! otherwise than in success.
//!
//! Nothing here is part of a step: each number is exact when nothing is going on, and loses nothing;
//! meanwhile it may lag behind calls that are ending.

use super::latest::{Dated, Latest};
use crate::circuit::{Noted, Outcome};
use crate::error::Failure;
use crate::outcome::Reason;
use crate::snapshot::{PeerTotals, Refusals};
use crate::sync::{Arc, AtomicU64, Once, Ordering, Total};
use crate::time::Tick;

/// What a failure writes comes first, so that it lies in as few lines of cache as may be.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Record {
    failed: Total,
    /// The errors of an era: 24 bits of its number, 40 of the count.
    errors: Total,
    /// When the last failure came that counts.
    failed_at: Total,
    /// When the peer was last used while it was in trouble (R26).
    used_at: AtomicU64,
    /// A nanosecond after `is_circuit_open` last said no while a streak was running; 0 if it has not
    /// since the last failure.
    announced: Total,
    last: Latest<Last>,
    /// What few peers need.
    more: Once<More>,
}

/// The totals of a peer that did more than answer and fail.
#[derive(Debug, Default)]
struct More {
    opened: Total,
    refused: [Total; 3],
    neutral: Total,
    abandoned: Total,
    late: Total,
    reported_successes: Total,
    reported_errors: Total,
}

/// The last error.
#[derive(Debug)]
pub(crate) struct Last {
    /// Its era, and its number in that.
    pub(crate) number: u64,
    pub(crate) at: Tick,
    pub(crate) failure: Failure,
    /// The successes there had been before it.
    pub(crate) successes: u64,
}

impl Dated for Last {
    fn is_newer(&self, other: &Self) -> bool {
        is_newer(self.number, other.number)
    }
}

/// What was noted of errors since the last reset.
#[derive(Debug, Clone, Default)]
pub(crate) struct Errors {
    pub(crate) count: u64,
    pub(crate) last: Option<Arc<Last>>,
}

const COUNT: u64 = (1 << 40) - 1;

fn tag(era: u32) -> u64 {
    u64::from(era) << 40
}

/// Whether an error is newer than another, by their numbers; those of eras wrap.
fn is_newer(one: u64, other: u64) -> bool {
    match one & !COUNT == other & !COUNT {
        true => one > other,
        false => (one & !COUNT).wrapping_sub(other & !COUNT) <= u64::MAX / 2,
    }
}

impl Record {
    /// Notes an error that was taken in this era: by the circuit, whether it counts or not.
    pub(super) fn note(&self, era: u32, failure: Failure, at: Tick, successes: u64) {
        let next = |seen: u64| match seen & !COUNT == tag(era) {
            true if seen & COUNT == COUNT => Some(seen),
            true => Some(seen + 1),
            // An error of an era that is over is shown nowhere.
            false => is_newer(tag(era), seen).then_some(tag(era) + 1),
        };
        // Relaxed, twice: pairs with itself in other threads and with `errors`; a total, of which a
        // read-modify-write sees the latest.
        let Ok(before) = self.errors.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
        else {
            return;
        };
        let number = next(before).unwrap_or(before);
        let last = Last { number, at, failure: failure.kept(), successes };
        self.last.put(Arc::new(last));
    }

    pub(super) fn has_errors(&self) -> bool {
        // Relaxed: pairs with `note`; a total, for display.
        self.errors.load(Ordering::Relaxed) > 0
    }

    /// What is known of errors in this era.
    pub(super) fn errors(&self, era: u32) -> Errors {
        // Relaxed: pairs with `note`; a total, for display.
        let errors = self.errors.load(Ordering::Relaxed);
        if errors & COUNT == 0 || errors & !COUNT != tag(era) {
            return Errors::default();
        }
        let last = self.last.get().filter(|last| last.number & !COUNT == tag(era));
        Errors { count: errors & COUNT, last }
    }

    pub(super) fn touch(&self, now: Tick) {
        // Relaxed, twice: pairs with `used_at` under the lock of the tracker's shard, which orders
        // them: a tracker is judged there only when nobody else holds it.
        if self.used_at.load(Ordering::Relaxed) < now.0 {
            self.used_at.fetch_max(now.0, Ordering::Relaxed);
        }
    }

    pub(super) fn used_at(&self) -> Tick {
        // Relaxed: pairs with `touch`; see there.
        Tick(self.used_at.load(Ordering::Relaxed))
    }

    /// Before a step: when the last failure was, and when `is_circuit_open` last said no (R14).
    pub(super) fn noted(&self, successes: u64) -> Noted {
        // Relaxed, twice: pairs with `failed_at` and `announce`; times, by which nothing else is read.
        let failed_at = Tick(self.failed_at.load(Ordering::Relaxed));
        let announced = self.announced.load(Ordering::Relaxed).checked_sub(1).map(Tick);
        Noted { successes, failed_at, announced }
    }

    /// A failure was counted; what was announced before it says nothing of the next (R14).
    pub(super) fn fail_at(&self, now: Tick) {
        // Relaxed: pairs with `beside`.
        self.failed_at.fetch_max(now.0, Ordering::Relaxed);
        // Relaxed, three times: pairs with `announce`: this is the next failure after it. What was
        // announced since stays.
        let announced = self.announced.load(Ordering::Relaxed);
        if announced > 0 {
            let over = Ordering::Relaxed; // Relaxed: as above
            let _ = self.announced.compare_exchange(announced, 0, over, over);
        }
    }

    /// `is_circuit_open` says no while a streak is running: a call that is reported later may have begun
    /// now (R14).
    pub(super) fn announce(&self, now: Tick) {
        // Relaxed: pairs with `beside` and `fail_at`.
        self.announced.fetch_max(now.0.saturating_add(1), Ordering::Relaxed);
    }

    /// What counts such an outcome, or such a report; not the successes of permits.
    pub(super) fn counter(&self, outcome: Outcome, reported: bool, late: bool) -> &Total {
        let more = || self.more.get_or_make();
        match outcome {
            Outcome::Success if reported => &more().reported_successes,
            _ if reported => &more().reported_errors,
            _ if late => &more().late,
            Outcome::Success | Outcome::Failure => &self.failed,
            Outcome::Neutral => &more().neutral,
            Outcome::Dropped => &more().abandoned,
        }
    }

    pub(super) fn opened(&self) -> &Total {
        &self.more.get_or_make().opened
    }

    pub(super) fn reported_successes(&self) -> u64 {
        // Relaxed: pairs with nothing; a total, for display.
        self.more.get().map_or(0, |more| more.reported_successes.load(Ordering::Relaxed))
    }

    pub(super) fn refused(&self, reason: Reason) -> &Total {
        let [open, probes_in_flight, forced_open] = &self.more.get_or_make().refused;
        match reason {
            Reason::Open => open,
            Reason::ProbesInFlight => probes_in_flight,
            Reason::ForcedOpen => forced_open,
        }
    }

    /// What was counted here.
    pub(super) fn totals(&self, read: impl Fn(&Total) -> u64) -> PeerTotals {
        let failed = read(&self.failed);
        let Some(more) = self.more.get() else {
            return PeerTotals { failed, ..PeerTotals::default() };
        };
        let [open, probes_in_flight, forced_open] = more.refused.each_ref().map(&read);
        PeerTotals {
            succeeded: 0,
            failed,
            neutral: read(&more.neutral),
            abandoned: read(&more.abandoned),
            late: read(&more.late),
            opened: read(&more.opened),
            reported_successes: read(&more.reported_successes),
            reported_errors: read(&more.reported_errors),
            refused: Refusals { open, probes_in_flight, forced_open },
        }
    }
}
