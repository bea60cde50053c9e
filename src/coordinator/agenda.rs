//! What a driver has to do: who is to be called, from when on, and who is being called.
//!
//! Pure data: no lock, no clock, no runtime. Times are nanoseconds since the driver began. `C` is
//! what stops a call that is being made.
//!
//! 1. A peer is in one place: waiting, running, or not here at all, which costs nothing.
//! 2. However often a peer is requested, it is called once; and once more if it was requested
//!    while it was being called.
//! 3. Those who wait are in order of the time from which they may be called; who was brought
//!    forward comes first. Nobody is looked at before that time.
//! 4. A key that is no longer needed is kept until somebody takes it: a key's `Drop` is the user's,
//!    and runs under no lock (R25).

use std::collections::{BTreeMap, HashMap};
use std::mem;

use crate::registry::PeerKey;
use crate::time::Tick;

/// From when on, and the order among those of one time.
type Due = (Tick, u64);

/// Comes before all that is due at a time.
const FIRST: Tick = Tick(0);

#[derive(Debug)]
enum Place<C> {
    /// So many attempts of the operation have failed, and so many in a row for a reason of our own,
    /// which are no attempts.
    Waiting {
        due: Due,
        attempts: u32,
        local: u16,
    },
    Running {
        run: u64,
        again: bool,
        call: Option<C>,
    },
}

/// An attempt that was begun: what is told of an earlier one is not taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) number: u64,
    /// How many attempts of the operation have failed before this one.
    pub(super) attempts: u32,
    /// How many failed before this one, in a row, for a reason of our own.
    pub(super) local: u16,
}

impl Run {
    /// The attempt has failed.
    pub(super) fn failed(self) -> Self {
        Self { attempts: self.attempts.saturating_add(1), local: 0, ..self }
    }

    /// The attempt has failed for a reason of our own.
    pub(super) fn failed_locally(self) -> Self {
        Self { local: self.local.saturating_add(1), ..self }
    }
}

/// What was removed: the attempt that was being made, if one was, and what stops it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Removed<C> {
    pub(super) run: Option<u64>,
    pub(super) call: Option<C>,
}

#[derive(Debug)]
pub(super) struct Agenda<K, C> {
    peers: HashMap<K, Place<C>>,
    order: BTreeMap<Due, K>,
    running: usize,
    /// Numbers what enters the order, and what is begun.
    entries: u64,
    gone: Vec<K>,
}

/// How many peers there are where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) waiting: usize,
    pub(super) running: usize,
}

impl<K: PeerKey, C> Agenda<K, C> {
    pub(super) fn new() -> Self {
        let (peers, order) = (HashMap::new(), BTreeMap::new());
        Self { peers, order, running: 0, entries: 0, gone: Vec::new() }
    }

    pub(super) fn count(&self) -> Count {
        Count { waiting: self.order.len(), running: self.running }
    }

    /// Keys that are no longer needed: to be dropped where no lock is held.
    pub(super) fn take_gone(&mut self) -> Vec<K> {
        mem::take(&mut self.gone)
    }

    /// The peer is to be called. `true` if that is news: it was neither waiting nor about to run
    /// again.
    pub(super) fn request(&mut self, peer: &K, now: Tick) -> bool {
        match self.peers.get_mut(peer) {
            Some(Place::Waiting { .. }) => false,
            Some(Place::Running { again, .. }) => !mem::replace(again, true),
            None => {
                let due = self.enter(now, peer.clone());
                let place = Place::Waiting { due, attempts: 0, local: 0 };
                self.peers.insert(peer.clone(), place);
                true
            }
        }
    }

    /// A peer that waits is called next, with all its attempts before it. `false` if it does not
    /// wait.
    pub(super) fn bring_forward(&mut self, peer: &K) -> bool {
        let Some(Place::Waiting { due, .. }) = self.peers.get(peer) else { return false };
        let Some(key) = self.order.remove(due) else { return false };
        let due = self.enter(FIRST, key);
        if let Some(place) = self.peers.get_mut(peer) {
            *place = Place::Waiting { due, attempts: 0, local: 0 };
        }
        true
    }

    /// Forgets the peer, if it was there; whether it waits or runs, it is not called again.
    pub(super) fn remove(&mut self, peer: &K) -> Option<Removed<C>> {
        let (key, place) = self.peers.remove_entry(peer)?;
        self.gone.push(key);
        Some(match place {
            Place::Waiting { due, .. } => {
                self.gone.extend(self.order.remove(&due));
                Removed { run: None, call: None }
            }
            Place::Running { run, call, .. } => {
                self.running -= 1;
                Removed { run: Some(run), call }
            }
        })
    }

    /// Forgets all who wait.
    pub(super) fn remove_waiting(&mut self) {
        while let Some((_, peer)) = self.order.pop_first() {
            self.gone.extend(self.peers.remove_entry(&peer).map(|(key, _)| key));
            self.gone.push(peer);
        }
    }

    /// When the next peer is due.
    pub(super) fn next(&self) -> Option<Tick> {
        self.order.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the peer that is due, if there is one: it is running now.
    pub(super) fn take(&mut self, now: Tick) -> Option<(K, Run)> {
        if self.next().is_none_or(|at| at > now) {
            return None;
        }
        let (_, peer) = self.order.pop_first()?;
        let place = self.peers.get_mut(&peer)?;
        let Place::Waiting { attempts, local, .. } = *place else { return None };
        self.entries += 1;
        *place = Place::Running { run: self.entries, again: false, call: None };
        self.running += 1;
        Some((peer, Run { number: self.entries, attempts, local }))
    }

    /// The call of this attempt can be stopped by `call`, which is handed back if the attempt has
    /// ended or was forgotten meanwhile.
    pub(super) fn attach(&mut self, peer: &K, run: Run, call: C) -> Option<C> {
        match self.peers.get_mut(peer) {
            Some(Place::Running { run: number, call: place, .. }) if *number == run.number => {
                place.replace(call)
            }
            _ => Some(call),
        }
    }

    pub(super) fn is_running(&self, peer: &K) -> bool {
        matches!(self.peers.get(peer), Some(Place::Running { .. }))
    }

    /// Whether this attempt is still the peer's, and the peer was requested since it began.
    fn again(&self, peer: &K, run: Run) -> Option<bool> {
        match self.peers.get(peer) {
            Some(Place::Running { run: number, again, .. }) if *number == run.number => {
                Some(*again)
            }
            _ => None,
        }
    }

    /// The operation is over; if the peer was requested meanwhile, it is called again from `now` on.
    pub(super) fn done(&mut self, peer: &K, run: Run, now: Tick) {
        match self.again(peer, run) {
            Some(true) => self.retry(peer, Run { attempts: 0, local: 0, ..run }, now),
            Some(false) => drop(self.remove(peer)),
            None => {}
        }
    }

    /// The attempt is over and another is to be made from then on; so many have failed by now.
    pub(super) fn retry(&mut self, peer: &K, run: Run, at: Tick) {
        if self.again(peer, run).is_none() {
            return;
        }
        let due = self.enter(at, peer.clone());
        if let Some(place) = self.peers.get_mut(peer) {
            *place = Place::Waiting { due, attempts: run.attempts, local: run.local };
            self.running -= 1;
        }
    }

    fn enter(&mut self, at: Tick, peer: K) -> Due {
        self.entries += 1;
        let due = (at, self.entries);
        self.order.insert(due, peer);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Calls = Agenda<u8, &'static str>;

    fn taken(agenda: &mut Calls, now: u64) -> Option<(u8, Run)> {
        agenda.take(Tick(now))
    }

    fn next(agenda: &mut Calls, now: u64) -> Option<u8> {
        taken(agenda, now).map(|(peer, _)| peer)
    }

    #[test]
    fn requests_of_one_peer_become_one_call_and_one_more_while_it_runs() {
        let mut agenda = Calls::new();
        assert!(agenda.request(&7, Tick(1)) && !agenda.request(&7, Tick(1)));
        assert_eq!(next(&mut agenda, 0), None);
        let (_, run) = taken(&mut agenda, 1).unwrap();
        assert_eq!(next(&mut agenda, 1), None, "it runs");
        assert!(agenda.request(&7, Tick(2)) && !agenda.request(&7, Tick(2)));
        agenda.done(&7, run.failed(), Tick(3));
        let (peer, run) = taken(&mut agenda, 3).unwrap();
        assert_eq!(run.attempts, 0, "it is another operation");
        agenda.done(&peer, run, Tick(4));
        assert_eq!((agenda.next(), agenda.count()), (None, Count { waiting: 0, running: 0 }));
        assert!(agenda.peers.is_empty(), "idle peers cost nothing");
        assert_eq!(agenda.take_gone(), [7]);
    }

    #[test]
    fn who_was_brought_forward_comes_first_and_begins_anew() {
        let mut agenda = Calls::new();
        for peer in [1, 2, 3] {
            agenda.request(&peer, Tick(5));
        }
        let (one, run) = taken(&mut agenda, 5).unwrap();
        agenda.retry(&one, run.failed().failed(), Tick(1000));
        assert!(agenda.bring_forward(&1) && !agenda.bring_forward(&4));
        let (peer, run) = taken(&mut agenda, 5).unwrap();
        assert_eq!((peer, run.attempts), (1, 0));
        assert!(!agenda.bring_forward(&1), "it runs");
        assert_eq!((next(&mut agenda, 5), next(&mut agenda, 5)), (Some(2), Some(3)));
        assert_eq!(agenda.count(), Count { waiting: 0, running: 3 });
    }

    #[test]
    fn what_is_removed_is_gone_and_its_end_ends_nothing_else() {
        let mut agenda = Calls::new();
        agenda.request(&1, Tick(0));
        agenda.request(&2, Tick(0));
        let (one, old) = taken(&mut agenda, 0).unwrap();
        assert_eq!(agenda.attach(&1, old, "first"), None);
        let removed = agenda.remove(&one);
        assert_eq!(removed, Some(Removed { run: Some(old.number), call: Some("first") }));
        assert_eq!(agenda.remove(&2), Some(Removed { run: None, call: None }));
        assert_eq!(agenda.remove(&3), None);
        assert_eq!(agenda.count(), Count { waiting: 0, running: 0 });
        assert_eq!(agenda.attach(&1, old, "late"), Some("late"), "nobody can stop it by now");

        agenda.request(&1, Tick(0));
        let (_, new) = taken(&mut agenda, 0).unwrap();
        agenda.done(&1, old, Tick(0));
        agenda.retry(&1, old, Tick(0));
        assert!(agenda.is_running(&1));
        assert_eq!(agenda.attach(&1, old, "late"), Some("late"));
        agenda.retry(&1, new.failed(), Tick(9));
        assert_eq!((next(&mut agenda, 8), next(&mut agenda, 9)), (None, Some(1)));
    }

    #[test]
    fn local_failures_are_counted_apart_and_only_in_a_row() {
        let mut agenda = Calls::new();
        agenda.request(&1, Tick(0));
        let (_, run) = taken(&mut agenda, 0).unwrap();
        agenda.retry(&1, run.failed().failed_locally().failed_locally(), Tick(1));
        let (_, run) = taken(&mut agenda, 1).unwrap();
        assert_eq!((run.attempts, run.local), (1, 2));
        assert_eq!((run.failed().attempts, run.failed().local), (2, 0));
    }

    #[test]
    fn those_who_wait_can_be_forgotten_together() {
        let mut agenda = Calls::new();
        assert!((0..4).all(|peer| agenda.request(&peer, Tick(0))));
        let (_, run) = taken(&mut agenda, 0).unwrap();
        agenda.remove_waiting();
        assert_eq!(agenda.count(), Count { waiting: 0, running: 1 });
        assert_eq!(agenda.take_gone().len(), 6, "two keys of each");
        agenda.done(&0, run, Tick(0));
        assert!(agenda.peers.is_empty());
    }
}
