//! What the end of a call means for its peer, and for the driver.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::{DriverData, DriverState};
use crate::coordinator::local_outage::{self, AMID, LocalOutage, NEW};
use crate::coordinator::schedule::{Attempt, Push};
use crate::coordinator::stats::WaitReason;
use crate::registry::{Name, PeerKey};
use crate::retry_policy::Jitter;
use crate::time::{Tick, nanos};

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub(in crate::coordinator) enum AttemptEnd {
    /// Whether it was a probe that did not decide yet.
    Succeeded { undecided: bool },
    /// It failed for a reason of our own.
    Local,
    Failed {
        /// Whether such a failure may pass by itself.
        worth: bool,
        /// Whether the budget allows another attempt.
        allowed: bool,
        /// No attempt is to be made before that.
        least: Duration,
        /// Whether it says that calls can be made: a call that was refused says nothing.
        made: bool,
    },
}

impl<K: PeerKey> DriverState<K> {
    /// Takes what became of a call.
    pub(in crate::coordinator) fn ended(
        &self,
        peer: &Name<K>,
        attempt: Attempt,
        ending: AttemptEnd,
    ) {
        let (u, retry) = (self.draw(attempt), &self.shared.retry);
        let soon = nanos(retry.delay(1, Jitter::Factor, Duration::ZERO, u));
        let delay = |attempts| nanos(retry.delay(attempts, Jitter::Factor, Duration::ZERO, u));
        self.change(|state, now| {
            state.settle_outage(attempt, ending, now, u);
            let heard = state.schedule.heard(peer, attempt).unwrap_or(Push::None);
            let (schedule, stats) = (&mut state.schedule, &mut state.stats);
            let failed = !matches!(ending, AttemptEnd::Succeeded { .. });
            stats.failed += u64::from(failed);
            stats.succeeded += u64::from(!failed);
            match ending {
                AttemptEnd::Succeeded { undecided: true }
                    if u32::from(attempt.operation.probes) + 1 < retry.max_attempts =>
                {
                    schedule.wait(peer, attempt.probed(), now, WaitReason::Probes);
                }
                AttemptEnd::Succeeded { .. } => schedule.done(peer, attempt.ended(), now),
                // News that is more recent than the call.
                _ if heard != Push::None => {
                    let soon = if heard == Push::Kick { 0 } else { soon };
                    let attempt = match ending {
                        AttemptEnd::Local => attempt.failed_locally(state.otherwise),
                        _ => attempt.failed(),
                    };
                    schedule.wait_after_news(peer, attempt, heard, now.plus(soon));
                }
                AttemptEnd::Local => {
                    let attempt = attempt.failed_locally(state.otherwise);
                    let wait = local_outage::pause(attempt.operation.local.into(), u);
                    let at = now.plus(nanos(wait));
                    if !schedule.wait(peer, attempt, at, WaitReason::Local) {
                        stats.given_up += 1;
                    }
                }
                AttemptEnd::Failed { worth, allowed, least, .. } => {
                    let attempt = attempt.failed();
                    let attempts = attempt.operation.attempts;
                    let worth = worth && retry.should_retry(attempts);
                    if worth && allowed {
                        let at = now.plus(delay(attempts).max(nanos(least)));
                        if schedule.wait(peer, attempt, at, WaitReason::Retry) {
                            return;
                        }
                    } else {
                        schedule.done(peer, attempt, now);
                    }
                    stats.given_up += 1;
                    stats.retries_refused += u64::from(worth && !allowed);
                }
            }
        });
    }

    /// A number from [0, 1) for the jitter.
    fn draw(&self, attempt: Attempt) -> f64 {
        match self.shared.seed {
            Some(seed) => SmallRng::seed_from_u64(seed ^ attempt.number).random(),
            None => rand::rng().random(),
        }
    }
}

impl<K: PeerKey> DriverData<K> {
    /// What a call that ended says about trouble of our own (D2).
    fn settle_outage(&mut self, attempt: Attempt, ending: AttemptEnd, now: Tick, u: f64) {
        let Attempt { number, operation, .. } = attempt;
        // A peer that never answered fails by itself, if others have answered amid the trouble.
        let own = operation.kind() == NEW && now < self.answered_amid;
        match (ending, &mut self.outage) {
            (AttemptEnd::Local, Some(outage)) if own => outage.failed_by_itself(number, now, u),
            (AttemptEnd::Local, None) if own => {}
            (AttemptEnd::Local, Some(outage)) => outage.failed(number, operation.kind(), now, u),
            // That of a peer which fails so again, while others do not.
            (AttemptEnd::Local, None)
                if operation.local > 0 && operation.otherwise != self.otherwise => {}
            (AttemptEnd::Local, outage) => {
                *outage = Some(LocalOutage::begin(self.schedule.latest(), now, u));
            }
            (AttemptEnd::Failed { made: false, .. }, _) => {}
            (_, outage) => {
                self.otherwise = self.otherwise.wrapping_add(1);
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
