//! Trackers with a flaw that the check must find: a check that finds nothing proves nothing.
//!
//! All of them take the library's own steps, and each behaves as the specification while only one thread
//! uses it; the flaws show only when calls overlap.

use std::sync::atomic::Ordering as Std;

use shuttle::scheduler::{RandomScheduler, Schedule, Scheduler, Task, TaskId};

use crate::circuit::{Circuit, Noted, Outcome, Phase, Report, Step, StepContext, Ticket};
use crate::config::rules::Rules;
use crate::histories::{check, check_under, random};
use crate::outcome::{Recorded, WindowCounts};
use crate::program::{Act, Answer, Ending, Entry, Look, Mix, Program, Recorder, Subject, THREADS};
use crate::subject::{SALT, Time};
use crate::sync::{Arc, AtomicU64, Ordering, Swap};
use crate::time::{Clock, Tick};

/// The counts that open a circuit with a failure rate; without a window no other code asks for them.
const ALL_FAILED: WindowCounts = WindowCounts { total: 1, failures: 1, slow: 0 };

/// The flaw of a tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    /// No flaw.
    None,
    /// The streak is a counter beside the swapped phase.
    StreakBeside,
    /// A probe's slot is free before its success counts.
    SlotFreedFirst,
    /// The thread installs the next value whatever is there by now.
    StoresBlindly,
    /// A look loads the circuit twice.
    LooksTwice,
}

/// A small tracker.
struct Tracker {
    flaw: Flaw,
    circuit: Swap<Circuit>,
    /// The counter of [`Flaw::StreakBeside`].
    streak: AtomicU64,
    rules: Arc<Rules>,
    clock: Clock,
}

impl Tracker {
    fn advance<R>(&self, now: Tick, step: impl Fn(&Circuit, StepContext<'_>) -> Step<R>) -> R {
        let mut seen = self.circuit.load();
        loop {
            let made =
                step(&seen, StepContext { rules: &self.rules, now, salt: SALT, held: false });
            let Some(next) = made.next else { return made.reply };
            if self.flaw == Flaw::StoresBlindly {
                self.circuit.replace(Arc::new(next));
                return made.reply;
            }
            match self.circuit.compare_and_swap(&seen, Arc::new(next)) {
                Ok(()) => return made.reply,
                Err(found) => seen = found,
            }
        }
    }

    fn settle(&self, ticket: Ticket, ending: &Ending) -> Recorded {
        let now = self.clock.now();
        let latency = ticket.start.time().map(|start| now.since(start));
        let (outcome, failure) = (ending.outcome(), ending.failure());
        let report = Report { outcome, failure, latency, noted: Noted::default() };
        match self.flaw {
            Flaw::StreakBeside => self.settle_beside(ticket, report, now),
            Flaw::SlotFreedFirst
                if ticket.probe.is_some() && ending.outcome() == Outcome::Success =>
            {
                self.free_and_settle(ticket, report, now)
            }
            _ => self.advance(now, |circuit, at| circuit.settle(ticket, report, at)).recorded,
        }
    }

    fn free_and_settle(&self, ticket: Ticket, outcome: Report<'_>, now: Tick) -> Recorded {
        // Only the circuit uses a probe's number, so the test reads it from the printed form.
        let number = format!("id: {},", ticket.probe.unwrap_or_default());
        let freed = self.advance(now, |circuit, at| {
            let probe = match &circuit.phase {
                Phase::HalfOpen(half_open) => half_open
                    .out
                    .iter()
                    .find(|probe| format!("{probe:?}").contains(&number))
                    .copied(),
                _ => None,
            };
            let drop = Report { outcome: Outcome::Dropped, ..outcome };
            circuit.settle(ticket, drop, at).map(|settled| (settled.recorded, probe))
        });
        let (Recorded::Neutral, Some(probe)) = freed else { return Recorded::Late };
        let counted = self.advance(now, |circuit, at| {
            let mut circuit = circuit.clone();
            if let (Phase::HalfOpen(half_open), true) =
                (&mut circuit.phase, circuit.generation == ticket.generation)
            {
                half_open.out.push(probe);
            }
            circuit.settle(ticket, outcome, at)
        });
        counted.recorded
    }

    fn settle_beside(&self, ticket: Ticket, outcome: Report<'_>, now: Tick) -> Recorded {
        let circuit = self.circuit.load();
        let tallies = matches!(circuit.phase, Phase::Closed(_) | Phase::MetricsOnly(_));
        if ticket.generation != circuit.generation || !tallies {
            let settle = |circuit: &Circuit, at: StepContext<'_>| {
                let step = circuit.settle(ticket, outcome, at);
                let closed = step.next.as_ref().is_some_and(|next| next.opened_at().is_none());
                step.map(|settled| (settled.recorded, closed))
            };
            let was_open = circuit.opened_at().is_some();
            let (recorded, closed) = self.advance(now, settle);
            if was_open && closed {
                self.streak.store(0, Ordering::SeqCst);
            }
            return recorded;
        }
        match outcome.outcome {
            Outcome::Success => self.streak.store(0, Ordering::SeqCst),
            Outcome::Failure => {
                let streak = self.streak.fetch_add(1, Ordering::SeqCst) + 1;
                let asked = outcome.asked_wait();
                if self.rules.streak.is_some_and(|threshold| streak >= threshold.into())
                    && let Some(retry_after) = self.advance(now, |circuit, at| {
                        circuit.trip(ticket.generation, ALL_FAILED, asked, at)
                    })
                {
                    return Recorded::Opened { retry_after };
                }
            }
            Outcome::Neutral | Outcome::Dropped => return Recorded::Neutral,
        }
        Recorded::Counted
    }

    fn look(&self) -> Look {
        let mut look = Look::at(&self.circuit.load());
        match self.flaw {
            Flaw::StreakBeside => {
                look.streak = u32::try_from(self.streak.load(Ordering::SeqCst)).unwrap();
            }
            Flaw::LooksTwice => look.streak = self.circuit.load().health.run.streak,
            _ => {}
        }
        look
    }
}

impl Subject for Arc<Tracker> {
    fn perform(&mut self, act: &Act) -> Answer {
        match act {
            Act::Acquire => {
                Answer::Admission(self.advance(self.clock.now(), |circuit, at| circuit.admit(at)))
            }
            Act::Settle(ticket, ending) => match (self.settle(*ticket, ending), ending) {
                (_, Ending::Dropped) => Answer::Done(true),
                (recorded, _) => Answer::Recorded(recorded),
            },
            Act::Control(control) => {
                let done = self.advance(Tick::default(), |circuit, _| circuit.control(*control, 0));
                self.streak.store(0, Ordering::SeqCst);
                Answer::Done(done.is_some())
            }
            Act::Look => Answer::Look(self.look()),
            other => unreachable!("not in the mix: {other:?}"),
        }
    }
}

fn history(flaw: Flaw) -> (Program, Vec<Entry>) {
    let mut program = Program::random(Mix::Permits);
    // The counter outside the phase knows nothing of windows.
    program.rules[0].streak_gap = None;
    (program.rules[0].failure_rate, program.rules[0].min_calls) = (Some(1.0), Some(1));
    let (time, circuit) = (Time::default(), Swap::new(Arc::new(Circuit::new(0))));
    let (rules, clock) = (Arc::new(program.rules[0].rules()), time.clock());
    let tracker = Arc::new(Tracker { flaw, circuit, streak: AtomicU64::new(0), rules, clock });
    let subjects = (0..=THREADS).map(|_| Box::new(Arc::clone(&tracker)) as Box<dyn Subject>);
    let entries = Recorder::new(time).run(&program, subjects.collect(), Act::Look);
    (program, entries)
}

const HISTORIES: usize = 5_000;

/// Returns the number of histories of a tracker with this flaw that no order explains.
fn unexplained(flaw: Flaw) -> usize {
    check(&format!("{flaw:?}"), HISTORIES, move || history(flaw)).unexplained.load(Std::Relaxed)
}

#[test]
fn a_streak_beside_the_phase_is_found() {
    let found = unexplained(Flaw::StreakBeside);
    assert!(found > 300, "found {found}");
}

#[test]
fn a_slot_that_is_free_before_its_success_counts_is_found() {
    let found = unexplained(Flaw::SlotFreedFirst);
    assert!(found > 30, "found {found}");
}

#[test]
fn a_store_in_the_place_of_a_compare_and_swap_is_found() {
    let found = unexplained(Flaw::StoresBlindly);
    assert!(found > 400, "found {found}");
}

#[test]
fn a_look_that_loads_twice_is_found() {
    let found = unexplained(Flaw::LooksTwice);
    assert!(found > 80, "found {found}");
}

#[test]
fn the_same_tracker_without_a_flaw_is_linearizable() {
    assert_eq!(unexplained(Flaw::None), 0);
}

/// Runs random programs whose threads run one after the other.
#[derive(Debug)]
struct OneAfterTheOther(RandomScheduler);

impl Scheduler for OneAfterTheOther {
    fn new_execution(&mut self) -> Option<Schedule> {
        self.0.new_execution()
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        _yields: bool,
    ) -> Option<TaskId> {
        let goes_on = runnable.iter().find(|task| Some(task.id()) == current);
        goes_on.or(runnable.first()).map(|task| task.id())
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}

#[test]
fn no_flaw_shows_while_no_calls_overlap() {
    use Flaw::{LooksTwice, SlotFreedFirst, StoresBlindly, StreakBeside};
    for flaw in [StreakBeside, SlotFreedFirst, StoresBlindly, LooksTwice] {
        let name = format!("{flaw:?}, one thread after the other");
        let scheduler = OneAfterTheOther(random(HISTORIES));
        let tally = check_under(scheduler, &name, move || history(flaw));
        let example = tally.example.lock().unwrap();
        assert_eq!(tally.unexplained.load(Std::Relaxed), 0, "{example}");
    }
}
