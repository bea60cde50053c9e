//! The record of a peer outside its circuit, which decides nothing (R24): totals, errors and their times. A
//! peer has a record from its first error on, or its first call that ended otherwise than in success.
//!
//! No step contains these numbers: each loses nothing and is exact when no call is going on; meanwhile it
//! may lag behind calls that are ending.

use super::latest::{Dated, Latest};
use super::striped::StripedTotal;
use crate::circuit::{Noted, Outcome};
use crate::error::Failure;
use crate::outcome::Reason;
use crate::snapshot::{PeerTotals, Refusals};
use crate::sync::{Arc, AtomicU64, Once, Ordering, Total};
use crate::time::Tick;
use crate::word::Reading;

/// The words that a failure writes come first, so that they share as few lines of cache as possible.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Record {
    failed: Total,
    /// The number of errors in an era: 24 bits of the era, 40 of the count.
    errors: Total,
    /// The time of the last failure that counts.
    failed_at: Total,
    /// The time of the peer's last use in trouble (R26).
    used_at: AtomicU64,
    /// The word at rest of a value that counted a failure, as a thread found it: a note that stays true of that
    /// value. A reader compares its epoch with that of the word.
    rest: Total,
    last: Latest<Last>,
    /// The counters that few peers need.
    more: Once<More>,
}

/// The totals of a peer that did more than answer and fail.
#[derive(Debug, Default)]
struct More {
    /// A nanosecond after `is_circuit_open` last returned false during a streak; 0 if it has not since the
    /// last failure.
    announced: Total,
    opened: Total,
    refused: [StripedTotal; 3],
    neutral: Total,
    abandoned: Total,
    late: Total,
    reported_successes: Total,
    reported_errors: Total,
}

/// The last error.
#[derive(Debug)]
pub(crate) struct Last {
    /// The error's era, and its number in that.
    pub(crate) number: u64,
    pub(crate) at: Tick,
    pub(crate) failure: Failure,
    /// The total of successes before it.
    pub(crate) successes: u64,
}

impl Dated for Last {
    fn number(&self) -> u64 {
        self.number
    }

    fn is_newer(one: u64, other: u64) -> bool {
        is_newer(one, other)
    }
}

/// The errors since the last reset.
#[derive(Debug, Clone, Default)]
pub(crate) struct Errors {
    pub(crate) count: u64,
    pub(crate) last: Option<Arc<Last>>,
}

const COUNT: u64 = (1 << 40) - 1;

fn tag(era: u32) -> u64 {
    u64::from(era) << 40
}

/// Returns whether an error is newer than another, by their numbers; the eras in them wrap.
fn is_newer(one: u64, other: u64) -> bool {
    match one & !COUNT == other & !COUNT {
        true => one > other,
        false => (one & !COUNT).wrapping_sub(other & !COUNT) <= u64::MAX / 2,
    }
}

impl Record {
    /// Notes an error that the circuit took in this era, whether it counts or not.
    pub(super) fn note(&self, era: u32, mut failure: Failure, at: Tick, successes: u64) {
        let next = |seen: u64| match seen & !COUNT == tag(era) {
            true if seen & COUNT == COUNT => Some(seen),
            true => Some(seen + 1),
            // No view shows an error of an earlier era.
            false => is_newer(tag(era), seen).then_some(tag(era) + 1),
        };
        // Relaxed, twice: pairs with itself in other threads, with `know_rest`, `errors` and `era`; of a
        // total a read-modify-write sees the latest value.
        let Ok(before) = self.errors.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
        else {
            return;
        };
        let number = next(before).unwrap_or(before);
        failure.cut();
        self.last.put(Arc::new(Last { number, at, failure, successes }));
    }

    pub(super) fn has_errors(&self) -> bool {
        // Relaxed: pairs with `note`; a total, for display.
        self.errors.load(Ordering::Relaxed) > 0
    }

    /// Returns the errors of this era.
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
        // Relaxed, twice: pairs with `used_at` under the lock of the tracker's shard, which orders them: the
        // registry judges a tracker there only when no other thread holds it.
        if self.used_at.load(Ordering::Relaxed) < now.0 {
            self.used_at.fetch_max(now.0, Ordering::Relaxed);
        }
    }

    /// Returns the time of the last use; a failure that counts is one.
    pub(super) fn used_at(&self) -> Tick {
        // Relaxed, twice: pairs with `touch`, as explained there, and with `fail_at` in the same way.
        let (used, failed) = (&self.used_at, &self.failed_at);
        Tick(used.load(Ordering::Relaxed).max(failed.load(Ordering::Relaxed)))
    }

    /// Returns what a step needs: the times of the last failure and of the last announced call (R14).
    pub(super) fn noted(&self, successes: u64) -> Noted {
        // Relaxed, twice: pairs with `failed_at` and `announce`; no thread reads anything else by these
        // times.
        let failed_at = Tick(self.failed_at.load(Ordering::Relaxed));
        let announced = self.more.get().map_or(0, |more| more.announced.load(Ordering::Relaxed));
        let announced = announced.checked_sub(1).map(Tick);
        Noted { successes, failed_at, announced }
    }

    /// Notes a counted failure; a call that was announced by then does not begin the next one (R14).
    pub(super) fn fail_at(&self, now: Tick) {
        // Relaxed: pairs with `noted`.
        self.failed_at.fetch_max(now.0, Ordering::Relaxed);
        let Some(More { announced, .. }) = self.more.get() else { return };
        // Relaxed, twice: pairs with `announce`. A call that another thread announces at a later time stays.
        let (relaxed, by_then) = (Ordering::Relaxed, 1..=now.0.saturating_add(1));
        let over = |at: u64| by_then.contains(&at).then_some(0);
        let _ = announced.fetch_update(relaxed, relaxed, over);
    }

    /// Notes the word at rest of the value that counts now, and before it the value's era.
    pub(super) fn know_rest(&self, rest: Reading, era: u32) {
        // Relaxed: pairs with the Release below; of its own note the thread needs no more.
        if self.rest.load(Ordering::Relaxed) == rest.bits() {
            return;
        }
        let next = |seen: u64| is_newer(tag(era), seen).then_some(tag(era));
        // Relaxed, twice: pairs with itself in other threads, and with `note`; with `era` by the Release below.
        let _ = self.errors.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        // Release: pairs with the Acquire in `rest`: a thread that finds the note finds this era, or a later one.
        self.rest.store(rest.bits(), Ordering::Release);
    }

    /// Returns the word at rest of the value to which `word` belongs, if it counts or is at rest, and the note
    /// is of that value. The note stays true of its value.
    #[inline]
    pub(super) fn rest(&self, word: Reading) -> Option<Reading> {
        // Acquire: pairs with the Release in `know_rest`.
        let rest = Reading::from_bits(self.rest.load(Ordering::Acquire));
        word.counts_for(rest).then_some(rest)
    }

    /// Returns the era of the value whose note was found, if that value is still in place: threads note no later
    /// era before they have replaced it.
    #[allow(clippy::cast_possible_truncation, reason = "24 bits")]
    pub(super) fn era(&self) -> u32 {
        // Relaxed: pairs with `know_rest` and `note`. The thread compares and swaps the word after this: if
        // that succeeds, the thread that freezes the word, and all that come after it, acquire this load.
        (self.errors.load(Ordering::Relaxed) >> 40) as u32
    }

    /// Notes that `is_circuit_open` returned false during a streak: a call that is reported later may have
    /// begun now (R14).
    pub(super) fn announce(&self, now: Tick) {
        // Relaxed: pairs with `noted` and `fail_at`.
        self.more.get_or_make().announced.fetch_max(now.0.saturating_add(1), Ordering::Relaxed);
    }

    /// Returns the counter of such an outcome or report; the tracker counts permits' successes itself.
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

    pub(super) fn refused(&self, reason: Reason) -> &StripedTotal {
        let [open, probes_in_flight, forced_open] = &self.more.get_or_make().refused;
        match reason {
            Reason::Open => open,
            Reason::ProbesInFlight => probes_in_flight,
            Reason::ForcedOpen => forced_open,
        }
    }

    /// Returns the totals of this record.
    pub(super) fn totals(&self, read: impl Fn(&Total) -> u64) -> PeerTotals {
        let failed = read(&self.failed);
        let Some(more) = self.more.get() else {
            return PeerTotals { failed, ..PeerTotals::default() };
        };
        let [open, probes_in_flight, forced_open] =
            more.refused.each_ref().map(|total| total.sum(&read));
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
