//! The ticket of a permit: the phase that admitted a call, so that its outcome is recognised as late (R9).

use super::Circuit;
use crate::time::Tick;

/// The phase that a permit belongs to, and the permit's probe slot in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) generation: u64,
    pub(crate) start: Start,
    pub(crate) probe: Option<u32>,
}

/// The time of an admission, as far as the clock was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Unread,
    /// No rule asked when calls begin: this breaks no streak, though a rule may ask by now (R14).
    Read(Tick),
    Asked(Tick),
}

impl Start {
    pub(crate) fn at(now: Tick, asked: bool) -> Self {
        if asked { Self::Asked(now) } else { Self::Read(now) }
    }

    /// Returns the time, if it is known.
    pub(crate) fn time(self) -> Option<Tick> {
        match self {
            Self::Unread => None,
            Self::Read(now) | Self::Asked(now) => Some(now),
        }
    }

    /// Returns the time by which a streak may be broken (R14).
    pub(crate) fn asked(self) -> Option<Tick> {
        match self {
            Self::Asked(now) => Some(now),
            Self::Unread | Self::Read(_) => None,
        }
    }
}

impl Ticket {
    /// A ticket that was given without reading the clock.
    #[inline]
    pub(crate) fn quiet(generation: u64) -> Self {
        Self { generation, start: Start::Unread, probe: None }
    }
}

impl Circuit {
    pub(crate) fn ticket(&self, start: Start, probe: Option<u32>) -> Ticket {
        Ticket { generation: self.generation, start, probe }
    }

    /// Returns whether the phase that gave this ticket is over (R9).
    pub(crate) fn is_late(&self, ticket: &Ticket) -> bool {
        ticket.generation != self.generation
    }
}
