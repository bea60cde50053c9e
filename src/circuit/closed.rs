//! Calls to a peer whose circuit is Closed, or that is only being measured.

use super::{At, Core, Health, News, Outcome, Phase, Settled, Step, Verdict};
use crate::answer::Recorded;
use crate::error::Failure;
use crate::rules::Rules;
use crate::time::Tick;
use crate::window::{Sample, Sliding};

impl Core {
    /// Takes an outcome of this phase: streak, trip by streak, and what the window is to be fed
    /// (R10, R12, R14, R15). Without `trips` the circuit stays as it is (R17, metrics_only).
    pub(super) fn tally(
        &self,
        window: &Option<Sliding>,
        start: Option<Tick>,
        outcome: Outcome<'_>,
        trips: bool,
        at: At<'_>,
    ) -> Step<Settled> {
        match outcome.verdict {
            Verdict::Success if self.health.streak == 0 && self.health.retry_attempt == 0 => {
                self.fed(None, window, outcome, at)
            }
            Verdict::Success => self.fed(Some(self.cleared()), window, outcome, at),
            Verdict::Failure => {
                let mut next = self.noted(outcome, at.now);
                next.health.extend_streak(start, at);
                let trips = trips && next.health.reaches(at.rules);
                if trips && !at.held {
                    return next
                        .open(0, outcome.asked_wait(), News::default(), at)
                        .map(|retry_after| Recorded::Opened { retry_after }.into());
                }
                let counted = self.fed(Some(next), window, outcome, at);
                if trips { counted.held_back(self.generation) } else { counted }
            }
            Verdict::Neutral if outcome.failure.is_some() => {
                Step::to(self.noted(outcome, at.now), Recorded::Neutral.into())
            }
            Verdict::Neutral | Verdict::Dropped => Step::stay(Recorded::Neutral.into()),
        }
    }

    /// A success: what it clears (R10).
    pub(crate) fn cleared(&self) -> Self {
        let mut next = self.clone();
        next.health.streak = 0;
        next.health.retry_attempt = 0;
        next.health.announced = None;
        next
    }

    /// Adds to the step what the window needs: a window of the right shape in the value, and the
    /// sample for whoever makes the step (R15, R18).
    fn fed(
        &self,
        next: Option<Self>,
        window: &Option<Sliding>,
        outcome: Outcome<'_>,
        at: At<'_>,
    ) -> Step<Settled> {
        let next = match next {
            Some(next) if window.is_none() && at.rules.window.is_none() => {
                return Step::to(next, Recorded::Counted.into());
            }
            next => next,
        };
        let needed = Sliding::needed(window.as_ref(), at.rules, at.now);
        let sample = Sample {
            failed: outcome.verdict == Verdict::Failure,
            slow: at.rules.is_slow(outcome.latency),
        };
        let target = needed.as_ref().unwrap_or(window).clone();
        let settled =
            Settled { recorded: Recorded::Counted, feed: target.map(|window| (window, sample)) };
        match (next, needed) {
            (None, None) => Step::stay(settled),
            (next, needed) => {
                let mut next = next.unwrap_or_else(|| self.clone());
                if let (Some(new), Phase::Closed(slot) | Phase::MetricsOnly(slot)) =
                    (needed, &mut next.phase)
                {
                    *slot = new;
                }
                Step::to(next, settled)
            }
        }
    }
}

impl Health {
    /// Whether so many failures in a row open a circuit (R14).
    pub(super) fn reaches(&self, rules: &Rules) -> bool {
        rules.streak.is_some_and(|threshold| self.streak >= threshold)
    }

    /// With the error noted, or without what a success clears.
    pub(super) fn noted(&self, outcome: Outcome<'_>, now: Tick) -> Self {
        let mut next = match (outcome.verdict, outcome.failure) {
            (Verdict::Success, _) => Self { retry_attempt: 0, ..self.clone() },
            (_, Some(failure)) => Self {
                errors: self.errors.saturating_add(1),
                retry_attempt: self.retry_attempt.saturating_add(1),
                successes_before: outcome.successes,
                last_error: Some((now, Failure::kept(failure))),
                ..*self
            },
            (_, None) => self.clone(),
        };
        next.count(outcome);
        next
    }

    /// The all-time totals that belong to the value; successes and drops are counted beside it.
    pub(super) fn count(&mut self, outcome: Outcome<'_>) {
        let counter = match outcome.verdict {
            Verdict::Failure | Verdict::Neutral if outcome.reported => &mut self.reported,
            Verdict::Failure => &mut self.failed,
            _ => return,
        };
        *counter = counter.saturating_add(1);
    }

    /// One more failure in a row, or the first of a new row: a streak is broken when more than
    /// the window passed between its last failure and the start of this call (R14). A call whose
    /// start nobody noted began before the streak did.
    fn extend_streak(&mut self, start: Option<Tick>, at: At<'_>) {
        let window = at.rules.streak_window;
        let gap = start.map_or(0, |start| start.since(self.failed_at));
        let broken = window > 0 && gap > window;
        self.streak = if broken { 1 } else { self.streak.saturating_add(1) };
        self.failed_at = self.failed_at.max(at.now);
        self.announced = None;
    }
}
