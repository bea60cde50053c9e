//! From a peer that is due to a call that may begin: who is looked at, what is asked for, what is
//! given, and who is put back.

use std::time::Duration;

use super::DriverState;
use crate::coordinator::limits::HeldSlots;
use crate::coordinator::schedule::Attempt;
use crate::coordinator::slots::PeerClass;
use crate::coordinator::stats::WaitReason;
use crate::outcome::{Reason, Refused};
use crate::registry::{Name, PeerKey};
use crate::sync::Arc;
use crate::time::{Tick, nanos};

/// A peer that cannot be called now is not looked at again before that: tokio's timers are no finer.
const LEAST: u64 = 1_000_000;
/// A peer that others probe is looked at again after that, should nobody tell of the probe's end.
const PROBED: u64 = 1_000_000_000;

impl<K: PeerKey> DriverState<K> {
    /// Takes the peer that is to be looked at now, if there is one.
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

    /// The peer that is looked at may be called: it asks for a slot.
    pub(in crate::coordinator) fn ask(
        self: &Arc<Self>,
        peer: &Name<K>,
        attempt: Attempt,
        class: PeerClass,
    ) {
        let (driver, number) = (Arc::downgrade(self), attempt.number);
        let asked = self.shared.limits.ask(peer, class, attempt.due, move |slot| {
            if let Some(driver) = driver.upgrade() {
                driver.take_slot(number, slot);
            }
        });
        let stranger = class == PeerClass::Stranger;
        self.with(|state| state.schedule.asks(peer, attempt, asked, stranger));
    }

    /// A slot was given: the driver's task is to use it.
    fn take_slot(&self, number: u64, slot: HeldSlots<Name<K>>) {
        let mut slot = Some(slot);
        self.change(|state, _| {
            if !state.closing {
                state.given.extend(slot.take().map(|slot| (number, slot)));
            }
        });
    }

    /// Takes a slot that was given, for a call that may begin.
    pub(in crate::coordinator) fn given(&self) -> Option<(Attempt, HeldSlots<Name<K>>)> {
        loop {
            let (number, slot) = self.with(|state| state.given.pop())?;
            let begun = self.change(|state, _| {
                let attempt = state.schedule.begin(slot.peer(), number)?;
                if state.may_begin(number) {
                    return Some(attempt);
                }
                // Paused, closed or in trouble since it was taken: it keeps its turn.
                state.schedule.wait(slot.peer(), attempt, attempt.due, WaitReason::Slot);
                None
            });
            if let Some(attempt) = begun {
                return Some((attempt, slot));
            }
        }
    }

    /// The peer that was taken is not called now: it is looked at again then.
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

    /// The peer that was taken is not called now: the registry refuses it.
    pub(in crate::coordinator) fn refused(
        &self,
        peer: &Name<K>,
        attempt: Attempt,
        refused: Refused,
        look_again: Option<Duration>,
    ) {
        let now = self.now();
        let after = |wait: u64| now.plus(wait.max(LEAST));
        let attempt = attempt.refused();
        match (refused.reason, refused.retry_after) {
            (Reason::ForcedOpen, None) => self.change(|state, now| {
                state.probe_cancelled(attempt.number);
                state.stats.given_up += 1;
                state.schedule.done(peer, attempt, now);
            }),
            (_, Some(wait)) => {
                self.put_back(peer, attempt, after(nanos(wait)), WaitReason::Circuit);
            }
            (_, None) => {
                let wait = look_again.map_or(PROBED, nanos).min(PROBED);
                self.put_back(peer, attempt, after(wait), WaitReason::Probes);
            }
        }
    }
}
