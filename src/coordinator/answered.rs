//! Which peers have answered, and whose sessions end as soon as they begin (D4, D5).
//!
//! Remembered by the coordinator, since the registry may forget a tracker at any time, and a peer
//! that was forgotten is no stranger for it. Pure data: no lock, no clock. It holds at most so many
//! peers as it is told; the longest unserved goes first.

use std::collections::{BTreeMap, HashMap};

use crate::registry::PeerKey;
use crate::time::Tick;

/// When a peer was last served, and the order among those of one time.
type Served = (Tick, u64);

#[derive(Debug)]
pub(super) struct Answered<K> {
    peers: HashMap<K, AnsweredPeer>,
    order: BTreeMap<Served, K>,
    entries: u64,
    /// Delays that were set before this are over.
    delays_end: Tick,
}

#[derive(Debug, Clone, Copy)]
struct AnsweredPeer {
    served: Served,
    /// The first and the last success since the last session was lost.
    sessions: Option<(Tick, Tick)>,
    /// Sessions that ended soon after they began, in a row.
    short: u32,
    /// When the last of them ended, and how long the next call waits from then on.
    delay: Option<(Tick, u64)>,
}

impl<K: PeerKey> Answered<K> {
    pub(super) fn new() -> Self {
        let (peers, order) = (HashMap::new(), BTreeMap::new());
        Self { peers, order, entries: 0, delays_end: Tick::default() }
    }

    pub(super) fn contains(&self, peer: &K) -> bool {
        self.peers.contains_key(peer)
    }

    /// A peer has answered. Which keys are of no more use.
    pub(super) fn served(&mut self, keys: [K; 2], now: Tick, most: usize) -> Vec<K> {
        let [key, ordered] = keys;
        let mut spare = Vec::new();
        self.entries += 1;
        let served = (now, self.entries);
        match self.peers.get_mut(&key) {
            Some(record) => {
                spare.extend(self.order.remove(&record.served));
                record.served = served;
                spare.push(key);
            }
            None => {
                let record = AnsweredPeer { served, sessions: None, short: 0, delay: None };
                self.peers.insert(key, record);
            }
        }
        self.order.insert(served, ordered);
        while self.peers.len() > most {
            let Some((_, longest)) = self.order.pop_first() else { break };
            spare.extend(self.peers.remove_entry(&longest).map(|(key, _)| key));
            spare.push(longest);
        }
        spare
    }

    /// A session with a peer that has answered began.
    pub(super) fn session_began(&mut self, peer: &K, now: Tick) {
        if let Some(record) = self.peers.get_mut(peer) {
            let (first, _) = record.sessions.unwrap_or((now, now));
            record.sessions = Some((first, now));
        }
    }

    /// The session with a peer was lost by a failure that counts. After the nth in a row that ended
    /// within `stable` of its beginning the next call waits as long as `wait` says of n - 1. Sessions
    /// that followed each other for at least that long without a loss end the count.
    pub(super) fn session_lost(
        &mut self,
        peer: &K,
        now: Tick,
        stable: u64,
        wait: impl Fn(u32) -> u64,
    ) {
        let Some(record) = self.peers.get_mut(peer) else { return };
        let Some((first, last)) = record.sessions.take() else { return };
        if now.since(first) >= stable {
            record.short = 0;
        }
        if now.since(last) >= stable {
            record.delay = None;
        } else {
            record.delay = Some((now, wait(record.short)));
            record.short = record.short.saturating_add(1);
        }
    }

    /// From when on the peer may be called, as far as its sessions go.
    pub(super) fn not_before(&self, peer: &K) -> Option<Tick> {
        let (since, wait) = self.peers.get(peer)?.delay?;
        (since >= self.delays_end).then(|| since.plus(wait))
    }

    /// The peer's delay is over; the count goes on.
    pub(super) fn end_delay(&mut self, peer: &K) {
        if let Some(record) = self.peers.get_mut(peer) {
            record.delay = None;
        }
    }

    /// All delays are over that were set before `now`.
    pub(super) fn end_delays(&mut self, now: Tick) {
        self.delays_end = now.plus(1);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        debug_assert_eq!(self.peers.len(), self.order.len());
        self.peers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(n: u32) -> u64 {
        5 << n.min(6)
    }

    fn serve(answered: &mut Answered<u32>, peer: u32, now: u64) -> usize {
        answered.served([peer, peer], Tick(now), 3).len()
    }

    #[test]
    fn of_those_who_are_served_at_one_time_none_is_lost() {
        let mut answered = Answered::new();
        (1..=3).for_each(|peer| _ = serve(&mut answered, peer, 5));
        assert_eq!((answered.len(), answered.order.len()), (3, 3));
    }

    #[test]
    fn the_longest_unserved_is_forgotten_first() {
        let mut answered = Answered::new();
        for (now, peer) in [1, 2, 3, 1].into_iter().enumerate() {
            serve(&mut answered, peer, now as u64);
        }
        assert_eq!(serve(&mut answered, 4, 9), 2, "both keys of the one that goes");
        assert_eq!(answered.len(), 3);
        assert!(!answered.contains(&2) && [1, 3, 4].iter().all(|peer| answered.contains(peer)));
    }

    #[test]
    fn short_sessions_in_a_row_delay_the_next_call_ever_longer() {
        let mut answered = Answered::new();
        serve(&mut answered, 7, 0);
        for (at, until) in [(100, 106), (200, 211), (300, 321), (400, 441)] {
            answered.session_began(&7, Tick(at));
            answered.session_lost(&7, Tick(at + 1), 10, wait);
            assert_eq!(answered.not_before(&7), Some(Tick(until)));
            answered.session_lost(&7, Tick(at + 2), 10, wait);
            assert_eq!(answered.not_before(&7), Some(Tick(until)), "it has ended already");
        }
        answered.end_delay(&7);
        assert_eq!(answered.not_before(&7), None);
        answered.session_began(&7, Tick(500));
        answered.session_lost(&7, Tick(501), 10, wait);
        assert_eq!(answered.not_before(&7), Some(Tick(581)), "the count goes on");
        answered.end_delays(Tick(502));
        assert_eq!(answered.not_before(&7), None);
    }

    #[test]
    fn a_longer_session_ends_the_count_and_so_do_short_ones_without_a_loss() {
        for calls in [vec![100], vec![100, 105, 110]] {
            let mut answered = Answered::new();
            serve(&mut answered, 7, 0);
            for at in [0, 50] {
                answered.session_began(&7, Tick(at));
                answered.session_lost(&7, Tick(at + 1), 10, wait);
            }
            calls.iter().for_each(|at| answered.session_began(&7, Tick(*at)));
            answered.session_lost(&7, Tick(112), 10, wait);
            let lost = calls.len() > 1; // two after the last of them began
            assert_eq!(answered.not_before(&7), lost.then_some(Tick(117)));
            answered.session_began(&7, Tick(200));
            answered.session_lost(&7, Tick(201), 10, wait);
            assert_eq!(answered.not_before(&7), Some(Tick(if lost { 211 } else { 206 })));
        }
    }

    #[test]
    fn who_never_answered_has_no_sessions() {
        let mut answered = Answered::<u32>::new();
        answered.session_began(&7, Tick(0));
        answered.session_lost(&7, Tick(1), 10, wait);
        answered.end_delay(&7);
        assert_eq!((answered.not_before(&7), answered.len()), (None, 0));
    }
}
