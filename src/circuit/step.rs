//! What a step does to a circuit, and what is told of it.

use super::Circuit;
use crate::event::EventKind;

/// What a step would do.
#[derive(Debug)]
pub(crate) struct Step<R> {
    /// The value to install; `None` if nothing changes.
    pub(crate) next: Option<Circuit>,
    pub(crate) reply: R,
    pub(crate) emitted: Emitted,
}

/// What a step emits: its transitions, each with the generation that it began, two at the most. What
/// is told to listeners but is no transition comes with the generation that lasts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Emitted {
    pub(crate) events: [Option<(u64, EventKind)>; 2],
    /// Whether the peer may be admitted earlier than it seemed, by no transition: a wait was cut short,
    /// or a probe ended that decides nothing.
    pub(crate) frees: bool,
}

impl Emitted {
    pub(crate) fn one(generation: u64, kind: EventKind) -> Self {
        Self::two(Some((generation, kind)), None)
    }

    pub(crate) fn two(first: Option<(u64, EventKind)>, second: Option<(u64, EventKind)>) -> Self {
        Self { events: [first, second], frees: false }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events[0].is_none() && !self.frees
    }
}

impl<R> Step<R> {
    pub(crate) fn stay(reply: R) -> Self {
        Self { next: None, reply, emitted: Emitted::default() }
    }

    pub(super) fn to(next: Circuit, reply: R) -> Self {
        Self { next: Some(next), reply, emitted: Emitted::default() }
    }

    pub(super) fn emit(next: Circuit, kind: EventKind, reply: R) -> Self {
        let emitted = Emitted::one(next.generation, kind);
        Self { next: Some(next), reply, emitted }
    }

    /// The step of a circuit by which the peer may be admitted earlier, if it is no transition.
    pub(super) fn freed(mut self) -> Self {
        self.emitted.frees = true;
        self
    }

    /// The step of a circuit that would have opened (R30).
    pub(super) fn held_back(self, generation: u64) -> Self {
        Self { emitted: Emitted::one(generation, EventKind::LocalOutage), ..self }
    }

    /// The step after half-open has begun: both are one step (R4, R24).
    pub(super) fn after(self, begun: Circuit) -> Self {
        self.second(begun, EventKind::HalfOpened)
    }

    /// The step after a ban has ended: both are one step (R17).
    pub(super) fn after_reset(self, lifted: Circuit) -> Self {
        self.second(lifted, EventKind::Reset)
    }

    fn second(self, first: Circuit, kind: EventKind) -> Self {
        let emitted = Emitted::two(Some((first.generation, kind)), self.emitted.events[0]);
        let next = self.next.unwrap_or(first);
        Self { next: Some(next), reply: self.reply, emitted }
    }

    pub(crate) fn map<S>(self, f: impl FnOnce(R) -> S) -> Step<S> {
        Step { next: self.next, reply: f(self.reply), emitted: self.emitted }
    }
}
