//! The steps that no call makes: an operator's control (R17), and a removal (R27).

use super::{Circuit, Health, Phase, Step};
use crate::event::EventKind;
use crate::outcome::Status;
use crate::time::Tick;

/// The controls of an operator (R17).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    ForceOpen,
    /// From that moment on (inclusive) the circuit reads as after a reset.
    ForceOpenUntil(Tick),
    Disable,
    MetricsOnly,
    Reset,
}

impl Control {
    fn event(self) -> EventKind {
        EventKind::Overridden(match self {
            Self::ForceOpen | Self::ForceOpenUntil(_) => Status::ForcedOpen,
            Self::Disable => Status::Disabled,
            Self::MetricsOnly => Status::MetricsOnly,
            Self::Reset => return EventKind::Reset,
        })
    }
}

/// A stay in ForcedOpen that has an end. Time alone writes nothing: until the next step the value stays in
/// place, and reads as it will be after that step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ban {
    pub(super) ends: Tick,
    /// The successes up to the ban's end, for display; they say nothing of the time after it.
    successes: u64,
}

impl Ban {
    /// Returns a ban that ends then, of a peer without a success before.
    pub(super) fn until(ends: Tick) -> Self {
        Self { ends, successes: 0 }
    }

    pub(super) fn is_over(self, now: Tick) -> bool {
        now >= self.ends
    }

    /// Returns the ban after one more reported success, on top of `successes` before it.
    pub(super) fn with_one_more(self, successes: u64) -> Self {
        Self { successes: successes.saturating_add(1), ..self }
    }
}

impl Circuit {
    /// Imposes a status or lifts it (R17). Replies `None` if the tracker was removed.
    pub(crate) fn control(&self, control: Control, successes: u64) -> Step<Option<()>> {
        let phase = match (&self.phase, control) {
            (Phase::Removed, _) => return Step::stay(None),
            (_, Control::ForceOpen) => Phase::ForcedOpen(None),
            (_, Control::ForceOpenUntil(ends)) => Phase::ForcedOpen(Some(Ban { ends, successes })),
            (_, Control::Disable) => Phase::Disabled,
            (_, Control::MetricsOnly) => Phase::MetricsOnly(None),
            (_, Control::Reset) => {
                return Step::emit(self.reset(successes), control.event(), Some(()));
            }
        };
        let next = self.turned(phase).without_streak();
        Step::emit(next, control.event(), Some(()))
    }

    /// Returns the circuit Closed and with a clean record; the all-time totals stay.
    fn reset(&self, successes: u64) -> Self {
        let era = self.health.era.wrapping_add(1);
        let answered = self.health.answered;
        let health = Health { era, answered, successes_before: successes, ..Health::default() };
        Self { health, ..self.turned(Phase::Closed(None)) }
    }

    /// Returns the circuit after a reset if it was forced open until `now` or earlier (R17).
    pub(crate) fn after_ban(&self, now: Tick) -> Option<Self> {
        match self.phase {
            Phase::ForcedOpen(Some(ban)) if ban.is_over(now) => Some(self.reset(ban.successes)),
            _ => None,
        }
    }

    /// Ends the tracker's last phase (R27); replies `None` if an earlier step ended it.
    pub(crate) fn remove(&self) -> Step<Option<()>> {
        if matches!(self.phase, Phase::Removed) {
            return Step::stay(None);
        }
        let next = Self { health: Health::default(), ..self.turned(Phase::Removed) };
        Step::emit(next, EventKind::Removed, Some(()))
    }
}
