//! What a driver knows: the peers that it is to call, and how their calls go. The driver's handles, its
//! task and its calls read and change it.
//!
//! The lock is held for a few steps of the schedule. Under it no operation, listener, clock or registry
//! is asked, no key is dropped, and nothing is awaited.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::CoordinatorShared;
use super::limits::HeldSlots;
use super::local_outage::{KINDS, LocalOutage};
use super::schedule::{Attempt, Push, Requested, Schedule};
use super::slots::PeerClass;
use super::stats::{DriverStats, WaitReason, Waiting};
use crate::foreign::guarded;
use crate::registry::{Name, PeerKey, SPREAD};
use crate::runtime::AbortHandle;
use crate::sync::Arc;
use crate::time::Tick;

mod begin;
mod end;

pub(super) use end::AttemptEnd;

pub(super) struct DriverState<K: PeerKey> {
    pub(super) shared: Arc<CoordinatorShared<K>>,
    state: Mutex<DriverData<K>>,
    wake: Notify,
    /// The channel is closed when the driver has ended.
    end: watch::Receiver<()>,
}

struct DriverData<K: PeerKey> {
    schedule: Schedule<Name<K>, AbortHandle>,
    /// Slots that were granted to an attempt, by its number, and that the driver's task has not used yet.
    granted: Vec<(u64, HeldSlots<Name<K>>)>,
    stats: DriverStats,
    closing: bool,
    /// There while calls fail for a reason of this node.
    outage: Option<LocalOutage>,
    /// Until then a call that ended otherwise amid the outage makes the failures of new peers their own.
    answered_amid: Tick,
    /// Counts the calls that ended otherwise than by a local failure, and wraps.
    other_ends: u32,
    /// Circuits that opened before this may be probed, though they wait (D8).
    kicked: Option<Tick>,
}

/// What the driver's task does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// A peer is due, or an attempt was granted its slots.
    Act,
    /// There is nothing to do until then, or until the state changes.
    Wait(Option<Tick>),
    End,
}

/// Held by the driver's task: the driver has ended when this is dropped, for whatever reason.
pub(super) struct DriverGuard<K: PeerKey> {
    driver: Arc<DriverState<K>>,
    _end: watch::Sender<()>,
}

impl<K: PeerKey> Drop for DriverGuard<K> {
    fn drop(&mut self) {
        let unused = self.driver.change(|state, _| {
            state.closing = true;
            state.stats.finished = true;
            state.schedule.clear();
            std::mem::take(&mut state.granted)
        });
        drop(unused);
    }
}

impl<K: PeerKey> DriverData<K> {
    fn plan(&self, now: Tick) -> Plan {
        if self.closing {
            return Plan::End;
        }
        if !self.granted.is_empty() {
            return Plan::Act;
        }
        let Some((at, _)) = self.next(now).filter(|_| !self.stats.paused) else {
            return Plan::Wait(None);
        };
        if at <= now { Plan::Act } else { Plan::Wait(Some(at)) }
    }

    /// Returns when the next peer may be checked, and its kind. In a local outage the kind goes first
    /// whose calls say most.
    fn next(&self, now: Tick) -> Option<(Tick, usize)> {
        let due = (0..KINDS).filter_map(|kind| Some((self.schedule.next(kind)?, kind)));
        let Some(outage) = self.outage else {
            return due.min().map(|((at, _), kind)| (at, kind));
        };
        let may = due.map(|((at, _), kind)| (outage.not_before(at, kind), kind));
        may.min_by_key(|(at, kind)| ((*at).max(now), *kind))
    }

    /// Whether a call that was granted its slots may begin.
    fn may_begin(&self, attempt: u64) -> bool {
        let admitted = self.outage.is_none_or(|outage| outage.is_probe(attempt));
        !self.closing && !self.stats.paused && admitted
    }

    fn probe_cancelled(&mut self, attempt: u64) {
        if let Some(outage) = &mut self.outage {
            outage.probe_cancelled(attempt);
        }
    }
}

impl<K: PeerKey> DriverState<K> {
    pub(super) fn new(shared: Arc<CoordinatorShared<K>>) -> (Arc<Self>, DriverGuard<K>) {
        let (guard, end) = watch::channel(());
        let state = DriverData {
            schedule: Schedule::new(),
            granted: Vec::new(),
            stats: DriverStats::default(),
            closing: false,
            outage: None,
            answered_amid: Tick::default(),
            other_ends: 0,
            kicked: None,
        };
        let driver = Self { shared, state: Mutex::new(state), wake: Notify::new(), end };
        let driver = Arc::new(driver);
        (Arc::clone(&driver), DriverGuard { driver, _end: guard })
    }

    /// Reads or changes the data under the lock.
    fn with<R>(&self, look: impl FnOnce(&mut DriverData<K>) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = look(&mut state);
        let (gone, withdrawn) = state.schedule.take_gone();
        drop(state);
        drop(gone);
        for (peer, request) in withdrawn {
            self.shared.limits.withdraw(&peer, request);
        }
        seen
    }

    /// Changes what there is to do, and wakes the driver's task.
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
            let local_trouble = state.outage.is_some();
            DriverStats { waiting, running, local_trouble, ..state.stats }
        })
    }

    pub(super) fn waiting(&self) -> Vec<Waiting<K>> {
        let now = self.now();
        let waiting: Vec<(Name<K>, Tick, WaitReason)> = self.with(|state| {
            let waiting = state.schedule.waiting();
            waiting.map(|(peer, at, reason)| (peer.clone(), at, reason)).collect()
        });
        let show = |(peer, at, reason): (Name<K>, Tick, WaitReason)| {
            // A key that panics costs its own line.
            let peer = guarded(|| (*peer).clone())?;
            Some(Waiting { peer, until: Duration::from_nanos(at.since(now)), reason })
        };
        waiting.into_iter().filter_map(show).collect()
    }

    pub(super) fn end(&self) -> watch::Receiver<()> {
        self.end.clone()
    }

    pub(super) fn plan(&self) -> Plan {
        let now = self.now();
        self.with(|state| state.plan(now))
    }

    /// Waits until something was changed.
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
            // The check of the peer finds what delays it.
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

    /// Does what [`kick_all`](Self::kick_all) does after an outage of our own link (R33). A call that was begun
    /// in it may take until its deadline to fail: it is made again now.
    pub(super) fn link_is_back(&self) {
        self.kick_all();
        let stuck = self.with(|state| state.schedule.begun_without_link());
        stuck.iter().for_each(AbortHandle::abort);
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

    /// Takes good news of a peer that the registry has heard (D6): the peer is due after `delay`.
    pub(super) fn note_reachable(&self, peer: &Name<K>, delay: u64) {
        let stranger = self.shared.class(peer) == PeerClass::Stranger;
        self.change(|state, now| {
            // A peer has come through to this node, so a local outage may be over.
            if let Some(outage) = &mut state.outage {
                outage.retry_now();
            }
            if !state.closing {
                state.schedule.note_reachable(peer, now.plus(delay), stranger);
            }
        });
    }

    /// Checks the peer anew if it waits for its circuit, which has made a step (D1).
    pub(super) fn recheck(&self, peer: &Name<K>) {
        self.change(|state, now| state.schedule.recheck(peer, now));
    }

    /// Checks every peer anew that waits for its circuit: the key of the one that made a step panics.
    pub(super) fn recheck_all(&self) {
        self.change(|state, now| state.schedule.recheck_all(now));
    }

    pub(super) fn forget(&self, peer: &K) -> bool {
        let Some(peer) = &self.shared.names.known(peer) else { return false };
        let forgotten = self.change(|state, _| {
            let forgotten = state.schedule.forget(peer)?;
            forgotten.attempt.into_iter().for_each(|attempt| state.probe_cancelled(attempt));
            Some(forgotten)
        });
        let Some(forgotten) = forgotten else { return false };
        if let Some(call) = forgotten.call {
            call.abort();
        }
        true
    }

    pub(super) fn close(&self) {
        self.change(|state, _| state.closing = true);
    }

    /// Whether a circuit that opened at `opened` may be probed, though it waits (D8).
    pub(super) fn was_kicked_since(&self, opened: Tick) -> bool {
        self.with(|state| state.kicked.is_some_and(|kicked| opened <= kicked))
    }

    pub(super) fn count_started(&self) {
        self.with(|state| state.stats.started += 1);
    }

    /// Keeps what aborts the call. If the peer was forgotten since it was taken, the call is aborted at
    /// once.
    pub(super) fn attach(&self, peer: &Name<K>, attempt: Attempt, call: AbortHandle) {
        if let Some(call) = self.with(|state| state.schedule.attach(peer, attempt, call)) {
            call.abort();
        }
    }

    /// Ends an attempt whose call was dropped before it ended. A kick before that makes it again.
    pub(super) fn abandoned(&self, peer: &Name<K>, attempt: Attempt) {
        self.change(|state, now| {
            state.probe_cancelled(attempt.number);
            match state.schedule.push_since(peer, attempt) {
                Some(Push::Kick) => state.schedule.wait_after_push(peer, attempt, Push::Kick, now),
                _ => state.schedule.done(peer, attempt, now),
            }
        });
    }
}
