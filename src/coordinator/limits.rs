//! Who may run: so many calls overall, so many with one peer, the dead no more than their part; and
//! what is remembered of each peer: its retry budget, and whether it has answered.
//!
//! A call needs a slot with its peer first, then a place. Who waits for a busy peer keeps nobody else
//! waiting. For the peer's slots callers wait in the order of asking, a driver among them like
//! everybody else; for a place in the order in which they are due, class by class: see [`ConcurrencySlots`].
//! A slot is taken before the permit: a permit that waits in a queue would be a probe that probes
//! nothing, and its latency would be that of the queue.
//!
//! The lock is held for a few steps of the maps: nothing is awaited, no key is dropped and nobody is
//! told under it.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::{Mutex, PoisonError};

use super::answered::Answered;
use super::slots::{ConcurrencySlots, PEER_CLASSES, PeerClass};
use crate::budget::RetryBudget;
use crate::foreign::quietly;
use crate::registry::PeerKey;
use crate::sync::Arc;
use crate::time::Tick;

/// So many peers are remembered, those that are not called at the moment for their budget's sake;
/// beyond that, half of these are forgotten.
const REMEMBERED: usize = 65_536;

/// When a caller is due, and the order among those of one time.
type Due = (Tick, u64);

/// Takes the slot that a caller has asked for, when it is given; told while no lock is held.
type Give<K> = Box<dyn FnOnce(HeldSlots<K>) + Send>;

pub(super) struct Limits<K: PeerKey> {
    each: usize,
    state: Mutex<LimitsData<K>>,
    /// As a peer's budget begins.
    budget: Option<RetryBudget>,
    remembered: usize,
}

struct LimitsData<K: PeerKey> {
    /// What belongs to a peer, while it is called, asked for, or its budget is not full.
    shares: HashMap<K, Share<K>>,
    /// Shares that nobody holds.
    idle: usize,
    slots: ConcurrencySlots,
    /// Those who have a slot with their peer and ask for a place.
    asking: [BTreeMap<Due, QueuedRequest<K>>; 4],
    answered: Answered<K>,
    asks: u64,
    gone: Vec<K>,
}

struct Share<K: PeerKey> {
    /// Slots that are held, with or without a place.
    used: usize,
    /// Those who ask for a slot, in the order of asking.
    asking: BTreeMap<u64, (PeerClass, Due, QueuedRequest<K>)>,
    /// SlotRequest when nothing is locked: it reads a clock (R25).
    budget: Option<Arc<RetryBudget>>,
}

struct QueuedRequest<K: PeerKey> {
    peer: K,
    give: Give<K>,
}

/// What a caller has asked for: to take it back by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotRequest {
    due: Due,
}

/// The right to run: a slot with the peer, and a place.
pub(super) struct HeldSlots<K: PeerKey> {
    limits: Arc<Limits<K>>,
    peer: K,
    /// As what the place is held.
    pub(super) class: PeerClass,
    /// What the peer is by now, for those who ask for the next slot with it.
    pub(super) now: Option<PeerClass>,
}

impl<K: PeerKey> Limits<K> {
    pub(super) fn new(all: usize, each: usize, budget: Option<RetryBudget>) -> Self {
        let state = LimitsData {
            shares: HashMap::new(),
            idle: 0,
            slots: ConcurrencySlots::new(all),
            asking: Default::default(),
            answered: Answered::new(),
            asks: 0,
            gone: Vec::new(),
        };
        Self { each, state: Mutex::new(state), budget, remembered: REMEMBERED }
    }

    fn with<R>(&self, change: impl FnOnce(&mut LimitsData<K>) -> R) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut state);
        let gone = mem::take(&mut state.gone);
        drop(state);
        drop(gone); // keys, when nothing is locked (R25)
        changed
    }

    /// Changes who asks or runs, and gives what can be given then.
    fn change<R>(self: &Arc<Self>, change: impl FnOnce(&mut LimitsData<K>) -> R) -> R {
        let mut given = Vec::new();
        let changed = self.with(|state| {
            let changed = change(state);
            while let Some(class) = state.slots.next(state.waiting()) {
                let Some((_, ask)) = state.asking[class.index()].pop_first() else { break };
                state.slots.give(class);
                given.push((class, ask));
            }
            changed
        });
        for (class, QueuedRequest { peer, give }) in given {
            // It may wake somebody, which is for that one to bear.
            let slot = HeldSlots { limits: Arc::clone(self), peer, class, now: None };
            quietly(move || give(slot));
        }
        changed
    }

    /// Asks for a slot, which `give` takes when there is one, perhaps at once. First come, first
    /// served by `due`; those who ask for the same peer by the order of asking.
    pub(super) fn ask(
        self: &Arc<Self>,
        peer: &K,
        class: PeerClass,
        due: Tick,
        give: impl FnOnce(HeldSlots<K>) + Send + 'static,
    ) -> SlotRequest {
        // Made before the lock: cloning is the user's.
        let (key, fresh) = (peer.clone(), || self.budget.as_ref().map(|b| Arc::new(b.fresh())));
        let ask = QueuedRequest { peer: peer.clone(), give: Box::new(give) };
        self.change(move |state| {
            state.asks += 1;
            let due = (due, state.asks);
            match state.shares.get_mut(&key) {
                Some(share) => {
                    state.idle -= usize::from(share.is_idle());
                    if share.used < self.each && share.asking.is_empty() {
                        share.used += 1;
                        state.asking[class.index()].insert(due, ask);
                    } else {
                        share.asking.insert(due.1, (class, due, ask));
                    }
                    state.gone.push(key);
                }
                None => {
                    let share = Share { used: 1, asking: BTreeMap::new(), budget: fresh() };
                    state.shares.insert(key, share);
                    state.asking[class.index()].insert(due, ask);
                }
            }
            SlotRequest { due }
        })
    }

    /// Takes back what was asked for; `false` if it was given, or is about to be.
    pub(super) fn withdraw(self: &Arc<Self>, peer: &K, asked: SlotRequest) -> bool {
        let full = self.is_full(peer);
        let taken = self.change(|state| {
            for class in PEER_CLASSES {
                if let Some(ask) = state.asking[class.index()].remove(&asked.due) {
                    self.release(state, peer, None, full);
                    return Some(ask);
                }
            }
            let share = state.shares.get_mut(peer)?;
            let (_, _, ask) = share.asking.remove(&asked.due.1)?;
            Some(ask)
        });
        taken.is_some() // dropped when nothing is locked
    }

    /// A slot with the peer is free again: of which class the peer is by now, if that is known, and
    /// whether nothing is to be remembered of its budget.
    fn release(&self, state: &mut LimitsData<K>, peer: &K, now: Option<PeerClass>, full: bool) {
        let Some(share) = state.shares.get_mut(peer) else { return };
        match share.asking.pop_first() {
            Some((_, (class, due, ask))) => {
                let class = now.unwrap_or(class);
                state.asking[class.index()].insert(due, ask);
                return;
            }
            None => share.used = share.used.saturating_sub(1),
        }
        if !share.is_idle() {
            return;
        }
        if full {
            state.gone.extend(state.shares.remove_entry(peer).map(|(key, _)| key));
            return;
        }
        state.idle += 1;
        if state.idle > self.remembered {
            let mut other = false;
            let half = |_: &K, share: &mut Share<K>| {
                other ^= share.is_idle();
                share.is_idle() && other
            };
            let forgotten: Vec<K> = state.shares.extract_if(half).map(|(key, _)| key).collect();
            state.idle -= forgotten.len();
            state.gone.extend(forgotten);
        }
    }

    /// Asks the peer's budget; a peer without one has no limit of its own.
    pub(super) fn budget<R>(&self, peer: &K, ask: impl FnOnce(&RetryBudget) -> R) -> Option<R> {
        self.budget.as_ref()?;
        let budget = self.with(|state| state.shares.get(peer)?.budget.as_ref().map(Arc::clone))?;
        Some(ask(&budget))
    }

    /// Whether the peer's budget is as a new one would be.
    fn is_full(&self, peer: &K) -> bool {
        self.budget(peer, RetryBudget::is_full).unwrap_or(true)
    }

    /// What the peer is, of which the registry knows this. The first that answered makes the dead
    /// leave half of the places to the living.
    pub(super) fn class(&self, peer: &K, answered: bool, troubled: bool) -> PeerClass {
        self.with(|state| {
            if !(answered || state.answered.contains(peer)) {
                return PeerClass::Stranger;
            }
            state.slots.note_answer();
            if troubled { PeerClass::Troubled } else { PeerClass::Healthy }
        })
    }

    /// The peer has answered; at most so many are remembered that did.
    pub(super) fn served(&self, peer: &K, now: Tick, most: usize) {
        let keys = [peer.clone(), peer.clone()];
        self.with(|state| {
            state.slots.note_answer();
            let spare = state.answered.served(keys, now, most);
            state.gone.extend(spare);
        });
    }

    /// Looks at, or changes, what is remembered of peers that answered.
    pub(super) fn answered<R>(&self, look: impl FnOnce(&mut Answered<K>) -> R) -> R {
        self.with(|state| look(&mut state.answered))
    }
}

impl<K: PeerKey> LimitsData<K> {
    /// Since when the first of each class is due.
    fn waiting(&self) -> [Option<Tick>; 4] {
        self.asking.each_ref().map(|asking| asking.first_key_value().map(|((due, _), _)| *due))
    }
}

impl<K: PeerKey> Share<K> {
    fn is_idle(&self) -> bool {
        self.used == 0 && self.asking.is_empty()
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
        limits.change(|state| {
            state.slots.release(self.class);
            limits.release(state, &self.peer, self.now, full);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use PeerClass::{Healthy, Stranger};

    fn limits(each: usize, budget: bool) -> Arc<Limits<u32>> {
        let budget = budget.then(|| RetryBudget::new(2, 0.5).unwrap());
        Arc::new(Limits { remembered: 8, ..Limits::new(64, each, budget) })
    }

    fn ask(
        limits: &Arc<Limits<u32>>,
        peer: u32,
        due: u64,
    ) -> (SlotRequest, Receiver<HeldSlots<u32>>) {
        let (given, slot) = channel();
        let give = move |slot| given.send(slot).unwrap_or_default();
        (limits.ask(&peer, Healthy, Tick(due), give), slot)
    }

    fn taken(limits: &Arc<Limits<u32>>, peer: u32) -> HeldSlots<u32> {
        ask(limits, peer, 0).1.try_recv().unwrap()
    }

    fn shares(limits: &Limits<u32>) -> usize {
        limits.with(|state| state.shares.len())
    }

    #[test]
    fn a_peer_has_so_many_slots_and_leaves_nothing_behind() {
        let limits = limits(2, false);
        let (one, two) = (taken(&limits, 7), taken(&limits, 7));
        let (asked, third) = ask(&limits, 7, 0);
        let (_, fourth) = ask(&limits, 7, 0);
        assert!(third.try_recv().is_err() && ask(&limits, 8, 0).1.try_recv().is_ok());
        assert!(limits.withdraw(&7, asked) && !limits.withdraw(&7, asked));
        drop(one);
        assert!(third.try_recv().is_err() && fourth.try_recv().is_ok());
        drop(two);
        assert_eq!(shares(&limits), 0);
    }

    #[test]
    fn who_is_due_first_gets_the_next_place_and_who_gave_up_gets_none() {
        let limits = Arc::new(Limits::new(1, 1, None));
        let first = taken(&limits, 1);
        let (late, early) = (ask(&limits, 2, 9), ask(&limits, 3, 5));
        let (gave_up, nobody) = ask(&limits, 4, 1);
        assert!(limits.withdraw(&4, gave_up) && nobody.try_recv().is_err());
        drop(first);
        let second = early.1.try_recv().unwrap();
        assert!(late.1.try_recv().is_err() && *second.peer() == 3);
        drop(second);
        drop(late.1.try_recv().unwrap());
        assert_eq!(shares(&limits), 0);
    }

    #[test]
    fn who_waits_for_a_peer_is_of_the_class_that_the_peer_is_by_then() {
        let limits = Arc::new(Limits::new(4, 1, None));
        limits.served(&9, Tick(0), 8);
        let (given, slot) = channel();
        let give = |given: &std::sync::mpsc::Sender<HeldSlots<u32>>| {
            let given = given.clone();
            move |slot| given.send(slot).unwrap_or_default()
        };
        limits.ask(&7, Stranger, Tick(0), give(&given));
        limits.ask(&7, Stranger, Tick(0), give(&given));
        let mut first = slot.try_recv().unwrap();
        first.now = Some(Healthy);
        drop(first);
        assert_eq!(slot.try_recv().unwrap().class, Healthy);
        assert!(limits.class(&9, false, true) == PeerClass::Troubled);
        assert!(limits.class(&7, false, true) == Stranger);
    }

    #[test]
    fn a_budget_is_remembered_until_it_is_full_again() {
        let limits = limits(1, true);
        let slot = taken(&limits, 7);
        limits.budget(&7, RetryBudget::failed);
        drop(slot);
        assert_eq!(limits.budget(&7, RetryBudget::milli_tokens), Some(1000));
        let slot = taken(&limits, 7);
        limits.budget(&7, RetryBudget::succeeded);
        limits.budget(&7, RetryBudget::succeeded);
        drop(slot);
        assert_eq!(shares(&limits), 0);
        assert_eq!(limits.budget(&7, RetryBudget::is_full), None);
    }

    #[test]
    fn no_more_peers_are_remembered_than_that_and_who_is_called_is_not_forgotten() {
        let limits = limits(1, true);
        let called = taken(&limits, 0);
        for (before, peer) in (1..100).enumerate() {
            for _ in 0..2 {
                let slot = taken(&limits, peer);
                limits.budget(&peer, RetryBudget::failed);
                drop(slot);
            }
            let (idle, all) = limits.with(|state| (state.idle, state.shares.len()));
            assert_eq!(idle, all - 1, "all but the one that is called");
            assert!(idle <= 8 && idle >= before.min(4), "half of them are forgotten");
            assert!(before >= 8 || idle == before + 1, "none before there are too many");
        }
        assert!(limits.with(|state| state.shares.contains_key(&0)));
        drop(called);
    }
}
