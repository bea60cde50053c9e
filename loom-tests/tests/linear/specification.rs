//! The sequential specification: the pure steps of the circuit, one at a time, each at the time that its
//! operation read.

use crate::circuit::{
    Admission, Circuit, Noted, Phase, Report, Reported, Settled, Start, Step, StepContext, Ticket,
};
use crate::config::rules::Rules;
use crate::outcome::{NextAdmission, Recorded};
use crate::program::{Act, Answer, Ending, Entry, Look, print};
use crate::subject::SALT;
use crate::sync::Arc;
use crate::time::Tick;

/// Returns the circuit and the answer if the operation happens now, under this configuration. An operation
/// that read no time gets the beginning of time, which must not matter. `None` if it had to read the time.
pub(crate) fn apply(
    circuit: &Circuit,
    entry: &Entry,
    rules: &Arc<Rules>,
) -> Option<(Circuit, Answer)> {
    let at = |now| StepContext { rules, now, salt: SALT, held: false };
    let attempt = circuit.health.run.errors.saturating_add(1);
    let stays = |answer| Some((circuit.clone(), answer));
    match (&entry.act, entry.now) {
        (Act::Acquire, now) => {
            let asked =
                rules.slow_call.is_some() || circuit.health.run.streak > 0 && rules.streak_gap > 0;
            // Where no rule will ask for the start of the call, the ticket may do without it, also if the
            // thread read the time for a wait that was over.
            let started = matches!(&entry.answer,
                Answer::Admission(Admission::Admitted(ticket)) if ticket.start.time().is_some());
            if asked && now.is_none() {
                return None;
            }
            let step = circuit.admit(at(now.unwrap_or_default()));
            steps(circuit, step, |admission| {
                Answer::Admission(match admission {
                    Admission::Admitted(ticket) if !asked && !started && ticket.probe.is_none() => {
                        Admission::Admitted(Ticket { start: Start::Unread, ..ticket })
                    }
                    known => known,
                })
            })
        }
        (Act::Settle(ticket, ending @ Ending::Success), None) => {
            let step = circuit.settle(*ticket, outcome(ending, None), at(Tick(0)));
            steps(circuit, step, |settled| Answer::Recorded(settled.recorded))
        }
        (Act::Settle(ticket, ending), Some(now)) => {
            let latency = ticket.start.time().map(|start| now.since(start));
            let step = circuit.settle(*ticket, outcome(ending, latency), at(now));
            steps(circuit, step, |settled| match ending {
                // A drop answers nothing.
                Ending::Dropped => Answer::Done(true),
                _ => Answer::Recorded(settled.recorded),
            })
        }
        // A success that a closed circuit counts needs no time.
        (Act::Report(ending @ Ending::Success), None)
            if matches!(circuit.phase, Phase::Closed(_)) && rules.slow_call.is_none() =>
        {
            let step = circuit.report(outcome(ending, None), at(Tick(0)));
            steps(circuit, step, |reported| Answer::Report(reply(reported), attempt))
        }
        (Act::Report(ending), Some(now)) => {
            let step = circuit.report(outcome(ending, None), at(now));
            steps(circuit, step, |reported| Answer::Report(reply(reported), attempt))
        }
        (Act::Control(control), _) => {
            steps(circuit, circuit.control(*control, 0), |done| Answer::Done(done.is_some()))
        }
        (Act::Remove, _) => steps(circuit, circuit.remove(), |ended| Answer::Done(ended.is_some())),
        (Act::NoteReachable, None) => {
            steps(circuit, circuit.note_reachable(at(Tick(0))), Answer::MayBeProbed)
        }
        (Act::NoteReachable, Some(now)) => {
            steps(circuit, circuit.note_reachable(at(now)), Answer::MayBeProbed)
        }
        (Act::EndWait, Some(now)) => steps(circuit, circuit.end_wait(now), Answer::MayBeProbed),
        (Act::Look, _) => stays(Answer::Look(Look::at(circuit))),
        (Act::Inspect, _) => stays(Answer::Inspect(print(circuit))),
        (Act::NextAdmission, Some(now)) => {
            stays(Answer::NextAdmission(match circuit.admit(at(now)).reply {
                Admission::Admitted(_) | Admission::Gone => NextAdmission::Now,
                Admission::Refused(refused) => {
                    refused.retry_after.map_or(NextAdmission::Unknown, NextAdmission::After)
                }
            }))
        }
        (Act::IsCircuitOpen, None) if circuit.health.run.streak == 0 => {
            stays(Answer::IsCircuitOpen(circuit.refuses(Tick(0))))
        }
        (Act::IsCircuitOpen, Some(now)) => stays(Answer::IsCircuitOpen(circuit.refuses(now))),
        _ => None,
    }
}

fn steps<R>(
    circuit: &Circuit,
    step: Step<R>,
    answer: impl FnOnce(R) -> Answer,
) -> Option<(Circuit, Answer)> {
    Some((step.next.unwrap_or_else(|| circuit.clone()), answer(step.reply)))
}

fn outcome(ending: &Ending, latency: Option<u64>) -> Report<'_> {
    let (outcome, failure) = (ending.outcome(), ending.failure());
    Report { outcome, failure, latency, noted: Noted::default() }
}

fn reply(reported: Reported<Settled>) -> Reported<Recorded> {
    match reported {
        Reported::Recorded(settled) => Reported::Recorded(settled.recorded),
        Reported::Refused => Reported::Refused,
        Reported::Now => Reported::Now,
        Reported::Gone => Reported::Gone,
    }
}
