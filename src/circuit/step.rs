//! The result of a step: the next value, the reply, and the events.

use super::Circuit;
use crate::event::EventKind;

/// What a step changes if its caller installs it.
#[derive(Debug)]
pub(crate) struct Step<R> {
    /// The value to install; `None` if nothing changes.
    pub(crate) next: Option<Circuit>,
    pub(crate) reply: R,
    pub(crate) emitted: Emitted,
}

/// A transition, and the generation that it began.
type Transition = (u64, EventKind);

/// What a step emits: at most two transitions, each with the generation that it began. An event that is no
/// transition carries the generation that lasts.
///
/// Most steps emit nothing and pass this on from function to function, so the events are in a box.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Emitted {
    events: Option<Box<[Option<Transition>; 2]>>,
    /// Whether the step frees an admission by no transition: it cut a wait short, or a probe ended and
    /// decided nothing.
    frees: bool,
}

impl Emitted {
    pub(crate) fn one(generation: u64, kind: EventKind) -> Self {
        Self::two(Some((generation, kind)), None)
    }

    pub(crate) fn two(first: Option<Transition>, second: Option<Transition>) -> Self {
        Self { events: first.is_some().then(|| Box::new([first, second])), frees: false }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_none() && !self.frees
    }

    pub(crate) fn first(&self) -> Option<Transition> {
        self.events.as_ref()?[0]
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = Transition> {
        self.events.iter().flat_map(|events| events.iter().flatten().copied())
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

    /// Marks the step as one that may admit the peer earlier, although it is no transition.
    pub(super) fn freed(mut self) -> Self {
        self.emitted.frees = true;
        self
    }

    /// Replaces the events by that of a trip that was held back (R30).
    pub(super) fn held_back(self, generation: u64) -> Self {
        Self { emitted: Emitted::one(generation, EventKind::LocalOutage), ..self }
    }

    /// Puts the beginning of half-open before this step: both are one step (R4, R24).
    pub(super) fn after(self, begun: Circuit) -> Self {
        self.second(begun, EventKind::HalfOpened)
    }

    /// Puts the end of a ban before this step: both are one step (R17).
    pub(super) fn after_reset(self, lifted: Circuit) -> Self {
        self.second(lifted, EventKind::Reset)
    }

    fn second(self, first: Circuit, kind: EventKind) -> Self {
        let emitted = Emitted::two(Some((first.generation, kind)), self.emitted.first());
        let next = self.next.unwrap_or(first);
        Self { next: Some(next), reply: self.reply, emitted }
    }

    pub(crate) fn map<S>(self, f: impl FnOnce(R) -> S) -> Step<S> {
        Step { next: self.next, reply: f(self.reply), emitted: self.emitted }
    }
}
