//! What a step does to a circuit, and what is told of it.

use std::time::Duration;

use super::{Circuit, Control};

/// What a step would do.
#[derive(Debug)]
pub(crate) struct Step<R> {
    /// The value to install; `None` if nothing changes.
    pub(crate) next: Option<Circuit>,
    pub(crate) reply: R,
    pub(crate) turns: Turns,
}

/// The transitions of a step, each with the generation that it began; two at the most. What is
/// told but is no transition comes with the generation that lasts.
pub(crate) type Turns = [Option<(u64, Turn)>; 2];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Opened {
        wait: Duration,
        /// Whether it had not been closed since it opened last.
        reopened: bool,
    },
    HalfOpened,
    Closed,
    Controlled(Control),
    Removed,
    /// None: the circuit would have opened, and stays Closed (R30).
    HeldBack,
    /// None: a peer whose trip was held back has answered, or all have room (R30).
    Relieved,
    /// None: a wait was cut short, or a probe ended that decides nothing. Listeners are not told.
    Freed,
}

impl<R> Step<R> {
    pub(crate) fn stay(reply: R) -> Self {
        Self { next: None, reply, turns: [None; 2] }
    }

    pub(super) fn to(next: Circuit, reply: R) -> Self {
        Self { next: Some(next), reply, turns: [None; 2] }
    }

    pub(super) fn turn(next: Circuit, turn: Turn, reply: R) -> Self {
        let turns = [Some((next.generation, turn)), None];
        Self { next: Some(next), reply, turns }
    }

    /// The step of a circuit by which the peer may be admitted earlier, if it is no transition.
    pub(super) fn freed(self, generation: u64) -> Self {
        let [first, second] = self.turns;
        Self { turns: [first.or(Some((generation, Turn::Freed))), second], ..self }
    }

    /// The step of a circuit that would have opened (R30).
    pub(super) fn held_back(self, generation: u64) -> Self {
        Self { turns: [Some((generation, Turn::HeldBack)), None], ..self }
    }

    /// The step after half-open has begun: both are one step (R4, R24).
    pub(super) fn after(self, begun: Circuit) -> Self {
        self.second(begun, Turn::HalfOpened)
    }

    /// The step after a ban has ended: both are one step (R17).
    pub(super) fn after_reset(self, lifted: Circuit) -> Self {
        self.second(lifted, Turn::Controlled(Control::Reset))
    }

    fn second(self, first: Circuit, turn: Turn) -> Self {
        let turns = [Some((first.generation, turn)), self.turns[0]];
        let next = self.next.unwrap_or(first);
        Self { next: Some(next), reply: self.reply, turns }
    }

    pub(crate) fn map<S>(self, f: impl FnOnce(R) -> S) -> Step<S> {
        Step { next: self.next, reply: f(self.reply), turns: self.turns }
    }
}
