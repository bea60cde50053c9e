//! Who may run: at most `max_concurrent` attempts over all, `max_per_peer` with one peer, and no more
//! of the dead than their share; and what is remembered of each peer: its retry budget, and whether it
//! has answered.
//!
//! An attempt needs a peer slot first and a concurrency slot second, so an attempt that waits for a busy
//! peer keeps no other waiting. Requests for one peer's slots are granted in the order of asking,
//! a driver's among them. Requests for concurrency slots are granted in the order in which they are due,
//! class by class: see [`ConcurrencySlots`].
//!
//! The lock is held for a few steps of the maps. Under it nothing is awaited, no key is dropped, and no
//! caller is told of its slots (R25).

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::{Mutex, PoisonError};

use super::answered::Answered;
use super::slots::{ConcurrencySlots, PEER_CLASSES, PeerClass};
use crate::budget::RetryBudget;
use crate::foreign::quietly;
use crate::registry::PeerKey;
use crate::registry::hook::Standing;
use crate::sync::Arc;
use crate::time::Tick;

#[cfg(test)]
mod tests;

/// The number of peers without an attempt whose budget is remembered; beyond it, half of them are
/// forgotten.
const REMEMBERED: usize = 65_536;

/// When a request is due, and its number among those of one time.
type QueuedAt = (Tick, u64);

/// Takes the slots that a caller has requested, while no lock is held.
type Give<K> = Box<dyn FnOnce(HeldSlots<K>) + Send>;

pub(super) struct Limits<K: PeerKey> {
    max_per_peer: usize,
    data: Mutex<LimitsData<K>>,
    /// The budget of a peer begins as a copy of this.
    budget: Option<RetryBudget>,
    remembered: usize,
}

struct LimitsData<K: PeerKey> {
    /// One share for each peer that holds a slot, requests one, or has a budget that is not full.
    shares: HashMap<K, Share<K>>,
    /// The number of shares that hold and request no slot.
    idle: usize,
    slots: ConcurrencySlots,
    /// Requests that have their peer slot and wait for a concurrency slot, by class.
    queues: [BTreeMap<QueuedAt, QueuedRequest<K>>; 4],
    answered: Answered<K>,
    requests: u64,
    gone: Vec<K>,
}

struct Share<K: PeerKey> {
    /// Peer slots that are held, with or without a concurrency slot.
    used: usize,
    /// Requests that wait for a peer slot, in the order of asking.
    queue: BTreeMap<u64, (PeerClass, QueuedAt, QueuedRequest<K>)>,
    /// The budget reads a clock, so it is asked while nothing is locked (R25).
    budget: Option<Arc<RetryBudget>>,
}

struct QueuedRequest<K: PeerKey> {
    peer: K,
    give: Give<K>,
}

/// Identifies a request, for [`Limits::withdraw`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotRequest {
    due: QueuedAt,
}

/// The right to make one attempt: a peer slot and a concurrency slot, which are free again when this
/// is dropped.
pub(super) struct HeldSlots<K: PeerKey> {
    limits: Arc<Limits<K>>,
    peer: K,
    /// The class that the concurrency slot counts for.
    pub(super) class: PeerClass,
    /// The class of the peer after the attempt, for the next request that waits for the peer.
    pub(super) class_now: Option<PeerClass>,
}

impl<K: PeerKey> Limits<K> {
    pub(super) fn new(
        max_concurrent: usize,
        max_per_peer: usize,
        budget: Option<RetryBudget>,
    ) -> Self {
        let data = LimitsData {
            shares: HashMap::new(),
            idle: 0,
            slots: ConcurrencySlots::new(max_concurrent),
            queues: Default::default(),
            answered: Answered::new(),
            requests: 0,
            gone: Vec::new(),
        };
        Self { max_per_peer, data: Mutex::new(data), budget, remembered: REMEMBERED }
    }

    fn with<R>(&self, change: impl FnOnce(&mut LimitsData<K>) -> R) -> R {
        let mut data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut data);
        let gone = mem::take(&mut data.gone);
        drop(data);
        drop(gone); // keys, when nothing is locked (R25)
        changed
    }

    /// Changes the requests or the held slots, and grants what can be granted then.
    fn change<R>(self: &Arc<Self>, change: impl FnOnce(&mut LimitsData<K>) -> R) -> R {
        let mut granted = Vec::new();
        let changed = self.with(|data| {
            let changed = change(data);
            while let Some(class) = data.slots.next(data.waiting()) {
                let Some((_, request)) = data.queues[class.index()].pop_first() else { break };
                data.slots.give(class);
                granted.push((class, request));
            }
            changed
        });
        for (class, QueuedRequest { peer, give }) in granted {
            let slots = HeldSlots { limits: Arc::clone(self), peer, class, class_now: None };
            // `give` may wake a task; a panic of its waker is that task's own.
            quietly(move || give(slots));
        }
        changed
    }

    /// Requests the slots for an attempt. `give` takes them when they are there, perhaps at once. The
    /// request that is due first is granted first; requests for one peer, in the order of asking.
    pub(super) fn request(
        self: &Arc<Self>,
        peer: &K,
        class: PeerClass,
        due: Tick,
        give: impl FnOnce(HeldSlots<K>) + Send + 'static,
    ) -> SlotRequest {
        // The keys are cloned before the lock is taken: cloning is the user's.
        let (key, fresh) = (peer.clone(), || self.budget.as_ref().map(|b| Arc::new(b.fresh())));
        let request = QueuedRequest { peer: peer.clone(), give: Box::new(give) };
        self.change(move |data| {
            data.requests += 1;
            let due = (due, data.requests);
            match data.shares.get_mut(&key) {
                Some(share) => {
                    data.idle -= usize::from(share.is_idle());
                    if share.used < self.max_per_peer && share.queue.is_empty() {
                        share.used += 1;
                        data.queues[class.index()].insert(due, request);
                    } else {
                        share.queue.insert(due.1, (class, due, request));
                    }
                    data.gone.push(key);
                }
                None => {
                    let share = Share { used: 1, queue: BTreeMap::new(), budget: fresh() };
                    data.shares.insert(key, share);
                    data.queues[class.index()].insert(due, request);
                }
            }
            SlotRequest { due }
        })
    }

    /// Withdraws a request; returns `false` if it was granted, or is about to be.
    pub(super) fn withdraw(self: &Arc<Self>, peer: &K, request: SlotRequest) -> bool {
        let full = self.is_full(peer);
        let withdrawn = self.change(|data| {
            for class in PEER_CLASSES {
                if let Some(queued) = data.queues[class.index()].remove(&request.due) {
                    self.release(data, peer, None, full);
                    return Some(queued);
                }
            }
            let share = data.shares.get_mut(peer)?;
            let (_, _, queued) = share.queue.remove(&request.due.1)?;
            Some(queued)
        });
        withdrawn.is_some() // dropped when nothing is locked
    }

    /// Frees a peer slot. `class` is the peer's by now, if that is known; `full` says that its budget is
    /// as a new one would be, so that nothing of the peer has to be remembered.
    fn release(&self, data: &mut LimitsData<K>, peer: &K, class: Option<PeerClass>, full: bool) {
        let Some(share) = data.shares.get_mut(peer) else { return };
        match share.queue.pop_first() {
            Some((_, (class_then, due, request))) => {
                let class = class.unwrap_or(class_then);
                data.queues[class.index()].insert(due, request);
                return;
            }
            None => share.used = share.used.saturating_sub(1),
        }
        if !share.is_idle() {
            return;
        }
        if full {
            data.gone.extend(data.shares.remove_entry(peer).map(|(key, _)| key));
            return;
        }
        data.idle += 1;
        if data.idle > self.remembered {
            let mut other = false;
            let half = |_: &K, share: &mut Share<K>| {
                other ^= share.is_idle();
                share.is_idle() && other
            };
            let forgotten: Vec<K> = data.shares.extract_if(half).map(|(key, _)| key).collect();
            data.idle -= forgotten.len();
            data.gone.extend(forgotten);
        }
    }

    /// Asks the peer's budget; returns `None` for a peer without one, which has no limit of its own.
    pub(super) fn budget<R>(&self, peer: &K, ask: impl FnOnce(&RetryBudget) -> R) -> Option<R> {
        self.budget.as_ref()?;
        let budget = self.with(|data| data.shares.get(peer)?.budget.as_ref().map(Arc::clone))?;
        Some(ask(&budget))
    }

    /// Whether the peer's budget is as a new one would be.
    fn is_full(&self, peer: &K) -> bool {
        self.budget(peer, RetryBudget::is_full).unwrap_or(true)
    }

    /// Returns the class of a peer that stands so in the registry. From the first peer that answered
    /// on, the dead leave half of the concurrency slots to the living.
    pub(super) fn class(&self, peer: &K, standing: &Standing) -> PeerClass {
        self.with(|data| {
            if !(standing.answered || data.answered.contains(peer)) {
                return PeerClass::Stranger;
            }
            data.slots.note_answer();
            if standing.troubled { PeerClass::Troubled } else { PeerClass::Healthy }
        })
    }

    /// Notes that some peer has answered, whichever it is.
    pub(super) fn note_answer(&self) {
        self.with(|data| data.slots.note_answer());
    }

    /// Remembers that the peer answered, of at most `most` peers that did.
    pub(super) fn record_answer(&self, peer: &K, now: Tick, most: usize) {
        let keys = [peer.clone(), peer.clone()];
        self.with(|data| {
            data.slots.note_answer();
            let spare = data.answered.record(keys, now, most);
            data.gone.extend(spare);
        });
    }

    /// Reads or changes what is remembered of peers that answered.
    pub(super) fn answered<R>(&self, look: impl FnOnce(&mut Answered<K>) -> R) -> R {
        self.with(|data| look(&mut data.answered))
    }
}

impl<K: PeerKey> LimitsData<K> {
    /// Returns since when the first request of each class is due.
    fn waiting(&self) -> [Option<Tick>; 4] {
        self.queues.each_ref().map(|queue| queue.first_key_value().map(|((due, _), _)| *due))
    }
}

impl<K: PeerKey> Share<K> {
    fn is_idle(&self) -> bool {
        self.used == 0 && self.queue.is_empty()
    }
}

impl<K: PeerKey> HeldSlots<K> {
    pub(super) fn peer(&self) -> &K {
        &self.peer
    }
}

impl<K: PeerKey> Drop for HeldSlots<K> {
    fn drop(&mut self) {
        let limits = Arc::clone(&self.limits);
        let full = limits.is_full(&self.peer);
        limits.change(|data| {
            data.slots.release(self.class);
            limits.release(data, &self.peer, self.class_now, full);
        });
    }
}
