//! What a driver has to do: who is to be called, from when on, and who is being called.
//!
//! Pure data: no lock, no clock, no runtime. Times are the registry's. `C` is what stops a call that
//! is being made.
//!
//! 1. A peer is in one place: waiting, asking, running, leaving, or not here at all, which costs
//!    nothing.
//! 2. However often a peer is requested, it is called once; and once more if it was requested
//!    while it was being called.
//! 3. Those who wait are in order of the time from which they may be called. Nobody is looked at
//!    before that time. Who is due is looked at, and asks for a slot if its circuit lets it.
//! 4. Whatever comes while a peer is not waiting, a request, good news, a step of its circuit, is
//!    noted in its place, and heeded on every way out of it (D1, D3).
//! 5. A peer that was removed while it is called is called again only when that call has ended.
//! 6. Keys that are no longer needed, and what was asked for in vain, are kept until somebody takes
//!    them: a key's `Drop` is the user's, and runs under no lock (R25). The driver's keys are names, which
//!    have no foreign code but that: no panic leaves the maps apart.

use std::collections::{BTreeMap, HashMap};
use std::mem;

use super::limits::SlotRequest;
use super::local_outage::KINDS;
use super::stats::WaitReason;
use crate::registry::PeerKey;
use crate::time::Tick;

mod operation;
mod push;
#[cfg(test)]
mod tests;

pub(super) use operation::{Attempt, Operation, Push};

/// From when on, and the order among those of one time.
pub(super) type Due = (Tick, u64);

/// Comes before all that is due at a time.
pub(super) const FIRST: Tick = Tick(0);

#[derive(Debug)]
enum PeerState<C> {
    Waiting {
        due: Due,
        reason: WaitReason,
        operation: Operation,
    },
    /// It is being looked at, or asks for a slot; and whether its circuit has moved meanwhile.
    Asking {
        number: u64,
        due: Tick,
        asked: Option<SlotRequest>,
        recheck: bool,
        operation: Operation,
    },
    /// Whether it was requested, and what news there was of it, since the attempt began.
    Running {
        number: u64,
        again: bool,
        heard: Push,
        call: Option<C>,
    },
    /// It was removed, and its call has not ended; whether it was requested since.
    Leaving {
        number: u64,
        again: bool,
    },
}

/// What was removed: the attempt that was being made, if one was, and what stops it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Forgotten<C> {
    pub(super) attempt: Option<u64>,
    pub(super) call: Option<C>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Requested {
    /// It is news.
    New,
    /// The peer waits already, or is about to run again.
    Known,
    /// So many strangers wait that there is no room for this one (D4).
    NoRoom,
}

#[derive(Debug)]
pub(super) struct Schedule<K, C> {
    peers: HashMap<K, PeerState<C>>,
    /// Those who wait, by their kind: see [`Operation::kind`].
    order: [BTreeMap<Due, K>; KINDS],
    /// Peers that are looked at or ask for a slot, and peers that are called.
    asking: usize,
    running: usize,
    /// Strangers that wait or ask; at most `room` (D4).
    strangers: usize,
    pub(super) room: usize,
    /// Those of them that came by good news alone, in the order in which they came.
    uninvited: BTreeMap<u64, K>,
    /// Numbers what enters the order, and what is begun.
    entries: u64,
    gone: Vec<K>,
    withdrawn: Vec<(K, SlotRequest)>,
}

impl<K: PeerKey, C> Schedule<K, C> {
    pub(super) fn new() -> Self {
        Self {
            peers: HashMap::new(),
            order: Default::default(),
            asking: 0,
            running: 0,
            strangers: 0,
            room: usize::MAX,
            uninvited: BTreeMap::new(),
            entries: 0,
            gone: Vec::new(),
            withdrawn: Vec::new(),
        }
    }

    /// How many peers wait for their time or for a slot, and how many are called.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.order.iter().map(BTreeMap::len).sum::<usize>() + self.asking, self.running)
    }

    /// The number of the latest attempt.
    pub(super) fn latest(&self) -> u64 {
        self.entries
    }

    /// Keys that are no longer needed, and what was asked for in vain: to be dropped, and to be
    /// taken back, where no lock is held.
    pub(super) fn take_gone(&mut self) -> (Vec<K>, Vec<(K, SlotRequest)>) {
        (mem::take(&mut self.gone), mem::take(&mut self.withdrawn))
    }

    /// Those who wait: whom, until when, why.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (&K, Tick, WaitReason)> {
        self.peers.iter().filter_map(|(peer, place)| match place {
            PeerState::Waiting { due, reason, .. } => Some((peer, due.0, *reason)),
            PeerState::Asking { due, .. } => Some((peer, *due, WaitReason::Slot)),
            _ => None,
        })
    }

    /// The peer is to be called from then on.
    pub(super) fn request(&mut self, peer: &K, at: Tick, stranger: bool) -> Requested {
        match self.peers.get_mut(peer) {
            Some(PeerState::Waiting { operation, .. } | PeerState::Asking { operation, .. }) => {
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

    /// Something has moved the peer's circuit: who waits for that is looked at again.
    pub(super) fn recheck(&mut self, peer: &K, now: Tick) {
        match self.peers.get_mut(peer) {
            Some(PeerState::Asking { recheck, .. }) => *recheck = true,
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

    /// Something has moved a peer's circuit, nobody knows whose.
    pub(super) fn recheck_all(&mut self, now: Tick) {
        let peers: Vec<K> = self.peers.keys().cloned().collect();
        peers.iter().for_each(|peer| self.recheck(peer, now));
        self.gone.extend(peers);
    }

    /// Forgets the peer, if it was there; whether it waits or runs, it is not called again.
    pub(super) fn forget(&mut self, peer: &K) -> Option<Forgotten<C>> {
        match self.peers.get_mut(peer)? {
            place @ PeerState::Running { .. } => {
                let PeerState::Running { number, call, .. } = place else { return None };
                let (number, call) = (*number, call.take());
                *place = PeerState::Leaving { number, again: false };
                self.running -= 1;
                Some(Forgotten { attempt: Some(number), call })
            }
            PeerState::Leaving { again, .. } => {
                mem::take(again).then_some(Forgotten { attempt: None, call: None })
            }
            PeerState::Asking { number, .. } => {
                let attempt = Some(*number);
                self.leave(peer);
                Some(Forgotten { attempt, call: None })
            }
            PeerState::Waiting { .. } => {
                self.leave(peer);
                Some(Forgotten { attempt: None, call: None })
            }
        }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        let peers: Vec<K> = self.peers.keys().cloned().collect();
        peers.iter().for_each(|peer| self.leave(peer));
        self.gone.extend(peers);
    }

    /// When the next peer of this kind is due, and its place among those of one time.
    pub(super) fn next(&self, kind: usize) -> Option<Due> {
        self.order[kind].first_key_value().map(|(due, _)| *due)
    }

    /// Takes the peer of this kind that is due first: it is looked at now.
    pub(super) fn take(&mut self, kind: usize) -> Option<(K, Attempt)> {
        let ((due, _), peer) = self.order[kind].pop_first()?;
        let place = self.peers.get_mut(&peer)?;
        let PeerState::Waiting { operation, .. } = *place else { return None };
        self.entries += 1;
        let number = self.entries;
        // What pushes it from now on is news.
        let rest = Operation { push: Push::None, ..operation };
        *place = PeerState::Asking { number, due, asked: None, recheck: false, operation: rest };
        self.asking += 1;
        Some((peer, Attempt { number, due, operation }))
    }

    /// The peer that is being looked at asks for a slot, as a stranger or not. If it is not looked
    /// at any more, or has moved meanwhile, nothing is asked for.
    pub(super) fn asks(&mut self, peer: &K, attempt: Attempt, what: SlotRequest, stranger: bool) {
        match self.peers.get_mut(peer) {
            Some(PeerState::Asking { number, asked, operation, .. })
                if *number == attempt.number =>
            {
                *asked = Some(what);
                if operation.stranger && !stranger {
                    self.strangers -= 1;
                    self.gone.extend(self.uninvited.remove(&operation.uninvited));
                    (operation.stranger, operation.uninvited) = (false, 0);
                }
            }
            _ => self.withdrawn.push((peer.clone(), what)),
        }
    }

    /// The peer was given what it asked for: it is called now, unless it asks no more or is to be
    /// looked at again.
    pub(super) fn begin(&mut self, peer: &K, number: u64) -> Option<Attempt> {
        let place = self.peers.get_mut(peer)?;
        let PeerState::Asking { number: current, due, operation, .. } = *place else { return None };
        if current != number {
            return None;
        }
        *place = PeerState::Running { number, again: false, heard: Push::None, call: None };
        self.asking -= 1;
        self.running += 1;
        self.uncount(operation);
        Some(Attempt { number, due, operation })
    }

    /// The call of this attempt can be stopped by `call`, which is handed back if the attempt has
    /// ended or was forgotten meanwhile.
    pub(super) fn attach(&mut self, peer: &K, attempt: Attempt, call: C) -> Option<C> {
        match self.peers.get_mut(peer) {
            Some(PeerState::Running { number, call: place, .. }) if *number == attempt.number => {
                place.replace(call)
            }
            _ => Some(call),
        }
    }

    /// The operation is over; if the peer was requested meanwhile, it is called again from `now` on.
    /// A peer that was removed may be called again now.
    pub(super) fn done(&mut self, peer: &K, attempt: Attempt, now: Tick) {
        let again = match self.peers.get(peer) {
            Some(
                PeerState::Running { number, again, .. } | PeerState::Leaving { number, again },
            ) if *number == attempt.number => *again,
            Some(PeerState::Asking { number, .. }) if *number == attempt.number => false,
            _ => return,
        };
        self.leave(peer);
        if again && self.make_room(attempt.operation.stranger) {
            let operation = attempt.operation.anew(Push::None);
            let operation = Operation { uninvited: 0, ..operation };
            self.enter(peer, now, WaitReason::Slot, operation);
        }
    }

    /// The attempt is over or not made, and another is to be made from then on. Good news, or a step
    /// of the circuit, since it was taken makes that at once. `false` if the peer is given up since
    /// there is no room for one more stranger.
    pub(super) fn wait(
        &mut self,
        peer: &K,
        attempt: Attempt,
        at: Tick,
        reason: WaitReason,
    ) -> bool {
        let mut operation = attempt.operation;
        let at = match self.peers.get(peer) {
            Some(PeerState::Asking { number, recheck, operation: latest, .. })
                if *number == attempt.number =>
            {
                let Operation { uninvited, stranger, push, .. } = *latest;
                let push = operation.push.and(push);
                operation = Operation { uninvited, stranger, push, ..operation };
                if *recheck { attempt.due.min(at) } else { at }
            }
            Some(PeerState::Running { number, heard, .. }) if *number == attempt.number => {
                match heard {
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

    /// Whether one more may wait: a stranger if there is room, or if one can go that came by good
    /// news alone.
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

    /// The peer leaves its place, whichever it is.
    fn leave(&mut self, peer: &K) {
        let Some((key, place)) = self.peers.remove_entry(peer) else { return };
        match place {
            PeerState::Waiting { due, operation, .. } => {
                self.gone.extend(self.order[operation.kind()].remove(&due));
                self.uncount(operation);
            }
            PeerState::Asking { asked, operation, .. } => {
                self.asking -= 1;
                self.uncount(operation);
                self.withdrawn.extend(asked.map(|asked| (key.clone(), asked)));
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
