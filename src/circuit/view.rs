//! What can be read off a circuit without a step.

use std::borrow::Cow;

use super::{Core, Phase, Turn, Turns};
use crate::answer::{Status, WindowCounts};
use crate::config::Window;
use crate::rules::Rules;
use crate::time::Tick;

impl Core {
    /// As it is seen now: without a streak, if a success has cleared it.
    pub(crate) fn seen(&self) -> Cow<'_, Self> {
        match self.was_cleared() {
            true => Cow::Owned(self.cleared()),
            false => Cow::Borrowed(self),
        }
    }

    /// Whether a success has ended the streak that it began with; it is at rest since.
    pub(crate) fn was_cleared(&self) -> bool {
        self.may_be_cleared() && self.cleared.is_cleared()
    }

    /// No success clears it any more; whether that leaves it as it was seen, cleared or not.
    pub(crate) fn seal(&self, cleared: bool) -> bool {
        !self.has_no_window() || self.cleared.seal() == cleared
    }

    /// Whether the peer is healthy as far as can be told without knowing the time.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        self.health.streak == 0
            && match &self.phase {
                Phase::Closed(None) => true,
                Phase::Closed(Some(window)) => window.is_spotless(),
                _ => false,
            }
    }

    /// Whether the circuit is Closed and keeps no window.
    pub(crate) fn has_no_window(&self) -> bool {
        matches!(self.phase, Phase::Closed(None))
    }

    /// Whether all that a success would do is to end the streak.
    pub(crate) fn may_be_cleared(&self) -> bool {
        self.has_no_window() && !self.is_at_rest()
    }

    /// Whether an admission and a success change nothing but a total, as long as no configuration
    /// looks at them (R10).
    pub(crate) fn is_at_rest(&self) -> bool {
        self.has_no_window() && self.health.streak == 0 && self.health.retry_attempt == 0
    }

    /// Whether a success of this circuit may be taken without knowing the time: it is healthy, no rule
    /// looks at how long calls take, and none at when they were (R1).
    pub(crate) fn is_timeless(&self, rules: &Rules) -> bool {
        let by_time = matches!(rules.window, Some(Window::Time { .. }));
        self.is_quiet() && self.health.retry_attempt == 0 && rules.slow_call.is_none() && !by_time
    }

    /// Whether nothing is held against the peer (R26).
    pub(crate) fn is_clean(&self, now: Tick) -> bool {
        self.health.streak == 0
            && match &self.phase {
                Phase::Closed(_) => self.window_counts(now).failures == 0,
                Phase::ForcedOpen(Some(ban)) => ban.is_over(now),
                _ => false,
            }
    }

    /// Whether a step with these transitions opens a Closed circuit.
    pub(crate) fn trips_by(&self, turns: &Turns) -> bool {
        matches!(turns[0], Some((_, Turn::Opened { .. }))) && matches!(self.phase, Phase::Closed(_))
    }

    /// Whether the circuit opened and has not closed since; an override does not count (R30).
    pub(crate) fn is_tripped(&self) -> bool {
        matches!(self.phase, Phase::Open(_) | Phase::HalfOpen(_))
    }

    /// Whether the circuit is Closed although a rule would have it open: its trip was held back
    /// (R30).
    pub(crate) fn is_held_back(&self, rules: &Rules, now: Tick) -> bool {
        match &self.phase {
            Phase::Closed(window) => {
                let rate = window.as_ref().is_some_and(|w| rules.trips(w.counts(now)));
                rate || self.health.reaches(rules)
            }
            _ => false,
        }
    }

    /// Whether `is_circuit_open` says no whatever the time is, and leaves no note (R14, R22).
    #[inline]
    pub(crate) fn says_no_quietly(&self) -> bool {
        self.health.streak == 0
            && !matches!(self.phase, Phase::Open(_) | Phase::ForcedOpen(_) | Phase::Removed)
    }

    #[inline]
    pub(crate) fn is_removed(&self) -> bool {
        matches!(self.phase, Phase::Removed)
    }

    /// Whether it is forced open for a time.
    pub(crate) fn is_banned_for_a_time(&self) -> bool {
        matches!(self.phase, Phase::ForcedOpen(Some(_)))
    }

    /// Where it stands; that a ban has ended is for [`Self::after_ban`] to say.
    pub(crate) fn status(&self) -> Status {
        match self.phase {
            Phase::Closed(_) | Phase::Removed => Status::Closed,
            Phase::Open(_) => Status::Open,
            Phase::HalfOpen(_) => Status::HalfOpen,
            Phase::ForcedOpen(_) => Status::ForcedOpen,
            Phase::Disabled => Status::Disabled,
            Phase::MetricsOnly(_) => Status::MetricsOnly,
        }
    }

    /// The counts of the window; in a half-open phase, those of its verdicts (R15).
    pub(crate) fn window_counts(&self, now: Tick) -> WindowCounts {
        match &self.phase {
            Phase::Closed(Some(window)) | Phase::MetricsOnly(Some(window)) => window.counts(now),
            Phase::HalfOpen(trial) => trial.counts(),
            _ => WindowCounts::default(),
        }
    }

    pub(crate) fn probes_in_flight(&self) -> usize {
        match &self.phase {
            Phase::HalfOpen(trial) => trial.out.len(),
            _ => 0,
        }
    }

    /// When the circuit opened; known until it is closed.
    pub(crate) fn opened_at(&self) -> Option<Tick> {
        match &self.phase {
            Phase::Open(spell) => Some(spell.opened_at),
            Phase::HalfOpen(trial) => Some(trial.spell.opened_at),
            _ => None,
        }
    }
}
