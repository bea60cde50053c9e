//! Whether and when an operation is tried again: one decision, which `sync` and the driver share.
//!
//! 1. Another attempt is worth it after an error that may pass by itself, and after a severe one if
//!    the peer has said when to come back. The policy bounds the number of attempts.
//! 2. A retry that fails takes a token, of the coordinator's budget and of the peer's. Probes and
//!    peers that never answered take none: the circuit bounds the former, their share of the
//!    concurrency slots the latter (D7).
//! 3. The wait is the policy's delay, or what the peer asked for if that is longer (R16).
//! 4. A refusal is no attempt. The operation waits for as long as the refusal says, and is given up
//!    if that depends on an operator.
//!
//! What waits for an open circuit differs. The driver hears of each step, so it looks at the circuit
//! when the delay is over (D1). `sync` hears of none, so its wait includes the circuit's: see
//! [`RetryTerms::with_open_wait`].

use std::time::Duration;

use super::shared::CoordinatorShared;
use super::slots::PeerClass;
use super::stats::WaitReason;
use crate::budget::RetryBudget;
use crate::error::{ErrorSeverity, Failure};
use crate::outcome::{Reason, Recorded, Refused};
use crate::registry::hook::Standing;
use crate::registry::{Name, PeerKey};
use crate::retry_policy::{Jitter, RetryPolicy};

/// What happens to an operation after an attempt that failed or was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextAttempt {
    /// The next attempt is due after this; until then the operation waits for this reason.
    After(Duration, WaitReason),
    GiveUp,
    /// The next attempt would be worth it, but the budgets have no token for it.
    BudgetSpent,
}

/// What a failed attempt says of the next one.
#[derive(Debug, Clone, Copy)]
pub(super) struct RetryTerms {
    /// The error may pass by itself, or the peer has said when to come back.
    worth: bool,
    /// The budgets allow another attempt.
    allowed: bool,
    /// The peer asked to be left alone for this long.
    asked: Duration,
    /// The failure opened the circuit for this long.
    open_for: Duration,
}

impl RetryTerms {
    /// `longest` bounds both waits: a peer may ask for no longer one than its circuit would keep.
    pub(super) fn new(
        failure: &Failure,
        recorded: Recorded,
        allowed: bool,
        longest: Duration,
    ) -> Self {
        let (error, asked) = (failure.error(), failure.retry_after());
        let severe = error.severity() == ErrorSeverity::Severe;
        let open_for = match recorded {
            Recorded::Opened { retry_after } => retry_after,
            _ => Duration::ZERO,
        };
        Self {
            worth: error.is_retryable() || severe && asked.is_some(),
            allowed,
            asked: asked.unwrap_or_default().min(longest),
            open_for: open_for.min(longest),
        }
    }

    /// The terms after an operation that panicked, which says nothing about its peer.
    pub(super) fn after_panic() -> Self {
        Self { worth: true, allowed: true, asked: Duration::ZERO, open_for: Duration::ZERO }
    }

    /// The terms for a caller that hears of no step of the circuit.
    pub(super) fn with_open_wait(self) -> Self {
        Self { asked: self.asked.max(self.open_for), ..self }
    }

    /// Decides on the next attempt after `attempts` of them, with `u` from [0, 1) for the jitter.
    pub(super) fn next(self, policy: &RetryPolicy, attempts: u32, u: f64) -> NextAttempt {
        if !(self.worth && policy.should_retry(attempts)) {
            return NextAttempt::GiveUp;
        }
        if !self.allowed {
            return NextAttempt::BudgetSpent;
        }
        let delay = policy.delay(attempts, Jitter::Factor, Duration::ZERO, u);
        NextAttempt::After(delay.max(self.asked), WaitReason::Retry)
    }
}

/// Decides on the next attempt after a refusal; `while_probed` is the wait where other calls probe
/// the circuit, since their end is not known.
pub(super) fn after_refusal(refused: &Refused, while_probed: Duration) -> NextAttempt {
    match (refused.reason, refused.retry_after) {
        (_, Some(wait)) => NextAttempt::After(wait, WaitReason::Circuit),
        // An operator has to reset it.
        (Reason::ForcedOpen, None) => NextAttempt::GiveUp,
        (_, None) => NextAttempt::After(while_probed, WaitReason::Probes),
    }
}

impl<K: PeerKey> CoordinatorShared<K> {
    /// Takes the token of an attempt that failed, if it `takes_token`, and returns whether the
    /// budgets allow another. The circuit bounds the retries of a peer whose circuit is not closed.
    pub(super) fn charge(
        &self,
        peer: &Name<K>,
        class: PeerClass,
        standing: &Standing,
        takes_token: bool,
    ) -> bool {
        if class == PeerClass::Stranger {
            return true;
        }
        if takes_token {
            self.budget.failed();
            self.limits.budget(peer, RetryBudget::failed);
        }
        let is_closed = standing.opened_at.is_none();
        !is_closed || self.allows_retry(peer)
    }

    fn allows_retry(&self, peer: &Name<K>) -> bool {
        self.budget.allows_retry()
            && self.limits.budget(peer, RetryBudget::allows_retry).unwrap_or(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::SyncError;

    const LONGEST: Duration = Duration::from_secs(60);

    fn terms(failure: &Failure, recorded: Recorded) -> RetryTerms {
        RetryTerms::new(failure, recorded, true, LONGEST)
    }

    fn policy() -> RetryPolicy {
        RetryPolicy { jitter_factor: 0.0, ..RetryPolicy::default() }
    }

    #[test]
    fn a_severe_error_is_worth_another_attempt_if_the_peer_said_when_to_come_back() {
        let busy = Failure::remote("busy");
        assert_eq!(terms(&busy, Recorded::Counted).next(&policy(), 1, 0.0), NextAttempt::GiveUp);
        let asked = Duration::from_secs(9);
        let busy = busy.with_retry_after(asked);
        let next = terms(&busy, Recorded::Counted).next(&policy(), 1, 0.0);
        assert_eq!(next, NextAttempt::After(asked, WaitReason::Retry));
        let never = Failure::document("bad checksum").with_retry_after(asked);
        assert_eq!(terms(&never, Recorded::Neutral).next(&policy(), 1, 0.0), NextAttempt::GiveUp);
    }

    #[test]
    fn the_attempts_are_used_up_before_the_budget_is_asked() {
        let reset = Failure::from(SyncError::Network("reset".into()));
        let spent = RetryTerms::new(&reset, Recorded::Counted, false, LONGEST);
        let most = policy().max_attempts;
        assert_eq!(spent.next(&policy(), most - 1, 0.0), NextAttempt::BudgetSpent);
        assert_eq!(spent.next(&policy(), most, 0.0), NextAttempt::GiveUp);
    }

    #[test]
    fn a_wait_for_the_circuit_is_for_those_who_hear_of_no_step() {
        let reset = Failure::from(SyncError::Network("reset".into()));
        let opened = Recorded::Opened { retry_after: Duration::from_secs(30) };
        let delay = policy().initial_delay;
        let next = |terms: RetryTerms| terms.next(&policy(), 1, 0.0);
        let terms = terms(&reset, opened);
        assert_eq!(next(terms), NextAttempt::After(delay, WaitReason::Retry));
        let waits = NextAttempt::After(Duration::from_secs(30), WaitReason::Retry);
        assert_eq!(next(terms.with_open_wait()), waits);
    }

    #[test]
    fn no_peer_keeps_us_away_for_longer_than_its_circuit_would() {
        let reset = Failure::from(SyncError::Network("reset".into()));
        let busy = reset.with_retry_after(10 * LONGEST);
        let next = terms(&busy, Recorded::Counted).next(&policy(), 1, 0.0);
        assert_eq!(next, NextAttempt::After(LONGEST, WaitReason::Retry));
    }
}
