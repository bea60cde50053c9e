//! What calls are fed to a window (R15). And successes of a healthy peer where no rule looks at time,
//! with a streak rule or a window by count, which are taken without a look at the clock (R1).

use super::{Env, Tracker};
use crate::answer::Recorded;
use crate::circuit::{At, Core, Outcome, Settled, Step, Ticket, Turn, Turns, Verdict};
use crate::sync::Ordering;
use crate::time::Tick;

impl Tracker {
    /// Adds an outcome that was taken to the window of its phase, and opens the circuit if that
    /// reaches a rate (R15). Without a time the window is one by count.
    pub(super) fn feed(
        &self,
        env: &Env,
        now: Option<Tick>,
        generation: u64,
        outcome: Outcome<'_>,
        settled: Settled,
        turns: Turns,
    ) -> (Recorded, Turns) {
        let Some((window, sample)) = settled.feed else { return (settled.recorded, turns) };
        let counts = window.add(sample, now.unwrap_or_default());
        if counts.failures == 0 && counts.slow == 0 {
            // No rate is reached by this.
            return (settled.recorded, turns);
        }
        let now = now.unwrap_or_else(|| env.clock.now());
        let asked = outcome.asked_wait();
        // Of the steps that feed a window, one alone is a transition: that after a ban.
        let lifted = matches!(turns[0], Some((_, Turn::Controlled(_))));
        let after = |told: Turns| if lifted { [turns[0], told[0]] } else { told };
        match self.advance(env, now, |core, at| core.trip(generation, counts, asked, at)) {
            (Some(retry_after), told) => (Recorded::Opened { retry_after }, after(told)),
            // Held back, if anything is to be told (R30).
            (None, told) if turns[0].is_none() || lifted => (settled.recorded, after(told)),
            (None, _) => (settled.recorded, turns),
        }
    }

    /// Makes a step of a success by which nothing is noted but that it came; `None` if this circuit
    /// needs to know the time, by its own state or by its configuration.
    pub(super) fn advance_timeless<R>(
        &self,
        env: &Env,
        step: impl Fn(&Core, At<'_>) -> Step<R>,
    ) -> Option<(R, Turns)> {
        let (reply, turns) = self.advance(env, Tick::default(), |core, at| {
            if core.is_timeless(at.rules) { step(core, at).map(Some) } else { Step::stay(None) }
        });
        reply.map(|reply| (reply, turns))
    }

    /// Takes the success of a permit; `None` if it needs to know the time.
    pub(super) fn settle_timeless(&self, env: &Env, ticket: Ticket) -> Option<(Recorded, Turns)> {
        let outcome = Outcome {
            verdict: Verdict::Success,
            failure: None,
            latency: None,
            reported: false,
            successes: self.successes(),
        };
        let (settled, turns) =
            self.advance_timeless(env, |core, at| core.settle(ticket, outcome, at))?;
        let (recorded, turns) = self.feed(env, None, ticket.generation, outcome, settled, turns);
        let counter = if recorded == Recorded::Late { &self.late } else { &self.succeeded };
        // Relaxed: pairs with nothing; a total, counted once, after the step.
        counter.fetch_add(1, Ordering::Relaxed);
        Some((recorded, turns))
    }
}
