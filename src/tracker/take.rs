//! What an outcome or a report does to a peer: it is counted in the word, or is a step of the circuit; is
//! fed to the window; and then is noted beside the circuit, once.

use std::borrow::Cow;

use super::outage::{answers, relieved};
use super::{Env, Found, Reply, Tracker};
use crate::answer::Recorded;
use crate::circuit::{At, Core, Outcome, Reported, Settled, Step, Ticket, Turns, Verdict};
use crate::config::Window;
use crate::error::Failure;
use crate::rules::Rules;
use crate::sync::Ordering;
use crate::time::Tick;
use crate::window::{Sample, Sliding};
use crate::word::{About, Public, Run};

/// What is to be taken: the outcome of a permit, or a report without one.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) ticket: Option<Ticket>,
    pub(super) verdict: Verdict,
    pub(super) failure: Option<Cow<'a, Failure>>,
    /// As it was stated.
    pub(super) latency: Option<u64>,
}

/// An outcome that was counted in the word.
#[derive(Debug)]
struct Counted {
    /// Errors without a success between, before this one.
    attempts: u32,
    era: u32,
    generation: u64,
    feed: Option<Feed>,
}

/// An outcome that was taken by a step.
#[derive(Debug)]
struct Taken {
    reported: Reported,
    generation: u64,
    attempts: u32,
    /// The era in which the error is noted; `None` if it is not.
    era: Option<u32>,
    /// Whether it ends an outage of our own (R30).
    answers: bool,
}

/// A window, and what it is to be fed.
type Feed = Box<(Sliding, Sample)>;

const NOTHING: Turns = [None; 2];

impl Call<'_> {
    fn is_success(&self) -> bool {
        self.verdict == Verdict::Success
    }

    fn latency(&self, now: Tick) -> Option<u64> {
        let start = self.ticket.and_then(|ticket| ticket.start);
        self.latency.or(start.map(|start| now.since(start)))
    }

    fn sample(&self, rules: &Rules, now: Option<Tick>) -> Sample {
        let latency = now.and_then(|now| self.latency(now));
        Sample { failed: self.verdict == Verdict::Failure, slow: rules.is_slow(latency) }
    }
}

impl Tracker {
    /// Takes it; the reply, and how many errors there were without a success between.
    pub(super) fn take(&self, env: &Env, call: Call<'_>) -> (Reply, u32, Turns) {
        // A success is tried without a look at the time (R1).
        let now = (!call.is_success()).then(|| self.use_at(env));
        match self.count(env, &call, now) {
            Some(Counted { attempts, era, feed: None, .. }) => {
                let recorded = match call.verdict {
                    Verdict::Success | Verdict::Failure => Recorded::Counted,
                    Verdict::Neutral | Verdict::Dropped => Recorded::Neutral,
                };
                let reply = Reply::Recorded(recorded);
                self.note(env, call, &reply, Some(era), now);
                (reply, attempts.saturating_add(1), NOTHING)
            }
            counted => self.take_by_steps(env, call, now, counted),
        }
    }

    /// The time, which is that of a use.
    fn use_at(&self, env: &Env) -> Tick {
        let now = env.clock.now();
        self.touch(now);
        now
    }

    #[inline(never)]
    fn take_by_steps(
        &self,
        env: &Env,
        call: Call<'_>,
        mut now: Option<Tick>,
        counted: Option<Counted>,
    ) -> (Reply, u32, Turns) {
        let mut outcome = Outcome {
            verdict: call.verdict,
            failure: call.failure.as_deref(),
            latency: now.map_or(call.latency, |now| call.latency(now)),
            beside: self.beside(),
        };
        let mut counted = counted.map(|counted| (Taken::from_counted(counted), NOTHING));
        let (taken, turns) = loop {
            if let Some(taken) =
                counted.take().or_else(|| self.decide(env, call.ticket, outcome, now))
            {
                break taken;
            }
            let at = self.use_at(env);
            outcome.latency = call.latency(at);
            now = Some(at);
            counted = self.count(env, &call, now).map(|c| (Taken::from_counted(c), NOTHING));
        };
        let attempt = taken.attempts.saturating_add(1);
        let (reply, turns) = match taken.reported {
            Reported::Settled(settled) => {
                let (generation, answers) = (taken.generation, taken.answers);
                let (recorded, turns) = self.feed(env, now, generation, outcome, settled, turns);
                let turns = relieved(answers, recorded, generation, turns);
                (Reply::Recorded(recorded), turns)
            }
            Reported::Refused => (Reply::Refused, turns),
            Reported::Now => (Reply::Now, turns),
            Reported::Gone => return (Reply::Gone, attempt, turns),
        };
        self.note(env, call, &reply, taken.era, now);
        (reply, attempt, turns)
    }

    /// Makes a step of it; `None` if that needs to know the time.
    fn decide(
        &self,
        env: &Env,
        ticket: Option<Ticket>,
        outcome: Outcome<'_>,
        now: Option<Tick>,
    ) -> Option<(Taken, Turns)> {
        let (taken, turns) = self.advance(env, now.unwrap_or_default(), |core, at| {
            if now.is_none() && !core.is_timeless(at.rules) {
                return Step::stay(None);
            }
            step(env, core, ticket, outcome, at).map(Some)
        });
        taken.map(|taken| (taken, turns))
    }

    /// Counts what changes no more than the run of a Closed circuit; `None` if it may change more, by the
    /// configuration or by what it is.
    fn count(&self, env: &Env, call: &Call<'_>, now: Option<Tick>) -> Option<Counted> {
        loop {
            let Found { value, word, about } = self.look(self.core.load());
            let (About::Counting(run), Some(word)) = (about, word) else { return None };
            let public = value.public()?;
            if call.ticket.is_some_and(|ticket| ticket.generation != value.generation) {
                return None;
            }
            let (next, feed) = match value.window() {
                None if call.is_success() && !env.looks_at_successes() => {
                    // It may end an outage of our own (R30).
                    (if env.guard.holds() { return None } else { Run::default() }, None)
                }
                window => self.counted(env, call, now, run, window)?,
            };
            if next == run || self.word.count(word, Public { run: next, ..public })? {
                let (era, generation) = (value.health.era, value.generation);
                return Some(Counted { attempts: run.attempts, era, generation, feed });
            }
        }
    }

    /// The run after it, and what the window is to be fed; `None` if it may change more. The rules are
    /// read after the word: if that is still the same when the run is counted, it is as if counted when
    /// they were read (R18).
    fn counted(
        &self,
        env: &Env,
        call: &Call<'_>,
        now: Option<Tick>,
        run: Run,
        window: Option<&Sliding>,
    ) -> Option<(Run, Option<Feed>)> {
        let rules = env.rules();
        let by_time = matches!(rules.window, Some(Window::Time { .. }));
        if now.is_none() && (by_time || rules.slow_call.is_some()) {
            return None;
        }
        let errs = call.failure.is_some();
        let next = match call.verdict {
            Verdict::Success if env.guard.holds() => return None,
            Verdict::Success => Run::default(),
            Verdict::Failure if rules.streak_window > 0 => return None,
            Verdict::Failure => run.failed(errs),
            Verdict::Neutral | Verdict::Dropped => return Some((run.erring(errs), None)),
        };
        let trips = call.verdict == Verdict::Failure && next.reaches(&rules);
        let shape = Sliding::needed(window, &rules, now.unwrap_or_default());
        if trips || shape.is_some() {
            return None;
        }
        if call.verdict == Verdict::Failure && rules.guard.is_some() {
            env.guard.count_on(&rules, now.unwrap_or_default());
        }
        let feed = window.map(|window| Box::new((window.clone(), call.sample(&rules, now))));
        Some((next, feed))
    }

    /// Notes beside the circuit what became of it.
    fn note(&self, env: &Env, call: Call<'_>, reply: &Reply, era: Option<u32>, now: Option<Tick>) {
        let (late, counted) = match reply {
            Reply::Recorded(recorded) => (
                *recorded == Recorded::Late,
                matches!(recorded, Recorded::Counted | Recorded::Opened { .. }),
            ),
            _ => (false, false),
        };
        if call.is_success() && !late && call.ticket.is_some() {
            self.count_success();
            let latency = now.map_or(call.latency, |now| call.latency(now));
            if let (true, Some(latency)) = (counted, latency) {
                self.latency.sample(latency, now.unwrap_or_else(|| env.clock.now()));
            }
            return;
        }
        let record = self.record.get_or_make();
        // Relaxed: pairs with nothing; a total, counted once, in no order with the circuit.
        record.counter(call.verdict, call.ticket.is_none(), late).fetch_add(1, Ordering::Relaxed);
        let now = now.unwrap_or_default();
        // It may be new.
        record.touch(now);
        if call.verdict == Verdict::Failure && counted {
            record.fail_at(now);
        }
        if let (Some(failure), Some(era), false) = (call.failure, era, late) {
            record.note(era, failure.into_owned(), now, self.successes());
        }
    }
}

impl Taken {
    fn from(core: &Core, reported: Reported, answers: bool) -> Self {
        let era = core.takes_notes().then_some(core.health.era);
        let (generation, attempts) = (core.generation, core.health.run.attempts);
        Self { reported, generation, attempts, era, answers }
    }

    fn from_counted(counted: Counted) -> Self {
        let Counted { attempts, era, generation, feed } = counted;
        let settled = Settled { recorded: Recorded::Counted, feed: feed.map(|feed| *feed) };
        let reported = Reported::Settled(settled);
        Self { reported, generation, attempts, era: Some(era), answers: false }
    }
}

/// Makes a step of an outcome or a report.
fn step(
    env: &Env,
    core: &Core,
    ticket: Option<Ticket>,
    outcome: Outcome<'_>,
    at: At<'_>,
) -> Step<Taken> {
    let lifted = if ticket.is_none() { core.after_ban(at.now) } else { None };
    let seen = lifted.as_ref().unwrap_or(core);
    let answers = answers(env, seen, outcome.verdict, at);
    let step = match ticket {
        Some(ticket) => core.settle(ticket, outcome, at).map(Reported::Settled),
        None => core.report(outcome, at),
    };
    step.map(|reported| Taken::from(seen, reported, answers))
}
