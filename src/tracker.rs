//! One peer: its circuit, the counters beside it, and the loop that makes a step.
//!
//! [`Tracker::advance`] is the only place where a circuit changes: load, compute, compare-and-swap,
//! again from the value found if somebody was faster. Nothing is decided by a value read before
//! the loop, and nothing is counted inside it. A thread that is stopped anywhere holds nothing
//! that another needs.

use std::borrow::Cow;
use std::cell::Cell;
use std::ops::Deref;

use crate::answer::Recorded;
use crate::circuit::{
    Admission, At, Control, Core, Outcome, Reported, Step, Ticket, Turns, Verdict,
};
use crate::error::Failure;
use crate::guard::Place;
use crate::rest::Rest;
use crate::snapshot::PeerTotals;
use crate::sync::{Arc, AtomicU64, Loaded, Ordering, Swap};
use crate::time::Tick;

mod counts;
mod env;
mod feed;
mod latency;
mod outage;
mod query;

pub(crate) use env::Env;
use latency::Latency;
use outage::{answers, opened, place, relieved};

/// One peer.
///
/// The order of the fields is that of memory. What calls write comes first, with the reference
/// count of the seat that lies before it; what they only read comes last, with the seat's key. The
/// line of cache in which successes are counted ends before `core`.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Tracker {
    succeeded: AtomicU64,
    /// The registry's sequence number when the peer was last used.
    stamp: AtomicU64,
    neutral: AtomicU64,
    abandoned: AtomicU64,
    late: AtomicU64,
    /// How long successes take, as far as known.
    latency: Latency,
    reported_successes: AtomicU64,
    /// When the peer was last used while it was in trouble (R26).
    used_at: AtomicU64,
    salt: u64,
    core: Swap<Core>,
    /// Whether the circuit is at rest.
    rest: Rest,
}

/// A circuit as it was seen: the value that was loaded, or what a success has made of it.
#[derive(Debug)]
pub(crate) enum Seen {
    Loaded(Loaded<Core>),
    Cleared(Box<Core>),
}

impl Deref for Seen {
    type Target = Core;

    #[inline]
    fn deref(&self) -> &Core {
        match self {
            Self::Loaded(core) => core,
            Self::Cleared(core) => core,
        }
    }
}

/// What became of a report, for the reply (R23).
#[derive(Debug)]
pub(crate) enum Reply {
    Recorded(Recorded),
    Refused,
    Now,
    Gone,
}

impl Tracker {
    /// A tracker that begins as `core`, which others may share: none of them ever returns to it.
    pub(crate) fn new(core: Arc<Core>, salt: u64, stamp: u64) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            succeeded: zero(),
            stamp: AtomicU64::new(stamp),
            neutral: zero(),
            abandoned: zero(),
            late: zero(),
            latency: Latency::unknown(),
            reported_successes: zero(),
            used_at: zero(),
            salt,
            rest: Rest::new(core.generation),
            core: Swap::new(core),
        }
    }

    /// Begins as another core than it was made with. Only for a tracker that nobody has found yet.
    pub(crate) fn begin(&self, core: Arc<Core>) {
        self.rest.begin(core.generation);
        self.core.replace(core);
    }

    /// The circuit as it is now.
    #[inline]
    pub(crate) fn core(&self) -> Seen {
        let core = self.core.load();
        match core.seen() {
            Cow::Owned(cleared) => Seen::Cleared(Box::new(cleared)),
            Cow::Borrowed(_) => Seen::Loaded(core),
        }
    }

    /// Makes a step: whoever installs the new value has made it, alone (R13). The configuration is
    /// read after the value; if the value is still there when the step is made, the step is as if
    /// made when the configuration was read (R18). A step that changes nothing answers from both as
    /// each was at some moment of the call.
    fn advance<R>(
        &self,
        env: &Env,
        now: Tick,
        step: impl Fn(&Core, At<'_>) -> Step<R>,
    ) -> (R, Turns) {
        self.advance_from(self.core.load(), env, now, step)
    }

    /// The same, where the value was loaded already.
    fn advance_from<R>(
        &self,
        mut found: Loaded<Core>,
        env: &Env,
        now: Tick,
        step: impl Fn(&Core, At<'_>) -> Step<R>,
    ) -> (R, Turns) {
        loop {
            let seen = found.seen();
            let rules = env.rules();
            let at = At { rules: &rules, now, salt: self.salt, held: false };
            let mut made = step(&seen, at);
            let trips = rules.guard.is_some() && seen.trips_by(&made.turns);
            let place =
                if trips { place(env, self.successes() > 0, &seen, at) } else { Place::Free };
            if place == Place::None {
                made = step(&seen, At { held: true, ..at });
            }
            let Some(next) = made.next else { return (made.reply, made.turns) };
            if !found.seal(matches!(seen, Cow::Owned(_))) {
                // Cleared meanwhile: the step is made anew.
                env.guard.give_back(place);
                continue;
            }
            match self.put(&found, seen.is_at_rest(), next) {
                Ok(()) => return (made.reply, opened(env, at, place, made.turns)),
                Err(other) => {
                    env.guard.give_back(place);
                    found = other;
                }
            }
        }
    }

    /// Puts a value in the place of the one that was found, which is sealed, and lets the word
    /// follow: see [`Rest`].
    fn put(&self, found: &Loaded<Core>, rested: bool, next: Arc<Core>) -> Result<(), Loaded<Core>> {
        let rests = next.is_at_rest().then_some(next.generation);
        let word = match rests {
            _ if rested => Some(self.rest.take_back()),
            Some(_) => Some(self.rest.read()),
            None => None,
        };
        // Pairs with all loads: whoever sees the new value sees all that led to it.
        self.core.compare_and_swap(found, next)?;
        if let (Some(word), Some(generation)) = (word, rests) {
            self.rest.say(word, generation);
        }
        Ok(())
    }

    /// The generation of the circuit, if it is at rest.
    #[inline]
    pub(crate) fn rests(&self) -> Option<u64> {
        self.rest.generation()
    }

    /// Asks to be admitted. A healthy peer needs no clock (R1): nobody will ask when the call
    /// began (R14), unless slow calls are looked for.
    pub(crate) fn acquire(&self, env: &Env) -> (Admission, Turns) {
        let core = self.core.load();
        let cleared = core.was_cleared();
        if (cleared || core.is_quiet()) && env.rules().slow_call.is_none() {
            self.speak_up(&core, cleared || core.is_at_rest());
            return (Admission::Admitted(Ticket::quiet(core.generation)), [None; 2]);
        }
        let now = env.clock.now();
        self.touch(now);
        if core.admits_all() {
            return (Admission::Admitted(core.ticket(now, None)), [None; 2]);
        }
        self.advance_from(core, env, now, |core, at| core.admit(at))
    }

    /// Counts a success of a phase in which it changes nothing else.
    #[inline]
    pub(crate) fn count_success(&self) {
        // Relaxed: pairs with nothing; a total, in no order with the circuit.
        self.succeeded.fetch_add(1, Ordering::Relaxed);
    }

    /// Says of a circuit at rest that it is, where the word is silent about it.
    fn speak_up(&self, found: &Core, rests: bool) {
        let word = self.rest.read();
        // Whoever replaces the circuit seals it before the word is taken back: not yet, so what was
        // read will not be there any more by then.
        if rests && !found.cleared.is_sealed() {
            self.rest.say(word, found.generation);
        }
    }

    /// Takes a success that only ends a streak: it needs neither the time nor the configuration.
    /// Whether it did.
    fn clear(&self, env: &Env, ticket: Ticket) -> bool {
        let core = self.core.load();
        let only = core.generation == ticket.generation && core.has_no_window();
        if !only || env.looks_at_recoveries() {
            return false;
        }
        if core.may_be_cleared() {
            let word = self.rest.read();
            match core.cleared.clear() {
                // As in `speak_up`: it was not sealed after the word was read.
                Ok(()) => self.rest.say(word, core.generation),
                Err(true) => {}
                // Somebody is about to replace it.
                Err(false) if self.put(&core, false, Arc::new(core.cleared())).is_err() => {
                    return false;
                }
                Err(false) => {}
            }
        }
        self.count_success();
        true
    }

    /// Takes the outcome of a permit.
    pub(crate) fn settle(
        &self,
        env: &Env,
        ticket: Ticket,
        verdict: Verdict,
        failure: Option<&Arc<Failure>>,
        stated: Option<u64>,
    ) -> (Recorded, Turns) {
        if verdict == Verdict::Success && self.clear(env, ticket) {
            if let Some(latency) = stated {
                self.latency.sample(latency, env.clock.now());
            }
            return (Recorded::Counted, [None; 2]);
        }
        let untimed = verdict == Verdict::Success && stated.is_none() && ticket.start.is_none();
        if untimed && let Some(settled) = self.settle_timeless(env, ticket) {
            return settled;
        }
        let now = env.clock.now();
        self.touch(now);
        let latency = stated.or(ticket.start.map(|start| now.since(start)));
        let successes = self.successes();
        let outcome = Outcome { verdict, failure, latency, reported: false, successes };
        let answered = Cell::new(false);
        let (settled, turns) = self.advance(env, now, |core, at| {
            answered.set(answers(env, core, verdict, at));
            core.settle(ticket, outcome, at)
        });
        let (recorded, turns) =
            self.feed(env, Some(now), ticket.generation, outcome, settled, turns);
        let turns = relieved(answered.get(), recorded, ticket.generation, turns);
        let counter = match (recorded, verdict) {
            (Recorded::Late, _) => &self.late,
            (_, Verdict::Success) => &self.succeeded,
            (_, Verdict::Neutral) => &self.neutral,
            (_, Verdict::Dropped) => &self.abandoned,
            // Counted in the value itself.
            (_, Verdict::Failure) => return (recorded, turns),
        };
        // Relaxed: pairs with nothing; a total, counted once, after the step.
        counter.fetch_add(1, Ordering::Relaxed);
        let counted = !matches!(recorded, Recorded::Late | Recorded::Neutral);
        if let (Verdict::Success, true, Some(latency)) = (verdict, counted, latency) {
            self.latency.sample(latency, now);
        }
        (recorded, turns)
    }

    /// Takes a report; the reply, and how many errors there were without a success between.
    pub(crate) fn report(
        &self,
        env: &Env,
        verdict: Verdict,
        failure: Option<&Arc<Failure>>,
    ) -> (Reply, u32, Turns) {
        let successes = self.successes();
        let outcome = Outcome { verdict, failure, latency: None, reported: true, successes };
        let step = |core: &Core, at: At<'_>| {
            let lifted = core.after_ban(at.now);
            let seen = lifted.as_ref().unwrap_or(core);
            let attempt = seen.health.retry_attempt.saturating_add(1);
            let answers = answers(env, seen, verdict, at);
            core.report(outcome, at).map(|reported| (reported, seen.generation, attempt, answers))
        };
        let untimed = verdict == Verdict::Success;
        let made = untimed.then(|| self.advance_timeless(env, step)).flatten();
        let (now, ((reported, generation, attempt, answers), turns)) = match made {
            Some(made) => (None, made),
            None => {
                let now = env.clock.now();
                self.touch(now);
                (Some(now), self.advance(env, now, step))
            }
        };
        let settled = match reported {
            Reported::Settled(settled) => settled,
            Reported::Refused => return (Reply::Refused, attempt, turns),
            Reported::Now => return (Reply::Now, attempt, turns),
            Reported::Gone => return (Reply::Gone, attempt, turns),
        };
        if verdict == Verdict::Success {
            // Relaxed: pairs with nothing; a total, counted once, after the step.
            self.reported_successes.fetch_add(1, Ordering::Relaxed);
        }
        let (recorded, turns) = self.feed(env, now, generation, outcome, settled, turns);
        let turns = relieved(answers, recorded, generation, turns);
        (Reply::Recorded(recorded), attempt, turns)
    }

    /// Whether `is_circuit_open` says so; a no is noted while a streak is running (R14).
    pub(crate) fn refuses(&self, env: &Env) -> bool {
        if self.rests().is_some() || self.core.load().says_no_quietly() {
            return false;
        }
        let now = env.clock.now();
        let (refuses, _) = self.advance(env, now, |core, at| core.announce(at));
        if !refuses {
            self.touch(now);
        }
        refuses
    }

    /// Imposes a status; `None` if the tracker was removed.
    pub(crate) fn control(&self, env: &Env, control: Control) -> (Option<()>, Turns) {
        let successes = self.successes();
        self.advance(env, Tick::default(), |core, _| core.control(control, successes))
    }

    /// Ends the wait of an open circuit; whether it is open, and may be probed now.
    pub(crate) fn end_wait(&self, env: &Env) -> (bool, Turns) {
        let now = env.clock.now();
        self.touch(now);
        self.advance(env, now, |core, at| core.end_wait(at.now))
    }

    /// Takes good news of the peer; whether its circuit is open, and may be probed now. A circuit
    /// at rest has nothing to gain by it.
    pub(crate) fn note_reachable(&self, env: &Env) -> (bool, Turns) {
        if self.rests().is_some() {
            return (false, [None; 2]);
        }
        let now = env.clock.now();
        self.touch(now);
        self.advance(env, now, |core, at| core.note_reachable(at))
    }

    /// Ends the last phase; what was counted so far, if this call did it (R27).
    pub(crate) fn remove(&self, env: &Env) -> (Option<PeerTotals>, Turns) {
        let (ended, turns) = self.advance(env, Tick::default(), |core, _| core.remove());
        (ended.map(|health| self.take_totals(&health)), turns)
    }
}
