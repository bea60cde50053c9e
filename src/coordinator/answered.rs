//! Which peers have answered, and whose sessions end as soon as they begin (D4, D5).
//!
//! The coordinator remembers this itself, since the registry may forget a tracker at any time, and a
//! peer that it forgot is no stranger for that. This is pure data, without a lock or a clock. The
//! caller bounds the number of peers; the one that was served longest ago goes first.

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
    /// Every delay that was set before this is over.
    delays_end: Tick,
}

#[derive(Debug, Clone, Copy)]
struct AnsweredPeer {
    served: Served,
    /// When the first and the last call succeeded since a session was last lost.
    sessions: Option<(Tick, Tick)>,
    /// The number of sessions in a row that ended soon after they began.
    short: u32,
    /// When the last short session ended, and how long the next call waits from then on.
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

    /// Records that a peer answered, and returns the keys that are of no more use.
    pub(super) fn record(&mut self, keys: [K; 2], now: Tick, most: usize) -> Vec<K> {
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

    /// Records that a session began; a peer that never answered has none.
    pub(super) fn session_began(&mut self, peer: &K, now: Tick) {
        if let Some(record) = self.peers.get_mut(peer) {
            let (first, _) = record.sessions.unwrap_or((now, now));
            record.sessions = Some((first, now));
        }
    }

    /// Records that the session with a peer was lost by a failure that counts. After the nth session in
    /// a row that ended within `stable` of its beginning, the next call waits for `wait(n - 1)`.
    /// Sessions that followed each other for at least `stable` without a loss end the count.
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

    /// Returns when the delay of the peer's short sessions ends.
    pub(super) fn not_before(&self, peer: &K) -> Option<Tick> {
        let (since, wait) = self.peers.get(peer)?.delay?;
        (since >= self.delays_end).then(|| since.plus(wait))
    }

    /// Ends the peer's delay; the count goes on.
    pub(super) fn end_delay(&mut self, peer: &K) {
        if let Some(record) = self.peers.get_mut(peer) {
            record.delay = None;
        }
    }

    /// Ends every delay that was set before `now`.
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
        answered.record([peer, peer], Tick(now), 3).len()
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
