//! An open circuit: it refuses while its wait lasts (R2), and the length of that (R16).

use std::time::Duration;

use super::{Admission, Circuit, Health, News, Phase, Step, StepContext};
use crate::config::rules::whole;
use crate::event::EventKind;
use crate::outcome::Refused;
use crate::time::Tick;

impl StepContext<'_> {
    /// Returns min(max(open_timeout * multiplier^n, what the peer asked), open_max), less jitter (R16).
    pub(super) fn wait(&self, failed_half_opens: u32, asked: Option<u64>, generation: u64) -> u64 {
        let rules = self.rules;
        let wait =
            rules.open_wait_after(failed_half_opens).max(asked.unwrap_or(0)).min(rules.open_max);
        let cut = wait as f64 * rules.jitter * unit(self.salt, generation);
        wait.saturating_sub(whole(cut))
    }
}

/// Returns a number in [0, 1) that depends on both arguments in every bit: the finalizer of SplitMix64
/// (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
pub(super) fn unit(salt: u64, generation: u64) -> f64 {
    let mut x = salt.wrapping_add(generation.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^= x >> 31;
    (x >> 11) as f64 / (1u64 << 53) as f64
}

/// One stay in Open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) opened_at: Tick,
    pub(crate) wait: u64,
    /// The number of half-open phases that failed since the circuit was last closed (R16).
    pub(crate) failed_half_opens: u32,
    pub(crate) news: News,
}

impl Open {
    pub(crate) fn ends(&self) -> Tick {
        self.opened_at.plus(self.wait)
    }

    pub(super) fn is_over(&self, now: Tick) -> bool {
        now >= self.ends()
    }
}

impl Circuit {
    /// Returns the rest of the wait of an open circuit, in nanoseconds, while it lasts: calls are refused (R2).
    /// A refusal does not renew the peer's last use, so the peer may be forgotten once the wait is over (R26).
    #[inline]
    pub(crate) fn rest_of_wait(&self, now: impl FnOnce() -> Tick) -> Option<u64> {
        let Phase::Open(open) = &self.phase else { return None };
        let now = now();
        (!open.is_over(now)).then(|| open.ends().since(now))
    }

    /// Refuses a call while the wait lasts; the first call after it begins half-open, and is admitted or refused
    /// by that, in one step (R2, R4).
    pub(super) fn admit_open(&self, open: &Open, at: StepContext<'_>) -> Step<Admission> {
        match self.rest_of_wait(|| at.now) {
            Some(rest) => Step::stay(Admission::Refused(Refused::in_wait(rest))),
            None => {
                let begun = self.begin_half_open(*open, at);
                begun.admit(at).after(begun)
            }
        }
    }

    /// Opens the circuit now and replies with the wait. `failed_half_opens` (R16) and `news` (D6) are what
    /// the new phase remembers of those before it.
    pub(super) fn open(
        &self,
        health: Health,
        failed_half_opens: u32,
        asked: Option<u64>,
        news: News,
        at: StepContext<'_>,
    ) -> Step<Duration> {
        let wait = at.wait(failed_half_opens, asked, self.generation.saturating_add(1));
        let open = Open { opened_at: at.now, wait, failed_half_opens, news }.after_news(at);
        let wait = Duration::from_nanos(open.wait);
        let kind = EventKind::Opened { retry_after: wait, reopened: failed_half_opens > 0 };
        Step::emit(Self { health, ..self.turned(Phase::Open(open)) }, kind, wait)
    }

    /// Ends the wait of an open circuit, so that the next admission begins half-open as it would have later
    /// (R2 to R4). Replies whether the circuit is open and may be probed.
    pub(crate) fn end_wait(&self, now: Tick) -> Step<bool> {
        let Phase::Open(open) = self.phase else { return Step::stay(false) };
        if open.is_over(now) {
            return Step::stay(true);
        }
        Step::to(self.with_phase(Phase::Open(open.cut(now))), true).freed()
    }
}
