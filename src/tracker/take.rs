//! Takes an outcome or a report: the word counts it, or a step of the circuit takes it; then the window
//! gets its sample, and the totals beside the circuit count it, once.

use super::outage::{answers, relieved};
use super::{Context, Found, Tracker};
use crate::circuit::{
    Circuit, Emitted, Noted, Outcome, Report, Reported, Settled, Step, StepContext, Ticket,
};
use crate::config::Window;
use crate::error::Failure;
use crate::outcome::Recorded;
use crate::time::Tick;
use crate::window::{Sample, Sliding};
use crate::word::{About, FailureRun, Published};

/// The outcome of a permit, or a report without one.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) ticket: Option<&'a Ticket>,
    pub(super) outcome: Outcome,
    pub(super) error: CallFailure<'a>,
    /// The latency that the caller stated.
    pub(super) latency: Option<u64>,
}

/// The error of a call, if it has one. It stays where its caller has it until the tracker keeps it.
#[derive(Debug)]
pub(super) enum CallFailure<'a> {
    Given(&'a mut Option<Failure>),
    Lent(Option<&'a Failure>),
}

impl CallFailure<'_> {
    fn get(&self) -> Option<&Failure> {
        match self {
            Self::Given(failure) => failure.as_ref(),
            Self::Lent(failure) => *failure,
        }
    }

    pub(super) fn take(self) -> Option<Failure> {
        match self {
            Self::Given(failure) => failure.take(),
            Self::Lent(failure) => failure.cloned(),
        }
    }
}

/// What became of a call that the word or a step has taken.
#[derive(Debug)]
struct Taken {
    reported: Reported<Settled>,
    generation: u64,
    /// The errors without a success between, before this one.
    errors: u32,
    /// The era that counts the error; `None` if none does.
    era: Option<u32>,
    /// Whether it is a success of a peer whose trip was held back (R30).
    answers: bool,
}

impl Call<'_> {
    pub(super) fn is_success(&self) -> bool {
        self.outcome == Outcome::Success
    }

    pub(super) fn latency(&self, now: Tick) -> Option<u64> {
        let start = self.ticket.and_then(|ticket| ticket.start.time());
        self.latency.or(start.map(|start| now.since(start)))
    }

    /// Returns the call as steps and windows take it, without the notes beside the circuit.
    fn report(&self, now: Option<Tick>) -> Report<'_> {
        Report {
            outcome: self.outcome,
            failure: self.error.get(),
            latency: now.map_or(self.latency, |now| self.latency(now)),
            noted: Noted::default(),
        }
    }
}

impl Tracker {
    /// Takes the call. Returns the reply, and the number of the error among those without a success
    /// between.
    pub(super) fn take(
        &self,
        context: &Context,
        call: Call<'_>,
    ) -> (Reported<Recorded>, u32, Emitted) {
        // A success is tried without a look at the time (R1).
        let mut now = (!call.is_success()).then(|| context.clock.now());
        // Each branch finishes the call by itself, or the compiler would copy `Taken` out of both.
        if let Some(taken) = self.count(context, &call, now) {
            return self.finish(context, call, now, taken, Emitted::default());
        }
        let (taken, emitted) = self.take_by_step(context, &call, &mut now);
        self.finish(context, call, now, taken, emitted)
    }

    /// Completes a call that was taken: its sample, its part in an outage, and its counts.
    #[inline]
    fn finish(
        &self,
        context: &Context,
        call: Call<'_>,
        now: Option<Tick>,
        taken: Taken,
        emitted: Emitted,
    ) -> (Reported<Recorded>, u32, Emitted) {
        let attempt = taken.errors.saturating_add(1);
        let (reply, emitted) = match taken.reported {
            Reported::Recorded(settled) => {
                let (generation, Settled { recorded, feed }) = (taken.generation, settled);
                let (recorded, emitted) = match feed {
                    None => (recorded, emitted),
                    Some(feed) => {
                        let asked = call.report(now).asked_wait();
                        self.feed(context, now, generation, asked, feed, (recorded, emitted))
                    }
                };
                let emitted = match taken.answers {
                    false => emitted,
                    true => relieved(context, recorded, generation, emitted),
                };
                (Reported::Recorded(recorded), emitted)
            }
            Reported::Refused => (Reported::Refused, emitted),
            Reported::Now => (Reported::Now, emitted),
            Reported::Gone => return (Reported::Gone, attempt, emitted),
        };
        self.note(context, call, &reply, taken.era, now);
        (reply, attempt, emitted)
    }

    /// Reads the clock, and records a use at that time.
    fn touch_now(&self, context: &Context) -> Tick {
        let now = context.clock.now();
        self.touch(now);
        now
    }

    /// Takes the call by a step of the circuit, or counts it in the word once the time is known.
    #[inline(never)]
    fn take_by_step(
        &self,
        context: &Context,
        call: &Call<'_>,
        now: &mut Option<Tick>,
    ) -> (Taken, Emitted) {
        let noted = self.noted();
        loop {
            let report = Report { noted, ..call.report(*now) };
            if let Some(decided) = self.decide(context, call.ticket, report, *now) {
                return decided;
            }
            *now = Some(self.touch_now(context));
            if let Some(taken) = self.count(context, call, *now) {
                return (taken, Emitted::default());
            }
        }
    }

    /// Takes the call by a step; `None` if that step needs the time.
    fn decide(
        &self,
        context: &Context,
        ticket: Option<&Ticket>,
        report: Report<'_>,
        now: Option<Tick>,
    ) -> Option<(Taken, Emitted)> {
        let (taken, emitted) = self.advance(context, now.unwrap_or_default(), |circuit, at| {
            if now.is_none() && !circuit.is_timeless(at.rules) {
                return Step::stay(None);
            }
            step(circuit, ticket, report, at).map(Some)
        });
        taken.map(|taken| (taken, emitted))
    }

    /// Counts a call that changes the run of a Closed circuit alone; `None` if it may change more.
    fn count(&self, context: &Context, call: &Call<'_>, now: Option<Tick>) -> Option<Taken> {
        if call.outcome == Outcome::Failure
            && let errs = call.error.get().is_some()
            && let Some(counted) = self.extend_streak(context, call.ticket, errs)
        {
            let (generation, errors, era) = counted;
            let reported = Reported::Recorded(Recorded::Counted.into());
            return Some(Taken { reported, generation, errors, era: Some(era), answers: false });
        }
        loop {
            let Found { value, word, about } = self.value_and_word(self.circuit.load());
            let (About::Counting(run), Some(word)) = (about, word) else { return None };
            let public = value.public()?;
            if call.ticket.is_some_and(|ticket| value.is_late(ticket)) {
                return None;
            }
            let (next, feed) = match value.window() {
                None if call.is_success() && !context.looks_at_successes() => {
                    (FailureRun::default(), None)
                }
                window => self.run_after(context, call, now, run, window)?,
            };
            if next == run || self.word.count(word, Published { run: next, ..public })? {
                if let (true, Some(rest)) = (next != FailureRun::default(), public.at_rest()) {
                    self.record.get_or_make().know_rest(rest, value.health.era);
                }
                let recorded = match call.outcome {
                    Outcome::Success | Outcome::Failure => Recorded::Counted,
                    Outcome::Neutral | Outcome::Dropped => Recorded::Neutral,
                };
                return Some(Taken {
                    reported: Reported::Recorded(Settled { recorded, feed }),
                    generation: value.generation,
                    errors: run.errors,
                    era: Some(value.health.era),
                    answers: call.is_success() && context.limits_outages() && {
                        let counted = value.with_run(about);
                        let seen = counted.as_ref().unwrap_or(&value);
                        let now = now.unwrap_or_default();
                        answers(seen, call.outcome, &context.rules(), now)
                    },
                });
            }
        }
    }

    /// Returns the run after the call, and the window's sample; `None` if the call may change more. This
    /// reads the rules after the word: if the word is still the same at the compare-and-swap, the call is as
    /// if counted when the rules were read (R18).
    fn run_after(
        &self,
        context: &Context,
        call: &Call<'_>,
        now: Option<Tick>,
        run: FailureRun,
        window: Option<&Sliding>,
    ) -> Option<(FailureRun, Option<(Sliding, Sample)>)> {
        let rules = context.rules();
        let by_time = matches!(rules.window, Some(Window::Time { .. }));
        if now.is_none() && (by_time || rules.slow_call.is_some()) {
            return None;
        }
        let errs = call.error.get().is_some();
        let next = match call.outcome {
            Outcome::Success => FailureRun::default(),
            Outcome::Failure if rules.streak_gap > 0 => return None,
            Outcome::Failure => run.failed(errs),
            Outcome::Neutral | Outcome::Dropped => return Some((run.erring(errs), None)),
        };
        let trips = call.outcome == Outcome::Failure && next.reaches(&rules);
        let shape = Sliding::needed(window, &rules, now.unwrap_or_default());
        if trips || shape.is_some() {
            return None;
        }
        if call.outcome == Outcome::Failure && rules.outage_limit.is_some() {
            context.outage.count_on(&rules, now.unwrap_or_default());
        }
        let feed = window.map(|window| (window.clone(), call.report(now).sample(&rules)));
        Some((next, feed))
    }
}

impl Taken {
    fn from(circuit: &Circuit, reported: Reported<Settled>, answers: bool) -> Self {
        let era = circuit.takes_notes().then_some(circuit.health.era);
        let (generation, errors) = (circuit.generation, circuit.health.run.errors);
        Self { reported, generation, errors, era, answers }
    }
}

/// Returns the step of an outcome or a report.
fn step(
    circuit: &Circuit,
    ticket: Option<&Ticket>,
    report: Report<'_>,
    at: StepContext<'_>,
) -> Step<Taken> {
    let lifted = if ticket.is_none() { circuit.after_ban(at.now) } else { None };
    let seen = lifted.as_ref().unwrap_or(circuit);
    let answers = answers(seen, report.outcome, at.rules, at.now);
    let step = match ticket {
        Some(ticket) => circuit.settle(*ticket, report, at).map(Reported::Recorded),
        None => circuit.report(report, at),
    };
    step.map(|reported| Taken::from(seen, reported, answers))
}
