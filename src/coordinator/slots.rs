//! Who may run: so many operations overall, so many with one peer; and each peer's retry budget.
//!
//! A slot is taken before the permit. A permit that waits for a slot would be a probe that probes
//! nothing, and its latency would be that of the queue.
//!
//! The lock is held for a few steps of the map: nothing is awaited and no key is dropped under it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::budget::RetryBudget;
use crate::registry::PeerKey;
use crate::sync::Arc;

/// So many peers are remembered, those that are not called at the moment for their budget's sake;
/// beyond that, half of these are forgotten.
const REMEMBERED: usize = 65_536;

pub(super) struct Slots<K> {
    all: Arc<Semaphore>,
    each: usize,
    /// What belongs to a peer, while it is called or its budget is not full.
    shares: Mutex<Shares<K>>,
    /// As a peer's budget begins.
    budget: Option<RetryBudget>,
    remembered: usize,
}

struct Shares<K> {
    of: HashMap<K, Share>,
    /// Those that nobody holds.
    idle: usize,
}

struct Share {
    slots: Arc<Semaphore>,
    budget: Option<RetryBudget>,
    /// Those who have a slot or wait for one.
    holders: usize,
}

/// The right to run: a place overall, and one with the peer.
pub(super) struct Slot<K: PeerKey> {
    _all: OwnedSemaphorePermit,
    _each: OwnedSemaphorePermit,
    _held: Held<K>,
}

/// The peer's share is there while this exists.
struct Held<K: PeerKey> {
    slots: Arc<Slots<K>>,
    peer: K,
}

impl<K: PeerKey> Slots<K> {
    pub(super) fn new(all: usize, each: usize, budget: Option<RetryBudget>) -> Self {
        let shares = Mutex::new(Shares { of: HashMap::new(), idle: 0 });
        Self { all: Arc::new(Semaphore::new(all)), each, shares, budget, remembered: REMEMBERED }
    }

    fn shares(&self) -> MutexGuard<'_, Shares<K>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(self: &Arc<Self>, peer: &K) -> (Held<K>, Arc<Semaphore>) {
        // Made first: cloning is the user's, and what is cloned is dropped under no lock.
        let held = Held { slots: Arc::clone(self), peer: peer.clone() };
        let mut guard = self.shares();
        let shares = &mut *guard;
        let slots = match shares.of.get_mut(peer) {
            Some(share) => {
                shares.idle -= usize::from(share.holders == 0);
                share.holders += 1;
                Arc::clone(&share.slots)
            }
            None => {
                let slots = Arc::new(Semaphore::new(self.each));
                let budget = self.budget.as_ref().map(RetryBudget::fresh);
                let share = Share { slots: Arc::clone(&slots), budget, holders: 1 };
                shares.of.insert(peer.clone(), share);
                slots
            }
        };
        drop(guard);
        (held, slots)
    }

    /// A slot, when there is one: first with the peer, so that those who wait for a busy peer keep
    /// nobody else waiting. First come, first served. `None` never: nobody closes a semaphore.
    pub(super) async fn take(self: &Arc<Self>, peer: &K) -> Option<Slot<K>> {
        let (held, each) = self.hold(peer);
        let each = each.acquire_owned().await.ok()?;
        let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Slot { _all: all, _each: each, _held: held })
    }

    /// A place overall, when there is one.
    pub(super) fn place(&self) -> impl Future<Output = Option<OwnedSemaphorePermit>> + use<K> {
        let all = Arc::clone(&self.all);
        async move { all.acquire_owned().await.ok() }
    }

    /// A slot for who has a place overall; `None` if the peer's own are all taken.
    pub(super) fn join(self: &Arc<Self>, all: OwnedSemaphorePermit, peer: &K) -> Option<Slot<K>> {
        let (held, each) = self.hold(peer);
        let each = each.try_acquire_owned().ok()?;
        Some(Slot { _all: all, _each: each, _held: held })
    }

    /// Asks the peer's budget; a peer without one has no limit of its own.
    pub(super) fn budget<R>(&self, peer: &K, ask: impl FnOnce(&RetryBudget) -> R) -> Option<R> {
        self.budget.as_ref()?;
        self.shares().of.get(peer)?.budget.as_ref().map(ask)
    }

    /// Nobody runs with the peer or waits for it on behalf of this holder any more.
    fn release(&self, peer: &K) {
        let mut guard = self.shares();
        let shares = &mut *guard;
        let Some(share) = shares.of.get_mut(peer) else { return };
        share.holders = share.holders.saturating_sub(1);
        if share.holders > 0 {
            return;
        }
        let mut gone = Vec::new();
        if share.budget.as_ref().is_none_or(RetryBudget::is_full) {
            gone.extend(shares.of.remove_entry(peer));
        } else {
            shares.idle += 1;
        }
        if shares.idle > self.remembered {
            let mut other = false;
            let half = |_: &K, share: &mut Share| {
                other ^= share.holders == 0;
                share.holders == 0 && other
            };
            gone.extend(shares.of.extract_if(half));
            shares.idle -= gone.len();
        }
        drop(guard);
        drop(gone);
    }
}

impl<K: PeerKey> Drop for Held<K> {
    fn drop(&mut self) {
        self.slots.release(&self.peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(each: usize, budget: bool) -> Arc<Slots<u32>> {
        let budget = budget.then(|| RetryBudget::new(2, 0.5).unwrap());
        Arc::new(Slots { remembered: 8, ..Slots::new(64, each, budget) })
    }

    fn joined(slots: &Arc<Slots<u32>>, peer: u32) -> Option<Slot<u32>> {
        let place = Arc::clone(&slots.all).try_acquire_owned().unwrap();
        slots.join(place, &peer)
    }

    #[test]
    fn a_peer_has_so_many_slots_and_leaves_nothing_behind() {
        let slots = slots(2, false);
        let (one, two) = (joined(&slots, 7), joined(&slots, 7));
        assert!(joined(&slots, 7).is_none() && joined(&slots, 8).is_some());
        assert_eq!(slots.all.available_permits(), 62);
        drop(one);
        assert!(joined(&slots, 7).is_some());
        drop(two);
        assert_eq!((slots.shares().of.len(), slots.all.available_permits()), (0, 64));
    }

    #[test]
    fn a_budget_is_remembered_until_it_is_full_again() {
        let slots = slots(1, true);
        let slot = joined(&slots, 7);
        slots.budget(&7, RetryBudget::failed);
        drop(slot);
        assert_eq!(slots.budget(&7, RetryBudget::milli_tokens), Some(1000));
        let slot = joined(&slots, 7);
        slots.budget(&7, RetryBudget::succeeded);
        slots.budget(&7, RetryBudget::succeeded);
        drop(slot);
        assert_eq!(slots.shares().of.len(), 0);
        assert_eq!(slots.budget(&7, RetryBudget::is_full), None);
    }

    #[test]
    fn no_more_peers_are_remembered_than_that_and_who_is_called_is_not_forgotten() {
        let slots = slots(1, true);
        let called = joined(&slots, 0);
        for peer in 1..100 {
            let slot = joined(&slots, peer);
            slots.budget(&peer, RetryBudget::failed);
            drop(slot);
            let shares = slots.shares();
            assert_eq!(shares.idle, shares.of.len() - 1, "all but the one that is called");
            assert!(shares.idle <= 8);
        }
        assert!(slots.shares().of.contains_key(&0));
        drop(called);
    }
}
