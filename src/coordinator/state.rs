//! What a driver knows: who is to be called, and how it goes. Its handles change it, its task and
//! its calls read and change it.
//!
//! The lock is held for a few steps of the schedule and nothing else: no operation, no listener, no
//! clock and no registry is asked under it, no key is dropped under it, and nothing is awaited.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::CoordinatorShared;
use super::limits::HeldSlots;
use super::local_outage::{KINDS, LocalOutage};
use super::schedule::{Attempt, Requested, Schedule};
use super::slots::PeerClass;
use super::stats::{DriverStats, WaitReason, Waiting};
use crate::registry::{Name, PeerKey};
use crate::sync::Arc;
use crate::time::Tick;

mod begin;
mod end;

pub(super) use end::AttemptEnd;

/// All who wait are called within that after a [`kick_all`](super::SyncDriver::kick_all), no sooner
/// after each other than that.
const SPREAD: (u64, u64) = (5_000_000_000, 20_000_000);

pub(super) struct DriverState<K: PeerKey> {
    pub(super) shared: Arc<CoordinatorShared<K>>,
    state: Mutex<DriverData<K>>,
    wake: Notify,
    /// Closed when the driver has ended.
    over: watch::Receiver<()>,
}

struct DriverData<K: PeerKey> {
    schedule: Schedule<Name<K>, AbortHandle>,
    /// Slots that were given, and for which attempt: to be used by the driver's task.
    given: Vec<(u64, HeldSlots<Name<K>>)>,
    stats: DriverStats,
    closing: bool,
    /// Calls fail for a reason of our own.
    outage: Option<LocalOutage>,
    /// Until then it counts that a call ended otherwise while they did.
    answered_amid: Tick,
    /// Calls that ended otherwise, wrapping.
    otherwise: u32,
    /// Circuits that were opened before may be probed (D8).
    kicked: Option<Tick>,
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// Somebody is due, or was given a slot.
    Act,
    /// Nothing, until then or until something happens.
    Wait(Option<Tick>),
    End,
}

/// Held by the driver's task: when it goes, the driver has ended, however it did.
pub(super) struct DriverGuard<K: PeerKey> {
    driver: Arc<DriverState<K>>,
    _over: watch::Sender<()>,
}

impl<K: PeerKey> Drop for DriverGuard<K> {
    fn drop(&mut self) {
        let unused = self.driver.change(|state, _| {
            state.closing = true;
            state.stats.finished = true;
            state.schedule.clear();
            std::mem::take(&mut state.given)
        });
        drop(unused);
    }
}

impl<K: PeerKey> DriverData<K> {
    fn plan(&self, now: Tick) -> Plan {
        if self.closing {
            return Plan::End;
        }
        if !self.given.is_empty() {
            return Plan::Act;
        }
        let Some((at, _)) = self.next(now).filter(|_| !self.stats.paused) else {
            return Plan::Wait(None);
        };
        if at <= now { Plan::Act } else { Plan::Wait(Some(at)) }
    }

    /// When the next peer may be looked at, and of which kind it is. In trouble of our own those go
    /// first whose calls say most.
    fn next(&self, now: Tick) -> Option<(Tick, usize)> {
        let due = (0..KINDS).filter_map(|kind| Some((self.schedule.next(kind)?, kind)));
        let Some(outage) = self.outage else {
            return due.min().map(|((at, _), kind)| (at, kind));
        };
        let may = due.map(|((at, _), kind)| (outage.not_before(at, kind), kind));
        may.min_by_key(|(at, kind)| ((*at).max(now), *kind))
    }

    /// Whether a call that was given its slot may begin.
    fn may_begin(&self, attempt: u64) -> bool {
        let tried = self.outage.is_none_or(|outage| outage.is_probe(attempt));
        !self.closing && !self.stats.paused && tried
    }

    fn probe_cancelled(&mut self, attempt: u64) {
        if let Some(outage) = &mut self.outage {
            outage.probe_cancelled(attempt);
        }
    }
}

impl<K: PeerKey> DriverState<K> {
    pub(super) fn new(shared: Arc<CoordinatorShared<K>>) -> (Arc<Self>, DriverGuard<K>) {
        let (guard, over) = watch::channel(());
        let state = DriverData {
            schedule: Schedule::new(),
            given: Vec::new(),
            stats: DriverStats::default(),
            closing: false,
            outage: None,
            answered_amid: Tick::default(),
            otherwise: 0,
            kicked: None,
        };
        let driver = Self { shared, state: Mutex::new(state), wake: Notify::new(), over };
        let driver = Arc::new(driver);
        (Arc::clone(&driver), DriverGuard { driver, _over: guard })
    }

    fn with<R>(&self, look: impl FnOnce(&mut DriverData<K>) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = look(&mut state);
        let (gone, withdrawn) = state.schedule.take_gone();
        drop(state);
        drop(gone);
        for (peer, asked) in withdrawn {
            self.shared.limits.withdraw(&peer, asked);
        }
        seen
    }

    /// Changes what there is to do, and lets the driver look at it.
    fn change<R>(&self, change: impl FnOnce(&mut DriverData<K>, Tick) -> R) -> R {
        let (now, room) = (self.now(), self.shared.registry.rules().max_peers);
        let changed = self.with(|state| {
            state.schedule.room = room;
            change(state, now)
        });
        self.wake.notify_one();
        changed
    }

    pub(super) fn now(&self) -> Tick {
        self.shared.registry.now()
    }

    pub(super) fn stats(&self) -> DriverStats {
        self.with(|state| {
            let (waiting, running) = state.schedule.count();
            let local_outage = state.outage.is_some();
            DriverStats { waiting, running, local_outage, ..state.stats }
        })
    }

    pub(super) fn waiting(&self) -> Vec<Waiting<K>> {
        let now = self.now();
        let waiting: Vec<(Name<K>, Tick, WaitReason)> = self.with(|state| {
            let waiting = state.schedule.waiting();
            waiting.map(|(peer, at, reason)| (peer.clone(), at, reason)).collect()
        });
        let show = |(peer, at, reason): (Name<K>, Tick, WaitReason)| Waiting {
            peer: (*peer).clone(),
            until: Duration::from_nanos(at.since(now)),
            reason,
        };
        waiting.into_iter().map(show).collect()
    }

    pub(super) fn over(&self) -> watch::Receiver<()> {
        self.over.clone()
    }

    pub(super) fn plan(&self) -> Plan {
        let now = self.now();
        self.with(|state| state.plan(now))
    }

    /// Until something was changed.
    pub(super) async fn changed(&self) {
        self.wake.notified().await;
    }

    pub(super) fn request(&self, peer: &K) -> bool {
        let peer = &self.shared.names.name(peer);
        let stranger = self.shared.class(peer) == PeerClass::Stranger;
        self.change(|state, now| {
            if state.closing {
                return false;
            }
            // What delays it is found when it is looked at.
            match state.schedule.request(peer, now, stranger) {
                Requested::New => true,
                Requested::Known => false,
                Requested::NoRoom => {
                    state.stats.strangers_refused += 1;
                    false
                }
            }
        })
    }

    pub(super) fn kick(&self, peer: &K) -> bool {
        let Some(peer) = &self.shared.names.known(peer) else { return false };
        self.shared.limits.answered(|answered| answered.end_delay(peer));
        self.change(|state, _| !state.closing && state.schedule.kick(peer))
    }

    pub(super) fn kick_all(&self) {
        let now = self.now();
        self.shared.limits.answered(|answered| answered.end_delays(now));
        self.change(|state, now| {
            let (most, least) = SPREAD;
            let apart = |peers: usize| (most / (peers as u64).max(1)).min(least);
            state.schedule.kick_all(now, apart);
            state.outage = None;
            state.kicked = Some(now);
        });
    }

    pub(super) fn pause(&self) {
        self.change(|state, _| state.stats.paused = true);
    }

    pub(super) fn resume(&self) {
        let was_paused = self.change(|state, _| {
            state.outage = None;
            std::mem::take(&mut state.stats.paused)
        });
        if was_paused {
            self.kick_all();
        }
    }

    /// Good news of the peer, which the registry has heard (D6): to be called in so long.
    pub(super) fn hear(&self, peer: &Name<K>, soon: u64) {
        let stranger = self.shared.class(peer) == PeerClass::Stranger;
        self.change(|state, now| {
            // Somebody has come through to us: if we were in trouble, it may be over.
            if let Some(outage) = &mut state.outage {
                outage.retry_now();
            }
            if !state.closing {
                state.schedule.hear(peer, now.plus(soon), stranger);
            }
        });
    }

    /// The peer's circuit has made a step that may let it be called earlier (D1).
    pub(super) fn recheck(&self, peer: &Name<K>) {
        self.change(|state, now| state.schedule.recheck(peer, now));
    }

    /// The same of a peer that cannot be told from others.
    pub(super) fn recheck_all(&self) {
        self.change(|state, now| state.schedule.recheck_all(now));
    }

    pub(super) fn forget(&self, peer: &K) -> bool {
        let Some(peer) = &self.shared.names.known(peer) else { return false };
        let removed = self.change(|state, _| {
            let removed = state.schedule.forget(peer)?;
            removed.attempt.into_iter().for_each(|attempt| state.probe_cancelled(attempt));
            Some(removed)
        });
        let Some(removed) = removed else { return false };
        if let Some(call) = removed.call {
            call.abort();
        }
        true
    }

    pub(super) fn close(&self) {
        self.change(|state, _| state.closing = true);
    }

    /// Whether a circuit that opened then may be probed though it waits (D8).
    pub(super) fn was_kicked_since(&self, opened: Tick) -> bool {
        self.with(|state| state.kicked.is_some_and(|kicked| opened <= kicked))
    }

    /// A call is about to begin.
    pub(super) fn begun(&self) {
        self.with(|state| state.stats.started += 1);
    }

    /// `call` stops it. If the peer was removed since it was taken, that is done at once.
    pub(super) fn attach(&self, peer: &Name<K>, attempt: Attempt, call: AbortHandle) {
        if let Some(call) = self.with(|state| state.schedule.attach(peer, attempt, call)) {
            call.abort();
        }
    }

    /// The call has ended without an end of its own: it was taken back.
    pub(super) fn left(&self, peer: &Name<K>, attempt: Attempt) {
        self.change(|state, now| {
            state.probe_cancelled(attempt.number);
            state.schedule.done(peer, attempt, now);
        });
    }
}
