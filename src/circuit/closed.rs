//! The outcomes of a phase that admits every call: Closed and MetricsOnly.

use std::time::Duration;

use super::{Circuit, Health, News, Outcome, Phase, Report, Settled, Step, StepContext};
use crate::config::rules::Rules;
use crate::outcome::{Recorded, WindowCounts};
use crate::time::Tick;
use crate::window::{Sample, Sliding};
use crate::word::FailureRun;

impl Circuit {
    /// Takes an outcome of this phase into streak and window, and opens the circuit where the streak trips
    /// it (R10, R12, R14, R15). Without `trips` no streak trips the circuit (R17, metrics_only).
    pub(super) fn tally(
        &self,
        window: &Option<Sliding>,
        start: Option<Tick>,
        report: Report<'_>,
        trips: bool,
        at: StepContext<'_>,
    ) -> Step<Settled> {
        match report.outcome {
            Outcome::Success => {
                let health = Health { run: FailureRun::default(), ..self.health };
                self.fed(health, window, report, at)
            }
            Outcome::Failure => {
                let health = self.health.failed(start, report, at);
                let trips = trips && health.run.reaches(at.rules);
                if trips && !at.held {
                    return self
                        .open(health, 0, report.asked_wait(), News::default(), at)
                        .map(|retry_after| Recorded::Opened { retry_after }.into());
                }
                let counted = self.fed(health, window, report, at);
                if trips { counted.held_back(self.generation) } else { counted }
            }
            Outcome::Neutral if report.failure.is_some() => {
                Step::to(self.clone().noted(report), Recorded::Neutral.into())
            }
            Outcome::Neutral | Outcome::Dropped => Step::stay(Recorded::Neutral.into()),
        }
    }

    /// Completes the step with what the window needs: a window of the right shape in the value, and the
    /// sample that the thread adds once it has made the step (R15, R18).
    fn fed(
        &self,
        health: Health,
        window: &Option<Sliding>,
        report: Report<'_>,
        at: StepContext<'_>,
    ) -> Step<Settled> {
        let needed = Sliding::needed(window.as_ref(), at.rules, at.now);
        let target = needed.as_ref().unwrap_or(window);
        let settled = Settled {
            recorded: Recorded::Counted,
            feed: target.clone().map(|window| (window, report.sample(at.rules))),
        };
        if needed.is_none() && health.decides_as(&self.health) {
            return Step::stay(settled);
        }
        let mut next = Self { health, ..self.clone() };
        if let (Some(new), Phase::Closed(slot) | Phase::MetricsOnly(slot)) =
            (needed, &mut next.phase)
        {
            *slot = new;
        }
        Step::to(next, settled)
    }

    /// Opens the circuit if these counts of the window of `generation` reach a rate, and that phase still
    /// lasts (R15). Replies with the wait if this step opened it.
    pub(crate) fn trip(
        &self,
        generation: u64,
        counts: WindowCounts,
        asked: Option<u64>,
        at: StepContext<'_>,
    ) -> Step<Option<Duration>> {
        let lasts = self.generation == generation && matches!(self.phase, Phase::Closed(_));
        if !(lasts && at.rules.trips(counts)) {
            return Step::stay(None);
        }
        if at.held {
            return Step::stay(None).held_back(generation);
        }
        self.open(self.health, 0, asked, News::default(), at).map(Some)
    }
}

impl Report<'_> {
    /// Returns the sample that a window counts.
    pub(crate) fn sample(&self, rules: &Rules) -> Sample {
        Sample { failed: self.outcome == Outcome::Failure, slow: rules.is_slow(self.latency) }
    }
}

impl FailureRun {
    /// Counts the report's error, or clears the errors that a success ends.
    pub(super) fn noting(self, report: Report<'_>) -> Self {
        match report.outcome {
            Outcome::Success => Self { errors: 0, ..self },
            _ => self.erring(report.failure.is_some()),
        }
    }
}

impl Health {
    pub(super) fn noting(self, report: Report<'_>) -> Self {
        Self { run: self.run.noting(report), ..self }
    }

    fn decides_as(&self, other: &Self) -> bool {
        (self.run, self.failed_at) == (other.run, other.failed_at)
    }

    /// Counts one more failure in a row, or the first of a new row: a streak is broken when more than the
    /// `streak_gap` passed between its last failure and the start of this call (R14). A call without a noted start
    /// began before the streak did.
    fn failed(self, start: Option<Tick>, report: Report<'_>, at: StepContext<'_>) -> Self {
        let longest = at.rules.streak_gap;
        let last = self.failed_at.max(report.noted.failed_at);
        let gap = start.map_or(0, |start| start.since(last));
        let broken = longest > 0 && gap > longest;
        let row = if broken { FailureRun { streak: 0, ..self.run } } else { self.run };
        Self { run: row.failed(report.failure.is_some()), failed_at: last.max(at.now), ..self }
    }
}
