//! What is counted beside a peer's circuit, and when the peer was last used.

use super::totals::Record;
use super::{Errors, Tracker};
use crate::circuit::{Circuit, Emitted, Noted, Phase};
use crate::event::EventKind;
use crate::outcome::Reason;
use crate::snapshot::PeerTotals;
use crate::sync::{Ordering, Total, prefetch};
use crate::time::Tick;

impl Tracker {
    pub(crate) fn successes(&self) -> u64 {
        // Relaxed: pairs with nothing; a total, for display.
        let reported = self.record.get().map_or(0, Record::reported_successes);
        self.succeeded.load(Ordering::Relaxed) + reported
    }

    /// Brings what calls write, and whether the circuit is at rest, into the cache: before it is asked.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch(&self.last_use);
        self.word.prefetch();
    }

    /// Counts a success, for display.
    #[inline]
    pub(crate) fn count_success(&self) {
        // Relaxed: pairs with nothing; a total, in no order with the circuit.
        self.succeeded.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a call that was refused.
    pub(crate) fn count_refusal(&self, reason: Reason) {
        // Relaxed: pairs with nothing; a total.
        self.record.get_or_make().refused(reason).fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the transitions into Open among those of a step that was made.
    pub(super) fn count_openings(&self, emitted: &Emitted) {
        for (_, kind) in emitted.events.iter().flatten() {
            if matches!(kind, EventKind::Opened { .. }) {
                // Relaxed: pairs with nothing; a total.
                self.record.get_or_make().opened().fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// What steps are told of what is noted beside the circuit.
    pub(super) fn noted(&self) -> Noted {
        let successes = self.successes();
        let zero = Noted { successes, ..Noted::default() };
        self.record.get().map_or(zero, |record| record.noted(successes))
    }

    /// What is known of errors since the last reset.
    pub(crate) fn errors(&self, circuit: &Circuit) -> Errors {
        self.record.get().map(|record| record.errors(circuit.health.era)).unwrap_or_default()
    }

    /// Whether there ever was an error.
    pub(crate) fn has_errors(&self) -> bool {
        self.record.get().is_some_and(Record::has_errors)
    }

    /// Successes since the last error or reset.
    pub(crate) fn successes_since(&self, circuit: &Circuit, errors: &Errors) -> u64 {
        let before = errors.last.as_ref().map_or(0, |last| last.successes);
        self.successes().saturating_sub(before.max(circuit.health.successes_before))
    }

    pub(crate) fn totals(&self) -> PeerTotals {
        self.sum(|counter| {
            // Relaxed: pairs with nothing; totals, in no order with the circuit.
            counter.load(Ordering::Relaxed)
        })
    }

    /// The totals, and zero in their place: what is counted later is counted elsewhere.
    pub(crate) fn take_totals(&self) -> PeerTotals {
        self.sum(|counter| {
            // Relaxed: pairs with nothing; whatever is added after this is taken by the next one.
            counter.swap(0, Ordering::Relaxed)
        })
    }

    fn sum(&self, read: impl Fn(&Total) -> u64) -> PeerTotals {
        let totals = self.record.get().map(|record| record.totals(&read)).unwrap_or_default();
        PeerTotals { succeeded: read(&self.succeeded), ..totals }
    }

    /// The average latency of successes in nanoseconds, if any is known. Asks for the time only if
    /// one was: a peer whose calls nobody times needs no clock (R1).
    pub(crate) fn latency(&self, now: impl FnOnce() -> Tick) -> Option<u64> {
        self.latency.known(now)
    }

    /// Notes the use of a peer in trouble: one without a record has never been in any.
    pub(crate) fn touch(&self, now: Tick) {
        if let Some(record) = self.record.get() {
            record.touch(now);
        }
    }

    /// Notes the use of a peer, in the registry's order of uses.
    #[inline]
    pub(crate) fn record_use(&self, last_use: u64) {
        // Relaxed, twice: pairs with `stamp`, as in `Record::touch`.
        if self.last_use.load(Ordering::Relaxed) < last_use {
            self.last_use.fetch_max(last_use, Ordering::Relaxed);
        }
    }

    /// A hash of the registry's seed and the peer.
    pub(crate) fn salt(&self) -> u64 {
        self.salt
    }

    pub(crate) fn last_use(&self) -> u64 {
        // Relaxed: pairs with `mark`; see there.
        self.last_use.load(Ordering::Relaxed)
    }

    /// Since when a tracker in trouble is of no use to anybody: its last use or the end of its
    /// wait, whichever is later (R26). `None` for an override, which is never forgotten.
    pub(crate) fn unused_since(&self, circuit: &Circuit) -> Option<Tick> {
        let record_use_now = self.record.get().map_or_else(Tick::default, Record::used_at);
        match &circuit.phase {
            Phase::Closed(_) => Some(record_use_now),
            Phase::Open(open) => Some(record_use_now.max(open.ends())),
            Phase::HalfOpen(half_open) => Some(record_use_now.max(half_open.since)),
            _ => None,
        }
    }
}
