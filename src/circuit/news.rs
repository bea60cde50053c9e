//! Good news of a peer (D6): the peer has called this node, or another peer has told of it. News ends the
//! peer's wait early, but a bad peer cannot end its own backoff by calling us.
//!
//! The circuit heeds the first news since it was closed at once. After n half-open phases that news has
//! caused and that failed, it heeds the next at
//!
//! ```text
//! T = when the last phase that news caused began + min(open_timeout * multiplier^n, open_max)
//! ```
//!
//! 1. The wait ends at T where it would end later. It never becomes longer.
//! 2. The circuit defers news until T and does not drop it. It also keeps news that comes during a half-open
//!    phase, and heeds it as soon as that phase has opened the circuit again.
//! 3. News caused a phase if it ended the wait before that phase.
//! 4. The circuit forgets all news when it closes, and at every control.
//!
//! [`Circuit::end_wait`] is the operator's: it is no news, and none of these bounds applies to it.

use super::{Circuit, HalfOpen, Open, Phase, Step, StepContext};
use crate::time::Tick;

/// What the circuit remembers of good news since it was closed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// The number of half-open phases that news caused and that failed, and the beginning of the last one.
    failed: u32,
    began: Tick,
    /// Whether news ends this wait, and so causes the phase that follows.
    ends_wait: bool,
    /// Whether news came during the half-open phase.
    kept: bool,
}

impl News {
    /// Returns the time from which the circuit heeds the next news.
    fn heeded_at(&self, at: StepContext<'_>) -> Tick {
        match self.failed {
            0 => at.now,
            n => self.began.plus(at.rules.open_wait_after(n)),
        }
    }
}

impl Open {
    /// Returns this stay with a wait that an operator ends now.
    pub(super) fn cut(self, now: Tick) -> Self {
        let news = News { ends_wait: false, ..self.news };
        Self { wait: now.since(self.opened_at), news, ..self }
    }

    /// Returns this stay after news: the wait ends at the latest when the news is heeded.
    fn heeding(self, at: StepContext<'_>) -> Self {
        let end = self.news.heeded_at(at).max(at.now);
        if end > self.ends() {
            return self;
        }
        let news = News { ends_wait: true, ..self.news };
        Self { wait: end.since(self.opened_at), news, ..self }
    }

    /// Returns this stay as it begins: news that was kept during the half-open phase shortens the wait.
    pub(super) fn after_news(self, at: StepContext<'_>) -> Self {
        if !self.news.kept {
            return self;
        }
        let news = News { kept: false, ..self.news };
        Self { news, ..self }.heeding(at)
    }
}

impl HalfOpen {
    /// Returns what the circuit remembers of good news after this phase has failed.
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
    /// Takes good news of the peer. Replies whether the circuit is open and may be probed now.
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
