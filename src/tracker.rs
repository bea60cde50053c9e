//! One peer: its circuit, the counters beside it, and the loop that makes a step.
//!
//! Two functions change a circuit. [`Tracker::advance`] replaces its value: it loads, computes, and
//! compares and swaps, and begins again from the value found if another thread was faster.
//! [`Tracker::count`] counts in the [`word`](crate::word) a call that changes a number alone: a failure
//! that does not open a closed circuit, or the success that ends its streak. Neither decides by a value that
//! it read before its loop, nor counts a total inside the loop. A thread that stops anywhere holds nothing
//! that another needs.

use std::ops::Deref;

use crate::circuit::{
    Admission, Circuit, Control, Emitted, Outcome, Reported, Start, Step, StepContext, Ticket,
};
use crate::error::Failure;
use crate::outage::Grant;
use crate::outcome::Recorded;
use crate::snapshot::PeerTotals;
use crate::sync::{Arc, AtomicU64, Loaded, Once, Swap, Total};
use crate::time::Tick;
use crate::word::{self, About, FailureRun, Reading, Word};

mod context;
mod counts;
mod feed;
mod latency;
mod latest;
mod link;
mod next_admission;
mod outage;
mod quiet;
mod striped;
mod take;
mod totals;

pub(crate) use context::Context;
use latency::Latency;
use outage::{grant, step_made};
use take::{Call, CallFailure};
pub(crate) use totals::Errors;
use totals::Record;

/// One peer.
///
/// The order of the fields is that of memory. What calls write comes first, with the reference
/// count of the entry that lies before it; what they only read comes last, with the entry's key. The
/// word lies 48 bytes after the count of successes. An allocator places an entry at one of four offsets
/// within a line of cache; at three of them the word and the count lie in different lines.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Tracker {
    succeeded: Total,
    /// The registry's sequence number when the peer was last used.
    last_use: AtomicU64,
    /// How long successes take, as far as known.
    latency: Latency,
    /// What a peer needs that has not always answered.
    record: Once<Record>,
    salt: u64,
    circuit: Swap<Circuit>,
    word: Word,
}

/// A circuit at one moment: a value, or a copy of it with the run that the word had then.
#[derive(Debug)]
pub(crate) struct View {
    value: Loaded<Circuit>,
    copy: Option<Circuit>,
}

impl Deref for View {
    type Target = Circuit;

    #[inline]
    fn deref(&self) -> &Circuit {
        self.copy.as_ref().unwrap_or(&self.value)
    }
}

/// A value, and the word's statement about it.
struct Found {
    value: Loaded<Circuit>,
    /// The reading; `None` for a value of which the word says nothing.
    word: Option<Reading>,
    about: About,
}

impl Tracker {
    /// Returns a tracker that begins as `circuit`. Trackers may share it, since none ever returns to it.
    pub(crate) fn new(circuit: Arc<Circuit>, salt: u64, last_use: u64) -> Self {
        Self {
            succeeded: Total::new(0),
            last_use: AtomicU64::new(last_use),
            latency: Latency::unknown(),
            record: Once::new(),
            salt,
            word: Word::new(circuit.public()),
            circuit: Swap::new(circuit),
        }
    }

    /// Begins as another circuit. Only for a tracker that no other thread has found yet.
    pub(crate) fn begin(&self, circuit: Arc<Circuit>) {
        self.word.begin(circuit.public());
        self.circuit.replace(circuit);
    }

    /// Returns the circuit as it is now.
    #[inline]
    pub(crate) fn circuit(&self) -> View {
        let Found { value, about, .. } = self.value_and_word(self.circuit.load());
        let copy = value.with_run(about);
        View { value, copy }
    }

    /// Returns a value that was loaded, or a later one, and what the word said while it was in place. Inlined, or
    /// each failure would copy what was found.
    #[inline(always)]
    fn value_and_word(&self, mut value: Loaded<Circuit>) -> Found {
        loop {
            // Of a circuit that is not Closed the word says nothing.
            let word = value.public().map(|_| self.word.read());
            let about = word.map_or(About::Silent, |word| word.about(value.epoch));
            if about != About::Replaced {
                return Found { value, word, about };
            }
            value = self.circuit.load();
        }
    }

    /// Makes a step: the thread that installs the new value has made it, alone (R13). The loop reads the
    /// configuration after the value; if the value is still in place at the compare-and-swap, the step is
    /// as if made when the configuration was read (R18). A step that changes nothing answers from both as
    /// each was at some moment of the call.
    fn advance<R>(
        &self,
        context: &Context,
        now: Tick,
        step: impl Fn(&Circuit, StepContext<'_>) -> Step<R>,
    ) -> (R, Emitted) {
        let mut loaded = self.circuit.load();
        loop {
            let found = self.value_and_word(loaded);
            let copy = found.value.with_run(found.about);
            let seen = copy.as_ref().unwrap_or(&found.value);
            let rules = context.rules();
            let at = StepContext { rules: &rules, now, salt: self.salt, held: false };
            let mut made = step(seen, at);
            let trips = rules.outage_limit.is_some() && seen.trips_by(&made.emitted);
            let grant = if trips {
                grant(context, self.successes() > 0 || seen.health.answered, seen, at)
            } else {
                Grant::Free
            };
            if grant == Grant::None {
                made = step(seen, StepContext { held: true, ..at });
            }
            let Some(next) = made.next else { return (made.reply, made.emitted) };
            match self.replace(&found, seen.health.run, next) {
                Ok(()) => {
                    self.count_openings(&made.emitted);
                    let emitted = match rules.outage_limit {
                        None => made.emitted,
                        Some(_) => step_made(context, at, grant, made.emitted),
                    };
                    return (made.reply, emitted);
                }
                Err(other) => {
                    context.outage.give_back(grant);
                    loaded = other;
                }
            }
        }
    }

    /// Replaces the value that was found, with that run: see [`word`](crate::word).
    fn replace(
        &self,
        found: &Found,
        run: FailureRun,
        mut next: Circuit,
    ) -> Result<(), Loaded<Circuit>> {
        let Found { value, word, .. } = found;
        let frozen = match word {
            Some(word) if value.counts() => {
                let frozen = self.word.freeze(*word, value.epoch, run);
                Some(frozen.ok_or_else(|| self.circuit.load())?)
            }
            word => *word,
        };
        next.epoch = word::next(value.epoch);
        let public = next.public();
        // The word stays as it is while an unpublished value is in place.
        let before = public.map(|public| (frozen.unwrap_or_else(|| self.word.read()), public));
        // Pairs with all loads: a thread that sees the new value sees all that led to it.
        self.circuit.compare_and_swap(value, Arc::new(next))?;
        if let Some((frozen, public)) = before {
            self.word.publish(frozen, public);
        }
        Ok(())
    }

    /// Returns the generation of the circuit, if the word is at rest.
    #[inline]
    pub(crate) fn rests(&self) -> Option<u64> {
        self.word.read().generation()
    }

    /// Asks for admission, with a value that was loaded for it. A peer without a streak needs no clock (R1): no
    /// rule asks when the call began (R14), unless the configuration looks for slow calls.
    pub(crate) fn acquire(
        &self,
        context: &Context,
        value: Loaded<Circuit>,
    ) -> (Admission, Emitted) {
        let Found { value: found, about, .. } = self.value_and_word(value);
        let streak = found.run(about).streak;
        if streak == 0 && found.is_spotless() && context.rules().slow_call.is_none() {
            return (Admission::Admitted(Ticket::quiet(found.generation)), Emitted::default());
        }
        let now = context.clock.now();
        if found.rest_of_wait(|| now).is_none() {
            self.touch(now);
        }
        if found.admits_all() {
            // The flag spares most calls the look at the configuration.
            let asked = context.asks_for_starts() && context.rules().asks_for_starts();
            let ticket = found.ticket(Start::at(now, asked), None);
            return (Admission::Admitted(ticket), Emitted::default());
        }
        self.advance(context, now, |circuit, at| circuit.admit(at))
    }

    /// Takes the outcome of a permit, and out of `failure` what it keeps.
    pub(crate) fn settle(
        &self,
        context: &Context,
        ticket: &Ticket,
        outcome: Outcome,
        failure: &mut Option<Failure>,
        latency: Option<u64>,
    ) -> (Recorded, Emitted) {
        let success = outcome == Outcome::Success && latency.is_none();
        if success && self.end_streak(context, ticket.generation) {
            return (Recorded::Counted, Emitted::default());
        }
        let error = CallFailure::Given(failure);
        let (reply, _, emitted) =
            self.take(context, Call { ticket: Some(ticket), outcome, error, latency });
        match reply {
            Reported::Recorded(recorded) => (recorded, emitted),
            // A permit has no report, so these do not occur.
            Reported::Refused | Reported::Now | Reported::Gone => (Recorded::Late, emitted),
        }
    }

    /// Takes a report. Returns the reply, and the number of errors without a success between.
    pub(crate) fn report(
        &self,
        context: &Context,
        outcome: Outcome,
        failure: Option<&Failure>,
    ) -> (Reported<Recorded>, u32, Emitted) {
        let error = CallFailure::Lent(failure);
        self.take(context, Call { ticket: None, outcome, error, latency: None })
    }

    /// Returns what `is_circuit_open` says, and notes a no in a streak (R14).
    pub(crate) fn refuses(&self, context: &Context) -> bool {
        if self.rests().is_some() {
            return false;
        }
        let Found { value: found, about, .. } = self.value_and_word(self.circuit.load());
        let streak = found.run(about).streak;
        if streak == 0 && found.says_no_quietly() {
            return false;
        }
        let now = context.clock.now();
        let refuses = found.refuses(now);
        if streak > 0 && found.tallies() {
            self.record.get_or_make().announce(now);
        }
        if !refuses {
            self.touch(now);
        }
        refuses
    }

    /// Imposes a status. Returns `None` if the tracker was removed.
    pub(crate) fn control(&self, context: &Context, control: Control) -> (Option<()>, Emitted) {
        let successes = self.successes();
        self.advance(context, Tick::default(), |circuit, _| circuit.control(control, successes))
    }

    /// Ends the wait of an open circuit. Returns whether it is open, and may be probed now.
    pub(crate) fn end_wait(&self, context: &Context) -> (bool, Emitted) {
        let now = context.clock.now();
        self.touch(now);
        self.advance(context, now, |circuit, at| circuit.end_wait(at.now))
    }

    /// Takes good news of the peer. Returns whether its circuit is open, and may be probed now. News changes
    /// nothing while the word is at rest.
    pub(crate) fn note_reachable(&self, context: &Context) -> (bool, Emitted) {
        if self.rests().is_some() {
            return (false, Emitted::default());
        }
        let now = context.clock.now();
        self.touch(now);
        self.advance(context, now, |circuit, at| circuit.note_reachable(at))
    }

    /// Ends the last phase. Returns the totals so far, if this call ended it (R27).
    pub(crate) fn remove(&self, context: &Context) -> (Option<PeerTotals>, Emitted) {
        let (ended, emitted) =
            self.advance(context, Tick::default(), |circuit, _| circuit.remove());
        (ended.map(|()| self.take_totals()), emitted)
    }
}
