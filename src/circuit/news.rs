//! Good news of a peer (D6): it has called us, or was heard of. That ends its wait early, but does
//! not let a bad peer end its own backoff by calling us.
//!
//! The first news since the circuit was closed is heeded at once. After n half-open phases that news
//! has caused and that failed, the next is heeded at
//!
//! ```text
//! T = when the last phase that news caused began + min(open_timeout * multiplier^n, open_max)
//! ```
//!
//! 1. The wait is made to end at T where it would end later. It never becomes longer.
//! 2. News is deferred until T, not dropped, and so is news that comes during a half-open phase: it
//!    is heeded as soon as that phase has opened the circuit again.
//! 3. A phase was caused by news if the wait before it was made to end by news.
//! 4. All of it is forgotten when the circuit closes, and at every control.
//!
//! [`Circuit::end_wait`] is the operator's: no news, and bound by nothing.

use super::{Circuit, HalfOpen, Open, Phase, Step, StepContext};
use crate::time::Tick;

/// What is known of good news since the circuit was closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// The half-open phases that news caused and that failed, and when the last of them began.
    failed: u32,
    began: Tick,
    /// Whether news ends this wait, and so causes the phase that follows.
    ends_wait: bool,
    /// Whether there was news during the half-open phase.
    kept: bool,
}

impl News {
    /// From when on the next is heeded.
    fn heeded_at(&self, at: StepContext<'_>) -> Tick {
        match self.failed {
            0 => at.now,
            n => self.began.plus(at.rules.grown(n)),
        }
    }
}

impl Open {
    /// With a wait that ends now, by an operator.
    pub(super) fn cut(self, now: Tick) -> Self {
        let news = News { ends_wait: false, ..self.news };
        Self { wait: now.since(self.opened_at), news, ..self }
    }

    /// After news: the wait ends no later than it is heeded.
    fn heeding(self, at: StepContext<'_>) -> Self {
        let end = self.news.heeded_at(at).max(at.now);
        if end > self.ends() {
            return self;
        }
        let news = News { ends_wait: true, ..self.news };
        Self { wait: end.since(self.opened_at), news, ..self }
    }

    /// As it begins, after a half-open phase during which there may have been news.
    pub(super) fn after_news(self, at: StepContext<'_>) -> Self {
        if !self.news.kept {
            return self;
        }
        let news = News { kept: false, ..self.news };
        Self { news, ..self }.heeding(at)
    }
}

impl HalfOpen {
    /// What is known of good news once this phase has failed.
    pub(super) fn news_after_failure(&self) -> News {
        let News { failed, began, ends_wait, kept } = self.open.news;
        match ends_wait {
            true => {
                News { failed: failed.saturating_add(1), began: self.since, ends_wait: false, kept }
            }
            false => News { failed, began, ends_wait, kept },
        }
    }
}

impl Circuit {
    /// Takes good news of the peer. Whether the circuit is open, and may be probed now.
    pub(crate) fn note_reachable(&self, at: StepContext<'_>) -> Step<bool> {
        match &self.phase {
            Phase::Open(open) if open.is_over(at.now) => Step::stay(true),
            Phase::Open(open) => {
                let heeding = open.heeding(at);
                if heeding == *open {
                    return Step::stay(false);
                }
                let next = self.with_phase(Phase::Open(heeding));
                Step::to(next, heeding.is_over(at.now)).freed()
            }
            Phase::HalfOpen(half_open) if !half_open.open.news.kept => {
                let mut next = half_open.clone();
                next.open.news.kept = true;
                Step::to(self.with_phase(Phase::HalfOpen(next)), false)
            }
            _ => Step::stay(false),
        }
    }
}
