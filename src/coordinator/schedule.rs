//! What a driver has to do: which peers it is to call, from when on, and which it is calling.
//!
//! This is pure data, without a lock, a clock or a runtime. Times are the registry's. `C` is what
//! aborts a call that is being made.
//!
//! 1. A peer is waiting, requesting slots, running, leaving, or not here at all, which costs nothing.
//! 2. However often a peer is requested, it is called once; and once more if it was requested
//!    while it was being called.
//! 3. Peers that wait are in order of the time from which they may be called. The driver checks no peer
//!    before that time. A peer that is due is checked, and requests slots if its circuit lets it.
//! 4. A request, good news, or a step of the circuit that comes while a peer is not waiting is noted in
//!    its state, and takes effect on every way out of that state (D1, D3).
//! 5. A peer that was forgotten while it is called is called again only when that call has ended.
//! 6. Keys that are no longer needed, and slot requests that are obsolete, are kept until the caller
//!    takes them: a key's `Drop` is the user's, and runs under no lock (R25). The keys of a driver are
//!    names, which have no other foreign code, so no panic leaves the maps apart.

use std::collections::{BTreeMap, HashMap};
use std::mem;

use super::limits::SlotRequest;
use super::local_outage::KINDS;
use super::stats::WaitReason;
use crate::registry::PeerKey;
use crate::time::Tick;

mod forget;
mod operation;
mod push;
#[cfg(test)]
mod tests;

pub(super) use operation::{Attempt, Operation, Push};

/// When a peer is due, and its number among those of one time.
pub(super) type Due = (Tick, u64);

/// A peer that is due at this time comes before all others.
pub(super) const FIRST: Tick = Tick(0);

#[derive(Debug)]
enum PeerState<C> {
    Waiting {
        due: Due,
        reason: WaitReason,
        operation: Operation,
    },
    /// The peer is being checked, or has requested slots. `recheck` is set if its circuit has made a
    /// step meanwhile.
    Requesting {
        number: u64,
        due: Tick,
        request: Option<SlotRequest>,
        recheck: bool,
        operation: Operation,
    },
    /// The peer is being called. `again` is set if it was requested since, and `push_later` if there was
    /// news of it. `without_link` is set if our own link was down when it began.
    Running {
        number: u64,
        again: bool,
        push_later: Push,
        call: Option<C>,
        without_link: bool,
    },
    /// The peer was forgotten, and its call has not ended. `again` is set if it was requested since.
    Leaving {
        number: u64,
        again: bool,
    },
}

/// What a request of a peer led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Requested {
    /// The peer is to be called, or to be called once more.
    New,
    /// The peer waits already, or is to be called once more already.
    Known,
    /// The strangers that wait leave no room for this one (D4).
    NoRoom,
}

#[derive(Debug)]
pub(super) struct Schedule<K, C> {
    peers: HashMap<K, PeerState<C>>,
    /// The peers that wait, by their kind: see [`Operation::kind`].
    order: [BTreeMap<Due, K>; KINDS],
    /// The number of peers that are checked or request slots.
    requesting: usize,
    /// The number of peers that are called.
    running: usize,
    /// The number of strangers that wait or request slots; at most `room` (D4).
    strangers: usize,
    pub(super) room: usize,
    /// The strangers among them that came by good news alone, in the order in which they came.
    uninvited: BTreeMap<u64, K>,
    /// The last number that an entry of `order` or an attempt got.
    entries: u64,
    gone: Vec<K>,
    withdrawn: Vec<(K, SlotRequest)>,
}

impl<K: PeerKey, C> Schedule<K, C> {
    pub(super) fn new() -> Self {
        Self {
            peers: HashMap::new(),
            order: Default::default(),
            requesting: 0,
            running: 0,
            strangers: 0,
            room: usize::MAX,
            uninvited: BTreeMap::new(),
            entries: 0,
            gone: Vec::new(),
            withdrawn: Vec::new(),
        }
    }

    /// Returns how many peers wait for their time or for slots, and how many are called.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.order.iter().map(BTreeMap::len).sum::<usize>() + self.requesting, self.running)
    }

    /// Returns a number that no later attempt has, and none before exceeds.
    pub(super) fn latest(&self) -> u64 {
        self.entries
    }

    /// Takes the keys that are no longer needed and the slot requests that are obsolete. The caller drops
    /// the former, and withdraws the latter, while it holds no lock.
    pub(super) fn take_gone(&mut self) -> (Vec<K>, Vec<(K, SlotRequest)>) {
        (mem::take(&mut self.gone), mem::take(&mut self.withdrawn))
    }

    /// Iterates over the peers that wait, with until when and why.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (&K, Tick, WaitReason)> {
        self.peers.iter().filter_map(|(peer, state)| match state {
            PeerState::Waiting { due, reason, .. } => Some((peer, due.0, *reason)),
            PeerState::Requesting { due, .. } => Some((peer, *due, WaitReason::Slot)),
            _ => None,
        })
    }

    /// Requests that the peer is called from `at` on.
    pub(super) fn request(&mut self, peer: &K, at: Tick, stranger: bool) -> Requested {
        match self.peers.get_mut(peer) {
            Some(
                PeerState::Waiting { operation, .. } | PeerState::Requesting { operation, .. },
            ) => {
                let number = mem::take(&mut operation.uninvited);
                self.gone.extend(self.uninvited.remove(&number));
                Requested::Known
            }
            Some(PeerState::Running { again, .. } | PeerState::Leaving { again, .. }) => {
                if mem::replace(again, true) {
                    Requested::Known
                } else {
                    Requested::New
                }
            }
            None => {
                if !self.make_room(stranger) {
                    return Requested::NoRoom;
                }
                let operation = Operation { stranger, ..Operation::default() };
                self.enter(peer, at, WaitReason::Slot, operation);
                Requested::New
            }
        }
    }

    /// Makes the peer due if it waits for its circuit, which has made a step.
    pub(super) fn recheck(&mut self, peer: &K, now: Tick) {
        match self.peers.get_mut(peer) {
            Some(PeerState::Requesting { recheck, .. }) => *recheck = true,
            Some(PeerState::Waiting { due, reason, operation }) if reason.is_for_the_circuit() => {
                let order = &mut self.order[operation.kind()];
                let Some(key) = order.remove(due) else { return };
                self.entries += 1;
                *due = (now.min(due.0), self.entries);
                order.insert(*due, key);
            }
            _ => {}
        }
    }

    /// Makes every peer due that waits for its circuit: one of these has made a step.
    pub(super) fn recheck_all(&mut self, now: Tick) {
        let peers: Vec<K> = self.peers.keys().cloned().collect();
        peers.iter().for_each(|peer| self.recheck(peer, now));
        self.gone.extend(peers);
    }

    /// Returns when the next peer of this kind is due, and its number among those of one time.
    pub(super) fn next(&self, kind: usize) -> Option<Due> {
        self.order[kind].first_key_value().map(|(due, _)| *due)
    }

    /// Takes the peer of this kind that is due first: it is checked now.
    pub(super) fn take(&mut self, kind: usize) -> Option<(K, Attempt)> {
        let ((due, _), peer) = self.order[kind].pop_first()?;
        let state = self.peers.get_mut(&peer)?;
        let PeerState::Waiting { operation, .. } = *state else { return None };
        self.entries += 1;
        let number = self.entries;
        // A push that comes from now on is for the next attempt.
        let rest = Operation { push: Push::None, ..operation };
        *state =
            PeerState::Requesting { number, due, request: None, recheck: false, operation: rest };
        self.requesting += 1;
        Some((peer, Attempt { number, due, operation }))
    }

    /// Keeps the slot request of the peer that is being checked, as a stranger or not. The request is
    /// obsolete if the peer is not being checked any more.
    pub(super) fn requested_slots(
        &mut self,
        peer: &K,
        attempt: Attempt,
        new: SlotRequest,
        stranger: bool,
    ) {
        match self.peers.get_mut(peer) {
            Some(PeerState::Requesting { number, request, operation, .. })
                if *number == attempt.number =>
            {
                *request = Some(new);
                if operation.stranger && !stranger {
                    self.strangers -= 1;
                    self.gone.extend(self.uninvited.remove(&operation.uninvited));
                    (operation.stranger, operation.uninvited) = (false, 0);
                }
            }
            _ => self.withdrawn.push((peer.clone(), new)),
        }
    }

    /// Begins the call of a peer that was granted its slots; returns `None` if it requests them no more.
    pub(super) fn begin(&mut self, peer: &K, number: u64, without_link: bool) -> Option<Attempt> {
        let state = self.peers.get_mut(peer)?;
        let PeerState::Requesting { number: current, due, operation, .. } = *state else {
            return None;
        };
        if current != number {
            return None;
        }
        let push_later = Push::None;
        *state = PeerState::Running { number, again: false, push_later, call: None, without_link };
        self.requesting -= 1;
        self.running += 1;
        self.uncount(operation);
        Some(Attempt { number, due, operation })
    }

    /// Keeps what aborts the call of this attempt. It is handed back if the attempt has ended or was
    /// forgotten meanwhile.
    pub(super) fn attach(&mut self, peer: &K, attempt: Attempt, call: C) -> Option<C> {
        match self.peers.get_mut(peer) {
            Some(PeerState::Running { number, call: slot, .. }) if *number == attempt.number => {
                slot.replace(call)
            }
            _ => Some(call),
        }
    }

    /// Ends the operation. If the peer was requested meanwhile, it is called again from `now` on, also if
    /// it was forgotten.
    pub(super) fn done(&mut self, peer: &K, attempt: Attempt, now: Tick) {
        let again = match self.peers.get(peer) {
            Some(
                PeerState::Running { number, again, .. } | PeerState::Leaving { number, again },
            ) if *number == attempt.number => *again,
            Some(PeerState::Requesting { number, .. }) if *number == attempt.number => false,
            _ => return,
        };
        self.leave(peer);
        if again && self.make_room(attempt.operation.stranger) {
            let operation = attempt.operation.anew(Push::None);
            let operation = Operation { uninvited: 0, ..operation };
            self.enter(peer, now, WaitReason::Slot, operation);
        }
    }

    /// Makes the peer wait for another attempt, due at `at`, after one that is over or was not made. Good
    /// news, or a step of the circuit, since it was taken makes it due at once. Returns `false` if the
    /// peer is given up since there is no room for one more stranger.
    pub(super) fn wait(
        &mut self,
        peer: &K,
        attempt: Attempt,
        at: Tick,
        reason: WaitReason,
    ) -> bool {
        let mut operation = attempt.operation;
        let at = match self.peers.get(peer) {
            Some(PeerState::Requesting { number, recheck, operation: latest, .. })
                if *number == attempt.number =>
            {
                let Operation { uninvited, stranger, push, .. } = *latest;
                let push = operation.push.and(push);
                operation = Operation { uninvited, stranger, push, ..operation };
                if *recheck { attempt.due.min(at) } else { at }
            }
            Some(PeerState::Running { number, push_later, .. }) if *number == attempt.number => {
                match push_later {
                    Push::None => at,
                    push => {
                        operation = operation.anew(*push);
                        attempt.due.min(at)
                    }
                }
            }
            Some(PeerState::Leaving { .. }) => {
                self.done(peer, attempt, at);
                return true;
            }
            _ => return true,
        };
        self.leave(peer);
        let room = self.make_room(operation.stranger);
        if room {
            self.enter(peer, at, reason, operation);
        }
        room
    }

    /// Whether one more peer may wait: a stranger if there is room, or if another can go that came by
    /// good news alone.
    fn make_room(&mut self, stranger: bool) -> bool {
        if !stranger || self.strangers < self.room {
            return true;
        }
        let Some((_, other)) = self.uninvited.pop_last() else { return false };
        self.leave(&other);
        self.gone.push(other);
        true
    }

    fn enter(&mut self, peer: &K, at: Tick, reason: WaitReason, operation: Operation) {
        self.entries += 1;
        let due = (at, self.entries);
        self.order[operation.kind()].insert(due, peer.clone());
        self.peers.insert(peer.clone(), PeerState::Waiting { due, reason, operation });
        self.strangers += usize::from(operation.stranger);
        if operation.uninvited > 0 {
            self.uninvited.insert(operation.uninvited, peer.clone());
        }
    }

    /// Removes the peer, whatever its state is.
    fn leave(&mut self, peer: &K) {
        let Some((key, state)) = self.peers.remove_entry(peer) else { return };
        match state {
            PeerState::Waiting { due, operation, .. } => {
                self.gone.extend(self.order[operation.kind()].remove(&due));
                self.uncount(operation);
            }
            PeerState::Requesting { request, operation, .. } => {
                self.requesting -= 1;
                self.uncount(operation);
                self.withdrawn.extend(request.map(|request| (key.clone(), request)));
            }
            PeerState::Running { .. } => self.running -= 1,
            PeerState::Leaving { .. } => {}
        }
        self.gone.push(key);
    }

    fn uncount(&mut self, operation: Operation) {
        self.strangers -= usize::from(operation.stranger);
        self.gone.extend(self.uninvited.remove(&operation.uninvited));
    }
}
