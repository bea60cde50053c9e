//! The questions that a circuit answers without a step.

use super::{Circuit, Emitted, Health, Phase};
use crate::config::Window;
use crate::config::rules::Rules;
use crate::event::EventKind;
use crate::outcome::{Status, WindowCounts};
use crate::time::Tick;
use crate::window::Sliding;
use crate::word::{About, FailureRun, Published};

impl Circuit {
    /// Returns what the tracker publishes of it in the [`word`](crate::word); `None` if it is not Closed.
    pub(crate) fn public(&self) -> Option<Published> {
        let Phase::Closed(window) = &self.phase else { return None };
        let (epoch, generation, run) = (self.epoch, self.generation, self.health.run);
        Some(Published { epoch, generation, window: window.is_some(), run })
    }

    /// Returns whether the word may count calls while this value is in place.
    pub(crate) fn counts(&self) -> bool {
        self.public().is_some_and(Published::counts)
    }

    /// Returns its run, from the word where the word decides it.
    pub(crate) fn run(&self, about: About) -> FailureRun {
        match about {
            About::Counting(run) | About::Frozen(run) => run,
            About::Silent | About::Replaced => self.health.run,
        }
    }

    /// Returns a copy with the word's run, if that differs from its own.
    pub(crate) fn with_run(&self, about: About) -> Option<Self> {
        let run = self.run(about);
        let copy = || Self { health: Health { run, ..self.health }, ..self.clone() };
        (run != self.health.run).then(copy)
    }

    /// Returns the window of a Closed phase, if the phase keeps one.
    pub(crate) fn window(&self) -> Option<&Sliding> {
        match &self.phase {
            Phase::Closed(window) => window.as_ref(),
            _ => None,
        }
    }

    /// Returns whether the phase counts outcomes into a streak.
    pub(crate) fn tallies(&self) -> bool {
        matches!(self.phase, Phase::Closed(_) | Phase::MetricsOnly(_))
    }

    /// Returns whether the tracker notes errors: not while the circuit is disabled (R17) or removed.
    pub(crate) fn takes_notes(&self) -> bool {
        !matches!(self.phase, Phase::Disabled | Phase::Removed)
    }

    /// Returns whether it is Closed and no window holds a failure, as far as the circuit knows that without
    /// the time.
    #[inline]
    pub(crate) fn is_spotless(&self) -> bool {
        match &self.phase {
            Phase::Closed(None) => true,
            Phase::Closed(Some(window)) => window.is_spotless(),
            _ => false,
        }
    }

    /// Returns whether the circuit is Closed and keeps no window.
    pub(crate) fn has_no_window(&self) -> bool {
        matches!(self.phase, Phase::Closed(None))
    }

    /// Returns whether a success of this circuit needs no time: the circuit is healthy, no rule looks at a
    /// call's latency, and no window goes by time (R1).
    pub(crate) fn is_timeless(&self, rules: &Rules) -> bool {
        let by_time = matches!(rules.window, Some(Window::Time { .. }));
        self.is_spotless()
            && self.health.run == FailureRun::default()
            && rules.slow_call.is_none()
            && !by_time
    }

    /// Returns whether the circuit holds nothing against the peer (R26).
    pub(crate) fn is_clean(&self, now: Tick) -> bool {
        self.health.run.streak == 0
            && match &self.phase {
                Phase::Closed(_) => self.window_counts(now).failures == 0,
                Phase::ForcedOpen(Some(ban)) => ban.is_over(now),
                _ => false,
            }
    }

    /// Returns whether a step that emits these events opens a Closed circuit.
    pub(crate) fn trips_by(&self, emitted: &Emitted) -> bool {
        matches!(emitted.first(), Some((_, EventKind::Opened { .. })))
            && matches!(self.phase, Phase::Closed(_))
    }

    /// Returns whether the circuit opened and has not closed since; an override does not count (R30).
    pub(crate) fn is_tripped(&self) -> bool {
        matches!(self.phase, Phase::Open(_) | Phase::HalfOpen(_))
    }

    /// Returns whether the circuit is Closed although a rule would have it open: the outage limiter held its
    /// trip back (R30).
    pub(crate) fn is_held_back(&self, rules: &Rules, now: Tick) -> bool {
        match &self.phase {
            Phase::Closed(window) => {
                let rate = window.as_ref().is_some_and(|w| rules.trips(w.counts(now)));
                rate || self.health.run.reaches(rules)
            }
            _ => false,
        }
    }

    #[inline]
    pub(crate) fn is_removed(&self) -> bool {
        matches!(self.phase, Phase::Removed)
    }

    /// Returns whether the circuit is forced open for a time.
    pub(crate) fn is_banned_for_a_time(&self) -> bool {
        matches!(self.phase, Phase::ForcedOpen(Some(_)))
    }

    /// Returns the status; [`Self::after_ban`] decides whether a ban has ended.
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

    /// Returns the counts of the window; in a half-open phase, those of its outcomes (R15).
    pub(crate) fn window_counts(&self, now: Tick) -> WindowCounts {
        match &self.phase {
            Phase::Closed(Some(window)) | Phase::MetricsOnly(Some(window)) => window.counts(now),
            Phase::HalfOpen(half_open) => half_open.counts(),
            _ => WindowCounts::default(),
        }
    }

    pub(crate) fn probes_in_flight(&self) -> usize {
        match &self.phase {
            Phase::HalfOpen(half_open) => half_open.out.len(),
            _ => 0,
        }
    }

    /// Returns the time at which the circuit opened; it is known until the circuit closes.
    pub(crate) fn opened_at(&self) -> Option<Tick> {
        match &self.phase {
            Phase::Open(open) => Some(open.opened_at),
            Phase::HalfOpen(half_open) => Some(half_open.open.opened_at),
            _ => None,
        }
    }
}
