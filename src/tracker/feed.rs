//! The feeding of windows with outcomes (R15).

use super::{Context, Tracker};
use crate::circuit::Emitted;
use crate::event::EventKind;
use crate::outcome::Recorded;
use crate::time::Tick;
use crate::window::{Sample, Sliding};

impl Tracker {
    /// Adds an outcome to the window of its phase, and opens the circuit if that reaches a rate (R15). A
    /// window by count needs no time.
    pub(super) fn feed(
        &self,
        context: &Context,
        now: Option<Tick>,
        generation: u64,
        asked: Option<u64>,
        (window, sample): (Sliding, Sample),
        (recorded, emitted): (Recorded, Emitted),
    ) -> (Recorded, Emitted) {
        let counts = window.add(sample, now.unwrap_or_default());
        if counts.failures == 0 && counts.slow == 0 {
            // Such a window reaches no rate.
            return (recorded, emitted);
        }
        let now = now.unwrap_or_else(|| context.clock.now());
        // Of the steps that feed a window, one alone is a transition: that after a ban.
        let lifted = matches!(emitted.first(), Some((_, EventKind::Reset)));
        let after = |told: Emitted| match lifted {
            true => Emitted::two(emitted.first(), told.first()),
            false => told,
        };
        match self.advance(context, now, |circuit, at| circuit.trip(generation, counts, asked, at))
        {
            (Some(retry_after), told) => (Recorded::Opened { retry_after }, after(told)),
            // The limiter held the trip back, if the step told of that (R30).
            (None, told) if emitted.is_empty() || lifted => (recorded, after(told)),
            (None, _) => (recorded, emitted),
        }
    }
}
