//! What makes a peer due earlier: good news of it (D6), and a kick (D8).

use std::collections::BTreeMap;

use super::{Attempt, FIRST, Operation, PeerState, Push, Schedule};
use crate::coordinator::stats::WaitReason;
use crate::registry::PeerKey;
use crate::time::Tick;

impl<K: PeerKey, C> Schedule<K, C> {
    /// Takes good news of a peer: it is due at `at`, or earlier if it was due earlier, in an operation
    /// that begins anew. If it is being called, the news is kept until that call has ended. A stranger
    /// that was not requested enters only if there is room.
    pub(in crate::coordinator) fn note_reachable(&mut self, peer: &K, at: Tick, stranger: bool) {
        match self.peers.get_mut(peer) {
            Some(PeerState::Running { push_later, .. }) => *push_later = push_later.and(Push::News),
            Some(PeerState::Leaving { again, .. }) => *again = true,
            Some(PeerState::Waiting { .. } | PeerState::Requesting { .. }) => {
                self.push(peer, at, Push::News);
            }
            None if stranger && self.strangers >= self.room => {}
            None => {
                self.entries += 1;
                let uninvited = if stranger { self.entries } else { 0 };
                let push = Push::News;
                let operation = Operation { stranger, uninvited, push, ..Operation::default() };
                self.enter(peer, at, WaitReason::Slot, operation);
            }
        }
    }

    /// Makes a peer that waits the first one due, in an operation that begins anew. Returns `false` if it
    /// does not wait.
    pub(in crate::coordinator) fn kick(&mut self, peer: &K) -> bool {
        self.push(peer, FIRST, Push::Kick)
    }

    /// Makes every peer that waits for a time to come due soon: one after the other, `apart` from each
    /// other, and those that answered before first. A peer that is being called is called again if that
    /// call fails (D8).
    pub(in crate::coordinator) fn kick_all(&mut self, now: Tick, apart: impl Fn(usize) -> u64) {
        for state in self.peers.values_mut() {
            match state {
                PeerState::Running { push_later, .. } => *push_later = Push::Kick,
                PeerState::Requesting { recheck, operation, .. } => {
                    (operation.push, operation.cut, *recheck) = (Push::Kick, 0, true);
                }
                _ => {}
            }
        }
        let later = (now.plus(1), 0);
        let later = self.order.each_mut().map(|order| order.split_off(&later));
        let is_stranger = |peer: &K| match self.peers.get(peer) {
            Some(PeerState::Waiting { operation, .. }) => operation.stranger,
            _ => false,
        };
        let (strangers, others): (Vec<_>, Vec<_>) =
            later.into_iter().flat_map(BTreeMap::into_values).partition(is_stranger);
        let apart = apart(strangers.len() + others.len());
        let mut at = now;
        for peer in others.into_iter().chain(strangers) {
            self.entries += 1;
            let next = (at, self.entries);
            if let Some(PeerState::Waiting { due, reason, operation }) = self.peers.get_mut(&peer) {
                (*due, *reason) = (next, WaitReason::Slot);
                *operation = operation.anew(Push::Kick);
                self.order[operation.kind()].insert(next, peer);
            }
            at = at.plus(apart);
        }
    }

    /// Returns what aborts the calls that were begun while our own link was down (R33).
    pub(in crate::coordinator) fn begun_without_link(&self) -> Vec<C>
    where
        C: Clone,
    {
        let calls = self.peers.values().filter_map(|state| match state {
            PeerState::Running { without_link: true, call, .. } => call.clone(),
            _ => None,
        });
        calls.collect()
    }

    /// Returns what pushed the peer since this attempt began; `None` if it is not being made.
    pub(in crate::coordinator) fn push_since(&self, peer: &K, attempt: Attempt) -> Option<Push> {
        match self.peers.get(peer)? {
            PeerState::Running { number, push_later, .. } => {
                (*number == attempt.number).then_some(*push_later)
            }
            _ => None,
        }
    }

    /// Makes the peer [`wait`](Self::wait) after an attempt that failed while there was news: the
    /// operation begins anew.
    pub(in crate::coordinator) fn wait_after_push(
        &mut self,
        peer: &K,
        attempt: Attempt,
        push: Push,
        at: Tick,
    ) {
        if self.push_since(peer, attempt).is_none() {
            return;
        }
        self.leave(peer);
        let operation = attempt.operation.anew(push);
        if self.make_room(operation.stranger) {
            self.enter(peer, at, WaitReason::Slot, operation);
        }
    }

    /// Makes a peer that waits or requests slots due at `at`, or earlier if it was due earlier.
    fn push(&mut self, peer: &K, at: Tick, push: Push) -> bool {
        let (due, operation) = match self.peers.get(peer) {
            Some(PeerState::Waiting { due, operation, .. }) => (due.0, *operation),
            Some(PeerState::Requesting { due, operation, .. }) => (*due, *operation),
            _ => return false,
        };
        self.leave(peer);
        self.enter(peer, at.min(due), WaitReason::Slot, operation.anew(push));
        true
    }
}
