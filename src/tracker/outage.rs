//! What the steps of a tracker mean to the guard against an outage of our own (R30).

use super::Env;
use crate::answer::Recorded;
use crate::circuit::{At, Core, Turn, Turns, Verdict};
use crate::guard::Place;

/// A place for the trip of this circuit. Who never answered needs none.
#[cold]
pub(super) fn place(env: &Env, answered: bool, seen: &Core, at: At<'_>) -> Place {
    if !answered {
        return Place::Free;
    }
    env.guard.take(at.rules, at.now, seen.is_held_back(at.rules, at.now))
}

/// After a step that was made: if its trip had a place, that is said; if there is room for all again, an
/// outage that went on is over. A count that has begun goes on, since there may soon be trips.
pub(super) fn opened(env: &Env, at: At<'_>, place: Place, turns: Turns) -> Turns {
    if at.rules.guard.is_some() {
        env.guard.count_on(at.rules, at.now);
    }
    let Place::Taken { calm } = place else { return turns };
    env.guard.trip_made();
    let over = turns[0].filter(|_| calm && env.guard.holds());
    [turns[0], over.map(|(generation, _)| (generation, Turn::Relieved))]
}

/// Whether a success comes, during an outage, from a peer whose trip was held back (R30).
pub(super) fn answers(env: &Env, core: &Core, verdict: Verdict, at: At<'_>) -> bool {
    verdict == Verdict::Success
        && at.rules.guard.is_some()
        && env.guard.holds()
        && core.is_held_back(at.rules, at.now)
}

/// Adds to the transitions of a success that it came from such a peer, unless it would have opened
/// again.
pub(super) fn relieved(answers: bool, recorded: Recorded, generation: u64, turns: Turns) -> Turns {
    let relieved = answers && recorded == Recorded::Counted && turns[0].is_none();
    if relieved { [Some((generation, Turn::Relieved)), None] } else { turns }
}
