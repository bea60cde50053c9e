//! The sequential specification: the pure steps of the circuit, one at a time, each at the time
//! that its operation read.

use crate::answer::NextAdmission;
use crate::circuit::{Admission, At, Beside, Core, Outcome, Phase, Reported, Step, Ticket};
use crate::peer::SALT;
use crate::program::{Act, Answer, Ending, Entry, Look, Reply, print};
use crate::rules::Rules;
use crate::sync::Arc;
use crate::time::Tick;

/// What the circuit becomes if the operation happens now, under this configuration, and what it
/// answers. An operation that read no time gets the beginning of time: it must not matter. `None`
/// if it would have had to read it.
pub(crate) fn apply(core: &Core, entry: &Entry, rules: &Arc<Rules>) -> Option<(Core, Answer)> {
    let at = |now| At { rules, now, salt: SALT, held: false };
    let attempt = core.health.run.attempts.saturating_add(1);
    let stays = |answer| Some((core.clone(), answer));
    match (&entry.act, entry.now) {
        (Act::Acquire, None) if core.health.run.streak == 0 => {
            // Nobody will ask when the call began.
            let unknown = |admission| match admission {
                Admission::Admitted(ticket) => {
                    Admission::Admitted(Ticket { start: None, ..ticket })
                }
                refused => refused,
            };
            steps(core, core.admit(at(Tick(0))), |admission| Answer::Admission(unknown(admission)))
        }
        (Act::Acquire, Some(now)) => steps(core, core.admit(at(now)), Answer::Admission),
        (Act::Settle(ticket, ending @ Ending::Success), None) => {
            let step = core.settle(*ticket, outcome(ending, None), at(Tick(0)));
            steps(core, step, |settled| Answer::Recorded(settled.recorded))
        }
        (Act::Settle(ticket, ending), Some(now)) => {
            let latency = ticket.start.map(|start| now.since(start));
            let step = core.settle(*ticket, outcome(ending, latency), at(now));
            steps(core, step, |settled| match ending {
                // A drop answers nothing.
                Ending::Dropped => Answer::Done(true),
                _ => Answer::Recorded(settled.recorded),
            })
        }
        // A success that is counted in a closed circuit needs no time.
        (Act::Report(ending @ Ending::Success), None)
            if matches!(core.phase, Phase::Closed(_)) && rules.slow_call.is_none() =>
        {
            let step = core.report(outcome(ending, None), at(Tick(0)));
            steps(core, step, |reported| Answer::Report(reply(reported), attempt))
        }
        (Act::Report(ending), Some(now)) => {
            let step = core.report(outcome(ending, None), at(now));
            steps(core, step, |reported| Answer::Report(reply(reported), attempt))
        }
        (Act::Control(control), _) => {
            steps(core, core.control(*control, 0), |done| Answer::Done(done.is_some()))
        }
        (Act::Remove, _) => steps(core, core.remove(), |ended| Answer::Done(ended.is_some())),
        (Act::NoteReachable, None) => {
            steps(core, core.note_reachable(at(Tick(0))), Answer::MayBeProbed)
        }
        (Act::NoteReachable, Some(now)) => {
            steps(core, core.note_reachable(at(now)), Answer::MayBeProbed)
        }
        (Act::EndWait, Some(now)) => steps(core, core.end_wait(now), Answer::MayBeProbed),
        (Act::Look, _) => stays(Answer::Look(Look::at(core))),
        (Act::Inspect, _) => stays(Answer::Inspect(print(core))),
        (Act::NextAdmission, Some(now)) => {
            stays(Answer::NextAdmission(match core.admit(at(now)).reply {
                Admission::Admitted(_) | Admission::Gone => NextAdmission::Now,
                Admission::Refused(refused) => {
                    refused.retry_after.map_or(NextAdmission::Unknown, NextAdmission::After)
                }
            }))
        }
        (Act::IsCircuitOpen, None) if core.health.run.streak == 0 => {
            stays(Answer::IsCircuitOpen(core.refuses(Tick(0))))
        }
        (Act::IsCircuitOpen, Some(now)) => stays(Answer::IsCircuitOpen(core.refuses(now))),
        _ => None,
    }
}

fn steps<R>(
    core: &Core,
    step: Step<R>,
    answer: impl FnOnce(R) -> Answer,
) -> Option<(Core, Answer)> {
    Some((step.next.unwrap_or_else(|| core.clone()), answer(step.reply)))
}

fn outcome(ending: &Ending, latency: Option<u64>) -> Outcome<'_> {
    let (verdict, failure) = (ending.verdict(), ending.failure());
    Outcome { verdict, failure, latency, beside: Beside::default() }
}

fn reply(reported: Reported) -> Reply {
    match reported {
        Reported::Settled(settled) => Reply::Recorded(settled.recorded),
        Reported::Refused => Reply::Refused,
        Reported::Now => Reply::Now,
        Reported::Gone => Reply::Gone,
    }
}
