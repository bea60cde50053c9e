//! What makes a peer be called earlier: good news (D6), and somebody who says so (D8).

use std::collections::BTreeMap;

use super::{Attempt, FIRST, Operation, PeerState, Push, Schedule};
use crate::coordinator::stats::WaitReason;
use crate::registry::PeerKey;
use crate::time::Tick;

impl<K: PeerKey, C> Schedule<K, C> {
    /// There is good news of a peer: it is called from then on, or earlier if it was due earlier, in
    /// an operation that begins anew. If it is being called, the news is kept until that has ended.
    /// A stranger of which there is only news comes if there is room.
    pub(in crate::coordinator) fn hear(&mut self, peer: &K, at: Tick, stranger: bool) {
        match self.peers.get_mut(peer) {
            Some(PeerState::Running { heard, .. }) => *heard = heard.and(Push::News),
            Some(PeerState::Leaving { again, .. }) => *again = true,
            Some(PeerState::Waiting { .. } | PeerState::Asking { .. }) => {
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

    /// A peer that waits is called first, with all its attempts before it. `false` if it does not
    /// wait.
    pub(in crate::coordinator) fn kick(&mut self, peer: &K) -> bool {
        self.push(peer, FIRST, Push::Kick)
    }

    /// Whoever waits for a time to come may be called soon: one after the other, `apart` from each
    /// other, those that answered first; who is being called, again if that fails (D8).
    pub(in crate::coordinator) fn kick_all(&mut self, now: Tick, apart: impl Fn(usize) -> u64) {
        for place in self.peers.values_mut() {
            match place {
                PeerState::Running { heard, .. } => *heard = Push::Kick,
                PeerState::Asking { recheck, operation, .. } => {
                    (operation.push, *recheck) = (Push::Kick, true);
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

    /// What news there was of the peer since this attempt, which is being made, began.
    pub(in crate::coordinator) fn heard(&self, peer: &K, attempt: Attempt) -> Option<Push> {
        match self.peers.get(peer)? {
            PeerState::Running { number, heard, .. } => {
                (*number == attempt.number).then_some(*heard)
            }
            _ => None,
        }
    }

    /// As for [`wait`](Self::wait) of an attempt that has failed while there was news: the operation
    /// begins anew.
    pub(in crate::coordinator) fn wait_after_news(
        &mut self,
        peer: &K,
        attempt: Attempt,
        push: Push,
        at: Tick,
    ) {
        if self.heard(peer, attempt).is_none() {
            return;
        }
        self.leave(peer);
        let operation = attempt.operation.anew(push);
        if self.make_room(operation.stranger) {
            self.enter(peer, at, WaitReason::Slot, operation);
        }
    }

    /// A peer that waits or asks is looked at from then on, or earlier if it was due earlier.
    fn push(&mut self, peer: &K, at: Tick, push: Push) -> bool {
        let (due, operation) = match self.peers.get(peer) {
            Some(PeerState::Waiting { due, operation, .. }) => (due.0, *operation),
            Some(PeerState::Asking { due, operation, .. }) => (*due, *operation),
            _ => return false,
        };
        self.leave(peer);
        self.enter(peer, at.min(due), WaitReason::Slot, operation.anew(push));
        true
    }
}
