//! From a peer that is due to a call that may begin: the driver takes the peer, requests slots for it,
//! uses what it is granted, and puts a peer back that it may not call.

use std::time::Duration;

use super::DriverState;
use crate::coordinator::limits::HeldSlots;
use crate::coordinator::retry::{NextAttempt, after_refusal};
use crate::coordinator::schedule::Attempt;
use crate::coordinator::slots::PeerClass;
use crate::coordinator::stats::WaitReason;
use crate::outcome::Refused;
use crate::registry::{Name, PeerKey};
use crate::sync::Arc;
use crate::time::{Tick, nanos};

/// A peer that was refused is not checked again before this: tokio's timers are no finer.
const LEAST: u64 = 1_000_000;
/// A peer that other calls probe is checked again after this at the latest, in case no notice tells of
/// the probe's end.
const WHILE_PROBED: Duration = Duration::from_secs(1);

impl<K: PeerKey> DriverState<K> {
    /// Takes the peer that is to be checked now, if there is one.
    pub(in crate::coordinator) fn take(&self) -> Option<(Name<K>, Attempt)> {
        let now = self.now();
        self.with(|state| {
            if state.closing || state.stats.paused {
                return None;
            }
            let (_, kind) = state.next(now).filter(|(at, _)| *at <= now)?;
            let (peer, attempt) = state.schedule.take(kind)?;
            if let Some(outage) = &mut state.outage {
                outage.probe_started(attempt.number, now);
            }
            Some((peer, attempt))
        })
    }

    /// Requests slots for a peer that was taken and may be called.
    pub(in crate::coordinator) fn request_slots(
        self: &Arc<Self>,
        peer: &Name<K>,
        attempt: Attempt,
        class: PeerClass,
    ) {
        let (driver, number) = (Arc::downgrade(self), attempt.number);
        let request = self.shared.limits.request(peer, class, attempt.due, move |slots| {
            if let Some(driver) = driver.upgrade() {
                driver.keep_granted(number, slots);
            }
        });
        let stranger = class == PeerClass::Stranger;
        self.with(|state| state.schedule.requested_slots(peer, attempt, request, stranger));
    }

    /// Keeps slots that were granted, until the driver's task uses them.
    fn keep_granted(&self, number: u64, slots: HeldSlots<Name<K>>) {
        let mut slots = Some(slots);
        self.change(|state, _| {
            if !state.closing {
                state.granted.extend(slots.take().map(|slots| (number, slots)));
            }
        });
    }

    /// Returns granted slots, for a call that may begin.
    pub(in crate::coordinator) fn next_granted(&self) -> Option<(Attempt, HeldSlots<Name<K>>)> {
        loop {
            let (number, slots) = self.with(|state| state.granted.pop())?;
            let without_link = !self.shared.registry.is_link_up();
            let begun = self.change(|state, _| {
                let attempt = state.schedule.begin(slots.peer(), number, without_link)?;
                if state.may_begin(number) {
                    return Some(attempt);
                }
                // The driver was paused or closed since, or is in a local outage: the peer stays due.
                state.schedule.wait(slots.peer(), attempt, attempt.due, WaitReason::Slot);
                None
            });
            if let Some(attempt) = begun {
                return Some((attempt, slots));
            }
        }
    }

    /// Puts back a peer that was taken and is not called now; it is checked again at `at`.
    pub(in crate::coordinator) fn put_back(
        &self,
        peer: &Name<K>,
        attempt: Attempt,
        at: Tick,
        reason: WaitReason,
    ) {
        self.change(|state, _| {
            state.probe_cancelled(attempt.number);
            if !state.schedule.wait(peer, attempt, at, reason) {
                state.stats.given_up += 1;
            }
        });
    }

    /// Puts back a peer that was taken and that its circuit refuses; or gives it up, if an operator has
    /// to let it be called.
    pub(in crate::coordinator) fn refused(
        &self,
        peer: &Name<K>,
        attempt: Attempt,
        refused: Refused,
        look_again: Option<Duration>,
    ) {
        let attempt = attempt.refused();
        let while_probed = look_again.unwrap_or(WHILE_PROBED).min(WHILE_PROBED);
        match after_refusal(&refused, while_probed) {
            NextAttempt::After(wait, reason) => {
                let at = self.now().plus(nanos(wait).max(LEAST));
                self.put_back(peer, attempt, at, reason);
            }
            NextAttempt::GiveUp | NextAttempt::BudgetSpent => self.change(|state, now| {
                state.probe_cancelled(attempt.number);
                state.stats.given_up += 1;
                state.schedule.done(peer, attempt, now);
            }),
        }
    }
}
