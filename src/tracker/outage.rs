//! What the steps of a tracker mean to the guard against an outage of our own (R30).

use super::Context;
use crate::circuit::{Circuit, Emitted, Outcome, StepContext};
use crate::event::EventKind;
use crate::outage::Grant;
use crate::outcome::Recorded;

/// A place for the trip of this circuit. Who never answered needs none.
#[cold]
pub(super) fn place(
    context: &Context,
    answered: bool,
    seen: &Circuit,
    at: StepContext<'_>,
) -> Grant {
    if !answered {
        return Grant::Free;
    }
    context.guard.take(at.rules, at.now, seen.is_held_back(at.rules, at.now))
}

/// After a step that was made: if its trip had a place, that is said; if there is room for all again, an
/// outage that went on is over. A count that has begun goes on, since there may soon be trips.
pub(super) fn opened(
    context: &Context,
    at: StepContext<'_>,
    place: Grant,
    emitted: Emitted,
) -> Emitted {
    if at.rules.guard.is_some() {
        context.guard.count_on(at.rules, at.now);
    }
    let Grant::Taken { calm } = place else { return emitted };
    context.guard.trip_made();
    let over = emitted.events[0].filter(|_| calm && context.guard.holds());
    let over = over.map(|(generation, _)| (generation, EventKind::LocalRecovered));
    Emitted::two(emitted.events[0], over)
}

/// Whether a success comes, during an outage, from a peer whose trip was held back (R30).
pub(super) fn answers(
    context: &Context,
    circuit: &Circuit,
    outcome: Outcome,
    at: StepContext<'_>,
) -> bool {
    outcome == Outcome::Success
        && at.rules.guard.is_some()
        && context.guard.holds()
        && circuit.is_held_back(at.rules, at.now)
}

/// Adds to the transitions of a success that it came from such a peer, unless it would have opened
/// again.
pub(super) fn relieved(
    answers: bool,
    recorded: Recorded,
    generation: u64,
    emitted: Emitted,
) -> Emitted {
    let relieved = answers && recorded == Recorded::Counted && emitted.is_empty();
    if relieved { Emitted::one(generation, EventKind::LocalRecovered) } else { emitted }
}
