//! What the end of a call means for its peer, and for the driver.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::{DriverData, DriverState};
use crate::coordinator::local_outage::{self, AMID, LocalOutage, NEW};
use crate::coordinator::retry::{NextAttempt, RetryTerms};
use crate::coordinator::schedule::{Attempt, Push};
use crate::coordinator::stats::WaitReason;
use crate::registry::{Name, PeerKey};
use crate::retry_policy::Jitter;
use crate::time::{Tick, nanos};

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub(in crate::coordinator) enum AttemptEnd {
    /// The call succeeded. It is `undecided` if it was a probe that did not close the circuit yet.
    Succeeded { undecided: bool },
    /// The call failed for a reason of this node.
    Local,
    /// The call failed because our own link is down, or was meanwhile (R33). That says nothing of other calls,
    /// and is no attempt: the peer waits for the link.
    Cut,
    /// The call failed otherwise. If it was not `made`, it says nothing about a local outage.
    Failed { terms: RetryTerms, made: bool },
}

impl<K: PeerKey> DriverState<K> {
    /// Takes how a call ended, and puts its peer back if the operation goes on.
    pub(in crate::coordinator) fn ended(&self, peer: &Name<K>, attempt: Attempt, end: AttemptEnd) {
        let (u, retry) = (self.draw(attempt), &self.shared.retry);
        let first_delay = nanos(retry.delay(1, Jitter::Factor, Duration::ZERO, u));
        self.change(|state, now| {
            state.settle_outage(attempt, end, now, u);
            let push = state.schedule.push_since(peer, attempt).unwrap_or(Push::None);
            let (schedule, stats) = (&mut state.schedule, &mut state.stats);
            let failed = !matches!(end, AttemptEnd::Succeeded { .. });
            stats.failed += u64::from(failed);
            stats.succeeded += u64::from(!failed);
            match end {
                AttemptEnd::Succeeded { undecided: true }
                    if u32::from(attempt.operation.probes) + 1 < retry.max_attempts =>
                {
                    schedule.wait(peer, attempt.probed(), now, WaitReason::Probes);
                }
                AttemptEnd::Succeeded { .. } => schedule.done(peer, attempt.ended(), now),
                // The news is more recent than the call that failed.
                _ if push != Push::None => {
                    let delay = if push == Push::Kick { 0 } else { first_delay };
                    let attempt = match end {
                        AttemptEnd::Local => attempt.failed_locally(state.other_ends),
                        AttemptEnd::Cut => attempt.cut(),
                        _ => attempt.after_failure(),
                    };
                    schedule.wait_after_push(peer, attempt, push, now.plus(delay));
                }
                AttemptEnd::Local | AttemptEnd::Cut => {
                    let (attempt, in_a_row) = if let AttemptEnd::Cut = end {
                        let attempt = attempt.cut();
                        (attempt, attempt.operation.cut)
                    } else {
                        let attempt = attempt.failed_locally(state.other_ends);
                        (attempt, attempt.operation.local)
                    };
                    let wait = local_outage::pause(in_a_row.into(), u);
                    let at = now.plus(nanos(wait));
                    if !schedule.wait(peer, attempt, at, WaitReason::Local) {
                        stats.given_up += 1;
                    }
                }
                AttemptEnd::Failed { terms, .. } => {
                    let attempt = attempt.after_failure();
                    let next = terms.next(retry, attempt.operation.attempts, u);
                    let goes_on = match next {
                        NextAttempt::After(wait, reason) => {
                            schedule.wait(peer, attempt, now.plus(nanos(wait)), reason)
                        }
                        NextAttempt::GiveUp | NextAttempt::BudgetSpent => {
                            schedule.done(peer, attempt, now);
                            false
                        }
                    };
                    stats.given_up += u64::from(!goes_on);
                    if next == NextAttempt::BudgetSpent {
                        stats.retries_refused += 1;
                        self.shared.registry.count_refused_retry();
                    }
                }
            }
        });
    }

    /// Returns a number from [0, 1) for the jitter.
    fn draw(&self, attempt: Attempt) -> f64 {
        match self.shared.seed {
            Some(seed) => SmallRng::seed_from_u64(seed ^ attempt.number).random(),
            None => rand::rng().random(),
        }
    }
}

impl<K: PeerKey> DriverData<K> {
    /// Begins, prolongs or ends a local outage by the end of a call (D2).
    fn settle_outage(&mut self, attempt: Attempt, end: AttemptEnd, now: Tick, u: f64) {
        let Attempt { number, operation, .. } = attempt;
        // The failure of a new peer is its own, if other calls were answered amid the outage.
        let is_its_own = operation.kind() == NEW && now < self.answered_amid;
        match (end, &mut self.outage) {
            (AttemptEnd::Local, Some(outage)) if is_its_own => {
                outage.failed_by_itself(number, now, u);
            }
            (AttemptEnd::Local, None) if is_its_own => {}
            (AttemptEnd::Local, Some(outage)) => outage.failed(number, operation.kind(), now, u),
            // The peer fails so again, while calls of other peers do not.
            (AttemptEnd::Local, None)
                if operation.local > 0 && operation.other_ends != self.other_ends => {}
            (AttemptEnd::Local, outage) => {
                *outage = Some(LocalOutage::begin(self.schedule.latest(), now, u));
            }
            (AttemptEnd::Failed { made: false, .. } | AttemptEnd::Cut, _) => {}
            (_, outage) => {
                self.other_ends = self.other_ends.wrapping_add(1);
                if outage.is_some() {
                    self.answered_amid = now.plus(AMID);
                }
                if outage.is_some_and(|outage| outage.is_ended_by(number)) {
                    *outage = None;
                }
            }
        }
    }
}
