//! The ticket of a permit: the phase that admitted a call, so that its outcome is recognised as late (R9).

use super::Circuit;
use crate::time::Tick;

/// The phase that a permit belongs to, and the permit's probe slot in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) generation: u64,
    /// The time of admission; `None` where no streak rule needs it (R14).
    pub(crate) start: Option<Tick>,
    pub(crate) probe: Option<u32>,
}

impl Ticket {
    /// A ticket that was given without reading the clock.
    #[inline]
    pub(crate) fn quiet(generation: u64) -> Self {
        Self { generation, start: None, probe: None }
    }
}

impl Circuit {
    pub(crate) fn ticket(&self, now: Tick, probe: Option<u32>) -> Ticket {
        Ticket { generation: self.generation, start: Some(now), probe }
    }

    /// Returns whether the phase that gave this ticket is over (R9).
    pub(crate) fn is_late(&self, ticket: &Ticket) -> bool {
        ticket.generation != self.generation
    }
}
