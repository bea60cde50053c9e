//! The question and the reports of callers that ask for no permit: `is_circuit_open` (R22), and outcomes
//! reported without one (R23, R24).

use super::{Circuit, HalfOpen, Outcome, Phase, Report, Settled, Step, StepContext};
use crate::outcome::Recorded;
use crate::time::Tick;

/// The answer to a report (R23).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reported<R> {
    /// The circuit took the report as an outcome.
    Recorded(R),
    /// The circuit is open and stays open.
    Refused,
    /// The wait was over: half-open began, and the report was no outcome.
    Now,
    /// The tracker was removed; the caller reports to the peer's new one.
    Gone,
}

impl Circuit {
    /// Returns whether `is_circuit_open` returns true (R22).
    pub(crate) fn refuses(&self, now: Tick) -> bool {
        match &self.phase {
            Phase::Open(open) => !open.is_over(now),
            Phase::ForcedOpen(ban) => !ban.is_some_and(|ban| ban.is_over(now)),
            _ => false,
        }
    }

    /// Returns whether `is_circuit_open` returns false whatever the time is (R22).
    #[inline]
    pub(crate) fn says_no_quietly(&self) -> bool {
        !matches!(self.phase, Phase::Open(_) | Phase::ForcedOpen(_) | Phase::Removed)
    }

    /// Takes a report (R23, R24).
    pub(crate) fn report(
        &self,
        report: Report<'_>,
        at: StepContext<'_>,
    ) -> Step<Reported<Settled>> {
        if let Some(lifted) = self.after_ban(at.now) {
            return lifted.report(report, at).after_reset(lifted);
        }
        let success = report.outcome == Outcome::Success;
        let start = Some(report.noted.announced.unwrap_or(at.now));
        match &self.phase {
            Phase::Closed(window) => {
                self.tally(window, start, report, true, at).map(Reported::Recorded)
            }
            Phase::MetricsOnly(window) => {
                self.tally(window, start, report, false, at).map(Reported::Recorded)
            }
            Phase::HalfOpen(half_open) => self.report_half_open(half_open, report, at),
            Phase::Open(open) if open.is_over(at.now) && report.outcome != Outcome::Neutral => {
                let begun = self.begin_half_open(*open, at);
                match &begun.phase {
                    Phase::HalfOpen(half_open) if success => {
                        begun.report_half_open(half_open, report, at).after(begun)
                    }
                    _ => Step::stay(Reported::Now).after(begun),
                }
            }
            Phase::ForcedOpen(Some(ban)) if success => {
                let ban = ban.with_one_more(report.noted.successes);
                let next = self.with_phase(Phase::ForcedOpen(Some(ban)));
                Step::to(next.noted(report), Reported::Recorded(Recorded::Neutral.into()))
            }
            Phase::Open(_) | Phase::ForcedOpen(_) => {
                let settled = Reported::Recorded(Recorded::Neutral.into());
                let refused = !success && self.refuses(at.now);
                let reply = if refused { Reported::Refused } else { settled };
                if self.health.run.noting(report) == self.health.run {
                    return Step::stay(reply);
                }
                Step::to(self.clone().noted(report), reply)
            }
            Phase::Disabled => Step::stay(Reported::Recorded(Recorded::Neutral.into())),
            Phase::Removed => Step::stay(Reported::Gone),
        }
    }

    /// Takes a report: an outcome without a permit needs no slot (R24), and an error reopens (R23).
    pub(super) fn report_half_open(
        &self,
        half_open: &HalfOpen,
        report: Report<'_>,
        at: StepContext<'_>,
    ) -> Step<Reported<Settled>> {
        if report.outcome == Outcome::Failure {
            let health = self.health.noting(report);
            let opened = self.reopen(health, half_open, report.asked_wait(), at);
            return opened.map(|_| Reported::Refused);
        }
        let step = self.judged(half_open.clone(), false, report, at);
        step.map(|recorded| Reported::Recorded(recorded.into()))
    }
}
