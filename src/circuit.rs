//! One peer's circuit: an immutable value, and pure steps from one value to the next.
//!
//! ```text
//!            trip                    wait over, first admission or report
//!  Closed ---------> Open ------------------------------------------------> HalfOpen
//!    ^                ^                                                      |   |
//!    |                |   failed probe, rate reached, a probe that hangs     |   |
//!    |                +------------------------------------------------------+   |
//!    |              enough successes, rate not reached, or good until half_open_max
//!    +---------------------------------------------------------------------------+
//!  controls: any -> ForcedOpen | Disabled | MetricsOnly | Closed (reset); any -> Removed
//!  ForcedOpen for a time -> Closed (reset): first admission or report after that
//! ```
//!
//! A step takes a [`Circuit`] and returns the value that follows it, the answer to the caller, and the
//! events of its transitions; a step reads no clock, takes no lock and has no effect. The thread that
//! installs the new value by a compare-and-swap has made the step, and it alone reports the events (R13). A
//! circuit is one value, so admission, slot count, deadline and generation change together (R4), and a
//! snapshot shows one state.
//!
//! Every transition and every control begins a new phase with the next generation. A permit names the
//! generation that gave it, so the circuit recognises an outcome of an earlier phase as late (R9).

use std::time::Duration;

use crate::config::rules::Rules;
use crate::error::Failure;
use crate::outcome::{Reason, Recorded, Refused};
use crate::sync::Arc;
use crate::time::{Tick, nanos};
use crate::window::{Sample, Sliding};
use crate::word::FailureRun;

mod closed;
mod control;
mod half_open;
mod news;
mod open;
mod query;
mod report;
mod saved;
mod step;
mod ticket;

pub(crate) use control::{Ban, Control};
pub(crate) use half_open::HalfOpen;
pub(crate) use news::News;
pub(crate) use open::Open;
pub(crate) use report::Reported;
pub(crate) use step::{Emitted, Step};
pub(crate) use ticket::{Start, Ticket};

/// The state of a circuit that threads must see together.
#[derive(Debug, Clone)]
pub(crate) struct Circuit {
    /// The number of this value among those of its tracker (see [`word`](crate::word)); no step reads it.
    pub(crate) epoch: u32,
    pub(crate) generation: u64,
    pub(crate) phase: Phase,
    pub(crate) health: Health,
}

/// One stay in one status.
#[derive(Debug, Clone)]
pub(crate) enum Phase {
    Closed(Option<Sliding>),
    Open(Open),
    HalfOpen(Box<HalfOpen>),
    /// The phase lasts until a reset, or until the ban ends.
    ForcedOpen(Option<Ban>),
    Disabled,
    MetricsOnly(Option<Sliding>),
    /// The tracker has left the table; no phase follows.
    Removed,
}

/// The part of the state that outlasts a phase, and where the counts outside the circuit begin.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Health {
    /// The failures in a row; while Open and HalfOpen, those of the trip.
    pub(crate) run: FailureRun,
    /// The time of the last failure that a step counted (R14).
    pub(crate) failed_at: Tick,
    /// The number of resets; errors of an earlier era are not shown.
    pub(crate) era: u32,
    /// Whether the peer answered an earlier process; no phase and no reset ends it.
    pub(crate) answered: bool,
    /// The total of successes at the last reset.
    pub(crate) successes_before: u64,
}

/// The outcome of a call, or what a caller reported without a permit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report<'a> {
    pub(crate) outcome: Outcome,
    pub(crate) failure: Option<&'a Failure>,
    pub(crate) latency: Option<u64>,
    /// The notes that the tracker keeps outside the circuit.
    pub(crate) noted: Noted,
}

/// What a step needs of the notes that the tracker keeps outside the circuit.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Noted {
    /// The successes so far, for display.
    pub(crate) successes: u64,
    /// The time of the last failure that the word counted without a step (R14).
    pub(crate) failed_at: Tick,
    /// The time at which `is_circuit_open` last returned false in a streak, after the last failure (R14).
    pub(crate) announced: Option<Tick>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    Failure,
    Neutral,
    Dropped,
}

impl Report<'_> {
    pub(crate) fn asked_wait(&self) -> Option<u64> {
        let failure = self.failure.filter(|_| self.outcome == Outcome::Failure)?;
        failure.retry_after().map(nanos)
    }
}

/// The inputs of a step: one configuration (R18), one moment, the peer's salt, the outage limiter's word.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepContext<'a> {
    pub(crate) rules: &'a Arc<Rules>,
    pub(crate) now: Tick,
    /// The hash of the registry's seed and the peer.
    pub(crate) salt: u64,
    /// Whether the outage limiter holds a trip back (R30).
    pub(crate) held: bool,
}

impl StepContext<'_> {
    /// Returns the start of a call that is admitted now.
    fn start(self) -> Start {
        Start::at(self.now, self.rules.asks_for_starts())
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Admission {
    Admitted(Ticket),
    Refused(Refused),
    /// The tracker was removed; the caller asks the peer's new one.
    Gone,
}

/// The answer to an outcome, and the sample that the thread adds to the phase's window once it has made the
/// step.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) recorded: Recorded,
    pub(crate) feed: Option<(Sliding, Sample)>,
}

impl From<Recorded> for Settled {
    fn from(recorded: Recorded) -> Self {
        Self { recorded, feed: None }
    }
}

impl Circuit {
    pub(crate) fn new(generation: u64) -> Self {
        Self { epoch: 0, generation, phase: Phase::Closed(None), health: Health::default() }
    }

    /// Returns this circuit in the same phase with another state.
    fn with_phase(&self, phase: Phase) -> Self {
        Self { epoch: self.epoch, generation: self.generation, phase, health: self.health }
    }

    /// Returns this circuit in its next phase.
    fn turned(&self, phase: Phase) -> Self {
        Self { generation: self.generation.saturating_add(1), ..self.with_phase(phase) }
    }

    /// Returns whether the circuit admits every call, and changes nothing by that.
    pub(crate) fn admits_all(&self) -> bool {
        matches!(self.phase, Phase::Closed(_) | Phase::MetricsOnly(_) | Phase::Disabled)
    }

    /// Admits a call or refuses it (R2, R3, R5, R6).
    pub(crate) fn admit(&self, at: StepContext<'_>) -> Step<Admission> {
        let refused = |reason, after: u64| {
            let rest = Duration::from_nanos(after);
            Step::stay(Admission::Refused(Refused::new(reason, Some(rest))))
        };
        match &self.phase {
            Phase::Closed(_) | Phase::MetricsOnly(_) | Phase::Disabled => {
                Step::stay(Admission::Admitted(self.ticket(at.start(), None)))
            }
            Phase::Open(open) => self.admit_open(open, at),
            Phase::HalfOpen(half_open) => self.admit_half_open(half_open, at),
            Phase::ForcedOpen(Some(ban)) => match self.after_ban(at.now) {
                Some(lifted) => lifted.admit(at).after_reset(lifted),
                None => refused(Reason::ForcedOpen, ban.ends.since(at.now)),
            },
            Phase::ForcedOpen(None) => {
                Step::stay(Admission::Refused(Refused::new(Reason::ForcedOpen, None)))
            }
            Phase::Removed => Step::stay(Admission::Gone),
        }
    }

    /// Takes the outcome of a permit (R8 to R12).
    pub(crate) fn settle(
        &self,
        ticket: Ticket,
        report: Report<'_>,
        at: StepContext<'_>,
    ) -> Step<Settled> {
        if self.is_late(&ticket) {
            return Step::stay(Recorded::Late.into());
        }
        match &self.phase {
            Phase::Closed(window) => self.tally(window, ticket.start.asked(), report, true, at),
            Phase::MetricsOnly(window) => {
                self.tally(window, ticket.start.asked(), report, false, at)
            }
            Phase::HalfOpen(half_open) => self.settle_half_open(half_open, ticket, report, at),
            Phase::Disabled => Step::stay(Recorded::Neutral.into()),
            // These phases give no permits.
            Phase::Open(_) | Phase::ForcedOpen(_) | Phase::Removed => {
                Step::stay(Recorded::Late.into())
            }
        }
    }

    /// Counts the report's error, or clears the errors that a success ends.
    fn noted(mut self, report: Report<'_>) -> Self {
        self.health.run = self.health.run.noting(report);
        self
    }

    fn close(&self) -> Self {
        self.turned(Phase::Closed(None)).without_streak()
    }

    fn without_streak(mut self) -> Self {
        self.health.run.streak = 0;
        self
    }
}
