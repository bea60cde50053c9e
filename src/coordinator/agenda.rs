//! What a driver has to do: who is to be called, from when on, and who is being called.
//!
//! Pure data: no lock, no clock, no runtime. Times are nanoseconds since the driver began. `C` is
//! what stops a call that is being made.
//!
//! 1. A peer is in one place: waiting, running, or not here at all, which costs nothing.
//! 2. However often a peer is requested, it is called once; and once more if it was requested
//!    while it was being called.
//! 3. Those who wait are in order of the time from which they may be called. Nobody is looked at
//!    before that time.
//! 4. A key that is no longer needed is kept until somebody takes it: a key's `Drop` is the user's,
//!    and runs under no lock (R25).

use std::collections::{BTreeMap, HashMap};
use std::mem;

use crate::registry::PeerKey;
use crate::time::Tick;

/// From when on, and the order among those of one time.
type Due = (Tick, u64);

/// Comes before all that is due at a time.
pub(super) const FIRST: Tick = Tick(0);

#[derive(Debug)]
enum Place<C> {
    /// So many attempts of the operation have failed, and so many in a row for a reason of our own,
    /// which are no attempts.
    Waiting { due: Due, attempts: u32, local: u16, eager: bool },
    /// Whether it was requested, and whether there was good news of it, since the attempt began.
    Running { run: u64, again: bool, news: bool, call: Option<C> },
}

/// An attempt that was begun: what is told of an earlier one is not taken for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) number: u64,
    /// How many attempts of the operation have failed before this one.
    pub(super) attempts: u32,
    /// How many failed before this one, in a row, for a reason of our own.
    pub(super) local: u16,
    /// Whether its circuit's wait ends with its own.
    pub(super) eager: bool,
}

impl Run {
    /// The attempt has failed.
    pub(super) fn failed(self) -> Self {
        Self { attempts: self.attempts.saturating_add(1), local: 0, eager: false, ..self }
    }

    /// The attempt has failed for a reason of our own.
    pub(super) fn failed_locally(self) -> Self {
        Self { local: self.local.saturating_add(1), eager: false, ..self }
    }

    /// The attempt is not made: the circuit refuses it.
    pub(super) fn refused(self) -> Self {
        Self { eager: false, ..self }
    }

    /// The operation begins anew.
    fn anew(self, eager: bool) -> Self {
        Self { attempts: 0, local: 0, eager, ..self }
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
                let place = Place::Waiting { due, attempts: 0, local: 0, eager: false };
                self.peers.insert(peer.clone(), place);
                true
            }
        }
    }

    /// A peer that waits is called from then on, or earlier if it was due earlier, with all its
    /// attempts before it. `false` if it does not wait.
    pub(super) fn bring_forward(&mut self, peer: &K, at: Tick) -> bool {
        let Some(Place::Waiting { due, .. }) = self.peers.get(peer) else { return false };
        let at = at.min(due.0);
        let Some(key) = self.order.remove(due) else { return false };
        let due = self.enter(at, key);
        if let Some(place) = self.peers.get_mut(peer) {
            *place = Place::Waiting { due, attempts: 0, local: 0, eager: true };
        }
        true
    }

    /// There is good news of a peer. `false` if it is not being called.
    pub(super) fn heard(&mut self, peer: &K) -> bool {
        let Some(Place::Running { news, .. }) = self.peers.get_mut(peer) else { return false };
        *news = true;
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

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.gone.extend(self.peers.drain().map(|(key, _)| key));
        self.gone.extend(mem::take(&mut self.order).into_values());
        self.running = 0;
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
        let Place::Waiting { attempts, local, eager, .. } = *place else { return None };
        self.entries += 1;
        *place = Place::Running { run: self.entries, again: false, news: false, call: None };
        self.running += 1;
        Some((peer, Run { number: self.entries, attempts, local, eager }))
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

    /// If this attempt is still the peer's: whether the peer was requested, and whether there was
    /// good news of it, since it began.
    fn since(&self, peer: &K, run: Run) -> Option<(bool, bool)> {
        match self.peers.get(peer) {
            Some(Place::Running { run: number, again, news, .. }) if *number == run.number => {
                Some((*again, *news))
            }
            _ => None,
        }
    }

    /// The operation is over; if the peer was requested meanwhile, it is called again from `now` on.
    pub(super) fn done(&mut self, peer: &K, run: Run, now: Tick) {
        match self.since(peer, run) {
            Some((true, _)) => self.retry(peer, run.anew(false), now),
            Some((false, _)) => drop(self.remove(peer)),
            None => {}
        }
    }

    /// The attempt has failed. If there was good news since it began, that is more recent: the
    /// operation begins anew from then on. Whether it does.
    pub(super) fn retry_on_news(&mut self, peer: &K, run: Run, at: Tick) -> bool {
        let news = matches!(self.since(peer, run), Some((_, true)));
        if news {
            self.retry(peer, run.anew(true), at);
        }
        news
    }

    /// The attempt is over and another is to be made from then on; so many have failed by now.
    pub(super) fn retry(&mut self, peer: &K, run: Run, at: Tick) {
        if self.since(peer, run).is_none() {
            return;
        }
        let due = self.enter(at, peer.clone());
        if let Some(place) = self.peers.get_mut(peer) {
            let Run { attempts, local, eager, .. } = run;
            *place = Place::Waiting { due, attempts, local, eager };
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
    fn who_was_brought_forward_begins_anew_in_its_turn_or_first() {
        let mut agenda = Calls::new();
        for peer in [1, 2, 3] {
            agenda.request(&peer, Tick(5));
        }
        for at in [FIRST, Tick(5)] {
            let (one, run) = taken(&mut agenda, 5).unwrap();
            assert!(one == 1 && !agenda.bring_forward(&1, at), "it runs");
            agenda.retry(&one, run.failed().failed(), Tick(1000));
            assert!(agenda.bring_forward(&1, at) && !agenda.bring_forward(&4, at));
            assert!(agenda.bring_forward(&1, Tick(2000)), "no later than it was");
        }
        assert_eq!((next(&mut agenda, 5), next(&mut agenda, 5)), (Some(2), Some(3)));
        let (peer, run) = taken(&mut agenda, 5).unwrap();
        assert_eq!((peer, run.attempts, run.eager), (1, 0, true));
        assert!(![run.failed(), run.failed_locally(), run.refused()].iter().any(|run| run.eager));
        assert_eq!(agenda.count(), Count { waiting: 0, running: 3 });
    }

    #[test]
    fn good_news_outlives_the_failure_of_the_call_that_was_being_made() {
        let mut agenda = Calls::new();
        agenda.request(&1, Tick(0));
        assert!(!agenda.heard(&1), "it waits");
        let (_, run) = taken(&mut agenda, 0).unwrap();
        assert!(!agenda.retry_on_news(&1, run.failed(), Tick(1)));
        assert!(agenda.heard(&1) && agenda.retry_on_news(&1, run.failed(), Tick(1)));
        let (_, again) = taken(&mut agenda, 1).unwrap();
        assert_eq!((again.attempts, again.eager), (0, true));
        assert!(!agenda.retry_on_news(&1, run, Tick(2)), "of an earlier call");
        assert!(!agenda.retry_on_news(&1, again, Tick(2)), "there was none since");
        assert!(agenda.heard(&1));
        agenda.done(&1, again, Tick(2));
        assert_eq!(agenda.count(), Count { waiting: 0, running: 0 }, "a success is news enough");
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
        assert_eq!(agenda.count(), Count { waiting: 0, running: 1 });
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
    fn all_can_be_forgotten_together() {
        let mut agenda = Calls::new();
        assert!((0..4).all(|peer| agenda.request(&peer, Tick(0))));
        let (_, run) = taken(&mut agenda, 0).unwrap();
        agenda.clear();
        assert_eq!(agenda.count(), Count { waiting: 0, running: 0 });
        assert_eq!(agenda.take_gone().len(), 7, "two keys of those who wait");
        agenda.done(&0, run, Tick(0));
        assert!(agenda.peers.is_empty());
    }
}
