//! The meaning of a tracker's steps to the outage limiter (R30).

use super::Context;
use crate::circuit::{Circuit, Emitted, Outcome, StepContext};
use crate::config::rules::Rules;
use crate::event::EventKind;
use crate::outage::Grant;
use crate::outcome::Recorded;
use crate::time::Tick;

/// Asks for the grant of this circuit's trip. A peer that never answered needs none.
#[cold]
pub(super) fn grant(
    context: &Context,
    answered: bool,
    seen: &Circuit,
    at: StepContext<'_>,
) -> Grant {
    if !answered {
        return Grant::Free;
    }
    context.outage.take(at.rules, at.now, seen.is_held_back(at.rules, at.now))
}

/// Tells the limiter of a step that was made while there is a limit: that a granted trip was made, and, if all
/// held trips would have a grant again, that the outage is over. Each such step also counts some more peers,
/// where a count of a large table has begun: the next trip may need it.
pub(super) fn step_made(
    context: &Context,
    at: StepContext<'_>,
    grant: Grant,
    emitted: Emitted,
) -> Emitted {
    context.outage.count_on(at.rules, at.now);
    let Grant::Taken { calm } = grant else { return emitted };
    context.outage.trip_made();
    let over = emitted.first().filter(|_| calm && context.outage.holds());
    let over = over.map(|(generation, _)| (generation, EventKind::LocalRecovered));
    Emitted::two(emitted.first(), over)
}

/// Returns whether the outcome is a success of a peer whose trip was held back (R30).
pub(super) fn answers(circuit: &Circuit, outcome: Outcome, rules: &Rules, now: Tick) -> bool {
    outcome == Outcome::Success && rules.outage_limit.is_some() && circuit.is_held_back(rules, now)
}

/// Emits the end of an outage for a success of such a peer, unless the circuit would have opened again. Only
/// after the success was taken: an outage that begins later finds it.
pub(super) fn relieved(
    context: &Context,
    recorded: Recorded,
    generation: u64,
    emitted: Emitted,
) -> Emitted {
    let ends = recorded == Recorded::Counted && emitted.is_empty();
    let relieved = ends && context.outage.goes_on();
    if relieved { Emitted::one(generation, EventKind::LocalRecovered) } else { emitted }
}
