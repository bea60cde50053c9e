//! The answers that need no step: an admission to a peer in a streak, the failure that extends the streak, the
//! success that ends it, and a refusal while a wait lasts. In a streak the word tells that the circuit is
//! Closed, and a note beside it the generation; where a rule may ask for more, the call goes the long way.

use super::totals::Record;
use super::{Context, Tracker};
use crate::circuit::{Circuit, Ticket};
use crate::sync::Loaded;
use crate::time::Tick;
use crate::word::Reading;

impl Tracker {
    /// Admits a call to a peer in a streak. The permit's end notes the peer's use (R26).
    #[inline]
    pub(crate) fn admit_in_streak(&self, context: &Context) -> Option<Ticket> {
        let (_, _, rest) = self.counting()?;
        let generation = rest.generation()?;
        let quiet = !context.looks_at_successes() && !context.asks_for_starts();
        quiet.then_some(Ticket::quiet(generation))
    }

    /// Counts a failure that begins or extends a streak, and changes nothing else. Returns the generation, the
    /// errors without a success before it, and the era that counts its error.
    #[inline]
    pub(super) fn extend_streak(
        &self,
        context: &Context,
        ticket: Option<&Ticket>,
        errs: bool,
    ) -> Option<(u64, u32, u32)> {
        loop {
            let (record, word, rest) = self.counting()?;
            let (generation, era, run) = (rest.generation()?, record.era(), word.run());
            let next = run.failed(errs);
            // The configuration is read after the word: as in `run_after`.
            let opens = next.streak >= context.streak_alone();
            if opens || ticket.is_some_and(|ticket| ticket.generation != generation) {
                return None;
            }
            if self.word.count_to(word, word.counting(next)?) {
                return Some((generation, run.errors, era));
            }
        }
    }

    /// Counts a success that ends a streak, and changes nothing else. Returns whether it did.
    pub(super) fn end_streak(&self, context: &Context, generation: u64) -> bool {
        let Some((_, word, rest)) = self.counting() else { return false };
        // The configuration is read after the word: as in `run_after`.
        let ended = rest.generation() == Some(generation)
            && !context.looks_at_successes()
            && !context.limits_outages()
            && self.word.count_to(word, rest);
        if ended {
            self.count_success();
        }
        ended
    }

    /// Returns the rest of the wait of an open circuit, in nanoseconds, while it lasts; otherwise the value
    /// that was found, for [`acquire`](Self::acquire).
    #[inline]
    pub(crate) fn rest_of_wait(&self, context: &Context) -> Result<u64, Loaded<Circuit>> {
        let (value, mut now) = (self.circuit.load(), Tick::default());
        let rest = value.rest_of_wait(|| {
            now = context.clock.now();
            now
        });
        let Some(rest) = rest else { return Err(value) };
        context.date_next_if_old(now);
        Ok(rest)
    }

    /// Returns the record, the word, and the word at rest of the same value, if the word counts or is at rest, and
    /// that is known.
    #[inline]
    fn counting(&self) -> Option<(&Record, Reading, Reading)> {
        let word = self.word.read();
        let record = self.record.get()?;
        Some((record, word, record.rest(word)?))
    }
}
