//! The counts outside a peer's circuit, and the peer's last use.

use super::take::Call;
use super::totals::Record;
use super::{Context, Errors, Tracker};
use crate::circuit::{Circuit, Emitted, Noted, Outcome, Phase, Reported};
use crate::event::EventKind;
use crate::outcome::{Reason, Recorded};
use crate::snapshot::PeerTotals;
use crate::sync::{Ordering, Total, prefetch};
use crate::time::Tick;

impl Tracker {
    pub(crate) fn successes(&self) -> u64 {
        // Relaxed: pairs with nothing; a total, for display.
        let reported = self.record.get().map_or(0, Record::reported_successes);
        self.succeeded.load(Ordering::Relaxed) + reported
    }

    /// Returns whether the peer ever answered: in this process, or in an earlier one of which the registry was
    /// restored.
    pub(crate) fn has_answered(&self) -> bool {
        self.successes() > 0 || self.circuit.load().health.answered
    }

    /// Brings the words that calls read and write into the cache, ahead of a look at them.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch(&self.last_use);
        self.word.prefetch();
    }

    /// Counts the call, and keeps its error, beside the circuit.
    pub(super) fn note(
        &self,
        context: &Context,
        call: Call<'_>,
        reply: &Reported<Recorded>,
        era: Option<u32>,
        now: Option<Tick>,
    ) {
        let (late, counted) = match reply {
            Reported::Recorded(recorded) => (
                *recorded == Recorded::Late,
                matches!(recorded, Recorded::Counted | Recorded::Opened { .. }),
            ),
            _ => (false, false),
        };
        if call.is_success() && !late && call.ticket.is_some() {
            self.count_success();
            let latency = now.map_or(call.latency, |now| call.latency(now));
            if let (true, Some(latency)) = (counted, latency) {
                self.latency.sample(latency, now.unwrap_or_else(|| context.clock.now()));
            }
            return;
        }
        let record = self.record.get_or_make();
        // Relaxed: pairs with nothing; a total, counted once, in no order with the circuit.
        record.counter(call.outcome, call.ticket.is_none(), late).fetch_add(1, Ordering::Relaxed);
        let now = now.unwrap_or_default();
        if call.outcome == Outcome::Failure && counted {
            record.fail_at(now);
        } else {
            record.touch(now);
        }
        if let (Some(era), false) = (era, late)
            && let Some(failure) = call.error.take()
        {
            record.note(era, failure, now, self.successes());
        }
    }
    /// Counts a success, for display.
    #[inline]
    pub(crate) fn count_success(&self) {
        // Relaxed: pairs with nothing; the total has no order with the circuit.
        self.succeeded.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a refused call.
    pub(crate) fn count_refusal(&self, reason: Reason) {
        self.record.get_or_make().refused(reason).raise();
    }

    /// Counts the transitions into Open of a step that was made.
    pub(super) fn count_openings(&self, emitted: &Emitted) {
        for (_, kind) in emitted.events() {
            if matches!(kind, EventKind::Opened { .. }) {
                // Relaxed: pairs with nothing; a total.
                self.record.get_or_make().opened().fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Returns what a step needs of the notes outside the circuit.
    pub(super) fn noted(&self) -> Noted {
        let successes = self.successes();
        let zero = Noted { successes, ..Noted::default() };
        self.record.get().map_or(zero, |record| record.noted(successes))
    }

    /// Returns the errors since the last reset.
    pub(crate) fn errors(&self, circuit: &Circuit) -> Errors {
        self.record.get().map(|record| record.errors(circuit.health.era)).unwrap_or_default()
    }

    /// Returns whether the tracker ever noted an error, or is about to.
    pub(crate) fn has_errors(&self) -> bool {
        self.record.get().is_some_and(Record::has_errors)
    }

    /// Returns the successes since the last error or reset.
    pub(crate) fn successes_since(&self, circuit: &Circuit, errors: &Errors) -> u64 {
        let before = errors.last.as_ref().map_or(0, |last| last.successes);
        self.successes().saturating_sub(before.max(circuit.health.successes_before))
    }

    pub(crate) fn totals(&self) -> PeerTotals {
        self.sum(|counter| {
            // Relaxed: pairs with nothing; the totals have no order with the circuit.
            counter.load(Ordering::Relaxed)
        })
    }

    /// Takes the totals and leaves zeros: the caller adds them to the registry's ledger.
    pub(crate) fn take_totals(&self) -> PeerTotals {
        self.sum(|counter| {
            // Relaxed: pairs with nothing; the next call takes what another thread adds after this.
            counter.swap(0, Ordering::Relaxed)
        })
    }

    fn sum(&self, read: impl Fn(&Total) -> u64) -> PeerTotals {
        let totals = self.record.get().map(|record| record.totals(&read)).unwrap_or_default();
        PeerTotals { succeeded: read(&self.succeeded), ..totals }
    }

    /// Returns the average latency of successes in nanoseconds, if one is known. Reads the clock only if a
    /// call was timed: a peer whose calls no rule times needs no clock (R1).
    pub(crate) fn latency(&self, now: impl FnOnce() -> Tick) -> Option<u64> {
        self.latency.known(now)
    }

    /// Begins with the average latency of an earlier process, in nanoseconds, which is this old.
    pub(crate) fn restore_latency(&self, nanos: u64, age: u64, now: Tick) {
        self.latency.restore(nanos, age, now);
    }

    /// Returns the time of the last success that was timed, if any was.
    pub(crate) fn timed_at(&self) -> Option<Tick> {
        self.latency.sampled_at()
    }

    /// Notes the use of a peer in trouble. A peer without a record never was in trouble, but for one that was
    /// restored open: its wait ends after all that is known of its use.
    pub(crate) fn touch(&self, now: Tick) {
        if let Some(record) = self.record.get() {
            record.touch(now);
        }
    }

    /// Notes the use of a peer by its number in the registry's order of uses.
    #[inline]
    pub(crate) fn record_use(&self, last_use: u64) {
        // Relaxed, twice: pairs with `last_use`, as in `Record::touch`.
        if self.last_use.load(Ordering::Relaxed) < last_use {
            self.last_use.fetch_max(last_use, Ordering::Relaxed);
        }
    }

    /// Returns the hash of the registry's seed and the peer.
    pub(crate) fn salt(&self) -> u64 {
        self.salt
    }

    pub(crate) fn last_use(&self) -> u64 {
        // Relaxed: pairs with `record_use`, as explained there.
        self.last_use.load(Ordering::Relaxed)
    }

    /// Returns the time since when a tracker in trouble is unused: its last use or the end of its wait,
    /// whichever is later (R26). `None` for an override, which the registry never forgets.
    pub(crate) fn unused_since(&self, circuit: &Circuit) -> Option<Tick> {
        let used = self.record.get().map_or_else(Tick::default, Record::used_at);
        match &circuit.phase {
            Phase::Closed(_) => Some(used),
            Phase::Open(open) => Some(used.max(open.ends())),
            Phase::HalfOpen(half_open) => Some(used.max(half_open.since)),
            _ => None,
        }
    }
}
